use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::support::{HOLDFAST, TestApp};
use super::{Place, ran, stock};

const STOCK: &str = concat!(
    "sku,storeId,quantity,name,description,price,currency,reorderPoint\n",
    "85123A,london,6,WHITE HANGING HEART,\"in a box, \"\"red\"\"\nwith a bow\",255,GBP,2\n",
    "85123a,london,7,,,,,\n",
    "85123A,paris,0,,,,,\n",
    "BANK CHARGES,,9007199254740991,Größe; 38,,0,JPY,0\n",
);

#[test]
fn stock_goes_in_and_out_and_in_again_the_same() {
    let first = Place::new();
    first.write("stock.csv", STOCK);
    first.import("stock.csv");
    first.assert_verifies();
    let exported = first.export("stock", "out.csv");
    assert_eq!(
        exported.lines().next().unwrap(),
        "sku,storeId,quantity,reserved,available,version,reorderPoint,updatedAt,name,description,price,currency"
    );
    let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let text = "in a box, \"red\"\nwith a bow";
    let name = "WHITE HANGING HEART";
    let largest = "9007199254740991";
    let expected = [
        row(&["85123A", "london", "6", "0", "6", "2", name, text, "255", "GBP"]),
        row(&["85123A", "paris", "0", "0", "0", "", name, text, "255", "GBP"]),
        row(&["85123a", "london", "7", "0", "7", "", "", "", "", ""]),
        row(&[
            "BANK CHARGES",
            "default",
            largest,
            "0",
            largest,
            "0",
            "Größe; 38",
            "",
            "0",
            "JPY",
        ]),
    ];
    assert_eq!(stock(&exported), expected.into());

    for name in ["again.csv", "again.csv.gz", "again.ndjson", "again.jsonl.gz"] {
        let again = Place::new();
        std::fs::write(again.path(name), std::fs::read(exported_as(&first, name)).unwrap()).unwrap();
        again.import(name);
        again.assert_verifies();
        assert_eq!(stock(&again.export("stock", "out.csv")), stock(&exported), "{name}");
    }
}

fn exported_as(place: &Place, name: &str) -> std::path::PathBuf {
    place.export("stock", name);
    place.path(name)
}

#[test]
fn importing_again_leaves_the_same_levels() {
    let place = Place::new();
    place.write("stock.csv", STOCK);
    place.import("stock.csv");
    let once = stock(&place.export("stock", "once.csv"));
    place.import("stock.csv");
    assert_eq!(stock(&place.export("stock", "twice.csv")), once);
    place.assert_verifies();
}

#[test]
fn the_last_line_of_a_level_stands_however_many_are_under_way() {
    let place = Place::new();
    let lines: String = (0..20_000).map(|i| format!("S{},{i},s{}\n", i % 7, i % 2)).collect();
    place.write("stock.csv", format!("sku,quantity,storeId\n{lines}"));
    place.import("stock.csv");
    place.assert_verifies();
    let expected = (19_986..20_000).map(|i: u32| {
        let quantity = i.to_string();
        let mut row = vec![
            format!("S{}", i % 7),
            format!("s{}", i % 2),
            quantity.clone(),
            "0".into(),
            quantity,
        ];
        row.resize(10, String::new());
        row
    });
    assert_eq!(stock(&place.export("stock", "out.csv")), expected.collect());
}

#[test]
fn a_dry_run_changes_nothing() {
    let place = Place::new();
    place.write("stock.csv", STOCK);
    let ran = place.run(&["import", "stock.csv", "--dry-run"]);
    assert_eq!((ran.code, place.data().exists()), (0, false));
    assert!(
        ran.out.starts_with("4 lines: 4 would be imported, 0 refused"),
        "{}",
        ran.out
    );

    place.import("stock.csv");
    let (levels, events) = (place.export("stock", "a.csv"), place.export("events", "a.ndjson"));
    place.write("other.csv", "sku,quantity\nnew,1\n85123A,2\nbad,x\nBANK CHARGES,1\n");
    let ran = place.run(&["import", "other.csv", "--dry-run", "--json", "--store", "london"]);
    let summary: Value = serde_json::from_str(&ran.out).unwrap();
    // One of them would take the item past what it may hold.
    assert_eq!(
        (ran.code, &summary["imported"], &summary["failed"]),
        (1, &json!(2), &json!(2))
    );
    assert_eq!(summary["dryRun"], true);
    assert_eq!(place.export("stock", "b.csv"), levels);
    assert_eq!(place.export("events", "b.ndjson"), events);
}

#[test]
fn what_is_refused_is_named_and_the_others_are_in() {
    let place = Place::new();
    let bad: String = (0..30).map(|i| format!("B{i},x\n")).collect();
    place.write("stock.csv", format!("sku,quantity\nA,1\nC,\"2\n\"\n{bad}D,4\n"));
    let ran = place.run(&["import", "stock.csv", "--errors", "errors.txt"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.out.starts_with("33 lines: 2 imported, 31 refused, in "),
        "{}",
        ran.out
    );
    let printed: Vec<&str> = ran.err.lines().collect();
    assert_eq!(printed[0], "line 3, column quantity: \"2\\n\" is not a whole number");
    assert_eq!(printed[1], "line 5, column quantity: \"x\" is not a whole number");
    assert_eq!(printed.len(), 21);
    assert_eq!(printed[20], "and 11 more; --errors FILE keeps them all");
    let errors = std::fs::read_to_string(place.path("errors.txt")).unwrap();
    assert_eq!(errors.lines().count(), 31);
    assert_eq!(
        errors.lines().last().unwrap(),
        "line 34, column quantity: \"x\" is not a whole number"
    );
    let skus: Vec<String> = stock(&place.export("stock", "out.csv"))
        .into_iter()
        .map(|row| row[0].clone())
        .collect();
    assert_eq!(skus, ["A", "D"]);

    let ran = place.run(&["import", "stock.csv", "--json"]);
    let summary: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, ran.err.as_str()), (1, ""));
    assert_eq!(
        (&summary["lines"], &summary["imported"], &summary["failed"]),
        (&json!(33), &json!(2), &json!(31))
    );
    let first = json!({"line": 3, "column": "quantity", "message": "\"2\\n\" is not a whole number"});
    assert_eq!(summary["errors"][0], first);
}

#[test]
fn what_cannot_be_done_ends_with_2_and_one_sentence() {
    let place = Place::new();
    place.write("colours.csv", "sku,quantity,colour\nA,1,red\n");
    place.write("broken.csv.gz", b"\x1f\x8b\x08nonsense");
    for (args, says) in [
        (["import", "nowhere.csv"], "cannot import nowhere.csv: No such file"),
        (
            ["import", "colours.csv"],
            "line 1: column 3 is called \"colour\", which is not known here",
        ),
        (
            ["import", "broken.csv.gz"],
            "it begins as gzip does, but cannot be unpacked",
        ),
        (["import", "."], "it is a folder"),
    ] {
        let ran = place.run(&args);
        assert_eq!(
            (ran.code, ran.out.as_str(), ran.err.lines().count()),
            (2, "", 1),
            "{}",
            ran.err
        );
        assert!(ran.err.contains(says), "{}", ran.err);
    }
}

#[test]
fn a_folder_that_is_being_served_is_left_alone() {
    let app = TestApp::start();
    let place = Place::new();
    let file = place.write("stock.csv", STOCK);
    for args in [
        ["import", file.to_str().unwrap(), "--data-dir"],
        ["export", "stock", "--data-dir"],
    ] {
        let mut command = Command::new(HOLDFAST);
        command.args(args).arg(app.folder());
        if args[0] == "export" {
            command.arg(place.path("out.csv"));
        }
        let ran = ran(command.output().unwrap());
        assert_eq!(ran.code, 2);
        assert!(ran.err.contains("is in use by process"), "{}", ran.err);
        assert!(ran.err.contains("--url"), "{}", ran.err);
    }
    assert!(!place.path("out.csv").exists());
}

#[test]
fn standard_input_is_read_and_standard_output_written() {
    let place = Place::new();
    let mut import = Command::new(HOLDFAST);
    import
        .args(["import", "-", "--store", "paris", "--data-dir"])
        .arg(place.data());
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = import.stdin.take().unwrap();
    input.write_all(b"\xef\xbb\xbfSKU;Quantity\r\nA;1\r\n").unwrap();
    drop(input);
    assert!(import.wait_with_output().unwrap().status.success());
    let ran = place.run(&["export", "stock", "-"]);
    let row: Vec<&str> = ran.out.lines().nth(1).unwrap().split(',').take(3).collect();
    assert_eq!((ran.code, row), (0, vec!["A", "paris", "1"]));
}

#[test]
fn the_files_of_the_older_services_are_taken() {
    let place = Place::new();
    place.write(
        "inventory_paris.json",
        json!({"A": {"quantity": 5, "version": 3, "last_updated": "2024-01-01"}, "B": 2}).to_string(),
    );
    place.write(
        "inventory_rome.json",
        json!([{"sku": "A", "qty": 1}, {"sku": "C", "quantity": 2, "store": "oslo"}]).to_string(),
    );
    place.import("inventory_paris.json");
    place.import("inventory_rome.json");
    let levels = stock(&place.export("stock", "out.csv"))
        .into_iter()
        .map(|row| row[..3].join(" "));
    assert_eq!(
        levels.collect::<Vec<_>>(),
        ["A paris 5", "A rome 1", "B paris 2", "C oslo 2"]
    );
}

#[test]
fn what_is_reserved_is_respected_until_it_is_over() {
    let place = Place::new();
    let mut app = TestApp::start_in(&place.data(), 0, &[]);
    for (sku, ttl) in [("held", 3600), ("over", 1), ("shown", 1)] {
        let level = format!("http://127.0.0.1:{}/api/inventory/stores/s/inventory/{sku}", app.port);
        ureq::put(&level).send_json(json!({"quantity": 5})).unwrap();
        let reserve = json!({"quantity": 3, "ttlSeconds": ttl});
        ureq::post(format!("{level}/reserve")).send_json(reserve).unwrap();
    }
    assert!(app.terminate().success());
    std::thread::sleep(Duration::from_millis(1100));
    place.write("stock.csv", "sku,storeId,quantity\nheld,s,2\nover,s,2\n");
    let ran = place.run(&["import", "stock.csv"]);
    assert_eq!(ran.code, 1);
    let says = "line 2: below_reserved: SKU \"held\" in store \"s\" has 3 reserved: its quantity cannot be set to 2.\n";
    assert_eq!(ran.err, says);
    place.assert_verifies();
    // Nothing has touched the last, whose hold is over all the same.
    let levels = stock(&place.export("stock", "out.csv"))
        .into_iter()
        .map(|row| row[..5].join(" "));
    assert_eq!(
        levels.collect::<Vec<_>>(),
        ["held s 5 3 2", "over s 2 0 2", "shown s 5 0 5"]
    );
    assert_eq!(
        place.export("events", "out.csv").matches("reservation.expired").count(),
        2
    );
    place.assert_verifies();
}

#[test]
fn a_strict_catalogue_refuses_lines_of_what_it_does_not_have() {
    let place = Place::new();
    place.write("first.csv", "sku,storeId,quantity\nA,s1,5\n");
    place.import("first.csv");
    place.write("second.csv", "sku,storeId,quantity\nA,s1,6\nB,s1,1\nA,s2,1\n");
    let ran = place.run(&["import", "second.csv", "--strict-catalogue"]);
    assert_eq!(ran.code, 1, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("line 3") && ran.err.contains("\"B\""), "{}", ran.err);
    assert!(ran.err.contains("line 4") && ran.err.contains("\"s2\""), "{}", ran.err);
    assert!(!ran.err.contains("line 2"), "{}", ran.err);
    assert_eq!(place.run(&["import", "second.csv"]).code, 0);
}
