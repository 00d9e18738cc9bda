//! Stores: where stock is.

use std::sync::Arc;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Deserialize;
use validator::{Validate, ValidationError};

use super::bodies::{check_name, present};
use super::caller::Caller;
use super::entries::DeleteBody;
use super::format::FORMAT;
use super::idempotency::KEY_PATTERN;
use super::lists::{AFTER, LIMIT, Page, search};
use super::path::CatalogueStorePath;
use super::problem::{Code, Problem};
use super::query::{Kind, Parameter, Query};
use super::routes::Right;
use super::write::{self, Answer};
use super::{State, body, catalogue, cursor, forms, idempotency, precondition};
use crate::actors::Outcome;
use crate::actors::entries::{EntryDecision, EntryWrite};
use crate::actors::stores::StoreDeletion;
use crate::domain::catalogue::{MAX_LOCATION_CHARS, MAX_SYNC_INTERVAL_SECONDS, check_time_zone};
use crate::domain::item::MAX_NAME_CHARS;
use crate::domain::{Entry, EntryKey, EventKind, Expected, MAX_QUANTITY, Resource, Rights, Store, StoreId, Timestamp};
use crate::journal::directory::finds;
use crate::journal::{EntryKind, EntryView, Journal, JournalError};

/// A new store.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewStoreBody {
    pub store_id: StoreId,
    /// What it is called.
    #[validate(custom(function = check_name))]
    #[schemars(length(min = 1, max = MAX_NAME_CHARS))]
    pub name: String,
    /// Where it is.
    #[serde(default, deserialize_with = "present")]
    #[validate(custom(function = check_location))]
    #[schemars(length(min = 1, max = MAX_LOCATION_CHARS))]
    pub location: Option<String>,
    /// A name of the IANA time zone database.
    #[serde(default, deserialize_with = "present")]
    #[validate(custom(function = check_zone))]
    #[schemars(regex(pattern = ZONE_PATTERN))]
    pub time_zone: Option<String>,
    /// If it has not pushed its counts for so long, it is overdue.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(min = 1, max = MAX_SYNC_INTERVAL_SECONDS, message = "must be from 1 to 31536000"))]
    pub sync_interval_seconds: Option<u64>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

/// All that a store is to have: what is left out, it has no longer.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreBody {
    /// What it is called.
    #[validate(custom(function = check_name))]
    #[schemars(length(min = 1, max = MAX_NAME_CHARS))]
    pub name: String,
    /// Where it is.
    #[serde(default, deserialize_with = "present")]
    #[validate(custom(function = check_location))]
    #[schemars(length(min = 1, max = MAX_LOCATION_CHARS))]
    pub location: Option<String>,
    /// A name of the IANA time zone database.
    #[serde(default, deserialize_with = "present")]
    #[validate(custom(function = check_zone))]
    #[schemars(regex(pattern = ZONE_PATTERN))]
    pub time_zone: Option<String>,
    /// If it has not pushed its counts for so long, it is overdue.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(min = 1, max = MAX_SYNC_INTERVAL_SECONDS, message = "must be from 1 to 31536000"))]
    pub sync_interval_seconds: Option<u64>,
    /// The version that is to be changed.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    pub expected_version: Option<u64>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

/// The form of a name of a time zone; `check_time_zone` is what decides.
const ZONE_PATTERN: &str = "^[A-Za-z][A-Za-z0-9_+-]{0,13}(/[A-Za-z][A-Za-z0-9_+-]{0,13}){0,2}$";

fn check_zone(text: &str) -> Result<(), ValidationError> {
    check_time_zone(text).map_err(|fault| ValidationError::new("zone").with_message(fault.into()))
}

fn check_location(text: &str) -> Result<(), ValidationError> {
    let fits = (1..=MAX_LOCATION_CHARS).contains(&(text.chars().count() as u64)) && !text.chars().any(char::is_control);
    let fault = || {
        ValidationError::new("location")
            .with_message("must have 1 to 255 characters, none of them a control character".into())
    };
    fits.then_some(()).ok_or_else(fault)
}

/// `POST /api/stores`
pub async fn create(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    let body: NewStoreBody = body::parse(&request, &bytes)?;
    let expected = precondition::expected(&request, None)?;
    let write = entry_write(&request, &bytes, body.idempotency_key.as_deref(), &body.store_id)?;
    let inventory = state.inventory()?;
    let store_id = body.store_id.clone();
    let named = store_id.clone();
    let store = move |at: Timestamp| Store {
        store_id: body.store_id.clone(),
        name: body.name.clone(),
        location: body.location.clone(),
        time_zone: body.time_zone.clone(),
        sync_interval_seconds: body.sync_interval_seconds,
        created_at: at,
        updated_at: at,
    };
    let journal = inventory.journal().clone();
    let decide = move |found: Option<&EntryView>, now: Timestamp| -> Result<EntryDecision, Problem> {
        if found.is_some() {
            let detail = format!("There is a store {store_id:?} already.");
            return Err(Problem::new(Code::AlreadyExists, detail).with("storeId", store_id.as_str()));
        }
        check_expected(&expected, &store_id, 0)?;
        if journal.is_closing(&store_id) {
            return Err(Problem::of_closing(&store_id));
        }
        Ok((EventKind::StoreCreated, Some(Entry::Store(Arc::new(store(now))))))
    };
    let outcome = inventory.change_entry(write, decide).await?;
    Ok(written(&request, &outcome, &named))
}

/// `PUT /api/stores/{storeId}`
pub async fn replace(
    state: Data<State>,
    request: HttpRequest,
    CatalogueStorePath(store_id): CatalogueStorePath,
    payload: Payload,
) -> Answer {
    let bytes = write::read(&request, payload).await?;
    let body: StoreBody = body::parse(&request, &bytes)?;
    let expected = precondition::expected(&request, body.expected_version)?;
    let write = entry_write(&request, &bytes, body.idempotency_key.as_deref(), &store_id)?;
    let named = store_id.clone();
    let decide = move |found: Option<&EntryView>, now: Timestamp| -> Result<EntryDecision, Problem> {
        let (version, before) = found
            .and_then(store_of)
            .ok_or_else(|| Problem::of_no_store(&store_id))?;
        check_expected(&expected, &store_id, version)?;
        let after = Store {
            name: body.name.clone(),
            location: body.location.clone(),
            time_zone: body.time_zone.clone(),
            sync_interval_seconds: body.sync_interval_seconds,
            updated_at: now,
            ..before.clone()
        };
        Ok((EventKind::StoreUpdated, Some(Entry::Store(Arc::new(after)))))
    };
    let outcome = state.inventory()?.change_entry(write, decide).await?;
    Ok(written(&request, &outcome, &named))
}

/// `DELETE /api/stores/{storeId}`
pub async fn delete(
    state: Data<State>,
    request: HttpRequest,
    CatalogueStorePath(store_id): CatalogueStorePath,
    payload: Payload,
) -> Answer {
    let bytes = write::read(&request, payload).await?;
    let asked = DeleteBody::parse(&request, &bytes)?;
    let expected = asked.expected(&request)?;
    let EntryWrite { origin, keyed, .. } = entry_write(&request, &bytes, asked.idempotency_key.as_deref(), &store_id)?;
    let named = store_id.clone();
    let deletion = StoreDeletion {
        store_id: store_id.clone(),
        origin,
        keyed,
        check: move |found: Option<&EntryView>| -> Result<(), Problem> {
            let (version, _) = found.and_then(store_of).ok_or_else(|| Problem::of_no_store(&named))?;
            check_expected(&expected, &named, version)
        },
    };
    let outcome = state.inventory()?.delete_store(deletion).await?;
    Ok(written(&request, &outcome, &store_id))
}

fn written(request: &HttpRequest, outcome: &Outcome, store: &StoreId) -> HttpResponse {
    if outcome.replayed.is_none() {
        let event = &outcome.event;
        tracing::info!(store = store.as_str(), by = event.by.as_str(), kind = ?event.kind, "a store was changed");
    }
    forms::written(outcome, write::wants_minimal(request))
}

/// What a write of a store needs beside its body, after its caller was found to be allowed to.
fn entry_write(request: &HttpRequest, bytes: &[u8], key: Option<&str>, store: &StoreId) -> Result<EntryWrite, Problem> {
    let caller = Caller::of(request);
    let status = forms::status(Resource::Level);
    let keyed = idempotency::keyed(request, bytes, key, &caller.origin.by, status)?;
    caller.may(Right::Administer)?;
    Ok(EntryWrite {
        key: EntryKey::Store(store.clone()),
        origin: caller.origin,
        keyed,
    })
}

fn check_expected(expected: &Expected, store: &StoreId, current: u64) -> Result<(), Problem> {
    let checked = expected.check(current);
    checked.map_err(|reason| Problem::of_version(reason, &format!("store {store:?}")).with("storeId", store.as_str()))
}

fn store_of(view: &EntryView) -> Option<(u64, &Store)> {
    match &view.entry {
        Entry::Store(store) => Some((view.version, store)),
        _ => None,
    }
}

/// `GET /api/stores/{storeId}`
pub async fn get(state: Data<State>, request: HttpRequest, CatalogueStorePath(store_id): CatalogueStorePath) -> Answer {
    Query::none(&request)?;
    let found = state
        .inventory()?
        .journal()
        .entry(&EntryKey::Store(store_id.clone()))
        .await?;
    // Of a store that is not the caller's they are not told whether it exists.
    let found = found.filter(|_| Caller::of(&request).rights.sees(&store_id));
    let shown = found.as_ref().and_then(store_of);
    let (version, store) = shown.ok_or_else(|| Problem::of_no_store(&store_id))?;
    precondition::show(&request, version, catalogue::store(version, store))
}

pub const LIST: &[Parameter] = &[
    Parameter {
        name: "q",
        about: "The beginning of the id, or whole words of the name (all that are given), in any case.",
        kind: Kind::Text("london"),
    },
    LIMIT,
    AFTER,
    FORMAT,
];

/// `GET /api/stores`
pub async fn list(state: Data<State>, request: HttpRequest) -> Answer {
    let query = Query::of(&request, LIST)?;
    let limit = query.limit()?;
    let q = search(&query);
    let name = ["stores", q.as_deref().unwrap_or("")];
    let after = query
        .get(AFTER.name)
        .map(|after| cursor::decode(&name, after))
        .transpose()?;
    let after = after.map(|id| StoreId::parse(&id)).transpose();
    let after = after.map_err(|error| Problem::invalid(AFTER.name, error))?;
    let rights = Caller::of(&request).rights;
    let journal = state.inventory()?.journal();
    let stores = find(journal.as_ref(), q.as_deref(), &rights, after, limit + 1).await?;
    let page = Page::of(stores, limit, &name, |(_, store)| store.store_id.as_str().to_owned());
    page.answer(&request, &query, |(version, store)| catalogue::store(*version, store))
}

/// Stores that are looked at in one go.
const PART: usize = 1000;

/// Stores that the caller sees and the search finds, in order of id.
async fn find(
    journal: &dyn Journal,
    q: Option<&str>,
    rights: &Rights,
    after: Option<StoreId>,
    limit: usize,
) -> Result<Vec<(u64, Arc<Store>)>, JournalError> {
    let (mut found, mut after) = (Vec::new(), after.map(EntryKey::Store));
    loop {
        let part = journal.entries(EntryKind::Store, after.as_ref(), PART).await?;
        let is_last = part.len() < PART;
        after = part.last().map(|(key, _)| key.clone());
        let fits = |store: &Store| {
            rights.sees(&store.store_id) && q.is_none_or(|q| finds(q, store.store_id.as_str(), &store.name))
        };
        let stores = part.into_iter().filter_map(|(_, view)| match view.entry {
            Entry::Store(store) if fits(&store) => Some((view.version, store)),
            _ => None,
        });
        found.extend(stores.take(limit - found.len()));
        if is_last || found.len() == limit {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{EntryChange, Event, Principal, RequestId, Role};
    use crate::journal::memory::MemoryJournal;
    use crate::journal::{Append, Record};

    fn store(id: &str) -> StoreId {
        StoreId::parse(id).unwrap()
    }

    async fn journal_with(ids: &[&str]) -> MemoryJournal {
        let journal = MemoryJournal::new(60_000);
        let change = |id: &&str| EntryChange {
            key: EntryKey::Store(store(id)),
            version: 1,
            entry: Some(Entry::Store(Arc::new(Store::of_first_use(
                &store(id),
                Timestamp::default(),
            )))),
        };
        let event = Event {
            kind: EventKind::StoreCreated,
            at: Timestamp::default(),
            by: Principal::system(),
            request_id: RequestId::parse("r").unwrap(),
            reservation_id: None,
            reference: None,
            note: None,
            changes: Vec::new(),
            holds: Vec::new(),
            items: Vec::new(),
            entries: ids.iter().map(change).collect(),
        };
        let record = Record {
            event: Arc::new(event),
            receipt: None,
        };
        journal
            .append(Append::of_stock(Vec::new(), vec![record]))
            .await
            .unwrap();
        journal
    }

    #[tokio::test]
    async fn whoever_is_narrowed_to_some_stores_is_shown_only_these() {
        let journal = journal_with(&["a", "b", "c", "d"]).await;
        let scope = [store("d"), store("b"), store("none")];
        let shown = async |rights: Rights, limit| {
            let found = find(&journal, None, &rights, None, limit).await.unwrap();
            found
                .iter()
                .map(|(_, store)| store.store_id.to_string())
                .collect::<Vec<_>>()
        };
        for role in [Role::Viewer, Role::Clerk] {
            assert_eq!(shown(Rights::new(role, Some(&scope)), 10).await, ["b", "d"]);
            assert_eq!(shown(Rights::new(role, Some(&scope)), 1).await, ["b"]);
        }
        assert_eq!(shown(Rights::all(), 10).await, ["a", "b", "c", "d"]);
    }
}
