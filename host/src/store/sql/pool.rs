//! The connections to one database. One that is given back has no transaction open and nothing
//! running; any other is closed. So a pool never hands out what an abandoned event left behind.
//! Next: `session`, which holds a connection for an event.

use super::Settings;
use super::backend::{Backend, Problem};
use super::errors::{Place, judge_own};
use crate::store::StoreError;
use sqlx::Connection as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// How long a connection that nobody used counts as alive without being asked.
const TRUST: Duration = Duration::from_secs(1);

/// How long a connection is kept that nobody uses.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// See the module.
pub(super) struct Pool<B: Backend> {
    pub(super) backend: B,
    pub(super) place: Place,
    pub(super) settings: Settings,
    permits: Arc<Semaphore>,
    writers: Arc<Semaphore>,
    idle: Mutex<Vec<Idle<B>>>,
}

struct Idle<B: Backend> {
    connection: B::Connection,
    key: B::Key,
    since: Instant,
}

/// A connection that is in use. Dropped, it is closed.
pub(super) struct Held<B: Backend> {
    pub(super) connection: B::Connection,
    pub(super) key: B::Key,
    /// It is not to be used again, though nothing is open on it.
    pub(super) worn: bool,
    /// Given up after the connection was put back or closed: it comes last.
    permits: Vec<OwnedSemaphorePermit>,
}

impl<B: Backend> Pool<B> {
    /// An empty one; nothing is connected yet.
    pub(super) fn new(place: Place, backend: B, settings: Settings) -> Self {
        let count = |count: usize| Arc::new(Semaphore::new(count.clamp(1, Semaphore::MAX_PERMITS)));
        let connections = usize::try_from(settings.connections).unwrap_or(usize::MAX);
        let (permits, writers) = (count(connections), count(B::WRITERS.unwrap_or(connections)));
        Self { backend, place, settings, permits, writers, idle: Mutex::default() }
    }

    /// A connection that may write.
    pub(super) async fn take_to_write(&self) -> Result<Held<B>, StoreError> {
        let writer = self.permit(&self.writers).await?;
        let mut held = self.take().await?;
        held.permits.push(writer);
        Ok(held)
    }

    /// A connection: one that was used before, or a new one.
    pub(super) async fn take(&self) -> Result<Held<B>, StoreError> {
        let permits = vec![self.permit(&self.permits).await?];
        while let Some(Idle { mut connection, key, since }) = self.pop() {
            let alive = since.elapsed() < TRUST || {
                match timeout(self.settings.connect, connection.ping()).await {
                    Ok(answered) => answered.is_ok(),
                    Err(_) => {
                        // The others will not answer either: no need to wait for each.
                        self.idle().clear();
                        false
                    }
                }
            };
            if alive {
                return Ok(Held { connection, key, worn: false, permits });
            }
        }
        let limit = self.settings.connect;
        match timeout(limit, self.backend.connect()).await {
            Ok(Ok((connection, key))) => Ok(Held { connection, key, worn: false, permits }),
            Ok(Err(error)) => {
                // Whatever the reason is not to be let in: it can be mended while the host runs.
                let why = match judge_own(B::DIALECT, &self.place, Problem::Sql(error)) {
                    StoreError::Failed(why) | StoreError::Conflict(why) => why,
                    unavailable => return Err(unavailable),
                };
                Err(StoreError::Unavailable(why))
            }
            Err(_) => {
                let limit = humantime::format_duration(limit);
                Err(self.place.unavailable(format!("no connection within {limit}")))
            }
        }
    }

    /// Takes a connection back that has nothing open.
    pub(super) fn put_back(&self, held: Held<B>) {
        let Held { connection, key, worn, permits } = held;
        if !worn {
            self.idle().push(Idle { connection, key, since: Instant::now() });
        }
        drop(permits);
    }

    /// Closes what nobody used for a while.
    pub(super) fn sweep(&self) {
        self.idle().retain(|idle| idle.since.elapsed() < IDLE_MAX);
    }

    fn pop(&self) -> Option<Idle<B>> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle<B>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn permit(&self, of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
        let limit = self.settings.wait;
        match timeout(limit, of.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // It is never closed.
            Ok(Err(closed)) => Err(self.place.unavailable(closed)),
            Err(_) => {
                let limit = humantime::format_duration(limit);
                let why = format!("all its connections were busy for {limit}");
                Err(self.place.unavailable(why))
            }
        }
    }
}
