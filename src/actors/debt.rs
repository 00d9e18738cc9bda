//! Appends that others make of an actor's decisions: batches gather those of many SKUs, and joint steps decide for
//! several at once. Mostly it is nothing to the actor that one of them has succeeded, so that it is not told, but counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use actix::Addr;

use super::sku::{Settle, SkuActor};
use crate::journal::JournalError;

/// What an actor waits for, beside its own appends.
#[derive(Default)]
pub struct Outstanding {
    /// Not in the log's queue yet: whatever the actor decided now could come in before it.
    unqueued: AtomicU32,
    queued: AtomicU32,
    /// The actor wants to hear of the next change.
    is_awaited: AtomicBool,
}

impl Outstanding {
    pub fn unqueued(&self) -> u32 {
        self.unqueued.load(Ordering::SeqCst)
    }

    pub fn all(&self) -> u32 {
        self.unqueued() + self.queued.load(Ordering::SeqCst)
    }

    /// Has the actor told of the next change. What has changed before this call, it must see by itself.
    pub fn listen(&self) {
        self.is_awaited.store(true, Ordering::SeqCst);
    }

    /// One that has failed, and that the actor has heard of.
    pub fn failed(&self) {
        self.queued.fetch_sub(1, Ordering::SeqCst);
    }
}

/// That an append is made for an actor. However it ends, by a defect too, the actor gets to know.
pub struct Debt {
    actor: Option<Addr<SkuActor>>,
    outstanding: Arc<Outstanding>,
    is_queued: bool,
}

impl Debt {
    pub fn new(actor: Addr<SkuActor>, outstanding: Arc<Outstanding>) -> Self {
        outstanding.unqueued.fetch_add(1, Ordering::SeqCst);
        Self {
            actor: Some(actor),
            outstanding,
            is_queued: false,
        }
    }

    /// The append is in the log's queue.
    pub fn queued(&mut self) {
        if let Some(actor) = self.actor.take() {
            self.enter_queue();
            self.tell(&actor);
            self.actor = Some(actor);
        }
    }

    pub fn settle(mut self, result: Result<(), &JournalError>) {
        // One that has failed stays counted until the actor has heard of it: it must decide nothing on what is lost.
        if result.is_ok()
            && let Some(actor) = self.actor.take()
        {
            self.enter_queue();
            self.outstanding.queued.fetch_sub(1, Ordering::SeqCst);
            self.tell(&actor);
        }
    }

    fn enter_queue(&mut self) {
        if !std::mem::replace(&mut self.is_queued, true) {
            self.outstanding.queued.fetch_add(1, Ordering::SeqCst);
            self.outstanding.unqueued.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn tell(&self, actor: &Addr<SkuActor>) {
        if self.outstanding.is_awaited.swap(false, Ordering::SeqCst) {
            // Past the mailbox's bound, as it must arrive; there is one at most.
            actor.do_send(Settle::Done);
        }
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        if let Some(actor) = self.actor.take() {
            self.enter_queue();
            actor.do_send(Settle::Failed);
        }
    }
}
