//! The broker as a state machine: synchronous, with the time given to it. Each change marks the
//! queues that it touched, and [`Core::run`] lets them expire, deliver and dead-letter until all is
//! at rest. Next: [`super::declare`], which creates exchanges and queues in it.

use super::exchange::Exchange;
use super::message::{Death, Message};
use super::queue::{Consumer, Queue};
use super::settings::Overflow;
use crate::broker::{Depth, ExchangeKind, PublishError};
use crate::flow::{Publication, Verdict};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The user that everybody is; RabbitMQ's first one.
const USER: &str = "guest";

/// All exchanges and queues.
#[derive(Debug)]
pub(super) struct Core {
    pub exchanges: HashMap<String, Exchange>,
    pub queues: HashMap<String, Queue>,
    /// Set by whoever is about to change something.
    pub now: Instant,
    touched: VecDeque<String>,
    next_tag: u64,
    alarm: Option<Instant>,
    alarm_moved: bool,
}

impl Core {
    pub fn new(now: Instant) -> Self {
        let kinds = [
            ExchangeKind::Direct,
            ExchangeKind::Topic,
            ExchangeKind::Fanout,
            ExchangeKind::Headers,
        ];
        let always =
            |kind: ExchangeKind| (format!("amq.{}", kind.name()), Exchange::new(kind, true, false));
        let mut exchanges: HashMap<_, _> = kinds.into_iter().map(always).collect();
        exchanges.insert("amq.match".to_owned(), Exchange::new(ExchangeKind::Headers, true, false));
        Self {
            exchanges,
            queues: HashMap::new(),
            now,
            touched: VecDeque::new(),
            next_tag: 1,
            alarm: None,
            alarm_moved: false,
        }
    }

    /// Routes a mandatory publication; it is confirmed if this is `Ok`.
    pub fn publish(&mut self, publication: Publication) -> Result<(), PublishError> {
        let user = publication.properties.user_id.as_deref().unwrap_or(USER);
        if user != USER {
            return Err(PublishError::Refused(format!(
                "PRECONDITION_FAILED - user_id property set to '{user}' but authenticated \
                 user was '{USER}'"
            )));
        }
        let message = Message::new(publication).map_err(PublishError::Refused)?;
        let name = &message.exchange;
        if !name.is_empty() && !self.exchanges.contains_key(name) {
            let reply = format!("NOT_FOUND - no exchange '{name}' in vhost '/'");
            return Err(PublishError::Refused(reply));
        }
        let queues = self.route(&message);
        if queues.is_empty() {
            return Err(PublishError::Unroutable {
                exchange: message.exchange,
                routing_key: message.keys.into_iter().next().unwrap_or_default(),
                reply: "312 NO_ROUTE".to_owned(),
            });
        }
        if self.enqueue(message, &queues) { Ok(()) } else { Err(PublishError::Nacked) }
    }

    /// The queues that get `message`, none of them twice.
    fn route(&self, message: &Message) -> BTreeSet<String> {
        let Message { exchange, keys, properties, .. } = message;
        if exchange.is_empty() {
            let exist = |key: &&String| self.queues.contains_key(*key);
            return keys.iter().filter(exist).cloned().collect();
        }
        let Some(exchange) = self.exchanges.get(exchange) else {
            return BTreeSet::new();
        };
        let to = |key| exchange.route(key, &properties.headers).map(str::to_owned);
        keys.iter().map(String::as_str).flat_map(to).collect()
    }

    /// False if one of them refused it.
    fn enqueue(&mut self, message: Message, queues: &BTreeSet<String>) -> bool {
        let message = Arc::new(message);
        let mut taken = true;
        for name in queues {
            let Some(queue) = self.queues.get_mut(name) else {
                continue;
            };
            if queue.refuses(&message) {
                taken = false;
                if queue.settings.overflow == Overflow::RejectPublishDeadLetter {
                    self.dead_letter(name, &message, Death::Overflow);
                }
                continue;
            }
            queue.push(message.clone(), self.now);
            if queue.depth().0 == 1 {
                // A message that expires at once is for whoever takes it at once.
                queue.deliver(&mut self.next_tag);
            }
            self.touch(name);
        }
        taken
    }

    /// `message` died in the queue `name`. A dead-letter exchange that is not there, or sends it
    /// nowhere, is its end.
    fn dead_letter(&mut self, name: &str, message: &Message, death: Death) {
        let Some(queue) = self.queues.get(name) else {
            return;
        };
        let Some(to) = &queue.settings.dead_letter else {
            return;
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let dead = message.dead(name, death, to, since.as_secs());
        let mut queues = self.route(&dead);
        queues.retain(|queue| !dead.goes_round(queue));
        self.enqueue(dead, &queues);
    }

    /// Ends the delivery `tag` of the queue `name`.
    pub fn settle(&mut self, name: &str, tag: u64, verdict: Verdict) {
        let Some(queue) = self.queues.get_mut(name) else {
            // What is over now may have kept a consumer from getting more from another queue.
            return self.tick();
        };
        if let Some(message) = queue.settle(tag, verdict) {
            self.dead_letter(name, &message, Death::DeliveryLimit);
        }
        self.touch(name);
    }

    /// Starts to deliver the queue `name`, which exists.
    pub fn consume(&mut self, name: &str, consumer: Consumer) {
        if let Some(queue) = self.queues.get_mut(name) {
            queue.add_consumer(consumer);
        }
        self.touch(name);
    }

    /// Stops to. A queue that the server named for this consumer goes with it: nobody else can
    /// know its name.
    pub fn cancel(&mut self, name: &str, consumer: u64) {
        let Some(queue) = self.queues.get_mut(name) else {
            return;
        };
        queue.remove_consumer(consumer, self.now);
        let for_one = queue.spec.exclusive && name.starts_with("amq.gen-");
        if for_one && !queue.has_consumers() {
            self.delete_queue(name);
        } else {
            self.touch(name);
        }
    }

    /// Puts back whatever is out with `consumer`, as when its channel closes.
    pub fn requeue_all(&mut self, name: &str, consumer: u64) {
        let tags = self.queues.get(name).map(|queue| queue.unacked_of(consumer));
        for tag in tags.unwrap_or_default() {
            self.settle(name, tag, Verdict::Requeue);
        }
    }

    /// Deletes the queue `name` with all that is in it, and cancels its consumers. False if there
    /// is none.
    pub fn delete_queue(&mut self, name: &str) -> bool {
        self.exchanges.retain(|_, exchange| !exchange.unbind(name));
        self.queues.remove(name).is_some()
    }

    /// Deletes the queues that go with their connection.
    pub fn delete_exclusive(&mut self) {
        let exclusive = self.queues.iter().filter(|(_, queue)| queue.spec.exclusive);
        let names: Vec<_> = exclusive.map(|(name, _)| name.clone()).collect();
        for name in names {
            self.delete_queue(&name);
        }
    }

    /// What the queue `name` holds. To ask is to use it.
    pub fn holds(&mut self, name: &str) -> Option<Depth> {
        let queue = self.queues.get_mut(name)?;
        queue.used(self.now);
        Some(queue.holds())
    }

    /// Has the queue `name` looked at by the next [`Core::run`].
    pub fn touch(&mut self, name: &str) {
        self.touched.push_back(name.to_owned());
    }

    /// Has all queues looked at: time passed, and it is not known for which.
    pub fn tick(&mut self) {
        self.alarm = None;
        self.touched.extend(self.queues.keys().cloned());
    }

    /// Brings every queue that was touched to rest.
    pub fn run(&mut self) {
        while let Some(name) = self.touched.pop_front() {
            let Some(queue) = self.queues.get_mut(&name) else {
                continue;
            };
            if queue.is_over_with(self.now) {
                self.delete_queue(&name);
                continue;
            }
            let mut expired = queue.expired(self.now);
            queue.deliver(&mut self.next_tag);
            expired.extend(queue.expired(self.now));
            let over = queue.overflown();
            if let Some(at) = queue.deadline()
                && self.alarm.is_none_or(|alarm| at < alarm)
            {
                self.alarm = Some(at);
                self.alarm_moved = true;
            }
            for message in expired {
                self.dead_letter(&name, &message, Death::Expired);
            }
            for message in over {
                self.dead_letter(&name, &message, Death::Overflow);
            }
        }
    }

    /// When [`Core::tick`] is wanted.
    pub fn alarm(&self) -> Option<Instant> {
        self.alarm
    }

    /// Whether [`Core::alarm`] has changed since this was last asked.
    pub fn alarm_moved(&mut self) -> bool {
        std::mem::take(&mut self.alarm_moved)
    }
}
