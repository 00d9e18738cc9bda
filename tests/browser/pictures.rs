//! The pictures that the README shows: a shop in the middle of its day. They are left in `target/screenshots`; `run.md` says
//! how they get from there into the README.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::client::{Client, at_in};
use crate::driver::Browser;
use crate::service::{GOODS, STORES, encoded, hold, stock, url};
use crate::support::TestApp;
use crate::support::clock::Clockwork;

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn pictures_of_a_busy_day() {
    let Some(clock) = Clockwork::new() else { return };
    let mut app = clock.start();
    stock(&app);
    // What was sold hours ago, so that it is known how fast things sell.
    (0..3).for_each(|round| trade(&app, round));
    assert!(app.terminate().success());
    clock.set(3 * 3600);
    let app = clock.start();
    let browser = Browser::open(1440, 1180);
    browser.go(&url(&app));
    for round in 0..40 {
        trade(&app, round);
        sleep(Duration::from_millis(300));
    }
    browser.shows("#verdict", "Healthy.");
    browser.picture("readme-light");
    browser.prefer("prefers-color-scheme", "dark");
    trade(&app, 40);
    sleep(Duration::from_secs(1));
    browser.picture("readme-dark");
    browser.prefer("prefers-color-scheme", "light");
    browser.resize(360, 780);
    trade(&app, 41);
    sleep(Duration::from_secs(1));
    browser.picture("readme-phone");
    browser.resize(1440, 1000);
    browser.go(&format!("{}#/item/22423", url(&app)));
    browser.shows("#item-levels tbody", "london");
    sleep(Duration::from_secs(1));
    browser.picture("readme-item");
}

/// What some customers do, and one of them asks for too much.
fn trade(app: &TestApp, round: usize) {
    for i in 0..12 {
        let chosen = (round * 7 + i * i) % GOODS.len();
        let (sku, store) = (GOODS[chosen].0, STORES[(round + i) % 3]);
        let level = at_in(store, &encoded(sku));
        let quantity = 1 + (round + i) % 4;
        app.post(
            &format!("{level}/adjust"),
            json!({"delta": -(quantity as i64), "type": "SALE"}),
        );
        app.get(&level);
    }
    let (first, second) = (GOODS[round % 10].0, GOODS[(round + 3) % 10].0);
    if round.is_multiple_of(3) {
        let lines = json!([
            {"sku": first, "storeId": STORES[round % 3], "quantity": 1 + round % 2},
            {"sku": second, "storeId": STORES[(round + 1) % 3], "quantity": 1},
        ]);
        let cart =
            json!({"lines": lines, "ttlSeconds": 240 + 31 * round, "reference": format!("order-{}", 4711 + round)});
        app.post("/api/reservations", cart);
    }
    if round.is_multiple_of(9) {
        let lines = json!([{"sku": first, "storeId": STORES[2], "quantity": 2}]);
        hold(app, &format!("till-{}", 1 + round % 4), lines, 45 + 20 * round as u64);
    }
    let level = at_in(STORES[round % 3], &encoded(second));
    app.post(&format!("{level}/adjust"), json!({"delta": -90_000, "type": "SALE"}));
    if round.is_multiple_of(5) {
        app.post(&format!("{level}/adjust"), json!({"delta": 40, "type": "STOCK_IN"}));
    }
    if round.is_multiple_of(7) {
        app.post(&format!("{level}/adjust"), json!({"delta": 1, "type": "RETURN"}));
    }
}
