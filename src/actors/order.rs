//! What a SKU's actor is asked to do, what it decides of it, and how that is answered.
//!
//! Nothing here waits or writes: the actor hands in its state and gets back decisions and the records that are to
//! be appended, and says later how the append ended.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use actix::Message;
use smallvec::{SmallVec, smallvec};
use tokio::sync::oneshot;

use super::claims::Claim;
use super::gathering::Slot;
use super::quota::Pledge;
use super::registry::Place;
use super::{ExecuteError, Keyed, Outcome, Told};
use crate::domain::command::Counted;
use crate::domain::{Event, Movement, Refusal, Request, Resource, Sku, Stock, StoreId, Stores, Timestamp, decide};
use crate::journal::{JournalError, KeyHash, Receipt, Record};

/// Mostly it is one, and then it lies in no memory of its own: operations of batches come by the thousand, and each piece
/// of memory that one of them has is far from the others.
pub type Few<T> = SmallVec<[T; 1]>;

/// A task, with its place in the queue of the actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Execute {
    pub task: Task,
    pub place: Place,
}

pub enum Task {
    Write(Box<Order>),
    /// Record what is over, and nothing else.
    Touch(oneshot::Sender<Result<(), ExecuteError>>),
}

impl Task {
    /// How many commands it brings; what is only to be recorded is nobody's.
    pub fn commands(&self) -> usize {
        match self {
            Self::Write(order) => order.writes.len(),
            Self::Touch(_) => 0,
        }
    }
}

/// Writes of one caller on the SKU, decided in their order and answered together.
pub struct Order {
    pub writes: Few<Write>,
    /// Each is decided as if those before it had taken effect, and nothing is changed.
    pub dry_run: bool,
    pub key_claim: Option<Claim>,
    pub id_claims: Vec<Claim>,
    pub pledges: Vec<Pledge>,
    pub reply: Reply,
}

/// Who is told what came of an order.
pub enum Reply {
    /// The caller of its only write.
    One(oneshot::Sender<Result<Outcome, ExecuteError>>),
    /// The batch that it is a part of.
    Batch(Slot),
}

pub struct Write {
    pub request: Request,
    pub keyed: Option<Keyed>,
    /// Its place in a batch, if it is in one.
    pub operation: Option<u32>,
    /// Of a count of the past: what has moved since, as far as the log was read before it was sent here.
    pub moved: Option<Moved>,
}

/// What movements other than counts have added to a level up to a place in the log.
#[derive(Clone, Copy)]
pub struct Moved {
    pub sum: i64,
    pub until: u64,
}

impl Moved {
    /// Before the log has been read.
    pub const NOTHING: Self = Self { sum: 0, until: 0 };
}

/// A task and what was decided of it, until that is durable.
pub struct Decided {
    pub message: Execute,
    /// One for each of its writes.
    decisions: Few<Decision>,
}

enum Decision {
    /// The event that is in the append at this place, and what the caller is told.
    Recorded(usize, Arc<Event>, Told),
    DryRun(Arc<Event>, Told),
    /// Behind a pointer, as it is large and seldom, and decisions are moved about by the thousand.
    Refused(Box<Refusal>),
}

impl Execute {
    /// Decides on `stock`, which is moved along with every event that is to be recorded.
    pub fn decide(
        mut self,
        sku: &Sku,
        stock: &mut Stock,
        stores: &dyn Stores,
        now: Timestamp,
        records: &mut Few<Record>,
        moved: &mut MovedNow,
    ) -> Decided {
        let decisions = match &mut self.task {
            Task::Touch(_) => Few::new(),
            Task::Write(order) if order.dry_run => order.rehearse(sku, stock, stores, now, moved),
            Task::Write(order) => {
                let writes = order.writes.iter_mut();
                writes
                    .map(|write| write.decide(sku, stock, stores, now, records, moved))
                    .collect()
            }
        };
        Decided {
            message: self,
            decisions,
        }
    }

    pub fn writes(&self) -> &[Write] {
        match &self.task {
            Task::Touch(_) => &[],
            Task::Write(order) => &order.writes,
        }
    }

    fn writes_mut(&mut self) -> &mut [Write] {
        match &mut self.task {
            Task::Touch(_) => &mut [],
            Task::Write(order) => &mut order.writes,
        }
    }

    /// Where the batch gathers that it is a part of.
    pub fn slot(&self) -> Option<&Slot> {
        match &self.task {
            Task::Write(order) => match &order.reply {
                Reply::Batch(slot) => Some(slot),
                Reply::One(_) => None,
            },
            Task::Touch(_) => None,
        }
    }

    pub fn looks_back(&self) -> bool {
        self.writes().iter().any(|write| write.moved.is_some())
    }

    pub fn fail(self, error: ExecuteError) {
        match self.task {
            Task::Touch(reply) => drop(reply.send(Err(error))),
            Task::Write(order) => order.answer_all(&error),
        }
    }
}

impl Order {
    /// All of its writes are on the same one.
    pub fn sku(&self) -> Option<&Sku> {
        self.writes.first().map(|write| &write.request.sku)
    }

    /// Decides on a copy, as one write may follow from another, or be answered with the whole item.
    fn rehearse(
        &mut self,
        sku: &Sku,
        stock: &Stock,
        stores: &dyn Stores,
        now: Timestamp,
        moved: &MovedNow,
    ) -> Few<Decision> {
        if let [write] = self.writes.as_mut_slice()
            && write.request.resource == Resource::Level
        {
            moved.add_to(&mut write.request);
            return smallvec![match decide(stock, &write.request, stores, now) {
                Err(refusal) => Decision::Refused(Box::new(refusal)),
                Ok(event) => Decision::DryRun(Arc::new(event), Told::Event),
            }];
        }
        let (mut scratch, mut moved) = (stock.clone(), moved.clone());
        let writes = self.writes.iter_mut();
        let decided = writes.map(|write| {
            moved.add_to(&mut write.request);
            match decide(&scratch, &write.request, stores, now) {
                Err(refusal) => Decision::Refused(Box::new(refusal)),
                Ok(event) => {
                    scratch.evolve(sku, &event);
                    moved.note(&event);
                    let told = write.told(&scratch);
                    Decision::DryRun(Arc::new(event), told)
                }
            }
        });
        decided.collect()
    }

    /// The key is free again before the answer leaves: its receipt is there by now.
    fn answer(self, mut answers: impl Iterator<Item = Result<Outcome, ExecuteError>>) {
        drop((self.key_claim, self.id_claims, self.pledges));
        match self.reply {
            Reply::One(reply) => {
                // A client that is gone finds the outcome under its key.
                let _ = answers.next().map(|answer| reply.send(answer));
            }
            Reply::Batch(slot) => {
                let places = self.writes.iter().map(|write| write.operation.unwrap_or_default());
                slot.answer(places.zip(answers));
            }
        }
    }

    pub fn answer_all(self, error: &ExecuteError) {
        self.answer(std::iter::repeat_with(|| Err(error.clone())));
    }
}

impl Write {
    fn decide(
        &mut self,
        sku: &Sku,
        stock: &mut Stock,
        stores: &dyn Stores,
        now: Timestamp,
        records: &mut Few<Record>,
        moved: &mut MovedNow,
    ) -> Decision {
        moved.add_to(&mut self.request);
        self.share_ids(sku, stock);
        let event = match decide(stock, &self.request, stores, now) {
            Err(refusal) => return Decision::Refused(Box::new(refusal)),
            Ok(event) => event,
        };
        stock.evolve(sku, &event);
        moved.note(&event);
        let told = self.told(stock);
        let receipt = self.receipt(&event, &told);
        let event = Arc::new(event);
        records.push(Record {
            event: event.clone(),
            receipt: receipt.map(Box::new),
        });
        Decision::Recorded(records.len() - 1, event, told)
    }

    /// Takes the ids that are kept already in place of those that came with the request: so its event, which is kept for a
    /// while, has no memory for ids of its own.
    fn share_ids(&mut self, sku: &Sku, stock: &Stock) {
        self.request.sku = sku.clone();
        if let Some(store) = stock.kept_id(&self.request.store_id) {
            self.request.store_id = store.clone();
        }
    }

    /// What a write is answered with that the event alone does not tell.
    fn told(&self, after: &Stock) -> Told {
        match self.request.resource {
            Resource::Level => Told::Event,
            Resource::Item => Told::Item(Arc::new(after.item())),
            // Of one that was deleted there is nothing to tell.
            Resource::Product => after
                .product()
                .map_or(Told::Event, |product| Told::Product(Arc::new(product))),
        }
    }

    fn receipt(&self, event: &Event, told: &Told) -> Option<Receipt> {
        let keyed = self.keyed?;
        let mut receipt = Receipt {
            operation: self.operation,
            ..Receipt::new(keyed.key, keyed.fingerprint, (keyed.status)(event))
        };
        match told {
            Told::Item(item) => receipt.item = Some(item.clone()),
            Told::Product(product) => receipt.product = Some(product.clone()),
            Told::Event | Told::Reservation(_) | Told::Operations(_) | Told::Sync(_) => {}
        }
        Some(receipt)
    }
}

/// Tasks in the order in which they have come. It knows without a look at each of them what there is among them, as it
/// is asked so often.
#[derive(Default)]
pub struct Waiting {
    tasks: VecDeque<Execute>,
    counts: usize,
    batches: usize,
}

impl Waiting {
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// There are counts of the past among them.
    pub fn looks_back(&self) -> bool {
        self.counts > 0
    }

    /// There are orders of batches among them.
    pub fn has_batches(&self) -> bool {
        self.batches > 0
    }

    pub fn push_back(&mut self, task: Execute) {
        self.note(&task);
        self.tasks.push_back(task);
    }

    pub fn push_front(&mut self, task: Execute) {
        self.note(&task);
        self.tasks.push_front(task);
    }

    fn note(&mut self, task: &Execute) {
        self.counts += usize::from(task.looks_back());
        self.batches += usize::from(task.slot().is_some());
    }

    /// The first so many.
    pub fn take(&mut self, count: usize) -> Few<Execute> {
        let taken: Few<Execute> = self.tasks.drain(..count.min(self.tasks.len())).collect();
        for task in &taken {
            self.counts -= usize::from(task.looks_back());
            self.batches -= usize::from(task.slot().is_some());
        }
        taken
    }

    pub fn take_all(&mut self) -> Few<Execute> {
        self.take(self.tasks.len())
    }

    pub fn writes(&self) -> impl Iterator<Item = &Write> {
        self.tasks.iter().flat_map(Execute::writes)
    }

    /// Those of the first so many.
    pub fn first_writes_mut(&mut self, count: usize) -> impl Iterator<Item = &mut Write> {
        self.tasks.iter_mut().take(count).flat_map(Execute::writes_mut)
    }
}

/// What has moved since the log was read for counts of the past, by what is decided together with them.
/// Kept only where there are such counts.
#[derive(Clone)]
pub struct MovedNow(Option<HashMap<StoreId, i64>>);

impl MovedNow {
    pub fn kept_if(is_needed: bool) -> Self {
        Self(is_needed.then(HashMap::new))
    }

    fn note(&mut self, event: &Event) {
        let Some(sums) = &mut self.0 else { return };
        for change in &event.changes {
            if change.movement.is_some_and(|movement| movement != Movement::Count) {
                let sum = sums.entry(change.store_id.clone()).or_default();
                *sum = sum.saturating_add(change.moved());
            }
        }
    }

    fn add_to(&self, request: &mut Request) {
        let Some(Counted { moved, .. }) = request.counted() else {
            return;
        };
        let now = self.0.as_ref().and_then(|sums| sums.get(&request.store_id));
        request.set_moved(moved.saturating_add(now.copied().unwrap_or(0)));
    }
}

impl Decided {
    /// What was decided is durable; the append began at `first_seq`.
    pub fn answer(self, first_seq: u64) {
        let Self {
            message: Execute { task, place },
            decisions,
        } = self;
        drop(place);
        let order = match task {
            Task::Touch(reply) => return drop(reply.send(Ok(()))),
            Task::Write(order) => order,
        };
        let outcome = |event, seq, told| {
            Ok(Outcome {
                event,
                seq,
                replayed: None,
                told,
            })
        };
        let answers = decisions.into_iter().map(|decision| match decision {
            Decision::Recorded(i, event, told) => outcome(event, Some(first_seq + i as u64), told),
            Decision::DryRun(event, told) => outcome(event, None, told),
            Decision::Refused(refusal) => Err(ExecuteError::Refused(refusal)),
        });
        order.answer(answers);
    }

    /// Where the receipts of its keyed writes are found.
    pub fn receipts(&self) -> Vec<KeyHash> {
        let id = |write: &Write| {
            let key = write.keyed?.key;
            Some(write.operation.map_or(key, |index| key.of_operation(index)))
        };
        self.message.writes().iter().filter_map(id).collect()
    }

    /// Only a write that was under way may have happened; all else certainly did not.
    pub fn fail(self, error: &JournalError) {
        let Self {
            message: Execute { task, place },
            decisions,
        } = self;
        drop(place);
        let certain = match error {
            JournalError::Unknown(reason) => JournalError::Unavailable(reason.clone()),
            other => other.clone(),
        };
        let mut order = match task {
            Task::Touch(reply) => return drop(reply.send(Err(certain.into()))),
            Task::Write(order) => order,
        };
        let was_written = |decision: &Decision| matches!(decision, Decision::Recorded(..));
        if matches!(error, JournalError::Unknown(_))
            && decisions.iter().any(was_written)
            && let Some(claim) = order.key_claim.take()
        {
            claim.becomes_unknown();
        }
        let answers = decisions.iter().map(|decision| {
            let error = if was_written(decision) { error } else { &certain };
            Err(error.clone().into())
        });
        order.answer(answers);
    }
}
