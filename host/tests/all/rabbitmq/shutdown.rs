//! The end of a host that has work in hand.

use super::{SCRIPTED, work};
use crate::support::process::{Place, Wabbit};
use crate::support::rabbit::Vhost;
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
async fn a_host_that_waits_for_its_broker_ends_when_it_is_told_to() {
    let place = Place::new().plugin("orders", "noop", "");
    let mut host = place.run("amqp://guest:guest@127.0.0.1:1").await;
    host.unready(&["queue `orders`", "cannot reach the broker"]).await;
    let began = Instant::now();
    assert_eq!(host.terminate().await.code(), Some(0));
    // Nothing is in flight, so the grace time of 25 s is not waited for.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}
