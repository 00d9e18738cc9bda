//! Parses the command line and calls the command.

use std::process::ExitCode;

use clap::Parser;
use holdfast::cli::Cli;

/// Many small allocations that one thread makes and another frees are what the service does.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Cli::parse().run()
}
