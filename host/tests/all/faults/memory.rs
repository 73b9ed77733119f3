//! Memory while the host holds as many large events as its prefetch lets it.

use super::report::Report;
use super::{full, ms, secs};
use crate::support::process::Place;
use crate::support::rabbit::Vhost;
use serde_json::json;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies() {
    // Slower than what is held can be brought here.
    let (prefetch, size, sleep) =
        if full() { (50, 4 << 20, "sleep:1500") } else { (20, 1 << 20, "sleep:200") };
    let mut report = Report::new("prefetch full of large bodies, half of them tried again");
    let vhost = Vhost::new().await;
    let manifest = format!(
        "[[subscription]]\nprefetch = {prefetch}\nconcurrency = 4\n\
         [retry]\ndelays = [\"500ms\"]\n[circuit]\nfailures = 0\n\
         [grants]\npublish = [\":none\"]\n"
    );
    let events = 2 * prefetch;
    vhost.queue("work", &[]).await;
    for number in 0..events {
        let script = [json!([sleep]), json!(["ok-from:2", sleep])][number % 2].to_string();
        // What is behind it says nothing.
        let body = format!("{script}{}", " ".repeat(size - script.len()));
        vhost.publish("", "work", &body).await;
    }
    let small = "[grants]\npublish = [\":none\"]\n";
    let mut host = Place::new().plugin("small", "scripted", small).run(&vhost.url).await;
    host.keep_log(report.file("log"));
    host.ready().await;
    let name = "wabbit_outcomes_total";
    vhost.publish("", "small", "log:small").await;
    host.metric_reaches(name, &["outcome=\"ok\"", "plugin=\"small\""], 1.0).await;
    let base = host.resident();
    host.place.install("work", "scripted", &manifest);
    let (mut peak, began) = (base, Instant::now());
    let ok = ["outcome=\"ok\"", "plugin=\"work\""];
    while host.metric(name, &ok).await < events as f64 {
        peak = peak.max(host.resident());
        assert!(began.elapsed() < secs(300), "the events are not handled");
        tokio::time::sleep(ms(10)).await;
    }
    let (grown, most) = (peak - base, (prefetch * size * 2) as u64);
    report.set("growth MiB", grown >> 20);
    report.note(format!("{} MiB at most, {} MiB are allowed", grown >> 20, most >> 20));
    report.expect(grown <= most, format!("{grown} bytes more, {most} are the most"));
    report.expect(host.terminate().await.success(), "SIGTERM ends it");
    report.finish();
}
