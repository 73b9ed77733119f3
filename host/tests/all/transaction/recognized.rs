//! Which events are the same, and which of them are recorded.

use super::kit::{Effects, Kind, Kit};
use crate::support::process::Place;
use crate::support::rabbit::{Vhost, body, table};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, ShortString};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_alone_tells_which_events_are_the_same() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let manifest = "[dedupe]\nkey = \"header:order\"\n[grants]\npublish = [\":out\"]\n";
    let host = Place::new().plugin("orders", "scripted", manifest).run(&vhost.url).await;
    host.ready().await;
    let (number, empty) = (AMQPValue::LongInt, || AMQPValue::LongString("".into()));
    let sent = [
        (Some(number(7)), "a"),
        (Some(number(7)), "b"),
        (Some(number(8)), "c"),
        (None, "d"),
        (None, "d"),
        (Some(AMQPValue::Void), "e"),
        (Some(AMQPValue::Void), "e"),
        (Some(empty()), "f"),
        (Some(empty()), "f"),
    ];
    for (number, (order, name)) in sent.into_iter().enumerate() {
        let headers = order.map(|order| ("order", order));
        let headers = table(&headers.into_iter().collect::<Vec<_>>());
        let properties = BasicProperties::default().with_headers(headers);
        let script = serde_json::json!({ "publish": { "key": "out", "body": name } });
        vhost.publish_with("", "orders", &script.to_string(), properties).await;
        // One after the other: which of two is handled is chance otherwise.
        let plugin = ["plugin=\"orders\""];
        host.metric_reaches("wabbit_outcomes_total", &plugin, (number + 1) as f64).await;
    }
    host.metric_reaches("wabbit_deduplicated_total", &[], 1.0).await;
    host.metric_reaches("wabbit_unrecorded_total", &[], 6.0).await;
    let mut names = Vec::new();
    while let Some(message) = vhost.take("out").await {
        names.push(body(&message));
    }
    assert_eq!(names, ["a", "c", "d", "d", "e", "e", "f", "f"]);
    host.logs(&["is handled without a record"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_was_handled_is_published_for_when_it_comes_again() {
    let kit = Kit::new(Kind::Sqlite).await;
    let mut host = kit.place("[retry]\nattempts = 1\n").await.run(&kit.vhost.url).await;
    host.ready().await;
    kit.send(1, &kit.script(1, "later"), "later").await;
    let letter = kit.vhost.next("orders.dlq").await;
    kit.vhost.queue("later", &[]).await;
    let mut headers = letter.properties.headers().clone().unwrap().inner().clone();
    headers.remove(&ShortString::from("x-wabbit-attempt"));
    let properties = letter.properties.clone().with_headers(headers.into());
    kit.vhost.publish_with("", "orders", &body(&letter), properties).await;
    let message = kit.vhost.next("later").await;
    assert_eq!(body(&message), "1");
    assert_eq!(host.terminate().await.code(), Some(0));
    assert_eq!(kit.effects(&host.place).await, (Effects::from([(1, 1)]), 1));
    kit.has_records(&host.place, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_first_is_committed_and_not_recorded() {
    let kit = Kit::new(Kind::Sqlite).await;
    let manifest = "[[subscription]]\ndelivery = \"at-most-once\"\n";
    let mut host = kit.place(manifest).await.run(&kit.vhost.url).await;
    host.ready().await;
    let fails = [kit.script(2, "out"), vec![serde_json::json!(["retry"])]].concat();
    kit.send(2, &fails, "out").await;
    for _ in 0..2 {
        kit.send(1, &kit.script(1, "out"), "out").await;
    }
    kit.vhost.reaches("out", 2).await;
    host.metric_reaches("wabbit_outcomes_total", &["outcome=\"retry\""], 1.0).await;
    assert_eq!(host.terminate().await.code(), Some(0));
    assert_eq!(kit.effects(&host.place).await, (Effects::from([(1, 2)]), 2));
}
