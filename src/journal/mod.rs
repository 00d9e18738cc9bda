//! Durable storage behind one trait: the log of events, and what can be asked of it.
//!
//! [`Journal`] is the only abstraction over storage. Every engine keeps these promises, and
//! `contract.rs` holds each of them to every one:
//!
//! - An append is all or nothing, receipts included, and conditional on the version of each SKU that
//!   it touches. `Ok` means that it is on stable storage and that every query shows it.
//! - No query ever shows an append that could still be lost, and one append is shown in all its SKUs
//!   at once.
//! - Sequences begin at 1, have no gaps, and are shown in order.
//! - A failure says whether the append may have happened: see [`JournalError`].

pub mod file;
#[cfg(test)]
pub mod memory;
pub mod record;
pub mod tables;

#[cfg(test)]
pub mod contract;

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::{Event, Level, ReservationId, ReservationStatus, Sku, Stock, StoreId, Timestamp};
pub use record::{Fingerprint, KeyHash, Receipt};

/// What is written together, in order.
#[derive(Clone, Debug)]
pub struct Append {
    /// The item version of each SKU that the events were decided on.
    pub grounds: Vec<(Sku, u64)>,
    pub records: Vec<Record>,
}

#[derive(Clone, Debug)]
pub struct Record {
    pub event: Arc<Event>,
    pub receipt: Option<Receipt>,
}

/// Where an append stands in the log: its records follow one another from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub first_seq: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Not applied: a SKU has moved on since the append was decided. Load again, decide again.
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
}

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

    /// Levels of a store in order of SKU, beginning behind `after`.
    ///
    /// `… WHERE store_id = $1 AND sku > $2 ORDER BY sku COLLATE "C" LIMIT $3`
    fn levels_in(&self, store: &StoreId, after: Option<&Sku>, limit: usize) -> Answer<Vec<(Sku, LevelView)>>;

    /// What became of a reservation. Closed ones are known for as long as receipts are.
    ///
    /// `SELECT status FROM reservations WHERE id = $1`
    fn reservation(&self, id: &ReservationId) -> Answer<Option<ReservationStatus>>;

    /// `SELECT … FROM receipts WHERE key = $1 AND at > $2 - retention`
    fn receipt(&self, key: KeyHash, now: Timestamp) -> Answer<Option<ReceiptView>>;

    /// Events behind `after`, in order.
    ///
    /// `SELECT seq, body FROM events WHERE seq > $1 ORDER BY seq LIMIT $2`
    fn events(&self, after: u64, limit: usize) -> Answer<Vec<(u64, Event)>>;

    /// The earliest deadline of every SKU that has one.
    ///
    /// `SELECT sku, min(expires_at) FROM holds GROUP BY sku`
    fn deadlines(&self) -> Answer<Vec<(Timestamp, Sku)>>;

    /// The time of the last event: the clock never shows an earlier one.
    fn last_time(&self) -> Timestamp;

    /// Writes the SKU's durable state to a file of its own, where the engine keeps such; nothing rests on it.
    fn save_snapshot(&self, sku: &Sku) -> Answer<()>;

    /// Why writes are refused at present, if they are.
    fn refusing(&self) -> Option<String>;

    /// Finishes what was appended, and leaves storage in order. Blocks; nothing can be appended after it.
    fn close(&self) -> Result<(), JournalError>;
}
