//! `match`: which events of a queue a plugin takes, where several share the queue.

use super::Reader;
use super::queue::fields;
use super::written::Section;
use crate::flow::{Event, Headers, TopicPattern};

/// What an event must be for a plugin to take it; everything that is stated must fit.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Match {
    /// Exactly this content type.
    pub content_type: Option<String>,
    /// Exactly this `type` property.
    pub kind: Option<String>,
    /// A routing key that fits.
    pub routing_key: Option<TopicPattern>,
    /// These headers with these values; an integer's or float's width does not matter.
    pub headers: Headers,
}

impl Match {
    /// Whether `event` fits.
    pub fn fits(&self, event: &Event) -> bool {
        let same = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        same(&self.content_type, &event.properties.content_type)
            && same(&self.kind, &event.properties.kind)
            && self.routing_key.as_ref().is_none_or(|key| key.fits(&event.routing_key))
            && self.headers.0.iter().all(|(name, wanted)| {
                event.properties.headers.get(name).is_some_and(|value| wanted.same(value))
            })
    }

    /// Whether every event fits.
    pub fn is_catch_all(&self) -> bool {
        self.content_type.is_none()
            && self.kind.is_none()
            && self.routing_key.as_ref().is_none_or(TopicPattern::fits_all)
            && self.headers.is_empty()
    }
}

impl Reader<'_> {
    pub(super) fn matching(&self, section: &Section<'_>) -> Match {
        let routing_key = section.name("routing-key").and_then(|text| {
            let parsed = text.parse::<TopicPattern>();
            parsed
                .map_err(|error| {
                    section.wrong_with("routing-key", error_rule(&error), Some(error.hint()));
                })
                .ok()
        });
        Match {
            content_type: section.name("content-type"),
            kind: section.name("type"),
            routing_key,
            headers: fields(section, "headers"),
        }
    }
}

fn error_rule(error: &impl ToString) -> String {
    format!("is no pattern: {}", error.to_string())
}
