//! The end of every schedule: faults are over, handlers do well, time passes, and everything must
//! come to rest. Next: [`super::shrink`], for when it does not.

use super::ledger::{Broken, Invariant, hold};
use super::schedule::{Answer, How, KEYS, LANES, Step};
use super::task::At;
use super::world::World;
use crate::policy::intake::Appetite;
use std::time::Duration;

/// More than any schedule needs to come to rest.
const STEPS_MAX: usize = 3000;

/// What needs no choice, in the order in which it is tried.
const STEPS: [Step; 12] = [
    Step::Start,
    Step::Stale,
    Step::Down,
    Step::Write,
    Step::Exit,
    Step::Connect,
    Step::Observe,
    Step::Cancelled,
    Step::Tick,
    Step::Route,
    Step::Closed,
    Step::Deliver,
];

impl World<'_> {
    /// When something happens by itself.
    pub(super) fn due(&self) -> Option<Duration> {
        let host = self.host.as_ref().and_then(|host| host.pace.due);
        host.into_iter().chain(self.broker.due()).min()
    }

    /// Lets everything come to rest, sends one more event of each kind through every lane, and sees
    /// that nothing is left over.
    ///
    /// # Errors
    /// I1, I2 or I6 is broken, or another on the way.
    pub(super) fn close(&mut self) -> Result<(), Broken> {
        self.rest()?;
        self.ledger.close()?;
        for (lane, key) in (0..LANES).flat_map(|lane| (0..KEYS).map(move |key| (lane, key))) {
            let event = self.ledger.accounts.len();
            self.step(Step::Publish(event, lane, key))?;
        }
        self.rest()?;
        self.ledger.close()?;
        let open = self.ledger.breakers.iter().any(|breaker| breaker.open);
        let appetite = self.host().pace.appetite;
        hold(Invariant::Liveness, !open && appetite == Appetite::Full, || {
            format!("all is well, and a circuit is open: {open}; appetite {appetite:?}")
        })
    }

    fn rest(&mut self) -> Result<(), Broken> {
        for _ in 0..STEPS_MAX {
            if self.any()? {
                continue;
            }
            let Some(due) = self.due() else { return self.is_at_rest() };
            let ms = due.saturating_sub(self.now).as_millis();
            hold(Invariant::Liveness, ms > 0, || format!("what is due at {due:?} never happens"))?;
            self.step(Step::Pass(u64::try_from(ms).unwrap_or(u64::MAX)))?;
        }
        hold(Invariant::Liveness, false, || "it never comes to rest".to_owned())
    }

    /// Something that can happen; false if nothing can.
    fn any(&mut self) -> Result<bool, Broken> {
        let tasks = self.host.iter().flat_map(|host| &host.tasks);
        let steps: Vec<_> = tasks.map(|task| (task.event, task.at)).collect();
        for (event, at) in steps {
            let step = match at {
                At::Begun => Step::Begin(event),
                At::Call => Step::Finish(event, How::Good(0)),
                At::Publish | At::Move(_) => Step::Confirm(event),
                At::Recall | At::Commit | At::Forget => Step::Store(event, Answer::Yes),
                At::Over(_) => Step::Leave(event),
            };
            if self.step(step)? {
                return Ok(true);
            }
        }
        for step in STEPS {
            if self.step(step)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_at_rest(&mut self) -> Result<(), Broken> {
        let (depth, held) = (self.broker.depth(), self.host().intake.held());
        hold(Invariant::Liveness, (depth, held) == ((0, 0, 0), (0, 0)), || {
            format!("nothing can happen, the broker has {depth:?}, and the host {held:?}")
        })
    }
}
