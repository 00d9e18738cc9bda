//! The service under a clock that tests set.

use std::path::PathBuf;

use super::TestApp;

/// The service with a clock that can be set, by libfaketime.
pub struct Clockwork {
    folder: tempfile::TempDir,
    library: PathBuf,
    offset: PathBuf,
}

impl Clockwork {
    /// `None`, and says so aloud, where it is not installed.
    pub fn new() -> Option<Self> {
        let library = std::fs::read_dir("/usr/lib").ok()?.flatten().find_map(|entry| {
            let library = entry.path().join("faketime/libfaketimeMT.so.1");
            library.exists().then_some(library)
        });
        if library.is_none() {
            eprintln!("skipped: libfaketime is not installed");
        }
        let folder = tempfile::tempdir().unwrap();
        let offset = folder.path().join("offset");
        let clockwork = Self {
            library: library?,
            offset,
            folder,
        };
        clockwork.set(0);
        Some(clockwork)
    }

    /// So many seconds ahead of the right time.
    pub fn set(&self, seconds: i64) {
        let next = self.offset.with_extension("next");
        std::fs::write(&next, format!("{seconds:+}\n")).unwrap();
        std::fs::rename(next, &self.offset).unwrap();
    }

    pub fn start(&self) -> TestApp {
        let environment = [
            ("LD_PRELOAD", self.library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", self.offset.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ];
        TestApp::start_under(&self.folder.path().join("data"), 0, &[], &environment)
    }
}
