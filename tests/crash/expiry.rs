//! Holds that are over: while nobody is there to see it, under a clock that is set, and many at the same time.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::audit::{Audit, millis};
use super::client::{Answer, Client};
use super::support::TestApp;
use super::support::clock::Clockwork;
use super::trade::{Cart, Chance, Count, Lines, Person, Place, Plan, Role, STOCK, Settle, Told, Trade};
use super::{assert_verifies, within};

/// At the latest so long after its deadline it is recorded that a hold is over.
const RECORDED_MS: i64 = 1000;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

fn sleep_until(ms: i64) {
    std::thread::sleep(Duration::from_millis((ms - now_ms()).max(0) as u64));
}

/// A level of which everything is held by `ALL`.
const RARE: Place = Place { sku: 99, store: 0 };
const ALL: &str = "all-of-it";

/// A folder whose service died while holds were open: some had ended, some end while it is down, some later.
struct Abandoned {
    folder: tempfile::TempDir,
    trade: Trade,
    /// Ids and lines of those that end while it is down.
    over: Vec<(String, Lines)>,
    /// What is held in each level by all others.
    left: Lines,
}

impl Abandoned {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut app = TestApp::start_in(folder.path(), 0, &[]);
        let client = Client::new(app.port);
        let trade = Trade::open(&client);
        let (quantity, at) = (10, None);
        trade.ask(&client, "rare", Plan::Count(RARE, Count { quantity, at }));
        let (mut over, mut left) = (Vec::new(), Lines::new());
        let mut person = Person::new("shopper".into(), Role::Customer);
        for (i, ttl) in [Some(1), Some(4), Some(5), Some(9), Some(600), None]
            .into_iter()
            .cycle()
            .take(60)
            .enumerate()
        {
            let lines = person.lines(2, 50, 3);
            hold(&trade, &client, &format!("cart-{i}"), &lines, ttl);
            match ttl {
                Some(1) => {}
                Some(4 | 5) => over.push((format!("cart-{i}"), lines)),
                _ => lines
                    .iter()
                    .for_each(|(place, n)| *left.entry(*place).or_default() += n),
            }
        }
        let lines = Lines::from([(RARE, 10)]);
        hold(&trade, &client, ALL, &lines, Some(4));
        let made = now_ms();
        std::thread::sleep(Duration::from_millis(1500));
        app.kill();
        assert!(now_ms() < made + 3000, "too slow: holds have ended before the kill");
        sleep_until(made + 5001);
        over.push((ALL.to_owned(), lines));
        Self {
            folder,
            trade,
            over,
            left,
        }
    }

    /// A copy of the folder, so that each first read is the first.
    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        copy_all(self.folder.path(), copy.path());
        copy
    }

    fn reserved(&self, place: Place) -> u64 {
        self.left.get(&place).copied().unwrap_or(0)
    }
}

pub fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn hold(trade: &Trade, client: &Client, id: &str, lines: &Lines, ttl: Option<u64>) {
    let plan = Plan::Reserve(Cart {
        id: Some(id.to_owned()),
        lines: lines.clone(),
        ttl,
        replaces: None,
    });
    let told = trade.ask(client, id, plan);
    assert!(matches!(told, Some(Told::Done(_))), "{id}: {told:?}");
}

fn reservation(client: &Client, id: &str) -> Answer {
    client.get(&format!("/api/reservations/{id}"))
}

/// Nothing is held any more, and all of it is over.
fn assert_is_over(reservation: &Value) {
    assert_eq!(reservation["status"], "expired", "{reservation}");
    let is_over = |line: &Value| line["held"] == 0 && line["expired"] == line["quantity"];
    assert!(
        reservation["lines"].as_array().unwrap().iter().all(is_over),
        "{reservation}"
    );
}

/// What is read first, and how.
type FirstRead<'a> = (&'a str, &'a dyn Fn(&Client));

#[test]
fn what_ended_while_the_service_was_down_is_over_at_the_first_read() {
    let abandoned = Abandoned::new();
    let some = &abandoned.over[0];
    let first_reads: [FirstRead; 7] = [
        ("the reservation", &|client| {
            assert_is_over(&reservation(client, &some.0).body)
        }),
        ("a level", &|client| {
            let place = *some.1.first_key_value().unwrap().0;
            let level = client.get(&place.level()).body;
            assert_eq!(level["reserved"], abandoned.reserved(place), "{level}");
        }),
        ("a page of levels", &|client| {
            for level in client.list(&Place::store_id(3)) {
                let place = Place::of(level["sku"].as_str().unwrap(), "store-3");
                assert_eq!(level["reserved"], abandoned.reserved(place), "{level}");
            }
        }),
        ("the list of the active ones", &|client| {
            let active = client.all("/api/reservations?status=active&");
            let is_listed = |id: &str| active.iter().any(|one| one["reservationId"] == id);
            assert!(!active.is_empty() && abandoned.over.iter().all(|(id, _)| !is_listed(id)));
        }),
        ("the log", &|client| {
            // What the log does not have yet, nothing shows; it has it very soon.
            let expired = || {
                client
                    .text("/api/events?limit=1000")
                    .matches("reservation.expired")
                    .count()
            };
            assert!(within(Duration::from_millis(RECORDED_MS as u64), || expired() > 40));
        }),
        ("a commit", &|client| {
            let (id, part) = (some.0.clone(), None);
            let how = Settle::Commit;
            let answer = Plan::Settle { id, how, part }.send(client, "late").unwrap();
            assert_eq!(
                (answer.status, answer.error()),
                (409, "reservation_not_active"),
                "{answer:?}"
            );
            assert_is_over(&answer.body["reservation"]);
        }),
        ("a cart that wants what was held", &|client| {
            hold(&abandoned.trade, client, "next", &Lines::from([(RARE, 10)]), None);
            abandoned.trade.told.lock().unwrap().pop();
        }),
    ];
    for (name, first_read) in first_reads {
        eprintln!("first: {name}");
        let folder = abandoned.copy();
        let mut app = TestApp::start_in(folder.path(), 0, &[]);
        let (started, client) = (now_ms(), Client::new(app.port));
        first_read(&client);
        for (id, _) in &abandoned.over {
            assert_is_over(&reservation(&client, id).body);
        }
        let mut audit = Audit::default();
        audit.check_all(&client, &abandoned.trade);
        let late = audit
            .ended
            .iter()
            .map(|(over, at)| at - over.max(&started))
            .max()
            .unwrap();
        assert!(
            late <= RECORDED_MS,
            "recorded {late} ms after its deadline or the start"
        );
        assert!(app.terminate().success());
        assert_verifies(folder.path());
    }
}

#[test]
fn a_clock_that_is_set_back_revives_nothing() {
    let Some(clock) = Clockwork::new() else { return };
    let mut app = clock.start();
    let client = Client::new(app.port);
    let (trade, place) = (Trade::open(&client), Place { sku: 0, store: 0 });
    let all = Lines::from([(place, STOCK), (Place { sku: 1, store: 2 }, 5)]);
    let other = Lines::from([(Place { sku: 2, store: 1 }, 7), (Place { sku: 1, store: 2 }, 7)]);
    hold(&trade, &client, "half-an-hour", &all, Some(1800));
    hold(&trade, &client, "two-hours", &other, Some(7200));
    hold(&trade, &client, "for-ever", &other, None);
    assert_eq!(reservation(&client, "half-an-hour").body["status"], "active");

    clock.set(3600);
    let health = millis(client.get("/api/health").body["timestamp"].as_str().unwrap());
    assert!(
        health > now_ms() + 3_500_000,
        "the service does not see the clock that was set"
    );
    let expired = || {
        client
            .text("/api/events?limit=1000")
            .matches("reservation.expired")
            .count()
    };
    assert!(
        within(Duration::from_millis(RECORDED_MS as u64), || expired() == 2),
        "not recorded"
    );
    hold(&trade, &client, "next", &Lines::from([(place, STOCK)]), Some(60));
    assert_is_over(&reservation(&client, "half-an-hour").body);

    let assert_is_so = |client: &Client| {
        assert_is_over(&reservation(client, "half-an-hour").body);
        for id in ["two-hours", "for-ever", "next"] {
            assert_eq!(reservation(client, id).body["status"], "active", "{id}");
        }
        let (quantity, reserved) = client.amounts(place);
        assert_eq!(quantity, reserved, "what is held by the next one");
        // What is written now stands behind what was written then, in time too.
        let more = format!("more-{quantity}");
        let told = trade.ask(client, &more, Plan::Adjust(place, 1));
        assert!(matches!(told, Some(Told::Done(_))), "{told:?}");
        hold(
            &trade,
            client,
            &format!("held-{more}"),
            &Lines::from([(place, 1)]),
            None,
        );
        let (id, how, part) = ("half-an-hour".to_owned(), Settle::Commit, None);
        let answer = Plan::Settle { id, how, part }.send(client, "late").unwrap();
        assert_eq!(answer.error(), "reservation_not_active", "{answer:?}");
        Audit::default().check_all(client, &trade);
    };
    for seconds in [0, -7200] {
        clock.set(seconds);
        assert_is_so(&client);
    }
    app.kill();
    let mut app = clock.start();
    assert_is_so(&Client::new(app.port));
    clock.set(4200);
    let client = Client::new(app.port);
    assert_is_over(&reservation(&client, "next").body);
    assert_eq!(reservation(&client, "two-hours").body["status"], "active");
    assert!(app.terminate().success());
    assert_verifies(app.folder());
}

const MANY: usize = if cfg!(debug_assertions) { 20_000 } else { 200_000 };
const SHELVES: usize = 2000;
const SHELVES_OF_A_SKU: usize = 20;

/// A level of the many.
fn shelf(n: usize) -> (String, String) {
    (
        format!("S-{}", n / SHELVES_OF_A_SKU),
        format!("s-{}", n % SHELVES_OF_A_SKU),
    )
}

/// Open holds, by level: in order of their deadlines, each with its quantity.
type Open = BTreeMap<(String, String), VecDeque<(i64, u64)>>;

#[test]
fn many_holds_all_end_on_time_and_others_hardly_wait() {
    let mut app = TestApp::start();
    let (port, client) = (app.port, Client::new(app.port));
    for page in (0..SHELVES).collect::<Vec<_>>().chunks(1000) {
        let set = |n: &usize| {
            let (sku, store) = shelf(*n);
            json!({"op": "set", "sku": sku, "storeId": store, "quantity": 1_000_000})
        };
        let operations: Vec<_> = page.iter().map(set).collect();
        let key = format!("shelves-{}", page[0]);
        let body = json!({ "operations": operations });
        assert_eq!(
            client.send("POST", "/api/inventory/batch", &body, &key).unwrap().status,
            200
        );
    }
    let end = now_ms() + if cfg!(debug_assertions) { 12_000 } else { 25_000 };
    let mut open = hold_many(&client, end);
    let first = open.values().filter_map(|holds| holds.front()).min().unwrap().0;
    let last = open.values().filter_map(|holds| holds.back()).max().unwrap().0;
    assert!(
        now_ms() < first,
        "too slow: holds have ended before all of them were made"
    );

    let (is_over, waits, seen) = (AtomicBool::new(false), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        scope.spawn(|| watch(port, &is_over, &seen));
        for client in 0..4 {
            let (is_over, waits) = (&is_over, &waits);
            scope.spawn(move || ask_meanwhile(port, client, is_over, waits));
        }
        sleep_until(last + 2 * RECORDED_MS);
        is_over.store(true, Ordering::Relaxed);
    });
    let lateness = lateness(&client, &mut open, &seen.into_inner().unwrap());
    let still_open: usize = open.values().map(VecDeque::len).sum();
    let waits = waits.into_inner().unwrap();
    let longest = |from, to| longest(&waits, from, to);
    let (before, meanwhile) = (longest(0, first), longest(first, last + RECORDED_MS));
    eprintln!(
        "{MANY} holds ended within {} ms, the last to be recorded {lateness} ms after its deadline; of {} requests the \
         longest took {before:?} before and {meanwhile:?} meanwhile",
        last - first,
        waits.len()
    );
    assert_eq!(still_open, 0, "holds that are not recorded as over");
    assert!(lateness <= RECORDED_MS, "recorded {lateness} ms late");
    assert!(
        waits.len() > 100 && meanwhile < Duration::from_secs(1),
        "somebody waited {meanwhile:?}"
    );
    assert!(app.terminate().success());
    assert_verifies(app.folder());
}

/// Carts of up to 2,000 lines, until there are enough; they end in the three seconds up to `end`.
fn hold_many(client: &Client, end: i64) -> Open {
    let (mut chance, mut open, mut count) = (Chance::new(), Open::new(), 0);
    for (i, size) in [SHELVES, 1200, 300, 50].into_iter().cycle().enumerate() {
        if count >= MANY {
            break;
        }
        let (size, first) = (size.min(MANY - count), chance.below(SHELVES as u64) as usize);
        let quantity = 1 + chance.below(5);
        let shelves = (0..size).map(|n| shelf((first + n) % SHELVES));
        let line = |(sku, store)| json!({"sku": sku, "storeId": store, "quantity": quantity});
        let ttl = (end - now_ms()) / 1000 - chance.below(3) as i64;
        let body = json!({"lines": shelves.map(line).collect::<Vec<_>>(), "ttlSeconds": ttl.max(1)});
        let answer = client
            .send("POST", "/api/reservations", &body, &format!("cart-{i}"))
            .unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        let deadline = millis(answer.body["expiresAt"].as_str().unwrap());
        for n in 0..size {
            let holds = open.entry(shelf((first + n) % SHELVES)).or_default();
            holds.push_back((deadline, quantity));
        }
        count += size;
    }
    for holds in open.values_mut() {
        holds.make_contiguous().sort();
    }
    open
}

/// Notes again and again how far the log has come: time, and the last sequence.
fn watch(port: u16, is_over: &AtomicBool, seen: &Mutex<Vec<(i64, u64)>>) {
    let client = Client::new(port);
    let mut end = 0;
    while !is_over.load(Ordering::Relaxed) {
        let answer = client.get(&format!("/api/events?after={end}&limit=1"));
        end = answer.body["end"].as_u64().unwrap();
        seen.lock().unwrap().push((now_ms(), end));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Reads and writes, of what is held and of something else; notes when each was asked and how long it took.
fn ask_meanwhile(port: u16, client: usize, is_over: &AtomicBool, waits: &Mutex<Vec<(i64, Duration)>>) {
    let (agent, mut chance) = (Client::new(port), Chance::new());
    for n in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let (sku, store) = match chance.below(2) {
            0 => shelf(chance.below(SHELVES as u64) as usize),
            _ => ("other".to_owned(), format!("o-{client}")),
        };
        let level = format!("/api/inventory/stores/{store}/inventory/{sku}");
        let (at, begin) = (now_ms(), Instant::now());
        let status = match chance.below(3) {
            0 => agent.get(&level).status,
            1 => {
                agent
                    .send("PUT", &level, &json!({"quantity": 1_000_000}), &format!("{client}-{n}"))
                    .unwrap()
                    .status
            }
            _ => agent.get("/api/health/ready").status,
        };
        waits.lock().unwrap().push((at, begin.elapsed()));
        assert!(matches!(status, 200 | 201 | 404), "{level}: {status}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn longest(waits: &[(i64, Duration)], from: i64, to: i64) -> Duration {
    let within = waits.iter().filter(|(at, _)| (from..to).contains(at));
    within.map(|(_, wait)| *wait).max().unwrap_or_default()
}

/// Takes out of `open` what the log says is over; in milliseconds, how long after its deadline the last was there for
/// everybody to see.
fn lateness(client: &Client, open: &mut Open, seen: &[(i64, u64)]) -> i64 {
    let (mut reserved, mut after, mut lateness) = (BTreeMap::new(), 0, i64::MIN);
    loop {
        let page: Value = serde_json::from_str(&client.text(&format!("/api/events?after={after}&limit=100"))).unwrap();
        for event in page["items"].as_array().unwrap() {
            let seq = event["seq"].as_u64().unwrap();
            let visible = seen.iter().find(|(_, end)| *end >= seq).map(|(at, _)| *at);
            for change in event["changes"].as_array().unwrap() {
                let text = |name: &str| change[name].as_str().unwrap().to_owned();
                let level = (text("sku"), text("storeId"));
                let after = change["reserved"].as_u64().unwrap();
                let before = reserved.insert(level.clone(), after).unwrap_or(0);
                if event["type"] != "reservation.expired" {
                    continue;
                }
                let mut freed = before - after;
                assert!(freed > 0, "{event}");
                while freed > 0 {
                    let (deadline, quantity) = open.get_mut(&level).unwrap().pop_front().unwrap();
                    assert!(millis(event["at"].as_str().unwrap()) >= deadline, "too early: {event}");
                    freed = freed
                        .checked_sub(quantity)
                        .expect("holds end wholly, in order of their deadlines");
                    lateness = lateness.max(visible.unwrap_or(i64::MAX) - deadline);
                }
            }
        }
        after = page["seq"].as_u64().unwrap();
        if page["next"].is_null() {
            return lateness;
        }
    }
}
