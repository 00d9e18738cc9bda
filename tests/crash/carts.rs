//! `kill -9` in the middle of carts: each is there with all its lines or with none, and every step of it once.

use std::time::{Duration, Instant};

use super::audit::Audit;
use super::client::Client;
use super::support::TestApp;
use super::trade::{Chance, Person, Role, Trade};
use super::{assert_verifies, fixed_port};

const SETTINGS: &[&str] = &[
    "--segment-mb",
    "1",
    "--checkpoint-mb",
    "1",
    "--snapshot-seconds",
    "1",
    "--workers",
    "3",
];
const CLIENTS: usize = 8;

#[test]
fn carts_are_whole_and_once_after_each_of_ten_kills() {
    trade_and_kill(10);
}

#[test]
#[ignore = "a minute or more; `.ci/run` runs it"]
fn carts_are_whole_and_once_after_each_of_fifty_kills() {
    for _shop in 0..5 {
        trade_and_kill(10);
    }
}

fn trade_and_kill(kills: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), fixed_port(), SETTINGS);
    let port = app.port;
    let (trade, mut audit) = (Trade::open(&Client::new(port)), Audit::default());
    let (mut chance, mut unanswered, mut were_there) = (Chance::new(), 0, 0);
    let named = |client| Person::new(format!("client-{client}"), Role::Customer);
    let mut people: Vec<Person> = (0..CLIENTS).map(named).collect();
    for _kill in 0..kills {
        std::thread::scope(|scope| {
            let end = Instant::now() + Duration::from_secs(60);
            for person in &mut people {
                let trade = &trade;
                scope.spawn(move || person.ask_until(trade, port, end));
            }
            std::thread::sleep(Duration::from_millis(50 + chance.below(450)));
            app.kill();
        });
        assert_verifies(folder.path());
        app = TestApp::start_in(folder.path(), port, SETTINGS);
        let client = Client::new(port);
        audit.check(&client, &trade);
        let open = std::mem::take(&mut *trade.open.lock().unwrap());
        unanswered += open.len();
        were_there += repeat(&client, &trade, &audit, open);
    }
    audit.check_all(&Client::new(port), &trade);
    let (asked, expiries, held) = (audit.there.len(), audit.ended.len(), audit.held());
    eprintln!(
        "{kills} kills: {asked} writes took effect, {expiries} holds ended by themselves, {held} units are held; \
         {unanswered} were not answered, of which {were_there} were there"
    );
    assert!(unanswered >= kills, "hardly anything was under way at the kills");
    assert!(asked > 20 * kills, "only {asked} writes");
    assert!(app.terminate().success());
    assert_verifies(folder.path());
}

/// Sends again what was not answered: it is answered as of the first time where its key is there, and is judged afresh
/// where it is not. Returns how many were there.
fn repeat(client: &Client, trade: &Trade, audit: &Audit, open: Vec<String>) -> usize {
    let mut were_there = 0;
    for key in open {
        let plan = trade.plan(&key).unwrap();
        let there = audit.there.get(&key).copied();
        assert_eq!(
            client.took_effect(&key),
            there.is_some(),
            "what its key says of {key}, and the log"
        );
        let answer = plan.send(client, &key).expect("a repeat is answered");
        assert_eq!(answer.replayed, there.is_some(), "{key}: {answer:?}");
        if there.is_some() {
            assert_eq!(answer.body["seq"].as_u64(), there, "{key}: {answer:?}");
            were_there += 1;
        }
        trade.answered(&key, &plan, &answer);
    }
    were_there
}
