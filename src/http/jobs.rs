//! Jobs: how imports stand, what was refused, and their end.

use std::io;

use actix_web::http::header::CONTENT_DISPOSITION;
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream::try_unfold;
use schemars::JsonSchema;
use serde::Serialize;

use super::caller::Caller;
use super::csv::Listed;
use super::entries::not_found;
use super::imports::{FORMAT, named_format};
use super::lists::{AFTER, LIMIT, Page};
use super::problem::{Code, Problem, shorten};
use super::query::{Parameter, Query};
use super::routes::Right;
use super::write::{self, Answer};
use super::{State, cursor, format, path};
use crate::actors::entries::to_its_end;
use crate::actors::jobs::job::Status;
use crate::actors::jobs::{Errors, Removal, View, off_thread};
use crate::domain::{Principal, Timestamp};
use crate::import::Format;
use crate::import::row::LineError;

/// An import in the background, and how far it has come.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Job")]
pub struct JobForm {
    job_id: String,
    kind: JobKind,
    status: Status,
    /// It reads and decides, and changes nothing.
    dry_run: bool,
    /// Lines that are done: in, or refused. Empty ones and the header are none.
    lines: u64,
    /// Lines that are in; of a dry run, that would be.
    imported: u64,
    /// Lines that were refused: `GET /api/jobs/{jobId}/errors` lists them.
    failed_lines: u64,
    /// Of the body as it was sent.
    total_bytes: u64,
    /// How much of that has been read, a little ahead of what is done.
    read_bytes: u64,
    #[schemars(range(max = 100))]
    percent: u64,
    /// Who has asked for it.
    by: Principal,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    /// Why it does not go on at present; it does by itself when it can.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<String>,
    /// Why it has failed, as a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Listed for JobForm {
    const NAME: &'static str = "jobs";
    const COLUMNS: &'static [&'static str] = &[
        "jobId",
        "kind",
        "status",
        "dryRun",
        "lines",
        "imported",
        "failedLines",
        "totalBytes",
        "readBytes",
        "percent",
        "by",
        "createdAt",
        "startedAt",
        "finishedAt",
        "waiting",
        "error",
    ];
}

/// What a job does.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum JobKind {
    Import,
}

impl JobForm {
    pub fn of(
        View {
            job,
            read_bytes,
            waiting,
        }: &View,
    ) -> Self {
        let percent = match job.total_bytes {
            0 => 100 * u64::from(job.status.is_over()),
            total => (u128::from(*read_bytes) * 100 / u128::from(total)).min(100) as u64,
        };
        Self {
            job_id: job.id.to_string(),
            kind: JobKind::Import,
            status: job.status,
            dry_run: job.asked.dry_run,
            lines: job.done.imported + job.done.failed,
            imported: job.done.imported,
            failed_lines: job.done.failed,
            total_bytes: job.total_bytes,
            read_bytes: *read_bytes,
            percent,
            by: job.asked.by.clone(),
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            waiting: waiting.as_deref().map(str::to_owned),
            error: job.error.as_deref().map(str::to_owned),
        }
    }
}

pub const LIST: &[Parameter] = &[LIMIT, AFTER, format::FORMAT];

/// `GET /api/jobs`
pub async fn list(state: Data<State>, request: HttpRequest, caller: Caller) -> Answer {
    let query = Query::of(&request, LIST)?;
    let limit = query.limit()?;
    let before = query
        .get(AFTER.name)
        .map(|after| cursor::decode(&["jobs"], after))
        .transpose()?;
    caller.may(Right::Operate)?;
    let found = state.jobs()?.list(before.as_deref(), limit + 1);
    let page = Page::of(found, limit, &["jobs"], |view| view.job.id.to_string());
    page.answer(&request, &query, JobForm::of)
}

/// `GET /api/jobs/{jobId}`
pub async fn get(state: Data<State>, request: HttpRequest, caller: Caller) -> Answer {
    Query::none(&request)?;
    let id = id_of(&request)?;
    caller.may(Right::Operate)?;
    Ok(HttpResponse::Ok().json(JobForm::of(&found(&state, &id)?)))
}

/// `POST /api/jobs/{jobId}/cancel`
pub async fn cancel(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let id = id_of(&request)?;
    write::read_bare(&request, payload).await?;
    caller.may(Right::Operate)?;
    let view = found(&state, &id)?;
    if view.job.status.is_over() {
        return Ok(HttpResponse::Ok().json(JobForm::of(&view)));
    }
    let jobs = state.jobs()?;
    let (cancelling, its_id) = (jobs.clone(), id.clone());
    // Whoever goes away in the middle must not leave it neither waiting nor over.
    to_its_end(async move {
        cancelling.cancel(&its_id).await;
        Ok::<_, Problem>(())
    })
    .await?;
    tracing::info!(job = id, by = caller.origin.by.as_str(), "an import is to be cancelled");
    let ended = tokio::select! {
        view = jobs.wait(&id, CANCEL_PATIENCE) => view,
        () = state.stopping() => jobs.get(&id),
    };
    Ok(HttpResponse::Ok().json(JobForm::of(&ended.ok_or_else(|| missing(&id))?)))
}

/// A chunk takes no longer, where storage takes it at all.
const CANCEL_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// `DELETE /api/jobs/{jobId}`
pub async fn delete(state: Data<State>, request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let id = id_of(&request)?;
    write::read_bare(&request, payload).await?;
    caller.may(Right::Operate)?;
    let (removing, its_id) = (state.jobs()?.clone(), id.clone());
    // Also where the caller goes away: what is not on the disk any more must not be shown.
    let removed = to_its_end(async move {
        let removed = removing.remove(&its_id).await;
        removed.map_err(|error| Problem::internal(&error))
    });
    match removed.await? {
        Removal::Removed => Ok(HttpResponse::NoContent().finish()),
        Removal::NotFound => Err(missing(&id)),
        Removal::NotOver => {
            let detail = "The job is not over; cancel it first.";
            Err(Problem::new(Code::InUse, detail))
        }
    }
}

pub const ERRORS: &[Parameter] = &[FORMAT];

/// `GET /api/jobs/{jobId}/errors`
pub async fn errors(state: Data<State>, request: HttpRequest, caller: Caller) -> Answer {
    let query = Query::of(&request, ERRORS)?;
    let id = id_of(&request)?;
    let format = named_format(&query)?.unwrap_or(Format::Ndjson);
    caller.may(Right::Operate)?;
    let job = found(&state, &id)?.job;
    let errors = state
        .jobs()?
        .errors(&job)
        .await
        .map_err(|error| Problem::internal(&error))?;
    let (media_type, extension) = match format {
        Format::Csv => ("text/csv; charset=utf-8", "csv"),
        Format::Ndjson => ("application/x-ndjson", "ndjson"),
    };
    let download = Download {
        errors,
        format,
        is_begun: false,
    };
    Ok(HttpResponse::Ok()
        .content_type(media_type)
        .insert_header((
            CONTENT_DISPOSITION,
            format!("attachment; filename=\"import-{id}-errors.{extension}\""),
        ))
        .streaming(try_unfold(download, Download::next)))
}

/// Errors that are sent together.
const ERRORS_AT_ONCE: usize = 1000;

/// A list of errors on its way to a client.
struct Download {
    errors: Errors,
    format: Format,
    is_begun: bool,
}

impl Download {
    /// What cannot be read ends the connection, so that a part does not pass for the whole.
    async fn next(self) -> io::Result<Option<(Bytes, Self)>> {
        let read = off_thread(move || self.read()).await;
        read.inspect_err(|error| tracing::error!(%error, "a list of errors cannot be sent"))
    }

    fn read(mut self) -> io::Result<Option<(Bytes, Self)>> {
        let errors = self.errors.next(ERRORS_AT_ONCE)?;
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        let text = match self.format {
            Format::Ndjson => ndjson(&errors)?,
            Format::Csv => csv(&errors, is_first)?,
        };
        Ok((!text.is_empty()).then(|| (text.into(), self)))
    }
}

fn ndjson(errors: &[LineError]) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    for error in errors {
        serde_json::to_writer(&mut text, error)?;
        text.push(b'\n');
    }
    Ok(text)
}

fn csv(errors: &[LineError], has_header: bool) -> io::Result<Vec<u8>> {
    let mut text = csv::Writer::from_writer(Vec::new());
    if has_header {
        text.write_record(["line", "column", "message"])?;
    }
    for error in errors {
        let column = error.column.as_deref().unwrap_or_default();
        text.write_record([&*error.line.to_string(), column, &error.message])?;
    }
    text.into_inner().map_err(|error| io::Error::other(error.to_string()))
}

fn found(state: &State, id: &str) -> Result<View, Problem> {
    state.jobs()?.get(id).ok_or_else(|| missing(id))
}

fn missing(id: &str) -> Problem {
    not_found(&format!("job {:?}", shorten(id)))
}

/// Ours are UUIDs; whatever else is asked for is not there.
fn id_of(request: &HttpRequest) -> Result<String, Problem> {
    Ok(path::segment(request, 3, "jobId")?.into_owned())
}

/// Where a job is.
pub fn url(id: &str) -> String {
    format!("/api/jobs/{}", path::encoded(id))
}
