//! The delayed retry that a quorum queue does by itself (RabbitMQ 4.3): what is rejected comes again
//! after a delay that grows with each time. Next in the flow: [`crate::dispatch`], which uses it
//! where a manifest states it and the broker is known to have it.

use super::{Consume, Features, Mode, QueueType};
use crate::policy::{DELAY_MAX, RETURNS_ALONE};
use std::time::Duration;

/// How a queue delays what is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelayedRetry {
    min: Duration,
    max: Duration,
    /// How often it takes an event back.
    limit: u32,
}

impl DelayedRetry {
    /// Whether the arguments of the queue ask for it. `returned` delays only what was given back
    /// for no fault of its own.
    pub fn is_stated(consume: &Consume) -> bool {
        let kind = consume.queue.arguments.get("x-delayed-retry-type");
        let kind = kind.and_then(|kind| kind.as_text());
        let checked = consume.mode != Mode::Off && consume.queue.kind == Some(QueueType::Quorum);
        checked && matches!(kind, Some("all" | "failed")) && min(consume).is_some()
    }

    /// What the queue of `consume` does on a broker with these features.
    pub fn of(consume: &Consume, features: &Features) -> Option<Self> {
        let min = min(consume).filter(|_| Self::is_stated(consume))?;
        let number = |name| consume.queue.arguments.get(name)?.as_integer();
        let max = number("x-delayed-retry-max").and_then(|ms| u64::try_from(ms).ok());
        let limit = consume.delivery_limit(features);
        features.native_delayed_retry.then_some(Self {
            min,
            max: max.map_or(DELAY_MAX, Duration::from_millis),
            // Beyond that the host suspects an event of ending it.
            limit: limit.min(RETURNS_ALONE - 1),
        })
    }

    /// Whether an event that was taken back `returned` times may be rejected once more. Over the
    /// limit the queue would drop it.
    pub fn takes_back(&self, returned: u32) -> bool {
        returned < self.limit
    }

    /// How long an event waits that was taken back `returned` times and is rejected now.
    pub fn delay(&self, returned: u32) -> Duration {
        self.min.saturating_mul(returned.saturating_add(1)).min(self.max)
    }

    /// No event waits for longer.
    pub fn longest(&self) -> Duration {
        self.delay(self.limit)
    }
}

fn min(consume: &Consume) -> Option<Duration> {
    let ms = consume.queue.arguments.get("x-delayed-retry-min")?.as_integer()?;
    u64::try_from(ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::{Queue, Server, Topology};
    use crate::flow::Field;

    fn consume(kind: Option<QueueType>, mode: Mode, arguments: &[(&str, Field)]) -> Consume {
        let arguments = arguments.iter().cloned().collect();
        let queue = Queue { kind, arguments, ..Queue::durable("q") };
        Consume { queue, topology: Topology::default(), mode, prefetch: 1 }
    }

    #[test]
    fn it_is_used_where_it_is_stated_and_there() {
        let kind = |kind: &str| ("x-delayed-retry-type", Field::from(kind));
        let min = |ms| ("x-delayed-retry-min", Field::I64(ms));
        let quorum = Some(QueueType::Quorum);
        let table = [
            (quorum, Mode::Ensure, vec![kind("all"), min(100)], true),
            (quorum, Mode::Verify, vec![kind("failed"), min(100)], true),
            (quorum, Mode::Off, vec![kind("all"), min(100)], false),
            (quorum, Mode::Ensure, vec![kind("returned"), min(100)], false),
            (quorum, Mode::Ensure, vec![kind("disabled"), min(100)], false),
            (quorum, Mode::Ensure, vec![kind("all"), min(0)], false),
            (quorum, Mode::Ensure, vec![kind("all")], false),
            (quorum, Mode::Ensure, vec![min(100)], false),
            (Some(QueueType::Classic), Mode::Ensure, vec![kind("all"), min(100)], false),
            (None, Mode::Ensure, vec![kind("all"), min(100)], false),
        ];
        for (queue, mode, arguments, stated) in table {
            let consume = consume(queue, mode, &arguments);
            assert_eq!(DelayedRetry::is_stated(&consume), stated, "{consume:?}");
            for (version, there) in [("4.2.9", false), ("4.3.0", true), ("", false)] {
                let features = Server::new("RabbitMQ", version, None).features;
                let used = DelayedRetry::of(&consume, &features).is_some();
                assert_eq!(used, stated && there, "{version}: {consume:?}");
            }
        }
    }

    #[test]
    fn an_event_is_never_rejected_where_the_queue_would_drop_it() {
        let features = Server::new("RabbitMQ", "4.3.0", None).features;
        let with = |limit: Option<i64>, max: Option<i64>| {
            let mut arguments = vec![
                ("x-delayed-retry-type", "all".into()),
                ("x-delayed-retry-min", Field::I32(100)),
            ];
            arguments.extend(limit.map(|limit| ("x-delivery-limit", Field::I64(limit))));
            arguments.extend(max.map(|max| ("x-delayed-retry-max", Field::I64(max))));
            let consume = consume(Some(QueueType::Quorum), Mode::Ensure, &arguments);
            DelayedRetry::of(&consume, &features).expect("it is there")
        };
        let most = |retry: DelayedRetry| (0..100).take_while(|n| retry.takes_back(*n)).count();
        assert_eq!(most(with(Some(0), None)), 0);
        assert_eq!(most(with(Some(3), None)), 3);
        assert_eq!([most(with(None, None)), most(with(Some(-1), None))], [19, 19]);
        let capped = with(Some(9), Some(250));
        assert_eq!([0, 1, 2, 3].map(|n| capped.delay(n).as_millis()), [100, 200, 250, 250]);
        assert_eq!(capped.longest().as_millis(), 250);
        assert_eq!(with(Some(9), None).longest().as_millis(), 1000);
    }
}
