//! Handlers that fail, stores that are away, events in each other's way, publications that nobody takes.

use super::kit::{Effects, Kind, Kit};
use crate::support::database::Database;
use crate::support::process::{Place, eventually};
use crate::support::proxy::{Blow, Proxy};
use crate::support::rabbit::text;
use serde_json::{Value as Json, json};
use xtask::services::Service;

/// With the one attempt that an event has, every failure shows as a dead letter.
const ONE_ATTEMPT: &str =
    "[retry]\nattempts = 1\n[circuit]\npause = \"200ms\"\npause-max = \"1s\"\n";

const KINDS: [Kind; 5] = [Kind::Embedded, Kind::Redis, Kind::Sqlite, Kind::Postgres, Kind::Mysql];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_fails_leaves_nothing() {
    for kind in KINDS {
        let kit = Kit::new(kind).await;
        let host = kit.place(ONE_ATTEMPT).await.run(&kit.vhost.url).await;
        host.ready().await;
        let trap = if kind == Kind::Embedded || kind == Kind::Redis { "trap" } else { "panic" };
        for (event, end) in [(1, json!(["retry"])), (2, json!([trap])), (3, json!(["unknown"]))] {
            let script = [kit.script(event, "out"), vec![end]].concat();
            // Those of key-value stores say what went wrong and go on.
            if event < 3 || trap == "panic" {
                kit.send(event, &script, "out").await;
                kit.vhost.next("orders.dlq").await;
            }
        }
        kit.send(4, &kit.script(4, "out"), "out").await;
        kit.publishes(4).await;
        let mut host = host;
        assert_eq!(host.terminate().await.code(), Some(0));
        assert_eq!(kit.effects(&host.place).await, (Effects::from([(4, 1)]), 1), "{kind:?}");
        kit.has_records(&host.place, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_in_each_others_way_lose_nothing() {
    for kind in [Kind::Embedded, Kind::Redis] {
        let kit = Kit::new(kind).await;
        let subscription = "[[subscription]]\nprefetch = 64\nconcurrency = 32\n";
        let place = kit.place(&format!("{subscription}{ONE_ATTEMPT}")).await;
        for event in 0..200 {
            kit.send(event, &kit.script(event, "out"), "out").await;
        }
        let mut host = place.run(&kit.vhost.url).await;
        kit.vhost.reaches("out", 200).await;
        assert!(host.metric("wabbit_conflicts_total", &[]).await > 0.0, "{kind:?}: no conflict");
        assert_eq!(host.terminate().await.code(), Some(0));
        let once: Effects = (0..200).map(|event| (event, 1)).collect();
        assert_eq!(kit.effects(&host.place).await, (once, 200), "{kind:?}");
        assert_eq!(kit.vhost.count("orders.dlq").await, 0, "{kind:?}");
    }
}

/// It is away when the event is recalled, while its handler asks for something, and when that is to be
/// committed.
async fn a_store_that_is_down(kind: Kind, service: Service) {
    let mut service = tokio::task::spawn_blocking(move || {
        let mut service = service;
        service.wait_ready().unwrap();
        service
    })
    .await
    .unwrap();
    let kit = Kit::with(kind, Some(Database::on(&service.url()).await)).await;
    let host = kit.place(ONE_ATTEMPT).await.run(&kit.vhost.url).await;
    host.ready().await;
    kit.send(1, &kit.script(1, "out"), "out").await;
    kit.publishes(1).await;
    kit.has_records(&host.place, 1).await;

    service.kill();
    kit.send(2, &kit.script(2, "out"), "out").await;
    // Its handler does not look at what the store says, and returns ok.
    kit.send(3, &careless(&kit, 3), "out").await;
    host.unready(&["`orders` paused"]).await;
    assert_eq!(kit.vhost.count("orders.dlq").await, 0);
    assert_eq!(kit.vhost.count("out").await, 0);

    let service = tokio::task::spawn_blocking(move || {
        service.start_again().unwrap();
        service.wait_ready().unwrap();
        service
    });
    let _service = service.await.unwrap();
    kit.vhost.reaches("out", 2).await;
    eventually("it is ready again", async || host.reasons().await.is_empty().then_some(())).await;
    kit.has_effects(&host.place, &[1, 2, 3]).await;
    kit.has_records(&host.place, 3).await;
    assert_eq!(kit.vhost.count("orders.dlq").await, 0);
    // Nothing was tried in vain often enough to be another attempt.
    let failed = host.metric("wabbit_outcomes_total", &["outcome=\"failed\""]).await;
    assert_eq!(failed, 0.0);
    assert!(host.metric("wabbit_outcomes_total", &["outcome=\"unavailable\""]).await > 0.0);
}

fn careless(kit: &Kit, event: u32) -> Vec<Json> {
    let mut script = kit.script(event, "out");
    for step in &mut script {
        if step[0] == "execute" {
            step[0] = "try".into();
        }
    }
    script
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_down() {
    a_store_that_is_down(Kind::Redis, Service::redis().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_down() {
    a_store_that_is_down(Kind::Postgres, Service::postgres().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_is_down() {
    a_store_that_is_down(Kind::Mysql, Service::mariadb().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_takes_after_the_commit_is_tried_again_without_the_handler() {
    let delays = "[retry]\nattempts = 20\ndelays = [\"200ms\"]\n[circuit]\nfailures = 0\n";
    for kind in [Kind::Embedded, Kind::Sqlite, Kind::Redis] {
        let kit = Kit::new(kind).await;
        let mut host = kit.place(delays).await.run(&kit.vhost.url).await;
        host.ready().await;
        kit.send(1, &kit.script(1, "later"), "later").await;
        host.metric_reaches("wabbit_deduplicated_total", &["plugin=\"orders\""], 1.0).await;
        kit.vhost.queue("later", &[]).await;
        let message = kit.vhost.next("later").await;
        let id = message.properties.message_id().as_ref().map(ToString::to_string);
        assert_eq!(id.as_deref(), Some("e1.orders.0"), "{kind:?}");
        kit.send(2, &kit.script(2, "out"), "out").await;
        kit.publishes(2).await;
        assert_eq!(host.terminate().await.code(), Some(0));
        let effects = Effects::from([(1, 1), (2, 1)]);
        assert_eq!(kit.effects(&host.place).await, (effects, 2), "{kind:?}");
        kit.has_records(&host.place, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_without_a_message_id_is_recognized_by_what_its_moves_carry() {
    let delays = "[retry]\nattempts = 20\ndelays = [\"200ms\"]\n[circuit]\nfailures = 0\n";
    let kit = Kit::new(Kind::Sqlite).await;
    let mut host = kit.place(delays).await.run(&kit.vhost.url).await;
    host.ready().await;
    let script = Json::from(kit.script(1, "later")).to_string();
    // Two events that look the same are two.
    for _ in 0..2 {
        kit.vhost.publish("", "orders", &script).await;
    }
    host.metric_reaches("wabbit_deduplicated_total", &["plugin=\"orders\""], 2.0).await;
    kit.vhost.queue("later", &[]).await;
    kit.vhost.reaches("later", 2).await;
    assert_eq!(host.terminate().await.code(), Some(0));
    assert_eq!(kit.effects(&host.place).await, (Effects::from([(1, 2)]), 2));
    kit.has_records(&host.place, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_whose_connection_was_lost_leaves_nothing_to_be_told_apart() {
    let kit = Kit::new(Kind::Postgres).await;
    let subscription = "[[subscription]]\nconcurrency = 2\n";
    let proxy = Proxy::new(kit.vhost.broker.address.clone()).await;
    proxy.open();
    let url = kit.vhost.url.replace(&kit.vhost.broker.address, &proxy.address.to_string());
    let host = kit.place(&format!("{subscription}{ONE_ATTEMPT}")).await.run(&url).await;
    host.ready().await;
    let sleep = json!(["execute", "default", "SELECT pg_sleep(2)", []]);
    for event in [1, 2] {
        let script = [vec![sleep.clone()], kit.script(event, "out")].concat();
        // Without a message-id.
        kit.vhost.publish("", "orders", &Json::from(script).to_string()).await;
    }
    kit.runs("SELECT pg_sleep(2)", 2).await;
    proxy.strike(Blow::Close);
    host.logs(&["left to the broker"]).await;
    kit.vhost.reaches("out", 2).await;
    let idle = async || (host.metric("wabbit_inflight", &[]).await == 0.0).then_some(());
    eventually("the end of all events", idle).await;
    kit.has_effects(&host.place, &[1, 2]).await;
    kit.has_records(&host.place, 2).await;
    assert_eq!(kit.vhost.count("out").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_says_of_a_secret_at_the_commit_is_not_shown() {
    let secret = "swordfish-2491";
    let kit = Kit::new(Kind::Postgres).await;
    let variables = "[grants.variables]\nkey = { secret = \"KEY\" }\n";
    let place = kit.place(&format!("{ONE_ATTEMPT}{variables}")).await.env("THE_KEY", secret);
    let configuration = std::fs::read_to_string(place.path("wabbit.toml")).unwrap();
    let configuration = format!("{configuration}[secrets.KEY]\nenv = \"THE_KEY\"\n");
    let place = place.file("wabbit.toml", configuration);
    let unique = format!("CONSTRAINT \"{secret}\" UNIQUE DEFERRABLE INITIALLY DEFERRED");
    kit.statement(&place, &format!("CREATE TABLE strict (n INTEGER {unique})")).await;
    let host = place.run(&kit.vhost.url).await;
    host.ready().await;
    let insert = json!(["execute", "default", "INSERT INTO strict (n) VALUES (1)", []]);
    kit.vhost.publish("", "orders", &json!([insert, insert]).to_string()).await;
    let letter = kit.vhost.next("orders.dlq").await;
    assert_eq!(text(&letter, "x-exception-type"), "store");
    let why = text(&letter, "x-exception-message");
    assert!(why.contains("\"[secret KEY]\""), "{why}");
    assert!(!host.log_text().contains(secret), "{}", host.log_text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_start_up_code_does_in_a_store_is_undone_before_the_first_event() {
    let starts = "[grants]\nsql = [\"default\"]\n";
    // It needs a table, so that it would be seen if it did not run.
    let place = Place::new().plugin("starts", "sql-at-start", starts);
    let checked = place.wabbit(&["check"]).await;
    assert!(format!("{checked:?}").contains("can't be started"), "{checked:?}");

    let kit = Kit::new(Kind::Sqlite).await;
    let place = kit.place(ONE_ATTEMPT).await.plugin("starts", "sql-at-start", starts);
    let mut host = place.run(&kit.vhost.url).await;
    host.ready().await;
    // SQLite lets one write at a time.
    kit.send(1, &kit.script(1, "out"), "out").await;
    kit.publishes(1).await;
    assert_eq!(host.terminate().await.code(), Some(0));
    assert_eq!(kit.effects(&host.place).await, (Effects::from([(1, 1)]), 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invoke_undoes_what_a_handler_did() {
    let kit = Kit::new(Kind::Sqlite).await;
    let event = json!({ "queue": "orders", "body": Json::from(kit.script(1, "out")).to_string() });
    let place = kit.place("").await.file("event.json", event.to_string());
    let args = ["invoke", "plugins/orders.wasm", "--event", "event.json"];
    let shown = place.wabbit(&args).await.works().to_owned();
    assert!(shown.contains("rolled back: sql `default`"), "{shown}");
    assert_eq!(kit.effects(&place).await, (Effects::new(), 0));
}
