//! Reports about consumers. Next in the flow: [`crate::broker`] and [`crate::dispatch`], which emit
//! them.

use super::metrics::name;
use super::report::reason;
use metrics::{counter, gauge, histogram};
use std::time::Duration;
use tracing::{debug, info, warn};

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
            "the queue, which belongs to this connection alone, was lost and is there again, empty: \
             what was published to it meanwhile is gone"
        );
    }
}

/// The broker delivers from a queue.
pub struct ConsumerUp<'a> {
    /// As the subscription names it.
    pub queue: &'a str,
    /// Whether people are to be told.
    pub loud: bool,
}

impl ConsumerUp<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        gauge!(name::CONSUMER_UP, "queue" => self.queue.to_owned()).set(1.0);
        if self.loud {
            info!(queue = self.queue, "consuming");
        } else {
            debug!(queue = self.queue, "consuming");
        }
    }
}

/// The broker does not deliver from a queue any more.
pub struct ConsumerDown<'a> {
    /// As the subscription names it.
    pub queue: &'a str,
    /// Why; `None` where the host itself has stopped.
    pub cause: Option<&'a str>,
    /// Whether people are to be told.
    pub loud: bool,
}

impl ConsumerDown<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        gauge!(name::CONSUMER_UP, "queue" => self.queue.to_owned()).set(0.0);
        let Self { queue, cause, loud } = self;
        match cause.map(reason) {
            Some(cause) if loud => warn!(queue, "not consuming: {cause}"),
            Some(cause) => debug!(queue, "not consuming: {cause}"),
            None if loud => info!(queue, "stopped consuming"),
            None => debug!(queue, "stopped consuming"),
        }
    }
}

/// A manifest asks a queue for delays of its own, and the broker does not have them.
pub struct DelayedRetryIgnored<'a> {
    /// The queue's name at the broker.
    pub queue: &'a str,
    /// Which broker.
    pub server: &'a str,
}

impl DelayedRetryIgnored<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { queue, server } = self;
        warn!(
            queue,
            "{server} ignores `x-delayed-retry-type`, which RabbitMQ has from 4.3 on: retries go by \
             delay queues"
        );
    }
}
