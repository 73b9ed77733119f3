//! `[dead-letter]`: where the events go that are not handled.

use super::written::Section;
use super::{Reader, Subscription};
use crate::broker::{Exchange, Queue, QueueType};
use crate::policy::Last;

/// Where dead letters are published.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeadLetter {
    /// Empty for the default exchange.
    pub exchange: String,
    /// With the default exchange, the queue's name.
    pub routing_key: String,
    /// The queue, if it is the manifest's to declare; part of every subscription's topology.
    pub queue: Option<Queue>,
}

impl Reader<'_> {
    pub(super) fn dead_letter(
        &self,
        section: &Section<'_>,
        subscriptions: &[Subscription],
    ) -> (DeadLetter, Last) {
        let queue = section.name("queue");
        let exchange = section.name("exchange");
        let routing_key = section.name("routing-key");
        let on_exhausted = section.choice("on-exhausted", &LASTS).unwrap_or_default();
        if queue.is_some() && (exchange.is_some() || routing_key.is_some()) {
            section.wrong("queue", "and `exchange` with `routing-key` exclude each other");
        }
        if queue.as_ref().is_some_and(String::is_empty) {
            section.wrong("queue", "must not be empty");
        }
        if exchange.as_ref().is_some_and(String::is_empty) {
            let hint = "name the queue: `queue = \"…\"`";
            section.wrong_with("exchange", "must not be the default exchange", Some(hint));
        }
        if self.whole && exchange.is_some() && routing_key.is_none() {
            section.missing("routing-key");
        }
        if self.whole && routing_key.is_some() && exchange.is_none() && queue.is_none() {
            section.missing("exchange");
        }
        let dead_letter = match exchange {
            Some(exchange) => {
                DeadLetter { exchange, routing_key: routing_key.unwrap_or_default(), queue: None }
            }
            None => {
                let name = queue.unwrap_or_else(|| format!("{}.dlq", self.name));
                if self.whole && subscriptions.iter().any(|s| s.consume.queue.name == name) {
                    let rule = format!("must not be a queue that the plugin consumes, is `{name}`");
                    section.wrong("queue", rule);
                }
                let queue = Queue { kind: kind(subscriptions), ..Queue::durable(&name) };
                DeadLetter { exchange: String::new(), routing_key: name, queue: Some(queue) }
            }
        };
        (dead_letter, on_exhausted)
    }
}

impl DeadLetter {
    /// Where that is, for people.
    pub fn told(&self) -> String {
        match self.exchange.as_str() {
            "" => format!("queue `{}`", self.routing_key),
            exchange => format!("exchange `{exchange}` with the key `{}`", self.routing_key),
        }
    }

    /// Gives it to `subscription`, whose topology then has what must be there for dead letters.
    pub(super) fn join(&self, subscription: &mut Subscription) {
        subscription.dead_letter = self.clone();
        let topology = &mut subscription.consume.topology;
        if let Some(queue) = &self.queue {
            topology.queues.push(queue.clone());
        } else if !self.exchange.starts_with("amq.")
            && topology.exchanges.iter().all(|exchange| exchange.name != self.exchange)
        {
            let name = self.exchange.clone();
            topology.exchanges.push(Exchange {
                name,
                kind: None,
                durable: true,
                auto_delete: false,
            });
        }
    }
}

/// The type of the queues served; the more durable one if there are several.
fn kind(subscriptions: &[Subscription]) -> Option<QueueType> {
    let kinds = subscriptions.iter().filter_map(|subscription| subscription.consume.queue.kind);
    kinds.max_by_key(|kind| *kind == QueueType::Quorum)
}

/// How the end of an event that was not handled is written.
pub(super) const LASTS: [(&str, Last); 2] =
    [("dead-letter", Last::DeadLetter), ("drop", Last::Drop)];
