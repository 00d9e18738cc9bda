//! Logs: one line an event, to standard error, so that standard output stays a command's own.

use tracing_subscriber::EnvFilter;

/// `directives` is a level, or directives as of `tracing-subscriber`'s `EnvFilter`.
pub fn start(directives: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(directives).map_err(|error| {
        format!("LOG_LEVEL {directives:?} cannot be read ({error}): use error, warn, info, debug or trace")
    })?;
    // It logs as an error whatever a stranger sends that is not HTTP: nobody may fill the operator's disk so.
    let filter = match "actix_http=off".parse() {
        Ok(directive) if !directives.contains("actix_http") => filter.add_directive(directive),
        _ => filter,
    };
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        .with_writer(std::io::stderr);
    subscriber.try_init().map_err(|error| error.to_string())
}
