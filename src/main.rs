//! Parses the command line and calls the command.

use std::process::ExitCode;

use clap::Parser;
use holdfast::cli::Cli;

/// Many small allocations across threads are what the service does; measured against the system's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
