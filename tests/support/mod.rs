//! The service as a process of its own, on a free port and a folder of its own.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod clock;
pub mod receiver;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const HOLDFAST: &str = env!("CARGO_BIN_EXE_holdfast");

/// What signs tokens, where callers must log in.
pub const SECRET: &str = "b7Vq0s1y4mXk9Zt2Lw8NfRc6HjPd3GeA";

pub struct TestApp {
    child: Child,
    pub port: u16,
    folder: PathBuf,
    log: Arc<Mutex<String>>,
    /// Removes the folder at the end, where it is this test's own.
    _temporary: Option<tempfile::TempDir>,
}

impl TestApp {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// On a new folder, with further arguments.
    pub fn start_with(args: &[&str]) -> Self {
        Self::start_new(args, &[])
    }

    /// On a new folder, where callers must log in, as often as a test likes: how often they may, `quotas.rs` tests.
    pub fn start_guarded(args: &[&str]) -> Self {
        Self::start_new(args, &[("HOLDFAST_JWT_SECRET", SECRET), ("HOLDFAST_LOGIN_RATE", "0")])
    }

    fn start_new(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut app = Self::start_under(temporary.path(), 0, args, environment);
        app._temporary = Some(temporary);
        app
    }

    /// On a folder that outlives it; port 0 takes a free one.
    pub fn start_in(folder: &Path, port: u16, args: &[&str]) -> Self {
        Self::start_under(folder, port, args, &[])
    }

    /// The same, in an environment of its own.
    pub fn start_under(folder: &Path, port: u16, args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(HOLDFAST);
        command.envs(environment.iter().copied());
        command
            .args(["serve", "--port", &port.to_string(), "--data-dir"])
            .arg(folder)
            .args(args);
        let mut child = command.env_remove("RUST_LOG").stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let ready = follow(BufReader::new(child.stderr.take().unwrap()), log.clone());
        let Ok(port) = ready.recv_timeout(Duration::from_secs(30)) else {
            let _ = child.kill();
            panic!("the service did not start:\n{}", log.lock().unwrap());
        };
        Self {
            child,
            port,
            folder: folder.to_owned(),
            log,
            _temporary: None,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its memory, in bytes.
    pub fn memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and what it exits with.
    pub fn terminate(&mut self) -> ExitStatus {
        let status = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
        self.child.wait().unwrap()
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Keeps what the service logs, and says on which port it takes requests.
fn follow(lines: impl BufRead + Send + 'static, log: Arc<Mutex<String>>) -> Receiver<u16> {
    let (ready, port) = channel();
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("takes requests at http://127.0.0.1:") {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                let _ = ready.send(digits.parse().unwrap());
            }
            let mut log = log.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    port
}
