//! Stores: where stock is, and what is known of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Client, JSON, all_pages, at_in, column, comes_true, is_time, item, operation};
use crate::support::TestApp;

const STORES: &str = "/api/stores";

fn store(id: &str) -> String {
    format!("{STORES}/{id}")
}

fn delete(app: &impl Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    app.send("DELETE", path, headers, None)
}

fn adjust(app: &impl Client, store: &str, sku: &str, delta: i64) -> Answer {
    app.post(&format!("{}/adjust", at_in(store, sku)), json!({"delta": delta}))
}

/// Stops the service and has the folder proved whole.
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
fn a_new_store_is_answered_whole_with_its_place_and_its_tag() {
    let app = TestApp::start();
    let body = json!({"storeId": "Zürich 1", "name": "Zürich", "location": "Bahnhofstrasse", "timeZone": "Europe/Zurich",
        "syncIntervalSeconds": 900});
    let made = app.post(STORES, body).expect(201);
    assert_eq!(made.header("location"), Some("/api/stores/Z%C3%BCrich%201"));
    assert_eq!((made.header("etag"), &made["seq"]), (Some("\"1\""), &json!(1)));
    assert!(is_time(&made["createdAt"]));
    let expected = json!({"storeId": "Zürich 1", "name": "Zürich", "location": "Bahnhofstrasse",
        "timeZone": "Europe/Zurich", "syncIntervalSeconds": 900, "version": 1, "createdAt": made["createdAt"],
        "updatedAt": made["createdAt"], "seq": 1});
    assert_eq!(made.json, expected);
    let mut read = app.get(&store("Z%C3%BCrich%201")).expect(200);
    read.json["seq"] = json!(1);
    assert_eq!((read.header("etag"), &read.json), (Some("\"1\""), &expected));
    app.get_with(&store("Z%C3%BCrich%201"), &[("if-none-match", "\"1\"")])
        .expect(304);
    app.post(STORES, json!({"storeId": "Zürich 1", "name": "x"}))
        .refused(409, "already_exists");
    assert_eq!(
        app.get("/api/events").expect(200)["items"],
        json!([]),
        "the feed is of stock"
    );
}

#[test]
fn stock_makes_a_store_that_is_called_as_its_id_until_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.put(&at_in("counted", "A"), json!({"quantity": 5})).expect(201);
    app.post("/api/inventory/items", json!({"sku": "B", "storeId": "created"}))
        .expect(201);
    let transfer = json!({"sku": "A", "fromStoreId": "counted", "toStoreId": "received", "quantity": 1});
    app.post("/api/transfers", transfer).expect(200);
    let atomic =
        json!({"atomic": true, "operations": [{"op": "set", "sku": "C", "storeId": "batched", "quantity": 1}]});
    app.post("/api/inventory/batch", atomic).expect(200);
    app.put(&at_in("counted", "B"), json!({"quantity": 5})).expect(201);
    let shown = app.get(STORES).expect(200);
    let rows = shown["items"].as_array().unwrap();
    assert_eq!(column(rows, "storeId"), ["batched", "counted", "created", "received"]);
    assert_eq!(column(rows, "name"), column(rows, "storeId"));
    assert!(
        rows.iter()
            .all(|row| row["version"] == 1 && row["createdAt"] == row["updatedAt"])
    );
    let named = app.put(&store("counted"), json!({"name": "Named"})).expect(200);
    assert_eq!(
        (&named["version"], &named["createdAt"]),
        (&json!(2), &rows[1]["createdAt"])
    );
    let before = app.get(STORES).expect(200).json;
    app.kill();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    assert_eq!(app.get(STORES).expect(200).json, before, "after the log was read");
    whole(&mut app);
    let app = TestApp::start_in(folder.path(), 0, &[]);
    assert_eq!(
        app.get(STORES).expect(200).json,
        before,
        "after the checkpoint was read"
    );
}

#[test]
fn a_put_sets_all_that_a_store_has_on_the_version_that_was_expected() {
    let app = TestApp::start();
    app.post(STORES, json!({"storeId": "s", "name": "S", "location": "here"}))
        .expect(201);
    let after = app
        .put(&store("s"), json!({"name": "T", "expectedVersion": 1}))
        .expect(200);
    assert_eq!(
        (after.header("etag"), after.json.get("location")),
        (Some("\"2\""), None)
    );
    let stale = app
        .put(&store("s"), json!({"name": "x", "expectedVersion": 1}))
        .refused(409, "version_mismatch");
    assert_eq!((&stale["currentVersion"], &stale["storeId"]), (&json!(2), &json!("s")));
    app.put_with(&store("s"), &[("if-match", "\"1\"")], json!({"name": "x"}))
        .refused(412, "precondition_failed");
    app.put_with(&store("s"), &[("if-match", "\"2\"")], json!({"name": "U"}))
        .expect(200);
    app.put(&store("none"), json!({"name": "x"})).refused(404, "not_found");
    let minimal = app
        .put_with(&store("s"), &[("prefer", "return=minimal")], json!({"name": "V"}))
        .expect(204);
    assert_eq!(minimal.header("etag"), Some("\"4\""));
}

#[test]
fn stores_are_listed_in_order_and_found_by_the_beginning_of_their_id_or_by_a_word() {
    let app = TestApp::start();
    for (id, name) in [
        ("north-1", "Leeds"),
        ("south", "White Cliffs"),
        ("north-2", "York, north gate"),
    ] {
        app.post(STORES, json!({"storeId": id, "name": name})).expect(201);
    }
    let found = |query: &str| column(&all_pages(&app, &format!("{STORES}?{query}"), 1), "storeId");
    assert_eq!(found(""), ["north-1", "north-2", "south"]);
    assert_eq!(found("q=NORTH"), ["north-1", "north-2"]);
    assert_eq!(found("q=cliffs%20white"), ["south"]);
    assert_eq!(found("q=york"), ["north-2"]);
    assert_eq!(found("q=cliff"), Vec::<String>::new());
    for query in ["limit=0", "after=x", "archived=true"] {
        app.get(&format!("{STORES}?{query}")).refused(400, "invalid_request");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_the_name_of_its_field() {
    let app = TestApp::start();
    app.post(STORES, json!({"storeId": "s", "name": "S"})).expect(201);
    for (members, field) in [
        (json!({}), "name"),
        (json!({"name": null}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": "x", "location": ""}), "location"),
        (json!({"name": "x", "location": "a\nb"}), "location"),
        (json!({"name": "x", "timeZone": "+01:00"}), "timeZone"),
        (json!({"name": "x", "timeZone": "Europe/"}), "timeZone"),
        (json!({"name": "x", "timeZone": ""}), "timeZone"),
        (json!({"name": "x", "syncIntervalSeconds": 0}), "syncIntervalSeconds"),
        (json!({"name": "x", "syncIntervalSeconds": 1.5}), "syncIntervalSeconds"),
        (
            json!({"name": "x", "syncIntervalSeconds": 31_536_001}),
            "syncIntervalSeconds",
        ),
        (json!({"name": "x", "closing": true}), "closing"),
    ] {
        let refused = app.put(&store("s"), members.clone()).refused(400, "invalid_request");
        assert_eq!(refused.fields(), [field], "{members}");
        let mut body = members;
        body["storeId"] = json!("t");
        app.post(STORES, body).refused(400, "invalid_request");
    }
    app.post(STORES, json!({"storeId": " t", "name": "x"}))
        .refused(400, "invalid_request");
    app.send("DELETE", &store("s"), &[JSON], Some(br#"{"force":true}"#))
        .refused(400, "invalid_request");
    app.get(&store("t")).refused(404, "not_found");
    assert_eq!(app.get(&store("s")).expect(200)["version"], 1);
}

#[test]
fn a_store_with_stock_or_holds_is_not_deleted_and_nothing_is_changed() {
    let app = TestApp::start();
    app.put(&at_in("s", "EMPTY"), json!({"quantity": 0})).expect(201);
    app.put(&at_in("s", "FULL"), json!({"quantity": 1})).expect(201);
    let refused = delete(&app, &store("s"), &[]).refused(409, "in_use");
    assert_eq!((&refused["sku"], &refused["storeId"]), (&json!("FULL"), &json!("s")));
    assert_eq!(app.get(&store("s")).expect(200)["version"], 1);
    app.get(&at_in("s", "EMPTY")).expect(200);
    let hold = json!({"quantity": 1, "ttlSeconds": 1});
    app.post(&format!("{}/reserve", at_in("s", "FULL")), hold).expect(201);
    delete(&app, &store("s"), &[]).refused(409, "in_use");
    assert!(comes_true(Duration::from_secs(5), || adjust(&app, "s", "FULL", -1)
        .status
        == 200));
    delete(&app, &store("s"), &[("if-match", "\"2\"")]).refused(412, "precondition_failed");
    delete(&app, &store("none"), &[]).refused(404, "not_found");
    let gone = delete(&app, &store("s"), &[("if-match", "\"1\"")]).expect(204);
    assert!(gone.body.is_empty());
    delete(&app, &store("s"), &[]).refused(404, "not_found");
}

#[test]
fn a_deleted_store_is_gone_with_its_levels_and_begins_anew_while_versions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    app.put(&at_in("s", "A"), json!({"quantity": 3, "reorderPoint": 1}))
        .expect(201);
    app.put(&at_in("other", "A"), json!({"quantity": 4})).expect(201);
    app.put(&store("s"), json!({"name": "S", "location": "here"}))
        .expect(200);
    adjust(&app, "s", "A", -3).expect(200);
    let key = [("idempotency-key", "delete")];
    delete(&app, &store("s"), &key).expect(204);
    for restart in [false, true] {
        if restart {
            app.kill();
            app = TestApp::start_in(folder.path(), 0, &[]);
        }
        app.get(&store("s")).refused(404, "not_found");
        app.get(&at_in("s", "A")).refused(404, "not_found");
        assert_eq!(
            app.get("/api/inventory/stores/s/inventory").expect(200)["items"],
            json!([])
        );
        assert_eq!(column(&all_pages(&app, STORES, 10), "storeId"), ["other"]);
        let left = app.get(&item("A")).expect(200);
        assert_eq!(
            (column(left["levels"].as_array().unwrap(), "storeId"), &left["quantity"]),
            (vec!["other".to_owned()], &json!(4))
        );
        assert_eq!(
            app.get("/api/inventory/items?lowStock=true").expect(200)["items"],
            json!([])
        );
        let again = delete(&app, &store("s"), &key).expect(204);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        let told = app.get(&operation("delete")).expect(200);
        assert_eq!(
            (&told["answer"]["status"], told["answer"].get("body")),
            (&json!(204), None)
        );
    }
    let again = app.put(&at_in("s", "A"), json!({"quantity": 7})).expect(201);
    assert_eq!(again.state(), (7, 0, 4));
    assert_eq!(again.json.get("reorderPoint"), None);
    let shown = app.get(&store("s")).expect(200);
    assert_eq!(
        (&shown["name"], &shown["version"], shown.json.get("location")),
        (&json!("s"), &json!(4), None)
    );
    whole(&mut app);
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    assert_eq!(app.get(&store("s")).expect(200)["version"], 4);
    assert_eq!(app.get(&at_in("s", "A")).expect(200).state(), (7, 0, 4));
    whole(&mut app);
}

#[test]
fn a_store_of_very_many_levels_is_deleted_whole() {
    let app = TestApp::start();
    let count = |i: usize| json!({"op": "set", "sku": format!("A{i}"), "storeId": "s", "quantity": 0});
    let operations: Vec<Value> = (0..1500).map(count).collect();
    app.post("/api/inventory/batch", json!({"operations": operations}))
        .expect(200);
    delete(&app, &store("s"), &[]).expect(204);
    assert_eq!(
        app.get("/api/inventory/stores/s/inventory").expect(200)["items"],
        json!([])
    );
    let left = all_pages(&app, "/api/inventory/items", 1000);
    assert!(left.len() == 1500 && left.iter().all(|item| item["levels"] == json!([])));
}

/// Every level and every store of the service agree: no stock lies in a store that is not there.
#[track_caller]
fn assert_stores_fit(app: &impl Client, stores: &[&str]) {
    let known = column(&all_pages(app, STORES, 100), "storeId");
    for id in stores {
        let levels = all_pages(app, &format!("/api/inventory/stores/{id}/inventory"), 1000);
        assert!(
            levels.is_empty() || known.iter().any(|known| known == id),
            "{id} is gone and has {levels:?}"
        );
    }
}

#[test]
fn of_a_deletion_and_sales_and_receipts_at_once_every_one_that_was_answered_took_effect() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let port = app.port;
    let mut deleted = 0;
    for round in 0..15 {
        let id = format!("s{round}");
        app.put(&at_in(&id, "A"), json!({"quantity": 0})).expect(201);
        app.put(&at_in("from", "A"), json!({"quantity": 100}));
        let before = app.get(&item("A")).expect(200)["quantity"].as_i64().unwrap();
        let answers = crate::concurrency::all_at_once(6, |i| match i {
            0 | 1 => (0..8).map(|_| delete(&port, &store(&id), &[])).collect(),
            2 => (0..8).map(|_| adjust(&port, &id, "A", 1)).collect(),
            3 => (0..8).map(|_| adjust(&port, &id, "A", -1)).collect(),
            4 => {
                let body = json!({"sku": "A", "fromStoreId": "from", "toStoreId": id, "quantity": 1});
                (0..4).map(|_| port.post("/api/transfers", body.clone())).collect()
            }
            _ => {
                let operations = json!({"operations": [{"op": "set", "sku": format!("N{round}"), "storeId": id, "quantity": 2}],
                    "atomic": true});
                (0..2)
                    .map(|_| port.post("/api/inventory/batch", operations.clone()))
                    .collect()
            }
        });
        for answer in &answers {
            assert!([200, 204, 404, 409].contains(&answer.status), "{}", answer.text());
            if answer.status == 409 {
                assert!(
                    ["in_use", "insufficient_stock"].contains(&answer["error"].as_str().unwrap()),
                    "{}",
                    answer.text()
                );
            }
        }
        deleted += answers.iter().filter(|answer| answer.status == 204).count();
        let adjusted = |answer: &&Answer| answer.status == 200 && answer.json.get("storeId").is_some();
        let moved = answers.iter().filter(adjusted).count();
        let rows = all_pages(&app, &format!("/api/movements?storeId={id}&sku=A"), 1000);
        let sum: i64 = rows.iter().map(|row| row["delta"].as_i64().unwrap()).sum();
        let level = app.get(&at_in(&id, "A"));
        assert_eq!(
            if level.status == 404 {
                0
            } else {
                level["quantity"].as_i64().unwrap()
            },
            sum
        );
        let single = rows
            .iter()
            .filter(|row| row["type"] == "STOCK_IN" || row["type"] == "MANUAL_REMOVE")
            .count();
        assert_eq!(single, moved, "what was answered is in the log, and nothing else");
        let after = app.get(&item("A")).expect(200)["quantity"].as_i64().unwrap();
        let received = rows.iter().filter(|row| row["type"] == "STOCK_IN").count() as i64;
        let removed = rows.iter().filter(|row| row["type"] == "MANUAL_REMOVE").count() as i64;
        assert_eq!(after, before + received - removed);
        assert_stores_fit(&app, &[&id]);
    }
    assert!(deleted > 0, "no store was ever deleted");
    whole(&mut app);
}

#[test]
fn a_kill_in_the_middle_of_deletions_leaves_every_store_whole_or_gone() {
    let folder = tempfile::tempdir().unwrap();
    let ids: Vec<String> = (0..6).map(|i| format!("s{i}")).collect();
    let names: Vec<&str> = ids.iter().map(String::as_str).collect();
    for round in 0..6_u64 {
        let mut app = TestApp::start_in(folder.path(), 0, &[]);
        for id in &ids {
            let count = |i: usize| json!({"op": "set", "sku": format!("A{i}"), "storeId": id, "quantity": 0});
            let operations: Vec<Value> = (0..200).map(count).collect();
            app.post("/api/inventory/batch", json!({"operations": operations}))
                .expect(200);
        }
        let port = app.port;
        let deleting: Vec<_> = ids
            .clone()
            .into_iter()
            .map(|id| {
                std::thread::spawn(move || {
                    port.try_send("DELETE", &store(&id), &[], None)
                        .is_ok_and(|answer| answer.status == 204)
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(5 + 25 * round));
        app.kill();
        let gone: Vec<bool> = deleting.into_iter().map(|thread| thread.join().unwrap()).collect();
        let mut app = TestApp::start_in(folder.path(), 0, &[]);
        for (id, gone) in ids.iter().zip(gone) {
            if gone {
                app.get(&store(id)).refused(404, "not_found");
                app.get(&at_in(id, "A0")).refused(404, "not_found");
            }
        }
        // What was left half done is ended by the service itself, and the store can be used again.
        for id in &ids {
            let put = || app.put(&at_in(id, "A0"), json!({"quantity": 1})).status;
            assert!(
                comes_true(Duration::from_secs(10), || [200, 201].contains(&put())),
                "{id} stays closed"
            );
            assert_eq!(app.get(&store(id)).expect(200)["storeId"], json!(id));
            app.put(&at_in(id, "A0"), json!({"quantity": 0})).expect(200);
        }
        assert_stores_fit(&app, &names);
        whole(&mut app);
    }
}

#[test]
fn a_store_that_is_made_while_stock_makes_it_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let port = app.port;
    for round in 0..30 {
        let id = format!("s{round}");
        let answers = crate::concurrency::all_at_once(4, |i| match i {
            0 => vec![port.post(STORES, json!({"storeId": id, "name": "named"}))],
            _ => vec![port.put(&at_in(&id, &format!("A{i}")), json!({"quantity": 1}))],
        });
        let made = answers.iter().any(|answer| answer["name"] == "named");
        let shown = app.get(&store(&id)).expect(200);
        assert_eq!(
            (&shown["version"], shown["name"] == "named"),
            (&json!(1), made),
            "{}",
            shown.text()
        );
    }
    app.kill();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    assert_eq!(app.get(STORES).expect(200)["items"].as_array().unwrap().len(), 30);
    whole(&mut app);
}

#[test]
fn a_strict_catalogue_stocks_only_what_it_has_on_every_route() {
    let app = TestApp::start_with(&["--strict-catalogue"]);
    let absent = |answer: Answer, member: &str, id: &str| {
        let refused = answer.refused(404, "not_found");
        assert_eq!(refused[member], id, "{}", refused.text());
        assert!(refused["detail"].as_str().unwrap().contains(id));
    };
    absent(app.put(&at_in("s", "A"), json!({"quantity": 1})), "sku", "A");
    absent(
        app.post("/api/inventory/items", json!({"sku": "A", "storeId": "s"})),
        "storeId",
        "s",
    );
    app.post(STORES, json!({"storeId": "s", "name": "S"})).expect(201);
    absent(app.put(&at_in("s", "A"), json!({"quantity": 1})), "sku", "A");
    app.post("/api/products", json!({"sku": "A", "name": "a"})).expect(201);
    absent(app.put(&at_in("t", "A"), json!({"quantity": 1})), "storeId", "t");
    absent(
        app.put(&format!("{}/quantity", item("A")), json!({"quantity": 1})),
        "storeId",
        "default",
    );
    app.put(&at_in("s", "A"), json!({"quantity": 5})).expect(201);
    let transfer = json!({"sku": "A", "fromStoreId": "s", "toStoreId": "t", "quantity": 1});
    absent(app.post("/api/transfers", transfer.clone()), "storeId", "t");
    let set = |sku: &str, store: &str| json!({"op": "set", "sku": sku, "storeId": store, "quantity": 1});
    let operations = json!([set("B", "s"), set("A", "t"), set("A", "s"),
        {"op": "transfer", "sku": "A", "fromStoreId": "s", "toStoreId": "t", "quantity": 1}]);
    let batch = app
        .post("/api/inventory/batch", json!({"operations": operations}))
        .expect(200);
    assert_eq!(
        column(batch["results"].as_array().unwrap(), "status"),
        ["404", "404", "200", "404"]
    );
    let atomic = app.post(
        "/api/inventory/batch",
        json!({"operations": operations, "atomic": true}),
    );
    let refused = atomic.refused(404, "not_found");
    assert_eq!(
        column(refused["operations"].as_array().unwrap(), "index"),
        ["0", "1", "3"]
    );
    app.post(
        "/api/inventory/items",
        json!({"sku": "C", "storeId": "s", "quantity": 2}),
    )
    .expect(201);
    assert_eq!(app.get("/api/products/C").expect(200)["version"], 1);
    app.get("/api/products/B").refused(404, "not_found");
    app.get(&store("t")).refused(404, "not_found");
    app.post(STORES, json!({"storeId": "t", "name": "T"})).expect(201);
    app.post("/api/transfers", transfer).expect(200);
    assert_eq!(app.get(&at_in("t", "A")).expect(200).state(), (1, 0, 1));
}

#[test]
fn in_a_strict_catalogue_nothing_comes_to_a_store_that_was_deleted() {
    let app = TestApp::start_with(&["--strict-catalogue"]);
    let port = app.port;
    for i in 0..4 {
        app.post("/api/products", json!({"sku": format!("A{i}"), "name": "a"}))
            .expect(201);
    }
    for round in 0..15 {
        let id = format!("s{round}");
        app.post(STORES, json!({"storeId": id, "name": "S"})).expect(201);
        let is_over = AtomicBool::new(false);
        let answers = crate::concurrency::all_at_once(5, |i| match i {
            0 => {
                let deleted = vec![delete(&port, &store(&id), &[])];
                is_over.store(true, Ordering::SeqCst);
                deleted
            }
            _ => (0..20)
                .take_while(|_| !is_over.load(Ordering::SeqCst))
                .map(|_| port.put(&at_in(&id, &format!("A{}", i - 1)), json!({"quantity": 1})))
                .collect(),
        });
        let is_deleted = answers.iter().any(|answer| answer.status == 204);
        assert_eq!(app.get(&store(&id)).status == 404, is_deleted);
        let stocked = answers.iter().any(|answer| answer.status == 201);
        assert!(!(is_deleted && stocked), "a store with stock was deleted");
        assert_stores_fit(&app, &[&id]);
    }
}

#[test]
fn a_deletion_of_a_store_or_product_may_name_its_key_and_version_in_its_body() {
    let app = TestApp::start();
    app.post("/api/products", json!({"sku": "A", "name": "a"})).expect(201);
    app.post(STORES, json!({"storeId": "s", "name": "S"})).expect(201);
    for path in ["/api/products/A".to_owned(), store("s")] {
        let ask = |body: Value| app.send("DELETE", &path, &[JSON], Some(body.to_string().as_bytes()));
        ask(json!({"expectedVersion": 7})).refused(409, "version_mismatch");
        let body = json!({"expectedVersion": 1, "idempotencyKey": format!("gone {path}").replace([' ', '/'], "-")});
        ask(body.clone()).expect(204);
        let again = ask(body).expect(204);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        app.get(&path).refused(404, "not_found");
    }
}
