//! How the service does, as JSON and for Prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, Client, JSON, at, comes_true, is_time};
use crate::staff::{House, OWN};
use crate::support::TestApp;
use crate::support::receiver::{Receiver, Reply};

const PARTS: [&str; 9] = [
    "requests",
    "inventory",
    "concurrency",
    "persistence",
    "background",
    "system",
    "limits",
    "webhooks",
    "health",
];
const SOON: Duration = Duration::from_secs(15);

fn part(app: &impl Client, name: &str) -> Answer {
    app.get(&format!("/api/metrics/{name}")).expect(200)
}

/// How often a route was answered with each status.
#[track_caller]
fn statuses(app: &impl Client, method: &str, route: &str) -> Value {
    let metrics = part(app, "requests");
    let routes = metrics["routes"].as_array().unwrap();
    let found = routes
        .iter()
        .find(|found| found["method"] == method && found["route"] == route);
    found.map_or(json!({}), |found| {
        let sum: u64 = found["statuses"]
            .as_object()
            .unwrap()
            .values()
            .map(|count| count.as_u64().unwrap())
            .sum();
        assert_eq!(found["count"], sum, "{found}");
        found["statuses"].clone()
    })
}

/// What Prometheus reads.
fn exposition(app: &impl Client) -> String {
    let answer = app.get("/metrics").expect(200);
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    String::from_utf8(answer.body).unwrap()
}

/// The samples of what Prometheus reads, by name and labels as they stand there.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let parsed = lines.map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line:?}"));
        (
            name.to_owned(),
            value.parse().unwrap_or_else(|_| panic!("no number in {line:?}")),
        )
    });
    parsed.collect()
}

const LEVEL: &str = "/api/inventory/stores/{storeId}/inventory/{sku}";
const ADJUST: &str = "/api/inventory/stores/{storeId}/inventory/{sku}/adjust";

#[test]
fn requests_are_counted_by_route_and_status() {
    let app = TestApp::start();
    app.stock("A", 5);
    for _ in 0..3 {
        app.get(&at("A")).expect(200);
    }
    app.send("HEAD", &at("A"), &[], None).expect(200);
    app.get(&at("none")).expect(404);
    app.send("DELETE", &at("A"), &[], None).expect(405);
    app.send("OPTIONS", &at("A"), &[], None).expect(204);
    app.post(&format!("{}/adjust", at("A")), json!({"delta": -9}))
        .expect(409);
    app.post(&format!("{}/adjust", at("A")), json!({"delta": "x"}))
        .expect(400);
    assert_eq!(statuses(&app, "GET", LEVEL), json!({"200": 4, "404": 1}));
    assert_eq!(statuses(&app, "PUT", LEVEL), json!({"201": 1}));
    assert_eq!(statuses(&app, "other", LEVEL), json!({"204": 1, "405": 1}));
    assert_eq!(statuses(&app, "POST", ADJUST), json!({"400": 1, "409": 1}));
    // Asked six times by now: an answer does not count itself.
    let metrics = part(&app, "requests");
    assert_eq!(statuses(&app, "GET", "/api/metrics/requests"), json!({"200": 5}));
    assert_eq!(metrics["total"], 10 + 4);
    assert_eq!(metrics["byClass"], json!({"2xx": 6 + 4, "4xx": 4}));
    let refusals = json!({"insufficient_stock": 1, "invalid_request": 1, "method_not_allowed": 1, "not_found": 1});
    assert_eq!(metrics["refusals"], refusals);
    assert_eq!((&metrics["inFlight"], &metrics["recording"]), (&json!(1), &json!(true)));
}

#[test]
fn both_faces_of_a_resource_that_compresses_its_reads_are_counted() {
    let app = TestApp::start();
    app.stock("A", 5);
    let cart = json!({"lines": [{"sku": "A", "storeId": "s1", "quantity": 1}]});
    app.post("/api/reservations", cart).expect(201);
    app.get("/api/reservations").expect(200);
    app.send("PATCH", "/api/reservations", &[], None).expect(405);
    assert_eq!(statuses(&app, "POST", "/api/reservations"), json!({"201": 1}));
    assert_eq!(statuses(&app, "GET", "/api/reservations"), json!({"200": 1}));
    assert_eq!(statuses(&app, "other", "/api/reservations"), json!({"405": 1}));
}

#[test]
fn unknown_paths_are_one_route_however_many_there_are() {
    let app = TestApp::start();
    for i in 0..50 {
        app.get(&format!("/x/{i}")).expect(404);
    }
    app.send("BREW", "/x", &[], None).expect(404);
    assert_eq!(statuses(&app, "other", "other"), json!({"404": 51}));
    let before = samples(&exposition(&app)).len();
    for i in 0..50 {
        app.get(&format!("/y/{i}")).expect(404);
        app.get(&at(&format!("sku {i}").replace(' ', "%20"))).expect(404);
    }
    // The first look has added its own route, and the level's has come: no more than a histogram each.
    assert!(samples(&exposition(&app)).len() <= before + 2 * 17);
    assert!(!exposition(&app).contains("/x/1"));
}

#[test]
fn stock_operations_and_refusals_are_counted_also_those_of_batches() {
    let app = TestApp::start();
    app.stock("A", 5);
    let operations = json!([
        {"op": "adjust", "sku": "A", "storeId": "s1", "delta": -1},
        {"op": "adjust", "sku": "A", "storeId": "s1", "delta": -100},
        {"op": "adjust", "sku": "none", "storeId": "s1", "delta": -1},
        {"op": "reserve", "sku": "A", "storeId": "s1", "quantity": 1},
        {"op": "reserve", "sku": "A", "storeId": "s1"},
    ]);
    app.post("/api/inventory/batch", json!({"operations": operations}))
        .expect(200);
    let atomic = json!({"operations": [operations[0]], "atomic": true});
    app.post("/api/inventory/batch", atomic).expect(200);
    app.post(&format!("{}/adjust", at("A")), json!({"delta": -50}))
        .expect(409);
    app.put(&at("A"), json!({"quantity": 9, "expectedVersion": 1}))
        .expect(409);
    app.put_with(&at("A"), &[("if-match", "\"1\"")], json!({"quantity": 9}))
        .expect(412);
    app.get(&at("none")).expect(404);
    let key = ("idempotency-key", "k");
    for _ in 0..3 {
        app.post_with(&format!("{}/adjust", at("A")), &[key], json!({"delta": 1}))
            .expect(200);
    }
    let metrics = part(&app, "inventory");
    let operations = json!({
        "batch.applied": 1, "level.adjusted": 2, "level.created": 1, "reservation.created": 1,
    });
    assert_eq!(metrics["operations"], operations);
    let refusals = json!({
        "insufficient_stock": 2, "invalid_request": 1, "not_found": 1, "precondition_failed": 1, "version_mismatch": 1,
    });
    assert_eq!(metrics["refusals"], refusals);
    assert_eq!(metrics["oversellPrevented"], 2);
    assert_eq!(metrics["idempotentReplays"], 2);
    assert_eq!(
        (&metrics["items"], &metrics["levels"], &metrics["stores"]),
        (&json!(1), &json!(1), &json!(1))
    );
    assert_eq!(
        (&metrics["openReservations"], &metrics["heldLines"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(part(&app, "concurrency")["versionConflicts"], 2);
}

#[test]
fn an_expiry_is_counted_and_is_no_operation_of_anybody() {
    let app = TestApp::start();
    app.stock("A", 5);
    app.post(&format!("{}/reserve", at("A")), json!({"quantity": 1, "ttlSeconds": 1}))
        .expect(201);
    assert_eq!(part(&app, "inventory")["openReservations"], 1);
    let expires = || part(&app, "inventory")["expiries"] == 1;
    assert!(comes_true(Duration::from_secs(10), expires));
    assert_eq!(part(&app, "inventory")["openReservations"], 0);
}

#[test]
fn the_hottest_skus_are_those_with_the_most_commands() {
    let app = TestApp::start();
    for (sku, times) in [("cold", 1), ("hot", 9), ("warm", 4)] {
        app.stock(sku, 100);
        for _ in 0..times {
            app.post(&format!("{}/adjust", at(sku)), json!({"delta": -1}))
                .expect(200);
        }
    }
    let metrics = part(&app, "inventory");
    let hottest = json!([
        {"sku": "hot", "operations": 10}, {"sku": "warm", "operations": 5}, {"sku": "cold", "operations": 2},
    ]);
    assert_eq!(metrics["hottestSkus"], hottest);
    let concurrency = part(&app, "concurrency");
    assert_eq!(
        (&concurrency["actorsLive"], &concurrency["actorsStarted"]),
        (&json!(3), &json!(3))
    );
    assert_eq!(
        (&concurrency["commandsWaiting"], &concurrency["longestQueue"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(concurrency["commandsPerGroup"]["sum"], 17);
}

#[test]
fn joint_steps_are_counted_with_their_skus() {
    let app = TestApp::start();
    ["A", "B", "C"].into_iter().for_each(|sku| app.stock(sku, 5));
    let line = |sku: &str| json!({"sku": sku, "storeId": "s1", "quantity": 1});
    let cart = json!({"lines": [line("A"), line("B"), line("C")], "reservationId": "r"});
    app.post("/api/reservations", cart).expect(201);
    app.send("POST", "/api/reservations/r/commit", &[], None).expect(200);
    let steps = part(&app, "concurrency")["jointSteps"].clone();
    assert_eq!(
        (&steps["count"], &steps["skus"]["sum"], &steps["skus"]["max"]),
        (&json!(2), &json!(6), &json!(3))
    );
    assert!(steps["p99Micros"].as_u64().unwrap() > 0, "{steps}");
}

#[test]
fn a_slow_request_shows_in_the_percentiles_of_its_route() {
    let app = TestApp::start();
    app.stock("A", 5);
    for _ in 0..20 {
        app.get("/api/events?after=0").expect(200);
    }
    app.get("/api/events?after=1&wait=1").expect(200);
    let metrics = part(&app, "requests");
    let routes = metrics["routes"].as_array().unwrap();
    let events = routes.iter().find(|route| route["route"] == "/api/events").unwrap();
    let micros = |name: &str| events[name].as_u64().unwrap();
    assert_eq!(events["count"], 21);
    assert!((1..500_000).contains(&micros("p50Micros")), "{events}");
    assert!(
        micros("p50Micros") <= micros("p90Micros") && micros("p90Micros") < 500_000,
        "{events}"
    );
    assert!((1_000_000..3_000_000).contains(&micros("p99Micros")), "{events}");
    assert_eq!(micros("maxMicros"), micros("p99Micros"));
    assert!(metrics["latency"]["maxMicros"].as_u64().unwrap() >= 1_000_000);
}

#[test]
fn the_log_tells_what_it_has_written_and_how_long_that_took() {
    let app = TestApp::start();
    for i in 0..10 {
        app.stock(&format!("sku-{i}"), 1);
    }
    let metrics = part(&app, "persistence");
    assert_eq!(
        (&metrics["engine"], &metrics["visibleSeq"]),
        (&json!("file"), &json!(10))
    );
    assert_eq!(
        (&metrics["appends"], &metrics["groups"]["sum"]),
        (&json!(10), &json!(10))
    );
    assert_eq!(metrics["syncs"]["count"], metrics["groups"]["count"]);
    assert!(metrics["syncs"]["p50Micros"].as_u64().unwrap() > 0);
    assert!(metrics["bytesWritten"].as_u64().unwrap() > 1000);
    assert!(metrics["logBytes"].as_u64() >= metrics["bytesWritten"].as_u64());
    assert!(metrics["diskFreeBytes"].as_u64().unwrap() > 0);
    assert_eq!(metrics["segments"], 1);
    assert_eq!(metrics["headHash"].as_str().unwrap().len(), 64);
    assert_eq!(
        (&metrics["checkpoint"], &metrics["refusing"]),
        (&Value::Null, &Value::Null)
    );
}

#[test]
fn a_restart_begins_to_count_anew_and_tells_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    for i in 0..5 {
        app.stock(&format!("sku-{i}"), 1);
    }
    app.kill();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let metrics = part(&app, "persistence");
    assert_eq!((&metrics["visibleSeq"], &metrics["appends"]), (&json!(5), &json!(0)));
    assert_eq!(metrics["recovery"]["replayedEvents"], 5);
    assert_eq!(part(&app, "inventory")["operations"], json!({}));
    assert_eq!(part(&app, "inventory")["items"], 5);
    assert!(app.terminate().success());
    let app = TestApp::start_in(folder.path(), 0, &[]);
    let metrics = part(&app, "persistence");
    assert_eq!(metrics["checkpoint"]["seq"], 5);
    assert!(is_time(&metrics["checkpoint"]["at"]) && metrics["checkpoint"]["bytes"].as_u64().unwrap() > 0);
}

#[test]
fn the_process_says_what_it_takes() {
    let app = TestApp::start();
    let metrics = part(&app, "system");
    assert_eq!(metrics["pid"], app.pid());
    assert_eq!(metrics["version"], env!("CARGO_PKG_VERSION"));
    let resident = metrics["residentBytes"].as_u64().unwrap() as f64;
    assert!((resident / app.memory() as f64 - 1.0).abs() < 0.5, "{resident}");
    for name in ["threads", "openFiles", "maxOpenFiles", "cores"] {
        assert!(metrics[name].as_u64().unwrap() > 0, "{name}");
    }
    assert!(is_time(&metrics["startedAt"]) && metrics["cpuSeconds"].is_number());
}

#[test]
fn every_limit_is_shown_as_it_is_set() {
    let app = TestApp::start_with(&["--max-open-holds", "7", "--trusted-proxies", "10.0.0.0/8,::1"]);
    let limits = part(&app, "limits");
    let source = include_str!("../../src/config.rs");
    let (_, fields) = source.split_once("pub struct Limits {").unwrap();
    let (fields, _) = fields.split_once("\n}").unwrap();
    let fields = fields
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub ")?.split(':').next());
    let camel = |name: &str| {
        let mut words = name.split('_');
        let first = words.next().unwrap().to_owned();
        words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
    };
    let fields: BTreeSet<String> = fields.map(camel).collect();
    let shown: BTreeSet<String> = limits["settings"].as_object().unwrap().keys().cloned().collect();
    assert!(fields.len() >= 12);
    assert_eq!(shown, fields);
    assert_eq!(limits["settings"]["maxOpenHolds"], 7);
    assert_eq!(limits["settings"]["trustedProxies"], json!(["10.0.0.0/8", "::1/128"]));
    let fixed = json!({"jsonDepth": 32, "headBytes": 131_072, "headFields": 96, "batchOperations": 10_000});
    assert_eq!(limits["fixed"], fixed);
}

#[test]
fn what_meets_a_limit_is_counted() {
    let app = TestApp::start_with(&[
        "--max-body-bytes",
        "1024",
        "--rate-per-principal",
        "20",
        "--head-seconds",
        "1",
    ]);
    let large = format!("{{\"quantity\": 1, \"note\": \"{}\"}}", "x".repeat(2000));
    app.send("PUT", &at("A"), &[JSON], Some(large.as_bytes())).expect(413);
    app.send_bytes(
        format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
            "x".repeat(200_000)
        )
        .as_bytes(),
    );
    app.send_bytes(b"this is no HTTP\r\n\r\n");
    let open = app.connect();
    let limits = part(&app, "limits");
    let refused = &limits["refused"];
    assert_eq!(
        (&refused["tooLarge"], &refused["headTooLarge"], &refused["malformed"]),
        (&json!(1), &json!(1), &json!(1))
    );
    // This request's, and the one that says nothing.
    assert_eq!(limits["openConnections"], 2, "{limits:?}");
    assert!(limits["connections"].as_u64().unwrap() >= 5);
    drop(open);
    let statuses = (0..30).map(|_| app.get("/api/stores").status);
    let refusals = statuses.filter(|status| *status == 429).count() as u64;
    assert!(refusals > 5, "{refusals}");
    let told = comes_true(Duration::from_secs(15), || {
        let answer = app.get("/api/metrics/limits");
        answer.status == 200 && answer["refused"]["rateLimited"].as_u64().unwrap() >= refusals
    });
    assert!(told);
}

#[test]
fn connections_that_an_address_may_not_have_are_counted() {
    let app = TestApp::start_with(&["--max-connections-per-address", "2"]);
    let kept = [app.connect(), app.connect()];
    std::thread::sleep(Duration::from_millis(100));
    for _ in 0..3 {
        app.try_send("GET", "/api/stores", &[], None).unwrap_err();
    }
    drop(kept);
    let told = comes_true(Duration::from_secs(5), || {
        let answer = app.try_send("GET", "/api/metrics/limits", &[], None);
        answer.is_ok_and(|answer| answer["refused"]["connections"].as_u64() >= Some(3))
    });
    assert!(told);
}

#[test]
fn a_reset_is_of_the_json_view_alone() {
    let app = TestApp::start();
    app.stock("A", 5);
    app.post(&format!("{}/adjust", at("A")), json!({"delta": -9}))
        .expect(409);
    let before = samples(&exposition(&app));
    let reset = app.post("/api/metrics/reset", json!({})).expect(200);
    assert!(is_time(&reset["since"]));
    let metrics = app.get("/api/metrics").expect(200);
    for part in [
        "requests",
        "inventory",
        "concurrency",
        "persistence",
        "background",
        "limits",
    ] {
        assert_eq!(metrics[part]["since"], reset["since"], "{part}");
    }
    assert_eq!(metrics["inventory"]["refusals"], json!({}));
    assert_eq!(metrics["inventory"]["operations"], json!({}));
    assert_eq!(
        metrics["persistence"]["syncs"],
        json!({"count": 0, "meanMicros": 0, "p50Micros": 0, "p90Micros": 0, "p99Micros": 0, "maxMicros": 0})
    );
    // What is so now is not a count.
    assert_eq!(
        (&metrics["inventory"]["items"], &metrics["persistence"]["visibleSeq"]),
        (&json!(1), &json!(1))
    );
    // The reset itself was answered after it.
    assert_eq!(metrics["requests"]["total"], 1);
    let after = samples(&exposition(&app));
    let is_count = |name: &str| {
        let base = name.split('{').next().unwrap();
        base.ends_with("_total") || base.ends_with("_count")
    };
    for (name, value) in before.iter().filter(|(name, _)| is_count(name)) {
        assert!(after[name] >= *value, "{name} fell from {value} to {}", after[name]);
    }
    assert_eq!(
        after["holdfast_operations_refused_total{code=\"insufficient_stock\"}"],
        1.0
    );
    app.post("/api/metrics/reset", json!({"when": "now"}))
        .refused(400, "invalid_request");
    app.send("POST", "/api/metrics/reset?x=1", &[], None)
        .refused(400, "invalid_request");
    app.send("POST", "/api/metrics/reset", &[], None).expect(200);
}

#[test]
fn everything_is_its_parts_and_each_of_them_can_be_asked_for() {
    let app = TestApp::start();
    app.stock("A", 5);
    // From the first sync on there are totals.
    app.send("POST", "/api/sync", &[], None).expect(200);
    let whole = app.get("/api/metrics").expect(200);
    let mut members: Vec<&str> = whole.json.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [&PARTS[..], &["timestamp"]].concat();
    members.sort_unstable();
    expected.sort_unstable();
    assert_eq!(members, expected);
    for name in PARTS {
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&part(&app, name).json), names(&whole[name]), "{name}");
        app.get(&format!("/api/metrics/{name}?x=1"))
            .refused(400, "invalid_request");
    }
    app.get("/api/metrics/nonsense").refused(404, "not_found");
    app.get("/metrics?x=1").refused(400, "invalid_request");
}

#[test]
fn health_says_in_sentences_that_all_is_well() {
    let app = TestApp::start();
    for i in 0..3 {
        app.stock(&format!("sku-{i}"), 5);
        app.post(&format!("{}/reserve", at(&format!("sku-{i}"))), json!({"quantity": 1}))
            .expect(201);
    }
    app.send("POST", "/api/sync", &[], None).expect(200);
    let compared = |health: &Answer, place: usize| health["business"]["comparisons"][place]["compared"].as_u64();
    let is_compared = || {
        let health = part(&app, "health");
        compared(&health, 0) >= Some(3) && compared(&health, 1) >= Some(1)
    };
    assert!(comes_true(SOON, is_compared), "{}", part(&app, "health").text());
    let health = part(&app, "health");
    for part in ["basic", "detailed", "business"] {
        assert_eq!(health[part]["status"], "ok", "{}", health.text());
        assert!(health[part]["sentence"].as_str().unwrap().ends_with('.'), "{part}");
    }
    assert_eq!(health["status"], "ok");
    let levels = &health["business"]["comparisons"][0];
    assert_eq!(
        (&levels["differing"], &health["business"]["drift"]),
        (&json!(0), &json!(0))
    );
    assert!(
        is_time(&levels["at"]) && is_time(&health["business"]["checkedAt"]),
        "{levels}"
    );
    let totals = &health["business"]["comparisons"][1];
    assert_eq!(
        (&totals["between"], &totals["differing"]),
        (&json!("totals and levels"), &json!(0))
    );
    assert_eq!(part(&app, "persistence")["totalsSeq"], 6);
    assert!(health["detailed"]["residentBytes"].as_u64().unwrap() > 0);
}

#[test]
fn drift_is_looked_for_no_more_often_however_many_ask() {
    let app = TestApp::start();
    app.stock("A", 5);
    let looks = || {
        let asked = ["/api/metrics", "/api/metrics/health"].map(|path| app.get(path).expect(200).json);
        let business = [&asked[0]["health"]["business"], &asked[1]["business"]];
        business.map(|business| business["comparisons"][0]["compared"].as_u64().unwrap())
    };
    // Each look compares the one level that there is, and comes every 10 s.
    let (before, begun) = (looks()[0], Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..10).map(|_| looks()[0]).max());
        }
    });
    let looked = looks()[1] - before;
    assert!(
        looked <= 1 + begun.elapsed().as_secs() / 10,
        "{looked} times for 160 answers"
    );
}

/// What goes on beside the requests.
fn background(app: &impl Client, members: &str) -> Value {
    let found = part(app, "background").json;
    found
        .pointer(members)
        .unwrap_or_else(|| panic!("no {members} in {found}"))
        .clone()
}

#[test]
fn streams_that_are_open_are_counted_until_they_are_left() {
    let app = TestApp::start();
    app.stock("A", 5);
    let open = || background(&app, "/streams/open");
    assert_eq!(open(), 0);
    let mut streams = [app.connect(), app.connect()];
    for stream in &mut streams {
        let asked = "GET /api/events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
        stream.get_mut().write_all(asked.as_bytes()).unwrap();
    }
    assert!(comes_true(SOON, || open() == 2), "{}", open());
    assert_eq!(samples(&exposition(&app))["holdfast_stream_followers"], 2.0);
    drop(streams);
    let is_left = || {
        app.post(&format!("{}/adjust", at("A")), json!({"delta": 1}))
            .expect(200);
        open() == 0
    };
    assert!(comes_true(SOON, is_left), "{}", open());
    assert_eq!(background(&app, "/streams/dropped"), 0, "they have gone by themselves");
}

#[test]
fn imports_are_counted_while_they_come_wait_and_run() {
    let app = TestApp::start();
    let head = "POST /api/imports HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\n";
    let imports = || background(&app, "/imports");
    let counted = |uploading, queued, running| json!({"uploading": uploading, "queued": queued, "running": running});
    assert_eq!(imports(), counted(0, 0, 0));
    let mut coming = app.connect();
    write!(
        coming.get_mut(),
        "{head}Content-Length: 1000\r\n\r\nsku,quantity\nA,1\n"
    )
    .unwrap();
    assert!(comes_true(SOON, || imports() == counted(1, 0, 0)), "{}", imports());
    drop(coming);
    assert!(comes_true(SOON, || imports() == counted(0, 0, 0)), "{}", imports());

    let lines: String = (0..100_000).map(|i| format!("sku-{i},1\n")).collect();
    let mut jobs = Vec::new();
    for text in [format!("sku,quantity\n{lines}"), "sku,quantity\nB,1\n".to_owned()] {
        let csv = ("content-type", "text/csv");
        let job = app
            .send("POST", "/api/imports", &[csv], Some(text.as_bytes()))
            .expect(202);
        jobs.push(job.header("location").unwrap().to_owned());
    }
    assert!(comes_true(SOON, || imports() == counted(0, 1, 1)), "{}", imports());
    let samples = samples(&exposition(&app));
    assert_eq!(samples["holdfast_imports{state=\"queued\"}"], 1.0);
    for job in jobs.iter().rev() {
        app.send("POST", &format!("{job}/cancel"), &[], None).expect(200);
    }
    assert!(comes_true(SOON, || imports() == counted(0, 0, 0)), "{}", imports());
}

#[test]
fn how_far_the_sums_of_sales_are_behind_is_told_and_comes_to_nothing() {
    let app = TestApp::start();
    let adjust = || {
        app.post(&format!("{}/adjust", at("A")), json!({"delta": -1, "type": "SALE"}))
            .expect(200)
    };
    app.stock("A", 1000);
    let lag = || background(&app, "/sales/lagEvents").as_u64().unwrap();
    // They are read together with what comes shortly after.
    let is_behind = || {
        adjust();
        lag() > 0
    };
    assert!(comes_true(SOON, is_behind), "whatever comes is in them at once");
    assert!(comes_true(SOON, || lag() == 0), "{}", lag());
    let seq = background(&app, "/sales/seq");
    assert_eq!(seq, part(&app, "persistence")["visibleSeq"]);
    assert_eq!(samples(&exposition(&app))["holdfast_sales_seq"], seq.as_f64().unwrap());
}

#[test]
fn lines_that_the_log_has_lost_are_counted_and_a_reset_counts_anew() {
    let app = TestApp::start_with(&["--log-to", "/dev/full"]);
    let lost = || background(&app, "/lostLogLines").as_u64().unwrap();
    assert!(comes_true(SOON, || lost() > 0), "{}", lost());
    assert!(samples(&exposition(&app))["holdfast_log_lines_lost_total"] > 0.0);
    let before = lost();
    app.post("/api/metrics/reset", json!({})).expect(200);
    assert!(lost() < before, "{} of {before}", lost());
}

#[test]
fn without_recording_requests_are_not_counted_and_all_else_is() {
    let app = TestApp::start_with(&["--no-metrics"]);
    app.stock("A", 5);
    let metrics = app.get("/api/metrics").expect(200);
    assert_eq!(
        (&metrics["requests"]["recording"], &metrics["requests"]["total"]),
        (&json!(false), &json!(0))
    );
    assert_eq!(metrics["inventory"]["operations"], json!({"level.created": 1}));
    assert_eq!(metrics["concurrency"]["commandsPerGroup"]["count"], 0);
}

#[test]
fn what_prometheus_reads_is_whole() {
    let app = TestApp::start();
    app.stock("A", 5);
    app.get(&at("A")).expect(200);
    let text = exposition(&app);
    let mut families: BTreeMap<&str, &str> = BTreeMap::new();
    let mut helped = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helped.contains(name), "{name} has no HELP before it");
            assert!(families.insert(name, kind).is_none(), "{name} stands there twice");
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && helped.insert(name), "{line}");
        }
    }
    assert!(families.len() > 40, "{families:?}");
    let samples = samples(&text);
    assert_eq!(
        samples.len(),
        text.lines().filter(|line| !line.starts_with('#')).count(),
        "a sample is there twice"
    );
    for name in samples.keys() {
        let base = name.split('{').next().unwrap();
        let histogram = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| base.strip_suffix(end));
        let family = histogram
            .filter(|name| families.get(name) == Some(&"histogram"))
            .unwrap_or(base);
        let kind = families.get(family).unwrap_or_else(|| panic!("{name} has no TYPE"));
        assert_eq!(*kind == "counter", base.ends_with("_total"), "{name} is a {kind}");
        assert!(base.starts_with("holdfast_"), "{name}");
    }
    let series = |suffix: &str| format!("holdfast_http_request_duration_seconds{suffix}");
    let labels = format!("method=\"GET\",route=\"{LEVEL}\"");
    let counted = samples[&series(&format!("_count{{{labels}}}"))];
    assert_eq!(
        (counted, samples[&series(&format!("_bucket{{{labels},le=\"+Inf\"}}"))]),
        (1.0, 1.0)
    );
    let buckets: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with(&series(&format!("_bucket{{{labels}"))))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
        .collect();
    assert!(buckets.len() > 8 && buckets.is_sorted(), "{buckets:?}");
    assert_eq!(
        samples[&format!("holdfast_http_requests_total{{{labels},status=\"200\"}}")],
        1.0
    );
    assert_eq!(samples["holdfast_writes_accepted"], 1.0);
}

#[test]
fn who_sees_some_stores_only_is_shown_no_figures_of_all() {
    let house = House::open();
    let narrow = house.hire("narrow", "viewer", &OWN);
    let viewer = house.hire("prometheus", "viewer", &[]);
    let paths: Vec<String> = PARTS.iter().map(|part| format!("/api/metrics/{part}")).collect();
    for path in paths.iter().map(String::as_str).chain(["/api/metrics", "/metrics"]) {
        let refused = narrow.get(path).refused(403, "forbidden");
        assert!(refused["detail"].as_str().unwrap().contains("all stores"));
        house.nobody().get(path).refused(401, "unauthenticated");
        viewer.get(path).expect(200);
        narrow.get(&format!("{path}?x=1")).refused(400, "invalid_request");
    }
    let operator = house.hire("operator", "operator", &[]);
    operator.post("/api/metrics/reset", json!({})).refused(403, "forbidden");
    house.admin.post("/api/metrics/reset", json!({})).expect(200);
}

#[test]
fn how_webhooks_do_is_told_in_one_view_and_the_other() {
    let app = TestApp::start_with(&["--webhook-attempts", "2", "--webhook-first-wait-ms", "1"]);
    let none = json!({"total": 0, "delivering": 0, "retrying": 0, "disabled": 0, "eventsBehind": 0, "deadLetters": 0, "droppedDeadLetters": 0});
    assert_eq!(part(&app, "webhooks").json, none);
    let patient = TestApp::start_with(&["--webhook-first-wait-ms", "600000"]);
    let (bad, good) = (Receiver::start(|_, _| Reply::Status(500)), Receiver::content());
    for (app, url, disabled) in [
        (&app, bad.url(), false),
        (&patient, bad.url(), false),
        (&patient, good.url(), false),
        (&patient, bad.url(), true),
    ] {
        let body = json!({"url": url, "events": ["*"], "sku": "A", "disabled": disabled});
        app.post("/api/webhooks", body).expect(201);
    }
    for app in [&app, &patient] {
        for i in 0..4 {
            app.put(&at("A"), json!({"quantity": i}))
                .expect(if i == 0 { 201 } else { 200 });
        }
    }
    let dead = json!({"total": 1, "delivering": 1, "retrying": 0, "disabled": 0, "eventsBehind": 0, "deadLetters": 4, "droppedDeadLetters": 0});
    let behind = json!({"total": 3, "delivering": 1, "retrying": 1, "disabled": 1, "eventsBehind": 4, "deadLetters": 0, "droppedDeadLetters": 0});
    for (app, expected) in [(&app, dead), (&patient, behind)] {
        let came = comes_true(Duration::from_secs(20), || part(app, "webhooks").json == expected);
        assert!(came, "{}", part(app, "webhooks").text());
        let samples = samples(&exposition(app));
        for status in ["delivering", "retrying", "disabled"] {
            let name = format!("holdfast_webhooks{{status=\"{status}\"}}");
            assert_eq!(json!(samples[&name] as u64), expected[status], "{status}");
        }
        for (name, member) in [("events_behind", "eventsBehind"), ("dead_letters", "deadLetters")] {
            assert_eq!(
                json!(samples[&format!("holdfast_webhook_{name}")] as u64),
                expected[member],
                "{name}"
            );
        }
    }
}

const ALERTS: &str = include_str!("../../deploy/alerts.yml");
const DASHBOARD: &str = include_str!("../../deploy/grafana-dashboard.json");

/// What Prometheus reads of a service with everything: one that has found a checkpoint.
fn everything() -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.stock("A", 5);
    assert!(app.terminate().success());
    let app = TestApp::start_in(folder.path(), 0, &[]);
    app.post(&format!("{}/adjust", at("A")), json!({"delta": -9}))
        .expect(409);
    exposition(&app)
}

/// Every expression in a JSON document.
fn expressions(value: &Value) -> Vec<String> {
    let own = value["expr"].as_str().map(str::to_owned);
    let children: Vec<&Value> = match value {
        Value::Object(members) => members.values().collect(),
        Value::Array(entries) => entries.iter().collect(),
        _ => Vec::new(),
    };
    own.into_iter()
        .chain(children.into_iter().flat_map(expressions))
        .collect()
}

/// The rules of the alerts: each with what stands behind its name.
fn rules() -> Vec<(&'static str, &'static str)> {
    let rules = ALERTS.split("- alert: ").skip(1);
    rules.map(|rule| rule.split_once('\n').unwrap()).collect()
}

/// A name of a metric and the labels that are asked of it: `name{label="x"}`.
fn names(expression: &str) -> Vec<(String, Vec<String>)> {
    let is_word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let found = expression.match_indices("holdfast_").map(|(start, _)| {
        let rest = &expression[start..];
        let (name, behind) = rest.split_at(rest.find(|char| !is_word(char)).unwrap_or(rest.len()));
        let asked = behind.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let labels = asked
            .map_or("", |(labels, _)| labels)
            .split(',')
            .filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.split(['=', '!']).next().unwrap().to_owned());
        (name.to_owned(), labels.collect())
    });
    found.collect()
}

#[track_caller]
fn is_balanced(expression: &str) {
    let count = |char| expression.matches(char).count();
    for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
        assert_eq!(count(open), count(close), "{expression}");
    }
    assert_eq!(count('"') % 2, 0, "{expression}");
}

#[test]
fn alerts_and_the_dashboard_ask_for_what_there_is() {
    let text = everything();
    let families: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let has_label = |name: &str, label: &str| {
        let mut lines = text.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.any(|line| line.contains(&format!("{label}=\"")))
    };
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let of_rules = rules().into_iter().map(|(_, rule)| rule.to_owned());
    let mut checked = BTreeSet::new();
    for expression in expressions(&dashboard).into_iter().chain(of_rules) {
        is_balanced(&expression);
        for (name, labels) in names(&expression) {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end));
            let family = base.filter(|base| families.contains(base)).unwrap_or(&name);
            assert!(families.contains(family), "there is no {name}: {expression}");
            for label in labels
                .iter()
                .filter(|label| !["instance", "job"].contains(&label.as_str()))
            {
                assert!(has_label(&name, label), "{name} has no label {label}: {expression}");
            }
            checked.insert(family.to_owned());
        }
    }
    assert!(checked.len() > 30, "{checked:?}");
}

#[test]
fn every_alert_says_what_is_wrong_and_what_to_do() {
    let rules = rules();
    assert!(rules.len() >= 10);
    let names: BTreeSet<&str> = rules.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), rules.len(), "two alerts have one name");
    for (name, rule) in rules {
        for part in ["expr: ", "labels: {severity: ", "summary: ", "action: "] {
            assert_eq!(rule.matches(part).count(), 1, "{part}of {name}");
        }
    }
}

#[test]
fn panels_of_the_dashboard_have_places_of_their_own() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24 && !panel["title"].as_str().unwrap().is_empty());
        for place in
            (side("x")..side("x") + side("w")).flat_map(|x| (side("y")..side("y") + side("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert(place), "{} lies over another", panel["title"]);
        }
    }
}
