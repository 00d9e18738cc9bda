//! The way of every stock write: read the body, bind the key, carry it out, shape the answer.

use actix_web::http::header::{IF_MATCH, IF_NONE_MATCH};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use validator::Validate;

use super::bodies::{Asked, StockBody, present};
use super::caller::Caller;
use super::idempotency::KEY_PATTERN;
use super::problem::{Code, Problem};
use super::query::Query;
use super::routes::Right;
use super::{State, body, forms, idempotency, precondition};
use crate::actors::{Options, Outcome};
use crate::domain::{Event, Request, Resource, Scope, Sku, StoreId};

pub type Answer = Result<HttpResponse, Problem>;

/// What a write is about.
pub struct Target {
    pub sku: Sku,
    pub store_id: StoreId,
    pub resource: Resource,
}

/// What there is to say beside the path; mostly nothing.
#[derive(Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BareBody {
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

/// A write of one level, which its path names.
pub async fn level<T: StockBody + DeserializeOwned>(
    state: Data<State>,
    request: HttpRequest,
    (sku, store_id): (Sku, StoreId),
    payload: Payload,
) -> Answer {
    let bytes = read(&request, payload).await?;
    let asked = body::parse::<T>(&request, &bytes)?.asks()?;
    if asked.store_id.is_some() {
        return Err(Problem::invalid("storeId", "this route has the store in its path"));
    }
    let target = Target {
        sku,
        store_id,
        resource: Resource::Level,
    };
    run(&state, &request, &bytes, target, asked).await
}

/// A write of an item, in the store that its body names or in `default`.
pub async fn item<T: StockBody + DeserializeOwned>(
    state: Data<State>,
    request: HttpRequest,
    sku: Sku,
    payload: Payload,
) -> Answer {
    let bytes = read(&request, payload).await?;
    let mut asked = body::parse::<T>(&request, &bytes)?.asks()?;
    let target = Target {
        sku,
        store_id: asked.store_id.take().unwrap_or_else(StoreId::default_store),
        resource: Resource::Item,
    };
    run(&state, &request, &bytes, target, asked).await
}

pub async fn read(request: &HttpRequest, payload: Payload) -> Result<Bytes, Problem> {
    Query::none(request)?;
    body::read(request, &mut payload.into_inner()).await
}

/// Reads a write of which there is nothing to say but its path, and which leaves nothing in the log: who sends a key with
/// every write need make no exception of it.
pub async fn read_bare(request: &HttpRequest, payload: Payload) -> Result<(), Problem> {
    let bytes = read(request, payload).await?;
    refuse_preconditions(request)?;
    let asked: BareBody = body::parse_optional(request, &bytes)?;
    idempotency::given(request, asked.idempotency_key.as_deref())?;
    Ok(())
}

pub async fn run(state: &State, request: &HttpRequest, bytes: &[u8], target: Target, asked: Asked) -> Answer {
    let status = forms::status(target.resource);
    let outcome = carry_out(state, request, bytes, target, asked, status).await?;
    Ok(forms::written(&outcome, wants_minimal(request)))
}

/// `bound` is what a key stands for beside method, path and query: mostly the body. `status` is that of the answer.
pub async fn carry_out(
    state: &State,
    request: &HttpRequest,
    bound: &[u8],
    target: Target,
    asked: Asked,
    status: fn(&Event) -> u16,
) -> Result<Outcome, Problem> {
    let caller = Caller::of(request);
    let origin = caller.origin.clone();
    let keyed = idempotency::keyed(request, bound, asked.key.as_deref(), &origin.by, status)?;
    let expected = precondition::expected(request, asked.version)?;
    let options = Options {
        keyed,
        dry_run: asked.dry_run,
        chose_reservation: asked.chose_reservation,
    };
    let command = Request {
        sku: target.sku,
        store_id: target.store_id,
        action: asked.action,
        resource: target.resource,
        expected,
        origin,
    };
    let inventory = state.inventory()?;
    if command.counted().is_some() {
        inventory.last_day(keyed).await?.check(&command)?;
    }
    caller.may_do(&command)?;
    if command.creates_item() && inventory.is_strict() {
        // What a strict catalogue has is made by those who keep it.
        caller.may(Right::Administer)?;
    }
    let outcome = inventory.execute(command, options).await?;
    seen(outcome, caller.rights.seen())
}

/// What was done is answered as far as the caller sees it: of an item, the levels in their stores.
pub fn seen(outcome: Outcome, scope: &Scope) -> Result<Outcome, Problem> {
    let hidden = || {
        Problem::new(
            Code::Forbidden,
            "What this was answered is about stores that you do not see.",
        )
    };
    outcome.within(scope).ok_or_else(hidden)
}

/// What changes no resource that has a version must not seem to heed one.
pub fn refuse_preconditions(request: &HttpRequest) -> Result<(), Problem> {
    let given = [IF_MATCH, IF_NONE_MATCH]
        .into_iter()
        .find(|name| request.headers().contains_key(name));
    match given {
        None => Ok(()),
        Some(name) => Err(Problem::invalid(
            name.as_str(),
            "this route changes no single resource whose version it could be",
        )),
    }
}

/// `Prefer: return=minimal` (RFC 7240).
pub fn wants_minimal(request: &HttpRequest) -> bool {
    preference(request, "return").is_some_and(|value| value.eq_ignore_ascii_case("minimal"))
}

/// What `Prefer` says under this name, nothing where it is only named. Of a preference that is given more than once, the
/// first counts.
pub fn preference<'a>(request: &'a HttpRequest, asked: &str) -> Option<&'a str> {
    let given = request.headers().get_all("prefer");
    let given = given.filter_map(|value| value.to_str().ok());
    let mut values = given.flat_map(|value| value.split(',')).filter_map(|preference| {
        let preference = preference.split(';').next()?;
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        name.trim().eq_ignore_ascii_case(asked).then(|| value.trim())
    });
    let first = values.next()?;
    let unquoted = first.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    Some(unquoted.unwrap_or(first))
}
