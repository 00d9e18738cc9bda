//! Transfers: stock goes from one store to another in one step.

use serde_json::{Value, json};

use crate::client::{Answer, Client, at_in, is_time, item};
use crate::support::TestApp;

fn transfer(app: &impl Client, body: Value) -> Answer {
    app.post("/api/transfers", body)
}

fn of(quantity: u64) -> Value {
    json!({"sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "quantity": quantity})
}

fn level(app: &impl Client, store: &str) -> (u64, u64, u64) {
    app.get(&at_in(store, "A")).expect(200).state()
}

#[test]
fn a_transfer_changes_both_levels_in_one_event_and_makes_the_one_that_receives() {
    let app = TestApp::start();
    app.stock("A", 10);
    let mut body = of(4);
    body["note"] = json!("for the window");
    let moved = transfer(&app, body).expect(200);
    let members: Vec<_> = moved.json.as_object().unwrap().keys().collect();
    assert_eq!(members, ["from", "seq", "to"]);
    assert_eq!(moved["seq"], 2);
    assert_eq!(moved["from"], app.get(&at_in("s1", "A")).expect(200).json);
    assert_eq!(moved["to"], app.get(&at_in("s2", "A")).expect(200).json);
    assert_eq!((level(&app, "s1"), level(&app, "s2")), ((6, 0, 2), (4, 0, 1)));

    let whole = app.get(&item("A")).expect(200);
    assert_eq!((&whole["quantity"], &whole["version"]), (&json!(10), &json!(2)));
    let page = app.get("/api/events?after=1").expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    let event = &page["items"][0];
    assert_eq!((&event["seq"], &event["note"]), (&json!(2), &json!("for the window")));
    assert!(is_time(&event["at"]));
    let change = |store: &str, movement: &str, delta: i64, quantity: u64, version: u64| {
        json!({"sku": "A", "storeId": store, "movement": movement, "delta": delta, "quantity": quantity, "reserved": 0,
            "version": version, "itemVersion": 2})
    };
    let both = json!([
        change("s1", "TRANSFER_OUT", -4, 6, 2),
        change("s2", "TRANSFER_IN", 4, 4, 1)
    ]);
    assert_eq!(event["changes"], both);
    let again = transfer(&app, of(6)).expect(200);
    assert_eq!(
        (
            &again["from"]["quantity"],
            &again["to"]["quantity"],
            &again["to"]["version"]
        ),
        (&json!(0), &json!(10), &json!(2))
    );
}

#[test]
fn only_what_is_available_is_moved() {
    let app = TestApp::start();
    app.stock("A", 10);
    let held = app
        .post(
            &format!("{}/reserve", at_in("s1", "A")),
            json!({"quantity": 7, "ttlSeconds": 600}),
        )
        .expect(201);
    let short = transfer(&app, of(4)).refused(409, "insufficient_stock");
    for (member, value) in [("requested", 4), ("available", 3), ("reserved", 7)] {
        assert_eq!(short[member], value);
    }
    assert_eq!(short["nextExpiry"], held["reservation"]["expiresAt"]);
    assert_eq!((&short["sku"], &short["storeId"]), (&json!("A"), &json!("s1")));
    app.get(&at_in("s2", "A")).refused(404, "not_found");
    transfer(&app, of(3)).expect(200);
    assert_eq!((level(&app, "s1"), level(&app, "s2")), ((7, 7, 3), (3, 0, 1)));
}

#[test]
fn what_is_not_there_is_not_moved() {
    let app = TestApp::start();
    transfer(&app, of(1)).refused(404, "not_found");
    app.put(&at_in("s2", "A"), json!({"quantity": 5})).expect(201);
    transfer(&app, of(1)).refused(404, "not_found");
    app.get(&at_in("s1", "A")).refused(404, "not_found");
    assert_eq!(level(&app, "s2"), (5, 0, 1));
}

#[test]
fn a_transfer_that_does_not_fit_is_refused_by_the_name_of_its_field() {
    let app = TestApp::start();
    app.stock("A", 10);
    for (member, value) in [
        ("toStoreId", json!("s1")),
        ("toStoreId", json!("")),
        ("toStoreId", json!(null)),
        ("fromStoreId", json!("..")),
        ("fromStoreId", json!(7)),
        ("sku", json!("")),
        ("quantity", json!(0)),
        ("quantity", json!(-1)),
        ("quantity", json!(1.5)),
        ("quantity", json!(null)),
        ("quantity", json!(9_007_199_254_740_992_u64)),
        ("note", json!(null)),
        ("note", json!("x".repeat(1001))),
        ("expectedVersion", json!(1)),
        ("storeId", json!("s1")),
        ("dryRun", json!("true")),
    ] {
        let mut body = of(1);
        body[member] = value.clone();
        let refused = transfer(&app, body).refused(400, "invalid_request");
        assert_eq!(refused.fields(), [member], "{value}");
    }
    for member in ["sku", "fromStoreId", "toStoreId", "quantity"] {
        let mut body = of(1);
        body.as_object_mut().unwrap().remove(member);
        assert!(
            transfer(&app, body).refused(400, "invalid_request")["detail"]
                .as_str()
                .unwrap()
                .contains(member)
        );
    }
    for header in ["if-match", "if-none-match"] {
        let refused = app
            .post_with("/api/transfers", &[(header, "\"1\"")], of(1))
            .refused(400, "invalid_request");
        assert!(refused.fields()[0].eq_ignore_ascii_case(header));
    }
    assert_eq!(level(&app, "s1"), (10, 0, 1));
}

#[test]
fn a_repeated_transfer_moves_once_also_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.stock("A", 10);
    let send = |app: &TestApp| app.post_with("/api/transfers", &[("idempotency-key", "k")], of(4));
    let first = send(&app).expect(200);
    transfer(&app, of(1)).expect(200);
    for _ in 0..2 {
        let again = send(&app).expect(200);
        assert_eq!(
            (again.text(), again.header("idempotency-replayed")),
            (first.text(), Some("true"))
        );
        app.kill();
        app = TestApp::start_in(folder.path(), 0, &[]);
    }
    let other = app.post_with("/api/transfers", &[("idempotency-key", "k")], of(5));
    other.refused(422, "idempotency_key_reused");
    assert_eq!((level(&app, "s1"), level(&app, "s2")), ((5, 0, 3), (5, 0, 2)));
}

#[test]
fn a_dry_run_of_a_transfer_tells_both_levels_and_moves_nothing() {
    let app = TestApp::start();
    app.stock("A", 10);
    let mut body = of(4);
    body["dryRun"] = json!(true);
    let dry = transfer(&app, body.clone()).expect(200);
    assert_eq!((&dry["dryRun"], dry.json.get("seq")), (&json!(true), None));
    assert_eq!(
        (&dry["from"]["quantity"], &dry["to"]["quantity"]),
        (&json!(6), &json!(4))
    );
    body["quantity"] = json!(11);
    transfer(&app, body).refused(409, "insufficient_stock");
    app.get(&at_in("s2", "A")).refused(404, "not_found");
    assert_eq!(level(&app, "s1"), (10, 0, 1));
}

#[test]
fn transfers_to_and_fro_at_once_keep_the_total() {
    let app = TestApp::start();
    let stores = ["s1", "s2", "s3"];
    for store in stores {
        app.put(&at_in(store, "A"), json!({"quantity": 20})).expect(201);
    }
    let port = app.port;
    let send = |i: usize| {
        let moves = (0..10).map(|k| {
            let (from, to) = (stores[(i + k) % 3], stores[(i + k + 1 + i % 2) % 3]);
            transfer(
                &port,
                json!({"sku": "A", "fromStoreId": from, "toStoreId": to, "quantity": 1 + (i * 7 + k) % 9}),
            )
        });
        moves.collect()
    };
    let answers = crate::concurrency::all_at_once(16, send);
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
    refused
        .into_iter()
        .for_each(|answer| drop(answer.refused(409, "insufficient_stock")));
    let whole = app.get(&item("A")).expect(200);
    assert_eq!(
        (&whole["quantity"], &whole["version"]),
        (&json!(60), &json!(3 + done.len()))
    );
}

#[test]
fn the_event_by_which_a_store_runs_low_says_so_also_when_it_is_a_transfer() {
    let app = TestApp::start();
    app.put(&at_in("s1", "A"), json!({"quantity": 10, "reorderPoint": 5}))
        .expect(201);
    transfer(&app, of(5)).expect(200);
    transfer(&app, of(1)).expect(200);
    let page = app.get("/api/events?after=1").expect(200);
    assert_eq!(page["items"][0]["changes"][0]["lowStock"], true);
    assert_eq!(page["items"][0]["changes"][1].get("lowStock"), None);
    assert_eq!(
        page["items"][1]["changes"][0].get("lowStock"),
        None,
        "it was low before"
    );
}
