//! What every reply has: headers, an id, and a problem document where it is an error.

use std::io::Write;

use serde_json::json;

use crate::client::{Client, JSON, at, is_time, read_answer};
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
