//! Decisions over several SKUs at once: carts, what becomes of them, and atomic batches. All of it or nothing, in one
//! event.
//!
//! Pure, as `decide` is, and on the same terms: holds that are over have been expired before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::command::{Counted, Reserve};
use super::decide::{change, decide_within};
use super::event::Move;
use super::{
    Action, Change, Event, EventKind, HoldChange, HoldStep, ItemChange, Level, Movement, Origin, Refusal, Request,
    Reservation, ReservationId, Sku, Stock, StoreId, Stores, Timestamp,
};

/// The state of every SKU that a request names, in order of SKU.
#[derive(Debug)]
pub struct Stocks(Vec<(Sku, Stock)>);

impl Stocks {
    pub fn of(stocks: impl IntoIterator<Item = (Sku, Stock)>) -> Self {
        let mut stocks: Vec<_> = stocks.into_iter().collect();
        stocks.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self(stocks)
    }

    pub fn get(&self, sku: &Sku) -> Option<&Stock> {
        let found = self.0.binary_search_by(|(s, _)| s.cmp(sku));
        found.ok().map(|i| &self.0[i].1)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&Sku, &mut Stock)> {
        self.0.iter_mut().map(|(sku, stock)| (&*sku, stock))
    }

    pub fn into_all(self) -> impl Iterator<Item = (Sku, Stock)> {
        self.0.into_iter()
    }
}

/// What a caller asks of several SKUs in one step.
#[derive(Clone, Debug)]
pub struct JointRequest {
    pub action: JointAction,
    pub origin: Arc<Origin>,
}

#[derive(Clone, Debug)]
pub enum JointAction {
    Reserve(Cart),
    /// Sells what is held.
    Commit {
        reservation: Reservation,
        part: Option<Vec<CartLine>>,
        note: Option<String>,
    },
    /// Gives back what is held.
    Release {
        reservation: Reservation,
        part: Option<Vec<CartLine>>,
        note: Option<String>,
    },
    Extend {
        reservation: Reservation,
        ttl_seconds: u64,
    },
    /// Operations in their order, each on what those before it have made.
    Batch(Vec<Request>),
    /// The same, of counts that a store reports.
    Push(Vec<Request>),
}

/// A reservation that is to be made.
#[derive(Clone, Debug)]
pub struct Cart {
    pub reservation_id: ReservationId,
    /// A reservation of this id is or was somewhere.
    pub is_taken: bool,
    /// The caller may hold so many lines, and would hold more.
    pub over_quota: Option<u64>,
    pub lines: Vec<CartLine>,
    pub ttl_seconds: Option<u64>,
    pub reference: Option<String>,
    /// What the caller held until now, and gives back in the same step.
    pub replaces: Option<Reservation>,
    /// Holds what there is.
    pub allow_partial: bool,
}

impl Cart {
    /// What it would hold, with lines of the same SKU and store as one.
    pub fn line_count(&self) -> u64 {
        summed(&self.lines).len() as u64
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CartLine {
    pub sku: Sku,
    pub store_id: StoreId,
    pub quantity: u64,
}

/// What a joint step comes to.
#[derive(Clone, Debug)]
pub struct Joint {
    pub event: Event,
    /// The reservation after it, where it was about one that was there before.
    pub reservation: Option<Reservation>,
    /// Of a batch: what each of its operations has touched.
    pub operations: Vec<Touched>,
}

/// What an operation of an atomic batch was, and what of the event it has touched.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Touched {
    /// The kind of event that it would have been by itself.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// Places in the list of changes: of a transfer two.
    pub changes: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation_id: Option<ReservationId>,
}

/// Why nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JointRefusal {
    /// Lines that there is not enough for.
    Lines(Vec<LineRefusal>),
    ReservationExists {
        reservation_id: ReservationId,
    },
    NoReservation {
        reservation_id: ReservationId,
    },
    /// It holds nothing any more.
    ReservationNotActive {
        reservation: Box<Reservation>,
    },
    /// The caller's open reservations may hold so many lines.
    QuotaExceeded {
        limit: u64,
    },
    /// It holds less than what was asked of it in these lines.
    MoreThanHeld {
        reservation: Box<Reservation>,
        lines: Vec<LineRefusal>,
    },
    /// Operations of a batch that were refused, by their places.
    Operations(Vec<(u32, Refusal)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineRefusal {
    pub sku: Sku,
    pub store_id: StoreId,
    pub requested: u64,
    pub fault: LineFault,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineFault {
    /// There is no such level.
    NoLevel,
    Short {
        available: u64,
        reserved: u64,
        next_expiry: Option<Timestamp>,
    },
    /// The reservation holds less of it.
    NotHeld { held: u64 },
    /// Its store is about to be deleted.
    StoreClosing,
}

impl JointRequest {
    /// The SKUs whose state it is decided on, in order, each once.
    pub fn skus(&self) -> Vec<Sku> {
        let of_lines = |lines: &[CartLine]| lines.iter().map(|line| line.sku.clone()).collect::<Vec<_>>();
        let mut skus = match &self.action {
            JointAction::Reserve(cart) => {
                let replaced = cart.replaces.iter().flat_map(Reservation::held_skus);
                let replaced: Vec<Sku> = replaced.cloned().collect();
                [of_lines(&cart.lines), replaced].concat()
            }
            // What it does not hold any more, it never will again.
            JointAction::Commit { reservation, .. }
            | JointAction::Release { reservation, .. }
            | JointAction::Extend { reservation, .. } => reservation.held_skus().cloned().collect(),
            JointAction::Batch(requests) | JointAction::Push(requests) => {
                requests.iter().map(|request| request.sku.clone()).collect()
            }
        };
        skus.sort_unstable();
        skus.dedup();
        skus
    }

    /// The reservation that it is about and that was there before.
    pub fn reservation_mut(&mut self) -> Option<&mut Reservation> {
        match &mut self.action {
            JointAction::Reserve(cart) => cart.replaces.as_mut(),
            JointAction::Commit { reservation, .. }
            | JointAction::Release { reservation, .. }
            | JointAction::Extend { reservation, .. } => Some(reservation),
            JointAction::Batch(_) | JointAction::Push(_) => None,
        }
    }

    /// The operations of a batch or a push.
    pub fn operations_mut(&mut self) -> Option<&mut Vec<Request>> {
        match &mut self.action {
            JointAction::Batch(requests) | JointAction::Push(requests) => Some(requests),
            _ => None,
        }
    }
}

/// What the reservation of the request has held must be what the stocks say.
pub fn decide_joint(
    stocks: &Stocks,
    request: &JointRequest,
    stores: &dyn Stores,
    now: Timestamp,
) -> Result<Joint, JointRefusal> {
    let draft = Draft {
        stocks,
        stores,
        origin: &request.origin,
        now,
        levels: BTreeMap::new(),
        holds: Vec::new(),
    };
    match &request.action {
        JointAction::Reserve(cart) => draft.reserve(cart),
        JointAction::Commit {
            reservation,
            part,
            note,
        } => draft.resolve(reservation, part.as_deref(), HoldStep::Committed, note.clone()),
        JointAction::Release {
            reservation,
            part,
            note,
        } => draft.resolve(reservation, part.as_deref(), HoldStep::Released, note.clone()),
        JointAction::Extend {
            reservation,
            ttl_seconds,
        } => draft.extend(reservation, *ttl_seconds),
        JointAction::Batch(requests) => batch(stocks, requests, stores, &request.origin, now),
        JointAction::Push(requests) => {
            let mut joint = batch(stocks, requests, stores, &request.origin, now)?;
            joint.event.kind = EventKind::SyncPushed;
            Ok(joint)
        }
    }
}

/// An event in the making: levels before and after, and what becomes of holds.
struct Draft<'a> {
    stocks: &'a Stocks,
    stores: &'a dyn Stores,
    origin: &'a Origin,
    now: Timestamp,
    levels: BTreeMap<(&'a Sku, &'a StoreId), (Level, Level)>,
    holds: Vec<HoldChange>,
}

impl<'a> Draft<'a> {
    /// The level as it stands so far; `None` where there is none.
    fn level(&mut self, sku: &'a Sku, store: &'a StoreId) -> Option<&mut Level> {
        use std::collections::btree_map::Entry;
        let (_, after) = match self.levels.entry((sku, store)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let level = *self.stocks.get(sku)?.level(store)?;
                entry.insert((level, level))
            }
        };
        Some(after)
    }

    fn reserve(mut self, cart: &'a Cart) -> Result<Joint, JointRefusal> {
        if let Some(replaced) = &cart.replaces {
            self.give_back(replaced)?;
        }
        let expires_at = cart.ttl_seconds.map(|seconds| self.now.plus_seconds(seconds));
        let (mut failed, mut held) = (Vec::new(), 0_u64);
        for ((sku, store), requested) in summed(&cart.lines) {
            let available = self.available(sku, store).unwrap_or(0);
            let granted = if cart.allow_partial {
                requested.min(available)
            } else {
                requested
            };
            if granted > 0 && self.stores.is_closing(store) {
                let refused = self.refuse(sku, store, requested, None);
                failed.push(LineRefusal {
                    fault: LineFault::StoreClosing,
                    ..refused
                });
                continue;
            }
            if granted > available || granted == 0 {
                failed.push(self.refuse(sku, store, requested, cart.replaces.as_ref()));
            }
            if granted > available {
                continue;
            }
            if granted > 0
                && let Some(level) = self.level(sku, store)
            {
                level.reserved += granted;
            }
            held = held.saturating_add(granted);
            self.holds.push(HoldChange {
                reservation_id: cart.reservation_id.clone(),
                sku: sku.clone(),
                store_id: store.clone(),
                step: HoldStep::Placed,
                quantity: granted,
                held: granted,
                expires_at,
                requested: cart.allow_partial.then_some(requested),
                reference: None,
            });
        }
        let is_refused = held == 0 || !cart.allow_partial && !failed.is_empty();
        // What is not there comes before what is in the way.
        let is_unknown = is_refused && failed.iter().all(|line| line.fault == LineFault::NoLevel);
        if cart.is_taken && !is_unknown {
            let reservation_id = cart.reservation_id.clone();
            return Err(JointRefusal::ReservationExists { reservation_id });
        }
        if let Some(limit) = cart.over_quota.filter(|_| !is_unknown) {
            return Err(JointRefusal::QuotaExceeded { limit });
        }
        if is_refused {
            return Err(JointRefusal::Lines(failed));
        }
        let event = self.event(EventKind::ReservationCreated, &cart.reservation_id, None, None);
        let event = Event {
            reference: cart.reference.clone(),
            ..event
        };
        Ok(Joint {
            event,
            reservation: None,
            operations: Vec::new(),
        })
    }

    /// Gives back all that the caller's own reservation holds.
    fn give_back(&mut self, replaced: &'a Reservation) -> Result<(), JointRefusal> {
        if replaced.by != self.origin.by {
            let reservation_id = replaced.reservation_id.clone();
            return Err(JointRefusal::NoReservation { reservation_id });
        }
        check_active(replaced)?;
        for line in replaced.lines.iter().filter(|line| line.held > 0) {
            if let Some(level) = self.level(&line.sku, &line.store_id) {
                level.reserved -= line.held;
            }
            let step = self.step(replaced, &line.sku, &line.store_id, HoldStep::Released, line.held);
            self.holds.push(step);
        }
        Ok(())
    }

    /// Sells or gives back what is held, or a part of it.
    fn resolve(
        mut self,
        reservation: &'a Reservation,
        part: Option<&'a [CartLine]>,
        step: HoldStep,
        note: Option<String>,
    ) -> Result<Joint, JointRefusal> {
        check_active(reservation)?;
        let asked = match part {
            Some(part) => summed(part),
            None => {
                let held = reservation.lines.iter().filter(|line| line.held > 0);
                held.map(|line| ((&line.sku, &line.store_id), line.held)).collect()
            }
        };
        let too_much = asked.iter().filter_map(|((sku, store), requested)| {
            let held = reservation.line(sku, store).map_or(0, |line| line.held);
            (*requested > held).then(|| LineRefusal {
                sku: (*sku).clone(),
                store_id: (*store).clone(),
                requested: *requested,
                fault: LineFault::NotHeld { held },
            })
        });
        let lines: Vec<LineRefusal> = too_much.collect();
        if !lines.is_empty() {
            let reservation = Box::new(reservation.clone());
            return Err(JointRefusal::MoreThanHeld { reservation, lines });
        }
        let is_sale = step == HoldStep::Committed;
        for ((sku, store), quantity) in asked {
            if let Some(level) = self.level(sku, store) {
                level.reserved -= quantity;
                level.quantity -= if is_sale { quantity } else { 0 };
            }
            let step = self.step(reservation, sku, store, step, quantity);
            self.holds.push(step);
        }
        let (kind, movement) = match is_sale {
            true => (EventKind::ReservationCommitted, Some(Movement::Sale)),
            false => (EventKind::ReservationReleased, None),
        };
        let event = self.event(kind, &reservation.reservation_id, movement, note);
        Ok(about(reservation, event))
    }

    fn extend(mut self, reservation: &'a Reservation, ttl_seconds: u64) -> Result<Joint, JointRefusal> {
        check_active(reservation)?;
        let expires_at = Some(self.now.plus_seconds(ttl_seconds));
        for line in reservation.lines.iter().filter(|line| line.held > 0) {
            // The level is touched: whoever is told when the next hold ends is told of this one.
            self.level(&line.sku, &line.store_id);
            let step = self.step(reservation, &line.sku, &line.store_id, HoldStep::Extended, 0);
            self.holds.push(HoldChange { expires_at, ..step });
        }
        let event = self.event(EventKind::ReservationExtended, &reservation.reservation_id, None, None);
        Ok(about(reservation, event))
    }

    /// A step of a hold that was there before; `quantity` is what of it ends.
    fn step(&self, reservation: &Reservation, sku: &Sku, store: &StoreId, step: HoldStep, quantity: u64) -> HoldChange {
        let held = reservation.line(sku, store).map_or(0, |line| line.held);
        HoldChange {
            reservation_id: reservation.reservation_id.clone(),
            sku: sku.clone(),
            store_id: store.clone(),
            step,
            quantity,
            held: held - quantity,
            expires_at: None,
            requested: None,
            reference: None,
        }
    }

    /// `None` where there is no such level.
    fn available(&mut self, sku: &'a Sku, store: &'a StoreId) -> Option<u64> {
        match self.levels.get(&(sku, store)) {
            Some((_, after)) => Some(after.available()),
            None => Some(self.stocks.get(sku)?.level(store)?.available()),
        }
    }

    /// `replaced` is given back, and its end is none that anybody waits for.
    fn refuse(&self, sku: &'a Sku, store: &'a StoreId, requested: u64, replaced: Option<&Reservation>) -> LineRefusal {
        let stock = self.stocks.get(sku);
        let drafted = self.levels.get(&(sku, store)).map(|(_, after)| *after);
        let level = drafted.or_else(|| stock.and_then(|stock| stock.level(store)).copied());
        let replaced = replaced.map(|replaced| &replaced.reservation_id);
        let next = || stock?.holds()?.next_deadline_in(store, replaced);
        LineRefusal {
            sku: sku.clone(),
            store_id: store.clone(),
            requested,
            fault: level.map_or(LineFault::NoLevel, |level| LineFault::Short {
                available: level.available(),
                reserved: level.reserved,
                next_expiry: next(),
            }),
        }
    }

    fn event(
        mut self,
        kind: EventKind,
        reservation_id: &ReservationId,
        movement: Option<Movement>,
        note: Option<String>,
    ) -> Event {
        // Stable: what happens to one hold stays in its order.
        self.holds.sort_by(|a, b| a.sku.cmp(&b.sku));
        let stocks = self.stocks;
        let changes = self.levels.iter().filter_map(|((sku, store), (before, after))| {
            let stock = stocks.get(sku)?;
            Some(change(sku, store, stock.version(), before, *after, movement))
        });
        Event {
            kind,
            at: self.now,
            by: self.origin.by.clone(),
            request_id: self.origin.request_id.clone(),
            reservation_id: Some(reservation_id.clone()),
            reference: None,
            note,
            changes: changes.collect(),
            holds: self.holds,
            items: Vec::new(),
            entries: Vec::new(),
        }
    }
}

fn check_active(reservation: &Reservation) -> Result<(), JointRefusal> {
    if reservation.is_active() {
        return Ok(());
    }
    let reservation = Box::new(reservation.clone());
    Err(JointRefusal::ReservationNotActive { reservation })
}

/// The event with what it makes of its reservation.
fn about(before: &Reservation, event: Event) -> Joint {
    let event = Event {
        reference: before.reference.clone(),
        ..event
    };
    let mut reservation = before.clone();
    reservation.take(&event.holds_of(&before.reservation_id), event.at);
    Joint {
        event,
        reservation: Some(reservation),
        operations: Vec::new(),
    }
}

/// Lines of the same level are one.
fn summed(lines: &[CartLine]) -> BTreeMap<(&Sku, &StoreId), u64> {
    let mut sums = BTreeMap::new();
    for line in lines {
        let sum: &mut u64 = sums.entry((&line.sku, &line.store_id)).or_default();
        *sum = sum.saturating_add(line.quantity);
    }
    sums
}

fn batch(
    stocks: &Stocks,
    requests: &[Request],
    stores: &dyn Stores,
    origin: &Origin,
    now: Timestamp,
) -> Result<Joint, JointRefusal> {
    let mut times: HashMap<&Sku, u32> = HashMap::new();
    for request in requests {
        *times.entry(&request.sku).or_default() += 1;
    }
    let nothing = Stock::default();
    // Only what is touched again is copied: a SKU may have many holds.
    let mut ahead: HashMap<&Sku, Stock> = HashMap::new();
    let mut placed: HashSet<ReservationId> = HashSet::new();
    let mut moved = MovedBefore::default();
    let (mut events, mut refused) = (Vec::with_capacity(requests.len()), Vec::new());
    for (index, request) in (0..).zip(requests) {
        let ground = stocks.get(&request.sku).unwrap_or(&nothing);
        let as_it_stands = match &request.action {
            Action::Reserve(reserve) if placed.contains(&reserve.reservation_id) => Some(taken(request, reserve)),
            Action::Set(_) => moved.added_to(request),
            _ => None,
        };
        let stock = ahead.get(&request.sku).unwrap_or(ground);
        match decide_within(stock, ground, as_it_stands.as_ref().unwrap_or(request), stores, now) {
            Err(refusal) => refused.push((index, refusal)),
            Ok(event) => {
                if times[&request.sku] > 1 {
                    let stock = ahead.entry(&request.sku).or_insert_with(|| ground.clone());
                    stock.evolve(&request.sku, &event);
                }
                if event.kind == EventKind::ReservationCreated {
                    placed.extend(event.reservation_id.clone());
                }
                moved.note(&event);
                events.push(event);
            }
        }
    }
    if !refused.is_empty() {
        return Err(JointRefusal::Operations(refused));
    }
    Ok(merged(stocks, events, origin, now))
}

/// The same, of an id that an earlier operation has taken.
fn taken(request: &Request, reserve: &Reserve) -> Request {
    let action = Action::Reserve(Reserve {
        is_taken: true,
        over_quota: None,
        ..reserve.clone()
    });
    Request {
        action,
        ..request.clone()
    }
}

/// What movements other than counts the operations so far have added: to a count of the past, they came later.
#[derive(Default)]
struct MovedBefore(HashMap<(Sku, StoreId), i64>);

impl MovedBefore {
    fn note(&mut self, event: &Event) {
        for change in event.changes.iter().filter(|change| change.movement.is_some()) {
            let key = (change.sku.clone(), change.store_id.clone());
            let sum = self.0.entry(key).or_default();
            *sum = sum.saturating_add(change.moved());
        }
    }

    /// The request with that, if it is such a count.
    fn added_to(&self, request: &Request) -> Option<Request> {
        let Counted { moved, .. } = request.counted()?;
        let before = self.0.get(&(request.sku.clone(), request.store_id.clone()))?;
        let mut request = request.clone();
        request.set_moved(moved.saturating_add(*before));
        Some(request)
    }
}

/// Events as one: a level that several have changed is changed once.
fn merged(stocks: &Stocks, events: Vec<Event>, origin: &Origin, now: Timestamp) -> Joint {
    let mut levels: BTreeMap<(Sku, StoreId), Merging> = BTreeMap::new();
    for event in &events {
        for change in &event.changes {
            let key = (change.sku.clone(), change.store_id.clone());
            levels.entry(key).or_default().add(change, event.note.as_ref());
        }
    }
    let places: Places = levels.keys().map(|(sku, store)| (sku, store)).zip(0..).collect();
    let operations = events.iter().map(|event| touched(event, &places)).collect();
    let nothing = Stock::default();
    let changes = levels.iter().map(|((sku, store), merging)| {
        let stock = stocks.get(sku).unwrap_or(&nothing);
        merging.change(sku, store, stock)
    });
    let changes = changes.collect();
    let mut items: BTreeMap<Sku, ItemChange> = BTreeMap::new();
    let mut holds = Vec::new();
    for event in events {
        // Operations on the same SKU were decided on what those before them had made: the last says all.
        items.extend(event.items.into_iter().map(|item| {
            let item_version = stocks.get(&item.sku).map_or(0, Stock::version) + 1;
            (item.sku.clone(), ItemChange { item_version, ..item })
        }));
        holds.extend(event.holds.into_iter().map(|hold| HoldChange {
            reference: event.reference.clone().filter(|_| hold.step == HoldStep::Placed),
            ..hold
        }));
    }
    holds.sort_by(|a: &HoldChange, b| a.sku.cmp(&b.sku));
    let event = Event {
        kind: EventKind::BatchApplied,
        at: now,
        by: origin.by.clone(),
        request_id: origin.request_id.clone(),
        reservation_id: None,
        reference: None,
        note: None,
        changes,
        holds,
        items: items.into_values().collect(),
        entries: Vec::new(),
    };
    Joint {
        event,
        reservation: None,
        operations,
    }
}

/// Where the changes of levels stand in an event.
type Places<'a> = HashMap<(&'a Sku, &'a StoreId), u32>;

/// What the operation that has made an event has touched of the whole.
fn touched(event: &Event, places: &Places) -> Touched {
    let changes = event.changes.iter();
    let changes = changes.filter_map(|change| places.get(&(&change.sku, &change.store_id)).copied());
    let made = event.reservation_id.clone();
    Touched {
        kind: event.kind,
        changes: changes.collect(),
        reservation_id: made.filter(|_| event.kind == EventKind::ReservationCreated),
    }
}

/// What several operations do to one level.
#[derive(Default)]
struct Merging {
    last: Option<Change>,
    moves: Vec<Move>,
}

impl Merging {
    fn add(&mut self, change: &Change, note: Option<&String>) {
        self.moves.extend(change.movement.map(|movement| Move {
            movement,
            delta: change.delta,
            quantity: change.quantity,
            note: note.cloned(),
        }));
        self.last = Some(change.clone());
    }

    fn change(&self, sku: &Sku, store: &StoreId, stock: &Stock) -> Change {
        let before = stock.level_or_new(store);
        let movement = self.moves.last().map(|last| last.movement);
        let is_told = self
            .moves
            .iter()
            .all(|one| Some(one.movement) == movement && one.note.is_none());
        Change {
            moves: if is_told {
                Box::default()
            } else {
                self.moves.as_slice().into()
            },
            fate: stock.fate(store),
            ..change(sku, store, stock.version(), &before, self.after(&before), movement)
        }
    }

    fn after(&self, before: &Level) -> Level {
        self.last.as_ref().map_or(*before, |last| Level {
            quantity: last.quantity,
            reserved: last.reserved,
            reorder_point: last.reorder_point,
            ..*before
        })
    }
}
