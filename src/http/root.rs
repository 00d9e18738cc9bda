//! The service's description of itself, for a client that knows only its address.

use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::problem::Problem;
use super::query::Query;
use super::routes;

/// `GET /`
pub async fn describe(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    let routes: Vec<_> = routes::TABLE
        .iter()
        .map(|(method, path, does)| json!({"method": method, "path": path, "does": does}))
        .collect();
    Ok(HttpResponse::Ok().json(json!({
        "name": "Holdfast",
        "description": "A consistency-first inventory service: never oversold, never lost, never applied twice.",
        "routes": routes,
    })))
}
