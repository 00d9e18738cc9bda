//! The SKUs at work: an actor owns each, and [`Inventory`] is the one door to all of them.
//!
//! Writes go to the SKU's actor, which decides them in order and appends their events; reads go to
//! the journal, which shows only what is durable. A read that comes after a deadline has the actor
//! record the expiry first, so that what is shown is always what is recorded.

mod claims;
mod clock;
mod expiry;
mod registry;
mod sku;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use uuid::Uuid;

use self::claims::{Claim, Claims};
use self::clock::Clock;
use self::expiry::Deadlines;
use self::registry::Registry;
use self::sku::{Task, Write};
use crate::domain::{Action, Event, Level, Reason, Refusal, Request, ReservationId, ReservationStatus, Sku, StoreId};
use crate::journal::record::Digest;
use crate::journal::{Fingerprint, Journal, JournalError, KeyHash};

#[derive(Clone, Debug)]
pub struct Settings {
    /// Commands that may wait for one SKU; more are refused.
    pub queue_limit: usize,
    /// An actor that has had nothing to do for so long is stopped.
    pub idle_after: Duration,
    /// A changed SKU's snapshot is written so often, at most.
    pub snapshot_interval: Duration,
    pub snapshots_per_second: u32,
}

/// All stock. Cheap to share; lives as long as the process.
pub struct Inventory {
    journal: Arc<dyn Journal>,
    settings: Settings,
    clock: Clock,
    registry: Registry,
    claims: Claims,
    deadlines: Deadlines,
    /// One snapshot at a time: they must never be what the log waits for.
    snapshots: Semaphore,
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
}

/// Why a write has no outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecuteError {
    Refused(Refusal),
    /// The idempotency key stands for another request.
    KeyReused,
    /// The first request with this key is still running.
    KeyInFlight,
    /// Another request is making a reservation of this id.
    ReservationInFlight {
        reservation_id: ReservationId,
    },
    /// Too many commands wait for this SKU.
    Overloaded {
        sku: Sku,
    },
    Journal(JournalError),
}

impl From<JournalError> for ExecuteError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

/// What became of a write under a key.
#[derive(Clone, Debug)]
pub enum Operation {
    Completed { event: Arc<Event>, seq: u64, status: u16 },
    Pending,
    Unknown,
    NotFound,
}

impl Inventory {
    /// Starts what runs beside the requests; call it within the actix system.
    pub fn start(journal: Arc<dyn Journal>, settings: Settings) -> Arc<Self> {
        let (deadlines, wakeups) = expiry::channel();
        let inventory = Arc::new(Self {
            clock: Clock::starting_at(journal.last_time()),
            journal,
            settings,
            registry: Registry::default(),
            claims: Claims::default(),
            deadlines,
            snapshots: Semaphore::new(1),
        });
        actix_web::rt::spawn(expiry::run(Arc::downgrade(&inventory), wakeups));
        inventory
    }

    pub fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// Carries a write out, or answers it from the receipt of its first time.
    pub async fn execute(self: &Arc<Self>, request: Request, options: Options) -> Result<Outcome, ExecuteError> {
        let keyed = options.keyed.filter(|_| !options.dry_run);
        let key_claim = match keyed {
            Some(keyed) => match self.claim_key(keyed).await? {
                Ok(claim) => Some(claim),
                Err(replayed) => return Ok(replayed),
            },
            None => None,
        };
        self.check_reservation_exists(&request).await?;
        let (request, id_claim) = self.claim_reservation(request, options).await?;
        let (reply, answer) = oneshot::channel();
        let sku = request.sku.clone();
        let write = Write {
            request,
            dry_run: options.dry_run,
            keyed,
            key_claim,
            _id_claim: id_claim,
            reply,
        };
        self.registry.send(self, &sku, Task::Write(Box::new(write)))?;
        let answered = answer.await.unwrap_or_else(|_| Err(actor_is_gone()));
        match answered {
            Err(ExecuteError::Refused(refusal)) => Err(ExecuteError::Refused(self.explain(refusal).await?)),
            other => other,
        }
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
            let event = self.event(receipt.seq).await?;
            return Ok(Operation::Completed {
                event,
                seq: receipt.seq,
                status: receipt.status,
            });
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
        self.registry.send(self, sku, Task::Touch(reply))?;
        answer.await.unwrap_or_else(|_| Err(actor_is_gone()))
    }

    /// The key is this request's alone until its claim is dropped; or the write has been done before.
    async fn claim_key(&self, keyed: Keyed) -> Result<Result<Claim, Outcome>, ExecuteError> {
        let claim = match self.claims.claim(keyed.key) {
            Ok(claim) => claim,
            Err(claims::State::Running) => return Err(ExecuteError::KeyInFlight),
            Err(claims::State::Unknown) => {
                let reason = "the first request with this key may or may not have taken effect".to_owned();
                return Err(JournalError::Unknown(reason).into());
            }
        };
        let Some(receipt) = self.journal.receipt(keyed.key, self.clock.now()).await? else {
            return Ok(Ok(claim));
        };
        if receipt.fingerprint != keyed.fingerprint {
            return Err(ExecuteError::KeyReused);
        }
        let event = self.event(receipt.seq).await?;
        Ok(Err(Outcome {
            event,
            seq: Some(receipt.seq),
            replayed: Some(receipt.status),
        }))
    }

    async fn event(&self, seq: u64) -> Result<Arc<Event>, JournalError> {
        let found = self.journal.events(seq - 1, 1).await?;
        let event = found.into_iter().next().map(|(_, event)| Arc::new(event));
        event.ok_or_else(|| JournalError::Damaged(format!("record {seq} is missing from the log")))
    }

    /// An id that a client chose is its own alone while the reservation is made; one of ours is new.
    async fn claim_reservation(
        &self,
        mut request: Request,
        options: Options,
    ) -> Result<(Request, Option<Claim>), ExecuteError> {
        let Action::Reserve(reserve) = &mut request.action else {
            return Ok((request, None));
        };
        if !options.chose_reservation {
            return Ok((request, None));
        }
        let digest = Digest::of(&[b"reservation", reserve.reservation_id.as_str().as_bytes()]);
        let Ok(claim) = self.claims.claim(digest) else {
            return Err(ExecuteError::ReservationInFlight {
                reservation_id: reserve.reservation_id.clone(),
            });
        };
        reserve.is_taken = self.journal.reservation(&reserve.reservation_id).await?.is_some();
        Ok((request, Some(claim)))
    }

    /// Refuses at once what names a reservation that is nowhere; a SKU knows only its own. That there is no
    /// such level is for the SKU to say.
    async fn check_reservation_exists(&self, request: &Request) -> Result<(), ExecuteError> {
        let Action::ReleaseReservation { reservation_id } = &request.action else {
            return Ok(());
        };
        let is_known = self.journal.reservation(reservation_id).await?.is_some();
        if is_known || self.journal.level(&request.sku, &request.store_id).await?.is_none() {
            return Ok(());
        }
        let reason = Reason::NoReservation {
            reservation_id: reservation_id.clone(),
        };
        let (sku, store_id) = (request.sku.clone(), request.store_id.clone());
        Err(ExecuteError::Refused(Refusal { sku, store_id, reason }))
    }

    /// What a single SKU cannot tell of a reservation, the directory can.
    async fn explain(&self, refusal: Refusal) -> Result<Refusal, JournalError> {
        let Reason::NoHold { reservation_id } = refusal.reason else {
            return Ok(refusal);
        };
        let status = self.journal.reservation(&reservation_id).await?;
        let reason = match status {
            None => Reason::NoReservation { reservation_id },
            Some(ReservationStatus::Active) => Reason::NoHold { reservation_id },
            Some(status) => Reason::ReservationNotActive { reservation_id, status },
        };
        Ok(Refusal { reason, ..refusal })
    }
}

/// An id of our own making: UUIDv7 (RFC 9562), without the counter that threads would contend for.
pub fn new_id() -> Uuid {
    Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext))
}

fn actor_is_gone() -> ExecuteError {
    JournalError::Unknown("the SKU's actor ended before it answered".into()).into()
}
