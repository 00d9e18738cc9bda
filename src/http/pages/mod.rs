//! Pages for people, rendered here: they need no scripts, and fetch their stylesheet and nothing else.

mod html;
pub mod problems;
pub mod reference;
mod start;

use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};

use super::problem::Problem;
use super::query::Query;

const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /api/docs/style.css`
pub async fn stylesheet(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, "text/css; charset=utf-8"));
    Ok(response.body(include_str!("style.css")))
}

/// An answer that no other site may frame, that loads nothing from elsewhere, and tells nobody where a link was.
pub fn guarded(policy: &'static str) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .insert_header((X_FRAME_OPTIONS, "DENY"))
        .insert_header((REFERRER_POLICY, "no-referrer"));
    response
}
