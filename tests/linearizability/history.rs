//! What clients asked and were told, and when.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One SKU in one store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    pub sku: &'static str,
    pub store: &'static str,
}

/// Few, so that clients meet, and one SKU in two stores, as its levels have one owner.
pub const PLACES: [Place; 4] = [A, B, Place { sku: "A", store: "s2" }, Place { sku: "C", store: "s2" }];
pub const A: Place = Place { sku: "A", store: "s1" };
pub const B: Place = Place { sku: "B", store: "s1" };

/// A reservation, by its place in the order in which clients thought of them.
pub type Id = usize;

/// How much of which level.
pub type Lines = BTreeMap<Place, u64>;

#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    ReadLevel(Place),
    ReadReservation(Id),
    Adjust {
        place: Place,
        delta: i64,
        expected: Option<u64>,
    },
    Reserve {
        place: Place,
        id: Id,
        quantity: u64,
    },
    ReserveCart {
        id: Id,
        lines: Lines,
    },
    /// What the reservation holds of this level.
    ReleaseHere {
        place: Place,
        id: Id,
    },
    /// From whatever holds this level, oldest first.
    ReleaseQuantity {
        place: Place,
        quantity: u64,
    },
    /// All that the reservation holds, or these lines of it.
    Settle {
        how: Settle,
        id: Id,
        lines: Option<Lines>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Settle {
    Commit,
    Release,
}

impl Asked {
    /// The level whose route was asked.
    pub fn place(&self) -> Option<Place> {
        match self {
            Self::ReadLevel(place)
            | Self::Adjust { place, .. }
            | Self::Reserve { place, .. }
            | Self::ReleaseHere { place, .. }
            | Self::ReleaseQuantity { place, .. } => Some(*place),
            Self::ReadReservation(_) | Self::ReserveCart { .. } | Self::Settle { .. } => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Level(Level),
    Reservation(Reservation),
    /// By the level's route, which shows the level too.
    Reserved(Level, Reservation),
    NotFound,
    VersionMismatch {
        current: u64,
    },
    /// Every line that is short.
    Short(Vec<Shortage>),
    NotReserved,
    /// By the level's route.
    NotActive,
    /// By the reservation's routes, which show it as it stands.
    NotActiveAs(Reservation),
    /// What no state explains: another status, or an answer of another form.
    Other(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Level {
    pub quantity: u64,
    pub reserved: u64,
    pub version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reservation {
    pub id: Id,
    pub status: Status,
    pub lines: BTreeMap<Place, Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    Active,
    Committed,
    Released,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Line {
    pub quantity: u64,
    pub held: u64,
    pub committed: u64,
    pub released: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Shortage {
    pub place: Place,
    pub requested: u64,
    pub available: u64,
    pub reserved: u64,
}

/// Whoever reads everything at the end, when the other clients have finished.
pub const LAST_READER: usize = 99;

/// One request of one client. Times are since the beginning of the history, by one clock.
#[derive(Clone, Debug)]
pub struct Operation {
    pub client: usize,
    pub asked: Asked,
    pub invoked: Duration,
    /// `None` where no answer came: it may have taken effect at any time since, or never.
    pub answer: Option<Answer>,
    /// Of one without an answer: the service was gone by then, so that it took effect before, or never will.
    pub gone: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub at: Duration,
    pub told: Told,
}

/// The history as it stood when so many answers had come: the others are still to come.
pub fn prefix(history: &[Operation], answers: usize) -> Vec<Operation> {
    let mut times: Vec<Duration> = history.iter().filter_map(|o| Some(o.answer.as_ref()?.at)).collect();
    times.sort();
    let end = times[answers - 1];
    let begun = history.iter().filter(|operation| operation.invoked <= end);
    let cut = |operation: &Operation| Operation {
        answer: operation.answer.clone().filter(|answer| answer.at <= end),
        ..operation.clone()
    };
    begun.map(cut).collect()
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (client, asked) = (self.client, &self.asked);
        let micros = self.invoked.as_micros();
        match &self.answer {
            Some(Answer { at, told }) => {
                write!(f, "{micros:>9}..{:<9} #{client} {asked:?} -> {told:?}", at.as_micros())
            }
            None => write!(f, "{micros:>9}..          #{client} {asked:?} -> not answered"),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.sku, self.store)
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} reserved {} v{}", self.quantity, self.reserved, self.version)
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            quantity,
            held,
            committed,
            released,
        } = self;
        write!(f, "{quantity} held {held} committed {committed} released {released}")
    }
}
