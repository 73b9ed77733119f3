//! Schedules that once broke something, as they were printed. Begin with [`super`].

use super::schedule::Step::{
    self, Begin, Cancelled, Closed, Confirm, Connect, Deliver, Finish, Leave, Observe, Publish,
    Reload, Route, Tick,
};
use super::schedule::{How, Plan, Setup, Version};
use super::shrink;
use crate::policy::Last;

const ONE: Version = Version { digest: 1, concurrency: 1 };

const SETUP: Setup = Setup {
    prefetch: 4,
    attempts: 2,
    failures: 0,
    on_exhausted: Last::DeadLetter,
    at_most_once: false,
    queue_delays: false,
    recorded: false,
    plan: Plan { lanes: [Some(ONE), Some(ONE)], order: true },
};

fn holds(setup: Setup, steps: &[Step]) {
    if let Err(broken) = shrink::replayed(&setup, steps) {
        panic!("{broken}");
    }
}

/// A lane that was taken away and came back knew nothing of what was still in flight: not that it is
/// held, not the permit that it has, not what must wait for it.
#[test]
fn a_lane_comes_back_while_an_event_of_it_is_in_flight() {
    let without = Plan { lanes: [None, Some(ONE)], ..SETUP.plan };
    let begun = [Publish(0, 0, 0), Connect, Deliver, Route, Begin(0), Reload(without)];
    holds(SETUP, &begun);
    let next = [Reload(SETUP.plan), Publish(1, 0, 0), Deliver, Route, Begin(1)];
    let ends = [Finish(1, How::Good(0)), Finish(0, How::Good(1)), Confirm(0), Leave(0)];
    holds(SETUP, &[&begun[..], &next, &ends].concat());
}

/// What a version that was replaced said of what it depends on, opened the circuit of the next.
#[test]
fn a_version_that_is_gone_fails() {
    let renewed = Version { digest: 2, ..ONE };
    let plan = Plan { lanes: [Some(renewed), Some(ONE)], ..SETUP.plan };
    let setup = Setup { failures: 1, ..SETUP };
    let begun = [Publish(0, 0, 0), Connect, Deliver, Route, Begin(0), Reload(plan)];
    holds(setup, &[&begun[..], &[Finish(0, How::Retry), Leave(0), Tick]].concat());
}

/// A queue was to be paused and then, in order, was not: what was given back for the pause was
/// overtaken by what came next.
#[test]
fn order_is_asked_for_while_a_pause_begins() {
    let alone = Plan { lanes: [None, Some(ONE)], order: false };
    let away = [Publish(0, 0, 0), Connect, Deliver, Route, Begin(0), Finish(0, How::Away), Observe];
    let begins = [Publish(1, 1, 0), Reload(SETUP.plan), Deliver, Cancelled, Route];
    let goes_on = [Publish(2, 1, 0), Closed, Connect, Deliver];
    let steps = [&away[..], &begins, &goes_on].concat();
    holds(Setup { failures: 1, plan: alone, ..SETUP }, &steps);
}
