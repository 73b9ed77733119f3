//! What tests are written over: `setup` makes a host in this process, on the embedded broker or on
//! RabbitMQ, and `host` is that; `log` is what it says. `process` runs the binary instead,
//! `rabbit` is a virtual host of the test's own for it, `database` likewise, and `proxy` the network
//! between.

pub mod broker;
pub mod database;
pub mod fake_broker;
pub mod host;
pub mod log;
pub mod process;
pub mod proxy;
pub mod python;
pub mod rabbit;
pub mod setup;
pub mod web;

use std::path::PathBuf;
use std::time::Duration;
use wabbit::flow::{Event, Field};

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

/// The text of a header of `event`, nothing if it has none.
pub fn header<'a>(event: &'a Event, name: &str) -> &'a str {
    event.properties.headers.get(name).and_then(Field::as_text).unwrap_or_default()
}

/// Waits until `condition` holds; `what` says what did not, if it never does.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
