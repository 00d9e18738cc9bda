//! Which actor owns a SKU: started on first use, handed over atomically, never two of one SKU.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::Addr;
use actix::prelude::SendError;
use dashmap::DashMap;
use foldhash::fast::RandomState;

use super::order::{Execute, Task};
use super::sku::SkuActor;
use super::{ExecuteError, Inventory};
use crate::domain::Sku;
use crate::journal::JournalError;

#[derive(Default)]
pub struct Registry {
    actors: DashMap<Sku, Entry, RandomState>,
}

struct Entry {
    /// Behind an `Arc`, as a copy of an address itself is not cheap.
    address: Arc<Addr<SkuActor>>,
    places: Arc<AtomicUsize>,
}

/// A place in an actor's queue, from before the message is sent until after it is answered.
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
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
        let place = Place(entry.places.clone());
        if entry.places.fetch_add(1, Ordering::AcqRel) >= limit {
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
            let place = Place(entry.places.clone());
            return match entry.places.fetch_add(1, Ordering::AcqRel) < inventory.settings.queue_limit {
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
            address: Arc::new(SkuActor::start_for(sku.clone(), inventory.clone())),
            places: Arc::default(),
        });
    }

    pub fn actors(&self) -> Vec<Arc<Addr<SkuActor>>> {
        self.actors.iter().map(|entry| entry.address.clone()).collect()
    }

    #[cfg(test)]
    pub fn running(&self) -> usize {
        self.actors.len()
    }

    /// Takes an actor out, if nobody has or will have anything for it.
    pub fn retire(&self, sku: &Sku) -> bool {
        self.actors
            .remove_if(sku, |_, entry| entry.places.load(Ordering::Acquire) == 0)
            .is_some()
    }
}
