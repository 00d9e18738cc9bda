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
pub mod connection;
pub mod cors;
mod cursor;
mod dashboard;
pub mod edge;
mod entries;
mod events;
pub mod forms;
mod health;
mod idempotency;
mod items;
pub mod legacy;
mod levels;
pub mod limits;
mod lists;
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
mod schemas;
mod stores;
mod tokens;
mod transfers;
mod users;
mod write;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::watch;

use crate::actors::Inventory;
use crate::credentials::password::Hasher;
use access::Access;
use limits::Limiter;
use problem::{Code, Problem};

/// What the handlers share.
pub struct State {
    inventory: OnceLock<Arc<Inventory>>,
    /// None where nobody must log in.
    pub access: Option<Access>,
    /// Whoever calls must do it by a name that only this machine has.
    pub is_local: bool,
    pub limiter: Arc<Limiter>,
    hasher: Hasher,
    started: Instant,
    stopping: watch::Sender<bool>,
}

impl State {
    /// Without stock as yet: it answers health probes, and refuses the rest, until [`State::serve`].
    pub fn recovering(access: Option<Access>, is_local: bool, limiter: Arc<Limiter>) -> Self {
        Self {
            inventory: OnceLock::new(),
            access,
            is_local,
            limiter,
            hasher: Hasher::default(),
            started: Instant::now(),
            stopping: watch::Sender::new(false),
        }
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

    pub fn serve(&self, inventory: Arc<Inventory>) {
        if self.inventory.set(inventory).is_err() {
            tracing::error!("stock was to be served twice; the first is kept");
        }
    }

    fn access(&self) -> Result<&Access, Problem> {
        let detail = "Nobody must log in here: send requests without a token. The operator can turn authentication on.";
        self.access
            .as_ref()
            .ok_or_else(|| Problem::new(Code::Forbidden, detail))
    }

    fn inventory(&self) -> Result<&Arc<Inventory>, Problem> {
        let recovering = || {
            Problem::new(
                Code::StorageUnavailable,
                "The stock is being recovered; try again shortly.",
            )
        };
        self.inventory.get().ok_or_else(recovering)
    }
}
