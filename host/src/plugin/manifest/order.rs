//! `order-by`: which events of a queue are handled one after the other, in the order in which they
//! came.

use super::written::{Section, Value};
use super::{Key, Reader};
use crate::flow::Event;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What events have in common that are in order with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderBy {
    /// The queue: all of them.
    Queue,
    /// The routing key.
    RoutingKey,
    /// This part; those without it are in order with each other.
    Part(Key),
}

impl OrderBy {
    /// A number that is the same for events in order with each other. Others may share it by
    /// chance, and then wait for each other.
    pub fn key(&self, event: &Event) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Queue => {}
            Self::RoutingKey => event.routing_key.hash(&mut hasher),
            Self::Part(key) => key.of(event).hash(&mut hasher),
        }
        hasher.finish()
    }
}

impl Reader<'_> {
    /// `None`: in no order.
    pub(super) fn order_by(&self, section: &Section<'_>) -> Option<OrderBy> {
        let key = "order-by";
        let node = section.node(key)?;
        let (Value::Text(order) | Value::Loose(order)) = &node.value else {
            section.wrong(key, format!("must be a string, is {}", node.value.kind()));
            return None;
        };
        let parsed = match order.as_str() {
            "none" => return None,
            "queue" => Some(OrderBy::Queue),
            "routing-key" => Some(OrderBy::RoutingKey),
            other => Key::parse(other).map(OrderBy::Part),
        };
        if parsed.is_none() {
            let rule = "must be `none`, `queue`, `routing-key`, `header:NAME` or `json:/POINTER`";
            section.wrong(key, format!("{rule}, is `{order}`"));
        }
        parsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Field, Properties};

    fn event(routing_key: &str, header: Option<Field>, body: &str) -> Event {
        let headers = header.into_iter().map(|field| ("tenant", field)).collect();
        Event {
            exchange: String::new(),
            routing_key: routing_key.to_owned(),
            queue: "orders".to_owned(),
            redelivered: false,
            attempt: 1,
            returned: 0,
            first_seen: 0,
            id: None,
            properties: Properties { headers, ..Properties::default() },
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn events_with_the_same_in_common_have_the_same_key() {
        let text = |text: &str| Some(Field::Text(text.to_owned()));
        let header = OrderBy::Part(Key::Header("tenant".to_owned()));
        let json = OrderBy::Part(Key::Json("/order/id".to_owned()));
        let one = r#"{"order":{"id":1}}"#;
        let table = [
            (&OrderBy::Queue, event("a", None, "x"), event("b", None, "y"), true),
            (&OrderBy::RoutingKey, event("a", None, "x"), event("a", None, "y"), true),
            (&OrderBy::RoutingKey, event("a", None, ""), event("b", None, ""), false),
            (&header, event("a", text("t"), ""), event("b", text("t"), ""), true),
            (&header, event("a", text("t"), ""), event("a", text("u"), ""), false),
            (&header, event("", Some(Field::I64(7)), ""), event("", Some(Field::I32(7)), ""), true),
            (&header, event("", None, ""), event("", text("t"), ""), false),
            (
                &json,
                event("", None, one),
                event("", None, r#"{ "order": { "id": 1 }, "n": 2 }"#),
                true,
            ),
            (&json, event("", None, one), event("", None, r#"{"order":{"id":2}}"#), false),
            (&json, event("", None, "no JSON"), event("", None, "{}"), true),
        ];
        for (order, a, b, same) in table {
            assert_eq!(order.key(&a) == order.key(&b), same, "{order:?}: {a:?} {b:?}");
        }
    }
}
