//! Deliveries: a task per webhook follows the log from where it stands and posts what the webhook takes, in order, one at a
//! time. What fails is tried again until its attempts are used up; then it is a dead letter, and the next one follows.
//!
//! How far each has come is kept about once a second, and at a stop: so a crash repeats deliveries and leaves none out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::rt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::post::{Attempt, Letter, Line, Post, Reach, Verdict};
use super::standing::{DeadLetter, Ledger, Standing};
use crate::actors::entries::EntryWrite;
use crate::actors::{Inventory, new_id};
use crate::domain::webhook::{Retries, Terms, Topic};
use crate::domain::{Entry, EntryKey, Event, EventKind, Origin, Principal, Scope, Timestamp, Webhook};
use crate::http::forms;
use crate::http::problem::{Code, Problem};
use crate::journal::{Document, EntryKind, EntryView, JournalError, Logged};

/// How deliveries are made.
#[derive(Clone, Debug)]
pub struct Settings {
    pub reach: Reach,
    pub retries: Retries,
}

/// Everything about deliveries that requests and couriers share.
pub struct Couriers {
    inventory: Arc<Inventory>,
    pub post: Post,
    retries: Retries,
    pub ledger: Ledger,
    /// Rung when a webhook was changed, or something is to be sent again.
    bell: watch::Sender<()>,
    is_ending: watch::Sender<bool>,
    office: Mutex<Option<JoinHandle<()>>>,
}

/// What operators watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    pub delivered: u64,
    pub failed_attempts: u64,
    /// Those that are kept at present.
    pub dead_letters: u64,
    /// How many events of the log each webhook has not looked at yet.
    pub lags: Vec<(Arc<str>, u64)>,
}

/// How often it is kept how far deliveries have come.
const KEEP_EVERY: Duration = Duration::from_secs(1);
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

    pub fn figures(&self) -> Figures {
        let end = self.inventory.journal().visible();
        Figures {
            delivered: self.ledger.sum(|standing| standing.delivered),
            failed_attempts: self.ledger.sum(|standing| standing.failed_attempts),
            dead_letters: self.ledger.sum(|standing| standing.dead_letters.len() as u64),
            lags: self
                .ledger
                .each(|id, standing| (id.clone(), end.saturating_sub(standing.seq))),
        }
    }

    async fn run(self: Arc<Self>) {
        let mut couriers: BTreeMap<Arc<str>, JoinHandle<()>> = BTreeMap::new();
        let (mut bell, mut is_ending) = (self.bell.subscribe(), self.is_ending.subscribe());
        bell.mark_changed();
        let mut keeping = interval(KEEP_EVERY);
        keeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_kept = true;
        loop {
            tokio::select! {
                // Their senders are this service's own, and there as long as it is.
                _ = is_ending.wait_for(|is_ending| *is_ending) => break,
                _ = bell.changed() => self.employ(&mut couriers).await,
                _ = keeping.tick() => is_kept = self.keep(is_kept).await,
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
        let webhooks = match self.webhooks().await {
            Ok(webhooks) => webhooks,
            Err(error) => {
                tracing::error!(%error, "cannot read which webhooks there are");
                return;
            }
        };
        couriers.retain(|_, courier| !courier.is_finished());
        for (id, (version, begins_after)) in &webhooks {
            self.ledger.begin(id, *begins_after);
            couriers.entry(id.clone()).or_insert_with(|| {
                let courier = Courier::new(self.clone(), id.clone(), *version);
                rt::spawn(courier.run())
            });
        }
        self.ledger.keep_only(|id| webhooks.contains_key(id));
    }

    /// The version of each, and after what it begins.
    async fn webhooks(&self) -> Result<BTreeMap<Arc<str>, (u64, u64)>, JournalError> {
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
                Some((webhook.id.clone(), (view.version, webhook.begins_after)))
            }));
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Whether it could be kept. That it cannot be, is said once.
    async fn keep(&self, was_kept: bool) -> bool {
        let kept = match self.ledger.changed() {
            None => return was_kept,
            Some(Ok(kept)) => self.inventory.journal().keep(Document::Deliveries, kept).await,
            Some(Err(error)) => Err(JournalError::Unavailable(error.to_string())),
        };
        if let Err(error) = &kept {
            self.ledger.is_not_kept();
            if was_kept {
                tracing::warn!(%error, "cannot keep how far webhooks have come: a crash now would repeat deliveries");
            }
        }
        kept.is_ok()
    }
}

/// What was kept; where it cannot be read, every webhook begins again where it began, so that nothing is left out.
async fn open(inventory: &Inventory) -> Ledger {
    let journal = inventory.journal();
    let fault = match journal.kept(Document::Deliveries).await {
        Ok(None) => return Ledger::default(),
        Ok(Some(kept)) => match Ledger::of(&kept, journal.visible()) {
            Ok(ledger) => return ledger,
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    tracing::warn!(
        fault,
        "how far webhooks have come cannot be read: each delivers again all that happened since it was made"
    );
    Ledger::default()
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
}

/// So long what is new may gather: a look at the log for each of its groups would be thousands a second.
const PACE: Duration = Duration::from_millis(20);

/// What there is to be waited for.
enum Pause {
    None,
    For(Duration),
    /// Something behind this in the log.
    News(u64),
    Bell,
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
        }
    }

    async fn run(mut self) {
        while !*self.is_ending.borrow() {
            // First, so that no ring is missed that comes while it works.
            self.bell.mark_unchanged();
            let pause = match self.office.inventory.journal().entry(&self.key).await {
                Ok(Some(EntryView {
                    version,
                    entry: Entry::Webhook(webhook),
                })) => self.step(&webhook, version).await,
                Ok(_) => return,
                Err(error) => self.own_fault(&error),
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
                Pause::News(after) => {
                    journal.news(after).await;
                    sleep(PACE).await;
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

    /// Does the next thing that there is to do.
    async fn step(&mut self, webhook: &Webhook, version: u64) -> Pause {
        if version != self.version {
            // What has failed may well go now.
            (self.version, self.line) = (version, None);
            self.change(Standing::hurry);
        }
        let Some(standing) = self.office.ledger.look(&self.id, Next::of) else {
            return Pause::Bell;
        };
        if webhook.terms.disabled {
            return Pause::Bell;
        }
        if let Some(letter) = standing.asked {
            return self.send_again(webhook, letter).await;
        }
        if let Some(left) = standing.left(now(), self.office.retries.longest_wait) {
            return Pause::For(left);
        }
        match self.next(standing.seq).await {
            Err(error) => self.own_fault(&error),
            Ok(None) => Pause::News(standing.seq),
            Ok(Some((seq, event))) => match webhook.takes(&event) {
                Some(topic) => self.deliver(webhook, seq, event, topic, standing.failures).await,
                None => {
                    self.change(|standing| standing.passed(seq));
                    Pause::None
                }
            },
        }
    }

    /// The event behind `after`. The log has no gaps: what does not follow was read for another place.
    async fn next(&mut self, after: u64) -> Result<Option<Logged>, JournalError> {
        if self.page.front().is_none_or(|(seq, _)| *seq != after + 1) {
            let journal = self.office.inventory.journal();
            if journal.visible() <= after {
                return Ok(None);
            }
            self.page = journal.events(after, PAGE).await?.into();
        }
        Ok(self.page.pop_front())
    }

    async fn deliver(&mut self, webhook: &Webhook, seq: u64, event: Arc<Event>, topic: Topic, failures: u32) -> Pause {
        let verdict = match self.send(webhook, seq, &event, topic).await {
            Ok(Some(attempt)) => attempt.verdict,
            // A stop: the next start sends it once more.
            Ok(None) => return Pause::None,
            Err(error) => return self.own_fault(&error),
        };
        let (message, retry_after, is_disabled) = match verdict {
            Verdict::Delivered => {
                self.change(|standing| standing.delivered(seq, now()));
                return Pause::None;
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
                self.change(|standing| standing.buried(seq, topic, &message, now()));
            }
            wait => {
                self.change(|standing| standing.failed(&message, wait.map(later), now()));
                self.page.push_front((seq, event));
            }
        }
        Pause::None
    }

    /// One attempt for a dead letter.
    async fn send_again(&mut self, webhook: &Webhook, letter: DeadLetter) -> Pause {
        let seq = letter.seq;
        let record = match self.office.inventory.journal().record(seq).await {
            Ok(Some(record)) => record,
            Ok(None) => return self.own_fault(&"a dead letter of an event that is not in the log"),
            Err(error) => return self.own_fault(&error),
        };
        match self.send(webhook, seq, &record.event, letter.topic).await {
            Ok(Some(attempt)) => self.change(|standing| match attempt.verdict {
                Verdict::Delivered => standing.redelivered(seq, now()),
                Verdict::Gone => standing.stayed_dead(seq, GONE, now()),
                Verdict::Failed { message, .. } => standing.stayed_dead(seq, &message, now()),
            }),
            Ok(None) => {}
            Err(error) => return self.own_fault(&error),
        }
        Pause::None
    }

    /// `None` where a stop came first.
    async fn send(
        &mut self,
        webhook: &Webhook,
        seq: u64,
        event: &Event,
        topic: Topic,
    ) -> serde_json::Result<Option<Attempt>> {
        let letter = Letter::new(format!("{}_{seq}", self.id), topic, event.at, forms::event(seq, event))?;
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
            origin: Origin {
                by: Principal::system(),
                request_id: new_id().into(),
                scope: Scope::default(),
            },
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

    fn own_fault(&self, error: &dyn std::fmt::Display) -> Pause {
        tracing::error!(webhook = &*self.id, %error, "deliveries wait");
        Pause::For(OWN_FAULT_WAIT)
    }
}

const GONE: &str = "answered 410: the receiver is gone";

/// What a courier needs to know of where it stands.
struct Next {
    seq: u64,
    failures: u32,
    at: Option<Timestamp>,
    asked: Option<DeadLetter>,
}

impl Next {
    fn of(standing: &Standing) -> Self {
        Self {
            seq: standing.seq,
            failures: standing.failures,
            at: standing.next_attempt_at,
            asked: standing.asked().cloned(),
        }
    }

    /// How long there is to be waited. The system's clock may have been set back: it is never more than `longest`, and a
    /// fifth.
    fn left(&self, now: Timestamp, longest: Duration) -> Option<Duration> {
        let left = self.at?.as_millis().saturating_sub(now.as_millis());
        let left = Duration::from_millis(u64::try_from(left).ok()?);
        (!left.is_zero()).then(|| left.min(longest.mul_f64(1.2)))
    }
}

fn now() -> Timestamp {
    chrono::Utc::now().into()
}

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
    use super::*;
    use crate::actors;
    use crate::domain::webhook::SigningSecret;
    use crate::domain::{RequestId, SyncSchedule};
    use crate::journal::Journal;
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
            origin: Origin {
                by: Principal::system(),
                request_id: RequestId::parse("r").unwrap(),
                scope: Scope::default(),
            },
            keyed: None,
        };
        let entry = Entry::Webhook(webhook.into());
        let decide = move |_: Option<&EntryView>, _| Ok::<_, Problem>((EventKind::WebhookCreated, Some(entry.clone())));
        inventory.change_entry(write, decide).await.unwrap();
    }

    #[test]
    fn figures_tell_how_far_each_webhook_is_behind_and_a_stop_keeps_where_each_stands() {
        rt::System::new().block_on(async {
            let journal = Arc::new(MemoryJournal::new(60_000));
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
            let inventory = Inventory::start(journal.clone(), actors);
            put(&inventory, webhook("a", 0)).await;
            put(&inventory, webhook("b", 1)).await;
            let couriers = Couriers::start(inventory.clone(), settings()).await;
            while couriers.figures().lags.len() < 2 {
                tokio::task::yield_now().await;
            }
            let expected = Figures {
                delivered: 0,
                failed_attempts: 0,
                dead_letters: 0,
                lags: vec![("a".into(), 2), ("b".into(), 1)],
            };
            assert_eq!(couriers.figures(), expected);
            couriers.stop();
            couriers.stopped().await;
            let kept = journal.kept(Document::Deliveries).await.unwrap().unwrap();
            let ledger = Ledger::of(&kept, 2).unwrap();
            assert_eq!(["a", "b"].map(|id| ledger.get(id).unwrap().seq), [0, 1]);
        });
    }
}
