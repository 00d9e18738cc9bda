//! The one thread that owns the log: take what is queued, write it once, sync it once, publish it,
//! answer (group commit).
//!
//! When something fails: without room, nothing of the group was written, and it is refused for
//! certain. A write that finds the disk full after all is cut off again. Anything else, above all a
//! failed sync, poisons the log until a restart: the kernel marks pages clean whose write-back failed
//! (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020), so that a second
//! sync that succeeds proves nothing.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::active::{ActiveSegment, ROOM_STEP};
use super::disk::{Disk, is_full, sync_folder};
use super::index::{self, Keys, Posting};
use super::segment::{self, Head, Segment};
use super::{Position, Shared, line};
use crate::journal::tables::{Admission, Published};
use crate::journal::{Append, Appended, JournalError, Record};

/// A group is closed when it has so many bytes, however much is queued.
const MAX_GROUP_BYTES: usize = 4 << 20;
/// Kept free in each segment for the line that closes it.
const CLOSING_ROOM: u64 = 256;
/// While more arrives, the processor is left so often to those who make it before a group is closed. With
/// many clients on few cores that gave 8 % (64 clients, 1,000 SKUs, two cores), and whoever is alone pays
/// nothing; a timer would.
const MAX_YIELDS: usize = 4;
/// How often a log without room looks whether there is some again, unasked.
const RETRY_ROOM: Duration = Duration::from_millis(500);

pub enum Job {
    Append(Queued),
    /// Finishes what was queued before it, and cuts the room off.
    Close(Closed),
    /// Ends at once, leaving the segment as it is.
    Stop,
}

impl Queued {
    fn size(&self) -> usize {
        match self.fragments.as_slice() {
            [] => self.append.records.len() * TYPICAL_RECORD,
            fragments => fragments.iter().map(|fragment| fragment.text.len()).sum(),
        }
    }
}

type Done = oneshot::Sender<Result<Appended, JournalError>>;
type Closed = SyncSender<Result<(), JournalError>>;

/// What a record is taken to have before it is encoded, in bytes.
const TYPICAL_RECORD: usize = 512;

pub struct Queued {
    pub append: Append,
    /// The append encoded; nothing where that is left to the log.
    pub fragments: Vec<Fragment>,
    pub done: Done,
}

/// What can be made of a record before it has its place in the log.
pub struct Fragment {
    text: Vec<u8>,
    /// What the index finds it by.
    keys: Keys,
}

/// The records of an append but for their place in the log.
pub fn encode(append: &Append) -> Result<Vec<Fragment>, JournalError> {
    let fragment = |record: &Record| {
        let mut text = Vec::with_capacity(TYPICAL_RECORD);
        line::encode_record(&mut text, record)?;
        Ok(Fragment {
            text,
            keys: keys_of(record),
        })
    };
    append
        .records
        .iter()
        .map(fragment)
        .collect::<serde_json::Result<_>>()
        .map_err(not_encoded)
}

fn keys_of(record: &Record) -> Keys {
    index::keys(&record.event, record.receipt.as_deref())
}

fn not_encoded(error: serde_json::Error) -> JournalError {
    JournalError::Unavailable(format!("encoding an event: {error}"))
}

pub struct Writer {
    pub shared: Arc<Shared>,
    pub queue: Receiver<Job>,
    /// Asks for a step of room; full while one is being made.
    pub ahead: SyncSender<Arc<ActiveSegment>>,
    pub checkpoints: SyncSender<()>,
    /// Says that a segment was closed; full while an earlier one waits to be noticed.
    pub indexes: SyncSender<()>,
    pub disk: Arc<dyn Disk>,
    pub events: PathBuf,
    pub segment_bytes: u64,
    pub checkpoint_bytes: u64,
    pub active: Arc<ActiveSegment>,
    pub segment: Arc<Segment>,
    pub offset: u64,
    pub head: Head,
    pub since_checkpoint: u64,
    /// Room for the lines of a group, empty between groups.
    pub lines: Vec<u8>,
    /// What the last group needed: so much room must be found before writes are taken again.
    pub wanted: u64,
    #[cfg(test)]
    pub planted: Option<crate::journal::contract::Bug>,
}

/// However the thread ends, by a defect too, nobody is told that writes are taken.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.closed();
    }
}

/// What became of a group that was not acknowledged.
enum Failure {
    /// Nothing of it is in the log.
    NotWritten(String),
    /// It may or may not be there after a restart.
    Unknown(String),
}

struct Group {
    number: u64,
    lines: Vec<u8>,
    published: Vec<Published>,
    /// The same records for the index; offsets count from the group's first line.
    postings: Vec<Posting>,
    dones: Vec<(u64, Done)>,
    hash: blake3::Hash,
}

impl Group {
    /// Adds the lines of records that follow one another from `seq` on, with what has been made of them already.
    fn encode(&mut self, records: &[Record], fragments: Vec<Fragment>, seq: u64) -> Result<(), JournalError> {
        let mut fragments = fragments.into_iter();
        for (seq, record) in (seq..).zip(records) {
            let offset = self.lines.len() as u64;
            let (out, fragment) = (&mut self.lines, fragments.next());
            let encoded = line::push_record(out, self.number, seq, |out| match &fragment {
                None => line::encode_record(out, record),
                Some(fragment) => {
                    out.extend_from_slice(&fragment.text);
                    Ok(())
                }
            });
            encoded.map_err(not_encoded)?;
            let keys = fragment.map_or_else(|| keys_of(record), |fragment| fragment.keys);
            self.postings.push(Posting::of(seq, &record.event, offset, keys));
        }
        Ok(())
    }
}

impl Writer {
    pub fn run(mut self) {
        let _ended = Ended(self.shared.clone());
        while let Some(job) = self.next_job() {
            match job {
                Job::Append(first) => {
                    let (queued, last) = self.collect(first);
                    self.commit(queued);
                    if let Some(job) = last {
                        return self.end(job);
                    }
                }
                job => return self.end(job),
            }
        }
    }

    /// Waits for work; while the log has no room, looks for some in between.
    fn next_job(&mut self) -> Option<Job> {
        loop {
            if !self.shared.is_full() {
                return self.queue.recv().ok();
            }
            match self.queue.recv_timeout(RETRY_ROOM) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = self.ready_for(self.wanted);
                }
            }
        }
    }

    /// Takes what else is queued, up to a job that ends the log.
    fn collect(&mut self, first: Queued) -> (Vec<Queued>, Option<Job>) {
        let mut bytes = first.size();
        let mut queued = vec![first];
        let mut yields = 0;
        loop {
            let before = queued.len();
            while bytes < MAX_GROUP_BYTES {
                match self.queue.try_recv() {
                    Ok(Job::Append(next)) => {
                        bytes += next.size();
                        queued.push(next);
                    }
                    Ok(last) => return (queued, Some(last)),
                    Err(_) => break,
                }
            }
            if queued.len() == before || yields == MAX_YIELDS {
                return (queued, None);
            }
            std::thread::yield_now();
            yields += 1;
        }
    }

    fn commit(&mut self, queued: Vec<Queued>) {
        if let Some(reason) = self.shared.poisoned() {
            for queued in queued {
                let _ = queued.done.send(Err(JournalError::Unavailable(reason.clone())));
            }
            return;
        }
        let group = self.assemble(queued);
        if group.published.is_empty() {
            // Who appends nothing waits for what is before it, and that is on stable storage by now.
            self.keep(group.lines);
            return acknowledge(group.dones);
        }
        #[cfg(test)]
        let Some(group) = self.act_on_planted_bug(group) else {
            return;
        };
        match self.write(&group.lines) {
            Ok(start) => {
                self.publish(&group, start);
                self.keep(group.lines);
                acknowledge(group.dones);
            }
            Err(failure) => self.fail(group, failure),
        }
    }

    /// Keeps the memory of a group's lines for the next, which else would grow into its own piece by piece.
    fn keep(&mut self, mut lines: Vec<u8>) {
        if lines.capacity() <= 2 * MAX_GROUP_BYTES {
            lines.clear();
            self.lines = lines;
        }
    }

    /// Gives records their places, refusing what was decided on a state that is no more.
    fn assemble(&mut self, queued: Vec<Queued>) -> Group {
        let mut admission = Admission::new(&self.shared.tables);
        let records = queued.iter().map(|queued| queued.append.records.len()).sum();
        let mut group = Group {
            number: self.head.group + 1,
            lines: std::mem::take(&mut self.lines),
            published: Vec::with_capacity(records),
            postings: Vec::with_capacity(records),
            dones: Vec::with_capacity(queued.len()),
            hash: self.head.hash,
        };
        for Queued {
            append,
            fragments,
            done,
        } in queued
        {
            let first_seq = self.head.seq + group.published.len() as u64 + 1;
            let (lines, postings) = (group.lines.len(), group.postings.len());
            let encoded = group.encode(&append.records, fragments, first_seq);
            let admitted = encoded.and_then(|()| match admission.admit(&append) {
                true => Ok(()),
                false => Err(JournalError::Conflict),
            });
            if let Err(error) = admitted {
                group.lines.truncate(lines);
                group.postings.truncate(postings);
                self.shared
                    .meter
                    .conflicts
                    .add((error == JournalError::Conflict).into());
                let _ = done.send(Err(error));
                continue;
            }
            group.dones.push((first_seq, done));
            let published = (first_seq..).zip(append.records).map(|(seq, record)| Published {
                seq,
                event: record.event,
                receipt: record.receipt,
            });
            group.published.extend(published);
        }
        group.hash = self.head.chain(&group.lines);
        line::push_seal(&mut group.lines, group.number, group.hash);
        group
    }

    /// Puts a group on stable storage; returns where it begins.
    fn write(&mut self, lines: &[u8]) -> Result<u64, Failure> {
        let length = lines.len() as u64;
        self.wanted = length;
        self.ready_for(length)?;
        let start = self.offset;
        if let Err(error) = self.disk.write_at(&self.active.file, lines, start) {
            return Err(self.take_back(start, error));
        }
        let began = Instant::now();
        self.disk
            .sync(&self.active.file)
            .map_err(|error| Failure::Unknown(format!("syncing the log failed: {error}")))?;
        self.shared.meter.note_sync(began.elapsed());
        self.offset += length;
        self.since_checkpoint += length;
        self.grow_ahead();
        Ok(start)
    }

    /// Sees to a segment with synced room for so many bytes.
    fn ready_for(&mut self, length: u64) -> Result<(), Failure> {
        if self.offset > 0 && self.offset + length > self.segment_bytes {
            self.rotate()?;
        }
        self.make_room(length + CLOSING_ROOM)
    }

    fn make_room(&mut self, length: u64) -> Result<(), Failure> {
        match self.active.make_room(self.offset + length) {
            Ok(()) => {
                self.shared.set_full(None);
                Ok(())
            }
            Err(error) => Err(self.no_room(&error)),
        }
    }

    fn no_room(&self, error: &io::Error) -> Failure {
        let reason = format!("the log in {} cannot grow: {error}", self.events.display());
        if is_full(error) {
            self.shared.set_full(Some(reason.clone()));
        } else {
            self.shared.poison(reason.clone());
        }
        Failure::NotWritten(reason)
    }

    /// A file system that copies on write may find the disk full even where room was made: what was
    /// written is cut off, and when that is on stable storage the group is certainly not there.
    fn take_back(&self, start: u64, error: io::Error) -> Failure {
        if is_full(&error) && self.active.cut(start).is_ok() {
            return self.no_room(&error);
        }
        Failure::Unknown(format!("writing the log failed: {error}"))
    }

    fn grow_ahead(&self) {
        let near = self.active.room_until() < self.offset + ROOM_STEP / 2;
        if near
            && self.offset + ROOM_STEP / 2 < self.segment_bytes
            && !self.active.growing_ahead.swap(true, Ordering::AcqRel)
        {
            let asked = self.ahead.try_send(self.active.clone());
            if asked.is_err() {
                self.active.growing_ahead.store(false, Ordering::Release);
            }
        }
    }

    /// Goes on in a new segment. It is there and durable before the old one says that it is closed.
    fn rotate(&mut self) -> Result<(), Failure> {
        let first_seq = self.head.seq + 1;
        let path = self.events.join(segment::file_name(first_seq));
        let opened = ActiveSegment::open(&path, self.disk.clone()).and_then(|active| {
            active.make_room(CLOSING_ROOM)?;
            sync_folder(&self.events)?;
            Ok(active)
        });
        let active = opened.map_err(|error| {
            let _ = std::fs::remove_file(&path);
            self.no_room(&error)
        })?;
        let mut closing = Vec::new();
        line::push_next(&mut closing, self.head.group, first_seq);
        let closed = self.disk.write_at(&self.active.file, &closing, self.offset);
        closed
            .and_then(|()| self.active.close(self.offset + closing.len() as u64))
            .map_err(|error| {
                // The group itself is not in the log, whatever became of the closing line.
                let reason = format!("closing a segment of the log failed: {error}");
                self.shared.poison(reason.clone());
                Failure::NotWritten(reason)
            })?;
        self.active = Arc::new(active);
        self.segment = self.shared.segments.add_active(first_seq, path);
        self.offset = 0;
        // Where one waits already, it stands for this one too.
        let _ = self.indexes.try_send(());
        Ok(())
    }

    fn publish(&mut self, group: &Group, start: u64) {
        let Some(last) = group.published.last() else { return };
        self.segment.add(&group.postings, start);
        self.shared.tail.add(&group.published, group.lines.len());
        self.shared.tables.publish(&group.published);
        self.count(group);
        self.head = Head {
            seq: last.seq,
            group: self.head.group + 1,
            hash: group.hash,
        };
        *self.shared.position.lock().unwrap_or_else(PoisonError::into_inner) = Position {
            segment: self.segment.first_seq,
            head: self.head.clone(),
        };
        // A large state is not written again for a little log. A start reads as much more.
        let last = self.shared.checkpoint_bytes.load(Ordering::Relaxed);
        if self.since_checkpoint >= self.checkpoint_bytes.max(2 * last) && self.checkpoints.try_send(()).is_ok() {
            self.since_checkpoint = 0;
        }
    }

    fn count(&self, group: &Group) {
        let meter = &self.shared.meter;
        meter.appends.add(group.dones.len() as u64);
        meter.bytes.add(group.lines.len() as u64);
        meter.records_per_group.record(group.published.len() as u64);
    }

    fn fail(&self, group: Group, failure: Failure) {
        let error = match failure {
            Failure::NotWritten(reason) => JournalError::Unavailable(reason),
            Failure::Unknown(reason) => {
                tracing::error!(
                    reason,
                    "writes are refused until a restart has read what is really on disk"
                );
                self.shared.poison(reason.clone());
                JournalError::Unknown(reason)
            }
        };
        for (_, done) in group.dones {
            let _ = done.send(Err(error.clone()));
        }
    }

    fn end(self, job: Job) {
        let Job::Close(done) = job else { return };
        let closed = match self.shared.poisoned() {
            Some(reason) => Err(JournalError::Unavailable(reason)),
            None => self.active.close(self.offset).map_err(|error| {
                JournalError::Unavailable(format!("cutting the room off {}: {error}", self.segment.path.display()))
            }),
        };
        let _ = done.send(closed);
    }

    /// Does what a wrong order of steps would do, so that the contract suite can be seen to notice.
    #[cfg(test)]
    fn act_on_planted_bug(&mut self, mut group: Group) -> Option<Group> {
        use crate::journal::contract::Bug;
        match self.planted {
            Some(Bug::AcknowledgeBeforeSync) => {
                acknowledge(std::mem::take(&mut group.dones));
                let start = self.offset;
                if self.write(&group.lines).is_ok() {
                    self.publish(&group, start);
                }
                None
            }
            Some(Bug::PublishBeforeDurable) => {
                self.shared.tables.publish(&group.published);
                Some(group)
            }
            Some(Bug::SkipReceipt) => {
                let records = group.published.iter_mut().map(|published| {
                    published.receipt = None;
                    Record {
                        event: published.event.clone(),
                        receipt: None,
                    }
                });
                let records: Vec<Record> = records.collect();
                group.lines.clear();
                group.postings.clear();
                group
                    .encode(&records, Vec::new(), self.head.seq + 1)
                    .expect("an event can be encoded");
                group.hash = self.head.chain(&group.lines);
                line::push_seal(&mut group.lines, group.number, group.hash);
                Some(group)
            }
            None => Some(group),
        }
    }
}

fn acknowledge(dones: Vec<(u64, Done)>) {
    for (first_seq, done) in dones {
        // The one who asked may be gone; what it asked for is done all the same.
        let _ = done.send(Ok(Appended { first_seq }));
    }
}
