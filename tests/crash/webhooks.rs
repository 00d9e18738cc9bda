//! Webhooks across kills and damage: each event is delivered at least once, and in order but for what is repeated.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::Client;
use super::expiry::copy_all;
use super::support::TestApp;
use super::support::receiver::{Receiver, Reply};
use super::{assert_verifies, fixed_port, within};

const QUICK: &[&str] = &[
    "--webhook-first-wait-ms",
    "5",
    "--webhook-longest-wait-ms",
    "10",
    "--webhook-attempts",
    "3",
];
const PATIENCE: Duration = Duration::from_secs(30);

fn subscribe(client: &Client, receiver: &Receiver) -> String {
    let body = json!({"url": receiver.url(), "events": ["*"]});
    let made = client.send("POST", "/api/webhooks", &body, "subscribe").unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    format!("/api/webhooks/{}", made.body["id"].as_str().unwrap())
}

/// How its deliveries stand, once all are done.
fn settled(client: &Client, path: &str) -> Value {
    let stands = || client.get(path).body["delivery"].clone();
    assert!(within(PATIENCE, || stands()["lag"] == 0), "{}", stands());
    stands()
}

/// Each tenth event is never taken, and of the others now and then one is not at first.
fn moody() -> Receiver {
    Receiver::start(|number, delivery| {
        let fails = delivery.seq() % 10 == 0 || number % 7 == 3;
        Reply::Status(if fails { 500 } else { 200 })
    })
}

#[test]
fn after_each_kill_deliveries_go_on_in_order_and_none_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = moody();
    let mut app = TestApp::start_in(folder.path(), fixed_port(), QUICK);
    let client = Client::new(app.port);
    let path = subscribe(&client, &receiver);
    client.put("A", 0);
    for run in 0..8 {
        let before = receiver.came().len();
        for write in 0..60 {
            client.add_one("A", &format!("{run}-{write}"), "").unwrap();
        }
        // At the first kills some are on their way, at the later ones it has been kept that they have come.
        let few = before + 10 + run * 5;
        assert!(within(PATIENCE, || receiver.came().len() > few));
        std::thread::sleep(Duration::from_millis(run as u64 * 170));
        app.kill();
        app = TestApp::start_in(folder.path(), app.port, QUICK);
    }
    let stands = settled(&client, &path);
    let events: BTreeSet<u64> = client
        .all("/api/events?")
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect();
    let (first, last) = (*events.first().unwrap(), *events.last().unwrap());
    assert_eq!(events.len(), 481);
    let came = receiver.seqs();
    let mut furthest = first - 1;
    for seq in &came {
        assert!(
            *seq <= furthest + 1,
            "{seq} came when {furthest} was the furthest before it"
        );
        furthest = furthest.max(*seq);
    }
    assert_eq!(furthest, last);
    assert_eq!(came.iter().copied().collect::<BTreeSet<u64>>(), events);
    let repeats = came.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(repeats > 0, "no kill met a delivery that had not been kept");
    let dead: Vec<u64> = client
        .all(&format!("{path}/dead-letters?"))
        .iter()
        .map(|letter| letter["seq"].as_u64().unwrap())
        .collect();
    let expected: Vec<u64> = events.into_iter().filter(|seq| seq % 10 == 0).collect();
    assert_eq!(
        (dead, &stands["deadLetters"]),
        (expected.clone(), &json!(expected.len()))
    );
    assert!(app.terminate().success());
    assert_verifies(folder.path());
}

#[test]
fn where_its_place_is_damaged_a_webhook_delivers_again_all_since_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::content();
    let mut app = TestApp::start_in(folder.path(), fixed_port(), QUICK);
    let client = Client::new(app.port);
    client.put("BEFORE", 1);
    let path = subscribe(&client, &receiver);
    client.put("A", 1);
    client.put("B", 1);
    settled(&client, &path);
    assert!(app.terminate().success());
    flip(&folder.path().join("deliveries.json"));
    let mut app = TestApp::start_in(folder.path(), app.port, QUICK);
    settled(&client, &path);
    client.put("C", 1);
    settled(&client, &path);
    assert_eq!(receiver.seqs(), [3, 4, 3, 4, 5]);
    assert!(
        app.log()
            .contains("each delivers again all that happened since it was made"),
        "{}",
        app.log()
    );
    assert!(app.terminate().success());
    assert_verifies(folder.path());
}

#[test]
fn a_backup_that_is_older_than_what_was_delivered_is_noticed_and_what_comes_then_is_delivered() {
    let (folder, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let receiver = Receiver::content();
    let mut app = TestApp::start_in(folder.path(), fixed_port(), QUICK);
    let client = Client::new(app.port);
    let path = subscribe(&client, &receiver);
    client.put("A", 1);
    settled(&client, &path);
    assert!(app.terminate().success());
    copy_all(folder.path(), backup.path());
    let mut app = TestApp::start_in(folder.path(), app.port, QUICK);
    for i in 1..=20 {
        client.put("LOST", i);
    }
    settled(&client, &path);
    assert!(app.terminate().success());
    // All of the backup, but for how far deliveries had come.
    let place = folder.path().join("deliveries.json");
    std::fs::copy(&place, backup.path().join("deliveries.json")).unwrap();
    let mut app = TestApp::start_in(backup.path(), app.port, QUICK);
    let before = receiver.came().len();
    client.put("B", 1);
    client.put("C", 1);
    settled(&client, &path);
    assert_eq!(receiver.seqs()[before..], [3, 4]);
    assert!(
        app.log().contains("the log ends before what was delivered"),
        "{}",
        app.log()
    );
    assert!(app.terminate().success());
    assert_verifies(backup.path());
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}
