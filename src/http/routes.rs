//! Every URL that the service answers: start here.

use actix_web::http::Method;
use actix_web::http::header::ALLOW;
use actix_web::middleware::Compress;
use actix_web::web::{PayloadConfig, ServiceConfig, resource, route, to};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Responder, Route, guard};

use super::body::MAX_BODY;
use super::openapi::doc::Doc;
use super::openapi::docs;
use super::problem::{Code, Problem};
use super::{
    batch, edge, events, health, items, levels, openapi, operations, pages, products, reservations, root, stores,
    transfers,
};

const LEVELS: &str = "/api/inventory/stores/{storeId}/inventory";
const LEVEL: &str = "/api/inventory/stores/{storeId}/inventory/{sku}";
const ADJUST: &str = "/api/inventory/stores/{storeId}/inventory/{sku}/adjust";
const RESERVE: &str = "/api/inventory/stores/{storeId}/inventory/{sku}/reserve";
const RELEASE: &str = "/api/inventory/stores/{storeId}/inventory/{sku}/release";

/// A URL, and what it does by which method.
pub struct Resource {
    pub path: &'static str,
    pub methods: Vec<Entry>,
    routes: Vec<(Method, Route)>,
    compressed: Compressed,
}

/// Which answers may be large, and are then compressed for a client that asks for it.
#[derive(PartialEq, Eq)]
enum Compressed {
    None,
    Reads,
    All,
}

pub struct Entry {
    pub method: Method,
    /// In a few words.
    pub does: &'static str,
    /// At length, for the OpenAPI document.
    pub doc: fn() -> Doc,
    pub right: Right,
}

/// What a caller must be allowed to do, where callers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Nothing: anybody may ask.
    Open,
    /// To read, in the caller's stores.
    Read,
    /// To move stock, in the caller's stores.
    Move,
    /// To run what concerns all stores.
    Operate,
    /// To change who may do what, and what there is to be sold.
    Administer,
}

fn at(path: &'static str) -> Resource {
    Resource {
        path,
        methods: Vec::new(),
        routes: Vec::new(),
        compressed: Compressed::None,
    }
}

impl Resource {
    fn on<F, A>(mut self, method: Method, does: &'static str, handler: F, doc: fn() -> Doc) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.routes
            .push((method.clone(), route().method(method.clone()).to(handler)));
        let right = if method == Method::GET {
            Right::Read
        } else {
            Right::Move
        };
        self.methods.push(Entry {
            method,
            does,
            doc,
            right,
        });
        self
    }

    /// Says it of the method before it: else reads need [`Right::Read`], and writes [`Right::Move`].
    fn needs(mut self, right: Right) -> Self {
        if let Some(entry) = self.methods.last_mut() {
            entry.right = right;
        }
        self
    }

    fn compressed(self) -> Self {
        let compressed = Compressed::All;
        Self { compressed, ..self }
    }

    /// Its writes are answered shortly, and often.
    fn compressed_reads(self) -> Self {
        let compressed = Compressed::Reads;
        Self { compressed, ..self }
    }

    /// HEAD is answered as well: as GET, without the body.
    fn get<F, A>(mut self, does: &'static str, handler: F, doc: fn() -> Doc) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.routes
            .push((Method::HEAD, route().method(Method::HEAD).to(handler.clone())));
        self.on(Method::GET, does, handler, doc)
    }

    fn post<F, A>(self, does: &'static str, handler: F, doc: fn() -> Doc) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::POST, does, handler, doc)
    }

    fn put<F, A>(self, does: &'static str, handler: F, doc: fn() -> Doc) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::PUT, does, handler, doc)
    }

    fn delete<F, A>(self, does: &'static str, handler: F, doc: fn() -> Doc) -> Self
    where
        F: Handler<A>,
        A: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.on(Method::DELETE, does, handler, doc)
    }
}

/// Every resource. Routing tries them in this order, each by a regular expression: what must be fastest comes first.
pub fn table() -> Vec<Resource> {
    vec![
        at(LEVEL).get("one level, with its ETag", levels::get, docs::level).put(
            "a count: sets the quantity, and makes the level where there is none",
            levels::set,
            docs::count_level,
        ),
        at(ADJUST).post(
            "adjusts: sells, receives or removes",
            levels::adjust,
            docs::adjust_level,
        ),
        at(RESERVE).post("reserves: holds a quantity", levels::reserve, docs::reserve_level),
        at(RELEASE).post(
            "releases what a reservation holds of this level, or a quantity of the caller's own holds",
            levels::release,
            docs::release_level,
        ),
        at("/api/inventory/batch")
            .post(
                "batch: many operations, each standing for itself or all in one step",
                batch::run,
                docs::batch,
            )
            .compressed(),
        at("/api/reservations")
            .get(
                "reservations, newest first, paged",
                reservations::list,
                docs::reservations,
            )
            .post(
                "reserves over any SKUs and stores, all or nothing",
                reservations::create,
                docs::create_reservation,
            )
            .compressed_reads(),
        at("/api/reservations/{reservationId}")
            .get("one reservation", reservations::get, docs::reservation)
            .compressed(),
        at("/api/reservations/{reservationId}/commit").post(
            "sells what is held, or a part of it",
            reservations::commit,
            docs::commit_reservation,
        ),
        at("/api/reservations/{reservationId}/release").post(
            "gives back what is held, or a part of it",
            reservations::release,
            docs::release_reservation,
        ),
        at("/api/reservations/{reservationId}/extend").post(
            "sets when it is over",
            reservations::extend,
            docs::extend_reservation,
        ),
        at("/api/transfers").post(
            "transfers stock of a SKU from one store to another",
            transfers::transfer,
            docs::transfer,
        ),
        at(LEVELS)
            .get("levels of a store, paged", levels::list, docs::levels)
            .compressed(),
        at("/api/inventory/items")
            .get("items, paged, searched", items::list, docs::items)
            .post("creates an item", items::create, docs::create_item)
            .compressed(),
        at("/api/inventory/items/{sku}").get(
            "an item with its totals and levels, with its ETag",
            items::get,
            docs::item,
        ),
        at("/api/inventory/items/{sku}/quantity").put("a count in one store", items::set, docs::count_item),
        at("/api/inventory/items/{sku}/reserve").post("reserves in one store", items::reserve, docs::reserve_item),
        at("/api/inventory/items/{sku}/release").post("releases in one store", items::release, docs::release_item),
        at("/api/inventory/items/{sku}/history").get("the item as it stood at a time", items::history, docs::history),
        at("/api/products")
            .get("products, paged, searched", products::list, docs::products)
            .post("creates a product", products::create, docs::create_product)
            .needs(Right::Administer)
            .compressed_reads(),
        at("/api/products/{sku}")
            .get("a product, with its ETag", products::get, docs::product)
            .put("sets all that a product has", products::replace, docs::replace_product)
            .needs(Right::Administer)
            .delete(
                "deletes a product that has no stock",
                products::delete,
                docs::delete_product,
            )
            .needs(Right::Administer),
        at("/api/stores")
            .get("stores, paged, searched", stores::list, docs::stores)
            .post("creates a store", stores::create, docs::create_store)
            .needs(Right::Administer)
            .compressed_reads(),
        at("/api/stores/{storeId}")
            .get("a store, with its ETag", stores::get, docs::store)
            .put("sets all that a store has", stores::replace, docs::replace_store)
            .needs(Right::Administer)
            .delete("deletes a store that has no stock", stores::delete, docs::delete_store)
            .needs(Right::Administer),
        at("/api/events")
            .get(
                "the log in order, paged; waits for news if asked",
                events::events,
                docs::events,
            )
            .compressed(),
        at("/api/movements")
            .get(
                "changes of quantities, newest first, paged",
                events::movements,
                docs::movements,
            )
            .compressed(),
        at("/api/operations/{key}").get(
            "what became of the caller's write with that idempotency key",
            operations::get,
            docs::operation,
        ),
        at("/api/health")
            .get("that it is there, and since when", health::live, docs::health)
            .needs(Right::Open),
        at("/api/health/live")
            .get("that it lives", health::live, docs::live)
            .needs(Right::Open),
        at("/api/health/ready")
            .get("whether it takes writes, or why not", health::ready, docs::ready)
            .needs(Right::Open),
        at("/")
            .get("this service and its routes", root::describe, docs::service)
            .needs(Right::Open),
        at("/api/openapi.json")
            .get("this API, as an OpenAPI document", openapi::get, docs::document)
            .needs(Right::Open)
            .compressed(),
        at("/api/docs")
            .get("this API, as a page", pages::reference::get, docs::page)
            .needs(Right::Open)
            .compressed(),
        at("/api/docs/style.css")
            .get("how the pages look", pages::stylesheet, docs::stylesheet)
            .needs(Right::Open),
        at("/problems/{code}")
            .get(
                "what a problem means and what to do",
                pages::problems::get,
                docs::problem,
            )
            .needs(Right::Open),
    ]
}

pub fn configure(config: &mut ServiceConfig) {
    config.app_data(PayloadConfig::new(MAX_BODY));
    for entry in table() {
        let Resource {
            path,
            methods,
            routes,
            compressed,
        } = entry;
        let mut allowed: Vec<&str> = methods.iter().map(|entry| entry.method.as_str()).collect();
        if allowed.contains(&"GET") {
            allowed.push("HEAD");
        }
        allowed.push("OPTIONS");
        let allowed = allowed.join(", ");
        let is_read = |method: &Method| *method == Method::GET || *method == Method::HEAD;
        let is_apart = |method: &Method| compressed == Compressed::Reads && is_read(method);
        let (reads, others): (Vec<_>, Vec<_>) = routes.into_iter().partition(|(method, _)| is_apart(method));
        if !reads.is_empty() {
            let reads = serving(path, reads).guard(guard::fn_guard(move |context| is_read(&context.head().method)));
            config.service(reads.wrap_fn(edge::spare_small).wrap(Compress::default()));
        }
        let resource = serving(path, others).default_service(refused(allowed));
        match compressed {
            Compressed::All => config.service(resource.wrap_fn(edge::spare_small).wrap(Compress::default())),
            Compressed::None | Compressed::Reads => config.service(resource),
        };
    }
}

fn serving(path: &str, routes: Vec<(Method, Route)>) -> actix_web::Resource {
    let routes = routes.into_iter().map(|(_, route)| route);
    routes.fold(resource(path), |resource, route| resource.route(route))
}

/// What answers the methods that a resource does not have.
fn refused(allowed: String) -> Route {
    to(move |request: HttpRequest| {
        let allowed = allowed.clone();
        async move {
            if request.method() == Method::OPTIONS {
                return Ok(HttpResponse::NoContent().insert_header((ALLOW, allowed)).finish());
            }
            let problem = Problem::new(Code::MethodNotAllowed, format!("Only {allowed} can be asked here."));
            Err(problem.with_header(ALLOW, &allowed))
        }
    })
}
