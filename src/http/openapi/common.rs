//! What many operations share: parameters, headers, and the form of a refusal.

use serde_json::{Map, Value, json};

use super::doc::Doc;
use super::problems;
use super::schemas::Schemas;
use crate::domain::account::AccountName;
use crate::domain::{EventKind, Movement, RequestId, ReservationId, ReservationStatus, Sku, StoreId, Timestamp};
use crate::http::dashboard;
use crate::http::forms::ReservationForm;
use crate::http::idempotency::KEY_PATTERN;
use crate::http::legacy::inventory::CENTRAL;
use crate::http::legacy::refusal::{self, ErrorForm};
use crate::http::problem::{Code, Form, Problem};
use crate::http::query::{Kind, Parameter};
use crate::http::routes::Right;

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
        "id" => (
            "To read: a store. To write: the `stockId` of an entry. Percent-encoded.",
            json!({"type": "string", "minLength": 1}),
            STOCK_ID,
        ),
        "username" => ("The user.", schemas.form::<AccountName>(), "anna"),
        "tokenId" => (
            "The id of the service token.",
            json!({"type": "string"}),
            "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6c",
        ),
        "jobId" => ("The job.", json!({"type": "string"}), JOB_ID),
        "webhookId" => ("The id of the webhook.", json!({"type": "string"}), WEBHOOK_ID),
        "code" => {
            let codes = Code::ALL.map(Code::as_str);
            (
                "The code of a problem.",
                json!({"type": "string", "enum": codes}),
                "insufficient_stock",
            )
        }
        "file" => (
            "The name of the file.",
            json!({"type": "string", "enum": dashboard::names().collect::<Vec<_>>()}),
            "app.js",
        ),
        _ => ("The idempotency key of the write, percent-encoded.", key(), "cart-7"),
    };
    json!({"name": name, "in": "path", "required": true, "description": about, "schema": schema, "example": example})
}

/// The `stockId` of 85123A in London.
pub const STOCK_ID: &str = "Njpsb25kb244NTEyM0E";

/// An import.
pub const JOB_ID: &str = "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6d";
pub const WEBHOOK_ID: &str = "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6d";

/// A path with the examples of `path` in it.
pub fn example_path(path: &str) -> String {
    path.replace("{sku}", "85123A")
        .replace("{storeId}", "london")
        .replace("{reservationId}", "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6a")
        .replace("{id}", STOCK_ID)
        .replace("{code}", "insufficient_stock")
        .replace("{file}", "app.js")
        .replace("{key}", "cart-7")
        .replace("{username}", "anna")
        .replace("{jobId}", JOB_ID)
        .replace("{tokenId}", "01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6c")
        .replace("{webhookId}", WEBHOOK_ID)
}

const BEARER: &str = "bearer";

pub fn security_schemes() -> Value {
    json!({BEARER: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "A token of `POST /api/auth/login`, or a service token of `POST /api/tokens`. The role that an operation \
                        needs stands beside its scheme; roles above it will do as well.",
    }})
}

/// What an operation asks of its caller: the least role, or nothing. An empty object says that it also goes without.
pub fn security(doc: &Doc, right: Right, is_guarded: bool) -> Value {
    match right.role() {
        Some(role) if is_guarded => json!([{BEARER: [role]}]),
        Some(role) => json!([{}, {BEARER: [role]}]),
        // Open to anybody, but not the same to everybody.
        None if doc.codes.contains(&Code::Unauthenticated) && doc.id != "login" => json!([{}, {BEARER: []}]),
        None => json!([]),
    }
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
        Kind::Event => schemas.form::<EventKind>(),
        Kind::ReservationStatus => schemas.form::<ReservationStatus>(),
        Kind::Format(offered) => {
            let names: Vec<&str> = offered.iter().map(|format| format.as_str()).collect();
            json!({"type": "string", "enum": names})
        }
        Kind::OneOf(words) => json!({"type": "string", "enum": words}),
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
             The body's `idempotencyKey` is the same. A write that puts nothing in the log keeps none: its repeat is \
             carried out again, and it says what that does.",
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
        "Last-Event-ID": header(
            "Last-Event-ID",
            json!({"type": "string", "pattern": "^[0-9]{0,15}$"}),
            "The `id` that you have seen last: the stream goes on behind it. Browsers send it by themselves when they \
             connect again, and it counts more than `after`.",
        ),
        "X-Store-Id": header(
            "X-Store-Id",
            json!({"allOf": [{"$ref": "#/components/schemas/StoreId"}], "default": CENTRAL}),
            "The store.",
        ),
        "Prefer": header(
            "Prefer",
            json!({"type": "string", "examples": ["return=minimal"]}),
            "`return=minimal`: no body where it would only say what a read would (RFC 7240). Of an import: \
             `respond-async`, which is so in any case, and `wait=SECONDS`, up to 30, for its end. Other preferences \
             are passed over.",
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
        "RateLimit": header(
            "How many requests are left of a limit (`r`), and in how many seconds all of them are again (`t`), where \
             there is one.",
            "\"principal\";r=50;t=30",
        ),
        "RateLimit-Policy": header(
            "The limits that the request counted towards: `q` requests in `w` seconds.",
            "\"principal\";q=100;w=60",
        ),
        "Content-Disposition": header(
            "Of CSV, and of what is to be downloaded: that it is a file, and what to call it.",
            "attachment; filename=\"levels.csv\"",
        ),
        "X-Accel-Buffering": always("Tells nginx to pass it on as it comes.", "no"),
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
        "limit": number("How many operations a batch may have; of `quota_exceeded`, how many lines you may hold, how \
                         many webhooks there may be, or how many imports of yours may come in at a time."),
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

/// `components/schemas/Problem` and `NodeError`: what every refusal has, and what the codes add to it.
pub fn add_problem(schemas: &mut Schemas) {
    // What the members refer to must be there.
    schemas.form::<Timestamp>();
    schemas.form::<ReservationId>();
    schemas.form::<ReservationStatus>();
    schemas.form::<ReservationForm>();
    let problem = "A refusal (RFC 9457). Branch on `error`; which members it adds is told by its page.";
    let node =
        "A refusal as the Node services wrote it. Branch on `error`; it adds the members of the problem of that code.";
    let forms = [
        ("Problem", problem, schemas.form_inline::<Form>()),
        ("NodeError", node, schemas.form_inline::<ErrorForm>()),
    ];
    for (name, about, mut form) in forms {
        if let (Some(properties), Value::Object(members)) = (form["properties"].as_object_mut(), members()) {
            properties.extend(members);
        }
        form["description"] = about.into();
        schemas.insert(name, form);
    }
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
    if codes.contains(&Code::RateLimited) {
        for name in ["RateLimit", "RateLimit-Policy"] {
            headers[name] = json!({"$ref": format!("#/components/headers/{name}")});
        }
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

/// The same in the form of the Node services; `names` are what else than by its code they call a malformed request.
pub fn node_refusal(codes: &[Code], names: &[&str], path: &str) -> Value {
    let names = if codes.contains(&Code::InvalidRequest) {
        names
    } else {
        &[]
    };
    let errors: Vec<&str> = codes
        .iter()
        .map(|code| code.as_str())
        .chain(names.iter().copied())
        .collect();
    let own = codes
        .iter()
        .map(|code| format!("`{}`: {}.", code.as_str(), code.title()));
    let others = names
        .iter()
        .map(|name| format!("`{name}`: that is what is wrong with it."));
    let titles: Vec<String> = own.chain(others).collect();
    let mut headers = header_references(&[]);
    if codes.iter().any(|code| code.has_retry_after()) {
        headers["Retry-After"] = json!({"$ref": "#/components/headers/Retry-After"});
    }
    let request_id = RequestId::from(uuid::Uuid::from_u128(0x0193_5f4e_7b6a_7c3d_9a51_2f1e_8c0d_4b6b));
    let examples = codes.iter().map(|code| {
        let problem = match (code, names.first()) {
            (Code::InvalidRequest, None) => Problem::invalid("sku", "must have 1 to 64 characters, not 65"),
            (Code::InvalidRequest, Some(&refusal::DELTA_REQUIRED)) => Problem::invalid("delta", "must not be 0"),
            (code, _) => problems::problem_of(*code),
        };
        let example = refusal::form(problem, path, &request_id);
        (code.as_str().to_owned(), json!({"value": example}))
    });
    let examples: Map<String, Value> = examples.collect();
    json!({
        "description": titles.join(" "),
        "headers": headers,
        "content": {"application/json": {
            "schema": {
                "allOf": [{"$ref": "#/components/schemas/NodeError"}],
                "properties": {"error": {"enum": errors}},
            },
            "examples": examples,
        }},
    })
}
