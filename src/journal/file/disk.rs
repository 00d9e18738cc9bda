//! The few calls by which bytes reach the disk, behind a seam small enough that a disk which fails on
//! demand is twenty lines.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

pub trait Disk: Send + Sync + 'static {
    /// Writes all of it, or fails; a short write is completed or an error.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Returns once what was written, and the size that is needed to find it, is on stable storage.
    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn set_len(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }
}

/// The file system as it is.
pub struct RealDisk;

impl Disk for RealDisk {}

/// Makes a created, renamed or removed name in `folder` survive a power cut.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folder that a file or a folder is in, or is to be in.
pub fn parent_of(path: &Path) -> &Path {
    path.parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Makes a folder for its owner only, as it is to hold hashes of passwords and what signs webhooks; and those above it, as
/// others are made. One that is there stays as it is.
pub fn private_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(parent_of(path))?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// The room of a file system, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// For those who are not root.
    pub free: u64,
    /// Free or not.
    pub size: u64,
}

/// That of the file system on which a folder lies.
pub fn room(folder: &Path) -> io::Result<Room> {
    let disk = rustix::fs::statvfs(folder)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(Room {
        free: bytes(disk.f_bavail),
        size: bytes(disk.f_blocks),
    })
}

/// How the names of files and folders begin that are not whole: not yet, or not any more.
pub const TEMPORARY: &str = ".new-";

/// Puts a whole new file in the place of an old one: at any moment one of the two is there, whole.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut io::BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let temp = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(folder)?;
    let mut out = io::BufWriter::with_capacity(1 << 16, temp.as_file());
    write(&mut out)?;
    io::Write::flush(&mut out)?;
    drop(out);
    temp.as_file().sync_all()?;
    temp.persist(path).map_err(|error| error.error)?;
    sync_folder(folder)
}

/// Says that the disk has no room (or the process no right to more of it): the one kind of failure
/// after which what was not written is known not to be there.
pub fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
