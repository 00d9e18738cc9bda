//! What a run found, as a short text for a person or one JSON object for a script.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::ledger::{LevelDifference, SalesDifference};
use super::load::Mode;
use super::reservations::CartDifference;

/// How many failures and differences are shown; all are counted.
const SHOWN: usize = 20;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LoadReport {
    pub mode: Mode,
    pub clients: u32,
    /// Requests a second that were asked for; none means as many as the service answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// From the start of the measurement to its end, or to the last answer if that came later.
    pub seconds: f64,
    /// Requests of the measurement that were answered 2xx; of carts, each made one.
    pub count: u64,
    pub requests_per_second: f64,
    /// Of batches: requests times their operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations_per_second: Option<f64>,
    /// Of carts: requests times their lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lines_per_second: Option<f64>,
    #[serde(flatten)]
    pub latency: Latency,
    /// Requests that were due in the measurement but found no client free before its end.
    pub unsent: u64,
    pub error_count: u64,
    /// By status and problem code, or by what happened to the connection.
    pub errors: BTreeMap<String, u64>,
}

/// Of the requests that were answered 2xx, in microseconds.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latency {
    pub p50_micros: u64,
    pub p90_micros: u64,
    pub p99_micros: u64,
    #[serde(rename = "p999Micros")]
    pub p99_9_micros: u64,
    pub max_micros: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplayReport {
    /// Begins the idempotency keys and references of this run.
    pub run: String,
    pub agrees: bool,
    pub lines: u64,
    /// Invoices that sell something.
    pub carts: usize,
    /// Lines of all carts.
    pub sales: usize,
    pub returns: usize,
    pub removes: usize,
    /// Lines of quantity 0.
    pub skipped: u64,
    /// Adjustments, carts and commits that were answered 2xx.
    pub requests: usize,
    /// Carts and adjustments never sent, because the run was given up before their turn.
    pub never_sent: usize,
    /// How often a request was sent again, those of stocking and listing included.
    pub retries: u64,
    /// Answers that the service gave from what it had stored under the key.
    pub replayed: u64,
    pub stores: usize,
    pub levels: usize,
    /// Of sending, without stocking before and comparing after.
    pub seconds: f64,
    pub requests_per_second: f64,
    pub failure_count: usize,
    pub failures: Vec<FailedLine>,
    pub difference_count: usize,
    pub differences: Vec<Difference>,
    /// Why the books could not be compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct FailedLine {
    pub line: u64,
    pub status: Option<u16>,
    pub detail: String,
}

/// Where the service does not show what the ledger says.
#[derive(Debug, Serialize)]
#[serde(tag = "in", rename_all = "camelCase")]
pub enum Difference {
    Level(LevelDifference),
    Sales(SalesDifference),
    Reservation(CartDifference),
}

/// Writes a report to stdout.
pub fn print(report: &(impl fmt::Display + Serialize), json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, report)?;
        writeln!(out)?;
    } else {
        write!(out, "{report}")?;
    }
    Ok(())
}

/// As many of a list as a report shows.
pub fn first<T>(all: impl Iterator<Item = T>) -> Vec<T> {
    all.take(SHOWN).collect()
}

impl Latency {
    pub fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            p50_micros: histogram.value_at_quantile(0.5),
            p90_micros: histogram.value_at_quantile(0.9),
            p99_micros: histogram.value_at_quantile(0.99),
            p99_9_micros: histogram.value_at_quantile(0.999),
            max_micros: histogram.max(),
        }
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency {
            p50_micros,
            p90_micros,
            p99_micros,
            p99_9_micros,
            max_micros,
        } = self.latency;
        write!(f, "{} from {} clients", self.mode, self.clients)?;
        if let Some(rate) = self.rate {
            write!(f, " at {rate} requests/s")?;
        }
        writeln!(f, ": {} requests in {:.1} s", self.count, self.seconds)?;
        let unit = if self.mode == Mode::Cart {
            "carts/s"
        } else {
            "requests/s"
        };
        writeln!(f, "{unit:<11} {:.0}", self.requests_per_second)?;
        if let Some(operations) = self.operations_per_second {
            writeln!(f, "operations/s  {operations:.0}")?;
        }
        if let Some(lines) = self.lines_per_second {
            writeln!(f, "lines/s     {lines:.0}")?;
        }
        writeln!(
            f,
            "latency µs  p50 {p50_micros}  p90 {p90_micros}  p99 {p99_micros}  p99.9 {p99_9_micros}  max {max_micros}"
        )?;
        if self.unsent > 0 {
            writeln!(f, "unsent      {} (due, but no client was free)", self.unsent)?;
        }
        writeln!(f, "errors      {}", self.error_count)?;
        for (kind, count) in &self.errors {
            writeln!(f, "  {kind}: {count}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ReplayReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (carts, sales, returns, removes) = (self.carts, self.sales, self.returns, self.removes);
        writeln!(f, "run         {}", self.run)?;
        writeln!(
            f,
            "lines       {}: {sales} sold in {carts} carts, {returns} returns, {removes} removes, {} skipped",
            self.lines, self.skipped
        )?;
        writeln!(f, "stock       {} levels in {} stores", self.levels, self.stores)?;
        writeln!(
            f,
            "requests    {} in {:.1} s, {:.0} requests/s; {} retries, {} replayed answers",
            self.requests, self.seconds, self.requests_per_second, self.retries, self.replayed
        )?;
        if self.never_sent > 0 {
            writeln!(f, "never sent  {}", self.never_sent)?;
        }
        writeln!(f, "failures    {}", self.failure_count)?;
        for FailedLine { line, status, detail } in &self.failures {
            let status = status.map_or(String::new(), |status| format!("{status} "));
            writeln!(f, "  line {line}: {status}{detail}")?;
        }
        writeln!(f, "differences {}", self.difference_count)?;
        for difference in &self.differences {
            writeln!(f, "  {difference}")?;
        }
        match (&self.not_compared, self.agrees) {
            (Some(why), _) => writeln!(f, "NOT COMPARED: {why}"),
            (None, true) => writeln!(f, "the books agree"),
            (None, false) => writeln!(f, "FAILED"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(difference) => difference.fmt(f),
            Self::Sales(difference) => difference.fmt(f),
            Self::Reservation(difference) => difference.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::reservations::CartFault;

    fn load_report() -> LoadReport {
        let mut histogram = Histogram::new(3).unwrap();
        histogram.record_n(100, 90).unwrap();
        histogram.record_n(1000, 10).unwrap();
        LoadReport {
            mode: Mode::Reserve,
            clients: 64,
            rate: None,
            seconds: 10.0,
            count: 100,
            requests_per_second: 10.0,
            operations_per_second: None,
            lines_per_second: None,
            latency: Latency::of(&histogram),
            unsent: 0,
            error_count: 2,
            errors: BTreeMap::from([("503 overloaded".to_owned(), 2)]),
        }
    }

    fn replay_report() -> ReplayReport {
        ReplayReport {
            run: "RUN".into(),
            agrees: false,
            lines: 5,
            carts: 1,
            sales: 3,
            returns: 1,
            removes: 0,
            skipped: 1,
            requests: 3,
            never_sent: 0,
            retries: 7,
            replayed: 2,
            stores: 1,
            levels: 2,
            seconds: 2.0,
            requests_per_second: 1.5,
            failure_count: 1,
            failures: vec![FailedLine {
                line: 4,
                status: Some(409),
                detail: "Only 2 are left.".into(),
            }],
            difference_count: 0,
            differences: Vec::new(),
            not_compared: None,
        }
    }

    #[test]
    fn a_load_report_is_short() {
        assert_eq!(
            load_report().to_string(),
            "reserve from 64 clients: 100 requests in 10.0 s\n\
             requests/s  10\n\
             latency µs  p50 100  p90 100  p99 1000  p99.9 1000  max 1000\n\
             errors      2\n  503 overloaded: 2\n"
        );
    }

    #[test]
    fn carts_are_counted_as_such() {
        let mut report = load_report();
        report.mode = Mode::Cart;
        report.lines_per_second = Some(30.0);
        let text = report.to_string();
        assert!(text.contains("\ncarts/s     10\nlines/s     30\n"), "{text}");
    }

    #[test]
    fn a_replay_report_says_what_differs() {
        let mut report = replay_report();
        report.difference_count = 1;
        report.differences = vec![Difference::Reservation(CartDifference {
            invoice: "536365".into(),
            reservation_id: "7".into(),
            problem: CartFault::Missing,
        })];
        let text = report.to_string();
        assert!(
            text.contains("\nlines       5: 3 sold in 1 carts, 1 returns, 0 removes, 1 skipped\n"),
            "{text}"
        );
        assert!(
            text.contains("\ndifferences 1\n  invoice 536365, reservation 7: is missing\n"),
            "{text}"
        );
        let json = serde_json::to_value(report).unwrap();
        let difference = &json["differences"][0];
        assert_eq!(
            (&difference["in"], &difference["problem"]),
            (&"reservation".into(), &"missing".into())
        );
    }

    #[test]
    fn json_members_are_camel_case() {
        let json = serde_json::to_value(load_report()).unwrap();
        assert_eq!(json["mode"], "reserve");
        assert_eq!(json["requestsPerSecond"], 10.0);
        assert_eq!(json["p50Micros"], 100);
        assert_eq!(json["p999Micros"], 1000);
        assert_eq!(json["errors"]["503 overloaded"], 2);
        let json = serde_json::to_value(replay_report()).unwrap();
        assert_eq!(json["failures"][0]["line"], 4);
        assert_eq!(json["neverSent"], 0);
    }

    #[test]
    fn a_replay_report_names_the_line_that_failed() {
        let text = replay_report().to_string();
        assert!(text.contains("  line 4: 409 Only 2 are left.\n"), "{text}");
        assert!(text.ends_with("FAILED\n"), "{text}");
    }

    #[test]
    fn books_that_were_not_compared_do_not_agree() {
        let mut report = replay_report();
        report.not_compared = Some("given up".into());
        assert!(report.to_string().ends_with("NOT COMPARED: given up\n"));
    }
}
