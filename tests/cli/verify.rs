//! `holdfast verify`: what is wrong, what only follows from that, and what is made again.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Place;
use super::support::TestApp;

const SMALL_SEGMENTS: &[&str] = &["--segment-mb", "1", "--snapshot-seconds", "1", "--idle-seconds", "1"];

/// What a service leaves that has ended in order: a log of some segments, and all that is kept beside it.
fn stopped(place: &Place) {
    let mut app = TestApp::start_in(&place.data(), 0, SMALL_SEGMENTS);
    let api = format!("http://127.0.0.1:{}/api", app.port);
    let webhook = json!({"url": "http://127.0.0.1:9/", "events": ["level.adjusted"]});
    ureq::post(format!("{api}/webhooks")).send_json(webhook).unwrap();
    let lines: String = (0..6000).map(|n| format!("SKU-{n},{n}\n")).collect();
    let import = ureq::post(format!("{api}/imports?storeId=s")).header("prefer", "wait=30");
    let import = import.header("content-type", "text/csv");
    import.send(format!("sku,quantity\n{lines}")).unwrap();
    let level = format!("{api}/inventory/stores/s/inventory/SKU-7/adjust");
    ureq::post(level)
        .send_json(json!({"delta": -1, "type": "SALE"}))
        .unwrap();
    ureq::post(format!("{api}/sync")).send_empty().unwrap();
    assert!(app.terminate().success());
}

/// Turns a bit in the middle of a file.
fn bend(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// What it tells a program, and how it ended.
fn verified(place: &Place) -> (Value, i32) {
    let ran = place.run(&["verify", "--json"]);
    (serde_json::from_str(&ran.out).unwrap(), ran.code)
}

/// What it tells a person of a kind, line by line.
fn told(place: &Place, kind: &str) -> Vec<String> {
    let out = place.run(&["verify"]).out;
    let lines = out.lines().filter_map(|line| line.strip_prefix(kind));
    lines.map(str::to_owned).collect()
}

fn snapshots(place: &Place) -> Vec<PathBuf> {
    let inside = |path: PathBuf| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    inside(place.data().join("skus")).flat_map(inside).collect()
}

#[test]
fn what_the_service_makes_again_by_itself_is_named_and_is_not_wrong() {
    let place = Place::new();
    stopped(&place);
    assert_eq!(verified(&place).0["remade"], json!([]));
    let names = [
        "central.json",
        "sales.json",
        "checkpoint.json",
        "events/0000000000000001.index",
    ];
    names.iter().for_each(|name| bend(&place.data().join(name)));
    let (report, code) = verified(&place);
    assert_eq!((code, &report["faults"]), (0, &json!([])), "{report}");
    let lines = told(&place, "made again by itself: ");
    assert_eq!(
        (report["remade"].as_array().unwrap().len(), lines.len()),
        (4, 4),
        "{report}"
    );
    for name in names {
        assert!(lines.iter().any(|line| line.contains(name)), "{name}: {lines:?}");
    }
    assert_eq!(told(&place, "whole: ").len(), 1);
    // And so it does.
    let mut app = TestApp::start_in(&place.data(), 0, SMALL_SEGMENTS);
    ureq::post(format!("http://127.0.0.1:{}/api/sync", app.port))
        .send_empty()
        .unwrap();
    assert!(app.terminate().success());
    let (report, code) = verified(&place);
    assert_eq!((code, &report["remade"]), (0, &json!([])), "{report}");
}

#[test]
fn what_no_log_makes_again_is_wrong() {
    let place = Place::new();
    stopped(&place);
    let job = std::fs::read_dir(place.data().join("jobs")).unwrap().next().unwrap();
    for path in [
        place.data().join("deliveries.json"),
        job.unwrap().path().join("state.json"),
    ] {
        let whole = std::fs::read(&path).unwrap();
        bend(&path);
        let (report, code) = verified(&place);
        let faults = report["faults"].as_array().unwrap();
        assert_eq!((code, faults.len()), (1, 1), "{report}");
        assert!(faults[0].as_str().unwrap().contains(path.to_str().unwrap()), "{report}");
        std::fs::write(&path, whole).unwrap();
    }
    place.assert_verifies();
}

#[test]
fn what_follows_from_one_fault_is_counted_and_not_listed() {
    let place = Place::new();
    stopped(&place);
    let segment = place.data().join("events/0000000000000001.jsonl");
    bend(&segment);
    let (report, code) = verified(&place);
    let faults = report["faults"].as_array().unwrap();
    assert_eq!((code, faults.len()), (1, 2), "{report}");
    let first = faults[0].as_str().unwrap();
    assert!(
        first.contains(segment.to_str().unwrap()) && first.contains("at byte"),
        "{report}"
    );
    let second = faults[1].as_str().unwrap();
    assert!(second.contains("are of records that could not be read"), "{report}");
    let states: u64 = second.split(' ').next().unwrap().parse().unwrap();
    assert!(states > 2000, "{second}");
}

#[test]
fn of_many_faults_the_first_are_said_and_the_rest_counted() {
    let place = Place::new();
    stopped(&place);
    for n in 0..25 {
        let job = place.data().join(format!("jobs/{n}"));
        std::fs::create_dir(&job).unwrap();
        std::fs::write(job.join("state.json"), "nothing").unwrap();
        std::fs::create_dir_all(place.data().join("skus/00")).unwrap();
        std::fs::write(place.data().join(format!("skus/00/{n}.json")), "nothing").unwrap();
    }
    for (kind, list) in [("made again by itself: ", "remade"), ("WRONG: ", "faults")] {
        let lines = told(&place, kind);
        assert_eq!((lines.len(), &*lines[10]), (11, "and 15 more (--json lists all)"));
        assert_eq!(verified(&place).0[list].as_array().unwrap().len(), 25);
    }
}

#[test]
fn a_log_that_is_gone_is_wrong_though_all_that_was_made_from_it_is_damaged() {
    let place = Place::new();
    stopped(&place);
    let (events, checkpoint) = (place.data().join("events"), place.data().join("checkpoint.json"));
    std::fs::remove_dir_all(&events).unwrap();
    std::fs::create_dir(&events).unwrap();
    let is_gone = || {
        let (report, code) = verified(&place);
        let faults = report["faults"].to_string();
        assert!(
            code == 1 && faults.contains("the log is empty, though there is state"),
            "{report}"
        );
    };
    bend(&checkpoint);
    snapshots(&place).iter().for_each(|path| bend(path));
    is_gone();
    std::fs::remove_dir_all(place.data().join("skus")).unwrap();
    is_gone();
    std::fs::remove_file(&checkpoint).unwrap();
    std::fs::create_dir_all(place.data().join("skus/00")).unwrap();
    is_gone();
}
