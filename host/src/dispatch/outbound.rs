//! Publishing on behalf of events: what a handler asked for, which may be refused, and the moves of
//! the host itself, which must arrive. Next: `handle`, which waits for both before it settles.

use super::moves::Move;
use crate::broker::{Broker, Consume, DelayedRetry, Mode, PublishError, Topology, TopologyError};
use crate::flow::Publication;
use crate::policy::{RETURNS_ALONE, RETURNS_MAX};
use crate::telemetry::rarely::{Rarely, Say};
use crate::telemetry::report;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a topology that was declared is taken to be there still. Delay queues live longer.
const TRUSTED: Duration = Duration::from_secs(300);

/// How long a move waits for the broker to take it before what it goes to is declared again: beyond
/// `TRUSTED`, a delay queue that nobody uses may be gone before the delay is over.
const CARRY_MAX: Duration = Duration::from_secs(60);

/// The pause after a first failure; it doubles up to `PAUSE_MAX`.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// A quorum queue says no while it has no leader, which is over in seconds; one that is full says no
/// for longer, and that is for the policy to judge.
const NACKED_MAX: Duration = Duration::from_secs(10);

/// How often the log says of one target that no event can be moved there.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Its headers are larger than the broker takes.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Publishes, by way of one broker.
pub struct Outbound {
    broker: Arc<dyn Broker>,
    /// When each topology that moves need was declared, by the name of its queue.
    declared: Mutex<HashMap<String, Instant>>,
    delayed: Mutex<HashMap<String, Delayed>>,
    /// Until when queues that delay what they take back may hold something, by their names.
    held: Mutex<HashMap<String, Instant>>,
    /// Where events could not be moved.
    troubles: Mutex<Rarely<(String, String)>>,
}

/// The use of a delay queue.
#[derive(Debug, Clone, Copy)]
pub struct Delayed {
    /// When the last event was put into it.
    pub put: Instant,
    /// When the last one is to leave it.
    pub due: Instant,
}

impl Outbound {
    /// By way of `broker`.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        let troubles = Mutex::new(Rarely::new(SAID_EVERY));
        Self {
            broker,
            declared: Mutex::default(),
            delayed: Mutex::default(),
            held: Mutex::default(),
            troubles,
        }
    }

    /// How the queue of `consume` itself delays what is rejected, if it does.
    pub fn delayed_retry(&self, consume: &Consume) -> Option<DelayedRetry> {
        let stated = DelayedRetry::is_stated(consume);
        let server = stated.then(|| self.broker.server()).flatten()?;
        DelayedRetry::of(consume, &server.features)
    }

    /// How often the queue of `consume` may take an event back before it is a dead letter uncalled:
    /// sooner than [`RETURNS_MAX`] if the queue would drop it then.
    pub fn returns_max(&self, consume: &Consume) -> u32 {
        let limit = self.broker.server().map(|server| consume.delivery_limit(&server.features));
        limit.unwrap_or(RETURNS_MAX).clamp(RETURNS_ALONE, RETURNS_MAX)
    }

    /// `queue` itself may hold events for as long as `delay`.
    pub fn holds(&self, queue: &str, delay: Duration) {
        let until = Instant::now() + delay;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let known = held.entry(queue.to_owned()).or_insert(until);
        *known = until.max(*known);
    }

    /// Until when queues that delay what they take back may hold something, by their names.
    pub fn held(&self) -> HashMap<String, Instant> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publishes what a handler asked for, and waits for the confirms. A connection that was lost
    /// before its confirm is no refusal, and neither is a nack at first: it is published again, with
    /// the same message-id.
    ///
    /// # Errors
    /// The first publication that the broker does not take.
    pub async fn publish(&self, publications: &[Publication]) -> Result<(), PublishError> {
        for publication in publications {
            self.publish_one(publication).await?;
        }
        Ok(())
    }

    async fn publish_one(&self, publication: &Publication) -> Result<(), PublishError> {
        // Only where there is one queue: with more, those that took it would get a copy each time.
        let one_queue = publication.exchange.is_empty();
        let (mut nacked_since, mut pause) = (None, PAUSE_MIN);
        loop {
            let error = match self.broker.publish(publication.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match &error {
                PublishError::Lost(_) => {
                    (nacked_since, pause) = (None, PAUSE_MIN);
                    resent("handler", publication, &error.to_string());
                }
                PublishError::Nacked if one_queue => {
                    if nacked_since.get_or_insert_with(Instant::now).elapsed() > NACKED_MAX {
                        return Err(error);
                    }
                    tracing::debug!(publication.routing_key, "publishing again: {error}");
                }
                _ => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// Where events can't be moved to at the moment, as exchange and routing key, and for how long.
    pub fn stuck(&self) -> Vec<((String, String), Duration)> {
        // An event that is held is tried again in this time, whatever it waits for.
        let recent = CARRY_MAX + 2 * PAUSE_MAX;
        let troubles = self.troubles();
        let lasting = troubles.lasting(Instant::now(), recent);
        lasting.map(|(to, since)| (to.clone(), since.elapsed())).collect()
    }

    /// The delay queues that moves have gone to, and when, by their names.
    pub fn delayed(&self) -> HashMap<String, Delayed> {
        self.delayed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publishes a move of the host. Goes on until the broker has taken it: an event that can't be
    /// moved is held, never lost. Where it goes to may have expired, or be gone half-way: that is
    /// declared again at once, and if it is gone once more, there is trouble.
    ///
    /// # Errors
    /// The broker will never take it as it is.
    pub async fn carry(&self, it: &Move) -> Result<(), TooLarge> {
        let mut pause = PAUSE_MIN;
        let mut gone_before = false;
        loop {
            match self.try_carry(it).await {
                Ok(carried) => {
                    self.arrived(it);
                    return carried;
                }
                Err(Failed { gone: true, .. }) if !std::mem::replace(&mut gone_before, true) => {
                    continue;
                }
                // A connection that was lost is told of, and the next try waits for another.
                Err(Failed { cause, unconfirmed, .. }) => {
                    if unconfirmed {
                        resent("host", &it.publication, &cause);
                    }
                    self.failed(it, &cause, pause, pause > PAUSE_MIN);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn failed(&self, it: &Move, cause: &str, pause: Duration, counts: bool) {
        let Publication { exchange, routing_key, .. } = &it.publication;
        let happened = || self.troubles().happened(target(it), Instant::now());
        let say = counts.then(happened).flatten();
        report::MoveFailed { exchange, routing_key, cause, pause, say }.emit();
    }

    fn arrived(&self, it: &Move) {
        let over = self.troubles().well(&target(it), Instant::now());
        if let Some(Say::Over { lasted, .. }) = over {
            let Publication { exchange, routing_key, .. } = &it.publication;
            report::MoveArrived { exchange, routing_key, lasted }.emit();
        }
    }

    /// Why it did not come to an answer.
    async fn try_carry(&self, it: &Move) -> Result<Result<(), TooLarge>, Failed> {
        self.declare(&it.topology).await?;
        // Before it is known: it may be there although its confirm is lost.
        self.count(it);
        let published = self.broker.publish(it.publication.clone());
        let result = match tokio::time::timeout(CARRY_MAX, published).await {
            Ok(Ok(())) => Ok(Ok(())),
            Ok(Err(PublishError::TooLarge { .. })) => Ok(Err(TooLarge)),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => {
                let cause = "the broker takes no publications at the moment";
                Err(Failed { unconfirmed: true, ..Failed::new(cause) })
            }
        };
        match &result {
            Ok(Ok(())) => self.count(it),
            Ok(Err(TooLarge)) => {}
            // Perhaps it is not there any more.
            Err(_) => self.forget(&it.topology),
        }
        result
    }

    fn count(&self, it: &Move) {
        let (Some(queue), Some(delay)) = (it.topology.queues.first(), it.delay) else { return };
        let put = Instant::now();
        let now = Delayed { put, due: put + delay };
        let mut delayed = self.delayed.lock().unwrap_or_else(PoisonError::into_inner);
        delayed.insert(queue.name.clone(), now);
    }

    async fn declare(&self, topology: &Topology) -> Result<(), Failed> {
        let Some(queue) = topology.queues.first() else { return Ok(()) };
        let trusted = |at: &Instant| at.elapsed() < TRUSTED;
        if self.declared().get(&queue.name).is_some_and(trusted) {
            return Ok(());
        }
        let declared = self.broker.declare(topology, Mode::Ensure).await;
        declared?;
        self.declared().insert(queue.name.clone(), Instant::now());
        Ok(())
    }

    fn forget(&self, topology: &Topology) {
        if let Some(queue) = topology.queues.first() {
            self.declared().remove(&queue.name);
        }
    }

    fn troubles(&self) -> MutexGuard<'_, Rarely<(String, String)>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn declared(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a move did not arrive.
struct Failed {
    /// For people.
    cause: String,
    /// Where it was to go is not there.
    gone: bool,
    /// It may have arrived nevertheless.
    unconfirmed: bool,
}

impl Failed {
    fn new(cause: impl ToString) -> Self {
        Self { cause: cause.to_string(), gone: false, unconfirmed: false }
    }
}

impl From<PublishError> for Failed {
    fn from(error: PublishError) -> Self {
        let gone = match &error {
            PublishError::Unroutable { .. } => true,
            PublishError::Refused(reply) => reply.contains("NOT_FOUND"),
            _ => false,
        };
        let unconfirmed = matches!(error, PublishError::Lost(_));
        Self { gone, unconfirmed, ..Self::new(error) }
    }
}

impl From<TopologyError> for Failed {
    fn from(error: TopologyError) -> Self {
        Self { gone: matches!(error, TopologyError::Missing { .. }), ..Self::new(error) }
    }
}

fn target(it: &Move) -> (String, String) {
    (it.publication.exchange.clone(), it.publication.routing_key.clone())
}

fn resent(by: &'static str, publication: &Publication, cause: &str) {
    let message_id = publication.properties.message_id.as_deref().unwrap_or_default();
    report::Resent { by, message_id, cause }.emit();
}
