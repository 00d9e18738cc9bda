//! The actor that owns one SKU.
//!
//! While an append of its own is in flight it collects what arrives; when that is durable it decides all that
//! waits, in order, and appends the events as one group: one sync for many commands, which is what
//! makes a hot SKU fast. What it decides for batches, it leaves to them to append. To a joint step it lends its state,
//! and has nothing to decide on until it gets that back. Whatever is answered, refusals included, rests on what is
//! durable by then.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;

use super::debt::{Debt, Outstanding};
use super::expiry::RETRY_MS;
use super::gathering::Part;
use super::joint::Seat;
use super::order::{Decided, Execute, Few, MovedNow, Waiting};
use super::{Inventory, new_id};
use crate::domain::{Origin, Principal, RequestId, Scope, Sku, Stock, Timestamp, expire};
use crate::journal::{Append, Appended, Journal, JournalError, Record};

pub struct SkuActor {
    sku: Sku,
    inventory: Arc<Inventory>,
    /// `None` until it is loaded, and while it is lent.
    state: Option<State>,
    waiting: Waiting,
    /// Joint steps that want its state, in the order in which they are to have it.
    joints: VecDeque<Seat>,
    /// An append of its own is in flight.
    is_appending: bool,
    /// Appends that others make of what it has decided, or what was decided for it.
    outstanding: Arc<Outstanding>,
    is_lent: bool,
    /// It is their turn: whoever decides must not keep a joint step waiting for ever, which has other SKUs in its hands.
    joints_first: bool,
    /// An append has failed: it decides nothing more until it has loaded its state anew.
    failed: bool,
    looking_back: bool,
    /// Changed since its last snapshot was begun.
    dirty: bool,
    /// Set while a snapshot is waiting to be written, which does not keep the actor from stopping.
    saving: Rc<Cell<bool>>,
    last_used: Timestamp,
}

/// What an actor owns, and lends to joint steps.
pub struct State {
    /// Runs ahead of the journal by what is in flight.
    pub stock: Stock,
    /// The deadline that was told to the expiry queue last.
    told_deadline: Option<Timestamp>,
}

impl State {
    /// Tells the expiry queue when it must wake this SKU. It is told anew only of an earlier moment than it knows:
    /// holds come and go, and what it knows is enough as long as it wakes the SKU in time.
    pub fn tell_deadline(&mut self, sku: &Sku, inventory: &Inventory) {
        let Some(next) = self.stock.next_deadline() else { return };
        let now = inventory.clock.now();
        // What is over and not recorded could not be, and is tried again later.
        let at = next.max(Timestamp::from_millis(
            now.as_millis() + RETRY_MS * i64::from(next <= now),
        ));
        let told = self.told_deadline.filter(|told| *told > now);
        if told.is_none_or(|told| at < told) {
            inventory.deadlines.add(at, sku.clone());
            self.told_deadline = Some(at);
        }
    }
}

/// Asks for what is to be done every so often; see [`SkuActor::keep_house`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct KeepHouse;

/// Tells an actor of appends that others make for it.
#[derive(Message)]
#[rtype(result = "()")]
pub enum Settle {
    /// One has come into the log's queue, or is durable.
    Done,
    /// One has failed, or may have.
    Failed,
    /// One was decided on a state that is no more: these were in it.
    Again(Vec<Execute>),
}

/// Whether one of its writes was recorded before, under its key.
pub async fn is_recorded(journal: &dyn Journal, decided: &Decided, now: Timestamp) -> bool {
    for id in decided.receipts() {
        if !matches!(journal.receipt(id, now).await, Ok(None)) {
            return true;
        }
    }
    false
}

impl SkuActor {
    pub fn start_for(sku: Sku, inventory: Arc<Inventory>) -> Addr<Self> {
        Self::create(|context| {
            // The registry's places are the bound that a client meets.
            context.set_mailbox_capacity(inventory.settings.queue_limit);
            Self {
                last_used: inventory.clock.now(),
                sku,
                inventory,
                state: None,
                waiting: Waiting::default(),
                joints: VecDeque::new(),
                is_appending: false,
                outstanding: Outstanding::of(context.address()),
                is_lent: false,
                joints_first: false,
                failed: false,
                looking_back: false,
                dirty: false,
                saving: Rc::default(),
            }
        })
    }

    fn load(&mut self, context: &mut Context<Self>) {
        self.state = None;
        let load = self.inventory.journal.load(&self.sku).into_actor(self);
        context.spawn(load.map(|loaded, actor, context| match loaded {
            Ok(stock) => {
                actor.state = Some(State {
                    stock,
                    told_deadline: None,
                });
                actor.tell_deadline();
                actor.go_on(context);
            }
            Err(error) => {
                for message in actor.waiting.take_all() {
                    message.fail(error.clone().into());
                }
                for seat in actor.joints.drain(..) {
                    seat.refuse(error.clone());
                }
                context.run_later(Duration::from_millis(100), Self::load);
            }
        }));
    }

    /// Appends that it waits for, its own and others.
    fn in_flight(&self) -> u32 {
        u32::from(self.is_appending) + self.outstanding.all()
    }

    /// Goes on with what waits, as far as that can be.
    fn go_on(&mut self, context: &mut Context<Self>) {
        // Before it looks: what changes from here on, on whatever thread, it is told.
        if self.has_work() || self.failed || self.is_lent {
            self.outstanding.listen();
        }
        self.take_back();
        // After a failure the state is loaded anew, once nothing is in flight any more and nobody has it.
        if self.failed && self.in_flight() == 0 && !self.is_lent {
            self.failed = false;
            self.load(context);
        }
        if self.joints_first {
            self.lend();
        }
        self.decide_waiting(context);
        self.lend();
        if !self.waits_for_others() {
            self.outstanding.ignore();
        }
    }

    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || !self.joints.is_empty()
    }

    fn waits_for_others(&self) -> bool {
        let is_away = self.is_lent && !self.outstanding.has_returned();
        let is_behind = self.outstanding.all() > 0;
        self.has_work() && (is_away || self.outstanding.unqueued() > 0)
            || self.failed && (is_away || is_behind)
            || self.waiting.looks_back() && is_behind
    }

    /// Takes back what it has lent, if that is there.
    fn take_back(&mut self) {
        let Some(returned) = self.is_lent.then(|| self.outstanding.take_back()).flatten() else {
            return;
        };
        self.is_lent = false;
        self.failed |= returned.state.is_none();
        self.state = returned.state;
        self.dirty |= returned.is_changed;
    }

    /// Decides all that waits and appends what came of it.
    fn decide_waiting(&mut self, context: &mut Context<Self>) {
        let is_ready = self.state.is_some() && !self.failed && !self.looking_back;
        if !is_ready || self.waiting.is_empty() || self.outstanding.unqueued() > 0 {
            return;
        }
        if self.waiting.looks_back() {
            if self.in_flight() == 0 {
                self.look_back(context);
            }
            return;
        }
        // Batches append by the thousand, and while the log writes one the next is decided. Everybody else is faster in
        // larger groups.
        if !self.is_appending || self.waiting.has_batches() {
            self.joints_first = !self.joints.is_empty();
            self.decide_first(self.waiting.len(), context);
        }
    }

    /// Lends its state to the joint step whose turn it is. What it has decided so far is in the log's queue, and what
    /// is decided on it comes in behind that.
    fn lend(&mut self) {
        let is_ready = !self.failed && !self.looking_back && self.outstanding.unqueued() == 0;
        // Who looks back waits until nothing is in flight: joint steps must not keep it waiting for ever either.
        let is_their_turn = self.joints_first || !self.waiting.looks_back();
        if !is_ready || !is_their_turn || self.joints.is_empty() {
            return;
        }
        let Some(state) = self.state.take() else { return };
        self.joints_first = false;
        self.is_lent = true;
        self.last_used = self.inventory.clock.now();
        let is_ahead = self.in_flight() > 0;
        if let Some(seat) = self.joints.pop_front() {
            seat.take(state, is_ahead, self.outstanding.clone());
        }
    }

    /// Counts of the past are decided on what has moved since, which the log tells while nothing is in flight.
    fn look_back(&mut self, context: &mut Context<Self>) {
        self.looking_back = true;
        let asked = self.waiting.len();
        let counts = self
            .waiting
            .writes()
            .filter_map(|write| Some((write.request.clone(), write.moved?)));
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
                    let writes = actor.waiting.first_writes_mut(asked);
                    let counts = writes.filter(|write| write.moved.is_some());
                    counts.zip(sums).for_each(|(write, sum)| write.request.set_moved(sum));
                    actor.decide_first(asked, context);
                    actor.go_on(context);
                }
                Err(error) => {
                    let asked = actor.waiting.take(asked);
                    let (failed, others): (Vec<_>, Vec<_>) = asked.into_iter().partition(Execute::looks_back);
                    failed
                        .into_iter()
                        .for_each(|message| message.fail(error.clone().into()));
                    others
                        .into_iter()
                        .rev()
                        .for_each(|message| actor.waiting.push_front(message));
                    actor.go_on(context);
                }
            }
        }));
    }

    /// Decides the first so many of what waits and appends what came of it.
    fn decide_first(&mut self, count: usize, context: &mut Context<Self>) {
        let Some(State { stock, .. }) = self.state.as_mut() else {
            return;
        };
        let ground = stock.version();
        let now = self.inventory.clock.now();
        self.last_used = now;
        let mut records = Few::with_capacity(self.waiting.len());
        expire_due(&self.sku, stock, now, &mut records);
        let mut moved = MovedNow::kept_if(self.waiting.looks_back());
        let stores = self.inventory.stores();
        let taken = self.waiting.take(count);
        self.inventory.activity.note_group(taken.len());
        let decided: Few<Decided> = taken
            .into_iter()
            .map(|message| message.decide(&self.sku, stock, &stores, now, &mut records, &mut moved))
            .collect();
        let entry_grounds = stores.into_grounds();
        // With nothing in flight, what was decided rests on what is durable.
        if records.is_empty() && self.in_flight() == 0 {
            self.tell_deadline();
            decided.into_iter().for_each(|decided| decided.answer(0));
            return;
        }
        self.dirty |= !records.is_empty();
        self.tell_deadline();
        let ground = (self.sku.clone(), ground);
        // Left to a batch that it was decided for, if there is one among those who wait for it.
        if let Some(slot) = decided.iter().find_map(|decided| decided.message.slot()) {
            let gathering = slot.gathering();
            return gathering.take_in(Part {
                debt: Debt::new(self.outstanding.clone()),
                ground,
                entry_grounds,
                records,
                decided,
            });
        }
        let append = Append {
            entry_grounds,
            ..Append::of_stock(vec![ground], records.into_vec())
        };
        self.is_appending = true;
        let appended = self.inventory.journal.append(append).into_actor(self);
        context.spawn(appended.map(|result, actor, context| actor.settle(result, decided, context)));
    }

    fn settle(&mut self, result: Result<Appended, JournalError>, decided: Few<Decided>, context: &mut Context<Self>) {
        match result {
            Ok(Appended { first_seq }) => {
                self.is_appending = false;
                decided.into_iter().for_each(|decided| decided.answer(first_seq));
                self.go_on(context);
            }
            Err(JournalError::Conflict) => self.decide_again(decided, context),
            // What was decided on a state that is no more cannot leave, whatever it was.
            Err(error) => {
                self.is_appending = false;
                decided.into_iter().for_each(|decided| decided.fail(&error));
                self.begin_anew(context);
            }
        }
    }

    /// The SKU has moved on without this actor, or a store is about to be deleted. Or a key has been used: then its caller
    /// is to ask again, and finds the receipt.
    fn decide_again(&mut self, decided: Few<Decided>, context: &mut Context<Self>) {
        let inventory = self.inventory.clone();
        let looked_up = async move {
            let now = inventory.clock.now();
            let mut found = Vec::with_capacity(decided.len());
            for decided in decided {
                let is_used = is_recorded(&*inventory.journal, &decided, now).await;
                found.push((decided, is_used));
            }
            found
        };
        context.spawn(looked_up.into_actor(self).map(|found, actor, context| {
            actor.is_appending = false;
            for (decided, is_used) in found.into_iter().rev() {
                match is_used {
                    true => decided.fail(&JournalError::Conflict),
                    false => actor.waiting.push_front(decided.message),
                }
            }
            actor.begin_anew(context);
        }));
    }

    /// What was decided is not recorded, or may not be. What was decided on top of it cannot be either: its append
    /// names a version that there is not.
    fn begin_anew(&mut self, context: &mut Context<Self>) {
        self.failed = true;
        self.go_on(context);
    }

    /// Of an append that another has made for it.
    fn hear_of_failure(&mut self) {
        self.outstanding.failed();
        self.failed = true;
    }

    fn tell_deadline(&mut self) {
        if let Some(state) = &mut self.state {
            state.tell_deadline(&self.sku, &self.inventory);
        }
    }

    /// Every so often: writes the snapshot of what has changed, and stops if there is nothing to do. It is asked to, as
    /// every wake-up of an actor polls each of its timers.
    fn keep_house(&mut self, context: &mut Context<Self>) {
        if self.dirty && !self.saving.get() {
            // What changes from here on is in the next one, and what is in flight.
            self.dirty = self.in_flight() > 0;
            self.saving.set(true);
            actix_web::rt::spawn(save_in_turn(
                self.inventory.clone(),
                self.sku.clone(),
                self.saving.clone(),
            ));
        }
        // It stops only with nothing in flight or queued, and nobody who has got hold of its address.
        let idle_ms = self.inventory.clock.now().as_millis() - self.last_used.as_millis();
        let is_quiet = idle_ms >= self.inventory.settings.idle_after.as_millis() as i64 && self.in_flight() == 0;
        let is_idle = is_quiet && !self.dirty && !self.is_lent;
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
        self.go_on(context);
    }
}

impl Handler<KeepHouse> for SkuActor {
    type Result = ();

    fn handle(&mut self, _: KeepHouse, context: &mut Self::Context) {
        self.take_back();
        self.keep_house(context);
    }
}

impl Handler<Settle> for SkuActor {
    type Result = ();

    fn handle(&mut self, message: Settle, context: &mut Self::Context) {
        match message {
            Settle::Done => {}
            Settle::Failed => self.hear_of_failure(),
            Settle::Again(tasks) => {
                self.hear_of_failure();
                tasks.into_iter().rev().for_each(|task| self.waiting.push_front(task));
            }
        }
        self.go_on(context);
    }
}

impl Handler<Seat> for SkuActor {
    type Result = ();

    fn handle(&mut self, seat: Seat, context: &mut Self::Context) {
        self.joints.push_back(seat);
        self.go_on(context);
    }
}

/// Records what is over. It is so before anything else is decided.
pub fn expire_due(sku: &Sku, stock: &mut Stock, now: Timestamp, records: &mut impl Extend<Record>) {
    if stock.next_deadline().is_none_or(|at| at > now) {
        return;
    }
    records.extend(expire(sku, stock, now, &system()).into_iter().map(|event| {
        stock.evolve(sku, &event);
        Record {
            event: Arc::new(event),
            receipt: None,
        }
    }));
}

/// Snapshots rest so many times as long as the last one took.
const SNAPSHOT_REST: u32 = 10;

/// Snapshots of all SKUs are written one at a time and at a bounded rate, so that the log never waits for them.
async fn save_in_turn(inventory: Arc<Inventory>, sku: Sku, saving: Rc<Cell<bool>>) {
    let Ok(_turn) = inventory.snapshots.acquire().await else {
        return;
    };
    saving.set(false);
    let started = Instant::now();
    if let Err(error) = inventory.journal.save_snapshot(&sku).await {
        tracing::warn!(sku = sku.as_str(), %error, "snapshot not written; the log has it all the same");
    }
    let pause = Duration::from_secs(1) / inventory.settings.snapshots_per_second.max(1);
    // A SKU with very many holds has a large one.
    tokio::time::sleep(pause.max(started.elapsed() * SNAPSHOT_REST)).await;
}

/// Expiries are nobody's request; they get an id all the same, for the log lines that belong to them.
pub fn system() -> Arc<Origin> {
    Arc::new(Origin {
        by: Principal::system(),
        request_id: RequestId::from(new_id()),
        scope: Scope::default(),
    })
}
