//! Counts for one consumer: what its queue holds, what came by it, and what of that the broker knows
//! to be settled. It also sees when the broker has forgotten the consumer. Next in the flow:
//! [`super::acker`], which knows what has been written.

use super::STEP_LIMIT;
use crate::broker::census::{Answer, Asked};
use crate::broker::{Census, Depth};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lapin::Channel;
use lapin::options::QueueDeclareOptions;
use lapin::types::{FieldTable, ShortString};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval_at};

/// The counts of one consumer.
pub(super) struct Tally {
    asked: Asked,
    source: Source,
    /// Those who get the next census.
    waiting: Vec<Answer>,
    asking: Option<BoxFuture<'static, Option<Reading>>>,
    read: Option<Reading>,
    /// What came by this consumer.
    taken: u64,
    /// What came by its subscription.
    delivered: Arc<AtomicU64>,
    watchdog: Watchdog,
}

/// Where the numbers come from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) channel: Channel,
    pub(super) queue: ShortString,
    /// How many deliveries of the channel are settled, and that is written.
    pub(super) written: Arc<AtomicU64>,
}

/// What was asked.
struct Reading {
    depth: Depth,
    /// What had been written before: the broker knew of it when it answered.
    written: u64,
}

/// Looks now and then whether the broker still delivers.
struct Watchdog {
    tick: Interval,
    delivered: u64,
    /// The next census is for the watchdog.
    looks: bool,
    before: Option<Census>,
}

impl Tally {
    /// For a consumer that has had nothing yet, of a subscription that has had `delivered`.
    pub(super) fn new(
        source: Source,
        asked: Asked,
        delivered: Arc<AtomicU64>,
        watchdog: Duration,
    ) -> Self {
        let watchdog = Watchdog::new(watchdog);
        let (waiting, asking, read) = (Vec::new(), None, None);
        Self { asked, source, waiting, asking, read, taken: 0, delivered, watchdog }
    }

    /// A delivery came.
    pub(super) fn took(&mut self) {
        self.taken += 1;
        self.delivered.fetch_add(1, Ordering::Relaxed);
    }

    /// Goes on counting; true if the broker has forgotten this consumer. To be polled only when no
    /// delivery is there, since a census counts all that came before the broker's answer. Nothing
    /// is lost by dropping it half-way.
    pub(super) async fn step(&mut self) -> bool {
        if let Some(reading) = self.read.take() {
            return self.answer(&reading);
        }
        if let Some(asking) = &mut self.asking {
            self.read = asking.await;
            self.asking = None;
            if self.read.is_none() {
                // The channel is gone, and with it this consumer.
                self.waiting.clear();
            }
            return false;
        }
        tokio::select! {
            answer = self.asked.next() => self.waiting.push(answer),
            _ = self.watchdog.tick.tick() => {
                if !self.watchdog.wakes(self.delivered.load(Ordering::Relaxed)) {
                    return false;
                }
            }
        }
        self.asking = Some(read(self.source.clone()).boxed());
        false
    }

    fn answer(&mut self, reading: &Reading) -> bool {
        let Depth { ready, consumers } = reading.depth;
        let census = Census {
            ready,
            consumers,
            unsettled: self.taken.saturating_sub(reading.written),
            delivered: self.delivered.load(Ordering::Relaxed),
        };
        for answer in self.waiting.drain(..) {
            // One who has gone away needs no answer.
            let _ = answer.send(census);
        }
        self.watchdog.sees(census)
    }
}

impl Watchdog {
    fn new(every: Duration) -> Self {
        let mut tick = interval_at(tokio::time::Instant::now() + every, every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { tick, delivered: 0, looks: false, before: None }
    }

    /// Whether it is time to look: nothing has come since it was last asked.
    fn wakes(&mut self, delivered: u64) -> bool {
        self.looks = std::mem::replace(&mut self.delivered, delivered) == delivered;
        self.looks
    }

    fn sees(&mut self, census: Census) -> bool {
        if !std::mem::take(&mut self.looks) {
            return false;
        }
        let before = self.before.replace(census);
        before.is_some_and(|before| stalled(&before, &census))
    }
}

/// Whether the broker has forgotten a consumer: both times there was something for it and for nobody
/// else, it had room for it, and nothing has come between.
fn stalled(before: &Census, now: &Census) -> bool {
    let starved = |at: &Census| at.ready > 0 && at.unsettled == 0 && at.consumers <= 1;
    starved(before) && starved(now) && before.delivered == now.delivered
}

/// Asks the broker, on the channel that the deliveries come by. It may answer before it sends what
/// the queue gave out earlier, but not twice: that comes before the second answer.
async fn read(source: Source) -> Option<Reading> {
    let written = source.written.load(Ordering::Acquire);
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let declare =
        || source.channel.queue_declare(source.queue.clone(), options, FieldTable::default());
    let asked = async {
        let first = declare().await?;
        declare().await.map(|_| first)
    };
    let queue = tokio::time::timeout(STEP_LIMIT, asked).await.ok()?.ok()?;
    let depth = Depth { ready: queue.message_count().into(), consumers: queue.consumer_count() };
    Some(Reading { depth, written })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_is_forgotten_if_it_starves_twice() {
        let starved = Census { ready: 3, consumers: 1, unsettled: 0, delivered: 7 };
        let table = [
            (starved, starved, true),
            (starved, Census { ready: 1, ..starved }, true),
            (starved, Census { ready: 0, ..starved }, false),
            (Census { ready: 0, ..starved }, starved, false),
            (starved, Census { delivered: 8, ..starved }, false),
            (starved, Census { unsettled: 1, ..starved }, false),
            (Census { unsettled: 1, ..starved }, starved, false),
            (starved, Census { consumers: 2, ..starved }, false),
            (Census { consumers: 2, ..starved }, starved, false),
            (Census { consumers: 0, ..starved }, Census { consumers: 0, ..starved }, true),
        ];
        for (before, now, expected) in table {
            assert_eq!(stalled(&before, &now), expected, "{before:?} then {now:?}");
        }
    }

    #[tokio::test]
    async fn the_watchdog_looks_only_while_nothing_comes() {
        let starved = |delivered| Census { ready: 3, consumers: 1, unsettled: 0, delivered };
        let mut watchdog = Watchdog::new(Duration::from_secs(1));
        // Somebody else's census.
        assert!(!watchdog.sees(starved(0)));
        assert!(watchdog.wakes(0));
        assert!(!watchdog.sees(starved(0)));
        assert!(!watchdog.wakes(1), "one came");
        assert!(watchdog.wakes(1));
        assert!(!watchdog.sees(starved(1)), "the first look since");
        assert!(watchdog.wakes(1));
        assert!(watchdog.sees(starved(1)));
    }
}
