//! Steps over several SKUs at once: carts, what becomes of them, and atomic batches.
//!
//! A joint step takes its places with the actors of all its SKUs in one go, so that any two steps stand in the same order
//! with every actor that both of them want: no two can wait for each other. An actor whose turn it is lends its state. The
//! step that has all of them decides, hands one record with everything to the log, and gives the states back, whereupon the
//! actors go on: what they decide next stands behind the record in the log's queue.
//!
//! The step is a task of its own: a client that goes away ends its request, and not the step.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use actix::Message;
use futures_util::future::join_all;
use tokio::sync::Notify;

use super::batch::{self, Operation};
use super::debt::{Debt, Outstanding, Returned};
use super::order::Moved;
use super::quota::Pledge;
use super::registry::Place;
use super::sku::{State, expire_due};
use super::{Claim, ExecuteError, Inventory, Keyed, Outcome, Told, actor_is_gone};
use crate::domain::joint::{Cart, CartLine, Joint, JointAction, JointRefusal, JointRequest, Stocks, decide_joint};
use crate::domain::{
    Action, EntryKey, Event, Origin, Request, Reservation, ReservationId, Scope, Sku, Stock, Timestamp,
};
use crate::journal::{Append, JournalError, Receipt, Record};

/// What a caller asks, before it is known what the reservation that it names holds.
pub enum Ask {
    Reserve {
        cart: Cart,
        /// The caller chose the reservation's id.
        is_chosen: bool,
        replaces: Option<ReservationId>,
    },
    Commit {
        id: ReservationId,
        part: Option<Vec<CartLine>>,
        note: Option<String>,
    },
    Release {
        id: ReservationId,
        part: Option<Vec<CartLine>>,
        note: Option<String>,
    },
    Extend {
        id: ReservationId,
        ttl_seconds: u64,
    },
    Batch(Vec<Operation>),
    /// Counts that a store reports.
    Push(Vec<Operation>),
}

/// Where the states that a step needs come together.
struct Muster {
    state: Mutex<Mustered>,
    /// All are there, or one will not come.
    complete: Notify,
}

struct Mustered {
    loans: Vec<Option<Loan>>,
    missing: usize,
    failure: Option<JournalError>,
}

/// A step's place with one of its actors.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Seat {
    muster: Arc<Muster>,
    index: usize,
    place: Option<Place>,
}

/// A SKU's state in the hands of a step. Dropped, the state is lost, and the actor loads it anew.
struct Loan {
    /// Until it is over.
    outstanding: Option<Arc<Outstanding>>,
    state: Option<State>,
    /// Something that it rests on is in flight.
    is_ahead: bool,
    /// Something that changes it is to be appended.
    is_changed: bool,
    /// As long as it is there, the actor is not stopped.
    _place: Option<Place>,
}

impl Seat {
    pub fn take(mut self, state: State, is_ahead: bool, outstanding: Arc<Outstanding>) {
        let loan = Loan {
            outstanding: Some(outstanding),
            state: Some(state),
            is_ahead,
            is_changed: false,
            _place: self.place.take(),
        };
        let mut state = self.muster.state();
        if state.failure.is_some() {
            drop(state);
            return loan.give_back();
        }
        state.loans[self.index] = Some(loan);
        state.missing -= 1;
        let is_complete = state.missing == 0;
        drop(state);
        if is_complete {
            self.muster.complete.notify_one();
        }
    }

    pub fn refuse(self, error: JournalError) {
        self.muster.fail(error);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // With its place still here nobody has taken it: its actor is gone.
        if self.place.is_some() {
            let reason = "the actor of a SKU ended before it took part".to_owned();
            self.muster.fail(JournalError::Unavailable(reason));
        }
    }
}

impl Muster {
    fn of(count: usize) -> Arc<Self> {
        let mut loans = Vec::new();
        loans.resize_with(count, || None);
        let state = Mustered {
            loans,
            missing: count,
            failure: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            complete: Notify::new(),
        })
    }

    fn fail(&self, error: JournalError) {
        let loans = {
            let mut state = self.state();
            state.failure.get_or_insert(error);
            std::mem::take(&mut state.loans)
        };
        loans.into_iter().flatten().for_each(Loan::give_back);
        self.complete.notify_one();
    }

    async fn wait(&self) -> Result<Vec<Loan>, JournalError> {
        loop {
            {
                let mut state = self.state();
                if let Some(failure) = &state.failure {
                    return Err(failure.clone());
                }
                if state.missing == 0 {
                    return Ok(std::mem::take(&mut state.loans).into_iter().flatten().collect());
                }
            }
            self.complete.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, Mustered> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loan {
    /// Ends the loan; the state has in it what the log has in its queue.
    fn give_back(mut self) {
        self.end();
    }

    /// The same, after an append of what was decided was queued; the actor hears how that ends.
    fn give_back_appended(mut self) -> Option<Debt> {
        self.outstanding.iter().for_each(|outstanding| outstanding.queue());
        self.end().map(Debt::queued_for)
    }

    fn end(&mut self) -> Option<Arc<Outstanding>> {
        let outstanding = self.outstanding.take()?;
        outstanding.give_back(Returned {
            state: self.state.take(),
            is_changed: self.is_changed,
        });
        Some(outstanding)
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // Of one that was not given back, what was made of the state is lost.
        if self.outstanding.is_some() {
            self.state = None;
            self.end();
        }
    }
}

/// The states of a step, in order of SKU; its loans stand in the same order.
struct Borrowed {
    stocks: Stocks,
    loans: Vec<Loan>,
    grounds: Vec<(Sku, u64)>,
    /// The versions of stores that the decision rests on.
    entry_grounds: Vec<(EntryKey, u64)>,
}

impl Borrowed {
    fn of(skus: Vec<Sku>, mut loans: Vec<Loan>) -> Self {
        // The rest of the state waits in its loan.
        let stocks = loans
            .iter_mut()
            .map(|loan| loan.state.as_mut().map(|state| std::mem::take(&mut state.stock)));
        let stocks: Vec<(Sku, Stock)> = skus.into_iter().zip(stocks.map(Option::unwrap_or_default)).collect();
        Self {
            grounds: stocks
                .iter()
                .map(|(sku, stock)| (sku.clone(), stock.version()))
                .collect(),
            entry_grounds: Vec::new(),
            stocks: Stocks::of(stocks),
            loans,
        }
    }

    /// Something that a state rests on is in flight.
    fn is_ahead(&self) -> bool {
        self.loans.iter().any(|loan| loan.is_ahead)
    }

    fn expire(&mut self, now: Timestamp) -> Vec<Record> {
        let mut records = Vec::new();
        for ((sku, stock), loan) in self.stocks.iter_mut().zip(&mut self.loans) {
            let before = records.len();
            expire_due(sku, stock, now, &mut records);
            loan.is_changed = records.len() > before;
        }
        records
    }

    fn evolve(&mut self, event: &Event) {
        let mut parts = event.parts().peekable();
        for ((sku, stock), loan) in self.stocks.iter_mut().zip(&mut self.loans) {
            if let Some((_, part)) = parts.next_if(|(touched, _)| *touched == sku) {
                stock.evolve_part(&part, event);
                loan.is_changed = true;
            }
        }
    }

    /// What the reservation of the request, if it has one, holds by the books of the SKUs is what it says itself. It does
    /// not while something that changes it is in flight.
    fn agrees_with(&self, request: &mut JointRequest) -> bool {
        let Some(reservation) = request.reservation_mut() else {
            return true;
        };
        // What it says to hold no more, it does not.
        let mut held = reservation.lines.iter().filter(|line| line.held > 0);
        held.all(|line| {
            let holds = self.stocks.get(&line.sku).and_then(Stock::holds);
            let hold = holds.and_then(|holds| holds.get(&reservation.reservation_id, &line.store_id));
            hold.is_some_and(|hold| hold.held == line.held && hold.expires_at == reservation.expires_at)
        })
    }

    fn give_back(self, inventory: &Inventory) {
        self.end(inventory, Loan::give_back);
    }

    fn end<T>(self, inventory: &Inventory, end: impl Fn(Loan) -> T) -> Vec<T> {
        let loans = self.loans.into_iter().zip(self.stocks.into_all());
        let ended = loans.map(|(mut loan, (sku, stock))| {
            if let Some(state) = &mut loan.state {
                state.stock = stock;
                state.tell_deadline(&sku, inventory);
            }
            end(loan)
        });
        ended.collect()
    }
}

/// What a step has been granted of its caller's quota.
#[derive(Default)]
struct Pledged {
    _pledge: Option<Pledge>,
    /// Lines of a reservation that it replaces, which were counted as free.
    given_back: u64,
}

/// What became of one attempt.
enum Attempt {
    Done(Outcome),
    /// Something that it rested on has failed, or its key was used meanwhile.
    Again,
}

impl Inventory {
    /// Carries a joint step out, or answers it from the receipt of its first time. It goes on when the caller goes away.
    pub async fn execute_joint(
        self: &Arc<Self>,
        ask: Ask,
        origin: Arc<Origin>,
        keyed: Option<Keyed>,
        dry_run: bool,
    ) -> Result<Outcome, ExecuteError> {
        let inventory = self.clone();
        let step = async move {
            inventory
                .run_joint(ask, origin, keyed.filter(|_| !dry_run), dry_run)
                .await
        };
        actix_web::rt::spawn(step)
            .await
            .unwrap_or_else(|_| Err(actor_is_gone()))
    }

    async fn run_joint(
        self: &Arc<Self>,
        mut ask: Ask,
        origin: Arc<Origin>,
        keyed: Option<Keyed>,
        dry_run: bool,
    ) -> Result<Outcome, ExecuteError> {
        let mut key_claim = None;
        if let Some(keyed) = keyed {
            let (claim, receipt) = self.claim_key(keyed).await?;
            if let Some(receipt) = receipt {
                return Ok(self.answer_again(receipt).await?);
            }
            key_claim = Some(claim);
        }
        let _id_claims = self.claim_ids(&mut ask).await?;
        let looked_back = self.look_back_each(&ask).await?;
        loop {
            let pledged = self.pledge_lines(&mut ask, &origin).await?;
            match self
                .attempt(&ask, &looked_back, &pledged, &origin, keyed, dry_run)
                .await
            {
                Ok(Attempt::Done(outcome)) => return Ok(outcome),
                Ok(Attempt::Again) => {}
                Err(error) => {
                    if let (ExecuteError::Journal(JournalError::Unknown(_)), Some(claim)) = (&error, key_claim) {
                        claim.becomes_unknown();
                    }
                    return Err(error);
                }
            }
            if let Some(keyed) = keyed
                && let Some(receipt) = self.journal.receipt(keyed.key, self.clock.now()).await?
            {
                return Ok(self.answer_again(receipt).await?);
            }
        }
    }

    async fn attempt(
        self: &Arc<Self>,
        ask: &Ask,
        looked_back: &[Moved],
        pledged: &Pledged,
        origin: &Arc<Origin>,
        keyed: Option<Keyed>,
        dry_run: bool,
    ) -> Result<Attempt, ExecuteError> {
        let mut request = JointRequest {
            action: self.action(ask).await?,
            origin: origin.clone(),
        };
        let skus = request.skus();
        let (began, width) = (Instant::now(), skus.len());
        let borrowed = self.borrow(skus).await?;
        let Some(borrowed) = self.agree(ask, &mut request, borrowed).await? else {
            return Ok(Attempt::Again);
        };
        // It was to give back more lines than it has left, and fewer were pledged therefore.
        if request
            .reservation_mut()
            .is_some_and(|reservation| reservation.open_lines() < pledged.given_back)
        {
            return Ok(self.again(borrowed));
        }
        let Some(mut borrowed) = self.count(looked_back, &mut request, borrowed).await? else {
            return Ok(Attempt::Again);
        };
        let now = self.clock.now();
        let mut records = borrowed.expire(now);
        let place = records.len() as u64;
        let answer = self.decide_on(&mut borrowed, &mut request, &records, now);
        if let Ok((event, told)) = &answer
            && !dry_run
        {
            borrowed.evolve(event);
            records.push(Record {
                event: event.clone(),
                receipt: keyed.map(|keyed| Box::new(receipt(keyed, event, told))),
            });
        }
        let first_seq = if records.is_empty() && !borrowed.is_ahead() {
            borrowed.give_back(self);
            None
        } else {
            match self.append(borrowed, records).await {
                Ok(first_seq) => Some(first_seq),
                Err(JournalError::Conflict) => return Ok(Attempt::Again),
                // What it rested on is lost, or may be; of the step itself, that is so only if it was in the append.
                Err(JournalError::Unknown(reason)) if dry_run || answer.is_err() => {
                    return Err(JournalError::Unavailable(reason).into());
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.activity.note_joint_step(width, began);
        match answer {
            Ok((event, told)) => Ok(Attempt::Done(Outcome {
                event,
                seq: first_seq.filter(|_| !dry_run).map(|first| first + place),
                replayed: None,
                told,
            })),
            Err(refusal) => Err(ExecuteError::RefusedJoint(Box::new(
                self.explain_joint(refusal, &origin.scope).await?,
            ))),
        }
    }

    /// Sees to it that the reservation of the request and the states that it has lines on are of the same moment. `None`
    /// where they were given back, as something that they rested on has failed.
    async fn agree(
        self: &Arc<Self>,
        ask: &Ask,
        request: &mut JointRequest,
        borrowed: Borrowed,
    ) -> Result<Option<Borrowed>, ExecuteError> {
        if borrowed.agrees_with(request) {
            return Ok(Some(borrowed));
        }
        // Somebody else's step on it is in flight. With the states here nobody can begin another.
        if !self.wait_for(&borrowed).await? {
            borrowed.give_back(self);
            return Ok(None);
        }
        match self.action(ask).await {
            Ok(action) => request.action = action,
            Err(refused) => {
                borrowed.give_back(self);
                return Err(refused);
            }
        }
        if borrowed.agrees_with(request) {
            return Ok(Some(borrowed));
        }
        borrowed.give_back(self);
        let fault = "a reservation and the levels that it holds do not agree; `holdfast verify` tells which";
        Err(JournalError::Damaged(fault.to_owned()).into())
    }

    /// Adds to the counts of the past in the request what has moved since. `None` where the states were given back, as
    /// something that they rested on has failed.
    async fn count(
        self: &Arc<Self>,
        looked_back: &[Moved],
        request: &mut JointRequest,
        borrowed: Borrowed,
    ) -> Result<Option<Borrowed>, ExecuteError> {
        let is_of_past = |request: &Request| request.counted().is_some();
        let requests = request.operations_mut();
        let Some(requests) = requests.filter(|requests| requests.iter().any(is_of_past)) else {
            return Ok(Some(borrowed));
        };
        if !self.wait_for(&borrowed).await? {
            borrowed.give_back(self);
            return Ok(None);
        }
        let counts = requests.iter_mut().zip(looked_back);
        let counts = counts.filter(|(request, _)| is_of_past(request));
        let sums = counts.map(async |(request, before)| {
            let moved = self.moved_since(request, *before).await?;
            request.set_moved(moved.sum);
            Ok::<_, JournalError>(())
        });
        let summed: Result<(), JournalError> = join_all(sums).await.into_iter().collect();
        match summed {
            Ok(()) => Ok(Some(borrowed)),
            Err(error) => {
                borrowed.give_back(self);
                Err(error.into())
            }
        }
    }

    /// Decides on the borrowed states after the events by which `expired` holds have ended.
    fn decide_on(
        &self,
        borrowed: &mut Borrowed,
        request: &mut JointRequest,
        expired: &[Record],
        now: Timestamp,
    ) -> Result<(Arc<Event>, Told), JointRefusal> {
        if let Some(reservation) = request.reservation_mut() {
            for Record { event, .. } in expired {
                reservation.take(&event.holds_of(&reservation.reservation_id), event.at);
            }
        }
        let stores = self.stores();
        let decided = decide_joint(&borrowed.stocks, request, &stores, now);
        borrowed.entry_grounds = stores.into_grounds();
        let is_batch = request.operations_mut().is_some();
        decided.map(|joint| told(joint, is_batch))
    }

    /// The command, with the reservation that it names as it is shown at present.
    async fn action(&self, ask: &Ask) -> Result<JointAction, ExecuteError> {
        Ok(match ask {
            Ask::Reserve { cart, replaces, .. } => {
                let replaces = match replaces {
                    Some(id) => Some(self.named(id).await?),
                    None => None,
                };
                JointAction::Reserve(Cart {
                    replaces,
                    ..cart.clone()
                })
            }
            Ask::Commit { id, part, note } => JointAction::Commit {
                reservation: self.named(id).await?,
                part: part.clone(),
                note: note.clone(),
            },
            Ask::Release { id, part, note } => JointAction::Release {
                reservation: self.named(id).await?,
                part: part.clone(),
                note: note.clone(),
            },
            Ask::Extend { id, ttl_seconds } => JointAction::Extend {
                reservation: self.named(id).await?,
                ttl_seconds: *ttl_seconds,
            },
            Ask::Batch(operations) => {
                JointAction::Batch(operations.iter().map(|operation| operation.request.clone()).collect())
            }
            Ask::Push(operations) => {
                JointAction::Push(operations.iter().map(|operation| operation.request.clone()).collect())
            }
        })
    }

    async fn named(&self, id: &ReservationId) -> Result<Reservation, ExecuteError> {
        let reservation = self.journal.reservation(id).await?.map(Arc::unwrap_or_clone);
        reservation.ok_or_else(|| {
            let reservation_id = id.clone();
            ExecuteError::RefusedJoint(Box::new(JointRefusal::NoReservation { reservation_id }))
        })
    }

    /// Claims the ids that the caller has chosen, and looks whether they are taken.
    async fn claim_ids(&self, ask: &mut Ask) -> Result<Vec<Claim>, ExecuteError> {
        let mut claims = Vec::new();
        match ask {
            Ask::Reserve { cart, is_chosen, .. } if *is_chosen => {
                let (claim, is_taken) = self.claim_id(&cart.reservation_id).await?;
                cart.is_taken = is_taken;
                claims.push(claim);
            }
            Ask::Batch(operations) | Ask::Push(operations) => {
                let mut chosen: HashMap<ReservationId, bool> = HashMap::new();
                for operation in operations {
                    let index = operation.index;
                    let in_operation = |error| ExecuteError::in_operation(index, error);
                    self.check_counted_at(&operation.request).map_err(in_operation)?;
                    let makes_it = operation.request.released().is_some_and(|id| chosen.contains_key(id));
                    self.hide_reservation(&mut operation.request, makes_it).await?;
                    if let Action::Reserve(reserve) = &mut operation.request.action
                        && operation.chose_reservation
                    {
                        let id = reserve.reservation_id.clone();
                        // Of two that choose the same, the first claims it for both.
                        if let Some(is_taken) = chosen.get(&id) {
                            reserve.is_taken = *is_taken;
                            continue;
                        }
                        let (claim, is_taken) = self.claim_id(&id).await.map_err(in_operation)?;
                        reserve.is_taken = is_taken;
                        chosen.insert(id, is_taken);
                        claims.push(claim);
                    }
                }
            }
            _ => {}
        }
        Ok(claims)
    }

    /// Pledges the lines that the step may come to hold, or has it know which of them cannot be had.
    async fn pledge_lines(&self, ask: &mut Ask, origin: &Origin) -> Result<Pledged, ExecuteError> {
        if !self.quotas.bind(&origin.by) {
            return Ok(Pledged::default());
        }
        match ask {
            Ask::Reserve { cart, replaces, .. } => {
                let given_back = match replaces {
                    Some(id) => self.open_lines(id, origin).await?,
                    None => 0,
                };
                let more = cart.line_count().saturating_sub(given_back);
                let asked = self.ask_quota(&origin.by, more).await?;
                cart.over_quota = asked.as_ref().err().map(|full| full.limit);
                let pledge = asked.unwrap_or(None);
                Ok(Pledged {
                    _pledge: pledge,
                    given_back,
                })
            }
            Ask::Batch(operations) | Ask::Push(operations) => {
                let mut reserves = batch::reserves(operations);
                let asked = self.ask_quota(&origin.by, reserves.len() as u64).await?;
                let (limit, free) = match &asked {
                    Ok(_) => (None, reserves.len()),
                    Err(full) => (Some(full.limit), full.free as usize),
                };
                for (place, reserve) in reserves.iter_mut().enumerate() {
                    reserve.over_quota = limit.filter(|_| place >= free);
                }
                let pledge = asked.unwrap_or(None);
                Ok(Pledged {
                    _pledge: pledge,
                    given_back: 0,
                })
            }
            Ask::Commit { .. } | Ask::Release { .. } | Ask::Extend { .. } => Ok(Pledged::default()),
        }
    }

    /// In how many lines the caller's own reservation holds something.
    async fn open_lines(&self, id: &ReservationId, origin: &Origin) -> Result<u64, JournalError> {
        let now = self.clock.now();
        let found = self.journal.reservation(id).await?;
        let own = found.filter(|reservation| reservation.by == origin.by && !reservation.is_due(now));
        Ok(own.map_or(0, |reservation| reservation.open_lines()))
    }

    /// What the log says of the movements since each count of the past, before anybody waits for this step.
    async fn look_back_each(&self, ask: &Ask) -> Result<Vec<Moved>, ExecuteError> {
        let (Ask::Batch(operations) | Ask::Push(operations)) = ask else {
            return Ok(Vec::new());
        };
        let mut moved = Vec::with_capacity(operations.len());
        for Operation { request, .. } in operations {
            moved.push(self.moved_since(request, Moved::NOTHING).await?);
        }
        Ok(moved)
    }

    /// Has the states of all these SKUs lent.
    async fn borrow(self: &Arc<Self>, skus: Vec<Sku>) -> Result<Borrowed, ExecuteError> {
        let entered: Result<Vec<_>, _> = skus.iter().map(|sku| self.registry.enter(self, sku)).collect();
        let entered = entered?;
        // Nobody is to wait with a state in his hands for another to be loaded.
        let started = skus.iter().zip(&entered).filter(|(_, (.., is_new))| *is_new);
        let loaded = join_all(started.map(|(sku, _)| self.touch(sku))).await;
        loaded.into_iter().collect::<Result<Vec<()>, _>>()?;
        let muster = Muster::of(skus.len());
        {
            let _in_one_go = self.enlisting.lock().unwrap_or_else(PoisonError::into_inner);
            for (index, (actor, place, _)) in entered.into_iter().enumerate() {
                actor.do_send(Seat {
                    muster: muster.clone(),
                    index,
                    place: Some(place),
                });
            }
        }
        let loans = muster.wait().await?;
        Ok(Borrowed::of(skus, loans))
    }

    /// Waits until what the states rest on is durable and shown; false where it is lost.
    async fn wait_for(&self, borrowed: &Borrowed) -> Result<bool, ExecuteError> {
        let append = Append::of_stock(borrowed.grounds.clone(), Vec::new());
        match self.journal.append(append).await {
            Ok(_) => Ok(true),
            Err(JournalError::Conflict) => Ok(false),
            // What it stands behind may have happened; this step certainly has not.
            Err(JournalError::Unknown(reason)) => Err(JournalError::Unavailable(reason).into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Queues the records, gives the states back, and waits.
    async fn append(&self, mut borrowed: Borrowed, records: Vec<Record>) -> Result<u64, JournalError> {
        let is_empty = records.is_empty();
        let append = Append {
            entry_grounds: std::mem::take(&mut borrowed.entry_grounds),
            ..Append::of_stock(std::mem::take(&mut borrowed.grounds), records)
        };
        let appended = self.journal.append(append);
        let debts: Vec<Debt> = match is_empty {
            true => {
                borrowed.give_back(self);
                Vec::new()
            }
            false => borrowed
                .end(self, Loan::give_back_appended)
                .into_iter()
                .flatten()
                .collect(),
        };
        let result = appended.await;
        debts
            .into_iter()
            .for_each(|debt| debt.settle(result.as_ref().map(drop)));
        result.map(|appended| appended.first_seq)
    }

    fn again(&self, borrowed: Borrowed) -> Attempt {
        borrowed.give_back(self);
        Attempt::Again
    }

    async fn explain_joint(
        self: &Arc<Self>,
        refusal: JointRefusal,
        scope: &Scope,
    ) -> Result<JointRefusal, ExecuteError> {
        let JointRefusal::Operations(refused) = refusal else {
            return Ok(refusal);
        };
        let mut explained = Vec::with_capacity(refused.len());
        for (index, refusal) in refused {
            explained.push((index, self.explain(refusal, scope).await?));
        }
        Ok(JointRefusal::Operations(explained))
    }
}

/// What the caller is told of it.
fn told(joint: Joint, is_batch: bool) -> (Arc<Event>, Told) {
    let Joint {
        event,
        reservation,
        operations,
    } = joint;
    let made = || {
        let id = event.reservation_id.as_ref()?;
        Reservation::made_by(&event, &event.holds_of(id))
    };
    let told = match is_batch {
        true => Told::Operations(operations.into()),
        false => reservation
            .or_else(made)
            .map_or(Told::Event, |reservation| Told::Reservation(Arc::new(reservation))),
    };
    (Arc::new(event), told)
}

fn receipt(keyed: Keyed, event: &Event, told: &Told) -> Receipt {
    let (reservation, operations) = match told {
        Told::Reservation(reservation) => (Some(reservation.reservation_id.clone()), None),
        Told::Operations(operations) => (None, Some(operations.clone())),
        Told::Event | Told::Item(_) | Told::Product(_) | Told::Sync(_) => (None, None),
    };
    Receipt {
        reservation,
        operations,
        ..Receipt::new(keyed.key, keyed.fingerprint, (keyed.status)(event))
    }
}
