//! Users, tokens, stores, schedules and webhooks: what is kept beside stock, changed one at a time.

use std::sync::Arc;

use super::{ExecuteError, Inventory, Keyed, Outcome, Told};
use crate::domain::{Entry, EntryChange, EntryKey, Event, EventKind, Origin, SyncStatus, Timestamp};
use crate::journal::{Append, Appended, EntryKind, EntryView, Journal, JournalError, Receipt, Record};
use crate::telemetry::context;

/// A change of a user, a token, a store, a schedule or a webhook.
pub struct EntryWrite {
    pub key: EntryKey,
    pub origin: Arc<Origin>,
    pub keyed: Option<Keyed>,
}

/// What a change comes to: the kind of its event, and the entry after it, which is gone where there is none.
pub type EntryDecision = (EventKind, Option<Entry>);

/// The same, with what else the write is answered with where its event does not tell all of it.
pub struct Decided {
    pub decision: EntryDecision,
    pub sync: Option<Arc<SyncStatus>>,
}

impl From<EntryDecision> for Decided {
    fn from(decision: EntryDecision) -> Self {
        let sync = None;
        Self { decision, sync }
    }
}

impl Inventory {
    /// Carries the change out that `decide` makes of the entry as it stands, or answers it from the receipt of its first
    /// time. Where the entry has moved on before that is in the log, it is decided again. It goes on when the caller goes
    /// away: else the key would be free while its write is under way.
    pub async fn change_entry<E: From<ExecuteError> + 'static, D: Into<Decided> + 'static>(
        self: &Arc<Self>,
        write: EntryWrite,
        decide: impl Fn(Option<&EntryView>, Timestamp) -> Result<D, E> + 'static,
    ) -> Result<Outcome, E> {
        self.change_entry_beside(write, None, move |found, _, now| decide(found, now))
            .await
    }

    /// The same where it matters whether another entry of the kind is as `fits` says. What was found then belongs to the
    /// grounds: of two changes that each rest on the entry which the other one changes, the later is decided again.
    pub async fn change_entry_beside<E: From<ExecuteError> + 'static, D: Into<Decided> + 'static>(
        self: &Arc<Self>,
        write: EntryWrite,
        fits: Option<fn(&Entry) -> bool>,
        decide: impl Fn(Option<&EntryView>, bool, Timestamp) -> Result<D, E> + 'static,
    ) -> Result<Outcome, E> {
        let inventory = self.clone();
        to_its_end(async move { inventory.run_change(write, fits, decide).await }).await
    }

    async fn run_change<E: From<ExecuteError>, D: Into<Decided>>(
        &self,
        write: EntryWrite,
        fits: Option<fn(&Entry) -> bool>,
        decide: impl Fn(Option<&EntryView>, bool, Timestamp) -> Result<D, E>,
    ) -> Result<Outcome, E> {
        let claim = match write.keyed {
            Some(keyed) => match self.claim_key(keyed).await? {
                (claim, None) => Some(claim),
                (_, Some(receipt)) => return Ok(self.answer_again(receipt).await.map_err(ExecuteError::from)?),
            },
            None => None,
        };
        loop {
            let found = self.journal.entry(&write.key).await.map_err(ExecuteError::from)?;
            // Of one that was deleted too, whose versions go on.
            let version = self
                .journal
                .entry_version(&write.key)
                .await
                .map_err(ExecuteError::from)?;
            if found.as_ref().is_some_and(|found| found.version != version) {
                continue;
            }
            let other = match fits {
                Some(fits) => {
                    let is_other = |key: &EntryKey, entry: &Entry| *key != write.key && fits(entry);
                    let found = first(&*self.journal, EntryKind::of(&write.key), is_other).await;
                    found.map_err(ExecuteError::from)?
                }
                None => None,
            };
            let now = self.clock.now();
            let Decided { decision, sync } = decide(found.as_ref(), other.is_some(), now)?.into();
            let (kind, entry) = decision;
            let event = Arc::new(write.event(kind, entry, version + 1, now));
            let receipt = write.keyed.map(|keyed| Receipt {
                sync: sync.clone(),
                ..Receipt::new(keyed.key, keyed.fingerprint, (keyed.status)(&event))
            });
            let append = Append {
                entry_grounds: other.into_iter().chain([(write.key.clone(), version)]).collect(),
                records: vec![Record {
                    event: event.clone(),
                    receipt: receipt.map(Box::new),
                }],
                ..Append::default()
            };
            match self.journal.append(append).await {
                // It has moved on; or the first request with this key is done by now, whose client had gone away.
                Err(JournalError::Conflict) => {
                    if let Some(done) = self.done_before(write.keyed).await? {
                        return Ok(done);
                    }
                }
                Err(error) => {
                    if let (JournalError::Unknown(_), Some(claim)) = (&error, claim) {
                        claim.becomes_unknown();
                    }
                    return Err(ExecuteError::from(error).into());
                }
                Ok(Appended { first_seq }) => {
                    return Ok(Outcome {
                        event,
                        seq: Some(first_seq),
                        replayed: None,
                        told: sync.map_or(Told::Event, Told::Sync),
                    });
                }
            }
        }
    }

    /// Whether anybody can log in and make users.
    pub async fn has_admin(&self) -> Result<bool, JournalError> {
        let found = first(&*self.journal, EntryKind::User, |_, entry| entry.governs()).await?;
        Ok(found.is_some())
    }

    /// What a request came to that had the same key, and was not done yet when the key was claimed.
    pub async fn done_before(&self, keyed: Option<Keyed>) -> Result<Option<Outcome>, ExecuteError> {
        let Some(Keyed { key, fingerprint, .. }) = keyed else {
            return Ok(None);
        };
        match self.journal.receipt(key, self.clock.now()).await? {
            None => Ok(None),
            Some(receipt) if receipt.fingerprint != fingerprint => Err(ExecuteError::KeyReused),
            Some(receipt) => Ok(Some(self.answer_again(receipt).await?)),
        }
    }
}

/// Runs a write in a task of its own: who asked for it may go away meanwhile, and it does not stop half way.
pub async fn to_its_end<T: 'static, E: From<ExecuteError> + 'static>(
    write: impl Future<Output = Result<T, E>> + 'static,
) -> Result<T, E> {
    let ended = actix_web::rt::spawn(context::carried(context::current(), write)).await;
    ended.unwrap_or_else(|_| {
        let reason = "a write ended before it was answered".to_owned();
        Err(ExecuteError::from(JournalError::Unknown(reason)).into())
    })
}

/// Entries that are looked at together.
pub const PAGE: usize = 1000;

/// The first entry of a kind that fits, with its version.
pub async fn first(
    journal: &dyn Journal,
    kind: EntryKind,
    fits: impl Fn(&EntryKey, &Entry) -> bool,
) -> Result<Option<(EntryKey, u64)>, JournalError> {
    let mut after: Option<EntryKey> = None;
    loop {
        let page = journal.entries(kind, after.as_ref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|(last, _)| last.clone());
        match page.into_iter().find(|(key, view)| fits(key, &view.entry)) {
            Some((key, view)) => return Ok(Some((key, view.version))),
            None if is_last => return Ok(None),
            None => {}
        }
    }
}

impl EntryWrite {
    pub fn event(&self, kind: EventKind, entry: Option<Entry>, version: u64, now: Timestamp) -> Event {
        Event {
            kind,
            at: now,
            by: self.origin.by.clone(),
            request_id: self.origin.request_id.clone(),
            reservation_id: None,
            reference: None,
            note: None,
            changes: Vec::new(),
            holds: Vec::new(),
            items: Vec::new(),
            entries: vec![EntryChange {
                key: self.key.clone(),
                version,
                entry,
            }],
        }
    }
}
