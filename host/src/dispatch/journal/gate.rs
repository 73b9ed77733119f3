//! Who is in a guest: many at once, or one alone. The many pay two atomic additions; the rest is
//! for when somebody must be alone. Next: `mod`, which decides who that is.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, oneshot};
use tokio::time::Instant;

/// In the state, beside the number of those inside: somebody is alone, or waits to be.
const CLOSED: u64 = 1 << 63;

/// Lets many in, or one alone.
pub struct Gate {
    state: AtomicU64,
    /// It closes and opens under this lock.
    door: Mutex<Door>,
    /// The last one inside has left a closed gate.
    emptied: Notify,
    /// Who may close it.
    turn: Semaphore,
}

struct Door {
    /// Those who came while it was closed.
    waiting: Vec<oneshot::Sender<()>>,
    closed: Instant,
    /// It stays open until then: for as long as it was closed, so that many who are alone one after
    /// the other leave the rest half of the time.
    open_until: Instant,
}

/// A place inside; dropping it gives it up.
#[must_use = "the place is given up when this is dropped"]
pub struct Pass<'a> {
    gate: &'a Gate,
    alone: bool,
    turn: Option<SemaphorePermit<'a>>,
}

impl Gate {
    /// An open one with nobody inside.
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            state: AtomicU64::new(0),
            door: Mutex::new(Door { waiting: Vec::new(), closed: now, open_until: now }),
            emptied: Notify::new(),
            turn: Semaphore::new(1),
        }
    }

    /// Goes in beside others, at once unless somebody is alone.
    pub async fn enter(&self) -> Pass<'_> {
        if self.state.fetch_add(1, SeqCst) & CLOSED == 0 {
            return Pass { gate: self, alone: false, turn: None };
        }
        self.leave();
        let ticket = {
            let mut door = self.door();
            if self.state.load(SeqCst) & CLOSED == 0 {
                self.state.fetch_add(1, SeqCst);
                None
            } else {
                let (admit, admitted) = oneshot::channel();
                door.waiting.push(admit);
                Some(Ticket { gate: self, admitted })
            }
        };
        if let Some(mut ticket) = ticket {
            // Whoever opens the gate counts in all who wait, and only then drops their senders.
            let _ = (&mut ticket.admitted).await;
        }
        Pass { gate: self, alone: false, turn: None }
    }

    /// Goes in alone, or beside those who have not left after `patience`. One after the other.
    pub async fn enter_alone(&self, patience: Duration) -> Pass<'_> {
        // Never closed.
        let turn = self.turn.acquire().await.ok();
        let open_until = self.door().open_until;
        if open_until > Instant::now() {
            tokio::time::sleep_until(open_until).await;
        }
        self.close();
        let mut pass = Pass { gate: self, alone: true, turn };
        let empty = async {
            while self.state.load(SeqCst) != CLOSED {
                self.emptied.notified().await;
            }
        };
        if tokio::time::timeout(patience, empty).await.is_err() {
            pass.join();
        }
        pass
    }

    fn close(&self) {
        let mut door = self.door();
        door.closed = Instant::now();
        self.state.fetch_or(CLOSED, SeqCst);
    }

    /// Opens to all who wait, and counts in `more`.
    fn open(&self, more: u64) {
        let mut door = self.door();
        door.open_until = Instant::now() + door.closed.elapsed();
        let admitted = std::mem::take(&mut door.waiting);
        self.state.fetch_add(admitted.len() as u64 + more, SeqCst);
        self.state.fetch_and(!CLOSED, SeqCst);
        drop(door);
        for admit in admitted {
            if admit.send(()).is_err() {
                self.leave();
            }
        }
    }

    fn leave(&self) {
        if self.state.fetch_sub(1, SeqCst) == CLOSED | 1 {
            self.emptied.notify_one();
        }
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits outside; whoever was let in and did not come leaves again.
struct Ticket<'a> {
    gate: &'a Gate,
    admitted: oneshot::Receiver<()>,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.admitted.close();
        if self.admitted.try_recv().is_ok() {
            self.gate.leave();
        }
    }
}

impl Pass<'_> {
    /// Whether nobody else is inside.
    pub fn is_alone(&self) -> bool {
        self.alone
    }

    /// Lets others in beside it; who wants to be alone waits until [`Self::yield_turn`].
    pub fn join(&mut self) {
        if std::mem::take(&mut self.alone) {
            self.gate.open(1);
        }
    }

    /// Lets the next one in who wants to be alone, once this one is not.
    pub fn yield_turn(&mut self) {
        self.turn = None;
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        match self.alone {
            true => self.gate.open(0),
            false => self.gate.leave(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn nobody_goes_in_beside_one_who_is_alone() {
        let gate = Gate::new();
        let first = gate.enter().await;
        let second = gate.enter().await;
        let mut alone = Box::pin(gate.enter_alone(LONG));
        assert!((&mut alone).now_or_never().is_none(), "others are inside");
        let mut third = Box::pin(gate.enter());
        assert!((&mut third).now_or_never().is_none(), "somebody waits to be alone");
        drop((first, second));
        let alone = alone.await;
        assert!(alone.is_alone());
        assert!((&mut third).now_or_never().is_none());
        drop(alone);
        assert!(!third.await.is_alone());
    }

    #[tokio::test]
    async fn patience_ends() {
        let gate = Gate::new();
        let first = gate.enter().await;
        let beside = gate.enter_alone(Duration::from_millis(1)).await;
        assert!(!beside.is_alone());
        drop(gate.enter().await);
        drop((first, beside));
        assert!(gate.enter_alone(LONG).await.is_alone());
    }

    #[tokio::test]
    async fn those_who_want_to_be_alone_take_turns() {
        let gate = Gate::new();
        let mut first = gate.enter_alone(LONG).await;
        let mut second = Box::pin(gate.enter_alone(LONG));
        assert!((&mut second).now_or_never().is_none());
        first.join();
        assert!((&mut second).now_or_never().is_none(), "it is still its turn");
        drop(gate.enter().await);
        first.yield_turn();
        assert!((&mut second).now_or_never().is_none(), "the first is inside");
        drop(first);
        assert!(second.await.is_alone());
    }

    #[tokio::test]
    async fn it_stays_open_for_as_long_as_it_was_closed() {
        let gate = Gate::new();
        let alone = gate.enter_alone(LONG).await;
        let closed = Instant::now();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (closed, opened) = (closed.elapsed(), Instant::now());
        drop(alone);
        let again = gate.enter_alone(LONG).await;
        assert!(opened.elapsed() >= closed, "{:?}, {closed:?}", opened.elapsed());
        assert!(again.is_alone());
    }

    #[tokio::test]
    async fn whoever_gives_up_keeps_nobody_waiting() {
        let gate = Gate::new();
        let first = gate.enter().await;
        let mut alone = Box::pin(gate.enter_alone(LONG));
        assert!((&mut alone).now_or_never().is_none());
        drop(alone);
        drop(gate.enter().await);
        drop(first);
        let alone = gate.enter_alone(LONG).await;
        let (mut here, mut gone) = (Box::pin(gate.enter()), Box::pin(gate.enter()));
        assert!((&mut here).now_or_never().is_none());
        assert!((&mut gone).now_or_never().is_none());
        drop(alone);
        // Let in, and gone before it noticed.
        drop(gone);
        drop(here.await);
        assert_eq!(gate.state.load(SeqCst), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn many_in_any_order() {
        let gate = Arc::new(Gate::new());
        let inside = Arc::new(AtomicUsize::new(0));
        let tasks = (0..16).map(|number| {
            let (gate, inside) = (gate.clone(), inside.clone());
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(number);
                for _ in 0..500 {
                    let give_up = Duration::from_micros(random.u64(1..2000));
                    let alone = random.u8(..10) == 0;
                    let entered = async {
                        let mut pass = match alone {
                            true => gate.enter_alone(LONG).await,
                            false => gate.enter().await,
                        };
                        let before = inside.fetch_add(1, SeqCst);
                        assert!(before == 0 || !pass.is_alone(), "{before} beside one alone");
                        tokio::task::yield_now().await;
                        if pass.is_alone() {
                            assert_eq!(inside.load(SeqCst), 1);
                        }
                        inside.fetch_sub(1, SeqCst);
                        pass.join();
                        tokio::task::yield_now().await;
                    };
                    match random.bool() {
                        true => entered.await,
                        // Given up only while it waits: what is inside leaves as it should.
                        false => {
                            let pass = tokio::time::timeout(give_up, gate.enter()).await;
                            drop(pass);
                        }
                    }
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(gate.state.load(SeqCst), 0);
        assert!(gate.enter_alone(LONG).await.is_alone());
    }
}
