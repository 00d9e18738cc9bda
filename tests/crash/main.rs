//! What is promised across crashes, failing disks, full disks and damaged files, against the service as
//! a process of its own, or against its journal where thousands of cases are to be tried.
//!
//! `kills.rs` kills at random, `faults.rs` has system calls fail or be the last one (it takes `strace`),
//! `full.rs` takes the room away (it takes a right to mount), `damage.rs` flips, cuts and removes what is on
//! disk, `torn.rs` leaves what a power cut leaves. `imports.rs` kills in the middle of an import. `books.rs` is how they all know what must be there.
//!
//! Of carts of many lines: `carts.rs` kills in the middle of them, `crowds.rs` has many clients want the same and go
//! away, `expiry.rs` has holds end at bad times (it takes `faketime`). `trade.rs` is what they ask, and `audit.rs` how
//! they know what must be there. `webhooks.rs` kills while events are delivered.
//!
//! `backup.rs` copies a log that is written to, and kills those who copy.
//!
//! `feed.rs` has a thousand follow the log, one of whom does not read.

mod audit;
mod backup;
mod books;
mod carts;
mod client;
mod crowds;
mod damage;
mod expiry;
mod faults;
mod feed;
mod folder;
mod full;
mod imports;
mod kills;
#[path = "../support/mod.rs"]
mod support;
mod torn;
mod trade;
mod webhooks;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Asks again until it is so, for as long as it may take.
fn within(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if is_so() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    is_so()
}

/// Runs `holdfast verify`, and panics with what it says unless it finds the folder whole.
fn assert_verifies(folder: &Path) {
    let output = Command::new(support::HOLDFAST)
        .arg("verify")
        .arg("--data-dir")
        .arg(folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "verify: {}: {said}", output.status);
}

/// Below the ports that the system gives out by itself: between a kill and a restart nobody takes it.
fn fixed_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 10_000 + (std::process::id() % 15_000) as u16;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
