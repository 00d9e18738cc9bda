//! What stock is and what may happen to it: pure rules, no clock, no I/O, no async.
//!
//! `decide` turns a request into an event or a refusal and changes nothing; `Stock::evolve` applies
//! an event and never refuses. Everything else in the house carries these two about.

pub mod account;
pub mod attributes;
pub mod catalogue;
pub mod command;
pub mod decide;
pub mod entry;
pub mod event;
pub mod hold;
pub mod ids;
pub mod item;
pub mod joint;
#[cfg(test)]
mod lifecycle;
pub mod product;
#[cfg(test)]
mod properties;
pub mod reservation;
pub mod sales;
pub mod stock;
pub mod sync;
pub mod text;
pub mod time;
pub mod totals;
pub mod webhook;

pub use account::{Rights, Role, Scope};
pub use catalogue::{AllOpen, Store, Stores};
pub use command::{Action, Expected, Origin, Request, Resource};
pub use decide::{Reason, Refusal, decide, expire};
pub use entry::{Entry, EntryChange, EntryKey};
pub use event::{Change, Event, EventKind, Fate, HoldChange, HoldStep, ItemChange, LastEvent, Move, Movement};
pub use hold::Hold;
pub use ids::{InvalidId, Principal, RequestId, ReservationId, Sku, StoreId};
pub use item::{Details, Item, Price};
pub use product::Product;
pub use reservation::{Reservation, ReservationStatus};
pub use stock::{Level, MAX_QUANTITY, Stock, StockImage};
pub use sync::{SyncSchedule, SyncStatus};
pub use time::Timestamp;
pub use totals::Totals;
pub use webhook::Webhook;

fn is_false(value: &bool) -> bool {
    !value
}
