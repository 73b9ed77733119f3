//! What a running host says about how its plugins are set up, without being asked.

use super::{SCRIPTED, work};
use crate::support::process::{Place, Wabbit, eventually};
use crate::support::rabbit::{User, Vhost, body};
use lapin::types::AMQPValue;

/// How many warnings of the log contain `text`.
fn warnings(host: &Wabbit, text: &str) -> usize {
    let warns = |line: &&serde_json::Value| {
        line["level"] == "WARN" && line["message"].as_str().is_some_and(|it| it.contains(text))
    };
    host.log_lines().iter().filter(warns).count()
}

#[tokio::test]
async fn each_version_is_judged_once_and_consuming_goes_on() {
    let (vhost, user) = (Vhost::new().await, User::new().await);
    vhost.queue("out", &[]).await;
    vhost.queue("orders", &[("x-message-ttl", AMQPValue::LongLongInt(600_000))]).await;
    // It may do everything but retry.
    let own = r"^(orders|orders\.dlq|out|amq\.default)$";
    vhost.allow(&user.name, [own; 3]).await;
    let url = vhost.url_of(&user.name, &user.password);
    let manifest = format!("{SCRIPTED}[[subscription]]\ndelivery = \"at-least-once\"\n");
    let host = Place::new().plugin("orders", "scripted", &manifest).run(&url).await;
    host.ready().await;
    vhost.publish("", "orders", &work(0, "goes on")).await;
    assert_eq!(body(&vhost.next("out").await), "goes on");
    let said = host.logs(&["no configure permission on queue `wabbit.delay.50`"]).await;
    assert!(said["hint"].as_str().unwrap().contains("set_permissions"), "{said}");
    host.logs(&["the queue `orders` forgets events that wait longer than 10m"]).await;

    // Another version has the same to hear, and one thing more.
    let manifest = manifest.replace("at-least-once", "at-most-once");
    host.place.install("orders", "scripted", &manifest);
    host.logs(&["`delivery = \\\"at-most-once\\\"`"]).await;
    eventually("the second judgement", async || {
        (warnings(&host, "the queue `orders` forgets events") == 2).then_some(())
    })
    .await;
    // At most once means no retries.
    for right in ["no configure permission", "no write permission"] {
        assert_eq!(warnings(&host, right), 1);
    }
    assert_eq!(warnings(&host, "at-most-once"), 1);
    assert!(!host.log_text().contains(&user.password));
}

#[tokio::test]
async fn what_keeps_a_subscription_from_consuming_is_said_once_and_by_it() {
    let vhost = Vhost::new().await;
    vhost.queue("out", &[]).await;
    vhost.queue("limited", &[("x-max-length", AMQPValue::LongLongInt(5))]).await;
    let limited = "[[subscription]]\narguments = { x-max-length = 10, x-overflow = \"drop-head\" }\n\
        [grants]\npublish = [\"nowhere:#\"]\n";
    let place =
        Place::new().plugin("limited", "noop", limited).plugin("other", "scripted", SCRIPTED);
    let host = place.run(&vhost.url).await;
    host.unready(&["queue `limited`", "x-max-length"]).await;
    // The last thing that there is to say about it.
    host.logs(&["exchange `nowhere`, which it may publish to, does not exist"]).await;
    vhost.publish("", "other", &work(0, "goes on")).await;
    assert_eq!(body(&vhost.next("out").await), "goes on");
    assert_eq!(warnings(&host, "exists with other settings"), 1, "{}", host.log_text());
}
