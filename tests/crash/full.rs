//! A disk without room: a small tmpfs of its own.

use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::books::{Books, Write};
use super::client::Client;
use super::support::{HOLDFAST, TestApp};
use super::{assert_verifies, within};

const SMALL_FILES: &[&str] = &["--segment-mb", "1", "--checkpoint-mb", "1", "--snapshot-seconds", "1"];
const A_MOMENT: Duration = Duration::from_secs(2);

/// Unmounted when dropped; declare it before the service that uses it.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Says aloud that it cannot be had here.
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder.path());
        let mounted = command
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: a tmpfs cannot be mounted here (it takes root)");
        }
        mounted.then_some(Self { folder })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn put_filler(&self, bytes: usize) {
        std::fs::write(self.filler(), vec![0; bytes]).unwrap();
    }

    /// Lets the filler take what room there is, but for so much.
    fn fill_up_to(&self, left: u64) {
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.filler())
            .unwrap();
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(left)).unwrap();
    }

    fn remove_filler(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

fn note() -> String {
    "n".repeat(1000)
}

/// Writes until refused, and some more.
fn write_until_refused(books: &mut Books, client: &Client, run: &str) {
    let note = note();
    let write = |books: &mut Books, n| books.send(client, Write::new(format!("{run}-{n}"), &note));
    let refused_at = (0..20_000)
        .find(|n| !write(books, *n).is_empty())
        .expect("the disk never was full");
    for n in refused_at + 1..refused_at + 20 {
        write(books, n);
    }
    assert_eq!(
        books.unknown.len(),
        0,
        "a write that found no room has a known outcome: {:?}",
        books.unknown
    );
}

fn resume(books: &mut Books, client: &Client, key: &str) {
    assert!(
        within(A_MOMENT, || client.is_ready()),
        "{key}: not ready again after {A_MOMENT:?}"
    );
    assert_eq!(books.send(client, Write::new(key, &note())), "");
}

fn assert_holds_after_a_kill(mut app: TestApp, books: &mut Books, args: &[&str]) {
    let folder: PathBuf = app.folder().to_owned();
    app.kill();
    assert_verifies(&folder);
    let mut app = TestApp::start_in(&folder, 0, args);
    books.assert_agree(&Client::new(app.port));
    assert!(app.terminate().success());
    assert_verifies(&folder);
}

fn fills_up_and_resumes(args: &[&str]) {
    let Some(disk) = SmallDisk::mount("3m") else { return };
    disk.put_filler(1 << 20);
    let app = TestApp::start_in(&disk.data(), 0, args);
    let client = Client::new(app.port);
    let mut books = Books::open(&client);
    write_until_refused(&mut books, &client, "run");
    assert!(!client.is_ready());
    books.assert_acknowledged_is_shown(&client);
    disk.remove_filler();
    resume(&mut books, &client, "resumed");
    books.assert_acknowledged_is_shown(&client);
    assert_holds_after_a_kill(app, &mut books, args);
}

#[test]
fn a_full_disk_refuses_writes_whole_and_takes_them_again_when_there_is_room() {
    fills_up_and_resumes(&[]);
}

#[test]
fn a_disk_that_is_full_between_small_segments_takes_writes_again_when_there_is_room() {
    fills_up_and_resumes(SMALL_FILES);
}

#[test]
fn what_was_acknowledged_before_a_full_disk_is_there_when_it_is_still_full_after_a_kill() {
    let Some(disk) = SmallDisk::mount("3m") else { return };
    disk.put_filler(1 << 20);
    let mut app = TestApp::start_in(&disk.data(), 0, SMALL_FILES);
    let client = Client::new(app.port);
    let mut books = Books::open(&client);
    write_until_refused(&mut books, &client, "run");
    app.kill();
    disk.fill_up_to(0);
    let app = TestApp::start_in(&disk.data(), 0, SMALL_FILES);
    let client = Client::new(app.port);
    books.assert_acknowledged_is_shown(&client);
    disk.remove_filler();
    resume(&mut books, &client, "resumed");
    assert_holds_after_a_kill(app, &mut books, SMALL_FILES);
}

/// Ready and refusing at once would have a load balancer send it all the writes that it cannot take.
fn stays_unready_while_full(args: &[&str]) {
    let Some(disk) = SmallDisk::mount("3m") else { return };
    let app = TestApp::start_in(&disk.data(), 0, args);
    let client = Client::new(app.port);
    let mut books = Books::open(&client);
    write_until_refused(&mut books, &client, "run");
    let was_ready = within(A_MOMENT, || client.is_ready());
    let then = books.send(&client, Write::new("then", &note()));
    assert!(
        !(was_ready && then == "storage_unavailable"),
        "it called itself ready and refused the next write:\n{}",
        app.log()
    );
}

#[test]
fn readiness_does_not_come_back_before_writes_do() {
    stays_unready_while_full(&[]);
}

#[test]
fn readiness_does_not_come_back_before_a_new_segment_can_be_made() {
    stays_unready_while_full(SMALL_FILES);
}

#[test]
fn it_starts_with_hardly_any_room_shows_what_there_is_and_waits_for_more() {
    for left in [0, 4096, 16_384] {
        let Some(disk) = SmallDisk::mount("3m") else { return };
        let mut books = stocked(&disk.data());
        disk.fill_up_to(left);
        let app = TestApp::start_in(&disk.data(), 0, &[]);
        let client = Client::new(app.port);
        books.assert_acknowledged_is_shown(&client);
        write_until_refused(&mut books, &client, "full");
        assert!(!client.is_ready(), "{left} bytes left");
        books.assert_acknowledged_is_shown(&client);
        disk.remove_filler();
        resume(&mut books, &client, "resumed");
        assert_holds_after_a_kill(app, &mut books, &[]);
    }
}

#[test]
fn a_sync_without_room_fails_and_tells_so_and_recovers_by_itself_when_there_is_room() {
    let Some(disk) = SmallDisk::mount("3m") else { return };
    let app = TestApp::start_in(&disk.data(), 0, &["--sync-interval-ms", "100"]);
    let client = Client::new(app.port);
    let mut books = Books::open(&client);
    assert_eq!(books.send(&client, Write::new("first", "")), "");
    let status = || client.get("/api/sync/status").body;
    assert!(within(A_MOMENT, || status()["lagEvents"] == 0), "{}", status());
    disk.fill_up_to(0);
    // The log has room made ahead.
    assert_eq!(books.send(&client, Write::new("second", "")), "");
    assert!(within(A_MOMENT, || status()["lastError"].is_string()), "{}", status());
    let failed = status();
    assert!(
        failed["failures"].as_u64() > Some(0) && failed["lagEvents"].as_u64() > Some(0),
        "{failed}"
    );
    disk.remove_filler();
    assert!(within(10 * A_MOMENT, || status()["lagEvents"] == 0), "{}", status());
    assert!(status()["lastError"].is_null(), "{}", status());
    assert_holds_after_a_kill(app, &mut books, &[]);
}

/// A folder that was stopped in order, with a few writes in it.
fn stocked(data: &Path) -> Books {
    let mut app = TestApp::start_in(data, 0, &[]);
    let client = Client::new(app.port);
    let mut books = Books::open(&client);
    for n in 0..5 {
        assert_eq!(books.send(&client, Write::new(format!("early-{n}"), "")), "");
    }
    assert!(app.terminate().success());
    books
}

#[test]
fn an_import_waits_for_room_and_one_that_finds_none_leaves_nothing_behind() {
    const LINES: u64 = 10_000;
    let Some(disk) = SmallDisk::mount("32m") else { return };
    let app = TestApp::start_in(&disk.data(), 0, SMALL_FILES);
    let client = Client::new(app.port);
    disk.fill_up_to(2 << 20);
    let rows: String = (0..LINES).map(|n| format!("S{n},{n}\n")).collect();
    let job = client.import("s", &format!("sku,quantity\n{rows}"));
    let waits = within(Duration::from_secs(30), || client.get(&job).body["waiting"].is_string());
    let shown = client.get(&job).body;
    assert!(waits, "{shown}");
    assert_eq!(
        (&shown["status"], &shown["failedLines"]),
        (&"running".into(), &0.into()),
        "{shown}"
    );
    let large = format!("sku,quantity\n{}", "x,1\n".repeat(1 << 20));
    let refused = client.refused_import(&large);
    assert_eq!(
        (refused.status, refused.error()),
        (503, "storage_unavailable"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_dir(disk.data().join("jobs")).unwrap().count(), 1);
    disk.remove_filler();
    let succeeded = within(Duration::from_secs(60), || {
        client.get(&job).body["status"] == "succeeded"
    });
    let shown = client.get(&job).body;
    assert!(succeeded, "{shown}");
    assert_eq!(
        (shown["imported"].as_u64(), shown["failedLines"].as_u64()),
        (Some(LINES), Some(0)),
        "{shown}"
    );
    assert_eq!(client.all("/api/events?").len() as u64, LINES);
}

#[test]
fn a_backup_without_room_says_so_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount("256k") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let (client, mut books) = (Client::new(app.port), Books::default());
    client.put("SKU-0", 0);
    for n in 0..300 {
        books.send(&client, Write::new(format!("write-{n}"), &note()));
    }
    let backup = disk.folder.path().join("backup");
    let mut command = Command::new(HOLDFAST);
    command.arg("backup").arg(&backup).arg("--data-dir").arg(folder.path());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("No space left on device") && said.lines().count() == 1,
        "{said}"
    );
    assert_eq!(std::fs::read_dir(disk.folder.path()).unwrap().count(), 0);
    assert!(app.terminate().success());
    assert_verifies(folder.path());
}

#[test]
fn bodies_of_imports_leave_room_for_the_log_however_many_come_at_once() {
    const PIECE: usize = 1 << 20;
    let Some(disk) = SmallDisk::mount("32m") else { return };
    let app = TestApp::start_in(&disk.data(), 0, SMALL_FILES);
    let client = Client::new(app.port);
    let mut books = Books::open(&client);
    let head =
        "POST /api/imports HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut bodies: Vec<TcpStream> = (0..4)
        .map(|_| TcpStream::connect(("127.0.0.1", app.port)).unwrap())
        .collect();
    for body in &mut bodies {
        body.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        body.set_write_timeout(Some(A_MOMENT)).unwrap();
        body.write_all(head.as_bytes()).unwrap();
    }
    let piece = format!("{PIECE:x}\r\n{}\r\n", "x,1\n".repeat(PIECE / 4));
    let mut least = u64::MAX;
    for n in 0..64 {
        bodies.retain_mut(|body| {
            // One that is refused may be closed already.
            let _ = body.write_all(piece.as_bytes());
            !is_refused(body)
        });
        let room = rustix::fs::statvfs(disk.data()).unwrap();
        least = least.min(room.f_bavail * room.f_frsize);
        assert_eq!(books.send(&client, Write::new(format!("beside-{n}"), &note())), "");
    }
    assert!(bodies.is_empty(), "{} take more than the disk has", bodies.len());
    // A twentieth, but for pieces that are written at the same moment, and what the log took meanwhile.
    assert!(least > 256 << 10, "{least} bytes were left");
    let jobs = disk.data().join("jobs");
    assert_eq!(std::fs::read_dir(jobs).unwrap().count(), 0);
    assert_holds_after_a_kill(app, &mut books, SMALL_FILES);
}

/// Whether it was answered by now, which can only be for want of room.
fn is_refused(body: &mut TcpStream) -> bool {
    let mut answer = [0; 12];
    let is_answered = body.read_exact(&mut answer).is_ok();
    assert!(!is_answered || &answer == b"HTTP/1.1 503");
    is_answered
}
