//! `holdfast user`: on a folder, and beside a running service.

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

fn expected() -> Value {
    json!([
        {"username": "anna", "role": "admin", "disabled": false},
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
    let ran = user(&[&["list"], &here[..]].concat(), &[]);
    assert!(ran.code == 2 && ran.err.contains("--url"), "{}", ran.err);

    let url = format!("http://127.0.0.1:{}", app.port);
    let login = json!({"username": "anna", "password": PASSWORD});
    let mut answer = ureq::post(&format!("{url}/api/auth/login")).send_json(login).unwrap();
    let answer: Value = answer.body_mut().read_json().unwrap();
    let token = [("HOLDFAST_TOKEN", answer["token"].as_str().unwrap())];
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
