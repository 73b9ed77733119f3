//! How much is left to do: what a queue holds, and how far one consumer of ours has come with it.
//! Next in the flow: [`super::amqp`] and [`super::memory`], which count.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

/// What a queue holds for everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages that nobody has been given.
    pub ready: u64,
    /// Consumers, whoever's they are.
    pub consumers: u32,
}

/// A queue and one of its consumers, ours, at one moment: the queue had given out nothing more than
/// `delivered` counts when `ready` was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Messages that are ready in the queue.
    pub ready: u64,
    /// The queue's consumers, ours included.
    pub consumers: u32,
    /// Our deliveries of which the broker does not know yet what became of them.
    pub unsettled: u64,
    /// How many deliveries the subscription has had so far, through all losses of the connection.
    pub delivered: u64,
}

/// Where a census goes.
pub(super) type Answer = oneshot::Sender<Census>;

/// Asks a running consumer for its census.
#[derive(Debug, Clone, Default)]
pub struct Counter {
    asks: Arc<Mutex<Option<UnboundedSender<Answer>>>>,
    tail: Weak<Tail>,
}

/// Kept by whoever has to do with a subscription's deliveries, until the broker knows what became of
/// the last one.
#[derive(Debug)]
pub(super) struct Tail;

impl Counter {
    /// For a subscription, with what its tasks keep.
    pub(super) fn new() -> (Self, Arc<Tail>) {
        let tail = Arc::new(Tail);
        (Self { asks: Arc::default(), tail: Arc::downgrade(&tail) }, tail)
    }

    /// Whether the subscription has ended and nothing of it is left: what it held is settled, and the
    /// broker knows that.
    pub fn is_over(&self) -> bool {
        self.tail.strong_count() == 0
    }

    /// The census; `None`, at once, if there is no live consumer or it is lost meanwhile.
    pub async fn census(&self) -> Option<Census> {
        let (answer, census) = oneshot::channel();
        self.set(|asks| asks.as_ref()?.send(answer).ok())?;
        census.await.ok()
    }

    /// Whether this one asks the same subscription.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.asks, &other.asks)
    }

    /// There is a live consumer from now on, until what this returns is dropped.
    pub(super) fn live(&self) -> Asked {
        let (asks, asked) = mpsc::unbounded_channel();
        self.set(|to| *to = Some(asks));
        Asked { counter: self.clone(), asked }
    }

    fn set<T>(&self, change: impl FnOnce(&mut Option<UnboundedSender<Answer>>) -> T) -> T {
        change(&mut self.asks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a live consumer is asked.
#[derive(Debug)]
pub(super) struct Asked {
    counter: Counter,
    asked: UnboundedReceiver<Answer>,
}

impl Asked {
    /// The next one who asks.
    pub(super) async fn next(&mut self) -> Answer {
        match self.asked.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.counter.set(|asks| *asks = None);
    }
}
