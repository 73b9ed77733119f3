//! `[dedupe]`: which events are the same, and for how long the host knows that it has handled them.

use super::written::{Section, Value};
use super::{Key, Reader};
use crate::flow::Event;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How events are recognized that were handled before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedupe {
    /// What they have in common; `None`: message-id, exchange, routing key, content-type, type and body.
    pub key: Option<DedupeKey>,
    /// How long one is remembered after it was handled.
    pub window: Duration,
}

/// What copies of an event have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DedupeKey {
    /// The message-id.
    MessageId,
    /// This part.
    Part(Key),
}

impl Default for Dedupe {
    fn default() -> Self {
        Self { key: None, window: DAY }
    }
}

impl DedupeKey {
    /// The value that copies of `event` have as well; `None` if it has none.
    pub fn of(&self, event: &Event) -> Option<String> {
        match self {
            Self::MessageId => event.message_id().map(str::to_owned),
            Self::Part(key) => key.of(event),
        }
    }
}

impl Reader<'_> {
    /// `None` if nothing was written.
    pub(super) fn dedupe(&self, section: &Section<'_>) -> Option<Dedupe> {
        let key = self.dedupe_key(section);
        let window = section.duration("window", Duration::from_secs(1)..=DAY * 30);
        section.stated().then(|| Dedupe { key, window: window.unwrap_or(DAY) })
    }

    fn dedupe_key(&self, section: &Section<'_>) -> Option<DedupeKey> {
        let node = section.node("key")?;
        let (Value::Text(text) | Value::Loose(text)) = &node.value else {
            section.wrong("key", format!("must be a string, is {}", node.value.kind()));
            return None;
        };
        let parsed = match text.as_str() {
            "message-id" => Some(DedupeKey::MessageId),
            other => Key::parse(other).map(DedupeKey::Part),
        };
        if parsed.is_none() {
            let rule = "must be `message-id`, `header:NAME` or `json:/POINTER`";
            section.wrong("key", format!("{rule}, is `{text}`"));
        }
        parsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Field;
    use serde_json::json;

    #[test]
    fn what_has_no_value_is_not_the_same_as_anything() {
        let id = || DedupeKey::MessageId;
        let header = || DedupeKey::Part(Key::Header("order".to_owned()));
        let body = || DedupeKey::Part(Key::Json("/order".to_owned()));
        let with =
            |field: Field| json!({ "properties": { "headers": { "order": field.to_json() } } });
        let table = [
            (id(), json!({}), None),
            (id(), json!({ "properties": { "message-id": "" } }), None),
            (id(), json!({ "properties": { "message-id": "m1" } }), Some("m1")),
            (header(), json!({}), None),
            (header(), with(Field::Void), None),
            (header(), with(Field::from("")), None),
            (header(), with(Field::Bytes(Vec::new())), None),
            (header(), with(Field::from("7")), Some("\"7\"")),
            (header(), with(Field::I8(0)), Some("0")),
            (header(), with(Field::Bool(false)), Some("Bool(false)")),
            (body(), json!({ "body": "no JSON" }), None),
            (body(), json!({ "body": {} }), None),
            (body(), json!({ "body": { "order": null } }), None),
            (body(), json!({ "body": { "order": "" } }), None),
            (body(), json!({ "body": { "order": 0 } }), Some("0")),
            (body(), json!({ "body": { "order": "7" } }), Some("\"7\"")),
        ];
        for (key, event, value) in table {
            let read = Event::from_json(event.clone()).unwrap();
            assert_eq!(key.of(&read).as_deref(), value, "{key:?}: {event}");
        }
    }
}
