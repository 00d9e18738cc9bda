//! A plain client: one request, one answer or none, and never a repeat of its own.

use std::time::Duration;

use serde_json::{Value, json};

use super::trade::Place;

pub const LEVELS: &str = "/api/inventory/stores/s/inventory";

pub struct Client {
    agent: ureq::Agent,
    base: String,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub replayed: bool,
    pub body: Value,
}

impl Answer {
    /// The problem's code; empty where it is none.
    pub fn error(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }
}

type Response = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

impl Client {
    pub fn new(port: u16) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build();
        Self {
            agent: config.new_agent(),
            base: format!("http://127.0.0.1:{port}"),
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        read(self.agent.get(format!("{}{path}", self.base)).call()).expect("a read is answered")
    }

    pub fn put(&self, sku: &str, quantity: u64) -> Answer {
        let url = format!("{}{LEVELS}/{sku}", self.base);
        read(self.agent.put(url).send_json(json!({ "quantity": quantity }))).expect("a count is answered")
    }

    /// Adds one, under a key; `None` where no answer came.
    pub fn add_one(&self, sku: &str, key: &str, note: &str) -> Option<Answer> {
        let url = format!("{}{LEVELS}/{sku}/adjust", self.base);
        let request = self.agent.post(url).header("Idempotency-Key", key);
        read(request.send_json(json!({"delta": 1, "note": note})))
    }

    /// A write under a key, which is its request id too; `None` where no answer came.
    pub fn send(&self, method: &str, path: &str, body: &Value, key: &str) -> Option<Answer> {
        let url = format!("{}{path}", self.base);
        let request = match method {
            "PUT" => self.agent.put(url),
            _ => self.agent.post(url),
        };
        let request = request.header("Idempotency-Key", key).header("X-Request-Id", key);
        // As bytes, a repeat has to be the same whoever sends it.
        let request = request.header("Content-Type", "application/json");
        read(request.send(body.to_string()))
    }

    /// The path of the job that a text of CSV becomes.
    pub fn import(&self, store: &str, text: &str) -> String {
        let url = format!("{}/api/imports?storeId={store}", self.base);
        let request = self.agent.post(url).header("Content-Type", "text/csv");
        let answer = read(request.send(text)).expect("an import is answered");
        assert_eq!(answer.status, 202, "{answer:?}");
        format!("/api/jobs/{}", answer.body["jobId"].as_str().unwrap())
    }

    /// How a text of CSV is refused.
    pub fn refused_import(&self, text: &str) -> Answer {
        let request = self.agent.post(format!("{}/api/imports", self.base));
        read(request.header("Content-Type", "text/csv").send(text)).expect("an import is answered")
    }

    /// The status of a removal; `None` where no answer came.
    pub fn delete(&self, path: &str) -> Option<u16> {
        let response = self.agent.delete(format!("{}{path}", self.base)).call().ok()?;
        Some(response.status().as_u16())
    }

    /// A read as text, which may be a large one.
    pub fn text(&self, path: &str) -> String {
        let mut response = self
            .agent
            .get(format!("{}{path}", self.base))
            .call()
            .expect("a read is answered");
        let text = response
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_string()
            .unwrap();
        assert_eq!(response.status(), 200, "{path}: {text}");
        text
    }

    /// Quantity and version.
    pub fn level(&self, sku: &str) -> (u64, u64) {
        let answer = self.get(&format!("{LEVELS}/{sku}"));
        let member = |name| answer.body[name].as_u64().unwrap_or_else(|| panic!("{answer:?}"));
        (member("quantity"), member("version"))
    }

    /// Quantity and what is reserved of it.
    pub fn amounts(&self, place: Place) -> (u64, u64) {
        let answer = self.get(&place.level());
        let member = |name| answer.body[name].as_u64().unwrap_or_else(|| panic!("{answer:?}"));
        (member("quantity"), member("reserved"))
    }

    /// Whether the write under this key took effect, once that is decided.
    pub fn took_effect(&self, key: &str) -> bool {
        self.fate(key)
            .unwrap_or_else(|| panic!("what became of {key} is not decided yet"))
    }

    /// `None` while the write under this key is under way.
    pub fn fate(&self, key: &str) -> Option<bool> {
        let answer = self.get(&format!("/api/operations/{key}"));
        match (answer.status, answer.body["status"].as_str()) {
            (200, Some("completed")) => Some(true),
            (200, Some("pending")) => None,
            (404, _) => Some(false),
            _ => panic!("what became of {key}: {answer:?}"),
        }
    }

    pub fn is_ready(&self) -> bool {
        let answer = self.get("/api/health/ready");
        let has_reason = answer.body["reasons"][0]
            .as_str()
            .is_some_and(|reason| !reason.is_empty());
        assert_eq!(answer.status == 503, has_reason, "{answer:?}");
        answer.status == 200
    }

    /// Every level of a store, as the service lists them.
    pub fn list(&self, store: &str) -> Vec<Value> {
        self.all(&format!("/api/inventory/stores/{store}/inventory?"))
    }

    /// All pages of a list; what is asked ends where a parameter may follow.
    pub fn all(&self, list: &str) -> Vec<Value> {
        let (mut rows, mut after) = (Vec::new(), String::new());
        loop {
            let mut page: Value = serde_json::from_str(&self.text(&format!("{list}limit=1000{after}"))).unwrap();
            match page["items"].take() {
                Value::Array(items) => rows.extend(items),
                _ => panic!("{list} is no list"),
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return rows,
            }
        }
    }
}

fn read(response: Response) -> Option<Answer> {
    let mut response = response.ok()?;
    let status = response.status().as_u16();
    let replayed = response
        .headers()
        .get("idempotency-replayed")
        .is_some_and(|value| value == "true");
    let body = response.body_mut().read_json().ok()?;
    Some(Answer { status, replayed, body })
}
