//! A service that takes a batch and loses its answer, or cannot store an operation at first.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::Place;

type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// Answers by turns: the connection closed, 503 for an operation, all well. Says on which port, and what came.
fn start() -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let shared = seen.clone();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (connection, seen) = (connection.unwrap(), shared.clone());
            std::thread::spawn(move || serve(connection, &seen));
        }
    });
    (port, seen)
}

fn serve(mut connection: TcpStream, seen: &Seen) -> Option<()> {
    let mut input = BufReader::new(connection.try_clone().unwrap());
    loop {
        let (key, body) = request(&mut input)?;
        let Some(body) = body else {
            answer(&mut connection, &json!({"status": "ok"}));
            continue;
        };
        let count = body["operations"].as_array().unwrap().len();
        let turn = {
            let mut seen = seen.lock().unwrap();
            seen.push((key, body));
            seen.len()
        };
        let result =
            |index: usize, status: u16| json!({"index": index, "status": status, "detail": "Later.", "level": null});
        let results: Vec<Value> = match turn {
            1 => return None,
            2 => (0..count).map(|i| result(i, if i == 0 { 503 } else { 200 })).collect(),
            _ => (0..count).map(|i| result(i, 201)).collect(),
        };
        answer(&mut connection, &json!({ "results": results }));
    }
}

/// The idempotency key and the body of the next request, or of a GET nothing.
fn request(input: &mut impl BufRead) -> Option<(String, Option<Value>)> {
    let (mut key, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("idempotency-key") => key = value.to_owned(),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap(),
            _ if line == "\r\n" => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    Some((key, (length > 0).then(|| serde_json::from_slice(&body).unwrap())))
}

fn answer(connection: &mut TcpStream, body: &Value) {
    let body = body.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let _ = connection.write_all((head + &body).as_bytes());
}

#[test]
fn what_is_lost_is_sent_again_under_the_same_key() {
    let (port, seen) = start();
    let place = Place::new();
    // One SKU, so that all lines go over one connection.
    place.write("stock.csv", format!("sku,storeId,quantity\n{}", "A,s,1\n".repeat(1500)));
    let ran = place.run(&["import", "stock.csv", "--url", &format!("http://127.0.0.1:{port}")]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let seen = seen.lock().unwrap();
    let sizes: Vec<usize> = seen
        .iter()
        .map(|(_, body)| body["operations"].as_array().unwrap().len())
        .collect();
    assert_eq!(sizes, [1000, 1000, 1000, 500]);
    assert_eq!((&seen[0], &seen[1]), (&seen[1], &seen[2]));
    assert_ne!(seen[2].0, seen[3].0);
    assert!(!seen[0].0.is_empty());
    assert_eq!(
        seen[3].1["operations"][0],
        json!({"op": "set", "sku": "A", "storeId": "s", "quantity": 1})
    );
}
