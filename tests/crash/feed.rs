//! A thousand follow the log at once, and one of them does not read: it is dropped, the others are told of everything, and
//! the service grows by no more than the thousand connections need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::Client;
use super::support::TestApp;
use super::within;

const FOLLOWERS: usize = 1000;
/// What everybody is told of, and what only the idle one is.
const TOLD: u64 = 40;
/// Far more than the buffers between the service and the idle one can take.
const NOISE: usize = 15_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Buffers of a thousand connections, and what is kept for all of them.
const MOST_GROWTH: usize = 200 << 20;

#[test]
fn a_thousand_follow_and_the_one_who_does_not_read_is_dropped() {
    follow(1, TOLD);
}

#[test]
#[ignore = "the same four times over; `.ci/run` runs it"]
fn a_thousand_follow_and_the_one_who_does_not_read_is_dropped_for_long() {
    follow(4, TOLD * 5);
}

fn follow(rounds: u64, told: u64) {
    let app = TestApp::start_with(&["--answer-seconds", "2", "--workers", "2"]);
    let client = Client::new(app.port);
    client.put("WANTED", 0);
    client.put("NOISE", 0);
    let mut idle = open(app.port, "after=0");
    let (ready, heard, furthest) = (Barrier::new(FOLLOWERS), AtomicUsize::new(0), AtomicU64::new(0));
    let port = app.port;
    std::thread::scope(|scope| {
        for i in 0..FOLLOWERS - 1 {
            let (ready, heard, furthest) = (&ready, &heard, &furthest);
            let filter = if i % 2 == 0 {
                "sku=WANTED"
            } else {
                "sku=WANTED&lowStock=false"
            };
            let listen = move || {
                let mut stream = open(port, filter);
                expect_line(&mut stream, "id: ");
                ready.wait();
                for expected in 1..=rounds * told {
                    let data = expect_line(&mut stream, "data: ");
                    let event: Value = serde_json::from_str(&data).unwrap();
                    // Each adds one: so none is missed, none comes twice, and all come in order.
                    assert_eq!(event["changes"][0]["quantity"], expected);
                    heard.fetch_add(1, Ordering::Relaxed);
                    furthest.fetch_max(expected, Ordering::Relaxed);
                }
            };
            let thread = std::thread::Builder::new().stack_size(256 << 10);
            thread.spawn_scoped(scope, listen).unwrap();
        }
        ready.wait();
        let (before, begun) = (app.memory(), Instant::now());
        for round in 0..rounds {
            make_noise(&client, round);
            for i in 0..told {
                let key = format!("wanted-{round}-{i}");
                assert_eq!(client.add_one("WANTED", &key, "wanted").unwrap().status, 200);
            }
            let all = (FOLLOWERS - 1) * ((round + 1) * told) as usize;
            let is_told = || heard.load(Ordering::Relaxed) == all;
            assert!(within(PATIENCE, is_told), "{} of {all}", heard.load(Ordering::Relaxed));
        }
        let grown = app.memory().saturating_sub(before);
        eprintln!("{rounds} rounds in {:?}, grown by {} MiB", begun.elapsed(), grown >> 20);
        assert!(grown < MOST_GROWTH, "grown by {} MiB", grown >> 20);
    });
    // What was on its way comes yet, and then its end.
    let mut rest = String::new();
    let _ = idle.read_to_string(&mut rest);
    let last = rest.matches("\nid: ").count() as u64;
    let end = client.get("/api/events?after=9007199254740991").body["end"]
        .as_u64()
        .unwrap();
    eprintln!("the idle one was told of {last} of {end}");
    assert!(last < end, "it was waited for");
}

/// Big events that nobody but the idle one has asked for.
fn make_noise(client: &Client, round: u64) {
    let note = "n".repeat(1000);
    for part in 0..NOISE / 3000 {
        let operation = |i| json!({"op": "set", "sku": "NOISE", "storeId": "s", "quantity": i, "note": note});
        let operations: Vec<Value> = (0..3000).map(operation).collect();
        let body = json!({ "operations": operations });
        let key = format!("noise-{round}-{part}");
        let answer = client.send("POST", "/api/inventory/batch", &body, &key).unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

fn open(port: u16, query: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET /api/events/stream?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::with_capacity(4096, stream)
}

/// The next line that begins so, without its beginning. What frames the parts of the body stands on lines of its own.
fn expect_line(stream: &mut BufReader<TcpStream>, begin: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "it has ended");
        if let Some(rest) = line.strip_prefix(begin) {
            return rest.trim_end().to_owned();
        }
    }
}
