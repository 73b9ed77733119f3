//! A message inside the broker, and what becomes of it when it dies: the headers and the next
//! exchange, as RabbitMQ 3.10 does it. Next: [`super::queue`], where messages wait.

use super::settings::DeadLetter;
use crate::flow::{Field, Headers, Properties, Publication};
use std::time::Duration;

/// A message, with its routing keys read.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub exchange: String,
    /// The publisher's routing key, then those of `CC` and `BCC`.
    pub keys: Vec<String>,
    pub properties: Properties,
    pub body: Vec<u8>,
}

/// Why a message left its queue without having been settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    Expired,
    Overflow,
    DeliveryLimit,
}

impl Death {
    /// As `x-death` has it.
    fn name(self) -> &'static str {
        match self {
            Death::Expired => "expired",
            Death::Overflow => "maxlen",
            Death::DeliveryLimit => "delivery_limit",
        }
    }
}

impl Message {
    /// Takes `BCC` out, as the broker does. The error is in the broker's words.
    pub fn new(publication: Publication) -> Result<Self, String> {
        let Publication { exchange, routing_key, mut properties, body } = publication;
        short("the exchange", &exchange)?;
        short("the routing key", &routing_key)?;
        let mut keys = vec![routing_key];
        keys.extend(carbon_copies(properties.headers.get("CC"))?);
        keys.extend(carbon_copies(properties.headers.take("BCC").as_ref())?);
        let message = Self { exchange, keys, properties, body };
        message.expiration()?;
        Ok(message)
    }

    /// Its own time to live.
    pub fn expiration(&self) -> Result<Option<Duration>, String> {
        let Some(text) = &self.properties.expiration else {
            return Ok(None);
        };
        match text.parse() {
            Ok(ms) => Ok(Some(Duration::from_millis(ms))),
            Err(error) => {
                Err(format!("PRECONDITION_FAILED - invalid expiration '{text}': {error}"))
            }
        }
    }

    /// What is published to the dead-letter exchange when this dies in `queue`, at `time` in
    /// seconds since the Unix epoch.
    pub fn dead(&self, queue: &str, death: Death, to: &DeadLetter, time: u64) -> Self {
        let mut properties = self.properties.clone();
        let expiration = properties.expiration.take();
        let mut record = Headers::default();
        record.set("count", Field::I64(1));
        record.set("exchange", self.exchange.as_str());
        if let Some(expiration) = expiration {
            record.set("original-expiration", expiration);
        }
        record.set("queue", queue);
        record.set("reason", death.name());
        // Without the keys of `BCC`, which were for nobody's eyes.
        let mut keys: Vec<_> = self.keys.iter().take(1).cloned().map(Field::Text).collect();
        if let Some(Field::Array(copies)) = properties.headers.get("CC") {
            keys.extend(copies.iter().cloned());
        }
        record.set("routing-keys", Field::Array(keys));
        record.set("time", Field::Timestamp(time));
        add_record(&mut properties.headers, record, &self.exchange, queue, death);
        let keys = match &to.routing_key {
            Some(key) => {
                properties.headers.take("CC");
                vec![key.clone()]
            }
            None => self.keys.clone(),
        };
        Self { exchange: to.exchange.clone(), keys, properties, body: self.body.clone() }
    }

    /// Whether this died in `queue` before and has only come round by itself since: such a message
    /// is dropped, or it would go round for ever.
    pub fn goes_round(&self, queue: &str) -> bool {
        let deaths = deaths(&self.properties.headers);
        let Some(last) = deaths.iter().position(|death| is(death, "queue", queue)) else {
            return false;
        };
        deaths.iter().take(last + 1).all(|death| !is(death, "reason", "rejected"))
    }
}

/// AMQP's limit to names, which has to be felt before a real broker says so.
fn short(what: &str, text: &str) -> Result<(), String> {
    match text.len() {
        0..256 => Ok(()),
        length => Err(format!("{what} has {length} bytes, AMQP allows 255")),
    }
}

fn carbon_copies(header: Option<&Field>) -> Result<Vec<String>, String> {
    let keys = match header {
        None => Some(Vec::new()),
        Some(Field::Array(keys)) => {
            keys.iter().map(|key| key.as_text().map(str::to_owned)).collect()
        }
        Some(_) => None,
    };
    keys.ok_or_else(|| {
        "PRECONDITION_FAILED - invalid message: unacceptable type in `CC` or `BCC`".to_owned()
    })
}

/// Puts `record` first, or counts on if the message died here for this reason before.
fn add_record(headers: &mut Headers, record: Headers, exchange: &str, queue: &str, death: Death) {
    let mut deaths = match headers.take("x-death") {
        Some(Field::Array(deaths)) => deaths,
        _ => {
            headers.set("x-first-death-exchange", exchange);
            headers.set("x-first-death-queue", queue);
            headers.set("x-first-death-reason", death.name());
            Vec::new()
        }
    };
    let earlier = deaths
        .iter()
        .position(|death_| is(death_, "queue", queue) && is(death_, "reason", death.name()));
    let first = match earlier.map(|at| deaths.remove(at)) {
        Some(Field::Table(mut earlier)) => {
            let count = earlier.get("count").and_then(Field::as_integer).unwrap_or(0);
            earlier.set("count", Field::I64(count.saturating_add(1)));
            earlier
        }
        _ => record,
    };
    deaths.insert(0, Field::Table(first));
    headers.set("x-death", Field::Array(deaths));
}

fn deaths(headers: &Headers) -> &[Field] {
    match headers.get("x-death") {
        Some(Field::Array(deaths)) => deaths,
        _ => &[],
    }
}

fn is(death: &Field, name: &str, value: &str) -> bool {
    let Field::Table(death) = death else {
        return false;
    };
    death.get(name).and_then(Field::as_text) == Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: Headers) -> Message {
        let properties = Properties { headers, ..Properties::default() };
        let publication = Publication {
            exchange: "shop".to_owned(),
            routing_key: "order".to_owned(),
            properties,
            body: b"1".to_vec(),
        };
        Message::new(publication).unwrap()
    }

    fn to(exchange: &str, routing_key: Option<&str>) -> DeadLetter {
        let routing_key = routing_key.map(str::to_owned);
        DeadLetter { exchange: exchange.to_owned(), routing_key }
    }

    fn field<'a>(message: &'a Message, record: usize, name: &str) -> &'a Field {
        let Field::Table(record) = &deaths(&message.properties.headers)[record] else { panic!() };
        record.get(name).unwrap()
    }

    #[test]
    fn a_dead_message_tells_where_and_why_it_died() {
        let mut alive = message(Headers::default());
        alive.properties.expiration = Some("10".to_owned());
        let dead = alive.dead("orders", Death::Expired, &to("dlx", None), 77);
        assert_eq!((dead.exchange.as_str(), &dead.keys[..]), ("dlx", &["order".to_owned()][..]));
        assert_eq!(dead.properties.expiration, None);
        assert_eq!(field(&dead, 0, "original-expiration"), &"10".into());
        assert_eq!(field(&dead, 0, "count"), &Field::I64(1));
        assert_eq!(field(&dead, 0, "reason"), &"expired".into());
        assert_eq!(field(&dead, 0, "time"), &Field::Timestamp(77));
        let headers = &dead.properties.headers;
        assert_eq!(headers.get("x-first-death-exchange"), Some(&"shop".into()));
        assert_eq!(headers.get("x-first-death-queue"), Some(&"orders".into()));
        assert_eq!(headers.get("x-first-death-reason"), Some(&"expired".into()));
    }

    #[test]
    fn a_second_death_comes_first_and_the_same_one_counts() {
        let once = message(Headers::default()).dead("a", Death::Expired, &to("", Some("b")), 1);
        let twice = once.dead("b", Death::Overflow, &to("", Some("a")), 2);
        assert_eq!(field(&twice, 0, "queue"), &"b".into());
        let again = twice.dead("a", Death::Expired, &to("", Some("b")), 3);
        assert_eq!(deaths(&again.properties.headers).len(), 2);
        assert_eq!(field(&again, 0, "queue"), &"a".into());
        assert_eq!(field(&again, 0, "count"), &Field::I64(2));
        assert_eq!(again.properties.headers.get("x-first-death-reason"), Some(&"expired".into()));
    }

    #[test]
    fn only_a_rejection_breaks_a_cycle() {
        let dead = message(Headers::default()).dead("a", Death::Expired, &to("", Some("b")), 1);
        assert!(dead.goes_round("a"));
        assert!(!dead.goes_round("b"));
        let rejected: Headers = [("queue", "a"), ("reason", "rejected")].into_iter().collect();
        let deaths = Field::Array(vec![Field::Table(rejected)]);
        assert!(!message([("x-death", deaths)].into_iter().collect()).goes_round("a"));
    }

    #[test]
    fn copies_are_more_routing_keys() {
        let keys =
            |names: &[&str]| Field::Array(names.iter().map(|name| Field::from(*name)).collect());
        let headers = [("CC", keys(&["c"])), ("BCC", keys(&["b"]))].into_iter().collect();
        let alive = message(headers);
        assert_eq!(alive.keys, ["order", "c", "b"]);
        assert_eq!(alive.properties.headers.get("BCC"), None);
        let dead = alive.dead("q", Death::Overflow, &to("dlx", Some("k")), 1);
        assert_eq!(dead.keys, ["k"]);
        assert_eq!(dead.properties.headers.get("CC"), None);
        assert_eq!(field(&dead, 0, "routing-keys"), &keys(&["order", "c"]));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let text: Headers = [("CC", "c")].into_iter().collect();
        let bad = |properties| {
            Message::new(Publication { properties, ..Publication::default() }).unwrap_err()
        };
        let expiration = Some("soon".to_owned());
        assert!(bad(Properties { expiration, ..Properties::default() }).contains("soon"));
        assert!(bad(Properties { headers: text, ..Properties::default() }).contains("CC"));
    }
}
