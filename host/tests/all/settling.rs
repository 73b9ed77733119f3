//! What becomes of an event, by what its handler makes of it: seen in queues, on dead letters and
//! in metrics, the same on both brokers.

use crate::support::header;
use crate::support::host::TestHost;
use crate::support::setup::{Site, on_both};
use wabbit::broker::ExchangeKind;
use wabbit::flow::Publication;

on_both! {
    what_is_handled_is_acked_and_what_it_published_is_there_in_order
    a_handler_names_its_own_delay
    a_rejected_event_is_a_dead_letter_at_once
    a_dropped_event_is_gone
    used_up_attempts_are_dropped_where_the_plugin_says_so
    a_trap_is_retried_and_then_a_dead_letter
    a_handler_is_told_what_it_may_not_publish
    a_publication_that_no_queue_takes_fails_the_event
    a_publication_to_a_missing_exchange_fails_the_event
    a_handler_that_fails_publishes_nothing
    at_most_once_never_comes_again
    dead_letters_go_where_the_manifest_says
    a_publication_that_closes_the_channel_harms_no_other
    a_queue_that_the_server_names_is_served_alike
    a_quorum_queue_is_served_alike
}

/// Retries that do not keep a test waiting, and grants for queues and exchanges that are not all there.
pub const FAST: &str = "
    [retry]
    attempts = 3
    delays = [\"30ms\"]
    jitter = 0
    [grants]
    publish = [\":~out\", \":~nowhere\", \"~missing:#\", \"~shop:#\"]
";

/// A host with one plugin and those rules.
pub async fn orders(site: Site) -> TestHost {
    TestHost::on(site).queue("out").scripted("orders", FAST).start().await
}

async fn what_is_handled_is_acked_and_what_it_published_is_there_in_order(site: Site) {
    let host = TestHost::on(site)
        .exchange("shop", ExchangeKind::Topic, "order.#", "out")
        .scripted("orders", FAST)
        .start()
        .await;
    let publish = |n: u32| {
        format!(r#"{{"publish": {{"exchange": "~shop", "key": "order.{n}", "body": "{n}"}}}}"#)
    };
    host.send("orders", &format!("[{}, {}, {}]", publish(1), publish(2), publish(3))).await;
    for n in 1..=3 {
        let event = host.take("out").await;
        assert_eq!(
            (&event.body[..], event.routing_key),
            (n.to_string().as_bytes(), format!("order.{n}"))
        );
        assert_eq!(event.properties.delivery_mode, Some(2));
    }
    let ok = [("plugin", "orders"), ("queue", "orders"), ("outcome", "ok"), ("class", "ok")];
    host.counts("wabbit_outcomes_total", &ok, 1.0).await;
    host.counts("wabbit_deliveries_total", &ok[..2], 1.0).await;
    host.counts("wabbit_inflight", &ok[..2], 0.0).await;
    if site == Site::Memory {
        host.has_depth("orders", (0, 0)).await;
    }
}

async fn a_handler_names_its_own_delay(site: Site) {
    let manifest = "retry = { attempts = 2, delays = [\"1h\"] }";
    let host = TestHost::on(site).scripted("orders", manifest).start().await;
    host.send("orders", "retry-after:40").await;
    let dead = host.take("orders.dlq").await;
    assert_eq!((dead.attempt, header(&dead, "x-exception-type")), (2, "retry"));
}

async fn a_rejected_event_is_a_dead_letter_at_once(site: Site) {
    let host = orders(site).await;
    host.send("orders", "reject:no such customer").await;
    let dead = host.take("orders.dlq").await;
    assert_eq!(dead.attempt, 1);
    assert_eq!(header(&dead, "x-exception-type"), "reject");
    assert_eq!(header(&dead, "x-exception-message"), "no such customer");
    assert_eq!(header(&dead, "x-original-exchange"), "");
    assert_eq!(header(&dead, "x-original-routingKey"), host.own("orders"));
}

async fn a_dropped_event_is_gone(site: Site) {
    let host = orders(site).await;
    host.send("orders", "drop").await;
    let dropped = [("plugin", "orders"), ("outcome", "drop"), ("class", "drop")];
    host.counts("wabbit_outcomes_total", &dropped, 1.0).await;
    host.finds_empty("orders.dlq").await;
}

async fn used_up_attempts_are_dropped_where_the_plugin_says_so(site: Site) {
    let manifest = format!("{FAST}\n[dead-letter]\non-exhausted = \"drop\"");
    let host = TestHost::on(site).queue("out").scripted("orders", &manifest).start().await;
    host.send("orders", "retry").await;
    let retried = [("plugin", "orders"), ("outcome", "retry")];
    host.counts("wabbit_outcomes_total", &retried, 3.0).await;
    host.finds_empty("orders.dlq").await;
}

async fn a_trap_is_retried_and_then_a_dead_letter(site: Site) {
    let host = orders(site).await;
    host.send("orders", "panic").await;
    let dead = host.take("orders.dlq").await;
    assert_eq!((dead.attempt, header(&dead, "x-exception-type")), (3, "trap"));
    let traps = [("plugin", "orders"), ("kind", "trap")];
    host.counts("wabbit_plugin_traps_total", &traps, 3.0).await;
}

async fn a_handler_is_told_what_it_may_not_publish(site: Site) {
    let host = orders(site).await;
    host.send("orders", "publish:amq.topic:key").await;
    let dead = host.take("orders.dlq").await;
    assert_eq!(header(&dead, "x-exception-type"), "reject");
    let reason = header(&dead, "x-exception-message");
    assert!(reason.contains("do not cover publishing to `amq.topic:key`"), "{reason}");
}

async fn a_publication_that_no_queue_takes_fails_the_event(site: Site) {
    let host = orders(site).await;
    // The one before it in the same event has been taken by then, and comes with each attempt.
    host.send("orders", r#"["publish::~out", "publish::~nowhere"]"#).await;
    let dead = host.take("orders.dlq").await;
    assert_eq!((dead.attempt, header(&dead, "x-exception-type")), (3, "publish"));
    let reason = header(&dead, "x-exception-message");
    assert!(
        reason.contains("no queue took it") && reason.contains(&host.own("nowhere")),
        "{reason}"
    );
}

async fn a_publication_to_a_missing_exchange_fails_the_event(site: Site) {
    let host = orders(site).await;
    host.send("orders", "publish:~missing:key").await;
    let dead = host.take("orders.dlq").await;
    assert_eq!((dead.attempt, header(&dead, "x-exception-type")), (3, "publish"));
    let reason = header(&dead, "x-exception-message");
    assert!(reason.contains("no exchange") && reason.contains(&host.own("missing")), "{reason}");
    // Publishing goes on.
    host.send("orders", "publish::~out").await;
    host.take("out").await;
}

async fn a_handler_that_fails_publishes_nothing(site: Site) {
    let host = orders(site).await;
    for failure in ["reject", "drop", "panic", "retry"] {
        host.send("orders", &format!(r#"["publish::~out", "{failure}"]"#)).await;
    }
    let dead: Vec<_> = [
        host.take("orders.dlq").await,
        host.take("orders.dlq").await,
        host.take("orders.dlq").await,
    ]
    .iter()
    .map(|dead| header(dead, "x-exception-type").to_owned())
    .collect();
    for failure in ["reject", "retry", "trap"] {
        assert!(dead.iter().any(|class| class == failure), "{dead:?}");
    }
    host.send("orders", "publish::~out").await;
    assert_eq!(host.take_text("out").await, host.text("publish::~out"));
}

async fn at_most_once_never_comes_again(site: Site) {
    let manifest = format!("[[subscription]]\ndelivery = \"at-most-once\"\n{FAST}");
    let host = TestHost::on(site).queue("out").scripted("orders", &manifest).start().await;
    for failure in ["retry", "reject", "panic"] {
        host.send("orders", failure).await;
    }
    let failed = |outcome| [("plugin", "orders"), ("outcome", outcome)];
    for outcome in ["retry", "reject", "failed"] {
        host.counts("wabbit_outcomes_total", &failed(outcome), 1.0).await;
    }
    host.finds_empty("orders.dlq").await;
    if site == Site::Memory {
        host.send("orders", r#"["sleep:1000", "publish::~out"]"#).await;
        // It is acknowledged before it is handled.
        host.has_depth("orders", (0, 0)).await;
        assert_eq!(host.depth("out"), (0, 0));
        host.take("out").await;
    }
}

async fn dead_letters_go_where_the_manifest_says(site: Site) {
    let manifest = "dead-letter = { exchange = \"~shop\", routing-key = \"dead\" }";
    let host = TestHost::on(site)
        .exchange("shop", ExchangeKind::Direct, "dead", "bin")
        .scripted("orders", manifest)
        .start()
        .await;
    host.send("orders", "reject").await;
    assert_eq!(header(&host.take("bin").await, "x-exception-type"), "reject");
}

async fn a_publication_that_closes_the_channel_harms_no_other(site: Site) {
    let once = FAST.replace("attempts = 3", "attempts = 1") + "[circuit]\nfailures = 0";
    let host = TestHost::on(site)
        .queue("out")
        .scripted("bad", &once)
        .scripted("good", &once)
        .start()
        .await;
    let bad = ["publish:~missing:key", r#"{"publish": {"key": "~out", "expiration": "soon"}}"#];
    for script in bad.iter().cycle().take(40) {
        host.send("bad", script).await;
        host.send("good", "publish::~out").await;
    }
    for _ in 0..40 {
        host.take("out").await;
        assert_eq!(header(&host.take("bad.dlq").await, "x-exception-type"), "publish");
    }
    host.finds_empty("good.dlq").await;
}

async fn a_queue_that_the_server_names_is_served_alike(site: Site) {
    let manifest = "
        [[subscription]]
        queue = \"\"
        bindings = [{ exchange = \"~shop\", key = \"placed\" }]
    ";
    let host = TestHost::on(site)
        .exchange("shop", ExchangeKind::Direct, "", "other")
        .queue("out")
        .scripted("orders", &(manifest.to_owned() + FAST))
        .start()
        .await;
    for script in [r#"["ok-from:3", "report:event::~out"]"#, "panic"] {
        host.publish(Publication {
            exchange: "shop".into(),
            routing_key: "placed".into(),
            body: host.text(script).into_bytes(),
            ..Publication::default()
        })
        .await;
    }
    let seen: serde_json::Value = serde_json::from_str(&host.take_text("out").await).unwrap();
    assert_eq!((&seen["attempt"], &seen["routing-key"]), (&3.into(), &"placed".into()));
    let dead = host.take("orders.dlq").await;
    assert_eq!((dead.attempt, header(&dead, "x-original-routingKey")), (3, "placed"));
}

async fn a_quorum_queue_is_served_alike(site: Site) {
    let manifest = format!("[[subscription]]\ntype = \"quorum\"\n{FAST}");
    let host = TestHost::on(site).queue("out").scripted("orders", &manifest).start().await;
    host.send("orders", r#"["ok-from:3", "report:event::~out"]"#).await;
    let seen: serde_json::Value = serde_json::from_str(&host.take_text("out").await).unwrap();
    assert_eq!((&seen["attempt"], &seen["redelivered"]), (&3.into(), &false.into()));
    host.send("orders", "panic").await;
    let dead = host.take("orders.dlq").await;
    assert_eq!((dead.attempt, header(&dead, "x-exception-type")), (3, "trap"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_queue_that_was_deleted_is_made_again() {
    let host = orders(Site::Memory).await;
    for _ in 0..2 {
        host.send("orders", "reject").await;
        host.has_depth("orders.dlq", (1, 0)).await;
        host.delete_queue("orders.dlq");
    }
}

/// The broker would close the connection, for all publications that are on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_over_the_frame_size_fail_the_event() {
    let host = orders(Site::Rabbit).await;
    let script = r#"{"publish": {"key": "~out", "headers": {"long": "LONG"}}}"#;
    host.send("orders", &script.replace("LONG", &"x".repeat(200_000))).await;
    let dead = host.take("orders.dlq").await;
    assert_eq!((dead.attempt, header(&dead, "x-exception-type")), (3, "publish"));
    let reason = header(&dead, "x-exception-message");
    assert!(reason.contains("properties and headers have 200"), "{reason}");
}
