//! Which delays there can be. A delay is rounded so that there are few: each is a queue of its own
//! at the broker, and whoever looks for events that wait must know them all.

use super::{DELAY_MAX, Policy, delay, step};
use std::collections::BTreeSet;
use std::time::Duration;

/// Every delay that a retry can have, whoever asks for it: two significant digits of milliseconds,
/// up to a day.
pub fn all() -> Vec<Duration> {
    let unit = |digits: u64, power: u32| digits * 10_u64.pow(power);
    let small = 1..100;
    let large = (1..).map_while(|power| {
        let steps = (10..100).map(move |digits| Duration::from_millis(unit(digits, power)));
        let within: Vec<_> = steps.take_while(|delay| *delay < DELAY_MAX).collect();
        (!within.is_empty()).then_some(within)
    });
    small.map(Duration::from_millis).chain(large.flatten()).chain([DELAY_MAX]).collect()
}

/// The delays that `policy` itself can choose, for a retry and for an event whose handler says that
/// what it depends on is away.
pub fn of(policy: &Policy) -> BTreeSet<Duration> {
    let last = u32::try_from(policy.delays.len()).unwrap_or(u32::MAX);
    let attempts = 1..policy.attempts.min(last.saturating_add(1));
    let points = [0.1, 0.3, 0.5, 0.7, 0.9];
    let retries = attempts.flat_map(|attempt| points.map(|point| delay(attempt, policy, point)));
    retries.chain([step(policy.circuit.pause)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Outcome, Settlement};
    use crate::policy::decide;

    fn retried(after: Option<Duration>, attempt: u32, policy: &Policy, chance: f64) -> Duration {
        let outcome = Outcome::Retry { after, reason: String::new() };
        match decide(&outcome, attempt, policy, chance) {
            Settlement::Retry(delay) => delay,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_handler_can_ask_for_a_delay_that_is_not_among_all() {
        let all: BTreeSet<_> = all().into_iter().collect();
        assert_eq!(all.len(), 627);
        let mut random = fastrand::Rng::with_seed(5);
        let policy = Policy::default();
        for power in 0..40 {
            for _ in 0..200 {
                let after = Duration::from_millis(random.u64(0..1 << power));
                let delay = retried(Some(after), 1, &policy, 0.5);
                assert!(all.contains(&delay), "{after:?} becomes {delay:?}");
            }
        }
    }

    #[test]
    fn a_policy_chooses_among_its_delays() {
        let delays = vec![Duration::from_millis(30), Duration::from_secs(7)];
        let table = [(1, 1), (2, 6), (3, 11), (9, 11)];
        for (attempts, count) in table {
            let policy = Policy { attempts, delays: delays.clone(), ..Policy::default() };
            let possible = of(&policy);
            assert_eq!(possible.len(), count, "{attempts} attempts");
            for attempt in 1..attempts {
                for chance in 0..100 {
                    let delay = retried(None, attempt, &policy, f64::from(chance) / 100.0);
                    assert!(possible.contains(&delay), "{delay:?} at {attempt}");
                }
            }
        }
    }
}
