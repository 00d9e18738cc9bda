//! What there is at the service's address: the dashboard for a browser, a description of the service for a program.

use actix_web::http::header::VARY;
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::dashboard;
use super::problem::Problem;
use super::query::Query;
use super::routes;

/// What the service is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Service")]
pub struct ServiceForm {
    name: &'static str,
    description: &'static str,
    routes: Vec<RouteForm>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Route")]
struct RouteForm {
    method: String,
    path: &'static str,
    does: &'static str,
}

/// `GET /`
pub async fn describe(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    if dashboard::is_wanted(&request) {
        return Ok(dashboard::page());
    }
    let resources = routes::table();
    let routes = resources.iter().flat_map(|resource| {
        resource.methods.iter().map(|entry| RouteForm {
            method: entry.method.to_string(),
            path: resource.path,
            does: entry.does,
        })
    });
    Ok(HttpResponse::Ok().insert_header((VARY, "Accept")).json(ServiceForm {
        name: "Holdfast",
        description: "A consistency-first inventory service: never oversold, never lost, never applied twice.",
        routes: routes.collect(),
    }))
}
