//! `wabbit check` and `wabbit inspect`.

use crate::support::process::Place;
use crate::support::rabbit::{User, Vhost};
use crate::support::{guest, guest_file};
use lapin::types::AMQPValue;
use serde_json::json;

#[tokio::test]
async fn each_bad_plugin_is_named_with_what_to_do() {
    let place = Place::new()
        .plugin("fine", "noop", "")
        .plugin("ungranted", "scripted", "")
        .plugin("foreign", "other-world", "")
        .plugin("typo", "noop", "[retry]\nattempt = 3\n")
        .plugin("broken", "noop", "[retry\n")
        .plugin("later", "noop", "[grants]\nsql = [\"catalogue\"]\n")
        .file("plugins/garbage.wasm", "not a component")
        .file("plugins/empty.wasm", "")
        .file("plugins/core.wasm", b"\0asm\x01\0\0\0");
    let found = place.wabbit(&["check"]).await;
    assert_eq!(found.code, 65, "{found:?}");
    let lines: Vec<&str> = found.stdout.lines().collect();
    assert!(lines.contains(&"fine: ok"), "{found:?}");
    for (plugin, problem) in [
        ("ungranted", "which needs a grant"),
        ("foreign", "a component of another world"),
        ("typo", "typo.toml:2:1: unknown key `attempt` in `[retry]`"),
        ("broken", "broken.toml:1:"),
        ("later", "not supported yet"),
        ("garbage", "is not WebAssembly"),
        ("empty", "empty"),
        ("core", "core WebAssembly module"),
    ] {
        let named =
            |line: &&str| line.starts_with(&format!("{plugin}: ")) && line.contains(problem);
        assert!(lines.iter().any(named), "`{plugin}: … {problem}` is missing: {found:#?}");
    }
    for hint in ["did you mean `attempts`?", "`publish = ["] {
        assert!(found.stdout.contains(hint), "no hint `{hint}`: {found:#?}");
    }
}

#[tokio::test]
async fn programs_get_json() {
    let place = Place::new().plugin("fine", "noop", "").plugin("ungranted", "scripted", "");
    let found = place.wabbit(&["check", "-o", "json"]).await;
    assert_eq!(found.code, 65);
    let mut plugins = found.json().as_array().unwrap().clone();
    plugins.sort_by_key(|plugin| plugin["plugin"].to_string());
    assert_eq!(plugins[0], json!({ "plugin": "fine", "ok": true, "problems": [] }));
    assert_eq!(plugins[1]["plugin"], "ungranted");
    assert_eq!(plugins[1]["ok"], false);
    let problem = &plugins[1]["problems"][0];
    assert!(problem["problem"].as_str().unwrap().contains("needs a grant"), "{problem}");
    assert!(problem["hint"].as_str().unwrap().contains("[grants]"), "{problem}");

    let good = Place::new().plugin("fine", "noop", "");
    assert_eq!(good.wabbit(&["check"]).await.works(), "fine: ok\n");
    assert_eq!(Place::new().wabbit(&["check"]).await.works(), "no plugins\n");
}

#[tokio::test]
async fn a_topology_is_compared_and_nothing_is_created() {
    let vhost = Vhost::new().await;
    vhost.queue("orders", &[("x-max-length", AMQPValue::LongLongInt(5))]).await;
    let limited = "[[subscription]]\nqueue = \"orders\"\narguments = { x-max-length = 10 }\n";
    let place = Place::new().plugin("orders", "noop", limited).plugin("fresh", "noop", "");
    let found = place.wabbit(&["check", "--broker", &vhost.url]).await;
    assert_eq!(found.code, 78, "{found:?}");
    for text in ["fresh: ok", "orders: queue `orders`", "x-max-length", "'10'", "'5'", "hint: "] {
        assert!(found.stdout.contains(text), "no `{text}`: {found:#?}");
    }
    assert_eq!(vhost.queues().await.into_iter().collect::<Vec<_>>(), ["orders"]);

    let absent = "[[subscription]]\nqueue = \"absent\"\ntopology = \"verify\"\n";
    let place = Place::new().plugin("absent", "noop", absent);
    let found = place.wabbit(&["check", "--broker", &vhost.url]).await;
    assert_eq!(found.code, 78, "{found:?}");
    assert!(found.stdout.contains("queue `absent` does not exist"), "{found:#?}");
}

#[tokio::test]
async fn a_broker_that_is_away_or_refuses_has_its_own_code() {
    let (vhost, user) = (Vhost::new().await, User::new().await);
    let place = Place::new().plugin("fine", "noop", "");
    let url = format!("amqp://{}:{}@127.0.0.1:1", user.name, user.password);
    let away = place.wabbit(&["check", "--broker", &url]).await;
    away.fails(69, &["cannot reach the broker at", "127.0.0.1:1"]);
    assert!(!away.stderr.contains(&user.password), "{away:?}");

    let wrong = format!("{}wrong", user.password);
    let url = vhost.url_of(&user.name, &wrong);
    let refused = place.wabbit(&["check", "--broker", &url]).await;
    refused.fails(77, &["refuses the user or the password", "403"]);
    assert!(!refused.stderr.contains(&user.password), "{refused:?}");

    let url = vhost.url_of(&user.name, &user.password);
    place.wabbit(&["check", "--broker", &url]).await.fails(77, &["virtual host", &vhost.name]);
    let nonsense = place.wabbit(&["check", "--broker", "http://u:sesame@h"]).await;
    nonsense.fails(78, &["must begin with `amqp://` or `amqps://`"]);
    assert!(!nonsense.stderr.contains("sesame"), "{nonsense:?}");
}

#[tokio::test]
async fn inspect_shows_a_component() {
    let place = Place::new();
    let file = guest_file("scripted").display().to_string();
    let seen = place.wabbit(&["inspect", &file, "-o", "json"]).await;
    seen.works();
    let value = seen.json();
    assert_eq!(value["size"], guest("scripted").len());
    assert_eq!(value["digest"].as_str().unwrap().len(), 64);
    let list = |name: &str| value[name].as_array().unwrap().clone();
    assert!(list("imports").contains(&json!("wabbit:publish/publisher@0.1.0")), "{value}");
    assert!(list("exports").contains(&json!("handle")), "{value}");
    let text = place.wabbit(&["inspect", &file]).await;
    assert!(text.works().contains("\nexports\n  handle"), "{text:?}");

    let place = place.file("bad.wasm", "text");
    place.wabbit(&["inspect", "bad.wasm"]).await.fails(65, &["is not WebAssembly", "hint: "]);
    place.wabbit(&["inspect", "none.wasm"]).await.fails(65, &["can't read `none.wasm`"]);
}
