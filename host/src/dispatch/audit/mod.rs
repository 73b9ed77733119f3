//! What is wrong with how plugins are set up, beyond what keeps them from loading: ways in which
//! events get lost unnoticed, what is not at the broker as stated, and what the user may not do.
//! [`facts`] asks the broker; [`findings`] is a pure function of the plugins and the answers. `check`
//! prints what it finds, and [`start`] logs it. Next: [`traps`], [`judge`], then [`super::host`].

pub mod facts;
mod judge;
pub mod start;
mod traps;

#[cfg(test)]
mod tests;

pub use judge::creates;

use crate::broker::Difference;
use crate::plugin::{
    Plugin,
    manifest::{Manifest, Subscription},
};
use facts::Facts;

/// One thing that somebody should know about.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Whose it is.
    pub plugin: String,
    /// The queue that it is about; empty if it is about the plugin as a whole, or a queue that the
    /// server names.
    pub queue: String,
    /// What kind of trouble it is.
    pub kind: Kind,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub hint: String,
    /// What is not as stated, if that is it.
    pub differences: Vec<Difference>,
    /// A host that runs says so by itself, as the reason why it does not consume.
    pub told: bool,
}

/// See [`Finding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It works; one should know what it means.
    Note,
    /// The broker does not permit it.
    Forbidden,
    /// What is there is not as stated, or nothing is there.
    Mismatch,
    /// Events get lost, and nobody asked for that by name.
    Loses,
}

impl Kind {
    /// Whether a deployment should stop over it.
    pub fn is_error(self) -> bool {
        self != Self::Note
    }
}

/// A plugin as it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its manifest.
    pub manifest: &'a Manifest,
}

/// What there is to say about `subjects`, which run together, given what is known of the broker;
/// without facts, what can be known without one.
pub fn findings(subjects: &[Subject<'_>], facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for subject in subjects {
        for subscription in &subject.manifest.subscriptions {
            traps::find(*subject, subscription, subjects, facts, &mut findings);
            judge::topology(*subject, subscription, subjects, facts, &mut findings);
        }
        judge::grants(*subject, subjects, facts, &mut findings);
        judge::permissions(*subject, facts, &mut findings);
    }
    findings
}

impl<'a> Subject<'a> {
    /// `plugin`.
    pub fn of(plugin: &'a Plugin) -> Self {
        Self { name: &plugin.name, manifest: &plugin.manifest }
    }

    /// Whether events of `subscription` wait in delay queues: not those that keep their place. One
    /// attempt is no exception, since a pause sends events there.
    pub fn retries_by_delay(&self, subscription: &Subscription) -> bool {
        let Subscription { order_by, at_most_once, .. } = subscription;
        order_by.is_none() && !at_most_once
    }

    fn finding(
        &self,
        queue: &str,
        kind: Kind,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) -> Finding {
        Finding {
            plugin: self.name.to_owned(),
            queue: queue.to_owned(),
            kind,
            problem: problem.into(),
            hint: hint.into(),
            differences: Vec::new(),
            told: false,
        }
    }
}
