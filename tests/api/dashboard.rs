//! The dashboard's page and files, as far as they can be judged without a browser (`tests/browser` has one).

use std::collections::BTreeSet;

use crate::client::{Answer, Client};
use crate::support::TestApp;

const BROWSER: (&str, &str) = (
    "accept",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
);

fn page(app: &TestApp) -> Answer {
    app.get_with("/", &[BROWSER]).expect(200)
}

/// What a text names of the dashboard's files, by this beginning.
fn named<'a>(text: &'a str, beginning: &str) -> BTreeSet<&'a str> {
    let rests = text.split(beginning).skip(1);
    let ends = rests.map(|rest| rest.split('"').next().unwrap());
    ends.collect::<Vec<_>>().into_iter().collect()
}

#[test]
fn a_browser_gets_the_page_and_a_program_the_description() {
    let app = TestApp::start();
    let shown = page(&app);
    assert_eq!(shown.header("content-type"), Some("text/html; charset=utf-8"));
    for accept in ["*/*", "application/json", "application/xhtml+xml"] {
        let told = app.get_with("/", &[("accept", accept)]).expect(200);
        assert_eq!(told.header("content-type"), Some("application/json"), "{accept}");
        assert_eq!(told["name"], "Holdfast");
        assert!(
            told.header("vary").is_some_and(|vary| vary.contains("Accept")),
            "{accept}"
        );
    }
    assert!(shown.header("vary").is_some_and(|vary| vary.contains("Accept")));
}

#[test]
fn the_page_runs_nothing_but_its_files_and_cannot_be_framed() {
    let app = TestApp::start();
    let shown = page(&app);
    assert_eq!(shown.header("x-frame-options"), Some("DENY"));
    assert_eq!(shown.header("referrer-policy"), Some("no-referrer"));
    let policy = shown.header("content-security-policy").unwrap();
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.split("; ").any(|given| given == part), "{part}: {policy}");
    }
    let html = String::from_utf8(shown.body).unwrap();
    for forbidden in [" style=", " onclick=", " onload=", "<style", "javascript:", "https://"] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    assert_eq!(
        html.matches("<script").count(),
        html.matches("<script src=\"/dashboard/").count()
            + html.matches("<script type=\"module\" src=\"/dashboard/").count()
    );
}

#[test]
fn every_file_that_is_named_is_there_and_every_file_is_named() {
    let app = TestApp::start();
    let document = app.get("/api/openapi.json").expect(200);
    let files = &document["paths"]["/dashboard/{file}"]["parameters"][0]["schema"]["enum"];
    let files: BTreeSet<&str> = files
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let read = |name: &str| {
        let answer = app.get(&format!("/dashboard/{name}")).expect(200);
        let extension = name.rsplit('.').next().unwrap();
        let media_type = match extension {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        };
        assert_eq!(answer.header("content-type"), Some(media_type), "{name}");
        String::from_utf8(answer.body).unwrap()
    };
    let html = String::from_utf8(page(&app).body).unwrap();
    let mut found: BTreeSet<String> = named(&html, "\"/dashboard/").into_iter().map(str::to_owned).collect();
    for name in &files {
        let text = read(name);
        if name.ends_with(".js") && !name.starts_with("uplot") {
            assert!(
                !text.contains("innerHTML") && !text.contains("insertAdjacentHTML"),
                "{name}"
            );
            assert!(!text.contains("http://") && !text.contains("https://"), "{name}");
            found.extend(named(&text, " from \"./").into_iter().map(str::to_owned));
        }
        assert!(
            !text.contains("@import") && (!name.ends_with(".css") || !text.contains("url(")),
            "{name}"
        );
    }
    // A licence is there to be read.
    found.insert("uplot-licence.txt".to_owned());
    assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), files);
    assert!(read("uplot-licence.txt").contains("MIT License"));
    app.get("/dashboard/none.js").refused(404, "not_found");
    app.get("/dashboard/..%2Fmod.rs").refused(404, "not_found");
}

#[test]
fn a_browser_that_has_a_file_is_told_so() {
    let app = TestApp::start();
    let first = app.get("/dashboard/app.js").expect(200);
    let tag = first.header("etag").unwrap().to_owned();
    let again = app
        .get_with("/dashboard/app.js", &[("if-none-match", &tag)])
        .expect(304);
    assert_eq!((again.header("etag"), again.body.len()), (Some(&*tag), 0));
    let several = format!("\"x\", {tag}");
    app.get_with("/dashboard/app.js", &[("if-none-match", &several)])
        .expect(304);
    app.get_with("/dashboard/api.js", &[("if-none-match", &tag)])
        .expect(200);
    let packed = app
        .get_with("/dashboard/uplot.js", &[("accept-encoding", "gzip")])
        .expect(200);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.len() < 60_000, "{}", packed.body.len());
}

#[test]
fn the_page_and_its_files_need_no_token() {
    let app = TestApp::start_guarded(&[]);
    page(&app);
    app.get("/dashboard/app.js").expect(200);
    app.get("/dashboard/style.css").expect(200);
    app.get("/api/movements").refused(401, "unauthenticated");
}
