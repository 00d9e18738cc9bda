//! Carts: reservations over any SKUs and stores, all of it or nothing.

use serde_json::{Value, json};

use crate::client::{Answer, Client, JSON, all_pages, at, at_in, is_time, item, millis, operation, sleep_until};
use crate::support::TestApp;

pub const RESERVATIONS: &str = "/api/reservations";

pub fn reserve(app: &impl Client, body: Value) -> Answer {
    app.post(RESERVATIONS, body)
}

pub fn path(id: &str) -> String {
    format!("{RESERVATIONS}/{id}")
}

pub fn line(sku: &str, store: &str, quantity: u64) -> Value {
    json!({"sku": sku, "storeId": store, "quantity": quantity})
}

/// A line as it is shown, of which all is held, or was sold, given back, or over.
pub fn shown(sku: &str, store: &str, [held, committed, released, expired]: [u64; 4]) -> Value {
    json!({"sku": sku, "storeId": store, "quantity": held + committed + released + expired, "held": held,
        "committed": committed, "released": released, "expired": expired})
}

pub fn stock_in(app: &impl Client, store: &str, sku: &str, quantity: u64) {
    app.put(&at_in(store, sku), json!({"quantity": quantity})).expect(201);
}

pub fn state_in(app: &impl Client, store: &str, sku: &str) -> (u64, u64, u64) {
    app.get(&at_in(store, sku)).expect(200).state()
}

/// Without what the answer to a write says beside the reservation.
pub fn reservation_of(answer: &Answer) -> Value {
    let mut reservation = answer.json.clone();
    reservation.as_object_mut().unwrap().remove("seq");
    reservation
}

/// The events behind a place in the log.
pub fn events_after(app: &impl Client, seq: u64) -> Vec<Value> {
    let page = app.get(&format!("/api/events?limit=1000&after={seq}")).expect(200);
    page["items"].as_array().unwrap().clone()
}

/// `A` in two stores and `B` in one, ten of each.
fn app_with_three_levels() -> TestApp {
    let app = TestApp::start();
    stock_in(&app, "s1", "A", 10);
    stock_in(&app, "s2", "A", 10);
    stock_in(&app, "s1", "B", 10);
    app
}

#[test]
fn a_cart_is_held_in_one_event_with_its_lines_added_up_and_in_order() {
    let app = app_with_three_levels();
    let lines = [
        line("B", "s1", 1),
        line("A", "s2", 2),
        line("A", "s1", 3),
        json!({"sku": "A", "storeId": "s2", "qty": 4}),
    ];
    let made = reserve(&app, json!({"lines": lines, "ttlSeconds": 60, "reference": "order 7"})).expect(201);
    let id = made["reservationId"].as_str().unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
    assert_eq!(made.header("location"), Some(&*path(id)));
    assert_eq!(made.header("etag"), None);
    let times = ["createdAt", "updatedAt", "expiresAt"].map(|name| &made[name]);
    assert!(times.iter().all(|time| is_time(time)), "{}", made.text());
    assert_eq!(times[0], times[1]);
    assert_eq!(millis(times[2]).unwrap() - millis(times[0]).unwrap(), 60_000);
    let expected = json!({
        "reservationId": id, "status": "active", "reference": "order 7", "seq": 4,
        "lines": [shown("A", "s1", [3, 0, 0, 0]), shown("A", "s2", [6, 0, 0, 0]), shown("B", "s1", [1, 0, 0, 0])],
        "createdAt": times[0], "updatedAt": times[1], "expiresAt": times[2],
    });
    assert_eq!(made.json, expected);
    assert_eq!(app.get(&path(id)).expect(200).json, reservation_of(&made));

    assert_eq!(state_in(&app, "s1", "A"), (10, 3, 2));
    assert_eq!(state_in(&app, "s2", "A"), (10, 6, 2));
    assert_eq!(state_in(&app, "s1", "B"), (10, 1, 2));
    let change = |sku: &str, store: &str, reserved: u64, item_version: u64| {
        json!({"sku": sku, "storeId": store, "delta": 0, "quantity": 10, "reserved": reserved, "version": 2,
            "itemVersion": item_version})
    };
    let log = events_after(&app, 3);
    assert_eq!(log.len(), 1);
    assert_eq!(
        (&log[0]["type"], &log[0]["reservationId"], &log[0]["reference"]),
        (&json!("reservation.created"), &json!(id), &json!("order 7"))
    );
    assert_eq!((&log[0]["seq"], &log[0]["at"]), (&json!(4), times[0]));
    let changes = [
        change("A", "s1", 3, 3),
        change("A", "s2", 6, 3),
        change("B", "s1", 1, 2),
    ];
    assert_eq!(log[0]["changes"], json!(changes));

    let plain = reserve(&app, json!({"lines": [line("B", "s1", 1)]})).expect(201);
    let members: Vec<_> = plain.json.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        ["createdAt", "lines", "reservationId", "seq", "status", "updatedAt"]
    );
    app.get(&path("nobody's")).refused(404, "not_found");
}

#[test]
fn a_cart_of_which_one_line_fails_holds_nothing_and_is_told_every_line_that_failed() {
    let app = app_with_three_levels();
    let long = reserve(&app, json!({"lines": [line("B", "s1", 1)], "ttlSeconds": 900})).expect(201);
    let soon = reserve(&app, json!({"lines": [line("B", "s1", 5)], "ttlSeconds": 600})).expect(201);
    assert!(millis(&soon["expiresAt"]) < millis(&long["expiresAt"]));
    let refused = reserve(
        &app,
        json!({"lines": [line("NONE", "s1", 2), line("B", "s1", 3), line("A", "s1", 1), line("B", "s1", 2)],
            "reservationId": "r"}),
    )
    .refused(409, "insufficient_stock");
    let lines = refused["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 2, "{}", refused.text());
    let (short, none) = (&lines[0], &lines[1]);
    for (member, value) in [
        ("sku", json!("B")),
        ("storeId", json!("s1")),
        ("error", json!("insufficient_stock")),
        ("requested", json!(5)),
        ("available", json!(4)),
        ("reserved", json!(6)),
        ("nextExpiry", soon["expiresAt"].clone()),
    ] {
        assert_eq!(short[member], value, "{member}");
        if member != "error" {
            assert_eq!(
                refused[member], value,
                "{member}, as the refusal of a single reserve says it"
            );
        }
    }
    assert_eq!(
        (&none["sku"], &none["error"], &none["requested"], &none["available"]),
        (&json!("NONE"), &json!("not_found"), &json!(2), &json!(0))
    );
    assert!(
        lines
            .iter()
            .all(|line| line["detail"].as_str().is_some_and(|detail| !detail.is_empty()))
    );

    // What is unknown is not short: with nothing else wrong, it is not found.
    for (lines, failed) in [
        (json!([line("A", "s1", 1), line("A", "s9", 1)]), 1),
        (json!([line("NONE", "s1", 1)]), 1),
        (json!([line("NONE", "s1", 1), line("NONE", "s2", 1)]), 2),
        (json!([line("a", "s1", 1), line("A", "S1", 1)]), 2),
    ] {
        let refused = reserve(&app, json!({"lines": lines, "reservationId": "r"})).refused(404, "not_found");
        let told = refused["lines"].as_array().unwrap();
        assert_eq!(told.len(), failed, "{}", refused.text());
        assert!(told.iter().all(|line| line["error"] == "not_found"));
    }
    let most = 9_007_199_254_740_991_u64;
    let refused = reserve(&app, json!({"lines": [line("A", "s1", most)]})).refused(409, "insufficient_stock");
    assert_eq!(
        (&refused["requested"], &refused["available"]),
        (&json!(most), &json!(10))
    );
    assert_eq!(refused.json.get("nextExpiry"), None, "nobody holds any of it");
    // What they come to could not be told to every reader of JSON.
    let refused =
        reserve(&app, json!({"lines": [line("A", "s1", most), line("A", "s1", 1)]})).refused(400, "invalid_request");
    assert_eq!(refused["fields"][0]["field"], "lines");

    assert_eq!(state_in(&app, "s1", "A"), (10, 0, 1));
    assert_eq!(state_in(&app, "s1", "B"), (10, 6, 3));
    assert_eq!(events_after(&app, 5), [Value::Null; 0]);
    app.get(&path("r")).refused(404, "not_found");
    app.get(&item("NONE")).refused(404, "not_found");
    reserve(
        &app,
        json!({"lines": [line("A", "s1", 10), line("B", "s1", 4)], "reservationId": "r"}),
    )
    .expect(201);
}

#[test]
fn a_cart_that_does_not_fit_is_refused_by_the_path_of_what_does_not() {
    let app = TestApp::start();
    app.stock("A", 10_000);
    let fine = line("A", "s1", 1);
    let second = |second: Value| json!({"lines": [fine, second]});
    let with = |member: &str, value: Value| {
        let mut body = json!({"lines": [fine]});
        body[member] = value;
        body
    };
    for (body, field) in [
        (json!({}), "lines"),
        (json!({"lines": null}), "lines"),
        (json!({"lines": {}}), "lines"),
        (json!({"lines": []}), "lines"),
        (json!({"lines": vec![fine.clone(); 2001]}), "lines"),
        (second(line("A", "s1", 0)), "lines[1].quantity"),
        (
            second(json!({"sku": "A", "storeId": "s1", "quantity": -1})),
            "lines[1].quantity",
        ),
        (
            second(json!({"sku": "A", "storeId": "s1", "quantity": 1.5})),
            "lines[1].quantity",
        ),
        (
            second(json!({"sku": "A", "storeId": "s1", "quantity": "1"})),
            "lines[1].quantity",
        ),
        (second(line("A", "s1", 9_007_199_254_740_992)), "lines[1].quantity"),
        (second(json!({"sku": "A", "storeId": "s1"})), "lines[1].quantity"),
        (second(line("", "s1", 1)), "lines[1].sku"),
        (second(line("A", "..", 1)), "lines[1].storeId"),
        (second(json!({"sku": "A", "quantity": 1})), "lines[1].storeId"),
        (second(json!(["A", "s1", 1])), "lines[1]"),
        (second(json!(null)), "lines[1]"),
        (
            second(json!({"sku": "A", "storeId": "s1", "quantity": 1, "note": "x"})),
            "lines[1].note",
        ),
        (
            second(json!({"sku": "A", "storeId": "s1", "quantity": 1, "qty": 1})),
            "lines[1].quantity",
        ),
        (with("ttlSeconds", json!(0)), "ttlSeconds"),
        (with("ttlSeconds", json!(2_592_001)), "ttlSeconds"),
        (with("ttlSeconds", json!(null)), "ttlSeconds"),
        (with("reservationId", json!(" x")), "reservationId"),
        (with("reservationId", json!(7)), "reservationId"),
        (with("reference", json!("")), "reference"),
        (with("reference", json!("x".repeat(256))), "reference"),
        (with("replaces", json!("")), "replaces"),
        (with("allowPartial", json!("true")), "allowPartial"),
        (with("allowPartial", json!(null)), "allowPartial"),
        (with("dryRun", json!(1)), "dryRun"),
        (with("idempotencyKey", json!("a b")), "idempotencyKey"),
        (with("expectedVersion", json!(1)), "expectedVersion"),
        (with("ttlSecond", json!(1)), "ttlSecond"),
        (with("note", json!("x")), "note"),
    ] {
        let refused = reserve(&app, body.clone()).refused(400, "invalid_request");
        let body: String = body.to_string().chars().take(200).collect();
        assert_eq!(refused.fields(), [field], "{body}: {}", refused.text());
    }
    let both = json!({"lines": [line("A", "s1", 0), fine, line("A", "s1", 0)], "ttlSeconds": 0});
    let refused = reserve(&app, both).refused(400, "invalid_request");
    assert_eq!(
        refused.fields(),
        ["lines[0].quantity", "lines[2].quantity", "ttlSeconds"]
    );
    reserve(&app, json!([{"lines": [fine]}])).refused(400, "invalid_request");
    let text = json!({"lines": [fine]}).to_string();
    app.send(
        "POST",
        RESERVATIONS,
        &[("content-type", "text/plain")],
        Some(text.as_bytes()),
    )
    .refused(415, "unsupported_media_type");
    app.send("POST", RESERVATIONS, &[JSON], Some(b""))
        .refused(400, "invalid_request");
    app.post(&format!("{RESERVATIONS}?dryRun=true"), json!({"lines": [fine]}))
        .refused(400, "invalid_request");
    for header in ["if-match", "if-none-match"] {
        let refused = app
            .post_with(RESERVATIONS, &[(header, "\"1\"")], json!({"lines": [fine]}))
            .refused(400, "invalid_request");
        assert_eq!(refused.fields(), [header]);
    }
    assert_eq!(app.state("A"), (10_000, 0, 1));
    // So many lines are taken, though they come to one.
    let most = reserve(&app, json!({"lines": vec![fine.clone(); 2000]})).expect(201);
    assert_eq!(most["lines"], json!([shown("A", "s1", [2000, 0, 0, 0])]));
}

#[test]
fn a_cart_of_2_000_levels_is_held_sold_and_listed_whole() {
    let app = TestApp::start();
    let places: Vec<(String, String)> = (0..2000)
        .map(|i| (format!("S{:02}", i % 50), format!("store {:02}", i / 50)))
        .collect();
    let sets: Vec<Value> = places
        .iter()
        .map(|(sku, store)| json!({"op": "set", "sku": sku, "storeId": store, "quantity": 5}))
        .collect();
    app.post("/api/inventory/batch", json!({"operations": sets}))
        .expect(200);
    let mut lines: Vec<Value> = places.iter().map(|(sku, store)| line(sku, store, 2)).collect();
    lines.reverse();
    let mut short = lines.clone();
    short[1000]["quantity"] = json!(6);
    let refused = reserve(&app, json!({"lines": short})).refused(409, "insufficient_stock");
    assert_eq!(refused["lines"].as_array().unwrap().len(), 1);
    let held = reserve(&app, json!({"lines": lines, "reservationId": "big", "ttlSeconds": 600})).expect(201);
    assert_eq!(
        (&held["seq"], held["lines"].as_array().unwrap().len()),
        (&json!(2001), 2000)
    );
    assert_eq!(
        app.get("/api/events?after=2000").expect(200)["items"][0]["changes"]
            .as_array()
            .unwrap()
            .len(),
        2000
    );
    let read = app.get(&path("big")).expect(200);
    assert_eq!(read.json, reservation_of(&held));
    let sold = app.post(&format!("{}/commit", path("big")), json!({})).expect(200);
    assert_eq!((&sold["seq"], &sold["status"]), (&json!(2002), &json!("committed")));
    let sku = app.get(&item("S07")).expect(200);
    assert_eq!(
        (&sku["quantity"], &sku["reserved"], &sku["version"]),
        (&json!(40 * 3), &json!(0), &json!(40 + 2))
    );
    assert_eq!(all_pages(&app, "/api/movements?type=SALE", 1000).len(), 2000);
}

#[test]
fn an_id_of_ones_own_is_given_once_and_leads_to_its_reservation() {
    let app = TestApp::start();
    app.stock("A", 20);
    let cart = |id: &str| json!({"lines": [line("A", "s1", 1)], "reservationId": id});
    for (id, location) in [
        ("cart 7/Größe", "cart%207%2FGr%C3%B6%C3%9Fe"),
        ("a%2Fb?c#d", "a%252Fb%3Fc%23d"),
        ("CART 7/Größe", "CART%207%2FGr%C3%B6%C3%9Fe"),
    ] {
        let made = reserve(&app, cart(id)).expect(201);
        assert_eq!(made["reservationId"], id);
        assert_eq!(made.header("location"), Some(&*path(location)));
        let read = app.get(made.header("location").unwrap()).expect(200);
        assert_eq!(read.json, reservation_of(&made));
    }
    let first = path("cart%207%2FGr%C3%B6%C3%9Fe");
    let taken = |id: &str| {
        let refused = reserve(&app, cart(id)).refused(409, "already_exists");
        assert_eq!(refused["reservationId"], id);
        app.post(
            &format!("{}/reserve", at("A")),
            json!({"quantity": 1, "reservationId": id}),
        )
        .refused(409, "already_exists");
    };
    taken("cart 7/Größe");
    app.post(&format!("{first}/release"), json!({})).expect(200);
    taken("cart 7/Größe");
    app.post(&format!("{}/commit", path("CART%207%2FGr%C3%B6%C3%9Fe")), json!({}))
        .expect(200);
    taken("CART 7/Größe");
    app.post(
        &format!("{}/reserve", at("A")),
        json!({"quantity": 1, "reservationId": "level's"}),
    )
    .expect(201);
    taken("level's");
    assert_eq!(app.state("A"), (19, 2, 7));
    // A refused one has not used its id up; an expired one has.
    reserve(&app, json!({"lines": [line("A", "s1", 99)], "reservationId": "r"})).refused(409, "insufficient_stock");
    let made = reserve(
        &app,
        json!({"lines": [line("A", "s1", 1)], "reservationId": "r", "ttlSeconds": 1}),
    )
    .expect(201);
    sleep_until(&made["expiresAt"]);
    taken("r");
    for id in ["%20x", "a%0Ab", "%FF", &"x".repeat(65)] {
        let refused = app.get(&path(id)).refused(400, "invalid_request");
        assert_eq!(refused.fields(), ["reservationId"], "{id}");
    }
}

#[test]
fn a_dry_run_of_a_cart_tells_what_would_be_and_changes_nothing() {
    let app = app_with_three_levels();
    let held = reserve(&app, json!({"lines": [line("A", "s1", 8)], "reservationId": "held"})).expect(201);
    let cart = json!({"lines": [line("A", "s1", 9), line("B", "s1", 2)], "reservationId": "r", "reference": "x",
        "ttlSeconds": 60, "replaces": "held", "dryRun": true});
    for _ in 0..2 {
        let dry = app
            .post_with(RESERVATIONS, &[("idempotency-key", "k")], cart.clone())
            .expect(200);
        assert_eq!((&dry["dryRun"], dry.json.get("seq")), (&json!(true), None));
        assert_eq!(
            (dry.header("location"), dry.header("idempotency-replayed")),
            (None, None)
        );
        assert_eq!(
            (&dry["reservationId"], &dry["status"], &dry["reference"]),
            (&json!("r"), &json!("active"), &json!("x"))
        );
        assert_eq!(
            dry["lines"],
            json!([shown("A", "s1", [9, 0, 0, 0]), shown("B", "s1", [2, 0, 0, 0])])
        );
        assert!(is_time(&dry["expiresAt"]));
    }
    for (action, body, status) in [
        ("commit", json!({"dryRun": true}), "committed"),
        ("release", json!({"dryRun": true}), "released"),
        ("extend", json!({"dryRun": true, "ttlSeconds": 5}), "active"),
    ] {
        let dry = app
            .post_with(&format!("{}/{action}", path("held")), &[("idempotency-key", "k")], body)
            .expect(200);
        assert_eq!(
            (&dry["dryRun"], dry.json.get("seq"), &dry["status"]),
            (&json!(true), None, &json!(status))
        );
        assert_eq!(dry.json.get("expiresAt").is_some(), action == "extend");
    }
    let refused = json!({"lines": [line("A", "s1", 3)], "dryRun": true});
    reserve(&app, refused).refused(409, "insufficient_stock");
    let refused = json!({"lines": [line("A", "s1", 9)], "dryRun": true});
    app.post(&format!("{}/commit", path("held")), refused)
        .refused(409, "reservation_not_active");

    assert_eq!(state_in(&app, "s1", "A"), (10, 8, 2));
    assert_eq!(state_in(&app, "s1", "B"), (10, 0, 1));
    assert_eq!(events_after(&app, 4), [Value::Null; 0]);
    assert_eq!(app.get(&path("held")).expect(200).json, reservation_of(&held));
    app.get(&path("r")).refused(404, "not_found");
    app.get(&operation("k")).refused(404, "not_found");
}

#[test]
fn a_partial_cart_holds_what_there_is_and_tells_what_was_asked() {
    let app = app_with_three_levels();
    stock_in(&app, "s1", "EMPTY", 0);
    let lines = [
        line("A", "s1", 7),
        line("EMPTY", "s1", 1),
        line("NONE", "s1", 1),
        line("B", "s1", 3),
        line("A", "s1", 6),
    ];
    let made = reserve(
        &app,
        json!({"lines": lines, "allowPartial": true, "reservationId": "r"}),
    )
    .expect(201);
    let granted = |sku: &str, quantity: u64, requested: u64| {
        let mut line = shown(sku, "s1", [quantity, 0, 0, 0]);
        line["requested"] = json!(requested);
        line
    };
    assert_eq!(
        made["lines"],
        json!([
            granted("A", 10, 13),
            granted("B", 3, 3),
            granted("EMPTY", 0, 1),
            granted("NONE", 0, 1)
        ])
    );
    assert_eq!(app.get(&path("r")).expect(200).json, reservation_of(&made));
    assert_eq!(state_in(&app, "s1", "EMPTY"), (0, 0, 1), "it was not touched");
    app.get(&at("NONE")).refused(404, "not_found");
    let log = events_after(&app, 4);
    assert_eq!((log.len(), log[0]["changes"].as_array().unwrap().len()), (1, 2));

    let none = json!({"lines": [line("A", "s1", 1), line("EMPTY", "s1", 2), line("NONE", "s1", 1)],
        "allowPartial": true});
    let refused = reserve(&app, none).refused(409, "insufficient_stock");
    assert_eq!(refused["lines"].as_array().unwrap().len(), 3);
    reserve(&app, json!({"lines": [line("NONE", "s1", 1)], "allowPartial": true})).refused(404, "not_found");

    let sold = app.post(&format!("{}/commit", path("r")), json!({})).expect(200);
    let committed: Vec<_> = sold["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| &line["committed"])
        .collect();
    assert_eq!(committed, [10, 3, 0, 0]);
    assert_eq!(
        (&sold["status"], &sold["lines"][0]["requested"]),
        (&json!("committed"), &json!(13))
    );
    assert_eq!(
        (state_in(&app, "s1", "A"), state_in(&app, "s1", "B")),
        ((0, 0, 3), (7, 0, 3))
    );
}

#[test]
fn a_shopper_is_not_blocked_by_the_cart_that_the_new_one_replaces() {
    let app = app_with_three_levels();
    stock_in(&app, "s1", "C", 1);
    let first =
        json!({"lines": [line("A", "s1", 8), line("B", "s1", 3), line("C", "s1", 1)], "reservationId": "first"});
    let first = reserve(&app, first).expect(201);
    let again = |lines: Value| json!({"lines": lines, "reservationId": "second", "replaces": "first"});

    let short =
        reserve(&app, again(json!([line("A", "s1", 11), line("B", "s1", 1)]))).refused(409, "insufficient_stock");
    assert_eq!(
        (&short["requested"], &short["available"], &short["reserved"]),
        (&json!(11), &json!(10), &json!(0)),
        "what the old cart holds is there for the new one"
    );
    assert_eq!(app.get(&path("first")).expect(200).json, reservation_of(&first));
    let taken = json!({"lines": [line("A", "s1", 1)], "reservationId": "first", "replaces": "first"});
    reserve(&app, taken).refused(409, "already_exists");
    let unknown = json!({"lines": [line("A", "s1", 1)], "replaces": "nobody's"});
    let unknown = reserve(&app, unknown).refused(404, "not_found");
    assert_eq!(unknown["reservationId"], "nobody's");
    assert_eq!(events_after(&app, 5), [Value::Null; 0]);

    let body = again(json!([line("A", "s1", 10), line("A", "s2", 1), line("B", "s1", 3)]));
    let swap = || app.post_with(RESERVATIONS, &[("idempotency-key", "k")], body.clone());
    let second = swap().expect(201);
    let log = events_after(&app, 5);
    assert_eq!((log.len(), &log[0]["type"]), (1, &json!("reservation.created")));
    let changes = log[0]["changes"].as_array().unwrap();
    let touched: Vec<String> = changes
        .iter()
        .map(|change| {
            let name = |member: &str| change[member].as_str().unwrap().to_owned();
            format!(
                "{} {} {} {}",
                name("sku"),
                name("storeId"),
                change["reserved"],
                change["version"]
            )
        })
        .collect();
    assert_eq!(touched, ["A s1 10 3", "A s2 1 2", "B s1 3 3", "C s1 0 3"]);
    assert_eq!(state_in(&app, "s1", "A"), (10, 10, 3));
    assert_eq!(state_in(&app, "s1", "C"), (1, 0, 3));
    let old = app.get(&path("first")).expect(200);
    assert_eq!(
        (&old["status"], &old["updatedAt"]),
        (&json!("released"), &second["createdAt"])
    );
    assert_eq!(old["lines"][0], shown("A", "s1", [0, 0, 8, 0]));
    assert_eq!(app.get(&path("second")).expect(200).json, reservation_of(&second));

    let third = json!({"lines": [line("C", "s1", 1)], "replaces": "first"});
    let over = reserve(&app, third).refused(409, "reservation_not_active");
    assert_eq!(
        (&over["reservationId"], &over["reservation"]["status"]),
        (&json!("first"), &json!("released"))
    );
    let repeat = swap().expect(201);
    assert_eq!(
        (repeat.text(), repeat.header("idempotency-replayed")),
        (second.text(), Some("true"))
    );

    // A reserve of one level is replaced as well, and what has expired is not.
    let hold = app
        .post(&format!("{}/reserve", at("C")), json!({"quantity": 1, "ttlSeconds": 1}))
        .expect(201)["reservation"]
        .clone();
    let replace = json!({"lines": [line("C", "s1", 5)], "replaces": hold["reservationId"], "allowPartial": true,
        "ttlSeconds": 1});
    let replaced = reserve(&app, replace).expect(201);
    assert_eq!(
        (&replaced["lines"][0]["held"], &replaced["lines"][0]["requested"]),
        (&json!(1), &json!(5))
    );
    sleep_until(&replaced["expiresAt"]);
    let late = json!({"lines": [line("C", "s1", 1)], "replaces": replaced["reservationId"]});
    let late = reserve(&app, late).refused(409, "reservation_not_active");
    assert_eq!(late["reservation"]["status"], "expired");
}

#[test]
fn the_end_of_the_cart_that_is_given_back_is_not_what_a_shopper_is_told_to_wait_for() {
    let app = TestApp::start();
    app.stock("A", 10);
    let others = reserve(&app, json!({"lines": [line("A", "s1", 3)], "ttlSeconds": 600})).expect(201);
    let own = json!({"lines": [line("A", "s1", 4)], "ttlSeconds": 60, "reservationId": "own"});
    reserve(&app, own).expect(201);
    let more = json!({"lines": [line("A", "s1", 8)], "replaces": "own"});
    let refused = reserve(&app, more).refused(409, "insufficient_stock");
    assert_eq!((&refused["available"], &refused["reserved"]), (&json!(7), &json!(3)));
    assert_eq!(refused["nextExpiry"], others["expiresAt"]);
    assert_eq!(refused["lines"][0]["nextExpiry"], others["expiresAt"]);
}

#[test]
fn carts_of_the_same_skus_in_any_order_at_once_hold_all_there_is_and_no_more() {
    let app = TestApp::start();
    let skus = ["A", "B", "C", "D"];
    skus.iter().for_each(|sku| app.stock(sku, 30));
    let port = app.port;
    let send = |thread: usize| {
        let carts = (0..5).map(|round| {
            let lines: Vec<Value> = (0..4)
                .map(|i| line(skus[(thread * 3 + round + i) % 4], "s1", 1))
                .collect();
            reserve(&port, json!({"lines": lines}))
        });
        carts.collect()
    };
    let (made, refused): (Vec<_>, Vec<_>) = crate::concurrency::all_at_once(12, send)
        .into_iter()
        .partition(|answer| answer.status == 201);
    assert_eq!((made.len(), refused.len()), (30, 30));
    for answer in refused {
        let lines = answer.refused(409, "insufficient_stock")["lines"].clone();
        assert_eq!(lines.as_array().unwrap().len(), 4, "all ran out together");
    }
    assert!(skus.iter().all(|sku| app.state(sku) == (30, 30, 31)));

    let commit = |thread: usize| {
        let id = made[thread / 4]["reservationId"].as_str().unwrap();
        vec![port.post(
            &format!("{}/{}", path(id), ["commit", "release"][thread % 2]),
            json!({}),
        )]
    };
    let (done, late): (Vec<_>, Vec<_>) = crate::concurrency::all_at_once(16, commit)
        .into_iter()
        .partition(|answer| answer.status == 200);
    assert_eq!(
        (done.len(), late.len()),
        (4, 12),
        "each of four reservations ended once"
    );
    late.into_iter()
        .for_each(|answer| drop(answer.refused(409, "reservation_not_active")));
    let sold = done.iter().filter(|answer| answer["status"] == "committed").count() as u64;
    assert!(skus.iter().all(|sku| app.state(sku) == (30 - sold, 26, 35)));

    let choose = |thread: usize| {
        let lines = [line(skus[thread % 4], "s1", 1)];
        vec![reserve(&port, json!({"lines": lines, "reservationId": "chosen"}))]
    };
    skus.iter()
        .for_each(|sku| drop(app.post(&format!("{}/adjust", at(sku)), json!({"delta": 9}))));
    let answers = crate::concurrency::all_at_once(12, choose);
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(answers.iter().all(|answer| answer.status == 201
        || answer["error"] == "already_exists"
        || answer["error"] == "request_in_flight"));
    let held = || skus.iter().map(|sku| app.state(sku).1).sum::<u64>();
    assert_eq!(held(), 4 * 26 + 1);

    let body = json!({"lines": [line("A", "s1", 1), line("B", "s1", 1)]});
    let repeat = |_| {
        vec![
            app.port
                .post_with(RESERVATIONS, &[("idempotency-key", "k")], body.clone()),
        ]
    };
    let (told, waiting): (Vec<_>, Vec<_>) = crate::concurrency::all_at_once(12, repeat)
        .into_iter()
        .partition(|answer| answer.status == 201);
    waiting
        .into_iter()
        .for_each(|answer| drop(answer.refused(409, "request_in_flight")));
    let first = told
        .iter()
        .filter(|answer| answer.header("idempotency-replayed").is_none());
    assert_eq!(first.count(), 1);
    assert!(told.iter().all(|answer| answer.body == told[0].body));
    assert_eq!(held(), 4 * 26 + 1 + 2);
}
