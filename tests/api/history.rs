//! Items as they stood at an earlier moment.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, Client, at, at_in, from_now, item, millis};
use crate::support::TestApp;

fn then(app: &impl Client, sku: &str, moment: &str) -> Answer {
    app.get(&format!("{}/history?at={}", item(sku), moment.replace('+', "%2B")))
}

/// What the item is now, and a moment at which it was so.
fn sample(app: &impl Client, sku: &str) -> (String, Value) {
    loop {
        std::thread::sleep(Duration::from_millis(2));
        let shown = app.get(&item(sku)).expect(200).json;
        let moment = from_now(0);
        std::thread::sleep(Duration::from_millis(2));
        // A hold may have ended just then.
        if app.get(&item(sku)).expect(200).json == shown {
            return (moment, shown);
        }
    }
}

fn write(app: &impl Client, step: usize) {
    let store = ["default", "s1", "s2", "s3"][step * 7 % 4];
    let path = at_in(store, "A");
    let answer = match step * 5 % 7 {
        0 => app.put(&path, json!({"quantity": step, "reorderPoint": step % 3})),
        1 => app.post(&format!("{path}/adjust"), json!({"delta": 5})),
        2 => app.post(&format!("{path}/reserve"), json!({"quantity": 2, "ttlSeconds": 1})),
        3 => app.post(&format!("{path}/release"), json!({"quantity": 1})),
        4 => app.post(
            "/api/transfers",
            json!({"sku": "A", "fromStoreId": store, "toStoreId": format!("t{}", step % 5), "quantity": 1}),
        ),
        5 => app.post(
            "/api/inventory/batch",
            json!({"operations": [
            {"op": "set", "sku": "A", "storeId": store, "quantity": 40, "name": format!("name {step}")},
            {"op": "adjust", "sku": "A", "storeId": "s1", "delta": 1}]}),
        ),
        _ => app.post(&format!("{path}/adjust"), json!({"delta": -1})),
    };
    assert!([200, 201, 404, 409].contains(&answer.status), "{}", answer.text());
    app.put(&at("OTHER"), json!({"quantity": step}));
}

#[test]
fn the_past_is_shown_as_it_was_shown_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let body = json!({"sku": "A", "name": "first", "price": {"amount": 5, "currency": "EUR"}, "quantity": 9});
    app.post("/api/inventory/items", body).expect(201);
    let mut samples = vec![sample(&app, "A")];
    for step in 0..60 {
        write(&app, step);
        samples.push(sample(&app, "A"));
    }
    for (moment, shown) in &samples {
        assert_eq!(then(&app, "A", moment).expect(200).json, *shown, "at {moment}");
    }
    app.kill();
    let app = TestApp::start_in(folder.path(), 0, &[]);
    for (moment, shown) in &samples {
        assert_eq!(then(&app, "A", moment).expect(200).json, *shown, "at {moment}");
    }
    for event in app.get("/api/events?sku=A&limit=1000").expect(200)["items"]
        .as_array()
        .unwrap()
        .windows(2)
    {
        let moment = event[0]["at"].as_str().unwrap();
        if event[1]["at"].as_str().unwrap() > moment {
            let shown = then(&app, "A", moment).expect(200);
            assert_eq!(
                (&shown["updatedAt"], &shown["version"]),
                (&event[0]["at"], &event[0]["changes"][0]["itemVersion"])
            );
        }
    }
}

#[test]
fn the_present_that_has_just_been_is_the_past_too_also_while_others_write() {
    let app = TestApp::start();
    app.stock("A", 5);
    let port = app.port;
    let run = |i: usize| {
        if i < 4 {
            return (0..25)
                .map(|_| {
                    port.post(&format!("{}/adjust", at("A")), json!({"delta": 1}))
                        .expect(200)
                })
                .collect::<Vec<_>>();
        }
        let look = |_| {
            let moment = from_now(0);
            let first = then(&port, "A", &moment).expect(200);
            let again = then(&port, "A", &moment).expect(200);
            assert_eq!(first.text(), again.text(), "the past at {moment} has changed");
            assert!(first["updatedAt"].as_str().unwrap() <= moment.as_str());
            first
        };
        (0..25).map(look).collect()
    };
    crate::concurrency::all_at_once(8, run);
}

#[test]
fn before_an_item_was_there_it_is_not_found() {
    let app = TestApp::start();
    then(&app, "A", &from_now(-1000)).refused(404, "not_found");
    let before = from_now(-1);
    std::thread::sleep(Duration::from_millis(5));
    let made = app.put(&at("A"), json!({"quantity": 5})).expect(201);
    then(&app, "A", &before).refused(404, "not_found");
    then(&app, "A", "2010-12-01T08:26:00Z").refused(404, "not_found");
    then(&app, "A", "0000-01-01T00:00:00Z").refused(404, "not_found");
    let exactly = made["updatedAt"].as_str().unwrap();
    assert_eq!(then(&app, "A", exactly).expect(200)["version"], 1);
    let just_before = chrono::DateTime::from_timestamp_millis(millis(&made["updatedAt"]).unwrap() - 1).unwrap();
    then(
        &app,
        "A",
        &just_before.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
    )
    .refused(404, "not_found");
}

#[test]
fn a_moment_to_come_or_none_at_all_is_refused() {
    let app = TestApp::start();
    app.stock("A", 5);
    let path = format!("{}/history", item("A"));
    for query in [
        "",
        "?at",
        "?at=",
        "?at=now",
        "?at=2026-01-01",
        "?at=2026-01-01T00:00:00",
        "?at=1700000000",
        "?at=2026-13-01T00:00:00Z",
        "?at=2020-02-30T00:00:00Z",
        "?at=%FF",
        "?at=9999-12-31T23:59:59Z",
        "?at=99999-01-01T00:00:00Z",
    ] {
        let refused = app.get(&format!("{path}{query}")).refused(400, "invalid_request");
        assert_eq!(refused.fields().len(), 1, "{query}");
    }
    then(&app, "A", &from_now(60_000)).refused(400, "invalid_request");
    let now = from_now(0);
    app.get(&format!("{path}?at={now}&at={now}"))
        .refused(400, "invalid_request");
    app.get(&format!("{path}?at={now}&x=1")).refused(400, "invalid_request");
    app.get(&format!("/api/inventory/items/%2E%2E/history?at={now}"))
        .refused(400, "invalid_request");
}

#[test]
fn a_moment_may_be_given_in_any_time_zone() {
    let app = TestApp::start();
    app.stock("A", 5);
    let (moment, shown) = sample(&app, "A");
    app.put(&at("A"), json!({"quantity": 6})).expect(200);
    let moment = chrono::DateTime::parse_from_rfc3339(&moment).unwrap();
    for seconds in [0, 3600, -3600, 5 * 3600 + 1800, -12 * 3600, 14 * 3600] {
        let there = moment
            .with_timezone(&chrono::FixedOffset::east_opt(seconds).unwrap())
            .to_rfc3339();
        assert_eq!(then(&app, "A", &there).expect(200).json, shown, "{there}");
        // A plus that was not encoded is taken as it was meant.
        assert_eq!(
            app.get(&format!("{}/history?at={there}", item("A"))).expect(200).json,
            shown
        );
    }
}

#[test]
fn a_hold_was_over_at_the_moment_it_named_also_when_the_service_was_down_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.stock("A", 10);
    let held = app
        .post(&format!("{}/reserve", at("A")), json!({"quantity": 4, "ttlSeconds": 1}))
        .expect(201);
    app.kill();
    std::thread::sleep(Duration::from_millis(2500));
    let app = TestApp::start_in(folder.path(), 0, &[]);
    assert_eq!(app.state("A").1, 0);
    let end = millis(&held["reservation"]["expiresAt"]).unwrap();
    let at = |millis: i64| {
        chrono::DateTime::from_timestamp_millis(millis)
            .unwrap()
            .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
    };
    assert_eq!(then(&app, "A", &at(end - 1)).expect(200)["reserved"], 4);
    assert_eq!(then(&app, "A", &at(end)).expect(200)["reserved"], 0);
    assert_eq!(then(&app, "A", &at(end + 500)).expect(200)["reserved"], 0);
}

#[test]
fn the_far_past_of_a_long_log_is_found_in_good_time() {
    let app = TestApp::start();
    app.post(
        "/api/inventory/items",
        json!({"sku": "A", "name": "first", "quantity": 1}),
    )
    .expect(201);
    let (moment, shown) = sample(&app, "A");
    for _ in 0..2 {
        let operations: Vec<Value> = (0..10_000)
            .map(|i| json!({"op": "set", "sku": (["A", "B"][i % 2]), "storeId": "s1", "quantity": i}))
            .collect();
        app.post("/api/inventory/batch", json!({"operations": operations}))
            .expect(200);
    }
    let started = Instant::now();
    assert_eq!(then(&app, "A", &moment).expect(200).json, shown);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

#[test]
fn what_was_told_only_at_the_beginning_is_remembered_however_much_came_since() {
    let app = TestApp::start();
    let body = json!({"sku": "A", "name": "first", "quantity": 9});
    app.post("/api/inventory/items", body).expect(201);
    app.stock("A", 7);
    let mut samples = vec![sample(&app, "A")];
    for i in 0..45 {
        app.put(&at_in("s2", "A"), json!({"quantity": i}));
        samples.push(sample(&app, "A"));
    }
    for (moment, shown) in &samples {
        assert_eq!(then(&app, "A", moment).expect(200).json, *shown, "at {moment}");
    }
}
