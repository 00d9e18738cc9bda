//! One reading of everything that is counted and of how things stand, each part at some moment during it.

use std::time::Duration;

use actix_web::web::{self, Data};

use super::drift::Found;
use super::recent::Lately;
use super::{Baseline, background};
use crate::actors::ExecuteError;
use crate::actors::activity::{self, Workload};
use crate::config::Limits;
use crate::domain::Timestamp;
use crate::http::State;
use crate::http::problem::Problem;
use crate::http::{connection, traffic, webhooks};
use crate::journal::figures::{self, Figures, Standing, StockFigures};
use crate::metrics::process::Process;

/// What only rises.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub traffic: traffic::Counted,
    pub actors: activity::Counted,
    pub journal: figures::Counted,
    pub connections: connection::Counted,
    pub background: background::Counted,
    pub cpu_seconds: f64,
}

impl Counts {
    pub fn since(&self, before: &Self) -> Self {
        Self {
            traffic: self.traffic.since(&before.traffic),
            actors: self.actors.since(&before.actors),
            journal: self.journal.since(&before.journal),
            connections: self.connections.since(&before.connections),
            background: self.background.since(&before.background),
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
        }
    }
}

pub struct Reading {
    pub at: Timestamp,
    /// From here it counts.
    pub since: Timestamp,
    pub began: Timestamp,
    pub uptime: Duration,
    pub is_recording: bool,
    pub counts: Counts,
    pub in_flight: u64,
    pub open_connections: u64,
    pub workload: Workload,
    pub standing: Standing,
    pub stock: StockFigures,
    pub background: background::Standing,
    pub process: Process,
    pub limits: Limits,
    /// Why writes are refused, if they are.
    pub refusing: Option<String>,
    pub lately: Lately,
    pub drift: Vec<Found>,
    pub webhooks: webhooks::Figures,
    pub drift_checked_at: Option<Timestamp>,
}

impl Reading {
    /// As it counts from a later moment on.
    pub fn since(self, baseline: Baseline) -> Self {
        Self {
            since: baseline.at.unwrap_or(self.since),
            counts: self.counts.since(&baseline.counts),
            ..self
        }
    }
}

pub async fn take(state: &Data<State>) -> Result<Reading, Problem> {
    let inventory = state.inventory()?;
    let refusing = inventory.journal().refusing();
    let (counts, parts) = read(state).await?;
    let watch = &state.watch;
    let lately = watch.recent().until(&counts);
    Ok(Reading {
        at: chrono::Utc::now().into(),
        since: watch.began,
        began: watch.began,
        uptime: state.started.elapsed(),
        is_recording: watch.traffic.is_recording(),
        counts,
        in_flight: watch.gauges.running() as u64,
        open_connections: watch.places.open(),
        workload: parts.workload,
        standing: parts.standing,
        stock: parts.stock,
        background: background::Standing::read(state)?,
        process: parts.process,
        limits: watch.limits.clone(),
        refusing,
        lately,
        drift: watch.drift.found(),
        webhooks: state.couriers()?.figures().await?,
        drift_checked_at: watch.drift.checked_at(),
    })
}

pub async fn counts(state: &Data<State>) -> Result<Counts, Problem> {
    Ok(read(state).await?.0)
}

/// What is read off the threads that serve.
struct Parts {
    workload: Workload,
    standing: Standing,
    stock: StockFigures,
    process: Process,
}

async fn read(state: &Data<State>) -> Result<(Counts, Parts), Problem> {
    let inventory = state.inventory()?.clone();
    let figures = inventory.journal().figures().await.map_err(ExecuteError::from)?;
    let Figures {
        counted,
        standing,
        stock,
    } = figures;
    let counting = state.clone();
    let looked = web::block(move || {
        let watch = &counting.watch;
        (
            inventory.workload(),
            watch.traffic.read(),
            watch.places.counted(),
            Process::read(),
        )
    });
    let (workload, traffic, connections, process) = looked.await.map_err(|error| Problem::internal(&error))?;
    let counts = Counts {
        traffic,
        actors: workload.counted.clone(),
        journal: counted,
        connections,
        background: background::Counted::read(state),
        cpu_seconds: process.cpu_seconds.unwrap_or(0.0),
    };
    let parts = Parts {
        workload,
        standing,
        stock,
        process,
    };
    Ok((counts, parts))
}
