//! Who gets which delivery, and how many at once. [`handle`](handle::handle) is the page to read
//! first; [`Dispatcher`] keeps the consumers in step with the plugins, and [`host`] feeds it with
//! them. Next in the flow: [`crate::admin`], which shows all this.

pub mod audit;
mod consumer;
mod delays;
mod desk;
mod failpoint;
pub mod handle;
pub mod host;
pub mod idle;
mod journal;
mod memory;
pub mod moves;
mod outbound;
pub mod plan;
mod steps;

use crate::broker::{Broker, Counter, State, Status};
use consumer::Consumer;
pub use desk::Paused;
use idle::Counted;
use journal::Journal;
use outbound::{Delayed, Outbound};
use plan::Planned;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The consumers of a host.
pub struct Dispatcher {
    broker: Arc<dyn Broker>,
    shared: Arc<Shared>,
    consumers: Mutex<BTreeMap<String, Consumer>>,
    /// Those that were told to end, and may not have.
    leaving: Mutex<BTreeMap<String, watch::Receiver<Status>>>,
}

/// What all consumers share.
pub struct Shared {
    /// Publishes for them.
    outbound: Outbound,
    /// What they are handling, for the host after this one.
    journal: Journal,
    /// The events in flight.
    events: TaskTracker,
    /// Ends events that outlive the grace time.
    kill: CancellationToken,
    /// What all times are counted from.
    started: Instant,
    /// The subscriptions that are not over.
    subscriptions: Mutex<Vec<Counter>>,
}

impl Shared {
    /// How many subscriptions are not over, those that have ended and still hold something
    /// included.
    fn subscriptions(&self, more: Option<&Counter>) -> usize {
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions.retain(|subscription| !subscription.is_over());
        subscriptions.extend(more.cloned());
        subscriptions.len()
    }
}

/// A consumer as it is seen from outside.
#[derive(Debug, Clone)]
pub struct ConsumerStatus {
    /// The queue; `PLUGIN#N` where the server names it.
    pub queue: String,
    /// The plugins that consume it.
    pub plugins: Vec<Arc<str>>,
    /// Those of them that are paused.
    pub paused: Vec<Paused>,
    /// Whether it is live.
    pub status: Status,
}

impl Dispatcher {
    /// No consumers yet, on `broker`.
    fn new(broker: Arc<dyn Broker>, journal: Journal) -> Self {
        let shared = Shared {
            outbound: Outbound::new(broker.clone()),
            journal,
            events: TaskTracker::new(),
            kill: CancellationToken::new(),
            started: Instant::now(),
            subscriptions: Mutex::default(),
        };
        Self {
            broker,
            shared: Arc::new(shared),
            consumers: Mutex::default(),
            leaving: Mutex::default(),
        }
    }

    /// Makes the consumers what was planned. One whose subscription is as it was goes on consuming,
    /// whatever changed in its plugins; one that differs consumes anew; one that is not planned
    /// ends; one whose queue is `held` is not begun.
    pub fn apply(&self, planned: &BTreeMap<String, Planned>, held: impl Fn(&str) -> bool) {
        let mut consumers = self.consumers();
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|_, status| status.borrow().state != State::Ended);
        for (key, gone) in consumers.extract_if(.., |key, _| !planned.contains_key(key)) {
            leaving.insert(key, gone.status.clone());
        }
        for (key, planned) in planned {
            match consumers.remove(key) {
                Some(consumer) if consumer.consume == planned.consume => {
                    consumer.update(planned);
                    consumers.insert(key.clone(), consumer);
                }
                None if held(key) => {}
                mut old => {
                    if planned.in_order() && planned.outlives_its_consumer() {
                        leaving.extend(old.take().map(|old| (key.clone(), old.status.clone())));
                    }
                    let before = leaving.get(key).cloned();
                    let new = Consumer::start(key, planned, &self.broker, &self.shared, before);
                    if let Some(old) = old {
                        old.hand_over(&new);
                    }
                    consumers.insert(key.clone(), new);
                }
            }
        }
    }

    /// Each consumer and how it is doing.
    pub fn statuses(&self) -> Vec<ConsumerStatus> {
        let consumers = self.consumers();
        let status = |(queue, consumer): (&String, &Consumer)| ConsumerStatus {
            queue: queue.clone(),
            plugins: consumer.plugins(),
            paused: consumer.paused(),
            status: consumer.status.borrow().clone(),
        };
        consumers.iter().map(status).collect()
    }

    /// Each consumer, to be asked how much is left.
    fn counted(&self) -> Vec<Counted> {
        let consumers = self.consumers();
        let counted = |(queue, consumer): (&String, &Consumer)| Counted {
            queue: queue.clone(),
            counter: consumer.counter(),
            state: consumer.status.borrow().state.clone(),
        };
        consumers.iter().map(counted).collect()
    }

    /// How many subscriptions there are, and how many have ended and still hold something.
    fn subscriptions(&self) -> usize {
        self.shared.subscriptions(None)
    }

    /// How many events are being handled.
    fn in_flight(&self) -> usize {
        self.shared.events.len()
    }

    /// What waits for another attempt, as far as this host has sent it there.
    fn delayed(&self) -> HashMap<String, Delayed> {
        self.shared.outbound.delayed()
    }

    /// Until when queues that delay what they take back may hold something.
    fn held(&self) -> HashMap<String, Instant> {
        self.shared.outbound.held()
    }

    /// Where events can't be moved to, and for how long.
    fn stuck(&self) -> Vec<((String, String), Duration)> {
        self.shared.outbound.stuck()
    }

    /// Ends intake, waits until what is in flight is settled, `grace` at most, and gives the rest
    /// back. The number of events that did not end in time.
    pub async fn stop(&self, grace: Duration) -> usize {
        self.consumers().clear();
        self.shared.events.close();
        let settled = tokio::time::timeout(grace, self.shared.events.wait()).await;
        let left = if settled.is_ok() { 0 } else { self.shared.events.len() };
        self.shared.kill.cancel();
        self.shared.events.wait().await;
        self.shared.journal.close();
        left
    }

    fn consumers(&self) -> MutexGuard<'_, BTreeMap<String, Consumer>> {
        self.consumers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
