//! Durable storage behind one trait: the log of events, and what can be asked of it.
//!
//! [`Journal`] is the only abstraction over storage. Every engine keeps these promises, and
//! `contract.rs` holds each of them to every one:
//!
//! - Appends take effect in the order in which they are queued; one of nothing waits for those before it.
//! - An append is all or nothing, receipts included, and conditional on the version of each SKU that
//!   it touches. `Ok` means that it is on stable storage and that every query shows it.
//! - No query ever shows an append that could still be lost, and one append is shown in all its SKUs
//!   at once.
//! - Sequences begin at 1, have no gaps, and are shown in order.
//! - A failure says whether the append may have happened: see [`JournalError`].

pub mod directory;
pub mod entries;
pub mod figures;
pub mod file;
#[cfg(test)]
pub mod memory;
pub mod record;
mod reservations;
pub mod stores;
pub mod tables;
mod tail;

#[cfg(test)]
pub mod contract;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::domain::reservation::Line;
use crate::domain::stock::LevelImage;
use crate::domain::{
    Change, Entry, EntryKey, Event, EventKind, HoldChange, HoldStep, Item, ItemChange, Level, Movement, Principal,
    Product, Reservation, ReservationId, ReservationStatus, Scope, Sku, Stock, StoreId, Timestamp, Totals,
};
use figures::Figures;
pub use record::{Fingerprint, KeyHash, Receipt};

/// What is written together, in order.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// The item version of each SKU that the events were decided on.
    pub grounds: Vec<(Sku, u64)>,
    /// The same of entries: users, tokens, stores, webhooks.
    pub entry_grounds: Vec<(EntryKey, u64)>,
    pub records: Vec<Record>,
}

impl Append {
    /// Of stock alone.
    pub fn of_stock(grounds: Vec<(Sku, u64)>, records: Vec<Record>) -> Self {
        Self {
            grounds,
            records,
            ..Self::default()
        }
    }
}

#[derive(Clone, Debug)]
pub struct Record {
    pub event: Arc<Event>,
    /// Behind a pointer, as many have none and all are moved about by the thousand.
    pub receipt: Option<Box<Receipt>>,
}

/// Where an append stands in the log: its records follow one another from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first_seq: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Not applied: a SKU has moved on since the append was decided, or a store is about to be deleted to which it brings
    /// something. Load again, decide again.
    #[error("the stock has changed since this was decided")]
    Conflict,
    /// Not applied, and never will be.
    #[error("{0}")]
    Unavailable(String),
    /// May have been applied; only a restart that reads what is really there can tell.
    #[error("{0}")]
    Unknown(String),
    /// What should be there cannot be read back.
    #[error("{0}")]
    Damaged(String),
}

/// A level, and the moment from which a hold on its SKU is over: past it, what is shown here is no
/// longer true until the expiry has been recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelView {
    pub level: Level,
    pub next_deadline: Option<Timestamp>,
}

/// A recorded write of a caller, as its idempotency key finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptView {
    pub fingerprint: Fingerprint,
    pub status: u16,
    pub seq: u64,
    /// It stands for a batch, whose operations have receipts of their own.
    pub of_batch: bool,
}

/// An item, with the moment from which a hold on it is over; see [`LevelView`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemView {
    pub item: Item,
    pub next_deadline: Option<Timestamp>,
}

/// A user, a token, a store, a schedule or a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryView {
    pub version: u64,
    pub entry: Entry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    User,
    Token,
    Store,
    /// That a store is about to be deleted.
    Closing,
    SyncSchedule,
    /// When a store has pushed last.
    LastPush,
    Webhook,
}

impl EntryKind {
    pub fn of(key: &EntryKey) -> Self {
        match key {
            EntryKey::User(_) => Self::User,
            EntryKey::Token(_) => Self::Token,
            EntryKey::Store(_) => Self::Store,
            EntryKey::Closing(_) => Self::Closing,
            EntryKey::SyncSchedule => Self::SyncSchedule,
            EntryKey::LastPush(_) => Self::LastPush,
            EntryKey::Webhook(_) => Self::Webhook,
        }
    }
}

/// Which items a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemFilter {
    /// The beginning of the SKU, or words of the name, in any case.
    pub q: Option<String>,
    /// With a level in this store.
    pub store: Option<StoreId>,
    /// With a level (in `store`, if that is given) that has no more available than its reorder point.
    pub low_stock: bool,
    /// Only levels in these stores count.
    pub scope: Scope,
}

/// Which products a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProductFilter {
    /// The beginning of the SKU, or words of the name, in any case.
    pub q: Option<String>,
    /// Only those that are archived, or only those that are not.
    pub archived: Option<bool>,
}

impl ItemFilter {
    /// Whether the levels fit; that the SKU or the name does is for the list to see.
    pub fn takes_levels(&self, item: &Item) -> bool {
        // A product without stock is an item without levels.
        if self.store.is_none() && !self.low_stock && self.scope.is_all() {
            return true;
        }
        let is_asked = |image: &&LevelImage| {
            self.store.as_ref().is_none_or(|store| *store == image.store_id) && self.scope.has(&image.store_id)
        };
        let mut levels = item.levels.iter().filter(is_asked);
        levels.any(|image| !self.low_stock || image.level.is_low())
    }

    /// The one store in which all that is looked for has a level, where it is one.
    pub fn only_store(&self) -> Option<&StoreId> {
        self.store.as_ref().or(self.scope.only())
    }
}

/// Which events a search in the log finds: those with a change that fits all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    pub sku: Option<Sku>,
    pub store: Option<StoreId>,
    /// Only changes in these stores.
    pub scope: Scope,
    /// Only changes of the on-hand quantity, and counts.
    pub moved: bool,
    /// Only events that set the item's details.
    pub described: bool,
    /// Only events that delete the SKU's product.
    pub ended: bool,
    pub movement: Option<Movement>,
    /// Only events of this kind.
    pub kind: Option<EventKind>,
    /// Only changes by which available fell to or below the reorder point.
    pub low_stock: bool,
    /// Only expiries of holds.
    pub expired: bool,
    /// Only what is about this reservation, whether or not it changes a level.
    pub reservation: Option<ReservationId>,
    /// Only events that make reservations.
    pub placed: bool,
    /// Only events with this reference, or that make a reservation with it.
    pub reference: Option<String>,
    /// Not before this moment.
    pub from: Option<Timestamp>,
    /// Not after this moment.
    pub to: Option<Timestamp>,
    /// Behind this sequence.
    pub after: u64,
}

impl HistoryFilter {
    /// Takes every event that changes a level.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }

    pub fn takes(&self, event: &Event) -> bool {
        let in_time = self.from.is_none_or(|from| event.at >= from) && self.to.is_none_or(|to| event.at <= to);
        let describes = |sku: &Sku| event.items.iter().any(|item| item.sku == *sku);
        let is_described = !self.described || self.sku.as_ref().map_or(!event.items.is_empty(), describes);
        let ends = |item: &ItemChange| item.details.is_none() && self.sku.as_ref().is_none_or(|sku| *sku == item.sku);
        let is_end = !self.ended || event.items.iter().any(ends);
        let is_expiry = !self.expired || event.kind == EventKind::ReservationExpired;
        let is_of_kind = self.kind.is_none_or(|kind| kind == event.kind);
        in_time
            && is_of_kind
            && is_described
            && is_end
            && is_expiry
            && self.takes_holds(event)
            && (event.changes.iter().any(|change| self.takes_change(change))
                || self.takes_empty_line(event)
                || self.takes_item(event))
    }

    /// What is said of a product changes no level, but its item.
    fn takes_item(&self, event: &Event) -> bool {
        let asks_change = self.moved || self.movement.is_some() || self.low_stock;
        let asks_level = self.store.is_some() || !self.scope.is_all() || asks_change;
        let is_asked = |sku: &Sku| self.sku.as_ref().is_none_or(|asked| asked == sku);
        !asks_level && event.items.iter().any(|item| is_asked(&item.sku))
    }

    /// A line of a reservation of which there was nothing to hold changes no level, but is a part of it.
    fn takes_empty_line(&self, event: &Event) -> bool {
        let is_asked = |hold: &HoldChange| {
            hold.step == HoldStep::Placed
                && hold.held == 0
                && self.sku.as_ref().is_none_or(|sku| *sku == hold.sku)
                && self.takes_store(&hold.store_id)
        };
        self.placed && event.holds.iter().any(is_asked)
    }

    fn takes_holds(&self, event: &Event) -> bool {
        let mut holds = event.holds.iter();
        let is_placed = !self.placed || holds.any(|hold| hold.step == HoldStep::Placed);
        let is_about = |id: &ReservationId| event.holds.iter().any(|hold| hold.reservation_id == *id);
        let refers = |reference: &String| {
            let of_holds = event.holds.iter().map(|hold| &hold.reference);
            std::iter::once(&event.reference)
                .chain(of_holds)
                .flatten()
                .any(|given| given == reference)
        };
        is_placed && self.reservation.as_ref().is_none_or(is_about) && self.reference.as_ref().is_none_or(refers)
    }

    pub fn takes_change(&self, change: &Change) -> bool {
        self.sku.as_ref().is_none_or(|sku| *sku == change.sku)
            && self.takes_store(&change.store_id)
            && (!self.moved || change.movement.is_some())
            && (!self.low_stock || change.low_stock)
            && self
                .movement
                .is_none_or(|movement| change.moves().any(|one| one.movement == movement))
    }

    fn takes_store(&self, store: &StoreId) -> bool {
        self.store.as_ref().is_none_or(|asked| asked == store) && self.scope.has(store)
    }

    /// The one store in which all that is looked for has changed something, where it is one.
    pub fn only_store(&self) -> Option<&StoreId> {
        self.store.as_ref().or(self.scope.only())
    }
}

/// Which reservations a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservationFilter {
    pub status: Option<ReservationStatus>,
    /// With a line in this SKU, and in this store; both of the same line where both are given.
    pub sku: Option<Sku>,
    pub store: Option<StoreId>,
    pub reference: Option<String>,
    /// Only those with no line in any other store.
    pub scope: Scope,
    /// What is held beyond this moment counts as held, and what is over by then as over, recorded or not.
    pub now: Timestamp,
}

impl ReservationFilter {
    pub fn takes(&self, reservation: &Reservation) -> bool {
        let is_asked = |line: &Line| {
            self.sku.as_ref().is_none_or(|sku| *sku == line.sku)
                && self.store.as_ref().is_none_or(|store| *store == line.store_id)
        };
        let refers = |reference: &String| reservation.reference.as_ref() == Some(reference);
        self.status
            .is_none_or(|status| reservation.status_at(self.now) == status)
            && reservation.lines.iter().any(is_asked)
            && reservation.is_within(&self.scope)
            && self.reference.as_ref().is_none_or(refers)
    }
}

/// Where a reservation stands in their list: by the place of the event that made it, of which there may be several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReservationPlace {
    pub seq: u64,
    pub id: ReservationId,
}

impl ReservationPlace {
    pub fn new(seq: u64, id: ReservationId) -> Self {
        Self { seq, id }
    }
}

/// A part of the list of reservations.
#[derive(Clone, Debug, Default)]
pub struct FoundReservations {
    pub reservations: Vec<(ReservationPlace, Arc<Reservation>)>,
    /// Where to go on, if there may be more; a part may have few rows, or none, and yet not be the last.
    pub resume: Option<ReservationPlace>,
}

/// What is made from the log and kept beside it, so that it need not be made from the beginning again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Document {
    /// What all stores have together, as of the last sync.
    Totals,
    /// What was sold, by the hour.
    Sales,
    /// How far each webhook's deliveries have come, and what could not be delivered.
    Deliveries,
}

impl Document {
    pub const ALL: [Self; 3] = [Self::Totals, Self::Sales, Self::Deliveries];
}

/// A document as it was kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// The last event that it contains.
    pub seq: u64,
    pub body: Box<RawValue>,
}

impl Kept {
    pub fn of_totals(totals: &Totals) -> serde_json::Result<Self> {
        let body = serde_json::value::to_raw_value(totals)?;
        Ok(Self { seq: totals.seq, body })
    }

    /// What it says, if it is of totals and says one thing only.
    pub fn totals(&self) -> Result<Totals, String> {
        let totals: Totals = serde_json::from_str(self.body.get()).map_err(|error| error.to_string())?;
        match totals.seq == self.seq {
            true => Ok(totals),
            false => Err(format!("it is of record {} and of {}", self.seq, totals.seq)),
        }
    }
}

/// How many SKUs have a level in some store, after an event that is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stocked {
    pub seq: u64,
    pub skus: u64,
}

/// An event with its sequence.
pub type Logged = (u64, Arc<Event>);

pub type Answer<T> = BoxFuture<'static, Result<T, JournalError>>;

/// The SQL under each method is what the PostgreSQL-protocol engine is to run (tables `events(seq,
/// body)`, `levels(sku, store_id, …)`, `items(sku, version)`, `holds(…)`, `receipts(key, …)`); it is
/// here to keep the seam honest.
pub trait Journal: Send + Sync + 'static {
    /// Queues the append at once; the future only waits for its outcome, and may be dropped.
    ///
    /// `UPDATE items SET version = … FROM unnest(…) WHERE sku = … AND version = …` (a row missing:
    /// conflict), `INSERT INTO events / receipts SELECT FROM unnest(…)`, upserts of `levels` and
    /// `holds`, and `UPDATE log SET seq = seq + n` last, in one transaction.
    fn append(&self, append: Append) -> Answer<Appended>;

    /// The SKU's whole state; an unknown one has none.
    ///
    /// `SELECT … FROM levels / holds WHERE sku = $1` in one snapshot.
    fn load(&self, sku: &Sku) -> Answer<Stock>;

    /// `SELECT … FROM levels JOIN items USING (sku) WHERE sku = $1 AND store_id = $2`
    fn level(&self, sku: &Sku, store: &StoreId) -> Answer<Option<LevelView>>;

    /// Levels of a store in order of SKU without regard to case, beginning behind `after`.
    ///
    /// `… WHERE store_id = $1 AND (folded_sku, sku) > ($2, $3) ORDER BY folded_sku COLLATE "C", sku COLLATE "C" LIMIT $4`
    fn levels_in(&self, store: &StoreId, after: Option<&Sku>, limit: usize) -> Answer<Vec<(Sku, LevelView)>>;

    /// `SELECT … FROM items JOIN levels USING (sku) WHERE sku = $1` in one snapshot.
    fn item(&self, sku: &Sku) -> Answer<Option<ItemView>>;

    /// Items in order of SKU without regard to case, beginning behind `after`.
    ///
    /// `… WHERE (folded_sku, sku) > ($1, $2) AND (folded_sku LIKE $3 OR words @> $4)
    /// AND EXISTS (SELECT FROM levels … AND ($5 IS NULL OR store_id = ANY ($5)))
    /// ORDER BY folded_sku COLLATE "C", sku COLLATE "C" LIMIT $6`
    fn items(&self, filter: &ItemFilter, after: Option<&Sku>, limit: usize) -> Answer<Vec<(Sku, ItemView)>>;

    /// `SELECT … FROM items WHERE sku = $1`
    fn product(&self, sku: &Sku) -> Answer<Option<Product>>;

    /// Products in order of SKU without regard to case, beginning behind `after`.
    ///
    /// As `items`, without their levels.
    fn products(&self, filter: &ProductFilter, after: Option<&Sku>, limit: usize) -> Answer<Vec<(Sku, Product)>>;

    /// A reservation, open or over, however long ago that was.
    ///
    /// `SELECT … FROM reservations WHERE id = $1`
    fn reservation(&self, id: &ReservationId) -> Answer<Option<Arc<Reservation>>>;

    /// A reservation as the events up to a place in the log have left it.
    ///
    /// `SELECT body FROM events JOIN holds USING (seq) WHERE reservation_id = $1 AND seq <= $2 ORDER BY seq`
    fn reservation_at(&self, id: &ReservationId, seq: u64) -> Answer<Option<Reservation>>;

    /// Reservations that fit, newest first, made before a place.
    ///
    /// `SELECT … FROM reservations WHERE (seq, id) < ($1, $2) AND … AND ($3 IS NULL OR stores <@ $3)
    /// ORDER BY seq DESC, id DESC LIMIT …`
    fn reservations(
        &self,
        filter: ReservationFilter,
        before: Option<ReservationPlace>,
        limit: usize,
    ) -> Answer<FoundReservations>;

    /// In how many lines a principal's reservations hold something. What was answered is in it.
    ///
    /// `SELECT open_lines FROM principals WHERE name = $1`
    fn open_lines(&self, by: &Principal) -> Answer<u64>;

    /// `SELECT version, body FROM entries WHERE key = $1`
    fn entry(&self, key: &EntryKey) -> Answer<Option<EntryView>>;

    /// The version of an entry, also of one that was deleted; 0 where there never was one.
    ///
    /// `SELECT version FROM entries WHERE key = $1`
    fn entry_version(&self, key: &EntryKey) -> Answer<u64>;

    /// Entries of a kind in order of key, beginning behind `after`.
    ///
    /// `SELECT … FROM entries WHERE kind = $1 AND key > $2 AND body IS NOT NULL ORDER BY key COLLATE "C" LIMIT $3`
    fn entries(&self, kind: EntryKind, after: Option<&EntryKey>, limit: usize) -> Answer<Vec<(EntryKey, EntryView)>>;

    /// That a store is about to be deleted, as far as this process knows: an append that brings something to such a store
    /// is a conflict, whatever was known when it was decided.
    fn is_closing(&self, store: &StoreId) -> bool;

    /// All such stores.
    fn closing(&self) -> Vec<StoreId>;

    /// The version of a store in the catalogue, as far as this process knows; an append may name it as its ground.
    fn store_version(&self, store: &StoreId) -> Option<u64>;

    /// `SELECT … FROM receipts WHERE key = $1 AND at > $2 - retention`
    fn receipt(&self, key: KeyHash, now: Timestamp) -> Answer<Option<ReceiptView>>;

    /// Events behind `after`, in order: up to `limit`, or fewer where they are large. None: there are none.
    /// Whoever keeps up with the log gets them from memory.
    ///
    /// `SELECT seq, body FROM events WHERE seq > $1 ORDER BY seq LIMIT $2`
    fn events(&self, after: u64, limit: usize) -> Answer<Vec<Logged>>;

    /// The record at a place in the log; none where the log has not come so far.
    ///
    /// `SELECT body, receipt FROM events WHERE seq = $1`
    fn record(&self, seq: u64) -> Answer<Option<Record>>;

    /// Events that fit, newest first, from below `before`; fewer than `limit` only where there are no more.
    ///
    /// `SELECT DISTINCT seq, body FROM events JOIN changes USING (seq) WHERE seq < $1 AND sku = …
    /// AND ($2 IS NULL OR store_id = ANY ($2)) ORDER BY seq DESC LIMIT …`
    fn history(&self, filter: HistoryFilter, before: u64, limit: usize) -> Answer<Vec<Logged>>;

    /// The last sequence that is shown.
    fn visible(&self) -> u64;

    /// How many SKUs are in stock somewhere, which no event tells, and as of which event.
    ///
    /// `SELECT seq, stocked FROM log`, where each append adds the SKUs that it gives their first level and takes away
    /// those that it leaves without one.
    fn stocked(&self) -> Answer<Stocked>;

    /// Waits until something behind `after` is shown.
    fn news(&self, after: u64) -> BoxFuture<'static, ()>;

    /// The earliest deadline of every SKU that has one.
    ///
    /// `SELECT sku, min(expires_at) FROM holds GROUP BY sku`
    fn deadlines(&self) -> Answer<Vec<(Timestamp, Sku)>>;

    /// The time of the last event: the clock never shows an earlier one.
    fn last_time(&self) -> Timestamp;

    /// Writes the SKU's durable state to a file of its own, where the engine keeps such; nothing rests on it.
    fn save_snapshot(&self, sku: &Sku) -> Answer<()>;

    /// Puts a document in the place of the one before, durably. No promise on stock rests on it.
    ///
    /// `INSERT INTO documents VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET …`
    fn keep(&self, document: Document, kept: Kept) -> Answer<()>;

    /// A document as it was kept last, also before a crash; `Damaged` says that it must be made again.
    ///
    /// `SELECT seq, body FROM documents WHERE name = $1`
    fn kept(&self, document: Document) -> Answer<Option<Kept>>;

    /// What it has done since it was opened, and how things stand.
    ///
    /// `SELECT count(*) FROM …` of the tables, and counts of this process.
    fn figures(&self) -> Answer<Figures>;

    /// Why writes are refused at present, if they are.
    fn refusing(&self) -> Option<String>;

    /// Finishes what was appended, and leaves storage in order. Blocks; nothing can be appended after it.
    fn close(&self) -> Result<(), JournalError>;
}
