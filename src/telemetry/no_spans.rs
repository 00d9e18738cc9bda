//! Traces are not built in: see `spans.rs`.

use std::rc::Rc;

use super::context::Context;

/// Sends nothing.
pub struct Exporter;

pub fn start() -> anyhow::Result<Exporter> {
    Ok(Exporter)
}

/// Records nothing.
pub struct Span;

impl Span {
    pub fn begin(_: &Rc<Context>) -> Self {
        Self
    }

    pub fn end(self, _: impl FnOnce() -> Option<String>, _: u16) {}
}
