//! Service tokens: shown once, named in events, and worth nothing when they are over or revoked.

use serde_json::{Value, json};

use crate::client::{Answer, Client, at, column, from_now, operation, sleep_until};
use crate::identity::{ask, first_admin, user};
use crate::support::TestApp;

const TOKENS: &str = "/api/tokens";

fn make(app: &TestApp, admin: &str, body: Value) -> Answer {
    ask(app, admin, "POST", TOKENS, Some(body))
}

fn text(answer: &Answer) -> String {
    answer["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_service_token_acts_under_its_name_until_it_is_revoked() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    let made = make(&app, &admin, json!({"name": "till-7", "role": "operator"})).expect(201);
    let (token, id) = (text(&made), made["id"].as_str().unwrap().to_owned());
    assert!(token.starts_with(&format!("hf_{id}_")), "{token}");
    let path = format!("{TOKENS}/{id}");
    assert_eq!(made.header("location"), Some(&*path));
    ask(&app, &token, "PUT", &at("A"), Some(json!({"quantity": 5}))).expect(201);
    let events = ask(&app, &token, "GET", "/api/events", None).expect(200);
    assert_eq!(events["items"][0]["by"], "token:till-7");
    ask(&app, &token, "GET", TOKENS, None).refused(403, "forbidden");
    for answer in [
        ask(&app, &admin, "GET", &path, None),
        ask(&app, &admin, "GET", TOKENS, None),
    ] {
        assert!(!answer.expect(200).text().contains(&token));
    }
    ask(&app, &admin, "DELETE", &path, None).expect(204);
    ask(&app, &token, "GET", &at("A"), None).refused(401, "unauthenticated");
    ask(&app, &admin, "GET", &path, None).refused(404, "not_found");
    ask(&app, &admin, "DELETE", &path, None).refused(404, "not_found");
}

#[test]
fn a_service_token_is_over_at_its_end() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    let end = json!(from_now(2500));
    let made = make(
        &app,
        &admin,
        json!({"name": "guest", "role": "viewer", "expiresAt": end}),
    )
    .expect(201);
    let token = text(&made);
    ask(&app, &token, "GET", "/api/events", None).expect(200);
    sleep_until(&end);
    ask(&app, &token, "GET", "/api/events", None).refused(401, "unauthenticated");
    let past = json!({"name": "guest", "role": "viewer", "expiresAt": from_now(-1000)});
    assert_eq!(
        make(&app, &admin, past).refused(400, "invalid_request").fields(),
        ["expiresAt"]
    );
}

#[test]
fn another_secret_under_a_right_id_is_no_token() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    let [one, other] = ["one", "other"].map(|name| text(&make(&app, &admin, json!({"name": name, "role": "admin"}))));
    ask(&app, &one, "GET", TOKENS, None).expect(200);
    let prefix = one.len() - 43;
    let mixed = format!("{}{}", &one[..prefix], &other[prefix..]);
    for wrong in [
        mixed,
        one[..one.len() - 1].to_owned(),
        format!("{one}x"),
        one[..prefix].to_owned(),
    ] {
        ask(&app, &wrong, "GET", TOKENS, None).refused(401, "unauthenticated");
    }
}

#[test]
fn a_repeat_under_its_key_does_not_show_the_token_again() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    let bearer = format!("Bearer {admin}");
    let headers = [("authorization", &*bearer), ("idempotency-key", "k-1")];
    let send = || {
        app.post_with(TOKENS, &headers, json!({"name": "till", "role": "viewer"}))
            .expect(201)
    };
    let (first, again) = (send(), send());
    assert_eq!(
        (&first["id"], again.header("idempotency-replayed")),
        (&again["id"], Some("true"))
    );
    assert!(
        first["token"].is_string() && again["token"].is_null(),
        "{}",
        again.text()
    );
    let told = ask(&app, &admin, "GET", &operation("k-1"), None).expect(200);
    assert_eq!(told["answer"]["body"], again.json);
    ask(&app, &text(&first), "GET", "/api/events", None).expect(200);
    let listed = ask(&app, &admin, "GET", TOKENS, None).expect(200);
    assert_eq!(column(listed["items"].as_array().unwrap(), "name"), ["till"]);
}

#[test]
fn a_service_token_that_does_not_fit_is_refused_by_its_field() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    for (field, body) in [
        ("stores", json!({"name": "x", "role": "clerk"})),
        ("stores", json!({"name": "x", "role": "admin", "stores": ["a"]})),
        ("name", json!({"name": "x".repeat(59), "role": "viewer"})),
        ("name", json!({"name": "a b", "role": "viewer"})),
        ("role", json!({"name": "x"})),
        ("secret", json!({"name": "x", "role": "viewer", "secret": "mine"})),
    ] {
        assert_eq!(
            make(&app, &admin, body).refused(400, "invalid_request").fields(),
            [field]
        );
    }
    make(&app, &admin, json!({"name": "x".repeat(58), "role": "viewer"})).expect(201);
}

#[test]
fn a_user_and_a_token_of_one_name_are_two_callers() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    let ben = user(&app, &admin, "ben", json!({"role": "operator"}));
    let token = text(&make(&app, &admin, json!({"name": "ben", "role": "operator"})).expect(201));
    let write = |who: &str| {
        let bearer = format!("Bearer {who}");
        let headers = [("authorization", &*bearer), ("idempotency-key", "k")];
        app.post_with("/api/inventory/items", &headers, json!({"sku": "A", "quantity": 1}))
    };
    write(&ben).expect(201);
    write(&token).refused(409, "already_exists");
}
