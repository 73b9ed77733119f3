//! What the broker and its consumers say of how much is left.

use super::{Fixture, binding, body, live, next, queues, reaches, take};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use wabbit::broker::{
    Census, Consume, Depth, Exchange, ExchangeKind, Mode, Queue, State, Subscription, Topology,
};
use wabbit::flow::Verdict;

pub(super) async fn a_census_counts_what_is_ready_held_and_delivered(at: Fixture) {
    let queue = at.queue("q", &[]).await;
    publish(&at, &queue, 5).await;
    let mut one = at.consume(&queue, 2).await;
    let first = next(&mut one).await;
    let second = next(&mut one).await;
    let census = |ready, unsettled, delivered| Census { ready, consumers: 1, unsettled, delivered };
    assert_eq!(one.counter.census().await, Some(census(3, 2, 2)));
    first.receipt.settle(Verdict::Ack);
    let third = next(&mut one).await;
    counts(&one, census(2, 2, 3)).await;
    drop(second);
    counts(&one, census(2, 2, 4)).await;
    third.receipt.settle(Verdict::Ack);
    for _ in 0..3 {
        take(&mut one).await;
    }
    counts(&one, census(0, 0, 6)).await;
}

pub(super) async fn a_census_counts_the_consumers_of_others(at: Fixture) {
    let queue = at.queue("q", &[]).await;
    let one = at.consume(&queue, 1).await;
    let mut two = at.consume(&queue, 1).await;
    let shared = Census { ready: 0, consumers: 2, unsettled: 0, delivered: 0 };
    assert_eq!(one.counter.census().await, Some(shared));
    assert_eq!(at.broker.depth(&queue).await, Ok(Some(Depth { ready: 0, consumers: 2 })));
    two.cancel.cancel();
    reaches(&mut two, |state| (*state == State::Ended).then_some(())).await;
    counts(&one, Census { consumers: 1, ..shared }).await;
}

pub(super) async fn a_subscription_is_over_when_the_last_it_held_is_settled(at: Fixture) {
    let queue = at.queue("q", &[]).await;
    publish(&at, &queue, 3).await;
    let mut one = at.consume(&queue, 2).await;
    let (first, second) = (next(&mut one).await, next(&mut one).await);
    let counter = one.counter.clone();
    drop(one);
    let mut other = at.consume(&queue, 2).await;
    let third = next(&mut other).await;
    assert_eq!(body(&third), "3");
    first.receipt.settle(Verdict::Ack);
    sleep(Duration::from_millis(50)).await;
    assert!(!counter.is_over(), "it holds one");
    second.receipt.settle(Verdict::GiveBack);
    let over = timeout(super::PATIENCE, async {
        while !counter.is_over() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    over.await.expect("an end");
    // So the broker has it back, and has given it on.
    let census = Census { ready: 0, consumers: 1, unsettled: 2, delivered: 2 };
    assert_eq!(other.counter.census().await, Some(census));
    drop(third);
}

/// RabbitMQ answers before it sends what a queue gave out, now and then.
pub(super) async fn nothing_is_missing_from_a_census_while_events_flow(at: Fixture) {
    const EVENTS: u64 = 400;
    let queue = at.queue("q", &[]).await;
    publish(&at, &queue, EVENTS).await;
    let mut one = at.consume(&queue, 7).await;
    let counter = one.counter.clone();
    let settling = tokio::spawn(async move {
        for expected in 1..=EVENTS {
            let delivery = next(&mut one).await;
            assert_eq!(body(&delivery), expected.to_string());
            delivery.receipt.settle(Verdict::Ack);
        }
        one
    });
    let mut censuses = 0;
    let mut last = Census { ready: EVENTS, consumers: 1, unsettled: 0, delivered: 0 };
    while last.ready > 0 || last.unsettled > 0 {
        let census = counter.census().await.expect("a live consumer");
        assert!(census.ready + census.delivered >= EVENTS, "{census:?}");
        assert!(census.delivered >= last.delivered, "{last:?}, then {census:?}");
        last = census;
        censuses += 1;
    }
    assert_eq!(last.delivered, EVENTS);
    assert!(censuses > 1);
    drop(settling.await.unwrap());
}

pub(super) async fn only_a_live_consumer_has_a_census(at: Fixture) {
    let queue = Queue::durable(at.name("q"));
    let topology = queues([queue.clone()]);
    let consume = Consume { queue, topology, mode: Mode::Verify, prefetch: 1 };
    let mut waits = at.broker.subscribe(consume);
    let down = |state: &State| matches!(state, State::Down { .. }).then_some(());
    reaches(&mut waits, down).await;
    assert_eq!(at_once(&waits).await, None);
    let queue = at.queue("q", &[]).await;
    live(&mut waits).await;
    counts(&waits, Census { ready: 0, consumers: 1, unsettled: 0, delivered: 0 }).await;
    at.control.delete_queue(&queue).await;
    reaches(&mut waits, down).await;
    assert_eq!(at_once(&waits).await, None);
    waits.cancel.cancel();
    reaches(&mut waits, |state| (*state == State::Ended).then_some(())).await;
    assert_eq!(at_once(&waits).await, None);
}

pub(super) async fn a_queue_that_is_not_there_has_no_depth(at: Fixture) {
    assert_eq!(at.broker.depth(&at.name("q")).await, Ok(None));
    let queue = at.queue("q", &[]).await;
    publish(&at, &queue, 3).await;
    assert_eq!(at.broker.depth(&queue).await, Ok(Some(Depth { ready: 3, consumers: 0 })));
}

pub(super) async fn a_sweep_finds_the_delay_queues_that_are_there(at: Fixture) {
    let names: Vec<_> = (0..300).map(|n| at.name(&format!("delay.{n}"))).collect();
    let [empty, full] = [7, 250].map(|n: usize| names[n].clone());
    for name in [&empty, &full] {
        let exchange = Exchange {
            name: name.clone(),
            kind: Some(ExchangeKind::Fanout),
            durable: true,
            auto_delete: true,
        };
        at.declare(Topology {
            exchanges: vec![exchange],
            queues: vec![Queue::durable(name)],
            bindings: vec![binding(name, name, "")],
        })
        .await;
    }
    at.publish(&full, "back", "1").await;
    for _ in 0..2 {
        let found = at.broker.sweep(&names).await.unwrap();
        let there = |name: &String, ready| (name.clone(), Depth { ready, consumers: 0 });
        assert_eq!(found, [there(&empty, 0), there(&full, 1)], "it takes nothing away");
    }
    at.publish(&empty, "back", "2").await;
    assert_eq!(at.broker.sweep(&names[..8]).await.unwrap()[0].1.ready, 1);
}

/// Waits for a census.
async fn counts(subscription: &Subscription, expected: Census) {
    let mut last = None;
    let reached = timeout(super::PATIENCE, async {
        while last != Some(expected) {
            last = subscription.counter.census().await;
            sleep(Duration::from_millis(10)).await;
        }
    });
    let reached = reached.await.is_ok();
    assert!(reached, "{last:?} and not {expected:?}");
}

async fn at_once(subscription: &Subscription) -> Option<Census> {
    let census = timeout(Duration::from_millis(100), subscription.counter.census());
    census.await.expect("an answer at once")
}

/// Publishes `1`, `2`, … `count`.
async fn publish(at: &Fixture, queue: &str, count: u64) {
    for number in 1..=count {
        at.publish("", queue, &number.to_string()).await;
    }
}
