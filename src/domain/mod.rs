//! What stock is and what may happen to it: pure rules, no clock, no I/O, no async.
//!
//! `decide` turns a request into an event or a refusal and changes nothing; `Stock::evolve` applies
//! an event and never refuses. Everything else in the house carries these two about.

pub mod command;
pub mod decide;
pub mod event;
pub mod hold;
pub mod ids;
#[cfg(test)]
mod properties;
pub mod stock;
pub mod time;

pub use command::{Action, Expected, Origin, Request};
pub use decide::{Reason, Refusal, decide, expire};
pub use event::{Change, Event, EventKind, HoldChange, HoldStep, Movement};
pub use hold::{Hold, ReservationStatus};
pub use ids::{InvalidId, Principal, RequestId, ReservationId, Sku, StoreId};
pub use stock::{Level, MAX_QUANTITY, Stock, StockImage};
pub use time::Timestamp;
