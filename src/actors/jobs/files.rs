//! The files of jobs: a folder each, which comes into being whole.
//!
//! ```text
//! data/jobs/
//!   .new-<id>/            a body that is still coming, or a job that is taken away; of no account after a crash
//!   <id>/input            the body as it was sent, until the job is over
//!   <id>/state.json       the job as it stands: one line with its checksum, replaced as a whole
//!   <id>/errors.ndjson    lines that were refused, each with its checksum; true up to where the state says
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::job::Job;
use super::spool::check_room;
use crate::import::row::LineError;
use crate::journal::file::disk::{TEMPORARY, private_folder, sync_folder, write_atomically};
use crate::journal::file::line;

#[derive(Clone)]
pub struct Files {
    root: PathBuf,
}

/// What a start finds.
#[derive(Default)]
pub struct Found {
    pub jobs: Vec<Job>,
    /// What cannot be read, each with its file.
    pub faults: Vec<String>,
}

impl Files {
    /// Also clears away what was still coming, or going, when the service ended.
    pub fn open(data: &Path) -> io::Result<(Self, Found)> {
        let root = data.join("jobs");
        private_folder(&root)?;
        sync_folder(data)?;
        let mut found = Found::default();
        for entry in fs::read_dir(&root)? {
            let folder = entry?.path();
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(TEMPORARY) {
                fs::remove_dir_all(&folder)?;
                continue;
            }
            match read_state(&folder) {
                Ok(job) if *job.id == *name => found.jobs.push(job),
                Ok(_) => found
                    .faults
                    .push(format!("{}: it is of another job", state(&folder).display())),
                Err(fault) => found.faults.push(fault),
            }
        }
        Ok((Self { root }, found))
    }

    pub fn folder(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// Where what is not whole lies.
    pub fn unwhole(&self, id: &str) -> PathBuf {
        self.root.join(format!("{TEMPORARY}{id}"))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn input(&self, id: &str) -> PathBuf {
        self.folder(id).join("input")
    }

    pub fn save(&self, job: &Job) -> io::Result<()> {
        save_state(&self.folder(&job.id), job)
    }

    /// Puts errors behind those that the job knows of; says how long the list is then.
    pub fn add_errors(&self, job: &Job, errors: &[LineError]) -> io::Result<u64> {
        if errors.is_empty() {
            return Ok(job.done.error_bytes);
        }
        let mut bytes = Vec::new();
        for error in errors {
            line::push_object(&mut bytes, error)?;
        }
        check_room(self, bytes.len() as u64)?;
        let mut file = private_file(&errors_of(&self.folder(&job.id)))?;
        // What stands behind it was written before a crash, and will be written again.
        file.set_len(job.done.error_bytes)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(&bytes)?;
        file.sync_data()?;
        Ok(job.done.error_bytes + bytes.len() as u64)
    }

    /// The list of errors, as far as the job knows of it.
    pub fn errors(&self, job: &Job) -> io::Result<Errors> {
        let lines: Box<dyn BufRead + Send> = match job.done.error_bytes {
            0 => Box::new(io::empty()),
            length => {
                let file = File::open(errors_of(&self.folder(&job.id)))?;
                Box::new(BufReader::with_capacity(1 << 16, file.take(length)))
            }
        };
        Ok(Errors {
            lines,
            left: job.done.failed,
        })
    }

    /// What was sent is not needed any more.
    pub fn drop_input(&self, id: &str) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.input(id)))
    }

    pub fn drop_errors(&self, id: &str) -> io::Result<()> {
        absent_is_fine(fs::remove_file(errors_of(&self.folder(id))))
    }

    /// As a whole: after a crash it is there as it was, or gone.
    pub fn remove(&self, id: &str) -> io::Result<()> {
        let gone = self.unwhole(id);
        absent_is_fine(fs::rename(self.folder(id), &gone))?;
        sync_folder(&self.root)?;
        if let Err(error) = absent_is_fine(fs::remove_dir_all(&gone)) {
            tracing::warn!(%error, folder = %gone.display(), "a job is gone, but for files that the next start removes");
        }
        Ok(())
    }
}

fn absent_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

pub fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
}

fn state(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

fn errors_of(folder: &Path) -> PathBuf {
    folder.join("errors.ndjson")
}

pub fn save_state(folder: &Path, job: &Job) -> io::Result<()> {
    let mut bytes = Vec::new();
    line::push_object(&mut bytes, job)?;
    write_atomically(&state(folder), |out| out.write_all(&bytes))
}

fn read_state(folder: &Path) -> Result<Job, String> {
    let path = state(folder);
    let name = |fault: &dyn std::fmt::Display| format!("{}: {fault}", path.display());
    let bytes = fs::read(&path).map_err(|error| name(&error))?;
    line::read(bytes.trim_ascii_end()).map_err(|fault| name(&fault))
}

/// Errors in order of their lines.
pub struct Errors {
    lines: Box<dyn BufRead + Send>,
    /// So many are to come.
    left: u64,
}

impl Errors {
    /// Up to so many of the next; none when they are at their end. What is damaged or missing is an error.
    pub fn next(&mut self, count: usize) -> io::Result<Vec<LineError>> {
        let mut errors = Vec::new();
        let mut text = Vec::new();
        while self.left > 0 && errors.len() < count {
            text.clear();
            self.lines.read_until(b'\n', &mut text)?;
            let error = line::read(text.trim_ascii_end()).map_err(|fault| {
                let fault = format!("a list of errors is damaged: {fault}");
                io::Error::new(ErrorKind::InvalidData, fault)
            })?;
            errors.push(error);
            self.left -= 1;
        }
        Ok(errors)
    }
}
