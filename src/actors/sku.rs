//! The actor that owns one SKU.
//!
//! While an append is in flight it collects what arrives; when that is durable it decides all that
//! waits, in order, and appends the events as one group: one sync for many commands, which is what
//! makes a hot SKU fast. Whatever it answers, refusals included, rests on what is durable by then.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::claims::Claim;
use super::registry::Place;
use super::{ExecuteError, Inventory, Keyed, Outcome, new_id};
use crate::domain::{Event, Origin, Principal, Refusal, Request, RequestId, Sku, Stock, Timestamp, decide, expire};
use crate::journal::{Append, Appended, JournalError, Receipt, Record};

/// The one message that it takes.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Execute {
    pub task: Task,
    pub place: Place,
}

pub enum Task {
    Write(Box<Write>),
    /// Record what is over, and nothing else.
    Touch(oneshot::Sender<Result<(), ExecuteError>>),
}

pub struct Write {
    pub request: Request,
    pub dry_run: bool,
    pub keyed: Option<Keyed>,
    pub key_claim: Option<Claim>,
    pub _id_claim: Option<Claim>,
    pub reply: oneshot::Sender<Result<Outcome, ExecuteError>>,
}

pub struct SkuActor {
    sku: Sku,
    inventory: Arc<Inventory>,
    /// Runs ahead of the journal by what is in flight; `None` until it is loaded.
    stock: Option<Stock>,
    waiting: VecDeque<Execute>,
    in_flight: bool,
    /// Changed since its last snapshot was begun.
    dirty: bool,
    /// Set while a snapshot is waiting to be written, which does not keep the actor from stopping.
    saving: Rc<Cell<bool>>,
    last_used: Instant,
    /// The deadline that was told to the expiry queue last.
    told_deadline: Option<Timestamp>,
}

/// A task and what was decided of it, until that is durable.
struct Decided {
    message: Execute,
    decision: Decision,
}

enum Decision {
    /// The event that is in the append at this place.
    Recorded(usize, Arc<Event>),
    DryRun(Event),
    Refused(Refusal),
    Touched,
}

impl SkuActor {
    pub fn start_for(sku: Sku, inventory: Arc<Inventory>) -> Addr<Self> {
        Self::create(|context| {
            // The registry's places are the bound that a client meets.
            context.set_mailbox_capacity(inventory.settings.queue_limit);
            Self {
                sku,
                inventory,
                stock: None,
                waiting: VecDeque::new(),
                in_flight: false,
                dirty: false,
                saving: Rc::default(),
                last_used: Instant::now(),
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
        let Some(stock) = self
            .stock
            .as_mut()
            .filter(|_| !self.in_flight && !self.waiting.is_empty())
        else {
            return;
        };
        let ground = stock.version();
        let now = self.inventory.clock.now();
        let mut records = Vec::with_capacity(self.waiting.len());
        let is_due = stock.next_deadline().is_some_and(|at| at <= now);
        if let Some(event) = is_due.then(|| expire(&self.sku, stock, now, &system())).flatten() {
            stock.evolve(&self.sku, &event);
            records.push(Record {
                event: Arc::new(event),
                receipt: None,
            });
        }
        let waiting = std::mem::take(&mut self.waiting);
        let decided: Vec<Decided> = waiting
            .into_iter()
            .map(|message| message.decide(&self.sku, stock, now, &mut records))
            .collect();
        if records.is_empty() {
            self.tell_next_deadline();
            decided.into_iter().for_each(|decided| decided.answer(0));
            return;
        }
        let append = Append {
            grounds: vec![(self.sku.clone(), ground)],
            records,
        };
        self.in_flight = true;
        let appended = self.inventory.journal.append(append).into_actor(self);
        context.spawn(appended.map(|result, actor, context| actor.settle(result, decided, context)));
    }

    fn settle(&mut self, result: Result<Appended, JournalError>, decided: Vec<Decided>, context: &mut Context<Self>) {
        self.in_flight = false;
        match result {
            Ok(Appended { first_seq }) => {
                decided.into_iter().for_each(|decided| decided.answer(first_seq));
                self.tell_next_deadline();
                self.dirty = true;
                self.decide_waiting(context);
            }
            Err(JournalError::Conflict) => {
                for decided in decided.into_iter().rev() {
                    // A key may be what was in the way: its caller is to ask again, and finds the receipt.
                    match decided.has_key() {
                        true => decided.fail(&JournalError::Conflict),
                        false => self.waiting.push_front(decided.message),
                    }
                }
                self.load(context);
            }
            // What was decided on a state that is no more cannot leave, whatever it was.
            Err(error) => {
                decided.into_iter().for_each(|decided| decided.fail(&error));
                self.load(context);
            }
        }
    }

    /// What is over is recorded: a moment that has passed need not be told again. After a failure it is
    /// left as it was, as the queue tries again by itself.
    fn tell_next_deadline(&mut self) {
        let now = self.inventory.clock.now();
        self.told_deadline = self.told_deadline.filter(|told| *told > now);
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

    /// Every so often: writes the snapshot of what has changed, and stops if there is nothing to do. One
    /// timer for both, as every wake-up of the actor polls each of its timers.
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
        let is_idle = self.last_used.elapsed() >= self.inventory.settings.idle_after && !self.dirty;
        if is_idle && self.inventory.registry.retire(&self.sku) {
            context.stop();
        }
    }
}

impl Actor for SkuActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.load(context);
        context.run_interval(self.inventory.settings.snapshot_interval, |actor, context| {
            actor.keep_house(context)
        });
    }
}

impl Handler<Execute> for SkuActor {
    type Result = ();

    fn handle(&mut self, message: Execute, context: &mut Self::Context) {
        self.last_used = Instant::now();
        self.waiting.push_back(message);
        self.decide_waiting(context);
    }
}

impl Execute {
    /// Decides on `stock`, which is moved along with every event that is to be recorded.
    fn decide(self, sku: &Sku, stock: &mut Stock, now: Timestamp, records: &mut Vec<Record>) -> Decided {
        let decision = match &self.task {
            Task::Touch(_) => Decision::Touched,
            Task::Write(write) => match decide(stock, &write.request, now) {
                Err(refusal) => Decision::Refused(refusal),
                Ok(event) if write.dry_run => Decision::DryRun(event),
                Ok(event) => {
                    stock.evolve(sku, &event);
                    let receipt = write.receipt(&event);
                    let event = Arc::new(event);
                    records.push(Record {
                        event: event.clone(),
                        receipt,
                    });
                    Decision::Recorded(records.len() - 1, event)
                }
            },
        };
        Decided {
            message: self,
            decision,
        }
    }

    fn fail(self, error: ExecuteError) {
        match self.task {
            Task::Touch(reply) => drop(reply.send(Err(error))),
            Task::Write(write) => drop(write.reply.send(Err(error))),
        }
    }
}

impl Write {
    fn receipt(&self, event: &Event) -> Option<Receipt> {
        self.keyed.map(
            |Keyed {
                 key,
                 fingerprint,
                 status,
             }| Receipt {
                key,
                fingerprint,
                status: status(event),
            },
        )
    }

    /// The key is free again before the answer leaves: its receipt is there by now.
    fn answer(self, answer: Result<Outcome, ExecuteError>) {
        drop((self.key_claim, self._id_claim));
        // A client that is gone finds the outcome under its key.
        let _ = self.reply.send(answer);
    }
}

impl Decided {
    /// What was decided is durable; the append began at `first_seq`.
    fn answer(self, first_seq: u64) {
        let Self {
            message: Execute { task, place },
            decision,
        } = self;
        drop(place);
        let write = match task {
            Task::Touch(reply) => return drop(reply.send(Ok(()))),
            Task::Write(write) => write,
        };
        let outcome = |event, seq| {
            Ok(Outcome {
                event,
                seq,
                replayed: None,
            })
        };
        write.answer(match decision {
            Decision::Recorded(i, event) => outcome(event, Some(first_seq + i as u64)),
            Decision::DryRun(event) => outcome(Arc::new(event), None),
            Decision::Refused(refusal) => Err(ExecuteError::Refused(refusal)),
            Decision::Touched => return,
        });
    }

    fn has_key(&self) -> bool {
        matches!(&self.message.task, Task::Write(write) if write.keyed.is_some())
    }

    /// Only a write that was under way may have happened; all else certainly did not.
    fn fail(self, error: &JournalError) {
        let Self {
            message: Execute { task, place },
            decision,
        } = self;
        drop(place);
        let was_written = matches!(decision, Decision::Recorded(..));
        let error = match error {
            JournalError::Unknown(reason) if !was_written => JournalError::Unavailable(reason.clone()),
            other => other.clone(),
        };
        match task {
            Task::Touch(reply) => drop(reply.send(Err(error.into()))),
            Task::Write(mut write) => {
                if let (JournalError::Unknown(_), Some(claim)) = (&error, write.key_claim.take()) {
                    claim.becomes_unknown();
                }
                write.answer(Err(error.into()));
            }
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
