//! The nouns of the host, as plain data: a [`Delivery`] comes from the broker, a plugin turns its
//! [`Event`] into an [`Outcome`], and a [`Settlement`] is what the broker is told.
//! Next in the flow: [`crate::policy`], which turns an outcome into a settlement.

mod amqp;
mod json;
mod outcome;
mod receipt;
mod topic;

pub use amqp::{Field, Headers, Properties, Publication};
pub use json::JsonError;
pub use outcome::{Class, Fault, Outcome, Settlement};
pub use receipt::{Receipt, Verdict};
pub use topic::{PatternError, TopicPattern};

/// What a guest may see of a delivery.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The exchange that the message was published to; empty for the default exchange.
    pub exchange: String,
    /// The routing key that it was published with.
    pub routing_key: String,
    /// The queue that it was consumed from.
    pub queue: String,
    /// The broker delivered it before.
    pub redelivered: bool,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// How often the broker took it back unsettled during this attempt; only quorum queues count.
    pub returned: u32,
    /// When a host first received it: milliseconds since the Unix epoch.
    pub first_seen: u64,
    /// What the host knows it by, where it needs to recognize it. Travels with its moves; not for
    /// guests.
    pub id: Option<String>,
    /// Properties and headers as they were published, without what the host added for itself.
    pub properties: Properties,
    /// The payload.
    pub body: Vec<u8>,
}

impl Event {
    /// Its message-id; an empty one is none.
    pub fn message_id(&self) -> Option<&str> {
        self.properties.message_id.as_deref().filter(|id| !id.is_empty())
    }
}

/// One event with the right to settle it, once.
#[derive(Debug)]
pub struct Delivery {
    /// What happened.
    pub event: Event,
    /// Settles it; an unsettled receipt that is dropped is rejected with requeue.
    pub receipt: Receipt,
}
