//! `holdfast import`: counts from a file, into a data folder or a running service.
//!
//! One thread reads and parses (`input`, then `import::csv`, `import::ndjson` or `node`, all of which make rows by
//! `import::row`); the lines go in small batches to `folder` or `service`, which bring them in; `report` keeps count of
//! both.

mod folder;
mod input;
mod node;
mod report;
mod service;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread::JoinHandle;

use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc::{Receiver, Sender, channel};

use self::folder::FolderTarget;
use self::report::Report;
use self::service::ServiceTarget;
use crate::cli::folder::Folder;
use crate::cli::target::Target;
use crate::cli::wait_for;
use crate::domain::StoreId;
use crate::import::row::{Line, Parser};
use crate::import::text::Text;
use crate::import::{csv, ndjson};
use crate::journal::file::has_log;

/// Lines that go from the reader to the target together.
const BATCH_LINES: usize = 500;
/// Such batches that may wait.
const BATCHES_WAITING: usize = 8;

/// Brings stock in: each line counts the level of one SKU in one store, and may name, describe and price it.
///
/// Columns (CSV) or members (NDJSON): sku and quantity; storeId, name, description, price (an integer in minor
/// units) with currency, reorderPoint, where they are given. What `export stock` writes beside these is passed over.
/// Importing a file again leaves the same levels. Exit code 0: every line is in; 1: some were refused, the others are
/// in; 2: it could not be done.
#[derive(clap::Args, Debug)]
pub struct ImportArgs {
    /// CSV, NDJSON, or `inventory_<store>.json` of an older service, gzip or not; `-` reads standard input
    file: PathBuf,

    /// The format, where name and first bytes of the file do not tell it
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// The store of lines that name none [default: the <store> of a file called inventory_<store>.json, else
    /// `default`]
    #[arg(long, value_name = "STORE")]
    store: Option<String>,

    #[command(flatten)]
    target: Target,

    /// Reads and decides everything, and changes nothing
    #[arg(long)]
    dry_run: bool,

    /// Into a folder: refuses lines of products and stores that the catalogue does not have, as a service with this
    /// setting does
    #[arg(long, env = "HOLDFAST_STRICT_CATALOGUE")]
    strict_catalogue: bool,

    /// Writes every error to a file of its own, a line each
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv,
    Ndjson,
    /// Of an older Node service
    Json,
}

/// What the reader has read.
type Lines = Receiver<Vec<Line>>;

pub fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let clean = wait_for(import(args))?;
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// True if no line was refused.
async fn import(args: &ImportArgs) -> anyhow::Result<bool> {
    let name = || format!("cannot import {}", args.file.display());
    let bar = args.progress()?;
    let source = Source::open(args, &bar).with_context(name)?;
    let mut report = Report::new(args.dry_run, args.target.json, args.errors.as_deref(), bar)?;
    let (lines, reader) = match &args.target.url {
        Some(url) => {
            let target = ServiceTarget::reach(url, args.dry_run).await?;
            let (mut lines, reader) = source.start()?;
            target.import(&mut lines, &mut report).await?;
            (lines, reader)
        }
        None => {
            let (folder, _temporary) = args.folder()?;
            let target = FolderTarget::new(folder, args.dry_run, args.strict_catalogue);
            let (mut lines, reader) = source.start()?;
            target.import(&mut lines, &mut report).await?;
            (lines, reader)
        }
    };
    let are = if args.dry_run { "would be" } else { "are" };
    end(lines, reader).with_context(|| format!("{}, of which {} lines {are} in", name(), report.summary.imported))?;
    report.finish()
}

impl ImportArgs {
    /// A bar on stderr, which indicatif hides by itself when that is not a terminal.
    fn progress(&self) -> anyhow::Result<ProgressBar> {
        if self.target.json {
            return Ok(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")?;
        Ok(ProgressBar::new(0).with_style(style))
    }

    /// The folder; in a dry run, which makes none, an empty one elsewhere that lives as long as its handle.
    fn folder(&self) -> anyhow::Result<(Folder, Option<tempfile::TempDir>)> {
        let path = &self.target.data.data_dir;
        if !self.dry_run || has_log(path) {
            return Ok((Folder::open(path)?, None));
        }
        let temporary = tempfile::tempdir()?;
        Ok((Folder::open(temporary.path())?, Some(temporary)))
    }

    fn default_store(&self) -> anyhow::Result<StoreId> {
        let named = self.store.as_deref().map(StoreId::parse).transpose();
        let named = named.map_err(|fault| anyhow!("--store {fault}"))?;
        let store = named.or_else(|| input::store_in_name(&self.file));
        Ok(store.unwrap_or_else(StoreId::default_store))
    }
}

/// A file that is opened and whose format is known.
struct Source {
    input: Text,
    format: Format,
    parser: Parser,
}

impl Source {
    fn open(args: &ImportArgs, bar: &ProgressBar) -> anyhow::Result<Self> {
        let parser = Parser::new(args.default_store()?);
        let input = input::open(&args.file, bar)?;
        let format = args.format.unwrap_or_else(|| Format::of(&args.file, &input.head));
        Ok(Self { input, format, parser })
    }

    /// Reads on a thread of its own: a slow pipe must not hold up what waits for answers.
    fn start(self) -> anyhow::Result<(Lines, JoinHandle<anyhow::Result<()>>)> {
        let (sender, lines) = channel(BATCHES_WAITING);
        let read = move || {
            let mut batches = Batches {
                sender,
                lines: Vec::new(),
            };
            let read = self.read(&mut |line| batches.push(line));
            // With nobody left to take them, whoever left says why.
            let _ = batches.send();
            read
        };
        let reader = std::thread::Builder::new()
            .name("holdfast-read".to_owned())
            .spawn(read)?;
        Ok((lines, reader))
    }

    fn read(mut self, take: &mut dyn FnMut(Line) -> ControlFlow<()>) -> anyhow::Result<()> {
        let (text, parser) = (&mut *self.input.reader, &mut self.parser);
        match self.format {
            Format::Csv => csv::read(&self.input.head, text, parser, take)?,
            Format::Ndjson => ndjson::read(text, parser, take)?,
            Format::Json => node::read(text, parser, take)?,
        }
        Ok(())
    }
}

struct Batches {
    sender: Sender<Vec<Line>>,
    lines: Vec<Line>,
}

impl Batches {
    fn push(&mut self, line: Line) -> ControlFlow<()> {
        self.lines.push(line);
        if self.lines.len() < BATCH_LINES {
            return ControlFlow::Continue(());
        }
        self.send()
    }

    /// Breaks when nobody takes lines any more.
    fn send(&mut self) -> ControlFlow<()> {
        let lines = std::mem::replace(&mut self.lines, Vec::with_capacity(BATCH_LINES));
        match self.sender.blocking_send(lines) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Ends the reader, which tells how far it could read.
fn end(lines: Lines, reader: JoinHandle<anyhow::Result<()>>) -> anyhow::Result<()> {
    drop(lines);
    reader.join().map_err(|_| anyhow!("the reader has panicked"))?
}
