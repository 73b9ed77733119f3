//! The end of a host that has work in hand.

use super::{SCRIPTED, work};
use crate::support::process::{Place, Wabbit};
use crate::support::rabbit::Vhost;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

async fn start(vhost: &Vhost, toml: &str) -> Wabbit {
    vhost.queue("out", &[]).await;
    let manifest = format!("{SCRIPTED}[limits]\ntimeout = \"10m\"\n");
    let place = Place::new().plugin("orders", "scripted", &manifest).file("wabbit.toml", toml);
    let host = place.run(&vhost.url).await;
    host.ready().await;
    host
}

#[tokio::test]
async fn sigterm_under_load_loses_nothing_and_does_nothing_twice() {
    const EVENTS: usize = 300;
    let vhost = Vhost::new().await;
    vhost.queue("orders", &[]).await;
    for n in 0..EVENTS {
        vhost.publish("", "orders", &work(50, &n.to_string())).await;
    }
    let mut host = start(&vhost, "").await;
    vhost.reaches("out", 20).await;
    assert_eq!(host.terminate().await.code(), Some(0));
    host.logs(&["nothing is in flight"]).await;
    let done = vhost.drain("out").await;
    let left = vhost.drain("orders").await;
    assert!(!left.is_empty(), "it ended after all its work");
    let all: BTreeSet<_> = done.iter().map(|name| work(50, name)).chain(left.clone()).collect();
    assert_eq!((all.len(), done.len() + left.len()), (EVENTS, EVENTS));
    for (queue, ready, unsettled) in vhost.depths().await {
        assert_eq!((ready, unsettled), (0, 0), "{queue}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let vhost = Vhost::new().await;
    let mut host = start(&vhost, "").await;
    vhost.publish("", "orders", &work(500_000, "never")).await;
    host.metric_reaches("wabbit_inflight", &[], 1.0).await;
    let began = Instant::now();
    host.signal("TERM");
    host.logs(&["intake ends"]).await;
    host.signal("TERM");
    assert_eq!(host.ended().await.code(), Some(1));
    // The grace time is 25 s.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    vhost.reaches("orders", 1).await;
}

#[tokio::test]
async fn an_event_that_outlives_the_grace_time_is_delivered_again() {
    let vhost = Vhost::new().await;
    let mut host = start(&vhost, "[limits]\nshutdown-grace = \"2s\"\n").await;
    vhost.publish("", "orders", &work(500_000, "never")).await;
    vhost.publish("", "orders", &work(500, "in time")).await;
    host.metric_reaches("wabbit_inflight", &[], 2.0).await;
    let began = Instant::now();
    assert_eq!(host.terminate().await.code(), Some(0));
    let took = began.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(15)).contains(&took), "{took:?}");
    host.logs(&["\"left\":1"]).await;
    vhost.reaches("orders", 1).await;
    let again = vhost.next("orders").await;
    assert!(again.redelivered);
    assert_eq!(again.data, work(500_000, "never").as_bytes());
    assert_eq!(vhost.drain("out").await, ["in time"]);
}

#[tokio::test]
async fn a_host_that_waits_for_its_broker_ends_when_it_is_told_to() {
    let place = Place::new().plugin("orders", "noop", "");
    let mut host = place.run("amqp://guest:guest@127.0.0.1:1").await;
    host.unready(&["queue `orders`", "cannot reach the broker"]).await;
    let began = Instant::now();
    assert_eq!(host.terminate().await.code(), Some(0));
    // Nothing is in flight, so the grace time of 25 s is not waited for.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}
