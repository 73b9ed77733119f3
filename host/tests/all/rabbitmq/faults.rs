//! Connections that are closed while events flow.

use super::{SCRIPTED, work};
use crate::support::process::{Place, eventually};
use crate::support::rabbit::Vhost;
use std::collections::BTreeMap;

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
