//! How far the deliveries of each webhook have come, and what could not be delivered: what is kept of them.
//!
//! All of it is one document, so that what is passed over and what became of it are kept in one step. It may be behind what
//! was delivered, and never ahead: after a crash something may be delivered once more, and nothing is left out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

use crate::domain::webhook::Topic;
use crate::domain::{Event, LastEvent, Timestamp};
use crate::journal::Kept;

/// The most dead letters that a webhook keeps: the newest.
pub const MAX_DEAD_LETTERS: usize = 1000;

/// How the deliveries of one webhook stand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Each event up to here was delivered, was not asked for, or is a dead letter.
    pub seq: u64,
    /// Which event that is, if it has looked at any: in another log it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastEvent>,
    /// How often in a row the next one has failed.
    pub failures: u32,
    pub next_attempt_at: Option<Timestamp>,
    pub last_success_at: Option<Timestamp>,
    pub last_failure: Option<LastFailure>,
    pub delivered: u64,
    pub failed_attempts: u64,
    /// In order of sequence. Shared, as whoever looks at a standing takes a copy of it.
    pub dead_letters: Arc<VecDeque<DeadLetter>>,
    /// Dead letters that had to make room for newer ones.
    pub dropped: u64,
    /// How many of those that are there are to be sent once more.
    #[serde(skip)]
    asked: usize,
    /// How often in a row such a one has failed.
    #[serde(default)]
    pub redelivery_failures: u32,
    /// Before that no other one is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_redelivery_at: Option<Timestamp>,
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
    pub fn passed(&mut self, seq: u64, event: &Event) {
        (self.seq, self.last) = (seq, Some(LastEvent::of(event)));
    }

    pub fn delivered(&mut self, seq: u64, event: &Event, now: Timestamp) {
        self.passed(seq, event);
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
    pub fn buried(&mut self, seq: u64, event: &Event, topic: Topic, message: &str, now: Timestamp) {
        let failure = self.note(message, now);
        let letter = DeadLetter {
            seq,
            topic,
            attempts: self.failures.saturating_add(1),
            failure,
            is_asked: false,
        };
        let too_many = self.change_letters(|letters| {
            letters.push_back(letter);
            letters.drain(..letters.len().saturating_sub(MAX_DEAD_LETTERS)).count()
        });
        self.dropped += too_many as u64;
        self.passed(seq, event);
        (self.failures, self.next_attempt_at) = (0, None);
    }

    /// The next attempts need not wait any longer.
    pub fn hurry(&mut self) {
        (self.next_attempt_at, self.next_redelivery_at) = (None, None);
    }

    /// The log ends here, and once went further: it was restored from a backup.
    pub fn cut(&mut self, end: u64, last: Option<LastEvent>) {
        (self.seq, self.last) = (end, last);
        (self.failures, self.next_attempt_at) = (0, None);
        self.change_letters(|letters| letters.retain(|letter| letter.seq <= end));
    }

    /// Marks dead letters as to be sent once more, the first of them at once: these, or all of them. Says how many; an error
    /// is one that is not there.
    pub fn ask(&mut self, seqs: Option<&[u64]>) -> Result<usize, u64> {
        let is_there = |seq: &u64| self.dead_letters.iter().any(|letter| letter.seq == *seq);
        if let Some(missing) = seqs.unwrap_or_default().iter().find(|seq| !is_there(seq)) {
            return Err(*missing);
        }
        self.next_redelivery_at = None;
        let is_asked = |seq: u64| seqs.is_none_or(|seqs| seqs.contains(&seq));
        Ok(self.change_letters(|letters| {
            let asked = letters.iter_mut().filter(|letter| is_asked(letter.seq));
            asked.map(|letter| letter.is_asked = true).count()
        }))
    }

    /// The first dead letter that is to be sent once more.
    pub fn asked(&self) -> Option<&DeadLetter> {
        // Couriers look with each event, and there may be a thousand letters.
        if self.asked == 0 {
            return None;
        }
        self.dead_letters.iter().find(|letter| letter.is_asked)
    }

    pub fn redelivered(&mut self, seq: u64, now: Timestamp) {
        self.change_letters(|letters| letters.retain(|letter| letter.seq != seq));
        self.succeeded(now);
        (self.redelivery_failures, self.next_redelivery_at) = (0, None);
    }

    /// It is not sent again unless it is asked for again; the others that are asked for wait until `next`.
    pub fn stayed_dead(&mut self, seq: u64, message: &str, next: Timestamp, now: Timestamp) {
        let failure = self.note(message, now);
        self.change_letters(|letters| {
            if let Some(letter) = letters.iter_mut().find(|letter| letter.seq == seq) {
                letter.attempts = letter.attempts.saturating_add(1);
                letter.failure = failure;
                letter.is_asked = false;
            }
        });
        self.redelivery_failures = self.redelivery_failures.saturating_add(1);
        self.next_redelivery_at = Some(next);
    }

    fn change_letters<T>(&mut self, change: impl FnOnce(&mut VecDeque<DeadLetter>) -> T) -> T {
        let changed = change(Arc::make_mut(&mut self.dead_letters));
        self.count_asked();
        changed
    }

    fn count_asked(&mut self) {
        self.asked = self.dead_letters.iter().filter(|letter| letter.is_asked).count();
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

/// By the id of the webhook.
pub type Standings = BTreeMap<Arc<str>, Standing>;

/// As they were kept.
pub fn read(kept: &Kept) -> serde_json::Result<Standings> {
    let mut standings: Standings = serde_json::from_str(kept.body.get())?;
    standings.values_mut().for_each(Standing::count_asked);
    Ok(standings)
}

/// As they are kept.
pub fn written(standings: &Standings) -> serde_json::Result<Kept> {
    let seq = standings.values().map(|standing| standing.seq).max().unwrap_or(0);
    to_raw_value(standings).map(|body| Kept { seq, body })
}

/// The standings of all webhooks.
#[derive(Default)]
pub struct Ledger {
    standings: Mutex<Standings>,
    /// Since it was kept.
    is_changed: AtomicBool,
}

impl Ledger {
    pub fn of(standings: Standings) -> Self {
        Self {
            standings: Mutex::new(standings),
            is_changed: AtomicBool::default(),
        }
    }

    /// What is to be kept, where something has changed since it was last asked for. Couriers wait no longer than it takes
    /// to copy it, which is little, as dead letters are shared.
    pub fn changed(&self) -> Option<Standings> {
        self.is_changed
            .swap(false, Ordering::AcqRel)
            .then(|| self.standings().clone())
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

    fn standings(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Standing>> {
        self.standings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventKind, Principal, RequestId};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn event() -> Event {
        Event {
            kind: EventKind::LevelAdjusted,
            at: at(0),
            by: Principal::system(),
            request_id: RequestId::parse("r").unwrap(),
            reservation_id: None,
            reference: None,
            note: None,
            changes: Vec::new(),
            holds: Vec::new(),
            items: Vec::new(),
            entries: Vec::new(),
        }
    }

    fn buried(seqs: impl Iterator<Item = u64>) -> Standing {
        let mut standing = Standing::beginning(0);
        seqs.for_each(|seq| standing.buried(seq, &event(), Topic::LowStock, "answered 500", at(seq as i64)));
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
        standing.delivered(8, &event(), at(20));
        assert_eq!(
            (standing.seq, standing.failures, standing.next_attempt_at),
            (8, 0, None)
        );
        assert_eq!(
            (standing.delivered, standing.failed_attempts, standing.last_success_at),
            (1, 2, Some(at(20)))
        );
        dead.buried(8, &event(), Topic::All, "answered 400", at(20));
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
        standing.stayed_dead(8, "answered 500", at(200), at(101));
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
    fn a_redelivery_that_failed_has_the_others_wait_until_one_succeeds_or_somebody_asks_again() {
        let mut standing = buried([3, 5, 8].into_iter());
        standing.ask(None).unwrap();
        standing.stayed_dead(3, "answered 500", at(200), at(100));
        let waits = |standing: &Standing| (standing.redelivery_failures, standing.next_redelivery_at);
        assert_eq!(
            (standing.asked().unwrap().seq, waits(&standing)),
            (5, (1, Some(at(200))))
        );
        standing.stayed_dead(5, "answered 500", at(400), at(200));
        assert_eq!(
            (standing.asked().unwrap().seq, waits(&standing)),
            (8, (2, Some(at(400))))
        );
        standing.ask(Some(&[3])).unwrap();
        assert_eq!((standing.asked().unwrap().seq, waits(&standing)), (3, (2, None)));
        standing.redelivered(3, at(300));
        assert_eq!((standing.asked().unwrap().seq, waits(&standing)), (8, (0, None)));
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let ledger = Ledger::default();
        ledger.begin(&"w".into(), 3);
        ledger.change("w", |standing| {
            standing.buried(4, &event(), Topic::LowStock, "answered 500", at(1));
            standing.ask(None)
        });
        let kept = written(&ledger.changed().unwrap()).unwrap();
        assert_eq!(kept.seq, 4);
        assert!(ledger.changed().is_none(), "nothing has changed since");
        let again = Ledger::of(read(&kept).unwrap());
        assert_eq!(again.get("w"), ledger.get("w"));
        assert_eq!(again.get("w").unwrap().asked().unwrap().seq, 4);
    }

    /// As the first version wrote it.
    #[test]
    fn a_document_without_what_was_added_later_is_read() {
        let body = r#"{"w":{"seq":4,"failures":0,"nextAttemptAt":null,"lastSuccessAt":null,"lastFailure":null,"delivered":0,
            "failedAttempts":1,"deadLetters":[{"seq":4,"topic":"stock.low","attempts":1,
            "failure":{"at":"2026-01-01T00:00:00.000Z","message":"answered 500"},"isAsked":true}],"dropped":0}}"#;
        let body = serde_json::from_str(body).unwrap();
        let standing = &read(&Kept { seq: 4, body }).unwrap()["w"];
        assert_eq!(
            (standing.seq, &standing.last, standing.asked().unwrap().seq),
            (4, &None, 4)
        );
    }

    #[test]
    fn what_lies_beyond_the_end_of_the_log_is_forgotten() {
        let mut standing = buried([3, 5, 8].into_iter());
        standing.ask(None).unwrap();
        standing.cut(4, Some(LastEvent::of(&event())));
        let left: Vec<u64> = standing.dead_letters.iter().map(|letter| letter.seq).collect();
        assert_eq!((standing.seq, left, standing.asked().unwrap().seq), (4, vec![3], 3));
    }
}
