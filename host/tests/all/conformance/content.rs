//! What is published is what is delivered, to the byte.

use super::{Fixture, next, publication, take};
use wabbit::broker::arrival::{self, stash};
use wabbit::broker::{ExchangeKind, Queue, Topology};
use wabbit::flow::{Event, Field, Headers, Properties, Publication, Verdict};

pub(super) async fn every_property_round_trips(at: Fixture) {
    let some = |text: &str| Some(text.to_owned());
    let properties = Properties {
        content_type: some("application/json"),
        content_encoding: some("utf-8"),
        headers: [("colour", "röt")].into_iter().collect(),
        delivery_mode: Some(2),
        priority: Some(7),
        correlation_id: some("c-1"),
        reply_to: some("replies"),
        expiration: some("600000"),
        message_id: some("m-1"),
        timestamp: Some(1_700_000_000),
        kind: some("order.placed"),
        user_id: some("guest"),
        app_id: some("shop"),
        cluster_id: some("c"),
    };
    let event = round_trip(&at, properties.clone(), b"{}").await;
    assert_eq!(event.properties, properties);
    assert_eq!(event.body, b"{}");
}

pub(super) async fn every_type_of_field_round_trips_at_every_depth(at: Fixture) {
    let mut nested = every_type();
    for _ in 0..3 {
        let mut outer = every_type();
        outer.set("n-array", Field::Array(vec![Field::Table(nested.clone()), Field::Void]));
        outer.set("n-table", Field::Table(nested));
        nested = outer;
    }
    let properties = Properties { headers: nested, ..Properties::default() };
    let event = round_trip(&at, properties.clone(), b"x").await;
    assert_eq!(event.properties, properties);
}

/// One field of each type, with names in order.
fn every_type() -> Headers {
    let fields = [
        Field::Text("tëxt".to_owned()),
        Field::Text(String::new()),
        Field::RawText(vec![0xff, 0x00, 0xfe]),
        Field::Bytes(vec![1, 2, 0, 255]),
        Field::Bool(true),
        Field::I8(i8::MIN),
        Field::I16(i16::MIN),
        Field::I32(i32::MIN),
        Field::I64(i64::MIN),
        Field::U8(u8::MAX),
        Field::U16(u16::MAX),
        Field::U32(u32::MAX),
        Field::F32(1.5),
        Field::F64(-2.25),
        Field::Decimal { scale: 2, value: 12345 },
        Field::Timestamp(1_700_000_000),
        Field::Void,
        Field::Array(Vec::new()),
        Field::Table(Headers::default()),
    ];
    let named = fields.into_iter().enumerate();
    named.map(|(number, field)| (format!("f{number:02}"), field)).collect()
}

pub(super) async fn an_empty_body_round_trips(at: Fixture) {
    assert!(round_trip(&at, Properties::default(), b"").await.body.is_empty());
}

pub(super) async fn a_body_of_one_mebibyte_round_trips(at: Fixture) {
    let body: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    assert!(round_trip(&at, Properties::default(), &body).await.body == body);
}

async fn round_trip(at: &Fixture, properties: Properties, body: &[u8]) -> Event {
    let queue = at.queue("q", &[]).await;
    let sent = Publication { properties, body: body.to_vec(), ..publication("", &queue, "") };
    at.broker.publish(sent).await.unwrap();
    let delivery = next(&mut at.consume(&queue, 1).await).await;
    let event = delivery.event.clone();
    assert!(delivery.receipt.settle(Verdict::Ack));
    event
}

pub(super) async fn what_was_stashed_is_back_after_a_delay_queue(at: Fixture) {
    let (work, copies) = (at.name("work"), at.name("copies"));
    let delay = at.queue_like(
        "delay",
        &[("x-message-ttl", Field::I64(1)), ("x-dead-letter-exchange", "".into())],
    );
    let hold = delay.name.clone();
    at.declare(Topology {
        queues: vec![delay, Queue::durable(&work), Queue::durable(&copies)],
        ..Topology::default()
    })
    .await;
    let exchange = at.exchange("delays", ExchangeKind::Fanout).await;
    at.bind(&exchange, &hold, "").await;

    let copy_to = Field::Array(vec![copies.as_str().into()]);
    let before = Properties {
        headers: [("CC", copy_to), ("colour", "red".into())].into_iter().collect(),
        expiration: Some("600000".to_owned()),
        user_id: Some("mallory".to_owned()),
        message_id: Some("m-1".to_owned()),
        ..Properties::default()
    };
    let mut properties = before.clone();
    stash(&mut properties, "shop", "order.placed");
    properties.headers.set(arrival::ATTEMPT, Field::I64(2));
    properties.headers.set(arrival::FIRST_SEEN, Field::I64(1_700_000_000_123));
    at.broker
        .publish(Publication { properties, ..publication(&exchange, &work, "x") })
        .await
        .unwrap();

    let event = next(&mut at.consume(&work, 1).await).await.event.clone();
    assert_eq!(event.properties, before);
    assert_eq!((event.exchange.as_str(), event.routing_key.as_str()), ("shop", "order.placed"));
    assert_eq!((event.attempt, event.first_seen), (2, 1_700_000_000_123));
    // No copy came before this.
    at.publish("", &copies, "first").await;
    assert_eq!(take(&mut at.consume(&copies, 1).await).await, "first");
}
