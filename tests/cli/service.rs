use serde_json::{Value, json};

use super::support::TestApp;
use super::{Place, stock};

fn url(app: &TestApp) -> String {
    format!("http://127.0.0.1:{}", app.port)
}

#[test]
fn a_running_service_takes_what_a_folder_would() {
    let place = Place::new();
    // Each level several times, so that the order of its lines shows.
    let line = |i: u32| format!("S{},{i},s{},\"Tea; {i}\",{},EUR,{}\n", i % 499, i % 3, i % 9, i % 4);
    let lines: String = (0..12_000).map(line).collect();
    let header = "sku,quantity,storeId,name,price,currency,reorderPoint\n";
    place.write("stock.csv", format!("{header}bad,x,s,,,,\n{lines}"));
    let app = TestApp::start();
    let ran = place.run(&["import", "stock.csv", "--json", "--url", &url(&app)]);
    let summary: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (&summary["lines"], &summary["imported"], ran.code),
        (&json!(12_001), &json!(12_000), 1),
        "{}",
        ran.err
    );
    assert_eq!(
        (&summary["errors"][0]["line"], &summary["failed"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(
        place.run(&["export", "stock", "served.csv", "--url", &url(&app)]).code,
        0
    );
    assert_eq!(place.run(&["import", "stock.csv"]).code, 1);
    let served = std::fs::read_to_string(place.path("served.csv")).unwrap();
    assert_eq!(stock(&served), stock(&place.export("stock", "out.csv")));
    assert_eq!(stock(&served).len(), 3 * 499);
}

#[test]
fn a_refusal_of_the_service_is_one_of_its_line() {
    let place = Place::new();
    let app = TestApp::start();
    let level = format!("{}/api/inventory/stores/s/inventory/held", url(&app));
    ureq::put(&level).send_json(json!({"quantity": 5})).unwrap();
    ureq::post(format!("{level}/reserve"))
        .send_json(json!({"quantity": 3}))
        .unwrap();
    place.write(
        "stock.ndjson",
        "{\"sku\":\"A\",\"quantity\":1}\n{\"sku\":\"held\",\"storeId\":\"s\",\"quantity\":2}\n",
    );
    let says = "line 2: below_reserved: SKU \"held\" in store \"s\" has 3 reserved: its quantity cannot be set to 2.\n";
    for dry_run in [&["--dry-run"][..], &[]] {
        let url = url(&app);
        let args = [&["import", "stock.ndjson", "--url", &url], dry_run].concat();
        let ran = place.run(&args);
        assert_eq!((ran.code, ran.err.as_str()), (1, says));
        let levels = place.run(&["export", "stock", "-", "--url", &url]).out;
        assert_eq!(
            levels.lines().any(|line| line.starts_with("A,default,1,")),
            dry_run.is_empty()
        );
    }
}

#[test]
fn a_service_that_is_not_there_is_said_at_once() {
    let place = Place::new();
    place.write("stock.csv", "sku,quantity\nA,1\n");
    for args in [["import", "stock.csv", "--url"], ["export", "stock", "--url"]] {
        let mut args = [&args[..], &["http://127.0.0.1:9"]].concat();
        if args[0] == "export" {
            args.push("out.csv");
        }
        let ran = place.run(&args);
        assert_eq!(ran.code, 2);
        assert!(
            ran.err
                .starts_with("holdfast: http://127.0.0.1:9: the service cannot be reached"),
            "{}",
            ran.err
        );
    }
}
