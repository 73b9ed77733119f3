//! Messages and queues end when they should, and what was in them goes where it should.

use super::{Fixture, body, gone, live, next, publication, queues, take};
use wabbit::broker::{Consume, ExchangeKind, Mode, PublishError, Queue};
use wabbit::flow::{Delivery, Field, Headers, Properties, Publication};

pub(super) async fn a_delay_queue_returns_to_the_queue_named_by_the_key(at: Fixture) {
    let arguments = [("x-message-ttl", Field::I64(50)), ("x-dead-letter-exchange", "".into())];
    let delay = at.queue("wabbit.delay.50", &arguments).await;
    let exchange = at.exchange("wabbit.delay.50", ExchangeKind::Fanout).await;
    at.bind(&exchange, &delay, "").await;
    let (one, two) = (at.queue("one", &[]).await, at.queue("two", &[]).await);
    at.publish(&exchange, &one, "1").await;
    at.publish(&exchange, &two, "2").await;
    for (queue, expected) in [(&one, "1"), (&two, "2")] {
        let delivery = next(&mut at.consume(queue, 1).await).await;
        assert_eq!(body(&delivery), expected);
        assert_eq!(delivery.event.exchange, "");
        assert_eq!(&delivery.event.routing_key, queue);
        assert!(!delivery.event.redelivered);
        let death = death(&delivery);
        assert_eq!(death.get("queue"), Some(&delay.as_str().into()));
        assert_eq!(death.get("exchange"), Some(&exchange.as_str().into()));
        assert_eq!(death.get("routing-keys"), Some(&Field::Array(vec![queue.as_str().into()])));
        assert_eq!(death.get("reason"), Some(&"expired".into()));
        assert_eq!(death.get("count"), Some(&Field::I64(1)));
        assert!(matches!(death.get("time"), Some(Field::Timestamp(_))), "{death:?}");
        let headers = &delivery.event.properties.headers;
        assert_eq!(headers.get("x-first-death-queue"), Some(&delay.as_str().into()));
        assert_eq!(headers.get("x-first-death-exchange"), Some(&exchange.as_str().into()));
        assert_eq!(headers.get("x-first-death-reason"), Some(&"expired".into()));
    }
}

pub(super) async fn an_expired_message_is_dead_lettered_without_its_expiration(at: Fixture) {
    let dead = at.queue("dead", &[]).await;
    let queue = at.queue("q", &dead_letter_to(&dead)).await;
    let properties = Properties { expiration: Some("1".to_owned()), ..Properties::default() };
    at.broker.publish(Publication { properties, ..publication("", &queue, "x") }).await.unwrap();
    let delivery = next(&mut at.consume(&dead, 1).await).await;
    assert_eq!(delivery.event.properties.expiration, None);
    let death = death(&delivery);
    assert_eq!(death.get("original-expiration"), Some(&"1".into()));
    assert_eq!(death.get("reason"), Some(&"expired".into()));
    assert_eq!(death.get("queue"), Some(&queue.as_str().into()));
}

pub(super) async fn the_oldest_over_the_maximum_length_is_dead_lettered(at: Fixture) {
    let dead = at.queue("dead", &[]).await;
    let mut arguments = dead_letter_to(&dead);
    arguments.push(("x-max-length", Field::I64(2)));
    let queue = at.queue("q", &arguments).await;
    for text in ["1", "2", "3"] {
        at.publish("", &queue, text).await;
    }
    let delivery = next(&mut at.consume(&dead, 1).await).await;
    assert_eq!(body(&delivery), "1");
    assert_eq!(death(&delivery).get("reason"), Some(&"maxlen".into()));
    assert_eq!(body(&next(&mut at.consume(&queue, 1).await).await), "2");
}

pub(super) async fn a_full_queue_that_rejects_says_nack(at: Fixture) {
    let arguments = [("x-max-length", Field::I64(1)), ("x-overflow", "reject-publish".into())];
    let queue = at.queue("q", &arguments).await;
    at.publish("", &queue, "1").await;
    let error = at.broker.publish(publication("", &queue, "2")).await.unwrap_err();
    assert_eq!(error, PublishError::Nacked);
    let mut subscription = at.consume(&queue, 1).await;
    assert_eq!(take(&mut subscription).await, "1");
    at.publish("", &queue, "3").await;
    assert_eq!(take(&mut subscription).await, "3");
}

pub(super) async fn an_unused_queue_expires(at: Fixture) {
    let queue = at.queue("q", &[("x-expires", Field::I64(200))]).await;
    gone(&at, &queue).await;
}

pub(super) async fn an_auto_delete_queue_goes_with_its_last_consumer(at: Fixture) {
    let queue = Queue { auto_delete: true, durable: false, ..Queue::durable(at.name("q")) };
    let name = queue.name.clone();
    let topology = queues([queue.clone()]);
    let consume = Consume { queue, topology, mode: Mode::Ensure, prefetch: 1 };
    let mut subscriptions = [(); 2].map(|()| at.broker.subscribe(consume.clone()));
    for subscription in &mut subscriptions {
        live(subscription).await;
    }
    let [first, mut second] = subscriptions;
    drop(first);
    at.publish("", &name, "x").await;
    assert_eq!(take(&mut second).await, "x");
    drop(second);
    gone(&at, &name).await;
}

pub(super) async fn an_exclusive_queue_goes_with_its_connection(at: Fixture) {
    let queue = Queue { exclusive: true, durable: false, ..Queue::durable(at.name("q")) };
    let name = queue.name.clone();
    let topology = queues([queue.clone()]);
    let consume = Consume { queue, topology, mode: Mode::Ensure, prefetch: 1 };
    let mut subscription = at.broker.subscribe(consume);
    live(&mut subscription).await;
    at.publish("", &name, "x").await;
    assert_eq!(take(&mut subscription).await, "x");
    subscription.cancel.cancel();
    at.broker.close().await;
    let at = Fixture { broker: at.control.connect(), ..at };
    gone(&at, &name).await;
}

fn dead_letter_to(queue: &str) -> Vec<(&'static str, Field)> {
    vec![("x-dead-letter-exchange", "".into()), ("x-dead-letter-routing-key", queue.into())]
}

/// The latest record of `x-death`.
fn death(delivery: &Delivery) -> Headers {
    match delivery.event.properties.headers.get("x-death") {
        Some(Field::Array(deaths)) => match deaths.first() {
            Some(Field::Table(death)) => death.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}
