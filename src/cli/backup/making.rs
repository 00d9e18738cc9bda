//! The folder in which a backup is made: it has another name until it is whole, and is locked for as long as somebody makes
//! it. So what a killed one has left can be told from what another is making, and is cleared away by the next.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

const PREFIX: &str = ".holdfast-backup-";

/// It goes away with this unless it is put into its place.
pub struct Making {
    folder: TempDir,
    _lock: File,
}

impl Making {
    pub fn begin(parent: &Path) -> io::Result<Self> {
        loop {
            let folder = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(parent)?;
            let lock = File::open(folder.path())?;
            // Where the file system knows no locks, nobody's folder is ever cleared away.
            let is_taken = matches!(lock.try_lock(), Err(TryLockError::WouldBlock));
            // Before it was locked, another may have taken it for one that was left.
            if !is_taken && folder.path().exists() {
                return Ok(Self { folder, _lock: lock });
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn put_in_place(self, place: &Path) -> io::Result<()> {
        fs::rename(self.folder.path(), place)?;
        drop(self.folder.keep());
        Ok(())
    }
}

/// Removes what killed backups have left, and says so.
pub fn clear_away_left(parent: &Path) -> Vec<String> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let is_ours = |entry: &fs::DirEntry| {
        let is_named = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        is_named && entry.file_type().is_ok_and(|found| found.is_dir())
    };
    let left = entries.filter(is_ours).map(|entry| entry.path());
    left.filter_map(|path| clear_away(&path)).collect()
}

/// Nothing where somebody is making it, or where that cannot be told.
fn clear_away(path: &Path) -> Option<String> {
    let lock = File::open(path).ok()?;
    lock.try_lock().ok()?;
    let shown = path.display();
    Some(match fs::remove_dir_all(path) {
        Ok(()) => format!("{shown} is cleared away: a backup that was cut short had left it"),
        Err(error) => format!("{shown}, which a backup that was cut short has left, cannot be removed: {error}"),
    })
}
