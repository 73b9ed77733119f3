//! One queue's consumer: consumes as much as its desk has an appetite for, and starts and stops as
//! the plan says. Next: `desk`, which takes the deliveries.

use super::Shared;
use super::desk::{Desk, Paused};
use super::plan::Planned;
use crate::broker::{Broker, Consume, Counter, DelayedRetry, State, Status, Subscription};
use crate::flow::Field;
use crate::policy::intake::{Appetite, Pace};
use crate::telemetry::report;
use arc_swap::ArcSwap;
use std::sync::{Arc, Once};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

/// How long a consumer waits at most for the one that takes its place.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);

/// A running consumer; dropping it ends its intake, and what is in flight goes on.
pub struct Consumer {
    /// What it consumes.
    pub consume: Consume,
    /// Whether it does.
    pub status: watch::Receiver<Status>,
    /// Asks the subscription of the moment how much is left.
    counter: Arc<ArcSwap<Counter>>,
    desk: Arc<Desk>,
    stop: CancellationToken,
    /// Shows its status on the outside.
    shown: AbortHandle,
    keeps_time: AbortHandle,
}

impl Consumer {
    /// Starts to consume as planned: where that has to be in order, when `before` has ended.
    pub fn start(
        key: &str,
        planned: &Planned,
        broker: &Arc<dyn Broker>,
        shared: &Arc<Shared>,
        before: Option<watch::Receiver<Status>>,
    ) -> Self {
        let stop = CancellationToken::new();
        let desk = Desk::new(planned, shared);
        let (tell, status) = watch::channel(Status::now(State::Starting));
        let shown = tokio::spawn(show(key.to_owned(), status.clone())).abort_handle();
        let keeps_time = tokio::spawn(desk.clone().keep_time()).abort_handle();
        let (consume, counter) = (planned.consume.clone(), Arc::<ArcSwap<_>>::default());
        let intake = Intake {
            desk: desk.clone(),
            broker: broker.clone(),
            consume: consume.clone(),
            stop: stop.clone(),
            tell,
            counter: counter.clone(),
            shared: shared.clone(),
            said: Once::new(),
            before: before.filter(|_| planned.in_order()),
        };
        tokio::spawn(intake.run());
        Self { consume, status, counter, desk, stop, shown, keeps_time }
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
    pub fn update(&self, planned: &Planned) {
        self.desk.update(planned);
    }

    /// Asks it how much is left.
    pub fn counter(&self) -> Counter {
        Counter::clone(&self.counter.load())
    }

    /// The names of its plugins.
    pub fn plugins(&self) -> Vec<Arc<str>> {
        self.desk.plugins()
    }

    /// Those of its plugins that are paused.
    pub fn paused(&self) -> Vec<Paused> {
        self.desk.paused_plugins()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // At once: what the consumer still hands over must not be begun.
        self.desk.stop();
        self.stop.cancel();
        self.keeps_time.abort();
    }
}

/// The task that consumes.
struct Intake {
    desk: Arc<Desk>,
    broker: Arc<dyn Broker>,
    consume: Consume,
    stop: CancellationToken,
    tell: watch::Sender<Status>,
    counter: Arc<ArcSwap<Counter>>,
    shared: Arc<Shared>,
    /// That the broker does not delay by itself is said.
    said: Once,
    /// Whoever consumed before, if the events are in order with theirs.
    before: Option<watch::Receiver<Status>>,
}

impl Intake {
    async fn run(mut self) {
        if let Some(mut before) = self.before.take() {
            let ended = before.wait_for(|status| status.state == State::Ended);
            self.stop.run_until_cancelled(ended).await;
        }
        let mut pace = self.desk.pace();
        while !self.stop.is_cancelled() {
            let appetite = pace.borrow_and_update().appetite;
            let prefetch = match appetite {
                Appetite::Full => self.consume.prefetch,
                Appetite::One => 1,
                Appetite::None => {
                    Status::tell(&self.tell, State::Paused);
                    let changed = changed(&mut pace, appetite);
                    self.stop.run_until_cancelled(changed).await;
                    continue;
                }
            };
            let consume = Consume { prefetch, ..self.consume.clone() };
            self.consume(self.broker.subscribe(consume), appetite, &mut pace).await;
            // Nothing is consumed now, so that what goes back does not come again at once.
            self.desk.withdraw();
        }
        self.desk.stop();
        self.desk.withdraw();
        Status::tell(&self.tell, State::Ended);
    }

    /// Whether others that consume the queue are to go on exactly where this one ends.
    fn in_order(&self) -> bool {
        let single = self.consume.queue.arguments.get("x-single-active-consumer");
        single == Some(&Field::Bool(true)) || self.desk.in_order()
    }

    /// What was held when a connection was lost may wait in `queue` now, where nobody counts it.
    fn see_delays(&self, queue: &str) {
        match self.shared.outbound.delayed_retry(&self.consume) {
            Some(retry) => self.shared.outbound.holds(queue, retry.longest()),
            None if !DelayedRetry::is_stated(&self.consume) => {}
            None => self.said.call_once(|| {
                let server = self.broker.server().map(|server| server.to_string());
                let server = server.as_deref().unwrap_or("the broker");
                report::DelayedRetryIgnored { queue, server }.emit();
            }),
        }
    }

    /// Until the appetite is another one, or it is to stop.
    async fn consume(
        &self,
        mut subscription: Subscription,
        appetite: Appetite,
        pace: &mut watch::Receiver<Pace>,
    ) {
        self.shared.subscriptions(Some(&subscription.counter));
        self.counter.store(Arc::new(subscription.counter.clone()));
        let mut status = subscription.status.clone();
        status.mark_changed();
        let mut changed = std::pin::pin!(changed(pace, appetite));
        let (mut stopping, mut ending) = (false, false);
        loop {
            tokio::select! {
                delivery = subscription.deliveries.recv() => match delivery {
                    Some(delivery) => self.desk.route(delivery),
                    None => return,
                },
                Ok(()) = status.changed(), if !ending => {
                    let state = status.borrow_and_update().state.clone();
                    match &state {
                        State::Down { .. } => self.desk.purge(),
                        State::Live { queue } => self.see_delays(queue),
                        _ => {}
                    }
                    Status::tell(&self.tell, state);
                }
                () = self.stop.cancelled(), if !stopping && !ending => {
                    self.desk.stop();
                    stopping = self.in_order();
                    if !stopping {
                        ending = true;
                        subscription.cancel.cancel();
                    }
                }
                // Whoever is next must not begin before what is begun here has ended, and is to get
                // what is not in its place.
                () = self.desk.quiet(), if stopping && !ending => {
                    ending = true;
                    subscription.leave();
                }
                () = &mut changed, if !ending => {
                    ending = true;
                    subscription.cancel.cancel();
                }
            }
        }
    }
}

async fn changed(pace: &mut watch::Receiver<Pace>, appetite: Appetite) {
    if pace.wait_for(|pace| pace.appetite != appetite).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Shows on the outside whether the consumer of `queue` lives. What those who read the log know
/// from elsewhere, that its connection is lost or its plugins are paused, is not for everybody.
async fn show(queue: String, mut status: watch::Receiver<Status>) {
    let mut known_to_consume = false;
    loop {
        match &status.borrow_and_update().state {
            State::Starting => {}
            State::Live { .. } => {
                report::ConsumerUp { queue: &queue, loud: !known_to_consume }.emit();
                known_to_consume = true;
            }
            State::Down { reason, disconnected } => {
                let (cause, loud) = (Some(&**reason), !disconnected);
                report::ConsumerDown { queue: &queue, cause, loud }.emit();
                known_to_consume &= !loud;
            }
            State::Paused => {
                report::ConsumerDown { queue: &queue, cause: None, loud: false }.emit();
            }
            State::Ended => break,
        }
        if status.changed().await.is_err() {
            break;
        }
    }
    report::ConsumerDown { queue: &queue, cause: None, loud: known_to_consume }.emit();
}
