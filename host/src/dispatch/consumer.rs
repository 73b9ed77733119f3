//! One queue's consumer: gives each delivery to the lane of the plugin whose `match` fits, and each
//! lane handles as many at once as its concurrency says. Next: `handle`.

use super::handle::{Target, give_back, handle};
use super::outbound::Outbound;
use super::plan::{self, Planned};
use crate::broker::{Broker, Consume, State, Status, Subscription};
use crate::flow::{Delivery, Event};
use crate::policy::Policy;
use crate::telemetry::{SubscriptionMetrics, report};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a consumer waits at most for the one that takes its place.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);

/// What all consumers share.
pub struct Shared {
    /// Publishes for them.
    pub outbound: Outbound,
    /// The events in flight.
    pub events: TaskTracker,
    /// Ends events that outlive the grace time.
    pub kill: CancellationToken,
}

/// A running consumer; dropping it ends its intake, and what is in flight goes on.
pub struct Consumer {
    /// What it consumes.
    pub consume: Consume,
    /// Whether it does.
    pub status: watch::Receiver<Status>,
    lanes: Arc<ArcSwap<Lanes>>,
    stop: CancellationToken,
    /// Shows its status on the outside.
    shown: AbortHandle,
}

struct Lanes {
    all: Vec<Arc<Lane>>,
    /// For events that fit none of them.
    unmatched: Target,
}

struct Lane {
    target: ArcSwap<Target>,
    /// Cancelled when the lane is taken away: what waits in it is given back.
    stop: CancellationToken,
    waiting: mpsc::UnboundedSender<Delivery>,
}

impl Consumer {
    /// Starts to consume as planned.
    pub fn start(key: &str, planned: &Planned, broker: &dyn Broker, shared: &Arc<Shared>) -> Self {
        let subscription = broker.subscribe(planned.consume.clone());
        let stop = CancellationToken::new();
        let lanes = Arc::new(ArcSwap::from_pointee(Lanes::new(planned, None, shared, &stop)));
        let status = subscription.status.clone();
        let shown = tokio::spawn(show(key.to_owned(), status.clone())).abort_handle();
        tokio::spawn(receive(subscription, lanes.clone(), stop.clone(), shared.clone()));
        Self { consume: planned.consume.clone(), status, lanes, stop, shown }
    }

    /// Ends when `next` consumes in its place, or has shown that it can't: a queue that is deleted
    /// with its last consumer must not be left without one.
    pub fn hand_over(self, next: &Self) {
        self.shown.abort();
        let mut status = next.status.clone();
        tokio::spawn(async move {
            let known = |status: &Status| matches!(status.state, State::Live { .. } | State::Ended);
            // Ended either way; whether the next is live shows in its own status.
            let _ = tokio::time::timeout(HAND_OVER_MAX, status.wait_for(known)).await;
            drop(self);
        });
    }

    /// Takes over what changed in its plugins, while it goes on consuming.
    pub fn update(&self, planned: &Planned, shared: &Arc<Shared>) {
        let old = self.lanes.load_full();
        self.lanes.store(Arc::new(Lanes::new(planned, Some(&old), shared, &self.stop)));
        let kept = self.lanes.load();
        let gone = |lane: &&Arc<Lane>| !kept.all.iter().any(|kept| Arc::ptr_eq(kept, lane));
        old.all.iter().filter(gone).for_each(|lane| lane.stop.cancel());
    }

    /// The names of its plugins.
    pub fn plugins(&self) -> Vec<Arc<str>> {
        let lanes = self.lanes.load();
        lanes.all.iter().filter_map(|lane| lane.target.load().name()).collect()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn receive(
    mut subscription: Subscription,
    lanes: Arc<ArcSwap<Lanes>>,
    stop: CancellationToken,
    shared: Arc<Shared>,
) {
    let intake = subscription.cancel.clone();
    let end_intake = tokio::spawn(async move {
        stop.cancelled().await;
        intake.cancel();
    });
    while let Some(delivery) = subscription.deliveries.recv().await {
        lanes.load().route(delivery, &shared);
    }
    end_intake.abort();
}

fn received(target: &Target, event: &Event) {
    let published = event.properties.timestamp.map(|at| UNIX_EPOCH + Duration::from_secs(at));
    report::DeliveryReceived {
        subscription: &target.metrics,
        message_id: event.properties.message_id.as_deref().unwrap_or_default(),
        attempt: event.attempt,
        age: published.and_then(|at| SystemTime::now().duration_since(at).ok()),
    }
    .emit();
}

/// Shows on the outside whether the consumer of `queue` lives.
async fn show(queue: String, mut status: watch::Receiver<Status>) {
    loop {
        match &status.borrow_and_update().state {
            State::Starting => {}
            State::Live { .. } => report::ConsumerUp { queue: &queue }.emit(),
            State::Down { reason } => {
                report::ConsumerDown { queue: &queue, cause: Some(reason) }.emit();
            }
            State::Ended => break,
        }
        if status.changed().await.is_err() {
            break;
        }
    }
    report::ConsumerDown { queue: &queue, cause: None }.emit();
}

impl Lanes {
    fn new(
        planned: &Planned,
        old: Option<&Lanes>,
        shared: &Arc<Shared>,
        stop: &CancellationToken,
    ) -> Self {
        let all = planned.lanes.iter().map(|lane| {
            let kept = old.and_then(|old| old.all.iter().find(|old| old.takes_over(lane)));
            match kept {
                Some(kept) => {
                    kept.target.store(Arc::new(target(lane)));
                    kept.clone()
                }
                None => Lane::start(lane, shared, stop.child_token()),
            }
        });
        Self { all: all.collect(), unmatched: unmatched(planned) }
    }

    fn route(&self, delivery: Delivery, shared: &Arc<Shared>) {
        let fits =
            |lane: &&Arc<Lane>| lane.target.load().subscription.matcher.fits(&delivery.event);
        match self.all.iter().find(fits) {
            Some(lane) => {
                received(&lane.target.load(), &delivery.event);
                if let Err(mpsc::error::SendError(delivery)) = lane.waiting.send(delivery) {
                    give_back(delivery);
                }
            }
            None => {
                received(&self.unmatched, &delivery.event);
                spawn(shared, self.unmatched.clone().into(), delivery, ());
            }
        }
    }
}

impl Lane {
    fn start(lane: &plan::Lane, shared: &Arc<Shared>, stop: CancellationToken) -> Arc<Self> {
        let (waiting, deliveries) = mpsc::unbounded_channel();
        let started = Arc::new(Self { target: ArcSwap::from_pointee(target(lane)), stop, waiting });
        tokio::spawn(started.clone().run(deliveries, shared.clone()));
        started
    }

    /// Whether this lane can go on with what is planned now: the same plugin, as many at once.
    fn takes_over(&self, planned: &plan::Lane) -> bool {
        let target = self.target.load();
        let concurrency = planned.subscription.concurrency;
        target.name().as_ref() == Some(&planned.plugin.name)
            && target.subscription.concurrency == concurrency
    }

    async fn run(
        self: Arc<Self>,
        mut deliveries: mpsc::UnboundedReceiver<Delivery>,
        shared: Arc<Shared>,
    ) {
        let permits = Arc::new(Semaphore::new(self.target.load().subscription.concurrency));
        let work = async {
            while let Ok(permit) = permits.clone().acquire_owned().await {
                // The permit first: what waits for one stays where it can be given back.
                let Some(delivery) = deliveries.recv().await else { return };
                if self.stop.is_cancelled() {
                    return give_back(delivery);
                }
                spawn(&shared, self.target.load_full(), delivery, permit);
            }
        };
        self.stop.run_until_cancelled(work).await;
        deliveries.close();
        while let Some(delivery) = deliveries.recv().await {
            give_back(delivery);
        }
    }
}

/// Handles `delivery` in a task of its own, which holds `permit` until it is settled.
fn spawn(
    shared: &Arc<Shared>,
    target: Arc<Target>,
    delivery: Delivery,
    permit: impl Send + 'static,
) {
    let here = shared.clone();
    shared.events.spawn(async move {
        let inflight = target.metrics.inflight();
        here.kill.run_until_cancelled(handle(&target, &here.outbound, delivery)).await;
        drop((inflight, permit));
    });
}

fn target(lane: &plan::Lane) -> Target {
    let queue = &lane.subscription.consume.queue.name;
    Target {
        plugin: Some(lane.plugin.clone()),
        subscription: lane.subscription.clone(),
        policy: Arc::new(lane.plugin.manifest.policy.clone()),
        metrics: Arc::new(SubscriptionMetrics::new(&lane.plugin.name, queue)),
    }
}

/// Events that fit no lane go where the first plugin's dead letters go.
fn unmatched(planned: &Planned) -> Target {
    Target {
        plugin: None,
        subscription: planned.first.clone(),
        policy: Arc::new(Policy { unmatched: planned.unmatched, ..Policy::default() }),
        metrics: Arc::new(SubscriptionMetrics::new("", &planned.consume.queue.name)),
    }
}

impl Target {
    fn name(&self) -> Option<Arc<str>> {
        self.plugin.as_ref().map(|plugin| plugin.name.clone())
    }
}
