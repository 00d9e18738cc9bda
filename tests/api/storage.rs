//! What is on disk when a service starts: read back as it was written, or refused by name.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::client::{Client, at};
use crate::log::{events, segments};
use crate::support::{HOLDFAST, TestApp};

/// Serves the folder for ten writes, then ends by `kill -9` or in order.
fn written(folder: &Path, in_order: bool) {
    let mut app = TestApp::start_in(folder, 0, &[]);
    app.stock("A", 10);
    for note in 2..=9 {
        app.put(&at("A"), json!({"quantity": 10, "note": format!("write {note}")}))
            .expect(200);
    }
    app.hold("A", 4);
    if in_order {
        assert!(app.terminate().success())
    } else {
        app.kill()
    }
}

fn segment(folder: &Path) -> PathBuf {
    segments(folder).remove(0)
}

/// Does to the bytes of a file what `edit` does.
fn edit(path: &Path, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    edit(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn position(bytes: &[u8], text: &str) -> usize {
    bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())
        .unwrap()
}

/// What a service says that is to refuse this folder, and `verify` with it.
#[track_caller]
fn refused(folder: &Path) -> String {
    let run = |args: &[&str]| {
        Command::new("timeout")
            .arg("10")
            .arg(HOLDFAST)
            .args(args)
            .arg(folder)
            .output()
            .unwrap()
    };
    let verified = run(&["verify", "--data-dir"]);
    assert_eq!(
        verified.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    let served = run(&["serve", "--port", "0", "--data-dir"]);
    let said = String::from_utf8_lossy(&served.stderr).into_owned();
    assert!(
        served.status.code().is_some_and(|code| code != 0 && code != 124),
        "{}: {said}",
        served.status
    );
    assert!(!said.contains("takes requests"), "{said}");
    said
}

#[test]
fn what_was_answered_is_there_after_kill_9_and_after_an_orderly_stop() {
    for in_order in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), in_order);
        let app = TestApp::start_in(folder.path(), 0, &[]);
        assert_eq!(app.state("A"), (10, 4, 10));
        assert_eq!(
            app.post(&format!("{}/release", at("A")), json!({"quantity": 4}))
                .expect(200)["seq"],
            11
        );
    }
}

#[test]
fn a_changed_byte_in_the_log_is_refused_by_the_name_of_its_file() {
    for in_order in [false, true] {
        for place in [
            "\"seq\":1,",
            "\"note\":\"write 2\"",
            "\"quantity\":10",
            "write 7",
            "\"seal\":\"",
            "\"crc\":\"",
        ] {
            let folder = tempfile::tempdir().unwrap();
            written(folder.path(), in_order);
            edit(&segment(folder.path()), |bytes| {
                let at = position(bytes, place) + place.len() - 2;
                bytes[at] ^= 0x04;
            });
            let said = refused(folder.path());
            assert!(
                said.contains("0000000000000001.jsonl") && said.contains("damaged"),
                "{place}: {said}"
            );
        }
    }
}

#[test]
fn a_line_that_is_missing_from_the_middle_of_the_log_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), true);
    edit(&segment(folder.path()), |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let lines = text
            .split_inclusive('\n')
            .enumerate()
            .filter(|(i, _)| !(4..6).contains(i));
        *bytes = lines.map(|(_, line)| line).collect::<String>().into_bytes();
    });
    assert!(refused(folder.path()).contains("damaged"));
}

#[test]
fn an_acknowledged_write_that_is_missing_from_the_end_is_noticed_where_a_checkpoint_knows_it() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), true);
    edit(&segment(folder.path()), |bytes| {
        bytes.truncate(position(bytes, "write 9") - 40)
    });
    assert!(refused(folder.path()).contains("damaged"));
}

#[test]
fn a_log_of_a_newer_format_is_refused_as_such() {
    for line in [0, 6] {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), false);
        edit(&segment(folder.path()), |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            let newer = lines[line]
                .replacen("\"v\":1", "\"v\":2", 1)
                .replacen("\"group\"", "\"new\":0,\"group\"", 1);
            let covered = &newer[newer.find("\"v\":2").unwrap()..];
            lines[line] = format!("{{\"crc\":\"{:08x}\",{covered}", crc32c::crc32c(covered.as_bytes()));
            *bytes = (lines.join("\n") + "\n").into_bytes();
        });
        let said = refused(folder.path());
        assert!(
            said.contains("newer") && said.contains("0000000000000001.jsonl"),
            "{said}"
        );
    }
}

#[test]
fn a_line_of_a_newer_version_is_refused_though_it_looks_like_one_of_today() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), false);
    edit(&segment(folder.path()), |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // The seal of the first group, which no hash covers.
        let covered = lines[1][lines[1].find("\"v\":1").unwrap()..].replacen("\"v\":1", "\"v\":2", 1);
        lines[1] = format!("{{\"crc\":\"{:08x}\",{covered}", crc32c::crc32c(covered.as_bytes()));
        *bytes = (lines.join("\n") + "\n").into_bytes();
    });
    assert!(refused(folder.path()).contains("newer"));
}

#[test]
fn a_missing_log_is_noticed_where_there_is_a_checkpoint_of_it() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), true);
    std::fs::remove_file(segment(folder.path())).unwrap();
    assert!(refused(folder.path()).contains("damaged"));
}

#[test]
fn a_torn_tail_is_cut_off_and_reported_and_nothing_answered_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), false);
    let path = segment(folder.path());
    edit(&path, |bytes| {
        let end = bytes.trim_ascii_end().len() + 1;
        let text = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let record = text.lines().rev().nth(1).unwrap().as_bytes()[..150].to_vec();
        bytes.splice(end..end + record.len(), record);
    });
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    assert!(app.log().contains("cut off a write"), "{}", app.log());
    assert_eq!(app.state("A"), (10, 4, 10));
    assert_eq!(app.put(&at("A"), json!({"quantity": 12})).expect(200)["seq"], 11);
    app.kill();

    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    assert!(!app.log().contains("cut off a write"), "{}", app.log());
    assert_eq!(app.state("A"), (12, 4, 11));
    assert!(app.terminate().success());
    let verified = Command::new(HOLDFAST)
        .args(["verify", "--data-dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
}

#[test]
fn a_checkpoint_that_is_damaged_or_missing_is_made_good_from_the_log() {
    for damage in ["change", "cut", "remove"] {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), true);
        let path = folder.path().join("checkpoint.json");
        match damage {
            "change" => edit(&path, |bytes| {
                let at = position(bytes, "\"quantity\":10") + 11;
                bytes[at] = b'9';
            }),
            "cut" => edit(&path, |bytes| bytes.truncate(bytes.len() - 20)),
            _ => std::fs::remove_file(&path).unwrap(),
        }
        let app = TestApp::start_in(folder.path(), 0, &[]);
        assert_eq!(app.state("A"), (10, 4, 10), "{damage}");
        assert_eq!(
            app.log().contains("the checkpoint cannot be used"),
            damage != "remove",
            "{}",
            app.log()
        );
    }
}

#[test]
fn a_log_over_many_segments_reads_back_whole() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["--segment-mb", "1", "--checkpoint-mb", "1"];
    let mut app = TestApp::start_in(folder.path(), 0, &small);
    let note = "x".repeat(1000);
    let port = app.port;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (note, sku) = (&note, format!("S{thread}"));
            scope.spawn(move || {
                for quantity in 0..250 {
                    port.put(&at(&sku), json!({"quantity": quantity, "note": note}))
                        .expect(if quantity == 0 { 201 } else { 200 });
                }
            });
        }
    });
    assert!(segments(folder.path()).len() > 2);
    app.kill();
    let app = TestApp::start_in(folder.path(), 0, &small);
    assert!((0..8).all(|thread| app.state(&format!("S{thread}")) == (249, 0, 250)));
    let seqs = events(folder.path())
        .iter()
        .map(|event| event["seq"].as_u64().unwrap())
        .collect::<Vec<_>>();
    assert_eq!(seqs, (1..=2000).collect::<Vec<_>>());
}
