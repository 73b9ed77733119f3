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

    /// Whether every key that fits `other` fits this one. May say no where it is so.
    pub fn covers(&self, other: &Self) -> bool {
        let held = |own: &str, word: &str| own == word || (own == "*" && word != "#");
        self.walk(other, |own, word| match (own, word) {
            (Some("#"), Some(_)) => Step::Either,
            (Some("#"), None) => Step::Own,
            (Some(own), Some(word)) if held(own, word) => Step::Both,
            _ => Step::Never,
        })
    }

    /// Whether there is a key that fits both.
    pub fn overlaps(&self, other: &Self) -> bool {
        let wild = |word: &str| word == "*";
        self.walk(other, |own, word| match (own, word) {
            (Some("#"), Some(_)) | (Some(_), Some("#")) => Step::Either,
            (Some("#"), None) => Step::Own,
            (None, Some("#")) => Step::Other,
            (Some(own), Some(word)) if own == word || wild(own) || wild(word) => Step::Both,
            _ => Step::Never,
        })
    }

    /// Whether both patterns can be walked to their ends by the steps that `step` allows.
    fn walk(&self, other: &Self, step: impl Fn(Option<&str>, Option<&str>) -> Step) -> bool {
        let (own, words) = (&self.words, &other.words);
        // Whether there is a way to the end from each pair of places, from the end backwards.
        let mut ends = vec![vec![false; words.len() + 2]; own.len() + 2];
        for at in (0..=own.len()).rev() {
            for to in (0..=words.len()).rev() {
                ends[at][to] = match step(word(own, at), word(words, to)) {
                    _ if at == own.len() && to == words.len() => true,
                    Step::Own => ends[at + 1][to],
                    Step::Other => ends[at][to + 1],
                    Step::Either => ends[at + 1][to] || ends[at][to + 1],
                    Step::Both => ends[at + 1][to + 1],
                    Step::Never => false,
                };
            }
        }
        ends[0][0]
    }
}

/// How two patterns are walked on: by a word of one of them, or of both.
enum Step {
    Own,
    Other,
    Either,
    Both,
    Never,
}

fn word(words: &[String], at: usize) -> Option<&str> {
    words.get(at).map(String::as_str)
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

    #[test]
    fn patterns_are_compared() {
        /// Two patterns, whether the first covers the second, whether they overlap.
        type Row = (&'static str, &'static str, bool, bool);
        let table: [Row; 15] = [
            ("a.b", "a.b", true, true),
            ("a.b", "a.c", false, false),
            ("a.*", "a.b", true, true),
            ("a.b", "a.*", false, true),
            ("a.*", "a", false, false),
            ("#", "a.*.#", true, true),
            ("#", "", true, true),
            ("", "#", false, true),
            ("a.#", "a", true, true),
            ("a.#", "a.#.b", true, true),
            ("a.#.b", "a.#", false, true),
            ("*", "#", false, true),
            ("#.paid", "order.*", false, true),
            ("*.a", "b.*", false, true),
            ("#.a.#", "x.a.y.a", true, true),
        ];
        for (one, other, covers, overlaps) in table {
            let [a, b]: [TopicPattern; 2] = [one, other].map(|text| text.parse().unwrap());
            assert_eq!((a.covers(&b), a.overlaps(&b)), (covers, overlaps), "{one} {other}");
            assert_eq!(b.overlaps(&a), overlaps, "{other} {one}");
        }
    }
}
