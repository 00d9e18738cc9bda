//! One process per data folder: two would each serialize only their own half of the writes.
//!
//! The file that is locked says who has it: the process, and behind that, if it is a service, where it takes requests.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use super::disk::sync_folder;
use super::{OpenError, describe};

/// Held while the folder is served or verified; the system lets go of it however the process ends.
pub struct FolderLock {
    file: File,
}

impl FolderLock {
    pub fn take(folder: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(folder).map_err(|error| describe(folder, "make the data folder", &error))?;
        let parent = folder
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        sync_folder(parent).map_err(|error| describe(parent, "sync", &error))?;
        let path = folder.join("LOCK");
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path);
        let mut file = opened.map_err(|error| describe(&path, "open", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(folder, &mut file)),
            Err(TryLockError::Error(error)) => return Err(describe(&path, "lock", &error)),
        }
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(|error| describe(&path, "write to", &error))?;
        Ok(Self { file })
    }

    /// Says where the folder is served.
    pub fn announce(&self, address: SocketAddr) -> io::Result<()> {
        writeln!(&self.file, "http://{address}")
    }
}

/// Where the folder is served, if it is: what is left of a process that has ended says nothing.
pub fn served_at(folder: &Path) -> Option<String> {
    let mut file = File::open(folder.join("LOCK")).ok()?;
    let is_taken = matches!(file.try_lock(), Err(TryLockError::WouldBlock));
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.lines().nth(1).filter(|_| is_taken).map(str::to_owned)
}

fn in_use(folder: &Path, file: &mut File) -> OpenError {
    let mut text = String::new();
    let _ = file.read_to_string(&mut text);
    let who = match text.lines().next() {
        None | Some("") => "another process".to_owned(),
        Some(pid) => format!("process {pid}"),
    };
    OpenError(format!(
        "the data folder {} is in use by {who}; stop it, or choose another folder",
        folder.display()
    ))
}
