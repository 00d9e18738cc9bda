//! Writes that touch more than one level.

use serde_json::json;

use super::MANY;
use crate::http::batch::{BatchBody, BatchForm};
use crate::http::bodies::TransferBody;
use crate::http::forms::TransferForm;
use crate::http::openapi::doc::Doc;
use crate::http::openapi::examples as example;
use crate::http::problem::Code::{
    AlreadyExists, BelowReserved, InsufficientStock, NotFound, NotReserved, QuantityLimit, QuotaExceeded,
    ReservationNotActive, VersionMismatch,
};

pub fn batch() -> Doc {
    Doc::write(
        "runBatch",
        MANY,
        "Carries out up to 10,000 operations in one request, each for itself: one that is refused does not hold up the \
         others. The answer is 200 and lists for each what the single request would have been answered, so look at \
         every `status`. Each operation has the members that the single request has, beside `op`, `sku` and the store; a \
         `set`, which is a count, may also give the item its `name`, `description` and `price`. What is refused has the \
         members of the single refusal too, such as `available`. Repeat a batch under its `Idempotency-Key` and only \
         those operations run that have not taken effect yet; `Idempotency-Replayed` says that all of them had. With \
         `atomic: true` it is all or nothing: the operations are decided in their order, in one step and one event, in \
         which each level rises by one version however often it is touched. A refusal then lists in `operations` each \
         that was refused.",
    )
    .takes::<BatchBody>(json!({"operations": [
        {"op": "set", "sku": "85123A", "storeId": "london", "quantity": 10},
        {"op": "reserve", "sku": "22423", "storeId": "london", "quantity": 2, "ttlSeconds": 600},
        {"op": "transfer", "sku": "85123A", "fromStoreId": "london", "toStoreId": "leeds", "quantity": 4},
    ]}))
    .answers::<BatchForm>(
        200,
        "What became of each operation.",
        &["Idempotency-Replayed"],
        example::batch(),
    )
    .refuses(&[
        NotFound,
        VersionMismatch,
        InsufficientStock,
        BelowReserved,
        NotReserved,
        QuantityLimit,
        AlreadyExists,
        ReservationNotActive,
        QuotaExceeded,
    ])
}

pub fn transfer() -> Doc {
    Doc::write(
        "transferStock",
        MANY,
        "Moves stock of one SKU from one store to another in one step: no reader ever sees it in both stores or in \
         neither. Only what is available can go. The receiving level is made where there is none. As two levels \
         change, `If-Match` and `If-None-Match` are refused here.",
    )
    .takes::<TransferBody>(json!({"sku": "85123A", "fromStoreId": "london", "toStoreId": "leeds", "quantity": 4}))
    .answers::<TransferForm>(
        200,
        "Both levels after it.",
        &["Idempotency-Replayed"],
        example::transfer(),
    )
    .minimal(&["Idempotency-Replayed", "Preference-Applied"])
    .refuses(&[NotFound, InsufficientStock])
}
