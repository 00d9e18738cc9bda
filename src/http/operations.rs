//! What became of a write, found by its idempotency key without sending it again.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;

use super::batch::BatchForm;
use super::caller::Caller;
use super::jobs::JobForm;
use super::problem::{Code, Problem};
use super::query::Query;
use super::sync::{self, PushForm};
use super::{State, batch, forms, idempotency, path};
use crate::actors::{Operation, Outcome, Told};
use crate::domain::{EventKind, Reservation, Timestamp};
use crate::journal::JournalError;
use crate::journal::record::Digest;

/// What became of a write.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "status", rename_all = "lowercase")]
#[schemars(rename = "Operation")]
pub enum OperationForm<'a> {
    /// It took effect, and this is what it was answered.
    Completed {
        answer: AnswerForm<'a>,
        /// The place of its event in the log; of a batch, of its last one.
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
        at: Timestamp,
    },
    /// It is still running: ask again.
    Pending,
}

/// The answer that the write got, or would have got had the connection held.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OperationAnswer")]
pub struct AnswerForm<'a> {
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<BodyForm<'a>>,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum BodyForm<'a> {
    Write(Box<forms::Body<'a>>),
    Batch(BatchForm<'a>),
    Job(Box<JobForm>),
    Push(PushForm<'a>),
}

/// `GET /api/operations/{key}`
pub async fn get(state: Data<State>, request: HttpRequest, caller: Caller) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    let key = path::segment(&request, 3, "key")?;
    idempotency::check(&key, "key")?;
    let origin = &caller.origin;
    let hash = Digest::of_key(&origin.by, &key);
    let found = state.inventory()?.operation(hash).await?;
    // Whoever is an admin or operator no longer is not to read on what they did as one.
    if found.needs().is_some_and(|role| caller.rights.role() < role) {
        return Err(not_found(&key));
    }
    match found.within(&origin.scope) {
        Operation::Completed(outcome) if outcome.event.kind == EventKind::SyncPushed => {
            let body = Some(BodyForm::Push(sync::push_form(&outcome)));
            Ok(completed(AnswerForm { status: 200, body }, &outcome))
        }
        Operation::Completed(outcome) if matches!(outcome.told, Told::Operations(_)) => {
            let made = Reservation::all_made_by(&outcome.event);
            let body = Some(BodyForm::Batch(batch::atomic(&outcome, &made, false)));
            let status = forms::status_of(&outcome);
            Ok(completed(AnswerForm { status, body }, &outcome))
        }
        Operation::Completed(outcome) => {
            let body = forms::body(&outcome).map(|body| BodyForm::Write(Box::new(body)));
            let status = forms::status_of(&outcome);
            Ok(completed(AnswerForm { status, body }, &outcome))
        }
        Operation::CompletedBatch(outcomes) => {
            let results = outcomes
                .iter()
                .map(|(index, outcome)| batch::succeeded(*index, outcome, false));
            let results: Vec<_> = results.collect();
            let body = Some(BodyForm::Batch(BatchForm {
                results,
                dry_run: None,
                seq: None,
            }));
            let answer = AnswerForm { status: 200, body };
            let last = outcomes.iter().max_by_key(|(_, outcome)| outcome.seq);
            last.map(|(_, last)| completed(answer, last))
                .ok_or_else(|| not_found(&key))
        }
        Operation::Pending => Ok(HttpResponse::Ok().json(OperationForm::Pending)),
        Operation::Unknown => Err(JournalError::Unknown(String::new()).into()),
        Operation::NotFound => imported(&state, hash).ok_or_else(|| not_found(&key)),
    }
}

/// An import was asked for under this key: it is in no event.
fn imported(state: &State, key: Digest) -> Option<HttpResponse> {
    let job = state.jobs().ok()?.of_key(key)?.job;
    let body = Some(BodyForm::Job(Box::new(JobForm::of(&job.as_made().into()))));
    let form = OperationForm::Completed {
        answer: AnswerForm { status: 202, body },
        seq: None,
        at: job.created_at,
    };
    Some(HttpResponse::Ok().json(form))
}

fn completed(answer: AnswerForm, last: &Outcome) -> HttpResponse {
    HttpResponse::Ok().json(OperationForm::Completed {
        answer,
        seq: last.seq,
        at: last.event.at,
    })
}

fn not_found(key: &str) -> Problem {
    let detail = format!("No write of yours with the key {key:?} took effect within the time that keys are kept.");
    Problem::new(Code::NotFound, detail)
}
