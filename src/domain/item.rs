//! What a SKU is called and costs: the item's catalogue side.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::attributes::Attributes;
use super::stock::LevelImage;
use super::{Scope, Timestamp, is_false};

/// The longest name, in Unicode scalar values.
pub const MAX_NAME_CHARS: u64 = 255;
/// The longest description, in Unicode scalar values.
pub const MAX_DESCRIPTION_CHARS: u64 = 4000;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Details {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Price>,
    #[serde(default, skip_serializing_if = "Attributes::is_empty")]
    pub attributes: Attributes,
    /// It is not to be sold any more. Its stock is as it was.
    #[serde(default, skip_serializing_if = "is_false")]
    pub archived: bool,
}

/// What fits as a name: it is shown in one line.
pub fn check_name(text: &str) -> Result<(), &'static str> {
    match text.chars().count() as u64 {
        1..=MAX_NAME_CHARS if text.chars().any(char::is_control) => Err("must not contain control characters"),
        1..=MAX_NAME_CHARS => Ok(()),
        _ => Err("must have 1 to 255 characters"),
    }
}

pub fn check_description(text: &str) -> Result<(), &'static str> {
    match text.chars().count() as u64 {
        1..=MAX_DESCRIPTION_CHARS => Ok(()),
        _ => Err("must have 1 to 4000 characters"),
    }
}

/// What routes of stock say of an item: name, description and price, where they are given, replace those that it has.
pub type DetailsPatch = Details;

impl Details {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// These details with what `patch` gives put in their place.
    pub fn patched(&self, patch: &DetailsPatch) -> Self {
        Self {
            name: patch.name.clone().or_else(|| self.name.clone()),
            description: patch.description.clone().or_else(|| self.description.clone()),
            price: patch.price.or(self.price),
            ..self.clone()
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// In minor units of the currency: cents, pence, yen.
    pub amount: u64,
    pub currency: Currency,
}

/// Three capital letters (ISO 4217).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Currency([u8; 3]);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be the three capital letters of a currency, such as EUR")]
pub struct InvalidCurrency;

impl Currency {
    pub fn parse(text: &str) -> Result<Self, InvalidCurrency> {
        let letters: [u8; 3] = text.as_bytes().try_into().map_err(|_| InvalidCurrency)?;
        let fits = letters.iter().all(u8::is_ascii_uppercase);
        if fits { Ok(Self(letters)) } else { Err(InvalidCurrency) }
    }

    pub fn as_str(&self) -> &str {
        // Capital letters are UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::text::parsed(deserializer, "a currency", Self::parse)
    }
}

/// A SKU over all stores, as it stands at some moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Item {
    pub version: u64,
    #[serde(default, skip_serializing_if = "Details::is_empty")]
    pub details: Details,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// In order of store.
    pub levels: Vec<LevelImage>,
}

impl Item {
    /// As it looks to someone who sees these stores only: `None` where it has no level in them, whether or not it has one
    /// in others. Its version is that of the SKU for everybody; the time of its last change is that of a level that is
    /// seen.
    pub fn within(mut self, scope: &Scope) -> Option<Self> {
        if scope.is_all() {
            return Some(self);
        }
        let levels = self.levels.len();
        self.levels.retain(|image| scope.has(&image.store_id));
        let updated_at = self.levels.iter().map(|image| image.level.updated_at).max()?;
        if self.levels.len() < levels {
            self.updated_at = updated_at;
        }
        Some(self)
    }

    /// What is on hand in all stores, and what of it is reserved.
    pub fn totals(&self) -> (u64, u64) {
        let levels = self.levels.iter().map(|image| &image.level);
        levels.fold((0, 0), |(quantity, reserved), level| {
            (quantity + level.quantity, reserved + level.reserved)
        })
    }
}
