//! `[dedupe]`: which events are the same, and for how long the host knows that it has handled them.

use super::written::{Section, Value};
use super::{Key, Reader};
use crate::flow::Event;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How events are recognized that were handled before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedupe {
    /// What they have in common; `None`: message-id, exchange, routing key and body.
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
            Self::MessageId => event.properties.message_id.clone(),
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
