//! What is counted when a connection ends at the wrong moment: publications that are sent again, and
//! acks that did not arrive.

use crate::support::fake_broker::FakeBroker;
use crate::support::process::{Place, Wabbit, eventually};
use amq_protocol::protocol::{AMQPClass, basic};
use amq_protocol::types::FieldTable;

async fn start(broker: &FakeBroker) -> Wabbit {
    let manifest = "[grants]\npublish = [\":out\"]\n";
    let host = Place::new().plugin("orders", "scripted", manifest).run(&broker.url()).await;
    host.ready().await;
    host
}

#[tokio::test]
async fn publications_whose_confirm_was_lost_are_sent_again_and_counted() {
    let broker = FakeBroker::start("4.2.1").await;
    let host = start(&broker).await;
    let consumer = broker.consumer(0).await;
    broker.confirms(false);
    consumer.deliver(1, FieldTable::default(), "publish::out");
    consumer.deliver(2, FieldTable::default(), "reject:no");
    let published = async |count: usize| {
        let there = async || (broker.published().len() >= count).then_some(());
        eventually(&format!("{count} publications"), there).await;
    };
    published(2).await;
    broker.confirms(true);
    let publishes = broker.sent(|sent| match sent.method {
        AMQPClass::Basic(basic::AMQPMethod::Publish(_)) => Some(sent.connection),
        _ => None,
    });
    broker.hang_up(publishes[0]);
    published(4).await;
    for by in ["by=\"handler\"", "by=\"host\""] {
        let name = "wabbit_publications_resent_total";
        assert_eq!(host.metric(name, &[by]).await, 1.0, "{by}");
    }
    assert_eq!(host.metric("wabbit_ack_lost_total", &[]).await, 0.0);
}

#[tokio::test]
async fn only_what_is_done_and_not_acknowledged_is_a_lost_ack() {
    let broker = FakeBroker::start("4.2.1").await;
    let host = start(&broker).await;
    for (nth, (script, lost)) in
        [(r#"["sleep:500", "publish::out"]"#, 0.0), ("sleep:500", 1.0)].into_iter().enumerate()
    {
        let consumer = broker.consumer(nth).await;
        consumer.deliver(1, FieldTable::default(), script);
        host.metric_reaches("wabbit_inflight", &[], 1.0).await;
        broker.hang_up(consumer.connection);
        eventually("its end", async || {
            (host.metric("wabbit_inflight", &[]).await == 0.0).then_some(())
        })
        .await;
        assert_eq!(host.metric("wabbit_ack_lost_total", &[]).await, lost, "{script}");
    }
    host.logs(&["left to the broker"]).await;
    assert!(broker.published().is_empty(), "it is delivered again, and publishes then");
}
