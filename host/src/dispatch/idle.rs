//! Whether everything is processed. Only the host that consumes can know: the broker counts what is
//! ready, not what is held by a consumer or handled by a plugin. Next: `delays`, what waits in delay
//! queues.
//!
//! A look never finds idle what is not. It goes over all queues twice, and between the two over what
//! is in flight and over the delay queues. An event that is still there between the two was not
//! delivered to us since the first look at any queue, or a count of deliveries would have changed;
//! then it is ready in a queue, where the second look finds it, or it was held at the first one, or
//! it is in flight or in a delay queue, where it was looked for.

use super::delays::{Delays, LATE_MAX, Names, count};
use super::host::Host;
use super::moves::delay_queue;
use crate::broker::{Census, Counter, Depth, State as ConsumerState};
use crate::policy::delays as policy_delays;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Between two looks of one who waits for a host to be idle.
const LOOK: Duration = Duration::from_millis(200);

/// The longest time that anybody can wait for a host to be idle.
pub const WAIT_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whether everything is processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing is left to do.
    Idle,
    /// There is something left.
    Busy,
    /// Nobody here can know.
    Unknown,
}

impl State {
    /// `idle`, `busy` or `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether a host is idle, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idleness {
    /// What it is.
    pub state: State,
    /// Sentences for people; empty if it is idle.
    pub reasons: Vec<String>,
}

/// What speaks against a host's being idle.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is left to do.
    pub busy: Vec<String>,
    /// What can't be known.
    pub unknown: Vec<String>,
}

impl Findings {
    fn is_empty(&self) -> bool {
        self.busy.is_empty() && self.unknown.is_empty()
    }
}

impl From<Findings> for Idleness {
    fn from(Findings { busy, unknown }: Findings) -> Self {
        let state = match (busy.is_empty(), unknown.is_empty()) {
            (false, _) => State::Busy,
            (true, false) => State::Unknown,
            (true, true) => State::Idle,
        };
        Self { state, reasons: [busy, unknown].concat() }
    }
}

/// What a host remembers from one look to the next. One looks at a time.
#[derive(Debug, Default)]
pub struct Idle(Mutex<Delays>);

/// A consumer that is to be counted.
pub struct Counted {
    /// As the subscription names it.
    pub queue: String,
    /// Asks it.
    pub counter: Counter,
    /// Whether it is live.
    pub state: ConsumerState,
}

impl Host {
    /// Whether everything is processed: nothing ready in the queues that are consumed, nothing held,
    /// in flight or waiting for another attempt. Takes some round trips to the broker, and up to a
    /// second or two for the first time.
    pub async fn idle(&self) -> Idleness {
        let mut delays = self.idle.0.lock().await;
        let mut findings = Findings { busy: Vec::new(), unknown: self.unready() };
        let consumers = self.dispatcher.counted();
        let first = self.scan(&consumers, &mut findings).await;
        if first.iter().flatten().any(|census| census.consumers != 1) {
            delays.doubt();
        }
        if findings.busy.is_empty() {
            self.in_flight(consumers.len(), &mut findings);
        }
        self.held(&mut findings);
        if !findings.is_empty() {
            return findings.into();
        }
        let names = self.delay_queues();
        let until = delays.look(&**self.broker(), &names, &mut findings).await;
        if !findings.is_empty() {
            return findings.into();
        }
        tokio::time::sleep_until(Instant::from_std(until)).await;
        let second = self.scan(&consumers, &mut findings).await;
        if findings.is_empty() && first != second {
            findings.busy.push("events were delivered just now".to_owned());
        }
        findings.unknown.extend(self.unready());
        if findings.is_empty() && !same(&consumers, &self.dispatcher.counted()) {
            findings.unknown.push("plugins have changed just now".to_owned());
        }
        findings.into()
    }

    /// Waits until the host is idle, `limit` (up to [`WAIT_MAX`]) at most; what it was in the end.
    pub async fn wait_idle(&self, limit: Duration) -> Idleness {
        let end = Instant::now() + limit;
        loop {
            let idleness = self.idle().await;
            let next = Instant::now() + LOOK;
            if idleness.state == State::Idle || next > end {
                return idleness;
            }
            tokio::time::sleep_until(next).await;
        }
    }

    /// What a queue delays by itself is among none of the numbers that the broker gives.
    fn held(&self, findings: &mut Findings) {
        let now = std::time::Instant::now();
        for (queue, until) in self.dispatcher.held() {
            let rest = (until + LATE_MAX).saturating_duration_since(now);
            if !rest.is_zero() {
                findings.unknown.push(format!(
                    "what `{queue}` itself delays is not counted by the broker, this is known in \
                     {} s",
                    rest.as_secs() + 1
                ));
            }
        }
    }

    /// The census of each of `consumers`, and what it says against being idle.
    async fn scan(&self, consumers: &[Counted], findings: &mut Findings) -> Vec<Option<Census>> {
        let asked = consumers.iter().map(|counted| counted.counter.census());
        let censuses = futures_util::future::join_all(asked).await;
        for (Counted { queue, state, .. }, census) in consumers.iter().zip(&censuses) {
            match census {
                Some(census) => judge(queue, census, findings),
                None => self.without_census(queue, state, findings).await,
            }
        }
        censuses
    }

    /// What no census of a live consumer counts.
    fn in_flight(&self, consumers: usize, findings: &mut Findings) {
        let in_flight = self.dispatcher.in_flight();
        if in_flight > 0 {
            findings.busy.push(count(in_flight as u64, "is in flight", "are in flight"));
        }
        if self.dispatcher.subscriptions() > consumers {
            findings.busy.push("a consumer that has ended still holds events".to_owned());
        }
    }

    /// Why it is not consumed is among the reasons for not being ready, if that is not new.
    async fn without_census(&self, queue: &str, state: &ConsumerState, findings: &mut Findings) {
        let what = format!("queue `{queue}`: ");
        if !findings.unknown.iter().any(|reason| reason.starts_with(&what)) {
            findings.unknown.push(format!("{what}not consuming at the moment"));
        }
        if *state == ConsumerState::Paused
            && let Ok(Some(Depth { ready: 1.., .. })) = self.broker().depth(queue).await
        {
            findings.busy.push(format!("events are ready in `{queue}`, which is paused"));
        }
    }

    fn delay_queues(&self) -> Names {
        let mut names = Names { own: self.dispatcher.delayed(), ..Names::default() };
        for plugin in self.served() {
            let delays = policy_delays::of(&plugin.manifest.policy);
            names.likely.extend(delays.into_iter().map(delay_queue));
            if names.possible.is_empty() {
                names.possible = policy_delays::all().into_iter().map(delay_queue).collect();
            }
        }
        names
    }
}

fn judge(queue: &str, census: &Census, findings: &mut Findings) {
    let Census { ready, consumers, unsettled, .. } = *census;
    if ready > 0 {
        findings.busy.push(format!("{} in `{queue}`", count(ready, "is ready", "are ready")));
    }
    if unsettled > 0 {
        let held = count(unsettled, "is being handled", "are being handled");
        findings.busy.push(format!("{held}, from `{queue}`"));
    }
    match consumers {
        1 => {}
        0 => findings.unknown.push(format!("the broker does not count our consumer of `{queue}`")),
        2 => findings.unknown.push(format!(
            "1 other consumer is on `{queue}`, whose events this host knows nothing of"
        )),
        all => findings.unknown.push(format!(
            "{} other consumers are on `{queue}`, whose events this host knows nothing of",
            all - 1
        )),
    }
}

fn same(before: &[Counted], now: &[Counted]) -> bool {
    before.len() == now.len() && before.iter().zip(now).all(|(a, b)| a.counter.is(&b.counter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_queue_that_is_ours_alone_and_done_is_idle() {
        let done = Census { ready: 0, consumers: 1, unsettled: 0, delivered: 9 };
        let table = [
            (done, State::Idle, ""),
            (Census { ready: 1, ..done }, State::Busy, "1 event is ready in `q`"),
            (Census { unsettled: 2, ..done }, State::Busy, "2 events are being handled, from `q`"),
            (Census { consumers: 3, ..done }, State::Unknown, "2 other consumers are on `q`, "),
            (Census { consumers: 2, ready: 1, ..done }, State::Busy, "1 event is ready in `q`"),
            (Census { consumers: 0, ..done }, State::Unknown, "does not count our consumer of `q`"),
        ];
        for (census, state, reason) in table {
            let mut findings = Findings::default();
            judge("q", &census, &mut findings);
            let idleness = Idleness::from(findings);
            assert_eq!(idleness.state, state, "{census:?}");
            assert!(idleness.reasons.concat().contains(reason), "{idleness:?}");
        }
    }
}
