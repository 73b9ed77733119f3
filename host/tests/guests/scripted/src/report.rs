//! What the guest can see of the world, published as JSON.

use crate::memory;
use crate::publish::send;
use crate::wabbit::amqp::types::Field;
use crate::wasi::config::store;
use crate::wasi::sockets::{network::IpAddressFamily, tcp_create_socket::create_tcp_socket};
use crate::{Event, Failure};
use serde_json::{Value, json};
use std::collections::hash_map::RandomState;
use std::fmt::Display;
use std::hash::{BuildHasher, Hasher};
use std::hint::black_box;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Which build this is: tests change it in the component's bytes.
static BUILD: [u8; 16] = *b"build 0000000001";

/// `report:WHAT:EXCHANGE:KEY`
pub fn report(argument: &str, event: &Event) -> Result<(), Failure> {
    let (what, to) = argument.split_once(':').unwrap_or((argument, ""));
    let seen = match what {
        "env" => json!(std::env::vars().collect::<Vec<_>>()),
        "args" => json!(std::env::args().collect::<Vec<_>>()),
        "files" => json!({
            "read": outcome(std::fs::read_to_string("/etc/hostname")),
            "write": outcome(std::fs::write("/tmp/guest", "x").map(|()| String::new())),
            "list": outcome(std::fs::read_dir("/").map(|entries| entries.count())),
        }),
        "network" => json!({
            "socket": outcome(create_tcp_socket(IpAddressFamily::Ipv4).map(|_| "created")),
        }),
        "stdin" => json!(outcome(std::io::read_to_string(std::io::stdin()))),
        "random" => json!(number()),
        "clock" => json!(clock()),
        "variables" => match store::get_all() {
            Ok(pairs) => json!(pairs),
            Err(error) => json!({ "error": error.to_string() }),
        },
        "memory" => json!(memory::times(flipped(event))),
        "event" => json!({
            "exchange": event.exchange,
            "routing-key": event.routing_key,
            "queue": event.queue,
            "redelivered": event.redelivered,
            "attempt": event.attempt,
            "first-seen": event.first_seen,
            "user-id": event.properties.user_id,
            "message-id": event.properties.message_id,
            "size": event.body.len(),
            "call": number(),
            "build": String::from_utf8_lossy(black_box(&BUILD)),
        }),
        _ => return Err(Failure::Reject(format!("no such report: `{what}`"))),
    };
    send(to, seen.to_string().as_bytes(), &[])
}

/// The bytes in the header `flipped`.
fn flipped(event: &Event) -> &[u8] {
    let header = event.properties.headers.iter().find(|header| header.name == "flipped");
    match header.map(|header| &header.value) {
        Some(Field::Bytes(bytes)) => bytes,
        _ => &[],
    }
}

/// `{"ok": …}` or `{"error": …}`.
fn outcome<T: Into<Value>, E: Display>(result: Result<T, E>) -> Value {
    match result {
        Ok(value) => json!({ "ok": value.into() }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// One that no other call has.
fn number() -> String {
    RandomState::new().build_hasher().finish().to_string()
}

fn clock() -> Value {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = Instant::now();
    while start.elapsed().is_zero() {}
    json!({ "wall-ms": wall.as_millis() as u64, "monotonic": "moves" })
}
