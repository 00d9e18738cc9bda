//! What a caller asks of one SKU in one store.

use super::{Movement, Principal, RequestId, ReservationId, Sku, StoreId};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub sku: Sku,
    pub store_id: StoreId,
    pub action: Action,
    pub expected: Expected,
    pub origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A count: sets what is on hand, and makes the level where there is none.
    Set {
        quantity: u64,
        reorder_point: ReorderPoint,
        note: Option<String>,
    },
    /// Adds `delta` (never 0) to what is on hand; takes only what is available.
    Adjust {
        delta: i64,
        movement: Movement,
        note: Option<String>,
    },
    Reserve(Reserve),
    /// What one reservation holds of this level.
    ReleaseReservation {
        reservation_id: ReservationId,
    },
    /// From the caller's own holds of this level, oldest first.
    ReleaseQuantity {
        quantity: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    pub quantity: u64,
    pub reservation_id: ReservationId,
    /// A reservation of this id is or was somewhere; what a single SKU knows is not enough to tell.
    pub is_taken: bool,
    pub ttl_seconds: Option<u64>,
    pub reference: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReorderPoint {
    Keep,
    Clear,
    At(u64),
}

/// What the caller believes of the level; a request on other ground is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// `expectedVersion` of the body; 0 means that there is no level yet.
    pub version: Option<u64>,
    pub if_match: Option<VersionSet>,
    pub if_none_match: Option<VersionSet>,
}

/// The versions that an `If-Match` or `If-None-Match` header names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionSet {
    /// `*`: whatever version, as long as there is one.
    Any,
    These(Vec<u64>),
}

impl VersionSet {
    /// `version` is 0 where nothing exists.
    pub fn contains(&self, version: u64) -> bool {
        match self {
            Self::Any => version > 0,
            Self::These(versions) => version > 0 && versions.contains(&version),
        }
    }
}

/// Who asks, and under which request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub by: Principal,
    pub request_id: RequestId,
}
