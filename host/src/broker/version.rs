//! Who the broker says it is, and what follows from its version: where brokers differ, this page
//! says how, and nothing else in the host compares versions. Next in the flow: [`super::amqp`],
//! which reads it from the handshake.

use std::fmt;

/// A broker, by its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// E.g. `RabbitMQ`; empty if it did not say.
    pub product: String,
    /// `None` if it did not say, or not in numbers.
    pub version: Option<Version>,
    /// The name of its cluster, if it told.
    pub cluster: Option<String>,
    /// What follows from that.
    pub features: Features,
}

/// The release of a broker. Pre-releases count as what they precede.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// As in 4.x.x.
    pub major: u32,
    /// As in x.3.x.
    pub minor: u32,
    /// As in x.x.1; 0 if there is none.
    pub patch: u32,
}

/// What depends on the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Quorum queues obey `x-delayed-retry-type` and its companions; others take them and do
    /// nothing.
    pub native_delayed_retry: bool,
    /// How often a quorum queue that states no `x-delivery-limit` takes a message back, before it
    /// dead-letters it, or drops it where it has no dead-letter exchange.
    pub default_delivery_limit: Option<u32>,
    /// What happens to a consumer that holds a delivery for too long (30 minutes by default).
    pub consumer_timeout: ConsumerTimeout,
    /// `basic.nack(requeue)` counts toward the delivery limit of a quorum queue, as
    /// `basic.reject(requeue)` always does.
    pub nack_counts: bool,
    /// Takes `basic.qos(global)`. The host never sends it.
    pub global_qos: bool,
    /// Takes queues that are neither durable nor exclusive, unless that is configured away.
    pub transient_queues: bool,
}

/// See [`Features::consumer_timeout`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsumerTimeout {
    /// Nothing.
    None,
    /// Its channel is closed with 406, whatever the type of the queue.
    ClosesChannel,
    /// Just that consumer is cancelled, on quorum queues only.
    CancelsConsumer,
}

/// The only product whose versions say something.
const RABBITMQ: &str = "RabbitMQ";

impl Server {
    /// What follows from `product` and `version`, as the broker writes them.
    pub fn new(product: &str, version: &str, cluster: Option<&str>) -> Self {
        let version = Version::parse(version);
        // Others speak AMQP too, and count their versions otherwise.
        let features = Features::of(version.filter(|_| product == RABBITMQ));
        Self { product: product.to_owned(), version, cluster: cluster.map(str::to_owned), features }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product =
            if self.product.is_empty() { "a broker without a name" } else { &self.product };
        match self.version {
            Some(version) => write!(f, "{product} {version}"),
            None => write!(f, "{product} of an unknown version"),
        }
    }
}

impl Version {
    /// `4.2.1`, `4.3`, `4.3.0-rc.1`, `3.13.7+12.gabc`; `None` for what does not begin with two
    /// numbers.
    pub fn parse(text: &str) -> Option<Self> {
        let release = text.split(['-', '+', '~']).next().unwrap_or_default();
        let mut numbers = release.split('.').map(|number| number.parse().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        let patch = match numbers.next() {
            Some(patch) => patch?,
            None => 0,
        };
        Some(Self { major, minor, patch })
    }

    fn is_from(self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Features {
    /// Those of RabbitMQ `version`; an unknown one is treated as the oldest.
    pub fn of(version: Option<Version>) -> Self {
        let from = |major, minor| version.is_some_and(|version| version.is_from(major, minor));
        Self {
            native_delayed_retry: from(4, 3),
            default_delivery_limit: from(4, 0).then_some(20),
            consumer_timeout: if from(4, 3) {
                ConsumerTimeout::CancelsConsumer
            } else {
                ConsumerTimeout::ClosesChannel
            },
            nack_counts: !from(4, 3),
            global_qos: !from(4, 3),
            transient_queues: !from(4, 3),
        }
    }
}

/// For people: what a log line says of them.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let retry = if self.native_delayed_retry { "obey" } else { "ignore" };
        write!(f, "quorum queues {retry} `x-delayed-retry-type`, ")?;
        match self.default_delivery_limit {
            Some(limit) => write!(f, "take a message back {limit} times by default, ")?,
            None => write!(f, "take a message back without a limit by default, ")?,
        }
        f.write_str(match self.consumer_timeout {
            ConsumerTimeout::None => "a consumer may hold a delivery for any time",
            ConsumerTimeout::ClosesChannel => "a consumer's timeout closes its channel",
            ConsumerTimeout::CancelsConsumer => "a consumer's timeout cancels it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_brokers_write_them() {
        let version = |major, minor, patch| Some(Version { major, minor, patch });
        let table = [
            ("3.10.8", version(3, 10, 8)),
            ("4.2.1", version(4, 2, 1)),
            ("4.3", version(4, 3, 0)),
            ("4.3.0-rc.1", version(4, 3, 0)),
            ("3.13.7+12.gabc.dirty", version(3, 13, 7)),
            ("4.1.0~beta.2", version(4, 1, 0)),
            ("4.3.1.2", version(4, 3, 1)),
            ("", None),
            ("4", None),
            ("4.x.1", None),
            ("4.3.x", None),
            ("v4.3.0", None),
            ("99999999999.1.0", None),
            ("-4.3.0", None),
        ];
        for (text, expected) in table {
            assert_eq!(Version::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_depends_on_the_version_is_decided_by_it_alone() {
        use ConsumerTimeout::{CancelsConsumer, ClosesChannel};
        let table = [
            ("RabbitMQ", "3.10.8", (false, None, ClosesChannel)),
            ("RabbitMQ", "3.13.7", (false, None, ClosesChannel)),
            ("RabbitMQ", "4.0.0", (false, Some(20), ClosesChannel)),
            ("RabbitMQ", "4.2.9", (false, Some(20), ClosesChannel)),
            ("RabbitMQ", "4.3.0-rc.1", (true, Some(20), CancelsConsumer)),
            ("RabbitMQ", "4.3.0", (true, Some(20), CancelsConsumer)),
            ("RabbitMQ", "4.10.0", (true, Some(20), CancelsConsumer)),
            ("RabbitMQ", "5.0.0", (true, Some(20), CancelsConsumer)),
            ("RabbitMQ", "", (false, None, ClosesChannel)),
            ("RabbitMQ", "newest", (false, None, ClosesChannel)),
            ("", "4.3.0", (false, None, ClosesChannel)),
            ("LavinMQ", "4.3.0", (false, None, ClosesChannel)),
        ];
        for (product, version, expected) in table {
            let features = Server::new(product, version, None).features;
            let Features { native_delayed_retry, default_delivery_limit, consumer_timeout, .. } =
                features;
            let decided = (native_delayed_retry, default_delivery_limit, consumer_timeout);
            assert_eq!(decided, expected, "{product} {version}");
            let old = !native_delayed_retry;
            let Features { nack_counts, global_qos, transient_queues, .. } = features;
            assert_eq!((nack_counts, global_qos, transient_queues), (old, old, old), "{version}");
        }
    }

    #[test]
    fn a_broker_is_named_by_what_is_known_of_it() {
        let named = |product, version| Server::new(product, version, None).to_string();
        assert_eq!(named("RabbitMQ", "4.2.0-rc.1"), "RabbitMQ 4.2.0");
        assert_eq!(named("RabbitMQ", "?"), "RabbitMQ of an unknown version");
        assert_eq!(named("", ""), "a broker without a name of an unknown version");
    }
}
