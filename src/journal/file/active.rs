//! The segment that is written to, and the room in it that is made ahead of need.
//!
//! Room is newlines, written and synced before a group may use it: a group then overwrites blocks
//! that exist, so that its own sync writes no file-system metadata, and a disk without room shows
//! here, before anything of the group was written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::disk::{Disk, is_full};

/// What a segment grows by.
pub const ROOM_STEP: u64 = 1 << 20;
/// The smallest step, for a disk that is nearly full.
const SMALL_STEP: u64 = 4096;

pub struct ActiveSegment {
    pub file: File,
    /// The same file, opened once more: a failed write-back is reported once to each open file, and the
    /// writer's must not be taken note of where room is made.
    room: File,
    disk: Arc<dyn Disk>,
    /// Up to here the file holds synced room.
    room_until: AtomicU64,
    /// Held while the room grows, by the writer or ahead of it.
    growing: Mutex<()>,
    /// Set once the segment has its end: then it grows no more.
    closed: AtomicBool,
    /// Set while growth ahead of need is under way.
    pub growing_ahead: AtomicBool,
}

impl ActiveSegment {
    pub fn open(path: &Path, disk: Arc<dyn Disk>) -> io::Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            // It holds what signs webhooks, and hashes of passwords.
            .mode(0o600)
            .open(path)?;
        let room = OpenOptions::new().write(true).open(path)?;
        let room_until = AtomicU64::new(file.metadata()?.len());
        Ok(Self {
            file,
            room,
            disk,
            room_until,
            growing: Mutex::default(),
            closed: AtomicBool::new(false),
            growing_ahead: AtomicBool::new(false),
        })
    }

    pub fn room_until(&self) -> u64 {
        self.room_until.load(Ordering::Acquire)
    }

    /// Makes sure that everything below `end` is synced room, by large steps while the disk has them.
    pub fn make_room(&self, end: u64) -> io::Result<()> {
        if end <= self.room_until() {
            return Ok(());
        }
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let from = self.room_until();
        if end <= from {
            return Ok(());
        }
        match self.fill(from, end + ROOM_STEP) {
            Err(error) if is_full(&error) => self.fill(from, end.next_multiple_of(SMALL_STEP)),
            other => other,
        }
    }

    /// Grows by one step ahead of need.
    pub fn grow_ahead(&self) -> io::Result<()> {
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let from = self.room_until();
        let filled = if self.closed.load(Ordering::Acquire) {
            Ok(())
        } else {
            self.fill(from, from + ROOM_STEP)
        };
        self.growing_ahead.store(false, Ordering::Release);
        filled
    }

    /// Ends the segment at `length` for good.
    pub fn close(&self, length: u64) -> io::Result<()> {
        self.closed.store(true, Ordering::Release);
        self.cut(length)
    }

    /// Takes back what is behind `length`, room included.
    pub fn cut(&self, length: u64) -> io::Result<()> {
        let _growing = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        self.disk.set_len(&self.file, length)?;
        self.room_until.store(length, Ordering::Release);
        self.disk.sync(&self.file)
    }

    fn fill(&self, from: u64, to: u64) -> io::Result<()> {
        let newlines = vec![b'\n'; usize::try_from(to - from).map_err(io::Error::other)?];
        let filled = self
            .disk
            .write_at(&self.room, &newlines, from)
            .and_then(|()| self.disk.sync(&self.room));
        match filled {
            Ok(()) => self.room_until.store(to, Ordering::Release),
            // Gives back what was taken of a disk that others need too; nothing rests on it.
            Err(_) => drop(self.disk.set_len(&self.room, from)),
        }
        filled
    }
}
