//! What the machine must have: Debian packages, a Python with the libraries that tests use, tools
//! from crates.io. Next: rust_target.rs.

use crate::process::{output, run, run_quietly, say, scratch};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// The AMQP client of the tests' producer.
const PIKA: &str = "pika==1.3.2";

/// Installs Debian packages. Where that needs another user or another system, the error names the
/// one command that a person must run.
pub fn install(why: &str, packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if output(Command::new("id").arg("-u")).as_deref() != Some("0") {
        bail!("{why} is missing\nhint: run `sudo {by_hand}`");
    }
    if output(Command::new("apt-get").arg("--version")).is_none() {
        bail!("{why} is missing\nhint: install what Debian calls {}", packages.join(", "));
    }
    say(&format!("{why} is missing: {by_hand}"));
    let apt = |args: &[&str]| {
        run_quietly(Command::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let arguments = [&["install", "-y", "--no-install-recommends"], packages].concat();
    // The lists may be old or empty: only a second failure counts.
    let status = output(Command::new("apt-get").args(&arguments).arg("--simulate"));
    if status.is_none() {
        apt(&["update"])?;
    }
    apt(&arguments)
}

/// A Python that has the tests' libraries, in a virtual environment of its own.
pub fn python() -> Result<PathBuf> {
    venv("python", PIKA)
}

/// A Python that has `requirements`, in the virtual environment `name` of the scratch folder.
pub fn venv(name: &str, requirements: &str) -> Result<PathBuf> {
    let dir = scratch().join(name);
    let python = dir.join("bin/python");
    let installed = dir.join("installed");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == requirements) {
        return Ok(python);
    }
    need_venv()?;
    let names: Vec<_> = requirements.split_whitespace().collect();
    say(&format!("installing {} into {}", names.join(", "), dir.display()));
    run_quietly(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir))?;
    run_quietly(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(names))?;
    std::fs::write(installed, requirements)?;
    Ok(python)
}

/// Makes sure that `python3 -m venv` works.
pub fn need_venv() -> Result<()> {
    match output(Command::new("python3").args(["-c", "import venv, ensurepip"])) {
        Some(_) => Ok(()),
        None => install("python3 with venv", &["python3", "python3-venv"]),
    }
}

/// A program from crates.io, of exactly this version; built once, without optimisation.
pub fn cargo_tool(name: &str, version: &str) -> Result<PathBuf> {
    let dir = scratch().join("tools").join(format!("{name}-{version}"));
    let program = dir.join("bin").join(name);
    if !program.is_file() {
        say(&format!("building {name} {version} (once)"));
        let mut cargo = Command::new("cargo");
        cargo.args(["install", "--quiet", "--locked", "--debug", "--root"]).arg(&dir);
        run(cargo.args([name, "--version", version]))?;
    }
    Ok(program)
}
