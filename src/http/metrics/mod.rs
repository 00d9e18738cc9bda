//! How the service does: what is counted on the way of requests, decisions and records, put together for whoever asks.
//!
//! Each layer counts for itself (`http/traffic.rs`, `actors/activity.rs`, the journal's figures); here their counts are
//! read, and shown as JSON ([`forms`]) or to Prometheus ([`exposition`]). They span all stores, so only who sees all
//! stores is shown them.

mod background;
mod drift;
mod exposition;
pub mod forms;
mod health;
mod reading;
mod recent;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use self::background::BackgroundForm;
use self::drift::Drift;
use self::forms::{
    ConcurrencyForm, InventoryForm, LimitsForm, MetricsForm, PersistenceForm, RequestsForm, ResetForm, SystemForm,
    WebhooksForm,
};
use self::health::HealthForm;
use self::reading::{Counts, Reading};
use self::recent::Recent;
use super::State;
use super::caller::Caller;
use super::connection::Places;
use super::edge::Gauges;
use super::problem::{Code, Problem};
use super::query::Query;
use super::routes::Right;
use super::traffic::Traffic;
use super::write::{self, Answer};
use crate::config::Limits;
use crate::domain::Timestamp;

pub use background::BackgroundForm as BackgroundMetricsForm;
pub use health::HealthForm as MetricsHealthForm;

/// What the service knows of itself, beside the stock.
pub struct Watch {
    pub traffic: Traffic,
    limits: Limits,
    gauges: Arc<Gauges>,
    places: Arc<Places>,
    began: Timestamp,
    baseline: Mutex<Baseline>,
    recent: Mutex<Recent>,
    drift: Drift,
}

/// From where the JSON view counts.
#[derive(Clone, Default)]
pub struct Baseline {
    /// None: from the start.
    at: Option<Timestamp>,
    counts: Counts,
}

impl Watch {
    pub fn of(limits: Limits, is_recording: bool, gauges: Arc<Gauges>, places: Arc<Places>) -> Self {
        Self {
            traffic: Traffic::counted_if(is_recording),
            limits,
            gauges,
            places,
            began: chrono::Utc::now().into(),
            baseline: Mutex::default(),
            recent: Mutex::default(),
            drift: Drift::default(),
        }
    }

    fn baseline(&self) -> MutexGuard<'_, Baseline> {
        self.baseline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /api/metrics`
pub async fn all(state: Data<State>, request: HttpRequest) -> Answer {
    show(&MetricsForm::of(&read(&state, &request).await?))
}

/// `GET /api/metrics/requests`
pub async fn requests(state: Data<State>, request: HttpRequest) -> Answer {
    show(&RequestsForm::of(&read(&state, &request).await?))
}

/// `GET /api/metrics/inventory`
pub async fn inventory(state: Data<State>, request: HttpRequest) -> Answer {
    show(&InventoryForm::of(&read(&state, &request).await?))
}

/// `GET /api/metrics/concurrency`
pub async fn concurrency(state: Data<State>, request: HttpRequest) -> Answer {
    show(&ConcurrencyForm::of(&read(&state, &request).await?))
}

/// `GET /api/metrics/persistence`
pub async fn persistence(state: Data<State>, request: HttpRequest) -> Answer {
    show(&PersistenceForm::of(&read(&state, &request).await?))
}

/// `GET /api/metrics/background`
pub async fn background(state: Data<State>, request: HttpRequest) -> Answer {
    show(&BackgroundForm::of(&read(&state, &request).await?))
}

/// `GET /api/metrics/system`
pub async fn system(state: Data<State>, request: HttpRequest) -> Answer {
    show(&SystemForm::of(&read(&state, &request).await?))
}

/// `GET /api/metrics/limits`
pub async fn limits(state: Data<State>, request: HttpRequest) -> Answer {
    show(&LimitsForm::of(&read(&state, &request).await?))
}

/// `GET /api/metrics/webhooks`
pub async fn webhooks(state: Data<State>, request: HttpRequest) -> Answer {
    show(&WebhooksForm::of(&read(&state, &request).await?))
}

/// `GET /api/metrics/health`
pub async fn health(state: Data<State>, request: HttpRequest) -> Answer {
    show(&HealthForm::of(&read(&state, &request).await?))
}

/// `POST /api/metrics/reset`
pub async fn reset(state: Data<State>, request: HttpRequest, payload: Payload) -> Answer {
    write::read_bare(&request, payload).await?;
    Caller::of(&request).may(Right::Administer)?;
    let counts = reading::counts(&state).await?;
    let at: Timestamp = chrono::Utc::now().into();
    *state.watch.baseline() = Baseline { at: Some(at), counts };
    show(&ResetForm { since: at })
}

/// `GET /metrics`
pub async fn prometheus(state: Data<State>, request: HttpRequest) -> Answer {
    check(&request)?;
    let reading = reading::take(&state).await?;
    let text = exposition::write(&reading);
    Ok(HttpResponse::Ok().content_type(exposition::MEDIA_TYPE).body(text))
}

/// As the JSON view counts.
async fn read(state: &Data<State>, request: &HttpRequest) -> Result<Reading, Problem> {
    check(request)?;
    Ok(reading::take(state).await?.since(state.watch.baseline().clone()))
}

/// Figures of all stores together are for those who see all stores.
fn check(request: &HttpRequest) -> Result<(), Problem> {
    Query::none(request)?;
    if Caller::of(request).rights.seen().is_all() {
        return Ok(());
    }
    let detail = "These figures are of all stores together: they are for callers who see all stores.";
    Err(Problem::new(Code::Forbidden, detail))
}

fn show(form: &impl Serialize) -> Answer {
    Ok(HttpResponse::Ok().json(form))
}

/// So often it is noted how the service does, and a part of the stock looked at for drift: however many ask, and nobody
/// who does waits for it.
const PACE: Duration = Duration::from_secs(10);

/// Notes how the service does, for as long as it is there.
pub async fn run(state: Weak<State>) {
    while let Some(state) = state.upgrade().map(Data::from) {
        note(&state).await;
        drop(state);
        tokio::time::sleep(PACE).await;
    }
}

async fn note(state: &Data<State>) {
    let Ok(inventory) = state.inventory() else { return };
    match reading::counts(state).await {
        Ok(counts) => state.watch.recent().note(&counts),
        Err(problem) => tracing::warn!(%problem, "could not note how the service does; trying again"),
    }
    state.watch.drift.look(inventory).await;
}
