//! A handler that fails for reasons outside its events is paused: nothing is lost, no attempt is
//! used up, and it shows. The same on both brokers.

use crate::support::host::TestHost;
use crate::support::setup::{Site, on_both};
use crate::support::{eventually, guest};

on_both! {
    events_of_a_handler_that_says_so_keep_their_attempts
    a_handler_that_fails_again_and_again_is_paused_until_one_goes_well
    what_is_held_goes_back_and_a_new_version_is_tried_at_once
    a_shared_queue_goes_on_for_the_others
}

const AWAY: &str = r#"["open:no database", "retry"]"#;

fn rules(circuit: &str) -> String {
    format!(
        "[[subscription]]
        concurrency = 1
        [retry]
        attempts = 1
        [grants]
        publish = [\":~out\"]
        [circuit]
        {circuit}"
    )
}

async fn paused(host: &TestHost, plugin: &str, why: &str) {
    host.counts("wabbit_circuit_open", &[("plugin", plugin)], 1.0).await;
    let said = format!("`{}` paused since", host.own(plugin));
    let shown = || host.host.unready().iter().any(|it| it.contains(&said) && it.contains(why));
    eventually(&format!("not ready because `{plugin}` is paused"), shown).await;
}

async fn events_of_a_handler_that_says_so_keep_their_attempts(site: Site) {
    let host = TestHost::on(site).queue("out").scripted("orders", &rules("pause = '100ms'"));
    let host = host.start().await;
    host.send("orders", AWAY).await;
    paused(&host, "orders", "no database").await;
    for n in 0..5 {
        host.send("orders", &format!(r#"{{"publish": {{"key": "~out", "body": "{n}"}}}}"#)).await;
    }
    for n in 0..5 {
        assert_eq!(host.take_text("out").await, n.to_string());
    }
    let again = || {
        host.metric("wabbit_outcomes_total", &[("plugin", "orders"), ("class", "unavailable")])
            >= 2.0
    };
    eventually("it comes again", again).await;
    // One attempt is all that it has.
    host.finds_empty("orders.dlq").await;
}

async fn a_handler_that_fails_again_and_again_is_paused_until_one_goes_well(site: Site) {
    let circuit = rules("failures = 3\npause = '300ms'");
    let host = TestHost::on(site).queue("out").scripted("orders", &circuit).start().await;
    for _ in 0..3 {
        host.send("orders", "retry").await;
    }
    paused(&host, "orders", "retried by script").await;
    host.send("orders", "publish::~out").await;
    host.take("out").await;
    host.counts("wabbit_circuit_open", &[("plugin", "orders")], 0.0).await;
    host.ready().await;
    for _ in 0..2 {
        host.take("orders.dlq").await;
    }
    // The one at which it opened was not at fault, and comes again as it was.
    let last = host.take("orders.dlq").await;
    assert_eq!(last.attempt, 1);
    host.ready().await;
}

async fn what_is_held_goes_back_and_a_new_version_is_tried_at_once(site: Site) {
    let circuit = rules("pause = '1h'\npause-max = '1h'");
    let host = TestHost::on(site).queue("out").scripted("orders", &circuit).start().await;
    host.send("orders", AWAY).await;
    for _ in 0..5 {
        host.send("orders", "publish::~out").await;
    }
    paused(&host, "orders", "no database").await;
    if site == Site::Memory {
        host.has_depth("orders", (5, 0)).await;
    }
    let mut component = guest("scripted");
    component.extend(b"\0\x0e\x0danother build");
    host.put("orders", component);
    for _ in 0..5 {
        host.take("out").await;
    }
    host.counts("wabbit_circuit_open", &[("plugin", "orders")], 0.0).await;
    host.ready().await;
}

async fn a_shared_queue_goes_on_for_the_others(site: Site) {
    let shared = |kind: &str| {
        let circuit = rules("pause = '1h'\npause-max = '1h'");
        let wanted = format!("queue = '~both'\nmatch = {{ type = '{kind}' }}\nconcurrency = 1");
        circuit.replace("concurrency = 1", &wanted)
    };
    let host = TestHost::on(site)
        .queue("out")
        .scripted("one", &shared("one"))
        .scripted("two", &shared("two"))
        .start()
        .await;
    let kind = |kind: &str| wabbit::flow::Properties {
        kind: Some(kind.to_owned()),
        ..wabbit::flow::Properties::default()
    };
    host.send_with("both", AWAY, kind("one")).await;
    paused(&host, "one", "no database").await;
    for _ in 0..5 {
        host.send_with("both", "publish::~out", kind("one")).await;
        host.send_with("both", r#"{"publish": {"key": "~out", "body": "two"}}"#, kind("two")).await;
    }
    for _ in 0..5 {
        assert_eq!(host.take_text("out").await, "two");
    }
}
