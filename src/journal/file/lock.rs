//! One process per data folder: two would each serialize only their own half of the writes.
//!
//! The file that is locked says who has it: the process, and behind that, if it is a service, where it takes requests.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::disk::{parent_of, private_folder, sync_folder};
use super::{OpenError, describe};

/// Held while the folder is served or verified; the system lets go of it however the process ends.
pub struct FolderLock {
    file: File,
}

impl FolderLock {
    pub fn take(folder: &Path) -> Result<Self, OpenError> {
        private_folder(folder).map_err(|error| describe(folder, "make the data folder", &error))?;
        let parent = parent_of(folder);
        sync_folder(parent).map_err(|error| describe(parent, "sync", &error))?;
        let path = folder.join("LOCK");
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(OWNERS)
            .open(&path);
        let mut file = opened.map_err(|error| describe(&path, "open", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(in_use(folder, &mut file)),
            Err(TryLockError::Error(error)) => return Err(describe(&path, "lock", &error)),
        }
        // Whoever can open it can lock it.
        let kept_private = file.set_permissions(Permissions::from_mode(OWNERS));
        kept_private.map_err(|error| describe(&path, "change the mode of", &error))?;
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(|error| describe(&path, "write to", &error))?;
        Ok(Self { file })
    }

    /// Says where the folder is served.
    pub fn announce(&self, address: SocketAddr) -> io::Result<()> {
        // In one piece: whoever reads it meanwhile must not take a part of it for an address.
        (&self.file).write_all(format!("http://{address}\n").as_bytes())
    }
}

/// Nobody else may lock the folder, nor read where it is served.
const OWNERS: u32 = 0o600;

/// Where the folder is served, if it is: what is left of a process that has ended says nothing, and neither does what
/// somebody else than the folder's owner may have put there, as tokens and passwords are sent to that address.
pub fn served_at(folder: &Path) -> Option<String> {
    let mut file = File::open(folder.join("LOCK")).ok()?;
    let is_taken = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
    let (of_file, of_folder) = (file.metadata().ok()?, folder.metadata().ok()?);
    let is_owners = of_file.uid() == of_folder.uid() && of_file.mode() & 0o077 == 0 && of_folder.mode() & 0o022 == 0;
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    let (lines, _) = text.rsplit_once('\n')?;
    lines
        .lines()
        .nth(1)
        .filter(|_| is_taken && is_owners)
        .map(str::to_owned)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_folder_is_served_is_believed_only_of_its_owner_and_while_it_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let chmod = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let path = folder.join("LOCK");
        assert_eq!(served_at(folder), None);
        let lock = FolderLock::take(folder).unwrap();
        assert_eq!(served_at(folder), None);
        lock.announce("127.0.0.1:3000".parse().unwrap()).unwrap();
        assert_eq!(served_at(folder).as_deref(), Some("http://127.0.0.1:3000"));
        for (path, open, closed) in [(&*path, 0o644, OWNERS), (folder, 0o777, 0o700)] {
            chmod(path, open);
            assert_eq!(served_at(folder), None, "{} is open to others", path.display());
            chmod(path, closed);
        }
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        assert_eq!(served_at(folder), None, "a part of an address is none");
        std::fs::write(&path, &whole).unwrap();
        assert!(served_at(folder).is_some());
        drop(lock);
        assert_eq!(served_at(folder), None, "nobody serves it any more");
        chmod(&path, 0o644);
        drop(FolderLock::take(folder).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, OWNERS);
    }
}
