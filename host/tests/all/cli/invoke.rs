//! `wabbit invoke`: one event, one handler, no broker.

use crate::support::process::{Ended, Place};
use serde_json::json;

fn place() -> Place {
    let manifest = "[grants]\npublish = [\"out:*\"]\n[limits]\ntimeout = \"5s\"\ncpu = \"500ms\"\n";
    Place::new().plugin("scripted", "scripted", manifest)
}

async fn invoke(place: &Place, flags: &[&str], event: &str) -> Ended {
    let args = [&["invoke", "plugins/scripted.wasm", "--event", "-"], flags].concat();
    place.wabbit_with(&args, event.as_bytes()).await
}

#[tokio::test]
async fn an_outcome_decides_the_exit_code() {
    let place = place();
    let table = [
        ("ok", 0, "ok"),
        ("retry", 1, "retry: retried by script"),
        ("retry-after:250", 1, "retry after 250ms: retried by script"),
        (r#"["open:no database", "retry"]"#, 1, "unavailable: no database"),
        (r#"["open:gone", "open:full", "retry-after:250"]"#, 1, "unavailable after 250ms: full"),
        (r#"["open:no database", "ok"]"#, 0, "ok"),
        (r#"["open:no database", "reject:too old"]"#, 1, "reject: too old"),
        ("reject:too old", 1, "reject: too old"),
        ("drop:not mine", 1, "drop: not mine"),
        ("panic", 1, "trap: "),
        ("loop", 1, "cpu: "),
    ];
    for (step, code, said) in table {
        let ended = invoke(&place, &[], &json!({ "body": step }).to_string()).await;
        assert_eq!(ended.code, code, "{step}: {ended:?}");
        assert!(ended.stdout.starts_with(said), "{step}: {ended:?}");
        assert_eq!(ended.stderr, "", "{step}");
    }
}

#[tokio::test]
async fn publications_and_log_lines_are_shown() {
    let place = place();
    let publish =
        json!({ "publish": { "exchange": "out", "key": "total", "body": "42", "type": "t" } });
    let event = json!({ "body": ["log:added up", publish], "attempt": 2 }).to_string();
    let text = invoke(&place, &[], &event).await;
    let lines: Vec<&str> = text.works().lines().collect();
    assert_eq!(lines[0], "ok");
    assert!(lines[1].starts_with("publish `out:total` {"), "{lines:?}");
    assert_eq!(lines[2..], ["  42", "log INFO script: added up"]);

    let value = invoke(&place, &["-o", "json"], &event).await.json();
    assert_eq!(value["outcome"], "ok");
    assert_eq!(value["publications"][0]["routing-key"], "total");
    assert_eq!(value["publications"][0]["properties"]["type"], "t");
    assert_eq!(value["log"][0]["message"], "added up");
    let later = json!({ "body": "retry-after:250" }).to_string();
    assert_eq!(invoke(&place, &["-o", "json"], &later).await.json()["after-ms"], 250);
    let away = json!({ "body": ["open:no database", "retry-after:250"] }).to_string();
    let value = invoke(&place, &["-o", "json"], &away).await.json();
    assert_eq!(value["outcome"], "unavailable");
    assert_eq!(value["reason"], "no database");
    assert_eq!(value["after-ms"], 250);
}

#[tokio::test]
async fn a_bad_event_is_named_with_its_place() {
    let place = place();
    let table = [
        (r#"{"body": "#, "line 1 column 9"),
        (r#"{"properties": {"massage-id": "1"}}"#, "`properties.massage-id` is unknown"),
        (r#"{"properties": {"headers": {"n": {"$uint8": 300}}}}"#, "`properties.headers.n`"),
        (r#"{"routing-key": 7}"#, "`routing-key` must be a text"),
        ("[]", "must be an object"),
    ];
    for (event, said) in table {
        invoke(&place, &[], event).await.fails(65, &["the event `-`", said]);
    }
    let args = ["invoke", "plugins/scripted.wasm", "--event", "none.json"];
    place.wabbit(&args).await.fails(65, &["the event `none.json`"]);
    let args = ["invoke", "plugins/none.wasm", "--event", "-"];
    place.wabbit_with(&args, b"{}").await.fails(65, &["plugins/none.wasm"]);
}
