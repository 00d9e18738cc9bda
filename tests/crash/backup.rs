//! Backups while the log is written to, and backups and restores that are killed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use holdfast::journal::file::{FolderLock, backup, prove};
use serde_json::{Value, json};

use super::books::Books;
use super::client::{Client, LEVELS};
use super::faults::has_strace;
use super::folder::{Files, Shop, is_segment, read_files, scratch, segments, write_files};
use super::support::{HOLDFAST, TestApp};
use super::{assert_verifies, fixed_port, within};

const SMALL_FILES: &[&str] = &["--segment-mb", "1", "--checkpoint-mb", "1", "--snapshot-seconds", "1"];
const PATIENCE: Duration = Duration::from_secs(60);

/// A log that was killed, and a moment of its writing: so many bytes of one of its segments, and none behind that.
struct Moment<'a> {
    files: &'a Files,
    segment: usize,
    bytes: usize,
    /// The next segment has been made, and nothing is in it.
    is_next_there: bool,
}

impl Moment<'_> {
    fn write(&self, folder: &Path) {
        let names = segments(self.files);
        let mut files: Files = names[..self.segment]
            .iter()
            .map(|name| (name.clone(), self.files[name].clone()))
            .collect();
        let room = [b'\n'; 300];
        let begun = &self.files[&names[self.segment]][..self.bytes];
        files.insert(names[self.segment].clone(), [begun, &room].concat());
        if let Some(next) = names.get(self.segment + 1).filter(|_| self.is_next_there) {
            files.insert(next.clone(), room.to_vec());
        }
        write_files(folder, &files);
    }

    /// The records up to the last seal.
    fn records(&self) -> u64 {
        let names = segments(self.files);
        let mut text: Vec<u8> = names[..self.segment]
            .iter()
            .flat_map(|name| self.files[name].clone())
            .collect();
        text.extend(&self.files[&names[self.segment]][..self.bytes]);
        let (mut records, mut sealed) = (0, 0);
        for line in text.split(|byte| *byte == b'\n') {
            match serde_json::from_slice::<Value>(line) {
                Ok(line) if line["event"].is_object() => records += 1,
                Ok(line) if line["seal"].is_string() => sealed = records,
                _ => {}
            }
        }
        sealed
    }
}

#[test]
fn a_copy_of_any_moment_is_the_log_up_to_its_last_whole_group() {
    let (folder, copies) = (scratch(), scratch());
    let mut shop = Shop::open(folder.path());
    shop.write(14);
    let files = shop.crash(folder.path());
    let lengths = segments(&files).into_iter().map(|name| files[&name].len());
    let lengths: Vec<usize> = lengths.collect();
    assert!(lengths.len() > 3, "{lengths:?}");
    for (segment, length) in lengths.into_iter().enumerate() {
        for (turn, bytes) in (0..length).step_by(13).chain([length]).enumerate() {
            let moment = Moment {
                files: &files,
                segment,
                bytes,
                is_next_there: turn % 2 == 0,
            };
            moment.write(folder.path());
            let copy = copies.path().join(format!("{segment}-{bytes}"));
            std::fs::create_dir(&copy).unwrap();
            let what = format!("byte {bytes} of segment {segment}");
            backup::copy(folder.path(), &copy, &mut |_| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
            let report = prove(&copy, |_, _| {}).unwrap();
            assert_eq!((report.faults, report.events), (Vec::new(), moment.records()), "{what}");
            assert_eq!(report.notes, Vec::<String>::new(), "{what}");
            assert_has_no_room(&copy);
            std::fs::remove_dir_all(copy).unwrap();
        }
    }
}

/// Every segment ends with a line, and not with room.
#[track_caller]
fn assert_has_no_room(copy: &Path) {
    for (path, bytes) in read_files(copy).iter().filter(|(path, _)| is_segment(path)) {
        assert!(bytes.is_empty() || bytes.ends_with(b"}\n"), "{}", path.display());
    }
}

#[test]
fn copies_of_a_log_that_is_written_to_have_all_that_was_answered_before() {
    let (folder, copies) = (scratch(), scratch());
    let mut shop = Shop::open(folder.path());
    let (answered, mut made, mut moved_on) = (AtomicU64::new(0), Vec::new(), 0);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for _ in 0..700 {
                shop.write_group(2);
                answered.fetch_add(2, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        while !writing.is_finished() {
            let copy = copies.path().join(made.len().to_string());
            std::fs::create_dir(&copy).unwrap();
            let (before, was) = (answered.load(Ordering::SeqCst), segments_in(folder.path()));
            backup::copy(folder.path(), &copy, &mut |_| {}).unwrap();
            moved_on += usize::from(segments_in(folder.path()) > was);
            made.push((copy, before));
        }
    });
    for (copy, before) in made {
        let report = prove(&copy, |_, _| {}).unwrap();
        assert_eq!(report.faults, Vec::<String>::new());
        assert!(report.events >= before, "{} records of {before}", report.events);
    }
    assert!(
        moved_on > 5,
        "only {moved_on} copies were made while segments were closed"
    );
}

/// Ends those who write also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn segments_in(data: &Path) -> usize {
    let entries = std::fs::read_dir(data.join("events")).unwrap();
    entries
        .filter(|entry| is_segment(&entry.as_ref().unwrap().path()))
        .count()
}

fn holdfast(args: &[&str], folder: &Path, data: &Path) -> Command {
    let mut command = Command::new(HOLDFAST);
    command.args(args).arg(folder).arg("--data-dir").arg(data);
    command
}

fn run(args: &[&str], folder: &Path, data: &Path) -> Output {
    holdfast(args, folder, data).output().unwrap()
}

#[track_caller]
fn assert_succeeds(args: &[&str], folder: &Path, data: &Path) -> Value {
    let output = run(args, folder, data);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// The keys of all writes that a folder knows, which are their request ids.
fn keys_in(data: &Path) -> BTreeSet<String> {
    let file = data.with_extension("ndjson");
    assert_succeeds(&["export", "events"], &file, data);
    let text = std::fs::read_to_string(file).unwrap();
    let event = |line: &str| serde_json::from_str::<Value>(line).unwrap();
    let keys = text
        .lines()
        .map(|line| event(line)["requestId"].as_str().unwrap().to_owned());
    keys.collect()
}

/// Writes until told to stop, and notes each key whose write was answered.
fn write(port: u16, number: usize, answered: &Mutex<Vec<String>>, is_over: &AtomicBool) {
    let client = Client::new(port);
    let body = json!({"delta": 1, "note": "名".repeat(1000)});
    for n in 0..1000 {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("writer-{number}-{n}");
        let path = format!("{LEVELS}/SKU-{number}/adjust");
        let answer = client
            .send("POST", &path, &body, &key)
            .expect("the service was not disturbed");
        assert_eq!(answer.status, 200, "{answer:?}");
        answered.lock().unwrap().push(key);
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn backups_under_load_restore_to_all_that_was_answered_before_each() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let app = TestApp::start_in(&data, fixed_port(), SMALL_FILES);
    Books::open(&Client::new(app.port));
    let (answered, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let mut before = Vec::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (answered, is_over, port) = (&answered, &is_over, app.port);
            scope.spawn(move || write(port, number, answered, is_over));
        }
        let _over = Over(&is_over);
        for n in 0..5 {
            let count = || answered.lock().unwrap().len();
            let enough = count() + 200;
            assert!(within(PATIENCE, || count() > enough), "the clients are hardly answered");
            before.push(answered.lock().unwrap().clone());
            let said = assert_succeeds(&["backup", "--json"], &place.path().join(format!("backup-{n}")), &data);
            assert!(said["records"].as_u64().unwrap() > enough as u64, "{said}");
        }
    });
    assert!(segments_in(&data) > 4, "the log hardly went to further segments");
    for (n, keys) in before.iter().enumerate() {
        let (backup, restored) = (format!("backup-{n}"), format!("restored-{n}"));
        let restored = place.path().join(restored);
        assert_succeeds(&["restore", "--json"], &place.path().join(backup), &restored);
        assert_verifies(&restored);
        let there = keys_in(&restored);
        let lost: Vec<_> = keys.iter().filter(|key| !there.contains(*key)).collect();
        assert!(lost.is_empty(), "{lost:?} were answered before backup {n}");
    }
    assert_goes_on(&place.path().join("restored-4"), before.last().unwrap());
}

/// A repeat of what was answered is known, and what is new is taken.
fn assert_goes_on(restored: &Path, keys: &[String]) {
    let app = TestApp::start_in(restored, 0, SMALL_FILES);
    let client = Client::new(app.port);
    let (key, number) = (keys.last().unwrap(), keys.last().unwrap().split('-').nth(1).unwrap());
    let path = format!("{LEVELS}/SKU-{number}/adjust");
    let body = json!({"delta": 1, "note": "名".repeat(1000)});
    let (before, _) = client.level(&format!("SKU-{number}"));
    let repeated = client.send("POST", &path, &body, key).unwrap();
    assert_eq!((repeated.status, repeated.replayed), (200, true), "{repeated:?}");
    let new = client.send("POST", &path, &body, "new").unwrap();
    assert_eq!((new.status, new.replayed), (200, false), "{new:?}");
    assert_eq!(client.level(&format!("SKU-{number}")).0, before + 1);
}

/// A folder with a log of some segments.
fn imported(place: &Path) -> PathBuf {
    let data = place.join("data");
    let lines: String = (0..3000).map(|n| format!("SKU-{n},{n}\n")).collect();
    let file = place.join("stock.csv");
    std::fs::write(&file, format!("sku,quantity\n{lines}")).unwrap();
    assert_succeeds(&["import"], &file, &data);
    data
}

/// Runs a command, and kills it so long after it has begun with what it does.
fn kill_in(args: &[&str], folder: &Path, data: &Path, has_begun: impl FnMut() -> bool, after: Duration) {
    let mut command = holdfast(args, folder, data);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(within(PATIENCE, has_begun), "{args:?} has not begun");
    std::thread::sleep(after);
    let _ = child.kill();
    child.wait().unwrap();
}

#[test]
fn a_killed_backup_leaves_nothing_that_a_restore_takes_and_the_next_clears_it_away() {
    let place = tempfile::tempdir().unwrap();
    let data = imported(place.path());
    let backups = place.path().join("backups");
    std::fs::create_dir(&backups).unwrap();
    let (mut by_half, restored) = (0, place.path().join("restored"));
    for n in 0..12 {
        let (backup, before) = (backups.join(format!("killed-{n}")), left_in(&backups));
        let has_begun = || backup.exists() || !left_in(&backups).is_subset(&before);
        kill_in(&["backup"], &backup, &data, has_begun, Duration::from_millis(n * n * 8));
        let left = left_in(&backups);
        assert!(left.len() < 2 && left.is_disjoint(&before), "{left:?}");
        for left in left {
            let output = run(&["restore"], &left, &restored);
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("is not a whole backup") && !restored.exists(), "{said}");
            by_half += 1;
        }
        if backup.exists() {
            assert_succeeds(&["restore"], &backup, &restored);
            assert_verifies(&restored);
            assert_eq!(read_log(&restored), read_log(&data));
            std::fs::remove_dir_all(&restored).unwrap();
        }
    }
    assert!(by_half > 1, "only {by_half} were killed before they were whole");
    assert_succeeds(&["backup"], &backups.join("whole"), &data);
    assert_eq!(left_in(&backups), BTreeSet::new());
}

/// What has not got its name.
fn left_in(backups: &Path) -> BTreeSet<PathBuf> {
    let entries = std::fs::read_dir(backups).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| path.file_name().unwrap().as_encoded_bytes().starts_with(b"."))
        .collect()
}

/// The lines of all segments.
fn read_log(data: &Path) -> Vec<u8> {
    let files = read_files(data);
    segments(&files)
        .into_iter()
        .flat_map(|name| files[&name].clone())
        .collect()
}

#[test]
fn a_killed_restore_is_no_folder_to_start_on_and_can_be_run_again() {
    let place = tempfile::tempdir().unwrap();
    let data = imported(place.path());
    let backup = place.path().join("backup");
    assert_succeeds(&["backup"], &backup, &data);
    let mut by_half = 0;
    for n in 0..8 {
        let restored = place.path().join(format!("restored-{n}"));
        let has_begun = || restored.join(backup::RESTORING).exists() || restored.join("events").exists();
        kill_in(
            &["restore"],
            &backup,
            &restored,
            has_begun,
            Duration::from_millis(n * n * 8),
        );
        if restored.join(backup::RESTORING).exists() && !restored.join("events").exists() {
            by_half += 1;
            let output = run(&["import"], &place.path().join("stock.csv"), &restored);
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(
                !output.status.success() && said.contains("cut short: run it again"),
                "{said}"
            );
        }
        if !restored.join("events").exists() {
            assert_succeeds(&["restore"], &backup, &restored);
        }
        assert_verifies(&restored);
        assert_eq!(read_log(&restored), read_log(&data));
    }
    assert!(by_half > 0, "none was killed before it was whole");
}

/// One looks what is there while the other is about to bring it into its place.
#[test]
fn a_restore_takes_away_nothing_that_another_brings() {
    if !has_strace() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let data = imported(place.path());
    let (backup, restored) = (place.path().join("backup"), place.path().join("restored"));
    assert_succeeds(&["backup"], &backup, &data);
    let gathered = restored.join(backup::RESTORING);
    let mut late = Command::new("strace");
    late.args(["-f", "-qq", "-o", "/dev/null", "--trace=statx"]);
    late.arg("-P")
        .arg(&gathered)
        .arg("--inject=statx:delay_enter=3s:when=1");
    late.args([HOLDFAST, "restore"])
        .arg(&backup)
        .arg("--data-dir")
        .arg(&restored);
    let late = late.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let lock = FolderLock::take(&restored).unwrap();
    std::fs::create_dir(&gathered).unwrap();
    let job = restored.join("jobs/1");
    std::fs::create_dir_all(&job).unwrap();
    let said = String::from_utf8(late.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("is in use by process"), "{said}");
    assert!(job.exists(), "what the other restore had brought is gone");
    drop(lock);
    // That one has ended by half, and nobody has the folder any more.
    assert_succeeds(&["restore"], &backup, &restored);
    assert!(!job.exists());
    assert_verifies(&restored);
}
