//! Reservations as the service shows them, beside the carts that made them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::invoices::Cart;
use super::read;
use super::stock::LevelKey;
use crate::cli::client::{Client, Service};
use crate::cli::retry::Patience;

/// A cart that was committed does not show as such.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CartDifference {
    pub invoice: String,
    pub reservation_id: String,
    #[serde(flatten)]
    pub problem: CartFault,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(tag = "problem", rename_all = "camelCase")]
pub enum CartFault {
    Missing,
    NotCommitted {
        status: String,
    },
    LineDiffers {
        #[serde(flatten)]
        key: LevelKey,
        expected: Option<LineStand>,
        found: Option<LineStand>,
    },
}

/// What became of a line. Signed, so that a service that shows nonsense is caught comparing.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct LineStand {
    pub quantity: i64,
    pub held: i64,
    pub committed: i64,
    pub released: i64,
    pub expired: i64,
}

/// Reads the reservation of a cart back and says in what it is not the whole cart, committed.
pub async fn differences(
    client: &mut Client,
    service: &Service,
    patience: &Patience,
    cart: &Cart,
    levels: &[LevelKey],
    id: &str,
) -> anyhow::Result<Vec<CartDifference>> {
    let shown = read::one(client, patience, &service.reservation_path(id)).await?;
    let faults = faults(cart, levels, shown).into_iter();
    let differences = faults.map(|problem| CartDifference {
        invoice: cart.invoice.clone(),
        reservation_id: id.to_owned(),
        problem,
    });
    Ok(differences.collect())
}

#[derive(Deserialize)]
struct Reservation {
    status: String,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    key: LevelKey,
    #[serde(flatten)]
    stand: LineStand,
}

fn faults(cart: &Cart, levels: &[LevelKey], shown: Option<Reservation>) -> Vec<CartFault> {
    let Some(Reservation { status, lines }) = shown else {
        return vec![CartFault::Missing];
    };
    if status != "committed" {
        return vec![CartFault::NotCommitted { status }];
    }
    let mut faults = Vec::new();
    let expected = cart.units().into_iter();
    let expected = expected.map(|(level, units)| (levels[level].clone(), LineStand::committed(units)));
    let mut expected: BTreeMap<_, _> = expected.collect();
    for Line { key, stand } in lines {
        let expected = expected.remove(&key);
        if expected != Some(stand) {
            faults.push(CartFault::LineDiffers {
                key,
                expected,
                found: Some(stand),
            });
        }
    }
    faults.extend(expected.into_iter().map(|(key, stand)| CartFault::LineDiffers {
        key,
        expected: Some(stand),
        found: None,
    }));
    faults
}

impl LineStand {
    fn committed(units: i64) -> Self {
        Self {
            quantity: units,
            held: 0,
            committed: units,
            released: 0,
            expired: 0,
        }
    }
}

impl fmt::Display for CartDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            invoice,
            reservation_id,
            problem,
        } = self;
        write!(f, "invoice {invoice}, reservation {reservation_id}: {problem}")
    }
}

impl fmt::Display for CartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => write!(f, "is missing"),
            Self::NotCommitted { status } => write!(f, "is {status}, not committed"),
            Self::LineDiffers { key, expected, found } => {
                write!(f, "{} in {} differs", key.sku, key.store_id)?;
                if let Some(stand) = expected {
                    write!(f, "; expected {stand}")?;
                }
                if let Some(stand) = found {
                    write!(f, "; found {stand}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for LineStand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            quantity,
            held,
            committed,
            released,
            expired,
        } = self;
        write!(
            f,
            "quantity {quantity}, held {held}, committed {committed}, released {released}, expired {expired}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::invoices::CartLine;

    fn levels() -> Vec<LevelKey> {
        let key = |sku: &str| LevelKey {
            store_id: "EIRE".into(),
            sku: sku.into(),
        };
        vec![key("A"), key("B")]
    }

    /// A: 2 and 3. B: 1.
    fn cart() -> Cart {
        let line = |level, units| CartLine { level, units };
        Cart {
            line: 2,
            invoice: "536365".into(),
            lines: vec![line(0, 2), line(1, 1), line(0, 3)],
        }
    }

    fn found(status: &str, lines: &[(&str, i64, i64)]) -> Vec<String> {
        let lines = lines.iter().map(|(sku, quantity, held)| {
            let committed = quantity - held;
            format!(
                r#"{{"sku":"{sku}","storeId":"EIRE","quantity":{quantity},"held":{held},"committed":{committed},
                    "released":0,"expired":0}}"#
            )
        });
        let lines: Vec<_> = lines.collect();
        let shown = format!(
            r#"{{"reservationId":"7","status":"{status}","lines":[{}],"createdAt":"","updatedAt":""}}"#,
            lines.join(",")
        );
        let faults = faults(&cart(), &levels(), Some(serde_json::from_str(&shown).unwrap()));
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_cart_that_is_committed_as_a_whole_has_no_differences() {
        assert_eq!(found("committed", &[("A", 5, 0), ("B", 1, 0)]), [""; 0]);
    }

    #[test]
    fn each_way_to_differ_is_found() {
        assert_eq!(faults(&cart(), &levels(), None), [CartFault::Missing]);
        assert_eq!(
            found("active", &[("A", 5, 5), ("B", 1, 1)]),
            ["is active, not committed"]
        );
        assert_eq!(
            found("committed", &[("A", 5, 2), ("B", 1, 0)]),
            [
                "A in EIRE differs; expected quantity 5, held 0, committed 5, released 0, expired 0; \
                 found quantity 5, held 2, committed 3, released 0, expired 0",
            ]
        );
        assert_eq!(
            found("committed", &[("A", 5, 0), ("A", 5, 0)]),
            [
                "A in EIRE differs; found quantity 5, held 0, committed 5, released 0, expired 0",
                "B in EIRE differs; expected quantity 1, held 0, committed 1, released 0, expired 0",
            ]
        );
    }

    #[test]
    fn a_difference_names_the_invoice() {
        let difference = CartDifference {
            invoice: "536365".into(),
            reservation_id: "7".into(),
            problem: CartFault::Missing,
        };
        assert_eq!(difference.to_string(), "invoice 536365, reservation 7: is missing");
        let json = serde_json::to_value(difference).unwrap();
        assert_eq!(
            (&json["reservationId"], &json["problem"]),
            (&"7".into(), &"missing".into())
        );
    }
}
