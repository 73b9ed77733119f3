//! Whether a handler is worth calling at the moment: a circuit breaker, as a pure state machine. It
//! opens when the handler says that what it depends on is away, or fails again and again for
//! reasons outside its events; then one event at a time is tried until one goes well.
//! Next: [`super::intake`], which has one for each lane.

use crate::flow::{Fault, Outcome};
use std::time::Duration;

/// When a circuit opens, and how long it stays so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Unwell events in a row that open it; 0: only the handler's own word does.
    pub failures: u32,
    /// From opening to the first probe; doubles with each probe that fails, up to `pause_max`.
    pub pause: Duration,
    /// The longest pause between two probes.
    pub pause_max: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self { failures: 20, pause: Duration::from_secs(5), pause_max: Duration::from_secs(60) }
    }
}

/// What an outcome says about the health of what the handler depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// An event was handled.
    Well,
    /// It failed for a reason that may lie outside the event.
    Unwell,
    /// The handler says that what it depends on is away, and perhaps for how long.
    Away(Option<Duration>),
    /// Nothing: the reason lies in the event, or in the handler.
    Neutral,
}

impl Sign {
    /// The sign of `outcome`. A retry at a time that the handler chose is a plan, not a failure.
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Ok(_) => Self::Well,
            Outcome::Unavailable { after, .. } => Self::Away(*after),
            Outcome::Retry { after: None, .. }
            | Outcome::Failed {
                fault:
                    Fault::Timeout | Fault::Publish | Fault::Store | Fault::Conflict | Fault::Host,
                ..
            } => Self::Unwell,
            _ => Self::Neutral,
        }
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circuit {
    rules: Rules,
    state: State,
}

/// Times are since the start of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        /// Unwell events in a row.
        failures: u32,
    },
    Open {
        until: Duration,
        pause: Duration,
    },
    Probing {
        pause: Duration,
    },
}

/// What a sign did to a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that others need to know.
    None,
    /// It was closed, and is open now.
    Opened,
    /// A probe failed; it stays open.
    Reopened,
    /// A probe went well.
    Closed,
}

impl Circuit {
    /// A closed one.
    pub fn new(rules: Rules) -> Self {
        Self { rules, state: State::Closed { failures: 0 } }
    }

    /// Whether events are handled as they come.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether one event is to be tried.
    pub fn is_probing(&self) -> bool {
        matches!(self.state, State::Probing { .. })
    }

    /// When the next probe is due, while it waits for that.
    pub fn due(&self) -> Option<Duration> {
        match self.state {
            State::Open { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Takes other rules from now on.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// There is a reason to think that things have changed: an open circuit probes at once, and
    /// failures are counted anew.
    pub fn hasten(&mut self, now: Duration) {
        match &mut self.state {
            State::Closed { failures } => *failures = 0,
            State::Open { until, .. } => *until = now,
            State::Probing { .. } => {}
        }
    }

    /// Lets time pass; true if a probe is due from now on.
    pub fn tick(&mut self, now: Duration) -> bool {
        match self.state {
            State::Open { until, pause } if until <= now => {
                self.state = State::Probing { pause };
                true
            }
            _ => false,
        }
    }

    /// Takes in how an event went, which was the `probe` or was begun before.
    pub fn sign(&mut self, sign: Sign, probe: bool, now: Duration) -> Change {
        match (self.state, sign) {
            (State::Closed { .. }, Sign::Well) => self.state = State::Closed { failures: 0 },
            (State::Closed { failures }, Sign::Unwell) => {
                let failures = failures.saturating_add(1);
                self.state = State::Closed { failures };
                if self.rules.failures > 0 && failures >= self.rules.failures {
                    return self.open(self.rules.pause, None, now);
                }
            }
            (State::Closed { .. }, Sign::Away(after)) => {
                return self.open(self.rules.pause, after, now);
            }
            (State::Probing { .. }, Sign::Well) if probe => {
                self.state = State::Closed { failures: 0 };
                return Change::Closed;
            }
            (State::Probing { pause }, Sign::Unwell | Sign::Away(_)) if probe => {
                let after = if let Sign::Away(after) = sign { after } else { None };
                let pause = (pause * 2).min(self.rules.pause_max);
                self.open(pause, after, now);
                return Change::Reopened;
            }
            _ => {}
        }
        Change::None
    }

    fn open(&mut self, pause: Duration, after: Option<Duration>, now: Duration) -> Change {
        let wait = after.unwrap_or(pause).min(super::DELAY_MAX);
        self.state = State::Open { until: now + wait, pause };
        Change::Opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Sign::{Away, Neutral, Unwell, Well};

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn circuit(failures: u32) -> Circuit {
        Circuit::new(Rules { failures, pause: seconds(5), pause_max: seconds(12) })
    }

    #[test]
    fn it_opens_after_so_many_unwell_in_a_row() {
        let table: [(u32, &[Sign], bool); 7] = [
            (3, &[Unwell, Unwell], false),
            (3, &[Unwell, Unwell, Unwell], true),
            (3, &[Unwell, Unwell, Well, Unwell, Unwell], false),
            (3, &[Unwell, Neutral, Unwell, Neutral, Unwell], true),
            (3, &[Away(None)], true),
            (0, &[Unwell; 50], false),
            (0, &[Unwell, Away(None)], true),
        ];
        for (failures, signs, opens) in table {
            let mut circuit = circuit(failures);
            for sign in signs {
                circuit.sign(*sign, false, seconds(0));
            }
            assert_eq!(circuit.is_closed(), !opens, "{signs:?}");
        }
    }

    #[test]
    fn probes_come_at_growing_pauses_until_one_goes_well() {
        let mut circuit = circuit(1);
        assert_eq!(circuit.sign(Unwell, false, seconds(100)), Change::Opened);
        assert!(!circuit.tick(seconds(104)) && circuit.tick(seconds(105)));
        assert_eq!(circuit.sign(Well, false, seconds(105)), Change::None, "begun before");
        assert_eq!(circuit.sign(Neutral, true, seconds(105)), Change::None);
        assert!(circuit.is_probing(), "another one is tried");
        assert_eq!(circuit.sign(Unwell, true, seconds(105)), Change::Reopened);
        assert_eq!(circuit.due(), Some(seconds(115)));
        assert!(circuit.tick(seconds(115)));
        assert_eq!(circuit.sign(Unwell, true, seconds(115)), Change::Reopened);
        assert_eq!(circuit.due(), Some(seconds(127)), "12 s at most");
        assert!(circuit.tick(seconds(127)));
        assert_eq!(circuit.sign(Away(Some(seconds(40))), true, seconds(127)), Change::Reopened);
        assert_eq!(circuit.due(), Some(seconds(167)), "as the handler says");
        circuit.hasten(seconds(130));
        assert!(circuit.tick(seconds(130)));
        assert_eq!(circuit.sign(Well, true, seconds(131)), Change::Closed);
        assert!(circuit.is_closed());
    }
}
