//! The course of one event from its delivery to its settlement, as a pure state machine: it is told
//! what happened and answers with what is to be done next. Every decision about an event is here
//! or in [`super::decide`]. Next: [`super::intake`], which says when an event's course begins, and
//! `dispatch/handle.rs`, which does what is said here.

use super::circuit::Sign;
use super::intake::Shelter;
use super::{Policy, decide, step};
use crate::flow::{Fault, Outcome, Settlement, Verdict};
use std::time::Duration;

/// An event that is postponed must be away long enough for others to be tried.
const POSTPONE_MIN: Duration = Duration::from_secs(1);

/// How often in a row a handler is called anew since other events changed what it had read. Those that
/// are called anew wait for each other, so that few get near it.
const CONFLICTS_MAX: u32 = 20;

/// What is to be done next for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask its plugin's store whether it was handled before.
    Recall,
    /// Call its handler.
    Call,
    /// Call it again: it was in the way of another event. One that is called like this at a time.
    CallAnew,
    /// Make visible what the handler did in stores, with the record that the event was handled.
    Commit,
    /// Publish what the handler asked for, and wait for the confirms.
    Publish,
    /// Let the store know that nothing is left to be published.
    Forget,
    /// Tell the circuit how it went, and learn whether the event is sheltered from that.
    Tell(Sign),
    /// Publish the event itself: to a delay queue (`Retry`, `Postpone`) or as a dead letter.
    Move(Settlement),
    /// Tell the broker.
    Settle(Verdict),
    /// Nothing any more.
    End(End),
}

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Happened<'a> {
    /// Its turn has come.
    Begun,
    /// The store knows nothing of it (`None`), knows what is still to be published for it, or gave no
    /// answer: then this is a failure.
    Recalled(Option<&'a Outcome>),
    /// The handler was called, or refused.
    Called(&'a Outcome),
    /// What it did is visible, or will not be: then this is a failure.
    Committed(&'a Outcome),
    /// The broker has confirmed all publications, or refused one: then this is a failure.
    Published(&'a Outcome),
    /// The store knows, or will ask for the same publications again if the event comes again.
    Forgotten,
    /// The circuit knows.
    Told(Shelter),
    /// The event has arrived where it was moved to; false: it never will.
    Moved(bool),
    /// The broker was told; false: the channel that the delivery came by was gone.
    Settled(bool),
    /// The channel that the delivery came by is gone: the broker delivers it again.
    Lost,
}

/// How a course ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was settled like this.
    Settled(Settlement),
    /// It stays with the host and begins again after this delay, in its place in the order.
    Again {
        /// From now.
        delay: Duration,
        /// Whether that is another attempt.
        counts: bool,
    },
    /// The broker delivers it again; this course has left nothing behind.
    Lost,
}

/// What holds for the events of a subscription.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// How failures are settled.
    pub policy: &'a Policy,
    /// Acknowledged before it is handled.
    pub at_most_once: bool,
    /// Events are in order: a retry waits in its place.
    pub in_order: bool,
    /// The queue itself delays what is rejected, and counts it. Not for events in order.
    pub queue_delays: bool,
    /// What the handler does in stores is committed.
    pub commits: bool,
    /// It is recorded which events were handled. Not for those that are acknowledged first.
    pub recalls: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Course<'a> {
    terms: Terms<'a>,
    attempt: u32,
    /// Where in its jitter a delay falls, 0 to 1.
    chance: f64,
    /// How often in a row it was in another's way.
    conflicts: u32,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    AckingFirst,
    Recalling,
    Calling,
    Committing,
    /// True: what its handler asked for just now; false: what is left from before.
    Publishing(bool),
    Forgetting(bool),
    Telling(Settlement),
    Moving(Settlement),
    Settling(Settlement),
    Over,
}

impl<'a> Course<'a> {
    /// That of an event at its `attempt`, from 1.
    pub fn new(terms: Terms<'a>, attempt: u32, chance: f64) -> Self {
        Self { terms, attempt, chance, conflicts: 0, phase: Phase::Waiting }
    }

    /// What is to be done now that this has happened. What can't happen in this phase changes
    /// nothing and is answered with the end: there is nothing that may be done about it.
    pub fn next(&mut self, happened: Happened<'_>) -> Step {
        let (phase, step) = match (self.phase, happened) {
            (phase, Happened::Lost) if !self.acked_first(phase) => {
                (Phase::Over, Step::End(End::Lost))
            }
            (Phase::Waiting, Happened::Begun) if self.terms.at_most_once => {
                (Phase::AckingFirst, Step::Settle(Verdict::Ack))
            }
            (Phase::Waiting, Happened::Begun) if self.terms.recalls => {
                (Phase::Recalling, Step::Recall)
            }
            (Phase::Recalling, Happened::Recalled(Some(known))) => self.publish(known, false),
            (Phase::Recalling, Happened::Recalled(None)) if self.conflicts > 0 => {
                (Phase::Calling, Step::CallAnew)
            }
            (Phase::Waiting, Happened::Begun)
            | (Phase::AckingFirst, Happened::Settled(true))
            | (Phase::Recalling, Happened::Recalled(None)) => (Phase::Calling, Step::Call),
            (Phase::Calling, Happened::Called(outcome))
            | (Phase::Committing, Happened::Committed(outcome))
                if self.may_be_called_anew(outcome) =>
            {
                self.conflicts += 1;
                self.call_anew()
            }
            (Phase::Calling, Happened::Called(Outcome::Ok(_))) if self.terms.commits => {
                (Phase::Committing, Step::Commit)
            }
            (Phase::Calling, Happened::Called(outcome))
            | (Phase::Committing, Happened::Committed(outcome)) => self.publish(outcome, true),
            (Phase::Publishing(called), Happened::Published(Outcome::Ok(_)))
                if self.terms.recalls =>
            {
                (Phase::Forgetting(called), Step::Forget)
            }
            (Phase::Publishing(called), Happened::Published(outcome)) => {
                self.conclude(outcome, called)
            }
            (Phase::Forgetting(called), Happened::Forgotten) => Self::good(called),
            (Phase::Telling(settlement), Happened::Told(shelter)) => {
                self.settle(settlement, shelter)
            }
            (Phase::Moving(settlement), Happened::Moved(true)) => Self::write(settlement),
            // Larger than the broker takes, with the headers of a retry.
            (Phase::Moving(Settlement::Retry(_) | Settlement::Postpone(_)), Happened::Moved(_)) => {
                (Phase::Moving(Settlement::DeadLetter), Step::Move(Settlement::DeadLetter))
            }
            (Phase::Settling(settlement), Happened::Settled(true)) => {
                (Phase::Over, Step::End(End::Settled(settlement)))
            }
            _ => (Phase::Over, Step::End(End::Lost)),
        };
        self.phase = phase;
        step
    }

    /// What it was in the way of may be the same event, delivered twice.
    fn call_anew(&self) -> (Phase, Step) {
        match self.terms.recalls {
            true => (Phase::Recalling, Step::Recall),
            false => (Phase::Calling, Step::CallAnew),
        }
    }

    fn may_be_called_anew(&self, outcome: &Outcome) -> bool {
        let conflict = matches!(outcome, Outcome::Failed { fault: Fault::Conflict, .. });
        conflict && self.conflicts < CONFLICTS_MAX
    }

    /// What comes after the handler, or after it turned out that it has been `called` before.
    fn publish(&self, outcome: &Outcome, called: bool) -> (Phase, Step) {
        match outcome.publications() {
            0 => self.conclude(outcome, called),
            _ => (Phase::Publishing(called), Step::Publish),
        }
    }

    fn conclude(&self, outcome: &Outcome, called: bool) -> (Phase, Step) {
        if let Outcome::Ok(_) = outcome {
            return Self::good(called);
        }
        let settlement = decide(outcome, self.attempt, self.terms.policy, self.chance);
        let settlement = self.by_the_queue(outcome, settlement);
        (Phase::Telling(settlement), Step::Tell(Sign::of(outcome)))
    }

    /// A handler that was not called says nothing about what it depends on.
    fn good(called: bool) -> (Phase, Step) {
        let sign = if called { Sign::Well } else { Sign::Neutral };
        (Phase::Telling(Settlement::Ack), Step::Tell(sign))
    }

    /// Whether the broker has forgotten the event already.
    fn acked_first(&self, phase: Phase) -> bool {
        self.terms.at_most_once && !matches!(phase, Phase::Waiting | Phase::AckingFirst)
    }

    /// The queue has one delay for all: a handler that names its own gets that.
    fn by_the_queue(&self, outcome: &Outcome, settlement: Settlement) -> Settlement {
        let named = matches!(outcome, Outcome::Retry { after: Some(_), .. });
        match settlement {
            Settlement::Retry(_) if self.terms.queue_delays && !named => Settlement::Requeue,
            other => other,
        }
    }

    fn settle(&self, settlement: Settlement, shelter: Shelter) -> (Phase, Step) {
        if self.terms.at_most_once {
            // What was acknowledged before it was handled can't come again.
            let ack = settlement == Settlement::Ack;
            let settlement = if ack { settlement } else { Settlement::Drop };
            return (Phase::Over, Step::End(End::Settled(settlement)));
        }
        let settlement = match shelter {
            Shelter::None => settlement,
            Shelter::Postpone(delay) => Settlement::Postpone(step(delay.max(POSTPONE_MIN))),
        };
        match settlement {
            Settlement::Retry(delay) if self.terms.in_order => {
                (Phase::Over, Step::End(End::Again { delay, counts: true }))
            }
            Settlement::Postpone(delay) if self.terms.in_order => {
                (Phase::Over, Step::End(End::Again { delay, counts: false }))
            }
            Settlement::Retry(_) | Settlement::Postpone(_) | Settlement::DeadLetter => {
                (Phase::Moving(settlement), Step::Move(settlement))
            }
            Settlement::Ack | Settlement::Requeue | Settlement::Drop => Self::write(settlement),
        }
    }

    fn write(settlement: Settlement) -> (Phase, Step) {
        let requeue = settlement == Settlement::Requeue;
        let verdict = if requeue { Verdict::Requeue } else { Verdict::Ack };
        (Phase::Settling(settlement), Step::Settle(verdict))
    }
}

#[cfg(test)]
mod tests;
