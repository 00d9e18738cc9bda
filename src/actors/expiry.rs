//! Wakes the SKUs whose holds are over: an ordered queue of deadlines, no scan.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use super::Inventory;
use crate::domain::{Sku, Timestamp};

/// The longest sleep: the system's clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_millis(250);
/// After a failure the SKU is tried again so much later.
pub const RETRY_MS: i64 = 500;
/// SKUs that are woken side by side, so that their expiries share syncs.
const AT_ONCE: usize = 256;

/// Where actors say when the first of their holds is over. Unbounded, as each of them speaks only
/// when that moment changes.
#[derive(Clone)]
pub struct Deadlines(UnboundedSender<Wakeup>);

pub type Wakeups = UnboundedReceiver<Wakeup>;

pub enum Wakeup {
    /// When the first of a SKU's holds is over.
    At(Timestamp, Sku),
    /// Now, for somebody who waits until what is over is recorded.
    Now(oneshot::Sender<()>),
}

pub fn channel() -> (Deadlines, Wakeups) {
    let (sender, receiver) = unbounded_channel();
    (Deadlines(sender), receiver)
}

impl Deadlines {
    pub fn add(&self, at: Timestamp, sku: Sku) {
        // Nobody listens once the service has stopped; then the next start finds the deadline.
        let _ = self.0.send(Wakeup::At(at, sku));
    }

    /// Waits until all that is over by now is recorded, or could not be.
    pub async fn settle(&self) {
        let (settled, is_settled) = oneshot::channel();
        if self.0.send(Wakeup::Now(settled)).is_ok() {
            // It fails only when the service stops.
            let _ = is_settled.await;
        }
    }
}

/// Runs until the inventory is gone.
pub async fn run(inventory: Weak<Inventory>, mut wakeups: Wakeups) {
    let (mut queue, mut waiting) = (BinaryHeap::new(), Vec::new());
    let found = match inventory.upgrade() {
        Some(inventory) => inventory.journal.deadlines().await,
        None => return,
    };
    match found {
        Ok(found) => queue.extend(found.into_iter().map(Reverse)),
        Err(error) => tracing::error!(%error, "holds from before this start expire only when their SKUs are used"),
    }
    loop {
        let Some(inventory) = inventory.upgrade() else { return };
        let due = take_due(&mut queue, inventory.clock.now());
        futures_util::stream::iter(due)
            .for_each_concurrent(AT_ONCE, |sku| wake(&inventory, sku))
            .await;
        for settled in waiting.drain(..) {
            let _: Result<(), ()> = oneshot::Sender::send(settled, ());
        }
        let sleep = time_to_next(&queue, inventory.clock.now());
        drop(inventory);
        let mut take = |wakeup| match wakeup {
            Wakeup::At(at, sku) => queue.push(Reverse((at, sku))),
            Wakeup::Now(settled) => waiting.push(settled),
        };
        tokio::select! {
            wakeup = wakeups.recv() => match wakeup {
                Some(wakeup) => take(wakeup),
                None => return,
            },
            () = tokio::time::sleep(sleep) => {}
        }
        while let Ok(wakeup) = wakeups.try_recv() {
            take(wakeup);
        }
    }
}

type Queue = BinaryHeap<Reverse<(Timestamp, Sku)>>;

fn take_due(queue: &mut Queue, now: Timestamp) -> Vec<Sku> {
    let mut due = Vec::new();
    while queue.peek().is_some_and(|Reverse((at, _))| *at <= now) {
        due.extend(queue.pop().map(|Reverse((_, sku))| sku));
    }
    due
}

fn time_to_next(queue: &Queue, now: Timestamp) -> Duration {
    let millis = queue.peek().map(|Reverse((at, _))| at.as_millis() - now.as_millis());
    millis.map_or(LONGEST_SLEEP, |millis| {
        Duration::from_millis(millis.max(0).cast_unsigned()).min(LONGEST_SLEEP)
    })
}

async fn wake(inventory: &Arc<Inventory>, sku: Sku) {
    if let Err(error) = inventory.touch(&sku).await {
        tracing::debug!(
            sku = sku.as_str(),
            ?error,
            "could not record what is over; trying again"
        );
        let later = Timestamp::from_millis(inventory.clock.now().as_millis() + RETRY_MS);
        inventory.deadlines.add(later, sku);
    }
}
