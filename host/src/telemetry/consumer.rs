//! Reports about consumers that are not what they seem. Next in the flow: [`crate::broker`], which
//! emits them.

use super::metrics::name;
use metrics::{counter, histogram};
use std::time::Duration;
use tracing::warn;

/// The broker has forgotten a consumer, which is begun anew.
pub struct ConsumerStalled<'a> {
    /// As the subscription names it.
    pub queue: &'a str,
    /// The queue's name at the broker.
    pub name: &'a str,
    /// For how long it has been seen.
    pub length: Duration,
}

impl ConsumerStalled<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { queue, name, length } = self;
        counter!(name::STALLED, "queue" => queue.to_owned()).increment(1);
        warn!(
            queue = name,
            "the broker has events ready and delivered none for {length:?}: consuming anew, on \
             another channel"
        );
    }
}

/// A queue that belongs to one connection alone was declared anew, empty.
pub struct Gap<'a> {
    /// As the subscription names it, empty if the server does.
    pub queue: &'a str,
    /// Its name at the broker.
    pub name: &'a str,
    /// From the loss of the queue before to its being there.
    pub length: Duration,
}

impl Gap<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { queue, name, length } = self;
        counter!(name::GAPS, "queue" => queue.to_owned()).increment(1);
        histogram!(name::GAP_SECONDS, "queue" => queue.to_owned()).record(length);
        warn!(
            queue = name,
            seconds = length.as_secs_f64(),
            "the queue was lost with its connection and is there again, empty: what was published \
             to it meanwhile is gone"
        );
    }
}
