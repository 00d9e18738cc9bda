//! Carts over any SKUs and stores.

use serde_json::json;

use super::{DONE, DONE_MINIMAL, RESERVATIONS};
use crate::http::forms::{ReservationForm, ReservationWriteForm};
use crate::http::openapi::doc::Doc;
use crate::http::openapi::examples as example;
use crate::http::problem::Code::{AlreadyExists, InsufficientStock, NotFound, QuotaExceeded, ReservationNotActive};
use crate::http::reservations;
use crate::http::reservations::{CartBody, ExtendBody, ResolveBody};

pub fn create_reservation() -> Doc {
    Doc::write(
        "createReservation",
        RESERVATIONS,
        "Holds a whole cart in one step: every line, or, if one of them is short, nothing. Lines may be of any SKUs and \
         stores; those of the same SKU and store are added up first. A refusal lists in `lines` each line that failed, \
         with what is available, what others hold and when the next hold ends. With `ttlSeconds` the reservation ends \
         by itself at `expiresAt`, to the millisecond. `replaces` names a reservation of your own that is given back in \
         the same step, so that a shopper who changes a cart is never blocked by it. With `allowPartial` it holds what \
         there is: a line's `quantity` is then what was granted, and `requested` what was asked. Always send an \
         `Idempotency-Key`: a repeat after a lost answer then tells whether the cart is held.",
    )
    .takes::<CartBody>(json!({
        "lines": [
            {"sku": "85123A", "storeId": "london", "quantity": 3},
            {"sku": "22423", "storeId": "leeds", "quantity": 1},
        ],
        "ttlSeconds": 600,
        "reference": "cart-7",
    }))
    .answers::<ReservationWriteForm>(
        200,
        "What would be held: nothing was (`dryRun`).",
        &[],
        example::rehearsed(example::written_cart()),
    )
    .answers::<ReservationWriteForm>(
        201,
        "Held.",
        &["Idempotency-Replayed", "Location"],
        example::written_cart(),
    )
    .refuses(&[
        NotFound,
        InsufficientStock,
        AlreadyExists,
        ReservationNotActive,
        QuotaExceeded,
    ])
}

pub fn reservation() -> Doc {
    Doc::read(
        "getReservation",
        RESERVATIONS,
        "A reservation as it stands, open or over, however long ago that was. `status` is `active` while anything is \
         held; then `committed` if anything of it was sold, and else `released` or `expired` by what ended it. Per line \
         `quantity` is what was held at first, and `held`, `committed`, `released` and `expired` what became of it.",
    )
    .answers::<ReservationForm>(200, "The reservation.", &[], example::cart())
    .refuses(&[NotFound])
}

pub fn reservations() -> Doc {
    Doc::read(
        "listReservations",
        RESERVATIONS,
        "Reservations, newest first, in pages, or those that fit every parameter that is given. A page may have fewer \
         rows than asked, or none, and yet not be the last: go on until `next` is null.",
    )
    .query(reservations::LIST)
    .lists::<ReservationForm>("A page of reservations.", example::cart())
    .refuses(&[NotFound])
}

pub fn commit_reservation() -> Doc {
    Doc::write(
        "commitReservation",
        RESERVATIONS,
        "Sells what the reservation holds: what is on hand and what is reserved fall together, as `SALE` movements, all \
         in one step. With `lines` only a part is sold, and the rest stays held. A reservation is resolved once: a \
         second commit, one after it was over, or one of more than it holds is refused, with the reservation as it \
         stands. The body may be left out.",
    )
    .takes::<ResolveBody>(json!({"lines": [{"sku": "85123A", "storeId": "london", "quantity": 3}]}))
    .or_nothing()
    .answers::<ReservationWriteForm>(
        200,
        "The reservation after it, or as it would be (`dryRun`).",
        DONE,
        example::resolved_cart("committed", "committed"),
    )
    .minimal(DONE_MINIMAL)
    .refuses(&[NotFound, ReservationNotActive])
}

pub fn release_reservation() -> Doc {
    Doc::write(
        "releaseReservation",
        RESERVATIONS,
        "Gives back what the reservation holds, or with `lines` a part of it. The body may be left out.",
    )
    .takes::<ResolveBody>(json!({"lines": [{"sku": "85123A", "storeId": "london", "quantity": 3}]}))
    .or_nothing()
    .answers::<ReservationWriteForm>(
        200,
        "The reservation after it, or as it would be (`dryRun`).",
        DONE,
        example::resolved_cart("released", "released"),
    )
    .minimal(DONE_MINIMAL)
    .refuses(&[NotFound, ReservationNotActive])
}

pub fn extend_reservation() -> Doc {
    Doc::write(
        "extendReservation",
        RESERVATIONS,
        "Sets the end of the reservation to `ttlSeconds` from now, sooner or later than it was. One that is over cannot \
         be revived.",
    )
    .takes::<ExtendBody>(json!({"ttlSeconds": 1800}))
    .answers::<ReservationWriteForm>(
        200,
        "The reservation after it, or as it would be (`dryRun`).",
        DONE,
        example::extended_cart(),
    )
    .minimal(DONE_MINIMAL)
    .refuses(&[NotFound, ReservationNotActive])
}
