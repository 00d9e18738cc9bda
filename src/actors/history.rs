//! An item as it stood at an earlier moment, made from the log by going back through its events.

use std::collections::BTreeMap;

use super::HISTORY_PAGE;
use crate::domain::stock::LevelImage;
use crate::domain::{Details, Event, Item, Level, Sku, StoreId, Timestamp};

/// What is known of the past so far. The newest event that tells of a level tells how it stood.
pub struct Past<'a> {
    sku: &'a Sku,
    now: &'a Item,
    version: u64,
    updated_at: Timestamp,
    details: Option<Details>,
    levels: BTreeMap<StoreId, Level>,
    /// Where the item began.
    is_complete: bool,
}

impl<'a> Past<'a> {
    pub fn of(sku: &'a Sku, now: &'a Item) -> Self {
        Self {
            sku,
            now,
            version: 0,
            updated_at: Timestamp::default(),
            details: now.details.is_empty().then(Details::default),
            levels: BTreeMap::new(),
            is_complete: false,
        }
    }

    /// How many events further back are worth reading, as long as something is not known.
    pub fn wants(&self) -> Option<usize> {
        let knows_all = self.details.is_some() && self.levels.len() == self.now.levels.len();
        match (self.version, self.is_complete || knows_all) {
            (_, true) => None,
            // Often the last event tells all.
            (0, _) => Some(16),
            _ => Some(HISTORY_PAGE),
        }
    }

    pub fn go_back(&mut self, event: &Event) {
        for change in event.changes.iter().filter(|change| change.sku == *self.sku) {
            if self.version == 0 {
                self.version = change.item_version;
                self.updated_at = event.at;
            }
            self.is_complete |= change.item_version == 1;
            self.levels.entry(change.store_id.clone()).or_insert(Level {
                quantity: change.quantity,
                reserved: change.reserved,
                version: change.version,
                reorder_point: change.reorder_point,
                updated_at: event.at,
            });
        }
        for change in event.items.iter().filter(|change| change.sku == *self.sku) {
            self.details.get_or_insert_with(|| change.details.clone());
        }
    }

    pub fn item(self) -> Option<Item> {
        let levels = self.levels.into_iter();
        (self.version > 0).then(|| Item {
            version: self.version,
            details: self.details.unwrap_or_default(),
            created_at: self.now.created_at,
            updated_at: self.updated_at,
            levels: levels.map(|(store_id, level)| LevelImage { store_id, level }).collect(),
        })
    }
}
