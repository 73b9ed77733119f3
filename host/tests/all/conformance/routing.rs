//! What is published goes to the right queues, or its publisher hears that it did not.

use super::{Fixture, binding, next, publication, queues, take};
use futures_util::future::join_all;
use wabbit::broker::{Binding, ExchangeKind, HeadersMatch, PublishError, Queue, Topology};
use wabbit::flow::{Field, Headers, Properties, Publication, Verdict};

pub(super) async fn default_exchange_routes_by_queue_name(at: Fixture) {
    let queue = at.queue("orders", &[]).await;
    at.publish("", &queue, "hello").await;
    let delivery = next(&mut at.consume(&queue, 1).await).await;
    let event = &delivery.event;
    assert_eq!(event.exchange, "");
    assert_eq!(event.routing_key, queue);
    assert_eq!(event.queue, queue);
    assert_eq!(event.body, b"hello");
    assert_eq!(event.properties, Properties::default());
    assert_eq!((event.redelivered, event.attempt), (false, 1));
    assert!(event.first_seen > 0);
    assert!(delivery.receipt.settle(Verdict::Ack));
}

pub(super) async fn direct_exchange_routes_by_equal_key(at: Fixture) {
    let exchange = at.exchange("direct", ExchangeKind::Direct).await;
    let queue = at.queue("q", &[]).await;
    at.bind(&exchange, &queue, "a").await;
    at.publish(&exchange, "a", "1").await;
    let delivery = next(&mut at.consume(&queue, 1).await).await;
    assert_eq!(delivery.event.exchange, exchange);
    assert_eq!(delivery.event.routing_key, "a");
    assert!(!routes(&at, publication(&exchange, "b", "")).await);
    assert!(!routes(&at, publication(&exchange, "", "")).await);
}

pub(super) async fn fanout_exchange_copies_to_every_queue(at: Fixture) {
    let exchange = at.exchange("fanout", ExchangeKind::Fanout).await;
    let (one, two) = (at.queue("one", &[]).await, at.queue("two", &[]).await);
    at.bind(&exchange, &one, "").await;
    at.bind(&exchange, &two, "ignored").await;
    // Bound twice, it is still one copy.
    at.bind(&exchange, &two, "again").await;
    at.publish(&exchange, "any", "1").await;
    at.publish(&exchange, "other", "2").await;
    for queue in [one, two] {
        let mut subscription = at.consume(&queue, 10).await;
        for expected in ["1", "2"] {
            assert_eq!(take(&mut subscription).await, expected);
        }
    }
}

pub(super) async fn topic_exchange_routes_by_pattern(at: Fixture) {
    let cases = [
        ("order.*", "order.placed", true),
        ("order.*", "order", false),
        ("order.*", "order.placed.late", false),
        ("order.#", "order", true),
        ("order.#", "order.placed.late", true),
        ("#.late", "order.placed.late", true),
        ("*.placed.#", "order.placed", true),
        ("*", "", false),
        ("#", "", true),
        ("a.*", "a.", true),
    ];
    for (number, (pattern, key, expected)) in cases.into_iter().enumerate() {
        let exchange = at.exchange(&format!("topic{number}"), ExchangeKind::Topic).await;
        let queue = at.queue("q", &[]).await;
        at.bind(&exchange, &queue, pattern).await;
        let routed = routes(&at, publication(&exchange, key, "")).await;
        assert_eq!(routed, expected, "`{pattern}` and `{key}`");
    }
}

pub(super) async fn headers_exchange_routes_by_all_or_any(at: Fixture) {
    let of = |fields: &[(&str, Field)]| -> Headers { fields.iter().cloned().collect() };
    let sent = of(&[("colour", "red".into()), ("size", Field::I32(3))]);
    let cases = [
        (HeadersMatch::All, of(&[("colour", "red".into()), ("size", Field::I32(3))]), true),
        (HeadersMatch::All, of(&[("colour", "red".into()), ("size", Field::I32(4))]), false),
        (HeadersMatch::Any, of(&[("colour", "red".into()), ("size", Field::I32(4))]), true),
        (HeadersMatch::Any, of(&[("colour", "blue".into())]), false),
        (HeadersMatch::None, of(&[("colour", "red".into())]), true),
        (HeadersMatch::All, of(&[("weight", "1".into())]), false),
        (HeadersMatch::All, of(&[("size", Field::I64(3))]), true),
    ];
    for (number, (headers_match, headers, expected)) in cases.into_iter().enumerate() {
        let exchange = at.exchange(&format!("headers{number}"), ExchangeKind::Headers).await;
        let queue = at.queue("q", &[]).await;
        let bound = Binding { headers_match, headers, ..binding(&exchange, &queue, "") };
        at.declare(Topology { bindings: vec![bound.clone()], ..Topology::default() }).await;
        let properties = Properties { headers: sent.clone(), ..Properties::default() };
        let routed =
            routes(&at, Publication { properties, ..publication(&exchange, "", "") }).await;
        assert_eq!(routed, expected, "{bound:?}");
    }
}

pub(super) async fn exchanges_of_the_broker_are_there(at: Fixture) {
    let queue = at.queue("q", &[]).await;
    let mut subscription = at.consume(&queue, 10).await;
    for exchange in ["amq.direct", "amq.topic", "amq.fanout", "amq.headers", "amq.match"] {
        // A key, and a header, that no other test binds with.
        let headers: Headers = [("only", queue.as_str())].into_iter().collect();
        let bound = Binding { headers: headers.clone(), ..binding(exchange, &queue, &queue) };
        at.declare(Topology { bindings: vec![bound], ..Topology::default() }).await;
        let properties = Properties { headers, ..Properties::default() };
        let sent = Publication { properties, ..publication(exchange, &queue, exchange) };
        at.broker.publish(sent).await.unwrap();
        assert_eq!(take(&mut subscription).await, exchange);
    }
}

pub(super) async fn carbon_copies_are_routed_and_blind_ones_hidden(at: Fixture) {
    let names = ["to", "cc", "bcc"].map(|base| at.name(base));
    at.declare(queues(names.clone().map(Queue::durable))).await;
    let [to, cc, bcc] = &names;
    let list = |name: &str| Field::Array(vec![name.into()]);
    let headers: Headers = [("BCC", list(bcc)), ("CC", list(cc))].into_iter().collect();
    let properties = Properties { headers, ..Properties::default() };
    at.broker.publish(Publication { properties, ..publication("", to, "1") }).await.unwrap();
    for queue in &names {
        let delivery = next(&mut at.consume(queue, 1).await).await;
        assert_eq!(&delivery.event.routing_key, to);
        assert_eq!(delivery.event.properties.headers.get("CC"), Some(&list(cc)));
        assert_eq!(delivery.event.properties.headers.get("BCC"), None);
    }
}

pub(super) async fn what_no_queue_takes_is_returned(at: Fixture) {
    let nowhere = at.name("nowhere");
    let error = at.broker.publish(publication("", &nowhere, "x")).await.unwrap_err();
    let PublishError::Unroutable { exchange, routing_key, reply } = error else {
        panic!("{error:?}")
    };
    assert_eq!((exchange.as_str(), &routing_key), ("", &nowhere));
    assert_eq!(reply, "312 NO_ROUTE");
}

pub(super) async fn a_missing_exchange_is_refused_and_publishing_goes_on(at: Fixture) {
    let (missing, queue) = (at.name("missing"), at.queue("q", &[]).await);
    for _ in 0..3 {
        let error = at.broker.publish(publication(&missing, "k", "x")).await.unwrap_err();
        let PublishError::Refused(reason) = error else { panic!("{error:?}") };
        assert!(reason.contains("NOT_FOUND") && reason.contains(&missing), "{reason}");
        at.publish("", &queue, "still here").await;
    }
}

pub(super) async fn a_foreign_user_id_is_refused(at: Fixture) {
    let queue = at.queue("q", &[]).await;
    let properties = Properties { user_id: Some("mallory".to_owned()), ..Properties::default() };
    let sent = Publication { properties, ..publication("", &queue, "x") };
    let error = at.broker.publish(sent).await.unwrap_err();
    let PublishError::Refused(reason) = error else { panic!("{error:?}") };
    assert!(reason.contains("PRECONDITION_FAILED") && reason.contains("mallory"), "{reason}");
    at.publish("", &queue, "still here").await;
}

pub(super) async fn names_over_255_bytes_are_refused(at: Fixture) {
    let (queue, long) = (at.queue("q", &[]).await, "k".repeat(256));
    for sent in [publication("", &long, "x"), publication(&long, "k", "x")] {
        let error = at.broker.publish(sent).await.unwrap_err();
        let PublishError::Refused(reason) = error else { panic!("{error:?}") };
        assert!(reason.contains("256 bytes, AMQP allows 255"), "{reason}");
    }
    assert!(!routes(&at, publication("", &long[1..], "x")).await);
    at.publish("", &queue, "still here").await;
}

pub(super) async fn each_publication_gets_its_own_answer(at: Fixture) {
    let (queue, nowhere) = (at.queue("q", &[]).await, at.name("nowhere"));
    let lost = |number: usize| number % 3 == 1;
    let answers = join_all((0..300).map(|number| {
        let key = if lost(number) { &nowhere } else { &queue };
        at.broker.publish(publication("", key, &number.to_string()))
    }));
    for (number, answer) in answers.await.into_iter().enumerate() {
        assert_eq!(answer.is_err(), lost(number), "{number}: {answer:?}");
    }
    let mut subscription = at.consume(&queue, 0).await;
    for _ in (0..300).filter(|number| !lost(*number)) {
        assert!(!lost(take(&mut subscription).await.parse().unwrap()));
    }
}

pub(super) async fn order_of_publishing_is_order_of_delivery(at: Fixture) {
    let queue = at.queue("q", &[]).await;
    for number in 0..50 {
        at.publish("", &queue, &number.to_string()).await;
    }
    let mut subscription = at.consume(&queue, 7).await;
    for number in 0..50 {
        assert_eq!(take(&mut subscription).await, number.to_string());
    }
}

async fn routes(at: &Fixture, publication: Publication) -> bool {
    match at.broker.publish(publication).await {
        Ok(()) => true,
        Err(PublishError::Unroutable { .. }) => false,
        Err(error) => panic!("{error:?}"),
    }
}
