//! The service as its clients meet it: a process of its own per test, asked over HTTP. What each test
//! expects stands in CONTRACT.md, sections 2 to 5.

#[path = "../support/mod.rs"]
mod support;

mod atomic;
mod bad_input;
mod batches;
mod carts;
mod client;
mod concurrency;
mod counts;
mod docs;
mod feed;
mod history;
mod idempotency;
mod ids;
mod items;
mod levels;
mod lifecycle;
mod lists;
mod log;
mod movements;
mod products;
mod replies;
mod reservation_lists;
mod reservations;
mod serving;
mod storage;
mod stores;
mod transfers;
mod versions;
