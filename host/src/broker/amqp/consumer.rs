//! One subscription, for as long as it is wanted: declares what it needs, consumes, hands the
//! deliveries on, and begins anew after whatever ends that. Next in the flow: [`super::acker`],
//! which settles what is delivered here.

use super::acker::{Acker, Flushing};
use super::backoff::Backoff;
use super::convert::{properties, short};
use super::error::words;
use super::link::{Link, Open};
use super::tally::{Source, Tally};
use super::{STEP_LIMIT, declare};
use crate::broker::arrival::Arrival;
use crate::broker::census::Tail;
use crate::broker::{Consume, ConsumerTimeout, Counter, State, Status};
use crate::flow::{Delivery, Receipt, Verdict};
use crate::telemetry::report;
use futures_util::StreamExt;
use lapin::Channel;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A consumer that lived this long was a good one: the next attempt is made at once.
const GOOD_AFTER: Duration = Duration::from_secs(1);
/// A connection that is not there for this long is what the subscription waits for.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a consumer tag shows of its queue's name; AMQP allows 255 bytes for the whole.
const TAG_CHARS_MAX: usize = 50;

/// A subscription's task.
pub(super) struct Consumer {
    pub(super) link: Arc<Link>,
    pub(super) consume: Consume,
    pub(super) deliveries: mpsc::Sender<Delivery>,
    pub(super) status: watch::Sender<Status>,
    pub(super) counter: Counter,
    pub(super) tail: Arc<Tail>,
    /// How many there have been.
    pub(super) delivered: Arc<AtomicU64>,
    /// See [`super::Config::watchdog`].
    pub(super) watchdog: Duration,
    pub(super) cancel: CancellationToken,
    /// Whether what is unsettled goes back with the channel, once it is cancelled.
    pub(super) leaving: CancellationToken,
    pub(super) flushing: Flushing,
}

/// What is kept of a queue that belongs to one connection alone.
#[derive(Default)]
struct Own {
    /// The connection that it lives with, and its name.
    queue: Option<(Arc<Open>, String)>,
    /// Since when nobody has consumed it.
    left: Option<Instant>,
}

/// How a consumer ended.
enum End {
    /// By our side, for good.
    Cancelled,
    /// With its connection.
    ConnectionLost(String),
    /// The broker has forgotten it.
    Stalled,
    /// For a reason of its own.
    Failed(String),
}

/// What came of consuming.
struct Live {
    channel: Channel,
    stream: lapin::Consumer,
    queue: Arc<str>,
}

impl Consumer {
    /// Runs until it is cancelled.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::default();
        let mut own = Own::default();
        loop {
            let Some(open) = self.cancel.run_until_cancelled(self.connection()).await else {
                break;
            };
            let (end, lived) = self.live(&open, &mut own).await;
            if lived >= GOOD_AFTER {
                backoff = Backoff::default();
            }
            let reason = match end {
                End::Cancelled => break,
                End::Stalled => continue,
                End::ConnectionLost(reason) => {
                    self.tell(State::Down { reason, disconnected: true });
                    continue;
                }
                End::Failed(reason) => reason,
            };
            self.tell(State::Down { reason, disconnected: false });
            tokio::select! {
                () = self.cancel.cancelled() => break,
                () = tokio::time::sleep(backoff.next()) => {}
                // Another connection may be to another broker, where all is different.
                () = open.lost.cancelled() => backoff = Backoff::default(),
            }
        }
        if self.consume.queue.name.is_empty() {
            leave(own).await;
        }
        self.tell(State::Ended);
    }

    fn tell(&self, state: State) {
        Status::tell(&self.status, state);
    }

    async fn connection(&self) -> Arc<Open> {
        loop {
            if let Ok(open) = tokio::time::timeout(PATIENCE, self.link.open()).await {
                return open;
            }
            if let Some(reason) = self.link.down() {
                self.tell(State::Down { reason, disconnected: true });
            }
        }
    }

    /// One life of the consumer, and how long it consumed.
    async fn live(&self, open: &Arc<Open>, own: &mut Own) -> (End, Duration) {
        let started = tokio::select! {
            () = self.cancel.cancelled() => return (End::Cancelled, Duration::ZERO),
            started = self.start(open, own) => started,
            () = open.lost.cancelled() => Err(String::new()),
        };
        let mut live = match started {
            Ok(live) => live,
            Err(_) if !open.is_up() => return (self.connection_lost().await, Duration::ZERO),
            Err(reason) => return (End::Failed(reason), Duration::ZERO),
        };
        // Nobody waits for what is settled after the end.
        let Some(flushing) = self.flushing.hold() else { return (End::Cancelled, Duration::ZERO) };
        let (settle, verdicts) = mpsc::unbounded_channel();
        // The connection may be lost when nothing is consumed any more, and events still be under way.
        let (lost, written) = (open.lost.child_token(), Arc::new(AtomicU64::new(0)));
        let acker = Acker {
            channel: live.channel.clone(),
            queue: live.queue.to_string(),
            verdicts,
            written: written.clone(),
            _tail: self.tail.clone(),
            lost: lost.clone(),
            leaving: self.leaving.clone(),
        };
        let acker = tokio::spawn(acker.run(flushing));
        let since = Instant::now();
        self.tell(State::Live { queue: live.queue.to_string() });
        let channel = live.channel.clone();
        let end = self.forward(&mut live, settle, written, open).await;
        own.left = Some(Instant::now());
        if self.leaving.is_cancelled() {
            // What is unsettled has gone back when nothing is delivered any more.
            let _ = acker.await;
        }
        // Not before: it sends a `basic.cancel`.
        drop(live);
        if !channel.status().connected() {
            lost.cancel();
        }
        let end = match end {
            End::Failed(_) if !open.is_up() => self.connection_lost().await,
            end => end,
        };
        (end, since.elapsed())
    }

    fn stalled(&self, name: &str) -> End {
        let queue = &self.consume.queue.name;
        report::ConsumerStalled { queue, name, length: 2 * self.watchdog }.emit();
        End::Stalled
    }

    /// The link's words, which know more of the cause than a channel does.
    async fn connection_lost(&self) -> End {
        // lapin tells its channels before the link notices.
        let noticed = async {
            loop {
                match self.link.down() {
                    Some(reason) => return reason,
                    None => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let reason = tokio::time::timeout(PATIENCE, noticed).await;
        End::ConnectionLost(reason.unwrap_or_else(|_| "the connection was lost".to_owned()))
    }

    async fn start(&self, open: &Arc<Open>, own: &mut Own) -> Result<Live, String> {
        // The channel was lost, and the connection not: what is in the queue is still ours.
        let before = own.queue.take().filter(|(with, _)| with.generation == open.generation);
        let before = before.as_ref().map(|(_, name)| name.as_str());
        let declared = declare::subscription(open.connection(), &self.consume, before).await;
        let declared = declared.map_err(|error| error.told())?;
        let queue = declared.name;
        if declared.own {
            own.queue = Some((Arc::clone(open), queue.clone()));
        }
        if let Some(left) = own.left.take().filter(|_| declared.anew) {
            let stated = &self.consume.queue.name;
            report::Gap { queue: stated, name: &queue, length: left.elapsed() }.emit();
        }
        let channel = step("opening a channel", open.connection().create_channel()).await?;
        let qos = channel.basic_qos(self.consume.prefetch, BasicQosOptions::default());
        step("setting the prefetch", qos).await?;
        let name = short("the queue's name", &queue).map_err(|error| error.to_string())?;
        let shown: String = queue.chars().take(TAG_CHARS_MAX).collect();
        let tag = format!("wabbit-{shown}-{:08x}", fastrand::u32(..));
        let tag = short("the consumer tag", &tag).map_err(|error| error.to_string())?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consume = channel.basic_consume(name, tag, options, arguments);
        let stream = step("consuming", consume).await?;
        Ok(Live { channel, stream, queue: queue.into() })
    }

    async fn forward(
        &self,
        Live { channel, stream, queue }: &mut Live,
        settle: UnboundedSender<(u64, Verdict)>,
        written: Arc<AtomicU64>,
        open: &Open,
    ) -> End {
        let tag = stream.tag();
        let source = Source { channel: channel.clone(), queue: stream.queue(), written };
        let (asked, delivered) = (self.counter.live(), self.delivered.clone());
        let mut tally = Some(Tally::new(source, asked, delivered, self.watchdog));
        let mut cancelled = Box::pin(self.cancel.cancelled());
        let mut lost = Box::pin(open.lost.cancelled());
        loop {
            let item = tokio::select! {
                biased;
                () = &mut cancelled, if tally.is_some() => {
                    tally = None;
                    // With a `basic.cancel` the next consumer would get what is behind this first.
                    if self.leaving.is_cancelled() || !stop(channel, tag.clone()).await {
                        return End::Cancelled;
                    }
                    continue;
                }
                item = stream.next() => item,
                () = &mut lost => return End::Failed("the connection was lost".to_owned()),
                forgotten = forgotten(tally.as_mut()) => match forgotten {
                    true => return self.stalled(queue),
                    false => continue,
                },
            };
            let delivery = match item {
                Some(Ok(delivery)) => delivery,
                Some(Err(error)) => return End::Failed(words(&error)),
                None if tally.is_none() => return End::Cancelled,
                None => return End::Failed(cancelled_because(open)),
            };
            tally.iter_mut().for_each(Tally::took);
            let Ok(permit) = self.deliveries.reserve().await else {
                // Nobody receives any more. What is here goes back with the channel.
                stop(channel, tag).await;
                return End::Cancelled;
            };
            // The broker delivers it again on the next channel.
            if channel.status().connected() {
                permit.send(into_delivery(delivery, queue, &settle));
            }
        }
    }
}

/// RabbitMQ does not say why it cancels a consumer.
fn cancelled_because(open: &Open) -> String {
    let timeout = match open.server().features.consumer_timeout {
        ConsumerTimeout::CancelsConsumer => {
            ", or a delivery of a quorum queue was held for longer than the consumer timeout"
        }
        ConsumerTimeout::ClosesChannel | ConsumerTimeout::None => "",
    };
    format!("the broker cancelled the consumer, the queue may have been deleted{timeout}")
}

/// Whether the broker has forgotten the consumer; nobody counts any more when it is to end.
async fn forgotten(tally: Option<&mut Tally>) -> bool {
    match tally {
        Some(tally) => tally.step().await,
        None => std::future::pending().await,
    }
}

/// Nobody else can consume a queue that the server named for us, and it would live on and fill up
/// with the connection.
async fn leave(own: Own) {
    if let Some((open, name)) = own.queue
        && open.is_up()
        && let Err(reason) = declare::delete(open.connection(), &name).await
    {
        tracing::debug!(queue = name, reason, "cannot delete the queue");
    }
}

/// `basic.cancel`; true if more may come, up to the end of the stream.
async fn stop(channel: &Channel, tag: ShortString) -> bool {
    let cancel = channel.basic_cancel(tag, BasicCancelOptions::default());
    step("cancelling the consumer", cancel).await.is_ok()
}

fn into_delivery(
    delivery: lapin::message::Delivery,
    queue: &str,
    settle: &UnboundedSender<(u64, Verdict)>,
) -> Delivery {
    let arrival = Arrival {
        exchange: delivery.exchange.into(),
        routing_key: delivery.routing_key.into(),
        queue: queue.to_owned(),
        redelivered: delivery.redelivered,
        properties: properties(&delivery.properties),
        body: delivery.data,
    };
    let receipt = Receipt::new(delivery.delivery_tag, settle.clone());
    Delivery { event: arrival.into_event(), receipt }
}

async fn step<T>(what: &str, request: impl Future<Output = lapin::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(STEP_LIMIT, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("{what}: {}", words(&error))),
        Err(_) => {
            Err(format!("{what}: no answer from the broker within {} s", STEP_LIMIT.as_secs()))
        }
    }
}
