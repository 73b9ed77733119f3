//! The same findings while a host runs: each version of a plugin is judged once, beside the events.
//! Next: [`super::super::host`].

use super::facts::{Extent, Facts};
use super::{Finding, Subject, findings};
use crate::broker::{Access, Broker};
use crate::plugin::Plugin;
use crate::telemetry::report;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long to wait before a broker that was not there is asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// Judges plugins, one set after the other.
#[derive(Default)]
pub struct Auditor {
    /// What is known to be permitted.
    granted: Mutex<BTreeSet<Access>>,
}

impl Auditor {
    /// Logs what there is to say about the plugins `new` among `all`: at once what can be known
    /// without the broker, and the rest when that is there. What a consumer finds out for itself is
    /// left to it.
    pub async fn judge(&self, broker: &dyn Broker, new: &[Arc<Plugin>], all: &[Arc<Plugin>]) {
        let new: Vec<_> = new.iter().map(|plugin| Subject::of(plugin)).collect();
        let all: Vec<_> = all.iter().map(|plugin| Subject::of(plugin)).collect();
        let is_new = |finding: &Finding| new.iter().any(|it| it.name == finding.plugin);
        let known: Vec<_> = findings(&all, &Facts::default()).into_iter().filter(is_new).collect();
        known.iter().for_each(log);
        let mut granted = self.granted.lock().await;
        let facts = loop {
            match Facts::ask(broker, &new, Extent::Untold, &mut granted).await {
                Ok(facts) => break facts,
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        let found = findings(&all, &facts).into_iter().filter(is_new);
        found.filter(|finding| !finding.told && !known.contains(finding)).for_each(|it| log(&it));
    }
}

fn log(finding: &Finding) {
    let Finding { plugin, queue, problem, hint, .. } = finding;
    report::PluginFinding { plugin, queue, problem, hint }.emit();
}
