//! `cargo xtask example`: a system of `examples/` on a private RabbitMQ and private databases. What
//! happens is in its scenario.

use crate::guests;
use crate::process::{root, run as run_command, say, signal_group, wait};
use crate::rust_target;
use anyhow::{Context, Result};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use xtask::node::Node;
use xtask::services::Service;
use xtask::systems::System;

/// Runs it; its exit code says whether all was as it should be.
pub fn run(name: &str) -> Result<ExitCode> {
    let system = System::named(name)?;
    // They take long to start, so they do so while the rest is prepared.
    let mut node = Node::start()?;
    let start = |(variable, start): (_, fn() -> Result<Service>)| Ok((variable, start()?));
    let mut databases = system.databases()?.into_iter().map(start).collect::<Result<Vec<_>>>()?;
    let target = rust_target::choose()?;
    for handler in guests::within(&system.dir)? {
        handler.build(target)?;
    }
    system.install()?;
    say("building the host");
    let build = ["build", "--quiet", "--package", "wabbit"];
    run_command(Command::new("cargo").args(build).current_dir(root()))?;
    node.wait_ready()?;
    let wabbit = root().join("target/debug/wabbit");
    let mut scenario = system.scenario(&wabbit, &guests::folder(), &system.work())?;
    scenario.env("AMQP_URL", node.amqp_url()).env("RABBITMQCTL", node.rabbitmqctl());
    for (variable, database) in &mut databases {
        database.wait_ready()?;
        scenario.env(*variable, database.database_url());
    }
    let mut scenario = scenario.process_group(0).spawn().context("the scenario does not start")?;
    let ended = wait(&mut scenario);
    // What it has started ends with it, however it ended.
    signal_group("KILL", &scenario);
    say(&format!("logs are in {}", system.work().display()));
    Ok(if ended?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
