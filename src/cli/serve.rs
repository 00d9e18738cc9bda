//! `holdfast serve`: the service.

use std::process::ExitCode;

use anyhow::anyhow;

use crate::config::Config;
use crate::{app, telemetry};

pub fn run(config: &Config) -> anyhow::Result<ExitCode> {
    telemetry::start(&config.log_level).map_err(|fault| anyhow!(fault))?;
    app::serve(config)?;
    Ok(ExitCode::SUCCESS)
}
