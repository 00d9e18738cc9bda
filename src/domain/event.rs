//! What happened, as the log keeps it for ever.
//!
//! An event carries the state after it (quantities, versions, what is still held), so that a reader
//! needs no earlier event to understand it, and an answer can be written again from it.

use serde::{Deserialize, Serialize};

use super::{Details, Level, Principal, RequestId, ReservationId, Sku, StoreId, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: EventKind,
    pub at: Timestamp,
    pub by: Principal,
    pub request_id: RequestId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation_id: Option<ReservationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// One per level that the event touches, however often it touches it.
    pub changes: Vec<Change>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldChange>,
    /// One per SKU whose details the event sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<ItemChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// An item with its first level.
    #[serde(rename = "item.created")]
    ItemCreated,
    /// A count of a level that was not there before.
    #[serde(rename = "level.created")]
    LevelCreated,
    #[serde(rename = "level.counted")]
    LevelCounted,
    #[serde(rename = "level.adjusted")]
    LevelAdjusted,
    /// From one store to another.
    #[serde(rename = "level.transferred")]
    LevelTransferred,
    #[serde(rename = "reservation.created")]
    ReservationCreated,
    #[serde(rename = "reservation.released")]
    ReservationReleased,
    #[serde(rename = "reservation.expired")]
    ReservationExpired,
}

impl EventKind {
    pub const ALL: [Self; 8] = [
        Self::ItemCreated,
        Self::LevelCreated,
        Self::LevelCounted,
        Self::LevelAdjusted,
        Self::LevelTransferred,
        Self::ReservationCreated,
        Self::ReservationReleased,
        Self::ReservationExpired,
    ];
}

/// A level as it stands after the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    pub sku: Sku,
    pub store_id: StoreId,
    /// Present where the on-hand quantity changed, or was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub movement: Option<Movement>,
    /// What was added to the on-hand quantity.
    pub delta: i64,
    pub quantity: u64,
    pub reserved: u64,
    pub version: u64,
    pub item_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder_point: Option<u64>,
    /// Set on the event by which available fell to or below the reorder point.
    #[serde(default, skip_serializing_if = "is_false")]
    pub low_stock: bool,
}

impl Change {
    /// The level as it stands after an event of this moment.
    pub fn level(&self, at: Timestamp) -> Level {
        Level {
            quantity: self.quantity,
            reserved: self.reserved,
            version: self.version,
            reorder_point: self.reorder_point,
            updated_at: at,
        }
    }
}

/// Why an on-hand quantity changed, as an auditor reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Movement {
    StockIn,
    Return,
    Sale,
    ManualRemove,
    TransferIn,
    TransferOut,
    Count,
}

impl Movement {
    pub const ALL: [Self; 7] = [
        Self::StockIn,
        Self::Return,
        Self::Sale,
        Self::ManualRemove,
        Self::TransferIn,
        Self::TransferOut,
        Self::Count,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::StockIn => "STOCK_IN",
            Self::Return => "RETURN",
            Self::Sale => "SALE",
            Self::ManualRemove => "MANUAL_REMOVE",
            Self::TransferIn => "TRANSFER_IN",
            Self::TransferOut => "TRANSFER_OUT",
            Self::Count => "COUNT",
        }
    }
}

/// An item's details as they stand after the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ItemChange {
    pub sku: Sku,
    pub item_version: u64,
    pub details: Details,
}

/// A hold on one level as it stands after the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HoldChange {
    pub reservation_id: ReservationId,
    pub sku: Sku,
    pub store_id: StoreId,
    pub step: HoldStep,
    /// How much this step placed or ended.
    pub quantity: u64,
    /// How much is still held after it.
    pub held: u64,
    /// Of a placed hold that does not last for ever: the moment from which it is over. Of an expired one: from which
    /// it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HoldStep {
    Placed,
    Released,
    Expired,
}

impl Event {
    /// The SKUs that the event touches, each once.
    pub fn skus(&self) -> impl Iterator<Item = &Sku> {
        // Details are set by an event that also changes a level of the SKU.
        let changes = &self.changes;
        changes
            .iter()
            .enumerate()
            .filter(move |(i, change)| !changes[..*i].iter().any(|earlier| earlier.sku == change.sku))
            .map(|(_, change)| &change.sku)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
