//! What one caller may take of the service where callers are known: open holds, requests and logins.

use std::path::Path;

use serde_json::{Value, json};

use crate::client::{Answer, Client, at, sleep_until};
use crate::support::TestApp;

const SECRET: (&str, &str) = ("HOLDFAST_JWT_SECRET", "0123456789abcdef0123456789abcdef");
const PASSWORD: &str = "correct horse battery";

fn start(folder: &Path, args: &[&str]) -> TestApp {
    TestApp::start_under(folder, 0, &[&["--login-rate", "0"], args].concat(), &[SECRET])
}

/// Makes the first admin, and logs in.
fn admin(app: &TestApp) -> String {
    let log = app.log();
    let (_, rest) = log.split_once("\"setupToken\": \"").unwrap_or_else(|| panic!("{log}"));
    let token = rest.split('"').next().unwrap();
    let body = json!({"username": "root", "password": PASSWORD, "setupToken": token});
    app.post("/api/auth/register", body).expect(201);
    login(app, "root").expect(200)["token"].as_str().unwrap().to_owned()
}

fn login(app: &TestApp, name: &str) -> Answer {
    app.post("/api/auth/login", json!({"username": name, "password": PASSWORD}))
}

/// Makes an operator, and logs them in.
fn operator(app: &TestApp, admin: &str, name: &str) -> String {
    let bearer = format!("Bearer {admin}");
    let body = json!({"username": name, "password": PASSWORD, "role": "operator"});
    app.post_with("/api/auth/register", &[("authorization", &bearer)], body)
        .expect(201);
    login(app, name).expect(200)["token"].as_str().unwrap().to_owned()
}

/// A caller who says who they are.
struct As<'a>(&'a TestApp, &'a str);

impl As<'_> {
    fn post(&self, path: &str, body: Value) -> Answer {
        self.0
            .post_with(path, &[("authorization", &format!("Bearer {}", self.1))], body)
    }

    fn get(&self, path: &str) -> Answer {
        self.0
            .get_with(path, &[("authorization", &format!("Bearer {}", self.1))])
    }

    fn stock(&self, sku: &str) {
        let headers = [("authorization", &*format!("Bearer {}", self.1))];
        self.0
            .put_with(&at(sku), &headers, json!({"quantity": 1000}))
            .expect(201);
    }

    fn hold(&self, sku: &str) -> Answer {
        self.post(&format!("{}/reserve", at(sku)), json!({"quantity": 1}))
    }

    fn cart(&self, skus: &[&str], more: Value) -> Answer {
        let lines: Vec<Value> = skus
            .iter()
            .map(|sku| json!({"sku": sku, "storeId": "s1", "quantity": 1}))
            .collect();
        let mut body = json!({"lines": lines});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.post("/api/reservations", body)
    }
}

fn reservation(answer: &Answer) -> String {
    answer["reservation"]["reservationId"].as_str().unwrap().to_owned()
}

fn id(answer: &Answer) -> String {
    answer["reservationId"].as_str().unwrap().to_owned()
}

#[track_caller]
fn is_full(answer: Answer) {
    let answer = answer.refused(409, "quota_exceeded");
    assert_eq!(answer["limit"], 3, "{}", answer.text());
}

#[test]
fn a_principal_holds_so_many_lines_and_no_more_on_whatever_route() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path(), &["--max-open-holds", "3"]);
    let root = admin(&app);
    let (ann, bob) = (operator(&app, &root, "ann"), operator(&app, &root, "bob"));
    let (ann, bob) = (As(&app, &ann), As(&app, &bob));
    ["A", "B", "C", "D"].iter().for_each(|sku| ann.stock(sku));
    let first = reservation(&ann.hold("A").expect(201));
    ann.cart(&["B", "C"], json!({})).expect(201);
    let before = ann.get("/api/events?limit=1000").expect(200)["items"]
        .as_array()
        .unwrap()
        .len();

    is_full(ann.hold("A"));
    is_full(ann.post(
        "/api/inventory/items/A/reserve",
        json!({"quantity": 1, "storeId": "s1"}),
    ));
    is_full(ann.cart(&["D"], json!({})));
    is_full(ann.cart(&["D"], json!({"allowPartial": true})));
    is_full(ann.cart(&["D"], json!({"dryRun": true})));
    let reserve = json!({"op": "reserve", "sku": "D", "storeId": "s1", "quantity": 1});
    let batch = ann
        .post("/api/inventory/batch", json!({"operations": [reserve]}))
        .expect(200);
    let result = &batch["results"][0];
    assert_eq!(
        (&result["status"], &result["error"]),
        (&json!(409), &json!("quota_exceeded")),
        "{}",
        batch.text()
    );
    is_full(ann.post("/api/inventory/batch", json!({"operations": [reserve], "atomic": true})));
    // What is not there, or at another version, comes before what may not be.
    ann.hold("NONE").refused(404, "not_found");
    ann.post(
        &format!("{}/reserve", at("A")),
        json!({"quantity": 1, "expectedVersion": 77}),
    )
    .refused(409, "version_mismatch");
    ann.cart(&["NONE"], json!({})).refused(404, "not_found");
    let after = ann.get("/api/events?limit=1000").expect(200)["items"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(before, after, "a refusal was recorded");

    bob.hold("A").expect(201);
    ann.post(&format!("/api/reservations/{first}/commit"), json!({}))
        .expect(200);
    ann.hold("A").expect(201);
    is_full(ann.hold("A"));
}

#[test]
fn lines_are_free_again_when_they_are_sold_given_back_over_or_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let mut app = start(folder.path(), &["--max-open-holds", "3"]);
    let root = admin(&app);
    let token = operator(&app, &root, "ann");
    let ann = As(&app, &token);
    ["A", "B", "C", "D"].iter().for_each(|sku| ann.stock(sku));
    let cart = id(&ann.cart(&["A", "B", "C"], json!({})).expect(201));
    let part = |sku: &str| json!({"lines": [{"sku": sku, "storeId": "s1", "quantity": 1}]});
    ann.post(&format!("/api/reservations/{cart}/commit"), part("A"))
        .expect(200);
    ann.hold("D").expect(201);
    is_full(ann.hold("D"));
    ann.post(&format!("/api/reservations/{cart}/release"), part("B"))
        .expect(200);
    let over = ann
        .post(&format!("{}/reserve", at("D")), json!({"quantity": 1, "ttlSeconds": 2}))
        .expect(201);
    is_full(ann.hold("D"));
    sleep_until(&over["reservation"]["expiresAt"]);
    // At that moment, whether or not it is recorded by then.
    ann.hold("D").expect(201);
    is_full(ann.hold("D"));
    // One line is left of the cart: it is given back first.
    let swapped = id(&ann.cart(&["A"], json!({"replaces": cart})).expect(201));
    is_full(ann.cart(&["A", "B"], json!({"replaces": swapped})));
    ann.post(&format!("/api/reservations/{swapped}/release"), json!({}))
        .expect(200);
    let two = id(&ann.cart(&["A"], json!({})).expect(201));

    app.kill();
    let app = start(folder.path(), &["--max-open-holds", "3"]);
    let ann = As(&app, &token);
    is_full(ann.hold("D"));
    ann.cart(&["B"], json!({"replaces": two})).expect(201);
    is_full(ann.hold("D"));
    // A limit that was lowered does not keep anybody from holding less.
    drop(app);
    let app = start(folder.path(), &["--max-open-holds", "1"]);
    As(&app, &token).hold("D").refused(409, "quota_exceeded");
    drop(app);
    let app = start(folder.path(), &["--max-open-holds", "0"]);
    As(&app, &token).hold("D").expect(201);
}

#[test]
fn of_many_that_ask_at_once_just_so_many_get_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path(), &["--max-open-holds", "25"]);
    let root = admin(&app);
    let token = operator(&app, &root, "ann");
    let ann = As(&app, &token);
    let skus: Vec<String> = (0..10).map(|i| format!("S{i}")).collect();
    skus.iter().for_each(|sku| ann.stock(sku));
    let work = |worker: usize| {
        let ann = As(&app, &token);
        let mut held = 0;
        for turn in 0..8 {
            let sku = &skus[(worker * 3 + turn) % skus.len()];
            let other = &skus[(worker * 3 + turn + 1) % skus.len()];
            let operation = |sku: &str| json!({"op": "reserve", "sku": sku, "storeId": "s1", "quantity": 1});
            held += match turn % 3 {
                0 => u64::from(ann.hold(sku).status == 201),
                1 => 2 * u64::from(ann.cart(&[sku, other], json!({})).status == 201),
                _ => {
                    let batch = json!({"operations": [operation(sku), operation(other), operation(sku)]});
                    let answer = ann.post("/api/inventory/batch", batch).expect(200);
                    let results = answer["results"].as_array().unwrap();
                    results.iter().filter(|result| result["status"] == 201).count() as u64
                }
            };
        }
        held
    };
    let held: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|worker| scope.spawn(move || work(worker))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(held, 25);
    let reserved = skus
        .iter()
        .map(|sku| ann.get(&at(sku)).expect(200)["reserved"].as_u64().unwrap());
    assert_eq!(reserved.sum::<u64>(), 25);
}

#[test]
fn a_caller_without_a_name_has_no_quota() {
    let app = TestApp::start_with(&["--max-open-holds", "1"]);
    app.stock("A", 10);
    (0..3).for_each(|_| drop(app.hold("A", 1)));
}

#[test]
fn each_principal_has_requests_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let app = start(folder.path(), &["--rate-per-principal", "3"]);
    let root = admin(&app);
    let ann = operator(&app, &root, "ann");
    let ann = As(&app, &ann);
    for left in (0..3).rev() {
        let answer = ann.get("/api/inventory/items").expect(200);
        let state = answer.header("ratelimit").unwrap();
        assert!(state.starts_with(&format!("\"principal\";r={left};t=")), "{state}");
    }
    let refused = ann.get("/api/inventory/items").refused(429, "rate_limited");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(refused.header("ratelimit-policy"), Some("\"principal\";q=3;w=60"));
    As(&app, &root).get("/api/inventory/items").expect(200);
    // Without a token nobody uses up another's.
    app.get("/api/inventory/items").refused(401, "unauthenticated");
}

#[test]
fn passwords_cannot_be_tried_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = ["--trusted-proxies", "127.0.0.1"];
    let app = TestApp::start_under(
        folder.path(),
        0,
        &[&["--login-rate", "4"], &proxy[..]].concat(),
        &[SECRET],
    );
    admin(&app);
    let from = |address: &str, name: &str, password: &str| {
        let headers = [("x-forwarded-for", address)];
        let body = json!({"username": name, "password": password});
        app.post_with("/api/auth/login", &headers, body)
    };
    // One address, many names.
    for name in ["a", "b", "c", "d"] {
        from("192.0.2.1", name, "wrong wrong wrong").refused(401, "unauthenticated");
    }
    let refused = from("192.0.2.1", "e", "wrong wrong wrong").refused(429, "rate_limited");
    assert!(refused.header("retry-after").is_some() && refused.header("ratelimit").is_some());
    // One name, many addresses, whether or not there is such a user.
    for name in ["root", "nobody"] {
        let statuses: Vec<u16> = (1..=8)
            .map(|i| from(&format!("198.51.100.{i}"), name, "wrong wrong wrong").status)
            .collect();
        assert!(
            statuses.contains(&429) && statuses.iter().all(|status| [401, 429].contains(status)),
            "{statuses:?}"
        );
    }
    // The user is not locked out where they have logged in before.
    login(&app, "root").expect(200);
    let register = |name: &str| {
        app.post_with(
            "/api/auth/register",
            &[("x-forwarded-for", "203.0.113.1")],
            json!({"username": name, "password": PASSWORD}),
        )
    };
    let statuses: Vec<u16> = (0..6).map(|i| register(&format!("u{i}")).status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 429, 429]);
}
