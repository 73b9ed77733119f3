//! Runs RabbitMQ consumers whose handlers are WebAssembly components. The modules stand in the
//! order of the flow, and each imports only what stands before it; [`dispatch::handle`] is the page
//! to read first, and ARCHITECTURE.md the map.

pub mod flow;
pub mod policy;
pub mod telemetry;
pub mod broker;
pub mod store;
pub mod wit;
pub mod capability;
pub mod plugin;
pub mod dispatch;
pub mod admin;
pub mod config;
pub mod cli;
