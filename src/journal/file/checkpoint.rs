//! Every SKU's state at some sequence, so that startup reads only the log behind it.
//!
//! Written while the service runs, SKU by SKU: each line has its own sequence, at or behind the one in
//! the head line. Recovery replays the log from there and passes over what a SKU already has in it.

use std::collections::HashSet;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::disk::write_atomically;
use super::segment::Head;
use super::{Position, Shared, line};
use crate::domain::{Reservation, Sku, Stock, StockImage, StoreId};
use crate::journal::entries::EntryLine;

/// The first line: where the log stood when the writing began.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Opening {
    segment: u64,
    seq: u64,
    group: u64,
    hash: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SkuLine {
    sku: Sku,
    seq: u64,
    stock: StockImage,
}

/// A reservation that holds something: the sequence of the event that made it, and of its last.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReservationLine {
    pub created: u64,
    pub seq: u64,
    pub reservation: Arc<Reservation>,
}

/// The last line: without it, or with other counts, the checkpoint is not whole.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Closing {
    skus: u64,
    reservations: u64,
    #[serde(default)]
    entries: u64,
}

pub struct Checkpoint {
    pub(super) position: Position,
    pub stocks: Vec<(Sku, Stock, u64)>,
    pub reservations: Vec<ReservationLine>,
    /// Users, tokens and stores.
    pub entries: Vec<EntryLine>,
}

impl Checkpoint {
    /// Every store with a level has been in the catalogue since stores are kept there. What was written before that is not
    /// enough to begin with.
    pub fn tells_of_stores(&self) -> bool {
        let told: HashSet<&StoreId> = self.entries.iter().filter_map(|line| line.store()).collect();
        let stores = self.stocks.iter().flat_map(|(_, stock, _)| stock.stores());
        stores.into_iter().all(|store| told.contains(store))
    }
}

pub fn write_or_warn(folder: &Path, shared: &Shared) {
    // Startup then reads more of the log: slower, and as right.
    if let Err(error) = write(folder, shared) {
        tracing::warn!(%error, "could not write a checkpoint; trying again later");
    }
}

pub fn write(folder: &Path, shared: &Shared) -> io::Result<()> {
    let started = std::time::Instant::now();
    // Taken first: every SKU's state that is read below is at or past it.
    let Position { segment, head } = shared.position();
    let mut skus = 0;
    let path = folder.join("checkpoint.json");
    write_atomically(&path, |out| {
        let opening = Opening {
            segment,
            seq: head.seq,
            group: head.group,
            hash: head.hash.to_string(),
        };
        let mut buffer = Vec::new();
        line::push_object(&mut buffer, &opening)?;
        for sku in shared.tables.skus() {
            let Some((stock, seq)) = shared.tables.image_at(&sku) else {
                continue;
            };
            skus += 1;
            line::push_object(&mut buffer, &SkuLine { sku, seq, stock })?;
            out.write_all(&buffer)?;
            buffer.clear();
        }
        let mut reservations = 0;
        for (place, reservation, seq) in shared.tables.each_reservation() {
            // What is over is not forgotten before everybody sees that it is.
            if !reservation.is_active() {
                continue;
            }
            reservations += 1;
            let line = ReservationLine {
                created: place.seq,
                seq,
                reservation,
            };
            line::push_object(&mut buffer, &line)?;
            out.write_all(&buffer)?;
            buffer.clear();
        }
        let entries = shared.tables.entries().each();
        for entry in &entries {
            line::push_object(&mut buffer, entry)?;
        }
        let closing = Closing {
            skus,
            reservations,
            entries: entries.len() as u64,
        };
        line::push_object(&mut buffer, &closing)?;
        out.write_all(&buffer)
    })?;
    let bytes = size(folder);
    shared.checkpoint_bytes.store(bytes, Ordering::Relaxed);
    shared.meter.note_checkpoint(head.seq, bytes, started.elapsed());
    tracing::info!(
        seq = head.seq,
        bytes,
        skus,
        millis = started.elapsed().as_millis(),
        "checkpoint written"
    );
    Ok(())
}

/// In bytes; 0 where there is none that can be read.
pub fn size(folder: &Path) -> u64 {
    std::fs::metadata(folder.join("checkpoint.json")).map_or(0, |found| found.len())
}

/// `None` where there is none yet.
pub fn read(folder: &Path) -> Result<Option<Checkpoint>, String> {
    let path = folder.join("checkpoint.json");
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    let lines = io::BufReader::with_capacity(1 << 18, file).split(b'\n');
    read_lines(lines)
        .map(Some)
        .map_err(|fault| format!("{}: {fault}", path.display()))
}

fn read_lines(mut lines: impl Iterator<Item = io::Result<Vec<u8>>>) -> Result<Checkpoint, String> {
    let mut next = || match lines.next() {
        Some(text) => text.map_err(|error| error.to_string()),
        None => Err("it is not whole".to_owned()),
    };
    let Opening {
        segment,
        seq,
        group,
        hash,
    } = line::read(&next()?).map_err(|fault| fault.to_string())?;
    let hash = blake3::Hash::from_hex(&hash).map_err(|error| error.to_string())?;
    let position = Position {
        segment,
        head: Head { seq, group, hash },
    };
    let (mut stocks, mut reservations, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    let mut text = next()?;
    // First the SKUs, then the reservations, then the entries, then the end.
    while let Some(SkuLine { sku, seq, stock }) = of_form(&text)? {
        stocks.push((sku, stock.into(), seq));
        text = next()?;
    }
    while let Some(line) = of_form::<ReservationLine>(&text)? {
        reservations.push(line);
        text = next()?;
    }
    while let Some(line) = of_form::<EntryLine>(&text)? {
        entries.push(line);
        text = next()?;
    }
    let closing: Closing = line::read(&text).map_err(|fault| fault.to_string())?;
    let counts = [
        (stocks.len(), closing.skus, "SKUs"),
        (reservations.len(), closing.reservations, "reservations"),
        (entries.len(), closing.entries, "entries"),
    ];
    if let Some((found, told, what)) = counts.iter().find(|(found, told, _)| *found as u64 != *told) {
        return Err(format!("it is not whole: {found} of {told} {what}"));
    }
    Ok(Checkpoint {
        position,
        stocks,
        reservations,
        entries,
    })
}

/// `None` where it is a line of another form.
fn of_form<T: DeserializeOwned>(text: &[u8]) -> Result<Option<T>, String> {
    match line::read(text) {
        Ok(line) => Ok(Some(line)),
        Err(line::LineFault::Form(_)) => Ok(None),
        Err(fault) => Err(fault.to_string()),
    }
}
