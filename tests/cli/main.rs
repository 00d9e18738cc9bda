//! The commands that bring stock in and out, and those that back up and restore, run as an operator runs them: on a data
//! folder of their own, and against a running service.

mod backup;
mod december;
mod export;
mod import;
mod lost;
mod service;
#[path = "../support/mod.rs"]
mod support;
mod users;
mod verify;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::HOLDFAST;

/// What a command has said and how it ended.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// A folder for files, with a data folder in it that is made when something is imported.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Runs a command on the data folder.
    fn run(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(HOLDFAST);
        command.args(args).arg("--data-dir").arg(self.data());
        ran(command.current_dir(self.0.path()).output().unwrap())
    }

    /// Imports a file that has nothing wrong in it.
    fn import(&self, name: &str) {
        let ran = self.run(&["import", name]);
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    }

    fn export(&self, what: &str, name: &str) -> String {
        let ran = self.run(&["export", what, name]);
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        read(&self.path(name))
    }

    fn assert_verifies(&self) {
        let ran = self.run(&["verify"]);
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    }
}

fn ran(output: Output) -> Ran {
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The text of a file, unpacked where it is packed.
fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap();
    let mut text = String::new();
    match path.extension().is_some_and(|extension| extension == "gz") {
        true => flate2::read::MultiGzDecoder::new(&*bytes).read_to_string(&mut text),
        false => (&*bytes).read_to_string(&mut text),
    }
    .unwrap();
    text
}

/// The rows of an export of stock, by the columns that are the same wherever the stock is brought in.
fn stock(csv: &str) -> BTreeSet<Vec<String>> {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let kept: Vec<usize> = reader
        .headers()
        .unwrap()
        .iter()
        .enumerate()
        .filter(|(_, name)| !["updatedAt", "version"].contains(name))
        .map(|(i, _)| i)
        .collect();
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        kept.iter().map(|i| row[*i].to_owned()).collect()
    });
    rows.collect()
}
