//! One event in flight, as `dispatch/handle.rs`: does what its course says, step by step, and holds
//! each step against what may be done. Next: [`super::ledger`], where it is noted.

use super::broker::Parcel;
use super::cover::Seen;
use super::ledger::{Broken, Invariant, hold};
use super::schedule::{How, RETURNS};
use super::world::World;
use crate::flow::{Fault, Outcome, Settlement, Verdict};
use crate::policy::Last;
use crate::policy::course::{Course, Happened, Step, Terms};
use crate::policy::intake::Ticket;
use std::time::Duration;

/// What a task waits for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum At {
    /// Its task to begin.
    Begun,
    Recall,
    Call,
    Commit,
    Publish,
    Forget,
    Move(Settlement),
    /// Its place to be free; then it begins again after this.
    Over(Option<Duration>),
}

pub(super) struct Task<'a> {
    pub(super) ticket: Option<Ticket>,
    pub(super) plugin: Option<usize>,
    pub(super) event: usize,
    pub(super) attempt: u32,
    /// Until it is settled.
    pub(super) parcel: Option<Parcel>,
    pub(super) course: Course<'a>,
    pub(super) terms: Terms<'a>,
    /// Which version it is of.
    pub(super) epoch: u32,
    pub(super) at: At,
    pub(super) outcome: Outcome,
    /// Its handler has ended.
    pub(super) concluded: bool,
    /// How many of its handler's publications are confirmed.
    pub(super) confirmed: usize,
    /// It was recorded as handled when it began.
    known: bool,
    /// What its handler did is visible.
    pub(super) committed: bool,
    /// It was in the way of another, since it was called last.
    pub(super) in_the_way: bool,
    /// It is where it was moved to.
    pub(super) moved: bool,
    too_large: bool,
    pub(super) sheltered: bool,
}

impl Task<'_> {
    pub(super) fn is_probe(&self) -> bool {
        self.ticket.is_some_and(|ticket| ticket.is_probe())
    }

    /// Whether the broker has forgotten it, or will have, and it has not ended.
    pub(super) fn is_acked_first(&self) -> bool {
        self.terms.at_most_once && self.parcel.is_none() && !matches!(self.at, At::Over(_))
    }

    /// Whether its failure is the last one that it may have.
    pub(super) fn is_used_up(&self) -> bool {
        let failed = matches!(self.outcome, Outcome::Retry { .. } | Outcome::Failed { .. });
        failed && !self.is_overtaken() && self.attempt >= self.terms.policy.attempts
    }

    /// Whether others changed what it had read, so often that it was given up for a while.
    fn is_overtaken(&self) -> bool {
        matches!(self.outcome, Outcome::Failed { fault: Fault::Conflict, .. })
    }

    pub(super) fn may_drop(&self) -> bool {
        let used_up = self.is_used_up() && self.terms.policy.on_exhausted == Last::Drop;
        used_up || self.terms.at_most_once || matches!(self.outcome, Outcome::Drop(_))
    }

    pub(super) fn may_be_dead(&self) -> bool {
        let hopeless = matches!(self.outcome, Outcome::Reject(_) | Outcome::Refused { .. });
        let used_up = self.is_used_up() && self.terms.policy.on_exhausted == Last::DeadLetter;
        hopeless || used_up || self.too_large
    }

    /// Whether a rejection is its retry.
    pub(super) fn may_requeue(&self) -> bool {
        let failed =
            matches!(self.outcome, Outcome::Retry { after: None, .. } | Outcome::Failed { .. });
        let counts = failed && !self.is_overtaken() && !self.is_used_up();
        counts && self.terms.queue_delays && !self.sheltered
    }

    pub(super) fn may_postpone(&self) -> bool {
        let away = matches!(self.outcome, Outcome::Unavailable { .. });
        self.sheltered || away || self.is_overtaken()
    }
}

impl<'a> World<'a> {
    /// A task for a delivery: it has begun for its lane, and not for itself.
    pub(super) fn spawn(&mut self, ticket: Option<Ticket>, plugin: Option<usize>, parcel: Parcel) {
        let terms = Terms {
            policy: self.policy,
            at_most_once: false,
            in_order: false,
            queue_delays: false,
            commits: false,
            recalls: false,
        };
        let host = self.host();
        host.tasks.push(Task {
            ticket,
            plugin,
            event: parcel.event,
            attempt: parcel.attempt,
            course: Course::new(terms, parcel.attempt, 0.5),
            parcel: Some(parcel),
            terms,
            epoch: plugin.map_or(0, |plugin| host.epochs[plugin]),
            at: At::Begun,
            outcome: Outcome::Ok(Vec::new()),
            concluded: false,
            confirmed: 0,
            known: false,
            committed: false,
            in_the_way: false,
            moved: false,
            too_large: false,
            sheltered: false,
        });
    }

    /// The task finds its plugin as it is now, and goes on if its delivery is still good.
    pub(super) fn begin(&mut self, event: usize) -> Result<bool, Broken> {
        let Some(at) = self.find(event, |at| at == At::Begun) else { return Ok(false) };
        let (policy, plugin) = (self.policy, self.task(at).plugin);
        let host = self.host.as_mut().expect("there is a host");
        let stale = host.tasks[at].parcel.as_ref().is_some_and(|parcel| host.is_stale(parcel));
        let task = &mut host.tasks[at];
        if let Some(ticket) = task.ticket
            && !host.lanes.iter().any(|(lane, _)| *lane == ticket.lane())
        {
            self.cover.note(Seen::BegunWithoutLane);
            let account = &mut self.ledger.accounts[event];
            account.loose = true;
            account.restarts += u32::from(account.calls > 0);
            task.at = At::Over(None);
            if let Some(parcel) = task.parcel.take() {
                host.settle(parcel, Verdict::GiveBack);
            }
            return Ok(true);
        }
        let in_order = self.plan.order && plugin.is_some();
        self.ledger.accounts[event].loose |= !in_order;
        let at_most_once = self.setup.at_most_once(plugin);
        let mut queue_delays = self.setup.queue_delays && !in_order;
        if let Some(parcel) = task.parcel.as_ref().filter(|_| queue_delays) {
            task.attempt += parcel.returned;
            queue_delays = parcel.returned < RETURNS;
        } else if task.parcel.as_ref().is_some_and(|parcel| parcel.returned > 0) {
            // Those that the queue has counted are forgotten where there is an order now.
            self.ledger.accounts[event].restarts += 1;
        }
        let commits = self.setup.recorded && plugin.is_some();
        let recalls = commits && !at_most_once;
        task.terms = Terms { policy, at_most_once, in_order, queue_delays, commits, recalls };
        task.known = recalls && self.store.knows(event, plugin);
        task.course = Course::new(task.terms, task.attempt, 0.5);
        let step = task.course.next(if stale { Happened::Lost } else { Happened::Begun });
        if stale {
            self.cover.note(Seen::BegunStale);
        }
        self.go_on(at, step)?;
        if plugin.is_none() && self.task(at).at == At::Call {
            self.called(at, unmatched())?;
        }
        Ok(true)
    }

    pub(super) fn task(&mut self, at: usize) -> &mut Task<'a> {
        &mut self.host().tasks[at]
    }

    /// The first one of `event` that is at a place like this.
    pub(super) fn find(&mut self, event: usize, like: impl Fn(At) -> bool) -> Option<usize> {
        self.host().tasks.iter().position(|task| task.event == event && like(task.at))
    }

    /// Goes on from `step` until there is something to wait for.
    pub(super) fn go_on(&mut self, at: usize, mut step: Step) -> Result<(), Broken> {
        loop {
            let happened = match step {
                Step::Call | Step::CallAnew => {
                    let (event, limit) = (self.task(at).event, self.policy.attempts);
                    let (attempt, called) = (self.task(at).attempt, self.task(at).plugin.is_some());
                    // Queues that delay count lost connections too.
                    let counts = !self.setup.queue_delays;
                    hold(Invariant::BoundedAttempts, attempt <= limit || !counts, || {
                        format!("event {event} is at attempt {attempt} of {limit}")
                    })?;
                    hold(Invariant::Truth, !self.task(at).known, || {
                        format!("event {event} is handled again, and recorded")
                    })?;
                    self.task(at).at = At::Call;
                    return if called { self.ledger.called(event, limit) } else { Ok(()) };
                }
                Step::Recall => return self.waits(at, At::Recall),
                Step::Commit if self.is_lost(at) => {
                    self.cover.note(Seen::LostBeforeCommit);
                    Happened::Lost
                }
                Step::Commit => return self.waits(at, At::Commit),
                Step::Publish => return self.waits(at, At::Publish),
                Step::Forget => return self.waits(at, At::Forget),
                Step::Move(to) => return self.waits(at, At::Move(to)),
                Step::Tell(sign) => Happened::Told(self.tell(at, sign)?),
                Step::Settle(verdict) => Happened::Settled(self.settle(at, verdict)?),
                Step::End(end) => return self.over(at, end),
            };
            step = self.task(at).course.next(happened);
        }
    }

    fn waits(&mut self, at: usize, what: At) -> Result<(), Broken> {
        self.task(at).at = what;
        Ok(())
    }

    pub(super) fn finish(&mut self, event: usize, how: How) -> Result<bool, Broken> {
        let Some(at) = self.find(event, |at| at == At::Call) else { return Ok(false) };
        self.called(at, how.outcome()).map(|()| true)
    }

    fn called(&mut self, at: usize, outcome: Outcome) -> Result<(), Broken> {
        let host = self.host.as_mut().expect("there is a host");
        let task = &mut host.tasks[at];
        if task.parcel.as_ref().is_some_and(|parcel| parcel.channel <= host.stale) {
            self.cover.note(Seen::LostWhileCalled);
        }
        if matches!(outcome, Outcome::Drop(_)) {
            self.cover.note(Seen::DroppedByHandler);
        }
        task.outcome = outcome;
        task.concluded = true;
        task.in_the_way = false;
        let (event, in_order, commits) = (task.event, task.terms.in_order, task.terms.commits);
        let step = task.course.next(Happened::Called(&task.outcome));
        let silent = matches!(&task.outcome, Outcome::Ok(publications) if publications.is_empty());
        if silent && !commits {
            self.effect(event, in_order)?;
        }
        self.go_on(at, step)
    }

    pub(super) fn effect(&mut self, event: usize, in_order: bool) -> Result<(), Broken> {
        self.ledger.effect(event, in_order)?;
        if self.ledger.accounts[event].effects > 1 {
            self.cover.note(Seen::EffectTwice);
        }
        Ok(())
    }

    /// The broker has what is published for the event, and says so.
    pub(super) fn confirm(&mut self, event: usize) -> Result<bool, Broken> {
        let waits = |at| matches!(at, At::Publish | At::Move(_));
        let Some(at) = self.find(event, waits) else { return Ok(false) };
        if let At::Move(to) = self.task(at).at {
            self.arrive(at, to)?;
            if self.is_lost(at) {
                return self.lost(at);
            }
            let task = self.task(at);
            task.moved = true;
            let step = task.course.next(Happened::Moved(true));
            return self.go_on(at, step).map(|()| true);
        }
        if self.is_lost(at) {
            return self.lost(at);
        }
        let task = self.task(at);
        task.confirmed += 1;
        if task.confirmed < task.outcome.publications() {
            return Ok(true);
        }
        let (event, in_order, commits) = (task.event, task.terms.in_order, task.terms.commits);
        let plugin = task.plugin.unwrap_or_default();
        let step = task.course.next(Happened::Published(&task.outcome));
        if commits {
            self.ledger.accounts[event].owed[plugin] = false;
        } else {
            self.effect(event, in_order)?;
        }
        self.go_on(at, step).map(|()| true)
    }

    pub(super) fn refuse(&mut self, event: usize) -> Result<bool, Broken> {
        let Some(at) = self.find(event, |at| at == At::Publish) else { return Ok(false) };
        if self.is_lost(at) {
            return self.lost(at);
        }
        self.cover.note(Seen::PublicationRefused);
        if self.task(at).committed {
            self.cover.note(Seen::RefusedAfterCommit);
            // It comes again, and ends as a dead letter in the end, although it was handled.
            self.ledger.accounts[event].excuses += 1;
        }
        let task = self.task(at);
        task.outcome = Outcome::Failed { fault: Fault::Publish, reason: String::new() };
        let step = task.course.next(Happened::Published(&task.outcome));
        self.go_on(at, step).map(|()| true)
    }

    /// It is published again; perhaps the broker has it already.
    pub(super) fn unconfirmed(&mut self, event: usize, taken: bool) -> Result<bool, Broken> {
        let waits = |at| matches!(at, At::Publish | At::Move(_));
        let Some(at) = self.find(event, waits) else { return Ok(false) };
        if let (At::Move(to), true) = (self.task(at).at, taken) {
            self.cover.note(Seen::TakenUnconfirmed);
            self.ledger.accounts[event].excuses += 1;
            self.arrive(at, to)?;
        }
        Ok(true)
    }

    pub(super) fn too_large(&mut self, event: usize) -> Result<bool, Broken> {
        let waits = |at| matches!(at, At::Move(Settlement::Retry(_) | Settlement::Postpone(_)));
        let Some(at) = self.find(event, waits) else { return Ok(false) };
        if self.is_lost(at) {
            return self.lost(at);
        }
        self.cover.note(Seen::MoveTooLarge);
        let task = self.task(at);
        task.too_large = true;
        let step = task.course.next(Happened::Moved(false));
        self.go_on(at, step).map(|()| true)
    }

    pub(super) fn see_lost(&mut self, event: usize) -> Result<bool, Broken> {
        let waits = |at| matches!(at, At::Recall | At::Call | At::Publish | At::Move(_));
        match self.find(event, waits).filter(|at| self.is_lost(*at)) {
            Some(at) => self.lost(at),
            None => Ok(false),
        }
    }

    pub(super) fn is_lost(&mut self, at: usize) -> bool {
        let host = self.host();
        host.tasks[at].parcel.as_ref().is_some_and(|parcel| host.is_stale(parcel))
    }

    pub(super) fn lost(&mut self, at: usize) -> Result<bool, Broken> {
        let seen = match self.task(at).at {
            At::Recall | At::Call => Seen::LostBeforeCall,
            At::Publish => Seen::LostWhilePublishing,
            _ => Seen::LostWhileMoving,
        };
        self.cover.note(seen);
        let step = self.task(at).course.next(Happened::Lost);
        self.go_on(at, step).map(|()| true)
    }

    pub(super) fn postponed(&mut self, event: usize, may: bool) -> Result<(), Broken> {
        self.ledger.accounts[event].postponed += 1;
        hold(Invariant::BoundedAttempts, may, || {
            format!("event {event} is postponed for no reason")
        })
    }
}

fn unmatched() -> Outcome {
    Outcome::Refused { fault: Fault::Unmatched, reason: String::new() }
}
