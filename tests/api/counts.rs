//! Counts of the past: what has moved since a count stays counted.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Client, JSON, all_pages, at, at_in, from_now, item};
use crate::support::TestApp;

fn adjust(app: &impl Client, delta: i64) -> Answer {
    let answer = app
        .post(&format!("{}/adjust", at("A")), json!({"delta": delta}))
        .expect(200);
    std::thread::sleep(Duration::from_millis(3));
    answer
}

fn count(app: &impl Client, quantity: u64, counted_at: &str) -> Answer {
    app.put(&at("A"), json!({"quantity": quantity, "countedAt": counted_at}))
}

/// A moment that no event has: later than all before, earlier than all behind.
fn moment() -> String {
    std::thread::sleep(Duration::from_millis(5));
    let now = from_now(0);
    std::thread::sleep(Duration::from_millis(5));
    now
}

#[test]
fn what_moved_after_a_count_is_added_to_it() {
    let app = TestApp::start();
    app.stock("A", 100);
    adjust(&app, -10);
    let counted_at = moment();
    let sale = json!({"delta": -5, "type": "SALE"});
    app.post(&format!("{}/adjust", at("A")), sale).expect(200);
    adjust(&app, 7);
    adjust(&app, -1);
    app.post(&format!("{}/adjust", at("A")), json!({"delta": 2, "type": "RETURN"}))
        .expect(200);
    app.post(
        "/api/transfers",
        json!({"sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 20}),
    )
    .expect(200);
    app.post(
        "/api/transfers",
        json!({"sku": "A", "fromStoreId": "s2", "toStoreId": "s1", "quantity": 4}),
    )
    .expect(200);
    app.put(&at_in("s2", "A"), json!({"quantity": 50})).expect(200);
    app.post(&format!("{}/adjust", at_in("s2", "A")), json!({"delta": 9}))
        .expect(200);
    let answer = count(&app, 80, &counted_at).expect(200);
    // -5 +7 -1 +2 -20 +4
    assert_eq!(answer["quantity"], 67);
    let event = all_pages(&app, "/api/movements?storeId=s1&type=COUNT", 10).remove(0);
    assert_eq!(
        (&event["quantityAfter"], &event["delta"]),
        (&json!(67), &json!(67 - (100 - 10 - 5 + 7 - 1 + 2 - 20 + 4)))
    );
    // A count is no movement that is added to another.
    assert_eq!(count(&app, 80, &counted_at).expect(200)["quantity"], 67);
    assert_eq!(count(&app, 30, &moment()).expect(200)["quantity"], 30);
}

#[test]
fn holds_are_no_movements() {
    let app = TestApp::start();
    app.stock("A", 10);
    let counted_at = moment();
    app.hold("A", 4);
    app.hold("A", 1);
    app.post(&format!("{}/release", at("A")), json!({"quantity": 2}))
        .expect(200);
    assert_eq!(count(&app, 8, &counted_at).expect(200).state(), (8, 3, 5));
}

#[test]
fn a_count_of_the_past_is_at_most_24_hours_old_and_not_to_come() {
    let app = TestApp::start();
    app.stock("A", 10);
    let day = 24 * 3_600_000;
    for wrong in [
        json!(from_now(60_000)),
        json!(from_now(-day - 1000)),
        json!("2010-12-01T00:00:00Z"),
        json!("9999-12-31T23:59:59Z"),
        json!(""),
        json!("yesterday"),
        json!("2026-01-01"),
        json!("2026-01-01T00:00:00"),
        json!(null),
        json!(1_700_000_000),
    ] {
        for path in [at("A"), format!("{}/quantity", item("A"))] {
            let refused = app
                .put(&path, json!({"quantity": 5, "countedAt": wrong}))
                .refused(400, "invalid_request");
            assert_eq!(refused.fields(), ["countedAt"], "{wrong}");
        }
    }
    assert_eq!(app.state("A"), (10, 0, 1));
    // The level was made by a count within the last day, and what it found is not added.
    assert_eq!(count(&app, 5, &from_now(-day + 10_000)).expect(200).state(), (5, 0, 2));
    let offset = (chrono::Utc::now() - chrono::Duration::seconds(60))
        .with_timezone(&chrono::FixedOffset::east_opt(5 * 3600 + 1800).unwrap());
    assert_eq!(count(&app, 6, &offset.to_rfc3339()).expect(200).state(), (6, 0, 3));
}

#[test]
fn a_count_of_the_past_that_comes_to_less_than_is_reserved_is_refused() {
    let app = TestApp::start();
    app.stock("A", 10);
    let counted_at = moment();
    adjust(&app, -4);
    app.hold("A", 5);
    for (quantity, comes_to) in [(8, 4), (3, -1), (0, -4)] {
        let refused = count(&app, quantity, &counted_at).refused(409, "below_reserved");
        assert_eq!(
            (&refused["requested"], &refused["reserved"]),
            (&json!(comes_to), &json!(5))
        );
    }
    assert_eq!(count(&app, 9, &counted_at).expect(200).state(), (5, 5, 4));
}

#[test]
fn a_count_of_the_past_that_comes_to_less_than_nothing_is_refused() {
    let app = TestApp::start();
    app.stock("A", 10);
    let counted_at = moment();
    adjust(&app, -4);
    count(&app, 3, &counted_at).refused(409, "below_reserved");
    assert_eq!(app.state("A"), (6, 0, 2));
}

#[test]
fn a_count_of_the_past_that_comes_to_more_than_a_level_can_hold_is_refused() {
    let app = TestApp::start();
    app.stock("A", 10);
    let most = 9_007_199_254_740_991_u64;
    let counted_at = moment();
    adjust(&app, 1);
    count(&app, most, &counted_at).refused(409, "quantity_limit");
    adjust(&app, -2);
    assert_eq!(count(&app, most, &counted_at).expect(200).state(), (most - 1, 0, 4));
}

#[test]
fn a_count_of_the_past_may_make_the_level() {
    let app = TestApp::start();
    assert_eq!(count(&app, 5, &from_now(-60_000)).expect(201).state(), (5, 0, 1));
}

#[test]
fn a_count_in_a_batch_adds_what_moved_before_it_in_the_same_batch() {
    let app = TestApp::start();
    app.stock("A", 10);
    let counted_at = moment();
    adjust(&app, -1);
    let step = |op: &str, member: &str, value: i64| {
        let mut step = json!({"op": op, "sku": "A", "storeId": "s1"});
        step[member] = json!(value);
        step
    };
    let mut counted = step("set", "quantity", 50);
    counted["countedAt"] = json!(counted_at);
    let transfer = json!({"op": "transfer", "sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 3});
    let operations = json!([
        step("adjust", "delta", 5),
        counted,
        step("adjust", "delta", -2),
        step("set", "quantity", 7),
        transfer,
        counted
    ]);
    let quantities = |answer: Answer| {
        let results = answer["results"].as_array().unwrap().clone();
        results
            .iter()
            .map(|result| result["level"]["quantity"].as_u64().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let expected = [14, 54, 52, 7, 0, 49];
    for _ in 0..2 {
        let dry = app
            .post(
                "/api/inventory/batch",
                json!({"operations": operations, "dryRun": true}),
            )
            .expect(200);
        assert_eq!(quantities(dry), expected);
        assert_eq!(app.state("A"), (9, 0, 2));
    }
    let keyed = || {
        app.post_with(
            "/api/inventory/batch",
            &[("idempotency-key", "k")],
            json!({"operations": operations}),
        )
        .expect(200)
    };
    assert_eq!(quantities(keyed()), expected);
    assert_eq!(quantities(keyed()), expected);
    assert_eq!(app.state("A").0, 49);
}

#[test]
fn sales_while_it_is_counted_stay_sold() {
    let app = TestApp::start();
    app.stock("A", 10_000);
    std::thread::sleep(Duration::from_millis(5));
    let (counted_at, port) = (moment(), app.port);
    let send = |i: usize| {
        let send = |k: usize| match (i, k % 5) {
            (0 | 1, _) => port
                .put(&at("A"), json!({"quantity": 10_000, "countedAt": counted_at}))
                .expect(200),
            (2, 0) => port
                .post(
                    "/api/transfers",
                    json!({"sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 2}),
                )
                .expect(200),
            _ => port
                .post(&format!("{}/adjust", at("A")), json!({"delta": ([-3, -7, 4][k % 3])}))
                .expect(200),
        };
        (0..20).map(send).collect()
    };
    crate::concurrency::all_at_once(12, send);
    let rows = all_pages(&app, "/api/movements?sku=A&storeId=s1", 7);
    let moved: i64 = rows
        .iter()
        .filter(|row| row["type"] != "COUNT")
        .map(|row| row["delta"].as_i64().unwrap())
        .sum();
    assert_eq!(app.state("A").0 as i64, 10_000 + moved);
    // Nothing was ever counted wrong, so that no count has found a difference.
    let found = rows.iter().filter(|row| row["type"] == "COUNT" && row["delta"] != 0);
    assert_eq!(found.count(), 1, "the first count alone, which made the level");
}

#[test]
fn a_dry_run_of_a_count_of_the_past_tells_what_it_comes_to() {
    let app = TestApp::start();
    app.stock("A", 10);
    let counted_at = moment();
    adjust(&app, -4);
    let dry = app
        .put(
            &at("A"),
            json!({"quantity": 20, "countedAt": counted_at, "dryRun": true}),
        )
        .expect(200);
    assert_eq!((dry.state(), &dry["dryRun"]), ((16, 0, 3), &json!(true)));
    assert_eq!(app.state("A"), (6, 0, 2));
}

#[test]
fn a_count_of_the_past_counts_the_same_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.stock("A", 10);
    let counted_at = moment();
    adjust(&app, -4);
    app.kill();
    let app = TestApp::start_in(folder.path(), 0, &[]);
    assert_eq!(count(&app, 20, &counted_at).expect(200).state(), (16, 0, 3));
    let by_item = app
        .put(
            &format!("{}/quantity", item("A")),
            json!({"quantity": 30, "storeId": "s1", "countedAt": counted_at}),
        )
        .expect(200);
    assert_eq!(by_item["quantity"], 26);
}

/// The key is good for 24 hours from the answer, whatever the moment of the count was.
#[test]
fn a_repeat_of_a_count_is_answered_though_the_count_is_too_old_by_now() {
    let app = TestApp::start();
    app.stock("A", 10);
    let counted_at = from_now(-24 * 3_600_000 + 1500);
    let single = json!({"quantity": 5, "countedAt": counted_at});
    let batch =
        json!({"operations": [{"op": "set", "sku": "B", "storeId": "s1", "quantity": 5, "countedAt": counted_at}]});
    let send = |method: &str, path: &str, key: &str, body: &Value| {
        app.send(
            method,
            path,
            &[JSON, ("idempotency-key", key)],
            Some(body.to_string().as_bytes()),
        )
    };
    let sends = || {
        [
            send("PUT", &at("A"), "k1", &single),
            send("POST", "/api/inventory/batch", "k2", &batch),
        ]
    };
    let first = sends();
    assert_eq!(
        (first[0].status, &first[1]["results"][0]["status"]),
        (200, &json!(201)),
        "{}",
        first[1].text()
    );
    std::thread::sleep(Duration::from_millis(2000));
    for (first, again) in first.iter().zip(sends()) {
        assert_eq!((again.status, again.text()), (first.status, first.text()));
    }
}

#[test]
fn counts_of_the_past_do_not_read_the_whole_log_each() {
    let app = TestApp::start();
    let operations = vec![json!({"op": "set", "sku": "OTHER", "storeId": "s1", "quantity": 1}); 10_000];
    app.post("/api/inventory/batch", json!({"operations": operations}))
        .expect(200);
    let set = json!({"op": "set", "sku": "A", "storeId": "s1", "quantity": 1, "countedAt": moment()});
    let started = std::time::Instant::now();
    app.post("/api/inventory/batch", json!({"operations": vec![set; 50]}))
        .expect(200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
