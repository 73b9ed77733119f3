//! When the host says that everything is processed, it is; and it says why it is not.

use super::{SCRIPTED, work};
use crate::support::process::{LOOK, PATIENCE, Place, Wabbit, eventually};
use crate::support::rabbit::Vhost;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRecoverOptions,
    QueuePurgeOptions,
};
use lapin::types::FieldTable;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::time::{sleep, timeout};

/// The status, the state, and the reasons as one text.
async fn idle(host: &Wabbit) -> (u16, String, String) {
    let (status, body) = host.get("/idle").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    (status, body["state"].as_str().unwrap().to_owned(), body["reasons"].to_string())
}

/// Asks until it is idle; what it said before that, without repetitions.
async fn until_idle(host: &Wabbit) -> Vec<(String, String)> {
    let mut said = Vec::new();
    let asked = timeout(PATIENCE, async {
        loop {
            let (status, state, reasons) = idle(host).await;
            if status == 200 {
                assert_eq!((state.as_str(), reasons.as_str()), ("idle", "[]"));
                return;
            }
            assert_eq!(status, 503);
            if said.last() != Some(&(state.clone(), reasons.clone())) {
                said.push((state, reasons));
            }
        }
    });
    let in_time = asked.await.is_ok();
    assert!(in_time, "never idle: {:?}", said.last());
    said
}

/// It is not idle for a reason with all of `texts`, which is asked for until it is given.
async fn not_idle(host: &Wabbit, state: &str, texts: &[&str]) {
    let mut last = None;
    let said = timeout(PATIENCE, async {
        loop {
            let now = idle(host).await;
            if now.1 == state && texts.iter().all(|text| now.2.contains(text)) {
                return;
            }
            last = Some(now);
            sleep(LOOK).await;
        }
    });
    let in_time = said.await.is_ok();
    assert!(in_time, "not {state} for {texts:?}: {last:?}");
}

#[tokio::test]
async fn what_is_held_and_not_handled_is_not_done() {
    const EVENTS: u32 = 1000;
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let manifest = format!("[[subscription]]\nprefetch = {EVENTS}\nconcurrency = 20\n{SCRIPTED}");
    let host = Place::new().plugin("orders", "scripted", &manifest).run(&vhost.url).await;
    host.ready().await;
    assert!(!until_idle(&host).await.iter().any(|(state, _)| state == "busy"));
    vhost.publish("", "orders", &work(1500, "first")).await;
    for n in 1..EVENTS {
        vhost.publish("", "orders", &work(20, &n.to_string())).await;
    }
    // All of them are prefetched, so that the queue looks empty from outside.
    eventually("an empty queue", async || (vhost.count("orders").await == 0).then_some(())).await;
    let (status, state, reasons) = idle(&host).await;
    assert_eq!((status, state.as_str()), (503, "busy"), "{reasons}");
    assert!(reasons.contains("being handled, from `orders`"), "{reasons}");
    let said = until_idle(&host).await;
    assert_eq!(vhost.count("out").await, EVENTS, "said idle too early, after {said:?}");
    assert!(said.iter().all(|(state, _)| state == "busy"), "{said:?}");
}

#[tokio::test]
async fn with_another_consumer_on_a_queue_nobody_can_know() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let host = Place::new().plugin("orders", "scripted", SCRIPTED).run(&vhost.url).await;
    host.ready().await;
    until_idle(&host).await;
    // The one next to it takes events and says nothing.
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    vhost.channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
    let taken = vhost.channel.basic_consume("orders".into(), "other".into(), options, none);
    let _other = taken.await.unwrap();
    not_idle(&host, "unknown", &["1 other consumer is on `orders`"]).await;
    vhost.publish("", "orders", &work(1000, "a")).await;
    vhost.publish("", "orders", &work(1000, "b")).await;
    not_idle(&host, "busy", &["1 event is being handled", "1 other consumer"]).await;
    vhost.reaches("out", 1).await;
    not_idle(&host, "unknown", &["1 other consumer is on `orders`"]).await;
    vhost.channel.basic_cancel("other".into(), BasicCancelOptions::default()).await.unwrap();
    // What it held is still held.
    let requeue = BasicRecoverOptions { requeue: true };
    vhost.channel.basic_recover(requeue).await.unwrap();
    until_idle(&host).await;
    assert_eq!(vhost.count("out").await, 2);
}

#[tokio::test]
async fn what_waits_for_another_attempt_is_not_done() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let manifest = SCRIPTED.replace("50ms", "700ms");
    let host = Place::new().plugin("orders", "scripted", &manifest).run(&vhost.url).await;
    host.ready().await;
    let script = json!(["ok-from:3", { "publish": { "key": "out", "body": "done" } }]);
    for _ in 0..3 {
        vhost.publish("", "orders", &script.to_string()).await;
    }
    not_idle(&host, "busy", &["in `wabbit.delay.700` for the next attempt"]).await;
    let said = until_idle(&host).await;
    assert_eq!(vhost.count("out").await, 3, "said idle too early, after {said:?}");
    assert!(said.iter().all(|(state, _)| state == "busy"), "{said:?}");
}

/// An event on its way from its delay queue to a quorum queue is in neither for a moment.
#[tokio::test]
async fn what_comes_back_to_a_quorum_queue_is_not_done() {
    const ROUNDS: u32 = 15;
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let manifest = format!("[[subscription]]\ntype = \"quorum\"\n{SCRIPTED}");
    let host = Place::new().plugin("orders", "scripted", &manifest).run(&vhost.url).await;
    host.ready().await;
    let script = json!(["ok-from:3", { "publish": { "key": "out", "body": "done" } }]);
    for round in 1..=ROUNDS {
        vhost.publish("", "orders", &script.to_string()).await;
        let said = until_idle(&host).await;
        assert_eq!(vhost.count("out").await, round, "said idle too early, after {said:?}");
    }
}

#[tokio::test]
async fn what_comes_again_after_a_lost_connection_is_not_done() {
    const EVENTS: u32 = 60;
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let host = Place::new().plugin("orders", "scripted", SCRIPTED).run(&vhost.url).await;
    host.ready().await;
    for n in 0..EVENTS {
        vhost.publish("", "orders", &work(100, &n.to_string())).await;
    }
    for done in [5, 20] {
        vhost.reaches("out", done).await;
        vhost.close_connections("consume").await;
        assert_ne!(idle(&host).await.0, 200);
    }
    let said = until_idle(&host).await;
    let effects: BTreeSet<_> = vhost.drain("out").await.into_iter().collect();
    assert_eq!(effects.len(), EVENTS as usize, "said idle too early, after {said:?}");
}

#[tokio::test]
async fn what_an_ended_consumer_still_holds_is_not_done() {
    const EVENTS: u32 = 60;
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let prefetch = |count: u32| format!("[[subscription]]\nprefetch = {count}\n{SCRIPTED}");
    let place = Place::new().plugin("orders", "scripted", &prefetch(EVENTS));
    let host = place.run(&vhost.url).await;
    host.ready().await;
    for n in 0..EVENTS {
        vhost.publish("", "orders", &work(200, &n.to_string())).await;
    }
    for (done, count) in [(5, 50), (30, 40)] {
        vhost.reaches("out", done).await;
        // Another prefetch is another consumer, and what waits in the one before goes back.
        host.place.install("orders", "scripted", &prefetch(count));
        assert_ne!(idle(&host).await.0, 200);
    }
    let said = until_idle(&host).await;
    assert_eq!(vhost.count("out").await, EVENTS, "said idle too early, after {said:?}");
    let consuming = host.log_text().matches("\"message\":\"consuming\"").count();
    assert!(consuming > 1, "it never was another consumer");
}

#[tokio::test]
async fn retries_of_an_earlier_life_are_found_under_every_name() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let mut host = Place::new().plugin("orders", "scripted", SCRIPTED).run(&vhost.url).await;
    host.ready().await;
    vhost.publish("", "orders", "retry-after:76543210").await;
    host.metric_reaches("wabbit_retries_total", &[], 1.0).await;
    host.terminate().await;
    let host = Place::new().plugin("orders", "scripted", SCRIPTED).run(&vhost.url).await;
    host.ready().await;
    let told = "1 event waits in `wabbit.delay.77000000`, sent by another host or an earlier life";
    for _ in 0..3 {
        not_idle(&host, "unknown", &[told]).await;
    }
    let purge = QueuePurgeOptions::default();
    vhost.channel.queue_purge("wabbit.delay.77000000".into(), purge).await.unwrap();
    until_idle(&host).await;
    // It was looked at and nothing else: the next retry goes by it.
    assert!(vhost.queues().await.contains("wabbit.delay.77000000"));
}

#[tokio::test]
async fn a_delay_queue_that_is_gone_is_declared_again_without_a_word() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let host = Place::new().plugin("orders", "scripted", SCRIPTED).run(&vhost.url).await;
    host.ready().await;
    let script = json!(["ok-from:2", { "publish": { "key": "out", "body": "done" } }]);
    for done in 1..=2 {
        vhost.publish("", "orders", &script.to_string()).await;
        vhost.reaches("out", done).await;
        vhost.delete("wabbit.delay.50").await;
    }
    assert!(!host.log_text().contains("can't be moved"));
}

#[tokio::test]
async fn a_chain_of_queues_is_done_at_its_end() {
    const CHAINS: u32 = 30;
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    let link = |next: &str| SCRIPTED.replace(":out", &format!(":{next}"));
    let host = Place::new()
        .plugin("c", "scripted", &link("a"))
        .plugin("a", "scripted", &link("b"))
        .plugin("b", "scripted", &link("out"))
        .run(&vhost.url)
        .await;
    host.ready().await;
    until_idle(&host).await;
    let step = |key: &str, body: String| {
        json!(["sleep:30", { "publish": { "key": key, "body": body } }]).to_string()
    };
    for n in 0..CHAINS {
        let script = step("a", step("b", step("out", n.to_string())));
        vhost.publish("", "c", &script).await;
        if n % 10 == 0 {
            until_idle(&host).await;
            assert_eq!(vhost.count("out").await, n + 1, "said idle too early");
        }
    }
    until_idle(&host).await;
    assert_eq!(vhost.count("out").await, CHAINS, "said idle too early");
}

#[tokio::test]
async fn a_host_that_runs_until_it_is_idle_leaves_nothing_behind() {
    const EVENTS: u32 = 200;
    let vhost = Vhost::new().await;
    for queue in ["out", "orders"] {
        vhost.queue(queue, &[]).await;
    }
    for n in 0..EVENTS {
        vhost.publish("", "orders", &work(5, &n.to_string())).await;
    }
    let retried = json!(["ok-from:2", { "publish": { "key": "out", "body": "again" } }]);
    vhost.publish("", "orders", &retried.to_string()).await;
    let place = Place::new().plugin("orders", "scripted", SCRIPTED);
    let mut host = place.run_with(&["--broker", &vhost.url, "--until-idle"]).await;
    assert_eq!(host.ended().await.code(), Some(0));
    assert_eq!(vhost.count("out").await, EVENTS + 1);
    for (queue, ready, held) in vhost.depths().await {
        assert!(queue == "out" || (ready, held) == (0, 0), "`{queue}`: {ready}, {held}");
    }
    host.logs(&["idle: everything is processed"]).await;
}

#[tokio::test]
async fn a_queue_that_is_not_consumed_is_not_idle() {
    let vhost = Vhost::new().await;
    vhost.queue("fine.dlq", &[]).await;
    let verify = "[[subscription]]\ntopology = \"verify\"\n";
    let place = Place::new().plugin("fine", "noop", "").plugin("absent", "noop", verify);
    let host = place.run(&vhost.url).await;
    host.unready(&["queue `absent`", "does not exist"]).await;
    not_idle(&host, "unknown", &["queue `absent`", "does not exist"]).await;
    let wait = ["wait-idle", "--timeout", "300ms", "--admin", host.admin()];
    host.place.wabbit(&wait).await.fails(1, &["queue `absent`", "does not exist"]);
    for queue in ["absent", "absent.dlq"] {
        vhost.queue(queue, &[]).await;
    }
    until_idle(&host).await;
}
