//! Secrets that plugins get, and who sees them: nobody else. What a new version may have is here, too.

use crate::support::host::TestHost;
use crate::support::process::Place;
use crate::support::web::{Certificate, Web};
use crate::support::{eventually, guest, header, log};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use wabbit::capability::http::Tls;
use wabbit::capability::secrets::{Secrets, Source};
use wabbit::plugin::Outside;

const VALUE: &str = "swordfish-2491";

/// The secret `KEY`, in a file that goes with what is returned.
fn outside() -> (TempDir, Outside) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    std::fs::write(&file, format!("{VALUE}\n")).unwrap();
    let secrets = Secrets::new([("KEY".to_owned(), Source::File(file))].into());
    let outside = Outside { secrets: Arc::new(secrets), ..Outside::default() };
    (dir, outside)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_guest_says_of_a_secret_is_not_shown() {
    let (_dir, outside) = outside();
    let manifest = "[grants]\npublish = [\":out\"]\nvariables = { key = { secret = \"KEY\" } }";
    let host = TestHost::new().outside(outside).plugin("calls", guest("http"), manifest);
    let host = host.start().await;
    host.send("calls", &json!({ "say": "key" }).to_string()).await;
    let dead = host.take("calls.dlq").await;
    assert_eq!(header(&dead, "x-exception-message"), "rejected [secret KEY]");
    for said in ["printed [secret KEY]", "logged [secret KEY]", "rejected [secret KEY]"] {
        // The line about an event follows its settlement.
        eventually(said, || host.log("calls").iter().any(|line| line.contains(said))).await;
    }
    assert!(log::lines(VALUE).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_placeholder_is_replaced_on_the_way_to_its_hosts_and_no_others() {
    let certificate = Certificate::new();
    let (meant, other) = (Web::secured(&certificate).await, Web::plain().await);
    let (url, elsewhere) =
        (format!("https://localhost:{}", meant.port), format!("http://localhost:{}", other.port));
    let (dir, mut outside) = outside();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, &certificate.authority).unwrap();
    outside.tls = Tls::new(Some(Path::new(&ca))).unwrap();
    let manifest = format!(
        "[grants]\npublish = [\":~out\"]\nallowed-outbound-hosts = [\"{url}\", \"{elsewhere}\"]\n\
         variables = {{ key = {{ secret = \"KEY\", hosts = [\"{url}\"] }} }}"
    );
    let host = TestHost::new().queue("out").outside(outside);
    let host = host.plugin("calls", guest("http"), &manifest).start().await;
    let headers = json!({ "authorization": "Bearer {key}", "x-two": "{key} and {key}" });
    let script = json!({
        "requests": [
            { "url": url, "headers": headers },
            { "url": elsewhere, "headers": headers },
            { "url": format!("{url}/?key={{key}}") },
            { "url": elsewhere, "headers": { "x-none": "nothing" } },
        ],
        "to": "~out",
    });
    host.send("calls", &script.to_string()).await;
    let answers: Vec<Value> = serde_json::from_str(&host.take_text("out").await).unwrap();
    let told = |at: usize| answers[at]["error"].as_str().map(str::to_owned);
    let denied = Some("ErrorCode::HttpRequestDenied".to_owned());
    assert_eq!([0, 1, 2, 3].map(told), [None, denied.clone(), denied, None]);
    let seen = meant.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].header("authorization"), format!("Bearer {VALUE}"));
    assert_eq!(seen[0].header("x-two"), format!("{VALUE} and {VALUE}"));
    assert_eq!(other.seen().len(), 1);
    let lines = host.log("calls");
    for said in [
        "secret `KEY` in its header `authorization` is not meant for this host",
        "the placeholder of secret `KEY` is in its URL, and is replaced in headers only",
    ] {
        assert!(lines.iter().any(|line| line.contains(said)), "{said}: {lines:#?}");
    }
    host.send("calls", &json!({ "say": "key" }).to_string()).await;
    let dead = host.take("calls.dlq").await;
    let said = header(&dead, "x-exception-message").to_owned();
    assert!(said.starts_with("rejected wabbit-secret-"), "{said}");
    assert!(log::lines(VALUE).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_without_its_secret_is_refused_and_others_run() {
    let manifest = "[grants]\npublish = [\":out\"]\nvariables = { key = { secret = \"KEY\" } }";
    let host = TestHost::new()
        .plugin("calls", guest("http"), manifest)
        .scripted("other", "")
        .queue("out")
        .start_unready()
        .await;
    let trouble = host.trouble("calls", &["secret `KEY`"]).await;
    let expected =
        "its variable `key` is the secret `KEY`, which the host's configuration does not name";
    assert!(trouble.contains(expected), "{trouble}");
    let hint = host.status("calls").and_then(|status| status.hint).unwrap_or_default();
    assert!(hint.contains("`[secrets.KEY]` with `env = "), "{hint}");
    host.consumes("other").await;
    host.send("other", "publish::~out").await;
    host.take("out").await;
}

#[tokio::test]
async fn check_shows_what_is_granted_and_no_secret() {
    let place = Place::new()
        .plugin(
            "calls",
            "http",
            "[grants]\npublish = [\"shop:#\", \":bills\"]\nallowed-outbound-hosts = [\"https://*.example.com\"]\n\
             variables = { currency = \"EUR\", key = { secret = \"KEY\", hosts = [\"https://api.example.com\"] } }\n",
        )
        .file(
            "wabbit.toml",
            "[secrets.KEY]\nenv = \"THE_KEY\"\n[plugins.calls.grants]\npublish = [\"shop:order.*\"]\n",
        )
        .env("THE_KEY", VALUE);
    let found = place.wabbit(&["check"]).await;
    assert_eq!(
        found.works(),
        "calls: ok\n  publish: shop:order.*\n  publish, asked for and not granted: :bills\n  \
         allowed-outbound-hosts: https://*.example.com\n  variables: currency, \
         key = { secret = \"KEY\", hosts = [\"https://api.example.com\"] }\n"
    );
    let found = place.wabbit(&["check", "-o", "json"]).await;
    assert_eq!(
        found.json()[0]["grants"]["publish"],
        json!({ "granted": ["shop:order.*"], "not-granted": [":bills"] })
    );
    assert!(!format!("{found:?}").contains(VALUE));
    let event = place.file("event.json", "{\"body\": \"{\\\"say\\\": \\\"key\\\"}\"}");
    let invoked = event.wabbit(&["invoke", "plugins/calls.wasm", "--event", "event.json"]).await;
    assert!(invoked.stdout.contains("rejected wabbit-secret-"), "{invoked:?}");
    assert!(!format!("{invoked:?}").contains(VALUE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_asks_for_more_waits_for_the_hosts_configuration() {
    let manifest = |list: &str| format!("[grants]\npublish = [{list}]");
    let host = TestHost::new()
        .queue("out")
        .queue("more")
        .scripted("orders", &manifest("\":~out\""))
        .scripted("allowed", &manifest("\":~out\""))
        .overrides("allowed", &manifest("\":~out\", \":~more\""))
        .start()
        .await;
    for plugin in ["orders", "allowed"] {
        host.put_manifest(plugin, &manifest("\":~out\", \":~more\""));
    }
    let trouble = host.trouble("orders", &["asks for more"]).await;
    let more = host.text("it asks for more than the version before: publish :~more");
    assert_eq!(trouble, more);
    let hint = host.status("orders").and_then(|status| status.hint).unwrap_or_default();
    let line = host.text("in `[plugins.~orders.grants]`: `publish = [\":~out\", \":~more\"]`");
    assert!(hint.contains(&line), "{hint}");
    assert!(
        host.log("orders").iter().any(|line| line.contains(&more)),
        "{:#?}",
        host.log("orders")
    );
    // The version before goes on.
    assert!(host.host.unready().is_empty(), "{:?}", host.host.unready());
    host.send("orders", "publish::~more").await;
    assert!(header(&host.take("orders.dlq").await, "x-exception-message").contains("NotGranted"));
    host.send("orders", "publish::~out").await;
    host.take("out").await;
    // Where the configuration names it, it is taken.
    let reloaded = || host.log("allowed").iter().any(|line| line.contains("plugin reloaded"));
    eventually("`allowed` was not reloaded", reloaded).await;
    host.send("allowed", "publish::~more").await;
    host.take("more").await;
    // Less is always taken.
    host.put_manifest("orders", "[grants]\npublish = []");
    host.trouble("orders", &["needs a grant"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_has_no_more_than_before_when_it_is_reloaded_or_removed_and_put_back() {
    let (_dir, outside) = outside();
    let before = "[grants]\npublish = [\":~out\"]";
    let host = TestHost::new().outside(outside).queue("out").scripted("orders", before);
    let host = host.start().await;
    let table = [
        ("allowed-outbound-hosts = [\"https://a\"]", "allowed-outbound-hosts https://a"),
        ("key-value = [\"default\"]", "key-value default"),
        ("sql = [\"shop\"]", "sql shop"),
        ("variables.key = { secret = \"KEY\" }", "variables.key { secret = \"KEY\" }"),
    ];
    for (line, told) in table {
        let told = format!("it asks for more than the version before: {told}");
        host.put_manifest("orders", &format!("{before}\n{line}"));
        assert_eq!(host.trouble("orders", &["asks for more"]).await, told);
        // The version before goes on, until it is removed.
        assert!(host.status("orders").is_some_and(|status| status.digest.is_some()), "{line}");
        std::fs::remove_file(host.file("orders.wasm")).unwrap();
        eventually("`orders` is still there", || host.status("orders").is_none()).await;
        host.put("orders", guest("scripted"));
        assert_eq!(host.trouble("orders", &["asks for more"]).await, told);
        assert!(host.status("orders").is_some_and(|status| status.digest.is_none()), "{line}");
        // With what it had, it is taken.
        host.put_manifest("orders", before);
        host.serves("orders", guest("scripted")).await;
    }
    host.send("orders", "publish::~out").await;
    host.take("out").await;
}
