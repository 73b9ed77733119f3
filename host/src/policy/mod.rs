//! All decisions from delivery to settlement, without a clock and without I/O: [`decide`] what is
//! done about an outcome, [`course`] what comes next for one event, [`intake`] which event of a
//! queue is begun when, [`circuit`] whether a handler is worth calling at the moment. Generated
//! schedules hold them to what the host promises (`schedules/`).
//! Next in the flow: [`crate::broker`], which carries settlements out.

pub mod circuit;
pub mod course;
pub mod delays;
pub mod intake;
mod lane;
#[cfg(test)]
mod schedules;

use crate::flow::{Fault, Outcome, Settlement};
use std::time::Duration;

/// The longest delay of a retry. RabbitMQ takes up to 2^32 ms; a day is what delay queues are for.
pub const DELAY_MAX: Duration = Duration::from_secs(24 * 3600);

/// So often the broker may take an event back unsettled before it is handled like one that was there
/// when a host ended: alone, if only for a moment. Lost connections count too.
pub const RETURNS_ALONE: u32 = 20;

/// So often it may do so before the event is taken for one that ends the host, though no host has
/// noted that: what is noted may go with each of them. More than any bad day has lost connections.
pub const RETURNS_MAX: u32 = 100;

/// How a plugin's failed events are settled.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// How often an event is tried, 1 or more.
    pub attempts: u32,
    /// The delay before the second attempt, the third, …; the last repeats. Never empty.
    pub delays: Vec<Duration>,
    /// Spread of the delays: 0.2 means 80 % to 120 %.
    pub jitter: f64,
    /// What becomes of an event when its attempts are used up.
    pub on_exhausted: Last,
    /// What becomes of an event that no plugin's `match` fits.
    pub unmatched: Last,
    /// When the handler is not called for a while.
    pub circuit: circuit::Rules,
}

/// The end of an event that was not handled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Last {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
    /// It is forgotten, as was asked for by name.
    Drop,
}

impl Default for Policy {
    fn default() -> Self {
        let delays = [1, 5, 30, 120].map(Duration::from_secs).to_vec();
        Self {
            attempts: 5,
            delays,
            jitter: 0.2,
            on_exhausted: Last::DeadLetter,
            unmatched: Last::DeadLetter,
            circuit: circuit::Rules::default(),
        }
    }
}

impl From<Last> for Settlement {
    fn from(last: Last) -> Self {
        match last {
            Last::DeadLetter => Settlement::DeadLetter,
            Last::Drop => Settlement::Drop,
        }
    }
}

/// Decides. `attempt` is the one that ended with `outcome`, from 1; `chance` in 0..1 picks the
/// point within the jitter.
pub fn decide(outcome: &Outcome, attempt: u32, policy: &Policy, chance: f64) -> Settlement {
    match outcome {
        Outcome::Ok(_) => Settlement::Ack,
        Outcome::Drop(_) => Settlement::Drop,
        Outcome::Unavailable { after, .. } => {
            Settlement::Postpone(step(after.unwrap_or(policy.circuit.pause)))
        }
        // Others were faster, however often.
        Outcome::Failed { fault: Fault::Conflict, .. } => {
            Settlement::Postpone(step(policy.circuit.pause))
        }
        Outcome::Reject(_) => Settlement::DeadLetter,
        Outcome::Refused { fault: Fault::Unmatched, .. } => policy.unmatched.into(),
        Outcome::Refused { .. } => Settlement::DeadLetter,
        Outcome::Retry { .. } | Outcome::Failed { .. } if attempt >= policy.attempts => {
            policy.on_exhausted.into()
        }
        Outcome::Retry { after: Some(delay), .. } => Settlement::Retry(step(*delay)),
        Outcome::Retry { after: None, .. } | Outcome::Failed { .. } => {
            Settlement::Retry(delay(attempt, policy, chance))
        }
    }
}

fn delay(attempt: u32, policy: &Policy, chance: f64) -> Duration {
    let nth = (attempt.max(1) as usize - 1).min(policy.delays.len().saturating_sub(1));
    let base = policy.delays.get(nth).copied().unwrap_or_default();
    // Five points instead of a continuum: every length of delay is a queue of its own.
    let point = (chance.clamp(0.0, 1.0) * 5.0).floor().min(4.0) / 2.0 - 1.0;
    step(base.mul_f64((1.0 + policy.jitter * point).max(0.0)))
}

/// Rounds up to two significant digits of milliseconds, for the same reason, and to `DELAY_MAX`.
fn step(delay: Duration) -> Duration {
    let ms = u64::try_from(delay.min(DELAY_MAX).as_millis()).unwrap_or(u64::MAX).max(1);
    let mut unit = 1;
    while ms / unit >= 100 {
        unit *= 10;
    }
    Duration::from_millis(ms.div_ceil(unit) * unit).min(DELAY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(fault: Fault) -> Outcome {
        Outcome::Failed { fault, reason: "why".into() }
    }

    fn retry(after: Option<u64>) -> Outcome {
        Outcome::Retry { after: after.map(Duration::from_millis), reason: "why".into() }
    }

    fn refused(fault: Fault) -> Outcome {
        Outcome::Refused { fault, reason: "why".into() }
    }

    #[test]
    fn every_outcome_has_its_settlement() {
        use Settlement::{Ack, DeadLetter, Drop, Postpone, Retry};
        let second = Retry(Duration::from_secs(1));
        let away = Outcome::Unavailable { after: None, reason: "why".into() };
        let table = [
            (Outcome::Ok(vec![]), 1, Ack),
            (Outcome::Ok(vec![]), 9, Ack),
            (retry(None), 1, second),
            (retry(Some(250)), 1, Retry(Duration::from_millis(250))),
            (retry(Some(0)), 1, Retry(Duration::from_millis(1))),
            (retry(Some(u64::MAX)), 1, Retry(DELAY_MAX)),
            (retry(Some(250)), 5, DeadLetter),
            (away.clone(), 1, Postpone(Duration::from_secs(5))),
            (away, 9, Postpone(Duration::from_secs(5))),
            (Outcome::Reject("bad".into()), 1, DeadLetter),
            (Outcome::Drop("old".into()), 1, Drop),
            (failed(Fault::Trap), 1, second),
            (failed(Fault::Timeout), 4, Retry(Duration::from_secs(120))),
            (failed(Fault::Memory), 5, DeadLetter),
            (failed(Fault::Publish), 6, DeadLetter),
            (failed(Fault::Conflict), 1, Postpone(Duration::from_secs(5))),
            (failed(Fault::Conflict), 9, Postpone(Duration::from_secs(5))),
            (refused(Fault::Unmatched), 1, DeadLetter),
            (refused(Fault::TooLarge), 1, DeadLetter),
            (refused(Fault::Crash), 7, DeadLetter),
        ];
        for (outcome, attempt, expected) in table {
            let policy = Policy { jitter: 0.0, ..Policy::default() };
            assert_eq!(
                decide(&outcome, attempt, &policy, 0.5),
                expected,
                "{outcome:?} at {attempt}"
            );
        }
    }

    #[test]
    fn an_event_is_dropped_only_where_that_was_asked_for() {
        let policy =
            Policy { on_exhausted: Last::Drop, unmatched: Last::Drop, ..Policy::default() };
        assert_eq!(decide(&failed(Fault::Trap), 5, &policy, 0.0), Settlement::Drop);
        assert_eq!(decide(&refused(Fault::Unmatched), 1, &policy, 0.0), Settlement::Drop);
        assert_eq!(decide(&refused(Fault::TooLarge), 1, &policy, 0.0), Settlement::DeadLetter);
        assert_eq!(decide(&Outcome::Reject("bad".into()), 1, &policy, 0.0), Settlement::DeadLetter);
    }

    #[test]
    fn jitter_stays_within_its_bounds_and_on_few_points() {
        let policy = Policy { delays: vec![Duration::from_secs(5)], ..Policy::default() };
        let points: std::collections::BTreeSet<_> =
            (0..100).map(|n| delay(1, &policy, f64::from(n) / 100.0).as_millis()).collect();
        assert_eq!(points.into_iter().collect::<Vec<_>>(), [4000, 4500, 5000, 5500, 6000]);
    }
}
