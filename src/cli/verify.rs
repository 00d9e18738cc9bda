//! `holdfast verify`: proves a data folder whole, or says what is wrong.

use std::process::ExitCode;

use indicatif::ProgressBar;

use crate::config::DataFolder;
use crate::journal::file::{Report, verify};

/// Proves a data folder whole, or says what is wrong, while no service runs on it.
///
/// What the service makes again from the log by itself is named, and is not wrong. Exit code 0: whole; 1: something is
/// wrong; 2: it could not look.
#[derive(clap::Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    data: DataFolder,

    /// Prints the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let bar = if args.json {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(0)
    };
    let report = verify(&args.data.data_dir, |segment, segments| {
        bar.set_length(segments);
        bar.set_position(segment);
    })?;
    bar.finish_and_clear();
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(if report.faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn print(report: &Report) {
    for note in &report.notes {
        println!("note: {note}");
    }
    print_first("made again by itself", &report.remade);
    print_first("WRONG", &report.faults);
    let Report {
        segments,
        groups,
        events,
        skus,
        snapshots,
        head,
        ..
    } = report;
    println!("{events} events in {groups} groups and {segments} segments; {skus} SKUs, {snapshots} snapshots");
    println!("head {head}");
    match report.faults.len() {
        0 if report.remade.is_empty() => {
            println!("whole: checksums, chain, sequences, versions, snapshots, indexes, totals and checkpoint agree");
        }
        0 => println!(
            "whole: checksums, chain, sequences and versions agree; what else is damaged is made again from the log"
        ),
        faults => {
            println!("NOT WHOLE: {faults} faults; restore a backup, or ask for help before writing to this folder")
        }
    }
}

/// One fault may have a thousand others follow.
const SHOWN: usize = 10;

fn print_first(what: &str, lines: &[String]) {
    for line in lines.iter().take(SHOWN) {
        println!("{what}: {line}");
    }
    if let more @ 1.. = lines.len().saturating_sub(SHOWN) {
        println!("{what}: and {more} more (--json lists all)");
    }
}
