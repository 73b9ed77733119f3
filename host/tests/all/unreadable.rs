//! Messages that RabbitMQ passes on and AMQP clients cannot read: they must neither stop the other
//! subscriptions nor their own. Published byte by byte, since no client library can.

use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use wabbit::broker::amqp::{AmqpBroker, Config};
use wabbit::broker::{Broker, Consume, Mode, Queue, State, Subscription, Topology};
use wabbit::flow::{Delivery, Field, Publication, Verdict};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn text_that_is_not_utf8_is_delivered_with_question_marks() {
    let at = Fixture::new().await;
    // content-type, headers and type, in which only the header's value may be any bytes.
    let headers = b"\x03a\xffbS\0\0\0\x02\xff\xfe".as_slice();
    let length = (headers.len() as u32).to_be_bytes();
    let properties =
        [&[0xa0, 0x20][..], b"\x04te\xfft", &length, headers, b"\x02\xc3\xc3"].concat();
    let delivery = at.survives(&properties).await;
    let properties = &delivery.event.properties;
    assert_eq!(properties.content_type.as_deref(), Some("te?t"));
    assert_eq!(properties.kind.as_deref(), Some("??"));
    assert_eq!(properties.headers.get("a?b"), Some(&Field::RawText(vec![0xff, 0xfe])));
}

#[tokio::test]
async fn a_table_nested_ten_thousand_deep_is_cut() {
    let at = Fixture::new().await;
    let mut table = Vec::new();
    for _ in 0..10_000 {
        let length = (table.len() as u32).to_be_bytes();
        table = [&b"\x01tF"[..], &length, &table].concat();
    }
    let length = (table.len() as u32).to_be_bytes();
    let delivery = at.survives(&[&[0x20, 0][..], &length, &table].concat()).await;
    let mut depth = 0;
    let mut headers = &delivery.event.properties.headers;
    while let Some(Field::Table(inner)) = headers.get("t") {
        (headers, depth) = (inner, depth + 1);
    }
    assert!((10..1000).contains(&depth), "{depth}");
}

struct Fixture {
    broker: Arc<AmqpBroker>,
    uri: String,
    queue: String,
    other: String,
}

impl Fixture {
    async fn new() -> Self {
        let uri = std::env::var("WABBIT_TEST_AMQP").expect("a RabbitMQ: run `cargo xtask test`");
        let broker = AmqpBroker::connect(Config::from_uris(&[&uri]).expect("an AMQP URI"));
        let names = [(); 2].map(|()| format!("unreadable-{:016x}", fastrand::u64(..)));
        let queues = names.clone().map(Queue::durable).to_vec();
        let topology = Topology { queues, ..Topology::default() };
        broker.declare(&topology, Mode::Ensure).await.unwrap();
        let [queue, other] = names;
        Self { broker, uri, queue, other }
    }

    fn consume(&self, queue: &str) -> Subscription {
        self.broker.subscribe(Consume {
            queue: Queue::durable(queue),
            topology: Topology::default(),
            mode: Mode::Off,
            prefetch: 1,
        })
    }

    async fn publish(&self, queue: &str, body: &str) {
        let (routing_key, body) = (queue.to_owned(), body.as_bytes().to_vec());
        let publication = Publication { routing_key, body, ..Publication::default() };
        self.broker.publish(publication).await.unwrap();
    }

    /// Publishes one with `properties`, and sees that it and what comes after it is delivered, on
    /// a connection that stays.
    async fn survives(&self, properties: &[u8]) -> Delivery {
        let (mut this, mut that) = (self.consume(&self.queue), self.consume(&self.other));
        for subscription in [&mut this, &mut that] {
            let live = |state: &State| matches!(state, State::Live { .. });
            subscription.status.wait_for(|status| live(&status.state)).await.unwrap();
            subscription.status.mark_unchanged();
        }
        publish_raw(&self.uri, &self.queue, properties).await;
        let strange = next(&mut this).await;
        assert_eq!(strange.event.body, b"raw");
        self.publish(&self.queue, "after").await;
        self.publish(&self.other, "other").await;
        let event = strange.event.clone();
        assert!(strange.receipt.settle(Verdict::Ack));
        let after = next(&mut this).await;
        assert_eq!((&after.event.body[..], after.event.redelivered), (&b"after"[..], false));
        let other = next(&mut that).await;
        assert_eq!((&other.event.body[..], other.event.redelivered), (&b"other"[..], false));
        assert!(!this.status.has_changed().unwrap() && !that.status.has_changed().unwrap());
        after.receipt.settle(Verdict::Ack);
        Delivery { event, receipt: other.receipt }
    }
}

async fn next(subscription: &mut Subscription) -> Delivery {
    let delivery = timeout(PATIENCE, subscription.deliveries.recv()).await;
    delivery.expect("a delivery in time").expect("a live subscription")
}

/// Publishes `raw` to `queue` with `properties` as they are, flags first, and waits until the
/// broker has it.
async fn publish_raw(uri: &str, queue: &str, properties: &[u8]) {
    let address = uri.trim_start_matches("amqp://").trim_start_matches("guest:guest@");
    let address = address.split('/').next().expect("an address");
    let mut stream = TcpStream::connect(address).await.expect("a broker");
    stream.write_all(b"AMQP\0\0\x09\x01").await.unwrap();
    // Each answer is awaited: start, tune, open-ok, open-ok, declare-ok.
    let start_ok = b"\0\x0a\0\x0b\0\0\0\0\x05PLAIN\0\0\0\x0c\0guest\0guest\x05en_US";
    let tune_ok = frame(1, 0, b"\0\x0a\0\x1f\0\x01\0\x02\0\0\0\0");
    let open = [tune_ok, frame(1, 0, b"\0\x0a\0\x28\x01/\0\0")].concat();
    let name = [&[queue.len() as u8][..], queue.as_bytes()].concat();
    let publish = [&b"\0\x3c\0\x28\0\0\0"[..], &name, b"\0"].concat();
    let header = [&b"\0\x3c\0\0\0\0\0\0\0\0\0\x03"[..], properties].concat();
    let message = [frame(1, 1, &publish), frame(2, 1, &header), frame(3, 1, b"raw")].concat();
    // A passive declaration, answered after the publication was taken.
    let declare = [&b"\0\x32\0\x0a\0\0"[..], &name, b"\x01\0\0\0\0"].concat();
    for request in [
        frame(1, 0, start_ok),
        open,
        frame(1, 1, b"\0\x14\0\x0a\0"),
        [message, frame(1, 1, &declare)].concat(),
    ] {
        answer(&mut stream).await;
        stream.write_all(&request).await.unwrap();
    }
    assert_eq!(answer(&mut stream).await[..4], *b"\0\x32\0\x0b", "the broker refuses it");
}

fn frame(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&[kind, 0, channel][..], &length, payload, b"\xce"].concat()
}

/// The payload of the next frame.
async fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 7];
    stream.read_exact(&mut head).await.expect("an answer");
    let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    let mut payload = vec![0; length + 1];
    stream.read_exact(&mut payload).await.expect("a whole answer");
    payload
}
