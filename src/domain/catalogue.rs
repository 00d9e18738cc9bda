//! Stores as the catalogue knows them. (A product is the catalogue side of an item, and part of its stock.)

use serde::{Deserialize, Serialize};

use super::{StoreId, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    pub store_id: StoreId,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// A name of the IANA time zone database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// A store that has not pushed its counts for so long is overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_interval_seconds: Option<u64>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Store {
    /// As its first use makes it: called as its id.
    pub fn of_first_use(store_id: &StoreId, at: Timestamp) -> Self {
        Self {
            store_id: store_id.clone(),
            name: store_id.as_str().to_owned(),
            location: None,
            time_zone: None,
            sync_interval_seconds: None,
            created_at: at,
            updated_at: at,
        }
    }
}

/// The longest place of a store, in Unicode scalar values.
pub const MAX_LOCATION_CHARS: u64 = 255;
/// A store that pushes its counts does so once in a year at least.
pub const MAX_SYNC_INTERVAL_SECONDS: u64 = 31_536_000;

/// What decisions must know of stores, which no SKU knows by itself.
pub trait Stores {
    /// Products and stores are made before they are stocked; else their first use makes them.
    fn is_strict(&self) -> bool;

    fn is_known(&self, store: &StoreId) -> bool;

    /// It is about to be deleted: nothing more may come to it.
    fn is_closing(&self, store: &StoreId) -> bool;
}

/// Every store is there and open.
pub struct AllOpen;

impl Stores for AllOpen {
    fn is_strict(&self) -> bool {
        false
    }

    fn is_known(&self, _: &StoreId) -> bool {
        true
    }

    fn is_closing(&self, _: &StoreId) -> bool {
        false
    }
}

/// What has the form of a name of the IANA time zone database, such as `Europe/London` or `America/Argentina/Salta`. Whether
/// there is such a zone is not looked up: the database changes several times a year.
pub fn check_time_zone(text: &str) -> Result<(), &'static str> {
    let is_part = |part: &str| {
        (1..=14).contains(&part.len())
            && part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-+".contains(&b))
    };
    let parts = text.split('/').count();
    if (1..=3).contains(&parts) && text.split('/').all(is_part) {
        Ok(())
    } else {
        Err("must be a name of the IANA time zone database, such as Europe/London")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_time_zones_are_known_by_their_form() {
        for name in [
            "UTC",
            "Europe/London",
            "America/Argentina/Salta",
            "Etc/GMT+5",
            "America/Port-au-Prince",
            "EST5EDT",
        ] {
            assert_eq!(check_time_zone(name), Ok(()), "{name}");
        }
        for name in [
            "",
            "/",
            "Europe/",
            "Europe//London",
            "Europe/ London",
            "+01:00",
            "a/b/c/d",
            "../etc/passwd",
            "Zürich",
        ] {
            assert!(check_time_zone(name).is_err(), "{name}");
        }
    }
}
