//! Imports that are killed in the middle: every line is in once, and what was sold between is not undone.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::support::TestApp;
use super::{assert_verifies, fixed_port, within};

const LINES: u64 = 30_000;
const KILLS: usize = 10;
const PATIENCE: Duration = Duration::from_secs(120);

/// What the log tells of a SKU.
#[derive(Default)]
struct Told {
    counts: u64,
    counted: u64,
    added: u64,
}

/// Adds one here and there to what is in already, until it is told to end; returns the keys that were answered.
fn add_here_and_there(port: u16, imported: &AtomicU64, is_over: &AtomicBool) -> Vec<(u64, String)> {
    let client = Client::new(port);
    let (mut answered, mut n) = (Vec::new(), 0_u64);
    while !is_over.load(Ordering::Relaxed) {
        n += 1;
        // Mostly of the chunk that is just coming in.
        let sku = imported.load(Ordering::Relaxed) + n * 7919 % 2000;
        let key = format!("add-{n}");
        match client.add_one(&format!("S{sku}"), &key, &key) {
            Some(answer) if answer.status == 200 => answered.push((sku, key)),
            Some(_) => {}
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    answered
}

/// Kills when a chunk is in, and that it is cannot be written down: the next start finds the place before it.
fn kill_before_the_place_is_kept(app: &mut TestApp, client: &Client, path: &str) {
    let kept = app.folder().join(path.strip_prefix("/api/").unwrap());
    let elsewhere = app.folder().join("elsewhere");
    std::fs::rename(&kept, &elsewhere).unwrap();
    let waits = within(PATIENCE, || {
        let shown = job(client, path);
        shown["waiting"]
            .as_str()
            .is_some_and(|why| why.starts_with("Its state cannot be written"))
    });
    assert!(waits, "{}", job(client, path));
    // Some of what has come in is added to.
    std::thread::sleep(Duration::from_millis(100));
    app.kill();
    std::fs::rename(&elsewhere, &kept).unwrap();
}

fn job(client: &Client, path: &str) -> Value {
    client.get(path).body
}

#[test]
fn every_line_is_in_once_whatever_the_service_was_killed_in_and_no_sale_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), fixed_port(), &[]);
    let client = Client::new(app.port);
    let rows: String = (0..LINES).map(|n| format!("S{n},{}\n", 1000 + n)).collect();
    let path = client.import("s", &format!("sku,quantity\n{rows}"));
    let (port, imported, is_over) = (app.port, AtomicU64::new(0), AtomicBool::new(false));
    let answered = std::thread::scope(|scope| {
        let adding = scope.spawn(|| add_here_and_there(port, &imported, &is_over));
        let step = LINES / (KILLS as u64 + 1);
        for kill in 1..=KILLS as u64 {
            let reached = within(PATIENCE, || {
                let so_far = job(&client, &path)["imported"].as_u64().unwrap();
                imported.store(so_far, Ordering::Relaxed);
                so_far > kill * step - 900
            });
            assert!(reached, "{}", job(&client, &path));
            match kill % 2 {
                0 => {
                    std::thread::sleep(Duration::from_millis(7 * kill % 40));
                    app.kill();
                }
                _ => kill_before_the_place_is_kept(&mut app, &client, &path),
            }
            app = TestApp::start_in(folder.path(), port, &[]);
        }
        let ended = within(PATIENCE, || job(&client, &path)["status"] == "succeeded");
        assert!(ended, "{}", job(&client, &path));
        is_over.store(true, Ordering::Relaxed);
        adding.join().unwrap()
    });
    let ended = job(&client, &path);
    assert_eq!(
        (ended["imported"].as_u64(), ended["failedLines"].as_u64()),
        (Some(LINES), Some(0)),
        "{ended}"
    );
    assert!(answered.len() > 20, "only {} adds were answered", answered.len());
    audit(&client, &answered);
    assert!(app.terminate().success());
    assert_verifies(folder.path());
}

/// Each SKU is counted once, and holds its count and what was added.
fn audit(client: &Client, answered: &[(u64, String)]) {
    let (mut told, mut keys) = (BTreeMap::<String, Told>::new(), BTreeMap::<String, u64>::new());
    for event in client.all("/api/events?") {
        let change = &event["changes"][0];
        let told = told.entry(change["sku"].as_str().unwrap().to_owned()).or_default();
        match change["movement"].as_str() {
            Some("COUNT") => {
                told.counts += 1;
                told.counted = change["quantity"].as_u64().unwrap();
            }
            _ => {
                told.added += 1;
                *keys.entry(event["note"].as_str().unwrap().to_owned()).or_default() += 1;
            }
        }
    }
    assert_eq!(told.len() as u64, LINES);
    for n in 0..LINES {
        let told = &told[&format!("S{n}")];
        assert_eq!((told.counts, told.counted), (1, 1000 + n), "S{n}");
    }
    for (sku, key) in answered {
        assert_eq!(keys.get(key), Some(&1), "{key} on S{sku} was answered");
    }
    for level in client.list("s") {
        let told = &told[level["sku"].as_str().unwrap()];
        assert_eq!(level["quantity"].as_u64(), Some(told.counted + told.added), "{level}");
    }
}
