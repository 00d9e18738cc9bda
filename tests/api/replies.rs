//! What every reply has: headers, an id, and a problem document where it is an error.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::client::{Answer, Client, JSON, at, is_time, item, read_answer};
use crate::log::events;
use crate::support::TestApp;

#[test]
fn a_path_that_leads_nowhere_is_answered_with_a_problem() {
    let app = TestApp::start();
    for path in [
        "/x",
        "/api",
        "/api/",
        "/api/inventory",
        "/api/health/",
        "/api/operations/",
        "/favicon.ico",
        "/index.html",
    ] {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            app.send(method, path, &[], None).refused(404, "not_found");
        }
    }
}

#[test]
fn a_method_that_a_path_does_not_have_is_answered_with_those_it_has() {
    let app = TestApp::start();
    app.stock("A", 5);
    let list = "/api/inventory/stores/s1/inventory";
    let [adjust, reserve, release] = ["adjust", "reserve", "release"].map(|action| format!("{}/{action}", at("A")));
    for (path, allowed) in [
        (&*at("A"), &["GET", "PUT"][..]),
        (&adjust, &["POST"]),
        (&reserve, &["POST"]),
        (&release, &["POST"]),
        (list, &["GET"]),
        ("/api/operations/k", &["GET"]),
        ("/api/health", &["GET"]),
        ("/api/health/live", &["GET"]),
        ("/api/health/ready", &["GET"]),
        ("/", &["GET"]),
    ] {
        let others = ["GET", "PUT", "POST", "DELETE", "PATCH", "BREW"];
        for method in others.into_iter().filter(|method| !allowed.contains(method)) {
            let answer = app.send(method, path, &[JSON], (method == "PUT").then_some(b"{\"quantity\":9}"));
            let answer = answer.refused(405, "method_not_allowed");
            let said = answer
                .header("allow")
                .unwrap_or_else(|| panic!("{method} {path}: no Allow"));
            assert!(
                allowed
                    .iter()
                    .all(|method| said.split(", ").any(|said| said == *method)),
                "{path}: {said}"
            );
            assert!(!said.contains(method), "{path}: {said}");
        }
    }
    assert_eq!(app.state("A"), (5, 0, 1));
}

#[test]
fn a_request_id_that_can_stand_in_a_header_is_given_back_and_recorded() {
    let app = TestApp::start();
    let longest = "x".repeat(128);
    for id in ["7", "till-7/42", "!\"#$%&'()*+,-./:;<=>?@[]^_`{|}~", &longest] {
        let answer = app.put_with(&at("A"), &[("x-request-id", id)], json!({"quantity": 5}));
        assert_eq!(answer.header("x-request-id"), Some(id));
        assert_eq!(events(app.folder()).pop().unwrap()["requestId"], id);
        let problem = app.get_with("/x", &[("x-request-id", id)]).refused(404, "not_found");
        assert_eq!(problem["requestId"], id);
    }
}

#[test]
fn a_request_id_that_is_none_is_replaced_by_a_new_one() {
    let app = TestApp::start();
    let too_long = "x".repeat(129);
    let mut given = std::collections::HashSet::new();
    for id in ["", "a b", "a\tb", &too_long] {
        let answer = app.get_with("/x", &[("x-request-id", id)]).refused(404, "not_found");
        let new = answer.header("x-request-id").unwrap();
        assert!(
            uuid::Uuid::parse_str(new).is_ok_and(|id| id.get_version_num() == 7),
            "{new}"
        );
        assert!(given.insert(new.to_owned()));
    }
    let not_ascii = "GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Request-Id: \u{e4}\r\n\r\n";
    let answer = app.send_bytes(not_ascii.as_bytes());
    assert!(answer.header("x-request-id").unwrap().is_ascii());
}

#[test]
fn the_service_describes_itself_at_its_root() {
    let app = TestApp::start();
    let root = app.get_with("/", &[("accept", "application/json")]).expect(200);
    assert_eq!(
        (root.header("content-type"), &root["name"]),
        (Some("application/json"), &json!("Holdfast"))
    );
    let routes = root["routes"].as_array().unwrap();
    assert!(
        routes
            .iter()
            .any(|route| route["path"] == "/api/inventory/stores/{storeId}/inventory/{sku}")
    );
}

#[test]
fn a_live_service_says_so_at_each_of_its_probes() {
    let app = TestApp::start();
    for path in ["/api/health", "/api/health/live", "/api/health/ready"] {
        let health = app.get(path).expect(200);
        assert_eq!(health["status"], "ok");
        assert!(health["uptimeSeconds"].is_u64() && health["version"].is_string() && is_time(&health["timestamp"]));
    }
}

#[test]
fn one_connection_takes_any_number_of_requests_refused_ones_between() {
    let app = TestApp::start();
    let mut connection = app.connect();
    let put = |body: &str| {
        let length = body.len();
        let head = format!(
            "PUT {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n",
            at("A")
        );
        format!("{head}Content-Length: {length}\r\n\r\n{body}")
    };
    let requests: Vec<_> = ["{\"quantity\":1}", "[]", "{\"quantity\":2}", "", "{\"quantity\":3}"]
        .map(put)
        .to_vec();
    connection.get_mut().write_all(requests.concat().as_bytes()).unwrap();
    let statuses = requests.iter().map(|_| read_answer(&mut connection).status);
    assert_eq!(statuses.collect::<Vec<_>>(), [201, 400, 200, 400, 200]);
    assert_eq!(app.state("A"), (3, 0, 3));
}

/// The framework answers these before any code of the service sees them: a status, and no body.
#[test]
fn what_is_no_request_is_refused_and_its_connection_closed() {
    let app = TestApp::start();
    let get = "GET /api/health HTTP/1.1\r\nHost: localhost\r\n";
    let many: String = (0..200).map(|i| format!("X-{i}: x\r\n")).collect();
    let requests = [
        (431, format!("{get}{many}\r\n")),
        (431, format!("{get}X-Long: {}\r\n\r\n", "x".repeat(200_000))),
        (400, "GARBAGE\r\n\r\n".to_owned()),
        (400, "GET / HTTP/9.9\r\nHost: localhost\r\n\r\n".to_owned()),
        (400, "GET /\u{e4} HTTP/1.1\r\n\r\n".to_owned()),
        (
            400,
            format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(70_000)),
        ),
    ];
    for (status, request) in requests {
        // Returns when the connection is closed.
        assert_eq!(app.send_bytes(request.as_bytes()).status, status, "{request:.40}");
    }
    assert!(
        !app.log().contains("ERROR"),
        "strangers must not fill the log: {}",
        app.log()
    );
}

#[test]
fn what_is_not_http_does_not_end_the_service() {
    let app = TestApp::start();
    app.stock("A", 5);
    let tls_hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[0; 200]].concat();
    let zeros = vec![0; 100_000];
    let newlines = b"\r\n".repeat(50_000);
    for bytes in [
        &b"\0"[..],
        b"GARBAGE\r\n\r\n",
        &tls_hello,
        &zeros,
        &newlines,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut connection = app.connect();
        let _ = connection.get_mut().write_all(bytes);
    }
    assert_eq!(app.state("A"), (5, 0, 1));
}

/// A path of each GET route that shows something.
fn shown(app: &TestApp) -> Vec<String> {
    app.put_with(&at("A"), &[("idempotency-key", "k")], json!({"quantity": 5}))
        .expect(201);
    app.put(&at("B"), json!({"quantity": 5})).expect(201);
    let paths = [
        at("A"),
        format!("{}?limit=1", at("A").trim_end_matches("/A")),
        item("A"),
        "/api/inventory/items?limit=1".to_owned(),
        format!(
            "{}/history?at={}",
            item("A"),
            app.get(&item("A")).expect(200)["updatedAt"].as_str().unwrap()
        ),
        "/api/events?limit=1".to_owned(),
        "/api/movements?limit=1".to_owned(),
        "/api/operations/k".to_owned(),
        "/api/health".to_owned(),
        "/api/health/live".to_owned(),
        "/api/health/ready".to_owned(),
        "/".to_owned(),
    ];
    paths.to_vec()
}

#[test]
fn head_is_answered_as_get_without_the_body() {
    let app = TestApp::start();
    let mut paths = shown(&app);
    paths.extend([
        at("NONE"),
        item("NONE"),
        "/x".to_owned(),
        "/api/events?x=1".to_owned(),
        "/api/operations/none".to_owned(),
    ]);
    for path in paths {
        let id = [("x-request-id", "head-7")];
        let (get, head) = (app.get_with(&path, &id), app.send("HEAD", &path, &id, None));
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for header in [
            "content-type",
            "etag",
            "link",
            "cache-control",
            "x-content-type-options",
            "x-request-id",
        ] {
            assert_eq!(head.header(header), get.header(header), "{header} of {path}");
        }
    }
    let tagged = app
        .send("HEAD", &item("A"), &[("if-none-match", "\"1\"")], None)
        .expect(304);
    assert_eq!(tagged.header("etag"), Some("\"1\""));
}

#[test]
fn options_are_told_with_204() {
    let app = TestApp::start();
    for (path, allowed) in [
        (at("A"), "GET, HEAD, OPTIONS, PUT"),
        (format!("{}/adjust", at("A")), "OPTIONS, POST"),
        ("/api/inventory/stores/s1/inventory".to_owned(), "GET, HEAD, OPTIONS"),
        ("/api/inventory/items".to_owned(), "GET, HEAD, OPTIONS, POST"),
        (item("A"), "GET, HEAD, OPTIONS"),
        (format!("{}/quantity", item("A")), "OPTIONS, PUT"),
        (format!("{}/reserve", item("A")), "OPTIONS, POST"),
        (format!("{}/release", item("A")), "OPTIONS, POST"),
        (format!("{}/history", item("A")), "GET, HEAD, OPTIONS"),
        ("/api/inventory/batch".to_owned(), "OPTIONS, POST"),
        ("/api/transfers".to_owned(), "OPTIONS, POST"),
        ("/api/events".to_owned(), "GET, HEAD, OPTIONS"),
        ("/api/movements".to_owned(), "GET, HEAD, OPTIONS"),
        ("/api/operations/k".to_owned(), "GET, HEAD, OPTIONS"),
        ("/api/health".to_owned(), "GET, HEAD, OPTIONS"),
        ("/".to_owned(), "GET, HEAD, OPTIONS"),
    ] {
        let answer = app.send("OPTIONS", &path, &[], None).expect(204);
        let mut told: Vec<&str> = answer.header("allow").unwrap().split(", ").collect();
        told.sort_unstable();
        assert_eq!((told.join(", "), answer.body.len()), (allowed.to_owned(), 0), "{path}");
        for method in ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH"]
            .into_iter()
            .filter(|method| !told.contains(method))
        {
            let refused = app.send(method, &path, &[], None).expect(405);
            assert_eq!(refused.header("allow"), answer.header("allow"), "{method} {path}");
        }
    }
    app.send("OPTIONS", "/x", &[], None).expect(404);
}

#[test]
fn a_client_that_wants_little_is_told_what_it_cannot_find_by_itself() {
    let app = TestApp::start();
    let minimal = [("prefer", "return=minimal")];
    let is_minimal = |answer: Answer, status: u16, etag: Option<&str>| {
        let answer = answer.expect(status);
        assert_eq!(
            (
                answer.body.len(),
                answer.header("preference-applied"),
                answer.header("etag")
            ),
            (0, Some("return=minimal"), etag)
        );
        answer
    };
    // What was made is shown: a 201 without a body would have no type.
    let made = app.put_with(&at("A"), &minimal, json!({"quantity": 10})).expect(201);
    assert_eq!(made.state(), (10, 0, 1));
    assert_eq!(made.header("preference-applied"), None);
    is_minimal(
        app.put_with(&at("A"), &minimal, json!({"quantity": 11})),
        204,
        Some("\"2\""),
    );
    is_minimal(
        app.put_with(&format!("{}/quantity", item("A")), &minimal, json!({"quantity": 5})),
        204,
        Some("\"3\""),
    );
    is_minimal(
        app.post_with(&format!("{}/adjust", at("A")), &minimal, json!({"delta": 1})),
        204,
        Some("\"3\""),
    );
    is_minimal(
        app.post_with(
            "/api/transfers",
            &minimal,
            json!({"sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 1}),
        ),
        204,
        None,
    );
    let held = app
        .post_with(&format!("{}/reserve", at("A")), &minimal, json!({"quantity": 2}))
        .expect(201);
    assert_eq!((held.state(), held.header("preference-applied")), ((11, 2, 5), None));
    assert!(held["reservation"]["reservationId"].is_string());
    is_minimal(
        app.post_with(&format!("{}/release", at("A")), &minimal, json!({"quantity": 2})),
        204,
        Some("\"6\""),
    );
    app.post_with(&format!("{}/adjust", at("A")), &minimal, json!({"delta": -99}))
        .refused(409, "insufficient_stock");
    let dry = app
        .put_with(&at("A"), &minimal, json!({"quantity": 1, "dryRun": true}))
        .expect(200);
    assert_eq!(dry["dryRun"], true);
    for other in [
        "return=representation",
        "minimal",
        "return",
        "respond-async",
        "x-return=minimal",
        "",
        "return=minimalist",
    ] {
        let told = app
            .put_with(&at("A"), &[("prefer", other)], json!({"quantity": 7}))
            .expect(200);
        assert_eq!(told["quantity"], 7, "{other}");
    }
    for same in [
        "return=\"minimal\"",
        "respond-async, return=minimal",
        "return=minimal; wait=1",
        "RETURN=minimal",
    ] {
        app.put_with(&at("A"), &[("prefer", same)], json!({"quantity": 7}))
            .expect(204);
    }
}

#[test]
fn a_repeat_is_told_as_much_as_it_wants() {
    let app = TestApp::start();
    app.stock("A", 10);
    let send = |headers: &[(&str, &str)]| {
        let path = format!("{}/adjust", at("A"));
        app.post_with(
            &path,
            &[&[("idempotency-key", "k")], headers].concat(),
            json!({"delta": 1}),
        )
    };
    let little = send(&[("prefer", "return=minimal")]).expect(204);
    let whole = send(&[]).expect(200);
    assert_eq!(
        (whole.state(), whole.header("etag")),
        ((11, 0, 2), little.header("etag"))
    );
    let again = send(&[("prefer", "return=minimal")]).expect(204);
    assert_eq!(
        (again.header("idempotency-replayed"), again.header("etag")),
        (Some("true"), Some("\"2\""))
    );
}

#[test]
fn large_answers_are_compressed_for_those_who_ask_and_small_ones_never() {
    let app = TestApp::start();
    let operations: Vec<Value> = (0..200)
        .map(|i| json!({"op": "set", "sku": format!("S{i}"), "storeId": "s1", "quantity": i}))
        .collect();
    app.post("/api/inventory/batch", json!({"operations": operations}))
        .expect(200);
    let asks = [("accept-encoding", "gzip")];
    for path in [
        "/api/inventory/items",
        "/api/inventory/stores/s1/inventory",
        "/api/events",
        "/api/movements",
    ] {
        let plain = app.get(&format!("{path}?limit=150")).expect(200);
        assert_eq!(plain.header("content-encoding"), None, "{path}");
        let packed = app.get_with(&format!("{path}?limit=150"), &asks).expect(200);
        assert_eq!(packed.header("content-encoding"), Some("gzip"), "{path}");
        assert!(
            packed
                .all("vary")
                .iter()
                .any(|vary| vary.eq_ignore_ascii_case("accept-encoding"))
        );
        assert!(packed.body.len() * 2 < plain.body.len(), "{path}");
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&*packed.body)
            .read_to_end(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, plain.body, "{path}");
        let small = app.get_with(&format!("{path}?limit=1"), &asks).expect(200);
        assert_eq!(
            (small.header("content-encoding"), &small["items"][0]),
            (None, &plain["items"][0]),
            "{path}"
        );
    }
    let refused = app
        .get_with("/api/inventory/items?limit=0", &asks)
        .refused(400, "invalid_request");
    assert_eq!(refused.header("content-encoding"), None);
}
