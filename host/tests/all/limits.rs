//! Whatever a guest does, its event ends, a neighbour's events are handled meanwhile, and the plugin
//! itself handles its next event.

use crate::support::host::TestHost;
use crate::support::setup::{Setup, granted, loader};
use crate::support::{guest, header};
use wabbit::flow::Event;
use wabbit::plugin::engine::EngineLimits;

/// Gives `script` to a plugin with these `[limits]` and sees that it ends as `class`.
async fn ends(class: &str, limits: &str, script: &str) -> Event {
    let host = victim(TestHost::new(), limits).scripted("neighbour", "").start().await;
    host.send("victim", script).await;
    host.send("neighbour", r#"{"publish": {"key": "~out", "body": "neighbour"}}"#).await;
    assert_eq!(host.take_text("out").await, "neighbour");
    let dead = host.take("victim.dlq").await;
    assert_eq!(header(&dead, "x-exception-type"), class, "{dead:?}");
    host.send("victim", r#"{"publish": {"key": "~out", "body": "next"}}"#).await;
    assert_eq!(host.take_text("out").await, "next");
    dead
}

fn victim(setup: Setup, limits: &str) -> Setup {
    let manifest = format!("retry = {{ attempts = 1 }}\n[limits]\n{limits}");
    setup.queue("out").scripted("victim", &manifest)
}

fn reason(event: &Event) -> &str {
    header(event, "x-exception-message")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wall_clock() {
    let dead = ends("timeout", "timeout = \"150ms\"", "sleep:3600000").await;
    assert_eq!(reason(&dead), "the handler took longer than `[limits] timeout` (150ms)");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_in_the_guest() {
    let dead = ends("cpu", "cpu = \"50ms\"", "loop").await;
    assert_eq!(reason(&dead), "the handler ran for longer than `[limits] cpu` (50ms)");
}

#[tokio::test]
async fn a_busy_guest_does_not_keep_the_only_thread_to_itself() {
    ends("timeout", "cpu = \"1h\"\ntimeout = \"300ms\"", "loop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_in_the_guest_is_counted_anew_for_each_event() {
    let host = victim(TestHost::new(), "cpu = \"400ms\"").start().await;
    for _ in 0..6 {
        host.send("victim", r#"["spin:80", "publish::~out"]"#).await;
    }
    for _ in 0..6 {
        host.take("out").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    let dead = ends("memory", "memory = \"16MiB\"", "memory-bomb").await;
    assert!(reason(&dead).contains("`[limits] memory` is 16777216"), "{}", reason(&dead));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stack() {
    let dead = ends("trap", "", "stack-overflow").await;
    assert!(reason(&dead).contains("call stack exhausted"), "{}", reason(&dead));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traps_and_exits() {
    let dead = ends("trap", "", "panic").await;
    assert!(reason(&dead).contains("unreachable"), "{}", reason(&dead));
    // WASI 0.2 has no other status than failed.
    let dead = ends("trap", "", "exit:3").await;
    assert_eq!(reason(&dead), "the handler called exit with status 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publications() {
    let script = r#"{"publish": {"key": "~out", "body": "x", "times": 11}}"#;
    let dead = ends("reject", "publications = 10", script).await;
    assert!(reason(&dead).contains("one event may publish 10 messages"), "{}", reason(&dead));
    let script = r#"{"publish": {"key": "~out", "size": 600, "times": 2}}"#;
    let dead = ends("reject", "publication-bytes = \"1KiB\"", script).await;
    assert!(reason(&dead).contains("one event may publish 1024 bytes"), "{}", reason(&dead));
    let script = r#"{"publish": {"key": "~out", "headers": {"long": "LONG"}}}"#;
    let script = script.replace("LONG", &"x".repeat(1024));
    let dead = ends("reject", "publication-bytes = \"1KiB\"", &script).await;
    assert!(reason(&dead).contains("one event may publish 1024 bytes"), "{}", reason(&dead));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_string_of_100_mib_does_not_reach_the_host() {
    ends("trap", "memory = \"256MiB\"", &format!("log-large:{}", 100 << 20)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_cut_where_it_is_too_long() {
    let host = victim(TestHost::new(), "log-lines = 20\ncpu = \"20s\"").start().await;
    for flood in ["log-flood", "print-flood"] {
        host.send("victim", &format!(r#"["{flood}:10000", "publish::~out"]"#)).await;
        host.take("out").await;
    }
    let log = host.log("victim");
    let lines = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    assert_eq!(lines(" guest: "), 2 * 20);
    assert_eq!(lines("the log of one event was cut after 20 lines"), 2, "{log:#?}");
    assert_eq!(lines("left_out=9980"), 2, "{log:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_the_log_is_cut_where_it_is_too_long() {
    let host = victim(TestHost::new(), "log-line-bytes = 100").start().await;
    host.send("victim", r#"["log-large:1000000", "publish::~out"]"#).await;
    host.take("out").await;
    let log = host.log("victim");
    let line = log.iter().find(|line| line.contains("xxx")).expect("the line");
    assert!(line.matches('x').count() <= 100 + "context".matches('x').count(), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_characters_of_a_guest_do_not_reach_the_terminal() {
    let host = victim(TestHost::new(), "").start().await;
    host.send(
        "victim",
        r#"["print:first\nsecond", "log:a\u001b[31m\rb\nforged", "publish::~out"]"#,
    )
    .await;
    host.take("out").await;
    let log = host.log("victim");
    let all = log.iter().map(|line| &**line).collect::<Vec<_>>().join("");
    assert!(all.contains("red") && all.contains("bidi") && all.contains("second"), "{log:#?}");
    let bad =
        |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert_eq!(all.chars().find(|&c| bad(c)), None, "{log:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_guest_needs_to_start_is_limited_too() {
    for (limits, expected) in [
        ("table-elements = 1", "table"),
        ("memory = \"64KiB\"", "memory"),
        ("instances = 1", "instance"),
    ] {
        let host = victim(TestHost::new(), limits).start_unready().await;
        host.trouble("victim", &["it can't be started", expected]).await;
    }
}

/// The engine has room for so few instances that one that is not let go of would be missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_that_ended_badly_are_let_go_of() {
    let limits = "cpu = \"100ms\"\ntimeout = \"5s\"\nmemory = \"4MiB\"\nlog-lines = 0";
    let own = loader(EngineLimits { instances: 4, memory: 16 << 20 });
    let host = victim(TestHost::new(), limits).loader(own).start().await;
    let bad = ["panic", "memory-bomb", "stack-overflow", "exit:1"];
    for script in bad.iter().cycle().take(180).chain(&["loop"; 20]) {
        host.send("victim", script).await;
    }
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    for _ in 0..200 {
        let dead = host.take("victim.dlq").await;
        *seen.entry(header(&dead, "x-exception-type").to_owned()).or_default() += 1;
    }
    let expected = [("cpu", 20), ("memory", 45), ("trap", 135)];
    assert_eq!(seen, expected.map(|(class, count)| (class.to_owned(), count)).into());
    host.send("victim", "publish::~out").await;
    host.take("out").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_may_be_fresh_for_each_event_or_after_some() {
    for limits in ["instance = \"fresh\"", "max-invocations = 3"] {
        let own = loader(EngineLimits { instances: 4, memory: 64 << 20 });
        let host = victim(TestHost::new(), limits).loader(own).start().await;
        for _ in 0..50 {
            host.send("victim", "publish::~out").await;
        }
        for _ in 0..50 {
            host.take("out").await;
        }
    }
}

/// Warm instances of one plugin must not take the room that another one needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_with_many_warm_instances_leaves_room_for_others() {
    let own = loader(EngineLimits { instances: 4, memory: 64 << 20 });
    let host = victim(TestHost::new(), "")
        .scripted("neighbour", "[limits]\ninstance = \"fresh\"")
        .loader(own)
        .start()
        .await;
    for round in 0..3 {
        for _ in 0..8 {
            host.send("victim", r#"["sleep:50", "publish::~out"]"#).await;
        }
        for _ in 0..8 {
            host.take("out").await;
        }
        host.send("neighbour", "publish::~out").await;
        host.take("out").await;
        // A new version needs room too.
        let limits = format!("[limits]\ntimeout = \"{round}5s\"");
        host.put_manifest("late", &granted(&limits));
        host.put("late", guest("scripted"));
        host.consumes("late").await;
        host.send("late", "publish::~out").await;
        host.take("out").await;
    }
    assert_eq!(host.host.unready(), [""; 0]);
}
