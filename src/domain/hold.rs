//! The holds on one SKU, findable by reservation, by age and by deadline.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Found;
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

/// Where a hold lies in the list of its level.
type Place = u32;

#[derive(Clone, Debug, Default)]
pub struct Holds {
    /// In order of store.
    stores: Vec<(StoreId, InStore)>,
    /// The earliest deadline in each store that has one.
    next: BTreeSet<(Timestamp, StoreId)>,
}

/// Holds on one level. There may be very many, and each comes and goes: so they lie in one list, whose places are used
/// again, and what finds them are numbers.
#[derive(Clone, Debug, Default)]
struct InStore {
    entries: Vec<Entry>,
    free: Vec<Place>,
    /// Of those that hold something, by the hash of the reservation's id. The ids are not here once more: a map of ids looks
    /// at every one of them, wherever it lies in memory, each time it grows.
    places: HashTable<Place>,
    hasher: RandomState,
    oldest: Option<Place>,
    newest: Option<Place>,
    /// Of holds that have ended as well, or are over at another moment by now, until they come up. The first is true.
    deadlines: BinaryHeap<Reverse<(Timestamp, Place)>>,
}

#[derive(Clone, Debug)]
struct Entry {
    hold: Hold,
    /// Of the reservation's id.
    hash: u64,
    /// The next older and the next younger one.
    older: Option<Place>,
    younger: Option<Place>,
}

impl InStore {
    fn get(&self, reservation: &ReservationId) -> Option<&Hold> {
        let place = self.find(reservation)?;
        Some(&self.entry(place)?.hold)
    }

    fn find(&self, reservation: &ReservationId) -> Option<Place> {
        let hash = self.hasher.hash_one(reservation);
        self.places.find(hash, |place| self.is_of(*place, reservation)).copied()
    }

    fn is_of(&self, place: Place, reservation: &ReservationId) -> bool {
        self.entry(place)
            .is_some_and(|entry| entry.hold.reservation_id == *reservation)
    }

    fn entry(&self, place: Place) -> Option<&Entry> {
        self.entries.get(place as usize)
    }

    fn entry_mut(&mut self, place: Place) -> Option<&mut Entry> {
        self.entries.get_mut(place as usize)
    }

    fn oldest_first(&self) -> impl Iterator<Item = &Hold> {
        let first = self.oldest.and_then(|place| self.entry(place));
        let entries = std::iter::successors(first, |entry| self.entry(entry.younger?));
        entries.map(|entry| &entry.hold)
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.peek().map(|Reverse((at, _))| *at)
    }

    fn add(&mut self, hold: Hold) {
        let (hash, expires_at) = (self.hasher.hash_one(&hold.reservation_id), hold.expires_at);
        let entry = Entry {
            hold,
            hash,
            older: self.newest,
            younger: None,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place as usize] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as Place
            }
        };
        match self.newest.replace(place) {
            None => self.oldest = Some(place),
            Some(before) => {
                if let Some(before) = self.entry_mut(before) {
                    before.younger = Some(place);
                }
            }
        }
        let at = |place: &Place| &self.entries[*place as usize];
        let is_same = |other: &Place| at(other).hold.reservation_id == at(&place).hold.reservation_id;
        match self.places.entry(hash, is_same, |place| at(place).hash) {
            Found::Occupied(mut found) => *found.get_mut() = place,
            Found::Vacant(free) => drop(free.insert(place)),
        }
        self.deadlines.extend(expires_at.map(|at| Reverse((at, place))));
    }

    fn with(&mut self, reservation: &ReservationId, change: impl FnOnce(&mut Hold)) {
        let place = self.find(reservation);
        if let Some(entry) = place.and_then(|place| self.entry_mut(place)) {
            change(&mut entry.hold);
        }
    }

    fn remove(&mut self, reservation: &ReservationId) {
        let Some(place) = self.find(reservation) else { return };
        let Some(entry) = self.entry_mut(place) else { return };
        let (hash, older, younger) = (entry.hash, entry.older, entry.younger);
        entry.hold.held = 0;
        if let Ok(found) = self.places.find_entry(hash, |found| *found == place) {
            found.remove();
        }
        match older.and_then(|place| self.entry_mut(place)) {
            Some(entry) => entry.younger = younger,
            None => self.oldest = younger,
        }
        match younger.and_then(|place| self.entry_mut(place)) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        self.free.push(place);
    }

    fn is_true(&self, at: Timestamp, place: Place) -> bool {
        self.entry(place)
            .is_some_and(|entry| entry.hold.held > 0 && entry.hold.expires_at == Some(at))
    }

    /// Drops what has come up and is not true any more; and all of it, where most is not.
    fn tidy(&mut self) {
        while let Some(Reverse((at, place))) = self.deadlines.peek()
            && !self.is_true(*at, *place)
        {
            self.deadlines.pop();
        }
        if self.deadlines.len() > 2 * self.places.len() + 16 {
            let mut deadlines = std::mem::take(&mut self.deadlines).into_vec();
            deadlines.retain(|Reverse((at, place))| self.is_true(*at, *place));
            deadlines.sort_unstable();
            deadlines.dedup();
            self.deadlines = deadlines.into();
        }
    }

    /// What is over at `now`, in no order; a hold may be there twice.
    fn due(&self, now: Timestamp) -> Vec<&Hold> {
        let heap = self.deadlines.as_slice();
        let (mut due, mut left) = (Vec::new(), vec![0]);
        // Below what is not over yet, nothing is.
        while let Some(i) = left.pop() {
            let Some(Reverse((at, place))) = heap.get(i).filter(|Reverse((at, _))| *at <= now) else {
                continue;
            };
            if self.is_true(*at, *place) {
                due.extend(self.entry(*place).map(|entry| &entry.hold));
            }
            left.extend([2 * i + 1, 2 * i + 2]);
        }
        due
    }
}

impl PartialEq for Holds {
    /// The same holds in the same order, wherever they lie.
    fn eq(&self, other: &Self) -> bool {
        self.all().eq(other.all())
    }
}

impl Eq for Holds {}

impl Holds {
    pub fn is_empty(&self) -> bool {
        self.stores.is_empty()
    }

    pub fn get(&self, reservation: &ReservationId, store: &StoreId) -> Option<&Hold> {
        self.level(store)?.get(reservation)
    }

    fn level(&self, store: &StoreId) -> Option<&InStore> {
        self.find(store).ok().map(|i| &self.stores[i].1)
    }

    fn find(&self, store: &StoreId) -> Result<usize, usize> {
        self.stores.binary_search_by(|(s, _)| s.cmp(store))
    }

    /// By store, and there oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Hold> {
        self.stores.iter().flat_map(|(_, level)| level.oldest_first())
    }

    /// Those on one level, oldest first.
    pub fn oldest_first(&self, store: &StoreId) -> impl Iterator<Item = &Hold> {
        self.level(store).into_iter().flat_map(InStore::oldest_first)
    }

    /// The earliest moment at which something is over.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.next.first().map(|(at, _)| *at)
    }

    /// What is over at `now`, in order of deadline and reservation.
    pub fn due(&self, now: Timestamp) -> Vec<&Hold> {
        let stores = self.next.iter().take_while(|(at, _)| *at <= now);
        let levels = stores.filter_map(|(_, store)| self.level(store));
        let mut due: Vec<&Hold> = levels.flat_map(|level| level.due(now)).collect();
        let order = |hold: &Hold| (hold.expires_at, hold.reservation_id.clone(), hold.store_id.clone());
        due.sort_by_cached_key(|hold| order(hold));
        due.dedup_by(|a, b| a.reservation_id == b.reservation_id && a.store_id == b.store_id);
        due
    }

    /// The earliest deadline among the holds on one level, but for those of a reservation.
    pub fn next_deadline_in(&self, store: &StoreId, but_for: Option<&ReservationId>) -> Option<Timestamp> {
        let level = self.level(store)?;
        let own = but_for.and_then(|id| level.get(id)).and_then(|hold| hold.expires_at);
        match level.next_deadline() {
            next if own.is_none() || next != own => next,
            // It may be that of the others as well.
            _ => {
                let others = level
                    .oldest_first()
                    .filter(|hold| Some(&hold.reservation_id) != but_for);
                others.filter_map(|hold| hold.expires_at).min()
            }
        }
    }

    pub(super) fn place(&mut self, hold: Hold) {
        let store = hold.store_id.clone();
        self.change(&store, |level| level.add(hold));
    }

    /// Sets what is still held; a hold of nothing is gone.
    pub(super) fn set_held(&mut self, reservation: &ReservationId, store: &StoreId, held: u64) {
        self.change(store, |level| match held {
            0 => level.remove(reservation),
            held => level.with(reservation, |hold| hold.held = held),
        });
    }

    /// Sets the moment from which a hold is over.
    pub(super) fn set_deadline(&mut self, reservation: &ReservationId, store: &StoreId, at: Option<Timestamp>) {
        self.change(store, |level| {
            level.with(reservation, |hold| hold.expires_at = at);
            let place = level.find(reservation);
            level.deadlines.extend(at.zip(place).map(Reverse));
        });
    }

    /// Keeps the stores' earliest deadlines as they are after `change`.
    fn change(&mut self, store: &StoreId, change: impl FnOnce(&mut InStore)) {
        let i = self.find(store).unwrap_or_else(|i| {
            self.stores.insert(i, (store.clone(), InStore::default()));
            i
        });
        let level = &mut self.stores[i].1;
        let before = level.next_deadline();
        change(level);
        level.tidy();
        let after = level.next_deadline();
        if level.places.is_empty() {
            self.stores.remove(i);
        }
        if before != after {
            if let Some(at) = before {
                self.next.remove(&(at, store.clone()));
            }
            self.next.extend(after.map(|at| (at, store.clone())));
        }
    }
}
