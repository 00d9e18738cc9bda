//! What is not well-formed is refused by name, and changes nothing.

use std::io::{BufRead, Write};
use std::net::Shutdown;
use std::time::Duration;

use serde_json::json;

use crate::client::{Answer, Client, JSON, at, read_answer};
use crate::support::TestApp;

const MIB: usize = 1 << 20;

/// The four writes: method, path behind the level's, a whole body, and the number that it needs.
const WRITES: [(&str, &str, &str, &str); 4] = [
    ("PUT", "", r#"{"quantity":3}"#, "quantity"),
    ("POST", "/adjust", r#"{"delta":3}"#, "delta"),
    ("POST", "/reserve", r#"{"quantity":3}"#, "quantity"),
    ("POST", "/release", r#"{"quantity":3}"#, "quantity"),
];

/// Level A: 10 on hand, 4 reserved, at version 2.
fn app() -> TestApp {
    let app = TestApp::start();
    app.stock("A", 10);
    app.hold("A", 4);
    app
}

fn write(app: &TestApp, method: &str, action: &str, body: &[u8]) -> Answer {
    app.send(method, &format!("{}{action}", at("A")), &[JSON], Some(body))
}

/// The head of a count of level A, without its end.
fn head() -> String {
    format!(
        "PUT {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n",
        at("A")
    )
}

/// Each body is refused by every write, and nothing is changed.
fn refuses(bodies: impl Fn(&str) -> Vec<Vec<u8>>) {
    let app = app();
    for (method, action, _, number) in WRITES {
        for body in bodies(number) {
            let answer = write(&app, method, action, &body);
            let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            assert_eq!(answer.status, 400, "{method} {action} {shown}: {}", answer.text());
            let answer = answer.refused(400, "invalid_request");
            assert_eq!(answer.fields().len(), 1, "{shown}: {}", answer.text());
            assert_eq!(app.state("A"), (10, 4, 2), "{method} {action} {shown}");
        }
    }
}

#[test]
fn a_body_that_is_not_one_json_object_is_refused() {
    refuses(|number| {
        let whole = format!("{{\"{number}\":3}}");
        let bodies = [
            String::new(),
            " ".into(),
            "x".into(),
            "null".into(),
            "true".into(),
            "3".into(),
            "\"3\"".into(),
            "[]".into(),
            "[3]".into(),
            format!("[{whole}]"),
            "{".into(),
            whole[..whole.len() - 1].into(),
            format!("{whole}}}"),
            format!("{whole} {whole}"),
            format!("{whole}\0"),
            format!("{whole},"),
            format!("\u{feff}{whole}"),
            format!("\u{c}{whole}"),
            format!("{{\"{number}\":3,}}"),
            format!("{{\"{number}\" 3}}"),
            format!("{{'{number}':3}}"),
            format!("{{{number}:3}}"),
            format!("{{\"{number}\":3 /* three */}}"),
            format!("{number}=3"),
        ];
        let not_utf8 = [format!("{{\"{number}\":3,\"note\":\"").as_bytes(), b"\xff\"}"].concat();
        bodies.into_iter().map(String::into_bytes).chain([not_utf8]).collect()
    });
}

#[test]
fn a_number_that_is_no_whole_number_in_range_is_refused() {
    refuses(|number| {
        let wrong = [
            "\"5\"",
            "\"\"",
            "1.5",
            "3.0",
            "0.5e1",
            "1e400",
            "-1e400",
            "1e-400",
            "9007199254740992",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "-9007199254740992",
            "-9223372036854775809",
            "NaN",
            "Infinity",
            "-Infinity",
            "0x10",
            "010",
            "+5",
            "5.",
            ".5",
            "- 5",
            "1_000",
            "null",
            "true",
            "[5]",
            "{\"value\":5}",
            "\"NaN\"",
        ];
        wrong
            .iter()
            .map(|value| format!("{{\"{number}\":{value}}}").into_bytes())
            .collect()
    });
}

#[test]
fn a_negative_quantity_is_refused() {
    let app = app();
    for (method, action, _, number) in WRITES.iter().filter(|(.., number)| *number == "quantity") {
        let answer = write(&app, method, action, format!("{{\"{number}\":-1}}").as_bytes());
        assert_eq!(answer.refused(400, "invalid_request").fields(), ["quantity"]);
    }
    let answer = write(&app, "POST", "/adjust", b"{\"delta\":0}");
    assert_eq!(answer.refused(400, "invalid_request").fields(), ["delta"]);
    assert_eq!(app.state("A"), (10, 4, 2));
}

#[test]
fn a_member_that_is_unknown_or_misspelt_or_there_twice_is_refused_by_name() {
    let app = app();
    for (method, action, whole, number) in WRITES {
        let open = &whole[..whole.len() - 1];
        for (more, field) in [
            ("\"expectedversion\":2", "expectedversion"),
            ("\"expected_version\":2", "expected_version"),
            ("\"ExpectedVersion\":2", "ExpectedVersion"),
            ("\"dry_run\":true", "dry_run"),
            ("\"x\":null", "x"),
            ("\"\":1", ""),
            ("\"sku\":\"A\"", "sku"),
        ] {
            let answer = write(&app, method, action, format!("{open},{more}}}").as_bytes());
            let answer = answer.refused(400, "invalid_request");
            assert!(
                answer["detail"].as_str().unwrap().contains(field),
                "{more}: {}",
                answer.text()
            );
        }
        for twice in [format!("\"{number}\":3"), "\"dryRun\":true,\"dryRun\":true".to_owned()] {
            write(&app, method, action, format!("{open},{twice}}}").as_bytes()).refused(400, "invalid_request");
        }
    }
    assert_eq!(app.state("A"), (10, 4, 2));
}

#[test]
fn what_is_refused_is_told_what_it_must_be() {
    let app = app();
    let told = |answer: Answer| {
        answer.refused(400, "invalid_request")["detail"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let whole = "it must be a whole number from 0 to 9007199254740991, not -1";
    assert_eq!(
        told(write(&app, "PUT", "", b"{\"quantity\":-1}")),
        format!("quantity: {whole}")
    );
    assert_eq!(
        told(write(&app, "POST", "/reserve", b"{\"quantity\":1,\"ttlSeconds\":1.5}")),
        "ttlSeconds: it must be a whole number from 1 to 2592000, not 1.5"
    );
    assert_eq!(
        told(write(&app, "POST", "/reserve", b"{\"quantity\":0}")),
        "quantity: it must be from 1 to 9007199254740991"
    );
    assert_eq!(
        told(write(&app, "PUT", "", b"{\"quantity\":")),
        "body: it must be whole JSON, and breaks off at line 1, column 12"
    );
    let time = "it must be a time with its zone, as RFC 3339 writes it: 2026-01-31T08:30:00Z";
    assert_eq!(
        told(write(&app, "PUT", "", b"{\"quantity\":3,\"countedAt\":\"2026-01\"}")),
        format!("countedAt: {time}")
    );
    assert_eq!(told(app.get("/api/movements?from=2026-01")), format!("from: {time}"));
    let count = r#"[{"sku": "A", "storeId": "london", "quantity": -1}]"#;
    let pushed = app.send("POST", "/api/sync/push", &[JSON], Some(count.as_bytes()));
    assert_eq!(told(pushed), format!("[0].quantity: {whole}"));
    let operation = json!({"op": "set", "sku": "A", "storeId": "london", "quantity": -1});
    let results = app.post("/api/inventory/batch", json!({"operations": [operation]}));
    assert_eq!(
        results.expect(200)["results"][0]["detail"],
        format!("quantity: {whole}")
    );
    assert_eq!(app.state("A"), (10, 4, 2));
}

#[test]
fn a_member_of_the_wrong_type_is_refused_by_name() {
    let app = app();
    for (action, method, more, field) in [
        ("", "PUT", "\"expectedVersion\":\"2\"", "expectedVersion"),
        ("", "PUT", "\"expectedVersion\":2.0", "expectedVersion"),
        ("", "PUT", "\"expectedVersion\":-1", "expectedVersion"),
        ("", "PUT", "\"expectedVersion\":true", "expectedVersion"),
        ("", "PUT", "\"reorderPoint\":\"2\"", "reorderPoint"),
        ("", "PUT", "\"reorderPoint\":-1", "reorderPoint"),
        ("", "PUT", "\"reorderPoint\":9007199254740992", "reorderPoint"),
        ("", "PUT", "\"note\":7", "note"),
        ("", "PUT", "\"note\":{}", "note"),
        ("", "PUT", "\"note\":\"\\ud800\"", "note"),
        ("", "PUT", "\"dryRun\":1", "dryRun"),
        ("", "PUT", "\"dryRun\":\"true\"", "dryRun"),
        ("", "PUT", "\"idempotencyKey\":5", "idempotencyKey"),
        ("/adjust", "POST", "\"type\":5", "type"),
        ("/adjust", "POST", "\"type\":[\"SALE\"]", "type"),
        ("/release", "POST", "\"reservationId\":5", "reservationId"),
    ] {
        let whole = WRITES.iter().find(|write| write.1 == action).unwrap().2;
        let answer = write(
            &app,
            method,
            action,
            format!("{},{more}}}", &whole[..whole.len() - 1]).as_bytes(),
        );
        assert_eq!(answer.status, 400, "{more}: {}", answer.text());
        assert_eq!(answer.refused(400, "invalid_request").fields(), [field], "{more}");
    }
    assert_eq!(app.state("A"), (10, 4, 2));
}

#[test]
fn a_type_is_a_word_and_not_an_object() {
    let app = app();
    let answer = write(&app, "POST", "/adjust", b"{\"delta\":3,\"type\":{\"STOCK_IN\":null}}");
    assert_eq!(answer.refused(400, "invalid_request").fields(), ["type"]);
    assert_eq!(app.state("A"), (10, 4, 2));
}

#[test]
fn every_field_that_is_out_of_range_is_named_at_once() {
    let app = app();
    let answer = app.put(&at("A"), json!({"quantity": 1_u64 << 53, "reorderPoint": 1_u64 << 53}));
    assert_eq!(
        answer.refused(400, "invalid_request").fields(),
        ["quantity", "reorderPoint"]
    );
}

#[test]
fn what_is_refused_is_not_sent_back_at_length() {
    let app = app();
    let long = "a".repeat(4_000_000);
    for body in [format!("{{\"{long}\":1}}"), format!("{{\"quantity\":\"{long}\"}}")] {
        let answer = write(&app, "PUT", "", body.as_bytes()).refused(400, "invalid_request");
        assert!(answer.body.len() < 16_384, "a problem of {} bytes", answer.body.len());
    }
}

#[test]
fn deep_nesting_is_refused_and_the_service_lives() {
    refuses(|number| {
        let arrays = "[".repeat(100_000);
        let objects = "{\"a\":".repeat(100_000);
        let closed = format!("{arrays}{}", "]".repeat(100_000));
        [
            arrays.clone(),
            objects.clone(),
            format!("{{\"{number}\":{arrays}"),
            format!("{{\"{number}\":{closed}}}"),
            format!("{{\"{number}\":3,\"x\":{closed}}}"),
            format!("{{\"{number}\":3,\"note\":{objects}"),
        ]
        .map(String::into_bytes)
        .to_vec()
    });
}

#[test]
fn a_body_of_another_type_than_json_is_refused() {
    let app = app();
    for (method, action, body, _) in WRITES {
        let path = format!("{}{action}", at("A"));
        let types = [
            "text/plain",
            "application/x-www-form-urlencoded",
            "text/json",
            "application/jsonx",
            "json",
            "",
        ];
        for content_type in types {
            let answer = app.send(method, &path, &[("content-type", content_type)], Some(body.as_bytes()));
            answer.refused(415, "unsupported_media_type");
        }
        app.send(method, &path, &[], Some(body.as_bytes()))
            .refused(415, "unsupported_media_type");
    }
    assert_eq!(app.state("A"), (10, 4, 2));
    for content_type in [
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/json;charset=UTF-8",
    ] {
        app.send(
            "PUT",
            &at("A"),
            &[("content-type", content_type)],
            Some(b"{\"quantity\":10}"),
        )
        .expect(200);
    }
}

#[test]
fn a_body_of_4_mib_is_read_and_a_longer_one_refused() {
    let app = app();
    let body = |length: usize| format!("{{\"quantity\":9{}}}", " ".repeat(length - 14));
    assert_eq!(
        write(&app, "PUT", "", body(4 * MIB).as_bytes()).expect(200).state(),
        (9, 4, 3)
    );
    for length in [4 * MIB + 1, 10_000_000] {
        app.send_raw("PUT", &at("A"), &body(length))
            .refused(413, "payload_too_large");
    }
    assert_eq!(app.state("A"), (9, 4, 3));
}

#[test]
fn a_body_that_names_a_length_beyond_all_reason_is_refused_before_it_is_sent() {
    let app = app();
    for length in ["4294967296", "9223372036854775807"] {
        let mut connection = app.connect();
        let request = format!("{}Content-Length: {length}\r\n\r\n{{", head());
        connection.get_mut().write_all(request.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut connection).status, 413, "{length}");
    }
    assert_eq!(app.state("A"), (10, 4, 2));
}

#[test]
fn a_chunked_body_is_read_like_any_other() {
    let app = app();
    let body = "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"qua\r\n9\r\nntity\":7}\r\n0\r\n\r\n";
    let answer = app.send_bytes(format!("{}{body}", head()).as_bytes()).expect(200);
    assert_eq!(answer.state(), (7, 4, 3));
}

#[test]
fn a_chunked_body_without_end_is_refused_and_fills_no_memory() {
    let app = app();
    let mut connection = app.connect();
    let stream = connection.get_mut();
    stream
        .write_all(format!("{}Transfer-Encoding: chunked\r\n\r\n", head()).as_bytes())
        .unwrap();
    let chunk = format!("{:x}\r\n{}\r\n", MIB, " ".repeat(MIB));
    let before = app.memory();
    let _ = (0..256).try_for_each(|_| stream.write_all(chunk.as_bytes()));
    let grown = app.memory().saturating_sub(before);
    assert!(grown < 64 * MIB, "{grown} bytes more in memory");
    assert_eq!(app.state("A"), (10, 4, 2));
}

#[test]
fn a_chunked_body_past_the_limit_is_answered() {
    let app = app();
    let mut connection = app.connect();
    let chunk = format!("{:x}\r\n{}\r\n", MIB, " ".repeat(MIB)).repeat(5);
    let stream = connection.get_mut();
    stream
        .write_all(format!("{}Transfer-Encoding: chunked\r\n\r\n{chunk}", head()).as_bytes())
        .unwrap();
    assert_eq!(read_answer(&mut connection).status, 413);
    assert_eq!(app.state("A"), (10, 4, 2));
}

#[test]
fn a_client_that_waits_for_the_go_ahead_gets_it() {
    let app = app();
    let mut connection = app.connect();
    let expecting = format!("{}Content-Length: 14\r\nExpect: 100-continue\r\n\r\n", head());
    connection.get_mut().write_all(expecting.as_bytes()).unwrap();
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    connection.get_mut().write_all(b"{\"quantity\":7}").unwrap();
    connection.read_line(&mut line).unwrap();
    assert_eq!(read_answer(&mut connection).expect(200).state(), (7, 4, 3));
}

#[test]
fn a_body_that_breaks_off_changes_nothing() {
    let app = app();
    for body in [
        "Content-Length: 15\r\n\r\n{\"quantity\":7}",
        "Transfer-Encoding: chunked\r\n\r\ne\r\n{\"quantity\":7}\r\n",
    ] {
        let mut connection = app.connect();
        connection
            .get_mut()
            .write_all(format!("{}{body}", head()).as_bytes())
            .unwrap();
        connection.get_mut().shutdown(Shutdown::Write).unwrap();
        drop(connection);
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(app.state("A"), (10, 4, 2));
}

#[test]
fn a_request_with_two_lengths_is_refused() {
    let app = app();
    for lengths in [
        "Content-Length: 14\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 14\r\nContent-Length: 15\r\n",
        "Content-Length: -14\r\n",
        "Content-Length: 14x\r\n",
    ] {
        let answer = app.send_bytes(format!("{}{lengths}\r\n{{\"quantity\":7}}", head()).as_bytes());
        assert_eq!(answer.status, 400, "{lengths}");
    }
    assert_eq!(app.state("A"), (10, 4, 2));
}
