//! How far the deliveries of each webhook have come, and what could not be delivered: what is kept of them.
//!
//! All of it is one document, so that what is passed over and what became of it are kept in one step. It may be behind what
//! was delivered, and never ahead: after a crash something may be delivered once more, and nothing is left out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use crate::domain::Timestamp;
use crate::domain::webhook::Topic;
use crate::journal::Kept;

/// The most dead letters that a webhook keeps: the newest.
pub const MAX_DEAD_LETTERS: usize = 1000;

/// How the deliveries of one webhook stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Each event up to here was delivered, was not asked for, or is a dead letter.
    pub seq: u64,
    /// How often in a row the next one has failed.
    pub failures: u32,
    pub next_attempt_at: Option<Timestamp>,
    pub last_success_at: Option<Timestamp>,
    pub last_failure: Option<LastFailure>,
    pub delivered: u64,
    pub failed_attempts: u64,
    /// In order of sequence.
    pub dead_letters: VecDeque<DeadLetter>,
    /// Dead letters that had to make room for newer ones.
    pub dropped: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastFailure {
    pub at: Timestamp,
    pub message: String,
}

/// An event that is not tried any more by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeadLetter {
    pub seq: u64,
    pub topic: Topic,
    pub attempts: u32,
    pub failure: LastFailure,
    /// It is to be sent once more.
    pub is_asked: bool,
}

impl Standing {
    pub fn beginning(after: u64) -> Self {
        Self {
            seq: after,
            ..Self::default()
        }
    }

    /// The event at `seq` was not asked for.
    pub fn passed(&mut self, seq: u64) {
        self.seq = seq;
    }

    pub fn delivered(&mut self, seq: u64, now: Timestamp) {
        self.seq = seq;
        self.succeeded(now);
        (self.failures, self.next_attempt_at) = (0, None);
    }

    /// It is tried again at `next`; or not before something is changed.
    pub fn failed(&mut self, message: &str, next: Option<Timestamp>, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.next_attempt_at = next;
        self.note(message, now);
    }

    /// The last attempt has failed: it goes on with the next event.
    pub fn buried(&mut self, seq: u64, topic: Topic, message: &str, now: Timestamp) {
        let failure = self.note(message, now);
        let letter = DeadLetter {
            seq,
            topic,
            attempts: self.failures.saturating_add(1),
            failure,
            is_asked: false,
        };
        self.dead_letters.push_back(letter);
        while self.dead_letters.len() > MAX_DEAD_LETTERS {
            self.dead_letters.pop_front();
            self.dropped += 1;
        }
        self.seq = seq;
        (self.failures, self.next_attempt_at) = (0, None);
    }

    /// The next attempt need not wait any longer.
    pub fn hurry(&mut self) {
        self.next_attempt_at = None;
    }

    /// Marks dead letters as to be sent once more: these, or all of them. Says how many; an error is one that is not there.
    pub fn ask(&mut self, seqs: Option<&[u64]>) -> Result<usize, u64> {
        let is_there = |seq: &u64| self.dead_letters.iter().any(|letter| letter.seq == *seq);
        if let Some(missing) = seqs.unwrap_or_default().iter().find(|seq| !is_there(seq)) {
            return Err(*missing);
        }
        let is_asked = |seq: u64| seqs.is_none_or(|seqs| seqs.contains(&seq));
        let asked = self.dead_letters.iter_mut().filter(|letter| is_asked(letter.seq));
        Ok(asked.map(|letter| letter.is_asked = true).count())
    }

    /// The first dead letter that is to be sent once more.
    pub fn asked(&self) -> Option<&DeadLetter> {
        self.dead_letters.iter().find(|letter| letter.is_asked)
    }

    pub fn redelivered(&mut self, seq: u64, now: Timestamp) {
        self.dead_letters.retain(|letter| letter.seq != seq);
        self.succeeded(now);
    }

    pub fn stayed_dead(&mut self, seq: u64, message: &str, now: Timestamp) {
        let failure = self.note(message, now);
        let mut letters = self.dead_letters.iter_mut();
        if let Some(letter) = letters.find(|letter| letter.seq == seq) {
            letter.attempts = letter.attempts.saturating_add(1);
            letter.failure = failure;
            letter.is_asked = false;
        }
    }

    fn succeeded(&mut self, now: Timestamp) {
        self.delivered += 1;
        self.last_success_at = Some(now);
    }

    fn note(&mut self, message: &str, at: Timestamp) -> LastFailure {
        let message = message.to_owned();
        let failure = LastFailure { at, message };
        self.failed_attempts += 1;
        self.last_failure = Some(failure.clone());
        failure
    }
}

/// The standings of all webhooks.
#[derive(Default)]
pub struct Ledger {
    standings: Mutex<BTreeMap<Arc<str>, Standing>>,
    /// Since it was kept.
    is_changed: AtomicBool,
}

impl Ledger {
    /// As it was kept. No standing is believed that is ahead of the log's end.
    pub fn of(kept: &Kept, end: u64) -> serde_json::Result<Self> {
        let mut standings: BTreeMap<Arc<str>, Standing> = serde_json::from_str(kept.body.get())?;
        for standing in standings.values_mut() {
            standing.seq = standing.seq.min(end);
            standing.dead_letters.retain(|letter| letter.seq <= end);
        }
        Ok(Self {
            standings: Mutex::new(standings),
            is_changed: AtomicBool::default(),
        })
    }

    /// What is to be kept, where something has changed since it was last asked for.
    pub fn changed(&self) -> Option<serde_json::Result<Kept>> {
        self.is_changed.swap(false, Ordering::AcqRel).then(|| {
            let standings = self.standings();
            let seq = standings.values().map(|standing| standing.seq).max().unwrap_or(0);
            to_raw_value(&*standings).map(|body| Kept { seq, body })
        })
    }

    /// It could not be kept: it is to be tried again.
    pub fn is_not_kept(&self) {
        self.is_changed.store(true, Ordering::Release);
    }

    pub fn get(&self, id: &str) -> Option<Standing> {
        self.standings().get(id).cloned()
    }

    pub fn look<T>(&self, id: &str, look: impl FnOnce(&Standing) -> T) -> Option<T> {
        self.standings().get(id).map(look)
    }

    pub fn change<T>(&self, id: &str, change: impl FnOnce(&mut Standing) -> T) -> Option<T> {
        let changed = self.standings().get_mut(id).map(change);
        self.is_not_kept();
        changed
    }

    /// Begins a standing where there is none yet.
    pub fn begin(&self, id: &Arc<str>, after: u64) {
        self.standings().entry(id.clone()).or_insert_with(|| {
            self.is_not_kept();
            Standing::beginning(after)
        });
    }

    /// Forgets the webhooks that are there no longer.
    pub fn keep_only(&self, is_there: impl Fn(&Arc<str>) -> bool) {
        let mut standings = self.standings();
        let before = standings.len();
        standings.retain(|id, _| is_there(id));
        if standings.len() < before {
            self.is_not_kept();
        }
    }

    pub fn sum(&self, of: impl Fn(&Standing) -> u64) -> u64 {
        self.standings().values().map(of).sum()
    }

    pub fn each<T>(&self, of: impl Fn(&Arc<str>, &Standing) -> T) -> Vec<T> {
        self.standings().iter().map(|(id, standing)| of(id, standing)).collect()
    }

    fn standings(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Standing>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn buried(seqs: impl Iterator<Item = u64>) -> Standing {
        let mut standing = Standing::beginning(0);
        seqs.for_each(|seq| standing.buried(seq, Topic::LowStock, "answered 500", at(seq as i64)));
        standing
    }

    #[test]
    fn a_delivery_that_failed_stays_next_until_it_is_delivered_or_dead() {
        let mut standing = Standing::beginning(7);
        standing.failed("answered 500", Some(at(9)), at(1));
        standing.failed("answered 503", Some(at(20)), at(9));
        assert_eq!(
            (standing.seq, standing.failures, standing.next_attempt_at),
            (7, 2, Some(at(20)))
        );
        let mut dead = standing.clone();
        standing.delivered(8, at(20));
        assert_eq!(
            (standing.seq, standing.failures, standing.next_attempt_at),
            (8, 0, None)
        );
        assert_eq!(
            (standing.delivered, standing.failed_attempts, standing.last_success_at),
            (1, 2, Some(at(20)))
        );
        dead.buried(8, Topic::All, "answered 400", at(20));
        assert_eq!(
            (dead.seq, dead.failures, dead.delivered, dead.failed_attempts),
            (8, 0, 0, 3)
        );
        let letter = &dead.dead_letters[0];
        assert_eq!(
            (letter.seq, letter.attempts, &*letter.failure.message),
            (8, 3, "answered 400")
        );
    }

    #[test]
    fn the_newest_dead_letters_are_kept_and_the_others_counted() {
        let standing = buried(1..=MAX_DEAD_LETTERS as u64 + 2);
        assert_eq!((standing.dead_letters.len(), standing.dropped), (MAX_DEAD_LETTERS, 2));
        assert_eq!(standing.dead_letters[0].seq, 3);
    }

    #[test]
    fn dead_letters_are_sent_again_when_they_are_asked_for_once_each() {
        let mut standing = buried([3, 5, 8].into_iter());
        assert_eq!(standing.asked(), None);
        assert_eq!(standing.ask(Some(&[5, 6])), Err(6));
        assert_eq!(standing.asked(), None, "what was refused has changed something");
        assert_eq!(standing.ask(Some(&[8, 5])), Ok(2));
        assert_eq!(standing.asked().unwrap().seq, 5);
        standing.redelivered(5, at(100));
        standing.stayed_dead(8, "answered 500", at(101));
        assert_eq!(standing.asked(), None);
        let left: Vec<(u64, u32)> = standing
            .dead_letters
            .iter()
            .map(|one| (one.seq, one.attempts))
            .collect();
        assert_eq!((left, standing.seq, standing.delivered), (vec![(3, 1), (8, 2)], 8, 1));
        assert_eq!(standing.ask(None), Ok(2));
    }

    #[test]
    fn what_is_kept_is_read_back_but_never_ahead_of_the_log() {
        let ledger = Ledger::default();
        ledger.begin(&"w".into(), 3);
        ledger.change("w", |standing| {
            standing.buried(4, Topic::LowStock, "answered 500", at(1))
        });
        let kept = ledger.changed().unwrap().unwrap();
        assert_eq!(kept.seq, 4);
        assert!(ledger.changed().is_none(), "nothing has changed since");
        let read = Ledger::of(&kept, 9).unwrap();
        assert_eq!(read.get("w"), ledger.get("w"));
        assert_eq!(Ledger::of(&kept, 2).unwrap().get("w").unwrap().seq, 2);
    }
}
