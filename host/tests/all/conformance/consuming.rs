//! Deliveries: how many at once, to whom, what becomes of those that are put back, and what a
//! subscription lives through.

use super::{Fixture, body, live, next, queues, reaches, take};
use tokio::time::timeout;
use wabbit::broker::{Consume, Mode, Queue, QueueType, State, Subscription, Topology};
use wabbit::flow::{Field, Verdict};

pub(super) async fn prefetch_is_honoured(at: Fixture) {
    let queue = at.queue("q", &[]).await;
    publish(&at, &queue, 5).await;
    let mut subscription = at.consume(&queue, 2).await;
    let first = next(&mut subscription).await;
    let second = next(&mut subscription).await;
    at.depth(&queue, (3, 2)).await;
    assert!(subscription.deliveries.try_recv().is_err(), "more than prefetch");
    first.receipt.settle(Verdict::Ack);
    let third = next(&mut subscription).await;
    assert_eq!(body(&third), "3");
    at.depth(&queue, (2, 2)).await;
    assert!(subscription.deliveries.try_recv().is_err(), "more than prefetch");
    drop(second);
}

pub(super) async fn requeued_comes_back_to_its_place_as_redelivered(at: Fixture) {
    put_back_comes_back_to_its_place(at, Verdict::Requeue).await;
}

pub(super) async fn given_back_comes_back_to_its_place(at: Fixture) {
    put_back_comes_back_to_its_place(at, Verdict::GiveBack).await;
}

async fn put_back_comes_back_to_its_place(at: Fixture, verdict: Verdict) {
    let queue = at.queue("q", &[]).await;
    publish(&at, &queue, 4).await;
    let mut subscription = at.consume(&queue, 2).await;
    let first = next(&mut subscription).await;
    let second = next(&mut subscription).await;
    assert!(!first.event.redelivered);
    second.receipt.settle(verdict);
    let again = next(&mut subscription).await;
    assert_eq!((body(&again), again.event.redelivered), ("2", true));
    first.receipt.settle(Verdict::Ack);
    again.receipt.settle(Verdict::Ack);
    let third = next(&mut subscription).await;
    assert_eq!((body(&third), third.event.redelivered), ("3", false));
}

pub(super) async fn an_unsettled_receipt_that_is_dropped_requeues(at: Fixture) {
    let queue = at.queue("q", &[]).await;
    publish(&at, &queue, 1).await;
    let mut subscription = at.consume(&queue, 1).await;
    drop(next(&mut subscription).await);
    let again = next(&mut subscription).await;
    assert_eq!((body(&again), again.event.redelivered), ("1", true));
}

pub(super) async fn consumers_of_one_queue_share_it(at: Fixture) {
    let queue = at.queue("q", &[]).await;
    let mut one = at.consume(&queue, 5).await;
    let mut two = at.consume(&queue, 5).await;
    publish(&at, &queue, 10).await;
    let mut seen = Vec::new();
    // Until the end, so that neither can get more than five.
    let mut held = Vec::new();
    for _ in 0..5 {
        for subscription in [&mut one, &mut two] {
            let delivery = next(subscription).await;
            seen.push(body(&delivery).parse::<u32>().unwrap());
            held.push(delivery);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (1..=10).collect::<Vec<_>>());
}

pub(super) async fn a_cancelled_subscription_settles_what_it_holds(at: Fixture) {
    let queue = at.queue("q", &[]).await;
    publish(&at, &queue, 6).await;
    let mut subscription = at.consume(&queue, 3).await;
    let mut held = vec![next(&mut subscription).await];
    at.depth(&queue, (3, 3)).await;
    subscription.cancel.cancel();
    reaches(&mut subscription, |state| (*state == State::Ended).then_some(())).await;
    while let Ok(Some(delivery)) = timeout(super::PATIENCE, subscription.deliveries.recv()).await {
        held.push(delivery);
    }
    assert_eq!(held.iter().map(body).collect::<Vec<_>>(), ["1", "2", "3"]);
    // What is held stays out; the rest is for others.
    let mut other = at.consume(&queue, 10).await;
    for expected in ["4", "5", "6"] {
        let delivery = next(&mut other).await;
        assert_eq!((body(&delivery), delivery.event.redelivered), (expected, false));
        delivery.receipt.settle(Verdict::Ack);
    }
    let last = held.pop().unwrap();
    for delivery in held {
        assert!(delivery.receipt.settle(Verdict::Ack));
    }
    assert!(last.receipt.settle(Verdict::Requeue));
    let again = next(&mut other).await;
    assert_eq!((body(&again), again.event.redelivered), ("3", true));
    again.receipt.settle(Verdict::Ack);
    at.depth(&queue, (0, 0)).await;
}

pub(super) async fn a_quorum_queue_counts_what_it_takes_back(at: Fixture) {
    let queue = quorum(&at, &[]).await;
    publish(&at, &queue, 1).await;
    let mut subscription = at.consume(&queue, 1).await;
    for returned in 0..3 {
        let delivery = next(&mut subscription).await;
        assert_eq!((delivery.event.attempt, delivery.event.returned), (1, returned));
        assert_eq!(delivery.event.redelivered, returned > 0);
        assert!(delivery.event.properties.headers.is_empty(), "{:?}", delivery.event);
        delivery.receipt.settle(Verdict::Requeue);
    }
    take(&mut subscription).await;
}

pub(super) async fn a_quorum_queue_gives_up_at_its_delivery_limit(at: Fixture) {
    let dead = at.queue("dead", &[]).await;
    let arguments = [
        ("x-delivery-limit", Field::I64(2)),
        ("x-dead-letter-exchange", "".into()),
        ("x-dead-letter-routing-key", dead.as_str().into()),
    ];
    let queue = quorum(&at, &arguments).await;
    publish(&at, &queue, 1).await;
    let mut subscription = at.consume(&queue, 1).await;
    for returned in 0..3 {
        let delivery = next(&mut subscription).await;
        assert_eq!(delivery.event.returned, returned);
        delivery.receipt.settle(Verdict::Requeue);
    }
    let delivery = next(&mut at.consume(&dead, 1).await).await;
    assert_eq!(body(&delivery), "1");
    let headers = &delivery.event.properties.headers;
    assert_eq!(headers.get("x-first-death-reason"), Some(&"delivery_limit".into()));
}

pub(super) async fn a_single_active_consumer_is_followed_by_the_next(at: Fixture) {
    let queue = at.queue("q", &[("x-single-active-consumer", Field::Bool(true))]).await;
    let mut one = at.consume(&queue, 10).await;
    let mut two = at.consume(&queue, 10).await;
    publish(&at, &queue, 5).await;
    for expected in ["1", "2", "3", "4", "5"] {
        let delivery = next(&mut one).await;
        assert_eq!(body(&delivery), expected);
        delivery.receipt.settle(Verdict::Ack);
    }
    assert!(two.deliveries.try_recv().is_err(), "two are active");
    one.cancel.cancel();
    reaches(&mut one, |state| (*state == State::Ended).then_some(())).await;
    at.publish("", &queue, "6").await;
    assert_eq!(body(&next(&mut two).await), "6");
}

pub(super) async fn one_that_leaves_gives_back_all_at_once_and_in_its_place(at: Fixture) {
    for kind in [QueueType::Classic, QueueType::Quorum] {
        let single = [("x-single-active-consumer", Field::Bool(true))];
        let queue = Queue { kind: Some(kind), ..at.queue_like(&format!("{kind:?}"), &single) };
        let name = queue.name.clone();
        at.declare(queues([queue])).await;
        let (mut one, mut two) = (at.consume(&name, 10).await, at.consume(&name, 10).await);
        publish(&at, &name, 30).await;
        for expected in 1..=3 {
            assert_eq!(take(&mut one).await, expected.to_string());
        }
        let held = next(&mut one).await;
        assert_eq!(body(&held), "4");
        one.leave();
        reaches(&mut one, |state| (*state == State::Ended).then_some(())).await;
        assert!(!held.receipt.settle(Verdict::Ack), "{kind:?}: it is not ours any more");
        for expected in 4..=30 {
            assert_eq!(take(&mut two).await, expected.to_string(), "{kind:?}");
        }
        at.depth(&name, (0, 0)).await;
    }
}

pub(super) async fn a_deleted_queue_is_declared_anew_with_ensure(at: Fixture) {
    let (queue, mut subscription) = consume_as(&at, Mode::Ensure).await;
    publish(&at, &queue, 1).await;
    let held = next(&mut subscription).await;
    subscription.status.mark_unchanged();
    at.control.delete_queue(&queue).await;
    subscription.status.changed().await.unwrap();
    live(&mut subscription).await;
    // Of a queue that is no more; must not harm the new one.
    held.receipt.settle(Verdict::Ack);
    at.publish("", &queue, "anew").await;
    let delivery = next(&mut subscription).await;
    assert_eq!((body(&delivery), delivery.event.redelivered), ("anew", false));
    assert!(delivery.receipt.settle(Verdict::Ack));
    at.depth(&queue, (0, 0)).await;
}

pub(super) async fn a_deleted_queue_is_waited_for_with_verify(at: Fixture) {
    let queue = at.queue("q", &[]).await;
    let (_, mut subscription) = consume_as(&at, Mode::Verify).await;
    at.control.delete_queue(&queue).await;
    let names_it = |state: &State| match state {
        State::Down { reason, .. } if reason.contains(&queue) => Some(()),
        _ => None,
    };
    reaches(&mut subscription, names_it).await;
    at.declare(queues([Queue::durable(&queue)])).await;
    assert_eq!(live(&mut subscription).await, queue);
    publish(&at, &queue, 1).await;
    assert_eq!(body(&next(&mut subscription).await), "1");
}

pub(super) async fn a_subscription_that_cannot_be_says_why_and_stops_no_other(at: Fixture) {
    let (_, mut good) = consume_as(&at, Mode::Ensure).await;
    let there = at.queue("there", &[]).await;
    let other = Queue { durable: false, ..Queue::durable(&there) };
    let topology = queues([other.clone()]);
    let mut bad =
        at.broker.subscribe(Consume { queue: other, topology, mode: Mode::Ensure, prefetch: 1 });
    let says_why = |state: &State| match state {
        State::Down { reason, .. } if reason.contains("inequivalent arg 'durable'") => Some(()),
        _ => None,
    };
    reaches(&mut bad, says_why).await;
    at.publish("", &at.name("q"), "x").await;
    assert_eq!(take(&mut good).await, "x");
}

pub(super) async fn closing_settles_what_was_settled_and_gives_back_the_rest(at: Fixture) {
    let queue = at.queue("q", &[]).await;
    publish(&at, &queue, 100).await;
    let mut subscription = at.consume(&queue, 100).await;
    for _ in 1..100 {
        take(&mut subscription).await;
    }
    let unsettled = next(&mut subscription).await;
    subscription.cancel.cancel();
    reaches(&mut subscription, |state| (*state == State::Ended).then_some(())).await;
    at.broker.close().await;
    let at = Fixture { broker: at.control.connect(), ..at };
    let again = next(&mut at.consume(&queue, 100).await).await;
    assert_eq!((body(&again), again.event.redelivered), ("100", true));
    // Too late: it is another's now.
    unsettled.receipt.settle(Verdict::Ack);
    again.receipt.settle(Verdict::Ack);
    at.depth(&queue, (0, 0)).await;
}

async fn consume_as(at: &Fixture, mode: Mode) -> (String, Subscription) {
    let queue = Queue::durable(at.name("q"));
    let name = queue.name.clone();
    let topology = queues([queue.clone()]);
    let mut subscription = at.broker.subscribe(Consume { queue, topology, mode, prefetch: 10 });
    live(&mut subscription).await;
    (name, subscription)
}

async fn quorum(at: &Fixture, arguments: &[(&str, Field)]) -> String {
    let queue = Queue { kind: Some(QueueType::Quorum), ..at.queue_like("quorum", arguments) };
    let name = queue.name.clone();
    at.declare(Topology { queues: vec![queue], ..Topology::default() }).await;
    name
}

/// Publishes `1`, `2`, … `count`.
async fn publish(at: &Fixture, queue: &str, count: u32) {
    for number in 1..=count {
        at.publish("", queue, &number.to_string()).await;
    }
}
