//! Every URL that the service answers: start here.

use actix_web::http::header::ALLOW;
use actix_web::web::{PayloadConfig, ServiceConfig, resource, to};
use actix_web::{Route, web};

use super::body::MAX_BODY;
use super::problem::{Code, Problem};
use super::{health, inventory, operations, root};

const LEVELS: &str = "/api/inventory/stores/{storeId}/inventory";
const LEVEL: &str = "/api/inventory/stores/{storeId}/inventory/{sku}";
const ADJUST: &str = "/api/inventory/stores/{storeId}/inventory/{sku}/adjust";
const RESERVE: &str = "/api/inventory/stores/{storeId}/inventory/{sku}/reserve";
const RELEASE: &str = "/api/inventory/stores/{storeId}/inventory/{sku}/release";
const OPERATION: &str = "/api/operations/{key}";

/// Method, path, and what it does.
pub const TABLE: &[(&str, &str, &str)] = &[
    ("GET", LEVELS, "levels of a store, paged"),
    ("GET", LEVEL, "one level, with ETag"),
    (
        "PUT",
        LEVEL,
        "a count: sets the quantity, and makes the level where there is none",
    ),
    ("POST", ADJUST, "adds to the quantity, or takes what is available"),
    ("POST", RESERVE, "holds a quantity"),
    (
        "POST",
        RELEASE,
        "gives back what a reservation holds of this level, or a quantity of the caller's own holds",
    ),
    (
        "GET",
        OPERATION,
        "what became of the caller's write with that idempotency key",
    ),
    ("GET", "/api/health", "that it is there, and since when"),
    ("GET", "/api/health/live", "that it lives"),
    ("GET", "/api/health/ready", "whether it takes writes, or why not"),
    ("GET", "/", "this description"),
];

pub fn configure(config: &mut ServiceConfig) {
    config
        .app_data(PayloadConfig::new(MAX_BODY))
        // Tried in this order, each by a regular expression: what must be fastest comes first.
        .service(
            resource(LEVEL)
                .get(inventory::get)
                .put(inventory::set)
                .default_service(only("GET, PUT")),
        )
        .service(resource(ADJUST).post(inventory::adjust).default_service(only("POST")))
        .service(resource(RESERVE).post(inventory::reserve).default_service(only("POST")))
        .service(resource(RELEASE).post(inventory::release).default_service(only("POST")))
        .service(resource(LEVELS).get(inventory::list).default_service(only("GET")))
        .service(resource(OPERATION).get(operations::get).default_service(only("GET")))
        .service(resource("/api/health").get(health::live).default_service(only("GET")))
        .service(
            resource("/api/health/live")
                .get(health::live)
                .default_service(only("GET")),
        )
        .service(
            resource("/api/health/ready")
                .get(health::ready)
                .default_service(only("GET")),
        )
        .service(resource("/").get(root::describe).default_service(only("GET")));
}

/// What answers the methods that a resource does not have.
fn only(allowed: &'static str) -> Route {
    to(move || async move {
        let problem = Problem::new(Code::MethodNotAllowed, format!("Only {allowed} can be asked here."));
        Err::<web::Bytes, Problem>(problem.with_header(ALLOW, allowed))
    })
}
