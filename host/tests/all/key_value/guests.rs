//! What guests of both drafts see of stores of both kinds.

use super::redis_server::server;
use crate::support::database::Database;
use crate::support::host::TestHost;
use crate::support::setup::Setup;
use crate::support::{eventually, guest, header, log};
use serde_json::{Value, json};
use wabbit::flow::{Field, Properties};

const DRAFTS: [&str; 2] = ["key-value-draft", "key-value-draft2"];

const GRANTS: &str = "[grants]\npublish = [\":~out\"]\nkey-value = [\"default\", \"other\"]\n";

fn setup(draft: &str, manifest: &str) -> Setup {
    TestHost::new().queue("out").plugin("keeper", guest(draft), &format!("{manifest}\n{GRANTS}"))
}

/// Every draft on every kind of store.
async fn every_host(manifest: &str) -> Vec<(String, TestHost)> {
    let mut hosts = Vec::new();
    for draft in DRAFTS {
        hosts.push((format!("{draft} on redb"), setup(draft, manifest).start().await));
        let redis = Database::redis().await.url.clone();
        let setup = setup(draft, manifest)
            .store("default", &redis)
            .store("other", &format!("{redis}?prefix=other:"));
        hosts.push((format!("{draft} on Redis"), setup.start().await));
    }
    hosts
}

fn out(host: &TestHost) -> Properties {
    let headers = [("out", Field::Text(host.own("out")))].into_iter().collect();
    Properties { headers, ..Properties::default() }
}

/// What an event of these steps sees.
async fn sees(host: &TestHost, steps: Value) -> Value {
    host.send_with("keeper", &steps.to_string(), out(host)).await;
    serde_json::from_str(&host.take_text("out").await).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_sees_its_own_writes_and_those_of_events_before() {
    let table = [
        (
            json!([["get", "a"], ["exists", "a"], ["set", "a", "1"], ["get", "a"]]),
            json!([null, false, "1"]),
        ),
        (
            json!([["get", "a"], ["exists", "a"], ["delete", "a"], ["exists", "a"]]),
            json!(["1", true, false]),
        ),
        (json!([["get", "a"], ["set", "b", ""], ["get", "b"]]), json!([null, ""])),
        (json!([["add", "sum", 5], ["add", "sum", 2], ["get", "sum"]]), json!([5, 7, "7"])),
        (json!([["add", "sum", 1]]), json!([8])),
        (
            json!([["set-many", "x", "y"], ["get-many", "y", "z", "x"]]),
            json!([[["y", "y!"], null, ["x", "x!"]]]),
        ),
        (
            json!([["delete-many", "x", "z"], ["set", "w", ""], ["list"]]),
            json!([["b", "sum", "w", "y"]]),
        ),
        (
            json!([
                ["open", "other"],
                ["list"],
                ["set", "a", "2"],
                ["open", "default"],
                ["get", "a"]
            ]),
            json!([[], null]),
        ),
        (
            json!([["open", "other"], ["list"], ["open", ""], ["list"]]),
            json!([["a"], ["b", "sum", "w", "y"]]),
        ),
    ];
    for (name, host) in every_host("").await {
        for (steps, expected) in &table {
            let mut expected = expected.clone();
            // A store without a prefix has the keys of those with one as well.
            if name.ends_with("Redis") && steps == &table[8].0 {
                expected[1] = json!(["b", "other:a", "sum", "w", "y"]);
            }
            assert_eq!(sees(&host, steps.clone()).await, expected, "{name}: {steps}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_refuses_is_said() {
    let over = "one event may read and write 16777216 bytes of one store";
    let table = [
        (json!([["open", "missing"]]), "no such store"),
        (json!([["get", "wabbit:inbox:00"]]), "access denied"),
        (json!([["set", "wabbit:", ""]]), "access denied"),
        (json!([["set", "a", "one"], ["add", "a", 1]]), "the value of `a` is no number"),
        (json!([["fill", "a", 16 << 20]]), over),
        (json!([["set", "k".repeat(5000), ""]]), "a key may have 4096 bytes, this one has 5000"),
    ];
    for (name, host) in every_host("[limits]\nmemory = \"100MiB\"").await {
        for (steps, error) in &table {
            let seen = sees(&host, steps.clone()).await;
            assert_eq!(seen, json!([{ "error": error }]), "{name}: {steps}");
        }
        let said = log::lines(
            "the key-value store `missing` is not granted; add to the manifest: `[grants]` \
             `key-value = [\"missing\"]`",
        );
        let plugin = host.own("keeper");
        assert!(said.iter().any(|line| line.contains(&plugin)), "{name}: {said:?}");
    }
    // Numbers that do not fit, and cursors that nobody was given, by draft.
    let of_drafts = [
        (
            json!([["set", "n", "18446744073709551615"], ["add", "n", 1]]),
            "the value of `n` would be 18446744073709551616, which does not fit",
        ),
        (json!([["cursor", "7"]]), "7 is no cursor that this event was given"),
    ];
    let host = setup(DRAFTS[0], "").start().await;
    for (steps, error) in of_drafts {
        assert_eq!(sees(&host, steps).await, json!([{ "error": error }]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_is_swapped_unless_it_has_changed() {
    let host = setup(DRAFTS[1], "").start().await;
    let table = [
        (json!([["swap", "a", "1"], ["get", "a"]]), json!([null, "1"])),
        (json!([["swap", "a", "2"], ["get", "a"]]), json!(["1", "2"])),
        (
            json!([["stale-swap", "a", "3"], ["get", "a"]]),
            json!([{ "failed": ["2", "changed"] }, "3"]),
        ),
        (json!([["add", "n", -5], ["add", "n", 2]]), json!([-5, -3])),
    ];
    for (steps, expected) in table {
        assert_eq!(sees(&host, steps.clone()).await, expected, "{steps}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_fails_leaves_nothing_behind() {
    for (name, host) in every_host("retry = { attempts = 2, delays = [\"1ms\"] }").await {
        for end in [json!(["reject", "enough"]), json!(["trap"])] {
            let steps = json!([["set", "a", "1"], ["add", "n", 1], end]);
            host.send_with("keeper", &steps.to_string(), out(&host)).await;
            let dead = host.take("keeper.dlq").await;
            assert!(["reject", "trap"].contains(&header(&dead, "x-exception-type")), "{name}");
            assert_eq!(
                sees(&host, json!([["get", "a"], ["list"]])).await,
                json!([null, []]),
                "{name}"
            );
        }
        // What the first attempt did is gone at the second.
        let steps = json!([["get", "b"], ["append", "b", "x"], ["retry"], ["get", "b"]]);
        assert_eq!(sees(&host, steps).await, json!([null, "x"]), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_many_appends_at_once_is_lost() {
    const EVENTS: usize = 60;
    let manifest = "[[subscription]]\nqueue = \"~keeper\"\nprefetch = 20\nconcurrency = 10";
    for (name, host) in every_host(manifest).await {
        for _ in 0..EVENTS {
            let steps = json!([["append", "list", "x"], ["add", "n", 1]]);
            host.send_with("keeper", &steps.to_string(), out(&host)).await;
        }
        let mut sums = Vec::new();
        for _ in 0..EVENTS {
            let sum: Value = serde_json::from_str(&host.take_text("out").await).unwrap();
            sums.push(sum[0].as_u64().unwrap());
        }
        sums.sort_unstable();
        assert_eq!(sums, Vec::from_iter(1..=EVENTS as u64), "{name}");
        let seen = sees(&host, json!([["get", "list"]])).await;
        assert_eq!(seen, json!(["x".repeat(EVENTS)]), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_uses_up_no_attempt() {
    let mut service = server().await;
    let setup = setup(DRAFTS[0], "retry = { attempts = 1 }").store("default", &service.url());
    let host = setup.start().await;
    assert_eq!(sees(&host, json!([["add", "n", 1]])).await, json!([1]));
    service.kill();
    for _ in 0..3 {
        host.send_with("keeper", &json!([["add", "n", 1]]).to_string(), out(&host)).await;
    }
    let unavailable = [("plugin", "keeper"), ("outcome", "unavailable")];
    eventually("nothing is unavailable", || {
        host.metric("wabbit_outcomes_total", &unavailable) > 0.5
    })
    .await;
    tokio::task::block_in_place(|| {
        service.start_again().unwrap();
        service.wait_ready().unwrap();
    });
    let mut sums = Vec::new();
    for _ in 0..3 {
        sums.push(host.take_text("out").await);
    }
    sums.sort();
    assert_eq!(sums, ["[2]", "[3]", "[4]"]);
    host.finds_empty("keeper.dlq").await;
}
