//! A headless Chromium, driven by WebDriver (W3C), which is JSON over HTTP: this is the part of it that the tests use.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use ureq::Agent;

/// How an element is named in answers (WebDriver, 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const PATIENCE: Duration = Duration::from_secs(15);

pub const TAB: &str = "\u{e004}";
pub const ENTER: &str = "\u{e007}";
pub const DOWN: &str = "\u{e015}";
pub const ESCAPE: &str = "\u{e00c}";

/// One browser at a time, as each takes a few hundred megabytes.
static TURN: Mutex<()> = Mutex::new(());

pub struct Browser {
    driver: Child,
    agent: Agent,
    /// Of the session, once there is one.
    url: String,
    _turn: MutexGuard<'static, ()>,
}

impl Browser {
    pub fn open(width: u32, height: u32) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver is not installed");
        let port = port(&mut driver);
        let config = Agent::config_builder().http_status_as_error(false);
        let config = config.timeout_global(Some(Duration::from_secs(60)));
        let mut browser = Self {
            driver,
            agent: config.build().into(),
            url: format!("http://127.0.0.1:{port}/session"),
            _turn: turn,
        };
        let made = browser.post("", &capabilities(width, height));
        let id = made["sessionId"].as_str().expect("no session").to_owned();
        browser.url = format!("{}/{id}", browser.url);
        browser.resize(width, height);
        browser
    }

    pub fn go(&self, url: &str) {
        self.post("/url", &json!({"url": url}));
    }

    pub fn reload(&self) {
        self.post("/refresh", &json!({}));
    }

    /// Runs a script in the page; what it returns.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.post(&format!("{}/click", self.element(selector)), &json!({}));
    }

    #[track_caller]
    pub fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.post(&format!("{element}/clear"), &json!({}));
        self.post(&format!("{element}/value"), &json!({"text": text}));
    }

    /// Keys, one after the other, to whatever has the focus.
    #[track_caller]
    pub fn press(&self, keys: &[&str]) {
        let steps = keys.iter().flat_map(|key| {
            let step = |kind: &str| json!({"type": kind, "value": key});
            [step("keyDown"), step("keyUp")]
        });
        let steps: Vec<Value> = steps.collect();
        let keyboard = json!([{"type": "key", "id": "keyboard", "actions": steps}]);
        self.post("/actions", &json!({"actions": keyboard}));
    }

    /// What is to be read in the elements of this selector; nothing where there is none, or where it is hidden.
    pub fn text(&self, selector: &str) -> String {
        let script = format!(
            "return [...document.querySelectorAll({})].filter((element) => element.checkVisibility())\
             .map((element) => element.innerText).join('\\n')",
            json!(selector)
        );
        self.run(&script).as_str().unwrap().to_owned()
    }

    pub fn is_shown(&self, selector: &str) -> bool {
        let script = format!(
            "return document.querySelector({})?.checkVisibility() ?? false",
            json!(selector)
        );
        self.run(&script) == true
    }

    /// Waits until the text has this part.
    #[track_caller]
    pub fn shows(&self, selector: &str, part: &str) {
        self.shows_within(PATIENCE, selector, part);
    }

    #[track_caller]
    pub fn shows_within(&self, patience: Duration, selector: &str, part: &str) {
        let told = format!("{selector} does not show {part:?}");
        self.comes_true(patience, &told, || self.text(selector).contains(part));
    }

    #[track_caller]
    pub fn comes_true(&self, patience: Duration, told: &str, mut is_true: impl FnMut() -> bool) {
        let deadline = Instant::now() + patience;
        while !is_true() {
            if Instant::now() > deadline {
                self.picture("failed");
                panic!("{told}, but: {}\n{:?}", self.text("body"), self.errors());
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// What the console has to complain about since it was asked last.
    pub fn errors(&self) -> Vec<String> {
        let entries = self.log("browser");
        let bad = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        bad.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }

    /// The URLs of all requests since it was asked last.
    pub fn requests(&self) -> Vec<String> {
        let entries = self.log("performance");
        let messages = entries.iter().map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            message["message"].clone()
        });
        let sent = messages.filter(|message| message["method"] == "Network.requestWillBeSent");
        sent.map(|message| message["params"]["request"]["url"].as_str().unwrap().to_owned())
            .collect()
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.post("/se/log", &json!({"type": kind}));
        entries.as_array().unwrap().clone()
    }

    /// The size of the page, also where no window can be as narrow.
    pub fn resize(&self, width: u32, height: u32) {
        let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// What the system is said to prefer, such as `prefers-color-scheme: dark`.
    pub fn prefer(&self, feature: &str, value: &str) {
        let features = json!({"features": [{"name": feature, "value": value}]});
        self.devtools("Emulation.setEmulatedMedia", features);
    }

    fn devtools(&self, command: &str, parameters: Value) {
        self.post("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}));
    }

    /// Keeps what is to be seen, in `target/screenshots`.
    pub fn picture(&self, name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
        std::fs::create_dir_all(&folder).unwrap();
        let encoded = self.get("/screenshot");
        let png = STANDARD.decode(encoded.as_str().unwrap()).unwrap();
        std::fs::write(folder.join(format!("{name}.png")), png).unwrap();
    }

    #[track_caller]
    fn element(&self, selector: &str) -> String {
        let asked = json!({"using": "css selector", "value": selector});
        let found = self.post("/element", &asked);
        format!("/element/{}", found[ELEMENT].as_str().unwrap())
    }

    #[track_caller]
    fn post(&self, command: &str, body: &Value) -> Value {
        let answer = self.agent.post(format!("{}{command}", self.url)).send_json(body);
        told(command, answer)
    }

    #[track_caller]
    fn get(&self, command: &str) -> Value {
        told(command, self.agent.get(format!("{}{command}", self.url)).call())
    }
}

#[track_caller]
fn told(command: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
    let mut answer = answer.unwrap();
    let status = answer.status();
    let mut body: Value = answer.body_mut().read_json().unwrap();
    let value = body["value"].take();
    assert!(status.is_success(), "{command}: {value}");
    value
}

impl Drop for Browser {
    /// Ends the browser, which its driver has started, and then the driver.
    fn drop(&mut self) {
        let _ = self.agent.delete(&self.url).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// On which port it has come up, as it says itself.
fn port(driver: &mut Child) -> u16 {
    let mut lines = BufReader::new(driver.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let port = lines.find_map(|line| {
        let (_, rest) = line.split_once("started successfully on port ")?;
        rest.trim_end_matches('.').parse().ok()
    });
    std::thread::spawn(move || lines.for_each(drop));
    port.expect("chromedriver did not start")
}

fn capabilities(width: u32, height: u32) -> Value {
    let size = format!("--window-size={width},{height}");
    let arguments = [
        "--headless=new",
        // Who is root, as in a container no sandbox.
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        &size,
    ];
    json!({"capabilities": {"alwaysMatch": {
        "goog:chromeOptions": {"args": arguments},
        "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
    }}})
}
