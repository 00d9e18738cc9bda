//! Nobody outside their rights (G7): a clerk of one store can neither learn nor change anything of another. What each
//! operation does for each role, `matrix.rs` asks of all of them; what is told beside that stands here.

mod matrix;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::client::{Answer, Client, all_pages, at_in, column, from_now, item, operation};
use crate::staff::{Employee, FOREIGN, House, OWN};

const HERE: &str = OWN[0];
const ELSEWHERE: &str = FOREIGN[0];

#[track_caller]
fn stock(who: &Employee, store: &str, sku: &str, quantity: u64) {
    who.put(&at_in(store, sku), json!({"quantity": quantity})).expect(201);
}

fn line(store: &str, sku: &str, quantity: u64) -> Value {
    json!({"sku": sku, "storeId": store, "quantity": quantity})
}

#[track_caller]
fn cart(who: &Employee, id: &str, stores: &[&str], sku: &str) {
    let lines: Vec<Value> = stores.iter().map(|store| line(store, sku, 1)).collect();
    let cart = json!({"lines": lines, "reservationId": id, "reference": format!("order of {id}")});
    who.post("/api/reservations", cart).expect(201);
}

/// With ten of A here and elsewhere, and carts `near`, `wide` (of both stores) and `far`.
fn with_carts() -> (House, Employee) {
    let house = House::open();
    let clerk = house.clerk();
    for store in [HERE, ELSEWHERE] {
        stock(&house.admin, store, "A", 10);
    }
    cart(&house.admin, "near", &[HERE], "A");
    cart(&house.admin, "wide", &[HERE, ELSEWHERE], "A");
    cart(&house.admin, "far", &[ELSEWHERE], "A");
    (house, clerk)
}

/// What a refusal says, but for what it says of this one request.
fn said(answer: &Answer, name: &str) -> Value {
    let mut said = answer.json.clone();
    for member in ["requestId", "timestamp", "instance"] {
        said[member].take();
    }
    serde_json::from_str(&said.to_string().replace(name, "NAME")).unwrap()
}

#[test]
fn a_level_of_another_store_is_not_there_whether_or_not_it_is() {
    let (house, clerk) = with_carts();
    clerk.get(&at_in(HERE, "A")).expect(200);
    let there = clerk.get(&at_in(ELSEWHERE, "A")).refused(404, "not_found");
    let nowhere = clerk.get(&at_in("nowhere", "A")).refused(404, "not_found");
    assert_eq!(said(&there, ELSEWHERE), said(&nowhere, "nowhere"));
    clerk
        .get_with(&at_in(ELSEWHERE, "A"), &[("if-none-match", "*")])
        .refused(404, "not_found");
    clerk.send("HEAD", &at_in(ELSEWHERE, "A"), &[], None).expect(404);
    let list = |store: &str| format!("/api/inventory/stores/{store}/inventory");
    let there = clerk.get(&list(ELSEWHERE)).refused(404, "not_found");
    let nowhere = clerk.get(&list("nowhere")).refused(404, "not_found");
    assert_eq!(said(&there, ELSEWHERE), said(&nowhere, "nowhere"));
    clerk.get(&list("own%20too")).expect(200);
    let end = house.end();
    let there = clerk
        .put(&at_in(ELSEWHERE, "A"), json!({"quantity": 1}))
        .refused(403, "forbidden");
    let nowhere = clerk
        .put(&at_in("nowhere", "A"), json!({"quantity": 1}))
        .refused(403, "forbidden");
    assert_eq!(said(&there, ELSEWHERE), said(&nowhere, "nowhere"));
    assert_eq!(house.end(), end);
}

#[test]
fn an_item_shows_its_levels_and_totals_in_own_stores() {
    let house = House::open();
    let clerk = house.clerk();
    let body =
        |store: &str, quantity: u64| json!({"sku": "sku-a", "name": "Heart", "storeId": store, "quantity": quantity});
    house
        .admin
        .post("/api/inventory/items", body(ELSEWHERE, 70))
        .expect(201);
    clerk.get(&item("sku-a")).refused(404, "not_found");
    let there = said(&clerk.get(&item("sku-a")), "sku-a");
    assert_eq!(there, said(&clerk.get(&item("sku-b")), "sku-b"));
    stock(&clerk, HERE, "sku-a", 5);
    let seen_at = from_now(0);
    let seen = clerk.get(&item("sku-a")).expect(200);
    assert_eq!((&seen["quantity"], &seen["available"]), (&json!(5), &json!(5)));
    assert_eq!(column(seen["levels"].as_array().unwrap(), "storeId"), [HERE]);
    let updated = seen["updatedAt"].clone();
    std::thread::sleep(Duration::from_millis(20));
    house
        .admin
        .put(&at_in(ELSEWHERE, "sku-a"), json!({"quantity": 80}))
        .expect(200);
    let seen = clerk.get(&item("sku-a")).expect(200);
    assert_eq!(seen["updatedAt"], updated, "it tells when something happened elsewhere");
    let then = clerk
        .get(&format!("{}/history?at={seen_at}", item("sku-a")))
        .expect(200);
    assert_eq!(then["quantity"], 5);
    let all = house.admin.get(&item("sku-a")).expect(200);
    assert_eq!(all["quantity"], 85);
    // What an item route answers to a write is narrowed as well, and so is its repeat.
    for _ in 0..2 {
        let key = [("idempotency-key", "count")];
        let path = format!("{}/quantity", item("sku-a"));
        let told = clerk
            .put_with(&path, &key, json!({"quantity": 6, "storeId": HERE}))
            .expect(200);
        assert_eq!(
            (&told["quantity"], told["levels"].as_array().unwrap().len()),
            (&json!(6), 1)
        );
    }
    let before = said(
        &clerk.get(&format!("{}/history?at=2020-01-01T00:00:00Z", item("sku-a"))),
        "sku-a",
    );
    assert_eq!(
        before,
        said(
            &clerk.get(&format!("{}/history?at=2020-01-01T00:00:00Z", item("sku-b"))),
            "sku-b"
        )
    );
}

#[test]
fn lists_of_items_are_full_pages_of_what_is_seen() {
    let house = House::open();
    let one = house.hire("one", "clerk", &[HERE]);
    let both = house.clerk();
    let stores = [HERE, ELSEWHERE, OWN[1]];
    let counts = (0..60).map(|i| {
        let store = stores[i % 3];
        // Low is every other, and every one of those elsewhere.
        let point = if i % 2 == 0 || store == ELSEWHERE { 5 } else { 0 };
        json!({"op": "set", "sku": format!("i{i:02}"), "storeId": store, "quantity": 5, "reorderPoint": point,
               "name": format!("Heart {i}")})
    });
    let counts: Vec<Value> = counts.collect();
    house
        .admin
        .post("/api/inventory/batch", json!({"operations": counts}))
        .expect(200);
    let of = |who: &Employee, query: &str| {
        let rows = all_pages(who, &format!("/api/inventory/items{query}"), 4);
        let levels = rows.iter().flat_map(|row| row["levels"].as_array().unwrap());
        assert!(
            levels
                .map(|level| level["storeId"].as_str().unwrap())
                .all(|store| OWN.contains(&store))
        );
        column(&rows, "sku").len()
    };
    for (query, of_one, of_both) in [
        ("", 20, 40),
        ("?q=heart", 20, 40),
        ("?q=i0", 4, 7),
        ("?lowStock=true", 10, 20),
        ("?q=heart&lowStock=true", 10, 20),
        ("?storeId=own", 20, 20),
        ("?storeId=own&lowStock=true", 10, 10),
    ] {
        assert_eq!((of(&one, query), of(&both, query)), (of_one, of_both), "{query}");
    }
    one.get("/api/inventory/items?storeId=own%20too")
        .refused(404, "not_found");
    one.get("/api/inventory/items?storeId=nowhere")
        .refused(404, "not_found");
    one.get("/api/inventory/items?storeId=nowhere&limit=0")
        .refused(400, "invalid_request");
}

/// Everything in all pages of the log.
fn log_of(who: &Employee) -> Vec<Value> {
    let (mut rows, mut after) = (Vec::new(), 0);
    loop {
        let page = who.get(&format!("/api/events?after={after}&limit=3")).expect(200);
        rows.extend(page["items"].as_array().unwrap().iter().cloned());
        after = page["seq"].as_u64().unwrap();
        if page["next"].is_null() {
            return rows;
        }
    }
}

#[test]
fn the_log_shows_own_changes_and_of_wider_steps_nothing_else() {
    let (house, clerk) = with_carts();
    house.admin.post(
        "/api/transfers",
        json!({"sku": "A", "fromStoreId": ELSEWHERE, "toStoreId": HERE, "quantity": 2, "note": "ZSECRET of a transfer"}),
    )
    .expect(200);
    // A part of a wide cart that lies here only.
    let part = json!({"lines": [line(HERE, "A", 1)], "note": "ZSECRET of a cart"});
    house.admin.post("/api/reservations/wide/commit", part).expect(200);
    let part = json!({"lines": [line(HERE, "A", 1)], "note": "of a near cart"});
    house.admin.post("/api/reservations/near/commit", part).expect(200);
    let operations = json!([
        {"op": "adjust", "sku": "A", "storeId": HERE, "delta": 1, "note": "here"},
        {"op": "transfer", "sku": "A", "fromStoreId": HERE, "toStoreId": ELSEWHERE, "quantity": 1, "note": "ZSECRET"},
    ]);
    house
        .admin
        .post(
            "/api/inventory/batch",
            json!({"operations": operations, "atomic": true}),
        )
        .expect(200);
    let log = log_of(&clerk);
    let text = Value::from(log.clone()).to_string();
    for secret in ["ZSECRET", ELSEWHERE, "wide", "far"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let kinds = column(&log, "type");
    assert_eq!(
        kinds,
        [
            "level.created",
            "reservation.created",
            "reservation.created",
            "level.transferred",
            "reservation.committed",
            "reservation.committed",
            "batch.applied",
        ]
    );
    assert!(log.iter().all(|event| event["changes"].as_array().unwrap().len() == 1));
    assert_eq!(
        (&log[1]["reservationId"], &log[1]["reference"]),
        (&json!("near"), &json!("order of near"))
    );
    assert_eq!(
        (&log[5]["note"], &log[4]["note"]),
        (&json!("of a near cart"), &Value::Null)
    );
    let moves = log[6]["changes"][0]["moves"].as_array().unwrap();
    assert_eq!((&moves[0]["note"], &moves[1]["note"]), (&json!("here"), &Value::Null));
    assert_eq!(log_of(&house.admin).len(), 9);
    // The same, as an auditor reads it; by pages of one, in which the other halves leave no gaps.
    let movements = all_pages(&clerk, "/api/movements", 1);
    let types = ["TRANSFER_OUT", "STOCK_IN", "SALE", "SALE", "TRANSFER_IN", "COUNT"];
    assert_eq!(column(&movements, "type"), types);
    let text = Value::from(movements).to_string();
    for secret in ["ZSECRET", ELSEWHERE, "wide", "far"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[test]
fn what_is_over_of_a_wide_cart_is_told_without_its_name() {
    let (house, clerk) = with_carts();
    let lines = json!([line(HERE, "A", 1), line(ELSEWHERE, "B", 1)]);
    stock(&house.admin, ELSEWHERE, "B", 1);
    let cart = json!({"lines": lines, "reservationId": "ZSECRET", "reference": "ZSECRET", "ttlSeconds": 1});
    let made = house.admin.post("/api/reservations", cart).expect(201);
    crate::client::sleep_until(&made["expiresAt"]);
    // Its expiry is an event of each SKU, and of SKU A in no other store.
    clerk.get(&at_in(HERE, "A")).expect(200);
    let log = log_of(&clerk);
    let last = log.last().unwrap();
    assert_eq!(last["type"], "reservation.expired");
    assert!(!Value::from(log.clone()).to_string().contains("ZSECRET"), "{log:?}");
}

#[test]
fn whoever_waits_for_news_is_not_woken_by_those_of_others() {
    let (house, clerk) = with_carts();
    let end = house.end();
    let asked = Instant::now();
    let waiting = {
        let clerk = clerk.clone();
        std::thread::spawn(move || clerk.get(&format!("/api/events?after={end}&wait=2")))
    };
    for i in 0..5 {
        std::thread::sleep(Duration::from_millis(100));
        house
            .admin
            .post(&format!("{}/adjust", at_in(ELSEWHERE, "A")), json!({"delta": 1 + i}))
            .expect(200);
    }
    let answer = waiting.join().unwrap().expect(200);
    assert!(asked.elapsed() >= Duration::from_secs(2), "{:?}", asked.elapsed());
    assert_eq!(answer["items"], json!([]));
    let waiting = std::thread::spawn(move || clerk.get(&format!("/api/events?after={}&wait=15", end + 5)));
    std::thread::sleep(Duration::from_millis(100));
    house
        .admin
        .post(&format!("{}/adjust", at_in(HERE, "A")), json!({"delta": 1}))
        .expect(200);
    let answer = waiting.join().unwrap().expect(200);
    assert_eq!(answer["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_reservation_is_seen_whole_or_not_at_all() {
    let (house, clerk) = with_carts();
    clerk.get("/api/reservations/near").expect(200);
    let nowhere = said(&clerk.get("/api/reservations/nowhere"), "nowhere");
    for id in ["wide", "far"] {
        let hidden = clerk.get(&format!("/api/reservations/{id}")).refused(404, "not_found");
        assert_eq!(said(&hidden, id), nowhere);
    }
    assert_eq!(
        column(&all_pages(&clerk, "/api/reservations?sku=A", 5), "reservationId"),
        ["near"]
    );
    assert_eq!(all_pages(&house.admin, "/api/reservations?sku=A", 5).len(), 3);
    assert_eq!(
        all_pages(&clerk, "/api/reservations?reference=order%20of%20wide", 5).len(),
        0
    );
    clerk
        .get(&format!("/api/reservations?storeId={ELSEWHERE}"))
        .refused(404, "not_found");
    clerk.get("/api/reservations?storeId=nowhere").refused(404, "not_found");
}

/// Every reservation that a list shows, page by page, with what its cursors have in them.
fn reservations_of(who: &Employee, query: &str) -> (Vec<String>, String) {
    let (mut found, mut cursors, mut after) = (Vec::new(), String::new(), String::new());
    loop {
        let page = who.get(&format!("/api/reservations?limit=2{query}{after}")).expect(200);
        found.extend(column(page["items"].as_array().unwrap(), "reservationId"));
        let Some(next) = page["next"].as_str() else {
            return (found, cursors);
        };
        let decoded = URL_SAFE_NO_PAD.decode(next).unwrap();
        cursors += &String::from_utf8_lossy(&decoded);
        after = format!("&after={next}");
    }
}

#[test]
fn the_cursors_of_a_list_name_no_reservation_that_is_not_shown() {
    let (house, clerk) = with_carts();
    let mut expected = BTreeSet::from(["near".to_owned()]);
    for i in 0..15 {
        // Several of one event: hidden ones before, between and behind those that are shown.
        let reserve = |store: &str, id: String| json!({"op": "reserve", "sku": "A", "storeId": store, "quantity": 1, "reservationId": id});
        let [here, there] = [format!("own {i}"), format!("ZHIDDEN {i}")];
        let operations = match i % 3 {
            0 => json!([
                reserve(ELSEWHERE, format!("a {there}")),
                reserve(HERE, here.clone()),
                reserve(ELSEWHERE, there)
            ]),
            1 => json!([reserve(ELSEWHERE, there)]),
            _ => json!([reserve(HERE, here.clone())]),
        };
        expected.extend((i % 3 != 1).then_some(here));
        for store in [HERE, ELSEWHERE] {
            house
                .admin
                .post(&format!("{}/adjust", at_in(store, "A")), json!({"delta": 5}))
                .expect(200);
        }
        let batch = json!({"operations": operations, "atomic": true});
        house.admin.post("/api/inventory/batch", batch).expect(200);
    }
    for query in ["", "&status=active"] {
        let (found, cursors) = reservations_of(&clerk, query);
        let distinct: BTreeSet<String> = found.iter().cloned().collect();
        assert_eq!((found.len(), &distinct), (expected.len(), &expected), "{query}");
        assert!(!cursors.is_empty());
        for secret in ["ZHIDDEN", "wide", "far"] {
            assert!(!cursors.contains(secret), "{query}: {cursors}");
        }
    }
}

#[test]
fn a_search_that_stops_among_hidden_reservations_names_none_of_them_and_goes_on() {
    let (house, clerk) = with_carts();
    for (round, count) in [(1, 10_000), (2, 500)] {
        stock(
            &house.admin,
            ELSEWHERE,
            &format!("many {round}").replace(' ', "%20"),
            count,
        );
        let reserves = (0..count).map(|i| {
            let id = format!("ZHIDDEN {round} {i}");
            json!({"op": "reserve", "sku": format!("many {round}"), "storeId": ELSEWHERE, "quantity": 1, "reservationId": id})
        });
        let reserves: Vec<Value> = reserves.collect();
        let batch = json!({"operations": reserves, "atomic": true});
        house.admin.post("/api/inventory/batch", batch).expect(200);
    }
    let (found, cursors) = reservations_of(&clerk, "&status=active");
    assert_eq!(found, ["near"]);
    assert!(!cursors.is_empty(), "the search has not stopped anywhere");
    assert!(!cursors.contains("ZHIDDEN"), "{cursors}");
}

#[test]
fn what_is_done_to_a_reservation_that_is_not_seen_tells_nothing_of_it() {
    let (house, clerk) = with_carts();
    let end = house.end();
    for (step, body) in [
        ("commit", json!({})),
        ("release", json!({})),
        ("release", json!({"lines": [line(HERE, "A", 1)]})),
        ("commit", json!({"dryRun": true})),
        ("extend", json!({"ttlSeconds": 60})),
    ] {
        let ask = |id: &str| {
            let answer = clerk.post(&format!("/api/reservations/{id}/{step}"), body.clone());
            said(&answer.refused(403, "forbidden"), id)
        };
        let nowhere = ask("nowhere");
        assert_eq!((ask("wide"), ask("far")), (nowhere.clone(), nowhere), "{step}");
    }
    // On a level of their own, one that they do not see is none.
    for path in [at_in(HERE, "A"), item("A")] {
        for header in [&[][..], &[("if-match", "\"999\"")]] {
            let ask = |id: &str| {
                let body = match path.contains("items") {
                    true => json!({"reservationId": id, "storeId": HERE}),
                    false => json!({"reservationId": id}),
                };
                let answer = clerk.post_with(&format!("{path}/release"), header, body);
                said(&answer.refused(404, "not_found"), id)
            };
            let nowhere = ask("nowhere");
            assert_eq!((ask("wide"), ask("far")), (nowhere.clone(), nowhere), "{path}");
        }
    }
    for is_atomic in [false, true] {
        let ask = |id: &str| {
            let release = json!([{"op": "release", "sku": "A", "storeId": HERE, "reservationId": id}]);
            said(
                &clerk.post(
                    "/api/inventory/batch",
                    json!({"operations": release, "atomic": is_atomic}),
                ),
                id,
            )
        };
        let nowhere = ask("nowhere");
        assert_eq!((ask("wide"), ask("far")), (nowhere.clone(), nowhere));
    }
    assert_eq!(house.end(), end);
    clerk
        .post("/api/reservations/near/extend", json!({"ttlSeconds": 60}))
        .expect(200);
    clerk.post("/api/reservations/near/commit", json!({})).expect(200);
}

#[test]
fn a_cart_touches_no_store_in_which_its_maker_may_not_move_stock() {
    let (house, clerk) = with_carts();
    let before = house.hire("clerk", "clerk", &[HERE, ELSEWHERE]);
    let end = house.end();
    for stores in [&[ELSEWHERE][..], &[HERE, ELSEWHERE], &[HERE, "nowhere"]] {
        let lines: Vec<Value> = stores.iter().map(|store| line(store, "A", 1)).collect();
        for more in [json!({}), json!({"allowPartial": true}), json!({"dryRun": true})] {
            let mut cart = more;
            cart["lines"] = json!(lines);
            clerk.post("/api/reservations", cart).refused(403, "forbidden");
        }
    }
    // Once this caller had both stores, and made a cart over them.
    cart(&before, "wider", &[HERE, ELSEWHERE], "A");
    let ask = |id: &str| {
        let cart = json!({"lines": [line(HERE, "A", 1)], "replaces": id});
        said(&clerk.post("/api/reservations", cart).refused(403, "forbidden"), id)
    };
    let nowhere = ask("nowhere");
    assert_eq!((ask("wider"), ask("far")), (nowhere.clone(), nowhere));
    assert_eq!(house.end(), end + 1);
    cart(&clerk, "narrow", &[HERE], "A");
    let cart = json!({"lines": [line(HERE, "A", 2)], "replaces": "narrow"});
    clerk.post("/api/reservations", cart).expect(201);
}

#[test]
fn a_shortage_tells_of_own_stores_only() {
    let (house, clerk) = with_carts();
    cart(&house.admin, "held elsewhere", &[ELSEWHERE], "A");
    let short = json!({"lines": [line(HERE, "A", 100)]});
    let refused = clerk
        .post("/api/reservations", short)
        .refused(409, "insufficient_stock");
    assert_eq!((&refused["available"], &refused["reserved"]), (&json!(8), &json!(2)));
    assert!(!refused.text().contains(ELSEWHERE));
}

#[test]
fn of_a_batch_each_operation_is_judged_by_itself_and_an_atomic_one_as_a_whole() {
    let (house, clerk) = with_carts();
    let transfer = |from: &str, to: &str| json!({"op": "transfer", "sku": "A", "fromStoreId": from, "toStoreId": to, "quantity": 1});
    let operations = json!([
        {"op": "adjust", "sku": "A", "storeId": HERE, "delta": 1},
        {"op": "adjust", "sku": "A", "storeId": ELSEWHERE, "delta": 1},
        {"op": "adjust", "sku": "A", "storeId": "nowhere", "delta": 1},
        transfer(HERE, ELSEWHERE),
        transfer(ELSEWHERE, HERE),
        transfer(HERE, OWN[1]),
    ]);
    let expected = ["200", "403", "403", "403", "403", "200"];
    let end = house.end();
    let answer = clerk
        .post("/api/inventory/batch", json!({"operations": operations}))
        .expect(200);
    let results = answer["results"].as_array().unwrap();
    assert_eq!(column(results, "status"), expected);
    assert_eq!(results[1]["error"], "forbidden");
    assert_eq!(house.end(), end + 2);
    let atomic = json!({"operations": operations, "atomic": true});
    let refused = clerk
        .post("/api/inventory/batch", atomic.clone())
        .refused(403, "forbidden");
    assert_eq!(
        column(refused["operations"].as_array().unwrap(), "index"),
        ["1", "2", "3", "4"]
    );
    // What does not fit comes before what is not allowed.
    let mut unfit = atomic;
    unfit["operations"][5] = json!({"op": "adjust", "sku": "A", "storeId": HERE});
    clerk
        .post("/api/inventory/batch", unfit)
        .refused(400, "invalid_request");
    assert_eq!(house.end(), end + 2);
}

#[test]
fn a_clerk_does_not_name_or_price_what_other_stores_have_too() {
    let (house, clerk) = with_carts();
    let end = house.end();
    let price = json!({"amount": 1, "currency": "GBP"});
    for (member, value) in [
        ("name", json!("mine")),
        ("description", json!("mine")),
        ("price", price),
    ] {
        let mut set = json!({"op": "set", "sku": "A", "storeId": HERE, "quantity": 10});
        set[member] = value;
        let answer = clerk
            .post("/api/inventory/batch", json!({"operations": [set]}))
            .expect(200);
        assert_eq!(column(answer["results"].as_array().unwrap(), "error"), ["forbidden"]);
        let atomic = json!({"operations": [set], "atomic": true});
        clerk.post("/api/inventory/batch", atomic).refused(403, "forbidden");
    }
    assert_eq!(house.end(), end);
    let set = json!({"op": "set", "sku": "A", "storeId": HERE, "quantity": 10, "name": "ours"});
    let operator = house.hire("operator", "operator", &[]);
    let answer = operator
        .post("/api/inventory/batch", json!({"operations": [set]}))
        .expect(200);
    assert_eq!(column(answer["results"].as_array().unwrap(), "status"), ["200"]);
}

#[test]
fn an_item_that_is_only_elsewhere_is_none_on_item_routes() {
    let house = House::open();
    let clerk = house.clerk();
    stock(&house.admin, ELSEWHERE, "sku-a", 10);
    let bare = json!({"sku": "sku-c", "name": "without a level"});
    house.admin.post("/api/products", bare).expect(201);
    let end = house.end();
    let get = |sku: &str| said(&clerk.get(&item(sku)).refused(404, "not_found"), sku);
    assert_eq!((get("sku-a"), get("sku-c")), (get("sku-b"), get("sku-b")));
    house.admin.get(&item("sku-c")).expect(200);
    for (step, body) in [
        ("reserve", json!({"quantity": 1, "storeId": HERE})),
        ("release", json!({"quantity": 1, "storeId": HERE})),
        ("release", json!({"reservationId": "r", "storeId": HERE})),
    ] {
        let ask = |sku: &str| {
            let answer = clerk.post(&format!("{}/{step}", item(sku)), body.clone());
            said(&answer.refused(404, "not_found"), sku)
        };
        assert_eq!(ask("sku-a"), ask("sku-b"), "{step}");
        assert_eq!(ask("sku-c"), ask("sku-b"), "{step}");
    }
    let ask = |sku: &str| {
        let answer = clerk.put(
            &format!("{}/quantity", item(sku)),
            json!({"quantity": 1, "storeId": HERE}),
        );
        said(&answer.refused(404, "not_found"), sku)
    };
    assert_eq!(ask("sku-a"), ask("sku-b"));
    assert_eq!(ask("sku-c"), ask("sku-b"));
    assert_eq!(house.end(), end);
    stock(&clerk, HERE, "sku-c", 1);
    clerk.get(&item("sku-c")).expect(200);
}

#[test]
fn a_clerk_makes_items_without_a_name_and_in_a_strict_catalogue_none() {
    let new = |sku: &str| json!({"sku": sku, "storeId": HERE, "quantity": 1});
    let create = |who: &Employee, body: &Value| who.post("/api/inventory/items", body.clone());
    let mut named = new("A");
    named["name"] = json!("mine");
    let house = House::open();
    let clerk = house.clerk();
    let end = house.end();
    create(&clerk, &named).refused(403, "forbidden");
    assert_eq!(house.end(), end);
    create(&clerk, &new("A")).expect(201);
    let strict = House::open_with(&["--strict-catalogue"]);
    let store = json!({"storeId": HERE, "name": "Here"});
    strict.admin.post("/api/stores", store).expect(201);
    let (clerk, operator) = (strict.clerk(), strict.hire("operator", "operator", &[]));
    let end = strict.end();
    for who in [&clerk, &operator] {
        create(who, &new("A")).refused(403, "forbidden");
    }
    assert_eq!(strict.end(), end);
    create(&strict.admin, &named).expect(201);
    let count = json!({"quantity": 5});
    clerk.put(&at_in(HERE, "A"), count).expect(200);
}

#[test]
fn what_an_admin_did_is_not_shown_to_them_when_they_are_none_any_more() {
    let house = House::open();
    let before = house.hire("boss", "admin", &[]);
    let key = |key: &'static str| [("idempotency-key", key)];
    for (name, path, body) in [
        ("store", "/api/stores", json!({"storeId": HERE, "name": "ZSECRET"})),
        ("product", "/api/products", json!({"sku": "A", "name": "ZSECRET"})),
        ("token", "/api/tokens", json!({"name": "till", "role": "viewer"})),
    ] {
        before.post_with(path, &key(name), body).expect(201);
        before.get(&operation(name)).expect(200);
    }
    for now in [
        house.hire("boss", "operator", &[]),
        house.hire("boss", "clerk", &[HERE]),
    ] {
        let unknown = said(&now.get(&operation("unheard")), "unheard");
        for name in ["store", "product", "token"] {
            let hidden = now.get(&operation(name)).refused(404, "not_found");
            assert_eq!(said(&hidden, name), unknown);
        }
    }
}

#[test]
fn a_viewer_may_not_push_or_count_whatever_it_is() {
    let house = House::open();
    let viewer = house.hire("viewer", "viewer", &[]);
    let push = |headers: &[(&str, &str)]| {
        let headers = [&[crate::client::JSON], headers].concat();
        viewer.send("POST", "/sync/push", &headers, Some(b"[]"))
    };
    push(&[]).expect(403);
    push(&[("idempotency-key", "a b")]).expect(400);
    let count = |who: &Employee| who.put("/stock/none", json!({"quantity": 1}));
    count(&viewer).expect(403);
    count(&house.clerk()).expect(404);
}

#[test]
fn a_transfer_takes_a_right_in_both_stores() {
    let (house, clerk) = with_carts();
    let end = house.end();
    let transfer = |from: &str, to: &str| {
        let body = json!({"sku": "A", "fromStoreId": from, "toStoreId": to, "quantity": 1});
        clerk.post("/api/transfers", body)
    };
    transfer(HERE, ELSEWHERE).refused(403, "forbidden");
    transfer(ELSEWHERE, HERE).refused(403, "forbidden");
    transfer(ELSEWHERE, FOREIGN[1]).refused(403, "forbidden");
    transfer(HERE, HERE).refused(400, "invalid_request");
    assert_eq!(house.end(), end);
    transfer(HERE, OWN[1]).expect(200);
}

#[test]
fn what_was_done_with_wider_rights_is_not_shown_under_its_key_any_more() {
    let house = House::open();
    let before = house.hire("till", "clerk", &[HERE, ELSEWHERE]);
    for store in [HERE, ELSEWHERE] {
        stock(&before, store, "A", 10);
    }
    let wide = json!({"lines": [line(HERE, "A", 1), line(ELSEWHERE, "A", 1)]});
    let batch = |is_atomic: bool| {
        let counts = [HERE, ELSEWHERE].map(|store| json!({"op": "adjust", "sku": "A", "storeId": store, "delta": 1}));
        json!({"operations": counts, "atomic": is_atomic})
    };
    let writes = [
        (
            "level",
            format!("{}/adjust", at_in(ELSEWHERE, "A")),
            json!({"delta": 1}),
        ),
        ("cart", "/api/reservations".to_owned(), wide),
        ("batch", "/api/inventory/batch".to_owned(), batch(false)),
        ("atomic", "/api/inventory/batch".to_owned(), batch(true)),
        ("near", format!("{}/adjust", at_in(HERE, "A")), json!({"delta": 1})),
        (
            "item",
            format!("{}/reserve", item("A")),
            json!({"quantity": 1, "storeId": HERE}),
        ),
    ];
    let send = |who: &Employee, (key, path, body): &(&str, String, Value)| {
        who.post_with(path, &[("idempotency-key", key)], body.clone())
    };
    for write in &writes {
        assert!(send(&before, write).status < 300);
        before.get(&operation(write.0)).expect(200);
    }
    let now = house.hire("till", "clerk", &[HERE]);
    let end = house.end();
    let unknown = said(&now.get(&operation("unheard")), "unheard");
    for write in &writes[..4] {
        let hidden = now.get(&operation(write.0)).refused(404, "not_found");
        assert_eq!(said(&hidden, write.0), unknown);
        let again = send(&now, write);
        match write.0 {
            "batch" => assert_eq!(column(again["results"].as_array().unwrap(), "status"), ["200", "403"]),
            _ => drop(again.refused(403, "forbidden")),
        }
    }
    for write in &writes[4..] {
        let told = now.get(&operation(write.0)).expect(200);
        assert!(!told.text().contains(ELSEWHERE), "{}", told.text());
        let again = send(&now, write);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        assert!(!again.text().contains(ELSEWHERE), "{}", again.text());
    }
    assert_eq!(house.end(), end);
    // A key is its principal's own: to anybody else it says nothing.
    house.clerk().get(&operation("near")).refused(404, "not_found");
    house.admin.get(&operation("near")).refused(404, "not_found");
}

#[test]
fn a_key_that_does_not_fit_is_refused_before_a_store_that_is_not_the_callers() {
    let (_house, clerk) = with_carts();
    let path = format!("{}/adjust", at_in(ELSEWHERE, "A"));
    let unfit = [("idempotency-key", "a b")];
    clerk
        .post_with(&path, &unfit, json!({"delta": 1}))
        .refused(400, "invalid_request");
    clerk
        .post_with(&path, &[("if-match", "7")], json!({"delta": 1}))
        .refused(400, "invalid_request");
    clerk
        .post("/api/reservations/wide/commit", json!({"lines": []}))
        .refused(400, "invalid_request");
}

#[test]
fn a_count_of_another_day_is_refused_for_its_form_before_it_is_asked_who_may_count() {
    let house = House::open();
    let clerk = house.clerk();
    stock(&house.admin, ELSEWHERE, "A", 10);
    let used = [("idempotency-key", "used")];
    clerk
        .put_with(&at_in(HERE, "B"), &used, json!({"quantity": 1}))
        .expect(201);
    let end = house.end();
    for time in [from_now(60_000), from_now(-25 * 3_600_000)] {
        let count = json!({"sku": "A", "storeId": ELSEWHERE, "quantity": 5, "countedAt": time});
        let single = json!({"quantity": 5, "countedAt": time});
        let on_item = json!({"quantity": 5, "countedAt": time, "storeId": ELSEWHERE});
        let mut operation = count.clone();
        operation["op"] = json!("set");
        for headers in [&[][..], &[("idempotency-key", "new")], &used] {
            let refused = |answer: Answer, field: &str| {
                assert_eq!(
                    answer.refused(400, "invalid_request").fields(),
                    [field],
                    "{time} {headers:?}"
                );
            };
            refused(
                clerk.put_with(&at_in(ELSEWHERE, "A"), headers, single.clone()),
                "countedAt",
            );
            let quantity = format!("{}/quantity", item("A"));
            refused(clerk.put_with(&quantity, headers, on_item.clone()), "countedAt");
            refused(
                clerk.post_with("/api/sync/push", headers, json!([count])),
                "[0].countedAt",
            );
            let atomic = json!({"operations": [operation], "atomic": true});
            refused(clerk.post_with("/api/inventory/batch", headers, atomic), "countedAt");
        }
        let each = json!({"operations": [operation]});
        let answer = clerk.post("/api/inventory/batch", each).expect(200);
        assert_eq!(answer["results"][0]["status"], 400, "{}", answer.text());
    }
    assert_eq!(house.end(), end);
}
