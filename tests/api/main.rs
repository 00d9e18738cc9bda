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
mod csv;
mod dashboard;
mod docs;
mod feed;
mod history;
mod hostile;
mod idempotency;
mod identity;
mod ids;
mod imports;
mod items;
mod legacy;
mod levels;
mod lifecycle;
mod lists;
mod log;
mod logs;
mod metrics;
mod movements;
mod products;
mod quotas;
mod replies;
mod reservation_lists;
mod reservations;
mod rights;
mod sales;
mod serving;
mod staff;
mod storage;
mod stores;
mod stream;
mod sync;
mod tokens;
mod transfers;
mod users;
mod versions;
mod webhooks;
