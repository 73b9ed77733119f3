//! What there is at a broker, and what a user may do there: answers that cost nothing and change
//! nothing. Next in the flow: [`super::amqp`] and [`super::memory`], which know them.

use super::{Exchange, Queue};
use crate::flow::Field;
use std::fmt::{self, Display};

/// An exchange or a queue as it is to be, or as it is.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Item {
    Exchange(Exchange),
    Queue(Queue),
}

/// The name of an exchange or a queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Name {
    Exchange(String),
    Queue(String),
}

/// What was found under a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// Nothing.
    Absent,
    /// What was stated, or more; as it is, unless the user may not know.
    There(Option<Item>),
    /// Something else than was stated.
    Differs(Vec<Difference>),
}

/// One setting that is not as it was stated.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// `durable`, `x-max-length`, …
    pub setting: String,
    /// What was stated, if anything.
    pub stated: Option<Field>,
    /// What is there, if anything.
    pub current: Option<Field>,
}

/// What a user may be permitted to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// To declare it.
    Declare(Name),
    /// To consume from this queue.
    Consume(String),
    /// To publish to this exchange; empty for the default exchange.
    Publish(String),
    /// To bind the one to the other.
    Bind {
        /// From here.
        exchange: String,
        /// To here.
        queue: String,
    },
}

/// What is lacking for an [`Access`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The permission, of the three that RabbitMQ has.
    pub right: Right,
    /// On what; the default exchange is called `amq.default` here.
    pub on: Name,
}

/// A permission, as `rabbitmqctl set_permissions` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "RabbitMQ's own names")]
pub enum Right {
    Configure,
    Write,
    Read,
}

impl Item {
    /// What it is called.
    pub fn name(&self) -> Name {
        match self {
            Self::Exchange(exchange) => Name::Exchange(exchange.name.clone()),
            Self::Queue(queue) => Name::Queue(queue.name.clone()),
        }
    }
}

impl Name {
    /// The name as such.
    pub fn text(&self) -> &str {
        let (Self::Exchange(text) | Self::Queue(text)) = self;
        text
    }
}

impl Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exchange(name) => write!(f, "exchange `{name}`"),
            Self::Queue(name) if name.is_empty() => f.write_str("queue (named by the server)"),
            Self::Queue(name) => write!(f, "queue `{name}`"),
        }
    }
}

impl Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        })
    }
}

impl Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, stated, current } = self;
        let side = |side: &Option<Field>| match side {
            None => "nothing".to_owned(),
            Some(field) => field.to_json().to_string(),
        };
        write!(f, "`{setting}`: the broker has {}, stated is {}", side(current), side(stated))
    }
}
