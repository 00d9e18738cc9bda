//! Reservations that hold something, as readers see them, newest first. What holds nothing any more is in the log only.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use dashmap::DashMap;
use foldhash::fast::RandomState;

use super::tables::Published;
use super::{FoundReservations, ReservationFilter, ReservationPlace};
use crate::domain::{HoldChange, Principal, Reservation, ReservationId};

/// Entries that are looked at in one go.
const PART: usize = 512;
/// A search looks at so many parts: one with a rare answer goes on in the next page.
const MAX_PARTS: usize = 20;

#[derive(Default)]
pub struct OpenReservations {
    entries: DashMap<ReservationId, Open, RandomState>,
    /// In the order in which they were made.
    places: RwLock<BTreeSet<ReservationPlace>>,
    /// In how many lines each principal holds something.
    lines: DashMap<Principal, u64, RandomState>,
}

struct Open {
    /// The sequence of the event that has made it.
    created: u64,
    /// After its last published event.
    now: Arc<Reservation>,
    seq: u64,
    /// What readers below that still see; nothing where there was nothing.
    before: Option<Arc<Reservation>>,
}

impl Open {
    fn view(&self, visible: u64) -> Option<Arc<Reservation>> {
        match self.seq <= visible {
            true => Some(self.now.clone()),
            false => self.before.clone(),
        }
    }
}

impl OpenReservations {
    /// Takes in what an event does to reservations; readers at `visible` go on seeing them as they were.
    pub fn evolve(&self, published: &Published, visible: u64) {
        for (id, own) in published.event.holds_by_reservation() {
            self.take(id, &own, published, visible);
        }
    }

    /// The same at recovery: nobody reads yet, and a checkpoint may have had the event in it.
    pub fn replay(&self, published: &Published) {
        for (id, own) in published.event.holds_by_reservation() {
            let is_known = self.entries.get(id).is_some_and(|open| open.seq >= published.seq);
            if !is_known {
                self.take(id, &own, published, 0);
            }
        }
        self.drop_closed(published);
    }

    /// All that the event does to one reservation in one go: a checkpoint is written beside this.
    fn take(&self, id: &ReservationId, own: &[&HoldChange], published: &Published, visible: u64) {
        let Published { seq, event, .. } = published;
        match self.entries.get_mut(id) {
            Some(mut open) => {
                if open.seq <= visible {
                    open.before = Some(open.now.clone());
                }
                open.seq = *seq;
                let before = open.now.open_lines();
                Arc::make_mut(&mut open.now).take(own, event.at);
                self.count(&open.now, before);
            }
            None => {
                // Otherwise it was open before what is known here, and is over since.
                if let Some(made) = Reservation::made_by(event, own) {
                    self.add(Arc::new(made), *seq, *seq);
                }
            }
        }
    }

    fn add(&self, reservation: Arc<Reservation>, created: u64, seq: u64) {
        self.count(&reservation, 0);
        let id = reservation.reservation_id.clone();
        let place = ReservationPlace::new(created, id.clone());
        let open = Open {
            created,
            now: reservation,
            seq,
            before: None,
        };
        self.entries.insert(id, open);
        self.places().insert(place);
    }

    /// Of a reservation that held something in `before` lines so far.
    fn count(&self, reservation: &Reservation, before: u64) {
        let after = reservation.open_lines();
        if after != before {
            let mut lines = self.lines.entry(reservation.by.clone()).or_default();
            *lines = (*lines + after).saturating_sub(before);
        }
    }

    /// In how many lines a principal holds something.
    pub fn lines_of(&self, by: &Principal) -> u64 {
        self.lines.get(by).map_or(0, |lines| *lines)
    }

    /// How many hold something.
    pub fn open(&self) -> u64 {
        self.entries.len() as u64
    }

    /// In how many lines they do.
    pub fn held_lines(&self) -> u64 {
        self.lines.iter().map(|lines| *lines).sum()
    }

    fn places(&self) -> RwLockWriteGuard<'_, BTreeSet<ReservationPlace>> {
        self.places.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets those that the event has ended, now that everybody sees that.
    pub fn drop_closed(&self, published: &Published) {
        for hold in published.event.holds.iter().filter(|hold| hold.held == 0) {
            let ended = self
                .entries
                .remove_if(&hold.reservation_id, |_, open| !open.now.is_active());
            if let Some((id, open)) = ended {
                self.places().remove(&ReservationPlace::new(open.created, id));
            }
        }
    }

    pub fn restore(&self, reservation: Arc<Reservation>, created: u64, seq: u64) {
        self.add(reservation, created, seq);
    }

    pub fn get(&self, id: &ReservationId, visible: u64) -> Option<Arc<Reservation>> {
        self.entries.get(id)?.view(visible)
    }

    /// Those that fit, newest first, made before a place.
    pub fn find(
        &self,
        filter: &ReservationFilter,
        before: Option<&ReservationPlace>,
        limit: usize,
        visible: u64,
    ) -> FoundReservations {
        let mut found = FoundReservations {
            resume: before.cloned(),
            ..FoundReservations::default()
        };
        for _ in 0..MAX_PARTS {
            let part = self.part(found.resume.as_ref());
            for place in &part {
                if found.reservations.len() == limit {
                    return found;
                }
                let reservation = self.get(&place.id, visible);
                let fitting = reservation.filter(|reservation| filter.takes(reservation));
                found.resume = Some(place.clone());
                found
                    .reservations
                    .extend(fitting.map(|reservation| (place.clone(), reservation)));
            }
            if part.len() < PART {
                found.resume = None;
                return found;
            }
        }
        found
    }

    /// Copied, so that whoever makes a reservation does not wait for a search.
    fn part(&self, before: Option<&ReservationPlace>) -> Vec<ReservationPlace> {
        let below = (Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded));
        let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
        places.range(below).rev().take(PART).cloned().collect()
    }

    pub fn each(&self) -> Vec<(ReservationPlace, Arc<Reservation>, u64)> {
        let each = self.entries.iter().map(|entry| {
            let place = ReservationPlace::new(entry.created, entry.key().clone());
            (place, entry.now.clone(), entry.seq)
        });
        each.collect()
    }
}
