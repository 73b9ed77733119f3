//! Wakes the watcher up: the operating system's events about the folder, made into "look again",
//! and the names of the files that are open for writing. Next: [`crate::plugin`], whose catalogue
//! loads what was found.

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use std::{
    collections::HashSet,
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// What the watching thread is told by others.
#[derive(Debug, Default)]
pub(super) struct Signals {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    look: bool,
    rearm: bool,
    stop: bool,
    open: HashSet<OsString>,
}

impl Signals {
    /// Ends the watching thread.
    pub fn stop(&self) {
        self.set(|state| state.stop = true);
    }

    /// Waits for a reason to look again, or until then. False: stop.
    pub fn wait(&self, until: Instant) -> bool {
        let mut state = self.lock();
        loop {
            if state.stop || std::mem::take(&mut state.look) {
                return !state.stop;
            }
            let Some(left) = until.checked_duration_since(Instant::now()).filter(|t| !t.is_zero())
            else {
                return true;
            };
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The names of files that were written to and not closed since.
    pub fn open(&self) -> HashSet<OsString> {
        self.lock().open.clone()
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: notify::Result<Event>, dir: &Path) {
        let Ok(event) = event else {
            return self.set(|state| (state.look, state.rearm) = (true, true));
        };
        let file = event.paths.first().and_then(|path| path.file_name()).map(OsString::from);
        let is_dir = event.paths.iter().any(|path| path == dir);
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => self.set(|state| {
                state.look = true;
                file.map(|file| state.open.remove(&file));
            }),
            // Reading the files causes these.
            EventKind::Access(_) => {}
            // Only inotify tells when the file is closed again.
            EventKind::Modify(ModifyKind::Data(_)) if cfg!(target_os = "linux") => {
                self.set(|state| {
                    state.look = true;
                    state.open.extend(file.filter(is_ours));
                });
            }
            EventKind::Modify(ModifyKind::Name(_)) | EventKind::Remove(_) => self.set(|state| {
                (state.look, state.rearm) = (true, state.rearm || is_dir);
                // Another file may bear the name now.
                file.map(|file| state.open.remove(&file));
            }),
            _ => self.set(|state| state.look = true),
        }
    }
}

fn is_ours(file: &OsString) -> bool {
    super::listing::classify(&file.to_string_lossy()).is_some()
}

/// The watch on a folder, put up again when the folder is another than before.
pub(super) struct Alarm {
    dir: PathBuf,
    signals: Arc<Signals>,
    armed: Option<Armed>,
}

struct Armed {
    folder: (u64, u64),
    /// None if the operating system refused.
    watcher: Option<RecommendedWatcher>,
}

impl Alarm {
    /// Not armed yet; `dir` is absolute.
    pub fn new(dir: PathBuf, signals: Arc<Signals>) -> Self {
        Self { dir, signals, armed: None }
    }

    /// Sees to it that the folder, as it is now, is watched. False if it is not: poll.
    pub fn arm(&mut self) -> bool {
        let Ok(metadata) = fs::metadata(&self.dir) else {
            self.armed = None;
            return false;
        };
        let folder = (metadata.dev(), metadata.ino());
        // A new folder may have the inode of the one that was deleted, so the event counts too.
        let lost = std::mem::take(&mut self.signals.lock().rearm);
        if let Some(armed) = self.armed.as_ref().filter(|armed| armed.folder == folder && !lost) {
            return armed.watcher.is_some();
        }
        self.armed = None;
        self.signals.lock().open.clear();
        let watcher = match self.watch() {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(
                    folder = %self.dir.display(),
                    "cannot watch the plugins folder, looking at it twice a second instead: {error}"
                );
                None
            }
        };
        self.armed.insert(Armed { folder, watcher }).watcher.is_some()
    }

    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let (signals, dir) = (Arc::clone(&self.signals), self.dir.clone());
        let mut watcher = notify::recommended_watcher(move |event| signals.take(event, &dir))?;
        watcher.watch(&self.dir, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}
