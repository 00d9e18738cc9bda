//! What was once written stays readable: a log and a checkpoint of every released form, as files.

use std::path::Path;

use holdfast::domain::{Scope, Sku, Stock, StockImage};
use holdfast::journal::file::{FileJournal, Options, verify};
use holdfast::journal::{Document, Journal};

const LOG_V1: &str = include_str!("log-v1.jsonl");
const CHECKPOINT_V1: &str = include_str!("checkpoint-v1.json");
const CENTRAL_V1: &str = include_str!("central-v1.json");

/// The state that both files tell of.
const AB_12: &str = r#"{"version":11,"levels":[{"storeId":"london","quantity":15,"reserved":10,"version":11,
    "reorderPoint":4,"updatedAt":"UPDATED"}],"holds":[
    {"reservationId":"cart-1","storeId":"london","by":"anonymous","placedVersion":7,"held":2,"expiresAt":"EXPIRES"},
    {"reservationId":"LONG","storeId":"london","by":"anonymous","placedVersion":8,"held":8}],"createdAt":"CREATED","updatedAt":"UPDATED"}"#;

fn open(folder: &Path) -> FileJournal {
    let options = Options {
        folder: folder.to_owned(),
        segment_bytes: 1 << 20,
        checkpoint_bytes: 1 << 20,
        retention_ms: 86_400_000,
    };
    FileJournal::open(&options).unwrap().0
}

fn load(journal: &FileJournal, sku: &str) -> StockImage {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let stock: Stock = runtime.block_on(journal.load(&Sku::parse(sku).unwrap())).unwrap();
    StockImage::from(&stock)
}

fn assert_state(folder: &Path) {
    let journal = open(folder);
    let found = load(&journal, "AB/12");
    let expected = AB_12
        .replace("UPDATED", &found.levels[0].level.updated_at.to_string())
        .replace("EXPIRES", &found.holds[0].expires_at.unwrap().to_string())
        .replace("LONG", found.holds[1].reservation_id.as_str())
        .replace("CREATED", &found.created_at.to_string());
    assert!(found.created_at < found.updated_at);
    assert_eq!(found, serde_json::from_str(&expected).unwrap());
    assert_eq!(load(&journal, "85123a").levels[0].level.quantity, 1);
    assert_eq!(load(&journal, "85123A").version, 3);
}

fn folder_with_log() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("events")).unwrap();
    std::fs::write(folder.path().join("events/0000000000000001.jsonl"), LOG_V1).unwrap();
    folder
}

#[test]
fn a_log_of_version_1_is_read() {
    let folder = folder_with_log();
    let report = verify(folder.path(), |_, _| {}).unwrap();
    assert_eq!((report.faults.as_slice(), report.events), (&[] as &[String], 15));
    assert_state(folder.path());
}

/// Also, the log of version 1, which does not tell that a level is new, adds up to them.
#[test]
fn totals_of_version_1_are_read() {
    let folder = folder_with_log();
    std::fs::write(folder.path().join("central.json"), CENTRAL_V1).unwrap();
    assert_eq!(verify(folder.path(), |_, _| {}).unwrap().faults, [] as [&str; 0]);
    let journal = open(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let kept = runtime.block_on(async { journal.kept(Document::Totals).await });
    let totals = kept.unwrap().unwrap().totals().unwrap();
    let central = totals.central(&Scope::default());
    assert_eq!(
        (totals.seq, central.skus, central.quantity, central.reserved),
        (15, 3, 18, 10)
    );
}

#[test]
fn a_checkpoint_of_version_1_is_read() {
    let folder = folder_with_log();
    std::fs::write(folder.path().join("checkpoint.json"), CHECKPOINT_V1).unwrap();
    assert_eq!(verify(folder.path(), |_, _| {}).unwrap().faults, [] as [&str; 0]);
    assert_state(folder.path());
}
