//! What depends on the broker's version, against brokers that say they are of one.

use crate::support::fake_broker::{FakeBroker, FakeConsumer};
use crate::support::process::{Place, Wabbit};
use amq_protocol::protocol::{AMQPClass, basic};
use amq_protocol::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a consumer that the broker ended may take to be back.
const BACK_WITHIN: Duration = Duration::from_secs(5);

async fn run(broker: &FakeBroker, subscription: &str) -> Wabbit {
    let manifest = format!("[[subscription]]\n{subscription}\n[grants]\npublish = [\":out\"]\n");
    let host = Place::new().plugin("orders", "scripted", &manifest).run(&broker.url()).await;
    host.ready().await;
    host
}

/// The lines that say what the broker is.
fn introductions(host: &Wabbit) -> Vec<String> {
    let said = |line: Value| {
        Some(line["message"].as_str().filter(|it| it.starts_with("the broker is"))?.to_owned())
    };
    host.log_lines().into_iter().filter_map(said).collect()
}

async fn features(host: &Wabbit) -> Value {
    let (status, body) = host.get("/api/broker").await;
    assert_eq!(status, 200);
    serde_json::from_str::<Value>(&body).unwrap()["server"].take()
}

/// The host handles what this consumer is given.
async fn handles(broker: &FakeBroker, consumer: &FakeConsumer) {
    consumer.deliver(1, FieldTable::default(), "log:hello");
    broker.settles(consumer, &["ack 1"]).await;
}

async fn of_version(version: &str, retry: bool, limit: Option<u32>, timeout: &str, says: &[&str]) {
    let broker = FakeBroker::start(version).await;
    let host = run(&broker, "type = \"quorum\"").await;
    let server = features(&host).await;
    assert_eq!(server["product"], "RabbitMQ");
    assert_eq!(server["version"], version);
    assert_eq!(server["cluster"], "rabbit@fake");
    let features = &server["features"];
    assert_eq!(features["native-delayed-retry"], retry, "{version}");
    assert_eq!(features["default-delivery-limit"], json!(limit), "{version}");
    assert_eq!(features["consumer-timeout"], timeout, "{version}");

    let first = broker.consumer(0).await;
    handles(&broker, &first).await;
    let began = Instant::now();
    if timeout == "cancels-consumer" {
        first.cancel()
    } else {
        first.close_channel()
    }
    let second = broker.consumer(1).await;
    assert!(began.elapsed() < BACK_WITHIN, "{version}: {:?}", began.elapsed());
    assert_eq!(second.connection, first.connection, "{version}: the connection stays");
    handles(&broker, &second).await;
    second.deliver(2, FieldTable::default(), "reject:no");
    broker.settles(&second, &["ack 1", "ack 2"]).await;
    let letters = broker.published();
    assert_eq!(letters.len(), 1, "{version}: {letters:?}");
    assert_eq!((&*letters[0].exchange, &*letters[0].routing_key), ("", "orders.dlq"));
    host.ready().await;
    assert_eq!(broker.connections(), 2, "{version}: the connections stay");

    let qos = broker.sent(|sent| match &sent.method {
        AMQPClass::Basic(basic::AMQPMethod::Qos(qos)) => Some(qos.global),
        _ => None,
    });
    assert_eq!(qos, [false, false], "{version}: once for each consumer, and never for a channel");
    let said = introductions(&host);
    assert_eq!(said.len(), 1, "{version}: {said:?}");
    for text in
        [&format!("RabbitMQ {version}")].into_iter().map(String::as_str).chain(says.iter().copied())
    {
        assert!(said[0].contains(text), "{version}: `{text}` in {said:?}");
    }
}

#[tokio::test]
async fn the_version_decides_and_is_told_once() {
    let closes = "a consumer's timeout closes its channel";
    let cancels = "a consumer's timeout cancels it";
    let (no_limit, limit) = ("without a limit", "20 times");
    let ignores = "ignore `x-delayed-retry-type`";
    of_version("3.10.8", false, None, "closes-channel", &[ignores, no_limit, closes]).await;
    of_version("3.13.7", false, None, "closes-channel", &[ignores, no_limit, closes]).await;
    of_version("4.0.3", false, Some(20), "closes-channel", &[ignores, limit, closes]).await;
    of_version("4.2.1", false, Some(20), "closes-channel", &[ignores, limit, closes]).await;
    let obeys = "obey `x-delayed-retry-type`";
    of_version("4.3.0", true, Some(20), "cancels-consumer", &[obeys, limit, cancels]).await;
}

#[tokio::test]
async fn a_broker_that_comes_back_newer_is_news_and_one_that_is_the_same_is_not() {
    let broker = FakeBroker::start("4.2.1").await;
    let host = run(&broker, "").await;
    for (number, version) in ["4.2.1", "4.3.0"].into_iter().enumerate() {
        broker.upgrade(version);
        let consumer = broker.consumer(number + 1).await;
        handles(&broker, &consumer).await;
        host.metric_reaches("wabbit_connection_up", &[], 2.0).await;
        host.ready().await;
    }
    let said = introductions(&host);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("4.2.1") && said[1].contains("4.3.0"), "{said:?}");
    assert_eq!(features(&host).await["version"], "4.3.0");
}

/// A queue that is to delay by itself what is rejected.
const DELAYS: &str = "type = \"quorum\"\n\
    arguments = { x-delayed-retry-type = \"all\", x-delayed-retry-min = 100, x-delivery-limit = 9 }";

/// A delivery that the queue has taken back so often.
fn returned(times: i64) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(times));
    headers
}

/// The warnings about delays that the broker does not have.
fn ignored(host: &Wabbit) -> usize {
    let said =
        |line: &Value| line["message"].to_string().contains("ignores `x-delayed-retry-type`");
    host.log_lines().iter().filter(|line| said(line)).count()
}

#[tokio::test]
async fn a_queue_that_delays_by_itself_is_left_to_do_so() {
    let broker = FakeBroker::start("4.3.0").await;
    let host = run(&broker, DELAYS).await;
    let consumer = broker.consumer(0).await;
    let exchanges = || broker.published().into_iter().map(|it| it.exchange).collect::<Vec<_>>();
    consumer.deliver(1, FieldTable::default(), "retry");
    broker.settles(&consumer, &["reject 1"]).await;
    consumer.deliver(2, returned(2), "ok-from:3");
    broker.settles(&consumer, &["reject 1", "ack 2"]).await;
    assert_eq!(exchanges(), [""; 0], "the broker has counted two attempts, and delayed them");
    consumer.deliver(3, returned(4), "retry");
    broker.settles(&consumer, &["reject 1", "ack 2", "ack 3"]).await;
    assert_eq!(exchanges(), [""], "a dead letter after five attempts");
    consumer.deliver(4, returned(1), "retry-after:250");
    broker.settles(&consumer, &["reject 1", "ack 2", "ack 3", "ack 4"]).await;
    let published = broker.published();
    assert_eq!(published[1].exchange, "wabbit.delay.250", "a delay of the handler's own");
    let headers = published[1].properties.headers().clone().unwrap();
    assert_eq!(headers.inner()["x-wabbit-attempt"], AMQPValue::LongLongInt(3));
    let (_, idle) = host.get("/idle").await;
    assert!(idle.contains("`orders` itself delays"), "{idle}");
    host.metric_reaches("wabbit_retries_total", &["plugin=\"orders\""], 2.0).await;
    assert_eq!(ignored(&host), 0);
}

#[tokio::test]
async fn a_queue_that_would_drop_an_event_does_not_get_it_back() {
    let broker = FakeBroker::start("4.3.0").await;
    let few = DELAYS.replace("limit = 9", "limit = 2");
    let _host = run(&broker, &few).await;
    let consumer = broker.consumer(0).await;
    consumer.deliver(1, returned(1), "retry");
    consumer.deliver(2, returned(2), "retry");
    broker.settles(&consumer, &["reject 1", "ack 2"]).await;
    let published = broker.published();
    assert!(published.len() == 1 && published[0].exchange.starts_with("wabbit.delay."));
}

#[tokio::test]
async fn a_broker_that_ignores_the_delays_of_a_queue_gets_delay_queues_and_one_warning() {
    for version in ["3.10.8", "3.13.7", "4.0.3", "4.2.1"] {
        let broker = FakeBroker::start(version).await;
        let host = run(&broker, DELAYS).await;
        let first = broker.consumer(0).await;
        first.deliver(1, returned(4), "retry");
        broker.settles(&first, &["ack 1"]).await;
        first.cancel();
        let second = broker.consumer(1).await;
        handles(&broker, &second).await;
        let published = broker.published();
        assert_eq!(published.len(), 1, "{version}");
        assert!(published[0].exchange.starts_with("wabbit.delay."), "{version}");
        let headers = published[0].properties.headers().clone().unwrap();
        assert_eq!(headers.inner()["x-wabbit-attempt"], AMQPValue::LongLongInt(2), "{version}");
        assert_eq!(ignored(&host), 1, "{version}");
    }
}

#[tokio::test]
async fn an_event_is_a_dead_letter_uncalled_only_where_the_queue_would_drop_it_next() {
    // The version, the limit as stated, how often it came back, whether it is handled.
    let table = [
        ("3.13.7", "", 20, true),
        ("3.13.7", "", 99, true),
        ("3.13.7", "", 100, false),
        ("4.2.1", "", 19, true),
        ("4.2.1", "", 20, false),
        ("4.2.1", "arguments = { x-delivery-limit = 50 }", 49, true),
        ("4.2.1", "arguments = { x-delivery-limit = 50 }", 50, false),
        ("4.2.1", "arguments = { x-delivery-limit = 5 }", 19, true),
        ("4.2.1", "arguments = { x-delivery-limit = -1 }", 99, true),
        ("4.2.1", "arguments = { x-delivery-limit = -1 }", 100, false),
    ];
    for (version, limit, returned, handled) in table {
        let broker = FakeBroker::start(version).await;
        let host = run(&broker, &format!("type = \"quorum\"\n{limit}")).await;
        let consumer = broker.consumer(0).await;
        let mut headers = FieldTable::default();
        headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(returned));
        consumer.deliver(1, headers, "log:hello");
        broker.settles(&consumer, &["ack 1"]).await;
        let class = if handled { "class=\"ok\"" } else { "class=\"crash\"" };
        let case = format!("{version}, {limit}, {returned}");
        assert_eq!(host.metric("wabbit_outcomes_total", &[class]).await, 1.0, "{case}");
    }
}
