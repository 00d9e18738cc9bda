//! Whether what many clients are told at once is what a service that does one thing at a time could have told
//! them (G3 in CONTRACT.md: strictly serializable, several SKUs in one step included).
//!
//! `recorder.rs` runs clients against the service and writes down what they asked (`mix.rs`) and were told
//! (`history.rs`). `checker.rs` looks for an order of it all that `model.rs` explains. `orders.rs` and
//! `generated.rs` hold the checker itself to account: what it must accept, and the faults it must notice.

mod checker;
mod generated;
mod history;
mod mix;
mod model;
mod orders;
mod recorder;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use self::checker::check;
use self::history::{Operation, PLACES};
use self::model::State;
use self::recorder::{Connection, Recorder};
use self::support::TestApp;

const STOCK: u64 = 6;
const CLIENTS: usize = 8;
const EACH: usize = 40;

#[test]
fn one_order_explains_what_all_clients_are_told() {
    check_histories(Duration::from_secs(15), undisturbed);
}

#[test]
fn one_order_explains_what_all_clients_are_told_before_and_after_a_kill() {
    check_histories(Duration::from_secs(15), with_a_kill);
}

#[test]
#[ignore = "the same for longer: four minutes; `.ci/run` runs it"]
fn one_order_explains_what_all_clients_are_told_for_minutes() {
    check_histories(Duration::from_secs(240), undisturbed);
}

#[test]
#[ignore = "the same for longer: four minutes; `.ci/run` runs it"]
fn one_order_explains_what_all_clients_are_told_before_and_after_kills_for_minutes() {
    check_histories(Duration::from_secs(240), with_a_kill);
}

/// Records and checks one history after another, each with a service of its own. A seed says what is asked, but not
/// how requests meet.
fn check_histories(time: Duration, record: fn(u64) -> Vec<Operation>) {
    let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    let begin = Instant::now();
    for seed in (first..).take_while(|_| begin.elapsed() < time) {
        if let Err(unexplained) = check(&State::stocked(STOCK), &record(seed)) {
            panic!("seed {seed}: {unexplained}");
        }
    }
}

fn undisturbed(seed: u64) -> Vec<Operation> {
    let (app, recorder) = (stocked(), Recorder::new());
    recorder.run(app.port, seed, CLIENTS, EACH);
    recorder.read_all(app.port);
    with_unanswered(0, recorder)
}

/// Each client asks until the kill leaves it without an answer: that write may or may not be there afterwards.
fn with_a_kill(seed: u64) -> Vec<Operation> {
    let (mut app, recorder) = (stocked(), Recorder::new());
    let port = app.port;
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| recorder.run(port, seed, CLIENTS, usize::MAX));
        while !asking.is_finished() && recorder.answers() < CLIENTS * EACH / 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        app.kill();
    });
    recorder.service_is_gone();
    let folder = app.folder().to_owned();
    let again = TestApp::start_in(&folder, 0, &["--workers", "3"]);
    recorder.run(again.port, seed + 1, CLIENTS, EACH / 2);
    recorder.read_all(again.port);
    with_unanswered(CLIENTS, recorder)
}

/// The history, in which so many requests must have been left without an answer.
fn with_unanswered(expected: usize, recorder: Recorder) -> Vec<Operation> {
    let history = recorder.into_history();
    let unanswered: Vec<_> = history.iter().filter(|operation| operation.answer.is_none()).collect();
    assert_eq!(unanswered.len(), expected, "{unanswered:?}");
    history
}

fn stocked() -> TestApp {
    // More request threads than cores, so that steps and actors meet in every way.
    let app = TestApp::start_with(&["--workers", "3"]);
    let connection = Connection::new(app.port);
    PLACES.into_iter().for_each(|place| connection.stock(place, STOCK));
    app
}
