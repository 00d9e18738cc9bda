//! The clients of the Node services: each request that those services documented, with the answer that it got.

use std::thread;

use serde_json::{Value, json};

use crate::client::{Answer, Client, JSON, all_pages, at_in, column, is_time, operation};
use crate::support::TestApp;

/// Stands for any time.
const TIME: &str = "TIME";
/// Stands for any text.
const TEXT: &str = "TEXT";

const LONDON: &[(&str, &str)] = &[("x-store-id", "london")];

/// Sends requests in their order to one service: each is a line `METHOD PATH [@STORE] [BODY]`, and the line below it
/// the answer that a client of those services expects, `STATUS JSON`.
#[track_caller]
fn replay(exchanges: &str) -> TestApp {
    let app = TestApp::start();
    let lines: Vec<&str> = exchanges
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    for pair in lines.chunks(2) {
        let answer = send(&app, pair[0]);
        let told = format!("{}\n{} {}\nexpected {}", pair[0], answer.status, answer.text(), pair[1]);
        let (status, expected) = pair[1].split_once(' ').unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!(answer.status.to_string(), status, "{told}");
        if answer.status < 300 {
            assert!(fits(&answer.json, &expected), "{told}");
        } else {
            let status = answer.status;
            has_members(
                &answer.refused_as_node(status, expected["error"].as_str().unwrap()),
                &expected,
            );
        }
    }
    app
}

fn send(app: &impl Client, line: &str) -> Answer {
    let mut words = line.splitn(3, ' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let rest = words.next().unwrap_or_default();
    let (store, body) = match rest.strip_prefix('@') {
        Some(rest) => rest.split_once(' ').map(|(store, body)| (Some(store), body)).unwrap(),
        None => (None, rest),
    };
    let mut headers: Vec<_> = store.map(|store| ("x-store-id", store)).into_iter().collect();
    if body.is_empty() {
        return app.send(method, path, &headers, None);
    }
    headers.push(JSON);
    app.send(method, path, &headers, Some(body.as_bytes()))
}

/// The same members, with the same values.
fn fits(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (found, Value::String(word)) if word == TIME => is_time(found),
        (found, Value::String(word)) if word == TEXT => found.is_string(),
        (Value::Object(found), Value::Object(expected)) => {
            found.len() == expected.len() && expected.iter().all(|(name, value)| fits(&found[name], value))
        }
        (Value::Array(found), Value::Array(expected)) => {
            found.len() == expected.len()
                && found
                    .iter()
                    .zip(expected)
                    .all(|(found, expected)| fits(found, expected))
        }
        (found, expected) => found == expected,
    }
}

/// A refusal may say more than those services did.
#[track_caller]
fn has_members(answer: &Answer, expected: &Value) {
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(answer[name], *value, "{name} in {}", answer.text());
    }
}

fn set(app: &impl Client, sku: &str, body: Value) -> Answer {
    app.put_with(&format!("/inventory/{sku}"), LONDON, body)
}

fn adjust(app: &impl Client, sku: &str, body: Value) -> Answer {
    app.post_with(&format!("/inventory/{sku}/adjust"), LONDON, body)
}

#[test]
fn health_says_ok_and_what_time_it_is() {
    replay(
        r#"
        GET /health
            200 {"status": "ok", "now": "TIME"}
        "#,
    );
}

#[test]
fn a_sku_that_nobody_knows_has_nothing() {
    replay(
        r#"
        GET /inventory/ghost
            200 {"sku": "ghost", "total": 0, "per_store": []}
        "#,
    );
}

#[test]
fn counts_and_changes_answer_with_their_level() {
    let app = replay(
        r#"
        PUT /inventory/A {"quantity": 10}
            200 {"sku": "A", "store_id": "central", "quantity": 10, "version": 1, "last_updated": "TIME"}
        PUT /inventory/A @london {"quantity": 5}
            200 {"sku": "A", "store_id": "london", "quantity": 5, "version": 1, "last_updated": "TIME"}
        PUT /inventory/A @london {"quantity": 6, "expectedVersion": 1}
            200 {"sku": "A", "store_id": "london", "quantity": 6, "version": 2, "last_updated": "TIME"}
        POST /inventory/A/adjust @london {"delta": -2}
            200 {"sku": "A", "store_id": "london", "quantity": 4, "version": 3, "last_updated": "TIME"}
        POST /inventory/A/adjust @london {"delta": 3, "expectedVersion": 3}
            200 {"sku": "A", "store_id": "london", "quantity": 7, "version": 4, "last_updated": "TIME"}
        POST /inventory/A/adjust {"delta": 1}
            200 {"sku": "A", "store_id": "central", "quantity": 11, "version": 2, "last_updated": "TIME"}
        PUT /inventory/AB%2F12 @london {"quantity": 1}
            200 {"sku": "AB/12", "store_id": "london", "quantity": 1, "version": 1, "last_updated": "TIME"}
        "#,
    );
    let levels = json!([
        {"store_id": "central", "quantity": 11, "version": 2, "last_updated": TIME},
        {"store_id": "london", "quantity": 7, "version": 4, "last_updated": TIME},
    ]);
    let all = app.get("/inventory/A").expect(200);
    assert!(
        fits(&all.json, &json!({"sku": "A", "total": 18, "per_store": levels})),
        "{}",
        all.text()
    );
}

#[test]
fn numbers_may_be_texts_and_fractions_are_rounded_down() {
    replay(
        r#"
        PUT /inventory/A {"quantity": "10"}
            200 {"sku": "A", "store_id": "central", "quantity": 10, "version": 1, "last_updated": "TIME"}
        PUT /inventory/A {"quantity": 7.9}
            200 {"sku": "A", "store_id": "central", "quantity": 7, "version": 2, "last_updated": "TIME"}
        PUT /inventory/A {"quantity": " 8.2 "}
            200 {"sku": "A", "store_id": "central", "quantity": 8, "version": 3, "last_updated": "TIME"}
        PUT /inventory/A {"quantity": "1e3"}
            200 {"sku": "A", "store_id": "central", "quantity": 1000, "version": 4, "last_updated": "TIME"}
        POST /inventory/A/adjust {"delta": "-1.5"}
            200 {"sku": "A", "store_id": "central", "quantity": 998, "version": 5, "last_updated": "TIME"}
        POST /inventory/A/adjust {"delta": 2.7}
            200 {"sku": "A", "store_id": "central", "quantity": 1000, "version": 6, "last_updated": "TIME"}
        PUT /inventory/A {"quantity": 1, "expectedVersion": "6"}
            200 {"sku": "A", "store_id": "central", "quantity": 1, "version": 7, "last_updated": "TIME"}
        "#,
    );
}

#[test]
fn members_and_parameters_that_are_not_known_are_passed_over() {
    replay(
        r#"
        PUT /inventory/A?_=1732 {"quantity": 10, "note": 5, "version": "x", "reason": {"by": [1]}}
            200 {"sku": "A", "store_id": "central", "quantity": 10, "version": 1, "last_updated": "TIME"}
        POST /inventory/A/adjust?source=till {"delta": -1, "type": "sale"}
            200 {"sku": "A", "store_id": "central", "quantity": 9, "version": 2, "last_updated": "TIME"}
        GET /health?verbose=1
            200 {"status": "ok", "now": "TIME"}
        "#,
    );
}

#[test]
fn refusals_have_the_codes_that_clients_branch_on() {
    let app = replay(
        r#"
        PUT /inventory/A
            400 {"error": "quantity required"}
        PUT /inventory/A {}
            400 {"error": "quantity required"}
        PUT /inventory/A {"quantity": null}
            400 {"error": "quantity required"}
        PUT /inventory/A {"quantity": "abc"}
            400 {"error": "quantity required"}
        PUT /inventory/A {"quantity": ""}
            400 {"error": "quantity required"}
        PUT /inventory/A {"quantity": true}
            400 {"error": "quantity required"}
        PUT /inventory/A {"quantity": -1}
            400 {"error": "quantity required"}
        PUT /inventory/A {"quantity": -0.5}
            400 {"error": "quantity required"}
        PUT /inventory/A {"quantity": 9007199254740992}
            400 {"error": "quantity required"}
        POST /inventory/A/adjust {}
            400 {"error": "delta required"}
        POST /inventory/A/adjust {"delta": 0}
            400 {"error": "delta required"}
        POST /inventory/A/adjust {"delta": 0.5}
            400 {"error": "delta required"}
        POST /inventory/A/adjust {"delta": null}
            400 {"error": "delta required"}
        POST /inventory/A/adjust {"delta": "abc"}
            400 {"error": "delta required"}
        POST /inventory/A/adjust {"delta": true}
            400 {"error": "delta required"}
        POST /inventory/A/adjust {"delta": -9007199254740992}
            400 {"error": "delta required"}
        POST /inventory/A/adjust {"delta": 5}
            404 {"error": "not_found"}
        POST /inventory/A/adjust {"delta": -5}
            404 {"error": "not_found"}
        PUT /inventory/A {"quantity": 5, "expectedVersion": 1}
            409 {"error": "version_mismatch", "currentVersion": 0}
        PUT /inventory/A {"quantity": 5, "expectedVersion": 0}
            200 {"sku": "A", "store_id": "central", "quantity": 5, "version": 1, "last_updated": "TIME"}
        PUT /inventory/A {"quantity": 6, "expectedVersion": 7}
            409 {"error": "version_mismatch", "currentVersion": 1}
        POST /inventory/A/adjust {"delta": 1, "expectedVersion": 7}
            409 {"error": "version_mismatch", "currentVersion": 1}
        PUT /inventory/A {"quantity": 6, "expectedVersion": null}
            400 {"error": "invalid_request"}
        PUT /inventory/A {"quantity": 6, "expectedVersion": 1.5}
            400 {"error": "invalid_request"}
        POST /inventory/A/adjust {"delta": -6}
            400 {"error": "insufficient_stock", "available": 5, "requested": 6}
        POST /inventory/A/adjust {"delta": 9007199254740991}
            409 {"error": "quantity_limit"}
        PUT /inventory/A @.. {"quantity": 5}
            400 {"error": "invalid_request"}
        PUT /inventory/A {"quantity": 5, "idempotencyKey": 7}
            400 {"error": "invalid_request"}
        PUT /inventory/A [5]
            400 {"error": "invalid_request"}
        GET /inventory/%FF
            400 {"error": "invalid_request"}
        DELETE /inventory/A
            405 {"error": "method_not_allowed"}
        GET /inventory/A/other
            404 {"error": "not_found"}
        "#,
    );
    let put = |headers: &[(&str, &str)]| app.put_with("/inventory/A", headers, json!({"quantity": 6}));
    put(&[("x-store-id", "")]).refused_as_node(400, "invalid_request");
    put(&[("x-store-id", "a"), ("x-store-id", "b")]).refused_as_node(400, "invalid_request");
    let stale = put(&[("if-match", "\"9\"")]).refused_as_node(412, "precondition_failed");
    assert_eq!(stale["currentVersion"], 1);
    let level = app.get(&at_in("central", "A")).expect(200);
    assert_eq!(level.state(), (5, 0, 1), "a refusal has changed something");
}

#[test]
fn a_count_below_what_is_reserved_is_refused() {
    let app = TestApp::start();
    set(&app, "A", json!({"quantity": 10})).expect(200);
    app.post(&format!("{}/reserve", at_in("london", "A")), json!({"qty": 4}))
        .expect(201);
    set(&app, "A", json!({"quantity": 3})).refused_as_node(409, "below_reserved");
    let short = adjust(&app, "A", json!({"delta": -7})).refused_as_node(400, "insufficient_stock");
    assert_eq!((&short["available"], &short["reserved"]), (&json!(6), &json!(4)));
    assert_eq!(app.get(&at_in("london", "A")).expect(200).state(), (10, 4, 2));
}

#[test]
fn what_is_not_read_as_json_is_refused_and_changes_nothing() {
    let app = TestApp::start();
    let put = |headers: &[(&str, &str)], body: &str| app.send("PUT", "/inventory/A", headers, Some(body.as_bytes()));
    put(&[JSON], "{\"quantity\": 5").refused_as_node(400, "invalid_request");
    put(&[JSON], "{\"quantity\": 1e999}").refused_as_node(400, "quantity required");
    put(&[JSON], "{\"quantity\": 5, \"quantity\": 6}").refused_as_node(400, "quantity required");
    put(&[], "{\"quantity\": 5}").refused_as_node(415, "unsupported_media_type");
    put(&[("content-type", "text/plain")], "{\"quantity\": 5}").refused_as_node(415, "unsupported_media_type");
    let deep = format!("{{\"quantity\": 5, \"more\": {}1{}}}", "[".repeat(40), "]".repeat(40));
    put(&[JSON], &deep).refused_as_node(400, "invalid_request");
    let large = format!("{{\"quantity\": 5, \"more\": \"{}\"}}", "x".repeat(5 << 20));
    put(&[JSON], &large).refused_as_node(413, "payload_too_large");
    app.get(&at_in("central", "A")).refused(404, "not_found");
    let headers = [("content-type", "application/json; charset=utf-8"), ("accept", "*/*")];
    put(&headers, "{\"quantity\": 5}").expect(200);
}

#[test]
fn a_store_may_be_named_as_node_writes_it_into_a_header() {
    let app = TestApp::start();
    let head = "PUT /inventory/A HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
                Content-Length: 14\r\nX-Store-Id: ";
    for store in [&b"caf\xe9"[..], "caf\u{e9}".as_bytes()] {
        let answer = app.send_bytes(&[head.as_bytes(), store, b"\r\n\r\n{\"quantity\":5}"].concat());
        assert_eq!(answer.expect(200)["store_id"], "café");
    }
}

#[test]
fn a_key_gets_the_first_answer_whatever_the_body_says() {
    let app = TestApp::start();
    let keyed = [LONDON[0], ("idempotency-key", "k1")];
    let first = app
        .put_with("/inventory/A", &keyed, json!({"quantity": 10}))
        .expect(200);
    assert_eq!(first.header("idempotency-replayed"), None);
    for body in [
        json!({"quantity": 10}),
        json!({"quantity": 99}),
        json!({"quantity": 1, "expectedVersion": 40}),
    ] {
        let again = app.put_with("/inventory/A", &keyed, body).expect(200);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert_eq!(again.body, first.body);
    }
    let in_body = json!({"quantity": 3, "idempotencyKey": "k1"});
    assert_eq!(set(&app, "A", in_body).expect(200).body, first.body);
    let sold = [LONDON[0], ("idempotency-key", "k2")];
    let first = app
        .post_with("/inventory/A/adjust", &sold, json!({"delta": -1}))
        .expect(200);
    let again = app
        .post_with("/inventory/A/adjust", &sold, json!({"delta": -5}))
        .expect(200);
    assert_eq!(again.body, first.body);
    assert_eq!(app.get(&at_in("london", "A")).expect(200).state(), (9, 0, 2));
    let told = app.get(&operation("k2")).expect(200);
    assert_eq!(
        (&told["status"], &told["answer"]["status"]),
        (&json!("completed"), &json!(200))
    );
}

#[test]
fn a_key_of_another_route_or_store_is_refused() {
    let app = TestApp::start();
    let key = ("idempotency-key", "k1");
    app.put_with("/inventory/A", &[LONDON[0], key], json!({"quantity": 10}))
        .expect(200);
    let reused = "idempotency_key_reused";
    app.put_with("/inventory/A", &[key], json!({"quantity": 10}))
        .refused_as_node(422, reused);
    app.put_with("/inventory/B", &[LONDON[0], key], json!({"quantity": 10}))
        .refused_as_node(422, reused);
    app.post_with("/inventory/A/adjust", &[LONDON[0], key], json!({"delta": 1}))
        .refused_as_node(422, reused);
    app.put_with(&at_in("london", "A"), &[key], json!({"quantity": 10}))
        .refused(422, reused);
    let central = json!({"sku": "A", "total": 10, "per_store": [
        {"store_id": "london", "quantity": 10, "version": 1, "last_updated": TIME},
    ]});
    assert!(fits(&app.get("/inventory/A").expect(200).json, &central));
}

#[test]
fn a_dry_run_changes_nothing() {
    let app = TestApp::start();
    let answer = set(&app, "A", json!({"quantity": 5, "dryRun": true})).expect(200);
    assert_eq!((&answer["quantity"], &answer["dryRun"]), (&json!(5), &json!(true)));
    let entry = json!({"storeId": "london", "sku": "A", "quantity": 5, "dryRun": true});
    assert_eq!(app.post("/stock", entry).expect(200)["dryRun"], true);
    set(&app, "A", json!({"quantity": 5, "dryRun": "yes"})).refused_as_node(400, "invalid_request");
    app.get(&at_in("london", "A")).refused(404, "not_found");
}

fn level(sku: &str, store: &str, quantity: u64) -> Value {
    json!({"sku": sku, "store_id": store, "quantity": quantity, "version": 1, "last_updated": TIME})
}

#[test]
fn a_push_counts_all_its_levels_in_one_step() {
    let app = TestApp::start();
    assert_eq!(
        app.post("/sync/push", json!([])).expect(200).json,
        json!({"changed": []})
    );
    let counts = json!([
        {"sku": "B", "quantity": 3, "store_id": "london"},
        {"sku": "A", "quantity": "4"},
        {"sku": "A", "quantity": 5.5, "storeId": "london", "version": 3},
        {"sku": 7, "quantity": 1, "store_id": 12},
    ]);
    let changed = [
        level("B", "london", 3),
        level("A", "central", 4),
        level("A", "london", 5),
        level("7", "12", 1),
    ];
    let pushed = app.post("/sync/push", counts).expect(200);
    assert!(fits(&pushed.json, &json!({"changed": changed})), "{}", pushed.text());
    let events = app.get("/api/events").expect(200);
    assert_eq!(events["items"].as_array().unwrap().len(), 1, "{}", events.text());
    assert_eq!(events["items"][0]["changes"][0]["movement"], "COUNT");
}

#[test]
fn of_two_counts_of_a_level_in_a_push_the_later_one_counts() {
    let app = TestApp::start();
    let counts = json!([{"sku": "A", "quantity": 4}, {"sku": "B", "quantity": 1}, {"sku": "A", "quantity": 9}]);
    let pushed = app.post("/sync/push", counts).expect(200);
    let changed = pushed["changed"].as_array().unwrap();
    assert_eq!(column(changed, "sku"), ["A", "B"]);
    assert_eq!(column(changed, "quantity"), ["9", "1"]);
    assert_eq!(column(changed, "version"), ["1", "1"]);
}

#[test]
fn a_push_of_anything_but_an_array_is_refused() {
    let app = replay(
        r#"
        POST /sync/push
            400 {"error": "expect_array"}
        POST /sync/push {"sku": "A", "quantity": 4}
            400 {"error": "expect_array"}
        POST /sync/push {}
            400 {"error": "expect_array"}
        POST /sync/push "A"
            400 {"error": "expect_array"}
        POST /sync/push null
            400 {"error": "expect_array"}
        POST /sync/push sku,quantity
            400 {"error": "expect_array"}
        POST /sync/push [{"sku": "A"
            400 {"error": "expect_array"}
        "#,
    );
    app.send("POST", "/sync/push", &[("content-type", "text/plain")], Some(b"[]"))
        .refused_as_node(415, "unsupported_media_type");
}

#[test]
fn a_push_with_one_bad_count_changes_nothing() {
    let app = TestApp::start();
    set(&app, "A", json!({"quantity": 10})).expect(200);
    app.post(&format!("{}/reserve", at_in("london", "A")), json!({"quantity": 4}))
        .expect(201);
    let push = |entry: Value| app.post("/sync/push", json!([{"sku": "B", "quantity": 1}, entry]));
    let refused = push(json!({"sku": "A", "store_id": "london", "quantity": 3})).refused_as_node(409, "below_reserved");
    assert_eq!(refused["operations"][0]["index"], 1);
    for entry in [
        json!({"sku": "A"}),
        json!({"sku": "A", "quantity": -1}),
        json!({"sku": "A", "quantity": null}),
    ] {
        let refused = push(entry).refused_as_node(400, "quantity required");
        assert_eq!(refused.fields(), ["[1].quantity"]);
    }
    for entry in [
        json!({"quantity": 1}),
        json!({"sku": "", "quantity": 1}),
        json!({"sku": ["A"], "quantity": 1}),
        json!({"sku": "A", "quantity": 1, "store_id": null}),
        json!({"sku": "A", "quantity": 1, "store_id": "a", "storeId": "b"}),
        json!(["A", 1]),
        json!("A"),
    ] {
        push(entry).refused_as_node(400, "invalid_request");
    }
    app.get(&at_in("central", "B")).refused(404, "not_found");
    assert_eq!(app.get(&at_in("london", "A")).expect(200).state(), (10, 4, 2));
}

#[test]
fn a_push_has_ten_thousand_counts_at_most() {
    let app = TestApp::start();
    let counts = |count: u32| -> Value {
        (0..count)
            .map(|i| json!({"sku": format!("S{i}"), "quantity": i}))
            .collect()
    };
    let refused = app
        .post("/sync/push", counts(10_001))
        .refused_as_node(413, "payload_too_large");
    assert_eq!(refused["limit"], 10_000);
    assert_eq!(app.get("/inventory/S1").expect(200)["per_store"], json!([]));
    let all = app.post("/sync/push", counts(10_000)).expect(200);
    assert_eq!(all["changed"].as_array().unwrap().len(), 10_000);
    assert_eq!(app.get("/inventory/S9999").expect(200)["total"], 9999);
}

#[test]
fn a_push_under_a_key_takes_effect_once() {
    let app = TestApp::start();
    let key = [("idempotency-key", "p1")];
    let first = app
        .post_with("/sync/push", &key, json!([{"sku": "A", "quantity": 4}]))
        .expect(200);
    set(&app, "A", json!({"quantity": 1})).expect(200);
    app.put("/inventory/A", json!({"quantity": 2})).expect(200);
    let again = app
        .post_with("/sync/push", &key, json!([{"sku": "A", "quantity": 4}]))
        .expect(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    app.post_with("/sync/push", &key, json!([{"sku": "A", "quantity": 5}]))
        .refused_as_node(422, "idempotency_key_reused");
    assert_eq!(app.get(&at_in("central", "A")).expect(200).state(), (2, 0, 2));
}

fn entry(store: &str, sku: &str, quantity: u64, version: u64) -> Value {
    json!({
        "stockId": TEXT, "storeId": store, "sku": sku, "productId": sku, "quantity": quantity, "reserved": 0,
        "available": quantity, "version": version, "updatedAt": TIME,
    })
}

#[test]
fn stock_comes_in_and_is_listed_by_store() {
    let app = replay("GET /stock/london\n200 []");
    let came_in = |body: Value, expected: &Value| {
        let answer = app.post("/stock", body).expect(201);
        assert!(fits(&answer.json, expected), "{}", answer.text());
    };
    came_in(
        json!({"storeId": "london", "productId": "A", "quantity": 10}),
        &entry("london", "A", 10, 1),
    );
    came_in(
        json!({"storeId": "london", "sku": "A", "quantity": "5"}),
        &entry("london", "A", 15, 2),
    );
    let both = json!({"storeId": "paris", "sku": "A", "productId": "A", "quantity": 1, "note": []});
    came_in(both, &entry("paris", "A", 1, 1));
    came_in(
        json!({"storeId": 3, "productId": 7, "quantity": 2}),
        &entry("3", "7", 2, 1),
    );
    came_in(
        json!({"storeId": "london", "sku": "new", "quantity": 0}),
        &entry("london", "new", 0, 1),
    );
    let london = app.get("/stock/london").expect(200);
    let expected = json!([entry("london", "A", 15, 2), entry("london", "new", 0, 1)]);
    assert!(fits(&london.json, &expected), "{}", london.text());
    let movements = all_pages(&app, "/api/movements?sku=A&storeId=london", 100);
    assert_eq!(column(&movements, "type"), ["STOCK_IN", "STOCK_IN"]);
    assert_eq!(column(&movements, "delta"), ["5", "10"]);
    assert!(
        all_pages(&app, "/api/movements?sku=new", 100).is_empty(),
        "nothing came in"
    );
}

#[test]
fn a_stock_entry_is_counted_by_its_id() {
    let app = TestApp::start();
    let made = app
        .post("/stock", json!({"storeId": "Größe 1", "sku": "AB/12", "quantity": 10}))
        .expect(201);
    let id = made["stockId"].as_str().unwrap();
    assert!(
        id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
        "{id}"
    );
    let path = format!("/stock/{id}");
    let counted = app.put(&path, json!({"quantity": "7"})).expect(200);
    assert!(
        fits(&counted.json, &entry("Größe 1", "AB/12", 7, 2)),
        "{}",
        counted.text()
    );
    assert_eq!(counted["stockId"], id, "an id is for ever");
    assert_eq!(app.get("/stock/Gr%C3%B6%C3%9Fe%201").expect(200).json[0]["stockId"], id);
    let stale = app
        .put(&path, json!({"quantity": 8, "expectedVersion": 1}))
        .refused_as_node(409, "version_mismatch");
    assert_eq!(stale["currentVersion"], 2);
    app.put(&path, json!({})).refused_as_node(400, "quantity required");
    assert_eq!(
        app.get(&at_in("Gr%C3%B6%C3%9Fe%201", "AB%2F12")).expect(200).state(),
        (7, 0, 2)
    );
}

#[test]
fn a_count_under_a_key_gets_its_first_answer_also_when_its_entry_is_gone() {
    let app = TestApp::start();
    let made = app.post("/stock", json!({"storeId": "london", "sku": "A", "quantity": 5}));
    let path = format!("/stock/{}", made.expect(201)["stockId"].as_str().unwrap());
    let count = |key: &str| app.put_with(&path, &[("idempotency-key", key)], json!({"quantity": 0}));
    let first = count("first").expect(200);
    app.send("DELETE", "/api/products/A", &[], None).expect(204);
    let again = count("first").expect(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json, first.json);
    count("second").expect(404);
    app.get("/api/products/A").refused(404, "not_found");
}

#[test]
fn an_id_of_nothing_is_not_found() {
    let app = TestApp::start();
    // That of SKU `bc` in store `A`, where there is none.
    for id in ["x", "MTpBYmM", "%FF", "6:london", "..%2F..%2Fetc"] {
        let status = if id == "%FF" { 400 } else { 404 };
        let code = if id == "%FF" { "invalid_request" } else { "not_found" };
        app.put(&format!("/stock/{id}"), json!({"quantity": 1}))
            .refused_as_node(status, code);
    }
    assert_eq!(app.get("/inventory/bc").expect(200)["total"], 0);
}

#[test]
fn what_comes_in_must_say_what_and_where() {
    let app = replay(
        r#"
        POST /stock {"storeId": "london", "sku": "A"}
            400 {"error": "quantity required"}
        POST /stock {"storeId": "london", "sku": "A", "quantity": -1}
            400 {"error": "quantity required"}
        POST /stock {"sku": "A", "quantity": 1}
            400 {"error": "invalid_request"}
        POST /stock {"storeId": "london", "quantity": 1}
            400 {"error": "invalid_request"}
        POST /stock {"storeId": "london", "sku": "A", "productId": "B", "quantity": 1}
            400 {"error": "invalid_request"}
        POST /stock {"storeId": "london", "sku": null, "productId": "A", "quantity": 1}
            400 {"error": "invalid_request"}
        POST /stock {"storeId": 1.5, "sku": "A", "quantity": 1}
            400 {"error": "invalid_request"}
        POST /stock {"storeId": "london", "sku": "A", "quantity": 1, "expectedVersion": 3}
            409 {"error": "version_mismatch", "currentVersion": 0}
        "#,
    );
    let much = json!({"storeId": "london", "sku": "A", "quantity": 9_007_199_254_740_991_u64});
    app.post("/stock", much).expect(201);
    let more = json!({"storeId": "paris", "sku": "A", "quantity": 1});
    app.post("/stock", more).refused_as_node(409, "quantity_limit");
    assert_eq!(app.get("/inventory/A").expect(200)["total"], 9_007_199_254_740_991_u64);
}

#[test]
fn what_comes_in_under_a_key_comes_in_once() {
    let app = TestApp::start();
    let key = [("idempotency-key", "in1")];
    let body = json!({"storeId": "london", "sku": "A", "quantity": 10});
    let first = app.post_with("/stock", &key, body.clone()).expect(201);
    let again = app.post_with("/stock", &key, body).expect(201);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    let other = json!({"storeId": "london", "sku": "A", "quantity": 11});
    app.post_with("/stock", &key, other)
        .refused_as_node(422, "idempotency_key_reused");
    assert_eq!(app.get(&at_in("london", "A")).expect(200).state(), (10, 0, 1));
}

#[test]
fn a_store_with_thousands_of_skus_is_listed_whole() {
    let app = TestApp::start();
    for count in [1000, 2345] {
        let counts: Value = (0..count)
            .map(|i| json!({"sku": format!("S{i:05}"), "quantity": i, "store_id": "london"}))
            .collect();
        app.post("/sync/push", counts).expect(200);
        let listed = app.get("/stock/london").expect(200);
        let rows = listed
            .json
            .as_array()
            .unwrap_or_else(|| panic!("no list: {}", listed.text()));
        let found: Vec<String> = rows.iter().map(|row| row["sku"].as_str().unwrap().to_owned()).collect();
        let expected: Vec<String> = (0..count).map(|i| format!("S{i:05}")).collect();
        assert_eq!(found, expected);
    }
    let head = app.send("HEAD", "/stock/london", &[], None).expect(200);
    assert!(head.body.is_empty());
}

#[test]
fn both_worlds_see_the_same_level() {
    let app = TestApp::start();
    set(&app, "A", json!({"quantity": 10})).expect(200);
    let path = at_in("london", "A");
    let seen = |quantity: u64, version: u64| {
        assert_eq!(app.get(&path).expect(200).state(), (quantity, 0, version));
        let level = json!({"store_id": "london", "quantity": quantity, "version": version, "last_updated": TIME});
        let item = json!({"sku": "A", "total": quantity, "per_store": [level]});
        assert!(fits(&app.get("/inventory/A").expect(200).json, &item));
        let listed = app.get("/stock/london").expect(200);
        assert_eq!(
            (&listed.json[0]["quantity"], &listed.json[0]["version"]),
            (&json!(quantity), &json!(version))
        );
    };
    seen(10, 1);
    app.post(&format!("{path}/adjust"), json!({"delta": -3, "type": "SALE"}))
        .expect(200);
    seen(7, 2);
    adjust(&app, "A", json!({"delta": 5, "expectedVersion": 2})).expect(200);
    seen(12, 3);
    app.post("/stock", json!({"storeId": "london", "sku": "A", "quantity": 1}))
        .expect(201);
    seen(13, 4);
    app.post("/sync/push", json!([{"sku": "A", "store_id": "london", "quantity": 2}]))
        .expect(200);
    seen(2, 5);
    app.put(&path, json!({"quantity": 3, "expectedVersion": 5})).expect(200);
    seen(3, 6);
}

#[test]
fn of_what_many_clients_take_and_bring_nothing_is_lost() {
    const CLIENTS: u64 = 8;
    const ROUNDS: u64 = 12;
    let app = TestApp::start();
    set(&app, "A", json!({"quantity": 20})).expect(200);
    let port = app.port;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| thread::spawn(move || (0..ROUNDS).map(|round| one_round(&port, client, round)).sum::<i64>()))
        .collect();
    let sum: i64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    let level = app.get(&at_in("london", "A")).expect(200);
    assert_eq!(level["quantity"].as_i64(), Some(20 + sum));
    let movements = all_pages(&app, "/api/movements?sku=A&storeId=london", 1000);
    let recorded: i64 = movements.iter().map(|one| one["delta"].as_i64().unwrap()).sum();
    assert_eq!(recorded, 20 + sum);
    assert_eq!(level["version"].as_u64(), Some(movements.len() as u64));
}

/// Takes, brings or counts under a key, each twice; tells what it has added.
fn one_round(port: &u16, client: u64, round: u64) -> i64 {
    let key = format!("{client}-{round}");
    let headers = [LONDON[0], ("idempotency-key", key.as_str())];
    let delta: i64 = if (client + round).is_multiple_of(3) { 2 } else { -3 };
    let ask = || match delta {
        2 => port.post_with(
            "/stock",
            &headers,
            json!({"storeId": "london", "productId": "A", "quantity": 2}),
        ),
        _ => port.post_with("/inventory/A/adjust", &headers, json!({"delta": delta})),
    };
    match ask().status {
        200 | 201 => {
            let again = ask();
            assert_eq!(again.header("idempotency-replayed"), Some("true"), "{}", again.text());
            delta
        }
        400 => 0,
        status => panic!("{status}"),
    }
}
