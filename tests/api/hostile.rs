//! Clients that mean harm, or that nobody has taught manners.
//!
//! What else belongs here stands where it belongs to something else as well: numbers, members and nesting that are
//! refused, bodies past the limit and without end in `bad_input.rs`; names that would lead elsewhere in `ids.rs`; what is
//! no HTTP in `replies.rs`. That every reply of every route is `nosniff`, not stored and without a banner, `client.rs`
//! checks of each answer in all of these tests, and `docs.rs` walks through every route.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, JSON, at, comes_true, read_answer};
use crate::serving::refused_start;
use crate::support::TestApp;

const MIB: usize = 1 << 20;
const PROBE: &[u8] = b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Whether the service closes the connection in time, whatever it says before.
fn is_closed(stream: &mut TcpStream, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let mut some = [0; 4096];
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        stream
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .unwrap();
        match stream.read(&mut some) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
    false
}

/// Sends a byte every tenth of a second until the service has closed the connection; `None` where it does not.
fn trickle(stream: &mut TcpStream, byte: u8, patience: Duration) -> Option<Duration> {
    let started = Instant::now();
    while started.elapsed() < patience {
        if stream.write_all(&[byte]).is_err() || is_closed(stream, Duration::from_millis(100)) {
            return Some(started.elapsed());
        }
    }
    None
}

/// The sockets that the service has open.
fn sockets(app: &TestApp) -> usize {
    let entries = std::fs::read_dir(format!("/proc/{}/fd", app.pid())).unwrap();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    targets
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

fn head(length: &str) -> String {
    let path = at("A");
    format!("PUT {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{length}\r\n\r\n")
}

const SECONDS_5: Duration = Duration::from_secs(5);

#[test]
fn a_client_that_is_slow_with_a_head_is_closed_also_on_a_connection_that_was_used() {
    let app = TestApp::start_with(&["--head-seconds", "1"]);
    let mut silent = app.connect();
    assert!(is_closed(silent.get_mut(), SECONDS_5));
    let mut first = app.connect();
    first
        .get_mut()
        .write_all(b"GET /api/health HTTP/1.1\r\nX-Slow: ")
        .unwrap();
    let closed = trickle(first.get_mut(), b'a', SECONDS_5);
    assert!(closed.is_some(), "a first head may take for ever");
    let mut second = app.connect();
    second.get_mut().write_all(PROBE).unwrap();
    read_answer(&mut second).expect(200);
    second
        .get_mut()
        .write_all(b"GET /api/health HTTP/1.1\r\nX-Slow: ")
        .unwrap();
    let closed = trickle(second.get_mut(), b'a', SECONDS_5);
    assert!(closed.is_some(), "a later head may take for ever");
}

#[test]
fn a_connection_that_is_used_again_and_again_stays_open() {
    let app = TestApp::start_with(&["--head-seconds", "1", "--keep-alive-seconds", "3"]);
    let mut connection = app.connect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(3500) {
        connection.get_mut().write_all(PROBE).unwrap();
        read_answer(&mut connection).expect(200);
        std::thread::sleep(Duration::from_millis(400));
    }
    // A pause that is longer than a head may take.
    std::thread::sleep(Duration::from_millis(1800));
    connection.get_mut().write_all(PROBE).unwrap();
    read_answer(&mut connection).expect(200);
}

#[test]
fn a_client_that_is_slow_with_a_body_is_refused_and_closed() {
    let app = TestApp::start_with(&["--body-seconds", "1", "--head-seconds", "1"]);
    for length in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let mut connection = app.connect();
        connection.get_mut().write_all(head(length).as_bytes()).unwrap();
        if length.starts_with("Transfer") {
            connection.get_mut().write_all(b"3e8\r\n").unwrap();
        }
        let mut told = connection.get_ref().try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            let started = Instant::now();
            while told.write_all(b" ").is_ok() && started.elapsed() < 2 * SECONDS_5 {
                std::thread::sleep(Duration::from_millis(100));
            }
            started.elapsed()
        });
        read_answer(&mut connection).refused_at(&at("A"), 408, "request_timeout");
        assert!(
            sending.join().unwrap() < SECONDS_5 + SECONDS_5 / 2,
            "{length}: nobody closes it"
        );
    }
    app.get(&at("A")).refused(404, "not_found");
}

#[test]
fn a_body_that_is_sent_on_and_on_after_its_refusal_is_ended() {
    let app = TestApp::start_with(&["--head-seconds", "1", "--max-body-bytes", "65536"]);
    let before = app.memory();
    let mut connection = app.connect();
    let stream = connection.get_mut();
    stream.write_all(head("Transfer-Encoding: chunked").as_bytes()).unwrap();
    let chunk = format!("{MIB:x}\r\n{}\r\n", " ".repeat(MIB));
    let started = Instant::now();
    while stream.write_all(chunk.as_bytes()).is_ok() {
        assert!(started.elapsed() < 2 * SECONDS_5, "it is read for ever");
    }
    let grown = app.memory().saturating_sub(before);
    assert!(grown < 32 * MIB, "{grown} bytes more in memory");
    app.get(&at("A")).refused(404, "not_found");
}

#[test]
fn a_refused_body_that_breaks_off_without_an_end_does_not_keep_its_connection() {
    let app = TestApp::start_with(&["--keep-alive-seconds", "1"]);
    let mut connection = app.connect();
    let request = "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut connection).status, 404);
    assert!(is_closed(connection.get_mut(), 2 * SECONDS_5), "it is kept for ever");
}

#[test]
fn a_client_that_does_not_read_its_answers_is_closed() {
    let app = TestApp::start_with(&["--answer-seconds", "1"]);
    let before = sockets(&app);
    let mut deaf = app.connect();
    let request = b"GET /api/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200);
    deaf.get_mut().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let _ = deaf.get_mut().write_all(&request);
    assert!(comes_true(SECONDS_5, || sockets(&app) > before), "it was never there");
    assert!(
        comes_true(2 * SECONDS_5, || sockets(&app) == before),
        "its answers wait for ever"
    );
    assert!(app.memory() < 512 * MIB);
}

#[test]
fn a_thousand_slow_sockets_are_closed_and_leave_others_unharmed() {
    let app = TestApp::start_with(&["--head-seconds", "3"]);
    app.stock("A", 100);
    let before = (sockets(&app), app.memory());
    let opened = (0..1000).map(|_| {
        let mut stream = TcpStream::connect(("127.0.0.1", app.port)).unwrap();
        stream.write_all(b"PUT /api/inv").unwrap();
        stream
    });
    let slow: Vec<TcpStream> = opened.collect();
    for _ in 0..20 {
        let started = Instant::now();
        app.post(&format!("{}/adjust", at("A")), json!({"delta": -1}))
            .expect(200);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    let grown = app.memory().saturating_sub(before.1);
    assert!(grown < 64 * MIB, "{grown} bytes more in memory");
    assert!(
        comes_true(2 * SECONDS_5, || sockets(&app) <= before.0 + 5),
        "{} sockets are still open",
        sockets(&app)
    );
    drop(slow);
    assert_eq!(app.state("A").0, 80);
}

#[test]
fn one_address_has_so_many_connections_and_no_more() {
    let app = TestApp::start_with(&["--max-connections-per-address", "3"]);
    let mut open: Vec<_> = (0..3).map(|_| app.connect()).collect();
    for connection in &mut open {
        connection.get_mut().write_all(PROBE).unwrap();
        read_answer(connection).expect(200);
    }
    let mut fourth = app.connect();
    let _ = fourth.get_mut().write_all(PROBE);
    assert!(is_closed(fourth.get_mut(), SECONDS_5));
    open.pop();
    assert!(comes_true(SECONDS_5, || app
        .try_send("GET", "/api/health", &[], None)
        .is_ok()));
}

#[test]
fn a_packed_body_is_refused_and_not_unpacked() {
    let app = TestApp::start();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(b"{\"quantity\":7").unwrap();
    let spaces = vec![b' '; MIB];
    (0..200).for_each(|_| packed.write_all(&spaces).unwrap());
    packed.write_all(b"}").unwrap();
    let bomb = packed.finish().unwrap();
    assert!(bomb.len() < MIB);
    let before = app.memory();
    for encoding in ["gzip", "GZIP", "deflate", "br", "x"] {
        let answer = app.send("PUT", &at("A"), &[JSON, ("content-encoding", encoding)], Some(&bomb));
        answer.refused(415, "unsupported_media_type");
    }
    app.send("PUT", &at("A"), &[JSON], Some(&bomb))
        .refused(400, "invalid_request");
    let grown = app.memory().saturating_sub(before);
    assert!(grown < 64 * MIB, "{grown} bytes more in memory");
    app.get(&at("A")).refused(404, "not_found");
}

/// Every file below a folder, as paths from there.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => left.push(path),
                false => found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    found
}

#[test]
fn no_name_makes_a_file_outside_the_data_folder() {
    let around = tempfile::tempdir().unwrap();
    let data = around.path().join("a/b/data");
    std::fs::create_dir_all(&data).unwrap();
    let mut app = TestApp::start_in(&data, 0, &["--snapshot-seconds", "1"]);
    let long = "x".repeat(256);
    let mut made = 0;
    for name in [
        "..%2F..%2Fx",
        "%2e%2e%2f",
        "%2e%2e",
        "%00",
        "CON",
        "NUL.json",
        "%2Fetc%2Fpasswd",
        "..%5C..%5Cx",
        "C%3A%5Cx",
        &long,
    ] {
        let answer = app.send("PUT", &at(name), &[JSON], Some(b"{\"quantity\":1}"));
        assert!([201, 400].contains(&answer.status), "{name}: {}", answer.text());
        made += usize::from(answer.status == 201);
        app.put(
            &format!("/api/inventory/stores/{name}/inventory/A"),
            json!({"quantity": 1}),
        );
    }
    assert!(made >= 5, "{made}");
    let snapshots = || files(&data).iter().filter(|file| file.starts_with("skus/")).count();
    assert!(
        comes_true(2 * SECONDS_5, || snapshots() > made),
        "{} snapshots",
        snapshots()
    );
    assert!(app.terminate().success());
    for file in files(around.path()) {
        let below = file.strip_prefix("a/b/data/").unwrap_or_else(|| panic!("{file}"));
        let known = [
            "LOCK",
            "checkpoint.json",
            "central.json",
            "deliveries.json",
            "events/",
            "sales.json",
            "skus/",
        ];
        assert!(known.iter().any(|known| below.starts_with(known)), "{file}");
    }
}

/// Sends what would be lines of its own, or colours, in a log that takes it as it is.
fn inject(app: &TestApp) {
    let injected = "%0D%0A2026-01-01T00:00:00Z%20ERROR%20INJECTED%1B%5B31m";
    app.put(&at(&format!("a{injected}")), json!({"quantity": 1}))
        .refused(400, "invalid_request");
    app.get(&format!("/x{injected}")).refused(404, "not_found");
    app.post("/api/inventory/items", json!({"sku": "a\r\nERROR INJECTED\u{1b}[31m"}))
        .refused(400, "invalid_request");
    app.put(
        &at("A"),
        json!({"quantity": 1, "note": "a\r\nERROR INJECTED \u{1b}[31m"}),
    );
    app.get_with("/x", &[("x-request-id", "{\"level\":\"ERROR\",\"INJECTED\":1}")])
        .refused(404, "not_found");
    for header in [
        "User-Agent",
        "X-Request-Id",
        "Authorization",
        "Idempotency-Key",
        "Accept",
        "If-Match",
    ] {
        let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", at("A"));
        for value in [
            "\u{1b}[31mINJECTED",
            "a\rERROR INJECTED",
            "a\nERROR INJECTED",
            "{\"INJECTED\":1}",
        ] {
            let mut connection = app.connect();
            let _ = connection
                .get_mut()
                .write_all(format!("{request}{header}: {value}\r\n\r\n").as_bytes());
            assert!(is_closed(connection.get_mut(), SECONDS_5));
        }
    }
}

/// Nothing of it has come through, and yet it was logged.
#[track_caller]
fn is_escaped(log: &str, is_line: impl Fn(&str) -> bool) {
    assert!(log.contains("/x%0D%0A"), "nothing was logged: {log}");
    assert!(!log.contains('\u{1b}') && !log.contains('\r'));
    for line in log.lines() {
        assert!(is_line(line), "{line:?}");
    }
}

fn is_json(line: &str) -> bool {
    let read: Result<Value, _> = serde_json::from_str(line);
    read.is_ok_and(|read| read["level"] != "ERROR" && read["INJECTED"].is_null())
}

#[test]
fn what_a_stranger_sends_is_one_escaped_line_in_the_log() {
    let text = TestApp::start_with(&["--log-level", "trace", "--log-format", "text"]);
    inject(&text);
    is_escaped(&text.log(), |line| {
        line.starts_with("20") && !line.starts_with("2026-01-01T00:00:00Z")
    });
    let json = TestApp::start_with(&["--log-level", "trace,actix_http=trace"]);
    inject(&json);
    is_escaped(&json.log(), |line| {
        is_json(line) || line.contains("\"target\":\"actix_http")
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let mut file = TestApp::start_with(&["--log-level", "trace", "--log-to", path.to_str().unwrap()]);
    inject(&file);
    assert!(file.terminate().success());
    is_escaped(&std::fs::read_to_string(path).unwrap(), is_json);
}

const SHOP: &str = "https://shop.example";

#[test]
fn a_page_of_another_origin_is_allowed_nothing() {
    let app = TestApp::start();
    let with_list = TestApp::start_with(&["--allowed-origins", SHOP]);
    for origin in [
        "https://evil.example",
        "null",
        "https://shop.example.evil.example",
        "http://shop.example",
        "",
    ] {
        for app in [&app, &with_list] {
            let page = ("origin", origin);
            let asks = ("access-control-request-method", "PUT");
            let answers = [
                app.get_with("/api/inventory/items", &[page]).expect(200),
                app.get_with("/x", &[page]).expect(404),
                app.send("OPTIONS", &at("A"), &[page, asks], None).expect(204),
            ];
            for answer in answers {
                assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
                assert_eq!(answer.header("access-control-allow-methods"), None, "{origin}");
            }
        }
    }
}

#[test]
fn where_nobody_must_log_in_a_foreign_page_writes_nothing() {
    let app = TestApp::start_with(&["--allowed-origins", SHOP]);
    app.put(&at("A"), json!({"quantity": 5})).expect(201);
    let reserve = json!({"lines": [{"sku": "A", "storeId": "s1", "quantity": 1}], "reservationId": "r"});
    app.post("/api/reservations", reserve).expect(201);
    let commit = |headers: &[(&str, &str)]| app.send("POST", "/api/reservations/r/commit", headers, None);
    let crossing = ("sec-fetch-site", "cross-site");
    commit(&[("origin", "https://evil.example")]).refused(403, "forbidden");
    commit(&[("origin", "null")]).refused(403, "forbidden");
    commit(&[crossing]).refused(403, "forbidden");
    assert_eq!(app.get("/api/reservations/r").expect(200)["status"], "active");
    for page in ["/api/docs", "/api/reservations/r"] {
        app.get_with(page, &[crossing]).expect(200);
    }
    commit(&[("origin", SHOP), crossing]).expect(200);
    let own = format!("http://127.0.0.1:{}", app.port);
    app.put_with(&at("A"), &[("origin", &own)], json!({"quantity": 5}))
        .expect(200);
    // Whoever must log in has shown a token that no foreign page has.
    let guarded = TestApp::start_guarded(&[]);
    guarded
        .send("POST", "/api/reservations/r/commit", &[crossing], None)
        .refused(401, "unauthenticated");
}

#[test]
fn a_page_that_is_allowed_may_ask_and_read_everything() {
    let app = TestApp::start_with(&["--allowed-origins", "http://localhost:5173,https://shop.example"]);
    let page = ("origin", SHOP);
    let preflight = app.send(
        "OPTIONS",
        &at("A"),
        &[
            page,
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "idempotency-key"),
        ],
        None,
    );
    let preflight = preflight.expect(204);
    let allows = |name: &str, value: &str| {
        let told = preflight.header(name).unwrap_or_default().to_ascii_lowercase();
        assert!(told.split(", ").any(|told| told == value), "{name}: {told}");
    };
    allows("access-control-allow-origin", SHOP);
    allows("access-control-allow-methods", "put");
    allows("access-control-allow-headers", "authorization");
    allows("access-control-allow-headers", "idempotency-key");
    let answers = [
        app.put_with(&at("A"), &[page], json!({"quantity": 5})).expect(201),
        app.put_with(&at("A"), &[page], json!({"quantity": -5})).expect(400),
        app.get_with("/x", &[page]).expect(404),
        app.send("PATCH", &at("A"), &[page], None).expect(405),
    ];
    for answer in answers {
        assert_eq!(answer.header("access-control-allow-origin"), Some(SHOP));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
        assert_eq!(answer.header("vary"), Some("Origin"));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in [
            "ETag",
            "Location",
            "Link",
            "Retry-After",
            "RateLimit",
            "Idempotency-Replayed",
            "X-Request-Id",
        ] {
            assert!(exposed.split(", ").any(|told| told == name), "{name}: {exposed}");
        }
    }
    let same = app.get(&at("A")).expect(200);
    assert_eq!(
        (same.header("access-control-allow-origin"), same.header("vary")),
        (None, Some("Origin"))
    );
}

#[test]
fn origins_that_cannot_be_allowed_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = ["--port", "0", "--data-dir", folder.path().to_str().unwrap()];
    for wrong in [
        "*",
        "shop.example",
        "https://shop.example/",
        "https://*.shop.example/x",
        "null",
    ] {
        let said = refused_start(&[&data[..], &["--allowed-origins", wrong]].concat(), &[]);
        assert!(said.contains("origin"), "{wrong}: {said}");
        refused_start(&data, &[("ALLOWED_ORIGINS", wrong)]);
    }
}

#[test]
fn whoever_asks_too_often_is_told_when_to_come_again() {
    let app = TestApp::start_with(&["--rate-per-address", "5", "--allowed-origins", SHOP]);
    for left in (0..5).rev() {
        let answer = app.get("/api/inventory/items").expect(200);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"address\";q=5;w=60"));
        let state = answer.header("ratelimit").unwrap();
        assert!(state.starts_with(&format!("\"address\";r={left};t=")), "{state}");
    }
    let refused = app
        .put_with(&at("A"), &[("origin", SHOP)], json!({"quantity": 5}))
        .refused(429, "rate_limited");
    let seconds: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=12).contains(&seconds), "{seconds}");
    assert_eq!(
        refused.header("ratelimit"),
        Some(&*format!("\"address\";r=0;t={seconds}"))
    );
    assert_eq!(refused.header("access-control-allow-origin"), Some(SHOP));
    for _ in 0..20 {
        app.get("/api/health/ready").expect(200);
    }
    std::thread::sleep(Duration::from_secs(seconds));
    app.get(&at("A")).refused(404, "not_found");
}

#[test]
fn an_address_is_the_peers_unless_a_proxy_of_ours_tells_another() {
    let strict = ["--rate-per-address", "2"];
    let stranger = TestApp::start_with(&strict);
    let behind = TestApp::start_with(&[&strict[..], &["--trusted-proxies", "10.0.0.0/8,127.0.0.1"]].concat());
    let ask = |app: &TestApp, from: &str| {
        app.get_with("/api/inventory/items", &[("x-forwarded-for", from)])
            .status
    };
    let statuses: Vec<u16> = (1..=4).map(|i| ask(&stranger, &format!("192.0.2.{i}"))).collect();
    assert_eq!(statuses, [200, 200, 429, 429]);
    let statuses: Vec<u16> = (1..=4).map(|i| ask(&behind, &format!("192.0.2.{i}"))).collect();
    assert_eq!(statuses, [200, 200, 200, 200]);
    // What a client has put before it itself is not believed.
    let statuses: Vec<u16> = (1..=3)
        .map(|i| ask(&behind, &format!("198.51.100.{i}, 192.0.2.99")))
        .collect();
    assert_eq!(statuses, [200, 200, 429]);
}

#[test]
fn without_limits_no_reply_speaks_of_any() {
    let app = TestApp::start();
    let answer = app.get("/api/inventory/items").expect(200);
    assert_eq!(
        (answer.header("ratelimit"), answer.header("ratelimit-policy")),
        (None, None)
    );
    assert_eq!(
        (answer.all("vary"), answer.header("access-control-allow-origin")),
        (vec!["Accept"], None)
    );
}
