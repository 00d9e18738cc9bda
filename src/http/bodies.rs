//! The bodies of stock writes, and what they ask for. A member may be left out, but null is no value for
//! it: a client that has lost its `expectedVersion` must not write blindly.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use validator::{Validate, ValidationError};

use super::idempotency::KEY_PATTERN;
use super::problem::Problem;
use crate::actors::new_id;
use crate::domain::command::{Counted, ReorderPoint, Reserve, Set};
use crate::domain::item::{self, DetailsPatch, MAX_DESCRIPTION_CHARS, MAX_NAME_CHARS};
use crate::domain::{Action, Details, MAX_QUANTITY, Movement, Price, ReservationId, Sku, StoreId, Timestamp};

/// What a body asks for, before it is known of whom.
pub struct Asked {
    pub action: Action,
    /// The store that the body names.
    pub store_id: Option<StoreId>,
    pub version: Option<u64>,
    pub key: Option<String>,
    pub dry_run: bool,
    pub chose_reservation: bool,
}

impl Asked {
    pub fn new(action: Action) -> Self {
        Self {
            action,
            store_id: None,
            version: None,
            key: None,
            dry_run: false,
            chose_reservation: false,
        }
    }
}

/// The body of a write to the stock of one SKU.
pub trait StockBody: JsonSchema + Validate {
    fn asks(self) -> Result<Asked, Problem>;
}

/// A count: sets what is on hand.
#[derive(Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetBody {
    /// What was counted, in whole units.
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    pub quantity: u64,
    /// Only on item routes: the store; `default` where it is left out.
    #[serde(default, deserialize_with = "present")]
    pub store_id: Option<StoreId>,
    /// When it was counted, at most 24 hours ago: what has moved since stays counted.
    #[serde(default, deserialize_with = "present")]
    pub counted_at: Option<Timestamp>,
    /// At or below so much available the level runs low; null clears it.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be null or from 0 to 9007199254740991"))]
    #[schemars(extend("x-nullable" = true))]
    pub reorder_point: Option<Option<u64>>,
    /// Why, for those who read the log.
    #[serde(default, deserialize_with = "present")]
    #[validate(length(max = 1000, message = "must have at most 1000 characters"))]
    pub note: Option<String>,
    /// The version that is to be changed; 0 where there must be nothing yet.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    pub expected_version: Option<u64>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
    /// Decides and answers, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Set by batches only, which also carry what an import tells of an item.
    #[serde(skip)]
    #[schemars(skip)]
    pub details: DetailsPatch,
}

impl StockBody for SetBody {
    fn asks(self) -> Result<Asked, Problem> {
        let set = Set {
            quantity: self.quantity,
            counted: self.counted_at.map(|at| Counted { at, moved: 0 }),
            reorder_point: match self.reorder_point {
                None => ReorderPoint::Keep,
                Some(None) => ReorderPoint::Clear,
                Some(Some(point)) => ReorderPoint::At(point),
            },
            details: self.details,
            note: self.note,
            must_exist: false,
        };
        Ok(Asked {
            store_id: self.store_id,
            version: self.expected_version,
            key: self.idempotency_key,
            dry_run: self.dry_run,
            ..Asked::new(Action::Set(Box::new(set)))
        })
    }
}

/// A change of what is on hand.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("allOf" = [
    {
        "if": {"properties": {"type": {"enum": ["STOCK_IN", "RETURN"]}}, "required": ["type"]},
        "then": {"properties": {"delta": {"minimum": 1}}},
    },
    {
        "if": {"properties": {"type": {"enum": ["SALE", "MANUAL_REMOVE"]}}, "required": ["type"]},
        "then": {"properties": {"delta": {"maximum": -1}}},
    },
]))]
pub struct AdjustBody {
    /// What is added; below 0 it is taken, from what is available. Not 0.
    #[validate(custom(function = delta))]
    #[schemars(range(min = -9_007_199_254_740_991_i64, max = 9_007_199_254_740_991_i64))]
    #[schemars(extend("not" = {"const": 0}))]
    pub delta: i64,
    /// Why it changes. The sign must fit: `STOCK_IN` and `RETURN` add, `SALE` and `MANUAL_REMOVE` take.
    #[serde(rename = "type", default, deserialize_with = "present")]
    pub movement: Option<AdjustType>,
    /// Why, for those who read the log.
    #[serde(default, deserialize_with = "present")]
    #[validate(length(max = 1000, message = "must have at most 1000 characters"))]
    pub note: Option<String>,
    /// The version that is to be changed.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    pub expected_version: Option<u64>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
    /// Decides and answers, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Why an on-hand quantity changes: `STOCK_IN` and `RETURN` add, `SALE` and `MANUAL_REMOVE` take.
// Read by way of a string, as serde would take `{"SALE": null}` for the word too.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(try_from = "String", rename_all = "SCREAMING_SNAKE_CASE")]
#[schemars(!try_from)]
pub enum AdjustType {
    StockIn,
    Return,
    Sale,
    ManualRemove,
}

impl TryFrom<String> for AdjustType {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "STOCK_IN" => Ok(Self::StockIn),
            "RETURN" => Ok(Self::Return),
            "SALE" => Ok(Self::Sale),
            "MANUAL_REMOVE" => Ok(Self::ManualRemove),
            _ => Err("it must be STOCK_IN, RETURN, SALE or MANUAL_REMOVE"),
        }
    }
}

impl AdjustType {
    /// The movement, if the sign of the change fits it.
    fn movement(self, delta: i64) -> Option<Movement> {
        match (self, delta > 0) {
            (Self::StockIn, true) => Some(Movement::StockIn),
            (Self::Return, true) => Some(Movement::Return),
            (Self::Sale, false) => Some(Movement::Sale),
            (Self::ManualRemove, false) => Some(Movement::ManualRemove),
            _ => None,
        }
    }
}

impl StockBody for AdjustBody {
    fn asks(self) -> Result<Asked, Problem> {
        let default = if self.delta > 0 {
            AdjustType::StockIn
        } else {
            AdjustType::ManualRemove
        };
        let movement = self.movement.unwrap_or(default).movement(self.delta);
        let sign = "STOCK_IN and RETURN go with a positive delta, SALE and MANUAL_REMOVE with a negative one";
        let action = Action::Adjust {
            delta: self.delta,
            movement: movement.ok_or_else(|| Problem::invalid("type", sign))?,
            note: self.note,
        };
        Ok(Asked {
            version: self.expected_version,
            key: self.idempotency_key,
            dry_run: self.dry_run,
            ..Asked::new(action)
        })
    }
}

/// A hold on what is available.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReserveBody {
    /// How much is held, in whole units. `qty` is taken as well.
    #[serde(alias = "qty")]
    #[validate(range(min = 1, max = MAX_QUANTITY, message = "must be from 1 to 9007199254740991"))]
    pub quantity: u64,
    /// Only on item routes: the store; `default` where it is left out.
    #[serde(default, deserialize_with = "present")]
    pub store_id: Option<StoreId>,
    /// The hold is over so many seconds from now; without it, it lasts until it is released.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(min = 1, max = 2_592_000, message = "must be from 1 to 2592000"))]
    pub ttl_seconds: Option<u64>,
    /// An id of your own; without it the service makes one.
    #[serde(default, deserialize_with = "present")]
    pub reservation_id: Option<ReservationId>,
    /// Yours to find it by: an order, a cart.
    #[serde(default, deserialize_with = "present")]
    #[validate(length(min = 1, max = 255, message = "must have 1 to 255 characters"))]
    pub reference: Option<String>,
    /// The version that is to be changed.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    pub expected_version: Option<u64>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
    /// Decides and answers, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

impl StockBody for ReserveBody {
    fn asks(self) -> Result<Asked, Problem> {
        let chose_reservation = self.reservation_id.is_some();
        let reserve = Reserve {
            quantity: self.quantity,
            reservation_id: self.reservation_id.unwrap_or_else(|| new_id().into()),
            is_taken: false,
            over_quota: None,
            ttl_seconds: self.ttl_seconds,
            reference: self.reference,
        };
        Ok(Asked {
            store_id: self.store_id,
            version: self.expected_version,
            key: self.idempotency_key,
            dry_run: self.dry_run,
            chose_reservation,
            ..Asked::new(Action::Reserve(reserve))
        })
    }
}

/// Gives back what is held: either all that a reservation holds here, or a quantity of the caller's own holds.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["reservationId"]}, {"required": ["quantity"]}]))]
pub struct ReleaseBody {
    /// What this reservation holds of the level.
    #[serde(default, deserialize_with = "present")]
    pub reservation_id: Option<ReservationId>,
    /// So much of the caller's own holds of the level, oldest first.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(min = 1, max = MAX_QUANTITY, message = "must be from 1 to 9007199254740991"))]
    pub quantity: Option<u64>,
    /// Only on item routes: the store; `default` where it is left out.
    #[serde(default, deserialize_with = "present")]
    pub store_id: Option<StoreId>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
    /// Decides and answers, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

impl StockBody for ReleaseBody {
    fn asks(self) -> Result<Asked, Problem> {
        let action = match (self.reservation_id, self.quantity) {
            (Some(reservation_id), None) => Action::ReleaseReservation {
                reservation_id,
                is_hidden: false,
            },
            (None, Some(quantity)) => Action::ReleaseQuantity { quantity },
            _ => {
                let either = "give either reservationId or quantity";
                return Err(Problem::invalid("reservationId", either));
            }
        };
        Ok(Asked {
            store_id: self.store_id,
            key: self.idempotency_key,
            dry_run: self.dry_run,
            ..Asked::new(action)
        })
    }
}

/// A new item, with its first level.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateBody {
    pub sku: Sku,
    /// What it is called.
    #[serde(default, deserialize_with = "present")]
    #[validate(custom(function = check_name))]
    #[schemars(length(min = 1, max = MAX_NAME_CHARS))]
    pub name: Option<String>,
    /// What there is to say of it.
    #[serde(default, deserialize_with = "present")]
    #[validate(custom(function = check_description))]
    #[schemars(length(min = 1, max = MAX_DESCRIPTION_CHARS))]
    pub description: Option<String>,
    /// What one of it costs.
    #[serde(default, deserialize_with = "object")]
    #[validate(nested)]
    pub price: Option<PriceBody>,
    /// What is on hand at the beginning, in whole units.
    #[serde(default)]
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    pub quantity: u64,
    /// Where it is; `default` where it is left out.
    #[serde(default, deserialize_with = "present")]
    pub store_id: Option<StoreId>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
    /// Decides and answers, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Clone, Copy, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields)]
pub struct PriceBody {
    /// In minor units of the currency: cents, pence, yen.
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    pub amount: u64,
    pub currency: crate::domain::item::Currency,
}

impl From<PriceBody> for Price {
    fn from(PriceBody { amount, currency }: PriceBody) -> Self {
        Self { amount, currency }
    }
}

impl CreateBody {
    /// The new item's SKU, and what is asked of it.
    pub fn asks(self) -> (Sku, Asked) {
        let details = Details {
            name: self.name.map(Into::into),
            description: self.description.map(Into::into),
            price: self.price.map(Into::into),
            ..Details::default()
        };
        let action = Action::Create {
            details: Box::new(details),
            quantity: self.quantity,
        };
        let asked = Asked {
            store_id: self.store_id,
            key: self.idempotency_key,
            dry_run: self.dry_run,
            ..Asked::new(action)
        };
        (self.sku, asked)
    }
}

/// Moves stock of one SKU from one store to another.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransferBody {
    pub sku: Sku,
    pub from_store_id: StoreId,
    /// Its level is made where there is none.
    pub to_store_id: StoreId,
    /// How much, of what is available.
    #[validate(range(min = 1, max = MAX_QUANTITY, message = "must be from 1 to 9007199254740991"))]
    pub quantity: u64,
    /// Why, for those who read the log.
    #[serde(default, deserialize_with = "present")]
    #[validate(length(max = 1000, message = "must have at most 1000 characters"))]
    pub note: Option<String>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
    /// Decides and answers, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

impl TransferBody {
    /// The SKU, the store from which it goes, and what is asked of them.
    pub fn asks(self) -> Result<(Sku, StoreId, Asked), Problem> {
        if self.from_store_id == self.to_store_id {
            let same = "it must not be the store from which the stock comes";
            return Err(Problem::invalid("toStoreId", same));
        }
        let action = Action::Transfer {
            to: self.to_store_id,
            quantity: self.quantity,
            note: self.note,
        };
        let asked = Asked {
            key: self.idempotency_key,
            dry_run: self.dry_run,
            ..Asked::new(action)
        };
        Ok((self.sku, self.from_store_id, asked))
    }
}

pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Read from an object only: serde would read a structure from an array of its members' values too.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

impl<T: JsonSchema> JsonSchema for Object<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

pub fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Object::deserialize(deserializer).map(|Object(parsed)| Some(parsed))
}

pub fn check_name(text: &str) -> Result<(), ValidationError> {
    item::check_name(text).map_err(|fault| ValidationError::new("name").with_message(fault.into()))
}

pub fn check_description(text: &str) -> Result<(), ValidationError> {
    item::check_description(text).map_err(|fault| ValidationError::new("description").with_message(fault.into()))
}

fn delta(delta: i64) -> Result<(), ValidationError> {
    if delta != 0 && delta.unsigned_abs() <= MAX_QUANTITY {
        return Ok(());
    }
    let message = "must be from -9007199254740991 to 9007199254740991, and not 0";
    Err(ValidationError::new("range").with_message(message.into()))
}
