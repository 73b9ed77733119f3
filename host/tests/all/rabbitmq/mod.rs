//! The binary against a real RabbitMQ, in a virtual host of each test's own. Begin with connecting.rs.

mod audit;
mod connecting;
mod crash;
mod faults;
mod forgotten;
mod headers;
mod idle;
mod quorum;
mod shutdown;
mod topology;

/// A manifest for the guest `scripted`: it may publish to the queue `out`, and retries soon.
const SCRIPTED: &str =
    "[grants]\npublish = [\":out\"]\n[retry]\nattempts = 3\ndelays = [\"50ms\"]\njitter = 0\n";

/// An event that publishes `name` to the queue `out` after `ms` milliseconds.
fn work(ms: u32, name: &str) -> String {
    let publish = serde_json::json!({ "publish": { "key": "out", "body": name } });
    serde_json::json!([format!("sleep:{ms}"), publish]).to_string()
}
