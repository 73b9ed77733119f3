//! A subscription's life: declare, consume, and again when the queue is lost, until it is
//! cancelled; beside it a task for each consumer that carries verdicts to the queue.
//! Next: [`super`], which holds it all together.

use super::queue::Consumer;
use super::{Session, Shared};
use crate::broker::census::Tail;
use crate::broker::{Consume, Counter, State, Status, Subscription};
use crate::flow::{Delivery, Verdict};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a subscription waits before it tries again to consume.
const RETRY: Duration = Duration::from_secs(1);

/// Starts a subscription.
pub(super) fn start(shared: Arc<Shared>, consume: Consume) -> Subscription {
    // `0` is AMQP's word for no limit.
    let prefetch = if consume.prefetch == 0 { u16::MAX } else { consume.prefetch };
    let (to, deliveries) = mpsc::channel(prefetch.into());
    let (report, status) = watch::channel(Status::now(State::Starting));
    let (cancel, leaving) = (CancellationToken::new(), CancellationToken::new());
    let session = shared.session();
    let (counter, tail) = Counter::new();
    let life = Life {
        shared,
        session,
        consume,
        to,
        report,
        cancel: cancel.clone(),
        leaving: leaving.clone(),
        counter: counter.clone(),
        tail,
        delivered: Arc::default(),
    };
    tokio::spawn(life.live());
    Subscription { deliveries, status, counter, cancel, leaving }
}

struct Life {
    shared: Arc<Shared>,
    session: Session,
    consume: Consume,
    to: mpsc::Sender<Delivery>,
    report: watch::Sender<Status>,
    cancel: CancellationToken,
    leaving: CancellationToken,
    counter: Counter,
    tail: Arc<Tail>,
    delivered: Arc<AtomicU64>,
}

impl Life {
    async fn live(self) {
        let ended = async || {
            tokio::select! {
                () = self.cancel.cancelled() => {}
                () = self.session.closing.cancelled() => {}
            }
        };
        loop {
            let reason = match self.consume() {
                Ok(Live { queue, consumer, lost, settling }) => {
                    self.say(State::Live { queue: queue.clone() });
                    tokio::select! {
                        biased;
                        () = ended() => {
                            if self.leaving.is_cancelled() {
                                let _ = settling.await;
                            } else {
                                self.shared.change(|core| core.cancel(&queue, consumer));
                            }
                            break;
                        }
                        never = self.count(&queue, consumer) => match never {},
                        _ = lost => format!("queue `{queue}` was deleted"),
                    }
                }
                Err(reason) => reason,
            };
            self.say(State::Down { reason, disconnected: false });
            tokio::select! {
                () = ended() => break,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
        self.say(State::Ended);
    }

    /// Counts for those who ask. Never ends.
    async fn count(&self, queue: &str, consumer: u64) -> Infallible {
        let mut asked = self.counter.live();
        loop {
            let answer = asked.next().await;
            let census = self.shared.change(|core| core.queues.get(queue)?.census(consumer));
            if let Some(census) = census {
                // One who has gone away needs no answer.
                let _ = answer.send(census);
            }
        }
    }

    fn say(&self, state: State) {
        Status::tell(&self.report, state);
    }

    /// Declares and consumes.
    fn consume(&self) -> Result<Live, String> {
        let (alive, lost) = oneshot::channel();
        let (verdicts, settled) = mpsc::unbounded_channel();
        let id = self.shared.fresh_id();
        let queue = self.shared.change(|core| {
            let queue = core.prepare(&self.consume)?;
            let deliveries = self.to.clone();
            let prefetch = deliveries.max_capacity();
            let delivered = self.delivered.clone();
            let consumer =
                Consumer { id, prefetch, unacked: 0, delivered, deliveries, verdicts, alive };
            core.consume(&queue, consumer);
            Ok::<_, crate::broker::TopologyError>(queue)
        });
        let queue = queue.map_err(|error| error.told())?;
        let settling = Settling {
            shared: self.shared.clone(),
            session: self.session.clone(),
            queue: queue.clone(),
            consumer: id,
            leaving: self.leaving.clone(),
            _tail: self.tail.clone(),
        };
        let settling = tokio::spawn(settling.run(settled));
        Ok(Live { queue, consumer: id, lost, settling })
    }
}

/// A consumer that was begun.
struct Live {
    queue: String,
    consumer: u64,
    /// Ends when the consumer does.
    lost: oneshot::Receiver<Infallible>,
    settling: JoinHandle<()>,
}

/// Carries the verdicts on one consumer's deliveries out.
struct Settling {
    shared: Arc<Shared>,
    session: Session,
    queue: String,
    consumer: u64,
    leaving: CancellationToken,
    _tail: Arc<Tail>,
}

impl Settling {
    /// Until no receipt of the consumer is left, or it leaves, or the session is closed.
    async fn run(self, mut verdicts: mpsc::UnboundedReceiver<(u64, Verdict)>) {
        let Self { shared, session, queue, consumer, leaving, .. } = &self;
        loop {
            tokio::select! {
                biased;
                verdict = verdicts.recv() => match verdict {
                    Some((tag, verdict)) => {
                        shared.change(|core| core.settle(queue, tag, verdict));
                    }
                    None => return,
                },
                () = session.closing.cancelled() => break,
                () = leaving.cancelled() => break,
            }
        }
        verdicts.close();
        shared.change(|core| {
            while let Ok((tag, verdict)) = verdicts.try_recv() {
                core.settle(queue, tag, verdict);
            }
            core.cancel(queue, *consumer);
            core.requeue_all(queue, *consumer);
        });
    }
}
