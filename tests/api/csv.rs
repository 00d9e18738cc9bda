//! Lists as CSV, and the log as CSV and as CloudEvents: the same rows as in JSON, in another form.

use serde_json::{Value, json};

use crate::client::{Answer, Client, at_in, is_time};
use crate::staff::{FOREIGN, House, OWN};
use crate::support::TestApp;

const CSV: &str = "text/csv; charset=utf-8; header=present";

/// The lines of a file, the header first. RFC 4180 with its line ends, and nothing else.
fn parse(text: &str) -> Vec<Vec<String>> {
    let (mut lines, mut line, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut chars = text.chars().peekable();
    let mut is_quoted = false;
    while let Some(char) = chars.next() {
        match char {
            '"' if is_quoted && chars.next_if_eq(&'"').is_some() => cell.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => line.push(std::mem::take(&mut cell)),
            '\r' if !is_quoted => {
                assert_eq!(chars.next(), Some('\n'), "a line end of its own kind: {text:?}");
                line.push(std::mem::take(&mut cell));
                lines.push(std::mem::take(&mut line));
            }
            '\n' if !is_quoted => panic!("a line end of its own kind: {text:?}"),
            char => cell.push(char),
        }
    }
    assert!(
        !is_quoted && cell.is_empty() && line.is_empty(),
        "it breaks off: {text:?}"
    );
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text:?}");
    lines
}

/// The rows of an answer, each as its cells by name.
#[track_caller]
fn rows(answer: Answer, file: &str) -> Vec<Value> {
    let answer = answer.expect(200);
    assert_eq!(answer.header("content-type"), Some(CSV));
    let saved = format!("attachment; filename=\"{file}.csv\"");
    assert_eq!(answer.header("content-disposition"), Some(saved.as_str()));
    assert!(answer.header("vary").is_some_and(|vary| vary.contains("Accept")));
    let mut lines = parse(std::str::from_utf8(&answer.body).unwrap()).into_iter();
    let names = lines.next().unwrap();
    let row = |line: Vec<String>| names.iter().cloned().zip(line.into_iter().map(Value::String)).collect();
    lines.map(|line| Value::Object(row(line))).collect()
}

/// What the cell of a member holds.
fn cell(member: &Value) -> Value {
    match member {
        Value::Null => "".into(),
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}

/// Every member of the form stands in a cell of its own, and nothing else does.
#[track_caller]
fn is_same(row: &Value, form: &Value) {
    let mut cells = row.as_object().unwrap().clone();
    for (member, value) in form.as_object().unwrap() {
        assert_eq!(cells.remove(member), Some(cell(value)), "{member} of {form} in {row}");
    }
    let rest: Vec<&Value> = cells.values().filter(|cell| **cell != "").collect();
    assert!(rest.is_empty(), "{rest:?} of {row} are not in {form}");
}

/// Texts that a spreadsheet would take for formulas, with all that CSV must quote.
const NAME: &str = "=SUM(A1), \"half\" off; or so";
const NOTE: &str = "@note, of\r\ntwo \"lines\"\n";

fn with_stock() -> House {
    let house = House::open();
    let admin = &house.admin;
    let item = json!({"sku": "+A,1", "name": NAME, "price": {"amount": 295, "currency": "GBP"}, "quantity": 10, "storeId": "own"});
    admin.post("/api/inventory/items", item).expect(201);
    admin
        .put(
            &at_in("own", "B"),
            json!({"quantity": 5, "reorderPoint": 2, "note": NOTE}),
        )
        .expect(201);
    admin.put(&at_in(FOREIGN[0], "B"), json!({"quantity": 7})).expect(201);
    let product = json!({"sku": "C", "name": "No stock", "attributes": {"colour": "re\"d", "grams": 1.5}});
    admin.post("/api/products", product).expect(201);
    let store = json!({"storeId": "own too", "name": "Zürich", "timeZone": "Europe/Zurich"});
    admin.post("/api/stores", store).expect(201);
    let lines =
        json!([{"sku": "B", "storeId": "own", "quantity": 4}, {"sku": "+A,1", "storeId": "own", "quantity": 1}]);
    admin
        .post(
            "/api/reservations",
            json!({"lines": lines, "reservationId": "r,1", "ttlSeconds": 600}),
        )
        .expect(201);
    house
}

/// The rows of a list in both forms, where a row of JSON is one of CSV too.
#[track_caller]
fn check(house: &House, path: &str, file: &str, least: usize) {
    let mark = if path.contains('?') { '&' } else { '?' };
    let json = house.admin.get(path).expect(200);
    let forms = json["items"].as_array().unwrap();
    assert!(forms.len() >= least, "{path}: {}", json.text());
    for rows in [
        rows(house.admin.get(&format!("{path}{mark}format=csv")), file),
        rows(house.admin.get_with(path, &[("accept", "text/csv")]), file),
    ] {
        assert_eq!(rows.len(), forms.len());
        for (row, form) in rows.iter().zip(forms) {
            let mut form = form.clone();
            let price = form["price"].take();
            form["currency"] = price["currency"].clone();
            form["price"] = price["amount"].clone();
            if row.get("price").is_none() {
                form.as_object_mut()
                    .unwrap()
                    .retain(|name, _| !["price", "currency"].contains(&name.as_str()));
            }
            is_same(row, &form);
        }
    }
}

#[test]
fn every_list_says_the_same_in_csv_as_in_json() {
    let house = with_stock();
    house.hire("till-7", "clerk", &OWN);
    let register = json!({"username": "ben", "password": "correct horse battery", "role": "clerk", "stores": OWN});
    house.admin.post("/api/auth/register", register).expect(201);
    check(&house, "/api/inventory/stores/own/inventory", "levels", 2);
    check(&house, "/api/products", "products", 3);
    check(&house, "/products", "products", 3);
    check(&house, "/api/stores", "stores", 3);
    check(&house, "/api/movements", "movements", 3);
    check(&house, "/api/movements?type=SALE", "movements", 0);
    check(&house, "/api/users", "users", 2);
    check(&house, "/api/tokens", "tokens", 1);
}

#[test]
fn an_item_has_a_line_per_level_and_a_reservation_one_per_line() {
    let house = with_stock();
    let items = house.admin.get("/api/inventory/items").expect(200);
    let mut lines = rows(house.admin.get("/api/inventory/items?format=csv"), "items").into_iter();
    for item in items["items"].as_array().unwrap() {
        let levels = item["levels"].as_array().unwrap();
        let none =
            json!({"storeId": "", "quantity": "", "reserved": "", "available": "", "version": "", "updatedAt": ""});
        let levels = if levels.is_empty() {
            std::slice::from_ref(&none)
        } else {
            levels.as_slice()
        };
        for level in levels {
            let mut form = level.clone();
            form["sku"] = item["sku"].clone();
            form["name"] = item["name"].clone();
            form["price"] = item["price"]["amount"].clone();
            form["currency"] = item["price"]["currency"].clone();
            form["itemVersion"] = item["version"].clone();
            form["createdAt"] = item["createdAt"].clone();
            form["itemUpdatedAt"] = item["updatedAt"].clone();
            is_same(&lines.next().unwrap(), &form);
        }
    }
    assert_eq!(lines.next(), None);
    let lines = rows(house.admin.get("/api/reservations?format=csv"), "reservations");
    let cart = house.admin.get("/api/reservations/r%2C1").expect(200).json;
    assert_eq!(lines.len(), 2);
    for (row, line) in lines.iter().zip(cart["lines"].as_array().unwrap()) {
        let mut form = cart.clone();
        form.as_object_mut().unwrap().remove("lines");
        form.as_object_mut().unwrap().extend(line.as_object().unwrap().clone());
        is_same(row, &form);
    }
}

#[test]
fn an_event_has_a_line_for_each_of_its_changes() {
    let house = with_stock();
    let events = house.admin.get("/api/events").expect(200);
    let mut lines = rows(house.admin.get("/api/events?format=csv"), "events").into_iter();
    for event in events["items"].as_array().unwrap() {
        for change in event["changes"].as_array().unwrap() {
            let mut form = event.clone();
            form.as_object_mut().unwrap().remove("changes");
            form.as_object_mut()
                .unwrap()
                .extend(change.as_object().unwrap().clone());
            is_same(&lines.next().unwrap(), &form);
        }
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn what_a_spreadsheet_would_take_for_a_formula_is_not_altered() {
    let house = with_stock();
    let products = rows(house.admin.get("/api/products?format=csv"), "products");
    assert_eq!(
        (&products[0]["sku"], &products[0]["name"]),
        (&json!("+A,1"), &json!(NAME))
    );
    let movements = rows(
        house.admin.get("/api/movements?sku=B&storeId=own&format=csv"),
        "movements",
    );
    assert_eq!(movements[0]["note"], NOTE);
}

#[test]
fn pages_of_csv_lead_to_one_another() {
    let app = TestApp::start();
    for i in 0..7 {
        app.stock(&format!("A{i}"), i);
    }
    let (mut seen, mut path) = (Vec::new(), "/api/inventory/items?limit=3&format=csv&q=a".to_owned());
    for expected in [3, 3, 1] {
        let page = app.get(&path);
        let link = page.header("link").map(str::to_owned);
        let rows = rows(page, "items");
        assert_eq!(rows.len(), expected);
        seen.extend(rows.iter().map(|row| row["sku"].as_str().unwrap().to_owned()));
        match link {
            Some(link) => path = link[1..link.find('>').unwrap()].to_owned(),
            None => assert_eq!(expected, 1),
        }
    }
    assert_eq!(seen, (0..7).map(|i| format!("A{i}")).collect::<Vec<_>>());
    let none = rows(app.get("/api/inventory/stores/nowhere/inventory?format=csv"), "levels");
    assert!(none.is_empty());
}

#[test]
fn the_query_counts_more_than_accept_and_a_form_that_is_not_there_is_refused_before_all_else() {
    let house = with_stock();
    let csv = ("accept", "text/csv");
    let answer = house
        .admin
        .get_with("/api/inventory/items?format=json", &[csv])
        .expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    rows(
        house
            .admin
            .get_with("/api/inventory/items?format=csv", &[("accept", "application/json")]),
        "items",
    );
    for (accept, is_csv) in [
        ("text/csv;q=0.5, application/json;q=0.4", true),
        ("text/csv;q=0.4, application/json;q=0.5", false),
        ("*/*", false),
        ("text/csv, */*;q=0.1", true),
    ] {
        let answer = house.admin.get_with("/api/stores", &[("accept", accept)]).expect(200);
        assert_eq!(answer.header("content-type") == Some(CSV), is_csv, "{accept}");
    }
    let clerk = house.clerk();
    for path in [
        "/api/inventory/items",
        "/api/inventory/stores/ZFOREIGN/inventory",
        "/api/movements",
        "/api/events",
        "/api/events/stream",
        "/api/reservations",
        "/api/users",
        "/api/tokens",
        "/api/products",
        "/api/stores",
    ] {
        for format in ["xml", "CSV", "", "cloud"] {
            let refused = clerk
                .get(&format!("{path}?format={format}"))
                .refused(400, "invalid_request");
            assert_eq!(refused.fields(), ["format"], "{path}");
        }
    }
    clerk
        .get("/api/events/stream?format=csv")
        .refused(400, "invalid_request");
    clerk
        .get("/api/stores?format=cloudevents")
        .refused(400, "invalid_request");
    // A refusal is a problem document whatever form was asked for.
    clerk.get_with("/api/users", &[csv]).refused(403, "forbidden");
    clerk
        .get_with("/api/movements?storeId=ZFOREIGN", &[csv])
        .refused(404, "not_found");
}

#[test]
fn a_clerk_finds_nothing_of_other_stores_in_csv_or_cloud_events() {
    let house = with_stock();
    let clerk = house.clerk();
    for path in ["inventory/items", "movements", "events", "reservations", "stores"] {
        let answer = clerk.get(&format!("/api/{path}?format=csv")).expect(200);
        assert!(
            !answer.body.is_empty() && !String::from_utf8(answer.body).unwrap().contains("ZFOREIGN"),
            "{path}"
        );
    }
    let events = clerk.get("/api/events?format=cloudevents").expect(200);
    assert!(!String::from_utf8(events.body).unwrap().contains("ZFOREIGN"));
}

#[test]
fn a_page_of_cloud_events_holds_the_events_as_the_page_of_the_log_does() {
    let house = with_stock();
    let plain = house.admin.get("/api/events").expect(200);
    let plain = plain["items"].as_array().unwrap();
    let batch = "application/cloudevents-batch+json";
    for answer in [
        house.admin.get("/api/events?format=cloudevents"),
        house.admin.get_with("/api/events", &[("accept", batch)]),
    ] {
        let answer = answer.expect(200);
        assert_eq!(answer.header("content-type"), Some(batch));
        let events = answer.json.as_array().unwrap();
        assert_eq!(events.len(), plain.len());
        for (event, plain) in events.iter().zip(plain) {
            assert_eq!(event["specversion"], "1.0");
            assert_eq!(event["id"], plain["seq"].to_string());
            assert_eq!(event["source"], "/api/events");
            assert_eq!(event["type"], format!("holdfast.{}", plain["type"].as_str().unwrap()));
            assert_eq!(event["datacontenttype"], "application/json");
            assert!(is_time(&event["time"]) && event["time"] == plain["at"]);
            assert_eq!(&event["data"], plain);
        }
        let subjects: Vec<&Value> = events.iter().map(|event| &event["subject"]).collect();
        assert_eq!(subjects, [&json!("+A,1"), &json!("B"), &json!("B"), &json!("r,1")]);
    }
    let first = house.admin.get("/api/events?format=cloudevents&limit=1").expect(200);
    let id = first.json[0]["id"].as_str().unwrap();
    let link = format!("</api/events?format=cloudevents&limit=1&after={id}>; rel=\"next\"");
    assert_eq!(first.header("link"), Some(link.as_str()));
}

#[test]
fn the_source_of_cloud_events_is_a_setting() {
    let app = TestApp::start_with(&["--event-source", "urn:holdfast:london"]);
    app.stock("A", 1);
    let events = app.get("/api/events?format=cloudevents").expect(200);
    assert_eq!(events.json[0]["source"], "urn:holdfast:london");
    let status = std::process::Command::new(crate::support::HOLDFAST)
        .args(["serve", "--port", "0", "--event-source", "not a uri"])
        .output()
        .unwrap();
    assert_eq!(status.status.code(), Some(2));
}

#[test]
fn the_log_is_narrowed_to_a_type_and_to_low_stock() {
    let app = TestApp::start();
    app.put(&at_in("s1", "A"), json!({"quantity": 10, "reorderPoint": 5}))
        .expect(201);
    app.put(&at_in("s2", "A"), json!({"quantity": 10, "reorderPoint": 9}))
        .expect(201);
    for delta in [-4, -1, -1, 5] {
        app.post(&format!("{}/adjust", at_in("s1", "A")), json!({"delta": delta}))
            .expect(200);
    }
    // Both levels run low by one event.
    let lines = json!([{"sku": "A", "storeId": "s1", "quantity": 6}, {"sku": "A", "storeId": "s2", "quantity": 2}]);
    app.post("/api/reservations", json!({"lines": lines, "reservationId": "r"}))
        .expect(201);
    app.post("/api/reservations/r/release", json!({})).expect(200);
    for (query, expected) in [
        ("lowStock=true", &[4, 7][..]),
        ("lowStock=false", &[1, 2, 3, 4, 5, 6, 7, 8]),
        ("lowStock=true&storeId=s2", &[7]),
        ("lowStock=true&type=level.adjusted", &[4]),
        ("lowStock=true&sku=B", &[]),
        ("type=level.created", &[1, 2]),
        ("type=reservation.released&storeId=s1", &[8]),
        ("type=level.counted", &[]),
    ] {
        let page = app.get(&format!("/api/events?{query}")).expect(200);
        let seqs: Vec<u64> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["seq"].as_u64().unwrap())
            .collect();
        assert_eq!(seqs, expected, "{query}");
    }
    for query in [
        "type=user.created",
        "type=LEVEL.CREATED",
        "type=",
        "lowStock=yes",
        "lowStock=",
    ] {
        let refused = app.get(&format!("/api/events?{query}")).refused(400, "invalid_request");
        assert_eq!(refused.fields().len(), 1, "{query}");
    }
}

/// A schema, or the one that it refers to.
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

/// The names under which a row's members must have a column.
fn names(document: &Value, form: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (name, member) in resolved(document, form)["properties"].as_object().unwrap() {
        let entries = resolved(document, &member["items"]);
        match name.as_str() {
            "price" => found.extend(["price".to_owned(), "currency".to_owned()]),
            "lastError" => found.extend(["lastErrorAt".to_owned(), "lastError".to_owned()]),
            "delivery" => found.extend(names(document, member)),
            "levels" | "lines" | "changes" if entries["properties"].is_object() => {
                found.extend(names(document, entries))
            }
            _ => found.push(name.clone()),
        }
    }
    found
}

#[test]
fn every_list_of_the_document_is_csv_too_with_a_column_for_every_member() {
    let app = TestApp::start();
    let webhook = json!({"url": "http://127.0.0.1:9/", "events": ["*"], "disabled": true});
    let webhook = app.post("/api/webhooks", webhook).expect(201)["id"].clone();
    let document = app.get("/api/openapi.json").expect(200).json;
    let mut lists = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let about = &item["get"];
        let parameters = || about["parameters"].as_array().into_iter().flatten();
        let has = |name: &str| parameters().any(|parameter| parameter["name"] == name);
        if !has("limit") {
            continue;
        }
        assert!(has("format"), "{path} is a list without `format`");
        let content = &about["responses"]["200"]["content"];
        assert!(
            content["text/csv"].is_object(),
            "{path} does not say that it is CSV too"
        );
        let path = path.replace("{storeId}", "london");
        let path = path.replace("{webhookId}", webhook.as_str().unwrap());
        let answer = app.get(&format!("{path}?format=csv")).expect(200);
        let header = parse(std::str::from_utf8(&answer.body).unwrap()).remove(0);
        let example = parse(content["text/csv"]["example"].as_str().unwrap());
        assert!(example[0] == header && example.len() > 1, "{path}: {example:?}");
        let page = resolved(&document, &content["application/json"]["schema"]);
        for name in names(&document, &page["properties"]["items"]["items"]) {
            assert!(header.contains(&name), "{path} has no column for {name}");
        }
        lists += 1;
    }
    assert!(lists >= 11, "{lists}");
}
