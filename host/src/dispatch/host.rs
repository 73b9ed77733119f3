//! A running host: takes up what changes in the plugins folder, keeps the last good version of
//! each plugin, and the consumers in step with them. Next: [`super::plan`].

use super::audit::start::Auditor;
use super::idle::Idle;
use super::journal::Journal;
use super::plan::{self, Conflict};
use super::{ConsumerStatus, Dispatcher, Paused};
use crate::broker::{Broker, State};
use crate::capability::grants::Grants;
use crate::plugin::catalogue::{self, Catalogue, Layers, Trouble};
use crate::plugin::watch::{Change, Files, Folder, Found, Kind};
use crate::plugin::{Loader, Plugin};
use crate::telemetry::report;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often instances that nobody needs are looked for, and troubles that are to be told of.
const SWEEP: Duration = Duration::from_secs(10);

/// A host, from outside.
pub struct Host {
    broker: Arc<dyn Broker>,
    pub(super) dispatcher: Dispatcher,
    pub(super) idle: Idle,
    state: Mutex<HostState>,
    auditor: Arc<Auditor>,
}

#[derive(Default)]
struct HostState {
    catalogue: Catalogue,
    /// The folder has been listed.
    listed: bool,
    /// The queues of plugins that are not served: still loading, or refused. Consuming from them
    /// would take what only those plugins' `match` is for.
    claims: BTreeMap<String, Vec<String>>,
    /// Plugins that are good but for a conflict with another: served when that is gone.
    conflicting: BTreeMap<String, Arc<Plugin>>,
    /// What the last version of each plugin was granted, also while the plugin is gone: one that is
    /// put in its place gets no more.
    granted: BTreeMap<String, Grants>,
    stopping: bool,
    /// The plugins folder.
    folder: PathBuf,
    /// Versions that nobody has judged yet.
    unjudged: Vec<Arc<Plugin>>,
}

/// A plugin as it is seen from outside.
#[derive(Debug, Clone)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// The digest of the version that is served.
    pub digest: Option<String>,
    /// What is wrong with the files as they are now.
    pub trouble: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Files that are being loaded.
struct Load {
    name: String,
    /// Counts the changes of a plugin: only the newest is taken.
    number: u64,
    began: Instant,
    result: Result<Plugin, Trouble>,
}

impl Host {
    /// A host without plugins, on `broker`.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self::with(broker, Journal::in_memory())
    }

    /// The same, and notes in `dir` what it is handling, so that an event which ends the host is
    /// known to the next one with this `scope`: which broker and plugins they are hosts of. Without
    /// a usable folder it notes nothing, and says so.
    pub fn noting(broker: Arc<dyn Broker>, dir: &Path, scope: &str) -> Self {
        let journal = Journal::open(dir, scope).unwrap_or_else(|cause| {
            report::JournalUnusable { dir, cause: &cause }.emit();
            Journal::in_memory()
        });
        Self::with(broker, journal)
    }

    fn with(broker: Arc<dyn Broker>, journal: Journal) -> Self {
        let dispatcher = Dispatcher::new(broker.clone(), journal);
        let (idle, state, auditor) = (Idle::default(), Mutex::default(), Arc::default());
        Self { broker, dispatcher, idle, state, auditor }
    }

    /// The broker that it consumes from.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        &self.broker
    }

    /// Serves the plugins of `folder` until `stop`.
    pub async fn serve(
        &self,
        mut folder: Folder,
        loader: Loader,
        layers: Layers,
        stop: CancellationToken,
    ) {
        self.state().folder = folder.dir().to_owned();
        let layers = Arc::new(layers);
        let mut loads = JoinSet::new();
        let mut newest = HashMap::<String, u64>::new();
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                changes = folder.changed() => {
                    for Change { name, kind } in changes {
                        let number = newest.entry(name.clone()).or_default();
                        *number += 1;
                        match kind {
                            Kind::Removed => self.remove(&name),
                            Kind::Added(found) | Kind::Changed(found) => {
                                self.claim(&name, &found, &layers);
                                let (loader, layers) = (loader.clone(), layers.clone());
                                loads.spawn(load(loader, layers, name, *number, found));
                            }
                        }
                    }
                    if !std::mem::replace(&mut self.state().listed, true) {
                        let absent = layers.overrides.keys().filter(|it| !newest.contains_key(*it));
                        absent.for_each(|plugin| report::PluginAbsent { plugin }.emit());
                    }
                }
                Some(loaded) = loads.join_next() => match loaded {
                    Ok(load) if newest.get(&load.name) == Some(&load.number) => self.take(load),
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, "loading a plugin failed"),
                },
                _ = sweep.tick() => {
                    self.sweep();
                    report::remind();
                }
            }
            if loads.is_empty() {
                self.judge(&stop);
            }
        }
    }

    /// Ends intake and waits for what is in flight, `grace` at most, then closes the broker's
    /// connections. The number of events that did not end in time.
    pub async fn stop(&self, grace: Duration) -> usize {
        self.state().stopping = true;
        let left = self.dispatcher.stop(grace).await;
        report::remind_of_all();
        self.broker.close().await;
        left
    }

    /// Why this host is not ready; empty if it is.
    pub fn unready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        // A disk may take its time: nobody must wait for the state meanwhile.
        let absent = self.listed().filter(|folder| !folder.is_dir());
        let state = self.state();
        if state.stopping {
            reasons.push("stopping".to_owned());
        }
        if let Some(folder) = absent {
            let folder = folder.display();
            reasons.push(format!("the plugins folder `{folder}` is not there"));
        }
        if !state.listed {
            reasons.push("the plugins folder is being read".to_owned());
        }
        for name in state.claims.keys().filter(|name| !state.catalogue.troubles.contains_key(*name))
        {
            reasons.push(format!("plugin `{name}` is being loaded"));
        }
        for (name, trouble) in &state.catalogue.troubles {
            if !state.catalogue.good.contains_key(name) {
                reasons.push(format!("plugin `{name}`: {trouble}"));
            }
        }
        drop(state);
        for link in self.broker.health().links.into_iter().filter(|link| !link.up) {
            let reason = link.reason.unwrap_or_else(|| "connecting".to_owned());
            reasons.push(format!("connection to {}: {reason}", link.role));
        }
        for ((exchange, key), lasted) in self.dispatcher.stuck() {
            let lasted = humantime::format_duration(Duration::from_secs(lasted.as_secs()));
            let to = format!("exchange `{exchange}`, routing key `{key}`");
            reasons.push(format!("events are held, they can't be moved to {to}, for {lasted}"));
        }
        for ConsumerStatus { queue, status, paused, .. } in self.dispatcher.statuses() {
            for Paused { plugin, since, reason } in paused {
                let since = humantime::format_rfc3339_seconds(since);
                reasons.push(format!("queue `{queue}`: `{plugin}` paused since {since}: {reason}"));
            }
            let since = humantime::format_rfc3339_seconds(status.since);
            match status.state {
                State::Live { .. } | State::Paused => {}
                State::Starting => reasons.push(format!("queue `{queue}`: not consuming yet")),
                State::Down { reason, .. } => {
                    reasons.push(format!("queue `{queue}`: not consuming since {since}: {reason}"));
                }
                State::Ended => reasons.push(format!("queue `{queue}`: ended")),
            }
        }
        reasons
    }

    /// The plugins folder, once it has been listed.
    fn listed(&self) -> Option<PathBuf> {
        let state = self.state();
        state.listed.then(|| state.folder.clone())
    }

    /// Each plugin, the refused ones too.
    pub fn plugins(&self) -> Vec<PluginStatus> {
        let state = self.state();
        let Catalogue { good, troubles } = &state.catalogue;
        let names: std::collections::BTreeSet<_> = good.keys().chain(troubles.keys()).collect();
        let status = |name: &String| PluginStatus {
            name: name.clone(),
            digest: good.get(name).map(|plugin| plugin.digest.clone()),
            trouble: troubles.get(name).map(Trouble::to_string),
            hint: troubles.get(name).and_then(Trouble::hint),
        };
        names.into_iter().map(status).collect()
    }

    /// The plugins that are served.
    pub(super) fn served(&self) -> Vec<Arc<Plugin>> {
        self.state().catalogue.good.values().cloned().collect()
    }

    /// Each consumer.
    pub fn consumers(&self) -> Vec<ConsumerStatus> {
        self.dispatcher.statuses()
    }

    /// Keeps the queues of a plugin that is not served yet from being consumed without it.
    fn claim(&self, name: &str, found: &Found, layers: &Layers) {
        let Ok(Files { component, manifest: written }) = found else { return };
        let text = written.as_ref().map(|written| written.text.as_str());
        // A mistake in the manifest is told when it is loaded; here it only matters whose queue it is.
        let queues = catalogue::queues(name, &component.path, text, layers);
        let mut state = self.state();
        if !state.catalogue.good.contains_key(name) {
            state.claims.insert(name.to_owned(), queues);
        }
    }

    fn take(&self, load: Load) {
        let Load { name, began, result, .. } = load;
        let mut state = self.state();
        state.conflicting.remove(&name);
        match result {
            Ok(plugin) => admit(&mut state, Arc::new(plugin), began),
            Err(trouble) => refuse(&mut state, name, trouble),
        }
        self.settle(&mut state);
    }

    /// Judges the versions that are new, beside all else. Not while others are being loaded: they may
    /// declare what these publish to.
    fn judge(&self, stop: &CancellationToken) {
        let mut state = self.state();
        let new = std::mem::take(&mut state.unjudged);
        let all: Vec<_> = state.catalogue.good.values().cloned().collect();
        drop(state);
        if !new.is_empty() {
            let (auditor, broker) = (self.auditor.clone(), self.broker.clone());
            let stop = stop.clone();
            tokio::spawn(async move {
                stop.run_until_cancelled(auditor.judge(&*broker, &new, &all)).await;
            });
        }
    }

    fn remove(&self, name: &str) {
        let mut state = self.state();
        let removed = state.catalogue.good.remove(name);
        state.catalogue.troubles.remove(name);
        state.claims.remove(name);
        state.conflicting.remove(name);
        let digest = removed.as_ref().map(|plugin| &plugin.digest as &dyn Display);
        report::PluginRemoved { plugin: name, digest }.emit();
        self.settle(&mut state);
    }

    /// What changed may have ended a conflict; then the consumers follow.
    fn settle(&self, state: &mut HostState) {
        let began = Instant::now();
        for plugin in std::mem::take(&mut state.conflicting).into_values() {
            match conflict(&state.catalogue, &plugin) {
                None => admit(state, plugin, began),
                Some(_) => _ = state.conflicting.insert(plugin.name.to_string(), plugin),
            }
        }
        self.apply(state);
    }

    fn apply(&self, state: &HostState) {
        match plan::plan(state.catalogue.good.values()) {
            Ok(planned) => {
                let claimed = |queue: &str| state.claims.values().flatten().any(|it| it == queue);
                self.dispatcher.apply(&planned, claimed);
            }
            // What is in the catalogue was admitted against the rest of it.
            Err((name, conflict)) => tracing::error!(plugin = name, %conflict, "plugins conflict"),
        }
    }

    fn sweep(&self) {
        self.state().catalogue.good.values().for_each(|plugin| plugin.sweep());
    }

    fn state(&self) -> MutexGuard<'_, HostState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn load(
    loader: Loader,
    layers: Arc<Layers>,
    name: String,
    number: u64,
    found: Found,
) -> Load {
    let began = Instant::now();
    let result = catalogue::load(&loader, &layers, &name, found).await;
    Load { name, number, began, result }
}

/// Serves `plugin` from now on, unless it conflicts with another.
fn admit(state: &mut HostState, plugin: Arc<Plugin>, began: Instant) {
    let name = plugin.name.to_string();
    if let Some(conflict) = conflict(&state.catalogue, &plugin) {
        let hint = conflict.hint().to_owned();
        state.conflicting.insert(name.clone(), plugin);
        // The other plugin has the queue.
        state.claims.remove(&name);
        return refuse(state, name, Trouble::Conflict(conflict.to_string(), Some(hint)));
    }
    if let Some(before) = state.granted.get(&name) {
        let more = plugin.manifest.grants.beyond(before);
        if !more.is_empty() {
            return refuse(state, name.clone(), Trouble::More { plugin: name, more });
        }
    }
    let (digest, elapsed) = (&plugin.digest, began.elapsed());
    match state.catalogue.good.get(&name) {
        Some(old) => {
            report::PluginReloaded { plugin: &name, old: &old.digest, digest, elapsed }.emit();
        }
        None => report::PluginLoaded { plugin: &name, digest, elapsed }.emit(),
    }
    state.catalogue.troubles.remove(&name);
    state.claims.remove(&name);
    state.unjudged.push(plugin.clone());
    state.granted.insert(name.clone(), plugin.manifest.grants.clone());
    state.catalogue.good.insert(name, plugin);
}

/// Keeps the version before, if there is one.
fn refuse(state: &mut HostState, name: String, trouble: Trouble) {
    let hint = trouble.hint();
    let kept = state.catalogue.good.get(&name).map(|old| &old.digest as &dyn Display);
    report::PluginRefused { plugin: &name, cause: &trouble, hint: hint.as_deref(), kept }.emit();
    state.catalogue.troubles.insert(name, trouble);
}

/// Why `plugin` does not go with the others.
fn conflict(catalogue: &Catalogue, plugin: &Arc<Plugin>) -> Option<Conflict> {
    let others = catalogue.good.values().filter(|other| other.name != plugin.name);
    // Last, so that a conflict is always the new one's.
    plan::plan(others.chain([plugin])).err().map(|(_, conflict)| conflict)
}
