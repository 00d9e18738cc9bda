//! Holding stock, giving it back, and what happens when a hold is over.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Client, at, at_in, comes_true, is_time, millis, sleep_until};
use crate::log::{events, events_of};
use crate::support::TestApp;

fn reserve(app: &TestApp, sku: &str, body: Value) -> Answer {
    app.post(&format!("{}/reserve", at(sku)), body)
}

fn release(app: &TestApp, sku: &str, body: Value) -> Answer {
    app.post(&format!("{}/release", at(sku)), body)
}

#[test]
fn a_reserve_answers_with_the_level_and_the_whole_reservation() {
    let app = TestApp::start();
    app.stock("A", 10);
    let answer = reserve(
        &app,
        "A",
        json!({"quantity": 4, "ttlSeconds": 60, "reference": "order 7"}),
    )
    .expect(201);
    assert_eq!(answer.state(), (10, 4, 2));
    assert_eq!(answer.header("etag"), Some("\"2\""));

    let mut reservation = answer["reservation"].clone();
    let id = reservation["reservationId"].take();
    assert!(is_uuid_v7(id.as_str().unwrap()), "{id}");
    let times = ["createdAt", "updatedAt", "expiresAt"].map(|name| reservation[name].take());
    assert!(times.iter().all(is_time), "{times:?}");
    assert_eq!(times[0], times[1]);
    assert_eq!(millis(&times[2]).unwrap() - millis(&times[0]).unwrap(), 60_000);
    let line =
        json!({"sku": "A", "storeId": "s1", "quantity": 4, "held": 4, "committed": 0, "released": 0, "expired": 0});
    let rest = json!({"reservationId": null, "status": "active", "lines": [line], "reference": "order 7",
        "createdAt": null, "updatedAt": null, "expiresAt": null});
    assert_eq!(reservation, rest);

    let event = events_of(app.folder(), "reservation.created").remove(0);
    assert_eq!((&event["reservationId"], &event["reference"]), (&id, &json!("order 7")));
}

fn is_uuid_v7(text: &str) -> bool {
    uuid::Uuid::parse_str(text).is_ok_and(|id| id.get_version_num() == 7) && text.to_lowercase() == text
}

#[test]
fn a_reserve_without_a_time_to_live_names_no_end_and_none_without_a_reference() {
    let app = TestApp::start();
    app.stock("A", 10);
    let answer = reserve(&app, "A", json!({"quantity": 1})).expect(201);
    let members: Vec<_> = answer["reservation"].as_object().unwrap().keys().collect();
    assert_eq!(members, ["createdAt", "lines", "reservationId", "status", "updatedAt"]);
}

#[test]
fn a_reservation_takes_the_id_that_the_client_chose() {
    let app = TestApp::start();
    app.stock("A", 10);
    let answer = reserve(&app, "A", json!({"quantity": 1, "reservationId": "cart 7/Größe"})).expect(201);
    assert_eq!(answer["reservation"]["reservationId"], "cart 7/Größe");
    release(&app, "A", json!({"reservationId": "cart 7/Größe"})).expect(200);
}

#[test]
fn qty_stands_for_quantity_on_reserve_but_not_beside_it() {
    let app = TestApp::start();
    app.stock("A", 10);
    assert_eq!(reserve(&app, "A", json!({"qty": 3})).expect(201).state(), (10, 3, 2));
    reserve(&app, "A", json!({"qty": 3, "quantity": 3})).refused(400, "invalid_request");
    app.put(&at("A"), json!({"qty": 3})).refused(400, "invalid_request");
    assert_eq!(app.state("A"), (10, 3, 2));
}

#[test]
fn a_reserve_that_is_out_of_range_is_refused_by_the_name_of_its_field() {
    let app = TestApp::start();
    app.stock("A", 10);
    for (body, field) in [
        (json!({"quantity": 0}), "quantity"),
        (json!({"quantity": 1, "ttlSeconds": 0}), "ttlSeconds"),
        (json!({"quantity": 1, "ttlSeconds": 2_592_001}), "ttlSeconds"),
        (json!({"quantity": 1, "ttlSeconds": -1}), "ttlSeconds"),
        (json!({"quantity": 1, "ttlSeconds": 1.5}), "ttlSeconds"),
        (json!({"quantity": 1, "reservationId": ""}), "reservationId"),
        (json!({"quantity": 1, "reservationId": "x".repeat(65)}), "reservationId"),
        (json!({"quantity": 1, "reservationId": " x"}), "reservationId"),
        (json!({"quantity": 1, "reservationId": "a\nb"}), "reservationId"),
        (json!({"quantity": 1, "reservationId": 7}), "reservationId"),
        (json!({"quantity": 1, "reference": 7}), "reference"),
    ] {
        let refused = reserve(&app, "A", body.clone()).refused(400, "invalid_request");
        assert_eq!(refused.fields(), [field], "{body}");
    }
    assert_eq!(app.state("A"), (10, 0, 1));
    reserve(&app, "A", json!({"quantity": 1, "ttlSeconds": 2_592_000})).expect(201);
    reserve(&app, "A", json!({"quantity": 9, "reservationId": "名".repeat(64)})).expect(201);
}

#[test]
fn an_id_that_is_or_was_taken_is_not_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.stock("A", 10);
    app.stock("B", 10);
    let refused = |app: &TestApp, sku: &str, id: &str| {
        let answer = reserve(app, sku, json!({"quantity": 1, "reservationId": id})).refused(409, "already_exists");
        assert!(answer["detail"].as_str().unwrap().contains(id));
    };
    reserve(&app, "A", json!({"quantity": 1, "reservationId": "open"})).expect(201);
    reserve(&app, "A", json!({"quantity": 1, "reservationId": "over"})).expect(201);
    refused(&app, "A", "open");
    refused(&app, "B", "open");
    release(&app, "A", json!({"reservationId": "over"})).expect(200);
    refused(&app, "A", "over");
    refused(&app, "B", "over");

    app.kill();
    let app = TestApp::start_in(folder.path(), 0, &[]);
    for (sku, id) in [("A", "open"), ("B", "open"), ("A", "over"), ("B", "over")] {
        refused(&app, sku, id);
    }
    reserve(&app, "B", json!({"quantity": 1, "reservationId": "OPEN"})).expect(201);
    assert_eq!((app.state("A"), app.state("B")), ((10, 1, 4), (10, 1, 2)));
}

#[test]
fn an_id_whose_reserve_was_refused_or_only_tried_is_still_free() {
    let app = TestApp::start();
    app.stock("A", 1);
    reserve(&app, "A", json!({"quantity": 2, "reservationId": "r"})).refused(409, "insufficient_stock");
    reserve(&app, "A", json!({"quantity": 1, "reservationId": "r", "dryRun": true})).expect(200);
    reserve(&app, "A", json!({"quantity": 1, "reservationId": "r"})).expect(201);
}

#[test]
fn a_release_by_id_gives_back_what_that_reservation_holds_here() {
    let app = TestApp::start();
    app.stock("A", 10);
    let (first, second) = (app.hold("A", 2), app.hold("A", 3));
    let answer = release(&app, "A", json!({"reservationId": second})).expect(200);
    assert_eq!(answer.state(), (10, 2, 4));
    assert_eq!((answer.header("etag"), &answer["seq"]), (Some("\"4\""), &json!(4)));
    assert_eq!(
        release(&app, "A", json!({"reservationId": first})).expect(200).state(),
        (10, 0, 5)
    );
}

#[test]
fn a_reservation_is_given_back_once() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.stock("B", 10);
    let id = app.hold("A", 2);
    release(&app, "B", json!({"reservationId": id})).refused(409, "not_reserved");
    release(&app, "A", json!({"reservationId": id})).expect(200);
    for sku in ["A", "B"] {
        release(&app, sku, json!({"reservationId": id})).refused(409, "reservation_not_active");
    }
    release(&app, "A", json!({"reservationId": "nobody's"})).refused(404, "not_found");
    assert_eq!((app.state("A"), app.state("B")), ((10, 0, 3), (10, 0, 1)));
}

#[test]
fn a_release_by_quantity_takes_from_the_oldest_hold_first() {
    let app = TestApp::start();
    app.stock("A", 20);
    let (first, second, third) = (app.hold("A", 2), app.hold("A", 3), app.hold("A", 4));

    assert_eq!(
        release(&app, "A", json!({"quantity": 4})).expect(200).state(),
        (20, 5, 5)
    );
    release(&app, "A", json!({"reservationId": first})).refused(409, "reservation_not_active");
    assert_eq!(
        release(&app, "A", json!({"reservationId": second})).expect(200).state(),
        (20, 4, 6)
    );
    assert_eq!(
        release(&app, "A", json!({"quantity": 1})).expect(200).state(),
        (20, 3, 7)
    );
    assert_eq!(
        release(&app, "A", json!({"reservationId": third})).expect(200).state(),
        (20, 0, 8)
    );
}

#[test]
fn the_oldest_hold_is_not_the_one_that_ends_first() {
    let app = TestApp::start();
    app.stock("A", 20);
    let oldest = app.hold("A", 2);
    reserve(
        &app,
        "A",
        json!({"quantity": 2, "ttlSeconds": 600, "reservationId": "younger"}),
    )
    .expect(201);
    release(&app, "A", json!({"quantity": 2})).expect(200);
    release(&app, "A", json!({"reservationId": oldest})).refused(409, "reservation_not_active");
    assert_eq!(
        release(&app, "A", json!({"reservationId": "younger"}))
            .expect(200)
            .state(),
        (20, 0, 5)
    );
}

#[test]
fn no_more_is_released_than_is_held_of_this_level() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.put(&at_in("s2", "A"), json!({"quantity": 10})).expect(201);
    app.post(&format!("{}/reserve", at_in("s2", "A")), json!({"quantity": 5}))
        .expect(201);
    release(&app, "A", json!({"quantity": 1})).refused(409, "not_reserved");
    app.hold("A", 2);
    release(&app, "A", json!({"quantity": 3})).refused(409, "not_reserved");
    assert_eq!(app.state("A"), (10, 2, 2));
    assert_eq!(
        release(&app, "A", json!({"quantity": 2})).expect(200).state(),
        (10, 0, 3)
    );
}

#[test]
fn a_release_names_either_a_reservation_or_a_quantity() {
    let app = TestApp::start();
    app.stock("A", 10);
    let id = app.hold("A", 2);
    let wrong = [
        json!({}),
        json!({"reservationId": id, "quantity": 1}),
        json!({"quantity": 0}),
        json!({"quantity": -1}),
    ];
    for body in wrong {
        release(&app, "A", body).refused(400, "invalid_request");
    }
    assert_eq!(app.state("A"), (10, 2, 2));
}

#[test]
fn a_hold_is_over_at_the_moment_it_names_and_not_before() {
    let app = TestApp::start();
    app.stock("A", 10);
    let held = reserve(&app, "A", json!({"quantity": 4, "ttlSeconds": 1, "reservationId": "r"})).expect(201);
    let end = &held["reservation"]["expiresAt"];
    let before = app.get(&at("A")).expect(200);
    if chrono::Utc::now().timestamp_millis() < millis(end).unwrap() {
        assert_eq!(before.state(), (10, 4, 2));
    }
    sleep_until(end);
    assert_eq!(app.get(&at("A")).expect(200).state(), (10, 0, 3));
    let recorded = events_of(app.folder(), "reservation.expired");
    assert_eq!(
        (recorded.len(), &recorded[0]["seq"], &recorded[0]["reservationId"]),
        (1, &json!(3), &json!("r"))
    );

    release(&app, "A", json!({"reservationId": "r"})).refused(409, "reservation_not_active");
    release(&app, "A", json!({"quantity": 1})).refused(409, "not_reserved");
    reserve(&app, "A", json!({"quantity": 1, "reservationId": "r"})).refused(409, "already_exists");
}

#[test]
fn a_decision_counts_what_is_over_as_available_at_once() {
    let app = TestApp::start();
    for sku in ["RESERVED", "ADJUSTED", "COUNTED", "LISTED"] {
        app.stock(sku, 10);
    }
    let mut end = Value::Null;
    for sku in ["RESERVED", "ADJUSTED", "COUNTED", "LISTED"] {
        let held = reserve(&app, sku, json!({"quantity": 10, "ttlSeconds": 1})).expect(201);
        end = held["reservation"]["expiresAt"].clone();
    }
    sleep_until(&end);
    let list = app.get("/api/inventory/stores/s1/inventory").expect(200);
    assert!(
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|level| level["available"] == 10),
        "{}",
        list.json
    );
    assert_eq!(
        reserve(&app, "RESERVED", json!({"quantity": 10})).expect(201).state(),
        (10, 10, 4)
    );
    assert_eq!(
        app.post(&format!("{}/adjust", at("ADJUSTED")), json!({"delta": -10}))
            .expect(200)
            .state(),
        (0, 0, 4)
    );
    assert_eq!(
        app.put(&at("COUNTED"), json!({"quantity": 0})).expect(200).state(),
        (0, 0, 4)
    );
}

#[test]
fn an_expiry_is_recorded_within_a_second_though_nobody_asks() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.put(&at_in("s2", "A"), json!({"quantity": 5})).expect(201);
    let held = reserve(&app, "A", json!({"quantity": 4, "ttlSeconds": 1})).expect(201);
    sleep_until(&held["reservation"]["expiresAt"]);
    let recorded = || events_of(app.folder(), "reservation.expired");
    assert!(comes_true(Duration::from_secs(1), || !recorded().is_empty()));

    let event = recorded().remove(0);
    let end = millis(&held["reservation"]["expiresAt"]).unwrap();
    assert!((end..=end + 1000).contains(&millis(&event["at"]).unwrap()), "{event}");
    let change = &event["changes"][0];
    assert_eq!(
        (&change["reserved"], &change["delta"], &change["version"]),
        (&json!(0), &json!(0), &json!(3))
    );
    assert_eq!(event["changes"].as_array().unwrap().len(), 1);
    assert_eq!(app.get(&at_in("s2", "A")).expect(200).state(), (5, 0, 1));
}

#[test]
fn a_hold_that_ends_while_the_service_is_down_is_over_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.stock("READ", 10);
    app.stock("UNREAD", 10);
    reserve(&app, "READ", json!({"quantity": 4, "ttlSeconds": 1})).expect(201);
    reserve(&app, "READ", json!({"quantity": 3})).expect(201);
    let last = reserve(&app, "UNREAD", json!({"quantity": 4, "ttlSeconds": 1})).expect(201);
    app.kill();
    sleep_until(&last["reservation"]["expiresAt"]);

    let app = TestApp::start_in(folder.path(), 0, &[]);
    assert_eq!(app.state("READ"), (10, 3, 4));
    let both = || events_of(folder.path(), "reservation.expired").len() == 2;
    assert!(comes_true(Duration::from_secs(1), both));
}

#[test]
fn a_partly_released_hold_expires_with_what_is_left_of_it() {
    let app = TestApp::start();
    app.stock("A", 10);
    let held = reserve(&app, "A", json!({"quantity": 5, "ttlSeconds": 1})).expect(201);
    assert_eq!(
        release(&app, "A", json!({"quantity": 2})).expect(200).state(),
        (10, 3, 3)
    );
    sleep_until(&held["reservation"]["expiresAt"]);
    assert_eq!(app.state("A"), (10, 0, 4));
}

#[test]
fn a_hold_that_was_released_in_time_does_not_expire() {
    let app = TestApp::start();
    app.stock("A", 10);
    let held = reserve(&app, "A", json!({"quantity": 5, "ttlSeconds": 1, "reservationId": "r"})).expect(201);
    release(&app, "A", json!({"reservationId": "r"})).expect(200);
    sleep_until(&held["reservation"]["expiresAt"]);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(app.state("A"), (10, 0, 3));
    assert_eq!(events(app.folder()).len(), 3);
}
