//! The books of the model: what became of each event and what each lane's circuit should be, kept
//! apart from the core that is judged by them. Next: [`super::cover`].

use super::schedule::LANES;
use crate::policy::circuit::Sign;
use std::fmt;
use std::time::Duration;

/// What must hold, as numbered in what the host promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Invariant {
    /// I1: every event ends in an effect, as a dead letter, or dropped by its handler's word.
    NoLoss,
    /// I2: one effect, unless the event was delivered again or a move of it was sent again.
    NoSilentDuplicate,
    /// I3: calls are limited by the attempts, for each time that the broker took it back.
    BoundedAttempts,
    /// I4: nothing is acked before its effect, or before the move that replaces it.
    NoEarlyAck,
    /// I5: first effects of one key are in order.
    Order,
    /// I6: when faults end, everything is settled and every circuit closed.
    Liveness,
    /// I7: never more at once than allowed, one probe at most.
    Bounds,
    /// I8: what the core says of itself is so, and nothing begins or goes back when it must not.
    Truth,
    /// Nothing of the host's may panic.
    NoPanic,
}

/// An invariant that did not hold.
#[derive(Debug)]
pub(super) struct Broken {
    pub(super) invariant: Invariant,
    pub(super) why: String,
}

/// # Errors
/// `invariant` is broken: `so` is false.
pub(super) fn hold(
    invariant: Invariant,
    so: bool,
    why: impl FnOnce() -> String,
) -> Result<(), Broken> {
    if so { Ok(()) } else { Err(Broken { invariant, why: why() }) }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.invariant as u8 + 1;
        write!(f, "I{number} ({:?}): {}", self.invariant, self.why)
    }
}

/// What became of an event.
#[derive(Debug, Default, Clone)]
pub(super) struct Account {
    pub(super) lane: usize,
    pub(super) key: usize,
    pub(super) effects: u32,
    pub(super) dead: u32,
    pub(super) dropped: u32,
    /// How often the broker took it back, or a move of it may have been made twice.
    pub(super) excuses: u32,
    /// How often it was given back after a call: attempts in place are forgotten then.
    pub(super) restarts: u32,
    pub(super) calls: u32,
    /// Calls that used up no attempt.
    pub(super) postponed: u32,
    /// The attempt that it has come to in its place, as the journal has it.
    pub(super) noted: u32,
    /// Calls since it was in the way of another.
    pub(super) anew: u32,
    /// How often each plugin has recorded that it is done.
    pub(super) recorded: [u32; LANES],
    /// Recorded publications of each plugin are not known to be confirmed.
    pub(super) owed: [bool; LANES],
    /// It was acked before it was handled, and its handler did not end.
    pub(super) forgiven: bool,
    /// It was for a while where there is no order.
    pub(super) loose: bool,
}

impl Account {
    pub(super) fn is_resolved(&self) -> bool {
        self.effects + self.dead + self.dropped > 0 || self.forgiven
    }
}

/// What a lane's circuit should be.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Breaker {
    pub(super) open: bool,
    /// Failures in a row.
    failures: u32,
    /// No probe before then.
    pub(super) until: Duration,
}

impl Breaker {
    /// How an event went that is of the lane's current version.
    pub(super) fn sign(&mut self, sign: Sign, probe: bool, limit: u32, now: Duration) {
        let pause = |after: Option<Duration>| now + after.unwrap_or(Duration::from_secs(5));
        match sign {
            Sign::Well if !self.open || probe => *self = Self::default(),
            Sign::Unwell if !self.open => {
                self.failures += 1;
                self.open = limit > 0 && self.failures >= limit;
                self.until = pause(None);
            }
            Sign::Away(after) if !self.open => {
                self.open = true;
                self.until = pause(after);
            }
            Sign::Unwell if probe => self.until = pause(None),
            Sign::Away(after) if probe => self.until = pause(after),
            _ => {}
        }
    }

    /// There is a new version.
    pub(super) fn renew(&mut self, now: Duration) {
        self.failures = 0;
        self.until = now;
    }
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) accounts: Vec<Account>,
    pub(super) breakers: [Breaker; LANES],
}

impl Ledger {
    /// # Errors
    /// I2 or I5 is broken.
    pub(super) fn effect(&mut self, event: usize, ordered: bool) -> Result<(), Broken> {
        self.accounts[event].effects += 1;
        let account = &self.accounts[event];
        hold(Invariant::NoSilentDuplicate, account.effects <= 1 + account.excuses, || {
            format!("event {event} has {} effects: {account:?}", account.effects)
        })?;
        if account.effects > 1 || account.loose || !ordered {
            return Ok(());
        }
        let overtaken = |it: &Account| {
            let same = (it.lane, it.key) == (account.lane, account.key);
            same && !it.loose && !it.is_resolved()
        };
        let first = self.accounts[..event].iter().position(overtaken);
        hold(Invariant::Order, first.is_none(), || {
            format!("event {event} has its effect before event {first:?}, of the same key")
        })
    }

    /// # Errors
    /// I3 is broken.
    pub(super) fn called(&mut self, event: usize, limit: u32) -> Result<(), Broken> {
        let account = &mut self.accounts[event];
        account.calls += 1;
        let free = account.postponed + account.anew;
        let most = limit * (1 + account.excuses + account.restarts) + free;
        hold(Invariant::BoundedAttempts, account.calls <= most, || {
            format!("event {event} is called {} times, {most} are the most", account.calls)
        })
    }

    /// # Errors
    /// I1 or I2 is broken, when nothing is under way any more.
    pub(super) fn close(&self) -> Result<(), Broken> {
        for (event, account) in self.accounts.iter().enumerate() {
            let ends = account.effects + account.dead + account.dropped;
            hold(Invariant::NoLoss, account.is_resolved(), || {
                format!("event {event} is gone: {account:?}")
            })?;
            // By a plugin that knows nothing of the other one's.
            let taken_over = account.effects > 1;
            let owed = account.owed.contains(&true) && !taken_over;
            let told = account.dead + account.dropped > 0 || account.forgiven;
            hold(Invariant::NoLoss, !owed || told, || {
                format!("publications of event {event} are gone: {account:?}")
            })?;
            hold(Invariant::NoSilentDuplicate, ends <= 1 + account.excuses, || {
                format!("event {event} ended {ends} times: {account:?}")
            })?;
        }
        Ok(())
    }
}
