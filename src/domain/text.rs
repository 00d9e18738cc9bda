//! Text as it is read and shown: ids and times are read without a copy of it, as a record has many of them.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

pub fn parsed<'de, D: Deserializer<'de>, T, E: fmt::Display>(
    deserializer: D,
    what: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    struct Text<P> {
        what: &'static str,
        parse: P,
    }

    impl<T, E: fmt::Display, P: Fn(&str) -> Result<T, E>> Visitor<'_> for Text<P> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} as a string", self.what)
        }

        fn visit_str<F: Error>(self, text: &str) -> Result<T, F> {
            (self.parse)(text).map_err(F::custom)
        }
    }

    deserializer.deserialize_str(Text { what, parse })
}

/// What a client sent is shown to it, but not at any length.
const MAX_SHOWN: usize = 200;

pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
