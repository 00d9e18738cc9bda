//! The OpenAPI 3.1 document: made once from the table of routes, what `docs/` says of each, and the schemas
//! of the types that are read and written. It cannot fall behind them, as it has nothing of its own.

mod common;
pub mod doc;
pub mod docs;
mod examples;
pub mod guide;
pub mod node;
pub mod problems;
mod schemas;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use actix_web::http::header::ContentType;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::problem::{Code, Problem};
use super::query::Query;
use super::routes::Entry;
use super::{State, routes};
use doc::{Answer, Content, Doc};
use schemas::Schemas;

/// Where callers must log in, and where they need not.
static GUARDED: LazyLock<Document> = LazyLock::new(|| Document::new(make(true)));
static OPEN: LazyLock<Document> = LazyLock::new(|| Document::new(make(false)));

pub struct Document {
    pub value: Value,
    bytes: Bytes,
}

impl Document {
    fn new(value: Value) -> Self {
        let bytes = value.to_string().into();
        Self { value, bytes }
    }
}

/// `GET /api/openapi.json`
pub async fn get(state: Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    Ok(HttpResponse::Ok()
        .insert_header(ContentType::json())
        .body(document(&state).bytes.clone()))
}

pub fn document(state: &State) -> &'static Document {
    if state.access.is_some() { &GUARDED } else { &OPEN }
}

fn make(is_guarded: bool) -> Value {
    let mut schemas = Schemas::new();
    let (mut paths, mut ids) = (Map::new(), BTreeSet::new());
    for resource in routes::table() {
        let methods = resource.methods.iter().map(|entry| {
            let doc = (entry.doc)().needing(entry.right);
            let mut operation = operation(&doc, entry, resource.path, &mut schemas);
            operation["security"] = common::security(&doc, entry.right, is_guarded);
            // A resource that is mounted once more is there for those who know it from the Node services.
            if !ids.insert(doc.id) {
                operation["operationId"] = format!("{}AsBefore", doc.id).into();
                operation["tags"] = json!([docs::NODE]);
            }
            (entry.method.as_str().to_lowercase(), operation)
        });
        let mut item: Map<String, Value> = methods.collect();
        let parameters: Vec<Value> = names(resource.path)
            .map(|name| common::path(name, &mut schemas))
            .collect();
        if !parameters.is_empty() {
            item.insert("parameters".to_owned(), parameters.into());
        }
        paths.insert(resource.path.to_owned(), item.into());
    }
    common::add_problem(&mut schemas);
    let tags: Vec<Value> = docs::TAGS
        .iter()
        .map(|(name, about)| json!({"name": name, "description": about}))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast",
            "summary": "A consistency-first inventory service: never oversold, never lost, never applied twice.",
            "description": guide::text(),
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "The service that gave you this document."}],
        "tags": tags,
        "paths": paths,
        "components": {
            "parameters": common::parameters(),
            "headers": common::headers(),
            "schemas": schemas.into_components(),
            "securitySchemes": common::security_schemes(),
        },
    })
}

/// The names between the braces of a path.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('{')
        .skip(1)
        .filter_map(|part| part.split_once('}').map(|(name, _)| name))
}

fn operation(doc: &Doc, entry: &Entry, path: &str, schemas: &mut Schemas) -> Value {
    let headers = doc
        .headers
        .iter()
        .map(|name| json!({"$ref": format!("#/components/parameters/{name}")}));
    let query = doc.query.iter().map(|parameter| common::query(parameter, schemas));
    let parameters: Vec<Value> = query.chain(headers).collect();
    let mut operation = json!({
        "operationId": doc.id,
        "tags": [doc.tag],
        "summary": sentence(entry.does),
        "description": format!("{}\n\n{}", doc.about, entry.right.about()),
        "x-right": entry.right.as_str(),
        "parameters": parameters,
        "responses": responses(doc, path, schemas),
    });
    if !doc.body.is_empty() {
        operation["requestBody"] = json!({
            "required": !doc.is_body_optional,
            "content": content(&doc.body, schemas),
        });
    }
    operation
}

/// With a capital letter.
fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}

fn responses(doc: &Doc, path: &str, schemas: &mut Schemas) -> Map<String, Value> {
    let mut responses = Map::new();
    for answer in &doc.answers {
        responses.insert(answer.status.to_string(), response(answer, schemas));
    }
    let statuses: BTreeSet<u16> = doc.codes.iter().map(|code| doc.status(*code)).collect();
    for status in statuses {
        let codes: Vec<Code> = doc
            .codes
            .iter()
            .copied()
            .filter(|code| doc.status(*code) == status)
            .collect();
        let path = common::example_path(path);
        let refusal = match doc.node {
            None => common::refusal(&codes, &path),
            Some(names) => common::node_refusal(&codes, names, &path),
        };
        responses.insert(status.to_string(), refusal);
    }
    responses
}

fn response(answer: &Answer, schemas: &mut Schemas) -> Value {
    let mut response = json!({"description": answer.about, "headers": common::header_references(answer.headers)});
    if !answer.content.is_empty() {
        response["content"] = content(&answer.content, schemas);
    }
    response
}

fn content(content: &[Content], schemas: &mut Schemas) -> Value {
    let media = content.iter().map(|content| {
        let media = json!({"schema": (content.schema)(schemas), "example": content.example});
        (content.media_type.to_owned(), media)
    });
    Value::Object(media.collect())
}
