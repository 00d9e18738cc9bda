//! Webhooks: signed, in order, at least once, whatever the receiver does; and nothing of their secrets is ever shown.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Answer, Client, all_pages, at, at_in, column, comes_true, is_time, operation};
use crate::staff::House;
use crate::support::receiver::{AUTHORITY, Delivery, Receiver, Reply};
use crate::support::{HOLDFAST, TestApp};

const WEBHOOKS: &str = "/api/webhooks";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// Receivers are given up after half a second, and tried again after a moment, three times in all.
const QUICK: &[&str] = &[
    "--webhook-timeout-ms",
    "500",
    "--webhook-first-wait-ms",
    "20",
    "--webhook-longest-wait-ms",
    "40",
    "--webhook-attempts",
    "3",
];
/// The same, but it takes many attempts.
const PATIENT: &[&str] = &[
    "--webhook-timeout-ms",
    "500",
    "--webhook-first-wait-ms",
    "20",
    "--webhook-longest-wait-ms",
    "40",
    "--webhook-attempts",
    "1000",
];
const PATIENCE: Duration = Duration::from_secs(20);

fn asking(url: &str, events: &[&str]) -> Value {
    json!({"url": url, "events": events, "secret": SECRET})
}

/// Subscribes; returns the path of the webhook.
#[track_caller]
fn subscribe(app: &impl Client, body: Value) -> String {
    let made = app.post(WEBHOOKS, body).expect(201);
    made.header("location").unwrap().to_owned()
}

#[track_caller]
fn delivery(app: &impl Client, path: &str) -> Value {
    app.get(path).expect(200)["delivery"].clone()
}

/// Waits until its deliveries stand so, and returns how they do.
#[track_caller]
fn await_delivery(app: &impl Client, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let came = comes_true(PATIENCE, || is_so(&delivery(app, path)));
    let stands = delivery(app, path);
    assert!(came, "{stands}");
    stands
}

#[track_caller]
fn adjust(app: &impl Client, sku: &str, delta: i64) -> u64 {
    let answer = app
        .post(&format!("{}/adjust", at(sku)), json!({"delta": delta}))
        .expect(200);
    answer["seq"].as_u64().unwrap()
}

/// Puts a new level in place; returns the place of its event.
#[track_caller]
fn stock(app: &impl Client, sku: &str, body: Value) -> u64 {
    app.put(&at(sku), body).expect(201)["seq"].as_u64().unwrap()
}

#[test]
fn each_event_is_delivered_once_in_order_signed_and_in_the_form_of_the_feed() {
    let app = TestApp::start();
    stock(&app, "BEFORE", json!({"quantity": 1}));
    let receiver = Receiver::content();
    let path = subscribe(&app, asking(&receiver.url(), &["*"]));
    stock(&app, "A", json!({"quantity": 100}));
    for _ in 0..20 {
        adjust(&app, "A", -1);
    }
    app.hold("BEFORE", 1);
    let came = receiver.await_count(22);
    let after = delivery(&app, &path);
    let feed = app.get("/api/events?after=1").expect(200);
    let events = feed["items"].as_array().unwrap();
    assert_eq!(events.len(), 22);
    let id = path.rsplit('/').next().unwrap();
    for (delivery, event) in came.iter().zip(events) {
        assert_eq!(delivery.target, "POST /hooks HTTP/1.1");
        assert_eq!(delivery.header("host"), format!("127.0.0.1:{}", receiver.port));
        assert_eq!(delivery.header("content-type"), "application/json");
        assert_eq!(
            delivery.json,
            json!({"type": event["type"], "timestamp": event["at"], "data": event})
        );
        let hash = delivery
            .header("webhook-id")
            .strip_prefix(&format!("{id}_{}_", event["seq"]));
        assert!(
            hash.is_some_and(|hash| hash.len() == 12 && hash.bytes().all(|b| b.is_ascii_hexdigit())),
            "{}",
            delivery.header("webhook-id")
        );
        assert_eq!((delivery.signatures_by(SECRET), delivery.signatures_by(OTHER)), (1, 0));
        let sent: i64 = delivery.header("webhook-timestamp").parse().unwrap();
        assert!((chrono::Utc::now().timestamp() - sent).abs() < 60, "{sent}");
    }
    let after = if after["lag"] == 0 {
        after
    } else {
        await_delivery(&app, &path, |now| now["lag"] == 0)
    };
    assert_eq!(after["status"], "delivering");
    assert_eq!(
        (&after["delivered"], &after["failedAttempts"], &after["deadLetters"]),
        (&json!(22), &json!(0), &json!(0))
    );
    assert!(
        is_time(&after["lastSuccessAt"]) && after["lastError"].is_null(),
        "{after}"
    );
    assert_eq!(receiver.came().len(), 22, "something came twice");
}

#[test]
fn only_what_was_asked_for_is_delivered() {
    let app = TestApp::start();
    let asked = [
        json!({"events": ["level.counted", "level.created"]}),
        json!({"events": ["stock.low"]}),
        json!({"events": ["*"], "sku": "B"}),
        json!({"events": ["*"], "storeId": "elsewhere"}),
        json!({"events": ["stock.low", "level.adjusted"], "sku": "A", "storeId": "s1"}),
    ];
    let receivers: Vec<(Receiver, String)> = asked
        .into_iter()
        .map(|mut body| {
            let receiver = Receiver::content();
            body["url"] = receiver.url().into();
            let path = subscribe(&app, body);
            (receiver, path)
        })
        .collect();
    let counted = stock(&app, "A", json!({"quantity": 10, "reorderPoint": 9}));
    let sold = adjust(&app, "A", -1);
    let sold_more = adjust(&app, "A", -1);
    let other = stock(&app, "B", json!({"quantity": 3, "reorderPoint": 1}));
    let low = adjust(&app, "B", -2);
    app.put(&at_in("elsewhere", "A"), json!({"quantity": 4})).expect(201);
    app.post("/api/stores", json!({"storeId": "new", "name": "New"}))
        .expect(201);
    app.post("/api/products", json!({"sku": "NEW", "name": "New"}))
        .expect(201);
    let transfer = json!({"sku": "A", "fromStoreId": "s1", "toStoreId": "elsewhere", "quantity": 1});
    let moved = app.post("/api/transfers", transfer).expect(200)["seq"]
        .as_u64()
        .unwrap();
    for (_, path) in &receivers {
        await_delivery(&app, path, |now| now["lag"] == 0);
    }
    let came: Vec<Vec<(u64, String)>> = receivers
        .iter()
        .map(|(receiver, _)| {
            receiver
                .came()
                .iter()
                .map(|one| (one.seq(), one.json["type"].as_str().unwrap().to_owned()))
                .collect()
        })
        .collect();
    let of = |seq: u64, kind: &str| (seq, kind.to_owned());
    let created = low + 1;
    assert_eq!(
        came[0],
        [
            of(counted, "level.created"),
            of(other, "level.created"),
            of(created, "level.created")
        ]
    );
    assert_eq!(came[1], [of(sold, "stock.low"), of(low, "stock.low")]);
    assert_eq!(came[2], [of(other, "level.created"), of(low, "level.adjusted")]);
    assert_eq!(came[3], [of(created, "level.created"), of(moved, "level.transferred")]);
    assert_eq!(came[4], [of(sold, "level.adjusted"), of(sold_more, "level.adjusted")]);
    assert_eq!(receivers[1].0.came()[0].json["data"]["changes"][0]["lowStock"], true);
}

#[test]
fn what_failed_is_tried_again_before_anything_that_came_later() {
    let app = TestApp::start_with(PATIENT);
    let receiver = Receiver::start(|number, _| match number {
        1..=3 => Reply::Status(500),
        5 => Reply::Status(429),
        _ => Reply::Status(200),
    });
    let path = subscribe(&app, asking(&receiver.url(), &["*"]));
    let first = stock(&app, "A", json!({"quantity": 10}));
    let [second, third] = [adjust(&app, "A", -1), adjust(&app, "A", -1)];
    let came = receiver.await_count(7);
    assert_eq!(receiver.seqs(), [first, second, second, second, second, third, third]);
    let ids: Vec<&str> = came[1..5].iter().map(|one| one.header("webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert!(
        came[1..5]
            .iter()
            .all(|one| one.body == came[1].body && one.signatures_by(SECRET) == 1)
    );
    let stands = await_delivery(&app, &path, |now| now["lag"] == 0);
    assert_eq!(
        (
            &stands["delivered"],
            &stands["failedAttempts"],
            &stands["consecutiveFailures"]
        ),
        (&json!(3), &json!(4), &json!(0))
    );
    assert_eq!(stands["lastError"]["message"], "answered 429");
}

#[test]
fn a_webhook_whose_receiver_is_down_says_so_and_goes_on_when_it_is_back() {
    let app = TestApp::start_with(PATIENT);
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    let receiver = Receiver::start(move |_, _| Reply::Status(if up.load(Ordering::Relaxed) { 200 } else { 503 }));
    let path = subscribe(&app, asking(&receiver.url(), &["*"]));
    let first = stock(&app, "A", json!({"quantity": 10}));
    let second = adjust(&app, "A", -1);
    let stands = await_delivery(&app, &path, |now| now["consecutiveFailures"].as_u64() >= Some(3));
    assert_eq!((&stands["status"], &stands["lag"]), (&json!("retrying"), &json!(2)));
    assert_eq!(stands["lastError"]["message"], "answered 503");
    assert!(
        is_time(&stands["lastError"]["at"]) && stands["lastSuccessAt"].is_null(),
        "{stands}"
    );
    is_up.store(true, Ordering::Relaxed);
    let stands = await_delivery(&app, &path, |now| now["lag"] == 0);
    assert_eq!(
        (&stands["status"], &stands["delivered"]),
        (&json!("delivering"), &json!(2))
    );
    let seqs = receiver.seqs();
    assert_eq!(seqs.last(), Some(&second));
    assert!(seqs[..seqs.len() - 1].iter().all(|seq| *seq == first), "{seqs:?}");
}

/// What a bad receiver does with the first delivery, and whether that counts as one.
#[test]
fn a_receiver_that_lies_hangs_or_breaks_off_is_tried_again_and_holds_nobody_up() {
    let elsewhere = Receiver::content();
    let redirect = |status: u16| {
        let location = elsewhere.url();
        Reply::Raw(format!(
            "HTTP/1.1 {status} Go\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ))
    };
    let raw = |text: &str| Reply::Raw(text.to_owned());
    let rows = [
        ("a redirect", redirect(302), false),
        ("a redirect that keeps the method", redirect(308), false),
        ("silence", Reply::Silence, false),
        ("a closed connection", raw(""), false),
        ("half a status line", raw("HTTP/1.1 20"), false),
        ("half a head", raw("HTTP/1.1 200 OK\r\nContent-Le"), false),
        (
            "half a head and then nothing",
            Reply::Stuck("HTTP/1.1 200 OK\r\nContent-Le"),
            false,
        ),
        ("no HTTP", raw("220 mail.example ESMTP\r\n"), false),
        ("a head without an end", Reply::Endless("HTTP/1.1 200 OK\r\nx: "), false),
        (
            "a failure with an endless body",
            Reply::Endless("HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n"),
            false,
        ),
        (
            "garbage with 200",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\0\u{1}<html>?"),
            true,
        ),
        (
            "a body that is cut off",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
            true,
        ),
        (
            "a body that does not come",
            Reply::Stuck("HTTP/1.1 202 OK\r\nContent-Length: 100\r\n\r\n"),
            true,
        ),
        ("an endless body", Reply::Endless("HTTP/1.1 200 OK\r\n\r\n"), true),
    ];
    let app = TestApp::start_with(PATIENT);
    let memory = app.memory();
    for (number, (what, reply, is_delivery)) in rows.into_iter().enumerate() {
        let receiver = Receiver::start(move |number, _| if number == 0 { reply.clone() } else { Reply::Status(200) });
        let sku = format!("SKU-{number}");
        let path = subscribe(&app, json!({"url": receiver.url(), "events": ["*"], "sku": sku}));
        let first = stock(&app, &sku, json!({"quantity": 10}));
        let second = adjust(&app, &sku, -1);
        let expected = if is_delivery {
            vec![first, second]
        } else {
            vec![first, first, second]
        };
        await_delivery(&app, &path, |now| now["delivered"] == 2);
        assert_eq!(receiver.seqs(), expected, "{what}");
        let stands = delivery(&app, &path);
        assert_eq!(stands["failedAttempts"], expected.len() - 2, "{what}: {stands}");
    }
    assert!(elsewhere.came().is_empty(), "a redirect was followed");
    let grown = app.memory().saturating_sub(memory);
    assert!(grown < 32 << 20, "{grown} bytes more");
}

#[test]
fn a_receiver_that_is_not_there_is_tried_again() {
    let app = TestApp::start_with(PATIENT);
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let path = subscribe(&app, asking(&format!("http://127.0.0.1:{port}"), &["*"]));
    let unknown = subscribe(&app, asking("http://no-such-host.invalid/x", &["*"]));
    stock(&app, "A", json!({"quantity": 10}));
    let stands = await_delivery(&app, &path, |now| now["failedAttempts"].as_u64() >= Some(2));
    let message = stands["lastError"]["message"].as_str().unwrap();
    assert!(
        message.starts_with(&format!("cannot connect to 127.0.0.1:{port}")),
        "{message}"
    );
    let stands = await_delivery(&app, &unknown, |now| now["failedAttempts"].as_u64() >= Some(1));
    assert!(stands["lastError"]["message"].is_string(), "{stands}");
}

#[test]
fn one_receiver_that_hangs_holds_up_no_other_and_no_stop() {
    let mut app = TestApp::start_with(&["--webhook-timeout-ms", "60000"]);
    let (hanging, content) = (Receiver::start(|_, _| Reply::Silence), Receiver::content());
    for receiver in [&hanging, &content] {
        subscribe(&app, asking(&receiver.url(), &["*"]));
    }
    stock(&app, "A", json!({"quantity": 100}));
    for _ in 0..9 {
        adjust(&app, "A", -1);
    }
    content.await_count(10);
    hanging.await_count(1);
    let tested = subscribe(&app, asking(&hanging.url(), &["stock.low"]));
    let port = app.port;
    let testing = std::thread::spawn(move || port.try_send("POST", &format!("{tested}/test"), &[], None));
    hanging.await_count(2);
    let began = Instant::now();
    assert!(app.terminate().success());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "the stop took {took:?}");
    let answer = testing.join().unwrap().unwrap().expect(200);
    assert_eq!(answer["delivered"], false);
}

#[test]
fn a_receiver_may_ask_for_time() {
    let app = TestApp::start_with(&["--webhook-first-wait-ms", "20", "--webhook-longest-wait-ms", "2000"]);
    let receiver = Receiver::start(|number, _| match number {
        0 => Reply::Raw("HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".to_owned()),
        _ => Reply::Status(200),
    });
    subscribe(&app, asking(&receiver.url(), &["*"]));
    stock(&app, "A", json!({"quantity": 100}));
    let came = receiver.await_count(2);
    let waited = came[1].came - came[0].came;
    assert!(
        (Duration::from_millis(950)..Duration::from_secs(5)).contains(&waited),
        "{waited:?}"
    );
}

/// Fails for these SKUs, as long as it is told to.
fn fails_for(skus: &'static [&'static str]) -> (Receiver, Arc<AtomicBool>) {
    let is_failing = Arc::new(AtomicBool::new(true));
    let failing = is_failing.clone();
    let receiver = Receiver::start(move |_, delivery: &Delivery| {
        let sku = delivery.json["data"]["changes"][0]["sku"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let fails = failing.load(Ordering::Relaxed) && skus.contains(&sku.as_str());
        Reply::Status(if fails { 400 } else { 200 })
    });
    (receiver, is_failing)
}

#[test]
fn what_fails_every_time_becomes_a_dead_letter_and_is_sent_again_when_asked() {
    let app = TestApp::start_with(QUICK);
    let (receiver, is_failing) = fails_for(&["BAD", "WORSE"]);
    let path = subscribe(&app, asking(&receiver.url(), &["*"]));
    let letters = format!("{path}/dead-letters");
    let redeliver = format!("{letters}/redeliver");
    assert_eq!(app.get(&letters).expect(200)["items"], json!([]));
    let seqs: Vec<u64> = ["A", "BAD", "B", "WORSE", "C"]
        .iter()
        .map(|sku| stock(&app, sku, json!({"quantity": 1})))
        .collect();
    let stands = await_delivery(&app, &path, |now| now["lag"] == 0);
    assert_eq!(
        (&stands["delivered"], &stands["deadLetters"], &stands["failedAttempts"]),
        (&json!(3), &json!(2), &json!(6))
    );
    assert_eq!(stands["status"], "delivering");
    let [a, bad, b, worse, c] = seqs[..] else {
        unreachable!()
    };
    assert_eq!(receiver.seqs(), [a, bad, bad, bad, b, worse, worse, worse, c]);
    let rows = all_pages(&app, &letters, 1);
    assert_eq!(column(&rows, "seq"), [bad.to_string(), worse.to_string()]);
    assert_eq!(
        (&rows[0]["type"], &rows[0]["attempts"]),
        (&json!("level.created"), &json!(3))
    );
    assert_eq!(
        (&rows[0]["lastError"]["message"], &rows[0]["redelivering"]),
        (&json!("answered 400"), &json!(false))
    );

    app.post(&redeliver, json!({"seqs": [bad, a]}))
        .refused(404, "not_found");
    assert_eq!(
        app.post(&redeliver, json!({"seqs": [bad]})).expect(202)["redelivering"],
        1
    );
    let came = receiver.await_count(10);
    assert_eq!(came[9].header("webhook-id"), came[1].header("webhook-id"));
    assert_eq!(came[9].body, came[1].body);
    assert!(comes_true(
        PATIENCE,
        || app.get(&letters).expect(200)["items"][0]["attempts"] == 4
    ));
    assert_eq!(all_pages(&app, &letters, 10).len(), 2, "it has failed again, and stays");

    is_failing.store(false, Ordering::Relaxed);
    assert_eq!(app.send("POST", &redeliver, &[], None).expect(202)["redelivering"], 2);
    assert!(comes_true(PATIENCE, || app.get(&letters).expect(200)["items"] == json!([])));
    assert_eq!(receiver.seqs()[10..], [bad, worse]);
    let stands = delivery(&app, &path);
    assert_eq!(
        (&stands["delivered"], &stands["deadLetters"], &stands["seq"]),
        (&json!(5), &json!(0), &json!(c))
    );
}

#[test]
fn dead_letters_that_are_sent_again_take_turns_with_what_is_new() {
    let app = TestApp::start_with(QUICK);
    let (receiver, is_failing) = fails_for(&["BAD"]);
    let path = subscribe(&app, asking(&receiver.url(), &["*"]));
    stock(&app, "GOOD", json!({"quantity": 1}));
    let mut bad = vec![stock(&app, "BAD", json!({"quantity": 1}))];
    bad.extend([adjust(&app, "BAD", 1), adjust(&app, "BAD", 1)]);
    await_delivery(&app, &path, |now| now["deadLetters"] == 3);
    let mut body = asking(&receiver.url(), &["*"]);
    body["disabled"] = true.into();
    app.put(&path, body.clone()).expect(200);
    let good = [adjust(&app, "GOOD", 1), adjust(&app, "GOOD", 1)];
    // What it did not ask for takes no turn.
    app.post("/api/stores", json!({"storeId": "new", "name": "New"}))
        .expect(201);
    let last = adjust(&app, "GOOD", 1);
    let before = receiver.came().len();
    is_failing.store(false, Ordering::Relaxed);
    app.send("POST", &format!("{path}/dead-letters/redeliver"), &[], None)
        .expect(202);
    body["disabled"] = false.into();
    app.put(&path, body).expect(200);
    receiver.await_count(before + 6);
    await_delivery(&app, &path, |now| now["lag"] == 0 && now["deadLetters"] == 0);
    assert_eq!(
        receiver.seqs()[before..],
        [bad[0], good[0], bad[1], good[1], bad[2], last]
    );
}

#[test]
fn after_a_dead_letter_fails_again_the_others_wait_and_what_is_new_does_not() {
    let app = TestApp::start_with(&["--webhook-first-wait-ms", "1000", "--webhook-attempts", "1"]);
    let (receiver, is_failing) = fails_for(&["BAD"]);
    let path = subscribe(&app, asking(&receiver.url(), &["*"]));
    let mut bad = vec![stock(&app, "BAD", json!({"quantity": 1}))];
    bad.extend([adjust(&app, "BAD", 1), adjust(&app, "BAD", 1), adjust(&app, "BAD", 1)]);
    await_delivery(&app, &path, |now| now["deadLetters"] == 4);
    let redeliver = format!("{path}/dead-letters/redeliver");
    assert_eq!(app.send("POST", &redeliver, &[], None).expect(202)["redelivering"], 4);
    receiver.await_count(5);
    let good = stock(&app, "GOOD", json!({"quantity": 1}));
    let came = receiver.await_count(8);
    assert_eq!(receiver.seqs()[4..], [bad[0], good, bad[1], bad[2]]);
    let waits = [came[6].came - came[4].came, came[7].came - came[6].came];
    // A fifth less than asked for at most; the second is twice as long.
    assert!(
        waits[0] >= Duration::from_millis(750) && waits[1] >= Duration::from_millis(1550),
        "{waits:?}"
    );
    let stands = await_delivery(&app, &path, |now| is_time(&now["nextRedeliveryAt"]));
    assert_eq!((&stands["status"], &stands["lag"]), (&json!("delivering"), &json!(0)));
    let letters = || app.get(&format!("{path}/dead-letters")).expect(200);
    let asked = column(letters()["items"].as_array().unwrap(), "redelivering");
    assert_eq!(asked, ["false", "false", "false", "true"]);
    // Who asks again does not wait.
    is_failing.store(false, Ordering::Relaxed);
    app.send("POST", &redeliver, &[], None).expect(202);
    assert!(comes_true(PATIENCE, || letters()["items"] == json!([])));
    assert_eq!(receiver.seqs()[8..], bad);
    let waited = receiver.came()[8].came - came[7].came;
    assert!(waited < Duration::from_millis(3000), "{waited:?}");
    assert!(delivery(&app, &path)["nextRedeliveryAt"].is_null());
}

#[test]
fn dead_letters_and_places_outlive_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let (receiver, is_failing) = fails_for(&["BAD"]);
    let mut app = TestApp::start_in(folder.path(), 0, QUICK);
    let path = subscribe(&app, asking(&receiver.url(), &["*"]));
    let seqs: Vec<u64> = ["A", "BAD"]
        .iter()
        .map(|sku| stock(&app, sku, json!({"quantity": 1})))
        .collect();
    let before = await_delivery(&app, &path, |now| now["lag"] == 0);
    assert!(app.terminate().success());
    let mut app = TestApp::start_in(folder.path(), 0, QUICK);
    assert_eq!(delivery(&app, &path), before);
    let last = adjust(&app, "A", 1);
    await_delivery(&app, &path, |now| now["lag"] == 0);
    assert_eq!(receiver.seqs(), [seqs[0], seqs[1], seqs[1], seqs[1], last]);
    is_failing.store(false, Ordering::Relaxed);
    app.send("POST", &format!("{path}/dead-letters/redeliver"), &[], None)
        .expect(202);
    assert_eq!(receiver.await_count(6)[5].seq(), seqs[1]);
    assert!(app.terminate().success());
    let app = TestApp::start_in(folder.path(), 0, QUICK);
    assert_eq!(delivery(&app, &path)["deadLetters"], 0);
    assert_eq!(receiver.came().len(), 6);
}

#[test]
fn what_a_restored_log_goes_on_with_has_other_ids_than_what_it_has_lost() {
    let (folder, restored) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let receiver = Receiver::content();
    let mut app = TestApp::start_in(folder.path(), 0, QUICK);
    let path = subscribe(&app, asking(&receiver.url(), &["*"]));
    stock(&app, "A", json!({"quantity": 9}));
    await_delivery(&app, &path, |now| now["lag"] == 0);
    assert!(app.terminate().success());
    let copied = std::process::Command::new("cp")
        .args(["-a", "."])
        .arg(restored.path())
        .current_dir(folder.path())
        .status();
    assert!(copied.unwrap().success());
    for (folder, count) in [(folder.path(), 2), (restored.path(), 3)] {
        let mut app = TestApp::start_in(folder, 0, QUICK);
        adjust(&app, "A", -1);
        receiver.await_count(count);
        assert!(app.terminate().success());
    }
    let came = receiver.came();
    let [_, lost, new] = &came[..] else {
        panic!("{} came", came.len())
    };
    assert_eq!(lost.seq(), new.seq());
    assert_ne!(lost.header("webhook-id"), new.header("webhook-id"));
}

#[test]
fn a_receiver_that_is_gone_disables_its_webhook_until_it_is_enabled() {
    let app = TestApp::start_with(PATIENT);
    let is_gone = Arc::new(AtomicBool::new(true));
    let gone = is_gone.clone();
    let receiver = Receiver::start(move |_, _| Reply::Status(if gone.load(Ordering::Relaxed) { 410 } else { 200 }));
    let path = subscribe(&app, asking(&receiver.url(), &["*"]));
    let first = stock(&app, "A", json!({"quantity": 10}));
    let stands = await_delivery(&app, &path, |now| now["status"] == "disabled");
    assert_eq!(
        (&stands["deadLetters"], &stands["nextAttemptAt"]),
        (&json!(0), &Value::Null)
    );
    let shown = app.get(&path).expect(200);
    assert_eq!(
        (&shown["disabled"], &shown["version"], shown.header("etag")),
        (&json!(true), &json!(2), Some("\"2\""))
    );
    let second = adjust(&app, "A", -1);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(receiver.seqs(), [first]);
    is_gone.store(false, Ordering::Relaxed);
    app.put(&path, json!({"url": receiver.url(), "events": ["*"]}))
        .expect(200);
    await_delivery(&app, &path, |now| now["lag"] == 0);
    assert_eq!(receiver.seqs(), [first, first, second]);
}

#[test]
fn a_disabled_webhook_delivers_what_it_has_missed_when_it_is_enabled_and_a_deleted_one_nothing() {
    let app = TestApp::start();
    let receiver = Receiver::content();
    let mut body = asking(&receiver.url(), &["*"]);
    body["disabled"] = true.into();
    let path = subscribe(&app, body.clone());
    let seqs = [stock(&app, "A", json!({"quantity": 10})), adjust(&app, "A", -1)];
    std::thread::sleep(Duration::from_millis(100));
    let stands = delivery(&app, &path);
    assert_eq!((&stands["status"], &stands["lag"]), (&json!("disabled"), &json!(3)));
    assert!(receiver.came().is_empty());
    body["disabled"] = false.into();
    app.put(&path, body).expect(200);
    receiver.await_count(2);
    assert_eq!(receiver.seqs(), seqs);
    app.send("DELETE", &path, &[], None).expect(204);
    adjust(&app, "A", -1);
    for gone in [&path, &format!("{path}/dead-letters")] {
        app.get(gone).refused(404, "not_found");
    }
    app.send("POST", &format!("{path}/test"), &[], None)
        .refused(404, "not_found");
    app.send("DELETE", &path, &[], None).refused(404, "not_found");
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(receiver.came().len(), 2);
    assert_eq!(app.get(WEBHOOKS).expect(200)["items"], json!([]));
}

#[test]
fn a_changed_webhook_is_tried_at_once_where_it_now_goes() {
    let app = TestApp::start_with(&["--webhook-first-wait-ms", "600000"]);
    let (failing, content) = (Receiver::start(|_, _| Reply::Status(500)), Receiver::content());
    let path = subscribe(&app, asking(&failing.url(), &["*"]));
    let first = stock(&app, "A", json!({"quantity": 10}));
    let stands = await_delivery(&app, &path, |now| now["status"] == "retrying");
    assert!(is_time(&stands["nextAttemptAt"]));
    app.put(&path, json!({"url": content.url(), "events": ["*"]}))
        .expect(200);
    assert_eq!(content.await_count(1)[0].seq(), first);
    assert_eq!(content.came()[0].signatures_by(SECRET), 1, "the secret has not stayed");
    assert_eq!(failing.came().len(), 1);
}

#[test]
fn a_test_delivery_says_what_came_back_and_changes_nothing() {
    let app = TestApp::start_with(QUICK);
    let replies = Arc::new(Mutex::new(vec![
        Reply::Silence,
        Reply::Status(410),
        Reply::Status(503),
        Reply::Status(202),
    ]));
    let receiver = Receiver::start(move |_, _| replies.lock().unwrap().pop().unwrap());
    let mut body = asking(&receiver.url(), &["*"]);
    body["disabled"] = true.into();
    let path = subscribe(&app, body);
    let before = app.get(&path).expect(200).json;
    let test = || app.send("POST", &format!("{path}/test"), &[], None).expect(200);
    for (status, error) in [
        (202, None),
        (503, Some("answered 503")),
        (410, Some("answered 410: the receiver is gone")),
    ] {
        let answer = test();
        assert_eq!((&answer["status"], answer["error"].as_str()), (&json!(status), error));
        assert_eq!(answer["delivered"], error.is_none());
        assert!(answer["durationMs"].as_u64() < Some(500), "{}", answer.text());
    }
    let silent = test();
    assert_eq!((&silent["delivered"], &silent["status"]), (&json!(false), &Value::Null));
    assert_eq!(silent["error"], "no answer within 500ms");
    assert!(
        (500..5000).contains(&silent["durationMs"].as_u64().unwrap()),
        "{}",
        silent.text()
    );
    let came = receiver.came();
    let id = path.rsplit('/').next().unwrap();
    assert_eq!(
        (&came[0].json["type"], &came[0].json["data"]),
        (&json!("webhook.test"), &json!({"webhookId": id}))
    );
    assert!(is_time(&came[0].json["timestamp"]));
    assert!(came.iter().all(|one| one.signatures_by(SECRET) == 1));
    assert_ne!(came[0].header("webhook-id"), came[1].header("webhook-id"));
    assert_eq!(app.get(&path).expect(200).json, before);
    app.post(&format!("{path}/test"), json!({"url": "http://elsewhere"}))
        .refused(400, "invalid_request");
}

#[test]
fn a_made_secret_is_shown_once_and_signs_and_a_replaced_one_signs_beside_it() {
    let app = TestApp::start();
    let receiver = Receiver::content();
    let asked = json!({"url": receiver.url(), "events": ["*"]});
    let key = [("idempotency-key", "k-1")];
    let made = app.post_with(WEBHOOKS, &key, asked.clone()).expect(201);
    let first = made["secret"].as_str().unwrap().to_owned();
    let again = app.post_with(WEBHOOKS, &key, asked.clone()).expect(201);
    assert_eq!(
        (&again["id"], again.header("idempotency-replayed")),
        (&made["id"], Some("true"))
    );
    assert!(again["secret"].is_null(), "{}", again.text());
    assert_eq!(app.get(&operation("k-1")).expect(200)["answer"]["body"], again.json);
    assert_eq!(all_pages(&app, WEBHOOKS, 5).len(), 1);
    let path = made.header("location").unwrap();
    stock(&app, "A", json!({"quantity": 10}));
    let mut rotate = asked.clone();
    rotate["rotateSecret"] = true.into();
    receiver.await_count(1);
    let rotated = app.put_with(path, &[("prefer", "return=minimal")], rotate).expect(200);
    let second = rotated["secret"].as_str().unwrap().to_owned();
    assert!(
        second != first && is_time(&rotated["previousSecretUntil"]),
        "{}",
        rotated.text()
    );
    adjust(&app, "A", -1);
    receiver.await_count(2);
    let mut given = asked.clone();
    given["secret"] = SECRET.into();
    assert!(app.put(path, given).expect(200)["secret"].is_null());
    adjust(&app, "A", -1);
    let came = receiver.await_count(3);
    let signed = |delivery: &Delivery| [&*first, &*second, SECRET].map(|secret| delivery.signatures_by(secret));
    assert_eq!(
        [&came[0], &came[1], &came[2]].map(signed),
        [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    );
}

#[test]
fn no_answer_log_feed_or_export_shows_a_secret_or_an_address_that_holds_one() {
    let app = TestApp::start_with(&[QUICK, &["--log-level", "trace"]].concat());
    let receiver = Receiver::start(|_, _| Reply::Status(500));
    let mut asked = asking(&format!("{}?token=ZTOKEN", receiver.url()), &["*"]);
    let key = [("idempotency-key", "k-1")];
    let mut answers = vec![app.post_with(WEBHOOKS, &key, asked.clone()).expect(201)];
    let path = answers[0].header("location").unwrap().to_owned();
    stock(&app, "A", json!({"quantity": 10}));
    await_delivery(&app, &path, |now| now["deadLetters"] == 1);
    asked["secret"] = OTHER.into();
    answers.push(app.put(&path, asked.clone()).expect(200));
    answers.push(
        app.post_with(WEBHOOKS, &key, asked.clone())
            .refused(422, "idempotency_key_reused"),
    );
    for wrong in [
        json!(SECRET[..30]),
        json!([SECRET]),
        json!({SECRET: 1}),
        json!(format!("{SECRET}?")),
    ] {
        asked["secret"] = wrong;
        answers.push(app.post(WEBHOOKS, asked.clone()).refused(400, "invalid_request"));
    }
    for read in [
        &*path,
        WEBHOOKS,
        "/api/events",
        "/api/operations/k-1",
        "/api/movements",
        &format!("{path}/dead-letters"),
        "/",
    ] {
        answers.push(app.get(read).expect(200));
    }
    answers.push(app.send("POST", &format!("{path}/test"), &[], None).expect(200));
    let secrets = [&SECRET[6..], &OTHER[6..], &SECRET[6..24]];
    let holds = |text: &str| secrets.iter().any(|secret| text.contains(secret));
    for answer in &answers {
        assert!(!holds(&String::from_utf8_lossy(&answer.body)), "{}", answer.text());
    }
    let url = format!("http://127.0.0.1:{}", app.port);
    let export = Command::new(HOLDFAST)
        .args(["export", "events", "-", "--url", &url])
        .output()
        .unwrap();
    assert!(export.status.success());
    let exported = String::from_utf8(export.stdout).unwrap();
    assert!(
        exported.contains("level.created") && !holds(&exported) && !exported.contains("webhook."),
        "{exported}"
    );
    let log = app.log();
    assert!(
        log.contains("a webhook was changed") && log.contains("a dead letter"),
        "{log}"
    );
    assert!(!holds(&log) && !log.contains("ZTOKEN"), "{log}");
}

#[test]
fn the_log_on_disk_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let mut app = TestApp::start();
    subscribe(&app, asking("http://127.0.0.1:9", &["*"]));
    assert!(app.terminate().success());
    let files = std::fs::read_dir(app.folder().join("events"))
        .unwrap()
        .chain(std::fs::read_dir(app.folder()).unwrap());
    let holds = |path: &std::path::Path| {
        path.is_file() && std::fs::read_to_string(path).is_ok_and(|text| text.contains(&SECRET[6..]))
    };
    let holding: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| holds(path))
        .collect();
    assert_eq!(holding.len(), 2, "log and checkpoint: {holding:?}");
    for path in holding {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn a_webhook_that_does_not_fit_is_refused_by_its_field() {
    let app = TestApp::start();
    let fits = asking("https://example.com/hooks", &["*"]);
    let path = subscribe(&app, fits.clone());
    let with = |member: &str, value: Value| {
        let mut body = fits.clone();
        body[member] = value;
        body
    };
    for (field, body) in [
        ("url", with("url", json!("example.com"))),
        ("url", with("url", json!("ftp://example.com"))),
        ("url", with("url", json!("https://anna:pw@example.com"))),
        ("url", with("url", json!("https://example.com/#top"))),
        ("url", with("url", json!("http://example.com/\r\nx: y"))),
        (
            "url",
            with("url", json!(format!("http://example.com/{}", "a".repeat(2048)))),
        ),
        ("url", with("url", json!(7))),
        ("url", json!({"events": ["*"]})),
        ("events", json!({"url": "https://example.com"})),
        ("events", with("events", json!([]))),
        ("events", with("events", json!("*"))),
        ("events[1]", with("events", json!(["*", "user.created"]))),
        ("events[0]", with("events", json!(["webhook.created"]))),
        ("secret", with("secret", json!("whsec_c2hvcnQ="))),
        ("secret", with("secret", json!(&SECRET[6..]))),
        ("sku", with("sku", json!(" "))),
        ("storeId", with("storeId", json!(""))),
        ("disabled", with("disabled", json!("yes"))),
        ("id", with("id", json!("mine"))),
        ("headers", with("headers", json!({}))),
    ] {
        for answer in [app.post(WEBHOOKS, body.clone()), app.put(&path, body.clone())] {
            assert_eq!(answer.refused(400, "invalid_request").fields(), [field], "{body}");
        }
    }
    assert_eq!(
        app.put(&path, with("rotateSecret", json!(true)))
            .refused(400, "invalid_request")
            .fields(),
        ["rotateSecret"]
    );
    assert_eq!(
        app.post(WEBHOOKS, with("rotateSecret", json!(true)))
            .refused(400, "invalid_request")
            .fields(),
        ["rotateSecret"]
    );
    assert_eq!(app.get(&path).expect(200)["version"], 1);
    assert_eq!(all_pages(&app, WEBHOOKS, 1).len(), 1);
}

#[test]
fn there_are_no_more_webhooks_than_there_may_be() {
    let app = TestApp::start_with(&["--max-webhooks", "2"]);
    let body = asking("https://example.com/hooks", &["*"]);
    let key = [("idempotency-key", "k-1")];
    let first = app.post_with(WEBHOOKS, &key, body.clone()).expect(201);
    subscribe(&app, body.clone());
    let refused = app.post(WEBHOOKS, body.clone()).refused(409, "quota_exceeded");
    assert_eq!(refused["limit"], 2);
    assert!(refused["detail"].as_str().unwrap().contains("--max-webhooks"));
    assert_eq!(all_pages(&app, WEBHOOKS, 5).len(), 2);
    assert_eq!(app.get("/api/metrics/limits").expect(200)["settings"]["maxWebhooks"], 2);
    // A repeat is no further one.
    let again = app.post_with(WEBHOOKS, &key, body.clone()).expect(201);
    assert_eq!(again["id"], first["id"]);
    app.send("DELETE", first.header("location").unwrap(), &[], None)
        .expect(204);
    subscribe(&app, body);
}

#[test]
fn a_webhook_is_changed_at_the_version_that_was_expected() {
    let app = TestApp::start();
    let body = asking("https://example.com/hooks", &["*", "level.adjusted", "*"]);
    let made = app.post(WEBHOOKS, body.clone()).expect(201);
    assert_eq!(made["events"], json!(["*", "level.adjusted"]), "each once");
    assert_eq!(
        (made.header("etag"), &made["createdBy"]),
        (Some("\"1\""), &json!("anonymous"))
    );
    let path = made.header("location").unwrap().to_owned();
    let change = |headers: &[(&str, &str)], version: Option<u64>| -> Answer {
        let mut body = body.clone();
        if let Some(version) = version {
            body["expectedVersion"] = version.into();
        }
        app.put_with(&path, headers, body)
    };
    assert_eq!(
        change(&[], Some(2)).refused(409, "version_mismatch")["currentVersion"],
        1
    );
    change(&[("if-match", "\"2\"")], None).refused(412, "precondition_failed");
    assert_eq!(change(&[("if-match", "\"1\"")], Some(1)).expect(200)["version"], 2);
    // Its deliveries go on at the same version: nobody is told that they have it already.
    let shown = app.get_with(&path, &[("if-none-match", "\"2\"")]).expect(200);
    assert_eq!(shown.header("etag"), Some("\"2\""));
    app.send("DELETE", &path, &[("if-match", "\"1\"")], None)
        .refused(412, "precondition_failed");
    app.send("DELETE", &path, &[("if-match", "\"2\"")], None).expect(204);
    app.put(&path, body.clone()).refused(404, "not_found");
    app.post_with(WEBHOOKS, &[("if-none-match", "*")], body.clone())
        .refused(400, "invalid_request");
}

#[test]
fn no_delivery_goes_to_an_address_that_is_not_allowed() {
    let receiver = Receiver::content();
    let elsewhere = TestApp::start_with(&["--webhook-networks", "10.0.0.0/8,192.168.0.0/16"]);
    let anywhere = TestApp::start();
    let local = receiver.url();
    for (app, url, is_allowed) in [
        (&anywhere, "http://169.254.169.254/latest/meta-data/", false),
        (&anywhere, "http://[::ffff:169.254.169.254]/", false),
        (&anywhere, "http://[fe80::1]/", false),
        (&anywhere, "http://[fd00:ec2::254]/latest/meta-data/", false),
        (&anywhere, "http://100.100.100.200/latest/meta-data/", false),
        (&anywhere, "http://0.0.0.0:1/", false),
        (&anywhere, &*local, true),
        (&elsewhere, &*local, false),
        (&elsewhere, &*local.replace("127.0.0.1", "localhost"), false),
    ] {
        let mut body = asking(url, &["*"]);
        body["disabled"] = true.into();
        let path = subscribe(app, body);
        let answer = app.send("POST", &format!("{path}/test"), &[], None).expect(200);
        assert_eq!(answer["delivered"], is_allowed, "{url}: {}", answer.text());
        let is_refused = answer["error"]
            .as_str()
            .is_some_and(|error| error.starts_with("deliveries may not go to"));
        assert_eq!(is_refused, !is_allowed, "{url}: {}", answer.text());
    }
    assert_eq!(receiver.came().len(), 1);
}

#[test]
fn a_webhook_to_an_address_that_nothing_is_ever_delivered_to_is_refused() {
    let elsewhere = TestApp::start_with(&["--webhook-networks", "10.0.0.0/8"]);
    let anywhere = TestApp::start();
    for (app, fits, barred) in [
        (
            &anywhere,
            ["http://127.0.0.1:9/", "http://10.0.0.7/", "http://localhost:9/"],
            [
                "http://169.254.169.254/latest/meta-data/",
                "https://[fd00:ec2::254]/",
                "http://0.0.0.0:1/",
            ],
        ),
        (
            &elsewhere,
            ["http://10.0.0.7/", "http://[::ffff:10.0.0.7]/", "http://localhost:9/"],
            ["http://127.0.0.1:9/", "http://[::1]:9/", "http://192.168.0.1/"],
        ),
    ] {
        let mut path = String::new();
        for url in fits {
            path = subscribe(app, asking(url, &["*"]));
        }
        for url in barred {
            let body = asking(url, &["*"]);
            for answer in [app.post(WEBHOOKS, body.clone()), app.put(&path, body.clone())] {
                let answer = answer.refused(400, "invalid_request");
                assert_eq!(answer.fields(), ["url"], "{url}");
                let detail = answer["detail"].as_str().unwrap();
                assert!(detail.contains("--webhook-networks"), "{detail}");
            }
        }
        assert_eq!(app.get(&path).expect(200)["version"], 1);
        assert_eq!(all_pages(app, WEBHOOKS, 10).len(), fits.len());
        // One that delivers nothing may stand there, until somebody enables it.
        let mut body = asking(barred[0], &["*"]);
        body["disabled"] = true.into();
        let path = subscribe(app, body.clone());
        body["disabled"] = false.into();
        assert_eq!(app.put(&path, body).refused(400, "invalid_request").fields(), ["url"]);
    }
}

#[test]
fn by_tls_only_a_receiver_that_the_system_trusts_under_its_name_is_delivered_to() {
    let receiver = Receiver::content_by_tls();
    let (trusting, wary) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trusting = TestApp::start_under(trusting.path(), 0, QUICK, &[("SSL_CERT_FILE", AUTHORITY)]);
    let wary = TestApp::start_in(wary.path(), 0, QUICK);
    let by_name = format!("https://localhost:{}/hooks", receiver.port);
    for (app, url) in [
        (&wary, &by_name),
        (&trusting, &by_name.replace("localhost", "127.0.0.1")),
    ] {
        let path = subscribe(app, asking(url, &["*"]));
        let answer = app.send("POST", &format!("{path}/test"), &[], None).expect(200);
        assert_eq!(
            (&answer["delivered"], &answer["status"]),
            (&json!(false), &Value::Null),
            "{}",
            answer.text()
        );
    }
    assert!(receiver.came().is_empty());
    let path = subscribe(&trusting, asking(&by_name, &["*"]));
    stock(&trusting, "A", json!({"quantity": 10}));
    adjust(&trusting, "A", -1);
    let came = receiver.await_count(2);
    assert!(came.iter().all(|one| one.signatures_by(SECRET) == 1));
    assert_eq!(came[0].header("host"), format!("localhost:{}", receiver.port));
    await_delivery(&trusting, &path, |now| now["delivered"] == 2);
}

#[test]
fn webhooks_are_the_admins_own() {
    let house = House::open();
    let body = asking("https://example.com/hooks", &["*"]);
    let path = subscribe(&house.admin, body.clone());
    let end = house.end();
    let operator = house.hire("operator", "operator", &[]);
    let before = house.end();
    for caller in [&operator, &house.clerk()] {
        for answer in [
            caller.get(WEBHOOKS),
            caller.get(&path),
            caller.post(WEBHOOKS, body.clone()),
            caller.put(&path, body.clone()),
            caller.send("DELETE", &path, &[], None),
            caller.send("POST", &format!("{path}/test"), &[], None),
            caller.get(&format!("{path}/dead-letters")),
            caller.send("POST", &format!("{path}/dead-letters/redeliver"), &[], None),
        ] {
            answer.refused(403, "forbidden");
        }
    }
    assert!(house.end() <= before + 1 && end < before, "only the clerk was made");
    assert_eq!(
        house.admin.get(&path).expect(200)["createdBy"],
        house.admin.get(WEBHOOKS).expect(200)["items"][0]["createdBy"]
    );
}
