//! Bulk loads: a body of any length that is written down as it comes, and becomes a job once it is whole.

use std::time::Duration;

use actix_web::dev;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep_until};

use super::body::{BROKEN_OFF, Bounds};
use super::caller::Caller;
use super::jobs::{JobForm, url};
use super::problem::{Code, Problem, shorten};
use super::query::{Kind, Parameter, Query};
use super::routes::Right;
use super::write::{self, Answer};
use super::{State, idempotency};
use crate::actors::entries::to_its_end;
use crate::actors::jobs::job::{Asked, JobKey};
use crate::actors::jobs::{Full, Spool, Submitted, View};
use crate::actors::{ExecuteError, Keyed};
use crate::domain::StoreId;
use crate::import::Format;
use crate::journal::file::disk;

pub const IMPORT: &[Parameter] = &[
    Parameter {
        name: "storeId",
        about: "The store of lines that name none; `default` where it is left out.",
        kind: Kind::Text("london"),
    },
    Parameter {
        name: "dryRun",
        about: "Reads and decides every line, and changes nothing.",
        kind: Kind::Flag,
    },
    FORMAT,
];

/// Also of the list of errors.
pub const FORMAT: Parameter = Parameter {
    name: "format",
    about: "`csv` or `ndjson`; of an import, where the `Content-Type` does not tell.",
    kind: Kind::Text("csv"),
};

/// The longest that an answer waits for the end of the job, as `Prefer: wait` asks.
const MAX_WAIT_SECONDS: u64 = 30;
/// What is written down at a time.
const PIECE: usize = 256 << 10;
/// A client that is slower over all is not waited for.
const SLOWEST_BYTES_A_SECOND: u64 = 1024;

/// `POST /api/imports`
pub async fn create(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let query = Query::of(&request, IMPORT)?;
    let is_encoded = check_encoding(&request)?;
    let (format, store) = (format_of(&request, &query)?, query.id("storeId", StoreId::parse)?);
    let dry_run = query.flag("dryRun")?;
    write::refuse_preconditions(&request)?;
    let key = keyed(&request, &[], &caller)?.map(|keyed| keyed.key);
    caller.may(Right::Operate)?;
    let jobs = state.jobs()?;
    let claim = match key {
        Some(key) => Some(jobs.claim(key).await?),
        None => None,
    };
    let body = Body::of(&request, payload)?;
    let admission = jobs.admit(key, &caller.origin.by).map_err(full)?;
    let spool = jobs.spool(admission, body.announced).await.map_err(unwritten)?;
    let spool = receive(&state, body, spool).await?;
    if is_encoded && !spool.is_gzip() {
        spool.discard().await;
        let message = "it says gzip, which the body is not";
        return Err(Problem::invalid(CONTENT_ENCODING.as_str(), message));
    }
    let keyed = keyed(&request, &spool.hash(), &caller)?;
    let asked = Asked {
        format,
        default_store: store.unwrap_or_else(StoreId::default_store),
        dry_run,
        by: caller.origin.by.clone(),
        request_id: caller.origin.request_id.clone(),
        key: keyed.map(|Keyed { key, fingerprint, .. }| JobKey { key, fingerprint }),
    };
    let jobs = jobs.clone();
    // It goes on when the caller goes away: else the body could become a job that nobody knows of.
    let submitted = to_its_end(async move {
        let _claim = claim;
        jobs.submit(spool, asked).await.map_err(unwritten)
    });
    let (view, is_repeated) = match submitted.await? {
        Submitted::New(view) => (view, false),
        Submitted::Repeated(view) => (view, true),
        Submitted::KeyReused => return Err(ExecuteError::KeyReused.into()),
    };
    answer(&state, &request, view, is_repeated).await
}

fn full(full: Full) -> Problem {
    match full {
        Full::ForAll => {
            let detail = "Too many imports come in or wait; this one was not taken, try again later.";
            Problem::new(Code::Overloaded, detail)
        }
        Full::ForOne { limit } => {
            let detail = format!(
                "{limit} imports of yours are still coming in, and more may not at a time; this one was not taken, send it \
                 when one of them is in."
            );
            Problem::new(Code::QuotaExceeded, detail).with("limit", limit)
        }
    }
}

/// Bound to `body`, which is a hash of it.
fn keyed(request: &HttpRequest, body: &[u8], caller: &Caller) -> Result<Option<Keyed>, Problem> {
    idempotency::keyed(request, body, None, &caller.origin.by, |_| 202)
}

async fn answer(state: &State, request: &HttpRequest, view: View, is_repeated: bool) -> Answer {
    let preferred = Preferred::of(request);
    let mut response = HttpResponse::Accepted();
    response.insert_header((LOCATION, url(&view.job.id)));
    if let Some(applied) = preferred.applied() {
        response.insert_header((PREFERENCE_APPLIED, applied));
    }
    if is_repeated {
        response.insert_header(("idempotency-replayed", "true"));
    }
    let waited = match preferred.wait {
        None => None,
        Some(seconds) => tokio::select! {
            view = state.jobs()?.wait(&view.job.id, Duration::from_secs(seconds)) => view,
            () = state.stopping() => None,
        },
    };
    Ok(response.json(JobForm::of(&waited.unwrap_or(view))))
}

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What `Prefer` says of the answer (RFC 7240); that it does not wait for the end is so in any case.
struct Preferred {
    is_async: bool,
    wait: Option<u64>,
}

impl Preferred {
    fn of(request: &HttpRequest) -> Self {
        let seconds = write::preference(request, "wait").and_then(|wait| wait.parse::<u64>().ok());
        Self {
            is_async: write::preference(request, "respond-async").is_some(),
            wait: seconds.map(|seconds| seconds.min(MAX_WAIT_SECONDS)),
        }
    }

    fn applied(&self) -> Option<String> {
        let is_async = self.is_async.then(|| "respond-async".to_owned());
        let wait = self.wait.map(|seconds| format!("wait={seconds}"));
        let applied: Vec<String> = is_async.into_iter().chain(wait).collect();
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}

const CSV: [&str; 3] = ["text/csv", "application/csv", "text/tab-separated-values"];
const NDJSON: [&str; 5] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/json-lines",
];

/// As the query names it, or else as the `Content-Type` does.
fn format_of(request: &HttpRequest, query: &Query) -> Result<Format, Problem> {
    if let Some(format) = named_format(query)? {
        return Ok(format);
    }
    let given = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let given = given.unwrap_or_default();
    let mut parts = given.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default();
    let is_utf_8 = parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
        let charset = value.trim().trim_matches('"');
        !name.trim().eq_ignore_ascii_case("charset")
            || ["utf-8", "us-ascii"]
                .iter()
                .any(|utf_8| charset.eq_ignore_ascii_case(utf_8))
    });
    let is_one_of = |types: &[&str]| is_utf_8 && types.iter().any(|known| essence.eq_ignore_ascii_case(known));
    match (is_one_of(&CSV), is_one_of(&NDJSON)) {
        (true, _) => Ok(Format::Csv),
        (_, true) => Ok(Format::Ndjson),
        (false, false) => {
            let detail = format!(
                "The Content-Type must be text/csv or application/x-ndjson in UTF-8, not {:?}; or say ?format=csv or \
                 ?format=ndjson.",
                shorten(given)
            );
            Err(Problem::new(Code::UnsupportedMediaType, detail))
        }
    }
}

pub fn named_format(query: &Query) -> Result<Option<Format>, Problem> {
    match query.get(FORMAT.name) {
        None => Ok(None),
        Some("csv") => Ok(Some(Format::Csv)),
        Some("ndjson") => Ok(Some(Format::Ndjson)),
        Some(_) => Err(Problem::invalid(FORMAT.name, "it must be csv or ndjson")),
    }
}

/// Whether the body says that it is packed; that it is, its first bytes must tell as well.
fn check_encoding(request: &HttpRequest) -> Result<bool, Problem> {
    match request.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(false),
        Some(encoding)
            if [&b"gzip"[..], b"x-gzip"]
                .iter()
                .any(|gzip| encoding.eq_ignore_ascii_case(gzip)) =>
        {
            Ok(true)
        }
        Some(encoding) => {
            let encoding = shorten(&String::from_utf8_lossy(encoding));
            let detail = format!("The body must come as it is or as gzip, not as {encoding:?}.");
            Err(Problem::new(Code::UnsupportedMediaType, detail))
        }
    }
}

/// Writes the body down as it comes. Whatever ends this before it is whole leaves nothing behind.
async fn receive(state: &State, mut body: Body, mut spool: Spool) -> Result<Spool, Problem> {
    loop {
        match body.next(state).await {
            Ok(piece) if piece.is_empty() => return Ok(spool),
            Ok(piece) => spool = spool.write(piece).await.map_err(unwritten)?,
            Err(problem) => {
                spool.discard().await;
                return Err(problem);
            }
        }
    }
}

/// A body that is still coming.
struct Body {
    payload: dev::Payload,
    bounds: Bounds,
    /// How many bytes it says that it has; 0 where it does not say.
    announced: u64,
    received: u64,
    begun: Instant,
}

impl Body {
    fn of(request: &HttpRequest, payload: Payload) -> Result<Self, Problem> {
        let Some(bounds) = request.app_data::<Bounds>().copied() else {
            return Err(Problem::internal(&"nobody has said how large a body may be"));
        };
        let length = request.headers().get(CONTENT_LENGTH);
        let announced = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let announced = announced.unwrap_or(0);
        check_size(announced, bounds)?;
        Ok(Self {
            payload: payload.into_inner(),
            bounds,
            announced,
            received: 0,
            begun: Instant::now(),
        })
    }

    /// What comes next, a piece of it at a time; nothing at its end.
    async fn next(&mut self, state: &State) -> Result<Vec<u8>, Problem> {
        let mut piece = Vec::with_capacity(PIECE);
        while piece.len() < PIECE {
            let deadline = self.deadline();
            let bytes = tokio::select! {
                next = self.payload.next() => next,
                () = sleep_until(deadline) => return Err(too_slow(self.bounds)),
                () = state.stopping() => return Err(stops()),
            };
            let Some(bytes) = bytes else { break };
            let bytes = bytes.map_err(|_| Problem::invalid("body", BROKEN_OFF))?;
            self.received += bytes.len() as u64;
            check_size(self.received, self.bounds)?;
            piece.extend_from_slice(&bytes);
        }
        Ok(piece)
    }

    /// Until then, something must have come.
    fn deadline(&self) -> Instant {
        let time = self.bounds.time;
        let slowest = self.begun + time + Duration::from_secs(self.received / SLOWEST_BYTES_A_SECOND);
        slowest.min(Instant::now() + time)
    }
}

fn check_size(size: u64, bounds: Bounds) -> Result<(), Problem> {
    let most = bounds.import_size;
    if most == 0 || size <= most {
        return Ok(());
    }
    Err(Problem::new(
        Code::PayloadTooLarge,
        format!("The body has more than {most} bytes."),
    ))
}

fn too_slow(bounds: Bounds) -> Problem {
    let detail = format!(
        "Nothing came for {:?}, or over all less than 1 KiB a second; nothing was kept.",
        bounds.time
    );
    Problem::new(Code::RequestTimeout, detail)
}

fn stops() -> Problem {
    let detail = "The service is stopping; nothing was kept, send it again in a while.";
    Problem::new(Code::StorageUnavailable, detail)
}

fn unwritten(error: std::io::Error) -> Problem {
    if disk::is_full(&error) {
        let detail =
            "There is no room for the body beside what the log may need; nothing was kept, try again when there is.";
        return Problem::new(Code::StorageUnavailable, detail);
    }
    Problem::internal(&format!("an import could not be written: {error}"))
}
