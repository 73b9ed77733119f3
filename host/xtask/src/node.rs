//! Private RabbitMQ nodes: Debian's package, run by this user on free ports, with a cookie, data and
//! logs of their own. Beside the commands, tests start some to hurt them. Next: services.rs, the same
//! for databases.

use crate::home::Home;
use crate::http;
use crate::machine::install;
use crate::process::{say, signal_group, until};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;

/// Debian keeps the scripts that run as the calling user here, by version.
const INSTALLED: &str = "/usr/lib/rabbitmq/lib";
/// A start takes 10 to 25 s on two busy cores.
const START_MAX: Duration = Duration::from_secs(180);
/// `guest:guest` for the management API.
const AUTHORIZATION: &str = "Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=";
/// Some nodes that know each other: where they live, with their cookie and Erlang's name server.
struct Cluster {
    home: Home,
    names_port: u16,
    names: Option<Child>,
}

/// A node. Dropping the last one of a cluster ends them all.
pub struct Node {
    cluster: Arc<Cluster>,
    name: String,
    amqp: SocketAddr,
    management: SocketAddr,
    program: PathBuf,
    environment: Vec<(&'static str, String)>,
    server: Option<Child>,
}

impl Node {
    /// Starts a node, installing RabbitMQ if need be. Returns at once: see [`Node::wait_ready`].
    pub fn start() -> Result<Node> {
        say("starting a private RabbitMQ node");
        let nodes = Self::start_all(&["wabbit"])?;
        nodes.into_iter().next().context("no node")
    }

    /// Starts three nodes that join into a cluster. Returns at once, as [`Node::start`] does.
    pub fn start_cluster() -> Result<Vec<Node>> {
        say("starting a private cluster of three RabbitMQ nodes");
        Self::start_all(&["one", "two", "three"])
    }

    fn start_all(names: &[&str]) -> Result<Vec<Node>> {
        let sbin = sbin()?;
        let cluster = Arc::new(Cluster::new()?);
        let start = |name: &&str| {
            let mut node = Node::new(name, Arc::clone(&cluster), &sbin, names)?;
            node.start_again()?;
            Ok(node)
        };
        names.iter().map(start).collect()
    }

    /// One that does not run yet; `all` are the names of its cluster.
    fn new(name: &str, cluster: Arc<Cluster>, sbin: &Path, all: &[&str]) -> Result<Node> {
        let dir = cluster.home.dir().join(name);
        fs::create_dir_all(&dir)?;
        let (amqp, management) = (http::kept_address()?, http::kept_address()?);
        let environment = environment(name, &dir, &cluster)?;
        fs::write(dir.join("rabbitmq.conf"), configuration(amqp, management, all))?;
        fs::write(dir.join("enabled_plugins"), "[rabbitmq_management].\n")?;
        for program in ["rabbitmqctl", "rabbitmq-diagnostics"] {
            write_wrapper(&dir, sbin, program, &environment)?;
        }
        let program = sbin.join("rabbitmq-server");
        let name = name.to_owned();
        Ok(Node { cluster, name, amqp, management, program, environment, server: None })
    }

    /// Starts it after [`Node::kill`], with the data and on the ports that it had.
    pub fn start_again(&mut self) -> Result<()> {
        let output = File::options().create(true).append(true).open(self.output())?;
        let mut command = Command::new(&self.program);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdout(output.try_clone()?).stderr(output);
        let server = self.cluster.home.start(&self.name, &mut command)?;
        self.server = Some(server);
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            self.cluster.home.kill(&self.name, server);
        }
    }

    /// Stops it as it is (`STOP`), or lets it go on (`CONT`).
    pub fn signal(&self, name: &str) {
        if let Some(server) = &self.server {
            signal_group(name, server);
        }
    }

    /// Waits until it takes connections and its management API answers.
    pub fn wait_ready(&mut self) -> Result<()> {
        let (output, management, amqp) = (self.output(), self.management, self.amqp);
        let server = self.server.as_mut().context("it was not started")?;
        until("starting RabbitMQ", START_MAX, || {
            if let Some(status) = server.try_wait()? {
                let output = fs::read_to_string(&output).unwrap_or_default();
                bail!("RabbitMQ ended with {status}:\n{output}");
            }
            let api = http::get(management, "/api/overview", &[AUTHORIZATION]);
            let ready = api.is_ok_and(|(status, _)| status == 200) && speaks_amqp(amqp).is_ok();
            Ok(ready.then_some(()))
        })
    }

    /// Whether it takes connections.
    pub fn is_reachable(&self) -> bool {
        speaks_amqp(self.amqp).is_ok()
    }

    /// The name by which its cluster knows it.
    pub fn name(&self) -> String {
        format!("{}@localhost", self.name)
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
        self.dir().join("rabbitmqctl")
    }

    /// The file that it logs to.
    pub fn log(&self) -> PathBuf {
        self.dir().join("log").join(self.name()).with_extension("log")
    }

    /// What it prints, e.g. when it can't start.
    fn output(&self) -> PathBuf {
        self.dir().join("server.log")
    }

    /// The id of its process.
    pub fn pid(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir().join("pid"))?.trim().to_owned())
    }

    fn dir(&self) -> PathBuf {
        self.cluster.home.dir().join(&self.name)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Its data is of no use to anyone, so there is no reason to wait for an orderly end.
        self.kill();
    }
}

impl Cluster {
    fn new() -> Result<Cluster> {
        let home = Home::new("rabbitmq")?;
        // Left to itself it would be started as a daemon, and stay.
        let names_port = http::kept_address()?.port();
        let mut names = Command::new("epmd");
        names.env("ERL_EPMD_PORT", names_port.to_string());
        names.env("ERL_EPMD_ADDRESS", "127.0.0.1").env("HOME", home.dir());
        let names = Some(home.start("epmd", &mut names)?);
        Ok(Cluster { home, names_port, names })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(names) = self.names.take() {
            self.home.kill("epmd", names);
        }
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

fn environment(name: &str, dir: &Path, cluster: &Cluster) -> Result<Vec<(&'static str, String)>> {
    let path = |name: &str| dir.join(name).display().to_string();
    Ok(vec![
        ("HOME", cluster.home.dir().display().to_string()),
        ("RABBITMQ_NODENAME", format!("{name}@localhost")),
        ("RABBITMQ_DIST_PORT", http::kept_address()?.port().to_string()),
        ("ERL_EPMD_PORT", cluster.names_port.to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("RABBITMQ_MNESIA_BASE", path("data")),
        ("RABBITMQ_LOG_BASE", path("log")),
        ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
        ("RABBITMQ_CONF_ENV_FILE", path("no-rabbitmq-env.conf")),
        ("RABBITMQ_ADVANCED_CONFIG_FILE", path("no-advanced.config")),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
        ("RABBITMQ_PID_FILE", path("pid")),
        ("ERL_CRASH_DUMP", path("erl_crash.dump")),
        // So that the times in its log are those of others.
        ("TZ", "UTC".to_owned()),
    ])
}

fn configuration(amqp: SocketAddr, management: SocketAddr, all: &[&str]) -> String {
    let mut lines = vec![
        format!("listeners.tcp.1 = {amqp}"),
        format!("management.tcp.ip = {}", management.ip()),
        format!("management.tcp.port = {}", management.port()),
        "collect_statistics_interval = 1000".to_owned(),
        "disk_free_limit.absolute = 50MB".to_owned(),
    ];
    if all.len() > 1 {
        lines.push("cluster_formation.peer_discovery_backend = classic_config".to_owned());
        let named = all.iter().enumerate().map(|(number, name)| {
            format!("cluster_formation.classic_config.nodes.{} = {name}@localhost", number + 1)
        });
        lines.extend(named);
    }
    lines.join("\n") + "\n"
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
