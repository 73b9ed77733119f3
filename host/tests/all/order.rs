//! `order-by`: events that belong together are handled one after the other, in the order in which
//! they came. The same on both brokers.

use crate::support::host::TestHost;
use crate::support::setup::{Site, on_both};
use wabbit::flow::Properties;

on_both! {
    a_retry_blocks_only_its_own_key
    events_of_a_key_are_in_order_however_long_they_take
    the_whole_queue_is_in_order_if_asked
    a_rejected_event_lets_the_next_one_go_on
}

fn rules(order: &str) -> String {
    format!(
        "[[subscription]]
        concurrency = 8
        order-by = \"{order}\"
        [retry]
        attempts = 4
        delays = [\"100ms\"]
        [grants]
        publish = [\":~out\"]"
    )
}

fn tenant(tenant: &str) -> Properties {
    let headers = [("tenant", tenant)].into_iter().collect();
    Properties { headers, ..Properties::default() }
}

fn says(text: &str, before: &str) -> String {
    format!(r#"["{before}", {{"publish": {{"key": "~out", "body": "{text}"}}}}]"#)
}

async fn a_retry_blocks_only_its_own_key(site: Site) {
    let rules = rules("header:tenant");
    let host = TestHost::on(site).queue("out").scripted("orders", &rules).start().await;
    host.send_with("orders", &says("a1", "ok-from:3"), tenant("a")).await;
    host.send_with("orders", &says("a2", "ok"), tenant("a")).await;
    host.send_with("orders", &says("b1", "ok"), tenant("b")).await;
    for expected in ["b1", "a1", "a2"] {
        assert_eq!(host.take_text("out").await, expected);
    }
    assert_eq!(host.metric("wabbit_retries_total", &[("plugin", "orders")]), 2.0);
}

async fn events_of_a_key_are_in_order_however_long_they_take(site: Site) {
    let rules = rules("json:/2");
    let host = TestHost::on(site).queue("out").scripted("orders", &rules).start().await;
    let mut random = fastrand::Rng::with_seed(7);
    let mut sent = vec![Vec::new(); 4];
    for n in 0..60 {
        let key = random.usize(..sent.len());
        let text = format!("{key}:{n}");
        // The third element says nothing but the key.
        let script = format!(
            r#"["spin:{}", {{"publish": {{"key": "~out", "body": "{text}"}}}}, "log:{key}"]"#,
            random.u32(..4)
        );
        host.send("orders", &script).await;
        sent[key].push(text);
    }
    let mut came = vec![Vec::new(); sent.len()];
    for _ in 0..60 {
        let text = host.take_text("out").await;
        let key: usize = text.split(':').next().unwrap().parse().unwrap();
        came[key].push(text);
    }
    assert_eq!(came, sent);
}

async fn the_whole_queue_is_in_order_if_asked(site: Site) {
    let host = TestHost::on(site).queue("out").scripted("orders", &rules("queue")).start().await;
    let before = |n: u32| if n % 7 == 3 { "ok-from:2" } else { "spin:1" };
    for n in 0..20 {
        host.send("orders", &says(&n.to_string(), before(n))).await;
    }
    for n in 0..20 {
        assert_eq!(host.take_text("out").await, n.to_string());
    }
}

async fn a_rejected_event_lets_the_next_one_go_on(site: Site) {
    let host = TestHost::on(site).queue("out").scripted("orders", &rules("queue")).start().await;
    host.send("orders", "reject").await;
    host.send("orders", "retry").await;
    host.send("orders", &says("after", "ok")).await;
    assert_eq!(host.take_text("out").await, "after");
    assert_eq!(host.take("orders.dlq").await.attempt, 1);
    assert_eq!(host.take("orders.dlq").await.attempt, 4, "its attempts were in its place");
}
