//! `holdfast user`: on a folder, and through a running service.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::support::{HOLDFAST, SECRET, TestApp};
use super::{Place, Ran, ran};

const PASSWORD: &str = "correct horse battery";

/// Runs `holdfast user …` with a password on standard input.
fn user(args: &[&str], environment: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(HOLDFAST);
    command.arg("user").args(args).envs(environment.iter().copied());
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // Who is refused does not read it.
    let _ = writeln!(child.stdin.take().unwrap(), "{PASSWORD}");
    ran(child.wait_with_output().unwrap())
}

#[track_caller]
fn list(args: &[&str], environment: &[(&str, &str)]) -> Value {
    let ran = user(&[&["list", "--json"], args].concat(), environment);
    assert_eq!(ran.code, 0, "{}", ran.err);
    serde_json::from_str(&ran.out).unwrap()
}

/// The token of `anna`.
fn login(app: &TestApp) -> String {
    let url = format!("http://127.0.0.1:{}/api/auth/login", app.port);
    let body = json!({"username": "anna", "password": PASSWORD});
    let mut answer = ureq::post(&url).send_json(body).unwrap();
    let answer: Value = answer.body_mut().read_json().unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

/// What the service answers to a holder of this token.
fn status_for(app: &TestApp, token: &str) -> u16 {
    let url = format!("http://127.0.0.1:{}/api/stores", app.port);
    let asked = ureq::get(&url).config().http_status_as_error(false).build();
    let answer = asked.header("authorization", format!("Bearer {token}")).call();
    answer.unwrap().status().as_u16()
}

fn expected() -> Value {
    json!([
        {"username": "anna", "role": "admin", "stores": null, "disabled": false},
        {"username": "ben", "role": "clerk", "stores": ["london", "paris"], "disabled": true},
    ])
}

#[test]
fn users_of_a_folder_are_made_listed_and_changed() {
    let place = Place::new();
    let data = place.data();
    let here = ["--data-dir", data.to_str().unwrap()];
    let run = |args: &[&str]| user(&[args, &here].concat(), &[]);
    assert_eq!(run(&["add", "anna", "--role", "admin"]).code, 0);
    assert_eq!(run(&["add", "ben", "--role", "viewer"]).code, 0);
    let stores = [
        "role", "ben", "--role", "clerk", "--store", "london", "--store", "paris",
    ];
    assert_eq!(run(&stores).code, 0);
    assert_eq!(run(&["disable", "ben"]).code, 0);
    assert_eq!(list(&here, &[]), expected());
    for (args, said) in [
        (&["add", "ben", "--role", "viewer"][..], "already"),
        (&["add", "cleo", "--role", "clerk"], "--store"),
        (&["add", "a b", "--role", "viewer"], "ASCII"),
        (&["disable", "anna"], "last admin"),
        (&["role", "anna", "--role", "viewer"], "last admin"),
        (&["enable", "nobody"], "no user"),
    ] {
        let ran = run(args);
        assert!(
            ran.code == 2 && ran.err.contains(said),
            "{args:?}: {} {}",
            ran.code,
            ran.err
        );
    }
    assert_eq!(list(&here, &[]), expected());
    place.assert_verifies();
}

#[test]
fn users_of_a_service_are_made_listed_and_changed_by_an_admin() {
    let place = Place::new();
    let data = place.data();
    let here = ["--data-dir", data.to_str().unwrap()];
    assert_eq!(
        user(&[&["add", "anna", "--role", "admin"], &here[..]].concat(), &[]).code,
        0
    );
    let app = TestApp::start_under(&data, 0, &[], &[("HOLDFAST_JWT_SECRET", SECRET)]);
    let url = format!("http://127.0.0.1:{}", app.port);
    let token = login(&app);
    let token = [("HOLDFAST_TOKEN", &*token)];
    let there = ["--url", &*url];
    let run = |args: &[&str]| user(&[args, &there].concat(), &token);
    assert_eq!(run(&["add", "ben", "--role", "viewer"]).code, 0);
    assert_eq!(
        run(&[
            "role", "ben", "--role", "clerk", "--store", "london", "--store", "paris"
        ])
        .code,
        0
    );
    assert_eq!(run(&["password", "ben"]).code, 0);
    assert_eq!(run(&["disable", "ben"]).code, 0);
    assert_eq!(list(&there, &token), expected());
    let refused = run(&["disable", "anna"]);
    assert!(
        refused.code == 2 && refused.err.contains("last admin"),
        "{}",
        refused.err
    );
    let ran = user(&[&["list"], &there[..]].concat(), &[]);
    assert!(ran.code == 2 && ran.err.contains("401"), "{}", ran.err);
    let ran = user(&[&["list"], &there[..]].concat(), &[("HOLDFAST_TOKEN", "no token")]);
    assert!(ran.code == 2 && ran.err.contains("401"), "{}", ran.err);
    assert_eq!(place.run(&["export", "stock", "out.csv", "--url", &url]).code, 2);
    let mut export = Command::new(HOLDFAST);
    export.args(["export", "stock", "-", "--url", &url]).envs(token);
    assert_eq!(export.output().unwrap().status.code(), Some(0));
}

#[test]
fn whoever_finds_the_folder_taken_goes_through_the_service_that_has_it() {
    let place = Place::new();
    let data = place.data();
    let here = ["--data-dir", data.to_str().unwrap()];
    let run = |args: &[&str], environment: &[(&str, &str)]| user(&[args, &here].concat(), environment);
    assert_eq!(run(&["add", "anna", "--role", "admin"], &[]).code, 0);
    let mut app = TestApp::start_under(&data, 0, &[], &[("HOLDFAST_JWT_SECRET", SECRET)]);
    for (token, says) in [
        (&[][..], "must know who asks (401): put a token into HOLDFAST_TOKEN"),
        (&[("HOLDFAST_TOKEN", "")], "must know who asks (401): put a token into"),
        (
            &[("HOLDFAST_TOKEN", "no token")],
            "does not take the token in HOLDFAST_TOKEN (401): put another into it",
        ),
        (
            &[("HOLDFAST_TOKEN", "a\nb")],
            "what the variable HOLDFAST_TOKEN holds cannot be a token; put one into it",
        ),
    ] {
        let ran = run(&["add", "ben", "--role", "viewer"], token);
        assert!(ran.code == 2 && ran.err.contains(says), "{}", ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    }
    let token = login(&app);
    let token = [("HOLDFAST_TOKEN", &*token)];
    assert_eq!(run(&["add", "ben", "--role", "viewer"], &token).code, 0);
    let stores = [
        "role", "ben", "--role", "clerk", "--store", "london", "--store", "paris",
    ];
    assert_eq!(run(&stores, &token).code, 0);
    assert_eq!(run(&["disable", "ben"], &token).code, 0);
    assert_eq!(list(&here, &token), expected());
    // What a service has left behind that was killed leads nowhere.
    app.kill();
    assert_eq!(list(&here, &[]), expected());
    place.assert_verifies();
}

#[test]
fn a_folder_that_is_taken_by_no_service_is_refused_and_says_by_whom() {
    let place = Place::new();
    let data = place.data();
    let run = |args: &[&str]| user(&[args, &["--data-dir", data.to_str().unwrap()]].concat(), &[]);
    assert_eq!(run(&["add", "anna", "--role", "admin"]).code, 0);
    let lock = std::fs::File::open(data.join("LOCK")).unwrap();
    lock.lock().unwrap();
    let ran = run(&["list"]);
    assert!(
        ran.code == 2 && ran.err.contains("in use by process") && ran.err.contains("--url"),
        "{}",
        ran.err
    );
}

#[test]
fn a_user_is_deleted_but_never_the_last_admin() {
    let place = Place::new();
    let data = place.data();
    let here = ["--data-dir", data.to_str().unwrap()];
    let run = |args: &[&str], environment: &[(&str, &str)]| user(&[args, &here].concat(), environment);
    for name in ["anna", "ben", "cleo"] {
        assert_eq!(run(&["add", name, "--role", "admin"], &[]).code, 0);
    }
    let told = run(&["delete", "ben", "--json"], &[]);
    let told: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!(told, json!({"username": "ben", "deleted": true}));
    let app = TestApp::start_under(&data, 0, &[], &[("HOLDFAST_JWT_SECRET", SECRET)]);
    let token = login(&app);
    let token = [("HOLDFAST_TOKEN", &*token)];
    assert_eq!(run(&["delete", "cleo"], &token).code, 0);
    let says_no = |ran: Ran, why: &str| assert!(ran.code == 2 && ran.err.contains(why), "{}", ran.err);
    says_no(run(&["delete", "anna"], &token), "last admin");
    says_no(run(&["delete", "ben"], &token), "404");
    drop(app);
    says_no(run(&["delete", "anna"], &[]), "last admin");
    says_no(run(&["delete", "ben"], &[]), "no user");
    let rows = list(&here, &[]);
    assert_eq!(
        (rows.as_array().unwrap().len(), &rows[0]["username"]),
        (1, &json!("anna"))
    );
}

#[test]
fn service_tokens_are_made_listed_and_revoked_on_a_folder_and_through_its_service() {
    let place = Place::new();
    let data = place.data();
    let here = ["--data-dir", data.to_str().unwrap()];
    let run = |args: &[&str], environment: &[(&str, &str)]| {
        let ran = user(&[&["token"], args, &here].concat(), environment);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
        ran.out
    };
    let json_of = |args: &[&str], environment: &[(&str, &str)]| {
        let out = run(&[args, &["--json"]].concat(), environment);
        serde_json::from_str::<Value>(&out).unwrap()
    };
    let out = run(&["add", "ops", "--role", "admin"], &[]);
    let ops = out.trim_end();
    assert!(ops.starts_with("hf_") && !ops.contains(char::is_whitespace), "{ops}");
    let app = TestApp::start_under(&data, 0, &[], &[("HOLDFAST_JWT_SECRET", SECRET)]);
    assert_eq!(status_for(&app, ops), 200);
    let by_ops = [("HOLDFAST_TOKEN", ops)];
    let till = [
        "add",
        "till",
        "--role",
        "clerk",
        "--store",
        "london",
        "--expires-at",
        "2099-01-01T00:00:00Z",
    ];
    let till = json_of(&till, &by_ops);
    let token = till["token"].as_str().unwrap();
    assert_eq!(status_for(&app, token), 200);
    let mut shown = till.clone();
    shown.as_object_mut().unwrap().remove("token");
    assert_eq!(
        shown,
        json!({
            "id": till["id"], "name": "till", "role": "clerk", "stores": ["london"],
            "expiresAt": "2099-01-01T00:00:00.000Z",
        })
    );
    let rows = json_of(&["list"], &by_ops);
    assert_eq!(
        (&rows[0]["name"], &rows[0]["stores"], &rows[1]),
        (&json!("ops"), &Value::Null, &shown)
    );
    let id = till["id"].as_str().unwrap();
    assert_eq!(json_of(&["revoke", id], &by_ops), json!({"id": id, "revoked": true}));
    assert_eq!((status_for(&app, token), status_for(&app, ops)), (401, 200));
    drop(app);
    let id = rows[0]["id"].as_str().unwrap();
    run(&["revoke", id], &[]);
    assert_eq!(json_of(&["list"], &[]), json!([]));
    for (args, said) in [
        (&["revoke", id][..], "no service token"),
        (&["revoke", "../users/anna"], "no service token"),
        (&["add", "x", "--role", "clerk"], "--store"),
        (&["add", "x", "--role", "admin", "--store", "s"], "--store"),
        (
            &["add", "x", "--role", "viewer", "--expires-at", "2020-01-01T00:00:00Z"],
            "a moment to come",
        ),
        (&["add", &"n".repeat(59), "--role", "viewer"], "58"),
    ] {
        let ran = user(&[&["token"], args, &here].concat(), &[]);
        assert!(ran.code == 2 && ran.err.contains(said), "{args:?}: {}", ran.err);
    }
    place.assert_verifies();
}

#[test]
fn a_service_token_is_revoked_by_its_id_or_by_a_name_that_is_its_alone() {
    let place = Place::new();
    let data = place.data();
    let run = |args: &[&str]| {
        user(
            &[&["token"], args, &["--data-dir", data.to_str().unwrap()]].concat(),
            &[],
        )
    };
    for name in ["till", "till", "ops"] {
        assert_eq!(run(&["add", name, "--role", "admin"]).code, 0);
    }
    let rows = || serde_json::from_str::<Value>(&run(&["list", "--json"]).out).unwrap();
    let id = |at: usize| rows()[at]["id"].as_str().unwrap().to_owned();
    let ran = run(&["revoke", "till"]);
    let says = format!(
        "2 service tokens have the name \"till\"; say which by its id: {}, {}",
        id(0),
        id(1)
    );
    assert!(ran.code == 2 && ran.err.contains(&says), "{}", ran.err);
    let ran = run(&["revoke", "tills"]);
    assert!(
        ran.code == 2 && ran.err.contains("`holdfast user token list` shows"),
        "{}",
        ran.err
    );
    assert_eq!(rows().as_array().unwrap().len(), 3);
    let first = id(0);
    assert_eq!(run(&["revoke", &first]).out, format!("{first} (till) is revoked\n"));
    assert_eq!(run(&["revoke", "till"]).code, 0);
    assert_eq!(run(&["revoke", "ops"]).code, 0);
    assert_eq!(rows(), json!([]));
    place.assert_verifies();
}

#[test]
fn what_came_of_it_is_told_as_json_where_that_is_asked_for() {
    let place = Place::new();
    let data = place.data();
    let told = |args: &[&str]| {
        let ran = user(&[args, &["--json", "--data-dir", data.to_str().unwrap()]].concat(), &[]);
        assert_eq!(ran.code, 0, "{args:?}: {}", ran.err);
        serde_json::from_str::<Value>(&ran.out).unwrap()
    };
    let ben = |role: &str, stores: Value, disabled: bool| json!({"username": "ben", "role": role, "stores": stores, "disabled": disabled});
    assert_eq!(
        told(&["add", "ben", "--role", "viewer"]),
        ben("viewer", Value::Null, false)
    );
    let stores = ["role", "ben", "--role", "clerk", "--store", "london"];
    assert_eq!(told(&stores), ben("clerk", json!(["london"]), false));
    assert_eq!(told(&["disable", "ben"]), ben("clerk", json!(["london"]), true));
    assert_eq!(told(&["enable", "ben"]), ben("clerk", json!(["london"]), false));
    assert_eq!(told(&["password", "ben"]), ben("clerk", json!(["london"]), false));
    assert_eq!(told(&["list"]), json!([ben("clerk", json!(["london"]), false)]));
}
