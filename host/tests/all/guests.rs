//! What a guest can see of the world: its event, the time, random numbers and the variables that
//! its manifest grants, and nothing else.

use crate::support::host::TestHost;
use serde_json::{Value, json};

/// What a guest reports when asked for `what`.
async fn sees(what: &str, manifest: &str) -> Value {
    let host = TestHost::new().queue("out").scripted("orders", manifest).start().await;
    host.send("orders", &format!("report:{what}::~out")).await;
    serde_json::from_str(&host.take_text("out").await).unwrap()
}

#[tokio::test]
async fn no_environment_and_no_arguments() {
    assert_eq!(sees("env", "").await, json!([]));
    assert_eq!(sees("args", "").await, json!([]));
}

#[tokio::test]
async fn no_files() {
    let files = sees("files", "").await;
    for access in ["read", "write", "list"] {
        assert!(files[access]["error"].is_string(), "{files}");
    }
}

#[tokio::test]
async fn no_network() {
    let network = sees("network", "").await;
    let outcomes = network.as_object().expect("an object");
    assert!(!outcomes.is_empty());
    assert!(outcomes.values().all(|outcome| outcome["error"].is_string()), "{network}");
}

#[tokio::test]
async fn nothing_on_standard_input() {
    let stdin = sees("stdin", "").await;
    assert!(stdin["ok"] == "" || stdin["error"].is_string(), "{stdin}");
}

#[tokio::test]
async fn the_time() {
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let clock = sees("clock", "").await;
    assert!(u128::from(clock["wall-ms"].as_u64().unwrap()) >= before.as_millis(), "{clock}");
}

#[tokio::test]
async fn random_numbers_of_its_own() {
    assert_ne!(sees("random", "").await, sees("random", "").await);
}

#[tokio::test]
async fn the_variables_that_it_was_granted() {
    assert_eq!(sees("variables", "").await, json!([]));
    let granted =
        "[grants]\npublish = [\":~out\"]\nvariables = { currency = \"EUR\", vat = \"19\" }";
    assert_eq!(sees("variables", granted).await, json!([["currency", "EUR"], ["vat", "19"]]));
}

#[tokio::test]
async fn its_event() {
    let event = sees("event", "").await;
    assert_eq!(event["attempt"], 1);
    assert_eq!(event["exchange"], "");
    assert_eq!(event["routing-key"], event["queue"]);
    assert_eq!(event["redelivered"], false);
    assert_eq!(event["message-id"], Value::Null);
}
