//! `wabbit check` and `wabbit inspect`.

use crate::support::process::Place;
use crate::support::rabbit::{User, Vhost};
use crate::support::{guest, guest_file};
use lapin::ExchangeKind;
use lapin::types::AMQPValue;
use serde_json::{Value, json};

#[tokio::test]
async fn each_bad_plugin_is_named_with_what_to_do() {
    let place = Place::new()
        .plugin("fine", "noop", "")
        .plugin("ungranted", "scripted", "")
        .plugin("foreign", "other-world", "")
        .plugin("typo", "noop", "[retry]\nattempt = 3\n")
        .plugin("broken", "noop", "[retry\n")
        .plugin("misplaced", "noop", "[grants]\nsql = [\"cache\"]\n")
        .file("wabbit.toml", "[stores.cache]\nurl = \"redis://:sesame@cache:6379\"\n")
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
        ("misplaced", "the store `cache` is `redis://cache:6379`, which is no SQL database"),
        ("garbage", "is not WebAssembly"),
        ("empty", "empty"),
        ("core", "core WebAssembly module"),
    ] {
        let named =
            |line: &&str| line.starts_with(&format!("{plugin}: ")) && line.contains(problem);
        assert!(lines.iter().any(named), "`{plugin}: … {problem}` is missing: {found:#?}");
    }
    for hint in ["  hint: did you mean `attempts`?", "`publish = ["] {
        assert!(found.stdout.contains(hint), "no hint `{hint}`: {found:#?}");
    }
}

#[tokio::test]
async fn programs_get_json() {
    let place = Place::new().plugin("fine", "noop", "").plugin("ungranted", "scripted", "").plugin(
        "typos",
        "noop",
        "[retry]\nattempt = 3\n[limits]\ntime = \"1s\"\n",
    );
    let found = place.wabbit(&["check", "-o", "json"]).await;
    assert_eq!(found.code, 65);
    let mut plugins = found.json().as_array().unwrap().clone();
    plugins.sort_by_key(|plugin| plugin["plugin"].to_string());
    assert_eq!(plugins[0], json!({ "plugin": "fine", "ok": true, "grants": {}, "problems": [] }));
    assert_eq!((&plugins[1]["plugin"], &plugins[1]["ok"]), (&json!("typos"), &json!(false)));
    assert_eq!(
        plugins[1]["problems"][0],
        json!({
            "level": "error",
            "problem": "plugins/typos.toml:2:1: unknown key `attempt` in `[retry]`",
            "hint": "did you mean `attempts`?",
        })
    );
    assert!(plugins[1]["problems"][1]["hint"].as_str().unwrap().contains("`timeout`"));
    assert_eq!(plugins[2]["plugin"], "ungranted");
    assert_eq!(plugins[2]["ok"], false);
    let problem = &plugins[2]["problems"][0];
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
    for text in [
        "fresh: ok",
        "orders: queue `orders` exists with other settings",
        "  `x-max-length`: the broker has 5, stated is 10",
        "  hint: state the same settings",
    ] {
        assert!(found.stdout.contains(text), "no `{text}`: {found:#?}");
    }
    let found = place.wabbit(&["check", "--broker", &vhost.url, "-o", "json"]).await;
    let plugins = found.json();
    let problems = plugins[1]["problems"].as_array().unwrap();
    let differs = problems.iter().find(|problem| !problem["differences"].is_null()).unwrap();
    assert_eq!(
        (&differs["queue"], &differs["differences"]),
        (&json!("orders"), &json!([{ "setting": "x-max-length", "stated": 10, "broker": 5 }]))
    );
    assert_eq!(vhost.queues().await.into_iter().collect::<Vec<_>>(), ["orders"]);

    let absent = "[[subscription]]\nqueue = \"absent\"\ntopology = \"verify\"\n";
    let place = Place::new().plugin("absent", "noop", absent);
    let found = place.wabbit(&["check", "--broker", &vhost.url]).await;
    assert_eq!(found.code, 78, "{found:?}");
    assert!(found.stdout.contains("queue `absent` does not exist"), "{found:#?}");
}

#[tokio::test]
async fn ways_to_lose_events_are_an_error_and_what_was_asked_for_a_warning() {
    let place = Place::new()
        .plugin("bounded", "noop", "[[subscription]]\narguments = { x-message-ttl = 9000 }\n")
        .plugin("passing", "noop", "[[subscription]]\nqueue = \"\"\n");
    let found = place.wabbit(&["check"]).await;
    assert_eq!(found.code, 78, "{found:?}");
    for text in [
        "bounded: the queue `bounded` forgets events that wait longer than 9s\n",
        "  hint: leave `x-message-ttl` out, or add `x-dead-letter-exchange = \"\"`",
        "passing: ok\npassing: warning: a queue that the server names goes with its connection",
    ] {
        assert!(found.stdout.contains(text), "no `{text}`: {found:#?}");
    }
    let only = place.wabbit(&["check", "plugins/passing.wasm", "-o", "json"]).await;
    only.works();
    let (plugin, json) = (&only.json()[0], json!("warning"));
    assert_eq!((&plugin["ok"], &plugin["problems"][0]["level"]), (&json!(true), &json));
    let again = place.wabbit(&["check", "--plugins", "plugins"]).await;
    assert_eq!((again.code, again.stdout), (found.code, found.stdout));
    place.wabbit(&["check", "--plugins", "none"]).await.fails(65, &["can't read `none`"]);
}

#[tokio::test]
async fn a_permission_that_is_lacking_is_named_and_nothing_is_created() {
    let (vhost, user) = (Vhost::new().await, User::new().await);
    let manifest = "[[subscription]]\nqueue = \"orders\"\n\
        bindings = [{ exchange = \"shop\", type = \"topic\", key = \"order.*\" }]\n\
        [grants]\npublish = [\"bills:#\"]\n";
    let place = Place::new().plugin("orders", "noop", manifest);
    let url = vhost.url_of(&user.name, &user.password);
    let own = r"^(orders|orders\.dlq|shop)$";
    let all = r"^(orders|orders\.dlq|shop|wabbit\.delay\..*|amq\.default|bills)$";
    // configure, write, read: and what is said about it.
    let table = [
        (["^$", all, all], "no configure permission on exchange `shop`, to declare it"),
        (["^$", all, all], "no configure permission on queue `orders`, to declare it"),
        (
            ["^$", all, all],
            "no configure permission on queue `wabbit.delay.800`, where retries wait",
        ),
        ([own, all, all], "let its configure pattern match `^wabbit\\.delay\\.`"),
        ([all, "^$", all], "no write permission on queue `orders`, to bind the queue"),
        ([all, own, all], "no write permission on exchange `amq.default`, by which dead letters"),
        ([all, own, all], "no write permission on exchange `bills`, which it may publish to"),
        ([all, all, "^$"], "no read permission on queue `orders`, to consume"),
        ([all, all, "^orders$"], "no read permission on exchange `shop`, to bind the queue"),
        ([all, all, own], "no read permission on exchange `wabbit.delay.800`, where retries wait"),
    ];
    vhost.exchange("bills", ExchangeKind::Topic).await;
    for (permissions, said) in table {
        vhost.allow(&user.name, permissions).await;
        let found = place.wabbit(&["check", "--broker", &url]).await;
        assert_eq!(found.code, 77, "{permissions:?}: {found:?}");
        assert!(found.stdout.contains(said), "{permissions:?}: no `{said}`: {found:#?}");
        assert!(!found.stdout.contains("ok"), "{found:#?}");
    }
    vhost.allow(&user.name, [all; 3]).await;
    assert_eq!(
        place.wabbit(&["check", "--broker", &url]).await.works(),
        "orders: ok\n  publish: bills:#\n"
    );
    assert_eq!(vhost.queues().await.len(), 0);
    vhost.allow(&user.name, ["^$", all, all]).await;
    // What is there and needs no declaring needs no permission for it.
    for queue in ["plain", "plain.dlq"] {
        vhost.queue(queue, &[]).await;
    }
    let place = Place::new().plugin("plain", "noop", "[retry]\nattempts = 1\n");
    // But for the queues where what a pause sends away waits.
    let least = [
        r"^wabbit\.delay\.",
        r"^(amq\.default|wabbit\.delay\..*)$",
        r"^(plain|wabbit\.delay\..*)$",
    ];
    vhost.allow(&user.name, least).await;
    place.wabbit(&["check", "--broker", &url]).await.works();
}

#[tokio::test]
async fn a_queue_is_judged_as_it_is_and_publications_must_have_somewhere_to_go() {
    let vhost = Vhost::new().await;
    let ttl = [("x-message-ttl", AMQPValue::LongLongInt(60_000))];
    vhost.queue("there", &ttl).await;
    let manifest =
        "[grants]\npublish = [\"nowhere:#\", \"else:#\", \":other\"]\n[limits]\ntimeout = \"1h\"\n";
    let declares = "[[subscription]]\nbindings = [{ exchange = \"else\", type = \"fanout\" }]\n";
    let dead = [("x-dead-letter-exchange", AMQPValue::LongString("dead".into()))];
    vhost.queue("limited", &dead).await;
    let place = Place::new()
        .plugin("there", "noop", manifest)
        .plugin("limited", "noop", "")
        .plugin("other", "noop", declares);
    let found = place.wabbit(&["check", "--broker", &vhost.url]).await;
    assert_eq!(found.code, 78, "{found:?}");
    for text in [
        "other: ok",
        "there: the queue `there` forgets events that wait longer than 1m",
        "limited: the dead-letter exchange `dead` of the queue `limited` does not exist",
        "there: exchange `nowhere`, which it may publish to, does not exist",
        "there: the handler's `timeout` is 1h, and the broker closes the channel",
    ] {
        assert!(found.stdout.contains(text), "no `{text}`: {found:#?}");
    }
    assert!(!found.stdout.contains("`else`"), "{found:#?}");
}

#[tokio::test]
async fn programs_get_failures_as_json_too() {
    let place = Place::new().plugin("fine", "noop", "");
    let away = place.wabbit(&["check", "-o", "json", "--broker", "amqp://u:p@127.0.0.1:1"]).await;
    away.fails(69, &["cannot reach"]);
    let failure: Value = serde_json::from_str(away.stderr.trim()).unwrap();
    assert_eq!((&failure["code"], &away.stdout), (&json!(69), &String::new()));
    assert!(failure["error"].as_str().unwrap().contains("cannot reach the broker"), "{failure}");
    assert!(failure["hint"].as_str().unwrap().contains("is it running"), "{failure}");
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
