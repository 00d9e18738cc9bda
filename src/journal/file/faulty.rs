//! A data folder on a disk that forgets what was not synced, waits, and fails on demand: for tests.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use super::disk::Disk;
use super::{FileJournal, Options};
use crate::journal::Journal;
use crate::journal::contract::{Bug, Fault};

pub struct FaultyFolder {
    folder: tempfile::TempDir,
    disk: Arc<FaultyDisk>,
    journal: Option<Arc<FileJournal>>,
    options: fn(PathBuf) -> Options,
    bug: Option<Bug>,
}

impl FaultyFolder {
    pub fn new(options: fn(PathBuf) -> Options, bug: Option<Bug>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            folder,
            disk: Arc::default(),
            journal: None,
            options,
            bug,
        }
        .opened()
    }

    fn opened(mut self) -> Self {
        let options = (self.options)(self.folder.path().to_owned());
        let bug = self.bug;
        let (journal, _) = FileJournal::open_on(&options, self.disk.clone(), |writer| writer.planted = bug).unwrap();
        self.journal = Some(Arc::new(journal));
        self
    }

    pub fn journal(&self) -> Arc<dyn Journal> {
        self.journal.clone().unwrap()
    }

    pub fn hold(&self) {
        self.disk.state.lock().unwrap().held = true;
    }

    pub fn release(&self) {
        self.disk.state.lock().unwrap().held = false;
        self.disk.changed.notify_all();
    }

    pub fn fail(&self, fault: Option<Fault>) {
        self.disk.state.lock().unwrap().fault = fault;
    }

    pub fn crash(mut self) -> Self {
        self.disk.kill();
        // Whoever still waits for an answer may hold the journal: its threads end with it.
        let journal = self.journal.take().unwrap();
        assert_eq!(
            Arc::strong_count(&journal),
            1,
            "a test keeps the journal that is to crash"
        );
        drop(journal);
        self.disk = Arc::default();
        self.opened()
    }
}

impl Drop for FaultyFolder {
    /// A test that fails while the disk is held must not wait for it for ever.
    fn drop(&mut self) {
        self.disk.kill();
    }
}

#[derive(Default)]
struct FaultyDisk {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Writes by file that the next sync of it brings to the disk.
    unsynced: HashMap<u64, Vec<(u64, Vec<u8>)>>,
    held: bool,
    dead: bool,
    fault: Option<Fault>,
}

impl FaultyDisk {
    fn kill(&self) {
        self.state.lock().unwrap().dead = true;
        self.changed.notify_all();
    }
}

impl Disk for FaultyDisk {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let metadata = file.metadata()?;
        let grows = offset + bytes.len() as u64 > metadata.len();
        if state.fault == Some(Fault::Full) && grows {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state
            .unsynced
            .entry(metadata.ino())
            .or_default()
            .push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        while state.held && !state.dead {
            state = self.changed.wait(state).unwrap();
        }
        if state.dead || state.fault == Some(Fault::Sync) {
            return Err(io::Error::other("input/output error"));
        }
        for (offset, bytes) in state.unsynced.remove(&file.metadata()?.ino()).unwrap_or_default() {
            file.write_all_at(&bytes, offset)?;
        }
        Ok(())
    }

    fn set_len(&self, file: &File, length: u64) -> io::Result<()> {
        if self.state.lock().unwrap().dead {
            Err(io::ErrorKind::Other.into())
        } else {
            file.set_len(length)
        }
    }
}
