//! Settings of webhooks: how long a receiver is waited for, how often it is tried, and where deliveries may go.

use std::time::Duration;

use super::Limits;
use crate::domain::webhook::Retries;
use crate::http::address::Network;
use crate::http::webhooks::{Reach, Settings};

#[derive(clap::Args, Clone, Debug)]
pub struct WebhookArgs {
    /// Networks to which alone webhooks are delivered, such as 10.0.0.0/8, separated by commas; without any: everywhere but
    /// to link-local addresses, and to those at which clouds tell machines what they may not give away
    #[arg(
        long,
        env = "HOLDFAST_WEBHOOK_NETWORKS",
        value_delimiter = ',',
        value_name = "NETWORKS"
    )]
    pub webhook_networks: Vec<Network>,

    /// Milliseconds that a webhook's receiver may take to answer
    #[arg(long, env = "HOLDFAST_WEBHOOK_TIMEOUT_MS", default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub webhook_timeout_ms: u32,

    /// Milliseconds of them in which the connection must stand
    #[arg(long, env = "HOLDFAST_WEBHOOK_CONNECT_TIMEOUT_MS", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    pub webhook_connect_timeout_ms: u32,

    /// Milliseconds after which a delivery that failed is tried again; each time after twice as many
    #[arg(long, env = "HOLDFAST_WEBHOOK_FIRST_WAIT_MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub webhook_first_wait_ms: u32,

    /// Milliseconds between two attempts, at most
    #[arg(long, env = "HOLDFAST_WEBHOOK_LONGEST_WAIT_MS", default_value_t = 3_600_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub webhook_longest_wait_ms: u32,

    /// Attempts after which a delivery is a dead letter: with the waits as they are, after about a day
    #[arg(long, env = "HOLDFAST_WEBHOOK_ATTEMPTS", default_value_t = 36, value_parser = clap::value_parser!(u32).range(1..))]
    pub webhook_attempts: u32,
}

impl WebhookArgs {
    pub fn settings(&self, limits: &Limits) -> Settings {
        let millis = |millis: u32| Duration::from_millis(millis.into());
        Settings {
            reach: Reach {
                connect_timeout: millis(self.webhook_connect_timeout_ms),
                timeout: millis(self.webhook_timeout_ms),
                networks: self.webhook_networks.clone(),
            },
            retries: Retries {
                first_wait: millis(self.webhook_first_wait_ms),
                longest_wait: millis(self.webhook_longest_wait_ms),
                attempts: self.webhook_attempts,
            },
            most: limits.max_webhooks as usize,
        }
    }
}
