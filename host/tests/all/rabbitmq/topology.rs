//! Queues, exchanges and bindings: declared, compared, refused, lost and found.

use super::{SCRIPTED, work};
use crate::support::process::{Place, eventually};
use crate::support::rabbit::{User, Vhost, api, body};
use lapin::ExchangeKind;
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test]
async fn a_missing_permission_stops_one_subscription_and_says_what_to_do() {
    let (vhost, user) = (Vhost::new().await, User::new().await);
    vhost.queue("out", &[]).await;
    for queue in ["there", "secret"] {
        vhost.queue(queue, &[]).await;
    }
    // It may declare nothing, and read only one queue.
    vhost.allow(&user.name, ["^$", ".*", "^there$"]).await;
    let there = format!("[[subscription]]\nqueue = \"there\"\ntopology = \"verify\"\n{SCRIPTED}");
    let secret = "[[subscription]]\nqueue = \"secret\"\ntopology = \"off\"\n";
    let place = Place::new()
        .plugin("there", "scripted", &there)
        .plugin("absent", "noop", "")
        .plugin("secret", "noop", secret);
    vhost.queue("there.dlq", &[]).await;
    let host = place.run(&vhost.url_of(&user.name, &user.password)).await;
    host.unready(&["queue `absent`", "access refused", "hint: ", "rabbitmqctl"]).await;
    host.unready(&["queue `secret`", "403"]).await;
    eventually("two reasons", async || (host.reasons().await.len() == 2).then_some(())).await;
    vhost.publish("", "there", &work(0, "goes on")).await;
    assert_eq!(body(&vhost.next("out").await), "goes on");
    assert!(!host.log_text().contains(&user.password));
}

#[tokio::test]
async fn a_queue_named_by_the_server_is_another_one_after_a_reconnect() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let manifest = format!(
        "[[subscription]]\nqueue = \"\"\n\
         bindings = [{{ exchange = \"news\", type = \"topic\", key = \"all.#\" }}]\n\
         [dead-letter]\nqueue = \"news.dlq\"\n{SCRIPTED}"
    );
    let host = Place::new().plugin("news", "scripted", &manifest).run(&vhost.url).await;
    host.ready().await;
    let named = async || -> BTreeSet<String> {
        let queues = vhost.queues().await;
        queues.into_iter().filter(|name| name.starts_with("amq.gen-")).collect()
    };
    let before = eventually("its queue", async || named().await.pop_first()).await;
    assert_eq!(host.metric("wabbit_gaps_total", &[]).await, 0.0);
    vhost.publish("news", "all.of.it", &work(0, "before")).await;
    assert_eq!(body(&vhost.next("out").await), "before");
    vhost.close_connections("consume").await;
    let other = async || named().await.into_iter().find(|name| *name != before);
    eventually("another queue", other).await;
    host.ready().await;
    assert_eq!(host.metric("wabbit_gaps_total", &[]).await, 1.0);
    let seconds = host.metric("wabbit_gap_seconds_sum", &[]).await;
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");
    let line = host.logs(&["what was published to it meanwhile is gone"]).await;
    assert!(line["queue"].as_str().unwrap().starts_with("amq.gen-"), "{line}");
    vhost.publish("news", "all.of.it", &work(0, "after")).await;
    assert_eq!(body(&vhost.next("out").await), "after");
}

#[tokio::test]
async fn an_exclusive_queue_that_was_lost_is_a_gap_and_a_durable_one_is_not() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let own = format!("[[subscription]]\nqueue = \"own\"\nexclusive = true\n{SCRIPTED}");
    let place = Place::new().plugin("own", "scripted", &own).plugin("kept", "scripted", SCRIPTED);
    let host = place.run(&vhost.url).await;
    host.ready().await;
    for gaps in [1.0, 2.0] {
        vhost.close_connections("consume").await;
        host.metric_reaches("wabbit_gaps_total", &["queue=\"own\""], gaps).await;
        host.ready().await;
    }
    assert_eq!(host.metric("wabbit_gaps_total", &[]).await, 2.0);
    assert_eq!(host.metric("wabbit_gap_seconds_count", &["queue=\"own\""]).await, 2.0);
}

#[tokio::test]
async fn each_type_of_exchange_leads_to_the_queue() {
    let vhost = Vhost::new().await;
    // One is there already, and the manifest does not say of which type.
    vhost.exchange("there", ExchangeKind::Fanout).await;
    let manifest = "[[subscription]]\nqueue = \"orders\"\nbindings = [\n\
        { exchange = \"d\", type = \"direct\", key = \"k\" },\n\
        { exchange = \"t\", type = \"topic\", key = \"a.*.c\" },\n\
        { exchange = \"f\", type = \"fanout\" },\n\
        { exchange = \"h\", type = \"headers\", match = \"any\", headers = { a = 1, b = \"x\" } },\n\
        { exchange = \"there\" },\n\
        { exchange = \"amq.topic\", key = \"#.end\" },\n]\n\
        [grants]\npublish = [\":out\"]\n";
    let host = Place::new().plugin("orders", "scripted", manifest).run(&vhost.url).await;
    host.ready().await;
    let table: [(&str, &str, &[&str], bool); 12] = [
        ("d", "k", &[], true),
        ("d", "j", &[], false),
        ("t", "a.b.c", &[], true),
        ("t", "a.c", &[], false),
        ("f", "any", &[], true),
        ("h", "", &["-H", "a=1"], true),
        ("h", "", &["-H", "b=x", "-H", "a=2"], true),
        ("h", "", &["-H", "a=2"], false),
        ("there", "", &[], true),
        ("amq.topic", "the.end", &[], true),
        ("", "orders", &[], true),
        ("", "order", &[], false),
    ];
    for (exchange, key, flags, routed) in table {
        let args = [&["publish", exchange, key, "--broker", &vhost.url], flags].concat();
        let ended = host.place.wabbit(&args).await;
        assert_eq!(ended.code, i32::from(!routed), "{exchange}:{key} {flags:?} {ended:?}");
    }
    let all = table.iter().filter(|(.., routed)| *routed).count();
    // Empty scripts are rejected.
    host.metric_reaches("wabbit_dead_letters_total", &["plugin=\"orders\""], all as f64).await;
    assert_eq!(vhost.count("orders.dlq").await, 8);
}

#[tokio::test]
async fn queues_are_declared_as_stated() {
    let vhost = Vhost::new().await;
    let stated = "[[subscription]]\nqueue = \"stated\"\ndurable = false\nauto-delete = true\n\
        arguments = { x-max-length = 7, x-single-active-consumer = true }\n";
    let quorum = "[[subscription]]\ntype = \"quorum\"\n";
    let host = Place::new()
        .plugin("plain", "noop", "")
        .plugin("stated", "noop", stated)
        .plugin("quorum", "noop", quorum)
        .run(&vhost.url)
        .await;
    host.ready().await;
    let queue = async |name: &str| {
        eventually(name, async || {
            let (status, queue) =
                api("GET", &format!("queues/{}/{name}", vhost.name), &json!({})).await;
            (status == 200).then_some(queue)
        })
        .await
    };
    let plain = queue("plain").await;
    assert_eq!((&plain["durable"], &plain["arguments"]), (&json!(true), &json!({})));
    let stated = queue("stated").await;
    assert_eq!((&stated["durable"], &stated["auto_delete"]), (&json!(false), &json!(true)));
    assert_eq!(stated["arguments"], json!({ "x-max-length": 7, "x-single-active-consumer": true }));
    assert_eq!(queue("quorum").await["type"], "quorum");
    for dead_letters in ["plain.dlq", "stated.dlq", "quorum.dlq"] {
        assert_eq!(queue(dead_letters).await["durable"], true);
    }
}
