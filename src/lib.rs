//! Holdfast: an inventory service that holds stock for whoever asked first, and never sells the same
//! unit twice.
//!
//! The one way through the house:
//!
//! ```text
//! request -> command -> SkuActor -> decide -> events -> Journal::append -> durable -> publish in log order -> answer
//! ```
//!
//! [`http`] parses a request into a [`domain::Request`]; [`actors`] has the SKU's actor decide it with
//! [`domain::decide`], which returns an event or a refusal; the event goes to the [`journal`], which
//! puts it on stable storage, shows it to readers, and only then lets the answer go. Imports point
//! down: `domain` and `metrics` know nobody, `import` knows `domain`, `journal` knows both, `actors` know these, `http`
//! knows all.

pub mod actors;
pub mod credentials;
pub mod domain;
pub mod http;
pub mod import;
pub mod journal;
pub mod metrics;

pub mod app;
pub mod cli;
pub mod config;
pub mod telemetry;
