//! RabbitMQ, by AMQP 0-9-1: one connection to consume and one to publish, each kept open by a
//! [`link`]. Begin with [`link`], then [`consumer`] and [`acker`] (one of each for a subscription),
//! [`publisher`] and [`declare`]. Next in the flow: [`crate::wit`] and [`crate::plugin`].

mod acker;
mod backoff;
mod consumer;
mod convert;
mod declare;
mod error;
mod greeting;
mod link;
mod look;
mod mend;
mod publisher;
mod refusal;
mod tally;
mod request;
mod survey;
mod tls;
mod uri;
mod wire;

pub use error::ConnectError;
pub use uri::{Config, ConfigError, Tls, Uri};

use super::{
    Access, Broker, Consume, Counter, Depth, Health, Item, Mode, PublishError, Refused, Seen,
    Server, State, Status, Subscription, Topology, TopologyError,
};
use crate::flow::Publication;
use acker::Flushing;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use link::{Common, Link, Open};
use publisher::Publisher;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

/// For TCP, TLS and the AMQP handshake together.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// For each request of the set-up: opening a channel, declaring, consuming.
const STEP_LIMIT: Duration = Duration::from_secs(10);
/// For what was settled to be written, and for the broker to confirm the end of a connection.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// How many deliveries are held where prefetch is unlimited.
const HELD_MAX: usize = 1000;

/// RabbitMQ.
pub struct AmqpBroker {
    consume: Arc<Link>,
    publish: Arc<Link>,
    publisher: Publisher,
    flushing: Flushing,
    common: Arc<Common>,
    watchdog: Duration,
    _stop: DropGuard,
}

impl AmqpBroker {
    /// Starts to connect and returns at once, inside a tokio runtime; whether the broker is there
    /// shows in [`Broker::health`].
    pub fn connect(config: Config) -> Arc<Self> {
        let watchdog = config.watchdog;
        let config = Arc::new(config);
        let stop = CancellationToken::new();
        let common = Arc::<Common>::default();
        let start = |role| Link::start(role, config.clone(), common.clone(), stop.child_token());
        let (consume, publish) = (start("consume"), start("publish"));
        let publisher = Publisher::new(Arc::clone(&publish));
        let flushing = Flushing::default();
        Arc::new(Self {
            consume,
            publish,
            publisher,
            flushing,
            common,
            watchdog,
            _stop: stop.drop_guard(),
        })
    }
}

impl AmqpBroker {
    /// The connection for questions: the one to publish may be blocked, and then answers none.
    async fn asking(&self) -> Result<Arc<Open>, TopologyError> {
        let open = tokio::time::timeout(STEP_LIMIT, self.consume.open()).await;
        open.map_err(|_| TopologyError::Other {
            what: "the broker".to_owned(),
            reason: self.consume.down().unwrap_or_default(),
        })
    }
}

/// Connects once, to the first URI that answers, within 10 s for each, and closes again.
pub async fn probe(config: &Config) -> Result<(), ConnectError> {
    let mut result = Err(ConnectError::Unconfigured);
    for uri in &config.uris {
        match wire::open(uri, config, &format!("{} probe", config.name)).await {
            Ok(wired) => {
                // It answered; whether it also says goodbye does not matter.
                wired.close().await;
                return Ok(());
            }
            Err(error) if matches!(&result, Err(earlier) if earlier.is_refusal()) => drop(error),
            Err(error) => result = Err(error),
        }
    }
    result
}

impl Broker for AmqpBroker {
    fn subscribe(&self, consume: Consume) -> Subscription {
        let held = if consume.prefetch == 0 { HELD_MAX } else { consume.prefetch.into() };
        let (sender, deliveries) = mpsc::channel(held);
        let (tell, status) = watch::channel(Status::now(State::Starting));
        let (cancel, leaving) = (CancellationToken::new(), CancellationToken::new());
        let (counter, tail) = Counter::new();
        let consumer = consumer::Consumer {
            link: Arc::clone(&self.consume),
            consume,
            deliveries: sender,
            status: tell,
            counter: counter.clone(),
            tail,
            delivered: Arc::default(),
            watchdog: self.watchdog,
            cancel: cancel.clone(),
            leaving: leaving.clone(),
            flushing: self.flushing.clone(),
        };
        tokio::spawn(consumer.run());
        Subscription { deliveries, status, counter, cancel, leaving }
    }

    fn publish(&self, publication: Publication) -> BoxFuture<'_, Result<(), PublishError>> {
        self.publisher.publish(publication).boxed()
    }

    fn declare<'a>(
        &'a self,
        topology: &'a Topology,
        mode: Mode,
    ) -> BoxFuture<'a, Result<(), TopologyError>> {
        async move {
            let open = self.publish.writable().await;
            declare::shared(open.connection(), topology, mode).await
        }
        .boxed()
    }

    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<Depth>, TopologyError>> {
        async move { look::depth(self.asking().await?.connection(), queue).await }.boxed()
    }

    fn sweep<'a>(
        &'a self,
        names: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<(String, Depth)>, TopologyError>> {
        async move { look::sweep(self.asking().await?.connection(), names).await }.boxed()
    }

    fn look<'a>(&'a self, wanted: &'a Item) -> BoxFuture<'a, Result<Seen, TopologyError>> {
        async move { survey::look(self.asking().await?.connection(), wanted).await }.boxed()
    }

    fn may<'a>(
        &'a self,
        access: &'a Access,
    ) -> BoxFuture<'a, Result<Option<Refused>, TopologyError>> {
        async move { survey::may(self.asking().await?.connection(), access).await }.boxed()
    }

    fn health(&self) -> Health {
        Health { links: vec![self.consume.health(), self.publish.health()] }
    }

    fn server(&self) -> Option<Server> {
        self.common.introduced.server()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            self.flushing.done(CLOSE_LIMIT).await;
            tokio::join!(self.consume.close(), self.publish.close());
        }
        .boxed()
    }
}
