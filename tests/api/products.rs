//! Products: what the catalogue says of a SKU, beside its stock.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Client, JSON, all_pages, at, at_in, column, from_now, is_time, item, operation};
use crate::support::TestApp;

const PRODUCTS: &str = "/api/products";

fn product(sku: &str) -> String {
    format!("{PRODUCTS}/{sku}")
}

fn delete(app: &impl Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    app.send("DELETE", path, headers, None)
}

fn whole(app: &mut TestApp) {
    assert!(app.terminate().success());
    let output = std::process::Command::new(crate::support::HOLDFAST)
        .args(["verify", "--data-dir"])
        .arg(app.folder())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_new_product_is_answered_whole_and_is_an_item_without_levels() {
    let app = TestApp::start();
    let body = json!({"sku": "AB/12", "name": "Heart", "description": "T-light holder",
        "price": {"amount": 255, "currency": "GBP"}, "attributes": {"colour": "white", "grams": 12.5, "fragile": true}});
    let made = app.post(PRODUCTS, body).expect(201);
    assert_eq!(made.header("location"), Some("/api/products/AB%2F12"));
    assert_eq!((made.header("etag"), &made["seq"]), (Some("\"1\""), &json!(1)));
    assert!(is_time(&made["createdAt"]));
    let expected = json!({"sku": "AB/12", "name": "Heart", "description": "T-light holder",
        "price": {"amount": 255, "currency": "GBP"}, "attributes": {"colour": "white", "grams": 12.5, "fragile": true},
        "archived": false, "version": 1, "createdAt": made["createdAt"], "updatedAt": made["createdAt"], "seq": 1});
    assert_eq!(made.json, expected);
    let mut read = app.get(&product("AB%2F12")).expect(200);
    assert_eq!(read.header("etag"), Some("\"1\""));
    read.json["seq"] = json!(1);
    assert_eq!(read.json, expected);
    let item = app.get(&item("AB%2F12")).expect(200);
    assert_eq!(
        (&item["name"], &item["quantity"], &item["levels"]),
        (&json!("Heart"), &json!(0), &json!([]))
    );
    assert_eq!(
        column(&all_pages(&app, "/api/inventory/items?q=heart", 10), "sku"),
        ["AB/12"]
    );
    app.get_with(&product("AB%2F12"), &[("if-none-match", "\"1\"")])
        .expect(304);
    assert_eq!(
        app.get("/api/events").expect(200)["items"],
        json!([]),
        "the feed is of stock"
    );
}

#[test]
fn stock_makes_a_product_that_is_called_as_its_sku_until_it_is_named() {
    let app = TestApp::start();
    app.stock("A", 5);
    let first = app.get(&product("A")).expect(200);
    let times = [&first["createdAt"], &first["updatedAt"]];
    assert_eq!(times[0], times[1]);
    assert_eq!((&first["name"], &first["version"]), (&json!("A"), &json!(1)));
    app.post(&format!("{}/adjust", at("A")), json!({"delta": -2}))
        .expect(200);
    assert_eq!(
        app.get(&product("A")).expect(200).json,
        first.json,
        "a sale is no change of the product"
    );
    app.post(PRODUCTS, json!({"sku": "A", "name": "Heart"}))
        .refused(409, "already_exists");
    let batch = json!({"operations": [{"op": "set", "sku": "A", "storeId": "s1", "quantity": 3, "name": "Heart"}]});
    app.post("/api/inventory/batch", batch).expect(200);
    let named = app.get(&product("A")).expect(200);
    assert_eq!((&named["name"], &named["version"]), (&json!("Heart"), &json!(2)));
    app.post("/api/inventory/items", json!({"sku": "B", "name": "Stone"}))
        .expect(201);
    assert_eq!(app.get(&product("B")).expect(200)["version"], 1);
}

#[test]
fn a_put_sets_all_that_a_product_has_and_its_item_shows_it() {
    let app = TestApp::start();
    app.stock("A", 5);
    app.put(
        &product("A"),
        json!({"name": "Heart", "description": "x", "attributes": {"a": 1}}),
    )
    .expect(200);
    let after = app
        .put(
            &product("A"),
            json!({"name": "Stone", "archived": true, "expectedVersion": 2}),
        )
        .expect(200);
    assert_eq!(after.header("etag"), Some("\"3\""));
    assert_eq!(
        (&after["name"], &after["archived"], &after["attributes"]),
        (&json!("Stone"), &json!(true), &json!({}))
    );
    assert_eq!(after.json.get("description"), None);
    assert!(after["updatedAt"].as_str() >= after["createdAt"].as_str());
    let shown = app.get(&item("A")).expect(200);
    assert_eq!(
        (&shown["name"], &shown["version"], &shown["quantity"]),
        (&json!("Stone"), &json!(3), &json!(5))
    );
    assert_eq!(
        shown["levels"][0]["version"], 1,
        "a product's change is none of its levels'"
    );
    app.put(&product("B"), json!({"name": "x"})).refused(404, "not_found");
    let stale = app
        .put(&product("A"), json!({"name": "x", "expectedVersion": 2}))
        .refused(409, "version_mismatch");
    assert_eq!((&stale["currentVersion"], stale.json.get("storeId")), (&json!(3), None));
    for (header, tag, status) in [
        ("if-match", "\"2\"", 412),
        ("if-none-match", "\"3\"", 412),
        ("if-match", "\"3\"", 200),
    ] {
        app.put_with(&product("A"), &[(header, tag)], json!({"name": "Stone"}))
            .expect(status);
    }
    assert_eq!(app.get(&product("A")).expect(200)["version"], 4);
    let minimal = app
        .put_with(&product("A"), &[("prefer", "return=minimal")], json!({"name": "Stone"}))
        .expect(204);
    assert_eq!(
        (minimal.header("etag"), minimal.header("preference-applied")),
        (Some("\"5\""), Some("return=minimal"))
    );
}

#[test]
fn products_are_listed_by_prefix_word_and_whether_they_are_archived() {
    let app = TestApp::start();
    for (sku, name, archived) in [
        ("b1", "White heart", false),
        ("B2", "Red stone", true),
        ("a", "Heart of b", false),
    ] {
        app.post(PRODUCTS, json!({"sku": sku, "name": name, "archived": archived}))
            .expect(201);
    }
    app.stock("b3", 1);
    let found = |query: &str| column(&all_pages(&app, &format!("{PRODUCTS}?{query}"), 1), "sku");
    assert_eq!(found(""), ["a", "b1", "B2", "b3"]);
    assert_eq!(found("q=b"), ["a", "b1", "B2", "b3"]);
    assert_eq!(found("q=HEART"), ["a", "b1"]);
    assert_eq!(found("archived=true"), ["B2"]);
    assert_eq!(found("archived=false"), ["a", "b1", "b3"]);
    for query in ["archived=yes", "lowStock=true", "limit=0", "after=x"] {
        app.get(&format!("{PRODUCTS}?{query}")).refused(400, "invalid_request");
    }
}

#[test]
fn a_product_with_stock_or_holds_is_not_deleted_and_nothing_is_changed() {
    let app = TestApp::start();
    app.stock("A", 2);
    app.put(&at_in("s2", "A"), json!({"quantity": 0})).expect(201);
    let before = app.get(&item("A")).expect(200).json;
    let refused = delete(&app, &product("A"), &[]).refused(409, "in_use");
    assert_eq!((&refused["sku"], &refused["storeId"]), (&json!("A"), &json!("s1")));
    let reservation = app.hold("A", 2);
    delete(&app, &product("A"), &[]).refused(409, "in_use");
    app.post(&format!("{}/release", at("A")), json!({"reservationId": reservation}))
        .expect(200);
    app.post(&format!("{}/adjust", at("A")), json!({"delta": -2}))
        .expect(200);
    assert_eq!(
        app.get(&item("A")).expect(200)["version"],
        before["version"].as_u64().unwrap() + 3
    );
    delete(&app, &product("A"), &[("if-match", "\"7\"")]).refused(412, "precondition_failed");
    let gone = delete(&app, &product("A"), &[("if-match", "\"1\"")]).expect(204);
    assert!(gone.body.is_empty() && gone.header("etag").is_none());
    delete(&app, &product("A"), &[]).refused(404, "not_found");
    delete(&app, &product("NONE"), &[]).refused(404, "not_found");
}

#[test]
fn a_deleted_product_is_gone_everywhere_and_begins_anew_while_its_versions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let body = json!({"name": "Heart", "attributes": {"a": 1}, "archived": true});
    app.put(&at("A"), json!({"quantity": 3, "reorderPoint": 5})).expect(201);
    app.put(&product("A"), body).expect(200);
    app.post(&format!("{}/adjust", at("A")), json!({"delta": -3, "type": "SALE"}))
        .expect(200);
    std::thread::sleep(Duration::from_millis(5));
    let (then, shown) = (from_now(0), app.get(&item("A")).expect(200).json);
    std::thread::sleep(Duration::from_millis(5));
    delete(&app, &product("A"), &[]).expect(204);
    for restart in [false, true] {
        if restart {
            app.kill();
            app = TestApp::start_in(folder.path(), 0, &[]);
        }
        for path in [product("A"), item("A"), at("A")] {
            app.get(&path).refused(404, "not_found");
        }
        for list in [
            PRODUCTS,
            "/api/inventory/items",
            "/api/inventory/items?q=heart",
            "/api/inventory/items?lowStock=true",
            "/api/inventory/stores/s1/inventory",
        ] {
            assert_eq!(app.get(list).expect(200)["items"], json!([]), "{list}");
        }
        app.post(&format!("{}/adjust", at("A")), json!({"delta": 1}))
            .refused(404, "not_found");
        app.put(&format!("{}/quantity", item("A")), json!({"quantity": 1}))
            .refused(404, "not_found");
        assert_eq!(
            app.get("/api/movements?sku=A").expect(200)["items"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        let past = |moment: &str| app.get(&format!("{}/history?at={moment}", item("A")));
        assert_eq!(past(&then).expect(200).json, shown);
        past(&from_now(0)).refused(404, "not_found");
    }
    let again = app
        .put_with(
            &at("A"),
            &[("if-none-match", "*")],
            json!({"quantity": 7, "expectedVersion": 0}),
        )
        .expect(201);
    assert_eq!(again.state(), (7, 0, 4));
    assert_eq!(again.json.get("reorderPoint"), None);
    let product_now = app.get(&product("A")).expect(200);
    assert_eq!(
        (&product_now["name"], &product_now["version"]),
        (&json!("A"), &json!(4))
    );
    assert_eq!(
        (&product_now["attributes"], &product_now["archived"]),
        (&json!({}), &json!(false))
    );
    let item_now = app.get(&item("A")).expect(200);
    assert_eq!((&item_now["version"], item_now.json.get("name")), (&json!(5), None));
    assert!(item_now["createdAt"].as_str() > shown["createdAt"].as_str());
    let past = app.get(&format!("{}/history?at={then}", item("A"))).expect(200);
    assert_eq!(past.json, shown, "what was before is told as it was");
    whole(&mut app);
}

#[test]
fn the_past_is_told_of_the_life_that_it_was_in_however_much_came_after() {
    let app = TestApp::start();
    for store in ["s1", "s2"] {
        app.put(&at_in(store, "A"), json!({"quantity": 0})).expect(201);
    }
    app.put(&product("A"), json!({"name": "first"})).expect(200);
    delete(&app, &product("A"), &[]).expect(204);
    app.put(&at_in("s2", "A"), json!({"quantity": 1})).expect(201);
    for _ in 0..40 {
        app.post(&format!("{}/adjust", at_in("s2", "A")), json!({"delta": 1}))
            .expect(200);
    }
    std::thread::sleep(Duration::from_millis(5));
    let (then, shown) = (from_now(0), app.get(&item("A")).expect(200).json);
    std::thread::sleep(Duration::from_millis(5));
    app.put(&at_in("s3", "A"), json!({"quantity": 1})).expect(201);
    assert_eq!(
        app.get(&format!("{}/history?at={then}", item("A"))).expect(200).json,
        shown
    );
    assert_eq!(shown["levels"].as_array().unwrap().len(), 1);
    assert_eq!(shown.get("name"), None);
}

#[test]
fn a_repeat_under_the_same_key_gets_the_first_answer_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let key = |name: &'static str| [("idempotency-key", name)];
    let body = json!({"sku": "A", "name": "Heart"});
    let made = app.post_with(PRODUCTS, &key("make"), body.clone()).expect(201);
    let put = app
        .put_with(&product("A"), &key("put"), json!({"name": "Stone"}))
        .expect(200);
    delete(&app, &product("A"), &key("delete")).expect(204);
    for restart in [false, true] {
        if restart {
            app.kill();
            app = TestApp::start_in(folder.path(), 0, &[]);
        }
        let again = app.post_with(PRODUCTS, &key("make"), body.clone()).expect(201);
        assert_eq!(
            (&again.json, again.header("idempotency-replayed")),
            (&made.json, Some("true"))
        );
        let again = app
            .put_with(&product("A"), &key("put"), json!({"name": "Stone"}))
            .expect(200);
        assert_eq!(again.json, put.json);
        let again = delete(&app, &product("A"), &key("delete")).expect(204);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        app.post_with(PRODUCTS, &key("make"), json!({"sku": "B", "name": "x"}))
            .refused(422, "idempotency_key_reused");
        let told = app.get(&operation("make")).expect(200);
        assert_eq!(
            (&told["answer"]["status"], &told["answer"]["body"]),
            (&json!(201), &made.json)
        );
        let told = app.get(&operation("delete")).expect(200);
        assert_eq!(
            (&told["answer"]["status"], told["answer"].get("body")),
            (&json!(204), None)
        );
        app.get(&product("A")).refused(404, "not_found");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_the_name_of_its_field() {
    let app = TestApp::start();
    app.stock("A", 1);
    let many: serde_json::Map<String, Value> = (0..51).map(|i| (format!("a{i}"), json!(i))).collect();
    for (members, field) in [
        (json!({"name": null}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "é".repeat(256)}), "name"),
        (json!({"name": "x", "description": ""}), "description"),
        (json!({"name": "x", "price": 5}), "price"),
        (
            json!({"name": "x", "price": {"amount": 1.5, "currency": "EUR"}}),
            "price.amount",
        ),
        (
            json!({"name": "x", "price": {"amount": 1, "currency": "eur"}}),
            "price.currency",
        ),
        (json!({"name": "x", "attributes": null}), "attributes"),
        (json!({"name": "x", "attributes": []}), "attributes"),
        (json!({"name": "x", "attributes": {"a": null}}), "attributes.a"),
        (json!({"name": "x", "attributes": {"a": {}}}), "attributes.a"),
        (
            json!({"name": "x", "attributes": {"a": "x".repeat(256)}}),
            "attributes.a",
        ),
        (json!({"name": "x", "attributes": {"": 1}}), "attributes"),
        (json!({"name": "x", "attributes": many}), "attributes"),
        (json!({"name": "x", "archived": "yes"}), "archived"),
        (json!({"name": "x", "archived": null}), "archived"),
        (json!({"name": "x", "Archived": true}), "Archived"),
        (json!({"name": "x", "version": 1}), "version"),
        (json!({"name": "x", "quantity": 1}), "quantity"),
        (json!({"name": "x", "dryRun": true}), "dryRun"),
    ] {
        let refused = app.put(&product("A"), members.clone()).refused(400, "invalid_request");
        let fields = refused.fields();
        assert!(
            fields.len() == 1 && fields[0].starts_with(field.split('.').next().unwrap()),
            "{members}: {fields:?}"
        );
        let mut body = members;
        body["sku"] = json!("B");
        app.post(PRODUCTS, body).refused(400, "invalid_request");
    }
    app.post(PRODUCTS, json!({"name": "x"})).refused(400, "invalid_request");
    app.post(PRODUCTS, json!({"sku": " B", "name": "x"}))
        .refused(400, "invalid_request");
    app.post(PRODUCTS, json!({"sku": "B"})).refused(400, "invalid_request");
    let twice = br#"{"name":"x","attributes":{"a":1,"a":2}}"#;
    app.send("PUT", &product("A"), &[JSON], Some(twice))
        .refused(400, "invalid_request");
    app.send("DELETE", &product("A"), &[JSON], Some(br#"{"force":true}"#))
        .refused(400, "invalid_request");
    app.get(&product("B")).refused(404, "not_found");
    assert_eq!(app.get(&product("A")).expect(200)["version"], 1);
    assert_eq!(app.get(&item("A")).expect(200)["version"], 1);
}

#[test]
fn of_a_deletion_and_sales_and_receipts_at_once_every_one_that_was_answered_took_effect() {
    let app = TestApp::start();
    let port = app.port;
    for round in 0..20 {
        let sku = format!("A{round}");
        app.put(&at(&sku), json!({"quantity": 1})).expect(201);
        let answers = crate::concurrency::all_at_once(6, |i| match i {
            0 | 1 => (0..6).map(|_| delete(&port, &product(&sku), &[])).collect(),
            2 | 3 => (0..6)
                .map(|_| port.post(&format!("{}/adjust", at(&sku)), json!({"delta": -1, "type": "SALE"})))
                .collect(),
            4 => (0..6)
                .map(|_| port.post(&format!("{}/adjust", at(&sku)), json!({"delta": 1})))
                .collect(),
            _ => vec![port.post(&format!("{}/reserve", at(&sku)), json!({"quantity": 1}))],
        });
        for answer in &answers {
            assert!([200, 201, 204, 404, 409].contains(&answer.status), "{}", answer.text());
        }
        let moved = all_pages(&app, &format!("/api/movements?sku={sku}"), 1000);
        let told: usize = answers.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(moved.len(), told + 1);
        let sum: i64 = moved.iter().map(|row| row["delta"].as_i64().unwrap()).sum();
        let level = app.get(&at(&sku));
        let deleted = answers.iter().any(|answer| answer.status == 204);
        match level.status {
            404 => assert!(deleted && sum == 0, "deleted with {sum} on hand"),
            _ => assert_eq!(level["quantity"], sum),
        }
    }
}

#[test]
fn a_kill_in_the_middle_of_making_and_deleting_leaves_what_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let mut app = TestApp::start_in(folder.path(), 0, &[]);
        let port = app.port;
        let worker = std::thread::spawn(move || {
            let mut last = None;
            for i in 0.. {
                let sku = format!("K{round}-{}", i % 5);
                let path = product(&sku);
                let sent = match i / 5 % 3 {
                    0 => port.try_send(
                        "POST",
                        PRODUCTS,
                        &[JSON],
                        Some(json!({"sku": sku, "name": "n"}).to_string().as_bytes()),
                    ),
                    1 => port.try_send("PUT", &at(&sku), &[JSON], Some(br#"{"quantity":0}"#)),
                    _ => port.try_send("DELETE", &path, &[], None),
                };
                match sent {
                    Ok(answer) if answer.status < 300 => last = Some((path, i / 5 % 3)),
                    _ => return last,
                }
            }
            last
        });
        std::thread::sleep(Duration::from_millis(400));
        app.kill();
        let last = worker.join().unwrap();
        let mut app = TestApp::start_in(folder.path(), 0, &[]);
        let (path, step) = last.expect("something was answered");
        let is_there = app.get(&path).status == 200;
        assert_eq!(is_there, step < 2, "{path} after step {step}");
        whole(&mut app);
    }
}
