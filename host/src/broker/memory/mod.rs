//! The embedded broker: RabbitMQ's semantics in this process and nowhere else, for development,
//! demonstrations and fast tests. What it does not know of RabbitMQ (priorities, streams, lazy
//! queues, policies, permissions) it takes as an argument and ignores.
//! Read on in [`core`], then [`consume`].

mod consume;
mod core;
mod declare;
mod exchange;
mod look;
mod message;
mod queue;
mod settings;
#[cfg(test)]
mod tests;

use self::core::Core;
use super::{
    Access, Broker, Consume, ConsumerTimeout, Depth, Features, Health, Item, LinkHealth, Mode,
    PublishError, Refused, Seen, Server, Subscription, Topology, TopologyError,
};
use crate::flow::Publication;
use futures_util::future::BoxFuture;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A broker in memory. Clones share it; it ends with the last of them and of its subscriptions.
#[derive(Debug, Clone)]
pub struct MemoryBroker {
    shared: Arc<Shared>,
}

impl MemoryBroker {
    /// A broker without queues.
    pub fn new() -> Arc<Self> {
        let shared = Shared {
            core: Mutex::new(Core::new(Instant::now())),
            next_id: AtomicU64::new(1),
            connection: Mutex::new(Connection::new()),
            alarm_moved: Arc::new(Notify::new()),
            timer: OnceLock::new(),
        };
        Arc::new(Self { shared: Arc::new(shared) })
    }

    /// Deletes the queue `name` with all that is in it, under its consumers, which are told. False
    /// if there is none.
    pub fn delete_queue(&self, name: &str) -> bool {
        self.shared.change(|core| core.delete_queue(name))
    }

    /// How many messages of the queue `name` are ready, and how many are delivered and unsettled.
    pub fn queue_depth(&self, name: &str) -> Option<(usize, usize)> {
        self.shared.change(|core| core.queues.get(name).map(queue::Queue::depth))
    }
}

impl Broker for MemoryBroker {
    fn subscribe(&self, consume: Consume) -> Subscription {
        self.shared.start_timer();
        consume::start(self.shared.clone(), consume)
    }

    fn publish(&self, publication: Publication) -> BoxFuture<'_, Result<(), PublishError>> {
        self.shared.start_timer();
        Box::pin(async { self.shared.change(|core| core.publish(publication)) })
    }

    fn declare<'a>(
        &'a self,
        topology: &'a Topology,
        mode: Mode,
    ) -> BoxFuture<'a, Result<(), TopologyError>> {
        self.shared.start_timer();
        Box::pin(async move { self.shared.change(|core| core.declare(topology, mode)) })
    }

    fn depth<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<Option<Depth>, TopologyError>> {
        Box::pin(async { Ok(self.shared.change(|core| core.holds(queue))) })
    }

    fn sweep<'a>(
        &'a self,
        names: &'a [String],
    ) -> BoxFuture<'a, Result<Vec<(String, Depth)>, TopologyError>> {
        let there = |core: &mut Core| {
            names.iter().filter_map(|name| Some((name.clone(), core.holds(name)?))).collect()
        };
        Box::pin(async move { Ok(self.shared.change(there)) })
    }

    fn look<'a>(&'a self, wanted: &'a Item) -> BoxFuture<'a, Result<Seen, TopologyError>> {
        Box::pin(async move { Ok(self.shared.change(|core| core.look(wanted))) })
    }

    /// It has no users: everything is permitted.
    fn may<'a>(
        &'a self,
        _access: &'a Access,
    ) -> BoxFuture<'a, Result<Option<Refused>, TopologyError>> {
        Box::pin(async { Ok(None) })
    }

    fn health(&self) -> Health {
        let link = |role| LinkHealth { role, up: true, blocked: None, reason: None };
        Health { links: vec![link("consume"), link("publish")] }
    }

    fn server(&self) -> Option<Server> {
        let features = Features {
            consumer_timeout: ConsumerTimeout::None,
            nack_counts: false,
            ..Features::of(None)
        };
        Some(Server { features, ..Server::new("wabbit", env!("CARGO_PKG_VERSION"), None) })
    }

    /// Ends what goes with a connection: consumers, exclusive queues, and the right to settle what
    /// is out, which is put back. The broker itself lives on and can be used again.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let closed = std::mem::replace(&mut *lock(&self.shared.connection), Connection::new());
            let Connection { session, mut ended } = closed;
            session.closing.cancel();
            drop(session);
            // Every task of the session holds a sender.
            while ended.recv().await.is_some() {}
            self.shared.change(Core::delete_exclusive);
        })
    }
}

/// What all clones and tasks share.
#[derive(Debug)]
struct Shared {
    core: Mutex<Core>,
    next_id: AtomicU64,
    connection: Mutex<Connection>,
    /// Wakes the timer to look at [`Core::alarm`] again.
    alarm_moved: Arc<Notify>,
    timer: OnceLock<AbortHandle>,
}

impl Shared {
    /// Changes the state and brings it to rest.
    fn change<T>(&self, change: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = lock(&self.core);
        core.now = Instant::now();
        let result = change(&mut core);
        core.run();
        if core.alarm_moved() {
            self.alarm_moved.notify_one();
        }
        result
    }

    fn fresh_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn session(&self) -> Session {
        lock(&self.connection).session.clone()
    }

    /// Here and not in `new`, which may be called where no runtime is.
    fn start_timer(self: &Arc<Self>) {
        self.timer.get_or_init(|| {
            let timer = keep_time(Arc::downgrade(self), self.alarm_moved.clone());
            tokio::spawn(timer).abort_handle()
        });
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.get() {
            timer.abort();
        }
    }
}

async fn keep_time(shared: Weak<Shared>, alarm_moved: Arc<Notify>) {
    loop {
        let alarm = match shared.upgrade() {
            Some(shared) => lock(&shared.core).alarm(),
            None => return,
        };
        let wait = async {
            match alarm {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = alarm_moved.notified() => {}
            () = wait => {
                if let Some(shared) = shared.upgrade() {
                    shared.change(Core::tick);
                }
            }
        }
    }
}

/// What lasts from one [`Broker::close`] to the next.
#[derive(Debug)]
struct Connection {
    session: Session,
    /// Ends when no task holds the session.
    ended: mpsc::Receiver<Infallible>,
}

/// A task's part of a [`Connection`].
#[derive(Debug, Clone)]
struct Session {
    closing: CancellationToken,
    #[expect(dead_code, reason = "held to be dropped with the task")]
    running: mpsc::Sender<Infallible>,
}

impl Connection {
    fn new() -> Self {
        let (running, ended) = mpsc::channel(1);
        Self { session: Session { closing: CancellationToken::new(), running }, ended }
    }
}

/// A panic elsewhere leaves the state as usable as any other moment does.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
