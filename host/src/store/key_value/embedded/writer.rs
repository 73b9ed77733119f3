//! What writes an embedded store: one thread takes all units of work that wait, applies each whole or
//! not at all, and commits them together, so that many share the time that the disk takes.

use super::{DATA, EXPIRY, INBOX, Id, OUTBOX, StoreFile};
use crate::store::key_value::{Unit, changed, done_meanwhile};
use crate::store::{EventId, OWED, StoreError};
use redb::{Database, Durability, Error, ReadableTable, Table, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

/// Jobs of one transaction at most.
const BATCH_MAX: usize = 256;

/// Records that are forgotten in one transaction at most.
const EXPIRED_MAX: usize = 1000;

/// What came of a job; true: there is more of it to be done.
pub type Answer = Result<bool, StoreError>;

/// The record of an event.
pub struct Kept {
    pub event: EventId,
    pub outbox: Option<String>,
    /// In seconds since 1970.
    pub expires: u64,
}

/// What is to be written.
pub enum Job {
    /// A unit of work and the record of its event.
    Commit { unit: Unit, kept: Option<Kept>, reply: oneshot::Sender<Answer> },
    /// What was to be published for an event is published.
    Published { event: EventId, reply: oneshot::Sender<Answer> },
    /// Some of what expired before `now` is forgotten.
    Expire { now: u64, reply: oneshot::Sender<Answer> },
}

impl Job {
    fn answer(self, answer: Answer) {
        let (Self::Commit { reply, .. }
        | Self::Published { reply, .. }
        | Self::Expire { reply, .. }) = self;
        // Whoever asked may have gone.
        let _ = reply.send(answer);
    }
}

/// Does all `jobs` until the store is dropped. Blocks.
pub fn run(file: &StoreFile, mut jobs: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while jobs.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        match file.run(|database| write(database, &batch)) {
            Ok(answers) => {
                batch.drain(..).zip(answers).for_each(|(job, answer)| job.answer(answer));
            }
            Err(error) => batch.drain(..).for_each(|job| job.answer(Err(error.clone()))),
        }
    }
}

fn write(database: &Database, jobs: &[Job]) -> Result<Vec<Answer>, Error> {
    let mut transaction = database.begin_write()?;
    // Housekeeping reaches the disk with the next unit; lost, it is done again.
    if !jobs.iter().any(|job| matches!(job, Job::Commit { .. })) {
        transaction.set_durability(Durability::None)?;
    }
    let mut tables = Tables::open(&transaction)?;
    let answers = jobs.iter().map(|job| tables.apply(job)).collect::<Result<_, Error>>()?;
    drop(tables);
    transaction.commit()?;
    Ok(answers)
}

struct Tables<'t> {
    data: Table<'t, &'static str, &'static [u8]>,
    inbox: Table<'t, Id, u64>,
    outbox: Table<'t, Id, &'static [u8]>,
    expiry: Table<'t, (u64, Id), ()>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, Error> {
        Ok(Self {
            data: transaction.open_table(DATA)?,
            inbox: transaction.open_table(INBOX)?,
            outbox: transaction.open_table(OUTBOX)?,
            expiry: transaction.open_table(EXPIRY)?,
        })
    }

    fn apply(&mut self, job: &Job) -> Result<Answer, Error> {
        match job {
            Job::Commit { unit, kept, .. } => self.commit(unit, kept.as_ref()),
            Job::Published { event, .. } => {
                self.outbox.remove(&event.0)?;
                Ok(Ok(false))
            }
            Job::Expire { now, .. } => self.expire(*now),
        }
    }

    fn commit(&mut self, unit: &Unit, kept: Option<&Kept>) -> Result<Answer, Error> {
        if let Some(kept) = kept
            && self.inbox.get(&kept.event.0)?.is_some()
        {
            return Ok(Err(done_meanwhile()));
        }
        for (key, value) in unit.read() {
            if self.data.get(key)?.as_ref().map(|now| now.value()) != value {
                return Ok(Err(changed(key)));
            }
        }
        for (key, value) in unit.written() {
            match value {
                Some(value) => drop(self.data.insert(key, value)?),
                None => drop(self.data.remove(key)?),
            }
        }
        if let Some(Kept { event: EventId(id), outbox, expires }) = kept {
            self.inbox.insert(id, expires)?;
            self.expiry.insert((*expires, id), ())?;
            if let Some(json) = outbox {
                self.outbox.insert(id, json.as_bytes())?;
            }
        }
        Ok(Ok(false))
    }

    fn expire(&mut self, now: u64) -> Result<Answer, Error> {
        let mut expired = Vec::new();
        for entry in self.expiry.range(..(now, &[0; 32]))?.take(EXPIRED_MAX) {
            let (key, _) = entry?;
            let (expires, id) = key.value();
            expired.push((expires, *id));
        }
        for (expires, id) in &expired {
            self.expiry.remove((*expires, id))?;
            // Later than its record says: it was put off already.
            let first = self.inbox.get(id)?.is_some_and(|told| told.value() >= *expires);
            if first && self.outbox.get(id)?.is_some() {
                self.expiry.insert((expires.saturating_add(OWED.as_secs()), id), ())?;
                continue;
            }
            self.inbox.remove(id)?;
            self.outbox.remove(id)?;
        }
        Ok(Ok(expired.len() == EXPIRED_MAX))
    }
}
