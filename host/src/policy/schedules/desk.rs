//! The host around one intake, as `dispatch/desk.rs`: hands deliveries to lanes, does what the core
//! says, and holds each of its actions against what it may say. Next: [`super::task`].

use super::broker::Parcel;
use super::cover::Seen;
use super::ledger::{Account, Broken, Invariant, hold};
use super::schedule::{LANES, Plan};
use super::task::Task;
use super::world::{Host, Waiting, World};
use crate::flow::Verdict;
use crate::policy::Policy;
use crate::policy::intake::{Action, Appetite, LaneId, LaneRules, Pausing, Ticket};
use std::sync::Arc;
use std::time::Duration;

/// The plugins that are served, in their order.
pub(super) fn present(plan: &Plan) -> impl Iterator<Item = usize> {
    (0..LANES).filter(|plugin| plan.lanes[*plugin].is_some())
}

pub(super) fn rules(policy: &Policy, plan: &Plan) -> Vec<LaneRules> {
    let rules = present(plan).map(|plugin| {
        let version = plan.lanes[plugin].expect("it is present");
        LaneRules {
            name: Arc::from(["first", "second"][plugin]),
            version: version.digest.to_string(),
            concurrency: version.concurrency,
            circuit: policy.circuit,
        }
    });
    rules.collect()
}

pub(super) fn pausing(plan: &Plan) -> Pausing {
    if present(plan).count() == 1 && !plan.order { Pausing::GiveBack } else { Pausing::Hold }
}

impl<'a> World<'a> {
    /// Asks the core, does what it says, and sees whether it counts right.
    pub(super) fn drive<R>(
        &mut self,
        ask: impl FnOnce(&mut Host<'a>, Duration, &mut Vec<Action<Parcel>>) -> R,
    ) -> Result<R, Broken> {
        let now = self.now;
        let host = self.host();
        let mut actions = std::mem::take(&mut host.actions);
        let answer = ask(host, now, &mut actions);
        host.pace = host.intake.pace();
        for action in actions.drain(..) {
            match action {
                Action::Begin(ticket, parcel) => self.may_begin(ticket, parcel)?,
                Action::GiveBack(parcel) => self.give_back(parcel)?,
                Action::Opened(_) | Action::Closed(_) => {}
            }
        }
        let host = self.host();
        host.actions = actions;
        let busy = host.tasks.iter().filter(|task| task.ticket.is_some()).count();
        let (held, expected) = (host.intake.held(), (host.waiting.len(), busy));
        hold(Invariant::Truth, held == expected, || {
            format!("it says that it holds {held:?}, and holds {expected:?}")
        })?;
        Ok(answer)
    }

    fn may_begin(&mut self, ticket: Ticket, parcel: Parcel) -> Result<(), Broken> {
        let (now, plan, breakers) = (self.now, self.plan, self.ledger.breakers);
        let event = parcel.event;
        let host = self.host();
        host.no_longer_waits(&parcel)?;
        hold(Invariant::Truth, !host.stop, || format!("event {event} begins after the stop"))?;
        let Some(plugin) = host.plugin(ticket.lane()) else {
            let why = || format!("event {event} begins in a lane that is not served");
            return hold(Invariant::Truth, false, why);
        };
        let most = plan.lanes[plugin].map_or(0, |version| version.concurrency);
        let here = |task: &&Task| task.plugin == Some(plugin);
        let busy = host.tasks.iter().filter(here).count();
        hold(Invariant::Bounds, busy < most, || {
            format!("event {event} begins beside {busy} others, {most} are the most")
        })?;
        hold(Invariant::Truth, parcel.until <= now, || {
            format!("event {event} begins at {now:?}, it was to rest until {:?}", parcel.until)
        })?;
        let (probe, breaker) = (ticket.is_probe(), breakers[plugin]);
        hold(Invariant::Truth, probe == breaker.open, || {
            format!("event {event} begins, as a probe: {probe}, with {breaker:?}")
        })?;
        let probes = host.tasks.iter().filter(here).filter(|task| task.is_probe()).count();
        hold(Invariant::Bounds, !probe || probes == 0, || {
            format!("event {event} is a probe beside another")
        })?;
        hold(Invariant::Truth, !probe || breaker.until <= now, || {
            format!("event {event} is a probe at {now:?}, the pause is until {:?}", breaker.until)
        })?;
        self.spawn(Some(ticket), Some(plugin), parcel);
        Ok(())
    }

    fn give_back(&mut self, parcel: Parcel) -> Result<(), Broken> {
        let event = parcel.event;
        let order = self.plan.order;
        let accounts = &mut self.ledger.accounts;
        accounts[event].restarts += u32::from(accounts[event].calls > 0);
        let host = self.host.as_mut().expect("there is a host");
        let lane = host.no_longer_waits(&parcel)?;
        if host.plugin(lane).is_some() {
            hold(Invariant::Truth, !host.consumer.consumes(), || {
                format!("event {event} goes back while its queue is consumed")
            })?;
            let same = |a: &Account, b: &Account| (a.lane, a.key) == (b.lane, b.key) && !b.loose;
            let ahead =
                host.tasks.iter().filter_map(|task| task.parcel.as_ref()).find(|it| {
                    same(&accounts[event], &accounts[it.event]) && it.channel > host.stale
                });
            let ordered = order && !accounts[event].loose && !host.is_stale(&parcel);
            hold(Invariant::Order, ahead.is_none() || !ordered, || {
                format!("event {event} goes back behind {ahead:?}, which is in flight")
            })?;
            if host.pace.appetite != Appetite::Full && !host.stop {
                self.cover.note(Seen::PausedGivesBack);
            }
        } else {
            // What the broker has sent before it goes back comes first.
            accounts[event].loose = true;
            self.cover.note(Seen::ReloadGivesBack);
        }
        host.settle(parcel, Verdict::GiveBack);
        Ok(())
    }

    /// Hands the delivery that came first to the lane that it is for.
    pub(super) fn route(&mut self) -> Result<bool, Broken> {
        let Some(mut parcel) = self.host().inbox.pop_front() else { return Ok(false) };
        let plan = self.plan;
        let account = &mut self.ledger.accounts[parcel.event];
        let plugin = plan.takes(account.lane);
        let key = plan.order.then_some(account.key as u64);
        account.loose |= !plan.order || plugin != Some(account.lane);
        let Some(plugin) = plugin else {
            self.cover.note(Seen::Unmatched);
            self.spawn(None, None, parcel);
            return Ok(true);
        };
        if plan.order && parcel.redelivered && account.noted > parcel.attempt {
            parcel.attempt = account.noted;
            self.cover.note(Seen::AttemptRemembered);
        }
        let id = self.host().lane(plugin);
        let (accounts, account) = (&self.ledger.accounts, &self.ledger.accounts[parcel.event]);
        let same = |it: &Account| (it.lane, it.key) == (account.lane, account.key);
        let tasks = self.host.iter().flat_map(|host| &host.tasks);
        if plan.order && tasks.into_iter().any(|task| same(&accounts[task.event])) {
            self.cover.note(Seen::SameKeyWaits);
        }
        self.drive(|host, _, actions| {
            host.waiting.push(Waiting { tag: parcel.tag, channel: parcel.channel, lane: id });
            host.intake.arrived(id, key, parcel, actions);
        })?;
        if self.ledger.breakers[plugin].open && pausing(&plan) == Pausing::Hold {
            self.cover.note(Seen::PausedHolds);
        }
        Ok(true)
    }

    pub(super) fn purge(&mut self) -> Result<(), Broken> {
        let before = self.host().waiting.len();
        self.drive(|host, _, actions| {
            let stale = host.stale;
            host.waiting.retain(|it| it.channel > stale);
            host.intake.purge(|parcel| parcel.channel <= stale, actions);
        })?;
        if self.host().waiting.len() < before {
            self.cover.note(Seen::WaitingPurged);
        }
        Ok(())
    }

    pub(super) fn tick(&mut self) -> Result<bool, Broken> {
        let now = self.now;
        let host = self.host();
        // The task that keeps the time may be about to wake up when it is ended.
        let due = host.pace.due.or(host.was_due.take_if(|due| *due <= now));
        if due.is_none_or(|due| due > now) {
            return Ok(false);
        }
        self.drive(|host, now, actions| host.intake.tick(now, actions))?;
        let due = self.host().pace.due;
        hold(Invariant::Liveness, due.is_none_or(|due| due > now), || {
            format!("at {now:?} it was told the time, and wants to be told at {due:?}")
        })?;
        Ok(true)
    }

    pub(super) fn stop(&mut self) -> Result<bool, Broken> {
        let host = self.host();
        let news = !std::mem::replace(&mut host.stop, true);
        if news {
            host.was_due = host.pace.due;
        }
        self.drive(|host, _, _| host.intake.stop())?;
        Ok(news)
    }

    pub(super) fn withdraw(&mut self) -> Result<(), Broken> {
        self.drive(|host, _, actions| host.intake.withdraw(actions))?;
        let (breakers, plan) = (self.ledger.breakers, self.plan);
        let host = self.host.as_mut().expect("there is a host");
        let gives_back = pausing(&plan) == Pausing::GiveBack;
        let open = |id| host.plugin(id).is_some_and(|plugin| breakers[plugin].open);
        let paused = |id| gives_back && open(id);
        let held = host.waiting.iter().filter(|it| host.stop || paused(it.lane)).count();
        hold(Invariant::Truth, held == 0 || !host.tasks.is_empty(), || {
            format!("{held} events are held back, behind nothing")
        })?;
        if host.stop && held > 0 && plan.order {
            self.cover.note(Seen::StopWithBehind);
        }
        Ok(())
    }

    pub(super) fn reload(&mut self, plan: Plan) -> Result<bool, Broken> {
        if self.plan == plan || self.host().stop {
            return Ok(false);
        }
        let old = std::mem::replace(&mut self.plan, plan);
        if !plan.order {
            self.ledger.accounts.iter_mut().for_each(|account| account.loose = true);
        }
        for plugin in 0..LANES {
            self.replace(plugin, &old);
        }
        let rules = rules(self.policy, &plan);
        self.drive(|host, now, actions| {
            let ids = host.intake.reload(rules, pausing(&plan), now, actions);
            host.lanes = ids.into_iter().zip(present(&plan)).collect();
        })?;
        Ok(true)
    }

    /// Notes what the plan of now makes of a plugin.
    fn replace(&mut self, plugin: usize, old: &Plan) {
        let now = self.now;
        let plan = self.plan;
        let host = self.host.as_mut().expect("there is a host");
        let busy = host.tasks.iter().filter(|task| task.plugin == Some(plugin)).count();
        match (old.lanes[plugin], plan.lanes[plugin]) {
            (Some(was), Some(is)) => {
                if was.digest != is.digest {
                    host.epochs[plugin] += 1;
                    self.ledger.breakers[plugin].renew(now);
                }
                if busy > is.concurrency {
                    self.cover.note(Seen::ConcurrencyShrinks);
                }
            }
            (Some(_), None) => {
                host.epochs[plugin] += 1;
                self.ledger.breakers[plugin] = Default::default();
            }
            (None, Some(_)) if busy > 0 => self.cover.note(Seen::LaneComesBackBusy),
            _ => {}
        }
        if old.order != plan.order {
            self.cover.note(Seen::OrderChanges);
        }
    }
}

impl Host<'_> {
    /// The plugin whose lane this is, if it is served.
    pub(super) fn plugin(&self, id: LaneId) -> Option<usize> {
        self.lanes.iter().find(|(lane, _)| *lane == id).map(|(_, plugin)| *plugin)
    }

    fn lane(&self, plugin: usize) -> LaneId {
        let lane = self.lanes.iter().find(|(_, it)| *it == plugin);
        lane.expect("it is served").0
    }

    /// The lane where it waited.
    fn no_longer_waits(&mut self, parcel: &Parcel) -> Result<LaneId, Broken> {
        let at = self.waiting.iter().position(|it| it.tag == parcel.tag);
        hold(Invariant::Truth, at.is_some(), || {
            format!("{parcel:?} is begun or goes back, and does not wait")
        })?;
        Ok(self.waiting.swap_remove(at.unwrap_or_default()).lane)
    }
}
