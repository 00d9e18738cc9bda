//! The sync: brings the totals of all stores up to date with the log, by itself and when it is asked to.
//!
//! One actor, so that never two runs go on at once: who asks while one is under way waits for the next, together with all
//! others who do. A run reads the events behind the totals and adds them up, whatever stock there is besides, and keeps the
//! totals as a document beside the log. They are shown only once they are kept: so nobody who has seen totals sees older
//! ones after a crash. Totals that cannot be gone on with are made again from the beginning of the log.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, Weak};
use std::time::{Duration, Instant};

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::entries::{Decided, EntryWrite, PAGE as ENTRIES, to_its_end};
use super::{ExecuteError, Inventory, Outcome};
use crate::domain::sync::{OverdueStore, overdue};
use crate::domain::totals::Contradiction;
use crate::domain::{Entry, EntryKey, EventKind, LastEvent, Scope, Store, SyncSchedule, SyncStatus, Timestamp, Totals};
use crate::journal::{Document, EntryKind, EntryView, Journal, JournalError, Kept, Stocked};

/// Events that are read at a time.
const PAGE: u64 = 1000;
/// While the sync runs by itself, what is new is added up between its runs as well: so soon after it was recorded it is still
/// in memory, where reading it costs next to nothing.
const AHEAD: Duration = Duration::from_millis(10);
/// After failures the sync tries again twice as late each time, but no later than this, or than it would anyway.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The sync as others see it.
pub struct Syncer {
    actor: Addr<SyncActor>,
    board: Arc<Board>,
}

/// What the last run has left to be seen.
#[derive(Default)]
struct Board(RwLock<Shown>);

#[derive(Default)]
struct Shown {
    totals: Option<Arc<Totals>>,
    last_run_at: Option<Timestamp>,
    last_duration_ms: Option<u64>,
    last_error: Option<String>,
    runs: u64,
    failures: u64,
}

impl Syncer {
    /// Call it within the actix system.
    pub fn start(inventory: Weak<Inventory>) -> Self {
        let board = Arc::new(Board::default());
        let actor = SyncActor {
            inventory,
            board: board.clone(),
            ledger: Some(Ledger::default()),
            schedule: SyncSchedule::of_setting(0),
            waiting: Vec::new(),
            must_look: true,
            last_begun: None,
            has_news: false,
            is_well: true,
            failures_in_a_row: 0,
            alarm: None,
        };
        Self {
            actor: actor.start(),
            board,
        }
    }
}

impl Board {
    fn read(&self) -> RwLockReadGuard<'_, Shown> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, totals: Arc<Totals>) {
        let mut shown = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // As of a run of an earlier process, if it is none of this one.
        shown.last_run_at.get_or_insert(totals.at);
        shown.totals = Some(totals);
    }

    fn note(&self, run: &Run) {
        let mut shown = self.0.write().unwrap_or_else(PoisonError::into_inner);
        shown.last_run_at = Some(run.at);
        shown.last_duration_ms = Some(u64::try_from(run.begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        shown.last_error = run.ended.as_ref().err().cloned();
        shown.runs += 1;
        shown.failures += u64::from(run.ended.is_err());
    }
}

impl Inventory {
    /// The totals as of the last run, if there ever was one.
    pub fn totals(&self) -> Option<Arc<Totals>> {
        self.sync.board.read().totals.clone()
    }

    /// Brings the totals up to date with all that is recorded by now. Whether that went well, the status tells.
    pub async fn sync(&self) -> Result<(), JournalError> {
        let (done, is_done) = oneshot::channel();
        let gone = || JournalError::Unavailable("the sync has ended".to_owned());
        self.sync.actor.send(Wish::Run(done)).await.map_err(|_| gone())?;
        is_done.await.map_err(|_| gone())
    }

    /// How the sync stands, and which of these stores are overdue.
    pub async fn sync_status(&self, scope: &Scope) -> Result<SyncStatus, JournalError> {
        let now = self.clock.now();
        let status = {
            let shown = self.sync.board.read();
            SyncStatus {
                schedule: SyncSchedule::of_setting(0),
                last_run_at: shown.last_run_at,
                last_duration_ms: shown.last_duration_ms,
                last_error: shown.last_error.clone(),
                runs: shown.runs,
                failures: shown.failures,
                seq: shown.totals.as_ref().map_or(0, |totals| totals.seq),
                lag_events: 0,
                lag_ms: 0,
                overdue_stores: Vec::new(),
            }
        };
        let missing = self.journal.record(status.seq + 1).await?;
        let waits_since = missing.map_or(now, |record| record.event.at);
        let lag_ms = now.as_millis().saturating_sub(waits_since.as_millis());
        Ok(SyncStatus {
            schedule: self.sync_schedule().await?,
            lag_events: self.journal.visible().saturating_sub(status.seq),
            lag_ms: u64::try_from(lag_ms).unwrap_or(0),
            overdue_stores: self.overdue_stores(scope, now).await?,
            ..status
        })
    }

    /// Has the sync run by itself from now on, or no longer, and answers how it stands then. `wanted` makes the schedule
    /// of the one before.
    pub async fn schedule_sync<E: From<ExecuteError> + 'static>(
        self: &Arc<Self>,
        write: EntryWrite,
        wanted: impl Fn(SyncSchedule) -> SyncSchedule + 'static,
    ) -> Result<Outcome, E> {
        let inventory = self.clone();
        to_its_end(async move {
            let status = inventory.sync_status(&Scope::default()).await;
            let status = status.map_err(ExecuteError::from)?;
            let decide = move |found: Option<&EntryView>, _| {
                let schedule = wanted(found.and_then(schedule_of).unwrap_or(status.schedule));
                let decision = (EventKind::SyncScheduled, Some(Entry::SyncSchedule(schedule)));
                let sync = SyncStatus {
                    schedule,
                    ..status.clone()
                };
                let sync = Some(Arc::new(sync));
                Ok::<_, E>(Decided { decision, sync })
            };
            let outcome = inventory.change_entry(write, decide).await?;
            // It fails only when the service stops.
            let _ = inventory.sync.actor.send(Wish::Reschedule).await;
            Ok(outcome)
        })
        .await
    }

    /// As somebody has scheduled it, or else as the service was told.
    async fn sync_schedule(&self) -> Result<SyncSchedule, JournalError> {
        let found = self.journal.entry(&EntryKey::SyncSchedule).await?;
        Ok(found.as_ref().and_then(schedule_of).unwrap_or(self.settings.sync))
    }

    async fn overdue_stores(&self, scope: &Scope, now: Timestamp) -> Result<Vec<OverdueStore>, JournalError> {
        let (mut overdue, mut after) = (Vec::new(), None);
        loop {
            let page = self.journal.entries(EntryKind::Store, after.as_ref(), ENTRIES).await?;
            for (_, view) in &page {
                if let Entry::Store(store) = &view.entry
                    && scope.has(&store.store_id)
                {
                    overdue.extend(self.overdue(store, now).await?);
                }
            }
            match page.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => return Ok(overdue),
            }
        }
    }

    async fn overdue(&self, store: &Store, now: Timestamp) -> Result<Option<OverdueStore>, JournalError> {
        if store.sync_interval_seconds.is_none() {
            return Ok(None);
        }
        let pushed = self.journal.entry(&EntryKey::LastPush(store.store_id.clone())).await?;
        let last_push = pushed.and_then(|view| match view.entry {
            Entry::LastPush(at) => Some(at),
            _ => None,
        });
        Ok(overdue(store, last_push, now))
    }
}

fn schedule_of(view: &EntryView) -> Option<SyncSchedule> {
    match view.entry {
        Entry::SyncSchedule(schedule) => Some(schedule),
        _ => None,
    }
}

#[derive(Message)]
#[rtype(result = "()")]
enum Wish {
    /// Run, and say when it is done.
    Run(oneshot::Sender<()>),
    /// The schedule is another one.
    Reschedule,
}

struct SyncActor {
    inventory: Weak<Inventory>,
    board: Arc<Board>,
    /// A task has it while it is under way.
    ledger: Option<Ledger>,
    schedule: SyncSchedule,
    /// Those who have asked for a run that has not begun yet.
    waiting: Vec<oneshot::Sender<()>>,
    /// The schedule may be another one by now.
    must_look: bool,
    last_begun: Option<Instant>,
    /// There is something to be read ahead.
    has_news: bool,
    /// Nothing was wrong when that was tried last; otherwise the next run meets it again, and says so.
    is_well: bool,
    failures_in_a_row: u32,
    alarm: Option<SpawnHandle>,
}

/// A run that has ended.
struct Run {
    at: Timestamp,
    begun: Instant,
    ended: Result<(), String>,
    /// Those who have waited for it.
    served: Vec<oneshot::Sender<()>>,
}

impl Actor for SyncActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.go_on(context);
    }
}

impl Handler<Wish> for SyncActor {
    type Result = ();

    fn handle(&mut self, wish: Wish, context: &mut Self::Context) {
        match wish {
            Wish::Run(done) => self.waiting.push(done),
            Wish::Reschedule => {
                self.must_look = true;
                self.failures_in_a_row = 0;
            }
        }
        self.go_on(context);
    }
}

impl SyncActor {
    /// Does what is to be done next, if nothing is under way.
    fn go_on(&mut self, context: &mut Context<Self>) {
        let Some(ledger) = self.ledger.take() else { return };
        if let Some(alarm) = self.alarm.take() {
            context.cancel_future(alarm);
        }
        let pause = self.time_to_next();
        let runs = !self.waiting.is_empty() || !self.must_look && pause == Some(Duration::ZERO);
        if runs || self.must_look || self.has_news {
            return self.begin(ledger, runs, context);
        }
        self.alarm = pause.map(|pause| self.wait(pause, ledger.seq(), context));
        self.ledger = Some(ledger);
    }

    /// Until the next run, or until there is something to be read ahead of it.
    fn wait(&self, pause: Duration, after: u64, context: &mut Context<Self>) -> SpawnHandle {
        let inventory = self.inventory.upgrade().filter(|_| self.is_well);
        let news = inventory.map(|inventory| inventory.journal().news(after));
        let has_news = async move {
            match news {
                Some(news) => {
                    news.await;
                    sleep(AHEAD).await;
                }
                None => std::future::pending().await,
            }
        };
        let waited = timeout(pause, has_news).into_actor(self);
        context.spawn(waited.map(|has_news, actor, context| {
            actor.has_news = has_news.is_ok();
            actor.go_on(context);
        }))
    }

    /// How long until the sync runs by itself, if it does.
    fn time_to_next(&self) -> Option<Duration> {
        let SyncSchedule { running, interval_ms } = self.schedule;
        let pause = pause_after(self.failures_in_a_row, Duration::from_millis(interval_ms));
        let elapsed = self.last_begun.map_or(pause, |begun| begun.elapsed());
        running.then(|| pause.saturating_sub(elapsed))
    }

    /// Looks at the schedule, after a run if there is to be one, or else after reading ahead.
    fn begin(&mut self, mut ledger: Ledger, runs: bool, context: &mut Context<Self>) {
        // Without it, the service has stopped.
        let Some(inventory) = self.inventory.upgrade() else {
            return;
        };
        let (begun, at, board) = (Instant::now(), inventory.now(), self.board.clone());
        let waiting = if runs {
            std::mem::take(&mut self.waiting)
        } else {
            Vec::new()
        };
        self.must_look = false;
        let reads_ahead = std::mem::take(&mut self.has_news) && !runs;
        if runs {
            self.last_begun = Some(begun);
        }
        let task = async move {
            let journal = inventory.journal();
            ledger.open(&**journal, &board).await;
            let is_well = !reads_ahead || ledger.add_up(&**journal).await.is_ok();
            let run = match runs {
                true => Some(Run {
                    at,
                    begun,
                    ended: ledger.bring_up(&**journal, at, &board).await,
                    served: waiting,
                }),
                false => None,
            };
            (ledger, is_well, run, inventory.sync_schedule().await)
        };
        let ended = task
            .into_actor(self)
            .map(|(ledger, is_well, run, schedule), actor, context| {
                actor.ledger = Some(ledger);
                actor.is_well = is_well;
                if let Some(run) = run {
                    actor.end(run);
                }
                match schedule {
                    Ok(schedule) => actor.schedule = schedule,
                    Err(error) => tracing::warn!(%error, "could not read when the sync is to run; going on as before"),
                }
                actor.go_on(context);
            });
        context.spawn(ended);
    }

    fn end(&mut self, run: Run) {
        self.board.note(&run);
        match &run.ended {
            Ok(()) => self.failures_in_a_row = 0,
            Err(error) => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                tracing::warn!(
                    error,
                    "a sync failed; the totals stay as they were, and the next one tries again"
                );
            }
        }
        for served in run.served {
            // Who has gone away meanwhile need not be told.
            let _: Result<(), ()> = served.send(());
        }
    }
}

/// The time between the beginnings of two runs.
fn pause_after(failures: u32, interval: Duration) -> Duration {
    let doubled = interval.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
    doubled.min(LONGEST_PAUSE.max(interval))
}

/// The totals in the making.
#[derive(Default)]
struct Ledger {
    /// None until they were taken up, or begun.
    totals: Option<Totals>,
    /// The sequence of those that are kept.
    kept: Option<u64>,
}

impl Ledger {
    /// Takes the totals up where an earlier process has left them, and shows them; where that cannot be, they begin anew.
    async fn open(&mut self, journal: &dyn Journal, board: &Board) {
        if self.totals.is_some() {
            return;
        }
        match resume(journal).await {
            Ok(Some(totals)) => {
                self.kept = Some(totals.seq);
                board.show(Arc::new(totals.clone()));
                self.totals = Some(totals);
                return;
            }
            // So it is in a folder that was restored, whose backup leaves them out.
            Ok(None) if journal.visible() > 0 => {
                tracing::info!("there are no totals yet: they are made from the beginning of the log");
            }
            Ok(None) => {}
            Err(fault) => tracing::warn!(fault, "the totals are made from the beginning of the log"),
        }
        self.begin_anew();
    }

    /// Adds up what was recorded since, keeps the totals, and shows them.
    async fn bring_up(&mut self, journal: &dyn Journal, at: Timestamp, board: &Board) -> Result<(), String> {
        let Stocked { seq, skus } = self.add_up(journal).await?;
        let totals = self.totals.get_or_insert_default();
        (totals.skus, totals.at) = (skus, at);
        if self.kept != Some(seq) {
            let kept = Kept::of_totals(totals).map_err(|error| error.to_string())?;
            let keeping = journal.keep(Document::Totals, kept).await;
            keeping.map_err(|error| error.to_string())?;
            self.kept = Some(seq);
        }
        board.show(Arc::new(totals.clone()));
        Ok(())
    }

    /// Adds up what was recorded since, and says up to where that is.
    async fn add_up(&mut self, journal: &dyn Journal) -> Result<Stocked, String> {
        let stocked = journal.stocked().await.map_err(|error| error.to_string())?;
        if let Err(fault) = self.read_on(journal, stocked.seq).await? {
            tracing::warn!(%fault, "the totals are made again from the beginning of the log");
            self.begin_anew();
            if let Err(fault) = self.read_on(journal, stocked.seq).await? {
                self.begin_anew();
                return Err(format!("{fault}; `holdfast verify` tells what is wrong with it"));
            }
        }
        Ok(stocked)
    }

    /// Reads the log up to a place that is shown. The inner error says that the totals are not of this log.
    async fn read_on(&mut self, journal: &dyn Journal, until: u64) -> Result<Result<(), Contradiction>, String> {
        let totals = self.totals.get_or_insert_default();
        while totals.seq < until {
            let limit = PAGE.min(until - totals.seq) as usize;
            let events = journal.events(totals.seq, limit).await;
            let events = events.map_err(|error| error.to_string())?;
            if events.is_empty() {
                return Err(format!("record {} of the log is not shown", totals.seq + 1));
            }
            for (seq, event) in &events {
                if let Err(fault) = totals.take(*seq, event) {
                    return Ok(Err(fault));
                }
            }
        }
        Ok(Ok(()))
    }

    fn seq(&self) -> u64 {
        self.totals.as_ref().map_or(0, |totals| totals.seq)
    }

    fn begin_anew(&mut self) {
        self.totals = Some(Totals::default());
        self.kept = None;
    }
}

/// The totals as they were kept; a fault says why they cannot be gone on with.
async fn resume(journal: &dyn Journal) -> Result<Option<Totals>, String> {
    let kept = journal.kept(Document::Totals).await;
    let Some(kept) = kept.map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let totals = kept.totals()?;
    let end = journal.visible();
    if totals.seq > end {
        return Err(format!(
            "those that were kept are of record {}, and the log ends at {end}",
            totals.seq
        ));
    }
    let record = journal.record(totals.seq).await.map_err(|error| error.to_string())?;
    let last = record.map(|record| LastEvent::of(&record.event));
    match last == totals.last {
        true => Ok(Some(totals)),
        false => Err("those that were kept are of another log".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_failures_the_sync_waits_twice_as_long_each_time_and_never_much_longer_than_a_minute() {
        let seconds = |failures, interval| pause_after(failures, Duration::from_secs(interval)).as_secs();
        assert_eq!([0, 1, 2, 3].map(|failures| seconds(failures, 15)), [15, 30, 60, 60]);
        assert_eq!([0, 1, 40].map(|failures| seconds(failures, 3600)), [3600, 3600, 3600]);
        assert_eq!(seconds(u32::MAX, 1), 60);
    }
}
