//! What the host needs of a broker, as one trait with two implementations: [`amqp`] (RabbitMQ) and
//! [`memory`]. One conformance suite runs against both (`host/tests/all/conformance`).
//! Next in the flow: [`crate::wit`] and [`crate::plugin`], which handle what is delivered here;
//! [`crate::dispatch`] ties them together.

pub mod amqp;
pub mod arrival;
mod delayed_retry;
mod census;
pub mod memory;
mod survey;
mod topology;
mod version;

pub use census::{Census, Counter, Depth};
pub use delayed_retry::DelayedRetry;
pub use survey::{Access, Difference, Item, Name, Refused, Right, Seen};
pub use topology::{
    Binding, Exchange, ExchangeKind, HeadersMatch, Mode, Queue, QueueType, Topology,
};
pub use version::{ConsumerTimeout, Features, Server, Version};

use crate::flow::{Delivery, Field, Publication};
use futures_util::future::BoxFuture;
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A message broker as the host uses it.
pub trait Broker: Send + Sync {
    /// Starts to consume, and goes on through every loss of the connection until the
    /// subscription is cancelled or dropped.
    fn subscribe(&self, consume: Consume) -> Subscription;

    /// Publishes, mandatory and confirmed: ready when the broker has taken responsibility. Waits
    /// while the broker is not there or blocks its publishers; the caller limits how long.
    fn publish(&self, publication: Publication) -> BoxFuture<'_, Result<(), PublishError>>;

    /// Declares (`Mode::Ensure`) or checks (`Mode::Verify`) exchanges, queues and bindings.
    fn declare<'a>(
        &'a self,
        topology: &'a Topology,
        mode: Mode,
    ) -> BoxFuture<'a, Result<(), TopologyError>>;

    /// What a queue holds; `None` if it is not there. Asking is a use of the queue.
    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<Depth>, TopologyError>>;

    /// Which of the delay queues with these `names` are there, and what they hold. A name stands for
    /// the queue and for the exchange that leads to it, and asking costs no error at the broker for
    /// one that is not there: this is for many names of which few are.
    fn sweep<'a>(
        &'a self,
        names: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<(String, Depth)>, TopologyError>>;

    /// What there is under the name of `wanted`, and how it differs from that. Changes nothing.
    fn look<'a>(&'a self, wanted: &'a Item) -> BoxFuture<'a, Result<Seen, TopologyError>>;

    /// What the user lacks for `access`; `None`: it is permitted. Changes nothing.
    fn may<'a>(
        &'a self,
        access: &'a Access,
    ) -> BoxFuture<'a, Result<Option<Refused>, TopologyError>>;

    /// How the connections are doing.
    fn health(&self) -> Health;

    /// Who the broker said it is, at the latest connection; `None` before the first.
    fn server(&self) -> Option<Server>;

    /// Flushes what was settled and closes the connections. Subscriptions must be cancelled before.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What to consume and what must be there first.
#[derive(Debug, Clone, PartialEq)]
pub struct Consume {
    /// The queue; its name is empty for one that the server names.
    pub queue: Queue,
    /// Declared before consuming, again after each loss of the connection; includes `queue`
    /// itself and its bindings (whose `queue` is empty if the server names it).
    pub topology: Topology,
    /// Whether `topology` is created, only checked, or left alone.
    pub mode: Mode,
    /// The most deliveries that may be unsettled at once.
    pub prefetch: u16,
}

impl Consume {
    /// How often a quorum queue takes an event back, as far as that is stated or known: beyond that it
    /// drops it, or dead-letters it if it has been told where to.
    pub fn delivery_limit(&self, features: &Features) -> u32 {
        match self.queue.arguments.get("x-delivery-limit").and_then(Field::as_integer) {
            // Below zero it is no limit.
            Some(stated) => u32::try_from(stated).unwrap_or(u32::MAX),
            None => features.default_delivery_limit.unwrap_or(u32::MAX),
        }
    }
}

/// A running consumer.
pub struct Subscription {
    /// What was delivered. Holds `prefetch` deliveries at most; closed after cancelling, when
    /// nothing more will come.
    pub deliveries: mpsc::Receiver<Delivery>,
    /// Whether there is a live consumer, and if not, why.
    pub status: watch::Receiver<Status>,
    /// Asks it how much is left.
    pub counter: Counter,
    /// Stops intake (`basic.cancel`). What is unsettled stays so until its receipt is used.
    pub cancel: CancellationToken,
    /// See [`Subscription::leave`].
    leaving: CancellationToken,
}

impl Subscription {
    /// Ends it with all that is unsettled, as when its channel closes: that goes back in one step, each
    /// to its place, before any other consumer gets what is behind it. What was settled before is
    /// written first; receipts have no effect from when `deliveries` is closed.
    pub fn leave(&self) {
        self.leaving.cancel();
        self.cancel.cancel();
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Whether a subscription consumes.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Since when it is so.
    pub since: SystemTime,
    /// What it is.
    pub state: State,
}

/// See [`Status`].
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Not consuming yet.
    Starting,
    /// The broker delivers to us, from the queue of this name.
    Live {
        /// The queue's name, the server's where it names it.
        queue: String,
    },
    /// Not consuming; tried again by itself.
    Down {
        /// Why, for people.
        reason: String,
        /// It went with its connection: what is told of that tells of this.
        disconnected: bool,
    },
    /// Not consuming for a while, as the host wishes.
    Paused,
    /// Cancelled by us.
    Ended,
}

impl Status {
    /// `state`, from now on.
    pub fn now(state: State) -> Self {
        Self { since: SystemTime::now(), state }
    }

    /// Tells those who watch, if it is news.
    pub fn tell(to: &watch::Sender<Self>, state: State) {
        to.send_if_modified(|status| {
            let news = status.state != state;
            let down = |state: &State| matches!(state, State::Down { .. });
            if down(&status.state) && down(&state) {
                // For another reason, but since then.
                status.state = state;
            } else if news {
                *status = Self::now(state);
            }
            news
        });
    }
}

/// How the broker's connections are doing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    /// One for each role, `consume` and `publish`.
    pub links: Vec<LinkHealth>,
}

/// One connection.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkHealth {
    /// `consume` or `publish`.
    pub role: &'static str,
    /// Open.
    pub up: bool,
    /// The broker's reason for not taking publications at the moment.
    pub blocked: Option<String>,
    /// Why it is not up.
    pub reason: Option<String>,
}

/// Why a publication was not taken.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PublishError {
    /// No queue took it (`basic.return`).
    #[error("no queue took it: {reply} (exchange `{exchange}`, routing key `{routing_key}`)")]
    Unroutable {
        /// Where it was to go.
        exchange: String,
        /// With which key.
        routing_key: String,
        /// The broker's words, e.g. `312 NO_ROUTE`.
        reply: String,
    },
    /// The broker said no (`basic.nack`), e.g. a queue at its length limit with `reject-publish`.
    #[error("the broker refused it (`basic.nack`)")]
    Nacked,
    /// The channel was closed over it, e.g. 404 for an exchange that is not there.
    #[error("the broker closed the channel: {0}")]
    Refused(String),
    /// Its properties are larger than the broker takes in one frame.
    #[error("its properties and headers have {size} bytes, the broker takes {max}")]
    TooLarge {
        /// Bytes of its content header.
        size: usize,
        /// What one frame has room for.
        max: usize,
    },
    /// The connection was lost before the confirm came: it may or may not have been taken.
    #[error("the connection was lost before the confirm: {0}")]
    Lost(String),
}

/// Why a topology could not be declared.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TopologyError {
    /// 406: it is there, but not as stated.
    #[error("{what} exists with other settings: {difference}")]
    Mismatch {
        /// E.g. ``queue `orders` ``.
        what: String,
        /// The broker's words, with both sides.
        difference: String,
    },
    /// 403.
    #[error("{what}: access refused: {reason}")]
    Forbidden {
        /// E.g. ``queue `orders` ``.
        what: String,
        /// The broker's words.
        reason: String,
    },
    /// 404, with `Mode::Verify` or a binding to an exchange that is not there.
    #[error("{what} does not exist")]
    Missing {
        /// E.g. ``queue `orders` ``.
        what: String,
    },
    /// The broker was lost, or said something else.
    #[error("{what}: {reason}")]
    Other {
        /// What was being declared.
        what: String,
        /// Why it failed.
        reason: String,
    },
}

impl TopologyError {
    /// With what a person can do about it. The names that servers make up are left out: the same
    /// trouble would look like another at each try.
    fn told(&self) -> String {
        let text = match self.hint() {
            Some(hint) => format!("{self}; hint: {hint}"),
            None => self.to_string(),
        };
        let mut parts = text.split("amq.gen-");
        let first = parts.next().unwrap_or_default().to_owned();
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        parts.fold(first, |told, part| told + "amq.gen-…" + part.trim_start_matches(letter))
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Mismatch { .. } => Some(
                "state the same settings in the manifest, leave them out to use what is there, \
                 or delete the queue or exchange at the broker",
            ),
            Self::Forbidden { .. } => Some(
                "give the user the permission (`rabbitmqctl set_permissions`), or declare it by \
                 other means and set `topology = \"verify\"` or `\"off\"`",
            ),
            Self::Missing { .. } => Some("create it, or set `topology = \"ensure\"`"),
            Self::Other { .. } => None,
        }
    }
}
