//! `cargo xtask broker`: a private RabbitMQ node for a person. Next: lints.rs.

use crate::process::{pause, say};
use anyhow::Result;
use std::process::ExitCode;
use xtask::node::Node;

/// Runs it until it is interrupted.
pub fn run() -> Result<ExitCode> {
    let mut node = Node::start()?;
    node.wait_ready()?;
    say(&format!("AMQP        {}", node.amqp_url()));
    say(&format!("management  {}", node.management_url()));
    say(&format!("rabbitmqctl {}", node.rabbitmqctl().display()));
    say("Ctrl-C ends it");
    // The only way out is the signal.
    while pause().is_ok() {}
    Ok(ExitCode::SUCCESS)
}
