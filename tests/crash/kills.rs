//! `kill -9` at random moments, under load.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::books::Books;
use super::client::Client;
use super::support::{HOLDFAST, TestApp};
use super::{assert_verifies, fixed_port, within};

const SMALL_FILES: &[&str] = &["--segment-mb", "1", "--checkpoint-mb", "1", "--snapshot-seconds", "1"];

#[test]
fn the_books_agree_after_twenty_kills() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample/online-retail-2010-12-01.csv");
    replay_and_kill(&sample, 20, 50..250);
}

#[test]
fn the_books_of_a_whole_month_agree_after_its_kills() {
    let december = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/online-retail-2010-12.csv.gz");
    replay_and_kill(&december, 20, 150..400);
}

/// Kills the service at least so often while `file` is replayed (several times, if it is short), so
/// many milliseconds after it has come back; the replay itself compares every level at its end.
fn replay_and_kill(file: &Path, kills: usize, pause_ms: std::ops::Range<u64>) {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), fixed_port(), SMALL_FILES);
    let mut chance = Chance::new();
    let (mut killed, mut retries) = (0, 0);
    while killed < kills {
        let mut replay = start_replay(file, app.port);
        while killed < kills {
            std::thread::sleep(Duration::from_millis(chance.within(&pause_ms)));
            if replay.try_wait().unwrap().is_some() {
                break;
            }
            app.kill();
            killed += 1;
            app = TestApp::start_in(folder.path(), app.port, SMALL_FILES);
        }
        retries += assert_agrees(replay.wait_with_output().unwrap());
    }
    // Every kill has met requests under way, or nothing would have been sent again.
    assert!(retries >= killed as u64, "{killed} kills, but {retries} retries");
    assert_state_outlives_stops(app);
}

fn start_replay(file: &Path, port: u16) -> Child {
    let mut command = Command::new(HOLDFAST);
    command.arg("bench").arg("--replay").arg(file);
    command.args(["--clients", "64", "--json", "--give-up-after", "60", "--url"]);
    command.arg(format!("http://127.0.0.1:{port}"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Returns how often the replay had to send again.
fn assert_agrees(Output { status, stdout, stderr }: Output) -> u64 {
    let (report, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "the replay ended with {status}: {report}{errors}");
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (&report["agrees"], &report["differenceCount"]),
        (&Value::Bool(true), &0.into()),
        "{report}"
    );
    report["retries"].as_u64().unwrap()
}

/// Everything that the books are about, as the service shows it.
#[derive(PartialEq)]
struct Shown {
    levels: Vec<Value>,
    reservations: Vec<Value>,
    movements: Vec<Value>,
}

/// By reservation, if there is one, SKU and store.
type Sums = BTreeMap<(String, String, String), i64>;

fn add(sums: &mut Sums, id: &Value, row: &Value, units: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let units = units.as_i64().unwrap();
    if units != 0 {
        *sums
            .entry((text(id), text(&row["sku"]), text(&row["storeId"])))
            .or_default() += units;
    }
}

impl Shown {
    fn by(app: &TestApp) -> Self {
        let client = Client::new(app.port);
        let movements = client.all("/api/movements?");
        // Each level has been counted, so that every store is among them.
        let stores: BTreeSet<&str> = movements.iter().map(|row| row["storeId"].as_str().unwrap()).collect();
        let levels = stores.iter().flat_map(|store| client.list(&store.replace(' ', "%20")));
        Self {
            levels: levels.collect(),
            reservations: client.all("/api/reservations?"),
            movements,
        }
    }

    /// What is on hand is what has moved, what is reserved is what carts hold, and each cart has sold what it says.
    fn assert_agrees(&self) {
        let (mut on_hand, mut reserved, mut moved, mut held) = (Sums::new(), Sums::new(), Sums::new(), Sums::new());
        let (mut sold, mut committed) = (Sums::new(), Sums::new());
        for level in &self.levels {
            add(&mut on_hand, &Value::Null, level, &level["quantity"]);
            add(&mut reserved, &Value::Null, level, &level["reserved"]);
        }
        for row in &self.movements {
            add(&mut moved, &Value::Null, row, &row["delta"]);
            if row["type"] == "SALE" {
                add(
                    &mut sold,
                    &row["reservationId"],
                    row,
                    &(-row["delta"].as_i64().unwrap()).into(),
                );
            }
        }
        for reservation in &self.reservations {
            assert_eq!(reservation["status"], "committed", "{reservation}");
            for line in reservation["lines"].as_array().unwrap() {
                add(&mut held, &Value::Null, line, &line["held"]);
                add(&mut committed, &reservation["reservationId"], line, &line["committed"]);
            }
        }
        moved.retain(|_, units| *units != 0);
        assert!(on_hand == moved, "what is on hand is not what has moved");
        assert!(reserved == held, "what is reserved is not what the carts hold");
        assert!(sold == committed, "the sales are not what the carts have sold");
        assert!(
            sold.keys().all(|(id, ..)| !id.is_empty()) && sold.len() > 1000,
            "{} sales",
            sold.len()
        );
    }
}

fn assert_state_outlives_stops(mut app: TestApp) {
    let folder = app.folder().to_owned();
    let shown = Shown::by(&app);
    assert!(shown.levels.len() > 1000, "only {} levels", shown.levels.len());
    shown.assert_agrees();
    assert!(app.terminate().success());
    assert_verifies(&folder);
    let mut app = TestApp::start_in(&folder, app.port, SMALL_FILES);
    assert!(Shown::by(&app) == shown, "the books are others after a stop");
    app.kill();
    assert_verifies(&folder);
    let app = TestApp::start_in(&folder, app.port, SMALL_FILES);
    assert!(Shown::by(&app) == shown, "the books are others after a kill");
    assert!(
        std::fs::read_dir(folder.join("events")).unwrap().count() > 1,
        "the log never went to a second segment"
    );
}

#[test]
fn what_64_clients_were_answered_is_there_once_after_each_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), fixed_port(), SMALL_FILES);
    let mut books = Books::open(&Client::new(app.port));
    for run in ["first", "second", "third"] {
        let (port, answered) = (app.port, AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let writing = scope.spawn(|| books.send_counted(port, 64, usize::MAX, run, "", &answered));
            let under_way = within(Duration::from_secs(20), || answered.load(Ordering::Relaxed) > 300);
            app.kill();
            writing.join().unwrap();
            assert!(under_way, "the clients were hardly answered");
        });
        assert!(!books.unknown.is_empty(), "nothing was under way at the kill");
        assert_verifies(folder.path());
        app = TestApp::start_in(folder.path(), port, SMALL_FILES);
        books.assert_agree(&Client::new(port));
    }
    assert!(app.terminate().success());
    assert_verifies(folder.path());
}

/// A stop in order answers what it has accepted; who is not answered was not accepted or finds its key.
#[test]
fn a_stop_under_load_exits_0_and_loses_nothing_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), fixed_port(), SMALL_FILES);
    let mut books = Books::open(&Client::new(app.port));
    let (port, answered) = (app.port, AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| books.send_counted(port, 16, usize::MAX, "run", "", &answered));
        assert!(within(Duration::from_secs(20), || answered.load(Ordering::Relaxed) > 300));
        assert!(app.terminate().success());
        writing.join().unwrap();
    });
    assert_verifies(folder.path());
    let app = TestApp::start_in(folder.path(), port, SMALL_FILES);
    books.assert_agree(&Client::new(app.port));
}

/// SplitMix64, from the clock: every run kills at other moments.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64)
    }

    fn within(&mut self, range: &std::ops::Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        range.start + (mixed ^ (mixed >> 27)) % (range.end - range.start)
    }
}
