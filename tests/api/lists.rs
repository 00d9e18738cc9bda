//! The levels of a store, page by page.

use serde_json::{Value, json};

use crate::client::{Answer, Client, at, at_in};
use crate::support::TestApp;

const LIST: &str = "/api/inventory/stores/s1/inventory";

fn skus(page: &Answer) -> Vec<&str> {
    let items = page["items"]
        .as_array()
        .unwrap_or_else(|| panic!("no items: {}", page.text()));
    items.iter().map(|item| item["sku"].as_str().unwrap()).collect()
}

/// The target of the `Link` to the next page.
fn next_link(page: &Answer) -> Option<&str> {
    let (target, rel) = page.header("link")?.strip_prefix('<')?.split_once('>')?;
    assert_eq!(rel.replace(' ', ""), ";rel=\"next\"");
    Some(target)
}

fn app_with(skus: &[&str]) -> TestApp {
    let app = TestApp::start();
    for (sku, quantity) in skus.iter().zip(1..) {
        app.stock(sku, quantity);
    }
    app
}

#[test]
fn a_store_that_has_nothing_has_an_empty_list() {
    let app = TestApp::start();
    let page = app.get(LIST).expect(200);
    assert_eq!(
        (page.json.clone(), page.header("link")),
        (json!({"items": [], "next": null}), None)
    );
}

#[test]
fn a_list_shows_each_level_as_it_is_read_alone_in_order_of_sku() {
    let app = app_with(&["b", "B", "a", "10", "9", "ab", "%C3%A4", "z"]);
    app.put(&at_in("s2", "c"), json!({"quantity": 1})).expect(201);
    app.hold("a", 1);
    let page = app.get(LIST).expect(200);
    assert_eq!(skus(&page), ["10", "9", "a", "ab", "B", "b", "z", "ä"]);
    for level in page["items"].as_array().unwrap() {
        let sku = level["sku"].as_str().unwrap().replace('ä', "%C3%A4");
        assert_eq!(*level, app.get(&at(&sku)).json);
    }
}

#[test]
fn pages_show_every_level_once_by_next_and_by_link() {
    let names: Vec<String> = (0..10).map(|i| format!("S{i}")).collect();
    let app = app_with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for limit in [1, 3, 4, 9] {
        let mut seen = Vec::new();
        let mut path = format!("{LIST}?limit={limit}");
        loop {
            let page = app.get(&path).expect(200);
            seen.extend(skus(&page).into_iter().map(str::to_owned));
            let link = next_link(&page);
            assert_eq!(link.is_some(), page["next"].is_string(), "{}", page.text());
            let (Some(link), Some(next)) = (link, page["next"].as_str()) else {
                break;
            };
            assert_eq!(skus(&page).len(), limit);
            let by_next = app.get(&format!("{LIST}?after={next}&limit={limit}")).expect(200);
            assert_eq!(by_next.json, app.get(link).expect(200).json);
            path = link.to_owned();
        }
        assert_eq!(seen, names, "limit {limit}");
    }
}

#[test]
fn a_last_page_that_is_just_full_has_no_next() {
    let app = app_with(&["a", "b", "c"]);
    for limit in [3, 4, 1000] {
        let page = app.get(&format!("{LIST}?limit={limit}")).expect(200);
        assert_eq!(
            (skus(&page).len(), &page["next"], page.header("link")),
            (3, &Value::Null, None)
        );
    }
}

#[test]
fn a_page_has_100_levels_unless_it_is_asked_otherwise() {
    let names: Vec<String> = (0..101).map(|i| format!("S{i:03}")).collect();
    let app = app_with(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let page = app.get(LIST).expect(200);
    assert_eq!(skus(&page).len(), 100);
    let next = page["next"].as_str().unwrap();
    assert_eq!(skus(&app.get(&format!("{LIST}?after={next}")).expect(200)), ["S100"]);
}

#[test]
fn a_cursor_stands_where_it_stood_while_the_list_changes() {
    let app = app_with(&["b", "d", "f"]);
    let next = app.get(&format!("{LIST}?limit=2")).expect(200)["next"]
        .as_str()
        .unwrap()
        .to_owned();
    app.stock("a", 1);
    app.stock("e", 1);
    let page = app.get(&format!("{LIST}?after={next}")).expect(200);
    assert_eq!(skus(&page), ["e", "f"]);
    assert_eq!(skus(&app.get(LIST).expect(200)), ["a", "b", "d", "e", "f"]);
}

#[test]
fn a_cursor_is_good_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = TestApp::start_in(folder.path(), 0, &[]);
    for sku in ["a", "b", "c"] {
        app.stock(sku, 1);
    }
    let next = app.get(&format!("{LIST}?limit=1")).expect(200)["next"]
        .as_str()
        .unwrap()
        .to_owned();
    app.kill();
    let app = TestApp::start_in(folder.path(), 0, &[]);
    assert_eq!(skus(&app.get(&format!("{LIST}?after={next}")).expect(200)), ["b", "c"]);
}

#[test]
fn a_cursor_of_another_list_or_an_edited_one_is_refused() {
    let app = app_with(&["a", "b", "c"]);
    for sku in ["a", "b"] {
        app.put(&at_in("s2", sku), json!({"quantity": 1})).expect(201);
    }
    let other = app.get("/api/inventory/stores/s2/inventory?limit=1").expect(200);
    let other = other["next"].as_str().unwrap().to_owned();
    let own = app.get(&format!("{LIST}?limit=1")).expect(200)["next"]
        .as_str()
        .unwrap()
        .to_owned();
    app.get(&format!("{LIST}?after={own}")).expect(200);
    let edited: Vec<String> = (0..own.len())
        .map(|i| {
            let replacement = if own.as_bytes()[i] == b'B' { "C" } else { "B" };
            format!("{}{replacement}{}", &own[..i], &own[i + 1..])
        })
        .collect();
    let wrong = ["", "x", "a", "%00", "AAAA", "AAAAAAAA"].map(str::to_owned);
    let cut = own[..own.len() - 1].to_owned();
    for cursor in wrong
        .into_iter()
        .chain([other, cut, format!("{own}A"), format!("{own}=")])
        .chain(edited)
    {
        let answer = app
            .get(&format!("{LIST}?after={cursor}"))
            .refused(400, "invalid_request");
        assert_eq!(answer.fields(), ["after"], "{cursor}");
    }
}

#[test]
fn a_limit_is_a_whole_number_from_1_to_1000() {
    let app = app_with(&["a"]);
    for wrong in [
        "0",
        "1001",
        "-1",
        "x",
        "",
        "1.5",
        "1e2",
        "99999999999999999999",
        "%31%30%30%31",
        "10%20",
    ] {
        let answer = app
            .get(&format!("{LIST}?limit={wrong}"))
            .refused(400, "invalid_request");
        assert_eq!(answer.fields(), ["limit"], "{wrong}");
    }
    for right in ["1", "1000", "%31"] {
        app.get(&format!("{LIST}?limit={right}")).expect(200);
    }
}

#[test]
fn a_limit_with_a_sign_is_refused() {
    let app = app_with(&["a"]);
    let answer = app.get(&format!("{LIST}?limit=%2B5")).refused(400, "invalid_request");
    assert_eq!(answer.fields(), ["limit"]);
}

#[test]
fn a_query_parameter_that_a_route_does_not_know_is_refused() {
    let app = app_with(&["a"]);
    for query in [
        "?x=1",
        "?Limit=1",
        "?limit=1&offset=2",
        "?limit",
        "?=1",
        "?limit=1&limit=1",
        "?after=x&after=x",
    ] {
        app.get(&format!("{LIST}{query}")).refused(400, "invalid_request");
    }
    for path in [at("a"), "/api/operations/k".to_owned()] {
        let answer = app.get(&format!("{path}?x=1")).refused(400, "invalid_request");
        assert_eq!(answer.fields(), ["x"]);
    }
    app.put(&format!("{}?expectedVersion=9", at("a")), json!({"quantity": 5}))
        .refused(400, "invalid_request");
    app.post(&format!("{}/adjust?dryRun=true", at("a")), json!({"delta": 5}))
        .refused(400, "invalid_request");
    assert_eq!(app.state("a"), (1, 0, 1));
}

#[test]
fn a_query_parameter_is_refused_by_the_probes_too() {
    let app = TestApp::start();
    for path in ["/api/health", "/api/health/live", "/api/health/ready"] {
        app.get(&format!("{path}?x=1")).refused(400, "invalid_request");
    }
}

#[test]
fn a_link_leads_on_in_a_store_whose_name_needs_encoding() {
    let app = TestApp::start();
    for sku in ["a", "b"] {
        app.put(&at_in("Gr%C3%B6%C3%9Fe%2F1", sku), json!({"quantity": 1}))
            .expect(201);
    }
    let page = app
        .get("/api/inventory/stores/Gr%C3%B6%C3%9Fe%2F1/inventory?limit=1")
        .expect(200);
    assert_eq!(page["items"][0]["storeId"], "Größe/1");
    assert_eq!(skus(&app.get(next_link(&page).unwrap()).expect(200)), ["b"]);
}
