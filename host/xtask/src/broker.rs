//! `cargo xtask broker` and `cargo xtask services`: a private RabbitMQ node, and databases, for a
//! person. Next: lints.rs.

use crate::process::{pause, say};
use anyhow::Result;
use std::process::ExitCode;
use xtask::node::Node;
use xtask::services::Services;

/// Runs a node until it is interrupted.
pub fn run() -> Result<ExitCode> {
    let mut node = Node::start()?;
    node.wait_ready()?;
    say(&format!("AMQP        {}", node.amqp_url()));
    say(&format!("management  {}", node.management_url()));
    say(&format!("rabbitmqctl {}", node.rabbitmqctl().display()));
    keep()
}

/// Runs one database of each kind until it is interrupted.
pub fn services() -> Result<ExitCode> {
    let mut services = Services::start()?;
    services.wait_ready()?;
    for (name, url) in services.environment() {
        say(&format!("export {name}={url}"));
    }
    keep()
}

fn keep() -> Result<ExitCode> {
    say("Ctrl-C ends it");
    // The only way out is the signal.
    while pause().is_ok() {}
    Ok(ExitCode::SUCCESS)
}
