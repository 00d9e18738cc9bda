//! Service tokens: those of machines, which do not log in. The admins' own.

use actix_web::HttpRequest;
use actix_web::web::{Data, Payload};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::bodies::present;
use super::caller::Caller;
use super::csv::Listed;
use super::entries::{self, DeleteBody};
use super::format::FORMAT;
use super::idempotency::KEY_PATTERN;
use super::lists::{AFTER, LIMIT, Page};
use super::problem::Problem;
use super::query::{Parameter, Query};
use super::routes::Right;
use super::users::check_stores;
use super::write::{self, Answer};
use super::{State, body, cursor, forms, path, precondition};
use crate::actors::new_id;
use crate::credentials::service;
use crate::domain::account::{AccountName, Role, ServiceToken};
use crate::domain::{Entry, EntryChange, EntryKey, EventKind, Principal, StoreId, Timestamp};
use crate::journal::{EntryKind, EntryView};

/// A token of a machine; the text that it sends is shown once, when it is made.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ServiceToken")]
pub struct TokenForm<'a> {
    id: &'a str,
    /// Events say `token:NAME`.
    name: &'a AccountName,
    role: Role,
    /// The stores to which it is narrowed; null where it works in all of them.
    stores: Option<&'a [StoreId]>,
    /// From then on it is worth nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    version: u64,
    created_at: Timestamp,
    created_by: &'a Principal,
}

impl Listed for TokenForm<'_> {
    const NAME: &'static str = "tokens";
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "name",
        "role",
        "stores",
        "expiresAt",
        "version",
        "createdAt",
        "createdBy",
    ];
}

/// A new service token.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NewServiceToken")]
pub struct NewTokenForm<'a> {
    #[serde(flatten)]
    about: TokenForm<'a>,
    /// What the machine sends: `Authorization: Bearer TOKEN`. Only this answer has it; a repeat of the request under its
    /// key does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

/// A service token that is to be made.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenBody {
    /// Whom events name, as `token:NAME`; at most 58 characters. Two tokens of one name are one caller, so that one can
    /// take over from the other.
    pub name: AccountName,
    pub role: Role,
    /// 1 to 1000 stores. A clerk must have a list, an operator or admin has none.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 1000))]
    pub stores: Option<Vec<StoreId>>,
    /// A moment to come, from which on it is worth nothing; without it, it is good until it is revoked.
    #[serde(default, deserialize_with = "present")]
    pub expires_at: Option<Timestamp>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

impl TokenBody {
    fn check(&self, now: Timestamp) -> Result<(), Problem> {
        check_stores(self.role, self.stores.as_deref())?;
        if ServiceToken::principal_of(&self.name).is_err() {
            return Err(Problem::invalid("name", "must have at most 58 characters"));
        }
        match self.expires_at {
            Some(at) if at <= now => Err(Problem::invalid("expiresAt", "must be a moment to come")),
            _ => Ok(()),
        }
    }
}

pub fn form(token: &ServiceToken, version: u64) -> TokenForm<'_> {
    TokenForm {
        id: &token.id,
        name: &token.name,
        role: token.role,
        stores: token.stores.as_deref(),
        expires_at: token.expires_at,
        version,
        created_at: token.created_at,
        created_by: &token.created_by,
    }
}

pub const LIST: &[Parameter] = &[LIMIT, AFTER, FORMAT];

/// `GET /api/tokens`
pub async fn list(state: Data<State>, request: HttpRequest, caller: Caller) -> Answer {
    let query = Query::of(&request, LIST)?;
    let limit = query.limit()?;
    let after = query
        .get(AFTER.name)
        .map(|after| cursor::decode(&["tokens"], after))
        .transpose()?;
    let after = after.map(|id| EntryKey::Token(id.into()));
    caller.may(Right::Administer)?;
    let journal = state.inventory()?.journal();
    let found = journal.entries(EntryKind::Token, after.as_ref(), limit + 1).await?;
    let tokens = found
        .into_iter()
        .filter_map(|(_, view)| Some((view.entry.as_token()?.clone(), view.version)));
    let page = Page::of(tokens.collect(), limit, &["tokens"], |(token, _)| token.id.to_string());
    page.answer(&request, &query, |(token, version)| form(token, *version))
}

/// `GET /api/tokens/{tokenId}`
pub async fn get(state: Data<State>, request: HttpRequest, caller: Caller) -> Answer {
    Query::none(&request)?;
    let id = id_of(&request)?;
    caller.may(Right::Administer)?;
    let found = state
        .inventory()?
        .journal()
        .entry(&EntryKey::Token(id.as_str().into()))
        .await?;
    let token = found
        .as_ref()
        .and_then(|view| Some((view.entry.as_token()?, view.version)));
    let (token, version) = token.ok_or_else(|| entries::not_found(&told(&id)))?;
    precondition::show(&request, version, form(token, version))
}

/// `POST /api/tokens`
pub async fn create(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    write::refuse_preconditions(&request)?;
    let asked: TokenBody = body::parse(&request, &bytes)?;
    let inventory = state.inventory()?;
    asked.check(inventory.now())?;
    let (id, may, by) = (
        new_id().to_string(),
        caller.may(Right::Administer),
        caller.origin.by.clone(),
    );
    let key = EntryKey::Token(id.as_str().into());
    let write = entries::write(&request, &bytes, asked.idempotency_key.as_deref(), caller, key)?;
    may?;
    let (shown, kept) = service::issue(&id).map_err(|error| Problem::internal(&error))?;
    let (made, of, name) = (id.clone(), by.clone(), asked.name.clone());
    let decide = move |_: Option<&EntryView>, now| {
        let token = ServiceToken {
            id: made.as_str().into(),
            name: asked.name.clone(),
            secret: kept.clone(),
            role: asked.role,
            stores: asked.stores.clone(),
            expires_at: asked.expires_at,
            created_at: now,
            created_by: of.clone(),
        };
        Ok::<_, Problem>((EventKind::TokenCreated, Some(Entry::Token(token.into()))))
    };
    let outcome = inventory.change_entry(write, decide).await?;
    let is_new = outcome.replayed.is_none();
    if is_new {
        tracing::info!(
            token = id,
            name = name.as_str(),
            by = by.as_str(),
            "a service token was made"
        );
    }
    let about = outcome.event.entries.first().and_then(change_form);
    let about = about.ok_or_else(|| Problem::internal(&"the event of a service token has none"))?;
    let token = is_new.then(|| shown.expose());
    Ok(forms::response(&outcome).json(NewTokenForm { about, token }))
}

/// `DELETE /api/tokens/{tokenId}`
pub async fn revoke(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let id = id_of(&request)?;
    let bytes = write::read(&request, payload).await?;
    let asked = DeleteBody::parse(&request, &bytes)?;
    let expected = asked.expected(&request)?;
    let (may, by) = (caller.may(Right::Administer), caller.origin.by.clone());
    let key = EntryKey::Token(id.as_str().into());
    let write = entries::write(&request, &bytes, asked.idempotency_key.as_deref(), caller, key)?;
    may?;
    let revoked = id.clone();
    let decide = move |found: Option<&EntryView>, _| {
        entries::found(found, &expected, &|| told(&revoked))?;
        Ok::<_, Problem>((EventKind::TokenRevoked, None))
    };
    let outcome = state.inventory()?.change_entry(write, decide).await?;
    if outcome.replayed.is_none() {
        tracing::info!(token = id, by = by.as_str(), "a service token was revoked");
    }
    Ok(forms::written(&outcome, false))
}

/// The service token that an event has made.
fn change_form(change: &EntryChange) -> Option<TokenForm<'_>> {
    match &change.entry {
        Some(Entry::Token(token)) => Some(form(token, change.version)),
        _ => None,
    }
}

/// Ours are UUIDs; whatever else is asked for is not there.
fn id_of(request: &HttpRequest) -> Result<String, Problem> {
    Ok(path::segment(request, 3, "tokenId")?.into_owned())
}

fn told(id: &str) -> String {
    format!("service token {:?}", super::problem::shorten(id))
}

/// Where a service token is.
pub fn url(id: &str) -> String {
    format!("/api/tokens/{}", path::encoded(id))
}
