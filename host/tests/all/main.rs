//! The one integration-test binary: wasmtime is linked once. `cargo xtask test` builds the guests,
//! starts a private RabbitMQ and runs it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "clippy's exception for tests does not see the helpers of tests"
)]

mod circuit;
mod cli;
mod conformance;
mod databases;
mod examples;
mod faults;
mod guests;
mod http;
mod key_value;
mod layout;
mod limits;
mod lost;
mod order;
mod plugins;
mod proof;
mod rabbitmq;
mod readme;
mod reload;
mod secrets;
mod settling;
mod sharing;
mod shutdown;
mod sql;
mod support;
mod tls;
mod told;
mod transaction;
mod transit;
mod unreadable;
mod versions;
