//! What stays with an event on its way through delay queues to its last attempt and beyond, and
//! with what is published for it; the same on both brokers.

use crate::settling::{FAST, orders};
use crate::support::header;
use crate::support::host::TestHost;
use crate::support::setup::{Site, on_both};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wabbit::broker::ExchangeKind;
use wabbit::flow::{Field, Headers, Properties, Publication};

on_both! {
    a_retry_comes_again_as_it_was
    the_first_time_it_was_seen_survives_retries
    what_would_act_on_the_way_does_not
    a_body_is_kept_to_the_byte
    an_empty_body_is_handled
    a_body_of_16_mib_is_handled
    a_body_over_the_limit_is_not_handed_to_the_handler
    a_publication_without_a_message_id_gets_the_same_at_each_attempt
    copies_need_a_grant_too
    used_up_attempts_make_a_dead_letter_that_tells_why
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
    host.publish(event(Field::Array(vec![Field::from(&*secret)]))).await;
    let dead = host.take("orders.dlq").await;
    let reason = header(&dead, "x-exception-message");
    assert!(reason.contains("do not cover") && reason.contains(&secret), "{reason}");
    host.finds_empty("secret").await;
    host.publish(event(Field::Array(vec![Field::Text(host.own("out"))]))).await;
    host.take("out").await;
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
