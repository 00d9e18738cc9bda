//! What the service logs, how, and where to.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, Client, at, comes_true, millis, sleep_until};
use crate::serving::refused_start;
use crate::staff::House;
use crate::support::TestApp;

const LEVEL: &str = "/api/log-level";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const A_MOMENT: Duration = Duration::from_secs(5);

/// Every line, each of which must be an object with what all lines have.
#[track_caller]
fn parsed(log: &str) -> Vec<Value> {
    let lines = log.lines().map(|line| {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for member in ["timestamp", "level", "target", "message"] {
            assert!(read[member].is_string(), "no {member}: {line}");
        }
        assert!(crate::client::is_time(&read["timestamp"]), "{line}");
        read
    });
    lines.collect()
}

/// The line with this message that belongs to the request.
#[track_caller]
fn line_of(log: impl Fn() -> String, request_id: &str, message: &str) -> Value {
    let find = || {
        let mut lines = parsed(&log()).into_iter();
        lines.find(|line| line["requestId"] == request_id && line["message"] == message)
    };
    assert!(comes_true(A_MOMENT, || find().is_some()), "no such line: {}", log());
    find().unwrap()
}

fn parent() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

fn is_hex(value: &Value, length: usize) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == length && text.bytes().all(|byte| b"0123456789abcdef".contains(&byte))
}

#[test]
fn where_no_terminal_is_each_line_is_json_and_names_its_request_and_trace() {
    let app = TestApp::start_with(&["--log-level", "debug"]);
    let headers = [
        ("x-request-id", "order-17"),
        ("traceparent", &*parent()),
        ("tracestate", "rojo=1"),
        ("tracestate", "congo=2"),
    ];
    app.put_with(&at("A"), &headers, json!({"quantity": 5})).expect(201);
    let line = line_of(|| app.log(), "order-17", "answered");
    assert_eq!(line["traceId"], TRACE, "{line}");
    assert_eq!(line["parentSpanId"], SPAN, "{line}");
    assert!(is_hex(&line["spanId"], 16) && line["spanId"] != SPAN, "{line}");
    assert_eq!(line["traceState"], "rojo=1,congo=2", "{line}");
    assert_eq!(
        (&line["level"], &line["status"]),
        (&json!("DEBUG"), &json!(201)),
        "{line}"
    );
    assert_eq!(
        (&line["method"], &line["path"]),
        (&json!("PUT"), &json!(at("A"))),
        "{line}"
    );
    assert_eq!(
        line["route"], "/api/inventory/stores/{storeId}/inventory/{sku}",
        "{line}"
    );
    assert!(line["micros"].is_u64(), "{line}");
}

#[test]
fn a_request_without_a_trace_or_with_a_wrong_one_begins_its_own() {
    let app = TestApp::start_with(&["--log-level", "debug"]);
    let wrong = parent().to_uppercase();
    let zeros = format!("00-{}-{SPAN}-01", "0".repeat(32));
    let mut traces = Vec::new();
    for (n, headers) in [&[][..], &[("traceparent", &*wrong)], &[("traceparent", &*zeros)]]
        .into_iter()
        .enumerate()
    {
        let id = format!("request-{n}");
        let headers: Vec<(&str, &str)> = headers.iter().copied().chain([("x-request-id", &*id)]).collect();
        app.get_with(&at("A"), &headers).expect(404);
        let line = line_of(|| app.log(), &id, "answered");
        assert!(is_hex(&line["traceId"], 32) && is_hex(&line["spanId"], 16), "{line}");
        assert_eq!(
            (&line["parentSpanId"], &line["traceState"]),
            (&Value::Null, &Value::Null),
            "{line}"
        );
        traces.push(line["traceId"].to_string());
    }
    traces.dedup();
    assert_eq!(traces.len(), 3, "{traces:?}");
    assert!(!app.log().contains(TRACE));
}

#[test]
fn what_is_logged_in_the_depth_of_a_request_names_it_too_also_where_no_request_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let house = House::open_with(&["--log-to", path.to_str().unwrap()]);
    let log = || std::fs::read_to_string(&path).unwrap();
    let headers = [("x-request-id", "depth-1"), ("traceparent", &*parent())];
    house
        .admin
        .post_with("/api/stores", &headers, json!({"storeId": "paris", "name": "Paris"}))
        .expect(201);
    let line = line_of(log, "depth-1", "a store was changed");
    assert_eq!(
        (&line["traceId"], &line["by"]),
        (&json!(TRACE), &json!("anna")),
        "{line}"
    );
    assert_eq!(line["path"], "/api/stores", "{line}");
    let body = json!({"username": "anna", "password": "not the right one"});
    house
        .nobody()
        .post_with("/api/auth/login", &[("x-request-id", "depth-2")], body)
        .refused(401, "unauthenticated");
    let line = line_of(log, "depth-2", "a login was refused");
    assert!(is_hex(&line["traceId"], 32) && line["by"].is_null(), "{line}");
    assert!(!log().contains("answered"), "requests are logged at debug only");
}

/// Asks for more at once than may wait.
fn crowd(port: u16) -> Vec<Answer> {
    std::thread::scope(|scope| {
        let ask = || port.post(&format!("{}/adjust", at("A")), json!({"delta": -1}));
        let asked: Vec<_> = (0..64).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn a_request_that_fails_is_a_warning_that_names_it() {
    let app = TestApp::start_with(&["--queue-limit", "1"]);
    app.stock("A", 10_000);
    let failed = (0..20).find_map(|_| crowd(app.port).into_iter().find(|answer| answer.status == 503));
    let failed = failed.expect("no request has failed");
    let line = line_of(|| app.log(), failed.header("x-request-id").unwrap(), "a request failed");
    assert_eq!(
        (&line["level"], &line["status"]),
        (&json!("WARN"), &json!(503)),
        "{line}"
    );
    assert!(line["problem"].as_str().unwrap().starts_with("overloaded: "), "{line}");
}

#[test]
fn text_is_written_where_it_is_asked_for_with_the_same_ids() {
    let app = TestApp::start_with(&["--log-level", "DEBUG", "--log-format", "text"]);
    let headers = [("x-request-id", "order-18"), ("traceparent", &*parent())];
    app.get_with(&at("A"), &headers).expect(404);
    let line = || {
        app.log()
            .lines()
            .find(|line| line.contains(" requestId=order-18 "))
            .map(str::to_owned)
    };
    assert!(comes_true(A_MOMENT, || line().is_some()), "{}", app.log());
    let line = line().unwrap();
    assert!(
        line.contains("DEBUG holdfast::http::edge: answered status=404 "),
        "{line}"
    );
    assert!(line.contains(&format!(" traceId={TRACE} spanId=")), "{line}");
    assert!(!line.contains('\u{1b}'));
}

/// The files of a log, the one in use first.
fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn full_files_make_way_and_so_many_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("holdfast.log");
    let args = [
        "--log-file-mb",
        "1",
        "--log-files",
        "3",
        "--log-level",
        "debug",
        "--log-to",
    ];
    let mut app = TestApp::start_with(&[&args[..], &[path.to_str().unwrap()]].concat());
    let long = "x".repeat(30_000);
    for n in 0..160 {
        app.get_with(&format!("/{long}"), &[("x-request-id", &format!("long-{n}"))])
            .expect(404);
    }
    assert!(app.terminate().success());
    assert_eq!(
        files(folder.path()),
        ["holdfast.log", "holdfast.log.1", "holdfast.log.2"]
    );
    let mut ids = Vec::new();
    for name in ["holdfast.log.2", "holdfast.log.1", "holdfast.log"] {
        let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert!(text.len() <= 1 << 20, "{name} has {} bytes", text.len());
        let lines = parsed(&text);
        let answered = lines.iter().filter(|line| line["message"] == "answered");
        ids.extend(answered.map(|line| line["requestId"].as_str().unwrap().to_owned()));
    }
    let last: Vec<String> = (160 - ids.len()..160).map(|n| format!("long-{n}")).collect();
    assert!(ids == last && ids.len() > 60, "{ids:?}");
    let end = std::fs::read_to_string(&path).unwrap();
    assert!(end.contains("\"message\":\"stopped\""), "the last line is missing");
}

#[test]
fn a_file_is_gone_on_with_by_the_next_start() {
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = folder.path().join("log");
    for starts in 1..=2 {
        // That it takes requests is also said where it was started, which is what `TestApp` waits for.
        let mut app = TestApp::start_in(data.path(), 0, &["--log-to", path.to_str().unwrap()]);
        assert!(app.terminate().success());
        let log = std::fs::read_to_string(&path).unwrap();
        assert_eq!(log.matches("takes requests at").count(), starts);
    }
}

#[test]
fn a_log_that_cannot_be_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = ["--port", "0", "--data-dir", data.to_str().unwrap()];
    for (setting, value, named) in [
        ("--log-to", "/nowhere/log", "/nowhere/log"),
        ("--log-level", "loud", "\"loud\""),
        ("--log-level", "holdfast", "\"holdfast\""),
        ("--log-format", "xml", "xml"),
        ("--log-files", "0", "--log-files"),
        ("--log-file-mb", "0", "--log-file-mb"),
    ] {
        let said = refused_start(&[&data[..], &[setting, value]].concat(), &[]);
        assert!(said.contains(named), "{setting} {value}: {said}");
    }
    assert!(
        !folder.path().join("data").exists(),
        "what is refused leaves nothing behind"
    );
}

#[test]
fn a_log_that_has_no_room_stops_nothing() {
    let app = TestApp::start_with(&["--log-to", "/dev/full", "--log-level", "debug"]);
    for n in 0..50 {
        app.put(&at("A"), json!({"quantity": n}));
    }
    assert_eq!(app.state("A"), (49, 0, 50));
    let lost = || app.get(LEVEL).expect(200)["lostLines"].as_u64().unwrap();
    assert!(comes_true(A_MOMENT, || lost() > 50), "{}", lost());
    let told = app.log().matches("the log cannot be written").count();
    assert_eq!(told, 1, "{}", app.log());
}

#[test]
fn a_log_that_nobody_reads_stops_nothing_and_tells_afterwards_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Open for both, so that neither side waits for the other.
    let reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let app = TestApp::start_with(&["--log-to", pipe.to_str().unwrap(), "--log-level", "debug"]);
    let long = "x".repeat(60_000);
    for _ in 0..330 {
        app.get(&format!("/{long}")).expect(404);
    }
    app.stock("A", 5);
    let lost = app.get(LEVEL).expect(200)["lostLines"].as_u64().unwrap();
    assert!(lost > 10, "{lost}");
    let lines = BufReader::new(reader).lines().map(Result::unwrap);
    let told = lines
        .map(|line| parsed(&line).remove(0))
        .find(|line| line["target"] == "holdfast::telemetry");
    assert!(told.unwrap()["lines"].as_u64().unwrap() >= lost);
}

#[test]
fn a_stop_does_not_wait_for_a_log_that_nobody_reads() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let mut app = TestApp::start_with(&["--log-to", pipe.to_str().unwrap(), "--log-level", "debug"]);
    let long = "x".repeat(60_000);
    for _ in 0..4 {
        app.get(&format!("/{long}")).expect(404);
    }
    let started = Instant::now();
    assert!(app.terminate().success());
    assert!(started.elapsed() < 2 * A_MOMENT, "{:?}", started.elapsed());
}

/// A house whose log goes to a file.
fn watched(folder: &Path) -> (House, impl Fn() -> String + use<>) {
    let path = folder.join("log");
    let house = House::open_with(&["--log-to", path.to_str().unwrap()]);
    (house, move || std::fs::read_to_string(&path).unwrap())
}

#[test]
fn an_admin_changes_the_level_at_once_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let (house, log) = watched(folder.path());
    let admin = &house.admin;
    let standing = json!({"level": "info", "lostLines": 0});
    assert_eq!(admin.get(LEVEL).expect(200).json, standing);
    for role in ["viewer", "operator"] {
        let other = house.hire(role, role, &[]);
        other.get(LEVEL).refused(403, "forbidden");
        other.put(LEVEL, json!({"level": "debug"})).refused(403, "forbidden");
    }
    house
        .clerk()
        .put(LEVEL, json!({"level": "debug"}))
        .refused(403, "forbidden");
    house
        .nobody()
        .put(LEVEL, json!({"level": "debug"}))
        .refused(401, "unauthenticated");
    assert_eq!(admin.get(LEVEL).expect(200).json, standing);

    let is_logged = |id: &str| {
        admin.get_with("/api/users", &[("x-request-id", id)]).expect(200);
        comes_true(Duration::from_millis(500), || log().contains(id))
    };
    assert!(!is_logged("before"));
    let changed = admin.put(LEVEL, json!({"level": "debug"})).expect(200);
    assert_eq!(changed.json, json!({"level": "debug", "lostLines": 0}));
    let log_line = line_of(
        &log,
        changed.header("x-request-id").unwrap(),
        "the log level is changed",
    );
    assert_eq!(
        (&log_line["by"], &log_line["to"]),
        (&json!("anna"), &json!("debug")),
        "{log_line}"
    );
    assert!(is_logged("within"));
    admin
        .put(LEVEL, json!({"level": "off,holdfast::http::users=info"}))
        .expect(200);
    assert!(!is_logged("after"));
    assert_eq!(admin.get(LEVEL).expect(200)["level"], "off,holdfast::http::users=info");
}

#[test]
fn a_level_that_is_none_is_refused_and_changes_nothing() {
    let app = TestApp::start();
    for (body, field) in [
        (json!({"level": "loud"}), "level"),
        (json!({"level": "info,holdfast"}), "level"),
        (json!({"level": "INFO"}), "level"),
        (json!({"level": ""}), "level"),
        (json!({"level": "info,".repeat(200) + "info"}), "level"),
        (json!({"level": 3}), "level"),
        (json!({}), "level"),
        (json!({"level": "debug", "forSeconds": 0}), "forSeconds"),
        (json!({"level": "debug", "forSeconds": 86_401}), "forSeconds"),
        (json!({"level": "debug", "forSeconds": null}), "forSeconds"),
        (json!({"level": "debug", "forMinutes": 1}), "forMinutes"),
    ] {
        let refused = app.put(LEVEL, body.clone()).refused(400, "invalid_request");
        assert_eq!(refused.fields(), [field], "{body}");
    }
    let refused = app
        .put(LEVEL, json!({"level": "info,loud=x"}))
        .refused(400, "invalid_request");
    assert!(
        refused["detail"].as_str().unwrap().contains("\"loud=x\""),
        "{}",
        refused.text()
    );
    assert_eq!(
        app.get(LEVEL).expect(200).json,
        json!({"level": "info", "lostLines": 0})
    );
}

#[test]
fn a_level_for_a_time_falls_back_by_itself_to_the_last_lasting_one() {
    let app = TestApp::start();
    app.put(LEVEL, json!({"level": "warn"})).expect(200);
    app.put(LEVEL, json!({"level": "trace", "forSeconds": 600})).expect(200);
    let passing = app.put(LEVEL, json!({"level": "debug", "forSeconds": 1})).expect(200);
    assert_eq!((&passing["level"], &passing["then"]), (&json!("debug"), &json!("warn")));
    assert!(millis(&passing["until"]).is_some());
    let is_logged = |id: &str| {
        app.get_with(&at("A"), &[("x-request-id", id)]).expect(404);
        comes_true(Duration::from_millis(300), || app.log().contains(id))
    };
    assert!(is_logged("within"));
    sleep_until(&passing["until"]);
    let level = || app.get(LEVEL).expect(200).json;
    assert!(
        comes_true(A_MOMENT, || level() == json!({"level": "warn", "lostLines": 0})),
        "{}",
        level()
    );
    assert!(!is_logged("after"));
    assert!(app.log().contains("the log level falls back"));
}

#[test]
fn what_was_set_for_a_time_does_not_end_what_was_set_after_it() {
    let app = TestApp::start();
    let first = app.put(LEVEL, json!({"level": "debug", "forSeconds": 1})).expect(200);
    app.put(LEVEL, json!({"level": "warn"})).expect(200);
    sleep_until(&first["until"]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(app.get(LEVEL).expect(200)["level"], "warn");
}

#[test]
fn a_level_that_was_changed_is_forgotten_by_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.put(LEVEL, json!({"level": "trace"})).expect(200);
    assert!(app.terminate().success());
    let app = TestApp::start_in(folder.path(), 0, &[]);
    assert_eq!(app.get(LEVEL).expect(200)["level"], "info");
}
