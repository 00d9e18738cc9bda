//! The actor that owns one SKU.
//!
//! While an append is in flight it collects what arrives; when that is durable it decides all that
//! waits, in order, and appends the events as one group: one sync for many commands, which is what
//! makes a hot SKU fast. What it decides for batches, it leaves to them to append, and may decide the next
//! meanwhile. Whatever is answered, refusals included, rests on what is durable by then.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::gathering::{Lent, Part};
use super::order::{Decided, Execute, MovedNow};
use super::{Inventory, new_id};
use crate::domain::{Origin, Principal, RequestId, Sku, Stock, Timestamp, expire};
use crate::journal::{Append, Appended, JournalError, Record};

/// So many appends may be in flight at the same time. The second is for batches only: they are appended by the
/// thousand, and while the log writes one the next is decided. Everybody else is faster in larger groups.
const MAX_AHEAD: u32 = 2;

pub struct SkuActor {
    sku: Sku,
    inventory: Arc<Inventory>,
    /// Runs ahead of the journal by what is in flight; `None` until it is loaded.
    stock: Option<Stock>,
    waiting: VecDeque<Execute>,
    /// Appends that it waits for.
    in_flight: u32,
    /// One of them has failed: it decides nothing more until it has loaded its state anew.
    failed: bool,
    looking_back: bool,
    /// Changed since its last snapshot was begun.
    dirty: bool,
    /// Set while a snapshot is waiting to be written, which does not keep the actor from stopping.
    saving: Rc<Cell<bool>>,
    last_used: Timestamp,
    /// The deadline that was told to the expiry queue last.
    told_deadline: Option<Timestamp>,
}

/// Asks for what is to be done every so often; see [`SkuActor::keep_house`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct KeepHouse;

/// Tells an actor whose decisions a batch has appended how that ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Settle(pub Result<(), JournalError>);

impl SkuActor {
    pub fn start_for(sku: Sku, inventory: Arc<Inventory>) -> Addr<Self> {
        Self::create(|context| {
            // The registry's places are the bound that a client meets.
            context.set_mailbox_capacity(inventory.settings.queue_limit);
            Self {
                last_used: inventory.clock.now(),
                sku,
                inventory,
                stock: None,
                waiting: VecDeque::new(),
                in_flight: 0,
                failed: false,
                looking_back: false,
                dirty: false,
                saving: Rc::default(),
                told_deadline: None,
            }
        })
    }

    fn load(&mut self, context: &mut Context<Self>) {
        self.stock = None;
        let load = self.inventory.journal.load(&self.sku).into_actor(self);
        context.spawn(load.map(|loaded, actor, context| match loaded {
            Ok(stock) => {
                actor.stock = Some(stock);
                actor.tell_deadline();
                actor.decide_waiting(context);
            }
            Err(error) => {
                for message in actor.waiting.drain(..) {
                    message.fail(error.clone().into());
                }
                context.run_later(Duration::from_millis(100), Self::load);
            }
        }));
    }

    /// Decides all that waits and appends what came of it.
    fn decide_waiting(&mut self, context: &mut Context<Self>) {
        if self.stock.is_none() || self.failed || self.looking_back || self.waiting.is_empty() {
            return;
        }
        match (self.in_flight, self.waiting.iter().any(Execute::looks_back)) {
            (0, true) => self.look_back(context),
            (0, false) => self.decide_first(self.waiting.len(), context),
            (1..MAX_AHEAD, false) if self.waiting.iter().any(|message| message.slot().is_some()) => {
                self.decide_first(self.waiting.len(), context);
            }
            _ => {}
        }
    }

    /// Counts of the past are decided on what has moved since, which the log tells while nothing is in flight.
    fn look_back(&mut self, context: &mut Context<Self>) {
        self.looking_back = true;
        let asked = self.waiting.len();
        let writes = self.waiting.iter().flat_map(Execute::writes);
        let counts = writes.filter_map(|write| Some((write.request.clone(), write.moved?)));
        let counts: Vec<_> = counts.collect();
        let inventory = self.inventory.clone();
        let sums = async move {
            let mut sums = Vec::with_capacity(counts.len());
            for (request, moved) in counts {
                sums.push(inventory.moved_since(&request, moved).await?.sum);
            }
            Ok::<_, JournalError>(sums)
        };
        context.spawn(sums.into_actor(self).map(move |sums, actor, context| {
            actor.looking_back = false;
            match sums {
                Ok(sums) => {
                    let writes = actor.waiting.iter_mut().take(asked).flat_map(Execute::writes_mut);
                    let counts = writes.filter(|write| write.moved.is_some());
                    counts.zip(sums).for_each(|(write, sum)| write.request.set_moved(sum));
                    actor.decide_first(asked, context);
                }
                Err(error) => {
                    let asked: Vec<_> = actor.waiting.drain(..asked).collect();
                    let (failed, others): (Vec<_>, Vec<_>) = asked.into_iter().partition(Execute::looks_back);
                    failed
                        .into_iter()
                        .for_each(|message| message.fail(error.clone().into()));
                    others
                        .into_iter()
                        .rev()
                        .for_each(|message| actor.waiting.push_front(message));
                    actor.decide_waiting(context);
                }
            }
        }));
    }

    /// Decides the first so many of what waits and appends what came of it.
    fn decide_first(&mut self, count: usize, context: &mut Context<Self>) {
        let Some(stock) = self.stock.as_mut() else { return };
        let ground = stock.version();
        let now = self.inventory.clock.now();
        self.last_used = now;
        let mut records = Vec::with_capacity(self.waiting.len());
        let is_due = stock.next_deadline().is_some_and(|at| at <= now);
        if let Some(event) = is_due.then(|| expire(&self.sku, stock, now, &system())).flatten() {
            stock.evolve(&self.sku, &event);
            records.push(Record {
                event: Arc::new(event),
                receipt: None,
            });
        }
        let looks_back = self.waiting.iter().take(count).any(Execute::looks_back);
        let mut moved = MovedNow::kept_if(looks_back);
        let decided: Vec<Decided> = self
            .waiting
            .drain(..count)
            .map(|message| message.decide(&self.sku, stock, now, &mut records, &mut moved))
            .collect();
        // With nothing in flight, what was decided rests on what is durable.
        if records.is_empty() && self.in_flight == 0 {
            self.tell_next_deadline();
            decided.into_iter().for_each(|decided| decided.answer(0));
            return;
        }
        self.in_flight += 1;
        let ground = (self.sku.clone(), ground);
        // Left to a batch that it was decided for, if there is one among those who wait for it.
        if let Some(slot) = decided.iter().find_map(|decided| decided.message.slot()) {
            let gathering = slot.gathering();
            return gathering.take_in(Part {
                actor: Lent::new(context.address()),
                ground,
                records,
                decided,
            });
        }
        let append = Append {
            grounds: vec![ground],
            records,
        };
        let appended = self.inventory.journal.append(append).into_actor(self);
        context.spawn(appended.map(|result, actor, context| actor.settle(result, decided, context)));
    }

    fn settle(&mut self, result: Result<Appended, JournalError>, decided: Vec<Decided>, context: &mut Context<Self>) {
        match result {
            Ok(Appended { first_seq }) => {
                decided.into_iter().for_each(|decided| decided.answer(first_seq));
                self.go_on(context);
            }
            Err(JournalError::Conflict) => {
                for decided in decided.into_iter().rev() {
                    // A key may be what was in the way: its caller is to ask again, and finds the receipt.
                    match decided.has_key() {
                        true => decided.fail(&JournalError::Conflict),
                        false => self.waiting.push_front(decided.message),
                    }
                }
                self.begin_anew(context);
            }
            // What was decided on a state that is no more cannot leave, whatever it was.
            Err(error) => {
                decided.into_iter().for_each(|decided| decided.fail(&error));
                self.begin_anew(context);
            }
        }
    }

    /// What was decided is durable.
    fn go_on(&mut self, context: &mut Context<Self>) {
        self.in_flight -= 1;
        self.dirty = true;
        if self.failed {
            return self.load_when_settled(context);
        }
        self.tell_next_deadline();
        self.decide_waiting(context);
    }

    /// What was decided is not recorded, or may not be. What was decided on top of it cannot be either: its append
    /// names a version that there is not.
    fn begin_anew(&mut self, context: &mut Context<Self>) {
        self.in_flight -= 1;
        self.failed = true;
        self.load_when_settled(context);
    }

    fn load_when_settled(&mut self, context: &mut Context<Self>) {
        if self.in_flight == 0 {
            self.failed = false;
            self.load(context);
        }
    }

    /// What is over is recorded: a moment that has passed need not be told again. After a failure it is
    /// left as it was, as the queue tries again by itself.
    fn tell_next_deadline(&mut self) {
        if self.told_deadline.is_some() {
            let now = self.inventory.clock.now();
            self.told_deadline = self.told_deadline.filter(|told| *told > now);
        }
        self.tell_deadline();
    }

    /// Tells the expiry queue when it must wake this SKU. It is told anew only of an earlier moment: holds
    /// come and go, and what it knows is enough as long as it wakes the SKU in time.
    fn tell_deadline(&mut self) {
        let next = self.stock.as_ref().and_then(Stock::next_deadline);
        if let Some(at) = next.filter(|at| self.told_deadline.is_none_or(|told| *at < told)) {
            self.inventory.deadlines.add(at, self.sku.clone());
            self.told_deadline = Some(at);
        }
    }

    /// Every so often: writes the snapshot of what has changed, and stops if there is nothing to do. It is asked to, as
    /// every wake-up of an actor polls each of its timers.
    fn keep_house(&mut self, context: &mut Context<Self>) {
        if self.dirty && !self.saving.get() {
            // What changes from here on is in the next one.
            self.dirty = false;
            self.saving.set(true);
            actix_web::rt::spawn(save_in_turn(
                self.inventory.clone(),
                self.sku.clone(),
                self.saving.clone(),
            ));
        }
        // It stops only with nothing in flight or queued, and nobody who has got hold of its address.
        let idle_ms = self.inventory.clock.now().as_millis() - self.last_used.as_millis();
        let is_quiet = idle_ms >= self.inventory.settings.idle_after.as_millis() as i64 && self.in_flight == 0;
        let is_idle = is_quiet && !self.dirty;
        if is_idle && self.inventory.registry.retire(&self.sku) {
            context.stop();
        }
    }
}

impl Actor for SkuActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.load(context);
    }
}

impl Handler<Execute> for SkuActor {
    type Result = ();

    fn handle(&mut self, message: Execute, context: &mut Self::Context) {
        self.waiting.push_back(message);
        self.decide_waiting(context);
    }
}

impl Handler<KeepHouse> for SkuActor {
    type Result = ();

    fn handle(&mut self, _: KeepHouse, context: &mut Self::Context) {
        self.keep_house(context);
    }
}

impl Handler<Settle> for SkuActor {
    type Result = ();

    fn handle(&mut self, Settle(result): Settle, context: &mut Self::Context) {
        match result {
            Ok(()) => self.go_on(context),
            Err(_) => self.begin_anew(context),
        }
    }
}

/// Snapshots of all SKUs are written one at a time and at a bounded rate, so that the log never waits for them.
async fn save_in_turn(inventory: Arc<Inventory>, sku: Sku, saving: Rc<Cell<bool>>) {
    let Ok(_turn) = inventory.snapshots.acquire().await else {
        return;
    };
    saving.set(false);
    if let Err(error) = inventory.journal.save_snapshot(&sku).await {
        tracing::warn!(sku = sku.as_str(), %error, "snapshot not written; the log has it all the same");
    }
    tokio::time::sleep(Duration::from_secs(1) / inventory.settings.snapshots_per_second.max(1)).await;
}

/// Expiries are nobody's request; they get an id all the same, for the log lines that belong to them.
fn system() -> Origin {
    Origin {
        by: Principal::system(),
        request_id: RequestId::from(new_id()),
    }
}
