//! What is known of events that were being handled when a host ended, and the rules of what
//! follows from it: plain data, no clock, no file. Next: `pages`, where it is kept.

use super::identity::Identity;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How many events are known at most; the oldest go.
pub const RECORDS_MAX: usize = 4096;

/// How long an event is known that does not come again, in milliseconds: 7 days.
pub const AGE_MAX_MS: u64 = 7 * 24 * 3600 * 1000;

/// How long an event is known that is settled, in milliseconds: if its ack is lost, it comes again.
const SETTLED_MS: u64 = 10 * 60 * 1000;

/// How often what is too old is looked for, in milliseconds.
const SWEEP_MS: u64 = 60 * 1000;

/// From how many suspicions on an event shares the host with no other such event, to its end:
/// whichever of them ends the host, the suspicions of the others stay as they are. Those that only
/// met a host's end or two are spared the wait.
const SUSPICIONS_APART: u32 = 3;

/// How often an event may be handled beside others when a host ends, before it is taken for the cause.
const SUSPICIONS_MAX: u32 = 20;

/// What is known of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Known {
    /// How many hosts ended while they handled it alone.
    pub crashes: u32,
    /// How many hosts ended while they handled it beside others.
    pub suspicions: u32,
    /// The attempt that it has come to in its place in the queue; 0 if it has not been tried there.
    pub attempt: u32,
}

/// One event that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Which.
    pub identity: Identity,
    /// What.
    pub known: Known,
    /// When that was last changed: milliseconds since the Unix epoch.
    pub at: u64,
}

/// An event that was being handled when a host ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InFlight {
    /// Which.
    pub identity: Identity,
    /// No other was.
    pub alone: bool,
}

/// An event that is not to be handled again: it has ended too many hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    crashes: u32,
    suspicions: u32,
}

impl Known {
    /// Whether it may be what ended a host, so that it is handled alone.
    pub fn is_suspect(self) -> bool {
        self.crashes > 0 || self.suspicions > 0
    }

    /// Whether it shares the host with no other such event.
    pub fn is_apart(self) -> bool {
        self.suspicions >= SUSPICIONS_APART
    }

    /// How long it waits at most to be handled alone, when suspects are for as long as `trial` still;
    /// `None`: as long as it takes, since it has ended a host, or was there too often.
    pub fn waits(self, trial: Duration) -> Option<Duration> {
        let must = self.crashes > 0 || self.is_apart();
        (!must).then_some(trial)
    }

    /// Whether it may be handled as its `attempt`, of `attempts` in all.
    ///
    /// # Errors
    /// It has ended as many hosts as it may.
    pub fn judge(self, attempt: u32, attempts: u32) -> Result<(), Spent> {
        let Self { crashes, suspicions, .. } = self;
        let used = crashes.saturating_add(attempt.saturating_sub(1));
        let spent = (crashes > 0 && used >= attempts) || suspicions >= SUSPICIONS_MAX;
        if spent { Err(Spent { crashes, suspicions }) } else { Ok(()) }
    }
}

impl Spent {
    /// For people, on the dead letter.
    pub fn reason(self) -> String {
        let times = |n: u32| if n == 1 { "once".to_owned() } else { format!("{n} times") };
        let alone = format!("{} while it handled only this event", times(self.crashes));
        let beside =
            format!("{} while it handled this event beside others", times(self.suspicions));
        let when = match (self.crashes, self.suspicions) {
            (0, _) => beside,
            (_, 0) => alone,
            _ => format!("{alone} and {beside}"),
        };
        format!(
            "the host ended {when}; its exit status and its last lines of log say how, the \
             system's log whether it was killed for want of memory"
        )
    }
}

/// All that is known.
pub struct Book {
    entries: HashMap<Identity, Entry>,
    free: Vec<usize>,
    changes: Vec<(usize, Option<Record>)>,
    swept: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    known: Known,
    at: u64,
    /// Where it is kept, below [`RECORDS_MAX`].
    place: usize,
}

impl Entry {
    fn is_old(&self, now: u64) -> bool {
        self.at.saturating_add(AGE_MAX_MS) < now
    }
}

impl Book {
    /// An empty one.
    pub fn new() -> Self {
        let free = (0..RECORDS_MAX).rev().collect();
        Self { entries: HashMap::new(), free, changes: Vec::new(), swept: 0 }
    }

    /// How many events are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is known of `identity`.
    pub fn known(&self, identity: Identity, now: u64) -> Known {
        let entry = self.entries.get(&identity).filter(|entry| !entry.is_old(now));
        entry.map(|entry| entry.known).unwrap_or_default()
    }

    /// Takes over what another host knew; both count.
    pub fn merge(&mut self, records: impl IntoIterator<Item = Record>) {
        for Record { identity, known: other, at } in records {
            let before = self.entries.get(&identity).map_or(0, |entry| entry.at);
            self.change(identity, at.max(before), |known| {
                known.crashes = known.crashes.saturating_add(other.crashes);
                known.suspicions = known.suspicions.saturating_add(other.suspicions);
                known.attempt = known.attempt.max(other.attempt);
            });
        }
    }

    /// A host has ended while it handled these: what it handled alone has ended it; of several, any
    /// one may have.
    pub fn ended(&mut self, in_flight: &[InFlight], now: u64) {
        let mut once = BTreeMap::new();
        for InFlight { identity, alone } in in_flight {
            *once.entry(*identity).or_insert(false) |= alone;
        }
        for (identity, alone) in once {
            self.change(identity, now, |known| match alone {
                true => known.crashes += 1,
                false => known.suspicions += 1,
            });
        }
    }

    /// `identity` has come to `attempt` in its place.
    pub fn note(&mut self, identity: Identity, attempt: u32, now: u64) {
        self.change(identity, now, |known| known.attempt = attempt);
    }

    /// `identity` has ended.
    pub fn forget(&mut self, identity: Identity) {
        if let Some(Entry { place, .. }) = self.entries.remove(&identity) {
            self.free.push(place);
            self.changes.push((place, None));
        }
    }

    /// `identity` has ended because of what is known of it: that is kept until its ack has arrived
    /// for certain.
    pub fn retire(&mut self, identity: Identity, now: u64) {
        if self.entries.contains_key(&identity) {
            self.change(identity, (now + SETTLED_MS).saturating_sub(AGE_MAX_MS), |_| {});
        }
    }

    /// The host ends as it should, all acks have arrived: forgets what was retired.
    pub fn close(&mut self, now: u64) {
        self.expire(now + SETTLED_MS + 1);
    }

    /// [Expires](Self::expire) now and then.
    pub fn sweep(&mut self, now: u64) {
        if self.swept + SWEEP_MS <= now {
            self.swept = now;
            self.expire(now);
        }
    }

    /// Forgets what has not come again for too long.
    pub fn expire(&mut self, now: u64) {
        let old = self.entries.iter().filter(|(_, entry)| entry.is_old(now));
        for identity in old.map(|(identity, _)| *identity).collect::<Vec<_>>() {
            self.forget(identity);
        }
    }

    /// What has changed since the last call: what each place holds now.
    pub fn changes(&mut self) -> impl Iterator<Item = (usize, Option<Record>)> {
        self.changes.drain(..)
    }

    fn change(&mut self, identity: Identity, now: u64, how: impl FnOnce(&mut Known)) {
        let mut known = self.known(identity, now);
        how(&mut known);
        let place = match self.entries.get(&identity) {
            Some(entry) => entry.place,
            None => self.place(),
        };
        self.entries.insert(identity, Entry { known, at: now, place });
        self.changes.push((place, Some(Record { identity, known, at: now })));
    }

    /// A free place; the oldest event makes room if there is none.
    fn place(&mut self) -> usize {
        if self.free.is_empty() {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.at);
            if let Some(identity) = oldest.map(|(identity, _)| *identity) {
                self.forget(identity);
            }
        }
        self.free.pop().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
