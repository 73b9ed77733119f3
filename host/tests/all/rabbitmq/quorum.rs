//! Quorum queues end to end, and events that end the host.

use super::{SCRIPTED, work};
use crate::support::process::Place;
use crate::support::rabbit::{Vhost, body, text};
use lapin::options::{BasicGetOptions, BasicRejectOptions};
use lapin::types::AMQPValue;
use wabbit::policy::{RETURNS_ALONE, RETURNS_MAX};

fn quorum(prefetch: u32) -> String {
    format!("[[subscription]]\ntype = \"quorum\"\nprefetch = {prefetch}\n{SCRIPTED}")
}

#[tokio::test]
async fn retries_come_again() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let host = Place::new().plugin("orders", "scripted", &quorum(10)).run(&vhost.url).await;
    host.ready().await;
    let done = serde_json::json!(["ok-from:3", { "publish": { "key": "out", "body": "third" } }]);
    vhost.publish("", "orders", &done.to_string()).await;
    vhost.publish("", "orders", &work(0, "first")).await;
    vhost.publish("", "orders", "retry").await;
    assert_eq!(body(&vhost.next("out").await), "first");
    assert_eq!(body(&vhost.next("out").await), "third");
    let letter = vhost.next("orders.dlq").await;
    assert_eq!(
        (body(&letter).as_str(), text(&letter, "x-exception-type").as_str()),
        ("retry", "retry")
    );
    assert!(vhost.queues().await.contains("wabbit.delay.50"));
    assert_eq!(host.metric("wabbit_retries_total", &["plugin=\"orders\""]).await, 4.0);
    assert_eq!(vhost.drain("out").await, [""; 0]);
}

/// Makes a quorum queue with these events in it, that have come back so often.
async fn returned(vhost: &Vhost, times: u32, events: &[&str]) {
    vhost.queue("orders", &[("x-queue-type", AMQPValue::LongString("quorum".into()))]).await;
    for event in events {
        vhost.publish("", "orders", event).await;
    }
    for _ in 0..times {
        let mut all = Vec::new();
        for _ in events {
            let got = vhost.channel.basic_get("orders".into(), BasicGetOptions::default());
            all.push(got.await.unwrap().expect("it is there"));
        }
        for got in all {
            got.reject(BasicRejectOptions { requeue: true }).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_event_that_came_back_often_is_handled() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    returned(&vhost, RETURNS_ALONE + 3, &[&work(0, "often"), &work(0, "too")]).await;
    let host = Place::new().plugin("orders", "scripted", &quorum(10)).run(&vhost.url).await;
    let both = [body(&vhost.next("out").await), body(&vhost.next("out").await)];
    assert_eq!(std::collections::BTreeSet::from(both), ["often", "too"].map(str::to_owned).into());
    host.logs(&["this event came back often", "\"returned\":23", "\"alone\":true"]).await;
    assert_eq!(vhost.count("orders.dlq").await, 0);
}

#[tokio::test]
async fn an_event_that_ends_the_host_each_time_becomes_a_dead_letter_without_a_journal() {
    const KILLS: u32 = 4;
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    returned(&vhost, RETURNS_MAX - KILLS, &["sleep:500000"]).await;
    vhost.publish("", "orders", &work(0, "innocent")).await;
    let manifest = format!("{}\n[limits]\ntimeout = \"10m\"\n", quorum(1));
    for _ in 0..KILLS {
        // Another machine each time.
        let place = Place::new().plugin("orders", "scripted", &manifest);
        let host = place.run(&vhost.url).await;
        host.metric_reaches("wabbit_inflight", &["plugin=\"orders\""], 1.0).await;
        // Dropping it is `kill -9`.
    }
    let host = Place::new().plugin("orders", "scripted", &manifest).run(&vhost.url).await;
    host.ready().await;
    let letter = vhost.next("orders.dlq").await;
    assert_eq!(body(&letter), "sleep:500000");
    assert_eq!(text(&letter, "x-exception-type"), "crash");
    assert!(text(&letter, "x-exception-message").contains("100 times"), "{letter:?}");
    assert_eq!(body(&vhost.next("out").await), "innocent");
    assert_eq!(vhost.count("orders.dlq").await, 0);
}

#[tokio::test]
async fn events_that_only_lost_their_connection_are_handled() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let manifest = quorum(20).replace("prefetch", "concurrency = 1\nprefetch");
    let host = Place::new().plugin("orders", "scripted", &manifest).run(&vhost.url).await;
    host.ready().await;
    let names: Vec<_> = (0..20).map(|number| format!("n{number}")).collect();
    for name in &names {
        vhost.publish("", "orders", &work(200, name)).await;
    }
    // More often than an event has attempts.
    for losses in 1..=4 {
        let label = ["role=\"consume\""];
        vhost.close_connections("consume").await;
        host.metric_reaches("wabbit_reconnects_total", &label, f64::from(losses)).await;
        host.ready().await;
    }
    let mut missing: std::collections::BTreeSet<_> = names.into_iter().collect();
    while !missing.is_empty() {
        // What was under way when its connection ended may come twice.
        missing.remove(&body(&vhost.next("out").await));
    }
    assert_eq!(vhost.count("orders.dlq").await, 0);
}
