//! The project's own commands, run as `cargo xtask COMMAND`: everything that a fresh machine lacks
//! is installed or built on the way. Each command has a file of its own; start with test.rs.

mod bench;
mod broker;
mod demo;
mod example;
mod faults;
mod guests;
mod lints;
mod rust_target;
mod test;
mod watch;

use std::process::ExitCode;
use xtask::{http, machine, process};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  test [-- ARGS]   every test, the ones on a real RabbitMQ included; ARGS go to `cargo test`
  demo             the example handlers at work, by themselves
                     --keep          leave the host running
                     --broker URL    on this RabbitMQ instead of the embedded broker
  example NAME     a system of examples/ at work on a private RabbitMQ and private databases
  faults [NAME…]   what the host must live through, at full length, and a table of it
                     --quick         few events and short faults, as in `test`
                     --write         keep the table of a whole run in host/tests/FAULTS.md
  bench            events/s beside a hand-written consumer, reload time, size at rest
                     --rounds N      5 unless stated
                     --events N      in each run, 100000 unless stated
                     --only PART     events, reload or rest
  guests           build the examples and the guests for tests
  broker           start a private RabbitMQ node and keep it until Ctrl-C
  services         the same with a PostgreSQL, a MariaDB and a Redis";

/// The exit code for wrong arguments, as in `sysexits.h`.
const USAGE_ERROR: u8 = 64;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = process::catch_signals().and_then(|()| match args.as_slice() {
        ["test", rest @ ..] => test::run(rest.strip_prefix(&["--"]).unwrap_or(rest)),
        ["demo", rest @ ..] => match demo::Options::parse(rest) {
            Some(options) => demo::run(&options),
            None => Ok(usage()),
        },
        ["bench", rest @ ..] => match bench::Options::parse(rest) {
            Some(options) => bench::run(&options),
            None => Ok(usage()),
        },
        ["faults", rest @ ..] => match faults::Options::parse(rest) {
            Some(options) => faults::run(&options),
            None => Ok(usage()),
        },
        ["example", name] => example::run(name),
        ["guests"] => guests::run(),
        ["broker"] => broker::run(),
        ["services"] => broker::services(),
        _ => Ok(usage()),
    });
    done.unwrap_or_else(|error| {
        process::say(&format!("error: {error:#}"));
        if process::interrupted() { ExitCode::from(130) } else { ExitCode::FAILURE }
    })
}

fn usage() -> ExitCode {
    process::say(USAGE);
    ExitCode::from(USAGE_ERROR)
}
