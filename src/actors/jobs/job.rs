//! A job as it stands: what its state file says, and the steps that it takes.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{Principal, RequestId, StoreId, Timestamp};
use crate::import::Format;
use crate::journal::{Fingerprint, KeyHash};

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "JobStatus")]
pub enum Status {
    /// It waits for those before it.
    Queued,
    Running,
    /// It ran to its end: every line is in, or in the list of errors.
    Succeeded,
    /// It could not go on; `error` says why. Lines before that are in.
    Failed,
    /// It was told to stop. Lines before that are in.
    Cancelled,
}

impl Status {
    pub fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

/// A bulk load: what was asked for, and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// A UUIDv7: in order of time.
    pub id: Arc<str>,
    #[serde(flatten)]
    pub asked: Asked,
    pub total_bytes: u64,
    pub created_at: Timestamp,
    pub status: Status,
    #[serde(default)]
    pub done: Done,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When lines were last in: what came behind them may be in as well, by keys that are kept from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// Why it has failed, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Arc<str>>,
    /// Nobody is shown it any more: it only keeps its key from being used again.
    #[serde(default)]
    pub is_removed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    pub format: Format,
    /// Of lines that name none.
    pub default_store: StoreId,
    pub dry_run: bool,
    pub by: Principal,
    pub request_id: RequestId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<JobKey>,
}

/// The idempotency key under which it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobKey {
    pub key: KeyHash,
    pub fingerprint: Fingerprint,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// The number of the last line that is done.
    pub through: u64,
    pub imported: u64,
    pub failed: u64,
    /// How long the list of errors is, up to that line.
    pub error_bytes: u64,
    pub read_bytes: u64,
}

/// What a clock may differ by, and a start take, before keys are gone.
const MARGIN_MS: i64 = 5 * 60_000;

impl Job {
    pub fn new(id: &str, asked: Asked, total_bytes: u64, now: Timestamp) -> Self {
        Self {
            id: id.into(),
            asked,
            total_bytes,
            created_at: now,
            status: Status::Queued,
            done: Done::default(),
            started_at: None,
            progress_at: None,
            finished_at: None,
            error: None,
            is_removed: false,
        }
    }

    /// As it was when it was made, and answered.
    pub fn as_made(&self) -> Self {
        Self::new(&self.id, self.asked.clone(), self.total_bytes, self.created_at)
    }

    /// As a start takes it up. In a folder that was restored from a backup, the log may have what the job does not know of:
    /// a backup copies jobs first.
    pub fn found(mut self) -> Self {
        self.progress_at.get_or_insert(self.created_at);
        self
    }

    /// Starts, or goes on.
    pub fn begin(&mut self, now: Timestamp) {
        self.status = Status::Running;
        self.started_at.get_or_insert(now);
        self.progress_at.get_or_insert(now);
    }

    pub fn advance(&mut self, done: Done, now: Timestamp) {
        self.done = done;
        self.progress_at = Some(now);
    }

    pub fn end(&mut self, status: Status, error: Option<&str>, now: Timestamp) {
        self.status = status;
        self.error = error.map(Into::into);
        self.finished_at = Some(now);
        if status == Status::Succeeded {
            self.done.read_bytes = self.total_bytes;
        }
    }

    /// Whether what it did last may be in without a key that still tells: to do that again could undo what came after it.
    /// One that this process took in and has not begun has nothing in.
    pub fn is_stale(&self, now: Timestamp, retention_ms: i64) -> bool {
        let age_ms = |at: Timestamp| now.as_millis().saturating_sub(at.as_millis());
        !self.asked.dry_run
            && self
                .progress_at
                .is_some_and(|at| age_ms(at) > (retention_ms - MARGIN_MS).max(0))
    }

    /// Until when its idempotency key stands for it.
    pub fn holds_key_until(&self, retention_ms: i64) -> Option<(KeyHash, Timestamp)> {
        let until = self.created_at.as_millis().saturating_add(retention_ms);
        let key = self.asked.key?.key;
        Some((key, Timestamp::from_millis(until)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * HOUR_MS)
    }

    fn job(dry_run: bool) -> Job {
        let asked = Asked {
            format: Format::Csv,
            default_store: StoreId::default_store(),
            dry_run,
            by: Principal::anonymous(),
            request_id: RequestId::parse("r-1").unwrap(),
            key: None,
        };
        Job::new("1", asked, 100, at(0))
    }

    #[test]
    fn a_job_that_has_begun_is_not_resumed_once_its_keys_may_be_gone() {
        let mut job = job(false);
        assert!(!job.is_stale(at(1000), 24 * HOUR_MS), "nothing of it can be in");
        assert!(
            job.clone().found().is_stale(at(1000), 24 * HOUR_MS),
            "of a restored one there may be"
        );
        job.begin(at(1));
        job.advance(Done::default(), at(2));
        assert!(!job.is_stale(at(25), 24 * HOUR_MS));
        assert!(job.is_stale(at(26), 24 * HOUR_MS));
        job.begin(at(26));
        assert!(job.is_stale(at(26), 24 * HOUR_MS), "a start is no progress");
    }

    #[test]
    fn a_dry_run_can_always_go_on() {
        let mut job = job(true);
        job.begin(at(1));
        assert!(!job.is_stale(at(1000), HOUR_MS));
    }

    #[test]
    fn a_state_reads_back_as_it_was_written() {
        let mut job = job(false);
        job.begin(at(1));
        job.end(Status::Failed, Some("why"), at(2));
        let text = serde_json::to_string(&job).unwrap();
        assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job);
        assert_eq!(job.as_made().status, Status::Queued);
    }
}
