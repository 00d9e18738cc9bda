//! Which actor owns a SKU: started on first use, handed over atomically, never two of one SKU.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use actix::Addr;
use actix::prelude::SendError;
use dashmap::DashMap;
use foldhash::fast::RandomState;

use super::order::{Execute, Task};
use super::sku::SkuActor;
use super::{ExecuteError, Inventory};
use crate::domain::Sku;
use crate::journal::JournalError;
use crate::metrics::Counter;

#[derive(Default)]
pub struct Registry {
    actors: DashMap<Sku, Entry, RandomState>,
    started: Counter,
    stopped: Counter,
}

struct Entry {
    /// Behind an `Arc`, as a copy of an address itself is not cheap.
    address: Arc<Addr<SkuActor>>,
    queue: Arc<Queue>,
}

/// What waits for an actor, and what has come lately.
#[derive(Default)]
pub struct Queue {
    pub places: AtomicUsize,
    /// Commands of this minute and of the one before. Beside the places, which are counted on the same way: so they cost
    /// next to nothing.
    this_minute: AtomicU32,
    last_minute: AtomicU32,
}

impl Queue {
    fn enter(self: &Arc<Self>, commands: usize) -> (Place, usize) {
        self.this_minute.fetch_add(commands as u32, Ordering::Relaxed);
        let before = self.places.fetch_add(1, Ordering::AcqRel);
        (Place(self.clone()), before)
    }

    /// Commands of the last one to two minutes.
    pub fn recent(&self) -> u64 {
        let minutes = [&self.this_minute, &self.last_minute];
        minutes
            .map(|minute| u64::from(minute.load(Ordering::Relaxed)))
            .iter()
            .sum()
    }

    pub fn end_minute(&self) {
        let ended = self.this_minute.swap(0, Ordering::Relaxed);
        self.last_minute.store(ended, Ordering::Relaxed);
    }
}

/// A place in an actor's queue, from before the message is sent until after it is answered.
pub struct Place(Arc<Queue>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.places.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Registry {
    /// Puts a task into the queue of the SKU's actor. The map's entry is held meanwhile, so that the
    /// actor cannot be found idle and stopped between the look-up and the sending.
    /// A task that is not taken comes back.
    pub fn send(&self, inventory: &Arc<Inventory>, sku: &Sku, task: Task) -> Result<(), (ExecuteError, Task)> {
        let mut message = match self.try_send(sku, task, inventory.settings.queue_limit)? {
            None => return Ok(()),
            Some(task) => task,
        };
        loop {
            self.start(inventory, sku);
            message = match self.try_send(sku, message, inventory.settings.queue_limit)? {
                None => return Ok(()),
                Some(task) => task,
            };
        }
    }

    /// Gives the task back where there is no actor to take it.
    fn try_send(&self, sku: &Sku, task: Task, limit: usize) -> Result<Option<Task>, (ExecuteError, Task)> {
        let Some(entry) = self.actors.get(sku) else {
            return Ok(Some(task));
        };
        let overloaded = || ExecuteError::Overloaded { sku: sku.clone() };
        let (place, before) = entry.queue.enter(task.commands());
        if before >= limit {
            return Err((overloaded(), task));
        }
        match entry.address.try_send(Execute { task, place }) {
            Ok(()) => Ok(None),
            Err(SendError::Full(message)) => Err((overloaded(), message.task)),
            Err(SendError::Closed(message)) => Ok(Some(message.task)),
        }
    }

    /// A place in the queue of the SKU's actor, which may stop only when the place is gone; and whether the actor had to
    /// be started.
    pub fn enter(
        &self,
        inventory: &Arc<Inventory>,
        sku: &Sku,
    ) -> Result<(Arc<Addr<SkuActor>>, Place, bool), ExecuteError> {
        for is_new in [false, true] {
            if is_new {
                self.start(inventory, sku);
            }
            let Some(entry) = self.actors.get(sku).filter(|entry| entry.address.connected()) else {
                continue;
            };
            let (place, before) = entry.queue.enter(1);
            return match before < inventory.settings.queue_limit {
                true => Ok((entry.address.clone(), place, is_new)),
                false => Err(ExecuteError::Overloaded { sku: sku.clone() }),
            };
        }
        // Nothing was begun: the service is stopping.
        Err(JournalError::Unavailable("the service is stopping".to_owned()).into())
    }

    fn start(&self, inventory: &Arc<Inventory>, sku: &Sku) {
        // An actor ends without leaving the map only by a defect, or when its thread ends at shutdown.
        self.actors.remove_if(sku, |_, entry| !entry.address.connected());
        self.actors.entry(sku.clone()).or_insert_with(|| Entry {
            address: self.start_one(inventory, sku),
            queue: Arc::default(),
        });
    }

    fn start_one(&self, inventory: &Arc<Inventory>, sku: &Sku) -> Arc<Addr<SkuActor>> {
        self.started.one();
        Arc::new(SkuActor::start_for(sku.clone(), inventory.clone()))
    }

    pub fn actors(&self) -> Vec<Arc<Addr<SkuActor>>> {
        self.actors.iter().map(|entry| entry.address.clone()).collect()
    }

    /// Shows each actor's queue.
    pub fn each(&self, mut look: impl FnMut(&Sku, &Queue)) {
        self.actors.iter().for_each(|entry| look(entry.key(), &entry.queue));
    }

    pub fn started(&self) -> u64 {
        self.started.get()
    }

    pub fn stopped(&self) -> u64 {
        self.stopped.get()
    }

    #[cfg(test)]
    pub fn running(&self) -> usize {
        self.actors.len()
    }

    /// Takes an actor out, if nobody has or will have anything for it.
    pub fn retire(&self, sku: &Sku) -> bool {
        let retired = self
            .actors
            .remove_if(sku, |_, entry| entry.queue.places.load(Ordering::Acquire) == 0);
        self.stopped.add(retired.is_some().into());
        retired.is_some()
    }
}
