//! What goes on beside the requests: streams that follow the log, imports, the sums of sales, and the lines that the
//! service logs.

use std::sync::atomic::Ordering;

use schemars::JsonSchema;
use serde::Serialize;

use super::reading::Reading;
use crate::actors::jobs::Tally;
use crate::domain::Timestamp;
use crate::http::State;
use crate::http::problem::Problem;
use crate::telemetry;

/// What only rises.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    pub followers_dropped: u64,
    pub lost_lines: u64,
}

/// How it stands.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    pub followers: u64,
    pub imports: Tally,
    /// The last event in the sums of sales.
    pub sales_seq: u64,
}

impl Counted {
    pub fn read(state: &State) -> Self {
        Self {
            followers_dropped: state.feed.followers.dropped.load(Ordering::Relaxed),
            lost_lines: telemetry::lost_lines(),
        }
    }

    pub fn since(&self, before: &Self) -> Self {
        Self {
            followers_dropped: self.followers_dropped.saturating_sub(before.followers_dropped),
            lost_lines: self.lost_lines.saturating_sub(before.lost_lines),
        }
    }
}

impl Standing {
    pub fn read(state: &State) -> Result<Self, Problem> {
        Ok(Self {
            followers: state.feed.followers.open.load(Ordering::Relaxed) as u64,
            imports: state.jobs()?.tally(),
            sales_seq: state.inventory()?.sales().seq(),
        })
    }
}

/// What goes on beside the requests.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BackgroundMetrics")]
pub struct BackgroundForm {
    /// Counts begin here.
    since: Timestamp,
    streams: StreamsForm,
    imports: ImportsForm,
    sales: SalesForm,
    /// Lines of the service's own log that were lost, as there were more than could be written.
    lost_log_lines: u64,
}

/// Whoever follows the log at `/api/events/stream`.
#[derive(Default, Serialize, JsonSchema)]
#[schemars(rename = "StreamMetrics")]
struct StreamsForm {
    /// Streams that are open.
    open: u64,
    /// Streams that were ended, as what they were sent was not read.
    dropped: u64,
}

/// Imports that are not over.
#[derive(Default, Serialize, JsonSchema)]
#[schemars(rename = "ImportMetrics")]
struct ImportsForm {
    /// Bodies that are coming in.
    uploading: u64,
    /// Jobs that wait for those before them.
    queued: u64,
    running: u64,
}

/// The sums of what was sold, which follow the log.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SalesMetrics")]
struct SalesForm {
    /// The last event that is in them.
    seq: u64,
    /// How many events were recorded since; whoever asks for sales waits until they are in.
    lag_events: u64,
}

impl BackgroundForm {
    pub fn of(reading: &Reading) -> Self {
        let (counted, standing) = (&reading.counts.background, &reading.background);
        Self {
            since: reading.since,
            streams: StreamsForm {
                open: standing.followers,
                dropped: counted.followers_dropped,
            },
            imports: ImportsForm {
                uploading: standing.imports.uploading,
                queued: standing.imports.queued,
                running: standing.imports.running,
            },
            sales: SalesForm {
                seq: standing.sales_seq,
                lag_events: reading.standing.visible.saturating_sub(standing.sales_seq),
            },
            lost_log_lines: counted.lost_lines,
        }
    }
}
