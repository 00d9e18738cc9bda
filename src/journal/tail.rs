//! The end of the log in memory, for those who follow it: they ask soon after an event, and reading it back from storage
//! would cost each of them more than it cost to decide it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Logged;
use super::tables::Published;
use crate::domain::Event;

/// So many bytes are kept, by what the events take in the log: at fifty thousand writes a second those of the last third of
/// a second. In memory they are about as many.
const MOST_BYTES: usize = 6 << 20;

#[derive(Default)]
pub struct Tail(Mutex<Kept>);

/// Events that follow one another up to the last one that was published.
#[derive(Default)]
struct Kept {
    first_seq: u64,
    events: VecDeque<Entry>,
    bytes: usize,
}

struct Entry {
    event: Arc<Event>,
    /// Its share of what its group takes.
    bytes: usize,
}

impl Tail {
    /// In log order, before it is shown; in the log the group takes so many bytes.
    pub fn add(&self, group: &[Published], bytes: usize) {
        let (mut kept, share) = (self.kept(), bytes / group.len().max(1));
        group.iter().for_each(|published| kept.push(published, share));
    }

    /// The events behind `after` that are shown, up to `limit`. None, if the first of them is no longer here.
    pub fn behind(&self, after: u64, visible: u64, limit: usize) -> Option<Vec<Logged>> {
        if after >= visible {
            return Some(Vec::new());
        }
        let kept = self.kept();
        let skipped = usize::try_from((after + 1).checked_sub(kept.first_seq)?).ok()?;
        let shown = usize::try_from(visible - after).unwrap_or(usize::MAX);
        let is_here = skipped < kept.events.len();
        let kept = kept.events.iter().skip(skipped).take(limit.min(shown));
        let events = kept.map(|entry| entry.event.clone());
        is_here.then(|| (after + 1..).zip(events).collect())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, published: &Published, bytes: usize) {
        if self.events.is_empty() {
            self.first_seq = published.seq;
        }
        let event = published.event.clone();
        self.bytes += bytes;
        self.events.push_back(Entry { event, bytes });
        while self.bytes > MOST_BYTES && self.events.len() > 1 {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= oldest.bytes;
                self.first_seq += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn published(seq: u64) -> Published {
        let event = json!({
            "type": "level.adjusted", "at": "2025-11-27T08:26:00.123Z", "by": "anonymous", "requestId": seq.to_string(),
            "changes": [],
        });
        Published {
            seq,
            event: serde_json::from_value(event).unwrap(),
            receipt: None,
        }
    }

    fn seqs(tail: &Tail, after: u64, visible: u64, limit: usize) -> Option<Vec<u64>> {
        let events = tail.behind(after, visible, limit)?;
        assert!(
            events
                .iter()
                .all(|(seq, event)| event.request_id.as_str() == seq.to_string())
        );
        Some(events.into_iter().map(|(seq, _)| seq).collect())
    }

    #[test]
    fn what_is_shown_is_found_behind_any_place_that_is_kept() {
        let tail = Tail::default();
        assert_eq!(seqs(&tail, 0, 10, 5), None);
        let group: Vec<_> = (11..=20).map(published).collect();
        tail.add(&group, 5000);
        assert_eq!(seqs(&tail, 9, 20, 5), None);
        assert_eq!(seqs(&tail, 10, 20, 3), Some(vec![11, 12, 13]));
        assert_eq!(seqs(&tail, 17, 20, 9), Some(vec![18, 19, 20]));
        assert_eq!(seqs(&tail, 17, 19, 9), Some(vec![18, 19]), "the last is not shown yet");
        assert_eq!(seqs(&tail, 20, 20, 9), Some(vec![]));
    }

    #[test]
    fn what_is_kept_has_a_bound_whatever_the_size_of_events() {
        let tail = Tail::default();
        (1..=10).for_each(|seq| tail.add(&[published(seq)], MOST_BYTES / 4));
        assert_eq!(seqs(&tail, 5, 10, 9), None);
        assert_eq!(seqs(&tail, 6, 10, 9), Some(vec![7, 8, 9, 10]));
        tail.add(&[published(11)], 2 * MOST_BYTES);
        assert_eq!((seqs(&tail, 9, 11, 9), seqs(&tail, 10, 11, 9)), (None, Some(vec![11])));
    }
}
