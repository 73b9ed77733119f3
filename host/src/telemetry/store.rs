//! Reports about what is recorded of events, and about stores. Next in the flow: [`crate::dispatch`],
//! which emits them.

use super::SubscriptionMetrics;
use super::report::{reason, short};
use super::trouble::{self, Kind, What};
use tracing::{debug, warn};

/// An event has come again that was handled before: its handler is not called.
pub struct EventRecalled<'a> {
    /// Whose it is.
    pub subscription: &'a SubscriptionMetrics,
    /// The AMQP property, empty if it has none.
    pub message_id: &'a str,
    /// How many publications may not have been published then.
    pub left: usize,
}

impl EventRecalled<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { subscription, message_id, left } = self;
        subscription.deduplicated.increment(1);
        debug!(
            plugin = subscription.plugin,
            queue = subscription.queue,
            message_id = %short(message_id),
            left,
            "was handled before: its handler is not called, and what is left is published"
        );
    }
}

/// Another event changed what this one had read: its handler is called anew.
pub struct EventInTheWay<'a> {
    /// Whose it is.
    pub subscription: &'a SubscriptionMetrics,
}

impl EventInTheWay<'_> {
    /// Counts it.
    pub fn emit(self) {
        self.subscription.conflicts.increment(1);
    }
}

/// An event has nothing of what its plugin's events are told apart by.
pub struct EventNotRecorded<'a> {
    /// Whose it is.
    pub subscription: &'a SubscriptionMetrics,
}

impl EventNotRecorded<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        const TEXT: &str = "is handled without a record, it has no value at `[dedupe] key`";
        let SubscriptionMetrics { plugin, queue, unrecorded, .. } = self.subscription;
        unrecorded.increment(1);
        let (what, class) = (What::NotRecorded, "");
        let kind = Kind { what, plugin: plugin.clone(), queue: queue.clone(), class };
        if trouble::happened(kind) {
            warn!(plugin, queue, "{TEXT}");
        } else {
            debug!(plugin, queue, "{TEXT}");
        }
    }
}

/// What expired is still recorded in a store; the host tries again later.
pub struct RecordsKept<'a> {
    /// Where.
    pub store: &'a str,
    /// Why.
    pub cause: &'a str,
}

impl RecordsKept<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { store, cause } = self;
        warn!(store, "records of events that expired can't be removed now: {}", reason(cause));
    }
}
