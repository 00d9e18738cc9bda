//! The service as its clients meet it.
#[path = "../support/mod.rs"]
mod support;
#[test]
fn x() {
    let _ = support::TestApp::start();
}
