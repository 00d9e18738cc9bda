//! The opening stock of a real month: what its invoices take from each level.

use std::collections::BTreeMap;

use super::{Place, read, stock};

/// By SKU and store: the units that are sold or removed, and what the SKU is called at last.
fn opening() -> BTreeMap<(String, String), (u64, String)> {
    let text = read(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/online-retail-2010-12.csv.gz"));
    let mut levels = BTreeMap::new();
    for line in csv::Reader::from_reader(text.as_bytes()).records() {
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
