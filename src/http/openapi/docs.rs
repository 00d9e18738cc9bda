//! What each operation does, for whoever calls it: a function per operation, in the order of `routes.rs`.

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::doc::{Content, Doc, HTML, LISTED};
use super::examples as example;
use super::schemas::Schemas;
use crate::http::auth::{LoginBody, LoginForm, RegisterBody};
use crate::http::batch::{BatchBody, BatchForm};
use crate::http::bodies::{AdjustBody, CreateBody, ReleaseBody, ReserveBody, SetBody, TransferBody};
use crate::http::catalogue::{ProductForm, ProductWriteForm, StoreForm, StoreWriteForm};
use crate::http::cloudevents::{self, CloudEventForm};
use crate::http::entries::DeleteBody;
use crate::http::events::{EVENTS, EventsForm, MOVEMENTS};
use crate::http::forms::{
    EventForm, ItemForm, ItemWriteForm, LevelForm, LevelWriteForm, MovementForm, ReservationForm, ReservationWriteForm,
    TransferForm,
};
use crate::http::health::{HealthForm, UnavailableForm};
use crate::http::imports::IMPORT;
use crate::http::jobs::{self, JobForm};
use crate::http::log_level::{LogLevelBody, LogLevelForm};
use crate::http::metrics::forms::{
    ConcurrencyForm, InventoryForm, LimitsForm, MetricsForm, PersistenceForm, RequestsForm, ResetForm, SystemForm,
    WebhooksForm,
};
use crate::http::metrics::{BackgroundMetricsForm, MetricsHealthForm};
use crate::http::operations::OperationForm;
use crate::http::pages::problems::AdviceForm;
use crate::http::problem::Code::{
    AlreadyExists, BelowReserved, Forbidden, InUse, InsufficientStock, NotFound, NotReserved, OutcomeUnknown,
    Overloaded, PayloadTooLarge, QuantityLimit, QuotaExceeded, RateLimited, RequestTimeout, ReservationNotActive,
    StorageUnavailable, Unauthenticated, UnsupportedMediaType, VersionMismatch,
};
use crate::http::products::{NewProductBody, ProductBody};
use crate::http::reservations::{CartBody, ExtendBody, ResolveBody};
use crate::http::root::ServiceForm;
use crate::http::sales::{SALES, SalesForm, SalesRowForm};
use crate::http::stores::{NewStoreBody, StoreBody};
use crate::http::stream::{self, STREAM};
use crate::http::sync::{CountBody, PushForm, StartBody, StatusForm, TotalsForm};
use crate::http::tokens::{NewTokenForm, TokenBody, TokenForm};
use crate::http::users::{UserBody, UserForm};
use crate::http::webhooks::{
    DeadLetterForm, NewWebhookBody, NewWebhookForm, RedeliverBody, RedeliveryForm, ShownWebhookForm, TestForm,
    WebhookBody,
};
use crate::http::write::BareBody;
use crate::http::{dashboard, items, levels, products, reservations, stores, tokens, users, webhooks};

pub const LEVELS: &str = "Levels";
pub const ITEMS: &str = "Items";
pub const RESERVATIONS: &str = "Reservations";
pub const MANY: &str = "Many at once";
pub const CATALOGUE: &str = "Catalogue";
pub const SYNC: &str = "Sync";
pub const HISTORY: &str = "History";
pub const ACCESS: &str = "Access";
pub const WEBHOOKS: &str = "Webhooks";
pub const HEALTH: &str = "Health";
pub const METRICS: &str = "Metrics";
pub const DOCUMENTS: &str = "Documents";
pub const NODE: &str = "Node services";

/// The tags in the order in which a newcomer reads them.
pub const TAGS: [(&str, &str); 13] = [
    (LEVELS, "The stock of one SKU in one store: count it, move it, hold it."),
    (
        ITEMS,
        "One SKU over all stores, with its name, its price and its totals.",
    ),
    (
        RESERVATIONS,
        "What is held for somebody: a cart over any SKUs and stores, until it is sold, given back or over.",
    ),
    (MANY, "Writes that touch more than one level."),
    (
        CATALOGUE,
        "What there is to be stocked, and where. Stock needs no entry here first, unless the service is told to be strict.",
    ),
    (
        SYNC,
        "What all stores have together, as of the last sync, and the counts that stores report.",
    ),
    (HISTORY, "What happened, when and why; and what became of a write."),
    (
        ACCESS,
        "Who may do what: logging in, users, and the service tokens of machines.",
    ),
    (
        WEBHOOKS,
        "Events that are sent to you: a `POST` per event, signed as Standard Webhooks says, in order, at least once. Its body \
         is `{type, timestamp, data}`, where `data` is the event as `/api/events` shows it; its headers are `webhook-id` \
         (the same however often it is sent: ignore one that you have seen), `webhook-timestamp` and `webhook-signature`. \
         Answer 2xx quickly; anything else is tried again, after waits that grow, and 410 disables the webhook.",
    ),
    (HEALTH, "For load balancers and operators."),
    (METRICS, "How the service does, for operators and Prometheus."),
    (DOCUMENTS, "What you are reading."),
    (
        NODE,
        "For clients of the Node services that this one replaces: their routes, their forms. A new client is better off with \
         those above.",
    ),
];

/// Of a write that keeps its resource's version.
const WRITTEN: &[&str] = &["ETag", "Idempotency-Replayed"];
const CREATED: &[&str] = &["ETag", "Idempotency-Replayed", "Location"];
/// Of a write of what has no version.
const DONE: &[&str] = &["Idempotency-Replayed"];
const DONE_MINIMAL: &[&str] = &["Idempotency-Replayed", "Preference-Applied"];
const MINIMAL: &[&str] = &["ETag", "Idempotency-Replayed", "Preference-Applied"];

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

const RESERVE: &str = "Takes `quantity` out of what is available and holds it for you: nobody else can sell or reserve it. \
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

const RELEASE: &str = "Gives back what is held: with `reservationId` all that this reservation holds here, with `quantity` so \
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
        ReservationNotActive, QuotaExceeded])
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

pub fn history() -> Doc {
    Doc::read(
        "getItemAt",
        HISTORY,
        "The item as it stood at a moment of the past, made again from the log.",
    )
    .query(items::HISTORY)
    .answers::<ItemForm>(200, "The item as it was.", &[], example::item())
    .refuses(&[NotFound])
}

pub fn products() -> Doc {
    Doc::read(
        "listProducts",
        CATALOGUE,
        "All products in order of SKU, in pages, or those that fit every parameter that is given.",
    )
    .query(products::LIST)
    .lists::<ProductForm>("A page of products.", example::product())
}

pub fn create_product() -> Doc {
    Doc::write(
        "createProduct",
        CATALOGUE,
        "Makes a product of a SKU that has no stock yet; to make both in one step, create the item. A SKU that is stocked \
         is a product already, called as its SKU until it is named.",
    )
    .takes::<NewProductBody>(json!({
        "sku": "85123A", "name": "White hanging heart T-light holder", "price": {"amount": 295, "currency": "GBP"},
        "attributes": {"colour": "white", "grams": 120},
    }))
    .conditional()
    .answers::<ProductWriteForm>(201, "The new product.", CREATED, example::new_product())
    .refuses(&[Forbidden, AlreadyExists])
}

pub fn product() -> Doc {
    Doc::read(
        "getProduct",
        CATALOGUE,
        "What the catalogue says of a SKU. Its `ETag` is the product's own version, which sales and counts leave as it \
         is.",
    )
    .answers::<ProductForm>(200, "The product.", &["ETag"], example::product())
    .not_modified()
    .refuses(&[NotFound])
}

pub fn replace_product() -> Doc {
    Doc::write(
        "replaceProduct",
        CATALOGUE,
        "Sets all that a product has: what is left out, it has no longer. The item shows the new name, description and \
         price, and its version rises too.",
    )
    .takes::<ProductBody>(json!({
        "name": "White hanging heart T-light holder", "price": {"amount": 275, "currency": "GBP"},
        "attributes": {"colour": "white", "grams": 120}, "expectedVersion": 1,
    }))
    .conditional()
    .answers::<ProductWriteForm>(200, "The product after it.", WRITTEN, example::written_product())
    .minimal(MINIMAL)
    .refuses(&[Forbidden, NotFound, VersionMismatch])
}

pub fn delete_product() -> Doc {
    Doc::write(
        "deleteProduct",
        CATALOGUE,
        "Takes a product away, with its item and its levels. Refused while there is stock of it, or a hold on it. What \
         happened to it stays in the log; a product that is made again begins anew, but its versions go on.",
    )
    .takes::<DeleteBody>(json!({}))
    .or_nothing()
    .conditional()
    .answers_with(204, "It is gone.", DONE, Vec::new())
    .refuses(&[Forbidden, NotFound, VersionMismatch, InUse])
}

pub fn stores() -> Doc {
    Doc::read(
        "listStores",
        CATALOGUE,
        "All stores in order of id, in pages, or those that the search finds. Whoever is narrowed to some stores sees \
         only these.",
    )
    .query(stores::LIST)
    .lists::<StoreForm>("A page of stores.", example::store())
}

pub fn create_store() -> Doc {
    Doc::write(
        "createStore",
        CATALOGUE,
        "Makes a store. One that is stocked is there already, called as its id until it is named.",
    )
    .takes::<NewStoreBody>(json!({
        "storeId": "london", "name": "London, Carnaby Street", "location": "12 Carnaby Street, London",
        "timeZone": "Europe/London", "syncIntervalSeconds": 900,
    }))
    .conditional()
    .answers::<StoreWriteForm>(201, "The new store.", CREATED, example::new_store())
    .refuses(&[Forbidden, AlreadyExists, InUse])
}

pub fn store() -> Doc {
    Doc::read("getStore", CATALOGUE, "A store, with its version as its `ETag`.")
        .answers::<StoreForm>(200, "The store.", &["ETag"], example::store())
        .not_modified()
        .refuses(&[NotFound])
}

pub fn replace_store() -> Doc {
    Doc::write(
        "replaceStore",
        CATALOGUE,
        "Sets all that a store has: what is left out, it has no longer.",
    )
    .takes::<StoreBody>(json!({"name": "London", "timeZone": "Europe/London"}))
    .conditional()
    .answers::<StoreWriteForm>(200, "The store after it.", WRITTEN, example::written_store())
    .minimal(MINIMAL)
    .refuses(&[Forbidden, NotFound, VersionMismatch])
}

pub fn delete_store() -> Doc {
    Doc::write(
        "deleteStore",
        CATALOGUE,
        "Takes a store away, with its levels. Refused while anything is on hand or held there; `sku` says of what. While \
         it is being deleted, which takes a moment, nothing can come to it (409 `in_use`). A store that is made again \
         begins anew, but its versions go on.",
    )
    .takes::<DeleteBody>(json!({}))
    .or_nothing()
    .conditional()
    .answers_with(204, "It is gone.", DONE, Vec::new())
    .refuses(&[Forbidden, NotFound, VersionMismatch, InUse])
}

pub fn events() -> Doc {
    Doc::read(
        "listEvents",
        HISTORY,
        "Every change, in the one order in which they took effect. To follow the log, keep the `seq` of each answer and \
         give it as `after` the next time; `wait` holds the answer back until there is news. Whoever follows it misses nothing \
         that they may see and ask for. The log has no gaps, but `seq` may jump here: over events that feeds do not show \
         (those of users, service tokens, webhooks, schedules, products and stores, and the removal of a level that was \
         empty), and over those of stores that you do not see or did not ask for. In CSV \
         an event has a line for each of its changes. As CloudEvents 1.0 the page is an array; where there is more, `Link` \
         says so, and else the last `id` is what to go on from.",
    )
    .query(EVENTS)
    .answers_with(200, "A page of the log.", LISTED, {
        let mut page = example::page(example::event());
        page["seq"] = json!(41);
        page["end"] = json!(41);
        let json = Content {
            media_type: super::doc::JSON,
            schema: Schemas::form::<EventsForm>,
            example: page,
        };
        let batch = Content {
            media_type: cloudevents::BATCH,
            schema: Schemas::form::<Vec<CloudEventForm>>,
            example: json!([example::cloud_event()]),
        };
        vec![json, Content::csv::<EventForm>(&example::event()), batch]
    })
    .refuses(&[NotFound])
}

pub fn event_stream() -> Doc {
    let content = Content::text(stream::MEDIA_TYPE, &example::stream());
    let mut doc = Doc::read(
        "streamEvents",
        HISTORY,
        "Each event as soon as it is recorded, as server-sent events: `id` is the `seq`, `event` the type, `data` the event \
         as of `/api/events`, or as a CloudEvent. It begins behind `Last-Event-ID` or `after`, and else with what is new, and \
         from any place that it has named nothing is lost or told twice. While nothing comes, a comment is sent every 15 \
         seconds, together with an `id` where events were passed over: the client would go on from there. Low stock is \
         followed by itself with `lowStock=true`. The stream ends when your token is over, or when the user or service token \
         is changed; when the service stops; and when you do not read what you are sent, as nobody waits for you. Connect \
         again with the last `id`. Browsers' `EventSource` sends no token; where callers must log in, read it with `fetch`.",
    )
    .query(STREAM)
    .answers_with(200, "The events.", &["Vary", "X-Accel-Buffering"], vec![content])
    .refuses(&[NotFound]);
    doc.headers.push("Last-Event-ID");
    doc
}

pub fn movements() -> Doc {
    Doc::read(
        "listMovements",
        HISTORY,
        "Every change of an on-hand quantity, the newest first, as an auditor reads them. Reservations are no \
         movements: they change what is available, not what is there.",
    )
    .query(MOVEMENTS)
    .lists::<MovementForm>("A page of movements.", example::movement())
    .refuses(&[NotFound])
}

pub fn sales() -> Doc {
    let json = Content {
        media_type: super::doc::JSON,
        schema: super::schemas::Schemas::form::<SalesForm>,
        example: example::sales(),
    };
    let csv = Content::csv::<SalesRowForm>(&example::sales()["items"][0]);
    Doc::read(
        "getSales",
        HISTORY,
        "What was sold and what came back, by SKU and store and in buckets of time, and how long the stock lasts if it goes \
         on selling so (`daysOfCover`). It counts movements of type `SALE` (commits of reservations among them) and \
         `RETURN`, all that were answered before the request began. Buckets are whole, those of `from` and `to` too; the one \
         that is not over yet is `partial`. Days are those of UTC, also of a store with another time zone, and weeks begin \
         on Monday. Hours are kept for 35 days, days for 400, and weeks for ever: what is asked more finely than it is kept \
         is refused, naming `from`. What sells best: `?group=sku&sort=sold&limit=10`. What was sold of a SKU or in a store \
         that was deleted since stays counted.",
    )
    .query(SALES)
    .answers_with(
        200,
        "A page of sales.",
        LISTED,
        vec![json, csv],
    )
    .refuses(&[NotFound])
}

pub fn push_counts() -> Doc {
    let doc = Doc::write(
        "pushCounts",
        SYNC,
        "A store reports what it has counted: every count takes effect, or, if one is refused, none; in one step and one \
         event. Up to 10,000 counts. A level is made where there is none. With `countedAt` a count may lie back up to 24 \
         hours: what was sold or came in since then stays counted, so the new quantity is the count plus the movements \
         after it. `variance` is what was counted less what the books had for that moment: below 0 something is missing. \
         Of two counts of the same SKU and store the later one counts. A store that pushes is not overdue. A refusal \
         lists in `operations` each count that was refused; a line that does not fit is named by its place, as \
         `[3].quantity`.",
    )
    .takes::<Vec<CountBody>>(json!([
        {"sku": "85123A", "storeId": "london", "quantity": 10},
        {"sku": "22423", "storeId": "london", "quantity": 4},
    ]))
    .answers::<PushForm>(200, "The levels after it, each once.", DONE, example::push())
    .refuses(&[BelowReserved, QuantityLimit]);
    told_in_full(doc)
}

pub fn sync_totals() -> Doc {
    Doc::read(
        "getSyncTotals",
        SYNC,
        "What is on hand and reserved in each store and in all, as of the last sync: all events up to `seq` are in it, \
         and none behind. Whoever sees some stores only is shown those, and their sum as `central`. Sums are exact \
         integers and may pass 2^53.",
    )
    .answers::<TotalsForm>(200, "The totals.", &[], example::totals())
}

pub fn sync_status() -> Doc {
    Doc::read(
        "getSyncStatus",
        SYNC,
        "Whether the sync runs by itself, how its last run went, how far the totals are behind the log, and which stores \
         have not pushed their counts for as long as their `syncIntervalSeconds`.",
    )
    .answers::<StatusForm>(200, "How the sync stands.", &[], example::sync_status())
}

pub fn run_sync() -> Doc {
    Doc::unrecorded(
        "runSync",
        SYNC,
        "Brings the totals up to date with all that was recorded before, and answers when that is done. Two runs never \
         go on at once: who asks while one is under way waits for the next, with all others who do. A run that fails is \
         answered as well: `lastError` says why. To repeat it does no harm: it runs again, also under the same key, which \
         changes nothing twice.",
    )
    .takes::<BareBody>(json!({}))
    .or_nothing()
    .answers::<StatusForm>(200, "How the sync stands after it.", &[], example::sync_status())
}

pub fn start_sync() -> Doc {
    told_in_full(Doc::write(
        "startSync",
        SYNC,
        "Has the sync run by itself from now on, also after a restart. The first run begins at once, unless the last was \
         shorter ago than `intervalMs`. After failures it tries again twice as late each time, up to a minute, or to \
         `intervalMs` where that is longer. This takes the place of the setting with which the service was started.",
    ))
    .takes::<StartBody>(json!({"intervalMs": 15000}))
    .or_nothing()
    .answers::<StatusForm>(200, "How the sync stands with it.", DONE, example::sync_status())
}

pub fn stop_sync() -> Doc {
    told_in_full(Doc::write(
        "stopSync",
        SYNC,
        "Has the sync run only when it is asked to, also after a restart. A run that is under way goes on to its end.",
    ))
    .takes::<BareBody>(json!({}))
    .or_nothing()
    .answers::<StatusForm>(200, "How the sync stands with it.", DONE, example::stopped_sync())
}

/// Its answer has nothing to be left out.
fn told_in_full(mut doc: Doc) -> Doc {
    doc.headers.retain(|name| *name != "Prefer");
    doc
}

pub fn operation() -> Doc {
    Doc::read(
        "getOperation",
        HISTORY,
        "Tells what a write of yours was answered, by its `Idempotency-Key`, without sending it again. `pending`: it is \
         still running. 404: it did not take effect, was refused, or is longer ago than keys are kept (24 hours, if the \
         operator has not set another time), or is one of which the log knows nothing, such as a run of the sync. 503 \
         `outcome_unknown`: storage failed meanwhile, and the next start tells. A write that came by a route of the Node \
         services took effect once as well, but its `body` has the form that the same write has under `/api`.",
    )
    .answers::<OperationForm>(200, "What became of it.", &[], example::operation())
    .refuses(&[NotFound, OutcomeUnknown])
}

const CSV_LINES: &str = "sku,storeId,quantity\n85123A,london,10\n22423,london,few\n";
const NDJSON_LINES: &str = "{\"sku\": \"85123A\", \"storeId\": \"london\", \"quantity\": 10}\n";
const CSV_ERRORS: &str = "line,column,message\n3,quantity,\"\"\"few\"\" is not a whole number\"\n";
const NDJSON_ERRORS: &str =
    "{\"line\": 3, \"column\": \"quantity\", \"message\": \"\\\"few\\\" is not a whole number\"}\n";

pub fn create_import() -> Doc {
    Doc::write(
        "createImport",
        MANY,
        "Brings stock in from a file: each line counts the level of one SKU in one store, and may name, describe and price \
         it. Columns (CSV, with a header line; comma, semicolon or tab) or members (NDJSON): `sku` and `quantity`; \
         `storeId`, `name`, `description`, `price` (an integer in minor units) with `currency`, `reorderPoint`. What an \
         export of stock has beside these is passed over. The body comes as it is or as gzip, of any length that the \
         operator allows, and is answered at once: the lines are brought in by a job, which also a restart of the service \
         does not end, and which brings no line in twice. What is wrong with a line leaves the others in.",
    )
    .query(IMPORT)
    .takes_content(Content::text("text/csv", CSV_LINES))
    .takes_content(Content::text("application/x-ndjson", NDJSON_LINES))
    .answers::<JobForm>(
        202,
        "The body has come whole, and its job waits.",
        &["Location", "Idempotency-Replayed", "Preference-Applied"],
        example::queued_job(),
    )
}

pub fn jobs() -> Doc {
    Doc::read(
        "listJobs",
        MANY,
        "Imports, the newest first. Those that are over are kept for 7 days, and 100 of them.",
    )
    .query(jobs::LIST)
    .lists::<JobForm>("A page of jobs.", example::job())
}

pub fn job() -> Doc {
    Doc::read(
        "getJob",
        MANY,
        "How far an import has come. Ask again while it is `queued` or `running`.",
    )
    .answers::<JobForm>(200, "The job.", &[], example::job())
    .refuses(&[NotFound])
}

pub fn delete_job() -> Doc {
    Doc::unrecorded(
        "deleteJob",
        MANY,
        "Takes an import that is over out of the list, with its errors; the stock stays as it is. To repeat it does no harm: \
         it is then 404, also under the same key.",
    )
    .takes::<BareBody>(json!({}))
    .or_nothing()
    .answers_with(204, "It is gone.", &[], Vec::new())
    .refuses(&[NotFound, InUse])
}

pub fn job_errors() -> Doc {
    Doc::read(
        "listJobErrors",
        MANY,
        "The lines that were refused so far, in their order: the number of the line, the column where it is about one, and \
         what is wrong, as NDJSON or (`?format=csv`) CSV.",
    )
    .query(jobs::ERRORS)
    .answers_with(
        200,
        "The list, as a file.",
        &["Content-Disposition"],
        vec![
            Content::text("application/x-ndjson", NDJSON_ERRORS),
            Content::text("text/csv; charset=utf-8", CSV_ERRORS),
        ],
    )
    .refuses(&[NotFound])
}

pub fn cancel_job() -> Doc {
    Doc::unrecorded(
        "cancelJob",
        MANY,
        "Stops an import as soon as the lines under way are in: what is in stays in, and what is not is not imported. One \
         that is over stays as it is. The answer says how it ended; it is `running` only where storage keeps it from \
         stopping at once. To repeat it does no harm, and is answered with the job as it stands by then.",
    )
    .takes::<BareBody>(json!({}))
    .or_nothing()
    .answers::<JobForm>(200, "The job as it stands.", &[], with_status("cancelled"))
    .refuses(&[NotFound])
}

fn with_status(status: &str) -> serde_json::Value {
    let mut job = example::job();
    job["status"] = status.into();
    job
}

pub fn login() -> Doc {
    let mut doc = Doc::new(
        "login",
        ACCESS,
        "Gives a token for a username and its password. Send it with every other request, as `Authorization: Bearer \
         TOKEN`, until `expiresAt`. It ends earlier when the user is disabled or deleted or gets a new password. 401 says \
         that it is not so, and not what is wrong. 403: nobody must log in here. `stores` is null for a user who works in all \
         of them, as it is in `/api/users`. To repeat it does no harm: it gives another token, also under the same \
         `Idempotency-Key`.",
    )
    .takes::<LoginBody>(json!({"username": "anna", "password": "correct horse battery"}))
    .answers::<LoginForm>(200, "Logged in.", &[], example::login())
    .refuses(&[
        Unauthenticated,
        Forbidden,
        RateLimited,
        RequestTimeout,
        PayloadTooLarge,
        UnsupportedMediaType,
        Overloaded,
        StorageUnavailable,
    ]);
    doc.headers.push("Idempotency-Key");
    doc
}

pub fn register() -> Doc {
    Doc::write(
        "register",
        ACCESS,
        "Makes a user. The first one, an admin, is made with the `setupToken` that the service prints to its terminal \
         when it starts without any admin, and that works once. After that it takes the token of an admin, who may also give `role` \
         and `stores`; or, where the operator has opened registration, nothing, and the user becomes a viewer. Of a \
         password, only that there is one is compared when an `Idempotency-Key` comes again: a repeat with another one is \
         refused all the same, as the stored hash tells.",
    )
    .takes::<RegisterBody>(json!({
        "username": "ben", "password": "correct horse battery", "role": "clerk", "stores": ["london"],
    }))
    .answers::<UserForm>(201, "The user.", CREATED, example::user())
    .refuses(&[Unauthenticated, Forbidden, AlreadyExists])
}

pub fn users() -> Doc {
    Doc::read("listUsers", ACCESS, "Every user, in order of name.")
        .query(users::LIST)
        .lists::<UserForm>("A page of users.", example::user())
}

pub fn user() -> Doc {
    Doc::read(
        "getUser",
        ACCESS,
        "One user. Nobody is shown a password, nor what is kept of it.",
    )
    .answers::<UserForm>(200, "The user.", &["ETag"], example::user())
    .not_modified()
    .refuses(&[NotFound])
}

pub fn change_user() -> Doc {
    Doc::write(
        "changeUser",
        ACCESS,
        "Sets what the body names and leaves the rest. It counts from the user's next request on: a lower role at once, and \
         none of its tokens any more once it is disabled or has a new password. The last admin that can log in keeps role \
         and access (409 `in_use`).",
    )
    .takes::<UserBody>(json!({"role": "clerk", "stores": ["london", "paris"]}))
    .conditional()
    .answers::<UserForm>(200, "The user after it.", WRITTEN, example::user())
    .minimal(MINIMAL)
    .refuses(&[NotFound, VersionMismatch, InUse])
}

pub fn delete_user() -> Doc {
    Doc::write(
        "deleteUser",
        ACCESS,
        "Deletes a user, whose tokens are worth nothing from then on, also when somebody else gets the name. What the user \
         did stays in the log. The last admin that can log in is not deleted (409 `in_use`).",
    )
    .takes::<DeleteBody>(json!({}))
    .or_nothing()
    .conditional()
    .answers_with(204, "It is gone.", DONE, Vec::new())
    .refuses(&[NotFound, VersionMismatch, InUse])
}

pub fn tokens() -> Doc {
    Doc::read(
        "listServiceTokens",
        ACCESS,
        "Every service token, the oldest first, without its secret.",
    )
    .query(tokens::LIST)
    .lists::<TokenForm>("A page of service tokens.", example::service_token())
}

pub fn token() -> Doc {
    Doc::read("getServiceToken", ACCESS, "One service token, without its secret.")
        .answers::<TokenForm>(200, "The service token.", &["ETag"], example::service_token())
        .not_modified()
        .refuses(&[NotFound])
}

pub fn create_token() -> Doc {
    Doc::write(
        "createServiceToken",
        ACCESS,
        "Makes a token for a machine, which sends it as a user sends that of a login. Its text is in this answer and \
         nowhere else, as only a hash of it is kept: neither a repeat under the same `Idempotency-Key` nor \
         `GET /api/operations/{key}` shows it again. If the answer was lost, revoke the token and make another.",
    )
    .takes::<TokenBody>(json!({"name": "till-7", "role": "clerk", "stores": ["london"]}))
    .answers::<NewTokenForm>(201, "The service token.", CREATED, example::new_service_token())
}

pub fn revoke_token() -> Doc {
    Doc::write(
        "revokeServiceToken",
        ACCESS,
        "Ends a service token, from the next request on.",
    )
    .takes::<DeleteBody>(json!({}))
    .or_nothing()
    .conditional()
    .answers_with(204, "It is revoked.", DONE, Vec::new())
    .refuses(&[NotFound, VersionMismatch])
}

pub fn webhooks() -> Doc {
    Doc::read(
        "listWebhooks",
        WEBHOOKS,
        "Every webhook, the oldest first, without its secret, and how its deliveries stand.",
    )
    .query(webhooks::LIST)
    .lists::<ShownWebhookForm>("A page of webhooks.", example::shown_webhook())
}

pub fn create_webhook() -> Doc {
    Doc::write(
        "createWebhook",
        WEBHOOKS,
        "Subscribes a receiver to events from now on. Where no `secret` is given the service makes one, which is in this \
         answer and nowhere else: neither a repeat under the same `Idempotency-Key` nor `GET /api/operations/{key}` shows it \
         again. An event is delivered once, whether it was asked for by its type or by `*`; with `stock.low` alone it comes \
         as `stock.low`, and its `changes` say by `lowStock` which levels it is about. How many webhooks there may be is \
         at `/api/metrics/limits`; one more is refused with `quota_exceeded`.",
    )
    .takes::<NewWebhookBody>(json!({
        "url": "https://shop.example/hooks/stock", "events": ["level.adjusted", "stock.low"], "storeId": "london",
    }))
    .answers::<NewWebhookForm>(201, "The webhook.", CREATED, example::new_webhook())
    .refuses(&[QuotaExceeded])
}

pub fn webhook() -> Doc {
    Doc::read(
        "getWebhook",
        WEBHOOKS,
        "One webhook, without its secret, and how its deliveries stand. The `ETag` is that of what was set, for `If-Match`; \
         its deliveries go on without a new one, so there is no 304.",
    )
    .answers::<ShownWebhookForm>(200, "The webhook.", &["ETag"], example::shown_webhook())
    .refuses(&[NotFound])
}

pub fn replace_webhook() -> Doc {
    Doc::write(
        "replaceWebhook",
        WEBHOOKS,
        "Sets all that a webhook has, but for its secret, which stays unless a new one is given or asked for \
         (`rotateSecret`); for 24 hours both then sign. What is waiting to be tried again is tried at once. A webhook that \
         is enabled goes on where it was disabled.",
    )
    .takes::<WebhookBody>(json!({
        "url": "https://shop.example/hooks/stock", "events": ["level.adjusted", "stock.low"], "storeId": "london",
        "rotateSecret": true,
    }))
    .conditional()
    .answers::<NewWebhookForm>(200, "The webhook after it.", WRITTEN, example::changed_webhook())
    .minimal(MINIMAL)
    .refuses(&[NotFound, VersionMismatch])
}

pub fn delete_webhook() -> Doc {
    Doc::write(
        "deleteWebhook",
        WEBHOOKS,
        "Ends a webhook, with its dead letters. A delivery that is under way at this moment may still arrive.",
    )
    .takes::<DeleteBody>(json!({}))
    .or_nothing()
    .conditional()
    .answers_with(204, "It is gone.", DONE, Vec::new())
    .refuses(&[NotFound, VersionMismatch])
}

pub fn test_webhook() -> Doc {
    Doc::unrecorded(
        "testWebhook",
        WEBHOOKS,
        "Sends a delivery of type `webhook.test` at once and says what came back, also where the webhook is disabled. It \
         changes nothing, not even where it is answered 410, and is not tried again. A repeat sends another one, with a \
         `webhook-id` of its own, also under the same `Idempotency-Key`; receivers know it by its type.",
    )
    .takes::<BareBody>(json!({}))
    .or_nothing()
    .answers::<TestForm>(
        200,
        "What became of it.",
        &[],
        json!({"delivered": false, "status": 503, "durationMs": 12, "error": "answered 503"}),
    )
    .refuses(&[NotFound])
}

pub fn dead_letters() -> Doc {
    Doc::read(
        "listDeadLetters",
        WEBHOOKS,
        "The events of which every attempt to deliver them has failed, in the order of the log. The newest 1000 are kept; \
         each can be read by its `seq` at `/api/events`.",
    )
    .query(webhooks::LIST)
    .lists::<DeadLetterForm>("A page of dead letters.", example::dead_letter())
    .refuses(&[NotFound])
}

pub fn redeliver_dead_letters() -> Doc {
    Doc::unrecorded(
        "redeliverDeadLetters",
        WEBHOOKS,
        "Has dead letters sent once more, in turns with what is new: those with these `seqs`, or all of them. One that is \
         delivered leaves the list; one that fails stays there until it is asked for again, and the others wait, twice as \
         long after each one more that fails, until one is delivered or somebody asks again. A disabled webhook sends them \
         when it is enabled. To repeat it does no harm: what waits to be sent is not sent twice, and what has been delivered has \
         left the list (with `seqs`, it is then 404). A receiver knows a delivery that comes again by its `webhook-id`.",
    )
    .takes::<RedeliverBody>(json!({"seqs": [42]}))
    .or_nothing()
    .answers::<RedeliveryForm>(202, "They are about to be sent.", &[], json!({"redelivering": 1}))
    .refuses(&[NotFound])
}

pub fn log_level() -> Doc {
    Doc::read("getLogLevel", HEALTH, "What this instance logs, and for how long.").answers::<LogLevelForm>(
        200,
        "What is logged.",
        &[],
        json!({"level": "info", "lostLines": 0}),
    )
}

pub fn set_log_level() -> Doc {
    Doc::unrecorded(
        "setLogLevel",
        HEALTH,
        "Changes what this instance logs, from the next line on; with `forSeconds` for a time only, so that nobody has to \
         remember to change it back. It is not kept: the next start logs by its settings again. The log says who changed it. To repeat it does no harm: the same is set once \
         more, and `forSeconds` count from then.",
    )
    .takes::<LogLevelBody>(json!({"level": "info,holdfast::http=debug", "forSeconds": 600}))
    .answers::<LogLevelForm>(
        200,
        "What is logged now.",
        &[],
        json!({
            "level": "info,holdfast::http=debug",
            "until": "2026-11-27T08:26:00.000Z",
            "then": "info",
            "lostLines": 0,
        }),
    )
}

const ALIVE: &str = "Answers 200 as long as the process can answer at all, also while stock is being recovered.";

pub fn health() -> Doc {
    Doc::new("getHealth", HEALTH, ALIVE).answers::<HealthForm>(200, "It is there.", &[], example::health())
}

pub fn live() -> Doc {
    Doc::new("getLiveness", HEALTH, ALIVE).answers::<HealthForm>(200, "It lives.", &[], example::health())
}

pub fn ready() -> Doc {
    Doc::new(
        "getReadiness",
        HEALTH,
        "Send writes only where this is 200. It is 503 until the stock is recovered after a start, and while storage \
         cannot take writes; reads may go on meanwhile.",
    )
    .answers::<HealthForm>(200, "It takes writes.", &[], example::health())
    .answers::<UnavailableForm>(
        503,
        "It takes no writes, and says why.",
        &[],
        json!({"status": "unavailable", "reasons": ["the stock is being recovered"]}),
    )
}

/// Whoever sees some stores only is refused: these figures are of all stores together.
fn metrics_of<T: JsonSchema>(id: &'static str, about: &'static str, example: Value) -> Doc {
    Doc::read(id, METRICS, about)
        .answers::<T>(200, "As it is now.", &[], example)
        .refuses(&[Forbidden])
}

pub fn metrics() -> Doc {
    metrics_of::<MetricsForm>(
        "getMetrics",
        "Everything that is measured, in parts that can be asked for by themselves. Counts begin at `since`: the start of \
         the service, or the last reset. It is for callers who see all stores.",
        example::metrics(),
    )
}

pub fn request_metrics() -> Doc {
    let example = json!(RequestsForm::default());
    metrics_of::<RequestsForm>(
        "getRequestMetrics",
        "What was asked of the service, by route and status, with percentiles of how long it took, and refusals by code.",
        example,
    )
}

pub fn inventory_metrics() -> Doc {
    let example = json!(InventoryForm::default());
    metrics_of::<InventoryForm>(
        "getInventoryMetrics",
        "How much stock there is to be kept, what was done with it, what was refused, and the hottest SKUs.",
        example,
    )
}

pub fn concurrency_metrics() -> Doc {
    let example = json!(ConcurrencyForm::default());
    metrics_of::<ConcurrencyForm>(
        "getConcurrencyMetrics",
        "How writes get on beside one another: actors, queues, conflicts, joint steps.",
        example,
    )
}

pub fn persistence_metrics() -> Doc {
    let example = json!(PersistenceForm::default());
    metrics_of::<PersistenceForm>(
        "getPersistenceMetrics",
        "How the log gets on: appends, groups, syncs, bytes, the last checkpoint, what the start has found, and the hash of \
         the history.",
        example,
    )
}

pub fn background_metrics() -> Doc {
    let example = json!(BackgroundMetricsForm::default());
    metrics_of::<BackgroundMetricsForm>(
        "getBackgroundMetrics",
        "What goes on beside the requests: streams that follow the log, imports, how far the sums of sales are behind, and \
         lines that the service could not log.",
        example,
    )
}

pub fn system_metrics() -> Doc {
    let example = json!(SystemForm::default());
    metrics_of::<SystemForm>(
        "getSystemMetrics",
        "The process and its machine: memory, processor time, threads, files.",
        example,
    )
}

pub fn limit_metrics() -> Doc {
    metrics_of::<LimitsForm>(
        "getLimits",
        "What anybody may take of the service, as the operator has set it, and how often each limit was met.",
        example::limits(),
    )
}

pub fn webhook_metrics() -> Doc {
    let example = json!(WebhooksForm::default());
    metrics_of::<WebhooksForm>(
        "getWebhookMetrics",
        "How deliveries to webhooks get on: how many webhooks there are, how far the last of them is behind, and how many \
         events could not be delivered. Of each, `/api/webhooks` tells.",
        example,
    )
}

pub fn health_metrics() -> Doc {
    let example = json!(MetricsHealthForm::default());
    metrics_of::<MetricsHealthForm>(
        "getHealthMetrics",
        "Judges what is measured, each part with a sentence: `basic` (it takes reads and writes), `detailed` (it has what it \
         needs), `business` (what is shown is what the log says). It is always 200; what a load balancer needs is \
         `/api/health/ready`. The stock is held against the log every 10 s, a few SKUs in turn, however many ask.",
        example,
    )
}

pub fn reset_metrics() -> Doc {
    Doc::unrecorded(
        "resetMetrics",
        METRICS,
        "From now on the JSON view counts from here. It changes nothing else: what Prometheus reads goes on, and stock and log \
         have nothing to do with it. A repeat begins anew once more, also under the same `Idempotency-Key`, which harms nothing \
         but what was counted in between.",
    )
    .takes::<BareBody>(json!({}))
    .or_nothing()
    .answers::<ResetForm>(200, "It counts from now on.", &[], json!({"since": "2025-11-27T08:26:00.123Z"}))
}

pub fn prometheus() -> Doc {
    let text = "# HELP holdfast_items Items.\n# TYPE holdfast_items gauge\nholdfast_items 2\n";
    let content = Content::text("text/plain; version=0.0.4; charset=utf-8", text);
    Doc::read(
        "getPrometheusMetrics",
        METRICS,
        "The same for Prometheus, in its text format: names begin with `holdfast_`, units are seconds and bytes, counts go on \
         from the start of the process. Have it send a service token of the role `viewer`, without stores.",
    )
    .answers_with(200, "Every metric.", &[], vec![content])
    .refuses(&[Forbidden])
}

pub fn service() -> Doc {
    let json = Content {
        media_type: super::doc::JSON,
        schema: super::schemas::Schemas::form::<ServiceForm>,
        example: json!({
            "name": "Holdfast",
            "description": "A consistency-first inventory service.",
            "routes": [{"method": "GET", "path": "/api/docs", "does": "this API, as a page"}],
        }),
    };
    let page = Content::text(HTML, "<!doctype html>…");
    Doc::new(
        "describeService",
        DOCUMENTS,
        "Says what this is, and lists every route. A browser, or whatever else sends `Accept: text/html`, gets the \
         dashboard instead: a page that shows from the routes of this API how the service and its stock are.",
    )
    .answers_with(200, "The service.", &["Vary"], vec![json, page])
}

pub fn dashboard_file() -> Doc {
    let content = [dashboard::SCRIPT, dashboard::CSS, dashboard::TEXT];
    Doc::new(
        "getDashboardFile",
        DOCUMENTS,
        "A script or stylesheet of the dashboard at `/`, which needs nothing from other hosts.",
    )
    .answers_with(
        200,
        "The file.",
        &["ETag"],
        content.map(|media_type| Content::text(media_type, "…")).into(),
    )
    .not_modified()
    .refuses(&[NotFound])
}

pub fn document() -> Doc {
    let content = Content {
        media_type: super::doc::JSON,
        schema: |_| json!({"type": "object", "required": ["openapi", "info", "paths"]}),
        example: json!({"openapi": "3.1.0", "info": {"title": "Holdfast"}, "paths": {}}),
    };
    Doc::new(
        "getOpenApi",
        DOCUMENTS,
        "The OpenAPI 3.1 document of this service, made from the code that serves it.",
    )
    .answers_with(200, "The document.", &[], vec![content])
}

pub fn page() -> Doc {
    let content = Content::text(HTML, "<!doctype html>…");
    Doc::new(
        "getDocs",
        DOCUMENTS,
        "The same as a page for people. It needs neither scripts nor other hosts.",
    )
    .answers_with(200, "The page.", &["Content-Security-Policy"], vec![content])
}

pub fn stylesheet() -> Doc {
    let content = Content::text("text/css; charset=utf-8", "body { … }");
    Doc::new("getDocsStylesheet", DOCUMENTS, "How the pages look.").answers_with(
        200,
        "The stylesheet.",
        &[],
        vec![content],
    )
}

pub fn problem() -> Doc {
    let json = Content {
        media_type: super::doc::JSON,
        schema: Schemas::form::<AdviceForm>,
        example: json!(AdviceForm::of(InsufficientStock)),
    };
    Doc::new(
        "getProblem",
        DOCUMENTS,
        "Says what a code means, why it comes, what to do about it and whether to try again. This is where the `type` of \
         every problem leads. It is a page, and JSON for a client that sends `Accept: application/json` (or \
         `application/problem+json`).",
    )
    .answers_with(
        200,
        "The code.",
        &["Content-Security-Policy", "Vary"],
        vec![Content::text(HTML, "<!doctype html>…"), json],
    )
    .refuses(&[NotFound])
}
