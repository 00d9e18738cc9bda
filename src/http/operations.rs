//! What became of a write, found by its idempotency key without sending it again.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::caller::Caller;
use super::problem::{Code, Problem};
use super::query::Query;
use super::{State, batch, forms, idempotency, path};
use crate::actors::{Operation, Outcome};
use crate::journal::JournalError;
use crate::journal::record::Digest;

/// `GET /api/operations/{key}`
pub async fn get(state: Data<State>, request: HttpRequest, Caller(origin): Caller) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    let key = path::segment(&request, 3, "key")?;
    idempotency::check(&key, "key")?;
    match state.inventory()?.operation(Digest::of_key(&origin.by, &key)).await? {
        Operation::Completed(outcome) => {
            let answer = json!({"status": forms::status_of(&outcome), "body": forms::body(&outcome)});
            Ok(completed(answer, &outcome))
        }
        Operation::CompletedBatch(outcomes) => {
            let results = outcomes
                .iter()
                .map(|(index, outcome)| batch::succeeded(*index, outcome, false));
            let results: Vec<_> = results.collect();
            let answer = json!({"status": 200, "body": {"results": results}});
            let last = outcomes.iter().max_by_key(|(_, outcome)| outcome.seq);
            last.map(|(_, last)| completed(answer, last))
                .ok_or_else(|| not_found(&key))
        }
        Operation::Pending => Ok(HttpResponse::Ok().json(json!({"status": "pending"}))),
        Operation::Unknown => Err(JournalError::Unknown(String::new()).into()),
        Operation::NotFound => Err(not_found(&key)),
    }
}

fn completed(answer: Value, last: &Outcome) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "status": "completed",
        "answer": answer,
        "seq": last.seq,
        "at": last.event.at,
    }))
}

fn not_found(key: &str) -> Problem {
    let detail = format!("No write of yours with the key {key:?} took effect within the time that keys are kept.");
    Problem::new(Code::NotFound, detail)
}
