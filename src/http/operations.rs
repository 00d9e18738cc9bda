//! What became of a write, found by its idempotency key without sending it again.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::caller::Caller;
use super::problem::{Code, Problem};
use super::query::Query;
use super::{State, answers, idempotency, path};
use crate::actors::Operation;
use crate::journal::JournalError;
use crate::journal::record::Digest;

/// `GET /api/operations/{key}`
pub async fn get(state: Data<State>, request: HttpRequest, Caller(origin): Caller) -> Result<HttpResponse, Problem> {
    Query::none(&request)?;
    let key = path::segment(&request, 3, "key")?;
    idempotency::check(&key, "key")?;
    match state.inventory()?.operation(Digest::of_key(&origin.by, &key)).await? {
        Operation::Completed(outcome) => Ok(HttpResponse::Ok().json(json!({
            "status": "completed",
            "answer": {"status": outcome.replayed, "body": answers::write_form(&outcome.event, outcome.seq)},
            "seq": outcome.seq,
            "at": outcome.event.at,
        }))),
        Operation::CompletedBatch(_) => Ok(HttpResponse::Ok().json(json!({"status": "completed"}))),
        Operation::Pending => Ok(HttpResponse::Ok().json(json!({"status": "pending"}))),
        Operation::Unknown => Err(JournalError::Unknown(String::new()).into()),
        Operation::NotFound => {
            let detail =
                format!("No write of yours with the key {key:?} took effect within the time that keys are kept.");
            Err(Problem::new(Code::NotFound, detail))
        }
    }
}
