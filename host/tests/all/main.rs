//! The one integration-test binary: wasmtime is linked once. `cargo xtask test` builds the guests,
//! starts a private RabbitMQ and runs it.

mod conformance;
mod layout;
