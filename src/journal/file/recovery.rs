//! What is on disk, made into state again: the newest checkpoint, then the log behind it.
//!
//! A torn tail, the group that was being written when the power went, is cut off and reported: it was
//! never answered. Anything else that is not as it was written is damage: named, and not served.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use super::active::ActiveSegment;
use super::disk::{Disk, TEMPORARY, private_folder, sync_folder};
use super::meter::Meter;
use super::segment::{self, Chain, End, Group, Head, Segment, SegmentMap};
use super::{Health, OpenError, Options, Position, Shared, backup, checkpoint, describe, line};
use crate::journal::tables::Tables;
use crate::journal::tail::Tail;

/// What startup found, for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The last event.
    pub seq: u64,
    /// Events that were read from the log.
    pub replayed: u64,
    pub replayed_bytes: u64,
    /// Bytes of a write that was under way at a crash and never answered.
    pub torn_bytes: u64,
    /// Why the checkpoint was not used, where there was one.
    pub checkpoint_fault: Option<String>,
}

pub struct Opened {
    pub(super) shared: Shared,
    pub active: ActiveSegment,
    pub segment: Arc<Segment>,
    pub offset: u64,
    pub recovered: Recovered,
}

pub fn open(options: &Options, disk: Arc<dyn Disk>) -> Result<Opened, OpenError> {
    let events = options.folder.join("events");
    let skus = options.folder.join("skus");
    if let Some(fault) = backup::unfinished(&options.folder) {
        return Err(fault);
    }
    for folder in [&events, &skus] {
        private_folder(folder).map_err(|error| describe(folder, "make the folder", &error))?;
    }
    sync_folder(&options.folder).map_err(|error| describe(&options.folder, "sync", &error))?;
    for folder in [&options.folder, &events] {
        remove_leftovers(folder).map_err(|error| describe(folder, "clear away leftovers in", &error))?;
    }
    let mut recovery = Recovery::new(options);
    recovery.load_checkpoint();
    let segments = recovery.find_segments(&events, &skus)?;
    let last = recovery.replay(segments)?;
    recovery.open_active(&events, last, disk)
}

struct Recovery<'a> {
    options: &'a Options,
    tables: Tables,
    map: SegmentMap,
    checkpoint: Option<Position>,
    /// The furthest sequence that the checkpoint has of any SKU: it is copied while the log goes on.
    furthest: u64,
    recovered: Recovered,
}

/// The segment to go on with, and what is in it.
struct Last {
    segment: Arc<Segment>,
    head: Head,
    bytes: Vec<u8>,
    /// The last whole group.
    group: std::ops::Range<usize>,
}

impl<'a> Recovery<'a> {
    fn new(options: &'a Options) -> Self {
        Self {
            options,
            tables: Tables::new(options.retention_ms),
            map: SegmentMap::default(),
            checkpoint: None,
            furthest: 0,
            recovered: Recovered::default(),
        }
    }

    fn load_checkpoint(&mut self) {
        match checkpoint::read(&self.options.folder) {
            Ok(None) => {}
            Ok(Some(checkpoint)) if !checkpoint.tells_of_stores() => {
                let fault = "it does not tell of every store, as it was written before they were kept";
                self.recovered.checkpoint_fault = Some(fault.to_owned());
            }
            Ok(Some(checkpoint)) => {
                for (sku, stock, seq) in checkpoint.stocks {
                    self.furthest = self.furthest.max(seq);
                    self.tables.restore(sku, stock, seq);
                }
                for line in checkpoint.reservations {
                    self.furthest = self.furthest.max(line.seq);
                    self.tables
                        .restore_reservation(line.reservation, line.created, line.seq);
                }
                for line in checkpoint.entries {
                    self.furthest = self.furthest.max(line.seq);
                    self.tables.entries().restore(line);
                }
                self.checkpoint = Some(checkpoint.position);
            }
            Err(fault) => self.recovered.checkpoint_fault = Some(fault),
        }
    }

    fn find_segments(&self, events: &Path, skus: &Path) -> Result<Vec<(u64, PathBuf)>, OpenError> {
        let found = segment::list(events).map_err(|error| describe(events, "list", &error))?;
        match found.first() {
            None if self.checkpoint.is_some() || self.recovered.checkpoint_fault.is_some() || has_snapshots(skus) => {
                Err(damaged(
                    events,
                    "it holds no segments of the log, though there is state made from them",
                ))
            }
            Some((first_seq, path)) if *first_seq != 1 => Err(damaged(path, "the segments before it are missing")),
            _ => Ok(found),
        }
    }

    /// Reads the segments that are needed, in order; `None` where there are none yet.
    fn replay(&mut self, mut segments: Vec<(u64, PathBuf)>) -> Result<Option<Last>, OpenError> {
        self.drop_unused_last(&mut segments)?;
        let start = self.first_needed(&segments)?;
        for (first_seq, path) in &segments[..start] {
            self.map.add_closed(*first_seq, path.clone());
        }
        let Some((first_seq, _)) = segments.get(start) else {
            return Ok(None);
        };
        let mut chain = self.chain_at(*first_seq);
        let mut last = None;
        for (i, (first_seq, path)) in segments.iter().enumerate().skip(start) {
            if *first_seq != chain.head.seq + 1 {
                return Err(damaged(
                    path,
                    &format!("the log before it ends at {}: a segment is missing", chain.head.seq),
                ));
            }
            let next = segments.get(i + 1).map(|(first_seq, _)| *first_seq);
            let segment = match next {
                Some(_) => self.map.add_closed(*first_seq, path.clone()),
                None => self.map.add_active(*first_seq, path.clone()),
            };
            let (found, end) = self.read_segment(segment, next.is_none(), &mut chain)?;
            self.check_end(path, end, next, &found)?;
            last = Some(found);
        }
        self.check_state_reached(&chain.head)?;
        self.recovered.seq = chain.head.seq;
        Ok(last)
    }

    /// A crash may leave a segment that was made but not yet gone over to: its predecessor is not
    /// closed, or not wholly, and there is nothing in it.
    fn drop_unused_last(&self, segments: &mut Vec<(u64, PathBuf)>) -> Result<(), OpenError> {
        let [.., (_, before), (_, last)] = segments.as_slice() else {
            return Ok(());
        };
        let bytes = read_file(last)?;
        let is_empty = line::lines(&bytes, 0).next().is_none();
        if is_empty && closing(before)?.is_none() {
            std::fs::remove_file(last).map_err(|error| describe(last, "remove the unused", &error))?;
            segments.pop();
        }
        Ok(())
    }

    /// The checkpoint's segment, or an earlier one that still has receipts to be known.
    fn first_needed(&self, segments: &[(u64, PathBuf)]) -> Result<usize, OpenError> {
        let Some(position) = &self.checkpoint else { return Ok(0) };
        let mut start = segments
            .partition_point(|(first_seq, _)| *first_seq <= position.segment)
            .saturating_sub(1);
        let horizon = chrono::Utc::now().timestamp_millis() - self.options.retention_ms;
        while start > 0 && first_time(&segments[start].1)?.is_none_or(|at| at > horizon) {
            start -= 1;
        }
        for pair in segments[..=start.min(segments.len().saturating_sub(1))].windows(2) {
            if closing(&pair[0].1)? != Some(pair[1].0) {
                return Err(damaged(&pair[0].1, "its end is missing, or the segment behind it"));
            }
        }
        Ok(start)
    }

    fn chain_at(&self, first_seq: u64) -> Chain {
        match &self.checkpoint {
            Some(position) if position.head.seq + 1 == first_seq => Chain::from_head(position.head.clone()),
            _ => Chain::from_segment(first_seq),
        }
    }

    fn read_segment(
        &mut self,
        segment: Arc<Segment>,
        is_active: bool,
        chain: &mut Chain,
    ) -> Result<(Last, End), OpenError> {
        let bytes = read_file(&segment.path)?;
        let mut group = 0..0;
        let read = segment::read_groups(&bytes, chain, |found, head| {
            group = found.start..found.end;
            if is_active {
                segment.add(&found.postings().collect::<Vec<_>>(), 0);
            } else {
                let offsets = found.offsets.iter().map(|offset| *offset as u64);
                segment.mark(found.records.iter().map(|published| published.seq).zip(offsets));
            }
            self.take_in(&found, head)
        });
        let (whole, end) = read.map_err(|damage| damaged(&segment.path, &damage.to_string()))?;
        group.end = group.end.min(whole);
        Ok((
            Last {
                segment,
                head: chain.head.clone(),
                bytes,
                group,
            },
            end,
        ))
    }

    fn take_in(&mut self, group: &Group, head: &Head) -> Result<(), String> {
        self.recovered.replayed_bytes += (group.end - group.start) as u64;
        self.recovered.replayed += group.records.len() as u64;
        for published in &group.records {
            self.tables.replay(published)?;
        }
        match &self.checkpoint {
            Some(position) if position.head.seq == head.seq && position.head != *head => {
                Err("the checkpoint was made from another log".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_end(&mut self, path: &Path, end: End, next: Option<u64>, last: &Last) -> Result<(), OpenError> {
        match (end, next) {
            (End::Closed { next: stated }, Some(next)) if stated == next => Ok(()),
            (End::Closed { next }, _) => Err(damaged(
                path,
                &format!("the segment behind it, {}, is missing", segment::file_name(next)),
            )),
            (End::Open, None) => Ok(()),
            (End::Torn { .. }, None) => {
                let tail = &last.bytes[last.group.end..];
                self.recovered.torn_bytes = tail.iter().filter(|b| !matches!(b, b'\n' | 0)).count() as u64;
                Ok(())
            }
            (End::Torn { offset, fault }, Some(_)) => Err(damaged(path, &format!("at byte {offset}: {fault}"))),
            (End::Open, Some(_)) => Err(damaged(path, "its end is missing")),
        }
    }

    /// A log that ends before what was made from it has lost its end.
    fn check_state_reached(&self, head: &Head) -> Result<(), OpenError> {
        let folder = &self.options.folder;
        match &self.checkpoint {
            None if head.seq == 0 && has_snapshots(&folder.join("skus")) => Err(damaged(
                &folder.join("events"),
                "the log is empty, though there are snapshots made from it",
            )),
            Some(position) if position.head.seq.max(self.furthest) > head.seq => Err(damaged(
                &folder.join("events"),
                &format!("the log ends at {}, but the checkpoint has more", head.seq),
            )),
            _ => Ok(()),
        }
    }

    /// While the last segment holds nothing, the end of the one before it is what may not be on the disk.
    fn rewrite_last_closed(&self, disk: &dyn Disk) -> Result<(), OpenError> {
        let Some(segment) = before_last(&self.map) else {
            return Ok(());
        };
        let context = |error: std::io::Error| describe(&segment.path, "write to", &error);
        let bytes = read_file(&segment.path)?;
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&segment.path)
            .map_err(context)?;
        disk.write_at(&file, &bytes, 0)
            .and_then(|()| disk.sync(&file))
            .map_err(context)
    }

    fn open_active(self, events: &Path, last: Option<Last>, disk: Arc<dyn Disk>) -> Result<Opened, OpenError> {
        let (segment, head, offset, rewrite) = match last {
            Some(Last {
                segment,
                head,
                bytes,
                group,
            }) => (
                segment,
                head,
                group.end,
                Some((
                    group.start,
                    whole_lines(&bytes[group.start..group.end.min(bytes.len())]),
                )),
            ),
            None => (
                self.map.add_active(1, events.join(segment::file_name(1))),
                Head::genesis(),
                0,
                None,
            ),
        };
        let context = |error: std::io::Error| describe(&segment.path, "write to", &error);
        let active = ActiveSegment::open(&segment.path, disk.clone()).map_err(context)?;
        // The page cache may show what a failed sync never brought to the disk: the last group, the only
        // one that can be so, is written again and synced before anything is answered from it.
        if offset == 0 {
            self.rewrite_last_closed(disk.as_ref())?;
        }
        if let Some((start, bytes)) = rewrite {
            disk.write_at(&active.file, &bytes, start as u64).map_err(context)?;
        }
        active.cut(offset as u64).map_err(context)?;
        sync_folder(events).map_err(|error| describe(events, "sync", &error))?;
        let position = Position {
            segment: segment.first_seq,
            head,
        };
        let shared = Shared {
            tables: self.tables,
            segments: self.map,
            tail: Tail::default(),
            position: Mutex::new(position),
            checkpoint_bytes: AtomicU64::new(checkpoint::size(&self.options.folder)),
            health: Mutex::new(Health::default()),
            meter: Meter::default(),
        };
        if let Some(checkpoint) = &self.checkpoint {
            shared.meter.find_checkpoint(&self.options.folder, checkpoint.head.seq);
        }
        Ok(Opened {
            shared,
            active,
            segment,
            offset: offset as u64,
            recovered: self.recovered,
        })
    }
}

/// A file that was edited or copied may lack its last newline.
fn whole_lines(group: &[u8]) -> Vec<u8> {
    let mut lines = group.to_vec();
    if lines.last().is_some_and(|last| *last != b'\n') {
        lines.push(b'\n');
    }
    lines
}

/// What a crash left of files that were being written.
fn remove_leftovers(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

pub fn has_snapshots(skus: &Path) -> bool {
    std::fs::read_dir(skus).is_ok_and(|mut entries| entries.next().is_some())
}

fn before_last(map: &SegmentMap) -> Option<Arc<Segment>> {
    map.all().into_iter().rev().nth(1)
}

/// See [`segment::closing`].
fn closing(path: &Path) -> Result<Option<u64>, OpenError> {
    segment::closing(path).map_err(|error| describe(path, "read", &error))
}

pub fn read_file(path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|error| describe(path, "read", &error))
}

/// When the first record of a segment was written, in milliseconds.
fn first_time(path: &Path) -> Result<Option<i64>, OpenError> {
    use std::io::BufRead;
    let context = |error| describe(path, "read", &error);
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(context)?;
    std::io::BufReader::new(file)
        .read_until(b'\n', &mut text)
        .map_err(context)?;
    let line = line::read::<line::LogLine>(text.trim_ascii_end()).ok();
    Ok(line.and_then(|line| line.event).map(|event| event.at.as_millis()))
}

fn damaged(path: &Path, fault: &str) -> OpenError {
    OpenError(format!(
        "{} is damaged: {fault}; nothing is served from it: run `holdfast verify` for all that is wrong, and restore a backup",
        path.display()
    ))
}
