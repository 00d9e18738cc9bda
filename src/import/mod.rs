//! Bulk loads, from a file or over HTTP: lines of CSV or NDJSON, each the count of one level.
//!
//! A text is unpacked (`text`), split into lines and cells (`csv`, `ndjson`), and each line becomes a row or a fault that
//! names its column (`row`). Nothing here opens a file or changes stock; a text of any length takes little memory.

pub mod csv;
pub mod ndjson;
pub mod row;
pub mod text;

use std::fmt;
use std::io;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use self::row::{Line, Parser};
use self::text::Text;

/// The longest line that is taken in, in bytes.
pub const MAX_LINE: usize = 1 << 20;

/// How a text is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Csv,
    Ndjson,
}

/// Hands every line over, until it is told that this is enough.
pub fn read(
    format: Format,
    text: &mut Text,
    parser: &mut Parser,
    take: &mut dyn FnMut(Line) -> ControlFlow<()>,
) -> Result<(), Unreadable> {
    match format {
        Format::Csv => csv::read(&text.head, &mut *text.reader, parser, take),
        Format::Ndjson => ndjson::read(&mut *text.reader, parser, take),
    }
}

/// Why a text cannot be read, or not to its end; lines that do not fit are no reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Unreadable {
    pub fn new(reason: impl fmt::Display) -> Self {
        Self(reason.to_string())
    }

    pub fn from_start(error: io::Error) -> Self {
        Self(format!("cannot be read: {error}"))
    }

    /// Lines up to this one were read.
    pub fn behind(line: u64, error: &io::Error) -> Self {
        Self(format!("cannot be read behind line {line}: {error}"))
    }
}
