//! `cargo xtask faults`: what the host must live through, at full length, and the table of it. The
//! rows are tests, host/tests/all/faults; each leaves its result as a file, and this prints them.
//! Before them the core that settles runs under a million generated schedules.

use crate::guests;
use crate::process::{output, root, run as run_command, say, scratch, show, status};
use crate::rust_target;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use xtask::node::Node;
use xtask::services::Services;

/// The modules of the rows; and of the proof that an event is a transaction, which is in no table.
const ROWS: [&str; 2] = ["faults::", "transaction::proof::"];
/// Instead of as many as every test run has.
const SCHEDULES: &str = "1000000";
/// Where the table of a whole run is kept.
const TABLE: &str = "host/tests/FAULTS.md";
/// Stands among the results of a whole run.
const WHOLE: &str = "whole";

/// What was asked for.
#[derive(Default)]
pub struct Options {
    names: Vec<String>,
    quick: bool,
    write: bool,
}

impl Options {
    /// `None` when the arguments make no sense.
    pub fn parse(arguments: &[&str]) -> Option<Options> {
        let mut options = Options::default();
        for argument in arguments {
            match *argument {
                "--quick" => options.quick = true,
                "--write" => options.write = true,
                option if option.starts_with('-') => return None,
                name => options.names.push(name.to_owned()),
            }
        }
        // The table is that of rows at full length.
        (!options.write || !options.quick).then_some(options)
    }

    fn asks_for(&self, test: &str) -> bool {
        let of_them = ROWS.iter().find_map(|rows| test.strip_prefix(rows));
        let named = |rest: &str| {
            self.names.is_empty() || self.names.iter().any(|name| rest.contains(name.as_str()))
        };
        of_them.is_some_and(named)
    }
}

/// Runs the rows; one that fails is a failure.
pub fn run(options: &Options) -> Result<ExitCode> {
    let (mut node, mut services) = (Node::start()?, Services::start()?);
    guests::fixtures(rust_target::choose()?)?;
    say("building the host and the tests");
    let build = ["test", "--quiet", "--package", "wabbit", "--test", "all", "--no-run"];
    run_command(Command::new("cargo").args(build).current_dir(root()))?;
    let rows = rows(options)?;
    let whole = options.names.is_empty() && !options.quick;
    let results = scratch().join(if options.quick { "faults-quick" } else { "faults" });
    let begun = results.join(WHOLE);
    // Rows that are run by name take the place of what they left before.
    if options.names.is_empty() {
        let _ = fs::remove_dir_all(&results);
    } else if options.write && !begun.exists() {
        bail!("there is no table to write these rows into\nhint: `cargo xtask faults` runs all");
    }
    fs::create_dir_all(&results)?;
    if whole {
        fs::write(begun, "")?;
    }
    node.wait_ready()?;
    services.wait_ready()?;
    let scheduled = !whole || schedules()?;
    let mut tests = cargo_test();
    tests.args(["--include-ignored", "--exact", "--test-threads=1"]).args(&rows);
    tests.env("WABBIT_TEST_AMQP", node.amqp_url());
    tests.env("WABBIT_TEST_MANAGEMENT", node.management_url());
    tests.env("WABBIT_TEST_RABBITMQCTL", node.rabbitmqctl());
    tests.envs(services.environment());
    tests.env("WABBIT_TEST_GUESTS", guests::folder());
    tests.env("WABBIT_TEST_FAULTS_REPORT", &results);
    if !options.quick {
        tests.env("WABBIT_TEST_FAULTS", "full");
    }
    let passed = status(&mut tests)?.success();
    let version = output(Command::new(node.rabbitmqctl()).args(["--quiet", "version"]));
    drop((node, services));
    let table = table(&results)?;
    show(&table);
    say(&format!("logs and results are in {}", results.display()));
    if options.write {
        let version = version.context("the broker does not say its version")?;
        fs::write(root().join(TABLE), page(&table, version.trim())?)?;
    }
    Ok(if passed && scheduled { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the core that settles under generated schedules; false if one breaks a promise.
fn schedules() -> Result<bool> {
    say(&format!("{SCHEDULES} generated schedules"));
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet", "--package", "wabbit", "--lib", "schedules"]);
    cargo.current_dir(root()).env("WABBIT_TEST_SCHEDULES", SCHEDULES);
    Ok(status(&mut cargo)?.success())
}

fn cargo_test() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--quiet", "--package", "wabbit", "--test", "all", "--"]);
    cargo.current_dir(root());
    cargo
}

/// The names of the tests that were asked for.
fn rows(options: &Options) -> Result<Vec<String>> {
    let mut cargo = cargo_test();
    cargo.args(["--list", "--include-ignored", "--format", "terse"]);
    let listed = output(&mut cargo).context("the tests can't be listed")?;
    let tests = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let rows: Vec<_> = tests.filter(|test| options.asks_for(test)).map(str::to_owned).collect();
    if rows.is_empty() {
        bail!(
            "no row of that name\nhint: the names are those of the tests in host/tests/all/faults"
        );
    }
    Ok(rows)
}

/// What the rows have left, in the order in which they ran.
fn table(results: &Path) -> Result<String> {
    let files = fs::read_dir(results).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        files.filter(|path| path.extension().is_some_and(|it| it == "json")).collect();
    files.sort_by_key(|path| fs::metadata(path).and_then(|it| it.modified()).ok());
    let mut lines = vec![
        "| fault | attempt | acknowledged | ok | recovered | duplicated | lost | unexpected | gap | back \
         | rate | result |"
            .to_owned(),
        "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: | --- |".to_owned(),
    ];
    for file in files {
        let row: Value = serde_json::from_slice(&fs::read(&file)?)?;
        lines.push(line(&row));
    }
    Ok(lines.join("\n"))
}

fn line(row: &Value) -> String {
    let measured = &row["measured"];
    let counts = ["attempt", "acknowledged", "ok", "recovered", "duplicated", "lost", "unexpected"];
    let count = |name: &&str| measured[*name].as_u64().map(|count| count.to_string());
    let time = |name: &str| measured[name].as_f64().map(|seconds| format!("{seconds:.2} s"));
    let rate = measured["ratio"].as_f64().map(|ratio| format!("{:.0} %", ratio * 100.0));
    let texts = |name: &str| {
        let texts = row[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect::<Vec<_>>()
    };
    let problems = texts("problems");
    let result = match problems.is_empty() {
        true => [vec!["ok".to_owned()], texts("notes")].concat().join("; "),
        false => format!("**FAILED**: {}", problems.join("; ")),
    };
    let measured = counts.iter().map(count).chain([time("gap"), time("back"), rate]);
    let name = row["row"].as_str().unwrap_or_default().to_owned();
    let cells = [name].into_iter().chain(measured.map(Option::unwrap_or_default)).chain([result]);
    format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
}

/// The table as a page of the repository.
fn page(table: &str, version: &str) -> Result<String> {
    let rustc = output(Command::new("rustc").arg("--version")).context("no rustc")?;
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "# What the host lives through\n\n\
         Written by `cargo xtask faults --write`, on {cores} cores, RabbitMQ {version}, {rustc}. Each row \
         is a test in `host/tests/all/faults`: a host under load, to which something is done after a \
         third of the events.\n\n\
         Numbers are events. Attempt: published at least once; acknowledged: confirmed to the \
         publisher; ok: of those, handled; recovered: published again as no confirm came, and handled; \
         duplicated: effects beyond the first one, all of them of events that were redelivered or \
         published again, or whose effect was, because its confirm was lost; lost and unexpected: what their names say. Gap: the longest time without an \
         effect, the fault included; back: from the end of the fault to the next effect; rate: events \
         per second after the fault, by those before.\n\n{table}\n"
    ))
}
