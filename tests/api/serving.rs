//! Starting, stopping, and what is refused before a service runs.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{Client, JSON, at, comes_true, read_answer, sleep_until};
use crate::log::{events, events_of};
use crate::support::{HOLDFAST, TestApp};

/// Runs a service that is to refuse to start, and returns what it says.
#[track_caller]
pub fn refused_start(args: &[&str], variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(HOLDFAST);
    command
        .arg("serve")
        .args(args)
        .envs(variables.iter().copied())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let ended = comes_true(Duration::from_secs(10), || child.try_wait().unwrap().is_some());
    let _ = child.kill();
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(ended, "it started: {said}");
    assert!(status.code().is_some_and(|code| code > 0), "{status}: {said}");
    said
}

#[test]
fn a_second_process_on_a_folder_is_refused_by_the_name_of_the_first() {
    let app = TestApp::start();
    app.stock("A", 5);
    let said = refused_start(&["--port", "0", "--data-dir", app.folder().to_str().unwrap()], &[]);
    assert!(said.contains(&format!("process {}", app.pid())), "{said}");
    assert_eq!(app.put(&at("A"), json!({"quantity": 6})).expect(200).state(), (6, 0, 2));
}

#[test]
fn a_database_that_was_meant_is_not_passed_over_for_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--port", "0", "--data-dir", folder.path().to_str().unwrap()];
    let said = refused_start(&args, &[("DATABASE_URL", "postgres://localhost/holdfast")]);
    assert!(said.contains("DATABASE_URL"), "{said}");
    assert!(!folder.path().join("events").exists());
}

#[test]
fn a_folder_is_free_again_when_its_process_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.stock("A", 5);
    app.kill();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    assert!(app.terminate().success());
    assert_eq!(TestApp::start_in(folder.path(), 0, &[]).state("A"), (5, 0, 1));
}

#[test]
fn a_port_in_use_is_refused_by_its_number() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let said = refused_start(&["--port", &port, "--data-dir", folder.path().to_str().unwrap()], &[]);
    assert!(said.contains(&port), "{said}");
}

#[test]
fn a_folder_that_cannot_be_one_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let below = file.join("data");
    for path in [&file, &below] {
        let path = path.to_str().unwrap();
        let said = refused_start(&["--port", "0", "--data-dir", path], &[]);
        assert!(said.contains(path), "{said}");
        let said = refused_start(&["--port", "0"], &[("DATA_DIR", path)]);
        assert!(said.contains(path), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "not a folder");
}

#[test]
fn a_file_in_the_place_of_the_log_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("events"), "not a folder").unwrap();
    let said = refused_start(&["--port", "0", "--data-dir", folder.path().to_str().unwrap()], &[]);
    assert!(said.contains("events"), "{said}");
}

#[test]
fn an_address_that_others_can_reach_is_refused_while_nobody_must_log_in() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("data");
    let data = ["--port", "0", "--data-dir", folder.to_str().unwrap()];
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let said = refused_start(&[&data[..], &["--host", host]].concat(), &[]);
        assert!(said.contains(host), "{said}");
        let said = refused_start(&data, &[("HOST", host)]);
        assert!(said.contains(host), "{said}");
    }
    assert!(!folder.exists(), "what is refused leaves nothing behind");
}

#[test]
fn a_setting_that_cannot_stand_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data-dir", folder.path().to_str().unwrap()];
    for wrong in [
        ["--port", "99999"],
        ["--port", "x"],
        ["--queue-limit", "0"],
        ["--idle-seconds", "0"],
        ["--snapshot-seconds", "-1"],
        ["--key-hours", "0"],
        ["--log-level", "a=b=c"],
        ["--host", "nowhere"],
        ["--head-seconds", "0"],
        ["--max-body-bytes", "10"],
        ["--trusted-proxies", "10.0.0.0/33"],
        ["--max-open-holds", "-1"],
        ["--max-webhooks", "0"],
        ["--no-such-setting", "1"],
    ] {
        refused_start(&[&data[..], &wrong].concat(), &[]);
    }
}

#[test]
fn an_idle_service_stops_at_once_though_clients_keep_connections_open() {
    let mut app = TestApp::start();
    let mut used = app.connect();
    used.get_mut()
        .write_all(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    read_answer(&mut used).expect(200);
    let _unused = app.connect();
    let mut begun = app.connect();
    begun.get_mut().write_all(b"PUT /api/inv").unwrap();
    let started = Instant::now();
    assert_eq!(app.terminate().code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[test]
fn a_client_that_does_not_finish_its_request_delays_a_stop_no_longer_than_is_set() {
    let mut app = TestApp::start_with(&["--shutdown-seconds", "2"]);
    app.stock("A", 5);
    let mut stalled = app.connect();
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n",
        at("A")
    );
    stalled
        .get_mut()
        .write_all(format!("{head}Content-Length: 14\r\n\r\n{{").as_bytes())
        .unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let started = Instant::now();
    assert_eq!(app.terminate().code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_millis(3500),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_stop_under_load_exits_with_0_and_every_answered_write_is_there_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let skus: Vec<String> = (0..16).map(|i| format!("S{}", i / 2)).collect();
    skus.iter()
        .for_each(|sku| drop(app.put(&at(sku), json!({"quantity": 0}))));
    let port = app.port;
    let (sent, highest_seq) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = |sku: &str| {
        let mut answered = 0;
        loop {
            sent.fetch_add(1, Ordering::Relaxed);
            match port.try_send("POST", &format!("{}/adjust", at(sku)), &[JSON], Some(b"{\"delta\":1}")) {
                Ok(answer) if answer.status == 200 => {
                    answered += 1;
                    highest_seq.fetch_max(answer["seq"].as_u64().unwrap(), Ordering::Relaxed);
                }
                _ => return answered,
            }
        }
    };
    let answered: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = skus.iter().map(|sku| scope.spawn(|| work(sku))).collect();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(app.terminate().code(), Some(0));
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });

    let app = TestApp::start_in(folder.path(), 0, &[]);
    let counted: u64 = skus.iter().step_by(2).map(|sku| app.state(sku).0).sum();
    assert!(answered > 16, "there was hardly any load: {answered}");
    assert!(
        (answered..=sent.into_inner()).contains(&counted),
        "{answered} answered, but {counted} are there"
    );
    let log = events(folder.path());
    assert_eq!(log.len() as u64, log.last().unwrap()["seq"].as_u64().unwrap());
    assert!(log.len() as u64 >= highest_seq.into_inner());
}

#[test]
fn an_unused_sku_is_put_aside_with_a_snapshot_and_works_on_as_before() {
    let app = TestApp::start_with(&["--idle-seconds", "1", "--snapshot-seconds", "1"]);
    app.stock("A", 20);
    let (first, second) = (app.hold("A", 2), app.hold("A", 3));
    let ttl = json!({"quantity": 4, "ttlSeconds": 4, "reservationId": "over"});
    let end = app.post(&format!("{}/reserve", at("A")), ttl).expect(201)["reservation"]["expiresAt"].clone();
    let snapshots = || {
        let shelves = std::fs::read_dir(app.folder().join("skus")).unwrap();
        let files = shelves.flat_map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap());
        files
            .filter(|file| {
                file.as_ref()
                    .unwrap()
                    .path()
                    .extension()
                    .is_some_and(|end| end == "json")
            })
            .count()
    };
    assert!(comes_true(Duration::from_secs(4), || snapshots() == 1), "no snapshot");

    // By then it is put aside, and its deadline is met all the same.
    sleep_until(&end);
    assert!(comes_true(Duration::from_secs(1), || !events_of(
        app.folder(),
        "reservation.expired"
    )
    .is_empty()));
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(app.state("A"), (20, 5, 5));
    let release = format!("{}/release", at("A"));
    assert_eq!(
        app.post(&release, json!({"quantity": 1})).expect(200).state(),
        (20, 4, 6)
    );
    assert_eq!(
        app.post(&release, json!({"reservationId": first})).expect(200).state(),
        (20, 3, 7)
    );
    assert_eq!(
        app.post(&release, json!({"reservationId": second})).expect(200).state(),
        (20, 0, 8)
    );
    app.post(&release, json!({"reservationId": "over"}))
        .refused(409, "reservation_not_active");
}
