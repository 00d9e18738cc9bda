//! Follows the log and keeps the sums of what was sold up with it, beside the requests and never in their way.
//!
//! What is asked for is first brought up to the last event that was shown when the question came. The sums are kept as a
//! document now and then, so that a start need not read the whole log; without it, or with one that is of another log,
//! they are made again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use serde_json::value::to_raw_value;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use crate::domain::sales::Sales;
use crate::journal::{Document, Journal, JournalError, Kept, Logged};

/// Events that are read, and taken in without a pause, at a time.
const PAGE: usize = 1000;
/// News is left to gather for so long, as a page of events costs little more to read than one. Whoever comes later than
/// this finds the newest no longer in memory, when much is written.
const GATHERING: Duration = Duration::from_millis(10);
/// Beside the requests, reading rests so many times as long as it took: so it takes a tenth of a thread at most, and is
/// behind while more is written than that. Whoever asks for sales reads what is missing without a rest.
const RESTS: u32 = 9;
/// How long somebody who asks waits for what is missing.
const PATIENCE: Duration = Duration::from_secs(5);
/// The document is kept so often, at most, and rather less often than it would take a hundredth of the time.
const KEEP_EVERY: Duration = Duration::from_secs(60);
const KEEP_RESTS: u32 = 99;
/// How long a stop reads on.
const LAST_READ: Duration = Duration::from_secs(1);
/// After the log could not be read.
const RETRY_AFTER: Duration = Duration::from_secs(30);

pub struct SalesBook {
    journal: Arc<dyn Journal>,
    sales: RwLock<Sales>,
    /// The last event in it, for those who need no more.
    seq: AtomicU64,
    /// Held by whoever reads on: whether the document has been looked for.
    reading: Mutex<bool>,
    keeping: Mutex<Keeping>,
}

/// How the document was kept last.
struct Keeping {
    seq: u64,
    not_before: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SalesError {
    /// So many events are still to be read; ask again.
    Behind {
        events: u64,
    },
    Journal(JournalError),
}

impl From<JournalError> for SalesError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl SalesBook {
    /// Starts to follow the log; call it within the actix system.
    pub fn start(journal: Arc<dyn Journal>) -> Arc<Self> {
        let book = Arc::new(Self {
            journal,
            sales: RwLock::default(),
            seq: AtomicU64::new(0),
            reading: Mutex::default(),
            keeping: Mutex::new(Keeping {
                seq: 0,
                not_before: Instant::now() + KEEP_EVERY,
            }),
        });
        actix_web::rt::spawn(follow(Arc::downgrade(&book)));
        book
    }

    /// Answers from the sums of all events that are shown by now.
    pub async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        look: impl FnOnce(&Sales) -> T + Send + 'static,
    ) -> Result<T, SalesError> {
        let target = self.journal.visible();
        let caught_up = timeout(PATIENCE, self.read_up_to(target)).await;
        caught_up.unwrap_or_else(|_| {
            let events = target.saturating_sub(self.seq());
            Err(SalesError::Behind { events })
        })?;
        let book = self.clone();
        Ok(apart(move || look(&book.sales())).await?)
    }

    /// The last event in the sums.
    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Keeps the sums for the next start, before the journal is closed.
    pub async fn close(self: &Arc<Self>) {
        // What is not read by then, the next start reads.
        let _ = timeout(LAST_READ, self.read_up_to(self.journal.visible())).await;
        self.keep_or_warn().await;
    }

    /// Puts the document in its place, if there is anything new in it.
    async fn keep(self: &Arc<Self>) -> Result<(), JournalError> {
        let mut keeping = self.keeping.lock().await;
        if self.seq() == keeping.seq {
            return Ok(());
        }
        let started = Instant::now();
        let book = self.clone();
        let encoded = apart(move || {
            let sales = book.sales();
            to_raw_value(&*sales).map(|body| Kept { seq: sales.seq(), body })
        });
        let kept = encoded
            .await?
            .map_err(|error| JournalError::Unavailable(format!("writing down sales: {error}")))?;
        let seq = kept.seq;
        let outcome = self.journal.keep(Document::Sales, kept).await;
        let rest = (started.elapsed() * KEEP_RESTS).max(KEEP_EVERY);
        keeping.not_before = Instant::now() + rest;
        outcome.map(|()| keeping.seq = seq)
    }

    async fn keep_now_and_then(self: &Arc<Self>) {
        if Instant::now() >= self.keeping.lock().await.not_before {
            self.keep_or_warn().await;
        }
    }

    async fn keep_or_warn(self: &Arc<Self>) {
        if let Err(error) = self.keep().await {
            tracing::warn!(%error, "the sums of sales could not be kept; a start reads more of the log for it");
        }
    }

    async fn read_up_to(self: &Arc<Self>, target: u64) -> Result<(), SalesError> {
        while self.seq() < target {
            self.read_on(target).await?;
        }
        Ok(())
    }

    /// Takes in a page of events.
    async fn read_on(self: &Arc<Self>, target: u64) -> Result<(), JournalError> {
        let mut has_looked = self.reading.lock().await;
        if !*has_looked {
            self.take_up().await;
            *has_looked = true;
        }
        let seq = self.seq();
        if seq >= target {
            return Ok(());
        }
        let events = self.journal.events(seq, PAGE).await?;
        if events.is_empty() {
            return Err(JournalError::Damaged(format!(
                "record {} is missing from the log",
                seq + 1
            )));
        }
        self.take_in(&events);
        Ok(())
    }

    fn take_in(&self, events: &[Logged]) {
        let mut sales = self.sales_mut();
        events.iter().for_each(|(seq, event)| sales.take_in(*seq, event));
        self.seq.store(sales.seq(), Ordering::Release);
    }

    /// Goes on from the document, where there is one of this log.
    async fn take_up(&self) {
        match self.kept().await {
            Ok(Some(sales)) => {
                self.keeping.lock().await.seq = sales.seq();
                self.seq.store(sales.seq(), Ordering::Release);
                *self.sales_mut() = sales;
            }
            Ok(None) => {}
            Err(fault) => tracing::warn!(
                fault,
                "the sums of sales cannot be used; they are made from the log again"
            ),
        }
    }

    async fn kept(&self) -> Result<Option<Sales>, String> {
        let kept = self.journal.kept(Document::Sales).await;
        let Some(Kept { seq, body }) = kept.map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let parsed = apart(move || serde_json::from_str::<Sales>(body.get())).await;
        let sales = parsed
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())?;
        // A log that was restored from a backup may be shorter, or have gone on otherwise.
        let record = match self.journal.visible() {
            visible if seq > visible => None,
            _ => self.journal.record(seq).await.map_err(|error| error.to_string())?,
        };
        let is_of_log = sales.seq() == seq && record.is_some_and(|record| sales.ends_with(&record.event));
        is_of_log
            .then_some(Some(sales))
            .ok_or_else(|| format!("they end with an event {seq} that is not in the log"))
    }

    fn sales(&self) -> RwLockReadGuard<'_, Sales> {
        self.sales.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn sales_mut(&self) -> RwLockWriteGuard<'_, Sales> {
        self.sales.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what there is to be read, with rests.
    async fn catch_up(self: &Arc<Self>) {
        loop {
            let (started, visible) = (Instant::now(), self.journal.visible());
            if self.seq() >= visible {
                break;
            }
            if let Err(error) = self.read_on(visible).await {
                tracing::error!(%error, "the log cannot be read to sum up sales");
                return sleep(RETRY_AFTER).await;
            }
            sleep(started.elapsed() * RESTS).await;
            self.keep_now_and_then().await;
        }
    }
}

/// Runs until the book is gone; holds it only while there is something to do.
async fn follow(book: Weak<SalesBook>) {
    while let Some(news) = book.upgrade().map(|book| book.journal.news(book.seq())) {
        // Without news, what has not been kept is kept all the same.
        let _ = timeout(KEEP_EVERY, news).await;
        sleep(GATHERING).await;
        let Some(book) = book.upgrade() else { return };
        book.catch_up().await;
        book.keep_now_and_then().await;
    }
}

/// Off the threads that serve.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JournalError> {
    let done = spawn_blocking(work).await;
    done.map_err(|error| JournalError::Damaged(format!("summing up sales: {error}")))
}
