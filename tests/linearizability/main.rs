//! Whether what many clients are told at once is what a service that does one thing at a time could have told
//! them (G3 in CONTRACT.md: strictly serializable, several SKUs in one step included).
//!
//! `checker.rs` looks for an order of a history (`history.rs`) that `model.rs` explains. `orders.rs` and
//! `generated.rs` hold the checker itself to account: what it must accept, and the faults it must notice.

mod checker;
mod generated;
mod history;
mod mix;
mod model;
mod orders;

const STOCK: u64 = 6;
