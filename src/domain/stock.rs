//! The state of one SKU: its levels in every store, the holds on them, and its side in the catalogue, the product.
//!
//! State changes by [`Stock::evolve`] alone, so that the actor, recovery, `verify` and every storage
//! engine arrive at the same state from the same events.

use serde::{Deserialize, Serialize};

use super::event::Part;
use super::hold::Holds;
use super::{
    Change, Details, Event, Fate, Hold, HoldChange, HoldStep, Item, ItemChange, Product, Sku, StoreId, Timestamp,
    is_false,
};

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
    /// Boxed: many SKUs are as their first use has made them, and then have none.
    side: Option<Box<Side>>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// What a SKU is beside its stock.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Side {
    /// Of the product. Like every version it goes on after a deletion.
    version: u64,
    details: Details,
    updated_at: Timestamp,
    is_deleted: bool,
    /// The last versions of levels that are no more, in order of store: those that are made again go on from there.
    removed: Vec<(StoreId, u64)>,
}

impl Side {
    fn of_first_use(at: Timestamp) -> Self {
        Self {
            version: 1,
            details: Details::default(),
            updated_at: at,
            is_deleted: false,
            removed: Vec::new(),
        }
    }
}

impl Stock {
    /// The item's version: 0 before its first event. It goes on after a deletion; see [`Stock::exists`].
    pub fn version(&self) -> u64 {
        self.version
    }

    /// There is such an item, and so such a product.
    pub fn exists(&self) -> bool {
        self.version > 0 && self.side.as_ref().is_none_or(|side| !side.is_deleted)
    }

    /// What the item's version is for those who name it: 0 where there is none.
    pub fn item_version(&self) -> u64 {
        if self.exists() { self.version } else { 0 }
    }

    pub fn product(&self) -> Option<Product> {
        let side = self.side.as_deref();
        self.exists().then(|| Product {
            version: side.map_or(1, |side| side.version),
            details: side.map(|side| side.details.clone()).unwrap_or_default(),
            created_at: self.created_at,
            updated_at: side.map_or(self.created_at, |side| side.updated_at),
        })
    }

    /// 0 where there is none.
    pub fn product_version(&self) -> u64 {
        match self.exists() {
            true => self.side.as_ref().map_or(1, |side| side.version),
            false => 0,
        }
    }

    /// The stores in which it has or had a level.
    pub fn stores(&self) -> impl Iterator<Item = &StoreId> {
        let removed = self.side.iter().flat_map(|side| &side.removed);
        self.levels
            .iter()
            .map(|(store, _)| store)
            .chain(removed.map(|(store, _)| store))
    }

    /// The level, or what it is made of where there is none: nothing, at the version that it had if it was there before.
    pub fn level_or_new(&self, store: &StoreId) -> Level {
        let fresh = || Level {
            version: self.removed_version(store),
            ..Level::default()
        };
        self.level(store).copied().unwrap_or_else(fresh)
    }

    fn removed_version(&self, store: &StoreId) -> u64 {
        let removed = self.side.as_ref().map_or(&[][..], |side| side.removed.as_slice());
        let found = removed.binary_search_by(|(s, _)| s.cmp(store));
        found.map_or(0, |i| removed[i].1)
    }

    /// What becomes of the level by an event that changes it and leaves it there.
    pub fn fate(&self, store: &StoreId) -> Fate {
        match self.level(store) {
            Some(_) => Fate::Kept,
            None => Fate::Made,
        }
    }

    /// The item's total on hand.
    pub fn quantity(&self) -> u64 {
        self.quantity
    }

    pub fn level(&self, store: &StoreId) -> Option<&Level> {
        self.find(store).ok().map(|i| &self.levels[i].1)
    }

    /// A store in which it has a level, as it is kept here.
    pub fn kept_id(&self, store: &StoreId) -> Option<&StoreId> {
        self.find(store).ok().map(|i| &self.levels[i].0)
    }

    pub fn levels(&self) -> impl Iterator<Item = (&StoreId, &Level)> {
        self.levels.iter().map(|(store, level)| (store, level))
    }

    pub fn holds(&self) -> Option<&Holds> {
        self.holds.as_deref()
    }

    pub fn details(&self) -> Option<&Details> {
        let details = self.side.as_ref().map(|side| &side.details);
        details.filter(|details| !details.is_empty())
    }

    /// When the item began; of one that was deleted and made again, when that was.
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
        let was_there = self.exists();
        if !was_there {
            self.created_at = event.at;
        }
        self.updated_at = event.at;
        let Part { changes, holds, items } = part;
        for change in *changes {
            self.evolve_level(change, event.at);
        }
        if !items.is_empty() || !was_there {
            self.evolve_product(items.last(), was_there, event.at);
        }
        for change in *holds {
            self.evolve_hold(change, event);
        }
        if self.holds().is_some_and(Holds::is_empty) {
            self.holds = None;
        }
    }

    fn evolve_level(&mut self, change: &Change, at: Timestamp) {
        self.version = change.item_version;
        let after = change.level(at);
        let before = match (self.find(&change.store_id), change.fate) {
            (Ok(i), Fate::Removed) => {
                let (store, level) = self.levels.remove(i);
                self.side_mut().removed.push((store, change.version));
                self.side_mut().removed.sort_unstable();
                level.quantity
            }
            (Err(_), Fate::Removed) => 0,
            (Ok(i), _) => std::mem::replace(&mut self.levels[i].1, after).quantity,
            (Err(i), _) => {
                if let Some(side) = &mut self.side {
                    side.removed.retain(|(store, _)| *store != change.store_id);
                }
                self.levels.reserve_exact(1);
                self.levels.insert(i, (change.store_id.clone(), after));
                self.tidy();
                0
            }
        };
        self.quantity = self.quantity - before + change.quantity;
    }

    /// What the event says of the product, or that its first use makes one.
    fn evolve_product(&mut self, change: Option<&ItemChange>, was_there: bool, at: Timestamp) {
        let is_first = !was_there && self.side.is_none();
        let side = self.side_mut();
        side.version += u64::from(!is_first);
        side.updated_at = at;
        side.is_deleted = change.is_some_and(|change| change.details.is_none());
        side.details = change.and_then(|change| change.details.clone()).unwrap_or_default();
        if let Some(change) = change {
            self.version = change.item_version;
        }
        self.tidy();
    }

    fn side_mut(&mut self) -> &mut Side {
        let first_use = || Box::new(Side::of_first_use(self.created_at));
        self.side.get_or_insert_with(first_use)
    }

    /// One state has one form: what is as its first use has made it has no side.
    fn tidy(&mut self) {
        if self.side.as_deref() == Some(&Side::of_first_use(self.created_at)) {
            self.side = None;
        }
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

    /// Why `event` cannot be the next one of this SKU, where it cannot: versions rise by one,
    /// `0 <= reserved <= quantity` holds after every event, and only what has nothing in it is taken away.
    pub fn contradiction(&self, sku: &Sku, event: &Event) -> Option<String> {
        let Part { changes, items, .. } = event.of_sku(sku);
        if items.iter().any(|change| change.item_version != self.version + 1) {
            return Some(format!("SKU {sku:?} does not follow version {}", self.version));
        }
        let removed = changes.iter().filter(|change| change.fate == Fate::Removed).count();
        if items.iter().any(|change| change.details.is_none()) && (!self.exists() || removed < self.levels.len()) {
            return Some(format!("SKU {sku:?} is deleted with levels, or was not there"));
        }
        changes.iter().find_map(|change| self.contradiction_in(sku, change))
    }

    fn contradiction_in(&self, sku: &Sku, change: &Change) -> Option<String> {
        let before = self.level_or_new(&change.store_id);
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
        let is_there = self.level(&change.store_id).is_some();
        match change.fate {
            Fate::Made if is_there => return Some(format!("{of} is made, and was there")),
            Fate::Removed if !is_there => return Some(format!("{of} is taken away, and was not there")),
            Fate::Removed if before.quantity + before.reserved + change.quantity + change.reserved > 0 => {
                return Some(format!("{of} is taken away with stock or holds"));
            }
            _ => {}
        }
        (change.reserved > change.quantity).then(|| format!("{of} has more reserved than on hand"))
    }

    /// What is wrong with this state, where something is: `0 <= reserved <= quantity`, and what is
    /// reserved is what the holds say.
    pub fn fault(&self) -> Option<String> {
        let is_bare = self.levels.is_empty() && self.holds.is_none();
        if !self.exists() && !is_bare {
            return Some("it is deleted, and has levels or holds".to_owned());
        }
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
    /// None where the product is as the SKU's first use has made it, and from before products had versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product: Option<ProductImage>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<RemovedLevel>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProductImage {
    pub version: u64,
    pub updated_at: Timestamp,
    #[serde(default, skip_serializing_if = "is_false")]
    pub deleted: bool,
}

/// The last version of a level that is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RemovedLevel {
    pub store_id: StoreId,
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LevelImage {
    pub store_id: StoreId,
    #[serde(flatten)]
    pub level: Level,
}

impl StockImage {
    /// Whether it says of the SKU what `whole` says, as far as it tells: images were once written without products.
    pub fn agrees_with(&self, whole: &Self) -> bool {
        match &self.product {
            Some(_) => self == whole,
            None => {
                let product = None;
                *self
                    == Self {
                        product,
                        ..whole.clone()
                    }
            }
        }
    }
}

impl From<&Stock> for StockImage {
    fn from(stock: &Stock) -> Self {
        let side = stock.side.as_deref();
        let product = side.map(|side| ProductImage {
            version: side.version,
            updated_at: side.updated_at,
            deleted: side.is_deleted,
        });
        let removed = side.into_iter().flat_map(|side| side.removed.iter().cloned());
        Self {
            version: stock.version,
            levels: stock.level_images(),
            holds: stock.holds().into_iter().flat_map(Holds::all).cloned().collect(),
            details: stock.details().cloned().unwrap_or_default(),
            product,
            removed: removed
                .map(|(store_id, version)| RemovedLevel { store_id, version })
                .collect(),
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
        let first_use = Side::of_first_use(image.created_at);
        let side = Side {
            version: image
                .product
                .as_ref()
                .map_or(first_use.version, |product| product.version),
            updated_at: image
                .product
                .as_ref()
                .map_or(first_use.updated_at, |product| product.updated_at),
            is_deleted: image.product.is_some_and(|product| product.deleted),
            details: image.details,
            removed: image
                .removed
                .into_iter()
                .map(|level| (level.store_id, level.version))
                .collect(),
        };
        let mut stock = Self {
            version: image.version,
            quantity: levels.iter().map(|(_, level)| level.quantity).sum(),
            levels,
            side: Some(Box::new(side)),
            created_at: image.created_at,
            updated_at: image.updated_at,
            holds: (!holds.is_empty()).then(|| Box::new(holds)),
        };
        stock.tidy();
        stock
    }
}
