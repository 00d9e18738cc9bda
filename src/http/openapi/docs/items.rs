//! One SKU over all stores.

use serde_json::json;

use super::levels::{RELEASE, RESERVE};
use super::{CREATED, ITEMS, MINIMAL, WRITTEN};
use crate::http::bodies::{CreateBody, ReleaseBody, ReserveBody, SetBody};
use crate::http::forms::{ItemForm, ItemWriteForm};
use crate::http::items;
use crate::http::openapi::doc::Doc;
use crate::http::openapi::examples as example;
use crate::http::problem::Code::{
    AlreadyExists, BelowReserved, InsufficientStock, NotFound, NotReserved, QuantityLimit, QuotaExceeded,
    ReservationNotActive, VersionMismatch,
};

pub fn items() -> Doc {
    Doc::read(
        "listItems",
        ITEMS,
        "All items in order of SKU, in pages, or those that fit every parameter that is given.",
    )
    .query(items::LIST)
    .lists::<ItemForm>("A page of items.", example::item())
    .refuses(&[NotFound])
}

pub fn create_item() -> Doc {
    Doc::write(
        "createItem",
        ITEMS,
        "Makes an item with what is on hand at the beginning, in the store `default` where none is named. Further stores \
         get their level by a count or a transfer. A name, a description and a price are for those who work in all \
         stores, and where the catalogue is strict, the whole item is for admins (403), as its product is made with it.",
    )
    .takes::<CreateBody>(json!({
        "sku": "85123A", "name": "White hanging heart T-light holder", "price": {"amount": 295, "currency": "GBP"},
        "quantity": 10, "storeId": "london",
    }))
    .conditional()
    .answers::<ItemWriteForm>(
        200,
        "The item as it would be: nothing was changed (`dryRun`).",
        &[],
        example::rehearsed(example::new_item()),
    )
    .answers::<ItemWriteForm>(201, "The new item.", CREATED, example::new_item())
    .refuses(&[AlreadyExists, QuantityLimit])
}

pub fn item() -> Doc {
    Doc::read(
        "getItem",
        ITEMS,
        "One SKU over all stores: its name, description and price, its totals, and all its levels. Its `ETag` is the \
         item's own version, which rises with every change in any store.",
    )
    .answers::<ItemForm>(200, "The item.", &["ETag"], example::item())
    .not_modified()
    .refuses(&[NotFound])
}

pub fn count_item() -> Doc {
    Doc::write(
        "countItem",
        ITEMS,
        "A count, as on the level, in the store that the body names or in `default`; the store's level is made where \
         there is none. Versions are those of the item, and so is the answer.",
    )
    .takes::<SetBody>(json!({"quantity": 10, "storeId": "london"}))
    .conditional()
    .answers::<ItemWriteForm>(
        200,
        "The item after it, or as it would be (`dryRun`).",
        WRITTEN,
        example::written_item(),
    )
    .minimal(MINIMAL)
    .refuses(&[NotFound, VersionMismatch, BelowReserved, QuantityLimit])
}

pub fn reserve_item() -> Doc {
    Doc::write("reserveItem", ITEMS, RESERVE)
        .takes::<ReserveBody>(json!({"quantity": 3, "storeId": "london", "ttlSeconds": 600, "reference": "cart-7"}))
        .conditional()
        .answers::<ItemWriteForm>(
            200,
            "What would be held: nothing was (`dryRun`).",
            &[],
            example::rehearsed(example::reserved_item()),
        )
        .answers::<ItemWriteForm>(201, "Held, with the reservation.", WRITTEN, example::reserved_item())
        .refuses(&[
            NotFound,
            VersionMismatch,
            InsufficientStock,
            AlreadyExists,
            QuotaExceeded,
        ])
}

pub fn release_item() -> Doc {
    Doc::write("releaseItem", ITEMS, RELEASE)
        .takes::<ReleaseBody>(json!({"quantity": 3, "storeId": "london"}))
        .conditional()
        .answers::<ItemWriteForm>(
            200,
            "The item after it, or as it would be (`dryRun`).",
            WRITTEN,
            example::written_item(),
        )
        .minimal(MINIMAL)
        .refuses(&[NotFound, NotReserved, ReservationNotActive])
}
