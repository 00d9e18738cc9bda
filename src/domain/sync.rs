//! The sync: when it brings the totals up to date, how that stands, and which stores have not reported for too long.

use serde::{Deserialize, Serialize};

use super::{Store, StoreId, Timestamp};

/// Whether the sync runs by itself, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncSchedule {
    pub running: bool,
    pub interval_ms: u64,
}

/// Where nothing else was said.
pub const DEFAULT_SYNC_INTERVAL_MS: u64 = 15_000;
/// More often would cost more than it tells.
pub const MIN_SYNC_INTERVAL_MS: u64 = 100;
/// A sync that runs less often than once in a day is none.
pub const MAX_SYNC_INTERVAL_MS: u64 = 86_400_000;

impl SyncSchedule {
    /// As the service is told at its start; 0: it does not run by itself.
    pub fn of_setting(interval_ms: u64) -> Self {
        let running = interval_ms > 0;
        let interval_ms = if running { interval_ms } else { DEFAULT_SYNC_INTERVAL_MS };
        Self { running, interval_ms }
    }
}

/// How the sync stands. It is kept with the receipt of a write that was answered with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SyncStatus {
    pub schedule: SyncSchedule,
    pub last_run_at: Option<Timestamp>,
    pub last_duration_ms: Option<u64>,
    /// Why the last run failed, if it did.
    pub last_error: Option<String>,
    pub runs: u64,
    pub failures: u64,
    pub seq: u64,
    pub lag_events: u64,
    pub lag_ms: u64,
    pub overdue_stores: Vec<OverdueStore>,
}

/// A store that has not pushed its counts for as long as it may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OverdueStore {
    pub store_id: StoreId,
    pub last_push_at: Option<Timestamp>,
    pub sync_interval_seconds: u64,
}

/// The store, if it is overdue. One that never pushed is so long after it was last changed; a push to a store of the same
/// name that was deleted is none of this one.
pub fn overdue(store: &Store, last_push: Option<Timestamp>, now: Timestamp) -> Option<OverdueStore> {
    let sync_interval_seconds = store.sync_interval_seconds?;
    let last_push_at = last_push.filter(|at| *at >= store.created_at);
    let since = last_push_at.unwrap_or(store.updated_at);
    (since.plus_seconds(sync_interval_seconds) <= now).then(|| OverdueStore {
        store_id: store.store_id.clone(),
        last_push_at,
        sync_interval_seconds,
    })
}
