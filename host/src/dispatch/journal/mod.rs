//! A journal of what is being handled, so that an event that ends the host ends itself, and takes
//! nothing along that only happened to be there. What was being handled when a host ended is
//! *suspect*: when it comes again, it is handled alone for a moment, so that the next end has one
//! cause. Begin with `book`, which has the rules; `pages` is the file, `gate` who is alone.

mod book;
mod gate;
mod identity;
mod pages;

use crate::flow::Event;
use crate::policy::RETURNS_ALONE;
use crate::telemetry::report;
use book::{Book, InFlight, Known, Spent};
use gate::{Gate, Pass};
use identity::Identity;
use pages::Pages;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a suspect is alone at most: others wait for as long.
const ALONE_MAX: Duration = Duration::from_secs(1);

/// How long a suspect waits at most for the others to end, while no more may begin.
const PATIENCE: Duration = Duration::from_secs(1);

/// For how long suspects are handled alone, from the first one on: then those of which no more is
/// known than that they were there are handled beside others. Many slow ones would otherwise keep
/// all others waiting half of the time, for minutes.
const TRIAL: Duration = Duration::from_secs(20);

/// What this host is handling, and what is known from those before it.
pub struct Journal {
    /// `None`: nothing outlives this host.
    pages: Option<Pages>,
    book: Mutex<Book>,
    /// How many events the book has, to be read without its lock.
    records: AtomicUsize,
    gate: Gate,
    /// When the first suspect came, and see [`TRIAL`].
    began: OnceLock<Instant>,
    trial: Duration,
}

impl Journal {
    /// A journal that ends with its host.
    pub fn in_memory() -> Self {
        Self::new(None, Book::new())
    }

    /// A journal in `dir`, which is made private to this user. It takes over what hosts of the same
    /// `scope` left there when they were ended; `scope` names what they consume.
    ///
    /// # Errors
    /// The folder can't be used.
    pub fn open(dir: &Path, scope: &str) -> io::Result<Self> {
        let (pages, left) = Pages::open(dir, scope)?;
        let (mut book, now) = (Book::new(), now());
        for left in &left {
            book.merge(left.records.iter().copied());
        }
        for left in &left {
            book.ended(&left.in_flight, now);
            let events = left.in_flight.len();
            if events > 0 {
                report::HostWasEnded { events }.emit();
            }
        }
        book.expire(now);
        let journal = Self::new(Some(pages), book);
        journal.keep(&mut journal.book());
        left.into_iter().for_each(pages::Left::remove);
        Ok(journal)
    }

    fn new(pages: Option<Pages>, book: Book) -> Self {
        Self {
            pages,
            book: Mutex::new(book),
            records: AtomicUsize::new(0),
            gate: Gate::new(),
            began: OnceLock::new(),
            trial: TRIAL,
        }
    }

    /// Waits until `event`, of `attempts` in all, may be handled, and notes that it is: beside
    /// others, or alone if a host ended while it was handled, or may have by what the broker counted.
    ///
    /// # Errors
    /// It has ended too many hosts to be handled again.
    pub async fn enter(&self, event: &Event, attempts: u32) -> Result<Entered<'_>, Spent> {
        let Some(pages) = &self.pages else { return Ok(Entered::default()) };
        let identity = Identity::of(event);
        let mut known = self.known(identity);
        if let Err(spent) = known.judge(event.attempt, attempts) {
            if event.redelivered || event.attempt > 1 {
                return Err(spent);
            }
            // Somebody has published the dead letter again: it has all its attempts.
            self.settled(event);
            known = Known::default();
        }
        let pass = if known.is_suspect() || event.returned >= RETURNS_ALONE {
            self.enter_alone(event, known).await
        } else {
            self.gate.enter().await
        };
        let slot = pages.enter(InFlight { identity, alone: pass.is_alone() });
        let slot = slot.map(|slot| (pages, slot));
        Ok(Entered { slot, pass: Some(pass), apart: known.is_apart() })
    }

    async fn enter_alone(&self, event: &Event, known: Known) -> Pass<'_> {
        let alone = self.gate.enter_alone(PATIENCE);
        let since = self.began.get_or_init(Instant::now).elapsed();
        let mut pass = match known.waits(self.trial.saturating_sub(since)) {
            None => alone.await,
            Some(Duration::ZERO) => self.gate.enter().await,
            Some(most) => match tokio::time::timeout(most, alone).await {
                Ok(pass) => pass,
                Err(_) => self.gate.enter().await,
            },
        };
        let alone = pass.is_alone();
        if !alone && !known.is_apart() {
            pass.yield_turn();
        }
        let Known { crashes, suspicions, .. } = known;
        report::SuspectHandled {
            queue: &event.queue,
            message_id: event.properties.message_id.as_deref().unwrap_or_default(),
            crashes,
            suspicions,
            returned: event.returned,
            alone,
        }
        .emit();
        pass
    }

    /// `event` is settled, and nothing need be known of it.
    pub fn settled(&self, event: &Event) {
        if self.records.load(Ordering::Relaxed) > 0 {
            self.change(|book, _| book.forget(Identity::of(event)));
        }
    }

    /// `event` is settled after it was refused here: if its ack is lost, it is refused again.
    pub fn retired(&self, event: &Event) {
        if self.records.load(Ordering::Relaxed) > 0 {
            self.change(|book, now| book.retire(Identity::of(event), now));
        }
    }

    /// `event` will be tried again in its place, as `attempt`.
    pub fn note_attempt(&self, event: &Event, attempt: u32) {
        self.change(|book, now| book.note(Identity::of(event), attempt, now));
    }

    /// The attempt that `event` has come to, wherever that was noted.
    pub fn attempt(&self, event: &Event) -> u32 {
        if !event.redelivered || self.records.load(Ordering::Relaxed) == 0 {
            return event.attempt;
        }
        event.attempt.max(self.known(Identity::of(event)).attempt)
    }

    /// The host ends as it should, nothing is being handled any more: leaves nothing behind but
    /// what is known of events that will come again.
    pub fn close(&self) {
        self.change(Book::close);
        if let Some(pages) = self.pages.as_ref().filter(|_| self.book().len() == 0) {
            pages.remove();
        }
    }

    fn known(&self, identity: Identity) -> Known {
        match self.records.load(Ordering::Relaxed) {
            0 => Known::default(),
            _ => self.change(|book, now| {
                book.sweep(now);
                book.known(identity, now)
            }),
        }
    }

    fn change<T>(&self, how: impl FnOnce(&mut Book, u64) -> T) -> T {
        let mut book = self.book();
        let done = how(&mut book, now());
        self.keep(&mut book);
        done
    }

    /// Brings what is kept in line with `book`.
    fn keep(&self, book: &mut Book) {
        for (place, record) in book.changes() {
            if let Some(pages) = &self.pages {
                pages.keep(place, record);
            }
        }
        self.records.store(book.len(), Ordering::Relaxed);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An event that may be handled now. Dropping it notes that it is not being handled any more.
#[must_use = "the event counts as being handled until this is dropped"]
#[derive(Default)]
pub struct Entered<'a> {
    slot: Option<(&'a Pages, usize)>,
    pass: Option<Pass<'a>>,
    /// It shares the host with no other suspect.
    apart: bool,
}

impl Entered<'_> {
    /// Handles it by `call`; a suspect is alone for as long as [`ALONE_MAX`].
    pub async fn run<T>(mut self, call: impl Future<Output = T>) -> T {
        let mut call = pin!(call);
        if self.pass.as_ref().is_some_and(Pass::is_alone) {
            if let Ok(done) = tokio::time::timeout(ALONE_MAX, &mut call).await {
                return done;
            }
            self.join();
        }
        call.await
    }

    fn join(&mut self) {
        if let Some((pages, slot)) = self.slot {
            pages.join(slot);
        }
        if let Some(pass) = &mut self.pass {
            pass.join();
            if !self.apart {
                pass.yield_turn();
            }
        }
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        if let Some((pages, slot)) = self.slot {
            pages.leave(slot);
        }
    }
}

/// Milliseconds since the Unix epoch.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
