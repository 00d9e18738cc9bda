//! The bench's own books: what each level must hold after what was answered with success.
//!
//! The ledger knows only what it was told to apply. It never looks at what the service answers
//! along the way, so a write that the service applied twice, lost, or applied to another level
//! shows as a difference at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::invoices::{Adjust, Cart, Invoices, Kind, Operation};
use super::stock::{Count, Level, LevelKey};

/// What a level must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Stand {
    pub quantity: i64,
    pub reserved: i64,
}

pub struct Ledger {
    /// One for each of `Invoices::levels`, in that order.
    keys: Vec<LevelKey>,
    stands: Vec<Stand>,
    /// What was sold of each.
    sold: Vec<i64>,
    /// Levels that the service already had and the file does not touch.
    others: BTreeSet<LevelKey>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LevelDifference {
    #[serde(flatten)]
    pub key: LevelKey,
    pub problem: Fault,
    pub expected: Option<Stand>,
    pub found: Option<Found>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    Missing,
    Differs,
    Unexpected,
    ListedTwice,
    /// `available` is not `quantity - reserved`.
    AvailableIsWrong,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Found {
    pub quantity: i64,
    pub reserved: i64,
    pub available: i64,
}

/// The movements of a level do not tell what was sold of it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SalesDifference {
    #[serde(flatten)]
    pub key: LevelKey,
    pub expected: i64,
    pub found: i64,
}

impl Ledger {
    /// Begins with so much in each level that nothing in the file can be refused for want of
    /// stock, in whatever order the operations arrive: what is reserved there already, and everything
    /// that the file will sell or remove.
    pub fn open(invoices: &Invoices, before: &[Level]) -> Self {
        let before: BTreeMap<_, _> = before.iter().map(|l| (&l.key, l.reserved)).collect();
        let mut stands: Vec<Stand> = invoices
            .levels
            .iter()
            .map(|key| before.get(key).copied().unwrap_or_default())
            .map(|reserved| Stand {
                quantity: reserved,
                reserved,
            })
            .collect();
        let mut stock = |level: usize, units: i64| {
            let quantity = &mut stands[level].quantity;
            *quantity = quantity.saturating_add(units);
        };
        for operation in &invoices.operations {
            match operation {
                Operation::Cart(cart) => cart.lines.iter().for_each(|line| stock(line.level, line.units)),
                Operation::Adjust(adjust) if adjust.kind == Kind::Remove => stock(adjust.level, adjust.units),
                Operation::Adjust(_) => {}
            }
        }
        let named: BTreeSet<_> = invoices.levels.iter().collect();
        let others = before.into_keys().filter(|key| !named.contains(key));
        Self {
            others: others.cloned().collect(),
            keys: invoices.levels.clone(),
            sold: vec![0; stands.len()],
            stands,
        }
    }

    /// The counts that bring the service to where the ledger stands.
    pub fn counts(&self) -> Vec<Count> {
        self.keys
            .iter()
            .zip(&self.stands)
            .map(|(key, stand)| Count {
                key: key.clone(),
                quantity: stand.quantity,
            })
            .collect()
    }

    pub fn adjust(&mut self, adjust: &Adjust) {
        let quantity = &mut self.stands[adjust.level].quantity;
        match adjust.kind {
            Kind::Return => *quantity = quantity.saturating_add(adjust.units),
            Kind::Remove => *quantity -= adjust.units,
        }
    }

    /// Enters a cart that was reserved and committed.
    pub fn sell(&mut self, cart: &Cart) {
        for line in &cart.lines {
            self.stands[line.level].quantity -= line.units;
            self.sold[line.level] += line.units;
        }
    }

    /// Enters a cart that was reserved, but whose commit was refused.
    pub fn hold(&mut self, cart: &Cart) {
        for line in &cart.lines {
            self.stands[line.level].reserved += line.units;
        }
    }

    /// Everything in which the service disagrees, given all levels of the ledger's stores.
    pub fn differences(&self, shown: &[Level]) -> Vec<LevelDifference> {
        let expected: BTreeMap<_, _> = self.keys.iter().zip(&self.stands).collect();
        let mut seen = BTreeSet::new();
        let mut differences = Vec::new();
        for level in shown {
            let expected = expected.get(&level.key).map(|stand| **stand);
            let first_time = seen.insert(&level.key);
            let faults = self.faults(level, expected, first_time);
            differences.extend(faults.map(|problem| LevelDifference {
                key: level.key.clone(),
                problem,
                expected,
                found: Some(Found::of(level)),
            }));
        }
        let missing = expected.iter().filter(|(key, _)| !seen.contains(**key));
        differences.extend(missing.map(|(key, stand)| LevelDifference {
            key: (*key).clone(),
            problem: Fault::Missing,
            expected: Some(**stand),
            found: None,
        }));
        differences
    }

    /// Every level of which the service shows other sales than were made, given what its movements add up to.
    pub fn sales_differences(&self, shown: &BTreeMap<LevelKey, i64>) -> Vec<SalesDifference> {
        let expected: BTreeMap<_, _> = self.keys.iter().zip(self.sold.iter().copied()).collect();
        let keys: BTreeSet<_> = expected.keys().copied().chain(shown.keys()).collect();
        let all = keys.into_iter().map(|key| SalesDifference {
            key: key.clone(),
            expected: expected.get(key).copied().unwrap_or_default(),
            found: shown.get(key).copied().unwrap_or_default(),
        });
        all.filter(|sales| sales.expected != sales.found).collect()
    }

    fn faults(&self, level: &Level, expected: Option<Stand>, first_time: bool) -> impl Iterator<Item = Fault> {
        let wrong_stand = match expected {
            Some(stand) if stand != Stand::of(level) => Some(Fault::Differs),
            None if !self.others.contains(&level.key) => Some(Fault::Unexpected),
            _ => None,
        };
        let twice = (!first_time).then_some(Fault::ListedTwice);
        let available = level.quantity.checked_sub(level.reserved);
        let wrong_available = (available != Some(level.available)).then_some(Fault::AvailableIsWrong);
        [wrong_stand, twice, wrong_available].into_iter().flatten()
    }
}

impl Stand {
    fn of(level: &Level) -> Self {
        Self {
            quantity: level.quantity,
            reserved: level.reserved,
        }
    }
}

impl Found {
    fn of(level: &Level) -> Self {
        Self {
            quantity: level.quantity,
            reserved: level.reserved,
            available: level.available,
        }
    }
}

impl fmt::Display for LevelDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problem = match self.problem {
            Fault::Missing => "is missing",
            Fault::Differs => "differs",
            Fault::Unexpected => "was never made",
            Fault::ListedTwice => "is listed twice",
            Fault::AvailableIsWrong => "has a wrong available",
        };
        write!(f, "{} in {} {problem}", self.key.sku, self.key.store_id)?;
        if let Some(Stand { quantity, reserved }) = self.expected {
            write!(f, "; expected quantity {quantity}, reserved {reserved}")?;
        }
        if let Some(Found {
            quantity,
            reserved,
            available,
        }) = self.found
        {
            write!(
                f,
                "; found quantity {quantity}, reserved {reserved}, available {available}"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for SalesDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, expected, found } = self;
        write!(
            f,
            "{} in {} has other sales; expected {expected}; movements show {found}",
            key.sku, key.store_id
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::invoices::CartLine;

    fn key(sku: &str) -> LevelKey {
        LevelKey {
            store_id: "EIRE".into(),
            sku: sku.into(),
        }
    }

    fn level(sku: &str, quantity: i64, reserved: i64) -> Level {
        Level {
            key: key(sku),
            quantity,
            reserved,
            available: quantity - reserved,
        }
    }

    fn adjust(level: usize, kind: Kind, units: i64) -> Operation {
        Operation::Adjust(Adjust {
            line: 2,
            level,
            kind,
            units,
            note: String::new(),
        })
    }

    fn cart(lines: &[(usize, i64)]) -> Cart {
        let lines = lines.iter().map(|(level, units)| CartLine {
            level: *level,
            units: *units,
        });
        Cart {
            line: 2,
            invoice: "1".into(),
            lines: lines.collect(),
        }
    }

    /// A: sells 3 and 2 in one cart, removes 2, takes back 1. B: takes back 4.
    fn invoices() -> Invoices {
        Invoices {
            levels: vec![key("A"), key("B")],
            operations: vec![
                Operation::Cart(cart(&[(0, 3), (0, 2)])),
                adjust(0, Kind::Remove, 2),
                adjust(0, Kind::Return, 1),
                adjust(1, Kind::Return, 4),
            ],
            ..Invoices::default()
        }
    }

    fn applied(before: &[Level]) -> Ledger {
        let invoices = invoices();
        let mut ledger = Ledger::open(&invoices, before);
        for operation in &invoices.operations {
            match operation {
                Operation::Cart(cart) => ledger.sell(cart),
                Operation::Adjust(adjust) => ledger.adjust(adjust),
            }
        }
        ledger
    }

    fn faults(ledger: &Ledger, shown: &[Level]) -> Vec<(String, Fault)> {
        let differences = ledger.differences(shown).into_iter();
        differences.map(|d| (d.key.sku, d.problem)).collect()
    }

    #[test]
    fn stock_covers_what_is_reserved_and_what_the_file_takes() {
        let ledger = Ledger::open(&invoices(), &[level("A", 100, 10), level("other", 1, 0)]);
        let quantities: Vec<_> = ledger.counts().iter().map(|c| c.quantity).collect();
        assert_eq!(quantities, [10 + 5 + 2, 0]);
    }

    #[test]
    fn agreeing_books_have_no_differences() {
        let ledger = applied(&[level("other", 3, 1)]);
        let shown = [level("A", 1, 0), level("B", 4, 0), level("other", 9, 9)];
        assert_eq!(faults(&ledger, &shown), []);
        assert_eq!(ledger.sales_differences(&BTreeMap::from([(key("A"), 5)])), []);
    }

    #[test]
    fn a_cart_that_was_not_committed_is_still_held() {
        let mut ledger = Ledger::open(&invoices(), &[]);
        ledger.hold(&cart(&[(0, 3), (0, 2)]));
        assert_eq!(faults(&ledger, &[level("A", 7, 5), level("B", 0, 0)]), []);
    }

    #[test]
    fn sales_that_differ_are_found_on_either_side() {
        let differences = applied(&[]).sales_differences(&BTreeMap::from([(key("A"), 4), (key("new"), 1)]));
        let found: Vec<_> = differences.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "A in EIRE has other sales; expected 5; movements show 4",
                "new in EIRE has other sales; expected 0; movements show 1",
            ]
        );
    }

    #[test]
    fn each_way_to_disagree_is_found() {
        let ledger = applied(&[]);
        let mut wrong_available = level("B", 4, 0);
        wrong_available.available = 3;
        let shown = [
            level("A", 6, 10),
            wrong_available,
            level("new", 0, 0),
            level("new", 0, 0),
        ];
        let found = faults(&ledger, &shown);
        let name = |sku: &str, fault| (sku.to_owned(), fault);
        assert_eq!(
            found,
            [
                name("A", Fault::Differs),
                name("B", Fault::AvailableIsWrong),
                name("new", Fault::Unexpected),
                name("new", Fault::Unexpected),
                name("new", Fault::ListedTwice),
            ]
        );
        assert_eq!(faults(&ledger, &[level("B", 4, 0)]), [name("A", Fault::Missing)]);
    }

    #[test]
    fn a_difference_reads_aloud() {
        let ledger = applied(&[]);
        let differences = ledger.differences(&[level("A", 6, 10), level("B", 4, 0)]);
        assert_eq!(
            differences[0].to_string(),
            "A in EIRE differs; expected quantity 1, reserved 0; found quantity 6, reserved 10, available -4"
        );
    }
}
