//! Health probes: is it there, does it live, may it be sent writes.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

use super::State;
use crate::domain::Timestamp;

/// `GET /api/health` and `/api/health/live`
pub async fn live(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "status": "ok",
        "uptimeSeconds": state.started.elapsed().as_secs(),
        "timestamp": Timestamp::from(chrono::Utc::now()),
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// `GET /api/health/ready`
pub async fn ready(state: Data<State>) -> HttpResponse {
    let reason = match state.inventory.get() {
        None => Some("the stock is being recovered".to_owned()),
        Some(inventory) => inventory.journal().refusing(),
    };
    match reason {
        None => live(state).await,
        Some(reason) => HttpResponse::ServiceUnavailable().json(json!({"status": "unavailable", "reasons": [reason]})),
    }
}
