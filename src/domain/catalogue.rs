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
