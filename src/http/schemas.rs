//! The schemas of the domain's types, which know nothing of HTTP.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Value, json};

use crate::domain::account::{AccountName, Role};
use crate::domain::attributes::{Attributes, MAX_ATTRIBUTES};
use crate::domain::item::Currency;
use crate::domain::webhook::Topic;
use crate::domain::{
    EventKind, Movement, Price, Principal, RequestId, ReservationId, ReservationStatus, Sku, StoreId, Timestamp,
};

macro_rules! schemas {
    ($($type:ty => $schema:expr),* $(,)?) => {
        $(impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                Schema::try_from($schema).unwrap_or_default()
            }
        })*
    };
}

schemas! {
    Sku => id("What is stocked", "85123A"),
    StoreId => id("Where it is stocked", "london"),
    ReservationId => id("A reservation", "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6a"),
    Principal => id(
        "Who called: a username, `token:NAME` of a service token, `anonymous` where nobody must log in, `system` for expiries",
        "anna",
    ),
    AccountName => json!({
        "type": "string",
        "description": "1 to 64 ASCII letters, digits, `.`, `_`, `-`, `@` and `+`, case-sensitive.",
        "minLength": 1,
        "maxLength": 64,
        "pattern": "^[A-Za-z0-9._@+-]+$",
        "examples": ["anna"],
    }),
    Role => json!({
        "type": "string",
        "enum": Role::ALL,
        "description": "Each may do what those before it may: a `viewer` reads; a `clerk` moves stock in its stores; an `operator` in all stores, and runs sync and imports; an `admin` also keeps users, service tokens, stores and products.",
    }),
    RequestId => json!({
        "type": "string",
        "description": "Ties an event to its request: the client's `X-Request-Id`, or one that the service made.",
        "minLength": 1,
        "maxLength": 128,
    }),
    Timestamp => json!({
        "type": "string",
        "format": "date-time",
        "description": "RFC 3339; the service writes UTC with milliseconds.",
        "examples": ["2025-11-27T08:26:00.123Z"],
    }),
    Currency => json!({
        "type": "string",
        "description": "ISO 4217",
        "pattern": "^[A-Z]{3}$",
        "examples": ["EUR"],
    }),
    Price => json!({
        "type": "object",
        "properties": {
            "amount": {
                "type": "integer",
                "minimum": 0,
                "maximum": 9_007_199_254_740_991_u64,
                "description": "In minor units of the currency: cents, pence, yen.",
            },
            "currency": {"type": "string", "description": "ISO 4217", "pattern": "^[A-Z]{3}$"},
        },
        "required": ["amount", "currency"],
        "additionalProperties": false,
        "examples": [{"amount": 295, "currency": "GBP"}],
    }),
    Attributes => json!({
        "type": "object",
        "description": "What else there is to say of it, by name: texts of up to 255 characters, numbers and booleans.",
        "maxProperties": MAX_ATTRIBUTES,
        "propertyNames": {"minLength": 1, "maxLength": 64, "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"},
        "additionalProperties": {
            "anyOf": [
                {"type": "string", "maxLength": 255, "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"},
                {"type": "number", "minimum": -9_007_199_254_740_991_i64, "maximum": 9_007_199_254_740_991_i64},
                {"type": "boolean"},
            ],
        },
        "examples": [{"colour": "white", "grams": 120, "fragile": true}],
    }),
    Movement => json!({
        "type": "string",
        "enum": Movement::ALL,
        "description": "Why an on-hand quantity changed. STOCK_IN, RETURN and TRANSFER_IN add; SALE, MANUAL_REMOVE and TRANSFER_OUT take; COUNT may do either.",
    }),
    EventKind => json!({"type": "string", "enum": EventKind::SHOWN, "description": "What happened."}),
    ReservationStatus => json!({"type": "string", "enum": ReservationStatus::ALL}),
    Topic => json!({
        "type": "string",
        "enum": Topic::every().collect::<Vec<_>>(),
        "description": "A type of event that feeds show; `*` for all of them; `stock.low` for events by which available fell to or below a reorder point.",
    }),
}

/// Of the rules of `domain/ids.rs` those that every dialect of patterns can say: no control characters, no white
/// space at either end.
const ID_PATTERN: &str =
    r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$";

fn id(what: &str, example: &str) -> Value {
    let rules = "1 to 64 Unicode characters, case-sensitive, without control or format characters, without leading or \
                 trailing white space, not `.` or `..`. In a path, percent-encode it: `AB/12` is `AB%2F12`.";
    json!({
        "type": "string",
        "description": format!("{what}: {rules}"),
        "minLength": 1,
        "maxLength": 64,
        "pattern": ID_PATTERN,
        "examples": [example],
    })
}
