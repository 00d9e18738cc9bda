//! A real month: its opening stock, which is what its invoices take from each level, and its trade.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::support::TestApp;
use super::{Place, read, stock};

fn month() -> String {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/online-retail-2010-12.csv.gz"))
}

/// By SKU and store: the units that are sold or removed, and what the SKU is called at last.
fn opening() -> BTreeMap<(String, String), (u64, String)> {
    let mut levels = BTreeMap::new();
    for line in csv::Reader::from_reader(month().as_bytes()).records() {
        let line = line.unwrap();
        let units: i64 = line[3].parse().unwrap();
        let key = (line[1].to_owned(), line[7].to_owned());
        let level: &mut (u64, String) = levels.entry(key).or_default();
        let is_return = units < 0 && line[0].starts_with('C');
        level.0 += if is_return { 0 } else { units.unsigned_abs() };
        level.1 = line[2].to_owned();
    }
    levels
}

#[test]
fn a_real_months_opening_stock_comes_out_as_it_went_in() {
    let place = Place::new();
    let levels = opening();
    let mut csv = csv::Writer::from_path(place.path("opening.csv")).unwrap();
    csv.write_record(["sku", "storeId", "quantity", "name"]).unwrap();
    for ((sku, store), (quantity, name)) in &levels {
        csv.write_record([sku, store, &quantity.to_string(), name]).unwrap();
    }
    csv.flush().unwrap();
    place.import("opening.csv");
    place.assert_verifies();
    let exported = stock(&place.export("stock", "out.csv.gz"));
    let quantities: BTreeMap<(String, String), u64> = exported
        .iter()
        .map(|row| ((row[0].clone(), row[1].clone()), row[2].parse().unwrap()))
        .collect();
    let expected = levels
        .iter()
        .map(|(key, (quantity, _))| (key.clone(), *quantity))
        .collect();
    assert_eq!(quantities, expected);
    assert!(quantities.len() > 4000, "{}", quantities.len());

    let again = Place::new();
    std::fs::copy(place.path("out.csv.gz"), again.path("out.csv.gz")).unwrap();
    again.import("out.csv.gz");
    assert_eq!(stock(&again.export("stock", "again.csv")), exported);
}

/// What a line of the month does to its level: nothing, a sale, a return, or a removal.
fn operation(line: &csv::StringRecord) -> Option<Value> {
    let units: i64 = line[3].parse().unwrap();
    let kind = match (units, line[0].starts_with('C')) {
        (0, _) => return None,
        (1.., _) => "SALE",
        (_, true) => "RETURN",
        (_, false) => "MANUAL_REMOVE",
    };
    let delta = if kind == "RETURN" { -units } else { -units.abs() };
    Some(json!({"op": "adjust", "sku": &line[1], "storeId": &line[7], "delta": delta, "type": kind, "note": &line[0]}))
}

/// Sends operations as one batch under a key, twice, as a client does that has lost the answer.
fn send_twice(app: &TestApp, key: &str, operations: &[Value]) {
    let url = format!("http://127.0.0.1:{}/api/inventory/batch", app.port);
    let send = || {
        let request = ureq::post(&url).header("idempotency-key", key);
        let answer = request.send_json(json!({"operations": operations}));
        answer.unwrap().body_mut().read_json::<Value>().unwrap()
    };
    let (first, again) = (send(), send());
    assert_eq!(first, again);
    for result in first["results"].as_array().unwrap() {
        assert_eq!(result["status"], 200, "{result}");
    }
}

#[test]
fn a_real_months_trade_by_import_and_batches_ends_as_the_ledger_and_comes_out_so() {
    let (place, elsewhere) = (Place::new(), Place::new());
    let mut ledger: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut csv = csv::Writer::from_path(place.path("opening.csv")).unwrap();
    csv.write_record(["sku", "storeId", "quantity", "name"]).unwrap();
    for ((sku, store), (quantity, name)) in opening() {
        csv.write_record([&sku, &store, &quantity.to_string(), &name]).unwrap();
        ledger.insert((sku, store), i64::try_from(quantity).unwrap());
    }
    csv.flush().unwrap();
    place.import("opening.csv");

    let app = TestApp::start_in(&place.data(), 0, &[]);
    let mut operations = Vec::new();
    for line in csv::Reader::from_reader(month().as_bytes()).records() {
        let Some(operation) = operation(&line.unwrap()) else {
            continue;
        };
        let level = [&operation["sku"], &operation["storeId"]].map(|id| id.as_str().unwrap().to_owned());
        *ledger.get_mut(&level.into()).unwrap() += operation["delta"].as_i64().unwrap();
        operations.push(operation);
    }
    for (i, batch) in operations.chunks(1000).enumerate() {
        send_twice(&app, &format!("december-{i}"), batch);
    }
    let url = format!("http://127.0.0.1:{}", app.port);
    let ran = place.run(&["export", "stock", "service.csv", "--url", &url]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    drop(app);
    place.assert_verifies();
    place.export("stock", "folder.csv");
    std::fs::copy(place.path("folder.csv"), elsewhere.path("folder.csv")).unwrap();
    elsewhere.import("folder.csv");
    elsewhere.export("stock", "elsewhere.csv");
    let ends = ["service.csv", "folder.csv"].map(|name| place.path(name));
    for path in ends.into_iter().chain([elsewhere.path("elsewhere.csv")]) {
        let found: BTreeMap<(String, String), i64> = stock(&read(&path))
            .iter()
            .map(|row| ((row[0].clone(), row[1].clone()), row[2].parse().unwrap()))
            .collect();
        assert_eq!(found, ledger, "{}", path.display());
    }
}
