//! What each operation of the Node services does: a function per operation, in the order of `routes.rs`.

use serde_json::{Value, json};

use super::common::STOCK_ID;
use super::doc::Doc;
use super::docs::NODE;
use crate::http::legacy::HealthForm;
use crate::http::legacy::inventory::{AdjustBody, ItemForm, LevelForm, SetBody};
use crate::http::legacy::push::{ChangedForm, CountBody as PushedBody};
use crate::http::legacy::refusal::{DELTA_REQUIRED, EXPECT_ARRAY, QUANTITY_REQUIRED};
use crate::http::legacy::stock::{CountBody, ReceiveBody, StockForm};
use crate::http::problem::Code::{BelowReserved, InsufficientStock, NotFound, QuantityLimit, VersionMismatch};

const AT: &str = "2025-11-27T08:26:00.123Z";
const WRITTEN: &[&str] = &["ETag", "Idempotency-Replayed"];
const DONE: &[&str] = &["Idempotency-Replayed"];

pub fn health() -> Doc {
    Doc::new(
        "getNodeHealth",
        NODE,
        "That the process answers. `/api/health/ready` tells whether it takes writes.",
    )
    .answers::<HealthForm>(200, "It is there.", &[], json!({"status": "ok", "now": AT}))
    .of_node(&[])
}

pub fn item() -> Doc {
    Doc::read(
        "getNodeItem",
        NODE,
        "What is on hand of a SKU, in each store and in all of them. A SKU that nobody knows has nothing, and is no \
         error.",
    )
    .answers::<ItemForm>(
        200,
        "The stock.",
        &[],
        json!({
            "sku": "85123A",
            "total": 10,
            "per_store": [{"store_id": "london", "quantity": 10, "version": 2, "last_updated": AT}],
        }),
    )
    .of_node(&[])
}

pub fn count() -> Doc {
    in_store(Doc::write(
        "countNodeItem",
        NODE,
        "A count, in the store that `X-Store-Id` names: sets what is on hand, and makes the level where there is none. \
         A number may be written as a text, and a fraction is rounded down. Members that are not known are passed \
         over. A repeat of an `Idempotency-Key` on this SKU and store gets the first answer, whatever its body says.",
    ))
    .takes::<SetBody>(json!({"quantity": 10, "expectedVersion": 1}))
    .answers::<LevelForm>(
        200,
        "The level after it, or as it would be (`dryRun`).",
        WRITTEN,
        level(),
    )
    .refuses(&[BelowReserved, QuantityLimit])
    .of_node(&[QUANTITY_REQUIRED])
}

pub fn adjust() -> Doc {
    in_store(Doc::write(
        "adjustNodeItem",
        NODE,
        "Adds `delta` to what is on hand in the store that `X-Store-Id` names, or takes it where it is below 0: a \
         `STOCK_IN` or a `MANUAL_REMOVE`. Only what is available can be taken. It makes no level: where there is none, \
         it is `not_found`. Numbers, unknown members and keys are as with a count.",
    ))
    .takes::<AdjustBody>(json!({"delta": -2}))
    .answers::<LevelForm>(
        200,
        "The level after it, or as it would be (`dryRun`).",
        WRITTEN,
        level(),
    )
    .refuses(&[NotFound, InsufficientStock, QuantityLimit])
    .of_node(&[DELTA_REQUIRED])
}

/// A write of the level that a header names.
fn in_store(doc: Doc) -> Doc {
    let mut doc = written(doc).refuses(&[VersionMismatch]);
    doc.headers.push("X-Store-Id");
    doc
}

/// A write that heeds preconditions, and says no less for `Prefer`.
fn written(doc: Doc) -> Doc {
    let mut doc = doc.conditional();
    doc.headers.retain(|name| *name != "Prefer");
    doc
}

fn level() -> Value {
    json!({"sku": "85123A", "store_id": "london", "quantity": 10, "version": 2, "last_updated": AT})
}

pub fn push() -> Doc {
    let mut doc = Doc::write(
        "pushNodeCounts",
        NODE,
        "A store reports what it has counted: every count takes effect, or, if one is refused, none. Of two counts of \
         the same SKU and store the later one counts. Up to 10,000 counts. `store_id` is `central` where it is left \
         out.",
    )
    .takes::<Vec<PushedBody>>(json!([
        {"sku": "85123A", "quantity": 10, "store_id": "london"},
        {"sku": "22423", "quantity": 4},
    ]))
    .answers::<ChangedForm>(
        200,
        "The levels after it, each once.",
        DONE,
        json!({"changed": [level()]}),
    )
    .refuses(&[BelowReserved, QuantityLimit])
    .of_node(&[QUANTITY_REQUIRED, EXPECT_ARRAY]);
    doc.headers.retain(|name| *name != "Prefer");
    doc
}

pub fn receive() -> Doc {
    written(Doc::write(
        "receiveNodeStock",
        NODE,
        "What has come in: adds `quantity` to what is on hand, as a `STOCK_IN`, and makes the level where there is \
         none. The SKU is `sku` or `productId`; both and the store may be whole numbers. Keep the `stockId`: it names \
         this SKU in this store.",
    ))
    .takes::<ReceiveBody>(json!({"storeId": "london", "productId": "85123A", "quantity": 10}))
    .answers::<StockForm>(201, "The entry after it.", WRITTEN, entry())
    .answers::<StockForm>(200, "The entry as it would be: nothing was changed (`dryRun`).", &[], {
        let mut entry = entry();
        entry["dryRun"] = true.into();
        entry
    })
    .refuses(&[VersionMismatch, QuantityLimit])
    .of_node(&[QUANTITY_REQUIRED])
}

pub fn stock() -> Doc {
    Doc::read(
        "listNodeStock",
        NODE,
        "All entries of a store in order of SKU, in one list. A store without stock has an empty one. Each row is \
         current at some moment during the request.",
    )
    .answers::<Vec<StockForm>>(200, "The entries.", &[], json!([entry()]))
    .refuses(&[NotFound])
    .of_node(&[])
}

pub fn count_stock() -> Doc {
    written(Doc::write(
        "countNodeStock",
        NODE,
        "A count of an entry: sets what is on hand.",
    ))
    .takes::<CountBody>(json!({"quantity": 10}))
    .answers::<StockForm>(
        200,
        "The entry after it, or as it would be (`dryRun`).",
        WRITTEN,
        entry(),
    )
    .refuses(&[NotFound, VersionMismatch, BelowReserved, QuantityLimit])
    .of_node(&[QUANTITY_REQUIRED])
}

fn entry() -> Value {
    json!({
        "stockId": STOCK_ID, "storeId": "london", "sku": "85123A", "productId": "85123A", "quantity": 10, "reserved": 3,
        "available": 7, "version": 2, "updatedAt": AT,
    })
}
