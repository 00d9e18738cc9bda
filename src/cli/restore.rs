//! `holdfast restore`: a backup as a data folder again.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};

use super::backup::{Outcome, Progress, first_fault};
use crate::config::DataFolder;
use crate::journal::file::FolderLock;
use crate::journal::file::backup::{self, Contents, RESTORING};
use crate::journal::file::disk::{private_folder, sync_folder};

/// Makes a data folder of a backup.
///
/// The data folder must be new, or hold no data. The backup is proved whole first, and what was made of it afterwards; until
/// then no service starts on the folder. All that was written after the backup was made is not there: run.md says what that means
/// for clients. Exit code 0: it is restored and whole; 2: it could not be, and there is no data.
#[derive(clap::Args, Debug)]
pub struct RestoreArgs {
    /// The backup
    folder: PathBuf,

    #[command(flatten)]
    data: DataFolder,

    /// Prints the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let (data, progress) = (&args.data.data_dir, Progress::new(args.json)?);
    let contents = backup::read_contents(&args.folder)?;
    check_is_unused(data)?;
    // What a restore that was cut short has left is taken back under the folder's lock.
    if backup::unfinished(data).is_none() {
        check_has_no_data(data)?;
    }
    check(&args.folder, &contents, &progress).context("the backup is damaged, and nothing was restored")?;
    restore(&args.folder, &contents, data, &progress)?;
    Outcome {
        folder: data,
        contents: &contents,
        notes: &[],
        seconds: begun.elapsed().as_secs_f64(),
    }
    .print(args.json, "restored to")?;
    Ok(ExitCode::SUCCESS)
}

/// With data in it, a service may run on the folder: that must be stopped before anything is moved.
fn check_is_unused(data: &Path) -> anyhow::Result<()> {
    if backup::data_in(data).is_some() && data.join("LOCK").exists() {
        FolderLock::take(data)?;
    }
    Ok(())
}

fn check_has_no_data(data: &Path) -> anyhow::Result<()> {
    let Some(found) = backup::data_in(data) else {
        return Ok(());
    };
    bail!(
        "{} holds data already ({}); move it away, or name another --data-dir",
        data.display(),
        found.file_name().unwrap_or_default().to_string_lossy()
    )
}

/// That a folder is whole, and what the backup's list says.
fn check(folder: &Path, contents: &Contents, progress: &Progress) -> anyhow::Result<()> {
    let report = progress.prove(folder)?;
    match first_fault(&report) {
        Some(fault) => bail!(fault),
        None => match contents.fault_of(folder, &report)? {
            Some(fault) => bail!(fault),
            None => Ok(()),
        },
    }
}

fn restore(folder: &Path, contents: &Contents, data: &Path, progress: &Progress) -> anyhow::Result<()> {
    let is_new = !data.exists();
    let lock = FolderLock::take(data)?;
    // Without the lock this could be what another restore is bringing into its place.
    backup::take_back_unfinished(data)?;
    // Before the lock was taken, a service may have begun to write there.
    check_has_no_data(data)?;
    let restored = gather(folder, contents, data, progress);
    if restored.is_err() {
        clear_away(data, is_new);
    }
    drop(lock);
    restored.context("nothing was restored")
}

/// In a folder within the data folder first. While that is there and the log is not, no service starts.
fn gather(folder: &Path, contents: &Contents, data: &Path, progress: &Progress) -> anyhow::Result<()> {
    let gathered = data.join(RESTORING);
    match fs::remove_dir_all(&gathered) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", gathered.display()));
        }
        _ => {}
    }
    private_folder(&gathered).with_context(|| format!("cannot make {}", gathered.display()))?;
    sync_folder(data)?;
    progress.copying(contents.bytes, |on_bytes| backup::copy(folder, &gathered, on_bytes))?;
    check(&gathered, contents, progress)?;
    backup::put_in_place(data)?;
    // Nothing is in it any more, and nobody minds it.
    let _ = fs::remove_dir(&gathered);
    Ok(())
}

/// As far as it goes: what it was that failed is said, and not what this meets.
fn clear_away(data: &Path, is_new: bool) {
    let _ = fs::remove_dir_all(data.join(RESTORING));
    if is_new {
        let _ = fs::remove_file(data.join("LOCK"));
        let _ = fs::remove_dir(data);
    }
}
