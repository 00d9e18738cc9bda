//! The log as clients read it: events in order, and movements newest first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, LINK, VARY};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::caller::Sight;
use super::cloudevents::{self, CloudEventForm};
use super::csv;
use super::format::{self, FORMAT, Format};
use super::forms::{self, EventForm};
use super::lists::{AFTER, LIMIT, Page, link};
use super::problem::Problem;
use super::query::{Kind, Parameter, Query};
use super::write::Answer;
use super::{State, cursor};
use crate::domain::{Event, MAX_QUANTITY, Move, Movement, ReservationId, Scope, Sku, StoreId, Timestamp};
use crate::journal::{HistoryFilter, Journal, JournalError, Logged};

pub const SKU: Parameter = Parameter {
    name: "sku",
    about: "Only what changed this SKU.",
    kind: Kind::Text("85123A"),
};

pub const STORE: Parameter = Parameter {
    name: "storeId",
    about: "Only what changed this store.",
    kind: Kind::Text("london"),
};

pub const TYPE: Parameter = Parameter {
    name: "type",
    about: "Only events of this type.",
    kind: Kind::Event,
};

pub const LOW_STOCK: Parameter = Parameter {
    name: "lowStock",
    about: "`true`: only events by which available fell to or below the reorder point, in a change that fits the rest.",
    kind: Kind::Flag,
};

/// The longest that a request waits for news.
const MAX_WAIT_SECONDS: u64 = 30;

pub const EVENTS: &[Parameter] = &[
    Parameter {
        name: "after",
        about: "The sequence behind which to begin; 0 or left out: from the beginning.",
        kind: Kind::Count(MAX_QUANTITY),
    },
    LIMIT,
    Parameter {
        name: "wait",
        about: "So many seconds, up to 30, are waited for news where there is none.",
        kind: Kind::Count(MAX_WAIT_SECONDS),
    },
    SKU,
    STORE,
    TYPE,
    LOW_STOCK,
    Parameter {
        name: FORMAT.name,
        about: "The form of the answer, whatever `Accept` says: `json`, `csv` (as `Accept: text/csv`), or `cloudevents` (as \
                `Accept: application/cloudevents-batch+json`).",
        kind: Kind::Format(format::OF_EVENTS),
    },
];

/// A page of the log.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EventPage")]
pub struct EventsForm<'a> {
    items: Vec<EventForm<'a>>,
    /// Where the next page begins; null where there is nothing more at present.
    next: Option<String>,
    /// How far this page has looked: from here on nothing has been missed. Give it as `after` to go on later.
    seq: u64,
    /// The last sequence of the log at present.
    end: u64,
}

/// `GET /api/events`
pub async fn events(state: Data<State>, request: HttpRequest, sight: Sight) -> Answer {
    let query = Query::of(&request, EVENTS)?;
    let limit = query.limit()?;
    let after = query.count("after", MAX_QUANTITY)?.unwrap_or(0);
    let wait = Duration::from_secs(query.count("wait", MAX_WAIT_SECONDS)?.unwrap_or(0));
    let filter = filter(&query, &sight)?;
    sight.check(filter.store.as_ref())?;
    let journal = state.inventory()?.journal();
    let deadline = Instant::now() + wait;
    let mut found = look(journal.as_ref(), &filter, after, limit).await?;
    while found.events.is_empty() && !found.has_more {
        let news = tokio::select! {
            () = journal.news(found.seq) => true,
            () = sleep_until(deadline) => false,
            () = state.stopping() => false,
        };
        if !news {
            break;
        }
        found = look(journal.as_ref(), &filter, found.seq, limit).await?;
    }
    let events = Shown::to(sight.scope(), journal.as_ref()).all(found.events).await?;
    let next = found.has_more.then(|| found.seq.to_string());
    let mut response = HttpResponse::Ok();
    response.insert_header((VARY, "Accept"));
    if let Some(next) = &next {
        response.insert_header((LINK, link(&request, &query, next)));
    }
    let forms = events.iter().map(|(seq, event)| forms::event(*seq, event));
    match Format::of(&request, &query, format::OF_EVENTS) {
        Format::Csv => csv::answer(response, forms),
        Format::CloudEvents => {
            let source = state.feed.source();
            let batch = events
                .iter()
                .map(|(seq, event)| cloudevents::event(source, *seq, event));
            let batch: Vec<CloudEventForm> = batch.collect();
            Ok(response.insert_header((CONTENT_TYPE, cloudevents::BATCH)).json(batch))
        }
        Format::Json => Ok(response.json(EventsForm {
            items: forms.collect(),
            next,
            seq: found.seq,
            end: journal.visible(),
        })),
    }
}

/// Which events are asked for, of those that the caller sees.
pub fn filter(query: &Query, sight: &Sight) -> Result<HistoryFilter, Problem> {
    Ok(HistoryFilter {
        sku: query.id(SKU.name, Sku::parse)?,
        store: query.id(STORE.name, StoreId::parse)?,
        kind: query.event_kind(TYPE.name)?,
        low_stock: query.flag(LOW_STOCK.name)?,
        scope: sight.scope().clone(),
        ..HistoryFilter::default()
    })
}

/// Whether a feed shows it to anybody: not what is the service's own.
pub fn is_of_feeds(event: &Event) -> bool {
    !event.changes.is_empty() && !event.kind.is_hidden()
}

/// Events as they are shown to someone: of their stores only, and of a cart nothing but that it has changed these, unless
/// they see all of it.
pub struct Shown<'a> {
    scope: &'a Scope,
    journal: &'a dyn Journal,
    /// The carts that were met, and whether they are seen.
    carts: HashMap<ReservationId, bool>,
}

impl<'a> Shown<'a> {
    pub fn to(scope: &'a Scope, journal: &'a dyn Journal) -> Self {
        let carts = HashMap::new();
        Self { scope, journal, carts }
    }

    async fn all(&mut self, events: Vec<Logged>) -> Result<Vec<Logged>, JournalError> {
        if self.scope.is_all() {
            return Ok(events);
        }
        let mut shown = Vec::with_capacity(events.len());
        for (seq, event) in events {
            if let Some(event) = self.one(&event).await? {
                shown.push((seq, Arc::new(event)));
            }
        }
        Ok(shown)
    }

    pub async fn one(&mut self, event: &Event) -> Result<Option<Event>, JournalError> {
        let Some(event) = event.clone().within(self.scope) else {
            return Ok(None);
        };
        match &event.reservation_id {
            Some(id) if !self.sees(id).await? => Ok(Some(event.without_words())),
            _ => Ok(Some(event)),
        }
    }

    async fn sees(&mut self, id: &ReservationId) -> Result<bool, JournalError> {
        if let Some(is_seen) = self.carts.get(id) {
            return Ok(*is_seen);
        }
        let found = self.journal.reservation(id).await?;
        let is_seen = found.is_some_and(|found| found.is_within(self.scope));
        self.carts.insert(id.clone(), is_seen);
        Ok(is_seen)
    }
}

struct Found {
    events: Vec<Logged>,
    seq: u64,
    has_more: bool,
}

/// Records that one request looks at, at most: a filter that fits little must not read the whole log at once.
const LOOKED_AT: usize = 10_000;
/// Records that are read at a time where not all of them may fit.
const PAGE: usize = 1000;

async fn look(journal: &dyn Journal, filter: &HistoryFilter, after: u64, limit: usize) -> Result<Found, JournalError> {
    let mut found = Found {
        events: Vec::new(),
        seq: after,
        has_more: false,
    };
    let mut looked_at = 0;
    loop {
        let visible = journal.visible();
        if found.seq >= visible {
            return Ok(found);
        }
        let wanted = if filter.is_open() {
            limit - found.events.len()
        } else {
            PAGE
        };
        let page = journal.events(found.seq, wanted).await?;
        looked_at += page.len();
        let is_last = page.is_empty();
        for (seq, event) in page {
            if found.events.len() == limit {
                break;
            }
            found.seq = seq;
            if is_of_feeds(&event) && filter.takes(&event) {
                found.events.push((seq, event));
            }
        }
        found.has_more = found.seq < visible;
        if is_last || !found.has_more || found.events.len() == limit || looked_at >= LOOKED_AT {
            return Ok(found);
        }
    }
}

pub const MOVEMENTS: &[Parameter] = &[
    SKU,
    STORE,
    Parameter {
        name: "type",
        about: "Only movements of this type.",
        kind: Kind::Movement,
    },
    Parameter {
        name: "from",
        about: "Not before this moment (RFC 3339).",
        kind: Kind::Time,
    },
    Parameter {
        name: "to",
        about: "Not after this moment (RFC 3339).",
        kind: Kind::Time,
    },
    LIMIT,
    AFTER,
    FORMAT,
];

/// A movement: its event, and its place among the movements of that.
struct Row {
    seq: u64,
    index: usize,
    /// The place of its change.
    change: usize,
    one: Move,
    event: Arc<Event>,
}

/// `GET /api/movements`
pub async fn movements(state: Data<State>, request: HttpRequest, sight: Sight) -> Answer {
    let query = Query::of(&request, MOVEMENTS)?;
    let limit = query.limit()?;
    let filter = HistoryFilter {
        sku: query.id("sku", Sku::parse)?,
        store: query.id("storeId", StoreId::parse)?,
        scope: sight.scope().clone(),
        moved: true,
        movement: query.movement("type")?,
        from: query.time("from")?,
        to: query.time("to")?,
        ..HistoryFilter::default()
    };
    let name = name(&filter);
    let name: Vec<&str> = name.iter().map(String::as_str).collect();
    let after = query.get(AFTER.name).map(|after| place(&name, after)).transpose()?;
    sight.check(filter.store.as_ref())?;
    let journal = state.inventory()?.journal();
    let rows = find(journal.as_ref(), filter, after, limit + 1).await?;
    let page = Page::of(rows, limit, &name, |row| format!("{}:{}", row.seq, row.index));
    page.answer(&request, &query, |row| {
        forms::movement(row.seq, &row.event, &row.event.changes[row.change], &row.one)
    })
}

/// The list with its filters, for its cursors.
fn name(filter: &HistoryFilter) -> [String; 6] {
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string()).unwrap_or_default();
    [
        "movements".to_owned(),
        filter.sku.as_ref().map(Sku::to_string).unwrap_or_default(),
        filter.store.as_ref().map(StoreId::to_string).unwrap_or_default(),
        filter.movement.map(Movement::as_str).unwrap_or_default().to_owned(),
        time(filter.from),
        time(filter.to),
    ]
}

fn place(name: &[&str], after: &str) -> Result<(u64, usize), Problem> {
    let place = cursor::decode(name, after)?;
    let parts = place
        .split_once(':')
        .and_then(|(seq, index)| Some((seq.parse().ok()?, index.parse().ok()?)));
    parts.ok_or_else(|| Problem::invalid(AFTER.name, "it is not a cursor of this list"))
}

/// Movements behind `after`, newest first; of one event, its last one first.
async fn find(
    journal: &dyn Journal,
    filter: HistoryFilter,
    after: Option<(u64, usize)>,
    limit: usize,
) -> Result<Vec<Row>, JournalError> {
    let (mut rows, scope) = (Vec::new(), filter.scope.clone());
    let mut shown = Shown::to(&scope, journal);
    let mut before = after.map_or(u64::MAX, |(seq, _)| seq.saturating_add(1));
    while rows.len() < limit {
        let events = journal.history(filter.clone(), before, limit - rows.len()).await?;
        let Some((last, _)) = events.last() else { break };
        before = *last;
        for (seq, event) in shown.all(events).await? {
            let moves: Vec<(usize, Move)> = event.moves().collect();
            let moves = moves.into_iter().enumerate().rev();
            let behind = moves.filter(|(index, _)| after.is_none_or(|(at, place)| seq < at || *index < place));
            let fitting = behind.filter(|(_, (change, one))| {
                filter.takes_change(&event.changes[*change])
                    && filter.movement.is_none_or(|movement| movement == one.movement)
            });
            rows.extend(fitting.map(|(index, (change, one))| Row {
                seq,
                index,
                change,
                one,
                event: event.clone(),
            }));
        }
    }
    rows.truncate(limit);
    Ok(rows)
}
