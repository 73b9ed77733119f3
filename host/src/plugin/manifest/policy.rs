//! `[retry]`: how often and when a failed event is tried again. `[circuit]`: when the handler is
//! left alone for a while.

use super::Reader;
use super::written::Section;
use crate::policy::{DELAY_MAX, Policy, circuit};
use std::time::Duration;

/// Every delay is a queue at the broker.
const DELAYS_MAX: usize = 32;

impl Reader<'_> {
    pub(super) fn retry(&self, retry: &Section<'_>) -> Policy {
        let base = Policy::default();
        let delays = retry.durations("delays", Duration::from_millis(1)..=DELAY_MAX);
        if let Some(delays) = &delays {
            if delays.is_empty() {
                retry.wrong_with(
                    "delays",
                    "must not be empty",
                    Some("`attempts = 1` means no retry"),
                );
            } else if delays.len() > DELAYS_MAX {
                let rule = format!("must be {DELAYS_MAX} or fewer, are {}", delays.len());
                retry.wrong_with("delays", rule, Some("the last one repeats"));
            }
        }
        Policy {
            attempts: retry.integer("attempts", 1..=1_000_000).unwrap_or(base.attempts),
            delays: delays.unwrap_or(base.delays),
            jitter: retry.number("jitter", 0.0..=1.0).unwrap_or(base.jitter),
            ..base
        }
    }

    pub(super) fn circuit(&self, circuit: &Section<'_>) -> circuit::Rules {
        let base = circuit::Rules::default();
        let range = Duration::from_millis(100)..=DELAY_MAX;
        let pause = circuit.duration("pause", range.clone());
        let pause_max = circuit.duration("pause-max", range);
        if let (Some(pause), Some(most)) = (pause, pause_max)
            && pause > most
        {
            let most = humantime::format_duration(most);
            circuit.wrong("pause", format!("must not be over the `pause-max` of {most}"));
        }
        let pause = pause.unwrap_or_else(|| base.pause.min(pause_max.unwrap_or(base.pause)));
        circuit::Rules {
            failures: circuit.integer("failures", 0..=1_000_000).unwrap_or(base.failures),
            pause,
            pause_max: pause_max.unwrap_or(base.pause_max).max(pause),
        }
    }
}
