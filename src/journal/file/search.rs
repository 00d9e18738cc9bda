//! Searches in the log, newest first: by the index of each segment where the filter names what is
//! indexed, and else through its records.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::index::{self, IndexFault, Newest, Sorted, View};
use super::line::{self, LogLine};
use super::segment::{Page, Segment, SegmentMap};
use crate::domain::Event;
use crate::journal::{HistoryFilter, Logged};

/// So many records are read at a time where there is nothing to go by.
const WINDOW: u64 = 256;
/// What is read of a record at first: most are shorter.
const FIRST_READ: usize = 1024;

type Found = Vec<Logged>;

struct Query<'a> {
    filter: &'a HistoryFilter,
    keys: Vec<u64>,
    limit: usize,
    /// It ends with an event of which this is true.
    is_last: &'a dyn Fn(&Event) -> bool,
}

impl Query<'_> {
    /// Enough is found: so much in the segments before, so much in this one.
    fn is_done(&self, before: usize, found: &Found) -> bool {
        before + found.len() >= self.limit || found.last().is_some_and(|(_, event)| (self.is_last)(event))
    }
}

impl SegmentMap {
    /// Events that fit, newest first, from below `before`, up to the first that is to be the last.
    pub fn search(
        &self,
        filter: &HistoryFilter,
        before: u64,
        limit: usize,
        is_last: impl Fn(&Event) -> bool,
    ) -> Result<Found, String> {
        let query = Query {
            filter,
            keys: index::keys_of(filter),
            limit,
            is_last: &is_last,
        };
        let (mut end, mut found) = (before, Found::new());
        for segment in self.all().iter().rev() {
            // What this segment may hold lies below the one behind it.
            if segment.first_seq < end {
                segment.search(&query, end, &mut found)?;
                end = segment.first_seq;
            }
            if query.is_done(0, &found) || end <= filter.after.saturating_add(1) {
                break;
            }
        }
        Ok(found)
    }
}

impl Segment {
    fn search(&self, query: &Query, end: u64, found: &mut Found) -> Result<(), String> {
        let asks_time = query.filter.from.is_some() || query.filter.to.is_some();
        if asks_time && !self.index.with(|view| Ok(view.span().meets(query.filter)))? {
            return Ok(());
        }
        if query.keys.is_empty() {
            return self.walk(query, end, found);
        }
        let before = found.len();
        found.extend(self.index.with(|view| self.look_up(view, query, end, before))?);
        Ok(())
    }

    /// Reads all records, from the newest back.
    fn walk(&self, query: &Query, mut end: u64, found: &mut Found) -> Result<(), String> {
        let first = self.first_seq.max(query.filter.after.saturating_add(1));
        while first < end && found.len() < query.limit {
            let start = end.saturating_sub(WINDOW).max(first);
            let mut page = Page::of(WINDOW as usize, usize::MAX);
            self.read(start - 1, end - 1, &mut page)?;
            let window = page.found;
            if !window.iter().map(|(seq, _)| *seq).eq(start..end) {
                return Err(format!("{}: records from {start} on are missing", self.path.display()));
            }
            let fitting = window
                .into_iter()
                .rev()
                .filter(|(_, record)| query.filter.takes(&record.event));
            let room = query.limit - found.len();
            found.extend(fitting.take(room).map(|(seq, record)| (seq, record.event)));
            end = start;
        }
        Ok(())
    }

    fn look_up(&self, view: View, query: &Query, end: u64, before: usize) -> Result<Found, IndexFault> {
        let file = File::open(&self.path)?;
        let mut found = Found::new();
        match view {
            View::Memory(gathered) => {
                for mut piece in gathered.newest_first(&query.keys) {
                    self.take(&mut piece, &file, query, end, before, &mut found)?;
                    if query.is_done(before, &found) {
                        break;
                    }
                }
            }
            View::File(mut entries) => self.take(&mut entries, &file, query, end, before, &mut found)?,
        }
        Ok(found)
    }

    /// Reads the records that the entries point to, and takes those that the filter takes.
    fn take(
        &self,
        entries: &mut dyn Sorted,
        file: &File,
        query: &Query,
        end: u64,
        before: usize,
        found: &mut Found,
    ) -> Result<(), IndexFault> {
        let mut newest = Newest::new(entries, &query.keys, end - self.first_seq);
        while !query.is_done(before, found)
            && let Some(entry) = newest.next()?
        {
            let seq = self.first_seq + u64::from(entry.nth);
            if seq <= query.filter.after {
                break;
            }
            let event = read_event(file, entry.offset.into(), seq)
                .map_err(|fault| IndexFault::Unusable(format!("{}, record {seq}: {fault}", self.path.display())))?;
            // A SKU has one actor and one clock: what is further back of it is older still.
            let is_too_old = query.filter.from.is_some_and(|from| event.at < from);
            if is_too_old && query.filter.sku.is_some() {
                break;
            }
            if query.filter.takes(&event) {
                found.push((seq, Arc::new(event)));
            }
        }
        Ok(())
    }
}

/// The event of a record whose line begins here.
fn read_event(file: &File, offset: u64, seq: u64) -> Result<Event, String> {
    let text = read_line(file, offset).map_err(|error| error.to_string())?;
    let line: LogLine = line::read(&text).map_err(|fault| fault.to_string())?;
    let is_asked = line.seq == Some(seq);
    line.event
        .filter(|_| is_asked)
        .ok_or_else(|| "another line stands in its place".to_owned())
}

/// A line without its newline, which the last line of a file may lack.
fn read_line(file: &File, offset: u64) -> std::io::Result<Vec<u8>> {
    let (mut text, mut step) = (Vec::new(), FIRST_READ);
    loop {
        let start = text.len();
        text.resize(start + step, 0);
        let read = file.read_at(&mut text[start..], offset + start as u64)?;
        text.truncate(start + read);
        let newline = memchr::memchr(b'\n', &text[start..]);
        if let Some(length) = newline {
            text.truncate(start + length);
        }
        if newline.is_some() || read == 0 {
            return Ok(text);
        }
        step = text.len();
    }
}
