//! Refusals as the Node services wrote them: `{error: CODE, …}`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::RequestId;
use crate::http::problem::{Code, Problem};

pub const QUANTITY_REQUIRED: &str = "quantity required";
pub const DELTA_REQUIRED: &str = "delta required";
pub const EXPECT_ARRAY: &str = "expect_array";

pub const PUSH: &str = "/sync/push";

/// What a refusal says.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NodeError")]
pub struct ErrorForm<'a> {
    /// The code, for a program: branch on this.
    error: &'static str,
    /// This refusal as a sentence, for a person.
    detail: String,
    /// That of the `X-Request-Id` header; name it when you ask the operator.
    request_id: &'a RequestId,
    /// What else helps to go on, such as `currentVersion` or `available`.
    #[serde(flatten)]
    members: Map<String, Value>,
}

/// Whether the path is one of theirs, with refusals of this form. Their `/auth`, `/products` and `/stores` are the same
/// as under `/api`.
pub fn is_of_path(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    matches!(first, "health" | "inventory" | "stock" | "sync")
}

/// A shortage was a bad request to those services.
pub fn status(code: Code) -> StatusCode {
    match code {
        Code::InsufficientStock => StatusCode::BAD_REQUEST,
        code => code.status(),
    }
}

pub fn answer(problem: Problem, path: &str, request_id: &RequestId) -> HttpResponse {
    let mut response = HttpResponse::build(status(problem.code()));
    for header in problem.headers() {
        response.insert_header(header.clone());
    }
    response.json(form(problem, path, request_id))
}

pub fn form<'a>(problem: Problem, path: &str, request_id: &'a RequestId) -> ErrorForm<'a> {
    let error = name(&problem, path);
    let (_, detail, members) = problem.into_parts();
    ErrorForm {
        error,
        detail,
        request_id,
        members,
    }
}

/// What those services called it.
fn name(problem: &Problem, path: &str) -> &'static str {
    let member = |field: &str| field.rsplit('.').next().map(str::to_owned);
    match (problem.code(), problem.field().and_then(member).as_deref()) {
        (Code::InvalidRequest, Some("quantity")) => QUANTITY_REQUIRED,
        (Code::InvalidRequest, Some("delta")) => DELTA_REQUIRED,
        (Code::InvalidRequest, Some("body")) if path == PUSH => EXPECT_ARRAY,
        (code, _) => code.as_str(),
    }
}
