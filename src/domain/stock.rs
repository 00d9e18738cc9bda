//! The state of one SKU: its levels in every store and the holds on them.
//!
//! State changes by [`Stock::evolve`] alone, so that the actor, recovery, `verify` and every storage
//! engine arrive at the same state from the same events.

use serde::{Deserialize, Serialize};

use super::event::Part;
use super::hold::Holds;
use super::{Change, Details, Event, Hold, HoldChange, HoldStep, Item, Sku, StoreId, Timestamp};

/// 2^53 - 1: the largest integer that every JSON reader keeps exactly.
pub const MAX_QUANTITY: u64 = 9_007_199_254_740_991;

/// The stock of one SKU in one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Level {
    pub quantity: u64,
    pub reserved: u64,
    pub version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder_point: Option<u64>,
    pub updated_at: Timestamp,
}

impl Level {
    pub fn available(&self) -> u64 {
        self.quantity.saturating_sub(self.reserved)
    }

    /// It has no more available than its reorder point.
    pub fn is_low(&self) -> bool {
        self.reorder_point.is_some_and(|point| self.available() <= point)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    version: u64,
    /// Sorted by store; a plain list, as most SKUs lie in a few stores and a million SKUs must fit.
    levels: Vec<(StoreId, Level)>,
    /// Boxed: most SKUs have no holds, and then pay one word for them.
    holds: Option<Box<Holds>>,
    quantity: u64,
    /// Boxed: stock is kept of many SKUs that nobody has named.
    details: Option<Box<Details>>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Stock {
    /// The item's version: 0 before its first event.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The item's total on hand.
    pub fn quantity(&self) -> u64 {
        self.quantity
    }

    pub fn level(&self, store: &StoreId) -> Option<&Level> {
        self.find(store).ok().map(|i| &self.levels[i].1)
    }

    pub fn levels(&self) -> impl Iterator<Item = (&StoreId, &Level)> {
        self.levels.iter().map(|(store, level)| (store, level))
    }

    pub fn holds(&self) -> Option<&Holds> {
        self.holds.as_deref()
    }

    pub fn details(&self) -> Option<&Details> {
        self.details.as_deref()
    }

    /// The time of the item's first event.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// The time of the item's last event.
    pub fn updated_at(&self) -> Timestamp {
        self.updated_at
    }

    pub fn item(&self) -> Item {
        Item {
            version: self.version,
            details: self.details().cloned().unwrap_or_default(),
            created_at: self.created_at,
            updated_at: self.updated_at,
            levels: self.level_images(),
        }
    }

    /// The earliest moment at which a hold is over.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.holds()?.next_deadline()
    }

    /// Applies the part of a recorded event that is about `sku`.
    pub fn evolve(&mut self, sku: &Sku, event: &Event) {
        self.evolve_part(&event.of_sku(sku), event);
    }

    /// The same, where the part is at hand.
    pub fn evolve_part(&mut self, part: &Part, event: &Event) {
        if self.version == 0 {
            self.created_at = event.at;
        }
        self.updated_at = event.at;
        let Part { changes, holds, items } = part;
        for change in *changes {
            self.evolve_level(change, event.at);
        }
        for change in *items {
            self.version = change.item_version;
            self.details = (!change.details.is_empty()).then(|| Box::new(change.details.clone()));
        }
        for change in *holds {
            self.evolve_hold(change, event);
        }
        if self.holds().is_some_and(Holds::is_empty) {
            self.holds = None;
        }
    }

    fn evolve_level(&mut self, change: &Change, at: Timestamp) {
        let after = change.level(at);
        let before = match self.find(&change.store_id) {
            Ok(i) => std::mem::replace(&mut self.levels[i].1, after).quantity,
            Err(i) => {
                self.levels.reserve_exact(1);
                self.levels.insert(i, (change.store_id.clone(), after));
                0
            }
        };
        self.quantity = self.quantity - before + change.quantity;
        self.version = change.item_version;
    }

    fn evolve_hold(&mut self, change: &HoldChange, event: &Event) {
        let holds = self.holds.get_or_insert_default();
        match change.step {
            // Where less would do, it may have been nothing.
            HoldStep::Placed if change.held == 0 => {}
            HoldStep::Placed => holds.place(Hold {
                reservation_id: change.reservation_id.clone(),
                store_id: change.store_id.clone(),
                by: event.by.clone(),
                placed_version: self.version,
                held: change.held,
                expires_at: change.expires_at,
            }),
            HoldStep::Committed | HoldStep::Released | HoldStep::Expired => {
                holds.set_held(&change.reservation_id, &change.store_id, change.held);
            }
            HoldStep::Extended => {
                holds.set_deadline(&change.reservation_id, &change.store_id, change.expires_at);
            }
        }
    }

    fn level_images(&self) -> Vec<LevelImage> {
        let images = self.levels().map(|(store, level)| LevelImage {
            store_id: store.clone(),
            level: *level,
        });
        images.collect()
    }

    fn find(&self, store: &StoreId) -> Result<usize, usize> {
        self.levels.binary_search_by(|(s, _)| s.cmp(store))
    }

    /// Why `event` cannot be the next one of this SKU, where it cannot: versions rise by one, and
    /// `0 <= reserved <= quantity` holds after every event.
    pub fn contradiction(&self, sku: &Sku, event: &Event) -> Option<String> {
        let Part { changes, items, .. } = event.of_sku(sku);
        if items.iter().any(|change| change.item_version != self.version + 1) {
            return Some(format!("SKU {sku:?} does not follow version {}", self.version));
        }
        changes.iter().find_map(|change| {
            let before = self.level(&change.store_id).copied().unwrap_or_default();
            let of = format!("SKU {sku:?} in store {:?}", change.store_id);
            if change.item_version != self.version + 1 || change.version != before.version + 1 {
                return Some(format!(
                    "{of} skips from version {} to {}",
                    before.version, change.version
                ));
            }
            if before.quantity.checked_add_signed(change.delta) != Some(change.quantity) {
                return Some(format!(
                    "{of} goes from {} to {} by {}",
                    before.quantity, change.quantity, change.delta
                ));
            }
            (change.reserved > change.quantity).then(|| format!("{of} has more reserved than on hand"))
        })
    }

    /// What is wrong with this state, where something is: `0 <= reserved <= quantity`, and what is
    /// reserved is what the holds say.
    pub fn fault(&self) -> Option<String> {
        for (store, level) in self.levels() {
            if level.reserved > level.quantity || level.quantity > MAX_QUANTITY {
                return Some(format!(
                    "store {store:?} has {} on hand, {} reserved",
                    level.quantity, level.reserved
                ));
            }
            let on_level = self.holds().into_iter().flat_map(|holds| holds.oldest_first(store));
            let held: u64 = on_level.map(|hold| hold.held).sum();
            if held != level.reserved {
                return Some(format!(
                    "store {store:?} has {} reserved, but its holds add up to {held}",
                    level.reserved
                ));
            }
        }
        None
    }
}

/// A [`Stock`] as snapshots and checkpoints write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StockImage {
    pub version: u64,
    pub levels: Vec<LevelImage>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Hold>,
    #[serde(default, skip_serializing_if = "Details::is_empty")]
    pub details: Details,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LevelImage {
    pub store_id: StoreId,
    #[serde(flatten)]
    pub level: Level,
}

impl From<&Stock> for StockImage {
    fn from(stock: &Stock) -> Self {
        Self {
            version: stock.version,
            levels: stock.level_images(),
            holds: stock.holds().into_iter().flat_map(Holds::all).cloned().collect(),
            details: stock.details().cloned().unwrap_or_default(),
            created_at: stock.created_at,
            updated_at: stock.updated_at,
        }
    }
}

impl From<StockImage> for Stock {
    fn from(image: StockImage) -> Self {
        let mut levels: Vec<_> = image.levels.into_iter().map(|l| (l.store_id, l.level)).collect();
        levels.sort_by(|a, b| a.0.cmp(&b.0));
        let mut holds = Holds::default();
        for hold in image.holds {
            holds.place(hold);
        }
        Self {
            version: image.version,
            quantity: levels.iter().map(|(_, level)| level.quantity).sum(),
            levels,
            details: (!image.details.is_empty()).then(|| Box::new(image.details)),
            created_at: image.created_at,
            updated_at: image.updated_at,
            holds: (!holds.is_empty()).then(|| Box::new(holds)),
        }
    }
}
