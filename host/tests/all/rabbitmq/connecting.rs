//! Reaching the broker: away, refusing, one of several, and by pika's URLs.

use super::{SCRIPTED, work};
use crate::support::process::{Place, eventually};
use crate::support::proxy::Proxy;
use crate::support::rabbit::{User, Vhost, address, api, body};
use lapin::BasicProperties;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

#[tokio::test]
async fn a_broker_that_is_away_is_waited_for_and_told_of_once() {
    let vhost = Vhost::new().await;
    vhost.queue("orders", &[]).await;
    vhost.publish("", "orders", "log:waited for").await;
    let proxy = Proxy::new(address()).await;
    let url = format!("amqp://guest:guest@{}/{}", proxy.address, vhost.name);
    let host = Place::new().plugin("orders", "scripted", SCRIPTED).run(&url).await;
    let attempts = 2 * 4;
    let what = "four attempts for each of the two connections";
    eventually(what, async || (proxy.attempts() >= attempts).then_some(())).await;
    host.unready(&["queue `orders`", "cannot reach the broker at `amqp://guest@127.0.0.1:"]).await;
    assert_eq!(host.get("/readyz").await.0, 503);
    assert_eq!(host.get("/livez").await.0, 200);
    assert_eq!(host.metric("wabbit_connection_up", &[]).await, 0.0);
    let told = host.log_lines().into_iter().filter(|line| {
        line["level"] == "WARN" && line.to_string().contains("cannot reach the broker")
    });
    let told: Vec<_> = told.map(|line| line["reason"].to_string()).collect();
    // The system may call one and the same thing a reset or an end.
    let reasons: BTreeSet<_> = told.iter().collect();
    assert!((1..=2).contains(&told.len()) && told.len() == reasons.len(), "{told:?}");
    proxy.open();
    host.ready().await;
    for role in ["consume", "publish"] {
        let up = host.logs(&["\"connected\"", role]).await;
        assert!(up["level"] == "INFO" && up["away_seconds"].as_f64() > Some(0.0), "{up}");
    }
    host.logs(&["waited for", "\"target\":\"guest\""]).await;
    host.metric_reaches("wabbit_connection_up", &[], 2.0).await;
}

#[tokio::test]
async fn refused_credentials_and_virtual_hosts_are_told_apart() {
    let (vhost, user) = (Vhost::new().await, User::new().await);
    let wrong = vhost.url_of(&user.name, &format!("{}x", user.password));
    let host = Place::new().plugin("orders", "noop", "").run(&wrong).await;
    host.unready(&["queue `orders`", "refuses the user or the password", "403"]).await;
    let foreign = vhost.url_of(&user.name, &user.password);
    let other = Place::new().plugin("orders", "noop", "").run(&foreign).await;
    other.unready(&["queue `orders`", "refuses the virtual host", &vhost.name]).await;
    let missing = format!("amqp://guest:guest@{}/no-such-vhost", address());
    let third = Place::new().plugin("orders", "noop", "").run(&missing).await;
    third.unready(&["refuses the virtual host `no-such-vhost`"]).await;
    for host in [host, other, third] {
        let seen = [host.log_text(), host.metrics().await, host.get("/readyz").await.1];
        assert!(seen.iter().all(|text| !text.contains("sesame")), "{seen:?}");
    }
}

#[tokio::test]
async fn the_next_uri_is_tried_and_pikas_parameters_are_known() {
    let vhost = Vhost::new().await;
    let dead = "amqp://guest:guest@127.0.0.1:1/%2f";
    let live = format!(
        "{}?heartbeat=33&blocked_connection_timeout=300&connection_attempts=3&retry_delay=5\
         &socket_timeout=10&channel_max=64&frame_max=65536&locale=en_US",
        vhost.url
    );
    let host = Place::new().plugin("orders", "noop", "");
    let host = host.run_with(&["--broker", dead, "--broker", &live]).await;
    host.ready().await;
    let connection = eventually("the connection's settings", async || {
        let (_, all) = api("GET", &format!("vhosts/{}/connections", vhost.name), &json!({})).await;
        let ours = |connection: &&serde_json::Value| {
            connection["client_properties"]["connection_name"] == "wabbit consume"
        };
        all.as_array()?.iter().find(ours).cloned()
    })
    .await;
    assert_eq!(connection["timeout"], 33, "{connection}");
    assert_eq!((&connection["channel_max"], &connection["frame_max"]), (&json!(64), &json!(65536)));
    assert_eq!(connection["client_properties"]["product"], "wabbit");
    let bad = Place::new().wabbit(&["run", "--broker", &format!("{}?hartbeat=1", vhost.url)]).await;
    bad.fails(78, &["unknown parameter `hartbeat`"]);
}

#[tokio::test]
async fn the_password_is_nowhere_to_be_seen() {
    let (vhost, user) = (Vhost::new().await, User::new().await);
    vhost.allow(&user.name, [".*"; 3]).await;
    vhost.queue("out", &[]).await;
    let url = vhost.url_of(&user.name, &user.password);
    let place = Place::new().plugin("orders", "scripted", SCRIPTED).env("RUST_LOG", "trace");
    let dead = "amqp://a:sesame-too@127.0.0.1:1";
    let mut host = place.run_with(&["--broker", dead, "--broker", &url]).await;
    host.ready().await;
    vhost.publish("", "orders", "reject:bad").await;
    vhost.publish("", "orders", &work(0, "done")).await;
    vhost.next("out").await;
    vhost.next("orders.dlq").await;
    vhost.close_connections("consume").await;
    host.metric_reaches("wabbit_reconnects_total", &["role=\"consume\""], 1.0).await;
    host.ready().await;
    let api = [host.get("/api/consumers").await.1, host.get("/api/plugins").await.1];
    let seen = [host.metrics().await, host.get("/readyz").await.1];
    host.terminate().await;
    for text in seen.iter().chain(&api).chain([&host.log_text()]) {
        for secret in [&user.password, "sesame-too"] {
            assert!(!text.contains(secret), "`{secret}` is in {text}");
        }
    }
}

#[tokio::test]
async fn every_metric_is_there_once_it_happened() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let host = Place::new().plugin("orders", "scripted", SCRIPTED).run(&vhost.url).await;
    host.ready().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let dated = || BasicProperties::default().with_timestamp(now);
    for script in [&work(1, "done"), "retry", "reject:no", "drop:no", "panic", "ok-from:2"] {
        vhost.publish_with("", "orders", script, dated()).await;
    }
    // Rejected, and those that failed three times.
    vhost.reaches("orders.dlq", 3).await;
    vhost.close_connections("publish").await;
    host.metric_reaches("wabbit_reconnects_total", &["role=\"publish\""], 1.0).await;
    host.ready().await;
    let page = host.metrics().await;
    for name in [
        "wabbit_deliveries_total{plugin=\"orders\",queue=\"orders\"}",
        "wabbit_outcomes_total{plugin=\"orders\",queue=\"orders\",outcome=\"ok\",class=\"ok\"} 2",
        "wabbit_outcomes_total{plugin=\"orders\",queue=\"orders\",outcome=\"drop\",class=\"drop\"} 1",
        "wabbit_outcomes_total{plugin=\"orders\",queue=\"orders\",outcome=\"failed\",class=\"trap\"} 3",
        "wabbit_handler_seconds_bucket{plugin=\"orders\",queue=\"orders\",le=",
        "wabbit_inflight{plugin=\"orders\",queue=\"orders\"} 0",
        "wabbit_event_age_seconds_bucket{plugin=\"orders\",queue=\"orders\",le=",
        "wabbit_retries_total{plugin=\"orders\",queue=\"orders\"} 5",
        "wabbit_dead_letters_total{plugin=\"orders\",queue=\"orders\"} 3",
        "wabbit_ack_lost_total{queue=\"orders\"}",
        "wabbit_reconnects_total{role=\"publish\",reason=",
        "wabbit_connection_up{role=\"consume\"} 1",
        "wabbit_connection_blocked{role=\"publish\"} 0",
        "wabbit_consumer_up{queue=\"orders\"} 1",
        "wabbit_plugin_info{plugin=\"orders\",digest=\"",
        "wabbit_plugin_reloads_total{plugin=\"orders\",result=\"loaded\"} 1",
        "wabbit_plugin_traps_total{plugin=\"orders\",kind=\"trap\"} 3",
    ] {
        assert!(page.lines().any(|line| line.starts_with(name)), "no `{name}` in\n{page}");
    }
    let letter = vhost.next("orders.dlq").await;
    assert_eq!(body(&letter), "reject:no");
}
