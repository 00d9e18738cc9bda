//! Many writes in one request, each standing for itself: those on different SKUs run side by side, those
//! on the same SKU in their order. Each has a receipt of its own, so that a repeat applies only what lacks one.

use std::collections::HashSet;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use smallvec::smallvec;

use super::gathering::Gathering;
use super::order::{Moved, Order, Reply, Task, Write};
use super::quota::{Full, Pledge};
use super::{Claim, ExecuteError, Inventory, Keyed, Outcome, actor_is_gone};
use crate::domain::command::Reserve;
use crate::domain::{Action, Request, ReservationId};
use crate::journal::{JournalError, KeyHash};

/// The most operations that a batch may have.
pub const MAX_OPERATIONS: usize = 10_000;

pub struct Operation {
    /// Its place in the batch.
    pub index: u32,
    pub request: Request,
    pub chose_reservation: bool,
}

/// One for each operation, with its place.
pub type Outcomes = Vec<(u32, Result<Outcome, ExecuteError>)>;

impl Operation {
    /// The id that it has chosen for the reservation that it makes.
    fn chosen_id(&self) -> Option<&ReservationId> {
        match &self.request.action {
            Action::Reserve(reserve) if self.chose_reservation => Some(&reserve.reservation_id),
            _ => None,
        }
    }
}

/// Those of the operations that are to hold something.
pub fn reserves(operations: &mut [Operation]) -> Vec<&mut Reserve> {
    let reserves = operations
        .iter_mut()
        .filter_map(|operation| match &mut operation.request.action {
            Action::Reserve(reserve) => Some(reserve),
            _ => None,
        });
    reserves.collect()
}

/// The operations on their way to the actors of their SKUs: an order for each SKU, as these come first.
struct Shares {
    #[expect(
        clippy::vec_box,
        reason = "they go on in their boxes, and would else be copied into them"
    )]
    orders: Vec<Box<Order>>,
    /// Their places.
    by_sku: HashTable<usize>,
    hasher: RandomState,
    gathering: Arc<Gathering>,
    dry_run: bool,
}

impl Shares {
    /// Of about so many SKUs.
    fn of(skus: usize, dry_run: bool) -> Self {
        Self {
            orders: Vec::with_capacity(skus),
            by_sku: HashTable::with_capacity(skus),
            hasher: RandomState::default(),
            gathering: Gathering::of(skus),
            dry_run,
        }
    }

    fn add(&mut self, write: Write, id_claim: Option<Claim>, pledge: Option<Pledge>) {
        let sku = &write.request.sku;
        let (hasher, orders) = (&self.hasher, &mut self.orders);
        let hash_of = |at: &usize| hasher.hash_one(orders[*at].sku());
        let is_there = |at: &usize| orders[*at].sku() == Some(sku);
        match self.by_sku.entry(hasher.hash_one(Some(sku)), is_there, hash_of) {
            Entry::Occupied(at) => {
                let order = &mut orders[*at.get()];
                order.writes.push(write);
                order.id_claims.extend(id_claim);
                order.pledges.extend(pledge);
            }
            Entry::Vacant(place) => {
                place.insert(orders.len());
                orders.push(Box::new(Order {
                    writes: smallvec![write],
                    dry_run: self.dry_run,
                    key_claim: None,
                    id_claims: id_claim.into_iter().collect(),
                    pledges: pledge.into_iter().collect(),
                    reply: Reply::Batch(self.gathering.slot()),
                }));
            }
        }
    }
}

impl Inventory {
    /// Carries out what has not been done under the same key before. It goes on when the caller goes away.
    pub async fn execute_each(
        self: &Arc<Self>,
        operations: Vec<Operation>,
        keyed: Option<Keyed>,
        dry_run: bool,
    ) -> Result<Outcomes, ExecuteError> {
        let inventory = self.clone();
        let task = async move {
            inventory
                .run_batch(operations, keyed.filter(|_| !dry_run), dry_run)
                .await
        };
        actix_web::rt::spawn(task)
            .await
            .unwrap_or_else(|_| Err(actor_is_gone()))
    }

    async fn run_batch(
        self: &Arc<Self>,
        operations: Vec<Operation>,
        keyed: Option<Keyed>,
        dry_run: bool,
    ) -> Result<Outcomes, ExecuteError> {
        let asked: Vec<u32> = operations.iter().map(|operation| operation.index).collect();
        let mut outcomes = Outcomes::with_capacity(operations.len());
        let (claim, operations) = match keyed {
            None => (None, operations),
            Some(keyed) => {
                let (claim, receipt) = self.claim_key(keyed).await?;
                let left = match receipt {
                    None => operations,
                    Some(_) => self.take_done(operations, keyed, &mut outcomes).await?,
                };
                (Some(claim), left)
            }
        };
        let scope = operations
            .first()
            .map(|operation| operation.request.origin.scope.clone());
        let scope = scope.unwrap_or_default();
        let mut left = operations;
        let pledge = self.pledge_all(&mut left).await?;
        while !left.is_empty() {
            let mut shares = Shares::of(left.len(), dry_run);
            left = self
                .share_out(left, pledge.is_some(), keyed, &mut shares, &mut outcomes)
                .await;
            for (place, answer) in self.run_shares(shares).await {
                outcomes.push((place, self.explained(answer, &scope).await));
            }
        }
        outcomes.sort_unstable_by_key(|(place, _)| *place);
        if outcomes.len() < asked.len() {
            add_unanswered(&asked, &mut outcomes);
        }
        let is_unknown = |(_, outcome): &(u32, Result<Outcome, ExecuteError>)| {
            matches!(outcome, Err(ExecuteError::Journal(JournalError::Unknown(_))))
        };
        if let Some(claim) = claim.filter(|_| outcomes.iter().any(is_unknown)) {
            claim.becomes_unknown();
        }
        Ok(outcomes)
    }

    /// Answers what has been done before; returns the rest.
    async fn take_done(
        &self,
        operations: Vec<Operation>,
        keyed: Keyed,
        outcomes: &mut Outcomes,
    ) -> Result<Vec<Operation>, ExecuteError> {
        let now = self.clock.now();
        let mut rest = Vec::new();
        for operation in operations {
            let id = keyed.key.of_operation(operation.index);
            match self.journal.receipt(id, now).await? {
                Some(receipt) => outcomes.push((operation.index, Ok(self.answer_again(receipt).await?))),
                None => rest.push(operation),
            }
        }
        Ok(rest)
    }

    /// Pledges the lines of all its reserves in one go. Where that cannot be, each has to ask for its own.
    async fn pledge_all(&self, operations: &mut [Operation]) -> Result<Option<Option<Pledge>>, ExecuteError> {
        let Some(by) = operations.first().map(|operation| operation.request.origin.by.clone()) else {
            return Ok(None);
        };
        let lines = reserves(operations).len() as u64;
        let asked = self
            .quotas
            .ask_now(&*self.journal, &by, lines)
            .await?
            .and_then(Result::ok);
        if asked.is_none() {
            self.deadlines.settle().await;
        }
        Ok(asked)
    }

    /// Pledges the line of one of its reserves. `None`: those before it may leave one or not.
    async fn pledge_next(&self, request: &mut Request, is_first: bool) -> Result<Option<Option<Pledge>>, ExecuteError> {
        if is_first {
            return Ok(Some(self.pledge_reserve(request).await?));
        }
        let Action::Reserve(reserve) = &mut request.action else {
            return Ok(Some(None));
        };
        let asked = self.quotas.ask_now(&*self.journal, &request.origin.by, 1).await?;
        Ok(asked.map(|asked| {
            asked.unwrap_or_else(|Full { limit, .. }| {
                reserve.over_quota = Some(limit);
                None
            })
        }))
    }

    /// Puts the operations into orders by SKU, and returns those that must wait for others: what makes a reservation of
    /// the same id as an earlier one, or may not be left a line by those before it, is to see what came of them, and what
    /// follows it on its SKU keeps behind it.
    async fn share_out(
        self: &Arc<Self>,
        operations: Vec<Operation>,
        are_pledged: bool,
        keyed: Option<Keyed>,
        shares: &mut Shares,
        outcomes: &mut Outcomes,
    ) -> Vec<Operation> {
        let mut later = Vec::new();
        let (mut chosen, mut held_back) = (HashSet::new(), HashSet::new());
        let mut has_pledged = false;
        for mut operation in operations {
            let is_chosen_again = operation.chosen_id().is_some_and(|id| !chosen.insert(id.clone()));
            if is_chosen_again || held_back.contains(&operation.request.sku) {
                held_back.insert(operation.request.sku.clone());
                later.push(operation);
                continue;
            }
            let pledged = match are_pledged {
                true => Ok(Some(None)),
                false => self.pledge_next(&mut operation.request, !has_pledged).await,
            };
            let pledge = match pledged {
                Ok(Some(pledge)) => pledge,
                Ok(None) => {
                    held_back.insert(operation.request.sku.clone());
                    later.push(operation);
                    continue;
                }
                Err(refused) => {
                    outcomes.push((operation.index, Err(refused)));
                    continue;
                }
            };
            has_pledged |= pledge.is_some();
            let Operation {
                index,
                mut request,
                chose_reservation,
            } = operation;
            let id_claim = match self.claim_reservation(&mut request, chose_reservation).await {
                Ok(claim) => claim,
                Err(refused) => {
                    outcomes.push((index, Err(refused)));
                    continue;
                }
            };
            let makes_it = request.released().is_some_and(|id| chosen.contains(id));
            if let Err(error) = self.hide_reservation(&mut request, makes_it).await {
                outcomes.push((index, Err(error.into())));
                continue;
            }
            let moved = match self.check_counted_at(&request) {
                Ok(counted) => counted.map(|_| Moved::NOTHING),
                Err(refused) => {
                    outcomes.push((index, Err(refused)));
                    continue;
                }
            };
            let write = Write {
                request,
                keyed,
                operation: Some(index),
                moved,
            };
            shares.add(write, id_claim, pledge);
        }
        later
    }

    async fn run_shares(self: &Arc<Self>, Shares { orders, gathering, .. }: Shares) -> Outcomes {
        if orders.is_empty() {
            return Outcomes::new();
        }
        for order in orders {
            let Some(sku) = order.sku().cloned() else { continue };
            let sent = self.registry.send(self, &sku, Task::Write(order));
            if let Err((error, Task::Write(order))) = sent {
                order.answer_all(&error);
            }
        }
        gathering.run(&self.journal).await
    }

    /// The operations of a batch that took effect, found by its key.
    pub(super) async fn replay_batch(&self, key: KeyHash) -> Result<Vec<(u32, Outcome)>, JournalError> {
        let now = self.clock.now();
        let mut done = Vec::new();
        for index in 0..MAX_OPERATIONS as u32 {
            if let Some(receipt) = self.journal.receipt(key.of_operation(index), now).await? {
                done.push((index, self.replay(receipt).await?));
            }
        }
        Ok(done)
    }
}

/// What an actor that ended by a defect has not answered.
fn add_unanswered(asked: &[u32], outcomes: &mut Outcomes) {
    let answered: Vec<u32> = outcomes.iter().map(|(place, _)| *place).collect();
    let missing = asked.iter().filter(|place| answered.binary_search(place).is_err());
    outcomes.extend(missing.map(|place| (*place, Err(actor_is_gone()))));
    outcomes.sort_unstable_by_key(|(place, _)| *place);
}
