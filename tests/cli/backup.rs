//! `holdfast backup` and `holdfast restore`: what comes back, and what is refused.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::{HOLDFAST, TestApp};
use super::{Place, Ran, ran};

/// Runs a command that names a folder, on a data folder.
fn run(verb: &str, folder: &Path, data: &Path) -> Ran {
    let mut command = Command::new(HOLDFAST);
    command.arg(verb).arg(folder).arg("--json").arg("--data-dir").arg(data);
    ran(command.output().unwrap())
}

#[track_caller]
fn done(verb: &str, folder: &Path, data: &Path) -> Value {
    let ran = run(verb, folder, data);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

/// It says so in one sentence, and ends with 2.
#[track_caller]
fn refused(verb: &str, folder: &Path, data: &Path, says: &str) {
    let ran = run(verb, folder, data);
    assert_eq!((ran.code, ran.err.lines().count()), (2, 1), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains(says), "{}", ran.err);
}

/// Every file below a folder, by its path in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => drop(found.insert(
                    path.strip_prefix(folder).unwrap().to_owned(),
                    std::fs::read(path).unwrap(),
                )),
            }
        }
    }
    found
}

/// A service that has counted, sold, held and moved stock, has a webhook and an import, and knows a user.
fn traded(place: &Place) -> TestApp {
    let mut user = Command::new(HOLDFAST);
    user.args(["user", "add", "anna", "--role", "admin", "--data-dir"])
        .arg(place.data());
    let mut user = user.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    writeln!(user.stdin.take().unwrap(), "correct horse battery").unwrap();
    assert!(user.wait().unwrap().success());
    let app = TestApp::start_in(&place.data(), 0, &[]);
    let api = format!("http://127.0.0.1:{}/api", app.port);
    let level = format!("{api}/inventory/stores/s/inventory/A");
    ureq::put(&level).send_json(json!({"quantity": 50})).unwrap();
    ureq::post(format!("{level}/adjust"))
        .send_json(json!({"delta": -2, "type": "SALE"}))
        .unwrap();
    let reserve = json!({"quantity": 3, "reservationId": "r1", "ttlSeconds": 3600});
    ureq::post(format!("{level}/reserve")).send_json(reserve).unwrap();
    let transfer = json!({"sku": "A", "fromStoreId": "s", "toStoreId": "t", "quantity": 1});
    ureq::post(format!("{api}/transfers")).send_json(transfer).unwrap();
    let webhook = json!({"url": "http://127.0.0.1:9/", "events": ["level.adjusted"]});
    ureq::post(format!("{api}/webhooks")).send_json(webhook).unwrap();
    let import = ureq::post(format!("{api}/imports")).header("content-type", "text/csv");
    import.send("sku,quantity\nB,7\nC,none\n").unwrap();
    let is_over = || get(&app, "/jobs")["items"][0]["status"] == "succeeded";
    assert!(within(Duration::from_secs(20), is_over), "{}", get(&app, "/jobs"));
    assert_eq!(sell(&app).1, None);
    app
}

fn within(patience: Duration, is_so: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline && !is_so() {
        std::thread::sleep(Duration::from_millis(20));
    }
    is_so()
}

fn get(app: &TestApp, path: &str) -> Value {
    let mut answer = ureq::get(format!("http://127.0.0.1:{}/api{path}", app.port))
        .call()
        .unwrap();
    answer.body_mut().read_json().unwrap()
}

/// The same sale each time, under one key: its answer, and whether that is one from before.
fn sell(app: &TestApp) -> (Value, Option<String>) {
    let url = format!(
        "http://127.0.0.1:{}/api/inventory/stores/s/inventory/A/adjust",
        app.port
    );
    let sale = ureq::post(url).header("Idempotency-Key", "sale-1");
    let mut answer = sale.send_json(json!({"delta": -1, "type": "SALE"})).unwrap();
    let replayed = answer.headers().get("idempotency-replayed");
    let replayed = replayed.map(|value| value.to_str().unwrap().to_owned());
    (answer.body_mut().read_json().unwrap(), replayed)
}

/// What a service shows of all that is in it.
fn shown(app: &TestApp) -> Vec<Value> {
    let lists = [
        "/inventory/items",
        "/events",
        "/reservations",
        "/movements",
        "/stores",
        "/products",
        "/jobs",
    ];
    let mut shown: Vec<Value> = lists.iter().map(|list| get(app, list)).collect();
    let job = shown[6]["items"][0]["jobId"].as_str().unwrap().to_owned();
    let errors = ureq::get(format!("http://127.0.0.1:{}/api/jobs/{job}/errors", app.port)).call();
    shown.push(errors.unwrap().body_mut().read_to_string().unwrap().into());
    let webhook = get(app, "/webhooks")["items"][0].clone();
    shown.push(json!([webhook["id"], webhook["url"], webhook["version"]]));
    shown
}

#[test]
fn a_restored_backup_is_the_service_that_it_was_made_of() {
    let place = Place::new();
    let mut app = traded(&place);
    let expected = (shown(&app), sell(&app));
    assert_eq!(expected.1.1.as_deref(), Some("true"));
    // How far webhooks have come is kept about once a second.
    let deliveries = place.data().join("deliveries.json");
    assert!(within(Duration::from_secs(20), || deliveries.exists()));
    done("backup", &place.path("running"), &place.data());
    assert!(app.terminate().success());
    done("backup", &place.path("stopped"), &place.data());
    for backup in ["running", "stopped"] {
        let restored = place.path(&format!("{backup}-restored"));
        let said = done("restore", &place.path(backup), &restored);
        let verified = Command::new(HOLDFAST)
            .args(["verify", "--json", "--data-dir"])
            .arg(&restored)
            .output();
        let verified: Value = serde_json::from_slice(&verified.unwrap().stdout).unwrap();
        assert_eq!(
            (&said["head"], &said["records"]),
            (&verified["head"], &verified["events"])
        );
        assert!(restored.join("deliveries.json").exists());
        let mut app = TestApp::start_in(&restored, 0, &[]);
        assert_eq!((shown(&app), sell(&app)), expected, "{backup}");
        assert!(app.terminate().success());
        let users = Command::new(HOLDFAST)
            .args(["user", "list", "--json", "--data-dir"])
            .arg(&restored)
            .output();
        let users: Value = serde_json::from_slice(&users.unwrap().stdout).unwrap();
        assert_eq!(users[0]["username"], "anna");
    }
}

/// Some groups of records, as a service that was killed leaves them: with room behind them, and no checkpoint.
fn killed(place: &Place) {
    let mut app = TestApp::start_in(&place.data(), 0, &[]);
    for n in 0..5 {
        let url = format!("http://127.0.0.1:{}/api/inventory/stores/s/inventory/A", app.port);
        ureq::put(url).send_json(json!({"quantity": n})).unwrap();
    }
    app.kill();
}

#[test]
fn a_backup_holds_the_log_without_its_room_and_says_what_it_holds() {
    let place = Place::new();
    killed(&place);
    let before = files(&place.data());
    let said = done("backup", &place.path("backup"), &place.data());
    assert!(files(&place.data()) == before, "the backup has changed the data folder");
    let made = files(&place.path("backup"));
    let names: Vec<_> = made.keys().map(|path| path.to_str().unwrap()).collect();
    let segment = "events/0000000000000001.jsonl";
    assert!(
        names == ["backup.json", segment] || names == ["backup.json", "deliveries.json", segment],
        "{names:?}"
    );
    let log = &made[Path::new(segment)];
    assert!(log.ends_with(b"}\n") && before[Path::new(segment)].starts_with(log));
    let last: Value = serde_json::from_slice(log.split(|byte| *byte == b'\n').rev().nth(2).unwrap()).unwrap();
    assert_eq!((&said["seq"], &said["records"]), (&json!(5), &json!(5)));
    assert_eq!(said["lastEventAt"], last["event"]["at"]);
    assert_eq!((&said["segments"], &said["notes"]), (&json!(1), &json!([])));
    let beside = made.get(Path::new("deliveries.json")).map_or(0, Vec::len);
    assert_eq!(said["bytes"], json!(log.len() + beside));
    for name in names {
        let mode = std::fs::metadata(place.path("backup").join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let told = place.run(&["backup", place.path("told").to_str().unwrap()]);
    assert!(
        told.out.contains("5 records in 1 segments") && told.out.contains("backup whole in"),
        "{}",
        told.out
    );
}

#[test]
fn a_damaged_backup_is_refused_by_file_and_place_and_nothing_is_made() {
    let place = Place::new();
    killed(&place);
    let (backup, data) = (place.path("backup"), place.path("restored"));
    done("backup", &backup, &place.data());
    let segment = backup.join("events/0000000000000001.jsonl");
    let (log, contents) = (
        std::fs::read(&segment).unwrap(),
        std::fs::read(backup.join("backup.json")).unwrap(),
    );
    let begins: Vec<usize> = (1..log.len()).filter(|at| log[at - 1] == b'\n').collect();
    let refuse = |says: &str| {
        refused("restore", &backup, &data, says);
        assert!(!data.exists());
    };

    let mut bent = log.clone();
    bent[begins[2] + 40] ^= 1;
    std::fs::write(&segment, &bent).unwrap();
    refuse(&format!(
        "{} at byte {}: its checksum does not match",
        segment.display(),
        begins[2]
    ));
    // Each of these logs proves whole by itself, or ends as after a crash.
    std::fs::write(&segment, &log[..begins[8 - 1]]).unwrap();
    refuse("the log ends at record 4");
    std::fs::write(&segment, &log[..log.len() - 20]).unwrap();
    refuse("the log ends at record 4");
    std::fs::remove_file(&segment).unwrap();
    refuse("the log ends at record 0");
    std::fs::remove_dir(backup.join("events")).unwrap();
    refuse("it has no folder `events`");
    std::fs::create_dir(backup.join("events")).unwrap();
    std::fs::write(&segment, &log).unwrap();

    let mut bent = contents.clone();
    bent[60] ^= 1;
    std::fs::write(backup.join("backup.json"), bent).unwrap();
    refuse("backup.json: its checksum does not match");
    std::fs::remove_file(backup.join("backup.json")).unwrap();
    refuse("is not a whole backup: it has no backup.json");
    std::fs::write(backup.join("backup.json"), contents).unwrap();
    done("restore", &backup, &data);
}

#[test]
fn what_is_beside_the_log_must_be_what_was_copied() {
    let place = Place::new();
    let mut app = traded(&place);
    assert!(app.terminate().success());
    let (backup, data) = (place.path("backup"), place.path("restored"));
    done("backup", &backup, &place.data());
    let made = files(&backup);
    let beside = made
        .keys()
        .filter(|path| !path.starts_with("events") && **path != *"backup.json");
    let beside: Vec<&PathBuf> = beside.collect();
    assert!(beside.len() > 2, "{beside:?}");
    for name in beside {
        let path = backup.join(name);
        std::fs::remove_file(&path).unwrap();
        refused("restore", &backup, &data, &path.display().to_string());
        let mut bent = made[name].clone();
        let middle = bent.len() / 2;
        bent[middle] ^= 1;
        std::fs::write(&path, bent).unwrap();
        refused("restore", &backup, &data, &path.display().to_string());
        std::fs::write(&path, &made[name]).unwrap();
        assert!(!data.exists());
    }
    done("restore", &backup, &data);
}

#[test]
fn a_damaged_log_is_not_backed_up() {
    let place = Place::new();
    killed(&place);
    let segment = place.data().join("events/0000000000000001.jsonl");
    let mut log = std::fs::read(&segment).unwrap();
    let second = log.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    log[second + 40] ^= 1;
    std::fs::write(&segment, log).unwrap();
    let says = format!("{} is damaged at byte {second}", segment.display());
    refused("backup", &place.path("backup"), &place.data(), &says);
    assert_only(&place, &["data"]);
}

#[test]
fn deliveries_that_are_ahead_of_the_log_or_damaged_are_left_out_of_a_backup() {
    let place = Place::new();
    let mut app = traded(&place);
    assert!(app.terminate().success());
    let kept = place.data().join("deliveries.json");
    let shorter = Place::new();
    killed(&shorter);
    std::fs::copy(&kept, shorter.data().join("deliveries.json")).unwrap();
    let said = done("backup", &shorter.path("backup"), &shorter.data());
    let note = said["notes"][0].as_str().unwrap();
    assert!(note.contains("and the log ends at 5"), "{note}");
    assert!(!shorter.path("backup").join("deliveries.json").exists());
    let mut bent = std::fs::read(&kept).unwrap();
    let middle = bent.len() / 2;
    bent[middle] ^= 1;
    std::fs::write(&kept, bent).unwrap();
    let said = done("backup", &place.path("backup"), &place.data());
    let note = said["notes"][0].as_str().unwrap();
    assert!(
        note.starts_with("deliveries.json is left out: ") && note.contains("checksum"),
        "{note}"
    );
    assert!(!place.path("backup").join("deliveries.json").exists());
    done("restore", &place.path("backup"), &place.path("restored"));
}

/// Nothing else is there, hidden or not.
#[track_caller]
fn assert_only(place: &Place, names: &[&str]) {
    let entries = std::fs::read_dir(place.path("")).unwrap();
    let mut found: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, names);
}

#[test]
fn a_backup_goes_only_where_nothing_is() {
    let place = Place::new();
    killed(&place);
    std::fs::create_dir(place.path("full")).unwrap();
    place.write("full/mine", "mine");
    place.write("file", "mine");
    let before = files(&place.path(""));
    let data = place.data();
    refused(
        "backup",
        &place.path("full"),
        &data,
        "full is not empty; name a new folder",
    );
    refused("backup", &place.path("file"), &data, "file cannot be used");
    refused("backup", &data, &data, "is not empty");
    refused("backup", &data.join("backup"), &data, "lies in the data folder");
    refused("backup", &data.join("events/backup"), &data, "lies in the data folder");
    refused("backup", &place.path("none/backup"), &data, "cannot be found");
    refused(
        "backup",
        &place.path("backup"),
        &place.path("none"),
        "there is no data in",
    );
    assert!(files(&place.path("")) == before);
    assert_only(&place, &["data", "file", "full"]);
    std::fs::create_dir(place.path("empty")).unwrap();
    done("backup", &place.path("empty"), &data);
    assert!(place.path("empty/backup.json").exists());
    refused("backup", &place.path("empty"), &data, "is not empty");
}

#[test]
fn what_a_killed_backup_has_left_is_cleared_away_and_what_another_makes_is_not() {
    let place = Place::new();
    killed(&place);
    for name in [".holdfast-backup-left/events", ".holdfast-backup-made/events"] {
        std::fs::create_dir_all(place.path(name)).unwrap();
        place.write(&format!("{name}/1"), "half of it");
    }
    place.write(".holdfast-backup-mine", "a file");
    let made = std::fs::File::open(place.path(".holdfast-backup-made")).unwrap();
    made.lock().unwrap();
    let said = done("backup", &place.path("backup"), &place.data());
    let notes = said["notes"].as_array().unwrap();
    let note = notes[0].as_str().unwrap();
    assert!(
        notes.len() == 1 && note.contains(".holdfast-backup-left is cleared away"),
        "{notes:?}"
    );
    assert_only(
        &place,
        &[".holdfast-backup-made", ".holdfast-backup-mine", "backup", "data"],
    );
    assert!(place.path(".holdfast-backup-made/events/1").exists());
}

#[test]
fn the_first_start_of_a_restored_folder_warns_of_nothing() {
    let place = Place::new();
    killed(&place);
    done("backup", &place.path("backup"), &place.data());
    done("restore", &place.path("backup"), &place.path("restored"));
    let mut app = TestApp::start_in(&place.path("restored"), 0, &[]);
    let sync = format!("http://127.0.0.1:{}/api/sync", app.port);
    ureq::post(sync).send_empty().unwrap();
    get(&app, "/analytics/sales");
    assert!(app.terminate().success());
    let log = app.log();
    assert!(
        log.contains("there are no totals yet") && !log.contains("WARN"),
        "{log}"
    );
}

#[test]
fn nobody_but_their_owner_looks_into_the_folders_of_data_and_backups() {
    let place = Place::new();
    killed(&place);
    done("backup", &place.path("backup"), &place.data());
    done("restore", &place.path("backup"), &place.path("restored"));
    for folder in [
        "data",
        "data/events",
        "backup",
        "backup/events",
        "restored",
        "restored/events",
    ] {
        let mode = std::fs::metadata(place.path(folder)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{folder}");
    }
}

#[test]
fn a_restore_goes_only_where_no_data_is() {
    let place = Place::new();
    killed(&place);
    let backup = place.path("backup");
    done("backup", &backup, &place.data());
    let before = files(&backup);
    refused(
        "restore",
        &backup,
        &place.data(),
        "holds data already (events); move it away",
    );
    refused(
        "restore",
        &place.path("none"),
        &place.path("restored"),
        "is not a whole backup",
    );
    refused(
        "restore",
        &place.data(),
        &place.path("restored"),
        "is not a whole backup",
    );
    assert!(!place.path("restored").exists());
    let app = TestApp::start_in(&place.data(), 0, &[]);
    let says = format!("is in use by process {}", app.pid());
    refused("restore", &backup, &place.data(), &says);
    drop(app);
    let log = Path::new("events/0000000000000001.jsonl");
    assert!(files(&place.data())[log].starts_with(&before[log]));
    // A folder in which other things lie.
    std::fs::create_dir_all(place.path("mounted/lost+found")).unwrap();
    done("restore", &backup, &place.path("mounted"));
    let restored = files(&place.path("mounted"));
    assert_eq!(restored[log], before[log]);
    refused("restore", &backup, &place.path("mounted"), "holds data already");
}

#[test]
fn no_service_starts_on_a_folder_in_which_a_restore_was_cut_short() {
    let place = Place::new();
    killed(&place);
    let (backup, restored) = (place.path("backup"), place.path("restored"));
    done("backup", &backup, &place.data());
    std::fs::create_dir_all(restored.join(".restoring/events")).unwrap();
    std::fs::write(restored.join(".restoring/events/0000000000000001.jsonl"), "{").unwrap();
    // All but the log had come into its place.
    std::fs::create_dir_all(restored.join("jobs/1")).unwrap();
    std::fs::write(restored.join("deliveries.json"), "{").unwrap();
    let serve = Command::new(HOLDFAST)
        .args(["serve", "--port", "0", "--data-dir"])
        .arg(&restored)
        .output();
    let serve = ran(serve.unwrap());
    assert_eq!(serve.code, 2);
    assert!(serve.err.contains("was cut short: run it again"), "{}", serve.err);
    assert!(!restored.join("events").exists());
    done("restore", &backup, &restored);
    assert!(!restored.join(".restoring").exists());
    let app = TestApp::start_in(&restored, 0, &[]);
    assert_eq!(get(&app, "/inventory/items/A")["quantity"], 4);
}
