//! What is logged, changed while the service runs.

use std::time::Duration;

use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse, rt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use validator::Validate;

use super::bodies::present;
use super::body;
use super::caller::Caller;
use super::idempotency::{self, KEY_PATTERN};
use super::problem::Problem;
use super::query::Query;
use super::routes::Right;
use super::write::{self, Answer};
use crate::domain::Timestamp;
use crate::telemetry::{self, Standing};

/// What is to be logged.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogLevelBody {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`; or levels by where lines come from, separated by commas, such
    /// as `info,holdfast::http=debug`.
    #[validate(length(min = 1, max = 500, message = "must have 1 to 500 characters"))]
    #[schemars(regex(pattern = LEVEL_PATTERN))]
    pub level: String,
    /// Seconds after which the level falls back to the last one that was set without this; up to a day. Left out: it
    /// lasts until the service stops.
    #[serde(default, deserialize_with = "present")]
    #[validate(range(min = 1, max = 86_400, message = "must be from 1 to 86400"))]
    pub for_seconds: Option<u32>,
    /// As the `Idempotency-Key` header.
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 255), regex(pattern = KEY_PATTERN))]
    pub idempotency_key: Option<String>,
}

/// What the document says of a level; `telemetry/level.rs` says the same.
const LEVEL_PATTERN: &str = "^([A-Za-z0-9_:\\-]+=)?(off|error|warn|info|debug|trace)\
                             (,([A-Za-z0-9_:\\-]+=)?(off|error|warn|info|debug|trace))*$";

/// What is logged.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "LogLevel")]
pub struct LogLevelForm {
    /// What is logged now.
    level: String,
    /// When it falls back; left out where it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    /// What is logged after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    then: Option<String>,
    /// Lines that were lost since the start, as there were more than could be written.
    lost_lines: u64,
}

impl From<Standing> for LogLevelForm {
    fn from(Standing { level, term }: Standing) -> Self {
        let (until, then) = term.unzip();
        Self {
            level,
            until,
            then,
            lost_lines: telemetry::lost_lines(),
        }
    }
}

/// `GET /api/log-level`
pub async fn get(request: HttpRequest, caller: Caller) -> Answer {
    Query::none(&request)?;
    caller.may(Right::Administer)?;
    let standing = telemetry::standing().ok_or_else(|| Problem::internal(&"there is no log"))?;
    Ok(HttpResponse::Ok().json(LogLevelForm::from(standing)))
}

/// `PUT /api/log-level`
pub async fn set(request: HttpRequest, caller: Caller, payload: Payload) -> Answer {
    let bytes = write::read(&request, payload).await?;
    write::refuse_preconditions(&request)?;
    let asked: LogLevelBody = body::parse(&request, &bytes)?;
    let of_level = |fault: String| Problem::invalid("level", fault);
    telemetry::check(&asked.level).map_err(of_level)?;
    idempotency::given(&request, asked.idempotency_key.as_deref())?;
    caller.may(Right::Administer)?;
    let time = asked.for_seconds.map(|seconds| Duration::from_secs(seconds.into()));
    let change = telemetry::change(&asked.level, time, caller.origin.by.as_str()).map_err(of_level)?;
    if let Some(time) = time {
        rt::spawn(async move {
            tokio::time::sleep(time).await;
            telemetry::fall_back(change.number);
        });
    }
    Ok(HttpResponse::Ok().json(LogLevelForm::from(change.standing)))
}
