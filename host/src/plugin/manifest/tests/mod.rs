//! Manifests as people write them. Next: what is said about the bad ones, in `refused`, and how
//! the host's configuration is laid over them, in `layered`.

mod layered;
mod refused;

use super::*;
use crate::broker::{Binding, Exchange, ExchangeKind, HeadersMatch, Mode, Queue, QueueType};
use crate::capability::grants::{HostGrant, SecretGrant, Variable};
use crate::capability::http;
use crate::flow::{Event, Field, Headers, Properties};
use crate::plugin::limits::Instance;
use crate::policy::{Last, circuit};
use crate::store::sql;
use std::time::Duration;

fn read(text: &str) -> Result<Manifest, String> {
    read_under(text, &Rules::default())
}

fn read_under(text: &str, rules: &Rules<'_>) -> Result<Manifest, String> {
    let path = Path::new("plugins/orders.toml");
    Manifest::read("orders", path, Some(text), rules).map_err(|error| error.to_string())
}

fn one(text: &str) -> Subscription {
    let mut manifest = read(text).unwrap();
    assert_eq!(manifest.subscriptions.len(), 1);
    manifest.subscriptions.remove(0)
}

#[test]
fn without_a_manifest_the_plugin_consumes_the_queue_of_its_name() {
    let path = Path::new("plugins/orders.toml");
    let manifest = Manifest::read("orders", path, None, &Rules::default()).unwrap();
    assert_eq!(manifest, read("").unwrap());
    assert_eq!(manifest.policy, Policy::default());
    assert_eq!(manifest.limits, Limits::default());
    assert_eq!(manifest.grants, Grants::default());
    let dead = Queue::durable("orders.dlq");
    assert_eq!(
        manifest.subscriptions[0].dead_letter,
        DeadLetter {
            exchange: String::new(),
            routing_key: "orders.dlq".into(),
            queue: Some(dead.clone())
        }
    );
    let [subscription] = &manifest.subscriptions[..] else { panic!("{manifest:?}") };
    assert_eq!(subscription.consume.queue, Queue::durable("orders"));
    assert_eq!(subscription.consume.topology.queues, [Queue::durable("orders"), dead]);
    assert_eq!(subscription.consume.mode, Mode::Ensure);
    assert_eq!((subscription.consume.prefetch, subscription.concurrency), (32, 8));
    assert!(subscription.matcher.is_catch_all());
    assert!(!subscription.at_most_once);
}

#[test]
fn every_key_of_a_full_manifest_is_read() {
    let text = r##"
        description = "keeps the catalogue in step with the shop"
        [[subscription]]
        queue = "catalogue"
        type = "quorum"
        durable = true
        arguments = { x-max-length = 1000000 }
        bindings = [
            { exchange = "shop", type = "topic", key = "product.*" },
            { exchange = "by-header", type = "headers", match = "any", headers = { region = "eu", urgent = true } },
            { exchange = "amq.fanout" },
        ]
        topology = "verify"
        match = { content-type = "product_created", routing-key = "#.created", headers = { v = 2 } }
        unmatched = "drop"
        prefetch = 100
        concurrency = 4
        order-by = "json:/tenant"
        delivery = "at-most-once"
        [retry]
        attempts = 3
        delays = ["250ms", "1m 30s"]
        jitter = 0
        [circuit]
        failures = 3
        pause = "2s"
        pause-max = "20s"
        [dead-letter]
        queue = "graves"
        on-exhausted = "drop"
        [limits]
        timeout = "5s"
        cpu = "200ms"
        memory = "32MiB"
        table-elements = 1
        instances = 2
        instance = "fresh"
        max-invocations = 3
        body = 4096
        publications = 5
        publication-bytes = "6KiB"
        statement-time = "3s"
        statement-rows = 11
        statement-bytes = "2KiB"
        log-lines = 7
        log-rate = 9
        log-line-bytes = "1KB"
        http-requests = 10
        http-concurrency = 11
        http-request-body = "12KB"
        http-response-body = "13KB"
        [grants]
        publish = ["shop:invoice.*", ":other"]
        allowed-outbound-hosts = ["https://*.example.com", "http://10.0.0.0/8:8080"]
        variables = { currency = "EUR", key = { secret = "KEY", hosts = ["https://a.example.com"] } }
        key-value = ["default"]
        sql = ["catalogue", "log"]
        [dedupe]
        key = "header:order"
        window = "7d"
        [build]
        command = "make"
        watch = ["src/**"]
    "##;
    let manifest = read(text).unwrap();
    let subscription = &manifest.subscriptions[0];
    let consume = &subscription.consume;
    let queue = Queue {
        kind: Some(QueueType::Quorum),
        arguments: [("x-max-length", Field::I64(1_000_000))].into_iter().collect(),
        ..Queue::durable("catalogue")
    };
    let dead = Queue { kind: Some(QueueType::Quorum), ..Queue::durable("graves") };
    assert_eq!(consume.queue, queue);
    assert_eq!(consume.topology.queues, [queue, dead]);
    let exchange = |name: &str, kind| Exchange {
        name: name.into(),
        kind: Some(kind),
        durable: true,
        auto_delete: false,
    };
    let by_header = exchange("by-header", ExchangeKind::Headers);
    assert_eq!(consume.topology.exchanges, [exchange("shop", ExchangeKind::Topic), by_header]);
    assert_eq!(
        consume.topology.bindings[1],
        Binding {
            exchange: "by-header".into(),
            queue: "catalogue".into(),
            routing_key: String::new(),
            headers_match: HeadersMatch::Any,
            headers: Headers(vec![
                ("region".into(), "eu".into()),
                ("urgent".into(), Field::Bool(true))
            ]),
        }
    );
    assert_eq!(consume.topology.bindings.len(), 3);
    assert_eq!((consume.mode, consume.prefetch, subscription.concurrency), (Mode::Verify, 100, 4));
    assert_eq!((subscription.unmatched, subscription.at_most_once), (Last::Drop, true));
    assert_eq!(subscription.order_by, Some(OrderBy::Part(Key::Json("/tenant".to_owned()))));
    assert_eq!(manifest.policy.attempts, 3);
    let [pause, pause_max] = [2, 20].map(Duration::from_secs);
    assert_eq!(manifest.policy.circuit, circuit::Rules { failures: 3, pause, pause_max });
    assert_eq!(manifest.policy.delays, [250, 90_000].map(Duration::from_millis));
    assert_eq!((manifest.policy.jitter, manifest.policy.on_exhausted), (0.0, Last::Drop));
    assert_eq!(
        manifest.limits,
        Limits {
            timeout: Duration::from_secs(5),
            cpu: Duration::from_millis(200),
            memory: 32 << 20,
            table_elements: 1,
            instances: 2,
            instance: Instance::Fresh,
            max_invocations: 3,
            body: 4096,
            publications: 5,
            publication_bytes: 6144,
            statement: sql::Limits { time: Duration::from_secs(3), rows: 11, bytes: 2048 },
            log_lines: 7,
            log_rate: 9,
            log_line_bytes: 1000,
            http: http::Limits {
                requests: 10,
                concurrency: 11,
                request_body: 12_000,
                response_body: 13_000,
            },
        }
    );
    assert_eq!(manifest.grants.key_value.asked(), ["default"]);
    assert_eq!(manifest.grants.sql.asked(), ["catalogue", "log"]);
    let key = Some(DedupeKey::Part(Key::Header("order".to_owned())));
    let window = Duration::from_secs(7 * 24 * 3600);
    assert_eq!(manifest.dedupe, Some(Dedupe { key, window }));
    assert!(manifest.grants.allows_publish("shop", "invoice.paid"));
    let hosts = manifest.grants.hosts.asked().iter().map(HostGrant::to_string);
    assert_eq!(hosts.collect::<Vec<_>>(), ["https://*.example.com", "http://10.0.0.0/8:8080"]);
    assert_eq!(manifest.grants.variables["currency"], Variable::Text("EUR".into()));
    let secret = SecretGrant {
        secret: "KEY".into(),
        hosts: Some(vec!["https://a.example.com".parse().unwrap()].into()),
    };
    assert_eq!(manifest.grants.variables["key"], Variable::Secret(secret));
    let build = Build { command: "make".into(), watch: vec!["src/**".into()] };
    assert_eq!(manifest.build, Some(build));
}

#[test]
fn a_queue_without_a_name_is_exclusive_and_goes_with_its_connection() {
    let subscription = one(
        "[[subscription]]\nqueue = \"\"\nbindings = [{ exchange = \"news\", type = \"fanout\" }]",
    );
    let queue = &subscription.consume.queue;
    assert!(queue.exclusive && queue.auto_delete && !queue.durable);
    assert_eq!(subscription.consume.topology.bindings[0].queue, "");
    assert_eq!(subscription.consume.topology.queues[1], Queue::durable("orders.dlq"));
}

#[test]
fn dead_letters_may_go_through_an_exchange() {
    let manifest = read("[dead-letter]\nexchange = \"dlx\"\nrouting-key = \"orders\"").unwrap();
    let DeadLetter { exchange, routing_key, queue } = manifest.subscriptions[0].dead_letter.clone();
    assert_eq!((exchange.as_str(), routing_key.as_str(), queue), ("dlx", "orders", None));
    let topology = &manifest.subscriptions[0].consume.topology;
    assert_eq!(topology.queues, [Queue::durable("orders")]);
    assert_eq!((topology.exchanges[0].name.as_str(), topology.exchanges[0].kind), ("dlx", None));
}

#[test]
fn prefetch_and_concurrency_follow_each_other() {
    let table = [
        ("", (32, 8)),
        ("prefetch = 4", (4, 4)),
        ("prefetch = 500", (500, 8)),
        ("concurrency = 64", (64, 64)),
        ("concurrency = 2", (32, 2)),
        ("prefetch = 3\nconcurrency = 3", (3, 3)),
    ];
    for (text, expected) in table {
        let subscription = one(&format!("[[subscription]]\n{text}"));
        let found = (subscription.consume.prefetch, subscription.concurrency);
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn a_match_takes_the_events_that_fit_all_of_it() {
    let properties = Properties {
        content_type: Some("application/json".into()),
        kind: Some("created".into()),
        headers: Headers(vec![
            ("n".into(), Field::U16(2)),
            ("f".into(), Field::F32(0.1)),
            ("eu".into(), Field::Bool(true)),
        ]),
        ..Properties::default()
    };
    let event = Event {
        exchange: "shop".into(),
        routing_key: "order.created".into(),
        queue: "orders".into(),
        redelivered: false,
        attempt: 1,
        first_seen: 0,
        id: None,
        returned: 0,
        properties,
        body: Vec::new(),
    };
    let table = [
        ("", true, true),
        ("routing-key = '#'", true, true),
        ("routing-key = 'order.*'", true, false),
        ("routing-key = '*'", false, false),
        ("content-type = 'application/json'", true, false),
        ("content-type = 'application/json'\ntype = 'deleted'", false, false),
        ("type = 'created'", true, false),
        ("headers = { n = 2, eu = true, f = 0.1 }", true, false),
        ("headers = { n = 2, eu = false }", false, false),
        ("headers = { n = '2' }", false, false),
        ("headers = { absent = '2' }", false, false),
    ];
    for (text, fits, catch_all) in table {
        let matcher = one(&format!("[[subscription]]\n[subscription.match]\n{text}")).matcher;
        assert_eq!((matcher.fits(&event), matcher.is_catch_all()), (fits, catch_all), "{text}");
    }
}
