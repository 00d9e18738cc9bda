//! What every request passes: its id, the limits that it counts towards, the headers of every reply, and the one place
//! where errors, panics included, become problem documents.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpResponse, ResponseError};
use futures_util::FutureExt;
use futures_util::future::{Either, ready};
use tracing::Level;

use super::connection::{Answering, Progress};
use super::cors::{self, Ruling};
use super::legacy::refusal;
use super::problem::{Code, Problem, shorten};
use super::routes::UNROUTED;
use super::traffic::{Begun, Counting, Met};
use super::{State, access, trace};
use crate::actors::new_id;
use crate::domain::RequestId;
use crate::telemetry::context::{self, Context};
use crate::telemetry::spans::Span;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How many requests each thread is answering; lets a stop wait for them.
#[derive(Default)]
pub struct Gauges {
    workers: Mutex<Vec<Arc<Gauge>>>,
}

/// One thread's own, so that counting costs the others nothing.
#[derive(Default)]
pub struct Gauge {
    running: AtomicUsize,
    draining: AtomicBool,
}

impl Gauges {
    pub fn add(&self) -> Arc<Gauge> {
        let gauge = Arc::new(Gauge::default());
        self.all().push(gauge.clone());
        gauge
    }

    pub fn running(&self) -> usize {
        self.all()
            .iter()
            .map(|gauge| gauge.running.load(Ordering::Acquire))
            .sum()
    }

    /// From here on every reply asks its client to close the connection.
    pub fn drain(&self) {
        self.all()
            .iter()
            .for_each(|gauge| gauge.draining.store(true, Ordering::Release));
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Gauge>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gauge {
    fn enter(&self) -> Running<'_> {
        self.running.fetch_add(1, Ordering::AcqRel);
        Running(self)
    }
}

struct Running<'a>(&'a Gauge);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a thread of the service has at its door.
pub struct Edge {
    pub gauge: Arc<Gauge>,
    pub state: Data<State>,
    /// Whose pages may use the API from a browser.
    pub origins: Vec<cors::Origin>,
    /// Where routing leaves which route a request has met.
    pub met: Met,
}

impl Edge {
    /// Wraps the whole service.
    pub fn handle<S, B>(
        self: &Rc<Self>,
        request: ServiceRequest,
        service: &S,
    ) -> impl Future<Output = Result<ServiceResponse, Error>> + use<S, B>
    where
        S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
        B: MessageBody + 'static,
    {
        let begun = self.state.watch.traffic.begin();
        self.met.set(UNROUTED);
        let asked = Asked::of(&request, &self.origins);
        let context = asked.context.clone();
        request.extensions_mut().insert(context.request_id.clone());
        let answer = match self.answer_at_once(&asked, &request) {
            // Not `into_response`, which would lose what was wrong.
            Some(response) => Either::Left(ready(Ok(ServiceResponse::new(request.into_parts().0, response)))),
            None => Either::Right(service.call(request).map(|answer| Ok(answer?.map_into_boxed_body()))),
        };
        let begun = begun.map(|begun| begun.routed(self.met.get()));
        context::within(context, finish(self.clone(), asked, begun, answer))
    }

    /// What goes no further than this.
    fn answer_at_once(&self, asked: &Asked, request: &ServiceRequest) -> Option<HttpResponse> {
        if self.state.is_local && !access::is_local(request) {
            return Some(HttpResponse::from_error(access::misdirected()));
        }
        if let Some(response) = asked.ruling.preflight(request.method(), request.headers()) {
            return Some(response);
        }
        if self.state.access.is_none() && asked.ruling.refuses(request.method(), request.headers()) {
            return Some(HttpResponse::from_error(cors::foreign()));
        }
        let request = request.request();
        let limiter = &self.state.limiter;
        let admitted = limiter.admit_address(request).and_then(|()| match self.state.access {
            // Whoever must say who they are is counted when they have.
            Some(_) => Ok(()),
            None => limiter.admit_anonymous(request),
        });
        admitted.err().map(HttpResponse::from_error)
    }
}

/// The parts of a request that its reply needs: routing needs to be the sole holder of the request itself.
struct Asked {
    context: Rc<Context>,
    span: Span,
    /// When it came, where the log is to tell how long it took.
    came: Option<Instant>,
    ruling: Ruling,
    answering: Option<Answering>,
}

impl Asked {
    fn of(request: &ServiceRequest, origins: &[cors::Origin]) -> Self {
        let headers = request.headers();
        let context = Rc::new(Context::new(
            request.method().clone(),
            request.uri().clone(),
            request_id(headers),
            trace::caller(headers),
        ));
        Self {
            span: Span::begin(&context),
            context,
            came: tracing::enabled!(Level::DEBUG).then(Instant::now),
            ruling: Ruling::of(headers, origins),
            answering: request.conn_data::<Rc<Progress>>().cloned().map(Answering::on),
        }
    }
}

/// An answer with fewer bytes is not worth compressing.
const MIN_COMPRESSED: u64 = 4096;

/// Wraps what may be compressed: keeps small answers from it by saying that they have their encoding already.
pub fn spare_small<S, B>(
    request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<B>, Error>> + use<S, B>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody + 'static,
{
    let answer = service.call(request);
    async move {
        let mut response = answer.await?;
        if !matches!(response.response().body().size(), BodySize::Sized(MIN_COMPRESSED..)) {
            response.headers_mut().insert(CONTENT_ENCODING, IDENTITY);
        }
        Ok(response)
    }
}

const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

async fn finish(
    edge: Rc<Edge>,
    asked: Asked,
    begun: Option<Begun>,
    answer: impl Future<Output = Result<ServiceResponse, Error>>,
) -> Result<ServiceResponse, Error> {
    let _running = edge.gauge.enter();
    let mut counting = edge.state.watch.traffic.counting(begun);
    let mut response = match AssertUnwindSafe(answer).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return Err(Unanswered::new(Problem::internal(&error), asked, counting).into()),
        Err(panic) => return Err(Unanswered::new(panicked(panic.as_ref()), asked, counting).into()),
    };
    let Asked {
        context,
        span,
        came,
        ruling,
        answering,
    } = asked;
    if response.status().is_client_error() || response.status().is_server_error() {
        response = describe(response, &context, &mut counting);
    }
    counting.answered(response.status());
    let status = response.status().as_u16();
    tracing::debug!(
        status,
        route = response.request().match_pattern(),
        micros = came.map(|came| came.elapsed().as_micros()),
        "answered"
    );
    span.end(|| response.request().match_pattern(), status);
    let (request, response) = response.into_parts();
    let mut response = response;
    let headers = response.headers_mut();
    edge.state.limiter.tell(&request, headers);
    ruling.tell(headers);
    add_headers(
        headers,
        &context.request_id,
        edge.gauge.draining.load(Ordering::Acquire),
    );
    drop(answering);
    Ok(ServiceResponse::new(request, response))
}

/// The client's own id where it can stand in headers and logs, else a new one.
fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .and_then(RequestId::parse);
    given.unwrap_or_else(|| new_id().into())
}

/// Gives an error its body, unless it has one.
fn describe(response: ServiceResponse<BoxBody>, context: &Context, counting: &mut Counting) -> ServiceResponse {
    let path = context.uri.path();
    let (request, response) = response.into_parts();
    let is_described =
        response.headers().contains_key(actix_web::http::header::CONTENT_TYPE) && response.error().is_none();
    if is_described {
        return ServiceResponse::new(request, response);
    }
    let problem = match response.error().and_then(|error| error.as_error::<Problem>()) {
        Some(problem) => problem.clone(),
        None => by_status(&response, path),
    };
    counting.refused(problem.code());
    if problem.status().is_server_error() {
        tracing::warn!(status = problem.status().as_u16(), %problem, "a request failed");
    }
    ServiceResponse::new(request, answer(problem, path, &context.request_id))
}

/// In the form of the routes to which the path belongs.
fn answer(problem: Problem, path: &str, request_id: &RequestId) -> HttpResponse {
    match refusal::is_of_path(path) {
        true => refusal::answer(problem, path, request_id),
        false => problem.into_response(path, request_id),
    }
}

/// The problem of what the framework refuses by itself.
fn by_status(response: &HttpResponse, path: &str) -> Problem {
    match (Code::of_status(response.status()), response.error()) {
        (Code::NotFound, _) => Problem::new(Code::NotFound, format!("There is nothing at {:?}.", shorten(path))),
        (Code::Internal, Some(error)) => Problem::internal(error),
        (code, Some(error)) => Problem::new(code, format!("{error}.")),
        (code, None) => Problem::new(
            code,
            format!("The request was refused with status {}.", response.status().as_u16()),
        ),
    }
}

/// No inner detail leaves: the panic's message is for the log, where the panic hook has put it too.
fn panicked(panic: &(dyn Any + Send)) -> Problem {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(error = message, "a handler panicked");
    Problem::new(
        Code::Internal,
        "The request met a defect of the service; the operator's log has it.",
    )
}

fn add_headers(headers: &mut HeaderMap, request_id: &RequestId, draining: bool) {
    if headers.get(CONTENT_ENCODING) == Some(&IDENTITY) {
        headers.remove(CONTENT_ENCODING);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(CACHE_CONTROL) {
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Ok(value) = HeaderValue::from_str(request_id.as_str()) {
        headers.insert(REQUEST_ID.clone(), value);
    }
    if draining {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// A request that no handler answered, with all that its reply needs.
#[derive(Debug)]
struct Unanswered {
    problem: Problem,
    path: String,
    request_id: RequestId,
    ruling: Ruling,
}

impl Unanswered {
    fn new(problem: Problem, asked: Asked, mut counting: Counting) -> Self {
        counting.refused(problem.code());
        counting.answered(problem.status());
        asked.span.end(|| None, problem.status().as_u16());
        Self {
            problem,
            path: asked.context.uri.path().to_owned(),
            request_id: asked.context.request_id.clone(),
            ruling: asked.ruling,
        }
    }
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.problem.fmt(f)
    }
}

impl ResponseError for Unanswered {
    fn status_code(&self) -> StatusCode {
        self.problem.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = answer(self.problem.clone(), &self.path, &self.request_id);
        self.ruling.tell(response.headers_mut());
        add_headers(response.headers_mut(), &self.request_id, false);
        response
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;
    use actix_web::test::{TestRequest, init_service};
    use actix_web::{App, rt, web};
    use clap::Parser;

    use super::*;
    use crate::config::Limits;
    use crate::http::metrics::Watch;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        limits: Limits,
    }

    fn watch() -> Watch {
        let limits = Command::parse_from(["test"]).limits;
        Watch::of(limits, true, Arc::default(), Arc::default())
    }

    async fn defect() -> HttpResponse {
        panic!("an inner detail")
    }

    #[test]
    fn a_panic_is_a_problem_that_leaks_nothing() {
        rt::System::new().block_on(async {
            let edge = Rc::new(Edge {
                gauge: Arc::default(),
                state: Data::new(State::recovering(None, false, Arc::default(), watch())),
                origins: Vec::new(),
                met: Met::default(),
            });
            let app = App::new()
                .wrap_fn(move |request, service| edge.handle(request, service))
                .route("/defect", web::get().to(defect));
            let service = init_service(app).await;
            let request = TestRequest::get().uri("/defect").to_request();
            let response = service.call(request).await.unwrap_err().error_response();
            assert_eq!(response.status(), 500);
            assert!(response.headers().contains_key(&REQUEST_ID));
            let content_type = response.headers().get("content-type").unwrap();
            assert_eq!(content_type, "application/problem+json");
            let body = to_bytes(response.into_body()).await.unwrap();
            let body = std::str::from_utf8(&body).unwrap();
            assert!(
                body.contains("\"error\":\"internal\"") && !body.contains("an inner detail"),
                "{body}"
            );
        });
    }
}
