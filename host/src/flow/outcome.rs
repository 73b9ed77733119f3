//! What came of an event, and what is done about it.

use super::Publication;
use std::time::Duration;

/// What a handler concluded about an event, or how it failed to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Handled. These are to be published before the ack.
    Ok(Vec<Publication>),
    /// The handler asks for another attempt.
    Retry {
        /// Its own delay, if it named one.
        after: Option<Duration>,
        /// In its words.
        reason: String,
    },
    /// The handler says that what it depends on is away.
    Unavailable {
        /// For how long, if it named a time.
        after: Option<Duration>,
        /// In its words.
        reason: String,
    },
    /// The handler says that this event can never be handled.
    Reject(String),
    /// The handler says that nobody needs this event.
    Drop(String),
    /// The handler did not come to a conclusion.
    Failed {
        /// How.
        fault: Fault,
        /// The cause, for people.
        reason: String,
    },
    /// The event was not given to any handler.
    Refused {
        /// Why.
        fault: Fault,
        /// The cause, for people.
        reason: String,
    },
}

/// How an event failed without its handler saying so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The guest trapped.
    Trap,
    /// The wall-clock limit passed.
    Timeout,
    /// The limit of time inside the guest passed.
    Cpu,
    /// The guest asked for more memory than its limit, and failed.
    Memory,
    /// The broker did not take what the handler published.
    Publish,
    /// A store did not take what the handler wrote there.
    Store,
    /// Again and again, other events changed what the handler had read.
    Conflict,
    /// No plugin's `match` fits.
    Unmatched,
    /// The body is over the limit.
    TooLarge,
    /// Earlier attempts ended with the host, as often as attempts are allowed.
    Crash,
    /// The host itself failed.
    Host,
}

impl Fault {
    /// The class under which it is counted and shown.
    pub fn class(self) -> &'static str {
        match self {
            Fault::Trap => "trap",
            Fault::Timeout => "timeout",
            Fault::Cpu => "cpu",
            Fault::Memory => "memory",
            Fault::Publish => "publish",
            Fault::Store => "store",
            Fault::Conflict => "conflict",
            Fault::Unmatched => "unmatched",
            Fault::TooLarge => "too-large",
            Fault::Crash => "crash",
            Fault::Host => "host",
        }
    }
}

/// The name of an outcome's class in metrics and in `x-exception-type`.
pub type Class = &'static str;

impl Outcome {
    /// `ok`, `retry`, `unavailable`, `reject`, `drop`, or the class of the fault.
    pub fn class(&self) -> Class {
        match self {
            Outcome::Ok(_) => "ok",
            Outcome::Retry { .. } => "retry",
            Outcome::Unavailable { .. } => "unavailable",
            Outcome::Reject(_) => "reject",
            Outcome::Drop(_) => "drop",
            Outcome::Failed { fault, .. } | Outcome::Refused { fault, .. } => fault.class(),
        }
    }

    /// How many messages the handler published.
    pub fn publications(&self) -> usize {
        match self {
            Outcome::Ok(publications) => publications.len(),
            _ => 0,
        }
    }

    /// The cause, for people; empty when all went well.
    pub fn reason(&self) -> &str {
        match self {
            Outcome::Ok(_) => "",
            Outcome::Retry { reason, .. }
            | Outcome::Unavailable { reason, .. }
            | Outcome::Failed { reason, .. }
            | Outcome::Refused { reason, .. } => reason,
            Outcome::Reject(reason) | Outcome::Drop(reason) => reason,
        }
    }
}

/// What the broker is told about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// Acknowledge it.
    Ack,
    /// Let it come again after this delay, as the next attempt.
    Retry(Duration),
    /// Let it come again, as the next attempt, after the delay of its own queue.
    Requeue,
    /// Let it come again after this delay, as the same attempt: what failed is not its fault.
    Postpone(Duration),
    /// Make it a dead letter.
    DeadLetter,
    /// Acknowledge it although it was not handled, as was asked for by name.
    Drop,
}
