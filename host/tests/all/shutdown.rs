//! Stopping: what is in flight is finished, the rest is given back, and nobody waits for ever.

use crate::support::host::TestHost;
use crate::support::setup::{Site, on_both};
use std::time::{Duration, Instant};

on_both! {
    what_is_in_flight_is_finished_and_the_rest_given_back
    what_does_not_end_in_time_is_delivered_again
}

const ONE_AT_ONCE: &str = "[[subscription]]\nconcurrency = 1\nprefetch = 5";

async fn what_is_in_flight_is_finished_and_the_rest_given_back(site: Site) {
    let host = TestHost::on(site).queue("out").scripted("orders", ONE_AT_ONCE).start().await;
    for n in 0..10 {
        let publish = format!(r#"{{"publish": {{"key": "~out", "body": "{n}"}}}}"#);
        host.send("orders", &format!(r#"["sleep:300", {publish}]"#)).await;
    }
    host.counts("wabbit_inflight", &[("plugin", "orders")], 1.0).await;
    assert_eq!(host.host.stop(Duration::from_secs(20)).await, 0);
    assert!(host.host.unready().contains(&"stopping".to_owned()));
    let done = host.metric("wabbit_outcomes_total", &[("plugin", "orders"), ("outcome", "ok")]);
    let done = (0..10).take_while(|n| f64::from(*n) < done).count();
    assert!((1..10).contains(&done), "{done}");
    for n in 0..done {
        assert_eq!(host.take_text("out").await, n.to_string());
    }
    host.finds_empty("out").await;
    for n in done..10 {
        let script = host.take_text("orders").await;
        assert!(script.contains(&format!(r#""body": "{n}""#)), "{n}: {script}");
    }
    host.finds_empty("orders").await;
}

async fn what_does_not_end_in_time_is_delivered_again(site: Site) {
    let host = TestHost::on(site).queue("out").scripted("orders", ONE_AT_ONCE).start().await;
    host.send("orders", r#"["publish::~out", "sleep:3600000"]"#).await;
    host.counts("wabbit_inflight", &[("plugin", "orders")], 1.0).await;
    let began = Instant::now();
    assert_eq!(host.host.stop(Duration::from_millis(100)).await, 1);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(host.take("orders").await.redelivered);
    host.finds_empty("out").await;
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
