//! What has been told of each plugin, what is in the folder now, and so what is to be read or told
//! next. It is given listings and the time, and does no I/O. Next: `listing`.

use super::{
    Change, Digest, Files, Found, Kind, WatchError,
    listing::{Entry, Listing, Pair},
    read::Obstacle,
};
use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsString,
    time::{Duration, Instant},
};

#[cfg(test)]
mod tests;

/// How long a file must look the same before it is read. Several ticks of the clock that stamps
/// files (1 to 10 ms), so that no later write can hide behind the same stamp.
pub(super) const SETTLE: Duration = Duration::from_millis(20);
/// The same where no events tell that a file was closed.
pub(super) const SETTLE_POLLED: Duration = Duration::from_millis(100);
/// How long a file that somebody has open for writing must look the same: its writer may pause.
const SETTLE_OPEN: Duration = Duration::from_millis(1500);
/// How long a file must be gone: some tools remove the old version before they put the new one.
const ABSENCE: Duration = Duration::from_millis(100);
/// How long a file that ends in the middle may stay as it is before that is an error.
const UNFINISHED: Duration = Duration::from_secs(5);
/// How long a manifest may precede its component.
const ORPHAN: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    settle: Duration,
    plugins: BTreeMap<String, Record>,
}

#[derive(Debug, Default)]
struct Record {
    told: Option<Told>,
    pending: Option<Pending>,
}

/// What was last told of a plugin, and the files that this came from.
#[derive(Debug)]
struct Told {
    pair: Pair,
    what: What,
}

#[derive(Debug, PartialEq)]
enum What {
    Files(Digest, Option<Digest>),
    Error(WatchError),
    /// A manifest without its component: only a line in the log.
    Orphan,
}

/// Files that are not the ones that were told of.
#[derive(Debug)]
struct Pending {
    pair: Pair,
    since: Instant,
    /// Read, and found to be unfinished.
    unfinished: Option<WatchError>,
}

/// What is to be done about the folder as it is now.
#[derive(Debug, Default)]
pub(super) struct Step {
    /// To be told at once.
    pub changes: Vec<Change>,
    /// To be read, and then given to [`Ledger::record`].
    pub due: Vec<(String, Pair)>,
    /// When to list again, at the latest.
    pub next: Option<Instant>,
}

impl Ledger {
    /// An empty one; files must look the same for `settle`.
    pub fn new(settle: Duration) -> Self {
        Self { settle, plugins: BTreeMap::new() }
    }

    /// Takes note of what is in the folder. `open`: names of files that somebody is writing to.
    pub fn observe(
        &mut self,
        mut listing: Listing,
        open: &HashSet<OsString>,
        now: Instant,
    ) -> Step {
        let is_open = |entry: &Option<Entry>| {
            let file = entry.as_ref().and_then(|entry| entry.path.file_name());
            file.is_some_and(|file| open.contains(file))
        };
        for name in self.plugins.keys() {
            listing.entry(name.clone()).or_default();
        }
        let mut pending = Vec::new();
        for (name, pair) in listing {
            let open = is_open(&pair.component) || is_open(&pair.manifest);
            let record = self.plugins.entry(name.clone()).or_default();
            if let Some(due) = record.see(pair, open, self.settle, now) {
                pending.push((name, due));
            }
        }
        // A plugin that is renamed goes before it comes: for a moment both would want one queue.
        let going = |(name, due): &(String, Instant)| {
            let going = self.plugins.get(name).is_some_and(Record::is_going);
            (going && *due > now).then_some(*due)
        };
        let gone = pending.iter().filter_map(going).max();
        let mut step = Step::default();
        for (name, due) in pending {
            let Some(record) = self.plugins.get_mut(&name) else { continue };
            let due =
                if record.told.is_none() { gone.map_or(due, |gone| due.max(gone)) } else { due };
            if due <= now {
                record.act(name, now, &mut step);
            } else {
                step.next = Some(step.next.map_or(due, |next| next.min(due)));
            }
        }
        self.plugins.retain(|_, record| record.told.is_some() || record.pending.is_some());
        step
    }

    /// Takes note of what reading `pair` came to.
    pub fn record(
        &mut self,
        name: &str,
        pair: Pair,
        reading: Result<Files, Obstacle>,
        now: Instant,
    ) -> Option<Change> {
        let record = self.plugins.get_mut(name)?;
        match reading {
            Err(Obstacle::Moved) => {
                record.pending = None;
                None
            }
            Err(Obstacle::Unfinished(error)) => {
                let pending = record.pending.as_mut()?;
                if now.duration_since(pending.since) >= UNFINISHED {
                    return record.tell(name, pair, Err(error));
                }
                pending.unfinished = Some(error);
                None
            }
            Err(Obstacle::Wrong(error)) => record.tell(name, pair, Err(error)),
            Ok(files) => record.tell(name, pair, Ok(files)),
        }
    }
}

impl Record {
    /// Compares with what was told; the time at which there is something to do about it.
    fn see(&mut self, pair: Pair, open: bool, settle: Duration, now: Instant) -> Option<Instant> {
        let told = self.told.as_ref();
        if told.map_or(pair == Pair::default(), |told| told.pair == pair) {
            self.pending = None;
            return None;
        }
        let pending = match self.pending.take() {
            Some(pending) if pending.pair == pair => pending,
            _ => Pending { pair, since: now, unfinished: None },
        };
        let lost_manifest = told.is_some_and(|told| told.pair.manifest.is_some());
        let wait = match &pending.pair {
            Pair { component: None, .. } if told.is_some_and(Told::is_plugin) => ABSENCE,
            Pair { component: None, .. } => ORPHAN,
            _ if pending.unfinished.is_some() => UNFINISHED,
            _ if open => SETTLE_OPEN,
            Pair { manifest: None, .. } if lost_manifest => ABSENCE,
            _ => settle,
        };
        let since = pending.since;
        self.pending = Some(pending);
        Some(since + wait)
    }

    /// A plugin whose component is not there, and may not come back.
    fn is_going(&self) -> bool {
        let absent = self.pending.as_ref().is_some_and(|pending| pending.pair.component.is_none());
        absent && self.told.as_ref().is_some_and(Told::is_plugin)
    }

    /// What is pending has looked the same for long enough.
    fn act(&mut self, name: String, now: Instant, step: &mut Step) {
        let Some(pending) = &self.pending else { return };
        if pending.pair.component.is_some() {
            step.due.push((name, pending.pair.clone()));
            return;
        }
        let told = self.told.take();
        if told.as_ref().is_some_and(Told::is_plugin) {
            // A manifest that stays behind is looked at anew, as an orphan.
            self.pending = None;
            step.changes.push(Change { name, kind: Kind::Removed });
            step.next = Some(now);
        } else if let Some(Pending { pair, .. }) = self.pending.take()
            && pair.manifest.is_some()
        {
            if told.is_none() {
                tracing::warn!("{}", WatchError::NoComponent { name });
            }
            self.told = Some(Told { pair, what: What::Orphan });
        }
    }

    /// What is told of `found`: nothing where it is what was told before.
    fn tell(&mut self, name: &str, pair: Pair, found: Found) -> Option<Change> {
        let what = match &found {
            Ok(files) => {
                What::Files(files.component.digest, files.manifest.as_ref().map(|file| file.digest))
            }
            Err(error) => What::Error(error.clone()),
        };
        self.pending = None;
        let before = self.told.replace(Told { pair, what });
        let now = self.told.as_ref()?;
        let kind = match before {
            Some(before) if before.is_plugin() => {
                if before.what.says_the_same(&now.what) {
                    return None;
                }
                Kind::Changed(found)
            }
            _ => Kind::Added(found),
        };
        Some(Change { name: name.to_owned(), kind })
    }
}

impl Told {
    fn is_plugin(&self) -> bool {
        self.what != What::Orphan
    }
}

impl What {
    fn says_the_same(&self, other: &What) -> bool {
        match (self, other) {
            // A file that grows is not news with every size that it has.
            (
                What::Error(WatchError::TooLarge { .. }),
                What::Error(WatchError::TooLarge { .. }),
            ) => true,
            // Somebody has tried again, and wants to know what came of it.
            (What::Error(_), What::Error(_)) => false,
            _ => self == other,
        }
    }
}
