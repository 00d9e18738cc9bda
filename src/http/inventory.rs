//! Levels: the stock of one SKU in one store.

use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, LINK};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use validator::{Validate, ValidationError};

use super::caller::Caller;
use super::path::{LevelPath, StorePath};
use super::problem::{Code, Problem};
use super::query::Query;
use super::{State, answers, body, cursor, idempotency, precondition};
use crate::actors::{Options, new_id};
use crate::domain::command::{ReorderPoint, Reserve, Set};
use crate::domain::{Action, MAX_QUANTITY, Movement, Request, ReservationId, Resource, Sku};

type Answer = Result<HttpResponse, Problem>;

/// `GET …/inventory/{sku}`
pub async fn get(state: Data<State>, request: HttpRequest, path: LevelPath) -> Answer {
    Query::none(&request)?;
    let level = state.inventory()?.level(&path.sku, &path.store_id).await?;
    let level = level.ok_or_else(|| not_found(&path))?;
    let etag = (ETAG, precondition::etag(level.version));
    if precondition::has_current(&request, level.version)? {
        return Ok(HttpResponse::build(StatusCode::NOT_MODIFIED)
            .insert_header(etag)
            .finish());
    }
    Ok(HttpResponse::Ok()
        .insert_header(etag)
        .json(answers::level(&path.sku, &path.store_id, &level)))
}

/// `GET …/stores/{storeId}/inventory`
pub async fn list(state: Data<State>, request: HttpRequest, StorePath(store): StorePath) -> Answer {
    let query = Query::of(&request, &["limit", "after"])?;
    let limit = query.limit()?;
    let name = ["levels", store.as_str()];
    let after = query
        .get("after")
        .map(|after| cursor::decode(&name, after))
        .transpose()?;
    let after = after
        .map(|sku| Sku::parse(&sku).map_err(|error| Problem::invalid("after", error)))
        .transpose()?;
    let mut levels = state.inventory()?.levels_in(&store, after.as_ref(), limit + 1).await?;
    let has_more = levels.len() > limit;
    levels.truncate(limit);
    let next = levels
        .last()
        .filter(|_| has_more)
        .map(|(sku, _)| cursor::encode(&name, sku.as_str()));
    let items = levels
        .iter()
        .map(|(sku, level)| answers::level(sku, &store, level))
        .collect();
    let mut response = HttpResponse::Ok();
    if let Some(next) = &next {
        let path = request.uri().path();
        response.insert_header((LINK, format!("<{path}?limit={limit}&after={next}>; rel=\"next\"")));
    }
    Ok(response.json(Page { items, next }))
}

#[derive(Serialize)]
struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

#[derive(Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetBody {
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    quantity: u64,
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be null or from 0 to 9007199254740991"))]
    reorder_point: Option<Option<u64>>,
    #[serde(default, deserialize_with = "present")]
    #[validate(length(max = 1000, message = "must have at most 1000 characters"))]
    note: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    expected_version: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    idempotency_key: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// `PUT …/inventory/{sku}`
pub async fn set(state: Data<State>, request: HttpRequest, path: LevelPath, payload: Payload) -> Answer {
    write(state, request, path, payload, |body: SetBody| {
        let reorder_point = match body.reorder_point {
            None => ReorderPoint::Keep,
            Some(None) => ReorderPoint::Clear,
            Some(Some(point)) => ReorderPoint::At(point),
        };
        let options = Options {
            dry_run: body.dry_run,
            ..Options::default()
        };
        let action = Action::Set(Set {
            quantity: body.quantity,
            reorder_point,
            note: body.note,
            ..Set::default()
        });
        Ok(Parsed {
            action,
            options,
            version: body.expected_version,
            key: body.idempotency_key,
        })
    })
    .await
}

#[derive(Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AdjustBody {
    #[validate(custom(function = delta))]
    delta: i64,
    #[serde(rename = "type", default, deserialize_with = "present")]
    movement: Option<AdjustType>,
    #[serde(default, deserialize_with = "present")]
    #[validate(length(max = 1000, message = "must have at most 1000 characters"))]
    note: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    expected_version: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    idempotency_key: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// Read by way of a string, as serde would take `{"SALE": null}` for the word too.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
enum AdjustType {
    StockIn,
    Return,
    Sale,
    ManualRemove,
}

impl TryFrom<String> for AdjustType {
    type Error = &'static str;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        match word.as_str() {
            "STOCK_IN" => Ok(Self::StockIn),
            "RETURN" => Ok(Self::Return),
            "SALE" => Ok(Self::Sale),
            "MANUAL_REMOVE" => Ok(Self::ManualRemove),
            _ => Err("it must be STOCK_IN, RETURN, SALE or MANUAL_REMOVE"),
        }
    }
}

impl AdjustType {
    /// The movement, if the sign of the change fits it.
    fn movement(self, delta: i64) -> Option<Movement> {
        match (self, delta > 0) {
            (Self::StockIn, true) => Some(Movement::StockIn),
            (Self::Return, true) => Some(Movement::Return),
            (Self::Sale, false) => Some(Movement::Sale),
            (Self::ManualRemove, false) => Some(Movement::ManualRemove),
            _ => None,
        }
    }
}

/// `POST …/inventory/{sku}/adjust`
pub async fn adjust(state: Data<State>, request: HttpRequest, path: LevelPath, payload: Payload) -> Answer {
    write(state, request, path, payload, |body: AdjustBody| {
        let default = if body.delta > 0 {
            AdjustType::StockIn
        } else {
            AdjustType::ManualRemove
        };
        let movement = body.movement.unwrap_or(default).movement(body.delta);
        let sign = "STOCK_IN and RETURN go with a positive delta, SALE and MANUAL_REMOVE with a negative one";
        let movement = movement.ok_or_else(|| Problem::invalid("type", sign))?;
        let options = Options {
            dry_run: body.dry_run,
            ..Options::default()
        };
        let action = Action::Adjust {
            delta: body.delta,
            movement,
            note: body.note,
        };
        Ok(Parsed {
            action,
            options,
            version: body.expected_version,
            key: body.idempotency_key,
        })
    })
    .await
}

#[derive(Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReserveBody {
    #[serde(alias = "qty")]
    #[validate(range(min = 1, max = MAX_QUANTITY, message = "must be from 1 to 9007199254740991"))]
    quantity: u64,
    #[serde(default, deserialize_with = "present")]
    #[validate(range(min = 1, max = 2_592_000, message = "must be from 1 to 2592000"))]
    ttl_seconds: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    reservation_id: Option<ReservationId>,
    #[serde(default, deserialize_with = "present")]
    #[validate(length(min = 1, max = 255, message = "must have 1 to 255 characters"))]
    reference: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[validate(range(max = MAX_QUANTITY, message = "must be from 0 to 9007199254740991"))]
    expected_version: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    idempotency_key: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// `POST …/inventory/{sku}/reserve`
pub async fn reserve(state: Data<State>, request: HttpRequest, path: LevelPath, payload: Payload) -> Answer {
    write(state, request, path, payload, |body: ReserveBody| {
        let chose_reservation = body.reservation_id.is_some();
        let reserve = Reserve {
            quantity: body.quantity,
            reservation_id: body.reservation_id.unwrap_or_else(|| new_id().into()),
            is_taken: false,
            ttl_seconds: body.ttl_seconds,
            reference: body.reference,
        };
        let options = Options {
            dry_run: body.dry_run,
            chose_reservation,
            ..Options::default()
        };
        let action = Action::Reserve(reserve);
        Ok(Parsed {
            action,
            options,
            version: body.expected_version,
            key: body.idempotency_key,
        })
    })
    .await
}

#[derive(Deserialize, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReleaseBody {
    #[serde(default, deserialize_with = "present")]
    reservation_id: Option<ReservationId>,
    #[serde(default, deserialize_with = "present")]
    #[validate(range(min = 1, max = MAX_QUANTITY, message = "must be from 1 to 9007199254740991"))]
    quantity: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    idempotency_key: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// `POST …/inventory/{sku}/release`
pub async fn release(state: Data<State>, request: HttpRequest, path: LevelPath, payload: Payload) -> Answer {
    write(state, request, path, payload, |body: ReleaseBody| {
        let action = match (body.reservation_id, body.quantity) {
            (Some(reservation_id), None) => Action::ReleaseReservation { reservation_id },
            (None, Some(quantity)) => Action::ReleaseQuantity { quantity },
            _ => {
                return Err(Problem::invalid(
                    "reservationId",
                    "give either reservationId or quantity",
                ));
            }
        };
        let options = Options {
            dry_run: body.dry_run,
            ..Options::default()
        };
        Ok(Parsed {
            action,
            options,
            version: None,
            key: body.idempotency_key,
        })
    })
    .await
}

/// A body, as a command on a level.
struct Parsed {
    action: Action,
    options: Options,
    version: Option<u64>,
    key: Option<String>,
}

/// The way of every write of one level.
async fn write<T: DeserializeOwned + Validate>(
    state: Data<State>,
    request: HttpRequest,
    path: LevelPath,
    payload: Payload,
    parse: impl FnOnce(T) -> Result<Parsed, Problem>,
) -> Answer {
    Query::none(&request)?;
    let bytes = body::read(&request, &mut payload.into_inner()).await?;
    let Caller(origin) = Caller::of(&request);
    let Parsed {
        action,
        options,
        version,
        key,
    } = parse(body::parse(&request, &bytes)?)?;
    let keyed = idempotency::keyed(&request, &bytes, key.as_deref(), &origin.by)?;
    let expected = precondition::expected(&request, version)?;
    let LevelPath { sku, store_id } = path;
    let command = Request {
        sku,
        store_id,
        action,
        resource: Resource::Level,
        expected,
        origin,
    };
    let outcome = state
        .inventory()?
        .execute(command, Options { keyed, ..options })
        .await?;
    Ok(answers::written(&outcome))
}

fn not_found(path: &LevelPath) -> Problem {
    Problem::new(Code::NotFound, format!("There is no {path}."))
        .with("sku", path.sku.as_str())
        .with("storeId", path.store_id.as_str())
}

/// A member may be left out, but null is no value for it: a client that has lost its `expectedVersion`
/// must not write blindly.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn delta(delta: i64) -> Result<(), ValidationError> {
    if delta != 0 && delta.unsigned_abs() <= MAX_QUANTITY {
        return Ok(());
    }
    let message = "must be from -9007199254740991 to 9007199254740991, and not 0";
    Err(ValidationError::new("range").with_message(message.into()))
}
