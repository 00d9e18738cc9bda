//! The stock of a SKU over all stores, and its counts and changes in the store that a header names.

use actix_web::http::header::ETAG;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::members::{self, Delta, Quantity, Version};
use crate::actors::Outcome;
use crate::domain::command::Set;
use crate::domain::{Action, Change, Level, Movement, Resource, Sku, StoreId, Timestamp};
use crate::http::bodies::{Asked, present};
use crate::http::caller::Caller;
use crate::http::problem::Problem;
use crate::http::write::{self, Answer, Target};
use crate::http::{State, idempotency, path, precondition};

/// Where stock is whose store nobody named.
pub const CENTRAL: &str = "central";

const STORE: &str = "X-Store-Id";

/// The stock of a SKU over all stores.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeItem")]
pub struct ItemForm<'a> {
    sku: &'a Sku,
    /// What is on hand in all stores.
    total: u64,
    per_store: Vec<StoreForm<'a>>,
}

/// What of it is in one store.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeStore")]
struct StoreForm<'a> {
    store_id: &'a StoreId,
    /// What is on hand.
    quantity: u64,
    /// Rises by one with every event.
    version: u64,
    last_updated: Timestamp,
}

/// The stock of a SKU in one store, after a write.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeLevel")]
pub struct LevelForm<'a> {
    sku: &'a Sku,
    #[serde(flatten)]
    store: StoreForm<'a>,
    /// True where nothing was changed, as asked.
    #[serde(rename = "dryRun", skip_serializing_if = "Option::is_none")]
    dry_run: Option<bool>,
}

/// A count: sets what is on hand.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NodeSetBody")]
pub struct SetBody {
    #[schemars(required, with = "Quantity")]
    quantity: Option<Quantity>,
    #[serde(flatten)]
    terms: Terms,
}

/// A change of what is on hand.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NodeAdjustBody")]
pub struct AdjustBody {
    /// What is added; below 0 it is taken, from what is available.
    #[schemars(required, with = "Delta")]
    delta: Option<Delta>,
    #[serde(flatten)]
    terms: Terms,
}

/// On what terms a write is to take effect.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// The version that is to be changed; 0 where there must be nothing yet.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Version")]
    expected_version: Option<Version>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "String", length(min = 1, max = 255), regex(pattern = idempotency::KEY_PATTERN))]
    idempotency_key: Option<Value>,
    /// Decides and answers, and changes nothing.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "bool")]
    dry_run: Option<Value>,
}

impl Terms {
    pub fn on(self, action: Action) -> Result<Asked, Problem> {
        let key = match self.idempotency_key {
            None => None,
            Some(Value::String(key)) => Some(key),
            Some(_) => return Err(Problem::invalid("idempotencyKey", "it must be a text")),
        };
        let dry_run = match self.dry_run {
            None => false,
            Some(Value::Bool(dry_run)) => dry_run,
            Some(_) => return Err(Problem::invalid("dryRun", "it must be true or false")),
        };
        Ok(Asked {
            version: self.expected_version.as_ref().map(Version::take).transpose()?,
            key,
            dry_run,
            ..Asked::new(action)
        })
    }
}

/// `GET /inventory/{sku}`
pub async fn get(state: Data<State>, request: HttpRequest, Caller { rights, .. }: Caller) -> Answer {
    let sku = sku_of(&request)?;
    let item = state.inventory()?.item(&sku).await?;
    let levels = item.iter().flat_map(|item| &item.levels);
    let seen = levels.filter(|image| rights.sees(&image.store_id));
    let per_store: Vec<StoreForm> = seen.map(|image| store_form(&image.store_id, &image.level)).collect();
    Ok(HttpResponse::Ok().json(ItemForm {
        sku: &sku,
        total: per_store.iter().map(|store| store.quantity).sum(),
        per_store,
    }))
}

/// `PUT /inventory/{sku}`
pub async fn set(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let (body, _) = members::read::<SetBody>(&request, payload).await?;
    let set = Set {
        quantity: Quantity::take(body.quantity.as_ref(), "quantity")?,
        ..Set::default()
    };
    run(&state, &request, body.terms.on(Action::Set(Box::new(set)))?).await
}

/// `POST /inventory/{sku}/adjust`
pub async fn adjust(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let (body, _) = members::read::<AdjustBody>(&request, payload).await?;
    let delta = Delta::take(body.delta.as_ref())?;
    let action = Action::Adjust {
        delta,
        movement: match delta > 0 {
            true => Movement::StockIn,
            false => Movement::ManualRemove,
        },
        note: None,
    };
    run(&state, &request, body.terms.on(action)?).await
}

/// A key stands for the route and the store, whatever the body says: that is how those services remembered it.
async fn run(state: &State, request: &HttpRequest, asked: Asked) -> Answer {
    let target = Target {
        sku: sku_of(request)?,
        store_id: store_of(request)?,
        resource: Resource::Level,
    };
    let bound = target.store_id.clone();
    let outcome = write::carry_out(state, request, bound.as_str().as_bytes(), target, asked, |_| 200).await?;
    written(&outcome)
}

fn written(outcome: &Outcome) -> Answer {
    let change = touched(outcome)?;
    let mut response = HttpResponse::Ok();
    if outcome.seq.is_some() {
        response.insert_header((ETAG, precondition::etag(change.version)));
    }
    if outcome.replayed.is_some() {
        response.insert_header(("idempotency-replayed", "true"));
    }
    Ok(response.json(LevelForm {
        dry_run: outcome.seq.is_none().then_some(true),
        ..level_form(change, outcome.event.at)
    }))
}

/// The one level that a single write has changed.
pub fn touched(outcome: &Outcome) -> Result<&Change, Problem> {
    let change = outcome.event.changes.first();
    change.ok_or_else(|| Problem::internal(&"a write of a level changed none"))
}

pub fn level_form(change: &Change, at: Timestamp) -> LevelForm<'_> {
    LevelForm {
        sku: &change.sku,
        store: store_form(&change.store_id, &change.level(at)),
        dry_run: None,
    }
}

fn store_form<'a>(store_id: &'a StoreId, level: &Level) -> StoreForm<'a> {
    StoreForm {
        store_id,
        quantity: level.quantity,
        version: level.version,
        last_updated: level.updated_at,
    }
}

fn sku_of(request: &HttpRequest) -> Result<Sku, Problem> {
    path::id(request, 2, "sku", Sku::parse)
}

fn store_of(request: &HttpRequest) -> Result<StoreId, Problem> {
    let mut headers = request.headers().get_all(STORE);
    let name = match headers.next() {
        None => CENTRAL.to_owned(),
        // UTF-8, or Latin-1 as Node sends it.
        Some(value) => String::from_utf8(value.as_bytes().to_vec())
            .unwrap_or_else(|not_utf_8| not_utf_8.as_bytes().iter().copied().map(char::from).collect()),
    };
    if headers.next().is_some() {
        return Err(Problem::invalid(STORE, "it stands there more than once"));
    }
    StoreId::parse(&name).map_err(|error| Problem::invalid(STORE, error))
}
