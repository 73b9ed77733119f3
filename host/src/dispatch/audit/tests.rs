use super::*;
use crate::broker::{
    Access, Difference, Exchange, Item, Name, Queue, QueueType, Refused, Right, Seen, Server,
    TopologyError,
};
use crate::flow::Field;
use crate::plugin::manifest::Rules;
use std::path::Path;

fn manifest(text: &str) -> Manifest {
    Manifest::read("orders", Path::new("orders.toml"), Some(text), &Rules::default()).unwrap()
}

fn found(text: &str, facts: &Facts) -> Vec<Finding> {
    let manifest = manifest(text);
    findings(&[Subject { name: "orders", manifest: &manifest }], facts)
}

/// Each as `KIND: PROBLEM`.
fn told(found: &[Finding]) -> Vec<String> {
    found.iter().map(|it| format!("{:?}: {}", it.kind, it.problem)).collect()
}

#[track_caller]
fn says(text: &str, facts: &Facts, expected: &[&str]) {
    let found = found(text, facts);
    let told = told(&found);
    assert_eq!(told.len(), expected.len(), "{text}: {told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.contains(expected), "{text}: `{told}` is not `{expected}`");
    }
    assert!(found.iter().all(|it| it.plugin == "orders" && !it.hint.is_empty()), "{found:#?}");
}

fn server(version: &str) -> Facts {
    Facts { server: Some(Server::new("RabbitMQ", version, None)), ..Facts::default() }
}

fn sees(item: Item, seen: Seen) -> Facts {
    Facts { seen: vec![(item, Ok(seen))], ..Facts::default() }
}

#[test]
fn ways_to_lose_events_are_found_in_a_manifest() {
    let table: [(&str, &[&str]); 28] = [
        ("", &[]),
        ("topology = \"verify\"", &[]),
        ("topology = \"off\"", &["Note: `topology = \"off\"`: nobody looks whether dead letters"]),
        ("arguments = { x-max-length = 9 }", &["Note: the queue `orders` forgets its oldest"]),
        ("arguments = { x-max-length-bytes = 9 }", &["Note: the queue `orders` forgets"]),
        ("arguments = { x-max-length = 9, x-overflow = \"drop-head\" }", &["Note: the queue"]),
        ("arguments = { x-max-length = 9, x-dead-letter-exchange = \"\" }", &[]),
        (
            "arguments = { x-max-length = 9, x-overflow = \"reject-publish\" }",
            &["Loses: the queue"],
        ),
        (
            "arguments = { x-max-length = 9, x-overflow = \"reject-publish\" }\n[retry]\nattempts = 1",
            &[],
        ),
        (
            "arguments = { x-max-length = 9, x-overflow = \"reject-publish-dlx\", \
             x-dead-letter-exchange = \"\" }",
            &[],
        ),
        (
            "arguments = { x-message-ttl = 90000 }",
            &["Loses: the queue `orders` forgets events that wait longer than 1m 30s"],
        ),
        ("arguments = { x-message-ttl = 9, x-dead-letter-exchange = \"\" }", &[]),
        ("type = \"quorum\"", &[]),
        (
            "type = \"quorum\"\narguments = { x-delivery-limit = 3 }",
            &["Loses: the queue `orders` drops an event that comes back 4 times"],
        ),
        ("type = \"quorum\"\narguments = { x-delivery-limit = 20 }", &[]),
        ("type = \"quorum\"\narguments = { x-delivery-limit = -1 }", &[]),
        (
            "type = \"quorum\"\narguments = { x-delivery-limit = 3, x-dead-letter-exchange = \"x\" }",
            &[],
        ),
        ("queue = \"\"", &["Note: a queue that the server names goes with its connection"]),
        ("auto-delete = true", &["Note: the queue `orders` goes with its last consumer"]),
        ("durable = false", &["Note: the queue `orders` does not outlive a restart"]),
        ("order-by = \"queue\"", &["Note: `order-by` holds as long as one host consumes"]),
        ("order-by = \"queue\"\narguments = { x-single-active-consumer = true }", &[]),
        ("order-by = \"queue\"\nqueue = \"\"", &["Note: a queue that the server names"]),
        (
            "order-by = \"queue\"\narguments = { x-max-length = 9, x-overflow = \"reject-publish\", \
             x-single-active-consumer = true }",
            &[],
        ),
        ("delivery = \"at-most-once\"", &["Note: `delivery = \"at-most-once\"`"]),
        (
            "delivery = \"at-most-once\"\n[dedupe]\nkey = \"message-id\"",
            &["Note: `delivery = \"at-most-once\"`", "Note: `[dedupe]` does nothing with"],
        ),
        ("[dedupe]\nkey = \"message-id\"", &[]),
        (
            "bindings = [{ exchange = \"shop\", type = \"topic\", auto-delete = true }]",
            &["Loses: the exchange `shop` goes when its last binding does"],
        ),
    ];
    for (text, expected) in table {
        says(&format!("[[subscription]]\n{text}\n"), &Facts::default(), expected);
    }
    let text =
        "[[subscription]]\narguments = { x-max-length = 9 }\n[dead-letter]\nqueue = \"dead\"\n";
    let hint = &found(text, &Facts::default())[0].hint;
    assert!(
        hint.contains("`x-dead-letter-exchange = \"\"` and `x-dead-letter-routing-key = \"dead\"`")
    );
}

#[test]
fn a_queue_is_judged_as_it_is() {
    let wanted = Queue::durable("orders");
    let arguments = [("x-max-length", Field::I64(5))].into_iter().collect();
    let is = Queue { arguments, kind: Some(QueueType::Quorum), ..wanted.clone() };
    let facts = sees(Item::Queue(wanted), Seen::There(Some(Item::Queue(is))));
    says("", &facts, &["Note: the queue `orders` forgets its oldest"]);
}

#[test]
fn what_follows_from_the_brokers_version_is_known() {
    let quorum = "[[subscription]]\ntype = \"quorum\"\n";
    let ordered = "[[subscription]]\norder-by = \"queue\"\n\
        arguments = { x-single-active-consumer = true }\n";
    let patient = format!("{ordered}[retry]\nattempts = 4\ndelays = [\"1m\", \"20m\"]\n");
    let table: [(&str, &str, &[&str]); 9] = [
        (ordered, "3.10.8", &[]),
        (&patient, "3.10.8", &["Note: an event may be held for 43m"]),
        (quorum, "3.10.8", &[]),
        // Its default limit is where the host acts.
        (quorum, "4.1.0", &[]),
        ("[limits]\ntimeout = \"31m\"", "3.10.8", &["Mismatch: the handler's `timeout` is 31m"]),
        ("[limits]\ntimeout = \"29m\"", "3.10.8", &["Note: an event may be held for 1h 56m"]),
        ("[limits]\ntimeout = \"31m\"", "4.3.0", &[]),
        (
            "[[subscription]]\ntype = \"quorum\"\n[limits]\ntimeout = \"31m\"",
            "4.3.0",
            &["Mismatch: the handler's `timeout` is 31m, and the broker cancels the consumer"],
        ),
        (
            "[[subscription]]\narguments = { x-consumer-timeout = 7200000 }\nconcurrency = 32\n\
             [limits]\ntimeout = \"31m\"",
            "3.13.0",
            &[],
        ),
    ];
    for (text, version, expected) in table {
        says(text, &server(version), expected);
    }
}

#[test]
fn what_is_there_must_be_as_stated() {
    let queue = || Item::Queue(Queue::durable("orders"));
    let exchange = |kind| {
        Item::Exchange(Exchange { name: "shop".into(), kind, durable: true, auto_delete: false })
    };
    let differs = || {
        let (stated, current) = (Some(Field::I64(10)), Some(Field::I64(5)));
        Seen::Differs(vec![Difference { setting: "x-max-length".into(), stated, current }])
    };
    let (verify, off) =
        ("[[subscription]]\ntopology = \"verify\"", "[[subscription]]\ntopology = \"off\"");
    let bound = "[[subscription]]\nbindings = [{ exchange = \"shop\" }]";
    let typed = "[[subscription]]\nbindings = [{ exchange = \"shop\", type = \"topic\" }]";
    let granted = "[grants]\npublish = [\"shop:#\"]";
    let topic = Some(crate::broker::ExchangeKind::Topic);
    let table: [(&str, Item, Seen, &[&str]); 9] = [
        ("", queue(), Seen::Absent, &[]),
        ("", queue(), differs(), &["Mismatch: queue `orders` exists with other settings"]),
        (verify, queue(), Seen::Absent, &["Mismatch: queue `orders` does not exist"]),
        (verify, queue(), differs(), &["Note: queue `orders` exists with other settings"]),
        (off, queue(), Seen::Absent, &["Note: ", "Mismatch: queue `orders` does not exist"]),
        (bound, exchange(None), Seen::Absent, &["Mismatch: exchange `shop` does not exist"]),
        (typed, exchange(topic), Seen::Absent, &[]),
        (
            granted,
            exchange(None),
            Seen::Absent,
            &["Mismatch: exchange `shop`, which it may publish"],
        ),
        (granted, exchange(None), Seen::There(None), &[]),
    ];
    for (text, item, seen, expected) in table {
        says(text, &sees(item, seen), expected);
    }
    let found = found("", &sees(queue(), differs()));
    let difference = found[0].differences[0].to_string();
    assert_eq!(difference, "`x-max-length`: the broker has 5, stated is 10");
}

#[test]
fn a_dead_letter_exchange_that_is_not_there_is_a_way_to_lose_events() {
    let dead = Exchange { name: "dead".into(), kind: None, durable: true, auto_delete: false };
    let text = "[[subscription]]\narguments = { x-dead-letter-exchange = \"dead\" }\n";
    let declared = format!("{text}bindings = [{{ exchange = \"dead\", type = \"fanout\" }}]\n");
    let absent = sees(Item::Exchange(dead.clone()), Seen::Absent);
    says(text, &absent, &["Loses: the dead-letter exchange `dead` of the queue `orders`"]);
    says(&declared, &absent, &[]);
    says(text, &sees(Item::Exchange(dead), Seen::There(None)), &[]);
    says(text, &Facts::default(), &[]);
}

#[test]
fn what_another_plugin_declares_may_be_published_to() {
    let publishes = manifest("[grants]\npublish = [\"shop:#\", \":bills\"]");
    let declares = manifest(
        "[[subscription]]\nqueue = \"bills\"\nbindings = [{ exchange = \"shop\", type = \"fanout\" }]",
    );
    let shop = Exchange { name: "shop".into(), kind: None, durable: true, auto_delete: false };
    let items = [Item::Exchange(shop), Item::Queue(Queue::durable("bills"))];
    let seen = items.map(|item| (item, Ok(Seen::Absent))).into();
    let facts = Facts { seen, ..Facts::default() };
    let subject = |name, manifest| Subject { name, manifest };
    let both = [subject("orders", &publishes), subject("bills", &declares)];
    assert_eq!(findings(&both, &facts), []);
    assert_eq!(findings(&both[..1], &facts).len(), 2);
}

#[test]
fn a_permission_that_is_lacking_is_named_once_with_its_purpose() {
    let refused = |right, on: Name, access| (access, Refused { right, on });
    let queue = |name: &str| Name::Queue(name.to_owned());
    let declare = |name: &str| Access::Declare(queue(name));
    let plain = Item::Queue(Queue::durable("orders"));
    let there = vec![(plain, Ok(Seen::There(None)))];
    let configure = |name: &str| vec![refused(Right::Configure, queue(name), declare(name))];
    // It is there already, and nothing is stated that would be compared.
    let facts = Facts { seen: there.clone(), refused: configure("orders"), ..Facts::default() };
    says("", &facts, &[]);
    says(
        "[[subscription]]\ntype = \"quorum\"",
        &Facts { refused: configure("orders"), ..Facts::default() },
        &["Forbidden: the user has no configure permission on queue `orders`, to declare it"],
    );
    let delay = "wabbit.delay.800";
    let exchange = Name::Exchange(delay.to_owned());
    let mut lacking = configure(delay);
    lacking.push(refused(Right::Configure, exchange.clone(), Access::Declare(exchange)));
    let facts = Facts { refused: lacking, ..Facts::default() };
    let once =
        ["Forbidden: the user has no configure permission on exchange `wabbit.delay.800`, where"];
    says("", &facts, &[&once[0].replace("exchange", "queue")]);
    let hint = &found("", &facts)[0].hint;
    assert!(hint.contains("`^wabbit\\.delay\\.`"), "{hint}");
    says("[retry]\nattempts = 1", &facts, &[]);
    let consume = refused(Right::Read, queue("orders"), Access::Consume("orders".into()));
    let default = Name::Exchange("amq.default".into());
    let publish = refused(Right::Write, default, Access::Publish(String::new()));
    let facts = Facts { refused: vec![consume, publish], ..Facts::default() };
    says(
        "",
        &facts,
        &["no read permission on queue `orders`", "no write permission on exchange `amq.default`"],
    );
}

#[test]
fn what_could_not_be_looked_at_is_said() {
    let item = Item::Queue(Queue::durable("orders"));
    let error = TopologyError::Other { what: "queue `orders`".into(), reason: "locked".into() };
    let facts = Facts { seen: vec![(item, Err(error))], ..Facts::default() };
    says("", &facts, &["Mismatch: queue `orders`: locked"]);
}
