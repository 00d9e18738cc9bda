//! Proves a data folder whole: every checksum, the hash chain, sequences and versions, and that
//! snapshots, checkpoint and indexes say what the log says. Changes nothing, but takes the folder's lock where it may be
//! served.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::disk::TEMPORARY;
use super::index::{self, Gathered};
use super::segment::{self, Chain, End};
use super::{OpenError, checkpoint, document, has_log, line, lock, recovery, snapshot};
use crate::domain::{EntryChange, EntryKey, Reservation, ReservationId, Sku, StockImage, Timestamp, Totals};
use crate::journal::entries::{EntryLine, pushed_by};
use crate::journal::tables::{Published, Tables};
use crate::journal::{Document, Kept};

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub segments: u64,
    pub groups: u64,
    pub events: u64,
    pub skus: u64,
    pub snapshots: u64,
    /// The hash of the last group: whoever keeps it elsewhere can tell later whether the log is still this one.
    pub head: String,
    pub last_event_at: Option<Timestamp>,
    /// What is as a crash leaves it, and is put right at the next start.
    pub notes: Vec<String>,
    /// Files that cannot be used, and that the service makes again from the log by itself.
    pub remade: Vec<String>,
    /// What is wrong: first what is wrong with the log, as the rest may follow from that.
    pub faults: Vec<String>,
}

/// A state that a file claims, until the log has come to its sequence.
struct Claim {
    file: PathBuf,
    image: StockImage,
}

/// What files say of the log, until it has come to the sequence that they name.
#[derive(Default)]
struct Claims {
    stocks: HashMap<(Sku, u64), Vec<Claim>>,
    /// What the checkpoint says of open reservations.
    reservations: HashMap<(ReservationId, u64), Arc<Reservation>>,
    /// What it says of users, tokens, stores and schedules.
    entries: HashMap<(EntryKey, u64), EntryChange>,
    /// All that the checkpoint tells of, where there is one.
    in_checkpoint: Option<Told>,
}

#[derive(Default)]
struct Told {
    skus: HashSet<Sku>,
    reservations: HashSet<ReservationId>,
    entries: HashSet<EntryKey>,
}

/// Takes the folder's lock, so that it does not read what is being written.
pub fn verify(folder: &Path, on_segment: impl FnMut(u64, u64)) -> Result<Report, OpenError> {
    check_is_data(folder)?;
    let _lock = lock::FolderLock::take(folder)?;
    prove(folder, on_segment)
}

fn check_is_data(folder: &Path) -> Result<(), OpenError> {
    match has_log(folder) {
        true => Ok(()),
        false => Err(OpenError(format!(
            "{} is not a data folder: it has no folder `events`",
            folder.display()
        ))),
    }
}

/// The same of a folder that nobody serves: without its lock, so that it may be one that cannot be written to.
pub fn prove(folder: &Path, on_segment: impl FnMut(u64, u64)) -> Result<Report, OpenError> {
    check_is_data(folder)?;
    let events = folder.join("events");
    let mut report = Report::default();
    let mut claims = Claims::default();
    claim_snapshots(&folder.join("skus"), &mut claims, &mut report);
    let checkpoint_head = claim_checkpoint(folder, &mut claims, &mut report);
    check_documents(folder, &mut report);
    let claimed_totals = claim_totals(folder, &mut report);
    report.faults.extend(job_faults(&folder.join("jobs")));
    let faults_beside = std::mem::take(&mut report.faults);
    let tables = Tables::new(0);
    let log = Log {
        report: &mut report,
        claims: &mut claims,
        tables: &tables,
        checkpoint_head,
        totals: Totals::default(),
        claimed_totals,
    };
    let checkpoint_seq = log.checkpoint_head.as_ref().map(|head| head.seq);
    let extent = log.read(&events, on_segment)?;
    check_states(&tables, &mut report);
    match extent {
        Extent::Whole => {
            report.faults.extend(fault_of_empty_log(folder, &report));
            let seq = checkpoint_seq.unwrap_or_default();
            report.faults.extend(claims.left_out(&tables, seq));
            report.faults.extend(claims.of_no_record(folder));
        }
        Extent::Part => report.faults.extend(claims.unjudged()),
    }
    report.faults.extend(faults_beside);
    Ok(report)
}

/// How far the log could be read.
enum Extent {
    Whole,
    /// Up to damage, or to where its end is missing.
    Part,
}

/// A start refuses it as well: the log that was there is gone.
fn fault_of_empty_log(folder: &Path, report: &Report) -> Option<String> {
    let has_checkpoint = report.segments == 0 && folder.join("checkpoint.json").exists();
    let is_gone = report.events == 0 && (has_checkpoint || recovery::has_snapshots(&folder.join("skus")));
    is_gone.then(|| {
        let events = folder.join("events");
        format!(
            "{}: the log is empty, though there is state made from it",
            events.display()
        )
    })
}

impl Claims {
    /// Open reservations that were there when the checkpoint was made, and that it does not have.
    fn left_out(&self, tables: &Tables, checkpoint_seq: u64) -> Vec<String> {
        let Some(told) = &self.in_checkpoint else {
            return Vec::new();
        };
        let all = tables.each_reservation().into_iter().map(|(place, ..)| place);
        all.filter(|place| place.seq <= checkpoint_seq && !told.reservations.contains(&place.id))
            .map(|place| format!("checkpoint.json: it leaves out reservation {:?}", place.id))
            .collect()
    }

    /// What is claimed of records that a whole log does not have.
    fn of_no_record(self, folder: &Path) -> Vec<String> {
        let checkpoint = folder.join("checkpoint.json");
        let fault = |file: &Path, what: String, seq: u64| {
            format!(
                "{}: {what} at record {seq}, which the log does not have",
                file.display()
            )
        };
        let stocks = self.stocks.into_iter().flat_map(|((sku, seq), files)| {
            let of = move |claim: Claim| fault(&claim.file, format!("it is of {sku:?}"), seq);
            files.into_iter().map(of)
        });
        let entries = self.entries.into_keys();
        let entries = entries.map(|(key, seq)| fault(&checkpoint, format!("it has {key:?}"), seq));
        let reservations = self.reservations.into_keys();
        let reservations = reservations.map(|(id, seq)| fault(&checkpoint, format!("it has reservation {id:?}"), seq));
        stocks.chain(entries).chain(reservations).collect()
    }

    /// Of what is claimed of records behind the damage: the damage is one fault, and not as many as there are files.
    fn unjudged(&self) -> Option<String> {
        let stocks: usize = self.stocks.values().map(Vec::len).sum();
        let states = stocks + self.entries.len() + self.reservations.len();
        (states > 0).then(|| {
            format!("{states} states in checkpoint and snapshots are of records that could not be read, and were compared with nothing")
        })
    }
}

/// Imports say how far they have come; what that means is for them to know.
fn job_faults(folder: &Path) -> Vec<String> {
    let jobs = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let whole = jobs.filter(|job| !job.file_name().to_string_lossy().starts_with(TEMPORARY));
    let states = whole.map(|job| job.path().join("state.json"));
    let fault = |path: PathBuf| match std::fs::read(&path) {
        Ok(bytes) if line::is_whole(bytes.trim_ascii_end()) => None,
        Ok(_) => Some(format!("{}: its checksum does not match", path.display())),
        Err(error) => Some(format!("{}: {error}", path.display())),
    };
    states.filter_map(fault).collect()
}

fn claim_checkpoint(folder: &Path, claims: &mut Claims, report: &mut Report) -> Option<segment::Head> {
    match checkpoint::read(folder) {
        Ok(None) => None,
        Ok(Some(checkpoint)) => {
            if !checkpoint.tells_of_stores() {
                let note =
                    "checkpoint.json: it was written before stores were kept; the next start reads the whole log";
                report.notes.push(note.to_owned());
            }
            let mut told = Told::default();
            for (sku, stock, seq) in checkpoint.stocks {
                told.skus.insert(sku.clone());
                let claim = Claim {
                    file: folder.join("checkpoint.json"),
                    image: (&stock).into(),
                };
                claims.stocks.entry((sku, seq)).or_default().push(claim);
            }
            for line in checkpoint.reservations {
                let id = line.reservation.reservation_id.clone();
                told.reservations.insert(id.clone());
                claims.reservations.insert((id, line.seq), line.reservation);
            }
            for EntryLine { seq, change } in checkpoint.entries {
                told.entries.insert(change.key.clone());
                claims.entries.insert((change.key.clone(), seq), change);
            }
            claims.in_checkpoint = Some(told);
            Some(checkpoint.position.head)
        }
        Err(fault) => {
            report
                .remade
                .push(format!("{fault}; a start reads the whole log instead"));
            None
        }
    }
}

/// Of those that the log is not held against, whether they are whole. How far webhooks have come is in no log.
fn check_documents(folder: &Path, report: &mut Report) {
    report.remade.extend(document::read(folder, Document::Sales).err());
    let deliveries = document::read(folder, Document::Deliveries);
    report.faults.extend(
        deliveries
            .err()
            .map(|fault| format!("{fault}; without it each webhook delivers again all since it was made")),
    );
}

fn claim_totals(folder: &Path, report: &mut Report) -> Option<Totals> {
    let kept = document::read(folder, Document::Totals);
    let totals = |kept: Kept| kept.totals().map_err(|fault| format!("central.json: {fault}"));
    match kept.and_then(|kept| kept.map(totals).transpose()) {
        Ok(totals) => totals,
        Err(fault) => {
            report.remade.push(fault);
            None
        }
    }
}

/// What a start goes on from where it is in itself whole.
const REMADE: &str = "central.json can be deleted, and is then made again";

fn claim_snapshots(folder: &Path, claims: &mut Claims, report: &mut Report) {
    let shelves = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for file in shelves
        .flat_map(|shelf| std::fs::read_dir(shelf.path()))
        .flatten()
        .flatten()
    {
        let path = file.path();
        // What a crash left of a snapshot that was being written.
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        report.snapshots += 1;
        let read = std::fs::read(&path).map_err(|error| error.to_string());
        match read.and_then(|bytes| snapshot::read(&bytes).map_err(|fault| fault.to_string())) {
            Ok(found) => {
                if snapshot::path(folder.parent().unwrap_or(folder), &found.sku) != path {
                    report.faults.push(format!(
                        "{}: it is of {:?}, whose place is elsewhere",
                        path.display(),
                        found.sku
                    ));
                }
                let claim = Claim {
                    file: path,
                    image: found.stock,
                };
                claims.stocks.entry((found.sku, found.seq)).or_default().push(claim);
            }
            Err(fault) => report.remade.push(format!(
                "{}: {fault}; the SKU's next change makes it again",
                path.display()
            )),
        }
    }
}

struct Log<'a> {
    report: &'a mut Report,
    claims: &'a mut Claims,
    tables: &'a Tables,
    checkpoint_head: Option<segment::Head>,
    /// As the log adds them up.
    totals: Totals,
    /// As they were kept, until the log has come to their sequence.
    claimed_totals: Option<Totals>,
}

impl Log<'_> {
    /// Reads up to the first damage: what is behind it cannot be judged, as nothing links it.
    fn read(mut self, events: &Path, mut on_segment: impl FnMut(u64, u64)) -> Result<Extent, OpenError> {
        let segments = segment::list(events).map_err(|error| super::describe(events, "list", &error))?;
        let mut chain = Chain::genesis();
        let mut end = End::Open;
        for (i, (first_seq, path)) in segments.iter().enumerate() {
            on_segment(i as u64, segments.len() as u64);
            let bytes = recovery::read_file(path)?;
            let unused = i + 1 == segments.len() && super::line::lines(&bytes, 0).next().is_none();
            match &end {
                _ if unused && !matches!(end, End::Closed { .. }) && i > 0 => {
                    self.report
                        .notes
                        .push(format!("{}: made ahead and not used", path.display()));
                    break;
                }
                End::Closed { next } if next == first_seq => {}
                End::Open if *first_seq == 1 => {}
                _ => {
                    self.report.faults.push(format!(
                        "{}: the log before it is missing or has no end",
                        path.display()
                    ));
                    return Ok(Extent::Part);
                }
            }
            let mut gathered = Gathered::default();
            let read = segment::read_groups(&bytes, &mut chain, |group, head| {
                for posting in group.postings() {
                    gathered.add(&posting, *first_seq, 0);
                }
                self.take_in(&group.records, head)
            });
            match read {
                Ok((_, found)) => end = found,
                Err(damage) => {
                    self.report.faults.push(format!("{} {damage}", path.display()));
                    return Ok(Extent::Part);
                }
            }
            self.report.segments += 1;
            if matches!(end, End::Closed { .. }) {
                self.check_index(path, *first_seq, &chain.head.hash, &gathered);
            }
        }
        Ok(self.finish(events, end, &chain.head))
    }

    /// An index that is missing is no fault: it is made when the folder is served.
    fn check_index(&mut self, segment: &Path, first_seq: u64, seal: &blake3::Hash, gathered: &Gathered) {
        let checked = index::fault_of_file(segment, first_seq, seal, gathered);
        let Some(fault) = checked.unwrap_or_else(|error| Some(error.to_string())) else {
            return;
        };
        let fault = format!("{}: {fault}", index::path_of(segment).display());
        match index::is_usable(segment, first_seq, seal) {
            // It would be believed.
            true => self
                .report
                .faults
                .push(format!("{fault}; it can be deleted, and is then made again")),
            false => self.report.remade.push(fault),
        }
    }

    fn take_in(&mut self, records: &[Published], head: &segment::Head) -> Result<(), String> {
        self.report.groups += 1;
        for published in records {
            self.report.events += 1;
            self.report.last_event_at = Some(published.event.at);
            self.tables.replay(published)?;
            let is_before = self
                .checkpoint_head
                .as_ref()
                .is_some_and(|head| published.seq <= head.seq);
            for sku in published.event.skus() {
                // A SKU once known stays known: said once, and then taken for told.
                if is_before
                    && let Some(told) = &mut self.claims.in_checkpoint
                    && told.skus.insert(sku.clone())
                {
                    self.report
                        .faults
                        .push(format!("checkpoint.json: it leaves out SKU {sku:?}"));
                }
                self.compare(sku, published.seq);
            }
            for (id, _) in published.event.holds_by_reservation() {
                self.compare_reservation(id, published.seq);
            }
            for change in &published.event.entries {
                if is_before
                    && let Some(told) = &mut self.claims.in_checkpoint
                    && told.entries.insert(change.key.clone())
                {
                    self.report
                        .faults
                        .push(format!("checkpoint.json: it leaves out {:?}", change.key));
                }
                self.compare_entry(&change.key, published.seq);
            }
            // Its first level makes a store.
            for change in &published.event.changes {
                self.compare_entry(&EntryKey::Store(change.store_id.clone()), published.seq);
            }
            for store in pushed_by(&published.event) {
                self.compare_entry(&EntryKey::LastPush(store.clone()), published.seq);
            }
            self.compare_totals(published)?;
        }
        match &self.checkpoint_head {
            Some(expected) if expected.seq == head.seq && expected != head => {
                Err("the checkpoint was made from another log".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn compare(&mut self, sku: &Sku, seq: u64) {
        let Some(claims) = self.claims.stocks.remove(&(sku.clone(), seq)) else {
            return;
        };
        let image = StockImage::from(&self.tables.stock(sku));
        for claim in claims.into_iter().filter(|claim| !claim.image.agrees_with(&image)) {
            self.report.faults.push(format!(
                "{}: {sku:?} at record {seq} is not what the log says",
                claim.file.display()
            ));
        }
    }

    fn compare_totals(&mut self, published: &Published) -> Result<(), String> {
        let Published { seq, event, .. } = published;
        self.totals.take(*seq, event).map_err(|fault| fault.to_string())?;
        if let Some(claimed) = self.claimed_totals.take_if(|claimed| claimed.seq == *seq) {
            let told = Totals {
                skus: self.tables.stocked().skus,
                at: claimed.at,
                ..self.totals.clone()
            };
            if told != claimed {
                let fault = format!("central.json: the totals at record {seq} are not what the log says; {REMADE}");
                self.report.faults.push(fault);
            }
        }
        Ok(())
    }

    fn compare_entry(&mut self, key: &EntryKey, seq: u64) {
        let Some(claim) = self.claims.entries.remove(&(key.clone(), seq)) else {
            return;
        };
        let line = EntryLine { seq, change: claim };
        if self.tables.entries().line(key) != Some(line) {
            self.report.faults.push(format!(
                "checkpoint.json: {key:?} at record {seq} is not what the log says"
            ));
        }
    }

    fn compare_reservation(&mut self, id: &ReservationId, seq: u64) {
        let Some(claim) = self.claims.reservations.remove(&(id.clone(), seq)) else {
            return;
        };
        if self
            .tables
            .reservation(id)
            .is_none_or(|reservation| reservation != claim)
        {
            self.report.faults.push(format!(
                "checkpoint.json: reservation {id:?} at record {seq} is not what the log says"
            ));
        }
    }

    fn finish(self, events: &Path, end: End, head: &segment::Head) -> Extent {
        let mut extent = Extent::Whole;
        self.report.head = head.hash.to_string();
        if let Some(claimed) = self.claimed_totals.filter(|claimed| claimed.seq > 0) {
            let fault = format!(
                "central.json: it is of record {}, which the log does not have; {REMADE}",
                claimed.seq
            );
            self.report.faults.push(fault);
        }
        match end {
            End::Open => {}
            End::Torn { offset, fault } => self.report.notes.push(format!(
                "the log ends at record {}; from byte {offset} stands a write that a crash cut short: {fault}",
                head.seq
            )),
            End::Closed { next } => {
                extent = Extent::Part;
                self.report
                    .faults
                    .push(format!("{}: {} is missing", events.display(), segment::file_name(next)));
            }
        }
        if let Some(checkpoint) = self.checkpoint_head.filter(|checkpoint| checkpoint.seq > head.seq) {
            let fault = format!(
                "{}: the log ends at {}, but the checkpoint was made at {}",
                events.display(),
                head.seq,
                checkpoint.seq
            );
            self.report.faults.push(fault);
            extent = Extent::Part;
        }
        extent
    }
}

fn check_states(tables: &Tables, report: &mut Report) {
    let mut holds = 0;
    for sku in tables.skus() {
        report.skus += 1;
        let stock = tables.stock(&sku);
        let fault = stock.fault();
        report.faults.extend(fault.map(|fault| format!("SKU {sku:?}: {fault}")));
        holds += stock.holds().map_or(0, |holds| holds.all().count());
    }
    let mut held = 0;
    for (_, reservation, _) in tables.each_reservation() {
        let id = &reservation.reservation_id;
        for line in reservation.lines.iter().filter(|line| line.held > 0) {
            held += 1;
            let booked = tables.held(&line.sku, &line.store_id, id);
            if booked != Some(line.held) {
                report.faults.push(format!(
                    "SKU {:?} in store {:?}: reservation {id:?} holds {}, but the level says {booked:?}",
                    line.sku, line.store_id, line.held
                ));
            }
        }
    }
    if holds != held {
        report
            .faults
            .push(format!("levels know {holds} holds, reservations {held}"));
    }
}
