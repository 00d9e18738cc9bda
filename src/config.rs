//! Every setting: a flag, an environment variable, a default, checked once.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::actors;
use crate::journal::file;

/// The folder of a command that works on data.
#[derive(clap::Args, Clone, Debug)]
pub struct DataFolder {
    /// Where the data lies
    #[arg(long, env = "DATA_DIR", default_value = "./data", value_name = "FOLDER")]
    pub data_dir: PathBuf,
}

#[derive(clap::Args, Clone, Debug)]
pub struct Config {
    /// The address to listen on; only a loopback one, as there is no authentication yet
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,

    /// The port to listen on; 0 takes a free one
    #[arg(long, env = "PORT", default_value_t = 3000)]
    pub port: u16,

    #[command(flatten)]
    pub data: DataFolder,

    /// What is logged: error, warn, info, debug, trace, or directives such as `holdfast=debug`
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,

    /// Threads that serve requests; 0 takes one per core but one, which is left to the log and the disk
    #[arg(long, env = "HOLDFAST_WORKERS", default_value_t = 0)]
    pub workers: usize,

    /// Connections at the same time, over all threads
    #[arg(long, env = "HOLDFAST_MAX_CONNECTIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,

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

    /// Seconds that a stop waits for requests under way
    #[arg(long, env = "HOLDFAST_SHUTDOWN_SECONDS", default_value_t = 30)]
    pub shutdown_seconds: u32,
}

const MEGABYTE: u64 = 1 << 20;
const HOUR_MS: i64 = 3_600_000;

impl Config {
    /// Why these settings cannot stand, where they cannot: one sentence that says what to do.
    pub fn fault(&self) -> Option<String> {
        let open = !self.host.is_loopback();
        open.then(|| {
            format!(
                "refusing to listen on {}: there is no authentication yet, and anyone who reaches the port could change \
                 stock; listen on 127.0.0.1 or ::1, behind a proxy that knows its callers",
                self.host
            )
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

    pub fn actors(&self) -> actors::Settings {
        actors::Settings {
            queue_limit: self.queue_limit as usize,
            idle_after: Duration::from_secs(self.idle_seconds.into()),
            snapshot_interval: Duration::from_secs(self.snapshot_seconds.into()),
            snapshots_per_second: self.snapshots_per_second,
            strict_catalogue: self.strict_catalogue,
        }
    }
}
