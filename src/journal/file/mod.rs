//! Files as storage: an append-only log of JSON lines, a checkpoint, a snapshot per SKU.
//!
//! The log is the truth; everything else can be made from it again. `writer.rs` is the one thread
//! that appends, `recovery.rs` reads it back at startup, `verify.rs` proves it, `backup.rs` copies it meanwhile.
//!
//! ```text
//! data/
//!   LOCK                            held by the process that serves the folder; holds its pid
//!   events/0000000000000001.jsonl   a segment, named by its first sequence
//!   events/0000000000000001.index   of a closed segment: where in it the records of a SKU, a store, … are
//!   checkpoint.json                 every SKU's state at some sequence, so that startup need not read the whole log
//!   skus/3f/<encoded sku>.json      a SKU's snapshot, written by its actor
//!   central.json, …                 documents that are made from the log: totals, sales
//! ```

mod active;
pub mod backup;
mod checkpoint;
pub(crate) mod disk;
mod document;
#[cfg(test)]
mod faulty;
mod index;
#[cfg(test)]
mod lies;
pub(crate) mod line;
mod lock;
mod meter;
mod recovery;
mod reservations;
mod search;
mod segment;
mod snapshot;
mod verify;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use tokio::sync::oneshot;

use self::meter::Meter;
use self::segment::{Head, SegmentMap};
use self::writer::{Job, Queued, Writer};
use super::figures::{Figures, RecoveryFigures};
use super::tables::Tables;
use super::tail::Tail;
use super::{
    Answer, Append, Appended, Document, EntryKind, EntryView, FoundReservations, HistoryFilter, ItemFilter, ItemView,
    Journal, JournalError, Kept, KeyHash, LevelView, Logged, ProductFilter, ReceiptView, Record, ReservationFilter,
    ReservationPlace, Stocked,
};
use crate::domain::{
    EntryKey, Principal, Product, Reservation, ReservationId, ReservationStatus, Sku, Stock, StoreId, Timestamp,
};

#[cfg(test)]
pub use self::faulty::FaultyFolder;
pub use self::lock::{FolderLock, served_at};
pub use self::recovery::Recovered;
pub use self::verify::{Report, prove, verify};

#[derive(Clone, Debug)]
pub struct Options {
    pub folder: PathBuf,
    /// A segment that would pass this is closed, and a new one begun. An index points no further than
    /// 4095 MB, which is taken for anything above.
    pub segment_bytes: u64,
    /// So much log is written between two checkpoints; or twice as much as the last one had, where that is more.
    pub checkpoint_bytes: u64,
    /// How long receipts are known.
    pub retention_ms: i64,
}

/// Whether there is data in a folder, as far as can be seen.
pub fn has_log(folder: &Path) -> bool {
    folder.join("events").is_dir()
}

/// Why a data folder is not served: one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(String);

pub struct FileJournal {
    shared: Arc<Shared>,
    folder: PathBuf,
    queue: Sender<Job>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    recovery: RecoveryFigures,
    lock: lock::FolderLock,
}

/// What the writer, the checkpointer and readers have in common.
struct Shared {
    tables: Tables,
    segments: SegmentMap,
    /// Of what was published by this process.
    tail: Tail,
    position: Mutex<Position>,
    /// The size of the last checkpoint.
    checkpoint_bytes: AtomicU64,
    health: Mutex<Health>,
    meter: Meter,
}

#[derive(Default)]
struct Health {
    poisoned: Option<String>,
    full: Option<String>,
}

/// The end of what is published.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position {
    /// The first sequence of the segment that it lies in.
    segment: u64,
    head: Head,
}

impl Shared {
    fn poisoned(&self) -> Option<String> {
        self.health().poisoned.clone()
    }

    fn poison(&self, reason: String) {
        let mut health = self.health();
        if health.poisoned.is_none() {
            tracing::error!(
                reason,
                "writes are refused until a restart has read what is really on disk"
            );
            health.poisoned = Some(reason);
        }
    }

    /// Makes room ahead of need. That the disk is full is left to the writer, who meets it when it counts.
    fn grow(&self, active: &active::ActiveSegment) {
        match active.grow_ahead() {
            Err(error) if !disk::is_full(&error) => self.poison(format!("making room in the log failed: {error}")),
            _ => {}
        }
    }

    /// Sees to index files: once of the segments that were there at the start, then whenever one is closed.
    fn keep_indexes(&self, closed: &Receiver<()>) {
        for segment in self.segments.closed() {
            // A stop does not wait for what searches can make as well.
            if self.poisoned().is_some() {
                break;
            }
            segment.index.check();
        }
        for () in closed {
            self.segments.closed().iter().for_each(|segment| segment.index.save());
        }
    }

    fn closed(&self) {
        self.health().poisoned.get_or_insert_with(|| "the log is closed".into());
    }

    fn is_full(&self) -> bool {
        self.health().full.is_some()
    }

    fn set_full(&self, reason: Option<String>) {
        let mut health = self.health();
        match (&health.full, &reason) {
            (None, Some(reason)) => tracing::error!(reason, "writes are refused until there is room again"),
            (Some(_), None) => tracing::info!("the log has room again: writes are taken"),
            _ => {}
        }
        health.full = reason;
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn position(&self) -> Position {
        self.position.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl FileJournal {
    /// Recovers what is in the folder, or begins it, and starts the threads that keep it.
    pub fn open(options: &Options) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(options, Arc::new(disk::RealDisk), |_| {})
    }

    fn open_on(
        options: &Options,
        disk: Arc<dyn disk::Disk>,
        prepare: impl FnOnce(&mut Writer),
    ) -> Result<(Self, Recovered), OpenError> {
        let started = Instant::now();
        let lock = lock::FolderLock::take(&options.folder)?;
        let recovery::Opened {
            shared,
            active,
            segment,
            offset,
            recovered,
        } = recovery::open(options, disk.clone())?;
        let shared = Arc::new(shared);
        let (queue, jobs) = mpsc::channel();
        let (ahead, wanted_room) = mpsc::sync_channel::<Arc<active::ActiveSegment>>(1);
        let (checkpoints, wanted_checkpoints) = mpsc::sync_channel(1);
        let (indexes, wanted_indexes) = mpsc::sync_channel(1);
        let mut writer = Writer {
            queue: jobs,
            ahead,
            checkpoints,
            indexes,
            disk,
            events: options.folder.join("events"),
            segment_bytes: options.segment_bytes.min(index::MAX_SEGMENT_BYTES),
            checkpoint_bytes: options.checkpoint_bytes,
            active: Arc::new(active),
            segment,
            offset,
            head: shared.position().head,
            since_checkpoint: recovered.replayed_bytes,
            lines: Vec::new(),
            wanted: 0,
            shared: shared.clone(),
            #[cfg(test)]
            planted: None,
        };
        prepare(&mut writer);
        let folder = options.folder.clone();
        let (checkpointed, grown, indexed) = (shared.clone(), shared.clone(), shared.clone());
        let threads = vec![
            spawn("holdfast-log", move || writer.run())?,
            spawn("holdfast-room", move || {
                wanted_room.iter().for_each(|active| grown.grow(&active))
            })?,
            spawn("holdfast-check", move || {
                wanted_checkpoints
                    .iter()
                    .for_each(|()| checkpoint::write_or_warn(&folder, &checkpointed));
            })?,
            spawn("holdfast-index", move || indexed.keep_indexes(&wanted_indexes))?,
        ];
        let folder = options.folder.clone();
        Ok((
            Self {
                shared,
                folder,
                queue,
                threads: Mutex::new(threads),
                recovery: meter::of_recovery(&recovered, started.elapsed()),
                lock,
            },
            recovered,
        ))
    }

    /// Says in the folder where it is served, to whoever finds it taken.
    pub fn announce(&self, address: SocketAddr) -> io::Result<()> {
        self.lock.announce(address)
    }

    fn enqueue(&self, append: Append) -> Result<oneshot::Receiver<Result<Appended, JournalError>>, JournalError> {
        let fragments = match append.records.len() {
            0..=MAX_ENCODED_AHEAD => writer::encode(&append)?,
            _ => Vec::new(),
        };
        let (done, outcome) = oneshot::channel();
        let job = Job::Append(Queued {
            append,
            fragments,
            done,
        });
        self.queue
            .send(job)
            .map_err(|_| JournalError::Unavailable("the log is closed".into()))?;
        Ok(outcome)
    }

    /// Reads the log, off the threads that serve.
    fn read<T: Send + 'static>(&self, read: impl FnOnce(&Shared) -> Result<T, String> + Send + 'static) -> Answer<T> {
        let shared = self.shared.clone();
        let task = tokio::task::spawn_blocking(move || read(&shared).map_err(JournalError::Damaged));
        task.map(|read| read.unwrap_or_else(|error| Err(JournalError::Damaged(error.to_string()))))
            .boxed()
    }

    fn join_threads(&self) {
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log had panicked");
            }
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| OpenError(format!("cannot start the thread {name}: {error}")))
}

/// Appends of no more records are encoded before they are queued: the log thread is the one serial part. Larger ones
/// come from batches, and there the thread that serves them is what is short: it decides the next one meanwhile, which
/// gave 15 % more of them.
const MAX_ENCODED_AHEAD: usize = 64;

fn ready<T: Send + 'static>(value: T) -> Answer<T> {
    future::ready(Ok(value)).boxed()
}

impl Journal for FileJournal {
    fn append(&self, append: Append) -> Answer<Appended> {
        match self.enqueue(append) {
            Err(error) => future::ready(Err(error)).boxed(),
            Ok(outcome) => outcome
                .map(|outcome| {
                    outcome.unwrap_or_else(|_| Err(JournalError::Unknown("the log ended before it answered".into())))
                })
                .boxed(),
        }
    }

    fn load(&self, sku: &Sku) -> Answer<Stock> {
        ready(self.shared.tables.stock(sku))
    }

    fn level(&self, sku: &Sku, store: &StoreId) -> Answer<Option<LevelView>> {
        ready(self.shared.tables.level(sku, store))
    }

    fn levels_in(&self, store: &StoreId, after: Option<&Sku>, limit: usize) -> Answer<Vec<(Sku, LevelView)>> {
        ready(self.shared.tables.levels_in(store, after, limit))
    }

    fn item(&self, sku: &Sku) -> Answer<Option<ItemView>> {
        ready(self.shared.tables.item(sku))
    }

    fn items(&self, filter: &ItemFilter, after: Option<&Sku>, limit: usize) -> Answer<Vec<(Sku, ItemView)>> {
        ready(self.shared.tables.items(filter, after, limit))
    }

    fn product(&self, sku: &Sku) -> Answer<Option<Product>> {
        ready(self.shared.tables.product(sku))
    }

    fn products(&self, filter: &ProductFilter, after: Option<&Sku>, limit: usize) -> Answer<Vec<(Sku, Product)>> {
        ready(self.shared.tables.products(filter, after, limit))
    }

    fn reservation(&self, id: &ReservationId) -> Answer<Option<Arc<Reservation>>> {
        if let Some(open) = self.shared.tables.reservation(id) {
            return ready(Some(open));
        }
        let id = id.clone();
        self.read(move |shared| Ok(shared.reservation_at(&id, u64::MAX)?.map(Arc::new)))
    }

    fn reservation_at(&self, id: &ReservationId, seq: u64) -> Answer<Option<Reservation>> {
        let id = id.clone();
        self.read(move |shared| shared.reservation_at(&id, seq))
    }

    fn reservations(
        &self,
        filter: ReservationFilter,
        before: Option<ReservationPlace>,
        limit: usize,
    ) -> Answer<FoundReservations> {
        self.read(move |shared| match filter.status {
            Some(ReservationStatus::Active) => Ok(shared.tables.open_reservations(&filter, before.as_ref(), limit)),
            _ => shared.reservations(&filter, before, limit),
        })
    }

    fn open_lines(&self, by: &Principal) -> Answer<u64> {
        ready(self.shared.tables.open_lines(by))
    }

    fn entry(&self, key: &EntryKey) -> Answer<Option<EntryView>> {
        ready(self.shared.tables.entries().get(key))
    }

    fn entry_version(&self, key: &EntryKey) -> Answer<u64> {
        ready(self.shared.tables.entries().version(key))
    }

    fn entries(&self, kind: EntryKind, after: Option<&EntryKey>, limit: usize) -> Answer<Vec<(EntryKey, EntryView)>> {
        ready(self.shared.tables.entries().find(kind, after, limit))
    }

    fn is_closing(&self, store: &StoreId) -> bool {
        self.shared.tables.entries().is_closing(store)
    }

    fn closing(&self) -> Vec<StoreId> {
        self.shared.tables.entries().closing()
    }

    fn store_version(&self, store: &StoreId) -> Option<u64> {
        let (version, is_there) = self.shared.tables.entries().version_of(&EntryKey::Store(store.clone()));
        is_there.then_some(version)
    }

    fn receipt(&self, key: KeyHash, now: Timestamp) -> Answer<Option<ReceiptView>> {
        ready(self.shared.tables.receipt(key, now))
    }

    fn events(&self, after: u64, limit: usize) -> Answer<Vec<Logged>> {
        let visible = self.shared.tables.visible();
        if let Some(events) = self.shared.tail.behind(after, visible, limit) {
            return ready(events);
        }
        self.read(move |shared| {
            let found = shared.segments.read(after, visible, limit)?;
            Ok(found.into_iter().map(|(seq, record)| (seq, record.event)).collect())
        })
    }

    fn record(&self, seq: u64) -> Answer<Option<Record>> {
        self.read(move |shared| {
            let Some(after) = seq.checked_sub(1) else {
                return Ok(None);
            };
            let found = shared.segments.read(after, shared.tables.visible(), 1)?;
            Ok(found.into_iter().next().map(|(_, record)| record))
        })
    }

    fn history(&self, filter: HistoryFilter, before: u64, limit: usize) -> Answer<Vec<Logged>> {
        self.read(move |shared| {
            let end = before.min(shared.tables.visible() + 1);
            shared.segments.search(&filter, end, limit, |_| false)
        })
    }

    fn visible(&self) -> u64 {
        self.shared.tables.visible()
    }

    fn stocked(&self) -> Answer<Stocked> {
        ready(self.shared.tables.stocked())
    }

    fn news(&self, after: u64) -> BoxFuture<'static, ()> {
        self.shared.tables.news(after)
    }

    fn deadlines(&self) -> Answer<Vec<(Timestamp, Sku)>> {
        ready(self.shared.tables.deadlines())
    }

    fn last_time(&self) -> Timestamp {
        self.shared.tables.last_time()
    }

    fn save_snapshot(&self, sku: &Sku) -> Answer<()> {
        let (shared, sku, folder) = (self.shared.clone(), sku.clone(), self.folder.clone());
        let task = tokio::task::spawn_blocking(move || {
            let Some((stock, seq)) = shared.tables.image_at(&sku) else {
                return Ok(());
            };
            let path = snapshot::path(&folder, &sku);
            snapshot::write(&path, &snapshot::encode(sku, seq, stock)?)?;
            shared.meter.snapshots.one();
            Ok(())
        });
        task.map(|written| {
            let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            written.map_err(|error| JournalError::Unavailable(format!("writing a snapshot: {error}")))
        })
        .boxed()
    }

    fn keep(&self, document: Document, kept: Kept) -> Answer<()> {
        let folder = self.folder.clone();
        let task = tokio::task::spawn_blocking(move || document::write(&folder, document, &kept));
        task.map(|written| {
            let written = written.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            written.map_err(|error| JournalError::Unavailable(format!("writing a document: {error}")))
        })
        .boxed()
    }

    fn kept(&self, document: Document) -> Answer<Option<Kept>> {
        let folder = self.folder.clone();
        self.read(move |_| document::read(&folder, document))
    }

    fn figures(&self) -> Answer<Figures> {
        let (folder, recovery) = (self.folder.clone(), self.recovery);
        self.read(move |shared| Ok(shared.figures(&folder, recovery)))
    }

    fn refusing(&self) -> Option<String> {
        let health = self.shared.health();
        health.poisoned.clone().or_else(|| health.full.clone())
    }

    fn close(&self) -> Result<(), JournalError> {
        let (done, closed) = mpsc::sync_channel(1);
        if self.queue.send(Job::Close(done)).is_err() {
            return Ok(());
        }
        let closed = closed
            .recv()
            .unwrap_or_else(|_| Err(JournalError::Unavailable("the log had ended".into())));
        self.join_threads();
        closed?;
        checkpoint::write(&self.folder, &self.shared)
            .map_err(|error| JournalError::Unavailable(format!("writing the last checkpoint: {error}")))
    }
}

impl Drop for FileJournal {
    /// Without `close`, the folder is left as a crash would leave it; the threads have ended all the
    /// same before another may take the lock.
    fn drop(&mut self) {
        let _ = self.queue.send(Job::Stop);
        self.join_threads();
    }
}

fn describe(path: &Path, what: &str, error: &std::io::Error) -> OpenError {
    OpenError(format!(
        "cannot {what} {}: {error}; check that it exists and that this user may write there",
        path.display()
    ))
}
