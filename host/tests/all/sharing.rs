//! Who gets which event, and how many at once: plugins that share a queue, and plugins that only
//! share the host.

use crate::support::host::TestHost;
use crate::support::setup::{Site, granted, on_both};
use crate::support::{PATIENCE, eventually, guest, header};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use wabbit::broker::ExchangeKind;
use wabbit::flow::{Field, Headers, Properties, Publication};

on_both! {
    each_event_goes_to_the_plugin_that_it_fits
    what_fits_nobody_is_a_dead_letter
    a_slow_plugin_does_not_hold_up_another
    a_plugin_may_consume_several_queues
    a_queue_that_goes_with_its_last_consumer_survives_a_change
}

/// A subscription to the shared queue `work`; events that come to it are told apart by `fits`.
fn shares(fits: &str) -> String {
    let subscription = format!("[[subscription]]\nqueue = \"~work\"\nmatch = {{ {fits} }}");
    granted(&subscription)
}

/// A script that publishes which plugin it was that took it.
const WHO: &str = "report:variables::~out";

fn named(name: &str, fits: &str) -> String {
    let grants = format!("[grants]\npublish = [\":~out\"]\nvariables = {{ name = \"{name}\" }}");
    format!("{}\n{grants}", shares(fits).split("[grants]").next().unwrap_or_default())
}

async fn each_event_goes_to_the_plugin_that_it_fits(site: Site) {
    let host = TestHost::on(site)
        .queue("out")
        .exchange("shop", ExchangeKind::Topic, "#", "work")
        .scripted("by-content", &named("content", "content-type = \"text/x\""))
        .scripted("by-type", &named("type", "type = \"t\""))
        .scripted("by-key", &named("key", "routing-key = \"order.*\""))
        .scripted("by-headers", &named("headers", "headers = { vip = true, level = 3 }"))
        .scripted("rest", &named("rest", ""))
        .start()
        .await;
    let headers: Headers =
        [("vip", Field::Bool(true)), ("level", Field::I16(3))].into_iter().collect();
    let only_vip: Headers = [("vip", Field::Bool(true))].into_iter().collect();
    for (key, properties, expected) in [
        (
            "a",
            Properties { content_type: Some("text/x".into()), ..Properties::default() },
            "content",
        ),
        ("a", Properties { kind: Some("t".into()), ..Properties::default() }, "type"),
        ("order.placed", Properties::default(), "key"),
        ("order.placed.eu", Properties::default(), "rest"),
        ("a", Properties { headers, ..Properties::default() }, "headers"),
        ("a", Properties { headers: only_vip, ..Properties::default() }, "rest"),
        ("a", Properties::default(), "rest"),
    ] {
        let (exchange, routing_key) = ("shop".to_owned(), key.to_owned());
        let body = host.text(WHO).into_bytes();
        host.publish(Publication { exchange, routing_key, properties, body }).await;
        assert_eq!(host.take_text("out").await, format!("[[\"name\",\"{expected}\"]]"), "{key}");
    }
}

async fn what_fits_nobody_is_a_dead_letter(site: Site) {
    let host = TestHost::on(site)
        .queue("out")
        .scripted("a", &shares("type = \"a\""))
        .scripted("b", &shares("type = \"b\""))
        .start()
        .await;
    host.send("work", "publish::~out").await;
    let dead = host.take("a.dlq").await;
    assert_eq!(header(&dead, "x-exception-type"), "unmatched");
    assert_eq!(header(&dead, "x-original-routingKey"), host.own("work"));
    host.finds_empty("out").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fits_nobody_is_dropped_only_where_all_say_so() {
    let drops = |kind: &str| {
        shares(&format!("type = \"{kind}\"")).replace("queue =", "unmatched = \"drop\"\nqueue =")
    };
    let host = TestHost::new()
        .queue("out")
        .scripted("a", &drops("a"))
        .scripted("b", &drops("b"))
        .start()
        .await;
    host.send("work", "publish::~out").await;
    let refused = [("queue", "work"), ("outcome", "refused"), ("class", "unmatched")];
    host.counts("wabbit_outcomes_total", &refused, 1.0).await;
    host.finds_empty("a.dlq").await;
    host.put_manifest("b", &shares("type = \"b\""));
    // The change is seen in what becomes of events.
    let kept = || host.metric("wabbit_dead_letters_total", &[("queue", "work")]) > 0.5;
    let began = Instant::now();
    while !kept() && began.elapsed() < PATIENCE {
        host.send("work", "publish::~out").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(host.take_text("a.dlq").await, host.text("publish::~out"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_take_every_event_are_refused() {
    let host = TestHost::new().queue("out").scripted("a", &shares("")).start().await;
    host.put_manifest("b", &shares(""));
    host.put("b", guest("scripted"));
    let names = [host.own("a"), host.own("work")];
    host.trouble("b", &["both take every event", &names[0], &names[1]]).await;
    host.send("work", "publish::~out").await;
    host.take("out").await;
    host.put_manifest("b", &shares("type = \"b\""));
    host.ready().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_ends_when_the_other_goes() {
    let host = TestHost::new().queue("out").scripted("a", &shares("")).start().await;
    host.put_manifest("b", &shares(""));
    host.put("b", guest("scripted"));
    host.trouble("b", &["both take every event"]).await;
    std::fs::remove_file(host.file("a.wasm")).unwrap();
    host.ready().await;
    host.send("work", "publish::~out").await;
    host.take("out").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_exchange_has_the_same_type_everywhere() {
    let bound = |fits: &str, kind: &str| {
        let bindings = format!("bindings = [{{ exchange = \"~shop\", type = \"{kind}\" }}]");
        shares(fits).replace("queue =", &format!("{bindings}\nqueue ="))
    };
    let topic = bound("type = \"a\"", "topic");
    let host = TestHost::new().queue("out").scripted("a", &topic).start().await;
    host.put_manifest("b", &bound("type = \"b\"", "fanout"));
    host.put("b", guest("scripted"));
    host.trouble("b", &["another `exchange`", &host.own("a")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_queue_has_the_same_settings_everywhere() {
    let host = TestHost::new().queue("out").scripted("a", &shares("type = \"a\"")).start().await;
    host.put_manifest("b", &shares("").replace("queue =", "type = \"quorum\"\nqueue ="));
    host.put("b", guest("scripted"));
    host.trouble("b", &["another `type`", &host.own("a")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_is_broken_from_the_start_holds_its_queue_back() {
    let scripted = guest("scripted");
    let bad_manifest = shares("").replace("queue =", "prefech = 1\nqueue =");
    for (bytes, manifest, trouble) in
        [(&b"no component"[..], shares(""), "b.wasm"), (&scripted, bad_manifest, "prefech")]
    {
        let host = TestHost::new()
            .queue("out")
            .queue("work")
            .scripted("a", &shares("type = \"a\""))
            .plugin("b", bytes, &manifest)
            .scripted("other", "")
            .start_unready()
            .await;
        host.trouble("b", &[trouble]).await;
        host.serves("a", &scripted).await;
        host.consumes("other").await;
        host.send("work", "publish::~out").await;
        host.send("other", r#"{"publish": {"key": "~out", "body": "other"}}"#).await;
        assert_eq!(host.take_text("out").await, "other");
        assert_eq!(host.depth("work"), (1, 0), "it waits for the plugin that it is for");
        host.put_manifest("b", &shares(""));
        host.put("b", &scripted);
        assert_eq!(host.take_text("out").await, host.text("publish::~out"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_plugin_leaves_the_queue_to_the_others() {
    let host = TestHost::new()
        .queue("out")
        .scripted("a", &shares("type = \"a\""))
        .scripted("b", &shares(""))
        .start()
        .await;
    std::fs::remove_file(host.file("b.wasm")).unwrap();
    eventually("it is gone", || host.status("b").is_none()).await;
    host.send("work", "publish::~out").await;
    host.take("a.dlq").await;
    let properties = Properties { kind: Some("a".into()), ..Properties::default() };
    host.send_with("work", "publish::~out", properties).await;
    host.take("out").await;
}

async fn a_slow_plugin_does_not_hold_up_another(site: Site) {
    let slow = "[[subscription]]\nconcurrency = 1\nprefetch = 1";
    let host =
        TestHost::on(site).queue("out").scripted("slow", slow).scripted("fast", "").start().await;
    for _ in 0..10 {
        host.send("slow", "sleep:20000").await;
    }
    host.counts("wabbit_inflight", &[("plugin", "slow")], 1.0).await;
    for _ in 0..50 {
        host.send("fast", "publish::~out").await;
    }
    for _ in 0..50 {
        host.take("out").await;
    }
    assert!(host.metric("wabbit_inflight", &[("plugin", "slow")]) > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn plugins_that_share_a_queue_have_their_own_concurrency() {
    let one = |kind: &str| {
        shares(&format!("type = \"{kind}\"")).replace("queue =", "concurrency = 1\nqueue =")
    };
    let host = TestHost::new()
        .queue("out")
        .scripted("slow", &one("slow"))
        .scripted("fast", &one("fast"))
        .start()
        .await;
    let of = |kind: &str| Properties { kind: Some(kind.into()), ..Properties::default() };
    for _ in 0..5 {
        host.send_with("work", "sleep:20000", of("slow")).await;
    }
    host.send_with("work", "publish::~out", of("fast")).await;
    host.take("out").await;
    host.counts("wabbit_inflight", &[("plugin", "slow")], 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_are_handled_at_once_or_held_than_was_said() {
    let manifest = "[[subscription]]\nconcurrency = 3\nprefetch = 5";
    let host = TestHost::new().queue("out").scripted("orders", manifest).start().await;
    for _ in 0..8 {
        host.send("orders", r#"["sleep:700", "publish::~out"]"#).await;
    }
    host.has_depth("orders", (3, 5)).await;
    let most = AtomicU64::new(0);
    let watching = async {
        loop {
            let inflight = host.metric("wabbit_inflight", &[("plugin", "orders")]);
            most.fetch_max(inflight as u64, Relaxed);
            assert!(host.depth("orders").1 <= 5);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let taking = async {
        for _ in 0..8 {
            host.take("out").await;
        }
    };
    tokio::select! {
        () = watching => {}
        () = taking => {}
    }
    assert_eq!(most.into_inner(), 3, "at once");
}

async fn a_plugin_may_consume_several_queues(site: Site) {
    let manifest = "[[subscription]]\nqueue = \"~a\"\n[[subscription]]\nqueue = \"~b\"";
    let host = TestHost::on(site).queue("out").scripted("orders", manifest).start().await;
    for queue in ["a", "b"] {
        host.send(queue, "report:event::~out").await;
        let seen: serde_json::Value = serde_json::from_str(&host.take_text("out").await).unwrap();
        assert_eq!(seen["queue"], host.own(queue));
        host.send(queue, "reject").await;
        assert_eq!(
            header(&host.take("orders.dlq").await, "x-original-routingKey"),
            host.own(queue)
        );
    }
}

async fn a_queue_that_goes_with_its_last_consumer_survives_a_change(site: Site) {
    let manifest = |prefetch: u16| {
        let settings = format!("prefetch = {prefetch}\nconcurrency = 1\nauto-delete = true");
        granted(&format!("[[subscription]]\nqueue = \"~work\"\n{settings}"))
    };
    let host = TestHost::on(site).queue("out").scripted("a", &manifest(2)).start().await;
    for _ in 0..20 {
        host.send("work", "[\"sleep:20\", \"publish::~out\"]").await;
    }
    host.put_manifest("a", &manifest(3));
    for _ in 0..20 {
        host.take("out").await;
    }
}
