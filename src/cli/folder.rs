//! A data folder that a command works on by itself, while no service runs on it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use uuid::Uuid;

use crate::config::DataFolder;
use crate::domain::{Event, Origin, Principal, RequestId, Scope, Sku, Stock, Timestamp, expire};
use crate::journal::file::{FileJournal, Options, has_log};
use crate::journal::{Append, Journal, Record};

/// What the service's settings are where nobody has set them.
const SEGMENT_BYTES: u64 = 64 << 20;
const RETENTION_MS: i64 = 24 * 3_600_000;
/// Each checkpoint writes the state of every SKU: a command writes one when it ends, and none on the way.
const NO_CHECKPOINT: u64 = u64::MAX;

pub struct Folder {
    pub journal: FileJournal,
    /// Under which the command's events stand in the log: one request id for the whole run.
    pub origin: Arc<Origin>,
    last_time: Timestamp,
}

impl Folder {
    /// Takes the folder for this process; it is made where there is none.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let options = Options {
            folder: path.to_owned(),
            segment_bytes: SEGMENT_BYTES,
            checkpoint_bytes: NO_CHECKPOINT,
            retention_ms: RETENTION_MS,
        };
        let (journal, _) = FileJournal::open(&options)
            .context("cannot work on the data folder itself (a service that runs on it is reached with --url)")?;
        Ok(Self {
            last_time: journal.last_time(),
            journal,
            origin: Arc::new(Origin {
                by: Principal::system(),
                request_id: RequestId::from(Uuid::now_v7()),
                scope: Scope::default(),
            }),
        })
    }

    /// A folder that must be there already.
    pub fn open_existing(data: &DataFolder) -> anyhow::Result<Self> {
        let path = &data.data_dir;
        ensure!(
            has_log(path),
            "there is no data in {}; name another --data-dir, or a running service with --url",
            path.display()
        );
        Self::open(path)
    }

    /// The time, which never goes back: also not behind the last event when the system's clock has.
    pub fn now(&mut self) -> Timestamp {
        self.last_time = self.last_time.max(chrono::Utc::now().into());
        self.last_time
    }

    /// What is over by now, as events that are still to be recorded.
    pub fn over(&self, sku: &Sku, stock: &Stock, now: Timestamp) -> Vec<Event> {
        expire(sku, stock, now, &self.origin)
    }

    /// Records the holds that are over, as the start of a service does.
    pub async fn record_over(&mut self) -> anyhow::Result<()> {
        let now = self.now();
        let deadlines = self.journal.deadlines().await?;
        for (_, sku) in deadlines.into_iter().filter(|(at, _)| *at <= now) {
            let stock = self.journal.load(&sku).await?;
            let record = |event: Event| Record {
                event: event.into(),
                receipt: None,
            };
            let records = self.over(&sku, &stock, now).into_iter().map(record).collect();
            let append = Append::of_stock(vec![(sku, stock.version())], records);
            self.journal
                .append(append)
                .await
                .context("recording reservations that are over")?;
        }
        Ok(())
    }

    /// Leaves the folder in order, with a checkpoint.
    pub fn close(self) -> anyhow::Result<()> {
        let closed = self.journal.close();
        // The process ends now: the state of a million SKUs need not be taken apart first.
        std::mem::forget(self.journal);
        closed.context("what was written is in the log, but the folder was not closed in order")
    }
}
