//! System calls that fail, or are the last that the service makes, by `strace --inject`.
//!
//! strace counts calls by thread, from when it is attached: so a place in the log's own thread is named
//! exactly, whatever the others do.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::books::{Books, Write};
use super::client::Client;
use super::support::TestApp;
use super::{assert_verifies, within};

const RENAMES: &str = "rename,renameat,renameat2";

/// Says aloud that a test cannot run here.
pub fn has_strace() -> bool {
    let found = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        eprintln!("skipped: strace is not installed");
    }
    found
}

/// Attached to a running service; lets go of it when dropped.
struct Strace {
    child: Child,
    trace: PathBuf,
}

impl Strace {
    /// To all threads of the service.
    fn of(app: &TestApp, inject: &str) -> Self {
        Self::attach(app, "", inject)
    }

    /// To the threads whose name begins so.
    fn attach(app: &TestApp, name: &str, inject: &str) -> Self {
        let trace = app.folder().join("strace.out");
        let tasks: Vec<PathBuf> = threads(app.pid(), name);
        assert!(!tasks.is_empty(), "there is no thread {name}");
        let mut command = Command::new("strace");
        command.args(["-qq", "-o"]).arg(&trace);
        if name.is_empty() {
            // Threads that are yet to come as well.
            command.arg("-f");
        }
        command.arg(format!("--trace={}", inject.split(':').next().unwrap()));
        command.arg(format!("--inject={inject}"));
        for task in &tasks {
            command.arg("-p").arg(task.file_name().unwrap());
        }
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let is_attached = || tasks.iter().all(|task| is_traced(task));
        assert!(
            within(Duration::from_secs(10), is_attached),
            "strace could not be attached"
        );
        Self { child, trace }
    }

    fn has_injected(&self) -> bool {
        std::fs::read_to_string(&self.trace).is_ok_and(|trace| trace.contains("(INJECTED)"))
    }

    fn detach(self) {}
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .arg(self.child.id().to_string())
            .stderr(Stdio::null())
            .status();
        let _ = self.child.wait();
    }
}

fn threads(pid: u32, name: &str) -> Vec<PathBuf> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .unwrap()
        .map(|task| task.unwrap().path());
    let is_named = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.starts_with(name));
    tasks.filter(is_named).collect()
}

fn is_traced(task: &Path) -> bool {
    let status = std::fs::read_to_string(task.join("status")).unwrap_or_default();
    status
        .lines()
        .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
}

fn long_note() -> String {
    "名".repeat(1000)
}

/// The log's file fails at `inject` from the next call on: only the write under way is unknown, and
/// nothing is tried again before a restart, also not once the disk seems well.
fn assert_stops_at(inject: &str) {
    if !has_strace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let client = Client::new(app.port);
    let mut books = Books::open(&client);
    assert_eq!(books.send(&client, Write::new("before", "")), "");
    assert!(client.is_ready());

    let failing = Strace::of(&app, inject);
    assert_eq!(books.send(&client, Write::new("under-way", "")), "outcome_unknown");
    for n in 0..3 {
        assert_eq!(
            books.send(&client, Write::new(format!("later-{n}"), "")),
            "storage_unavailable"
        );
    }
    books.assert_acknowledged_is_shown(&client);
    assert!(!client.is_ready());
    failing.detach();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(
        books.send(&client, Write::new("after", "")),
        "storage_unavailable",
        "a failed sync was tried again"
    );
    let repeat = client.add_one("SKU-0", "under-way", "").unwrap();
    assert_eq!(
        repeat.error(),
        "outcome_unknown",
        "its key cannot tell before a restart"
    );
    books.assert_acknowledged_is_shown(&client);
    assert!(!client.is_ready());

    app.kill();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let client = Client::new(app.port);
    assert!(client.is_ready());
    books.assert_agree(&client);
    assert!(app.terminate().success());
    assert_verifies(folder.path());
}

#[test]
fn after_a_failed_sync_the_write_under_way_is_unknown_and_later_ones_are_refused() {
    assert_stops_at("fdatasync:error=EIO");
}

#[test]
fn after_a_failed_write_the_write_under_way_is_unknown_and_later_ones_are_refused() {
    assert_stops_at("pwrite64:error=EIO");
}

/// The first room of a segment is made by the log's thread itself.
#[test]
fn a_sync_that_fails_while_room_is_made_stops_the_log_until_a_restart() {
    if !has_strace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let failing = Strace::of(&app, "fdatasync:error=EIO");
    let client = Client::new(app.port);
    let refused = client.put("SKU-0", 1);
    assert_eq!(
        (refused.status, refused.error()),
        (503, "storage_unavailable"),
        "{refused:?}"
    );
    assert!(failing.has_injected());
    failing.detach();
    std::thread::sleep(Duration::from_secs(1));
    let later = client.put("SKU-0", 2);
    assert_eq!(
        later.error(),
        "storage_unavailable",
        "writes went on after a failed sync: {later:?}"
    );
    app.kill();
    let app = TestApp::start_in(folder.path(), 0, &[]);
    assert_eq!(
        Client::new(app.port).put("SKU-0", 3).body["version"],
        1,
        "a refused write is there"
    );
}

/// Room is made ahead by a thread beside the log's, in the same open file. The kernel reports a failed
/// write-back once for an open file: whichever of the two syncs first takes the error, and the other is
/// told that all is well. So a failure here says as much about the log's own groups.
#[test]
fn a_sync_that_fails_while_room_is_made_ahead_stops_the_log_until_a_restart() {
    if !has_strace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let client = Client::new(app.port);
    let mut books = Books::open(&client);
    let failing = Strace::attach(&app, "holdfast-room", "fdatasync:error=EIO");
    let note = long_note();
    let mut n = 0;
    let mut write = |books: &mut Books| {
        n += 1;
        books.send(&client, Write::new(format!("write-{n}"), &note))
    };
    for _ in 0..400 {
        if !write(&mut books).is_empty() || failing.has_injected() {
            break;
        }
    }
    assert!(
        within(Duration::from_secs(5), || failing.has_injected()),
        "no room was made ahead"
    );
    failing.detach();
    let answers: Vec<String> = (0..3).map(|_| write(&mut books)).collect();
    assert_eq!(
        answers[2], "storage_unavailable",
        "writes went on after a failed sync of the log"
    );
    assert!(!client.is_ready());
    app.kill();
    let app = TestApp::start_in(folder.path(), 0, &[]);
    books.assert_agree(&Client::new(app.port));
}

/// Snapshots and checkpoints are made from the log: without them nothing is lost but time.
#[test]
fn the_service_goes_on_when_snapshots_and_checkpoints_cannot_be_put_in_place() {
    if !has_strace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let args = ["--segment-mb", "8", "--checkpoint-mb", "1", "--snapshot-seconds", "1"];
    let mut app = TestApp::start_in(folder.path(), 0, &args);
    let mut books = Books::open(&Client::new(app.port));
    let failing = Strace::of(&app, &format!("{RENAMES}:error=EIO"));
    books.send_from(app.port, 8, 100, "run", &long_note());
    assert_eq!(
        (books.acknowledged.len(), books.unknown.len()),
        (800, 0),
        "writes failed with the renames"
    );
    let warned = || {
        ["could not write a checkpoint", "snapshot not written"]
            .iter()
            .all(|text| app.log().contains(text))
    };
    assert!(within(Duration::from_secs(5), warned), "{}", app.log());
    assert!(Client::new(app.port).is_ready());
    failing.detach();
    app.kill();
    assert!(!folder.path().join("checkpoint.json").exists());
    assert_verifies(folder.path());
    let mut app = TestApp::start_in(folder.path(), 0, &args);
    books.assert_agree(&Client::new(app.port));
    assert!(app.terminate().success());
    assert!(folder.path().join("checkpoint.json").exists());
    assert_verifies(folder.path());
}

/// Kills at the entry of one system call after the other while segments, checkpoints and snapshots are
/// made: `signal=KILL` keeps the call from being made.
fn assert_survives_death_at(thread: &str, calls: &str, nth: &[u32]) {
    if !has_strace() {
        return;
    }
    let args = ["--segment-mb", "1", "--checkpoint-mb", "1", "--snapshot-seconds", "1"];
    for when in nth {
        let folder = tempfile::tempdir().unwrap();
        let mut app = TestApp::start_in(folder.path(), 0, &args);
        let mut books = Books::open(&Client::new(app.port));
        let _deadly = Strace::attach(&app, thread, &format!("{calls}:signal=KILL:when={when}"));
        books.send_from(app.port, 4, 600, "run", &long_note());
        assert!(!books.unknown.is_empty(), "{calls} was not called {when} times");
        app.kill();
        eprintln!(
            "killed at call {when} of {calls}, after {} writes",
            books.acknowledged.len()
        );
        assert_verifies(folder.path());
        let mut app = TestApp::start_in(folder.path(), 0, &args);
        books.assert_agree(&Client::new(app.port));
        assert!(app.terminate().success());
        assert_verifies(folder.path());
    }
}

#[test]
fn nothing_is_lost_when_the_last_call_is_a_write_to_the_log() {
    assert_survives_death_at("", "pwrite64", &[1, 2, 3, 100]);
}

#[test]
fn nothing_is_lost_when_the_last_call_is_a_sync_of_the_log() {
    assert_survives_death_at("", "fdatasync", &[1, 2, 100]);
}

/// The log's thread opens a file only to go on in a new segment: that, and the folder to sync it.
#[test]
fn nothing_is_lost_when_the_last_call_opens_a_new_segment() {
    assert_survives_death_at("holdfast-log", "openat", &[1, 2]);
}

/// The only one under load is of the segment that has just been closed.
#[test]
fn nothing_is_lost_when_the_last_call_cuts_a_closed_segment() {
    assert_survives_death_at("", "ftruncate", &[1, 2]);
}

#[test]
fn nothing_is_lost_when_the_last_call_syncs_a_folder_or_a_whole_file() {
    assert_survives_death_at("", "fsync", &[1, 2, 3]);
}

#[test]
fn nothing_is_lost_when_the_last_call_puts_a_file_in_its_place() {
    assert_survives_death_at("", RENAMES, &[1, 2]);
}

#[test]
fn what_a_crash_left_of_a_checkpoint_is_cleared_away() {
    if !has_strace() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let args = ["--checkpoint-mb", "1", "--snapshot-seconds", "3600"];
    let mut app = TestApp::start_in(folder.path(), 0, &args);
    let mut books = Books::open(&Client::new(app.port));
    let _deadly = Strace::attach(&app, "holdfast-check", &format!("{RENAMES}:signal=KILL"));
    books.send_from(app.port, 4, 600, "run", &long_note());
    app.kill();
    let leftovers = || {
        let names = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with(".new-")).count()
    };
    assert_eq!(
        leftovers(),
        1,
        "the kill did not meet a checkpoint that was being written"
    );
    let mut app = TestApp::start_in(folder.path(), 0, &args);
    assert!(app.terminate().success());
    assert_eq!(
        leftovers(),
        0,
        "each crash leaves as much on the disk for ever as a checkpoint is large"
    );
}

#[test]
fn a_job_that_is_taken_away_is_gone_whole_wherever_the_service_dies_in_it() {
    if !has_strace() {
        return;
    }
    for when in 1..=3 {
        let folder = tempfile::tempdir().unwrap();
        let mut app = TestApp::start_in(folder.path(), 0, &[]);
        let client = Client::new(app.port);
        let job = client.import("s", "sku,quantity\nA,x\n");
        let is_over = || client.get(&job).body["status"] == "succeeded";
        assert!(within(Duration::from_secs(10), is_over), "{:?}", client.get(&job));
        // State, list of errors, folder.
        let _deadly = Strace::of(&app, &format!("unlinkat:signal=KILL:when={when}"));
        assert_eq!(client.delete(&job), None, "unlinkat was not called {when} times");
        app.kill();
        assert_verifies(folder.path());
        let mut app = TestApp::start_in(folder.path(), 0, &[]);
        assert_eq!(Client::new(app.port).get(&job).status, 404);
        assert_eq!(std::fs::read_dir(folder.path().join("jobs")).unwrap().count(), 0);
        assert!(!app.log().contains("cannot be read"), "{}", app.log());
        assert!(app.terminate().success());
    }
}
