//! One queue's desk: finds the lane of the plugin whose `match` fits a delivery, and does what the
//! queue's [`Intake`] says. Next: `handle`, which every event goes through that is begun here.

use super::Shared;
use super::handle::{Again, Target, handle};
use super::plan::{self, Planned};
use crate::flow::{Delivery, Event, Outcome, Verdict};
use crate::policy::Policy;
use crate::policy::circuit::Sign;
use crate::policy::intake::{Action, Intake, LaneId, LaneRules, Pace, Pausing, Shelter, Ticket};
use crate::telemetry::{self, SubscriptionMetrics, report};
use arc_swap::ArcSwap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};

/// See the module.
pub struct Desk {
    shared: Arc<Shared>,
    intake: Mutex<Intake<Delivery>>,
    lanes: ArcSwap<Lanes>,
    pace: watch::Sender<Pace>,
    paused: Mutex<Vec<PausedLane>>,
    /// How many events that fit no lane are begun.
    unmatched: AtomicUsize,
    /// An event has ended.
    ended: Notify,
}

/// A plugin that is not called for a while.
#[derive(Debug, Clone)]
pub struct Paused {
    /// Its name.
    pub plugin: Arc<str>,
    /// Since when.
    pub since: SystemTime,
    /// Why, for people.
    pub reason: String,
}

struct PausedLane {
    id: LaneId,
    paused: Paused,
    /// Shows it on the outside.
    _shown: telemetry::Paused,
}

struct Lanes {
    all: Vec<Lane>,
    /// For events that fit none of them.
    unmatched: Arc<Target>,
}

struct Lane {
    id: LaneId,
    target: Arc<Target>,
}

impl Desk {
    /// For the plugins as planned.
    pub fn new(planned: &Planned, shared: &Arc<Shared>) -> Arc<Self> {
        let unmatched = Arc::new(unmatched(planned));
        let desk = Self {
            shared: shared.clone(),
            intake: Mutex::default(),
            lanes: ArcSwap::from_pointee(Lanes { all: Vec::new(), unmatched }),
            pace: watch::Sender::default(),
            paused: Mutex::default(),
            unmatched: AtomicUsize::new(0),
            ended: Notify::new(),
        };
        let desk = Arc::new(desk);
        desk.update(planned);
        desk
    }

    /// Takes over what changed in its plugins, while it goes on.
    pub fn update(self: &Arc<Self>, planned: &Planned) {
        let rules = planned.lanes.iter().map(rules).collect();
        let targets = planned.lanes.iter().map(|lane| Arc::new(target(lane)));
        let unmatched = Arc::new(unmatched(planned));
        self.drive(|intake, now, actions| {
            let ids = intake.reload(rules, pausing(planned), now, actions);
            let all = ids.into_iter().zip(targets).map(|(id, target)| Lane { id, target });
            self.lanes.store(Arc::new(Lanes { all: all.collect(), unmatched }));
        });
        let lanes = self.lanes.load();
        self.paused().retain(|paused| lanes.all.iter().any(|lane| lane.id == paused.id));
    }

    /// Hands `delivery` to the lane that it is for.
    pub fn route(self: &Arc<Self>, mut delivery: Delivery) {
        let lanes = self.lanes.load();
        let fits = |lane: &&Lane| lane.target.subscription.matcher.fits(&delivery.event);
        let Some(Lane { id, target }) = lanes.all.iter().find(fits) else {
            received(&lanes.unmatched, &delivery.event);
            return self.spawn(None, lanes.unmatched.clone(), delivery);
        };
        if target.subscription.order_by.is_some() {
            // Tried again in its place, it carries no attempt with it.
            delivery.event.attempt = self.shared.journal.attempt(&delivery.event);
        }
        received(target, &delivery.event);
        let key = target.subscription.order_by.as_ref().map(|order| order.key(&delivery.event));
        self.drive(|intake, _, actions| intake.arrived(*id, key, delivery, actions));
    }

    /// Forgets what waits and came by a connection that is lost.
    pub fn purge(self: &Arc<Self>) {
        self.drive(|intake, _, actions| intake.purge(|it| it.receipt.is_stale(), actions));
    }

    /// Begins nothing any more.
    pub fn stop(self: &Arc<Self>) {
        self.drive(|intake, _, _| intake.stop());
    }

    /// Whether the order of events matters.
    pub fn in_order(&self) -> bool {
        let ordered = |lane: &Lane| lane.target.subscription.order_by.is_some();
        self.lanes.load().all.iter().any(ordered)
    }

    /// Waits until no event is begun.
    pub async fn quiet(&self) {
        loop {
            let mut ended = std::pin::pin!(self.ended.notified());
            ended.as_mut().enable();
            if self.intake().held().1 == 0 && self.unmatched.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Gives back what can't be begun now; only when nothing is consumed.
    pub fn withdraw(self: &Arc<Self>) {
        self.drive(|intake, _, actions| intake.withdraw(actions));
    }

    /// Does what is due by itself, until `self` is dropped or the future is.
    pub async fn keep_time(self: Arc<Self>) {
        let mut pace = self.pace.subscribe();
        loop {
            let due = pace.borrow_and_update().due;
            let rest = due.map(|due| due.saturating_sub(self.shared.started.elapsed()));
            tokio::select! {
                _ = pace.changed() => {}
                () = tokio::time::sleep(rest.unwrap_or_default()), if rest.is_some() => {
                    self.drive(|intake, now, actions| intake.tick(now, actions));
                }
            }
        }
    }

    /// How the queue is to be consumed.
    pub fn pace(&self) -> watch::Receiver<Pace> {
        self.pace.subscribe()
    }

    /// Its plugins that are paused.
    pub fn paused_plugins(&self) -> Vec<Paused> {
        self.paused().iter().map(|lane| lane.paused.clone()).collect()
    }

    /// The names of its plugins.
    pub fn plugins(&self) -> Vec<Arc<str>> {
        self.lanes.load().all.iter().filter_map(|lane| lane.target.name()).collect()
    }

    /// Asks the intake, and does what it says.
    fn drive<R>(
        self: &Arc<Self>,
        ask: impl FnOnce(&mut Intake<Delivery>, Duration, &mut Vec<Action<Delivery>>) -> R,
    ) -> R {
        let mut actions = Vec::new();
        let answer = {
            let mut intake = self.intake();
            let answer = ask(&mut intake, self.shared.started.elapsed(), &mut actions);
            let pace = intake.pace();
            self.pace.send_if_modified(|is| std::mem::replace(is, pace) != pace);
            answer
        };
        for action in actions {
            self.act(action);
        }
        answer
    }

    fn act(self: &Arc<Self>, action: Action<Delivery>) {
        match action {
            Action::GiveBack(delivery) => self.give_back(delivery),
            Action::Begin(ticket, delivery) => match self.target(ticket.lane()) {
                Some(target) => self.spawn(Some(ticket), target, delivery),
                // Taken away in this moment; others may have it.
                None => {
                    self.give_back(delivery);
                    self.end(ticket, None);
                }
            },
            // Told where the reason is known: in `tell`.
            Action::Opened(_) => {}
            Action::Closed(lane) => {
                if let Some(target) = self.target(lane) {
                    report::CircuitClosed { subscription: &target.metrics }.emit();
                }
            }
        }
    }

    /// The queue may delay this too.
    fn give_back(&self, delivery: Delivery) {
        let subscription = &self.lanes.load().unmatched.subscription;
        if let Some(retry) = self.shared.outbound.delayed_retry(&subscription.consume) {
            self.shared.outbound.holds(&delivery.event.queue, retry.longest());
        }
        delivery.receipt.settle(Verdict::GiveBack);
    }

    /// Handles `delivery` in a task of its own.
    fn spawn(self: &Arc<Self>, ticket: Option<Ticket>, target: Arc<Target>, delivery: Delivery) {
        let desk = self.clone();
        if ticket.is_none() {
            self.unmatched.fetch_add(1, Ordering::Release);
        }
        self.shared.events.spawn(async move {
            // Whatever becomes of this task, its place is free again.
            let mut place = Place { desk: &desk, ticket, again: None };
            let inflight = target.metrics.inflight();
            let tell = |sign, outcome: &Outcome| match &ticket {
                Some(ticket) => desk.tell(ticket, sign, outcome, &target),
                None => Shelter::None,
            };
            let work = handle(&target, &desk.shared, delivery, tell);
            place.again = desk.shared.kill.run_until_cancelled(work).await.flatten();
            drop(inflight);
        });
    }

    fn tell(
        self: &Arc<Self>,
        ticket: &Ticket,
        sign: Sign,
        outcome: &Outcome,
        target: &Target,
    ) -> Shelter {
        let reason = outcome.reason();
        let (shelter, opened) = self.drive(|intake, now, actions| {
            let shelter = intake.concluded(ticket, sign, now, actions);
            // Before another thread may be told of the next change.
            let mut opened = false;
            for action in actions {
                match action {
                    Action::Opened(lane) => opened = self.show_paused(*lane, reason, target),
                    Action::Closed(lane) => self.paused().retain(|paused| paused.id != *lane),
                    Action::Begin(..) | Action::GiveBack(_) => {}
                }
            }
            (shelter, opened)
        });
        if opened {
            report::CircuitOpened { subscription: &target.metrics, reason }.emit();
        }
        shelter
    }

    /// False for what is no plugin.
    fn show_paused(&self, id: LaneId, reason: &str, target: &Target) -> bool {
        let Some(plugin) = target.name() else { return false };
        let paused = Paused { plugin, since: SystemTime::now(), reason: reason.to_owned() };
        self.paused().push(PausedLane { id, paused, _shown: target.metrics.paused() });
        true
    }

    /// The place of an event is free, unless it begins `again`.
    fn end(self: &Arc<Self>, ticket: Ticket, again: Option<(Delivery, Duration)>) {
        self.drive(|intake, now, actions| intake.ended(ticket, again, now, actions));
        self.ended.notify_waiters();
    }

    fn target(&self, id: LaneId) -> Option<Arc<Target>> {
        let lanes = self.lanes.load();
        lanes.all.iter().find(|lane| lane.id == id).map(|lane| lane.target.clone())
    }

    fn intake(&self) -> MutexGuard<'_, Intake<Delivery>> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn paused(&self) -> MutexGuard<'_, Vec<PausedLane>> {
        self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event's place in its lane, from its beginning to its end.
struct Place<'a> {
    desk: &'a Arc<Desk>,
    ticket: Option<Ticket>,
    again: Option<Again>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else {
            self.desk.unmatched.fetch_sub(1, Ordering::Release);
            return self.desk.ended.notify_waiters();
        };
        let again = self.again.take().map(|Again { delivery, delay }| (delivery, delay));
        self.desk.end(ticket, again);
    }
}

fn received(target: &Target, event: &Event) {
    let published = event.properties.timestamp.map(|at| UNIX_EPOCH + Duration::from_secs(at));
    report::DeliveryReceived {
        subscription: &target.metrics,
        message_id: event.properties.message_id.as_deref().unwrap_or_default(),
        attempt: event.attempt,
        redelivered: event.redelivered,
        age: published.and_then(|at| SystemTime::now().duration_since(at).ok()),
    }
    .emit();
}

fn rules(lane: &plan::Lane) -> LaneRules {
    LaneRules {
        name: lane.plugin.name.clone(),
        version: lane.plugin.digest.clone(),
        concurrency: lane.subscription.concurrency,
        circuit: lane.plugin.manifest.policy.circuit,
    }
}

/// What a pause does: where cancelling the consumer would hurt others or lose the queue, it goes on.
fn pausing(planned: &Planned) -> Pausing {
    let alone = planned.lanes.len() == 1 && !planned.in_order();
    if alone && planned.outlives_its_consumer() { Pausing::GiveBack } else { Pausing::Hold }
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
