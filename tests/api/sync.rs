//! The sync: totals that equal a recount, a schedule that outlives restarts, and stores that push their counts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Client, all_pages, at, at_in, comes_true, from_now, is_time, millis, operation};
use crate::staff::{Employee, FOREIGN, House, OWN};
use crate::support::{HOLDFAST, TestApp};

const SYNC: &str = "/api/sync";
const STATUS: &str = "/api/sync/status";
const START: &str = "/api/sync/start";
const STOP: &str = "/api/sync/stop";
const TOTALS: &str = "/api/sync/totals";
const PUSH: &str = "/api/sync/push";
/// The sync runs only when a test asks for it.
const BY_HAND: [&str; 2] = ["--sync-interval-ms", "0"];
const SOON: Duration = Duration::from_secs(10);

fn by_hand() -> TestApp {
    TestApp::start_with(&BY_HAND)
}

#[track_caller]
fn synced(app: &impl Client) -> Answer {
    let status = app.post(SYNC, json!({})).expect(200);
    assert_eq!((&status["lastError"], &status["lagEvents"]), (&Value::Null, &json!(0)));
    app.get(TOTALS).expect(200)
}

/// SKUs, quantity and reserved.
type Sums = (u64, u64, u64);

/// As totals or a store's totals tell them.
fn sums(value: &Value) -> Sums {
    let number = |name: &str| value[name].as_u64().unwrap_or_else(|| panic!("no {name} in {value}"));
    assert_eq!(number("available"), number("quantity") - number("reserved"), "{value}");
    (number("skus"), number("quantity"), number("reserved"))
}

/// The totals of every store and of all, counted level by level.
fn recount(app: &impl Client) -> (BTreeMap<String, Sums>, Sums) {
    let (mut stores, mut skus, mut all) = (BTreeMap::new(), BTreeSet::new(), (0, 0, 0));
    for store in all_pages(app, "/api/stores", 100) {
        let id = store["storeId"].as_str().unwrap();
        for level in all_pages(app, &format!("/api/inventory/stores/{id}/inventory"), 100) {
            let number = |name: &str| level[name].as_u64().unwrap();
            let sums: &mut Sums = stores.entry(id.to_owned()).or_default();
            sums.0 += 1;
            for sums in [sums, &mut all] {
                sums.1 += number("quantity");
                sums.2 += number("reserved");
            }
            skus.insert(level["sku"].to_string());
        }
    }
    all.0 = skus.len() as u64;
    (stores, all)
}

/// With nobody writing meanwhile, a sync has to come to what a recount comes to.
#[track_caller]
fn equals_a_recount(app: &impl Client) {
    let totals = synced(app);
    let stores = totals["stores"].as_array().unwrap().iter();
    let told: BTreeMap<String, _> = stores
        .map(|store| (store["storeId"].as_str().unwrap().to_owned(), sums(store)))
        .collect();
    assert_eq!((told, sums(&totals["central"])), recount(app));
}

fn verify(folder: &Path) -> (bool, String) {
    let output = Command::new(HOLDFAST)
        .args(["verify", "--data-dir"])
        .arg(folder)
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

#[test]
fn totals_are_as_of_the_last_sync_and_say_as_of_which_event() {
    let app = by_hand();
    let before = app.get(TOTALS).expect(200);
    assert_eq!(
        (&before["seq"], &before["at"], &before["stores"]),
        (&json!(0), &Value::Null, &json!([]))
    );
    app.stock("A", 10);
    app.put(&at_in("s2", "A"), json!({"quantity": 5})).expect(201);
    app.put(&at_in("s2", "B"), json!({"quantity": 7})).expect(201);
    app.hold("A", 4);
    assert_eq!(app.get(TOTALS).expect(200)["seq"], 0, "nobody has asked for a sync");
    let status = app.get(STATUS).expect(200);
    assert_eq!(
        (&status["running"], &status["seq"], &status["lagEvents"]),
        (&json!(false), &json!(0), &json!(4))
    );
    assert_eq!(
        (&status["lastRunAt"], &status["lastDurationMs"], &status["runs"]),
        (&Value::Null, &Value::Null, &json!(0))
    );
    let totals = synced(&app);
    assert_eq!(totals["seq"], 4);
    assert!(is_time(&totals["at"]));
    assert_eq!(sums(&totals["central"]), (2, 22, 4));
    let stores = totals["stores"].as_array().unwrap();
    assert_eq!((sums(&stores[0]), sums(&stores[1])), ((1, 10, 4), (2, 12, 0)));
    let level = app.get(&at("A")).expect(200);
    assert_eq!(
        (&stores[0]["storeId"], &stores[0]["updatedAt"]),
        (&json!("s1"), &level["updatedAt"])
    );
    app.stock("C", 1);
    assert_eq!(
        app.get(TOTALS).expect(200).json,
        totals.json,
        "a write has changed what was synced"
    );
    let status = app.get(STATUS).expect(200);
    assert_eq!(
        (&status["seq"], &status["lagEvents"], &status["runs"]),
        (&json!(4), &json!(1), &json!(1))
    );
    std::thread::sleep(Duration::from_millis(20));
    assert!(app.get(STATUS).expect(200)["lagMs"].as_u64().unwrap() >= 20);
    assert!(is_time(&status["lastRunAt"]) && status["lastDurationMs"].is_u64());
}

#[test]
fn a_sync_runs_by_itself_from_the_start_on() {
    let app = TestApp::start_with(&["--sync-interval-ms", "100"]);
    app.stock("A", 10);
    assert!(comes_true(SOON, || app.get(TOTALS).expect(200)["central"]["quantity"] == 10));
    let status = app.get(STATUS).expect(200);
    assert_eq!((&status["running"], &status["intervalMs"]), (&json!(true), &json!(100)));
    let unset = TestApp::start();
    let status = unset.get(STATUS).expect(200);
    assert_eq!(
        (&status["running"], &status["intervalMs"]),
        (&json!(true), &json!(15000))
    );
    for unfit in ["1", "99", "86400001", "x"] {
        let refused = Command::new(HOLDFAST)
            .args(["serve", "--sync-interval-ms", unfit])
            .output()
            .unwrap();
        assert!(
            String::from_utf8_lossy(&refused.stderr).contains("must be 0, or from 100"),
            "{unfit}"
        );
    }
}

#[test]
fn a_schedule_outlives_restarts_and_is_more_than_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &BY_HAND);
    let started = app.post(START, json!({"intervalMs": 100})).expect(200);
    assert_eq!(
        (&started["running"], &started["intervalMs"]),
        (&json!(true), &json!(100))
    );
    app.stock("A", 10);
    assert!(comes_true(SOON, || app.get(TOTALS).expect(200)["central"]["quantity"] == 10));
    app.kill();
    let mut app = TestApp::start_in(folder.path(), 0, &BY_HAND);
    let status = app.get(STATUS).expect(200);
    assert_eq!((&status["running"], &status["intervalMs"]), (&json!(true), &json!(100)));
    app.stock("B", 1);
    assert!(comes_true(SOON, || app.get(TOTALS).expect(200)["central"]["quantity"] == 11));
    let stopped = app.post(STOP, json!({})).expect(200);
    assert_eq!(
        (&stopped["running"], &stopped["intervalMs"]),
        (&json!(false), &json!(100))
    );
    app.terminate();
    let app = TestApp::start_in(folder.path(), 0, &["--sync-interval-ms", "100"]);
    assert_eq!(app.get(STATUS).expect(200)["running"], false);
    app.stock("C", 1);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(app.get(TOTALS).expect(200)["central"]["quantity"], 11, "it was stopped");
    assert_eq!(app.post(START, json!({})).expect(200)["intervalMs"], 15000);
    assert!(comes_true(SOON, || app.get(TOTALS).expect(200)["central"]["quantity"] == 12));
}

#[test]
fn nothing_of_the_schedule_is_in_the_feed() {
    let app = by_hand();
    app.post(START, json!({"intervalMs": 60_000})).expect(200);
    app.send("POST", STOP, &[], None).expect(200);
    assert_eq!(app.get("/api/events").expect(200)["items"], json!([]));
}

#[test]
fn a_repeat_under_a_key_schedules_once_and_is_answered_by_the_same_bytes() {
    let app = by_hand();
    let key = [("idempotency-key", "k")];
    let first = app.post_with(START, &key, json!({"intervalMs": 5000})).expect(200);
    app.post(STOP, json!({})).expect(200);
    app.stock("A", 1);
    let again = app.post_with(START, &key, json!({"intervalMs": 5000})).expect(200);
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.body, first.body);
    assert_eq!(
        app.get(STATUS).expect(200)["running"],
        false,
        "the repeat was carried out"
    );
    app.post_with(START, &key, json!({"intervalMs": 6000}))
        .refused(422, "idempotency_key_reused");
    let found = app.get(&operation("k")).expect(200);
    assert_eq!(
        (&found["status"], &found["answer"]["body"]),
        (&json!("completed"), &first.json)
    );
    let run = || {
        app.post(SYNC, json!({"idempotencyKey": "run"})).expect(200)["runs"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(run() + 1, run(), "a repeat of a run runs again");
}

#[test]
fn what_does_not_fit_is_refused_by_its_name_and_changes_nothing() {
    let app = by_hand();
    for (path, body, field) in [
        (START, json!({"intervalMs": 99}), "intervalMs"),
        (START, json!({"intervalMs": 86_400_001}), "intervalMs"),
        (START, json!({"intervalMs": "5000"}), "intervalMs"),
        (START, json!({"interval": 5000}), "interval"),
        (STOP, json!({"intervalMs": 5000}), "intervalMs"),
        (SYNC, json!({"force": true}), "force"),
        (SYNC, json!([]), "body"),
        (START, json!({"idempotencyKey": ""}), "idempotencyKey"),
    ] {
        let refused = app.post(path, body.clone()).refused(400, "invalid_request");
        assert_eq!(refused.fields(), [field], "{path} {body}");
    }
    for path in [STATUS, TOTALS] {
        app.get(&format!("{path}?storeId=s1")).refused(400, "invalid_request");
    }
    for path in [SYNC, START, STOP, PUSH] {
        let body = if path == PUSH { json!([]) } else { json!({}) };
        app.post_with(path, &[("if-match", "\"1\"")], body)
            .refused(400, "invalid_request");
    }
    let status = app.get(STATUS).expect(200);
    assert_eq!(
        (&status["running"], &status["runs"], &status["lagEvents"]),
        (&json!(false), &json!(0), &json!(0))
    );
}

#[test]
fn a_push_counts_all_its_levels_in_one_event_and_tells_the_variance_of_each() {
    let app = by_hand();
    app.stock("A", 10);
    app.hold("A", 4);
    let pushed = app
        .post(
            PUSH,
            json!([
                {"sku": "A", "storeId": "s1", "quantity": 8},
                {"sku": "B", "storeId": "s2", "quantity": 5},
                {"sku": "A", "storeId": "s2", "quantity": 0},
            ]),
        )
        .expect(200);
    assert_eq!(pushed["seq"], 3);
    let rows = pushed["changed"].as_array().unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| (&row["sku"], &row["storeId"], &row["quantity"], &row["variance"]))
        .collect();
    assert_eq!(
        told,
        [
            (&json!("A"), &json!("s1"), &json!(8), &json!(-2)),
            (&json!("B"), &json!("s2"), &json!(5), &json!(5)),
            (&json!("A"), &json!("s2"), &json!(0), &json!(0)),
        ]
    );
    let level = app.get(&at("A")).expect(200);
    let mut expected = level.json.clone();
    expected["variance"] = json!(-2);
    assert_eq!(rows[0], expected);
    let event = &app.get("/api/events?after=2").expect(200)["items"][0];
    assert_eq!(
        (&event["type"], event["changes"].as_array().unwrap().len()),
        (&json!("sync.pushed"), 3)
    );
    let movement = &app.get("/api/movements?sku=A&storeId=s1").expect(200)["items"][0];
    assert_eq!((&movement["type"], &movement["delta"]), (&json!("COUNT"), &json!(-2)));
    assert_eq!(app.post(PUSH, json!([])).expect(200).json, json!({"changed": []}));
}

#[test]
fn what_moved_since_a_count_stays_counted_and_is_no_variance() {
    let app = by_hand();
    app.stock("A", 10);
    std::thread::sleep(Duration::from_millis(20));
    let counted = from_now(0);
    std::thread::sleep(Duration::from_millis(20));
    app.post(&format!("{}/adjust", at("A")), json!({"delta": -3}))
        .expect(200);
    let pushed = app
        .post(
            PUSH,
            json!([{"sku": "A", "storeId": "s1", "quantity": 9, "countedAt": counted}]),
        )
        .expect(200);
    let row = &pushed["changed"][0];
    assert_eq!(
        (&row["quantity"], &row["variance"]),
        (&json!(6), &json!(-1)),
        "9 counted of 10, then 3 sold"
    );
}

#[test]
fn of_two_counts_of_a_level_in_a_push_the_later_one_counts() {
    let app = by_hand();
    app.stock("A", 10);
    let pushed = app
        .post(
            PUSH,
            json!([
                {"sku": "A", "storeId": "s1", "quantity": 8},
                {"sku": "A", "storeId": "s1", "quantity": 11},
            ]),
        )
        .expect(200);
    let rows = pushed["changed"].as_array().unwrap();
    assert_eq!(
        (rows.len(), &rows[0]["quantity"], &rows[0]["variance"]),
        (1, &json!(11), &json!(1))
    );
    assert_eq!(app.state("A"), (11, 0, 2));
}

#[test]
fn a_push_is_all_or_nothing_and_names_what_does_not_fit_by_its_place() {
    let app = by_hand();
    app.stock("A", 10);
    app.hold("A", 4);
    let good = json!({"sku": "B", "storeId": "s1", "quantity": 1});
    for (line, field) in [
        (json!({"sku": "A", "storeId": "s1", "quantity": -1}), "[1].quantity"),
        (json!({"sku": "A", "storeId": "s1", "quantity": 1.5}), "[1].quantity"),
        (json!({"sku": "A", "storeId": "s1", "quantity": "5"}), "[1].quantity"),
        (
            json!({"sku": "A", "storeId": "s1", "quantity": 9_007_199_254_740_992_u64}),
            "[1].quantity",
        ),
        (json!({"sku": "A", "storeId": "s1"}), "[1].quantity"),
        (json!({"sku": "", "storeId": "s1", "quantity": 1}), "[1].sku"),
        (json!({"sku": "A", "quantity": 1}), "[1].storeId"),
        (json!({"sku": "A", "storeId": " s1", "quantity": 1}), "[1].storeId"),
        (
            json!({"sku": "A", "storeId": "s1", "quantity": 1, "store_id": "s1"}),
            "[1].store_id",
        ),
        (
            json!({"sku": "A", "storeId": "s1", "quantity": 1, "countedAt": "yesterday"}),
            "[1].countedAt",
        ),
        (
            json!({"sku": "A", "storeId": "s1", "quantity": 1, "countedAt": from_now(-90_000_000)}),
            "[1].countedAt",
        ),
        (
            json!({"sku": "A", "storeId": "s1", "quantity": 1, "countedAt": from_now(60_000)}),
            "[1].countedAt",
        ),
        (json!(["A", "s1", 1]), "[1]"),
    ] {
        let refused = app.post(PUSH, json!([good, line])).refused(400, "invalid_request");
        assert_eq!(refused.fields(), [field], "{line}");
    }
    app.post(PUSH, json!({"sku": "A", "storeId": "s1", "quantity": 1}))
        .refused(400, "invalid_request");
    let refused = app
        .post(PUSH, json!([good, {"sku": "A", "storeId": "s1", "quantity": 3}]))
        .refused(409, "below_reserved");
    assert_eq!(refused["operations"][0]["index"], 1);
    let many: Vec<Value> = (0..10_001).map(|_| good.clone()).collect();
    app.post(PUSH, many.into()).refused(413, "payload_too_large");
    app.get(&at("B")).refused(404, "not_found");
    assert_eq!(app.state("A"), (10, 4, 2));
}

#[test]
fn ten_thousand_counts_fit_in_a_push() {
    let app = by_hand();
    let counts: Vec<Value> = (0..10_000)
        .map(|n| json!({"sku": format!("S{}", n % 2500), "storeId": format!("s{}", n / 2500), "quantity": n}))
        .collect();
    let pushed = app.post(PUSH, counts.into()).expect(200);
    assert_eq!(pushed["changed"].as_array().unwrap().len(), 10_000);
    let totals = synced(&app);
    assert_eq!(sums(&totals["central"]), (2500, 49_995_000, 0));
}

#[test]
fn a_repeated_push_is_answered_by_the_same_bytes_also_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &BY_HAND);
    app.stock("A", 10);
    let (key, body) = (
        [("idempotency-key", "k")],
        json!([{"sku": "A", "storeId": "s1", "quantity": 7}]),
    );
    let first = app.post_with(PUSH, &key, body.clone()).expect(200);
    app.put(&at("A"), json!({"quantity": 30})).expect(200);
    app.kill();
    let app = TestApp::start_in(folder.path(), 0, &BY_HAND);
    let again = app.post_with(PUSH, &key, body).expect(200);
    assert_eq!(
        (again.header("idempotency-replayed"), &again.body),
        (Some("true"), &first.body)
    );
    assert_eq!(app.state("A").0, 30);
    let found = app.get(&operation("k")).expect(200);
    assert_eq!((&found["answer"]["body"], &found["seq"]), (&first.json, &first["seq"]));
    app.post_with(PUSH, &key, json!([]))
        .refused(422, "idempotency_key_reused");
}

fn overdue(app: &impl Client) -> Value {
    app.get(STATUS).expect(200)["overdueStores"].clone()
}

#[test]
fn a_store_is_overdue_until_it_pushes_also_after_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &BY_HAND);
    let one_second = json!({"storeId": "late", "name": "Late", "syncIntervalSeconds": 1});
    app.post("/api/stores", one_second).expect(201);
    app.post("/api/stores", json!({"storeId": "calm", "name": "Calm"}))
        .expect(201);
    app.post(
        "/api/stores",
        json!({"storeId": "daily", "name": "Daily", "syncIntervalSeconds": 86_400}),
    )
    .expect(201);
    assert_eq!(overdue(&app), json!([]), "it was made just now");
    let never = json!([{"storeId": "late", "lastPushAt": null, "syncIntervalSeconds": 1}]);
    assert!(comes_true(SOON, || overdue(&app) == never), "{}", overdue(&app));
    // A count of one level is no push.
    app.put(&at_in("late", "A"), json!({"quantity": 5})).expect(201);
    assert_eq!(overdue(&app), never);
    let pushed = app
        .post(PUSH, json!([{"sku": "A", "storeId": "late", "quantity": 5}]))
        .expect(200);
    assert_eq!(overdue(&app), json!([]));
    let since = json!([{"storeId": "late", "lastPushAt": pushed["changed"][0]["updatedAt"], "syncIntervalSeconds": 1}]);
    assert!(comes_true(SOON, || overdue(&app) == since), "{}", overdue(&app));
    app.kill();
    let mut app = TestApp::start_in(folder.path(), 0, &BY_HAND);
    assert_eq!(overdue(&app), since, "after a crash");
    assert!(app.terminate().success());
    let mut app = TestApp::start_in(folder.path(), 0, &BY_HAND);
    assert_eq!(overdue(&app), since, "from a checkpoint");
    // The route of the Node services is a push as well.
    app.post("/sync/push", json!([{"sku": "A", "store_id": "late", "quantity": 5}]))
        .expect(200);
    assert_eq!(overdue(&app), json!([]));
    assert!(app.terminate().success());
    let (is_whole, said) = verify(folder.path());
    assert!(is_whole, "{said}");
}

#[test]
fn whoever_sees_some_stores_is_told_of_those_only() {
    let house = House::open_with(&BY_HAND);
    for (store, quantity) in [(OWN[0], 10), (OWN[1], 20), (FOREIGN[0], 700)] {
        let body = json!([{"sku": "A", "storeId": store, "quantity": quantity}]);
        house.admin.post(PUSH, body).expect(200);
        let path = format!("/api/stores/{}", store.replace(' ', "%20"));
        house
            .admin
            .put(&path, json!({"name": store, "syncIntervalSeconds": 1}))
            .expect(200);
    }
    assert_eq!(sums(&synced(&house.admin)["central"]), (1, 730, 0));
    assert!(comes_true(SOON, || overdue(&house.admin).as_array().unwrap().len() == 3));
    let clerk = house.clerk();
    let totals = clerk.get(TOTALS).expect(200);
    let stores: Vec<&Value> = totals["stores"]
        .as_array()
        .unwrap()
        .iter()
        .map(|store| &store["storeId"])
        .collect();
    assert_eq!(stores, [OWN[0], OWN[1]]);
    assert_eq!(sums(&totals["central"]), (2, 30, 0));
    let overdue: Vec<Value> = overdue(&clerk)
        .as_array()
        .unwrap()
        .iter()
        .map(|store| store["storeId"].clone())
        .collect();
    assert_eq!(overdue, [OWN[0], OWN[1]]);
    let end = house.end();
    for path in [SYNC, START, STOP] {
        clerk.post(path, json!({})).refused(403, "forbidden");
    }
    let both = json!([
        {"sku": "A", "storeId": OWN[0], "quantity": 1},
        {"sku": "A", "storeId": FOREIGN[0], "quantity": 1},
    ]);
    clerk.post(PUSH, both).refused(403, "forbidden");
    assert_eq!(house.end(), end);
    clerk
        .post(PUSH, json!([{"sku": "A", "storeId": OWN[0], "quantity": 1}]))
        .expect(200);
    let operator = house.hire("operator", "operator", &[]);
    let key = [("idempotency-key", "k")];
    operator.post_with(START, &key, json!({})).expect(200);
    assert_eq!(
        operator.get(&operation("k")).expect(200)["answer"]["body"]["running"],
        true
    );
    let viewer = house.hire("operator", "viewer", &[]);
    viewer.get(&operation("k")).refused(404, "not_found");
}

#[test]
fn sums_are_exact_where_no_number_of_a_json_reader_is() {
    let app = by_hand();
    let counts: Vec<Value> = (0..2100)
        .map(|n| json!({"sku": format!("S{n}"), "storeId": "s1", "quantity": 9_007_199_254_740_991_u64}))
        .collect();
    app.post(PUSH, counts.into()).expect(200);
    app.post(SYNC, json!({})).expect(200);
    let text = String::from_utf8(app.get(TOTALS).expect(200).body).unwrap();
    let sum = 2100 * 9_007_199_254_740_991_u128;
    assert!(sum > u128::from(u64::MAX));
    assert!(text.contains(&format!("\"quantity\":{sum},")), "{text}");
}

#[test]
fn what_is_over_is_reserved_no_more() {
    let app = by_hand();
    app.stock("A", 10);
    let cart = json!({"lines": [{"sku": "A", "storeId": "s1", "quantity": 4}], "ttlSeconds": 1});
    app.post("/api/reservations", cart).expect(201);
    assert_eq!(sums(&synced(&app)["central"]), (1, 10, 4));
    assert!(comes_true(SOON, || app.state("A").1 == 0));
    assert_eq!(sums(&synced(&app)["central"]), (1, 10, 0));
}

/// A number below `end`, as by chance.
fn chance(state: &mut u64, end: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % end
}

/// Something that changes stock, as by chance; what is refused changes nothing.
fn change_something(app: &impl Client, state: &mut u64) {
    let skus = ["A", "B", "C", "D", "E"];
    let stores = ["s1", "s2", "s3"];
    let mut pick = |end| chance(state, end);
    let (sku, store) = (skus[pick(5) as usize], stores[pick(3) as usize]);
    let (other, quantity) = (stores[pick(3) as usize], pick(20));
    let line = json!({"sku": sku, "storeId": store, "quantity": quantity + 1});
    let path = at_in(store, sku);
    let send = |method: &str, path: &str, body: Value| {
        let headers = [("content-type", "application/json")];
        // The service may just be killed.
        drop(app.try_send(method, path, &headers, Some(body.to_string().as_bytes())));
    };
    match pick(12) {
        0 => send("PUT", &path, json!({"quantity": quantity})),
        1 => send(
            "POST",
            &format!("{path}/adjust"),
            json!({"delta": quantity as i64 - 10}),
        ),
        2 | 3 => send(
            "POST",
            "/api/reservations",
            json!({"lines": [line], "ttlSeconds": 1 + quantity, "reservationId": format!("r{}", pick(9))}),
        ),
        4 => send("POST", &format!("/api/reservations/r{}/commit", pick(9)), json!({})),
        5 => send("POST", &format!("/api/reservations/r{}/release", pick(9)), json!({})),
        6 => send(
            "POST",
            "/api/transfers",
            json!({"sku": sku, "fromStoreId": store, "toStoreId": other, "quantity": 2}),
        ),
        7 => send(
            "POST",
            PUSH,
            json!([line, {"sku": "F", "storeId": other, "quantity": quantity}]),
        ),
        8 => send(
            "POST",
            "/api/inventory/batch",
            json!({"atomic": true, "operations": [
                {"op": "adjust", "sku": sku, "storeId": store, "delta": 5},
                {"op": "reserve", "sku": sku, "storeId": store, "quantity": 3},
                {"op": "release", "sku": sku, "storeId": store, "quantity": 2},
                {"op": "set", "sku": "G", "storeId": other, "quantity": quantity},
            ]}),
        ),
        9 => send("DELETE", &format!("/api/products/{sku}"), json!({})),
        10 => send("DELETE", &format!("/api/stores/{store}"), json!({})),
        _ => send("PUT", &path, json!({"quantity": 0})),
    }
}

#[test]
fn totals_equal_a_recount_after_any_load_and_kill() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["--sync-interval-ms", "100", "--segment-mb", "1", "--checkpoint-mb", "1"];
    let mut app = TestApp::start_in(folder.path(), 0, &args);
    let mut state = 7;
    for round in 0..5 {
        let port = app.port;
        let killer = std::thread::spawn(move || std::thread::sleep(Duration::from_millis(150 + 70 * round)));
        while !killer.is_finished() {
            change_something(&port, &mut state);
        }
        app.kill();
        let (is_whole, said) = verify(folder.path());
        assert!(is_whole, "{said}");
        app = TestApp::start_in(folder.path(), 0, &args);
        equals_a_recount(&app);
    }
    assert!(!app.log().contains("from the beginning of the log"), "{}", app.log());
}

#[test]
fn totals_go_on_where_they_were_and_are_made_anew_where_they_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("central.json");
    let mut app = TestApp::start_in(folder.path(), 0, &BY_HAND);
    app.stock("A", 10);
    let first = synced(&app);
    let first_bytes = std::fs::read(&kept).unwrap();
    app.stock("B", 5);
    app.terminate();
    let mut app = TestApp::start_in(folder.path(), 0, &BY_HAND);
    assert!(comes_true(SOON, || app.get(TOTALS).expect(200).json == first.json));
    assert_eq!(app.get(STATUS).expect(200)["lastRunAt"], first["at"]);
    equals_a_recount(&app);
    assert!(!app.log().contains("from the beginning"), "{}", app.log());
    let whole = std::fs::read(&kept).unwrap();
    app.terminate();
    let newer = String::from_utf8(whole.clone())
        .unwrap()
        .replace("\"seq\":2", "\"seq\":9");
    let covered = newer[newer.find("\"v\"").unwrap()..].trim_end().to_owned();
    let newer = format!("{{\"crc\":\"{:08x}\",{covered}\n", crc32c::crc32c(covered.as_bytes()));
    for (damage, bytes) in [
        ("missing", None),
        ("damaged", Some(whole[..whole.len() - 9].to_vec())),
        (
            "flipped",
            Some(
                String::from_utf8(whole.clone())
                    .unwrap()
                    .replace(":15", ":16")
                    .into_bytes(),
            ),
        ),
        ("beyond the log", Some(newer.into_bytes())),
    ] {
        match bytes {
            Some(bytes) => std::fs::write(&kept, bytes).unwrap(),
            None => std::fs::remove_file(&kept).unwrap(),
        }
        let (is_whole, said) = verify(folder.path());
        // One that says what the log does not have may be right, and the log be short of its end.
        assert_eq!(is_whole, damage != "beyond the log", "{damage}: {said}");
        assert!(damage == "missing" || said.contains("central.json"), "{damage}: {said}");
        let mut app = TestApp::start_in(folder.path(), 0, &BY_HAND);
        equals_a_recount(&app);
        assert!(
            app.log().contains("made from the beginning of the log"),
            "{damage}: {}",
            app.log()
        );
        app.terminate();
        assert!(verify(folder.path()).0);
    }
    // Older ones of the same log are gone on with.
    std::fs::write(&kept, first_bytes).unwrap();
    assert!(verify(folder.path()).0);
    let app = TestApp::start_in(folder.path(), 0, &BY_HAND);
    equals_a_recount(&app);
    assert!(!app.log().contains("from the beginning"), "{}", app.log());
}

#[test]
fn totals_of_another_log_are_noticed() {
    let [folder, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    for (folder, quantity) in [(&folder, 10), (&other, 99)] {
        let mut app = TestApp::start_in(folder.path(), 0, &BY_HAND);
        app.stock("A", quantity);
        synced(&app);
        app.terminate();
    }
    std::fs::copy(other.path().join("central.json"), folder.path().join("central.json")).unwrap();
    assert!(!verify(folder.path()).0);
    let app = TestApp::start_in(folder.path(), 0, &BY_HAND);
    assert!(app.log().contains("of another log") || comes_true(SOON, || app.log().contains("of another log")));
    equals_a_recount(&app);
}

#[test]
fn those_who_ask_at_the_same_time_are_all_answered_with_what_they_had_written() {
    let app = by_hand();
    let port = app.port;
    std::thread::scope(|scope| {
        for client in 0..16 {
            scope.spawn(move || {
                let written = port.put(&at(&format!("S{client}")), json!({"quantity": 1})).expect(201);
                let status = port.post(SYNC, json!({})).expect(200);
                assert!(status["seq"].as_u64() >= written["seq"].as_u64(), "{}", status.text());
            });
        }
    });
    let runs = app.get(STATUS).expect(200)["runs"].as_u64().unwrap();
    assert!((1..=16).contains(&runs), "{runs}");
    assert_eq!(sums(&app.get(TOTALS).expect(200)["central"]), (16, 16, 0));
    assert!(millis(&app.get(STATUS).expect(200)["lastRunAt"]).is_some());
}

#[test]
fn why_a_run_has_failed_is_for_those_who_run_it() {
    let house = House::open_with(&BY_HAND);
    let [viewer, operator] = ["viewer", "operator"].map(|role| house.hire(role, role, &[]));
    // Nothing can be put in the place of a folder.
    std::fs::create_dir(house.folder().join("central.json")).unwrap();
    let failed = operator.post(SYNC, json!({})).expect(200);
    let why = failed["lastError"].as_str().unwrap();
    assert!(why.contains("directory"), "{why}");
    let told = |caller: &Employee| caller.get(STATUS).expect(200)["lastError"].clone();
    assert_eq!([told(&operator), told(&house.admin)], [json!(why), json!(why)]);
    assert_eq!(told(&viewer), "its cause is told to operators only");
    std::fs::remove_dir(house.folder().join("central.json")).unwrap();
    operator.post(SYNC, json!({})).expect(200);
    assert_eq!(told(&viewer), Value::Null);
}
