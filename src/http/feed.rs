//! The end of the log, for all who follow it live.
//!
//! As long as somebody does, one task reads each event once, and keeps the last of them for everybody: a thousand
//! followers are no more reads of the log than one. Nobody is waited for. A follower knows its own place; who is behind
//! what is kept reads the log itself, so that nothing is lost or told twice, wherever it comes from.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use actix_web::rt;
use tokio::sync::watch;
use tokio::time::sleep;

use super::events::is_of_feeds;
use super::format::Format;
use super::{cloudevents, forms};
use crate::domain::Event;
use crate::journal::{Journal, JournalError, Logged};

/// Records that are read at a time.
const PAGE: usize = 1000;
/// What is kept has so many bytes as text, and some more as events; a single page may have more.
const MOST_BYTES: usize = 4 << 20;
/// Between two pages: those who follow are not woken for each group of a busy log.
const PACE: Duration = Duration::from_millis(20);
/// Proxies and clients take a connection for dead that is silent for long.
const HEARTBEAT: Duration = Duration::from_secs(15);

pub struct Settings {
    /// Of CloudEvents.
    pub source: String,
    /// A connection is closed on which nothing was sent for so long.
    pub quiet: Duration,
    /// So long a follower may leave unread what it is sent.
    pub patience: Duration,
}

pub struct Feed {
    settings: Settings,
    kept: Mutex<Kept>,
    /// The last sequence that is kept.
    end: watch::Sender<u64>,
    duties: AtomicU64,
    pub followers: Followers,
}

/// How many there are, for whoever watches the service.
#[derive(Default)]
pub struct Followers {
    /// At present.
    pub open: AtomicUsize,
    /// So far, for not reading what they were sent.
    pub dropped: AtomicU64,
}

/// The last pages: each begins where the one before ends.
#[derive(Default)]
struct Kept {
    pages: VecDeque<Arc<Page>>,
    bytes: usize,
    /// What is kept begins behind this sequence.
    begin: u64,
    /// The task that goes on reading, if there is one.
    duty: Option<u64>,
}

/// What there is behind a place.
pub enum Behind {
    Page(Arc<Page>),
    /// Nothing as yet.
    Nothing,
    /// More than is kept.
    Gone,
}

/// Some events of the log in order: all behind a place that feeds show, up to another.
pub struct Page {
    pub last: u64,
    pub events: Vec<Logged>,
    /// How each of them is sent to who sees all of it, as JSON and as CloudEvent.
    json: OnceLock<Vec<String>>,
    cloud: OnceLock<Vec<String>>,
}

impl Default for Feed {
    fn default() -> Self {
        Self::new(Settings {
            source: cloudevents::DEFAULT_SOURCE.to_owned(),
            quiet: HEARTBEAT * 4,
            patience: HEARTBEAT * 2,
        })
    }
}

impl Feed {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            kept: Mutex::default(),
            end: watch::Sender::new(0),
            duties: AtomicU64::default(),
            followers: Followers::default(),
        }
    }

    pub fn source(&self) -> &str {
        &self.settings.source
    }

    pub fn patience(&self) -> Duration {
        self.settings.patience
    }

    /// So often something is said at least.
    pub fn heartbeat(&self) -> Duration {
        HEARTBEAT.min(self.settings.quiet / 2)
    }

    /// Tells how far the log is kept.
    pub fn end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// What a follower finds behind its place. The first one who asks has the log read on from here.
    pub fn behind(self: &Arc<Self>, seq: u64, journal: &Arc<dyn Journal>) -> Behind {
        let mut kept = self.kept();
        if kept.duty.is_none() {
            *kept = self.begin(journal);
        }
        kept.behind(seq)
    }

    fn begin(self: &Arc<Self>, journal: &Arc<dyn Journal>) -> Kept {
        let begin = journal.visible();
        let duty = Duty {
            number: self.duties.fetch_add(1, Ordering::Relaxed),
            feed: self.clone(),
        };
        let kept = Kept {
            begin,
            duty: Some(duty.number),
            ..Kept::default()
        };
        self.end.send_replace(begin);
        rt::spawn(read_on(duty, journal.clone(), begin));
        kept
    }

    fn keep(&self, page: Page) {
        let last = page.last;
        // Written before others are kept from reading.
        page.texts(Format::Json, self.source());
        self.kept().push(page.into(), self.source());
        self.end.send_replace(last);
    }

    /// Ends the reading, if nobody follows any more. Who comes now counts itself first, and then begins it anew.
    fn is_left(&self) -> bool {
        let mut kept = self.kept();
        if self.followers.open.load(Ordering::Acquire) > 0 {
            return false;
        }
        *kept = Kept::default();
        true
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, page: Arc<Page>, source: &str) {
        self.bytes += page.bytes(source);
        self.pages.push_back(page);
        while self.bytes > MOST_BYTES && self.pages.len() > 1 {
            if let Some(oldest) = self.pages.pop_front() {
                self.bytes -= oldest.bytes(source);
                self.begin = oldest.last;
            }
        }
    }

    fn behind(&self, seq: u64) -> Behind {
        if seq < self.begin {
            return Behind::Gone;
        }
        let index = self.pages.partition_point(|page| page.last <= seq);
        self.pages.get(index).cloned().map_or(Behind::Nothing, Behind::Page)
    }
}

/// Of the task that reads on. However it ends, the followers learn of it, and the next one who asks begins another.
struct Duty {
    number: u64,
    feed: Arc<Feed>,
}

impl Drop for Duty {
    fn drop(&mut self) {
        let mut kept = self.feed.kept();
        if kept.duty == Some(self.number) {
            kept.duty = None;
            self.feed.end.send_modify(|_| {});
        }
    }
}

async fn read_on(duty: Duty, journal: Arc<dyn Journal>, mut seq: u64) {
    let feed = &duty.feed;
    loop {
        journal.news(seq).await;
        if feed.is_left() {
            return;
        }
        match Page::read(journal.as_ref(), seq).await {
            Ok(page) => {
                seq = page.last;
                feed.keep(page);
            }
            Err(error) => {
                tracing::warn!(%error, seq, "the log cannot be read for those who follow it");
                return;
            }
        }
        sleep(PACE).await;
    }
}

impl Page {
    /// What is behind a place of the log.
    pub async fn read(journal: &dyn Journal, after: u64) -> Result<Self, JournalError> {
        let mut events = journal.events(after, PAGE).await?;
        let last = events.last().map_or(after, |(seq, _)| *seq);
        events.retain(|(_, event)| is_of_feeds(event));
        Ok(Self {
            last,
            events,
            json: OnceLock::new(),
            cloud: OnceLock::new(),
        })
    }

    /// How each of its events is sent.
    pub fn texts(&self, format: Format, source: &str) -> &[String] {
        let texts = match format {
            Format::CloudEvents => &self.cloud,
            Format::Json | Format::Csv => &self.json,
        };
        let text = |(seq, event): &Logged| text(*seq, event, format, source);
        texts.get_or_init(|| self.events.iter().map(text).collect())
    }

    fn bytes(&self, source: &str) -> usize {
        self.texts(Format::Json, source).iter().map(String::len).sum()
    }
}

/// An event as it stands in a stream.
pub fn text(seq: u64, event: &Event, format: Format, source: &str) -> String {
    let data = match format {
        Format::CloudEvents => serde_json::to_string(&cloudevents::event(source, seq, event)),
        Format::Json | Format::Csv => serde_json::to_string(&forms::event(seq, event)),
    };
    // It is one line, as JSON is written here; and none of these forms has anything that cannot be written.
    format!(
        "id: {seq}\nevent: {}\ndata: {}\n\n",
        event.kind,
        data.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Of one big event.
    fn page(last: u64) -> Arc<Page> {
        let event = json!({
            "type": "level.adjusted", "at": "2025-11-27T08:26:00.123Z", "by": "anonymous", "requestId": "r",
            "note": "n".repeat(1 << 20), "changes": [],
        });
        let events = vec![(last, serde_json::from_value(event).unwrap())];
        let (json, cloud) = Default::default();
        Arc::new(Page {
            last,
            events,
            json,
            cloud,
        })
    }

    #[test]
    fn what_is_kept_has_a_bound_and_no_gaps_for_whoever_stands_anywhere() {
        const STEP: u64 = 5;
        let mut kept = Kept {
            begin: 10,
            ..Kept::default()
        };
        for last in (15..=50).step_by(STEP as usize) {
            kept.push(page(last), "");
        }
        assert!(
            kept.bytes <= MOST_BYTES && kept.begin == 35,
            "{} {}",
            kept.bytes,
            kept.begin
        );
        for seq in 0..60 {
            match kept.behind(seq) {
                Behind::Gone => assert!(seq < kept.begin, "{seq}"),
                Behind::Nothing => assert!(seq >= 50, "{seq}"),
                Behind::Page(page) => assert!((page.last - STEP..page.last).contains(&seq), "{seq}"),
            }
        }
    }

    #[test]
    fn a_page_that_is_larger_than_all_that_may_be_kept_is_kept_alone() {
        let mut kept = Kept::default();
        let large: Vec<_> = (1..=6).flat_map(|seq| page(seq).events.clone()).collect();
        let (json, cloud) = Default::default();
        kept.push(page(1), "");
        kept.push(
            Arc::new(Page {
                last: 6,
                events: large,
                json,
                cloud,
            }),
            "",
        );
        assert_eq!((kept.pages.len(), kept.begin), (1, 1));
    }
}
