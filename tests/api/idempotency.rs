//! A write under a key takes effect once.

use std::sync::Barrier;

use serde_json::{Value, json};

use crate::client::{Answer, Client, JSON, at, is_time, item, operation};
use crate::log::events;
use crate::support::TestApp;

fn adjust(sku: &str) -> String {
    format!("{}/adjust", at(sku))
}

fn keyed(app: &impl Client, key: &str, path: &str, body: Value) -> Answer {
    app.post_with(path, &[("idempotency-key", key)], body)
}

/// The same answer, told to be a repeat.
#[track_caller]
fn is_repeat_of(first: &Answer, again: &Answer) {
    assert_eq!(again.status, first.status, "{}", again.text());
    assert_eq!(again.text(), first.text());
    for header in ["etag", "location", "content-type"] {
        assert_eq!(again.header(header), first.header(header), "{header}");
    }
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
}

/// A write of each kind under a key of its own, in an order in which each takes effect.
fn all_writes(app: &TestApp) -> Vec<Answer> {
    let write = |method: &str, path: String, key: &str, body: Value| {
        app.send(
            method,
            &path,
            &[JSON, ("idempotency-key", key)],
            Some(body.to_string().as_bytes()),
        )
    };
    let (reserve, release) = (format!("{}/reserve", at("A")), format!("{}/release", at("A")));
    vec![
        write("PUT", at("A"), "create", json!({"quantity": 10, "reorderPoint": 3})).expect(201),
        write("PUT", at("A"), "count", json!({"quantity": 20, "note": "twice"})).expect(200),
        write("POST", adjust("A"), "adjust", json!({"delta": 5})).expect(200),
        write(
            "POST",
            reserve.clone(),
            "reserve",
            json!({"quantity": 4, "ttlSeconds": 1, "reference": "x"}),
        )
        .expect(201),
        write("POST", reserve, "chosen", json!({"quantity": 3, "reservationId": "r"})).expect(201),
        write("POST", release.clone(), "release", json!({"reservationId": "r"})).expect(200),
        write("POST", release, "part", json!({"quantity": 1})).expect(200),
    ]
}

#[test]
fn a_repeat_under_its_key_gets_the_first_answer_and_changes_nothing() {
    let app = TestApp::start();
    let first = all_writes(&app);
    app.post(&adjust("A"), json!({"delta": 1})).expect(200);
    for (first, again) in first.iter().zip(&all_writes(&app)) {
        is_repeat_of(first, again);
    }
    assert_eq!(app.state("A").0, 26);
    assert!(events(app.folder()).len() <= 9, "eight writes and an expiry");
}

#[test]
fn a_repeat_gets_the_first_answer_also_after_kill_9_and_after_an_orderly_stop() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let first = all_writes(&app);
    app.kill();
    for _ in 0..2 {
        let mut app = TestApp::start_in(folder.path(), 0, &[]);
        for (first, again) in first.iter().zip(&all_writes(&app)) {
            is_repeat_of(first, again);
        }
        assert_eq!(app.state("A").0, 25);
        assert!(app.terminate().success());
    }
}

#[test]
fn a_key_is_taken_from_the_header_or_the_body_or_both_alike() {
    let app = TestApp::start();
    app.stock("A", 0);
    let body = json!({"delta": 1, "idempotencyKey": "in-body"});
    let first = app.post(&adjust("A"), body.clone()).expect(200);
    is_repeat_of(&first, &app.post(&adjust("A"), body.clone()));
    is_repeat_of(&first, &keyed(&app, "in-body", &adjust("A"), body.clone()));
    let different = keyed(&app, "in-header", &adjust("A"), body).refused(400, "invalid_request");
    assert_eq!(different.fields().len(), 1);
    assert_eq!(app.state("A"), (1, 0, 2));
}

#[test]
fn a_key_stands_for_one_method_path_and_body() {
    let app = TestApp::start();
    app.stock("A", 10);
    app.stock("B", 10);
    let body = json!({"delta": 1});
    let first = keyed(&app, "k", &adjust("A"), body.clone()).expect(200);
    let reused = |answer: Answer| answer.refused(422, "idempotency_key_reused");
    reused(keyed(&app, "k", &adjust("A"), json!({"delta": 2})));
    reused(app.send(
        "POST",
        &adjust("A"),
        &[JSON, ("idempotency-key", "k")],
        Some(b"{ \"delta\": 1 }"),
    ));
    reused(keyed(&app, "k", &adjust("B"), body.clone()));
    reused(app.put_with(&at("A"), &[("idempotency-key", "k")], json!({"quantity": 1})));
    keyed(&app, "k", &format!("{}?x=1", adjust("A")), body.clone()).refused(400, "invalid_request");
    is_repeat_of(&first, &keyed(&app, "k", &adjust("A"), body));
    assert_eq!((app.state("A"), app.state("B")), ((11, 0, 2), (10, 0, 1)));
}

#[test]
fn keys_differ_by_case_and_every_visible_character_may_stand_in_one() {
    let app = TestApp::start();
    app.stock("A", 0);
    let visible: String = (b'!'..=b'~').map(char::from).collect();
    let longest = "k".repeat(255);
    for (key, version) in [("k", 2), ("K", 3), (&*visible, 4), (&*longest, 5), ("\"k\"", 6)] {
        assert_eq!(
            keyed(&app, key, &adjust("A"), json!({"delta": 1}))
                .expect(200)
                .state()
                .2,
            version,
            "{key}"
        );
    }
}

#[test]
fn a_key_that_is_none_is_refused_and_nothing_is_changed() {
    let app = TestApp::start();
    app.stock("A", 0);
    let too_long = "k".repeat(256);
    for key in ["", "a b", "a\tb", &too_long] {
        let answer = keyed(&app, key, &adjust("A"), json!({"delta": 1}));
        assert_eq!(
            answer.refused(400, "invalid_request").fields(),
            ["Idempotency-Key"],
            "{key:?}"
        );
    }
    for key in [
        json!(""),
        json!("a b"),
        json!("ä"),
        json!("a\u{7f}"),
        json!("a\nb"),
        json!(too_long),
        json!(7),
    ] {
        let answer = app.post(&adjust("A"), json!({"delta": 1, "idempotencyKey": key}));
        assert_eq!(
            answer.refused(400, "invalid_request").fields(),
            ["idempotencyKey"],
            "{key}"
        );
    }
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n",
        adjust("A")
    );
    let body = "Content-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"delta\":1}";
    for keys in [
        "Idempotency-Key: \u{e4}\r\n",
        "Idempotency-Key: a\r\nIdempotency-Key: b\r\n",
    ] {
        assert_eq!(
            app.send_bytes(format!("{head}{keys}{body}").as_bytes()).status,
            400,
            "{keys}"
        );
    }
    assert_eq!(app.state("A"), (0, 0, 1));
}

#[test]
fn a_refused_write_stores_nothing_and_its_repeat_is_judged_afresh() {
    let app = TestApp::start();
    app.stock("A", 3);
    let take = || keyed(&app, "k", &adjust("A"), json!({"delta": -5}));
    take().refused(409, "insufficient_stock");
    take().refused(409, "insufficient_stock");
    app.get(&operation("k")).refused(404, "not_found");
    app.post(&adjust("A"), json!({"delta": 4})).expect(200);
    let first = take().expect(200);
    assert_eq!((first.state(), first.header("idempotency-replayed")), ((2, 0, 3), None));
    is_repeat_of(&first, &take());

    keyed(&app, "free", &adjust("A"), json!({"delta": -9})).refused(409, "insufficient_stock");
    keyed(&app, "free", &adjust("A"), json!({"delta": 1})).expect(200);
}

#[test]
fn a_dry_run_does_not_use_its_key_up() {
    let app = TestApp::start();
    app.stock("A", 3);
    keyed(&app, "k", &adjust("A"), json!({"delta": 1, "dryRun": true})).expect(200);
    app.get(&operation("k")).refused(404, "not_found");
    assert_eq!(
        keyed(&app, "k", &adjust("A"), json!({"delta": 1})).expect(200).state(),
        (4, 0, 2)
    );
}

#[test]
fn what_became_of_a_write_is_told_without_sending_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    let created = app
        .put_with(&at("A"), &[("idempotency-key", "a/b?")], json!({"quantity": 10}))
        .expect(201);
    let reserved = keyed(&app, "r", &format!("{}/reserve", at("A")), json!({"quantity": 4})).expect(201);
    app.post(&adjust("A"), json!({"delta": 1})).expect(200);
    app.kill();
    let app = TestApp::start_in(folder.path(), 0, &[]);
    for (key, first) in [("a%2Fb%3F", created), ("r", reserved)] {
        let told = app.get(&operation(key)).expect(200);
        assert_eq!(told["status"], "completed");
        assert_eq!(told["answer"], json!({"status": first.status, "body": first.json}));
        assert_eq!((&told["seq"], &told["at"]), (&first["seq"], &first["updatedAt"]));
        assert!(is_time(&told["at"]));
    }
    assert_eq!(app.state("A"), (11, 4, 3));
}

#[test]
fn a_key_that_was_never_used_is_not_found_and_one_that_is_none_refused() {
    let app = TestApp::start();
    app.get(&operation("never")).refused(404, "not_found");
    app.get(&operation(&"k".repeat(255))).refused(404, "not_found");
    for none in [&*"k".repeat(256), "a%20b", "%C3%A4", "%FF", "a%00", "%0A"] {
        app.get(&operation(none)).refused(400, "invalid_request");
    }
}

#[test]
fn sixteen_at_once_under_one_key_take_effect_once() {
    let app = TestApp::start();
    app.stock("A", 0);
    let (count, port) = (16, app.port);
    for round in 0..5 {
        let start = Barrier::new(count);
        let key = format!("k{round}");
        let send = || {
            start.wait();
            keyed(&port, &key, &adjust("A"), json!({"delta": 1}))
        };
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..count).map(|_| scope.spawn(send)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (done, waiting): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 200);
        for answer in waiting {
            assert!(answer.refused(409, "request_in_flight").header("retry-after").is_some());
        }
        let first = done
            .iter()
            .filter(|answer| answer.header("idempotency-replayed").is_none());
        assert_eq!(first.count(), 1);
        assert!(done.iter().all(|answer| answer.body == done[0].body));
        assert_eq!(app.state("A"), (round + 1, 0, round + 2));
    }
}

#[test]
fn a_key_of_an_item_route_stands_for_that_route_only() {
    let app = TestApp::start();
    app.stock("A", 10);
    let body = json!({"quantity": 7});
    let key = [("idempotency-key", "k")];
    let quantity = format!("{}/quantity", item("A"));
    let first = app.put_with(&quantity, &key, body.clone()).expect(200);
    for path in [at("A"), format!("{}/quantity", item("B"))] {
        app.put_with(&path, &key, body.clone())
            .refused(422, "idempotency_key_reused");
    }
    let reserve = format!("{}/reserve", item("A"));
    app.post_with(&reserve, &key, body.clone())
        .refused(422, "idempotency_key_reused");
    app.put_with(&quantity, &key, json!({"quantity": 7, "storeId": "s1"}))
        .refused(422, "idempotency_key_reused");
    is_repeat_of(&first, &app.put_with(&quantity, &key, body));
    assert_eq!(app.get(&item("A")).expect(200)["version"], 2);
}

#[test]
fn a_batch_that_is_still_running_is_told_to_be_in_flight() {
    let app = TestApp::start();
    app.stock("A", 0);
    let port = app.port;
    let operations = vec![json!({"op": "adjust", "sku": "A", "storeId": "s1", "delta": 1}); 10_000];
    let body = json!({"operations": operations});
    let other = json!({"operations": [operations[0]]});
    std::thread::scope(|scope| {
        let batch = scope.spawn(|| keyed(&port, "k", "/api/inventory/batch", body).expect(200));
        let mut seen = Vec::new();
        while !batch.is_finished() {
            let told = port.get(&operation("k"));
            let told = match told.status {
                404 => "not found".to_owned(),
                _ => told.expect(200)["status"].as_str().unwrap().to_owned(),
            };
            let is_pending = told == "pending";
            seen.push(told);
            if is_pending {
                let refused = keyed(&port, "k", "/api/inventory/batch", other.clone());
                assert!(refused["error"] == "request_in_flight" || refused["error"] == "idempotency_key_reused");
                break;
            }
        }
        seen.dedup();
        assert_eq!(seen.last().map(String::as_str), Some("pending"), "{seen:?}");
        batch.join().unwrap();
    });
    keyed(&port, "k", "/api/inventory/batch", other).refused(422, "idempotency_key_reused");
    assert_eq!(app.state("A").0, 10_000);
}

#[test]
fn a_batch_that_was_cut_by_kill_9_is_completed_by_its_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let skus: Vec<String> = (0..10).map(|i| format!("S{i}")).collect();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    skus.iter().for_each(|sku| app.stock(sku, 100));
    let operations: Vec<Value> = (0..400)
        .map(|i| match i % 20 < 10 {
            true => json!({"op": "adjust", "sku": (skus[i % 10]), "storeId": "s1", "delta": 1}),
            false => {
                json!({"op": "transfer", "sku": (skus[i % 10]), "fromStoreId": "s1", "toStoreId": "s2", "quantity": 1})
            }
        })
        .collect();
    let body = json!({"operations": operations});
    for round in 0..6_u64 {
        let (port, key) = (app.port, format!("k{round}"));
        let sent = body.to_string();
        let sending = std::thread::spawn(move || {
            let headers = [JSON, ("idempotency-key", &*key)];
            port.try_send("POST", "/api/inventory/batch", &headers, Some(sent.as_bytes()))
        });
        std::thread::sleep(std::time::Duration::from_millis(12 + 8 * round));
        app.kill();
        let first = sending.join().unwrap().ok().filter(|answer| answer.status == 200);
        app = TestApp::start_in(folder.path(), 0, &[]);
        let again = keyed(&app, &format!("k{round}"), "/api/inventory/batch", body.clone()).expect(200);
        if let Some(first) = first {
            is_repeat_of(&first, &again);
        }
        let results = again["results"].as_array().unwrap();
        assert!(results.iter().all(|result| result["status"] == 200), "{}", again.text());
        for sku in &skus {
            let whole = app.get(&item(sku)).expect(200);
            let (quantity, version) = (100 + 20 * (round + 1), 1 + 40 * (round + 1));
            assert_eq!(
                (&whole["quantity"], &whole["version"]),
                (&json!(quantity), &json!(version)),
                "round {round}"
            );
        }
    }
}

/// Writes that put nothing in the log, with a body that each of them takes.
fn unrecorded_writes(app: &TestApp) -> Vec<(&'static str, String, Value)> {
    let jobs = || {
        let headers = [("content-type", "text/csv")];
        let import = app.send("POST", "/api/imports", &headers, Some(b"sku,quantity\n"));
        import.expect(202).header("location").unwrap().to_owned()
    };
    // Nobody listens there.
    let asked = json!({"url": "http://127.0.0.1:9/", "events": ["stock.low"]});
    let webhook = app.post("/api/webhooks", asked).expect(201);
    let webhook = webhook.header("location").unwrap();
    let (cancelled, deleted) = (jobs(), jobs());
    app.post(&format!("{deleted}/cancel"), json!({})).expect(200);
    vec![
        ("POST", "/api/metrics/reset".to_owned(), json!({})),
        ("PUT", "/api/log-level".to_owned(), json!({"level": "info"})),
        ("POST", format!("{cancelled}/cancel"), json!({})),
        ("DELETE", deleted, json!({})),
        ("POST", format!("{webhook}/test"), json!({})),
        ("POST", format!("{webhook}/dead-letters/redeliver"), json!({})),
        ("POST", "/api/sync".to_owned(), json!({})),
    ]
}

#[test]
fn a_write_that_puts_nothing_in_the_log_takes_a_key_as_every_other_does() {
    let app = TestApp::start();
    for (method, path, body) in unrecorded_writes(&app) {
        let send = |headers: &[(&str, &str)], body: &Value| {
            let headers = [&[JSON], headers].concat();
            app.send(method, &path, &headers, Some(body.to_string().as_bytes()))
        };
        let with = |key: Value| {
            let mut body = body.clone();
            body["idempotencyKey"] = key;
            body
        };
        let refused = |answer: Answer, field: &str| {
            assert_eq!(
                answer.refused(400, "invalid_request").fields(),
                [field],
                "{method} {path}"
            );
        };
        for none in ["", "a b", &*"k".repeat(256)] {
            refused(send(&[("idempotency-key", none)], &body), "Idempotency-Key");
            refused(send(&[], &with(json!(none))), "idempotencyKey");
        }
        refused(send(&[], &with(json!(7))), "idempotencyKey");
        let header = [("idempotency-key", "k")];
        refused(send(&header, &with(json!("other"))), "idempotencyKey");
        let done = |answer: Answer| assert!((200..300).contains(&answer.status), "{path}: {}", answer.text());
        done(send(&header, &with(json!("k"))));
        if method != "DELETE" {
            done(send(&[], &with(json!("k"))));
            done(send(&header, &body));
        }
    }
}

#[test]
fn a_login_takes_a_key_and_its_repeat_is_another_login() {
    let app = TestApp::start_guarded(&[]);
    crate::identity::first_admin(&app);
    let body = |key: Value| json!({"username": "anna", "password": crate::identity::PASSWORD, "idempotencyKey": key});
    for _ in 0..2 {
        let answer = keyed(&app, "k", "/api/auth/login", body(json!("k"))).expect(200);
        assert_eq!(answer.header("idempotency-replayed"), None);
    }
    for none in [json!(""), json!("a b"), json!(7)] {
        let refused = app.post("/api/auth/login", body(none)).refused(400, "invalid_request");
        assert_eq!(refused.fields(), ["idempotencyKey"]);
    }
}

#[test]
fn a_write_of_which_there_is_nothing_to_say_refuses_what_is_said() {
    let app = TestApp::start();
    for (method, path, _) in unrecorded_writes(&app) {
        let send = |headers: &[(&str, &str)], body: Option<&[u8]>| app.send(method, &path, headers, body);
        for body in ["[]", "{\"force\": true}", "{"] {
            send(&[JSON], Some(body.as_bytes())).refused(400, "invalid_request");
        }
        send(&[("content-type", "text/plain")], Some(b"{}")).refused(415, "unsupported_media_type");
        if path != "/api/log-level" {
            let status = send(&[], None).status;
            assert!((200..300).contains(&status), "{method} {path}: {status}");
        }
    }
}
