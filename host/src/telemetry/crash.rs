//! Reports of hosts that were ended while they handled events, and of what is done about it.

use super::report::{reason, short};
use std::path::Path;
use tracing::{info, warn};

/// A host before this one was ended while it handled events.
pub struct HostWasEnded {
    /// How many.
    pub events: usize,
}

impl HostWasEnded {
    /// Logs it.
    pub fn emit(self) {
        let events = self.events;
        warn!(
            events,
            "a host was ended while it handled events: each is handled alone first when it comes again"
        );
    }
}

/// An event comes again that was being handled when a host ended, or has come too often.
pub struct SuspectHandled<'a> {
    /// Where it came from.
    pub queue: &'a str,
    /// The AMQP property, empty if it has none.
    pub message_id: &'a str,
    /// How many hosts ended while they handled it alone.
    pub crashes: u32,
    /// How many hosts ended while they handled it beside others.
    pub suspicions: u32,
    /// How often the broker has counted that it took it back.
    pub returned: u32,
    /// Nothing else is being handled for now.
    pub alone: bool,
}

impl SuspectHandled<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { queue, message_id, crashes, suspicions, returned, alone } = self;
        let message_id = short(message_id);
        let text = match (crashes, suspicions) {
            (0, 0) => {
                "this event came back often, by lost connections or ends of hosts; it is handled"
            }
            _ => "a host ended while it handled this event; it is handled again",
        };
        info!(queue, %message_id, crashes, suspicions, returned, alone, "{text}");
    }
}

/// The journal of what is being handled can't be kept on disk.
pub struct JournalUnusable<'a> {
    /// Where it was to be.
    pub dir: &'a Path,
    /// Why not.
    pub cause: &'a std::io::Error,
}

impl JournalUnusable<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { dir, cause } = self;
        warn!(
            dir = %dir.display(),
            "what is being handled is not noted on disk, so that an event which ends the host is \
             only stopped by a quorum queue: {}",
            reason(&cause.to_string())
        );
    }
}
