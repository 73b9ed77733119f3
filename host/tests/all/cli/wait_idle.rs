//! `/idle` and `wabbit wait-idle`, on the embedded broker; `rabbitmq/idle.rs` is about the truth of it.

use crate::support::process::{Place, eventually};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const GRANT: &str = "[grants]\npublish = [\":out\"]\n";

#[tokio::test]
async fn one_who_waits_is_told_as_soon_as_all_is_done() {
    let host = Place::new().plugin("orders", "scripted", GRANT).run("memory:").await;
    host.ready().await;
    let wait = |timeout| ["wait-idle", "--timeout", timeout, "--admin", host.admin()];
    assert_eq!(host.place.wabbit(&wait("60s")).await.works(), "idle: everything is processed\n");
    host.publish("", "orders", "sleep:2500").await.works();
    let began = Instant::now();
    let early = host.place.wabbit(&wait("200ms")).await;
    early.fails(1, &["1 event is being handled, from `orders`"]);
    assert_eq!(early.stdout, "busy: not idle within 200ms\n");
    let json = host.place.wabbit(&[&wait("10ms")[..], &["-o", "json"]].concat()).await;
    assert_eq!((json.code, &json.json()["state"]), (1, &json!("busy")), "{json:?}");
    let (status, body) = host.get("/idle?wait=60s").await;
    assert_eq!((status, body.as_str()), (200, r#"{"reasons":[],"state":"idle"}"#));
    let waited = began.elapsed();
    assert!((Duration::from_millis(2000)..Duration::from_secs(30)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn what_was_acknowledged_first_or_waits_for_a_pause_to_end_is_not_done() {
    let first = format!("[[subscription]]\ndelivery = \"at-most-once\"\n{GRANT}");
    let host = Place::new()
        .plugin("first", "scripted", &first)
        .plugin("orders", "scripted", GRANT)
        .run("memory:")
        .await;
    host.ready().await;
    let says = async |text: &str| {
        eventually(&format!("`{text}`"), async || {
            let (status, body) = host.get("/idle").await;
            (status == 503 && body.contains(text)).then_some(())
        })
        .await;
    };
    host.publish("", "first", "sleep:1500").await.works();
    says("1 event is in flight").await;
    assert_eq!(host.get("/idle?wait=60s").await.0, 200);
    host.publish("", "orders", r#"["open:no database", "retry"]"#).await.works();
    host.unready(&["`orders` paused since", "no database"]).await;
    host.publish("", "orders", "ok").await.works();
    says("events are ready in `orders`, which is paused").await;
}

#[tokio::test]
async fn a_wait_that_is_none_is_named() {
    let host = Place::new().plugin("orders", "noop", "").run("memory:").await;
    host.ready().await;
    for wrong in ["soon", "30", "-1s", ""] {
        let (status, body) = host.get(&format!("/idle?wait={wrong}")).await;
        let error = serde_json::from_str::<Value>(&body).unwrap()["error"].to_string();
        assert!(status == 400 && error.contains("`wait` must be a time"), "`{wrong}`: {body}");
    }
    assert_eq!(host.get("/idle?wait=100000years").await.0, 200);
    let place = Place::new();
    place.wabbit(&["wait-idle", "--timeout", "soon"]).await.fails(64, &["--timeout"]);
    let nobody = ["wait-idle", "--admin", "127.0.0.1:1"];
    place.wabbit(&nobody).await.fails(69, &["no host at `127.0.0.1:1`", "hint: "]);
    place.wabbit(&["wait-idle", "--admin", "off"]).await.fails(64, &["must be an address"]);
}

#[tokio::test]
async fn who_asks_a_host_needs_nothing_that_only_the_host_needs() {
    let config = "[broker]\nurls = [\"${UNSET}\"]\n[admin]\naddress = \"127.0.0.1:1\"\n";
    let place = Place::new().file("wabbit.toml", config);
    for verb in [&["wait-idle"][..], &["publish", "", "orders"]] {
        place.wabbit(verb).await.fails(69, &["no host at `127.0.0.1:1`"]);
    }
    let unset = "the environment variable `UNSET` is not set";
    place.wabbit(&["check"]).await.fails(78, &[unset]);
    let place = Place::new().file("wabbit.toml", "[admin]\naddress = \"${UNSET}\"\n");
    place.wabbit(&["wait-idle"]).await.fails(78, &[unset]);
}
