//! Who signs in, and what they are shown.

use std::time::Duration;

use serde_json::json;

use crate::driver::{Browser, ENTER};
use crate::service::{PASSWORD, Staff, url};
use crate::support::TestApp;

fn guarded() -> TestApp {
    let app = TestApp::start_guarded(&[]);
    let staff = Staff::hire(&app);
    staff.add(&app, "vera", "viewer");
    staff.add(&app, "otto", "operator");
    staff.count(&app, "85123A", 40);
    app
}

fn sign_in(browser: &Browser, name: &str, password: &str) {
    browser.shows("#sign-in", "User name");
    browser.fill("#username", name);
    browser.fill("#password", password);
    browser.press(&[ENTER]);
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn nobody_sees_anything_before_they_have_signed_in() {
    let app = guarded();
    let browser = Browser::open(1280, 900);
    browser.go(&format!("{}#/item/85123A", url(&app)));
    browser.shows("#sign-in", "User name");
    assert!(!browser.is_shown("#board") && !browser.is_shown("#item"));
    assert_eq!(browser.run("return document.activeElement.id"), "username");
    browser.picture("login");

    sign_in(&browser, "vera", "not her password");
    browser.shows("#login-error", "There is no such user with this password.");
    let announced = browser.run("return document.getElementById('login-error').getAttribute('aria-live')");
    assert_eq!(announced, "assertive");
    assert_eq!(browser.run("return document.activeElement.id"), "password");
    assert!(!browser.is_shown("#item"));

    sign_in(&browser, "vera", PASSWORD);
    browser.shows("#user", "vera, viewer");
    browser.shows("#item-levels tbody", "s1");
    assert_eq!(browser.run("return document.getElementById('password').value"), "");

    browser.reload();
    browser.shows("#item-levels tbody", "s1");
    let kept = browser.run("return [Object.keys(localStorage), document.cookie, Object.keys(sessionStorage)]");
    assert_eq!(kept, json!([[], "", ["holdfast.session"]]));

    browser.click("#sign-out");
    browser.shows("#sign-in", "User name");
    browser.comes_true(Duration::from_secs(3), "something is left of who was here", || {
        let left = browser.run("return [sessionStorage.length, document.querySelectorAll('main tbody tr').length]");
        left == json!([0, 0])
    });
    browser.reload();
    browser.shows("#sign-in", "User name");
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn a_token_that_is_good_no_more_leads_to_the_login() {
    let app = guarded();
    let browser = Browser::open(1280, 900);
    browser.go(&url(&app));
    sign_in(&browser, "vera", PASSWORD);
    browser.shows("#verdict", "Healthy.");
    browser.run(
        "const kept = JSON.parse(sessionStorage.getItem('holdfast.session'));
         sessionStorage.setItem('holdfast.session', JSON.stringify({...kept, token: kept.token.slice(0, -4) + 'AAAA'}))",
    );
    browser.reload();
    browser.shows("#sign-in", "User name");
    assert_eq!(browser.run("return sessionStorage.length"), 0);
}

#[test]
#[ignore = "needs Chromium; `.ci/run` runs it"]
fn a_viewer_is_shown_no_button_that_an_operator_has() {
    let app = guarded();
    let browser = Browser::open(1440, 1000);
    browser.go(&url(&app));
    sign_in(&browser, "vera", PASSWORD);
    browser.shows("#movements tbody", "85123A");
    let buttons = || {
        let script =
            "return [...document.querySelectorAll('main button')].filter((one) => one.checkVisibility()).length";
        browser.run(script).as_u64().unwrap()
    };
    browser.shows("#sync-sum", "Runs every");
    assert_eq!(buttons(), 0);
    assert!(!browser.is_shown("#imports"));

    browser.click("#sign-out");
    sign_in(&browser, "otto", PASSWORD);
    browser.shows("#user", "otto, operator");
    browser.shows("#sync-buttons", "Sync now");
    assert_eq!(buttons(), 3);
    browser.shows("#imports .empty", "There were no imports.");
}
