//! What became of the lines: counted, the refused ones named.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use indicatif::ProgressBar;
use serde::Serialize;

use crate::import::row::{Fault, LineError};

/// So many errors are printed as they are met.
const PRINTED: u64 = 20;
/// So many errors are in the summary.
const SUMMED_UP: u64 = 1000;

pub struct Report {
    pub summary: Summary,
    begun: Instant,
    bar: ProgressBar,
    quiet: bool,
    errors: Option<BufWriter<File>>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    pub lines: u64,
    pub imported: u64,
    pub failed: u64,
    pub dry_run: bool,
    pub seconds: f64,
    pub errors: Vec<LineError>,
}

impl Report {
    pub fn new(dry_run: bool, quiet: bool, errors: Option<&Path>, bar: ProgressBar) -> anyhow::Result<Self> {
        let create = |path: &Path| {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(BufWriter::new(file))
        };
        Ok(Self {
            summary: Summary {
                dry_run,
                ..Summary::default()
            },
            begun: Instant::now(),
            bar,
            quiet,
            errors: errors.map(create).transpose()?,
        })
    }

    pub fn refused(&mut self, line: u64, fault: Fault) -> anyhow::Result<()> {
        self.summary.failed += 1;
        let text = format!("line {line}{fault}");
        if let Some(file) = &mut self.errors {
            writeln!(file, "{text}").context("cannot write the file of errors")?;
        }
        if self.summary.failed <= PRINTED && !self.quiet {
            self.bar.suspend(|| eprintln!("{text}"));
        }
        if self.summary.failed <= SUMMED_UP {
            self.summary.errors.push(LineError::new(line, fault));
        }
        Ok(())
    }

    pub fn imported(&mut self, lines: u64) {
        self.summary.imported += lines;
    }

    /// Says how it ended; true if no line was refused.
    pub fn finish(mut self) -> anyhow::Result<bool> {
        self.bar.finish_and_clear();
        if let Some(file) = &mut self.errors {
            file.flush().context("cannot write the file of errors")?;
        }
        self.summary.lines = self.summary.imported + self.summary.failed;
        self.summary.seconds = self.begun.elapsed().as_secs_f64();
        // Connections answer in an order of their own.
        self.summary.errors.sort_by_key(|error| error.line);
        if self.quiet {
            println!("{}", serde_json::to_string(&self.summary)?);
        } else {
            self.print();
        }
        Ok(self.summary.failed == 0)
    }

    fn print(&self) {
        let Summary {
            lines,
            imported,
            failed,
            dry_run,
            seconds,
            ..
        } = self.summary;
        if failed > PRINTED {
            eprintln!("and {} more; --errors FILE keeps them all", failed - PRINTED);
        }
        let done = if dry_run { "would be imported" } else { "imported" };
        println!("{lines} lines: {imported} {done}, {failed} refused, in {seconds:.1} s");
    }
}
