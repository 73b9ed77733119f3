//! A private RabbitMQ node: Debian's package, run by this user on free ports, with a cookie, data
//! and logs of its own; nothing of it is left afterwards. Next: lints.rs.

use crate::http;
use crate::machine::install;
use crate::process::{kill, pause, run_quietly, say, scratch, until};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::{fs::PermissionsExt, process::CommandExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

/// Debian keeps the scripts that run as the calling user here, by version.
const INSTALLED: &str = "/usr/lib/rabbitmq/lib";
/// A start takes 10 to 25 s on two busy cores.
const START_MAX: Duration = Duration::from_secs(120);
/// `guest:guest` for the management API.
const AUTHORIZATION: &str = "Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=";

/// `cargo xtask broker`
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

/// A running node. Dropping it ends it.
pub struct Node {
    dir: PathBuf,
    amqp: SocketAddr,
    management: SocketAddr,
    names: Child,
    server: Child,
}

impl Node {
    /// Starts a node, installing RabbitMQ if need be. Returns at once: see [`Node::wait_ready`].
    pub fn start() -> Result<Node> {
        let sbin = sbin()?;
        let all = scratch().join("rabbitmq");
        end_leftovers(&all);
        let dir = all.join(std::process::id().to_string());
        fs::create_dir_all(&dir)?;
        let (amqp, management) = (http::free_address()?, http::free_address()?);
        let environment = environment(&dir)?;
        fs::write(dir.join("rabbitmq.conf"), configuration(amqp, management))?;
        fs::write(dir.join("enabled_plugins"), "[rabbitmq_management].\n")?;
        for program in ["rabbitmqctl", "rabbitmq-diagnostics"] {
            write_wrapper(&dir, &sbin, program, &environment)?;
        }
        say("starting a private RabbitMQ node");
        let variables = || environment.iter().map(|(name, value)| (name, value));
        // Erlang's name server: left to itself it would be started as a daemon, and stay.
        let mut names = Command::new("epmd");
        let names = names.envs(variables()).stdin(Stdio::null()).process_group(0).spawn()?;
        fs::write(dir.join("epmd.pid"), names.id().to_string())?;
        let log = fs::File::create(dir.join("server.log"))?;
        let server = Command::new(sbin.join("rabbitmq-server"))
            .envs(variables())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C must not reach it before the tests have ended.
            .process_group(0)
            .spawn()?;
        Ok(Node { dir, amqp, management, names, server })
    }

    /// Waits until it takes connections and its management API answers.
    pub fn wait_ready(&mut self) -> Result<()> {
        until("starting RabbitMQ", START_MAX, || {
            if let Some(status) = self.server.try_wait()? {
                let log = fs::read_to_string(self.dir.join("server.log")).unwrap_or_default();
                bail!("RabbitMQ ended with {status}:\n{log}");
            }
            let api = http::get(self.management, "/api/overview", &[AUTHORIZATION]);
            let ready =
                api.is_ok_and(|(status, _)| status == 200) && speaks_amqp(self.amqp).is_ok();
            Ok(ready.then_some(()))
        })
    }

    /// `amqp://…`
    pub fn amqp_url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.amqp)
    }

    /// `http://…`
    pub fn management_url(&self) -> String {
        format!("http://guest:guest@{}", self.management)
    }

    /// A program that speaks to this node.
    pub fn rabbitmqctl(&self) -> PathBuf {
        self.dir.join("rabbitmqctl")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Its data is of no use to anyone, so there is no reason to wait for an orderly end.
        kill(&mut self.server);
        kill(&mut self.names);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The folder of RabbitMQ's scripts.
fn sbin() -> Result<PathBuf> {
    let find = || {
        let versions = fs::read_dir(INSTALLED).ok()?.flatten();
        versions.map(|entry| entry.path().join("sbin")).find(|dir| dir.is_dir())
    };
    if let Some(dir) = find() {
        return Ok(dir);
    }
    install("RabbitMQ", &["rabbitmq-server"])?;
    find().with_context(|| format!("no RabbitMQ in `{INSTALLED}`"))
}

fn environment(dir: &Path) -> Result<Vec<(&'static str, String)>> {
    let path = |name: &str| dir.join(name).display().to_string();
    let port = || http::free_address().map(|address| address.port().to_string());
    Ok(vec![
        ("HOME", path("")),
        ("RABBITMQ_NODENAME", "wabbit@localhost".to_owned()),
        ("RABBITMQ_DIST_PORT", port()?),
        ("ERL_EPMD_PORT", port()?),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_MNESIA_BASE", path("data")),
        ("RABBITMQ_LOG_BASE", path("log")),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
        ("RABBITMQ_CONF_ENV_FILE", path("no-rabbitmq-env.conf")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", path("no-advanced.config")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
        ("RABBITMQ_PID_FILE", path("pid")),
        ("ERL_CRASH_DUMP", path("erl_crash.dump")),
    ])
}

fn configuration(amqp: SocketAddr, management: SocketAddr) -> String {
    format!(
        "listeners.tcp.1 = {amqp}\n\
         management.tcp.ip = {}\n\
         management.tcp.port = {}\n\
         collect_statistics_interval = 1000\n\
         disk_free_limit.absolute = 50MB\n",
        management.ip(),
        management.port()
    )
}

/// A script that runs one of RabbitMQ's programs with the node's environment.
fn write_wrapper(
    dir: &Path,
    sbin: &Path,
    program: &str,
    environment: &[(&'static str, String)],
) -> Result<()> {
    let exports: String =
        environment.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
    let script = format!("#!/bin/sh\n{exports}exec '{}' \"$@\"\n", sbin.join(program).display());
    let file = dir.join(program);
    fs::write(&file, script)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Whether a protocol header is answered with `Connection.Start`, a method frame on channel 0.
fn speaks_amqp(address: SocketAddr) -> Result<()> {
    let mut stream = http::connect(address)?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    let mut frame = [0; 3];
    stream.read_exact(&mut frame)?;
    (frame == [1, 0, 0]).then_some(()).context("not AMQP")
}

/// Ends the nodes of earlier runs that were killed: their folders bear the runs' process ids.
fn end_leftovers(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let run_is_alive = Path::new("/proc").join(entry.file_name()).exists();
        if run_is_alive {
            continue;
        }
        let dir = entry.path();
        for file in ["pid", "epmd.pid"] {
            let pid = fs::read_to_string(dir.join(file)).unwrap_or_default();
            let environment = fs::read(format!("/proc/{}/environ", pid.trim())).unwrap_or_default();
            // The id may have gone to someone else since.
            if String::from_utf8_lossy(&environment).contains(&*dir.to_string_lossy()) {
                say(&format!("ending process {} of an earlier run's RabbitMQ", pid.trim()));
                let _ = run_quietly(Command::new("kill").args(["-KILL", pid.trim()]));
            }
        }
        let _ = fs::remove_dir_all(dir);
    }
}
