//! Names that clients choose, parsed once at the door: after this no `String` is a SKU.
//!
//! Ids are case-sensitive, 1 to 64 Unicode scalar values and not normalised. Cheap to clone, as
//! one id travels from the request through the log to every reader.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};
use uuid::Uuid;

use super::account::AccountName;

/// The longest id, in Unicode scalar values.
pub const MAX_ID_CHARS: usize = 64;

/// Why a text is not an id; reads as the end of a sentence that begins with what it was to name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    #[error("must have 1 to 64 characters, not {0}")]
    Length(usize),
    #[error("must not begin or end with white space")]
    OuterWhiteSpace,
    #[error("must not be {0:?}")]
    DotSegment(String),
    #[error("must not contain the character U+{0:04X}")]
    Character(u32),
}

fn check(text: &str) -> Result<(), InvalidId> {
    let chars = text.chars().count();
    if chars == 0 || chars > MAX_ID_CHARS {
        return Err(InvalidId::Length(chars));
    }
    if let Some(bad) = text.chars().find(|&c| is_forbidden(c)) {
        return Err(InvalidId::Character(bad as u32));
    }
    if text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace) {
        return Err(InvalidId::OuterWhiteSpace);
    }
    if text == "." || text == ".." {
        return Err(InvalidId::DotSegment(text.to_owned()));
    }
    Ok(())
}

/// What would vanish, reorder or break lines in a log, a terminal or a spreadsheet.
fn is_forbidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    matches!(
        c.general_category(),
        GeneralCategory::Control
            | GeneralCategory::Format
            | GeneralCategory::Surrogate
            | GeneralCategory::PrivateUse
            | GeneralCategory::Unassigned
            | GeneralCategory::LineSeparator
            | GeneralCategory::ParagraphSeparator
    )
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                check(text)?;
                Ok(Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                super::text::parsed(deserializer, "an id", |text| Self::parse(text))
            }
        }
    };
}

id!(
    /// What is stocked.
    Sku
);
id!(
    /// Where it is stocked.
    StoreId
);
id!(
    /// A hold on stock, named by the client or made by the server (UUIDv7).
    ReservationId
);
id!(
    /// Who calls. Without authentication all callers are [`Principal::anonymous`].
    Principal
);

impl StoreId {
    /// Where stock is whose store nobody named.
    pub fn default_store() -> Self {
        Self("default".into())
    }
}

impl Principal {
    pub fn anonymous() -> Self {
        Self("anonymous".into())
    }

    pub fn is_anonymous(&self) -> bool {
        &*self.0 == "anonymous"
    }

    /// Holdfast itself, for what nobody asked for: expiries.
    pub fn system() -> Self {
        Self("system".into())
    }

    /// Somebody with a name of their own, which fits every rule of ids.
    pub(super) fn named(name: &AccountName) -> Self {
        Self(name.as_str().into())
    }
}

/// Ties an event to the request, the answer and the log lines that belong to it: 1 to 128 visible
/// ASCII characters, the client's or the server's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// `None` where a client's id could not stand in a header or a log line as it is.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Uuid> for RequestId {
    fn from(id: Uuid) -> Self {
        Self(text(id))
    }
}

impl From<Uuid> for ReservationId {
    fn from(id: Uuid) -> Self {
        Self(text(id))
    }
}

fn text(id: Uuid) -> Arc<str> {
    Arc::from(&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_skus_are_ids() {
        for text in [
            "85123A",
            "85123a",
            "BANK CHARGES",
            "AB/12",
            "Größe 38",
            "名",
            "gift_0001_10",
            "...",
        ] {
            assert!(Sku::parse(text).is_ok(), "{text}");
        }
        assert!(Sku::parse(&"x".repeat(64)).is_ok());
        assert!(Sku::parse(&"名".repeat(64)).is_ok());
    }

    #[test]
    fn what_would_confuse_a_person_or_a_path_is_refused() {
        let too_long = "x".repeat(65);
        for text in [
            "",
            " a",
            "a ",
            "a\u{3000}",
            ".",
            "..",
            "a\nb",
            "\0",
            "a\u{200b}b",
            "a\u{2028}b",
            "a\u{202e}b",
            "\u{e000}",
            "\u{378}",
            "\u{7f}",
            &too_long,
        ] {
            assert!(Sku::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_id_in_a_document_is_checked_as_one_in_a_path() {
        assert!(serde_json::from_str::<Sku>("\"a\\u0000\"").is_err());
        assert_eq!(
            serde_json::from_str::<Sku>("\"a\\u002fb\"").unwrap(),
            Sku::parse("a/b").unwrap()
        );
    }
}
