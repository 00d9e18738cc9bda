//! The page at the root, the dashboard, and the documents of the API.

use serde_json::json;

use super::DOCUMENTS;
use crate::http::dashboard;
use crate::http::openapi::doc::{Content, Doc, HTML, JSON};
use crate::http::openapi::schemas::Schemas;
use crate::http::pages::problems::AdviceForm;
use crate::http::problem::Code::{InsufficientStock, NotFound};
use crate::http::root::ServiceForm;

pub fn service() -> Doc {
    let json = Content {
        media_type: JSON,
        schema: Schemas::form::<ServiceForm>,
        example: json!({
            "name": "Holdfast",
            "description": "A consistency-first inventory service.",
            "routes": [{"method": "GET", "path": "/api/docs", "does": "this API, as a page"}],
        }),
    };
    let page = Content::text(HTML, "<!doctype html>…");
    Doc::new(
        "describeService",
        DOCUMENTS,
        "Says what this is, and lists every route. A browser, or whatever else sends `Accept: text/html`, gets the \
         dashboard instead: a page that shows from the routes of this API how the service and its stock are.",
    )
    .answers_with(200, "The service.", &["Vary"], vec![json, page])
}

pub fn dashboard_file() -> Doc {
    let content = [dashboard::SCRIPT, dashboard::CSS, dashboard::TEXT];
    Doc::new(
        "getDashboardFile",
        DOCUMENTS,
        "A script or stylesheet of the dashboard at `/`, which needs nothing from other hosts.",
    )
    .answers_with(
        200,
        "The file.",
        &["ETag"],
        content.map(|media_type| Content::text(media_type, "…")).into(),
    )
    .not_modified()
    .refuses(&[NotFound])
}

pub fn document() -> Doc {
    let content = Content {
        media_type: JSON,
        schema: |_| json!({"type": "object", "required": ["openapi", "info", "paths"]}),
        example: json!({"openapi": "3.1.0", "info": {"title": "Holdfast"}, "paths": {}}),
    };
    Doc::new(
        "getOpenApi",
        DOCUMENTS,
        "The OpenAPI 3.1 document of this service, made from the code that serves it.",
    )
    .answers_with(200, "The document.", &[], vec![content])
}

pub fn page() -> Doc {
    let content = Content::text(HTML, "<!doctype html>…");
    Doc::new(
        "getDocs",
        DOCUMENTS,
        "The same as a page for people. It needs neither scripts nor other hosts.",
    )
    .answers_with(200, "The page.", &["Content-Security-Policy"], vec![content])
}

pub fn stylesheet() -> Doc {
    let content = Content::text("text/css; charset=utf-8", "body { … }");
    Doc::new("getDocsStylesheet", DOCUMENTS, "How the pages look.").answers_with(
        200,
        "The stylesheet.",
        &[],
        vec![content],
    )
}

pub fn problem() -> Doc {
    let json = Content {
        media_type: JSON,
        schema: Schemas::form::<AdviceForm>,
        example: json!(AdviceForm::of(InsufficientStock)),
    };
    Doc::new(
        "getProblem",
        DOCUMENTS,
        "Says what a code means, why it comes, what to do about it and whether to try again. This is where the `type` of \
         every problem leads. It is a page, and JSON for a client that sends `Accept: application/json` (or \
         `application/problem+json`).",
    )
    .answers_with(
        200,
        "The code.",
        &["Content-Security-Policy", "Vary"],
        vec![Content::text(HTML, "<!doctype html>…"), json],
    )
    .refuses(&[NotFound])
}
