//! `holdfast serve`: the service.

use std::process::ExitCode;

use crate::config::Config;
use crate::{app, telemetry};

pub fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let _telemetry = telemetry::start(&config.log)?;
    app::serve(config)?;
    Ok(ExitCode::SUCCESS)
}
