//! The log as a feed: in order, without gaps, and with a wait for news.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, Client, all_pages, at, at_in, column, is_time, item};
use crate::log::events;
use crate::support::TestApp;

const EVENTS: &str = "/api/events";

fn seqs(page: &Answer) -> Vec<u64> {
    let items = page["items"].as_array().unwrap_or_else(|| panic!("{}", page.text()));
    items.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

fn adjust(app: &impl Client, sku: &str, delta: i64) -> Answer {
    app.post(&format!("{}/adjust", at(sku)), json!({"delta": delta}))
        .expect(200)
}

#[test]
fn an_empty_log_is_an_empty_page() {
    let app = TestApp::start();
    let page = app.get(EVENTS).expect(200);
    assert_eq!(
        (&page["items"], &page["next"], page.header("link")),
        (&json!([]), &Value::Null, None)
    );
}

#[test]
fn an_event_tells_who_when_why_and_how_it_stands_after_it() {
    let app = TestApp::start();
    let id = [("x-request-id", "till-7")];
    app.put_with(
        &at("A"),
        &id,
        json!({"quantity": 10, "reorderPoint": 6, "note": "first"}),
    )
    .expect(201);
    app.post_with(
        &format!("{}/reserve", at("A")),
        &id,
        json!({"quantity": 4, "reservationId": "r", "reference": "order 7"}),
    )
    .expect(201);
    app.post_with(&format!("{}/release", at("A")), &id, json!({"reservationId": "r"}))
        .expect(200);
    app.post_with(
        &format!("{}/adjust", at("A")),
        &id,
        json!({"delta": -1, "type": "SALE", "note": "cash"}),
    )
    .expect(200);
    let page = app.get(EVENTS).expect(200);
    assert_eq!(seqs(&page), [1, 2, 3, 4]);
    let mut log = page["items"].as_array().unwrap().clone();
    let by = log[0]["by"].clone();
    assert!(by.is_string());
    for event in &mut log {
        assert!(is_time(&event["at"]), "{event}");
        assert_eq!((&event["requestId"], &event["by"]), (&json!("till-7"), &by));
        for member in ["at", "by", "requestId"] {
            event.as_object_mut().unwrap().remove(member);
        }
    }
    let change = |movement: Option<&str>, delta: i64, quantity: u64, reserved: u64, version: u64, low: bool| {
        let mut change = json!({"sku": "A", "storeId": "s1", "delta": delta, "quantity": quantity, "reserved": reserved,
            "version": version, "itemVersion": version});
        if let Some(movement) = movement {
            change["movement"] = json!(movement);
        }
        if low {
            change["lowStock"] = json!(true);
        }
        json!([change])
    };
    assert_eq!(
        log[0],
        json!({"seq": 1, "type": log[0]["type"], "note": "first", "changes": change(Some("COUNT"), 10, 10, 0, 1, false)})
    );
    assert_eq!(
        log[1],
        json!({"seq": 2, "type": "reservation.created", "reservationId": "r", "reference": "order 7", "changes": change(None, 0, 10, 4, 2, true)})
    );
    assert_eq!(
        log[2],
        json!({"seq": 3, "type": "reservation.released", "reservationId": "r", "changes": change(None, 0, 10, 0, 3, false)})
    );
    assert_eq!(
        log[3],
        json!({"seq": 4, "type": log[3]["type"], "note": "cash", "changes": change(Some("SALE"), -1, 9, 0, 4, false)})
    );
}

#[test]
fn pages_of_the_log_show_every_event_once_and_go_on_from_any_place() {
    let app = TestApp::start();
    for i in 0..23 {
        app.put(&at(["A", "B", "C"][i % 3]), json!({"quantity": i}))
            .expect(if i < 3 { 201 } else { 200 });
    }
    for limit in [1, 2, 5, 22, 23, 24, 1000] {
        let all: Vec<String> = (1..=23).map(|seq| seq.to_string()).collect();
        assert_eq!(column(&all_pages(&app, EVENTS, limit), "seq"), all);
    }
    for after in [0, 1, 22, 23] {
        let page = app.get(&format!("{EVENTS}?after={after}")).expect(200);
        assert_eq!(seqs(&page), (after + 1..=23).collect::<Vec<_>>());
        assert_eq!(page["next"], Value::Null);
    }
    let page = app.get(&format!("{EVENTS}?limit=5&after=3")).expect(200);
    assert_eq!((seqs(&page), &page["next"]), (vec![4, 5, 6, 7, 8], &json!("8")));
}

#[test]
fn a_place_beyond_the_end_shows_nothing_and_is_no_error() {
    let app = TestApp::start();
    app.stock("A", 1);
    for after in ["1", "2", "1000000", "9007199254740991"] {
        let page = app.get(&format!("{EVENTS}?after={after}")).expect(200);
        assert_eq!((&page["items"], &page["next"]), (&json!([]), &Value::Null), "{after}");
        let started = Instant::now();
        app.get(&format!("{EVENTS}?after={after}&wait=1")).expect(200);
        assert!(started.elapsed() >= Duration::from_millis(900), "{after}");
    }
}

#[test]
fn a_query_of_the_log_that_does_not_fit_is_refused() {
    let app = TestApp::start();
    for query in [
        "after=-1",
        "after=x",
        "after=",
        "after=1.0",
        "after=%2B1",
        "after=18446744073709551616",
        "wait=31",
        "wait=-1",
        "wait=x",
        "wait=",
        "wait=1.5",
        "limit=0",
        "limit=1001",
        "sku=",
        "sku=..",
        "storeId=%20a",
        "x=1",
        "type=SALE",
        "after=1&after=1",
        "sku=%FF",
    ] {
        let refused = app.get(&format!("{EVENTS}?{query}")).refused(400, "invalid_request");
        assert!(refused.fields().len() == 1, "{query}");
    }
    app.get(&format!("{EVENTS}?wait=0&limit=1000&after=0")).expect(200);
}

#[test]
fn a_reader_that_waits_is_told_at_once_and_otherwise_after_its_wait() {
    let app = TestApp::start();
    app.stock("A", 1);
    let started = Instant::now();
    let page = app.get(&format!("{EVENTS}?after=0&wait=20")).expect(200);
    assert!(started.elapsed() < Duration::from_secs(2) && seqs(&page) == [1]);

    let started = Instant::now();
    let page = app.get(&format!("{EVENTS}?after=1&wait=2")).expect(200);
    let waited = started.elapsed();
    assert!(
        (Duration::from_millis(1900)..Duration::from_millis(3500)).contains(&waited),
        "{waited:?}"
    );
    assert_eq!((&page["items"], &page["next"]), (&json!([]), &Value::Null));

    let port = app.port;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    (
                        port.get(&format!("{EVENTS}?after=1&wait=15")).expect(200),
                        Instant::now(),
                    )
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        adjust(&port, "A", 1);
        let written = Instant::now();
        for reader in readers {
            let (page, told) = reader.join().unwrap();
            assert_eq!(seqs(&page), [2]);
            assert!(told.saturating_duration_since(written) < Duration::from_secs(1));
        }
    });
}

#[test]
fn a_reader_that_waits_for_one_sku_or_store_sleeps_through_the_others() {
    let app = TestApp::start();
    app.stock("A", 1);
    let port = app.port;
    for filter in ["sku=A", "storeId=s2", "sku=A&storeId=s2"] {
        let after = app.get(&format!("{EVENTS}?limit=1000")).expect(200)["seq"]
            .as_u64()
            .unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                port.get(&format!("{EVENTS}?after={after}&wait=15&{filter}"))
                    .expect(200)
            });
            std::thread::sleep(Duration::from_millis(100));
            port.put(&at("OTHER"), json!({"quantity": 1}));
            port.put(&at_in("s3", "OTHER"), json!({"quantity": 1}));
            std::thread::sleep(Duration::from_millis(200));
            assert!(!reader.is_finished(), "{filter}");
            let moved = json!({"sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 1});
            let seq = port.post("/api/transfers", moved).expect(200)["seq"].as_u64().unwrap();
            let page = reader.join().unwrap();
            assert_eq!(seqs(&page), [seq], "{filter}");
        });
        app.post(
            "/api/transfers",
            json!({"sku": "A", "fromStoreId": "s2", "toStoreId": "s1", "quantity": 1}),
        )
        .expect(200);
    }
}

#[test]
fn a_filtered_log_shows_what_changed_the_sku_or_the_store() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.stock("B", 10);
    app.put(&at_in("s2", "B"), json!({"quantity": 10})).expect(201);
    app.post(
        "/api/transfers",
        json!({"sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 1}),
    )
    .expect(200);
    adjust(&app, "B", 1);
    app.put(&format!("{}/quantity", item("A")), json!({"quantity": 1}))
        .expect(200);
    for (filter, expected) in [
        ("sku=A", &["1", "4", "6"][..]),
        ("sku=B", &["2", "3", "5"]),
        ("storeId=s2", &["3", "4"]),
        ("storeId=s1&sku=A", &["1", "4"]),
        ("storeId=default&sku=B", &[]),
        ("storeId=default", &["6"]),
        ("sku=a", &[]),
    ] {
        for limit in [1, 2, 100] {
            let mut seen = Vec::new();
            let mut after = 0;
            loop {
                let page = app
                    .get(&format!("{EVENTS}?{filter}&limit={limit}&after={after}"))
                    .expect(200);
                seen.extend(column(page["items"].as_array().unwrap(), "seq"));
                assert!(page["seq"].as_u64().unwrap() >= after);
                after = page["seq"].as_u64().unwrap();
                if page["next"].is_null() {
                    break;
                }
            }
            assert_eq!(seen, expected, "{filter} by {limit}");
        }
    }
    let transfer = app.get(&format!("{EVENTS}?storeId=s2&after=3")).expect(200);
    assert_eq!(transfer["items"][0]["seq"], 4);
}

#[test]
fn a_filter_that_fits_little_of_a_long_log_finds_it_all() {
    let app = TestApp::start();
    app.stock("RARE", 0);
    for _ in 0..2 {
        let operations: Vec<Value> = (0..6000)
            .map(|_| json!({"op": "set", "sku": "OFTEN", "storeId": "s1", "quantity": 1}))
            .collect();
        app.post("/api/inventory/batch", json!({"operations": operations}))
            .expect(200);
        adjust(&app, "RARE", 1);
    }
    let (mut seen, mut after, mut pages) = (Vec::new(), 0, 0);
    loop {
        let page = app
            .get(&format!("{EVENTS}?sku=RARE&after={after}&wait=1&limit=2"))
            .expect(200);
        seen.extend(seqs(&page));
        pages += 1;
        assert!(pages < 20);
        after = page["seq"].as_u64().unwrap();
        if page["next"].is_null() {
            break;
        }
    }
    assert_eq!(seen, [1, 6002, 12_003]);
}

#[test]
fn what_a_reader_was_shown_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut known: Vec<Value> = Vec::new();
    for round in 0..4 {
        let mut app = TestApp::start_in(folder.path(), 0, &[]);
        app.put(&at("A"), json!({"quantity": 1000}));
        let port = app.port;
        let writers: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(move || {
                    let body = json!({"operations": [{"op": "adjust", "sku": "A", "storeId": "s1", "delta": 1},
                        {"op": "transfer", "sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 1}]});
                    let headers = [crate::client::JSON];
                    let send = || {
                        port.try_send(
                            "POST",
                            "/api/inventory/batch",
                            &headers,
                            Some(body.to_string().as_bytes()),
                        )
                    };
                    while send().is_ok_and(|answer| answer.status == 200) {}
                })
            })
            .collect();
        let until = Instant::now() + Duration::from_millis(400 + 150 * round);
        while Instant::now() < until {
            let after = known.len();
            let page = app
                .get(&format!("{EVENTS}?after={after}&wait=1&limit=1000"))
                .expect(200);
            known.extend(page["items"].as_array().unwrap().iter().cloned());
        }
        app.kill();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    }
    assert!(known.iter().zip(1..).all(|(event, seq)| event["seq"] == seq), "gaps");
    let app = TestApp::start_in(folder.path(), 0, &[]);
    let all = all_pages(&app, EVENTS, 1000);
    assert!(known.len() > 20 && all.len() >= known.len());
    assert!(all[..known.len()] == known[..]);
    assert_eq!(events(folder.path()).len(), all.len());
    let last = all.last().unwrap()["changes"][0].clone();
    let level = app.get(&at_in(last["storeId"].as_str().unwrap(), "A")).expect(200);
    assert_eq!(
        (&level["quantity"], &level["version"]),
        (&last["quantity"], &last["version"])
    );
}

#[test]
fn readers_during_writes_see_every_event_once_in_order() {
    let app = TestApp::start();
    for sku in ["A", "B", "C", "D"] {
        app.stock(sku, 0);
    }
    let port = app.port;
    let run = |i: usize| {
        if i < 8 {
            return (0..40).map(|_| adjust(&port, ["A", "B", "C", "D"][i % 4], 1)).collect();
        }
        let (mut after, mut pages) = (0, Vec::new());
        while after < 4 + 8 * 40 {
            let page = port
                .get(&format!("{EVENTS}?after={after}&wait=5&limit={}", 1 + i * 3))
                .expect(200);
            let expected: Vec<u64> = (after + 1..=after + seqs(&page).len() as u64).collect();
            assert_eq!(seqs(&page), expected);
            assert!(!expected.is_empty());
            after = *expected.last().unwrap();
            pages.push(page);
        }
        pages
    };
    crate::concurrency::all_at_once(12, run);
}
