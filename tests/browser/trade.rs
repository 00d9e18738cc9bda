//! What happens to the service is seen: stock that moves, holds, a search, the sync, and a service that dies.

use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use crate::client::{Client, at_in};
use crate::driver::{Browser, ENTER};
use crate::service::{GOODS, STORES, encoded, hold, path, stock, url};
use crate::support::TestApp;
use crate::support::clock::Clockwork;

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn what_others_reserve_and_sell_shows_within_two_seconds() {
    let app = TestApp::start();
    stock(&app);
    let patience = Duration::from_secs(2);
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    browser.shows("#held .empty", "Nothing is held.");
    browser.shows("#pulse", "live");
    let asked = Instant::now();
    hold(
        &app,
        "order-7",
        json!([{"sku": "22423", "storeId": "paris", "quantity": 3}]),
        600,
    );
    browser.shows_within(patience, "#held tbody", "order-7");
    assert!(asked.elapsed() < patience, "{:?}", asked.elapsed());
    browser.shows("#held-sum", "1 open hold: 3 pieces.");
    let row = browser.text("#held tbody");
    assert!(
        row.contains("22423 in paris") && (row.contains("9 min 5") || row.contains("10 min 0 s")),
        "{row}"
    );

    app.post(
        &format!("{}/adjust", at_in("paris", "22423")),
        json!({"delta": -2, "type": "SALE"}),
    )
    .expect(200);
    browser.shows_within(patience, "#movements tbody tr:first-child", "Sale");
    let row = browser.text("#movements tbody tr:first-child");
    assert!(row.contains("22423") && row.contains("−2"), "{row}");

    browser.go(&format!("{}#/item/22423", url(&app)));
    browser.shows("#item-holds tbody", "order-7");
    app.post(
        &format!("{}/adjust", at_in("london", "22423")),
        json!({"delta": 100_000}),
    )
    .expect(200);
    browser.shows_within(patience, "#item-levels tbody", "102,137");
    browser.shows("#item-history .key", "On hand");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn who_is_turned_away_for_want_of_stock_is_told_of_in_the_first_lines() {
    let app = TestApp::start();
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    browser.shows(
        "#turned-away",
        "Nobody was turned away for want of stock since counting began",
    );
    let level = || browser.run("return document.getElementById('turned-away').dataset.level");
    assert_eq!(level(), "");
    let one = json!({"delta": -1, "type": "SALE"});
    for (store, sku) in [("paris", "84879"), ("paris", "84879"), ("london", "84879")] {
        app.post(&format!("{}/adjust", at_in(store, sku)), one.clone());
    }
    app.post(
        &format!("{}/adjust", at_in("paris", "22423")),
        json!({"delta": -90_000, "type": "SALE"}),
    )
    .refused(409, "insufficient_stock");
    browser.shows_within(
        Duration::from_secs(5),
        "#turned-away",
        "Turned away for want of stock: 3 in the last",
    );
    assert_eq!(level(), "warn");
    browser.shows(
        "#turned-away",
        "Of what is to be reordered, sold out and asked for most: 84879 (paris).",
    );
    assert!(!browser.text("#turned-away").contains("22423"), "that is not sold out");
    browser.shows("#verdict", "Healthy.");
    // What came before the page was opened is not said to be of the last minutes.
    browser.reload();
    browser.shows("#turned-away", "none in the last");
    browser.shows("#turned-away", ", 3 since counting began");
    assert_eq!(level(), "");
    browser.click("#runs-out tbody a");
    browser.shows("#item-title", "84879");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn what_is_to_be_reordered_is_counted_alike_wherever_it_stands() {
    let app = TestApp::start();
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    browser.shows("#runs-out-sum", "3 items to reorder, at 7 levels; 1 with nothing left.");
    browser.shows("#figures", "Items to reorder");
    let tile = "return [...document.querySelectorAll('#figures div')]
        .find((figure) => figure.innerText.includes('Items to reorder')).querySelector('dd').textContent";
    assert_eq!(browser.run(tile), "3");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn how_long_the_stock_lasts_is_told_once_it_was_observed_and_at_what_rate() {
    let Some(clock) = Clockwork::new() else { return };
    let app = clock.start();
    stock(&app);
    let sell = |store: &str, sku: &str, units: i64| {
        let sale = json!({"delta": -units, "type": "SALE"});
        app.post(&format!("{}/adjust", at_in(store, sku)), sale).expect(200);
    };
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let into_the_hour = i64::try_from(since_epoch.as_secs() % 3600).unwrap();
    sell("london", "22086", 2);
    sell("london", "20725", 1);
    for (store, all) in [("london", 7), ("paris", 8), ("berlin", 9)] {
        sell(store, "21212", all);
    }
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    let lasts = |sku: &str| browser.text(&format!("#sells tbody tr[data-key='{sku}'] td:last-child"));
    browser.shows("#sells tbody", "too early to tell");
    assert_eq!((&*lasts("22086"), &*lasts("21212")), ("too early to tell", "none left"));
    clock.set(3 * 3600 - into_the_hour + 1);
    sell("berlin", "22086", 6);
    sell("paris", "22086", 6);
    // Six an hour, and ten are left.
    browser.shows("#sells tbody", "at the rate of the last 2 h");
    assert_eq!(lasts("22086"), "1 hour\nat the rate of the last 2 h");
    assert_eq!(lasts("20725"), "–\nno net sales in the last 2 h");
    assert_eq!(lasts("21212"), "none left");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn all_that_is_shown_of_an_item_is_of_one_reading() {
    let app = TestApp::start();
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.go(&format!("{}#/item/22423", url(&app)));
    browser.shows("#item-history .key", "On hand");
    // On hand as the header, the levels, the chart, and the newest movement of a store have it.
    let script = "
        const number = (text) => Number(text.replaceAll(',', ''));
        const rows = [...document.querySelectorAll('#item-levels tbody tr')];
        const moved = document.querySelector('#item-movements tbody tr').cells;
        const level = rows.find((row) => row.cells[0].textContent === moved[2].textContent);
        return [
            number(document.querySelector('#item-figures dd').textContent),
            rows.reduce((sum, row) => sum + number(row.cells[1].textContent), 0),
            number(document.querySelector('#item-history .key strong').textContent),
            number(level.cells[1].textContent) - number(moved[4].textContent)]";
    let mut seen = std::collections::BTreeSet::new();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(8) {
        for store in STORES {
            let sale = json!({"delta": -1, "type": "SALE"});
            app.post(&format!("{}/adjust", at_in(store, "22423")), sale).expect(200);
        }
        let found = browser.run(script);
        assert_eq!(found, json!([found[0], found[0], found[0], 0]));
        seen.insert(found[0].as_u64().unwrap());
    }
    assert!(seen.len() >= 4, "it stands still: {seen:?}");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn a_hold_counts_down_and_goes_when_it_is_over() {
    let app = TestApp::start();
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    hold(
        &app,
        "short",
        json!([{"sku": "47566", "storeId": "berlin", "quantity": 1}]),
        12,
    );
    browser.shows("#held tbody", "short");
    let seconds = || {
        let row = browser.text("#held tbody td:last-child");
        row.strip_suffix(" s").and_then(|seconds| seconds.parse::<u32>().ok())
    };
    let before = seconds().unwrap();
    browser.comes_true(Duration::from_secs(4), "it does not count down", || {
        seconds().is_some_and(|now| now < before)
    });
    browser.shows_within(Duration::from_secs(20), "#held .empty", "Nothing is held.");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn an_item_is_found_whatever_its_sku_and_name_hold() {
    let app = TestApp::start();
    stock(&app);
    let hostile = "<img src=x onerror=alert(1)>";
    let name = "\"><script>document.title='owned'</script>";
    app.post(
        "/api/inventory/items",
        json!({"sku": hostile, "name": name, "quantity": 3, "storeId": "<b>s</b>"}),
    )
    .expect(201);
    app.put(
        &path("<b>s</b>", hostile),
        json!({"quantity": 4, "reorderPoint": 9, "note": name}),
    )
    .expect(200);
    hold(
        &app,
        "<i>mine</i>",
        json!([{"sku": hostile, "storeId": "<b>s</b>", "quantity": 1}]),
        600,
    );
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    browser.shows("#runs-out tbody", hostile);
    browser.shows("#held tbody", "<i>mine</i>");
    browser.shows("#movements tbody", "<b>s</b>");
    browser.fill("#words", "<img");
    browser.shows("#found-list", hostile);
    browser.press(&[ENTER]);
    browser.shows("#item-title", hostile);
    browser.shows("#item-about", name);
    browser.shows("#item-levels tbody", "<b>s</b>");
    let made = "return document.querySelectorAll('img, b, main i:not([class]), main script').length";
    assert_eq!(browser.run(made), 0);
    assert_eq!(browser.run("return document.title"), "Holdfast");

    for (sku, _) in [GOODS[10], GOODS[11]] {
        browser.go(&format!("{}#/item/{}", url(&app), encoded(sku)));
        browser.shows("#item-title", sku);
        browser.shows("#item-levels tbody", "berlin");
        browser.go(&format!("{}#/", url(&app)));
        browser.fill("#words", sku);
        browser.shows("#found-list", sku);
        browser.click("#found-list a");
        browser.shows("#item-title", sku);
        browser.shows("#item-levels tbody", "berlin");
    }
    browser.fill("#words", "gläser");
    browser.shows("#found-list", "AB/12");
    browser.fill("#words", "no such thing");
    browser.shows("#found-note", "No item begins with or is called");
    browser.go(&format!("{}#/item/NONE", url(&app)));
    browser.shows("#item-note", "There is no item of this SKU");
    assert!(!browser.is_shown("#item-body"));
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn the_sync_is_run_started_and_stopped_from_here() {
    let app = TestApp::start();
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    browser.shows("#sync-sum", "Runs every");
    browser.click("#sync-stop");
    browser.shows("#sync-note", "The sync is stopped.");
    browser.shows("#sync-sum", "Stopped");
    browser.shows("#verdict", "The sync is stopped");
    assert_eq!(app.get("/api/sync/status").expect(200)["running"], false);
    // The schedule is an event of the log, too.
    browser.click("#sync-run");
    browser.shows("#sync-sum", "nothing behind");
    hold(
        &app,
        "order-8",
        json!([{"sku": "22423", "storeId": "paris", "quantity": 5}]),
        600,
    );
    browser.shows("#sync-sum", "1 event behind");
    browser.click("#sync-run");
    browser.shows("#sync-note", "The sync ran in");
    browser.shows("#sync-sum", "nothing behind");
    browser.shows("#stores tbody", "paris");
    browser.fill("#sync-seconds", "0.01");
    browser.click("#sync-start");
    browser.shows("#sync-note", "every 0.1 seconds at most");
    browser.fill("#sync-seconds", "0.5");
    browser.click("#sync-start");
    browser.shows("#sync-sum", "Runs every 500 ms");
    let status = app.get("/api/sync/status").expect(200);
    assert_eq!((&status["running"], &status["intervalMs"]), (&json!(true), &json!(500)));
    browser.shows("#verdict", "Healthy.");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn a_service_that_dies_is_seen_to_be_gone_and_its_return_needs_no_reload() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    browser.shows("#verdict", "Healthy.");
    browser.shows("#movements tbody", "AB/12");
    browser.run("window.isTheSamePage = true");
    app.kill();
    browser.shows_within(Duration::from_secs(5), "#banner", "The service does not answer.");
    browser.shows_within(Duration::from_secs(5), "#banner", "last seen");
    browser.shows("#verdict", "Broken. The service does not answer.");
    for card in ["#movements", "#held", "#runs-out"] {
        browser.shows(&format!("{card} .asof"), "stale: as of");
        let state = browser.run(&format!("return document.querySelector('{card}').dataset.state"));
        assert_eq!(state, "stale", "{card}");
    }
    // What was known is still to be read.
    browser.shows("#movements tbody", "AB/12");
    browser.picture("stale");

    let app = TestApp::start_in(folder.path(), app.port, &[]);
    browser.shows_within(Duration::from_secs(6), "#verdict", "Healthy.");
    assert!(!browser.is_shown("#banner"));
    app.post(&format!("{}/adjust", at_in("paris", "22423")), json!({"delta": -1}))
        .expect(200);
    browser.shows("#movements tbody tr:first-child", "Manual remove");
    browser.comes_true(Duration::from_secs(15), "something is still stale", || {
        browser.run("return document.querySelectorAll('[data-state=stale]').length") == 0
    });
    browser.shows("#pulse", "live");
    assert_eq!(browser.run("return window.isTheSamePage"), true);
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn a_service_that_refuses_writes_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let app = TestApp::start_in(folder.path(), 0, &[]);
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    browser.shows("#verdict", "Healthy.");
    // The heartbeat is answered as by a service whose disk is full.
    browser.run(
        "const real = window.fetch;
         window.fetch = (url, options) => url === '/api/health/ready'
             ? Promise.resolve(new Response(JSON.stringify({status: 'unavailable', reasons: ['the log has no room']}),
                 {status: 503, headers: {'Content-Type': 'application/json'}}))
             : real(url, options)",
    );
    browser.shows("#verdict", "Broken. No writes are taken: the log has no room.");
    assert!(!browser.is_shown("#banner"), "it does answer");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn a_hidden_page_asks_nothing_and_goes_on_when_it_is_shown() {
    let app = TestApp::start();
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    browser.shows("#verdict", "Healthy.");
    hide(&browser, true);
    std::thread::sleep(Duration::from_secs(2));
    browser.requests();
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(browser.requests(), Vec::<String>::new());
    hold(
        &app,
        "meanwhile",
        json!([{"sku": "22423", "storeId": "paris", "quantity": 3}]),
        600,
    );
    hide(&browser, false);
    browser.shows("#held tbody", "meanwhile");
}

fn hide(browser: &Browser, is_hidden: bool) {
    browser.run(&format!(
        "Object.defineProperty(document, 'hidden', {{configurable: true, value: {is_hidden}}});
         document.dispatchEvent(new Event('visibilitychange'))"
    ));
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn however_much_is_sold_a_page_asks_seldom_and_at_once_when_it_is_shown() {
    let app = TestApp::start();
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    browser.shows("#pulse", "live");
    browser.shows("#movements tbody", "AB/12");
    let level = at_in("paris", "22423");
    let asked_while_selling = |time: Duration| {
        browser.requests();
        let begun = Instant::now();
        while begun.elapsed() < time {
            app.post(&format!("{level}/adjust"), json!({"delta": -1, "type": "SALE"}))
                .expect(200);
            std::thread::sleep(Duration::from_millis(50));
        }
        let asked = browser.requests();
        move |path: &str| asked.iter().filter(|url| url.contains(path)).count()
    };
    let asked = asked_while_selling(Duration::from_secs(9));
    assert!(
        (1..=2).contains(&asked("/api/analytics/sales")),
        "{}",
        asked("/api/analytics/sales")
    );
    assert!((2..=4).contains(&asked("lowStock")), "{}", asked("lowStock"));
    assert!(
        (5..=10).contains(&asked("/api/movements")),
        "{}",
        asked("/api/movements")
    );
    browser.shows("#sells tbody", "22423");

    browser.go(&format!("{}#/item/22423", url(&app)));
    browser.shows("#item-history .key", "On hand");
    let asked = asked_while_selling(Duration::from_secs(6));
    let whole = asked("/api/movements?sku=22423&limit=1000");
    assert_eq!(whole, 0, "all of its history was asked for again");
    let looks = asked("/api/movements?sku=22423&limit=200");
    assert!((3..=7).contains(&looks), "{looks}");

    hide(&browser, true);
    browser.requests();
    hide(&browser, false);
    std::thread::sleep(Duration::from_secs(1));
    let asked = browser.requests();
    assert!(
        asked.iter().any(|url| url.contains("/api/analytics/sales")),
        "{asked:?}"
    );
}
