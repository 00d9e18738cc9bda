//! Batches: many operations in one request, each standing for itself.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Client, JSON, all_pages, at, at_in, comes_true, from_now, item, operation};
use crate::log::events;
use crate::support::TestApp;

const BATCH: &str = "/api/inventory/batch";

fn batch(app: &impl Client, operations: Value) -> Answer {
    app.post(BATCH, json!({"operations": operations}))
}

fn keyed(app: &impl Client, key: &str, operations: &Value) -> Answer {
    app.post_with(BATCH, &[("idempotency-key", key)], json!({"operations": operations}))
}

fn set(sku: &str, quantity: u64) -> Value {
    json!({"op": "set", "sku": sku, "storeId": "s1", "quantity": quantity})
}

fn adjust(sku: &str, delta: i64) -> Value {
    json!({"op": "adjust", "sku": sku, "storeId": "s1", "delta": delta})
}

fn statuses(answer: &Answer) -> Vec<u64> {
    let results = answer["results"]
        .as_array()
        .unwrap_or_else(|| panic!("{}", answer.text()));
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result["index"], index, "{}", answer.text());
    }
    results
        .iter()
        .map(|result| result["status"].as_u64().unwrap())
        .collect()
}

#[test]
fn each_operation_is_answered_in_its_place_as_the_single_request_would_be() {
    let app = TestApp::start();
    app.stock("B", 10);
    let answer = batch(
        &app,
        json!([
            set("A", 10),
            set("B", 7),
            adjust("A", -3),
            {"op": "reserve", "sku": "A", "storeId": "s1", "quantity": 2, "reservationId": "r", "reference": "x", "ttlSeconds": 600},
            {"op": "release", "sku": "A", "storeId": "s1", "reservationId": "r"},
            {"op": "transfer", "sku": "B", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 4},
            {"op": "reserve", "sku": "B", "storeId": "s2", "quantity": 1},
            {"op": "release", "sku": "B", "storeId": "s2", "quantity": 1},
            {"op": "adjust", "sku": "A", "storeId": "s1", "delta": -1, "type": "SALE", "note": "till 7"},
        ]),
    )
    .expect(200);
    assert_eq!(statuses(&answer), [201, 200, 200, 201, 200, 200, 201, 200, 200]);
    let members: Vec<_> = answer.json.as_object().unwrap().keys().collect();
    assert_eq!(members, ["results"]);
    let results = answer["results"].as_array().unwrap();
    for (i, state) in [
        (0, (10, 0, 1)),
        (2, (7, 0, 2)),
        (3, (7, 2, 3)),
        (4, (7, 0, 4)),
        (8, (6, 0, 5)),
    ] {
        let level = &results[i]["level"];
        let found = ["quantity", "reserved", "version"].map(|name| level[name].as_u64().unwrap());
        assert_eq!((found[0], found[1], found[2]), state, "{level}");
    }
    assert_eq!(results[8]["level"], app.get(&at("A")).expect(200).json);
    assert_eq!(results[3]["reservation"]["reservationId"], "r");
    assert_eq!(results[3]["reservation"]["reference"], "x");
    assert_eq!(
        (&results[5]["from"]["quantity"], &results[5]["to"]["quantity"]),
        (&json!(3), &json!(4))
    );
    assert_eq!((results[5].get("level"), results[0].get("from")), (None, None));
    let sales = all_pages(&app, "/api/movements?type=SALE", 10);
    assert_eq!((sales.len(), &sales[0]["note"]), (1, &json!("till 7")));
    let log = all_pages(&app, "/api/events", 100);
    assert_eq!(log.len(), 10, "one event for each operation");
    for result in results {
        let event = &log[result["seq"].as_u64().unwrap() as usize - 1];
        let shown = result.get("level").or(result.get("from")).unwrap();
        assert_eq!(
            (&event["changes"][0]["version"], &event["at"]),
            (&shown["version"], &shown["updatedAt"])
        );
    }
}

#[test]
fn operations_on_one_sku_are_carried_out_in_their_order() {
    let app = TestApp::start();
    let steps: Vec<i64> = (0..200).map(|i| if i % 2 == 0 { 5 } else { -5 }).collect();
    let mut operations = vec![set("A", 0)];
    operations.extend(steps.iter().map(|delta| adjust("A", *delta)));
    let answer = batch(&app, json!(operations)).expect(200);
    assert_eq!(statuses(&answer)[1..], [200; 200]);
    for (i, result) in answer["results"].as_array().unwrap().iter().enumerate().skip(1) {
        assert_eq!(
            (&result["level"]["version"], &result["level"]["quantity"]),
            (&json!(i + 1), &json!(if i % 2 == 1 { 5 } else { 0 }))
        );
    }
}

#[test]
fn what_is_refused_tells_what_the_single_request_would_and_the_others_stand() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.hold("A", 4);
    app.stock("B", 10);
    let operations = json!([
        adjust("A", -7),
        adjust("A", -6),
        adjust("NONE", 1),
        {"op": "adjust", "sku": "A", "storeId": "s1", "delta": 1, "expectedVersion": 2},
        {"op": "set", "sku": "A", "storeId": "s1", "quantity": 3},
        {"op": "release", "sku": "A", "storeId": "s1", "quantity": 5},
        {"op": "release", "sku": "A", "storeId": "s1", "reservationId": "nobody's"},
        {"op": "release", "sku": "NONE", "storeId": "s1", "quantity": 5},
        {"op": "reserve", "sku": "B", "storeId": "s9", "quantity": 5},
        {"op": "transfer", "sku": "B", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 11},
        {"op": "transfer", "sku": "B", "fromStoreId": "s1", "toStoreId": "s1", "quantity": 1},
        {"op": "set", "sku": "B", "storeId": "s1", "quantity": 9_007_199_254_740_991_u64, "expectedVersion": 0},
        adjust("B", 9_007_199_254_740_990),
        adjust("B", 1),
    ]);
    let answer = batch(&app, operations).expect(200);
    assert_eq!(
        statuses(&answer),
        [409, 200, 404, 409, 409, 409, 404, 404, 404, 409, 400, 409, 409, 200]
    );
    let results = answer["results"].as_array().unwrap();
    let codes = [
        "insufficient_stock",
        "",
        "not_found",
        "version_mismatch",
        "below_reserved",
        "not_reserved",
        "not_found",
        "not_found",
        "not_found",
        "insufficient_stock",
        "invalid_request",
        "version_mismatch",
        "quantity_limit",
        "",
    ];
    for (result, code) in results.iter().zip(codes) {
        assert_eq!(result["error"].as_str().unwrap_or_default(), code, "{result}");
        assert_eq!(result["detail"].is_string(), !code.is_empty(), "{result}");
    }
    assert_eq!(
        (
            &results[0]["available"],
            &results[0]["requested"],
            &results[0]["reserved"]
        ),
        (&json!(6), &json!(7), &json!(4))
    );
    assert_eq!(results[3]["currentVersion"], 3);
    assert_eq!(results[9]["available"], 10);
    assert_eq!(results[10]["fields"][0]["field"], "toStoreId");
    assert_eq!(results[11]["currentVersion"], 1);
    assert_eq!((app.state("A"), app.state("B")), ((4, 4, 3), (11, 0, 2)));
}

#[test]
fn an_operation_that_does_not_fit_is_refused_alone_with_its_field() {
    let app = TestApp::start();
    app.stock("A", 10);
    let of = |op: &str, members: Value| {
        let mut operation = json!({"op": op, "sku": "A", "storeId": "s1"});
        members
            .as_object()
            .unwrap()
            .iter()
            .for_each(|(name, value)| operation[name] = value.clone());
        operation
    };
    let wrong = [
        (json!({"sku": "A", "storeId": "s1", "quantity": 1}), "op"),
        (of("sell", json!({"quantity": 1})), "op"),
        (of("SET", json!({"quantity": 1})), "op"),
        (
            json!({"op": {"set": null}, "sku": "A", "storeId": "s1", "quantity": 1}),
            "op",
        ),
        (json!({"op": "set", "storeId": "s1", "quantity": 1}), "sku"),
        (json!({"op": "set", "sku": "A", "quantity": 1}), "storeId"),
        (
            json!({"op": "set", "sku": "A", "storeId": null, "quantity": 1}),
            "storeId",
        ),
        (of("set", json!({})), "quantity"),
        (of("set", json!({"quantity": -1})), "quantity"),
        (of("set", json!({"quantity": 1.0})), "quantity"),
        (of("set", json!({"quantity": "1"})), "quantity"),
        (of("set", json!({"quantity": 1, "Quantity": 1})), "Quantity"),
        (of("set", json!({"quantity": 1, "delta": 1})), "delta"),
        (of("set", json!({"quantity": 1, "ttlSeconds": 1})), "ttlSeconds"),
        (of("set", json!({"quantity": 1, "type": "SALE"})), "type"),
        (of("set", json!({"quantity": 1, "toStoreId": "s2"})), "toStoreId"),
        (of("set", json!({"quantity": 1, "reservationId": "r"})), "reservationId"),
        (of("set", json!({"quantity": 1, "dryRun": true})), "dryRun"),
        (
            of("set", json!({"quantity": 1, "idempotencyKey": "k"})),
            "idempotencyKey",
        ),
        (
            of("set", json!({"quantity": 1, "expectedVersion": null})),
            "expectedVersion",
        ),
        (
            of("set", json!({"quantity": 1, "countedAt": from_now(60_000)})),
            "countedAt",
        ),
        (
            of(
                "set",
                json!({"quantity": 1, "countedAt": from_now(-24 * 3_600_000 - 1000)}),
            ),
            "countedAt",
        ),
        (of("adjust", json!({"delta": 0})), "delta"),
        (of("adjust", json!({"quantity": 1})), "quantity"),
        (of("adjust", json!({"delta": 1, "type": "SALE"})), "type"),
        (of("adjust", json!({"delta": 1, "countedAt": from_now(0)})), "countedAt"),
        (of("adjust", json!({"delta": 1, "reorderPoint": 1})), "reorderPoint"),
        (of("reserve", json!({"quantity": 0})), "quantity"),
        (of("reserve", json!({"quantity": 1, "ttlSeconds": 0})), "ttlSeconds"),
        (of("reserve", json!({"quantity": 1, "note": "x"})), "note"),
        (of("release", json!({})), "reservationId"),
        (
            of("release", json!({"quantity": 1, "reservationId": "r"})),
            "reservationId",
        ),
        (
            of("release", json!({"quantity": 1, "expectedVersion": 1})),
            "expectedVersion",
        ),
        (of("release", json!({"quantity": 1, "reference": "x"})), "reference"),
        (
            of(
                "transfer",
                json!({"fromStoreId": "s1", "toStoreId": "s2", "quantity": 1}),
            ),
            "storeId",
        ),
        (
            json!({"op": "transfer", "sku": "A", "fromStoreId": "s1", "quantity": 1}),
            "toStoreId",
        ),
        (
            json!({"op": "transfer", "sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 1, "expectedVersion": 1}),
            "expectedVersion",
        ),
        (json!([]), "body"),
        (json!("set"), "body"),
        (json!(null), "body"),
    ];
    let mut operations: Vec<Value> = wrong.iter().map(|(operation, _)| operation.clone()).collect();
    operations.push(adjust("A", 1));
    let answer = batch(&app, json!(operations)).expect(200);
    let mut expected = vec![400; wrong.len()];
    expected.push(200);
    assert_eq!(statuses(&answer), expected);
    for (result, (operation, field)) in answer["results"].as_array().unwrap().iter().zip(&wrong) {
        assert_eq!(result["error"], "invalid_request");
        let told = result["fields"][0]["field"].as_str().unwrap();
        let detail = result["detail"].as_str().unwrap();
        assert!(
            told == *field || detail.contains(&format!("`{field}`")),
            "{operation}: {result}"
        );
    }
    assert_eq!(app.state("A"), (11, 0, 2));
}

#[test]
fn only_a_reserve_knows_qty() {
    let app = TestApp::start();
    app.stock("A", 10);
    let answer = batch(
        &app,
        json!([
            {"op": "reserve", "sku": "A", "storeId": "s1", "qty": 1},
            {"op": "release", "sku": "A", "storeId": "s1", "qty": 1},
            {"op": "set", "sku": "A", "storeId": "s1", "qty": 1},
            {"op": "transfer", "sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "qty": 1},
        ]),
    )
    .expect(200);
    assert_eq!(statuses(&answer), [201, 400, 400, 400]);
}

#[test]
fn a_batch_that_does_not_fit_is_refused_whole() {
    let app = TestApp::start();
    app.stock("A", 10);
    let one = json!([adjust("A", 1)]);
    for (body, field) in [
        (json!({}), "operations"),
        (json!({"operations": null}), "operations"),
        (json!({"operations": {}}), "operations"),
        (json!({"operations": one, "atomic": null}), "atomic"),
        (json!({"operations": one, "atomic": "true"}), "atomic"),
        (json!({"operations": one, "Atomic": false}), "Atomic"),
        (json!({"operations": one, "idempotencyKey": null}), "idempotencyKey"),
        (json!({"operations": one, "idempotencyKey": ""}), "idempotencyKey"),
        (json!({"operations": one, "dryRun": null}), "dryRun"),
        (json!({"operations": one, "expectedVersion": 1}), "expectedVersion"),
    ] {
        let refused = app.post(BATCH, body.clone()).refused(400, "invalid_request");
        assert_eq!(refused.fields(), [field], "{body}");
    }
    app.post_with(BATCH, &[("if-match", "\"1\"")], json!({"operations": one}))
        .refused(400, "invalid_request");
    app.post(&format!("{BATCH}?atomic=true"), json!({"operations": one}))
        .refused(400, "invalid_request");
    app.post(BATCH, one.clone()).refused(400, "invalid_request");
    let twice = format!("{{\"operations\":{one},\"operations\":{one}}}");
    app.send("POST", BATCH, &[JSON], Some(twice.as_bytes()))
        .refused(400, "invalid_request");
    app.send(
        "POST",
        BATCH,
        &[("content-type", "text/plain")],
        Some(b"{\"operations\":[]}"),
    )
    .refused(415, "unsupported_media_type");
    assert_eq!(app.state("A"), (10, 0, 1));
}

#[test]
fn a_batch_is_all_or_nothing_only_if_it_says_so() {
    let app = TestApp::start();
    app.stock("A", 10);
    let operations = json!([adjust("A", 1), adjust("A", -99)]);
    app.post(BATCH, json!({"operations": operations, "atomic": true}))
        .refused(409, "insufficient_stock");
    assert_eq!(app.state("A"), (10, 0, 1));
    let each = app
        .post(BATCH, json!({"operations": operations, "atomic": false}))
        .expect(200);
    assert_eq!(statuses(&each), [200, 409]);
    assert_eq!(app.state("A"), (11, 0, 2));
}

#[test]
fn a_batch_has_none_to_10_000_operations() {
    let app = TestApp::start();
    app.stock("A", 0);
    assert_eq!(batch(&app, json!([])).expect(200).json, json!({"results": []}));
    let empty = keyed(&app, "k", &json!([])).expect(200);
    assert_eq!(
        (empty.json.clone(), empty.header("idempotency-replayed")),
        (json!({"results": []}), None)
    );
    batch(&app, json!(vec![adjust("A", 1); 10_001])).refused(413, "payload_too_large");
    assert_eq!(app.state("A"), (0, 0, 1));
    let most = batch(&app, json!(vec![adjust("A", 1); 10_000])).expect(200);
    assert!(statuses(&most).iter().all(|status| *status == 200));
    assert_eq!(app.state("A"), (10_000, 0, 10_001));
}

#[test]
fn a_batch_of_10_000_operations_is_repeated_in_the_time_that_a_client_waits() {
    let app = TestApp::start();
    app.stock("A", 0);
    let operations = json!(vec![adjust("A", 1); 10_000]);
    let first = keyed(&app, "k", &operations).expect(200);
    let again = keyed(&app, "k", &operations).expect(200);
    assert!(again.body == first.body && again.header("idempotency-replayed") == Some("true"));
    assert_eq!(app.state("A"), (10_000, 0, 10_001));
    let told = app.get(&operation("k")).expect(200);
    assert_eq!(told["answer"]["body"]["results"].as_array().unwrap().len(), 10_000);
}

#[test]
fn a_repeat_applies_only_what_lacks_a_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.stock("B", 3);
    let operations = json!([
        set("A", 10),
        adjust("B", -5),
        adjust("A", -2),
        {"op": "reserve", "sku": "A", "storeId": "s1", "quantity": 1},
        {"op": "set", "sku": "C", "storeId": "s1"},
        {"op": "transfer", "sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 1},
    ]);
    let first = keyed(&app, "k", &operations).expect(200);
    assert_eq!(statuses(&first), [201, 409, 200, 201, 400, 200]);
    let again = keyed(&app, "k", &operations).expect(200);
    assert_eq!(
        (again.body == first.body, again.header("idempotency-replayed")),
        (true, None)
    );

    app.post(&format!("{}/adjust", at("B")), json!({"delta": 4}))
        .expect(200);
    app.post(&format!("{}/adjust", at("A")), json!({"delta": 100}))
        .expect(200);
    app.kill();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let second = keyed(&app, "k", &operations).expect(200);
    assert_eq!(statuses(&second), [201, 200, 200, 201, 400, 200]);
    for i in [0, 2, 3, 5] {
        assert_eq!(second["results"][i], first["results"][i]);
    }
    assert_eq!(second["results"][1]["level"]["quantity"], 2);
    assert_eq!(
        second.header("idempotency-replayed"),
        None,
        "one of them took effect now"
    );
    app.kill();
    let app = TestApp::start_in(folder.path(), 0, &[]);
    let third = keyed(&app, "k", &operations).expect(200);
    assert_eq!(third.text(), second.text());
    assert_eq!((app.state("A"), app.state("B")), ((107, 1, 5), (2, 0, 3)));

    let told = app.get(&operation("k")).expect(200);
    assert_eq!(
        (&told["status"], &told["answer"]["status"]),
        (&json!("completed"), &json!(200))
    );
    let done: Vec<_> = told["answer"]["body"]["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| &result["index"])
        .collect();
    assert_eq!(done, [0, 1, 2, 3, 5]);
}

#[test]
fn a_key_of_a_batch_stands_for_that_batch_only() {
    let app = TestApp::start();
    app.stock("A", 10);
    let operations = json!([adjust("A", 1)]);
    let first = keyed(&app, "batch", &operations).expect(200);
    let reused = |answer: Answer| drop(answer.refused(422, "idempotency_key_reused"));
    reused(keyed(&app, "batch", &json!([adjust("A", 2)])));
    reused(keyed(&app, "batch", &json!([adjust("A", 1), adjust("A", 1)])));
    reused(keyed(&app, "batch", &json!([])));
    let path = format!("{}/adjust", at("A"));
    reused(app.post_with(&path, &[("idempotency-key", "batch")], json!({"delta": 1})));
    reused(app.post_with(
        "/api/inventory/items",
        &[("idempotency-key", "batch")],
        json!({"sku": "N"}),
    ));
    app.post_with(&path, &[("idempotency-key", "single")], json!({"delta": 1}))
        .expect(200);
    reused(keyed(&app, "single", &operations));
    let again = keyed(&app, "batch", &operations).expect(200);
    assert_eq!(
        (again.text(), again.header("idempotency-replayed")),
        (first.text(), Some("true"))
    );
    let mut body = json!({"operations": operations});
    body["idempotencyKey"] = json!("in-body");
    let first = app.post(BATCH, body.clone()).expect(200);
    assert_eq!(app.post(BATCH, body).expect(200).text(), first.text());
    assert_eq!(app.state("A"), (13, 0, 4));
}

#[test]
fn a_batch_of_which_nothing_took_effect_has_not_used_its_key() {
    let app = TestApp::start();
    let refused = keyed(&app, "k", &json!([adjust("A", 1)])).expect(200);
    assert_eq!(statuses(&refused), [404]);
    app.get(&operation("k")).refused(404, "not_found");
    app.put_with(&at("A"), &[("idempotency-key", "k")], json!({"quantity": 5}))
        .expect(201);
}

#[test]
fn sixteen_batches_at_once_under_one_key_take_effect_once() {
    let app = TestApp::start();
    app.stock("A", 0);
    app.stock("B", 0);
    let port = app.port;
    for round in 1..=3 {
        let operations: Vec<Value> = (0..50).map(|i| adjust(["A", "B"][i % 2], 1)).collect();
        let operations = json!(operations);
        let send = |_| vec![keyed(&port, &format!("k{round}"), &operations)];
        let answers = crate::concurrency::all_at_once(16, send);
        let (done, waiting): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        for answer in waiting {
            assert!(answer.refused(409, "request_in_flight").header("retry-after").is_some());
        }
        assert!(done.iter().all(|answer| answer.body == done[0].body));
        let first = done
            .iter()
            .filter(|answer| answer.header("idempotency-replayed").is_none());
        assert_eq!(first.count(), 1);
        assert_eq!((app.state("A").0, app.state("B").0), (25 * round, 25 * round));
    }
}

#[test]
fn a_dry_run_sees_the_operations_before_it_and_changes_nothing() {
    let app = TestApp::start();
    app.stock("A", 3);
    let operations = json!([
        adjust("A", 4),
        adjust("A", -7),
        adjust("A", -1),
        set("NEW", 5),
        {"op": "reserve", "sku": "NEW", "storeId": "s1", "quantity": 5, "reservationId": "r"},
        {"op": "release", "sku": "NEW", "storeId": "s1", "reservationId": "r"},
        {"op": "transfer", "sku": "NEW", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 5},
        adjust("NEW", -1),
    ]);
    let dry = json!({"operations": operations, "dryRun": true});
    for _ in 0..2 {
        let answer = app
            .post_with(BATCH, &[("idempotency-key", "k")], dry.clone())
            .expect(200);
        assert_eq!(answer["dryRun"], true);
        assert_eq!(statuses(&answer), [200, 200, 409, 200, 200, 200, 200, 409]);
        let results = answer["results"].as_array().unwrap();
        assert!(results.iter().all(|result| result.get("seq").is_none()));
        assert_eq!(
            (&results[1]["level"]["quantity"], &results[1]["level"]["version"]),
            (&json!(0), &json!(3))
        );
        assert_eq!(results[6]["to"]["quantity"], 5);
    }
    assert_eq!((app.state("A"), events(app.folder()).len()), ((3, 0, 1), 1));
    app.get(&at("NEW")).refused(404, "not_found");
    app.get(&operation("k")).refused(404, "not_found");
    let real = keyed(&app, "k", &operations).expect(200);
    assert_eq!(statuses(&real), [200, 200, 409, 201, 201, 200, 200, 409]);
}

#[test]
fn a_client_that_wants_little_is_not_told_the_levels() {
    let app = TestApp::start();
    app.stock("B", 1);
    let operations =
        json!([set("A", 10), {"op": "reserve", "sku": "A", "storeId": "s1", "quantity": 1}, adjust("B", -2)]);
    let answer = app
        .post_with(
            BATCH,
            &[("prefer", "return=minimal")],
            json!({"operations": operations}),
        )
        .expect(200);
    assert_eq!(statuses(&answer), [201, 201, 409]);
    let results = answer["results"].as_array().unwrap();
    assert!(results.iter().all(|result| result.get("level").is_none()));
    assert!(results[1]["reservation"]["reservationId"].is_string() && results[0]["seq"].is_u64());
    assert_eq!(
        (&results[2]["error"], &results[2]["available"]),
        (&json!("insufficient_stock"), &json!(1))
    );
}

#[test]
fn what_a_batch_has_held_can_be_given_back() {
    let app = TestApp::start();
    app.stock("A", 10);
    let held = batch(
        &app,
        json!([{"op": "reserve", "sku": "A", "storeId": "s1", "quantity": 3},
        {"op": "reserve", "sku": "A", "storeId": "s1", "quantity": 2, "reservationId": "mine"}]),
    )
    .expect(200);
    let id = held["results"][0]["reservation"]["reservationId"].clone();
    app.post(&format!("{}/release", at("A")), json!({"reservationId": id}))
        .expect(200);
    app.post(&format!("{}/release", at("A")), json!({"reservationId": id}))
        .refused(409, "reservation_not_active");
    app.post(
        &format!("{}/reserve", at("A")),
        json!({"quantity": 1, "reservationId": "mine"}),
    )
    .refused(409, "already_exists");
    let released = batch(
        &app,
        json!([{"op": "release", "sku": "A", "storeId": "s1", "reservationId": "mine"}]),
    )
    .expect(200);
    assert_eq!(statuses(&released), [200]);
    assert_eq!(app.state("A"), (10, 0, 5));
}

#[test]
fn a_reservation_id_that_a_batch_gives_twice_is_taken_the_second_time() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.stock("B", 10);
    let reserve =
        |sku: &str| json!({"op": "reserve", "sku": sku, "storeId": "s1", "quantity": 1, "reservationId": "r"});
    let answer = batch(&app, json!([reserve("A"), reserve("A"), reserve("B")])).expect(200);
    assert_eq!(statuses(&answer), [201, 409, 409]);
    let errors: Vec<_> = [1, 2]
        .map(|i| answer["results"][i]["error"].as_str().unwrap_or_default())
        .to_vec();
    assert_eq!(errors, ["already_exists"; 2]);
    assert_eq!((app.state("A"), app.state("B")), ((10, 1, 2), (10, 0, 1)));
}

#[test]
fn a_set_of_a_batch_may_name_and_price_the_item() {
    let app = TestApp::start();
    let answer = batch(&app, json!([
        {"op": "set", "sku": "A", "storeId": "s1", "quantity": 5, "name": "Heart", "description": "red", "price": {"amount": 5, "currency": "EUR"}},
        {"op": "set", "sku": "A", "storeId": "s2", "quantity": 5, "name": "Big heart"},
        {"op": "set", "sku": "A", "storeId": "s2", "quantity": 5, "name": ""},
        {"op": "set", "sku": "A", "storeId": "s2", "quantity": 5, "price": {"amount": 5, "currency": "eur"}},
        {"op": "adjust", "sku": "A", "storeId": "s2", "delta": 5, "name": "x"},
    ]))
    .expect(200);
    assert_eq!(statuses(&answer), [201, 201, 400, 400, 400]);
    let read = app.get(&item("A")).expect(200);
    assert_eq!(
        (&read["name"], &read["description"], &read["price"]["amount"]),
        (&json!("Big heart"), &json!("red"), &json!(5))
    );
    assert_eq!(all_pages(&app, "/api/inventory/items?q=big", 10).len(), 1);
}

#[test]
fn a_batch_whose_client_goes_away_leaves_each_operation_wholly_there_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let mut operations: Vec<Value> = (0..20).map(|i| set(&format!("S{i}"), 1000)).collect();
    batch(&app, json!(operations)).expect(200);
    operations = (0..2000)
        .map(|i| json!({"op": "transfer", "sku": format!("S{}", i % 20), "fromStoreId": "s1", "toStoreId": "s2", "quantity": 1}))
        .collect();
    let body = json!({"operations": operations}).to_string();
    for round in 0..4_u64 {
        let head = format!(
            "POST {BATCH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: k{round}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut connection = app.connect();
        let sent = if round == 0 { body.len() / 2 } else { body.len() };
        connection
            .get_mut()
            .write_all(format!("{head}{}", &body[..sent]).as_bytes())
            .unwrap();
        std::thread::sleep(Duration::from_millis(10 * round));
        drop(connection);
    }
    let balanced = |app: &TestApp| {
        let whole = (0..20).map(|i| app.get(&item(&format!("S{i}"))).expect(200));
        whole
            .map(|item| (item["quantity"].as_u64().unwrap(), item["version"].as_u64().unwrap()))
            .collect::<Vec<_>>()
    };
    assert!(balanced(&app).iter().all(|(quantity, _)| *quantity == 1000));
    app.kill();
    let app = TestApp::start_in(folder.path(), 0, &[]);
    assert!(balanced(&app).iter().all(|(quantity, _)| *quantity == 1000));
    for round in 0..4 {
        let send = || {
            app.send(
                "POST",
                BATCH,
                &[JSON, ("idempotency-key", &format!("k{round}"))],
                Some(body.as_bytes()),
            )
        };
        assert!(comes_true(Duration::from_secs(5), || send().status == 200), "k{round}");
    }
    assert_eq!(balanced(&app), [(1000, 1 + 400); 20], "each batch took effect once");
}

#[test]
fn sixty_four_batches_at_once_oversell_nothing_and_the_books_agree() {
    let app = TestApp::start();
    let skus: Vec<String> = (0..8).map(|i| format!("S{i}")).collect();
    batch(&app, json!(skus.iter().map(|sku| set(sku, 100)).collect::<Vec<_>>())).expect(200);
    let port = app.port;
    let send = |thread: usize| {
        let run = |round: usize| {
            let operations: Vec<Value> = (0..24)
                .map(|i| {
                    let sku = &skus[(thread + i * 3 + round) % 8];
                    match (thread + i) % 4 {
                        0 => json!({"op": "reserve", "sku": sku, "storeId": "s1", "quantity": 2}),
                        1 => {
                            json!({"op": "transfer", "sku": sku, "fromStoreId": "s1", "toStoreId": "s2", "quantity": 1})
                        }
                        2 => adjust(sku, -3),
                        _ => adjust(sku, 1),
                    }
                })
                .collect();
            batch(&port, json!(operations))
        };
        (0..3).map(run).collect()
    };
    let answers = crate::concurrency::all_at_once(64, send);
    let mut done = 0;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
        for result in answer["results"].as_array().unwrap() {
            match result["status"].as_u64().unwrap() {
                200 | 201 => done += 1,
                status => assert_eq!((status, &result["error"]), (409, &json!("insufficient_stock"))),
            }
        }
    }
    let log = all_pages(&app, "/api/events", 1000);
    assert_eq!(log.len(), done + 8);
    let mut sums = std::collections::HashMap::<(String, String), i64>::new();
    for (event, seq) in log.iter().zip(1..) {
        assert_eq!(event["seq"], seq);
        for change in event["changes"].as_array().unwrap() {
            let place = (
                change["sku"].as_str().unwrap().to_owned(),
                change["storeId"].as_str().unwrap().to_owned(),
            );
            let sum = sums.entry(place).or_default();
            *sum += change["delta"].as_i64().unwrap();
            assert_eq!(change["quantity"], *sum, "{event}");
            assert!(change["reserved"].as_i64().unwrap() <= *sum, "{event}");
        }
    }
    for ((sku, store), sum) in sums {
        assert_eq!(app.get(&at_in(&store, &sku)).expect(200)["quantity"], sum);
    }
}

#[test]
fn a_batch_deeper_than_32_levels_is_refused_whole() {
    let app = TestApp::start();
    app.stock("A", 10);
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let body = format!("{{\"operations\":[{},{deep}]}}", adjust("A", 1));
    app.send("POST", BATCH, &[JSON], Some(body.as_bytes()))
        .refused(400, "invalid_request");
    assert_eq!(app.state("A"), (10, 0, 1));
}
