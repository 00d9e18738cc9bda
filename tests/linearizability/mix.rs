//! What clients ask, at random.

use std::collections::BTreeMap;

use super::history::{Asked, Id, Lines, PLACES, Place, Settle, Told};

#[derive(Clone, Copy)]
enum Kind {
    ReadLevel,
    ReadReservation,
    Adjust,
    AdjustExpecting,
    Reserve,
    ReserveCart,
    ReleaseHere,
    ReleaseQuantity,
    Settle(Settle),
    SettlePart(Settle),
}

/// How often, among all.
const MIX: [(Kind, usize); 12] = [
    (Kind::ReadLevel, 7),
    (Kind::ReadReservation, 4),
    (Kind::Adjust, 4),
    (Kind::AdjustExpecting, 3),
    (Kind::Reserve, 3),
    (Kind::ReserveCart, 4),
    (Kind::ReleaseHere, 2),
    (Kind::ReleaseQuantity, 1),
    (Kind::Settle(Settle::Commit), 2),
    (Kind::Settle(Settle::Release), 2),
    (Kind::SettlePart(Settle::Commit), 1),
    (Kind::SettlePart(Settle::Release), 1),
];

/// Small, so that stock runs short often.
const MOST: usize = 3;

/// The reservations that all clients have thought of so far. They are entered before they are asked for, so that
/// others ask for them meanwhile.
pub type Book = Vec<Lines>;

pub struct Shopper {
    chance: Chance,
    /// The version of each level that it has seen last.
    versions: BTreeMap<Place, u64>,
}

impl Shopper {
    pub fn new(seed: u64) -> Self {
        Self {
            chance: Chance(seed),
            versions: BTreeMap::new(),
        }
    }

    pub fn next(&mut self, book: &mut Book) -> Asked {
        let place = self.place();
        match self.kind() {
            Kind::Adjust => self.adjust(place, None),
            Kind::AdjustExpecting => self.adjust(place, Some(self.versions.get(&place).copied().unwrap_or(1))),
            Kind::Reserve => {
                let quantity = self.quantity(MOST);
                book.push(Lines::from([(place, quantity)]));
                let id = book.len() - 1;
                Asked::Reserve { place, id, quantity }
            }
            Kind::ReserveCart => {
                let lines = self.cart(place);
                book.push(lines.clone());
                let id = book.len() - 1;
                Asked::ReserveCart { id, lines }
            }
            Kind::ReleaseQuantity => {
                let quantity = self.quantity(MOST);
                Asked::ReleaseQuantity { place, quantity }
            }
            Kind::ReadLevel => Asked::ReadLevel(place),
            _ if book.is_empty() => Asked::ReadLevel(place),
            Kind::ReadReservation => Asked::ReadReservation(self.known(book)),
            Kind::ReleaseHere => {
                let id = self.known(book);
                let place = self.line(&book[id]).0;
                Asked::ReleaseHere { place, id }
            }
            Kind::Settle(how) => {
                let (id, lines) = (self.known(book), None);
                Asked::Settle { how, id, lines }
            }
            Kind::SettlePart(how) => {
                let id = self.known(book);
                let (place, quantity) = self.line(&book[id]);
                let lines = Some(Lines::from([(place, self.quantity(quantity as usize))]));
                Asked::Settle { how, id, lines }
            }
        }
    }

    pub fn learn(&mut self, asked: &Asked, told: &Told) {
        let version = match told {
            Told::Level(level) | Told::Reserved(level, _) => level.version,
            Told::VersionMismatch { current } => *current,
            _ => return,
        };
        self.versions.extend(asked.place().map(|place| (place, version)));
    }

    fn kind(&mut self) -> Kind {
        let mut left = self.chance.below(MIX.iter().map(|(_, often)| often).sum());
        let mut kinds = MIX.iter();
        loop {
            let (kind, often) = kinds.next().unwrap();
            if left < *often {
                return *kind;
            }
            left -= often;
        }
    }

    /// More comes in than goes out this way, as commits take stock too.
    fn adjust(&mut self, place: Place, expected: Option<u64>) -> Asked {
        let deltas = [-3, -2, -1, 1, 2, 3, 4];
        let delta = deltas[self.chance.below(deltas.len())];
        Asked::Adjust { place, delta, expected }
    }

    fn cart(&mut self, first: Place) -> Lines {
        let mut lines = Lines::from([(first, self.quantity(MOST))]);
        while lines.len() < 2 {
            let (place, quantity) = (self.place(), self.quantity(MOST));
            lines.entry(place).or_insert(quantity);
        }
        lines
    }

    fn place(&mut self) -> Place {
        PLACES[self.chance.below(PLACES.len())]
    }

    fn quantity(&mut self, most: usize) -> u64 {
        1 + self.chance.below(most) as u64
    }

    /// One of the latest, as the older ones are over.
    fn known(&mut self, book: &Book) -> Id {
        book.len() - 1 - self.chance.below(book.len().min(8))
    }

    fn line(&mut self, lines: &Lines) -> (Place, u64) {
        let (place, quantity) = lines.iter().nth(self.chance.below(lines.len())).unwrap();
        (*place, *quantity)
    }
}

/// SplitMix64.
pub struct Chance(pub u64);

impl Chance {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}
