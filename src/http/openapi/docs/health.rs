//! Probes, and the level of the log.

use serde_json::json;

use super::HEALTH;
use crate::http::health::{HealthForm, UnavailableForm};
use crate::http::log_level::{LogLevelBody, LogLevelForm};
use crate::http::openapi::doc::Doc;
use crate::http::openapi::examples as example;

pub fn log_level() -> Doc {
    Doc::read("getLogLevel", HEALTH, "What this instance logs, and for how long.").answers::<LogLevelForm>(
        200,
        "What is logged.",
        &[],
        json!({"level": "info", "lostLines": 0}),
    )
}

pub fn set_log_level() -> Doc {
    Doc::unrecorded(
        "setLogLevel",
        HEALTH,
        "Changes what this instance logs, from the next line on; with `forSeconds` for a time only, so that nobody has to \
         remember to change it back. It is not kept: the next start logs by its settings again. The log says who changed it. To repeat it does no harm: the same is set once \
         more, and `forSeconds` count from then.",
    )
    .takes::<LogLevelBody>(json!({"level": "info,holdfast::http=debug", "forSeconds": 600}))
    .answers::<LogLevelForm>(
        200,
        "What is logged now.",
        &[],
        json!({
            "level": "info,holdfast::http=debug",
            "until": "2026-11-27T08:26:00.000Z",
            "then": "info",
            "lostLines": 0,
        }),
    )
}

const ALIVE: &str = "Answers 200 as long as the process can answer at all, also while stock is being recovered.";

pub fn health() -> Doc {
    Doc::new("getHealth", HEALTH, ALIVE).answers::<HealthForm>(200, "It is there.", &[], example::health())
}

pub fn live() -> Doc {
    Doc::new("getLiveness", HEALTH, ALIVE).answers::<HealthForm>(200, "It lives.", &[], example::health())
}

pub fn ready() -> Doc {
    Doc::new(
        "getReadiness",
        HEALTH,
        "Send writes only where this is 200. It is 503 until the stock is recovered after a start, and while storage \
         cannot take writes; reads may go on meanwhile.",
    )
    .answers::<HealthForm>(200, "It takes writes.", &[], example::health())
    .answers::<UnavailableForm>(
        503,
        "It takes no writes, and says why.",
        &[],
        json!({"status": "unavailable", "reasons": ["the stock is being recovered"]}),
    )
}
