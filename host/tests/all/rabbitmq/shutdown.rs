//! The end of a host that has work in hand.

use super::{SCRIPTED, work};
use crate::support::process::{Place, Wabbit, eventually};
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

/// Two hosts of a queue with one active consumer, of which the active one is stopped again and again.
async fn the_next_host_goes_on_where_the_first_one_ended(subscription: &str) {
    const EVENTS: usize = 400;
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let manifest = format!(
        "[[subscription]]\nprefetch = 50\nconcurrency = 1\n{subscription}\n\
         arguments = {{ x-single-active-consumer = true }}\n{SCRIPTED}"
    );
    let mut hosts = Vec::new();
    for _ in 0..2 {
        let host = Place::new().plugin("orders", "scripted", &manifest).run(&vhost.url).await;
        host.ready().await;
        hosts.push(host);
    }
    let names: Vec<_> = (0..EVENTS).map(|number| number.to_string()).collect();
    for name in &names {
        vhost.publish("", "orders", &work(5, name)).await;
    }
    for stop in 1..=4 {
        vhost.reaches("out", stop * 60).await;
        let active = eventually("an active host", async || {
            for (nth, host) in hosts.iter().enumerate() {
                if host.metric("wabbit_inflight", &[]).await > 0.0 {
                    return Some(nth);
                }
            }
            None
        })
        .await;
        assert_eq!(hosts[active].terminate().await.code(), Some(0));
        hosts[active].again().await;
        hosts[active].ready().await;
    }
    vhost.reaches("out", EVENTS as u32).await;
    // Neither twice nor before those that were published earlier.
    assert_eq!(vhost.drain("out").await, names);
}

#[tokio::test]
async fn the_next_host_goes_on_in_order() {
    the_next_host_goes_on_where_the_first_one_ended("order-by = \"queue\"").await;
}

#[tokio::test]
async fn the_next_host_of_a_quorum_queue_goes_on_in_order() {
    let subscription = "order-by = \"queue\"\ntype = \"quorum\"";
    the_next_host_goes_on_where_the_first_one_ended(subscription).await;
}

#[tokio::test]
async fn the_next_active_consumer_goes_on_where_no_order_is_asked_for() {
    the_next_host_goes_on_where_the_first_one_ended("").await;
}
