//! Whether everything is processed, asked all the while: "yes" is true whenever it is said.

use super::report::Report;
use super::{full, ms, secs};
use crate::support::process::{PATIENCE, Place, Wabbit};
use crate::support::rabbit::Vhost;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicQosOptions, BasicRecoverOptions,
};
use lapin::types::FieldTable;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::time::{Instant, sleep};

/// All of them are prefetched.
const EVENTS: u32 = 1000;
/// Events of one round with another consumer, which takes one.
const SHARED: u32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_all_the_while() {
    let mut report =
        Report::new("drain with 1,000 prefetched and unacked; another consumer on the queue");
    let vhost = Vhost::new().await;
    vhost.queue("effects", &[]).await;
    let manifest = format!(
        "[[subscription]]\nprefetch = {EVENTS}\nconcurrency = 20\n\
         [retry]\ndelays = [\"100ms\"]\n[grants]\npublish = [\":effects\"]\n"
    );
    let place = Place::new().plugin("work", "scripted", &manifest);
    let mut host = place.run(&vhost.url).await;
    host.keep_log(report.file("log"));
    host.ready().await;
    let rounds = if full() { 10 } else { 2 };
    let mut wanted = 0;
    for round in 0..rounds {
        drain(&vhost, &host, &mut report, &mut wanted).await;
        beside_another(&vhost, &host, &mut report, &mut wanted).await;
        report.set("rounds", round + 1);
    }
    report.set("attempt", wanted);
    report.set("ok", vhost.count("effects").await);
    let code = host.terminate().await.code();
    report.expect(code == Some(0), format!("SIGTERM ends it with {code:?}"));
    report.finish();
}

/// All are held by the host, so that the queue looks empty from outside.
async fn drain(vhost: &Vhost, host: &Wabbit, report: &mut Report, wanted: &mut u32) {
    publish(vhost, report, &json!(["sleep:1500", "publish::effects"])).await;
    for n in 1..EVENTS {
        // Some are away for a moment.
        let first = if n % 50 == 0 { "ok-from:2" } else { "sleep:20" };
        publish(vhost, report, &json!([first, "publish::effects"])).await;
    }
    *wanted += EVENTS;
    let said = until_idle(vhost, host, report, *wanted).await;
    report.expect(said.contains("busy"), format!("it said {said:?} before"));
    let (told, count) = (idle(host).await.0, vhost.count("effects").await);
    report.expect(told == "idle" && count == *wanted, format!("{told} after {count} effects"));
}

/// With another consumer on the queue, nobody can know what that one does.
async fn beside_another(vhost: &Vhost, host: &Wabbit, report: &mut Report, wanted: &mut u32) {
    let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
    vhost.channel.basic_qos(1, BasicQosOptions::default()).await.unwrap();
    let consumed = vhost.channel.basic_consume("work".into(), "other".into(), options, none);
    let _other = consumed.await.unwrap();
    for _ in 0..SHARED {
        publish(vhost, report, &json!(["sleep:20", "publish::effects"])).await;
    }
    // All but the one that it holds; then nothing happens for a while.
    vhost.reaches("effects", *wanted + SHARED - 1).await;
    let (began, mut said) = (Instant::now(), BTreeSet::new());
    while began.elapsed() < secs(2) {
        said.insert(idle(host).await.0);
        sleep(ms(20)).await;
    }
    report.expect(!said.contains("idle"), "said idle beside another consumer");
    report.expect(said.contains("unknown"), format!("said {said:?} beside another consumer"));
    vhost.channel.basic_cancel("other".into(), BasicCancelOptions::default()).await.unwrap();
    vhost.channel.basic_recover(BasicRecoverOptions { requeue: true }).await.unwrap();
    *wanted += SHARED;
    until_idle(vhost, host, report, *wanted).await;
}

async fn publish(vhost: &Vhost, report: &mut Report, script: &Value) {
    vhost.publish("", "work", &script.to_string()).await;
    if report.random.u8(..) == 0 {
        sleep(ms(5)).await;
    }
}

/// The state, and the reasons as one text.
async fn idle(host: &Wabbit) -> (String, String) {
    let (_, body) = host.get("/idle").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    (body["state"].as_str().unwrap().to_owned(), body["reasons"].to_string())
}

/// Asks until it is idle, and sees that all effects are there then; the states before that.
async fn until_idle(
    vhost: &Vhost,
    host: &Wabbit,
    report: &mut Report,
    wanted: u32,
) -> BTreeSet<String> {
    let (began, mut said) = (Instant::now(), BTreeSet::new());
    loop {
        let (state, reasons) = idle(host).await;
        if state == "idle" {
            let count = vhost.count("effects").await;
            report.expect(count == wanted, format!("idle after {count} effects of {wanted}"));
            return said;
        }
        said.insert(state);
        assert!(began.elapsed() < PATIENCE, "never idle: {reasons}");
    }
}
