//! `holdfast backup`: a copy of the data, also while a service writes to it.

mod making;

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, anyhow, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use self::making::Making;
use crate::config::DataFolder;
use crate::journal::file::backup::{self, Contents};
use crate::journal::file::disk::{parent_of, sync_folder};
use crate::journal::file::{Report, has_log, prove};

/// Copies the data of a service to a new folder, also while it runs.
///
/// Whatever was answered before the backup began is in it. It is proved whole before it gets its name, and holds hashes of
/// passwords: only its owner may read it. What a start makes anew is left out (checkpoint, snapshots, indexes, totals, sums of
/// sales). Exit code 0: it is there and whole; 2: it could not be made, and there is none.
#[derive(clap::Args, Debug)]
pub struct BackupArgs {
    /// Where to: a folder that does not exist, or is empty
    folder: PathBuf,

    #[command(flatten)]
    data: DataFolder,

    /// Prints the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub fn run(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let data = &args.data.data_dir;
    ensure!(
        has_log(data),
        "there is no data in {} that can be read; name another --data-dir",
        data.display()
    );
    let place = place_of(&args.folder)?;
    let is_within = data.canonicalize().is_ok_and(|data| place.starts_with(data));
    ensure!(
        !is_within,
        "{} lies in the data folder; name another",
        args.folder.display()
    );
    let (contents, notes) = make(data, &place, &Progress::new(args.json)?).context("no backup was made")?;
    Outcome {
        folder: &place,
        contents: &contents,
        notes: &notes,
        seconds: begun.elapsed().as_secs_f64(),
    }
    .print(args.json, "backup whole in")?;
    Ok(ExitCode::SUCCESS)
}

/// The true path of a folder that is yet to be.
fn place_of(folder: &Path) -> anyhow::Result<PathBuf> {
    let shown = folder.display();
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            ensure!(entries.next().is_none(), "{shown} is not empty; name a new folder");
            let place = folder.canonicalize()?;
            let is_mount = fs::metadata(&place)?.dev() != fs::metadata(parent_of(&place))?.dev();
            ensure!(
                !is_mount,
                "a file system is mounted at {shown}; name a new folder in it"
            );
            Ok(place)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let name = folder
                .file_name()
                .with_context(|| format!("{shown} does not name a folder"))?;
            let parent = parent_of(folder).canonicalize();
            let parent = parent.with_context(|| format!("the folder in which {shown} is to be cannot be found"))?;
            Ok(parent.join(name))
        }
        Err(error) => bail!("{shown} cannot be used: {error}"),
    }
}

/// Under another name beside its place, which it gets when it is whole: whatever ends this, nothing stands there by half.
fn make(data: &Path, place: &Path, progress: &Progress) -> anyhow::Result<(Contents, Vec<String>)> {
    let (made_at, parent) = (chrono::Utc::now().into(), parent_of(place));
    // First, as it takes the room of a whole backup.
    let mut notes = making::clear_away_left(parent);
    let making = Making::begin(parent).with_context(|| format!("cannot write to {}", parent.display()))?;
    let folder = making.path();
    let mut bytes = 0;
    let left_out = progress.copying(backup::size(data), |on_bytes| {
        backup::copy(data, folder, &mut |more| {
            bytes += more;
            on_bytes(more);
        })
    })?;
    notes.extend(left_out);
    let report = progress.prove(folder)?;
    if let Some(fault) = first_fault(&report) {
        // What is wrong in the copy was wrong before, and there it is to be looked for.
        let fault = fault.replace(&*folder.to_string_lossy(), &data.to_string_lossy());
        bail!("the data is damaged: {fault}");
    }
    let contents = Contents::of(folder, &report, bytes, made_at)?;
    backup::write_contents(folder, &contents)?;
    let placed = making.put_in_place(place);
    placed.with_context(|| format!("cannot put it into its place, {}", place.display()))?;
    sync_folder(parent).map_err(|error| {
        let _ = fs::remove_dir_all(place);
        anyhow!("cannot sync {}: {error}", parent.display())
    })?;
    Ok((contents, notes))
}

/// As a sentence, which says how many more there are.
pub fn first_fault(report: &Report) -> Option<String> {
    let first = report.faults.first()?;
    Some(match report.faults.len() - 1 {
        0 => first.clone(),
        more => format!("{first} (and {more} more)"),
    })
}

/// What a backup or a restore has come to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome<'a> {
    pub folder: &'a Path,
    #[serde(flatten)]
    pub contents: &'a Contents,
    pub notes: &'a [String],
    pub seconds: f64,
}

impl Outcome<'_> {
    pub fn print(&self, as_json: bool, what: &str) -> anyhow::Result<()> {
        if as_json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        for note in self.notes {
            println!("note: {note}");
        }
        let Contents {
            records,
            segments,
            bytes,
            head,
            ..
        } = self.contents;
        let last = match self.contents.last_event_at {
            Some(at) => format!("; the last is record {}, of {at}", self.contents.seq),
            None => String::new(),
        };
        println!("{records} records in {segments} segments, {bytes} bytes{last}");
        println!("head {head}");
        println!("{what} {}, in {:.1} s", self.folder.display(), self.seconds);
        Ok(())
    }
}

/// How far it is, on stderr, which indicatif hides by itself when that is not a terminal.
pub struct Progress {
    bar: ProgressBar,
    of_bytes: ProgressStyle,
    of_segments: ProgressStyle,
}

impl Progress {
    pub fn new(is_hidden: bool) -> anyhow::Result<Self> {
        Ok(Self {
            bar: match is_hidden {
                true => ProgressBar::hidden(),
                false => ProgressBar::new(0),
            },
            of_bytes: ProgressStyle::with_template("copying {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}")?,
            of_segments: ProgressStyle::with_template("proving {wide_bar} segment {pos} of {len}")?,
        })
    }

    pub fn copying<T>(&self, bytes: u64, copy: impl FnOnce(&mut dyn FnMut(u64)) -> T) -> T {
        self.begin(&self.of_bytes, bytes);
        let copied = copy(&mut |more| self.bar.inc(more));
        self.bar.finish_and_clear();
        copied
    }

    pub fn prove(&self, folder: &Path) -> anyhow::Result<Report> {
        self.begin(&self.of_segments, 0);
        let report = prove(folder, |segment, segments| {
            self.bar.set_length(segments);
            self.bar.set_position(segment);
        });
        self.bar.finish_and_clear();
        Ok(report?)
    }

    fn begin(&self, style: &ProgressStyle, length: u64) {
        self.bar.reset();
        self.bar.set_style(style.clone());
        self.bar.set_length(length);
    }
}
