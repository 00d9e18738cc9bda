//! How stock is shown. The answer to a write is made from its event alone, so that a repeat under the
//! same key gets the same answer years of changes later.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, LOCATION};
use serde::Serialize;

use super::path::LevelPath;
use super::precondition::etag;
use crate::actors::Outcome;
use crate::domain::{Change, Event, EventKind, HoldChange, HoldStep, Level, ReservationId, ReservationStatus, Sku};
use crate::domain::{StoreId, Timestamp};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LevelForm<'a> {
    sku: &'a Sku,
    store_id: &'a StoreId,
    quantity: u64,
    reserved: u64,
    available: u64,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reorder_point: Option<u64>,
    updated_at: Timestamp,
}

/// The answer to a write.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteForm<'a> {
    #[serde(flatten)]
    level: LevelForm<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<ReservationForm<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReservationForm<'a> {
    reservation_id: &'a ReservationId,
    status: ReservationStatus,
    lines: [LineForm<'a>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LineForm<'a> {
    sku: &'a Sku,
    store_id: &'a StoreId,
    quantity: u64,
    held: u64,
    committed: u64,
    released: u64,
    expired: u64,
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

/// The status of the answer to an event, when it is recorded.
pub fn status(event: &Event) -> u16 {
    match event.kind {
        EventKind::ItemCreated | EventKind::LevelCreated | EventKind::ReservationCreated => 201,
        EventKind::LevelCounted
        | EventKind::LevelAdjusted
        | EventKind::LevelTransferred
        | EventKind::ReservationReleased
        | EventKind::ReservationExpired => 200,
    }
}

/// The body of the answer to a write of one level; every such event changes exactly one.
pub fn write_form(event: &Event, seq: Option<u64>) -> Option<WriteForm<'_>> {
    let change = event.changes.first()?;
    Some(WriteForm {
        level: changed(change, event.at),
        reservation: event
            .holds
            .first()
            .filter(|hold| hold.step == HoldStep::Placed)
            .map(|hold| placed(event, hold)),
        seq,
        dry_run: seq.is_none().then_some(true),
    })
}

pub fn written(outcome: &Outcome) -> HttpResponse {
    let event = &outcome.event;
    let status = match outcome.seq {
        Some(_) => outcome.replayed.unwrap_or_else(|| status(event)),
        None => 200,
    };
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::OK));
    if let Some(change) = event.changes.first().filter(|_| outcome.seq.is_some()) {
        response.insert_header((ETAG, etag(change.version)));
        if event.kind == EventKind::LevelCreated {
            let path = LevelPath {
                store_id: change.store_id.clone(),
                sku: change.sku.clone(),
            };
            response.insert_header((LOCATION, path.url()));
        }
    }
    if outcome.replayed.is_some() {
        response.insert_header(("idempotency-replayed", "true"));
    }
    response.json(write_form(event, outcome.seq))
}

fn changed(change: &Change, at: Timestamp) -> LevelForm<'_> {
    let after = Level {
        quantity: change.quantity,
        reserved: change.reserved,
        version: change.version,
        reorder_point: change.reorder_point,
        updated_at: at,
    };
    level(&change.sku, &change.store_id, &after)
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
