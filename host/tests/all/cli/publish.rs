//! `wabbit publish`: to a broker, and by way of a host.

use crate::support::process::{Place, eventually};
use crate::support::rabbit::{User, Vhost, body, header, text};
use lapin::types::AMQPValue;
use serde_json::json;

const GRANT: &str = "[grants]\npublish = [\":out\"]\n";

#[tokio::test]
async fn a_message_reaches_the_broker_as_it_was_written() {
    let vhost = Vhost::new().await;
    vhost.queue("orders", &[]).await;
    let place = Place::new().file("body.json", r#"{"id": 7}"#);
    let args = [
        "publish",
        "",
        "orders",
        "--file",
        "body.json",
        "--broker",
        &vhost.url,
        "-p",
        "content-type=application/json",
        "-p",
        "priority=3",
        "-H",
        "retries=3",
        "-H",
        "tenant=acme",
    ];
    assert_eq!(place.wabbit(&args).await.works(), "published and confirmed\n");
    let message = vhost.next("orders").await;
    assert_eq!(body(&message), r#"{"id": 7}"#);
    let properties = &message.properties;
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/json");
    assert_eq!((*properties.priority(), *properties.delivery_mode()), (Some(3), Some(2)));
    assert_eq!(header(&message, "retries"), Some(&AMQPValue::LongLongInt(3)));
    assert_eq!(text(&message, "tenant"), "acme");

    let args = ["publish", "", "orders", "--file", "-", "-o", "json", "--broker", &vhost.url];
    let piped = place.wabbit_with(&args, b"piped").await;
    assert_eq!(piped.json(), json!({ "confirmed": true }));
    assert_eq!(body(&vhost.next("orders").await), "piped");
}

#[tokio::test]
async fn what_the_broker_does_not_take_is_told_by_code() {
    let (vhost, user) = (Vhost::new().await, User::new().await);
    let place = Place::new();
    let publish = async |url: &str| place.wabbit(&["publish", "", "nobody", "--broker", url]).await;
    publish(&vhost.url).await.fails(1, &["no queue took it: 312 NO_ROUTE", "routing key `nobody`"]);
    publish("amqp://127.0.0.1:1").await.fails(69, &["cannot reach the broker"]);
    let wrong = vhost.url_of(&user.name, "sesame");
    let refused = publish(&wrong).await;
    refused.fails(77, &["refuses the user or the password"]);
    assert!(!refused.stderr.contains("sesame"), "{refused:?}");
    publish("memory:").await.fails(64, &["inside another process", "hint: "]);
    let args = ["publish", "missing", "key", "--broker", &vhost.url];
    place.wabbit(&args).await.fails(1, &["no exchange 'missing'"]);
    let args = ["publish", "", "q", "--admin", "127.0.0.1:1"];
    place.wabbit(&args).await.fails(69, &["no host at `127.0.0.1:1`", "hint: "]);
}

#[tokio::test]
async fn the_embedded_broker_is_reached_by_way_of_its_host() {
    let host = Place::new().plugin("orders", "scripted", GRANT).run("memory:").await;
    host.ready().await;
    host.publish("", "orders", "log:hello there").await.works();
    host.logs(&["hello there", "\"target\":\"guest\""]).await;
    host.publish("", "nobody", "x").await.fails(1, &["no queue took it"]);
    host.publish("missing", "key", "x").await.fails(1, &["missing"]);
    eventually("one event handled", async || {
        let ok = ["plugin=\"orders\"", "outcome=\"ok\""];
        (host.metric("wabbit_outcomes_total", &ok).await == 1.0).then_some(())
    })
    .await;
}
