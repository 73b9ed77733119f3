//! What happens to one delivery: receive → recall → call → commit → publish → decide → settle.
//! [`handle`] does what the event's [`Course`] says, step by step; read this page first, then
//! `policy/course.rs`, which decides, and `steps`, which does each step.

use super::memory::{self, Memory};
use super::steps::{Deed, Work, unless_lost};
use super::{Shared, failpoint, moves};
use crate::flow::{Delivery, Event, Fault, Outcome, Receipt, Settlement, Verdict};
use crate::plugin::{Plugin, manifest};
use crate::policy::Policy;
use crate::policy::circuit::Sign;
use crate::policy::course::{Course, End, Happened, Step, Terms};
use crate::policy::intake::Shelter;
use crate::telemetry::{SubscriptionMetrics, report};
use std::sync::Arc;
use std::time::Duration;

/// Who handles a delivery, and under which rules.
#[derive(Clone)]
pub struct Target {
    /// The version of the plugin that handles it; `None` if no plugin's `match` fits.
    pub plugin: Option<Arc<Plugin>>,
    /// The subscription that the delivery came by.
    pub subscription: Arc<manifest::Subscription>,
    /// How it is settled.
    pub policy: Arc<Policy>,
    /// What is counted, for this plugin and queue.
    pub metrics: Arc<SubscriptionMetrics>,
}

impl Target {
    /// The version of the plugin; empty if there is none.
    pub fn digest(&self) -> &str {
        self.plugin.as_ref().map_or("", |plugin| plugin.short_digest())
    }

    /// `recalls`: it is recorded which of its events were handled.
    fn terms(&self, queue_delays: bool, recalls: bool) -> Terms<'_> {
        let Self { subscription, policy, plugin, .. } = self;
        let (at_most_once, in_order) = (subscription.at_most_once, subscription.order_by.is_some());
        let commits = recalls || plugin.as_ref().is_some_and(|plugin| !plugin.stores.is_empty());
        Terms { policy, at_most_once, in_order, queue_delays, commits, recalls }
    }
}

/// A delivery that begins again after a while, as this attempt.
pub struct Again {
    /// With the attempt that comes next.
    pub delivery: Delivery,
    /// From now.
    pub delay: Duration,
}

/// Handles `delivery` and settles it, unless it is to begin again in its place. Ends early, leaving
/// the settling to the broker, when the connection that the delivery came by is lost; but a commit
/// that has begun is seen to its end. `tell` is told how it went, and says whether the event is
/// sheltered from that.
pub async fn handle(
    target: &Target,
    Shared { outbound, journal, .. }: &Shared,
    delivery: Delivery,
    tell: impl Fn(Sign, &Outcome) -> Shelter,
) -> Option<Again> {
    let Delivery { mut event, receipt } = delivery;
    let mut queue = outbound.delayed_retry(&target.subscription.consume);
    // Events in order do not leave their place.
    queue.take_if(|_| target.subscription.order_by.is_some());
    if queue.is_some() {
        // The attempts that the queue has counted.
        event.attempt = event.attempt.saturating_add(event.returned);
    }
    let named = memory::named_by_host(&mut event);
    let memory = Memory::of(target, &mut event);
    // Only a move of it has that name.
    let nameless = named && memory.as_ref().is_some_and(|memory| !memory.by_key);
    let queue = queue.filter(|queue| queue.takes_back(event.returned) && !nameless);
    // It may have waited for its turn while its connection was lost.
    let begun = if receipt.is_stale() { Happened::Lost } else { Happened::Begun };
    let terms = target.terms(queue.is_some(), memory.is_some());
    let mut course = Course::new(terms, event.attempt, fastrand::f64());
    let work = Work { target, outbound, journal, event: &event, memory };
    let mut state = State::new(receipt);
    let mut step = course.next(begun);
    let end = loop {
        if let Step::End(end) = step {
            break end;
        }
        failpoint::before(step);
        let happened = take(step, &work, &mut state, &tell).await;
        failpoint::after(step);
        step = course.next(happened);
    };
    let State { outcome, handler, receipt, .. } = state;
    if let (Some(queue), End::Settled(Settlement::Requeue)) = (queue, end) {
        outbound.holds(&event.queue, queue.delay(event.returned));
    }
    ended(target, &event, &outcome, handler, end);
    let over =
        matches!(end, End::Settled(Settlement::Ack | Settlement::Drop | Settlement::DeadLetter));
    match outcome {
        Outcome::Refused { fault: Fault::Crash, .. } if over => journal.retired(&event),
        _ if over => journal.settled(&event),
        _ => {}
    }
    // The broker has it, or will have: one that is stale must not hold up what comes after it.
    let receipt = receipt.filter(|receipt| !receipt.is_stale());
    let (End::Again { delay, counts }, Some(receipt)) = (end, receipt) else { return None };
    let attempt = event.attempt + u32::from(counts);
    if counts {
        journal.note_attempt(&event, attempt);
    }
    Some(Again { delivery: Delivery { event: Event { attempt, ..event }, receipt }, delay })
}

/// How far an event has come.
struct State {
    outcome: Outcome,
    /// What is to be committed.
    deed: Deed,
    /// Time in the handler, if it was called.
    handler: Option<Duration>,
    /// Until it is settled.
    receipt: Option<Receipt>,
}

impl State {
    fn new(receipt: Receipt) -> Self {
        let (outcome, deed) = (Outcome::Ok(Vec::new()), Deed::default());
        Self { outcome, deed, handler: None, receipt: Some(receipt) }
    }
}

/// Takes one step, and says what happened.
async fn take<'a>(
    step: Step,
    work: &Work<'_>,
    state: &'a mut State,
    tell: &impl Fn(Sign, &Outcome) -> Shelter,
) -> Happened<'a> {
    let State { outcome, deed, handler, receipt } = state;
    match step {
        Step::Recall => match unless_lost(receipt.as_ref(), work.recall()).await {
            Some(Some(known)) => {
                *outcome = known;
                Happened::Recalled(Some(outcome))
            }
            Some(None) => Happened::Recalled(None),
            None => Happened::Lost,
        },
        Step::Call | Step::CallAnew => {
            let anew = step == Step::CallAnew;
            match work.call(anew, receipt.as_ref()).await {
                Some(called) => {
                    (*outcome, *deed, *handler) = called;
                    Happened::Called(outcome)
                }
                None => Happened::Lost,
            }
        }
        Step::Commit => {
            let deed = std::mem::take(deed);
            // The broker delivers it again, perhaps as an event that nobody can tell from another.
            if receipt.as_ref().is_some_and(Receipt::is_stale) {
                deed.rollback().await;
                return Happened::Lost;
            }
            work.commit(deed, outcome).await;
            Happened::Committed(outcome)
        }
        Step::Publish => match unless_lost(receipt.as_ref(), work.publish(outcome)).await {
            Some(()) => Happened::Published(outcome),
            None => Happened::Lost,
        },
        Step::Forget => {
            work.forget().await;
            Happened::Forgotten
        }
        Step::Tell(sign) => Happened::Told(tell(sign, outcome)),
        Step::Move(settlement) => {
            let moved = work.carry(outcome, settlement);
            match unless_lost(receipt.as_ref(), moved).await {
                Some(arrived) => Happened::Moved(arrived),
                None => Happened::Lost,
            }
        }
        Step::Settle(verdict) => {
            let told = receipt.take().is_some_and(|receipt| receipt.settle(verdict));
            if !told && verdict == Verdict::Ack {
                report::AckLost { queue: work.target.metrics.queue(), lost: 1 }.emit();
            }
            Happened::Settled(told)
        }
        // Nothing is left to be done.
        Step::End(_) => Happened::Lost,
    }
}

/// Reports how it ended.
fn ended(target: &Target, event: &Event, outcome: &Outcome, handler: Option<Duration>, end: End) {
    let settlement = match end {
        End::Settled(settlement) => settlement,
        End::Again { delay, counts: true } => Settlement::Retry(delay),
        End::Again { delay, counts: false } => Settlement::Postpone(delay),
        End::Lost => {
            return report::EventLeft {
                queue: target.metrics.queue(),
                message_id: moves::id(event),
            }
            .emit();
        }
    };
    report::EventSettled {
        subscription: &target.metrics,
        digest: &target.digest(),
        message_id: moves::id(event),
        attempt: event.attempt,
        publications: outcome.publications(),
        outcome,
        settlement,
        handler,
    }
    .emit();
}
