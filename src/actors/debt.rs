//! Appends that others make of an actor's decisions, and the state that it lends. Batches gather the decisions of many
//! SKUs, and joint steps decide for several at once. Mostly it is nothing to the actor that one of them has succeeded or
//! has given its state back, so that it is not told, but looks when it is asked for something.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Addr;

use super::order::Execute;
use super::sku::{Settle, SkuActor, State};
use crate::journal::JournalError;

/// What an actor waits for, beside its own appends.
pub struct Outstanding {
    /// Here once, as a copy of an address costs as much as a decision.
    actor: Addr<SkuActor>,
    /// Not in the log's queue yet: whatever the actor decided now could come in before it.
    unqueued: AtomicU32,
    queued: AtomicU32,
    /// Its state, after it was lent.
    returned: Mutex<Option<Returned>>,
    /// The actor wants to hear of the next change.
    is_awaited: AtomicBool,
}

/// What a joint step gives back.
pub struct Returned {
    /// With all that was decided on it; none where it got lost.
    pub state: Option<State>,
    /// Something that changes it was appended.
    pub is_changed: bool,
}

impl Outstanding {
    pub fn of(actor: Addr<SkuActor>) -> Arc<Self> {
        Arc::new(Self {
            actor,
            unqueued: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            returned: Mutex::default(),
            is_awaited: AtomicBool::new(false),
        })
    }

    pub fn unqueued(&self) -> u32 {
        self.unqueued.load(Ordering::SeqCst)
    }

    pub fn all(&self) -> u32 {
        self.unqueued() + self.queued.load(Ordering::SeqCst)
    }

    pub fn has_returned(&self) -> bool {
        self.returned().is_some()
    }

    pub fn take_back(&self) -> Option<Returned> {
        self.returned().take()
    }

    pub fn give_back(&self, returned: Returned) {
        *self.returned() = Some(returned);
        self.tell();
    }

    fn returned(&self) -> MutexGuard<'_, Option<Returned>> {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self) {
        if self.is_awaited.swap(false, Ordering::SeqCst) {
            // Past the mailbox's bound, as it must arrive; there is one at most.
            self.actor.do_send(Settle::Done);
        }
    }

    /// Has the actor told of the next change. What has changed before this call, it must see by itself.
    pub fn listen(&self) {
        self.is_awaited.store(true, Ordering::SeqCst);
    }

    /// It is nothing to the actor any more.
    pub fn ignore(&self) {
        self.is_awaited.store(false, Ordering::SeqCst);
    }

    /// One is in the log's queue.
    pub fn queue(&self) {
        self.queued.fetch_add(1, Ordering::SeqCst);
    }

    /// One that has failed, and that the actor has heard of.
    pub fn failed(&self) {
        self.queued.fetch_sub(1, Ordering::SeqCst);
    }
}

/// That an append is made for an actor. However it ends, by a defect too, the actor gets to know.
pub struct Debt {
    /// Until it is over.
    outstanding: Option<Arc<Outstanding>>,
    is_queued: bool,
}

impl Debt {
    /// Of an append that is in the log's queue and counted there.
    pub fn queued_for(outstanding: Arc<Outstanding>) -> Self {
        Self {
            outstanding: Some(outstanding),
            is_queued: true,
        }
    }

    pub fn new(outstanding: Arc<Outstanding>) -> Self {
        outstanding.unqueued.fetch_add(1, Ordering::SeqCst);
        Self {
            outstanding: Some(outstanding),
            is_queued: false,
        }
    }

    /// The append is in the log's queue.
    pub fn queued(&mut self) {
        if let Some(outstanding) = &self.outstanding {
            enter_queue(outstanding, &mut self.is_queued);
            outstanding.tell();
        }
    }

    pub fn settle(mut self, result: Result<(), &JournalError>) {
        // One that has failed stays counted until the actor has heard of it: it must decide nothing on what is lost.
        if result.is_ok()
            && let Some(outstanding) = self.outstanding.take()
        {
            enter_queue(&outstanding, &mut self.is_queued);
            outstanding.queued.fetch_sub(1, Ordering::SeqCst);
            outstanding.tell();
        }
    }
}

fn enter_queue(outstanding: &Outstanding, is_queued: &mut bool) {
    if !std::mem::replace(is_queued, true) {
        outstanding.queued.fetch_add(1, Ordering::SeqCst);
        outstanding.unqueued.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Debt {
    /// It was decided on a state that is no more: the actor decides these once more.
    pub fn again(mut self, tasks: Vec<Execute>) {
        self.fail(Settle::Again(tasks));
    }

    fn fail(&mut self, how: Settle) {
        if let Some(outstanding) = self.outstanding.take() {
            enter_queue(&outstanding, &mut self.is_queued);
            outstanding.actor.do_send(how);
        }
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.fail(Settle::Failed);
    }
}
