//! One queue: messages in order, the consumers that get them, and what is out with them.
//! Next: [`super::core`], which moves messages between queues.

use super::message::Message;
use super::settings::{Overflow, Settings};
use crate::broker::{self, Census, Depth, arrival::Arrival};
use crate::flow::{Delivery, Field, Receipt, Verdict};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// A queue with all that is in it.
#[derive(Debug)]
pub(super) struct Queue {
    /// As it was declared, with its name and its type.
    pub spec: broker::Queue,
    pub settings: Settings,
    /// By place: what is put back comes to where it was.
    ready: BTreeMap<u64, Waiting>,
    ready_bytes: usize,
    /// By delivery tag.
    unacked: HashMap<u64, Unacked>,
    /// The next to be served comes first.
    consumers: VecDeque<Consumer>,
    had_consumers: bool,
    unused_since: Instant,
    next_place: u64,
}

#[derive(Debug)]
struct Waiting {
    message: Arc<Message>,
    redelivered: bool,
    /// How often it was requeued, as far as that counts.
    returned: usize,
    expires: Option<Instant>,
}

#[derive(Debug)]
struct Unacked {
    place: u64,
    waiting: Waiting,
    consumer: u64,
}

/// A consumer of one queue.
#[derive(Debug)]
pub(super) struct Consumer {
    pub id: u64,
    pub prefetch: usize,
    pub unacked: usize,
    /// How many its subscription was given, by this consumer and those before it.
    pub delivered: Arc<AtomicU64>,
    /// Where its deliveries go.
    pub deliveries: mpsc::Sender<Delivery>,
    /// Where its receipts report.
    pub verdicts: mpsc::UnboundedSender<(u64, Verdict)>,
    /// Dropped with the consumer, which tells its subscription.
    #[expect(dead_code, reason = "held to be dropped with the consumer")]
    pub alive: oneshot::Sender<Infallible>,
}

impl Consumer {
    fn takes_one(&self) -> bool {
        // The channel may still hold what came from a queue that was deleted since.
        let room = self.deliveries.capacity() > 0 && !self.deliveries.is_closed();
        self.unacked < self.prefetch && room
    }
}

impl Queue {
    pub fn new(spec: broker::Queue, settings: Settings, now: Instant) -> Self {
        Self {
            spec,
            settings,
            ready: BTreeMap::new(),
            ready_bytes: 0,
            unacked: HashMap::new(),
            consumers: VecDeque::new(),
            had_consumers: false,
            unused_since: now,
            next_place: 0,
        }
    }

    /// How many messages wait, and how many are out with consumers.
    pub fn depth(&self) -> (usize, usize) {
        (self.ready.len(), self.unacked.len())
    }

    /// Whether it is full and refuses `message` for that.
    pub fn refuses(&self, message: &Message) -> bool {
        let Settings { overflow, max_length, max_bytes, .. } = &self.settings;
        let over = max_length.is_some_and(|max| self.ready.len() >= max)
            || max_bytes.is_some_and(|max| self.ready_bytes + message.body.len() > max);
        over && *overflow != Overflow::DropHead
    }

    /// Adds `message` at the end.
    pub fn push(&mut self, message: Arc<Message>, now: Instant) {
        let own = message.expiration().unwrap_or_default();
        let ttl = own.into_iter().chain(self.settings.message_ttl).min();
        let expires = ttl.and_then(|ttl| now.checked_add(ttl));
        let place = self.next_place;
        self.next_place += 1;
        self.put(place, Waiting { message, redelivered: false, returned: 0, expires });
    }

    fn put(&mut self, place: u64, waiting: Waiting) {
        self.ready_bytes += waiting.message.body.len();
        self.ready.insert(place, waiting);
    }

    fn pop(&mut self) -> Option<(u64, Waiting)> {
        let (place, waiting) = self.ready.pop_first()?;
        self.ready_bytes -= waiting.message.body.len();
        Some((place, waiting))
    }

    /// Gives what waits to consumers that take more, in turn.
    pub fn deliver(&mut self, next_tag: &mut u64) {
        while !self.ready.is_empty() {
            let Some(mut consumer) = self.next_consumer() else {
                return;
            };
            let Some((place, waiting)) = self.pop() else {
                return;
            };
            let tag = *next_tag;
            *next_tag += 1;
            let event = self.arrival(&waiting).into_event();
            let receipt = Receipt::new(tag, consumer.verdicts.clone());
            self.unacked.insert(tag, Unacked { place, waiting, consumer: consumer.id });
            consumer.unacked += 1;
            consumer.delivered.fetch_add(1, Ordering::Relaxed);
            // If it was closed just now, the receipt comes back and puts the message back.
            let _ = consumer.deliveries.try_send(Delivery { event, receipt });
            if self.settings.single_active_consumer {
                self.consumers.push_front(consumer);
            } else {
                self.consumers.push_back(consumer);
            }
        }
    }

    fn next_consumer(&mut self) -> Option<Consumer> {
        let within = if self.settings.single_active_consumer { 1 } else { self.consumers.len() };
        let at = self.consumers.iter().take(within).position(Consumer::takes_one)?;
        self.consumers.remove(at)
    }

    fn arrival(&self, waiting: &Waiting) -> Arrival {
        let Message { exchange, keys, properties, body } = &*waiting.message;
        let mut properties = properties.clone();
        if self.settings.counts && waiting.returned > 0 {
            let returned = i64::try_from(waiting.returned).unwrap_or(i64::MAX);
            properties.headers.set("x-delivery-count", Field::I64(returned));
        }
        Arrival {
            exchange: exchange.clone(),
            routing_key: keys.first().cloned().unwrap_or_default(),
            queue: self.spec.name.clone(),
            redelivered: waiting.redelivered,
            properties,
            body: body.clone(),
        }
    }

    /// Ends the delivery `tag`. Gives the message back if it was requeued once too often.
    pub fn settle(&mut self, tag: u64, verdict: Verdict) -> Option<Arc<Message>> {
        let Unacked { place, mut waiting, consumer } = self.unacked.remove(&tag)?;
        if let Some(consumer) = self.consumers.iter_mut().find(|one| one.id == consumer) {
            consumer.unacked -= 1;
        }
        match verdict {
            Verdict::Ack => return None,
            Verdict::Requeue => waiting.returned += 1,
            Verdict::GiveBack => {}
        }
        if self.settings.delivery_limit.is_some_and(|limit| waiting.returned > limit) {
            return Some(waiting.message);
        }
        waiting.redelivered = true;
        self.put(place, waiting);
        None
    }

    /// The tags of what is out with `consumer`, which may be gone itself.
    pub fn unacked_of(&self, consumer: u64) -> Vec<u64> {
        let mut tags: Vec<_> = self
            .unacked
            .iter()
            .filter(|(_, unacked)| unacked.consumer == consumer)
            .map(|(tag, _)| *tag)
            .collect();
        tags.sort_unstable();
        tags
    }

    /// Takes out what expired at the head. What expires behind a head that does not waits, as
    /// RabbitMQ has it.
    pub fn expired(&mut self, now: Instant) -> Vec<Arc<Message>> {
        let mut expired = Vec::new();
        while self.head_expires().is_some_and(|at| at <= now) {
            expired.extend(self.pop().map(|(_, waiting)| waiting.message));
        }
        expired
    }

    /// Takes what is over the limit of length out at the head.
    pub fn overflown(&mut self) -> Vec<Arc<Message>> {
        let mut over = Vec::new();
        while self.is_over() {
            over.extend(self.pop().map(|(_, waiting)| waiting.message));
        }
        over
    }

    fn is_over(&self) -> bool {
        let Settings { max_length, max_bytes, .. } = self.settings;
        max_length.is_some_and(|max| self.ready.len() > max)
            || max_bytes.is_some_and(|max| self.ready_bytes > max)
    }

    fn head_expires(&self) -> Option<Instant> {
        self.ready.first_key_value()?.1.expires
    }

    fn unused_until(&self) -> Option<Instant> {
        let expires = self.settings.expires.filter(|_| self.consumers.is_empty())?;
        self.unused_since.checked_add(expires)
    }

    /// When the clock has something to do here next.
    pub fn deadline(&self) -> Option<Instant> {
        self.head_expires().into_iter().chain(self.unused_until()).min()
    }

    /// Whether it is to be deleted: unused for too long, or left by its last consumer.
    pub fn is_over_with(&self, now: Instant) -> bool {
        let left = self.spec.auto_delete && self.had_consumers && self.consumers.is_empty();
        left || self.unused_until().is_some_and(|at| at <= now)
    }

    /// Somebody declared it again, or asked whether it is there, which is a use.
    pub fn used(&mut self, now: Instant) {
        self.unused_since = now;
    }

    pub fn add_consumer(&mut self, consumer: Consumer) {
        self.had_consumers = true;
        self.consumers.push_back(consumer);
    }

    /// What is out with it stays out.
    pub fn remove_consumer(&mut self, id: u64, now: Instant) {
        self.consumers.retain(|consumer| consumer.id != id);
        self.unused_since = now;
    }

    pub fn has_consumers(&self) -> bool {
        !self.consumers.is_empty()
    }

    /// What it holds for everybody.
    pub fn holds(&self) -> Depth {
        let consumers = u32::try_from(self.consumers.len()).unwrap_or(u32::MAX);
        Depth { ready: self.ready.len() as u64, consumers }
    }

    /// As its consumer `id` sees it, if that is alive.
    pub fn census(&self, id: u64) -> Option<Census> {
        let consumer = self.consumers.iter().find(|consumer| consumer.id == id)?;
        let Depth { ready, consumers } = self.holds();
        let delivered = consumer.delivered.load(Ordering::Relaxed);
        Some(Census { ready, consumers, unsettled: consumer.unacked as u64, delivered })
    }
}
