//! A body on its way to the disk: in a folder of its own, which becomes that of a job, or goes away.
//!
//! The log has to grow while bodies come: they leave room free for it, however many of them there are.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tokio::runtime::Handle;

use super::files::{Files, private_file, save_state};
use super::job::Job;
use super::{Admission, off_thread};
use crate::import::text::GZIP;
use crate::journal::file::disk::{Room, private_folder, room, sync_folder};

/// Bodies leave this part of the disk free, or so many bytes where that is less.
const RESERVED_PART: u64 = 20;
const MAX_RESERVE: u64 = 1 << 30;

/// Gone with this, unless it is kept. Files are seen to off the threads that serve.
pub struct Spool {
    file: File,
    hasher: blake3::Hasher,
    head: Vec<u8>,
    bytes: u64,
    files: Files,
    /// Behind the file, which is to be closed before it goes.
    folder: Folder,
    _admission: Admission,
}

impl Spool {
    /// For a body that says that it has so many bytes.
    pub async fn begin(files: Files, id: String, admission: Admission, announced: u64) -> io::Result<Self> {
        off_thread(move || {
            check_room(&files, announced)?;
            let folder = Folder::make(files.unwhole(&id))?;
            Ok(Self {
                file: private_file(&folder.path.join("input"))?,
                hasher: blake3::Hasher::new(),
                head: Vec::new(),
                bytes: 0,
                files,
                folder,
                _admission: admission,
            })
        })
        .await
    }

    pub async fn write(self, bytes: Vec<u8>) -> io::Result<Self> {
        self.worked_on(move |spool| spool.put(&bytes)).await
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        check_room(&self.files, bytes.len() as u64)?;
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        let missing = GZIP.len() - self.head.len();
        self.head.extend_from_slice(&bytes[..missing.min(bytes.len())]);
        Ok(())
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Of all that has come.
    pub fn hash(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    pub fn is_gzip(&self) -> bool {
        self.head == GZIP
    }

    /// From here on it is a job, also after a crash; what is returned only holds its place among those that come.
    pub async fn keep(self, job: Job) -> io::Result<Self> {
        self.worked_on(move |spool| spool.become_job(&job)).await
    }

    fn become_job(&mut self, job: &Job) -> io::Result<()> {
        self.file.sync_all()?;
        save_state(&self.folder.path, job)?;
        fs::rename(&self.folder.path, self.files.folder(&job.id))?;
        self.folder.is_gone = true;
        let durable = sync_folder(self.files.root());
        if durable.is_err() {
            // A start must not find what nobody was told of.
            self.files.remove(&job.id)?;
        }
        durable
    }

    /// Returns when nothing of it is left.
    pub async fn discard(mut self) {
        let discarded = off_thread(move || {
            self.folder.remove();
            // Only now the disk takes back what it had.
            drop(self);
            Ok(())
        });
        drop(discarded.await);
    }

    /// What fails leaves nothing behind.
    async fn worked_on(mut self, work: impl FnOnce(&mut Self) -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        off_thread(move || {
            let worked = work(&mut self);
            if worked.is_err() {
                self.folder.remove();
            }
            worked.map(|()| self)
        })
        .await
    }
}

pub fn check_room(files: &Files, bytes: u64) -> io::Result<()> {
    match leaves_room(room(files.root())?, bytes) {
        true => Ok(()),
        false => Err(io::Error::new(
            ErrorKind::StorageFull,
            "the room that is left may be needed for the log",
        )),
    }
}

fn leaves_room(room: Room, bytes: u64) -> bool {
    let reserve = (room.size / RESERVED_PART).min(MAX_RESERVE);
    // There are file systems that do not tell.
    room.size == 0 || room.free >= reserve.saturating_add(bytes)
}

/// The folder of a body that is no job yet.
struct Folder {
    path: PathBuf,
    is_gone: bool,
}

impl Folder {
    fn make(path: PathBuf) -> io::Result<Self> {
        private_folder(&path)?;
        Ok(Self { path, is_gone: false })
    }

    fn remove(&mut self) {
        if !std::mem::replace(&mut self.is_gone, true) {
            remove(&self.path);
        }
    }
}

impl Drop for Folder {
    /// Where the caller has gone away, this is a thread that serves. What a stop leaves of it, the next start removes.
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.path);
        match Handle::try_current() {
            _ if self.is_gone => {}
            Ok(runtime) => drop(runtime.spawn_blocking(move || remove(&path))),
            Err(_) => remove(&path),
        }
    }
}

fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder) {
        tracing::warn!(%error, folder = %folder.display(), "a body that did not come whole is still there");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn bodies_leave_a_twentieth_of_the_disk_free_and_a_gigabyte_of_a_large_one() {
        let fits = |free: u64, size: u64, bytes: u64| leaves_room(Room { free, size }, bytes);
        assert!(fits(6000, 20_000, 5000));
        assert!(!fits(6000, 20_000, 5001));
        assert!(fits(2 * GIB, 1000 * GIB, GIB));
        assert!(!fits(2 * GIB, 1000 * GIB, GIB + 1));
        assert!(!fits(GIB, GIB, u64::MAX));
    }
}
