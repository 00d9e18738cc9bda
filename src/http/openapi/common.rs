//! What many operations share: parameters, headers, and the form of a refusal.

use serde_json::{Map, Value, json};

use super::problems;
use super::schemas::Schemas;
use crate::domain::{Movement, ReservationId, ReservationStatus, Sku, StoreId, Timestamp};
use crate::http::forms::ReservationForm;
use crate::http::idempotency::KEY_PATTERN;
use crate::http::problem::{Code, Form};
use crate::http::query::{Kind, Parameter};

/// What stands in a path, by its name there.
pub fn path(name: &str, schemas: &mut Schemas) -> Value {
    let (about, schema, example) = match name {
        "sku" => (
            "What is stocked, percent-encoded: `AB/12` is `AB%2F12`.",
            schemas.form::<Sku>(),
            "85123A",
        ),
        "storeId" => (
            "Where it is stocked, percent-encoded.",
            schemas.form::<StoreId>(),
            "london",
        ),
        "reservationId" => (
            "The reservation, percent-encoded.",
            schemas.form::<ReservationId>(),
            "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6a",
        ),
        "code" => {
            let codes = Code::ALL.map(Code::as_str);
            (
                "The code of a problem.",
                json!({"type": "string", "enum": codes}),
                "insufficient_stock",
            )
        }
        _ => ("The idempotency key of the write, percent-encoded.", key(), "cart-7"),
    };
    json!({"name": name, "in": "path", "required": true, "description": about, "schema": schema, "example": example})
}

/// A path with the examples of `path` in it.
pub fn example_path(path: &str) -> String {
    path.replace("{sku}", "85123A")
        .replace("{storeId}", "london")
        .replace("{reservationId}", "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6a")
        .replace("{code}", "insufficient_stock")
        .replace("{key}", "cart-7")
}

fn key() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": KEY_PATTERN})
}

pub fn query(parameter: &Parameter, schemas: &mut Schemas) -> Value {
    let (kind, is_required) = match parameter.kind {
        Kind::Required(kind) => (*kind, true),
        kind => (kind, false),
    };
    let mut described = json!({
        "name": parameter.name,
        "in": "query",
        "required": is_required,
        "description": parameter.about,
        "schema": value(kind, parameter.name, schemas),
    });
    if let Kind::Text(example) = kind {
        described["example"] = example.into();
    }
    described
}

fn value(kind: Kind, name: &str, schemas: &mut Schemas) -> Value {
    match kind {
        Kind::Text(_) if name == "sku" => schemas.form::<Sku>(),
        Kind::Text(_) if name == "storeId" => schemas.form::<StoreId>(),
        Kind::Text(_) | Kind::Cursor => json!({"type": "string"}),
        Kind::Limit => json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
        Kind::Count(max) => json!({"type": "integer", "minimum": 0, "maximum": max, "default": 0}),
        Kind::Flag => json!({"type": "boolean", "default": false}),
        Kind::Choice => json!({"type": "boolean"}),
        Kind::Time => schemas.form::<Timestamp>(),
        Kind::Movement => schemas.form::<Movement>(),
        Kind::ReservationStatus => schemas.form::<ReservationStatus>(),
        Kind::Required(kind) => value(*kind, name, schemas),
    }
}

/// Request headers, which operations refer to by name. Without examples, as tools send examples: what names a
/// version or a key must fit the rest of the request.
pub fn parameters() -> Value {
    let header = |name: &str, schema: Value, about: &str| json!({"name": name, "in": "header", "required": false, "description": about, "schema": schema});
    json!({
        "X-Request-Id": header(
            "X-Request-Id",
            json!({"type": "string"}),
            "An id of your own for this request, to be found again in the answer, the event and the service's log. \
             Where it is missing, or has more than 128 characters or others than visible ASCII, the service makes one.",
        ),
        "Idempotency-Key": header(
            "Idempotency-Key",
            key(),
            "A name of your choice for this write, such as a UUID: it takes effect once, however often you send it. \
             The body's `idempotencyKey` is the same.",
        ),
        "If-Match": header(
            "If-Match",
            json!({"type": "string"}),
            "Only write if the resource is at one of these versions, as its `ETag` shows them (`\"7\"`); `*`: if it \
             exists. Else 412.",
        ),
        "If-None-Match": header(
            "If-None-Match",
            json!({"type": "string"}),
            "On a read: 304 without a body if the resource is still at this version (`\"7\"`). On a write: only if it \
             is at none of these; `*`: only if there is nothing yet. Else 412.",
        ),
        "Prefer": header(
            "Prefer",
            json!({"type": "string", "examples": ["return=minimal"]}),
            "`return=minimal`: no body where it would only say what a read would (RFC 7240). Other preferences are \
             passed over.",
        ),
    })
}

/// Reply headers, which answers refer to by name.
pub fn headers() -> Value {
    let header =
        |about: &str, example: &str| json!({"description": about, "schema": {"type": "string"}, "example": example});
    let always = |about: &str, example: &str| json!({"description": about, "required": true, "schema": {"type": "string"}, "example": example});
    json!({
        "X-Request-Id": always("The id of this request: yours, or one that the service made.", "checkout-7f3a"),
        "ETag": header("The version of the resource; a dry run has none.", "\"7\""),
        "Location": header("Where the new resource is; a dry run has none.", "/api/inventory/items/85123A"),
        "Link": header(
            "The next page, where there is one (RFC 8288).",
            "</api/inventory/items?after=abc>; rel=\"next\"",
        ),
        "Idempotency-Replayed": header(
            "`true`: the write took effect earlier, and this is the answer of then.",
            "true",
        ),
        "Preference-Applied": header("That `Prefer` was heeded.", "return=minimal"),
        "Retry-After": {
            "description": "Wait for so many seconds before you try again.",
            "schema": {"type": "integer", "minimum": 0},
            "example": 1,
        },
        "Content-Security-Policy": always("The page loads nothing from elsewhere.", "default-src 'none'"),
        "Vary": always("The answer depends on this header of the request.", "Accept"),
    })
}

pub fn header_references(names: &[&str]) -> Value {
    let names = names.iter().chain(&["X-Request-Id"]);
    let references = names.map(|name| {
        (
            name.to_string(),
            json!({"$ref": format!("#/components/headers/{name}")}),
        )
    });
    Value::Object(references.collect())
}

/// The members that codes add to a problem.
fn members() -> Value {
    json!({
        "fields": {
            "type": "array",
            "description": "What is wrong, and where.",
            "items": {
                "type": "object",
                "properties": {
                    "field": {"type": "string", "description": "A member, parameter or header."},
                    "message": {"type": "string", "description": "What is expected of it."},
                },
                "required": ["field", "message"],
            },
        },
        "sku": {"$ref": "#/components/schemas/Sku"},
        "storeId": {"$ref": "#/components/schemas/StoreId"},
        "reservationId": {"$ref": "#/components/schemas/ReservationId"},
        "reservationStatus": {"$ref": "#/components/schemas/ReservationStatus"},
        "reservation": {"$ref": "#/components/schemas/Reservation"},
        "lines": refused(
            "Each line that could not be held, sold or given back.",
            json!({
                "sku": {"$ref": "#/components/schemas/Sku"},
                "storeId": {"$ref": "#/components/schemas/StoreId"},
                "requested": number("How much was asked for."),
                "available": number("How much there is to be had; of a reservation, how much it holds."),
                "reserved": number("How much reservations hold."),
                "nextExpiry": {"$ref": "#/components/schemas/Timestamp"},
            }),
            &["sku", "storeId", "requested", "available"],
        ),
        "operations": refused(
            "Of an atomic batch, each operation that was refused. It also has the members of the single refusal.",
            json!({
                "index": number("Its place among the operations, from 0."),
                "status": {"type": "integer", "description": "What the single request would have been answered."},
            }),
            &["index", "status"],
        ),
        "currentVersion": number("The version at which the resource stands; 0: there is none."),
        "requested": number("How much was asked for."),
        "available": number("How much there is to be had."),
        "reserved": number("How much reservations hold; of `not_reserved`, your own."),
        "nextExpiry": {
            "$ref": "#/components/schemas/Timestamp",
            "description": "When the next hold ends.",
        },
        "limit": number("How many operations a batch may have."),
    })
}

/// A list of refusals, each with its code and sentence.
fn refused(about: &str, mut members: Value, required: &[&str]) -> Value {
    if let Some(members) = members.as_object_mut() {
        members.insert(
            "error".to_owned(),
            json!({"type": "string", "description": "The code of the refusal."}),
        );
        members.insert(
            "detail".to_owned(),
            json!({"type": "string", "description": "The refusal, as a sentence."}),
        );
    }
    let required: Vec<&str> = required.iter().chain(&["error", "detail"]).copied().collect();
    json!({
        "type": "array",
        "description": about,
        "items": {"type": "object", "properties": members, "required": required},
    })
}

fn number(about: &str) -> Value {
    json!({"type": "integer", "format": "uint64", "description": about})
}

/// `components/schemas/Problem`: what every problem has, and what the codes add to it.
pub fn add_problem(schemas: &mut Schemas) {
    // What the members refer to must be there.
    schemas.form::<Timestamp>();
    schemas.form::<ReservationId>();
    schemas.form::<ReservationStatus>();
    schemas.form::<ReservationForm>();
    let mut problem = schemas.form_inline::<Form>();
    if let (Some(properties), Value::Object(members)) = (problem["properties"].as_object_mut(), members()) {
        properties.extend(members);
    }
    problem["description"] =
        "A refusal (RFC 9457). Branch on `error`; which members it adds is told by its page.".into();
    schemas.insert("Problem", problem);
}

/// The answer that carries one of these codes, which have a status in common.
pub fn refusal(codes: &[Code], path: &str) -> Value {
    let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let titles: Vec<String> = codes
        .iter()
        .map(|code| format!("`{}`: {}.", code.as_str(), code.title()))
        .collect();
    let advice: Vec<_> = codes.iter().map(|code| code.advice()).collect();
    let in_all = |member: &&str| advice.iter().all(|advice| advice.always.contains(member));
    let always: Vec<&str> = advice
        .iter()
        .take(1)
        .flat_map(|first| first.always)
        .copied()
        .filter(|member| in_all(member))
        .collect();
    let status = codes.first().map(|code| code.status().as_u16());
    let mut headers = header_references(&[]);
    if codes.iter().any(|code| code.has_retry_after()) {
        headers["Retry-After"] = json!({"$ref": "#/components/headers/Retry-After"});
    }
    let examples: Map<String, Value> = codes
        .iter()
        .map(|code| {
            (
                code.as_str().to_owned(),
                json!({"value": problems::example(*code, path)}),
            )
        })
        .collect();
    json!({
        "description": titles.join(" "),
        "headers": headers,
        "content": {"application/problem+json": {
            "schema": {
                "allOf": [{"$ref": "#/components/schemas/Problem"}],
                "properties": {"error": {"enum": names}, "status": {"const": status}},
                "required": always,
            },
            "examples": examples,
        }},
    })
}
