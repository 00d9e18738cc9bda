//! The file that is written: beside its place first, and put there when it is whole.

use std::borrow::Cow;
use std::fs::Permissions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use flate2::Compression;
use flate2::write::GzEncoder;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::{Map, Value};
use tempfile::NamedTempFile;

use super::Format;
use crate::journal::file::disk::{parent_of, sync_folder};

pub struct Output {
    writer: Writer,
    file: Packed,
    rows: u64,
    bar: ProgressBar,
}

/// How rows become lines.
enum Writer {
    Ndjson,
    Csv { columns: &'static [&'static str] },
}

/// Where lines go.
enum Packed {
    Plain(Target),
    Gzip(GzEncoder<Target>),
}

enum Target {
    Stdout(BufWriter<io::Stdout>),
    File {
        temporary: BufWriter<NamedTempFile>,
        path: PathBuf,
    },
}

pub fn is_stdout(file: &Path) -> bool {
    file.as_os_str() == "-"
}

impl Output {
    pub fn create(
        path: &Path,
        format: Format,
        columns: &'static [&'static str],
        bar: ProgressBar,
    ) -> anyhow::Result<Self> {
        let target = Target::create(path)?;
        let is_gzip = path.extension().is_some_and(|extension| extension == "gz");
        let mut output = Self {
            writer: match format {
                Format::Ndjson => Writer::Ndjson,
                Format::Csv => Writer::Csv { columns },
            },
            file: match is_gzip {
                true => Packed::Gzip(GzEncoder::new(target, Compression::default())),
                false => Packed::Plain(target),
            },
            rows: 0,
            bar,
        };
        if let Writer::Csv { columns } = output.writer {
            output.write_record(columns.iter().map(|name| Cow::Borrowed(*name)))?;
        }
        Ok(output)
    }

    /// Writes a JSON object.
    pub fn write(&mut self, row: &(impl Serialize + ?Sized)) -> anyhow::Result<()> {
        match self.writer {
            Writer::Ndjson => {
                serde_json::to_writer(&mut self.file, row)?;
                self.file.write_all(b"\n")?;
            }
            Writer::Csv { columns } => self.write_cells(columns, &serde_json::to_value(row)?)?,
        }
        self.rows += 1;
        self.bar.inc(1);
        Ok(())
    }

    /// A row for each of its changes, where the object has some.
    fn write_cells(&mut self, columns: &[&str], row: &Value) -> anyhow::Result<()> {
        let none = Map::new();
        let own = row.as_object().unwrap_or(&none);
        let Some(Value::Array(changes)) = own.get("changes") else {
            return self.write_record(columns.iter().map(|name| cell(own.get(*name))));
        };
        for change in changes {
            let member = |name: &&str| cell(change.get(*name).or_else(|| own.get(*name)));
            self.write_record(columns.iter().map(member))?;
        }
        Ok(())
    }

    fn write_record<'a>(&mut self, cells: impl Iterator<Item = Cow<'a, str>>) -> anyhow::Result<()> {
        let mut separator = "";
        for cell in cells {
            self.file.write_all(separator.as_bytes())?;
            self.file.write_all(quoted(&cell).as_bytes())?;
            separator = ",";
        }
        Ok(self.file.write_all(b"\n")?)
    }

    /// How many rows there are, now that the file is in its place.
    pub fn finish(self) -> anyhow::Result<u64> {
        self.bar.finish_and_clear();
        let target = match self.file {
            Packed::Plain(target) => target,
            Packed::Gzip(packed) => packed.finish()?,
        };
        target.finish()?;
        Ok(self.rows)
    }
}

fn cell(member: Option<&Value>) -> Cow<'_, str> {
    match member {
        None | Some(Value::Null) => Cow::Borrowed(""),
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(other) => Cow::Owned(other.to_string()),
    }
}

fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains(['"', ',', ';', '\t', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", cell.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(cell)
    }
}

impl Target {
    fn create(path: &Path) -> anyhow::Result<Self> {
        if is_stdout(path) {
            return Ok(Self::Stdout(BufWriter::new(io::stdout())));
        }
        let temporary = tempfile::Builder::new()
            .prefix(".holdfast-export-")
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(parent_of(path))?;
        Ok(Self::File {
            temporary: BufWriter::with_capacity(256 << 10, temporary),
            path: path.to_owned(),
        })
    }

    fn finish(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout(mut stdout) => stdout.flush()?,
            Self::File { temporary, path } => {
                let temporary = temporary.into_inner().map_err(|error| error.into_error())?;
                temporary.as_file().sync_all()?;
                temporary.persist(&path).context("cannot put it in its place")?;
                sync_folder(parent_of(&path)).context("cannot sync its folder")?;
            }
        }
        Ok(())
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File { temporary, .. } => temporary.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File { temporary, .. } => temporary.flush(),
        }
    }
}

impl Write for Packed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(target) => target.write(bytes),
            Self::Gzip(packed) => packed.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(target) => target.flush(),
            Self::Gzip(packed) => packed.flush(),
        }
    }
}
