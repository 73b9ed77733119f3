//! Patterns of routing keys, as topic exchanges have them; grants and `match` use the same.

use std::fmt::{self, Display};
use std::str::FromStr;

/// A pattern of words between dots, as a topic exchange has it: `*` is one word, `#` any number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPattern {
    words: Vec<String>,
}

impl TopicPattern {
    /// A pattern as a binding has it: whatever is no wildcard is a word.
    pub fn as_bound(text: &str) -> Self {
        Self { words: words(text).into_iter().map(str::to_owned).collect() }
    }

    /// Whether `key` fits.
    pub fn fits(&self, key: &str) -> bool {
        let key = words(key);
        let (mut at, mut word) = (0, 0);
        // Where to go on if what followed the last `#` did not fit: after the `#`, one word later.
        let mut again = None;
        while word < key.len() {
            match self.words.get(at).map(String::as_str) {
                Some("#") => {
                    again = Some((at + 1, word));
                    at += 1;
                }
                Some(wanted) if wanted == "*" || wanted == key[word] => {
                    at += 1;
                    word += 1;
                }
                _ => match again {
                    Some((after, taken)) => {
                        again = Some((after, taken + 1));
                        (at, word) = (after, taken + 1);
                    }
                    None => return false,
                },
            }
        }
        self.words[at..].iter().all(|rest| rest == "#")
    }

    /// The only key that fits; `None` if there are others.
    pub fn literal(&self) -> Option<String> {
        let wild = self.words.iter().any(|word| word == "*" || word == "#");
        (!wild).then(|| self.to_string())
    }

    /// Whether every key fits.
    pub fn fits_all(&self) -> bool {
        !self.words.is_empty() && self.words.iter().all(|word| word == "#")
    }
}

/// As RabbitMQ splits keys: an empty one has no words.
fn words(key: &str) -> Vec<&str> {
    if key.is_empty() { Vec::new() } else { key.split('.').collect() }
}

/// Why a text is no [`TopicPattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`*` and `#` stand for whole words between dots, is `{0}`")]
pub struct PatternError(String);

impl PatternError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        "`order.*` fits `order.created`, `order.#` also fits `order` and `order.created.eu`"
    }
}

impl FromStr for TopicPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let pattern = Self::as_bound(text);
        if pattern.words.iter().any(|word| word.len() > 1 && word.contains(['*', '#'])) {
            return Err(PatternError(text.to_owned()));
        }
        Ok(pattern)
    }
}

impl Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_patterns_fit_as_the_broker_has_it() {
        let table = [
            ("", "", true),
            ("", "a", false),
            ("#", "", true),
            ("#", "a.b.c", true),
            ("*", "", false),
            ("*", "a", true),
            ("*", "a.b", false),
            ("a.*", "a.b", true),
            ("a.*", "a", false),
            ("a.*", "a.", true),
            ("a.*", "a.b.c", false),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
            ("a.#", "ab", false),
            ("#.z", "z", true),
            ("#.z", "a.z.z", true),
            ("#.z", "a.z.y", false),
            ("a.#.b.#.c", "a.b.c", true),
            ("a.#.b.#.c", "a.x.b.y.b.z.c", true),
            ("a.#.b.#.c", "a.x.c", false),
            ("#.*", "", false),
            ("#.*", "a", true),
            ("#.#", "", true),
            ("*.#.*", "a", false),
            ("*.#.*", "a.b", true),
            ("a", "a", true),
            ("a", "b", false),
            ("a.#", "b.a", false),
            ("#.c", "a.b.c", true),
            ("#.c", "c", true),
            ("a.#.c", "a.c", true),
            ("a.#.c", "a.b.b.c", true),
            ("a.#.c", "a.b", false),
            ("a.*.c", "a.b.c", true),
            ("a.*.c", "a.c", false),
            ("*.#", "", false),
            ("#.#", "a", true),
            ("a..b", "a..b", true),
            ("*.*.*", "a..b", true),
        ];
        for (pattern, key, fits) in table {
            let parsed: TopicPattern = pattern.parse().unwrap();
            assert_eq!(parsed.fits(key), fits, "`{pattern}` on `{key}`");
            assert_eq!(parsed.to_string(), pattern);
        }
    }

    #[test]
    fn a_hostile_pattern_costs_little() {
        let pattern: TopicPattern = ["#.a"; 60].join(".").parse().unwrap();
        assert!(!pattern.fits(&format!("{}.b", ["a"; 120].join("."))));
    }
}
