//! Deliveries: a task per webhook follows the log from where it stands and posts what the webhook takes, in order, one at a
//! time. What fails is tried again until its attempts are used up; then it is a dead letter, and the next one follows.
//!
//! How far each has come is kept about once a second, and at a stop: so a crash repeats deliveries and leaves none out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::rt;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::forms::Status;
use super::post::{Attempt, Letter, Line, Post, Reach, Verdict};
use super::standing::{self, DeadLetter, Ledger, Standing, Standings};
use crate::actors::entries::EntryWrite;
use crate::actors::{Inventory, new_id};
use crate::domain::webhook::{Retries, Terms, Topic};
use crate::domain::{Entry, EntryKey, Event, EventKind, LastEvent, Origin, Principal, Scope, Timestamp, Webhook};
use crate::http::forms;
use crate::http::problem::{Code, Problem};
use crate::journal::{Document, EntryKind, EntryView, Journal, JournalError, Logged};

/// How deliveries are made.
#[derive(Clone, Debug)]
pub struct Settings {
    pub reach: Reach,
    pub retries: Retries,
    /// Webhooks that there may be.
    pub most: usize,
}

/// Everything about deliveries that requests and couriers share.
pub struct Couriers {
    inventory: Arc<Inventory>,
    pub post: Post,
    retries: Retries,
    pub most: usize,
    /// Held by whoever makes a webhook, so that no two together are one too many.
    pub making: Arc<tokio::sync::Mutex<()>>,
    pub ledger: Ledger,
    /// Rung when a webhook was changed, or something is to be sent again.
    bell: watch::Sender<()>,
    is_ending: watch::Sender<bool>,
    office: Mutex<Option<JoinHandle<()>>>,
}

/// What operators watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub delivering: u64,
    pub retrying: u64,
    pub disabled: u64,
    /// Of the one that is furthest behind, the disabled ones apart: how many events of the log it has not looked at yet.
    pub events_behind: u64,
    /// Those that are kept at present.
    pub dead_letters: u64,
    /// Those that had to make room for later ones.
    pub dropped_dead_letters: u64,
}

/// How often it is kept how far deliveries have come, at most; and rather less often than it would take a tenth of the time.
const KEEP_EVERY: Duration = Duration::from_secs(1);
const KEEP_RESTS: u32 = 9;
/// What is under way at a stop may take so much longer.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// After something went wrong here, and not at a receiver.
const OWN_FAULT_WAIT: Duration = Duration::from_secs(5);
/// Events that are read from the log at a time.
const PAGE: usize = 32;
const ENTRIES: usize = 1000;

impl Couriers {
    pub async fn start(inventory: Arc<Inventory>, settings: Settings) -> Arc<Self> {
        let ledger = open(&inventory).await;
        let couriers = Arc::new(Self {
            inventory,
            post: Post::new(settings.reach),
            retries: settings.retries,
            most: settings.most,
            making: Arc::default(),
            ledger,
            bell: watch::Sender::new(()),
            is_ending: watch::Sender::new(false),
            office: Mutex::default(),
        });
        let office = rt::spawn(couriers.clone().run());
        *couriers.office.lock().unwrap_or_else(PoisonError::into_inner) = Some(office);
        couriers
    }

    /// A webhook was changed, or something is to be sent again.
    pub fn ring(&self) {
        self.bell.send_replace(());
    }

    /// No further delivery begins, and what is under way has a moment to be answered.
    pub fn stop(&self) {
        self.is_ending.send_replace(true);
    }

    /// Ends when all have stopped, and it is kept how far they have come.
    pub async fn stopped(&self) {
        let office = self.office.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(office) = office
            && let Err(error) = office.await
        {
            tracing::error!(%error, "webhooks ended badly; some deliveries may be repeated");
        }
    }

    /// There are as many webhooks as there may be.
    pub async fn is_full(&self) -> Result<bool, JournalError> {
        let journal = self.inventory.journal();
        let found = journal.entries(EntryKind::Webhook, None, self.most).await?;
        Ok(found.len() >= self.most)
    }

    pub async fn figures(&self) -> Result<Figures, JournalError> {
        let (mut figures, end) = (Figures::default(), self.inventory.journal().visible());
        for (id, (_, webhook)) in self.all().await? {
            let standing = self.ledger.get(&id);
            let standing = standing.unwrap_or_else(|| Standing::beginning(webhook.begins_after));
            figures.dead_letters += standing.dead_letters.len() as u64;
            figures.dropped_dead_letters += standing.dropped;
            match Status::of(&webhook, &standing) {
                Status::Delivering => figures.delivering += 1,
                Status::Retrying => figures.retrying += 1,
                Status::Disabled => {
                    figures.disabled += 1;
                    continue;
                }
            }
            figures.events_behind = figures.events_behind.max(end.saturating_sub(standing.seq));
        }
        Ok(figures)
    }

    async fn run(self: Arc<Self>) {
        let mut couriers: BTreeMap<Arc<str>, JoinHandle<()>> = BTreeMap::new();
        let (mut bell, mut is_ending) = (self.bell.subscribe(), self.is_ending.subscribe());
        bell.mark_changed();
        let (mut is_kept, mut keep_at) = (true, Instant::now() + KEEP_EVERY);
        loop {
            tokio::select! {
                // Their senders are this service's own, and there as long as it is.
                _ = is_ending.wait_for(|is_ending| *is_ending) => break,
                _ = bell.changed() => self.employ(&mut couriers).await,
                () = sleep_until(keep_at) => {
                    let began = Instant::now();
                    is_kept = self.keep(is_kept).await;
                    keep_at = Instant::now() + KEEP_EVERY.max(began.elapsed() * KEEP_RESTS);
                }
            }
        }
        for courier in couriers.into_values() {
            // One that has panicked has kept what it did before.
            drop(courier.await);
        }
        self.keep(true).await;
    }

    /// A courier for each webhook that has none, and no standing without a webhook.
    async fn employ(self: &Arc<Self>, couriers: &mut BTreeMap<Arc<str>, JoinHandle<()>>) {
        let webhooks = match self.all().await {
            Ok(webhooks) => webhooks,
            Err(error) => {
                tracing::error!(%error, "cannot read which webhooks there are");
                return;
            }
        };
        couriers.retain(|_, courier| !courier.is_finished());
        for (id, (version, webhook)) in &webhooks {
            self.ledger.begin(id, webhook.begins_after);
            couriers.entry(id.clone()).or_insert_with(|| {
                let (office, id, version) = (self.clone(), id.clone(), *version);
                let webhook = id.clone();
                let work = move || Courier::new(office.clone(), id.clone(), version).run();
                let is_ending = self.is_ending.subscribe();
                rt::spawn(in_spite_of_panics(webhook, work, OWN_FAULT_WAIT, is_ending))
            });
        }
        self.ledger.keep_only(|id| webhooks.contains_key(id));
    }

    /// Every webhook with its version.
    async fn all(&self) -> Result<BTreeMap<Arc<str>, (u64, Arc<Webhook>)>, JournalError> {
        let (mut found, mut after) = (BTreeMap::new(), None);
        loop {
            let page = self
                .inventory
                .journal()
                .entries(EntryKind::Webhook, after.as_ref(), ENTRIES)
                .await?;
            let is_last = page.len() < ENTRIES;
            after = page.last().map(|(key, _)| key.clone());
            found.extend(page.iter().filter_map(|(_, view)| {
                let webhook = view.entry.as_webhook()?;
                Some((webhook.id.clone(), (view.version, webhook.clone())))
            }));
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Whether it could be kept. That it cannot be, is said once.
    async fn keep(&self, was_kept: bool) -> bool {
        let Some(standings) = self.ledger.changed() else {
            return was_kept;
        };
        let kept = self.write(standings).await;
        if let Err(error) = &kept {
            self.ledger.is_not_kept();
            if was_kept {
                tracing::warn!(%error, "cannot keep how far webhooks have come: a crash now would repeat deliveries");
            }
        }
        kept.is_ok()
    }

    async fn write(&self, standings: Standings) -> Result<(), JournalError> {
        let unavailable = |error: &dyn std::fmt::Display| JournalError::Unavailable(error.to_string());
        let written = spawn_blocking(move || standing::written(&standings)).await;
        let kept = written
            .map_err(|error| unavailable(&error))?
            .map_err(|error| unavailable(&error))?;
        self.inventory.journal().keep(Document::Deliveries, kept).await
    }
}

/// What was kept; where it cannot be read, every webhook begins again where it began, so that nothing is left out.
async fn open(inventory: &Inventory) -> Ledger {
    let taken_up = take_up(&**inventory.journal()).await;
    taken_up.unwrap_or_else(|fault| {
        tracing::warn!(
            %fault,
            "how far webhooks have come cannot be read: each delivers again all that happened since it was made"
        );
        Ledger::default()
    })
}

/// A log that was restored from a backup may be shorter: then all that it has was looked at. Or it has gone on otherwise
/// since, and nobody knows from where on: then a webhook begins again where it began.
async fn take_up(journal: &dyn Journal) -> Result<Ledger, Fault> {
    let Some(kept) = journal.kept(Document::Deliveries).await? else {
        return Ok(Ledger::default());
    };
    let (end, standings) = (journal.visible(), standing::read(&kept)?);
    let (mut of_this_log, mut is_changed) = (Standings::new(), false);
    for (id, mut standing) in standings {
        let (webhook, seq) = (&*id, standing.seq);
        let last = match journal.record(seq.min(end)).await {
            Ok(record) => record.map(|record| LastEvent::of(&record.event)),
            Err(error) => {
                tracing::warn!(webhook, seq, %error, "whether what was delivered is of this log cannot be told; it is taken for it");
                of_this_log.insert(id, standing);
                continue;
            }
        };
        if seq > end {
            tracing::warn!(
                webhook,
                seq,
                end,
                "the log ends before what was delivered: what comes now is delivered"
            );
            standing.cut(end, last);
            is_changed = true;
        } else if standing.last.is_some() && standing.last != last {
            tracing::warn!(
                webhook,
                seq,
                "what was delivered is of another log: all since it was made is delivered again"
            );
            is_changed = true;
            continue;
        }
        of_this_log.insert(id, standing);
    }
    let ledger = Ledger::of(of_this_log);
    if is_changed {
        ledger.is_not_kept();
    }
    Ok(ledger)
}

/// Does the work anew, after a pause, for as long as it ends by a panic.
async fn in_spite_of_panics<F: Future<Output = ()> + 'static>(
    webhook: Arc<str>,
    work: impl Fn() -> F,
    pause: Duration,
    mut is_ending: watch::Receiver<bool>,
) {
    while let Err(error) = rt::spawn(work()).await {
        tracing::error!(%webhook, %error, ?pause, "deliveries broke off; they go on after a pause");
        if let Ok(Ok(_)) = timeout(pause, is_ending.wait_for(|is_ending| *is_ending)).await {
            return;
        }
    }
}

/// The task of one webhook.
struct Courier {
    office: Arc<Couriers>,
    id: Arc<str>,
    key: EntryKey,
    /// The version of the webhook that it has worked with.
    version: u64,
    bell: watch::Receiver<()>,
    is_ending: watch::Receiver<bool>,
    line: Option<Line>,
    /// What comes next in the log, as far as it has been read.
    page: VecDeque<Logged>,
    /// The last one was a dead letter that was sent again: now comes what is new, if there is anything.
    is_turn_of_news: bool,
}

/// What went wrong here, and not at a receiver.
type Fault = Box<dyn std::error::Error>;

/// So long what is new may gather: a look at the log for each of its groups would be thousands a second.
const PACE: Duration = Duration::from_millis(20);

/// What there is to be waited for.
enum Pause {
    None,
    For(Duration),
    /// Something behind this in the log; not longer than that.
    News(u64, Option<Duration>),
    Bell,
}

impl Pause {
    fn at_most(self, longest: Duration) -> Self {
        match self {
            Self::None => Self::None,
            Self::For(time) => Self::For(time.min(longest)),
            Self::News(after, _) => Self::News(after, Some(longest)),
            Self::Bell => Self::For(longest),
        }
    }
}

impl Courier {
    fn new(office: Arc<Couriers>, id: Arc<str>, version: u64) -> Self {
        let (bell, is_ending) = (office.bell.subscribe(), office.is_ending.subscribe());
        let (key, line, page) = (EntryKey::Webhook(id.clone()), None, VecDeque::new());
        Self {
            office,
            id,
            key,
            version,
            bell,
            is_ending,
            line,
            page,
            is_turn_of_news: false,
        }
    }

    async fn run(mut self) {
        while !*self.is_ending.borrow() {
            // First, so that no ring is missed that comes while it works.
            self.bell.mark_unchanged();
            let pause = match self.work().await {
                Ok(Some(pause)) => pause,
                Ok(None) => return,
                Err(fault) => {
                    tracing::error!(webhook = &*self.id, %fault, "deliveries wait");
                    Pause::For(OWN_FAULT_WAIT)
                }
            };
            self.wait(pause).await;
        }
    }

    async fn wait(&mut self, pause: Pause) {
        let journal = self.office.inventory.journal();
        let over = async {
            match pause {
                Pause::None => {}
                Pause::For(time) => sleep(time).await,
                Pause::News(after, longest) => {
                    let news = timeout(longest.unwrap_or(Duration::MAX), journal.news(after));
                    if news.await.is_ok() {
                        sleep(PACE).await;
                    }
                }
                Pause::Bell => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {}
            _ = self.bell.changed() => {}
            _ = self.is_ending.wait_for(|is_ending| *is_ending) => {}
        }
    }

    /// `None`: the webhook is gone.
    async fn work(&mut self) -> Result<Option<Pause>, Fault> {
        match self.office.inventory.journal().entry(&self.key).await? {
            Some(EntryView {
                version,
                entry: Entry::Webhook(webhook),
            }) => self.step(&webhook, version).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Does the next thing that there is to do: what is new and dead letters that are to be sent again take turns.
    async fn step(&mut self, webhook: &Webhook, version: u64) -> Result<Pause, Fault> {
        if version != self.version {
            // What has failed may well go now.
            (self.version, self.line) = (version, None);
            self.change(Standing::hurry);
        }
        let Some(next) = self.office.ledger.look(&self.id, Next::of) else {
            return Ok(Pause::Bell);
        };
        if webhook.terms.disabled {
            return Ok(Pause::Bell);
        }
        let Some((letter, at)) = &next.asked else {
            return self.go_on(webhook, &next).await;
        };
        let left = self.left(*at);
        if left.is_none() && !self.is_turn_of_news {
            self.is_turn_of_news = true;
            return self.send_again(webhook, letter, next.redelivery_failures).await;
        }
        let pause = self.go_on(webhook, &next).await?;
        Ok(match (pause, left) {
            (Pause::None, _) => Pause::None,
            (pause, Some(left)) => pause.at_most(left),
            (_, None) => {
                self.is_turn_of_news = false;
                Pause::None
            }
        })
    }

    /// With what is next in the log.
    async fn go_on(&mut self, webhook: &Webhook, next: &Next) -> Result<Pause, Fault> {
        if let Some(left) = self.left(next.at) {
            return Ok(Pause::For(left));
        }
        let Some((seq, event)) = self.read(next.seq).await? else {
            return Ok(Pause::News(next.seq, None));
        };
        match webhook.takes(&event) {
            Some(topic) => self.deliver(webhook, seq, event, topic, next.failures).await?,
            None => self.change(|standing| standing.passed(seq, &event)),
        }
        Ok(Pause::None)
    }

    /// The event behind `after`. The log has no gaps: what does not follow was read for another place.
    async fn read(&mut self, after: u64) -> Result<Option<Logged>, JournalError> {
        if self.page.front().is_none_or(|(seq, _)| *seq != after + 1) {
            let journal = self.office.inventory.journal();
            if journal.visible() <= after {
                return Ok(None);
            }
            self.page = journal.events(after, PAGE).await?.into();
        }
        Ok(self.page.pop_front())
    }

    async fn deliver(
        &mut self,
        webhook: &Webhook,
        seq: u64,
        event: Arc<Event>,
        topic: Topic,
        failures: u32,
    ) -> Result<(), Fault> {
        self.is_turn_of_news = false;
        // A stop: the next start sends it once more.
        let Some(attempt) = self.send(webhook, seq, &event, topic).await? else {
            return Ok(());
        };
        let (message, retry_after, is_disabled) = match attempt.verdict {
            Verdict::Delivered => {
                self.change(|standing| standing.delivered(seq, &event, now()));
                return Ok(());
            }
            Verdict::Gone => (GONE.to_owned(), None, self.disable().await),
            Verdict::Failed { message, retry_after } => (message, retry_after, false),
        };
        let wait = self
            .office
            .retries
            .wait(failures.saturating_add(1), retry_after, chance());
        match wait.filter(|_| !is_disabled) {
            None if !is_disabled => {
                tracing::warn!(
                    webhook = &*self.id,
                    seq,
                    error = message,
                    "an event could not be delivered: a dead letter"
                );
                self.change(|standing| standing.buried(seq, &event, topic, &message, now()));
            }
            wait => {
                self.change(|standing| standing.failed(&message, wait.map(later), now()));
                self.page.push_front((seq, event));
            }
        }
        Ok(())
    }

    /// One attempt for a dead letter. After one that fails the others wait as deliveries do, with no last attempt.
    async fn send_again(&mut self, webhook: &Webhook, letter: &DeadLetter, failures: u32) -> Result<Pause, Fault> {
        let seq = letter.seq;
        let record = self.office.inventory.journal().record(seq).await?;
        let record = record.ok_or("a dead letter of an event that is not in the log")?;
        let Some(attempt) = self.send(webhook, seq, &record.event, letter.topic).await? else {
            return Ok(Pause::None);
        };
        let (message, retry_after) = match attempt.verdict {
            Verdict::Delivered => {
                self.change(|standing| standing.redelivered(seq, now()));
                return Ok(Pause::None);
            }
            Verdict::Gone => (GONE.to_owned(), None),
            Verdict::Failed { message, retry_after } => (message, retry_after),
        };
        let retries = &self.office.retries;
        let next = later(retries.pause(failures.saturating_add(1), retry_after, chance()));
        self.change(|standing| standing.stayed_dead(seq, &message, next, now()));
        Ok(Pause::None)
    }

    /// `None` where a stop came first.
    async fn send(
        &mut self,
        webhook: &Webhook,
        seq: u64,
        event: &Event,
        topic: Topic,
    ) -> serde_json::Result<Option<Attempt>> {
        let letter = Letter::new(id_of(&self.id, seq, event), topic, event.at, forms::event(seq, event))?;
        let mut is_ending = self.is_ending.clone();
        let stop = async {
            drop(is_ending.wait_for(|is_ending| *is_ending).await);
            sleep(LAST_ANSWER).await;
        };
        Ok(tokio::select! {
            attempt = self.office.post.send(webhook, &letter, &mut self.line) => Some(attempt),
            () = stop => None,
        })
    }

    /// The receiver wants no more: an admin must enable the webhook again. One that was changed meanwhile is left as it is.
    /// Says whether that is in the log.
    async fn disable(&self) -> bool {
        let write = EntryWrite {
            key: self.key.clone(),
            origin: Arc::new(Origin {
                by: Principal::system(),
                request_id: new_id().into(),
                scope: Scope::default(),
            }),
            keyed: None,
        };
        let version = self.version;
        let decide = move |found: Option<&EntryView>, now| {
            let webhook = found.filter(|found| found.version == version);
            let webhook = webhook.and_then(|found| found.entry.as_webhook());
            let webhook = webhook.ok_or_else(|| Problem::new(Code::NotFound, "It is another one by now."))?;
            let terms = Terms {
                disabled: true,
                ..webhook.terms.clone()
            };
            let disabled = webhook.changed(terms, None, now);
            Ok::<_, Problem>((EventKind::WebhookUpdated, Some(Entry::Webhook(disabled.into()))))
        };
        match self.office.inventory.change_entry(write, decide).await {
            Ok(_) => {
                tracing::warn!(
                    webhook = &*self.id,
                    "its receiver is gone (410): the webhook is disabled"
                );
                true
            }
            Err(problem) => {
                tracing::warn!(webhook = &*self.id, %problem, "its receiver is gone (410), but the webhook could not be disabled");
                false
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Standing)) {
        // It is gone where the webhook was deleted meanwhile.
        self.office.ledger.change(&self.id, change);
    }

    /// How long there is to be waited for this moment, if it has not come yet. The system's clock may have been set back: it
    /// is never more than the longest wait, and a fifth.
    fn left(&self, at: Option<Timestamp>) -> Option<Duration> {
        let left = at?.as_millis().saturating_sub(now().as_millis());
        let left = Duration::from_millis(u64::try_from(left).ok()?);
        let longest = self.office.retries.longest_wait.mul_f64(1.2);
        (!left.is_zero()).then(|| left.min(longest))
    }
}

const GONE: &str = "answered 410: the receiver is gone";

/// What a courier needs to know of where it stands.
struct Next {
    seq: u64,
    failures: u32,
    at: Option<Timestamp>,
    /// The dead letter that is to be sent again, and when.
    asked: Option<(DeadLetter, Option<Timestamp>)>,
    redelivery_failures: u32,
}

impl Next {
    fn of(standing: &Standing) -> Self {
        let asked = standing.asked().cloned();
        Self {
            seq: standing.seq,
            failures: standing.failures,
            at: standing.next_attempt_at,
            asked: asked.map(|letter| (letter, standing.next_redelivery_at)),
            redelivery_failures: standing.redelivery_failures,
        }
    }
}

fn now() -> Timestamp {
    chrono::Utc::now().into()
}

/// The id of a delivery. It says by the place of its event in the log, and by a hash, of which event it is: a log that was
/// restored from a backup goes on with other events in the same places, and a receiver that passes over what it has seen
/// must not take them for those.
fn id_of(webhook: &str, seq: u64, event: &Event) -> String {
    let LastEvent { at, request_id } = LastEvent::of(event);
    let hash = blake3::hash(format!("{seq} {at} {}", request_id.as_str()).as_bytes());
    format!("{webhook}_{seq}_{}", &hash.to_hex()[..ID_HASH])
}

/// Hexadecimal digits of a hash in the id of a delivery.
const ID_HASH: usize = 12;

fn later(wait: Duration) -> Timestamp {
    let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now().as_millis().saturating_add(millis))
}

/// From 0 to 1. Where there is no randomness to be had, all wait alike.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::FutureExt;

    use super::*;
    use crate::actors;
    use crate::domain::webhook::SigningSecret;
    use crate::domain::{RequestId, SyncSchedule};
    use crate::journal::memory::MemoryJournal;

    fn settings() -> Settings {
        let moment = Duration::from_millis(10);
        Settings {
            reach: Reach {
                connect_timeout: moment,
                timeout: moment,
                networks: Vec::new(),
            },
            retries: Retries {
                first_wait: moment,
                longest_wait: moment,
                attempts: 1,
            },
            most: 1000,
        }
    }

    fn webhook(id: &str, begins_after: u64) -> Webhook {
        Webhook {
            id: id.into(),
            terms: Terms {
                url: "http://127.0.0.1:9".to_owned(),
                events: vec![Topic::All],
                sku: None,
                store_id: None,
                disabled: true,
            },
            secret: SigningSecret::of(&[1; 24]).unwrap(),
            previous: None,
            begins_after,
            created_at: Timestamp::default(),
            created_by: Principal::system(),
            updated_at: Timestamp::default(),
        }
    }

    async fn put(inventory: &Arc<Inventory>, webhook: Webhook) {
        let write = EntryWrite {
            key: EntryKey::Webhook(webhook.id.clone()),
            origin: Arc::new(Origin {
                by: Principal::system(),
                request_id: RequestId::parse("r").unwrap(),
                scope: Scope::default(),
            }),
            keyed: None,
        };
        let entry = Entry::Webhook(webhook.into());
        let decide = move |_: Option<&EntryView>, _| Ok::<_, Problem>((EventKind::WebhookCreated, Some(entry.clone())));
        inventory.change_entry(write, decide).await.unwrap();
    }

    fn inventory(journal: &Arc<MemoryJournal>) -> Arc<Inventory> {
        let actors = actors::Settings {
            queue_limit: 8,
            idle_after: Duration::from_secs(1),
            snapshot_interval: Duration::from_secs(1),
            snapshots_per_second: 1,
            open_holds: 0,
            strict_catalogue: false,
            sync: SyncSchedule::of_setting(0),
            is_recording: true,
        };
        Inventory::start(journal.clone(), actors)
    }

    async fn standings(journal: &MemoryJournal) -> Standings {
        let kept = journal.kept(Document::Deliveries).await.unwrap().unwrap();
        standing::read(&kept).unwrap()
    }

    #[test]
    fn another_event_in_the_same_place_of_a_log_that_was_restored_has_another_id() {
        rt::System::new().block_on(async {
            let journal = Arc::new(MemoryJournal::new(60_000));
            put(&inventory(&journal), webhook("a", 0)).await;
            let first = event(&journal, 1);
            let (mut later, mut of_another) = (Event::clone(&first), Event::clone(&first));
            later.at = later.at.plus_seconds(1);
            of_another.request_id = RequestId::parse("another").unwrap();
            let id = id_of("a", 1, &first);
            assert_eq!(id_of("a", 1, &first), id);
            assert!(id.starts_with("a_1_") && id.len() == "a_1_".len() + ID_HASH, "{id}");
            for other in [&later, &of_another] {
                assert_ne!(id_of("a", 1, other), id);
            }
            assert_ne!(id_of("a", 2, &first), id.replacen("_1_", "_2_", 1));
        });
    }

    #[test]
    fn figures_tell_how_webhooks_do_and_a_stop_keeps_where_each_stands() {
        rt::System::new().block_on(async {
            let journal = Arc::new(MemoryJournal::new(60_000));
            let inventory = inventory(&journal);
            for (id, begins_after, disabled) in [("a", 2, false), ("b", 0, true), ("c", 1, true)] {
                let mut webhook = webhook(id, begins_after);
                webhook.terms.disabled = disabled;
                put(&inventory, webhook).await;
            }
            let couriers = Couriers::start(inventory.clone(), settings()).await;
            let figures = || async { couriers.figures().await.unwrap() };
            while figures().await.events_behind > 0 {
                tokio::task::yield_now().await;
            }
            couriers.ledger.change("c", |standing| {
                standing.buried(1, &event(&journal, 1), Topic::All, "answered 500", now())
            });
            couriers
                .ledger
                .change("a", |standing| standing.failed("answered 500", None, now()));
            let expected = Figures {
                delivering: 0,
                retrying: 1,
                disabled: 2,
                events_behind: 0,
                dead_letters: 1,
                dropped_dead_letters: 0,
            };
            assert_eq!(figures().await, expected);
            couriers.stop();
            couriers.stopped().await;
            let kept = standings(&journal).await;
            assert_eq!(["a", "b", "c"].map(|id| kept[id].seq), [3, 0, 1]);
        });
    }

    fn event(journal: &MemoryJournal, seq: u64) -> Arc<Event> {
        let record = journal.record(seq).now_or_never().unwrap();
        record.unwrap().unwrap().event
    }

    /// Two webhooks whose deliveries have come to the second event, and so are kept.
    async fn delivered_to_the_second() -> Arc<MemoryJournal> {
        let journal = Arc::new(MemoryJournal::new(60_000));
        let inventory = inventory(&journal);
        put(&inventory, webhook("a", 0)).await;
        put(&inventory, webhook("b", 1)).await;
        let standing = |begins_after, letter| {
            let mut standing = Standing::beginning(begins_after);
            standing.buried(letter, &event(&journal, letter), Topic::All, "answered 500", now());
            standing.passed(2, &event(&journal, 2));
            standing
        };
        let standings = [("a".into(), standing(0, 1)), ("b".into(), standing(1, 2))].into();
        let kept = standing::written(&standings).unwrap();
        journal.keep(Document::Deliveries, kept).await.unwrap();
        journal
    }

    #[test]
    fn deliveries_go_on_where_they_stood_in_the_same_log() {
        rt::System::new().block_on(async {
            let journal = delivered_to_the_second().await;
            let ledger = take_up(&*journal).await.unwrap();
            assert!(ledger.changed().is_none());
            let standings = standings(&journal).await;
            assert_eq!(
                ["a", "b"].map(|id| ledger.get(id).as_ref() == standings.get(id)),
                [true; 2]
            );
        });
    }

    #[test]
    fn in_a_log_that_was_restored_and_is_shorter_deliveries_go_on_at_its_end() {
        rt::System::new().block_on(async {
            let (longer, journal) = (delivered_to_the_second().await, Arc::new(MemoryJournal::new(60_000)));
            put(&inventory(&journal), webhook("a", 0)).await;
            let kept = longer.kept(Document::Deliveries).await.unwrap().unwrap();
            journal.keep(Document::Deliveries, kept).await.unwrap();
            let corrected = take_up(&*journal).await.unwrap().changed().unwrap();
            let letters = |id: &str| {
                corrected[id]
                    .dead_letters
                    .iter()
                    .map(|letter| letter.seq)
                    .collect::<Vec<_>>()
            };
            assert_eq!((corrected["a"].seq, corrected["b"].seq), (1, 1));
            assert_eq!((letters("a"), letters("b")), (vec![1], vec![]));
            // It is proved of this log from now on.
            let kept = standing::written(&corrected).unwrap();
            journal.keep(Document::Deliveries, kept).await.unwrap();
            assert!(take_up(&*journal).await.unwrap().changed().is_none());
        });
    }

    #[test]
    fn in_a_log_that_has_gone_on_otherwise_a_webhook_begins_again() {
        rt::System::new().block_on(async {
            let (other, journal) = (delivered_to_the_second().await, Arc::new(MemoryJournal::new(60_000)));
            let inventory = inventory(&journal);
            put(&inventory, webhook("a", 0)).await;
            for id in ["c", "d"] {
                // No two events of a log have the same time and the same request.
                rt::time::sleep(Duration::from_millis(2)).await;
                put(&inventory, webhook(id, 1)).await;
            }
            let kept = other.kept(Document::Deliveries).await.unwrap().unwrap();
            journal.keep(Document::Deliveries, kept).await.unwrap();
            let corrected = take_up(&*journal).await.unwrap().changed().unwrap();
            assert!(corrected.is_empty(), "{corrected:?}");
            let couriers = Couriers::start(inventory.clone(), settings()).await;
            while couriers.ledger.get("a").is_none() {
                tokio::task::yield_now().await;
            }
            assert_eq!(couriers.ledger.get("a").unwrap().dead_letters.len(), 0);
            couriers.stop();
            couriers.stopped().await;
        });
    }

    #[test]
    fn what_panics_is_done_again_after_a_pause_until_it_ends_or_is_to_stop() {
        rt::System::new().block_on(async {
            let (times, is_ending) = (Arc::new(AtomicU32::new(0)), watch::Sender::new(false));
            let work = |panics: u32| {
                let times = times.clone();
                move || {
                    let time = times.fetch_add(1, Ordering::Relaxed);
                    async move { assert!(time >= panics, "planted") }
                }
            };
            let (began, pause) = (Instant::now(), Duration::from_millis(30));
            in_spite_of_panics("w".into(), work(2), pause, is_ending.subscribe()).await;
            assert_eq!(times.load(Ordering::Relaxed), 3);
            assert!(began.elapsed() >= pause * 2, "{:?}", began.elapsed());
            is_ending.send_replace(true);
            in_spite_of_panics(
                "w".into(),
                work(u32::MAX),
                Duration::from_secs(600),
                is_ending.subscribe(),
            )
            .await;
            assert_eq!(times.load(Ordering::Relaxed), 4);
        });
    }
}
