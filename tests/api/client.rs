//! A client that opens a connection per request and checks of every answer what all answers promise.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Index;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Request;

use crate::support::TestApp;

pub const JSON: (&str, &str) = ("content-type", "application/json");
const PATIENCE: Duration = Duration::from_secs(20);
/// A stream has no end: of one, it is read what comes in this time.
const GLANCE: Duration = Duration::from_millis(150);

/// The path of a level in the store that tests use where the store does not matter.
pub fn at(sku: &str) -> String {
    at_in("s1", sku)
}

pub fn at_in(store: &str, sku: &str) -> String {
    format!("/api/inventory/stores/{store}/inventory/{sku}")
}

pub fn item(sku: &str) -> String {
    format!("/api/inventory/items/{sku}")
}

pub fn operation(key: &str) -> String {
    format!("/api/operations/{key}")
}

/// What asks the service: the app, or only its port, for a thread that outlives the app.
pub trait Client {
    fn port(&self) -> u16;

    fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    fn put(&self, path: &str, body: Value) -> Answer {
        self.put_with(path, &[], body)
    }

    fn post(&self, path: &str, body: Value) -> Answer {
        self.post_with(path, &[], body)
    }

    fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, None)
    }

    fn put_with(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        self.send(
            "PUT",
            path,
            &[&[JSON], headers].concat(),
            Some(body.to_string().as_bytes()),
        )
    }

    fn post_with(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        self.send(
            "POST",
            path,
            &[&[JSON], headers].concat(),
            Some(body.to_string().as_bytes()),
        )
    }

    #[track_caller]
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Answer {
        let answer = self.try_send(method, path, headers, body).unwrap();
        answer.keeps_what_every_reply_promises();
        answer
    }

    fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Answer, ureq::Error> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true);
        let agent: Agent = config
            .max_idle_connections(0)
            .timeout_global(Some(PATIENCE))
            .timeout_recv_body(path.starts_with("/api/events/stream").then_some(GLANCE))
            .build()
            .into();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://127.0.0.1:{}{path}", self.port()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = match body {
            Some(body) => agent.run(request.body(body).unwrap())?,
            None => agent.run(request.body(()).unwrap())?,
        };
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect();
        let mut answer = Answer::new(path, response.status().as_u16(), headers, Vec::new());
        if answer.header("content-type") == Some("text/event-stream") {
            let _ = response.body_mut().as_reader().read_to_end(&mut answer.body);
            return Ok(answer);
        }
        let body = response.body_mut().read_to_vec()?;
        Ok(Answer::new(path, answer.status, answer.headers, body))
    }

    /// Sends a request whose target no library would leave as it is.
    #[track_caller]
    fn send_raw(&self, method: &str, target: &str, body: &str) -> Answer {
        let length = body.len();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        let content = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
        let mut answer = self.send_bytes(format!("{head}{content}").as_bytes());
        answer.path = target.to_owned();
        answer.keeps_what_every_reply_promises();
        answer
    }

    /// Sends bytes as they are and reads one answer, unchecked.
    #[track_caller]
    fn send_bytes(&self, bytes: &[u8]) -> Answer {
        let mut connection = self.connect();
        // A service that has answered already need not read the rest.
        let _ = connection.get_mut().write_all(bytes);
        read_answer(&mut connection)
    }

    fn connect(&self) -> BufReader<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(stream)
    }

    /// Puts a new level in place.
    #[track_caller]
    fn stock(&self, sku: &str, quantity: u64) {
        self.put(&at(sku), json!({"quantity": quantity})).expect(201);
    }

    /// Holds some of a level; returns the reservation's id.
    #[track_caller]
    fn hold(&self, sku: &str, quantity: u64) -> String {
        let answer = self
            .post(&format!("{}/reserve", at(sku)), json!({"quantity": quantity}))
            .expect(201);
        answer["reservation"]["reservationId"].as_str().unwrap().to_owned()
    }

    /// Quantity, reserved and version of a level.
    #[track_caller]
    fn state(&self, sku: &str) -> (u64, u64, u64) {
        self.get(&at(sku)).expect(200).state()
    }
}

impl Client for TestApp {
    fn port(&self) -> u16 {
        self.port
    }
}

impl Client for u16 {
    fn port(&self) -> u16 {
        *self
    }
}

#[derive(Debug)]
pub struct Answer {
    path: String,
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Null where the body is not JSON.
    pub json: Value,
}

impl Answer {
    fn new(path: &str, status: u16, headers: Vec<(String, String)>, body: Vec<u8>) -> Self {
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Self {
            path: path.to_owned(),
            status,
            headers,
            body,
            json,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Of a header that may stand there more than once.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let found = self
            .headers
            .iter()
            .filter(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} answered {}", self.path, self.text());
        self
    }

    /// Quantity, reserved and version of the level that it shows.
    #[track_caller]
    pub fn state(&self) -> (u64, u64, u64) {
        let number = |name: &str| {
            self[name]
                .as_u64()
                .unwrap_or_else(|| panic!("no {name} in {}", self.text()))
        };
        assert_eq!(number("available"), number("quantity") - number("reserved"));
        (number("quantity"), number("reserved"), number("version"))
    }

    /// It is a problem document of this status and code, with all that belongs to its form.
    #[track_caller]
    pub fn refused(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status, self["error"].as_str()),
            (status, Some(code)),
            "{}: {}",
            self.path,
            self.text()
        );
        self.is_a_problem();
        self
    }

    /// It is a refusal as the Node services wrote them.
    #[track_caller]
    pub fn refused_as_node(self, status: u16, error: &str) -> Self {
        let text = self.text();
        assert_eq!(
            (self.status, self["error"].as_str()),
            (status, Some(error)),
            "{}: {text}",
            self.path
        );
        assert_eq!(self.header("content-type"), Some("application/json"), "{text}");
        assert!(
            self["detail"].as_str().is_some_and(|sentence| !sentence.is_empty()),
            "{text}"
        );
        assert_eq!(self["requestId"].as_str(), self.header("x-request-id"), "{text}");
        assert_eq!(self["type"], Value::Null, "it is a problem document: {text}");
        self
    }

    /// The same of an answer that was read from a connection, and does not know what was asked.
    #[track_caller]
    pub fn refused_at(mut self, path: &str, status: u16, code: &str) -> Self {
        self.path = path.to_owned();
        self.refused(status, code)
    }

    #[track_caller]
    pub fn is_a_problem(&self) {
        let text = self.text();
        let code = self["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{} without a code: {text:?}", self.status));
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{text}");
        assert_eq!(self["type"], format!("/problems/{code}"), "{text}");
        assert_eq!(self["status"], self.status, "{text}");
        assert_eq!(self["instance"].as_str(), self.path.split('?').next(), "{text}");
        assert_eq!(self["requestId"].as_str(), self.header("x-request-id"), "{text}");
        for member in ["title", "detail"] {
            assert!(
                self[member].as_str().is_some_and(|sentence| !sentence.is_empty()),
                "no {member}: {text}"
            );
        }
        assert!(is_time(&self["timestamp"]), "{text}");
        if code == "invalid_request" {
            let fields = self["fields"].as_array().unwrap_or_else(|| panic!("no fields: {text}"));
            assert!(
                fields
                    .iter()
                    .all(|field| field["field"].is_string() && field["message"].is_string()),
                "{text}"
            );
        }
    }

    /// The fields that an `invalid_request` names.
    pub fn fields(&self) -> Vec<&str> {
        let fields = self["fields"].as_array().into_iter().flatten();
        fields.filter_map(|field| field["field"].as_str()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(600).collect()
    }

    #[track_caller]
    pub fn keeps_what_every_reply_promises(&self) {
        let told = format!("{} {} with {:?}", self.path, self.status, self.headers);
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"), "{told}");
        // Files of the dashboard are everybody's, and may be kept as long as it is asked whether they are still the same.
        let is_file = self.path.starts_with("/dashboard/") && [200, 304].contains(&self.status);
        let kept = if is_file { "no-cache" } else { "no-store" };
        assert_eq!(self.header("cache-control"), Some(kept), "{told}");
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()), "{told}");
        assert_eq!(self.header("server"), None, "{told}");
    }
}

impl Index<&str> for Answer {
    type Output = Value;

    fn index(&self, member: &str) -> &Value {
        &self.json[member]
    }
}

/// Reads an answer to its end, past interim ones.
#[track_caller]
pub fn read_answer(connection: &mut BufReader<TcpStream>) -> Answer {
    loop {
        let line = read_line(connection);
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer, but {line:?}"));
        let lines = std::iter::from_fn(|| Some(read_line(connection)).filter(|line| !line.is_empty()));
        let headers: Vec<(String, String)> = lines
            .map(|line| {
                line.split_once(':')
                    .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                    .unwrap()
            })
            .collect();
        if status != 100 {
            let mut answer = Answer::new("", status, headers, Vec::new());
            let length = answer
                .header("content-length")
                .and_then(|length| length.parse().ok())
                .unwrap_or(0);
            let mut body = vec![0; length];
            connection.read_exact(&mut body).unwrap();
            answer.json = serde_json::from_slice(&body).unwrap_or_default();
            answer.body = body;
            return answer;
        }
    }
}

fn read_line(connection: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    connection.read_line(&mut line).unwrap();
    line.trim_end_matches(['\r', '\n']).to_owned()
}

/// Every row of a list, page by page along its `Link`s. Each page but the last must be full.
#[track_caller]
pub fn all_pages(app: &impl Client, path: &str, limit: usize) -> Vec<Value> {
    let mark = if path.contains('?') { '&' } else { '?' };
    let (mut rows, mut target) = (Vec::new(), format!("{path}{mark}limit={limit}"));
    loop {
        let page = app.get(&target).expect(200);
        let items = page["items"]
            .as_array()
            .unwrap_or_else(|| panic!("no items: {}", page.text()));
        rows.extend(items.iter().cloned());
        let Some(link) = page.header("link") else {
            assert_eq!(page["next"], Value::Null, "{}", page.text());
            return rows;
        };
        assert_eq!(items.len(), limit, "{target}: {}", page.text());
        let (next, rel) = link.strip_prefix('<').unwrap().split_once('>').unwrap();
        assert_eq!(rel.replace(' ', ""), ";rel=\"next\"");
        assert!(next.contains(page["next"].as_str().unwrap()), "{link}");
        target = next.to_owned();
    }
}

/// One member of each row.
pub fn column(rows: &[Value], member: &str) -> Vec<String> {
    let texts = rows
        .iter()
        .map(|row| row[member].as_str().map_or(row[member].to_string(), str::to_owned));
    texts.collect()
}

/// A time as answers write it, so many milliseconds from now.
pub fn from_now(millis: i64) -> String {
    let time = chrono::Utc::now() + chrono::Duration::milliseconds(millis);
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// RFC 3339 in UTC with milliseconds.
pub fn is_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.len() == "2026-01-01T00:00:00.000Z".len() && text.ends_with('Z') && millis(value).is_some()
}

/// A time of an answer, as milliseconds since 1970.
pub fn millis(value: &Value) -> Option<i64> {
    Some(
        chrono::DateTime::parse_from_rfc3339(value.as_str()?)
            .ok()?
            .timestamp_millis(),
    )
}

/// Sleeps until the moment that an answer names has come.
pub fn sleep_until(moment: &Value) {
    let left = millis(moment).unwrap() - chrono::Utc::now().timestamp_millis();
    std::thread::sleep(Duration::from_millis(left.max(0).unsigned_abs()));
}

/// Waits until something is so, and says whether it came to be in time.
pub fn comes_true(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    is_so()
}
