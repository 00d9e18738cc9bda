//! A backup: the log up to a moment, what cannot be made from it again, and a list that says what that is.
//!
//! ```text
//! FOLDER/
//!   backup.json                     what is in it; written last, so that without it nothing is a backup
//!   events/0000000000000001.jsonl   the log; it ends with a whole group
//!   deliveries.json                 how far webhooks had come before the log was copied
//!   jobs/<id>/…                     the same of imports
//! ```
//!
//! It is taken from a folder that may be served and written to at the same time: without the folder's lock, and without
//! changing anything there. That is safe because nothing is ever taken out of the log but room, segments in which nothing was
//! written, and what a crash left of a group that nobody was answered for; what is whole stays as it is for good. A group
//! is begun only when the one before it is on stable storage, and a segment is written to only when the one before it is
//! closed. So the closed segments, and of the last one all groups that are whole when it is read, are the log as it
//! stood at a moment, and no earlier one than the beginning of the copying.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::disk::{TEMPORARY, private_folder, sync_folder, write_atomically};
use super::segment::{self, Chain, Head};
use super::verify::Report;
use super::{OpenError, document, line};
use crate::domain::Timestamp;
use crate::journal::{Document, Kept};

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contents {
    pub records: u64,
    /// The last one's sequence.
    pub seq: u64,
    pub segments: u64,
    pub bytes: u64,
    /// The hash of the log's last group: a log that was cut off at the end of an earlier one would prove whole.
    pub head: String,
    pub last_event_at: Option<Timestamp>,
    pub made_at: Timestamp,
    /// The version of Holdfast that made it.
    pub holdfast: String,
    /// The files beside the log: BLAKE3 of each.
    pub beside: BTreeMap<String, String>,
}

/// Where a restore gathers what it brings, within the data folder.
pub const RESTORING: &str = ".restoring";
const CONTENTS: &str = "backup.json";
/// The files of an import that count, in the order in which they are copied: it is over before what was sent goes, and a
/// state says no more of the list of errors than is there.
const JOB_FILES: [&str; 3] = ["input", "state.json", "errors.ndjson"];
const CHUNK: u64 = 1 << 20;

/// Copies what lies in `from` to the folder `to`, which is empty; tells of bytes that are on stable storage, and returns what
/// had to be left out.
pub fn copy(from: &Path, to: &Path, on_bytes: &mut dyn FnMut(u64)) -> Result<Vec<String>, OpenError> {
    // First, so that neither is ahead of the log that is copied.
    let deliveries = document::read(from, Document::Deliveries);
    copy_jobs(&from.join("jobs"), &to.join("jobs"), on_bytes)?;
    let events = to.join("events");
    make_folder(&events)?;
    let seq = copy_log(&from.join("events"), &events, on_bytes)?;
    let left_out = copy_deliveries(deliveries, to, seq, on_bytes)?;
    sync(&events)?;
    sync(to)?;
    Ok(left_out.into_iter().collect())
}

/// How much there is to copy, about.
pub fn size(folder: &Path) -> u64 {
    let segments = segment::list(&folder.join("events")).unwrap_or_default();
    let length = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    let beside = files_beside(folder).unwrap_or_default();
    let paths = segments.iter().map(|(_, path)| path).chain(beside.values());
    paths.map(|path| length(path)).sum()
}

/// Puts the list into a folder that was copied and proved whole: from here on it is a backup.
pub fn write_contents(folder: &Path, contents: &Contents) -> Result<(), OpenError> {
    let path = folder.join(CONTENTS);
    let mut bytes = Vec::new();
    let written = line::push_object(&mut bytes, contents).map_err(io::Error::other);
    written
        .and_then(|()| write_atomically(&path, |out| out.write_all(&bytes)))
        .map_err(|error| cannot("write", &path, &error))
}

/// What a backup says of itself; an error where it is none.
pub fn read_contents(folder: &Path) -> Result<Contents, OpenError> {
    let path = folder.join(CONTENTS);
    match fs::read(&path) {
        Ok(bytes) => line::read(bytes.trim_ascii_end())
            .map_err(|fault| OpenError(format!("the backup is damaged: {}: {fault}", path.display()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(OpenError(format!(
            "{} is not a whole backup: it has no {CONTENTS}, which `holdfast backup` writes last",
            folder.display()
        ))),
        Err(error) => Err(cannot("read", &path, &error)),
    }
}

impl Contents {
    /// Of a folder that was found to be so.
    pub fn of(folder: &Path, report: &Report, bytes: u64, made_at: Timestamp) -> Result<Self, OpenError> {
        Ok(Self {
            records: report.events,
            seq: report.events,
            segments: report.segments,
            bytes,
            head: report.head.clone(),
            last_event_at: report.last_event_at,
            made_at,
            holdfast: env!("CARGO_PKG_VERSION").to_owned(),
            beside: hashes_beside(folder)?,
        })
    }

    /// What a folder, which was found to be so, has otherwise than this says.
    pub fn fault_of(&self, folder: &Path, report: &Report) -> Result<Option<String>, OpenError> {
        if (report.events, &report.head) != (self.records, &self.head) {
            return Ok(Some(format!(
                "{}: the log ends at record {} with head {}, but was copied up to record {} with head {}",
                folder.join("events").display(),
                report.events,
                report.head,
                self.records,
                self.head
            )));
        }
        let found = hashes_beside(folder)?;
        let differs = |name: &&String| self.beside.get(*name) != found.get(*name);
        let name = self.beside.keys().chain(found.keys()).find(differs);
        Ok(name.map(|name| format!("{}: it is not what was copied", folder.join(name).display())))
    }
}

/// The first of what a data folder may hold that is there.
pub fn data_in(folder: &Path) -> Option<PathBuf> {
    let documents = Document::ALL.map(|document| document::path(folder, document));
    let names = ["events", "checkpoint.json", "skus", "jobs"].map(|name| folder.join(name));
    names.into_iter().chain(documents).find(|path| path.exists())
}

/// What a restore brings, in the order in which it comes into its place.
const RESTORED: [&str; 3] = ["jobs", "deliveries.json", "events"];

/// Takes away what a restore that was cut short has brought into its place: without the log it is nothing. Whoever calls
/// this holds the folder's lock.
pub fn take_back_unfinished(data: &Path) -> Result<(), OpenError> {
    if unfinished(data).is_none() {
        return Ok(());
    }
    for path in RESTORED.map(|name| data.join(name)) {
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(cannot("remove", &path, &error)),
            _ => {}
        }
    }
    sync(data)
}

/// Brings what was gathered in a data folder into its place: at the end the log, without which the folder holds nothing. What
/// fails takes it back.
pub fn put_in_place(data: &Path) -> Result<(), OpenError> {
    let gathered = data.join(RESTORING);
    let placed = RESTORED.iter().try_for_each(|name| {
        let from = gathered.join(name);
        if from.exists() {
            let moved = fs::rename(&from, data.join(name));
            moved.map_err(|error| cannot("put into its place", &from, &error))?;
        }
        // Once the log is there, all is taken to be: so each is there to stay before the next.
        sync(data)
    });
    if placed.is_err() {
        for name in RESTORED {
            let _ = fs::rename(data.join(name), gathered.join(name));
        }
    }
    placed
}

/// Says that a restore was cut short: what was not brought into its place must not be taken for a new folder.
pub fn unfinished(data: &Path) -> Option<OpenError> {
    let is_unfinished = data.join(RESTORING).exists() && !data.join("events").exists();
    is_unfinished.then(|| {
        OpenError(format!(
            "a restore into {} was cut short: run it again, or remove {} there to begin without data",
            data.display(),
            [RESTORING, RESTORED[0], RESTORED[1]].join(", ")
        ))
    })
}

/// Returns the last sequence.
fn copy_log(from: &Path, to: &Path, on_bytes: &mut dyn FnMut(u64)) -> Result<u64, OpenError> {
    let last = last_written(from)?;
    let mut head = Head::genesis();
    while head.seq + 1 < last {
        let name = segment::file_name(head.seq + 1);
        // The last one was written to already when it was looked for, so all before it have been closed.
        head = copy_closed(&from.join(&name), &to.join(&name), &head, on_bytes)?;
    }
    let name = segment::file_name(head.seq + 1);
    let (groups, seq) = whole_groups(&from.join(&name), &head, |path| fs::read(path))?;
    write_file(&to.join(&name), &groups, on_bytes)?;
    Ok(seq)
}

/// Returns where the next one begins.
fn copy_closed(from: &Path, to: &Path, before: &Head, on_bytes: &mut dyn FnMut(u64)) -> Result<Head, OpenError> {
    let unread = |error: io::Error| cannot("read", from, &error);
    let head = segment::closed_head(from).map_err(unread)?;
    let Some(head) = head.filter(|head| head.seq > before.seq) else {
        return Err(OpenError(format!("{} is damaged: its end is missing", from.display())));
    };
    let length = segment::written(from).map_err(unread)?;
    copy_from(File::open(from).map_err(unread)?, from, to, length + 1, on_bytes)?;
    Ok(head)
}

/// The segment that ends the copy. It is not necessarily the one in use at the end of the copying: those that are begun
/// meanwhile are not followed, or a busy service would be followed for ever.
fn last_written(events: &Path) -> Result<u64, OpenError> {
    let segments = segment::list(events).map_err(|error| cannot("list", events, &error))?;
    for (first_seq, path) in segments.iter().rev() {
        match segment::written(path) {
            Ok(0) => {}
            Ok(_) => return Ok(*first_seq),
            // Made ahead, not used, and gone by now.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(cannot("read", path, &error)),
        }
    }
    match segments.first() {
        Some((first_seq, _)) => Ok(*first_seq),
        None => Err(OpenError(format!("{} holds no log", events.display()))),
    }
}

/// What is whole of a segment that may be written to, without the line that closes it, and the last sequence.
fn whole_groups(
    path: &Path,
    before: &Head,
    read: impl Fn(&Path) -> io::Result<Vec<u8>>,
) -> Result<(Vec<u8>, u64), OpenError> {
    let mut damaged_at = None;
    loop {
        let mut bytes = read(path).map_err(|error| cannot("read", path, &error))?;
        let (mut chain, mut end) = (Chain::from_head(before.clone()), 0);
        let found = segment::read_groups(&bytes, &mut chain, |group, _| {
            end = group.end;
            Ok(())
        });
        match found {
            Ok(_) => {
                bytes.truncate(end);
                return Ok((bytes, chain.head.seq));
            }
            // A group was written while it was read, and the one after it: read again, it is whole. Damage stays.
            Err(damage) if damaged_at.is_none_or(|before| before < damage.offset) => damaged_at = Some(damage.offset),
            Err(damage) => return Err(OpenError(format!("{} is damaged {damage}", path.display()))),
        }
    }
}

/// Returns why they are left out, where they must be: then each webhook delivers again.
fn copy_deliveries(
    kept: Result<Option<Kept>, String>,
    to: &Path,
    seq: u64,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<Option<String>, OpenError> {
    match kept {
        Ok(Some(kept)) if kept.seq <= seq => {
            let path = document::path(to, Document::Deliveries);
            let mut bytes = Vec::new();
            line::push_object(&mut bytes, &kept).map_err(|error| cannot("write", &path, &io::Error::other(error)))?;
            write_file(&path, &bytes, on_bytes).map(|()| None)
        }
        Ok(Some(kept)) => Ok(Some(format!(
            "deliveries.json is left out: it is of record {}, and the log ends at {seq}",
            kept.seq
        ))),
        Ok(None) => Ok(None),
        Err(fault) => Ok(Some(format!("deliveries.json is left out: {fault}"))),
    }
}

fn copy_jobs(from: &Path, to: &Path, on_bytes: &mut dyn FnMut(u64)) -> Result<(), OpenError> {
    let jobs = folders_in(from).map_err(|error| cannot("list", from, &error))?;
    if jobs.is_empty() {
        return Ok(());
    }
    make_folder(to)?;
    for job in jobs {
        let copied = to.join(job.file_name().unwrap_or_default());
        make_folder(&copied)?;
        for name in JOB_FILES {
            if let Some(file) = open(&job.join(name))? {
                copy_from(file, &job.join(name), &copied.join(name), u64::MAX, on_bytes)?;
            }
        }
        sync(&copied)?;
        // It went away meanwhile, as those do that have been over for long.
        if !copied.join("state.json").exists() {
            fs::remove_dir_all(&copied).map_err(|error| cannot("remove", &copied, &error))?;
        }
    }
    sync(to)
}

/// Those that are whole: one that is still being made has another name.
fn folders_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        let is_whole = !entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes());
        if is_whole && entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

/// The files beside the log, by the path that they have in the folder.
fn files_beside(folder: &Path) -> io::Result<BTreeMap<String, PathBuf>> {
    let jobs = folders_in(&folder.join("jobs"))?;
    let of_jobs = jobs.iter().flat_map(|job| JOB_FILES.map(|name| job.join(name)));
    let all = of_jobs.chain([document::path(folder, Document::Deliveries)]);
    let name = |path: &Path| path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
    Ok(all
        .filter(|path| path.exists())
        .map(|path| (name(&path), path))
        .collect())
}

fn hashes_beside(folder: &Path) -> Result<BTreeMap<String, String>, OpenError> {
    let files = files_beside(folder).map_err(|error| cannot("list", folder, &error))?;
    let hash = |(name, path): (String, PathBuf)| {
        let mut hasher = blake3::Hasher::new();
        let hashed = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut hasher));
        hashed.map_err(|error| cannot("read", &path, &error))?;
        Ok((name, hasher.finalize().to_string()))
    };
    files.into_iter().map(hash).collect()
}

/// `None` where there is no such file.
fn open(path: &Path) -> Result<Option<File>, OpenError> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot("read", path, &error)),
    }
}

fn copy_from(file: File, from: &Path, to: &Path, length: u64, on_bytes: &mut dyn FnMut(u64)) -> Result<(), OpenError> {
    let mut target = new_file(to)?;
    let mut source = file.take(length);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let read = source.by_ref().take(CHUNK).read_to_end(&mut buffer);
        if read.map_err(|error| cannot("read", from, &error))? == 0 {
            break;
        }
        target.write_all(&buffer).map_err(|error| cannot("write", to, &error))?;
        on_bytes(buffer.len() as u64);
    }
    target.sync_all().map_err(|error| cannot("write", to, &error))
}

fn write_file(path: &Path, bytes: &[u8], on_bytes: &mut dyn FnMut(u64)) -> Result<(), OpenError> {
    let mut file = new_file(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(|error| cannot("write", path, &error))?;
    on_bytes(bytes.len() as u64);
    Ok(())
}

/// Readable by its owner only: it holds what signs webhooks, and hashes of passwords.
fn new_file(path: &Path) -> Result<File, OpenError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| cannot("make", path, &error))
}

fn make_folder(path: &Path) -> Result<(), OpenError> {
    private_folder(path).map_err(|error| cannot("make", path, &error))
}

fn sync(folder: &Path) -> Result<(), OpenError> {
    sync_folder(folder).map_err(|error| cannot("sync", folder, &error))
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> OpenError {
    OpenError(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// So many groups without records.
    fn groups(count: u64) -> Vec<Vec<u8>> {
        let mut head = Head::genesis();
        let groups = (1..=count).map(|group| {
            let (mut lines, hash) = (Vec::new(), head.chain(b""));
            line::push_seal(&mut lines, group, hash);
            head = Head {
                group,
                hash,
                ..head.clone()
            };
            lines
        });
        groups.collect()
    }

    /// Groups as a reader finds them who came by this one before it was written.
    fn without(groups: &[Vec<u8>], missed: usize) -> Vec<u8> {
        let mut groups = groups.to_vec();
        groups[missed].fill(b'\n');
        groups.concat()
    }

    #[test]
    fn a_group_that_was_written_while_it_was_read_is_read_again() {
        let (path, groups, reads) = (Path::new("log"), groups(5), Cell::new(0));
        let read = |_: &Path| {
            reads.set(reads.get() + 1);
            Ok(match reads.get() {
                1 => without(&groups[..3], 1),
                2 => without(&groups, 3),
                _ => groups.concat(),
            })
        };
        let (found, _) = whole_groups(path, &Head::genesis(), read).unwrap();
        assert_eq!((found, reads.get()), (groups.concat(), 3));
    }

    #[test]
    fn a_group_that_stays_bad_before_others_is_damage_and_at_the_end_is_torn() {
        let (path, groups) = (Path::new("log"), groups(5));
        let damaged = whole_groups(path, &Head::genesis(), |_| Ok(without(&groups, 1))).unwrap_err();
        assert!(damaged.to_string().starts_with("log is damaged at byte"), "{damaged}");
        let (found, _) = whole_groups(path, &Head::genesis(), |_| Ok(groups.concat()[..400].to_vec())).unwrap();
        let whole = (0..5).rev().map(|count| groups[..count].concat());
        assert_eq!(Some(found), whole.into_iter().find(|groups| groups.len() <= 400));
    }
}
