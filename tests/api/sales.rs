//! What sells: units by SKU, store and time, summed up from the log, and for how long the stock lasts.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Client, all_pages, at, at_in, column, comes_true, from_now, is_time, millis};
use crate::staff::{FOREIGN, House, OWN};
use crate::support::TestApp;
use crate::support::clock::Clockwork;

const SALES: &str = "/api/analytics/sales";
const DAY_SECONDS: i64 = 86_400;

#[track_caller]
fn adjust(who: &impl Client, level: &str, delta: i64, kind: &str) {
    who.post(&format!("{level}/adjust"), json!({"delta": delta, "type": kind}))
        .expect(200);
}

#[track_caller]
fn sell(who: &impl Client, level: &str, units: i64) {
    adjust(who, level, -units, "SALE");
}

#[track_caller]
fn sales(who: &impl Client, query: &str) -> Answer {
    who.get(&format!("{SALES}?{query}")).expect(200)
}

/// Rows as texts: SKU, store, sold, returned.
fn told(rows: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let row = |row: &Value| {
        format!(
            "{} {} {} {}",
            text(&row["sku"]),
            text(&row["storeId"]),
            row["sold"],
            row["returned"]
        )
    };
    rows.iter().map(row).collect()
}

#[track_caller]
fn items(answer: &Answer) -> &[Value] {
    answer["items"].as_array().unwrap()
}

/// By SKU and store, what the movements add up to: sold and returned.
fn recount(app: &impl Client) -> BTreeMap<(String, String), (u64, u64)> {
    let mut sums: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for row in all_pages(app, "/api/movements", 1000) {
        let units = row["delta"].as_i64().unwrap().unsigned_abs();
        let (sold, returned) = match row["type"].as_str().unwrap() {
            "SALE" => (units, 0),
            "RETURN" => (0, units),
            _ => continue,
        };
        let sum = sums.entry(level(&row)).or_default();
        *sum = (sum.0 + sold, sum.1 + returned);
    }
    sums
}

fn level(row: &Value) -> (String, String) {
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    (text("sku"), text("storeId"))
}

fn summed(rows: &[Value]) -> BTreeMap<(String, String), (u64, u64)> {
    let mut sums: BTreeMap<_, (u64, u64)> = BTreeMap::new();
    for row in rows {
        let number = |name: &str| row[name].as_u64().unwrap();
        let sum = sums.entry(level(row)).or_default();
        *sum = (sum.0 + number("sold"), sum.1 + number("returned"));
    }
    sums
}

/// What the service shows is what its movements add up to, in every way in which it can be asked.
#[track_caller]
fn adds_up(app: &impl Client) -> BTreeMap<(String, String), (u64, u64)> {
    let expected = recount(app);
    for by in ["hour", "day", "week", "range"] {
        let rows = all_pages(app, &format!("{SALES}?by={by}"), 7);
        assert_eq!(summed(&rows), expected, "by {by}");
    }
    let (sold, returned) = expected
        .values()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    for group in ["level", "sku", "store", "none"] {
        let answer = sales(app, &format!("group={group}&by=range&limit=1000"));
        let total = json!({"sold": sold, "returned": returned, "net": sold as i64 - returned as i64});
        assert_eq!(answer["total"], total, "{group}");
        let rows: u64 = items(&answer).iter().map(|row| row["sold"].as_u64().unwrap()).sum();
        assert_eq!(rows, sold, "{group}");
    }
    expected
}

/// Sells the same in many ways: in single adjusts, by carts, by atomic batches and by others.
fn trade(app: &impl Client, seed: u64) {
    let mut seed = seed;
    let mut random = |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let (skus, stores) = (["A", "B", "a b"], ["s1", "s2"]);
    for sku in skus {
        for store in stores {
            let path = at_in(store, &sku.replace(' ', "%20"));
            app.put(&path, json!({"quantity": 100_000}));
        }
    }
    for _ in 0..40 {
        let (sku, store) = (skus[random(3) as usize], stores[random(2) as usize]);
        let units = random(5) as i64 + 1;
        let one = |kind: &str, delta: i64| json!({"op": "adjust", "sku": sku, "storeId": store, "delta": delta, "type": kind});
        match random(5) {
            0 => sell(app, &at_in(store, &sku.replace(' ', "%20")), units),
            1 => adjust(app, &at_in(store, &sku.replace(' ', "%20")), units, "RETURN"),
            2 => {
                let cart = json!({"lines": [
                    {"sku": sku, "storeId": store, "quantity": units + 1}, {"sku": "A", "storeId": "s2", "quantity": 1},
                ]});
                let made = app.post("/api/reservations", cart).expect(201);
                let path = format!("/api/reservations/{}/commit", made["reservationId"].as_str().unwrap());
                let part = json!({"lines": [{"sku": sku, "storeId": store, "quantity": units}]});
                app.post(&path, part).expect(200);
                app.post(&path, json!({})).expect(200);
            }
            kind => {
                let operations = [
                    one("SALE", -units),
                    one("MANUAL_REMOVE", -1),
                    one("RETURN", 1),
                    one("SALE", -1),
                    json!({"op": "transfer", "sku": sku, "fromStoreId": "s1", "toStoreId": "s2", "quantity": 2}),
                    json!({"op": "set", "sku": sku, "storeId": store, "quantity": 90_000}),
                ];
                let batch = json!({"operations": operations, "atomic": kind == 3});
                app.post("/api/inventory/batch", batch).expect(200);
            }
        }
    }
}

#[test]
fn what_was_sold_and_came_back_is_shown_by_level_and_day() {
    let app = TestApp::start();
    app.stock("A", 20);
    app.put(&at_in("s2", "A"), json!({"quantity": 5})).expect(201);
    app.stock("B", 9);
    sell(&app, &at("A"), 3);
    sell(&app, &at("A"), 2);
    adjust(&app, &at("A"), 1, "RETURN");
    sell(&app, &at_in("s2", "A"), 1);
    adjust(&app, &at("B"), -4, "MANUAL_REMOVE");
    let begun = chrono::Utc::now();
    let answer = sales(&app, "");
    assert_eq!(told(items(&answer)), ["A s1 5 1", "A s2 1 0"]);
    assert_eq!(answer["total"], json!({"sold": 6, "returned": 1, "net": 5}));
    assert_eq!((&answer["by"], &answer["group"]), (&json!("day"), &json!("level")));
    assert_eq!((&answer["seq"], &answer["next"]), (&json!(8), &Value::Null));
    let today = begun.format("%Y-%m-%dT00:00:00.000Z").to_string();
    if begun.date_naive() == chrono::Utc::now().date_naive() {
        assert!(
            items(&answer)
                .iter()
                .all(|row| row["from"] == today && row["partial"] == true)
        );
        let first = begun.date_naive() - chrono::Days::new(29);
        assert_eq!(answer["from"], format!("{first}T00:00:00.000Z"));
        assert_eq!(answer["to"], today.replace("00:00:00.000", "23:59:59.999"));
    }
    let row = &items(&answer)[0];
    let members: Vec<&String> = row.as_object().unwrap().keys().collect();
    let expected = [
        "available",
        "daysOfCover",
        "from",
        "net",
        "netPerDay",
        "observedSeconds",
        "partial",
        "returned",
        "sku",
        "sold",
        "storeId",
    ];
    assert_eq!(members, expected);
    assert_eq!(row["net"], 4);
    for (query, rows) in [
        ("sku=A&storeId=s1", &["A s1 5 1"][..]),
        ("storeId=s2", &["A s2 1 0"]),
        ("group=sku", &["A - 6 1"]),
        ("group=store", &["- s1 5 1", "- s2 1 0"]),
        ("group=none", &["- - 6 1"]),
        ("sku=B", &[]),
        ("sku=a", &[]),
        ("storeId=nowhere", &[]),
    ] {
        assert_eq!(told(items(&sales(&app, query))), rows, "{query}");
    }
}

#[test]
fn all_that_is_traded_adds_up_to_the_movements() {
    let app = TestApp::start();
    trade(&app, 1);
    let sums = adds_up(&app);
    assert_eq!(sums.len(), 6, "{sums:?}");
}

#[test]
fn a_sale_counts_in_the_next_read() {
    let app = TestApp::start();
    app.stock("A", 100);
    for sold in 1..=60 {
        sell(&app, &at("A"), 1);
        let answer = sales(&app, "group=none&by=range");
        assert_eq!(
            (&answer["total"]["sold"], &answer["seq"]),
            (&json!(sold), &json!(sold + 1))
        );
    }
}

/// Of each row: what is available, goes a day, and lasts, and for how many hours that was observed.
fn cover(app: &TestApp, query: &str) -> Vec<String> {
    let answer = sales(app, query);
    let told = |row: &Value| {
        let [sku, available, net, days] =
            ["sku", "available", "netPerDay", "daysOfCover"].map(|name| row[name].clone());
        let hours = row["observedSeconds"].as_i64().map(|seconds| seconds / 3600);
        format!("{sku} {available} {net} {days} {hours:?}")
    };
    items(&answer).iter().map(told).collect()
}

#[test]
fn for_how_long_the_stock_lasts_goes_by_the_time_that_was_observed() {
    let Some(clock) = Clockwork::new() else { return };
    let app = clock.start();
    app.stock("A", 90);
    app.put(&at_in("s2", "A"), json!({"quantity": 30})).expect(201);
    app.stock("B", 9);
    let begun = from_now(0);
    sell(&app, &at("A"), 70);
    adjust(&app, &at("B"), 1, "RETURN");
    let whole = |query: &str| cover(&app, &format!("by=range&{query}"));
    assert_eq!(
        whole(""),
        [r#""A" 20 null null Some(0)"#, r#""B" 10 null null Some(0)"#],
        "too early to tell"
    );
    let seconds_of_hour = millis(&json!(begun)).unwrap() / 1000 % 3600;
    // Two hours after the hour of the first sale is over; a moment is left for what follows.
    clock.set(3 * 3600 - seconds_of_hour + 1);
    sell(&app, &at("A"), 6);
    adjust(&app, &at("A"), 2, "RETURN");
    adjust(&app, &at("B"), 1, "RETURN");
    app.hold("A", 4);
    let rows = sales(&app, "by=range");
    let [a, b] = items(&rows) else {
        panic!("{}", rows.text())
    };
    let near = |value: &Value, expected: f64| {
        let value = value.as_f64().unwrap_or(f64::NAN);
        assert!((value / expected - 1.0).abs() < 0.01, "{value} is not about {expected}");
    };
    assert_eq!((&a["available"], &a["sold"]), (&json!(12), &json!(76)));
    near(&a["observedSeconds"], 7200.0);
    near(&a["netPerDay"], 48.0);
    near(&a["daysOfCover"], 0.25);
    near(&b["netPerDay"], -12.0);
    assert_eq!(b["daysOfCover"], Value::Null, "it does not sell");
    near(&items(&sales(&app, "sku=A&group=sku"))[0]["daysOfCover"], 42.0 / 48.0);
    near(
        &items(&sales(&app, "sku=A&group=sku&storeId=s1"))[0]["daysOfCover"],
        0.25,
    );
    assert_eq!(whole("group=store"), ["null null null null None"]);
}

#[test]
fn what_sells_best_comes_first() {
    let app = TestApp::start();
    for (sku, units) in [("A", 3), ("B", 9), ("C", 3), ("D", 1)] {
        for store in ["s1", "s2"] {
            app.put(&at_in(store, sku), json!({"quantity": 50})).expect(201);
            sell(&app, &at_in(store, sku), units);
        }
    }
    sell(&app, &at_in("s2", "C"), 2);
    let best = sales(&app, "group=sku&sort=sold&limit=2");
    assert_eq!(told(items(&best)), ["B - 18 0", "C - 8 0"]);
    assert_eq!((&best["by"], &best["total"]["sold"]), (&json!("range"), &json!(34)));
    let all = ["B - 18 0", "C - 8 0", "A - 6 0", "D - 2 0"];
    for limit in [1, 2, 3, 1000] {
        let rows = all_pages(&app, &format!("{SALES}?group=sku&sort=sold"), limit);
        assert_eq!(told(&rows), all, "{limit}");
    }
    let levels = all_pages(&app, &format!("{SALES}?sort=sold&storeId=s2&by=day"), 3);
    assert_eq!(told(&levels), ["B s2 9 0", "C s2 5 0", "A s2 3 0", "D s2 1 0"]);
}

#[test]
fn a_further_page_is_of_the_range_of_the_first() {
    let app = TestApp::start();
    for sku in ["A", "B", "C"] {
        app.stock(sku, 5);
        sell(&app, &at(sku), 1);
    }
    let first = sales(&app, "limit=2&by=hour");
    assert!(first["total"].is_object());
    let next = first["next"].as_str().unwrap();
    let second = sales(&app, &format!("limit=2&by=hour&after={next}"));
    assert_eq!(told(items(&second)), ["C s1 1 0"]);
    assert_eq!((&second["from"], &second["to"]), (&first["from"], &first["to"]));
    assert_eq!(second["total"], Value::Null);
    for query in [
        "by=day",
        "by=hour&sku=A",
        "by=hour&group=sku",
        "by=hour&sort=sold",
        "by=hour&to=2030-01-01T00:00:00Z",
    ] {
        let answer = app
            .get(&format!("{SALES}?{query}&after={next}"))
            .refused(400, "invalid_request");
        assert_eq!(answer.fields(), ["after"], "{query}");
    }
}

#[test]
fn a_parameter_that_does_not_fit_is_named() {
    let app = TestApp::start();
    for (query, field) in [
        ("by=month", "by"),
        ("by=", "by"),
        ("by=Day", "by"),
        ("group=town", "group"),
        ("sort=name", "sort"),
        ("format=xml", "format"),
        ("from=yesterday", "from"),
        ("to=2025-13-01T00:00:00Z", "to"),
        ("from=2025-02-01T00:00:00Z&to=2025-01-01T00:00:00Z", "from"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("after=abc", "after"),
        ("sku=", "sku"),
        ("storeId=%20x", "storeId"),
        ("store=s1", "store"),
        ("by=day&by=day", "by"),
    ] {
        let answer = app.get(&format!("{SALES}?{query}")).refused(400, "invalid_request");
        assert_eq!(answer.fields(), [field], "{query}");
    }
    for (query, from, to) in [
        (
            "from=1960-01-01T00:00:00Z&to=2000-01-01T12:00:00Z&by=week",
            "1970-01-05T00:00:00.000Z",
            "2000-01-02T23:59:59.999Z",
        ),
        (
            "from=2000-01-01T12:30:00%2B01:00&to=9999-12-31T23:59:59Z&by=hour",
            "2000-01-01T11:00:00.000Z",
            "9999-12-26T23:59:59.999Z",
        ),
        (
            "from=0000-01-01T00:00:00Z&to=0001-01-01T00:00:00Z&by=day",
            "1970-01-05T00:00:00.000Z",
            "1970-01-05T23:59:59.999Z",
        ),
        (
            "from=2000-01-01T12:30:00Z&to=2000-01-01T12:30:00Z&by=range",
            "2000-01-01T12:00:00.000Z",
            "2000-01-01T12:59:59.999Z",
        ),
        (
            "to=9999-12-31T00:00:00Z&by=week",
            "9999-11-29T00:00:00.000Z",
            "9999-12-26T23:59:59.999Z",
        ),
    ] {
        let answer = sales(&app, query);
        assert_eq!((&answer["from"], &answer["to"]), (&json!(from), &json!(to)), "{query}");
        assert_eq!(items(&answer).len(), 0, "{query}");
    }
    app.send("POST", SALES, &[], None).refused(405, "method_not_allowed");
}

#[test]
fn a_page_comes_as_csv_too() {
    let app = TestApp::start();
    for sku in ["A%2CB", "C"] {
        app.stock(sku, 5);
        sell(&app, &at(sku), 1);
    }
    let page = sales(&app, "limit=1&by=hour");
    let csv = sales(&app, "limit=1&by=hour&format=csv");
    assert_eq!(
        csv.header("content-type"),
        Some("text/csv; charset=utf-8; header=present")
    );
    let next = page["next"].as_str().unwrap();
    assert!(csv.header("link").unwrap().contains(next));
    let from = items(&page)[0]["from"].as_str().unwrap();
    let expected = format!(
        "from,sku,storeId,sold,returned,net,partial,available,netPerDay,daysOfCover,observedSeconds\r\n{from},\"A,B\",s1,1,0,1,true,4,,"
    );
    // But for how long it was observed, which the hour may end.
    let told = |csv: &Answer| csv.text().rsplit_once(',').map(|(row, _)| row.to_owned());
    assert_eq!(told(&csv).as_deref(), Some(&*expected));
    let path = format!("{SALES}?limit=1&by=hour");
    let accepted = app.get_with(&path, &[("accept", "text/csv")]).expect(200);
    assert_eq!(told(&accepted).as_deref(), Some(&*expected));
    let json = app
        .get_with(&format!("{path}&format=json"), &[("accept", "text/csv")])
        .expect(200);
    assert_eq!(json["items"], page["items"]);
    let empty = sales(&app, "group=none&format=csv&sku=D");
    assert_eq!(empty.text().lines().count(), 1);
    let all = sales(&app, "group=none&by=range&format=csv");
    let (_, row) = all
        .text()
        .trim_end()
        .split_once('\n')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    assert!(row.ends_with("Z,,,2,0,2,true,,,,"), "{row}");
}

#[test]
fn a_clerk_is_told_of_own_stores_only() {
    let house = House::open();
    let clerk = house.clerk();
    for (store, units) in [(OWN[0], 3), (OWN[1], 4), (FOREIGN[0], 50)] {
        let level = at_in(&store.replace(' ', "%20"), "A");
        house.admin.put(&level, json!({"quantity": 100})).expect(201);
        sell(&house.admin, &level, units);
    }
    house
        .admin
        .put(&at_in(FOREIGN[0], "B"), json!({"quantity": 100}))
        .expect(201);
    sell(&house.admin, &at_in(FOREIGN[0], "B"), 1);
    let seen = sales(&clerk, "");
    assert_eq!(told(items(&seen)), ["A own 3 0", "A own too 4 0"]);
    assert_eq!(seen["total"]["sold"], 7);
    let seen = sales(&clerk, "group=sku&sort=sold");
    assert_eq!(told(items(&seen)), ["A - 7 0"]);
    let row = &items(&seen)[0];
    assert_eq!((&row["available"], &row["net"]), (&json!(193), &json!(7)));
    assert_eq!(told(items(&sales(&clerk, "group=none"))), ["- - 7 0"]);
    let foreign = clerk
        .get(&format!("{SALES}?storeId={}", FOREIGN[0]))
        .refused(404, "not_found");
    let nowhere = clerk.get(&format!("{SALES}?storeId=nowhere")).refused(404, "not_found");
    let said = |answer: &Answer, name: &str| answer["detail"].as_str().unwrap().replace(name, "NAME");
    assert_eq!(said(&foreign, FOREIGN[0]), said(&nowhere, "nowhere"));
    assert_eq!(told(items(&sales(&clerk, "storeId=own"))), ["A own 3 0"]);
    assert_eq!(sales(&house.admin, "group=none")["total"]["sold"], 58);
    house.nobody().get(SALES).refused(401, "unauthenticated");
}

#[test]
fn what_was_sold_of_what_is_deleted_stays_counted() {
    let app = TestApp::start();
    app.stock("A", 2);
    app.put(&at_in("s2", "A"), json!({"quantity": 1})).expect(201);
    sell(&app, &at("A"), 2);
    sell(&app, &at_in("s2", "A"), 1);
    app.send("DELETE", "/api/stores/s2", &[], None).expect(204);
    app.send("DELETE", "/api/products/A", &[], None).expect(204);
    let answer = sales(&app, "");
    assert_eq!(told(items(&answer)), ["A s1 2 0", "A s2 1 0"]);
    for row in items(&answer) {
        assert_eq!((&row["available"], &row["daysOfCover"]), (&Value::Null, &Value::Null));
        assert!(row["observedSeconds"].is_number());
    }
    app.stock("A", 6);
    let row = &items(&sales(&app, "storeId=s1"))[0].clone();
    assert_eq!((&row["available"], &row["sold"]), (&json!(6), &json!(2)));
}

fn document(folder: &Path) -> std::path::PathBuf {
    folder.join("sales.json")
}

/// Starts on a folder, sees that all adds up, trades on, sees it again.
#[track_caller]
fn goes_on(folder: &Path, seed: u64) -> TestApp {
    let app = TestApp::start_in(folder, 0, &[]);
    adds_up(&app);
    trade(&app, seed);
    adds_up(&app);
    app
}

const MADE_AGAIN: &str = "the sums of sales cannot be used";

#[test]
fn the_sums_outlive_kills_and_stops_and_damage() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = goes_on(folder.path(), 1);
    app.kill();
    assert!(!document(folder.path()).exists());
    let mut app = goes_on(folder.path(), 2);
    assert!(app.terminate().success());
    let kept = std::fs::read(document(folder.path())).unwrap();
    // What was kept is behind what the log has by now.
    let mut app = goes_on(folder.path(), 3);
    assert!(!app.log().contains(MADE_AGAIN), "{}", app.log());
    app.kill();
    assert_eq!(std::fs::read(document(folder.path())).unwrap(), kept);
    let mut app = goes_on(folder.path(), 4);
    assert!(app.terminate().success());
    let mut damaged = std::fs::read(document(folder.path())).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(document(folder.path()), damaged).unwrap();
    let mut app = goes_on(folder.path(), 5);
    let named = comes_true(Duration::from_secs(5), || {
        app.log().contains(MADE_AGAIN) && app.log().contains("sales.json")
    });
    assert!(named, "{}", app.log());
    assert!(app.terminate().success());
    std::fs::remove_file(document(folder.path())).unwrap();
    goes_on(folder.path(), 6);
}

#[test]
fn sums_of_a_log_that_was_set_back_are_not_believed() {
    let (folder, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut app = goes_on(folder.path(), 1);
    assert!(app.terminate().success());
    let copied = std::process::Command::new("cp")
        .args(["-a", "."])
        .arg(backup.path())
        .current_dir(folder.path())
        .status();
    assert!(copied.unwrap().success());
    let mut app = goes_on(folder.path(), 2);
    assert!(app.terminate().success());
    // First as it was restored, then when it has gone on otherwise and is longer than it ever was.
    std::fs::copy(document(folder.path()), document(backup.path())).unwrap();
    let mut app = goes_on(backup.path(), 7);
    let says_so = |app: &TestApp| comes_true(Duration::from_secs(5), || app.log().contains(MADE_AGAIN));
    assert!(says_so(&app), "{}", app.log());
    trade(&app, 8);
    app.kill();
    std::fs::copy(document(folder.path()), document(backup.path())).unwrap();
    let app = goes_on(backup.path(), 9);
    assert!(says_so(&app), "{}", app.log());
}

#[test]
fn a_young_log_is_kept_in_full_and_answers_by_the_hour_however_far_back() {
    let app = TestApp::start();
    app.stock("A", 10);
    sell(&app, &at("A"), 3);
    let long_ago = sales(&app, "by=hour&from=2020-01-01T00:00:00Z");
    assert_eq!(
        (&long_ago["total"]["sold"], &long_ago["from"]),
        (&json!(3), &json!("2020-01-01T00:00:00.000Z"))
    );
    assert_eq!(column(items(&long_ago), "sold"), ["3"]);
}

#[test]
fn buckets_follow_the_clock_and_old_hours_become_days() {
    let Some(clock) = Clockwork::new() else { return };
    let app = clock.start();
    app.stock("A", 1000);
    let mut moments = Vec::new();
    for (i, days) in [0, 0, 1, 8, 30, 60].into_iter().enumerate() {
        clock.set(days * DAY_SECONDS);
        let units = 1 << i;
        sell(&app, &at("A"), units);
        moments.push((from_now(days * DAY_SECONDS * 1000), units));
    }
    let (first, last) = (&moments[0].0, &moments[5].0);
    let asked = |by: &str| {
        let answer = sales(&app, &format!("from={first}&to={last}&by={by}"));
        let rows = items(&answer).iter().map(|row| {
            assert!(is_time(&row["from"]));
            (
                row["from"].as_str().unwrap()[..13].to_owned(),
                row["sold"].as_i64().unwrap(),
            )
        });
        rows.collect::<BTreeMap<_, _>>()
    };
    let mut days: BTreeMap<String, i64> = BTreeMap::new();
    for (moment, units) in &moments {
        *days.entry(format!("{}T00", &moment[..10])).or_default() += units;
    }
    assert_eq!(asked("day"), days);
    let mut weeks: BTreeMap<String, i64> = BTreeMap::new();
    for (moment, units) in &moments {
        let date = chrono::NaiveDate::parse_from_str(&moment[..10], "%Y-%m-%d").unwrap();
        let monday = date.week(chrono::Weekday::Mon).first_day();
        *weeks.entry(format!("{monday}T00")).or_default() += units;
    }
    assert_eq!(asked("week"), weeks);
    let refused = app
        .get(&format!("{SALES}?from={first}&to={last}&by=hour"))
        .refused(400, "invalid_request");
    assert_eq!(refused.fields(), ["from"]);
    let since = from_now((60 - 35) * DAY_SECONDS * 1000);
    assert!(
        refused["detail"].as_str().unwrap().contains(&since[..10]),
        "{}",
        refused.text()
    );
    let hours = sales(&app, &format!("from={since}&to={last}&by=hour"));
    assert_eq!(column(items(&hours), "sold"), ["16", "32"]);
    assert_eq!(column(items(&hours), "partial"), ["false", "true"]);
    // Of the last 28 days only the last sale counts; the first is longer ago.
    let row = &items(&hours)[1];
    let days = row["observedSeconds"].as_f64().unwrap() / DAY_SECONDS as f64;
    assert!((28.0 - 1.0 / 24.0..=28.0).contains(&days), "{days}");
    let (per_day, lasts) = (row["netPerDay"].as_f64().unwrap(), row["daysOfCover"].as_f64().unwrap());
    assert!((per_day - 32.0 / days).abs() < 0.001, "{per_day}");
    assert!((lasts - (1000.0 - 63.0) / (32.0 / days)).abs() < 0.1, "{lasts}");
    assert!(millis(&hours["from"]).unwrap() <= millis(&json!(since)).unwrap());
}

#[test]
fn a_real_month_adds_up_to_its_ledger() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/online-retail-2010-12.csv.gz");
    let mut text = String::new();
    let mut file = flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap());
    file.read_to_string(&mut text).unwrap();
    let (mut opening, mut operations) = (BTreeMap::new(), Vec::new());
    let mut ledger: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for line in csv::Reader::from_reader(text.as_bytes()).records() {
        let line = line.unwrap();
        let units: i64 = line[3].parse().unwrap();
        let kind = match (units, line[0].starts_with('C')) {
            (0, _) => continue,
            (1.., _) => "SALE",
            (_, true) => "RETURN",
            (_, false) => "MANUAL_REMOVE",
        };
        let level = (line[1].to_owned(), line[7].to_owned());
        let count = units.unsigned_abs();
        let sum = match kind {
            "SALE" => (count, 0),
            "RETURN" => (0, count),
            _ => (0, 0),
        };
        if sum != (0, 0) {
            let found = ledger.entry(level.clone()).or_default();
            *found = (found.0 + sum.0, found.1 + sum.1);
        }
        *opening.entry(level.clone()).or_default() += if kind == "RETURN" { 0 } else { count };
        let delta = if kind == "RETURN" { -units } else { -units.abs() };
        operations.push(json!({"op": "adjust", "sku": level.0, "storeId": level.1, "delta": delta, "type": kind}));
    }
    let counts = opening.iter().map(|((sku, store), units): (&(String, String), &u64)| {
        json!({"op": "set", "sku": sku, "storeId": store, "quantity": units})
    });
    let all: Vec<Value> = counts.chain(operations).collect();
    let app = TestApp::start();
    for batch in all.chunks(5000) {
        let answer = app
            .post("/api/inventory/batch", json!({"operations": batch}))
            .expect(200);
        let results = answer["results"].as_array().unwrap();
        assert!(results.iter().all(|result| result["status"].as_u64().unwrap() < 300));
    }
    // On a busy machine, so many events are not read while one request waits.
    assert!(comes_true(Duration::from_secs(120), || app.get(SALES).status == 200));
    let levels = all_pages(&app, &format!("{SALES}?by=range"), 1000);
    assert_eq!(summed(&levels), ledger);
    let sold: u64 = ledger.values().map(|sum| sum.0).sum();
    let days = sales(&app, "group=none&by=day");
    assert_eq!(days["total"]["sold"], sold);
    let best = sales(&app, "group=sku&sort=sold&limit=10");
    let mut by_sku: BTreeMap<&str, u64> = BTreeMap::new();
    ledger
        .iter()
        .for_each(|((sku, _), sum)| *by_sku.entry(sku).or_default() += sum.0);
    let mut expected: Vec<u64> = by_sku.into_values().collect();
    expected.sort_by(|a, b| b.cmp(a));
    let found: Vec<u64> = items(&best).iter().map(|row| row["sold"].as_u64().unwrap()).collect();
    assert_eq!(found, expected[..10]);
}
