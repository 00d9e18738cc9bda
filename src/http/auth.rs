//! Logging in, and how users come to be.

use actix_web::http::header::USER_AGENT;
use actix_web::web::{Data, Payload};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;
use validator::Validate;

use super::access::{self, Access, NO_SETUP_TOKEN, unauthenticated, unproved};
use super::bodies::present;
use super::caller::Caller;
use super::entries::{self, Hidden};
use super::idempotency::{self, KEY_PATTERN};
use super::problem::{Code, Problem, shorten};
use super::routes::Right;
use super::users::{self, check_password, check_stores};
use super::write::{self, Answer};
use super::{State, body, forms};
use crate::actors::Outcome;
use crate::actors::entries::to_its_end;
use crate::credentials::Secret;
use crate::credentials::password::{MAX_BYTES, MIN_CHARS};
use crate::domain::account::{AccountName, Role, User};
use crate::domain::{Entry, EntryKey, EventKind, StoreId, Timestamp};
use crate::journal::EntryView;

/// Who wants to log in.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoginBody {
    pub username: String,
    #[schemars(with = "String")]
    pub password: Hidden,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

/// A login.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Login")]
pub struct LoginForm<'a> {
    /// To be sent with every request: `Authorization: Bearer TOKEN`.
    token: &'a str,
    /// From then on it is worth nothing: log in again.
    expires_at: Timestamp,
    user: WhoForm<'a>,
}

/// Who has logged in.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LoggedIn")]
struct WhoForm<'a> {
    username: &'a AccountName,
    role: Role,
    /// The stores to which it is narrowed; null where it works in all of them.
    stores: Option<&'a [StoreId]>,
}

/// A user that is to be made.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegisterBody {
    pub username: AccountName,
    /// 12 characters or more.
    #[schemars(with = "String", length(min = MIN_CHARS, max = MAX_BYTES))]
    pub password: Hidden,
    /// What a first start printed to its terminal: makes the first admin, once.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>")]
    pub setup_token: Option<Hidden>,
    /// An admin's to give; a viewer where it is left out.
    #[serde(default, deserialize_with = "present")]
    pub role: Option<Role>,
    /// 1 to 1000 stores. A clerk must have a list, an operator or admin has none.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 1000))]
    pub stores: Option<Vec<StoreId>>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

impl RegisterBody {
    /// The first admin has its role from the setup token.
    fn role(&self) -> Role {
        let default = if self.setup_token.is_some() {
            Role::Admin
        } else {
            Role::Viewer
        };
        self.role.unwrap_or(default)
    }

    fn check(&self) -> Result<(), Problem> {
        check_password(&self.password)?;
        if self.setup_token.is_some() && self.role() != Role::Admin {
            return Err(Problem::invalid(
                "role",
                "must be admin, or left out, with a setupToken",
            ));
        }
        check_stores(self.role(), self.stores.as_deref())
    }
}

/// `POST /api/auth/login`
pub async fn login(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    let asked: LoginBody = body::parse(&request, &bytes)?;
    idempotency::given(&request, asked.idempotency_key.as_deref())?;
    let access = state.access()?;
    state.limiter.admit_login(&request, &asked.username)?;
    let user = find(&state, &asked.username).await?;
    let kept = user.as_ref().map(|user| user.password.clone());
    let is_right = state.hasher.verify(asked.password.secret(), kept).await?;
    let Some(user) = user.filter(|user| is_right && !user.disabled) else {
        let agent = request
            .headers()
            .get(USER_AGENT)
            .map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        let agent = shorten(agent.as_deref().unwrap_or_default());
        tracing::info!(username = shorten(&asked.username), agent, "a login was refused");
        return Err(unproved(
            "There is no user with this name and this password who may log in.",
        ));
    };
    state.limiter.note_login(&request, &asked.username);
    let signed = access.keys.sign(&user, state.inventory()?.now());
    let (token, expires_at) = signed.map_err(|error| Problem::internal(&error))?;
    tracing::info!(user = user.username.as_str(), "a user has logged in");
    Ok(HttpResponse::Ok().json(LoginForm {
        token: token.expose(),
        expires_at,
        user: WhoForm {
            username: &user.username,
            role: user.role,
            stores: user.stores.as_deref(),
        },
    }))
}

/// The user of this name, which need not be one at all: that would be told by how long the answer takes.
async fn find(state: &State, username: &str) -> Result<Option<User>, Problem> {
    let Ok(name) = AccountName::parse(username) else {
        return Ok(None);
    };
    let found = state.inventory()?.journal().entry(&EntryKey::User(name)).await?;
    Ok(found.and_then(|view| view.entry.as_user().cloned()))
}

/// `POST /api/auth/register`
pub async fn register(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let caller = registrant(&state, &request).await?;
    let bytes = write::read(&request, payload).await?;
    write::refuse_preconditions(&request)?;
    let asked: RegisterBody = body::parse(&request, &bytes)?;
    asked.check()?;
    if caller.is_none() {
        state.limiter.admit_login(&request, asked.username.as_str())?;
    }
    let setup = permit(&state, caller.as_ref(), &asked).await?;
    let caller = caller.unwrap_or_else(|| Caller::of(&request));
    let (name, by) = (asked.username.clone(), caller.origin.by.clone());
    let key = EntryKey::User(name.clone());
    let write = entries::write(&request, &bytes, asked.idempotency_key.as_deref(), caller, key)?;
    let password = state.hasher.hash(asked.password.secret()).await?;
    let (role, stores) = (asked.role(), asked.stores);
    let made = name.clone();
    let decide = move |found: Option<&EntryView>, now| {
        if found.is_some() {
            let detail = format!("There is a user {made:?} already.");
            return Err(Problem::new(Code::AlreadyExists, detail));
        }
        let user = User::new(made.clone(), password.clone(), role, stores.clone(), now);
        let user = user.map_err(users::of_stores)?;
        Ok::<_, Problem>((EventKind::UserCreated, Some(Entry::User(user.into()))))
    };
    let inventory = state.inventory()?.clone();
    let outcome = using_up(setup, async move { inventory.change_entry(write, decide).await }).await?;
    state.check_replay(&outcome, asked.password.secret()).await?;
    if outcome.replayed.is_none() {
        tracing::info!(
            user = name.as_str(),
            role = role.as_str(),
            by = by.as_str(),
            "a user was made"
        );
    }
    Ok(forms::written(&outcome, false))
}

/// Who makes the user, where it is known; everybody may do everything where nobody must log in.
async fn registrant(state: &State, request: &HttpRequest) -> Result<Option<Caller>, Problem> {
    if state.access.is_some() && !access::is_given(request.headers()) {
        return Ok(None);
    }
    if let Some(identity) = state.identify(request.headers()).await? {
        request.extensions_mut().insert(identity);
    }
    Ok(Some(Caller::of(request)))
}

type Setup = OwnedMutexGuard<Option<Secret>>;

/// Makes a user with the setup token, if it takes one: the token is gone before the user is written, and comes back only
/// where it is certain that there is no such user. That goes on when the caller goes away.
async fn using_up(
    setup: Option<Setup>,
    write: impl Future<Output = Result<Outcome, Problem>> + 'static,
) -> Result<Outcome, Problem> {
    let Some(mut setup) = setup else {
        return write.await;
    };
    to_its_end(async move {
        let token = setup.take();
        let made = write.await;
        if made.as_ref().is_err_and(is_certain) {
            *setup = token;
        }
        made
    })
    .await
}

fn is_certain(refusal: &Problem) -> bool {
    !matches!(refusal.code(), Code::OutcomeUnknown | Code::Internal)
}

/// Whether the user may be made: with the setup token, which is then held until that is done; by an admin; or by anyone,
/// as a viewer, where registration is open.
async fn permit(state: &State, caller: Option<&Caller>, asked: &RegisterBody) -> Result<Option<Setup>, Problem> {
    match (&state.access, &asked.setup_token, caller) {
        (Some(access), Some(given), _) => Ok(Some(first(state, access, given).await?)),
        (None, Some(_), _) => Err(unproved(NO_SETUP_TOKEN)),
        (_, None, Some(caller)) => caller.may(Right::Administer).map(|()| None),
        (Some(access), None, None) if access.open_registration => {
            let is_plain = asked.role() == Role::Viewer && asked.stores.is_none();
            let detail =
                "Whoever registers becomes a viewer of all stores: only an admin gives another role, or stores.";
            let refused = || Problem::new(Code::Forbidden, detail);
            is_plain.then_some(None).ok_or_else(refused)
        }
        (_, None, None) => Err(unauthenticated()),
    }
}

/// A setup token is worth nothing any more as soon as there is an admin, however that was made.
async fn first(state: &State, access: &Access, given: &Hidden) -> Result<Setup, Problem> {
    let setup = access.setup(given.expose()).await?;
    match state.inventory()?.has_admin().await? {
        true => Err(unproved(NO_SETUP_TOKEN)),
        false => Ok(setup),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::{Mutex, oneshot};

    use super::*;
    use crate::actors::ExecuteError;
    use crate::journal::JournalError;

    async fn taken(token: &Arc<Mutex<Option<Secret>>>) -> Setup {
        token.clone().lock_owned().await
    }

    fn setup_token() -> Arc<Mutex<Option<Secret>>> {
        Arc::new(Mutex::new(Some(Secret::new("token".to_owned()))))
    }

    #[test]
    fn nobody_else_has_the_setup_token_until_the_first_admin_is_made_though_its_caller_has_gone() {
        actix_web::rt::System::new().block_on(async {
            let token = setup_token();
            let setup = taken(&token).await;
            let (end, ended) = oneshot::channel::<Result<Outcome, Problem>>();
            let asked = actix_web::rt::spawn(using_up(Some(setup), async { ended.await.unwrap() }));
            tokio::time::sleep(Duration::from_millis(20)).await;
            asked.abort();
            assert!(asked.await.is_err(), "it was answered");
            assert!(token.try_lock().is_err(), "another may use it");
            end.send(Err(ExecuteError::Journal(JournalError::Unknown(String::new())).into()))
                .unwrap();
            assert!(taken(&token).await.is_none(), "there may be an admin");
        });
    }

    #[test]
    fn the_setup_token_comes_back_only_where_there_is_certainly_no_admin() {
        actix_web::rt::System::new().block_on(async {
            let unavailable = JournalError::Unavailable(String::new());
            let (unknown, damaged) = (
                JournalError::Unknown(String::new()),
                JournalError::Damaged(String::new()),
            );
            for (error, is_back) in [(unavailable, true), (unknown, false), (damaged, false)] {
                let token = setup_token();
                let setup = taken(&token).await;
                let refused = Err(ExecuteError::Journal(error.clone()).into());
                assert!(using_up(Some(setup), async { refused }).await.is_err());
                assert_eq!(taken(&token).await.is_some(), is_back, "{error:?}");
            }
        });
    }
}
