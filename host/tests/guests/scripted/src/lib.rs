//! A handler that does what the event's body says; README.md lists what it understands.
#![feature(asm_experimental_arch)]

mod memory;
mod publish;
mod report;
mod table;

use serde_json::Value;
use std::hint::black_box;
use std::time::Duration;
use wabbit::amqp::types::Field;
use wabbit::circuit::breaker;
use wabbit::handler::types::Retry;
use wasi::clocks::monotonic_clock::subscribe_duration;
use wasi::logging::logging::{Level, log};

// Of sockets only what shows whether there are any; std would need more of the C library than the
// fallback toolchain has.
wit_bindgen::generate!({
    path: "../../../../wit",
    inline: "
        package test:scripted;
        world scripted {
            include wabbit:handler/publishing-handler@0.1.0;
            import wabbit:circuit/breaker@0.1.0;
            import wasi:sockets/tcp-create-socket@0.2.3;
            import wasi:clocks/monotonic-clock@0.2.12;
        }
        package wasi:sockets@0.2.3 {
            interface network {
                enum error-code {
                    unknown, access-denied, not-supported, invalid-argument, out-of-memory,
                    timeout, concurrency-conflict, not-in-progress, would-block, invalid-state,
                    new-socket-limit, address-not-bindable, address-in-use, remote-unreachable,
                    connection-refused, connection-reset, connection-aborted, datagram-too-large,
                    name-unresolvable, temporary-resolver-failure, permanent-resolver-failure,
                }
                enum ip-address-family { ipv4, ipv6 }
            }
            interface tcp {
                resource tcp-socket;
            }
            interface tcp-create-socket {
                use network.{error-code, ip-address-family};
                use tcp.{tcp-socket};
                create-tcp-socket: func(address-family: ip-address-family)
                    -> result<tcp-socket, error-code>;
            }
        }
    ",
    world: "test:scripted/scripted",
    generate_all,
});

type Step = Result<(), Failure>;

struct Scripted;

impl Guest for Scripted {
    fn handle(event: Event) -> Step {
        let script = script(&event);
        match script {
            Value::Array(steps) => steps.iter().try_for_each(|step| take(step, &event)),
            step => take(&step, &event),
        }
    }
}

/// What the header `script` says, or the body.
fn script(event: &Event) -> Value {
    let header = event.properties.headers.iter().find(|header| header.name == "script");
    let text = match header.map(|header| &header.value) {
        Some(Field::Text(text)) => text.as_bytes(),
        _ => &event.body,
    };
    serde_json::from_slice(text)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(text).into_owned()))
}

/// Takes one step: `"name"`, `"name:argument"`, or `{"publish": {…}}`.
fn take(step: &Value, event: &Event) -> Step {
    if let Some(publication) = step.get("publish") {
        return publish::publish_json(publication);
    }
    let text = step.as_str().unwrap_or_default();
    let (name, argument) = text.split_once(':').unwrap_or((text, ""));
    match name {
        "ok" => Ok(()),
        "ok-from" if event.attempt >= number(argument)? as u32 => Ok(()),
        "ok-from" => Err(retry(None)),
        "retry" => Err(retry(None)),
        "retry-after" => Err(retry(Some(number(argument)?))),
        "once-after" if event.attempt > 1 => Ok(()),
        "once-after" => Err(retry(Some(number(argument)?))),
        "open" => {
            breaker::open(argument);
            Ok(())
        }
        "reject" => Err(Failure::Reject(or(argument, "rejected by script"))),
        "drop" => Err(Failure::Drop(or(argument, "dropped by script"))),
        "echo" => publish::echo(argument, event),
        "publish" => publish::publish_to(argument, &event.body),
        "report" => report::report(argument, event),
        _ => misbehave(name, argument),
    }
}

fn misbehave(name: &str, argument: &str) -> Step {
    match name {
        "panic" => panic!("panicked by script"),
        "exit" => std::process::exit(number(argument)? as i32),
        "loop" => loop {
            black_box(());
        },
        "sleep" => std::thread::sleep(Duration::from_millis(number(argument)?)),
        "spin" => spin(number(argument)?),
        "memory-bomb" => loop {
            std::mem::forget(black_box(vec![1_u8; 1 << 20]));
        },
        "table-bomb" => table::fill(),
        "handle-bomb" => {
            for _ in 0..number(argument)? {
                std::mem::forget(subscribe_duration(u64::MAX));
            }
        }
        "stack-overflow" => {
            black_box(descend(0));
        }
        "log" => log(Level::Info, "script", argument),
        "log-flood" => {
            for line in 0..number(argument)? {
                log(Level::Info, "flood", &format!("line {line}"));
            }
        }
        "log-large" => log(Level::Info, "large", &"x".repeat(number(argument)? as usize)),
        "print" => {
            println!("out \x1b[31mred\x1b[0m \u{7} bell \r return {argument}");
            eprintln!("err \x1b]0;title\x07 \u{9b}31m c1 \u{202e} bidi {argument}");
        }
        "print-flood" => {
            for line in 0..number(argument)? {
                println!("line {line}");
            }
        }
        _ => return Err(Failure::Reject(format!("no such step: `{name}`"))),
    }
    Ok(())
}

fn retry(after_ms: Option<u64>) -> Failure {
    Failure::Retry(Retry { after_ms, reason: "retried by script".into() })
}

fn number(text: &str) -> Result<u64, Failure> {
    text.parse().map_err(|_| Failure::Reject(format!("not a number: `{text}`")))
}

fn or(text: &str, default: &str) -> String {
    if text.is_empty() { default } else { text }.to_owned()
}

/// Keeps the guest busy for about `ms` milliseconds.
fn spin(ms: u64) {
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_millis(ms) {
        black_box(());
    }
}

#[allow(unconditional_recursion, reason = "overflowing the stack is the point")]
fn descend(depth: u64) -> u64 {
    black_box(depth) + descend(depth + 1)
}

export!(Scripted);
