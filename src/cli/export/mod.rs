//! `holdfast export`: stock, events or movements as a file, from a data folder or a running service.
//!
//! `folder` and `service` each give rows as JSON objects in the forms of the API; `output` writes them as
//! NDJSON or, cut into columns, as CSV.

mod folder;
mod output;
mod service;
mod stock;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use self::output::Output;
use crate::cli::folder::Folder;
use crate::cli::target::Target;
use crate::cli::wait_for;

/// Writes stock, events or movements to a file of CSV or NDJSON.
///
/// stock: one row per level, which `import` takes elsewhere. events: the log in order. movements: changes of on-hand
/// quantities, newest first. The file appears when it is whole. Exit code 0: it is written; 2: it could not be.
#[derive(clap::Args, Debug)]
pub struct ExportArgs {
    #[arg(value_enum)]
    what: What,

    /// Where to; a name that ends with .gz is compressed, and `-` is standard output
    file: PathBuf,

    /// The format [default: by the file's extension, else csv, and ndjson for events]
    #[arg(long, value_enum)]
    format: Option<Format>,

    #[command(flatten)]
    target: Target,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Stock,
    Events,
    Movements,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Csv,
    Ndjson,
}

impl What {
    /// The columns of CSV: members of the rows.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Stock => &[
                "sku",
                "storeId",
                "quantity",
                "reserved",
                "available",
                "version",
                "reorderPoint",
                "updatedAt",
                "name",
                "description",
                "price",
                "currency",
            ],
            // An event has a row for each of its changes.
            Self::Events => &[
                "seq",
                "type",
                "at",
                "by",
                "requestId",
                "reservationId",
                "reference",
                "note",
                "sku",
                "storeId",
                "movement",
                "delta",
                "quantity",
                "reserved",
                "version",
                "itemVersion",
                "lowStock",
            ],
            Self::Movements => &[
                "seq",
                "type",
                "sku",
                "storeId",
                "delta",
                "quantityAfter",
                "at",
                "by",
                "reservationId",
                "reference",
                "note",
            ],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Stock => "levels",
            Self::Events => "events",
            Self::Movements => "movements",
        }
    }
}

impl Format {
    fn of(what: What, file: &Path) -> Self {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("csv") => Self::Csv,
            Some("ndjson" | "jsonl") => Self::Ndjson,
            _ if what == What::Events => Self::Ndjson,
            _ => Self::Csv,
        }
    }
}

pub fn run(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let is_stdout = output::is_stdout(&args.file);
    ensure!(
        !(is_stdout && args.target.json),
        "--json and the export itself cannot both go to standard output"
    );
    let begun = Instant::now();
    let rows = wait_for(export(args))?;
    let (what, seconds) = (args.what.name(), begun.elapsed().as_secs_f64());
    if args.target.json {
        println!(
            "{}",
            json!({"rows": rows, "of": what, "file": args.file.to_string_lossy(), "seconds": seconds})
        );
    } else if !is_stdout {
        println!("{rows} {what} in {}, in {seconds:.1} s", args.file.display());
    }
    Ok(ExitCode::SUCCESS)
}

async fn export(args: &ExportArgs) -> anyhow::Result<u64> {
    let format = args.format.unwrap_or_else(|| Format::of(args.what, &args.file));
    let writing = || format!("cannot write {}", args.file.display());
    let bar = args.progress()?;
    let mut output = Output::create(&args.file, format, args.what.columns(), bar).with_context(writing)?;
    match &args.target.url {
        Some(url) => service::export(url, args.what, &mut output).await?,
        None => {
            let mut folder = Folder::open_existing(&args.target.data)?;
            folder.record_over().await?;
            folder::export(&folder, args.what, &mut output).await?;
            folder.close()?;
        }
    }
    output.finish().with_context(writing)
}

impl ExportArgs {
    /// A count on stderr, which indicatif hides by itself when that is not a terminal.
    fn progress(&self) -> anyhow::Result<ProgressBar> {
        if self.target.json {
            return Ok(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{spinner} {human_pos} {msg} {per_sec}")?;
        Ok(ProgressBar::no_length()
            .with_style(style)
            .with_message(self.what.name()))
    }
}
