//! What the log says for people (`info` and louder) while things go wrong: few lines, and none of
//! the truth missing.

use crate::support::fake_broker::FakeBroker;
use crate::support::process::{Place, Wabbit, eventually};
use crate::support::rabbit::{User, Vhost};
use amq_protocol::types::FieldTable;
use serde_json::Value;

/// What is loud enough for everybody, and holds `text`.
fn loud(host: &Wabbit, text: &str) -> Vec<Value> {
    let of = |line: &Value| {
        line["level"] != "DEBUG" && line["message"].as_str().is_some_and(|it| it.contains(text))
    };
    host.log_lines().into_iter().filter(of).collect()
}

#[tokio::test]
async fn many_events_that_fail_are_a_handful_of_lines() {
    const EVENTS: u64 = 500;
    let broker = FakeBroker::start("4.2.1").await;
    let manifest = "[grants]\npublish = [\":out\"]\n[circuit]\nfailures = 0\n";
    let place = Place::new().plugin("orders", "scripted", manifest);
    let mut host = place.run(&broker.url()).await;
    let consumer = broker.consumer(0).await;
    for n in 0..EVENTS {
        consumer.deliver(2 * n + 1, FieldTable::default(), "reject:no good");
        consumer.deliver(2 * n + 2, FieldTable::default(), "retry");
    }
    eventually("all events are moved", async || {
        (broker.published().len() as u64 == 2 * EVENTS).then_some(())
    })
    .await;
    assert!(host.terminate().await.success());
    let kinds = [
        ("reject", "is a dead letter now", "dead letters now"),
        ("retry", "comes again in", "come again"),
    ];
    for (class, each, more) in kinds {
        let first = loud(&host, each);
        assert_eq!(first.len(), 1, "{first:#?}");
        assert_eq!((&first[0]["class"], &first[0]["queue"]), (&class.into(), &"orders".into()));
        let others = loud(&host, more);
        assert!(others.len() <= 3, "{others:#?}");
        let count = |line: &Value| {
            assert_eq!((&line["class"], &line["plugin"]), (&class.into(), &"orders".into()));
            line["message"].as_str()?.split(' ').next()?.parse::<u64>().ok()
        };
        assert_eq!(1 + others.iter().filter_map(count).sum::<u64>(), EVENTS, "{others:#?}");
        let quiet = host.log_text().matches(each).count() as u64 - 1;
        assert_eq!(quiet, EVENTS - 1, "each of the others has its line for `debug`");
    }
    let all = loud(&host, "");
    assert!(all.len() < 25, "{all:#?}");
}

/// A manifest with five queues.
fn five() -> String {
    let queues = ["a", "b", "c", "d", "e"];
    queues.map(|queue| format!("[[subscription]]\nqueue = \"{queue}\"\n")).concat()
}

#[tokio::test]
async fn a_connection_that_is_lost_is_a_line_and_not_one_for_each_queue() {
    let broker = FakeBroker::start("4.2.1").await;
    let place = Place::new().plugin("orders", "noop", &five());
    let host = place.run(&broker.url()).await;
    host.ready().await;
    assert_eq!(loud(&host, "consuming").len(), 5);
    assert_eq!(loud(&host, "connected").len(), 2);
    broker.upgrade("4.2.1");
    broker.consumer(9).await;
    host.ready().await;
    host.metric_reaches("wabbit_connection_up", &[], 2.0).await;
    assert_eq!(loud(&host, "lost the connection").len(), 2, "one for each connection");
    assert_eq!(loud(&host, "connected").len(), 4);
    assert_eq!(loud(&host, "consuming").len(), 5, "{:#?}", loud(&host, ""));
}

#[tokio::test]
async fn a_wrong_password_is_one_line() {
    let (vhost, user) = (Vhost::new().await, User::new().await);
    let wrong = vhost.url_of(&user.name, &format!("{}x", user.password));
    let host = Place::new().plugin("orders", "noop", &five()).run(&wrong).await;
    for queue in ["a", "b", "c", "d", "e"] {
        let queue = format!("queue `{queue}`");
        host.unready(&[&queue, "refuses the user or the password"]).await;
    }
    host.unready(&["connection to publish", "refuses the user or the password"]).await;
    let told = host.log_lines().into_iter().filter(|line| line["level"] == "WARN");
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0]["reason"].to_string().contains("refuses the user"), "{told:#?}");
}
