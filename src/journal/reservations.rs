//! Reservations that hold something, as readers see them, newest first. What holds nothing any more is in the log only.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;

use super::tables::Published;
use super::{FoundReservations, ReservationFilter, ReservationPlace};
use crate::domain::{HoldChange, HoldStep, Reservation, ReservationId};

/// Entries that are looked at in one go: a search with a rare answer goes on in the next page.
const PART: usize = 10_000;

#[derive(Default)]
pub struct OpenReservations {
    entries: DashMap<ReservationId, Open, RandomState>,
    /// In the order in which they were made.
    places: RwLock<BTreeSet<ReservationPlace>>,
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
        for run in published.event.hold_runs() {
            self.take(run, published, visible);
        }
    }

    /// The same at recovery: nobody reads yet, and a checkpoint may have had the event in it.
    pub fn replay(&self, published: &Published) {
        let is_known = |run: &[HoldChange]| {
            let open = self.entries.get(&run[0].reservation_id);
            open.is_some_and(|open| open.seq >= published.seq)
        };
        let runs: Vec<_> = published.event.hold_runs().filter(|run| !is_known(run)).collect();
        runs.iter().for_each(|run| self.take(run, published, 0));
        self.drop_closed(published);
    }

    fn take(&self, run: &[HoldChange], published: &Published, visible: u64) {
        let Published { seq, event, .. } = published;
        let first = &run[0];
        let mut open = match self.entries.entry(first.reservation_id.clone()) {
            Entry::Occupied(entry) => entry.into_ref(),
            Entry::Vacant(entry) if first.step == HoldStep::Placed => {
                let place = ReservationPlace::new(*seq, first.reservation_id.clone());
                self.places
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(place);
                entry.insert(Open {
                    created: *seq,
                    now: Arc::new(Reservation::of_first(first, event)),
                    seq: 0,
                    before: None,
                })
            }
            // It was open before what is known here, and is over since.
            Entry::Vacant(_) => return,
        };
        if open.seq <= visible && open.seq > 0 {
            open.before = Some(open.now.clone());
        }
        open.seq = *seq;
        Arc::make_mut(&mut open.now).take(run, event.at);
    }

    /// Forgets those that the event has ended, now that everybody sees that.
    pub fn drop_closed(&self, published: &Published) {
        for run in published.event.hold_runs() {
            let id = &run[0].reservation_id;
            if let Some((id, open)) = self.entries.remove_if(id, |_, open| !open.now.is_active()) {
                let place = ReservationPlace::new(open.created, id);
                self.places
                    .write()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&place);
            }
        }
    }

    pub fn restore(&self, reservation: Reservation, created: u64, seq: u64) {
        let id = reservation.reservation_id.clone();
        let place = ReservationPlace::new(created, id.clone());
        self.places
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place);
        let open = Open {
            created,
            now: Arc::new(reservation),
            seq,
            before: None,
        };
        self.entries.insert(id, open);
    }

    pub fn get(&self, id: &ReservationId, visible: u64) -> Option<Arc<Reservation>> {
        self.entries.get(id)?.view(visible)
    }

    pub fn find(
        &self,
        filter: &ReservationFilter,
        before: Option<&ReservationPlace>,
        limit: usize,
        visible: u64,
    ) -> FoundReservations {
        let below = (Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded));
        let part: Vec<ReservationPlace> = {
            let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
            places.range(below).rev().take(PART).cloned().collect()
        };
        let is_last = part.len() < PART;
        self.choose(part, is_last, filter, limit, visible)
    }

    /// Among these only.
    pub fn pick(
        &self,
        ids: &[ReservationId],
        filter: &ReservationFilter,
        before: Option<&ReservationPlace>,
        limit: usize,
        visible: u64,
    ) -> FoundReservations {
        let places = ids.iter().filter_map(|id| {
            let created = self.entries.get(id)?.created;
            Some(ReservationPlace::new(created, id.clone()))
        });
        let mut places: Vec<ReservationPlace> = places
            .filter(|place| before.is_none_or(|before| place < before))
            .collect();
        places.sort_unstable_by(|a, b| b.cmp(a));
        self.choose(places, true, filter, limit, visible)
    }

    fn choose(
        &self,
        places: Vec<ReservationPlace>,
        is_last: bool,
        filter: &ReservationFilter,
        limit: usize,
        visible: u64,
    ) -> FoundReservations {
        let mut found = FoundReservations::default();
        for place in places {
            if found.reservations.len() == limit {
                return found;
            }
            let reservation = self.get(&place.id, visible);
            let fitting = reservation.filter(|reservation| filter.takes(reservation));
            found.resume = Some(place.clone());
            found
                .reservations
                .extend(fitting.map(|reservation| (place, reservation)));
        }
        if is_last {
            found.resume = None;
        }
        found
    }

    pub fn each(&self) -> Vec<(ReservationPlace, Arc<Reservation>, u64)> {
        let each = self.entries.iter().map(|entry| {
            let place = ReservationPlace::new(entry.created, entry.key().clone());
            (place, entry.now.clone(), entry.seq)
        });
        each.collect()
    }
}
