//! Every setting: a flag, an environment variable, a default, checked once.

mod access;
pub mod log;
mod webhooks;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::actors;
use crate::actors::jobs::JobSettings;
use crate::domain::SyncSchedule;
use crate::domain::sync::{DEFAULT_SYNC_INTERVAL_MS, MAX_SYNC_INTERVAL_MS, MIN_SYNC_INTERVAL_MS};
use crate::http::address::Network;
use crate::http::cloudevents::DEFAULT_SOURCE;
use crate::http::cors::Origin;
use crate::http::feed::{self, Feed};
use crate::journal::file;
pub use access::AccessArgs;
pub use log::LogArgs;
pub use webhooks::WebhookArgs;

/// The folder of a command that works on data.
#[derive(clap::Args, Clone, Debug)]
pub struct DataFolder {
    /// Where the data lies
    #[arg(long, env = "DATA_DIR", default_value = "./data", value_name = "FOLDER")]
    pub data_dir: PathBuf,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// The address to listen on; only a loopback one, unless callers must log in
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// The port to listen on; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 3000)]
    pub port: u16,

    #[command(flatten)]
    pub data: DataFolder,

    #[command(flatten)]
    pub access: AccessArgs,

    #[command(flatten)]
    pub log: LogArgs,

    /// Threads that serve requests; 0 takes one per core but one, which is left to the log and the disk
    #[arg(long, env = "HOLDFAST_WORKERS", default_value_t = 0)]
    pub workers: usize,

    /// Commands that may wait for one SKU; more are answered 503
    #[arg(long, env = "HOLDFAST_QUEUE_LIMIT", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub queue_limit: u32,

    /// Hours for which idempotency keys are kept
    #[arg(long, env = "HOLDFAST_KEY_HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8760))]
    pub key_hours: u32,

    /// Seconds after which an unused SKU's actor is stopped
    #[arg(long, env = "HOLDFAST_IDLE_SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    pub idle_seconds: u32,

    /// Seconds between two snapshots of a SKU that keeps changing
    #[arg(long, env = "HOLDFAST_SNAPSHOT_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub snapshot_seconds: u32,

    /// SKU snapshots that are written a second, at most
    #[arg(long, env = "HOLDFAST_SNAPSHOTS_PER_SECOND", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub snapshots_per_second: u32,

    /// Megabytes of log in a segment
    #[arg(long, env = "HOLDFAST_SEGMENT_MB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4095))]
    pub segment_mb: u32,

    /// Megabytes of log between two checkpoints, or twice the size of the last one where that is more
    #[arg(long, env = "HOLDFAST_CHECKPOINT_MB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub checkpoint_mb: u32,

    /// Refuses stock of products and in stores that the catalogue does not have; else their first use makes them
    #[arg(long, env = "HOLDFAST_STRICT_CATALOGUE")]
    pub strict_catalogue: bool,

    /// What the service is called as the `source` of CloudEvents: a URI that no other service has whose events meet there
    #[arg(long, env = "HOLDFAST_EVENT_SOURCE", default_value = DEFAULT_SOURCE, value_name = "URI", value_parser = event_source)]
    pub event_source: String,

    /// Milliseconds between two syncs, which bring the totals up to date, from 100; 0: only when asked for. This holds until
    /// somebody schedules or stops the sync (POST /api/sync/start, /api/sync/stop), and then no longer
    #[arg(long, env = "HOLDFAST_SYNC_INTERVAL_MS", default_value_t = DEFAULT_SYNC_INTERVAL_MS, value_parser = sync_interval)]
    pub sync_interval_ms: u64,

    /// Counts nothing of requests and decisions: for measuring what counting costs
    #[arg(long, env = "HOLDFAST_NO_METRICS")]
    pub no_metrics: bool,

    /// Seconds that a stop waits for imports and requests under way, for both together
    #[arg(long, env = "HOLDFAST_SHUTDOWN_SECONDS", default_value_t = 30)]
    pub shutdown_seconds: u32,

    /// Origins whose pages may use the API from a browser, separated by commas, such as `https://shop.example`
    #[arg(long, env = "ALLOWED_ORIGINS", value_delimiter = ',', value_name = "ORIGINS")]
    pub allowed_origins: Vec<Origin>,

    #[command(flatten)]
    pub limits: Limits,

    #[command(flatten)]
    pub webhooks: WebhookArgs,
}

/// How much of the service anybody may take; requests a minute may come all at once.
#[derive(clap::Args, Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Connections at the same time, over all threads
    #[arg(long, env = "HOLDFAST_MAX_CONNECTIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

    /// Connections at the same time from one address but a trusted proxy; 0: as many as there are
    #[arg(long, env = "HOLDFAST_MAX_CONNECTIONS_PER_ADDRESS", default_value_t = 0)]
    pub max_connections_per_address: u32,

    /// Seconds in which the head of a request must have come
    #[arg(long, env = "HOLDFAST_HEAD_SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub head_seconds: u32,

    /// Seconds in which its body must have come; of an import, in which some more of it must
    #[arg(long, env = "HOLDFAST_BODY_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub body_seconds: u32,

    /// Seconds that a client may leave its answer unread, but for the time in which it takes 1 KiB a second
    #[arg(long, env = "HOLDFAST_ANSWER_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..))]
    pub answer_seconds: u32,

    /// Seconds for which a connection is kept that nothing is asked on
    #[arg(long, env = "HOLDFAST_KEEP_ALIVE_SECONDS", default_value_t = 75, value_parser = clap::value_parser!(u32).range(1..))]
    pub keep_alive_seconds: u32,

    /// Bytes in a body
    #[arg(long, env = "HOLDFAST_MAX_BODY_BYTES", default_value_t = 4 << 20, value_parser = clap::value_parser!(u32).range(1024..))]
    pub max_body_bytes: u32,

    /// Bytes in the body of an import, as it is sent; 0: any number
    #[arg(long, env = "HOLDFAST_MAX_IMPORT_BYTES", default_value_t = 4 << 30)]
    pub max_import_bytes: u64,

    /// Lines that the open reservations of a principal may hold; 0: as many as there are; never of callers without a name
    #[arg(long, env = "HOLDFAST_MAX_OPEN_HOLDS", default_value_t = 100_000)]
    pub max_open_holds: u64,

    /// Webhooks that there may be
    #[arg(long, env = "HOLDFAST_MAX_WEBHOOKS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_webhooks: u32,

    /// Requests a minute of one principal; 0: any number
    #[arg(long, env = "HOLDFAST_RATE_PER_PRINCIPAL", default_value_t = 0)]
    pub rate_per_principal: u32,

    /// Requests a minute from one address, health probes apart; 0: any number
    #[arg(long, env = "HOLDFAST_RATE_PER_ADDRESS", default_value_t = 0)]
    pub rate_per_address: u32,

    /// Logins and registrations a minute from one address, and for one name; 0: any number
    #[arg(long, env = "HOLDFAST_LOGIN_RATE", default_value_t = 10)]
    pub login_rate: u32,

    /// Proxies whose X-Forwarded-For is believed: addresses or networks such as 10.0.0.0/8, separated by commas
    #[arg(
        long,
        env = "HOLDFAST_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "NETWORKS"
    )]
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<Network>,
}

const MEGABYTE: u64 = 1 << 20;
const HOUR_MS: i64 = 3_600_000;

impl Config {
    /// Why these settings cannot stand, where they cannot: one sentence that says what to do.
    pub fn fault(&self, authenticates: bool) -> Option<String> {
        if std::env::var_os("DATABASE_URL").is_some() {
            let fault =
                "DATABASE_URL is set, but this version keeps its data in files only: unset it to serve --data-dir";
            return Some(fault.to_owned());
        }
        if !self.host.is_loopback() && !authenticates && !self.access.insecure_open {
            return Some(format!(
                "refusing to listen on {}: nobody must log in, and anyone who reaches the port could change stock; set \
                 HOLDFAST_JWT_SECRET to 32 random bytes or more so that callers must, listen on 127.0.0.1 or ::1, or say \
                 --insecure-open where only friends can reach it",
                self.host
            ));
        }
        (self.allowed_origins.contains(&Origin::Any) && !authenticates).then(|| {
            "refusing to allow every origin: nobody has to log in, so any page in a browser here could change stock; \
             name in ALLOWED_ORIGINS the origins that may"
                .to_owned()
        })
    }

    pub fn workers(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() - 1).max(1)),
            workers => workers,
        }
    }

    pub fn journal(&self) -> file::Options {
        file::Options {
            folder: self.data.data_dir.clone(),
            segment_bytes: u64::from(self.segment_mb) * MEGABYTE,
            checkpoint_bytes: u64::from(self.checkpoint_mb) * MEGABYTE,
            retention_ms: i64::from(self.key_hours) * HOUR_MS,
        }
    }

    pub fn feed(&self) -> Feed {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Feed::new(feed::Settings {
            source: self.event_source.clone(),
            quiet: seconds(self.limits.keep_alive_seconds),
            patience: seconds(self.limits.answer_seconds),
        })
    }

    pub fn jobs(&self, authenticates: bool) -> JobSettings {
        JobSettings {
            retention_ms: i64::from(self.key_hours) * HOUR_MS,
            authenticates,
        }
    }

    pub fn actors(&self) -> actors::Settings {
        actors::Settings {
            queue_limit: self.queue_limit as usize,
            idle_after: Duration::from_secs(self.idle_seconds.into()),
            snapshot_interval: Duration::from_secs(self.snapshot_seconds.into()),
            snapshots_per_second: self.snapshots_per_second,
            open_holds: self.limits.max_open_holds,
            strict_catalogue: self.strict_catalogue,
            sync: SyncSchedule::of_setting(self.sync_interval_ms),
            is_recording: !self.no_metrics,
        }
    }
}

/// As far as it can be told that something is no URI.
fn event_source(text: &str) -> Result<String, String> {
    let is_uri = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_uri) {
        return Err("it must be a URI, such as https://stock.example.com or urn:holdfast:london".to_owned());
    }
    Ok(text.to_owned())
}

fn sync_interval(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) => Ok(0),
        Ok(millis) if (MIN_SYNC_INTERVAL_MS..=MAX_SYNC_INTERVAL_MS).contains(&millis) => Ok(millis),
        _ => Err(format!(
            "must be 0, or from {MIN_SYNC_INTERVAL_MS} to {MAX_SYNC_INTERVAL_MS}"
        )),
    }
}
