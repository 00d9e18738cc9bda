//! What the file engine counts of its own work. The log thread counts a group at a time.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Shared, checkpoint, disk, document};
use crate::journal::Document;
use crate::journal::figures::{CheckpointFigures, Counted, Figures, RecoveryFigures, Standing};
use crate::metrics::{Counter, Histogram};

#[derive(Default)]
pub struct Meter {
    pub appends: Counter,
    pub conflicts: Counter,
    pub bytes: Counter,
    pub snapshots: Counter,
    pub records_per_group: Histogram,
    sync_micros: Histogram,
    checkpoints: Counter,
    checkpoint: Mutex<Option<CheckpointFigures>>,
}

impl Meter {
    pub fn note_sync(&self, took: Duration) {
        self.sync_micros.record(took.as_micros() as u64);
    }

    pub fn note_checkpoint(&self, seq: u64, bytes: u64, took: Duration) {
        self.checkpoints.one();
        self.set_checkpoint(CheckpointFigures {
            at: chrono::Utc::now().into(),
            seq,
            bytes,
            duration_ms: Some(took.as_millis() as u64),
        });
    }

    /// One that was there at the start.
    pub fn find_checkpoint(&self, folder: &Path, seq: u64) {
        let written = std::fs::metadata(folder.join("checkpoint.json")).and_then(|found| found.modified());
        if let Ok(at) = written {
            self.set_checkpoint(CheckpointFigures {
                at: chrono::DateTime::<chrono::Utc>::from(at).into(),
                seq,
                bytes: checkpoint::size(folder),
                duration_ms: None,
            });
        }
    }

    fn set_checkpoint(&self, found: CheckpointFigures) {
        *self.checkpoint.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }

    fn read(&self) -> Counted {
        Counted {
            appends: self.appends.get(),
            conflicts: self.conflicts.get(),
            bytes: self.bytes.get(),
            snapshots: self.snapshots.get(),
            checkpoints: self.checkpoints.get(),
            records_per_group: self.records_per_group.read(),
            sync_micros: self.sync_micros.read(),
            ..Counted::default()
        }
    }
}

impl Shared {
    /// Looks at the files; not for the threads that serve.
    pub fn figures(&self, folder: &Path, recovery: RecoveryFigures) -> Figures {
        let segments = self.segments.all();
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let checkpoint = *self.meter.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        // Of a damaged one, whoever makes it anew will speak.
        let totals = document::read(folder, Document::Totals).ok().flatten();
        Figures {
            counted: Counted {
                events: self.tables.events_by_kind(),
                ..self.meter.read()
            },
            standing: Standing {
                engine: "file",
                visible: self.tables.visible(),
                head_hash: self.position().head.hash.to_string(),
                segments: segments.len() as u64,
                log_bytes: segments.iter().map(|segment| size(&segment.path)).sum(),
                disk_free_bytes: disk::room(folder).ok().map(|room| room.free),
                checkpoint,
                totals_seq: totals.map(|totals| totals.seq),
                recovery,
            },
            stock: self.tables.stock_figures(),
        }
    }
}

/// Of what the start has found, and how long that took.
pub fn of_recovery(recovered: &super::Recovered, took: Duration) -> RecoveryFigures {
    RecoveryFigures {
        duration_ms: took.as_millis() as u64,
        replayed: recovered.replayed,
        replayed_bytes: recovered.replayed_bytes,
        torn_bytes: recovered.torn_bytes,
    }
}
