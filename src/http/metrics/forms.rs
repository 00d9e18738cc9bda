//! How the service does, as JSON. Units stand at the end of names: `…Micros`, `…Bytes`, `…Seconds`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::background::BackgroundForm;
use super::health::HealthForm;
use super::reading::Reading;
use crate::actors::batch::MAX_OPERATIONS;
use crate::config::Limits;
use crate::domain::{EventKind, Sku, Timestamp};
use crate::http::body::MAX_DEPTH;
use crate::http::problem::Code;
use crate::http::traffic::RouteCounted;
use crate::metrics::Distribution;

/// How the service does. Counts begin at `since`, and what is said of now is of now.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Metrics")]
pub struct MetricsForm {
    pub timestamp: Timestamp,
    pub requests: RequestsForm,
    pub inventory: InventoryForm,
    pub concurrency: ConcurrencyForm,
    pub persistence: PersistenceForm,
    pub background: BackgroundForm,
    pub system: SystemForm,
    pub limits: LimitsForm,
    pub webhooks: WebhooksForm,
    pub health: HealthForm,
}

/// What was asked of the service.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RequestMetrics")]
pub struct RequestsForm {
    /// Counts begin here: the start of the service, or the last reset.
    since: Timestamp,
    /// False where the service was started with `--no-metrics`: then nothing is counted here, and no refusals anywhere.
    recording: bool,
    /// Requests that were answered.
    total: u64,
    /// Requests that are being answered; this one is among them.
    in_flight: u64,
    /// Requests whose clients did not wait for the answer.
    abandoned: u64,
    /// Over the last minute.
    per_second: f64,
    /// The share of requests of the last minute that were answered with 500 or above.
    error_rate: f64,
    /// How many were answered with a status of each class: `2xx`, `4xx`, ….
    by_class: BTreeMap<String, u64>,
    /// Refusals by their code, each of whatever request.
    refusals: BTreeMap<&'static str, u64>,
    /// Of all requests.
    latency: LatencyForm,
    /// Those that were asked. Paths and methods that there are not are `other`.
    routes: Vec<RouteForm>,
}

/// A method of a path.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RouteMetrics")]
struct RouteForm {
    method: String,
    /// As in this document, with its parameters in braces.
    route: String,
    count: u64,
    /// How many were answered with each status.
    statuses: BTreeMap<String, u64>,
    #[serde(flatten)]
    latency: LatencyForm,
}

/// How long something took; of a request, from when its head was read until its answer begins, without what the network
/// takes. A percentile is at most 3.2 % above the true one.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Latency")]
struct LatencyForm {
    mean_micros: u64,
    p50_micros: u64,
    p90_micros: u64,
    p99_micros: u64,
    max_micros: u64,
}

/// How many of something came together.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Spread")]
struct SpreadForm {
    count: u64,
    sum: u64,
    mean: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

/// The stock, and what was done with it.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "InventoryMetrics")]
pub struct InventoryForm {
    /// Counts begin here.
    since: Timestamp,
    items: u64,
    levels: u64,
    /// Stores with a level.
    stores: u64,
    /// Items with a level at or below its reorder point.
    low_stock_items: u64,
    open_reservations: u64,
    /// Lines of open reservations that hold something.
    held_lines: u64,
    /// What was recorded, by the kind of its event. An atomic batch is one event.
    operations: BTreeMap<String, u64>,
    /// Changes of users, service tokens and the catalogue that were recorded.
    other_changes: u64,
    /// Refused stock writes by code, of batches that are not atomic each operation. Dry runs are among them.
    refusals: BTreeMap<&'static str, u64>,
    /// Writes that would have taken what was not there: refusals with `insufficient_stock`.
    oversell_prevented: u64,
    /// Writes that were answered again, as their `Idempotency-Key` had been used for the same before.
    idempotent_replays: u64,
    /// Events that recorded the end of holds.
    expiries: u64,
    /// The SKUs with the most commands in the last one to two minutes, refused ones too, the hottest first.
    hottest_skus: Vec<HotSkuForm>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "HotSku")]
struct HotSkuForm {
    sku: Sku,
    operations: u64,
}

/// How writes get on beside one another.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ConcurrencyMetrics")]
pub struct ConcurrencyForm {
    /// Counts begin here.
    since: Timestamp,
    /// SKUs in use have an actor each.
    actors_live: u64,
    actors_started: u64,
    /// Actors that were stopped as nobody wanted their SKUs.
    actors_stopped: u64,
    /// Commands that are not answered yet, over all SKUs.
    commands_waiting: u64,
    /// The same of the SKU that has most.
    longest_queue: u64,
    /// From this on a SKU takes no more.
    queue_limit: u64,
    /// Writes that were refused with `overloaded`.
    overloaded: u64,
    /// Writes whose client expected another version: `version_mismatch` and `precondition_failed`.
    version_conflicts: u64,
    /// Appends that were decided once more, as something had moved on beneath them.
    journal_conflicts: u64,
    /// Commands of a SKU that were decided together.
    commands_per_group: SpreadForm,
    joint_steps: JointForm,
    /// Idempotency keys and chosen reservation ids of writes under way.
    claims_in_flight: u64,
}

/// Steps over several SKUs: carts, what becomes of them, atomic batches.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "JointStepMetrics")]
struct JointForm {
    count: u64,
    /// SKUs of a step.
    skus: SpreadForm,
    /// From the first SKU that is asked for to the record on stable storage.
    #[serde(flatten)]
    latency: LatencyForm,
}

/// How the log gets on.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "PersistenceMetrics")]
pub struct PersistenceForm {
    /// Counts begin here.
    since: Timestamp,
    /// What keeps the data: `file`.
    engine: &'static str,
    /// Why writes are refused at present, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusing: Option<String>,
    /// The place of the last event that readers see.
    visible_seq: u64,
    /// The hash of the whole history up to there: who keeps it can tell later that nothing was changed.
    head_hash: String,
    appends: u64,
    /// Groups that were written and synced together: their count, and records in each.
    groups: SpreadForm,
    /// What a group waits for: that the disk has it.
    syncs: SyncForm,
    /// Bytes that were written to the log.
    bytes_written: u64,
    segments: u64,
    /// What the files of the log take of the disk.
    log_bytes: u64,
    /// What is left of the disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_free_bytes: Option<u64>,
    snapshots_written: u64,
    checkpoints_written: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<CheckpointForm>,
    /// The last event in the totals of all stores: before the first sync there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    totals_seq: Option<u64>,
    recovery: RecoveryForm,
}

/// Syncs of the log, and how long they took.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SyncMetrics")]
struct SyncForm {
    count: u64,
    #[serde(flatten)]
    latency: LatencyForm,
}

/// The last checkpoint.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "CheckpointMetrics")]
struct CheckpointForm {
    at: Timestamp,
    /// It has all up to this event.
    seq: u64,
    bytes: u64,
    /// Of one that was written since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_millis: Option<u64>,
}

/// What the start has found.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "RecoveryMetrics")]
struct RecoveryForm {
    duration_millis: u64,
    /// Events that were read from the log: those that no checkpoint had, and those of the last day for their keys.
    replayed_events: u64,
    replayed_bytes: u64,
    /// Bytes of a write that a crash had cut short, and that was never answered.
    torn_bytes: u64,
}

/// The process and its machine; what the operating system does not tell is left out.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SystemMetrics")]
pub struct SystemForm {
    version: &'static str,
    pid: u32,
    started_at: Timestamp,
    uptime_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_bytes: Option<u64>,
    /// Of all threads since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds: Option<f64>,
    /// Processors that were busy with this over the last minute: 0.5 is half of one.
    cpu_share: f64,
    /// Processors that it may use.
    cores: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_files: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_open_files: Option<u64>,
}

/// What anybody may take of the service, and what was refused for it.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "LimitMetrics")]
pub struct LimitsForm {
    /// Counts begin here.
    since: Timestamp,
    /// As the operator has set them.
    settings: Limits,
    /// What cannot be set.
    fixed: FixedLimitsForm,
    open_connections: u64,
    /// Connections that were taken.
    connections: u64,
    refused: LimitRefusalsForm,
}

/// Limits that are the same everywhere.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "FixedLimits")]
struct FixedLimitsForm {
    /// Levels of nesting in a body.
    json_depth: u64,
    /// Bytes in the head of a request.
    head_bytes: u64,
    /// Fields in the head of a request.
    head_fields: u64,
    /// Operations in a batch.
    batch_operations: u64,
}

/// How often each limit was met.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "LimitRefusals")]
struct LimitRefusalsForm {
    /// 429: too many requests in a minute.
    rate_limited: u64,
    /// 413: a body or a batch that was too large.
    too_large: u64,
    /// 431: a head that was too large.
    head_too_large: u64,
    /// 408, or closed without an answer: what came too slowly, or was not taken.
    too_slow: u64,
    /// Connections of an address that had all it may.
    connections: u64,
    /// 409 `quota_exceeded`: open reservations with all the lines that they may hold, webhooks beyond their number, or
    /// imports of a principal beyond those that may come in at a time.
    quota: u64,
    /// 503 `overloaded`: a SKU with all the commands that may wait for it.
    overloaded: u64,
    /// 400 without a body: what was no HTTP.
    malformed: u64,
}

/// How deliveries to webhooks get on, as it is now.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WebhookMetrics")]
pub struct WebhooksForm {
    total: u64,
    delivering: u64,
    /// Those whose last attempt has failed, and which try again.
    retrying: u64,
    /// Those that an admin has disabled, or whose receiver is gone.
    disabled: u64,
    /// Of the one that is furthest behind, the disabled ones apart: how many events of the log it has not looked at yet.
    events_behind: u64,
    /// Events that could not be delivered, of all webhooks together.
    dead_letters: u64,
    /// So many more were there, and had to make room for later ones.
    dropped_dead_letters: u64,
}

/// Counts begin anew.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "MetricsReset")]
pub struct ResetForm {
    /// From here they count.
    pub since: Timestamp,
}

/// The head of a request, as actix-http holds it: bytes and fields.
const HEAD_BYTES: u64 = 128 << 10;
const HEAD_FIELDS: u64 = 96;

impl MetricsForm {
    pub fn of(reading: &Reading) -> Self {
        Self {
            timestamp: reading.at,
            requests: RequestsForm::of(reading),
            inventory: InventoryForm::of(reading),
            concurrency: ConcurrencyForm::of(reading),
            persistence: PersistenceForm::of(reading),
            background: BackgroundForm::of(reading),
            system: SystemForm::of(reading),
            limits: LimitsForm::of(reading),
            webhooks: WebhooksForm::of(reading),
            health: HealthForm::of(reading),
        }
    }
}

impl RequestsForm {
    pub fn of(reading: &Reading) -> Self {
        let traffic = &reading.counts.traffic;
        let mut by_class = BTreeMap::new();
        for (status, count) in traffic.routes.iter().flat_map(RouteCounted::statuses) {
            *by_class.entry(class(status)).or_default() += count;
        }
        let asked = traffic.routes.iter().filter(|route| route.count() > 0);
        Self {
            since: reading.since,
            recording: reading.is_recording,
            total: traffic.requests(),
            in_flight: reading.in_flight,
            abandoned: traffic.abandoned,
            per_second: rounded(reading.lately.minute.requests_per_second()),
            error_rate: rounded(reading.lately.minute.error_rate()),
            by_class,
            refusals: by_code(traffic.refusals()),
            latency: LatencyForm::of(&traffic.micros()),
            routes: asked.map(RouteForm::of).collect(),
        }
    }
}

fn class(status: u16) -> String {
    match status / 100 {
        0 => "other".to_owned(),
        class => format!("{class}xx"),
    }
}

fn by_code(refusals: impl Iterator<Item = (Code, u64)>) -> BTreeMap<&'static str, u64> {
    let met = refusals.filter(|(_, count)| *count > 0);
    met.map(|(code, count)| (code.as_str(), count)).collect()
}

/// As events have it.
pub fn name_of(kind: EventKind) -> String {
    let name = serde_json::to_value(kind).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

/// Of an answer; those that are counted together have none of their own.
pub fn name_of_status(status: u16) -> String {
    match status {
        0 => "other".to_owned(),
        status => status.to_string(),
    }
}

/// How often a code was met.
fn count_of(code: Code, refusals: impl Iterator<Item = (Code, u64)>) -> u64 {
    let own = refusals.filter(|(met, _)| *met == code);
    own.map(|(_, count)| count).sum()
}

pub fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

impl RouteForm {
    fn of(route: &RouteCounted) -> Self {
        let statuses = route.statuses().into_iter();
        Self {
            method: route.label.method.clone(),
            route: route.label.path.to_owned(),
            count: route.count(),
            statuses: statuses
                .map(|(status, count)| (name_of_status(status), count))
                .collect(),
            latency: LatencyForm::of(&route.micros),
        }
    }
}

impl LatencyForm {
    fn of(micros: &Distribution) -> Self {
        Self {
            mean_micros: micros.mean(),
            p50_micros: micros.percentile(50.0),
            p90_micros: micros.percentile(90.0),
            p99_micros: micros.percentile(99.0),
            max_micros: micros.max(),
        }
    }
}

impl SpreadForm {
    fn of(values: &Distribution) -> Self {
        Self {
            count: values.count(),
            sum: values.sum(),
            mean: values.mean(),
            p50: values.percentile(50.0),
            p90: values.percentile(90.0),
            p99: values.percentile(99.0),
            max: values.max(),
        }
    }
}

impl InventoryForm {
    pub fn of(reading: &Reading) -> Self {
        let (stock, traffic, events) = (&reading.stock, &reading.counts.traffic, &reading.counts.journal.events);
        let kinds = EventKind::SHOWN.into_iter().filter(|kind| *events.of(*kind) > 0);
        let hottest = reading.workload.hottest.iter().map(|(sku, operations)| HotSkuForm {
            sku: sku.clone(),
            operations: *operations,
        });
        Self {
            since: reading.since,
            items: stock.items,
            levels: stock.levels,
            stores: stock.stores,
            low_stock_items: stock.low_items,
            open_reservations: stock.open_reservations,
            held_lines: stock.held_lines,
            operations: kinds.map(|kind| (name_of(kind), *events.of(kind))).collect(),
            other_changes: *events.hidden(),
            refusals: by_code(traffic.stock_refusals()),
            oversell_prevented: count_of(Code::InsufficientStock, traffic.stock_refusals()),
            idempotent_replays: reading.counts.actors.replays,
            expiries: *events.of(EventKind::ReservationExpired),
            hottest_skus: hottest.collect(),
        }
    }
}

impl ConcurrencyForm {
    pub fn of(reading: &Reading) -> Self {
        let (workload, counted) = (&reading.workload, &reading.counts.actors);
        let refused = |code| count_of(code, reading.counts.traffic.stock_refusals());
        Self {
            since: reading.since,
            actors_live: workload.actors_live,
            actors_started: counted.actors_started,
            actors_stopped: counted.actors_stopped,
            commands_waiting: workload.commands_waiting,
            longest_queue: workload.longest_queue,
            queue_limit: workload.queue_limit,
            overloaded: refused(Code::Overloaded),
            version_conflicts: refused(Code::VersionMismatch) + refused(Code::PreconditionFailed),
            journal_conflicts: reading.counts.journal.conflicts,
            commands_per_group: SpreadForm::of(&counted.commands_per_group),
            joint_steps: JointForm {
                count: counted.joint_step_micros.count(),
                skus: SpreadForm::of(&counted.skus_per_joint_step),
                latency: LatencyForm::of(&counted.joint_step_micros),
            },
            claims_in_flight: workload.claims_in_flight,
        }
    }
}

impl PersistenceForm {
    pub fn of(reading: &Reading) -> Self {
        let (standing, counted) = (&reading.standing, &reading.counts.journal);
        Self {
            since: reading.since,
            engine: standing.engine,
            refusing: reading.refusing.clone(),
            visible_seq: standing.visible,
            head_hash: standing.head_hash.clone(),
            appends: counted.appends,
            groups: SpreadForm::of(&counted.records_per_group),
            syncs: SyncForm {
                count: counted.sync_micros.count(),
                latency: LatencyForm::of(&counted.sync_micros),
            },
            bytes_written: counted.bytes,
            segments: standing.segments,
            log_bytes: standing.log_bytes,
            disk_free_bytes: standing.disk_free_bytes,
            snapshots_written: counted.snapshots,
            checkpoints_written: counted.checkpoints,
            checkpoint: standing.checkpoint.map(|checkpoint| CheckpointForm {
                at: checkpoint.at,
                seq: checkpoint.seq,
                bytes: checkpoint.bytes,
                duration_millis: checkpoint.duration_ms,
            }),
            totals_seq: standing.totals_seq,
            recovery: RecoveryForm {
                duration_millis: standing.recovery.duration_ms,
                replayed_events: standing.recovery.replayed,
                replayed_bytes: standing.recovery.replayed_bytes,
                torn_bytes: standing.recovery.torn_bytes,
            },
        }
    }
}

impl SystemForm {
    pub fn of(reading: &Reading) -> Self {
        let process = &reading.process;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            started_at: reading.began,
            uptime_seconds: reading.uptime.as_secs(),
            resident_bytes: process.resident_bytes,
            cpu_seconds: process.cpu_seconds,
            cpu_share: rounded(reading.lately.minute.cpu_share()),
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            threads: process.threads,
            open_files: process.open_files,
            max_open_files: process.max_open_files,
        }
    }
}

impl LimitsForm {
    pub fn of(reading: &Reading) -> Self {
        let (traffic, connections) = (&reading.counts.traffic, &reading.counts.connections);
        let answered = |status: u16| traffic.answered_with(|given| given == status);
        let refused = |code| count_of(code, traffic.stock_refusals());
        Self {
            since: reading.since,
            settings: reading.limits.clone(),
            fixed: FixedLimitsForm {
                json_depth: MAX_DEPTH as u64,
                head_bytes: HEAD_BYTES,
                head_fields: HEAD_FIELDS,
                batch_operations: MAX_OPERATIONS as u64,
            },
            open_connections: reading.open_connections,
            connections: connections.opened,
            refused: LimitRefusalsForm {
                rate_limited: answered(429),
                too_large: answered(413),
                head_too_large: connections.heads_too_large,
                too_slow: answered(408) + connections.too_slow,
                connections: connections.refused,
                quota: refused(Code::QuotaExceeded),
                overloaded: refused(Code::Overloaded),
                malformed: connections.malformed,
            },
        }
    }
}

impl WebhooksForm {
    pub fn of(reading: &Reading) -> Self {
        let webhooks = &reading.webhooks;
        Self {
            total: webhooks.delivering + webhooks.retrying + webhooks.disabled,
            delivering: webhooks.delivering,
            retrying: webhooks.retrying,
            disabled: webhooks.disabled,
            events_behind: webhooks.events_behind,
            dead_letters: webhooks.dead_letters,
            dropped_dead_letters: webhooks.dropped_dead_letters,
        }
    }
}
