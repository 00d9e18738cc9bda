//! The sync: totals of all stores, how far they have come, when they are brought up to date, and counts that stores report.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::bodies::{Object, present};
use super::caller::{Caller, Sight};
use super::forms::LevelForm;
use super::idempotency::KEY_PATTERN;
use super::problem::Problem;
use super::push::{self, Count};
use super::query::Query;
use super::routes::Right;
use super::write::{self, Answer, BareBody};
use super::{State, body, entries, forms};
use crate::actors::{Outcome, Told};
use crate::domain::sync::{DEFAULT_SYNC_INTERVAL_MS, MAX_SYNC_INTERVAL_MS, MIN_SYNC_INTERVAL_MS, OverdueStore};
use crate::domain::totals::{StoreTotals, Sums};
use crate::domain::{EntryKey, MAX_QUANTITY, Scope, Sku, StoreId, SyncSchedule, SyncStatus, Timestamp, Totals};

/// When the sync is to run by itself.
#[derive(Default, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartBody {
    /// Milliseconds from the beginning of a run to that of the next; 15000 where it is left out.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(
        min = MIN_SYNC_INTERVAL_MS,
        max = MAX_SYNC_INTERVAL_MS,
        message = "must be from 100 to 86400000"
    ))]
    pub interval_ms: Option<u64>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

/// What a store has counted of one SKU.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "PushedCount")]
pub struct CountBody {
    sku: Sku,
    store_id: StoreId,
    /// What was counted, in whole units.
    #[schemars(range(max = MAX_QUANTITY))]
    quantity: u64,
    /// When it was counted, at most 24 hours ago: what has moved since stays counted.
    #[serde(default, deserialize_with = "present")]
    counted_at: Option<Timestamp>,
}

/// How the sync stands.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SyncStatus")]
pub struct StatusForm<'a> {
    /// Whether it runs by itself.
    running: bool,
    /// Milliseconds from the beginning of a run to that of the next, where it does; longer after failures.
    interval_ms: u64,
    /// When the last run began, well or not; null before the first.
    last_run_at: Option<Timestamp>,
    /// How long it took; null where it was a run of an earlier process, or there was none.
    last_duration_ms: Option<u64>,
    /// Why the last run failed, for those who run it (operators and admins); for others only that it did. Left out where it
    /// did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a str>,
    /// Runs since the service was started, failed ones included.
    runs: u64,
    /// How many of them have failed.
    failures: u64,
    /// The last event that the totals have in them.
    seq: u64,
    /// How many events were recorded since.
    lag_events: u64,
    /// How long ago the first of those was recorded; 0 where there is none.
    lag_ms: u64,
    /// Stores that have not pushed their counts for as long as their `syncIntervalSeconds`; those that the caller sees.
    overdue_stores: Vec<OverdueForm<'a>>,
}

/// A store that has not pushed its counts for too long.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OverdueStore")]
struct OverdueForm<'a> {
    store_id: &'a StoreId,
    /// Null where it never did: then it is overdue since so long after its entry was last changed.
    last_push_at: Option<Timestamp>,
    sync_interval_seconds: u64,
}

/// What lies in the stores, as of the last sync.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Totals")]
pub struct TotalsForm<'a> {
    /// The last event that is in them; 0 before the first sync.
    seq: u64,
    /// When they were brought up to date; null before the first sync.
    at: Option<Timestamp>,
    /// All stores together; for a caller who sees some stores only, the sum over those.
    central: SumsForm,
    /// The stores that have levels, in order of id; those that the caller sees.
    stores: Vec<StoreTotalsForm<'a>>,
}

/// Sums are exact integers, and may be larger than 2^53.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Sums")]
struct SumsForm {
    /// How many SKUs have a level. Of a sum over some stores, each SKU counts once in each of them.
    skus: u64,
    /// What is on hand.
    quantity: u128,
    /// What of it reservations hold.
    reserved: u128,
    /// What is left.
    available: u128,
}

/// What lies in a store.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "StoreTotals")]
struct StoreTotalsForm<'a> {
    store_id: &'a StoreId,
    #[serde(flatten)]
    sums: SumsForm,
    /// When one of its levels was changed last.
    updated_at: Timestamp,
}

/// What a push has changed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PushAnswer")]
pub struct PushForm<'a> {
    /// The levels after it, each once, in the order in which they were first reported.
    changed: Vec<CountedForm<'a>>,
    /// The place of its event in the log; a push of nothing has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

/// A level that was counted.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CountedLevel")]
struct CountedForm<'a> {
    #[serde(flatten)]
    level: LevelForm<'a>,
    /// What was counted, less what the books had for that moment: below 0 something is missing.
    variance: i64,
}

/// `POST /api/sync`
pub async fn run(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    // A run changes nothing that a second one would change again.
    write::read_bare(&request, payload).await?;
    caller.may(Right::Operate)?;
    state.inventory()?.sync().await?;
    answer(&state, &caller).await
}

/// `GET /api/sync/status`
pub async fn status(state: Data<State>, request: HttpRequest, caller: Caller) -> Answer {
    Query::none(&request)?;
    answer(&state, &caller).await
}

/// `POST /api/sync/start`
pub async fn start(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    let asked: StartBody = body::parse_optional(&request, &bytes)?;
    let interval_ms = asked.interval_ms.unwrap_or(DEFAULT_SYNC_INTERVAL_MS);
    let wanted = move |_| SyncSchedule {
        running: true,
        interval_ms,
    };
    schedule(
        &state,
        &request,
        &bytes,
        asked.idempotency_key.as_deref(),
        caller,
        wanted,
    )
    .await
}

/// `POST /api/sync/stop`
pub async fn stop(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    let asked: BareBody = body::parse_optional(&request, &bytes)?;
    let wanted = |before| SyncSchedule {
        running: false,
        ..before
    };
    schedule(
        &state,
        &request,
        &bytes,
        asked.idempotency_key.as_deref(),
        caller,
        wanted,
    )
    .await
}

/// `GET /api/sync/totals`
pub async fn totals(state: Data<State>, request: HttpRequest, sight: Sight) -> Answer {
    Query::none(&request)?;
    let found = state.inventory()?.totals();
    let none = Totals::default();
    let at = found.as_ref().map(|totals| totals.at);
    let totals = found.as_deref().unwrap_or(&none);
    Ok(HttpResponse::Ok().json(totals_form(totals, at, sight.scope())))
}

/// `POST /api/sync/push`
pub async fn push(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    let counts = parse(&request, &bytes)?;
    let outcome = push::run(&state, &request, &bytes, counts).await?;
    let mut response = HttpResponse::Ok();
    if outcome.as_ref().is_some_and(|outcome| outcome.replayed.is_some()) {
        response.insert_header(("idempotency-replayed", "true"));
    }
    let nothing = PushForm {
        changed: Vec::new(),
        seq: None,
    };
    Ok(response.json(outcome.as_ref().map_or(nothing, push_form)))
}

/// The answer to a push, made from its event.
pub fn push_form(outcome: &Outcome) -> PushForm<'_> {
    // Of a count of the past, what has moved since is on both sides of the difference.
    let changed = push::changed(outcome).map(|change| CountedForm {
        level: forms::changed(change, outcome.event.at),
        variance: change.delta,
    });
    PushForm {
        changed: changed.collect(),
        seq: outcome.seq,
    }
}

pub fn status_form(status: &SyncStatus) -> StatusForm<'_> {
    StatusForm {
        running: status.schedule.running,
        interval_ms: status.schedule.interval_ms,
        last_run_at: status.last_run_at,
        last_duration_ms: status.last_duration_ms,
        last_error: status.last_error.as_deref(),
        runs: status.runs,
        failures: status.failures,
        seq: status.seq,
        lag_events: status.lag_events,
        lag_ms: status.lag_ms,
        overdue_stores: status.overdue_stores.iter().map(overdue_form).collect(),
    }
}

fn overdue_form(store: &OverdueStore) -> OverdueForm<'_> {
    OverdueForm {
        store_id: &store.store_id,
        last_push_at: store.last_push_at,
        sync_interval_seconds: store.sync_interval_seconds,
    }
}

fn totals_form<'a>(totals: &'a Totals, at: Option<Timestamp>, scope: &Scope) -> TotalsForm<'a> {
    let store = |(store_id, totals): (&'a StoreId, &StoreTotals)| StoreTotalsForm {
        store_id,
        sums: sums_form(&totals.sums),
        updated_at: totals.updated_at,
    };
    TotalsForm {
        seq: totals.seq,
        at,
        central: sums_form(&totals.central(scope)),
        stores: totals.seen(scope).map(store).collect(),
    }
}

fn sums_form(sums: &Sums) -> SumsForm {
    SumsForm {
        skus: sums.skus,
        quantity: sums.quantity,
        reserved: sums.reserved,
        available: sums.available(),
    }
}

async fn answer(state: &State, caller: &Caller) -> Answer {
    let status = state.inventory()?.sync_status(caller.rights.seen()).await?;
    let mut form = status_form(&status);
    // Why may name what only those who run the service need to know, such as a folder.
    if caller.may(Right::Operate).is_err() {
        form.last_error = form.last_error.and(Some(FAILED));
    }
    Ok(HttpResponse::Ok().json(form))
}

/// What those are told of a failure who cannot do anything about it.
const FAILED: &str = "its cause is told to operators only";

async fn schedule(
    state: &State,
    request: &HttpRequest,
    bytes: &[u8],
    key: Option<&str>,
    caller: Caller,
    wanted: impl Fn(SyncSchedule) -> SyncSchedule + 'static,
) -> Answer {
    write::refuse_preconditions(request)?;
    let (may, by) = (caller.may(Right::Operate), caller.origin.by.clone());
    let write = entries::write(request, bytes, key, caller, EntryKey::SyncSchedule)?;
    may?;
    let outcome = state.inventory()?.schedule_sync::<Problem>(write, wanted).await?;
    let Told::Sync(status) = &outcome.told else {
        return Err(Problem::internal(
            &"the receipt of a schedule does not tell how the sync stood",
        ));
    };
    if outcome.replayed.is_none() {
        let SyncSchedule { running, interval_ms } = status.schedule;
        tracing::info!(by = by.as_str(), running, interval_ms, "the sync was scheduled");
    }
    Ok(forms::response(&outcome).json(status_form(status)))
}

/// Refused by the place and the member that does not fit.
fn parse(request: &HttpRequest, bytes: &[u8]) -> Result<Vec<Count>, Problem> {
    body::check_content_type(request)?;
    body::check_depth(bytes)?;
    if !bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::invalid("body", "it must be a JSON array of counts"));
    }
    let counts: Vec<Object<CountBody>> = body::parse_any(bytes)?;
    let is_too_large = |(_, Object(count)): &(usize, &Object<CountBody>)| count.quantity > MAX_QUANTITY;
    let too_large = counts.iter().enumerate().filter(is_too_large);
    let fault = |index| {
        (
            format!("[{index}].quantity"),
            "must be from 0 to 9007199254740991".to_owned(),
        )
    };
    let faults: Vec<(String, String)> = too_large.map(|(index, _)| fault(index)).collect();
    if !faults.is_empty() {
        return Err(Problem::invalid_fields(faults));
    }
    Ok(counts.into_iter().map(|Object(count)| count.into()).collect())
}

impl From<CountBody> for Count {
    fn from(count: CountBody) -> Self {
        Self {
            sku: count.sku,
            store_id: count.store_id,
            quantity: count.quantity,
            counted_at: count.counted_at,
        }
    }
}
