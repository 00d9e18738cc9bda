//! What is logged, and its change while the service runs.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use chrono::Utc;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::reload::Handle;

use super::OWN;
use super::sink::Queue;
use crate::domain::Timestamp;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// A level for all, levels by where a line comes from (`holdfast=debug`), or both, separated by commas.
pub fn parse(directives: &str) -> Result<Targets, String> {
    let mut targets = Targets::new()
        .with_target(OWN, LevelFilter::INFO)
        // It logs as an error whatever a stranger sends that is not HTTP: nobody may fill the operator's disk so.
        .with_target("actix_http", LevelFilter::OFF);
    for directive in directives.split(',') {
        let (target, level) = match directive.rsplit_once('=') {
            Some((target, level)) => (Some(target), level),
            None => (None, directive),
        };
        let level = level_of(level)
            .filter(|_| target.is_none_or(is_target))
            .ok_or_else(|| fault(directive))?;
        targets = match target {
            Some(target) => targets.with_target(target, level),
            None => targets.with_default(level),
        };
    }
    Ok(targets)
}

fn level_of(name: &str) -> Option<LevelFilter> {
    LEVELS.contains(&name).then(|| name.parse().ok()).flatten()
}

fn is_target(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte))
}

fn fault(directive: &str) -> String {
    let shown: String = directive.chars().take(60).collect();
    format!("has {shown:?}, which is no level: use error, warn, info, debug, trace or off, or such as holdfast=debug")
}

/// How the level stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub level: String,
    /// Until when, and what comes then; none where it lasts.
    pub term: Option<(Timestamp, String)>,
}

/// A change that was made.
pub struct Change {
    pub standing: Standing,
    /// Tells it from those after it.
    pub number: u64,
}

struct Level {
    filter: Handle<Targets, Registry>,
    queue: Queue,
    lasting: String,
    /// In its place for now.
    passing: Option<(String, Timestamp)>,
    changes: u64,
}

/// The log is the process's, and so is its level.
static LEVEL: OnceLock<Mutex<Level>> = OnceLock::new();

pub(super) fn keep(filter: Handle<Targets, Registry>, queue: Queue, level: &str) {
    // A second log would have been refused already.
    let _ = LEVEL.set(Mutex::new(Level {
        filter,
        queue,
        lasting: level.to_owned(),
        passing: None,
        changes: 0,
    }));
}

fn level() -> Option<MutexGuard<'static, Level>> {
    Some(LEVEL.get()?.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Refused with what is wrong with them.
pub fn check(directives: &str) -> Result<(), String> {
    parse(directives).map(drop)
}

/// None where there is no log.
pub fn standing() -> Option<Standing> {
    level().map(|level| level.standing())
}

/// Lines that were not written since the start.
pub fn lost_lines() -> u64 {
    level().map_or(0, |level| level.queue.lost())
}

/// Logs by these directives from now on: until the next start, or for a time only. Refused with what is wrong with them.
pub fn change(directives: &str, time: Option<Duration>, by: &str) -> Result<Change, String> {
    let targets = parse(directives)?;
    let mut level = level().ok_or("cannot be changed: there is no log")?;
    let seconds = time.map(|time| time.as_secs());
    tracing::info!(target: OWN, from = level.current(), to = directives, seconds, by, "the log level is changed");
    level
        .filter
        .reload(targets)
        .map_err(|error| format!("cannot be changed: {error}"))?;
    level.changes += 1;
    match time {
        Some(time) => level.passing = Some((directives.to_owned(), (Utc::now() + time).into())),
        None => {
            level.lasting = directives.to_owned();
            level.passing = None;
        }
    }
    Ok(Change {
        standing: level.standing(),
        number: level.changes,
    })
}

/// Ends what a change has set for a time, unless there was another since.
pub fn fall_back(number: u64) {
    let Some(mut level) = level() else { return };
    if level.changes != number {
        return;
    }
    let Some((passing, _)) = level.passing.take() else {
        return;
    };
    let lasting = parse(&level.lasting).map(|targets| level.filter.reload(targets));
    match lasting {
        Ok(Ok(())) => tracing::info!(target: OWN, from = passing, to = level.lasting, "the log level falls back"),
        fault => tracing::error!(target: OWN, ?fault, "the log level cannot fall back"),
    }
}

impl Level {
    fn current(&self) -> &str {
        self.passing.as_ref().map_or(&self.lasting, |(level, _)| level)
    }

    fn standing(&self) -> Standing {
        let term = self.passing.as_ref().map(|(_, until)| (*until, self.lasting.clone()));
        Standing {
            level: self.current().to_owned(),
            term,
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_level_counts_for_all_but_those_that_are_named() {
        let targets = parse("info,holdfast::http=trace,hyper=off").unwrap();
        assert!(targets.would_enable("holdfast::app", &Level::INFO));
        assert!(!targets.would_enable("holdfast::app", &Level::DEBUG));
        assert!(targets.would_enable("holdfast::http::edge", &Level::TRACE));
        assert!(!targets.would_enable("hyper::proto", &Level::ERROR));
    }

    #[test]
    fn strangers_bytes_are_not_logged_but_where_somebody_asks_for_them() {
        assert!(!parse("trace").unwrap().would_enable("actix_http::h1", &Level::ERROR));
        assert!(
            parse("info,actix_http=warn")
                .unwrap()
                .would_enable("actix_http::h1", &Level::ERROR)
        );
    }

    #[test]
    fn what_the_log_says_of_itself_is_said_at_every_level() {
        assert!(parse("off").unwrap().would_enable("holdfast::telemetry", &Level::INFO));
        assert!(!parse("off").unwrap().would_enable("holdfast::app", &Level::ERROR));
    }

    #[test]
    fn what_is_no_level_is_refused_and_named() {
        for wrong in [
            "",
            "loud",
            "info,",
            "holdfast",
            "=debug",
            "holdfast=",
            "holdfast=loud",
            "INFO",
            "a b=info",
            "3",
            "[x]=info",
        ] {
            let fault = parse(wrong).unwrap_err();
            let named = wrong.rsplit(',').next().unwrap();
            assert!(fault.contains(&format!("{named:?}")), "{wrong}: {fault}");
        }
    }
}
