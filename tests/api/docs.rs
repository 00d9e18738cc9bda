//! The OpenAPI document, the page that shows it, and the page of each problem.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::client::{Answer, Client, JSON};
use crate::support::TestApp;

const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE"];

fn document(app: &TestApp) -> Value {
    let answer = app.get("/api/openapi.json").expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    answer.json
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Each operation: its method, its path, and what the document says of it.
fn operations(document: &Value) -> impl Iterator<Item = (String, &String, &Value)> {
    members(&document["paths"]).flat_map(|(path, item)| {
        members(item)
            .filter(|(name, _)| *name != "parameters")
            .map(move |(method, about)| (method.to_uppercase(), path, about))
    })
}

/// A path with the examples of its parameters, and with the query parameters that it cannot do without.
fn example_path(document: &Value, path: &str, about: &Value) -> String {
    let parameters = document["paths"][path]["parameters"].as_array().into_iter().flatten();
    let filled = parameters.fold(path.to_owned(), |path, parameter| {
        let name = parameter["name"].as_str().unwrap();
        path.replace(&format!("{{{name}}}"), parameter["example"].as_str().unwrap())
    });
    let mut parameters = about["parameters"].as_array().into_iter().flatten();
    match parameters.find(|parameter| parameter["in"] == "query" && parameter["required"] == true) {
        Some(parameter) => format!("{filled}?{}=2025-11-27T08:26:00Z", parameter["name"].as_str().unwrap()),
        None => filled,
    }
}

/// Refusals of these routes have the form of the Node services.
fn is_of_node(path: &str) -> bool {
    ["/health", "/inventory/", "/stock", "/sync/"]
        .iter()
        .any(|root| path.starts_with(root))
}

/// Every object in a value, the value itself included.
fn objects(value: &Value) -> Vec<&Map<String, Value>> {
    let (own, children): (_, Vec<&Value>) = match value {
        Value::Object(object) => (Some(object), object.values().collect()),
        Value::Array(entries) => (None, entries.iter().collect()),
        _ => (None, Vec::new()),
    };
    own.into_iter().chain(children.into_iter().flat_map(objects)).collect()
}

#[test]
fn the_document_has_every_route_and_no_other() {
    let app = TestApp::start();
    let document = document(&app);
    let documented: BTreeSet<(String, String)> = operations(&document)
        .map(|(method, path, _)| (method, path.clone()))
        .collect();
    let described = app.get("/").expect(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let routes = described["routes"].as_array().unwrap().iter();
    let routes: BTreeSet<(String, String)> = routes
        .map(|route| (text(&route["method"]), text(&route["path"])))
        .collect();
    assert_eq!(documented, routes);
    let ids: BTreeSet<&str> = operations(&document)
        .map(|(.., about)| about["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), documented.len(), "two operations have one id");
}

#[test]
fn what_is_documented_is_served_and_what_is_not_is_refused() {
    let app = TestApp::start();
    let document = document(&app);
    for (path, item) in members(&document["paths"]) {
        for method in METHODS {
            let about = &item[method.to_lowercase()];
            let url = example_path(&document, path, about);
            let body = &about["requestBody"]["content"]["application/json"]["example"];
            let answer = match body {
                Value::Null => app.send(method, &url, &[], None),
                body => app.send(method, &url, &[JSON], Some(body.to_string().as_bytes())),
            };
            let told = format!("{method} {url}: {} {}", answer.status, answer.text());
            if about.is_null() && is_of_node(path) {
                answer.refused_as_node(405, "method_not_allowed");
            } else if about.is_null() {
                answer.refused(405, "method_not_allowed");
            } else {
                assert!(![400, 405].contains(&answer.status), "{told}");
                let detail = answer["detail"].as_str().unwrap_or_default();
                assert!(!detail.starts_with("There is nothing at"), "{told}");
                assert!(about["responses"][answer.status.to_string()].is_object(), "{told}");
            }
        }
    }
}

#[test]
fn every_write_takes_its_key_in_the_header_or_in_the_body() {
    let app = TestApp::start();
    let document = document(&app);
    let mut keyed = 0;
    for (method, path, about) in operations(&document) {
        let schema = &about["requestBody"]["content"]["application/json"]["schema"];
        let schema = schema["$ref"].as_str().map_or(schema, |reference| {
            document.pointer(reference.strip_prefix('#').unwrap()).unwrap()
        });
        let mut parameters = about["parameters"].as_array().into_iter().flatten();
        let in_header = parameters.any(|parameter| parameter["$ref"] == "#/components/parameters/Idempotency-Key");
        assert_eq!(in_header, method != "GET", "{method} {path}");
        if schema["type"] == "object" {
            let in_body = schema["properties"]["idempotencyKey"].is_object();
            assert_eq!(in_header, in_body, "{method} {path}");
            keyed += usize::from(in_header);
        }
    }
    assert!(keyed > 15, "{keyed}");
}

#[test]
fn options_lists_the_methods_of_the_document() {
    let app = TestApp::start();
    let document = document(&app);
    for (path, item) in members(&document["paths"]) {
        let url = example_path(&document, path, &Value::Null);
        let answer = app.send("OPTIONS", &url, &[], None).expect(204);
        let allowed: BTreeSet<&str> = answer.header("allow").unwrap().split(", ").collect();
        let methods: Vec<String> = members(item).map(|(name, _)| name.to_uppercase()).collect();
        let mut expected: BTreeSet<&str> = methods
            .iter()
            .map(String::as_str)
            .filter(|name| METHODS.contains(name))
            .collect();
        if expected.contains("GET") {
            expected.insert("HEAD");
        }
        expected.insert("OPTIONS");
        assert_eq!(allowed, expected, "{path}");
    }
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let app = TestApp::start();
    let document = document(&app);
    let references: BTreeSet<&str> = objects(&document)
        .into_iter()
        .filter_map(|object| object.get("$ref").and_then(Value::as_str))
        .collect();
    assert!(references.len() > 20, "{references:?}");
    for reference in &references {
        let target = document.pointer(reference.strip_prefix('#').unwrap());
        assert!(target.is_some(), "{reference}");
    }
    for (name, _) in members(&document["components"]["schemas"]) {
        let reference = format!("#/components/schemas/{name}");
        assert!(references.contains(reference.as_str()), "nothing refers to {name}");
    }
}

#[test]
fn every_example_fits_its_schema() {
    let app = TestApp::start();
    let document = document(&app);
    let mut checked = 0;
    for object in objects(&document["paths"]) {
        let Some(schema) = object.get("schema") else { continue };
        let single = object.get("example").into_iter();
        let several = object.get("examples").into_iter().flat_map(members);
        for example in single.chain(several.map(|(_, example)| &example["value"])) {
            check(&document, schema, example);
            checked += 1;
        }
    }
    assert!(checked > 200, "{checked}");
}

#[track_caller]
fn check(document: &Value, schema: &Value, value: &Value) {
    const AT: &str = "http://localhost/schema.json";
    let mut whole = schema.clone();
    whole["components"] = json!({"schemas": document["components"]["schemas"]});
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    compiler.add_resource(AT, whole).unwrap();
    let mut schemas = boon::Schemas::new();
    let index = compiler.compile(AT, &mut schemas).unwrap();
    if let Err(error) = schemas.validate(value, index) {
        panic!("{value} does not fit {schema}: {error:#}");
    }
}

#[test]
fn bodies_say_their_limits_and_a_level_route_takes_no_store() {
    let app = TestApp::start();
    let document = document(&app);
    let schemas = &document["components"]["schemas"];
    let quantity = &schemas["LevelReserveBody"]["properties"]["quantity"];
    assert_eq!(
        (&quantity["minimum"], &quantity["maximum"]),
        (&json!(1), &json!(9_007_199_254_740_991_u64))
    );
    assert_eq!(schemas["ReserveBody"]["properties"]["ttlSeconds"]["maximum"], 2_592_000);
    assert_eq!(schemas["SetBody"]["properties"]["note"]["maxLength"], 1000);
    assert_eq!(schemas["SetBody"]["properties"]["expectedVersion"]["type"], "integer");
    assert_eq!(
        schemas["SetBody"]["properties"]["reorderPoint"]["type"],
        json!(["integer", "null"])
    );
    for name in ["LevelSetBody", "LevelReserveBody", "LevelReleaseBody"] {
        assert!(schemas[name]["properties"].is_object(), "{name}");
        assert!(schemas[name]["properties"]["storeId"].is_null(), "{name}");
    }
}

#[test]
fn every_problem_has_a_page_and_a_form() {
    let app = TestApp::start();
    let document = document(&app);
    let parameter = &document["paths"]["/problems/{code}"]["parameters"][0];
    let codes = parameter["schema"]["enum"].as_array().unwrap();
    for code in codes.iter().map(|code| code.as_str().unwrap()) {
        let path = format!("/problems/{code}");
        let page = app
            .get_with(&path, &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")])
            .expect(200);
        is_a_page(&page);
        let form = app
            .get_with(&path, &[("accept", "application/problem+json")])
            .expect(200);
        assert_eq!(form.header("content-type"), Some("application/json"));
        assert_eq!(form["error"], code);
        for member in ["title", "cause", "remedy", "retry"] {
            assert!(
                form[member].as_str().is_some_and(|text| !text.is_empty()),
                "{code}: {member}"
            );
        }
        let retry = &form["retry"];
        assert_eq!(retry == "after_login", code == "unauthenticated", "{code}: {retry}");
        let title = form["title"].as_str().unwrap();
        assert!(
            page.text().contains(title) || String::from_utf8_lossy(&page.body).contains(title),
            "{code}"
        );
    }
    let used = objects(&document["paths"])
        .into_iter()
        .filter_map(|object| object.get("error")?.get("enum"));
    for code in used.flat_map(|codes| codes.as_array().unwrap()) {
        let is_of_node = ["quantity required", "delta required", "expect_array"].contains(&code.as_str().unwrap());
        assert!(codes.contains(code) || is_of_node, "{code} has no page");
    }
    app.get("/problems/%3Cscript%3E").refused(404, "not_found");
}

#[test]
fn the_page_shows_every_operation_and_loads_nothing_from_elsewhere() {
    let app = TestApp::start();
    let document = document(&app);
    let answer = app.get("/api/docs").expect(200);
    is_a_page(&answer);
    let page = String::from_utf8(answer.body).unwrap();
    for (.., about) in operations(&document) {
        let id = about["operationId"].as_str().unwrap();
        assert!(page.contains(&format!("<h3 id=\"{id}\">")), "{id}");
    }
    let style = app.get("/api/docs/style.css").expect(200);
    assert_eq!(style.header("content-type"), Some("text/css; charset=utf-8"));
    let style = String::from_utf8(style.body).unwrap();
    assert!(!style.contains("url(") && !style.contains("@import"));
    let problems: BTreeSet<&str> = attributes(&page, "href")
        .filter(|target| target.starts_with("/problems/"))
        .collect();
    assert!(problems.len() > 10, "{problems:?}");
    for problem in problems {
        app.get(problem).expect(200);
    }
}

/// A browser shows it without loading, running or framing anything, and every link in it leads somewhere.
#[track_caller]
fn is_a_page(answer: &Answer) {
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert!(!policy.contains("unsafe"), "{policy}");
    let page = std::str::from_utf8(&answer.body).unwrap();
    for forbidden in [
        "<script",
        "<style",
        " style=",
        " src=",
        "javascript:",
        "<img",
        "<iframe",
    ] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    for (scheme, host) in [("http://", "localhost:3000/"), ("https://", "shop.example/")] {
        let elsewhere = page.split(scheme).skip(1).find(|rest| !rest.starts_with(host));
        assert_eq!(elsewhere, None);
    }
    let ids: Vec<&str> = attributes(page, "id").collect();
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "an id stands there twice"
    );
    for target in attributes(page, "href") {
        match target.strip_prefix('#') {
            Some(id) => assert!(ids.contains(&id), "{target} leads nowhere"),
            None => assert!(
                target.starts_with("/api/") || target.starts_with("/problems/"),
                "{target}"
            ),
        }
    }
    headings_are_in_order(page);
}

fn attributes<'a>(page: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let values = page
        .split(&format!(" {name}=\""))
        .skip(1)
        .collect::<Vec<_>>()
        .into_iter();
    values.filter_map(|rest| rest.split('"').next())
}

/// One `h1`, and no level is left out on the way down.
#[track_caller]
fn headings_are_in_order(page: &str) {
    let levels = page
        .split("<h")
        .skip(1)
        .filter_map(|rest| rest.chars().next()?.to_digit(10));
    let levels: Vec<u32> = levels.collect();
    assert_eq!(levels.iter().filter(|level| **level == 1).count(), 1);
    assert!(levels.windows(2).all(|pair| pair[1] <= pair[0] + 1), "{levels:?}");
}

#[test]
fn the_five_steps_work_as_they_stand() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("skipped: curl is not installed");
        return;
    }
    let app = TestApp::start();
    let page = app.get("/api/docs").expect(200);
    let page = String::from_utf8(page.body).unwrap();
    let steps = page
        .split("<code>curl ")
        .skip(1)
        .map(|rest| rest.split("</code>").next().unwrap());
    let here = format!("localhost:{}", app.port);
    let run = |command: &str| {
        let command = command
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("localhost:3000", &here);
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("curl {command}"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let answers: Vec<String> = steps.map(run).collect();
    let expected = [
        ("201", "\"version\":1"),
        ("201", "\"reserved\":3,\"available\":7"),
        ("201", "idempotency-replayed: true"),
        ("200", "\"reserved\":3,\"available\":7"),
        ("200", "\"reserved\":0,\"available\":10"),
    ];
    assert_eq!(answers.len(), expected.len());
    for (answer, (status, part)) in answers.iter().zip(expected) {
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(part),
            "{answer}"
        );
    }
}
