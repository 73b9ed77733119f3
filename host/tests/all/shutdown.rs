//! Stopping: what is in flight is finished, the rest is given back, and nobody waits for ever.

use crate::support::host::TestHost;
use std::time::{Duration, Instant};

const ONE_AT_ONCE: &str = "[[subscription]]\nconcurrency = 1\nprefetch = 5";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_in_flight_is_finished_and_the_rest_given_back() {
    let host = TestHost::new().queue("out").scripted("orders", ONE_AT_ONCE).start().await;
    for _ in 0..10 {
        host.send("orders", r#"["sleep:300", "publish::~out"]"#).await;
    }
    host.has_depth("orders", (5, 5)).await;
    host.counts("wabbit_inflight", &[("plugin", "orders")], 1.0).await;
    let left = host.host.stop(Duration::from_secs(20)).await;
    assert_eq!(left, 0);
    assert_eq!(host.depth("orders"), (9, 0));
    assert_eq!(host.depth("out"), (1, 0));
    assert!(host.host.unready().contains(&"stopping".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_in_time_is_given_back() {
    let host = TestHost::new().queue("out").scripted("orders", ONE_AT_ONCE).start().await;
    host.send("orders", r#"["publish::~out", "sleep:3600000"]"#).await;
    host.counts("wabbit_inflight", &[("plugin", "orders")], 1.0).await;
    let began = Instant::now();
    let left = host.host.stop(Duration::from_millis(100)).await;
    assert_eq!(left, 1);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(host.depth("orders"), (1, 0));
    assert_eq!(host.depth("out"), (0, 0), "what it published is forgotten");
    assert!(host.take("orders").await.redelivered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_never_yields_does_not_hold_it_up() {
    let manifest = format!("{ONE_AT_ONCE}\n[limits]\ncpu = \"1h\"\ntimeout = \"1h\"");
    let host = TestHost::new().queue("out").scripted("orders", &manifest).start().await;
    host.send("orders", "loop").await;
    host.counts("wabbit_inflight", &[("plugin", "orders")], 1.0).await;
    assert_eq!(host.host.stop(Duration::from_millis(100)).await, 1);
    assert_eq!(host.depth("orders"), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_at_rest_stops_at_once() {
    let host = TestHost::new().queue("out").scripted("orders", "").start().await;
    host.send("orders", "publish::~out").await;
    host.take("out").await;
    assert_eq!(host.host.stop(Duration::from_secs(3600)).await, 0);
    assert_eq!(host.depth("orders"), (0, 0));
}
