//! Health probes: is it there, does it live, may it be sent writes.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::State;
use super::problem::Problem;
use super::query::Query;
use crate::domain::Timestamp;

/// `GET /api/health` and `/api/health/live`
pub async fn live(state: Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    Ok(HttpResponse::Ok().json(json!({
        "status": "ok",
        "uptimeSeconds": state.started.elapsed().as_secs(),
        "timestamp": Timestamp::from(chrono::Utc::now()),
        "version": env!("CARGO_PKG_VERSION"),
    })))
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
        Some(reason) => {
            Ok(HttpResponse::ServiceUnavailable().json(json!({"status": "unavailable", "reasons": [reason]})))
        }
    }
}
