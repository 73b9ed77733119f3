//! A guest that misbehaves, over and over: each time one event fails, and neither the host nor its
//! other plugins notice.

use super::history::History;
use super::report::Report;
use super::{full, ms, secs};
use crate::support::process::{LOOK, Place, Wabbit};
use crate::support::rabbit::{Vhost, body, text};
use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Consumer};
use serde_json::json;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// Between two events of the neighbour.
const TRICKLE: Duration = ms(5);
/// After its limit, or the time in which it must run into it.
const LATE_MAX: Duration = ms(100);
const GROWTH_MAX: u64 = 50 << 20;

/// What a guest does, and how that ends.
struct Bad {
    row: &'static str,
    script: &'static str,
    limits: &'static str,
    /// The limit that ends it, or that of the time in which the other limit must.
    within: Duration,
    class: &'static str,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_loop() {
    let (row, limits) = ("guest: endless loop", "cpu = \"100ms\"");
    ends(Bad { row, script: "loop", limits, within: ms(100), class: "cpu" }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_bomb() {
    let (row, limits) = ("guest: memory bomb", "memory = \"32MiB\"");
    ends(Bad { row, script: "memory-bomb", limits, within: secs(1), class: "memory" }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_bomb() {
    let row = "guest: table bomb";
    ends(Bad { row, script: "table-bomb", limits: "", within: secs(1), class: "trap" }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stack_overflow() {
    let row = "guest: stack overflow";
    ends(Bad { row, script: "stack-overflow", limits: "", within: secs(1), class: "trap" }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_handles() {
    let (row, script) = ("guest: a million handles", "handle-bomb:1000000");
    ends(Bad { row, script, limits: "", within: secs(1), class: "trap" }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_log_lines() {
    let (row, script) = ("guest: a million log lines", "log-flood:1000000");
    let limits = "cpu = \"100ms\"";
    ends(Bad { row, script, limits, within: ms(100), class: "cpu" }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_string_of_100_mib() {
    let (row, script) = ("guest: a string of 100 MiB", "log-large:104857600");
    let limits = "memory = \"256MiB\"";
    ends(Bad { row, script, limits, within: secs(1), class: "trap" }).await;
}

async fn ends(bad: Bad) {
    let times = if full() { 1000 } else { 100 };
    let mut report = Report::new(bad.row);
    let vhost = Vhost::new().await;
    vhost.queue("effects", &[]).await;
    let mut host = start(&vhost, &bad).await;
    host.keep_log(report.file("log"));
    host.ready().await;
    let mut neighbour = Neighbour::new(&vhost).await;
    let quiet = neighbour.during(sleep(secs(if full() { 30 } else { 2 }))).await;
    let before = host.resident();
    let busy = neighbour.during(fail(&vhost, &bad, times)).await;
    let growth = host.resident().saturating_sub(before);
    report.expect(growth < GROWTH_MAX, format!("{growth} bytes more"));
    host.ready().await;
    let reconnects = host.metric("wabbit_reconnects_total", &[]).await;
    report.expect(reconnects == 0.0, format!("{reconnects} reconnects"));
    let hurt = host.metric("wabbit_dead_letters_total", &["plugin=\"neighbour\""]).await;
    report.expect(hurt == 0.0, format!("{hurt} dead letters of the neighbour"));
    let mut classes = Vec::new();
    while let Some(letter) = vhost.take("victim.dlq").await {
        classes.push(text(&letter, "x-exception-type"));
    }
    let good = classes.len() == times && classes.iter().all(|class| class == bad.class);
    report.expect(good, format!("{} dead letters, not {times} of {}", classes.len(), bad.class));
    let code = host.terminate().await.code();
    report.expect(code == Some(0), format!("SIGTERM ends it with {code:?}"));
    let history = History::of(&host.log_lines());
    report.expect(!history.panicked, "a panic in the log");
    let slowest = history.slowest("victim");
    let late = LATE_MAX + if full() { ms(0) } else { secs(5) };
    report.expect(slowest <= bad.within + late, format!("one took {slowest:?}"));
    let most = quiet * 2 + if full() { ms(0) } else { secs(5) };
    report.expect(busy < most, format!("the neighbour's p99 was {quiet:?}, now {busy:?}"));
    report.note(format!("neighbour's p99 {quiet:.1?} before, {busy:.1?} meanwhile"));
    report.note(format!("the slowest ended after {slowest:.1?}"));
    report.set("growth MiB", growth >> 20);
    report.finish();
}

async fn start(vhost: &Vhost, bad: &Bad) -> Wabbit {
    // What hurts the neighbour would be hidden by a pause; what waits for its turn is not slow.
    let victim = format!(
        "[[subscription]]\nconcurrency = 1\n[retry]\nattempts = 1\n[circuit]\nfailures = 0\n\
         [limits]\n{}\n[grants]\npublish = [\":effects\"]\n",
        bad.limits
    );
    Place::new()
        .env("RUST_LOG", "info,wabbit=trace,lapin=off")
        .plugin("victim", "scripted", &victim)
        .plugin("neighbour", "scripted", "[grants]\npublish = [\":effects\"]\n")
        .run(&format!("{}?heartbeat=2", vhost.url))
        .await
}

/// So many events fail.
async fn fail(vhost: &Vhost, bad: &Bad, times: usize) {
    for _ in 0..times {
        vhost.publish("", "victim", bad.script).await;
    }
    while vhost.count("victim.dlq").await < times as u32 {
        sleep(LOOK).await;
    }
}

/// Another plugin, whose events come one by one all the time.
struct Neighbour<'a> {
    vhost: &'a Vhost,
    effects: Consumer,
    sent: Vec<Instant>,
}

impl<'a> Neighbour<'a> {
    async fn new(vhost: &'a Vhost) -> Self {
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let (queue, tag) = ("effects".into(), "neighbour".into());
        let consumed = vhost.channel.basic_consume(queue, tag, options, FieldTable::default());
        Self { vhost, effects: consumed.await.unwrap(), sent: Vec::new() }
    }

    /// Does `work`, and sees how long the events take meanwhile: the 99th percentile.
    async fn during(&mut self, work: impl Future<Output = ()>) -> Duration {
        let measured = timeout(secs(1200), self.measure(work)).await;
        let mut took = measured.expect("all events of the neighbour come out");
        took.sort();
        took[took.len() * 99 / 100]
    }

    async fn measure(&mut self, work: impl Future<Output = ()>) -> Vec<Duration> {
        tokio::pin!(work);
        let (first, mut done, mut took) = (self.sent.len(), false, Vec::new());
        let mut tick = interval(TRICKLE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !done || took.len() < self.sent.len() - first {
            tokio::select! {
                () = &mut work, if !done => done = true,
                _ = tick.tick(), if !done => self.send().await,
                Some(effect) = self.effects.next() => {
                    let number: usize = body(&effect.unwrap()).parse().unwrap();
                    took.push(self.sent[number].elapsed());
                }
            }
        }
        took
    }

    async fn send(&mut self) {
        let number = self.sent.len().to_string();
        let script = json!({ "publish": { "key": "effects", "body": number } }).to_string();
        self.sent.push(Instant::now());
        let options = BasicPublishOptions::default();
        let (queue, properties) = ("neighbour".into(), BasicProperties::default());
        let sent = self.vhost.channel.basic_publish(
            "".into(),
            queue,
            options,
            script.as_bytes(),
            properties,
        );
        drop(sent.await.unwrap());
    }
}
