//! Events as publications: to a delay queue, from where they come again, and to a dead-letter
//! queue. What is published is the event as it came, with headers that say what happened. Next:
//! `outbound`, which publishes them.

use crate::broker::arrival::{self, ATTEMPT, FIRST_SEEN, ID};
use crate::broker::{
    Binding, Exchange, ExchangeKind, HeadersMatch, Mode, Queue, QueueType, Topology,
};
use crate::flow::{Event, Field, Headers, Outcome, Properties, Publication};
use crate::plugin::manifest::Subscription;
use crate::telemetry::text::printable;
use std::time::Duration;

/// What the names of delay queues and their exchanges begin with.
pub const DELAY_PREFIX: &str = "wabbit.delay.";

/// How long a delay queue that nobody publishes to any more is kept beyond its delay. It must be
/// far longer than `outbound` trusts that a queue which it declared is still there.
const UNUSED_MS: u64 = 600_000;

/// The longest reason that a dead letter carries, in bytes: headers share a frame with the
/// properties, 128 KiB by default.
const REASON_BYTES_MAX: usize = 4096;

/// Which headers a dead letter had to leave behind, as an array of names.
const CUT: &str = "x-wabbit-cut-headers";

/// How many of them are named, and how much of each name, in bytes.
const CUT_NAMES_MAX: usize = 20;
const CUT_NAME_BYTES_MAX: usize = 64;

/// Who ended an event, for the headers of its dead letter.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The plugin; empty if none was chosen.
    pub plugin: &'a str,
    /// The digest of its version.
    pub digest: &'a str,
    /// How.
    pub outcome: &'a Outcome,
}

/// A publication of the host's own, with what must be there to take it.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// What is published.
    pub publication: Publication,
    /// What is declared first; empty if that is not the host's to do.
    pub topology: Topology,
    /// How long it waits where it goes to, if it is to come back.
    pub delay: Option<Duration>,
}

/// What logs call `event`: its message-id, empty if it has none.
pub fn id(event: &Event) -> &str {
    event.properties.message_id.as_deref().unwrap_or_default()
}

/// Gives a message-id to each publication of a handler that has none, if the event has one or is `known`
/// by a name: the same at each attempt, so that receivers can tell copies.
pub fn name(publications: &mut [Publication], event: &Event, plugin: &str, known: Option<&str>) {
    for (index, publication) in publications.iter_mut().enumerate() {
        if publication.properties.message_id.is_some() {
            continue;
        }
        let names = [event.message_id(), known].into_iter().flatten();
        let mut names = names.map(|name| format!("{name}.{plugin}.{index}"));
        // AMQP's limit; a shortened id could be another's.
        publication.properties.message_id = names.find(|name| name.len() <= 255);
    }
}

/// `event` again, as this `attempt`, after `delay`, in the queue that it came from.
pub fn retry(event: &Event, attempt: u32, delay: Duration) -> Move {
    let topology = delay_topology(delay);
    let exchange = topology.exchanges.first().map(|exchange| exchange.name.clone());
    let mut properties = counted(event, attempt);
    arrival::stash(&mut properties, &event.exchange, &event.routing_key);
    let publication = Publication {
        exchange: exchange.unwrap_or_default(),
        // When the delay is over, the broker routes by this key on the default exchange.
        routing_key: event.queue.clone(),
        properties,
        body: event.body.clone(),
    };
    Move { publication, topology, delay: Some(delay) }
}

/// `event` as a dead letter of `subscription`.
pub fn dead_letter(event: &Event, subscription: &Subscription, ended: Ended<'_>) -> Move {
    let to = &subscription.dead_letter;
    let mut properties = counted(event, event.attempt);
    arrival::disarm(&mut properties, &event.exchange, &event.routing_key);
    say(&mut properties, event, ended);
    let publication = Publication {
        exchange: to.exchange.clone(),
        routing_key: to.routing_key.clone(),
        properties,
        body: event.body.clone(),
    };
    let ours = subscription.consume.mode == Mode::Ensure;
    let queues = to.queue.iter().filter(|_| ours).cloned().collect();
    Move { publication, topology: Topology { queues, ..Topology::default() }, delay: None }
}

/// Takes the largest header out of a dead letter that the broker does not take, and says which.
pub fn cut(letter: &mut Move) -> String {
    let headers = &mut letter.publication.properties.headers;
    let others = headers.0.iter().filter(|(name, _)| name != CUT);
    let largest = others.max_by_key(|(name, value)| name.len() + value.wire_size());
    let name = largest.map_or(CUT, |(name, _)| name.as_str()).to_owned();
    headers.take(&name);
    let mut names = match headers.take(CUT) {
        Some(Field::Array(names)) => names,
        _ => Vec::new(),
    };
    if names.len() < CUT_NAMES_MAX {
        names.push(Field::Text(printable(&name, CUT_NAME_BYTES_MAX).into_owned()));
    }
    headers.set(CUT, Field::Array(names));
    name
}

/// Says in headers why an event ended, under the names that Spring's users know.
fn say(properties: &mut Properties, event: &Event, ended: Ended<'_>) {
    let headers = &mut properties.headers;
    let reason = ended.outcome.reason();
    headers.set("x-exception-message", &*printable(reason, REASON_BYTES_MAX));
    headers.set("x-exception-type", ended.outcome.class());
    headers.set("x-original-exchange", event.exchange.as_str());
    headers.set("x-original-routingKey", event.routing_key.as_str());
    headers.set("x-wabbit-plugin", ended.plugin);
    headers.set("x-wabbit-digest", ended.digest);
}

fn counted(event: &Event, attempt: u32) -> Properties {
    let mut properties = event.properties.clone();
    properties.headers.set(ATTEMPT, Field::I64(attempt.into()));
    let first_seen = i64::try_from(event.first_seen).unwrap_or(i64::MAX);
    properties.headers.set(FIRST_SEEN, Field::I64(first_seen));
    if let Some(id) = &event.id {
        properties.headers.set(ID, id.as_str());
    }
    properties
}

/// The name of the delay queue for `delay`.
pub fn delay_queue(delay: Duration) -> String {
    format!("{DELAY_PREFIX}{}", delay.as_millis())
}

/// A queue in which messages wait for `delay`, and an exchange that leads to it whatever the
/// routing key: that one is kept for the way back. One for each delay, so that a short delay never
/// waits behind a long one. Durable whatever the queue served: RabbitMQ takes no others from 4.3 on,
/// unless they belong to one connection alone.
pub fn delay_topology(delay: Duration) -> Topology {
    let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    let name = delay_queue(delay);
    let milliseconds = |ms: u64| Field::I64(i64::try_from(ms).unwrap_or(i64::MAX));
    let arguments = [
        ("x-message-ttl", milliseconds(ms)),
        ("x-dead-letter-exchange", Field::from("")),
        ("x-expires", milliseconds(ms.saturating_add(UNUSED_MS))),
    ];
    let exchange = Exchange {
        name: name.clone(),
        kind: Some(ExchangeKind::Fanout),
        durable: true,
        auto_delete: true,
    };
    let waiting = Queue {
        // Quorum queues lose their timer (RabbitMQ 3.10: what expired stays for good), and go at the
        // end of `x-expires` however often they are declared, with what is in them.
        kind: Some(QueueType::Classic),
        arguments: arguments.into_iter().collect(),
        ..Queue::durable(name.clone())
    };
    let binding = Binding {
        exchange: name.clone(),
        queue: name,
        routing_key: String::new(),
        headers_match: HeadersMatch::None,
        headers: Headers::default(),
    };
    Topology { exchanges: vec![exchange], queues: vec![waiting], bindings: vec![binding] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Fault;

    fn event() -> Event {
        Event {
            exchange: "shop".into(),
            routing_key: "order.placed".into(),
            queue: "orders".into(),
            redelivered: false,
            attempt: 2,
            first_seen: 1234,
            id: None,
            returned: 0,
            properties: Properties { message_id: Some("m1".into()), ..Properties::default() },
            body: b"body".to_vec(),
        }
    }

    #[test]
    fn each_delay_has_its_delay_queue() {
        for (ms, name) in [(5000, "wabbit.delay.5000"), (800, "wabbit.delay.800")] {
            let moved = retry(&event(), 3, Duration::from_millis(ms));
            let Topology { exchanges, queues, bindings } = &moved.topology;
            assert_eq!((exchanges[0].name.as_str(), exchanges[0].durable), (name, true));
            assert_eq!((queues[0].name.as_str(), queues[0].durable), (name, true));
            assert_eq!(queues[0].kind, Some(QueueType::Classic));
            assert_eq!((bindings[0].exchange.as_str(), bindings[0].queue.as_str()), (name, name));
            let argument = |name| queues[0].arguments.get(name).and_then(Field::as_integer);
            assert_eq!(argument("x-message-ttl"), i64::try_from(ms).ok());
            assert!(argument("x-expires") > argument("x-message-ttl"), "it outlives its messages");
            let Publication { exchange, routing_key, .. } = &moved.publication;
            assert_eq!((exchange.as_str(), routing_key.as_str()), (name, "orders"));
        }
    }

    #[test]
    fn moves_say_what_happened_in_headers() {
        let retried = retry(&event(), 3, Duration::from_secs(1)).publication;
        assert_eq!(retried.properties.headers.get(ID), None);
        let known = Event { id: Some("7f".into()), ..event() };
        let moved = retry(&known, 3, Duration::from_secs(1)).publication;
        assert_eq!(moved.properties.headers.get(ID), Some(&"7f".into()));
        let attempt = |of: &Publication| of.properties.headers.get(ATTEMPT).cloned();
        assert_eq!(attempt(&retried), Some(Field::I64(3)));
        assert_eq!(retried.properties.headers.get(FIRST_SEEN), Some(&Field::I64(1234)));
        assert_eq!(retried.body, b"body");
        let outcome = Outcome::Failed { fault: Fault::Trap, reason: "why\u{1b}[0m".into() };
        let ended = Ended { plugin: "orders", digest: "abc", outcome: &outcome };
        let mut properties = counted(&event(), 2);
        say(&mut properties, &event(), ended);
        let header = |name| properties.headers.get(name).and_then(Field::as_text);
        assert_eq!(header("x-exception-type"), Some("trap"));
        assert!(header("x-exception-message").is_some_and(|why| !why.contains('\u{1b}')));
        assert_eq!(header("x-original-exchange"), Some("shop"));
        assert_eq!(header("x-original-routingKey"), Some("order.placed"));
        assert_eq!(header("x-wabbit-plugin"), Some("orders"));
        assert_eq!(header("x-wabbit-digest"), Some("abc"));
    }

    #[test]
    fn a_dead_letter_leaves_its_largest_headers_behind() {
        let headers = [("a", "x".repeat(300)), ("b", "x".repeat(900)), ("c", "x".repeat(600))];
        let properties =
            Properties { headers: headers.into_iter().collect(), ..Properties::default() };
        let publication = Publication { properties, ..Publication::default() };
        let mut letter = Move { publication, topology: Topology::default(), delay: None };
        assert_eq!([cut(&mut letter), cut(&mut letter)], ["b", "c"]);
        let headers = &letter.publication.properties.headers;
        assert_eq!(headers.get(CUT), Some(&Field::Array(vec!["b".into(), "c".into()])));
        assert!(headers.get("a").is_some() && headers.get("b").is_none());
    }

    #[test]
    fn publications_without_a_message_id_get_the_same_one_at_each_attempt() {
        let named = |given: Option<&str>, event: &Event, known: Option<&str>| {
            let mut publications = vec![Publication::default(), Publication::default()];
            publications[1].properties.message_id = given.map(str::to_owned);
            name(&mut publications, event, "orders", known);
            publications.remove(1).properties.message_id
        };
        let mut nameless = event();
        nameless.properties.message_id = None;
        let mut long = event();
        long.properties.message_id = Some("m".repeat(255));
        let mut empty = event();
        empty.properties.message_id = Some(String::new());
        let known = Some("7f");
        assert_eq!(named(None, &event(), known).as_deref(), Some("m1.orders.1"));
        assert_eq!(named(Some("own"), &event(), known).as_deref(), Some("own"));
        for event in [&nameless, &empty, &long] {
            assert_eq!(named(None, event, None), None);
            assert_eq!(named(None, event, known).as_deref(), Some("7f.orders.1"));
        }
    }
}
