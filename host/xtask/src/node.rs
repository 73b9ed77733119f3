//! Private RabbitMQ nodes: Debian's package, run by this user on free ports, with a cookie, data and
//! logs of their own. Nothing of them is left afterwards, even if this process is killed. Beside the
//! commands, tests start some to hurt them. Next: http.rs.

use crate::http;
use crate::machine::install;
use crate::process::{kill, run_quietly, say, scratch, signal_group, until};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::{fs::PermissionsExt, process::CommandExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Debian keeps the scripts that run as the calling user here, by version.
const INSTALLED: &str = "/usr/lib/rabbitmq/lib";
/// A start takes 10 to 25 s on two busy cores.
const START_MAX: Duration = Duration::from_secs(180);
/// `guest:guest` for the management API.
const AUTHORIZATION: &str = "Authorization: Basic Z3Vlc3Q6Z3Vlc3Q=";
/// Waits for the end of its input, which is that of the process that holds the other end, and leaves
/// nothing of what was started here.
const LEASH: &str = "\
    read -r _
    for file in *.group; do [ -f \"$file\" ] && kill -s KILL -- \"-$(cat \"$file\")\"; done
    rm -rf -- \"$PWD\" || { sleep 1; rm -rf -- \"$PWD\"; }";

/// Where some nodes live that know each other, with their cookie and Erlang's name server.
struct Home {
    dir: PathBuf,
    names_port: u16,
    names: Child,
    leash: Child,
}

/// A node. Dropping the last one of a cluster ends them all.
pub struct Node {
    home: Arc<Home>,
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
        let home = Arc::new(Home::new()?);
        let start = |name: &&str| {
            let mut node = Node::new(name, Arc::clone(&home), &sbin, names)?;
            node.start_again()?;
            Ok(node)
        };
        names.iter().map(start).collect()
    }

    /// One that does not run yet; `all` are the names of its cluster.
    fn new(name: &str, home: Arc<Home>, sbin: &Path, all: &[&str]) -> Result<Node> {
        let dir = home.dir.join(name);
        fs::create_dir_all(&dir)?;
        let (amqp, management) = (http::kept_address()?, http::kept_address()?);
        let environment = environment(name, &dir, &home)?;
        fs::write(dir.join("rabbitmq.conf"), configuration(amqp, management, all))?;
        fs::write(dir.join("enabled_plugins"), "[rabbitmq_management].\n")?;
        for program in ["rabbitmqctl", "rabbitmq-diagnostics"] {
            write_wrapper(&dir, sbin, program, &environment)?;
        }
        let program = sbin.join("rabbitmq-server");
        let name = name.to_owned();
        Ok(Node { home, name, amqp, management, program, environment, server: None })
    }

    /// Starts it after [`Node::kill`], with the data and on the ports that it had.
    pub fn start_again(&mut self) -> Result<()> {
        let output = File::options().create(true).append(true).open(self.output())?;
        let server = Command::new(&self.program)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            // A group of its own: Ctrl-C must not reach it before the tests have ended.
            .process_group(0)
            .spawn()?;
        fs::write(self.group_file(), server.id().to_string())?;
        self.server = Some(server);
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            // The id may go to someone else from now on.
            let _ = fs::remove_file(self.group_file());
            kill(&mut server);
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
        self.home.dir.join(&self.name)
    }

    fn group_file(&self) -> PathBuf {
        self.home.dir.join(format!("{}.group", self.name))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Its data is of no use to anyone, so there is no reason to wait for an orderly end.
        self.kill();
    }
}

impl Home {
    fn new() -> Result<Home> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let all = scratch().join("rabbitmq");
        end_leftovers(&all);
        let number = COUNT.fetch_add(1, Ordering::Relaxed).to_string();
        let dir = all.join(std::process::id().to_string()).join(number);
        fs::create_dir_all(&dir)?;
        let leash = Command::new("sh")
            .args(["-c", LEASH])
            .current_dir(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        // Left to itself it would be started as a daemon, and stay.
        let names_port = http::kept_address()?.port();
        let names = Command::new("epmd")
            .env("ERL_EPMD_PORT", names_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("HOME", &dir)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()?;
        fs::write(dir.join("epmd.group"), names.id().to_string())?;
        Ok(Home { dir, names_port, names, leash })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        let _ = self.leash.wait();
        let _ = self.names.wait();
        // Gone unless another one of this process is in it.
        let _ = self.dir.parent().map(fs::remove_dir);
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

fn environment(name: &str, dir: &Path, home: &Home) -> Result<Vec<(&'static str, String)>> {
    let path = |name: &str| dir.join(name).display().to_string();
    Ok(vec![
        ("HOME", home.dir.display().to_string()),
        ("RABBITMQ_NODENAME", format!("{name}@localhost")),
        ("RABBITMQ_DIST_PORT", http::kept_address()?.port().to_string()),
        ("ERL_EPMD_PORT", home.names_port.to_string()),
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

/// Ends the nodes of earlier runs that were killed along with what watched them: their folders bear
/// the runs' process ids.
fn end_leftovers(all: &Path) {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten();
    for run in entries(all) {
        let run_is_alive = Path::new("/proc").join(run.file_name()).exists();
        if run_is_alive {
            continue;
        }
        for home in entries(&run.path()) {
            let groups = entries(&home.path()).map(|entry| entry.path());
            for file in groups.filter(|path| path.extension().is_some_and(|it| it == "group")) {
                end_leftover(&file, &home.path());
            }
        }
        let _ = fs::remove_dir_all(run.path());
    }
}

fn end_leftover(file: &Path, home: &Path) {
    let leader = fs::read_to_string(file).unwrap_or_default();
    let environment = fs::read(format!("/proc/{leader}/environ")).unwrap_or_default();
    // The id may have gone to someone else since.
    if String::from_utf8_lossy(&environment).contains(&*home.to_string_lossy()) {
        say(&format!("ending process {leader} of an earlier run's RabbitMQ"));
        let _ = run_quietly(Command::new("kill").args(["-s", "KILL", "--", &format!("-{leader}")]));
    }
}
