//! Who may come in: tokens that are good, tokens that are not, and what becomes of a token when its user changes.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::client::{Answer, Client, JSON, at, comes_true};
use crate::serving::refused_start;
use crate::support::{HOLDFAST, SECRET, TestApp};

/// No example of the documents has it.
pub const PASSWORD: &str = "planted staple battery";
const OTHER_SECRET: &str = "Q2wE5rT8yU1iO4pA7sD0fG3hJ6kL9zXc";
/// Made for these tests by openssl.
const PRIVATE_PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIB9bbnhP4ROGUC3qqnLEeBNtEEWvbY52RHSdYZddNRjR\n-----END PRIVATE KEY-----\n";
const PUBLIC_PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAFa15uahFLjV5NoTjrZP/3gNeIebFvSearUDHukdKgr4=\n-----END PUBLIC KEY-----\n";

/// What a start without any admin prints.
pub fn setup_token(app: &TestApp) -> Option<String> {
    let log = app.log();
    let (_, rest) = log.split_once("\"setupToken\": \"")?;
    rest.split_once('"').map(|(token, _)| token.to_owned())
}

/// Makes the first admin, `anna`, and returns her token.
#[track_caller]
pub fn first_admin(app: &TestApp) -> String {
    let token = setup_token(app).expect("no setup token was printed");
    let body = json!({"username": "anna", "password": PASSWORD, "setupToken": token});
    app.post("/api/auth/register", body).expect(201);
    login(app, "anna")
}

#[track_caller]
pub fn login(app: &impl Client, name: &str) -> String {
    let body = json!({"username": name, "password": PASSWORD});
    let answer = app.post("/api/auth/login", body).expect(200);
    answer["token"].as_str().unwrap().to_owned()
}

/// Asks with a token.
pub fn ask(app: &impl Client, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    let bearer = format!("Bearer {token}");
    let text = body.map(|body| body.to_string());
    let headers = [("authorization", &*bearer), JSON];
    let headers = if text.is_some() { &headers[..] } else { &headers[..1] };
    app.send(method, path, headers, text.as_deref().map(str::as_bytes))
}

/// Makes a user by an admin's token, and returns the user's own.
#[track_caller]
pub fn user(app: &impl Client, admin: &str, name: &str, more: Value) -> String {
    let mut body = json!({"username": name, "password": PASSWORD});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ask(app, admin, "POST", "/api/auth/register", Some(body)).expect(201);
    login(app, name)
}

fn claims(token: &str) -> Value {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn signed(algorithm: Algorithm, secret: &str, claims: &Value) -> String {
    jsonwebtoken::encode(
        &Header::new(algorithm),
        claims,
        &EncodingKey::from_secret(secret.as_bytes()),
    )
    .unwrap()
}

fn unsigned(header: Value, claims: &Value) -> String {
    let [header, claims] = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}")
}

/// The document of a refusal, without what is another each time.
fn lasting(answer: &Answer) -> Value {
    let mut document = answer.json.clone();
    for name in ["timestamp", "requestId"] {
        document.as_object_mut().unwrap().remove(name);
    }
    document
}

#[test]
fn a_login_tells_who_it_is_and_until_when() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    user(
        &app,
        &admin,
        "cleo",
        json!({"role": "clerk", "stores": ["london", "paris"]}),
    );
    let before = chrono::Utc::now().timestamp_millis();
    let answer = app
        .post("/api/auth/login", json!({"username": "cleo", "password": PASSWORD}))
        .expect(200);
    let stores = json!(["london", "paris"]);
    assert_eq!(
        answer["user"],
        json!({"username": "cleo", "role": "clerk", "stores": stores})
    );
    let of_all = app.post("/api/auth/login", json!({"username": "anna", "password": PASSWORD}));
    assert_eq!(
        of_all.expect(200)["user"],
        json!({"username": "anna", "role": "admin", "stores": null})
    );
    let lifetime = crate::client::millis(&answer["expiresAt"]).unwrap() - before;
    assert!((43_199_000..=43_201_000 + 20_000).contains(&lifetime), "{lifetime}");
    let token = answer["token"].as_str().unwrap();
    let path = "/api/inventory/stores/london/inventory/A";
    ask(&app, token, "PUT", path, Some(json!({"quantity": 5}))).expect(201);
    let events = ask(&app, &admin, "GET", "/api/events", None).expect(200);
    assert_eq!(events["items"][0]["by"], "cleo");
}

#[test]
fn every_token_that_is_not_good_gets_the_same_answer() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    let good = claims(&admin);
    let hs256 = |claims: &Value| signed(Algorithm::HS256, SECRET, claims);
    ask(&app, &hs256(&good), "GET", "/api/users", None).expect(200);

    let signature = admin.rsplit('.').next().unwrap();
    let hour_ago = json!(chrono::Utc::now().timestamp() - 3600);
    let longer = json!(good["exp"].as_i64().unwrap() + 1);
    let mut flipped = admin.clone();
    let last = flipped.pop().unwrap();
    let middle = flipped.len() - 10;
    flipped.replace_range(
        middle..=middle,
        if flipped[middle..].starts_with('A') { "B" } else { "A" },
    );
    flipped.push(last);
    let forged = [
        ("no token", String::new()),
        ("no JWT", "x".to_owned()),
        ("dots", "..".to_owned()),
        (
            "alg none",
            format!("{}.", unsigned(json!({"alg": "none", "typ": "JWT"}), &good)),
        ),
        (
            "alg None",
            format!("{}.{signature}", unsigned(json!({"alg": "None"}), &good)),
        ),
        ("another HMAC", signed(Algorithm::HS512, SECRET, &good)),
        (
            "said to be another HMAC",
            format!("{}.{signature}", unsigned(json!({"alg": "HS384"}), &good)),
        ),
        (
            "said to be EdDSA",
            format!("{}.{signature}", unsigned(json!({"alg": "EdDSA"}), &good)),
        ),
        ("no signature", admin.rsplit_once('.').unwrap().0.to_owned()),
        ("another signature", flipped),
        (
            "longer",
            format!(
                "{}.{signature}",
                unsigned(
                    json!({"typ": "JWT", "alg": "HS256"}),
                    &with(good.clone(), "exp", longer)
                )
            ),
        ),
        ("another key", signed(Algorithm::HS256, OTHER_SECRET, &good)),
        ("expired", hs256(&with(good.clone(), "exp", hour_ago))),
        ("without end", hs256(&with(good.clone(), "exp", Value::Null))),
        (
            "another audience",
            hs256(&with(good.clone(), "aud", json!("elsewhere"))),
        ),
        ("without audience", hs256(&with(good.clone(), "aud", Value::Null))),
        ("another issuer", hs256(&with(good.clone(), "iss", json!("elsewhere")))),
        ("without issuer", hs256(&with(good.clone(), "iss", Value::Null))),
        ("nobody", hs256(&with(good.clone(), "sub", json!("zoe")))),
        ("without subject", hs256(&with(good.clone(), "sub", Value::Null))),
        ("another password", hs256(&with(good.clone(), "pwv", json!(1)))),
        (
            "no service token",
            "hf_01935f4e-7b6a-7c3d-9a51-2f1e8c0d4b6c_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_owned(),
        ),
        ("a long one", "x".repeat(5000)),
    ];
    let first = app.get("/api/users").refused(401, "unauthenticated");
    let expected = lasting(&first);
    for (why, token) in &forged {
        let answer = ask(&app, token, "GET", "/api/users", None);
        assert_eq!(answer.status, 401, "{why}");
        assert_eq!(lasting(&answer), expected, "{why}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{why}");
    }
    let bearer = format!("Bearer {admin}");
    for headers in [
        &[("authorization", &*admin)][..],
        &[("authorization", "Basic YW5uYTphbm5h")],
        &[("authorization", &bearer), ("authorization", &bearer)],
    ] {
        assert_eq!(lasting(&app.get_with("/api/users", headers)), expected, "{headers:?}");
    }
    ask(&app, &admin, "GET", "/api/users", None).expect(200);
}

#[test]
fn without_a_token_only_open_routes_answer_and_nothing_else_is_looked_at() {
    let app = TestApp::start_guarded(&[]);
    let document = app.get("/api/openapi.json").expect(200).json;
    let (mut open, mut guarded) = (Vec::new(), 0);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, about) in item
            .as_object()
            .unwrap()
            .iter()
            .filter(|(name, _)| *name != "parameters")
        {
            let needs_one = about["security"]
                .as_array()
                .unwrap()
                .iter()
                .any(|scheme| scheme["bearer"][0].is_string());
            let url = path.replace(['{', '}'], "");
            let answer = app.send(
                &method.to_uppercase(),
                &url,
                &[JSON],
                (method != "get").then_some(b"not JSON"),
            );
            assert_eq!(answer.status == 401, needs_one, "{method} {url}: {}", answer.text());
            match needs_one {
                true => guarded += 1,
                false => open.push(format!("{method} {path}")),
            }
        }
    }
    open.sort();
    assert_eq!(
        open,
        [
            "get /",
            "get /api/docs",
            "get /api/docs/style.css",
            "get /api/health",
            "get /api/health/live",
            "get /api/health/ready",
            "get /api/openapi.json",
            "get /dashboard/{file}",
            "get /health",
            "get /problems/{code}",
            "post /api/auth/login",
            "post /api/auth/register",
            "post /auth/login",
            "post /auth/register",
        ]
    );
    assert!(guarded > 20, "{guarded}");
    app.send("OPTIONS", &at("A"), &[], None).expect(204);
    app.send("HEAD", &at("A"), &[], None).expect(401);
}

#[test]
fn a_key_that_was_replaced_verifies_for_as_long_as_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (key, public) = (folder.path().join("key.pem"), folder.path().join("public.pem"));
    std::fs::write(&key, PRIVATE_PEM).unwrap();
    std::fs::write(&public, PUBLIC_PEM).unwrap();
    let (key, public) = (key.to_str().unwrap(), public.to_str().unwrap());
    let data = folder.path().join("data");
    let start = |args: &[&str], environment: &[(&str, &str)]| TestApp::start_under(&data, 0, args, environment);
    let is_good = |app: &TestApp, token: &str| ask(app, token, "GET", "/api/users", None).status == 200;

    let app = start(&[], &[("JWT_SECRET", SECRET)]);
    let by_secret = first_admin(&app);
    drop(app);
    let app = start(&["--jwt-key", key], &[("HOLDFAST_JWT_PREVIOUS_SECRET", SECRET)]);
    let by_key = login(&app, "anna");
    assert!(is_good(&app, &by_secret) && is_good(&app, &by_key));
    assert_ne!(by_secret.split('.').next(), by_key.split('.').next());
    drop(app);
    let app = start(
        &["--jwt-previous-key", public],
        &[("HOLDFAST_JWT_SECRET", OTHER_SECRET)],
    );
    assert!(!is_good(&app, &by_secret) && is_good(&app, &by_key));
    // A public key is known to everybody: it must not be taken for a secret.
    let forged = signed(Algorithm::HS256, PUBLIC_PEM, &claims(&by_key));
    assert!(!is_good(&app, &forged));
    drop(app);
    let app = start(&[], &[("HOLDFAST_JWT_SECRET", OTHER_SECRET)]);
    assert!(!is_good(&app, &by_secret) && !is_good(&app, &by_key));
}

#[test]
fn what_changes_a_user_counts_from_the_next_request_on() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    let token = user(&app, &admin, "ben", json!({"role": "admin"}));
    let set = |body: Value| ask(&app, &admin, "PUT", "/api/users/ben", Some(body)).expect(200);
    let reads = || ask(&app, &token, "GET", "/api/events", None).status;
    let administers = || ask(&app, &token, "GET", "/api/users", None).status;
    assert_eq!((reads(), administers()), (200, 200));
    set(json!({"role": "viewer"}));
    assert_eq!((reads(), administers()), (200, 403));
    set(json!({"disabled": true}));
    assert_eq!(reads(), 401);
    let body = json!({"username": "ben", "password": PASSWORD});
    app.post("/api/auth/login", body).refused(401, "unauthenticated");
    set(json!({"disabled": false}));
    assert_eq!(reads(), 200);
    ask(&app, &admin, "DELETE", "/api/users/ben", None).expect(204);
    assert_eq!(reads(), 401);
    let again = user(&app, &admin, "ben", json!({"role": "admin"}));
    assert_eq!(reads(), 401, "a token of an earlier user of the name");
    ask(&app, &again, "GET", "/api/users", None).expect(200);
}

#[test]
fn a_new_password_ends_the_tokens_of_the_old_one() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    let token = user(&app, &admin, "ben", json!({}));
    ask(&app, &token, "GET", "/api/events", None).expect(200);
    let new = "battery horse correct";
    ask(&app, &admin, "PUT", "/api/users/ben", Some(json!({"password": new}))).expect(200);
    ask(&app, &token, "GET", "/api/events", None).refused(401, "unauthenticated");
    let login = |password: &str| app.post("/api/auth/login", json!({"username": "ben", "password": password}));
    login(PASSWORD).refused(401, "unauthenticated");
    let answer = login(new).expect(200);
    ask(&app, answer["token"].as_str().unwrap(), "GET", "/api/events", None).expect(200);
}

#[test]
fn the_setup_token_makes_one_admin_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let start = || TestApp::start_under(folder.path(), 0, &[], &[("HOLDFAST_JWT_SECRET", SECRET)]);
    let app = start();
    let token = setup_token(&app).unwrap();
    let register = |name: &str, token: &str| {
        let body = json!({"username": name, "password": PASSWORD, "setupToken": token});
        app.post("/api/auth/register", body)
    };
    register("anna", &token[1..]).refused(401, "unauthenticated");
    let body = json!({"username": "anna", "password": PASSWORD, "setupToken": token, "role": "viewer"});
    assert_eq!(
        app.post("/api/auth/register", body)
            .refused(400, "invalid_request")
            .fields(),
        ["role"]
    );
    let body = json!({"username": "anna", "password": PASSWORD});
    app.post("/api/auth/register", body).refused(401, "unauthenticated");
    let names: Vec<String> = (0..6).map(|i| format!("admin-{i}")).collect();
    let (register, token) = (&register, &token);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(move || register(name, token).status))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 201).count(),
        1,
        "{statuses:?}"
    );
    assert_eq!(
        statuses.iter().filter(|status| **status == 401).count(),
        5,
        "{statuses:?}"
    );
    let winner = &names[statuses.iter().position(|status| *status == 201).unwrap()];
    let admin = login(&app, winner);
    let users = ask(&app, &admin, "GET", "/api/users", None).expect(200);
    assert_eq!(users["items"].as_array().unwrap().len(), 1);
    drop(app);
    assert_eq!(setup_token(&start()), None, "there is an admin");
}

#[test]
fn the_first_admin_can_be_made_on_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(HOLDFAST);
    command
        .args(["user", "add", "anna", "--role", "admin", "--data-dir"])
        .arg(folder.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    assert!(child.wait().unwrap().success());
    let app = TestApp::start_under(folder.path(), 0, &[], &[("HOLDFAST_JWT_SECRET", SECRET)]);
    assert_eq!(setup_token(&app), None);
    ask(&app, &login(&app, "anna"), "GET", "/api/users", None).expect(200);
}

#[test]
fn where_registration_is_open_anyone_becomes_a_viewer_and_nothing_more() {
    let app = TestApp::start_guarded(&["--open-registration"]);
    let register = |more: Value| {
        let mut body = json!({"username": "vic", "password": PASSWORD});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        app.post("/api/auth/register", body)
    };
    register(json!({"role": "admin"})).refused(403, "forbidden");
    register(json!({"stores": ["london"]})).refused(403, "forbidden");
    register(json!({"password": "elf letters"})).refused(400, "invalid_request");
    assert_eq!(register(json!({})).expect(201)["role"], "viewer");
    register(json!({})).refused(409, "already_exists");
    let viewer = login(&app, "vic");
    ask(&app, &viewer, "GET", "/api/users", None).refused(403, "forbidden");
    // There is no admin yet, and the setup token is still good.
    first_admin(&app);
}

#[test]
fn where_what_is_printed_goes_to_a_journal_no_setup_token_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let start = |name: &str, is_journal: bool| {
        let path = folder.path().join(name);
        let stream = std::fs::File::create(&path).unwrap();
        let place = stream.metadata().unwrap();
        let inode = place.ino() + u64::from(!is_journal);
        let mut service = Command::new(HOLDFAST)
            .args(["serve", "--port", "0", "--data-dir"])
            .arg(folder.path().join(format!("{name}-data")))
            .env("HOLDFAST_JWT_SECRET", SECRET)
            .env("JOURNAL_STREAM", format!("{}:{inode}", place.dev()))
            .stderr(stream)
            .spawn()
            .unwrap();
        let printed = || std::fs::read_to_string(&path).unwrap();
        let is_up = || printed().contains("takes requests");
        let started = Instant::now();
        while !is_up() && started.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(20));
        }
        service.kill().unwrap();
        service.wait().unwrap();
        printed()
    };
    let journal = start("journal", true);
    assert!(
        journal.contains("no admin yet") && !journal.contains("setupToken"),
        "{journal}"
    );
    let other = start("other", false);
    assert!(other.contains("setupToken"), "{other}");
}

#[test]
fn a_repeat_without_the_password_of_the_first_time_is_another_request() {
    let app = TestApp::start_guarded(&[]);
    let admin = first_admin(&app);
    user(&app, &admin, "ben", json!({}));
    let change = |key: &str, body: Value| {
        let mut body = body;
        body["idempotencyKey"] = json!(key);
        ask(&app, &admin, "PUT", "/api/users/ben", Some(body))
    };
    let (with, without) = (
        json!({"role": "viewer", "password": PASSWORD}),
        json!({"role": "viewer"}),
    );
    change("k1", with.clone()).expect(200);
    change("k1", with.clone()).expect(200);
    change("k1", without.clone()).refused(422, "idempotency_key_reused");
    change("k2", without).expect(200);
    change("k2", with).refused(422, "idempotency_key_reused");
}

#[test]
fn a_secret_that_is_no_text_refuses_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(HOLDFAST);
    command.args(["serve", "--port", "0", "--data-dir"]).arg(folder.path());
    command.env("JWT_SECRET", OsStr::from_bytes(&[0xff; 40]));
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let ended = comes_true(Duration::from_secs(10), || child.try_wait().unwrap().is_some());
    let _ = child.kill();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(ended && !output.status.success(), "it started: {said}");
    assert!(said.contains("JWT_SECRET is not UTF-8"), "{said}");
}

#[test]
fn a_secret_that_can_be_guessed_refuses_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let args = ["--port", "0", "--data-dir", data.to_str().unwrap()];
    for secret in [
        "",
        "short",
        &SECRET[1..],
        &"x".repeat(40),
        "changeme-changeme-changeme-changeme-12",
    ] {
        for name in ["HOLDFAST_JWT_SECRET", "JWT_SECRET"] {
            let said = refused_start(&args, &[(name, secret)]);
            assert!(said.contains(name) && said.trim().lines().count() == 1, "{said}");
            assert!(secret.is_empty() || !said.contains(secret), "{said}");
        }
    }
    let said = refused_start(
        &args,
        &[("HOLDFAST_JWT_SECRET", SECRET), ("HOLDFAST_JWT_KEY", "key.pem")],
    );
    assert!(said.contains("--jwt-key") && !said.contains(SECRET), "{said}");
    let said = refused_start(&args, &[("HOLDFAST_JWT_KEY", "/nowhere/key.pem")]);
    assert!(said.contains("/nowhere/key.pem"), "{said}");
    refused_start(&[&args[..], &["--open-registration"]].concat(), &[]);
    assert!(!data.exists(), "what is refused leaves nothing behind");
}

#[test]
fn without_authentication_only_names_of_this_machine_are_answered() {
    let get = |app: &TestApp, host: &str| app.send_bytes(format!("GET /api/health HTTP/1.1\r\n{host}\r\n").as_bytes());
    let app = TestApp::start();
    for host in ["localhost", "LOCALHOST:80", "127.0.0.1:3000", "[::1]", "[::1]:80"] {
        get(&app, &format!("Host: {host}\r\n")).expect(200);
    }
    for host in ["example.org", "localhost.example.org", "127.0.0.1.nip.io", "192.0.2.1"] {
        let answer = get(&app, &format!("Host: {host}\r\n"));
        assert_eq!(
            (answer.status, &answer["error"]),
            (421, &json!("misdirected_request")),
            "{host}"
        );
        answer.keeps_what_every_reply_promises();
    }
    let written = app.send(
        "PUT",
        &at("A"),
        &[JSON, ("host", "example.org")],
        Some(b"{\"quantity\":1}"),
    );
    written.refused(421, "misdirected_request");
    app.get(&at("A")).refused(404, "not_found");
    app.send_bytes(b"GET /api/health HTTP/1.0\r\n\r\n").expect(200);
    get(&TestApp::start_with(&["--insecure-open"]), "Host: example.org\r\n").expect(200);
    get(&TestApp::start_guarded(&[]), "Host: example.org\r\n").expect(200);
}

#[test]
fn a_login_of_nobody_takes_as_long_as_one_of_somebody() {
    let app = TestApp::start_guarded(&[]);
    first_admin(&app);
    let login = |name: &str| {
        let started = Instant::now();
        let body = json!({"username": name, "password": "wrong horse battery"});
        app.post("/api/auth/login", body).refused(401, "unauthenticated");
        started.elapsed()
    };
    // One after the other in turns, as the machine may be busy meanwhile; the shortest are those that nothing disturbed.
    let rounds: Vec<[Duration; 3]> = (0..16)
        .map(|_| ["anna", "zoe", "no name at all\n"].map(login))
        .collect();
    let shortest = |who: usize| rounds.iter().map(|times| times[who]).min().unwrap();
    let somebody = shortest(0);
    for time in [shortest(1), shortest(2)] {
        assert!(time * 2 > somebody && somebody * 2 > time, "{somebody:?} and {time:?}");
    }
    assert!(
        somebody > Duration::from_millis(4),
        "that was no argon2id: {somebody:?}"
    );
}

#[test]
fn what_a_stranger_sends_stands_in_one_escaped_line_of_the_log() {
    let app = TestApp::start_guarded(&["--log-level", "debug"]);
    let lines = || {
        app.log()
            .lines()
            .filter(|line| line.contains("a login was refused"))
            .count()
    };
    let body = json!({"username": "x\r\nFAKE a login was refused \u{1b}[31m {\"by\":\"anna\"}", "password": PASSWORD});
    let body = body.to_string();
    let mut request = format!(
        "POST /api/auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         User-Agent: agent\"}} ",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice("\u{9b}31m\u{202e}".as_bytes());
    request.extend_from_slice(format!("\r\n\r\n{body}").as_bytes());
    app.send_bytes(&request).expect(401);
    assert!(crate::client::comes_true(Duration::from_secs(2), || lines() > 0));
    assert_eq!(lines(), 1, "{}", app.log());
    let log = app.log();
    assert!(!log.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\r']), "{log:?}");
    assert!(!log.lines().any(|line| line.starts_with("FAKE")), "{log}");
}

#[test]
fn secrets_are_nowhere_but_in_the_answers_that_give_them() {
    secrets_stay_hidden(&["--log-level", "debug", "--log-format", "text"], &|| String::new());
}

#[test]
fn secrets_are_in_no_file_of_the_log_whatever_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let all = "trace,actix_http=trace";
    // Files so small that they make way.
    let args = [
        "--log-level",
        all,
        "--log-files",
        "100",
        "--log-file-mb",
        "1",
        "--log-to",
        path.to_str().unwrap(),
    ];
    let logged = || {
        let files = std::fs::read_dir(folder.path()).unwrap();
        let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let log: String = texts.collect();
        assert!(
            log.contains("actix_http") && log.contains("a user has logged in"),
            "{log}"
        );
        log
    };
    secrets_stay_hidden(&args, &logged);
}

/// `logged`: what the service has logged elsewhere than on standard error.
fn secrets_stay_hidden(args: &[&str], logged: &dyn Fn() -> String) {
    let app = TestApp::start_guarded(args);
    let admin = first_admin(&app);
    let setup = setup_token(&app).unwrap();
    let ben = user(&app, &admin, "ben", json!({"role": "operator"}));
    let body = json!({"name": "till", "role": "operator"});
    let made = ask(&app, &admin, "POST", "/api/tokens", Some(body)).expect(201);
    let service = made["token"].as_str().unwrap().to_owned();
    ask(&app, &service, "PUT", &at("A"), Some(json!({"quantity": 5}))).expect(201);
    let mut seen = String::new();
    let mut see = |answer: Answer| seen.push_str(&String::from_utf8_lossy(&answer.body));
    for path in [
        "/api/users",
        "/api/users/ben",
        "/api/tokens",
        "/api/events",
        "/api/movements",
        "/api/openapi.json",
    ] {
        see(ask(&app, &admin, "GET", path, None).expect(200));
    }
    for (path, body) in [
        ("/api/auth/login", json!({"username": "ben", "password": [PASSWORD]})),
        (
            "/api/auth/login",
            json!({"username": "ben", "password": PASSWORD, "more": PASSWORD}),
        ),
        (
            "/api/auth/register",
            json!({"username": "ben", "password": PASSWORD, "setupToken": {"x": setup}}),
        ),
        (
            "/api/auth/register",
            json!({"username": "ben", "password": PASSWORD, "setupToken": setup}),
        ),
    ] {
        let answer = app.post(path, body);
        assert!(answer.status >= 400, "{path}");
        see(answer);
    }
    see(ask(
        &app,
        &admin,
        "PUT",
        "/api/users/ben",
        Some(json!({"password": [PASSWORD]})),
    ));
    see(ask(
        &app,
        &admin,
        "POST",
        "/api/auth/register",
        Some(json!({"username": "ben", "password": PASSWORD})),
    ));
    see(ask(&app, &service, "GET", "/api/users", None));
    for path in ["/api/metrics", "/metrics"] {
        see(ask(&app, &admin, "GET", path, None).expect(200));
    }
    // The token was printed by the start, and by nothing after it.
    assert_eq!(app.log().matches(&*setup).count(), 1);
    seen.push_str(&app.log().replacen(&*setup, "", 1));
    let mut app = app;
    app.terminate();
    seen.push_str(&logged());
    let exported = Command::new(HOLDFAST)
        .args(["export", "events", "-", "--data-dir"])
        .arg(app.folder())
        .output()
        .unwrap();
    assert!(exported.status.success());
    seen.push_str(&String::from_utf8(exported.stdout).unwrap());
    let secret = service
        .rsplit_once('_')
        .map_or(&*service, |_| &service[service.len() - 43..]);
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    for planted in [
        PASSWORD,
        &setup,
        secret,
        &signature(&admin),
        &signature(&ben),
        "$argon2",
        SECRET,
    ] {
        assert!(!seen.contains(planted), "{planted} is shown");
    }
    let stored: String = crate::log::segments(app.folder())
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for planted in [PASSWORD, &setup, secret, &signature(&admin), SECRET] {
        assert!(!stored.contains(planted), "{planted} is stored");
    }
    assert!(stored.contains("$argon2id$"), "the test looks in the wrong place");
}
