//! What the actors count of their work, and how they stand.

use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Inventory;
use crate::domain::Sku;
use crate::metrics::{Counter, Distribution, Histogram, PerThread};

/// Counted by each thread for itself; nothing where nothing is to be counted.
pub struct Activity(Option<PerThread<Cells>>);

#[derive(Default)]
struct Cells {
    replays: Counter,
    /// Commands that an actor has decided together.
    commands_per_group: Histogram,
    /// SKUs of each joint step.
    skus_per_joint_step: Histogram,
    joint_step_micros: Histogram,
}

impl Activity {
    pub fn counted_if(is_recording: bool) -> Self {
        Self(is_recording.then(PerThread::default))
    }

    /// A write was answered as when its key was first used.
    pub fn note_replay(&self) {
        if let Some(cells) = &self.0 {
            cells.own().replays.one();
        }
    }

    pub fn note_group(&self, commands: usize) {
        if let Some(cells) = &self.0 {
            cells.own().commands_per_group.record(commands as u64);
        }
    }

    pub fn note_joint_step(&self, skus: usize, began: Instant) {
        if let Some(cells) = &self.0 {
            let own = cells.own();
            own.skus_per_joint_step.record(skus as u64);
            own.joint_step_micros.record(began.elapsed().as_micros() as u64);
        }
    }

    fn read(&self) -> Counted {
        let all = || self.0.iter().flat_map(PerThread::all);
        let sum = |histogram: fn(&Cells) -> &Histogram| {
            let mut whole = Distribution::default();
            all().for_each(|cells| whole.add(&histogram(cells).read()));
            whole
        };
        Counted {
            replays: all().map(|cells| cells.replays.get()).sum(),
            commands_per_group: sum(|cells| &cells.commands_per_group),
            skus_per_joint_step: sum(|cells| &cells.skus_per_joint_step),
            joint_step_micros: sum(|cells| &cells.joint_step_micros),
            ..Counted::default()
        }
    }
}

/// What only rises.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub actors_started: u64,
    pub actors_stopped: u64,
    pub replays: u64,
    pub commands_per_group: Distribution,
    pub skus_per_joint_step: Distribution,
    pub joint_step_micros: Distribution,
}

impl Counted {
    pub fn since(&self, before: &Self) -> Self {
        Self {
            actors_started: self.actors_started.saturating_sub(before.actors_started),
            actors_stopped: self.actors_stopped.saturating_sub(before.actors_stopped),
            replays: self.replays.saturating_sub(before.replays),
            commands_per_group: self.commands_per_group.since(&before.commands_per_group),
            skus_per_joint_step: self.skus_per_joint_step.since(&before.skus_per_joint_step),
            joint_step_micros: self.joint_step_micros.since(&before.joint_step_micros),
        }
    }
}

/// How the actors stand.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    pub counted: Counted,
    pub actors_live: u64,
    /// Commands that are not answered yet, over all actors and of the one that has most.
    pub commands_waiting: u64,
    pub longest_queue: u64,
    pub queue_limit: u64,
    /// Idempotency keys and chosen reservation ids of writes under way.
    pub claims_in_flight: u64,
    /// SKUs with the most commands of the last one to two minutes.
    pub hottest: Vec<(Sku, u64)>,
}

/// So many of the hottest SKUs are told.
const HOTTEST: usize = 10;

impl Inventory {
    /// Looks at every actor: not for the threads that serve.
    pub fn workload(&self) -> Workload {
        let mut workload = Workload {
            counted: Counted {
                actors_started: self.registry.started(),
                actors_stopped: self.registry.stopped(),
                ..self.activity.read()
            },
            queue_limit: self.settings.queue_limit as u64,
            claims_in_flight: self.claims.count() as u64,
            ..Workload::default()
        };
        self.registry.each(|sku, queue| {
            let waiting = queue.places.load(Ordering::Relaxed) as u64;
            workload.actors_live += 1;
            workload.commands_waiting += waiting;
            workload.longest_queue = workload.longest_queue.max(waiting);
            note_hot(&mut workload.hottest, sku, queue.recent());
        });
        workload
    }

    /// Begins the next minute of what is known of hot SKUs.
    pub fn end_minute(&self) {
        self.registry.each(|_, queue| queue.end_minute());
    }
}

/// Keeps the list at its length, the hottest first.
fn note_hot(hottest: &mut Vec<(Sku, u64)>, sku: &Sku, commands: u64) {
    let coldest = hottest.get(HOTTEST - 1).map_or(0, |(_, commands)| *commands);
    if commands <= coldest {
        return;
    }
    let place = hottest.partition_point(|(_, hotter)| *hotter >= commands);
    hottest.insert(place, (sku.clone(), commands));
    hottest.truncate(HOTTEST);
}

/// Asks for the next minute, every minute, until the inventory is gone.
pub async fn run(inventory: Weak<Inventory>) {
    while let Some(inventory) = inventory.upgrade() {
        let ended = tokio::task::spawn_blocking(move || inventory.end_minute()).await;
        if let Err(error) = ended {
            tracing::error!(%error, "the minute of hot SKUs could not be ended");
        }
        tokio::time::sleep(MINUTE).await;
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_skus_are_those_of_most_commands_in_order() {
        let mut hottest = Vec::new();
        for i in 0..100_u64 {
            let commands = i * 37 % 101;
            note_hot(&mut hottest, &Sku::parse(&format!("sku {commands}")).unwrap(), commands);
        }
        let told: Vec<u64> = hottest.iter().map(|(_, commands)| *commands).collect();
        let mut all: Vec<u64> = (0..100).map(|i| i * 37 % 101).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(told, all[..HOTTEST]);
        assert!(
            hottest
                .iter()
                .all(|(sku, commands)| sku.as_str() == format!("sku {commands}"))
        );
    }

    #[test]
    fn where_nothing_is_recorded_nothing_is_counted() {
        let activity = Activity::counted_if(false);
        activity.note_replay();
        activity.note_group(3);
        activity.note_joint_step(2, Instant::now());
        assert_eq!(activity.read(), Counted::default());
    }
}
