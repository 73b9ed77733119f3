//! Takes secrets out of what a guest says: its log, its reasons.

use super::secrets::Secret;
use crate::flow::Outcome;
use std::borrow::Cow;
use std::fmt;

/// What is shorter is found in too much that is no secret.
const BYTES_MIN: usize = 8;

/// The secrets of a plugin, to be found in its words.
#[derive(Clone, Default)]
pub struct Redact {
    /// Longest first, with the name of each.
    needles: Vec<(Secret, String)>,
}

impl fmt::Debug for Redact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redact of {}", self.needles.len())
    }
}

impl Redact {
    /// Of these secrets, each with its name; of those with several lines each line alone, too, since
    /// logs go line by line.
    pub fn new(secrets: Vec<(String, Secret)>) -> Self {
        let mut needles = Vec::new();
        for (name, secret) in secrets {
            let whole = secret.reveal().trim_end();
            let lines = whole.lines().map(str::trim).chain([whole]);
            for text in lines.filter(|text| text.len() >= BYTES_MIN) {
                needles.push((Secret::new(text.to_owned()), name.clone()));
            }
        }
        needles.sort_by_key(|(needle, _)| std::cmp::Reverse(needle.reveal().len()));
        Self { needles }
    }

    /// The length of the longest secret, in bytes.
    pub fn longest(&self) -> usize {
        self.needles.first().map_or(0, |(needle, _)| needle.reveal().len())
    }

    /// `text` with `[secret NAME]` in place of each secret.
    pub fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = Cow::Borrowed(text);
        for (needle, name) in &self.needles {
            if text.contains(needle.reveal()) {
                text = text.replace(needle.reveal(), &format!("[secret {name}]")).into();
            }
        }
        text
    }

    /// The same for the reason of an outcome.
    pub fn outcome(&self, mut outcome: Outcome) -> Outcome {
        let reason = match &mut outcome {
            Outcome::Ok(_) => return outcome,
            Outcome::Reject(reason) | Outcome::Drop(reason) => reason,
            Outcome::Retry { reason, .. }
            | Outcome::Unavailable { reason, .. }
            | Outcome::Failed { reason, .. }
            | Outcome::Refused { reason, .. } => reason,
        };
        if let Cow::Owned(redacted) = self.text(reason) {
            *reason = redacted;
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_of_what_is_said() {
        let secret = |name: &str, text: &str| (name.to_owned(), Secret::new(text.to_owned()));
        let redact = Redact::new(vec![
            secret("KEY", "swordfish"),
            secret("LONG", "swordfish-and-chips"),
            secret("PIN", "1234567"),
            secret("PEM", "-----BEGIN-----\nabcdefghijkl\n=\n"),
        ]);
        let table = [
            ("nothing", "nothing"),
            ("a swordfish, a swordfish", "a [secret KEY], a [secret KEY]"),
            ("swordfish-and-chips", "[secret LONG]"),
            ("1234567 is too short", "1234567 is too short"),
            ("line abcdefghijkl", "line [secret PEM]"),
            ("-----BEGIN-----\nabcdefghijkl\n=", "[secret PEM]"),
        ];
        for (said, expected) in table {
            assert_eq!(redact.text(said), expected);
            let outcome = redact.outcome(Outcome::Reject(said.to_owned()));
            assert_eq!(outcome, Outcome::Reject(expected.to_owned()));
        }
        assert_eq!(redact.longest(), "-----BEGIN-----\nabcdefghijkl\n=".len());
    }
}
