//! The broker, a host around the core, its handlers, and time: [`World::step`] lets one thing happen
//! as `dispatch/` would, and holds what the core says against the [`ledger`](super::ledger). Next:
//! [`super::desk`] and [`super::consumer`], the two halves of the host.

use super::broker::{Broker, Message, Parcel};
use super::consumer::Consumer;
use super::cover::{Cover, Seen};
use super::ledger::{Account, Broken, Invariant, Ledger, hold};
use super::schedule::{LANES, Plan, Setup, Step};
use super::store::Store;
use super::task::{At, Task};
use crate::flow::Verdict;
use crate::policy::Policy;
use crate::policy::intake::{Action, Intake, LaneId, Pace};
use std::collections::VecDeque;
use std::time::Duration;

/// What outlives a host.
pub(super) struct World<'a> {
    pub(super) setup: &'a Setup,
    pub(super) policy: &'a Policy,
    pub(super) now: Duration,
    pub(super) broker: Broker,
    pub(super) store: Store,
    pub(super) plan: Plan,
    pub(super) host: Option<Host<'a>>,
    pub(super) ledger: Ledger,
    pub(super) cover: Cover,
}

pub(super) struct Host<'a> {
    pub(super) intake: Intake<Parcel>,
    /// Which lane of the core is which plugin's.
    pub(super) lanes: Vec<(LaneId, usize)>,
    pub(super) pace: Pace,
    /// When it was to be told the time, before it was to end.
    pub(super) was_due: Option<Duration>,
    /// Delivered, and not handed out yet.
    pub(super) inbox: VecDeque<Parcel>,
    pub(super) consumer: Consumer,
    /// It began with a queue in order: whoever comes next must find nothing begun.
    pub(super) in_order: bool,
    /// It is to end, and the core knows.
    pub(super) stop: bool,
    pub(super) tasks: Vec<Task<'a>>,
    /// What should wait in the core.
    pub(super) waiting: Vec<Waiting>,
    /// Counts the versions of each plugin, and its absences.
    pub(super) epochs: [u32; LANES],
    pub(super) verdicts: VecDeque<(u64, u64, Verdict)>,
    /// The receipts of channels up to this one are stale.
    pub(super) stale: u64,
    /// The consumer's status says that it is down, and nobody has looked yet.
    pub(super) down: bool,
    /// Kept for its memory.
    pub(super) actions: Vec<Action<Parcel>>,
}

/// A delivery that the core holds.
pub(super) struct Waiting {
    pub(super) tag: u64,
    pub(super) channel: u64,
    pub(super) lane: LaneId,
}

impl<'a> World<'a> {
    /// With a host that is about to consume.
    pub(super) fn new(setup: &'a Setup, policy: &'a Policy) -> Self {
        let mut world = Self {
            setup,
            policy,
            now: Duration::from_secs(1),
            broker: Broker::default(),
            store: Store::default(),
            plan: setup.plan,
            host: None,
            ledger: Ledger::default(),
            cover: Cover::default(),
        };
        world.start();
        world
    }

    /// Lets `step` happen; false if it can't.
    ///
    /// # Errors
    /// An invariant is broken.
    pub(super) fn step(&mut self, step: Step) -> Result<bool, Broken> {
        match step {
            Step::Publish(event, lane, key) => return Ok(self.publish(event, lane, key)),
            Step::Pass(ms) => {
                self.now += Duration::from_millis(ms);
                self.broker.pass(self.now);
                return Ok(true);
            }
            Step::Lose => return Ok(self.lose()),
            Step::Start if self.host.is_none() => {
                self.start();
                return Ok(true);
            }
            _ if self.host.is_none() => return Ok(false),
            _ => {}
        }
        match step {
            Step::Publish(..) | Step::Pass(_) | Step::Lose | Step::Start => Ok(false),
            Step::Deliver => Ok(self.deliver()),
            Step::Route => self.route(),
            Step::Begin(event) => self.begin(event),
            Step::Finish(event, how) => self.finish(event, how),
            Step::Confirm(event) => self.confirm(event),
            Step::Refuse(event) => self.refuse(event),
            Step::Unconfirmed(event, taken) => self.unconfirmed(event, taken),
            Step::Store(event, answer) => self.answer(event, answer),
            Step::TooLarge(event) => self.too_large(event),
            Step::SeeLost(event) => self.see_lost(event),
            Step::Leave(event) => self.leave(event),
            Step::Write => self.write(),
            Step::Stale => Ok(self.turn_stale()),
            Step::Down => self.see_down(),
            Step::Connect => Ok(self.connect()),
            Step::Observe => self.observe(),
            Step::Cancelled => Ok(self.cancelled()),
            Step::Closed => self.closed(),
            Step::Tick => self.tick(),
            Step::Reload(plan) => self.reload(plan),
            Step::Stop => self.stop(),
            Step::Kill => self.kill(),
            Step::Exit => self.exit(),
            Step::Crash => Ok(self.crash()),
        }
    }

    /// Only where there is one.
    pub(super) fn host(&mut self) -> &mut Host<'a> {
        self.host.as_mut().expect("there is a host")
    }

    fn publish(&mut self, event: usize, lane: usize, key: usize) -> bool {
        let accounts = &mut self.ledger.accounts;
        // Others may have been taken out of the schedule.
        while accounts.len() < event {
            accounts.push(Account { forgiven: true, ..Account::default() });
        }
        if event < accounts.len() {
            return false;
        }
        accounts.push(Account { lane, key, ..Account::default() });
        self.broker.publish(Message::new(event, 1));
        true
    }

    fn lose(&mut self) -> bool {
        if self.broker.is_lost() {
            return false;
        }
        for event in self.broker.lose() {
            self.ledger.accounts[event].excuses += 1;
        }
        true
    }

    fn start(&mut self) {
        let mut host = Host {
            intake: Intake::default(),
            lanes: Vec::new(),
            pace: Pace::default(),
            was_due: None,
            inbox: VecDeque::new(),
            consumer: Consumer::default(),
            in_order: self.plan.order,
            stop: false,
            tasks: Vec::new(),
            waiting: Vec::new(),
            epochs: [0; LANES],
            verdicts: VecDeque::new(),
            stale: self.broker.lost,
            down: false,
            actions: Vec::new(),
        };
        self.ledger.breakers = Default::default();
        let rules = super::desk::rules(self.policy, &self.plan);
        let pausing = super::desk::pausing(&self.plan);
        let ids = host.intake.reload(rules, pausing, self.now, &mut host.actions);
        host.lanes = ids.into_iter().zip(super::desk::present(&self.plan)).collect();
        self.host = Some(host);
    }

    /// It ended in its time, and leaves nothing unsettled.
    fn exit(&mut self) -> Result<bool, Broken> {
        let host = self.host();
        if !(host.consumer.is_ended() && host.tasks.is_empty() && host.verdicts.is_empty()) {
            return Ok(false);
        }
        let (_, _, unsettled) = self.broker.depth();
        hold(Invariant::Liveness, unsettled == 0, || {
            format!("the host has ended, and {unsettled} deliveries are unsettled")
        })?;
        self.host = None;
        Ok(true)
    }

    fn crash(&mut self) -> bool {
        let in_flight = self.host().tasks.len();
        self.cover.note(Seen::Crash);
        if in_flight > 0 {
            self.cover.note(Seen::CrashInFlight);
        }
        for task in self.host.take().into_iter().flat_map(|host| host.tasks) {
            match task.at {
                At::Commit if !task.committed => self.cover.note(Seen::CrashBeforeCommit),
                At::Over(_) => {}
                _ if task.committed => self.cover.note(Seen::CrashAfterCommit),
                _ => {}
            }
            if task.is_acked_first() {
                self.cover.note(Seen::AckedFirstAndLost);
                self.ledger.accounts[task.event].forgiven = true;
            }
        }
        self.lose();
        true
    }

    /// Writes the oldest verdict, as the acker does.
    fn write(&mut self) -> Result<bool, Broken> {
        let Some((channel, tag, verdict)) = self.host().verdicts.pop_front() else {
            return Ok(false);
        };
        if channel <= self.broker.lost {
            self.cover.note(Seen::AckLost);
        }
        let until = self.setup.queue_delays.then_some(self.now + Duration::from_secs(1));
        let settled = self.broker.settle(channel, tag, verdict, until);
        hold(Invariant::Truth, settled.is_ok(), || format!("delivery {tag} is settled twice"))?;
        Ok(true)
    }
}

impl Host<'_> {
    pub(super) fn is_stale(&self, parcel: &Parcel) -> bool {
        parcel.channel <= self.stale
    }

    /// As a receipt does; false if its channel is known to be gone.
    pub(super) fn settle(&mut self, parcel: Parcel, verdict: Verdict) -> bool {
        let stale = self.is_stale(&parcel);
        if !stale {
            self.verdicts.push_back((parcel.channel, parcel.tag, verdict));
        }
        !stale
    }
}
