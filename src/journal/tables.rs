//! The durable state in memory, for the engines that have no database to ask.
//!
//! One thread publishes, in log order and only what is on stable storage; any number read. A reader
//! takes `visible` first and sees each SKU as it stood there: a row remembers what its levels were
//! before the group that is being published, so that the changes of one append appear in all its
//! SKUs at the one moment when `visible` moves.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::directory::Directory;
use super::entries::Entries;
use super::figures::{EventCounts, StockFigures};
use super::reservations::OpenReservations;
use super::{
    Append, Fingerprint, FoundReservations, ItemFilter, ItemView, KeyHash, LevelView, ProductFilter, Receipt,
    ReceiptView, Record, ReservationFilter, ReservationPlace, Stocked,
};
use crate::domain::event::Part;
use crate::domain::stock::LevelImage;
use crate::domain::{
    Details, EntryKey, Event, Fate, Item, Level, Principal, Product, Reservation, ReservationId, Sku, Stock,
    StockImage, StoreId, Timestamp,
};
use crate::metrics::Counter;

/// An event with its place in the log.
#[derive(Clone, Debug)]
pub struct Published {
    pub seq: u64,
    pub event: Arc<Event>,
    pub receipt: Option<Box<Receipt>>,
}

pub struct Tables {
    visible: AtomicU64,
    /// The same, for those who wait for it to move.
    news: watch::Sender<u64>,
    last_time_ms: AtomicI64,
    /// SKUs with a level, as of what is being published, and as of what is shown.
    stocked: AtomicU64,
    shown: Mutex<Stocked>,
    rows: DashMap<Sku, Row, RandomState>,
    directory: Directory,
    reservations: OpenReservations,
    entries: Entries,
    receipts: DashMap<KeyHash, ReceiptEntry, RandomState>,
    expiries: Mutex<VecDeque<(Timestamp, KeyHash)>>,
    retention_ms: i64,
    /// What was published, by kind.
    published: EventCounts<Counter>,
}

/// A SKU's state after its last published event, with what readers below it still see.
#[derive(Default)]
struct Row {
    stock: Stock,
    seq: u64,
    /// A level of it has no more available than its reorder point.
    is_low: bool,
    before: Before,
}

/// What the group that was published last has changed in a row.
#[derive(Default)]
struct Before {
    version: u64,
    updated_at: Timestamp,
    next_deadline: Option<Timestamp>,
    levels: Vec<(StoreId, Option<Level>)>,
    /// Given where the group has made, changed or deleted it.
    product: Option<Option<Product>>,
}

struct ReceiptEntry {
    fingerprint: Fingerprint,
    seq: u64,
    at: Timestamp,
    status: u16,
    of_batch: bool,
}

impl Tables {
    /// Receipts are kept for `retention_ms` after their event.
    pub fn new(retention_ms: i64) -> Self {
        Self {
            visible: AtomicU64::new(0),
            news: watch::Sender::new(0),
            last_time_ms: AtomicI64::new(0),
            stocked: AtomicU64::new(0),
            shown: Mutex::default(),
            rows: DashMap::default(),
            directory: Directory::default(),
            reservations: OpenReservations::default(),
            entries: Entries::default(),
            receipts: DashMap::default(),
            expiries: Mutex::default(),
            retention_ms,
            published: EventCounts::default(),
        }
    }

    pub fn visible(&self) -> u64 {
        self.visible.load(Ordering::Acquire)
    }

    pub fn last_time(&self) -> Timestamp {
        Timestamp::from_millis(self.last_time_ms.load(Ordering::Acquire))
    }

    /// Shows a group, whole and at once. Only ever called by one thread at a time.
    pub fn publish(&self, group: &[Published]) {
        let visible = self.visible();
        for published in group {
            for (sku, part) in published.event.parts() {
                self.evolve(sku, &part, published, visible);
            }
            self.reservations.evolve(published, visible);
            self.entries.evolve(published);
            self.note(published);
            self.published.of(published.event.kind).one();
        }
        if let Some(last) = group.last() {
            self.show(last.seq);
            // Nobody needs to see any more that they were open.
            group
                .iter()
                .for_each(|published| self.reservations.drop_closed(published));
            self.forget(last.event.at);
        }
    }

    /// Waits until something behind `after` is shown.
    pub fn news(&self, after: u64) -> BoxFuture<'static, ()> {
        let mut news = self.news.subscribe();
        // It fails only when the tables are gone, and then there is nobody to tell.
        async move { drop(news.wait_for(|seq| *seq > after).await) }.boxed()
    }

    /// How many SKUs have a level, with the event as of which.
    pub fn stocked(&self) -> Stocked {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, seq: u64) {
        self.visible.fetch_max(seq, Ordering::AcqRel);
        let skus = self.stocked.load(Ordering::Acquire);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Stocked { seq, skus };
        self.news.send_replace(seq);
    }

    /// The item's version as of the last published event.
    pub fn version(&self, sku: &Sku) -> u64 {
        self.rows.get(sku).map_or(0, |row| row.stock.version())
    }

    /// The SKU's state; for its owner, who has nothing in flight.
    pub fn stock(&self, sku: &Sku) -> Stock {
        self.rows.get(sku).map(|row| row.stock.clone()).unwrap_or_default()
    }

    /// What a reservation holds of a level, by the SKU's own books.
    pub fn held(&self, sku: &Sku, store: &StoreId, reservation: &ReservationId) -> Option<u64> {
        let row = self.rows.get(sku)?;
        Some(row.stock.holds()?.get(reservation, store)?.held)
    }

    /// The SKU's state with the sequence of its last event, if it has any.
    pub fn image_at(&self, sku: &Sku) -> Option<(StockImage, u64)> {
        self.rows.get(sku).map(|row| ((&row.stock).into(), row.seq))
    }

    pub fn level(&self, sku: &Sku, store: &StoreId) -> Option<LevelView> {
        let visible = self.visible();
        self.rows.get(sku)?.view(store, visible)
    }

    pub fn levels_in(&self, store: &StoreId, after: Option<&Sku>, limit: usize) -> Vec<(Sku, LevelView)> {
        let filter = ItemFilter {
            store: Some(store.clone()),
            ..ItemFilter::default()
        };
        self.list(&filter, after, limit, |sku| self.level(sku, store))
    }

    pub fn item(&self, sku: &Sku) -> Option<ItemView> {
        let visible = self.visible();
        self.rows.get(sku)?.item(visible)
    }

    pub fn items(&self, filter: &ItemFilter, after: Option<&Sku>, limit: usize) -> Vec<(Sku, ItemView)> {
        let fits = |view: &ItemView| filter.takes_levels(&view.item);
        self.list(filter, after, limit, |sku| self.item(sku).filter(fits))
    }

    pub fn product(&self, sku: &Sku) -> Option<Product> {
        let visible = self.visible();
        self.rows.get(sku)?.product(visible)
    }

    pub fn products(&self, filter: &ProductFilter, after: Option<&Sku>, limit: usize) -> Vec<(Sku, Product)> {
        let items = ItemFilter {
            q: filter.q.clone(),
            ..ItemFilter::default()
        };
        let fits = |product: &Product| {
            filter
                .archived
                .is_none_or(|archived| product.details.archived == archived)
        };
        self.list(&items, after, limit, |sku| self.product(sku).filter(fits))
    }

    fn list<T>(
        &self,
        filter: &ItemFilter,
        after: Option<&Sku>,
        limit: usize,
        view: impl Fn(&Sku) -> Option<T>,
    ) -> Vec<(Sku, T)> {
        let mut found = Vec::new();
        let mut after = after.cloned();
        loop {
            let part = self.directory.find(filter, after.as_ref());
            let views = part.skus.into_iter().filter_map(|sku| Some((sku.clone(), view(&sku)?)));
            found.extend(views.take(limit - found.len()));
            after = part.resume;
            if after.is_none() || found.len() == limit {
                return found;
            }
        }
    }

    /// A reservation that holds something. One that is not here may still be in the log.
    pub fn reservation(&self, id: &ReservationId) -> Option<Arc<Reservation>> {
        let visible = self.visible();
        self.reservations.get(id, visible)
    }

    /// Those that hold something and fit, newest first, made before a place.
    pub fn open_reservations(
        &self,
        filter: &ReservationFilter,
        before: Option<&ReservationPlace>,
        limit: usize,
    ) -> FoundReservations {
        self.reservations.find(filter, before, limit, self.visible())
    }

    /// In how many lines a principal's reservations hold something.
    pub fn open_lines(&self, by: &Principal) -> u64 {
        self.reservations.lines_of(by)
    }

    /// Every open reservation, with the place where it was made and its last event.
    pub fn each_reservation(&self) -> Vec<(ReservationPlace, Arc<Reservation>, u64)> {
        self.reservations.each()
    }

    /// Users, tokens, stores and schedules.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Since the start: what was recovered is not among them.
    pub fn events_by_kind(&self) -> EventCounts<u64> {
        self.published.read()
    }

    pub fn stock_figures(&self) -> StockFigures {
        StockFigures {
            open_reservations: self.reservations.open(),
            held_lines: self.reservations.held_lines(),
            ..self.directory.figures()
        }
    }

    pub fn receipt(&self, key: KeyHash, now: Timestamp) -> Option<ReceiptView> {
        let entry = self.receipts.get(&key)?;
        let live = entry.at.as_millis() + self.retention_ms > now.as_millis() && entry.seq <= self.visible();
        live.then_some(ReceiptView {
            fingerprint: entry.fingerprint,
            status: entry.status,
            seq: entry.seq,
            of_batch: entry.of_batch,
        })
    }

    pub fn deadlines(&self) -> Vec<(Timestamp, Sku)> {
        self.rows
            .iter()
            .filter_map(|row| Some((row.stock.next_deadline()?, row.key().clone())))
            .collect()
    }

    pub fn skus(&self) -> Vec<Sku> {
        self.rows.iter().map(|row| row.key().clone()).collect()
    }

    /// Puts a SKU in place as a checkpoint has it.
    pub fn restore(&self, sku: Sku, stock: Stock, seq: u64) {
        self.last_time_ms
            .fetch_max(stock.updated_at().as_millis(), Ordering::AcqRel);
        if stock.exists() {
            self.directory.add(&sku);
        }
        for (store, _) in stock.levels() {
            self.directory.add_level(&sku, store);
        }
        self.directory
            .rename(&sku, None, stock.details().and_then(|details| details.name.as_deref()));
        self.count_stocked(false, stock.levels().next().is_some());
        let is_low = stock.levels().any(|(_, level)| level.is_low());
        if is_low {
            self.directory.set_low(&sku, true);
        }
        self.rows.insert(
            sku,
            Row {
                stock,
                seq,
                is_low,
                before: Before::default(),
            },
        );
    }

    /// Puts an open reservation in place as a checkpoint has it: made at `created`, and as its event at `seq` left it.
    pub fn restore_reservation(&self, reservation: Arc<Reservation>, created: u64, seq: u64) {
        self.reservations.restore(reservation, created, seq);
    }

    /// Takes in an event at recovery: wholly where the SKU's state is older than it, and else only what
    /// is remembered beside the state.
    ///
    /// An event that does not follow the state before it is an error: then the log is not what was written.
    pub fn replay(&self, published: &Published) -> Result<(), String> {
        let Published { seq, event, .. } = published;
        if !event.is_in_order() {
            return Err(format!("record {seq} is not in order of SKU"));
        }
        for (sku, part) in event.parts() {
            if self.rows.get(sku).is_some_and(|row| row.seq >= *seq) {
                continue;
            }
            let fault = self.rows.get(sku).map_or_else(
                || Stock::default().contradiction(sku, event),
                |row| row.stock.contradiction(sku, event),
            );
            if let Some(fault) = fault {
                return Err(format!("record {seq} does not follow from those before it: {fault}"));
            }
            self.evolve(sku, &part, published, u64::MAX);
        }
        self.reservations.replay(published);
        let entries = self.entries.replay(published);
        entries.map_err(|fault| format!("record {seq} does not follow from those before it: {fault}"))?;
        self.note(published);
        self.forget(event.at);
        self.show(*seq);
        Ok(())
    }

    fn evolve(&self, sku: &Sku, part: &Part, published: &Published, visible: u64) {
        let Published { seq, event, .. } = published;
        // `entry` takes its key by value, even where the row is there: mostly it is.
        let mut row = match self.rows.get_mut(sku) {
            Some(row) => row,
            None => self.rows.entry(sku.clone()).or_default(),
        };
        row.remember(part, visible);
        let described_before = row.stock.details().filter(|_| !part.items.is_empty()).cloned();
        let (was_there, was_stocked) = (row.stock.exists(), row.stock.levels().next().is_some());
        let is_new = |store: &StoreId| row.stock.level(store).is_none();
        let kept = part.changes.iter().filter(|change| change.fate != Fate::Removed);
        let new_stores: Vec<StoreId> = kept
            .filter(|change| is_new(&change.store_id))
            .map(|change| change.store_id.clone())
            .collect();
        // Before the level is there: whoever copies the row and then the stores finds its store.
        for store in &new_stores {
            self.entries.first_use(store, event.at, *seq);
        }
        row.stock.evolve_part(part, event);
        row.seq = *seq;
        let was_low = row.is_low;
        let may_be_low = was_low || part.changes.iter().any(|change| change.reorder_point.is_some());
        let is_low = may_be_low && row.stock.levels().any(|(_, level)| level.is_low());
        row.is_low = is_low;
        let is_there = row.stock.exists();
        self.count_stocked(was_stocked, row.stock.levels().next().is_some());
        // The directory is locked by long lists: nobody who wants the row waits for them.
        drop(row);
        for store in &new_stores {
            self.directory.add_level(sku, store);
        }
        for change in part.changes.iter().filter(|change| change.fate == Fate::Removed) {
            self.directory.remove_level(sku, &change.store_id);
        }
        if !part.items.is_empty() {
            self.rename(sku, described_before.as_ref(), part);
        }
        if is_low != was_low {
            self.directory.set_low(sku, is_low);
        }
        match (was_there, is_there) {
            (false, true) if new_stores.is_empty() => self.directory.add(sku),
            (true, false) => self.directory.remove(sku),
            _ => {}
        }
    }

    fn count_stocked(&self, was_stocked: bool, is_stocked: bool) {
        match (was_stocked, is_stocked) {
            (false, true) => self.stocked.fetch_add(1, Ordering::AcqRel),
            (true, false) => self.stocked.fetch_sub(1, Ordering::AcqRel),
            _ => return,
        };
    }

    fn rename(&self, sku: &Sku, before: Option<&Details>, part: &Part) {
        let before = before.and_then(|details| details.name.as_deref());
        for change in part.items {
            let after = change.details.as_ref().and_then(|details| details.name.as_deref());
            self.directory.rename(sku, before, after);
        }
    }

    /// What is kept beside the state: the receipt and the time.
    fn note(&self, published: &Published) {
        let Published { seq, event, receipt } = published;
        self.last_time_ms.fetch_max(event.at.as_millis(), Ordering::AcqRel);
        let mut expiring = Vec::new();
        if let Some(receipt) = receipt {
            let entry = |of_batch| ReceiptEntry {
                fingerprint: receipt.fingerprint,
                seq: *seq,
                at: event.at,
                status: receipt.status,
                of_batch,
            };
            self.receipts.insert(receipt.id(), entry(false));
            expiring.push((event.at, receipt.id()));
            // The key of a batch stands for all of it, as long as there is a receipt of any of its operations.
            if receipt.operation.is_some() {
                let before = self.receipts.insert(receipt.key, entry(true));
                if before.is_none_or(|before| before.at != event.at) {
                    expiring.push((event.at, receipt.key));
                }
            }
        }
        if !expiring.is_empty() {
            self.expiries
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend(expiring);
        }
    }

    fn forget(&self, now: Timestamp) {
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |at: Timestamp| at.as_millis() + self.retention_ms <= now.as_millis();
        while let Some((at, key)) = expiries.pop_front_if(|(at, _)| over(*at)) {
            // A key may have been used again since: then its later receipt stays.
            self.receipts.remove_if(&key, |_, entry| entry.at == at);
        }
    }
}

impl Row {
    /// Keeps what readers at or below `visible` are to see while the row runs ahead of them.
    fn remember(&mut self, part: &Part, visible: u64) {
        if self.seq <= visible {
            self.before = Before {
                version: self.stock.version(),
                updated_at: self.stock.updated_at(),
                next_deadline: self.stock.next_deadline(),
                levels: std::mem::take(&mut self.before.levels),
                product: None,
            };
            self.before.levels.clear();
        }
        if self.before.product.is_none() && (!part.items.is_empty() || !self.stock.exists()) {
            self.before.product = Some(self.stock.product());
        }
        for change in part.changes {
            if !self.before.levels.iter().any(|(store, _)| *store == change.store_id) {
                let level = self.stock.level(&change.store_id).copied();
                self.before.levels.push((change.store_id.clone(), level));
            }
        }
    }

    fn view(&self, store: &StoreId, visible: u64) -> Option<LevelView> {
        let now = self.stock.level(store).copied();
        if self.seq <= visible {
            return Some(LevelView {
                level: now?,
                next_deadline: self.stock.next_deadline(),
            });
        }
        let before = self
            .before
            .levels
            .iter()
            .find(|(s, _)| s == store)
            .map_or(now, |(_, level)| *level);
        Some(LevelView {
            level: before?,
            next_deadline: self.before.next_deadline,
        })
    }

    fn product(&self, visible: u64) -> Option<Product> {
        match &self.before.product {
            Some(before) if self.seq > visible => before.clone(),
            _ => self.stock.product(),
        }
    }

    fn item(&self, visible: u64) -> Option<ItemView> {
        if self.seq <= visible {
            return self.stock.exists().then(|| ItemView {
                item: self.stock.item(),
                next_deadline: self.stock.next_deadline(),
            });
        }
        let (before, product) = (&self.before, self.product(visible)?);
        let is_changed = |store: &StoreId| before.levels.iter().any(|(s, _)| s == store);
        let unchanged = self.stock.levels().filter(|(store, _)| !is_changed(store));
        let changed = before
            .levels
            .iter()
            .filter_map(|(store, level)| Some((store, level.as_ref()?)));
        let mut levels: Vec<LevelImage> = unchanged
            .chain(changed)
            .map(|(store, level)| LevelImage {
                store_id: store.clone(),
                level: *level,
            })
            .collect();
        levels.sort_by(|a, b| a.store_id.cmp(&b.store_id));
        Some(ItemView {
            item: Item {
                version: before.version,
                details: product.details,
                created_at: product.created_at,
                updated_at: before.updated_at,
                levels,
            },
            next_deadline: before.next_deadline,
        })
    }
}

/// Decides which appends of a group stand on the state that they were decided on.
pub struct Admission<'a> {
    tables: &'a Tables,
    /// Versions that earlier appends of the same group have made.
    ahead: HashMap<Sku, u64, RandomState>,
    /// The same of entries, and whether they are there.
    entries_ahead: HashMap<EntryKey, (u64, bool), RandomState>,
    /// Among these is a store that is about to be deleted.
    closing_ahead: bool,
}

impl<'a> Admission<'a> {
    pub fn new(tables: &'a Tables) -> Self {
        Self {
            tables,
            ahead: HashMap::default(),
            entries_ahead: HashMap::default(),
            closing_ahead: false,
        }
    }

    /// Takes the append in, or says that it was decided on a state that is no more: a SKU has moved on,
    /// a key has been used, or it brings something to a store that is about to be deleted.
    pub fn admit(&mut self, append: &Append) -> bool {
        let is_known = |record: &Record| {
            let receipt = record.receipt.as_ref();
            receipt.is_some_and(|receipt| self.tables.receipt(receipt.id(), record.event.at).is_some())
        };
        let current = |sku: &Sku| self.ahead.get(sku).copied().unwrap_or_else(|| self.tables.version(sku));
        if append.grounds.iter().any(|(sku, version)| current(sku) != *version)
            || append
                .entry_grounds
                .iter()
                .any(|(key, version)| self.entry(key).0 != *version)
            || append.records.iter().any(is_known)
            || append.records.iter().any(|record| self.enters_closing(&record.event))
        {
            return false;
        }
        self.ahead.reserve(append.grounds.len());
        append.records.iter().for_each(|record| self.take(&record.event));
        true
    }

    fn take(&mut self, event: &Event) {
        for change in &event.entries {
            let is_there = change.entry.is_some();
            self.closing_ahead |= is_there && matches!(change.key, EntryKey::Closing(_));
            self.entries_ahead
                .insert(change.key.clone(), (change.version, is_there));
        }
        for change in &event.changes {
            self.ahead.insert(change.sku.clone(), change.item_version);
            if change.fate == Fate::Made {
                self.take_first_use(&change.store_id);
            }
        }
        for change in &event.items {
            self.ahead.insert(change.sku.clone(), change.item_version);
        }
    }

    /// The store's first level makes its entry; see [`Entries::first_use`].
    fn take_first_use(&mut self, store: &StoreId) {
        let key = EntryKey::Store(store.clone());
        let (version, is_there) = self.entry(&key);
        if !is_there {
            self.entries_ahead.insert(key, (version + 1, true));
        }
    }

    /// The version of an entry, and whether it is there.
    fn entry(&self, key: &EntryKey) -> (u64, bool) {
        let ahead = self.entries_ahead.get(key).copied();
        ahead.unwrap_or_else(|| self.tables.entries.version_of(key))
    }

    fn enters_closing(&self, event: &Event) -> bool {
        let may_be = self.closing_ahead || self.tables.entries.has_closing();
        let is_closing = |store: &StoreId| self.entry(&EntryKey::Closing(store.clone())).1;
        may_be && event.entered().any(is_closing)
    }
}
