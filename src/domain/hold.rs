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

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReservationStatus {
    Active,
    Released,
    Expired,
}

impl ReservationStatus {
    pub const ALL: [Self; 3] = [Self::Active, Self::Released, Self::Expired];
}

/// Age first, then the store: a reservation may hold several levels of a SKU in one event.
type Age = (u64, StoreId);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    by_age: BTreeMap<Age, Hold>,
    placed: HashMap<(ReservationId, StoreId), u64>,
    deadlines: BTreeSet<(Timestamp, ReservationId, StoreId)>,
}

impl Holds {
    pub fn is_empty(&self) -> bool {
        self.by_age.is_empty()
    }

    pub fn get(&self, reservation: &ReservationId, store: &StoreId) -> Option<&Hold> {
        let key = (reservation.clone(), store.clone());
        let age = *self.placed.get(&key)?;
        self.by_age.get(&(age, key.1))
    }

    pub fn oldest_first(&self) -> impl Iterator<Item = &Hold> {
        self.by_age.values()
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
        self.deadlines.iter().find(|(_, _, s)| s == store).map(|(at, ..)| *at)
    }

    pub(super) fn place(&mut self, hold: Hold) {
        let (reservation, store) = (hold.reservation_id.clone(), hold.store_id.clone());
        if let Some(at) = hold.expires_at {
            self.deadlines.insert((at, reservation.clone(), store.clone()));
        }
        self.placed.insert((reservation, store.clone()), hold.placed_version);
        self.by_age.insert((hold.placed_version, store), hold);
    }

    /// Sets what is still held; a hold of nothing is gone.
    pub(super) fn set_held(&mut self, reservation: &ReservationId, store: &StoreId, held: u64) {
        let key = (reservation.clone(), store.clone());
        let Some(&age) = self.placed.get(&key) else { return };
        let age = (age, key.1.clone());
        if held > 0 {
            if let Some(hold) = self.by_age.get_mut(&age) {
                hold.held = held;
            }
            return;
        }
        self.placed.remove(&key);
        if let Some(at) = self.by_age.remove(&age).and_then(|hold| hold.expires_at) {
            self.deadlines.remove(&(at, key.0, key.1));
        }
    }
}
