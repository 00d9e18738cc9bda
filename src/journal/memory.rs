//! An engine for tests: keeps the promises of [`Journal`] in memory, and breaks them on demand.
//!
//! What would be a slow or failing disk is a switch here; a crash is [`MemoryJournal::crash`].

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, future};
use tokio::sync::oneshot;

use super::contract::{Bug, Fault};
use super::figures::{Counted, Figures, Standing};
use super::tables::{Admission, Published, Tables};
use super::{
    Answer, Append, Appended, Document, EntryKind, EntryView, FoundReservations, HistoryFilter, ItemFilter, ItemView,
    Journal, JournalError, Kept, KeyHash, LevelView, Logged, ProductFilter, ReceiptView, Record, ReservationFilter,
    ReservationPlace, Stocked,
};
use crate::domain::{EntryKey, Principal, Product, Reservation, ReservationId, Sku, Stock, StoreId, Timestamp};

pub struct MemoryJournal {
    tables: Tables,
    state: Mutex<State>,
    planted: Option<Bug>,
}

#[derive(Default)]
struct State {
    log: Vec<Published>,
    queue: VecDeque<(Append, oneshot::Sender<Result<Appended, JournalError>>)>,
    held: bool,
    fault: Option<Fault>,
    refusing: Option<String>,
    poisoned: bool,
    refused: usize,
    documents: HashMap<Document, Kept>,
}

impl State {
    fn reservation(&self, id: &ReservationId, visible: u64) -> Option<Reservation> {
        let shown = self.log.iter().filter(|published| published.seq <= visible);
        Reservation::of_events(id, shown.map(|published| &*published.event))
    }
}

impl MemoryJournal {
    pub fn new(retention_ms: i64) -> Self {
        Self::recover(retention_ms, Vec::new(), None)
    }

    pub fn with_bug(retention_ms: i64, bug: Bug) -> Self {
        Self::recover(retention_ms, Vec::new(), Some(bug))
    }

    fn recover(retention_ms: i64, log: Vec<Published>, planted: Option<Bug>) -> Self {
        let tables = Tables::new(retention_ms);
        for published in &log {
            tables.replay(published).expect("the log of a test is whole");
        }
        Self {
            tables,
            state: Mutex::new(State {
                log,
                ..State::default()
            }),
            planted,
        }
    }

    /// What a new process finds: all that was made durable, and nothing else.
    pub fn crash(&self, retention_ms: i64) -> Self {
        let crashed = Self::recover(retention_ms, self.state().log.clone(), self.planted);
        crashed.state().documents = self.state().documents.clone();
        crashed
    }

    /// Makes every append wait, as for a sync that does not return.
    pub fn hold(&self) {
        self.state().held = true;
    }

    pub fn release(&self) {
        let mut state = self.state();
        state.held = false;
        self.settle(&mut state);
    }

    /// How many appends have met a full disk.
    pub fn refused(&self) -> usize {
        self.state().refused
    }

    pub fn fail(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.fault = fault;
        if fault.is_none() && !state.poisoned {
            state.refusing = None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, state: &mut State) {
        while !state.held {
            let Some((append, done)) = state.queue.pop_front() else {
                return;
            };
            let _ = done.send(self.commit(state, &append));
        }
    }

    fn commit(&self, state: &mut State, append: &Append) -> Result<Appended, JournalError> {
        if state.poisoned {
            return Err(JournalError::Unavailable("poisoned".into()));
        }
        if !Admission::new(&self.tables).admit(append) {
            return Err(JournalError::Conflict);
        }
        match state.fault {
            Some(Fault::Full) => {
                state.refused += 1;
                state.refusing = Some("full".into());
                return Err(JournalError::Unavailable("full".into()));
            }
            Some(Fault::Sync) => {
                state.refusing = Some("sync failed".into());
                state.poisoned = true;
                return Err(JournalError::Unknown("sync failed".into()));
            }
            None => {}
        }
        let first_seq = state.log.len() as u64 + 1;
        let group = self.place(append, first_seq);
        state.log.extend(group.iter().cloned());
        self.tables.publish(&group);
        Ok(Appended { first_seq })
    }

    fn place(&self, append: &Append, first_seq: u64) -> Vec<Published> {
        let keeps_receipts = self.planted != Some(Bug::SkipReceipt);
        let records = append.records.iter().zip(first_seq..);
        records
            .map(|(r, seq)| Published {
                seq,
                event: r.event.clone(),
                receipt: r.receipt.clone().filter(|_| keeps_receipts),
            })
            .collect()
    }
}

fn ready<T: Send + 'static>(value: T) -> Answer<T> {
    future::ready(Ok(value)).boxed()
}

impl Journal for MemoryJournal {
    fn append(&self, append: Append) -> Answer<Appended> {
        let mut state = self.state();
        let first_seq = state.log.len() as u64 + 1;
        match self.planted {
            Some(Bug::PublishBeforeDurable) if state.held => self.tables.publish(&self.place(&append, first_seq)),
            Some(Bug::AcknowledgeBeforeSync) => {
                state.queue.push_back((append, oneshot::channel().0));
                self.settle(&mut state);
                return ready(Appended { first_seq });
            }
            _ => {}
        }
        let (done, outcome) = oneshot::channel();
        state.queue.push_back((append, done));
        self.settle(&mut state);
        outcome
            .map(|outcome| outcome.unwrap_or_else(|_| Err(JournalError::Unknown("gone".into()))))
            .boxed()
    }

    fn load(&self, sku: &Sku) -> Answer<Stock> {
        ready(self.tables.stock(sku))
    }

    fn level(&self, sku: &Sku, store: &StoreId) -> Answer<Option<LevelView>> {
        ready(self.tables.level(sku, store))
    }

    fn levels_in(&self, store: &StoreId, after: Option<&Sku>, limit: usize) -> Answer<Vec<(Sku, LevelView)>> {
        ready(self.tables.levels_in(store, after, limit))
    }

    fn item(&self, sku: &Sku) -> Answer<Option<ItemView>> {
        ready(self.tables.item(sku))
    }

    fn items(&self, filter: &ItemFilter, after: Option<&Sku>, limit: usize) -> Answer<Vec<(Sku, ItemView)>> {
        ready(self.tables.items(filter, after, limit))
    }

    fn product(&self, sku: &Sku) -> Answer<Option<Product>> {
        ready(self.tables.product(sku))
    }

    fn products(&self, filter: &ProductFilter, after: Option<&Sku>, limit: usize) -> Answer<Vec<(Sku, Product)>> {
        ready(self.tables.products(filter, after, limit))
    }

    fn reservation(&self, id: &ReservationId) -> Answer<Option<Arc<Reservation>>> {
        ready(self.state().reservation(id, self.tables.visible()).map(Arc::new))
    }

    fn reservation_at(&self, id: &ReservationId, seq: u64) -> Answer<Option<Reservation>> {
        ready(self.state().reservation(id, seq.min(self.tables.visible())))
    }

    fn reservations(
        &self,
        filter: ReservationFilter,
        before: Option<ReservationPlace>,
        limit: usize,
    ) -> Answer<FoundReservations> {
        let visible = self.tables.visible();
        let state = self.state();
        let shown = state.log.iter().filter(|published| published.seq <= visible);
        let made = shown.flat_map(|published| {
            let ids: Vec<ReservationId> = Reservation::all_made_by(&published.event)
                .into_keys()
                .cloned()
                .collect();
            ids.into_iter().map(|id| ReservationPlace::new(published.seq, id))
        });
        let mut places: Vec<ReservationPlace> = made
            .filter(|place| before.as_ref().is_none_or(|before| place < before))
            .collect();
        places.sort_by(|a, b| b.cmp(a));
        let found = places.into_iter().filter_map(|place| {
            let reservation = state.reservation(&place.id, visible)?;
            filter.takes(&reservation).then(|| (place, Arc::new(reservation)))
        });
        let mut reservations: Vec<_> = found.take(limit + 1).collect();
        let is_last = reservations.len() <= limit;
        reservations.truncate(limit);
        let last = reservations.last().filter(|_| !is_last);
        ready(FoundReservations {
            resume: last.map(|(place, _)| place.clone()),
            reservations,
        })
    }

    fn open_lines(&self, by: &Principal) -> Answer<u64> {
        ready(self.tables.open_lines(by))
    }

    fn entry(&self, key: &EntryKey) -> Answer<Option<EntryView>> {
        ready(self.tables.entries().get(key))
    }

    fn entry_version(&self, key: &EntryKey) -> Answer<u64> {
        ready(self.tables.entries().version(key))
    }

    fn entries(&self, kind: EntryKind, after: Option<&EntryKey>, limit: usize) -> Answer<Vec<(EntryKey, EntryView)>> {
        ready(self.tables.entries().find(kind, after, limit))
    }

    fn is_closing(&self, store: &StoreId) -> bool {
        self.tables.entries().is_closing(store)
    }

    fn closing(&self) -> Vec<StoreId> {
        self.tables.entries().closing()
    }

    fn store_version(&self, store: &StoreId) -> Option<u64> {
        let (version, is_there) = self.tables.entries().version_of(&EntryKey::Store(store.clone()));
        is_there.then_some(version)
    }

    fn receipt(&self, key: KeyHash, now: Timestamp) -> Answer<Option<ReceiptView>> {
        ready(self.tables.receipt(key, now))
    }

    fn events(&self, after: u64, limit: usize) -> Answer<Vec<Logged>> {
        let visible = self.tables.visible();
        let state = self.state();
        let behind = state
            .log
            .iter()
            .filter(|published| published.seq > after && published.seq <= visible);
        ready(
            behind
                .take(limit)
                .map(|published| (published.seq, published.event.clone()))
                .collect(),
        )
    }

    fn record(&self, seq: u64) -> Answer<Option<Record>> {
        let state = self.state();
        let published = seq.checked_sub(1).and_then(|i| state.log.get(i as usize));
        ready(published.map(|published| Record {
            event: published.event.clone(),
            receipt: published.receipt.clone(),
        }))
    }

    fn history(&self, filter: HistoryFilter, before: u64, limit: usize) -> Answer<Vec<Logged>> {
        let end = before.min(self.tables.visible() + 1);
        let state = self.state();
        let asked = state.log.iter().rev().filter(|p| p.seq < end && p.seq > filter.after);
        let found = asked.filter(|published| filter.takes(&published.event)).take(limit);
        ready(found.map(|p| (p.seq, p.event.clone())).collect())
    }

    fn visible(&self) -> u64 {
        self.tables.visible()
    }

    fn stocked(&self) -> Answer<Stocked> {
        ready(self.tables.stocked())
    }

    fn news(&self, after: u64) -> BoxFuture<'static, ()> {
        self.tables.news(after)
    }

    fn deadlines(&self) -> Answer<Vec<(Timestamp, Sku)>> {
        ready(self.tables.deadlines())
    }

    fn last_time(&self) -> Timestamp {
        self.tables.last_time()
    }

    fn save_snapshot(&self, _: &Sku) -> Answer<()> {
        ready(())
    }

    fn keep(&self, document: Document, kept: Kept) -> Answer<()> {
        let mut state = self.state();
        if state.fault.is_some() {
            return future::ready(Err(JournalError::Unavailable("full".into()))).boxed();
        }
        state.documents.insert(document, kept);
        ready(())
    }

    fn kept(&self, document: Document) -> Answer<Option<Kept>> {
        ready(self.state().documents.get(&document).cloned())
    }

    fn figures(&self) -> Answer<Figures> {
        let counted = Counted {
            events: self.tables.events_by_kind(),
            ..Counted::default()
        };
        let standing = Standing {
            engine: "memory",
            visible: self.tables.visible(),
            ..Standing::default()
        };
        let stock = self.tables.stock_figures();
        ready(Figures {
            counted,
            standing,
            stock,
        })
    }

    fn refusing(&self) -> Option<String> {
        self.state().refusing.clone()
    }

    fn close(&self) -> Result<(), JournalError> {
        Ok(())
    }
}
