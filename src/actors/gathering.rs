//! Where the actors of a batch's SKUs put what they have decided, so that one append carries it for all of
//! them: a thousand SKUs then cost one wake-up of the batch and not one of each actor.
//!
//! Nobody waits here for anybody: the batch appends whatever has come as soon as no more is coming, and does so
//! again when actors that were busy come later. So two batches over the same SKUs never wait for one another.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::batch::Outcomes;
use super::debt::Debt;
use super::order::{Decided, Few};
use super::sku::is_recorded;
use super::{ExecuteError, Outcome};
use crate::domain::{EntryKey, Sku};
use crate::journal::{Append, Appended, Journal, JournalError, Record};

/// So many SKUs are appended without waiting for more: while the log writes them, the next are decided.
const ENOUGH: usize = 256;

pub struct Gathering {
    state: Mutex<State>,
    /// Orders that have not been answered.
    left: AtomicUsize,
    /// Something has come, or everything is answered.
    news: Notify,
}

struct State {
    /// The batch has ended, in order or not.
    is_over: bool,
    parts: Vec<Part>,
    answers: Outcomes,
}

/// What one actor has decided, for this batch and perhaps for others; it decides nothing more until that is in the
/// log's queue.
pub struct Part {
    pub debt: Debt,
    /// The item version that it was decided on.
    pub ground: (Sku, u64),
    /// The versions of stores that it rests on.
    pub entry_grounds: Vec<(EntryKey, u64)>,
    pub records: Few<Record>,
    pub decided: Few<Decided>,
}

/// The right, and the duty, to answer one order of the batch. Dropped, it counts as answered.
pub struct Slot(Arc<Gathering>);

impl Gathering {
    /// Of about so many orders.
    pub fn of(orders: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                is_over: false,
                parts: Vec::with_capacity(orders),
                answers: Outcomes::with_capacity(orders),
            }),
            left: AtomicUsize::new(0),
            news: Notify::new(),
        })
    }

    /// For one order more, before any is on its way.
    pub fn slot(self: &Arc<Self>) -> Slot {
        self.left.fetch_add(1, Ordering::Relaxed);
        Slot(self.clone())
    }

    pub fn take_in(&self, part: Part) {
        let mut state = self.state();
        if state.is_over {
            drop(state);
            // Nobody would append it: its actor is told so.
            return drop(part);
        }
        state.parts.push(part);
        drop(state);
        self.news.notify_one();
    }

    /// Appends what comes until every order is answered. One whose actor is gone has no answers.
    pub async fn run(&self, journal: &Arc<dyn Journal>) -> Outcomes {
        let _over = Over(self);
        loop {
            self.news.notified().await;
            self.calm().await;
            // Looked at first: who has answered the last order, has put nothing in after it.
            let left = self.left();
            let parts = std::mem::take(&mut self.state().parts);
            if left == 0 && parts.is_empty() {
                return std::mem::take(&mut self.state().answers);
            }
            if !parts.is_empty() {
                actix_web::rt::spawn(append(journal.clone(), parts));
            }
        }
    }

    /// Waits as long as actors of this thread come to decide, until there is enough for the log to begin with.
    async fn calm(&self) {
        let heard = || (self.state().parts.len(), self.left());
        let (mut before, mut quiet) = (heard(), 0);
        while quiet < 2 && before.0 < ENOUGH && before.1 > 0 {
            tokio::task::yield_now().await;
            let now = heard();
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
        }
    }

    fn left(&self) -> usize {
        self.left.load(Ordering::Acquire)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a batch, by a defect too: what nobody will append is let go of, and those who wait for it are told.
struct Over<'a>(&'a Gathering);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        let parts = {
            let mut state = self.0.state();
            state.is_over = true;
            std::mem::take(&mut state.parts)
        };
        drop(parts);
    }
}

/// Appends what several actors have decided, and tells everybody how that ended.
async fn append(journal: Arc<dyn Journal>, parts: Vec<Part>) {
    let (grounds, records) = (Vec::with_capacity(parts.len()), Vec::with_capacity(parts.len()));
    let mut whole = Append::of_stock(grounds, records);
    let mut waiting = Vec::with_capacity(parts.len());
    for part in parts {
        waiting.push((part.debt, whole.records.len() as u64, part.decided));
        whole.grounds.push(part.ground);
        whole.entry_grounds.extend(part.entry_grounds);
        whole.records.extend(part.records);
    }
    let appended = journal.append(whole);
    waiting.iter_mut().for_each(|(debt, ..)| debt.queued());
    let result = appended.await;
    if matches!(result, Err(JournalError::Conflict)) {
        return decide_again(&*journal, waiting.into_iter().map(|(debt, _, decided)| (debt, decided))).await;
    }
    for (debt, offset, decided) in waiting {
        debt.settle(result.as_ref().map(drop));
        for decided in decided {
            match &result {
                Ok(Appended { first_seq }) => decided.answer(first_seq + offset),
                Err(error) => decided.fail(error),
            }
        }
    }
}

/// One of the SKUs has moved on, or a store is about to be deleted: then all of them decide once more. Or a key has been
/// used: then its caller is to ask again, and finds the receipt.
async fn decide_again(journal: &dyn Journal, parts: impl Iterator<Item = (Debt, Few<Decided>)>) {
    let now = journal.last_time();
    for (debt, decided) in parts {
        let mut again = Vec::with_capacity(decided.len());
        for decided in decided {
            match is_recorded(journal, &decided, now).await {
                true => decided.fail(&JournalError::Conflict),
                false => again.push(decided.message),
            }
        }
        debt.again(again);
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
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.news.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::journal::memory::MemoryJournal;

    #[test]
    fn an_order_whose_actor_is_gone_is_waited_for_no_longer() {
        let gathering = Gathering::of(2);
        let (answered, lost) = (gathering.slot(), gathering.slot());
        answered.answer(std::iter::once((7, Err(ExecuteError::KeyInFlight))));
        let journal: Arc<dyn Journal> = Arc::new(MemoryJournal::new(0));
        let outcomes = actix_web::rt::System::new().block_on(async {
            actix_web::rt::spawn(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                drop(lost);
            });
            tokio::time::timeout(Duration::from_secs(20), gathering.run(&journal)).await
        });
        let places: Vec<u32> = outcomes.unwrap().into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, [7]);
    }
}
