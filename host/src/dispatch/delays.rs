//! What waits in delay queues for its next attempt. They are shared by all hosts and queues of a
//! virtual host, and what they hold is not said by whom it was sent; so every event in one of
//! them counts as one that comes back to this host. Next: `idle`, which asks.

use super::idle::Findings;
use super::outbound::Delayed;
use crate::broker::{Broker, Depth, TopologyError};
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// How often delay queues are looked for under every name that there can be.
const SWEEP: Duration = Duration::from_secs(180);

/// A delay queue that was there is taken to be there for this long at least, since it is kept longer
/// without use. To ask for one that is not there is an error in the broker's log.
const KEPT: Duration = Duration::from_secs(300);

/// How late an event may leave the queue that delays it.
pub const LATE_MAX: Duration = Duration::from_secs(5);

/// For an event that has left its delay queue to be in the queue that it goes to: a quorum queue has
/// to agree on it first.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// What is known of delay queues.
#[derive(Debug, Default)]
pub struct Delays {
    there: HashMap<String, There>,
    /// When they were last looked for under every name.
    swept: Option<Instant>,
}

/// A delay queue that is there.
#[derive(Debug)]
struct There {
    /// When that was seen last.
    seen: Instant,
    /// When it may have held something last.
    held: Instant,
}

/// The names under which delay queues can be.
#[derive(Debug, Default)]
pub struct Names {
    /// Those that this host has put events into.
    pub own: HashMap<String, Delayed>,
    /// Those that the plugins' policies can choose.
    pub likely: BTreeSet<String>,
    /// All for queues like those that are consumed.
    pub possible: Vec<String>,
}

impl Delays {
    /// They are looked for under every name the next time: another host was at work.
    pub fn doubt(&mut self) {
        self.swept = None;
    }

    /// Looks what they hold. Returns until when something that they held may be on its way back.
    pub async fn look(
        &mut self,
        broker: &dyn Broker,
        names: &Names,
        findings: &mut Findings,
    ) -> Instant {
        let began = Instant::now();
        let depths = match self.depths(broker, names).await {
            Ok(depths) => depths,
            Err(error) => {
                findings.unknown.push(format!("can't ask what waits for another attempt: {error}"));
                return began;
            }
        };
        let mut until = began;
        for (name, Depth { ready, .. }) in &depths {
            let own = names.own.get(name);
            let known = self.there.contains_key(name);
            let there = self.there.entry(name.clone());
            let there = there.or_insert_with(|| There { seen: began, held: began });
            there.seen = began;
            match own {
                // The host knows of what it has put there, and the rest is seen or has been.
                Some(own) if !known => there.held = own.due.min(began),
                Some(own) => there.held = there.held.max(own.due.min(began)),
                // It may have been emptied just now.
                None => {}
            }
            until = until.max(there.held + ON_ITS_WAY);
            if *ready == 0 {
                continue;
            }
            there.held = began;
            let wait = format!("{} in `{name}`", count(*ready, "waits", "wait"));
            match own {
                Some(own) if began <= own.due + LATE_MAX => {
                    findings.busy.push(format!("{wait} for the next attempt"));
                }
                _ => findings
                    .unknown
                    .push(format!("{wait}, sent by another host or an earlier life of this one")),
            }
        }
        until
    }

    async fn depths(
        &mut self,
        broker: &dyn Broker,
        names: &Names,
    ) -> Result<Vec<(String, Depth)>, TopologyError> {
        self.there.retain(|_, there| there.seen.elapsed() < KEPT);
        let fresh = names.own.iter().filter(|(_, own)| own.put.elapsed() < KEPT);
        let sure: BTreeSet<_> = fresh.map(|(name, _)| name).chain(self.there.keys()).collect();
        let sure: BTreeSet<_> = sure.into_iter().cloned().collect();
        let mut depths = Vec::new();
        for name in &sure {
            match broker.depth(name).await? {
                Some(depth) => depths.push((name.clone(), depth)),
                None => _ = self.there.remove(name),
            }
        }
        let whole = self.swept.is_none_or(|at| at.elapsed() >= SWEEP);
        let (own, likely) = (names.own.keys(), names.likely.iter());
        let mut unsure: BTreeSet<_> = own.chain(likely).cloned().collect();
        if whole {
            unsure.extend(names.possible.iter().cloned());
        }
        let unsure: Vec<_> = unsure.difference(&sure).cloned().collect();
        depths.extend(broker.sweep(&unsure).await?);
        if whole {
            self.swept = Some(Instant::now());
        }
        Ok(depths)
    }
}

/// E.g. `1 event waits`, `3 events wait`.
pub fn count(number: u64, one: &str, more: &str) -> String {
    match number {
        1 => format!("1 event {one}"),
        _ => format!("{number} events {more}"),
    }
}
