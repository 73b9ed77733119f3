//! Which queues an exchange sends a message to, with RabbitMQ's rules of matching.
//! Next: [`super::queue`], where the messages wait.

use crate::broker::{Binding, ExchangeKind, HeadersMatch};
use crate::flow::{Field, Headers};

/// An exchange with its bindings.
#[derive(Debug)]
pub(super) struct Exchange {
    pub kind: ExchangeKind,
    pub durable: bool,
    pub auto_delete: bool,
    pub bindings: Vec<Binding>,
}

impl Exchange {
    pub fn new(kind: ExchangeKind, durable: bool, auto_delete: bool) -> Self {
        Self { kind, durable, auto_delete, bindings: Vec::new() }
    }

    /// The queues that get a message with this key and these headers; a queue may come twice.
    pub fn route<'a>(
        &'a self,
        key: &'a str,
        headers: &'a Headers,
    ) -> impl Iterator<Item = &'a str> {
        let takes = move |binding: &&Binding| match self.kind {
            ExchangeKind::Fanout => true,
            ExchangeKind::Direct => binding.routing_key == key,
            ExchangeKind::Topic => topic_matches(&binding.routing_key, key),
            ExchangeKind::Headers => headers_match(binding, headers),
        };
        self.bindings.iter().filter(takes).map(|binding| binding.queue.as_str())
    }

    /// Binding twice is binding once.
    pub fn bind(&mut self, binding: Binding) {
        if !self.bindings.contains(&binding) {
            self.bindings.push(binding);
        }
    }

    /// Forgets the bindings to `queue`. True if that was the end of an exchange that goes with
    /// its last binding.
    pub fn unbind(&mut self, queue: &str) -> bool {
        let before = self.bindings.len();
        self.bindings.retain(|binding| binding.queue != queue);
        self.auto_delete && self.bindings.is_empty() && before > 0
    }
}

/// `*` is one word, `#` any number of them.
fn topic_matches(pattern: &str, key: &str) -> bool {
    let words = words(key);
    // `reach[n]`: the pattern so far matches the first `n` words.
    let mut reach = vec![false; words.len() + 1];
    reach[0] = true;
    for part in self::words(pattern) {
        let mut next = vec![false; words.len() + 1];
        let mut before = false;
        for at in 0..=words.len() {
            if part == "#" {
                before |= reach[at];
                next[at] = before;
            } else if at > 0 {
                next[at] = reach[at - 1] && (part == "*" || part == words[at - 1]);
            }
        }
        reach = next;
    }
    reach[words.len()]
}

/// The empty key has no words, where `split` would find an empty one.
fn words(key: &str) -> Vec<&str> {
    if key.is_empty() { Vec::new() } else { key.split('.').collect() }
}

fn headers_match(binding: &Binding, headers: &Headers) -> bool {
    let mut stated = binding.headers.0.iter().filter(|(name, _)| !name.starts_with("x-"));
    let has = |(name, wanted): &(String, Field)| {
        headers.get(name).is_some_and(|value| *wanted == Field::Void || same(wanted, value))
    };
    match binding.headers_match {
        HeadersMatch::Any => stated.any(has),
        HeadersMatch::All | HeadersMatch::None => stated.all(has),
    }
}

/// Equal as RabbitMQ compares: whatever the width of an integer.
pub(super) fn same(a: &Field, b: &Field) -> bool {
    match (a.as_integer(), b.as_integer()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_patterns_match_word_by_word() {
        let cases = [
            ("", "", true),
            ("a", "a", true),
            ("a", "b", false),
            ("*", "a", true),
            ("*", "", false),
            ("*", "a.b", false),
            ("#", "", true),
            ("#", "a.b.c", true),
            ("a.#", "a", true),
            ("a.#", "a.b.c", true),
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
            ("a.*", "a.", true),
            ("a..b", "a..b", true),
            ("*.*.*", "a..b", true),
        ];
        for (pattern, key, expected) in cases {
            assert_eq!(topic_matches(pattern, key), expected, "`{pattern}` and `{key}`");
        }
    }

    #[test]
    fn many_wildcards_take_no_more_time_than_few() {
        let pattern = "#.".repeat(60) + "z";
        assert!(!topic_matches(&pattern, &"a.".repeat(120)));
    }

    #[test]
    fn header_bindings_match_all_or_any() {
        use HeadersMatch::{All, Any, None};
        let message: Headers =
            [("colour", Field::from("red")), ("size", Field::U8(3)), ("x-tag", "t".into())]
                .into_iter()
                .collect();
        let of = |fields: &[(&str, Field)]| -> Headers { fields.iter().cloned().collect() };
        let red_three = of(&[("colour", "red".into()), ("size", Field::I64(3))]);
        let red_four = of(&[("colour", "red".into()), ("size", Field::I64(4))]);
        let cases = [
            (All, red_three.clone(), true),
            (None, red_three, true),
            (All, red_four.clone(), false),
            (Any, red_four, true),
            (Any, of(&[("colour", "blue".into())]), false),
            (All, of(&[("colour", Field::Void)]), true),
            (All, of(&[("weight", Field::Void)]), false),
            (All, of(&[]), true),
            (Any, of(&[]), false),
            (All, of(&[("x-tag", "another".into())]), true),
        ];
        for (headers_match, headers, expected) in cases {
            let binding = Binding {
                exchange: "e".to_owned(),
                queue: "q".to_owned(),
                routing_key: String::new(),
                headers_match,
                headers,
            };
            assert_eq!(super::headers_match(&binding, &message), expected, "{binding:?}");
        }
    }
}
