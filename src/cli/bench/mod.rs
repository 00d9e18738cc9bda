//! `holdfast bench`: load for a running service, and a replay of real invoices that proves its books.
//!
//! Load (`load`) measures how fast a service answers one kind of request; `carts` draws the carts of
//! one kind, from `random` numbers. Replay (`replay`) sends a file of invoices (`invoices`), keeps its
//! own `ledger` of what each did, survives the service dying underneath it, and at the end compares
//! every level with the ledger, and every cart (`reservations`) and what was sold (`sales`). Both share
//! how levels are listed and stocked (`stock`) and how the service is read (`read`).
//!
//! Everything runs on one thread: the load shares its cores with the service it measures, so what
//! counts is the generator's CPU time per request, not how many cores it can fill.

mod carts;
mod invoices;
mod ledger;
mod load;
mod random;
mod read;
mod replay;
mod report;
mod reservations;
mod sales;
mod stock;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::wait_for;

/// Measures a running service under load, or replays invoices against it and checks its books.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// Where the service listens; plain HTTP only.
    #[arg(long, default_value = "http://127.0.0.1:3000")]
    url: String,

    /// Replays this CSV file of invoice lines (gzip is recognised) instead of making load: each invoice's sales as one
    /// cart, reserved and then committed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["mode", "skus", "batch_size", "lines", "hot_share", "hot",
        "seconds", "warmup", "rate", "keys", "store", "no_prepare"])]
    replay: Option<PathBuf>,

    /// How many clients send at once, each on a connection of its own.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,

    /// Ends a replay or a preparation after so many seconds without any success.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    give_up_after: u64,

    /// What each request of the load does.
    #[arg(long, value_enum, default_value_t = load::Mode::Adjust)]
    mode: load::Mode,

    /// Over how many SKUs the load is spread, uniformly at random.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    skus: u32,

    /// Operations in a batch, spread over the SKUs in turn.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch_size: u32,

    /// Lines of a cart, each of one unit of another SKU, drawn at random.
    ///
    /// A cart is held for a minute and then over by itself. So a run of up to a minute, its warm-up included, measures
    /// making carts alone, and a longer one does not pile them up without end: from then on as many end as are made.
    /// What an earlier run has made ends within a minute of it, and is a load on what runs then. Levels are stocked
    /// with far more than a run takes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=2000))]
    lines: u32,

    /// The share of carts, from 0 to 1, of which one line is of the same hot SKU.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    hot_share: f64,

    /// Sends all the load to a single SKU.
    #[arg(long)]
    hot: bool,

    /// How long the load is measured.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,

    /// Seconds of load before the measurement begins.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=86_400))]
    warmup: u64,

    /// Sends so many requests a second on a fixed schedule, instead of as fast as answers come.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Gives each write an Idempotency-Key.
    #[arg(long)]
    keys: bool,

    /// The store that holds the levels under load.
    #[arg(long, default_value = "bench")]
    store: String,

    /// Sends the load without stocking the levels first.
    #[arg(long)]
    no_prepare: bool,

    /// Prints the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the command; exit code 0 means that nothing failed and, in a replay, that the books agree.
pub fn run(args: BenchArgs) -> anyhow::Result<ExitCode> {
    let clean = wait_for(async {
        match &args.replay {
            Some(file) => replay::run(&args, file).await,
            None => load::run(&args).await,
        }
    })?;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "it is not a number from 0 to 1".to_owned())
}

impl BenchArgs {
    fn clients(&self) -> usize {
        self.clients as usize
    }

    fn give_up_after(&self) -> Duration {
        Duration::from_secs(self.give_up_after)
    }

    /// A bar on stderr, which indicatif hides by itself when that is not a terminal.
    fn progress(&self, what: &'static str, length: usize) -> anyhow::Result<ProgressBar> {
        if self.json {
            return Ok(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{msg:10} {wide_bar} {pos}/{len} {elapsed_precise}")?;
        Ok(ProgressBar::new(length as u64).with_style(style).with_message(what))
    }
}
