//! `wabbit check`: everything that can be known about plugins before they run.

use super::exit::{Exit, Failure};
use super::output::Output;
use super::settings::{Global, Named, layers, loader};
use crate::broker::{Broker, Mode, Topology, TopologyError, amqp};
use crate::config::Config;
use crate::dispatch::plan;
use crate::plugin::catalogue;
use crate::plugin::watch::{Found, read_one, scan_once};
use crate::plugin::{Loader, Plugin};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The flags of `check`.
#[derive(Debug, clap::Args)]
pub struct Check {
    /// Components, or folders with plugins [default: the plugins folder]
    #[arg(value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Also compare the topology with what this broker has
    #[arg(long, value_name = "URL")]
    broker: Vec<String>,
}

/// What was found out about one plugin.
struct Finding {
    plugin: String,
    /// What is wrong, with what a person can do about it; none: it is good.
    problems: Vec<(String, Option<String>)>,
    exit: Exit,
}

impl Check {
    /// Prints a line for each plugin and its problems.
    ///
    /// # Errors
    /// With [`Exit::Unreachable`] if the broker is asked for and not there.
    pub async fn execute(self, global: &Global, output: &Output) -> Result<Exit, Failure> {
        let mut config = global.load()?;
        global.start_log(&config, "error")?;
        let paths =
            if self.paths.is_empty() { vec![config.plugins.dir.clone()] } else { self.paths };
        let mut findings = Vec::new();
        let mut good = Vec::new();
        let loader = loader(&config)?;
        for (name, found) in read(&paths, config.limits.component)? {
            match load(&loader, &config, &name, found).await {
                Ok(plugin) => good.push(Arc::new(plugin)),
                Err(finding) => findings.push(finding),
            }
        }
        if let Err((plugin, conflict)) = plan::plan(&good) {
            let hint = Some(conflict.hint().to_owned());
            let problems = vec![(conflict.to_string(), hint)];
            good.retain(|good: &Arc<Plugin>| *good.name != *plugin);
            findings.push(Finding { plugin, problems, exit: Exit::Mismatch });
        }
        config.broker.urls.clone_from(&self.broker);
        let broker = match Named::read(&config.broker)? {
            Some(Named::Amqp(amqp)) => Some(connect(amqp).await?),
            Some(Named::Memory) | None => None,
        };
        for plugin in &good {
            let errors = match &broker {
                Some(broker) => compare(&**broker, plugin).await,
                None => Vec::new(),
            };
            let exit = errors.iter().map(exit_for).max_by_key(|exit| *exit as u8);
            let told = |error: &TopologyError| (error.to_string(), error.hint().map(str::to_owned));
            let problems = errors.iter().map(told).collect();
            let exit = exit.unwrap_or(Exit::Ok);
            findings.push(Finding { plugin: plugin.name.to_string(), problems, exit });
        }
        if let Some(broker) = broker {
            broker.close().await;
        }
        report(&findings, output);
        let worst = findings.iter().map(|finding| finding.exit);
        Ok(worst.max_by_key(|exit| *exit as u8).unwrap_or(Exit::Ok))
    }
}

fn read(paths: &[PathBuf], component_bytes_max: u64) -> Result<Vec<(String, Found)>, Failure> {
    let mut plugins = Vec::new();
    for path in paths {
        if path.is_dir() {
            let scanned = scan_once(path, component_bytes_max);
            plugins.extend(scanned.map_err(|error| unreadable(path, &error))?);
        } else {
            plugins.push(read_one(path, component_bytes_max));
        }
    }
    Ok(plugins)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::say(Exit::BadFile, format!("can't read `{}`: {error}", path.display()))
}

async fn load(
    loader: &Loader,
    config: &Config,
    name: &str,
    found: Found,
) -> Result<Plugin, Finding> {
    let loaded = catalogue::load(loader, &layers(config), name, found).await;
    loaded.map_err(|trouble| Finding {
        plugin: name.to_owned(),
        problems: vec![(trouble.to_string(), trouble.hint())],
        exit: Exit::BadFile,
    })
}

async fn connect(config: amqp::Config) -> Result<Arc<dyn Broker>, Failure> {
    amqp::probe(&config).await.map_err(super::publish::unreachable)?;
    Ok(Named::Amqp(config).start())
}

/// Compares piece by piece and creates nothing: what is absent would be created, or is an error if
/// the manifest says so.
async fn compare(broker: &dyn Broker, plugin: &Plugin) -> Vec<TopologyError> {
    let mut problems = Vec::new();
    for subscription in &plugin.manifest.subscriptions {
        let consume = &subscription.consume;
        if consume.mode == Mode::Off || consume.queue.name.is_empty() {
            continue;
        }
        for piece in pieces(&consume.topology) {
            let found = match broker.declare(&piece, Mode::Verify).await {
                // It is there: declaring it creates nothing, and has the broker compare it.
                Ok(()) if consume.mode == Mode::Ensure => {
                    broker.declare(&piece, Mode::Ensure).await
                }
                Err(TopologyError::Missing { .. }) if creates(&piece, consume.mode) => Ok(()),
                found => found,
            };
            if let Err(error) = found {
                problems.push(error);
            }
        }
    }
    problems
}

/// Whether the host creates what is absent: not an exchange of which only the name is stated.
fn creates(piece: &Topology, mode: Mode) -> bool {
    mode == Mode::Ensure && piece.exchanges.iter().all(|exchange| exchange.kind.is_some())
}

fn exit_for(error: &TopologyError) -> Exit {
    match error {
        TopologyError::Forbidden { .. } => Exit::NotPermitted,
        _ => Exit::Mismatch,
    }
}

fn pieces(topology: &Topology) -> Vec<Topology> {
    let exchanges = topology.exchanges.iter().cloned();
    let exchanges = exchanges.map(|it| Topology { exchanges: vec![it], ..Topology::default() });
    let queues = topology.queues.iter().cloned();
    let queues = queues.map(|it| Topology { queues: vec![it], ..Topology::default() });
    exchanges.chain(queues).collect()
}

fn report(findings: &[Finding], output: &Output) {
    let text = || {
        let mut text = String::new();
        for Finding { plugin, problems, .. } in findings {
            if problems.is_empty() {
                text.push_str(&format!("{plugin}: ok\n"));
            }
            for (problem, hint) in problems {
                text.push_str(&format!("{plugin}: {problem}\n"));
                if let Some(hint) = hint {
                    text.push_str(&format!("  hint: {hint}\n"));
                }
            }
        }
        if findings.is_empty() { "no plugins\n".to_owned() } else { text }
    };
    let value = || {
        let problem = |(problem, hint): &(String, Option<String>)| json!({ "problem": problem, "hint": hint });
        let finding = |finding: &Finding| {
            let problems: Vec<_> = finding.problems.iter().map(problem).collect();
            json!({ "plugin": finding.plugin, "ok": problems.is_empty(), "problems": problems })
        };
        findings.iter().map(finding).collect()
    };
    output.data(text, value);
}
