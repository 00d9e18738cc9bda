//! Many clients whose carts overlap, in orders of all kinds: nobody waits for ever, nobody is passed over, and who goes
//! away in the middle leaves a whole cart behind or none.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::audit::Audit;
use super::client::Client;
use super::support::TestApp;
use super::trade::{Chance, Person, Place, Plan, Role, Trade};
use super::{assert_verifies, within};

const SHORT: Duration = Duration::from_secs(5);
const LONG: Duration = Duration::from_secs(30);
/// Nobody waits longer for an answer, on a machine with much else to do.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// So long after its client has gone, a request has an end.
const AFTERMATH: Duration = Duration::from_secs(5);

#[test]
fn overlapping_carts_of_64_clients_are_all_answered() {
    Crowd::of(&[(Role::Customer, 64)]).come(SHORT);
}

#[test]
#[ignore = "the same for half a minute; `.ci/run` runs it"]
fn overlapping_carts_of_64_clients_are_all_answered_for_long() {
    Crowd::of(&[(Role::Customer, 64)]).come(LONG);
}

#[test]
fn a_client_that_goes_away_leaves_a_whole_cart_or_none() {
    Crowd::of(&[(Role::Customer, 32)]).with_leavers(32).come(SHORT);
}

#[test]
#[ignore = "the same for half a minute; `.ci/run` runs it"]
fn a_client_that_goes_away_leaves_a_whole_cart_or_none_for_long() {
    Crowd::of(&[(Role::Customer, 32)]).with_leavers(32).come(LONG);
}

const ALL_KINDS: &[(Role, usize)] = &[
    (Role::Customer, 40),
    (Role::Single, 8),
    (Role::Batch, 6),
    (Role::Counter, 4),
    (Role::Reader, 6),
];

#[test]
fn carts_single_writes_batches_and_counts_of_the_past_all_get_on() {
    Crowd::of(ALL_KINDS).come(SHORT);
}

#[test]
#[ignore = "the same for half a minute; `.ci/run` runs it"]
fn carts_single_writes_batches_and_counts_of_the_past_all_get_on_for_long() {
    Crowd::of(ALL_KINDS).come(LONG);
}

struct Crowd {
    roles: Vec<Role>,
    leavers: usize,
}

/// What became of one client.
struct Stay {
    role: Role,
    answered: usize,
    longest: Duration,
}

impl Crowd {
    fn of(roles: &[(Role, usize)]) -> Self {
        let each = roles.iter().flat_map(|(role, count)| vec![*role; *count]);
        let (roles, leavers) = (each.collect(), 0);
        Self { roles, leavers }
    }

    fn with_leavers(self, leavers: usize) -> Self {
        Self { leavers, ..self }
    }

    /// All of them ask for so long; then everything is looked at.
    fn come(self, time: Duration) {
        // Several threads, also where there are hardly any cores: steps meet in more orders.
        let mut app = TestApp::start_with(&["--workers", "4"]);
        let (port, client) = (app.port, Client::new(app.port));
        let (trade, stays, left) = (Trade::open(&client), Mutex::default(), Mutex::default());
        let end = Instant::now() + time;
        std::thread::scope(|scope| {
            for (i, role) in self.roles.iter().enumerate() {
                let (trade, stays) = (&trade, &stays);
                scope.spawn(move || stay(trade, port, &format!("client-{i}"), *role, end, stays));
            }
            for i in 0..self.leavers {
                let (trade, left) = (&trade, &left);
                scope.spawn(move || ask_and_leave(trade, port, &format!("leaver-{i}"), end, left));
            }
        });
        let open = trade.open.lock().unwrap().clone();
        assert!(open.is_empty(), "no answer came for {open:?}");
        assert_all_got_on(stays.into_inner().unwrap(), time);
        let mut audit = Audit::default();
        if self.leavers > 0 {
            assert_all_or_nothing_is_left(&client, &trade, &mut audit, left.into_inner().unwrap());
        }
        audit.check_all(&client, &trade);
        assert!(app.terminate().success());
        assert_verifies(app.folder());
    }
}

fn stay(trade: &Trade, port: u16, name: &str, role: Role, end: Instant, stays: &Mutex<Vec<Stay>>) {
    let (answered, longest) = match role {
        Role::Reader => read_until(trade, port, end),
        _ => Person::new(name.to_owned(), role).ask_until(trade, port, end),
    };
    let stay = Stay {
        role,
        answered,
        longest,
    };
    stays.lock().unwrap().push(stay);
}

fn read_until(trade: &Trade, port: u16, end: Instant) -> (usize, Duration) {
    let (client, mut chance) = (Client::new(port), Chance::new());
    let (mut answered, mut longest) = (0, Duration::ZERO);
    while Instant::now() < end {
        let latest = trade.carts.lock().unwrap().last().cloned();
        let path = match (chance.below(4), latest) {
            (0, Some((id, _))) => format!("/api/reservations/{id}"),
            (1, _) => format!("/api/inventory/items/SKU-{}", chance.below(6)),
            _ => Place {
                sku: chance.below(6),
                store: chance.below(10),
            }
            .level(),
        };
        let asked = Instant::now();
        let answer = client.get(&path);
        longest = longest.max(asked.elapsed());
        // A reservation may have been refused, or not be there yet.
        assert!(matches!(answer.status, 200 | 404), "{path}: {answer:?}");
        answered += 1;
    }
    (answered, longest)
}

/// Each single client has got on, at a modest pace that a machine with much else to do keeps too.
fn assert_all_got_on(stays: Vec<Stay>, time: Duration) {
    let mut roles: BTreeMap<Role, Vec<Stay>> = BTreeMap::new();
    for stay in stays {
        roles.entry(stay.role).or_default().push(stay);
    }
    let least = time.as_secs() as usize / 2;
    for (role, stays) in roles {
        let answered: Vec<usize> = stays.iter().map(|stay| stay.answered).collect();
        let (sum, fewest) = (answered.iter().sum::<usize>(), answered.into_iter().min().unwrap());
        let longest = stays.iter().map(|stay| stay.longest).max().unwrap();
        let clients = stays.len();
        eprintln!("{role:?}: {clients} clients, {sum} answers, at least {fewest} each; the longest wait: {longest:?}");
        assert!(longest < LONGEST_WAIT, "{role:?}: somebody waited {longest:?}");
        assert!(
            fewest >= least,
            "{role:?}: somebody got only {fewest} answers in {time:?}"
        );
    }
}

/// A request whose client has gone away.
struct Left {
    key: String,
    /// Not all of it was sent.
    is_cut: bool,
}

/// Sends a part of a request or all of it, and goes away without an answer, or in the middle of it.
fn ask_and_leave(trade: &Trade, port: u16, name: &str, end: Instant, left: &Mutex<Vec<Left>>) {
    let (mut person, mut chance) = (Person::new(name.to_owned(), Role::Customer), Chance::new());
    while Instant::now() < end {
        let (key, plan) = person.next(trade);
        trade.enter(&key, &plan);
        // With an answer that was not read, the connection is reset instead of closed: the service knows at once.
        let before = if chance.below(2) == 0 { UNREAD } else { "" };
        let request = format!("{before}{}", as_text(&plan, &key, port));
        let is_cut = chance.below(4) == 0;
        let sent = match is_cut {
            true => chance.below(request.len() as u64) as usize,
            false => request.len(),
        };
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let _ = stream.write_all(&request.as_bytes()[..sent]);
        if chance.below(2) == 0 {
            std::thread::sleep(Duration::from_millis(chance.below(100)));
        }
        if chance.below(4) == 0 {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            let _ = stream.read(&mut [0; 20]);
        }
        drop(stream);
        left.lock().unwrap().push(Left { key, is_cut });
        // Who does not wait for an answer could ask for more than anybody can do.
        std::thread::sleep(Duration::from_millis(50 + chance.below(200)));
    }
}

const UNREAD: &str = "GET /api/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn as_text(plan: &Plan, key: &str, port: u16) -> String {
    let (method, path, body) = plan.request();
    let body = body.to_string();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Idempotency-Key: {key}\r\nX-Request-Id: {key}\r\n\r\n{body}",
        body.len()
    )
}

/// Within some seconds each key tells what became of its request, and goes on saying so; and the log says the same.
fn assert_all_or_nothing_is_left(client: &Client, trade: &Trade, audit: &mut Audit, left: Vec<Left>) {
    let begin = Instant::now();
    for Left { key, .. } in &left {
        let patience = AFTERMATH.saturating_sub(begin.elapsed());
        assert!(
            within(patience, || client.fate(key).is_some()),
            "{key} is still pending"
        );
    }
    let settled = begin.elapsed();
    // Of those that were told to be nowhere, none comes later.
    std::thread::sleep(Duration::from_millis(500));
    audit.check_all(client, trade);
    let mut there = 0;
    for Left { key, is_cut } in &left {
        let is_there = audit.there.contains_key(key);
        assert_eq!(
            client.took_effect(key),
            is_there,
            "what its key says of {key}, and the log"
        );
        assert!(!is_there || !is_cut, "{key} took effect, and was not sent as a whole");
        there += usize::from(is_there);
    }
    let (all, cut) = (left.len(), left.iter().filter(|left| left.is_cut).count());
    eprintln!("{all} left, {cut} of them before all was sent; {there} took effect; their keys told within {settled:?}");
    assert!(there > 20, "hardly anything took effect of those who left");
    let first = left.iter().find(|left| audit.there.contains_key(&left.key)).unwrap();
    let answer = trade.plan(&first.key).unwrap().send(client, &first.key).unwrap();
    assert!(answer.replayed, "{}: {answer:?}", first.key);
    // Nobody has been told of these, so anybody may ask for them now.
    for Left { key, .. } in left
        .iter()
        .filter(|left| !audit.there.contains_key(&left.key))
        .take(100)
    {
        let plan = trade.plan(key).unwrap();
        let answer = plan.send(client, key).expect("a repeat is answered");
        assert!(!answer.replayed, "{key}: {answer:?}");
        trade.answered(key, &plan, &answer);
    }
}
