//! The log of events, read from the folder as an operator would.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The segments, oldest first.
pub fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder.join("events")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    paths.sort();
    paths
}

/// Every event with its `seq`, in order. A line that is being written is passed over.
pub fn events(folder: &Path) -> Vec<Value> {
    let texts = segments(folder)
        .into_iter()
        .map(|path| std::fs::read_to_string(path).unwrap());
    let texts: Vec<String> = texts.collect();
    // Behind the last line stands room for a million more bytes.
    let lines = texts.iter().flat_map(|text| text.trim_end_matches('\n').lines());
    let records = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let events = records.filter(|record| record["event"].is_object()).map(|mut record| {
        let mut event = record["event"].take();
        event["seq"] = record["seq"].take();
        event
    });
    events.collect()
}

/// Events of one type.
pub fn events_of(folder: &Path, kind: &str) -> Vec<Value> {
    events(folder)
        .into_iter()
        .filter(|event| event["type"] == kind)
        .collect()
}
