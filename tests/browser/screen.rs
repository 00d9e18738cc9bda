//! How it looks: on a phone, in the dark, and for whoever has no mouse.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Client;
use crate::driver::{Browser, DOWN, ENTER, ESCAPE, TAB};
use crate::service::{self, hold, stock, url};
use crate::support::TestApp;

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn the_page_asks_nobody_else_and_the_console_has_nothing_to_complain_about() {
    let app = TestApp::start();
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    browser.shows("#verdict", "Healthy.");
    browser.shows("#movements tbody", "AB/12");
    browser.go(&format!("{}#/item/85123A", url(&app)));
    browser.shows("#item-levels tbody", "london");
    browser.comes_true(Duration::from_secs(5), "the history has no chart", || {
        browser.run("return document.querySelectorAll('#item-history canvas').length") == 1
    });
    let requests = browser.requests();
    assert!(requests.len() > 20, "{requests:?}");
    for request in &requests {
        let is_own = request.starts_with(&url(&app)) || request.starts_with("data:image/svg+xml,");
        assert!(is_own, "it asks {request}");
    }
    assert_eq!(browser.errors(), Vec::<String>::new());
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn at_360_pixels_nothing_is_cut_off_and_nothing_scrolls_sideways() {
    let app = TestApp::start();
    stock(&app);
    let longest = "W".repeat(64);
    app.put(
        &service::path(&"M".repeat(64), &longest),
        json!({"quantity": 3, "reorderPoint": 5}),
    )
    .expect(201);
    let lines = json!([{"sku": longest, "storeId": "M".repeat(64), "quantity": 1}]);
    hold(&app, &"R".repeat(60), lines, 600);
    let browser = Browser::open(360, 740);
    browser.go(&url(&app));
    browser.shows("#held tbody", "RRR");
    browser.shows("#runs-out tbody", "WWW");
    fits(&browser, "the overview");
    browser.picture("phone-overview");
    browser.fill("#words", "WWW");
    browser.shows("#found-list", "WWW");
    fits(&browser, "the search");
    browser.go(&format!("{}#/item/{longest}", url(&app)));
    browser.shows("#item-levels tbody", "MMM");
    fits(&browser, "an item");
    browser.picture("phone-item");

    let guarded = TestApp::start_guarded(&[]);
    browser.go(&url(&guarded));
    browser.shows("#sign-in", "Password");
    fits(&browser, "the login");
    browser.picture("phone-login");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn no_table_is_wider_than_what_it_is_in() {
    let app = TestApp::start();
    stock(&app);
    let (store, longest) = ("M".repeat(64), "W".repeat(64));
    for (store, sku) in [("london", "22423"), (&*store, &*longest)] {
        let level = service::path(store, sku);
        app.put(&level, json!({"quantity": 3_456_789, "reorderPoint": 2_000_000}));
        app.post(
            &format!("{level}/adjust"),
            json!({"delta": -100_001, "type": "MANUAL_REMOVE"}),
        );
        app.post(&format!("{level}/adjust"), json!({"delta": -100_001, "type": "SALE"}));
        let line = json!({"sku": sku, "storeId": store, "quantity": 1_234_567});
        hold(
            &app,
            &format!("{sku} for a customer"),
            json!([line, {"sku": "22423", "storeId": "paris", "quantity": 1}]),
            3000,
        );
    }
    app.post("/api/sync", json!({})).expect(200);
    let browser = Browser::open(390, 844);
    for width in [360, 390, 768, 1130, 1440] {
        browser.resize(width, 844);
        for view in ["#/".to_owned(), "#/item/22423".to_owned(), format!("#/item/{longest}")] {
            browser.go("about:blank");
            browser.go(&format!("{}{view}", url(&app)));
            let table = if view == "#/" { "#sells" } else { "#item-movements" };
            browser.shows(&format!("{table} tbody"), if view == "#/" { "22423" } else { "Sale" });
            browser.shows(
                if view == "#/" {
                    "#stores tbody"
                } else {
                    "#item-holds tbody"
                },
                if view == "#/" { "london" } else { "for a customer" },
            );
            nothing_is_cut(&browser, &format!("{view} at {width} pixels"));
        }
    }
}

/// No table is wider than the room that it scrolls in, and no cell wider than its place in it.
#[track_caller]
fn nothing_is_cut(browser: &Browser, view: &str) {
    let script = "
        const cut = (room) => [...room.querySelectorAll('table, tr, th, td')].filter((element) => {
            const edge = room.getBoundingClientRect().right + 1;
            const isSeen = !element.closest('.lines thead');
            return isSeen && (element.getBoundingClientRect().right > edge || element.scrollWidth > element.clientWidth + 1);
        });
        const rooms = [...document.querySelectorAll('.scroll')].filter((room) => room.checkVisibility());
        const wide = rooms.filter((room) => room.scrollWidth > room.clientWidth);
        const told = (element) => `${element.closest('section').id}: ${element.innerText.slice(0, 40)}`;
        const parts = [...wide, ...rooms.flatMap(cut)].map(told);
        return [rooms.length > 2, parts]";
    let found = browser.run(script);
    if found != json!([true, []]) {
        browser.picture("failed");
    }
    assert_eq!(found, json!([true, []]), "{view}");
}

/// The page is no wider than the screen, and no visible part of it begins or ends beside it, but inside of what scrolls.
#[track_caller]
fn fits(browser: &Browser, view: &str) {
    let script = "
        const width = document.documentElement.clientWidth;
        const scrolls = (element) => element.closest('.scroll, .chart');
        const beside = [...document.body.querySelectorAll('*')].filter((element) => {
            const { left, right, width: own } = element.getBoundingClientRect();
            const isSeen = element.checkVisibility() && own > 1 && !element.matches('.skip, .unseen');
            return isSeen && !scrolls(element.parentElement) && (left < -1 || right > width + 1);
        });
        return [document.documentElement.scrollWidth, width, beside.map((element) => element.outerHTML.slice(0, 120))]";
    let found = browser.run(script);
    assert_eq!(found, json!([360, 360, []]), "{view}");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn it_is_dark_where_the_system_is_and_as_was_chosen_where_something_was() {
    let app = TestApp::start();
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.prefer("prefers-color-scheme", "dark");
    browser.go(&url(&app));
    browser.shows("#verdict", "Healthy.");
    let paper = || browser.run("return getComputedStyle(document.body).backgroundColor");
    let pressed = || browser.run("return document.getElementById('theme').getAttribute('aria-pressed')");
    let (dark, light) = (json!("rgb(15, 19, 23)"), json!("rgb(244, 246, 248)"));
    assert_eq!((paper(), pressed()), (dark.clone(), json!("true")));
    browser.picture("dark-overview");
    browser.click("#theme");
    assert_eq!((paper(), pressed()), (light.clone(), json!("false")));
    browser.reload();
    browser.shows("#verdict", "Healthy.");
    assert_eq!(paper(), light, "it was chosen");
    browser.prefer("prefers-color-scheme", "light");
    browser.run("localStorage.clear()");
    browser.reload();
    browser.prefer("prefers-color-scheme", "dark");
    assert_eq!((paper(), pressed()), (dark, json!("true")), "the system has changed");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn whoever_has_no_mouse_finds_an_item_and_comes_back() {
    let app = TestApp::start();
    stock(&app);
    let browser = Browser::open(1280, 900);
    browser.go(&url(&app));
    browser.shows("#verdict", "Healthy.");
    browser.press(&[TAB]);
    assert_eq!(focus(&browser), "To the content");
    assert!(browser.is_shown(".skip"));
    let outline = browser.run("return getComputedStyle(document.activeElement).outline");
    assert!(
        outline.as_str().unwrap().ends_with("solid 3px"),
        "the focus is not to be seen: {outline}"
    );
    browser.press(&[TAB, TAB]);
    assert_eq!(browser.run("return document.activeElement.id"), "words");
    browser.press(&["r", "e", "g", "e", "n", "c", "y"]);
    browser.shows("#found-list", "22423");
    browser.press(&[ESCAPE]);
    assert!(!browser.is_shown("#found"));
    browser.press(&["2", "2", "4", "2", "3"]);
    browser.shows("#found-note", "1 item");
    browser.press(&[DOWN, ENTER]);
    browser.shows("#item-levels tbody", "paris");
    assert_eq!(focus(&browser), "22423");
    browser.press(&[TAB]);
    browser.run("document.querySelector('#item a').focus()");
    browser.press(&[ENTER]);
    browser.comes_true(Duration::from_secs(3), "the overview is not back", || {
        browser.is_shown("#board")
    });
    assert_eq!(browser.run("return document.activeElement.id"), "main");
}

fn focus(browser: &Browser) -> Value {
    browser.run("return document.activeElement.textContent")
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn whoever_uses_a_table_keeps_the_focus_while_it_changes() {
    let app = TestApp::start();
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    browser.shows("#runs-out tbody", "22086");
    browser.run("[...document.querySelectorAll('#runs-out tbody a')].find((a) => a.textContent === '22086').focus()");
    app.put(&service::path("paris", "47566"), json!({"quantity": 1}))
        .expect(200);
    browser.shows("#runs-out tbody", "47566");
    assert_eq!(focus(&browser), "22086");
    let rows = browser.text("#runs-out tbody");
    assert_eq!(rows.matches("22086").count(), 3, "{rows}");

    hold(
        &app,
        "first",
        json!([{"sku": "20725", "storeId": "paris", "quantity": 1}]),
        500,
    );
    browser.shows("#held tbody", "first");
    browser.run("document.querySelector('#held tbody a').focus()");
    hold(
        &app,
        "before it",
        json!([{"sku": "85123A", "storeId": "paris", "quantity": 1}]),
        400,
    );
    browser.shows("#held tbody tr:first-child", "before it");
    assert_eq!(focus(&browser), "20725");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn everything_has_a_name_for_whoever_does_not_see_it() {
    let app = TestApp::start();
    stock(&app);
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    browser.shows("#verdict", "Healthy.");
    let script = "
        const named = (element) => element.textContent.trim() || element.getAttribute('aria-label')
            || element.labels?.length || document.getElementById(element.getAttribute('aria-labelledby'));
        const controls = 'a, button, input, section, table, [role=region], [role=group]';
        const ids = [...document.querySelectorAll('[id]')].map((element) => element.id);
        const pointers = [...document.querySelectorAll('[aria-labelledby], [aria-describedby]')]
            .map((element) => element.getAttribute('aria-labelledby') ?? element.getAttribute('aria-describedby'));
        return {
            nameless: [...document.querySelectorAll(controls)].filter((element) => !named(element)).map((e) => e.outerHTML),
            twice: ids.filter((id, place) => ids.indexOf(id) !== place),
            astray: pointers.filter((id) => !document.getElementById(id)),
            captions: [...document.querySelectorAll('table')].every((table) => table.caption?.textContent),
            heads: [...document.querySelectorAll('thead th')].every((th) => th.scope === 'col' && th.textContent),
            main: document.querySelectorAll('main').length,
            lang: document.documentElement.lang,
        }";
    let expected = json!({
        "nameless": [], "twice": [], "astray": [], "captions": true, "heads": true, "main": 1, "lang": "en",
    });
    assert_eq!(browser.run(script), expected);
}
