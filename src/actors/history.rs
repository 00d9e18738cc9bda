//! An item as it stood at an earlier moment, made from the log by going back through its events.

use std::collections::BTreeMap;

use crate::domain::stock::LevelImage;
use crate::domain::{Details, Event, HoldChange, Item, Level, Sku, StoreId, Timestamp};
use crate::journal::HistoryFilter;

/// What is known of the past so far. The newest event that tells of a level tells how it stood.
pub struct Past<'a> {
    sku: &'a Sku,
    now: &'a Item,
    /// The place of the last event.
    seq: u64,
    version: u64,
    updated_at: Timestamp,
    details: Option<Details>,
    levels: BTreeMap<StoreId, Level>,
    /// Where the item began.
    is_complete: bool,
}

/// What is to be looked for further back.
pub enum Missing {
    Level(StoreId),
    Details,
}

impl Missing {
    /// The newest event that tells of it.
    pub fn narrow(self, filter: HistoryFilter) -> HistoryFilter {
        match self {
            Self::Level(store) => HistoryFilter {
                store: Some(store),
                ..filter
            },
            Self::Details => HistoryFilter {
                described: true,
                ..filter
            },
        }
    }
}

impl<'a> Past<'a> {
    pub fn of(sku: &'a Sku, now: &'a Item) -> Self {
        Self {
            sku,
            now,
            seq: 0,
            version: 0,
            updated_at: Timestamp::default(),
            details: now.details.is_empty().then(Details::default),
            levels: BTreeMap::new(),
            is_complete: false,
        }
    }

    /// What is there now and has not been met going back.
    pub fn missing(&self) -> Vec<Missing> {
        let details = self.details.is_none().then_some(Missing::Details);
        let unknown = self
            .now
            .levels
            .iter()
            .filter(|image| !self.levels.contains_key(&image.store_id));
        let levels = unknown.map(|image| Missing::Level(image.store_id.clone()));
        // Before its first event there was nothing.
        let is_anywhere = |_: &Missing| self.version > 0 && !self.is_complete;
        levels.chain(details).filter(is_anywhere).collect()
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }

    pub fn has_holds(&self) -> bool {
        self.levels.values().any(|level| level.reserved > 0)
    }

    /// Gives back what was over at `at`, though the event that records it came later.
    pub fn expire(&mut self, expiry: &Event, at: Timestamp) {
        let was_over = |hold: &&HoldChange| hold.sku == *self.sku && hold.expires_at.is_some_and(|over| over <= at);
        for hold in expiry.holds.iter().filter(was_over) {
            if let Some(level) = self.levels.get_mut(&hold.store_id) {
                level.reserved = level.reserved.saturating_sub(hold.quantity);
            }
        }
    }

    pub fn go_back(&mut self, seq: u64, event: &Event) {
        self.seq = self.seq.max(seq);
        for change in event.changes.iter().filter(|change| change.sku == *self.sku) {
            if self.version == 0 {
                self.version = change.item_version;
                self.updated_at = event.at;
            }
            self.is_complete |= change.item_version == 1;
            self.levels
                .entry(change.store_id.clone())
                .or_insert_with(|| change.level(event.at));
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
