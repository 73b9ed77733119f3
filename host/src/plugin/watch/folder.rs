//! The thread that watches: wait, list, read what is due, tell. Next: `ledger`, which decides what
//! is due.

use super::{
    Change, Kind, WatchError, WatchMode,
    ledger::{Ledger, SETTLE, SETTLE_POLLED, Step},
    listing::list,
    read::{read, scan_once},
    wake::{Alarm, Signals},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// How often the folder is listed although no event came: events get lost, and some changes (behind
/// a link) cause none.
const RESCAN: Duration = Duration::from_secs(10);
/// How often it is listed where no events are to be had.
const POLL: Duration = Duration::from_millis(500);
/// The shortest time between two listings, however many events come.
const SCAN_GAP: Duration = Duration::from_millis(5);
/// How many batches of changes may wait to be taken. While they wait, the folder is not looked at.
const BATCHES_MAX: usize = 1;

/// A plugins folder that is watched by a thread of its own, until this is dropped.
pub struct Folder {
    dir: PathBuf,
    changes: mpsc::Receiver<Vec<Change>>,
    signals: Arc<Signals>,
}

impl Folder {
    /// Starts to watch `dir`, which need not be there yet. Components of more than
    /// `component_bytes_max` bytes are not read.
    ///
    /// # Errors
    /// If the thread cannot be started, or a relative `dir` has no current directory to start from.
    pub fn new(dir: &Path, mode: WatchMode, component_bytes_max: u64) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?;
        let signals = Arc::<Signals>::default();
        let watched = dir.clone();
        let (sender, changes) = mpsc::channel(BATCHES_MAX);
        let alarm = match mode {
            WatchMode::Auto => Some(Alarm::new(dir.clone(), Arc::clone(&signals))),
            WatchMode::Poll | WatchMode::Off => None,
        };
        let settle = if alarm.is_some() { SETTLE } else { SETTLE_POLLED };
        let watcher = Watcher {
            dir,
            component_bytes_max,
            alarm,
            signals: Arc::clone(&signals),
            ledger: Ledger::new(settle),
            changes: sender,
            absent: false,
        };
        thread::Builder::new().name("plugins-watch".into()).spawn(move || match mode {
            WatchMode::Off => watcher.once(),
            WatchMode::Auto | WatchMode::Poll => watcher.run(settle),
        })?;
        Ok(Self { dir: watched, changes, signals })
    }

    /// Where it is, from the root.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What has changed. The first call returns what is there, at once, and be it nothing; later
    /// calls wait for changes. Dropping the future loses none.
    pub async fn changed(&mut self) -> Vec<Change> {
        match self.changes.recv().await {
            Some(changes) => changes,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.signals.stop();
    }
}

struct Watcher {
    dir: PathBuf,
    component_bytes_max: u64,
    alarm: Option<Alarm>,
    signals: Arc<Signals>,
    ledger: Ledger,
    changes: mpsc::Sender<Vec<Change>>,
    /// The folder could not be listed, and that was said.
    absent: bool,
}

impl Watcher {
    fn run(mut self, settle: Duration) {
        let mut start = None;
        let mut first = true;
        loop {
            let watched = self.alarm.as_mut().is_some_and(Alarm::arm);
            let listed = Instant::now();
            let Step { changes, next, .. } = self.look(listed);
            let told = changes.len();
            let start = *start.get_or_insert(listed);
            // The first batch waits until what is there has proved not to be changing.
            let complete = self.absent || next.is_none() || listed - start >= settle;
            if told > 0 || (first && complete) {
                if self.changes.blocking_send(changes).is_err() {
                    return;
                }
                first = false;
            }
            let rescan = listed + if watched && !self.absent { RESCAN } else { POLL };
            let next = next.map_or(rescan, |next| next.min(rescan));
            if !self.signals.wait(next) {
                return;
            }
            thread::sleep(SCAN_GAP.saturating_sub(listed.elapsed()));
        }
    }

    /// Lists the folder, reads what is due, and returns all changes. A folder that cannot be
    /// listed has not changed: its plugins go on as they are.
    fn look(&mut self, now: Instant) -> Step {
        let listing = match list(&self.dir) {
            Ok(listing) => listing,
            Err(error) => {
                if !std::mem::replace(&mut self.absent, true) {
                    warn_absent(&self.dir, &error);
                }
                return Step::default();
            }
        };
        if std::mem::take(&mut self.absent) {
            tracing::info!(folder = %self.dir.display(), "the plugins folder is there again");
        }
        let mut step = self.ledger.observe(listing, &self.signals.open(), now);
        for (name, pair) in std::mem::take(&mut step.due) {
            let reading = read(&name, &pair, self.component_bytes_max);
            step.changes.extend(self.ledger.record(&name, pair, reading, now));
            // What is unfinished has a new term, which the next listing tells.
            step.next = Some(now);
        }
        step
    }

    fn once(self) {
        let found = scan_once(&self.dir, self.component_bytes_max).unwrap_or_else(|error| {
            warn_absent(&self.dir, &error);
            Vec::new()
        });
        let changes = found.into_iter().filter_map(|(name, found)| match found {
            Err(error @ WatchError::NoComponent { .. }) => {
                tracing::warn!("{error}");
                None
            }
            found => Some(Change { name, kind: Kind::Added(found) }),
        });
        // Nobody listens any more: nothing to tell.
        let _ = self.changes.blocking_send(changes.collect());
    }
}

fn warn_absent(dir: &Path, error: &io::Error) {
    tracing::warn!(
        folder = %dir.display(),
        "cannot list the plugins folder: {error}; hint: create it, or name another with `--plugins`"
    );
}
