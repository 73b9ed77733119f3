//! One named report for each thing that happens: it writes the log line and moves the metrics
//! together, so that the two cannot disagree. Next in the flow: [`crate::broker`].
//!
//! Levels by what an operator must do: error = act, warn = recovered, info = life cycle, debug =
//! per plugin, trace = per event. What guests or the network said is made printable here.

pub use super::connection::{
    BrokerIntroduced, ConnectFailed, ConnectionBlocked, ConnectionClosed, ConnectionLost,
    ConnectionUp,
};
pub use super::consumer::{ConsumerDown, ConsumerStalled, ConsumerUp, DelayedRetryIgnored, Gap};
pub use super::crash::{HostWasEnded, JournalUnusable, SuspectHandled};
pub use super::guest::{GuestLog, GuestLogCut, GuestTrapped, HttpDenied, HttpFailed};
pub use super::moves::{HeaderCut, MoveArrived, MoveFailed, Resent};
pub use super::plugin::{
    PluginAbsent, PluginFinding, PluginLoaded, PluginRefused, PluginReloaded, PluginRemoved,
};
pub use super::store::{EventInTheWay, EventNotRecorded, EventRecalled, RecordsKept};
pub use super::trouble::{remind, remind_of_all};

use super::trouble::{self, Kind, What};
use super::{SubscriptionMetrics, metrics::name, text::printable};
use crate::flow::{Outcome, Settlement};
use metrics::counter;
use std::{fmt::Display, time::Duration};
use tracing::{debug, error, info, trace, warn};

/// The longest reason in a log line, in bytes.
const REASON_BYTES_MAX: usize = 1024;
/// The longest name from the network in a log line. AMQP's short strings have at most 255 bytes.
const NAME_BYTES_MAX: usize = 255;

pub(super) fn reason(text: &str) -> impl Display {
    printable(text, REASON_BYTES_MAX)
}

pub(super) fn short(text: &str) -> impl Display {
    printable(text, NAME_BYTES_MAX)
}

/// The broker has given out an event.
pub struct DeliveryReceived<'a> {
    /// Whose it is.
    pub subscription: &'a SubscriptionMetrics,
    /// The AMQP property, empty if it has none.
    pub message_id: &'a str,
    /// From 1.
    pub attempt: u32,
    /// It was delivered before, as the broker says.
    pub redelivered: bool,
    /// Time since it was published, if that is known.
    pub age: Option<Duration>,
}

impl DeliveryReceived<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { subscription, message_id, attempt, redelivered, age } = self;
        subscription.deliveries.increment(1);
        if let Some(age) = age {
            subscription.event_age_seconds.record(age);
        }
        trace!(
            plugin = subscription.plugin,
            queue = subscription.queue,
            message_id = %short(message_id),
            attempt,
            redelivered,
            "received"
        );
    }
}

/// An event has been settled.
pub struct EventSettled<'a> {
    /// Whose it was.
    pub subscription: &'a SubscriptionMetrics,
    /// The version that handled it.
    pub digest: &'a dyn Display,
    /// The AMQP property, empty if it has none.
    pub message_id: &'a str,
    /// From 1.
    pub attempt: u32,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// What the broker was told.
    pub settlement: Settlement,
    /// How many messages were published for it.
    pub publications: usize,
    /// Time in the handler; `None` if it was not called.
    pub handler: Option<Duration>,
}

impl EventSettled<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { subscription, outcome, .. } = self;
        subscription.count_outcome(outcome);
        if let Some(handler) = self.handler {
            subscription.handler_seconds.record(handler);
        }
        match self.settlement {
            Settlement::Ack | Settlement::Drop => {}
            Settlement::Retry(_) | Settlement::Requeue | Settlement::Postpone(_) => {
                subscription.retries.increment(1);
            }
            Settlement::DeadLetter => subscription.dead_letters.increment(1),
        }
        self.log();
    }

    fn log(&self) {
        // A macro, as the level of a line must be known when compiling.
        macro_rules! line {
            ($level:ident, $($message:tt)+) => {
                $level!(
                    plugin = self.subscription.plugin,
                    queue = self.subscription.queue,
                    digest = %self.digest,
                    message_id = %short(self.message_id),
                    attempt = self.attempt,
                    class = self.outcome.class(),
                    publications = self.publications,
                    seconds = self.handler.unwrap_or_default().as_secs_f64(),
                    reason = %reason(self.outcome.reason()),
                    $($message)+
                )
            };
        }
        // Of a kind that goes on, only the first is for everybody.
        macro_rules! trouble {
            ($level:ident, $what:expr, $($message:tt)+) => {
                if self.is_news($what) {
                    line!($level, $($message)+)
                } else {
                    line!(debug, $($message)+)
                }
            };
        }
        match (self.settlement, self.outcome) {
            (Settlement::Ack, _) => line!(trace, "handled"),
            (Settlement::Retry(delay), _) => {
                trouble!(info, What::ComesAgain, "comes again in {delay:?}");
            }
            (Settlement::Requeue, _) => {
                trouble!(info, What::ComesAgain, "comes again after the delay of its queue");
            }
            (Settlement::Postpone(delay), _) => {
                line!(debug, "comes again in {delay:?}, no attempt is used up");
            }
            (Settlement::DeadLetter, _) => {
                trouble!(warn, What::DeadLetter, "is a dead letter now");
            }
            (Settlement::Drop, Outcome::Drop(_)) => line!(debug, "dropped, as its handler says"),
            (Settlement::Drop, Outcome::Refused { .. }) => {
                line!(debug, "dropped unhandled, as the plugin is set up to");
            }
            (Settlement::Drop, _) => {
                trouble!(warn, What::Dropped, "dropped after failing, as the plugin is set up to");
            }
        }
    }

    fn is_news(&self, what: What) -> bool {
        let SubscriptionMetrics { plugin, queue, .. } = self.subscription;
        let (plugin, queue, class) = (plugin.clone(), queue.clone(), self.outcome.class());
        trouble::happened(Kind { what, plugin, queue, class })
    }
}

/// A plugin is not called for a while: it fails for reasons outside its events.
pub struct CircuitOpened<'a> {
    /// Whose.
    pub subscription: &'a SubscriptionMetrics,
    /// What it said last.
    pub reason: &'a str,
}

impl CircuitOpened<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { subscription, reason: why } = self;
        error!(
            plugin = subscription.plugin,
            queue = subscription.queue,
            "paused, events wait and use up no attempts; one at a time is tried: {}",
            reason(why)
        );
    }
}

/// A paused plugin has handled an event.
pub struct CircuitClosed<'a> {
    /// Whose.
    pub subscription: &'a SubscriptionMetrics,
}

impl CircuitClosed<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { subscription } = self;
        info!(plugin = subscription.plugin, queue = subscription.queue, "resumed after a pause");
    }
}

/// Acks did not reach the broker before the channel was gone: these events are done, and are
/// delivered again.
pub struct AckLost<'a> {
    /// As the subscription names it.
    pub queue: &'a str,
    /// How many.
    pub lost: u64,
}

impl AckLost<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { queue, lost } = self;
        counter!(name::ACK_LOST, "queue" => queue.to_owned()).increment(lost);
        debug!(queue, lost, "the channel was gone before the ack: the event comes again");
    }
}

/// The channel of an event is gone before the event is done: the broker delivers it again.
pub struct EventLeft<'a> {
    /// As the subscription names it.
    pub queue: &'a str,
    /// The AMQP property, empty if it has none.
    pub message_id: &'a str,
}

impl EventLeft<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { queue, message_id } = self;
        debug!(queue, message_id = %short(message_id), "left to the broker, its channel is gone");
    }
}
