//! Items: one SKU over all stores, with its totals, its details and a version of its own.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{
    Answer, Client, JSON, all_pages, at, at_in, column, comes_true, is_time, item, operation, sleep_until,
};
use crate::support::TestApp;

const ITEMS: &str = "/api/inventory/items";

fn create(app: &impl Client, body: Value) -> Answer {
    app.post(ITEMS, body)
}

fn found(app: &impl Client, query: &str) -> Vec<String> {
    column(&all_pages(app, &format!("{ITEMS}?{query}"), 1000), "sku")
}

/// The number under each name.
fn numbers(answer: &Answer, names: [&str; 4]) -> [u64; 4] {
    names.map(|name| {
        answer[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {}", answer.text()))
    })
}

/// Quantity, reserved, available and version of an item; its levels must add up to it.
#[track_caller]
fn totals(answer: &Answer) -> [u64; 4] {
    let levels = answer["levels"].as_array().unwrap();
    for name in ["quantity", "reserved", "available"] {
        let sum: u64 = levels.iter().map(|level| level[name].as_u64().unwrap()).sum();
        assert_eq!(answer[name], sum, "{}", answer.text());
    }
    numbers(answer, ["quantity", "reserved", "available", "version"])
}

#[test]
fn a_new_item_is_answered_whole_with_its_place_and_its_tag() {
    let app = TestApp::start();
    let body = json!({"sku": "A", "name": "Heart", "description": "T-light holder",
        "price": {"amount": 255, "currency": "GBP"}, "quantity": 7});
    let made = create(&app, body).expect(201);
    assert_eq!(made.header("location"), Some(&*item("A")));
    assert_eq!(made.header("etag"), Some("\"1\""));
    assert_eq!(made["seq"], 1);
    let mut read = app.get(&item("A")).expect(200);
    assert_eq!(read.header("etag"), Some("\"1\""));
    assert!(is_time(&read["createdAt"]) && is_time(&read["updatedAt"]));
    read.json["seq"] = json!(1);
    assert_eq!(read.json, made.json);
    let times = [&made["createdAt"], &made["updatedAt"], &made["levels"][0]["updatedAt"]];
    assert!(times.iter().all(|time| *time == times[0]));
    let level = json!({"sku": "A", "storeId": "default", "quantity": 7, "reserved": 0, "available": 7, "version": 1,
        "updatedAt": times[0]});
    let whole = json!({"sku": "A", "name": "Heart", "description": "T-light holder",
        "price": {"amount": 255, "currency": "GBP"}, "version": 1, "quantity": 7, "reserved": 0, "available": 7,
        "levels": [level], "createdAt": times[0], "updatedAt": times[0], "seq": 1});
    assert_eq!(made.json, whole);
}

#[test]
fn an_item_needs_a_sku_only_and_its_stock_goes_where_it_is_told() {
    let app = TestApp::start();
    let made = create(&app, json!({"sku": "A"})).expect(201);
    assert_eq!(
        (totals(&made), &made["levels"][0]["storeId"]),
        ([0, 0, 0, 1], &json!("default"))
    );
    for absent in ["name", "description", "price"] {
        assert_eq!(made.json.get(absent), None);
    }
    create(&app, json!({"sku": "B", "quantity": 5, "storeId": "s1"})).expect(201);
    assert_eq!(app.state("B"), (5, 0, 1));
    app.get(&at_in("default", "B")).refused(404, "not_found");
}

#[test]
fn a_sku_that_is_there_is_not_made_again_whatever_made_it() {
    let app = TestApp::start();
    create(&app, json!({"sku": "MADE", "quantity": 5})).expect(201);
    app.stock("COUNTED", 5);
    for sku in ["MADE", "COUNTED"] {
        for store in ["default", "s1", "s9"] {
            let refused =
                create(&app, json!({"sku": sku, "storeId": store, "quantity": 9})).refused(409, "already_exists");
            assert!(refused["detail"].as_str().unwrap().contains(sku));
        }
        assert_eq!(totals(&app.get(&item(sku)).expect(200)), [5, 0, 5, 1]);
    }
    create(&app, json!({"sku": "made"})).expect(201);
}

#[test]
fn of_many_that_make_an_item_at_once_one_does() {
    let app = TestApp::start();
    let port = app.port;
    let make = |i: usize| {
        vec![create(
            &port,
            json!({"sku": "A", "quantity": i, "storeId": format!("s{i}")}),
        )]
    };
    let answers = crate::concurrency::all_at_once(16, make);
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!(made.len(), 1);
    refused
        .into_iter()
        .for_each(|answer| drop(answer.refused(409, "already_exists")));
    assert_eq!(app.get(&item("A")).expect(200)["levels"], made[0]["levels"]);
}

#[test]
fn an_item_out_of_its_limits_is_refused_by_the_name_of_its_field() {
    let app = TestApp::start();
    let price = |price: Value| json!({"sku": "A", "price": price});
    for (body, field) in [
        (json!({}), "body"),
        (json!({"sku": ""}), "sku"),
        (json!({"sku": " A"}), "sku"),
        (json!({"sku": ".."}), "sku"),
        (json!({"sku": 7}), "sku"),
        (json!({"sku": "x".repeat(65)}), "sku"),
        (json!({"sku": "A", "name": ""}), "name"),
        (json!({"sku": "A", "name": null}), "name"),
        (json!({"sku": "A", "name": "é".repeat(256)}), "name"),
        (json!({"sku": "A", "description": ""}), "description"),
        (json!({"sku": "A", "description": null}), "description"),
        (json!({"sku": "A", "description": "é".repeat(4001)}), "description"),
        (json!({"sku": "A", "quantity": -1}), "quantity"),
        (json!({"sku": "A", "quantity": 1.5}), "quantity"),
        (json!({"sku": "A", "quantity": null}), "quantity"),
        (json!({"sku": "A", "quantity": "1"}), "quantity"),
        (json!({"sku": "A", "quantity": 9_007_199_254_740_992_u64}), "quantity"),
        (json!({"sku": "A", "storeId": ""}), "storeId"),
        (json!({"sku": "A", "storeId": null}), "storeId"),
        (json!({"sku": "A", "expectedVersion": 0}), "expectedVersion"),
        (json!({"sku": "A", "Name": "x"}), "Name"),
        (price(json!(null)), "price"),
        (price(json!(5)), "price"),
        (price(json!({"amount": 5})), "price"),
        (price(json!({"currency": "EUR"})), "price"),
        (price(json!({"amount": -1, "currency": "EUR"})), "price.amount"),
        (price(json!({"amount": 1.5, "currency": "EUR"})), "price.amount"),
        (
            price(json!({"amount": 9_007_199_254_740_992_u64, "currency": "EUR"})),
            "price.amount",
        ),
        (price(json!({"amount": 5, "currency": "eur"})), "price.currency"),
        (price(json!({"amount": 5, "currency": "EURO"})), "price.currency"),
        (price(json!({"amount": 5, "currency": ""})), "price.currency"),
        (price(json!({"amount": 5, "currency": "EUR", "tax": 1})), "price.tax"),
    ] {
        let refused = create(&app, body.clone()).refused(400, "invalid_request");
        assert!(refused.fields().len() == 1, "{body}: {:?}", refused.fields());
        let told = refused["detail"].as_str().unwrap();
        assert!(
            field == "body" || told.contains(field.rsplit('.').next().unwrap()),
            "{body}: {told}"
        );
    }
    assert_eq!(app.get(ITEMS).expect(200)["items"], json!([]));
    let most = json!({"sku": "A", "name": "名".repeat(255), "description": "名".repeat(4000),
        "price": {"amount": 9_007_199_254_740_991_u64, "currency": "JPY"}, "quantity": 9_007_199_254_740_991_u64});
    let made = create(&app, most).expect(201);
    assert_eq!(made["price"]["amount"], 9_007_199_254_740_991_u64);
    create(&app, json!({"sku": "B", "price": {"amount": 0, "currency": "EUR"}})).expect(201);
}

#[test]
fn an_item_that_the_client_has_already_is_not_sent_again() {
    let app = TestApp::start();
    app.get(&item("A")).refused(404, "not_found");
    app.stock("A", 5);
    for (tags, status) in [
        ("\"1\"", 304),
        ("W/\"1\"", 304),
        ("*", 304),
        ("\"9\", \"1\"", 304),
        ("\"2\"", 200),
        ("\"01\"", 200),
    ] {
        let answer = app.get_with(&item("A"), &[("if-none-match", tags)]).expect(status);
        assert_eq!(
            (answer.header("etag"), answer.body.is_empty()),
            (Some("\"1\""), status == 304),
            "{tags}"
        );
    }
    app.put(&at_in("s2", "A"), json!({"quantity": 1})).expect(201);
    app.get_with(&item("A"), &[("if-none-match", "\"1\"")]).expect(200);
    app.get_with(&item("A"), &[("if-none-match", "1")])
        .refused(400, "invalid_request");
}

#[test]
fn an_items_version_rises_with_each_event_of_any_of_its_levels() {
    let app = TestApp::start();
    create(&app, json!({"sku": "A", "quantity": 10})).expect(201);
    let mut version = 1;
    let mut check = |answer: Answer, levels: usize| {
        assert!(answer.status < 300, "{}", answer.text());
        version += 1;
        let read = app.get(&item("A")).expect(200);
        assert_eq!(totals(&read)[3], version, "{}", read.text());
        assert_eq!(read["levels"].as_array().unwrap().len(), levels);
    };
    let d = at_in("default", "A");
    check(app.put(&at("A"), json!({"quantity": 5})), 2);
    check(app.post(&format!("{d}/adjust"), json!({"delta": -3})), 2);
    check(app.post(&format!("{}/reserve", at("A")), json!({"quantity": 2})), 2);
    check(app.post(&format!("{}/release", at("A")), json!({"quantity": 1})), 2);
    check(app.put(&at("A"), json!({"quantity": 5})), 2);
    check(app.put(&format!("{}/quantity", item("A")), json!({"quantity": 4})), 2);
    check(
        app.post(
            "/api/transfers",
            json!({"sku": "A", "fromStoreId": "s1", "toStoreId": "s3", "quantity": 1}),
        ),
        3,
    );
    check(
        app.post(
            &format!("{}/reserve", item("A")),
            json!({"quantity": 1, "ttlSeconds": 1}),
        ),
        3,
    );
    let expired = || app.get(&item("A")).expect(200)["version"] == 10;
    assert!(comes_true(Duration::from_secs(3), expired));
    app.post(&format!("{d}/adjust"), json!({"delta": -99}))
        .refused(409, "insufficient_stock");
    assert_eq!(totals(&app.get(&item("A")).expect(200)), [9, 1, 8, 10]);
    let stores = column(app.get(&item("A")).expect(200)["levels"].as_array().unwrap(), "storeId");
    assert_eq!(stores, ["default", "s1", "s3"]);
}

#[test]
fn a_count_of_an_item_answers_200_also_where_it_makes_the_level() {
    let app = TestApp::start();
    let path = format!("{}/quantity", item("A"));
    app.put(&path, json!({"quantity": 5})).refused(404, "not_found");
    app.put(&path, json!({"quantity": 5, "expectedVersion": 0}))
        .refused(404, "not_found");
    app.put_with(&path, &[("if-match", "\"1\"")], json!({"quantity": 5}))
        .refused(404, "not_found");
    app.stock("A", 10);
    let made = app.put(&path, json!({"quantity": 5})).expect(200);
    assert_eq!((totals(&made), made.header("location")), ([15, 0, 15, 2], None));
    assert_eq!(made.header("etag"), Some("\"2\""));
    assert_eq!(made["seq"], 2);
    let counted = app.put(&path, json!({"quantity": 3, "storeId": "s1"})).expect(200);
    assert_eq!(totals(&counted), [8, 0, 8, 3]);
    assert_eq!(app.state("A"), (3, 0, 2));
    app.post(
        &format!("{}/reserve", item("A")),
        json!({"quantity": 4, "storeId": "default"}),
    )
    .expect(201);
    app.put(&path, json!({"quantity": 3})).refused(409, "below_reserved");
    let same = app.put(&path, json!({"quantity": 5})).expect(200);
    assert_eq!(
        totals(&same),
        [8, 4, 4, 5],
        "a count is an event though it finds no difference"
    );
}

#[test]
fn the_versions_of_an_item_route_are_the_items() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.put(&at_in("default", "A"), json!({"quantity": 10})).expect(201);
    app.put(&at("A"), json!({"quantity": 11})).expect(200);
    // The item is at 3, s1 at 2, default at 1.
    for (action, body) in [
        ("quantity", json!({"quantity": 5})),
        ("reserve", json!({"quantity": 1})),
        ("release", json!({"quantity": 1})),
    ] {
        let path = format!("{}/{action}", item("A"));
        let method = if action == "quantity" { "PUT" } else { "POST" };
        let send = |headers: &[(&str, &str)], body: &Value| {
            app.send(
                method,
                &path,
                &[&[JSON], headers].concat(),
                Some(body.to_string().as_bytes()),
            )
        };
        let before = app.get(&item("A")).expect(200)["version"].as_u64().unwrap();
        if action != "release" {
            for wrong in [0, 1, 2, before + 1] {
                let mut body = body.clone();
                body["expectedVersion"] = json!(wrong);
                let refused = send(&[], &body).refused(409, "version_mismatch");
                assert_eq!(refused["currentVersion"], before);
            }
        }
        for wrong in ["\"1\"", "\"2\"", "W/\"3\""] {
            assert_eq!(
                send(&[("if-match", wrong)], &body).refused(412, "precondition_failed")["currentVersion"],
                before
            );
        }
        send(&[("if-none-match", "*")], &body).refused(412, "precondition_failed");
        let done = send(&[("if-match", &format!("\"{before}\""))], &body);
        assert_eq!(done["version"], before + 1, "{}", done.text());
    }
    let last = app.get(&item("A")).expect(200)["version"].clone();
    let body = json!({"quantity": 7, "expectedVersion": last, "storeId": "s9"});
    let made = app.put(&format!("{}/quantity", item("A")), body).expect(200);
    assert_eq!(made["version"], last.as_u64().unwrap() + 1);
}

#[test]
fn stock_is_held_and_given_back_by_item_in_default_or_where_it_is_told() {
    let app = TestApp::start();
    let (reserve, release) = (format!("{}/reserve", item("A")), format!("{}/release", item("A")));
    app.post(&reserve, json!({"quantity": 1})).refused(404, "not_found");
    app.post(&release, json!({"quantity": 1})).refused(404, "not_found");
    app.stock("A", 10);
    app.post(&reserve, json!({"quantity": 1})).refused(404, "not_found");
    app.post(&release, json!({"quantity": 1})).refused(404, "not_found");
    app.put(&at_in("default", "A"), json!({"quantity": 3})).expect(201);
    let held = app
        .post(&reserve, json!({"quantity": 2, "ttlSeconds": 600, "reference": "r"}))
        .expect(201);
    assert_eq!((totals(&held), held.header("etag")), ([13, 2, 11, 3], Some("\"3\"")));
    assert_eq!(held["reservation"]["lines"][0]["storeId"], "default");
    let short = app
        .post(&reserve, json!({"quantity": 2}))
        .refused(409, "insufficient_stock");
    assert_eq!((&short["available"], &short["reserved"]), (&json!(1), &json!(2)));
    assert_eq!(short["nextExpiry"], held["reservation"]["expiresAt"]);
    app.post(&reserve, json!({"quantity": 4, "storeId": "s1"})).expect(201);
    assert_eq!(app.state("A"), (10, 4, 2));
    let released = app.post(&release, json!({"quantity": 3, "storeId": "s1"})).expect(200);
    assert_eq!(totals(&released), [13, 3, 10, 5]);
    app.post(
        &release,
        json!({"reservationId": held["reservation"]["reservationId"], "storeId": "s1"}),
    )
    .refused(409, "not_reserved");
    app.post(&release, json!({"reservationId": held["reservation"]["reservationId"]}))
        .expect(200);
    app.post(&release, json!({"reservationId": "nobody's"}))
        .refused(404, "not_found");
    assert_eq!(totals(&app.get(&item("A")).expect(200)), [13, 1, 12, 6]);
}

#[test]
fn a_repeat_shows_the_item_as_it_was_after_whatever_has_come_since_also_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let writes = |app: &TestApp| {
        let send = |method: &str, path: &str, key: &str, body: Value| {
            let headers = [JSON, ("idempotency-key", key)];
            app.send(method, path, &headers, Some(body.to_string().as_bytes()))
        };
        vec![
            send(
                "POST",
                ITEMS,
                "k1",
                json!({"sku": "A", "name": "Größe", "price": {"amount": 1, "currency": "EUR"}, "quantity": 9}),
            ),
            send(
                "PUT",
                &format!("{}/quantity", item("A")),
                "k2",
                json!({"quantity": 5, "storeId": "s2"}),
            ),
            send(
                "POST",
                &format!("{}/reserve", item("A")),
                "k3",
                json!({"quantity": 3, "reservationId": "r"}),
            ),
            send(
                "POST",
                &format!("{}/release", item("A")),
                "k4",
                json!({"reservationId": "r"}),
            ),
            send(
                "POST",
                "/api/transfers",
                "k5",
                json!({"sku": "A", "fromStoreId": "default", "toStoreId": "s2", "quantity": 2}),
            ),
        ]
    };
    let first = writes(&app);
    assert_eq!(
        first.iter().map(|answer| answer.status).collect::<Vec<_>>(),
        [201, 200, 201, 200, 200]
    );
    for i in 0..20 {
        app.put(&at_in(&format!("t{i}"), "A"), json!({"quantity": i, "reorderPoint": 5}))
            .expect(201);
    }
    app.post(&format!("{}/adjust", at_in("s2", "A")), json!({"delta": 4}))
        .expect(200);
    let last = app.get(&item("A")).expect(200);
    for round in 0..3 {
        for ((first, again), key) in first.iter().zip(&writes(&app)).zip(["k1", "k2", "k3", "k4", "k5"]) {
            assert_eq!(
                (again.status, again.text()),
                (first.status, first.text()),
                "round {round}"
            );
            assert_eq!(again.body, first.body);
            for header in ["etag", "location", "content-type"] {
                assert_eq!(again.header(header), first.header(header));
            }
            assert_eq!(again.header("idempotency-replayed"), Some("true"));
            let told = app.get(&operation(key)).expect(200);
            assert_eq!(told["answer"], json!({"status": first.status, "body": first.json}));
            assert_eq!(told["seq"], first["seq"]);
        }
        assert_eq!(app.get(&item("A")).expect(200).json, last.json);
        app.kill();
        app = TestApp::start_in(folder.path(), 0, &[]);
    }
}

#[test]
fn a_sku_may_hold_slashes_spaces_and_any_letters() {
    let app = TestApp::start();
    for (sku, encoded) in [
        ("AB/12", "AB%2F12"),
        ("BANK CHARGES", "BANK%20CHARGES"),
        ("Größe", "Gr%C3%B6%C3%9Fe"),
        ("名前", "%E5%90%8D%E5%89%8D"),
        ("100%", "100%25"),
        ("a?b#c", "a%3Fb%23c"),
        ("a+b", "a%2Bb"),
        ("quantity", "quantity"),
        ("a\\b\"", "a%5Cb%22"),
        ("🎁", "%F0%9F%8E%81"),
    ] {
        let made = create(&app, json!({"sku": sku, "quantity": 5})).expect(201);
        assert_eq!(made.header("location"), Some(&*item(encoded)), "{sku}");
        let read = app.get(made.header("location").unwrap()).expect(200);
        assert_eq!(read["sku"], sku);
        app.put(&format!("{}/quantity", item(encoded)), json!({"quantity": 6}))
            .expect(200);
        app.post(&format!("{}/reserve", item(encoded)), json!({"quantity": 1}))
            .expect(201);
        let released = app
            .post(&format!("{}/release", item(encoded)), json!({"quantity": 1}))
            .expect(200);
        assert_eq!(totals(&released), [6, 0, 6, 4]);
        assert_eq!(found(&app, &format!("q={encoded}")), [sku]);
    }
}

#[test]
fn a_level_route_has_its_store_in_its_path_only() {
    let app = TestApp::start();
    app.stock("A", 10);
    let put = app
        .put(&at("A"), json!({"quantity": 5, "storeId": "s1"}))
        .refused(400, "invalid_request");
    assert_eq!(put.fields(), ["storeId"]);
    for (action, body) in [
        ("reserve", json!({"quantity": 1, "storeId": "s1"})),
        ("release", json!({"quantity": 1, "storeId": "s1"})),
        ("adjust", json!({"delta": 1, "storeId": "s1"})),
    ] {
        app.post(&format!("{}/{action}", at("A")), body)
            .refused(400, "invalid_request");
    }
    assert_eq!(app.state("A"), (10, 0, 1));
}

#[test]
fn null_is_no_value_for_a_member_of_an_item_route() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.put(&at_in("default", "A"), json!({"quantity": 5})).expect(201);
    let send = |action: &str, body: Value| {
        let method = if action == "quantity" { "PUT" } else { "POST" };
        app.send(
            method,
            &format!("{}/{action}", item("A")),
            &[JSON],
            Some(body.to_string().as_bytes()),
        )
    };
    for (action, members) in [
        (
            "quantity",
            &[
                "quantity",
                "storeId",
                "expectedVersion",
                "countedAt",
                "note",
                "idempotencyKey",
                "dryRun",
            ][..],
        ),
        (
            "reserve",
            &[
                "quantity",
                "storeId",
                "expectedVersion",
                "ttlSeconds",
                "reservationId",
                "reference",
                "idempotencyKey",
                "dryRun",
            ],
        ),
        (
            "release",
            &["quantity", "storeId", "reservationId", "idempotencyKey", "dryRun"],
        ),
    ] {
        for member in members {
            let mut body = json!({"quantity": 1});
            body[*member] = Value::Null;
            let refused = send(action, body).refused(400, "invalid_request");
            assert_eq!(refused.fields(), [*member], "{action}");
        }
        let unknown = send(action, json!({"quantity": 1, "expectedversion": 1})).refused(400, "invalid_request");
        assert_eq!(unknown.fields().len(), 1);
    }
    assert_eq!(totals(&app.get(&item("A")).expect(200)), [15, 0, 15, 2]);
}

#[test]
fn a_dry_run_of_an_item_write_tells_and_changes_nothing() {
    let app = TestApp::start();
    let dry = create(&app, json!({"sku": "A", "quantity": 5, "dryRun": true})).expect(200);
    assert_eq!(
        (&dry["dryRun"], dry.json.get("seq"), dry.header("etag")),
        (&json!(true), None, None)
    );
    app.get(&item("A")).refused(404, "not_found");
    create(&app, json!({"sku": "A", "quantity": 5})).expect(201);
    create(&app, json!({"sku": "A", "dryRun": true})).refused(409, "already_exists");
    let dry = app
        .put(
            &format!("{}/quantity", item("A")),
            json!({"quantity": 9, "storeId": "s2", "dryRun": true}),
        )
        .expect(200);
    assert_eq!(totals(&dry), [14, 0, 14, 2]);
    let dry = app
        .post(
            &format!("{}/reserve", item("A")),
            json!({"quantity": 2, "dryRun": true}),
        )
        .expect(200);
    assert_eq!(totals(&dry), [5, 2, 3, 2]);
    assert_eq!(totals(&app.get(&item("A")).expect(200)), [5, 0, 5, 1]);
}

#[test]
fn an_items_total_stays_within_what_every_reader_can_hold() {
    let app = TestApp::start();
    let most = 9_007_199_254_740_991_u64;
    create(&app, json!({"sku": "A", "quantity": most})).expect(201);
    app.put(&at("A"), json!({"quantity": 1})).refused(409, "quantity_limit");
    app.put(
        &format!("{}/quantity", item("A")),
        json!({"quantity": 1, "storeId": "s1"}),
    )
    .refused(409, "quantity_limit");
    app.put(&at("A"), json!({"quantity": 0})).expect(201);
    app.post(
        "/api/transfers",
        json!({"sku": "A", "fromStoreId": "default", "toStoreId": "s1", "quantity": most}),
    )
    .expect(200);
    app.post(&format!("{}/adjust", at_in("default", "A")), json!({"delta": 1}))
        .refused(409, "quantity_limit");
    assert_eq!(totals(&app.get(&item("A")).expect(200)), [most, 0, most, 3]);
}

fn catalogue() -> TestApp {
    let app = TestApp::start();
    for (sku, name) in [
        ("85123A", "White Hanging HEART T-Light Holder"),
        ("85123a", "white hanging heart"),
        ("851", "Cream cupid hearts coat hanger"),
        ("22423", "Regency Cakestand 3 Tier"),
        ("HEART-1", "Große Straße, blau"),
        ("ÄPFEL", "Äpfel/rot (heart)"),
    ] {
        create(&app, json!({"sku": sku, "name": name, "quantity": 1})).expect(201);
    }
    app.stock("BANK%20CHARGES", 5);
    app
}

#[test]
fn a_search_finds_the_beginning_of_a_sku_and_whole_words_of_a_name_in_any_case() {
    let app = catalogue();
    for (q, expected) in [
        ("85123a", &["85123A", "85123a"][..]),
        ("85123A", &["85123A", "85123a"]),
        ("851", &["851", "85123A", "85123a"]),
        ("heart", &["85123A", "85123a", "HEART-1", "ÄPFEL"]),
        ("HEART", &["85123A", "85123a", "HEART-1", "ÄPFEL"]),
        ("hearts", &["851"]),
        ("heart%20white", &["85123A", "85123a"]),
        ("heart+holder", &["85123A"]),
        ("white%20nothing", &[]),
        ("bank%20ch", &["BANK CHARGES"]),
        ("charges", &[]),
        ("stra%C3%9Fe", &["HEART-1"]),
        ("%C3%A4pf", &["ÄPFEL"]),
        ("rot", &["ÄPFEL"]),
        ("%C3%84PFEL%20ROT", &["ÄPFEL"]),
        ("3", &["22423"]),
        ("23", &[]),
        ("t-light", &["85123A"]),
        ("zzz", &[]),
    ] {
        assert_eq!(found(&app, &format!("q={q}")), expected, "{q}");
        for limit in [1, 2] {
            assert_eq!(
                column(&all_pages(&app, &format!("{ITEMS}?q={q}"), limit), "sku"),
                expected,
                "{q} by {limit}"
            );
        }
    }
    assert_eq!(found(&app, "q=").len(), 7);
}

#[test]
fn a_list_shows_each_item_as_it_is_read_alone() {
    let app = catalogue();
    app.put(&at_in("s2", "851"), json!({"quantity": 4, "reorderPoint": 1}))
        .expect(201);
    app.post(&format!("{}/reserve", item("22423")), json!({"quantity": 1}))
        .expect(201);
    let rows = all_pages(&app, ITEMS, 1000);
    assert_eq!(rows.len(), 7);
    for row in rows {
        let sku = row["sku"].as_str().unwrap().replace('Ä', "%C3%84").replace(' ', "%20");
        assert_eq!(row, app.get(&item(&sku)).expect(200).json);
    }
}

#[test]
fn a_list_of_a_store_shows_what_has_a_level_there() {
    let app = catalogue();
    app.put(&at("22423"), json!({"quantity": 0})).expect(201);
    assert_eq!(found(&app, "storeId=s1"), ["22423", "BANK CHARGES"]);
    assert_eq!(found(&app, "storeId=default").len(), 6);
    assert_eq!(found(&app, "storeId=default&q=851"), ["851", "85123A", "85123a"]);
    assert_eq!(found(&app, "storeId=s1&q=regency"), ["22423"]);
    assert_eq!(found(&app, "storeId=S1"), [""; 0]);
}

#[test]
fn a_list_of_low_stock_shows_levels_at_or_below_their_reorder_point() {
    let app = TestApp::start();
    for (store, sku, quantity, point) in [
        ("s1", "above", 6, Some(5)),
        ("s1", "at", 5, Some(5)),
        ("s1", "below", 4, Some(5)),
        ("s1", "none", 0, None),
        ("s1", "empty", 0, Some(0)),
        ("s1", "elsewhere", 9, Some(5)),
        ("s2", "elsewhere", 1, Some(5)),
        ("s1", "held", 9, Some(5)),
        ("s1", "cleared", 1, Some(5)),
    ] {
        let mut body = json!({"quantity": quantity});
        if let Some(point) = point {
            body["reorderPoint"] = json!(point);
        }
        app.put(&at_in(store, sku), body).expect(201);
    }
    app.hold("held", 4);
    app.put(&at("cleared"), json!({"quantity": 1, "reorderPoint": null}))
        .expect(200);
    assert_eq!(
        found(&app, "lowStock=true"),
        ["at", "below", "elsewhere", "empty", "held"]
    );
    assert_eq!(
        found(&app, "lowStock=true&storeId=s1"),
        ["at", "below", "empty", "held"]
    );
    assert_eq!(found(&app, "lowStock=true&storeId=s2"), ["elsewhere"]);
    assert_eq!(found(&app, "lowStock=true&q=e"), ["elsewhere", "empty"]);
    assert_eq!(found(&app, "lowStock=false").len(), 8);
    app.post(&format!("{}/release", at("held")), json!({"quantity": 4}))
        .expect(200);
    app.post(&format!("{}/adjust", at("at")), json!({"delta": 1}))
        .expect(200);
    app.post(&format!("{}/adjust", at("above")), json!({"delta": -1}))
        .expect(200);
    assert_eq!(found(&app, "lowStock=true&storeId=s1"), ["above", "below", "empty"]);
    for limit in [1, 2, 3] {
        let rows = all_pages(&app, &format!("{ITEMS}?lowStock=true&storeId=s1"), limit);
        assert_eq!(column(&rows, "sku"), ["above", "below", "empty"]);
    }
    app.get(&format!("{ITEMS}?lowStock=yes"))
        .refused(400, "invalid_request");
    app.get(&format!("{ITEMS}?lowStock")).refused(400, "invalid_request");
}

#[test]
fn a_list_shows_what_was_held_as_available_from_the_moment_the_hold_is_over() {
    let app = TestApp::start();
    let operations: Vec<Value> = (0..300)
        .map(|i| json!({"op": "set", "sku": format!("S{i:03}"), "storeId": "s1", "quantity": 10, "reorderPoint": 5}))
        .collect();
    app.post("/api/inventory/batch", json!({"operations": operations}))
        .expect(200);
    let operations: Vec<Value> = (0..300)
        .map(|i| json!({"op": "reserve", "sku": format!("S{i:03}"), "storeId": "s1", "quantity": 8, "ttlSeconds": 2}))
        .collect();
    let held = app
        .post("/api/inventory/batch", json!({"operations": operations}))
        .expect(200);
    let results = held["results"].as_array().unwrap();
    assert_eq!(found(&app, "lowStock=true").len(), 300);
    let last = results
        .iter()
        .map(|result| &result["reservation"]["expiresAt"])
        .max_by_key(|at| at.as_str())
        .unwrap();
    sleep_until(last);
    let low = app.get(&format!("{ITEMS}?lowStock=true&limit=1000")).expect(200);
    let rows = all_pages(&app, ITEMS, 1000);
    assert!(rows.iter().all(|row| row["available"] == 10 && row["reserved"] == 0));
    let wrong = low["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["levels"][0]["available"] == 10);
    assert_eq!(wrong.count(), 0, "items that are not low are listed as low");
}

#[test]
fn pages_of_items_show_every_item_once_whatever_their_size() {
    let app = TestApp::start();
    let skus: Vec<String> = (0..13)
        .map(|i| format!("{}{i:02}", if i % 2 == 0 { 's' } else { 'S' }))
        .collect();
    for sku in &skus {
        create(&app, json!({"sku": sku, "name": "one of many"})).expect(201);
    }
    for limit in 1..=14 {
        for query in [
            "",
            "?q=s",
            "?q=many",
            "?storeId=default",
            "?q=one%20many&storeId=default",
        ] {
            assert_eq!(
                column(&all_pages(&app, &format!("{ITEMS}{query}"), limit), "sku"),
                skus,
                "{query} by {limit}"
            );
        }
    }
}

#[test]
fn a_cursor_of_items_is_good_for_its_own_filters_only() {
    let app = TestApp::start();
    for sku in ["a1", "a2", "a3"] {
        app.put(&at(sku), json!({"quantity": 0, "reorderPoint": 5})).expect(201);
    }
    let lists = [
        "",
        "q=a&",
        "q=A&",
        "storeId=s1&",
        "lowStock=true&",
        "q=a&storeId=s1&",
        "q=s1&",
    ];
    let next = |list: &str| {
        app.get(&format!("{ITEMS}?{list}limit=1")).expect(200)["next"]
            .as_str()
            .map(str::to_owned)
    };
    for list in lists {
        let Some(cursor) = next(list) else { continue };
        for other in lists.iter().filter(|other| **other != list) {
            let refused = app.get(&format!("{ITEMS}?{other}after={cursor}"));
            assert_eq!(
                refused.refused(400, "invalid_request").fields(),
                ["after"],
                "{list} in {other}"
            );
        }
        app.get(&format!("/api/inventory/stores/s1/inventory?after={cursor}"))
            .refused(400, "invalid_request");
        app.get(&format!("/api/movements?after={cursor}"))
            .refused(400, "invalid_request");
        for i in 0..cursor.len() {
            let letter = if cursor.as_bytes()[i] == b'B' { "C" } else { "B" };
            let edited = format!("{}{letter}{}", &cursor[..i], &cursor[i + 1..]);
            app.get(&format!("{ITEMS}?{list}after={edited}"))
                .refused(400, "invalid_request");
        }
    }
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=",
        "limit=x",
        "x=1",
        "Q=a",
        "storeid=s1",
        "q=a&q=b",
        "q=%FF",
        "storeId=",
        "storeId=..",
    ] {
        app.get(&format!("{ITEMS}?{query}")).refused(400, "invalid_request");
    }
    app.get(&format!("{ITEMS}?limit=1000")).expect(200);
}

#[test]
fn a_price_is_an_object() {
    let app = TestApp::start();
    create(&app, json!({"sku": "A", "price": [255, "GBP"]})).refused(400, "invalid_request");
    app.get(&item("A")).refused(404, "not_found");
}
