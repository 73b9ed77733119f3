//! A guest that looks around: nothing of the machine is there, and the broker's password is nowhere
//! that a guest, a log or a page could give it away. Nor is a secret that a guest has and tells.

use super::report::Report;
use crate::support::process::{Place, Wabbit, eventually};
use crate::support::rabbit::{User, Vhost, body};
use base64::prelude::{BASE64_STANDARD, Engine};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Value, json};

const PAGES: [&str; 7] =
    ["/livez", "/readyz", "/idle", "/metrics", "/api/broker", "/api/plugins", "/api/consumers"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_looks_around() {
    let mut report = Report::new("guest reaches for the file system, the environment, the network");
    let vhost = Vhost::new().await;
    let user = User::new().await;
    vhost.allow(&user.name, [".*"; 3]).await;
    vhost.queue("effects", &[]).await;
    let secret = format!("secret-{:016x}", fastrand::u64(..));
    // As in a container: in the environment of the host, which a guest must not see.
    let mut host = Place::new()
        .env("THE_KEY", &secret)
        .file("wabbit.toml", "[secrets.KEY]\nenv = \"THE_KEY\"\n")
        .plugin(
            "calls",
            "http",
            "[grants]\npublish = [\":effects\"]\nvariables.key = { secret = \"KEY\" }\n",
        )
        .env("RUST_LOG", &everything())
        .env("WABBIT_BROKER_URLS", &vhost.url_of(&user.name, &user.password))
        .plugin("work", "scripted", "[grants]\npublish = [\":effects\"]\n[limits]\ncpu = \"20s\"\n")
        .run_with(&[])
        .await;
    host.keep_log(report.file("log"));
    host.ready().await;
    looks_around(&vhost, &mut report).await;
    searches_its_memory(&vhost, &user.password, &mut report).await;
    vhost.publish("", "calls", "{\"say\": \"key\"}").await;
    host.logs(&["rejected [secret KEY]"]).await;
    let mut pages = pages(&host).await;
    // What is said about a connection that is refused.
    let account = json!({ "password": "another", "tags": "" });
    let path = format!("users/{}", user.name);
    assert_eq!(vhost.broker.api("PUT", &path, &account).await.0, 204);
    vhost.close_connections("consume").await;
    host.unready(&["connection to consume"]).await;
    eventually("the refusal in the log", async || {
        host.log_text().to_lowercase().contains("refused").then_some(())
    })
    .await;
    pages += &self::pages(&host).await;
    host.terminate().await;
    let log = host.log_text();
    report.expect(log.contains("\"TRACE\""), "the log is at trace");
    for form in forms(&user.password).into_iter().chain(forms(&secret)) {
        report.expect(!pages.contains(&form), format!("a page has the password as `{form}`"));
        let line = log.lines().find(|line| line.contains(&form));
        report.expect(line.is_none(), format!("the log has the password: {line:?}"));
    }
    report.note(format!("{} lines of log at trace", log.lines().count()));
    report.finish();
}

/// All that there is to log: these are quieter unless they are named.
fn everything() -> String {
    let named = ["lapin", "amq_protocol", "async_rs", "rustls", "hyper", "notify", "wasmtime"];
    named.iter().fold("trace".to_owned(), |all, name| format!("{all},{name}=trace"))
}

/// What it reports when asked for `what`.
async fn seen(vhost: &Vhost, what: &str, headers: FieldTable) -> Value {
    let properties = BasicProperties::default().with_headers(headers);
    vhost.publish_with("", "work", &format!("report:{what}::effects"), properties).await;
    serde_json::from_str(&body(&vhost.next("effects").await)).unwrap()
}

async fn looks_around(vhost: &Vhost, report: &mut Report) {
    for (what, nothing) in [("env", json!([])), ("args", json!([]))] {
        let seen = seen(vhost, what, FieldTable::default()).await;
        report.expect(seen == nothing, format!("{what}: {seen}"));
    }
    for what in ["files", "network"] {
        let seen = seen(vhost, what, FieldTable::default()).await;
        let refused = |it: &Value| it["error"].is_string();
        let all = seen.as_object().is_some_and(|all| !all.is_empty() && all.values().all(refused));
        report.expect(all, format!("{what}: {seen}"));
    }
    let stdin = seen(vhost, "stdin", FieldTable::default()).await;
    report.expect(stdin["ok"] == "" || stdin["error"].is_string(), format!("stdin: {stdin}"));
}

/// The guest looks for the password in all that it can read. It is told with every bit flipped.
async fn searches_its_memory(vhost: &Vhost, password: &str, report: &mut Report) {
    let flipped = |text: &[u8]| text.iter().map(|byte| !byte).collect::<Vec<_>>();
    let told = |text: &[u8]| ("flipped".into(), AMQPValue::ByteArray(flipped(text).into()));
    let mut present = FieldTable::default();
    let known = format!("known-{:08x}", fastrand::u32(..));
    present.insert("known".into(), AMQPValue::LongString(known.as_str().into()));
    let (name, value) = told(known.as_bytes());
    present.insert(name, value);
    let found = seen(vhost, "memory", present).await;
    report.expect(found.as_u64() > Some(0), format!("what is in memory is found: {found}"));
    for form in forms(password) {
        let mut headers = FieldTable::default();
        let (name, value) = told(form.as_bytes());
        headers.insert(name, value);
        let found = seen(vhost, "memory", headers).await;
        report.expect(found == 0, format!("`{form}` is {found} times in the guest's memory"));
    }
}

async fn pages(host: &Wabbit) -> String {
    let mut pages = String::new();
    for page in PAGES {
        pages += &host.get(page).await.1;
    }
    pages
}

/// How the password may be written.
fn forms(password: &str) -> [String; 4] {
    let bytes = password.as_bytes();
    let hexadecimal = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let numbers = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    [password.to_owned(), BASE64_STANDARD.encode(password), hexadecimal, numbers]
}
