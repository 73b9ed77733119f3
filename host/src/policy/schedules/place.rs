//! How an event in flight goes with the rest of its lane: what the circuit learns of it, its verdict,
//! its end and what follows. Next: [`super::ledger`], where it is noted.

use super::broker::{Message, Parcel};
use super::cover::Seen;
use super::ledger::{Broken, Invariant, hold};
use super::task::At;
use super::world::{Waiting, World};
use crate::flow::{Outcome, Settlement, Verdict};
use crate::policy::circuit::Sign;
use crate::policy::course::End;
use crate::policy::intake::{Action, Shelter};

impl World<'_> {
    /// Tells the circuit how the event of this task went.
    pub(super) fn tell(&mut self, at: usize, sign: Sign) -> Result<Shelter, Broken> {
        let (now, limit) = (self.now, self.setup.failures);
        let host = self.host.as_mut().expect("there is a host");
        let task = &host.tasks[at];
        let (event, probe) = (task.event, task.is_probe());
        let Some((ticket, plugin)) = task.ticket.zip(task.plugin) else { return Ok(Shelter::None) };
        let failed = matches!(sign, Sign::Unwell | Sign::Away(_));
        let breaker = &mut self.ledger.breakers[plugin];
        let was_open = breaker.open;
        if host.epochs[plugin] == task.epoch {
            breaker.sign(sign, probe, limit, now);
        } else if failed {
            self.cover.note(Seen::OldVersionFails);
        }
        let is_open = breaker.open && self.plan.lanes[plugin].is_some();
        let (shelter, said) = self.drive(|host, now, actions| {
            let shelter = host.intake.concluded(&ticket, sign, now, actions);
            let opened = actions.iter().any(|it| matches!(it, Action::Opened(_)));
            let closed = actions.iter().any(|it| matches!(it, Action::Closed(_)));
            (shelter, (opened, closed))
        })?;
        let changes = (!was_open && is_open, was_open && !is_open);
        hold(Invariant::Truth, said == changes, || {
            format!(
                "after event {event}, {sign:?}: opened and closed are {said:?}, not {changes:?}"
            )
        })?;
        let sheltered = shelter != Shelter::None;
        hold(Invariant::BoundedAttempts, sheltered == (failed && is_open), || {
            format!("event {event}, {sign:?}, is sheltered: {sheltered}; open: {is_open}")
        })?;
        self.note(changes, (probe, sheltered, failed));
        self.host().tasks[at].sheltered = sheltered;
        Ok(shelter)
    }

    fn note(
        &mut self,
        (opened, closed): (bool, bool),
        (probe, sheltered, failed): (bool, bool, bool),
    ) {
        let seen = [
            (opened, Seen::CircuitOpened),
            (closed, Seen::CircuitClosed),
            (sheltered && probe, Seen::ProbeFailed),
            (sheltered && !probe && !opened, Seen::FailureSheltered),
            (probe && !failed && !closed, Seen::ProbeSaysNothing),
        ];
        seen.into_iter().filter(|(so, _)| *so).for_each(|(_, seen)| self.cover.note(seen));
    }

    /// Settles the delivery of this task; false if its channel is known to be gone.
    pub(super) fn settle(&mut self, at: usize, verdict: Verdict) -> Result<bool, Broken> {
        let (event, plugin, terms) = {
            let task = self.task(at);
            (task.event, task.plugin, task.terms)
        };
        let unknown = terms.recalls && !self.store.knows(event, plugin);
        let host = self.host();
        let task = &mut host.tasks[at];
        let may = match &task.outcome {
            _ if verdict == Verdict::Requeue => task.may_requeue(),
            _ if task.terms.at_most_once || task.moved => true,
            Outcome::Ok(_) if unknown => false,
            Outcome::Ok(publications) => task.concluded && task.confirmed == publications.len(),
            _ => task.may_drop(),
        };
        hold(Invariant::NoEarlyAck, may && verdict != Verdict::GiveBack, || {
            let (confirmed, all) = (task.confirmed, task.outcome.publications());
            format!(
                "event {event} gets {verdict:?}: {confirmed} of {all} publications are confirmed"
            )
        })?;
        let parcel = task.parcel.take();
        hold(Invariant::Truth, parcel.is_some(), || format!("event {event} is settled twice"))?;
        Ok(parcel.is_some_and(|parcel| host.settle(parcel, verdict)))
    }

    /// The event is where it was moved to.
    pub(super) fn arrive(&mut self, at: usize, to: Settlement) -> Result<(), Broken> {
        let now = self.now;
        let task = self.task(at);
        let (event, attempt) = (task.event, task.attempt);
        let (may_postpone, may_be_dead) = (task.may_postpone(), task.may_be_dead());
        match to {
            Settlement::Retry(delay) => {
                self.cover.note(Seen::RetryInDelayQueue);
                self.broker.delay(now + delay, Message::new(event, attempt + 1));
            }
            Settlement::Postpone(delay) => {
                self.broker.delay(now + delay, Message::new(event, attempt));
                self.postponed(event, may_postpone)?;
            }
            Settlement::DeadLetter => {
                self.ledger.accounts[event].dead += 1;
                hold(Invariant::NoLoss, may_be_dead, || {
                    format!("event {event} is a dead letter for no reason")
                })?;
            }
            Settlement::Ack | Settlement::Requeue | Settlement::Drop => {
                hold(Invariant::Truth, false, || format!("event {event} is moved by {to:?}"))?;
            }
        }
        Ok(())
    }

    /// The course of this task has ended.
    pub(super) fn over(&mut self, at: usize, end: End) -> Result<(), Broken> {
        let now_stale = self.is_lost(at);
        let host = self.host.as_mut().expect("there is a host");
        let task = &mut host.tasks[at];
        let event = task.event;
        task.at = At::Over(None);
        if let End::Settled(Settlement::Ack | Settlement::Drop | Settlement::DeadLetter) = end {
            self.ledger.accounts[event].noted = 0;
        }
        match end {
            End::Settled(Settlement::Drop) => {
                self.ledger.accounts[event].dropped += 1;
                hold(Invariant::NoLoss, task.may_drop(), || {
                    format!("event {event} is dropped for no reason")
                })?;
            }
            End::Settled(Settlement::Ack) => {
                hold(Invariant::NoLoss, matches!(task.outcome, Outcome::Ok(_)), || {
                    format!("event {event} is acked after {:?}", task.outcome)
                })?;
            }
            End::Settled(Settlement::Requeue) => self.cover.note(Seen::RetryByQueue),
            End::Settled(to) => {
                hold(Invariant::NoLoss, task.moved, || format!("event {event} is not in {to:?}"))?;
                if to == Settlement::DeadLetter && task.is_used_up() {
                    self.cover.note(Seen::AttemptsUsedUp);
                }
            }
            End::Again { .. } if now_stale => _ = task.parcel.take(),
            End::Again { delay, counts } => {
                self.cover.note(Seen::RetryInPlace);
                task.attempt += u32::from(counts);
                task.at = At::Over(Some(delay));
                let may = task.may_postpone();
                if !counts {
                    return self.postponed(event, may);
                }
                self.ledger.accounts[event].noted = task.attempt;
            }
            End::Lost => {
                if let Some(parcel) = task.parcel.take() {
                    host.settle(parcel, Verdict::Requeue);
                }
            }
        }
        Ok(())
    }

    /// The task of this event is gone, and with it its place.
    pub(super) fn leave(&mut self, event: usize) -> Result<bool, Broken> {
        let Some(at) = self.find(event, |at| matches!(at, At::Over(_))) else { return Ok(false) };
        let now = self.now;
        let task = self.host().tasks.remove(at);
        let Some(ticket) = task.ticket else { return Ok(true) };
        let again = match (task.parcel, task.at) {
            (Some(parcel), At::Over(Some(delay))) => {
                Some((Parcel { attempt: task.attempt, until: now + delay, ..parcel }, delay))
            }
            _ => None,
        };
        if let Some((parcel, _)) = &again {
            let (host, lane) = (self.host(), ticket.lane());
            host.waiting.push(Waiting { tag: parcel.tag, channel: parcel.channel, lane });
            if host.stop {
                self.cover.note(Seen::AgainWhileStopping);
            } else if !host.lanes.iter().any(|(it, _)| *it == lane) {
                self.cover.note(Seen::AgainWithoutLane);
            }
        }
        self.drive(|host, now, actions| host.intake.ended(ticket, again, now, actions))?;
        Ok(true)
    }

    /// What is in flight is ended; its deliveries are dropped unsettled.
    pub(super) fn kill(&mut self) -> Result<bool, Broken> {
        let host = self.host.as_mut().expect("there is a host");
        if !host.stop {
            return Ok(false);
        }
        let mut parcels = Vec::new();
        for task in host.tasks.iter_mut().filter(|task| !matches!(task.at, At::Over(_))) {
            self.cover.note(Seen::KilledInFlight);
            if task.is_acked_first() {
                self.cover.note(Seen::AckedFirstAndLost);
                self.ledger.accounts[task.event].forgiven = true;
            }
            let account = &mut self.ledger.accounts[task.event];
            account.restarts += u32::from(account.calls > 0);
            // Handled, and not settled: it comes again.
            account.excuses += u32::from(task.committed);
            // Where the queue delays what is rejected, others come before it.
            account.loose |= self.setup.queue_delays;
            parcels.extend(task.parcel.take());
            task.at = At::Over(None);
        }
        let any = !parcels.is_empty();
        for parcel in parcels {
            host.settle(parcel, Verdict::Requeue);
        }
        Ok(any)
    }
}
