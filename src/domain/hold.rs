//! The holds on one SKU, findable by reservation, by age and by deadline.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::{Principal, ReservationId, StoreId, Timestamp};

/// What one reservation holds of one level.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hold {
    pub reservation_id: ReservationId,
    pub store_id: StoreId,
    pub by: Principal,
    /// The item's version at which it was placed: holds of a SKU by age.
    pub placed_version: u64,
    pub held: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Store first, then age; then the reservation, as one event may make several.
type Age = (StoreId, u64, ReservationId);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    by_age: BTreeMap<Age, Hold>,
    placed: HashMap<(ReservationId, StoreId), u64>,
    deadlines: BTreeSet<(Timestamp, ReservationId, StoreId)>,
    /// The same by store: a shortage names the next one there, and must not look through those of all others.
    deadlines_in: BTreeSet<(StoreId, Timestamp, ReservationId)>,
}

impl Holds {
    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    pub fn get(&self, reservation: &ReservationId, store: &StoreId) -> Option<&Hold> {
        self.by_age.get(&self.age(reservation, store)?)
    }

    fn age(&self, reservation: &ReservationId, store: &StoreId) -> Option<Age> {
        let placed = *self.placed.get(&(reservation.clone(), store.clone()))?;
        Some((store.clone(), placed, reservation.clone()))
    }

    pub fn all(&self) -> impl Iterator<Item = &Hold> {
        self.by_age.values()
    }

    /// Those on one level, oldest first.
    pub fn oldest_first<'a>(&'a self, store: &'a StoreId) -> impl Iterator<Item = &'a Hold> {
        self.by_age
            .range((store.clone(), 0, ReservationId::before_all())..)
            .take_while(move |((s, ..), _)| s == store)
            .map(|(_, hold)| hold)
    }

    /// The earliest moment at which something is over.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, ..)| *at)
    }

    /// What is over at `now`, in order of deadline and reservation.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = &Hold> {
        self.deadlines
            .iter()
            .take_while(move |(at, ..)| *at <= now)
            .filter_map(|(_, reservation, store)| self.get(reservation, store))
    }

    /// The earliest deadline among the holds on one level.
    pub fn next_deadline_in(&self, store: &StoreId) -> Option<Timestamp> {
        let from = (
            store.clone(),
            Timestamp::from_millis(i64::MIN),
            ReservationId::before_all(),
        );
        let next = self.deadlines_in.range(from..).next();
        next.filter(|(s, ..)| s == store).map(|(_, at, _)| *at)
    }

    pub(super) fn place(&mut self, hold: Hold) {
        let (reservation, store) = (hold.reservation_id.clone(), hold.store_id.clone());
        if let Some(at) = hold.expires_at {
            self.add_deadline(at, &reservation, &store);
        }
        self.placed
            .insert((reservation.clone(), store.clone()), hold.placed_version);
        self.by_age.insert((store, hold.placed_version, reservation), hold);
    }

    /// Sets what is still held; a hold of nothing is gone.
    pub(super) fn set_held(&mut self, reservation: &ReservationId, store: &StoreId, held: u64) {
        let Some(age) = self.age(reservation, store) else {
            return;
        };
        if held > 0 {
            if let Some(hold) = self.by_age.get_mut(&age) {
                hold.held = held;
            }
            return;
        }
        self.placed.remove(&(reservation.clone(), store.clone()));
        if let Some(at) = self.by_age.remove(&age).and_then(|hold| hold.expires_at) {
            self.remove_deadline(at, reservation, store);
        }
    }

    /// Sets the moment from which a hold is over.
    pub(super) fn set_deadline(&mut self, reservation: &ReservationId, store: &StoreId, at: Option<Timestamp>) {
        let age = self.age(reservation, store);
        let Some(hold) = age.and_then(|age| self.by_age.get_mut(&age)) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut hold.expires_at, at) {
            self.remove_deadline(before, reservation, store);
        }
        if let Some(at) = at {
            self.add_deadline(at, reservation, store);
        }
    }

    fn add_deadline(&mut self, at: Timestamp, reservation: &ReservationId, store: &StoreId) {
        self.deadlines.insert((at, reservation.clone(), store.clone()));
        self.deadlines_in.insert((store.clone(), at, reservation.clone()));
    }

    fn remove_deadline(&mut self, at: Timestamp, reservation: &ReservationId, store: &StoreId) {
        self.deadlines.remove(&(at, reservation.clone(), store.clone()));
        self.deadlines_in.remove(&(store.clone(), at, reservation.clone()));
    }
}
