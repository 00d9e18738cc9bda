//! Counting, adjusting and reading a level.

use serde_json::{Value, json};

use crate::client::{Client, JSON, at, at_in, is_time};
use crate::log::events;
use crate::support::TestApp;

const MAX: u64 = 9_007_199_254_740_991;

fn adjust(sku: &str) -> String {
    format!("{}/adjust", at(sku))
}

#[test]
fn a_first_count_makes_the_level_and_the_next_one_sets_it() {
    let app = TestApp::start();

    let first = app.put(&at("A"), json!({"quantity": 5})).expect(201);
    assert_eq!(first.state(), (5, 0, 1));
    assert_eq!(first.header("location"), Some(&*at("A")));
    assert_eq!(first.header("etag"), Some("\"1\""));
    assert_eq!(first["seq"], 1);

    let second = app.put(&at("A"), json!({"quantity": 3})).expect(200);
    assert_eq!(second.state(), (3, 0, 2));
    assert_eq!(second.header("location"), None);
    assert_eq!(second.header("etag"), Some("\"2\""));
    assert_eq!(second["seq"], 2);
    assert_eq!(app.state("A"), (3, 0, 2));
}

#[test]
fn a_level_is_shown_in_its_whole_form_and_no_more() {
    let app = TestApp::start();
    app.put(&at("A"), json!({"quantity": 5})).expect(201);
    app.put(&at("B"), json!({"quantity": 5, "reorderPoint": 2})).expect(201);
    let members = |sku: &str| {
        let level = app.get(&at(sku)).expect(200);
        assert!(is_time(&level["updatedAt"]));
        assert_eq!((&level["sku"], &level["storeId"]), (&json!(sku), &json!("s1")));
        level.json.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(
        members("A"),
        [
            "available",
            "quantity",
            "reserved",
            "sku",
            "storeId",
            "updatedAt",
            "version"
        ]
    );
    assert!(members("B").contains(&"reorderPoint".to_owned()));
}

#[test]
fn a_level_that_is_not_there_is_not_found_by_any_but_a_count() {
    let app = TestApp::start();
    app.put(&at_in("s2", "A"), json!({"quantity": 5})).expect(201);
    for answer in [
        app.get(&at("A")),
        app.post(&adjust("A"), json!({"delta": 1})),
        app.post(&format!("{}/reserve", at("A")), json!({"quantity": 1})),
        app.post(&format!("{}/release", at("A")), json!({"quantity": 1})),
        app.post(&format!("{}/release", at("A")), json!({"reservationId": "r"})),
    ] {
        let problem = answer.refused(404, "not_found");
        assert!(problem["detail"].as_str().unwrap().contains('A'));
    }
    app.put(&at("A"), json!({"quantity": 0})).expect(201);
}

#[test]
fn a_count_that_finds_no_difference_is_an_event_and_a_version_all_the_same() {
    let app = TestApp::start();
    app.stock("A", 5);
    let again = app.put(&at("A"), json!({"quantity": 5})).expect(200);
    assert_eq!(again.state(), (5, 0, 2));
    let change = &events(app.folder())[1]["changes"][0];
    assert_eq!((&change["movement"], &change["delta"]), (&json!("COUNT"), &json!(0)));
}

#[test]
fn an_adjustment_adds_or_takes_and_is_recorded_as_the_movement_that_it_is() {
    let app = TestApp::start();
    app.stock("A", 10);
    let cases = [
        (json!({"delta": 5}), 15, "STOCK_IN"),
        (json!({"delta": -2}), 13, "MANUAL_REMOVE"),
        (json!({"delta": 1, "type": "STOCK_IN"}), 14, "STOCK_IN"),
        (json!({"delta": 1, "type": "RETURN"}), 15, "RETURN"),
        (json!({"delta": -3, "type": "SALE"}), 12, "SALE"),
        (json!({"delta": -12, "type": "MANUAL_REMOVE"}), 0, "MANUAL_REMOVE"),
    ];
    for (i, (body, quantity, movement)) in cases.into_iter().enumerate() {
        let version = i as u64 + 2;
        let answer = app.post(&adjust("A"), body.clone()).expect(200);
        assert_eq!(answer.state(), (quantity, 0, version), "{body}");
        assert_eq!(answer.header("etag"), Some(&*format!("\"{version}\"")));
        let recorded = events(app.folder()).pop().unwrap();
        let change = &recorded["changes"][0];
        assert_eq!(
            (&recorded["seq"], &change["movement"]),
            (&answer["seq"], &json!(movement)),
            "{body}"
        );
        assert_eq!(
            (&change["delta"], &change["quantity"]),
            (&body["delta"], &json!(quantity)),
            "{body}"
        );
    }
}

#[test]
fn an_adjustment_whose_type_does_not_fit_its_sign_is_refused() {
    let app = TestApp::start();
    app.stock("A", 10);
    for (delta, movement) in [(-1, "STOCK_IN"), (-1, "RETURN"), (1, "SALE"), (1, "MANUAL_REMOVE")] {
        let answer = app.post(&adjust("A"), json!({"delta": delta, "type": movement}));
        assert_eq!(answer.refused(400, "invalid_request").fields(), ["type"]);
    }
    for unknown in ["COUNT", "TRANSFER_IN", "TRANSFER_OUT", "sale", "", "OTHER"] {
        app.post(&adjust("A"), json!({"delta": 1, "type": unknown}))
            .refused(400, "invalid_request");
    }
    assert_eq!(app.state("A"), (10, 0, 1));
}

#[test]
fn an_adjustment_takes_only_what_is_available_and_says_what_stands_in_the_way() {
    let app = TestApp::start();
    app.stock("A", 10);
    let reserve = |body: Value| app.post(&format!("{}/reserve", at("A")), body).expect(201);
    reserve(json!({"quantity": 1, "ttlSeconds": 900}));
    let next = reserve(json!({"quantity": 2, "ttlSeconds": 300}))["reservation"]["expiresAt"].clone();
    reserve(json!({"quantity": 3}));

    for (path, body) in [
        (adjust("A"), json!({"delta": -5})),
        (format!("{}/reserve", at("A")), json!({"quantity": 5})),
    ] {
        let problem = app.post(&path, body).refused(409, "insufficient_stock");
        assert_eq!((&problem["requested"], &problem["available"]), (&json!(5), &json!(4)));
        assert_eq!((&problem["reserved"], &problem["nextExpiry"]), (&json!(6), &next));
    }
    assert_eq!(
        app.post(&adjust("A"), json!({"delta": -4})).expect(200).state(),
        (6, 6, 5)
    );
    app.post(&adjust("A"), json!({"delta": -1}))
        .refused(409, "insufficient_stock");
    assert_eq!(app.state("A"), (6, 6, 5));
}

#[test]
fn a_shortage_that_no_hold_will_end_names_no_next_expiry() {
    let app = TestApp::start();
    app.stock("A", 3);
    app.hold("A", 2);
    let problem = app
        .post(&adjust("A"), json!({"delta": -2}))
        .refused(409, "insufficient_stock");
    assert_eq!(
        (&problem["available"], &problem["nextExpiry"]),
        (&json!(1), &Value::Null)
    );
}

#[test]
fn a_count_does_not_go_below_what_is_reserved() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.hold("A", 4);
    let problem = app.put(&at("A"), json!({"quantity": 3})).refused(409, "below_reserved");
    assert_eq!((&problem["requested"], &problem["reserved"]), (&json!(3), &json!(4)));
    assert_eq!(app.state("A"), (10, 4, 2));
    assert_eq!(app.put(&at("A"), json!({"quantity": 4})).expect(200).state(), (4, 4, 3));
}

#[test]
fn no_level_passes_the_largest_quantity() {
    let app = TestApp::start();
    app.stock("A", MAX);
    app.post(&adjust("A"), json!({"delta": 1}))
        .refused(409, "quantity_limit");
    app.post(&adjust("A"), json!({"delta": MAX}))
        .refused(409, "quantity_limit");
    assert_eq!(app.state("A"), (MAX, 0, 1));
    assert_eq!(
        app.post(&adjust("A"), json!({"delta": -(MAX as i64)}))
            .expect(200)
            .state(),
        (0, 0, 2)
    );
}

#[test]
fn no_item_passes_the_largest_quantity_over_its_stores() {
    let app = TestApp::start();
    app.stock("A", MAX - 1);
    let other = at_in("s2", "A");
    app.put(&other, json!({"quantity": 2})).refused(409, "quantity_limit");
    app.get(&other).refused(404, "not_found");
    app.put(&other, json!({"quantity": 1})).expect(201);
    app.post(&format!("{other}/adjust"), json!({"delta": 1}))
        .refused(409, "quantity_limit");
    app.post(&adjust("A"), json!({"delta": 1}))
        .refused(409, "quantity_limit");
    app.put(&at("A"), json!({"quantity": MAX}))
        .refused(409, "quantity_limit");
    assert_eq!(app.state("A"), (MAX - 1, 0, 1));
    app.put(&at("A"), json!({"quantity": 0})).expect(200);
    assert_eq!(
        app.put(&other, json!({"quantity": MAX})).expect(200).state(),
        (MAX, 0, 2)
    );
}

#[test]
fn the_reorder_point_stays_until_a_count_changes_it() {
    let app = TestApp::start();
    app.put(&at("A"), json!({"quantity": 9, "reorderPoint": 4})).expect(201);
    app.post(&adjust("A"), json!({"delta": -1})).expect(200);
    assert_eq!(app.put(&at("A"), json!({"quantity": 7})).expect(200)["reorderPoint"], 4);
    assert_eq!(
        app.put(&at("A"), json!({"quantity": 7, "reorderPoint": 0})).expect(200)["reorderPoint"],
        0
    );
    assert_eq!(app.get(&at("A"))["reorderPoint"], 0);
}

#[test]
fn the_event_by_which_available_falls_to_the_reorder_point_says_so() {
    let app = TestApp::start();
    app.put(&at("A"), json!({"quantity": 9, "reorderPoint": 4})).expect(201);
    app.post(&adjust("A"), json!({"delta": -4})).expect(200);
    app.hold("A", 1);
    app.post(&adjust("A"), json!({"delta": -1})).expect(200);
    let low: Vec<bool> = events(app.folder())
        .iter()
        .map(|event| event["changes"][0]["lowStock"] == true)
        .collect();
    assert_eq!(low, [false, false, true, false]);
}

#[test]
fn an_event_says_who_when_and_why() {
    let app = TestApp::start();
    let body = json!({"quantity": 5, "note": "count of the week"});
    let answer = app
        .put_with(&at("A"), &[("x-request-id", "till-7/42")], body)
        .expect(201);
    let event = events(app.folder()).pop().unwrap();
    assert_eq!(
        (&event["requestId"], &event["note"]),
        (&json!("till-7/42"), &json!("count of the week"))
    );
    assert_eq!(event["at"], answer["updatedAt"]);
    assert!(event["by"].is_string());
}

#[test]
fn a_sku_in_two_stores_is_two_levels_with_versions_of_their_own() {
    let app = TestApp::start();
    app.stock("A", 5);
    app.stock("B", 1);
    app.put(&at_in("s2", "A"), json!({"quantity": 7})).expect(201);
    let second = app
        .post(&format!("{}/adjust", at_in("s2", "A")), json!({"delta": 1}))
        .expect(200);
    assert_eq!(second.state(), (8, 0, 2));
    assert_eq!(second["seq"], 4);
    assert_eq!(app.state("A"), (5, 0, 1));
}

#[test]
fn an_unchanged_level_is_not_sent_again() {
    let app = TestApp::start();
    app.stock("A", 5);
    app.put(&at("A"), json!({"quantity": 6})).expect(200);
    for tags in ["\"2\"", "W/\"2\"", "*", "\"1\", \"2\"", "\"x\",\"2\""] {
        let answer = app.get_with(&at("A"), &[("if-none-match", tags)]).expect(304);
        assert_eq!(answer.header("etag"), Some("\"2\""), "{tags}");
        assert!(answer.body.is_empty());
    }
    for tags in ["\"1\"", "\"3\"", "\"x\""] {
        assert_eq!(
            app.get_with(&at("A"), &[("if-none-match", tags)]).expect(200).state(),
            (6, 0, 2),
            "{tags}"
        );
    }
    app.get_with(&at("B"), &[("if-none-match", "*")])
        .refused(404, "not_found");
}

#[test]
fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let app = TestApp::start();
    app.stock("A", 10);
    let held = app.hold("A", 4);
    let cases = [
        ("PUT", at("A"), json!({"quantity": 7, "dryRun": true}), (7, 4)),
        ("PUT", at("NEW"), json!({"quantity": 7, "dryRun": true}), (7, 0)),
        ("POST", adjust("A"), json!({"delta": -6, "dryRun": true}), (4, 4)),
        (
            "POST",
            format!("{}/reserve", at("A")),
            json!({"quantity": 6, "dryRun": true}),
            (10, 10),
        ),
        (
            "POST",
            format!("{}/release", at("A")),
            json!({"quantity": 1, "dryRun": true}),
            (10, 3),
        ),
        (
            "POST",
            format!("{}/release", at("A")),
            json!({"reservationId": held, "dryRun": true}),
            (10, 0),
        ),
    ];
    for (method, path, body, (quantity, reserved)) in cases {
        let sent = body.to_string();
        let answer = app.send(method, &path, &[JSON], Some(sent.as_bytes())).expect(200);
        assert_eq!((answer.state().0, answer.state().1), (quantity, reserved), "{sent}");
        assert_eq!(
            (&answer["dryRun"], &answer["seq"]),
            (&json!(true), &Value::Null),
            "{sent}"
        );
    }
    app.post(&adjust("A"), json!({"delta": -7, "dryRun": true}))
        .refused(409, "insufficient_stock");
    app.put(&at("A"), json!({"quantity": 3, "dryRun": true}))
        .refused(409, "below_reserved");
    assert_eq!(app.state("A"), (10, 4, 2));
    app.get(&at("NEW")).refused(404, "not_found");
    assert_eq!(events(app.folder()).len(), 2);
    assert_eq!(
        app.post(&adjust("A"), json!({"delta": 1, "dryRun": false})).expect(200)["seq"],
        3
    );
}
