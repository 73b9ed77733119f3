//! Exchanges, queues and bindings as they are to be.

use crate::flow::Headers;

/// What is done about a topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Create what is absent, use what is there; what is stated must match.
    #[default]
    Ensure,
    /// Create nothing; what is absent is an error.
    Verify,
    /// Neither create nor check.
    Off,
}

/// Exchanges, queues and bindings, declared in this order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Topology {
    /// The default exchange and `amq.*` are always there and not listed.
    pub exchanges: Vec<Exchange>,
    /// The queues.
    pub queues: Vec<Queue>,
    /// From an exchange to a queue.
    pub bindings: Vec<Binding>,
}

/// An exchange.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// Its name.
    pub name: String,
    /// Its type; `None`: it must exist, with whatever type it has.
    pub kind: Option<ExchangeKind>,
    /// Survives a restart of the broker.
    pub durable: bool,
    /// Goes when its last binding does.
    pub auto_delete: bool,
}

/// The type of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "AMQP's own names")]
pub enum ExchangeKind {
    Direct,
    Topic,
    Fanout,
    Headers,
}

impl ExchangeKind {
    /// As AMQP writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Topic => "topic",
            Self::Fanout => "fanout",
            Self::Headers => "headers",
        }
    }

    /// The one that AMQP writes so.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Direct, Self::Topic, Self::Fanout, Self::Headers];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

/// The type of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "RabbitMQ's own names")]
pub enum QueueType {
    Classic,
    Quorum,
}

impl QueueType {
    /// As `x-queue-type` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Quorum => "quorum",
        }
    }
}

/// A queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Empty: named by the server.
    pub name: String,
    /// `None`: the broker's default, and whatever is there.
    pub kind: Option<QueueType>,
    /// Survives a restart of the broker.
    pub durable: bool,
    /// Only for the connection that declared it, and gone with it.
    pub exclusive: bool,
    /// Goes when its last consumer does.
    pub auto_delete: bool,
    /// Without `x-queue-type`, which is `kind`.
    pub arguments: Headers,
}

impl Queue {
    /// A durable queue of the broker's default type.
    pub fn durable(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: None,
            durable: true,
            exclusive: false,
            auto_delete: false,
            arguments: Headers::default(),
        }
    }

    /// Whether there is more to compare than that it exists.
    pub fn states_something(&self) -> bool {
        self.kind.is_some() || !self.durable || self.auto_delete || !self.arguments.is_empty()
    }
}

/// Which messages of an exchange go to a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// The exchange.
    pub exchange: String,
    /// The queue; empty: the one of the subscription, named by the server.
    pub queue: String,
    /// The routing key or, with a topic exchange, its pattern.
    pub routing_key: String,
    /// With a headers exchange, `headers` and how many of them must match.
    pub headers_match: HeadersMatch,
    /// See `headers_match`; with other exchanges, the binding's arguments.
    pub headers: Headers,
}

/// `x-match` of a binding to a headers exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "AMQP's own names")]
pub enum HeadersMatch {
    /// Not stated.
    #[default]
    None,
    All,
    Any,
}
