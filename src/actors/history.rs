//! An item as it stood at an earlier moment, made from the log by going back through its events.

use std::collections::BTreeMap;

use crate::domain::stock::LevelImage;
use crate::domain::{Details, Event, Fate, HoldChange, Item, Level, Sku, Stock, StoreId, Timestamp};
use crate::journal::HistoryFilter;

/// What is known of the past so far. The newest event that tells of a level tells how it stood.
pub struct Past<'a> {
    sku: &'a Sku,
    now: &'a Stock,
    /// The place of the last event.
    seq: u64,
    version: u64,
    updated_at: Timestamp,
    details: Option<Details>,
    /// None where it was taken away.
    levels: BTreeMap<StoreId, Option<Level>>,
    /// The item was deleted by its last event.
    is_gone: bool,
    /// Its first event was met.
    has_begun: bool,
    /// A deletion was met: what is before it is of another item.
    has_ended: bool,
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
    pub fn of(sku: &'a Sku, now: &'a Stock) -> Self {
        Self {
            sku,
            now,
            seq: 0,
            version: 0,
            updated_at: Timestamp::default(),
            details: None,
            levels: BTreeMap::new(),
            is_gone: false,
            has_begun: false,
            has_ended: false,
        }
    }

    /// Something of it may lie further back.
    pub fn is_incomplete(&self) -> bool {
        self.version > 0 && !self.has_begun && !self.has_ended
    }

    /// What there may have been and has not been met going back.
    pub fn missing(&self) -> Vec<Missing> {
        let details = self.details.is_none().then_some(Missing::Details);
        let unknown = self.now.stores().filter(|store| !self.levels.contains_key(*store));
        let levels = unknown.map(|store| Missing::Level(store.clone()));
        levels.chain(details).collect()
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }

    pub fn has_holds(&self) -> bool {
        self.levels.values().flatten().any(|level| level.reserved > 0)
    }

    /// Gives back what was over at `at`, though the event that records it came later.
    pub fn expire(&mut self, expiry: &Event, at: Timestamp) {
        let was_over = |hold: &&HoldChange| hold.sku == *self.sku && hold.expires_at.is_some_and(|over| over <= at);
        for hold in expiry.holds.iter().filter(was_over) {
            if let Some(Some(level)) = self.levels.get_mut(&hold.store_id) {
                level.reserved = level.reserved.saturating_sub(hold.quantity);
            }
        }
    }

    pub fn go_back(&mut self, seq: u64, event: &Event) {
        if self.has_ended {
            return;
        }
        let part = event.of_sku(self.sku);
        let is_end = part.items.iter().any(|change| change.details.is_none());
        let of_changes = part.changes.first().map(|change| change.item_version);
        let version = of_changes.or(part.items.first().map(|change| change.item_version));
        if self.version == 0 {
            self.seq = seq;
            self.version = version.unwrap_or_default();
            self.updated_at = event.at;
            self.is_gone = is_end;
        }
        self.has_begun |= version == Some(1);
        self.has_ended = is_end;
        if is_end {
            return;
        }
        for change in part.changes {
            let level = (change.fate != Fate::Removed).then(|| change.level(event.at));
            self.levels.entry(change.store_id.clone()).or_insert(level);
        }
        if let Some(details) = part.items.iter().find_map(|change| change.details.as_ref()) {
            self.details.get_or_insert_with(|| details.clone());
        }
    }

    /// The item that began at this moment.
    pub fn item(self, created_at: Timestamp) -> Option<Item> {
        let there = self
            .levels
            .into_iter()
            .filter_map(|(store, level)| Some((store, level?)));
        (self.version > 0 && !self.is_gone).then(|| Item {
            version: self.version,
            details: self.details.unwrap_or_default(),
            created_at,
            updated_at: self.updated_at,
            levels: there.map(|(store_id, level)| LevelImage { store_id, level }).collect(),
        })
    }
}
