//! Webhooks: subscriptions to events, which are delivered by signed requests (Standard Webhooks), in order and at least once.
//! The admins' own, as they carry what happens in all stores out of the house.

mod couriers;
mod forms;
mod post;
mod standing;
mod target;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::caller::Caller;
use super::entries::{self, DeleteBody};
use super::format::FORMAT;
use super::lists::{AFTER, LIMIT, Page};
use super::precondition::etag;
use super::problem::{Code, Problem};
use super::query::{Parameter, Query};
use super::routes::Right;
use super::write::{self, Answer};
use super::{State, body, cursor, idempotency, path, precondition};
use crate::actors::entries::{EntryDecision, EntryWrite, to_its_end};
use crate::actors::{Outcome, new_id};
use crate::credentials::signature;
use crate::domain::webhook::{SigningSecret, Terms};
use crate::domain::{Entry, EntryKey, EventKind, Timestamp, Webhook};
use crate::journal::{EntryKind, EntryView};
pub use couriers::{Couriers, Figures, Settings};
pub use forms::{
    DeadLetterForm, NewWebhookBody, NewWebhookForm, RedeliverBody, RedeliveryForm, ShownWebhookForm, TestForm,
    WebhookBody, WebhookForm, form,
};
pub use post::Reach;
use post::{Attempt, Letter, Verdict};
use standing::Standing;

pub const LIST: &[Parameter] = &[LIMIT, AFTER, FORMAT];

/// `GET /api/webhooks`
pub async fn list(state: Data<State>, request: HttpRequest, caller: Caller) -> Answer {
    let query = Query::of(&request, LIST)?;
    let limit = query.limit()?;
    let after = query
        .get(AFTER.name)
        .map(|after| cursor::decode(&["webhooks"], after))
        .transpose()?;
    let after = after.map(|id| EntryKey::Webhook(id.into()));
    caller.may(Right::Administer)?;
    let (couriers, journal) = (state.couriers()?, state.inventory()?.journal());
    let found = journal.entries(EntryKind::Webhook, after.as_ref(), limit + 1).await?;
    let webhooks = found
        .into_iter()
        .filter_map(|(_, view)| Some((view.entry.as_webhook()?.clone(), view.version)));
    let page = Page::of(webhooks.collect(), limit, &["webhooks"], |(webhook, _)| {
        webhook.id.to_string()
    });
    let end = journal.visible();
    page.answer(&request, &query, |(webhook, version)| {
        forms::shown(webhook, *version, standing(couriers, webhook), end)
    })
}

/// `GET /api/webhooks/{webhookId}`
///
/// Its tag is of what admins set. As its deliveries go on without a new one, nobody is told that they have it already.
pub async fn get(state: Data<State>, request: HttpRequest, caller: Caller) -> Answer {
    Query::none(&request)?;
    let id = id_of(&request)?;
    caller.may(Right::Administer)?;
    let (webhook, version) = find(&state, &id).await?;
    let end = state.inventory()?.journal().visible();
    let shown = forms::shown(&webhook, version, standing(state.couriers()?, &webhook), end);
    Ok(HttpResponse::Ok()
        .insert_header((actix_web::http::header::ETAG, etag(version)))
        .json(shown))
}

/// `POST /api/webhooks`
pub async fn create(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    write::refuse_preconditions(&request)?;
    let asked: NewWebhookBody = body::parse(&request, &bytes)?;
    let (given, terms, id) = (asked.secret()?, asked.terms(), new_id().to_string());
    let is_barred = is_barred(&state, &terms)?;
    let (may, by) = (caller.may(Right::Administer), caller.origin.by.clone());
    let key = EntryKey::Webhook(id.as_str().into());
    let write = entries::write(&request, &bytes, asked.idempotency_key.as_deref(), caller, key)?;
    may?;
    let (journal, couriers) = (state.inventory()?.journal().clone(), state.couriers()?);
    let making = couriers.making.clone().lock_owned().await;
    let (is_full, most) = (couriers.is_full().await?, couriers.most);
    let (secret, made) = match given {
        Some(given) => (given, None),
        None => {
            let made = new_secret()?;
            (made.clone(), Some(made))
        }
    };
    let decide = move |_: Option<&EntryView>, now| {
        // Held until the write is over, also when the caller goes away.
        let _ = &making;
        if is_barred {
            return Err(never_delivered_to());
        }
        if is_full {
            return Err(too_many(most));
        }
        let webhook = Webhook {
            id: id.as_str().into(),
            terms: terms.clone(),
            secret: secret.clone(),
            previous: None,
            begins_after: journal.visible(),
            created_at: now,
            created_by: by.clone(),
            updated_at: now,
        };
        Ok((EventKind::WebhookCreated, Some(Entry::Webhook(webhook.into()))))
    };
    let outcome = change(&state, write, decide).await?;
    answer(&request, &outcome, made)
}

/// `PUT /api/webhooks/{webhookId}`
pub async fn replace(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let id = id_of(&request)?;
    let bytes = write::read(&request, payload).await?;
    let asked: WebhookBody = body::parse(&request, &bytes)?;
    let (given, terms) = (asked.secret()?, asked.terms());
    let is_barred = is_barred(&state, &terms)?;
    let expected = precondition::expected(&request, asked.expected_version)?;
    let may = caller.may(Right::Administer);
    let key = EntryKey::Webhook(id.as_str().into());
    let write = entries::write(&request, &bytes, asked.idempotency_key.as_deref(), caller, key)?;
    may?;
    let made = if asked.rotate_secret { Some(new_secret()?) } else { None };
    let secret = given.or_else(|| made.clone());
    let decide = move |found: Option<&EntryView>, now| {
        let found = entries::found(found, &expected, &|| told(&id))?;
        let webhook = found.entry.as_webhook().ok_or_else(|| entries::not_found(&told(&id)))?;
        if is_barred {
            return Err(never_delivered_to());
        }
        let changed = webhook.changed(terms.clone(), secret.clone(), now);
        Ok((EventKind::WebhookUpdated, Some(Entry::Webhook(changed.into()))))
    };
    let outcome = change(&state, write, decide).await?;
    answer(&request, &outcome, made)
}

/// `DELETE /api/webhooks/{webhookId}`
pub async fn delete(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let id = id_of(&request)?;
    let bytes = write::read(&request, payload).await?;
    let asked = DeleteBody::parse(&request, &bytes)?;
    let expected = asked.expected(&request)?;
    let may = caller.may(Right::Administer);
    let key = EntryKey::Webhook(id.as_str().into());
    let write = entries::write(&request, &bytes, asked.idempotency_key.as_deref(), caller, key)?;
    may?;
    let decide = move |found: Option<&EntryView>, _| {
        entries::found(found, &expected, &|| told(&id))?;
        Ok((EventKind::WebhookDeleted, None))
    };
    let outcome = change(&state, write, decide).await?;
    Ok(super::forms::written(&outcome, false))
}

/// `POST /api/webhooks/{webhookId}/test`
pub async fn test(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let id = id_of(&request)?;
    write::read_bare(&request, payload).await?;
    caller.may(Right::Administer)?;
    let (webhook, _) = find(&state, &id).await?;
    let (now, delivery): (Timestamp, String) = (chrono::Utc::now().into(), format!("{id}_test_{}", new_id().simple()));
    let letter = Letter::new(delivery, "webhook.test", now, json!({"webhookId": id}));
    let letter = letter.map_err(|error| Problem::internal(&error))?;
    let (began, couriers, mut line) = (Instant::now(), state.couriers()?, None);
    let attempt = tokio::select! {
        attempt = couriers.post.send(&webhook, &letter, &mut line) => attempt,
        () = state.stopping() => given_up(began.elapsed()),
    };
    Ok(HttpResponse::Ok().json(forms::tested(attempt)))
}

/// `GET /api/webhooks/{webhookId}/dead-letters`
pub async fn dead_letters(state: Data<State>, request: HttpRequest, caller: Caller) -> Answer {
    let id = id_of(&request)?;
    let query = Query::of(&request, LIST)?;
    let limit = query.limit()?;
    let name = ["dead-letters", &id];
    let after = query.get(AFTER.name).map(|after| place(&name, after)).transpose()?;
    caller.may(Right::Administer)?;
    let (webhook, _) = find(&state, &id).await?;
    let letters = standing(state.couriers()?, &webhook).dead_letters;
    let behind = letters
        .iter()
        .filter(|letter| after.is_none_or(|after| letter.seq > after));
    let page = Page::of(behind.take(limit + 1).cloned().collect(), limit, &name, |letter| {
        letter.seq.to_string()
    });
    page.answer(&request, &query, forms::dead_letter)
}

/// `POST /api/webhooks/{webhookId}/dead-letters/redeliver`
pub async fn redeliver(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let id = id_of(&request)?;
    let bytes = write::read(&request, payload).await?;
    let asked: RedeliverBody = body::parse_optional(&request, &bytes)?;
    idempotency::given(&request, asked.idempotency_key.as_deref())?;
    caller.may(Right::Administer)?;
    let (webhook, _) = find(&state, &id).await?;
    let couriers = state.couriers()?;
    let redelivering = couriers
        .ledger
        .change(&webhook.id, |standing| standing.ask(asked.seqs.as_deref()));
    let missing = |seq| entries::not_found(&format!("dead letter {seq} of {}", told(&id)));
    // A webhook that was made this moment has no dead letters yet.
    let redelivering = redelivering.unwrap_or_else(|| Standing::default().ask(asked.seqs.as_deref()));
    let redelivering = redelivering.map_err(missing)?;
    couriers.ring();
    Ok(HttpResponse::Accepted().json(RedeliveryForm { redelivering }))
}

/// A webhook to an address that no delivery may go to would make a dead letter of every event. One that is disabled delivers
/// nothing, and may be left as it is.
fn is_barred(state: &State, terms: &Terms) -> Result<bool, Problem> {
    Ok(!terms.disabled && state.couriers()?.post.is_barred(&terms.url))
}

/// Decided with the write, not at the door: its repeat is answered as it was, also where the networks have changed since, and
/// only admins learn what these are.
fn never_delivered_to() -> Problem {
    let message = "it must not name an address to which this service delivers nothing: link-local ones and the like, or, \
                   with --webhook-networks, those outside of these networks";
    Problem::invalid("url", message)
}

/// Carries a change out to its end, and tells the couriers of it, also where whoever asked has gone away.
async fn change(
    state: &State,
    write: EntryWrite,
    decide: impl Fn(Option<&EntryView>, Timestamp) -> Result<EntryDecision, Problem> + 'static,
) -> Result<Outcome, Problem> {
    let (inventory, couriers) = (state.inventory()?.clone(), state.couriers()?.clone());
    let key = write.key.clone();
    let outcome = to_its_end(async move {
        let outcome = inventory.change_entry(write, decide).await;
        couriers.ring();
        outcome
    })
    .await?;
    if let (EntryKey::Webhook(id), None) = (key, outcome.replayed) {
        let event = &outcome.event;
        tracing::info!(webhook = &*id, by = event.by.as_str(), kind = ?event.kind, "a webhook was changed");
    }
    Ok(outcome)
}

/// The answer to a write; with the secret that was made for it, unless it is a repeat.
fn answer(request: &HttpRequest, outcome: &Outcome, made: Option<SigningSecret>) -> Answer {
    let made = made.filter(|_| outcome.replayed.is_none());
    let Some(secret) = made else {
        return Ok(super::forms::written(outcome, write::wants_minimal(request)));
    };
    let change = outcome.event.entries.first();
    let about = change.and_then(|change| Some(form(change.entry.as_ref()?.as_webhook()?, change.version)));
    let about = about.ok_or_else(|| Problem::internal(&"the event of a webhook has none"))?;
    let secret = Some(secret.expose());
    Ok(super::forms::response(outcome).json(NewWebhookForm { about, secret }))
}

async fn find(state: &State, id: &str) -> Result<(Arc<Webhook>, u64), Problem> {
    let found = state
        .inventory()?
        .journal()
        .entry(&EntryKey::Webhook(id.into()))
        .await?;
    let webhook = found.and_then(|view| Some((view.entry.as_webhook()?.clone(), view.version)));
    webhook.ok_or_else(|| entries::not_found(&told(id)))
}

/// Of one that was made this moment no courier may know yet.
fn standing(couriers: &Couriers, webhook: &Webhook) -> Standing {
    let standing = couriers.ledger.get(&webhook.id);
    standing.unwrap_or_else(|| Standing::beginning(webhook.begins_after))
}

fn new_secret() -> Result<SigningSecret, Problem> {
    signature::new_secret().map_err(|error| Problem::internal(&error))
}

fn too_many(most: usize) -> Problem {
    let detail = format!("There are {most} webhooks, and more there may not be (--max-webhooks): delete one first.");
    Problem::new(Code::QuotaExceeded, detail).with("limit", most as u64)
}

fn given_up(took: Duration) -> Attempt {
    let verdict = Verdict::failed("given up, as this service stops".to_owned());
    let status = None;
    Attempt { status, verdict, took }
}

fn place(list: &[&str], after: &str) -> Result<u64, Problem> {
    let place = cursor::decode(list, after)?;
    place
        .parse()
        .map_err(|_| Problem::invalid(AFTER.name, "it is not a cursor of this list"))
}

/// Ours are UUIDs; whatever else is asked for is not there.
fn id_of(request: &HttpRequest) -> Result<String, Problem> {
    Ok(path::segment(request, 3, "webhookId")?.into_owned())
}

fn told(id: &str) -> String {
    format!("webhook {:?}", super::problem::shorten(id))
}

/// Where a webhook is.
pub fn url(id: &str) -> String {
    format!("/api/webhooks/{}", path::encoded(id))
}
