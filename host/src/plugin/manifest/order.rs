//! `order-by`: which events of a queue are handled one after the other, in the order in which they
//! came.

use super::Reader;
use super::written::{Section, Value};
use crate::flow::{Event, Field};
use std::hash::{DefaultHasher, Hash, Hasher};

/// What events have in common that are in order with each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderBy {
    /// The queue: all of them.
    Queue,
    /// The routing key.
    RoutingKey,
    /// The value of this header; those without it are in order with each other.
    Header(String),
    /// What the body has at this JSON pointer; those without it are in order with each other.
    Json(String),
}

impl OrderBy {
    /// A number that is the same for events in order with each other. Others may share it by
    /// chance, and then wait for each other.
    pub fn key(&self, event: &Event) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Queue => {}
            Self::RoutingKey => event.routing_key.hash(&mut hasher),
            Self::Header(name) => match event.properties.headers.get(name) {
                Some(Field::Text(text)) => text.hash(&mut hasher),
                Some(field) => match field.as_integer() {
                    // Whatever its width.
                    Some(number) => number.hash(&mut hasher),
                    None => format!("{field:?}").hash(&mut hasher),
                },
                None => {}
            },
            Self::Json(pointer) => {
                let body = serde_json::from_slice::<serde_json::Value>(&event.body);
                let found = body.ok().and_then(|body| body.pointer(pointer).map(|v| v.to_string()));
                found.hash(&mut hasher);
            }
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
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let parsed = match order.as_str() {
            "none" => return None,
            "queue" => Some(OrderBy::Queue),
            "routing-key" => Some(OrderBy::RoutingKey),
            other => match other.split_once(':') {
                Some(("header", name)) => named(name).map(OrderBy::Header),
                Some(("json", pointer)) if pointer.starts_with('/') => {
                    named(pointer).map(OrderBy::Json)
                }
                _ => None,
            },
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
    use crate::flow::Properties;

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
            properties: Properties { headers, ..Properties::default() },
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn events_with_the_same_in_common_have_the_same_key() {
        let text = |text: &str| Some(Field::Text(text.to_owned()));
        let header = OrderBy::Header("tenant".to_owned());
        let json = OrderBy::Json("/order/id".to_owned());
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
