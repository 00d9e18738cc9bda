//! The outer form: parse a request into a command, carry it out, shape the answer.
//!
//! `routes.rs` is the table of every URL. A handler parses (by extractors, which refuse what does not
//! fit), sends, and shapes; every error becomes a [`problem::Problem`] and is written by `edge.rs`.

pub mod access;
pub mod address;
mod advice;
mod auth;
mod batch;
mod bodies;
pub mod body;
mod caller;
mod catalogue;
pub mod cloudevents;
pub mod connection;
pub mod cors;
mod csv;
mod cursor;
mod dashboard;
pub mod edge;
mod entries;
mod events;
pub mod feed;
mod format;
pub mod forms;
mod health;
mod idempotency;
mod imports;
mod items;
mod jobs;
pub mod legacy;
mod levels;
pub mod limits;
mod lists;
mod log_level;
pub mod metrics;
mod openapi;
mod operations;
mod pages;
mod path;
mod precondition;
pub mod problem;
mod products;
mod push;
mod query;
mod reservations;
mod root;
pub mod routes;
mod sales;
mod schemas;
mod stores;
mod stream;
mod sync;
mod tokens;
mod trace;
pub mod traffic;
mod transfers;
mod users;
pub mod webhooks;
mod write;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::watch;

use crate::actors::Inventory;
use crate::actors::jobs::Jobs;
use crate::credentials::password::Hasher;
use access::Access;
use feed::Feed;
use limits::Limiter;
use metrics::Watch;
use problem::{Code, Problem};
use webhooks::Couriers;

/// What the handlers share.
pub struct State {
    inventory: OnceLock<Arc<Inventory>>,
    jobs: OnceLock<Arc<Jobs>>,
    couriers: OnceLock<Arc<Couriers>>,
    /// None where nobody must log in.
    pub access: Option<Access>,
    /// Whoever calls must do it by a name that only this machine has.
    pub is_local: bool,
    pub limiter: Arc<Limiter>,
    pub feed: Arc<Feed>,
    pub watch: Watch,
    hasher: Hasher,
    started: Instant,
    stopping: watch::Sender<bool>,
}

impl State {
    /// Without stock as yet: it answers health probes, and refuses the rest, until [`State::serve`].
    pub fn recovering(access: Option<Access>, is_local: bool, limiter: Arc<Limiter>, watch: Watch) -> Self {
        Self {
            inventory: OnceLock::new(),
            jobs: OnceLock::new(),
            couriers: OnceLock::new(),
            access,
            is_local,
            limiter,
            feed: Arc::default(),
            watch,
            hasher: Hasher::default(),
            started: Instant::now(),
            stopping: watch::Sender::new(false),
        }
    }

    /// With other settings of the feed than those that it has by itself.
    pub fn with_feed(self, feed: Feed) -> Self {
        let feed = Arc::new(feed);
        Self { feed, ..self }
    }

    /// Lets those go who wait for news.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Ends when the service is to stop.
    async fn stopping(&self) {
        // It fails only when the state is gone.
        drop(self.stopping.subscribe().wait_for(|stopping| *stopping).await);
    }

    /// To be said before [`State::serve`].
    pub fn deliver(&self, couriers: Arc<Couriers>) {
        if self.couriers.set(couriers).is_err() {
            tracing::error!("webhooks were to be delivered twice; the first are kept");
        }
    }

    pub fn serve(&self, inventory: Arc<Inventory>) {
        if self.inventory.set(inventory).is_err() {
            tracing::error!("stock was to be served twice; the first is kept");
        }
    }

    pub fn serve_jobs(&self, jobs: Arc<Jobs>) {
        if self.jobs.set(jobs).is_err() {
            tracing::error!("jobs were to be served twice; the first are kept");
        }
    }

    fn access(&self) -> Result<&Access, Problem> {
        let detail = "Nobody must log in here: send requests without a token. The operator can turn authentication on.";
        self.access
            .as_ref()
            .ok_or_else(|| Problem::new(Code::Forbidden, detail))
    }

    fn inventory(&self) -> Result<&Arc<Inventory>, Problem> {
        self.inventory.get().ok_or_else(recovering)
    }

    fn jobs(&self) -> Result<&Arc<Jobs>, Problem> {
        self.jobs.get().ok_or_else(recovering)
    }

    fn couriers(&self) -> Result<&Arc<Couriers>, Problem> {
        self.couriers.get().ok_or_else(recovering)
    }
}

fn recovering() -> Problem {
    let detail = "The stock is being recovered; try again shortly.";
    Problem::new(Code::StorageUnavailable, detail)
}
