//! The log as it grows, as server-sent events: from any place on nothing is lost or told twice, nobody is told more than
//! they may see at that moment, and nobody is waited for.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, JSON, at, at_in, comes_true, from_now};
use crate::staff::{Employee, FOREIGN, House, OWN};
use crate::support::TestApp;

const STREAM: &str = "/api/events/stream";
const PATIENCE: Duration = Duration::from_secs(20);
/// Heartbeats come for ever; no test waits so long for what it expects.
const LONGEST: Duration = Duration::from_secs(90);

/// A stream as a client reads it that keeps to the standard.
struct Stream {
    connection: BufReader<TcpStream>,
    head: String,
    text: String,
    opened: Instant,
    /// It has ended, and said so.
    is_whole: bool,
    /// The id from which the client would go on.
    last_id: Option<u64>,
}

/// What stands between two blank lines.
#[derive(Debug, Default, PartialEq)]
struct Block {
    id: Option<u64>,
    event: Option<String>,
    data: Option<Value>,
    retry: Option<u64>,
    is_comment: bool,
}

impl Stream {
    #[track_caller]
    fn open(port: u16, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let request = format!("GET {STREAM}{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut connection = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(connection.read_line(&mut head).unwrap() > 0, "no answer, but {head:?}");
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Self {
            connection,
            head: head.to_lowercase(),
            text: String::new(),
            opened: Instant::now(),
            is_whole: false,
            last_id: None,
        }
    }

    /// Past its first block, which says where it stands: nothing that is recorded from now on can be missed.
    #[track_caller]
    fn begun(port: u16, query: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = Self::open(port, query, headers);
        let first = stream.block().unwrap();
        assert!(
            first.retry.is_some() && first.id.is_some() && first.data.is_none(),
            "{first:?}"
        );
        stream
    }

    /// The next part of the body; `None` where it has ended, in order or not.
    fn part(&mut self) -> Option<String> {
        assert!(self.opened.elapsed() < LONGEST, "nothing but heartbeats comes");
        let mut line = String::new();
        match self.connection.read_line(&mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
            Err(error) => panic!("nothing came: {error}"),
        }
        let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
        let mut bytes = vec![0; size + 2];
        self.connection.read_exact(&mut bytes).ok()?;
        bytes.truncate(size);
        self.is_whole = size == 0;
        (size > 0).then(|| String::from_utf8(bytes).unwrap())
    }

    fn block(&mut self) -> Option<Block> {
        while !self.text.contains("\n\n") {
            let part = self.part()?;
            self.text.push_str(&part);
        }
        let (block, rest) = self.text.split_once("\n\n").unwrap();
        let mut found = Block::default();
        for line in block.lines() {
            match line.split_once(':') {
                Some(("", _)) => found.is_comment = true,
                Some(("id", id)) => found.id = Some(id.trim().parse().unwrap()),
                Some(("event", name)) => found.event = Some(name.trim().to_owned()),
                Some(("data", data)) => found.data = Some(serde_json::from_str(data).unwrap()),
                Some(("retry", millis)) => found.retry = Some(millis.trim().parse().unwrap()),
                _ => panic!("{line:?} is no line of an event stream"),
            }
        }
        self.text = rest.to_owned();
        self.last_id = found.id.or(self.last_id);
        Some(found)
    }

    /// What the client would be told next: blocks without data are no events.
    fn event(&mut self) -> Option<Value> {
        loop {
            let block = self.block()?;
            if let Some(data) = block.data {
                assert_eq!(block.id.map(Value::from), Some(data["seq"].clone()));
                assert_eq!(block.event.map(Value::from), Some(data["type"].clone()));
                return Some(data);
            }
        }
    }

    #[track_caller]
    fn seqs(&mut self, count: usize) -> Vec<u64> {
        let next = |_| self.event().expect("it has ended")["seq"].as_u64().unwrap();
        (0..count).map(next).collect()
    }

    /// Whether it comes to its end, whatever else it says until then.
    fn ends_within(&mut self, patience: Duration) -> bool {
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE && self.part().is_some() {}
        asked.elapsed() <= patience
    }

    /// Nothing but heartbeats comes in this time.
    #[track_caller]
    fn stays_quiet(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let block = self.block().expect("it has ended");
            assert_eq!(block.data, None);
        }
    }
}

fn adjust(app: &impl Client, store: &str, sku: &str, delta: i64) -> u64 {
    let answer = app
        .post(&format!("{}/adjust", at_in(store, sku)), json!({"delta": delta}))
        .expect(200);
    answer["seq"].as_u64().unwrap()
}

#[test]
fn a_stream_begins_with_what_is_new_or_behind_the_place_that_is_named() {
    let app = TestApp::start();
    for i in 0..5 {
        app.put(&at("A"), json!({"quantity": i}))
            .expect(if i == 0 { 201 } else { 200 });
    }
    let mut new = Stream::begun(app.port, "", &[]);
    assert_eq!(new.last_id, Some(5));
    let mut from_start = Stream::begun(app.port, "?after=0", &[]);
    assert_eq!(from_start.last_id, Some(0));
    let mut from_query = Stream::begun(app.port, "?after=3", &[]);
    // As a browser does that connects again: its header counts, and not the query that it repeats.
    let mut from_header = Stream::begun(app.port, "?after=0", &[("Last-Event-ID", "4")]);
    let mut empty = Stream::begun(app.port, "?after=2", &[("Last-Event-ID", "")]);
    let mut beyond = Stream::begun(app.port, "?after=6", &[]);
    app.put(&at("A"), json!({"quantity": 9})).expect(200);
    app.put(&at("A"), json!({"quantity": 9})).expect(200);
    assert_eq!(new.seqs(2), [6, 7]);
    assert_eq!(from_start.seqs(7), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(from_query.seqs(4), [4, 5, 6, 7]);
    assert_eq!(from_header.seqs(3), [5, 6, 7]);
    assert_eq!(empty.seqs(5), [3, 4, 5, 6, 7]);
    assert_eq!(beyond.seqs(1), [7]);
}

#[test]
fn a_place_that_is_none_is_refused_by_name() {
    let app = TestApp::start();
    for query in [
        "after=-1",
        "after=x",
        "after=",
        "after=1.5",
        "limit=1",
        "wait=1",
        "format=csv",
        "sku=",
        "lowStock=1",
    ] {
        let refused = app.get(&format!("{STREAM}?{query}")).refused(400, "invalid_request");
        assert_eq!(refused.fields(), [query.split('=').next().unwrap()]);
    }
    for id in ["x", "-1", "1.0", " 1 2", "9007199254740992", "ä"] {
        let refused = app
            .get_with(STREAM, &[("Last-Event-ID", id)])
            .refused(400, "invalid_request");
        assert_eq!(refused.fields(), ["Last-Event-ID"], "{id}");
    }
}

#[test]
fn an_event_is_sent_as_the_log_has_it_and_never_compressed_or_buffered() {
    let app = TestApp::start();
    let mut stream = Stream::begun(
        app.port,
        "",
        &[("Accept-Encoding", "gzip"), ("Accept", "text/event-stream")],
    );
    for header in [
        "content-type: text/event-stream\r\n",
        "cache-control: no-store\r\n",
        "x-accel-buffering: no\r\n",
        "x-content-type-options: nosniff\r\n",
    ] {
        assert!(stream.head.contains(header), "{}", stream.head);
    }
    assert!(!stream.head.contains("content-encoding"), "{}", stream.head);
    app.put(&at("A"), json!({"quantity": 1, "note": "two\nlines, and \u{2028}"}))
        .expect(201);
    app.hold("A", 1);
    let told = [stream.event().unwrap(), stream.event().unwrap()];
    let page = app.get("/api/events").expect(200);
    assert_eq!(page["items"], json!(told));
    let head = app.send("HEAD", STREAM, &[], None).expect(200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    app.post(STREAM, json!({})).refused(405, "method_not_allowed");
}

#[test]
fn whoever_comes_again_with_the_last_id_misses_nothing_and_is_told_nothing_twice() {
    const EVENTS: u64 = 600;
    let app = TestApp::start();
    for sku in ["A", "B", "C"] {
        app.stock(sku, 0);
    }
    let port = app.port;
    std::thread::scope(|scope| {
        for sku in ["A", "B", "C"] {
            scope.spawn(move || {
                (0..EVENTS / 3 - 1).for_each(|_| {
                    adjust(&port, "s1", sku, 1);
                })
            });
        }
        // Each leaves after another number of events, sooner or later.
        for step in [1, 7, 40, 1000] {
            scope.spawn(move || {
                let (mut seen, mut last) = (Vec::new(), 0);
                while last < EVENTS {
                    let id = last.to_string();
                    let mut stream = Stream::open(port, "", &[("Last-Event-ID", &id)]);
                    for _ in 0..step.min(EVENTS - last) {
                        seen.extend(stream.seqs(1));
                    }
                    last = stream.last_id.unwrap();
                    stream.connection.get_ref().shutdown(Shutdown::Both).unwrap();
                }
                assert!(seen.iter().copied().eq(1..=EVENTS), "by {step}: {seen:?}");
            });
        }
    });
}

#[test]
fn nothing_is_lost_across_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let (mut seen, mut last) = (Vec::new(), 0);
    for _ in 0..3 {
        let mut app = TestApp::start_in(folder.path(), 0, &[]);
        app.put(&at("A"), json!({"quantity": 1000}));
        let port = app.port;
        let writers: Vec<_> = (0..3)
            .map(|_| {
                std::thread::spawn(move || {
                    let path = format!("{}/adjust", at("A"));
                    let send = || port.try_send("POST", &path, &[JSON], Some(b"{\"delta\":1}"));
                    while send().is_ok_and(|answer| answer.status == 200) {}
                })
            })
            .collect();
        let mut stream = Stream::open(app.port, "", &[("Last-Event-ID", &last.to_string())]);
        seen.extend(stream.seqs(60));
        app.kill();
        // What had left the service is told all the same.
        while let Some(event) = stream.event() {
            seen.push(event["seq"].as_u64().unwrap());
        }
        last = *seen.last().unwrap();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    }
    assert!(seen.iter().copied().eq(1..=last), "{seen:?}");
    let app = TestApp::start_in(folder.path(), 0, &[]);
    let page = app.get("/api/events?after=9007199254740991").expect(200);
    assert!(page["end"].as_u64().unwrap() >= last, "told of what is not there");
}

#[test]
fn a_burst_of_more_than_is_kept_reaches_everybody_whole() {
    const BURST: usize = 9000;
    let app = TestApp::start();
    let mut streams: Vec<Stream> = (0..5).map(|_| Stream::begun(app.port, "", &[])).collect();
    let note = "n".repeat(700);
    let readers: Vec<_> = streams
        .drain(..)
        .map(|mut stream| std::thread::spawn(move || stream.seqs(BURST)))
        .collect();
    for _ in 0..3 {
        let operation =
            |i| json!({"op": "set", "sku": format!("A{}", i % 50), "storeId": "s1", "quantity": i, "note": note});
        let operations: Vec<Value> = (0..BURST / 3).map(operation).collect();
        app.post("/api/inventory/batch", json!({"operations": operations}))
            .expect(200);
    }
    for reader in readers {
        assert!(reader.join().unwrap().into_iter().eq(1..=BURST as u64));
    }
}

#[test]
fn a_filter_lets_through_what_fits_it() {
    let app = TestApp::start();
    app.put(&at_in("s1", "A"), json!({"quantity": 10, "reorderPoint": 5}))
        .expect(201);
    app.put(&at_in("s2", "B"), json!({"quantity": 10, "reorderPoint": 5}))
        .expect(201);
    let writes = || {
        adjust(&app, "s1", "A", -1);
        adjust(&app, "s1", "A", -4);
        adjust(&app, "s2", "B", -5);
        let moved = json!({"sku": "B", "fromStoreId": "s2", "toStoreId": "s1", "quantity": 1});
        app.post("/api/transfers", moved).expect(200);
        app.put(&at_in("s1", "A"), json!({"quantity": 10})).expect(200);
    };
    let filters = [
        ("sku=A", &[3, 4, 7][..]),
        ("storeId=s2", &[5, 6]),
        ("sku=B&storeId=s1", &[6]),
        ("lowStock=true", &[4, 5]),
        ("lowStock=true&storeId=s2", &[5]),
        ("type=level.transferred", &[6]),
        ("sku=B&lowStock=true&type=level.adjusted", &[5]),
    ];
    let streams = filters.map(|(filter, expected)| (Stream::begun(app.port, &format!("?{filter}"), &[]), expected));
    writes();
    for (mut stream, expected) in streams {
        assert_eq!(stream.seqs(expected.len()), expected);
    }
    // The same from the past, all of it in one go.
    for (filter, expected) in filters {
        let mut stream = Stream::begun(app.port, &format!("?{filter}&after=2"), &[]);
        assert_eq!(stream.seqs(expected.len()), expected, "{filter}");
    }
}

#[test]
fn a_silent_stream_says_that_it_lives_and_how_far_it_has_looked() {
    let app = TestApp::start_with(&["--keep-alive-seconds", "1"]);
    app.stock("A", 1);
    let mut stream = Stream::begun(app.port, "?sku=NONE", &[]);
    let begun = Instant::now();
    for _ in 0..4 {
        assert!(stream.block().unwrap().is_comment);
    }
    assert!(
        (1500..4000).contains(&begun.elapsed().as_millis()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(stream.last_id, Some(1));
    // Passed over by the filter: the client's place moves on with the next heartbeat, and nothing is told.
    for _ in 0..3 {
        adjust(&app, "s1", "A", 1);
    }
    let looked = comes_true(PATIENCE, || {
        let block = stream.block().unwrap();
        assert!(
            block.is_comment && block.data.is_none() && block.event.is_none(),
            "{block:?}"
        );
        stream.last_id == Some(4)
    });
    assert!(looked);
    let mut again = Stream::begun(app.port, "?sku=A", &[("Last-Event-ID", "4")]);
    again.stays_quiet(Duration::from_millis(1200));
}

fn bearer(employee: &Employee) -> String {
    employee.authorization().unwrap().to_owned()
}

#[track_caller]
fn follow(employee: &Employee, query: &str) -> Stream {
    Stream::begun(employee.port(), query, &[("Authorization", &bearer(employee))])
}

#[test]
fn a_clerk_is_told_of_own_stores_what_the_log_shows_them() {
    let house = House::open();
    let clerk = house.clerk();
    let mut live = follow(&clerk, "");
    for (store, sku) in [(OWN[0], "A"), (FOREIGN[0], "A"), (FOREIGN[1], "B"), (OWN[1], "B")] {
        let store = store.replace(' ', "%20");
        house
            .admin
            .put(&at_in(&store, sku), json!({"quantity": 10}))
            .expect(201);
    }
    let moved = |from: &str, to: &str| json!({"sku": "A", "fromStoreId": from, "toStoreId": to, "quantity": 1, "note": "ZSECRET"});
    house
        .admin
        .post("/api/transfers", moved(OWN[0], FOREIGN[0]))
        .expect(200);
    house
        .admin
        .post("/api/transfers", moved(FOREIGN[0], FOREIGN[1]))
        .expect(200);
    let line = |store: &str| json!({"sku": "A", "storeId": store, "quantity": 1});
    for (id, lines) in [
        ("near", json!([line(OWN[0])])),
        ("ZWIDE", json!([line(OWN[0]), line(FOREIGN[0])])),
        ("ZFAR", json!([line(FOREIGN[0])])),
    ] {
        let cart = json!({"lines": lines, "reservationId": id, "reference": format!("of {id}")});
        house.admin.post("/api/reservations", cart).expect(201);
        house
            .admin
            .post(&format!("/api/reservations/{id}/commit"), json!({}))
            .expect(200);
    }
    let page = clerk.get("/api/events").expect(200);
    let expected = page["items"].as_array().unwrap();
    assert!(expected.len() >= 6, "{}", page.text());
    let mut past = follow(&clerk, "?after=0");
    let mut cloud = follow(&clerk, "?after=0&format=cloudevents");
    for event in expected {
        assert_eq!(&live.event().unwrap(), event);
        assert_eq!(&past.event().unwrap(), event);
        assert_eq!(&cloud.block().unwrap().data.unwrap()["data"], event);
    }
    let told = json!(expected).to_string();
    for secret in ["ZFOREIGN", "ZSECRET", "ZWIDE", "ZFAR"] {
        assert!(!told.contains(secret), "{secret}");
    }
    clerk
        .get(&format!("{STREAM}?storeId=ZFOREIGN"))
        .refused(404, "not_found");
    clerk
        .get(&format!("{STREAM}?storeId=nowhere"))
        .refused(404, "not_found");
    house.nobody().get(STREAM).refused(401, "unauthenticated");
}

#[test]
fn a_stream_ends_when_its_token_is_revoked_or_over_and_others_go_on() {
    let house = House::open();
    let mut other = follow(&house.admin, "");
    let made = house
        .admin
        .post("/api/tokens", json!({"name": "till", "role": "viewer"}))
        .expect(201);
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let mut stream = Stream::begun(house.admin.port(), "", &[("Authorization", &format!("Bearer {token}"))]);
    house.admin.put(&at_in(OWN[0], "A"), json!({"quantity": 1})).expect(201);
    assert!(stream.event().is_some());
    house
        .admin
        .send("DELETE", &format!("/api/tokens/{id}"), &[], None)
        .expect(204);
    // Its own end is news enough: nothing else has to happen.
    assert!(stream.ends_within(Duration::from_secs(2)));

    let short = json!({"name": "short", "role": "viewer", "expiresAt": from_now(1500)});
    let made = house.admin.post("/api/tokens", short).expect(201);
    let token = format!("Bearer {}", made["token"].as_str().unwrap());
    let mut stream = Stream::begun(house.admin.port(), "", &[("Authorization", &token)]);
    let begun = Instant::now();
    assert!(stream.ends_within(Duration::from_secs(3)) && begun.elapsed() > Duration::from_millis(800));

    let seq = adjust(&house.admin, OWN[0], "A", 1);
    assert_eq!(other.seqs(2).last(), Some(&seq));
}

#[test]
fn a_right_that_is_taken_counts_before_the_next_event() {
    let house = House::open();
    let register = json!({"username": "ben", "password": "correct horse battery", "role": "viewer"});
    house.admin.post("/api/auth/register", register).expect(201);
    let login = json!({"username": "ben", "password": "correct horse battery"});
    let login = house.nobody().post("/api/auth/login", login).expect(200);
    let token = format!("Bearer {}", login["token"].as_str().unwrap());
    house
        .admin
        .put(&at_in(FOREIGN[0], "A"), json!({"quantity": 1}))
        .expect(201);
    for round in 0..10 {
        house.admin.put("/api/users/ben", json!({"stores": null})).expect(200);
        let mut stream = Stream::begun(house.admin.port(), "", &[("Authorization", &token)]);
        let before = adjust(&house.admin, FOREIGN[0], "A", 1);
        assert_eq!(stream.seqs(1), [before], "round {round}");
        house
            .admin
            .put("/api/users/ben", json!({"stores": [OWN[0]]}))
            .expect(200);
        adjust(&house.admin, FOREIGN[0], "A", 1);
        assert_eq!(
            stream.event(),
            None,
            "round {round}: told of a store after it was taken away"
        );
    }
    // The same token is good for what is left.
    let mut stream = Stream::begun(house.admin.port(), "?after=0", &[("Authorization", &token)]);
    house.admin.put(&at_in(OWN[0], "A"), json!({"quantity": 1})).expect(201);
    let first = stream.event().unwrap();
    assert_eq!(first["changes"][0]["storeId"], OWN[0]);
    house.admin.put("/api/users/ben", json!({"disabled": true})).expect(200);
    assert!(stream.ends_within(Duration::from_secs(2)));
    house.admin.get_with(STREAM, &[]).expect(200);
}

#[test]
fn a_stop_ends_streams_in_order_and_at_once() {
    let mut app = TestApp::start();
    app.stock("A", 0);
    let mut streams: Vec<Stream> = (0..50).map(|_| Stream::begun(app.port, "", &[])).collect();
    let seq = adjust(&app, "s1", "A", 1);
    for stream in &mut streams {
        assert_eq!(stream.seqs(1), [seq]);
    }
    let asked = Instant::now();
    assert!(app.terminate().success());
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    for stream in &mut streams {
        assert_eq!(stream.event(), None);
        assert!(stream.is_whole, "it was cut off");
    }
}

#[test]
fn a_reader_who_does_not_read_is_dropped_and_goes_on_from_its_last_id() {
    let app = TestApp::start_with(&["--answer-seconds", "1"]);
    let port = app.port;
    let mut lazy = Stream::begun(port, "?after=0", &[]);
    let mut eager = Stream::begun(port, "?after=0", &[]);
    let is_done = AtomicBool::new(false);
    let (lost, end) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut count = 0;
            while !is_done.load(Ordering::Relaxed)
                || count < port.get("/api/events?after=9007199254740991")["end"].as_u64().unwrap()
            {
                count += 1;
                assert_eq!(eager.seqs(1), [count]);
            }
            count
        });
        // More than all buffers on the way can take.
        let note = "n".repeat(1000);
        let operation =
            |i: usize| json!({"op": "set", "sku": format!("A{}", i % 9), "storeId": "s1", "quantity": i, "note": note});
        let operations: Vec<Value> = (0..3000).map(operation).collect();
        let body = json!({ "operations": operations });
        for _ in 0..6 {
            app.post("/api/inventory/batch", body.clone()).expect(200);
        }
        std::thread::sleep(Duration::from_secs(4));
        is_done.store(true, Ordering::Relaxed);
        adjust(&app, "s1", "A0", 1);
        let mut seen = Vec::new();
        while let Some(event) = lazy.event() {
            seen.push(event["seq"].as_u64().unwrap());
        }
        assert!(seen.iter().copied().eq(1..=seen.len() as u64));
        (seen.len() as u64, reader.join().unwrap())
    });
    assert!(lost < end, "nobody dropped it: it was told of all {end}");
    let streams = app.get("/api/metrics/background").expect(200)["streams"].clone();
    assert_eq!(streams["dropped"], 1, "{streams}");
    let mut again = Stream::begun(port, "", &[("Last-Event-ID", &lost.to_string())]);
    let rest = again.seqs((end - lost) as usize);
    assert!(rest.into_iter().eq(lost + 1..=end));
}

#[test]
fn a_stream_of_cloud_events_has_them_as_the_log_does() {
    let app = TestApp::start();
    let accept = [("Accept", "text/event-stream, application/cloudevents+json")];
    let mut streams = [
        Stream::begun(app.port, "?format=cloudevents", &[]),
        Stream::begun(app.port, "", &accept),
        Stream::begun(app.port, "?format=json", &accept),
    ];
    app.stock("A", 3);
    app.hold("A", 1);
    let batch = app.get("/api/events?format=cloudevents").expect(200);
    for (place, expected) in batch.json.as_array().unwrap().iter().enumerate() {
        for (i, stream) in streams.iter_mut().enumerate() {
            let block = stream.block().unwrap();
            let data = block.data.unwrap();
            let (expected, kind) = if i < 2 {
                (expected, &expected["data"]["type"])
            } else {
                (&expected["data"], &expected["data"]["type"])
            };
            assert_eq!(&data, expected);
            assert_eq!(
                (block.id, block.event.as_deref()),
                (Some(place as u64 + 1), kind.as_str())
            );
        }
    }
}

#[test]
fn streams_that_come_and_go_leave_nothing_behind() {
    let app = TestApp::start();
    app.stock("A", 0);
    let port = app.port;
    let seen: BTreeSet<u64> = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|i| {
                scope.spawn(move || {
                    let mut seen = Vec::new();
                    for _ in 0..12 {
                        let mut stream = Stream::begun(port, "?sku=A", &[]);
                        // Some are left while they wait, some in the middle, and at times nobody is there.
                        if i % 2 == 0 {
                            seen.extend(stream.seqs(2));
                        }
                    }
                    seen
                })
            })
            .collect();
        let writer = scope.spawn(move || {
            for _ in 0..120 {
                adjust(&port, "s1", "A", 1);
                std::thread::sleep(Duration::from_millis(15));
            }
        });
        let seen = readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect();
        writer.join().unwrap();
        seen
    });
    assert!(seen.len() > 20, "{seen:?}");
    std::thread::sleep(Duration::from_millis(100));
    let mut late = Stream::begun(port, "", &[]);
    let seq = adjust(&app, "s1", "A", 1);
    assert_eq!(late.seqs(1), [seq]);
}
