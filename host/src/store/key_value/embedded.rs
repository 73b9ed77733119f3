//! A key-value store in a file, by redb. Reading runs on threads that may block; all writing is on
//! one thread of the store's own, `embedded/writer.rs`, which comes next.

mod writer;

use super::{KeyValue, PAGE, Page, Unit, done, too_large};
use crate::store::{EventId, Inbox, Recalled, Record, StoreError, file, outbox};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use redb::{Database, Error, ReadableDatabase, TableDefinition};
use std::io::ErrorKind;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use writer::{Answer, Job, Kept};

type Id = &'static [u8; 32];

/// What guests keep.
const DATA: TableDefinition<&str, &[u8]> = TableDefinition::new("data");
/// When the records of events expire, in seconds since 1970.
const INBOX: TableDefinition<Id, u64> = TableDefinition::new("wabbit_inbox");
/// What is still to be published for them, see [`outbox`].
const OUTBOX: TableDefinition<Id, &[u8]> = TableDefinition::new("wabbit_outbox");
/// The records, by when they expire.
const EXPIRY: TableDefinition<(u64, Id), ()> = TableDefinition::new("wabbit_expiry");

/// Memory for pages of one file.
const CACHE_BYTES: usize = 64 << 20;

/// Units of work that may wait for the writer; others wait for a place.
const WAITING_MAX: usize = 256;

/// See the module.
pub struct Embedded {
    file: Arc<StoreFile>,
    jobs: mpsc::Sender<Job>,
}

impl Embedded {
    /// The store in the file `path`, which is opened when it is first used, and made if it is not
    /// there. One that is in use by another process, can't be read or written, or is damaged, is
    /// not available until that is put right.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let file = Arc::new(StoreFile { path: path.into(), open: Mutex::new(None) });
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let own = file.clone();
        let thread = std::thread::Builder::new().name("store".to_owned());
        // If there can be none, each job says that its writer has ended.
        drop(thread.spawn(move || writer::run(&own, waiting)));
        Self { file, jobs }
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<Result<T, StoreError>, Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || file.run(work)).await;
        read.unwrap_or_else(|_| Err(self.file.unavailable("reading it ended before its end")))?
    }

    async fn write(&self, job: impl FnOnce(oneshot::Sender<Answer>) -> Job) -> Answer {
        let (reply, answer) = oneshot::channel();
        let gone = || self.file.unavailable("its writer has ended; restart the host");
        self.jobs.send(job(reply)).await.map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// What is open is closed in good order, so that it need not be looked through when it is opened again.
impl Drop for Embedded {
    fn drop(&mut self) {
        self.file.close();
    }
}

impl KeyValue for Embedded {
    fn get<'a>(
        &'a self,
        keys: &'a [String],
        room: usize,
    ) -> BoxFuture<'a, Result<Vec<Option<Vec<u8>>>, StoreError>> {
        let keys = keys.to_vec();
        self.read(move |database| {
            let data = database.begin_read()?.open_table(DATA)?;
            let (mut values, mut left) = (Vec::with_capacity(keys.len()), room);
            for key in &keys {
                let value = data.get(key.as_str())?;
                let bytes = value.as_ref().map_or(0, |value| value.value().len());
                let Some(rest) = left.checked_sub(bytes) else { return Ok(Err(too_large(room))) };
                left = rest;
                values.push(value.map(|value| value.value().to_vec()));
            }
            Ok(Ok(values))
        })
        .boxed()
    }

    fn keys<'a>(&'a self, cursor: Option<&'a str>) -> BoxFuture<'a, Result<Page, StoreError>> {
        let cursor = cursor.map(str::to_owned);
        self.read(move |database| {
            let data = database.begin_read()?.open_table(DATA)?;
            let from = cursor.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            let found = data.range::<&str>((from, Bound::Unbounded))?.take(PAGE);
            let keys = found.map(|entry| Ok(entry?.0.value().to_owned()));
            let keys: Vec<String> = keys.collect::<Result<_, Error>>()?;
            let next = keys.last().filter(|_| keys.len() == PAGE).cloned();
            Ok(Ok((keys, next)))
        })
        .boxed()
    }

    fn commit<'a>(
        &'a self,
        unit: &'a Unit,
        record: Option<Record<'a>>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        let kept = record.map(|record| Kept {
            event: record.event,
            outbox: outbox::write(record.publications),
            expires: seconds(record.expires),
        });
        let unit = unit.clone();
        self.write(|reply| Job::Commit { unit, kept, reply }).map(|done| done.map(|_| ())).boxed()
    }
}

impl Inbox for Embedded {
    fn recall(&self, event: EventId) -> BoxFuture<'_, Result<Recalled, StoreError>> {
        let file = format!("in `{}`", self.file.path.display());
        self.read(move |database| {
            let transaction = database.begin_read()?;
            if transaction.open_table(INBOX)?.get(&event.0)?.is_none() {
                return Ok(Ok(Recalled::New));
            }
            let left = transaction.open_table(OUTBOX)?.get(&event.0)?;
            Ok(done(&file, left.as_ref().map(|json| json.value())))
        })
        .boxed()
    }

    fn published(&self, event: EventId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.write(move |reply| Job::Published { event, reply })
            .map(|done| done.map(|_| ()))
            .boxed()
    }

    fn expire(&self, now: SystemTime) -> BoxFuture<'_, Result<(), StoreError>> {
        let now = seconds(now);
        async move {
            // In parts, so that what is to be committed meanwhile does not wait for all of it.
            while self.write(|reply| Job::Expire { now, reply }).await? {}
            Ok(())
        }
        .boxed()
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The file, open or not.
struct StoreFile {
    path: PathBuf,
    open: Mutex<Option<Arc<Database>>>,
}

impl StoreFile {
    /// Does `work`, in the file as it is now. Blocks.
    fn run<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, StoreError> {
        let work = || self.database().and_then(|database| work(&database));
        // On a damaged file redb may panic. What it then leaves behind is dropped.
        let done = catch_unwind(AssertUnwindSafe(work));
        let done = done.unwrap_or_else(|_| Err(Error::Corrupted("redb panicked".to_owned())));
        done.map_err(|error| {
            // After an error redb wants to be opened anew.
            self.close();
            self.unavailable(&explain(error))
        })
    }

    fn database(&self) -> Result<Arc<Database>, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = &*open {
            return Ok(database.clone());
        }
        let file = file::private_file(&self.path)?;
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_file(file)?;
        // Those who read expect every table.
        let transaction = database.begin_write()?;
        transaction.open_table(DATA)?;
        transaction.open_table(INBOX)?;
        transaction.open_table(OUTBOX)?;
        transaction.open_table(EXPIRY)?;
        transaction.commit()?;
        Ok(open.insert(Arc::new(database)).clone())
    }

    fn close(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn unavailable(&self, why: &str) -> StoreError {
        StoreError::Unavailable(format!("the store in `{}`: {why}", self.path.display()))
    }
}

/// What is wrong with a file, and what a person can do about it. All of that passes, or is put right
/// by a person, and is no event's fault.
fn explain(error: Error) -> String {
    match error {
        Error::DatabaseAlreadyOpen => {
            "it is in use by another process, and a file is for one host at a time".to_owned()
        }
        Error::Io(error) if error.kind() == ErrorKind::InvalidData => {
            format!(
                "it is another program's file, or damaged: {error}; name another file, or move it away"
            )
        }
        Error::Corrupted(what) => {
            format!(
                "it is damaged: {what}; restore it from a backup, or move it away to begin anew"
            )
        }
        error => error.to_string(),
    }
}
