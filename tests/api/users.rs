//! Users: made, shown, changed and deleted by admins, and by nobody else.

use serde_json::{Value, json};

use crate::client::{Answer, Client, all_pages, column, operation};
use crate::identity::{PASSWORD, ask, first_admin, login, user};
use crate::log::events_of;
use crate::support::TestApp;

const USERS: &str = "/api/users";

fn put(app: &TestApp, token: &str, name: &str, body: Value) -> Answer {
    ask(app, token, "PUT", &format!("{USERS}/{name}"), Some(body))
}

fn register(app: &TestApp, token: &str, body: Value) -> Answer {
    ask(app, token, "POST", "/api/auth/register", Some(body))
}

/// Asks with a token and further headers.
fn ask_with(
    app: &TestApp,
    token: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Answer {
    let bearer = format!("Bearer {token}");
    let own = [("authorization", &*bearer), crate::client::JSON];
    let text = body.map(|body| body.to_string());
    let own = if text.is_some() { &own[..] } else { &own[..1] };
    app.send(
        method,
        path,
        &[own, headers].concat(),
        text.as_deref().map(str::as_bytes),
    )
}

#[test]
fn users_are_made_shown_changed_and_deleted() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    let body = json!({"username": "cleo", "password": PASSWORD, "role": "clerk", "stores": ["london"]});
    let made = register(&app, &admin, body.clone()).expect(201);
    assert_eq!(
        (made.header("location"), made.header("etag")),
        (Some("/api/users/cleo"), Some("\"1\""))
    );
    let shown = ask(&app, &admin, "GET", "/api/users/cleo", None).expect(200);
    assert_eq!(shown.json, made.json);
    let members: Vec<&String> = shown.json.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "createdAt",
            "disabled",
            "role",
            "stores",
            "updatedAt",
            "username",
            "version"
        ]
    );
    register(&app, &admin, body).refused(409, "already_exists");
    let changed = put(&app, &admin, "cleo", json!({"role": "operator"})).expect(200);
    assert_eq!(
        (&changed["role"], &changed["stores"], &changed["version"]),
        (&json!("operator"), &Value::Null, &json!(2))
    );
    ask(&app, &admin, "DELETE", "/api/users/cleo", None).expect(204);
    ask(&app, &admin, "GET", "/api/users/cleo", None).refused(404, "not_found");
    ask(&app, &admin, "DELETE", "/api/users/cleo", None).refused(404, "not_found");
    put(&app, &admin, "cleo", json!({"disabled": true})).refused(404, "not_found");
    user(&app, &admin, "cleo", json!({}));
    let again = ask(&app, &admin, "GET", "/api/users/cleo", None).expect(200);
    assert_eq!(again["version"], 4, "versions go on");
    for (kind, count) in [("user.created", 3), ("user.updated", 1), ("user.deleted", 1)] {
        assert_eq!(events_of(app.folder(), kind).len(), count, "{kind}");
    }
    assert_eq!(events_of(app.folder(), "user.deleted")[0]["by"], "anna");
}

#[test]
fn users_are_listed_in_pages_in_order_of_name() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    for name in ["dora", "ben", "cleo", "Zoe"] {
        register(&app, &admin, json!({"username": name, "password": PASSWORD})).expect(201);
    }
    let first = ask(&app, &admin, "GET", "/api/users?limit=3", None).expect(200);
    let rows = |answer: &Answer| column(answer["items"].as_array().unwrap(), "username");
    assert_eq!(rows(&first), ["Zoe", "anna", "ben"]);
    let next = format!("/api/users?limit=3&after={}", first["next"].as_str().unwrap());
    let second = ask(&app, &admin, "GET", &next, None).expect(200);
    assert_eq!(
        (rows(&second), &second["next"]),
        (vec!["cleo".to_owned(), "dora".to_owned()], &Value::Null)
    );
    ask(&app, &admin, "GET", "/api/users?after=xyz", None).refused(400, "invalid_request");
    let open = TestApp::start();
    assert_eq!(all_pages(&open, USERS, 2), Vec::<Value>::new());
}

#[test]
fn stores_go_with_some_roles_only() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    let make = |more: Value| {
        let mut body = json!({"username": "ben", "password": PASSWORD});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        register(&app, &admin, body)
    };
    for wrong in [
        json!({"role": "clerk"}),
        json!({"role": "clerk", "stores": []}),
        json!({"role": "viewer", "stores": []}),
        json!({"role": "operator", "stores": ["a"]}),
        json!({"role": "admin", "stores": ["a"]}),
    ] {
        assert_eq!(make(wrong).refused(400, "invalid_request").fields(), ["stores"]);
    }
    make(json!({"role": "viewer", "stores": ["a"]})).expect(201);
    let put = |body: Value| put(&app, &admin, "ben", body);
    assert_eq!(put(json!({"stores": null})).expect(200)["stores"], Value::Null);
    assert_eq!(
        put(json!({"role": "clerk"})).refused(400, "invalid_request").fields(),
        ["stores"]
    );
    put(json!({"role": "clerk", "stores": ["a", "b"]})).expect(200);
    assert_eq!(
        put(json!({"stores": null})).refused(400, "invalid_request").fields(),
        ["stores"]
    );
    assert_eq!(put(json!({"role": "operator"})).expect(200)["stores"], Value::Null);
    assert_eq!(
        put(json!({"stores": ["a"]})).refused(400, "invalid_request").fields(),
        ["stores"]
    );
    assert_eq!(
        ask(&app, &admin, "GET", "/api/users/ben", None).expect(200)["version"],
        4
    );
}

#[test]
fn only_admins_see_and_change_users_and_a_form_is_refused_before_its_sender() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    let tokens = [
        user(&app, &admin, "vic", json!({})),
        user(&app, &admin, "cleo", json!({"role": "clerk", "stores": ["s1"]})),
        user(&app, &admin, "oli", json!({"role": "operator"})),
    ];
    let before = ask(&app, &admin, "GET", USERS, None).expect(200).json;
    for token in &tokens {
        for (method, path, body) in [
            ("GET", "/api/users", None),
            ("GET", "/api/users/anna", None),
            ("GET", "/api/users/nobody", None),
            ("PUT", "/api/users/vic", Some(json!({"role": "admin"}))),
            ("PUT", "/api/users/nobody", Some(json!({"role": "admin"}))),
            ("DELETE", "/api/users/anna", None),
            (
                "POST",
                "/api/auth/register",
                Some(json!({"username": "x", "password": PASSWORD})),
            ),
            ("GET", "/api/tokens", None),
            ("POST", "/api/tokens", Some(json!({"name": "x", "role": "admin"}))),
            ("DELETE", "/api/tokens/x", None),
        ] {
            ask(&app, token, method, path, body).refused(403, "forbidden");
        }
        put(&app, token, "vic", json!({"rolle": "admin"})).refused(400, "invalid_request");
        ask(&app, token, "GET", "/api/users?x=1", None).refused(400, "invalid_request");
        register(&app, token, json!({"username": "x", "password": "short"})).refused(400, "invalid_request");
    }
    assert_eq!(ask(&app, &admin, "GET", USERS, None).expect(200).json, before);
}

#[test]
fn what_does_not_fit_is_refused_by_its_name() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    for (field, value) in [
        ("username", json!("")),
        ("username", json!("an na")),
        ("username", json!("anonymous")),
        ("username", json!("token:x")),
        ("username", json!("x".repeat(65))),
        ("password", json!("elf letters")),
        ("password", json!("x".repeat(1025))),
        ("password", json!(123_456_789_012_u64)),
        ("role", json!("root")),
        ("version", json!(1)),
    ] {
        let mut body = json!({"username": "ben", "password": PASSWORD});
        body[field] = value.clone();
        let answer = register(&app, &admin, body).refused(400, "invalid_request");
        assert_eq!(answer.fields(), [field], "{value}");
    }
    ask(&app, &admin, "GET", "/api/users/an%20na", None).refused(400, "invalid_request");
    ask(&app, &admin, "GET", "/api/users/ben", None).refused(404, "not_found");
}

#[test]
fn a_write_on_another_version_is_refused() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    user(&app, &admin, "ben", json!({}));
    let answer = put(&app, &admin, "ben", json!({"disabled": true, "expectedVersion": 2}));
    assert_eq!(answer.refused(409, "version_mismatch")["currentVersion"], 1);
    let body = || Some(json!({"disabled": true}));
    let send = |method, headers: &[(&str, &str)], body| ask_with(&app, &admin, method, "/api/users/ben", headers, body);
    let refused = send("PUT", &[("if-match", "\"2\"")], body()).refused(412, "precondition_failed");
    assert_eq!(refused["currentVersion"], 1);
    send("DELETE", &[("if-match", "\"2\"")], None).refused(412, "precondition_failed");
    send("GET", &[("if-none-match", "\"1\"")], None).expect(304);
    let answer = send("PUT", &[("if-match", "\"1\"")], body()).expect(200);
    assert_eq!(
        (answer.header("etag"), &answer["disabled"]),
        (Some("\"2\""), &json!(true))
    );
    let minimal = send("PUT", &[("prefer", "return=minimal")], Some(json!({"disabled": false}))).expect(204);
    assert_eq!(minimal.header("etag"), Some("\"3\""));
    send("DELETE", &[("if-match", "\"3\"")], None).expect(204);
}

#[test]
fn the_last_admin_keeps_its_role_also_when_two_take_each_others() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    for body in [json!({"role": "viewer"}), json!({"disabled": true})] {
        put(&app, &admin, "anna", body).refused(409, "in_use");
    }
    ask(&app, &admin, "DELETE", "/api/users/anna", None).refused(409, "in_use");
    put(&app, &admin, "anna", json!({"password": PASSWORD})).expect(200);
    let admin = login(&app, "anna");
    user(&app, &admin, "off", json!({"role": "admin"}));
    put(&app, &admin, "off", json!({"disabled": true})).expect(200);
    put(&app, &admin, "anna", json!({"role": "viewer"})).refused(409, "in_use");
    // Whoever is first has taken the role from who comes second.
    for round in 0..10 {
        let names = ["anna".to_owned(), format!("rival-{round}")];
        let rival = user(&app, &admin, &names[1], json!({"role": "admin"}));
        let app = &app;
        let take = |token: &str, name: &str| put(app, token, name, json!({"role": "viewer"})).status;
        let (one, other) = std::thread::scope(|scope| {
            let one = scope.spawn(|| take(&admin, &names[1]));
            let other = scope.spawn(|| take(&rival, "anna"));
            (one.join().unwrap(), other.join().unwrap())
        });
        assert_eq!(
            [one, other].iter().filter(|status| **status == 200).count(),
            1,
            "{one} {other}"
        );
        if other == 200 {
            put(app, &rival, "anna", json!({"role": "admin"})).expect(200);
            put(app, &rival, &names[1], json!({"role": "viewer"})).expect(200);
        }
    }
}

#[test]
fn a_repeat_under_its_key_is_one_write_and_passwords_are_no_part_of_what_is_kept() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    let key = [("idempotency-key", "k-1")];
    let body = |password: &str| Some(json!({"username": "ben", "password": password}));
    let send = |password: &str| ask_with(&app, &admin, "POST", "/api/auth/register", &key, body(password));
    let first = send(PASSWORD).expect(201);
    let again = send(PASSWORD).expect(201);
    assert_eq!(
        (again.header("idempotency-replayed"), &again.json),
        (Some("true"), &first.json)
    );
    send("another horse battery").refused(422, "idempotency_key_reused");
    let other = Some(json!({"username": "ben", "password": PASSWORD, "role": "admin"}));
    ask_with(&app, &admin, "POST", "/api/auth/register", &key, other).refused(422, "idempotency_key_reused");
    assert_eq!(events_of(app.folder(), "user.created").len(), 2);
    let told = ask(&app, &admin, "GET", &operation("k-1"), None).expect(200);
    assert_eq!(
        (&told["status"], &told["answer"]["status"]),
        (&json!("completed"), &json!(201))
    );
    assert_eq!(told["answer"]["body"], first.json);

    let key = [("idempotency-key", "k-2")];
    let delete = || ask_with(&app, &admin, "DELETE", "/api/users/ben", &key, None);
    delete().expect(204);
    assert_eq!(delete().expect(204).header("idempotency-replayed"), Some("true"));
    let told = ask(&app, &admin, "GET", &operation("k-2"), None).expect(200);
    assert_eq!(
        (&told["answer"]["status"], &told["answer"]["body"]),
        (&json!(204), &Value::Null)
    );

    // Keys are their principal's: nobody else is told.
    let rival = user(&app, &admin, "rival", json!({"role": "admin"}));
    ask(&app, &rival, "GET", &operation("k-1"), None).refused(404, "not_found");
}

#[test]
fn users_survive_a_crash_and_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let secret = [("HOLDFAST_JWT_SECRET", crate::support::SECRET)];
    let start = || TestApp::start_under(folder.path(), 0, &[], &secret);
    let mut app = start();
    let admin = first_admin(&app);
    user(&app, &admin, "ben", json!({}));
    app.kill();
    let mut app = start();
    ask(&app, &login(&app, "ben"), "GET", "/api/events", None).expect(200);
    put(&app, &admin, "ben", json!({"disabled": true})).expect(200);
    app.terminate();
    let app = start();
    let ben = ask(&app, &admin, "GET", "/api/users/ben", None).expect(200);
    assert_eq!((&ben["disabled"], &ben["version"]), (&json!(true), &json!(2)));
}
