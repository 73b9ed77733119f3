//! Events per second: consumers empty the same queue in turn, round after round, so that whatever
//! else the machine does hits them all. Next: reload.rs.

use super::{Bench, Options, host, median, tool};
use crate::guests;
use crate::process::{pause, say, show};
use anyhow::Result;
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

/// The queue, and the plugin that consumes it.
const QUEUE: &str = "bench";
/// The body of each event.
const BYTES: &str = "100";
/// For the broker to come to rest after it was filled.
const CALM: Duration = Duration::from_secs(2);

/// In the order of the table; ratios are to the first.
const CONTENDERS: [Contender; 3] = [Contender::LapinEach, Contender::LapinBatch, Contender::Wabbit];

#[derive(Clone, Copy, PartialEq)]
enum Contender {
    LapinEach,
    LapinBatch,
    Wabbit,
}

/// What is done with each event, and how many are prefetched.
struct Scenario {
    work: &'static str,
    prefetch: &'static str,
}

/// Whether none has lost an event or left one behind.
pub fn run(bench: &Bench, options: &Options) -> Result<bool> {
    show("\nEvents of 100 B from a classic queue, medians of the rounds\n");
    show(
        "| work | prefetch | consumer | events/s | x lapin | client CPU us/event | broker CPU us/event | resident MiB | notes |\n\
         |---|---:|---|---:|---:|---:|---:|---:|---|",
    );
    let mut sound = true;
    for (work, prefetch) in [("noop", "100"), ("json", "100"), ("noop", "1000"), ("json", "1000")] {
        let scenario = Scenario { work, prefetch };
        let mut results = CONTENDERS.map(|contender| (contender, Vec::new()));
        for round in 1..=options.rounds {
            say(&format!("{work}, prefetch {prefetch}: round {round} of {}", options.rounds));
            for (contender, results) in &mut results {
                results.push(measure(bench, options, &scenario, *contender)?);
            }
        }
        let base = rate(&results[0].1);
        for (contender, results) in &results {
            let failed = failures(results);
            sound &= failed.is_empty();
            show(&row(&scenario, *contender, results, base, &failed));
        }
    }
    Ok(sound)
}

fn measure(
    bench: &Bench,
    options: &Options,
    scenario: &Scenario,
    contender: Contender,
) -> Result<Value> {
    let count = options.events.to_string();
    bench.tool(&["fill", "--queue", QUEUE, "--count", &count, "--bytes", BYTES])?;
    let filled = Instant::now();
    while filled.elapsed() < CALM {
        pause()?;
    }
    let command = contender.command(bench, scenario)?;
    let pid = bench.broker_pid.as_str();
    let mut watch = vec!["watch", "--queue", QUEUE, "--count", &count, "--broker-pid", pid, "--"];
    watch.extend(command.iter().map(String::as_str));
    bench.tool(&watch)
}

impl Contender {
    fn name(self) -> &'static str {
        match self {
            Self::LapinEach => "lapin, each ack awaited",
            Self::LapinBatch => "lapin, acks in batches",
            Self::Wabbit => "wabbit",
        }
    }

    fn command(self, bench: &Bench, scenario: &Scenario) -> Result<Vec<String>> {
        let Scenario { work, prefetch } = scenario;
        let ack = match self {
            Self::LapinEach => "each",
            Self::LapinBatch => "batch",
            Self::Wabbit => {
                let plugins = bench.plugins("events")?;
                let component = guests::folder().join(format!("{work}.wasm"));
                fs::copy(component, plugins.join(format!("{QUEUE}.wasm")))?;
                let manifest = format!("[[subscription]]\nprefetch = {prefetch}\n");
                fs::write(plugins.join(format!("{QUEUE}.toml")), manifest)?;
                let mut command = vec![host().display().to_string()];
                command.extend(bench.host_arguments(&plugins, "off"));
                return Ok(command);
            }
        };
        let tool = tool().display().to_string();
        let consume =
            ["consume", "--queue", QUEUE, "--prefetch", prefetch, "--work", work, "--ack", ack];
        let broker = ["--broker", &bench.broker];
        let words = broker.into_iter().chain(consume).map(str::to_owned);
        Ok(std::iter::once(tool).chain(words).collect())
    }
}

fn rate(results: &[Value]) -> f64 {
    middle(results, "rate")
}

fn middle(results: &[Value], key: &str) -> f64 {
    median(results.iter().filter_map(|result| result[key].as_f64()).collect())
}

/// What went wrong in any round.
fn failures(results: &[Value]) -> Vec<String> {
    let mut failures = Vec::new();
    for (key, words) in [("left", "left behind"), ("dead", "dead letters")] {
        let most = results.iter().filter_map(|result| result[key].as_u64()).max().unwrap_or(0);
        if most > 0 {
            failures.push(format!("{most} {words}"));
        }
    }
    if results.iter().any(|result| result["emptied"] != true) {
        failures.push("the queue was not emptied".to_owned());
    }
    failures
}

fn row(
    scenario: &Scenario,
    contender: Contender,
    results: &[Value],
    base: f64,
    failed: &[String],
) -> String {
    let (work, prefetch) = (scenario.work, scenario.prefetch);
    let (name, rate) = (contender.name(), rate(results));
    let notes = match failed {
        [] => {
            let rates = || results.iter().filter_map(|result| result["rate"].as_f64());
            let least = rates().fold(f64::INFINITY, f64::min);
            let most = rates().fold(0.0, f64::max);
            let others = middle(results, "others");
            format!("{least:.0} to {most:.0} events/s; {others:.1} cores busy with others")
        }
        failed => format!("FAILED: {}", failed.join(", ")),
    };
    let column = |key| middle(results, key);
    format!(
        "| {work} | {prefetch} | {name} | {rate:.0} | {:.2} | {:.1} | {:.1} | {:.0} | {notes} |",
        rate / base,
        column("client_us"),
        column("broker_us"),
        column("resident_mib"),
    )
}
