//! The log as it grows, as server-sent events: for dashboards, and for whatever reacts to stock.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{HeaderName, VARY};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::State;
use super::caller::{Identity, Sight, Standing};
use super::events::{self, LOW_STOCK, SKU, STORE, Shown, TYPE};
use super::feed::{self, Behind, Feed, Page};
use super::format::{self, FORMAT, Format};
use super::problem::Problem;
use super::query::{Kind, Parameter, Query, digits};
use super::write::Answer;
use crate::actors::Inventory;
use crate::domain::MAX_QUANTITY;
use crate::journal::{HistoryFilter, JournalError};

pub const MEDIA_TYPE: &str = "text/event-stream";
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

pub const STREAM: &[Parameter] = &[
    Parameter {
        name: "after",
        about: "The sequence behind which to begin, where there is no `Last-Event-ID`; without either, it begins with what is \
                new.",
        kind: Kind::Count(MAX_QUANTITY),
    },
    SKU,
    STORE,
    TYPE,
    LOW_STOCK,
    Parameter {
        name: FORMAT.name,
        about: "What `data` holds, whatever `Accept` says: `json`, the event as of `/api/events`, or `cloudevents`, a \
                CloudEvent (as `Accept: application/cloudevents+json`).",
        kind: Kind::Format(format::OF_STREAMS),
    },
];

/// A client whose connection has ended comes again after so long.
const RETRY_MILLIS: u32 = 2000;
/// What is sent at a time has about so many bytes; a single event may have more.
const CHUNK_BYTES: usize = 64 << 10;

/// `GET /api/events/stream`
pub async fn follow(state: Data<State>, request: HttpRequest, sight: Sight) -> Answer {
    let query = Query::of(&request, STREAM)?;
    let filter = events::filter(&query, &sight)?;
    let format = Format::of(&request, &query, format::OF_STREAMS);
    let place = place(&request, &query)?;
    sight.check(filter.store.as_ref())?;
    let inventory = state.inventory()?.clone();
    let mut response = HttpResponse::Ok();
    response
        .content_type(MEDIA_TYPE)
        .insert_header((VARY, "Accept"))
        .insert_header(("x-accel-buffering", "no"));
    if *request.method() == Method::HEAD {
        return Ok(response.streaming(stream::empty::<Result<Bytes, Infallible>>()));
    }
    let standing = request
        .extensions()
        .get::<Identity>()
        .map(|identity| identity.standing.clone());
    let seq = place.unwrap_or_else(|| inventory.journal().visible());
    let follower = Follower::new(&state, inventory, standing, filter, format, seq);
    Ok(response.streaming(stream::unfold(follower, Follower::next)))
}

/// Where the client has got to. A browser that comes again says so in its header, and repeats the query as it was at first.
fn place(request: &HttpRequest, query: &Query) -> Result<Option<u64>, Problem> {
    let after = query.count("after", MAX_QUANTITY)?;
    let Some(id) = request.headers().get(&LAST_EVENT_ID).filter(|id| !id.is_empty()) else {
        return Ok(after);
    };
    let seq = id.to_str().ok().and_then(digits).filter(|seq| *seq <= MAX_QUANTITY);
    let invalid = || Problem::invalid("Last-Event-ID", "it is not the id of an event: a whole number");
    seq.map(Some).ok_or_else(invalid)
}

/// Somebody who follows the log. It is asked for more when what it was given has gone to the connection.
struct Follower {
    feed: Arc<Feed>,
    inventory: Arc<Inventory>,
    filter: HistoryFilter,
    format: Format,
    /// None where nobody must log in.
    standing: Option<Arc<Standing>>,
    end: watch::Receiver<u64>,
    stopping: watch::Receiver<bool>,
    /// So far the log was looked at, and so far the client knows of it.
    seq: u64,
    told: Option<u64>,
    /// What it is being given.
    page: Option<Arc<Page>>,
    /// When something must be said.
    beat: Instant,
    /// It has come to the end of the log; and since then it is behind what is kept, since when.
    is_live: bool,
    behind_since: Option<Instant>,
    /// When it was given something of which it is not known that it has gone.
    given_at: Option<Instant>,
}

/// What comes next.
enum Step {
    Page(Arc<Page>),
    /// Nothing, for as long as one could wait.
    Pause,
    Over,
}

impl Follower {
    fn new(
        state: &State,
        inventory: Arc<Inventory>,
        standing: Option<Arc<Standing>>,
        filter: HistoryFilter,
        format: Format,
        seq: u64,
    ) -> Self {
        let feed = state.feed.clone();
        feed.followers.open.fetch_add(1, Ordering::AcqRel);
        Self {
            end: feed.end(),
            beat: Instant::now() + feed.heartbeat(),
            stopping: state.stopping.subscribe(),
            feed,
            inventory,
            filter,
            format,
            standing,
            seq,
            told: None,
            page: None,
            is_live: false,
            behind_since: None,
            given_at: None,
        }
    }

    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        self.given_at = None;
        let chunk = self.chunk().await?;
        let now = Instant::now();
        self.beat = now + self.feed.heartbeat();
        self.given_at = Some(now);
        Some((Ok(chunk.into()), self))
    }

    async fn chunk(&mut self) -> Option<String> {
        if self.told.is_none() {
            self.told = Some(self.seq);
            // From its first moment the client knows where to go on.
            return Some(format!("retry: {RETRY_MILLIS}\nid: {}\n\n", self.seq));
        }
        loop {
            let step = self.step().await;
            // Behind the step: what has ended the caller's rights is in the log before what they must not see.
            if matches!(step, Step::Over) || !self.may_go_on().await {
                return None;
            }
            if let Step::Page(page) = step {
                let text = self.take(&page).await.map_err(|error| self.note(&error)).ok()?;
                if !text.is_empty() {
                    return Some(text);
                }
            }
            if Instant::now() >= self.beat {
                return Some(self.heartbeat());
            }
        }
    }

    async fn step(&mut self) -> Step {
        if let Some(page) = self.page.clone().filter(|page| page.last > self.seq) {
            return Step::Page(page);
        }
        match self.feed.behind(self.seq, self.inventory.journal()) {
            Behind::Page(page) => {
                self.is_up_to_date();
                Step::Page(page)
            }
            Behind::Nothing => {
                self.is_up_to_date();
                self.wait().await;
                Step::Pause
            }
            Behind::Gone if self.is_too_slow() => Step::Over,
            Behind::Gone => match Page::read(self.inventory.journal().as_ref(), self.seq).await {
                Ok(page) => Step::Page(page.into()),
                Err(error) => {
                    self.note(&error);
                    Step::Over
                }
            },
        }
    }

    fn is_up_to_date(&mut self) {
        self.is_live = true;
        self.behind_since = None;
    }

    /// Who has come to the end once, and then takes so little that it is far behind for long, goes, and may come again.
    fn is_too_slow(&mut self) -> bool {
        if !self.is_live {
            return false;
        }
        let since = *self.behind_since.get_or_insert_with(Instant::now);
        let is_too_slow = since.elapsed() >= self.feed.patience();
        if is_too_slow {
            self.feed.followers.dropped.fetch_add(1, Ordering::Relaxed);
        }
        is_too_slow
    }

    /// Until there is news, or something must be said, or it is over.
    async fn wait(&mut self) {
        let deadline = self.deadline();
        tokio::select! {
            _ = self.end.changed() => {}
            _ = self.stopping.wait_for(|stopping| *stopping) => {}
            () = sleep_until(deadline) => {}
        }
    }

    fn deadline(&self) -> Instant {
        let over = self.standing.as_ref().and_then(|standing| standing.expires_at);
        let left = over.map(|over| over.as_millis() - self.inventory.now().as_millis());
        // Not at once again and again, where a clock stands still.
        let left = left.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0).max(10)));
        match left {
            Some(left) => self.beat.min(Instant::now() + left),
            None => self.beat,
        }
    }

    async fn may_go_on(&self) -> bool {
        if *self.stopping.borrow() {
            return false;
        }
        match &self.standing {
            Some(standing) => standing.holds(&self.inventory).await,
            None => true,
        }
    }

    /// What of the page it is shown, as far as it fits into a chunk.
    async fn take(&mut self, page: &Arc<Page>) -> Result<String, JournalError> {
        let mut text = String::new();
        let mut shown = Shown::to(&self.filter.scope, self.inventory.journal().as_ref());
        let (begin, source) = (self.seq, self.feed.source());
        self.seq = page.last;
        for (index, (seq, event)) in page.events.iter().enumerate() {
            if *seq <= begin || !self.filter.takes(event) {
                continue;
            }
            if self.filter.scope.is_all() {
                text.push_str(&page.texts(self.format, source)[index]);
            } else if let Some(event) = shown.one(event).await? {
                text.push_str(&feed::text(*seq, &event, self.format, source));
            }
            self.told = Some(*seq);
            if text.len() >= CHUNK_BYTES {
                self.seq = *seq;
                break;
            }
        }
        self.page = Some(page.clone()).filter(|page| page.last > self.seq);
        Ok(text)
    }

    /// A comment; and an id without data, which is no event, but moves the place from which the client would go on.
    fn heartbeat(&mut self) -> String {
        if self.told == Some(self.seq) {
            return ":\n\n".to_owned();
        }
        self.told = Some(self.seq);
        format!(":\nid: {}\n\n", self.seq)
    }

    fn note(&self, error: &JournalError) {
        tracing::warn!(%error, seq = self.seq, "a stream of events has ended");
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let followers = &self.feed.followers;
        followers.open.fetch_sub(1, Ordering::AcqRel);
        // It was cut off, or has gone, with much of what it was given still unread.
        if self.given_at.is_some_and(|at| at.elapsed() >= self.feed.patience() / 2) {
            followers.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
