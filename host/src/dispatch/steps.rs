//! The steps of an event's course, each as one call: what [`super::handle`] asks for is done here, and
//! what came of it is an [`Outcome`]. Next: `memory`, which events are known; `moves`, events as
//! publications.

use super::handle::Target;
use super::journal::Journal;
use super::memory::Memory;
use super::moves::{self, Ended};
use super::outbound::Outbound;
use crate::capability::transaction::Transaction;
use crate::flow::{Event, Fault, Outcome, Receipt, Settlement};
use crate::plugin::Called;
use crate::policy::RETURNS_ALONE;
use crate::store::StoreError;
use crate::telemetry::report;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use tokio::sync::OwnedMutexGuard;

/// How long the stores may take to commit. What became of the commit is asked when the event comes
/// again.
const COMMIT_MAX: Duration = Duration::from_secs(60);

/// One event, with all that its steps need.
pub struct Work<'a> {
    /// Who handles it.
    pub target: &'a Target,
    /// Publishes for it.
    pub outbound: &'a Outbound,
    /// Notes that it is being handled.
    pub journal: &'a Journal,
    /// It.
    pub event: &'a Event,
    /// Whether it was handled before; `None`: nothing is recorded of it.
    pub memory: Option<Memory<'a>>,
}

/// What a call left to be committed. Dropped, it leaves nothing behind.
#[derive(Default)]
pub struct Deed {
    transaction: Transaction,
    /// No other event is called anew until it is over.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Deed {
    /// Leaves nothing behind, and waits for that.
    pub async fn rollback(self) {
        self.transaction.rollback().await;
    }
}

impl Work<'_> {
    /// What is known of it from before, see [`Memory::recall`].
    pub async fn recall(&self) -> Option<Outcome> {
        let known = self.memory.as_ref()?.recall().await?;
        if let Outcome::Ok(left) = &known {
            let message_id = moves::id(self.event);
            let (subscription, left) = (&self.target.metrics, left.len());
            report::EventRecalled { subscription, message_id, left }.emit();
        }
        Some(known)
    }

    /// Calls the handler; `anew`, when it is the turn of this event, as it was in another's way. The
    /// outcome, what it did, and the time in it if it was called; `None` if the connection that the
    /// delivery came by was lost while it waited for its turn.
    pub async fn call(
        &self,
        anew: bool,
        receipt: Option<&Receipt>,
    ) -> Option<(Outcome, Deed, Option<Duration>)> {
        let refused =
            |fault, reason| Some((Outcome::Refused { fault, reason }, Deed::default(), None));
        let Self { target, event, .. } = self;
        let Some(plugin) = &target.plugin else {
            let reason = format!("no plugin's `match` fits it in the queue `{}`", event.queue);
            return refused(Fault::Unmatched, reason);
        };
        // Rarely as many as to be worth the question how many there may be.
        let many = event.returned >= RETURNS_ALONE;
        if many && event.returned >= self.outbound.returns_max(&target.subscription.consume) {
            let times = event.returned;
            let reason =
                format!("it was under way {times} times when the host or its connection ended");
            return refused(Fault::Crash, reason);
        }
        let turn = if anew {
            report::EventInTheWay { subscription: &target.metrics }.emit();
            Some(unless_lost(receipt, plugin.stores.turn.clone().lock_owned()).await?)
        } else {
            None
        };
        let entered = tokio::select! {
            biased;
            // First, as it is nearly always ready at once.
            entered = self.journal.enter(event, target.policy.attempts) => entered,
            () = lost(receipt) => return None,
        };
        let entered = match entered {
            Ok(entered) => entered,
            Err(spent) => return refused(Fault::Crash, spent.reason()),
        };
        let started = Instant::now();
        // A mistake of ours must not bring the event back without counting it.
        let called = entered.run(AssertUnwindSafe(plugin.call(event)).catch_unwind()).await;
        let Called { outcome, transaction, .. } = called.unwrap_or_else(|_| {
            let reason = "the host panicked; please report it, with the log".to_owned();
            Outcome::Failed { fault: Fault::Host, reason }.into()
        });
        let handler = (!matches!(outcome, Outcome::Refused { .. })).then(|| started.elapsed());
        let deed = if let Outcome::Ok(_) = outcome {
            Deed { transaction, _turn: turn }
        } else {
            transaction.rollback().await;
            Deed::default()
        };
        Some((outcome, deed, handler))
    }

    /// Makes visible what the handler did, with the record that the event was handled.
    pub async fn commit(&self, deed: Deed, outcome: &mut Outcome) {
        let Outcome::Ok(publications) = outcome else { return };
        // They are recorded with the names that they are published with.
        self.name(publications);
        let record = self.memory.as_ref().map(|memory| memory.record(publications));
        let Deed { transaction, _turn } = deed;
        let committed = tokio::time::timeout(COMMIT_MAX, transaction.commit(record)).await;
        let away = |_| Err(StoreError::Unavailable("the commit was not answered".to_owned()));
        if let Err(error) = committed.unwrap_or_else(away) {
            *outcome = self.redact(error.into());
        }
    }

    /// Publishes what the handler asked for; a publication that is not taken is a failed event.
    pub async fn publish(&self, outcome: &mut Outcome) {
        let Outcome::Ok(publications) = outcome else { return };
        self.name(publications);
        if let Err(error) = self.outbound.publish(publications).await {
            let failed = Outcome::Failed { fault: Fault::Publish, reason: error.to_string() };
            *outcome = self.redact(failed);
        }
    }

    /// See [`Memory::forget`].
    pub async fn forget(&self) {
        if let Some(memory) = &self.memory {
            memory.forget().await;
        }
    }

    /// Publishes the event itself to where it is to be. False if that can never be; a dead letter
    /// leaves behind what is too much.
    pub async fn carry(&self, outcome: &Outcome, settlement: Settlement) -> bool {
        let Self { target, event, outbound, .. } = self;
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
                    let (queue, message_id) = (target.metrics.queue(), moves::id(event));
                    report::HeaderCut { queue, message_id, header: &header }.emit();
                }
                return true;
            }
        };
        let retried = moves::retry(event, attempt, delay);
        outbound.carry(&retried).await.is_ok()
    }

    /// What a store or the broker says may repeat what the handler gave it.
    fn redact(&self, outcome: Outcome) -> Outcome {
        match &self.target.plugin {
            Some(plugin) => plugin.redact(outcome),
            None => outcome,
        }
    }

    /// Gives message-ids to publications that have none.
    fn name(&self, publications: &mut [crate::flow::Publication]) {
        let plugin = self.target.plugin.as_ref().map_or("", |plugin| &plugin.name);
        let known = self.memory.as_ref().map(Memory::name);
        moves::name(publications, self.event, plugin, known.as_deref());
    }
}

/// What comes of `work`; `None` if the connection that the delivery came by is lost before: the
/// broker delivers it again, so this attempt must leave nothing behind.
pub async fn unless_lost<T>(receipt: Option<&Receipt>, work: impl Future<Output = T>) -> Option<T> {
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
