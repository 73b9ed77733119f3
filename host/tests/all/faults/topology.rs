//! A queue that is not as a plugin states it.

use super::report::Report;
use super::{full, secs};
use crate::support::process::Place;
use crate::support::rabbit::Vhost;
use lapin::types::AMQPValue;
use tokio::time::{Instant, sleep};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exists_with_other_arguments() {
    let mut report = Report::new("queue exists with other arguments");
    let vhost = Vhost::new().await;
    vhost.queue("orders", &[("x-max-length", AMQPValue::LongInt(5))]).await;
    vhost.queue("effects", &[]).await;
    let grants = "[grants]\npublish = [\":effects\"]\n";
    let stated = "[[subscription]]\narguments = { x-max-length = 10 }\n".to_owned() + grants;
    let host = Place::new()
        .plugin("orders", "scripted", &stated)
        .plugin("other", "scripted", grants)
        .run(&vhost.url)
        .await;
    host.unready(&["queue `orders`", "x-max-length", "10", "5", "hint: state the same"]).await;
    // The others are untouched.
    vhost.publish("", "other", "publish::effects").await;
    vhost.next("effects").await;
    // It is tried again all the while, and said once.
    sleep(if full() { secs(70) } else { secs(5) }).await;
    let lines = host.log_lines();
    let told = |line: &&serde_json::Value| {
        matches!(line["level"].as_str(), Some("WARN" | "ERROR"))
            && line.to_string().contains("exists with other settings")
    };
    let said = lines.iter().filter(told).count();
    report.expect(said == 1, format!("it is said {said} times"));
    let checked = host.place.wabbit(&["check", "--broker", &vhost.url]).await;
    let both_sides = "`x-max-length`: the broker has 5, stated is 10";
    report.expect(checked.code == 78, format!("`check` ends with {}", checked.code));
    report.expect(checked.stdout.contains(both_sides), format!("`check` says {}", checked.stdout));
    vhost.delete("orders").await;
    let began = Instant::now();
    host.ready().await;
    report.took("back", began.elapsed());
    report.finish();
}
