//! The host itself killed, or told to end.

use super::oracle::Pass;
use super::report::Report;
use super::run::Plan;
use super::{full, ms, secs};
use crate::support::process::Place;
use crate::support::rabbit::Vhost;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep};

/// A start with a warm cache, up to the first delivery.
const FIRST_DELIVERY_MAX: Duration = secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again() {
    let times = if full() { 20 } else { 5 };
    let plan =
        Plan::new("host killed with `-9`, 20 times at random").during(secs(2) * times as u32);
    let mut run = plan.start().await;
    let mut slowest = Duration::ZERO;
    for _ in 0..times {
        run.host.signal("KILL");
        run.host.ended().await;
        let began = SystemTime::now();
        run.host.again().await;
        let first = run.host.received_after(began).await;
        slowest = slowest.max(first.duration_since(began).unwrap());
        sleep(ms(run.report.random.u64(100..1500))).await;
    }
    run.report.note(format!("first delivery {slowest:.1?} after a start, at most"));
    let limit = if full() { FIRST_DELIVERY_MAX } else { secs(10) };
    run.report.expect(slowest <= limit, format!("first delivery after {slowest:?}"));
    let account = run.account().await;
    let pass = Pass { losses: times, publish_losses: times, same_life: false, ..Pass::default() };
    account.passes(&pass);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_and_continued() {
    let heartbeat = if full() { secs(5) } else { secs(2) };
    // The broker gives up on a host that has been silent for two intervals.
    let lasts = heartbeat * 4;
    let row = "host stopped for longer than its heartbeats (`STOP`), then continued";
    let mut run = Plan::new(row).heartbeat(heartbeat).during(lasts + secs(5)).start().await;
    run.host.signal("STOP");
    sleep(lasts).await;
    run.host.signal("CONT");
    run.over();
    let account = run.account().await;
    account.passes(&Pass { losses: 1, publish_losses: 1, ..Pass::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_end_under_load() {
    let mut run = Plan::new("SIGTERM under load").during(secs(10)).start().await;
    let code = run.host.terminate().await.code();
    run.report.expect(code == Some(0), format!("exit code {code:?}"));
    for (queue, _, unsettled) in run.vhost.depths().await {
        run.report.expect(unsettled == 0, format!("{unsettled} unsettled in `{queue}`"));
    }
    run.host.again().await;
    let mut account = run.account().await;
    let (duplicates, _, copies) = account.duplicates();
    account.report.expect(duplicates + copies == 0, format!("{duplicates} duplicates"));
    account.passes(&Pass { same_life: false, ..Pass::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_end_with_a_slow_handler() {
    let mut report = Report::new("SIGTERM with a handler that needs 60 s");
    // As it is by default, or shorter.
    let (toml, grace) = match full() {
        true => ("", secs(25)),
        false => ("[limits]\nshutdown-grace = \"3s\"\n", secs(3)),
    };
    let vhost = Vhost::new().await;
    vhost.queue("effects", &[]).await;
    let manifest = "[limits]\ntimeout = \"10m\"\n[grants]\npublish = [\":effects\"]\n";
    let place = Place::new().plugin("work", "scripted", manifest).file("wabbit.toml", toml);
    let mut host = place.run(&vhost.url).await;
    host.keep_log(report.file("log"));
    host.ready().await;
    let slow = r#"["sleep:60000", "report:event::effects"]"#;
    vhost.publish("", "work", slow).await;
    vhost.publish("", "work", r#"["sleep:1500", "report:event::effects"]"#).await;
    host.metric_reaches("wabbit_inflight", &[], 2.0).await;
    let began = Instant::now();
    let code = host.terminate().await.code();
    let took = began.elapsed();
    report.note(format!("ended after {took:.1?}, with {code:?}"));
    report.expect(code == Some(0), format!("exit code {code:?}"));
    let limits = grace.saturating_sub(secs(1))..grace + if full() { secs(1) } else { secs(5) };
    report.expect(limits.contains(&took), format!("ended after {took:?}"));
    // The one that ended in time, once; the other one comes again.
    let effects = vhost.drain("effects").await;
    report.expect(effects.len() == 1, format!("effects: {effects:?}"));
    vhost.reaches("work", 1).await;
    let left = vhost.next("work").await;
    report.expect(left.redelivered && left.data == slow.as_bytes(), format!("{left:?}"));
    for (queue, ready, unsettled) in vhost.depths().await {
        report.expect(ready + unsettled == 0, format!("{ready} and {unsettled} in `{queue}`"));
    }
    report.finish();
}
