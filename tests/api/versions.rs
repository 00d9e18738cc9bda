//! Optimistic concurrency: `expectedVersion`, `If-Match`, `If-None-Match`, and which refusal comes first.

use serde_json::{Value, json};

use crate::client::{Client, JSON, at};
use crate::support::TestApp;

fn adjust() -> String {
    format!("{}/adjust", at("A"))
}

/// Level A at version 3: 10 on hand, 4 reserved.
fn app_at_version_3() -> TestApp {
    let app = TestApp::start();
    app.stock("A", 10);
    app.hold("A", 3);
    app.hold("A", 1);
    app
}

#[test]
fn a_write_on_another_version_than_it_expects_is_refused_with_the_current_one() {
    let app = app_at_version_3();
    for (method, path, body) in [
        ("PUT", at("A"), json!({"quantity": 9})),
        ("POST", adjust(), json!({"delta": 1})),
        ("POST", format!("{}/reserve", at("A")), json!({"quantity": 1})),
    ] {
        for wrong in [0, 2, 4, 9_007_199_254_740_991_u64] {
            let mut body = body.clone();
            body["expectedVersion"] = wrong.into();
            let answer = app.send(method, &path, &[JSON], Some(body.to_string().as_bytes()));
            assert_eq!(
                answer.refused(409, "version_mismatch")["currentVersion"],
                3,
                "{method} {path}"
            );
        }
    }
    assert_eq!(app.state("A"), (10, 4, 3));
    assert_eq!(
        app.put(&at("A"), json!({"quantity": 9, "expectedVersion": 3}))
            .expect(200)
            .state(),
        (9, 4, 4)
    );
    assert_eq!(
        app.post(&adjust(), json!({"delta": 1, "expectedVersion": 4}))
            .expect(200)
            .state(),
        (10, 4, 5)
    );
    let reserve = json!({"quantity": 1, "expectedVersion": 5});
    assert_eq!(
        app.post(&format!("{}/reserve", at("A")), reserve).expect(201).state(),
        (10, 5, 6)
    );
}

#[test]
fn a_write_whose_if_match_does_not_hold_is_refused_with_the_current_version() {
    let app = app_at_version_3();
    // A weak tag never matches (RFC 9110).
    for wrong in ["\"2\"", "\"0\"", "W/\"3\"", "\"3 \"", "\"x\"", "\"1\", \"2\""] {
        for (method, path, body) in [
            ("PUT", at("A"), json!({"quantity": 9})),
            ("POST", adjust(), json!({"delta": 1})),
            ("POST", format!("{}/reserve", at("A")), json!({"quantity": 1})),
            ("POST", format!("{}/release", at("A")), json!({"quantity": 1})),
        ] {
            let headers = [JSON, ("if-match", wrong)];
            let answer = app.send(method, &path, &headers, Some(body.to_string().as_bytes()));
            assert_eq!(
                answer.status,
                412,
                "If-Match: {wrong} on {method} {path}: {}",
                answer.text()
            );
            assert_eq!(answer.refused(412, "precondition_failed")["currentVersion"], 3);
        }
    }
    assert_eq!(app.state("A"), (10, 4, 3));
    for (version, right) in [(4, "\"3\""), (5, "*"), (6, "\"1\", \"5\""), (7, "\"1\",\"6\"")] {
        let answer = app
            .post_with(&adjust(), &[("if-match", right)], json!({"delta": 1}))
            .expect(200);
        assert_eq!(answer.state().2, version, "{right}");
    }
}

#[test]
fn a_tag_is_compared_as_it_stands_and_not_as_the_number_in_it() {
    let app = app_at_version_3();
    for wrong in ["\"03\"", "\"+3\""] {
        let answer = app.post_with(&adjust(), &[("if-match", wrong)], json!({"delta": 1}));
        answer.refused(412, "precondition_failed");
        app.get_with(&at("A"), &[("if-none-match", wrong)]).expect(200);
    }
    assert_eq!(app.state("A"), (10, 4, 3));
}

#[test]
fn an_if_match_that_is_no_list_of_tags_is_refused() {
    let app = app_at_version_3();
    for malformed in ["3", "\"3", "3\"", "'3'", "w/\"3\"", "\"3\" \"4\""] {
        let answer = app.post_with(&adjust(), &[("if-match", malformed)], json!({"delta": 1}));
        assert!(
            [400, 412].contains(&answer.status),
            "If-Match: {malformed}: {}",
            answer.text()
        );
    }
    assert_eq!(app.state("A"), (10, 4, 3));
}

#[test]
fn a_count_with_if_none_match_insists_on_making_the_level() {
    let app = TestApp::start();
    let insist = [("if-none-match", "*")];
    app.put_with(&at("A"), &insist, json!({"quantity": 5})).expect(201);
    let again = app
        .put_with(&at("A"), &insist, json!({"quantity": 6}))
        .refused(412, "precondition_failed");
    assert_eq!(again["currentVersion"], 1);
    assert_eq!(app.state("A"), (5, 0, 1));
}

#[test]
fn where_nothing_exists_the_current_version_is_0() {
    let app = TestApp::start();
    let put = |headers: &[(&str, &str)], body: Value| app.put_with(&at("A"), headers, body);
    let mismatch = put(&[], json!({"quantity": 5, "expectedVersion": 1})).refused(409, "version_mismatch");
    assert_eq!(mismatch["currentVersion"], 0);
    for tag in ["\"1\"", "\"0\"", "*"] {
        let failed = put(&[("if-match", tag)], json!({"quantity": 5})).refused(412, "precondition_failed");
        assert_eq!(failed["currentVersion"], 0, "{tag}");
    }
    app.get(&at("A")).refused(404, "not_found");
    assert_eq!(
        put(&[], json!({"quantity": 5, "expectedVersion": 0}))
            .expect(201)
            .state(),
        (5, 0, 1)
    );
    put(&[], json!({"quantity": 5, "expectedVersion": 0})).refused(409, "version_mismatch");
}

#[test]
fn every_write_raises_the_version_by_exactly_one() {
    let app = TestApp::start();
    let reserve = format!("{}/reserve", at("A"));
    let release = format!("{}/release", at("A"));
    let writes = [
        app.put(&at("A"), json!({"quantity": 5})),
        app.post(&adjust(), json!({"delta": 5})),
        app.post(&reserve, json!({"quantity": 2, "reservationId": "r"})),
        app.post(&reserve, json!({"quantity": 2})),
        app.post(&release, json!({"reservationId": "r"})),
        app.post(&release, json!({"quantity": 2})),
        app.put(&at("A"), json!({"quantity": 10})),
    ];
    for (answer, version) in writes.iter().zip(1..) {
        assert_eq!((answer.state().2, &answer["seq"]), (version, &json!(version)));
        assert_eq!(answer.header("etag"), Some(&*format!("\"{version}\"")));
    }
    assert_eq!(app.get(&at("A")).header("etag"), Some("\"7\""));
}

#[test]
fn a_refused_write_raises_no_version_and_takes_no_seq() {
    let app = app_at_version_3();
    app.post(&adjust(), json!({"delta": -7}))
        .refused(409, "insufficient_stock");
    app.put(&at("A"), json!({"quantity": 1})).refused(409, "below_reserved");
    app.post(&adjust(), json!({"delta": 1, "expectedVersion": 1}))
        .refused(409, "version_mismatch");
    assert_eq!(app.state("A"), (10, 4, 3));
    assert_eq!(app.post(&adjust(), json!({"delta": 1})).expect(200)["seq"], 4);
}

#[test]
fn refusals_come_form_first_then_key_then_existence_then_version_then_stock() {
    let app = app_at_version_3();
    let used = [("idempotency-key", "used")];
    let stale = [("if-match", "\"1\"")];
    let stale_and_used = [used[0], stale[0]];
    let nowhere = format!("{}/adjust", at("NOWHERE"));
    app.post_with(&adjust(), &used, json!({"delta": 1})).expect(200);

    app.post_with(&nowhere, &stale_and_used, json!({"delta": 0}))
        .refused(400, "invalid_request");
    app.post_with(&nowhere, &stale_and_used, json!({"delta": 2}))
        .refused(422, "idempotency_key_reused");
    app.post_with(&nowhere, &stale, json!({"delta": 2}))
        .refused(404, "not_found");
    app.post(&nowhere, json!({"delta": 2, "expectedVersion": 1}))
        .refused(404, "not_found");
    app.post_with(&adjust(), &stale, json!({"delta": -99}))
        .refused(412, "precondition_failed");
    app.post(&adjust(), json!({"delta": -99, "expectedVersion": 1}))
        .refused(409, "version_mismatch");
    app.post(&adjust(), json!({"delta": -99}))
        .refused(409, "insufficient_stock");
    app.put(&at("A"), json!({"quantity": 0, "expectedVersion": 1}))
        .refused(409, "version_mismatch");
    assert_eq!(app.state("A"), (11, 4, 4));
}

#[test]
fn a_reservation_that_does_not_exist_is_refused_before_the_version() {
    let app = app_at_version_3();
    let release = format!("{}/release", at("A"));
    let stale = [("if-match", "\"1\"")];
    app.post_with(&release, &stale, json!({"quantity": 99}))
        .refused(412, "precondition_failed");
    app.post_with(&release, &stale, json!({"reservationId": "nobody's"}))
        .refused(404, "not_found");
}

#[test]
fn a_repeat_under_its_key_is_answered_though_the_version_has_moved_on() {
    let app = app_at_version_3();
    let headers = [("idempotency-key", "k"), ("if-match", "\"3\"")];
    let body = json!({"delta": 1, "expectedVersion": 3});
    let first = app.post_with(&adjust(), &headers, body.clone()).expect(200);
    let again = app.post_with(&adjust(), &headers, body).expect(200);
    assert_eq!(again.body, first.body);
    assert_eq!(app.state("A"), (11, 4, 4));
}
