//! The service as it would be if it did one thing at a time and kept everything in two maps. Written from the
//! contract, and on purpose without a line of the service.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::history::{Asked, Id, Level, Line, Lines, PLACES, Place, Reservation, Settle, Shortage, Status, Told};

/// Cheap to copy, as the search tries every operation on a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub levels: BTreeMap<Place, Level>,
    pub reservations: Arc<BTreeMap<Id, Arc<Reservation>>>,
    /// Who has ever held a level, oldest first.
    holders: Arc<BTreeMap<Place, Vec<Id>>>,
}

/// Levels, with their versions, tell most states apart.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.levels.hash(hasher);
    }
}

impl State {
    /// Every place has been counted once.
    pub fn stocked(quantity: u64) -> Self {
        let level = Level {
            quantity,
            reserved: 0,
            version: 1,
        };
        Self {
            levels: PLACES.into_iter().map(|place| (place, level)).collect(),
            reservations: Arc::default(),
            holders: Arc::default(),
        }
    }

    /// Does what is asked, all of it or nothing, and says what the client must be told.
    pub fn answer(&mut self, asked: &Asked) -> Told {
        match asked {
            Asked::ReadLevel(place) => Told::Level(self.levels[place]),
            Asked::ReadReservation(id) => self.known(*id).map_or(Told::NotFound, Told::Reservation),
            Asked::Adjust { place, delta, expected } => self.adjust(*place, *delta, *expected),
            Asked::Reserve { place, id, quantity } => match self.reserve(*id, &Lines::from([(*place, *quantity)])) {
                Ok(reservation) => Told::Reserved(self.levels[place], reservation),
                Err(short) => Told::Short(short),
            },
            Asked::ReserveCart { id, lines } => match self.reserve(*id, lines) {
                Ok(reservation) => Told::Reservation(reservation),
                Err(short) => Told::Short(short),
            },
            Asked::ReleaseHere { place, id } => self.release_here(*place, *id),
            Asked::ReleaseQuantity { place, quantity } => self.release_quantity(*place, *quantity),
            Asked::Settle { how, id, lines } => self.settle(*how, *id, lines.as_ref()),
        }
    }

    fn adjust(&mut self, place: Place, delta: i64, expected: Option<u64>) -> Told {
        let current = self.levels[&place].version;
        if expected.is_some_and(|expected| expected != current) {
            return Told::VersionMismatch { current };
        }
        let taken = Lines::from([(place, delta.min(0).unsigned_abs())]);
        let short = self.shortages(&taken);
        if !short.is_empty() {
            return Told::Short(short);
        }
        self.change(place, delta, 0);
        Told::Level(self.levels[&place])
    }

    fn reserve(&mut self, id: Id, lines: &Lines) -> Result<Reservation, Vec<Shortage>> {
        let short = self.shortages(lines);
        if !short.is_empty() {
            return Err(short);
        }
        for (place, quantity) in lines {
            self.change(*place, 0, quantity.cast_signed());
            Arc::make_mut(&mut self.holders).entry(*place).or_default().push(id);
        }
        let line = |quantity| Line {
            quantity,
            held: quantity,
            committed: 0,
            released: 0,
        };
        let reservation = Reservation {
            id,
            status: Status::Active,
            lines: lines
                .iter()
                .map(|(place, quantity)| (*place, line(*quantity)))
                .collect(),
        };
        Arc::make_mut(&mut self.reservations).insert(id, Arc::new(reservation.clone()));
        Ok(reservation)
    }

    fn release_here(&mut self, place: Place, id: Id) -> Told {
        let Some(reservation) = self.known(id) else {
            return Told::NotFound;
        };
        if reservation.status != Status::Active {
            return Told::NotActive;
        }
        let held = self.held(id, place);
        if held == 0 {
            return Told::NotReserved;
        }
        self.end_hold(Settle::Release, id, place, held);
        self.change(place, 0, -held.cast_signed());
        Told::Level(self.levels[&place])
    }

    fn release_quantity(&mut self, place: Place, quantity: u64) -> Told {
        let mut holders = self.holders.get(&place).cloned().unwrap_or_default();
        holders.retain(|id| self.held(*id, place) > 0);
        if quantity > holders.iter().map(|id| self.held(*id, place)).sum() {
            return Told::NotReserved;
        }
        let mut left = quantity;
        for id in holders {
            let ended = left.min(self.held(id, place));
            self.end_hold(Settle::Release, id, place, ended);
            left -= ended;
        }
        self.change(place, 0, -quantity.cast_signed());
        Told::Level(self.levels[&place])
    }

    fn settle(&mut self, how: Settle, id: Id, lines: Option<&Lines>) -> Told {
        let Some(reservation) = self.known(id) else {
            return Told::NotFound;
        };
        let held = reservation.lines.keys().map(|place| (*place, self.held(id, *place)));
        let held: Lines = held.filter(|(_, held)| *held > 0).collect();
        let lines = lines.unwrap_or(&held);
        if lines.is_empty() || lines.iter().any(|(place, quantity)| *quantity > self.held(id, *place)) {
            return Told::NotActiveAs(reservation);
        }
        for (place, quantity) in lines {
            self.end_hold(how, id, *place, *quantity);
            let sold = if how == Settle::Commit { *quantity } else { 0 };
            self.change(*place, -sold.cast_signed(), -quantity.cast_signed());
        }
        self.known(id).map_or(Told::NotFound, Told::Reservation)
    }

    fn known(&self, id: Id) -> Option<Reservation> {
        self.reservations.get(&id).map(|reservation| (**reservation).clone())
    }

    fn held(&self, id: Id, place: Place) -> u64 {
        let line = self
            .reservations
            .get(&id)
            .and_then(|reservation| reservation.lines.get(&place));
        line.map_or(0, |line| line.held)
    }

    fn shortages(&self, lines: &Lines) -> Vec<Shortage> {
        let short = lines.iter().filter_map(|(place, requested)| {
            let Level { quantity, reserved, .. } = self.levels[place];
            let available = quantity.saturating_sub(reserved);
            (*requested > available).then_some(Shortage {
                place: *place,
                requested: *requested,
                available,
                reserved,
            })
        });
        short.collect()
    }

    /// Moves a level on by one version. In a state with a planted fault the numbers need not add up.
    fn change(&mut self, place: Place, quantity: i64, reserved: i64) {
        let level = self.levels.get_mut(&place).unwrap();
        level.quantity = level.quantity.saturating_add_signed(quantity);
        level.reserved = level.reserved.saturating_add_signed(reserved);
        level.version += 1;
    }

    fn end_hold(&mut self, how: Settle, id: Id, place: Place, quantity: u64) {
        let reservations = Arc::make_mut(&mut self.reservations);
        let reservation = Arc::make_mut(reservations.get_mut(&id).unwrap());
        let line = reservation.lines.get_mut(&place).unwrap();
        line.held -= quantity;
        match how {
            Settle::Commit => line.committed += quantity,
            Settle::Release => line.released += quantity,
        }
        reservation.status = if reservation.lines.values().any(|line| line.held > 0) {
            Status::Active
        } else if reservation.lines.values().any(|line| line.committed > 0) {
            Status::Committed
        } else {
            Status::Released
        };
    }
}
