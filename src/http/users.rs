//! Users: who may log in, and what they may do then. The admins' own.

use actix_web::HttpRequest;
use actix_web::web::{Data, Payload};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::bodies::present;
use super::caller::Caller;
use super::csv::Listed;
use super::entries::{self, DeleteBody, Hidden};
use super::format::FORMAT;
use super::idempotency::KEY_PATTERN;
use super::lists::{AFTER, LIMIT, Page};
use super::problem::{Code, Problem};
use super::query::{Parameter, Query};
use super::routes::Right;
use super::write::{self, Answer};
use super::{State, body, cursor, forms, path, precondition};
use crate::actors::entries::EntryWrite;
use crate::actors::{ExecuteError, Outcome};
use crate::credentials::password::{self, MAX_BYTES, MIN_CHARS};
use crate::domain::account::{AccountName, InvalidStores, Role, StoresChange, User, UserChange};
use crate::domain::{Entry, EntryKey, EventKind, Expected, MAX_QUANTITY, StoreId, Timestamp};
use crate::journal::{EntryKind, EntryView};

/// Somebody who logs in with a password.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "User")]
pub struct UserForm<'a> {
    username: &'a AccountName,
    role: Role,
    /// The stores to which it is narrowed; null where it works in all of them.
    stores: Option<&'a [StoreId]>,
    /// Cannot log in, and its tokens are worth nothing.
    disabled: bool,
    /// Rises by one with every change of the user.
    version: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Listed for UserForm<'_> {
    const NAME: &'static str = "users";
    const COLUMNS: &'static [&'static str] = &[
        "username",
        "role",
        "stores",
        "disabled",
        "version",
        "createdAt",
        "updatedAt",
    ];
}

/// What is to be changed of a user; what is left out stays as it is.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UserBody {
    #[serde(default, deserialize_with = "present")]
    pub role: Option<Role>,
    /// 1 to 1000 stores; null for all of them. A clerk must have a list, an operator or admin has none.
    #[serde(default, deserialize_with = "present")]
    #[schemars(extend("x-nullable" = true))]
    pub stores: Option<Option<Vec<StoreId>>>,
    /// Whether it is kept from logging in.
    #[serde(default, deserialize_with = "present")]
    pub disabled: Option<bool>,
    /// A new password: tokens that were given before it end.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>", length(min = MIN_CHARS, max = MAX_BYTES))]
    pub password: Option<Hidden>,
    /// The version that is to be changed.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    pub expected_version: Option<u64>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

impl UserBody {
    fn check(&self) -> Result<(), Problem> {
        if let Some(password) = &self.password {
            check_password(password)?;
        }
        // What goes with the role that the user has already, only the user tells.
        match (self.role, &self.stores) {
            (Some(role), Some(stores)) => check_stores(role, stores.as_deref()),
            (None, Some(Some(stores))) => check_stores(Role::Viewer, Some(stores)),
            _ => Ok(()),
        }
    }
}

pub fn check_password(password: &Hidden) -> Result<(), Problem> {
    password::check(password.expose()).map_err(|fault| Problem::invalid("password", fault))
}

pub fn check_stores(role: Role, stores: Option<&[StoreId]>) -> Result<(), Problem> {
    crate::domain::account::check_stores(role, stores).map_err(of_stores)
}

pub fn of_stores(fault: InvalidStores) -> Problem {
    Problem::invalid("stores", fault)
}

pub fn form(user: &User, version: u64) -> UserForm<'_> {
    UserForm {
        username: &user.username,
        role: user.role,
        stores: user.stores.as_deref(),
        disabled: user.disabled,
        version,
        created_at: user.created_at,
        updated_at: user.updated_at,
    }
}

pub const LIST: &[Parameter] = &[LIMIT, AFTER, FORMAT];

/// `GET /api/users`
pub async fn list(state: Data<State>, request: HttpRequest, caller: Caller) -> Answer {
    let query = Query::of(&request, LIST)?;
    let limit = query.limit()?;
    let after = query
        .get(AFTER.name)
        .map(|after| cursor::decode(&["users"], after))
        .transpose()?;
    let parse = |name: String| AccountName::parse(&name).map_err(|error| Problem::invalid(AFTER.name, error));
    let after = after.map(parse).transpose()?.map(EntryKey::User);
    caller.may(Right::Administer)?;
    let journal = state.inventory()?.journal();
    let found = journal.entries(EntryKind::User, after.as_ref(), limit + 1).await?;
    let users = found
        .into_iter()
        .filter_map(|(_, view)| Some((view.entry.as_user()?.clone(), view.version)));
    let page = Page::of(users.collect(), limit, &["users"], |(user, _)| {
        user.username.to_string()
    });
    page.answer(&request, &query, |(user, version)| form(user, *version))
}

/// `GET /api/users/{username}`
pub async fn get(state: Data<State>, request: HttpRequest, caller: Caller) -> Answer {
    Query::none(&request)?;
    let name = name_of(&request)?;
    caller.may(Right::Administer)?;
    let found = state
        .inventory()?
        .journal()
        .entry(&EntryKey::User(name.clone()))
        .await?;
    let user = found
        .as_ref()
        .and_then(|view| Some((view.entry.as_user()?, view.version)));
    let (user, version) = user.ok_or_else(|| entries::not_found(&told(&name)))?;
    precondition::show(&request, version, form(user, version))
}

/// `PUT /api/users/{username}`
pub async fn change(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let name = name_of(&request)?;
    let bytes = write::read(&request, payload).await?;
    let asked: UserBody = body::parse(&request, &bytes)?;
    asked.check()?;
    let expected = precondition::expected(&request, asked.expected_version)?;
    let key = EntryKey::User(name.clone());
    let may = caller.may(Right::Administer);
    let write = entries::write(&request, &bytes, asked.idempotency_key.as_deref(), caller, key)?;
    may?;
    let password = asked.password.map(|password| password.secret());
    let hash = match &password {
        Some(password) => Some(state.hasher.hash(password.clone()).await?),
        None => None,
    };
    let change = UserChange {
        role: asked.role,
        stores: match asked.stores {
            None => StoresChange::Keep,
            Some(None) => StoresChange::All,
            Some(Some(stores)) => StoresChange::These(stores),
        },
        disabled: asked.disabled,
        password: hash,
    };
    let decide = move |user: &User, now| {
        let changed = user.changed(&change, now).map_err(of_stores)?;
        Ok((EventKind::UserUpdated, Some(changed)))
    };
    let outcome = alter(&state, write, &name, expected, decide).await?;
    if let Some(password) = password {
        state.check_replay(&outcome, password).await?;
    }
    Ok(forms::written(&outcome, write::wants_minimal(&request)))
}

/// `DELETE /api/users/{username}`
pub async fn delete(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let name = name_of(&request)?;
    let bytes = write::read(&request, payload).await?;
    let asked = DeleteBody::parse(&request, &bytes)?;
    let expected = asked.expected(&request)?;
    let key = EntryKey::User(name.clone());
    let may = caller.may(Right::Administer);
    let write = entries::write(&request, &bytes, asked.idempotency_key.as_deref(), caller, key)?;
    may?;
    let decide = |_: &User, _| Ok((EventKind::UserDeleted, None));
    let outcome = alter(&state, write, &name, expected, decide).await?;
    Ok(forms::written(&outcome, false))
}

/// Changes a user that is there, but never so that nobody is left who can change users.
async fn alter(
    state: &State,
    write: EntryWrite,
    name: &AccountName,
    expected: Expected,
    decide: impl Fn(&User, Timestamp) -> Result<(EventKind, Option<User>), Problem> + 'static,
) -> Result<Outcome, Problem> {
    let (by, of) = (write.origin.by.clone(), name.clone());
    let decide = move |found: Option<&EntryView>, has_other: bool, now| {
        let found = entries::found(found, &expected, &|| told(&of))?;
        let user = found.entry.as_user().ok_or_else(|| entries::not_found(&told(&of)))?;
        let (kind, after) = decide(user, now)?;
        if user.was_last_admin(after.as_ref(), has_other) {
            return Err(last_admin(&of));
        }
        Ok::<_, Problem>((kind, after.map(|user| Entry::User(user.into()))))
    };
    let outcome = state
        .inventory()?
        .change_entry_beside(write, Some(Entry::governs), decide)
        .await?;
    if outcome.replayed.is_none() {
        tracing::info!(user = name.as_str(), by = by.as_str(), kind = ?outcome.event.kind, "a user was changed");
    }
    Ok(outcome)
}

fn last_admin(name: &AccountName) -> Problem {
    let detail = format!("{name:?} is the last admin that can log in: make another one first.");
    Problem::new(Code::InUse, detail)
}

impl State {
    /// Refuses a repeat that gives another password than the first request under its key, whose fingerprint leaves
    /// passwords out.
    pub(super) async fn check_replay(
        &self,
        outcome: &Outcome,
        password: crate::credentials::Secret,
    ) -> Result<(), Problem> {
        let first = outcome.event.entries.first().and_then(|change| change.entry.as_ref());
        let (Some(Entry::User(user)), Some(_)) = (first, outcome.replayed) else {
            return Ok(());
        };
        match self.hasher.verify(password, Some(user.password.clone())).await? {
            true => Ok(()),
            false => Err(ExecuteError::KeyReused.into()),
        }
    }
}

fn name_of(request: &HttpRequest) -> Result<AccountName, Problem> {
    let text = path::segment(request, 3, "username")?;
    AccountName::parse(&text).map_err(|error| Problem::invalid("username", error))
}

fn told(name: &AccountName) -> String {
    format!("user {name:?}")
}

/// Where a user is.
pub fn url(name: &AccountName) -> String {
    format!("/api/users/{}", path::encoded(name.as_str()))
}
