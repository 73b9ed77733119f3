//! One named report for each thing that happens: it writes the log line and moves the metrics
//! together, so that the two cannot disagree. Next in the flow: [`crate::broker`].
//!
//! Levels by what an operator must do: error = act, warn = recovered, info = life cycle, debug =
//! per plugin, trace = per event. What guests or the network said is made printable here.

pub use super::connection::{
    ConnectFailed, ConnectionBlocked, ConnectionClosed, ConnectionLost, ConnectionUp,
};

use super::{SubscriptionMetrics, metrics::name, text::printable};
use crate::flow::{Outcome, Settlement};
use metrics::{counter, gauge};
use std::{fmt::Display, time::Duration};
use tracing::{Level, debug, error, info, trace, warn};

/// The longest reason in a log line, in bytes.
const REASON_BYTES_MAX: usize = 1024;
/// The longest name from the network in a log line. AMQP's short strings have at most 255 bytes.
const NAME_BYTES_MAX: usize = 255;
/// The target of guests' own lines.
const GUEST: &str = "guest";

fn reason(text: &str) -> impl Display {
    printable(text, REASON_BYTES_MAX)
}

fn short(text: &str) -> impl Display {
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
    /// Time since it was published, if that is known.
    pub age: Option<Duration>,
}

impl DeliveryReceived<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { subscription, message_id, attempt, age } = self;
        subscription.deliveries.increment(1);
        if let Some(age) = age {
            subscription.event_age_seconds.record(age);
        }
        trace!(
            plugin = subscription.plugin,
            queue = subscription.queue,
            message_id = %short(message_id),
            attempt,
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
            Settlement::Retry(_) => subscription.retries.increment(1),
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
        match (self.settlement, self.outcome) {
            (Settlement::Ack, _) => line!(trace, "handled"),
            (Settlement::Retry(delay), _) => line!(info, "comes again in {delay:?}"),
            (Settlement::DeadLetter, _) => line!(warn, "is a dead letter now"),
            (Settlement::Drop, Outcome::Retry { .. } | Outcome::Failed { .. }) => {
                line!(warn, "dropped after its last attempt, as the plugin is set up to");
            }
            (Settlement::Drop, _) => line!(debug, "dropped"),
        }
    }
}

/// A call of a guest ended with a trap or at a limit. How its event is settled is reported apart.
pub struct GuestTrapped<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// The class of the fault, e.g. `trap`, `timeout`, `memory`.
    pub kind: &'static str,
    /// The engine's words, with the guest's.
    pub cause: &'a str,
}

impl GuestTrapped<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { plugin, kind, cause } = self;
        counter!(name::PLUGIN_TRAPS, "plugin" => plugin.to_owned(), "kind" => kind).increment(1);
        debug!(plugin, kind, cause = %reason(cause), "the call trapped");
    }
}

/// A line that a guest wrote.
pub struct GuestLog<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// How important it is, in the guest's opinion.
    pub level: Level,
    /// Where it comes from: the guest's own name for it, or `stdout` or `stderr`.
    pub context: &'a str,
    /// The line, printable.
    pub message: &'a str,
}

impl GuestLog<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { plugin, level, context, message } = self;
        macro_rules! line {
            ($level:ident) => {
                $level!(target: GUEST, plugin, context = %short(context), "{message}")
            };
        }
        match level {
            Level::ERROR => line!(error),
            Level::WARN => line!(warn),
            Level::INFO => line!(info),
            Level::DEBUG => line!(debug),
            Level::TRACE => line!(trace),
        }
    }
}

/// A guest logged more than it may for one event.
pub struct GuestLogCut<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// The lines that were left out.
    pub left_out: u64,
    /// How many one event may log.
    pub lines_max: u32,
}

impl GuestLogCut<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { plugin, left_out, lines_max } = self;
        warn!(plugin, left_out, "the log of an event was cut after {lines_max} lines");
    }
}

/// A guest logged more than it may in one second.
pub struct GuestLogSlowed<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// The lines that were left out.
    pub left_out: u64,
    /// How many one second may have.
    pub lines_max: u32,
}

impl GuestLogSlowed<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { plugin, left_out, lines_max } = self;
        warn!(plugin, left_out, "the log of a second was cut after {lines_max} lines");
    }
}

/// The host could not move an event to a delay or dead-letter queue; it holds it and tries again.
pub struct MoveFailed<'a> {
    /// Where it was to go.
    pub exchange: &'a str,
    /// With which key.
    pub routing_key: &'a str,
    /// Why it did not.
    pub cause: &'a str,
    /// Until the next try.
    pub pause: Duration,
}

impl MoveFailed<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { exchange, routing_key, cause, pause } = self;
        error!(
            exchange,
            routing_key,
            "an event can't be moved, it is held and tried again in {pause:?}: {}",
            reason(cause)
        );
    }
}

/// A plugin that was not there before is active.
pub struct PluginLoaded<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// Its version.
    pub digest: &'a dyn Display,
    /// From reading it to being ready.
    pub elapsed: Duration,
}

impl PluginLoaded<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { plugin, digest, elapsed } = self;
        count_reload(plugin, "loaded");
        set_active(plugin, digest, true);
        info!(plugin, %digest, seconds = elapsed.as_secs_f64(), "plugin loaded");
    }
}

/// A plugin has a new version, or a new manifest.
pub struct PluginReloaded<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// The version until now.
    pub old: &'a dyn Display,
    /// The version from now on; may be the same.
    pub digest: &'a dyn Display,
    /// From reading it to being ready.
    pub elapsed: Duration,
}

impl PluginReloaded<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { plugin, old, digest, elapsed } = self;
        count_reload(plugin, "reloaded");
        set_active(plugin, old, false);
        set_active(plugin, digest, true);
        info!(plugin, %old, %digest, seconds = elapsed.as_secs_f64(), "plugin reloaded");
    }
}

/// A plugin's files cannot be used.
pub struct PluginRefused<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// What is wrong, with all causes.
    pub cause: &'a dyn Display,
    /// What a person can do about it.
    pub hint: Option<&'a str>,
    /// The version that stays active, if there is one.
    pub kept: Option<&'a dyn Display>,
}

impl PluginRefused<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { plugin, cause, hint, kept } = self;
        count_reload(plugin, "refused");
        let cause = cause.to_string();
        let hint = hint.map(tracing::field::display);
        match kept {
            Some(digest) => error!(
                plugin,
                %digest,
                hint,
                "plugin refused, the version before stays active: {}",
                reason(&cause)
            ),
            None => error!(plugin, hint, "plugin refused: {}", reason(&cause)),
        }
    }
}

/// A plugin is gone from the folder.
pub struct PluginRemoved<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// The version that was active, if one was.
    pub digest: Option<&'a dyn Display>,
}

impl PluginRemoved<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { plugin, digest } = self;
        count_reload(plugin, "removed");
        if let Some(digest) = digest {
            set_active(plugin, digest, false);
        }
        info!(plugin, digest = digest.map(tracing::field::display), "plugin removed");
    }
}

fn count_reload(plugin: &str, result: &'static str) {
    counter!(name::PLUGIN_RELOADS, "plugin" => plugin.to_owned(), "result" => result).increment(1);
}

fn set_active(plugin: &str, digest: &dyn Display, active: bool) {
    let labels = [("plugin", plugin.to_owned()), ("digest", digest.to_string())];
    gauge!(name::PLUGIN_INFO, &labels).set(if active { 1.0 } else { 0.0 });
}

/// The channel was gone before an event was settled: the broker delivers it again.
pub struct AckLost<'a> {
    /// As the subscription names it.
    pub queue: &'a str,
    /// How many events.
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

/// The broker delivers from a queue.
pub struct ConsumerUp<'a> {
    /// As the subscription names it.
    pub queue: &'a str,
}

impl ConsumerUp<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        gauge!(name::CONSUMER_UP, "queue" => self.queue.to_owned()).set(1.0);
        info!(queue = self.queue, "consuming");
    }
}

/// The broker does not deliver from a queue any more.
pub struct ConsumerDown<'a> {
    /// As the subscription names it.
    pub queue: &'a str,
    /// Why; `None` where the host itself has stopped.
    pub cause: Option<&'a str>,
}

impl ConsumerDown<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        gauge!(name::CONSUMER_UP, "queue" => self.queue.to_owned()).set(0.0);
        match self.cause {
            Some(cause) => warn!(queue = self.queue, "not consuming: {}", reason(cause)),
            None => info!(queue = self.queue, "stopped consuming"),
        }
    }
}
