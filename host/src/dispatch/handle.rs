//! What happens to one delivery: receive → call → flush → decide → settle. Every branch of an
//! event's life is in [`handle`]; read this page first.

use super::moves::{self, Ended};
use super::outbound::Outbound;
use crate::flow::{Delivery, Event, Fault, Outcome, Receipt, Settlement, Verdict};
use crate::plugin::{Plugin, manifest};
use crate::policy::{self, Policy};
use crate::telemetry::{SubscriptionMetrics, report};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

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
    fn digest(&self) -> &str {
        self.plugin.as_ref().map_or("", |plugin| plugin.short_digest())
    }
}

fn id(event: &Event) -> &str {
    event.properties.message_id.as_deref().unwrap_or_default()
}

/// Handles `delivery` and settles it. Ends early, leaving the settling to the broker, when the
/// connection that the delivery came by is lost.
pub async fn handle(target: &Target, outbound: &Outbound, delivery: Delivery) {
    let Delivery { event, receipt } = delivery;
    let ack_lost = || report::AckLost { queue: target.metrics.queue(), lost: 1 }.emit();
    // It waited for its turn while its connection was lost: the broker delivers it again.
    if receipt.is_stale() {
        return ack_lost();
    }
    let receipt = if target.subscription.at_most_once {
        if !receipt.settle(Verdict::Ack) {
            return ack_lost();
        }
        None
    } else {
        Some(receipt)
    };
    let started = Instant::now();
    let outcome = call(target, &event).await;
    let handler = (!matches!(outcome, Outcome::Refused { .. })).then(|| started.elapsed());
    let finish = async {
        let outcome = flush(target, outbound, &event, outcome).await;
        let settlement = decide(target, &event, &outcome);
        let settlement = carry_out(target, outbound, &event, &outcome, settlement).await;
        (outcome, settlement)
    };
    let (outcome, settlement) = tokio::select! {
        biased;
        // The broker delivers it again, so this attempt must leave nothing behind.
        () = lost(receipt.as_ref()) => return ack_lost(),
        finished = finish => finished,
    };
    let verdict = match settlement {
        Settlement::GiveBack => Verdict::GiveBack,
        _ => Verdict::Ack,
    };
    if receipt.is_some_and(|receipt| !receipt.settle(verdict)) {
        return ack_lost();
    }
    report::EventSettled {
        subscription: &target.metrics,
        digest: &target.digest(),
        message_id: id(&event),
        attempt: event.attempt,
        publications: outcome.publications(),
        outcome: &outcome,
        settlement,
        handler,
    }
    .emit();
}

async fn lost(receipt: Option<&Receipt>) {
    match receipt {
        Some(receipt) => receipt.stale().await,
        None => std::future::pending().await,
    }
}

async fn call(target: &Target, event: &Event) -> Outcome {
    let Some(plugin) = &target.plugin else {
        let reason = format!("no plugin's `match` fits it in the queue `{}`", event.queue);
        return Outcome::Refused { fault: Fault::Unmatched, reason };
    };
    if event.returned >= policy::RETURNS_MAX {
        let times = event.returned;
        let reason =
            format!("it was under way {times} times when the host or its connection ended");
        return Outcome::Refused { fault: Fault::Crash, reason };
    }
    // A mistake of ours must not bring the event back without counting it.
    AssertUnwindSafe(plugin.call(event)).catch_unwind().await.unwrap_or_else(|_| {
        let reason = "the host panicked; please report it, with the log".to_owned();
        Outcome::Failed { fault: Fault::Host, reason }
    })
}

/// Publishes what the handler asked for; a publication that is not taken is a failed event.
async fn flush(target: &Target, outbound: &Outbound, event: &Event, outcome: Outcome) -> Outcome {
    let Outcome::Ok(mut publications) = outcome else { return outcome };
    let plugin = target.plugin.as_ref().map_or("", |plugin| &plugin.name);
    moves::name(&mut publications, event, plugin);
    match outbound.publish(&publications).await {
        Ok(()) => Outcome::Ok(publications),
        Err(error) => Outcome::Failed { fault: Fault::Publish, reason: error.to_string() },
    }
}

fn decide(target: &Target, event: &Event, outcome: &Outcome) -> Settlement {
    let settlement = policy::decide(outcome, event.attempt, &target.policy, fastrand::f64());
    // What was acknowledged before it was handled can't come again.
    let gone = target.subscription.at_most_once && settlement != Settlement::Ack;
    if gone { Settlement::Drop } else { settlement }
}

/// Does what must be done before the ack; what became of the event may be less than was decided.
async fn carry_out(
    target: &Target,
    outbound: &Outbound,
    event: &Event,
    outcome: &Outcome,
    settlement: Settlement,
) -> Settlement {
    let subscription = &target.subscription;
    if let Settlement::Retry(delay) = settlement {
        let retried = moves::retry(event, delay, &subscription.consume.queue);
        if outbound.carry(&retried).await.is_ok() {
            return settlement;
        }
    } else if settlement != Settlement::DeadLetter {
        return settlement;
    }
    let (plugin, digest) = match &target.plugin {
        Some(plugin) => (&*plugin.name, plugin.digest.as_str()),
        None => ("", ""),
    };
    let mut letter = moves::dead_letter(event, subscription, Ended { plugin, digest, outcome });
    // Our own headers come on top of what the publisher could just fit in.
    while outbound.carry(&letter).await.is_err() {
        let header = moves::cut(&mut letter);
        let queue = target.metrics.queue();
        report::HeaderCut { queue, message_id: id(event), header: &header }.emit();
    }
    Settlement::DeadLetter
}

/// Gives a delivery back that nobody has begun to handle.
pub fn give_back(delivery: Delivery) {
    delivery.receipt.settle(Verdict::GiveBack);
}
