//! What tests are written over: `host` is a host in this process, on the embedded broker or on
//! RabbitMQ; `log` is what it says. `process` runs the binary instead, and `rabbit` is a virtual
//! host of the test's own for it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy's exception for tests does not see the helpers of tests"
)]

pub mod host;
pub mod log;
pub mod process;
pub mod proxy;
pub mod python;
pub mod rabbit;

use std::path::PathBuf;
use std::time::Duration;

/// How long a condition may take: far longer than it does on a machine that does little else.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The value of an environment variable that `cargo xtask test` sets.
pub fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask test`"))
}

/// The file of a guest for tests, or of an example.
pub fn guest_file(name: &str) -> PathBuf {
    PathBuf::from(environment("WABBIT_TEST_GUESTS")).join(format!("{name}.wasm"))
}

/// A guest's bytes.
pub fn guest(name: &str) -> Vec<u8> {
    let file = guest_file(name);
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Waits until `condition` holds; `what` says what did not, if it never does.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
