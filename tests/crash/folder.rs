//! A small data folder as a map of its files, and what a journal that opens it shows: so that thousands
//! of damaged copies can be tried in process.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use holdfast::domain::command::{ReorderPoint, Reserve, Resource, Set};
use holdfast::domain::{
    Action, AllOpen, Movement, Origin, Principal, Request, RequestId, ReservationId, Scope, Sku, Stock, StoreId,
    Timestamp, decide,
};
use holdfast::journal::file::{FileJournal, OpenError, Options, Report, verify};
use holdfast::journal::record::Digest;
use holdfast::journal::{Append, HistoryFilter, Journal, LevelView, Logged, Receipt, Record};
use tokio::runtime::Runtime;

const SKUS: [&str; 3] = ["85123A", "85123a", "BANK CHARGES"];
const STORES: [&str; 2] = ["EIRE", "France"];

/// Files by their path in the folder.
pub type Files = BTreeMap<PathBuf, Vec<u8>>;

/// All that a journal shows of what is in it.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    levels: Vec<(&'static str, Vec<(Sku, LevelView)>)>,
    /// Whether each is active; `None` where the log says that a record cannot be read back.
    reservations: Vec<Option<bool>>,
    receipts: Vec<u64>,
    /// `None` where the log says that a record cannot be read back.
    pub events: Option<Vec<Logged>>,
    /// What searches find, where all of them do.
    pub histories: Option<Vec<Vec<Logged>>>,
}

impl State {
    /// As it is where keys are kept for no time at all.
    pub fn without_receipts(&self) -> Self {
        Self {
            receipts: vec![0; self.receipts.len()],
            ..self.clone()
        }
    }

    /// Reading old records may be refused; what is shown must be right.
    pub fn is_truly(&self, expected: &Self) -> bool {
        let events = self.events.clone().or_else(|| expected.events.clone());
        let histories = self.histories.clone().or_else(|| expected.histories.clone());
        let reservations = self.reservations.iter().zip(&expected.reservations);
        let reservations = reservations.map(|(shown, expected)| shown.or(*expected)).collect();
        let state = Self {
            reservations,
            events,
            histories,
            ..self.clone()
        };
        state == *expected
    }
}

pub fn options(folder: &Path, retention_ms: i64) -> Options {
    Options {
        folder: folder.to_owned(),
        segment_bytes: 2500,
        checkpoint_bytes: 1 << 30,
        retention_ms,
    }
}

/// Keys that a folder may have here, and those that are looked for in it.
const IDS: u64 = 32;

/// Whether what is written under this number is a reservation, if its level is there. These are looked for, which makes some
/// that are in no folder: each of them costs a search of every segment.
fn is_reserve(n: u64) -> bool {
    n % 4 < 2
}

pub const A_DAY_MS: i64 = 24 * 3_600_000;

/// A folder to try copies in; in memory where there is such a place.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

pub fn read_files(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(files.insert(
                    path.strip_prefix(folder).unwrap().to_owned(),
                    std::fs::read(path).unwrap(),
                )),
            }
        }
    }
    files.remove(Path::new("LOCK"));
    files
}

/// Makes the folder hold these files and nothing else.
pub fn write_files(folder: &Path, files: &Files) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap()
        } else {
            std::fs::remove_file(path).unwrap()
        }
    }
    std::fs::create_dir(folder.join("events")).unwrap();
    for (path, bytes) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// The segments, in order.
pub fn segments(files: &Files) -> Vec<PathBuf> {
    files.keys().filter(|path| is_segment(path)).cloned().collect()
}

pub fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "jsonl")
}

pub fn is_index(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "index")
}

pub fn runtime() -> Arc<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Arc::new(builder.worker_threads(1).build().unwrap())
}

/// A journal on a folder, and the states that its SKUs are in.
pub struct Shop {
    pub runtime: Arc<Runtime>,
    journal: FileJournal,
    stocks: BTreeMap<&'static str, Stock>,
    written: u64,
}

impl Shop {
    pub fn open(folder: &Path) -> Self {
        let runtime = runtime();
        let opened = unlocked(|| Ok(FileJournal::open(&options(folder, A_DAY_MS))));
        let (journal, _) = opened.unwrap().unwrap();
        let load = |sku| (sku, runtime.block_on(journal.load(&Sku::parse(sku).unwrap())).unwrap());
        let stocks: BTreeMap<_, _> = SKUS.into_iter().map(load).collect();
        let written = stocks.values().map(Stock::version).sum();
        Self {
            runtime,
            journal,
            stocks,
            written,
        }
    }

    /// So many groups of one to three records, of every kind that there is as yet.
    pub fn write(&mut self, groups: u64) {
        for _ in 0..groups {
            let records = 1 + self.written % 3;
            self.write_group(records);
        }
    }

    pub fn write_group(&mut self, records: u64) {
        let sku = SKUS[(self.written % 3) as usize];
        let grounds = vec![(Sku::parse(sku).unwrap(), self.stocks[sku].version())];
        let records = (0..records).map(|_| self.next_record(sku)).collect();
        self.runtime
            .block_on(self.journal.append(Append::of_stock(grounds, records)))
            .unwrap();
    }

    fn next_record(&mut self, name: &'static str) -> Record {
        let n = self.written;
        self.written += 1;
        let stock = self.stocks.get_mut(name).unwrap();
        let store = STORES[(n % 2) as usize];
        let has_level = stock.level(&StoreId::parse(store).unwrap()).is_some();
        let action = match n % 4 {
            _ if !has_level => Action::Set(Box::new(Set {
                quantity: 1000 + n,
                reorder_point: ReorderPoint::At(5),
                ..Set::default()
            })),
            _ if is_reserve(n) => Action::Reserve(Reserve {
                quantity: 2,
                reservation_id: reservation(n),
                is_taken: false,
                over_quota: None,
                ttl_seconds: (n % 4 == 1).then_some(3600),
                reference: Some(format!("cart {n}")),
            }),
            2 => Action::Adjust {
                delta: -1,
                movement: Movement::Sale,
                note: Some("für Zoë".into()),
            },
            _ => Action::ReleaseQuantity { quantity: 1 },
        };
        let held = stock
            .level(&StoreId::parse(store).unwrap())
            .is_some_and(|level| level.reserved > 0);
        let action = match action {
            Action::ReleaseQuantity { .. } if !held => Action::Adjust {
                delta: 7,
                movement: Movement::StockIn,
                note: None,
            },
            action => action,
        };
        let sku = Sku::parse(name).unwrap();
        let origin = Arc::new(Origin {
            by: Principal::anonymous(),
            request_id: RequestId::parse("r-1").unwrap(),
            scope: Scope::default(),
        });
        let store_id = StoreId::parse(store).unwrap();
        let request = Request {
            sku: sku.clone(),
            store_id,
            action,
            resource: Resource::Level,
            expected: Default::default(),
            origin,
        };
        let now = Timestamp::from_millis(chrono::Utc::now().timestamp_millis());
        let event = Arc::new(decide(stock, &request, &AllOpen, now).unwrap());
        stock.evolve(&sku, &event);
        let receipt = Receipt::new(key(n), Digest::of(&[b"request"]), 200);
        Record {
            event,
            receipt: Some(Box::new(receipt)),
        }
    }

    pub fn state(&self) -> State {
        assert!(self.written <= IDS, "what was written behind them is not looked for");
        state_of(&self.runtime, &self.journal)
    }

    /// Ends in order, with a snapshot of each SKU; returns what is in the folder.
    pub fn close(self, folder: &Path) -> Files {
        self.runtime.block_on(async {
            for sku in SKUS {
                self.journal.save_snapshot(&Sku::parse(sku).unwrap()).await.unwrap();
            }
        });
        self.journal.close().unwrap();
        drop(self);
        read_files(folder)
    }

    /// Ends as a kill does: no checkpoint, and room behind the log, of which only a little is kept here.
    pub fn crash(self, folder: &Path) -> Files {
        drop(self);
        let mut files = read_files(folder);
        for (_, bytes) in files.iter_mut().filter(|(path, _)| is_segment(path)) {
            let length = bytes.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 2);
            bytes.truncate(length + 300);
        }
        files
    }
}

fn reservation(n: u64) -> ReservationId {
    ReservationId::parse(&format!("res-{n}")).unwrap()
}

fn key(n: u64) -> Digest {
    Digest::of(&[b"key", &n.to_le_bytes()])
}

fn state_of(runtime: &Runtime, journal: &FileJournal) -> State {
    runtime.block_on(async {
        let mut levels = Vec::new();
        for store in STORES {
            levels.push((
                store,
                journal
                    .levels_in(&StoreId::parse(store).unwrap(), None, 1000)
                    .await
                    .unwrap(),
            ));
        }
        let (mut reservations, mut receipts) = (Vec::new(), Vec::new());
        let now = Timestamp::from_millis(chrono::Utc::now().timestamp_millis());
        for n in 0..IDS {
            if is_reserve(n) {
                let found = journal.reservation(&reservation(n)).await.ok();
                reservations.push(found.map(|found| found.is_some_and(|reservation| reservation.is_active())));
            }
            receipts.push(
                journal
                    .receipt(key(n), now)
                    .await
                    .unwrap()
                    .map_or(0, |receipt| receipt.seq),
            );
        }
        let events = journal.events(0, 10_000).await.ok();
        State {
            levels,
            reservations,
            receipts,
            events,
            histories: histories(journal).await,
        }
    })
}

/// What is searched for: keys of every kind, alone and together, and times.
pub fn filters() -> Vec<HistoryFilter> {
    let sku = |name| Some(Sku::parse(name).unwrap());
    let store = |name| Some(StoreId::parse(name).unwrap());
    let all = HistoryFilter::default;
    vec![
        all(),
        HistoryFilter {
            sku: sku(SKUS[1]),
            ..all()
        },
        HistoryFilter {
            store: store(STORES[0]),
            ..all()
        },
        HistoryFilter {
            sku: sku(SKUS[0]),
            store: store(STORES[0]),
            movement: Some(Movement::Sale),
            ..all()
        },
        HistoryFilter {
            sku: sku("unknown"),
            ..all()
        },
        HistoryFilter {
            to: Some(Timestamp::from_millis(0)),
            ..all()
        },
    ]
}

async fn histories(journal: &FileJournal) -> Option<Vec<Vec<Logged>>> {
    let mut histories = Vec::new();
    for filter in filters() {
        histories.push(journal.history(filter, u64::MAX, 10_000).await.ok()?);
    }
    Some(histories)
}

/// What serving the folder comes to: a state, or why it is refused. A panic is neither.
pub fn serve(runtime: &Runtime, folder: &Path, retention_ms: i64) -> Result<State, String> {
    let opened = unlocked(|| catch_unwind(AssertUnwindSafe(|| FileJournal::open(&options(folder, retention_ms)))));
    match opened {
        Ok(Ok((journal, _))) => Ok(state_of(runtime, &journal)),
        Ok(Err(refusal)) => Err(refusal.to_string()),
        Err(_) => panic!("opening {} panicked", folder.display()),
    }
}

/// What `holdfast verify` tells.
#[derive(Debug)]
pub struct Told {
    pub faults: Vec<String>,
    /// What is damaged, and made again by the service itself.
    pub remade: Vec<String>,
}

pub fn told(folder: &Path) -> Told {
    match unlocked(|| catch_unwind(AssertUnwindSafe(|| verify(folder, |_, _| {})))) {
        Ok(Ok(Report { faults, remade, .. })) => Told { faults, remade },
        Ok(Err(error)) => Told {
            faults: vec![error.to_string()],
            remade: Vec::new(),
        },
        Err(_) => panic!("verifying {} panicked", folder.display()),
    }
}

/// What is wrong according to `holdfast verify`; empty where all is well.
pub fn faults(folder: &Path) -> Vec<String> {
    told(folder).faults
}

/// A process that another test starts holds, for the moment between its fork and its exec, a lock that
/// this process has just let go of.
fn unlocked<T>(
    attempt: impl Fn() -> std::thread::Result<Result<T, OpenError>>,
) -> std::thread::Result<Result<T, OpenError>> {
    for _ in 0..200 {
        match attempt() {
            Ok(Err(error)) if error.to_string().contains("is in use by process") => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
    attempt()
}
