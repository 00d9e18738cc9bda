//! Traces, as a collector gets them: with `--features otel`.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use support::TestApp;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const PATIENCE: Duration = Duration::from_secs(20);

/// What is posted to it: the path, and the body.
type Posted = (String, Vec<u8>);

/// Takes whatever is posted, and says that it is well.
fn collector() -> (u16, Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (posted, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = posted.send(take(stream.unwrap()));
        }
    });
    (port, received)
}

fn take(mut stream: TcpStream) -> Posted {
    let mut bytes = Vec::new();
    let mut some = [0; 4096];
    loop {
        let read = stream.read(&mut some).unwrap();
        bytes.extend_from_slice(&some[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if bytes.len() - end - 4 >= length.unwrap_or(0) {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
            let path = head.split(' ').nth(1).unwrap().to_owned();
            return (path, bytes[end + 4..].to_vec());
        }
    }
}

fn start(endpoint: &str, args: &[&str]) -> (tempfile::TempDir, TestApp) {
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_SERVICE_NAME", "shop-stock"),
        ("OTEL_BSP_SCHEDULE_DELAY", "200"),
    ];
    let app = TestApp::start_under(folder.path(), 0, args, &environment);
    (folder, app)
}

fn ask(app: &TestApp, id: &str) {
    let answer = ureq::get(format!("http://127.0.0.1:{}/api/inventory/items/{id}", app.port))
        .header("x-request-id", id)
        .header("traceparent", format!("00-{TRACE}-{SPAN}-01"))
        .header("tracestate", "rojo=1")
        .config()
        .http_status_as_error(false)
        .build()
        .call();
    assert_eq!(answer.unwrap().status(), 404);
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn has(body: &[u8], part: &[u8]) -> bool {
    body.windows(part.len()).any(|found| found == part)
}

#[test]
fn a_request_is_a_span_in_the_trace_of_its_caller_and_the_log_knows_it() {
    let (port, received) = collector();
    let (_folder, app) = start(&format!("http://127.0.0.1:{port}"), &["--log-level", "debug"]);
    ask(&app, "A");
    let (path, body) = received.recv_timeout(PATIENCE).expect("no span has come");
    assert_eq!(path, "/v1/traces");
    for part in [
        "shop-stock",
        "GET /api/inventory/items/{sku}",
        "/api/inventory/items/A",
        "rojo=1",
    ] {
        assert!(has(&body, part.as_bytes()), "no {part}");
    }
    assert!(has(&body, &bytes(TRACE)) && has(&body, &bytes(SPAN)));
    let log = app.log();
    let line = log.lines().find(|line| line.contains("\"requestId\":\"A\"")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&line["traceId"], &line["parentSpanId"]),
        (&TRACE.into(), &SPAN.into()),
        "{line}"
    );
    assert!(has(&body, &bytes(line["spanId"].as_str().unwrap())), "{line}");
}

#[test]
fn what_is_left_is_sent_at_a_stop() {
    let (port, received) = collector();
    let folder = tempfile::tempdir().unwrap();
    let endpoint = format!("http://127.0.0.1:{port}");
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_BSP_SCHEDULE_DELAY", "60000"),
    ];
    let mut app = TestApp::start_under(folder.path(), 0, &[], &environment);
    ask(&app, "last");
    assert!(received.recv_timeout(Duration::from_millis(500)).is_err());
    assert!(app.terminate().success());
    let (_, body) = received.recv_timeout(PATIENCE).expect("no span has come");
    assert!(has(&body, b"/api/inventory/items/last") && has(&body, b"holdfast"));
}

#[test]
fn a_collector_that_is_away_or_says_nothing_is_a_warning_and_holds_nothing_up() {
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (address, is_deaf) in [(gone, false), (deaf.local_addr().unwrap(), true)] {
        let (_folder, mut app) = start(&format!("http://{address}"), &[]);
        let started = Instant::now();
        (0..50).for_each(|n| ask(&app, &format!("item-{n}")));
        assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
        std::thread::sleep(Duration::from_secs(1));
        let warnings = app.log().matches("traces cannot be sent").count();
        assert_eq!(warnings, usize::from(!is_deaf), "{}", app.log());
        let stopping = Instant::now();
        assert!(app.terminate().success());
        assert!(stopping.elapsed() < PATIENCE / 2, "{:?}", stopping.elapsed());
    }
}
