//! Every URL that the service answers: start here.

use std::rc::Rc;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::guard::{Guard, GuardContext};
use actix_web::http::Method;
use actix_web::http::header::ALLOW;
use actix_web::middleware::{Compress, Next, from_fn};
use actix_web::web::{Data, ServiceConfig, resource, route, to};
use actix_web::{Error, FromRequest, Handler, HttpRequest, HttpResponse, Responder, Route, guard};

use super::legacy::{self, inventory, push, refusal, stock};
use super::openapi::doc::Doc;
use super::openapi::docs;
use super::openapi::node;
use super::problem::{Code, Problem};
use super::traffic::Met;
use super::{
    State, access, auth, batch, dashboard, edge, events, health, imports, items, jobs, levels, log_level, metrics,
    openapi, operations, pages, products, reservations, root, sales, stores, stream, sync, tokens, transfers, users,
    webhooks,
};
use crate::domain::Role;

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

/// What requests are counted by: a method of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// [`OTHER`] for those that the resource does not have.
    pub method: String,
    pub path: &'static str,
    /// It is a write of stock.
    pub moves_stock: bool,
}

/// What is said of requests that have met no route, or a method that a route does not have.
pub const OTHER: &str = "other";

/// The place of the label of requests that have met no route: of unknown paths, and of those that were refused before.
pub const UNROUTED: usize = 0;

/// What requests are counted by: a known number of labels, whatever is asked.
pub fn labels() -> Vec<Label> {
    let unrouted = Label {
        method: OTHER.to_owned(),
        path: OTHER,
        moves_stock: false,
    };
    let routed = table().into_iter().flat_map(|resource| resource.labels());
    std::iter::once(unrouted).chain(routed).collect()
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

impl Right {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Move => "move",
            Self::Operate => "operate",
            Self::Administer => "administer",
        }
    }

    /// Who has it, for the OpenAPI document.
    pub fn about(self) -> &'static str {
        match self {
            Self::Open => "Anybody may ask this.",
            Self::Read => "Every role may ask this, and is answered from the stores that it sees.",
            Self::Move => "This takes a clerk of every store that it touches, an operator or an admin.",
            Self::Operate => "This takes an operator or an admin.",
            Self::Administer => "This takes an admin.",
        }
    }

    /// The least role that has it.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Open => None,
            Self::Read => Some(Role::Viewer),
            Self::Move => Some(Role::Clerk),
            Self::Operate => Some(Role::Operator),
            Self::Administer => Some(Role::Admin),
        }
    }
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

    /// One for each of its methods, and one for all others.
    fn labels(&self) -> Vec<Label> {
        let of_entry = |entry: &Entry| Label {
            method: entry.method.to_string(),
            path: self.path,
            moves_stock: entry.right == Right::Move,
        };
        let others = Label {
            method: OTHER.to_owned(),
            path: self.path,
            moves_stock: false,
        };
        self.methods.iter().map(of_entry).chain([others]).collect()
    }

    /// Leaves the place of the request's label, of which those of this resource begin at `first`, and lets every request by.
    fn mark(&self, met: &Met, first: usize) -> Mark {
        let methods: Rc<[Method]> = self.methods.iter().map(|entry| entry.method.clone()).collect();
        let met = met.clone();
        Mark { met, first, methods }
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

fn login(path: &'static str) -> Resource {
    at(path)
        .post("logs in: a token for a password", auth::login, docs::login)
        .needs(Right::Open)
}

fn register(path: &'static str) -> Resource {
    at(path)
        .post("makes a user", auth::register, docs::register)
        .needs(Right::Open)
}

fn products(path: &'static str) -> Resource {
    at(path)
        .get("products, paged, searched", products::list, docs::products)
        .post("creates a product", products::create, docs::create_product)
        .needs(Right::Administer)
        .compressed_reads()
}

fn product(path: &'static str) -> Resource {
    at(path)
        .get("a product, with its ETag", products::get, docs::product)
        .put("sets all that a product has", products::replace, docs::replace_product)
        .needs(Right::Administer)
        .delete(
            "deletes a product that has no stock",
            products::delete,
            docs::delete_product,
        )
        .needs(Right::Administer)
}

fn stores(path: &'static str) -> Resource {
    at(path)
        .get("stores, paged, searched", stores::list, docs::stores)
        .post("creates a store", stores::create, docs::create_store)
        .needs(Right::Administer)
        .compressed_reads()
}

fn store(path: &'static str) -> Resource {
    at(path)
        .get("a store, with its ETag", stores::get, docs::store)
        .put("sets all that a store has", stores::replace, docs::replace_store)
        .needs(Right::Administer)
        .delete("deletes a store that has no stock", stores::delete, docs::delete_store)
        .needs(Right::Administer)
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
        products("/api/products"),
        product("/api/products/{sku}"),
        stores("/api/stores"),
        store("/api/stores/{storeId}"),
        at("/api/events")
            .get(
                "the log in order, paged; waits for news if asked",
                events::events,
                docs::events,
            )
            .compressed(),
        at("/api/events/stream").get(
            "the log as it grows, as server-sent events",
            stream::follow,
            docs::event_stream,
        ),
        at("/api/movements")
            .get(
                "changes of quantities, newest first, paged",
                events::movements,
                docs::movements,
            )
            .compressed(),
        at("/api/analytics/sales")
            .get(
                "what was sold, by SKU, store and time, and how long the stock lasts",
                sales::sales,
                docs::sales,
            )
            .compressed(),
        at("/api/sync/push")
            .post(
                "a store reports its counts, all or nothing",
                sync::push,
                docs::push_counts,
            )
            .compressed(),
        at("/api/sync/totals")
            .get("what lies in each store and in all", sync::totals, docs::sync_totals)
            .compressed(),
        at("/api/sync/status").get(
            "how far the totals have come, and which stores are overdue",
            sync::status,
            docs::sync_status,
        ),
        at("/api/sync")
            .post("brings the totals up to date now", sync::run, docs::run_sync)
            .needs(Right::Operate),
        at("/api/sync/start")
            .post("has the sync run by itself", sync::start, docs::start_sync)
            .needs(Right::Operate),
        at("/api/sync/stop")
            .post("has the sync run only when asked", sync::stop, docs::stop_sync)
            .needs(Right::Operate),
        at("/api/operations/{key}").get(
            "what became of the caller's write with that idempotency key",
            operations::get,
            docs::operation,
        ),
        at("/api/imports")
            .post(
                "imports: counts from CSV or NDJSON of any length, in the background",
                imports::create,
                docs::create_import,
            )
            .needs(Right::Operate),
        at("/api/jobs")
            .get("imports, newest first, paged", jobs::list, docs::jobs)
            .needs(Right::Operate)
            .compressed(),
        at("/api/jobs/{jobId}")
            .get("how an import stands", jobs::get, docs::job)
            .needs(Right::Operate)
            .delete("takes an import away that is over", jobs::delete, docs::delete_job)
            .needs(Right::Operate),
        at("/api/jobs/{jobId}/errors")
            .get("the lines that were refused, as a file", jobs::errors, docs::job_errors)
            .needs(Right::Operate),
        at("/api/jobs/{jobId}/cancel")
            .post("stops an import", jobs::cancel, docs::cancel_job)
            .needs(Right::Operate),
        login("/api/auth/login"),
        register("/api/auth/register"),
        at("/api/users")
            .get("users, paged", users::list, docs::users)
            .needs(Right::Administer)
            .compressed(),
        at("/api/users/{username}")
            .get("one user, with its ETag", users::get, docs::user)
            .needs(Right::Administer)
            .put("changes a user", users::change, docs::change_user)
            .needs(Right::Administer)
            .delete("deletes a user", users::delete, docs::delete_user)
            .needs(Right::Administer),
        at("/api/tokens")
            .get("service tokens, oldest first, paged", tokens::list, docs::tokens)
            .needs(Right::Administer)
            .post(
                "makes a service token, and shows it once",
                tokens::create,
                docs::create_token,
            )
            .needs(Right::Administer)
            .compressed_reads(),
        at("/api/tokens/{tokenId}")
            .get("one service token, with its ETag", tokens::get, docs::token)
            .needs(Right::Administer)
            .delete("revokes a service token", tokens::revoke, docs::revoke_token)
            .needs(Right::Administer),
        at("/api/webhooks")
            .get("webhooks, oldest first, paged", webhooks::list, docs::webhooks)
            .needs(Right::Administer)
            .post(
                "makes a webhook: a subscription to events",
                webhooks::create,
                docs::create_webhook,
            )
            .needs(Right::Administer)
            .compressed_reads(),
        at("/api/webhooks/{webhookId}")
            .get(
                "one webhook, and how its deliveries stand",
                webhooks::get,
                docs::webhook,
            )
            .needs(Right::Administer)
            .put("sets all that a webhook has", webhooks::replace, docs::replace_webhook)
            .needs(Right::Administer)
            .delete("deletes a webhook", webhooks::delete, docs::delete_webhook)
            .needs(Right::Administer),
        at("/api/webhooks/{webhookId}/test")
            .post("sends a test delivery at once", webhooks::test, docs::test_webhook)
            .needs(Right::Administer),
        at("/api/webhooks/{webhookId}/dead-letters")
            .get(
                "what could not be delivered, oldest first, paged",
                webhooks::dead_letters,
                docs::dead_letters,
            )
            .needs(Right::Administer)
            .compressed(),
        at("/api/webhooks/{webhookId}/dead-letters/redeliver")
            .post(
                "sends dead letters once more",
                webhooks::redeliver,
                docs::redeliver_dead_letters,
            )
            .needs(Right::Administer),
        at("/api/log-level")
            .get("what is logged", log_level::get, docs::log_level)
            .needs(Right::Administer)
            .put("changes what is logged, at once", log_level::set, docs::set_log_level)
            .needs(Right::Administer),
        at("/api/health")
            .get("that it is there, and since when", health::live, docs::health)
            .needs(Right::Open),
        at("/api/health/live")
            .get("that it lives", health::live, docs::live)
            .needs(Right::Open),
        at("/api/health/ready")
            .get("whether it takes writes, or why not", health::ready, docs::ready)
            .needs(Right::Open),
        at("/api/metrics")
            .get("how the service does: everything", metrics::all, docs::metrics)
            .compressed(),
        at("/api/metrics/requests")
            .get("requests by route and status", metrics::requests, docs::request_metrics)
            .compressed(),
        at("/api/metrics/inventory").get(
            "the stock, and what was done with it",
            metrics::inventory,
            docs::inventory_metrics,
        ),
        at("/api/metrics/concurrency").get(
            "how writes get on beside one another",
            metrics::concurrency,
            docs::concurrency_metrics,
        ),
        at("/api/metrics/persistence").get("how the log gets on", metrics::persistence, docs::persistence_metrics),
        at("/api/metrics/background").get(
            "streams, imports, sums of sales, and the service's own log",
            metrics::background,
            docs::background_metrics,
        ),
        at("/api/metrics/system").get("the process and its machine", metrics::system, docs::system_metrics),
        at("/api/metrics/limits").get(
            "limits, and what was refused for them",
            metrics::limits,
            docs::limit_metrics,
        ),
        at("/api/metrics/webhooks").get(
            "how deliveries to webhooks get on",
            metrics::webhooks,
            docs::webhook_metrics,
        ),
        at("/api/metrics/health").get("whether all is as it should be", metrics::health, docs::health_metrics),
        at("/api/metrics/reset")
            .post("begins to count anew", metrics::reset, docs::reset_metrics)
            .needs(Right::Administer),
        at("/metrics")
            .get("the same for Prometheus", metrics::prometheus, docs::prometheus)
            .compressed(),
        at("/")
            .get(
                "the dashboard for a browser; this service and its routes for a program",
                root::describe,
                docs::service,
            )
            .needs(Right::Open)
            .compressed(),
        at("/dashboard/{file}")
            .get("a file of the dashboard", dashboard::file, docs::dashboard_file)
            .needs(Right::Open)
            .compressed(),
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
        at("/health")
            .get(
                "that it is there, and what time it is here",
                legacy::health,
                node::health,
            )
            .needs(Right::Open),
        at("/inventory/{sku}")
            .get("the stock of a SKU over all stores", inventory::get, node::item)
            .put("a count in the store of a header", inventory::set, node::count),
        at("/inventory/{sku}/adjust").post(
            "adds or takes in the store of a header",
            inventory::adjust,
            node::adjust,
        ),
        at(refusal::PUSH).post("a store reports its counts, all or nothing", push::run, node::push),
        login("/auth/login"),
        register("/auth/register"),
        products("/products"),
        product("/products/{sku}"),
        stores("/stores"),
        store("/stores/{storeId}"),
        at("/stock").post("what has come in", stock::receive, node::receive),
        at("/stock/{id}")
            .get("the stock of a store", stock::list, node::stock)
            .put("a count of a stock entry", stock::count, node::count_stock),
    ]
}

/// The place of the route that a request meets is left in `met`.
pub fn configure(config: &mut ServiceConfig, state: &Data<State>, met: &Met) {
    let mut first = UNROUTED + 1;
    for entry in table() {
        let mark = entry.mark(met, first);
        first += entry.labels().len();
        let Resource {
            path,
            methods,
            routes,
            compressed,
        } = entry;
        let needs: Rc<[(Method, Right)]> = methods
            .iter()
            .map(|entry| (entry.method.clone(), entry.right))
            .collect();
        let gate = Gate {
            state: state.clone(),
            needs,
        };
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
            let reads = serving(path, reads)
                .guard(mark.clone())
                .guard(guard::fn_guard(move |context| is_read(&context.head().method)));
            gate.guard(config, reads.wrap_fn(edge::spare_small).wrap(Compress::default()));
        }
        let resource = serving(path, others).guard(mark).default_service(refused(allowed));
        match compressed {
            Compressed::All => gate.guard(config, resource.wrap_fn(edge::spare_small).wrap(Compress::default())),
            Compressed::None | Compressed::Reads => gate.guard(config, resource),
        }
    }
}

/// Looks at every request that has met a resource, and lets it by.
#[derive(Clone)]
struct Mark {
    met: Met,
    first: usize,
    methods: Rc<[Method]>,
}

impl Guard for Mark {
    fn check(&self, context: &GuardContext<'_>) -> bool {
        let asked = &context.head().method;
        let method = if *asked == Method::HEAD { &Method::GET } else { asked };
        let place = self.methods.iter().position(|own| own == method);
        self.met.set(self.first + place.unwrap_or(self.methods.len()));
        true
    }
}

/// What stands before a resource: nothing where nobody must log in, or everybody may ask.
struct Gate {
    state: Data<State>,
    needs: Rc<[(Method, Right)]>,
}

impl Gate {
    fn guard<T, B>(&self, config: &mut ServiceConfig, resource: actix_web::Resource<T>)
    where
        T: ServiceFactory<ServiceRequest, Config = (), Response = ServiceResponse<B>, Error = Error, InitError = ()>
            + 'static,
        B: MessageBody + 'static,
    {
        let is_open = self.needs.iter().all(|(_, right)| *right == Right::Open);
        if self.state.access.is_none() || is_open {
            config.service(resource);
            return;
        }
        let (state, needs) = (self.state.clone(), self.needs.clone());
        let admit = move |request: ServiceRequest, next: Next<B>| {
            let (state, needs) = (state.clone(), needs.clone());
            async move { access::admit(&state, &needs, request, next).await }
        };
        config.service(resource.wrap(from_fn(admit)));
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
