//! The segments of the log: their names, how a chain of groups is read out of them, and how a record
//! is found again by its sequence.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::index::{self, Index, Posting};
use super::line::{self, LineFault, LogLine};
use crate::journal::Record;
use crate::journal::tables::Published;

/// A mark is kept for about every so many records: what is read at most to find one.
const MARK_EVERY: u64 = 64;

pub fn file_name(first_seq: u64) -> String {
    format!("{first_seq:016}.jsonl")
}

/// The segments in `folder`, in order: first sequence and path.
pub fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let stem = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".jsonl"));
        if let Some(first_seq) = stem.and_then(|stem| stem.parse().ok()) {
            found.push((first_seq, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Where the log stands: the end of its last whole group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    pub group: u64,
    pub hash: blake3::Hash,
}

impl Head {
    pub fn genesis() -> Self {
        Self {
            seq: 0,
            group: 0,
            hash: blake3::Hash::from_bytes([0; 32]),
        }
    }

    /// The hash of the next group, from its record lines.
    pub fn chain(&self, record_lines: &[u8]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.hash.as_bytes());
        hasher.update(record_lines);
        hasher.finalize()
    }
}

/// How much of a segment's end is looked at: more than the seal of its last group and the line that closes it.
const ENDING: u64 = 256;
/// Room behind the end is passed over in steps of so many bytes.
const LOOK_BACK: u64 = 1 << 16;

/// The first sequence of the next segment, as the last line of a closed one states it.
pub fn closing(path: &Path) -> io::Result<Option<u64>> {
    let (_, bytes) = read_end(path)?;
    let last = bytes
        .trim_ascii_end()
        .rsplit(|b| *b == b'\n')
        .next()
        .unwrap_or_default();
    Ok(line::read::<LogLine>(last).ok().and_then(|line| line.next))
}

/// How much is written in a segment, in bytes: without the room behind it, and without its last newline.
pub fn written(path: &Path) -> io::Result<u64> {
    Ok(read_end(path)?.0)
}

/// The hash of a closed segment's last group, which stands for all before it.
pub fn last_seal(path: &Path) -> io::Result<blake3::Hash> {
    let head = closed_head(path)?.map(|head| head.hash);
    head.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its end is missing"))
}

/// The end of a closed segment, as its last two lines state it.
pub fn closed_head(path: &Path) -> io::Result<Option<Head>> {
    let (_, bytes) = read_end(path)?;
    let mut lines = bytes.trim_ascii_end().rsplit(|b| *b == b'\n');
    let mut line = || line::read::<LogLine>(lines.next().unwrap_or_default()).ok();
    let closing = line().and_then(|line| Some((line.next?.checked_sub(1)?, line.group)));
    let hash = line().and_then(|line| blake3::Hash::from_hex(line.seal?).ok());
    let head = |((seq, group), hash)| Head { seq, group, hash };
    Ok(closing.zip(hash).map(head))
}

/// Where the room begins behind what is written in a file, and the end of that.
fn read_end(path: &Path) -> io::Result<(u64, Vec<u8>)> {
    let file = File::open(path)?;
    loop {
        match find_end(&file) {
            // A segment that another process closes just now loses its room.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            found => return found,
        }
    }
}

fn find_end(file: &File) -> io::Result<(u64, Vec<u8>)> {
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(LOOK_BACK);
        let mut bytes = vec![0; (end - start) as usize];
        file.read_exact_at(&mut bytes, start)?;
        if let Some(last) = bytes.iter().rposition(|b| !matches!(b, b'\n' | 0)) {
            let written = start + last as u64 + 1;
            let start = written.saturating_sub(ENDING);
            let mut bytes = vec![0; (written - start) as usize];
            file.read_exact_at(&mut bytes, start)?;
            return Ok((written, bytes));
        }
        end = start;
    }
    Ok((0, Vec::new()))
}

/// How a segment ended, as far as it could be read.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing but room behind the last whole group.
    Open,
    /// Closed; the next segment begins with this sequence.
    Closed { next: u64 },
    /// Behind the last whole group stands what is not a whole group, and nothing that was written later.
    Torn { offset: usize, fault: String },
}

#[derive(Debug, thiserror::Error)]
#[error("at byte {offset}: {fault}")]
pub struct Damage {
    pub offset: usize,
    pub fault: String,
}

/// A whole group, read back.
pub struct Group {
    pub records: Vec<Published>,
    /// Where each of them begins.
    pub offsets: Vec<usize>,
    /// Where the group begins and where the next one may.
    pub start: usize,
    pub end: usize,
}

impl Group {
    /// The records as an index takes them in.
    pub fn postings(&self) -> impl Iterator<Item = Posting> {
        self.records.iter().zip(&self.offsets).map(|(published, offset)| {
            let keys = index::keys(&published.event, published.receipt.as_deref());
            Posting::of(published.seq, &published.event, *offset as u64, keys)
        })
    }
}

/// Reads the groups of a segment that follow `head`, checks every one of them, and moves `head` along.
/// Returns where the last whole group ends, and how.
pub fn read_groups(
    bytes: &[u8],
    head: &mut Chain,
    mut on_group: impl FnMut(Group, &Head) -> Result<(), String>,
) -> Result<(usize, End), Damage> {
    let mut records: Vec<Published> = Vec::new();
    let mut offsets: Vec<usize> = Vec::new();
    let mut whole = 0;
    for (offset, text) in line::lines(bytes, 0) {
        let end = offset + text.len() + 1;
        match read_line(text, head, records.len() as u64) {
            Ok(Part::Record(published)) => {
                offsets.push(offset);
                records.push(published);
            }
            Ok(Part::Seal { group, hash }) => {
                let first = offsets.first().copied().unwrap_or(offset);
                let sealed = head.advance(&bytes[first..offset], group, hash, records.last().map(|p| p.seq));
                let sealed = match sealed {
                    Ok(sealed) => sealed,
                    Err(fault) => return torn(bytes, whole, first, head, fault),
                };
                let found = Group {
                    records: std::mem::take(&mut records),
                    offsets: std::mem::take(&mut offsets),
                    start: first,
                    end,
                };
                on_group(found, sealed).map_err(|fault| Damage { offset: first, fault })?;
                whole = end;
            }
            Ok(Part::Next(next)) if records.is_empty() => return Ok((end, End::Closed { next })),
            Ok(Part::Next(_)) => return torn(bytes, whole, offset, head, "the segment ends inside a group".into()),
            Err(Fault::Unreadable(fault)) => return Err(Damage { offset, fault }),
            Err(Fault::Bad(fault)) => return torn(bytes, whole, offset, head, fault),
        }
    }
    if records.is_empty() {
        return Ok((whole, End::Open));
    }
    torn(bytes, whole, whole, head, "the last group has no end".into())
}

/// A torn tail is nothing but the group that was being written: a group is begun only when the one
/// before it is on stable storage, so a later group proves that something was there and is damaged.
fn torn(bytes: &[u8], whole: usize, offset: usize, head: &Chain, fault: String) -> Result<(usize, End), Damage> {
    let torn_group = head.head.group + 1;
    let later = line::lines(bytes, offset)
        .filter_map(|(_, text)| line::read::<LogLine>(text).ok())
        .any(|line| line.group > torn_group || line.next.is_some());
    if later {
        Err(Damage { offset, fault })
    } else {
        Ok((whole, End::Torn { offset, fault }))
    }
}

/// The head of the log while it is read, which may begin at a place whose past is not read.
pub struct Chain {
    pub head: Head,
    /// False until the first group has been read of a log that was not read from its beginning.
    known: bool,
}

impl Chain {
    pub fn genesis() -> Self {
        Self {
            head: Head::genesis(),
            known: true,
        }
    }

    /// Begins at a segment whose predecessors are not read.
    pub fn from_segment(first_seq: u64) -> Self {
        Self {
            head: Head {
                seq: first_seq - 1,
                ..Head::genesis()
            },
            known: first_seq == 1,
        }
    }

    /// Begins right behind a head that is known.
    pub fn from_head(head: Head) -> Self {
        Self { head, known: true }
    }

    fn advance(&mut self, lines: &[u8], group: u64, hash: String, last: Option<u64>) -> Result<&Head, String> {
        let expected = self.head.chain(lines);
        let stated = blake3::Hash::from_hex(&hash).map_err(|error| format!("the seal of group {group}: {error}"))?;
        if self.known && expected != stated {
            return Err(format!(
                "group {group} is not the one that was written here: its hash does not match"
            ));
        }
        self.known = true;
        self.head = Head {
            seq: last.unwrap_or(self.head.seq),
            group,
            hash: stated,
        };
        Ok(&self.head)
    }
}

enum Part {
    Record(Published),
    Seal { group: u64, hash: String },
    Next(u64),
}

enum Fault {
    Unreadable(String),
    Bad(String),
}

fn read_line(text: &[u8], chain: &Chain, pending: u64) -> Result<Part, Fault> {
    let line: LogLine = line::read(text).map_err(|fault| match fault {
        LineFault::Checksum => Fault::Bad(fault.to_string()),
        // A right checksum proves that it was written so: not torn, but not for this version to read.
        LineFault::Newer(_) | LineFault::Form(_) => Fault::Unreadable(fault.to_string()),
    })?;
    let expected_group = chain.head.group + 1;
    if chain.known && line.next.is_none() && line.group != expected_group {
        return Err(Fault::Bad(format!(
            "group {} stands where group {expected_group} belongs",
            line.group
        )));
    }
    match line {
        LogLine {
            seq: Some(seq),
            event: Some(event),
            receipt,
            seal: None,
            next: None,
            ..
        } => {
            let expected = chain.head.seq + pending + 1;
            if seq != expected {
                return Err(Fault::Bad(format!(
                    "record {seq} stands where record {expected} belongs"
                )));
            }
            Ok(Part::Record(Published {
                seq,
                event: Arc::new(event),
                receipt,
            }))
        }
        LogLine {
            seal: Some(hash),
            group,
            seq: None,
            next: None,
            ..
        } => Ok(Part::Seal { group, hash }),
        LogLine {
            next: Some(next),
            seq: None,
            seal: None,
            ..
        } => Ok(Part::Next(next)),
        _ => Err(Fault::Bad("it is no form of line that Holdfast writes".into())),
    }
}

/// All segments, as readers of single records find their way in them.
#[derive(Default)]
pub struct SegmentMap {
    segments: RwLock<Vec<Arc<Segment>>>,
}

pub struct Segment {
    pub first_seq: u64,
    pub path: PathBuf,
    pub index: Index,
    /// Sequence and offset of some records; of a segment that was not read at startup, made on first use.
    marks: Mutex<Option<Vec<(u64, u64)>>>,
}

impl Segment {
    /// Takes in a group that is on stable storage, before it is shown; its offsets count from `start`.
    pub fn add(&self, group: &[Posting], start: u64) {
        self.mark(group.iter().map(|posting| (posting.seq, start + posting.offset)));
        self.index.add(group, start);
    }

    /// Keeps sequence and offset of those records that are far enough from the last one kept.
    pub fn mark(&self, records: impl Iterator<Item = (u64, u64)>) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let marks = marks.get_or_insert_default();
        for (seq, offset) in records {
            if marks.last().is_none_or(|(last, _)| seq >= last + MARK_EVERY) {
                marks.push((seq, offset));
            }
        }
    }

    /// The offset from which to look for `seq`.
    fn offset_of(&self, seq: u64) -> io::Result<u64> {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.is_none() {
            *marks = Some(self.make_marks()?);
        }
        let marks = marks.as_deref().unwrap_or_default();
        let next = marks.partition_point(|(marked, _)| *marked <= seq);
        Ok(next.checked_sub(1).map_or(0, |i| marks[i].1))
    }

    fn make_marks(&self) -> io::Result<Vec<(u64, u64)>> {
        let bytes = std::fs::read(&self.path)?;
        let mut marks: Vec<(u64, u64)> = Vec::new();
        for (offset, text) in line::lines(&bytes, 0) {
            let Some(seq) = line::peek_seq(text) else { continue };
            if marks.last().is_none_or(|(last, _)| seq >= last + MARK_EVERY) {
                marks.push((seq, offset as u64));
            }
        }
        Ok(marks)
    }

    /// Reads records behind `after` up to `visible` into `page`, as long as that has room.
    pub fn read(&self, after: u64, visible: u64, page: &mut Page) -> Result<(), String> {
        let context = |error: io::Error| format!("{}: {error}", self.path.display());
        let mut file = File::open(&self.path).map_err(context)?;
        file.seek(SeekFrom::Start(self.offset_of(after + 1).map_err(context)?))
            .map_err(context)?;
        let mut reader = BufReader::with_capacity(1 << 15, file);
        let mut text = Vec::new();
        while page.has_room() {
            text.clear();
            if reader.read_until(b'\n', &mut text).map_err(context)? == 0 {
                break;
            }
            let Some(seq) = line::peek_seq(&text) else { continue };
            if seq > visible {
                break;
            }
            if seq > after {
                let line: LogLine = line::read(text.trim_ascii_end())
                    .map_err(|fault| format!("{}, record {seq}: {fault}", self.path.display()))?;
                let receipt = line.receipt;
                let record = line.event.map(|event| Record {
                    event: Arc::new(event),
                    receipt,
                });
                page.bytes += text.len();
                page.found.extend(record.map(|record| (seq, record)));
            }
            if seq == visible {
                break;
            }
        }
        Ok(())
    }
}

/// What is read in one go: with records of ten thousand changes each, a number of them alone is no bound on memory.
pub struct Page {
    pub found: Vec<(u64, Record)>,
    limit: usize,
    bytes: usize,
    max_bytes: usize,
}

/// One record may pass it.
const MAX_PAGE_BYTES: usize = 4 << 20;

impl Page {
    pub fn of(limit: usize, max_bytes: usize) -> Self {
        Self {
            found: Vec::new(),
            limit,
            bytes: 0,
            max_bytes,
        }
    }

    fn has_room(&self) -> bool {
        self.found.len() < self.limit && self.bytes < self.max_bytes
    }
}

impl SegmentMap {
    /// Adds the segment that is written to from here on.
    pub fn add_active(&self, first_seq: u64, path: PathBuf) -> Arc<Segment> {
        self.add(Index::gathering(path.clone(), first_seq), first_seq, path)
    }

    pub fn add_closed(&self, first_seq: u64, path: PathBuf) -> Arc<Segment> {
        self.add(Index::in_file(path.clone(), first_seq), first_seq, path)
    }

    fn add(&self, index: Index, first_seq: u64, path: PathBuf) -> Arc<Segment> {
        let segment = Arc::new(Segment {
            first_seq,
            path,
            index,
            marks: Mutex::default(),
        });
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(segment.clone());
        segment
    }

    pub fn all(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All but the one that is written to.
    pub fn closed(&self) -> Vec<Arc<Segment>> {
        let mut segments = self.all();
        segments.pop();
        segments
    }

    /// Records behind `after` up to `visible`, in order: so many, or fewer where they are large, but one at least.
    pub fn read(&self, after: u64, visible: u64, limit: usize) -> Result<Vec<(u64, Record)>, String> {
        let segments = self.all();
        let first = segments
            .partition_point(|segment| segment.first_seq <= after + 1)
            .saturating_sub(1);
        let mut page = Page::of(limit, MAX_PAGE_BYTES);
        for segment in &segments[first.min(segments.len())..] {
            let last = page.found.last().map_or(after, |(seq, _)| *seq);
            if !page.has_room() || last >= visible {
                break;
            }
            segment.read(last, visible, &mut page)?;
        }
        let Page { found, .. } = page;
        match found
            .iter()
            .zip(after + 1..)
            .find(|((seq, _), expected)| seq != expected)
        {
            Some((_, missing)) => Err(format!("record {missing} is missing from the log")),
            None => Ok(found),
        }
    }
}
