//! Movements: every change of an on-hand quantity, newest first.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, all_pages, at, at_in, column, is_time};
use crate::support::TestApp;

const MOVEMENTS: &str = "/api/movements";

/// Twelve movements of two SKUs in three stores, and some events that are none.
fn busy() -> TestApp {
    let app = TestApp::start();
    let adjust = |sku: &str, delta: i64, kind: &str| {
        app.post(
            &format!("{}/adjust", at(sku)),
            json!({"delta": delta, "type": kind, "note": kind}),
        )
        .expect(200);
        std::thread::sleep(Duration::from_millis(3));
    };
    let transfer = |from: &str, to: &str, quantity: u64| {
        let body = json!({"sku": "A", "fromStoreId": from, "toStoreId": to, "quantity": quantity});
        app.post("/api/transfers", body).expect(200);
        std::thread::sleep(Duration::from_millis(3));
    };
    app.post(
        "/api/inventory/items",
        json!({"sku": "A", "quantity": 20, "storeId": "s1"}),
    )
    .expect(201);
    app.stock("B", 9);
    adjust("A", 5, "STOCK_IN");
    app.hold("A", 2);
    transfer("s1", "s2", 4);
    adjust("A", -3, "SALE");
    adjust("B", -1, "SALE");
    transfer("s2", "s3", 1);
    adjust("A", 1, "RETURN");
    adjust("A", -2, "MANUAL_REMOVE");
    app.post(&format!("{}/release", at("A")), json!({"quantity": 2}))
        .expect(200);
    app.put(&at("B"), json!({"quantity": 8})).expect(200);
    app.put(&at_in("s2", "A"), json!({"quantity": 5, "note": "found two"}))
        .expect(200);
    app
}

#[test]
fn movements_are_shown_newest_first_as_an_auditor_reads_them() {
    let app = busy();
    let rows = all_pages(&app, MOVEMENTS, 1000);
    let short: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                "{} {} {} {} {}",
                row["type"].as_str().unwrap(),
                row["sku"].as_str().unwrap(),
                row["storeId"].as_str().unwrap(),
                row["delta"],
                row["quantityAfter"]
            )
        })
        .collect();
    // Of one event the order is the service's own; here the last change comes first.
    let expected = [
        "COUNT A s2 2 5",
        "COUNT B s1 0 8",
        "MANUAL_REMOVE A s1 -2 17",
        "RETURN A s1 1 19",
        "TRANSFER_IN A s3 1 1",
        "TRANSFER_OUT A s2 -1 3",
        "SALE B s1 -1 8",
        "SALE A s1 -3 18",
        "TRANSFER_IN A s2 4 4",
        "TRANSFER_OUT A s1 -4 21",
        "STOCK_IN A s1 5 25",
        "COUNT B s1 9 9",
        "STOCK_IN A s1 20 20",
    ];
    assert_eq!(short, expected);
    assert!(
        rows.windows(2)
            .all(|pair| pair[0]["seq"].as_u64() >= pair[1]["seq"].as_u64())
    );
    for row in &rows {
        assert!(is_time(&row["at"]) && row["by"].is_string(), "{row}");
        let event = &app
            .get(&format!(
                "/api/events?limit=1&after={}",
                row["seq"].as_u64().unwrap() - 1
            ))
            .expect(200)["items"][0];
        assert_eq!(
            (&event["at"], &event["by"], event.get("note")),
            (&row["at"], &row["by"], row.get("note"))
        );
    }
    assert_eq!((&rows[0]["note"], rows[1].get("note")), (&json!("found two"), None));
    let members: Vec<_> = rows[1].as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        ["at", "by", "delta", "quantityAfter", "seq", "sku", "storeId", "type"]
    );
}

#[test]
fn movements_are_found_by_sku_store_and_type() {
    let app = busy();
    let all = all_pages(&app, MOVEMENTS, 1000);
    for (query, sku, store, kind) in [
        ("sku=A", Some("A"), None, None),
        ("sku=B", Some("B"), None, None),
        ("sku=a", Some("a"), None, None),
        ("storeId=s2", None, Some("s2"), None),
        ("sku=A&storeId=s2", Some("A"), Some("s2"), None),
        ("type=SALE", None, None, Some("SALE")),
        ("type=TRANSFER_IN", None, None, Some("TRANSFER_IN")),
        ("type=TRANSFER_OUT&storeId=s2", None, Some("s2"), Some("TRANSFER_OUT")),
        ("type=COUNT&sku=B", Some("B"), None, Some("COUNT")),
        ("type=SALE&storeId=s3", None, Some("s3"), Some("SALE")),
    ] {
        let fits = |row: &&Value| {
            sku.is_none_or(|sku| row["sku"] == sku)
                && store.is_none_or(|store| row["storeId"] == store)
                && kind.is_none_or(|kind| row["type"] == kind)
        };
        let expected: Vec<Value> = all.iter().filter(fits).cloned().collect();
        for limit in [1, 2, 3, 1000] {
            assert_eq!(
                all_pages(&app, &format!("{MOVEMENTS}?{query}"), limit),
                expected,
                "{query} by {limit}"
            );
        }
    }
}

#[test]
fn movements_are_found_from_a_moment_to_a_moment_both_included() {
    let app = busy();
    let all = all_pages(&app, MOVEMENTS, 1000);
    let times = column(&all, "at");
    for from in &times {
        for to in times.iter().step_by(3) {
            let expected: Vec<Value> = all
                .iter()
                .filter(|row| (from.as_str()..=to.as_str()).contains(&row["at"].as_str().unwrap()))
                .cloned()
                .collect();
            assert_eq!(
                all_pages(&app, &format!("{MOVEMENTS}?from={from}&to={to}"), 2),
                expected,
                "{from} to {to}"
            );
        }
    }
    let exact = &times[4];
    let by_offset = chrono::DateTime::parse_from_rfc3339(exact)
        .unwrap()
        .with_timezone(&chrono::FixedOffset::east_opt(7200).unwrap())
        .to_rfc3339();
    let plain = all_pages(&app, &format!("{MOVEMENTS}?from={exact}&to={exact}"), 10);
    for offset in [by_offset.clone(), by_offset.replace('+', "%2B")] {
        assert_eq!(
            all_pages(&app, &format!("{MOVEMENTS}?from={offset}&to={offset}"), 10),
            plain
        );
    }
    assert_eq!(plain.len(), times.iter().filter(|time| *time == exact).count());
}

#[test]
fn pages_of_movements_lose_and_double_nothing_whatever_their_size() {
    let app = busy();
    let all = all_pages(&app, MOVEMENTS, 1000);
    for limit in 1..=14 {
        assert_eq!(all_pages(&app, MOVEMENTS, limit), all, "{limit}");
        let of_a = all_pages(&app, &format!("{MOVEMENTS}?sku=A"), limit);
        assert_eq!(of_a.len(), 10, "{limit}");
    }
}

#[test]
fn a_page_of_movements_stands_where_it_stood_while_more_come() {
    let app = busy();
    let all = all_pages(&app, MOVEMENTS, 1000);
    let first = app.get(&format!("{MOVEMENTS}?limit=5")).expect(200);
    app.post(
        "/api/transfers",
        json!({"sku": "A", "fromStoreId": "s1", "toStoreId": "s2", "quantity": 1}),
    )
    .expect(200);
    let next = first["next"].as_str().unwrap();
    let rest = app.get(&format!("{MOVEMENTS}?after={next}")).expect(200);
    assert_eq!(*rest["items"].as_array().unwrap(), all[5..]);
}

#[test]
fn a_cursor_of_movements_is_good_for_its_own_filters_only() {
    let app = busy();
    let lists = [
        "",
        "sku=A&",
        "storeId=s1&",
        "type=SALE&",
        "from=2020-01-01T00:00:00Z&",
        "to=2099-01-01T00:00:00Z&",
        "sku=s1&",
    ];
    for list in lists {
        let page = app.get(&format!("{MOVEMENTS}?{list}limit=1")).expect(200);
        let Some(cursor) = page["next"].as_str() else { continue };
        app.get(&format!("{MOVEMENTS}?{list}after={cursor}")).expect(200);
        for other in lists.iter().filter(|other| **other != list) {
            let refused = app
                .get(&format!("{MOVEMENTS}?{other}after={cursor}"))
                .refused(400, "invalid_request");
            assert_eq!(refused.fields(), ["after"]);
        }
        for i in 0..cursor.len() {
            let letter = if cursor.as_bytes()[i] == b'B' { "C" } else { "B" };
            let edited = format!("{}{letter}{}", &cursor[..i], &cursor[i + 1..]);
            app.get(&format!("{MOVEMENTS}?{list}after={edited}"))
                .refused(400, "invalid_request");
        }
    }
    for query in [
        "after=1",
        "after=",
        "after=1:0",
        "limit=0",
        "limit=1001",
        "type=sale",
        "type=",
        "type=RESERVE",
        "from=yesterday",
        "to=",
        "from=2026-01-01",
        "sku=",
        "storeId=",
        "x=1",
        "wait=1",
        "type=SALE&type=SALE",
    ] {
        app.get(&format!("{MOVEMENTS}?{query}")).refused(400, "invalid_request");
    }
    let none = app
        .get(&format!(
            "{MOVEMENTS}?from=2099-01-01T00:00:00Z&to=2020-01-01T00:00:00Z"
        ))
        .expect(200);
    assert_eq!(none["items"], json!([]));
}

#[test]
fn the_movements_of_a_level_add_up_to_its_quantity() {
    let app = busy();
    for (sku, store) in [("A", "s1"), ("A", "s2"), ("A", "s3"), ("B", "s1")] {
        let rows = all_pages(&app, &format!("{MOVEMENTS}?sku={sku}&storeId={store}"), 3);
        let mut quantity = 0;
        for row in rows.iter().rev() {
            quantity += row["delta"].as_i64().unwrap();
            assert_eq!(row["quantityAfter"], quantity);
        }
        assert_eq!(app.get(&at_in(store, sku)).expect(200)["quantity"], quantity);
    }
}

#[test]
fn a_cursor_that_was_forged_with_its_checksum_is_no_error_of_the_service() {
    let app = busy();
    app.get(&format!("{MOVEMENTS}?after={}", forged("7:1"))).expect(200);
    for place in [
        "18446744073709551615:0",
        "18446744073709551614:0",
        "0:0",
        "7:18446744073709551615",
    ] {
        let answer = app.get(&format!("{MOVEMENTS}?after={}", forged(place)));
        assert!([200, 400].contains(&answer.status), "{place}: {}", answer.text());
    }
}

/// A cursor of the list without filters.
fn forged(place: &str) -> String {
    use base64::Engine;
    let parts = ["movements", "", "", "", "", "", place];
    let text = parts.map(|part| format!("{part}\0")).concat();
    let bytes = [&crc32c::crc32c(text.as_bytes()).to_be_bytes()[..], place.as_bytes()].concat();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
