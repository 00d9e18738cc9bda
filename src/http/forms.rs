//! How stock is shown. The answer to a write is made from its event (and, on item routes, from the item that
//! its receipt keeps), so that a repeat under the same key gets the same answer years of changes later.

use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, LOCATION};
use actix_web::{HttpResponse, HttpResponseBuilder};
use schemars::JsonSchema;
use serde::Serialize;

use super::catalogue::{self, ProductWriteForm, StoreWriteForm};
use super::csv::Listed;
use super::path::{ItemPath, LevelPath};
use super::precondition::etag;
use super::reservations;
use super::sync::{self, StatusForm};
use super::tokens::{self, TokenForm};
use super::users::{self, UserForm};
use super::webhooks::{self, WebhookForm};
use crate::actors::{Outcome, Told};
use crate::domain::reservation::Line;
use crate::domain::{
    Change, Entry, EntryKey, Event, EventKind, HoldStep, Item, Level, Move, Movement, Price, Principal, RequestId,
    Reservation, ReservationId, ReservationStatus, Resource, Sku, StoreId, Timestamp,
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

impl Listed for LevelForm<'_> {
    const NAME: &'static str = "levels";
    const COLUMNS: &'static [&'static str] = &[
        "sku",
        "storeId",
        "quantity",
        "reserved",
        "available",
        "version",
        "reorderPoint",
        "updatedAt",
    ];
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

impl Listed for ItemForm<'_> {
    const NAME: &'static str = "items";
    const PER: Option<&'static str> = Some("levels");
    const COLUMNS: &'static [&'static str] = &[
        "sku",
        "name",
        "description",
        "price.amount as price",
        "price.currency",
        "levels.storeId",
        "levels.quantity",
        "levels.reserved",
        "levels.available",
        "levels.version",
        "levels.reorderPoint",
        "levels.updatedAt",
        "version as itemVersion",
        "createdAt",
        "updatedAt as itemUpdatedAt",
    ];
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

/// The answer to a write of a reservation: the reservation after it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ReservationAnswer")]
pub struct ReservationWriteForm<'a> {
    #[serde(flatten)]
    reservation: ReservationForm<'a>,
    /// The event's place in the log; a dry run has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    /// True where nothing was changed, as asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
}

/// A hold on stock of any SKUs and stores.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Reservation")]
pub struct ReservationForm<'a> {
    reservation_id: &'a ReservationId,
    status: ReservationStatus,
    /// One per level, in order of SKU and store.
    lines: Vec<LineForm<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    /// From then on the hold is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Listed for ReservationForm<'_> {
    const NAME: &'static str = "reservations";
    const PER: Option<&'static str> = Some("lines");
    const COLUMNS: &'static [&'static str] = &[
        "reservationId",
        "status",
        "reference",
        "expiresAt",
        "createdAt",
        "updatedAt",
        "lines.sku",
        "lines.storeId",
        "lines.quantity",
        "lines.requested",
        "lines.held",
        "lines.committed",
        "lines.released",
        "lines.expired",
    ];
}

/// What a reservation has of one level: `quantity` is what is held, committed, released and expired together.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ReservationLine")]
struct LineForm<'a> {
    sku: &'a Sku,
    store_id: &'a StoreId,
    /// How much was held at first.
    quantity: u64,
    /// How much was asked for, where less would do (`allowPartial`).
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<u64>,
    /// How much is held now.
    held: u64,
    /// How much was sold.
    committed: u64,
    /// How much was given back.
    released: u64,
    /// How much was over before it was sold or given back.
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

impl Listed for EventForm<'_> {
    const NAME: &'static str = "events";
    const PER: Option<&'static str> = Some("changes");
    const COLUMNS: &'static [&'static str] = &[
        "seq",
        "type",
        "at",
        "by",
        "requestId",
        "reservationId",
        "reference",
        "note",
        "changes.sku",
        "changes.storeId",
        "changes.movement",
        "changes.delta",
        "changes.quantity",
        "changes.reserved",
        "changes.version",
        "changes.itemVersion",
        "changes.lowStock",
        "changes.moves",
    ];
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
    /// Of an atomic batch, where several movements of different kinds came together: each of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    moves: Vec<MoveForm<'a>>,
}

/// One of several movements that came together in a change.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Move")]
struct MoveForm<'a> {
    #[serde(rename = "type")]
    movement: Movement,
    delta: i64,
    /// What was on hand after it.
    quantity_after: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
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

impl Listed for MovementForm<'_> {
    const NAME: &'static str = "movements";
    const COLUMNS: &'static [&'static str] = &[
        "seq",
        "type",
        "sku",
        "storeId",
        "delta",
        "quantityAfter",
        "at",
        "by",
        "reservationId",
        "reference",
        "note",
    ];
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
        moves: change.moves.iter().map(part).collect(),
    }
}

fn part(one: &Move) -> MoveForm<'_> {
    MoveForm {
        movement: one.movement,
        delta: one.delta,
        quantity_after: one.quantity,
        note: one.note.as_deref(),
    }
}

pub fn movement<'a>(seq: u64, event: &'a Event, change: &'a Change, one: &'a Move) -> MovementForm<'a> {
    MovementForm {
        seq,
        movement: one.movement,
        sku: &change.sku,
        store_id: &change.store_id,
        delta: one.delta,
        quantity_after: one.quantity,
        at: event.at,
        by: &event.by,
        reservation_id: event.reservation_id.as_ref(),
        reference: event.reference.as_deref(),
        note: one.note.as_deref().or(event.note.as_deref()),
    }
}

/// Tells the status of the answer to an event, when it is recorded.
pub fn status(resource: Resource) -> fn(&Event) -> u16 {
    match resource {
        Resource::Level => |event| status_of_kind(Resource::Level, event.kind),
        Resource::Item => |event| status_of_kind(Resource::Item, event.kind),
        Resource::Product => |event| status_of_kind(Resource::Product, event.kind),
    }
}

pub fn status_of_kind(resource: Resource, kind: EventKind) -> u16 {
    match (kind, resource) {
        (EventKind::ItemCreated | EventKind::ReservationCreated, _) => 201,
        (EventKind::UserCreated | EventKind::TokenCreated | EventKind::WebhookCreated, _) => 201,
        (EventKind::UserDeleted | EventKind::TokenRevoked | EventKind::WebhookDeleted, _) => 204,
        (EventKind::ProductCreated | EventKind::StoreCreated, _) => 201,
        (EventKind::ProductDeleted | EventKind::StoreDeleted, _) => 204,
        // On an item route, a level that a count makes is a part of its item, and nothing new by itself.
        (EventKind::LevelCreated, Resource::Level) => 201,
        _ => 200,
    }
}

pub fn status_of(outcome: &Outcome) -> u16 {
    let resource = match outcome.told {
        Told::Item(_) => Resource::Item,
        _ => Resource::Level,
    };
    match outcome.seq {
        Some(_) => outcome
            .replayed
            .unwrap_or_else(|| status_of_kind(resource, outcome.event.kind)),
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
    Reservation(ReservationWriteForm<'a>),
    User(UserForm<'a>),
    Token(TokenForm<'a>),
    Product(ProductWriteForm<'a>),
    Store(StoreWriteForm<'a>),
    Sync(StatusForm<'a>),
    Webhook(WebhookForm<'a>),
}

/// The body that shows a user, a token, a webhook, a product or a store after its event, or how the sync stood.
fn hidden(outcome: &Outcome) -> Option<Body<'_>> {
    if let Told::Sync(status) = &outcome.told {
        return Some(Body::Sync(sync::status_form(status)));
    }
    let change = outcome.event.entries.first();
    match change.and_then(|change| Some((change.version, change.entry.as_ref()?))) {
        Some((version, Entry::User(user))) => Some(Body::User(users::form(user, version))),
        Some((version, Entry::Token(token))) => Some(Body::Token(tokens::form(token, version))),
        Some((version, Entry::Webhook(webhook))) => Some(Body::Webhook(webhooks::form(webhook, version))),
        _ => catalogue::written(outcome),
    }
}

pub fn body(outcome: &Outcome) -> Option<Body<'_>> {
    let event = &*outcome.event;
    let (seq, dry_run) = (outcome.seq, outcome.seq.is_none().then_some(true));
    if let Told::Reservation(after) = &outcome.told {
        return Some(Body::Reservation(ReservationWriteForm {
            reservation: reservation(after),
            seq,
            dry_run,
        }));
    }
    if event.kind.is_hidden() {
        return hidden(outcome);
    }
    let write = WrittenForm {
        reservation: placed(event),
        seq,
        dry_run,
    };
    let mut levels = event.changes.iter().map(|change| changed(change, event.at));
    let first = levels.next()?;
    Some(match (&outcome.told, levels.next()) {
        (Told::Item(after), _) => Body::Item(ItemWriteForm {
            item: item(first.sku, after),
            write,
        }),
        (_, Some(to)) => Body::Transfer(TransferForm { from: first, to, write }),
        (_, None) => Body::Level(LevelWriteForm { level: first, write }),
    })
}

/// Answers a write; with `minimal`, without what the client would be told, unless it has made something new.
pub fn written(outcome: &Outcome, minimal: bool) -> HttpResponse {
    let mut response = response(outcome);
    match status_of(outcome) {
        200 if minimal && outcome.seq.is_some() => response
            .status(StatusCode::NO_CONTENT)
            .insert_header(("preference-applied", "return=minimal"))
            .finish(),
        204 => response.finish(),
        _ => response.json(body(outcome)),
    }
}

/// The answer to a write, but for its body.
pub fn response(outcome: &Outcome) -> HttpResponseBuilder {
    let status = StatusCode::from_u16(status_of(outcome)).unwrap_or(StatusCode::OK);
    let mut response = HttpResponse::build(status);
    if outcome.seq.is_some() {
        add_resource_headers(&mut response, outcome);
    }
    if outcome.replayed.is_some() {
        response.insert_header(("idempotency-replayed", "true"));
    }
    response
}

fn add_hidden_headers(response: &mut HttpResponseBuilder, outcome: &Outcome) {
    let location = match outcome.event.entries.first().map(|change| (change, &change.key)) {
        Some((change, EntryKey::User(name))) => Some((change, users::url(name))),
        Some((change, EntryKey::Token(id))) => Some((change, tokens::url(id))),
        Some((change, EntryKey::Webhook(id))) => Some((change, webhooks::url(id))),
        _ => None,
    };
    let Some((change, url)) = location else {
        return catalogue::add_headers(response, outcome);
    };
    if change.entry.is_some() {
        response.insert_header((ETAG, etag(change.version)));
    }
    let created = [
        EventKind::UserCreated,
        EventKind::TokenCreated,
        EventKind::WebhookCreated,
    ];
    if created.contains(&outcome.event.kind) {
        response.insert_header((LOCATION, url));
    }
}

fn add_resource_headers(response: &mut HttpResponseBuilder, outcome: &Outcome) {
    let event = &*outcome.event;
    if event.kind.is_hidden() {
        return add_hidden_headers(response, outcome);
    }
    let Some(change) = event.changes.first() else { return };
    let version = match &outcome.told {
        Told::Item(item) => Some(item.version),
        Told::Event if event.kind != EventKind::LevelTransferred => Some(change.version),
        _ => None,
    };
    if let Some(version) = version {
        response.insert_header((ETAG, etag(version)));
    }
    let location = match (event.kind, &outcome.told, &event.reservation_id) {
        (EventKind::ItemCreated, ..) => ItemPath {
            sku: change.sku.clone(),
        }
        .url(),
        (EventKind::LevelCreated, Told::Event, _) => LevelPath {
            store_id: change.store_id.clone(),
            sku: change.sku.clone(),
        }
        .url(),
        (EventKind::ReservationCreated, _, Some(id)) => reservations::url(id),
        _ => return,
    };
    response.insert_header((LOCATION, location));
}

pub fn changed(change: &Change, at: Timestamp) -> LevelForm<'_> {
    level(&change.sku, &change.store_id, &change.level(at))
}

/// The reservation of one line that an event has made.
pub fn placed(event: &Event) -> Option<ReservationForm<'_>> {
    let hold = event.holds.first().filter(|hold| hold.step == HoldStep::Placed)?;
    let line = LineForm {
        sku: &hold.sku,
        store_id: &hold.store_id,
        quantity: hold.quantity,
        requested: None,
        held: hold.held,
        committed: 0,
        released: 0,
        expired: 0,
    };
    Some(ReservationForm {
        reservation_id: &hold.reservation_id,
        status: ReservationStatus::Active,
        lines: vec![line],
        reference: event.reference.as_deref(),
        expires_at: hold.expires_at,
        created_at: event.at,
        updated_at: event.at,
    })
}

pub fn reservation(reservation: &Reservation) -> ReservationForm<'_> {
    fn form(line: &Line) -> LineForm<'_> {
        LineForm {
            sku: &line.sku,
            store_id: &line.store_id,
            quantity: line.quantity,
            requested: line.requested,
            held: line.held,
            committed: line.committed,
            released: line.released,
            expired: line.expired,
        }
    }
    ReservationForm {
        reservation_id: &reservation.reservation_id,
        status: reservation.status,
        lines: reservation.lines.iter().map(form).collect(),
        reference: reservation.reference.as_deref(),
        expires_at: reservation.expires_at,
        created_at: reservation.created_at,
        updated_at: reservation.updated_at,
    }
}
