//! A broker that stops, dies, or is short of memory, and what an operator does to its queues.

use super::nodes::{self, Nodes};
use super::oracle::Pass;
use super::run::{Plan, Run};
use super::{events, full, ms, secs};
use crate::support::process::eventually;
use crate::support::rabbit::text;
use lapin::types::AMQPValue;
use serde_json::Value;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};

/// The fault is over as soon as the node takes connections.
async fn over_when_reachable(run: &mut Run, nodes: &Nodes) {
    while !nodes[0].is_reachable() {
        sleep(ms(20)).await;
    }
    run.over();
}

/// When the node has last written a line with `text` to its log.
fn said(nodes: &Nodes, text: &str) -> Option<SystemTime> {
    let log = std::fs::read_to_string(nodes[0].log()).unwrap();
    let line = log.lines().rev().find(|line| line.contains(text))?;
    let (time, _) = line.split_once('+')?;
    humantime::parse_rfc3339_weak(time).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_and_started() {
    let nodes = nodes::hurt().await;
    let plan = Plan::on("`stop_app`, 3 s, `start_app`", nodes.broker(0)).during(secs(10));
    let mut run = plan.start().await;
    let broker = nodes.broker(0);
    broker.ctl(&["stop_app"]).await;
    sleep(secs(3)).await;
    let starting = tokio::spawn(async move { broker.ctl(&["start_app"]).await });
    over_when_reachable(&mut run, &nodes).await;
    starting.await.unwrap();
    let account = run.account().await;
    let [losses, publish_losses] = account.evidence.reconnects;
    account.passes(&Pass { losses, publish_losses, ..Pass::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed() {
    let mut nodes = nodes::hurt().await;
    let row = "`kill -9` of the broker, durable queue and persistent messages";
    let mut run = Plan::on(row, nodes.broker(0)).during(secs(10)).start().await;
    nodes[0].kill();
    nodes[0].start_again().unwrap();
    over_when_reachable(&mut run, &nodes).await;
    nodes[0].wait_ready().unwrap();
    let account = run.account().await;
    let [losses, publish_losses] = account.evidence.reconnects;
    account.passes(&Pass { losses, publish_losses, ..Pass::default() });
}

/// Each event is tried again, and many wait for that when the broker is killed: all come. Those that
/// the broker was about to put back may come twice, of which it says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_retries_wait() {
    let mut nodes = nodes::hurt().await;
    let plan = Plan::on("retries through a killed broker", nodes.broker(0));
    let mut run = plan.during(secs(10)).retried(secs(1)).start().await;
    nodes[0].kill();
    nodes[0].start_again().unwrap();
    over_when_reachable(&mut run, &nodes).await;
    nodes[0].wait_ready().unwrap();
    let mut account = run.account().await;
    let (_, twice, _) = account.duplicates();
    account.report.note(format!("{} events came twice, unsaid", twice.len()));
    let [losses, publish_losses] = account.evidence.reconnects;
    // Published in the second and a half before.
    let copied = events() as usize / 10;
    account.passes(&Pass { losses, publish_losses, attempts: 2, copied, ..Pass::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_of_memory() {
    let lasts = if full() { secs(60) } else { secs(10) };
    let nodes = nodes::hurt().await;
    let broker = nodes.broker(0);
    // Slots for 80 events per second, which publish nothing.
    let quiet = "[[subscription]]\nprefetch = 32\nconcurrency = 8\n\
        [grants]\npublish = [\":effects\"]\n";
    let plan = Plan::on("memory alarm for 60 s", nodes.broker(0)).other("quiet", quiet);
    // The workload goes on all the time: only who publishes is blocked.
    let mut run = plan.during(lasts * 2 + secs(10)).start().await;
    let label = ["plugin=\"quiet\"", "outcome=\"ok\""];
    for _ in 0..80 * (lasts.as_secs() + 15) {
        run.vhost.publish("", "quiet", "sleep:100").await;
    }
    let rate = async |run: &Run, over: Duration| {
        let (began, before) =
            (Instant::now(), run.host.metric("wabbit_outcomes_total", &label).await);
        sleep(over).await;
        let after = run.host.metric("wabbit_outcomes_total", &label).await;
        (after - before) / began.elapsed().as_secs_f64()
    };
    let before = rate(&run, secs(3)).await;
    broker.ctl(&["set_vm_memory_high_watermark", "0.00001"]).await;
    run.host.metric_reaches("wabbit_connection_blocked", &["role=\"publish\""], 1.0).await;
    let during = rate(&run, lasts).await;
    run.report.expect(
        during >= 0.8 * before,
        format!("{during:.0} events per second during the alarm, {before:.0} before it"),
    );
    run.report.note(format!("{during:.0} events/s during the alarm, {before:.0} before it"));
    broker.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
    let cleared = eventually("the end of the alarm", async || said(&nodes, "alarm cleared")).await;
    run.over_since(cleared);
    let mut account = run.account().await;
    let counted = account.evidence.reconnects;
    account.report.expect(counted == [0, 0], format!("{counted:?} reconnects"));
    account.passes(&Pass { back: secs(3), ..Pass::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_queues_deleted() {
    let grants = "[grants]\npublish = [\":out\"]\n";
    let kept = format!("[[subscription]]\ntopology = \"verify\"\n{grants}");
    let plan = Plan::new("queue deleted under the consumer, `ensure` / `verify`").during(secs(5));
    let plan = plan.other("made", grants).other("kept", &kept);
    let mut run = plan.before(&["kept", "kept.dlq", "out"]).start().await;
    run.vhost.delete("made").await;
    run.vhost.delete("kept").await;
    let deleted = Instant::now();
    // Publishing is mandatory: it works as soon as the queue is there again.
    eventually("the queue `made`", async || {
        let published = run.host.publish("", "made", "publish::out").await;
        (published.code == 0).then_some(())
    })
    .await;
    run.vhost.next("out").await;
    let back = deleted.elapsed();
    run.report.note(format!("declared anew and consuming after {back:.1?}"));
    run.report.expect(back <= secs(5), format!("declared anew and consuming after {back:?}"));
    run.host.unready(&["queue `kept`", "does not exist", "hint: create it"]).await;
    eventually("one reason", async || (run.host.reasons().await.len() == 1).then_some(())).await;
    run.vhost.queue("kept", &[]).await;
    run.host.ready().await;
    let mut account = run.account().await;
    let counted = account.evidence.reconnects;
    account.report.expect(counted == [0, 0], format!("{counted:?} reconnects"));
    let gap = Some(if full() { ms(500) } else { secs(2) });
    account.passes(&Pass { gap, ..Pass::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tired_of_waiting_for_acks() {
    let nodes = nodes::hurt().await;
    let broker = nodes.broker(0);
    let limits = async |timeout: u32, tick: u32| {
        let set = format!(
            "application:set_env(rabbit, consumer_timeout, {timeout}), \
             application:set_env(rabbit, channel_tick_interval, {tick})."
        );
        broker.ctl(&["eval", &set]).await
    };
    limits(5_000, 5_000).await;
    let manifest = |timeout: &str| {
        format!(
            "[limits]\ntimeout = \"{timeout}\"\n[retry]\nattempts = 1\n[grants]\npublish = [\":out\"]\n"
        )
    };
    let plan = Plan::on("consumer timeout fires", nodes.broker(0)).during(secs(20));
    let plan = plan.other("limited", &manifest("2s")).other("unlimited", &manifest("10m"));
    let mut run = plan.before(&["out"]).start().await;
    let slow = r#"["sleep:15000", "report:event::out"]"#;
    run.vhost.publish("", "limited", slow).await;
    run.vhost.publish("", "unlimited", slow).await;
    // The handler's own limit ends the one of them, and the broker the channel of the other.
    let letter = run.vhost.next("limited.dlq").await;
    assert_eq!(text(&letter, "x-exception-type"), "timeout");
    run.host.logs(&["not consuming", "\"queue\":\"unlimited\"", "timeout"]).await;
    let down = Instant::now();
    limits(1_800_000, 60_000).await;
    run.host.ready().await;
    let back = down.elapsed();
    run.report.note(format!("consumer back after {back:.1?}"));
    run.report.expect(back <= secs(5), format!("consumer back after {back:?}"));
    let effect: Value = serde_json::from_slice(&run.vhost.next("out").await.data).unwrap();
    run.report.expect(effect["redelivered"] == true, format!("{effect}"));
    let others = run.vhost.drain("out").await;
    run.report.expect(others.is_empty(), format!("settled twice: {others:?}"));
    let log = run.host.log_text();
    run.report.expect(!log.contains("unknown delivery tag"), "a delivery was settled twice");
    let limited =
        log.lines().any(|line| line.contains("not consuming") && line.contains("\"limited\""));
    run.report.expect(!limited, "the consumer of the limited handler was cancelled");
    let account = run.account().await;
    account.passes(&Pass::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_queue_is_another_one() {
    let mut run = Plan::new("queue exists with other arguments").during(secs(8)).start().await;
    run.vhost.queue("other", &[("x-max-priority", AMQPValue::LongLongInt(5))]).await;
    let manifest = "[[subscription]]\narguments = { x-max-priority = 10 }\n\
        [grants]\npublish = [\":effects\"]\n";
    run.host.place.install("other", "scripted", manifest);
    let difference = ["queue `other`", "x-max-priority", "10", "5", "hint: ", "delete"];
    run.host.unready(&difference).await;
    // Tried again all the time, and told of once.
    sleep(secs(5)).await;
    let quiet = |line: &Value| line["level"] == "DEBUG" || line["level"] == "TRACE";
    let told = |line: &Value| !quiet(line) && line.to_string().contains("x-max-priority");
    let told = run.host.log_lines().iter().filter(|line| told(line)).count();
    run.report.expect(told == 1, format!("told of {told} times"));
    let found = run.host.place.wabbit(&["check", "--broker", &run.vhost.url]).await;
    let shown = difference.iter().all(|text| found.stdout.contains(text));
    assert!(found.code == 78 && shown, "{found:#?}");
    run.vhost.delete("other").await;
    run.host.ready().await;
    let account = run.account().await;
    account.passes(&Pass { gap: Some(if full() { ms(500) } else { secs(2) }), ..Pass::default() });
}
