//! What the host's log tells of each event, for rows that have no workload.

use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// What was done with an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    Receive,
    Handle,
    /// It was sent to come again.
    Delay,
    DeadLetter,
}

/// One line about an event.
#[derive(Debug, Clone)]
pub struct Step {
    pub at: SystemTime,
    pub did: Did,
    pub attempt: u64,
}

/// The log, read.
pub struct History {
    /// By message-id, in order.
    pub events: BTreeMap<String, Vec<Step>>,
    pub panicked: bool,
    slowest: BTreeMap<String, f64>,
}

impl History {
    /// Reads the log of a host.
    pub fn of(log: &[Value]) -> Self {
        let panicked = log.iter().any(|line| line.to_string().contains("panicked"));
        let mut history = Self { events: BTreeMap::new(), panicked, slowest: BTreeMap::new() };
        for line in log {
            history.read(line);
        }
        history
    }

    fn read(&mut self, line: &Value) {
        let text = |name: &str| line[name].as_str().unwrap_or_default();
        let did = match text("message") {
            "received" => Did::Receive,
            "handled" => Did::Handle,
            "is a dead letter now" => Did::DeadLetter,
            message if message.starts_with("comes again in") => Did::Delay,
            _ => return,
        };
        if let Some(seconds) = line["seconds"].as_f64() {
            let slowest = self.slowest.entry(text("plugin").to_owned()).or_default();
            *slowest = slowest.max(seconds);
        }
        let at = humantime::parse_rfc3339(text("timestamp")).unwrap();
        let attempt = line["attempt"].as_u64().unwrap();
        let steps = self.events.entry(text("message_id").to_owned()).or_default();
        steps.push(Step { at, did, attempt });
    }

    /// The longest time in the handler of a plugin.
    pub fn slowest(&self, plugin: &str) -> Duration {
        Duration::from_secs_f64(self.slowest.get(plugin).copied().unwrap_or_default())
    }

    /// How long an event was away before each attempt but the first.
    pub fn waits(&self, id: &str) -> Vec<Wait> {
        let steps = self.events.get(id).map_or(&[][..], Vec::as_slice);
        let wait = |three: &[Step]| {
            let [received, delayed, again] = three else { return None };
            let since = |step: &Step| again.at.duration_since(step.at).unwrap_or_default();
            let came = received.did == Did::Receive && again.did == Did::Receive;
            let is = came && delayed.did == Did::Delay && received.attempt + 1 == again.attempt;
            is.then(|| Wait { most: since(received), least: since(delayed) })
        };
        steps.windows(3).filter_map(wait).collect()
    }
}

/// Between two receipts of an event; the delay began in between.
#[derive(Debug, Clone, Copy)]
pub struct Wait {
    /// From the first receipt.
    pub most: Duration,
    /// Since it was known to be on its way.
    pub least: Duration,
}

impl Wait {
    /// Whether it can be `delay` give or take a quarter, where all may be `late`.
    pub fn keeps(self, delay: Duration, late: Duration) -> bool {
        self.most >= delay.mul_f64(0.75) && self.least <= delay.mul_f64(1.25) + late
    }
}
