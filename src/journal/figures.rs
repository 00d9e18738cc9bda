//! What a journal tells of itself: what it has done since it was opened, and how things stand.

use crate::domain::{EventKind, Timestamp};
use crate::metrics::{Counter, Distribution};

/// As they are at some moment during the call; no two of them need be of the same one.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub counted: Counted,
    pub standing: Standing,
    pub stock: StockFigures,
}

/// What only rises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub appends: u64,
    /// Appends that were refused, as what they were decided on was no more.
    pub conflicts: u64,
    pub bytes: u64,
    pub snapshots: u64,
    pub checkpoints: u64,
    /// Of each group that was synced together.
    pub records_per_group: Distribution,
    pub sync_micros: Distribution,
    pub events: EventCounts<u64>,
}

impl Counted {
    pub fn since(&self, before: &Self) -> Self {
        Self {
            appends: self.appends.saturating_sub(before.appends),
            conflicts: self.conflicts.saturating_sub(before.conflicts),
            bytes: self.bytes.saturating_sub(before.bytes),
            snapshots: self.snapshots.saturating_sub(before.snapshots),
            checkpoints: self.checkpoints.saturating_sub(before.checkpoints),
            records_per_group: self.records_per_group.since(&before.records_per_group),
            sync_micros: self.sync_micros.since(&before.sync_micros),
            events: self.events.since(&before.events),
        }
    }
}

/// How things stand.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    pub engine: &'static str,
    pub visible: u64,
    /// The hash of the whole history, as hexadecimal digits.
    pub head_hash: String,
    pub segments: u64,
    /// Of all segments, with the room that was made ahead.
    pub log_bytes: u64,
    /// What is left of the disk that the log lies on.
    pub disk_free_bytes: Option<u64>,
    pub checkpoint: Option<CheckpointFigures>,
    /// The last event in the totals that are kept.
    pub totals_seq: Option<u64>,
    pub recovery: RecoveryFigures,
}

/// The last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointFigures {
    pub at: Timestamp,
    pub seq: u64,
    pub bytes: u64,
    /// Of one that this process has written.
    pub duration_ms: Option<u64>,
}

/// What the start has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryFigures {
    pub duration_ms: u64,
    pub replayed: u64,
    pub replayed_bytes: u64,
    pub torn_bytes: u64,
}

/// How much stock there is to be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StockFigures {
    pub items: u64,
    pub levels: u64,
    /// With a level.
    pub stores: u64,
    pub low_items: u64,
    pub open_reservations: u64,
    /// Lines of them that hold something.
    pub held_lines: u64,
}

/// A count for each kind of event that feeds show, and one for all the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventCounts<T> {
    shown: [T; EventKind::SHOWN.len()],
    hidden: T,
}

impl<T> EventCounts<T> {
    pub fn of(&self, kind: EventKind) -> &T {
        let place = EventKind::SHOWN.iter().position(|shown| *shown == kind);
        place.and_then(|place| self.shown.get(place)).unwrap_or(&self.hidden)
    }

    pub fn hidden(&self) -> &T {
        &self.hidden
    }
}

impl EventCounts<Counter> {
    pub fn read(&self) -> EventCounts<u64> {
        EventCounts {
            shown: self.shown.each_ref().map(Counter::get),
            hidden: self.hidden.get(),
        }
    }
}

impl EventCounts<u64> {
    pub fn since(&self, before: &Self) -> Self {
        Self {
            shown: std::array::from_fn(|place| self.shown[place].saturating_sub(before.shown[place])),
            hidden: self.hidden.saturating_sub(before.hidden),
        }
    }

    /// Of what callers have asked for: an expiry is nobody's.
    pub fn asked(&self) -> u64 {
        self.shown.iter().sum::<u64>() - self.of(EventKind::ReservationExpired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_by_their_kind_and_hidden_ones_together() {
        let counts: EventCounts<Counter> = EventCounts::default();
        for kind in [EventKind::LevelAdjusted, EventKind::UserCreated, EventKind::StoreClosed] {
            counts.of(kind).one();
        }
        let before = counts.read();
        assert_eq!((*before.of(EventKind::LevelAdjusted), *before.hidden()), (1, 2));
        counts.of(EventKind::ReservationExpired).one();
        counts.of(EventKind::LevelAdjusted).add(3);
        let since = counts.read().since(&before);
        assert_eq!((*since.of(EventKind::LevelAdjusted), *since.hidden()), (3, 0));
        assert_eq!((since.asked(), before.asked()), (3, 1));
    }
}
