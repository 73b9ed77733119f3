//! `cargo xtask demo`: the example handlers on a running host, sample events, what became of each,
//! and a handler that is replaced while events flow. The host's side is in watch.rs.

use crate::guests::{Example, examples, install_component};
use crate::process::{self, pause, root, run_quietly, say, scratch, show};
use crate::rust_target::{self, Target};
use crate::watch::{Host, Line};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// For all events to be settled: a retry waits a second.
const SETTLE_MAX: Duration = Duration::from_secs(60);
/// The handler that is replaced.
const REPLACED: &str = "orders-rust";
/// The handler that logs what the others publish.
const TAP: &str = "tap-rust";
/// How many events run the old code before the file changes.
const BEFORE: usize = 10;
/// How many run the new code.
const AFTER: usize = 5;

/// What was asked for.
pub struct Options {
    keep: bool,
    broker: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { keep: false, broker: "memory:".to_owned() }
    }
}

impl Options {
    /// `None` when the arguments make no sense.
    pub fn parse(mut arguments: &[&str]) -> Option<Options> {
        let mut options = Options::default();
        loop {
            arguments = match arguments {
                [] => return Some(options),
                ["--keep", rest @ ..] => {
                    options.keep = true;
                    rest
                }
                ["--broker", url, rest @ ..] => {
                    options.broker = (*url).to_owned();
                    rest
                }
                _ => return None,
            }
        }
    }
}

/// Runs it from beginning to end.
pub fn run(options: &Options) -> Result<ExitCode> {
    let target = rust_target::choose()?;
    let handlers = build(target)?;
    let second = second_version(target)?;
    say("building the host");
    build_host()?;

    let mut host = Host::start(&options.broker)?;
    show(&format!("\nwabbit run --broker {} --plugins plugins", options.broker));
    host.wait_ready()?;
    let mut events = Events::default();
    sample(&host, &handlers, &mut events)?;
    replace(&host, &second, &mut events)?;

    if options.keep {
        show(&format!("\nthe host goes on: http://{} (Ctrl-C ends it)", host.admin));
        host.keep()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the examples into `plugins/`. A language whose tools can't be had is left out, and the
/// way to get them is said; Rust can't be left out.
fn build(target: Target) -> Result<Vec<Example>> {
    let mut built = Vec::new();
    for example in examples()? {
        match example.build(target) {
            Ok(()) => {}
            Err(error) if example.name.ends_with("rust") || process::interrupted() => {
                return Err(error);
            }
            Err(error) => {
                say(&format!("left out: {error:#}"));
                continue;
            }
        }
        install_component(&example.component(), &plugin(&example.name))?;
        fs::copy(example.manifest(), plugin(&example.name).with_extension("toml"))?;
        built.push(example);
    }
    Ok(built)
}

fn plugin(name: &str) -> PathBuf {
    root().join("plugins").join(format!("{name}.wasm"))
}

fn build_host() -> Result<()> {
    let arguments = ["build", "--quiet", "--package", "wabbit"];
    process::run(Command::new("cargo").args(arguments).current_dir(root()))
}

/// The replaced handler with a change in its source, as a person would make it.
fn second_version(target: Target) -> Result<PathBuf> {
    let original = root().join("examples").join(REPLACED);
    let copy = scratch().join("second-version");
    fs::create_dir_all(copy.join("src"))?;
    for file in ["Cargo.toml", "Cargo.lock"] {
        fs::copy(original.join(file), copy.join(file))?;
    }
    let wit = format!("\"{}\"", root().join("wit").display());
    let source = fs::read_to_string(original.join("src/lib.rs"))?;
    let changed = source
        .replace("\"../../wit\"", &wit)
        .replace("Field::Text(\"rust\".into())", "Field::Text(\"rust, new code\".into())");
    fs::write(copy.join("src/lib.rs"), changed)?;
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--release", "--target", "wasm32-wasip2"]).current_dir(&copy);
    run_quietly(target.prepare(&mut cargo)?)?;
    Ok(copy.join("target/wasm32-wasip2/release/orders_rust.wasm"))
}

/// A good, a pending, an empty and a broken order for each handler.
fn sample(host: &Host, handlers: &[Example], events: &mut Events) -> Result<()> {
    show("\nevent                attempt  handler            outcome  published  then");
    for handler in handlers {
        let Some(language) = handler.name.strip_prefix("orders-") else { continue };
        let lines =
            r#"[{"sku":"mug","quantity":2,"price":9.5},{"sku":"tea","quantity":1,"price":3.25}]"#;
        let cases = [
            ("good", "ok", format!(r#"{{"id":"{language}-1","currency":"EUR","lines":{lines}}}"#)),
            (
                "pending",
                "ok",
                format!(
                    r#"{{"id":"{language}-2","status":"pending","currency":"EUR","lines":{lines}}}"#
                ),
            ),
            ("empty", "reject", format!(r#"{{"id":"{language}-3","currency":"EUR","lines":[]}}"#)),
            ("broken", "reject", format!(r#"{{"id":"{language}-4","#)),
        ];
        for (kind, outcome, body) in cases {
            let id = format!("{language}-{kind}");
            events.expect(&id, outcome);
            host.publish(&format!("order.created.{language}"), &id, &body)?;
        }
    }
    events.settle(host, true)
}

/// Swaps the component under a stream of events, until events have run the new code.
fn replace(host: &Host, second: &Path, events: &mut Events) -> Result<()> {
    show(&format!("\nreplacing plugins/{REPLACED}.wasm while events flow"));
    let first = events.digest.clone();
    let start = Instant::now();
    let (mut sent, mut on_new_code) = (0, 0);
    while on_new_code < AFTER {
        if start.elapsed() > SETTLE_MAX {
            bail!("no event has run the new code");
        }
        sent += 1;
        let id = format!("swap-{sent}");
        let body =
            format!(r#"{{"id":"{id}","currency":"EUR","lines":[{{"quantity":1,"price":1}}]}}"#);
        events.expect(&id, "ok");
        host.publish("order.created.rust", &id, &body)?;
        if sent == BEFORE {
            install_component(second, &plugin(REPLACED))?;
        }
        pause()?;
        events.read(host, false);
        on_new_code += usize::from(events.digest != first);
    }
    events.settle(host, false)?;
    let (old, new): (Vec<_>, Vec<_>) = events.ran.iter().partition(|(_, digest)| *digest == first);
    let last = old.last().context("no event ran the old code")?;
    let next = new.first().context("no event ran the new code")?;
    show(&format!("  {:<12} ran {}  {}", last.0, last.1, events.totals_of(&last.0)));
    show(&format!("  {:<12} ran {}  {}", next.0, next.1, events.totals_of(&next.0)));
    show(&format!(
        "  {sent} events, each handled once: {} by the old code, {} by the new",
        old.len(),
        new.len()
    ));
    install_component(
        &root().join("target/guests").join(format!("{REPLACED}.wasm")),
        &plugin(REPLACED),
    )
}

/// What is known about the events that were published.
#[derive(Default)]
struct Events {
    /// The outcome that each is to have, by message-id; settled ones are taken out.
    open: BTreeMap<String, &'static str>,
    wrong: Vec<String>,
    /// The version that last ran of the handler that is replaced.
    digest: String,
    /// Which version each `swap-N` ran, in order.
    ran: Vec<(String, String)>,
    /// Lines of the tap: the publications.
    published: Vec<String>,
}

impl Events {
    fn expect(&mut self, id: &str, outcome: &'static str) {
        self.open.insert(id.to_owned(), outcome);
    }

    /// Reads on until every event has had its outcome; any other outcome is an error.
    fn settle(&mut self, host: &Host, aloud: bool) -> Result<()> {
        let start = Instant::now();
        let totals = |events: &Events| events.published.len();
        while !self.open.is_empty() {
            self.read(host, aloud);
            if start.elapsed() > SETTLE_MAX {
                let open: Vec<&str> = self.open.keys().map(String::as_str).collect();
                bail!("not settled: {}; see target/xtask/demo-host.log", open.join(", "));
            }
            pause()?;
        }
        // The publications' own deliveries come a moment later.
        let mut seen = usize::MAX;
        while seen != totals(self) {
            seen = totals(self);
            for _ in 0..10 {
                pause()?;
            }
            self.read(host, aloud);
        }
        if !self.wrong.is_empty() {
            bail!("unexpected outcomes: {}", self.wrong.join(", "));
        }
        Ok(())
    }

    fn read(&mut self, host: &Host, aloud: bool) {
        for line in host.lines() {
            if line.text("plugin") == TAP {
                if line.is_guests() {
                    self.published.push(line.text("message").to_owned());
                    if aloud {
                        show(&format!("  published {}", line.text("message")));
                    }
                }
            } else if !line.text("message_id").is_empty() && !line.text("class").is_empty() {
                self.settled(&line, aloud);
            }
        }
    }

    /// A line that says what became of an event.
    fn settled(&mut self, line: &Line, aloud: bool) {
        let (id, outcome) = (line.text("message_id"), line.text("class"));
        if line.text("plugin") == REPLACED {
            self.digest = line.text("digest").to_owned();
            if id.starts_with("swap-") {
                self.ran.push((id.to_owned(), self.digest.clone()));
            }
        }
        if aloud {
            let cause = match line.text("reason") {
                "" => String::new(),
                reason => format!(": {reason}"),
            };
            show(&format!(
                "{id:<20} {:<8} {:<18} {outcome:<8} {:<10} {}{cause}",
                line.number("attempt"),
                line.text("plugin"),
                line.number("publications"),
                line.text("message"),
            ));
        }
        // A retry is not the end of it.
        if outcome != "retry" && self.open.remove(id).is_some_and(|expected| expected != outcome) {
            self.wrong.push(format!("{id}: {outcome}"));
        }
    }

    fn totals_of(&self, id: &str) -> &str {
        let of = format!("\"id\":\"{id}\"");
        self.published.iter().find(|line| line.contains(&of)).map_or("", String::as_str)
    }
}
