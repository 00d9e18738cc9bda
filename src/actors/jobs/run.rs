//! The way of a job: chunk by chunk, each brought in, its errors and then its place kept, before the next is begun.
//!
//! What storage cannot take at present is waited for; only the text itself, or who asked for it, can make a job fail.

use std::collections::HashSet;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::FutureExt;

use super::job::{Done, Job, Status};
use super::reader::{CHUNK_LINES, Chunk, Reader};
use super::{Entry as JobEntry, Jobs, TIDY_INTERVAL, off_thread};
use crate::actors::batch::Operation;
use crate::actors::{self, ExecuteError, Keyed};
use crate::domain::account::{AccountName, Role, ServiceToken};
use crate::domain::{Entry, EntryKey, Event, Origin, Principal, Scope, Sku, Timestamp};
use crate::import::row::{Fault, LineError, Row};
use crate::journal::record::Digest;
use crate::journal::{EntryKind, JournalError};

/// Storage that cannot take a chunk is asked again after so long, and then after twice as long, up to the second.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Service tokens that are looked at together.
const TOKENS_AT_ONCE: usize = 1000;

/// Why a job does not go on.
enum Ended {
    Succeeded,
    Failed(String),
    Cancelled,
    /// The service stops: the job goes on with the next start.
    Stopped,
}

impl Ended {
    fn settle(&self, job: &mut Job, now: Timestamp) {
        match self {
            Self::Succeeded => job.end(Status::Succeeded, None, now),
            Self::Failed(reason) => job.end(Status::Failed, Some(reason), now),
            Self::Cancelled => job.end(Status::Cancelled, None, now),
            Self::Stopped => {}
        }
    }
}

/// Whoever may end a job from outside.
enum Interruption {
    Cancelled,
    Stopped,
}

impl From<Interruption> for Ended {
    fn from(interruption: Interruption) -> Self {
        match interruption {
            Interruption::Cancelled => Self::Cancelled,
            Interruption::Stopped => Self::Stopped,
        }
    }
}

/// What has become of a chunk so far.
struct Progress {
    /// Lines that are not in, and not refused.
    left: Vec<(u64, Row)>,
    imported: u64,
    errors: Vec<LineError>,
}

impl Jobs {
    /// Carries out what waits, until the service stops.
    pub(super) async fn run(self: Arc<Self>) {
        let mut changes = self.changes.subscribe();
        self.tidy().await;
        while !self.is_stopping() {
            match self.next() {
                Some((job, read)) => {
                    let carried_out = AssertUnwindSafe(self.carry_out(job.clone(), read));
                    if carried_out.catch_unwind().await.is_err() {
                        self.end_by_defect(job).await;
                    }
                    self.tidy().await;
                }
                None => match tokio::time::timeout(TIDY_INTERVAL, changes.changed()).await {
                    Ok(_) => {}
                    Err(_) => self.tidy().await,
                },
            }
        }
    }

    /// Takes one that was running when the service ended, or else the oldest that waits.
    fn next(&self) -> Option<(Job, Arc<AtomicU64>)> {
        let mut table = self.table();
        let open = |entry: &&mut JobEntry| !entry.job.status.is_over() && !entry.is_taken;
        let next = table
            .values_mut()
            .filter(open)
            .min_by_key(|entry| entry.job.status != Status::Running)?;
        next.is_taken = true;
        Some((next.job.clone(), next.read.clone()))
    }

    async fn carry_out(self: &Arc<Self>, mut job: Job, read: Arc<AtomicU64>) {
        let ended = match self.attempt(&mut job, read).await {
            Ok(()) => Ended::Succeeded,
            Err(ended) => ended,
        };
        if let Ended::Stopped = ended {
            return;
        }
        // One that ended within a chunk is kept already, and may be gone by now.
        if !job.status.is_over() {
            ended.settle(&mut job, self.inventory.now());
            self.keep(&job, Vec::new()).await;
        }
        tracing::info!(
            job = &*job.id,
            status = ?job.status,
            imported = job.done.imported,
            failed = job.done.failed,
            error = job.error.as_deref(),
            "an import is over"
        );
    }

    /// Those that wait are not to suffer for it; what has happened, the panic hook has put into the log.
    async fn end_by_defect(&self, job: Job) {
        let mut job = self.get(&job.id).map_or(job, |view| view.job);
        let reason = "The import met a defect of the service; the operator's log has it.";
        job.end(Status::Failed, Some(reason), self.inventory.now());
        self.keep(&job, Vec::new()).await;
    }

    async fn attempt(self: &Arc<Self>, job: &mut Job, read: Arc<AtomicU64>) -> Result<(), Ended> {
        self.check(&job.id)?;
        if job.is_stale(self.inventory.now(), self.settings.retention_ms) {
            return Err(Ended::Failed(stale(job)));
        }
        let may_be_in = job.progress_at.is_some() && !job.asked.dry_run;
        job.begin(self.inventory.now());
        self.keep(job, Vec::new()).await;
        let reader = Reader::start(&self.files.input(&job.id), job, read);
        let mut reader = reader.map_err(|error| Ended::Failed(format!("What was sent cannot be read: {error}.")))?;
        match self.bring_in(job, &mut reader, may_be_in).await {
            Ok(()) => reader.end().map_err(|unreadable| Ended::Failed(sentence(&unreadable))),
            Err(ended) => {
                reader.halt();
                Err(ended)
            }
        }
    }

    async fn bring_in(self: &Arc<Self>, job: &mut Job, reader: &mut Reader, may_be_in: bool) -> Result<(), Ended> {
        loop {
            let chunk = tokio::select! {
                chunk = reader.next() => chunk,
                interruption = self.interruption(&job.id) => return Err(interruption.into()),
            };
            let Some(chunk) = chunk else { return Ok(()) };
            self.check(&job.id)?;
            self.check_rights(job).await?;
            self.apply(job, chunk, may_be_in).await?;
            // Whoever waits for this thread comes first.
            tokio::task::yield_now().await;
        }
    }

    /// Brings a chunk in, however long that takes, and keeps its errors and its place.
    async fn apply(self: &Arc<Self>, job: &mut Job, chunk: Chunk, may_be_in: bool) -> Result<(), Ended> {
        let (number, through, read_bytes) = (chunk.number, chunk.through(), chunk.read_bytes);
        let mut progress = Progress::of(chunk);
        if may_be_in {
            self.refuse_again(job, number, &mut progress).await?;
        }
        let interrupted = self.send(job, number, &mut progress).await.err();
        if let Some(Ended::Stopped) = interrupted {
            // What is in has its receipts.
            return Err(Ended::Stopped);
        }
        let done = Done {
            through,
            imported: job.done.imported + progress.imported,
            failed: job.done.failed + progress.errors.len() as u64,
            read_bytes,
            ..job.done
        };
        progress.errors.sort_by_key(|error| error.line);
        let (mut after, now) = (job.clone(), self.inventory.now());
        after.advance(done, now);
        if let Some(ended) = &interrupted {
            // A part of the chunk is only counted together with the end: nobody goes on from there.
            ended.settle(&mut after, now);
            after.done.through = job.done.through;
        }
        *job = self.keep_advance(job, after, progress.errors).await?;
        interrupted.map_or(Ok(()), Err)
    }

    /// Until every line is in or refused.
    async fn send(self: &Arc<Self>, job: &Job, number: u64, progress: &mut Progress) -> Result<(), Ended> {
        let mut pause = FIRST_PAUSE;
        while !progress.left.is_empty() {
            let lines = std::mem::take(&mut progress.left);
            let operations = lines
                .iter()
                .map(|(line, row)| operation(job, *line, row.clone()))
                .collect();
            let keyed = (!job.asked.dry_run).then(|| key_of(job, number));
            let sent = self.inventory.execute_each(operations, keyed, job.asked.dry_run).await;
            let waiting = match sent {
                Err(error) => {
                    progress.left = lines;
                    Some(error)
                }
                Ok(outcomes) => {
                    let results = outcomes.into_iter().map(|(_, outcome)| outcome.map(drop));
                    progress.note(lines, results, self.describe)
                }
            };
            let Some(error) = waiting else { continue };
            if matches!(error, ExecuteError::Journal(JournalError::Damaged(_))) {
                return Err(Ended::Failed(sentence(&(self.describe)(error))));
            }
            self.wait_for(&job.id, &(self.describe)(error), &mut pause).await?;
        }
        self.say_waiting(&job.id, None);
        Ok(())
    }

    /// Of a chunk that was under way when the service ended, or that a restored log has, lines of a SKU are decided together:
    /// where one of them is in, those that are not were refused. To try them again could put an earlier count over a later one.
    async fn refuse_again(&self, job: &Job, number: u64, progress: &mut Progress) -> Result<(), Ended> {
        let mut pause = FIRST_PAUSE;
        let operation = loop {
            match self.inventory.operation(key_of(job, number).key).await {
                Ok(operation) => break operation,
                Err(error) => self.wait_for(&job.id, &error.to_string(), &mut pause).await?,
            }
        };
        let actors::Operation::CompletedBatch(done) = operation else {
            return Ok(());
        };
        let lines: HashSet<u64> = done.iter().map(|(index, _)| line_of(number, *index)).collect();
        let changes = done.iter().flat_map(|(_, outcome)| &outcome.event.changes);
        let skus: HashSet<&Sku> = changes.map(|change| &change.sku).collect();
        let (refused, left) = std::mem::take(&mut progress.left)
            .into_iter()
            .partition(|(line, row)| skus.contains(&row.sku) && !lines.contains(line));
        let refused: Vec<(u64, Row)> = refused;
        progress.left = left;
        let message = "was refused just before the service ended, and why is not known any more";
        let errors = refused
            .iter()
            .map(|(line, _)| LineError::new(*line, Fault::of_line(message)));
        progress.errors.extend(errors);
        Ok(())
    }

    /// Keeps errors and state; says what the job is then. A stop in between leaves it as it was.
    async fn keep_advance(&self, before: &Job, mut after: Job, errors: Vec<LineError>) -> Result<Job, Ended> {
        let mut pause = FIRST_PAUSE;
        loop {
            let (files, job, list) = (self.files.clone(), before.clone(), errors.clone());
            let mut kept = after.clone();
            let saved = off_thread(move || {
                kept.done.error_bytes = files.add_errors(&job, &list)?;
                files.save(&kept)?;
                Ok(kept.done.error_bytes)
            });
            match saved.await {
                Ok(error_bytes) => {
                    after.done.error_bytes = error_bytes;
                    self.show(&after);
                    return Ok(after);
                }
                Err(error) => self.outlast(&before.id, &error, &mut pause).await?,
            }
        }
    }

    /// Keeps the state, unless the service stops before that can be done.
    async fn keep(&self, job: &Job, errors: Vec<LineError>) {
        // Without the state the next start begins where this one did.
        let _ = self.keep_advance(job, job.clone(), errors).await;
    }

    pub(super) fn show(&self, job: &Job) {
        if let Some(entry) = self.table().get_mut(&job.id) {
            entry.job = job.clone();
            entry.waiting = None;
        }
        self.changes.send_replace(());
    }

    fn say_waiting(&self, id: &str, reason: Option<&str>) {
        let reason: Option<Arc<str>> = reason.map(Into::into);
        if let Some(entry) = self.table().get_mut(id)
            && entry.waiting != reason
        {
            if let Some(reason) = &reason {
                tracing::warn!(job = id, reason = &**reason, "an import waits until it can go on");
            }
            entry.waiting = reason;
        }
    }

    /// Waits a while; whoever interrupts it is heard.
    async fn wait_for(&self, id: &str, reason: &str, pause: &mut Duration) -> Result<(), Ended> {
        self.say_waiting(id, Some(reason));
        tokio::select! {
            () = tokio::time::sleep(*pause) => {
                *pause = (*pause * 2).min(LONGEST_PAUSE);
                Ok(())
            }
            interruption = self.interruption(id) => Err(interruption.into()),
        }
    }

    /// Waits a while with what must be kept, also where the job is cancelled; only a stop is heard.
    async fn outlast(&self, id: &str, error: &io::Error, pause: &mut Duration) -> Result<(), Ended> {
        self.say_waiting(id, Some(&format!("Its state cannot be written: {error}.")));
        if self.is_stopping() {
            return Err(Ended::Stopped);
        }
        tokio::time::sleep(*pause).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    fn interrupted(&self, id: &str) -> Option<Interruption> {
        if self.is_stopping() {
            return Some(Interruption::Stopped);
        }
        let table = self.table();
        let is_cancelled = table.get(id).is_some_and(|entry| entry.is_cancelled);
        is_cancelled.then_some(Interruption::Cancelled)
    }

    fn check(&self, id: &str) -> Result<(), Ended> {
        self.interrupted(id)
            .map_or(Ok(()), |interruption| Err(interruption.into()))
    }

    async fn interruption(&self, id: &str) -> Interruption {
        let mut changes = self.changes.subscribe();
        loop {
            if let Some(interruption) = self.interrupted(id) {
                return interruption;
            }
            // The sender is this one's own: it never ends before it.
            let _ = changes.changed().await;
        }
    }

    /// Who has asked for the job may have lost the right to it since.
    async fn check_rights(&self, job: &Job) -> Result<(), Ended> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.may_operate(&job.asked.by).await {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    let by = &job.asked.by;
                    let reason =
                        format!("{by} asked for this and may run no imports any more; what is left is not imported.");
                    return Err(Ended::Failed(reason));
                }
                Err(error) => self.wait_for(&job.id, &error.to_string(), &mut pause).await?,
            }
        }
    }

    async fn may_operate(&self, by: &Principal) -> Result<bool, JournalError> {
        if !self.settings.authenticates {
            return Ok(true);
        }
        let Ok(name) = AccountName::parse(by.as_str()) else {
            return self.may_operate_by_token(by).await;
        };
        let found = self.inventory.journal.entry(&EntryKey::User(name)).await?;
        let user = found.map(|view| view.entry);
        Ok(matches!(user, Some(Entry::User(user)) if !user.disabled && user.role >= Role::Operator))
    }

    /// Tokens of one name are one caller.
    async fn may_operate_by_token(&self, by: &Principal) -> Result<bool, JournalError> {
        let now = self.inventory.now();
        let may = |entry: &Entry| match entry {
            Entry::Token(token) => {
                let is_theirs = ServiceToken::principal_of(&token.name).is_ok_and(|principal| principal == *by);
                is_theirs && token.role >= Role::Operator && !token.is_over(now)
            }
            _ => false,
        };
        let mut after = None;
        loop {
            let journal = &self.inventory.journal;
            let found = journal
                .entries(EntryKind::Token, after.as_ref(), TOKENS_AT_ONCE)
                .await?;
            if found.iter().any(|(_, view)| may(&view.entry)) {
                return Ok(true);
            }
            match found.last() {
                Some((last, _)) if found.len() == TOKENS_AT_ONCE => after = Some(last.clone()),
                _ => return Ok(false),
            }
        }
    }
}

impl Progress {
    fn of(chunk: Chunk) -> Self {
        let mut progress = Self {
            left: Vec::with_capacity(chunk.lines.len()),
            imported: 0,
            errors: Vec::new(),
        };
        for line in chunk.lines {
            match line.read {
                Ok(row) => progress.left.push((line.number, row)),
                Err(fault) => progress.errors.push(LineError::new(line.number, fault)),
            }
        }
        progress
    }

    /// What was answered to some lines; returns what keeps those that are left from being in.
    fn note(
        &mut self,
        lines: Vec<(u64, Row)>,
        results: impl Iterator<Item = Result<(), ExecuteError>>,
        describe: fn(ExecuteError) -> String,
    ) -> Option<ExecuteError> {
        let mut waiting = None;
        for ((line, row), result) in lines.into_iter().zip(results) {
            match result {
                Ok(()) => self.imported += 1,
                Err(error) if may_pass(&error) => {
                    self.left.push((line, row));
                    waiting = Some(error);
                }
                Err(error) => self.errors.push(LineError::new(line, Fault::of_line(describe(error)))),
            }
        }
        waiting
    }
}

/// It says nothing of the line: the same may be taken later.
fn may_pass(error: &ExecuteError) -> bool {
    match error {
        ExecuteError::Journal(_)
        | ExecuteError::Overloaded { .. }
        | ExecuteError::KeyInFlight
        | ExecuteError::ReservationInFlight { .. } => true,
        ExecuteError::Refused(_)
        | ExecuteError::RefusedJoint(_)
        | ExecuteError::InOperation { .. }
        | ExecuteError::KeyReused
        | ExecuteError::CountedAt { .. }
        | ExecuteError::StoreInUse { .. } => false,
    }
}

fn operation(job: &Job, line: u64, row: Row) -> Operation {
    let origin = Arc::new(Origin {
        by: job.asked.by.clone(),
        request_id: job.asked.request_id.clone(),
        // Whoever runs imports sees all stores.
        scope: Scope::default(),
    });
    Operation {
        index: (line % CHUNK_LINES) as u32,
        request: row.request(origin, Some(format!("import {}", job.id))),
        chose_reservation: false,
    }
}

fn line_of(number: u64, index: u32) -> u64 {
    number * CHUNK_LINES + u64::from(index)
}

/// The key of a chunk's batch, which no client can have: it is made of other parts than theirs.
fn key_of(job: &Job, number: u64) -> Keyed {
    let parts: [&[u8]; 3] = [b"import", job.id.as_bytes(), &number.to_le_bytes()];
    Keyed {
        key: Digest::of(&parts),
        fingerprint: Digest::of(&parts[..2]),
        status: |_: &Event| 200,
    }
}

fn stale(job: &Job) -> String {
    format!(
        "The service was away for longer than idempotency keys are kept. All lines up to {} are in, but for the refused ones; \
         those behind it may be, and to count them again could undo what was sold since. Import what is missing anew.",
        job.done.through
    )
}

/// With a full stop.
fn sentence(text: &dyn std::fmt::Display) -> String {
    let text = text.to_string();
    match text.ends_with('.') {
        true => text,
        false => format!("{text}."),
    }
}
