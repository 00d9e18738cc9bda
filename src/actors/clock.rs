//! The one clock of the process: it never goes back, also not over a restart or when the system's does.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use crate::domain::Timestamp;

pub struct Clock {
    highest_ms: AtomicI64,
}

impl Clock {
    /// `last` is the time of the last recorded event.
    pub fn starting_at(last: Timestamp) -> Self {
        Self {
            highest_ms: AtomicI64::new(last.as_millis()),
        }
    }

    /// Every read and every decision takes its time here and raises the mark, so that a hold which
    /// one of them has seen to be over is over for all that follow.
    pub fn now(&self) -> Timestamp {
        let system = system_ms();
        // Mostly the mark stands there already, and loading it costs other threads nothing.
        let highest = self.highest_ms.load(Ordering::Acquire);
        if highest < system {
            self.highest_ms.fetch_max(system, Ordering::AcqRel);
        }
        Timestamp::from_millis(highest.max(system))
    }
}

/// The system's time. Not by way of a calendar, as it is asked for with every command.
fn system_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

impl Clock {
    /// Waits until `at`, which is not to come, has passed.
    pub async fn after(&self, at: Timestamp) {
        while self.now() <= at {
            if system_ms() < at.as_millis() {
                // The system's clock has gone back, and time stands still until it has caught up: one step on is as
                // good as any, and nobody waits for it.
                self.highest_ms.fetch_max(at.as_millis() + 1, Ordering::AcqRel);
            } else {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_clock_behind_the_log_does_not_turn_time_back() {
        let future = Timestamp::from_millis(system_ms() + 3_600_000);
        let clock = Clock::starting_at(future);
        assert_eq!(clock.now(), future);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_clock_that_stands_still() {
        let future = Timestamp::from_millis(system_ms() + 3_600_000);
        let clock = Clock::starting_at(future);
        tokio::time::timeout(Duration::from_secs(5), clock.after(future))
            .await
            .unwrap();
        assert_eq!(clock.now().as_millis(), future.as_millis() + 1);
    }
}
