//! Health probes: is it there, does it live, may it be sent writes.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::State;
use super::problem::Problem;
use super::query::Query;
use crate::domain::Timestamp;

/// The service is there.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Health")]
pub struct HealthForm {
    /// Always `ok`.
    #[schemars(extend("const" = "ok"))]
    status: &'static str,
    uptime_seconds: u64,
    timestamp: Timestamp,
    /// The version of the service.
    version: &'static str,
}

/// The service takes no writes.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Unavailable")]
pub struct UnavailableForm {
    /// Always `unavailable`.
    #[schemars(extend("const" = "unavailable"))]
    status: &'static str,
    /// Why, each as a sentence for the operator.
    reasons: [String; 1],
}

/// `GET /api/health` and `/api/health/live`
pub async fn live(state: Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    Ok(HttpResponse::Ok().json(HealthForm {
        status: "ok",
        uptime_seconds: state.started.elapsed().as_secs(),
        timestamp: chrono::Utc::now().into(),
        version: env!("CARGO_PKG_VERSION"),
    }))
}

/// `GET /api/health/ready`
pub async fn ready(state: Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    let reason = match state.inventory.get() {
        None => Some("the stock is being recovered".to_owned()),
        Some(inventory) => inventory.journal().refusing(),
    };
    match reason {
        None => live(state, request).await,
        Some(reason) => Ok(HttpResponse::ServiceUnavailable().json(UnavailableForm {
            status: "unavailable",
            reasons: [reason],
        })),
    }
}
