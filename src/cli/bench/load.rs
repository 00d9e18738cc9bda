//! Load of one kind of request, and how fast the service answers it.
//!
//! Latency is measured so that the service cannot hide its stalls. A client that waits for an
//! answer sends nothing meanwhile, so a stall of one second would be a single slow sample where
//! users arriving on their own would have seen hundreds: coordinated omission (Gil Tene, "How NOT
//! to Measure Latency").
//!
//! - Without `--rate` the loop is closed: each client sends as soon as it has its answer. What it
//!   omitted is put back by HdrHistogram's correction (`recordValueWithExpectedInterval`): for a
//!   sample longer than the expected interval, the samples that would have been taken during it
//!   are added. The expected interval is each client's mean interval.
//! - With `--rate` the schedule is open, as in wrk2 (Gil Tene, github.com/giltene/wrk2): every
//!   request has its time, and its latency runs from that time, however late its client came to
//!   send it because the answer before was slow. Nothing is left to correct. The timer ticks in
//!   milliseconds, as in wrk2: what is due within one tick is sent in one burst.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use hyper::{Method, Uri};
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::BenchArgs;
use super::carts::Carts;
use super::random::Random;
use super::report::{self, Latency, LoadReport};
use super::stock::{self, Count, LevelKey};
use crate::cli::client::{Answer, Call, Client, NoAnswer, Service};
use crate::cli::retry::Patience;

/// What a level is stocked with, and what must still be available to leave it alone.
const STOCK: i64 = 1_000_000_000;
const ENOUGH: i64 = STOCK / 2;

/// Tokio's timer and the poll under it each count in whole milliseconds and round up.
const TIMER_TICK: Duration = Duration::from_millis(2);

/// Keeps clients that cannot connect from spinning; the time is part of no latency.
const PAUSE_UNANSWERED: Duration = Duration::from_millis(10);

/// Three digits: a reported latency is within 0.1 % of the measured one.
const SIGNIFICANT_DIGITS: u8 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Reads a level.
    Read,
    /// Takes one unit off a level.
    Adjust,
    /// Reserves one unit for a minute.
    Reserve,
    /// Takes one unit off each of many levels.
    Batch,
    /// Reserves one unit of each of several SKUs for a minute.
    Cart,
}

/// Stocks the levels, makes the load and prints its report; true if there was no error.
pub async fn run(args: &BenchArgs) -> anyhow::Result<bool> {
    let service = Arc::new(Service::parse(&args.url)?);
    let run = Uuid::now_v7().to_string();
    if !args.no_prepare {
        prepare(args, &service, &run).await?;
    }
    let plan = Arc::new(Plan::new(args, service, run)?);
    let bar = args.progress("measuring", args.seconds as usize)?;
    let ticking = tokio::spawn(tick(bar.clone(), plan.measured_from));
    let mut clients = JoinSet::new();
    for number in 0..args.clients {
        clients.spawn(drive(plan.clone(), number));
    }
    let mut tallies = Vec::new();
    while let Some(tally) = clients.join_next().await {
        tallies.push(tally??);
    }
    ticking.abort();
    bar.finish_and_clear();
    let report = summarise(args, &plan, &tallies)?;
    report::print(&report, args.json)?;
    Ok(report.error_count == 0)
}

/// Stocks only what has not enough, so that a service can be measured again and again.
async fn prepare(args: &BenchArgs, service: &Arc<Service>, run: &str) -> anyhow::Result<()> {
    let patience = Arc::new(Patience::new(args.give_up_after()));
    let mut client = Client::new(service.clone());
    let levels = stock::list(&mut client, service, &patience, &args.store).await?;
    let stand: HashMap<_, _> = levels.iter().map(|level| (&level.key, level)).collect();
    let counts = skus(args).filter_map(|sku| {
        let key = LevelKey {
            store_id: args.store.clone(),
            sku,
        };
        let level = stand.get(&key);
        let reserved = level.map_or(0, |level| level.reserved);
        let enough = level.is_some_and(|level| level.available >= ENOUGH);
        (!enough).then(|| Count {
            key,
            quantity: reserved.saturating_add(STOCK),
        })
    });
    let counts: Arc<[Count]> = counts.collect();
    let bar = args.progress("stocking", counts.len())?;
    stock::put(service, &patience, args.clients(), run, counts, &bar).await?;
    bar.finish_and_clear();
    Ok(())
}

fn skus(args: &BenchArgs) -> impl Iterator<Item = String> {
    let count = if args.hot { 1 } else { args.skus };
    (0..count).map(|number| format!("bench-{number:04}"))
}

/// A batch that takes one unit off as many levels as it has operations.
fn batch(args: &BenchArgs) -> anyhow::Result<Bytes> {
    let skus: Vec<String> = skus(args).collect();
    let skus = skus.iter().cycle().take(args.batch_size as usize);
    let operation = |sku| json!({"op": "adjust", "sku": sku, "storeId": args.store, "delta": -1});
    let operations: Vec<_> = skus.map(operation).collect();
    Ok(serde_json::to_vec(&json!({"operations": operations}))?.into())
}

async fn tick(bar: ProgressBar, from: Instant) {
    while !bar.is_hidden() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        bar.set_position(from.elapsed().as_secs());
    }
}

/// What all clients of the load share.
struct Plan {
    service: Arc<Service>,
    method: Method,
    uris: Vec<Uri>,
    body: Body,
    /// Begins every idempotency key; none if no keys are wanted.
    keys: Option<String>,
    /// The time between two requests of one client, and between those of neighbouring clients.
    schedule: Option<(Duration, Duration)>,
    started: Instant,
    measured_from: Instant,
    ends: Instant,
}

#[derive(Clone)]
enum Body {
    Same(Bytes),
    Cart(Carts),
}

impl Body {
    fn next(&mut self, random: &mut Random) -> Bytes {
        match self {
            Self::Same(body) => body.clone(),
            Self::Cart(carts) => carts.draw(random),
        }
    }
}

impl Plan {
    fn new(args: &BenchArgs, service: Arc<Service>, run: String) -> anyhow::Result<Self> {
        let same = |body| Body::Same(Bytes::from_static(body));
        let body = match args.mode {
            Mode::Read => same(b""),
            Mode::Adjust => same(br#"{"delta":-1}"#),
            // The holds end by themselves, so that they do not pile up for ever.
            Mode::Reserve => same(br#"{"quantity":1,"ttlSeconds":60}"#),
            Mode::Batch => Body::Same(batch(args)?),
            Mode::Cart => Body::Cart(Carts::new(&args.store, skus(args), args.lines, args.hot_share)?),
        };
        let levels = |verb: &str| {
            let uris = skus(args).map(|sku| Uri::try_from(service.level_path(&args.store, &sku) + verb));
            uris.collect::<Result<Vec<_>, _>>()
        };
        let (method, uris) = match args.mode {
            Mode::Read => (Method::GET, levels("")?),
            Mode::Adjust => (Method::POST, levels("/adjust")?),
            Mode::Reserve => (Method::POST, levels("/reserve")?),
            Mode::Batch => (Method::POST, vec![Uri::try_from(service.path("/api/inventory/batch"))?]),
            Mode::Cart => (Method::POST, vec![Uri::try_from(service.path("/api/reservations"))?]),
        };
        let started = Instant::now();
        let measured_from = started + Duration::from_secs(args.warmup);
        let schedule = args.rate.map(|rate| {
            let apart = Duration::from_secs(1) / rate;
            (
                Duration::from_secs_f64(f64::from(args.clients) / f64::from(rate)),
                apart,
            )
        });
        Ok(Self {
            service,
            keys: (args.keys && method != Method::GET).then_some(run),
            method,
            uris,
            body,
            schedule,
            started,
            measured_from,
            ends: measured_from + Duration::from_secs(args.seconds),
        })
    }

    fn call(&self, uri: &Uri, body: Bytes, client: u32, request: u64) -> anyhow::Result<Call> {
        let key = match &self.keys {
            Some(run) => Some(HeaderValue::try_from(format!("{run}-{client}-{request}"))?),
            None => None,
        };
        Ok(Call {
            method: self.method.clone(),
            uri: uri.clone(),
            body,
            key,
        })
    }
}

/// When a client sends its next request.
struct Pace {
    /// The next scheduled time and the interval; none in a closed loop.
    schedule: Option<(Instant, Duration)>,
}

impl Pace {
    fn new(plan: &Plan, client: u32) -> Self {
        let schedule = plan.schedule;
        Self {
            schedule: schedule.map(|(interval, apart)| (plan.started + apart * client, interval)),
        }
    }

    /// Waits for the next request's time and returns the moment from which its latency runs;
    /// nothing once the measurement is over.
    ///
    /// That is its scheduled time. Only where the client was idle and the timer woke it late is
    /// up to one tick forgiven: that lateness is the generator's, and would put 1 ms under every
    /// percentile of a service that answers in a tenth of that.
    async fn next(&mut self, ends: Instant) -> Option<Instant> {
        let now = Instant::now();
        if now >= ends {
            return None;
        }
        let Some((due, interval)) = &mut self.schedule else {
            return Some(now);
        };
        let scheduled = *due;
        if scheduled >= ends {
            return None;
        }
        *due += *interval;
        if scheduled <= now {
            return Some(scheduled);
        }
        tokio::time::sleep_until(scheduled).await;
        Some(Instant::now().min(scheduled + TIMER_TICK))
    }

    /// How many requests of the measurement were due before its end and never sent.
    fn unsent(&self, plan: &Plan) -> u64 {
        self.schedule.map_or(0, |(due, interval)| {
            let left = plan.ends.saturating_duration_since(due.max(plan.measured_from));
            left.as_nanos().div_ceil(interval.as_nanos().max(1)) as u64
        })
    }
}

/// What one client saw during the measurement.
struct Tally {
    /// Latencies of the requests answered 2xx, in microseconds.
    histogram: Histogram<u32>,
    errors: BTreeMap<String, u64>,
    unsent: u64,
    last_answer: Instant,
}

impl Tally {
    fn new(plan: &Plan) -> anyhow::Result<Self> {
        Ok(Self {
            histogram: Histogram::new(SIGNIFICANT_DIGITS)?,
            errors: BTreeMap::new(),
            unsent: 0,
            last_answer: plan.measured_from,
        })
    }

    fn add(&mut self, begun: Instant, result: &Result<Answer, NoAnswer>) -> anyhow::Result<()> {
        self.last_answer = Instant::now();
        match result {
            Ok(answer) if answer.status.is_success() && !has_refusals(answer) => {
                let latency = self.last_answer.saturating_duration_since(begun);
                self.histogram.record(latency.as_micros() as u64)?;
            }
            _ => *self.errors.entry(kind(result)).or_default() += 1,
        }
        Ok(())
    }
}

/// A batch is answered 200 whatever became of its operations.
fn has_refusals(answer: &Answer) -> bool {
    memchr::memmem::find(&answer.body, br#""error":""#).is_some()
}

/// The name under which an error is counted.
fn kind(result: &Result<Answer, NoAnswer>) -> String {
    match result {
        Ok(answer) => match answer.problem().error {
            Some(code) => format!("{} {code}", answer.status.as_u16()),
            None => answer.status.as_u16().to_string(),
        },
        Err(none) => none.kind().to_owned(),
    }
}

/// One client's requests, from the start of the warm-up to the end of the measurement.
async fn drive(plan: Arc<Plan>, number: u32) -> anyhow::Result<Tally> {
    let mut client = Client::new(plan.service.clone());
    let mut random = Random::new(number);
    let mut body = plan.body.clone();
    let mut pace = Pace::new(&plan, number);
    let mut tally = Tally::new(&plan)?;
    let mut request = 0;
    while let Some(begun) = pace.next(plan.ends).await {
        let uri = &plan.uris[random.below(plan.uris.len())];
        let call = plan.call(uri, body.next(&mut random), number, request)?;
        request += 1;
        let result = client.send(&call).await;
        if begun >= plan.measured_from {
            tally.add(begun, &result)?;
        }
        if result.is_err() {
            tokio::time::sleep(PAUSE_UNANSWERED).await;
        }
    }
    tally.unsent = pace.unsent(&plan);
    Ok(tally)
}

fn summarise(args: &BenchArgs, plan: &Plan, tallies: &[Tally]) -> anyhow::Result<LoadReport> {
    let last_answer = tallies.iter().map(|tally| tally.last_answer).max();
    let until = last_answer.map_or(plan.ends, |last| last.max(plan.ends));
    let seconds = (until - plan.measured_from).as_secs_f64();
    let mut histogram = Histogram::new(SIGNIFICANT_DIGITS)?;
    let mut errors = BTreeMap::new();
    for tally in tallies {
        merge(&mut histogram, plan, tally)?;
        for (kind, count) in &tally.errors {
            *errors.entry(kind.clone()).or_default() += count;
        }
    }
    let count = tallies.iter().map(|tally| tally.histogram.len()).sum();
    Ok(LoadReport {
        mode: args.mode,
        clients: args.clients,
        rate: args.rate,
        seconds,
        count,
        requests_per_second: count as f64 / seconds,
        operations_per_second: (args.mode == Mode::Batch).then(|| count as f64 * f64::from(args.batch_size) / seconds),
        lines_per_second: (args.mode == Mode::Cart).then(|| count as f64 * f64::from(args.lines) / seconds),
        latency: Latency::of(&histogram),
        unsent: tallies.iter().map(|tally| tally.unsent).sum(),
        error_count: errors.values().sum(),
        errors,
    })
}

/// Adds a client's latencies, in a closed loop with those that it omitted while it waited.
fn merge(whole: &mut Histogram<u64>, plan: &Plan, tally: &Tally) -> anyhow::Result<()> {
    let sent = tally.histogram.len() + tally.errors.values().sum::<u64>();
    let elapsed = tally.last_answer - plan.measured_from;
    let interval = match plan.schedule {
        Some(_) => 0, // HdrHistogram corrects nothing then.
        None => (elapsed.as_micros() as u64).checked_div(sent).unwrap_or(0),
    };
    for bucket in tally.histogram.iter_recorded() {
        let (latency, count) = (bucket.value_iterated_to(), u64::from(bucket.count_at_value()));
        whole.record_n_correct(latency, count, interval)?;
    }
    Ok(())
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Adjust => "adjust",
            Self::Reserve => "reserve",
            Self::Batch => "batch",
            Self::Cart => "cart",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::{HeaderMap, StatusCode};

    fn plan(schedule: Option<(Duration, Duration)>) -> Plan {
        let started = Instant::now();
        Plan {
            service: Arc::new(Service::parse("http://localhost").unwrap()),
            method: Method::POST,
            uris: Vec::new(),
            body: Body::Same(Bytes::new()),
            keys: Some("run".into()),
            schedule,
            started,
            measured_from: started,
            ends: started + Duration::from_secs(1),
        }
    }

    fn answer(status: u16, body: &'static str) -> Result<Answer, NoAnswer> {
        Ok(Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        })
    }

    #[test]
    fn a_closed_loop_gets_back_what_a_stall_omitted() {
        let plan = plan(None);
        let mut tally = Tally::new(&plan).unwrap();
        tally.histogram.record_n(1_000, 99).unwrap();
        tally.histogram.record(100_000).unwrap();
        tally.last_answer = plan.measured_from + Duration::from_millis(200);
        let mut whole = Histogram::new(SIGNIFICANT_DIGITS).unwrap();
        merge(&mut whole, &plan, &tally).unwrap();
        // One request in 2 ms on average, so the stall of 100 ms stands for 49 more, 2 ms apart.
        assert_eq!(whole.len(), 100 + 49);
        assert!(whole.value_at_quantile(0.9) > 60_000);
    }

    #[test]
    fn an_open_schedule_is_not_corrected_again() {
        let plan = plan(Some((Duration::from_millis(1), Duration::ZERO)));
        let mut tally = Tally::new(&plan).unwrap();
        tally.histogram.record(100_000).unwrap();
        let mut whole = Histogram::new(SIGNIFICANT_DIGITS).unwrap();
        merge(&mut whole, &plan, &tally).unwrap();
        assert_eq!(whole.len(), 1);
    }

    #[test]
    fn a_client_that_is_behind_sends_at_once_and_counts_from_the_schedule() {
        let mut plan = plan(Some((Duration::from_millis(1), Duration::ZERO)));
        plan.started -= Duration::from_millis(50);
        let mut pace = Pace::new(&plan, 0);
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().build().unwrap();
        let (first, second) = runtime.block_on(async { (pace.next(plan.ends).await, pace.next(plan.ends).await) });
        assert_eq!(first, Some(plan.started));
        assert_eq!(second, Some(plan.started + Duration::from_millis(1)));
    }

    #[test]
    fn what_was_due_but_not_sent_is_counted() {
        let plan = plan(Some((Duration::from_millis(10), Duration::from_millis(5))));
        assert_eq!(Pace::new(&plan, 0).unsent(&plan), 100);
        assert_eq!(Pace::new(&plan, 1).unsent(&plan), 100);
        assert_eq!(Pace::new(&plan, 2).unsent(&plan), 99);
        assert_eq!(Pace::new(&plan, 1000).unsent(&plan), 0);
    }

    #[test]
    fn errors_are_counted_by_status_and_code() {
        let problem = answer(503, r#"{"error":"overloaded"}"#);
        assert_eq!(kind(&problem), "503 overloaded");
        assert_eq!(kind(&answer(502, "<html>")), "502");
        assert_eq!(kind(&Err(NoAnswer::TooLate)), "timeout");
    }

    #[test]
    fn each_write_has_a_key_of_its_own() {
        let plan = plan(None);
        let uri = Uri::from_static("/x");
        let key = |client, request| plan.call(&uri, Bytes::new(), client, request).unwrap().key.unwrap();
        assert_eq!(key(3, 14), "run-3-14");
        assert_ne!(key(31, 4), key(3, 14));
    }
}
