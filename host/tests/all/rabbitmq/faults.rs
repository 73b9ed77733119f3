//! Connections that are closed or fall silent while events flow.

use super::{SCRIPTED, work};
use crate::support::process::{Place, eventually};
use crate::support::proxy::Proxy;
use crate::support::rabbit::{Vhost, address};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const EVENTS: usize = 400;
const PREFETCH: usize = 20;

#[tokio::test]
async fn nothing_is_lost_when_connections_are_closed_under_load() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let manifest =
        format!("[[subscription]]\nprefetch = {PREFETCH}\nconcurrency = {PREFETCH}\n{SCRIPTED}");
    let host = Place::new().plugin("orders", "scripted", &manifest).run(&vhost.url).await;
    host.ready().await;
    for n in 0..EVENTS {
        vhost.publish("", "orders", &work(20, &n.to_string())).await;
    }
    let mut closed = 0;
    for (role, done) in [("consume", 40), ("publish", 120), ("consume", 200)] {
        vhost.reaches("out", done).await;
        let before = host.metric("wabbit_reconnects_total", &[&format!("role=\"{role}\"")]).await;
        closed += vhost.close_connections(role).await;
        let label = format!("role=\"{role}\"");
        host.metric_reaches("wabbit_reconnects_total", &[&label], before + 1.0).await;
    }
    let mut seen = BTreeMap::<String, usize>::new();
    eventually("every event's effect", async || {
        for name in vhost.drain("out").await {
            *seen.entry(name).or_default() += 1;
        }
        (seen.len() >= EVENTS).then_some(())
    })
    .await;
    host.ready().await;
    eventually("an end of all events", async || {
        let idle = host.metric("wabbit_inflight", &[]).await == 0.0;
        (idle && vhost.count("orders").await == 0).then_some(())
    })
    .await;
    for name in vhost.drain("out").await {
        *seen.entry(name).or_default() += 1;
    }
    let copies: usize = seen.values().map(|times| times - 1).sum();
    assert!(copies <= PREFETCH * closed, "{copies} copies after {closed} closed connections");
    assert_eq!(seen.len(), EVENTS);
    let lost = host.metric("wabbit_ack_lost_total", &[]).await;
    assert!(lost <= (PREFETCH * closed) as f64, "{lost}");
    assert_eq!(vhost.count("orders.dlq").await, 0);
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up_and_made_anew() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let proxy = Proxy::new(address()).await;
    proxy.open();
    let url = format!("amqp://guest:guest@{}/{}?heartbeat=1", proxy.address, vhost.name);
    let host = Place::new().plugin("orders", "scripted", SCRIPTED).run(&url).await;
    host.ready().await;
    host.metric_reaches("wabbit_connection_up", &[], 2.0).await;
    vhost.publish("", "orders", &work(0, "before")).await;
    vhost.reaches("out", 1).await;
    // Two connections, which nobody ends.
    let before = proxy.attempts();
    proxy.open();
    for role in ["consume", "publish"] {
        let labels = [&*format!("role=\"{role}\""), "reason=\"heartbeat\""];
        host.metric_reaches("wabbit_reconnects_total", &labels, 1.0).await;
    }
    host.metric_reaches("wabbit_connection_up", &[], 2.0).await;
    assert!(proxy.attempts() >= before + 2);
    vhost.publish("", "orders", &work(0, "after")).await;
    // The first one comes again if its ack was swallowed.
    let mut seen = BTreeSet::new();
    eventually("both effects", async || {
        seen.extend(vhost.drain("out").await);
        (seen.len() == 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_waits_while_its_connection_is_lost_is_handled_once() {
    const WAITING: usize = 20;
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let one = format!("[[subscription]]\nprefetch = {WAITING}\nconcurrency = 1\n{SCRIPTED}");
    let host = Place::new().plugin("orders", "scripted", &one).run(&vhost.url).await;
    host.ready().await;
    for n in 0..WAITING {
        let script =
            json!([format!("log:began {n}"), "sleep:100", { "publish": { "key": "out" } }]);
        vhost.publish("", "orders", &script.to_string()).await;
    }
    vhost.reaches("out", 1).await;
    vhost.close_connections("consume").await;
    vhost.reaches("out", WAITING as u32).await;
    host.metric_reaches("wabbit_reconnects_total", &["role=\"consume\""], 1.0).await;
    let calls = host.log_text().matches("\"message\":\"began ").count();
    // Once more for the one that was in hand, and for one that was done and whose ack was lost.
    assert!((WAITING..=WAITING + 2).contains(&calls), "{calls} calls");
}
