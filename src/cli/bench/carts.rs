//! Carts for a load: lines of different SKUs, drawn anew for each request.

use std::sync::Arc;

use anyhow::ensure;
use hyper::body::Bytes;
use serde_json::json;

use super::random::Random;

/// So many seconds a cart is held. It is over by itself, so that carts do not pile up for ever; a run of up to a
/// minute measures making carts without their ends.
const TTL_SECONDS: u32 = 60;

/// What carts are drawn from; each client has a copy of its own.
#[derive(Clone)]
pub struct Carts {
    /// A line of one unit for each SKU, written once.
    written: Arc<[String]>,
    lines: usize,
    /// Which share of the carts holds the first SKU; the others then never do.
    hot_share: f64,
    /// The SKUs that are drawn, in any order.
    deck: Vec<usize>,
}

impl Carts {
    pub fn new(store: &str, skus: impl Iterator<Item = String>, lines: u32, hot_share: f64) -> anyhow::Result<Self> {
        let line = |sku| json!({"sku": sku, "storeId": store, "quantity": 1}).to_string();
        let written: Arc<[String]> = skus.map(line).collect();
        let deck: Vec<usize> = (usize::from(hot_share > 0.0)..written.len()).collect();
        let drawn = deck.len();
        let lines = lines as usize;
        ensure!(
            lines <= drawn,
            "--lines {lines}: the lines of a cart are of different SKUs, and there are {drawn} to draw from"
        );
        Ok(Self {
            written,
            lines,
            hot_share,
            deck,
        })
    }

    /// The body of the next cart. Only as many cards as are drawn are shuffled (Fisher and Yates): every set of SKUs
    /// is as likely as any other, also where a cart holds nearly all of them.
    pub fn draw(&mut self, random: &mut Random) -> Bytes {
        let hot = random.chance(self.hot_share).then_some(0);
        let drawn = self.lines - usize::from(hot.is_some());
        for place in 0..drawn {
            let from = place + random.below(self.deck.len() - place);
            self.deck.swap(place, from);
        }
        let skus = hot.iter().chain(&self.deck[..drawn]);
        let lines: Vec<&str> = skus.map(|sku| self.written[*sku].as_str()).collect();
        let lines = lines.join(",");
        Bytes::from(format!(r#"{{"lines":[{lines}],"ttlSeconds":{TTL_SECONDS}}}"#))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeMap;

    fn carts(skus: u32, lines: u32, hot_share: f64) -> anyhow::Result<Carts> {
        let skus = (0..skus).map(|number| number.to_string());
        Carts::new("bench", skus, lines, hot_share)
    }

    /// How many of 1,000 carts hold each SKU.
    fn held(mut carts: Carts) -> BTreeMap<String, usize> {
        let mut random = Random::new(1);
        let mut held = BTreeMap::new();
        for _ in 0..1000 {
            let cart: Value = serde_json::from_slice(&carts.draw(&mut random)).unwrap();
            let mut skus: Vec<_> = cart["lines"]
                .as_array()
                .unwrap()
                .iter()
                .map(|l| l["sku"].to_string())
                .collect();
            skus.sort();
            skus.dedup();
            assert_eq!(skus.len(), carts.lines, "{cart}");
            for sku in skus {
                *held.entry(sku.trim_matches('"').to_owned()).or_default() += 1;
            }
        }
        held
    }

    #[test]
    fn a_cart_is_what_the_contract_asks_for() {
        let body = carts(1, 1, 0.0).unwrap().draw(&mut Random::new(1));
        assert_eq!(
            body,
            r#"{"lines":[{"quantity":1,"sku":"0","storeId":"bench"}],"ttlSeconds":60}"#
        );
    }

    #[test]
    fn carts_hold_different_skus_and_each_as_often_as_any_other() {
        let held = held(carts(10, 3, 0.0).unwrap());
        assert_eq!(held.len(), 10);
        assert!(held.values().all(|count| (200..400).contains(count)), "{held:?}");
    }

    #[test]
    fn so_many_carts_as_asked_hold_the_hot_sku() {
        assert_eq!(held(carts(10, 3, 1.0).unwrap())["0"], 1000);
        let some = held(carts(10, 3, 0.5).unwrap())["0"];
        assert!((400..600).contains(&some), "{some}");
    }

    #[test]
    fn a_cart_cannot_have_more_lines_than_there_are_skus() {
        assert!(carts(3, 3, 0.0).is_ok());
        assert!(carts(3, 4, 0.0).is_err());
        assert!(carts(3, 3, 0.5).is_err());
    }
}
