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

/// The place of a hold among those of its SKU: later ones have greater numbers.
type Place = u64;

#[derive(Clone, Debug, Default)]
pub struct Holds {
    stores: BTreeMap<StoreId, InStore>,
    places: HashMap<(ReservationId, StoreId), Place>,
    /// The earliest deadline in each store that has one.
    next: BTreeSet<(Timestamp, StoreId)>,
    last_place: Place,
}

/// Holds on one level. Numbers find them, as comparing ids would read memory all over the place.
#[derive(Clone, Debug, Default)]
struct InStore {
    by_age: BTreeMap<Place, Hold>,
    deadlines: BTreeSet<(Timestamp, Place)>,
}

impl InStore {
    fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(at, _)| *at)
    }
}

impl PartialEq for Holds {
    /// The same holds in the same order; how many there have been is not compared.
    fn eq(&self, other: &Self) -> bool {
        self.all().eq(other.all())
    }
}

impl Eq for Holds {}

impl Holds {
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub fn get(&self, reservation: &ReservationId, store: &StoreId) -> Option<&Hold> {
        let place = self.places.get(&(reservation.clone(), store.clone()))?;
        self.stores.get(store)?.by_age.get(place)
    }

    /// By store, and there oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Hold> {
        self.stores.values().flat_map(|level| level.by_age.values())
    }

    /// Those on one level, oldest first.
    pub fn oldest_first(&self, store: &StoreId) -> impl Iterator<Item = &Hold> {
        let level = self.stores.get(store).into_iter();
        level.flat_map(|level| level.by_age.values())
    }

    /// The earliest moment at which something is over.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.next.first().map(|(at, _)| *at)
    }

    /// What is over at `now`, in order of deadline and reservation; no more than `limit`, those that were over first.
    pub fn due(&self, now: Timestamp, limit: usize) -> Vec<&Hold> {
        let stores = self.next.iter().take_while(|(at, _)| *at <= now);
        let levels = stores.filter_map(|(_, store)| self.stores.get(store));
        let due = levels.flat_map(|level| {
            let due = level.deadlines.iter().take_while(|(at, _)| *at <= now).take(limit);
            due.filter_map(|(_, place)| level.by_age.get(place))
        });
        let mut due: Vec<&Hold> = due.collect();
        due.sort_by(|a, b| (a.expires_at, &a.reservation_id).cmp(&(b.expires_at, &b.reservation_id)));
        due.truncate(limit);
        due
    }

    /// The earliest deadline among the holds on one level.
    pub fn next_deadline_in(&self, store: &StoreId) -> Option<Timestamp> {
        self.stores.get(store)?.next_deadline()
    }

    pub(super) fn place(&mut self, hold: Hold) {
        self.last_place += 1;
        let (place, store) = (self.last_place, hold.store_id.clone());
        self.places.insert((hold.reservation_id.clone(), store.clone()), place);
        self.change(&store, |level| {
            level.deadlines.extend(hold.expires_at.map(|at| (at, place)));
            level.by_age.insert(place, hold);
        });
    }

    /// Sets what is still held; a hold of nothing is gone.
    pub(super) fn set_held(&mut self, reservation: &ReservationId, store: &StoreId, held: u64) {
        let key = (reservation.clone(), store.clone());
        let Some(&place) = self.places.get(&key) else { return };
        if held == 0 {
            self.places.remove(&key);
        }
        self.change(store, |level| {
            if held > 0 {
                if let Some(hold) = level.by_age.get_mut(&place) {
                    hold.held = held;
                }
            } else if let Some(at) = level.by_age.remove(&place).and_then(|hold| hold.expires_at) {
                level.deadlines.remove(&(at, place));
            }
        });
    }

    /// Sets the moment from which a hold is over.
    pub(super) fn set_deadline(&mut self, reservation: &ReservationId, store: &StoreId, at: Option<Timestamp>) {
        let Some(&place) = self.places.get(&(reservation.clone(), store.clone())) else {
            return;
        };
        self.change(store, |level| {
            let Some(hold) = level.by_age.get_mut(&place) else {
                return;
            };
            if let Some(before) = std::mem::replace(&mut hold.expires_at, at) {
                level.deadlines.remove(&(before, place));
            }
            level.deadlines.extend(at.map(|at| (at, place)));
        });
    }

    /// Keeps the stores' earliest deadlines as they are after `change`.
    fn change(&mut self, store: &StoreId, change: impl FnOnce(&mut InStore)) {
        // Mostly the store is there already, and its name need not be copied.
        let level = match self.stores.get_mut(store) {
            Some(level) => level,
            None => self.stores.entry(store.clone()).or_default(),
        };
        let before = level.next_deadline();
        change(level);
        let after = level.next_deadline();
        if level.by_age.is_empty() {
            self.stores.remove(store);
        }
        if before != after {
            if let Some(at) = before {
                self.next.remove(&(at, store.clone()));
            }
            self.next.extend(after.map(|at| (at, store.clone())));
        }
    }
}
