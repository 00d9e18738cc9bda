//! Users, tokens, stores and schedules in memory, for the engines that have no database to ask.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};

use super::tables::Published;
use super::{EntryKind, EntryView};
use crate::domain::{Entry, EntryChange, EntryKey, Event, EventKind, Store, StoreId, Timestamp};

/// An entry as checkpoints write it, with the sequence of its last event. Deleted ones are kept, as their versions go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryLine {
    pub seq: u64,
    pub change: EntryChange,
}

impl EntryLine {
    /// The store that it is of, if it is of one.
    pub fn store(&self) -> Option<&StoreId> {
        match &self.change.key {
            EntryKey::Store(store) => Some(store),
            _ => None,
        }
    }
}

#[derive(Default)]
pub struct Entries {
    lines: RwLock<BTreeMap<EntryKey, EntryLine>>,
    /// Stores that are about to be deleted: mostly none, and then nobody looks for one.
    closing: AtomicUsize,
}

impl Entries {
    pub fn version(&self, key: &EntryKey) -> u64 {
        self.lines().get(key).map_or(0, |line| line.change.version)
    }

    /// The version, and whether the entry is there.
    pub fn version_of(&self, key: &EntryKey) -> (u64, bool) {
        let lines = self.lines();
        let line = lines.get(key);
        line.map_or((0, false), |line| (line.change.version, line.change.entry.is_some()))
    }

    pub fn get(&self, key: &EntryKey) -> Option<EntryView> {
        view(self.lines().get(key)?)
    }

    /// In order of key, beginning behind `after`.
    pub fn find(&self, kind: EntryKind, after: Option<&EntryKey>, limit: usize) -> Vec<(EntryKey, EntryView)> {
        let lines = self.lines();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let of_kind = lines
            .range((from, Bound::Unbounded))
            .filter(|(key, _)| EntryKind::of(key) == kind);
        of_kind
            .filter_map(|(key, line)| Some((key.clone(), view(line)?)))
            .take(limit)
            .collect()
    }

    /// The entry as a checkpoint writes it, also of one that was deleted.
    pub fn line(&self, key: &EntryKey) -> Option<EntryLine> {
        self.lines().get(key).cloned()
    }

    /// Some store is about to be deleted.
    pub fn has_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire) > 0
    }

    pub fn is_closing(&self, store: &StoreId) -> bool {
        self.has_closing() && self.get(&EntryKey::Closing(store.clone())).is_some()
    }

    /// The stores that are about to be deleted.
    pub fn closing(&self) -> Vec<StoreId> {
        if !self.has_closing() {
            return Vec::new();
        }
        let lines = self.lines();
        let closing = lines.values().filter_map(|line| match &line.change {
            EntryChange {
                key: EntryKey::Closing(store),
                entry: Some(_),
                ..
            } => Some(store.clone()),
            _ => None,
        });
        closing.collect()
    }

    /// That a SKU has its first level in this store: where the catalogue does not have the store, it does from now on.
    pub fn first_use(&self, store: &StoreId, at: Timestamp, seq: u64) {
        let key = EntryKey::Store(store.clone());
        let version = match self.lines().get(&key) {
            // At recovery, the checkpoint may know of what came later.
            Some(line) if line.change.entry.is_some() || line.seq >= seq => return,
            line => line.map_or(0, |line| line.change.version),
        };
        let entry = Some(Entry::Store(Arc::new(Store::of_first_use(store, at))));
        let change = EntryChange {
            key,
            version: version + 1,
            entry,
        };
        self.put(EntryLine { seq, change });
    }

    /// That an event is a push of these stores, and their last so far.
    fn take_push(&self, event: &Event, seq: u64) {
        for store in pushed_by(event) {
            let key = EntryKey::LastPush(store.clone());
            let (last, version) = (self.lines().get(&key)).map_or((0, 0), |line| (line.seq, line.change.version));
            // At recovery, the checkpoint may know of what came later.
            if last < seq {
                let entry = Some(Entry::LastPush(event.at));
                let change = EntryChange {
                    key,
                    version: version + 1,
                    entry,
                };
                self.put(EntryLine { seq, change });
            }
        }
    }

    pub fn each(&self) -> Vec<EntryLine> {
        self.lines().values().cloned().collect()
    }

    pub fn restore(&self, line: EntryLine) {
        self.put(line);
    }

    pub fn evolve(&self, published: &Published) {
        for change in &published.event.entries {
            self.put(EntryLine {
                seq: published.seq,
                change: change.clone(),
            });
        }
        self.take_push(&published.event, published.seq);
    }

    /// Takes in an event at recovery, where it is not in the checkpoint already.
    pub fn replay(&self, published: &Published) -> Result<(), String> {
        for change in &published.event.entries {
            let (seq, version) = self
                .lines()
                .get(&change.key)
                .map_or((0, 0), |line| (line.seq, line.change.version));
            if seq >= published.seq {
                continue;
            }
            if change.version != version + 1 {
                return Err(format!(
                    "{:?} skips from version {version} to {}",
                    change.key, change.version
                ));
            }
            self.put(EntryLine {
                seq: published.seq,
                change: change.clone(),
            });
        }
        self.take_push(&published.event, published.seq);
        Ok(())
    }

    fn put(&self, line: EntryLine) {
        let mut lines = self.lines.write().unwrap_or_else(PoisonError::into_inner);
        let counts = |line: &EntryLine| matches!(line.change.entry, Some(Entry::Closing));
        let is_closing = counts(&line);
        let was_closing = lines
            .insert(line.change.key.clone(), line)
            .is_some_and(|before| counts(&before));
        match (was_closing, is_closing) {
            (false, true) => self.closing.fetch_add(1, Ordering::AcqRel),
            (true, false) => self.closing.fetch_sub(1, Ordering::AcqRel),
            _ => return,
        };
    }

    fn lines(&self) -> RwLockReadGuard<'_, BTreeMap<EntryKey, EntryLine>> {
        self.lines.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stores whose counts the event is, if it is a push; each once.
pub fn pushed_by(event: &Event) -> BTreeSet<&StoreId> {
    let changes = event.changes.iter().filter(|_| event.kind == EventKind::SyncPushed);
    changes.map(|change| &change.store_id).collect()
}

fn view(line: &EntryLine) -> Option<EntryView> {
    Some(EntryView {
        version: line.change.version,
        entry: line.change.entry.clone()?,
    })
}
