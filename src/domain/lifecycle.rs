//! The life of reservations over several SKUs and stores, against plain books: what is made, sold, given back, extended
//! and over, beside everything else that happens to the same levels.
//!
//! The books know no indexes and no events. They hold a list of reservations, and add up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::Index;

use super::command::{Counted, Reserve, Set};
use super::decide::Reason;
use super::joint::{
    Cart, CartLine, Joint, JointAction, JointRefusal, JointRequest, LineFault, LineRefusal, Stocks, decide_joint,
};
use super::reservation::Line;
use super::*;

const SKUS: [&str; 3] = ["A", "a", "b/1"];
const STORES: [&str; 2] = ["london", "paris"];
const CALLERS: [&str; 2] = ["till", "web"];

/// A SKU in a store.
type Place = (usize, usize);

#[derive(Clone, Debug)]
enum Step {
    Cart(Wish),
    Resolve {
        of: Which,
        is_sale: bool,
        part: Option<Vec<(Index, u64)>>,
    },
    Extend {
        of: Which,
        ttl_seconds: u64,
    },
    Batch(Vec<Operation>),
    Single(Operation),
    Touch {
        sku: usize,
    },
}

#[derive(Clone, Debug)]
struct Wish {
    /// `None` has an id that nobody else has.
    id: Option<u8>,
    lines: Vec<(Place, u64)>,
    ttl_seconds: Option<u64>,
    is_partial: bool,
    replaces: Option<Which>,
    reference: Option<u8>,
}

/// A reservation that is to be named.
#[derive(Clone, Debug)]
enum Which {
    Open(Index),
    Any(Index),
    Nowhere,
}

#[derive(Clone, Debug)]
struct Operation {
    place: Place,
    act: Act,
    /// What is added to, or taken from, the right version to expect.
    off_by: Option<i8>,
}

#[derive(Clone, Debug)]
enum Act {
    Count {
        quantity: u64,
        moved: Option<i64>,
        name: Option<u8>,
    },
    Adjust {
        delta: i64,
    },
    /// To the other store.
    Transfer {
        quantity: u64,
    },
    Reserve {
        id: Option<u8>,
        quantity: u64,
        ttl_seconds: Option<u64>,
        reference: Option<u8>,
    },
    Release {
        of: Which,
    },
    ReleaseQuantity {
        quantity: u64,
    },
}

#[derive(Clone, Debug)]
struct Call {
    caller: usize,
    step: Step,
    millis_later: i64,
    /// The states are written to a file and read back before it.
    is_reread: bool,
}

fn places() -> impl Strategy<Value = Place> + Clone {
    (0..SKUS.len(), 0..STORES.len())
}

fn which() -> impl Strategy<Value = Which> {
    prop_oneof![
        8 => any::<Index>().prop_map(Which::Open),
        4 => any::<Index>().prop_map(Which::Any),
        1 => Just(Which::Nowhere),
    ]
}

fn ids() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![3 => Just(None), 1 => (0..12_u8).prop_map(Some)]
}

fn lifetimes() -> impl Strategy<Value = Option<u64>> {
    proptest::option::of(1..8_u64)
}

fn operations() -> impl Strategy<Value = Operation> {
    let near_limit = prop_oneof![Just(MAX_QUANTITY), Just(MAX_QUANTITY - 9)];
    let quantity = prop_oneof![30 => 0..25_u64, 1 => near_limit];
    let references = proptest::option::of(0..3_u8);
    let act = prop_oneof![
        2 => (quantity, proptest::option::of(-6..6_i64), proptest::option::of(0..3_u8))
            .prop_map(|(quantity, moved, name)| Act::Count { quantity, moved, name }),
        4 => (-8..10_i64).prop_filter("0 is no change", |delta| *delta != 0).prop_map(|delta| Act::Adjust { delta }),
        2 => (1..8_u64).prop_map(|quantity| Act::Transfer { quantity }),
        4 => (ids(), 1..6_u64, lifetimes(), references)
            .prop_map(|(id, quantity, ttl_seconds, reference)| Act::Reserve { id, quantity, ttl_seconds, reference }),
        2 => which().prop_map(|of| Act::Release { of }),
        2 => (1..9_u64).prop_map(|quantity| Act::ReleaseQuantity { quantity }),
    ];
    let off_by = prop_oneof![6 => Just(None), 3 => Just(Some(0)), 1 => (-1..2_i8).prop_map(Some)];
    (places(), act, off_by).prop_map(|(place, act, off_by)| Operation { place, act, off_by })
}

fn wishes() -> impl Strategy<Value = Wish> {
    let lines = proptest::collection::vec((places(), 1..7_u64), 1..5);
    let replaces = prop_oneof![2 => Just(None), 1 => which().prop_map(Some)];
    let references = proptest::option::of(0..3_u8);
    (
        ids(),
        lines,
        lifetimes(),
        proptest::bool::weighted(0.4),
        replaces,
        references,
    )
        .prop_map(|(id, lines, ttl_seconds, is_partial, replaces, reference)| Wish {
            id,
            lines,
            ttl_seconds,
            is_partial,
            replaces,
            reference,
        })
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let part = proptest::option::of(proptest::collection::vec((any::<Index>(), 1..5_u64), 1..4));
    let step = prop_oneof![
        6 => wishes().prop_map(Step::Cart),
        5 => (which(), any::<bool>(), part).prop_map(|(of, is_sale, part)| Step::Resolve { of, is_sale, part }),
        2 => (which(), 1..8_u64).prop_map(|(of, ttl_seconds)| Step::Extend { of, ttl_seconds }),
        3 => proptest::collection::vec(operations(), 1..6).prop_map(Step::Batch),
        5 => operations().prop_map(Step::Single),
        1 => (0..SKUS.len()).prop_map(|sku| Step::Touch { sku }),
    ];
    let later = prop_oneof![Just(0), Just(1), Just(999), Just(1000), 0..3000_i64];
    let call = (0..CALLERS.len(), step, later, proptest::bool::weighted(0.1));
    let call = call.prop_map(|(caller, step, millis_later, is_reread)| Call {
        caller,
        step,
        millis_later,
        is_reread,
    });
    proptest::collection::vec(call, 1..60)
}

fn sku(index: usize) -> Sku {
    Sku::parse(SKUS[index]).unwrap()
}

fn store(index: usize) -> StoreId {
    StoreId::parse(STORES[index]).unwrap()
}

fn place_of(sku: &Sku, store: &StoreId) -> Place {
    let sku = SKUS.iter().position(|name| *name == sku.as_str());
    let store = STORES.iter().position(|name| *name == store.as_str());
    (sku.unwrap(), store.unwrap())
}

fn reservation_id(name: &str) -> ReservationId {
    ReservationId::parse(name).unwrap()
}

fn reference(number: Option<u8>) -> Option<String> {
    number.map(|number| format!("order {number}"))
}

fn named(name: Option<u8>) -> Details {
    Details {
        name: name.map(|name| format!("name {name}").into()),
        ..Details::default()
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn origin(caller: usize) -> Arc<Origin> {
    Arc::new(Origin {
        by: Principal::parse(CALLERS[caller]).unwrap(),
        request_id: RequestId::parse("r").unwrap(),
        scope: Scope::default(),
    })
}

fn cart_lines(lines: &[(Place, u64)]) -> Vec<CartLine> {
    let lines = lines.iter().map(|((s, t), quantity)| CartLine {
        sku: sku(*s),
        store_id: store(*t),
        quantity: *quantity,
    });
    lines.collect()
}

#[derive(Clone, Default)]
struct Books {
    /// Of each SKU.
    versions: [u64; SKUS.len()],
    names: [Option<u8>; SKUS.len()],
    levels: BTreeMap<Place, Shelf>,
    /// In the order in which they were made.
    booked: Vec<Booked>,
}

#[derive(Clone, Copy, Default)]
struct Shelf {
    quantity: u64,
    version: u64,
    changed_at: i64,
}

#[derive(Clone)]
struct Booked {
    id: String,
    caller: usize,
    reference: Option<u8>,
    rows: BTreeMap<Place, Row>,
    over_at: Option<i64>,
    made_at: i64,
    changed_at: i64,
    has_ended_by_expiry: bool,
}

#[derive(Clone, Default)]
struct Row {
    quantity: u64,
    requested: Option<u64>,
    held: u64,
    committed: u64,
    released: u64,
    expired: u64,
}

/// The levels that a step has touched.
type Touched = BTreeSet<Place>;

impl Booked {
    fn is_active(&self) -> bool {
        self.rows.values().any(|row| row.held > 0)
    }

    fn form(&self) -> Reservation {
        let is_sold = self.rows.values().any(|row| row.committed > 0);
        let status = match (self.is_active(), is_sold, self.has_ended_by_expiry) {
            (true, ..) => ReservationStatus::Active,
            (_, true, _) => ReservationStatus::Committed,
            (_, _, true) => ReservationStatus::Expired,
            _ => ReservationStatus::Released,
        };
        let lines = self.rows.iter().map(|((s, t), row)| Line {
            sku: sku(*s),
            store_id: store(*t),
            quantity: row.quantity,
            requested: row.requested,
            held: row.held,
            committed: row.committed,
            released: row.released,
            expired: row.expired,
        });
        Reservation {
            reservation_id: reservation_id(&self.id),
            by: origin(self.caller).by.clone(),
            status,
            lines: lines.collect(),
            reference: reference(self.reference),
            expires_at: self.over_at.map(at),
            created_at: at(self.made_at),
            updated_at: at(self.changed_at),
        }
    }
}

impl Books {
    fn reserved(&self, place: Place) -> u64 {
        let rows = self.booked.iter().filter_map(|booked| booked.rows.get(&place));
        rows.map(|row| row.held).sum()
    }

    fn available(&self, place: Place) -> Option<u64> {
        Some(self.levels.get(&place)?.quantity - self.reserved(place))
    }

    /// When the next hold on the level ends.
    fn next_end(&self, place: Place) -> Option<Timestamp> {
        let holding = self
            .booked
            .iter()
            .filter(|booked| booked.rows.get(&place).is_some_and(|row| row.held > 0));
        holding.filter_map(|booked| booked.over_at).min().map(at)
    }

    fn find(&self, id: &str) -> Option<&Booked> {
        self.booked.iter().find(|booked| booked.id == id)
    }

    fn find_mut(&mut self, id: &str) -> Option<&mut Booked> {
        self.booked.iter_mut().find(|booked| booked.id == id)
    }

    /// Every SKU and level that was touched is one version further.
    fn close(&mut self, touched: &Touched, now: i64) {
        let skus: BTreeSet<usize> = touched.iter().map(|(sku, _)| *sku).collect();
        skus.into_iter().for_each(|sku| self.versions[sku] += 1);
        for place in touched {
            let level = self.levels.entry(*place).or_default();
            level.version += 1;
            level.changed_at = now;
        }
    }

    fn expire(&mut self, sku: usize, now: i64) -> Touched {
        let mut touched = Touched::new();
        for booked in &mut self.booked {
            if booked.over_at.is_none_or(|over_at| over_at > now) {
                continue;
            }
            let rows = booked.rows.iter_mut();
            for (place, row) in rows.filter(|(place, row)| place.0 == sku && row.held > 0) {
                row.expired += std::mem::take(&mut row.held);
                booked.changed_at = now;
                booked.has_ended_by_expiry = true;
                touched.insert(*place);
            }
        }
        touched
    }

    fn active(&self, id: &str) -> Result<&Booked, JointRefusal> {
        let no = || JointRefusal::NoReservation {
            reservation_id: reservation_id(id),
        };
        let booked = self.find(id).ok_or_else(no)?;
        if !booked.is_active() {
            let reservation = Box::new(booked.form());
            return Err(JointRefusal::ReservationNotActive { reservation });
        }
        Ok(booked)
    }

    fn end(&mut self, id: &str, place: Place, quantity: u64, is_sale: bool, now: i64) {
        let booked = self.find_mut(id).unwrap();
        let row = booked.rows.get_mut(&place).unwrap();
        row.held -= quantity;
        row.committed += if is_sale { quantity } else { 0 };
        row.released += if is_sale { 0 } else { quantity };
        booked.changed_at = now;
        booked.has_ended_by_expiry = false;
        let level = self.levels.get_mut(&place).unwrap();
        level.quantity -= if is_sale { quantity } else { 0 };
    }

    fn cart(
        &mut self,
        wish: &Wish,
        id: &str,
        replaces: Option<&str>,
        caller: usize,
        now: i64,
    ) -> Result<Touched, JointRefusal> {
        let is_taken = self.find(id).is_some();
        let mut touched = Touched::new();
        if let Some(replaced) = replaces {
            if self.find(replaced).is_none_or(|booked| booked.caller != caller) {
                let reservation_id = reservation_id(replaced);
                return Err(JointRefusal::NoReservation { reservation_id });
            }
            let rows = self.active(replaced)?.rows.clone();
            for (place, row) in rows.iter().filter(|(_, row)| row.held > 0) {
                self.end(replaced, *place, row.held, false, now);
                touched.insert(*place);
            }
        }
        let mut asked: BTreeMap<Place, u64> = BTreeMap::new();
        for (place, quantity) in &wish.lines {
            *asked.entry(*place).or_default() += quantity;
        }
        let (mut rows, mut short) = (BTreeMap::new(), Vec::new());
        for (place, requested) in asked {
            let available = self.available(place).unwrap_or(0);
            let granted = if wish.is_partial {
                requested.min(available)
            } else {
                requested
            };
            if granted > available || granted == 0 {
                short.push(LineRefusal {
                    sku: sku(place.0),
                    store_id: store(place.1),
                    requested,
                    fault: match self.levels.get(&place) {
                        None => LineFault::NoLevel,
                        Some(_) => LineFault::Short {
                            available,
                            reserved: self.reserved(place),
                            next_expiry: self.next_end(place),
                        },
                    },
                });
            }
            rows.insert(
                place,
                Row {
                    quantity: granted,
                    requested: wish.is_partial.then_some(requested),
                    held: granted,
                    ..Row::default()
                },
            );
        }
        let is_nothing = rows.values().all(|row| row.held == 0);
        let is_refused = is_nothing || !wish.is_partial && !short.is_empty();
        let is_unknown = short.iter().all(|line| line.fault == LineFault::NoLevel);
        if is_taken && !(is_refused && is_unknown) {
            let reservation_id = reservation_id(id);
            return Err(JointRefusal::ReservationExists { reservation_id });
        }
        if is_refused {
            return Err(JointRefusal::Lines(short));
        }
        touched.extend(rows.iter().filter(|(_, row)| row.held > 0).map(|(place, _)| *place));
        self.book(id, caller, wish.reference, rows, wish.ttl_seconds, now);
        Ok(touched)
    }

    fn book(
        &mut self,
        id: &str,
        caller: usize,
        reference: Option<u8>,
        rows: BTreeMap<Place, Row>,
        ttl_seconds: Option<u64>,
        now: i64,
    ) {
        self.booked.push(Booked {
            id: id.to_owned(),
            caller,
            reference,
            rows,
            over_at: ttl_seconds.map(|seconds| now + 1000 * seconds as i64),
            made_at: now,
            changed_at: now,
            has_ended_by_expiry: false,
        });
    }

    fn resolve(
        &mut self,
        id: &str,
        part: Option<&[(Place, u64)]>,
        is_sale: bool,
        now: i64,
    ) -> Result<Touched, JointRefusal> {
        let booked = self.active(id)?;
        let mut asked: BTreeMap<Place, u64> = BTreeMap::new();
        match part {
            Some(part) => part
                .iter()
                .for_each(|(place, quantity)| *asked.entry(*place).or_default() += quantity),
            None => {
                let rows = booked.rows.iter().filter(|(_, row)| row.held > 0);
                asked.extend(rows.map(|(place, row)| (*place, row.held)));
            }
        }
        let mut too_much = Vec::new();
        for (place, requested) in &asked {
            let held = booked.rows.get(place).map_or(0, |row| row.held);
            if *requested > held {
                too_much.push(LineRefusal {
                    sku: sku(place.0),
                    store_id: store(place.1),
                    requested: *requested,
                    fault: LineFault::NotHeld { held },
                });
            }
        }
        if !too_much.is_empty() {
            return Err(JointRefusal::MoreThanHeld {
                reservation: Box::new(booked.form()),
                lines: too_much,
            });
        }
        for (place, quantity) in &asked {
            self.end(id, *place, *quantity, is_sale, now);
        }
        Ok(asked.into_keys().collect())
    }

    fn extend(&mut self, id: &str, ttl_seconds: u64, now: i64) -> Result<Touched, JointRefusal> {
        self.active(id)?;
        let booked = self.find_mut(id).unwrap();
        booked.over_at = Some(now + 1000 * ttl_seconds as i64);
        booked.changed_at = now;
        let rows = booked.rows.iter().filter(|(_, row)| row.held > 0);
        Ok(rows.map(|(place, _)| *place).collect())
    }

    /// The versions that it may expect are those of `ground`.
    fn operate(&mut self, operation: &Named, ground: &Self, caller: usize, now: i64) -> Result<Touched, Reason> {
        let Named { place, act, expected } = operation;
        let place = *place;
        if !self.levels.contains_key(&place) && !matches!(act, NamedAct::Count { .. }) {
            return Err(Reason::NoLevel);
        }
        let current = ground.levels.get(&place).map_or(0, |level| level.version);
        if let Some(expected) = expected.filter(|expected| *expected != current) {
            return Err(Reason::VersionMismatch { expected, current });
        }
        let here = self.levels.get(&place).map_or(0, |level| level.quantity);
        let elsewhere: u64 = self
            .levels
            .iter()
            .filter(|((s, t), _)| *s == place.0 && *t != place.1)
            .map(|(_, level)| level.quantity)
            .sum();
        let check_limit = |quantity: u64| match quantity + elsewhere > MAX_QUANTITY {
            true => Err(Reason::QuantityLimit),
            false => Ok(quantity),
        };
        let (available, reserved) = (self.available(place).unwrap_or(0), self.reserved(place));
        let next_expiry = self.next_end(place);
        let check_available = |requested: u64| match requested > available {
            true => Err(Reason::InsufficientStock {
                requested,
                available,
                reserved,
                next_expiry,
            }),
            false => Ok(()),
        };
        let mut touched = Touched::from([place]);
        match act {
            NamedAct::Count { quantity, moved, name } => {
                let requested = *quantity as i64 + moved.unwrap_or(0);
                if requested < reserved as i64 {
                    return Err(Reason::BelowReserved { requested, reserved });
                }
                let quantity = check_limit(requested as u64)?;
                self.levels.entry(place).or_default().quantity = quantity;
                self.names[place.0] = name.or(self.names[place.0]);
            }
            NamedAct::Adjust { delta } => {
                if *delta < 0 {
                    check_available(delta.unsigned_abs())?;
                }
                let quantity = check_limit(here.checked_add_signed(*delta).unwrap())?;
                self.levels.get_mut(&place).unwrap().quantity = quantity;
            }
            NamedAct::Transfer { quantity } => {
                check_available(*quantity)?;
                let to = (place.0, 1 - place.1);
                self.levels.get_mut(&place).unwrap().quantity -= quantity;
                self.levels.entry(to).or_default().quantity += quantity;
                touched.insert(to);
            }
            NamedAct::Reserve {
                id,
                quantity,
                ttl_seconds,
                reference,
            } => {
                if self.find(id).is_some() {
                    let reservation_id = reservation_id(id);
                    return Err(Reason::ReservationExists { reservation_id });
                }
                check_available(*quantity)?;
                let row = Row {
                    quantity: *quantity,
                    held: *quantity,
                    ..Row::default()
                };
                self.book(
                    id,
                    caller,
                    *reference,
                    BTreeMap::from([(place, row)]),
                    *ttl_seconds,
                    now,
                );
            }
            NamedAct::Release { id } => {
                let row = self.find(id).and_then(|booked| booked.rows.get(&place));
                let held = row.map_or(0, |row| row.held);
                if held == 0 {
                    let reservation_id = reservation_id(id);
                    return Err(Reason::NoHold { reservation_id });
                }
                self.end(id, place, held, false, now);
            }
            NamedAct::ReleaseQuantity { quantity } => self.release_own(place, *quantity, caller, now)?,
        }
        Ok(touched)
    }

    fn release_own(&mut self, place: Place, requested: u64, caller: usize, now: i64) -> Result<(), Reason> {
        let own = self.booked.iter().filter(|booked| booked.caller == caller);
        let own: Vec<(String, u64)> = own
            .filter_map(|booked| Some((booked.id.clone(), booked.rows.get(&place)?.held)))
            .collect();
        let held = own.iter().map(|(_, held)| held).sum();
        if held < requested {
            return Err(Reason::NotReserved { requested, held });
        }
        let mut left = requested;
        for (id, held) in own {
            let taken = left.min(held);
            left -= taken;
            if taken > 0 {
                self.end(&id, place, taken, false, now);
            }
        }
        Ok(())
    }
}

/// An operation, with everything that it speaks of known.
#[derive(Clone, Debug)]
struct Named {
    place: Place,
    act: NamedAct,
    expected: Option<u64>,
}

#[derive(Clone, Debug)]
enum NamedAct {
    Count {
        quantity: u64,
        moved: Option<i64>,
        name: Option<u8>,
    },
    Adjust {
        delta: i64,
    },
    Transfer {
        quantity: u64,
    },
    Reserve {
        id: String,
        quantity: u64,
        ttl_seconds: Option<u64>,
        reference: Option<u8>,
    },
    Release {
        id: String,
    },
    ReleaseQuantity {
        quantity: u64,
    },
}

impl Named {
    fn request(&self, caller: usize, is_known: impl Fn(&str) -> bool) -> Request {
        let action = match self.act.clone() {
            NamedAct::Count { quantity, moved, name } => Action::Set(Box::new(Set {
                quantity,
                counted: moved.map(|moved| Counted { at: at(0), moved }),
                details: named(name),
                ..Set::default()
            })),
            NamedAct::Adjust { delta } => Action::Adjust {
                delta,
                movement: if delta > 0 { Movement::StockIn } else { Movement::Sale },
                note: Some("as it was found".to_owned()),
            },
            NamedAct::Transfer { quantity } => Action::Transfer {
                to: store(1 - self.place.1),
                quantity,
                note: None,
            },
            NamedAct::Reserve {
                id,
                quantity,
                ttl_seconds,
                reference: number,
            } => Action::Reserve(Reserve {
                quantity,
                reservation_id: reservation_id(&id),
                is_taken: is_known(&id),
                over_quota: None,
                ttl_seconds,
                reference: reference(number),
            }),
            NamedAct::Release { id } => Action::ReleaseReservation {
                reservation_id: reservation_id(&id),
                is_hidden: false,
            },
            NamedAct::ReleaseQuantity { quantity } => Action::ReleaseQuantity { quantity },
        };
        Request {
            sku: sku(self.place.0),
            store_id: store(self.place.1),
            action,
            resource: Resource::Level,
            expected: Expected {
                version: self.expected,
                ..Expected::default()
            },
            origin: origin(caller),
        }
    }
}

/// The stocks as their actors would keep them, the log, and the books beside them.
struct House {
    stocks: Vec<Stock>,
    log: Vec<Event>,
    /// Moved along with every event, as a storage engine does it.
    directory: BTreeMap<ReservationId, Reservation>,
    books: Books,
    now: i64,
    made: u32,
}

impl House {
    /// With ten of everything, as far as a level is to be there.
    fn opened(has_level: &[bool]) -> Self {
        let mut house = Self {
            stocks: vec![Stock::default(); SKUS.len()],
            log: Vec::new(),
            directory: BTreeMap::new(),
            books: Books::default(),
            now: 1_000_000,
            made: 0,
        };
        for i in (0..SKUS.len() * STORES.len()).filter(|i| has_level[*i]) {
            let place = (i / STORES.len(), i % STORES.len());
            let operation = Operation {
                place,
                act: Act::Count {
                    quantity: 10,
                    moved: None,
                    name: None,
                },
                off_by: None,
            };
            house.single(&operation, 0);
        }
        house
    }

    fn call(&mut self, call: &Call) {
        self.now += call.millis_later;
        if call.is_reread {
            self.reread();
        }
        match &call.step {
            Step::Cart(wish) => self.cart(wish, call.caller),
            Step::Resolve { of, is_sale, part } => self.resolve(of, *is_sale, part.as_deref(), call.caller),
            Step::Extend { of, ttl_seconds } => self.extend(of, *ttl_seconds, call.caller),
            Step::Batch(operations) => self.batch(operations, call.caller),
            Step::Single(operation) => self.single(operation, call.caller),
            Step::Touch { sku } => self.expire([*sku]),
        }
        self.check();
    }

    /// What goes on from a checkpoint goes on as if there had been none.
    fn reread(&mut self) {
        for stock in &mut self.stocks {
            let json = serde_json::to_string(&StockImage::from(&*stock)).unwrap();
            let image: StockImage = serde_json::from_str(&json).unwrap();
            let read = Stock::from(image);
            assert_eq!(read, *stock);
            *stock = read;
        }
        let json = serde_json::to_string(&self.directory).unwrap();
        assert_eq!(serde_json::from_str::<BTreeMap<_, _>>(&json).unwrap(), self.directory);
    }

    fn id_of(&self, which: &Which) -> String {
        let open: Vec<&Booked> = self.books.booked.iter().filter(|booked| booked.is_active()).collect();
        match which {
            Which::Open(index) if !open.is_empty() => index.get(&open).id.clone(),
            Which::Any(index) if !self.books.booked.is_empty() => index.get(&self.books.booked).id.clone(),
            _ => "nowhere".to_owned(),
        }
    }

    fn new_id(&mut self, chosen: Option<u8>) -> String {
        self.made += 1;
        chosen.map_or_else(|| format!("made {}", self.made), |chosen| format!("chosen {chosen}"))
    }

    fn expire(&mut self, skus: impl IntoIterator<Item = usize>) {
        for index in skus {
            let touched = self.books.expire(index, self.now);
            let events = expire(&sku(index), &self.stocks[index], at(self.now), &origin(0));
            assert_eq!(events.len(), usize::from(!touched.is_empty()), "{events:?}");
            for event in events {
                assert_eq!(event.kind, EventKind::ReservationExpired);
                self.record(event, &touched);
            }
        }
    }

    /// The states that a joint step borrows, with what is over recorded; and its reservation as it is then.
    fn prepared(&mut self, skus: &[Sku]) -> Stocks {
        let indexes: Vec<usize> = skus.iter().map(|sku| place_of(sku, &store(0)).0).collect();
        self.expire(indexes.iter().copied());
        Stocks::of(indexes.iter().map(|i| (sku(*i), self.stocks[*i].clone())))
    }

    fn told(&self, id: &str) -> Option<Reservation> {
        Reservation::of_events(&reservation_id(id), &self.log)
    }

    /// What is asked of a reservation that there is nowhere does not come so far as to be decided.
    fn joint(
        &mut self,
        action: JointAction,
        caller: usize,
        in_books: impl FnOnce(&mut Books, i64) -> Result<Touched, JointRefusal>,
    ) -> Option<Joint> {
        let mut request = JointRequest {
            action,
            origin: origin(caller),
        };
        let stocks = self.prepared(&request.skus());
        let told = request
            .reservation_mut()
            .map(|reservation| self.told(reservation.reservation_id.as_str()).unwrap());
        if let (Some(reservation), Some(told)) = (request.reservation_mut(), told) {
            *reservation = told;
        }
        let decided = decide_joint(&stocks, &request, &AllOpen, at(self.now));
        let mut books = self.books.clone();
        let expected = in_books(&mut books, self.now);
        match (decided, expected) {
            (Ok(joint), Ok(touched)) => {
                self.books = books;
                self.record(joint.event.clone(), &touched);
                Some(joint)
            }
            (Err(refused), Err(expected)) => {
                let (refused, expected) = match &request.action {
                    JointAction::Reserve(cart) if cart.replaces.is_some() => {
                        (without_next_expiry(refused), without_next_expiry(expected))
                    }
                    _ => (refused, expected),
                };
                assert_eq!(refused, expected, "{request:?}");
                None
            }
            (decided, expected) => panic!("{request:?}: {decided:?} instead of {expected:?}"),
        }
    }

    fn cart(&mut self, wish: &Wish, caller: usize) {
        let (id, replaces) = (self.new_id(wish.id), wish.replaces.as_ref().map(|of| self.id_of(of)));
        let replaced = replaces.as_ref().and_then(|id| self.told(id));
        if let (Some(replaces), None) = (&replaces, &replaced) {
            return assert!(self.books.find(replaces).is_none());
        }
        let cart = Cart {
            reservation_id: reservation_id(&id),
            is_taken: self.told(&id).is_some(),
            over_quota: None,
            lines: cart_lines(&wish.lines),
            ttl_seconds: wish.ttl_seconds,
            reference: reference(wish.reference),
            replaces: replaced,
            allow_partial: wish.is_partial,
        };
        let in_books = |books: &mut Books, now| books.cart(wish, &id, replaces.as_deref(), caller, now);
        if let Some(joint) = self.joint(JointAction::Reserve(cart), caller, in_books) {
            let Event { kind, reference, .. } = joint.event;
            assert_eq!(
                (kind, reference),
                (
                    EventKind::ReservationCreated,
                    super::lifecycle::reference(wish.reference)
                )
            );
        }
    }

    fn resolve(&mut self, of: &Which, is_sale: bool, part: Option<&[(Index, u64)]>, caller: usize) {
        let id = self.id_of(of);
        let Some(reservation) = self.told(&id) else {
            return assert!(self.books.find(&id).is_none());
        };
        // Mostly of its own lines, and sometimes of any.
        let mut lines: Vec<Place> = self.books.find(&id).unwrap().rows.keys().copied().collect();
        lines.extend(lines.clone().repeat(3));
        lines.extend([(0, 0), (2, 1)]);
        let part: Option<Vec<(Place, u64)>> = part.map(|part| {
            part.iter()
                .map(|(index, quantity)| (*index.get(&lines), *quantity))
                .collect()
        });
        let (asked, note) = (part.as_deref().map(cart_lines), Some("a note".to_owned()));
        let action = match is_sale {
            true => JointAction::Commit {
                reservation,
                part: asked,
                note,
            },
            false => JointAction::Release {
                reservation,
                part: asked,
                note,
            },
        };
        let in_books = |books: &mut Books, now| books.resolve(&id, part.as_deref(), is_sale, now);
        let Some(joint) = self.joint(action, caller, in_books) else {
            return;
        };
        assert_eq!(joint.reservation, Some(self.books.find(&id).unwrap().form()));
        let movement = is_sale.then_some(Movement::Sale);
        assert!(joint.event.changes.iter().all(|change| change.movement == movement));
        assert_eq!(joint.event.note.as_deref(), Some("a note"));
        let kind = match is_sale {
            true => EventKind::ReservationCommitted,
            false => EventKind::ReservationReleased,
        };
        assert_eq!(joint.event.kind, kind);
    }

    fn extend(&mut self, of: &Which, ttl_seconds: u64, caller: usize) {
        let id = self.id_of(of);
        let Some(reservation) = self.told(&id) else {
            return assert!(self.books.find(&id).is_none());
        };
        let action = JointAction::Extend {
            reservation,
            ttl_seconds,
        };
        let in_books = |books: &mut Books, now| books.extend(&id, ttl_seconds, now);
        let Some(joint) = self.joint(action, caller, in_books) else {
            return;
        };
        assert_eq!(joint.event.kind, EventKind::ReservationExtended);
        assert_eq!(joint.reservation, Some(self.books.find(&id).unwrap().form()));
    }

    fn named(&mut self, operation: &Operation) -> Named {
        let act = match operation.act.clone() {
            Act::Count { quantity, moved, name } => NamedAct::Count { quantity, moved, name },
            Act::Adjust { delta } => NamedAct::Adjust { delta },
            Act::Transfer { quantity } => NamedAct::Transfer { quantity },
            Act::Reserve {
                id,
                quantity,
                ttl_seconds,
                reference,
            } => NamedAct::Reserve {
                id: self.new_id(id),
                quantity,
                ttl_seconds,
                reference,
            },
            Act::Release { of } => NamedAct::Release { id: self.id_of(&of) },
            Act::ReleaseQuantity { quantity } => NamedAct::ReleaseQuantity { quantity },
        };
        Named {
            place: operation.place,
            act,
            expected: None,
        }
    }

    /// To be asked once what is over has been recorded, as that makes versions too.
    fn expected(&self, operation: &Operation) -> Option<u64> {
        let current = self.books.levels.get(&operation.place).map_or(0, |level| level.version);
        current.checked_add_signed(operation.off_by?.into())
    }

    fn batch(&mut self, operations: &[Operation], caller: usize) {
        let skus: BTreeSet<usize> = operations.iter().map(|operation| operation.place.0).collect();
        self.expire(skus);
        let mut named: Vec<Named> = Vec::new();
        for operation in operations {
            let expected = self.expected(operation);
            let mut operation = self.named(operation);
            match &mut operation.act {
                // What has moved since is for the step to know.
                NamedAct::Count { moved, .. } => *moved = None,
                // Ids that nobody has yet, and that a batch may well have twice.
                NamedAct::Reserve { id, quantity, .. } if *quantity % 2 == 0 => {
                    *id = format!("batch {} {}", self.log.len(), *quantity % 4);
                }
                _ => {}
            }
            named.push(Named { expected, ..operation });
        }
        let requests = named
            .iter()
            .map(|named| named.request(caller, |id| self.told(id).is_some()));
        let action = JointAction::Batch(requests.collect());
        let mut each: Vec<Touched> = Vec::new();
        let in_books = |books: &mut Books, now| {
            let ground = books.clone();
            let (mut touched, mut refused) = (Touched::new(), Vec::new());
            for (index, named) in (0..).zip(&named) {
                match books.operate(named, &ground, caller, now) {
                    Ok(found) => {
                        touched.extend(found.iter().copied());
                        each.push(found);
                    }
                    Err(reason) => refused.push((index, refusal(named, reason))),
                }
            }
            match refused.is_empty() {
                true => Ok(touched),
                false => Err(JointRefusal::Operations(refused)),
            }
        };
        let Some(joint) = self.joint(action, caller, in_books) else {
            return;
        };
        assert_eq!(joint.event.kind, EventKind::BatchApplied);
        let places: Vec<Place> = places_of(&joint.event);
        let told = joint.operations.iter().map(|touched| {
            let changes = touched.changes.iter();
            changes.map(|change| places[*change as usize]).collect::<Touched>()
        });
        assert_eq!(told.collect::<Vec<_>>(), each);
        for (touched, named) in joint.operations.iter().zip(&named) {
            let made = match &named.act {
                NamedAct::Reserve { id, .. } => Some(reservation_id(id)),
                _ => None,
            };
            assert_eq!(touched.reservation_id, made);
        }
    }

    fn single(&mut self, operation: &Operation, caller: usize) {
        let index = operation.place.0;
        self.expire([index]);
        let expected = self.expected(operation);
        let named = Named {
            expected,
            ..self.named(operation)
        };
        let request = named.request(caller, |id| self.told(id).is_some());
        let decided = decide(&self.stocks[index], &request, &AllOpen, at(self.now));
        let mut books = self.books.clone();
        let expected = books.operate(&named, &self.books, caller, self.now);
        match (decided, expected) {
            (Ok(event), Ok(touched)) => {
                self.books = books;
                self.record(event, &touched);
            }
            (Err(refused), Err(expected)) => assert_eq!(refused, refusal(&named, expected)),
            (decided, expected) => panic!("{request:?}: {decided:?} instead of {expected:?}"),
        }
    }

    /// Checks what must hold of any event, and records it as actors and journal would.
    fn record(&mut self, event: Event, touched: &Touched) {
        self.books.close(touched, self.now);
        let places = places_of(&event);
        assert_eq!(
            places.len(),
            touched.len(),
            "a level is changed once in one event: {event:?}"
        );
        assert_eq!(&places.iter().copied().collect::<Touched>(), touched, "{event:?}");
        assert!(event.is_in_order(), "{event:?}");
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
        for (change, place) in event.changes.iter().zip(&places) {
            assert_eq!(change.version, self.books.levels[place].version);
            assert_eq!(change.item_version, self.books.versions[place.0]);
            let moves: Vec<Move> = change.moves().collect();
            assert_eq!(
                moves.iter().map(|one| one.delta).sum::<i64>(),
                change.delta,
                "{event:?}"
            );
            let last = moves.last().map_or(change.quantity, |last| last.quantity);
            assert_eq!(last, change.quantity, "{event:?}");
        }
        for (sku, _) in event.parts() {
            let (index, _) = place_of(sku, &store(0));
            assert_eq!(self.stocks[index].contradiction(sku, &event), None);
            self.stocks[index].evolve(sku, &event);
            assert_eq!(self.stocks[index].fault(), None);
        }
        for reservation in self.directory.values_mut() {
            reservation.take(&event.holds_of(&reservation.reservation_id), event.at);
        }
        for (id, made) in Reservation::all_made_by(&event) {
            assert_eq!(Reservation::made_by(&event, &event.holds_of(id)).as_ref(), Some(&made));
            assert!(
                self.directory.insert(id.clone(), made).is_none(),
                "{id:?} is made twice"
            );
        }
        self.log.push(event);
    }

    fn check(&self) {
        for (index, stock) in self.stocks.iter().enumerate() {
            assert_eq!(stock.version(), self.books.versions[index]);
            assert_eq!(
                stock.details().cloned().unwrap_or_default(),
                named(self.books.names[index])
            );
            assert_eq!(
                stock.levels().count(),
                self.books.levels.keys().filter(|place| place.0 == index).count()
            );
            let next = (0..STORES.len()).filter_map(|store| self.books.next_end((index, store)));
            assert_eq!(stock.next_deadline(), next.min());
        }
        for (place, expected) in &self.books.levels {
            let level = self.stocks[place.0].level(&store(place.1)).unwrap();
            let reserved = self.books.reserved(*place);
            assert!(reserved <= expected.quantity, "the books themselves are oversold");
            assert_eq!(
                (level.quantity, level.reserved, level.version, level.updated_at),
                (expected.quantity, reserved, expected.version, at(expected.changed_at))
            );
            self.check_holds(*place);
        }
        assert_eq!(self.directory.len(), self.books.booked.len());
        for booked in &self.books.booked {
            let form = booked.form();
            assert!(
                form.lines
                    .iter()
                    .all(|l| l.quantity == l.held + l.committed + l.released + l.expired)
            );
            assert_eq!(self.directory.get(&form.reservation_id), Some(&form));
        }
    }

    /// Those on a level, oldest first.
    fn check_holds(&self, place: Place) {
        let holds = self.stocks[place.0].holds().into_iter();
        let in_store = store(place.1);
        let holds = holds.flat_map(|holds| holds.oldest_first(&in_store));
        let found: Vec<_> = holds
            .map(|hold| {
                (
                    hold.reservation_id.to_string(),
                    hold.by.clone(),
                    hold.held,
                    hold.expires_at,
                )
            })
            .collect();
        let booked = self.books.booked.iter().filter_map(|booked| {
            let row = booked.rows.get(&place).filter(|row| row.held > 0)?;
            Some((
                booked.id.clone(),
                origin(booked.caller).by.clone(),
                row.held,
                booked.over_at.map(at),
            ))
        });
        assert_eq!(found, booked.collect::<Vec<_>>());
    }

    /// The log tells all of it by itself.
    fn check_log(&self) {
        for booked in &self.books.booked {
            assert_eq!(self.told(&booked.id), Some(booked.form()));
        }
        assert_eq!(self.told("nowhere"), None);
        for (index, stock) in self.stocks.iter().enumerate() {
            let (mut replayed, sku) = (Stock::default(), sku(index));
            let own = self
                .log
                .iter()
                .filter(|event| event.skus().any(|touched| *touched == sku));
            own.for_each(|event| replayed.evolve(&sku, event));
            assert_eq!(&replayed, stock, "the state is a function of the log");
        }
    }
}

fn places_of(event: &Event) -> Vec<Place> {
    let changes = event.changes.iter();
    changes.map(|change| place_of(&change.sku, &change.store_id)).collect()
}

/// When a hold ends that the cart itself gives back is left to a test of its own.
fn without_next_expiry(refused: JointRefusal) -> JointRefusal {
    let JointRefusal::Lines(mut lines) = refused else {
        return refused;
    };
    for line in &mut lines {
        if let LineFault::Short { next_expiry, .. } = &mut line.fault {
            *next_expiry = None;
        }
    }
    JointRefusal::Lines(lines)
}

fn refusal(named: &Named, reason: Reason) -> Refusal {
    Refusal {
        sku: sku(named.place.0),
        store_id: store(named.place.1),
        resource: Resource::Level,
        reason,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reservations_live_as_the_plain_books_say(
        has_level in proptest::collection::vec(proptest::bool::weighted(0.85), SKUS.len() * STORES.len()),
        calls in calls(),
    ) {
        let mut house = House::opened(&has_level);
        calls.iter().for_each(|call| house.call(call));
        house.check_log();
    }
}

/// A cart of one line, of a caller who may hold something already.
fn cart_of(caller: usize, quantity: u64, replaces: Option<Reservation>) -> JointRequest {
    let cart = Cart {
        reservation_id: reservation_id("new"),
        is_taken: false,
        over_quota: None,
        lines: cart_lines(&[((0, 0), quantity)]),
        ttl_seconds: None,
        reference: None,
        replaces,
        allow_partial: false,
    };
    JointRequest {
        action: JointAction::Reserve(cart),
        origin: origin(caller),
    }
}

#[test]
fn a_cart_that_is_refused_is_told_when_a_hold_of_others_ends_and_not_its_own() {
    let mut house = House::opened(&[true; SKUS.len() * STORES.len()]);
    for (caller, ttl_seconds) in [(0, 5), (1, 60)] {
        let reserve = Operation {
            place: (0, 0),
            act: Act::Reserve {
                id: Some(caller as u8),
                quantity: 4,
                ttl_seconds: Some(ttl_seconds),
                reference: None,
            },
            off_by: None,
        };
        house.single(&reserve, caller);
    }
    let request = cart_of(0, 7, house.told("chosen 0"));
    let stocks = house.prepared(&request.skus());
    let refused = decide_joint(&stocks, &request, &AllOpen, at(house.now)).unwrap_err();
    let JointRefusal::Lines(lines) = refused else {
        panic!("{refused:?}")
    };
    let expected = LineFault::Short {
        available: 6,
        reserved: 4,
        next_expiry: Some(at(house.now + 60_000)),
    };
    assert_eq!(lines[0].fault, expected);
}
