//! What is checked before any test runs: formatting, lints, dependencies. Next: test.rs.

use crate::machine::cargo_tool;
use crate::process::{on_path, output, root, run, run_quietly, say};
use anyhow::Result;
use std::process::Command;

const CARGO_DENY: &str = "0.20.2";

/// `cargo fmt`, for the workspace and for the Rust guests outside of it.
pub fn formatting() -> Result<()> {
    say("cargo fmt --check");
    for dir in ["", "host/tests/guests", "examples/orders-rust", "examples/tap-rust"] {
        run(Command::new("cargo").args(["fmt", "--all", "--check"]).current_dir(root().join(dir)))?;
    }
    Ok(())
}

/// `cargo clippy`, where a warning is an error.
pub fn clippy() -> Result<()> {
    say("cargo clippy");
    let arguments = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run(Command::new("cargo").args(arguments).current_dir(root()))
}

/// `cargo deny`. The advisories need their database: where it can't be fetched the rest is checked
/// still, and that is said.
pub fn dependencies() -> Result<()> {
    let program = match on_path("cargo-deny") {
        true => "cargo-deny".into(),
        false => cargo_tool("cargo-deny", CARGO_DENY)?,
    };
    let deny = |checks: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["--log-level", "error", "check", "--hide-inclusion-graph"]).args(checks);
        command.current_dir(root());
        command
    };
    say("cargo deny check bans licenses sources");
    run_quietly(&mut deny(&["bans", "licenses", "sources"]))?;
    if output(Command::new(&program).args(["fetch", "db"]).current_dir(root())).is_none() {
        say("advisories are NOT checked: their database can't be fetched");
        return Ok(());
    }
    say("cargo deny check advisories");
    run_quietly(&mut deny(&["advisories"]))
}
