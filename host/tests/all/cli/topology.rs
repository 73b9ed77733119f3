//! `wabbit topology`: what a deployment does before hosts and producers start.

use crate::support::process::{Ended, Place};
use crate::support::rabbit::{User, Vhost, api};
use lapin::ExchangeKind;
use lapin::types::AMQPValue;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SHOP: &str = "[[subscription]]\nqueue = \"orders\"\ntype = \"quorum\"\n\
    arguments = { x-single-active-consumer = true }\n\
    bindings = [\n\
      { exchange = \"shop\", type = \"topic\", key = \"order.*\" },\n\
      { exchange = \"tags\", type = \"headers\", match = \"any\", headers = { a = 1, b = \"x\" } },\n\
    ]\n";
const NEWS: &str = "[[subscription]]\nqueue = \"\"\n\
    bindings = [{ exchange = \"news\", type = \"fanout\" }]\n[retry]\nattempts = 1\n";

fn shop() -> Place {
    Place::new().plugin("orders", "noop", SHOP).plugin("news", "noop", NEWS)
}

/// What is said to stand so, without the plugins.
fn standing<'a>(ended: &'a Ended, state: &str) -> BTreeSet<&'a str> {
    let lines = ended.stdout.lines().filter_map(|line| line.strip_prefix(state));
    lines.map(|line| line.trim().split(" (").next().unwrap().trim()).collect()
}

/// The queues, exchanges and bindings of a virtual host as RabbitMQ exports them.
async fn definitions(vhost: &Vhost) -> Value {
    let (status, mut value) = api("GET", &format!("definitions/{}", vhost.name), &json!({})).await;
    assert_eq!(status, 200);
    for kind in ["queues", "exchanges", "bindings"] {
        value[kind].as_array_mut().unwrap().sort_by_key(Value::to_string);
    }
    json!([value["queues"], value["exchanges"], value["bindings"]])
}

#[tokio::test]
async fn a_plan_changes_nothing_and_applying_it_twice_changes_nothing_more() {
    let (vhost, place) = (Vhost::new().await, shop());
    let run = async |verb| place.wabbit(&["topology", verb, "--broker", &vhost.url]).await;
    let empty = definitions(&vhost).await;
    let plan = run("plan").await;
    plan.works();
    let expected = [
        "exchange `news`",
        "exchange `shop`",
        "exchange `tags`",
        "queue `news.dlq`",
        "queue `orders`",
        "queue `orders.dlq`",
        "binding of queue `orders` to exchange `shop` by `order.*`",
        "binding of queue `orders` to exchange `tags` by headers",
    ];
    assert_eq!(standing(&plan, "to create"), BTreeSet::from(expected), "{plan:#?}");
    let own = ["queue", "binding of queue"];
    assert_eq!(standing(&plan, "by the host"), BTreeSet::from(own), "{plan:#?}");
    let delays = "on demand      20 delay queues, `wabbit.delay.800` to `wabbit.delay.150000`";
    assert!(plan.stdout.contains(delays), "{plan:#?}");
    assert_eq!(definitions(&vhost).await, empty);

    let applied = run("apply").await;
    applied.works();
    assert_eq!(standing(&applied, "created"), BTreeSet::from(expected), "{applied:#?}");
    let declared = definitions(&vhost).await;
    assert_eq!(declared[0].as_array().unwrap().len(), 3, "{declared}");
    assert_eq!(declared[2].as_array().unwrap().len(), 2, "{declared}");
    assert_ne!(declared, empty);

    let again = run("apply").await;
    again.works();
    assert_eq!(standing(&again, "created"), BTreeSet::new());
    assert_eq!(standing(&again, "there").len(), 6, "{again:#?}");
    assert_eq!(standing(&again, "bound").len(), 2, "{again:#?}");
    assert_eq!(definitions(&vhost).await, declared);
    let plan = run("plan").await;
    assert_eq!(standing(&plan, "not checked").len(), 2, "{plan:#?}");

    // A host finds nothing left to do.
    let host = shop().run(&vhost.url).await;
    host.ready().await;
    let mut found = definitions(&vhost).await;
    let own = |it: &Value| !it["name"].as_str().unwrap_or_default().starts_with("amq.gen-");
    found[0].as_array_mut().unwrap().retain(own);
    assert_eq!((&found[0], &found[1]), (&declared[0], &declared[1]));
}

#[tokio::test]
async fn what_differs_is_missing_or_not_permitted_has_its_code_and_stops_nothing_else() {
    let (vhost, user) = (Vhost::new().await, User::new().await);
    vhost.queue("limited", &[("x-max-length", AMQPValue::LongLongInt(5))]).await;
    let limited = "[[subscription]]\narguments = { x-max-length = 10 }\n";
    let absent = "[[subscription]]\ntopology = \"verify\"\n";
    let place = Place::new().plugin("limited", "noop", limited).plugin("absent", "noop", absent);
    for verb in ["plan", "apply"] {
        let ended = place.wabbit(&["topology", verb, "--broker", &vhost.url]).await;
        assert_eq!(ended.code, 78, "{ended:?}");
        for text in [
            "differs        queue `limited`  (limited)",
            "               `x-max-length`: the broker has 5, stated is 10",
            "missing        queue `absent`  (absent)",
            "missing        queue `absent.dlq`  (absent)",
        ] {
            assert!(ended.stdout.contains(text), "no `{text}`: {ended:#?}");
        }
    }
    let queues = vhost.queues().await;
    assert_eq!(queues.iter().collect::<Vec<_>>(), ["limited", "limited.dlq"]);
    let args = ["topology", "plan", "--broker", &vhost.url, "-o", "json"];
    let pieces = place.wabbit(&args).await.json()["pieces"].as_array().unwrap().clone();
    let piece = pieces.iter().find(|piece| piece["name"] == "limited").unwrap();
    let difference = json!([{ "setting": "x-max-length", "stated": 10, "broker": 5 }]);
    assert_eq!((&piece["state"], &piece["differences"]), (&json!("differs"), &difference));

    vhost.exchange("shop", ExchangeKind::Topic).await;
    vhost.allow(&user.name, ["^(orders|orders.dlq|tags|news.*)$", ".*", ".*"]).await;
    let url = vhost.url_of(&user.name, &user.password);
    let ended = shop().wabbit(&["topology", "apply", "--broker", &url]).await;
    assert_eq!(ended.code, 77, "{ended:?}");
    for text in [
        "not permitted  exchange `shop` (topic)  (orders)",
        "               the user has no configure permission on exchange `shop`",
        "not permitted  queue `wabbit.delay.800` (classic)",
        "created        queue `orders` (quorum)  (orders)",
    ] {
        assert!(ended.stdout.contains(text), "no `{text}`: {ended:#?}");
    }
    assert!(vhost.queues().await.contains("orders"));

    let away = ["topology", "apply", "--broker", "amqp://127.0.0.1:1"];
    shop().wabbit(&away).await.fails(69, &["cannot reach"]);
    shop().wabbit(&["topology", "plan"]).await.fails(78, &["no broker is named", "--broker"]);
    let bad = shop().plugin("typo", "noop", "[retry]\nattempt = 3\n");
    let args = ["topology", "apply", "--broker", &vhost.url];
    bad.wabbit(&args).await.fails(65, &["plugin `typo`", "attempt", "nothing was declared"]);
}

#[tokio::test]
async fn rabbitmq_takes_the_export_and_a_host_is_content_with_it() {
    let (applied, imported, posted) = (Vhost::new().await, Vhost::new().await, Vhost::new().await);
    shop().wabbit(&["topology", "apply", "--broker", &applied.url]).await.works();
    let exported = shop().wabbit(&["topology", "export", "--vhost", &imported.name]).await;
    let place = Place::new().file("definitions.json", exported.works());
    for left_out in ["left out: queue (named by the server)", "left out: binding of queue"] {
        assert!(exported.stderr.contains(left_out), "{exported:#?}");
    }
    let file = place.path("definitions.json").display().to_string();
    imported.broker.ctl(&["import_definitions", &file]).await;

    let exported = shop().wabbit(&["topology", "export"]).await.json();
    assert!(!exported.to_string().contains("vhost"), "{exported}");
    let (status, answer) = api("POST", &format!("definitions/{}", posted.name), &exported).await;
    assert_eq!(status, 204, "{answer}");

    let expected = definitions(&applied).await;
    for vhost in [&imported, &posted] {
        assert_eq!(definitions(vhost).await, expected);
        let plan = shop().wabbit(&["topology", "plan", "--broker", &vhost.url]).await;
        plan.works();
        assert_eq!(standing(&plan, "to create"), BTreeSet::new(), "{plan:#?}");
        shop().wabbit(&["check", "--broker", &vhost.url]).await.works();
    }
}

#[tokio::test]
async fn what_another_plugin_declares_counts_and_what_nobody_does_is_said() {
    let vhost = Vhost::new().await;
    let orders = "[dead-letter]\nexchange = \"graves\"\nrouting-key = \"orders\"\n";
    let place = Place::new().plugin("orders", "noop", orders);
    let run = async |verb: &[&str]| {
        let ended = place.wabbit(&[verb, &["--broker", &vhost.url]].concat()).await;
        (ended.code, ended)
    };
    let (code, applied) = run(&["topology", "apply"]).await;
    assert_eq!(code, 78, "{applied:#?}");
    assert!(applied.stdout.contains("missing        exchange `graves`  (orders)"), "{applied:#?}");
    assert_eq!(standing(&applied, "created"), BTreeSet::from(["queue `orders`"]), "{applied:#?}");
    let (code, checked) = run(&["check"]).await;
    assert_eq!(code, 78, "{checked:#?}");
    for text in ["exchange `graves`, where dead letters are to go, does not exist", "hint: create"]
    {
        assert!(checked.stdout.contains(text), "no `{text}`: {checked:#?}");
    }
    let host = Place::new().plugin("orders", "noop", orders).run(&vhost.url).await;
    host.unready(&["queue `orders`", "exchange `graves` does not exist"]).await;

    // Somebody consumes the dead letters; both come with the first of them.
    let graves = "[[subscription]]\n\
        bindings = [{ exchange = \"graves\", type = \"direct\", key = \"orders\" }]\n\
        [dead-letter]\nqueue = \"nowhere\"\n";
    place.install("graves", "noop", graves);
    let made = ["exchange `graves`", "queue `graves`", "queue `nowhere`"];
    let bound = "binding of queue `graves` to exchange `graves` by `orders`";
    let expected: BTreeSet<_> = made.into_iter().chain([bound]).collect();
    let (code, checked) = run(&["check"]).await;
    assert_eq!(code, 0, "{checked:#?}");
    let (code, planned) = run(&["topology", "plan"]).await;
    assert_eq!((code, standing(&planned, "to create")), (0, expected.clone()), "{planned:#?}");
    let shared = "exchange `graves` (direct)  (graves, orders)";
    assert!(planned.stdout.contains(shared), "{planned:#?}");
    let (code, applied) = run(&["topology", "apply"]).await;
    assert_eq!((code, standing(&applied, "created")), (0, expected), "{applied:#?}");
    host.ready().await;
}
