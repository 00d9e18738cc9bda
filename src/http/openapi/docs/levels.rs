//! The stock of one SKU in one store.

use serde_json::json;

use super::{CREATED, LEVELS, MINIMAL, WRITTEN};
use crate::http::bodies::{AdjustBody, ReleaseBody, ReserveBody, SetBody};
use crate::http::forms::{LevelForm, LevelWriteForm};
use crate::http::levels;
use crate::http::openapi::doc::Doc;
use crate::http::openapi::examples as example;
use crate::http::problem::Code::{
    AlreadyExists, BelowReserved, InsufficientStock, NotFound, NotReserved, QuantityLimit, QuotaExceeded,
    ReservationNotActive, VersionMismatch,
};

pub fn level() -> Doc {
    Doc::read(
        "getLevel",
        LEVELS,
        "Shows what is on hand (`quantity`), what reservations hold of it (`reserved`) and what is left \
         (`available`). The `ETag` is the version; send it back as `If-None-Match` to be told whether anything has \
         changed, or as `If-Match` with a write to make sure that nothing has.",
    )
    .answers::<LevelForm>(200, "The level.", &["ETag"], example::level())
    .not_modified()
    .refuses(&[NotFound])
}

pub fn count_level() -> Doc {
    Doc::write(
        "countLevel",
        LEVELS,
        "Says what was counted on the shelf. It is always recorded, also when the count found no difference, and makes \
         the level where there is none. Send `If-None-Match: *` to insist on being the first. With `countedAt` the \
         count may lie back up to 24 hours: what was sold or came in since then stays counted, so the new quantity is \
         the count plus the movements after it. A count below what is reserved is refused.",
    )
    .takes_in_store::<SetBody>(json!({"quantity": 10, "reorderPoint": 5, "note": "evening count"}))
    .conditional()
    .answers::<LevelWriteForm>(
        200,
        "Counted, or what the count would do (`dryRun`).",
        WRITTEN,
        example::counted_level(),
    )
    .answers::<LevelWriteForm>(201, "The level is new.", CREATED, example::new_level())
    .minimal(MINIMAL)
    .refuses(&[VersionMismatch, BelowReserved, QuantityLimit])
}

pub fn adjust_level() -> Doc {
    Doc::write(
        "adjustLevel",
        LEVELS,
        "Sells, receives or removes: adds `delta` to what is on hand, or takes it where it is below 0. Only what is available can be taken: what \
         reservations hold stays theirs. `type` says why; without it, it is a `STOCK_IN` or a `MANUAL_REMOVE`.",
    )
    .takes::<AdjustBody>(json!({"delta": -2, "type": "SALE", "note": "invoice 536365"}))
    .conditional()
    .answers::<LevelWriteForm>(
        200,
        "The level after it, or as it would be (`dryRun`).",
        WRITTEN,
        example::adjusted_level(),
    )
    .minimal(MINIMAL)
    .refuses(&[NotFound, VersionMismatch, InsufficientStock, QuantityLimit])
}

pub(super) const RESERVE: &str = "Takes `quantity` out of what is available and holds it for you: nobody else can sell or reserve it. \
     With `ttlSeconds` the hold ends by itself at `expiresAt`, to the millisecond; without it, it lasts until it is \
     released. Keep the `reservationId`. Always send an `Idempotency-Key`, so that a repeat after a lost answer does not \
     hold twice.";

pub fn reserve_level() -> Doc {
    Doc::write("reserveLevel", LEVELS, RESERVE)
        .takes_in_store::<ReserveBody>(json!({"quantity": 3, "ttlSeconds": 600, "reference": "cart-7"}))
        .conditional()
        .answers::<LevelWriteForm>(
            200,
            "What would be held: nothing was (`dryRun`).",
            &[],
            example::rehearsed(example::reserved_level()),
        )
        .answers::<LevelWriteForm>(201, "Held, with the reservation.", CREATED, example::reserved_level())
        .refuses(&[
            NotFound,
            VersionMismatch,
            InsufficientStock,
            AlreadyExists,
            QuotaExceeded,
        ])
}

pub(super) const RELEASE: &str = "Gives back what is held: with `reservationId` all that this reservation holds here, with `quantity` so \
     much of your own reservations here, the oldest first. One of the two must be given.";

pub fn release_level() -> Doc {
    Doc::write("releaseLevel", LEVELS, RELEASE)
        .takes_in_store::<ReleaseBody>(json!({"reservationId": "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6a"}))
        .conditional()
        .answers::<LevelWriteForm>(
            200,
            "The level after it, or as it would be (`dryRun`).",
            WRITTEN,
            example::released_level(),
        )
        .minimal(MINIMAL)
        .refuses(&[NotFound, NotReserved, ReservationNotActive])
}

pub fn levels() -> Doc {
    Doc::read(
        "listLevels",
        LEVELS,
        "All levels of a store in order of SKU, in pages. Follow `next` (or the `Link` header) until it is null. A store \
         without levels has an empty list. Each row is current at some moment during the request.",
    )
    .query(levels::LIST)
    .lists::<LevelForm>("A page of levels.", example::level())
    .refuses(&[NotFound])
}
