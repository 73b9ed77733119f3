//! Declaring and checking: what is there is used, what is stated must be so, and what is wrong is
//! said in the broker's words.

use super::{Fixture, binding, body, gone, live, next, queues, take};
use wabbit::broker::{
    Access, Consume, Difference, Exchange, ExchangeKind, Item, Mode, Name, Queue, QueueType, Seen,
    Topology, TopologyError,
};
use wabbit::flow::Field;

pub(super) async fn declaring_twice_is_declaring_once(at: Fixture) {
    let topology = Topology {
        exchanges: vec![exchange(at.name("e"), Some(ExchangeKind::Topic))],
        queues: vec![at.queue_like("q", &[("x-message-ttl", Field::I64(600_000))])],
        bindings: vec![binding(&at.name("e"), &at.name("q"), "a.#")],
    };
    for _ in 0..2 {
        at.declare(topology.clone()).await;
        at.broker.declare(&topology, Mode::Verify).await.unwrap();
    }
    at.publish(&at.name("e"), "a.b", "x").await;
    at.publish("", &at.name("q"), "y").await;
    let mut subscription = at.consume(&at.name("q"), 1).await;
    for expected in ["x", "y"] {
        assert_eq!(take(&mut subscription).await, expected);
    }
}

pub(super) async fn what_is_left_out_may_be_as_it_is(at: Fixture) {
    let there = Queue {
        kind: Some(QueueType::Quorum),
        ..at.queue_like("q", &[("x-max-length", Field::I64(10))])
    };
    at.declare(queues([there])).await;
    at.declare(queues([Queue::durable(at.name("q"))])).await;
    at.declare(queues([at.queue_like("q", &[("x-max-length", Field::I64(10))])])).await;
    let fleeting = Queue { durable: false, auto_delete: true, ..at.queue_like("fleeting", &[]) };
    at.declare(queues([fleeting])).await;
    at.declare(queues([Queue::durable(at.name("fleeting"))])).await;
}

pub(super) async fn another_durability_is_a_mismatch_with_both_sides(at: Fixture) {
    at.queue("q", &[]).await;
    let wanted = Queue { durable: false, ..Queue::durable(at.name("q")) };
    let said = format!(
        "inequivalent arg 'durable' for queue '{}' in vhost '/': received 'false' but current is \
         'true'",
        at.name("q")
    );
    mismatches(&at, queues([wanted]), &format!("queue `{}`", at.name("q")), &said).await;
}

pub(super) async fn another_argument_is_a_mismatch_with_both_sides(at: Fixture) {
    at.queue("q", &[("x-message-ttl", Field::I64(600_000))]).await;
    let wanted = at.queue_like("q", &[("x-message-ttl", Field::I64(700_000))]);
    let said = format!(
        "inequivalent arg 'x-message-ttl' for queue '{}' in vhost '/': received '700000' but \
         current is '600000'",
        at.name("q")
    );
    mismatches(&at, queues([wanted]), &format!("queue `{}`", at.name("q")), &said).await;
    let plain = at.queue("plain", &[]).await;
    let wanted = at.queue_like("plain", &[("x-message-ttl", Field::I64(700_000))]);
    let said = format!(
        "inequivalent arg 'x-message-ttl' for queue '{plain}' in vhost '/': received the value \
         '700000' of type 'long' but current is none"
    );
    mismatches(&at, queues([wanted]), &format!("queue `{plain}`"), &said).await;
}

pub(super) async fn another_type_of_exchange_is_a_mismatch_with_both_sides(at: Fixture) {
    let name = at.exchange("e", ExchangeKind::Direct).await;
    let mut wanted = exchange(name.clone(), Some(ExchangeKind::Topic));
    (wanted.durable, wanted.auto_delete) = (false, true);
    let said = format!(
        "inequivalent arg 'type' for exchange '{name}' in vhost '/': received 'topic' but current \
         is 'direct'"
    );
    let wanted = Topology { exchanges: vec![wanted], ..Topology::default() };
    mismatches(&at, wanted, &format!("exchange `{name}`"), &said).await;
}

async fn mismatches(at: &Fixture, wanted: Topology, expected: &str, said: &str) {
    let error = at.broker.declare(&wanted, Mode::Ensure).await.unwrap_err();
    let TopologyError::Mismatch { what, difference } = &error else { panic!("{error:?}") };
    assert_eq!(what, expected);
    assert!(difference.contains(said), "`{difference}` is not `{said}`");
    assert!(error.hint().is_some());
}

pub(super) async fn looking_tells_what_is_there_and_creates_nothing(at: Fixture) {
    let absent = Item::Queue(Queue::durable(at.name("absent")));
    for _ in 0..2 {
        assert_eq!(at.broker.look(&absent).await, Ok(Seen::Absent));
    }
    let there = [("x-max-length", Field::I64(5)), ("x-message-ttl", Field::I64(600_000))];
    let stated = Queue { kind: Some(QueueType::Quorum), ..at.queue_like("q", &there) };
    at.declare(queues([stated.clone()])).await;
    // Nobody says of which type it is to be, or how long.
    let wanted = Item::Queue(Queue::durable(at.name("q")));
    let seen = at.broker.look(&wanted).await;
    let Ok(Seen::There(Some(Item::Queue(mut is)))) = seen else { panic!("{seen:?}") };
    is.arguments.0.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!(is, stated);
    let name = at.exchange("e", ExchangeKind::Direct).await;
    let some = Item::Exchange(exchange(name.clone(), None));
    assert_eq!(at.broker.look(&some).await, Ok(Seen::There(None)));
    let wanted = exchange(name, Some(ExchangeKind::Direct));
    let is = Exchange { durable: false, auto_delete: true, ..wanted.clone() };
    let seen = at.broker.look(&Item::Exchange(wanted)).await;
    assert_eq!(seen, Ok(Seen::There(Some(Item::Exchange(is)))));
    let queue = at.name("absent");
    for access in [
        Access::Declare(Name::Queue(queue.clone())),
        Access::Declare(Name::Exchange(queue.clone())),
        Access::Consume(queue.clone()),
        Access::Publish(queue.clone()),
        Access::Publish(String::new()),
        Access::Bind { exchange: "amq.topic".to_owned(), queue },
    ] {
        assert_eq!(at.broker.may(&access).await, Ok(None), "{access:?}");
    }
    assert_eq!(at.broker.look(&absent).await, Ok(Seen::Absent));
}

pub(super) async fn looking_tells_every_difference(at: Fixture) {
    let there = [("x-max-length", Field::I64(5)), ("x-expires", Field::I64(600_000))];
    at.queue("q", &there).await;
    let wanted = [("x-max-length", Field::I64(10)), ("x-message-ttl", Field::I64(9))];
    let wanted = Queue { durable: false, ..at.queue_like("q", &wanted) };
    let seen = at.broker.look(&Item::Queue(wanted)).await;
    let Ok(Seen::Differs(mut differences)) = seen else { panic!("{seen:?}") };
    differences.sort_by(|a, b| a.setting.cmp(&b.setting));
    let difference = |setting: &str, stated, current| Difference {
        setting: setting.to_owned(),
        stated: Some(stated),
        current,
    };
    let expected = [
        difference("durable", Field::Bool(false), Some(Field::Bool(true))),
        difference("x-max-length", Field::I64(10), Some(Field::I64(5))),
        difference("x-message-ttl", Field::I64(9), None),
    ];
    assert_eq!(differences, expected);
    let name = at.exchange("e", ExchangeKind::Direct).await;
    let seen = at.broker.look(&Item::Exchange(exchange(name, Some(ExchangeKind::Topic)))).await;
    let expected = difference("type", Field::from("topic"), Some(Field::from("direct")));
    assert_eq!(seen, Ok(Seen::Differs(vec![expected])));
}

pub(super) async fn verify_finds_what_is_missing(at: Fixture) {
    let queue = queues([Queue::durable(at.name("q"))]);
    is_missing(&at, &queue, Mode::Verify, &format!("queue `{}`", at.name("q"))).await;
    at.declare(queue.clone()).await;
    at.broker.declare(&queue, Mode::Verify).await.unwrap();
    let exchange = Topology {
        exchanges: vec![exchange(at.name("e"), Some(ExchangeKind::Topic))],
        ..Topology::default()
    };
    is_missing(&at, &exchange, Mode::Verify, &format!("exchange `{}`", at.name("e"))).await;
    at.broker.declare(&exchange, Mode::Off).await.unwrap();
    is_missing(&at, &exchange, Mode::Verify, &format!("exchange `{}`", at.name("e"))).await;
}

pub(super) async fn an_exchange_without_a_type_must_exist(at: Fixture) {
    let wanted = |name| Topology { exchanges: vec![exchange(name, None)], ..Topology::default() };
    is_missing(&at, &wanted(at.name("e")), Mode::Ensure, &format!("exchange `{}`", at.name("e")))
        .await;
    at.declare(wanted("amq.topic".to_owned())).await;
}

pub(super) async fn a_binding_to_a_missing_exchange_is_an_error(at: Fixture) {
    let topology = Topology {
        queues: vec![Queue::durable(at.name("q"))],
        bindings: vec![binding(&at.name("e"), &at.name("q"), "k")],
        ..Topology::default()
    };
    is_missing(&at, &topology, Mode::Ensure, &format!("exchange `{}`", at.name("e"))).await;
}

async fn is_missing(at: &Fixture, topology: &Topology, mode: Mode, expected: &str) {
    let error = at.broker.declare(topology, mode).await.unwrap_err();
    let TopologyError::Missing { what } = &error else { panic!("{error:?}") };
    assert_eq!(what, expected);
}

pub(super) async fn reserved_names_are_forbidden(at: Fixture) {
    let name = at.name("amq.q");
    let exchange = Topology {
        exchanges: vec![exchange(name.clone(), Some(ExchangeKind::Topic))],
        ..Topology::default()
    };
    for (kind, topology) in [("queue", queues([Queue::durable(&name)])), ("exchange", exchange)] {
        let error = at.broker.declare(&topology, Mode::Ensure).await.unwrap_err();
        let TopologyError::Forbidden { what, reason } = &error else { panic!("{error:?}") };
        assert_eq!(*what, format!("{kind} `{name}`"));
        let said = format!("{kind} name '{name}' contains reserved prefix 'amq.*'");
        assert!(reason.contains(&said), "{reason}");
    }
}

pub(super) async fn the_server_names_exclusive_queues(at: Fixture) {
    let shout = at.exchange("shout", ExchangeKind::Fanout).await;
    let queue = Queue { exclusive: true, durable: false, ..Queue::durable("") };
    let consume = Consume {
        topology: Topology {
            queues: vec![queue.clone()],
            bindings: vec![binding(&shout, "", "")],
            ..Topology::default()
        },
        queue,
        mode: Mode::Ensure,
        prefetch: 10,
    };
    let mut subscriptions = [(); 2].map(|()| at.broker.subscribe(consume.clone()));
    let mut names = Vec::new();
    for subscription in &mut subscriptions {
        names.push(live(subscription).await);
    }
    assert!(names.iter().all(|name| name.starts_with("amq.gen-")), "{names:?}");
    assert_ne!(names[0], names[1]);
    at.publish(&shout, "", "to all").await;
    for (subscription, name) in subscriptions.iter_mut().zip(&names) {
        let delivery = next(subscription).await;
        assert_eq!((body(&delivery), &delivery.event.queue), ("to all", name));
    }
    drop(subscriptions);
    // Nobody can consume them any more, so that they must not go on filling up.
    for name in names {
        gone(&at, &name).await;
    }
}

fn exchange(name: String, kind: Option<ExchangeKind>) -> Exchange {
    Exchange { name, kind, durable: true, auto_delete: false }
}
