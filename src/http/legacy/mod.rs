//! The routes of the Node services that this one replaces, so that their clients move over without a change. Only
//! the outer form is theirs: the commands behind it are those of every other route.
//!
//! They are more forgiving than the routes under `/api`, as they always were: members and query parameters that they do
//! not know are passed over, and a number may be written as a text. Every refusal is `{error: CODE, …}`.

pub mod inventory;
pub mod members;
pub mod push;
pub mod refusal;
pub mod stock;

use actix_web::HttpResponse;
use schemars::JsonSchema;
use serde::Serialize;

use super::problem::Problem;
use crate::domain::Timestamp;

/// The service is there.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "NodeHealth")]
pub struct HealthForm {
    /// Always `ok`.
    #[schemars(extend("const" = "ok"))]
    status: &'static str,
    now: Timestamp,
}

/// `GET /health`
pub async fn health() -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(HealthForm {
        status: "ok",
        now: chrono::Utc::now().into(),
    }))
}
