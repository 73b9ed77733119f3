//! An event that ends the host, whenever it is handled.

use super::oracle::Pass;
use super::run::Plan;
use super::{full, secs};
use crate::support::process::eventually;
use crate::support::rabbit::text;
use lapin::BasicProperties;

/// As `[retry]` has it by default.
const ATTEMPTS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_ends_the_host() {
    let during = secs(if full() { 60 } else { 15 });
    let mut run = Plan::new("an event that makes the host abort").during(during).start().await;
    // It says that it is there, and the host is ended for it: the guest itself has no way to.
    let named = BasicProperties::default().with_message_id("bad".into());
    let script = r#"["log:is there", "sleep:25000"]"#;
    run.vhost.publish_with("", "work", script, named).await;
    let mut lives = 1;
    let letter = loop {
        let said = eventually("the bad event, or its end", async || {
            if let Some(letter) = run.vhost.take("work.dlq").await {
                return Some(Err(letter));
            }
            let log = run.host.log_text();
            (log.matches("\"message\":\"is there\"").count() >= lives).then_some(Ok(()))
        });
        if let Err(letter) = said.await {
            break letter;
        }
        run.host.again().await;
        lives += 1;
    };
    let kills = lives - 1;
    // Once beside others at least, and then as often as it has attempts.
    let most = ATTEMPTS + 3;
    let bounds = ATTEMPTS..=most;
    run.report.expect(bounds.contains(&kills), format!("ended {kills} times, {most} are the most"));
    let class = text(&letter, "x-exception-type");
    run.report.expect(class == "crash", format!("a dead letter of `{class}`"));
    run.report.expect(letter.data == script.as_bytes(), "the dead letter is the event");
    run.report.note(format!("a dead letter after the host was ended {kills} times"));
    let account = run.account().await;
    let losses = kills;
    let pass = Pass { losses, publish_losses: losses, same_life: false, ..Pass::default() };
    account.passes(&pass);
}
