//! The metrics of one subscription, looked up once, so that counting an event costs an atomic
//! addition. Next: `report`, which moves them.

use super::metrics::name;
use crate::flow::Outcome;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// The metrics of one plugin on one queue. [`super::metrics::init`] comes before making one.
pub struct SubscriptionMetrics {
    pub(super) plugin: String,
    pub(super) queue: String,
    pub(super) deliveries: Counter,
    pub(super) event_age_seconds: Histogram,
    pub(super) handler_seconds: Histogram,
    pub(super) retries: Counter,
    pub(super) dead_letters: Counter,
    pub(super) deduplicated: Counter,
    pub(super) conflicts: Counter,
    pub(super) unrecorded: Counter,
    circuit_open: Gauge,
    inflight: Gauge,
    ok: Counter,
    retry: Counter,
    unavailable: Counter,
    reject: Counter,
    drop: Counter,
}

impl SubscriptionMetrics {
    /// Registers them, so that they are shown as 0 before the first event.
    pub fn new(plugin: &str, queue: &str) -> Self {
        let labels = [("plugin", plugin.to_owned()), ("queue", queue.to_owned())];
        // Moved by the broker, which does not know whose events are in the queue.
        let _registered = counter!(name::ACK_LOST, "queue" => queue.to_owned());
        let outcome = |kind| outcome_counter(plugin, queue, kind, kind);
        Self {
            plugin: plugin.to_owned(),
            queue: queue.to_owned(),
            deliveries: counter!(name::DELIVERIES, &labels),
            event_age_seconds: histogram!(name::EVENT_AGE_SECONDS, &labels),
            handler_seconds: histogram!(name::HANDLER_SECONDS, &labels),
            retries: counter!(name::RETRIES, &labels),
            dead_letters: counter!(name::DEAD_LETTERS, &labels),
            deduplicated: counter!(name::DEDUPLICATED, &labels),
            conflicts: counter!(name::CONFLICTS, &labels),
            unrecorded: counter!(name::UNRECORDED, &labels),
            circuit_open: gauge!(name::CIRCUIT_OPEN, &labels),
            inflight: gauge!(name::INFLIGHT, &labels),
            ok: outcome("ok"),
            retry: outcome("retry"),
            unavailable: outcome("unavailable"),
            reject: outcome("reject"),
            drop: outcome("drop"),
        }
    }

    /// The queue's name.
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// One event more is being handled, until the guard is dropped.
    pub fn inflight(&self) -> Inflight {
        self.inflight.increment(1.0);
        Inflight(self.inflight.clone())
    }

    /// It is paused, until the guard is dropped.
    pub fn paused(&self) -> Paused {
        self.circuit_open.set(1.0);
        Paused(self.circuit_open.clone())
    }

    pub(super) fn count_outcome(&self, outcome: &Outcome) {
        let kind = match outcome {
            Outcome::Ok(_) => return self.ok.increment(1),
            Outcome::Retry { .. } => return self.retry.increment(1),
            Outcome::Unavailable { .. } => return self.unavailable.increment(1),
            Outcome::Reject(_) => return self.reject.increment(1),
            Outcome::Drop(_) => return self.drop.increment(1),
            Outcome::Failed { .. } => "failed",
            Outcome::Refused { .. } => "refused",
        };
        outcome_counter(&self.plugin, &self.queue, kind, outcome.class()).increment(1);
    }
}

fn outcome_counter(
    plugin: &str,
    queue: &str,
    outcome: &'static str,
    class: &'static str,
) -> Counter {
    counter!(
        name::OUTCOMES,
        "plugin" => plugin.to_owned(),
        "queue" => queue.to_owned(),
        "outcome" => outcome,
        "class" => class,
    )
}

/// An event that is being handled.
#[must_use = "the event counts as being handled until this is dropped"]
pub struct Inflight(Gauge);

impl Drop for Inflight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// A subscription that is paused.
#[must_use = "the subscription counts as paused until this is dropped"]
pub struct Paused(Gauge);

impl Drop for Paused {
    fn drop(&mut self) {
        self.0.set(0.0);
    }
}
