//! A store reports its counts.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inventory::{CENTRAL, LevelForm, level_form};
use super::members::{Id, Quantity};
use crate::domain::{Sku, StoreId};
use crate::http::bodies::{Object, present};
use crate::http::problem::Problem;
use crate::http::push::{self, Count};
use crate::http::write::Answer;
use crate::http::{State, body};

/// A count of one SKU in one store.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "NodeCount")]
pub struct CountBody {
    #[schemars(required, with = "Id")]
    sku: Option<Id>,
    #[schemars(required, with = "Quantity")]
    quantity: Option<Quantity>,
    /// Where: `central` where it is left out. `storeId` is taken as well.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Id")]
    store_id: Option<Id>,
    #[serde(default, deserialize_with = "present", rename = "storeId")]
    #[schemars(skip)]
    store_id_in_camel_case: Option<Id>,
}

/// The levels that a push has counted, each once.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodePushAnswer")]
pub struct ChangedForm<'a> {
    changed: Vec<LevelForm<'a>>,
}

/// `POST /sync/push`
pub async fn run(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let bytes = body::read(&request, &mut payload.into_inner()).await?;
    let counts = parse(&request, &bytes)?;
    let outcome = push::run(&state, &request, &bytes, counts).await?;
    let changed = outcome.iter().flat_map(|outcome| {
        let at = outcome.event.at;
        push::changed(outcome).map(move |change| level_form(change, at))
    });
    let mut response = HttpResponse::Ok();
    if outcome.as_ref().is_some_and(|outcome| outcome.replayed.is_some()) {
        response.insert_header(("idempotency-replayed", "true"));
    }
    Ok(response.json(ChangedForm {
        changed: changed.collect(),
    }))
}

/// Anything but an array is refused as a fault of the body, which these routes call `expect_array`.
fn parse(request: &HttpRequest, bytes: &[u8]) -> Result<Vec<Count>, Problem> {
    if !bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::invalid("body", "it must be a JSON array of counts"));
    }
    body::check_content_type(request)?;
    body::check_depth(bytes)?;
    let counts: Vec<Object<CountBody>> = body::parse_any(bytes)?;
    (0..)
        .zip(counts)
        .map(|(index, Object(count))| count.take(index))
        .collect()
}

impl CountBody {
    fn take(&self, index: usize) -> Result<Count, Problem> {
        let at = |member: &str| format!("[{index}].{member}");
        let sku = self
            .sku
            .as_ref()
            .ok_or_else(|| Problem::invalid(&at("sku"), "it is missing"))?;
        let (snake_case, camel_case) = (at("store_id"), at("storeId"));
        let store = Id::either(
            (self.store_id.as_ref(), &snake_case),
            (self.store_id_in_camel_case.as_ref(), &camel_case),
        )?;
        let central = || StoreId::parse(CENTRAL).map_err(|error| Problem::internal(&error));
        Ok(Count {
            sku: sku.take(&at("sku"), Sku::parse)?,
            store_id: store.map_or_else(central, |(store, name)| store.take(name, StoreId::parse))?,
            quantity: Quantity::take(self.quantity.as_ref(), &at("quantity"))?,
            counted_at: None,
        })
    }
}
