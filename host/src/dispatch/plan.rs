//! Which consumers the loaded plugins ask for: one for each queue, shared by the plugins whose
//! `match` tells their events apart. Next: `consumer`, which runs one.

use crate::broker::{Consume, Topology};
use crate::plugin::{Plugin, manifest::Subscription};
use crate::policy::Last;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One consumer.
#[derive(Clone)]
pub struct Planned {
    /// What it consumes, with what all its plugins declare.
    pub consume: Consume,
    /// What becomes of events that no plugin's `match` fits: forgotten only if all say so.
    pub unmatched: Last,
    /// The first plugin's: events that fit none go where its dead letters go.
    pub first: Arc<Subscription>,
    /// Its plugins, in the order in which they are asked whether an event fits: those that take
    /// every event last.
    pub lanes: Vec<Lane>,
}

impl Planned {
    /// Whether the order of its events matters.
    pub fn in_order(&self) -> bool {
        self.lanes.iter().any(|lane| lane.subscription.order_by.is_some())
    }

    /// Whether the queue is still there when nobody consumes it.
    pub fn outlives_its_consumer(&self) -> bool {
        let queue = &self.consume.queue;
        !queue.name.is_empty() && !queue.exclusive && !queue.auto_delete
    }
}

/// One plugin's share of a consumer.
#[derive(Clone)]
pub struct Lane {
    /// The plugin.
    pub plugin: Arc<Plugin>,
    /// Its subscription to the queue.
    pub subscription: Arc<Subscription>,
}

/// Why a plugin can't run beside those that are there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Two plugins, one queue, and nothing to tell their events apart.
    #[error("the queue `{queue}` is consumed by plugin `{other}`, and both take every event")]
    TwoTakeAll {
        /// The queue.
        queue: String,
        /// The plugin that has it.
        other: String,
    },
    /// Two plugins state different things about one queue.
    #[error("the queue `{queue}` is stated with another `{setting}` by plugin `{other}`")]
    Differs {
        /// The queue.
        queue: String,
        /// The first setting that differs.
        setting: &'static str,
        /// The plugin that has it.
        other: String,
    },
}

impl Conflict {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::TwoTakeAll { .. } => "give all but one of them a `match`, or a queue of its own",
            Self::Differs { .. } => "state the same in both manifests",
        }
    }
}

/// Plans the consumers of `plugins`, by queue; a queue that the server names belongs to one plugin.
///
/// # Errors
/// The first conflict, with the later plugin's name.
pub fn plan<'a>(
    plugins: impl IntoIterator<Item = &'a Arc<Plugin>>,
) -> Result<BTreeMap<String, Planned>, (String, Conflict)> {
    let mut planned = BTreeMap::<String, Planned>::new();
    for plugin in plugins {
        for (index, subscription) in plugin.manifest.subscriptions.iter().enumerate() {
            let queue = &subscription.consume.queue.name;
            let key =
                if queue.is_empty() { format!("{}#{index}", plugin.name) } else { queue.clone() };
            let lane =
                Lane { plugin: plugin.clone(), subscription: Arc::new(subscription.clone()) };
            let added = match planned.get_mut(&key) {
                Some(there) => join(there, lane),
                None => {
                    let (consume, unmatched) =
                        (subscription.consume.clone(), subscription.unmatched);
                    planned.insert(
                        key,
                        Planned {
                            consume,
                            unmatched,
                            first: lane.subscription.clone(),
                            lanes: vec![lane],
                        },
                    );
                    Ok(())
                }
            };
            added.map_err(|conflict| (plugin.name.to_string(), conflict))?;
        }
    }
    Ok(planned)
}

fn join(there: &mut Planned, lane: Lane) -> Result<(), Conflict> {
    let Some(first) = there.lanes.first() else { return Ok(()) };
    let (ours, theirs) = (&lane.subscription, &first.subscription);
    let queue = there.consume.queue.name.clone();
    let differs = |setting| {
        let (queue, other) = (queue.clone(), first.plugin.name.to_string());
        Err(Conflict::Differs { queue, setting, other })
    };
    if let Some(setting) = difference(&ours.consume, &theirs.consume) {
        return differs(setting);
    }
    let mut topology = there.consume.topology.clone();
    if !merge(&mut topology, &ours.consume.topology) {
        return differs("exchange");
    }
    let takes_all = |lane: &&Lane| lane.subscription.matcher.is_catch_all();
    if let Some(other) = there.lanes.iter().find(takes_all).filter(|_| takes_all(&&lane)) {
        return Err(Conflict::TwoTakeAll { queue, other: other.plugin.name.to_string() });
    }
    there.consume.topology = topology;
    there.consume.prefetch = there.consume.prefetch.max(ours.consume.prefetch);
    if ours.unmatched == Last::DeadLetter {
        there.unmatched = Last::DeadLetter;
    }
    let at = if takes_all(&&lane) {
        there.lanes.len()
    } else {
        there.lanes.iter().position(|lane| takes_all(&lane)).unwrap_or(there.lanes.len())
    };
    there.lanes.insert(at, lane);
    Ok(())
}

fn difference(ours: &Consume, theirs: &Consume) -> Option<&'static str> {
    let (a, b) = (&ours.queue, &theirs.queue);
    let settings = [
        ("type", a.kind == b.kind),
        ("durable", a.durable == b.durable),
        ("exclusive", a.exclusive == b.exclusive),
        ("auto-delete", a.auto_delete == b.auto_delete),
        ("arguments", a.arguments == b.arguments),
        ("topology", ours.mode == theirs.mode),
    ];
    settings.into_iter().find(|(_, same)| !same).map(|(setting, _)| setting)
}

/// Adds what `more` declares besides. False if the two state different things about one exchange.
fn merge(into: &mut Topology, more: &Topology) -> bool {
    fn add<T: Clone + PartialEq>(into: &mut Vec<T>, more: &[T]) {
        for item in more {
            if !into.contains(item) {
                into.push(item.clone());
            }
        }
    }
    for exchange in &more.exchanges {
        match into.exchanges.iter_mut().find(|there| there.name == exchange.name) {
            None => into.exchanges.push(exchange.clone()),
            Some(there) if there == exchange || exchange.kind.is_none() => {}
            // That one only says that it must be there.
            Some(there) if there.kind.is_none() => there.clone_from(exchange),
            Some(_) => return false,
        }
    }
    add(&mut into.queues, &more.queues);
    add(&mut into.bindings, &more.bindings);
    true
}
