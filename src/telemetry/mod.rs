//! Logs: one line an event, as text or JSON, with the request that it belongs to; and traces, where they are built in.
//!
//! Who logs never waits: lines go into a queue, and a thread of its own writes them (`sink.rs`) to standard error, standard
//! output, or files that follow each other (`files.rs`). What does not fit is counted, and the log says so.

#[cfg(feature = "otel")]
mod collector;
pub mod context;
mod files;
mod level;
mod line;
mod sink;
#[cfg_attr(not(feature = "otel"), path = "no_spans.rs")]
pub mod spans;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use anyhow::Context as _;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogArgs;
use crate::config::log::{Destination, Format};
use files::Files;
use line::{Form, Lines};
use sink::{Output, Sink};

pub use level::{Change, Standing, change, check, fall_back, lost_lines, standing};

/// What the log says of itself. It is written at every level, but where a directive names it.
const OWN: &str = "holdfast::telemetry";

/// The log, for as long as this is kept; then what is left is written.
#[must_use]
pub struct Telemetry {
    _spans: spans::Exporter,
    _sink: Sink,
}

/// Everything that is logged goes to one place from here on, panics included.
pub fn start(args: &LogArgs) -> anyhow::Result<Telemetry> {
    let filter = level::parse(&args.log_level).map_err(|fault| anyhow::anyhow!("LOG_LEVEL {fault}"))?;
    let (queue, sink) = Sink::start(output(args)?).context("cannot start the thread that writes the log")?;
    let (filter, changeable) = tracing_subscriber::reload::Layer::new(filter);
    let lines = Lines::new(form(args), queue.clone());
    tracing_subscriber::registry()
        .with(lines.with_filter(filter))
        .try_init()?;
    level::keep(changeable, queue, &args.log_level);
    std::panic::set_hook(Box::new(report_panic));
    let spans = spans::start().context("cannot send traces")?;
    Ok(Telemetry {
        _spans: spans,
        _sink: sink,
    })
}

fn output(args: &LogArgs) -> anyhow::Result<Output> {
    let path = match &args.log_to {
        Destination::Stderr => return Ok(Output::Stderr),
        Destination::Stdout => return Ok(Output::Stdout),
        Destination::File(path) => path,
    };
    let max_bytes = u64::from(args.log_file_mb) << 20;
    let files = Files::open(path.clone(), max_bytes, args.log_files);
    let files = files.with_context(|| format!("cannot write the log to {}", path.display()))?;
    Ok(Output::Files(files))
}

/// A person reads text, with colours; all else reads JSON.
fn form(args: &LogArgs) -> Form {
    let is_terminal = match args.log_to {
        Destination::Stderr => std::io::stderr().is_terminal(),
        Destination::Stdout => std::io::stdout().is_terminal(),
        Destination::File(_) => false,
    };
    match args.log_format {
        Format::Json => Form::Json,
        Format::Auto if !is_terminal => Form::Json,
        Format::Text | Format::Auto => Form::Text {
            colours: is_terminal && std::env::var_os("NO_COLOR").is_none(),
        },
    }
}

/// A line like every other, in place of the several that the standard library prints.
fn report_panic(panic: &PanicHookInfo<'_>) {
    let trace = Backtrace::capture();
    let backtrace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
    let thread = std::thread::current();
    tracing::error!(
        panic = panic.payload_as_str().unwrap_or_default(),
        location = panic.location().map(tracing::field::display),
        thread = thread.name(),
        backtrace,
        "a thread panicked"
    );
}
