//! What happened, as the log keeps it for ever.
//!
//! An event carries the state after it (quantities, versions, what is still held), so that a reader
//! needs no earlier event to understand it, and an answer can be written again from it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Details, EntryChange, Level, Principal, RequestId, ReservationId, Scope, Sku, StoreId, Timestamp, is_false,
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: EventKind,
    pub at: Timestamp,
    pub by: Principal,
    pub request_id: RequestId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation_id: Option<ReservationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// One per level that the event touches, however often it touches it. This list and the next two are in order of SKU.
    pub changes: Vec<Change>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<HoldChange>,
    /// One per SKU whose details the event sets, or that it deletes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<ItemChange>,
    /// Users, tokens, stores, schedules and webhooks that the event sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<EntryChange>,
}

/// The last event of what is made from a log, by which the log is known again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LastEvent {
    pub at: Timestamp,
    pub request_id: RequestId,
}

impl LastEvent {
    pub fn of(event: &Event) -> Self {
        Self {
            at: event.at,
            request_id: event.request_id.clone(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// An item with its first level.
    #[serde(rename = "item.created")]
    ItemCreated,
    /// A level that was not there before, by a count or by what came in.
    #[serde(rename = "level.created")]
    LevelCreated,
    #[serde(rename = "level.counted")]
    LevelCounted,
    #[serde(rename = "level.adjusted")]
    LevelAdjusted,
    /// From one store to another.
    #[serde(rename = "level.transferred")]
    LevelTransferred,
    /// An atomic batch: many operations in one step.
    #[serde(rename = "batch.applied")]
    BatchApplied,
    /// Counts that a store has reported, in one step.
    #[serde(rename = "sync.pushed")]
    SyncPushed,
    #[serde(rename = "reservation.created")]
    ReservationCreated,
    /// What was held, or a part of it, is sold.
    #[serde(rename = "reservation.committed")]
    ReservationCommitted,
    /// It is over at another moment.
    #[serde(rename = "reservation.extended")]
    ReservationExtended,
    #[serde(rename = "reservation.released")]
    ReservationReleased,
    #[serde(rename = "reservation.expired")]
    ReservationExpired,
    /// A level with nothing in it is taken away, as its store is deleted.
    #[serde(rename = "level.removed")]
    LevelRemoved,
    #[serde(rename = "product.created")]
    ProductCreated,
    #[serde(rename = "product.updated")]
    ProductUpdated,
    /// With all its levels, which have nothing in them.
    #[serde(rename = "product.deleted")]
    ProductDeleted,
    #[serde(rename = "user.created")]
    UserCreated,
    #[serde(rename = "user.updated")]
    UserUpdated,
    #[serde(rename = "user.deleted")]
    UserDeleted,
    #[serde(rename = "token.created")]
    TokenCreated,
    #[serde(rename = "token.revoked")]
    TokenRevoked,
    #[serde(rename = "store.created")]
    StoreCreated,
    #[serde(rename = "store.updated")]
    StoreUpdated,
    #[serde(rename = "store.deleted")]
    StoreDeleted,
    /// Nothing more may come to the store: it is to be deleted, if there is nothing in it.
    #[serde(rename = "store.closed")]
    StoreClosed,
    /// It is not deleted after all, or it is and its levels are gone.
    #[serde(rename = "store.unlocked")]
    StoreUnlocked,
    /// The sync is to run by itself from now on, or no longer.
    #[serde(rename = "sync.scheduled")]
    SyncScheduled,
    #[serde(rename = "webhook.created")]
    WebhookCreated,
    #[serde(rename = "webhook.updated")]
    WebhookUpdated,
    #[serde(rename = "webhook.deleted")]
    WebhookDeleted,
}

impl EventKind {
    /// Those that feeds show.
    pub const SHOWN: [Self; 12] = [
        Self::ItemCreated,
        Self::LevelCreated,
        Self::LevelCounted,
        Self::LevelAdjusted,
        Self::LevelTransferred,
        Self::BatchApplied,
        Self::SyncPushed,
        Self::ReservationCreated,
        Self::ReservationCommitted,
        Self::ReservationExtended,
        Self::ReservationReleased,
        Self::ReservationExpired,
    ];

    /// It is the service's own, about users, tokens, the catalogue, schedules or webhooks: no feed, export or webhook shows it.
    pub fn is_hidden(self) -> bool {
        !Self::SHOWN.contains(&self)
    }
}

/// As it is written down.
impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A level as it stands after the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    pub sku: Sku,
    pub store_id: StoreId,
    /// Present where the on-hand quantity changed, or was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub movement: Option<Movement>,
    /// What was added to the on-hand quantity.
    pub delta: i64,
    pub quantity: u64,
    pub reserved: u64,
    pub version: u64,
    pub item_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder_point: Option<u64>,
    /// Set on the event by which available fell to or below the reorder point.
    #[serde(default, skip_serializing_if = "is_false")]
    pub low_stock: bool,
    #[serde(default, skip_serializing_if = "Fate::is_kept")]
    pub fate: Fate,
    /// The movements one by one, where several of an atomic batch came together in this change and it does not tell
    /// all of them.
    #[serde(default, skip_serializing_if = "<[Move]>::is_empty")]
    pub moves: Box<[Move]>,
}

/// Whether an event makes the level that it changes, or takes it away. Old logs do not tell that a level is new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    #[default]
    Kept,
    Made,
    Removed,
}

impl Fate {
    fn is_kept(&self) -> bool {
        *self == Self::Kept
    }
}

/// A movement of an atomic batch, as it would have stood for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Move {
    pub movement: Movement,
    pub delta: i64,
    /// What was on hand after it.
    pub quantity: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Change {
    /// The level as it stands after an event of this moment.
    pub fn level(&self, at: Timestamp) -> Level {
        Level {
            quantity: self.quantity,
            reserved: self.reserved,
            version: self.version,
            reorder_point: self.reorder_point,
            updated_at: at,
        }
    }

    /// Drops what is noted of transfers, of which the other end may be anywhere.
    fn forget_transfers(&mut self) {
        let is_transfer = |one: &Move| matches!(one.movement, Movement::TransferIn | Movement::TransferOut);
        let transfers = self.moves.iter_mut().filter(|one| is_transfer(one));
        transfers.for_each(|one| one.note = None);
    }

    /// What movements other than counts have added.
    pub fn moved(&self) -> i64 {
        let moves = self.moves().filter(|one| one.movement != Movement::Count);
        moves.fold(0, |sum, one| sum.saturating_add(one.delta))
    }

    /// Every movement in it.
    pub fn moves(&self) -> impl Iterator<Item = Move> {
        let only = self.movement.filter(|_| self.moves.is_empty()).map(|movement| Move {
            movement,
            delta: self.delta,
            quantity: self.quantity,
            note: None,
        });
        self.moves.iter().cloned().chain(only)
    }
}

/// Why an on-hand quantity changed, as an auditor reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Movement {
    StockIn,
    Return,
    Sale,
    ManualRemove,
    TransferIn,
    TransferOut,
    Count,
}

impl Movement {
    pub const ALL: [Self; 7] = [
        Self::StockIn,
        Self::Return,
        Self::Sale,
        Self::ManualRemove,
        Self::TransferIn,
        Self::TransferOut,
        Self::Count,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::StockIn => "STOCK_IN",
            Self::Return => "RETURN",
            Self::Sale => "SALE",
            Self::ManualRemove => "MANUAL_REMOVE",
            Self::TransferIn => "TRANSFER_IN",
            Self::TransferOut => "TRANSFER_OUT",
            Self::Count => "COUNT",
        }
    }
}

/// An item's details as they stand after the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ItemChange {
    pub sku: Sku,
    pub item_version: u64,
    /// None where the product is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// Of one that is deleted: when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Timestamp>,
}

/// A hold on one level as it stands after the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HoldChange {
    pub reservation_id: ReservationId,
    pub sku: Sku,
    pub store_id: StoreId,
    pub step: HoldStep,
    /// How much this step placed or ended.
    pub quantity: u64,
    /// How much is still held after it.
    pub held: u64,
    /// Of a placed or extended hold that does not last for ever: the moment from which it is over. Of an expired one:
    /// from which it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Of a placed hold that may be less than what was asked for: what that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested: Option<u64>,
    /// Of a placed hold, where the event makes several reservations and has no reference of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HoldStep {
    Placed,
    Committed,
    Released,
    Expired,
    Extended,
}

/// The part of an event that is about one SKU.
pub struct Part<'a> {
    pub changes: &'a [Change],
    pub holds: &'a [HoldChange],
    pub items: &'a [ItemChange],
}

impl Event {
    /// The SKUs that the event touches, each once.
    pub fn skus(&self) -> impl Iterator<Item = &Sku> {
        self.parts().map(|(sku, _)| sku)
    }

    /// The parts of the SKUs that the event touches.
    pub fn parts(&self) -> impl Iterator<Item = (&Sku, Part<'_>)> {
        // Holds are set by an event that also changes a level of the SKU, but for lines that hold nothing.
        let (mut changes, mut holds, mut items) =
            (self.changes.as_slice(), self.holds.as_slice(), self.items.as_slice());
        std::iter::from_fn(move || {
            let sku = match (changes.first(), items.first()) {
                (Some(change), Some(item)) => (&change.sku).min(&item.sku),
                (change, item) => change.map(|change| &change.sku).or(item.map(|item| &item.sku))?,
            };
            let part = Part {
                changes: take_run(&mut changes, sku, |change| &change.sku),
                holds: take_run(&mut holds, sku, |hold| &hold.sku),
                items: take_run(&mut items, sku, |item| &item.sku),
            };
            Some((sku, part))
        })
    }

    /// The stores to which it brings stock, a hold or a level.
    pub fn entered(&self) -> impl Iterator<Item = &StoreId> {
        let brings = |change: &&Change| change.delta > 0 || change.fate == Fate::Made;
        let stocked = self.changes.iter().filter(brings).map(|change| &change.store_id);
        let holds = |hold: &&HoldChange| hold.step == HoldStep::Placed && hold.held > 0;
        stocked.chain(self.holds.iter().filter(holds).map(|hold| &hold.store_id))
    }

    pub fn of_sku(&self, sku: &Sku) -> Part<'_> {
        Part {
            changes: run_of(&self.changes, sku, |change| &change.sku),
            holds: run_of(&self.holds, sku, |hold| &hold.sku),
            items: run_of(&self.items, sku, |item| &item.sku),
        }
    }

    /// Every movement in it, with the place of its change.
    pub fn moves(&self) -> impl Iterator<Item = (usize, Move)> {
        let changes = self.changes.iter().enumerate();
        changes.flat_map(|(i, change)| change.moves().map(move |one| (i, one)))
    }

    /// What it does to the holds of a reservation.
    pub fn holds_of(&self, id: &ReservationId) -> Vec<&HoldChange> {
        self.holds.iter().filter(|hold| hold.reservation_id == *id).collect()
    }

    /// What it does to the holds of each reservation.
    pub fn holds_by_reservation(&self) -> Vec<(&ReservationId, Vec<&HoldChange>)> {
        // Mostly it is one, or few that stand apart.
        let mut of_each: Vec<(&ReservationId, Vec<&HoldChange>)> = Vec::new();
        for run in self.holds.chunk_by(|a, b| a.reservation_id == b.reservation_id) {
            of_each.push((&run[0].reservation_id, run.iter().collect()));
        }
        if of_each.len() > 1 {
            // Stable: what happens to a hold stays in its order.
            of_each.sort_by_key(|(id, _)| *id);
            of_each.dedup_by(|later, first| {
                let is_same = later.0 == first.0;
                if is_same {
                    first.1.append(&mut later.1);
                }
                is_same
            });
        }
        of_each
    }

    /// Whether it touches no stock in any other store.
    pub fn is_within(&self, scope: &Scope) -> bool {
        let mut changes = self.changes.iter().map(|change| &change.store_id);
        let mut holds = self.holds.iter().map(|hold| &hold.store_id);
        scope.is_all() || changes.all(|store| scope.has(store)) && holds.all(|store| scope.has(store))
    }

    /// What of it is about these stores; `None` where it changes none of their levels. Of one that touches others too, what
    /// it says of itself may be about those: it is left out.
    pub fn within(mut self, scope: &Scope) -> Option<Self> {
        if !self.is_within(scope) {
            self.changes.retain(|change| scope.has(&change.store_id));
            self.holds.retain(|hold| scope.has(&hold.store_id));
            let changes = &self.changes;
            self.items
                .retain(|item| changes.iter().any(|change| change.sku == item.sku));
            self.changes.iter_mut().for_each(Change::forget_transfers);
            self = self.without_words();
        }
        (!self.changes.is_empty()).then_some(self)
    }

    /// Without what it says of itself: its reservation, its reference, its note.
    pub fn without_words(self) -> Self {
        Self {
            reservation_id: None,
            reference: None,
            note: None,
            ..self
        }
    }

    /// Whether its lists are in order of SKU, without which its parts cannot be found.
    pub fn is_in_order(&self) -> bool {
        self.changes.is_sorted_by_key(|change| &change.sku)
            && self.holds.is_sorted_by_key(|hold| &hold.sku)
            && self.items.is_sorted_by_key(|item| &item.sku)
    }
}

/// Those at the beginning of a list that are about `sku`, behind others that come before it; the list goes on behind them.
fn take_run<'a, T>(list: &mut &'a [T], sku: &Sku, sku_of: impl Fn(&T) -> &Sku) -> &'a [T] {
    let start = match list.first() {
        Some(first) if sku_of(first) != sku => list.partition_point(|entry| sku_of(entry) < sku),
        _ => 0,
    };
    let length = list[start..].iter().take_while(|entry| sku_of(entry) == sku).count();
    let run = &list[start..start + length];
    *list = &list[start + length..];
    run
}

/// Those of a list in order of SKU that are about `sku`.
fn run_of<'a, T>(list: &'a [T], sku: &Sku, sku_of: impl Fn(&T) -> &Sku) -> &'a [T] {
    let start = list.partition_point(|entry| sku_of(entry) < sku);
    let length = list[start..].partition_point(|entry| sku_of(entry) == sku);
    &list[start..start + length]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str) -> StoreId {
        StoreId::parse(name).unwrap()
    }

    fn scope(names: &[&str]) -> Scope {
        let stores: Vec<StoreId> = names.iter().map(|name| store(name)).collect();
        Scope::of(&stores)
    }

    fn change(in_store: &str, movements: &[Movement]) -> Change {
        let moves = movements.iter().map(|movement| Move {
            movement: *movement,
            delta: 1,
            quantity: 1,
            note: Some("why".to_owned()),
        });
        Change {
            sku: Sku::parse("A").unwrap(),
            store_id: store(in_store),
            movement: movements.last().copied(),
            delta: 1,
            quantity: 1,
            reserved: 0,
            version: 1,
            item_version: 1,
            reorder_point: None,
            low_stock: false,
            moves: moves.collect(),
            fate: Fate::default(),
        }
    }

    fn hold(in_store: &str) -> HoldChange {
        HoldChange {
            reservation_id: ReservationId::parse("r").unwrap(),
            sku: Sku::parse("A").unwrap(),
            store_id: store(in_store),
            step: HoldStep::Placed,
            quantity: 0,
            held: 0,
            expires_at: None,
            requested: Some(1),
            reference: None,
        }
    }

    fn event(changes: Vec<Change>, holds: Vec<HoldChange>) -> Event {
        Event {
            kind: EventKind::ReservationCreated,
            at: Timestamp::from_millis(1),
            by: Principal::anonymous(),
            request_id: RequestId::parse("r-1").unwrap(),
            reservation_id: Some(ReservationId::parse("r").unwrap()),
            reference: Some("order".to_owned()),
            note: Some("note".to_owned()),
            changes,
            holds,
            items: Vec::new(),
            entries: Vec::new(),
        }
    }

    fn words(event: &Event) -> usize {
        usize::from(event.reservation_id.is_some())
            + usize::from(event.reference.is_some())
            + usize::from(event.note.is_some())
    }

    #[test]
    fn an_event_within_the_stores_that_are_seen_is_shown_as_it_is() {
        let event = event(vec![change("a", &[]), change("b", &[])], vec![hold("a")]);
        assert_eq!(event.clone().within(&Scope::default()), Some(event.clone()));
        assert_eq!(event.clone().within(&scope(&["a", "b"])), Some(event));
    }

    #[test]
    fn of_an_event_over_several_stores_only_own_changes_are_shown_without_its_words() {
        let both = event(vec![change("a", &[]), change("b", &[])], Vec::new());
        let shown = both.clone().within(&scope(&["a"])).unwrap();
        assert_eq!((shown.changes.as_slice(), words(&shown)), (&[change("a", &[])][..], 0));
        assert_eq!(both.within(&scope(&["c"])), None);
    }

    #[test]
    fn a_line_in_another_store_hides_the_words_even_where_it_holds_nothing() {
        let event = event(vec![change("a", &[])], vec![hold("a"), hold("b")]);
        let shown = event.within(&scope(&["a"])).unwrap();
        assert_eq!((shown.holds.len(), words(&shown)), (1, 0));
    }

    #[test]
    fn what_is_noted_of_a_transfer_is_shown_only_to_those_who_see_both_ends() {
        let own = change("a", &[Movement::Sale, Movement::TransferOut, Movement::TransferIn]);
        let event = event(vec![own, change("b", &[])], Vec::new());
        let shown = event.within(&scope(&["a"])).unwrap();
        let noted: Vec<Movement> = shown.changes[0]
            .moves()
            .filter(|one| one.note.is_some())
            .map(|one| one.movement)
            .collect();
        assert_eq!(noted, [Movement::Sale]);
    }
}
