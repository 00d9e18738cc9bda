//! How a store is deleted, of which no SKU and no actor knows all.
//!
//! It is closed first: from then on the log takes nothing that would bring stock, a hold or a level to it. So when its
//! levels are looked at now, and have nothing in them, that stays so, and the event that deletes the store may follow.
//! Only then are its levels taken away, one by one through their actors, and the store is unlocked: whoever stocks it now
//! makes a new one. A store that is found closed at a start, or after storage had failed, is cleared and unlocked if it is
//! deleted; else it is only unlocked, as nothing was answered.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;

use super::entries::{EntryWrite, to_its_end};
use super::sku::system;
use super::{ExecuteError, Inventory, Keyed, Options, Outcome, Told};
use crate::domain::{
    Action, Entry, EntryKey, EventKind, Expected, Level, Origin, Reason, Request, Resource, Sku, StoreId,
};
use crate::journal::{Append, Appended, EntryView, JournalError, Receipt, Record};

/// Levels that are looked at in one go.
const PAGE: usize = 1000;
/// Levels that are taken away side by side, so that they share syncs.
const AT_ONCE: usize = 256;
/// How often it is looked for stores that were left closed.
const INTERVAL: Duration = Duration::from_millis(500);

/// A deletion as it was asked for.
pub struct StoreDeletion<C> {
    pub store_id: StoreId,
    pub origin: Arc<Origin>,
    pub keyed: Option<Keyed>,
    /// Whether there is such a store, at the version that the caller expects.
    pub check: C,
}

impl Inventory {
    /// Deletes a store that has nothing in it, or answers from the receipt of the first time. It goes on when the caller
    /// goes away.
    pub async fn delete_store<E, C>(self: &Arc<Self>, deletion: StoreDeletion<C>) -> Result<Outcome, E>
    where
        E: From<ExecuteError> + 'static,
        C: Fn(Option<&EntryView>) -> Result<(), E> + 'static,
    {
        let inventory = self.clone();
        to_its_end(async move { inventory.run_deletion(deletion).await }).await
    }

    async fn run_deletion<E, C>(self: &Arc<Self>, deletion: StoreDeletion<C>) -> Result<Outcome, E>
    where
        E: From<ExecuteError>,
        C: Fn(Option<&EntryView>) -> Result<(), E>,
    {
        let claim = match deletion.keyed {
            Some(keyed) => match self.claim_key(keyed).await? {
                (claim, None) => Some(claim),
                (_, Some(receipt)) => return Ok(self.answer_again(receipt).await.map_err(ExecuteError::from)?),
            },
            None => None,
        };
        let _turn = self.deleting_store.lock().await;
        self.check_deletion(&deletion).await?;
        self.set_closing(&deletion.store_id, true).await?;
        let deleted = self.decide_deletion(&deletion).await;
        if let Err(error) = self.settle_store(&deletion.store_id).await {
            tracing::warn!(
                store = deletion.store_id.as_str(),
                ?error,
                "a store stays closed; trying again"
            );
        }
        deleted.map_err(|(error, is_unknown)| {
            if let Some(claim) = claim.filter(|_| is_unknown) {
                claim.becomes_unknown();
            }
            error
        })
    }

    /// Refuses what can be refused before anything is done.
    async fn check_deletion<E, C>(self: &Arc<Self>, deletion: &StoreDeletion<C>) -> Result<EntryGround, E>
    where
        E: From<ExecuteError>,
        C: Fn(Option<&EntryView>) -> Result<(), E>,
    {
        let key = EntryKey::Store(deletion.store_id.clone());
        let found = self.journal.entry(&key).await.map_err(ExecuteError::from)?;
        (deletion.check)(found.as_ref())?;
        let version = found.map_or(0, |found| found.version);
        if let Some(sku) = self.stocked_in(&deletion.store_id).await? {
            let store_id = deletion.store_id.clone();
            return Err(ExecuteError::StoreInUse { store_id, sku }.into());
        }
        Ok((key, version))
    }

    /// Deletes the store's entry, if nothing is in the store now that nothing can come to it. With an error comes whether
    /// it may have been done all the same.
    async fn decide_deletion<E, C>(self: &Arc<Self>, deletion: &StoreDeletion<C>) -> Result<Outcome, (E, bool)>
    where
        E: From<ExecuteError>,
        C: Fn(Option<&EntryView>) -> Result<(), E>,
    {
        loop {
            let ground = self.check_deletion(deletion).await.map_err(|error| (error, false))?;
            let write = EntryWrite {
                key: ground.0.clone(),
                origin: deletion.origin.clone(),
                keyed: deletion.keyed,
            };
            let event = Arc::new(write.event(EventKind::StoreDeleted, None, ground.1 + 1, self.clock.now()));
            let receipt = deletion
                .keyed
                .map(|keyed| Receipt::new(keyed.key, keyed.fingerprint, (keyed.status)(&event)));
            let append = Append {
                entry_grounds: vec![ground],
                records: vec![Record {
                    event: event.clone(),
                    receipt: receipt.map(Box::new),
                }],
                ..Append::default()
            };
            match self.journal.append(append).await {
                Ok(Appended { first_seq }) => {
                    return Ok(Outcome {
                        event,
                        seq: Some(first_seq),
                        replayed: None,
                        told: Told::Event,
                    });
                }
                // The store was changed meanwhile; or another request with this key is done by now.
                Err(JournalError::Conflict) => {
                    let done = self.done_before(deletion.keyed).await;
                    if let Some(done) = done.map_err(|error| (error.into(), false))? {
                        return Ok(done);
                    }
                }
                Err(error) => {
                    let is_unknown = matches!(error, JournalError::Unknown(_));
                    return Err((ExecuteError::from(error).into(), is_unknown));
                }
            }
        }
    }

    /// A SKU of which the store has stock, or on which somebody has a hold there.
    async fn stocked_in(self: &Arc<Self>, store: &StoreId) -> Result<Option<Sku>, ExecuteError> {
        let is_used = |(_, level): &(Sku, Level)| level.quantity > 0 || level.reserved > 0;
        let mut after = None;
        loop {
            let levels = self.levels_in(store, after.as_ref(), PAGE).await?;
            if let Some((sku, _)) = levels.iter().find(|row| is_used(row)) {
                return Ok(Some(sku.clone()));
            }
            match levels.last() {
                Some((last, _)) => after = Some(last.clone()),
                None => return Ok(None),
            }
        }
    }

    async fn set_closing(&self, store: &StoreId, is_closing: bool) -> Result<(), ExecuteError> {
        let key = EntryKey::Closing(store.clone());
        let version = self.journal.entry_version(&key).await?;
        let write = EntryWrite {
            key: key.clone(),
            origin: system(),
            keyed: None,
        };
        let (kind, entry) = match is_closing {
            true => (EventKind::StoreClosed, Some(Entry::Closing)),
            false => (EventKind::StoreUnlocked, None),
        };
        let event = Arc::new(write.event(kind, entry, version + 1, self.clock.now()));
        let append = Append {
            entry_grounds: vec![(key, version)],
            records: vec![Record { event, receipt: None }],
            ..Append::default()
        };
        self.journal.append(append).await?;
        Ok(())
    }

    /// Ends what was begun with a store that is closed: clears it if it is deleted, and unlocks it.
    async fn settle_store(self: &Arc<Self>, store: &StoreId) -> Result<(), ExecuteError> {
        let entry = self.journal.entry(&EntryKey::Store(store.clone())).await?;
        if entry.is_none() {
            self.clear(store).await?;
        }
        self.set_closing(store, false).await
    }

    async fn clear(self: &Arc<Self>, store: &StoreId) -> Result<(), ExecuteError> {
        loop {
            let levels = self.journal.levels_in(store, None, AT_ONCE).await?;
            if levels.is_empty() {
                return Ok(());
            }
            let removed = join_all(levels.iter().map(|(sku, _)| self.remove_level(sku, store))).await;
            removed.into_iter().collect::<Result<Vec<()>, _>>()?;
        }
    }

    async fn remove_level(self: &Arc<Self>, sku: &Sku, store: &StoreId) -> Result<(), ExecuteError> {
        let request = Request {
            sku: sku.clone(),
            store_id: store.clone(),
            action: Action::RemoveLevel,
            resource: Resource::Level,
            expected: Expected::default(),
            origin: system(),
        };
        match self.execute(request, Options::default()).await {
            Ok(_) => Ok(()),
            // Its product was deleted meanwhile.
            Err(ExecuteError::Refused(refusal)) if refusal.reason == Reason::NoLevel => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn settle_stores(self: &Arc<Self>) {
        if self.journal.closing().is_empty() {
            return;
        }
        let _turn = self.deleting_store.lock().await;
        for store in self.journal.closing() {
            if let Err(error) = self.settle_store(&store).await {
                tracing::debug!(store = store.as_str(), ?error, "could not end a deletion; trying again");
            }
        }
    }
}

type EntryGround = (EntryKey, u64);

/// Ends deletions that were left half done. Runs until the inventory is gone.
pub async fn run(inventory: Weak<Inventory>) {
    while let Some(inventory) = inventory.upgrade() {
        inventory.settle_stores().await;
        drop(inventory);
        tokio::time::sleep(INTERVAL).await;
    }
}
