//! Stores as decisions see them, and what of that an append must name.

use std::cell::RefCell;

use super::Journal;
use crate::domain::{EntryKey, StoreId, Stores};

/// The stores that a journal shows. What is decided on one that must be there rests on its version: the journal is asked
/// again when the append comes in.
pub struct KnownStores<'a> {
    journal: &'a dyn Journal,
    is_strict: bool,
    grounds: RefCell<Vec<(EntryKey, u64)>>,
}

impl<'a> KnownStores<'a> {
    pub fn of(journal: &'a dyn Journal, is_strict: bool) -> Self {
        Self {
            journal,
            is_strict,
            grounds: RefCell::default(),
        }
    }

    /// The versions of stores that decisions so far rest on, each once.
    pub fn into_grounds(self) -> Vec<(EntryKey, u64)> {
        let mut grounds = self.grounds.into_inner();
        grounds.sort_unstable();
        grounds.dedup();
        grounds
    }
}

impl Stores for KnownStores<'_> {
    fn is_strict(&self) -> bool {
        self.is_strict
    }

    fn is_known(&self, store: &StoreId) -> bool {
        let version = self.journal.store_version(store);
        let ground = version.map(|version| (EntryKey::Store(store.clone()), version));
        self.grounds.borrow_mut().extend(ground);
        version.is_some()
    }

    fn is_closing(&self, store: &StoreId) -> bool {
        self.journal.is_closing(store)
    }
}
