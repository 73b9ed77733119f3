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
    /// no such part, or one without a value: nothing, `null` or an empty text.
    pub fn of(&self, event: &Event) -> Option<String> {
        match self {
            Self::Header(name) => {
                let field = event.properties.headers.get(name)?;
                match (field, field.as_integer()) {
                    (Field::Void, _) => None,
                    (Field::Text(text), _) => (!text.is_empty()).then(|| format!("{text:?}")),
                    (Field::Bytes(bytes), _) if bytes.is_empty() => None,
                    (_, Some(number)) => Some(number.to_string()),
                    (other, None) => Some(format!("{other:?}")),
                }
            }
            Self::Json(pointer) => {
                let body = serde_json::from_slice::<serde_json::Value>(&event.body).ok()?;
                let value = body.pointer(pointer)?;
                (!value.is_null() && value.as_str() != Some("")).then(|| value.to_string())
            }
        }
    }
}
