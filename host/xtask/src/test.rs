//! `cargo xtask test`: the checks of lints.rs, then every test, with guests built from source and
//! a private RabbitMQ node. demo.rs is the other long command.

use crate::process::{root, say, status};
use crate::{demo, guests, lints, machine, rust_target};
use anyhow::Result;
use std::process::{Command, ExitCode};
use xtask::node::Node;
use xtask::services::Services;
use xtask::systems::System;

/// Runs it all; `arguments` go to `cargo test`, whose exit code is the answer.
pub fn run(arguments: &[&str]) -> Result<ExitCode> {
    lints::formatting()?;
    // They take long to start, so they do so while the rest is prepared.
    let (mut node, mut services) = (Node::start()?, Services::start()?);
    let target = rust_target::choose()?;
    guests::fixtures(target)?;
    guests::build_all(target)?;
    for system in System::all()? {
        system.install()?;
    }
    let python = machine::python()?;
    lints::dependencies()?;
    lints::clippy()?;
    if arguments.is_empty() {
        say("cargo xtask demo");
        demo::run(&demo::Options::default())?;
    }
    node.wait_ready()?;
    services.wait_ready()?;

    say("cargo test --workspace");
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--workspace", "--lib", "--bins", "--tests"]);
    cargo.args(arguments).current_dir(root());
    cargo.env("WABBIT_TEST_AMQP", node.amqp_url());
    cargo.env("WABBIT_TEST_MANAGEMENT", node.management_url());
    cargo.env("WABBIT_TEST_RABBITMQCTL", node.rabbitmqctl());
    cargo.envs(services.environment());
    cargo.env("WABBIT_TEST_GUESTS", guests::folder());
    cargo.env("WABBIT_TEST_PYTHON", python);
    cargo.env("WABBIT_TEST_GUEST_ENV", target.environment()?);
    let status = status(&mut cargo)?;
    drop((node, services));
    // A signal has no code.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
