//! Between a message on the wire and an [`Event`]: takes out what the host and the broker added on
//! the way, and ([`stash`]) puts out of action what must not act while the host moves an event.
//! Next: [`super::memory`] and [`super::amqp`], which turn every delivery into an event here.

use crate::flow::{Event, Field, Headers, Properties};
use std::time::{SystemTime, UNIX_EPOCH};

/// The attempt that a delivery of this message is, an integer from 1.
pub const ATTEMPT: &str = "x-wabbit-attempt";
/// When a host first received the event, an integer: milliseconds since the Unix epoch.
pub const FIRST_SEEN: &str = "x-wabbit-first-seen";
/// What the host knows the event by, a text; only where it needs to recognize it.
pub const ID: &str = "x-wabbit-id";
/// A table of what [`stash`] put away.
pub const ORIGINAL: &str = "x-wabbit-original";

/// In that table: records of dead-lettering were put away too, so that all there are now were added
/// on the way.
const DEATHS: &str = "deaths";

/// How often a quorum queue took the message back; absent at first.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// The same, with what was given back for no fault of the event's (RabbitMQ 4.3).
const ACQUIRED_COUNT: &str = "x-acquired-count";

/// A message as a broker delivered it.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// As in `basic.deliver`; empty for the default exchange.
    pub exchange: String,
    /// As in `basic.deliver`.
    pub routing_key: String,
    /// The queue that it was consumed from.
    pub queue: String,
    /// As in `basic.deliver`.
    pub redelivered: bool,
    /// With all headers, the broker's and the host's own too.
    pub properties: Properties,
    /// The payload.
    pub body: Vec<u8>,
}

impl Arrival {
    /// The event as it was first published: what was [stashed](stash) is back in its place, and
    /// the headers that the host and the broker count with have become `attempt`, `first_seen` and `id`.
    /// The broker's count is the floor of the attempt, so that an event which kills the host ends
    /// too. Headers are sorted by name.
    pub fn into_event(mut self) -> Event {
        self.restore();
        let headers = &mut self.properties.headers;
        let mut count = |name| {
            let count = headers.take(name).and_then(|field| field.as_integer()).unwrap_or(0);
            u32::try_from(count.max(0)).unwrap_or(u32::MAX)
        };
        let (attempt, returned) = (count(ATTEMPT).max(1), count(DELIVERY_COUNT));
        let first_seen = headers.take(FIRST_SEEN).and_then(|field| field.as_integer());
        headers.take(ACQUIRED_COUNT);
        let id = headers.take(ID).and_then(|field| field.as_text().map(str::to_owned));
        headers.0.sort_by(|(a, _), (b, _)| a.cmp(b));
        Event {
            exchange: self.exchange,
            routing_key: self.routing_key,
            queue: self.queue,
            redelivered: self.redelivered,
            attempt,
            returned,
            first_seen: first_seen.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_else(now_ms),
            id,
            properties: self.properties,
            body: self.body,
        }
    }

    fn restore(&mut self) {
        let properties = &mut self.properties;
        let Some(Field::Table(original)) = properties.headers.get(ORIGINAL) else {
            // Somebody else's header of that name, if any: not ours to take.
            return;
        };
        let mut original = original.clone();
        properties.headers.take(ORIGINAL);
        if original.take(DEATHS) == Some(Field::Bool(true)) {
            // Those of the delay queue: earlier ones were put away.
            properties.headers.0.retain(|(name, _)| !tells_of_death(name));
        }
        let mut text = |name| match original.take(name) {
            Some(Field::Text(text)) => Some(text),
            _ => None,
        };
        if let Some(exchange) = text("exchange") {
            self.exchange = exchange;
        }
        if let Some(routing_key) = text("routing-key") {
            self.routing_key = routing_key;
        }
        properties.expiration = text("expiration").or(properties.expiration.take());
        properties.user_id = text("user-id").or(properties.user_id.take());
        if let Some(Field::Table(saved)) = original.take("headers") {
            for (name, value) in saved.0 {
                properties.headers.set(&name, value);
            }
        }
    }
}

/// Makes an event fit to wait in a delay queue: puts the exchange and routing key that it was
/// published with, and whatever would act on the way, into the header `x-wabbit-original`, from
/// where [`Arrival::into_event`] puts it back. Besides what [`disarm`] puts there, that is the
/// broker's records of earlier dead-lettering: it drops what it takes for a cycle.
pub fn stash(properties: &mut Properties, exchange: &str, routing_key: &str) {
    put_away(properties, exchange, routing_key, true);
}

/// Makes an event fit to become a dead letter: like [`stash`], but only what would act there, and
/// nothing at all if there is none. What acts is `expiration` (it would be lost), `user-id` (the
/// broker refuses another user's), `CC` and `BCC` (copies for others).
pub fn disarm(properties: &mut Properties, exchange: &str, routing_key: &str) {
    let headers = properties.headers.0.iter().any(|(name, _)| acts(name));
    if headers || properties.expiration.is_some() || properties.user_id.is_some() {
        put_away(properties, exchange, routing_key, false);
    }
}

fn put_away(properties: &mut Properties, exchange: &str, routing_key: &str, deaths: bool) {
    let away = |name: &str| acts(name) || name == ORIGINAL || deaths && tells_of_death(name);
    let headers = std::mem::take(&mut properties.headers.0).into_iter();
    let (acting, rest) = headers.partition(|(name, _)| away(name));
    properties.headers = Headers(rest);
    let mut original = Headers::default();
    original.set("exchange", exchange);
    original.set("routing-key", routing_key);
    if let Some(expiration) = properties.expiration.take() {
        original.set("expiration", expiration);
    }
    if let Some(user_id) = properties.user_id.take() {
        original.set("user-id", user_id);
    }
    original.set("headers", Field::Table(Headers(acting)));
    original.set(DEATHS, Field::Bool(deaths));
    properties.headers.set(ORIGINAL, Field::Table(original));
}

/// Whether the header `name` makes the broker send copies elsewhere.
fn acts(name: &str) -> bool {
    name == "CC" || name == "BCC"
}

/// Whether the broker writes the header `name` when it dead-letters.
fn tells_of_death(name: &str) -> bool {
    name == "x-death" || name.starts_with("x-first-death-") || name.starts_with("x-last-death-")
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(headers: &[(&str, Field)]) -> Arrival {
        let headers = headers.iter().map(|(name, value)| (*name, value.clone())).collect();
        Arrival {
            exchange: "shop".to_owned(),
            routing_key: "order.placed".to_owned(),
            queue: "orders".to_owned(),
            redelivered: false,
            properties: Properties { headers, ..Properties::default() },
            body: b"{}".to_vec(),
        }
    }

    #[test]
    fn attempts_and_returns_are_counted_apart() {
        let int = Field::I64;
        type Sent<'a> = &'a [(&'a str, Field)];
        let cases: [(Sent<'_>, (u32, u32)); 7] = [
            (&[], (1, 0)),
            (&[(ATTEMPT, int(3))], (3, 0)),
            (&[(DELIVERY_COUNT, int(2))], (1, 2)),
            (&[(ATTEMPT, Field::U8(2)), (DELIVERY_COUNT, int(4))], (2, 4)),
            (&[(ATTEMPT, int(-7)), (DELIVERY_COUNT, int(-1))], (1, 0)),
            (&[(ATTEMPT, "two".into())], (1, 0)),
            (&[(ATTEMPT, int(i64::MAX)), (DELIVERY_COUNT, int(i64::MAX))], (u32::MAX, u32::MAX)),
        ];
        for (headers, expected) in cases {
            let event = arrival(headers).into_event();
            assert_eq!((event.attempt, event.returned), expected, "{headers:?}");
            assert!(event.properties.headers.is_empty(), "{headers:?}");
        }
    }

    #[test]
    fn first_seen_is_the_header_or_now() {
        assert_eq!(arrival(&[(FIRST_SEEN, Field::I64(1234))]).into_event().first_seen, 1234);
        let before = now_ms();
        for headers in [&[][..], &[(FIRST_SEEN, Field::I64(-1))], &[(FIRST_SEEN, Field::Void)]] {
            assert!(arrival(headers).into_event().first_seen >= before, "{headers:?}");
        }
    }

    #[test]
    fn the_id_of_the_host_is_taken_out() {
        for (header, id) in [(Field::from("7f"), Some("7f")), (Field::I8(7), None)] {
            let event = arrival(&[(ID, header)]).into_event();
            assert_eq!(event.id.as_deref(), id);
            assert!(event.properties.headers.is_empty());
        }
    }

    #[test]
    fn an_original_that_is_no_table_is_left_alone() {
        let event = arrival(&[(ORIGINAL, "mine".into())]).into_event();
        assert_eq!(event.properties.headers.get(ORIGINAL), Some(&"mine".into()));
        assert_eq!(event.exchange, "shop");
    }

    #[test]
    fn parts_of_an_original_that_make_no_sense_are_passed_over() {
        let original: Headers =
            [("exchange", Field::I8(1)), ("headers", Field::Bool(true)), ("else", Field::Void)]
                .into_iter()
                .collect();
        let event = arrival(&[(ORIGINAL, Field::Table(original))]).into_event();
        assert_eq!((event.exchange.as_str(), event.routing_key.as_str()), ("shop", "order.placed"));
        assert!(event.properties.headers.is_empty());
    }

    /// What a delay queue does: another exchange and key, a record of the death, no expiration.
    fn dead_lettered(mut properties: Properties) -> Arrival {
        assert_eq!(properties.expiration, None, "it would expire early");
        assert_eq!(properties.user_id, None, "the broker would refuse it");
        for name in ["CC", "BCC", "x-death", "x-first-death-queue", "x-last-death-queue"] {
            assert_eq!(properties.headers.get(name), None, "{name} would act");
        }
        properties.headers.set("x-death", Field::Array(vec![Field::Table(Headers::default())]));
        for name in ["x-first-death-exchange", "x-first-death-reason", "x-last-death-queue"] {
            properties.headers.set(name, "wabbit.delay.50");
        }
        properties.headers.set(ATTEMPT, Field::I64(2));
        Arrival {
            exchange: String::new(),
            routing_key: "orders".into(),
            properties,
            ..arrival(&[])
        }
    }

    #[test]
    fn a_dead_letter_keeps_all_that_does_not_act() {
        let death = ("x-death", Field::Void);
        let mut quiet = arrival(&[death.clone(), ("colour", "red".into())]).properties;
        let before = quiet.clone();
        disarm(&mut quiet, "shop", "order.placed");
        assert_eq!(quiet, before);

        let mut acting = arrival(&[("CC", Field::Void), death]).properties;
        acting.expiration = Some("60000".into());
        let before = acting.clone();
        disarm(&mut acting, "shop", "order.placed");
        assert_eq!((acting.expiration.as_ref(), acting.headers.get("CC")), (None, None));
        assert_eq!(acting.headers.get("x-death"), Some(&Field::Void));
        assert!(acting.headers.get(ORIGINAL).is_some());
        let received = Arrival { properties: acting, ..arrival(&[]) };
        assert_eq!(received.into_event().properties, before);
    }

    #[test]
    fn what_is_stashed_comes_back_exactly() {
        let deaths =
            Field::Array(vec![Field::Table([("count", Field::I64(3))].into_iter().collect())]);
        let cc = Field::Array(vec!["copy".into()]);
        let headers = [
            ("BCC", cc.clone()),
            ("CC", cc),
            ("colour", "red".into()),
            (ORIGINAL, "somebody else's".into()),
            ("x-death", deaths),
            ("x-first-death-exchange", "a".into()),
            ("x-first-death-queue", "b".into()),
            ("x-last-death-reason", "rejected".into()),
        ];
        // Every subset of the headers, with and without the properties that act.
        for chosen in 0..1u32 << (headers.len() + 2) {
            let has = |bit: usize| chosen >> bit & 1 == 1;
            let some = headers.iter().enumerate().filter(|(at, _)| has(*at));
            let mut before = arrival(&[]);
            before.properties.headers = some.map(|(_, (k, v))| (*k, v.clone())).collect();
            before.properties.headers.0.sort_by(|(a, _), (b, _)| a.cmp(b));
            before.properties.expiration = has(8).then(|| "60000".to_owned());
            before.properties.user_id = has(9).then(|| "alice".to_owned());
            before.properties.message_id = Some("m1".to_owned());

            let mut properties = before.properties.clone();
            stash(&mut properties, &before.exchange, &before.routing_key);
            let event = dead_lettered(properties).into_event();

            assert_eq!(event.properties, before.properties, "{chosen:b}");
            assert_eq!(event.exchange, before.exchange);
            assert_eq!(event.routing_key, before.routing_key);
            assert_eq!(event.attempt, 2);
        }
    }
}
