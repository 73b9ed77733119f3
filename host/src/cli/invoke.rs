//! `wabbit invoke`: one event through one handler, without a broker. What it does in stores is undone.

use super::exit::{Exit, Failure};
use super::output::Output;
use super::settings::{Global, layers, loader};
use crate::capability::LogLine;
use crate::flow::{Event, Outcome, Publication};
use crate::plugin::watch::read_one;
use crate::plugin::{Called, catalogue};
use crate::telemetry::text::printable;
use anyhow::Context;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much of a body or a reason is shown to a person; `-o json` has all of it.
const SHOWN_BYTES_MAX: usize = 64 << 10;

/// The flags of `invoke`.
#[derive(Debug, clap::Args)]
pub struct Invoke {
    /// The component; its manifest is read from the .toml beside it
    file: PathBuf,
    /// The event, as JSON: exchange, routing-key, queue, properties, body … (`-`: standard input)
    #[arg(long, value_name = "FILE")]
    event: PathBuf,
}

impl Invoke {
    /// Prints the outcome, the publications and the log.
    ///
    /// # Errors
    /// With [`Exit::BadFile`] for a plugin or an event that can't be used.
    pub async fn execute(self, global: &Global, output: &Output) -> Result<Exit, Failure> {
        let config = global.load()?;
        global.start_log(&config, "warn,guest=off")?;
        let event = read_event(&self.event)?;
        let (name, found) = read_one(&self.file, config.limits.component);
        let loaded = catalogue::load(&loader(&config)?, &layers(&config), &name, found).await;
        let plugin = loaded.map_err(|trouble| {
            let hint = trouble.hint();
            Failure::new(Exit::BadFile, trouble).hint(hint)
        })?;
        let Called { outcome, log, transaction } = plugin.call(&event).await;
        let undone = transaction.used();
        transaction.rollback().await;
        output.data(|| text(&outcome, &log, &undone), || value(&outcome, &log, &undone));
        Ok(if matches!(outcome, Outcome::Ok(_)) { Exit::Ok } else { Exit::Failed })
    }
}

fn read_event(path: &Path) -> Result<Event, Failure> {
    let read = || -> anyhow::Result<Event> {
        let text = if path == Path::new("-") {
            std::io::read_to_string(std::io::stdin())?
        } else {
            std::fs::read_to_string(path)?
        };
        Ok(Event::from_json(serde_json::from_str(&text)?)?)
    };
    let path = path.display();
    read()
        .with_context(|| format!("the event `{path}`"))
        .map_err(|error| Failure::new(Exit::BadFile, error))
}

fn publications(outcome: &Outcome) -> &[Publication] {
    match outcome {
        Outcome::Ok(publications) => publications,
        _ => &[],
    }
}

fn after(outcome: &Outcome) -> Option<Duration> {
    match outcome {
        Outcome::Retry { after, .. } | Outcome::Unavailable { after, .. } => *after,
        _ => None,
    }
}

fn text(outcome: &Outcome, log: &[LogLine], undone: &[String]) -> String {
    let mut text = outcome.class().to_owned();
    if let Some(delay) = after(outcome) {
        let _ = write!(text, " after {}", humantime::format_duration(delay));
    }
    if !outcome.reason().is_empty() {
        let _ = write!(text, ": {}", printable(outcome.reason(), SHOWN_BYTES_MAX));
    }
    for Publication { exchange, routing_key, properties, body } in publications(outcome) {
        let body = String::from_utf8_lossy(body);
        let body = printable(&body, SHOWN_BYTES_MAX);
        let _ =
            write!(text, "\npublish `{exchange}:{routing_key}` {}\n  {body}", properties.to_json());
    }
    for LogLine { level, context, message } in log {
        let _ = write!(text, "\nlog {level} {context}: {message}");
    }
    for store in undone {
        let _ = write!(text, "\nrolled back: {store}");
    }
    text
}

fn value(outcome: &Outcome, log: &[LogLine], undone: &[String]) -> Value {
    let line = |line: &LogLine| {
        let level = line.level.as_str().to_lowercase();
        json!({ "level": level, "context": line.context, "message": line.message })
    };
    json!({
        "outcome": outcome.class(),
        "reason": outcome.reason(),
        "after-ms": after(outcome).and_then(|delay| u64::try_from(delay.as_millis()).ok()),
        "publications": publications(outcome).iter().map(Publication::to_json).collect::<Vec<_>>(),
        "log": log.iter().map(line).collect::<Vec<_>>(),
        "rolled-back": undone,
    })
}
