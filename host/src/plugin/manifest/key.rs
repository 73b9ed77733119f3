//! `header:NAME` and `json:/POINTER`: parts of events by which they are told apart, for `order-by` and
//! `[dedupe] key`. Next: `order` and `dedupe`.

use crate::flow::{Event, Field};

/// A part of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// The value of this header.
    Header(String),
    /// What the body has at this JSON pointer.
    Json(String),
}

impl Key {
    /// What `text` says, if it is the name of a part.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("header", name) if !name.is_empty() => Some(Self::Header(name.to_owned())),
            ("json", pointer) if pointer.starts_with('/') => Some(Self::Json(pointer.to_owned())),
            _ => None,
        }
    }

    /// A text that is the same for equal values, whatever the width of a number; `None` if `event` has
    /// no such part.
    pub fn of(&self, event: &Event) -> Option<String> {
        match self {
            Self::Header(name) => {
                event.properties.headers.get(name).map(|field| match (field, field.as_integer()) {
                    (Field::Text(text), _) => format!("{text:?}"),
                    (_, Some(number)) => number.to_string(),
                    (other, None) => format!("{other:?}"),
                })
            }
            Self::Json(pointer) => {
                let body = serde_json::from_slice::<serde_json::Value>(&event.body).ok()?;
                body.pointer(pointer).map(ToString::to_string)
            }
        }
    }
}
