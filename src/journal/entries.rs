//! Users, tokens and stores in memory, for the engines that have no database to ask.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};

use super::tables::Published;
use super::{EntryKind, EntryView};
use crate::domain::{EntryChange, EntryKey};

/// An entry as checkpoints write it, with the sequence of its last event. Deleted ones are kept, as their versions go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EntryLine {
    pub seq: u64,
    pub change: EntryChange,
}

#[derive(Default)]
pub struct Entries(RwLock<BTreeMap<EntryKey, EntryLine>>);

impl Entries {
    pub fn version(&self, key: &EntryKey) -> u64 {
        self.lines().get(key).map_or(0, |line| line.change.version)
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
        Ok(())
    }

    fn put(&self, line: EntryLine) {
        let mut lines = self.0.write().unwrap_or_else(PoisonError::into_inner);
        lines.insert(line.change.key.clone(), line);
    }

    fn lines(&self) -> RwLockReadGuard<'_, BTreeMap<EntryKey, EntryLine>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn view(line: &EntryLine) -> Option<EntryView> {
    Some(EntryView {
        version: line.change.version,
        entry: line.change.entry.clone()?,
    })
}
