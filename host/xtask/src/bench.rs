//! `cargo xtask bench`: the host beside a consumer that people would write by hand, how soon a
//! changed handler serves, and what a host at rest takes. The measuring tools are in host/bench;
//! each measurement has a file of its own: events.rs, reload.rs, rest.rs.

mod events;
mod reload;
mod rest;

use crate::process::{end, root, run as run_command, say, scratch};
use crate::{guests, rust_target};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use xtask::node::Node;

/// What was asked for.
pub struct Options {
    rounds: usize,
    events: u64,
    only: Option<String>,
}

/// What is measured: the names that `--only` takes.
const PARTS: [&str; 3] = ["events", "reload", "rest"];

impl Options {
    /// `None` when the arguments make no sense.
    pub fn parse(mut arguments: &[&str]) -> Option<Options> {
        let mut options = Options { rounds: 5, events: 100_000, only: None };
        loop {
            arguments = match arguments {
                [] => return Some(options),
                ["--rounds", number, rest @ ..] => {
                    options.rounds = number.parse().ok().filter(|rounds| *rounds > 0)?;
                    rest
                }
                ["--events", number, rest @ ..] => {
                    options.events = number.parse().ok().filter(|events| *events >= 1000)?;
                    rest
                }
                ["--only", part, rest @ ..] if PARTS.contains(part) => {
                    options.only = Some((*part).to_owned());
                    rest
                }
                _ => return None,
            }
        }
    }

    fn asks_for(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

/// Runs it; a consumer that loses events or leaves some behind is a failure.
pub fn run(options: &Options) -> Result<ExitCode> {
    let mut node = Node::start()?;
    guests::fixtures(rust_target::choose()?)?;
    say("building the host and the measuring tools");
    let build = ["build", "--quiet", "--release", "--package", "wabbit", "--package", "bench"];
    run_command(Command::new("cargo").args(build).current_dir(root()))?;
    node.wait_ready()?;
    let bench = Bench::new(&node)?;
    let mut sound = true;
    if options.asks_for("events") {
        sound = events::run(&bench, options)?;
    }
    if options.asks_for("reload") {
        reload::run(&bench)?;
    }
    if options.asks_for("rest") {
        rest::run(&bench)?;
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where it all happens.
struct Bench {
    broker: String,
    broker_pid: String,
    dir: PathBuf,
}

impl Bench {
    fn new(node: &Node) -> Result<Self> {
        let dir = scratch().join("bench");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(Self { broker: node.amqp_url(), broker_pid: node.pid()?, dir })
    }

    /// What a measuring tool says.
    fn tool(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(tool());
        command.args(["--broker", &self.broker]).args(arguments);
        // For the host that a tool starts.
        command.env("WABBIT_CACHE_DIR", self.dir.join("cache-events"));
        command.stdin(Stdio::null()).stderr(self.log("tools")?);
        // Ctrl-C reaches it too, and what it started.
        let output = command.output()?;
        if !output.status.success() {
            let log = fs::read_to_string(self.dir.join("tools.log")).unwrap_or_default();
            let last = log.trim_end().lines().last().unwrap_or_default();
            bail!("`{}` failed: {last}", arguments.first().unwrap_or(&"bench"));
        }
        serde_json::from_slice(&output.stdout).context("the tool does not speak JSON")
    }

    /// An empty plugins folder.
    fn plugins(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// The arguments of the host as people run it.
    fn host_arguments(&self, plugins: &Path, admin: &str) -> Vec<String> {
        let plugins = plugins.display().to_string();
        ["run", "--broker", &self.broker, "--plugins", &plugins, "--admin", admin]
            .map(str::to_owned)
            .to_vec()
    }

    /// A running host whose compiled code is kept in the folder `cache`.
    fn host(&self, plugins: &Path, admin: &str, cache: &str) -> Result<Host> {
        let child = Command::new(host())
            .args(self.host_arguments(plugins, admin))
            .env("WABBIT_CACHE_DIR", self.dir.join(cache))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log("host")?)
            .spawn()?;
        Ok(Host(child))
    }

    fn log(&self, name: &str) -> Result<File> {
        let path = self.dir.join(format!("{name}.log"));
        Ok(File::options().create(true).append(true).open(path)?)
    }
}

/// A host of ours. Dropping it ends it.
struct Host(Child);

impl Drop for Host {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

fn host() -> PathBuf {
    root().join("target/release/wabbit")
}

fn tool() -> PathBuf {
    root().join("target/release/bench")
}

/// The bytes of the guest `name`, of a version that was never seen before if `version` was not:
/// the same code with one more custom section.
fn stamped(name: &str, version: &str) -> Result<Vec<u8>> {
    const SECTION: &str = "bench";
    let file = guests::folder().join(format!("{name}.wasm"));
    let mut bytes = fs::read(&file).with_context(|| file.display().to_string())?;
    let content = [&[u8::try_from(SECTION.len())?], SECTION.as_bytes(), version.as_bytes()];
    let content = content.concat();
    // Lengths below 128 are one byte.
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 128);
    bytes.extend([0, length.context("the version is too long")?]);
    bytes.extend(content);
    Ok(bytes)
}

/// The one in the middle; of an even number the mean of both. NaN if there is none.
fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(numbers[middle - 1], numbers[middle]),
        _ => numbers[middle],
    }
}
