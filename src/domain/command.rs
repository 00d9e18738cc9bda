//! What a caller asks of one SKU in one store.

use std::sync::Arc;

use super::item::DetailsPatch;
use super::product::ProductAction;
use super::{Details, Movement, Principal, RequestId, ReservationId, Scope, Sku, StoreId, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub sku: Sku,
    pub store_id: StoreId,
    pub action: Action,
    pub resource: Resource,
    pub expected: Expected,
    /// Shared, as the operations of a batch have it together.
    pub origin: Arc<Origin>,
}

impl Request {
    /// Every store whose stock it is to change.
    pub fn stores(&self) -> impl Iterator<Item = &StoreId> {
        let receiving = match &self.action {
            Action::Transfer { to, .. } => Some(to),
            _ => None,
        };
        std::iter::once(&self.store_id).chain(receiving)
    }

    /// A request for a product, which is in no store: the one that stands here for form's sake is not looked at.
    pub fn of_product(sku: Sku, action: ProductAction, expected: Expected, origin: Arc<Origin>) -> Self {
        Self {
            sku,
            store_id: StoreId::default_store(),
            action: Action::Product(action),
            resource: Resource::Product,
            expected,
            origin,
        }
    }

    /// The moment of a count of the past, and what has moved since.
    pub fn counted(&self) -> Option<Counted> {
        match &self.action {
            Action::Set(set) => set.counted,
            _ => None,
        }
    }

    /// Whether it names, describes or prices the item, which is in no store.
    pub fn describes(&self) -> bool {
        match &self.action {
            Action::Set(set) => !set.details.is_empty(),
            Action::Create { details, .. } => !details.is_empty(),
            _ => false,
        }
    }

    /// Whether it makes an item by its name, and with it a product.
    pub fn creates_item(&self) -> bool {
        matches!(self.action, Action::Create { .. })
    }

    /// The reservation that it gives back by its id.
    pub fn released(&self) -> Option<&ReservationId> {
        match &self.action {
            Action::ReleaseReservation { reservation_id, .. } => Some(reservation_id),
            _ => None,
        }
    }

    pub fn set_moved(&mut self, sum: i64) {
        if let Action::Set(set) = &mut self.action
            && let Some(counted) = &mut set.counted
        {
            counted.moved = sum;
        }
    }
}

/// What the versions of a request speak of, and what it is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Level,
    Item,
    Product,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes an item that is not there yet, with its first level.
    Create {
        details: Box<Details>,
        quantity: u64,
    },
    /// A count: sets what is on hand, and makes the level where there is none.
    Set(Box<Set>),
    /// Adds `delta` (never 0) to what is on hand; takes only what is available.
    Adjust {
        delta: i64,
        movement: Movement,
        note: Option<String>,
    },
    /// Adds what has come in, and makes the level where there is none; nothing has come in of what is only registered.
    Receive {
        quantity: u64,
    },
    Reserve(Reserve),
    /// What one reservation holds of this level.
    ReleaseReservation {
        reservation_id: ReservationId,
        /// The caller does not see all of it: to them it is as if it were not there.
        is_hidden: bool,
    },
    /// From the caller's own holds of this level, oldest first.
    ReleaseQuantity {
        quantity: u64,
    },
    /// Moves what is available to another store, whose level is made where there is none.
    Transfer {
        to: StoreId,
        quantity: u64,
        note: Option<String>,
    },
    Product(ProductAction),
    /// Takes a level away that has nothing in it.
    RemoveLevel,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub quantity: u64,
    /// The count was made at an earlier moment.
    pub counted: Option<Counted>,
    pub reorder_point: ReorderPoint,
    pub details: DetailsPatch,
    pub note: Option<String>,
    /// The level must be there; else the count makes it.
    pub must_exist: bool,
}

/// A count of the past: what has moved since stays counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub at: Timestamp,
    /// What movements other than counts have added to the level since.
    pub moved: i64,
}

impl Counted {
    /// Only such a count is taken: an older one, or one of a moment to come, is mostly a mistake in the clock of a till.
    pub fn is_of_last_day(&self, now: Timestamp) -> bool {
        let age_ms = now.as_millis().saturating_sub(self.at.as_millis());
        (0..=DAY_MS).contains(&age_ms)
    }
}

const DAY_MS: i64 = 24 * 3_600_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reserve {
    pub quantity: u64,
    pub reservation_id: ReservationId,
    /// A reservation of this id is or was somewhere; what a single SKU knows is not enough to tell.
    pub is_taken: bool,
    /// The caller may hold so many lines, and would hold more.
    pub over_quota: Option<u64>,
    pub ttl_seconds: Option<u64>,
    pub reference: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReorderPoint {
    #[default]
    Keep,
    Clear,
    At(u64),
}

/// What the caller believes of the level or the item; a request on other ground is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// `expectedVersion` of the body; 0 means that there is none yet.
    pub version: Option<u64>,
    /// Behind a pointer, as operations of a batch have none, and are moved about by the thousand.
    pub preconditions: Option<Box<Preconditions>>,
}

/// What the headers of a request say that must be so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preconditions {
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

/// Who asks, under which request id, and what they see, as a refusal is to tell of nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub by: Principal,
    pub request_id: RequestId,
    pub scope: Scope,
}
