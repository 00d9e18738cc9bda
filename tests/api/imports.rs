//! Bulk loads in the background: what a body becomes, how its job stands, and what ends it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, Client, all_pages, at_in, column, comes_true, is_time, operation, read_answer};
use crate::log::events;
use crate::staff::{House, OWN};
use crate::support::{HOLDFAST, TestApp};

const IMPORTS: &str = "/api/imports";
const CSV: (&str, &str) = ("content-type", "text/csv");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const PATIENCE: Duration = Duration::from_secs(30);

fn import(app: &impl Client, body: impl AsRef<[u8]>) -> Answer {
    import_with(app, IMPORTS, &[CSV], body)
}

fn import_with(app: &impl Client, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
    app.send("POST", path, headers, Some(body.as_ref()))
}

/// The path of the job that an import was answered with.
#[track_caller]
fn job_of(answer: &Answer) -> String {
    let path = answer.header("location").expect("no Location").to_owned();
    assert_eq!(path, format!("/api/jobs/{}", answer["jobId"].as_str().unwrap()));
    path
}

fn is_over(job: &Answer) -> bool {
    ["succeeded", "failed", "cancelled"].contains(&job["status"].as_str().unwrap())
}

/// The job, once it is over.
#[track_caller]
fn ended(app: &impl Client, job: &str) -> Answer {
    assert!(
        comes_true(PATIENCE, || is_over(&app.get(job).expect(200))),
        "{}",
        app.get(job).text()
    );
    app.get(job)
}

/// Imports, and waits for the end.
#[track_caller]
fn imported(app: &impl Client, body: impl AsRef<[u8]>) -> Answer {
    let answer = import(app, body).expect(202);
    ended(app, &job_of(&answer))
}

#[track_caller]
fn counts(job: &Answer) -> (&str, u64, u64, u64) {
    let number = |name: &str| job[name].as_u64().unwrap();
    let status = job["status"].as_str().unwrap();
    (status, number("lines"), number("imported"), number("failedLines"))
}

fn errors(app: &impl Client, job: &Answer) -> Vec<(u64, Value, String)> {
    let list = app.get(&format!("{}/errors", job_path(job))).expect(200);
    let text = String::from_utf8(list.body).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text_of = |value: &Value| value.as_str().unwrap().to_owned();
    lines
        .map(|line| {
            (
                line["line"].as_u64().unwrap(),
                line["column"].clone(),
                text_of(&line["message"]),
            )
        })
        .collect()
}

fn job_path(job: &Answer) -> String {
    format!("/api/jobs/{}", job["jobId"].as_str().unwrap())
}

/// So many lines, each of a SKU of its own.
fn long(lines: usize) -> String {
    let rows: String = (0..lines).map(|n| format!("S{n},{n}\n")).collect();
    format!("sku,quantity\n{rows}")
}

/// What lies in the folder of jobs.
fn folders(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data.join("jobs")).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

#[test]
fn lines_of_csv_are_in_when_the_job_is_over() {
    let app = TestApp::start();
    let text =
        "sku,storeId,quantity,name,price,currency,reorderPoint\nA,paris,5,Tea,250,EUR,2\nA,rome,7,,,,\nB,,9,,,,\n";
    let answer = import_with(&app, IMPORTS, &[CSV, ("x-request-id", "night-load")], text).expect(202);
    let path = job_of(&answer);
    assert_eq!(
        (&answer["kind"], &answer["status"]),
        (&json!("import"), &json!("queued"))
    );
    assert_eq!(
        (&answer["totalBytes"], &answer["dryRun"]),
        (&json!(text.len()), &json!(false))
    );
    let job = ended(&app, &path);
    assert_eq!(counts(&job), ("succeeded", 3, 3, 0));
    assert_eq!((&job["readBytes"], &job["percent"]), (&json!(text.len()), &json!(100)));
    assert_eq!((&job["by"], &job["error"]), (&json!("anonymous"), &Value::Null));
    for moment in ["createdAt", "startedAt", "finishedAt"] {
        assert!(is_time(&job[moment]), "{moment}");
    }
    let level = app.get(&at_in("paris", "A")).expect(200);
    assert_eq!((level.state(), &level["reorderPoint"]), ((5, 0, 1), &json!(2)));
    assert_eq!(app.get(&at_in("rome", "A")).expect(200).state(), (7, 0, 1));
    assert_eq!(app.get(&at_in("default", "B")).expect(200).state(), (9, 0, 1));
    let item = app.get("/api/inventory/items/A").expect(200);
    assert_eq!((&item["name"], &item["price"]["amount"]), (&json!("Tea"), &json!(250)));
    let events = app.get("/api/events").expect(200);
    let note = format!("import {}", job["jobId"].as_str().unwrap());
    for event in events["items"].as_array().unwrap() {
        assert_eq!((&event["by"], &event["note"]), (&json!("anonymous"), &json!(note)));
        assert_eq!(event["requestId"], "night-load");
    }
    assert!(errors(&app, &job).is_empty());
    assert!(
        !app.folder()
            .join(format!("jobs/{}/input", job["jobId"].as_str().unwrap()))
            .exists()
    );
}

#[test]
fn lines_of_ndjson_and_what_programs_make_of_csv_are_read() {
    let app = TestApp::start();
    let lines = "{\"sku\":\"A\",\"quantity\":1}\r\n\n{\"sku\":\"B\",\"storeId\":\"rome\",\"quantity\":2}";
    let answer = import_with(&app, "/api/imports?storeId=paris", &[NDJSON], lines).expect(202);
    assert_eq!(counts(&ended(&app, &job_of(&answer))), ("succeeded", 2, 2, 0));
    assert_eq!(app.get(&at_in("paris", "A")).expect(200).state().0, 1);
    assert_eq!(app.get(&at_in("rome", "B")).expect(200).state().0, 2);
    let excel = "\u{feff}Store ID;SKU;Quantity\r\nrome;C;3\r\n";
    let typed = [("content-type", "text/csv; charset=\"UTF-8\"; header=present")];
    let answer = import_with(&app, IMPORTS, &typed, excel).expect(202);
    assert_eq!(counts(&ended(&app, &job_of(&answer))), ("succeeded", 1, 1, 0));
    assert_eq!(app.get(&at_in("rome", "C")).expect(200).state().0, 3);
    let untyped = [("content-type", "application/octet-stream")];
    let answer = import_with(&app, "/api/imports?format=ndjson", &untyped, lines).expect(202);
    assert_eq!(counts(&ended(&app, &job_of(&answer))), ("succeeded", 2, 2, 0));
}

#[test]
fn what_is_wrong_with_a_line_is_listed_with_its_number_and_leaves_the_others_in() {
    let app = TestApp::start();
    app.put(&at_in("rome", "HELD"), json!({"quantity": 5})).expect(201);
    app.post(&format!("{}/reserve", at_in("rome", "HELD")), json!({"quantity": 4}))
        .expect(201);
    let long = "x".repeat(1 << 20);
    let text = format!(
        "sku,storeId,quantity\nA,rome,1\nB,rome,few\nHELD,rome,3\n{long},rome,1\nC,rome,\n\"D,\n\",rome,1\nE,rome,2\n"
    );
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(b"\xff,rome,1\nF,rome,3\n");
    let job = imported(&app, &bytes);
    assert_eq!(counts(&job), ("succeeded", 9, 3, 6));
    let errors = errors(&app, &job);
    let places: Vec<(u64, &str)> = errors
        .iter()
        .map(|(line, column, _)| (*line, column.as_str().unwrap_or("-")))
        .collect();
    let expected = [
        (3, "quantity"),
        (4, "-"),
        (5, "-"),
        (6, "quantity"),
        (7, "sku"),
        (10, "sku"),
    ];
    assert_eq!(places, expected, "{errors:?}");
    assert_eq!(errors[0].2, "\"few\" is not a whole number");
    assert!(errors[1].2.starts_with("below_reserved: "), "{errors:?}");
    assert!(errors[2].2.starts_with("has more than 1048576 bytes"), "{errors:?}");
    for (sku, quantity) in [("A", 1), ("E", 2), ("F", 3), ("HELD", 5)] {
        assert_eq!(app.get(&at_in("rome", sku)).expect(200).state().0, quantity, "{sku}");
    }
    let path = format!("{}/errors?format=csv", job_path(&job));
    let csv = app.get(&path).expect(200);
    assert_eq!(csv.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(
        csv.header("content-disposition")
            .unwrap()
            .starts_with("attachment; filename=\"import-")
    );
    let csv = String::from_utf8(csv.body).unwrap();
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("line,column,message"));
    assert_eq!(lines.next(), Some("3,quantity,\"\"\"few\"\" is not a whole number\""));
    assert_eq!(lines.count(), 5, "{csv}");
    app.get(&format!("{}/errors?format=xml", job_path(&job)))
        .refused(400, "invalid_request");
}

#[test]
fn a_long_list_of_errors_is_whole_and_damage_does_not_pass_for_an_end() {
    let app = TestApp::start();
    let rows: String = (0..3500).map(|n| format!("S{n},x\n")).collect();
    let job = imported(&app, format!("sku,quantity\n{rows}"));
    assert_eq!(counts(&job), ("succeeded", 3500, 0, 3500));
    let lines: Vec<u64> = errors(&app, &job).iter().map(|(line, ..)| *line).collect();
    assert_eq!(lines, (2..3502).collect::<Vec<u64>>());
    let csv = app.get(&format!("{}/errors?format=csv", job_path(&job))).expect(200);
    assert_eq!(String::from_utf8(csv.body).unwrap().lines().count(), 3501);
    let file = app
        .folder()
        .join(format!("jobs/{}/errors.ndjson", job["jobId"].as_str().unwrap()));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let path = format!("{}/errors", job_path(&job));
    assert!(
        app.try_send("GET", &path, &[], None).is_err(),
        "a damaged list was sent as if it were whole"
    );
}

#[test]
fn a_text_that_is_no_list_of_counts_makes_the_job_fail_with_a_sentence() {
    let app = TestApp::start();
    let cut = &gzip(&long(5000))[..2000];
    for (body, says) in [
        (&b"sku,storeId\nA,rome\n"[..], "line 1: there is no column quantity."),
        (
            b"sku,quantity,colour\n",
            "line 1: column 3 is called \"colour\", which is not known here.",
        ),
        (b"", "there is no header line."),
        (b"\xff\xfes\0k\0u\0", "line 1: is not UTF-8."),
        (cut, "cannot be"),
    ] {
        let job = imported(&app, body);
        let error = job["error"].as_str().unwrap();
        assert_eq!(job["status"], "failed", "{error}");
        assert!(
            error.starts_with(says) || error.contains(says) && body == cut,
            "{error}"
        );
    }
    assert!(
        events(app.folder())
            .iter()
            .all(|event| event["changes"][0]["sku"].as_str().unwrap().starts_with('S'))
    );
}

#[test]
fn a_packed_body_is_known_by_how_it_begins_and_one_that_only_says_so_is_refused() {
    let app = TestApp::start();
    let text = "sku,quantity\nA,1\n";
    let encoded = ("content-encoding", "GZIP");
    for headers in [&[CSV][..], &[CSV, encoded]] {
        let answer = import_with(&app, IMPORTS, headers, gzip(text)).expect(202);
        assert_eq!(counts(&ended(&app, &job_of(&answer))), ("succeeded", 1, 1, 0));
    }
    let refused = import_with(&app, IMPORTS, &[CSV, encoded], text).refused(400, "invalid_request");
    assert_eq!(refused.fields(), ["content-encoding"]);
    import_with(&app, IMPORTS, &[CSV, ("content-encoding", "br")], text).refused(415, "unsupported_media_type");
    assert_eq!(folders(app.folder()).len(), 2);
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_nothing_behind() {
    let app = TestApp::start();
    let body = "sku,quantity\nA,1\n";
    for content_type in ["application/json", "text/plain", "text/csv; charset=utf-16", ""] {
        import_with(&app, IMPORTS, &[("content-type", content_type)], body).refused(415, "unsupported_media_type");
    }
    for (query, field) in [
        ("?store=x", "store"),
        ("?storeId=.", "storeId"),
        ("?dryRun=yes", "dryRun"),
        ("?format=json", "format"),
        ("?format=csv&format=csv", "format"),
    ] {
        let refused = import_with(&app, &format!("{IMPORTS}{query}"), &[CSV], body).refused(400, "invalid_request");
        assert_eq!(refused.fields(), [field], "{query}");
    }
    for header in [("idempotency-key", "a b"), ("if-match", "\"1\"")] {
        import_with(&app, IMPORTS, &[CSV, header], body).refused(400, "invalid_request");
    }
    for path in [
        "/api/jobs/nothing",
        "/api/jobs/..%2f..%2fevents",
        "/api/jobs/nothing/errors",
    ] {
        app.get(path).refused(404, "not_found");
    }
    app.send("DELETE", "/api/jobs/..%2f..%2fevents", &[], None)
        .refused(404, "not_found");
    app.post("/api/jobs/nothing/cancel", json!({}))
        .refused(404, "not_found");
    assert!(folders(app.folder()).is_empty());
    assert!(app.folder().join("events").is_dir());
    assert_eq!(app.get("/api/jobs").expect(200)["items"], json!([]));
}

#[test]
fn a_dry_run_decides_every_line_and_changes_nothing() {
    let app = TestApp::start();
    app.put(&at_in("default", "HELD"), json!({"quantity": 5})).expect(201);
    app.post(&format!("{}/reserve", at_in("default", "HELD")), json!({"quantity": 4}))
        .expect(201);
    let end = events(app.folder()).len();
    let answer = import_with(&app, "/api/imports?dryRun=true", &[CSV], "sku,quantity\nA,1\nHELD,3\n").expect(202);
    let job = ended(&app, &job_of(&answer));
    assert_eq!((counts(&job), &job["dryRun"]), (("succeeded", 2, 1, 1), &json!(true)));
    assert!(errors(&app, &job)[0].2.starts_with("below_reserved: "));
    assert_eq!(events(app.folder()).len(), end);
    app.get(&at_in("default", "A")).refused(404, "not_found");
}

#[test]
fn a_strict_catalogue_refuses_lines_of_what_it_does_not_have() {
    let app = TestApp::start_with(&["--strict-catalogue"]);
    app.post("/api/stores", json!({"storeId": "rome", "name": "Rome"}))
        .expect(201);
    app.post("/api/products", json!({"sku": "A", "name": "Tea"}))
        .expect(201);
    let job = imported(&app, "sku,storeId,quantity\nA,rome,1\nB,rome,2\nA,paris,3\n");
    assert_eq!(counts(&job), ("succeeded", 3, 1, 2));
    let lines: Vec<u64> = errors(&app, &job).iter().map(|(line, ..)| *line).collect();
    assert_eq!(lines, [3, 4]);
}

#[test]
fn preferences_are_heeded_and_said_to_be() {
    let app = TestApp::start();
    let body = "sku,quantity\nA,1\n";
    let plain = import(&app, body).expect(202);
    assert_eq!(plain.header("preference-applied"), None);
    let prompt = import_with(&app, IMPORTS, &[CSV, ("prefer", "respond-async")], body).expect(202);
    assert_eq!(prompt.header("preference-applied"), Some("respond-async"));
    let patient = import_with(&app, IMPORTS, &[CSV, ("prefer", "respond-async, wait=20")], body).expect(202);
    assert_eq!(patient.header("preference-applied"), Some("respond-async, wait=20"));
    assert_eq!(counts(&patient), ("succeeded", 1, 1, 0));
    let strange = import_with(&app, IMPORTS, &[CSV, ("prefer", "wait=long")], body).expect(202);
    assert_eq!(strange.header("preference-applied"), None);
}

#[test]
fn a_repeat_under_its_key_is_the_same_job_also_after_a_restart_and_when_it_was_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let key = ("idempotency-key", "night-load");
    let body = "sku,quantity\nA,1\n";
    let first = import_with(&app, IMPORTS, &[CSV, key], body).expect(202);
    ended(&app, &job_of(&first));
    let repeats_first = |app: &TestApp| {
        let again = import_with(app, IMPORTS, &[CSV, key], body).expect(202);
        assert_eq!(
            (again.header("idempotency-replayed"), again.text()),
            (Some("true"), first.text())
        );
        assert_eq!(again.header("location"), first.header("location"));
        let found = app.get(&operation("night-load")).expect(200);
        assert_eq!(
            (&found["status"], &found["answer"]["status"]),
            (&json!("completed"), &json!(202))
        );
        assert_eq!(found["answer"]["body"], first.json);
        import_with(app, IMPORTS, &[CSV, key], "sku,quantity\nA,2\n").refused(422, "idempotency_key_reused");
        import_with(app, "/api/imports?dryRun=true", &[CSV, key], body).refused(422, "idempotency_key_reused");
        app.put_with(&at_in("default", "A"), &[key], json!({"quantity": 3}))
            .refused(422, "idempotency_key_reused");
    };
    repeats_first(&app);
    app.kill();
    let app = TestApp::start_in(folder.path(), 0, &[]);
    repeats_first(&app);
    app.send("DELETE", &job_of(&first), &[], None).expect(204);
    repeats_first(&app);
    app.get(&job_of(&first)).refused(404, "not_found");
    assert_eq!(app.get(&at_in("default", "A")).expect(200).state(), (1, 0, 1));
    app.put_with(
        &at_in("default", "A"),
        &[("idempotency-key", "other")],
        json!({"quantity": 3}),
    )
    .expect(200);
    import_with(&app, IMPORTS, &[CSV, ("idempotency-key", "other")], body).refused(422, "idempotency_key_reused");
}

#[test]
fn a_body_over_the_limit_is_refused_however_it_comes_and_leaves_nothing_behind() {
    let app = TestApp::start_with(&["--max-import-bytes", "10000"]);
    let body = long(2000);
    let announced = format!(
        "POST {IMPORTS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    app.send_bytes(announced.as_bytes())
        .refused_at(IMPORTS, 413, "payload_too_large");
    let chunked = format!(
        "POST {IMPORTS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    app.send_bytes(chunked.as_bytes())
        .refused_at(IMPORTS, 413, "payload_too_large");
    assert!(comes_true(PATIENCE, || folders(app.folder()).is_empty()));
    assert_eq!(counts(&imported(&app, long(500))), ("succeeded", 500, 500, 0));
}

#[test]
fn a_client_that_goes_away_or_is_silent_leaves_nothing_behind_and_a_slow_honest_one_is_heard_out() {
    let app = TestApp::start_with(&["--body-seconds", "1"]);
    let head = format!("POST {IMPORTS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n");
    let mut gone = app.connect();
    write!(gone.get_mut(), "{head}Content-Length: 1000\r\n\r\nsku,quantity\nA,1\n").unwrap();
    assert!(comes_true(PATIENCE, || folders(app.folder()).len() == 1));
    drop(gone);
    assert!(comes_true(Duration::from_millis(900), || folders(app.folder()).is_empty()));
    let mut silent = app.connect();
    write!(
        silent.get_mut(),
        "{head}Content-Length: 1000\r\n\r\nsku,quantity\nA,1\n"
    )
    .unwrap();
    read_answer(&mut silent).refused_at(IMPORTS, 408, "request_timeout");
    assert!(folders(app.folder()).is_empty());
    let mut slow = app.connect();
    let text = long(2000);
    write!(slow.get_mut(), "{head}Content-Length: {}\r\n\r\n", text.len()).unwrap();
    for piece in text.as_bytes().chunks(text.len() / 6) {
        slow.get_mut().write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(400));
    }
    let answer = read_answer(&mut slow).expect(202);
    assert_eq!(counts(&ended(&app, &job_of(&answer))), ("succeeded", 2000, 2000, 0));
}

/// The head of an import, and the beginning of its body.
const BEGUN: &str = "POST /api/imports HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n\
    Content-Length: 1000\r\n\r\nsku,quantity\nA,1\n";

#[test]
fn so_many_bodies_may_come_at_a_time_and_each_that_goes_makes_room_for_another() {
    const MOST: usize = 16;
    let app = TestApp::start();
    let mut coming = Vec::new();
    for count in 1..=MOST {
        let mut connection = app.connect();
        connection.get_mut().write_all(BEGUN.as_bytes()).unwrap();
        coming.push(connection);
        assert!(
            comes_true(PATIENCE, || folders(app.folder()).len() == count),
            "{count}: {:?}",
            folders(app.folder())
        );
    }
    let refused = import(&app, "sku,quantity\nA,1\n").refused(503, "overloaded");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(folders(app.folder()).len(), MOST);
    app.stock("OTHER", 1);
    drop(coming.pop());
    assert!(comes_true(PATIENCE, || import(&app, "sku,quantity\nA,1\n").status == 202));
}

#[test]
fn one_principal_leaves_places_for_the_bodies_of_others() {
    const OWN_MOST: usize = 4;
    let house = House::open();
    let (slow, other) = (
        house.hire("slow", "operator", &[]),
        house.hire("other", "operator", &[]),
    );
    let authorized = format!("authorization: {}\r\nContent-Type", slow.authorization().unwrap());
    let begun = BEGUN.replace("Content-Type", &authorized);
    let mut coming = Vec::new();
    for count in 1..=OWN_MOST {
        let mut connection = house.admin.connect();
        connection.get_mut().write_all(begun.as_bytes()).unwrap();
        coming.push(connection);
        assert!(
            comes_true(PATIENCE, || folders(house.folder()).len() == count),
            "{count}"
        );
    }
    let body = "sku,quantity\nA,1\n";
    let refused = import(&slow, body).refused(409, "quota_exceeded");
    assert_eq!(refused["limit"], OWN_MOST as u64);
    assert_eq!(folders(house.folder()).len(), OWN_MOST);
    assert_eq!(counts(&imported(&other, body)), ("succeeded", 1, 1, 0));
    drop(coming.pop());
    assert!(comes_true(PATIENCE, || import(&slow, body).status == 202));
}

#[test]
fn a_body_that_says_that_it_is_larger_than_the_disk_is_refused_before_it_comes() {
    let app = TestApp::start_with(&["--max-import-bytes", "0"]);
    let head = format!(
        "POST {IMPORTS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nContent-Length: {}\r\n\r\n",
        1_u64 << 60
    );
    app.send_bytes(head.as_bytes())
        .refused_at(IMPORTS, 503, "storage_unavailable");
    assert!(folders(app.folder()).is_empty());
    assert_eq!(app.get("/api/health/ready").status, 200);
}

#[test]
fn a_running_job_and_a_waiting_one_can_be_cancelled_and_one_that_is_over_stays_as_it_is() {
    let app = TestApp::start();
    let running = job_of(&import(&app, long(200_000)).expect(202));
    let waiting = job_of(&import(&app, "sku,quantity\nLATER,1\n").expect(202));
    assert!(comes_true(PATIENCE, || app.get(&running)["imported"].as_u64() > Some(0)));
    let shown = app.get(&running).expect(200);
    assert_eq!(shown["status"], "running");
    app.send("DELETE", &running, &[], None).refused(409, "in_use");
    let cancel = |job: &str| app.send("POST", &format!("{job}/cancel"), &[], None).expect(200);
    assert_eq!(counts(&cancel(&waiting)), ("cancelled", 0, 0, 0));
    let cancelled = cancel(&running);
    let (status, lines, imported, _) = counts(&cancelled);
    assert!(
        status == "cancelled" && lines > 0 && lines < 200_000,
        "{}",
        cancelled.text()
    );
    assert_eq!(
        imported,
        app.get("/api/events?after=9007199254740991").expect(200)["end"]
            .as_u64()
            .unwrap()
    );
    assert_eq!(cancel(&running).json, cancelled.json);
    app.get(&at_in("default", "LATER")).refused(404, "not_found");
    let done = imported_last(&app);
    assert_eq!(cancel(&done)["status"], "succeeded");
    for job in [&running, &waiting, &done] {
        app.send("DELETE", job, &[], None).expect(204);
        app.get(job).refused(404, "not_found");
    }
    assert!(folders(app.folder()).is_empty());
}

fn imported_last(app: &TestApp) -> String {
    job_path(&imported(app, "sku,quantity\nA,1\n"))
}

#[test]
fn jobs_are_listed_newest_first_page_by_page_and_too_many_that_wait_are_refused() {
    let app = TestApp::start();
    let first = import(&app, long(200_000)).expect(202);
    let mut ids = vec![first["jobId"].as_str().unwrap().to_owned()];
    assert!(comes_true(PATIENCE, || app.get(&job_of(&first))["status"] == "running"));
    let refused = loop {
        let answer = import(&app, "sku,quantity\nA,1\n");
        match answer.status {
            202 => ids.push(answer["jobId"].as_str().unwrap().to_owned()),
            _ => break answer,
        }
        assert!(ids.len() < 100, "any number may wait");
    };
    assert_eq!(refused.refused(503, "overloaded").header("retry-after"), Some("1"));
    ids.reverse();
    assert_eq!(column(&all_pages(&app, "/api/jobs", 7), "jobId"), ids);
    assert_eq!(folders(app.folder()).len(), ids.len());
}

#[test]
fn only_operators_import_and_what_a_revoked_token_asked_for_does_not_go_on() {
    let house = House::open();
    let body = "sku,quantity\nA,1\n";
    for caller in [house.hire("viewer", "viewer", &[]), house.hire("clerk", "clerk", &OWN)] {
        import(&caller, body).refused(403, "forbidden");
        caller.get("/api/jobs").refused(403, "forbidden");
    }
    import(&house.nobody(), body).refused(401, "unauthenticated");
    let operator = house.hire("loader", "operator", &[]);
    let job = imported(&operator, body);
    assert_eq!(
        (counts(&job), &job["by"]),
        (("succeeded", 1, 1, 0), &json!("token:loader"))
    );
    let job = job_of(&import(&operator, long(200_000)).expect(202));
    assert!(comes_true(PATIENCE, || house.admin.get(&job)["imported"].as_u64() > Some(0)));
    let tokens = house.admin.get("/api/tokens").expect(200);
    let id = tokens["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["name"] == "loader")
        .unwrap()["id"]
        .clone();
    house
        .admin
        .send("DELETE", &format!("/api/tokens/{}", id.as_str().unwrap()), &[], None)
        .expect(204);
    let failed = ended(&house.admin, &job);
    assert_eq!(failed["status"], "failed", "{}", failed.text());
    let error = failed["error"].as_str().unwrap();
    assert!(error.starts_with("token:loader asked for this"), "{error}");
}

#[test]
fn a_job_goes_on_after_a_stop_and_after_a_kill_and_brings_no_line_in_twice() {
    const LINES: u64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let bad: String = (0..3000).map(|n| format!("BAD{n},x\n")).collect();
    let job = job_of(&import(&app, long(LINES as usize) + &bad).expect(202));
    let waiting = job_of(&import(&app, "sku,quantity\nLATER,1\n").expect(202));
    for at_least in [1, 4000] {
        let so_many = || app.get(&job)["imported"].as_u64() >= Some(at_least);
        assert!(comes_true(PATIENCE, so_many), "{}", app.get(&job).text());
        match at_least {
            1 => assert!(app.terminate().success()),
            _ => app.kill(),
        }
        app = TestApp::start_in(folder.path(), 0, &[]);
        assert!(app.get(&job).expect(200)["imported"].as_u64().unwrap() >= at_least);
    }
    let ended_job = ended(&app, &job);
    assert_eq!(counts(&ended_job), ("succeeded", LINES + 3000, LINES, 3000));
    assert_eq!(counts(&ended(&app, &waiting)), ("succeeded", 1, 1, 0));
    let lines: Vec<u64> = errors(&app, &ended_job).iter().map(|(line, ..)| *line).collect();
    assert_eq!(lines, (LINES + 2..LINES + 3002).collect::<Vec<u64>>());
    let end = app.get("/api/events?after=9007199254740991").expect(200)["end"].as_u64();
    assert_eq!(end, Some(LINES + 1));
    assert_eq!(app.get(&at_in("default", "S19999")).expect(200).state(), (19_999, 0, 1));
}

#[test]
fn a_state_that_is_damaged_is_named_and_its_job_not_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let job = imported(&app, "sku,quantity\nA,1\n");
    assert!(app.terminate().success());
    let state = folder
        .path()
        .join(format!("jobs/{}/state.json", job["jobId"].as_str().unwrap()));
    let text = std::fs::read_to_string(&state).unwrap();
    std::fs::write(&state, text.replace("succeeded", "cancelled")).unwrap();
    let verify = [HOLDFAST, "verify", "--data-dir", folder.path().to_str().unwrap()];
    let verified = Command::new(verify[0]).args(&verify[1..]).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stdout).into_owned() + &String::from_utf8_lossy(&verified.stderr);
    assert!(
        !verified.status.success() && said.contains("state.json: its checksum does not match"),
        "{said}"
    );
    let app = TestApp::start_in(folder.path(), 0, &[]);
    app.get(&job_path(&job)).refused(404, "not_found");
    assert!(
        app.log().contains("state.json: its checksum does not match"),
        "{}",
        app.log()
    );
    assert!(state.exists());
}

#[test]
fn a_stop_does_not_wait_for_a_body_that_is_still_coming() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let mut coming = app.connect();
    let head = format!("POST {IMPORTS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n");
    write!(
        coming.get_mut(),
        "{head}Content-Length: 1000\r\n\r\nsku,quantity\nA,1\n"
    )
    .unwrap();
    assert!(comes_true(PATIENCE, || folders(folder.path()).len() == 1));
    let begun = Instant::now();
    assert!(app.terminate().success());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    read_answer(&mut coming).refused_at(IMPORTS, 503, "storage_unavailable");
    assert!(folders(folder.path()).is_empty());
}

#[test]
fn a_job_that_does_not_come_to_rest_and_a_client_that_does_not_finish_share_the_time_of_a_stop() {
    const STOP_SECONDS: u64 = 3;
    let app = TestApp::start_with(&["--shutdown-seconds", &STOP_SECONDS.to_string()]);
    let before = job_of(&import(&app, long(200_000)).expect(202));
    let stuck = job_of(&import(&app, "sku,quantity\nA,x\n").expect(202));
    // Whoever opens it waits for a reader, as on a disk that does not answer.
    let list = app
        .folder()
        .join(stuck.trim_start_matches("/api/"))
        .join("errors.ndjson");
    assert!(Command::new("mkfifo").arg(&list).status().unwrap().success());
    app.send("POST", &format!("{before}/cancel"), &[], None).expect(200);
    assert!(comes_true(PATIENCE, || app.get(&stuck)["status"] == "running"));
    let mut stalled = app.connect();
    let head = "PUT /api/inventory/items/A/quantity HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    write!(stalled.get_mut(), "{head}Content-Length: 14\r\n\r\n{{").unwrap();
    std::thread::sleep(Duration::from_millis(100));
    let begun = Instant::now();
    assert!(
        Command::new("kill")
            .arg(app.pid().to_string())
            .status()
            .unwrap()
            .success()
    );
    assert!(comes_true(PATIENCE, || app.log().contains("did not come to rest")));
    // Whether it is told or only cut off, does not matter.
    let _ = stalled.read_to_end(&mut Vec::new());
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(STOP_SECONDS), "{took:?}");
    assert!(took < Duration::from_secs(2 * STOP_SECONDS - 1), "{took:?}");
}

#[test]
fn memory_stays_flat_under_a_large_body() {
    let app = TestApp::start();
    imported(&app, "sku,quantity\nA,1\n");
    // Half of the body: what it takes beside the stock is a few chunks, and what the allocator keeps of them.
    let most = app.memory() + (72 << 20);
    let row = format!("{},\n", "x".repeat(60));
    let body = format!("sku,quantity\n{}", row.repeat(2_500_000));
    let answer = import(&app, &body).expect(202);
    assert!(app.memory() < most, "{} and not {most}", app.memory());
    let job = job_of(&answer);
    assert!(comes_true(PATIENCE, || app.get(&job)["lines"].as_u64() > Some(50_000)));
    assert!(app.memory() < most, "{} and not {most}", app.memory());
}
