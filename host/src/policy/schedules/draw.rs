//! Draws what happens next, from a seeded generator: the usual most of the time, faults now and
//! then. Next: [`super::shrink`], which makes a schedule that fails small.

use super::schedule::{Answer, How, KEYS, LANES, Plan, Setup, Step, Version};
use super::task::At;
use super::world::World;
use crate::policy::Last;
use fastrand::Rng;

/// The most events of a schedule, before its end.
const EVENTS_MAX: usize = 8;

/// What to try, and how often among all.
const KINDS: [(Kind, usize); 28] = [
    (Kind::Publish, 30),
    (Kind::Deliver, 50),
    (Kind::Route, 50),
    (Kind::Begin, 60),
    (Kind::Finish, 60),
    (Kind::Confirm, 50),
    (Kind::Store, 60),
    (Kind::Leave, 60),
    (Kind::Write, 40),
    (Kind::Connect, 40),
    (Kind::Observe, 30),
    (Kind::Cancelled, 30),
    (Kind::Closed, 30),
    (Kind::Tick, 30),
    (Kind::Pass, 12),
    (Kind::Stale, 20),
    (Kind::Down, 16),
    (Kind::SeeLost, 20),
    (Kind::Lose, 4),
    (Kind::Refuse, 4),
    (Kind::Unconfirmed, 8),
    (Kind::TooLarge, 4),
    (Kind::Reload, 6),
    (Kind::Stop, 4),
    (Kind::Kill, 4),
    (Kind::Exit, 40),
    (Kind::Crash, 1),
    (Kind::Start, 40),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Publish,
    Deliver,
    Route,
    Begin,
    Finish,
    Confirm,
    Store,
    Leave,
    Write,
    Connect,
    Observe,
    Cancelled,
    Closed,
    Tick,
    Pass,
    Stale,
    Down,
    SeeLost,
    Lose,
    Refuse,
    Unconfirmed,
    TooLarge,
    Reload,
    Stop,
    Kill,
    Exit,
    Crash,
    Start,
}

/// Draws the steps of one schedule.
pub(super) struct Draw {
    rng: Rng,
    /// What the handlers depend on is away.
    outage: bool,
}

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), outage: false }
    }

    pub(super) fn setup(&mut self) -> Setup {
        let rng = &mut self.rng;
        Setup {
            prefetch: rng.usize(1..=4),
            attempts: rng.u32(1..=3),
            failures: rng.u32(0..=3),
            on_exhausted: if rng.u8(..4) == 0 { Last::Drop } else { Last::DeadLetter },
            at_most_once: rng.u8(..4) == 0,
            queue_delays: rng.u8(..4) == 0,
            recorded: rng.bool(),
            plan: self.plan(),
        }
    }

    /// How many steps it has.
    pub(super) fn length(&mut self) -> usize {
        self.rng.usize(5..=60)
    }

    fn plan(&mut self) -> Plan {
        let rng = &mut self.rng;
        let mut version = || Some(Version { digest: rng.u8(1..=2), concurrency: rng.usize(1..=3) });
        let (first, second) = (version(), version());
        let lanes = match self.rng.u8(..3) {
            0 => [first, None],
            1 => [None, second],
            _ => [first, second],
        };
        Plan { lanes, order: self.rng.bool() }
    }

    /// What may happen next; often it can't.
    pub(super) fn step(&mut self, world: &World<'_>) -> Step {
        let total = const { total() };
        let mut at = self.rng.usize(..total);
        let kind = KINDS.iter().find(|(_, weight)| {
            let found = at < *weight;
            at = at.wrapping_sub(*weight);
            found
        });
        self.of_kind(kind.map_or(Kind::Pass, |(kind, _)| *kind), world)
    }

    fn of_kind(&mut self, kind: Kind, world: &World<'_>) -> Step {
        match kind {
            Kind::Publish => self.publish(world),
            Kind::Deliver => Step::Deliver,
            Kind::Route => Step::Route,
            Kind::Begin => Step::Begin(self.event(world, |at| at == At::Begun)),
            Kind::Finish => Step::Finish(self.event(world, |at| at == At::Call), self.how()),
            Kind::Confirm => Step::Confirm(self.event(world, publishes)),
            Kind::Store => Step::Store(self.event(world, asks), self.answer()),
            Kind::Leave => Step::Leave(self.event(world, |at| matches!(at, At::Over(_)))),
            Kind::Write => Step::Write,
            Kind::Connect => Step::Connect,
            Kind::Observe => Step::Observe,
            Kind::Cancelled => Step::Cancelled,
            Kind::Closed => Step::Closed,
            Kind::Tick => Step::Tick,
            Kind::Pass => self.pass(world),
            Kind::Stale => Step::Stale,
            Kind::Down => Step::Down,
            Kind::SeeLost => Step::SeeLost(self.event(world, waits)),
            Kind::Lose => Step::Lose,
            Kind::Refuse => Step::Refuse(self.event(world, |at| at == At::Publish)),
            Kind::Unconfirmed => Step::Unconfirmed(self.event(world, publishes), self.rng.bool()),
            Kind::TooLarge => Step::TooLarge(self.event(world, publishes)),
            Kind::Reload => Step::Reload(self.reload(world.plan)),
            Kind::Stop => Step::Stop,
            Kind::Kill => Step::Kill,
            Kind::Exit => Step::Exit,
            Kind::Crash => Step::Crash,
            Kind::Start => Step::Start,
        }
    }

    fn publish(&mut self, world: &World<'_>) -> Step {
        let event = world.ledger.accounts.len();
        if event >= EVENTS_MAX {
            return Step::Deliver;
        }
        Step::Publish(event, self.rng.usize(..LANES), self.rng.usize(..KEYS))
    }

    /// One that is in flight, at a place like this.
    fn event(&mut self, world: &World<'_>, like: impl Fn(At) -> bool) -> usize {
        let tasks = world.host.iter().flat_map(|host| &host.tasks);
        let mut found = usize::MAX;
        for (nth, task) in tasks.filter(|task| like(task.at)).enumerate() {
            if self.rng.usize(..=nth) == 0 {
                found = task.event;
            }
        }
        found
    }

    fn how(&mut self) -> How {
        let rng = &mut self.rng;
        if rng.u8(..12) == 0 {
            self.outage = !self.outage;
        }
        match (self.outage, rng.u8(..12)) {
            (true, 0..4) => How::Away,
            (true, 4..6) => How::AwayFor(u64::from(rng.u8(..3)) * 4000),
            (true, 6..9) => How::Retry,
            (_, 6) => How::Retry,
            (_, 7) => How::RetryAfter(u64::from(rng.u8(..3)) * 2000),
            (_, 8) => How::Timeout,
            (_, 9) => [How::Reject, How::Forget, How::Trap, How::Refused][rng.usize(..4)],
            _ => How::Good(rng.usize(..=3)),
        }
    }

    fn answer(&mut self) -> Answer {
        match (self.outage, self.rng.u8(..16)) {
            (true, 0..6) | (_, 0) => Answer::Away,
            (_, 1..3) => Answer::Applies,
            (_, 3) => Answer::Conflict,
            (_, 4) => Answer::Fails,
            _ => Answer::Yes,
        }
    }

    /// Often as long as to the next thing that is due.
    fn pass(&mut self, world: &World<'_>) -> Step {
        let due = world.due().map(|due| due.saturating_sub(world.now).as_millis());
        match (due, self.rng.u8(..4)) {
            (Some(due), 0..3) => Step::Pass(u64::try_from(due).unwrap_or_default()),
            _ => Step::Pass([1, 500, 5000, 30_000][self.rng.usize(..4)]),
        }
    }

    /// Another version, another concurrency, one plugin less or more, or another order.
    fn reload(&mut self, mut plan: Plan) -> Plan {
        if self.rng.u8(..5) == 0 {
            return self.plan();
        }
        let fresh = self.plan();
        let at = self.rng.usize(..LANES);
        match (&mut plan.lanes[at], self.rng.u8(..4)) {
            (Some(version), 0) => version.digest += 1,
            (Some(version), 1) => version.concurrency = self.rng.usize(1..=3),
            (lane @ Some(_), _) => *lane = None,
            (lane @ None, _) => {
                *lane = fresh.lanes[at].or(Some(Version { digest: 1, concurrency: 2 }))
            }
        }
        if plan.lanes == [None; LANES] { fresh } else { plan }
    }
}

const fn total() -> usize {
    let (mut total, mut at) = (0, 0);
    while at < KINDS.len() {
        total += KINDS[at].1;
        at += 1;
    }
    total
}

fn waits(at: At) -> bool {
    matches!(at, At::Call | At::Recall) || publishes(at)
}

fn asks(at: At) -> bool {
    matches!(at, At::Recall | At::Commit | At::Forget)
}

fn publishes(at: At) -> bool {
    matches!(at, At::Publish | At::Move(_))
}
