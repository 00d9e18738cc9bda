//! What each store has in all, and all stores together, as the events of the log add up.
//!
//! Every event tells by itself what it adds to its stores: `delta` of what is on hand, its steps of holds of what is
//! reserved, its fate of each level. Only how many SKUs there are in several stores, no event can tell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Change, Event, Fate, HoldChange, HoldStep, LastEvent, Scope, StoreId, Timestamp};

/// What lies in some levels. Sums are exact: a million levels of 2^53 pieces each are more than 64 bits can count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sums {
    pub skus: u64,
    pub quantity: u128,
    pub reserved: u128,
}

impl Sums {
    pub fn available(&self) -> u128 {
        self.quantity.saturating_sub(self.reserved)
    }
}

/// What a store has. One without levels has no totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreTotals {
    pub sums: Sums,
    /// When one of its levels was changed last.
    pub updated_at: Timestamp,
}

/// All stores, as the events up to a place in the log have left them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Totals {
    /// The last event that is in them.
    pub seq: u64,
    /// By what that event is known again: totals of another log must not be gone on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LastEvent>,
    /// SKUs that have a level anywhere. Events do not tell: whoever brings the totals up to date says it.
    pub skus: u64,
    /// When they were brought up to date.
    pub at: Timestamp,
    pub stores: BTreeMap<StoreId, StoreTotals>,
}

/// An event cannot follow what the totals say: they are not of this log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the totals up to record {after} do not go with record {seq} of the log")]
pub struct Contradiction {
    after: u64,
    seq: u64,
}

impl Totals {
    /// Takes the next event in. Totals that an event contradicts are of no use any more.
    pub fn take(&mut self, seq: u64, event: &Event) -> Result<(), Contradiction> {
        let after = self.seq;
        self.add(seq, event).ok_or(Contradiction { after, seq })
    }

    /// All stores together, for someone who sees these. Where they do not see all, a SKU counts once in each of theirs.
    pub fn central(&self, scope: &Scope) -> Sums {
        let seen = self.seen(scope).map(|(_, store)| store.sums);
        let sum = seen.fold(Sums::default(), |sum, sums| Sums {
            skus: sum.skus + sums.skus,
            quantity: sum.quantity + sums.quantity,
            reserved: sum.reserved + sums.reserved,
        });
        let skus = if scope.is_all() { self.skus } else { sum.skus };
        Sums { skus, ..sum }
    }

    /// The stores that someone sees, in order.
    pub fn seen(&self, scope: &Scope) -> impl Iterator<Item = (&StoreId, &StoreTotals)> {
        self.stores.iter().filter(|(store, _)| scope.has(store))
    }

    fn add(&mut self, seq: u64, event: &Event) -> Option<()> {
        if seq != self.seq + 1 {
            return None;
        }
        for change in &event.changes {
            self.add_change(change, event.at)?;
        }
        for hold in &event.holds {
            self.add_hold(hold)?;
        }
        let removed = event.changes.iter().filter(|change| change.fate == Fate::Removed);
        for change in removed {
            self.drop_empty(&change.store_id)?;
        }
        self.seq = seq;
        self.last = Some(LastEvent::of(event));
        Some(())
    }

    fn add_change(&mut self, change: &Change, at: Timestamp) -> Option<()> {
        let (sums, step) = match self.stores.get_mut(&change.store_id) {
            Some(store) => {
                store.updated_at = store.updated_at.max(at);
                (&mut store.sums, step(change))
            }
            None if step(change) > 0 => {
                let (sums, updated_at) = (Sums::default(), at);
                let store = self.stores.entry(change.store_id.clone());
                (&mut store.or_insert(StoreTotals { sums, updated_at }).sums, 1)
            }
            None => return None,
        };
        sums.skus = sums.skus.checked_add_signed(step)?;
        sums.quantity = sums.quantity.checked_add_signed(change.delta.into())?;
        Some(())
    }

    fn add_hold(&mut self, hold: &HoldChange) -> Option<()> {
        let added = match hold.step {
            HoldStep::Placed => i128::from(hold.quantity),
            HoldStep::Committed | HoldStep::Released | HoldStep::Expired => -i128::from(hold.quantity),
            HoldStep::Extended => 0,
        };
        // Of a line that holds nothing there need not be a level.
        if added == 0 {
            return Some(());
        }
        let sums = &mut self.stores.get_mut(&hold.store_id)?.sums;
        sums.reserved = sums.reserved.checked_add_signed(added)?;
        Some(())
    }

    /// Forgets a store with no level left; it must have nothing left either.
    fn drop_empty(&mut self, store: &StoreId) -> Option<()> {
        // An event may take several levels of a store away, and the last of them the store.
        let Some(StoreTotals { sums, .. }) = self.stores.get(store) else {
            return Some(());
        };
        if sums.skus > 0 {
            return Some(());
        }
        let is_empty = *sums == Sums::default();
        self.stores.remove(store);
        is_empty.then_some(())
    }
}

/// How many levels the change adds. A level begins at version 1, which old logs tell it by.
fn step(change: &Change) -> i64 {
    match change.fate {
        Fate::Removed => -1,
        Fate::Made => 1,
        Fate::Kept => i64::from(change.version == 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EventKind, Movement, Principal, RequestId, Sku};

    fn event(fate: Fate, version: u64, delta: i64) -> Event {
        Event {
            kind: EventKind::LevelCounted,
            at: Timestamp::from_millis(5),
            by: Principal::anonymous(),
            request_id: RequestId::parse("r").unwrap(),
            reservation_id: None,
            reference: None,
            note: None,
            changes: vec![Change {
                sku: Sku::parse("A").unwrap(),
                store_id: StoreId::parse("s").unwrap(),
                movement: Some(Movement::Count),
                delta,
                quantity: 0,
                reserved: 0,
                version,
                item_version: version,
                reorder_point: None,
                low_stock: false,
                fate,
                moves: Box::default(),
            }],
            holds: Vec::new(),
            items: Vec::new(),
            entries: Vec::new(),
        }
    }

    fn skus(totals: &Totals) -> Option<u64> {
        totals.stores.values().next().map(|store| store.sums.skus)
    }

    #[test]
    fn a_level_is_new_by_its_fate_or_in_old_logs_by_its_version() {
        for (fate, version) in [(Fate::Made, 1), (Fate::Made, 7), (Fate::Kept, 1)] {
            let mut totals = Totals::default();
            totals.take(1, &event(fate, version, 3)).unwrap();
            totals.take(2, &event(Fate::Kept, version + 1, -3)).unwrap();
            assert_eq!(skus(&totals), Some(1), "{fate:?} {version}");
            totals.take(3, &event(Fate::Removed, version + 2, 0)).unwrap();
            assert_eq!(skus(&totals), None, "a store without levels has no totals");
        }
    }

    #[test]
    fn what_cannot_follow_is_a_contradiction() {
        let mut totals = Totals::default();
        totals.take(1, &event(Fate::Made, 1, 3)).unwrap();
        for (seq, fate, version, delta) in [
            (1, Fate::Kept, 2, 1),
            (3, Fate::Kept, 2, 1),
            (2, Fate::Kept, 2, -4),
            // The last level of the store goes, and something is left.
            (2, Fate::Removed, 2, 0),
        ] {
            let taken = totals.clone().take(seq, &event(fate, version, delta));
            assert!(taken.is_err(), "{seq} {fate:?} {delta}");
        }
        assert!(
            Totals::default().take(1, &event(Fate::Kept, 2, 1)).is_err(),
            "of no level"
        );
    }
}
