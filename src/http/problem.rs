//! The one map from our errors to status codes and `application/problem+json` (RFC 9457).

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::forms;
use crate::actors::ExecuteError;
use crate::credentials::password::HasherError;
use crate::domain::joint::{JointRefusal, LineFault, LineRefusal};
use crate::domain::{
    Reason, Refusal, RequestId, Reservation, ReservationId, ReservationStatus, Resource, StoreId, Timestamp,
};
use crate::journal::JournalError;

pub use crate::domain::text::shorten;

/// Every code that an answer may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    InvalidRequest,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    VersionMismatch,
    InsufficientStock,
    BelowReserved,
    NotReserved,
    QuantityLimit,
    AlreadyExists,
    ReservationNotActive,
    InUse,
    QuotaExceeded,
    RequestInFlight,
    PreconditionFailed,
    PayloadTooLarge,
    UnsupportedMediaType,
    MisdirectedRequest,
    IdempotencyKeyReused,
    RateLimited,
    Internal,
    Overloaded,
    StorageUnavailable,
    OutcomeUnknown,
}

impl Code {
    pub const ALL: [Self; 26] = [
        Self::InvalidRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::VersionMismatch,
        Self::InsufficientStock,
        Self::BelowReserved,
        Self::NotReserved,
        Self::QuantityLimit,
        Self::AlreadyExists,
        Self::ReservationNotActive,
        Self::InUse,
        Self::QuotaExceeded,
        Self::RequestInFlight,
        Self::PreconditionFailed,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::MisdirectedRequest,
        Self::IdempotencyKeyReused,
        Self::RateLimited,
        Self::Internal,
        Self::Overloaded,
        Self::StorageUnavailable,
        Self::OutcomeUnknown,
    ];

    /// The code, its status, and its title.
    fn row(self) -> (&'static str, u16, &'static str) {
        match self {
            Self::InvalidRequest => ("invalid_request", 400, "The request is not well-formed"),
            Self::Unauthenticated => ("unauthenticated", 401, "Nobody has said who calls"),
            Self::Forbidden => ("forbidden", 403, "The caller may not do that"),
            Self::NotFound => ("not_found", 404, "There is no such thing"),
            Self::MethodNotAllowed => ("method_not_allowed", 405, "The method does not apply here"),
            Self::RequestTimeout => ("request_timeout", 408, "The request did not arrive in time"),
            Self::VersionMismatch => ("version_mismatch", 409, "The version is another one"),
            Self::InsufficientStock => ("insufficient_stock", 409, "There is not enough stock"),
            Self::BelowReserved => ("below_reserved", 409, "More than that is reserved"),
            Self::NotReserved => ("not_reserved", 409, "That much is not reserved"),
            Self::QuantityLimit => ("quantity_limit", 409, "The quantity would pass 2^53 - 1"),
            Self::AlreadyExists => ("already_exists", 409, "It exists already"),
            Self::ReservationNotActive => ("reservation_not_active", 409, "The reservation does not hold that"),
            Self::InUse => ("in_use", 409, "It is still in use"),
            Self::QuotaExceeded => ("quota_exceeded", 409, "There may be no more of that"),
            Self::RequestInFlight => (
                "request_in_flight",
                409,
                "The first request with this key is still running",
            ),
            Self::PreconditionFailed => ("precondition_failed", 412, "The precondition does not hold"),
            Self::PayloadTooLarge => ("payload_too_large", 413, "The body is too large"),
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                415,
                "The body is of a type that is not taken here",
            ),
            Self::MisdirectedRequest => ("misdirected_request", 421, "The request is for another host"),
            Self::IdempotencyKeyReused => ("idempotency_key_reused", 422, "The key stands for another request"),
            Self::RateLimited => ("rate_limited", 429, "Too many requests in this time"),
            Self::Internal => ("internal", 500, "Something is wrong on our side"),
            Self::Overloaded => ("overloaded", 503, "Too many requests wait"),
            Self::StorageUnavailable => ("storage_unavailable", 503, "Storage cannot take the write"),
            Self::OutcomeUnknown => ("outcome_unknown", 503, "Whether it took effect is not known"),
        }
    }

    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    pub fn title(self) -> &'static str {
        self.row().2
    }

    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub fn has_retry_after(self) -> bool {
        self.status() == StatusCode::SERVICE_UNAVAILABLE || matches!(self, Self::RequestInFlight | Self::RateLimited)
    }

    /// For what the framework refuses by itself, which has a status only.
    pub fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::RequestTimeout,
            413 => Self::PayloadTooLarge,
            415 => Self::UnsupportedMediaType,
            400..=499 => Self::InvalidRequest,
            _ => Self::Internal,
        }
    }
}

/// An answer that is a refusal: a code, a sentence for a person, and what the client needs to go on.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            members: Map::new(),
            headers: Vec::new(),
        }
        .with_retry_after()
    }

    /// Something is wrong on our side: what it is, the log has.
    pub fn internal(error: &dyn fmt::Display) -> Self {
        tracing::error!(%error, "an error that nobody has mapped");
        let detail = "An error that was not foreseen; the operator's log has it.";
        Self::new(Code::Internal, detail)
    }

    /// A request that does not fit, with the field (or header, or part of the path) that does not.
    pub fn invalid(field: &str, message: impl fmt::Display) -> Self {
        Self::invalid_fields(vec![(field.to_owned(), message.to_string())])
    }

    pub fn invalid_fields(fields: Vec<(String, String)>) -> Self {
        let fields: Vec<(String, String)> = fields
            .into_iter()
            .take(MAX_FIELDS)
            .map(|(field, message)| (shorten(&field), shorten(&about_it(message))))
            .collect();
        let details: Vec<String> = fields
            .iter()
            .map(|(field, message)| format!("{field}: {message}"))
            .collect();
        let fields: Vec<Value> = fields
            .iter()
            .map(|(field, message)| json!({"field": field, "message": message}))
            .collect();
        Self::new(Code::InvalidRequest, details.join("; ")).with("fields", fields)
    }

    /// What a refusal consists of where it is a part of another answer.
    pub fn into_parts(self) -> (Code, String, Map<String, Value>) {
        (self.code, self.detail, self.members)
    }

    /// What an answer in another form than that of a problem says beside them.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    pub fn code(&self) -> Code {
        self.code
    }

    /// The first field that does not fit.
    pub fn field(&self) -> Option<&str> {
        self.members.get("fields")?.get(0)?.get("field")?.as_str()
    }

    pub fn with(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.members.insert(member.to_owned(), value.into());
        self
    }

    pub fn with_header(mut self, name: HeaderName, value: &str) -> Self {
        // Only values of our own making come here.
        self.headers
            .extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// Whoever may come again is told when.
    fn with_retry_after(self) -> Self {
        if self.code.has_retry_after() {
            self.with_header(actix_web::http::header::RETRY_AFTER, "1")
        } else {
            self
        }
    }

    pub fn status(&self) -> StatusCode {
        self.code.status()
    }

    pub fn into_response(self, instance: &str, request_id: &RequestId) -> HttpResponse {
        let Self {
            code,
            detail,
            members,
            headers,
        } = self;
        let (name, status, title) = code.row();
        let form = Form {
            type_: format!("/problems/{name}"),
            title,
            status,
            detail: &detail,
            instance: instance.chars().take(MAX_INSTANCE).collect(),
            error: name,
            timestamp: chrono::Utc::now().into(),
            request_id,
            members,
        };
        let mut response = HttpResponse::build(code.status());
        response.content_type("application/problem+json");
        for header in headers {
            response.insert_header(header);
        }
        response.json(form)
    }
}

/// The document as it is sent, in the order in which a person reads it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Problem")]
pub struct Form<'a> {
    /// A page that says what this code means and what to do about it.
    #[serde(rename = "type")]
    type_: String,
    /// The code in words, always the same.
    title: &'static str,
    /// The status of the answer.
    status: u16,
    /// This refusal as a sentence, for a person.
    detail: &'a str,
    /// The path of the request.
    instance: String,
    /// The code, for a program: branch on this.
    error: &'static str,
    timestamp: Timestamp,
    /// That of the `X-Request-Id` header; name it when you ask the operator.
    request_id: &'a RequestId,
    #[serde(flatten)]
    members: Map<String, Value>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

/// The edge writes the body, as only it knows the request; see `edge.rs`.
impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status()
    }
}

impl From<ExecuteError> for Problem {
    fn from(error: ExecuteError) -> Self {
        match error {
            ExecuteError::Refused(refusal) => (*refusal).into(),
            ExecuteError::RefusedJoint(refusal) => (*refusal).into(),
            ExecuteError::InOperation { index, error } => Self::of_operations(vec![(index, (*error).into())]),
            ExecuteError::KeyReused => Self::new(
                Code::IdempotencyKeyReused,
                "This Idempotency-Key stands for a request with another method, path, query or body; use a new key.",
            ),
            ExecuteError::KeyInFlight => Self::new(
                Code::RequestInFlight,
                "The first request with this Idempotency-Key is still running; ask again for its answer.",
            ),
            ExecuteError::ReservationInFlight { reservation_id: id } => {
                let detail = format!("Another request is making a reservation {id:?}; ask again for what came of it.");
                Self::of_reservation(Code::RequestInFlight, detail, &id)
            }
            ExecuteError::CountedAt { now } => Self::of_counted_at("countedAt", now),
            ExecuteError::StoreInUse { store_id, sku } => {
                let detail = format!("Store {store_id:?} still has stock or holds, of SKU {sku:?} for one.");
                let problem = Self::new(Code::InUse, detail).with("sku", sku.as_str());
                problem.with("storeId", store_id.as_str())
            }
            ExecuteError::Overloaded { sku } => {
                let detail = format!("Too many requests wait for SKU {sku:?}; nothing was changed, try again.");
                Self::new(Code::Overloaded, detail).with("sku", sku.as_str())
            }
            ExecuteError::Journal(error) => error.into(),
        }
    }
}

impl From<HasherError> for Problem {
    fn from(error: HasherError) -> Self {
        match error {
            HasherError::Busy => Self::new(
                Code::Overloaded,
                "Too many passwords wait to be checked; nothing was changed, try again.",
            ),
            HasherError::Failed(error) => Self::internal(&error),
        }
    }
}

impl From<JournalError> for Problem {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Conflict => Self::new(
                Code::StorageUnavailable,
                "What this rests on changed while it was decided; nothing was changed, try again.",
            ),
            JournalError::Unavailable(_) => Self::new(
                Code::StorageUnavailable,
                "Storage cannot take writes at present; nothing was changed, try again.",
            ),
            JournalError::Unknown(_) => Self::new(
                Code::OutcomeUnknown,
                "Storage failed while this was written: it may or may not have taken effect. Repeat it with the same \
                 Idempotency-Key, or ask /api/operations/{key}, once the service has been restarted.",
            ),
            JournalError::Damaged(reason) => {
                tracing::error!(reason, "a record of the log cannot be read back");
                Self::new(
                    Code::Internal,
                    "A stored record cannot be read back; the operator's log says which.",
                )
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let Refusal {
            sku,
            store_id,
            resource,
            reason,
        } = refusal;
        let level = format!("SKU {sku:?} in store {store_id:?}");
        let item = format!("item {sku:?}");
        let product = format!("product {sku:?}");
        let versioned = match resource {
            Resource::Level => &level,
            Resource::Item => &item,
            Resource::Product => &product,
        };
        // Where the reason names a store, it is that one; a product is in none.
        let store_id = match &reason {
            Reason::NoStore { store_id } | Reason::StoreClosing { store_id } | Reason::InUse { store_id } => {
                Some(store_id.clone())
            }
            _ => Some(store_id).filter(|_| resource != Resource::Product),
        };
        let problem = Self::of_reason(reason, &level, &item, versioned).with("sku", sku.as_str());
        match store_id {
            Some(store_id) => problem.with("storeId", store_id.as_str()),
            None => problem,
        }
    }
}

impl From<JointRefusal> for Problem {
    fn from(refusal: JointRefusal) -> Self {
        match refusal {
            JointRefusal::Lines(lines) => Self::of_lines(&lines),
            JointRefusal::ReservationExists { reservation_id: id } => Self::of_taken(&id),
            JointRefusal::NoReservation { reservation_id: id } => Self::of_no_reservation(&id),
            JointRefusal::QuotaExceeded { limit } => Self::of_quota(limit),
            JointRefusal::ReservationNotActive { reservation } => {
                Self::of_over(&reservation.reservation_id, reservation.status).with_reservation(&reservation)
            }
            JointRefusal::MoreThanHeld { reservation, lines } => {
                let id = &reservation.reservation_id;
                let faults: Vec<Value> = lines.iter().map(|line| Self::of_line(line).into_row(line)).collect();
                let detail = match lines.first() {
                    Some(first) => Self::of_line(first).detail,
                    None => format!("Reservation {id:?} holds less than that."),
                };
                Self::of_reservation(Code::ReservationNotActive, detail, id)
                    .with("reservationStatus", reservation.status.as_str())
                    .with("lines", faults)
                    .with_reservation(&reservation)
            }
            JointRefusal::Operations(refused) => {
                let refused = refused.into_iter().map(|(index, refusal)| (index, refusal.into()));
                Self::of_operations(refused.collect())
            }
        }
    }
}

impl Problem {
    /// A count can be of the last day only.
    pub fn of_counted_at(field: &str, now: Timestamp) -> Self {
        let message = format!("it must be at most 24 hours ago and not to come; here it is {now}");
        Self::invalid(field, message)
    }

    /// The refusal of a whole batch, by those of its operations that were refused.
    pub fn of_operations(refused: Vec<(u32, Self)>) -> Self {
        let rows: Vec<Value> = refused.iter().map(|(index, problem)| problem.row(*index)).collect();
        let count = refused.len();
        let Some((index, first)) = refused.into_iter().next() else {
            return Self::invalid("operations", "some of them do not fit");
        };
        let others = match count {
            1 => String::new(),
            2 => " Another was refused as well.".to_owned(),
            _ => format!(" {} others were refused as well.", count - 1),
        };
        let detail = format!(
            "Operation {index}: {} Nothing was changed.{others}",
            sentence(&first.detail)
        );
        Self { detail, ..first }.with("operations", rows)
    }

    /// As a row in a list of refusals.
    fn row(&self, index: u32) -> Value {
        let mut row = self.members.clone();
        row.insert("index".to_owned(), index.into());
        row.insert("status".to_owned(), self.status().as_u16().into());
        row.insert("error".to_owned(), self.code.as_str().into());
        row.insert("detail".to_owned(), self.detail.clone().into());
        Value::Object(row)
    }

    fn of_lines(lines: &[LineRefusal]) -> Self {
        let is_short = |line: &&LineRefusal| matches!(line.fault, LineFault::Short { .. });
        let faults: Vec<Value> = lines.iter().map(|line| Self::of_line(line).into_row(line)).collect();
        // What one line lacks, a single refusal says; what others lack, the list.
        let Some(first) = lines.iter().find(is_short).or(lines.first()) else {
            return Self::new(Code::InsufficientStock, "There is nothing to be had of any line.");
        };
        let problem = Self::of_line(first);
        let others = match lines.len() {
            1 => String::new(),
            2 => " Another line failed as well.".to_owned(),
            count => format!(" {} other lines failed as well.", count - 1),
        };
        let detail = format!("{}{others}", problem.detail);
        Self { detail, ..problem }.with("lines", faults)
    }

    fn of_line(line: &LineRefusal) -> Self {
        let level = format!("SKU {:?} in store {:?}", line.sku, line.store_id);
        let problem = match line.fault {
            LineFault::NoLevel => Self::new(Code::NotFound, format!("There is no {level}.")),
            LineFault::Short {
                available,
                reserved,
                next_expiry,
            } => Self::of_shortage(&level, line.requested, available, reserved, next_expiry),
            LineFault::StoreClosing => Self::of_closing(&line.store_id),
            LineFault::NotHeld { held } => {
                let detail = format!("The reservation holds {held} of {level}, not {}.", line.requested);
                Self::new(Code::ReservationNotActive, detail).with("available", held)
            }
        };
        problem
            .with("sku", line.sku.as_str())
            .with("storeId", line.store_id.as_str())
    }

    fn into_row(self, line: &LineRefusal) -> Value {
        let mut row = self.members;
        row.insert("requested".to_owned(), line.requested.into());
        row.entry("available").or_insert(0.into());
        row.insert("error".to_owned(), self.code.as_str().into());
        row.insert("detail".to_owned(), self.detail.into());
        Value::Object(row)
    }

    /// With the reservation as it stands.
    fn with_reservation(self, reservation: &Reservation) -> Self {
        match serde_json::to_value(forms::reservation(reservation)) {
            Ok(form) => self.with("reservation", form),
            Err(error) => Self::internal(&error),
        }
    }

    fn of_taken(id: &ReservationId) -> Self {
        let detail = format!("There is or was a reservation {id:?}; choose another id.");
        Self::of_reservation(Code::AlreadyExists, detail, id)
    }

    pub fn of_quota(limit: u64) -> Self {
        let detail = format!("Your open reservations may hold {limit} lines at once, and would hold more.");
        Self::new(Code::QuotaExceeded, detail).with("limit", limit)
    }

    fn of_no_reservation(id: &ReservationId) -> Self {
        Self::of_reservation(Code::NotFound, format!("There is no reservation {id:?}."), id)
    }

    fn of_over(id: &ReservationId, status: ReservationStatus) -> Self {
        let status = status.as_str();
        let detail = format!("Reservation {id:?} is {status}: it holds nothing any more.");
        Self::of_reservation(Code::ReservationNotActive, detail, id).with("reservationStatus", status)
    }

    fn of_reason(reason: Reason, level: &str, item: &str, versioned: &str) -> Self {
        match reason {
            Reason::NoLevel => Self::new(Code::NotFound, format!("There is no {level}.")),
            Reason::NoItem => Self::new(Code::NotFound, format!("There is no {item}.")),
            Reason::ItemExists => Self::new(Code::AlreadyExists, format!("There is an {item} already.")),
            Reason::NoProduct => Self::new(Code::NotFound, format!("There is no product for {item}.")),
            Reason::ProductExists => Self::new(Code::AlreadyExists, format!("There is a {versioned} already.")),
            Reason::NoStore { store_id } => Self::of_no_store(&store_id),
            Reason::StoreClosing { store_id } => Self::of_closing(&store_id),
            Reason::InUse { store_id } => {
                let detail = format!("The {versioned} still has stock or holds, in store {store_id:?} for one.");
                Self::new(Code::InUse, detail)
            }
            Reason::VersionMismatch { expected, current } => {
                let detail = format!(
                    "expectedVersion is {expected}, but {versioned} {}.",
                    at_version(current)
                );
                Self::new(Code::VersionMismatch, detail).with("currentVersion", current)
            }
            Reason::PreconditionFailed { current } => {
                let headers = "The precondition (If-Match, If-None-Match) fails";
                let detail = format!("{headers}: {versioned} {}.", at_version(current));
                Self::new(Code::PreconditionFailed, detail).with("currentVersion", current)
            }
            Reason::InsufficientStock {
                requested,
                available,
                reserved,
                next_expiry,
            } => Self::of_shortage(level, requested, available, reserved, next_expiry),
            Reason::BelowReserved { requested, reserved } => {
                let detail = format!("{level} has {reserved} reserved: its quantity cannot be set to {requested}.");
                Self::new(Code::BelowReserved, detail)
                    .with("requested", requested)
                    .with("reserved", reserved)
            }
            Reason::NotReserved { requested, held } => {
                let detail = format!("Your reservations hold {held} of {level}, not {requested}.");
                Self::new(Code::NotReserved, detail)
                    .with("requested", requested)
                    .with("reserved", held)
            }
            Reason::QuotaExceeded { limit } => Self::of_quota(limit),
            Reason::QuantityLimit => {
                let detail =
                    format!("The quantity of {level}, or of the SKU over all stores, would pass what you may set.");
                Self::new(Code::QuantityLimit, detail)
            }
            Reason::NoHold { reservation_id: id } => {
                let detail = format!("Reservation {id:?} holds nothing of {level}.");
                Self::of_reservation(Code::NotReserved, detail, &id)
            }
            Reason::NoReservation { reservation_id: id } => Self::of_no_reservation(&id),
            Reason::ReservationNotActive {
                reservation_id: id,
                status,
            } => Self::of_over(&id, status),
            Reason::ReservationExists { reservation_id: id } => Self::of_taken(&id),
        }
    }

    /// That something stands at another version than was expected.
    pub fn of_version(reason: Reason, versioned: &str) -> Self {
        Self::of_reason(reason, versioned, versioned, versioned)
    }

    pub fn of_no_store(store: &StoreId) -> Self {
        Self::new(Code::NotFound, format!("There is no store {store:?}.")).with("storeId", store.as_str())
    }

    /// Whether it will be deleted is not decided yet, or its levels are being cleared away.
    pub fn of_closing(store: &StoreId) -> Self {
        let detail = format!("Store {store:?} is just being deleted: nothing can come to it until that is done.");
        Self::new(Code::InUse, detail).with("storeId", store.as_str())
    }

    fn of_shortage(level: &str, requested: u64, available: u64, reserved: u64, next: Option<Timestamp>) -> Self {
        let detail = format!("{level} has {available} available ({reserved} reserved), not {requested}.");
        let problem = Self::new(Code::InsufficientStock, detail)
            .with("requested", requested)
            .with("available", available)
            .with("reserved", reserved);
        match next {
            Some(at) => problem.with("nextExpiry", at.to_string()),
            None => problem,
        }
    }

    fn of_reservation(code: Code, detail: String, id: &ReservationId) -> Self {
        Self::new(code, detail).with("reservationId", id.as_str())
    }
}

/// What a client sent is shown to it, but not at any length.
const MAX_FIELDS: usize = 20;
/// Enough for two ids of 64 characters, percent-encoded.
const MAX_INSTANCE: usize = 2048;

/// What a field must be, as a sentence: rules that know no field begin with their verb.
fn about_it(message: String) -> String {
    match message.starts_with("must ") {
        true => format!("it {message}"),
        false => message,
    }
}

/// Ends with a full stop.
fn sentence(text: &str) -> String {
    match text.ends_with('.') {
        true => text.to_owned(),
        false => format!("{text}."),
    }
}

fn at_version(current: u64) -> String {
    if current == 0 {
        "does not exist".to_owned()
    } else {
        format!("is at version {current}")
    }
}
