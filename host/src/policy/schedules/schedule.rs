//! A schedule as data: what holds in it, and what happens step by step. A step that can't happen is
//! skipped, so that any part of a schedule is a schedule. Next: [`super::world`], where they happen.

use crate::flow::{Fault, Outcome, Publication};
use crate::policy::{Last, Policy, circuit};
use std::time::Duration;

/// How many plugins share the queue.
pub(super) const LANES: usize = 2;
/// How many keys the events of a lane have.
pub(super) const KEYS: usize = 2;

/// How often a queue that delays takes an event back.
pub(super) const RETURNS: u32 = 2;

/// What holds from the beginning to the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    pub(super) prefetch: usize,
    pub(super) attempts: u32,
    /// Failures in a row that open a circuit; 0: none do.
    pub(super) failures: u32,
    pub(super) on_exhausted: Last,
    /// Of the second lane.
    pub(super) at_most_once: bool,
    /// The queue itself delays what is rejected.
    pub(super) queue_delays: bool,
    /// The plugins have a store, in which it is recorded which events were handled.
    pub(super) recorded: bool,
    /// At first.
    pub(super) plan: Plan,
}

/// Which lanes there are, and whether their events are in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) lanes: [Option<Version>; LANES],
    pub(super) order: bool,
}

/// A plugin as it is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) digest: u8,
    pub(super) concurrency: usize,
}

/// Something that happens. Numbers are those of events; times are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// An event for this lane, with this key, is in the queue.
    Publish(usize, usize, usize),
    /// The broker sends the first event of the queue.
    Deliver,
    /// The host hands the first one that came to its lane.
    Route,
    /// The task of this event begins.
    Begin(usize),
    /// The handler of this event ends.
    Finish(usize, How),
    /// The broker takes and confirms a publication that is made for this event.
    Confirm(usize),
    /// The broker refuses a publication of its handler.
    Refuse(usize),
    /// The confirm does not come; true: the broker has taken it.
    Unconfirmed(usize, bool),
    /// The store does something for this event.
    Store(usize, Answer),
    /// The event is too large with the headers of a retry.
    TooLarge(usize),
    /// The host sees that the event's channel is gone.
    SeeLost(usize),
    /// The place of this event, which has ended, is free.
    Leave(usize),
    /// The oldest verdict is written.
    Write,
    /// The consuming connection is lost.
    Lose,
    /// Its receipts are stale from now on.
    Stale,
    /// The consumer sees that it is down.
    Down,
    /// The consumer is live.
    Connect,
    /// The consumer sees that it is to consume otherwise, or to end.
    Observe,
    /// The broker has cancelled the consumer.
    Cancelled,
    /// The last delivery was handed out.
    Closed,
    /// What is due happens.
    Tick,
    /// Time passes.
    Pass(u64),
    /// Plugins changed.
    Reload(Plan),
    /// The host is to end.
    Stop,
    /// What is in flight has had its time.
    Kill,
    /// The host has ended.
    Exit,
    /// The host is gone, and all that it knew.
    Crash,
    /// There is a host again.
    Start,
}

/// What a store does with what it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It does it, and says so.
    Yes,
    /// It has done it, and the answer is under way.
    Applies,
    /// It says that another event was in the way.
    Conflict,
    /// It says that it will never do it.
    Fails,
    /// It is not there; perhaps it has done it before.
    Away,
}

/// How a handler ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Well, with so many publications.
    Good(usize),
    Retry,
    RetryAfter(u64),
    Reject,
    Forget,
    Trap,
    Timeout,
    Away,
    AwayFor(u64),
    /// It is not called: it has ended hosts before.
    Refused,
}

impl How {
    pub(super) fn outcome(self) -> Outcome {
        let reason = String::new();
        let failed = |fault| Outcome::Failed { fault, reason: String::new() };
        match self {
            How::Good(publications) => Outcome::Ok(vec![Publication::default(); publications]),
            How::Retry => Outcome::Retry { after: None, reason },
            How::RetryAfter(ms) => {
                Outcome::Retry { after: Some(Duration::from_millis(ms)), reason }
            }
            How::Reject => Outcome::Reject(reason),
            How::Forget => Outcome::Drop(reason),
            How::Refused => Outcome::Refused { fault: Fault::Crash, reason },
            How::Trap => failed(Fault::Trap),
            How::Timeout => failed(Fault::Timeout),
            How::Away => Outcome::Unavailable { after: None, reason },
            How::AwayFor(ms) => {
                Outcome::Unavailable { after: Some(Duration::from_millis(ms)), reason }
            }
        }
    }
}

impl Setup {
    pub(super) fn policy(&self) -> Policy {
        Policy {
            attempts: self.attempts,
            delays: vec![Duration::from_secs(1), Duration::from_secs(4)],
            jitter: 0.0,
            on_exhausted: self.on_exhausted,
            circuit: circuit::Rules {
                failures: self.failures,
                pause: Duration::from_secs(5),
                pause_max: Duration::from_secs(20),
            },
            ..Policy::default()
        }
    }

    pub(super) fn at_most_once(&self, lane: Option<usize>) -> bool {
        self.at_most_once && lane == Some(1)
    }
}

impl Plan {
    /// The lane of the events that are published for `lane`: the second one takes them all.
    pub(super) fn takes(&self, lane: usize) -> Option<usize> {
        (lane..LANES).find(|at| self.lanes[*at].is_some())
    }
}
