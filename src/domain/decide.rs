//! Every business rule: a request on a state is either an event or a refusal.
//!
//! Pure: the time and every id come in as arguments. Holds that are over must have been expired (by
//! [`expire`]) before a request is decided, so that what is decided is what is recorded.

use std::collections::BTreeMap;

use super::command::{Counted, Preconditions, ReorderPoint, Reserve, Resource, Set, VersionSet};
use super::product::ProductAction;
use super::{
    Action, Change, Details, Event, EventKind, Expected, Fate, Hold, HoldChange, HoldStep, ItemChange, Level,
    MAX_QUANTITY, Movement, Origin, Request, ReservationId, ReservationStatus, Sku, Stock, StoreId, Stores, Timestamp,
};

/// A request that changed nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub sku: Sku,
    pub store_id: StoreId,
    /// What the versions in the reason are those of.
    pub resource: Resource,
    pub reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no such level.
    NoLevel,
    NoItem,
    ItemExists,
    NoProduct,
    ProductExists,
    /// The catalogue, which is strict, does not have it.
    NoStore {
        store_id: StoreId,
    },
    /// It is about to be deleted, or its levels are being cleared away.
    StoreClosing {
        store_id: StoreId,
    },
    /// What was to be deleted has stock or holds there.
    InUse {
        store_id: StoreId,
    },
    VersionMismatch {
        expected: u64,
        current: u64,
    },
    PreconditionFailed {
        current: u64,
    },
    InsufficientStock {
        requested: u64,
        available: u64,
        reserved: u64,
        next_expiry: Option<Timestamp>,
    },
    /// Of a count of the past, `requested` is what it comes to now, which may be less than nothing.
    BelowReserved {
        requested: i64,
        reserved: u64,
    },
    /// The caller's own holds on the level are fewer than what was to be released.
    NotReserved {
        requested: u64,
        held: u64,
    },
    /// The reservation holds nothing of this level; whether it is or was elsewhere, a SKU cannot tell.
    NoHold {
        reservation_id: ReservationId,
    },
    NoReservation {
        reservation_id: ReservationId,
    },
    ReservationNotActive {
        reservation_id: ReservationId,
        status: ReservationStatus,
    },
    ReservationExists {
        reservation_id: ReservationId,
    },
    /// The caller's open reservations may hold so many lines.
    QuotaExceeded {
        limit: u64,
    },
    QuantityLimit,
}

impl Expected {
    /// `current` is the version of the resource, and 0 where there is none.
    pub fn check(&self, current: u64) -> Result<(), Reason> {
        if let Some(expected) = self.version.filter(|expected| *expected != current) {
            return Err(Reason::VersionMismatch { expected, current });
        }
        match self.preconditions.as_ref().is_none_or(|these| these.hold(current)) {
            true => Ok(()),
            false => Err(Reason::PreconditionFailed { current }),
        }
    }
}

impl Preconditions {
    fn hold(&self, current: u64) -> bool {
        let fits = |versions: &VersionSet| versions.contains(current);
        self.if_match.as_ref().is_none_or(fits) && !self.if_none_match.as_ref().is_some_and(fits)
    }
}

pub fn decide(stock: &Stock, request: &Request, stores: &dyn Stores, now: Timestamp) -> Result<Event, Refusal> {
    debug_assert!(
        stock.next_deadline().is_none_or(|at| at > now),
        "expire before deciding"
    );
    decide_within(stock, stock, request, stores, now)
}

/// Decides a part of a larger step, which began on `ground`: the versions that the request speaks of are those from
/// before the step, as nobody has seen others.
pub(super) fn decide_within(
    stock: &Stock,
    ground: &Stock,
    request: &Request,
    stores: &dyn Stores,
    now: Timestamp,
) -> Result<Event, Refusal> {
    let decision = Decision {
        stock,
        ground,
        request,
        stores,
        now,
    };
    let decided = decision.decide().and_then(|event| decision.check_open(event));
    decided.map_err(|reason| Refusal {
        sku: request.sku.clone(),
        store_id: request.store_id.clone(),
        resource: request.resource,
        reason,
    })
}

/// One event ends so many holds at most, so that its record stays of a size that can be read.
const MAX_EXPIRED: usize = 1000;

/// Ends every hold that is over at `now`: mostly in one event, and in none where nothing is over.
pub fn expire(sku: &Sku, stock: &Stock, now: Timestamp, origin: &Origin) -> Vec<Event> {
    let due = stock.holds().map(|holds| holds.due(now)).unwrap_or_default();
    let mut levels: BTreeMap<StoreId, Level> = BTreeMap::new();
    let mut events = Vec::new();
    for (version, holds) in (stock.version()..).zip(due.chunks(MAX_EXPIRED)) {
        let mut freed: BTreeMap<&StoreId, u64> = BTreeMap::new();
        for hold in holds {
            *freed.entry(&hold.store_id).or_default() += hold.held;
        }
        let changes = freed.into_iter().filter_map(|(store, freed)| {
            let before = levels.get(store).or_else(|| stock.level(store)).copied()?;
            let after = Level {
                reserved: before.reserved - freed,
                ..before
            };
            let change = change(sku, store, version, &before, after, None);
            levels.insert(store.clone(), change.level(now));
            Some(change)
        });
        let changes = changes.collect();
        let holds: Vec<HoldChange> = holds.iter().map(|hold| expired(sku, hold)).collect();
        events.push(Event {
            kind: EventKind::ReservationExpired,
            at: now,
            by: origin.by.clone(),
            request_id: origin.request_id.clone(),
            reservation_id: only_reservation(&holds),
            reference: None,
            note: None,
            changes,
            holds,
            items: Vec::new(),
            entries: Vec::new(),
        });
    }
    events
}

fn expired(sku: &Sku, hold: &Hold) -> HoldChange {
    HoldChange {
        reservation_id: hold.reservation_id.clone(),
        sku: sku.clone(),
        store_id: hold.store_id.clone(),
        step: HoldStep::Expired,
        quantity: hold.held,
        held: 0,
        expires_at: hold.expires_at,
        requested: None,
        reference: None,
    }
}

struct Decision<'a> {
    stock: &'a Stock,
    ground: &'a Stock,
    request: &'a Request,
    stores: &'a dyn Stores,
    now: Timestamp,
}

impl Decision<'_> {
    fn decide(&self) -> Result<Event, Reason> {
        let found = self.stock.level(&self.request.store_id);
        self.check_exists(found.is_some())?;
        self.check_catalogue()?;
        self.request.expected.check(match self.request.resource {
            Resource::Level => self
                .ground
                .level(&self.request.store_id)
                .map_or(0, |level| level.version),
            Resource::Item => self.ground.item_version(),
            Resource::Product => self.ground.product_version(),
        })?;
        let level = self.stock.level_or_new(&self.request.store_id);
        match &self.request.action {
            Action::Create { details, quantity } => self.create(details, *quantity),
            Action::Set(set) => {
                let kind = if found.is_some() {
                    EventKind::LevelCounted
                } else {
                    EventKind::LevelCreated
                };
                self.set(kind, &level, set)
            }
            Action::Adjust { delta, movement, note } => self.adjust(&level, *delta, *movement, note),
            Action::Receive { quantity } => self.receive(found.is_none(), &level, *quantity),
            Action::Reserve(reserve) => self.reserve(&level, reserve),
            Action::ReleaseReservation {
                reservation_id,
                is_hidden: true,
            } => Err(Reason::NoReservation {
                reservation_id: reservation_id.clone(),
            }),
            Action::ReleaseReservation { reservation_id, .. } => self.release_reservation(&level, reservation_id),
            Action::ReleaseQuantity { quantity } => self.release_quantity(&level, *quantity),
            Action::Transfer { to, quantity, note } => self.transfer(&level, to, *quantity, note),
            Action::Product(ProductAction::Create(details)) => Ok(self.describe(EventKind::ProductCreated, details)),
            Action::Product(ProductAction::Replace(details)) => Ok(self.describe(EventKind::ProductUpdated, details)),
            Action::Product(ProductAction::Delete) => self.delete(),
            Action::RemoveLevel => self.remove_level(&level),
        }
    }

    fn check_exists(&self, has_level: bool) -> Result<(), Reason> {
        let has_item = self.stock.exists();
        match (&self.request.action, self.request.resource) {
            (Action::Create { .. }, _) if has_item => Err(Reason::ItemExists),
            (Action::Create { .. }, _) => Ok(()),
            (Action::Product(ProductAction::Create(_)), _) if has_item => Err(Reason::ProductExists),
            (Action::Product(ProductAction::Create(_)), _) => Ok(()),
            (_, Resource::Product) if !has_item => Err(Reason::NoProduct),
            (Action::Product(_), _) => Ok(()),
            (_, Resource::Item) if !has_item || !self.sees_item() => Err(Reason::NoItem),
            (Action::Set(set), _) if !set.must_exist => Ok(()),
            (Action::Receive { .. }, _) => Ok(()),
            _ if !has_level => Err(Reason::NoLevel),
            _ => Ok(()),
        }
    }

    /// An item without a level in a store that the caller sees is none to them: they are not to learn whether it has
    /// levels elsewhere.
    fn sees_item(&self) -> bool {
        let scope = &self.request.origin.scope;
        scope.is_all() || self.stock.levels().any(|(store, _)| scope.has(store))
    }

    /// Where the catalogue is strict, stock is made only of a product and in a store that it has. Whoever creates an item
    /// creates its product; that they may, the door has seen to.
    fn check_catalogue(&self) -> Result<(), Reason> {
        let Some(store) = self.new_store().filter(|_| self.stores.is_strict()) else {
            return Ok(());
        };
        let is_created = matches!(self.request.action, Action::Create { .. });
        if !self.stock.exists() && !is_created {
            return Err(Reason::NoProduct);
        }
        if !self.stores.is_known(store) {
            let store_id = store.clone();
            return Err(Reason::NoStore { store_id });
        }
        Ok(())
    }

    /// Where the request makes a level, if it does.
    fn new_store(&self) -> Option<&StoreId> {
        let store = match &self.request.action {
            Action::Create { .. } | Action::Set(_) | Action::Receive { .. } => &self.request.store_id,
            Action::Transfer { to, .. } => to,
            _ => return None,
        };
        self.stock.level(store).is_none().then_some(store)
    }

    /// Nothing comes to a store that is about to be deleted.
    fn check_open(&self, event: Event) -> Result<Event, Reason> {
        let closing = event.entered().find(|store| self.stores.is_closing(store)).cloned();
        match closing {
            Some(store_id) => Err(Reason::StoreClosing { store_id }),
            None => Ok(event),
        }
    }

    fn create(&self, details: &Details, quantity: u64) -> Result<Event, Reason> {
        let before = self.stock.level_or_new(&self.request.store_id);
        self.check_limit(&before, quantity)?;
        let after = Level { quantity, ..before };
        let movement = (quantity > 0).then_some(Movement::StockIn);
        let event = self.event(EventKind::ItemCreated, &before, after, movement, None);
        Ok(self.with_details(event, details))
    }

    fn set(&self, kind: EventKind, before: &Level, set: &Set) -> Result<Event, Reason> {
        let Set {
            quantity,
            counted,
            reorder_point,
            details,
            note,
            must_exist: _,
        } = set;
        let quantity = quantity
            .cast_signed()
            .saturating_add(counted.map_or(0, |Counted { moved, .. }| moved));
        if quantity < before.reserved.cast_signed() {
            return Err(Reason::BelowReserved {
                requested: quantity,
                reserved: before.reserved,
            });
        }
        let quantity = quantity.unsigned_abs();
        self.check_limit(before, quantity)?;
        let reorder_point = match reorder_point {
            ReorderPoint::Keep => before.reorder_point,
            ReorderPoint::Clear => None,
            ReorderPoint::At(point) => Some(*point),
        };
        let after = Level {
            quantity,
            reorder_point,
            ..*before
        };
        let event = self.event(kind, before, after, Some(Movement::Count), note.clone());
        Ok(self.with_details(event, details))
    }

    /// Adds what `patch` changes of the item's details, if it changes anything.
    fn with_details(&self, event: Event, patch: &Details) -> Event {
        let before = self.stock.details().cloned().unwrap_or_default();
        let details = before.patched(patch);
        if details == before {
            return event;
        }
        Event {
            items: vec![self.item_change(Some(details))],
            ..event
        }
    }

    /// Sets all that the product has, whatever it was before.
    fn describe(&self, kind: EventKind, details: &Details) -> Event {
        Event {
            items: vec![self.item_change(Some(details.clone()))],
            ..self.bare(kind, None)
        }
    }

    fn delete(&self) -> Result<Event, Reason> {
        let in_use = self
            .stock
            .levels()
            .find(|(_, level)| level.quantity > 0 || level.reserved > 0);
        if let Some((store, _)) = in_use {
            let store_id = store.clone();
            return Err(Reason::InUse { store_id });
        }
        let removed = self.stock.levels().map(|(store, level)| self.removed(store, level));
        Ok(Event {
            changes: removed.collect(),
            items: vec![ItemChange {
                began_at: Some(self.stock.created_at()),
                ..self.item_change(None)
            }],
            ..self.bare(EventKind::ProductDeleted, None)
        })
    }

    fn remove_level(&self, level: &Level) -> Result<Event, Reason> {
        let store_id = &self.request.store_id;
        if level.quantity > 0 || level.reserved > 0 {
            let store_id = store_id.clone();
            return Err(Reason::InUse { store_id });
        }
        Ok(Event {
            changes: vec![self.removed(store_id, level)],
            ..self.bare(EventKind::LevelRemoved, None)
        })
    }

    fn removed(&self, store: &StoreId, level: &Level) -> Change {
        let after = Level::default();
        Change {
            fate: Fate::Removed,
            low_stock: false,
            ..change(&self.request.sku, store, self.stock.version(), level, after, None)
        }
    }

    fn item_change(&self, details: Option<Details>) -> ItemChange {
        ItemChange {
            sku: self.request.sku.clone(),
            item_version: self.stock.version() + 1,
            details,
            began_at: None,
        }
    }

    fn adjust(&self, level: &Level, delta: i64, movement: Movement, note: &Option<String>) -> Result<Event, Reason> {
        let quantity = if delta < 0 {
            let taken = delta.unsigned_abs();
            self.check_available(level, taken)?;
            level.quantity - taken
        } else {
            let quantity = level.quantity.saturating_add(delta.unsigned_abs());
            self.check_limit(level, quantity)?;
            quantity
        };
        let after = Level { quantity, ..*level };
        Ok(self.event(EventKind::LevelAdjusted, level, after, Some(movement), note.clone()))
    }

    fn receive(&self, is_new: bool, level: &Level, received: u64) -> Result<Event, Reason> {
        let quantity = level.quantity.saturating_add(received);
        self.check_limit(level, quantity)?;
        let kind = match is_new {
            true => EventKind::LevelCreated,
            false => EventKind::LevelAdjusted,
        };
        let after = Level { quantity, ..*level };
        let movement = (received > 0).then_some(Movement::StockIn);
        Ok(self.event(kind, level, after, movement, None))
    }

    fn reserve(&self, level: &Level, reserve: &Reserve) -> Result<Event, Reason> {
        let Reserve {
            quantity,
            reservation_id,
            is_taken,
            over_quota,
            ttl_seconds,
            reference,
        } = reserve;
        if *is_taken {
            return Err(Reason::ReservationExists {
                reservation_id: reservation_id.clone(),
            });
        }
        if let Some(limit) = *over_quota {
            return Err(Reason::QuotaExceeded { limit });
        }
        self.check_available(level, *quantity)?;
        let after = Level {
            reserved: level.reserved + quantity,
            ..*level
        };
        let placed = HoldChange {
            expires_at: ttl_seconds.map(|seconds| self.now.plus_seconds(seconds)),
            ..self.hold_change(reservation_id, HoldStep::Placed, *quantity, *quantity)
        };
        Ok(Event {
            reservation_id: Some(reservation_id.clone()),
            reference: reference.clone(),
            holds: vec![placed],
            ..self.event(EventKind::ReservationCreated, level, after, None, None)
        })
    }

    fn release_reservation(&self, level: &Level, reservation_id: &ReservationId) -> Result<Event, Reason> {
        let holds = self.stock.holds();
        let hold = holds.and_then(|holds| holds.get(reservation_id, &self.request.store_id));
        let held = hold
            .ok_or_else(|| Reason::NoHold {
                reservation_id: reservation_id.clone(),
            })?
            .held;
        Ok(self.release(
            level,
            vec![self.hold_change(reservation_id, HoldStep::Released, held, 0)],
        ))
    }

    fn release_quantity(&self, level: &Level, requested: u64) -> Result<Event, Reason> {
        let mut left = requested;
        let mut released = Vec::new();
        let own = |hold: &&Hold| hold.by == self.request.origin.by;
        let on_level = self.stock.holds().into_iter();
        for hold in on_level
            .flat_map(|holds| holds.oldest_first(&self.request.store_id))
            .filter(own)
        {
            if left == 0 {
                break;
            }
            let taken = left.min(hold.held);
            left -= taken;
            released.push(self.hold_change(&hold.reservation_id, HoldStep::Released, taken, hold.held - taken));
        }
        if left > 0 {
            return Err(Reason::NotReserved {
                requested,
                held: requested - left,
            });
        }
        Ok(self.release(level, released))
    }

    fn release(&self, level: &Level, holds: Vec<HoldChange>) -> Event {
        let freed: u64 = holds.iter().map(|hold| hold.quantity).sum();
        let after = Level {
            reserved: level.reserved - freed,
            ..*level
        };
        Event {
            reservation_id: only_reservation(&holds),
            holds,
            ..self.event(EventKind::ReservationReleased, level, after, None, None)
        }
    }

    fn transfer(&self, from: &Level, to: &StoreId, quantity: u64, note: &Option<String>) -> Result<Event, Reason> {
        self.check_available(from, quantity)?;
        let left = Level {
            quantity: from.quantity - quantity,
            ..*from
        };
        let mut event = self.event(
            EventKind::LevelTransferred,
            from,
            left,
            Some(Movement::TransferOut),
            note.clone(),
        );
        let target = self.stock.level_or_new(to);
        // The item's total stays, so that the target cannot pass the limit that the total keeps.
        let after = Level {
            quantity: target.quantity + quantity,
            ..target
        };
        let movement = Some(Movement::TransferIn);
        event.changes.push(Change {
            fate: self.stock.fate(to),
            ..change(&self.request.sku, to, self.stock.version(), &target, after, movement)
        });
        Ok(event)
    }

    fn check_available(&self, level: &Level, requested: u64) -> Result<(), Reason> {
        if requested <= level.available() {
            return Ok(());
        }
        Err(Reason::InsufficientStock {
            requested,
            available: level.available(),
            reserved: level.reserved,
            next_expiry: self
                .stock
                .holds()
                .and_then(|holds| holds.next_deadline_in(&self.request.store_id, None)),
        })
    }

    /// The level's and the item's total must both stay exact in every JSON reader.
    fn check_limit(&self, before: &Level, quantity: u64) -> Result<(), Reason> {
        let total = (self.stock.quantity() - before.quantity).saturating_add(quantity);
        if quantity > MAX_QUANTITY || total > MAX_QUANTITY {
            Err(Reason::QuantityLimit)
        } else {
            Ok(())
        }
    }

    fn hold_change(&self, reservation_id: &ReservationId, step: HoldStep, quantity: u64, held: u64) -> HoldChange {
        HoldChange {
            reservation_id: reservation_id.clone(),
            sku: self.request.sku.clone(),
            store_id: self.request.store_id.clone(),
            step,
            quantity,
            held,
            expires_at: None,
            requested: None,
            reference: None,
        }
    }

    fn event(
        &self,
        kind: EventKind,
        before: &Level,
        after: Level,
        movement: Option<Movement>,
        note: Option<String>,
    ) -> Event {
        let Request { sku, store_id, .. } = self.request;
        let change = Change {
            fate: self.stock.fate(store_id),
            ..change(sku, store_id, self.stock.version(), before, after, movement)
        };
        Event {
            changes: vec![change],
            ..self.bare(kind, note)
        }
    }

    /// An event that changes nothing as yet.
    fn bare(&self, kind: EventKind, note: Option<String>) -> Event {
        let Origin { by, request_id, .. } = &*self.request.origin;
        Event {
            kind,
            at: self.now,
            by: by.clone(),
            request_id: request_id.clone(),
            reservation_id: None,
            reference: None,
            note,
            changes: Vec::new(),
            holds: Vec::new(),
            items: Vec::new(),
            entries: Vec::new(),
        }
    }
}

pub(super) fn change(
    sku: &Sku,
    store_id: &StoreId,
    version_before: u64,
    before: &Level,
    after: Level,
    movement: Option<Movement>,
) -> Change {
    let fell_to = |point: u64| after.available() <= point && before.available() > point;
    Change {
        sku: sku.clone(),
        store_id: store_id.clone(),
        movement,
        delta: after.quantity.cast_signed() - before.quantity.cast_signed(),
        quantity: after.quantity,
        reserved: after.reserved,
        version: before.version + 1,
        item_version: version_before + 1,
        reorder_point: after.reorder_point,
        low_stock: after.reorder_point.is_some_and(fell_to),
        fate: Fate::Kept,
        moves: Box::default(),
    }
}

/// The one reservation that these changes are about, where it is one.
fn only_reservation(holds: &[HoldChange]) -> Option<ReservationId> {
    let first = &holds.first()?.reservation_id;
    holds
        .iter()
        .all(|hold| hold.reservation_id == *first)
        .then(|| first.clone())
}
