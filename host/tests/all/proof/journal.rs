//! What the host's own log tells of each event: how often it came, who settled it and when.
//! Next: account.rs, which compares this with what came out.

use super::{LANGUAGES, Number};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

/// Events go on with the version that they began with, and lines are written as they come.
const SLACK: Duration = Duration::from_secs(1);

/// A version of a plugin, and when it was the active one.
struct Active {
    digest: String,
    from: SystemTime,
    to: Option<SystemTime>,
}

/// One event.
#[derive(Default)]
pub struct Entry {
    /// How often it was delivered, by attempt.
    pub received: BTreeMap<u64, usize>,
    /// How often it was told to come again.
    pub retried: usize,
    /// The versions that settled it.
    pub digests: BTreeSet<String>,
    first: Option<SystemTime>,
}

/// The log, read.
#[derive(Default)]
pub struct Journal {
    versions: BTreeMap<String, Vec<Active>>,
    pub entries: BTreeMap<Number, Entry>,
    /// Events by plugin and version.
    pub handled: BTreeMap<(String, String), usize>,
    /// How often each connection was lost.
    pub lost: BTreeMap<String, usize>,
}

impl Journal {
    /// Reads it; a version that settled an event without having been active is an error.
    pub fn read(lines: &[Value]) -> Self {
        let mut journal = Self::default();
        for line in lines {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            let Ok(at) = humantime::parse_rfc3339(&text("timestamp")) else {
                panic!("not a line of the log: {line}");
            };
            let message = text("message");
            match message.as_str() {
                "plugin loaded" | "plugin reloaded" => {
                    let versions = journal.versions.entry(text("plugin")).or_default();
                    if let Some(last) = versions.last_mut() {
                        last.to = Some(at);
                    }
                    versions.push(Active { digest: text("digest"), from: at, to: None });
                }
                "lost the connection to the broker" => {
                    *journal.lost.entry(text("role")).or_default() += 1;
                }
                "received" => {
                    let entry = journal.entry(line);
                    entry.first.get_or_insert(at);
                    *entry.received.entry(line["attempt"].as_u64().unwrap()).or_default() += 1;
                }
                "handled" | "is a dead letter now" => journal.settled(line, at),
                _ if message.starts_with("comes again in") => {
                    journal.settled(line, at);
                    journal.entry(line).retried += 1;
                }
                _ => {}
            }
        }
        journal
    }

    fn entry(&mut self, line: &Value) -> &mut Entry {
        let id = line["message_id"].as_str().and_then(|id| id.strip_prefix("m-"));
        let number = id.and_then(|number| number.parse().ok());
        self.entries.entry(number.unwrap_or_else(|| panic!("no event: {line}"))).or_default()
    }

    fn settled(&mut self, line: &Value, at: SystemTime) {
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let (plugin, digest) = (text("plugin"), text("digest"));
        let entry = self.entry(line);
        entry.digests.insert(digest.clone());
        let first = entry.first.expect("it was received before it was settled");
        let was = |active: &Active| {
            let ended = active.to.is_some_and(|to| to + SLACK < first);
            active.digest.starts_with(&digest) && active.from <= at && !ended
        };
        let versions = &self.versions[&plugin];
        assert!(!digest.is_empty() && versions.iter().any(was), "no active version: {line}");
        *self.handled.entry((plugin, digest)).or_default() += 1;
    }

    /// How often versions of the four handlers became active, the first ones included.
    pub fn activations(&self) -> usize {
        self.versions.values().map(Vec::len).sum()
    }

    /// Whether this version, by its whole digest, was ever active.
    pub fn was_active(&self, plugin: &str, digest: &str) -> bool {
        self.versions[plugin].iter().any(|active| active.digest == digest)
    }

    /// How often an event came at its last attempt: its effects may be there as often.
    pub fn last_received(&self, number: Number) -> usize {
        let entry = self.entries.get(&number);
        entry.and_then(|entry| entry.received.last_key_value()).map_or(0, |(_, times)| *times)
    }

    /// How often the events of a language came beyond the first time and their retries.
    pub fn redelivered(&self, language: usize) -> usize {
        let own = self.entries.iter().filter(|(number, _)| *number % LANGUAGES.len() == language);
        own.flat_map(|(_, entry)| entry.received.values()).map(|times| times - 1).sum()
    }
}
