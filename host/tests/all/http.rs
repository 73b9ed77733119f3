//! Requests that handlers send, to servers of this process.

use crate::support::host::TestHost;
use crate::support::setup::Setup;
use crate::support::web::{Certificate, Seen, Web};
use crate::support::{eventually, guest, header, log};
use serde_json::{Value, json};
use wabbit::capability::http::Tls;
use wabbit::flow::Properties;
use wabbit::plugin::Outside;

/// A manifest that publishes to the queue `out` and sends requests to `hosts`, with `rest` after it.
fn manifest(hosts: &[&str], rest: &str) -> String {
    format!(
        "[retry]\nattempts = 4\ndelays = [\"10ms\"]\n[grants]\npublish = [\":~out\"]\nallowed-outbound-hosts = {hosts:?}\n{rest}"
    )
}

/// A host whose plugin `calls` sends what events list, to `hosts`.
fn host(hosts: &[&str], rest: &str) -> Setup {
    TestHost::new().queue("out").plugin("calls", guest("http"), &manifest(hosts, rest))
}

/// Sends `requests` in one event, and takes what came of them.
async fn answers(host: &TestHost, requests: Value) -> Vec<Value> {
    let script = json!({ "requests": requests, "to": "~out" });
    host.send("calls", &script.to_string()).await;
    serde_json::from_str(&host.take_text("out").await).unwrap()
}

/// What came of a request for each of `urls`: the status or the error.
async fn outcomes(host: &TestHost, urls: &[String]) -> Vec<String> {
    let requests = urls.iter().map(|url| json!({ "url": url })).collect();
    let told = |answer: &Value| match answer["error"].as_str() {
        Some(error) => error.to_owned(),
        None => answer["status"].to_string(),
    };
    answers(host, requests).await.iter().map(told).collect()
}

const DENIED: &str = "ErrorCode::HttpRequestDenied";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_where_a_grant_says_and_nowhere_else() {
    let (web, other) = (Web::plain().await, Web::plain().await);
    let (port, elsewhere) = (web.port, other.port);
    let host = host(&[&format!("http://localhost:{port}")], "").start().await;
    let urls = [
        format!("http://localhost:{port}/a"),
        format!("http://localhost:{port}/a"),
        format!("http://LOCALHOST.:{port}/b"),
        format!("https://localhost:{port}/"),
        format!("http://localhost:{elsewhere}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://user@localhost:{port}/"),
        "https://example.com/".to_owned(),
    ];
    let mut expected = vec!["200", "200", "200"];
    expected.resize(urls.len(), DENIED);
    assert_eq!(outcomes(&host, &urls).await, expected);
    let paths: Vec<_> = web.seen().into_iter().map(|seen| seen.path).collect();
    assert_eq!((paths, other.connections()), (["/a", "/a", "/b"].map(str::to_owned).to_vec(), 0));
    assert_eq!(web.connections(), 2, "a connection serves more than one request to a name");
    let lines = host.log("calls");
    for said in [
        format!(
            "WARN wabbit::telemetry::guest: a request to `https://localhost:{port}` was refused: \
             `allowed-outbound-hosts` of the plugin has it only as `http://localhost:{port}`"
        ),
        "no entry of `allowed-outbound-hosts` of the plugin names it".to_owned(),
        "hint=\"add \\\"https://example.com\\\" to `allowed-outbound-hosts`\"".to_owned(),
        "its URL holds a user or a password".to_owned(),
    ] {
        assert!(lines.iter().any(|line| line.contains(&said)), "{said}: {lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_leads_to_no_address_that_no_grant_names() {
    let web = Web::plain().await;
    let port = web.port;
    let host = host(&["http://*:*", "https://*"], "").start().await;
    let urls = [
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://0.0.0.0:{port}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
    ];
    assert_eq!(outcomes(&host, &urls).await, [DENIED; 5]);
    assert_eq!(web.connections(), 0);
    let lines = host.log("calls");
    for said in [
        "is a loopback address",
        "no entry of `allowed-outbound-hosts` of the plugin names",
        "::ffff:127.0.0.1 is an IPv4-mapped address",
        "169.254.169.254 is the metadata service of clouds",
        &format!("add \\\"http://127.0.0.1:{port}\\\" to `allowed-outbound-hosts`"),
    ] {
        assert!(lines.iter().any(|line| line.contains(said)), "{said}: {lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_configuration_narrows_and_nothing_is_reached_without_a_grant() {
    let web = Web::plain().await;
    let [by_name, by_address] =
        ["localhost", "127.0.0.1"].map(|name| format!("http://{name}:{}", web.port));
    let narrower = format!("[grants]\nallowed-outbound-hosts = [\"{by_address}\"]");
    let host = host(&[&by_name, &by_address], "").overrides("calls", &narrower).start().await;
    assert_eq!(outcomes(&host, &[by_address.clone(), by_name.clone()]).await, ["200", DENIED]);
    let lines = host.log("calls");
    let said = "no entry of `allowed-outbound-hosts` of the host's configuration names it";
    assert!(lines.iter().any(|line| line.contains(said)), "{lines:#?}");
    let none = TestHost::new().queue("out");
    let none = none.plugin("calls", guest("http"), "[grants]\npublish = [\":~out\"]").start().await;
    assert_eq!(outcomes(&none, &[by_address]).await, [DENIED]);
    assert!(none.log("calls").iter().any(|line| line.contains("has no entry")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_is_the_handlers_to_follow() {
    let web = Web::plain().await;
    let url = format!("http://localhost:{}", web.port);
    let host = host(&[&url], "").start().await;
    let answers = answers(&host, json!([{ "url": format!("{url}/redirect") }])).await;
    assert_eq!(answers[0]["status"], 302);
    assert_eq!(answers[0]["headers"]["location"], "/elsewhere");
    assert_eq!(web.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_does_not_come_is_the_handlers_time() {
    let web = Web::plain().await;
    let url = format!("http://localhost:{}", web.port);
    let host = host(&[&url], "[limits]\ntimeout = \"500ms\"\n").start().await;
    let script = json!({ "requests": [{ "url": format!("{url}/slow") }] });
    host.send("calls", &script.to_string()).await;
    let dead = host.take("calls.dlq").await;
    assert_eq!(header(&dead, "x-exception-type"), "timeout");
    assert_eq!(web.seen().len(), 4, "each attempt asks again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_told_apart_from_what_is_refused() {
    let free = Web::plain().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let hosts = [format!("http://localhost:{port}"), format!("https://localhost:{}", free.port)];
    let hosts: Vec<_> =
        hosts.iter().map(String::as_str).chain(["http://nowhere.invalid"]).collect();
    let host = host(&hosts, "").start().await;
    let urls: Vec<_> = hosts.iter().map(|it| (*it).to_owned()).collect();
    let told = outcomes(&host, &urls).await;
    for (told, expected) in told.iter().zip(["ConnectionRefused", "TlsProtocolError", "DnsError"]) {
        assert!(told.contains(expected), "{told} is no {expected}");
    }
    assert_eq!(told.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_and_counts_have_limits() {
    let web = Web::plain().await;
    let url = format!("http://localhost:{}", web.port);
    let limits = "[limits]\nhttp-requests = 4\nhttp-request-body = \"8KiB\"\n\
                  http-response-body = \"8KiB\"\n";
    let host = host(&[&url], limits).start().await;
    let requests = json!([
        { "url": url, "method": "POST", "size": 8 << 10 },
        { "url": format!("{url}/large") },
        { "url": url, "method": "POST", "size": 9 << 10 },
        { "url": url },
        { "url": url },
    ]);
    let answers = answers(&host, requests).await;
    assert_eq!((&answers[0]["status"], &answers[3]["status"]), (&json!(200), &json!(200)));
    for (at, error) in [
        (1, "response body size exceeds limit: 8192 bytes"),
        (2, "HttpRequestBodySize"),
        (4, DENIED),
    ] {
        let told = answers[at]["error"].as_str().unwrap_or_default();
        assert!(told.contains(error), "{at}: {answers:#?}");
    }
    let said = "one event may send 4 requests (`[limits] http-requests`)";
    assert!(host.log("calls").iter().any(|line| line.contains(said)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_requests_are_under_way_at_once() {
    let web = Web::plain().await;
    let url = format!("http://localhost:{}", web.port);
    let host = host(&[&url], "[limits]\nhttp-concurrency = 2\n").start().await;
    let requests: Vec<_> = (0..8).map(|_| json!({ "url": format!("{url}/held") })).collect();
    let script = json!({ "requests": requests, "at-once": true, "to": "~out" }).to_string();
    host.send("calls", &script).await;
    host.send("calls", &script).await;
    for _ in 0..2 {
        let answers: Vec<Value> = serde_json::from_str(&host.take_text("out").await).unwrap();
        assert!(answers.iter().all(|answer| answer["status"] == 200), "{answers:#?}");
    }
    assert_eq!((web.seen().len(), web.most_at_once()), (16, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_again_has_the_same_key() {
    let web = Web::plain().await;
    let url = format!("http://localhost:{}", web.port);
    let host = host(&[&url], "").start().await;
    let own = json!({ "idempotency-key": "my own", "traceparent": "mine" });
    let script = json!({
        "requests": [
            { "url": url, "method": "POST" },
            { "url": url, "method": "POST" },
            { "url": url, "method": "DELETE" },
            { "url": url, "method": "PATCH", "headers": own },
            { "url": url },
        ],
        "fails": 2,
        "to": "~out",
    });
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for message_id in [None, Some("1".to_owned())] {
        let mut properties = Properties { message_id, ..Properties::default() };
        properties.headers.set("traceparent", trace);
        let before = web.seen().len();
        host.send_with("calls", &script.to_string(), properties).await;
        host.take("out").await;
        let seen = web.seen().split_off(before);
        assert_eq!(seen.len(), 15);
        let key = |seen: &Seen| seen.header("idempotency-key").to_owned();
        let keys: Vec<Vec<_>> = seen.chunks(5).map(|it| it.iter().map(key).collect()).collect();
        assert_eq!((&keys[0], &keys[0]), (&keys[1], &keys[2]), "the same at each attempt");
        let [first, second, third, mine, none] = &keys[0][..] else { panic!("{keys:?}") };
        assert_eq!((mine.as_str(), none.as_str()), ("my own", ""));
        assert!(first.len() == 32 && first != second && second != third && first != third);
        let traces: Vec<_> = seen[..5].iter().map(|seen| seen.header("traceparent")).collect();
        assert_eq!(traces, [trace, trace, trace, "mine", trace]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_of_ones_own_is_trusted_where_it_is_configured() {
    let certificate = Certificate::new();
    let web = Web::secured(&certificate).await;
    let url = format!("https://localhost:{}", web.port);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &certificate.authority).unwrap();
    let tls = Tls::new(Some(file.path())).unwrap();
    let trusting = host(&[&url], "").outside(Outside { tls, ..Outside::default() }).start().await;
    assert_eq!(outcomes(&trusting, &[format!("{url}/")]).await, ["200"]);
    let other = host(&[&url], "").start().await;
    assert_eq!(outcomes(&other, &[url]).await, ["ErrorCode::TlsCertificateError"]);
    assert_eq!(web.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_handler_leaves_under_way_ends_with_its_event() {
    let web = Web::plain().await;
    let url = format!("http://localhost:{}", web.port);
    let host = host(&[&url], "").start().await;
    let script =
        json!({ "requests": [{ "url": format!("{url}/slow") }], "leave": true, "to": "~out" });
    host.send("calls", &script.to_string()).await;
    assert_eq!(host.take_text("out").await, "[]");
    let said = format!("localhost:{}` failed: connection terminated", web.port);
    eventually("it goes on", || !log::lines(&said).is_empty()).await;
    assert_eq!(outcomes(&host, &[url]).await, ["200"]);
}
