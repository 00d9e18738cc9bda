//! Lines into a data folder: decided here, appended in groups, several of them under way at a time.
//!
//! The journal shows only what is durable. The stock of a SKU whose events are under way is kept here, and
//! not loaded again before they have arrived.

use std::collections::{HashMap, VecDeque};

use anyhow::anyhow;
use foldhash::fast::RandomState;
use futures_util::FutureExt;

use super::Lines;
use super::report::Report;
use crate::cli::folder::Folder;
use crate::domain::{Event, Refusal, Sku, Stock, decide};
use crate::http::problem::Problem;
use crate::import::row::{Fault, Line, Row};
use crate::journal::stores::KnownStores;
use crate::journal::{Answer, Append, Appended, Journal, JournalError, Record};

/// Lines in an append. The log writes what is queued together; much larger ones only cost it fresh memory.
const GROUP_LINES: u64 = 250;
/// Appends under way: while some are synced, the next are decided and encoded.
const UNDER_WAY: usize = 8;

pub struct FolderTarget {
    folder: Folder,
    dry_run: bool,
    /// Only products and stores that the catalogue has are stocked.
    is_strict: bool,
    /// What runs ahead of the journal.
    ahead: HashMap<Sku, Ahead, RandomState>,
    group: Group,
    under_way: VecDeque<UnderWay>,
    /// All lines up to this one are in, but for the refused ones.
    certain: u64,
}

struct Ahead {
    stock: Stock,
    /// The group that has its last event.
    group: u64,
}

/// Events that are decided and not yet appended.
struct Group {
    number: u64,
    append: Append,
    lines: u64,
    last_line: u64,
}

struct UnderWay {
    number: u64,
    skus: Vec<Sku>,
    lines: u64,
    last_line: u64,
    answer: Answer<Appended>,
}

impl Group {
    fn new(number: u64) -> Self {
        Self {
            number,
            append: Append::default(),
            lines: 0,
            last_line: 0,
        }
    }
}

impl FolderTarget {
    pub fn new(folder: Folder, dry_run: bool, is_strict: bool) -> Self {
        Self {
            folder,
            dry_run,
            is_strict,
            ahead: HashMap::default(),
            group: Group::new(1),
            under_way: VecDeque::new(),
            certain: 0,
        }
    }

    pub async fn import(mut self, lines: &mut Lines, report: &mut Report) -> anyhow::Result<()> {
        while let Some(batch) = lines.recv().await {
            for line in batch {
                self.take(line, report).await?;
            }
        }
        self.append();
        while !self.under_way.is_empty() {
            self.settle(report).await?;
        }
        self.folder.close()
    }

    async fn take(&mut self, line: Line, report: &mut Report) -> anyhow::Result<()> {
        let decided = match line.read {
            Ok(row) => self.count(row).await?.map_err(|refusal| {
                let problem = Problem::from(refusal);
                Fault::of_line(problem.to_string())
            }),
            Err(fault) => Err(fault),
        };
        self.group.last_line = line.number;
        match decided {
            Ok(()) => self.group.lines += 1,
            Err(fault) => report.refused(line.number, fault)?,
        }
        if self.group.lines >= GROUP_LINES {
            self.append();
        }
        while self.under_way.len() > UNDER_WAY {
            self.settle(report).await?;
        }
        Ok(())
    }

    /// Decides a line on the state that all lines before it will have left.
    async fn count(&mut self, row: Row) -> anyhow::Result<Result<(), Refusal>> {
        let sku = row.sku.clone();
        let mut ahead = match self.ahead.remove(&sku) {
            Some(ahead) => ahead,
            None => Ahead {
                stock: self.folder.journal.load(&sku).await?,
                group: 0,
            },
        };
        // One moment for both: what is over must be expired before anything is decided.
        let now = self.folder.now();
        for event in self.folder.over(&sku, &ahead.stock, now) {
            self.record(&sku, &mut ahead, event);
        }
        let request = row.request(self.folder.origin.clone(), None);
        let stores = KnownStores::of(&self.folder.journal, self.is_strict);
        let decided = decide(&ahead.stock, &request, &stores, now);
        self.group.append.entry_grounds.extend(stores.into_grounds());
        let outcome = decided.map(|event| self.record(&sku, &mut ahead, event));
        if ahead.group > 0 {
            self.ahead.insert(sku, ahead);
        }
        Ok(outcome)
    }

    fn record(&mut self, sku: &Sku, ahead: &mut Ahead, event: Event) {
        let Group { number, append, .. } = &mut self.group;
        if ahead.group != *number {
            append.grounds.push((sku.clone(), ahead.stock.version()));
            ahead.group = *number;
        }
        ahead.stock.evolve(sku, &event);
        append.records.push(Record {
            event: event.into(),
            receipt: None,
        });
    }

    /// Sends the group on its way. In a dry run it goes nowhere, and what it would have made is kept.
    fn append(&mut self) {
        if self.group.append.records.is_empty() {
            return;
        }
        let next = Group::new(self.group.number + 1);
        let Group {
            number,
            append,
            lines,
            last_line,
        } = std::mem::replace(&mut self.group, next);
        let skus = if self.dry_run {
            Vec::new()
        } else {
            append.grounds.iter().map(|(sku, _)| sku.clone()).collect()
        };
        let answer = if self.dry_run {
            std::future::ready(Ok(Appended { first_seq: 0 })).boxed()
        } else {
            self.folder.journal.append(append)
        };
        self.under_way.push_back(UnderWay {
            number,
            skus,
            lines,
            last_line,
            answer,
        });
    }

    /// Waits for the oldest append, and forgets what the journal now shows.
    async fn settle(&mut self, report: &mut Report) -> anyhow::Result<()> {
        let Some(oldest) = self.under_way.pop_front() else {
            return Ok(());
        };
        if let Err(error) = oldest.answer.await {
            return Err(self.failed(&error));
        }
        report.imported(oldest.lines);
        self.certain = oldest.last_line;
        for sku in &oldest.skus {
            if self.ahead.get(sku).is_some_and(|ahead| ahead.group == oldest.number) {
                self.ahead.remove(sku);
            }
        }
        Ok(())
    }

    fn failed(&self, error: &JournalError) -> anyhow::Error {
        let certain = match self.certain {
            0 => "no line is certainly in".to_owned(),
            certain => format!("all lines up to {certain} are in, but for the refused ones"),
        };
        anyhow!(
            "writing failed: {error}; {certain}, and those after may or may not be; import the file again once that is \
             mended: counting again leaves the same levels"
        )
    }
}
