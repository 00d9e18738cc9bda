//! The list of reservations: what it shows, in which order, and page by page.

use serde_json::{Value, json};

use crate::carts::{RESERVATIONS, line, path, reserve};
use crate::client::{Client, all_pages, at, at_in, column, operation};
use crate::support::TestApp;

/// Fifteen reservations of every status, made one after the other.
fn busy() -> TestApp {
    let app = TestApp::start();
    for (store, sku) in [("s1", "A"), ("s2", "A"), ("s1", "B"), ("s2", "B"), ("Größe 1", "a")] {
        app.put(
            &at_in(&store.replace(' ', "%20").replace("öß", "%C3%B6%C3%9F"), sku),
            json!({"quantity": 100}),
        )
        .expect(201);
    }
    let lines = [
        json!([line("A", "s1", 1)]),
        json!([line("A", "s1", 2), line("B", "s2", 1)]),
        json!([line("B", "s1", 3)]),
        json!([line("A", "s2", 1), line("B", "s1", 1), line("a", "Größe 1", 1)]),
        json!([line("a", "Größe 1", 2)]),
    ];
    for i in 0..14 {
        let mut body = json!({"lines": lines[i % 5], "reservationId": format!("r{i}")});
        if i % 3 > 0 {
            body["reference"] = json!(["", "order 7", "ORDER 7/ä"][i % 3]);
        }
        if i == 13 {
            body["ttlSeconds"] = json!(1);
        }
        reserve(&app, body).expect(201);
        let action = ["", "commit", "release", ""][i % 4];
        if !action.is_empty() && i != 13 {
            app.post(&format!("{}/{action}", path(&format!("r{i}"))), json!({}))
                .expect(200);
        }
    }
    app.post(
        &format!("{}/reserve", at("A")),
        json!({"quantity": 1, "reservationId": "r14"}),
    )
    .expect(201);
    crate::client::sleep_until(&app.get(&path("r13")).expect(200)["expiresAt"]);
    app
}

#[test]
fn reservations_are_listed_newest_first_by_every_filter_and_in_pages_of_any_size() {
    let app = busy();
    let all = all_pages(&app, RESERVATIONS, 1000);
    let newest_first: Vec<String> = (0..15).rev().map(|i| format!("r{i}")).collect();
    assert_eq!(column(&all, "reservationId"), newest_first);
    for row in &all {
        assert_eq!(
            *row,
            app.get(&path(row["reservationId"].as_str().unwrap())).expect(200).json
        );
    }
    let mut statuses = column(&all, "status");
    statuses.sort();
    statuses.dedup();
    assert_eq!(statuses, ["active", "committed", "expired", "released"]);

    let has = |row: &Value, sku: Option<&str>, store: Option<&str>| {
        let mut lines = row["lines"].as_array().unwrap().iter();
        lines.any(|line| sku.is_none_or(|sku| line["sku"] == sku) && store.is_none_or(|store| line["storeId"] == store))
    };
    type Fits<'a> = &'a dyn Fn(&Value) -> bool;
    let filters: [(&str, Fits); 16] = [
        ("", &|_| true),
        ("status=active", &|row| row["status"] == "active"),
        ("status=committed", &|row| row["status"] == "committed"),
        ("status=released", &|row| row["status"] == "released"),
        ("status=expired", &|row| row["status"] == "expired"),
        ("sku=A", &|row| has(row, Some("A"), None)),
        ("sku=a", &|row| has(row, Some("a"), None)),
        ("storeId=s2", &|row| has(row, None, Some("s2"))),
        ("storeId=Gr%C3%B6%C3%9Fe%201", &|row| has(row, None, Some("Größe 1"))),
        ("sku=B&storeId=s1", &|row| has(row, Some("B"), Some("s1"))),
        ("sku=A&storeId=s9", &|_| false),
        ("reference=order%207", &|row| row["reference"] == "order 7"),
        ("reference=ORDER%207%2F%C3%A4", &|row| row["reference"] == "ORDER 7/ä"),
        ("reference=order", &|_| false),
        ("status=active&sku=A&storeId=s1", &|row| {
            row["status"] == "active" && has(row, Some("A"), Some("s1"))
        }),
        ("status=committed&reference=order%207", &|row| {
            row["status"] == "committed" && row["reference"] == "order 7"
        }),
    ];
    for (query, fits) in filters {
        let expected: Vec<Value> = all.iter().filter(|row| fits(row)).cloned().collect();
        assert_eq!(
            expected.is_empty(),
            query.ends_with("s9") || query == "reference=order",
            "{query}"
        );
        for limit in [1, 2, 3, 14, 15, 16, 1000] {
            let found = all_pages(&app, &format!("{RESERVATIONS}?{query}"), limit);
            assert_eq!(
                column(&found, "reservationId"),
                column(&expected, "reservationId"),
                "{query} by {limit}"
            );
            assert_eq!(found, expected, "{query} by {limit}");
        }
    }
    // A and s2 in different lines are no line of A in s2.
    let split = all_pages(&app, &format!("{RESERVATIONS}?sku=A&storeId=s2"), 100);
    assert_eq!(column(&split, "reservationId"), ["r13", "r8", "r3"]);
    let default = app.get(RESERVATIONS).expect(200);
    assert_eq!(
        (default["items"].as_array().unwrap().len(), &default["next"]),
        (15, &Value::Null)
    );
    assert_eq!(
        TestApp::start().get(RESERVATIONS).expect(200).json,
        json!({"items": [], "next": null})
    );
}

#[test]
fn a_page_of_reservations_stands_where_it_stood_while_they_come_and_end() {
    let app = busy();
    let lists = [
        "",
        "status=active&",
        "status=committed&",
        "sku=A&",
        "sku=s1&",
        "storeId=s1&",
        "reference=order%207&",
        "reference=s1&",
    ];
    for list in lists {
        let page = app.get(&format!("{RESERVATIONS}?{list}limit=1")).expect(200);
        let Some(cursor) = page["next"].as_str() else {
            assert!(list.contains("=s1&"), "{list} is one page");
            assert!(list.starts_with("sku") || list.starts_with("reference"));
            continue;
        };
        app.get(&format!("{RESERVATIONS}?{list}limit=7&after={cursor}"))
            .expect(200);
        for other in lists.iter().filter(|other| **other != list) {
            let refused = app
                .get(&format!("{RESERVATIONS}?{other}after={cursor}"))
                .refused(400, "invalid_request");
            assert_eq!(refused.fields(), ["after"], "{list} {other}");
        }
        for i in 0..cursor.len() {
            let letter = if cursor.as_bytes()[i] == b'B' { "C" } else { "B" };
            let edited = format!("{}{letter}{}", &cursor[..i], &cursor[i + 1..]);
            app.get(&format!("{RESERVATIONS}?{list}after={edited}"))
                .refused(400, "invalid_request");
        }
    }
    let foreign = app.get("/api/inventory/stores/s1/inventory?limit=1").expect(200);
    let foreign = format!("{RESERVATIONS}?after={}", foreign["next"].as_str().unwrap());
    app.get(&foreign).refused(400, "invalid_request");

    let first = app.get(&format!("{RESERVATIONS}?limit=4")).expect(200);
    let active = app.get(&format!("{RESERVATIONS}?limit=2&status=active")).expect(200);
    let (next, next_active) = (first["next"].as_str().unwrap(), active["next"].as_str().unwrap());
    assert_eq!(
        column(active["items"].as_array().unwrap(), "reservationId"),
        ["r14", "r12"]
    );
    reserve(&app, json!({"lines": [line("A", "s1", 1)], "reservationId": "newer"})).expect(201);
    // The last row of each page ends, and one that is still to come.
    for id in ["r11", "r12", "r7"] {
        app.post(&format!("{}/release", path(id)), json!({})).expect(200);
    }
    let rest = all_pages(&app, &format!("{RESERVATIONS}?after={next}"), 100);
    let expected: Vec<String> = (0..11).rev().map(|i| format!("r{i}")).collect();
    assert_eq!(column(&rest, "reservationId"), expected);
    assert_eq!(rest[3]["status"], "released");
    let rest = all_pages(&app, &format!("{RESERVATIONS}?status=active&after={next_active}"), 100);
    assert_eq!(column(&rest, "reservationId"), ["r8", "r4", "r3", "r0"]);
}

#[test]
fn a_query_of_reservations_that_does_not_fit_is_refused_by_its_name() {
    let app = TestApp::start();
    app.stock("A", 5);
    let ids: Vec<String> = (0..3)
        .map(|i| {
            let body =
                json!({"lines": [line("A", "s1", 1)], "reference": format!("x{i}"), "idempotencyKey": format!("k{i}")});
            reserve(&app, body).expect(201)["reservationId"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    for (query, field) in [
        ("status=open", "status"),
        ("status=Active", "status"),
        ("status=", "status"),
        ("sku=", "sku"),
        ("sku=..", "sku"),
        ("storeId=%20a", "storeId"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("after=", "after"),
        ("after=x", "after"),
        ("reservationId=r", "reservationId"),
        ("status=active&status=expired", "status"),
        ("x=1", "x"),
    ] {
        let refused = app
            .get(&format!("{RESERVATIONS}?{query}"))
            .refused(400, "invalid_request");
        assert_eq!(refused.fields(), [field], "{query}");
    }
    let refused = app
        .get(&format!("{}?x=1", path(&ids[0])))
        .refused(400, "invalid_request");
    assert_eq!(refused.fields(), ["x"]);
    for target in [
        path(&ids[0]),
        RESERVATIONS.to_owned(),
        format!("{RESERVATIONS}?limit=1&status=active"),
        path("nobody's"),
        format!("{RESERVATIONS}?x=1"),
        operation("k0"),
    ] {
        let (get, head) = (app.get(&target), app.send("HEAD", &target, &[], None));
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{target}");
        for header in ["content-type", "link"] {
            assert_eq!(head.header(header), get.header(header), "{target}");
        }
    }
    for (target, allowed) in [
        (RESERVATIONS.to_owned(), "GET, HEAD, OPTIONS, POST"),
        (path("r"), "GET, HEAD, OPTIONS"),
        (format!("{}/commit", path("r")), "OPTIONS, POST"),
    ] {
        let answer = app.send("OPTIONS", &target, &[], None).expect(204);
        let mut said: Vec<&str> = answer.header("allow").unwrap().split(", ").collect();
        said.sort_unstable();
        assert_eq!(said.join(", "), allowed);
    }
}
