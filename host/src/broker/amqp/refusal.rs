//! What the broker said when it refused a request of the set-up, taken apart. Next in the flow:
//! [`super::declare`], which decides by it whether what is there will do.

use super::error::{code, words};
use crate::broker::{Difference, Name, TopologyError};
use crate::flow::Field;

/// A request that was not granted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    /// AMQP's code; `None` if it is not the broker that complains.
    pub(super) code: Option<u16>,
    /// The cause, in the broker's words if they are the broker's.
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn is_missing(&self) -> bool {
        self.code == Some(404)
    }

    /// A queue is there, on a node that is not.
    pub(super) fn is_away(&self) -> bool {
        self.text.contains("down or inaccessible")
    }

    /// Something leads there or is used by somebody.
    pub(super) fn is_in_use(&self) -> bool {
        self.code == Some(406) && self.text.contains("in use")
    }

    /// As an error about `what`.
    pub(super) fn about(self, what: String) -> TopologyError {
        let Self { code, text } = self;
        match code {
            Some(406) if text.contains("inequivalent") => {
                TopologyError::Mismatch { what, difference: text }
            }
            Some(403) => TopologyError::Forbidden { what, reason: text },
            // A binding names two things; the broker says which of them is missing.
            Some(404) => TopologyError::Missing { what: missing(&text).unwrap_or(what) },
            _ => TopologyError::Other { what, reason: text },
        }
    }

    /// The setting that differs, if that is what the broker complains about.
    pub(super) fn difference(&self) -> Option<Difference> {
        (self.code == Some(406)).then(|| difference(&self.text)).flatten()
    }

    /// What the user has no permission for, if that is it.
    pub(super) fn protected(&self) -> Option<Name> {
        (self.code == Some(403)).then(|| protected(&self.text)).flatten()
    }
}

impl From<lapin::Error> for Refusal {
    fn from(error: lapin::Error) -> Self {
        let text = words(&error);
        // `PRECONDITION_FAILED - ` only repeats the code.
        let text = text.split_once(" - ").map_or(text.as_str(), |(_, text)| text);
        Self { code: code(&error), text: text.to_owned() }
    }
}

/// E.g. ``exchange `shop` `` from `no exchange 'shop' in vhost '/'`.
fn missing(text: &str) -> Option<String> {
    let (what, rest) = text.strip_prefix("no ")?.split_once(" '")?;
    let (name, _) = rest.split_once("' in vhost")?;
    Some(format!("{what} `{name}`"))
}

/// Reads `inequivalent arg 'NAME' for queue 'Q' in vhost 'V': received X but current is Y`.
fn difference(text: &str) -> Option<Difference> {
    let (_, rest) = text.split_once("inequivalent arg '")?;
    let (setting, rest) = rest.split_once('\'')?;
    let (_, rest) = rest.rsplit_once(": received ")?;
    let (stated, current) = rest.rsplit_once(" but current is ")?;
    let setting = setting.to_owned();
    Some(Difference { setting, stated: side(stated)?, current: side(current)? })
}

/// Reads `access to queue 'Q' in vhost 'V' refused for user 'U'`; newer brokers say of the right
/// before it.
fn protected(text: &str) -> Option<Name> {
    let (_, rest) = text.split_once("access to ")?;
    let (kind, rest) = rest.split_once(" '")?;
    let (name, _) = rest.split_once("' in vhost '")?;
    match kind {
        "queue" => Some(Name::Queue(name.to_owned())),
        "exchange" => Some(Name::Exchange(name.to_owned())),
        _ => None,
    }
}

/// `none`, `'VALUE'`, or `the value 'VALUE' of type 'TYPE'`; `None` if it is neither.
fn side(text: &str) -> Option<Option<Field>> {
    if text == "none" {
        return Some(None);
    }
    let (value, kind) = match text.strip_prefix("the value '") {
        Some(rest) => rest.rsplit_once("' of type ")?,
        None => (text.strip_prefix('\'')?.strip_suffix('\'')?, ""),
    };
    Some(Some(match (value, kind.trim_matches('\'')) {
        ("true", "bool" | "") => Field::Bool(true),
        ("false", "bool" | "") => Field::Bool(false),
        (
            number,
            "long" | "signedint" | "short" | "byte" | "unsignedint" | "unsignedshort"
            | "unsignedbyte",
        ) => Field::I64(number.parse().ok()?),
        (text, _) => Field::Text(text.to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_words_are_taken_apart() {
        let text = |text: &str| Some(Field::Text(text.to_owned()));
        let table = [
            (
                "inequivalent arg 'durable' for queue 'e7' in vhost '/': received 'false' but current is 'true'",
                "durable",
                Some(Field::Bool(false)),
                Some(Field::Bool(true)),
            ),
            (
                "inequivalent arg 'type' for exchange 'e' in vhost '/': received 'topic' but current is 'direct'",
                "type",
                text("topic"),
                text("direct"),
            ),
            (
                "inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received none but current is the value 'quorum' of type 'longstr'",
                "x-queue-type",
                None,
                text("quorum"),
            ),
            (
                "inequivalent arg 'x-max-length' for queue 'a' for queue 'b' in vhost '/': received the value '10' of type 'signedint' but current is the value '5' of type 'long'",
                "x-max-length",
                Some(Field::I64(10)),
                Some(Field::I64(5)),
            ),
            (
                "inequivalent arg 'x-expires' for queue 'q' in vhost '/': received the value '1' of type 'long' but current is none",
                "x-expires",
                Some(Field::I64(1)),
                None,
            ),
        ];
        for (words, setting, stated, current) in table {
            let setting = setting.to_owned();
            assert_eq!(difference(words), Some(Difference { setting, stated, current }), "{words}");
        }
        assert_eq!(difference("invalid arg 'x-max-length' for queue 'q'"), None);
    }

    #[test]
    fn a_refusal_names_what_is_missing() {
        let refusal = Refusal { code: Some(404), text: "no exchange 'shop' in vhost '/'".into() };
        let error = refusal.about("binding of queue `orders`".into());
        assert_eq!(error, TopologyError::Missing { what: "exchange `shop`".into() });
    }

    #[test]
    fn a_refusal_names_what_a_permission_is_lacking_for() {
        let queue = Some(Name::Queue("it's".into()));
        let table = [
            ("access to queue 'it's' in vhost '/' refused for user 'u'", queue.clone()),
            ("write access to queue 'it's' in vhost '/' refused for user 'u'", queue),
            (
                "access to exchange 'amq.default' in vhost '/' refused for user 'u'",
                Some(Name::Exchange("amq.default".into())),
            ),
            ("operation not permitted on the default exchange", None),
            ("queue name 'amq.q' contains reserved prefix 'amq.*'", None),
        ];
        for (text, expected) in table {
            let refusal = Refusal { code: Some(403), text: text.to_owned() };
            assert_eq!(refusal.protected(), expected, "{text}");
        }
    }
}
