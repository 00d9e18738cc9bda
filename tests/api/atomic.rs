//! Atomic batches: all of it or nothing, in one step and one event.

use std::time::Duration;

use serde_json::{Value, json};

use crate::carts::{events_after, line, path, reserve, shown, state_in};
use crate::client::{Answer, Client, all_pages, at, at_in, column, from_now, item, operation};
use crate::support::TestApp;

const BATCH: &str = "/api/inventory/batch";

fn atomic(app: &impl Client, operations: Value) -> Answer {
    app.post(BATCH, json!({"operations": operations, "atomic": true}))
}

fn keyed(app: &impl Client, key: &str, operations: &Value) -> Answer {
    let body = json!({"operations": operations, "atomic": true});
    app.post_with(BATCH, &[("idempotency-key", key)], body)
}

fn set(sku: &str, quantity: u64) -> Value {
    json!({"op": "set", "sku": sku, "storeId": "s1", "quantity": quantity})
}

fn adjust(sku: &str, delta: i64) -> Value {
    json!({"op": "adjust", "sku": sku, "storeId": "s1", "delta": delta})
}

fn transfer(sku: &str, from: &str, to: &str, quantity: u64) -> Value {
    json!({"op": "transfer", "sku": sku, "fromStoreId": from, "toStoreId": to, "quantity": quantity})
}

fn hold(sku: &str, quantity: u64, id: &str) -> Value {
    json!({"op": "reserve", "sku": sku, "storeId": "s1", "quantity": quantity, "reservationId": id})
}

fn give_back(sku: &str, id: &str) -> Value {
    json!({"op": "release", "sku": sku, "storeId": "s1", "reservationId": id})
}

fn with(mut operation: Value, members: Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        operation[name] = value.clone();
    }
    operation
}

fn column_of_results(answer: &Answer, member: &str) -> Vec<Value> {
    let results = answer["results"]
        .as_array()
        .unwrap_or_else(|| panic!("{}", answer.text()));
    results.iter().map(|result| result[member].clone()).collect()
}

/// Index, status and code of each operation that a refusal names.
fn refusals(answer: &Answer) -> Vec<(u64, u64, &str)> {
    let rows = answer["operations"]
        .as_array()
        .unwrap_or_else(|| panic!("{}", answer.text()));
    let rows = rows.iter().map(|row| {
        assert!(row["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{row}");
        (
            row["index"].as_u64().unwrap(),
            row["status"].as_u64().unwrap(),
            row["error"].as_str().unwrap(),
        )
    });
    rows.collect()
}

#[test]
fn an_atomic_batch_is_one_event_and_one_version_of_each_level_however_often_it_touches_it() {
    let app = TestApp::start();
    app.stock("B", 10);
    app.put(&at_in("s9", "B"), json!({"quantity": 7})).expect(201);
    let operations = json!([
        with(
            set("A", 10),
            json!({"note": "opening", "name": "Heart", "reorderPoint": 3})
        ),
        adjust("A", 5),
        with(adjust("A", -3), json!({"type": "SALE", "note": "till 7"})),
        with(hold("A", 2, "kept"), json!({"reference": "order 7", "ttlSeconds": 600})),
        hold("A", 1, "back"),
        with(transfer("A", "s1", "s0", 4), json!({"note": "to the window"})),
        give_back("A", "back"),
        transfer("B", "s9", "s1", 7),
        adjust("B", -1),
        adjust("B", -2),
    ]);
    let done = atomic(&app, operations).expect(200);
    let members: Vec<_> = done.json.as_object().unwrap().keys().collect();
    assert_eq!(members, ["results", "seq"]);
    assert_eq!(done["seq"], 3);
    assert_eq!(
        column_of_results(&done, "index"),
        (0..10).map(Value::from).collect::<Vec<_>>()
    );
    assert_eq!(
        column_of_results(&done, "status"),
        [201, 200, 200, 201, 201, 200, 200, 200, 200, 200]
    );
    assert_eq!(column_of_results(&done, "seq"), vec![json!(3); 10]);

    // One step: every operation is answered with the level as the whole of it has left it.
    let (a, b) = (app.get(&at("A")).expect(200), app.get(&at("B")).expect(200));
    assert_eq!((a.state(), b.state()), ((8, 2, 1), (14, 0, 2)));
    assert_eq!(
        (state_in(&app, "s0", "A"), state_in(&app, "s9", "B")),
        ((4, 0, 1), (0, 0, 2))
    );
    for (i, level) in [(0, &a), (1, &a), (2, &a), (3, &a), (4, &a), (6, &a), (8, &b), (9, &b)] {
        assert_eq!(done["results"][i]["level"], level.json, "operation {i}");
    }
    for (i, from, to) in [
        (5, &a, &app.get(&at_in("s0", "A"))),
        (7, &app.get(&at_in("s9", "B")), &b),
    ] {
        let result = &done["results"][i];
        assert_eq!(
            (&result["from"], &result["to"], result.get("level")),
            (&from.json, &to.json, None),
            "{i}"
        );
    }
    let whole = app.get(&item("A")).expect(200);
    assert_eq!(
        (&whole["version"], &whole["name"], &whole["quantity"]),
        (&json!(1), &json!("Heart"), &json!(12))
    );
    assert_eq!(app.get(&item("B")).expect(200)["version"], 3);
    let history = format!("{}/history?at={}", item("A"), a["updatedAt"].as_str().unwrap());
    assert_eq!(app.get(&history).expect(200)["levels"], whole["levels"]);
    let of_b = app.get("/api/events?after=2&sku=B&storeId=s9").expect(200);
    assert_eq!(of_b["items"].as_array().unwrap().len(), 1);

    let log = events_after(&app, 2);
    assert_eq!(
        (log.len(), &log[0]["type"], &log[0]["at"]),
        (1, &json!("batch.applied"), &a["updatedAt"])
    );
    let change = |sku: &str, store: &str, quantity: u64, version: u64, moves: &[(&str, i64, u64, Option<&str>)]| {
        let told = moves.iter().map(|(kind, delta, after, note)| {
            let mut told = json!({"type": kind, "delta": delta, "quantityAfter": after});
            if let Some(note) = note {
                told["note"] = json!(note);
            }
            told
        });
        let told: Vec<Value> = told.collect();
        let delta: i64 = moves.iter().map(|(_, delta, ..)| delta).sum();
        (sku.to_owned(), store.to_owned(), delta, quantity, version, told)
    };
    let expected = [
        change("A", "s0", 4, 1, &[("TRANSFER_IN", 4, 4, Some("to the window"))]),
        change(
            "A",
            "s1",
            8,
            1,
            &[
                ("COUNT", 10, 10, Some("opening")),
                ("STOCK_IN", 5, 15, None),
                ("SALE", -3, 12, Some("till 7")),
                ("TRANSFER_OUT", -4, 8, Some("to the window")),
            ],
        ),
        change(
            "B",
            "s1",
            14,
            2,
            &[
                ("TRANSFER_IN", 7, 17, None),
                ("MANUAL_REMOVE", -1, 16, None),
                ("MANUAL_REMOVE", -2, 14, None),
            ],
        ),
        change("B", "s9", 0, 2, &[("TRANSFER_OUT", -7, 0, None)]),
    ];
    let changes = log[0]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), expected.len());
    for (change, (sku, store, delta, quantity, version, moves)) in changes.iter().zip(&expected) {
        assert_eq!(
            (
                &change["sku"],
                &change["storeId"],
                &change["delta"],
                &change["quantity"],
                &change["version"]
            ),
            (
                &json!(sku),
                &json!(store),
                &json!(delta),
                &json!(quantity),
                &json!(version)
            ),
        );
        // A change that came by one movement without a word of its own tells it by itself.
        match change.get("moves") {
            Some(told) => assert_eq!(told, &json!(moves)),
            None => assert!(moves.len() == 1 && change["movement"] == moves[0]["type"], "{change}"),
        }
    }
    let listed = all_pages(&app, "/api/movements", 3);
    let mut told: Vec<String> = listed[..9]
        .iter()
        .map(|row| {
            assert_eq!((&row["seq"], &row["at"]), (&json!(3), &log[0]["at"]));
            let text = |member: &str| row[member].as_str().unwrap_or_default();
            let place = format!("{} {} {}", text("sku"), text("storeId"), text("type"));
            format!("{place} {} {} {}", row["delta"], row["quantityAfter"], text("note"))
        })
        .collect();
    assert_eq!(listed.len(), 11, "each of them one by one, and two from before");
    let of_a = all_pages(&app, "/api/movements?sku=A&storeId=s1", 2);
    assert_eq!(
        column(&of_a, "type"),
        ["TRANSFER_OUT", "SALE", "STOCK_IN", "COUNT"],
        "newest first"
    );
    told.sort();
    let mut expected: Vec<String> = expected
        .iter()
        .flat_map(|(sku, store, .., moves)| {
            moves.iter().map(move |one| {
                let text = |member: &str| one[member].as_str().unwrap_or_default().to_owned();
                let numbers = format!("{} {}", one["delta"], one["quantityAfter"]);
                format!("{sku} {store} {} {numbers} {}", text("type"), text("note"))
            })
        })
        .collect();
    expected.sort();
    assert_eq!(told, expected);

    let kept = app.get(&path("kept")).expect(200);
    assert_eq!(done["results"][3]["reservation"], kept.json);
    assert_eq!(
        (&kept["reference"], &kept["lines"]),
        (&json!("order 7"), &json!([shown("A", "s1", [2, 0, 0, 0])]))
    );
    let back = app.get(&path("back")).expect(200);
    assert_eq!(
        (&back["status"], back.json.get("reference")),
        (&json!("released"), None)
    );
    assert_eq!(back["lines"], json!([shown("A", "s1", [0, 0, 1, 0])]));
    let active = all_pages(&app, "/api/reservations?status=active&reference=order%207", 5);
    assert_eq!(active, [kept.json]);
    app.post(&format!("{}/commit", path("kept")), json!({})).expect(200);
    assert_eq!(app.state("A"), (6, 0, 2));
}

#[test]
fn an_atomic_batch_of_which_one_operation_is_refused_changes_nothing_and_names_all_of_them() {
    let app = TestApp::start();
    app.stock("A", 10);
    let held = app
        .post(
            &format!("{}/reserve", at("A")),
            json!({"quantity": 4, "ttlSeconds": 600}),
        )
        .expect(201);
    app.stock("B", 10);
    let refused = atomic(
        &app,
        json!([
            set("NEW", 5),
            adjust("A", -7),
            adjust("B", -4),
            adjust("B", -7),
            adjust("NONE", 1),
            with(adjust("A", 1), json!({"expectedVersion": 1})),
            set("A", 3),
            give_back("A", "nobody's"),
            transfer("B", "s1", "s2", 7),
            adjust("B", -6),
            transfer("B", "s1", "s2", 1),
            hold("NEW", 5, "r"),
        ]),
    )
    .refused(409, "insufficient_stock");
    assert_eq!(
        refusals(&refused),
        [
            (1, 409, "insufficient_stock"),
            (3, 409, "insufficient_stock"),
            (4, 404, "not_found"),
            (5, 409, "version_mismatch"),
            (6, 409, "below_reserved"),
            (7, 404, "not_found"),
            (8, 409, "insufficient_stock"),
            (10, 409, "insufficient_stock"),
        ]
    );
    let rows = refused["operations"].as_array().unwrap();
    for (member, value) in [
        ("requested", json!(7)),
        ("available", json!(6)),
        ("reserved", json!(4)),
        ("nextExpiry", held["reservation"]["expiresAt"].clone()),
        ("sku", json!("A")),
        ("storeId", json!("s1")),
    ] {
        assert_eq!((&rows[0][member], &refused[member]), (&value, &value), "{member}");
    }
    assert_eq!(rows[1]["available"], 6, "on what the operation before it has made");
    assert_eq!(
        (&rows[3]["currentVersion"], &rows[7]["available"]),
        (&json!(2), &json!(0))
    );
    assert_eq!((app.state("A"), app.state("B")), ((10, 4, 2), (10, 0, 1)));
    for sku in ["NEW", "NONE"] {
        app.get(&at(sku)).refused(404, "not_found");
    }
    app.get(&path("r")).refused(404, "not_found");
    app.get(&at_in("s2", "B")).refused(404, "not_found");
    assert_eq!(events_after(&app, 3), [Value::Null; 0]);
    let one = keyed(&app, "k", &json!([set("B", 1), adjust("NONE", 1)])).refused(404, "not_found");
    assert_eq!(
        (refusals(&one), &one["sku"]),
        (vec![(1, 404, "not_found")], &json!("NONE"))
    );
    app.get(&operation("k")).refused(404, "not_found");
    keyed(&app, "k", &json!([set("B", 1)])).expect(200);
}

#[test]
fn an_atomic_batch_with_an_operation_that_does_not_fit_is_refused_whole_by_its_place_and_field() {
    let app = TestApp::start();
    app.stock("A", 10);
    let refused = atomic(
        &app,
        json!([
            adjust("A", 1),
            adjust("A", 0),
            {"op": "sell", "sku": "A", "storeId": "s1", "quantity": 1},
            adjust("A", -99),
            {"op": "set", "sku": "A", "storeId": "s1"},
            ["set", "A", "s1", 1],
            null,
            with(set("A", 1), json!({"delta": 1})),
            with(set("A", 1), json!({"countedAt": "yesterday"})),
            transfer("A", "s1", "s1", 1),
            hold("A", 0, "r"),
            with(adjust("A", 1), json!({"Note": "x"})),
        ]),
    )
    .refused(400, "invalid_request");
    let rows = refusals(&refused);
    let indices: Vec<u64> = rows.iter().map(|(index, ..)| *index).collect();
    assert_eq!(
        indices,
        [1, 2, 4, 5, 6, 7, 8, 9, 10, 11],
        "what is only short is not looked at yet"
    );
    assert!(
        rows.iter()
            .all(|(_, status, error)| (*status, *error) == (400, "invalid_request"))
    );
    let fields: Vec<&str> = refused["operations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["fields"][0]["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        fields,
        [
            "delta",
            "op",
            "quantity",
            "body",
            "body",
            "delta",
            "countedAt",
            "toStoreId",
            "quantity",
            "Note"
        ]
    );
    let one = json!([adjust("A", 1)]);
    for header in ["if-match", "if-none-match"] {
        let body = json!({"operations": one, "atomic": true});
        let refused = app
            .post_with(BATCH, &[(header, "\"1\"")], body)
            .refused(400, "invalid_request");
        assert_eq!(refused.fields(), [header]);
    }
    atomic(&app, json!(vec![adjust("A", 1); 10_001])).refused(413, "payload_too_large");
    assert_eq!(app.state("A"), (10, 0, 1));
    assert_eq!(atomic(&app, json!([])).expect(200).json, json!({"results": []}));
    let empty = keyed(&app, "k", &json!([])).expect(200);
    assert_eq!(
        (empty.json.clone(), empty.header("idempotency-replayed")),
        (json!({"results": []}), None)
    );
    let most = atomic(&app, json!(vec![adjust("A", 1); 10_000])).expect(200);
    assert_eq!(column_of_results(&most, "status"), vec![json!(200); 10_000]);
    assert_eq!((app.state("A"), &most["seq"]), ((10_010, 0, 2), &json!(2)));
}

#[test]
fn a_count_that_is_too_old_for_an_atomic_batch_is_named_by_its_place() {
    let app = TestApp::start();
    app.stock("A", 10);
    let old = with(set("A", 1), json!({"countedAt": from_now(-25 * 3_600_000)}));
    let refused = atomic(&app, json!([adjust("A", 1), old])).refused(400, "invalid_request");
    assert_eq!(refused.fields(), ["countedAt"]);
    assert_eq!(app.state("A"), (10, 0, 1));
    assert_eq!(refusals(&refused), [(1, 400, "invalid_request")]);
}

#[test]
fn versions_that_are_expected_are_those_before_the_step() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.put(&at_in("s2", "A"), json!({"quantity": 10})).expect(201);
    let expecting = |operation: Value, version: u64| with(operation, json!({"expectedVersion": version}));
    let twice = json!([
        expecting(adjust("A", 1), 1),
        adjust("A", 1),
        expecting(set("A", 20), 1),
        expecting(hold("A", 1, "r"), 1),
        expecting(set("NEW", 1), 0),
        expecting(set("NEW", 2), 0),
    ]);
    atomic(&app, twice).expect(200);
    assert_eq!((app.state("A"), app.state("NEW")), ((20, 1, 2), (2, 0, 1)));
    for wrong in [1, 3, 0] {
        let refused = atomic(&app, json!([adjust("A", 1), expecting(adjust("A", 1), wrong)]));
        let refused = refused.refused(409, "version_mismatch");
        assert_eq!(refusals(&refused), [(1, 409, "version_mismatch")]);
        assert_eq!(refused["operations"][0]["currentVersion"], 2, "{wrong}");
    }
    let refused =
        atomic(&app, json!([set("NEWER", 1), expecting(set("NEWER", 2), 1)])).refused(409, "version_mismatch");
    assert_eq!(refused["operations"][0]["currentVersion"], 0);
    assert_eq!(app.state("A"), (20, 1, 2));
}

#[test]
fn a_count_of_the_past_keeps_what_moved_since_also_in_the_same_atomic_batch() {
    let app = TestApp::start();
    app.stock("A", 10);
    std::thread::sleep(Duration::from_millis(5));
    let counted_at = from_now(0);
    std::thread::sleep(Duration::from_millis(5));
    app.post(&format!("{}/adjust", at("A")), json!({"delta": -1}))
        .expect(200);
    let counted = with(set("A", 50), json!({"countedAt": counted_at}));
    for (operations, quantity) in [
        (json!([counted]), 49),
        (json!([counted, adjust("A", 5)]), 54),
        (json!([adjust("A", 5), counted]), 54),
        (
            json!([adjust("A", 5), adjust("A", -2), transfer("A", "s1", "s2", 3), counted]),
            49,
        ),
        (
            json!([
                adjust("A", 5),
                counted,
                adjust("A", -2),
                set("A", 7),
                transfer("A", "s1", "s2", 3),
                counted
            ]),
            49,
        ),
    ] {
        let body = json!({"operations": operations, "atomic": true, "dryRun": true});
        let dry = app.post(BATCH, body).expect(200);
        let level = dry["results"]
            .as_array()
            .unwrap()
            .iter()
            .find_map(|result| result.get("level"));
        assert_eq!(level.unwrap()["quantity"], quantity, "{operations}");
    }
    atomic(&app, json!([adjust("A", 5), counted])).expect(200);
    assert_eq!(app.state("A"), (54, 0, 3));
    atomic(&app, json!([counted])).expect(200);
    assert_eq!(
        app.state("A"),
        (54, 0, 4),
        "what moved within a batch counts later on as well"
    );
}

#[test]
fn an_id_that_is_chosen_twice_in_an_atomic_batch_or_was_before_is_refused() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.stock("B", 10);
    for operations in [
        json!([hold("A", 1, "r"), hold("A", 1, "r")]),
        json!([hold("A", 1, "r"), hold("B", 1, "r")]),
        json!([hold("A", 1, "r"), give_back("A", "r"), hold("A", 1, "r")]),
    ] {
        let refused = atomic(&app, operations.clone()).refused(409, "already_exists");
        let last = operations.as_array().unwrap().len() as u64 - 1;
        assert_eq!(refusals(&refused), [(last, 409, "already_exists")], "{operations}");
        assert_eq!(refused["operations"][0]["reservationId"], "r");
    }
    app.get(&path("r")).refused(404, "not_found");
    atomic(&app, json!([hold("A", 1, "r"), hold("B", 1, "R")])).expect(200);
    let refused = atomic(&app, json!([adjust("A", 1), hold("B", 1, "r")])).refused(409, "already_exists");
    assert_eq!(refusals(&refused), [(1, 409, "already_exists")]);
    reserve(&app, json!({"lines": [line("A", "s1", 1)], "reservationId": "R"})).refused(409, "already_exists");
    assert_eq!((app.state("A"), app.state("B")), ((10, 1, 2), (10, 1, 2)));
    // What a batch holds under no id of the caller's are reservations of their own.
    let anonymous = json!({"op": "reserve", "sku": "A", "storeId": "s1", "qty": 1});
    let held = atomic(&app, json!([anonymous, anonymous])).expect(200);
    let ids: Vec<Value> = column_of_results(&held, "reservation")
        .iter()
        .map(|reservation| reservation["reservationId"].clone())
        .collect();
    assert_ne!(ids[0], ids[1]);
    for id in ids {
        assert_eq!(app.get(&path(id.as_str().unwrap())).expect(200)["lines"][0]["held"], 1);
    }
}

#[test]
fn an_atomic_batch_gives_back_by_quantity_what_was_held_before_and_in_it() {
    let app = TestApp::start();
    app.stock("A", 10);
    reserve(&app, json!({"lines": [line("A", "s1", 3)], "reservationId": "old"})).expect(201);
    let release = |quantity: u64| json!({"op": "release", "sku": "A", "storeId": "s1", "quantity": quantity});
    let refused = atomic(&app, json!([hold("A", 2, "new"), release(6)])).refused(409, "not_reserved");
    assert_eq!(refusals(&refused), [(1, 409, "not_reserved")]);
    atomic(&app, json!([hold("A", 2, "new"), release(4), adjust("A", -9)])).expect(200);
    assert_eq!(app.state("A"), (1, 1, 3));
    assert_eq!(
        app.get(&path("old")).expect(200)["lines"][0],
        shown("A", "s1", [0, 0, 3, 0])
    );
    assert_eq!(
        app.get(&path("new")).expect(200)["lines"][0],
        shown("A", "s1", [1, 0, 1, 0])
    );
}

#[test]
fn a_dry_run_of_an_atomic_batch_tells_what_would_be_and_changes_nothing() {
    let app = TestApp::start();
    app.stock("A", 3);
    let body = |more: Value| {
        let mut operations = vec![
            set("NEW", 5),
            hold("NEW", 2, "r"),
            adjust("A", 4),
            transfer("NEW", "s1", "s2", 3),
        ];
        operations.extend(more.as_array().unwrap().iter().cloned());
        json!({"operations": operations, "atomic": true, "dryRun": true})
    };
    for _ in 0..2 {
        let dry = app
            .post_with(
                BATCH,
                &[("idempotency-key", "k"), ("prefer", "return=minimal")],
                body(json!([])),
            )
            .expect(200);
        assert_eq!((&dry["dryRun"], dry.json.get("seq")), (&json!(true), None));
        assert_eq!(column_of_results(&dry, "status"), vec![json!(200); 4]);
        assert_eq!(column_of_results(&dry, "seq"), vec![Value::Null; 4]);
        assert_eq!(
            (
                &dry["results"][2]["level"]["quantity"],
                &dry["results"][3]["to"]["quantity"]
            ),
            (&json!(7), &json!(3))
        );
        assert_eq!(dry["results"][1]["reservation"]["lines"][0]["held"], 2);
    }
    let refused = app
        .post(BATCH, body(json!([adjust("A", -8)])))
        .refused(409, "insufficient_stock");
    assert_eq!(refusals(&refused), [(4, 409, "insufficient_stock")]);
    assert_eq!((app.state("A"), events_after(&app, 1)), ((3, 0, 1), Vec::new()));
    app.get(&at("NEW")).refused(404, "not_found");
    app.get(&path("r")).refused(404, "not_found");
    app.get(&operation("k")).refused(404, "not_found");
}

#[test]
fn a_repeated_atomic_batch_gets_the_first_answer_also_after_changes_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.stock("A", 10);
    let operations = json!([
        set("NEW", 5),
        hold("NEW", 2, "r"),
        adjust("A", 4),
        with(adjust("A", -1), json!({"type": "SALE"})),
        transfer("A", "s1", "s2", 3),
        give_back("NEW", "r"),
        {"op": "reserve", "sku": "A", "storeId": "s1", "quantity": 1},
    ]);
    let first = keyed(&app, "k", &operations).expect(200);
    assert_eq!(column_of_results(&first, "status"), [201, 201, 200, 200, 200, 200, 201]);
    assert_eq!(first.header("idempotency-replayed"), None);
    let minimal = [("prefer", "return=minimal"), ("idempotency-key", "m")];
    let little = app
        .post_with(
            BATCH,
            &minimal,
            json!({"operations": [adjust("A", 1), hold("A", 1, "q")], "atomic": true}),
        )
        .expect(200);
    assert_eq!(little.header("preference-applied"), Some("return=minimal"));
    assert_eq!(column_of_results(&little, "level"), [Value::Null, Value::Null]);
    assert_eq!(
        (&little["results"][1]["reservation"]["reservationId"], &little["seq"]),
        (&json!("q"), &json!(3))
    );
    let id = first["results"][6]["reservation"]["reservationId"]
        .as_str()
        .unwrap()
        .to_owned();
    app.post(&format!("{}/commit", path(&id)), json!({})).expect(200);
    app.put(&at("NEW"), json!({"quantity": 99})).expect(200);
    let reads = |app: &TestApp| {
        let items = ["A", "NEW"].map(|sku| app.get(&item(sku)).expect(200).json);
        (
            items,
            all_pages(app, "/api/movements", 100),
            all_pages(app, "/api/reservations", 2),
            events_after(app, 0),
        )
    };
    let before = reads(&app);
    for round in 0..3 {
        let again = keyed(&app, "k", &operations).expect(200);
        assert_eq!(
            (again.text(), again.header("idempotency-replayed")),
            (first.text(), Some("true")),
            "round {round}"
        );
        let told = app.get(&operation("k")).expect(200);
        assert_eq!(told["answer"], json!({"status": 200, "body": first.json}));
        assert_eq!((&told["status"], &told["seq"]), (&json!("completed"), &first["seq"]));
        let body = json!({"operations": operations});
        app.post_with(BATCH, &[("idempotency-key", "k")], body)
            .refused(422, "idempotency_key_reused");
        keyed(&app, "k", &json!([adjust("A", 1)])).refused(422, "idempotency_key_reused");
        keyed(&app, "k", &json!([])).refused(422, "idempotency_key_reused");
        assert_eq!(reads(&app), before, "round {round}");
        match round {
            0 => app.kill(),
            _ => assert!(app.terminate().success()),
        }
        app = TestApp::start_in(folder.path(), 0, &[]);
    }
}

#[test]
fn a_level_runs_low_by_what_the_whole_of_an_atomic_batch_makes_of_it() {
    let app = TestApp::start();
    app.put(&at("A"), json!({"quantity": 10, "reorderPoint": 5}))
        .expect(201);
    let low = |operations: Value| {
        let seq = atomic(&app, operations).expect(200)["seq"].as_u64().unwrap();
        let event = events_after(&app, seq - 1).remove(0);
        let marks = event["changes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|change| change["lowStock"] == true);
        marks.collect::<Vec<_>>()
    };
    assert_eq!(
        low(json!([adjust("A", -6), adjust("A", 3)])),
        [false],
        "it was low only in passing"
    );
    assert_eq!(
        low(json!([adjust("A", -3), adjust("A", 1), set("B", 1)])),
        [true, false]
    );
    assert_eq!(
        low(json!([adjust("A", 2), adjust("A", -3)])),
        [false],
        "it was low before"
    );
    assert_eq!(low(json!([adjust("A", 6), hold("A", 4, "r"), adjust("A", 1)])), [false]);
    assert_eq!(
        low(json!([hold("A", 1, "q"), hold("A", 1, "p")])),
        [true],
        "what is held is not available"
    );
    let raise = with(set("B", 1), json!({"reorderPoint": 1}));
    low(json!([raise]));
    let items = all_pages(&app, "/api/inventory/items?lowStock=true", 10);
    assert_eq!(column(&items, "sku"), ["A", "B"]);
}

#[test]
fn nobody_sees_a_part_of_an_atomic_batch_and_many_at_once_lose_nothing() {
    let app = TestApp::start();
    let skus = ["A", "B", "C"];
    skus.iter().for_each(|sku| app.stock(sku, 100));
    let port = app.port;
    let send = |thread: usize| {
        let one = |round: usize| {
            let (from, to) = (skus[(thread + round) % 3], skus[(thread + round + 1) % 3]);
            match thread {
                0..8 => atomic(
                    &port,
                    json!([adjust(from, -3), adjust(to, 3), adjust(from, -1), adjust(to, 1)]),
                ),
                _ => reserve(
                    &port,
                    json!({"lines": [line(from, "s1", 1), line(to, "s1", 1)], "ttlSeconds": 600}),
                ),
            }
        };
        (0..10).map(one).collect()
    };
    let answers = crate::concurrency::all_at_once(12, send);
    let done = answers.iter().filter(|answer| answer.status < 300).count();
    assert!(
        answers
            .iter()
            .all(|answer| answer.status < 300 || answer["error"] == "insufficient_stock")
    );
    let log = events_after(&app, 3);
    assert_eq!(log.len(), done);
    let mut versions = [("A", 1), ("B", 1), ("C", 1)].map(|(sku, version)| (sku.to_owned(), version));
    for event in &log {
        let changes = event["changes"].as_array().unwrap();
        assert_eq!(changes.len(), 2, "{event}");
        assert_eq!(
            changes
                .iter()
                .map(|change| change["delta"].as_i64().unwrap())
                .sum::<i64>(),
            0
        );
        for change in changes {
            let (_, version) = versions.iter_mut().find(|(sku, _)| change["sku"] == *sku).unwrap();
            *version += 1;
            assert_eq!(change["version"], *version, "{event}");
            assert!(change["reserved"].as_u64() <= change["quantity"].as_u64(), "{event}");
        }
    }
    assert_eq!(skus.iter().map(|sku| app.state(sku).0).sum::<u64>(), 300);
}
