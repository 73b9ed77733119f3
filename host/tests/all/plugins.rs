//! Files that can't be served: each is told apart and explained, the others go on, and all is well
//! as soon as the file is.

use crate::support::host::TestHost;
use crate::support::setup::granted;
use crate::support::{guest, header};
use std::fs::File;

/// What `wasm-tools` calls a core module: the magic number and the version of one.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

fn unknown_version() -> Vec<u8> {
    let mut bytes = guest("scripted");
    let (old, new) = (b"wabbit:handler/types@0.1.0", b"wabbit:handler/types@0.9.0");
    let places: Vec<_> = bytes
        .windows(old.len())
        .enumerate()
        .filter(|(_, it)| it == old)
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "the guest imports the types of its event");
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_explained_and_the_others_go_on() {
    let scripted = guest("scripted");
    let truncated = &scripted[..scripted.len() / 2];
    let no_grant = "description = \"no grants\"";
    let typo = "[[subscription]]\nprefech = 1";
    let table: [(&str, &[u8], &str, &[&str]); 11] = [
        ("core", CORE_MODULE, "", &["core.wasm", "a core WebAssembly module, not a component"]),
        ("garbage", b"MZ\x90\0garbage", "", &["is not WebAssembly"]),
        ("empty", b"", "", &["empty.wasm` is empty"]),
        ("truncated", truncated, "", &["truncated.wasm` is incomplete"]),
        ("world", &guest("other-world"), "", &["does not export `handle`", "wasi:cli/run"]),
        (
            "version",
            &unknown_version(),
            "",
            &["`wabbit:handler/types@0.9.0`", "serves `wabbit:handler@0.1`"],
        ),
        (
            "grants",
            &scripted,
            no_grant,
            &["imports `wabbit:publish/publisher@0.1.0`", "needs a grant"],
        ),
        ("unlinked", &guest("unlinked"), "", &["imports `wasi:http/outgoing-handler@0.3.0`"]),
        (
            "typo",
            &scripted,
            typo,
            &["typo.toml:2:1: unknown key `prefech`", "did you mean `prefetch`?"],
        ),
        ("toml", &scripted, "[retry]\nattempts = \n", &["toml.toml:2:12: not valid TOML"]),
        ("key", &scripted, "[dedupe]\nkey = \"body\"", &["`[dedupe] key` must be `message-id`"]),
    ];
    let mut setup = TestHost::new().queue("out").scripted("good", "");
    for (name, bytes, manifest, _) in &table {
        setup = setup.plugin(name, bytes, manifest);
    }
    let host = setup.start_unready().await;
    for (name, _, _, expected) in &table {
        host.trouble(name, expected).await;
        let unready = host.host.unready();
        let named = |reason: &String| reason.contains(&format!("plugin `{}`", host.own(name)));
        assert!(unready.iter().any(named), "{name} is not among {unready:?}");
        assert_eq!(host.status(name).unwrap().digest, None, "{name}");
    }
    host.consumes("good").await;
    host.send("good", "publish::~out").await;
    host.take("out").await;
    // All of them put right.
    for (name, ..) in &table {
        host.put_manifest(name, &granted(""));
        host.put(name, &scripted);
    }
    host.ready().await;
    for (name, ..) in &table {
        host.send(name, "publish::~out").await;
        host.take("out").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_over_the_limit_is_not_read() {
    let host = TestHost::new().queue("out").scripted("good", "").start().await;
    File::create(host.file("huge.wasm")).unwrap().set_len(200 << 20).unwrap();
    host.trouble("huge", &["has 209715200 bytes, over the limit of 134217728"]).await;
    host.send("good", "publish::~out").await;
    host.take("out").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_good_version_is_kept_until_a_better_one_comes() {
    let host = TestHost::new().queue("out").scripted("orders", "").start().await;
    let scripted = guest("scripted");
    let good = host.status("orders").unwrap().digest;
    let still_serves = async |trouble: &str| {
        host.trouble("orders", &[trouble]).await;
        assert_eq!(host.status("orders").unwrap().digest, good, "{trouble}");
        assert_eq!(host.host.unready(), [""; 0], "{trouble}");
        host.send("orders", "publish::~out").await;
        host.take("out").await;
    };
    for (bytes, trouble) in [
        (CORE_MODULE.to_vec(), "core WebAssembly module"),
        (guest("other-world"), "does not export `handle`"),
        (unknown_version(), "serves `wabbit:handler@0.1`"),
    ] {
        host.put("orders", bytes);
        still_serves(trouble).await;
        host.put("orders", &scripted);
        host.serves("orders", &scripted).await;
    }
    host.put_manifest("orders", "[limits]\ncpuu = \"1s\"");
    still_serves("did you mean `cpu`?").await;
    host.put_manifest("orders", "[limits]\ncpu = \"1s\"");
    still_serves("needs a grant").await;
    host.put_manifest("orders", &granted("[limits]\nmemory = \"64KiB\""));
    still_serves("can't be started").await;
    host.put_manifest("orders", &granted(""));
    host.serves("orders", &scripted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_other_settings_stops_only_its_own_subscription() {
    let host = TestHost::new()
        .queue("out")
        .queue("orders")
        .scripted("orders", "[[subscription]]\narguments = { x-max-length = 5 }")
        .scripted("good", "")
        .start_unready()
        .await;
    host.consumes("good").await;
    host.send("good", "publish::~out").await;
    host.take("out").await;
    let reason =
        || host.host.unready().into_iter().find(|reason| reason.contains("with other settings"));
    crate::support::eventually("the mismatch is a reason", || reason().is_some()).await;
    assert!(reason().unwrap().contains(&host.own("orders")));
    host.put_manifest("orders", &granted(""));
    host.ready().await;
    host.send("orders", "publish::~out").await;
    host.take("out").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_configuration_narrows_what_a_manifest_asks_for() {
    let asked = "[grants]\npublish = [\":#\"]\nvariables = { currency = \"EUR\" }";
    let host = TestHost::new()
        .queue("out")
        .queue("secret")
        .scripted("orders", &format!("[limits]\ntimeout = \"1h\"\n{asked}"))
        .overrides(
            "orders",
            "retry = { attempts = 1 }\n[limits]\ntimeout = \"100ms\"\n\
             [grants]\npublish = [\":~out\"]\nvariables = { currency = \"CHF\" }",
        )
        .start()
        .await;
    host.send("orders", "report:variables::~out").await;
    assert_eq!(host.take_text("out").await, r#"[["currency","CHF"]]"#);
    host.send("orders", "publish::~secret").await;
    let dead = host.take("orders.dlq").await;
    let reason = header(&dead, "x-exception-message");
    assert!(reason.contains("the grants do not cover"), "{reason}");
    host.send("orders", "sleep:3600000").await;
    let dead = host.take("orders.dlq").await;
    assert_eq!((dead.attempt, header(&dead, "x-exception-type")), (1, "timeout"));
}
