//! How the service did in the last minutes: the counts as they were every so often.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::reading::Counts;
use crate::metrics::Distribution;

pub const MINUTE: Duration = Duration::from_secs(60);
const KEPT: Duration = MINUTE.saturating_mul(5);

/// The counts of the last minutes, the oldest first.
#[derive(Default)]
pub struct Recent(VecDeque<Mark>);

struct Mark {
    at: Instant,
    tally: Tally,
}

/// What of the counts is asked of the last minutes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub requests: u64,
    /// Answered with a status from 500 on.
    pub failed: u64,
    pub micros: Distribution,
    /// Operations that are recorded, and refused ones.
    pub succeeded: u64,
    pub refused: u64,
    pub cpu_seconds: f64,
}

/// A span that ends now; it is shorter where the service has not run so long.
#[derive(Clone, Debug, Default)]
pub struct Span {
    pub length: Duration,
    pub tally: Tally,
}

#[derive(Clone, Debug, Default)]
pub struct Lately {
    pub minute: Span,
    pub five_minutes: Span,
}

impl Recent {
    pub fn note(&mut self, counts: &Counts) {
        self.note_at(Instant::now(), Tally::of(counts));
    }

    fn note_at(&mut self, at: Instant, tally: Tally) {
        self.0.push_back(Mark { at, tally });
        // One that is older than all spans is the beginning of the longest.
        while self.0.get(1).is_some_and(|second| at - second.at >= KEPT) {
            self.0.pop_front();
        }
    }

    pub fn until(&self, counts: &Counts) -> Lately {
        let (now, tally) = (Instant::now(), Tally::of(counts));
        Lately {
            minute: self.span(now, &tally, MINUTE),
            five_minutes: self.span(now, &tally, KEPT),
        }
    }

    /// Since the youngest mark that is at least so old, or the oldest that there is.
    fn span(&self, now: Instant, tally: &Tally, length: Duration) -> Span {
        let is_old = |mark: &&Mark| now - mark.at >= length;
        let first = self.0.iter().rfind(is_old).or(self.0.front());
        first.map_or_else(Span::default, |first| Span {
            length: now - first.at,
            tally: tally.since(&first.tally),
        })
    }
}

impl Tally {
    fn of(counts: &Counts) -> Self {
        Self {
            requests: counts.traffic.requests(),
            failed: counts.traffic.answered_with(|status| status >= 500),
            micros: counts.traffic.micros(),
            succeeded: counts.journal.events.asked(),
            refused: counts.traffic.stock_refusals().map(|(_, count)| count).sum(),
            cpu_seconds: counts.cpu_seconds,
        }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(before.requests),
            failed: self.failed.saturating_sub(before.failed),
            micros: self.micros.since(&before.micros),
            succeeded: self.succeeded.saturating_sub(before.succeeded),
            refused: self.refused.saturating_sub(before.refused),
            cpu_seconds: self.cpu_seconds - before.cpu_seconds,
        }
    }
}

impl Span {
    pub fn requests_per_second(&self) -> f64 {
        per(self.tally.requests as f64, self.length.as_secs_f64())
    }

    /// Of the requests, those that failed.
    pub fn error_rate(&self) -> f64 {
        per(self.tally.failed as f64, self.tally.requests as f64)
    }

    /// Processors that were busy.
    pub fn cpu_share(&self) -> f64 {
        per(self.tally.cpu_seconds, self.length.as_secs_f64())
    }

    /// Of the operations, those that took effect; all of none.
    pub fn success_share(&self) -> f64 {
        match self.tally.succeeded + self.tally.refused {
            0 => 1.0,
            asked => self.tally.succeeded as f64 / asked as f64,
        }
    }
}

fn per(amount: f64, of: f64) -> f64 {
    if of > 0.0 { amount / of } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(requests: u64) -> Tally {
        Tally {
            requests,
            failed: requests / 10,
            succeeded: requests / 2,
            refused: requests / 2,
            ..Tally::default()
        }
    }

    #[test]
    fn spans_are_of_the_last_minutes_and_what_is_older_is_forgotten() {
        let (began, mut recent) = (Instant::now(), Recent::default());
        let after = |seconds: u64| began + Duration::from_secs(seconds);
        for i in 0..=60 {
            recent.note_at(after(i * 10), tally(i * 100));
        }
        let now = after(600);
        let minute = recent.span(now, &tally(6000), MINUTE);
        assert_eq!((minute.length.as_secs(), minute.tally.requests), (60, 600));
        assert_eq!(minute.requests_per_second(), 10.0);
        assert_eq!((minute.error_rate(), minute.success_share()), (0.1, 0.5));
        assert_eq!(recent.span(now, &tally(6000), KEPT).tally.requests, 3000);
        assert_eq!(recent.0.len(), 31);
    }

    #[test]
    fn at_the_start_spans_are_as_long_as_the_service_has_run() {
        let (began, mut recent) = (Instant::now(), Recent::default());
        let nothing = recent.span(began, &tally(10), MINUTE);
        assert_eq!(
            (nothing.tally.requests, nothing.error_rate(), nothing.success_share()),
            (0, 0.0, 1.0)
        );
        recent.note_at(began, tally(0));
        let young = recent.span(began + Duration::from_secs(5), &tally(50), MINUTE);
        assert_eq!((young.length.as_secs(), young.requests_per_second()), (5, 10.0));
    }
}
