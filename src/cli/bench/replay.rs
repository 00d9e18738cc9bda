//! Replays invoice lines against a service that may die and come back, then checks its books.
//!
//! Lines are handed out in the order of the file to many clients at once, each under an
//! idempotency key of its own, and repeated under that key until they are answered. If the
//! service keeps its promises (durable, exactly once per key), the levels at the end are exactly
//! those of the ledger, however often it was killed on the way.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Uri};
use uuid::Uuid;

use super::BenchArgs;
use super::invoices::{Invoices, Kind, Operation};
use super::ledger::{Difference, Ledger};
use super::report::{self, FailedLine, ReplayReport};
use super::stock::{self, Level, LevelKey};
use crate::cli::client::{Call, Client, Service};
use crate::cli::retry::{self, Outcome, Patience};

/// Runs the replay and prints its report; true if nothing failed and the books agree.
pub async fn run(args: &BenchArgs, file: &Path) -> anyhow::Result<bool> {
    let invoices = Arc::new(Invoices::read(file)?);
    let replay = Replay {
        args,
        service: Arc::new(Service::parse(&args.url)?),
        patience: Arc::new(Patience::new(args.give_up_after())),
        run: Uuid::now_v7().to_string(),
        stores: invoices.levels.iter().map(|key| key.store_id.clone()).collect(),
        invoices,
    };
    let mut ledger = Ledger::open(&replay.invoices, &replay.list("reading").await?);
    replay.stock(&ledger).await?;
    let begun = Instant::now();
    let outcome = replay.send().await?;
    let seconds = begun.elapsed().as_secs_f64();
    replay.book(&mut ledger, &outcome);
    let books = replay.compare(&ledger, &outcome).await;
    let report = replay.report(outcome, seconds, books);
    report::print(&report, args.json)?;
    Ok(report.agrees)
}

struct Replay<'a> {
    args: &'a BenchArgs,
    service: Arc<Service>,
    patience: Arc<Patience>,
    /// Begins every idempotency key, so that no two runs share one.
    run: String,
    invoices: Arc<Invoices>,
    stores: BTreeSet<String>,
}

impl Replay<'_> {
    /// All levels of all stores that the file names.
    async fn list(&self, what: &'static str) -> anyhow::Result<Vec<Level>> {
        let mut client = Client::new(self.service.clone());
        let bar = self.args.progress(what, self.stores.len())?;
        let mut levels = Vec::new();
        for store in &self.stores {
            levels.extend(stock::list(&mut client, &self.service, &self.patience, store).await?);
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(levels)
    }

    async fn stock(&self, ledger: &Ledger) -> anyhow::Result<()> {
        let counts = ledger.counts();
        let bar = self.args.progress("stocking", counts.len())?;
        let (service, patience) = (&self.service, &self.patience);
        let clients = self.args.clients();
        stock::put(service, patience, clients, &self.run, counts.into(), &bar).await?;
        bar.finish_and_clear();
        Ok(())
    }

    async fn send(&self) -> anyhow::Result<Outcome> {
        let paths = self.invoices.levels.iter();
        let paths: Vec<Paths> = paths
            .map(|key| Paths::of(&self.service, key))
            .collect::<anyhow::Result<_>>()?;
        let (invoices, run) = (self.invoices.clone(), self.run.clone());
        let call_of = move |index: usize| {
            let operation = &invoices.operations[index];
            paths[operation.level].call(&run, operation)
        };
        let count = self.invoices.operations.len();
        let bar = self.args.progress("replaying", count)?;
        let (service, patience) = (&self.service, &self.patience);
        let clients = self.args.clients();
        let outcome = retry::send_all(service, patience, clients, count, &bar, call_of).await?;
        bar.finish_and_clear();
        Ok(outcome)
    }

    /// Enters every line that was answered with success.
    fn book(&self, ledger: &mut Ledger, outcome: &Outcome) {
        let failed: HashSet<_> = outcome.failures.iter().map(|f| f.index).collect();
        for (index, operation) in self.invoices.operations[..outcome.sent].iter().enumerate() {
            if !failed.contains(&index) {
                ledger.apply(operation);
            }
        }
    }

    /// A line that was given up may or may not have taken effect: then nothing can be compared.
    async fn compare(&self, ledger: &Ledger, outcome: &Outcome) -> Result<Vec<Difference>, String> {
        if outcome.failures.iter().any(|f| f.status.is_none()) {
            let seconds = self.args.give_up_after;
            return Err(format!("given up after {seconds} s without any success"));
        }
        match self.list("comparing").await {
            Ok(shown) => Ok(ledger.differences(&shown)),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    fn report(&self, outcome: Outcome, seconds: f64, books: Result<Vec<Difference>, String>) -> ReplayReport {
        let (differences, not_compared) = match books {
            Ok(differences) => (differences, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let requests = outcome.sent - outcome.failures.len();
        ReplayReport {
            run: self.run.clone(),
            lines: self.invoices.lines,
            skipped: self.invoices.skipped,
            reserves: self.invoices.count(Kind::Reserve),
            returns: self.invoices.count(Kind::Return),
            removes: self.invoices.count(Kind::Remove),
            requests,
            retries: self.patience.retries(),
            replayed: self.patience.replayed(),
            stores: self.stores.len(),
            levels: self.invoices.levels.len(),
            seconds,
            requests_per_second: requests as f64 / seconds,
            never_sent: self.invoices.operations.len() - outcome.sent,
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
            line: self.invoices.operations[failure.index].line,
            status: failure.status,
            detail: failure.detail,
        })
    }
}

/// Where the operations of a level go, encoded once.
struct Paths {
    reserve: Uri,
    adjust: Uri,
}

impl Paths {
    fn of(service: &Service, key: &LevelKey) -> anyhow::Result<Self> {
        let level = service.level_path(&key.store_id, &key.sku);
        Ok(Self {
            reserve: Uri::try_from(format!("{level}/reserve"))?,
            adjust: Uri::try_from(format!("{level}/adjust"))?,
        })
    }

    fn call(&self, run: &str, operation: &Operation) -> anyhow::Result<Call> {
        let uri = match operation.kind {
            Kind::Reserve => &self.reserve,
            Kind::Return | Kind::Remove => &self.adjust,
        };
        Ok(Call {
            method: Method::POST,
            uri: uri.clone(),
            body: Bytes::from(operation.body()),
            key: Some(HeaderValue::try_from(format!("{run}-{}", operation.line))?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_goes_to_its_level_under_its_own_key() {
        let service = Service::parse("http://localhost").unwrap();
        let key = LevelKey {
            store_id: "United Kingdom".into(),
            sku: "BANK CHARGES".into(),
        };
        let paths = Paths::of(&service, &key).unwrap();
        let level = "/api/inventory/stores/United%20Kingdom/inventory/BANK%20CHARGES";
        for (kind, verb) in [
            (Kind::Reserve, "reserve"),
            (Kind::Return, "adjust"),
            (Kind::Remove, "adjust"),
        ] {
            let operation = Operation {
                line: 17,
                level: 0,
                kind,
                units: 2,
                note: String::new(),
            };
            let call = paths.call("run", &operation).unwrap();
            assert_eq!(call.uri.path(), format!("{level}/{verb}"));
            assert_eq!(call.key.unwrap(), "run-17");
        }
    }
}
