use serde_json::{Value, json};

use super::Place;
use super::support::TestApp;

/// A folder in which some stock was counted, sold, moved and reserved.
fn traded() -> Place {
    let place = Place::new();
    let mut app = TestApp::start_in(&place.data(), 0, &[]);
    let api = format!("http://127.0.0.1:{}/api", app.port);
    let level = format!("{api}/inventory/stores/s/inventory/A");
    ureq::put(&level)
        .send_json(json!({"quantity": 5, "reorderPoint": 4, "note": "a, \"b\""}))
        .unwrap();
    ureq::post(format!("{level}/adjust"))
        .send_json(json!({"delta": -2, "type": "SALE"}))
        .unwrap();
    let reserve = json!({"quantity": 1, "reservationId": "r1", "reference": "cart"});
    ureq::post(format!("{level}/reserve")).send_json(reserve).unwrap();
    let transfer = json!({"sku": "A", "fromStoreId": "s", "toStoreId": "t", "quantity": 1});
    ureq::post(format!("{api}/transfers")).send_json(transfer).unwrap();
    assert!(app.terminate().success());
    place
}

fn rows(ndjson: &str) -> Vec<Value> {
    ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn events_are_exported_in_the_form_of_the_api() {
    let place = traded();
    let events = rows(&place.export("events", "events.ndjson"));
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        [
            "level.created",
            "level.adjusted",
            "reservation.created",
            "level.transferred"
        ]
    );
    let change = json!({"sku": "A", "storeId": "s", "movement": "SALE", "delta": -2, "quantity": 3, "reserved": 0,
        "version": 2, "itemVersion": 2, "lowStock": true});
    assert_eq!(
        (&events[1]["seq"], &events[1]["changes"]),
        (&json!(2), &json!([change]))
    );
    assert_eq!(
        (&events[2]["reservationId"], &events[2]["reference"]),
        (&json!("r1"), &json!("cart"))
    );

    let csv = place.export("events", "events.csv");
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().iter().collect::<Vec<_>>().join(",");
    assert_eq!(
        header,
        "seq,type,at,by,requestId,reservationId,reference,note,sku,storeId,movement,delta,quantity,reserved,version,itemVersion,lowStock"
    );
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let cells = |row: usize, cells: std::ops::Range<usize>| cells.map(|i| rows[row][i].to_owned()).collect::<Vec<_>>();
    assert_eq!(
        cells(0, 7..17),
        ["a, \"b\"", "A", "s", "COUNT", "5", "5", "0", "1", "1", ""]
    );
    assert_eq!(
        cells(2, 5..17),
        ["r1", "cart", "", "A", "s", "", "0", "3", "1", "3", "3", ""]
    );
    assert_eq!(
        cells(3, 8..17),
        ["A", "s", "TRANSFER_OUT", "-1", "2", "1", "4", "4", ""]
    );
    assert_eq!(cells(4, 8..17), ["A", "t", "TRANSFER_IN", "1", "1", "0", "1", "4", ""]);
    assert_eq!(rows.len(), 5);
}

#[test]
fn movements_are_exported_newest_first() {
    let place = traded();
    let csv = place.export("movements", "movements.csv");
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(
        lines[0].join(","),
        "seq,type,sku,storeId,delta,quantityAfter,at,by,reservationId,reference,note"
    );
    let shown: Vec<String> = lines[1..].iter().map(|cells| cells[..6].join(" ")).collect();
    assert_eq!(
        shown,
        [
            "4 TRANSFER_IN A t 1 1",
            "4 TRANSFER_OUT A s -1 2",
            "2 SALE A s -2 3",
            "1 COUNT A s 5 5"
        ]
    );
    assert_eq!(rows(&place.export("movements", "movements.ndjson")).len(), 4);
}

/// Everything that a folder and its service export is the same.
#[test]
fn a_service_exports_what_its_folder_does() {
    let place = traded();
    let files = [
        "stock.csv",
        "events.ndjson",
        "events.csv",
        "movements.csv",
        "movements.ndjson",
    ];
    let what = |file: &str| file.split('.').next().unwrap().to_owned();
    let from_folder: Vec<String> = files.iter().map(|file| place.export(&what(file), file)).collect();
    let app = TestApp::start_in(&place.data(), 0, &[]);
    let url = format!("http://127.0.0.1:{}", app.port);
    for (file, expected) in files.iter().zip(from_folder) {
        let ran = place.run(&["export", &what(file), file, "--url", &url]);
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert_eq!(std::fs::read_to_string(place.path(file)).unwrap(), expected, "{file}");
    }
}

#[test]
fn an_export_that_cannot_be_made_leaves_what_was_there() {
    let place = Place::new();
    place.write("out.csv", "before");
    let ran = place.run(&["export", "stock", "out.csv"]);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("there is no data in"), "{}", ran.err);
    assert!(!place.data().exists());
    assert_eq!(std::fs::read_to_string(place.path("out.csv")).unwrap(), "before");
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 1);
}
