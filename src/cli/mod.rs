//! The command line: a file a verb. Exit code 0 means that all is well, 1 that what was asked found
//! something wrong, 2 that it could not be done.

mod backup;
mod bench;
mod client;
mod export;
mod folder;
mod import;
mod restore;
mod retry;
mod serve;
mod target;
mod user;
mod verify;

use std::future::Future;
use std::process::ExitCode;

use crate::config::Config;

/// A consistency-first inventory service: never oversold, never lost, never applied twice.
#[derive(clap::Parser, Debug)]
#[command(name = "holdfast", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    serve: Config,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    /// Runs the service (also without a command)
    Serve(Box<Config>),
    /// Proves a data folder whole
    Verify(verify::VerifyArgs),
    /// Copies the data to a new folder, also while a service runs
    Backup(backup::BackupArgs),
    /// Makes a data folder of a backup
    Restore(restore::RestoreArgs),
    /// Brings stock in from CSV, NDJSON, or the JSON files of older Node services
    Import(import::ImportArgs),
    /// Writes stock, events or movements to a file of CSV or NDJSON
    Export(export::ExportArgs),
    /// Makes, shows and changes users
    User(user::UserArgs),
    /// Measures a running service, or replays invoices against it and checks its books
    Bench(bench::BenchArgs),
}

impl Cli {
    pub fn run(self) -> ExitCode {
        let result = match self.command {
            None => serve::run(&self.serve),
            Some(Command::Serve(config)) => serve::run(&config),
            Some(Command::Verify(args)) => verify::run(&args),
            Some(Command::Backup(args)) => backup::run(&args),
            Some(Command::Restore(args)) => restore::run(&args),
            Some(Command::Import(args)) => import::run(&args),
            Some(Command::Export(args)) => export::run(&args),
            Some(Command::User(args)) => user::run(args),
            Some(Command::Bench(args)) => bench::run(args),
        };
        result.unwrap_or_else(|error| {
            eprintln!("holdfast: {error:#}");
            ExitCode::from(2)
        })
    }
}

/// On this one thread.
fn wait_for<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(work)
}
