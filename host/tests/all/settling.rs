//! What becomes of an event, by what its handler makes of it: seen in queues, on dead letters and
//! in metrics, the same on both brokers.

use crate::support::host::{Site, TestHost, on_both};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wabbit::broker::ExchangeKind;
use wabbit::flow::{Event, Field, Headers, Properties, Publication};

on_both! {
    what_is_handled_is_acked_and_what_it_published_is_there_in_order
    a_retry_comes_again_as_it_was
    a_handler_names_its_own_delay
    the_first_time_it_was_seen_survives_retries
    used_up_attempts_make_a_dead_letter_that_tells_why
    a_rejected_event_is_a_dead_letter_at_once
    a_dropped_event_is_gone
    used_up_attempts_are_dropped_where_the_plugin_says_so
    a_trap_is_retried_and_then_a_dead_letter
    a_handler_is_told_what_it_may_not_publish
    a_publication_that_no_queue_takes_fails_the_event
    a_publication_to_a_missing_exchange_fails_the_event
    a_handler_that_fails_publishes_nothing
    what_would_act_on_the_way_does_not
    a_body_is_kept_to_the_byte
    an_empty_body_is_handled
    a_body_of_16_mib_is_handled
    a_body_over_the_limit_is_not_handed_to_the_handler
    at_most_once_never_comes_again
    dead_letters_go_where_the_manifest_says
    a_publication_without_a_message_id_gets_the_same_at_each_attempt
    copies_need_a_grant_too
    a_publication_that_closes_the_channel_harms_no_other
}

const FAST: &str = "
    [retry]
    attempts = 3
    delays = [\"30ms\"]
    jitter = 0
    [grants]
    publish = [\":~out\", \":~nowhere\", \"~missing:#\", \"~shop:#\"]
";

async fn orders(site: Site) -> TestHost {
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

async fn a_retry_comes_again_as_it_was(site: Site) {
    let host = TestHost::on(site)
        .queue("out")
        .exchange("shop", ExchangeKind::Topic, "order.*", "orders")
        .scripted("orders", FAST)
        .start()
        .await;
    let script = host.text(r#"[ "ok-from:3", "report:event::~out", "echo::~out" ]"#);
    let properties = everything();
    host.publish(Publication {
        exchange: "shop".into(),
        routing_key: "order.placed".into(),
        properties: properties.clone(),
        body: script.clone().into_bytes(),
    })
    .await;
    let seen: serde_json::Value = serde_json::from_str(&host.take_text("out").await).unwrap();
    assert_eq!(seen["attempt"], 3);
    assert_eq!(seen["exchange"], host.own("shop"));
    assert_eq!(seen["routing-key"], "order.placed");
    assert_eq!(seen["queue"], host.own("orders"));
    assert_eq!(seen["message-id"], "m-1");
    let echoed = host.take("out").await;
    assert_eq!(String::from_utf8(echoed.body).unwrap(), script);
    assert_eq!(echoed.properties, properties);
    host.counts("wabbit_retries_total", &[("plugin", "orders")], 2.0).await;
}

async fn a_handler_names_its_own_delay(site: Site) {
    let manifest = "retry = { attempts = 2, delays = [\"1h\"] }";
    let host = TestHost::on(site).scripted("orders", manifest).start().await;
    host.send("orders", "retry-after:40").await;
    let dead = host.take("orders.dlq").await;
    assert_eq!((dead.attempt, header(&dead, "x-exception-type")), (2, "retry"));
}

async fn the_first_time_it_was_seen_survives_retries(site: Site) {
    let manifest = "retry = { attempts = 2, delays = [\"300ms\"], jitter = 0 }";
    let host = TestHost::on(site).scripted("orders", manifest).start().await;
    let before = now_ms();
    host.send("orders", "retry").await;
    host.counts("wabbit_retries_total", &[("plugin", "orders")], 1.0).await;
    let retried = now_ms();
    let dead = host.take("orders.dlq").await;
    assert!(
        (before..=retried).contains(&dead.first_seen),
        "{before} {} {retried}",
        dead.first_seen
    );
}

async fn used_up_attempts_make_a_dead_letter_that_tells_why(site: Site) {
    let host = TestHost::on(site)
        .exchange("shop", ExchangeKind::Direct, "placed", "orders")
        .scripted("orders", FAST)
        .start()
        .await;
    let properties = everything();
    host.publish(Publication {
        exchange: "shop".into(),
        routing_key: "placed".into(),
        properties: properties.clone(),
        body: b"retry".to_vec(),
    })
    .await;
    let mut dead = host.take("orders.dlq").await;
    assert_eq!(dead.attempt, 3);
    assert_eq!(dead.body, b"retry");
    let headers = &mut dead.properties.headers;
    let digest = host.status("orders").unwrap().digest.unwrap();
    for (name, value) in [
        ("x-exception-message", "retried by script"),
        ("x-exception-type", "retry"),
        ("x-original-exchange", &host.own("shop")),
        ("x-original-routingKey", "placed"),
        ("x-wabbit-plugin", &host.own("orders")),
        ("x-wabbit-digest", &digest),
    ] {
        assert_eq!(headers.take(name), Some(value.into()), "{name}");
    }
    assert_eq!(dead.properties, properties, "all else is as it came");
    let orders = [("plugin", "orders"), ("queue", "orders")];
    host.counts("wabbit_dead_letters_total", &orders, 1.0).await;
    host.counts("wabbit_retries_total", &orders, 2.0).await;
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

async fn what_would_act_on_the_way_does_not(site: Site) {
    let host = TestHost::on(site).queue("out").queue("copy").scripted("orders", FAST).start().await;
    let to_copy = || Field::Array(vec![Field::Text(host.own("copy"))]);
    let death: Headers = [("queue", "elsewhere"), ("reason", "expired"), ("exchange", "")]
        .map(|(name, value)| (name, Field::from(value)))
        .into_iter()
        .chain([("count", Field::I64(1)), ("routing-keys", Field::Array(vec!["a".into()]))])
        .chain([("time", Field::Timestamp(1_700_000_000))])
        .collect();
    let mut death = death;
    death.0.sort_by(|(a, _), (b, _)| a.cmp(b));
    let deaths = Field::Array(vec![Field::Table(death)]);
    let headers = [
        ("CC", to_copy()),
        ("x-death", deaths),
        ("x-first-death-exchange", "".into()),
        ("x-first-death-queue", "elsewhere".into()),
        ("x-first-death-reason", "expired".into()),
    ];
    let properties = Properties {
        headers: headers.into_iter().collect(),
        expiration: Some("60000".into()),
        user_id: Some("guest".into()),
        ..Properties::default()
    };
    let with_blind_copy = {
        let mut properties = properties.clone();
        properties.headers.set("BCC", to_copy());
        properties
    };
    host.send_with("orders", "retry", with_blind_copy).await;
    let mut dead = host.take("orders.dlq").await;
    assert_eq!(dead.attempt, 3);
    let ours = |name: &String| {
        name.starts_with("x-exception")
            || name.starts_with("x-original")
            || name.starts_with("x-wabbit")
    };
    dead.properties.headers.0.retain(|(name, _)| !ours(name));
    assert_eq!(dead.properties, properties);
    // The broker has made one copy, and none when the event was moved.
    assert_eq!(host.take("copy").await.body, b"retry");
    host.finds_empty("copy").await;
}

async fn a_body_is_kept_to_the_byte(site: Site) {
    let host = orders(site).await;
    let body: Vec<u8> = b"retry:".iter().copied().chain(0..=255).collect();
    let routing_key = "orders".to_owned();
    host.publish(Publication { routing_key, body: body.clone(), ..Publication::default() }).await;
    let dead = host.take("orders.dlq").await;
    assert_eq!((dead.attempt, dead.body), (3, body));
}

async fn an_empty_body_is_handled(site: Site) {
    let host = orders(site).await;
    host.send("orders", "").await;
    let dead = host.take("orders.dlq").await;
    assert_eq!(dead.body, b"");
    assert_eq!(header(&dead, "x-exception-message"), "no such step: ``");
}

async fn a_body_of_16_mib_is_handled(site: Site) {
    let host = orders(site).await;
    let script = host.text(r#"["report:event::~out"]"#);
    host.send("orders", &(script.clone() + &" ".repeat((16 << 20) - script.len()))).await;
    let seen: serde_json::Value = serde_json::from_str(&host.take_text("out").await).unwrap();
    assert_eq!(seen["size"], 16 << 20);
}

async fn a_body_over_the_limit_is_not_handed_to_the_handler(site: Site) {
    let manifest = format!("{FAST}\n[limits]\nbody = \"1KiB\"");
    let host = TestHost::on(site).queue("out").scripted("orders", &manifest).start().await;
    let script = host.text("[\"publish::~out\"]");
    host.send("orders", &format!("{script:<1025}")).await;
    let dead = host.take("orders.dlq").await;
    assert_eq!((dead.attempt, header(&dead, "x-exception-type")), (1, "too-large"));
    assert_eq!(dead.body.len(), 1025);
    let reason = header(&dead, "x-exception-message");
    assert_eq!(reason, "the body has 1025 bytes, `[limits] body` is 1024");
    host.send("orders", &format!("{script:<1024}")).await;
    assert_eq!(host.take("out").await.body.len(), 1024);
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
        host.send("orders", r#"["sleep:300", "publish::~out"]"#).await;
        host.counts("wabbit_inflight", &[("plugin", "orders")], 1.0).await;
        assert_eq!(host.depth("orders"), (0, 0), "it is acknowledged before it is handled");
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

async fn a_publication_without_a_message_id_gets_the_same_at_each_attempt(site: Site) {
    let host = orders(site).await;
    let script = r#"["publish::~out", "publish::~nowhere"]"#;
    let properties = Properties { message_id: Some("m-1".into()), ..Properties::default() };
    host.send_with("orders", script, properties).await;
    for _ in 1..=3 {
        let id = host.take("out").await.properties.message_id;
        assert_eq!(id, Some(format!("m-1.{}.0", host.own("orders"))));
    }
}

/// A broker also routes by the keys in the header `CC`.
async fn copies_need_a_grant_too(site: Site) {
    let host = TestHost::on(site)
        .queue("out")
        .queue("secret")
        .exchange("shop", ExchangeKind::Direct, "placed", "orders")
        .scripted("orders", FAST)
        .start()
        .await;
    let event = |copies: Field| Publication {
        exchange: "shop".into(),
        routing_key: "placed".into(),
        properties: Properties {
            headers: [("CC", copies)].into_iter().collect(),
            ..Properties::default()
        },
        body: host.text("echo::~out").into_bytes(),
    };
    let secret = host.own("secret");
    for copy in [Field::from(&*secret), Field::RawText(secret.clone().into_bytes())] {
        host.publish(event(Field::Array(vec![copy]))).await;
        let dead = host.take("orders.dlq").await;
        let reason = header(&dead, "x-exception-message");
        assert!(reason.contains("do not cover") && reason.contains(&secret), "{reason}");
    }
    host.finds_empty("secret").await;
    host.publish(event(Field::Array(vec![Field::Text(host.own("out"))]))).await;
    host.take("out").await;
}

async fn a_publication_that_closes_the_channel_harms_no_other(site: Site) {
    let host = TestHost::on(site)
        .queue("out")
        .scripted("bad", &FAST.replace("attempts = 3", "attempts = 1"))
        .scripted("good", &FAST.replace("attempts = 3", "attempts = 1"))
        .start()
        .await;
    for _ in 0..40 {
        host.send("bad", "publish:~missing:key").await;
        host.send("good", "publish::~out").await;
    }
    for _ in 0..40 {
        host.take("out").await;
        assert_eq!(header(&host.take("bad.dlq").await, "x-exception-type"), "publish");
    }
    host.finds_empty("good.dlq").await;
}

fn header<'a>(event: &'a Event, name: &str) -> &'a str {
    event.properties.headers.get(name).and_then(Field::as_text).unwrap_or_default()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap()
}

/// Every property that a publisher may set, and headers of every type, sorted.
fn everything() -> Properties {
    let inner = Headers(vec![
        ("deep".to_owned(), Field::Array(vec![Field::I8(-1), Field::Table(Headers::default())])),
        ("text".to_owned(), "inner".into()),
    ]);
    let fields = [
        Field::Text("grüße".into()),
        Field::RawText(vec![0xff, 0xfe]),
        Field::Bytes(vec![0, 1, 255]),
        Field::Bool(true),
        Field::I8(-8),
        Field::U8(200),
        Field::I16(-300),
        Field::U16(60_000),
        Field::I32(-70_000),
        Field::U32(4_000_000_000),
        Field::I64(i64::MIN),
        Field::F32(1.5),
        Field::F64(-2.25),
        Field::Decimal { scale: 2, value: 12_345 },
        Field::Timestamp(1_700_000_000),
        Field::Void,
        Field::Array(vec!["a".into(), Field::Table(inner.clone())]),
        Field::Table(inner),
    ];
    let headers = fields.into_iter().enumerate();
    Properties {
        content_type: Some("application/json".into()),
        content_encoding: Some("identity".into()),
        headers: headers.map(|(at, field)| (format!("h{at:02}"), field)).collect(),
        delivery_mode: Some(2),
        priority: Some(3),
        correlation_id: Some("c-1".into()),
        reply_to: Some("answers".into()),
        expiration: None,
        message_id: Some("m-1".into()),
        timestamp: Some(1_700_000_000),
        kind: Some("order".into()),
        user_id: None,
        app_id: Some("shop".into()),
        cluster_id: None,
    }
}
