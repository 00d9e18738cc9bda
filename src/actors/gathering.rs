//! Where the actors of a batch's SKUs put what they have decided, so that one append carries it for all of
//! them: a thousand SKUs then cost one wake-up of the batch and not one of each actor.
//!
//! Nobody waits here for anybody: an actor that is busy when the batch closes the gathering appends by itself,
//! so that two batches over the same SKUs can never wait for one another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::Addr;
use tokio::sync::Notify;

use super::batch::Outcomes;
use super::sku::{Decided, Settle, SkuActor};
use super::{ExecuteError, Outcome};
use crate::journal::{Append, Appended, Journal, JournalError};

pub struct Gathering {
    state: Mutex<State>,
    done: Notify,
}

struct State {
    is_open: bool,
    parts: Vec<Part>,
    answers: Outcomes,
    orders: usize,
    /// Orders that have not been answered.
    left: usize,
}

/// What one actor has decided; it decides nothing more until it is told how the append ended.
pub struct Part {
    pub address: Addr<SkuActor>,
    pub append: Append,
    pub decided: Vec<Decided>,
}

/// The right, and the duty, to answer one order of the batch. Dropped, it counts as answered.
pub struct Slot(Arc<Gathering>);

impl Gathering {
    pub fn of(orders: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                is_open: true,
                parts: Vec::with_capacity(orders),
                answers: Outcomes::with_capacity(orders),
                orders,
                left: orders,
            }),
            done: Notify::new(),
        })
    }

    pub fn slot(self: &Arc<Self>) -> Slot {
        Slot(self.clone())
    }

    /// How many orders have been decided, or answered.
    pub fn heard(&self) -> usize {
        let state = self.state();
        state.parts.len() + state.orders - state.left
    }

    /// Appends what has been gathered, and tells everybody how that ended. What comes later is not gathered.
    pub async fn append(&self, journal: &dyn Journal) {
        let parts = {
            let mut state = self.state();
            state.is_open = false;
            std::mem::take(&mut state.parts)
        };
        if parts.is_empty() {
            return;
        }
        let mut whole = Append {
            grounds: Vec::with_capacity(parts.len()),
            records: Vec::with_capacity(parts.len()),
        };
        let mut decided = Vec::with_capacity(parts.len());
        for part in parts {
            decided.push((Lent(Some(part.address)), whole.records.len() as u64, part.decided));
            whole.grounds.extend(part.append.grounds);
            whole.records.extend(part.append.records);
        }
        let result = journal.append(whole).await;
        for (lent, offset, decided) in decided {
            lent.settle(result.clone().map(drop));
            for decided in decided {
                match &result {
                    Ok(Appended { first_seq }) => decided.answer(first_seq + offset),
                    Err(error) => decided.fail(error),
                }
            }
        }
    }

    /// Waits until every order is answered; one whose actor is gone has no answers.
    pub async fn answers(&self) -> Outcomes {
        loop {
            let done = self.done.notified();
            {
                let mut state = self.state();
                if state.left == 0 {
                    return std::mem::take(&mut state.answers);
                }
            }
            done.await;
        }
    }

    /// Takes a part in, or gives it back where the batch has gone on already.
    pub fn take_in(&self, part: Part) -> Result<(), Part> {
        let mut state = self.state();
        if !state.is_open {
            return Err(part);
        }
        state.parts.push(part);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    pub fn gathering(&self) -> Arc<Gathering> {
        self.0.clone()
    }

    pub fn answer(self, answers: impl Iterator<Item = (u32, Result<Outcome, ExecuteError>)>) {
        self.0.state().answers.extend(answers);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.left = state.left.saturating_sub(1);
        if state.left == 0 {
            self.0.done.notify_one();
        }
    }
}

/// An actor that waits for the gathering's append. However that ends, by a defect too, it is told.
struct Lent(Option<Addr<SkuActor>>);

impl Lent {
    fn settle(mut self, result: Result<(), JournalError>) {
        if let Some(address) = self.0.take() {
            // Past the mailbox's bound, as it must arrive; there is one for each order that had its place.
            address.do_send(Settle(result));
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(address) = self.0.take() {
            let reason = "the batch ended before its outcome was known".to_owned();
            address.do_send(Settle(Err(JournalError::Unknown(reason))));
        }
    }
}
