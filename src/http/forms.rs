//! How stock is shown. The answer to a write is made from its event (and, on item routes, from the item that
//! its receipt keeps), so that a repeat under the same key gets the same answer years of changes later.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, LOCATION};
use schemars::JsonSchema;
use serde::Serialize;

use super::path::{ItemPath, LevelPath};
use super::precondition::etag;
use crate::actors::Outcome;
use crate::domain::{
    Change, Event, EventKind, HoldChange, HoldStep, Item, Level, Movement, Price, Principal, RequestId, ReservationId,
    ReservationStatus, Resource, Sku, StoreId, Timestamp,
};

/// The stock of one SKU in one store.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Level")]
pub struct LevelForm<'a> {
    sku: &'a Sku,
    store_id: &'a StoreId,
    /// What is on hand.
    quantity: u64,
    /// What of it reservations hold.
    reserved: u64,
    /// What is left: `quantity` less `reserved`.
    available: u64,
    /// Rises by one with every event.
    version: u64,
    /// At or below so much available the level runs low.
    #[serde(skip_serializing_if = "Option::is_none")]
    reorder_point: Option<u64>,
    updated_at: Timestamp,
}

/// A SKU over all stores.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Item")]
pub struct ItemForm<'a> {
    sku: &'a Sku,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<Price>,
    /// Rises by one with every event of any of its levels.
    version: u64,
    /// What is on hand in all stores.
    quantity: u64,
    /// What of it reservations hold.
    reserved: u64,
    /// What is left.
    available: u64,
    levels: Vec<LevelForm<'a>>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// The answer to a write of a level: the level after it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "LevelAnswer")]
pub struct LevelWriteForm<'a> {
    #[serde(flatten)]
    level: LevelForm<'a>,
    #[serde(flatten)]
    write: WrittenForm<'a>,
}

/// The answer to a write of an item: the item after it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ItemAnswer")]
pub struct ItemWriteForm<'a> {
    #[serde(flatten)]
    item: ItemForm<'a>,
    #[serde(flatten)]
    write: WrittenForm<'a>,
}

/// The answer to a transfer: both levels after it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "TransferAnswer")]
pub struct TransferForm<'a> {
    from: LevelForm<'a>,
    to: LevelForm<'a>,
    #[serde(flatten)]
    write: WrittenForm<'a>,
}

/// What the answer to a write says beside its resource.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct WrittenForm<'a> {
    /// Of a reserve.
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<ReservationForm<'a>>,
    /// The event's place in the log; a dry run has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    /// True where nothing was changed, as asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
}

/// A hold on stock.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Reservation")]
pub struct ReservationForm<'a> {
    reservation_id: &'a ReservationId,
    status: ReservationStatus,
    lines: [LineForm<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    /// From then on the hold is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ReservationLine")]
struct LineForm<'a> {
    sku: &'a Sku,
    store_id: &'a StoreId,
    /// How much was held at first.
    quantity: u64,
    /// How much is held now.
    held: u64,
    committed: u64,
    released: u64,
    expired: u64,
}

/// One recorded command that changed something.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Event")]
pub struct EventForm<'a> {
    /// Its place in the log, from 1, without gaps.
    seq: u64,
    #[serde(rename = "type")]
    kind: EventKind,
    at: Timestamp,
    /// Who asked for it.
    by: &'a Principal,
    request_id: &'a RequestId,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation_id: Option<&'a ReservationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    changes: Vec<ChangeForm<'a>>,
}

/// A level as it stands after an event.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Change")]
pub struct ChangeForm<'a> {
    sku: &'a Sku,
    store_id: &'a StoreId,
    /// Present where the on-hand quantity changed, or was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    movement: Option<Movement>,
    /// What was added to the on-hand quantity.
    delta: i64,
    quantity: u64,
    reserved: u64,
    version: u64,
    item_version: u64,
    /// True on the event by which available fell to or below the reorder point.
    #[serde(skip_serializing_if = "Option::is_none")]
    low_stock: Option<bool>,
}

/// A change of an on-hand quantity, as an auditor reads it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "StockMovement")]
pub struct MovementForm<'a> {
    seq: u64,
    #[serde(rename = "type")]
    movement: Movement,
    sku: &'a Sku,
    store_id: &'a StoreId,
    delta: i64,
    quantity_after: u64,
    at: Timestamp,
    by: &'a Principal,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation_id: Option<&'a ReservationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

pub fn level<'a>(sku: &'a Sku, store_id: &'a StoreId, level: &Level) -> LevelForm<'a> {
    LevelForm {
        sku,
        store_id,
        quantity: level.quantity,
        reserved: level.reserved,
        available: level.available(),
        version: level.version,
        reorder_point: level.reorder_point,
        updated_at: level.updated_at,
    }
}

pub fn item<'a>(sku: &'a Sku, item: &'a Item) -> ItemForm<'a> {
    let (quantity, reserved) = item.totals();
    ItemForm {
        sku,
        name: item.details.name.as_deref(),
        description: item.details.description.as_deref(),
        price: item.details.price,
        version: item.version,
        quantity,
        reserved,
        available: quantity - reserved,
        levels: item
            .levels
            .iter()
            .map(|image| level(sku, &image.store_id, &image.level))
            .collect(),
        created_at: item.created_at,
        updated_at: item.updated_at,
    }
}

pub fn event(seq: u64, event: &Event) -> EventForm<'_> {
    EventForm {
        seq,
        kind: event.kind,
        at: event.at,
        by: &event.by,
        request_id: &event.request_id,
        reservation_id: event.reservation_id.as_ref(),
        reference: event.reference.as_deref(),
        note: event.note.as_deref(),
        changes: event.changes.iter().map(change).collect(),
    }
}

fn change(change: &Change) -> ChangeForm<'_> {
    ChangeForm {
        sku: &change.sku,
        store_id: &change.store_id,
        movement: change.movement,
        delta: change.delta,
        quantity: change.quantity,
        reserved: change.reserved,
        version: change.version,
        item_version: change.item_version,
        low_stock: change.low_stock.then_some(true),
    }
}

pub fn movement<'a>(seq: u64, event: &'a Event, change: &'a Change, movement: Movement) -> MovementForm<'a> {
    MovementForm {
        seq,
        movement,
        sku: &change.sku,
        store_id: &change.store_id,
        delta: change.delta,
        quantity_after: change.quantity,
        at: event.at,
        by: &event.by,
        reservation_id: event.reservation_id.as_ref(),
        reference: event.reference.as_deref(),
        note: event.note.as_deref(),
    }
}

/// Tells the status of the answer to an event, when it is recorded.
pub fn status(resource: Resource) -> fn(&Event) -> u16 {
    match resource {
        Resource::Level => |event| match event.kind {
            EventKind::ItemCreated | EventKind::LevelCreated | EventKind::ReservationCreated => 201,
            EventKind::LevelCounted
            | EventKind::LevelAdjusted
            | EventKind::LevelTransferred
            | EventKind::ReservationReleased
            | EventKind::ReservationExpired => 200,
        },
        // A level that a count makes is a part of its item, and nothing new by itself.
        Resource::Item => |event| match event.kind {
            EventKind::ItemCreated | EventKind::ReservationCreated => 201,
            EventKind::LevelCreated
            | EventKind::LevelCounted
            | EventKind::LevelAdjusted
            | EventKind::LevelTransferred
            | EventKind::ReservationReleased
            | EventKind::ReservationExpired => 200,
        },
    }
}

pub fn status_of(outcome: &Outcome) -> u16 {
    let resource = match outcome.item {
        Some(_) => Resource::Item,
        None => Resource::Level,
    };
    match outcome.seq {
        Some(_) => outcome.replayed.unwrap_or_else(|| status(resource)(&outcome.event)),
        None => 200,
    }
}

/// The body of the answer to a write.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
pub enum Body<'a> {
    Level(LevelWriteForm<'a>),
    Item(ItemWriteForm<'a>),
    Transfer(TransferForm<'a>),
}

pub fn body(outcome: &Outcome) -> Option<Body<'_>> {
    let event = &*outcome.event;
    let write = WrittenForm {
        reservation: reservation(event),
        seq: outcome.seq,
        dry_run: outcome.seq.is_none().then_some(true),
    };
    let mut levels = event.changes.iter().map(|change| changed(change, event.at));
    let first = levels.next()?;
    Some(match (&outcome.item, levels.next()) {
        (Some(after), _) => Body::Item(ItemWriteForm {
            item: item(first.sku, after),
            write,
        }),
        (None, Some(to)) => Body::Transfer(TransferForm { from: first, to, write }),
        (None, None) => Body::Level(LevelWriteForm { level: first, write }),
    })
}

/// Answers a write; with `minimal`, without what the client would be told, unless it has made something new.
pub fn written(outcome: &Outcome, minimal: bool) -> HttpResponse {
    let (is_minimal, status) = match status_of(outcome) {
        200 if minimal && outcome.seq.is_some() => (true, 204),
        status => (false, status),
    };
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::OK));
    if outcome.seq.is_some() {
        add_resource_headers(&mut response, outcome);
    }
    if outcome.replayed.is_some() {
        response.insert_header(("idempotency-replayed", "true"));
    }
    if is_minimal {
        response.insert_header(("preference-applied", "return=minimal"));
        return response.finish();
    }
    response.json(body(outcome))
}

fn add_resource_headers(response: &mut actix_web::HttpResponseBuilder, outcome: &Outcome) {
    let event = &*outcome.event;
    let Some(change) = event.changes.first() else { return };
    match &outcome.item {
        Some(item) => drop(response.insert_header((ETAG, etag(item.version)))),
        None if event.kind != EventKind::LevelTransferred => {
            response.insert_header((ETAG, etag(change.version)));
        }
        None => {}
    }
    let location = match (event.kind, &outcome.item) {
        (EventKind::ItemCreated, _) => ItemPath {
            sku: change.sku.clone(),
        }
        .url(),
        (EventKind::LevelCreated, None) => LevelPath {
            store_id: change.store_id.clone(),
            sku: change.sku.clone(),
        }
        .url(),
        _ => return,
    };
    response.insert_header((LOCATION, location));
}

/// The reservation that an event has made.
pub fn reservation(event: &Event) -> Option<ReservationForm<'_>> {
    let hold = event.holds.first().filter(|hold| hold.step == HoldStep::Placed);
    hold.map(|hold| placed(event, hold))
}

pub fn changed(change: &Change, at: Timestamp) -> LevelForm<'_> {
    level(&change.sku, &change.store_id, &change.level(at))
}

fn placed<'a>(event: &'a Event, hold: &'a HoldChange) -> ReservationForm<'a> {
    let line = LineForm {
        sku: &hold.sku,
        store_id: &hold.store_id,
        quantity: hold.quantity,
        held: hold.held,
        committed: 0,
        released: 0,
        expired: 0,
    };
    ReservationForm {
        reservation_id: &hold.reservation_id,
        status: ReservationStatus::Active,
        lines: [line],
        reference: event.reference.as_deref(),
        expires_at: hold.expires_at,
        created_at: event.at,
        updated_at: event.at,
    }
}
