//! The dashboard as people meet it: in a headless Chromium, on a service of its own. Pictures of what was seen are left in
//! `target/screenshots`.

#[path = "../api/client.rs"]
#[expect(dead_code, reason = "the browser does most of what clients do")]
mod client;
mod driver;
mod pictures;
mod screen;
mod service;
#[path = "../support/mod.rs"]
mod support;
mod trade;
mod visitors;
