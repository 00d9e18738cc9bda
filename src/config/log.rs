//! Settings of the log: what is written, how, and where to.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(clap::Args, Clone, Debug)]
pub struct LogArgs {
    /// What is logged: error, warn, info, debug, trace, off, or directives such as `info,holdfast::http=debug`
    #[arg(long, env = "LOG_LEVEL", default_value = "info", value_parser = plain)]
    pub log_level: String,

    /// How a line looks; auto: text on a terminal, else JSON
    #[arg(long, env = "HOLDFAST_LOG_FORMAT", default_value = "auto")]
    pub log_format: Format,

    /// Where lines go: stderr, stdout, or a file, which makes way for a new one when it is full
    #[arg(
        long,
        env = "HOLDFAST_LOG_TO",
        default_value = "stderr",
        value_name = "stderr|stdout|FILE"
    )]
    pub log_to: Destination,

    /// Megabytes in a file of the log
    #[arg(long, env = "HOLDFAST_LOG_FILE_MB", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub log_file_mb: u32,

    /// Files of the log that are kept, the one in use included
    #[arg(long, env = "HOLDFAST_LOG_FILES", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub log_files: u32,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Auto,
    Text,
    Json,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    Stderr,
    Stdout,
    File(PathBuf),
}

impl FromStr for Destination {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("name stderr, stdout or a file"),
            "stderr" => Ok(Self::Stderr),
            "stdout" => Ok(Self::Stdout),
            path => Ok(Self::File(path.into())),
        }
    }
}

/// Whoever writes INFO, or a space after a comma, is understood.
fn plain(directives: &str) -> Result<String, Infallible> {
    let letters = directives.chars().filter(|c| !c.is_whitespace());
    Ok(letters.map(|c| c.to_ascii_lowercase()).collect())
}
