//! What happens to one delivery: receive → call → flush → decide → settle. [`handle`] does what the
//! event's [`Course`] says, step by step; read this page first, then `policy/course.rs`, which
//! decides.

use super::Shared;
use super::moves::{self, Ended};
use super::outbound::Outbound;
use crate::flow::{Delivery, Event, Fault, Outcome, Receipt, Settlement, Verdict};
use crate::plugin::{Plugin, manifest};
use crate::policy::circuit::Sign;
use crate::policy::course::{Course, End, Happened, Step, Terms};
use crate::policy::intake::Shelter;
use crate::policy::{Policy, RETURNS_ALONE};
use crate::telemetry::{SubscriptionMetrics, report};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

    fn terms(&self, queue_delays: bool) -> Terms<'_> {
        let Self { subscription, policy, .. } = self;
        let in_order = subscription.order_by.is_some();
        Terms { policy, at_most_once: subscription.at_most_once, in_order, queue_delays }
    }
}

/// A delivery that begins again after a while, as this attempt.
pub struct Again {
    /// With the attempt that comes next.
    pub delivery: Delivery,
    /// From now.
    pub delay: Duration,
}

fn id(event: &Event) -> &str {
    event.properties.message_id.as_deref().unwrap_or_default()
}

/// Handles `delivery` and settles it, unless it is to begin again in its place. Ends early, leaving
/// the settling to the broker, when the connection that the delivery came by is lost. `tell` is
/// told how it went, and says whether the event is sheltered from that.
pub async fn handle(
    target: &Target,
    shared: &Shared,
    delivery: Delivery,
    tell: impl Fn(Sign, &Outcome) -> Shelter,
) -> Option<Again> {
    let (Shared { outbound, journal, .. }, Delivery { mut event, receipt }) = (shared, delivery);
    let mut queue = outbound.delayed_retry(&target.subscription.consume);
    // Events in order do not leave their place.
    queue.take_if(|_| target.subscription.order_by.is_some());
    if queue.is_some() {
        // The attempts that the queue has counted.
        event.attempt = event.attempt.saturating_add(event.returned);
    }
    let queue = queue.filter(|queue| queue.takes_back(event.returned));
    // It may have waited for its turn while its connection was lost.
    let begun = if receipt.is_stale() { Happened::Lost } else { Happened::Begun };
    let mut receipt = Some(receipt);
    let mut course = Course::new(target.terms(queue.is_some()), event.attempt, fastrand::f64());
    let (mut outcome, mut handler) = (Outcome::Ok(Vec::new()), None);
    let mut step = course.next(begun);
    let end = loop {
        let happened = match step {
            Step::Call => match call(target, shared, &event, receipt.as_ref()).await {
                Some(called) => {
                    (outcome, handler) = called;
                    Happened::Called(&outcome)
                }
                None => Happened::Lost,
            },
            Step::Publish => {
                let flushed = flush(target, outbound, &event, &mut outcome);
                match unless_lost(receipt.as_ref(), flushed).await {
                    Some(()) => Happened::Published(&outcome),
                    None => Happened::Lost,
                }
            }
            Step::Tell(sign) => Happened::Told(tell(sign, &outcome)),
            Step::Move(settlement) => {
                let moved = carry(target, outbound, &event, &outcome, settlement);
                match unless_lost(receipt.as_ref(), moved).await {
                    Some(arrived) => Happened::Moved(arrived),
                    None => Happened::Lost,
                }
            }
            Step::Settle(verdict) => {
                let told = receipt.take().is_some_and(|receipt| receipt.settle(verdict));
                if !told && verdict == Verdict::Ack {
                    report::AckLost { queue: target.metrics.queue(), lost: 1 }.emit();
                }
                Happened::Settled(told)
            }
            Step::End(end) => break end,
        };
        step = course.next(happened);
    };
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

/// Reports how it ended.
fn ended(target: &Target, event: &Event, outcome: &Outcome, handler: Option<Duration>, end: End) {
    let settlement = match end {
        End::Settled(settlement) => settlement,
        End::Again { delay, counts: true } => Settlement::Retry(delay),
        End::Again { delay, counts: false } => Settlement::Postpone(delay),
        End::Lost => {
            return report::EventLeft { queue: target.metrics.queue(), message_id: id(event) }
                .emit();
        }
    };
    report::EventSettled {
        subscription: &target.metrics,
        digest: &target.digest(),
        message_id: id(event),
        attempt: event.attempt,
        publications: outcome.publications(),
        outcome,
        settlement,
        handler,
    }
    .emit();
}

/// What comes of `work`; `None` if the connection that the delivery came by is lost before: the
/// broker delivers it again, so this attempt must leave nothing behind.
async fn unless_lost<T>(receipt: Option<&Receipt>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = lost(receipt) => None,
        done = work => Some(done),
    }
}

async fn lost(receipt: Option<&Receipt>) {
    match receipt {
        Some(receipt) => receipt.stale().await,
        None => std::future::pending().await,
    }
}

/// The outcome, and the time in the handler if it was called; `None` if the connection that the
/// delivery came by was lost while it waited for its turn.
async fn call(
    target: &Target,
    Shared { outbound, journal, .. }: &Shared,
    event: &Event,
    receipt: Option<&Receipt>,
) -> Option<(Outcome, Option<Duration>)> {
    let refused = |fault, reason| Some((Outcome::Refused { fault, reason }, None));
    let Some(plugin) = &target.plugin else {
        let reason = format!("no plugin's `match` fits it in the queue `{}`", event.queue);
        return refused(Fault::Unmatched, reason);
    };
    // Rarely as many as to be worth the question how many there may be.
    let many = event.returned >= RETURNS_ALONE;
    if many && event.returned >= outbound.returns_max(&target.subscription.consume) {
        let times = event.returned;
        let reason =
            format!("it was under way {times} times when the host or its connection ended");
        return refused(Fault::Crash, reason);
    }
    let entered = tokio::select! {
        biased;
        // First, as it is nearly always ready at once.
        entered = journal.enter(event, target.policy.attempts) => entered,
        () = lost(receipt) => return None,
    };
    let entered = match entered {
        Ok(entered) => entered,
        Err(spent) => return refused(Fault::Crash, spent.reason()),
    };
    let started = Instant::now();
    // A mistake of ours must not bring the event back without counting it.
    let called = entered.run(AssertUnwindSafe(plugin.call(event)).catch_unwind()).await;
    let called = called.unwrap_or_else(|_| {
        let reason = "the host panicked; please report it, with the log".to_owned();
        Outcome::Failed { fault: Fault::Host, reason }.into()
    });
    let outcome = called.outcome;
    let handler = (!matches!(outcome, Outcome::Refused { .. })).then(|| started.elapsed());
    Some((outcome, handler))
}

/// Publishes what the handler asked for; a publication that is not taken is a failed event.
async fn flush(target: &Target, outbound: &Outbound, event: &Event, outcome: &mut Outcome) {
    let Outcome::Ok(publications) = outcome else { return };
    let plugin = target.plugin.as_ref().map_or("", |plugin| &plugin.name);
    moves::name(publications, event, plugin);
    if let Err(error) = outbound.publish(publications).await {
        *outcome = Outcome::Failed { fault: Fault::Publish, reason: error.to_string() };
    }
}

/// Publishes the event itself to where it is to be. False if that can never be; a dead letter
/// leaves behind what is too much.
async fn carry(
    target: &Target,
    outbound: &Outbound,
    event: &Event,
    outcome: &Outcome,
    settlement: Settlement,
) -> bool {
    let subscription = &target.subscription;
    let (attempt, delay) = match settlement {
        Settlement::Retry(delay) => (event.attempt.saturating_add(1), delay),
        Settlement::Postpone(delay) => (event.attempt, delay),
        Settlement::Ack | Settlement::Requeue | Settlement::Drop | Settlement::DeadLetter => {
            let (plugin, digest) = match &target.plugin {
                Some(plugin) => (&*plugin.name, plugin.digest.as_str()),
                None => ("", ""),
            };
            let ended = Ended { plugin, digest, outcome };
            let mut letter = moves::dead_letter(event, subscription, ended);
            // Our own headers come on top of what the publisher could just fit in.
            while outbound.carry(&letter).await.is_err() {
                let header = moves::cut(&mut letter);
                let queue = target.metrics.queue();
                report::HeaderCut { queue, message_id: id(event), header: &header }.emit();
            }
            return true;
        }
    };
    let retried = moves::retry(event, attempt, delay);
    outbound.carry(&retried).await.is_ok()
}
