//! The bench's own books: what each level must hold after what was answered with success.
//!
//! The ledger knows only what it was told to apply. It never looks at what the service answers
//! along the way, so a write that the service applied twice, lost, or applied to another level
//! shows as a difference at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::invoices::{Invoices, Kind, Operation};
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
    /// Levels that the service already had and the file does not touch.
    others: BTreeSet<LevelKey>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
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

impl Ledger {
    /// Begins with so much in each level that nothing in the file can be refused for want of
    /// stock, in whatever order the lines arrive: what is reserved there already, and everything
    /// that the file will reserve or remove.
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
        for operation in &invoices.operations {
            if operation.kind != Kind::Return {
                let quantity = &mut stands[operation.level].quantity;
                *quantity = quantity.saturating_add(operation.units);
            }
        }
        let named: BTreeSet<_> = invoices.levels.iter().collect();
        let others = before.into_keys().filter(|key| !named.contains(key));
        Self {
            others: others.cloned().collect(),
            keys: invoices.levels.clone(),
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

    pub fn apply(&mut self, operation: &Operation) {
        let stand = &mut self.stands[operation.level];
        match operation.kind {
            Kind::Reserve => stand.reserved += operation.units,
            Kind::Return => stand.quantity = stand.quantity.saturating_add(operation.units),
            Kind::Remove => stand.quantity -= operation.units,
        }
    }

    /// Everything in which the service disagrees, given all levels of the ledger's stores.
    pub fn differences(&self, shown: &[Level]) -> Vec<Difference> {
        let expected: BTreeMap<_, _> = self.keys.iter().zip(&self.stands).collect();
        let mut seen = BTreeSet::new();
        let mut differences = Vec::new();
        for level in shown {
            let expected = expected.get(&level.key).map(|stand| **stand);
            let first_time = seen.insert(&level.key);
            let faults = self.faults(level, expected, first_time);
            differences.extend(faults.map(|problem| Difference {
                key: level.key.clone(),
                problem,
                expected,
                found: Some(Found::of(level)),
            }));
        }
        let missing = expected.iter().filter(|(key, _)| !seen.contains(**key));
        differences.extend(missing.map(|(key, stand)| Difference {
            key: (*key).clone(),
            problem: Fault::Missing,
            expected: Some(**stand),
            found: None,
        }));
        differences
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

impl fmt::Display for Difference {
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

#[cfg(test)]
mod tests {
    use super::*;

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

    fn operation(level: usize, kind: Kind, units: i64) -> Operation {
        Operation {
            line: 2,
            level,
            kind,
            units,
            note: String::new(),
        }
    }

    /// A: reserves 5, removes 2, takes back 1. B: takes back 4.
    fn invoices() -> Invoices {
        Invoices {
            levels: vec![key("A"), key("B")],
            operations: vec![
                operation(0, Kind::Reserve, 5),
                operation(0, Kind::Remove, 2),
                operation(0, Kind::Return, 1),
                operation(1, Kind::Return, 4),
            ],
            ..Invoices::default()
        }
    }

    fn applied(before: &[Level]) -> Ledger {
        let invoices = invoices();
        let mut ledger = Ledger::open(&invoices, before);
        for operation in &invoices.operations {
            ledger.apply(operation);
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
        let shown = [level("A", 6, 5), level("B", 4, 0), level("other", 9, 9)];
        assert_eq!(faults(&ledger, &shown), []);
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
            "A in EIRE differs; expected quantity 6, reserved 5; found quantity 6, reserved 10, available -4"
        );
    }
}
