//! The service's description of itself, for a client that knows only its address.

use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::problem::Problem;
use super::query::Query;
use super::routes;

/// `GET /`
pub async fn describe(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    let resources = routes::table();
    let routes = resources.iter().flat_map(|resource| {
        let entries = resource.methods.iter();
        entries.map(|entry| json!({"method": entry.method.as_str(), "path": resource.path, "does": entry.does}))
    });
    let routes: Vec<_> = routes.collect();
    Ok(HttpResponse::Ok().json(json!({
        "name": "Holdfast",
        "description": "A consistency-first inventory service: never oversold, never lost, never applied twice.",
        "routes": routes,
    })))
}
