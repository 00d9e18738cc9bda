//! Which names a SKU and a store may have, and how they travel in a path.

use serde_json::{Value, json};

use crate::client::{Client, at, at_in};
use crate::support::TestApp;

#[test]
fn a_name_that_real_stock_has_is_taken_and_its_location_leads_to_it() {
    let app = TestApp::start();
    let four_bytes = "\u{1F600}".repeat(64);
    let longest = "x".repeat(64);
    let names = [
        ("85123A", "85123A"),
        ("85123a", "85123a"),
        ("BANK%20CHARGES", "BANK CHARGES"),
        ("AB%2F12", "AB/12"),
        ("AB%2f%2e%2e%2f12", "AB/../12"),
        ("%2F", "/"),
        ("a+b", "a+b"),
        ("a%2Bb%2B", "a+b+"),
        ("a%26b%3Dc%3Fd%23e", "a&b=c?d#e"),
        ("100%25", "100%"),
        ("%2525", "%25"),
        ("...", "..."),
        (".a", ".a"),
        ("a.", "a."),
        ("a;b,c:d@e!$'()*", "a;b,c:d@e!$'()*"),
        ("%22%5C%3C%3E", "\"\\<>"),
        ("Gr%C3%B6%C3%9Fe", "Größe"),
        ("%E5%90%8D", "名"),
        ("%C3%A9", "\u{e9}"),
        ("e%CC%81", "e\u{301}"),
        ("adjust", "adjust"),
        ("a%C2%A0b", "a\u{a0}b"),
        (&*longest, &*longest),
        (&*"%F0%9F%98%80".repeat(64), &*four_bytes),
    ]
    .map(|(encoded, name)| (encoded.to_owned(), name.to_owned()));
    for (encoded, name) in &names {
        let made = app.put(&at_in(encoded, encoded), json!({"quantity": 1})).expect(201);
        assert_eq!(
            (&made["sku"], &made["storeId"]),
            (&json!(name), &json!(name)),
            "{encoded}"
        );
        let location = made.header("location").unwrap();
        let found = app.get(location).expect(200);
        assert_eq!((&found["sku"], found.state()), (&json!(name), (1, 0, 1)), "{location}");
        app.post(&format!("{location}/adjust"), json!({"delta": 1})).expect(200);
        let list = app
            .get(&format!("/api/inventory/stores/{encoded}/inventory"))
            .expect(200);
        assert_eq!(list["items"].as_array().unwrap().len(), 1, "{encoded}");
    }
}

#[test]
fn an_encoded_name_is_the_same_however_it_is_encoded() {
    let app = TestApp::start();
    app.put(&at("AB%2F12~a"), json!({"quantity": 7})).expect(201);
    for same in ["AB%2f12~a", "%41%42%2F12%7Ea", "AB%2F%31%32%7e%61"] {
        assert_eq!(app.state(same), (7, 0, 1), "{same}");
    }
    app.get(&at("AB/12~a")).refused(404, "not_found");
    app.get(&at("ab%2F12~a")).refused(404, "not_found");
    app.get(&at("AB%252F12~a")).refused(404, "not_found");
}

#[test]
fn a_name_that_would_confuse_is_refused_in_every_place() {
    let app = TestApp::start();
    let wrong = [
        ".",
        "..",
        "%2e",
        "%2e%2e",
        ".%2E",
        "%00",
        "a%00",
        "a%0Ab",
        "a%0D%0Ab",
        "%7F",
        "a%09b",
        "%1B%5B31m",
        "%20a",
        "a%20",
        "%20",
        "a%E3%80%80",
        "%C2%A0a",
        "%C2%85",
        "a%E2%80%8Bb",
        "a%E2%80%AEb",
        "a%E2%80%A8b",
        "a%E2%80%A9b",
        "%EF%BB%BFa",
        "%EE%80%80",
        "%CD%B8",
        "%FF",
        "a%C3",
        "%C0%AF",
        "%ED%A0%80",
        &"x".repeat(65),
        &"%C3%B6".repeat(65),
    ];
    for name in wrong {
        for (path, field) in [(at(name), "sku"), (at_in(name, "A"), "storeId")] {
            for answer in [
                app.send_raw("PUT", &path, r#"{"quantity":1}"#),
                app.send_raw("POST", &format!("{path}/adjust"), r#"{"delta":1}"#),
                app.send_raw("GET", &path, ""),
            ] {
                assert_eq!(answer.status, 400, "{name}: {}", answer.text());
                assert_eq!(answer.refused(400, "invalid_request").fields(), [field], "{name}");
            }
        }
        let list = app.send_raw("GET", &format!("/api/inventory/stores/{name}/inventory"), "");
        assert_eq!(list.refused(400, "invalid_request").fields(), ["storeId"], "{name}");
    }
    assert_eq!(
        app.get("/api/inventory/stores/s1/inventory").expect(200)["items"],
        Value::Array(vec![])
    );
    assert_eq!(app.put(&at("A"), json!({"quantity": 1})).expect(201)["seq"], 1);
}

#[test]
fn a_path_is_taken_as_it_was_sent() {
    let app = TestApp::start();
    app.stock("A", 1);
    for target in [
        "/api/inventory/stores/s1/inventory//A",
        "/api/inventory/stores//inventory/A",
        "//api/inventory/stores/s1/inventory/A",
        "/api//inventory/stores/s1/inventory/A",
        "/api/inventory/stores/s1/inventory/A/",
        "/api/inventory/stores/s1/inventory/",
        "/api/inventory/stores/s1/x/../inventory/A",
        "/api/inventory/stores/s1/inventory/B/../A",
        "/api/inventory/stores/s1/inventory/%2e%2e/inventory/A",
        "/api/inventory/stores/s1/inventory%2FA",
        "/API/inventory/stores/s1/inventory/A",
        "/api/inventory/stores/s1/inventory/A/Adjust",
    ] {
        for (method, body) in [("GET", ""), ("PUT", r#"{"quantity":9}"#), ("POST", r#"{"delta":9}"#)] {
            let answer = app.send_raw(method, target, body);
            assert!(
                [400, 404, 405].contains(&answer.status),
                "{method} {target}: {}",
                answer.text()
            );
            answer.is_a_problem();
        }
    }
    assert_eq!(app.state("A"), (1, 0, 1));
    assert_eq!(app.put(&at("B"), json!({"quantity": 1})).expect(201)["seq"], 2);
}

#[test]
fn bytes_in_a_path_that_are_no_text_are_refused_and_the_service_lives() {
    let app = TestApp::start();
    for path in [&b"\xff"[..], b"\xc3", b"a\x00b", b"a b", b"\x7f"] {
        let target = [b"GET /api/inventory/stores/s1/inventory/".as_slice(), path].concat();
        let request = [
            &target,
            &b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"[..],
        ]
        .concat();
        assert_eq!(app.send_bytes(&request).status, 400, "{path:?}");
    }
    app.get("/api/health").expect(200);
}
