//! What becomes of a reservation: sold, given back, extended, over, and all of that across restarts.

use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::carts::{RESERVATIONS, events_after, line, path, reservation_of, reserve, shown, state_in, stock_in};
use crate::client::{
    Answer, Client, JSON, all_pages, at, at_in, column, comes_true, is_time, item, millis, operation, sleep_until,
};
use crate::support::TestApp;

fn act(app: &impl Client, id: &str, action: &str, body: Value) -> Answer {
    app.post(&format!("{}/{action}", path(id)), body)
}

/// `A` ten, `B` ten, and a cart `r` of five and three.
fn app_with_a_cart() -> TestApp {
    let app = TestApp::start();
    app.stock("A", 10);
    app.stock("B", 10);
    let lines = [line("A", "s1", 5), line("B", "s1", 3)];
    reserve(
        &app,
        json!({"lines": lines, "reservationId": "r", "reference": "order 7"}),
    )
    .expect(201);
    app
}

#[test]
fn a_commit_sells_what_is_held_and_says_so_in_the_log_and_to_the_auditor() {
    let app = app_with_a_cart();
    let sold = act(&app, "r", "commit", json!({"note": "paid by card"})).expect(200);
    assert_eq!((&sold["seq"], &sold["status"]), (&json!(4), &json!("committed")));
    assert_eq!(
        sold["lines"],
        json!([shown("A", "s1", [0, 5, 0, 0]), shown("B", "s1", [0, 3, 0, 0])])
    );
    assert_eq!((sold.header("location"), sold.header("etag")), (None, None));
    assert_eq!(app.get(&path("r")).expect(200).json, reservation_of(&sold));
    assert_eq!((app.state("A"), app.state("B")), ((5, 0, 3), (7, 0, 3)));

    let log = events_after(&app, 3);
    assert_eq!(log.len(), 1);
    for (member, value) in [
        ("type", "reservation.committed"),
        ("reservationId", "r"),
        ("reference", "order 7"),
        ("note", "paid by card"),
        ("at", sold["updatedAt"].as_str().unwrap()),
    ] {
        assert_eq!(log[0][member], value, "{member}");
    }
    let change = |sku: &str, delta: i64, quantity: u64| {
        json!({"sku": sku, "storeId": "s1", "movement": "SALE", "delta": delta, "quantity": quantity, "reserved": 0,
            "version": 3, "itemVersion": 3})
    };
    assert_eq!(log[0]["changes"], json!([change("A", -5, 5), change("B", -3, 7)]));
    let sales = all_pages(&app, "/api/movements?type=SALE", 10);
    assert_eq!(column(&sales, "delta"), ["-3", "-5"]);
    for sale in sales {
        assert_eq!(
            (&sale["reservationId"], &sale["reference"], &sale["note"], &sale["seq"]),
            (&json!("r"), &json!("order 7"), &json!("paid by card"), &json!(4))
        );
    }
    for (action, body) in [
        ("commit", json!({})),
        ("commit", json!({"lines": [line("A", "s1", 1)]})),
        ("release", json!({})),
        ("extend", json!({"ttlSeconds": 60})),
    ] {
        let over = act(&app, "r", action, body).refused(409, "reservation_not_active");
        assert_eq!(
            (&over["reservationId"], &over["reservation"]),
            (&json!("r"), &reservation_of(&sold))
        );
    }
    assert_eq!(events_after(&app, 4), [Value::Null; 0]);
}

#[test]
fn who_says_nothing_in_the_body_means_all_of_it() {
    let app = app_with_a_cart();
    reserve(&app, json!({"lines": [line("A", "s1", 1)], "reservationId": "q"})).expect(201);
    reserve(&app, json!({"lines": [line("A", "s1", 2)], "reservationId": "p"})).expect(201);
    let empty = |id: &str, action: &str| app.send("POST", &format!("{}/{action}", path(id)), &[], None);
    let sold = empty("r", "commit").expect(200);
    assert_eq!(sold["lines"][0], shown("A", "s1", [0, 5, 0, 0]));
    let returned = empty("q", "release").expect(200);
    assert_eq!(returned["lines"][0], shown("A", "s1", [0, 0, 1, 0]));
    empty("p", "extend").refused(415, "unsupported_media_type");
    let typed = app
        .send("POST", &format!("{}/commit", path("p")), &[JSON], Some(b""))
        .expect(200);
    assert_eq!(typed["lines"][0], shown("A", "s1", [0, 2, 0, 0]));
    empty("nobody's", "commit").refused(404, "not_found");
    assert_eq!(app.state("A"), (3, 0, 7));
}

#[test]
fn a_part_is_sold_another_given_back_and_the_rest_stays_held() {
    let app = app_with_a_cart();
    let two = json!({"lines": [line("A", "s1", 2), line("A", "s1", 1)]});
    let sold = act(&app, "r", "commit", two).expect(200);
    assert_eq!(
        sold["lines"],
        json!([shown("A", "s1", [2, 3, 0, 0]), shown("B", "s1", [3, 0, 0, 0])])
    );
    assert_eq!(sold["status"], "active");
    assert_eq!(
        (app.state("A"), app.state("B")),
        ((7, 2, 3), (10, 3, 2)),
        "only what is named is touched"
    );

    for (lines, failed) in [
        (json!([line("A", "s1", 3)]), json!([["A", "s1", 3, 2]])),
        (
            json!([line("A", "s1", 2), line("A", "s1", 1)]),
            json!([["A", "s1", 3, 2]]),
        ),
        (
            json!([line("A", "s1", 1), line("B", "s1", 99)]),
            json!([["B", "s1", 99, 3]]),
        ),
        (json!([line("C", "s1", 1)]), json!([["C", "s1", 1, 0]])),
        (
            json!([line("A", "s2", 1), line("B", "s1", 4), line("A", "s1", 2)]),
            json!([["A", "s2", 1, 0], ["B", "s1", 4, 3]]),
        ),
    ] {
        for action in ["commit", "release"] {
            let refused = act(&app, "r", action, json!({"lines": lines})).refused(409, "reservation_not_active");
            let told = refused["lines"].as_array().unwrap().iter();
            let told: Vec<Value> = told
                .map(|line| json!([line["sku"], line["storeId"], line["requested"], line["available"]]))
                .collect();
            assert_eq!(json!(told), failed, "{action} {lines}");
            assert_eq!(refused["reservation"], reservation_of(&sold));
        }
    }
    assert_eq!(events_after(&app, 4), [Value::Null; 0], "all of it or nothing");

    let back = json!({"lines": [line("A", "s1", 1)], "note": "changed his mind"});
    let back = act(&app, "r", "release", back).expect(200);
    assert_eq!(
        (&back["status"], &back["lines"][0]),
        (&json!("active"), &shown("A", "s1", [1, 3, 1, 0]))
    );
    assert_eq!((&back["createdAt"], app.state("A")), (&sold["createdAt"], (7, 1, 4)));
    let event = &events_after(&app, 4)[0];
    assert_eq!(
        (
            &event["type"],
            &event["note"],
            &event["reservationId"],
            &event["reference"]
        ),
        (
            &json!("reservation.released"),
            &json!("changed his mind"),
            &json!("r"),
            &json!("order 7")
        )
    );
    assert_eq!(
        event["changes"],
        json!([{"sku": "A", "storeId": "s1", "delta": 0, "quantity": 7, "reserved": 1, "version": 4, "itemVersion": 4}])
    );
    let rest = act(&app, "r", "release", json!({})).expect(200);
    assert_eq!(rest["status"], "committed", "something of it was sold");
    assert_eq!(
        rest["lines"],
        json!([shown("A", "s1", [0, 3, 2, 0]), shown("B", "s1", [0, 0, 3, 0])])
    );
    assert_eq!((app.state("A"), app.state("B")), ((7, 0, 5), (10, 0, 3)));
    assert_eq!(all_pages(&app, "/api/movements?type=SALE", 10).len(), 1);

    reserve(&app, json!({"lines": [line("A", "s1", 1)], "reservationId": "q"})).expect(201);
    let returned = act(&app, "q", "release", json!({})).expect(200);
    assert_eq!(
        (&returned["status"], returned["lines"][0].clone()),
        (&json!("released"), shown("A", "s1", [0, 0, 1, 0]))
    );
    act(&app, "q", "release", json!({})).refused(409, "reservation_not_active");
}

#[test]
fn what_is_asked_of_a_reservation_and_does_not_fit_is_refused_by_its_path() {
    let app = app_with_a_cart();
    let fine = line("A", "s1", 1);
    for (body, field) in [
        (json!({"lines": []}), "lines"),
        (json!({"lines": null}), "lines"),
        (json!({"lines": vec![fine.clone(); 2001]}), "lines"),
        (json!({"lines": [fine, line("A", "s1", 0)]}), "lines[1].quantity"),
        (json!({"lines": [["A", "s1", 1]]}), "lines[0]"),
        (json!({"lines": [{"sku": "A", "quantity": 1}]}), "lines[0].storeId"),
        (json!({"note": null}), "note"),
        (json!({"note": "x".repeat(1001)}), "note"),
        (json!({"dryRun": null}), "dryRun"),
        (json!({"reservationId": "r"}), "reservationId"),
        (json!({"expectedVersion": 2}), "expectedVersion"),
        (json!({"ttlSeconds": 1}), "ttlSeconds"),
    ] {
        for action in ["commit", "release"] {
            let refused = act(&app, "r", action, body.clone()).refused(400, "invalid_request");
            assert_eq!(refused.fields(), [field], "{action}: {}", refused.text());
        }
    }
    for (body, field) in [
        (json!({}), "ttlSeconds"),
        (json!({"ttlSeconds": 0}), "ttlSeconds"),
        (json!({"ttlSeconds": -1}), "ttlSeconds"),
        (json!({"ttlSeconds": 1.5}), "ttlSeconds"),
        (json!({"ttlSeconds": null}), "ttlSeconds"),
        (json!({"ttlSeconds": 2_592_001}), "ttlSeconds"),
        (json!({"ttlSeconds": 60, "lines": [fine]}), "lines"),
        (json!({"ttlSeconds": 60, "note": "x"}), "note"),
    ] {
        let refused = act(&app, "r", "extend", body.clone()).refused(400, "invalid_request");
        assert_eq!(refused.fields(), [field], "{body}: {}", refused.text());
    }
    for (action, body) in [
        ("commit", json!({})),
        ("release", json!({})),
        ("extend", json!({"ttlSeconds": 60})),
    ] {
        let target = format!("{}/{action}", path("r"));
        for header in ["if-match", "if-none-match"] {
            let refused = app
                .post_with(&target, &[(header, "\"2\"")], body.clone())
                .refused(400, "invalid_request");
            assert_eq!(refused.fields(), [header]);
        }
        app.post(&format!("{target}?dryRun=true"), body.clone())
            .refused(400, "invalid_request");
        app.get(&target).refused(405, "method_not_allowed");
        let unknown = act(&app, "nobody's", action, body.clone()).refused(404, "not_found");
        assert_eq!(unknown["reservationId"], "nobody's");
        let refused = act(&app, "%20r", action, body).refused(400, "invalid_request");
        assert_eq!(refused.fields(), ["reservationId"]);
    }
    app.send("PUT", &path("r"), &[JSON], Some(b"{}"))
        .refused(405, "method_not_allowed");
    app.send("DELETE", &path("r"), &[], None)
        .refused(405, "method_not_allowed");
    app.send(
        "POST",
        &format!("{}/commit", path("r")),
        &[("content-type", "text/plain")],
        Some(b"{}"),
    )
    .refused(415, "unsupported_media_type");
    assert_eq!(events_after(&app, 3), [Value::Null; 0]);
}

#[test]
fn a_client_that_wants_little_is_told_only_what_is_new() {
    let app = app_with_a_cart();
    let minimal = [("prefer", "return=minimal")];
    let made = app
        .post_with(
            RESERVATIONS,
            &minimal,
            json!({"lines": [line("A", "s1", 1)], "reservationId": "q"}),
        )
        .expect(201);
    assert_eq!(
        (&made["status"], made.header("preference-applied")),
        (&json!("active"), None)
    );
    for (action, body) in [
        ("extend", json!({"ttlSeconds": 60})),
        ("commit", json!({"lines": [line("A", "s1", 1)]})),
        ("release", json!({})),
    ] {
        let target = format!("{}/{action}", path("r"));
        let mut dry = body.clone();
        dry["dryRun"] = json!(true);
        app.post_with(&target, &minimal, dry).expect(200);
        let done = app.post_with(&target, &minimal, body).expect(204);
        assert_eq!(
            (done.body.len(), done.header("preference-applied")),
            (0, Some("return=minimal"))
        );
    }
    app.post_with(&format!("{}/commit", path("r")), &minimal, json!({}))
        .refused(409, "reservation_not_active");
    assert_eq!(
        app.get(&path("r")).expect(200)["lines"][0],
        shown("A", "s1", [0, 1, 4, 0])
    );
}

#[test]
fn an_extension_counts_from_now_be_it_later_or_sooner() {
    let app = app_with_a_cart();
    act(&app, "r", "commit", json!({"lines": [line("A", "s1", 5)]})).expect(200);
    for (ttl, version) in [(3600, 3), (60, 4), (2_592_000, 5), (1, 6)] {
        let before = app.get("/api/events?limit=1000").expect(200)["items"]
            .as_array()
            .unwrap()
            .len() as u64;
        let extended = act(&app, "r", "extend", json!({"ttlSeconds": ttl})).expect(200);
        assert_eq!(
            (&extended["status"], &extended["seq"]),
            (&json!("active"), &json!(before + 1))
        );
        assert_eq!(
            millis(&extended["expiresAt"]).unwrap() - millis(&extended["updatedAt"]).unwrap(),
            ttl * 1000
        );
        assert!(millis(&extended["updatedAt"]) >= millis(&extended["createdAt"]));
        assert_eq!(
            extended["lines"],
            json!([shown("A", "s1", [0, 5, 0, 0]), shown("B", "s1", [3, 0, 0, 0])])
        );
        assert_eq!(app.get(&path("r")).expect(200).json, reservation_of(&extended));
        let event = events_after(&app, before).remove(0);
        assert_eq!(
            (&event["type"], &event["reservationId"], &event["reference"]),
            (&json!("reservation.extended"), &json!("r"), &json!("order 7"))
        );
        assert_eq!(
            event["changes"],
            json!([{"sku": "B", "storeId": "s1", "delta": 0, "quantity": 10, "reserved": 3, "version": version,
                "itemVersion": version}]),
            "nothing of A is held any more"
        );
        assert_eq!(app.state("B"), (10, 3, version));
        let short = reserve(&app, json!({"lines": [line("B", "s1", 8)]})).refused(409, "insufficient_stock");
        assert_eq!(short["nextExpiry"], extended["expiresAt"]);
        if ttl == 1 {
            sleep_until(&extended["expiresAt"]);
        }
    }
    assert_eq!(app.state("B"), (10, 0, 7));
    let late = act(&app, "r", "extend", json!({"ttlSeconds": 60})).refused(409, "reservation_not_active");
    assert_eq!(late["reservation"]["status"], "committed");
    assert_eq!(late["reservation"]["lines"][1], shown("B", "s1", [0, 0, 0, 3]));
    reserve(&app, json!({"lines": [line("B", "s1", 1)], "reservationId": "q"})).expect(201);
    act(&app, "q", "release", json!({})).expect(200);
    act(&app, "q", "extend", json!({"ttlSeconds": 60})).refused(409, "reservation_not_active");
}

/// Holds one of a SKU of its own, or more of the same; returns when it is over.
fn hold(app: &TestApp, sku: &str, id: &str, ttl: Option<u64>) -> Value {
    let mut body = json!({"lines": [line(sku, "s1", 1)], "reservationId": id});
    if let Some(ttl) = ttl {
        body["ttlSeconds"] = json!(ttl);
    }
    reserve(app, body).expect(201)["expiresAt"].clone()
}

fn extend(app: &TestApp, id: &str, ttl: u64) -> Value {
    act(app, id, "extend", json!({"ttlSeconds": ttl})).expect(200)["expiresAt"].clone()
}

/// Watches the log, and nothing but the log, until each of these is over. Once, in time, and said of its own moment.
#[track_caller]
fn each_ends_in_time(app: &TestApp, ends: &[(&str, Value)]) {
    let last = ends.iter().filter_map(|(_, end)| millis(end)).max().unwrap();
    let expired = || -> Vec<Value> {
        let log = events_after(app, 0).into_iter();
        log.filter(|event| event["type"] == "reservation.expired").collect()
    };
    let left = last + 1500 - chrono::Utc::now().timestamp_millis();
    comes_true(Duration::from_millis(left.max(0).unsigned_abs()), || {
        expired().len() >= ends.len()
    });
    let log = expired();
    let ended = |id: &str| {
        log.iter()
            .filter(|event| event["reservationId"] == *id)
            .collect::<Vec<_>>()
    };
    let missing: Vec<_> = ends.iter().filter(|(id, _)| ended(id).is_empty()).collect();
    assert!(missing.is_empty(), "the log does not tell the end of {missing:?}");
    for (id, end) in ends {
        let (at, end) = (millis(&ended(id)[0]["at"]).unwrap(), millis(end).unwrap());
        assert!(
            (end..=end + 1000).contains(&at),
            "{id} ended at {end}: {}",
            ended(id)[0]
        );
    }
    assert_eq!(log.len(), ends.len(), "{log:?}");
}

#[test]
fn an_extended_hold_ends_at_its_new_end_though_nobody_asks() {
    let app = TestApp::start();
    ["LATER", "SOONER", "GIVEN", "TWICE"]
        .iter()
        .for_each(|sku| app.stock(sku, 1));
    hold(&app, "LATER", "later", Some(1));
    hold(&app, "SOONER", "sooner", Some(600));
    hold(&app, "GIVEN", "given", None);
    hold(&app, "TWICE", "twice", Some(1));
    extend(&app, "twice", 600);
    let ends = [
        ("later", extend(&app, "later", 3)),
        ("sooner", extend(&app, "sooner", 1)),
        ("given", extend(&app, "given", 2)),
        ("twice", extend(&app, "twice", 2)),
    ];
    each_ends_in_time(&app, &ends);
    for (sku, version) in [("LATER", 4), ("SOONER", 4), ("GIVEN", 4), ("TWICE", 5)] {
        assert_eq!(app.state(sku), (1, 0, version), "{sku}");
    }
}

#[test]
fn a_hold_ends_in_time_whatever_became_of_those_that_were_to_end_before_it() {
    let app = TestApp::start();
    ["RELEASED", "SOLD", "ENDED", "SWAPPED"]
        .iter()
        .for_each(|sku| app.stock(sku, 5));
    let mut ends = Vec::new();
    for (sku, first, second) in [
        ("RELEASED", "released first", "released second"),
        ("SOLD", "sold first", "sold second"),
        ("SWAPPED", "swapped first", "swapped second"),
    ] {
        hold(&app, sku, first, Some(1));
        ends.push((second, hold(&app, sku, second, Some(2))));
    }
    ends.push(("ended first", hold(&app, "ENDED", "ended first", Some(1))));
    ends.push(("ended second", hold(&app, "ENDED", "ended second", Some(2))));
    app.post(
        &format!("{}/release", at("RELEASED")),
        json!({"reservationId": "released first"}),
    )
    .expect(200);
    act(&app, "sold%20first", "commit", json!({})).expect(200);
    reserve(
        &app,
        json!({"lines": [line("SWAPPED", "s1", 1)], "replaces": "swapped first"}),
    )
    .expect(201);
    each_ends_in_time(&app, &ends);
    assert_eq!(app.state("RELEASED").1 + app.state("SOLD").1 + app.state("ENDED").1, 0);
    assert_eq!(app.state("SWAPPED").1, 1);
}

#[test]
fn a_cart_ends_in_each_of_its_levels_though_nobody_asks() {
    let app = TestApp::start();
    app.stock("A", 5);
    app.stock("B", 5);
    stock_in(&app, "s2", "B", 5);
    let lines = [line("A", "s1", 1), line("B", "s1", 2), line("B", "s2", 3)];
    let cart = json!({"lines": lines, "reservationId": "cart", "reference": "x", "ttlSeconds": 1});
    let end = reserve(&app, cart).expect(201)["expiresAt"].clone();
    act(&app, "cart", "commit", json!({"lines": [line("A", "s1", 1)]})).expect(200);
    let over = || -> Vec<Value> {
        let log = events_after(&app, 5).into_iter();
        let own = log.filter(|event| event["type"] == "reservation.expired" && event["reservationId"] == "cart");
        own.flat_map(|event| event["changes"].as_array().unwrap().clone())
            .collect()
    };
    sleep_until(&end);
    assert!(
        comes_true(Duration::from_millis(1200), || over().len() >= 2),
        "{:?}",
        over()
    );
    let change = |store: &str| {
        let changes = over();
        let own = changes.iter().find(|change| change["storeId"] == *store);
        own.map(|change| json!([change["sku"], change["delta"], change["reserved"], change["version"]]))
    };
    assert_eq!(
        (change("s1"), change("s2")),
        (Some(json!(["B", 0, 0, 3])), Some(json!(["B", 0, 0, 3])))
    );
    assert_eq!(over().len(), 2, "nothing of A was held any more");
    assert_eq!(app.state("A"), (4, 0, 3));
}

#[test]
fn whatever_is_read_or_decided_from_the_end_of_a_hold_on_counts_it_as_over() {
    let app = TestApp::start();
    type IsOver<'a> = &'a dyn Fn(&TestApp) -> bool;
    let reads: [(&str, IsOver); 9] = [
        ("the reservation", &|app| {
            let read = app.get(&path("the%20reservation")).expect(200);
            read["status"] == "expired"
                && read["lines"] == json!([shown("A1", "s1", [0, 0, 0, 4]), shown("A2", "s1", [0, 0, 0, 4])])
        }),
        ("the level", &|app| app.state("B2") == (4, 0, 3)),
        ("the item", &|app| app.get(&item("C1")).expect(200)["available"] == 4),
        ("a reserve of the level", &|app| {
            app.post(&format!("{}/reserve", at("D1")), json!({"quantity": 4}))
                .status
                == 201
        }),
        ("a cart", &|app| {
            reserve(app, json!({"lines": [line("E1", "s1", 4), line("E2", "s1", 4)]})).status == 201
        }),
        ("an atomic batch", &|app| {
            let take = |sku: &str| json!({"op": "adjust", "sku": sku, "storeId": "s1", "delta": -4});
            let body = json!({"operations": [take("F1"), take("F2")], "atomic": true});
            app.post("/api/inventory/batch", body).status == 200
        }),
        ("the list of those that are over", &|app| {
            let rows = all_pages(app, &format!("{RESERVATIONS}?status=expired&sku=G2"), 10);
            column(&rows, "reservationId") == ["the list of those that are over"] && rows[0]["lines"][0]["expired"] == 4
        }),
        ("the list of those that are active", &|app| {
            all_pages(app, &format!("{RESERVATIONS}?status=active&sku=H1"), 10).is_empty()
        }),
        ("a commit", &|app| {
            let late = act(app, "a%20commit", "commit", json!({})).refused(409, "reservation_not_active");
            late["reservation"]["status"] == "expired" && late["reservation"]["lines"][1]["expired"] == 4
        }),
    ];
    let skus = |place: usize| [1, 2].map(|i| format!("{}{i}", ["A", "B", "C", "D", "E", "F", "G", "H", "I"][place]));
    (0..9).for_each(|place| skus(place).iter().for_each(|sku| app.stock(sku, 4)));
    let ends: Vec<Value> = (0..9)
        .map(|place| {
            let lines = skus(place).map(|sku| line(&sku, "s1", 4));
            let made = reserve(
                &app,
                json!({"lines": lines, "ttlSeconds": 1, "reservationId": reads[place].0}),
            );
            made.expect(201)["expiresAt"].clone()
        })
        .collect();
    for ((name, is_over), end) in reads.iter().zip(&ends) {
        sleep_until(end);
        assert!(is_over(&app), "{name}");
    }
    assert_eq!(
        (app.state("D1"), app.state("E1"), app.state("F2")),
        ((4, 4, 4), (4, 4, 4), (0, 0, 4))
    );
}

#[test]
fn a_reservation_that_is_partly_sold_and_then_over_was_committed() {
    let app = TestApp::start();
    app.stock("A", 10);
    let made = reserve(
        &app,
        json!({"lines": [line("A", "s1", 6)], "reservationId": "r", "ttlSeconds": 1}),
    )
    .expect(201);
    act(&app, "r", "commit", json!({"lines": [line("A", "s1", 1)]})).expect(200);
    act(&app, "r", "release", json!({"lines": [line("A", "s1", 2)]})).expect(200);
    reserve(
        &app,
        json!({"lines": [line("A", "s1", 4)], "reservationId": "q", "ttlSeconds": 1}),
    )
    .expect(201);
    act(&app, "q", "release", json!({"lines": [line("A", "s1", 3)]})).expect(200);
    sleep_until(&app.get(&path("q")).expect(200)["expiresAt"]);
    let over = app.get(&path("r")).expect(200);
    assert_eq!(
        (&over["status"], &over["lines"][0]),
        (&json!("committed"), &shown("A", "s1", [0, 1, 2, 3]))
    );
    assert_eq!(over["expiresAt"], made["expiresAt"]);
    let over = app.get(&path("q")).expect(200);
    assert_eq!(
        (&over["status"], &over["lines"][0]),
        (&json!("expired"), &shown("A", "s1", [0, 0, 3, 1]))
    );
    assert_eq!(app.state("A").0, 9);
    assert_eq!(app.state("A").1, 0);
}

#[test]
fn a_reserve_of_one_level_is_a_reservation_like_any_other() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.put(&format!("{}/quantity", item("A")), json!({"quantity": 5}))
        .expect(200);
    let of_level = app
        .post(
            &format!("{}/reserve", at("A")),
            json!({"quantity": 4, "ttlSeconds": 60, "reference": "x"}),
        )
        .expect(201);
    let of_item = app
        .post(
            &format!("{}/reserve", item("A")),
            json!({"quantity": 2, "reservationId": "a b"}),
        )
        .expect(201);
    let of_batch = app
        .post(
            "/api/inventory/batch",
            json!({"operations": [{"op": "reserve", "sku": "A", "storeId": "s1", "quantity": 3, "reference": "y"}]}),
        )
        .expect(200);
    let of_batch = &of_batch["results"][0]["reservation"];
    let mut ids = Vec::new();
    for reservation in [&of_level["reservation"], &of_item["reservation"], of_batch] {
        let id = reservation["reservationId"].as_str().unwrap().replace(' ', "%20");
        assert_eq!(app.get(&path(&id)).expect(200).json, *reservation);
        ids.push(id);
    }
    for (answer, id) in [(&of_level, &ids[0]), (&of_item, &ids[1])] {
        assert_eq!(answer.header("location"), Some(&*path(id)));
    }
    assert_eq!(
        of_item["reservation"]["lines"],
        json!([shown("A", "default", [2, 0, 0, 0])])
    );

    let sold = act(&app, &ids[0], "commit", json!({"lines": [line("A", "s1", 3)]})).expect(200);
    assert_eq!(
        (&sold["reference"], &sold["lines"][0]),
        (&json!("x"), &shown("A", "s1", [1, 3, 0, 0]))
    );
    act(&app, &ids[1], "extend", json!({"ttlSeconds": 60})).expect(200);
    act(&app, &ids[1], "commit", json!({})).expect(200);
    let back = json!({"reservationId": ids[2], "storeId": "s1"});
    app.post(&format!("{}/release", item("A")), back).expect(200);
    let back = app.get(&path(&ids[2])).expect(200);
    assert_eq!((&back["status"], &back["reference"]), (&json!("released"), &json!("y")));
    let whole = app.get(&item("A")).expect(200);
    assert_eq!(
        (&whole["quantity"], &whole["reserved"], &whole["version"]),
        (&json!(10), &json!(1), &json!(9))
    );
    app.post(&format!("{}/release", at("A")), json!({"reservationId": ids[2]}))
        .refused(409, "reservation_not_active");
}

#[test]
fn what_a_level_route_gives_back_of_a_cart_is_shown_with_the_cart() {
    let app = app_with_a_cart();
    stock_in(&app, "s2", "A", 10);
    let lines = [line("A", "s1", 2), line("A", "s2", 4), line("B", "s1", 1)];
    reserve(&app, json!({"lines": lines, "reservationId": "q"})).expect(201);
    let release = |store: &str, sku: &str, body: Value| app.post(&format!("{}/release", at_in(store, sku)), body);
    assert_eq!(
        release("s2", "A", json!({"reservationId": "q"})).expect(200).state(),
        (10, 0, 3)
    );
    let read = app.get(&path("q")).expect(200);
    assert_eq!(read["status"], "active");
    assert_eq!(
        read["lines"],
        json!([
            shown("A", "s1", [2, 0, 0, 0]),
            shown("A", "s2", [0, 0, 4, 0]),
            shown("B", "s1", [1, 0, 0, 0])
        ])
    );
    release("s2", "A", json!({"reservationId": "q"})).refused(409, "not_reserved");
    // By quantity: five of the older cart, and one of the younger.
    assert_eq!(
        release("s1", "A", json!({"quantity": 6})).expect(200).state(),
        (10, 1, 4)
    );
    assert_eq!(
        app.get(&path("r")).expect(200)["lines"][0],
        shown("A", "s1", [0, 0, 5, 0])
    );
    assert_eq!(
        app.get(&path("q")).expect(200)["lines"][0],
        shown("A", "s1", [1, 0, 1, 0])
    );
    let refused = act(&app, "q", "commit", json!({"lines": [line("A", "s1", 2)]}));
    refused.refused(409, "reservation_not_active");
    let sold = act(&app, "q", "commit", json!({})).expect(200);
    assert_eq!(
        sold["lines"],
        json!([
            shown("A", "s1", [0, 1, 1, 0]),
            shown("A", "s2", [0, 0, 4, 0]),
            shown("B", "s1", [0, 1, 0, 0])
        ])
    );
    assert_eq!(
        state_in(&app, "s2", "A"),
        (10, 0, 3),
        "a line of which nothing is held is not touched"
    );
    release("s1", "B", json!({"reservationId": "r"})).expect(200);
    let read = app.get(&path("r")).expect(200);
    assert_eq!(read["status"], "released");
    release("s1", "B", json!({"reservationId": "r"})).refused(409, "reservation_not_active");
    assert_eq!((app.state("A"), app.state("B")), ((9, 0, 5), (9, 0, 5)));
}

/// A write of each kind under a key of its own, in an order in which each takes effect.
fn all_writes(app: &TestApp) -> Vec<Answer> {
    let send = |key: &str, target: &str, body: Value| app.post_with(target, &[("idempotency-key", key)], body);
    let cart =
        |id: &str| json!({"lines": [line("A", "s1", 4), line("B", "s1", 2)], "reservationId": id, "reference": "x"});
    let in_body = json!({"lines": [line("B", "s1", 1)], "idempotencyKey": "in-body"});
    vec![
        send("create", RESERVATIONS, cart("r 1")).expect(201),
        send(
            "extend",
            &format!("{}/extend", path("r%201")),
            json!({"ttlSeconds": 600}),
        )
        .expect(200),
        send(
            "part",
            &format!("{}/commit", path("r%201")),
            json!({"lines": [line("A", "s1", 1)], "note": "n"}),
        )
        .expect(200),
        send(
            "back",
            &format!("{}/release", path("r%201")),
            json!({"lines": [line("B", "s1", 2)]}),
        )
        .expect(200),
        send("commit", &format!("{}/commit", path("r%201")), json!({})).expect(200),
        send("again", RESERVATIONS, cart("r 2")).expect(201),
        app.send(
            "POST",
            &format!("{}/release", path("r%202")),
            &[("idempotency-key", "release")],
            None,
        )
        .expect(200),
        app.post(RESERVATIONS, in_body).expect(201),
    ]
}

const KEYS: [&str; 8] = [
    "create", "extend", "part", "back", "commit", "again", "release", "in-body",
];

#[test]
fn a_repeat_under_its_key_gets_the_first_answer_also_after_every_way_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.stock("A", 10);
    app.stock("B", 10);
    let first = all_writes(&app);
    assert!(
        first
            .iter()
            .all(|answer| answer.header("idempotency-replayed").is_none())
    );
    app.put(&at("A"), json!({"quantity": 1})).expect(200);
    let reads = |app: &TestApp| {
        let single = ["r%201", "r%202"].map(|id| app.get(&path(id)).expect(200).json);
        let list = all_pages(app, RESERVATIONS, 2);
        let rest = [
            app.get(&item("A")).expect(200).json,
            app.get(&item("B")).expect(200).json,
        ];
        (single, list, rest, events_after(app, 0).len())
    };
    let before = reads(&app);
    assert_eq!(before.3, 11);
    for round in 0..3 {
        for ((first, again), key) in first.iter().zip(&all_writes(&app)).zip(KEYS) {
            assert_eq!(
                (again.status, again.text()),
                (first.status, first.text()),
                "{key} in round {round}"
            );
            assert_eq!(again.header("idempotency-replayed"), Some("true"), "{key}");
            assert_eq!(again.header("location"), first.header("location"), "{key}");
            let told = app.get(&operation(key)).expect(200);
            assert_eq!(told["status"], "completed");
            assert_eq!(
                told["answer"],
                json!({"status": first.status, "body": first.json}),
                "{key}"
            );
            assert_eq!(
                (&told["seq"], &told["at"]),
                (&first["seq"], &first["updatedAt"]),
                "{key}"
            );
        }
        let keyed = |key: &str, target: &str, body: Value| app.post_with(target, &[("idempotency-key", key)], body);
        let commit = format!("{}/commit", path("r%201"));
        for (key, target, body) in [
            ("create", RESERVATIONS, json!({"lines": [line("A", "s1", 4)]})),
            ("extend", &format!("{}/extend", path("r%201")), json!({"ttlSeconds": 3})),
            ("commit", &commit, json!({"note": "another"})),
            ("commit", &format!("{}/release", path("r%201")), json!({})),
            ("commit", &format!("{}/commit", path("r%202")), json!({})),
            ("commit", &format!("{}/commit", path("nobody's")), json!({})),
            (
                "part",
                "/api/transfers",
                json!({"sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 1}),
            ),
        ] {
            keyed(key, target, body).refused(422, "idempotency_key_reused");
        }
        assert_eq!(reads(&app), before, "in round {round}");
        match round {
            0 => app.kill(),
            _ => assert!(app.terminate().success()),
        }
        app = TestApp::start_in(folder.path(), 0, &[]);
    }
    // A refusal stores nothing: its repeat is judged afresh.
    let refused = || app.post_with(&format!("{}/commit", path("q")), &[("idempotency-key", "q")], json!({}));
    refused().refused(404, "not_found");
    app.get(&operation("q")).refused(404, "not_found");
    reserve(&app, json!({"lines": [line("A", "s1", 1)], "reservationId": "q"})).expect(201);
    refused().expect(200);
}

#[test]
fn reservations_outlive_the_service_however_it_ends_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.stock("A", 100);
    stock_in(&app, "s2", "B", 100);
    let cart = |app: &TestApp, id: &str, more: Value| {
        let mut body =
            json!({"lines": [line("A", "s1", 5), line("B", "s2", 4)], "reservationId": id, "reference": "x"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        reserve(app, body).expect(201)
    };
    for id in ["whole", "part", "sold", "returned", "swapped", "late"] {
        cart(&app, id, json!({}));
    }
    cart(&app, "new", json!({"replaces": "swapped", "allowPartial": true}));
    act(&app, "part", "commit", json!({"lines": [line("A", "s1", 2)]})).expect(200);
    act(&app, "sold", "commit", json!({"note": "n"})).expect(200);
    act(&app, "returned", "release", json!({})).expect(200);
    extend(&app, "whole", 600);
    let ids = ["whole", "part", "sold", "returned", "swapped", "late", "new"];
    let reads = |app: &TestApp| {
        let each = ids.map(|id| app.get(&path(id)).expect(200).json);
        let lists = [
            "",
            "?status=active",
            "?status=released",
            "?reference=x&sku=B&storeId=s2",
        ]
        .map(|query| all_pages(app, &format!("{RESERVATIONS}{query}"), 3));
        (each, lists, app.state("A"), state_in(app, "s2", "B"))
    };
    let before = reads(&app);
    assert_eq!(before.1.each_ref().map(Vec::len), [7, 4, 2, 7]);
    assert_eq!((before.2.0, before.2.1), (93, 5 + 3 + 5 + 5));
    app.kill();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    assert_eq!(reads(&app), before);
    assert!(app.terminate().success());
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    assert_eq!(reads(&app), before);
    let end = extend(&app, "late", 1);
    app.kill();
    sleep_until(&end);

    let app = TestApp::start_in(folder.path(), 0, &[]);
    let late = app.get(&path("late")).expect(200);
    assert_eq!(
        (&late["status"], &late["lines"][1]),
        (&json!("expired"), &shown("B", "s2", [0, 0, 0, 4]))
    );
    act(&app, "late", "commit", json!({})).refused(409, "reservation_not_active");
    assert_eq!(
        act(&app, "whole", "commit", json!({})).expect(200)["status"],
        "committed"
    );
    let part = act(&app, "part", "commit", json!({})).expect(200);
    assert_eq!(
        part["lines"],
        json!([shown("A", "s1", [0, 5, 0, 0]), shown("B", "s2", [0, 4, 0, 0])])
    );
    act(&app, "new", "release", json!({})).expect(200);
    assert_eq!((app.state("A").0, app.state("A").1), (85, 0));
    let taken = json!({"lines": [line("A", "s1", 1)], "reservationId": "swapped"});
    reserve(&app, taken).refused(409, "already_exists");
}

#[test]
fn whoever_goes_away_in_the_middle_of_a_request_is_told_by_his_key_what_became_of_it() {
    let app = TestApp::start();
    app.stock("A", 1000);
    app.stock("B", 1000);
    let rounds = 8_u64;
    let body =
        |round: u64| json!({"lines": [line("A", "s1", 1), line("B", "s1", 1)], "reservationId": format!("r{round}")});
    // Sends all of it, or but the last byte, and hangs up.
    let send = |target: &str, key: &str, body: &str, is_whole: bool, wait: u64| {
        let length = body.len();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut connection = app.connect();
        let bytes = [head.as_bytes(), body.as_bytes()].concat();
        let sent = bytes.len() - usize::from(!is_whole);
        connection.get_mut().write_all(&bytes[..sent]).unwrap();
        std::thread::sleep(Duration::from_millis(wait));
    };
    for round in 0..rounds {
        send(
            RESERVATIONS,
            &format!("k{round}"),
            &body(round).to_string(),
            round != 3,
            round * 3 % 7,
        );
    }
    let settled = |key: &str| {
        let told = app.get(&operation(key));
        (told.status == 404 || told["status"] == "completed").then_some(told)
    };
    let mut held = 0;
    std::thread::sleep(Duration::from_millis(300));
    for round in 0..rounds {
        let key = format!("k{round}");
        assert!(comes_true(Duration::from_secs(5), || settled(&key).is_some()), "{key}");
        let told = settled(&key).unwrap();
        let read = app.get(&path(&format!("r{round}")));
        assert_eq!(read.status, told.status, "{key}: the key and the reservation agree");
        if told.status == 200 {
            held += 1;
            assert_eq!(told["answer"]["body"]["reservationId"], format!("r{round}"));
        }
        assert!(round != 3 || told.status == 404, "half a request is none");
    }
    assert!(held > 0, "none of them took effect");
    assert_eq!((app.state("A").1, app.state("B").1), (held, held));
    for round in 0..rounds {
        let again = app
            .post_with(RESERVATIONS, &[("idempotency-key", &format!("k{round}"))], body(round))
            .expect(201);
        assert!(is_time(&again["createdAt"]));
        send(
            &format!("{}/commit", path(&format!("r{round}"))),
            &format!("c{round}"),
            "{}",
            true,
            round % 3,
        );
    }
    for round in 0..rounds {
        let target = format!("{}/commit", path(&format!("r{round}")));
        let commit = || app.post_with(&target, &[("idempotency-key", &format!("c{round}"))], json!({}));
        assert!(comes_true(Duration::from_secs(5), || commit().status == 200), "{round}");
    }
    assert_eq!((app.state("A"), app.state("B")), ((992, 0, 17), (992, 0, 17)));
}
