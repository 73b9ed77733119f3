//! Plugins that come, change and go while events flow.

use crate::support::host::TestHost;
use crate::support::setup::{Site, granted, on_both};
use crate::support::{eventually, guest};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use wabbit::broker::ExchangeKind;
use wabbit::flow::{Properties, Publication};

on_both! {
    while_a_subscription_changes_each_event_is_handled_once
}

const VERSIONS: &str = "[grants]\npublish = [\"versions:#\"]";

/// A host whose plugin `orders` publishes which version of it handled an event.
async fn versions() -> TestHost {
    TestHost::new()
        .exchange("versions", ExchangeKind::Direct, "versions", "out")
        .plugin("orders", guest("version-a"), VERSIONS)
        .start()
        .await
}

/// Sends an event to `orders`; the version that handled it.
async fn version(host: &TestHost) -> String {
    host.send("orders", "").await;
    host.take_text("out").await
}

/// Since when the consumer of `orders` is as it is: another one would have begun later.
fn consuming_since(host: &TestHost) -> Option<SystemTime> {
    let queue = host.own("orders");
    let consumer = host.host.consumers().into_iter().find(|consumer| consumer.queue == queue);
    consumer.map(|consumer| consumer.status.since)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_comes() {
    let host = TestHost::new().queue("out").start().await;
    host.put_manifest("orders", &granted(""));
    host.put("orders", guest("scripted"));
    host.serves("orders", guest("scripted")).await;
    host.ready().await;
    host.send("orders", "publish::~out").await;
    host.take("out").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_code_leaves_the_consumer_alone() {
    let host = versions().await;
    assert_eq!(version(&host).await, "version-a");
    let since = consuming_since(&host);
    host.put("orders", guest("version-b"));
    host.serves("orders", guest("version-b")).await;
    assert_eq!(version(&host).await, "version-b");
    assert_eq!(consuming_since(&host), since);
    assert!(since.is_some());
    let results = |result| [("plugin", "orders"), ("result", result)];
    host.counts("wabbit_plugin_reloads_total", &results("loaded"), 1.0).await;
    host.counts("wabbit_plugin_reloads_total", &results("reloaded"), 1.0).await;
    host.counts("wabbit_plugin_info", &[("plugin", "orders")], 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_limits_leave_the_consumer_alone() {
    let host = TestHost::new().queue("out").scripted("orders", "").start().await;
    let since = consuming_since(&host);
    host.put_manifest("orders", &granted("retry = { attempts = 1 }\n[limits]\ntimeout = \"50ms\""));
    let mut attempts = 0;
    while attempts == 0 {
        // The change is seen in what becomes of events.
        host.send("orders", r#"["sleep:100", "reject"]"#).await;
        let dead = host.take("orders.dlq").await;
        let class = dead.properties.headers.get("x-exception-type").cloned();
        attempts = u32::from(class == Some("timeout".into()));
    }
    assert_eq!(consuming_since(&host), since);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_subscription_consumes_anew_and_no_other_does() {
    let host = TestHost::new()
        .queue("out")
        .exchange("shop", ExchangeKind::Topic, "#", "all")
        .scripted("orders", "")
        .scripted("other", "")
        .start()
        .await;
    let since = || {
        let consumers = host.host.consumers().into_iter();
        let since: BTreeMap<_, _> = consumers.map(|it| (it.queue, it.status.since)).collect();
        (since.get(&host.own("orders")).copied(), since.get(&host.own("other")).copied())
    };
    let (orders, other) = since();
    let manifest = "[[subscription]]\nbindings = [{ exchange = \"~shop\", key = \"order.*\" }]";
    host.put_manifest("orders", &granted(manifest));
    eventually("it consumes anew", || since().0.is_some_and(|since| Some(since) != orders)).await;
    host.ready().await;
    assert_eq!(since().1, other);
    host.publish(Publication {
        exchange: "shop".into(),
        routing_key: "order.placed".into(),
        body: host.text("publish::~out").into_bytes(),
        ..Publication::default()
    })
    .await;
    host.take("out").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_while_their_plugin_is_away() {
    let host = versions().await;
    assert_eq!(version(&host).await, "version-a");
    std::fs::remove_file(host.file("orders.wasm")).unwrap();
    eventually("it is gone", || host.status("orders").is_none()).await;
    assert_eq!(host.host.consumers().len(), 0);
    host.send("orders", "").await;
    host.has_depth("orders", (1, 0)).await;
    host.put("orders", guest("version-b"));
    assert_eq!(host.take_text("out").await, "version-b");
}

/// From `orders` to `renamed`, manifest and component.
fn rename(host: &TestHost) {
    for suffix in ["toml", "wasm"] {
        let to = host.file(&format!("renamed.{suffix}"));
        std::fs::rename(host.file(&format!("orders.{suffix}")), to).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_plugin_consumes_the_queue_of_its_new_name() {
    let host = versions().await;
    rename(&host);
    host.serves("renamed", guest("version-a")).await;
    eventually("the old one is gone", || host.status("orders").is_none()).await;
    host.ready().await;
    host.send("renamed", "").await;
    assert_eq!(host.take_text("out").await, "version-a");
    assert_eq!(consuming_since(&host), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_way_a_file_is_replaced() {
    let host = versions().await;
    let (a, b) = (guest("version-a"), guest("version-b"));
    let file = host.file("orders.wasm");
    // Copied over in place.
    std::fs::write(&file, &b).unwrap();
    host.serves("orders", &b).await;
    assert_eq!(version(&host).await, "version-b");
    // Removed, and written again.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, &a).unwrap();
    host.serves("orders", &a).await;
    assert_eq!(version(&host).await, "version-a");
    // In pieces, with pauses; what was there goes on meanwhile.
    let mut writing = std::fs::File::create(&file).unwrap();
    for piece in b.chunks(b.len() / 8) {
        writing.write_all(piece).unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(host.status("orders").unwrap().trouble, None);
        if writing.metadata().unwrap().len() < b.len() as u64 {
            assert_eq!(version(&host).await, "version-a");
        }
    }
    drop(writing);
    host.serves("orders", &b).await;
    assert_eq!(version(&host).await, "version-b");
    // Moved over.
    host.put("orders", &a);
    host.serves("orders", &a).await;
    assert_eq!(version(&host).await, "version-a");
    // An older file.
    host.put("orders", &b);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
    host.serves("orders", &b).await;
    assert_eq!(version(&host).await, "version-b");
}

/// A mounted config map: the files are links through `..data`, which is swapped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_swapped_as_kubernetes_does() {
    let setup = TestHost::new().exchange("versions", ExchangeKind::Direct, "versions", "out");
    let plugins = setup.plugins();
    let host = setup.start().await;
    let swap = |version: &str| {
        let dir = plugins.join(format!("..{version}"));
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("wasm"), guest(version)).unwrap();
        std::fs::write(dir.join("toml"), VERSIONS).unwrap();
        symlink(&dir, plugins.join("..data_tmp")).unwrap();
        std::fs::rename(plugins.join("..data_tmp"), plugins.join("..data")).unwrap();
    };
    swap("version-a");
    for suffix in ["toml", "wasm"] {
        symlink(format!("..data/{suffix}"), host.file(&format!("orders.{suffix}"))).unwrap();
    }
    host.serves("orders", guest("version-a")).await;
    host.consumes("orders").await;
    assert_eq!(version(&host).await, "version-a");
    swap("version-b");
    host.serves("orders", guest("version-b")).await;
    assert_eq!(version(&host).await, "version-b");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nothing_is_lost_and_every_effect_is_by_an_active_version() {
    const RELOADS: usize = 20;
    let host = versions().await;
    let (a, b) = (guest("version-a"), guest("version-b"));
    let (replaced, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let published = AtomicUsize::new(0);
    let publishing = async {
        let mut last = false;
        while !last {
            // Whoever takes events knows which one is the last before it comes.
            last = replaced.load(Relaxed);
            let n = published.fetch_add(1, Relaxed);
            ended.store(last, Relaxed);
            let message_id = Some(n.to_string());
            host.send_with("orders", "", Properties { message_id, ..Properties::default() }).await;
            // Some pile up, and the other tests get their turn.
            if n.is_multiple_of(20) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    };
    let replacing = async {
        for n in 0..RELOADS {
            let next = if n % 2 == 0 { &b } else { &a };
            host.put("orders", next);
            host.serves("orders", next).await;
        }
        replaced.store(true, Relaxed);
    };
    let taking = async {
        let mut seen = BTreeMap::<String, String>::new();
        while !ended.load(Relaxed) || seen.len() < published.load(Relaxed) {
            let event = host.take("out").await;
            let id = event.properties.message_id.expect("a message-id");
            let by = String::from_utf8(event.body).unwrap();
            assert_eq!(seen.insert(id.clone(), by), None, "{id} twice");
        }
        seen
    };
    let ((), (), seen) = tokio::join!(publishing, replacing, taking);
    let by: BTreeSet<_> = seen.values().map(String::as_str).collect();
    assert_eq!(by, ["version-a", "version-b"].into());
    host.has_depth("orders", (0, 0)).await;
    assert_eq!(host.depth("orders.dlq"), (0, 0));
    // The last one put in place is the one that serves.
    assert_eq!(version(&host).await, "version-a");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_ends_with_the_version_that_it_began_with() {
    let host = TestHost::new().queue("out");
    let host = host.plugin("orders", guest("noop"), &granted("")).start().await;
    let change_to = async |name: &str| {
        host.put("orders", guest(name));
        host.serves("orders", guest(name)).await;
    };
    change_to("scripted").await;
    host.send("orders", r#"["sleep:1000", "publish::~out"]"#).await;
    host.counts("wabbit_inflight", &[("plugin", "orders")], 1.0).await;
    // It was compiled before, so this is done long before the event is.
    change_to("noop").await;
    assert_eq!(host.depth("orders"), (0, 1), "it is still in flight");
    host.take("out").await;
    // And one that is removed.
    change_to("scripted").await;
    host.send("orders", r#"["sleep:1000", "publish::~out"]"#).await;
    host.counts("wabbit_inflight", &[("plugin", "orders")], 1.0).await;
    std::fs::remove_file(host.file("orders.wasm")).unwrap();
    eventually("it is gone", || host.status("orders").is_none()).await;
    host.take("out").await;
    host.has_depth("orders", (0, 0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_versions_the_last_one_counts() {
    let host = versions().await;
    let (a, b) = (guest("version-a"), guest("version-b"));
    for n in 0..40 {
        host.put("orders", [&b[..], b"garbage", &a][n % 3]);
        tokio::task::yield_now().await;
    }
    host.put("orders", &b);
    host.serves("orders", &b).await;
    assert_eq!(version(&host).await, "version-b");
}

async fn while_a_subscription_changes_each_event_is_handled_once(site: Site) {
    const EVENTS: usize = 400;
    const CHANGES: usize = 8;
    let with = |prefetch: usize| granted(&format!("[[subscription]]\nprefetch = {prefetch}"));
    let host = TestHost::on(site).queue("out").scripted("orders", &with(10)).start().await;
    for n in 0..EVENTS {
        let publish = format!(r#"{{"publish": {{"key": "~out", "body": "{n}"}}}}"#);
        host.send("orders", &format!(r#"["sleep:10", {publish}]"#)).await;
    }
    let changing = async {
        for n in 0..CHANGES {
            let before = consuming_since(&host);
            host.put_manifest("orders", &with(20 + n));
            eventually("it consumes anew", || consuming_since(&host) != before).await;
            host.ready().await;
        }
    };
    let taking = async {
        let mut seen = BTreeSet::new();
        while seen.len() < EVENTS {
            let n = host.take_text("out").await;
            assert!(seen.insert(n.clone()), "{n} twice");
        }
    };
    tokio::join!(changing, taking);
    host.finds_empty("out").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_plugin_takes_the_queue_along_that_its_manifest_names() {
    let manifest = granted("[[subscription]]\nqueue = \"~work\"");
    let host = TestHost::new().queue("out").scripted("orders", &manifest).start().await;
    rename(&host);
    host.serves("renamed", guest("scripted")).await;
    eventually("the old one is gone", || host.status("orders").is_none()).await;
    host.ready().await;
    host.send("work", "publish::~out").await;
    host.take("out").await;
    let log = host.log("renamed");
    assert!(!log.iter().any(|line| line.contains("refused")), "{log:#?}");
}
