//! Replays invoices against a service that may die and come back, then checks its books.
//!
//! All that an invoice sells is reserved as one cart and then committed; every other line is an
//! adjustment. They are handed out in the order of the file to many clients at once, each request
//! under an idempotency key of its own, and repeated under that key until it is answered. If the
//! service keeps its promises (durable, all or nothing, exactly once per key), what it shows at the
//! end is exactly the ledger, however often it was killed on the way: every level, every cart's
//! reservation, and the sales that its movements add up to.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use anyhow::Context;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Uri};
use serde::Deserialize;
use uuid::Uuid;

use super::BenchArgs;
use super::invoices::{self, Cart, Invoices, Kind, Operation};
use super::ledger::Ledger;
use super::report::{self, Difference, FailedLine, ReplayReport};
use super::reservations;
use super::sales;
use super::stock::{self, Level};
use crate::cli::client::{Answer, Call, Client, Service};
use crate::cli::retry::{self, Outcome, Patience};

/// Runs the replay and prints its report; true if nothing failed and the books agree.
pub async fn run(args: &BenchArgs, file: &Path) -> anyhow::Result<bool> {
    let trade = Trade::new(Service::parse(&args.url)?, Invoices::read(file)?);
    let replay = Replay {
        args,
        patience: Arc::new(Patience::new(args.give_up_after())),
        stores: trade.invoices.levels.iter().map(|key| key.store_id.clone()).collect(),
        trade: Arc::new(trade),
    };
    let mut ledger = Ledger::open(&replay.trade.invoices, &replay.list("reading").await?);
    let before = replay.end_of_log().await?;
    replay.stock(&ledger).await?;
    let begun = Instant::now();
    let outcome = replay.send().await?;
    let seconds = begun.elapsed().as_secs_f64();
    let sold = replay.book(&mut ledger, &outcome);
    let books = replay.compare(&ledger, &sold, &outcome, before).await;
    let report = replay.report(outcome, seconds, books);
    report::print(&report, args.json)?;
    Ok(report.agrees)
}

struct Replay<'a> {
    args: &'a BenchArgs,
    patience: Arc<Patience>,
    stores: BTreeSet<String>,
    trade: Arc<Trade>,
}

impl Replay<'_> {
    fn client(&self) -> Client {
        Client::new(self.trade.service.clone())
    }

    /// All levels of all stores that the file names.
    async fn list(&self, what: &'static str) -> anyhow::Result<Vec<Level>> {
        let mut client = self.client();
        let bar = self.args.progress(what, self.stores.len())?;
        let mut levels = Vec::new();
        for store in &self.stores {
            levels.extend(stock::list(&mut client, &self.trade.service, &self.patience, store).await?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(levels)
    }

    async fn end_of_log(&self) -> anyhow::Result<u64> {
        sales::end_of_log(&mut self.client(), &self.trade.service, &self.patience).await
    }

    async fn stock(&self, ledger: &Ledger) -> anyhow::Result<()> {
        let counts = ledger.counts();
        let bar = self.args.progress("stocking", counts.len())?;
        let (service, patience) = (&self.trade.service, &self.patience);
        let clients = self.args.clients();
        stock::put(service, patience, clients, &self.trade.run, counts.into(), &bar).await?;
        bar.finish_and_clear();
        Ok(())
    }

    async fn send(&self) -> anyhow::Result<Outcome> {
        let count = self.trade.invoices.operations.len();
        let bar = self.args.progress("replaying", count)?;
        let (service, patience) = (&self.trade.service, &self.patience);
        let (first, second) = (self.trade.clone(), self.trade.clone());
        let call_of = move |index: usize| first.call(index);
        let then = move |index: usize, answer: &Answer| second.then(index, answer);
        let clients = self.args.clients();
        let outcome = retry::send_all(service, patience, clients, count, &bar, call_of, then).await?;
        bar.finish_and_clear();
        Ok(outcome)
    }

    /// Enters all that was answered with success, and returns the carts that were sold, each with its reservation.
    fn book(&self, ledger: &mut Ledger, outcome: &Outcome) -> Vec<(&Cart, &str)> {
        let failed: HashSet<_> = outcome.failures.iter().map(|f| f.index).collect();
        let mut sold = Vec::new();
        for (index, operation) in self.trade.invoices.operations[..outcome.sent].iter().enumerate() {
            let reservation = self.trade.reservation(index);
            match (operation, reservation, failed.contains(&index)) {
                (Operation::Cart(cart), Some(id), false) => {
                    ledger.sell(cart);
                    sold.push((cart, id));
                }
                (Operation::Cart(cart), Some(_), true) => ledger.hold(cart),
                (Operation::Adjust(adjust), _, false) => ledger.adjust(adjust),
                (Operation::Cart(_), None, _) | (Operation::Adjust(_), _, true) => {}
            }
        }
        sold
    }

    /// What was given up may or may not have taken effect: then nothing can be compared.
    async fn compare(
        &self,
        ledger: &Ledger,
        sold: &[(&Cart, &str)],
        outcome: &Outcome,
        before: u64,
    ) -> Result<Vec<Difference>, String> {
        if outcome.failures.iter().any(|f| f.status.is_none()) {
            let seconds = self.args.give_up_after;
            return Err(format!("given up after {seconds} s without any success"));
        }
        let differences = self.differences(ledger, sold, before).await;
        differences.map_err(|error| format!("{error:#}"))
    }

    /// A reservation that the service made twice under one key is not among the carts that are read back, but what
    /// it holds shows in the levels.
    async fn differences(
        &self,
        ledger: &Ledger,
        sold: &[(&Cart, &str)],
        before: u64,
    ) -> anyhow::Result<Vec<Difference>> {
        let (mut client, service, patience) = (self.client(), &self.trade.service, &self.patience);
        let levels = self.list("comparing").await?;
        let levels = ledger.differences(&levels).into_iter().map(Difference::Level);
        let prefix = invoices::reference_prefix(&self.trade.run);
        let sales = sales::sold(&mut client, service, patience, &prefix, before).await?;
        let sales = ledger.sales_differences(&sales).into_iter().map(Difference::Sales);
        let mut differences: Vec<_> = levels.chain(sales).collect();
        let bar = self.args.progress("carts", sold.len())?;
        for (cart, id) in sold {
            let levels = &self.trade.invoices.levels;
            let carts = reservations::differences(&mut client, service, patience, cart, levels, id).await?;
            differences.extend(carts.into_iter().map(Difference::Reservation));
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(differences)
    }

    fn report(&self, outcome: Outcome, seconds: f64, books: Result<Vec<Difference>, String>) -> ReplayReport {
        let (differences, not_compared) = match books {
            Ok(differences) => (differences, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let Trade { run, invoices, .. } = self.trade.as_ref();
        let reserved = (0..outcome.sent).filter(|index| self.trade.reservation(*index).is_some());
        let requests = outcome.sent - outcome.failures.len() + reserved.count();
        ReplayReport {
            run: run.clone(),
            lines: invoices.lines,
            skipped: invoices.skipped,
            carts: invoices.carts().count(),
            sales: invoices.carts().map(|cart| cart.lines.len()).sum(),
            returns: invoices.count(Kind::Return),
            removes: invoices.count(Kind::Remove),
            requests,
            retries: self.patience.retries(),
            replayed: self.patience.replayed(),
            stores: self.stores.len(),
            levels: invoices.levels.len(),
            seconds,
            requests_per_second: requests as f64 / seconds,
            never_sent: invoices.operations.len() - outcome.sent,
            failure_count: outcome.failures.len(),
            difference_count: differences.len(),
            agrees: not_compared.is_none() && outcome.failures.is_empty() && differences.is_empty(),
            not_compared,
            failures: report::first(self.failed_lines(outcome)),
            differences: report::first(differences.into_iter()),
        }
    }

    fn failed_lines(&self, outcome: Outcome) -> impl Iterator<Item = FailedLine> {
        outcome.failures.into_iter().map(|failure| FailedLine {
            line: self.trade.invoices.operations[failure.index].line(),
            status: failure.status,
            detail: match self.trade.reservation(failure.index) {
                Some(id) => format!("commit of reservation {id}: {}", failure.detail),
                None => failure.detail,
            },
        })
    }
}

/// What is sent, and what the clients share while they send it.
struct Trade {
    service: Arc<Service>,
    /// Begins every idempotency key and every reference, so that no two runs share one.
    run: String,
    invoices: Invoices,
    /// For each operation that is a cart, its reservation from when that was made.
    reservations: Vec<OnceLock<String>>,
}

/// Of the answer to a reservation.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reserved {
    reservation_id: String,
}

impl Trade {
    fn new(service: Service, invoices: Invoices) -> Self {
        Self {
            service: Arc::new(service),
            run: Uuid::now_v7().to_string(),
            reservations: invoices.operations.iter().map(|_| OnceLock::new()).collect(),
            invoices,
        }
    }

    fn reservation(&self, index: usize) -> Option<&str> {
        self.reservations[index].get().map(String::as_str)
    }

    /// The request of an adjustment, or the one that reserves a cart.
    fn call(&self, index: usize) -> anyhow::Result<Call> {
        let Invoices { operations, levels, .. } = &self.invoices;
        let (path, body) = match &operations[index] {
            Operation::Cart(cart) => (self.service.path("/api/reservations"), cart.body(levels, &self.run)),
            Operation::Adjust(adjust) => {
                let level = &levels[adjust.level];
                let path = self.service.level_path(&level.store_id, &level.sku);
                (format!("{path}/adjust"), adjust.body())
            }
        };
        self.post(path, body, operations[index].line().to_string())
    }

    /// The commit of a cart that was just reserved; nothing follows from any other answer.
    fn then(&self, index: usize, answer: &Answer) -> anyhow::Result<Option<Call>> {
        let Operation::Cart(cart) = &self.invoices.operations[index] else {
            return Ok(None);
        };
        if self.reservation(index).is_some() {
            return Ok(None); // That was its commit.
        }
        let reserved: Reserved = serde_json::from_slice(&answer.body)
            .with_context(|| format!("the answer to the cart of invoice {} is not as promised", cart.invoice))?;
        let id = self.reservations[index].get_or_init(|| reserved.reservation_id);
        let path = format!("{}/commit", self.service.reservation_path(id));
        self.post(path, "{}".to_owned(), format!("{}-commit", cart.line))
            .map(Some)
    }

    fn post(&self, path: String, body: String, key: String) -> anyhow::Result<Call> {
        Ok(Call {
            method: Method::POST,
            uri: Uri::try_from(path)?,
            body: Bytes::from(body),
            key: Some(HeaderValue::try_from(format!("{}-{key}", self.run))?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::invoices::{Adjust, CartLine};
    use crate::cli::bench::stock::LevelKey;
    use hyper::{HeaderMap, StatusCode};

    fn trade(operation: Operation) -> Trade {
        let key = LevelKey {
            store_id: "United Kingdom".into(),
            sku: "BANK CHARGES".into(),
        };
        let invoices = Invoices {
            levels: vec![key],
            operations: vec![operation],
            ..Invoices::default()
        };
        Trade {
            run: "run".into(),
            ..Trade::new(Service::parse("http://localhost").unwrap(), invoices)
        }
    }

    fn cart() -> Operation {
        Operation::Cart(Cart {
            line: 17,
            invoice: "536365".into(),
            lines: vec![CartLine { level: 0, units: 2 }],
        })
    }

    fn answer(body: &'static str) -> Answer {
        Answer {
            status: StatusCode::CREATED,
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn an_adjustment_goes_to_its_level_under_its_own_key() {
        let trade = trade(Operation::Adjust(Adjust {
            line: 17,
            level: 0,
            kind: Kind::Return,
            units: 2,
            note: String::new(),
        }));
        let call = trade.call(0).unwrap();
        let level = "/api/inventory/stores/United%20Kingdom/inventory/BANK%20CHARGES";
        assert_eq!(call.uri.path(), format!("{level}/adjust"));
        assert_eq!(call.key.unwrap(), "run-17");
        assert!(trade.then(0, &answer("{}")).unwrap().is_none());
    }

    #[test]
    fn a_cart_is_reserved_and_then_committed_each_under_its_own_key() {
        let trade = trade(cart());
        let reserve = trade.call(0).unwrap();
        assert_eq!(reserve.uri.path(), "/api/reservations");
        assert_eq!(reserve.key.unwrap(), "run-17");
        assert_eq!(trade.reservation(0), None);
        let reserved = answer(r#"{"reservationId":"7","status":"active","lines":[],"seq":1}"#);
        let commit = trade.then(0, &reserved).unwrap().unwrap();
        assert_eq!(commit.uri.path(), "/api/reservations/7/commit");
        assert_eq!(
            (commit.key.unwrap(), commit.body),
            ("run-17-commit".parse().unwrap(), "{}".into())
        );
        assert_eq!(trade.reservation(0), Some("7"));
        assert!(trade.then(0, &answer("{}")).unwrap().is_none());
    }

    #[test]
    fn a_cart_whose_answer_names_no_reservation_is_an_error() {
        let error = trade(cart()).then(0, &answer("{}")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the answer to the cart of invoice 536365 is not as promised"
        );
    }
}
