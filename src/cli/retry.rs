//! Sending with patience: through a service that restarts, is overloaded or loses answers.
//!
//! A call is repeated with the same idempotency key for as long as it is unknown whether, or known
//! that it did not, take effect and the service may still come round: no answer, any 503, and 409
//! `request_in_flight`. Everybody gives up together, once nobody has had a success for a while.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::header::{HeaderName, RETRY_AFTER};
use indicatif::ProgressBar;
use tokio::task::JoinSet;

use super::client::{Answer, Call, Client, Service};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What all clients of a run share.
pub struct Patience {
    give_up_after: Duration,
    last_success: Mutex<Instant>,
    retries: AtomicU64,
    replayed: AtomicU64,
}

/// Nobody had a success for too long; `last` says what came instead.
#[derive(Debug, PartialEq)]
pub struct GaveUp {
    pub last: String,
}

/// A call that ended without a success.
#[derive(Debug, PartialEq)]
pub struct Failure {
    /// Which of the calls it was.
    pub index: usize,
    /// The status that refused it; none when it was given up.
    pub status: Option<u16>,
    pub detail: String,
}

/// What became of a set of calls; those that are neither sent nor failed were never tried.
#[derive(Debug, Default)]
pub struct Outcome {
    pub sent: usize,
    pub failures: Vec<Failure>,
}

impl Patience {
    pub fn new(give_up_after: Duration) -> Self {
        Self {
            give_up_after,
            last_success: Mutex::new(Instant::now()),
            retries: AtomicU64::new(0),
            replayed: AtomicU64::new(0),
        }
    }

    /// How many times a call was sent again.
    pub fn retries(&self) -> u64 {
        self.retries.load(Relaxed)
    }

    /// How many answers the service gave from what it had stored under the key.
    pub fn replayed(&self) -> u64 {
        self.replayed.load(Relaxed)
    }

    /// Sends until there is an answer that repeating would not better.
    pub async fn send(&self, client: &mut Client, call: &Call) -> Result<Answer, GaveUp> {
        let mut pause = FIRST_PAUSE;
        loop {
            let (last, wanted) = match client.send(call).await {
                Ok(answer) if !is_passing(&answer) => {
                    self.note(&answer);
                    return Ok(answer);
                }
                Ok(answer) => (describe(&answer), retry_after(&answer)),
                Err(none) => (none.to_string(), Duration::ZERO),
            };
            if self.is_exhausted() {
                return Err(GaveUp { last });
            }
            self.retries.fetch_add(1, Relaxed);
            tokio::time::sleep(pause.max(wanted)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn note(&self, answer: &Answer) {
        if answer.status.is_success() {
            *self.last_success() = Instant::now();
        }
        if answer
            .headers
            .get(IDEMPOTENCY_REPLAYED)
            .is_some_and(|value| value == "true")
        {
            self.replayed.fetch_add(1, Relaxed);
        }
    }

    fn is_exhausted(&self) -> bool {
        self.last_success().elapsed() >= self.give_up_after
    }

    fn last_success(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.last_success.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends `count` calls from `clients` clients at once, each taking the next in order.
///
/// After each success `then` is asked whether another call follows from its answer: the same client
/// sends that before it takes the next. The calls are made as they are due, so that a long file does
/// not stand in memory twice.
pub async fn send_all(
    service: &Arc<Service>,
    patience: &Arc<Patience>,
    clients: usize,
    count: usize,
    bar: &ProgressBar,
    call_of: impl Fn(usize) -> anyhow::Result<Call> + Send + Sync + 'static,
    then: impl Fn(usize, &Answer) -> anyhow::Result<Option<Call>> + Send + Sync + 'static,
) -> anyhow::Result<Outcome> {
    let shared = Arc::new(Queue {
        next: AtomicUsize::new(0),
        count,
        patience: patience.clone(),
        bar: bar.clone(),
        call_of,
        then,
    });
    let mut tasks = JoinSet::new();
    for _ in 0..clients.min(count) {
        tasks.spawn(drain(shared.clone(), Client::new(service.clone())));
    }
    let mut whole = Outcome::default();
    while let Some(part) = tasks.join_next().await {
        let part = part??;
        whole.sent += part.sent;
        whole.failures.extend(part.failures);
    }
    whole.failures.sort_by_key(|failure| failure.index);
    Ok(whole)
}

struct Queue<F, T> {
    next: AtomicUsize,
    count: usize,
    patience: Arc<Patience>,
    bar: ProgressBar,
    call_of: F,
    then: T,
}

/// One client's share of the queue: it ends with the queue, or with the first call given up.
async fn drain<F, T>(queue: Arc<Queue<F, T>>, mut client: Client) -> anyhow::Result<Outcome>
where
    F: Fn(usize) -> anyhow::Result<Call>,
    T: Fn(usize, &Answer) -> anyhow::Result<Option<Call>>,
{
    let mut outcome = Outcome::default();
    loop {
        let index = queue.next.fetch_add(1, Relaxed);
        if index >= queue.count {
            return Ok(outcome);
        }
        outcome.sent += 1;
        let failure = send_chain(&queue, &mut client, index).await?;
        let gave_up = failure.as_ref().is_some_and(|failure| failure.status.is_none());
        outcome.failures.extend(failure);
        if gave_up {
            return Ok(outcome);
        }
        queue.bar.inc(1);
    }
}

/// A call and those that follow from it, as far as they succeed.
async fn send_chain<F, T>(queue: &Queue<F, T>, client: &mut Client, index: usize) -> anyhow::Result<Option<Failure>>
where
    F: Fn(usize) -> anyhow::Result<Call>,
    T: Fn(usize, &Answer) -> anyhow::Result<Option<Call>>,
{
    let mut call = (queue.call_of)(index)?;
    loop {
        let (status, detail) = match queue.patience.send(client, &call).await {
            Ok(answer) if answer.status.is_success() => match (queue.then)(index, &answer)? {
                Some(next) => {
                    call = next;
                    continue;
                }
                None => return Ok(None),
            },
            Ok(answer) => (Some(answer.status.as_u16()), detail(&answer)),
            Err(GaveUp { last }) => (None, format!("given up; {last}")),
        };
        return Ok(Some(Failure { index, status, detail }));
    }
}

/// The status and what the problem says, for a person.
pub fn describe(answer: &Answer) -> String {
    format!("{}: {}", answer.status.as_u16(), detail(answer))
}

fn detail(answer: &Answer) -> String {
    let problem = answer.problem();
    problem
        .detail
        .or(problem.error)
        .unwrap_or_else(|| "(no detail)".to_owned())
}

fn is_passing(answer: &Answer) -> bool {
    match answer.status {
        StatusCode::SERVICE_UNAVAILABLE => true,
        StatusCode::CONFLICT => answer.problem().error.as_deref() == Some("request_in_flight"),
        _ => false,
    }
}

/// What the service asks for, in so far as we wait that long at all.
fn retry_after(answer: &Answer) -> Duration {
    answer
        .headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs)
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::HeaderMap;
    use hyper::body::Bytes;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    #[test]
    fn only_what_may_pass_is_repeated() {
        assert!(is_passing(&answer(503, "")));
        assert!(is_passing(&answer(409, r#"{"error":"request_in_flight"}"#)));
        assert!(!is_passing(&answer(409, r#"{"error":"insufficient_stock"}"#)));
        assert!(!is_passing(&answer(500, "")));
        assert!(!is_passing(&answer(201, "{}")));
    }

    #[test]
    fn retry_after_is_honoured_up_to_the_longest_pause() {
        let mut busy = answer(503, "");
        assert_eq!(retry_after(&busy), Duration::ZERO);
        for (value, pause) in [("0", Duration::ZERO), ("7", LONGEST_PAUSE), ("soon", Duration::ZERO)] {
            busy.headers.insert(RETRY_AFTER, value.parse().unwrap());
            assert_eq!(retry_after(&busy), pause, "{value}");
        }
    }

    #[test]
    fn a_refusal_is_described_by_its_detail() {
        let refused = answer(404, r#"{"error":"not_found","detail":"No level of X in Y."}"#);
        assert_eq!(describe(&refused), "404: No level of X in Y.");
        assert_eq!(describe(&answer(500, "<html>")), "500: (no detail)");
    }

    #[test]
    fn patience_ends_without_any_success() {
        let patience = Patience::new(Duration::ZERO);
        assert!(patience.is_exhausted());
        let patience = Patience::new(Duration::from_secs(3600));
        assert!(!patience.is_exhausted());
    }
}
