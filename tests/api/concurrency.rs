//! Many clients at once: whatever the order, nothing is oversold, lost or applied twice.

use std::collections::HashSet;
use std::sync::Barrier;

use serde_json::{Value, json};

use crate::client::{Answer, Client, at};
use crate::log::events;
use crate::support::TestApp;

/// Lets every thread send its requests, and returns all answers.
pub fn all_at_once(threads: usize, send: impl Fn(usize) -> Vec<Answer> + Sync) -> Vec<Answer> {
    let start = Barrier::new(threads);
    let (start, send) = (&start, &send);
    std::thread::scope(|scope| {
        let run = |i| {
            scope.spawn(move || {
                start.wait();
                send(i)
            })
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

/// Those that took effect; the others must all be refused with this code.
fn done(answers: Vec<Answer>, refused: (u16, &str)) -> Vec<Answer> {
    let (done, others): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status < 300);
    others
        .into_iter()
        .for_each(|answer| drop(answer.refused(refused.0, refused.1)));
    done
}

#[test]
fn sixty_four_buyers_of_one_sku_get_exactly_what_there_is() {
    let app = TestApp::start();
    app.stock("A", 500);
    let port = app.port;
    let reserve = |_| {
        (0..10)
            .map(|_| port.post(&format!("{}/reserve", at("A")), json!({"quantity": 1})))
            .collect()
    };
    let sold = done(all_at_once(64, reserve), (409, "insufficient_stock"));

    assert_eq!(sold.len(), 500);
    assert_eq!(app.state("A"), (500, 500, 501));
    let ids: HashSet<_> = sold
        .iter()
        .map(|answer| answer["reservation"]["reservationId"].to_string())
        .collect();
    assert_eq!(ids.len(), 500);
    assert!(sold.iter().all(|answer| answer.state().1 == answer.state().2 - 1));
}

#[test]
fn of_changes_up_and_down_at_once_every_one_that_was_answered_is_in_the_sum() {
    let app = TestApp::start();
    app.stock("A", 20);
    let port = app.port;
    let change = |i: usize| {
        let deltas = (0..10).map(|k| [7, -5, -9, 3, -4][(i + k) % 5]);
        deltas
            .map(|delta: i64| port.post(&format!("{}/adjust", at("A")), json!({"delta": delta})))
            .collect()
    };
    let applied = done(all_at_once(64, change), (409, "insufficient_stock"));

    let versions: HashSet<u64> = applied.iter().map(|answer| answer.state().2).collect();
    assert_eq!(versions, (2..=applied.len() as u64 + 1).collect());
    let log = events(app.folder());
    let seqs: Vec<u64> = log.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=applied.len() as u64 + 1).collect::<Vec<_>>());
    let sum: i64 = log
        .iter()
        .map(|event| event["changes"][0]["delta"].as_i64().unwrap())
        .sum();
    let (quantity, _, version) = app.state("A");
    assert_eq!((quantity as i64, version), (sum, applied.len() as u64 + 1));
    for answer in &applied {
        let event = &log[answer["seq"].as_u64().unwrap() as usize - 1];
        assert_eq!(event["changes"][0]["quantity"], answer["quantity"]);
    }
}

#[test]
fn a_write_that_was_answered_is_seen_by_every_read_that_begins_after_it() {
    let app = TestApp::start();
    app.stock("A", 1000);
    let port = app.port;
    let write_and_read = |_| {
        let write_and_read = |_| {
            let written = port
                .post(&format!("{}/adjust", at("A")), json!({"delta": -1}))
                .expect(200);
            let read = port.get(&at("A")).expect(200);
            assert!(
                read.state().2 >= written.state().2,
                "{} after {}",
                read.text(),
                written.text()
            );
            written
        };
        (0..10).map(write_and_read).collect()
    };
    all_at_once(16, write_and_read);
    assert_eq!(app.state("A"), (840, 0, 161));
}

#[test]
fn of_writers_that_expect_the_same_version_exactly_one_gets_through() {
    let app = TestApp::start();
    app.stock("A", 0);
    let port = app.port;
    for version in 1..=5 {
        let body = json!({"delta": 1, "expectedVersion": version});
        let adjust = |_| vec![port.post(&format!("{}/adjust", at("A")), body.clone())];
        assert_eq!(done(all_at_once(16, adjust), (409, "version_mismatch")).len(), 1);
        assert_eq!(app.state("A"), (version, 0, version + 1));
    }
}

#[test]
fn of_many_that_insist_on_making_a_level_exactly_one_makes_it() {
    let app = TestApp::start();
    let port = app.port;
    let insist = [("if-none-match", "*")];
    let make = |i| vec![port.put_with(&at("A"), &insist, json!({"quantity": i}))];
    let made = done(all_at_once(16, make), (412, "precondition_failed"));
    assert_eq!(made.len(), 1);
    assert_eq!(app.state("A"), made[0].state());
}

#[test]
fn a_reservation_id_that_many_choose_at_once_is_given_to_one_over_all_skus() {
    let app = TestApp::start();
    let skus: Vec<String> = (0..8).map(|i| format!("S{i}")).collect();
    skus.iter().for_each(|sku| app.stock(sku, 10));
    let port = app.port;
    for id in ["a", "b", "c"] {
        let body = json!({"quantity": 1, "reservationId": id});
        let reserve = |i: usize| vec![port.post(&format!("{}/reserve", at(&skus[i % 8])), body.clone())];
        let answers = all_at_once(16, reserve);
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1, "{id}");
        // Whoever came while the reservation was being made does not know yet whether there will be one.
        let is_told = |answer: &Answer| {
            answer.status == 201 || answer["error"] == "already_exists" || answer["error"] == "request_in_flight"
        };
        assert!(answers.iter().all(is_told), "{id}");
    }
    let reserved: u64 = skus.iter().map(|sku| app.state(sku).1).sum();
    assert_eq!(reserved, 3);
}

#[test]
fn a_reservation_that_many_release_at_once_is_given_back_once() {
    let app = TestApp::start();
    app.stock("A", 10);
    let id = app.hold("A", 3);
    app.hold("A", 4);
    let port = app.port;
    let release = |_| vec![port.post(&format!("{}/release", at("A")), json!({"reservationId": id}))];
    assert_eq!(done(all_at_once(16, release), (409, "reservation_not_active")).len(), 1);
    assert_eq!(app.state("A"), (10, 4, 4));
}

#[test]
fn a_full_queue_is_refused_with_when_to_come_again_and_nothing_of_it_is_applied() {
    let app = TestApp::start_with(&["--queue-limit", "1"]);
    app.stock("A", 0);
    let port = app.port;
    let adjust = |_| {
        (0..10)
            .map(|_| port.post(&format!("{}/adjust", at("A")), json!({"delta": 1})))
            .collect()
    };
    let (applied, refused): (Vec<Answer>, Vec<_>) = all_at_once(32, adjust)
        .into_iter()
        .partition(|answer| answer.status == 200);

    assert!(!refused.is_empty(), "the queue was never full");
    for answer in refused {
        let answer = answer.refused(503, "overloaded");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(seconds >= 1);
    }
    let count = applied.len() as u64;
    assert!(count > 0);
    assert_eq!(app.state("A"), (count, 0, count + 1));
    app.post(&format!("{}/adjust", at("A")), json!({"delta": 1}))
        .expect(200);
}

#[test]
fn a_list_that_is_read_during_writes_shows_only_whole_levels() {
    let app = TestApp::start();
    let skus: Vec<String> = (0..4).map(|i| format!("S{i}")).collect();
    skus.iter().for_each(|sku| app.stock(sku, 1));
    let port = app.port;
    let write_or_list = |i: usize| {
        let path = format!("{}/adjust", at(&skus[i % 4]));
        let send = |_| {
            if i < 8 {
                port.post(&path, json!({"delta": 1}))
            } else {
                port.get("/api/inventory/stores/s1/inventory")
            }
        };
        (0..15).map(send).collect()
    };
    let answers = all_at_once(12, write_or_list);
    for page in answers.iter().filter(|answer| answer["items"].is_array()) {
        let levels = page["items"].as_array().unwrap();
        assert_eq!(levels.len(), 4);
        // Every change of these levels raises quantity and version by one.
        assert!(
            levels.iter().all(|level: &Value| level["quantity"] == level["version"]),
            "{}",
            page.text()
        );
    }
    assert!(skus.iter().all(|sku| app.state(sku) == (31, 0, 31)));
}
