//! `[[subscription]]`: what is consumed, how much at once, and which of it the plugin takes.

use super::dead_letter::LASTS;
use super::written::Section;
use super::{DeadLetter, Match, OrderBy, Reader};
use crate::broker::{Consume, Mode};
use crate::policy::Last;

/// Events handled at once, unless stated or the prefetch is less: enough to hide the latency of
/// host calls, few enough that ten plugins stay within the host's instances and memory.
const CONCURRENCY: u16 = 8;

/// One queue that a plugin consumes.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// The queue, what must be there first (dead-letter queue included), and the prefetch.
    pub consume: Consume,
    /// Which events of the queue the plugin takes.
    pub matcher: Match,
    /// Where its dead letters go; the same for all subscriptions of a plugin.
    pub dead_letter: DeadLetter,
    /// What becomes of an event that no plugin takes.
    pub unmatched: Last,
    /// Events handled at once, 1 to `consume.prefetch`.
    pub concurrency: usize,
    /// Which events are handled in the order in which they come; `None`: as they come.
    pub order_by: Option<OrderBy>,
    /// Acknowledge before handling: an event may be lost, and is never handled twice.
    pub at_most_once: bool,
}

impl Reader<'_> {
    /// All of them; the default one if none was written.
    pub(super) fn subscriptions(&self, root: &Section<'_>) -> Vec<Subscription> {
        let key = "subscription";
        // The host's configuration has `[plugins.defaults.subscription]`, for all of them.
        if !self.whole && root.is_table(key) {
            return vec![root.table(key, |section| self.subscription(section))];
        }
        let read = root.tables(key, |section| (section.place("queue"), self.subscription(section)));
        if root.is_empty_array(key) {
            root.wrong(key, "must not be empty");
        }
        let mut subscriptions: Vec<Subscription> = Vec::with_capacity(read.len());
        for (at, subscription) in read {
            let queue = &subscription.consume.queue.name;
            if !queue.is_empty() && subscriptions.iter().any(|s| s.consume.queue.name == *queue) {
                let message =
                    format!("two subscriptions of one plugin consume the queue `{queue}`");
                let hint = "leave `match` out to take all its events, or make it two plugins";
                root.problem(at, message, Some(hint.to_owned()));
            }
            subscriptions.push(subscription);
        }
        subscriptions
    }

    fn subscription(&self, section: &Section<'_>) -> Subscription {
        let modes = [("ensure", Mode::Ensure), ("verify", Mode::Verify), ("off", Mode::Off)];
        let mode = section.choice("topology", &modes).unwrap_or_default();
        let queue = self.queue(section, mode);
        let topology = self.topology(section, &queue);
        let (prefetch, concurrency) = self.at_once(section);
        let deliveries = [("at-least-once", false), ("at-most-once", true)];
        Subscription {
            consume: Consume { queue, topology, mode, prefetch },
            matcher: section.table("match", |section| self.matching(section)),
            dead_letter: DeadLetter::default(),
            unmatched: section.choice("unmatched", &LASTS).unwrap_or_default(),
            concurrency: concurrency.into(),
            order_by: self.order_by(section),
            at_most_once: section.choice("delivery", &deliveries).unwrap_or_default(),
        }
    }

    /// Prefetch and concurrency. Where only one is stated, the other one follows it.
    fn at_once(&self, section: &Section<'_>) -> (u16, u16) {
        let prefetch = section.integer("prefetch", 1..=u16::MAX);
        let concurrency = section.integer("concurrency", 1..=u16::MAX);
        if let (Some(prefetch), Some(concurrency)) = (prefetch, concurrency)
            && concurrency > prefetch
        {
            let rule = format!("must not be over the prefetch of {prefetch}, is `{concurrency}`");
            let hint = "an event that is handled is one of those prefetched";
            section.wrong_with("concurrency", rule, Some(hint));
        }
        let least = concurrency.unwrap_or(1);
        let prefetch = prefetch.unwrap_or_else(|| self.prefetch.max(least));
        (prefetch, concurrency.unwrap_or_else(|| CONCURRENCY.min(prefetch)))
    }
}
