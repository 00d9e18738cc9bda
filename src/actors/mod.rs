//! The SKUs at work: an actor owns each, and [`Inventory`] is the one door to all of them.
//!
//! Writes go to the SKU's actor, which decides them in order and appends their events; reads go to
//! the journal, which shows only what is durable. A read that comes after a deadline has the actor
//! record the expiry first, so that what is shown is always what is recorded.

pub mod activity;
pub mod batch;
mod claims;
mod clock;
mod debt;
pub mod entries;
mod expiry;
mod gathering;
mod history;
pub mod jobs;
pub mod joint;
mod order;
mod quota;
mod registry;
pub mod sales;
mod sku;
pub mod stores;
pub mod sync;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use futures_util::future::join_all;
use smallvec::smallvec;
use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use self::activity::Activity;
use self::claims::{Claim, Claims};
use self::clock::Clock;
use self::expiry::Deadlines;
use self::order::{Moved, Order, Reply, Task, Write};
use self::quota::{Asked, Full, Pledge, Quotas};
use self::registry::Registry;
use self::sales::SalesBook;
use self::sku::KeepHouse;
use self::sync::Syncer;
use crate::domain::command::Counted;
use crate::domain::joint::{JointRefusal, Touched};
use crate::domain::{
    Action, Event, EventKind, Item, Level, Principal, Product, Reason, Refusal, Request, Reservation, ReservationId,
    Role, Scope, Sku, Stock, StoreId, SyncSchedule, SyncStatus, Timestamp,
};
use crate::journal::record::Digest;
use crate::journal::stores::KnownStores;
use crate::journal::{
    Fingerprint, FoundReservations, HistoryFilter, ItemFilter, Journal, JournalError, KeyHash, ProductFilter, Receipt,
    ReceiptView, ReservationFilter, ReservationPlace,
};

#[derive(Clone, Debug)]
pub struct Settings {
    /// Commands that may wait for one SKU; more are refused.
    pub queue_limit: usize,
    /// An actor that has had nothing to do for so long is stopped.
    pub idle_after: Duration,
    /// A changed SKU's snapshot is written so often, at most.
    pub snapshot_interval: Duration,
    pub snapshots_per_second: u32,
    /// Lines that a principal may hold at once; 0: as many as there are.
    pub open_holds: u64,
    /// Only products and stores that the catalogue has are stocked; else their first use makes them.
    pub strict_catalogue: bool,
    /// When the sync runs by itself, as long as nobody has scheduled it.
    pub sync: SyncSchedule,
    /// What the actors do is counted.
    pub is_recording: bool,
}

/// All stock. Cheap to share; lives as long as the process.
pub struct Inventory {
    journal: Arc<dyn Journal>,
    settings: Settings,
    clock: Clock,
    registry: Registry,
    activity: Activity,
    claims: Claims,
    /// Keys by which imports were asked for, of which the log knows nothing; until when they are kept.
    held_keys: DashMap<KeyHash, Timestamp, RandomState>,
    quotas: Quotas,
    deadlines: Deadlines,
    /// Held by a joint step while it takes its places.
    enlisting: Mutex<()>,
    /// One store is deleted at a time.
    deleting_store: tokio::sync::Mutex<()>,
    /// One snapshot at a time: they must never be what the log waits for.
    snapshots: Semaphore,
    sales: Arc<SalesBook>,
    sync: Syncer,
}

/// An idempotency key, and the request that it stands for.
#[derive(Clone, Copy)]
pub struct Keyed {
    pub key: KeyHash,
    pub fingerprint: Fingerprint,
    /// The status of the answer to an event, for the receipt.
    pub status: fn(&Event) -> u16,
}

#[derive(Clone, Copy, Default)]
pub struct Options {
    pub keyed: Option<Keyed>,
    /// Decides, and changes nothing.
    pub dry_run: bool,
    /// The caller chose the id of the reservation that it makes.
    pub chose_reservation: bool,
}

/// A write that took effect, or would.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub event: Arc<Event>,
    /// Its place in the log; a dry run has none.
    pub seq: Option<u64>,
    /// The status of the first answer, if it took effect when its key was first used and not now.
    pub replayed: Option<u16>,
    pub told: Told,
}

impl Outcome {
    /// As someone is told it who sees these stores only; `None` where it is about others too.
    pub fn within(mut self, scope: &Scope) -> Option<Self> {
        if scope.is_all() {
            return Some(self);
        }
        self.told = match self.told {
            Told::Item(item) => Told::Item(Arc::new(Arc::unwrap_or_clone(item).within(scope)?)),
            Told::Reservation(reservation) if !reservation.is_within(scope) => return None,
            told => told,
        };
        self.event.is_within(scope).then_some(self)
    }
}

/// What a write is answered with.
#[derive(Clone, Debug)]
pub enum Told {
    /// What its event tells.
    Event,
    /// The item after it.
    Item(Arc<Item>),
    /// The product after it.
    Product(Arc<Product>),
    /// The reservation after it.
    Reservation(Arc<Reservation>),
    /// What each operation of an atomic batch has touched.
    Operations(Arc<[Touched]>),
    /// How the sync stood after it.
    Sync(Arc<SyncStatus>),
}

/// Why a write has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecuteError {
    Refused(Box<Refusal>),
    RefusedJoint(Box<JointRefusal>),
    /// Of an atomic batch: one of its operations, by its place.
    InOperation {
        index: u32,
        error: Box<ExecuteError>,
    },
    /// The idempotency key stands for another request.
    KeyReused,
    /// The first request with this key is still running.
    KeyInFlight,
    /// Another request is making a reservation of this id.
    ReservationInFlight {
        reservation_id: ReservationId,
    },
    /// A count can be of the last day only.
    CountedAt {
        now: Timestamp,
    },
    /// The store that was to be deleted has stock or holds of this SKU.
    StoreInUse {
        store_id: StoreId,
        sku: Sku,
    },
    /// Too many commands wait for this SKU.
    Overloaded {
        sku: Sku,
    },
    Journal(JournalError),
}

impl ExecuteError {
    pub fn in_operation(index: u32, error: Self) -> Self {
        let error = Box::new(error);
        Self::InOperation { index, error }
    }
}

impl From<JournalError> for ExecuteError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// What became of a write under a key.
#[derive(Clone, Debug)]
pub enum Operation {
    Completed(Outcome),
    /// A batch that is not atomic: those of its operations that took effect, with their places.
    CompletedBatch(Vec<(u32, Outcome)>),
    Pending,
    Unknown,
    NotFound,
}

/// What counts are to be of. One that is not is refused for its form, before anything else is asked.
pub struct LastDay {
    now: Timestamp,
    is_repeat: bool,
}

impl LastDay {
    /// A repeat is let by: it is answered as its first time was, however old its count is by now.
    pub fn check(&self, request: &Request) -> Result<(), ExecuteError> {
        match self.is_repeat {
            true => Ok(()),
            false => count_of_last_day(request, self.now).map(drop),
        }
    }
}

impl Operation {
    /// The role that what it has done takes, where it is of the service's own: of users, service tokens, the catalogue or
    /// schedules.
    pub fn needs(&self) -> Option<Role> {
        match self {
            Self::Completed(outcome) if outcome.event.kind == EventKind::SyncScheduled => Some(Role::Operator),
            Self::Completed(outcome) if outcome.event.kind.is_hidden() => Some(Role::Admin),
            _ => None,
        }
    }

    /// As someone finds it who sees these stores only: what it has done in others, they are not told.
    pub fn within(self, scope: &Scope) -> Self {
        let found = match self {
            Self::Completed(outcome) => outcome.within(scope).map(Self::Completed),
            Self::CompletedBatch(outcomes) => {
                let seen = outcomes
                    .into_iter()
                    .map(|(index, outcome)| Some((index, outcome.within(scope)?)));
                seen.collect::<Option<Vec<_>>>().map(Self::CompletedBatch)
            }
            Self::Pending | Self::Unknown | Self::NotFound => Some(self),
        };
        found.unwrap_or(Self::NotFound)
    }
}

impl Inventory {
    /// Starts what runs beside the requests; call it within the actix system.
    pub fn start(journal: Arc<dyn Journal>, settings: Settings) -> Arc<Self> {
        let (deadlines, wakeups) = expiry::channel();
        let inventory = Arc::new_cyclic(|inventory| Self {
            sync: Syncer::start(inventory.clone()),
            clock: Clock::starting_at(journal.last_time()),
            sales: SalesBook::start(journal.clone()),
            journal,
            quotas: Quotas::of(settings.open_holds),
            activity: Activity::counted_if(settings.is_recording),
            settings,
            registry: Registry::default(),
            claims: Claims::default(),
            held_keys: DashMap::default(),
            deadlines,
            enlisting: Mutex::default(),
            deleting_store: tokio::sync::Mutex::default(),
            snapshots: Semaphore::new(1),
        });
        actix_web::rt::spawn(expiry::run(Arc::downgrade(&inventory), wakeups));
        actix_web::rt::spawn(stores::run(Arc::downgrade(&inventory)));
        actix_web::rt::spawn(keep_houses(Arc::downgrade(&inventory)));
        actix_web::rt::spawn(activity::run(Arc::downgrade(&inventory)));
        inventory
    }

    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// What was sold.
    pub fn sales(&self) -> &Arc<SalesBook> {
        &self.sales
    }

    /// Whether only products and stores that the catalogue has are stocked.
    pub fn is_strict(&self) -> bool {
        self.settings.strict_catalogue
    }

    /// What decisions are to know of stores.
    fn stores(&self) -> KnownStores<'_> {
        KnownStores::of(self.journal.as_ref(), self.settings.strict_catalogue)
    }

    /// The time of reads and decisions.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The last day, as it is for a write with this key.
    pub async fn last_day(&self, keyed: Option<Keyed>) -> Result<LastDay, ExecuteError> {
        let now = self.clock.now();
        let is_repeat = match keyed {
            Some(Keyed { key, fingerprint, .. }) => {
                // Read before the receipt: a claim ends only after its receipt is there.
                let is_running = self.claims.state(key).is_some();
                let receipt = self.journal.receipt(key, now).await?;
                is_running || receipt.is_some_and(|receipt| receipt.fingerprint == fingerprint)
            }
            None => false,
        };
        Ok(LastDay { now, is_repeat })
    }

    /// Carries a write out, or answers it from the receipt of its first time.
    pub async fn execute(self: &Arc<Self>, mut request: Request, options: Options) -> Result<Outcome, ExecuteError> {
        let keyed = options.keyed.filter(|_| !options.dry_run);
        let key_claim = match keyed {
            Some(keyed) => match self.claim_key(keyed).await? {
                (claim, None) => Some(claim),
                (_, Some(receipt)) => return Ok(self.answer_again(receipt).await?),
            },
            None => None,
        };
        self.hide_reservation(&mut request, false).await?;
        self.check_reservation_exists(&request).await?;
        let id_claim = self.claim_reservation(&mut request, options.chose_reservation).await?;
        let pledge = self.pledge_reserve(&mut request).await?;
        let moved = self.look_back(&request).await?;
        let (reply, answer) = oneshot::channel();
        let (sku, scope) = (request.sku.clone(), request.origin.scope.clone());
        let order = Order {
            writes: smallvec![Write {
                request,
                keyed,
                operation: None,
                moved,
            }],
            dry_run: options.dry_run,
            key_claim,
            id_claims: id_claim.into_iter().collect(),
            pledges: pledge.into_iter().collect(),
            reply: Reply::One(reply),
        };
        let sent = self.registry.send(self, &sku, Task::Write(Box::new(order)));
        sent.map_err(|(error, _)| error)?;
        self.explained(answer.await.unwrap_or_else(|_| Err(actor_is_gone())), &scope)
            .await
    }

    pub async fn level(self: &Arc<Self>, sku: &Sku, store: &StoreId) -> Result<Option<Level>, ExecuteError> {
        loop {
            let now = self.clock.now();
            match self.journal.level(sku, store).await? {
                Some(view) if view.next_deadline.is_some_and(|at| at <= now) => self.touch(sku).await?,
                view => return Ok(view.map(|view| view.level)),
            }
        }
    }

    /// What is left of a SKU in the stores of a scope; `None` where it has no level there.
    pub async fn available(self: &Arc<Self>, sku: &Sku, scope: &Scope) -> Result<Option<u64>, ExecuteError> {
        if let Some(store) = scope.only() {
            return Ok(self.level(sku, store).await?.map(|level| level.available()));
        }
        let item = self.item(sku).await?.and_then(|item| item.within(scope));
        let stocked = item.filter(|item| !item.levels.is_empty());
        Ok(stocked.map(|item| {
            let (quantity, reserved) = item.totals();
            quantity - reserved
        }))
    }

    pub async fn item(self: &Arc<Self>, sku: &Sku) -> Result<Option<Item>, ExecuteError> {
        loop {
            let now = self.clock.now();
            match self.journal.item(sku).await? {
                Some(view) if view.next_deadline.is_some_and(|at| at <= now) => self.touch(sku).await?,
                view => return Ok(view.map(|view| view.item)),
            }
        }
    }

    pub async fn product(&self, sku: &Sku) -> Result<Option<Product>, ExecuteError> {
        Ok(self.journal.product(sku).await?)
    }

    /// Products in order of SKU, each as it is at some moment during the call.
    pub async fn products(
        &self,
        filter: &ProductFilter,
        after: Option<&Sku>,
        limit: usize,
    ) -> Result<Vec<(Sku, Product)>, ExecuteError> {
        Ok(self.journal.products(filter, after, limit).await?)
    }

    /// Items in order of SKU, each as it is at some moment during the call.
    pub async fn items(
        self: &Arc<Self>,
        filter: &ItemFilter,
        after: Option<&Sku>,
        limit: usize,
    ) -> Result<Vec<(Sku, Item)>, ExecuteError> {
        let now = self.clock.now();
        let (mut items, mut after) = (Vec::new(), after.cloned());
        loop {
            let wanted = limit - items.len();
            let found = self.journal.items(filter, after.as_ref(), wanted).await?;
            after = found.last().map(|(sku, _)| sku.clone());
            let is_last = found.len() < wanted;
            for (sku, view) in found {
                let is_over = view.next_deadline.is_some_and(|at| at <= now);
                let item = if is_over {
                    self.item(&sku).await?
                } else {
                    Some(view.item)
                };
                // What has expired meanwhile may have ended a shortage.
                let item = item.filter(|item| !is_over || filter.takes_levels(item));
                items.extend(item.map(|item| (sku, item)));
            }
            if is_last || items.len() == limit {
                return Ok(items);
            }
        }
    }

    /// The item as it stood at a moment that is not to come; `None` where there was none.
    pub async fn item_at(self: &Arc<Self>, sku: &Sku, at: Timestamp) -> Result<Option<Item>, ExecuteError> {
        if self.journal.load(sku).await?.version() == 0 {
            return Ok(None);
        }
        self.settle(sku, at).await?;
        // Read only now: what was under way may have made levels that have a past.
        let now = self.journal.load(sku).await?;
        let filter = HistoryFilter {
            sku: Some(sku.clone()),
            to: Some(at),
            ..HistoryFilter::default()
        };
        let mut past = history::Past::of(sku, &now);
        // Often the last events tell all; what they do not is looked for by itself, however long ago it was.
        for (seq, event) in self.journal.history(filter.clone(), u64::MAX, LAST_EVENTS).await? {
            past.go_back(seq, &event);
        }
        if past.is_incomplete() {
            let filter = self.within_life(filter).await?;
            for missing in past.missing() {
                let filter = missing.narrow(filter.clone());
                for (seq, event) in self.journal.history(filter, u64::MAX, 1).await? {
                    past.go_back(seq, &event);
                }
            }
        }
        if past.has_holds() {
            for expiry in self.next_expiries(sku, past.seq(), at).await? {
                past.expire(&expiry, at);
            }
        }
        Ok(past.item(self.began_at(sku, &now, at).await?))
    }

    /// What the filter takes behind the last deletion of the SKU's product: before it there was another item.
    async fn within_life(&self, filter: HistoryFilter) -> Result<HistoryFilter, JournalError> {
        let ended = HistoryFilter {
            ended: true,
            ..filter.clone()
        };
        let last = self.journal.history(ended, u64::MAX, 1).await?;
        let after = last.first().map_or(0, |(seq, _)| *seq);
        Ok(HistoryFilter { after, ..filter })
    }

    /// When the item began that was there at a moment. Of one that was deleted since, the deletion tells.
    async fn began_at(&self, sku: &Sku, now: &Stock, at: Timestamp) -> Result<Timestamp, JournalError> {
        if at >= now.created_at() {
            return Ok(now.created_at());
        }
        let filter = HistoryFilter {
            sku: Some(sku.clone()),
            ended: true,
            from: Some(Timestamp::from_millis(at.as_millis() + 1)),
            ..HistoryFilter::default()
        };
        let ends = self.journal.history(filter, u64::MAX, usize::MAX).await?;
        let first = ends
            .last()
            .and_then(|(_, event)| event.of_sku(sku).items.first()?.began_at);
        Ok(first.unwrap_or(now.created_at()))
    }

    /// The first expiry of holds behind a place in the log, which may be several events of the same moment. Mostly it is
    /// recorded within a second; that of a service that was down comes later, and is looked for in ever wider spans.
    async fn next_expiries(&self, sku: &Sku, after: u64, at: Timestamp) -> Result<Vec<Arc<Event>>, JournalError> {
        let now = self.clock.now();
        let mut span_seconds = 2;
        loop {
            let to = at.plus_seconds(span_seconds);
            let filter = HistoryFilter {
                sku: Some(sku.clone()),
                expired: true,
                to: Some(to),
                after,
                ..HistoryFilter::default()
            };
            let (mut before, mut first) = (u64::MAX, Vec::new());
            loop {
                let page = self.journal.history(filter.clone(), before, HISTORY_PAGE).await?;
                let Some((seq, earliest)) = page.last() else { break };
                before = *seq;
                let at_first = earliest.at;
                first.extend(page.into_iter().map(|(_, event)| event));
                first.retain(|event: &Arc<Event>| event.at == at_first);
            }
            if !first.is_empty() || to >= now {
                return Ok(first);
            }
            span_seconds *= 10;
        }
    }

    /// Waits until whatever the SKU's actor has decided up to `at` is shown; what it decides from then on is later.
    async fn settle(self: &Arc<Self>, sku: &Sku, at: Timestamp) -> Result<(), ExecuteError> {
        self.clock.after(at).await;
        self.touch(sku).await
    }

    /// Levels of a store in order of SKU, each as it is at some moment during the call.
    pub async fn levels_in(
        self: &Arc<Self>,
        store: &StoreId,
        after: Option<&Sku>,
        limit: usize,
    ) -> Result<Vec<(Sku, Level)>, ExecuteError> {
        let now = self.clock.now();
        let mut levels = Vec::new();
        for (sku, view) in self.journal.levels_in(store, after, limit).await? {
            let is_over = view.next_deadline.is_some_and(|at| at <= now);
            let level = if is_over {
                self.level(&sku, store).await?
            } else {
                Some(view.level)
            };
            levels.extend(level.map(|level| (sku, level)));
        }
        Ok(levels)
    }

    pub async fn operation(&self, key: KeyHash) -> Result<Operation, JournalError> {
        // Read before the receipt: a claim ends only after its receipt is there.
        let claim = self.claims.state(key);
        if let Some(receipt) = self.journal.receipt(key, self.clock.now()).await? {
            match (receipt.of_batch, claim) {
                (false, _) => return Ok(Operation::Completed(self.replay(receipt).await?)),
                (true, None) => return Ok(Operation::CompletedBatch(self.replay_batch(key).await?)),
                // A batch whose first operations are done is not done.
                (true, Some(_)) => {}
            }
        }
        Ok(match claim {
            Some(claims::State::Running) => Operation::Pending,
            Some(claims::State::Unknown) => Operation::Unknown,
            None => Operation::NotFound,
        })
    }

    /// Has the SKU's actor record the holds that are over.
    async fn touch(self: &Arc<Self>, sku: &Sku) -> Result<(), ExecuteError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.registry.send(self, sku, Task::Touch(reply));
        sent.map_err(|(error, _)| error)?;
        answer.await.unwrap_or_else(|_| Err(actor_is_gone()))
    }

    /// The key is this request's alone until its claim is dropped. With it comes the receipt, if the write, or a part
    /// of a batch, has been done before.
    async fn claim_key(&self, keyed: Keyed) -> Result<(Claim, Option<ReceiptView>), ExecuteError> {
        let claim = self.claims.claim(keyed.key).map_err(|state| match state {
            claims::State::Running => ExecuteError::KeyInFlight,
            claims::State::Unknown => {
                let reason = "the first request with this key may or may not have taken effect".to_owned();
                JournalError::Unknown(reason).into()
            }
        })?;
        let now = self.clock.now();
        if self.held_keys.get(&keyed.key).is_some_and(|until| *until > now) {
            return Err(ExecuteError::KeyReused);
        }
        let receipt = self.journal.receipt(keyed.key, now).await?;
        match receipt.filter(|receipt| receipt.fingerprint != keyed.fingerprint) {
            Some(_) => Err(ExecuteError::KeyReused),
            None => Ok((claim, receipt)),
        }
    }

    /// Until then the key stands for what is not in the log.
    fn hold_key(&self, key: KeyHash, until: Timestamp) {
        let now = self.clock.now();
        self.held_keys.retain(|_, until| *until > now);
        self.held_keys.insert(key, until);
    }

    /// Answers a repeat as its first time was answered.
    async fn answer_again(&self, receipt: ReceiptView) -> Result<Outcome, JournalError> {
        let outcome = self.replay(receipt).await?;
        self.activity.note_replay();
        Ok(outcome)
    }

    /// The outcome of a write that was done before, read back from the log.
    async fn replay(&self, receipt: ReceiptView) -> Result<Outcome, JournalError> {
        let ReceiptView { seq, status, .. } = receipt;
        let record = self.journal.record(seq).await?;
        let record = record.ok_or_else(|| JournalError::Damaged(format!("record {seq} is missing from the log")))?;
        let told = match record.receipt {
            Some(receipt) => self.told_then(*receipt, seq).await?,
            None => Told::Event,
        };
        Ok(Outcome {
            event: record.event,
            seq: Some(seq),
            replayed: Some(status),
            told,
        })
    }

    async fn told_then(&self, receipt: Receipt, seq: u64) -> Result<Told, JournalError> {
        if let Some(id) = receipt.reservation {
            let then = self.journal.reservation_at(&id, seq).await?;
            let lost = || JournalError::Damaged(format!("the log does not tell of reservation {id:?} at {seq}"));
            return Ok(Told::Reservation(Arc::new(then.ok_or_else(lost)?)));
        }
        let operations = receipt.operations.map(Told::Operations);
        let product = receipt.product.map(Told::Product);
        let sync = receipt.sync.map(Told::Sync);
        let told = receipt.item.map(Told::Item).or(operations).or(product).or(sync);
        Ok(told.unwrap_or(Told::Event))
    }

    /// A reservation, open or over.
    pub async fn reservation(self: &Arc<Self>, id: &ReservationId) -> Result<Option<Arc<Reservation>>, ExecuteError> {
        loop {
            let now = self.clock.now();
            match self.journal.reservation(id).await? {
                Some(reservation) if reservation.is_due(now) => {
                    let touched = join_all(reservation.held_skus().map(|sku| self.touch(sku))).await;
                    touched.into_iter().collect::<Result<Vec<()>, _>>()?;
                }
                reservation => return Ok(reservation),
            }
        }
    }

    /// Reservations, newest first, each as it is at some moment during the call.
    pub async fn reservations(
        self: &Arc<Self>,
        filter: ReservationFilter,
        before: Option<ReservationPlace>,
        limit: usize,
    ) -> Result<FoundReservations, ExecuteError> {
        let now = self.clock.now();
        let filter = ReservationFilter { now, ..filter };
        let mut found = self.journal.reservations(filter.clone(), before, limit).await?;
        let mut shown = Vec::with_capacity(found.reservations.len());
        for (place, reservation) in found.reservations {
            let reservation = match reservation.is_due(now) {
                true => self.reservation(&place.id).await?,
                false => Some(reservation),
            };
            let fitting = reservation.filter(|reservation| filter.takes(reservation));
            shown.extend(fitting.map(|reservation| (place, reservation)));
        }
        found.reservations = shown;
        Ok(found)
    }

    /// What has moved since a count of the past, as far as the log shows it now.
    async fn look_back(self: &Arc<Self>, request: &Request) -> Result<Option<Moved>, ExecuteError> {
        if self.check_counted_at(request)?.is_none() {
            return Ok(None);
        }
        Ok(Some(self.moved_since(request, Moved::NOTHING).await?))
    }

    fn check_counted_at(&self, request: &Request) -> Result<Option<Counted>, ExecuteError> {
        count_of_last_day(request, self.clock.now())
    }

    /// Adds to `moved` what the log has behind it.
    async fn moved_since(&self, request: &Request, moved: Moved) -> Result<Moved, JournalError> {
        let Some(counted) = request.counted() else {
            return Ok(moved);
        };
        self.clock.after(counted.at).await;
        let until = self.journal.visible();
        let level = self.journal.level(&request.sku, &request.store_id).await?;
        if level.is_none_or(|view| view.level.updated_at <= counted.at) {
            return Ok(Moved { sum: 0, until });
        }
        let filter = HistoryFilter {
            sku: Some(request.sku.clone()),
            store: Some(request.store_id.clone()),
            moved: true,
            from: Some(Timestamp::from_millis(counted.at.as_millis() + 1)),
            after: moved.until,
            ..HistoryFilter::default()
        };
        let (mut before, mut sum) = (until + 1, moved.sum);
        loop {
            let found = self.journal.history(filter.clone(), before, HISTORY_PAGE).await?;
            let changes = found.iter().flat_map(|(_, event)| &event.changes);
            let moves = changes.filter(|change| filter.takes_change(change));
            sum = moves.fold(sum, |sum, change| sum.saturating_add(change.moved()));
            match found.last() {
                Some((last, _)) if found.len() == HISTORY_PAGE => before = *last,
                _ => return Ok(Moved { sum, until }),
            }
        }
    }

    /// An id that a client chose is its own alone while the reservation is made; one of ours is new.
    async fn claim_reservation(&self, request: &mut Request, is_chosen: bool) -> Result<Option<Claim>, ExecuteError> {
        let Action::Reserve(reserve) = &mut request.action else {
            return Ok(None);
        };
        if !is_chosen {
            return Ok(None);
        }
        let (claim, is_taken) = self.claim_id(&reserve.reservation_id).await?;
        reserve.is_taken = is_taken;
        Ok(Some(claim))
    }

    /// What it would hold is pledged, or the request told that it cannot be had.
    async fn pledge_reserve(&self, request: &mut Request) -> Result<Option<Pledge>, ExecuteError> {
        let Action::Reserve(reserve) = &mut request.action else {
            return Ok(None);
        };
        let asked = self.ask_quota(&request.origin.by, 1).await?;
        Ok(asked.unwrap_or_else(|Full { limit, .. }| {
            reserve.over_quota = Some(limit);
            None
        }))
    }

    async fn ask_quota(&self, by: &Principal, lines: u64) -> Result<Asked, JournalError> {
        self.quotas.ask(&*self.journal, &self.deadlines, by, lines).await
    }

    /// With the claim comes whether there is or was a reservation of this id.
    async fn claim_id(&self, id: &ReservationId) -> Result<(Claim, bool), ExecuteError> {
        let digest = Digest::of(&[b"reservation", id.as_str().as_bytes()]);
        let Ok(claim) = self.claims.claim(digest) else {
            let reservation_id = id.clone();
            return Err(ExecuteError::ReservationInFlight { reservation_id });
        };
        let is_taken = self.journal.reservation(id).await?.is_some();
        Ok((claim, is_taken))
    }

    /// Refuses at once what names a reservation that is nowhere; a SKU knows only its own. That there is no
    /// such level is for the SKU to say.
    async fn check_reservation_exists(&self, request: &Request) -> Result<(), ExecuteError> {
        let Action::ReleaseReservation {
            reservation_id,
            is_hidden,
        } = &request.action
        else {
            return Ok(());
        };
        let is_known = !is_hidden && self.journal.reservation(reservation_id).await?.is_some();
        if is_known || self.journal.level(&request.sku, &request.store_id).await?.is_none() {
            return Ok(());
        }
        let reason = Reason::NoReservation {
            reservation_id: reservation_id.clone(),
        };
        let (sku, store_id) = (request.sku.clone(), request.store_id.clone());
        let resource = request.resource;
        Err(ExecuteError::Refused(Box::new(Refusal {
            sku,
            store_id,
            resource,
            reason,
        })))
    }

    /// For a caller who does not see all stores, a reservation that is not wholly in theirs is none. One that is not
    /// there yet is none either, unless they make it themselves, in the same batch.
    async fn hide_reservation(&self, request: &mut Request, makes_it: bool) -> Result<(), JournalError> {
        let Request { action, origin, .. } = request;
        if let Action::ReleaseReservation {
            reservation_id,
            is_hidden,
        } = action
            && !origin.scope.is_all()
        {
            let found = self.journal.reservation(reservation_id).await?;
            *is_hidden = found.map_or(!makes_it, |reservation| !reservation.is_within(&origin.scope));
        }
        Ok(())
    }

    async fn explained(
        self: &Arc<Self>,
        answer: Result<Outcome, ExecuteError>,
        scope: &Scope,
    ) -> Result<Outcome, ExecuteError> {
        match answer {
            Err(ExecuteError::Refused(refusal)) => {
                let explained = self.explain(*refusal, scope).await?;
                Err(ExecuteError::Refused(Box::new(explained)))
            }
            other => other,
        }
    }

    /// What a single SKU cannot tell of a reservation, the directory can, to someone who sees it.
    async fn explain(self: &Arc<Self>, refusal: Refusal, scope: &Scope) -> Result<Refusal, ExecuteError> {
        let Reason::NoHold { reservation_id } = refusal.reason else {
            return Ok(refusal);
        };
        let reservation = self.reservation(&reservation_id).await?;
        let reservation = reservation.filter(|reservation| reservation.is_within(scope));
        let holds_now = |reservation: &Reservation| {
            let line = reservation.line(&refusal.sku, &refusal.store_id);
            line.is_some_and(|line| line.held > 0)
        };
        let reason = match reservation {
            None => Reason::NoReservation { reservation_id },
            // It was made after this was decided.
            Some(reservation) if holds_now(&reservation) => Reason::NoReservation { reservation_id },
            Some(reservation) if reservation.is_active() => Reason::NoHold { reservation_id },
            Some(reservation) => Reason::ReservationNotActive {
                reservation_id,
                status: reservation.status,
            },
        };
        Ok(Refusal { reason, ..refusal })
    }
}

/// Actors that are asked to keep house at the same time.
const ASKED_AT_ONCE: usize = 256;

/// Asks every actor to keep house once in an interval, some at a time. Runs until the inventory is gone.
async fn keep_houses(inventory: Weak<Inventory>) {
    while let Some((actors, interval)) = inventory.upgrade().map(|inventory| {
        let interval = inventory.settings.snapshot_interval;
        (inventory.registry.actors(), interval)
    }) {
        let rounds = actors.len().div_ceil(ASKED_AT_ONCE).max(1);
        let pause = interval / u32::try_from(rounds).unwrap_or(u32::MAX);
        for some in actors.chunks(ASKED_AT_ONCE) {
            // One that is too busy to hear it has no time for it either.
            some.iter().for_each(|actor| drop(actor.try_send(KeepHouse)));
            tokio::time::sleep(pause).await;
        }
        if actors.is_empty() {
            tokio::time::sleep(interval).await;
        }
    }
}

/// Events that are read at a time where a sum or a state is made from the log.
const HISTORY_PAGE: usize = 1000;

/// Of an item's past, so many of its events are read at first.
const LAST_EVENTS: usize = 16;

/// An id of our own making: UUIDv7 (RFC 9562), without the counter that threads would contend for.
pub fn new_id() -> Uuid {
    Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext))
}

/// The count of the request, if it is one of the past.
fn count_of_last_day(request: &Request, now: Timestamp) -> Result<Option<Counted>, ExecuteError> {
    match request.counted() {
        Some(counted) if !counted.is_of_last_day(now) => Err(ExecuteError::CountedAt { now }),
        counted => Ok(counted),
    }
}

fn actor_is_gone() -> ExecuteError {
    JournalError::Unknown("the SKU's actor ended before it answered".into()).into()
}
