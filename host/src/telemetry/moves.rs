//! Reports about what the host publishes: events that it moves to delay queues and to dead letters,
//! and what handlers ask for. Next in the flow: [`crate::dispatch`], which emits them.

use super::metrics::name;
use super::rarely::Say;
use super::report::{reason, short};
use super::trouble::{self, Kind, What};
use metrics::counter;
use std::time::Duration;
use tracing::{debug, error, info, warn};

/// A dead letter was larger than the broker takes, and left a header behind.
pub struct HeaderCut<'a> {
    /// Where the event came from.
    pub queue: &'a str,
    /// The AMQP property, empty if it has none.
    pub message_id: &'a str,
    /// The header's name.
    pub header: &'a str,
}

impl HeaderCut<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { queue, message_id, header } = self;
        let (message_id, header) = (short(message_id), short(header));
        let (what, plugin, queue) = (What::HeaderLost, String::new(), queue.to_owned());
        const TEXT: &str = "a dead letter left a header behind: it was too large";
        if trouble::happened(Kind { what, plugin, queue: queue.clone(), class: "" }) {
            warn!(queue, %message_id, %header, "{TEXT}");
        } else {
            debug!(queue, %message_id, %header, "{TEXT}");
        }
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
    /// Whether people are to be told; of others there is a line for `debug`.
    pub say: Option<Say>,
}

impl MoveFailed<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { exchange, routing_key, cause, pause, say } = self;
        let cause = reason(cause);
        match say {
            None => {
                debug!(
                    exchange,
                    routing_key, "an event can't be moved, again in {pause:?}: {cause}"
                );
            }
            Some(Say::Again { more }) => error!(
                exchange,
                routing_key, "still no event can be moved there, {more} more tries failed: {cause}"
            ),
            Some(_) => error!(
                exchange,
                routing_key,
                "an event can't be moved, it is held and tried again in {pause:?}: {cause}"
            ),
        }
    }
}

/// Events can be moved again to where they could not.
pub struct MoveArrived<'a> {
    /// Where.
    pub exchange: &'a str,
    /// With which key.
    pub routing_key: &'a str,
    /// For how long that was not so.
    pub lasted: Duration,
}

impl MoveArrived<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { exchange, routing_key, lasted } = self;
        let seconds = lasted.as_secs_f64();
        info!(exchange, routing_key, seconds, "events can be moved there again");
    }
}

/// The confirm of a publication was lost: it is published again, and may be there twice.
pub struct Resent<'a> {
    /// Whose it is: `handler`, or `host` for the moves of events.
    pub by: &'static str,
    /// The AMQP property, empty if it has none.
    pub message_id: &'a str,
    /// What became of the confirm.
    pub cause: &'a str,
}

impl Resent<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { by, message_id, cause } = self;
        counter!(name::RESENT, "by" => by).increment(1);
        let (message_id, cause) = (short(message_id), reason(cause));
        debug!(by, %message_id, "publishing again: {cause}");
    }
}
