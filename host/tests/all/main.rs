//! The one integration-test binary: wasmtime is linked once. `cargo xtask test` builds the guests,
//! starts a private RabbitMQ and runs it.

mod conformance;
mod layout;
mod readme;
mod limits;
mod guests;
mod plugins;
mod reload;
mod settling;
mod sharing;
mod shutdown;
mod support;
mod cli;
mod rabbitmq;
mod tls;
mod proof;
mod unreadable;
