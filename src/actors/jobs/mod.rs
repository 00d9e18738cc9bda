//! Bulk loads in the background: one at a time, in the order in which they were asked for.
//!
//! A job is a folder of its own (`files.rs`): what was sent, how far it is done, what was refused. It goes on after a stop
//! and after a crash, and brings no line in twice: lines go in chunks that are the same whenever the text is read
//! again (`reader.rs`), as batches whose operations each have a receipt under a key made of the job and the line (`run.rs`).
//! A chunk that was under way at a crash is sent once more, and what has a receipt is not applied again.

mod files;
pub mod job;
mod places;
mod reader;
mod run;
mod spool;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::files::Errors;
use self::files::{Files, Found};
use self::job::{Asked, Job, JobKey, Status};
use self::places::Places;
pub use self::places::{Admission, Full};
pub use self::spool::Spool;
use super::claims::Claim;
use super::{ExecuteError, Inventory, claims, new_id};
use crate::domain::{Principal, Timestamp};
use crate::journal::{JournalError, KeyHash};

#[derive(Clone, Debug)]
pub struct JobSettings {
    /// For how long idempotency keys are kept.
    pub retention_ms: i64,
    /// Callers must say who they are: who has asked for a job must still be allowed to.
    pub authenticates: bool,
}

/// All jobs. Cheap to share; lives as long as the process.
pub struct Jobs {
    inventory: Arc<Inventory>,
    files: Files,
    settings: JobSettings,
    /// How a refusal reads in the list of errors.
    describe: fn(ExecuteError) -> String,
    table: Mutex<BTreeMap<Arc<str>, Entry>>,
    /// Something about the jobs is other than it was.
    changes: watch::Sender<()>,
    /// Places for bodies that come.
    coming: Places,
    is_stopping: AtomicBool,
    runner: Mutex<Option<JoinHandle<()>>>,
}

struct Entry {
    /// As its state file has it.
    job: Job,
    /// How much of the body has been read, which runs ahead of what is done.
    read: Arc<AtomicU64>,
    is_cancelled: bool,
    /// Somebody is at it: the runner, or who cancels it before the runner has come to it.
    is_taken: bool,
    /// Why it does not go on at present.
    waiting: Option<Arc<str>>,
}

/// A job as it is shown.
#[derive(Clone, Debug)]
pub struct View {
    pub job: Job,
    pub read_bytes: u64,
    /// Why it does not go on at present.
    pub waiting: Option<Arc<str>>,
}

/// How many are not over.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Bodies that are coming in.
    pub uploading: u64,
    pub queued: u64,
    pub running: u64,
}

/// What became of a body that has come whole.
pub enum Submitted {
    New(View),
    /// There is a job of this key: as it was made.
    Repeated(View),
    /// The key stands for another request.
    KeyReused,
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    Removed,
    NotOver,
    NotFound,
}

/// Jobs that may wait, bodies that are coming among them; a body may have gigabytes.
const MAX_WAITING: usize = 32;
/// Jobs that are over are kept for so long, and not more than so many of them.
const KEPT_MS: i64 = 7 * 24 * 3_600_000;
const KEPT: usize = 100;
/// Somebody looks so often for what need not be kept.
const TIDY_INTERVAL: Duration = Duration::from_secs(3600);

impl Entry {
    fn new(job: Job) -> Self {
        Self {
            read: Arc::new(AtomicU64::new(job.done.read_bytes)),
            job,
            is_cancelled: false,
            is_taken: false,
            waiting: None,
        }
    }

    fn view(&self) -> View {
        let read_bytes = match self.job.status {
            Status::Running => self.read.load(Ordering::Relaxed),
            _ => self.job.done.read_bytes,
        };
        View {
            job: self.job.clone(),
            read_bytes,
            waiting: self.waiting.clone(),
        }
    }
}

impl From<Job> for View {
    fn from(job: Job) -> Self {
        Entry::new(job).view()
    }
}

impl Jobs {
    /// Goes on with the jobs that were not over when the service ended. Call it within the actix system, on a thread that
    /// lives until the end.
    pub fn start(
        inventory: Arc<Inventory>,
        data: &Path,
        settings: JobSettings,
        describe: fn(ExecuteError) -> String,
    ) -> io::Result<Arc<Self>> {
        let (files, Found { jobs, faults }) = Files::open(data)?;
        for fault in faults {
            tracing::error!(fault, "a job cannot be read, and is left as it is");
        }
        for (key, until) in jobs.iter().filter_map(|job| job.holds_key_until(settings.retention_ms)) {
            inventory.hold_key(key, until);
        }
        let table = jobs.into_iter().map(|job| (job.id.clone(), Entry::new(job.found())));
        let jobs = Arc::new(Self {
            inventory,
            files,
            coming: Places::new(settings.authenticates),
            settings,
            describe,
            table: Mutex::new(table.collect()),
            changes: watch::Sender::new(()),
            is_stopping: AtomicBool::new(false),
            runner: Mutex::default(),
        });
        let runner = actix_web::rt::spawn(jobs.clone().run());
        *jobs.runner.lock().unwrap_or_else(PoisonError::into_inner) = Some(runner);
        Ok(jobs)
    }

    /// Lets the chunk under way end, and keeps the place: the next start goes on from there.
    pub async fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        self.changes.send_replace(());
        let runner = self.runner.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runner) = runner
            && let Err(error) = runner.await
        {
            tracing::error!(%error, "the jobs ended by a defect");
        }
    }

    pub fn get(&self, id: &str) -> Option<View> {
        let table = self.table();
        let entry = table.get(id).filter(|entry| !entry.job.is_removed);
        entry.map(Entry::view)
    }

    /// Newest first, made before that one.
    pub fn list(&self, before: Option<&str>, limit: usize) -> Vec<View> {
        let table = self.table();
        let older = table
            .iter()
            .rev()
            .filter(|(id, _)| before.is_none_or(|before| &***id < before));
        let shown = older.filter(|(_, entry)| !entry.job.is_removed);
        shown.map(|(_, entry)| entry.view()).take(limit).collect()
    }

    pub fn tally(&self) -> Tally {
        let table = self.table();
        let count = |status| table.values().filter(|entry| entry.job.status == status).count() as u64;
        Tally {
            uploading: self.coming.taken() as u64,
            queued: count(Status::Queued),
            running: count(Status::Running),
        }
    }

    /// The job that was asked for under this key.
    pub fn of_key(&self, key: KeyHash) -> Option<View> {
        let (table, now) = (self.table(), self.inventory.now());
        let found = table.values().find(|entry| self.has_key(&entry.job, key, now));
        found.map(Entry::view)
    }

    fn has_key(&self, job: &Job, key: KeyHash, now: Timestamp) -> bool {
        let held = job.holds_key_until(self.settings.retention_ms);
        held.is_some_and(|(held, until)| held == key && until > now)
    }

    /// Lets one more body of this principal come, unless too many come or wait already. One whose key has a job becomes no
    /// other.
    pub fn admit(&self, key: Option<KeyHash>, by: &Principal) -> Result<Admission, Full> {
        let is_repeat = key.is_some_and(|key| self.of_key(key).is_some());
        let table = self.table();
        let queued = table.values().filter(|entry| entry.job.status == Status::Queued);
        if !is_repeat && queued.count() + self.coming.taken() >= MAX_WAITING {
            return Err(Full::ForAll);
        }
        self.coming.take(by)
    }

    /// The key is this request's alone until the claim is dropped; refused where it stands for a write of another kind.
    pub async fn claim(&self, key: KeyHash) -> Result<Claim, ExecuteError> {
        let claim = self.inventory.claims.claim(key).map_err(|state| match state {
            claims::State::Running => ExecuteError::KeyInFlight,
            claims::State::Unknown => {
                JournalError::Unknown("the first request with this key may or may not have taken effect".into()).into()
            }
        })?;
        match self.inventory.journal.receipt(key, self.inventory.now()).await? {
            Some(_) => Err(ExecuteError::KeyReused),
            None => Ok(claim),
        }
    }

    /// Somewhere for a body that is about to come, and says that it has so many bytes.
    pub async fn spool(&self, admission: Admission, announced: u64) -> io::Result<Spool> {
        Spool::begin(self.files.clone(), new_id().to_string(), admission, announced).await
    }

    /// Makes a job of a body that has come whole. Its key must have been claimed.
    pub async fn submit(&self, spool: Spool, asked: Asked) -> io::Result<Submitted> {
        let now = self.inventory.now();
        if let Some(repeated) = self.repeated(asked.key, now) {
            spool.discard().await;
            return Ok(repeated);
        }
        let job = Job::new(&new_id().to_string(), asked, spool.bytes(), now);
        // It has its place until the job stands among those that wait.
        let _kept = spool.keep(job.clone()).await?;
        if let Some((key, until)) = job.holds_key_until(self.settings.retention_ms) {
            self.inventory.hold_key(key, until);
        }
        self.table().insert(job.id.clone(), Entry::new(job.clone()));
        self.changes.send_replace(());
        tracing::info!(
            job = &*job.id,
            by = job.asked.by.as_str(),
            bytes = job.total_bytes,
            "an import waits"
        );
        Ok(Submitted::New(job.into()))
    }

    fn repeated(&self, asked: Option<JobKey>, now: Timestamp) -> Option<Submitted> {
        let JobKey { key, fingerprint } = asked?;
        let table = self.table();
        let found = table.values().find(|entry| self.has_key(&entry.job, key, now))?;
        let is_same = found.job.asked.key.is_some_and(|held| held.fingerprint == fingerprint);
        Some(match is_same {
            true => Submitted::Repeated(found.job.as_made().into()),
            false => Submitted::KeyReused,
        })
    }

    /// The job, once it is over; as it is where it has not come to that in time, or the service stops.
    pub async fn wait(&self, id: &str, time: Duration) -> Option<View> {
        let deadline = tokio::time::Instant::now() + time;
        let mut changes = self.changes.subscribe();
        loop {
            let view = self.get(id)?;
            if view.job.status.is_over() || self.is_stopping() {
                return Some(view);
            }
            if tokio::time::timeout_at(deadline, changes.changed()).await.is_err() {
                return self.get(id);
            }
        }
    }

    /// Tells a job to stop, which it does as soon as the chunk under way is in; one that waits is over at once, and one that
    /// is over stays as it is.
    pub async fn cancel(&self, id: &str) {
        let waiting = self.take_waiting(id);
        self.changes.send_replace(());
        let Some(mut job) = waiting else { return };
        job.end(Status::Cancelled, None, self.inventory.now());
        let (files, kept) = (self.files.clone(), job.clone());
        match off_thread(move || files.save(&kept)).await {
            Ok(()) => self.show(&job),
            Err(error) => {
                tracing::warn!(%error, job = id, "that an import is cancelled cannot be written; it will be in its turn");
                self.let_go(id);
            }
        }
        self.tidy().await;
    }

    fn take_waiting(&self, id: &str) -> Option<Job> {
        let mut table = self.table();
        let entry = table.get_mut(id)?;
        entry.is_cancelled = true;
        let is_waiting = entry.job.status == Status::Queued && !entry.is_taken;
        entry.is_taken |= is_waiting;
        is_waiting.then(|| entry.job.clone())
    }

    fn let_go(&self, id: &str) {
        if let Some(entry) = self.table().get_mut(id) {
            entry.is_taken = false;
        }
        self.changes.send_replace(());
    }

    /// Lines that were refused so far, of a job that is there.
    pub async fn errors(&self, job: &Job) -> io::Result<Errors> {
        let (files, job) = (self.files.clone(), job.clone());
        off_thread(move || files.errors(&job)).await
    }

    /// Takes a job away that is over.
    pub async fn remove(&self, id: &str) -> io::Result<Removal> {
        match self.get(id) {
            None => Ok(Removal::NotFound),
            Some(view) if !view.job.status.is_over() => Ok(Removal::NotOver),
            Some(view) => {
                self.forget(view.job).await?;
                Ok(Removal::Removed)
            }
        }
    }

    /// As long as its key is kept, so is its state.
    async fn forget(&self, mut job: Job) -> io::Result<()> {
        let (files, id) = (self.files.clone(), job.id.clone());
        let until = job.holds_key_until(self.settings.retention_ms).map(|(_, until)| until);
        if until.is_none_or(|until| until <= self.inventory.now()) {
            off_thread(move || files.remove(&id)).await?;
            self.table().remove(&job.id);
            return Ok(());
        }
        if job.is_removed {
            return Ok(());
        }
        job.is_removed = true;
        let kept = job.clone();
        off_thread(move || {
            files.save(&kept)?;
            files.drop_errors(&kept.id)
        })
        .await?;
        self.table().insert(job.id.clone(), Entry::new(job));
        Ok(())
    }

    /// Takes away what need not be kept; what fails is tried again later.
    async fn tidy(&self) {
        let over = self.over();
        for (place, job) in over.into_iter().enumerate() {
            let (files, id) = (self.files.clone(), job.id.clone());
            let mut tidied = off_thread(move || files.drop_input(&id)).await;
            if job.is_removed || place >= KEPT || self.is_old(&job) {
                tidied = tidied.and(self.forget(job).await);
            }
            if let Err(error) = tidied {
                tracing::warn!(%error, "files of a job that is over are still there");
            }
        }
    }

    /// Newest first.
    fn over(&self) -> Vec<Job> {
        let table = self.table();
        let over = table.values().rev().filter(|entry| entry.job.status.is_over());
        over.map(|entry| entry.job.clone()).collect()
    }

    fn is_old(&self, job: &Job) -> bool {
        let ended = job.finished_at.unwrap_or(job.created_at);
        self.inventory.now().as_millis().saturating_sub(ended.as_millis()) > KEPT_MS
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    fn table(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Disks make wait.
pub async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}
