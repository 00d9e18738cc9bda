//! Reservations: carts over any SKUs and stores, and what becomes of them.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Deserialize;
use validator::Validate;

use super::bodies::{Object, present};
use super::caller::{Caller, Sight};
use super::format::FORMAT;
use super::idempotency::KEY_PATTERN;
use super::lists::{AFTER, LIMIT, Page};
use super::problem::{Code, Problem};
use super::query::{Kind, Parameter, Query};
use super::write::{self, Answer};
use super::{State, body, cursor, forms, idempotency, path};
use crate::actors::joint::Ask;
use crate::actors::{Inventory, new_id};
use crate::domain::joint::{Cart, CartLine};
use crate::domain::{MAX_QUANTITY, ReservationId, ReservationStatus, Resource, Scope, Sku, StoreId};
use crate::journal::{FoundReservations, ReservationFilter, ReservationPlace};

/// The most lines that a reservation may have.
pub const MAX_LINES: usize = 2000;

/// A reservation over any SKUs and stores: all of it, or nothing.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CartBody {
    /// What is to be held. Lines of the same SKU and store are added up first.
    #[serde(deserialize_with = "lines")]
    #[validate(nested)]
    #[schemars(length(min = 1, max = MAX_LINES))]
    pub lines: Vec<LineBody>,
    /// The hold ends by itself after so many seconds; without it, it lasts until it is committed or released.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(min = 1, max = 2_592_000, message = "must be from 1 to 2592000"))]
    pub ttl_seconds: Option<u64>,
    /// An id of your own; without it the service makes one.
    #[serde(default, deserialize_with = "present")]
    pub reservation_id: Option<ReservationId>,
    /// Yours to find it by: an order, a cart.
    #[serde(default, deserialize_with = "present")]
    #[validate(length(min = 1, max = 255, message = "must have 1 to 255 characters"))]
    pub reference: Option<String>,
    /// Your own reservation that is given back in the same step: its stock is there for the new lines.
    #[serde(default, deserialize_with = "present")]
    pub replaces: Option<ReservationId>,
    /// Holds what there is, where there is less than what is asked.
    #[serde(default)]
    pub allow_partial: bool,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
    /// Decides and answers, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ReservationLineBody")]
pub struct LineBody {
    pub sku: Sku,
    pub store_id: StoreId,
    /// How much, in whole units. `qty` is taken as well.
    #[serde(alias = "qty")]
    #[validate(range(min = 1, max = MAX_QUANTITY, message = "must be from 1 to 9007199254740991"))]
    pub quantity: u64,
}

/// Sells or gives back what a reservation holds.
#[derive(Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolveBody {
    /// A part of what is held; without it all of it.
    #[serde(default, deserialize_with = "some_lines")]
    #[validate(nested)]
    #[schemars(length(min = 1, max = MAX_LINES))]
    pub lines: Option<Vec<LineBody>>,
    /// Why, for those who read the log.
    #[serde(default, deserialize_with = "present")]
    #[validate(length(max = 1000, message = "must have at most 1000 characters"))]
    pub note: Option<String>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
    /// Decides and answers, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Sets when a reservation is over.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtendBody {
    /// It is over so many seconds from now.
    #[validate(range(min = 1, max = 2_592_000, message = "must be from 1 to 2592000"))]
    pub ttl_seconds: u64,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
    /// Decides and answers, and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Each an object: serde would read a line from an array of its values too.
fn lines<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<LineBody>, D::Error> {
    let lines: Vec<Object<LineBody>> = Vec::deserialize(deserializer)?;
    Ok(lines.into_iter().map(|Object(line)| line).collect())
}

fn some_lines<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<LineBody>>, D::Error> {
    lines(deserializer).map(Some)
}

impl From<LineBody> for CartLine {
    fn from(line: LineBody) -> Self {
        Self {
            sku: line.sku,
            store_id: line.store_id,
            quantity: line.quantity,
        }
    }
}

fn cart_lines(lines: Vec<LineBody>) -> Result<Vec<CartLine>, Problem> {
    let count = lines.len();
    if !(1..=MAX_LINES).contains(&count) {
        let fault = format!("it must have 1 to {MAX_LINES} lines, not {count}");
        return Err(Problem::invalid("lines", fault));
    }
    // Lines of the same level are added up, and what comes of that is answered.
    let sum = lines.iter().fold(0, |sum: u64, line| sum.saturating_add(line.quantity));
    if sum > MAX_QUANTITY {
        let fault = format!("their quantities must not add up to more than {MAX_QUANTITY}");
        return Err(Problem::invalid("lines", fault));
    }
    Ok(lines.into_iter().map(CartLine::from).collect())
}

impl CartBody {
    fn asks(self) -> Result<Ask, Problem> {
        let is_chosen = self.reservation_id.is_some();
        Ok(Ask::Reserve {
            cart: Cart {
                reservation_id: self.reservation_id.unwrap_or_else(|| new_id().into()),
                is_taken: false,
                over_quota: None,
                lines: cart_lines(self.lines)?,
                ttl_seconds: self.ttl_seconds,
                reference: self.reference,
                replaces: None,
                allow_partial: self.allow_partial,
            },
            is_chosen,
            replaces: self.replaces,
        })
    }
}

/// `POST /api/reservations`
pub async fn create(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    let cart: CartBody = body::parse(&request, &bytes)?;
    let (key, dry_run) = (cart.idempotency_key.clone(), cart.dry_run);
    run(&state, &request, &bytes, key, dry_run, cart.asks()?).await
}

/// `POST /api/reservations/{id}/commit`
pub async fn commit(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    resolve(state, request, payload, |id, part, note| Ask::Commit { id, part, note }).await
}

/// `POST /api/reservations/{id}/release`
pub async fn release(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    resolve(state, request, payload, |id, part, note| Ask::Release {
        id,
        part,
        note,
    })
    .await
}

async fn resolve(
    state: Data<State>,
    request: HttpRequest,
    payload: Payload,
    ask: fn(ReservationId, Option<Vec<CartLine>>, Option<String>) -> Ask,
) -> Answer {
    let id = id_of(&request)?;
    let bytes = write::read(&request, payload).await?;
    // Whoever asks for nothing but the thing itself need not say so in JSON.
    let body: ResolveBody = body::parse_optional(&request, &bytes)?;
    let part = body.lines.map(cart_lines).transpose()?;
    let ask = ask(id, part, body.note);
    run(&state, &request, &bytes, body.idempotency_key, body.dry_run, ask).await
}

/// `POST /api/reservations/{id}/extend`
pub async fn extend(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let id = id_of(&request)?;
    let bytes = write::read(&request, payload).await?;
    let body: ExtendBody = body::parse(&request, &bytes)?;
    let ask = Ask::Extend {
        id,
        ttl_seconds: body.ttl_seconds,
    };
    run(&state, &request, &bytes, body.idempotency_key, body.dry_run, ask).await
}

async fn run(
    state: &State,
    request: &HttpRequest,
    bytes: &[u8],
    key: Option<String>,
    dry_run: bool,
    ask: Ask,
) -> Answer {
    write::refuse_preconditions(request)?;
    let caller = Caller::of(request);
    let status = forms::status(Resource::Level);
    let keyed = idempotency::keyed(request, bytes, key.as_deref(), &caller.origin.by, status)?;
    let inventory = state.inventory()?;
    check_rights(&caller, inventory, &ask).await?;
    let outcome = inventory.execute_joint(ask, caller.origin, keyed, dry_run).await?;
    Ok(forms::written(&outcome, write::wants_minimal(request)))
}

/// Refused where it touches a store in which the caller may not move stock, in lines of its own or in those of the
/// reservation that it names.
async fn check_rights(caller: &Caller, inventory: &Inventory, ask: &Ask) -> Result<(), Problem> {
    if caller.rights.moves_everywhere() {
        return Ok(());
    }
    caller.may_move_somewhere()?;
    let (lines, named): (&[CartLine], _) = match ask {
        Ask::Reserve { cart, replaces, .. } => (&cart.lines, replaces.as_ref()),
        Ask::Commit { id, part, .. } | Ask::Release { id, part, .. } => (part.as_deref().unwrap_or_default(), Some(id)),
        Ask::Extend { id, .. } => (&[], Some(id)),
        Ask::Batch(_) | Ask::Push(_) => (&[], None),
    };
    caller.may_move_in(lines.iter().map(|line| &line.store_id))?;
    let Some(id) = named else { return Ok(()) };
    let found = inventory.journal().reservation(id).await?;
    let is_theirs = found.is_some_and(|found| found.lines.iter().all(|line| caller.rights.moves(&line.store_id)));
    if is_theirs {
        return Ok(());
    }
    // Whether there is one that is another's, is not theirs to know.
    let detail = format!("There is no reservation {id:?} all of whose lines lie in your stores.");
    Err(Problem::new(Code::Forbidden, detail).with("reservationId", id.as_str()))
}

fn id_of(request: &HttpRequest) -> Result<ReservationId, Problem> {
    let text = path::segment(request, 3, "reservationId")?;
    ReservationId::parse(&text).map_err(|error| Problem::invalid("reservationId", error))
}

/// `GET /api/reservations/{id}`
pub async fn get(state: Data<State>, request: HttpRequest, sight: Sight) -> Answer {
    Query::none(&request)?;
    let id = id_of(&request)?;
    let reservation = state.inventory()?.reservation(&id).await?;
    let reservation = reservation.filter(|reservation| reservation.is_within(sight.scope()));
    let reservation = reservation.ok_or_else(|| {
        Problem::new(Code::NotFound, format!("There is no reservation {id:?}.")).with("reservationId", id.as_str())
    })?;
    Ok(HttpResponse::Ok().json(forms::reservation(&reservation)))
}

pub const LIST: &[Parameter] = &[
    Parameter {
        name: "status",
        about: "Only those that stand so: active, committed, released or expired.",
        kind: Kind::ReservationStatus,
    },
    Parameter {
        name: "sku",
        about: "Only those with a line in this SKU.",
        kind: Kind::Text("85123A"),
    },
    Parameter {
        name: "storeId",
        about: "Only those with a line in this store; with `sku`, the same line.",
        kind: Kind::Text("london"),
    },
    Parameter {
        name: "reference",
        about: "Only those with this reference.",
        kind: Kind::Text("cart-7"),
    },
    LIMIT,
    AFTER,
    FORMAT,
];

/// `GET /api/reservations`
pub async fn list(state: Data<State>, request: HttpRequest, sight: Sight) -> Answer {
    let query = Query::of(&request, LIST)?;
    let limit = query.limit()?;
    let filter = ReservationFilter {
        status: query.reservation_status("status")?,
        sku: query.id("sku", Sku::parse)?,
        store: query.id("storeId", StoreId::parse)?,
        reference: query.get("reference").map(str::to_owned),
        scope: sight.scope().clone(),
        ..ReservationFilter::default()
    };
    let name = name(&filter);
    let name: Vec<&str> = name.iter().map(String::as_str).collect();
    let after = query.get(AFTER.name).map(|after| place(&name, after)).transpose()?;
    sight.check(filter.store.as_ref())?;
    let found = state.inventory()?.reservations(filter, after, limit).await?;
    let next = resume(&found, sight.scope());
    let page = Page {
        next: next.map(|place| cursor::encode(&name, &place)),
        rows: found.reservations,
    };
    page.answer(&request, &query, |(_, reservation)| forms::reservation(reservation))
}

/// The list with its filters, for its cursors.
fn name(filter: &ReservationFilter) -> [String; 5] {
    [
        "reservations".to_owned(),
        filter
            .status
            .map(ReservationStatus::as_str)
            .unwrap_or_default()
            .to_owned(),
        filter.sku.as_ref().map(Sku::to_string).unwrap_or_default(),
        filter.store.as_ref().map(StoreId::to_string).unwrap_or_default(),
        filter.reference.clone().unwrap_or_default(),
    ]
}

/// Where the list goes on, as its cursor says it. Whoever looks into a cursor that is given to one who does not see all
/// finds no reservation there that the page has not: where the search has stopped at another, the cursor stands before all
/// that its event has made, or behind the last of them that was shown. What lies between is looked at again in vain.
fn resume(found: &FoundReservations, scope: &Scope) -> Option<String> {
    let stopped = found.resume.as_ref()?;
    let text = |seq: u64, id: &str| format!("{seq}:{id}");
    let last_shown = found.reservations.last().map(|(place, _)| place);
    Some(match last_shown.filter(|last| last.seq == stopped.seq) {
        _ if scope.is_all() => text(stopped.seq, stopped.id.as_str()),
        Some(last) => text(last.seq, last.id.as_str()),
        None => text(stopped.seq.saturating_add(1), LEAST_ID),
    })
}

/// No id comes before it.
const LEAST_ID: &str = "!";

fn place(name: &[&str], after: &str) -> Result<ReservationPlace, Problem> {
    let place = cursor::decode(name, after)?;
    let parts = place
        .split_once(':')
        .and_then(|(seq, id)| Some(ReservationPlace::new(seq.parse().ok()?, ReservationId::parse(id).ok()?)));
    parts.ok_or_else(|| Problem::invalid(AFTER.name, "it is not a cursor of this list"))
}

/// Where a reservation is.
pub fn url(id: &ReservationId) -> String {
    format!("/api/reservations/{}", path::encoded(id.as_str()))
}
