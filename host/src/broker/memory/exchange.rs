//! Which queues an exchange sends a message to, with RabbitMQ's rules of matching.
//! Next: [`super::queue`], where the messages wait.

use crate::broker::{Binding, ExchangeKind, HeadersMatch};
use crate::flow::{Field, Headers, TopicPattern};

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
            ExchangeKind::Topic => TopicPattern::as_bound(&binding.routing_key).fits(key),
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

fn headers_match(binding: &Binding, headers: &Headers) -> bool {
    let mut stated = binding.headers.0.iter().filter(|(name, _)| !name.starts_with("x-"));
    let has = |(name, wanted): &(String, Field)| {
        headers.get(name).is_some_and(|value| *wanted == Field::Void || wanted.same(value))
    };
    match binding.headers_match {
        HeadersMatch::Any => stated.any(has),
        HeadersMatch::All | HeadersMatch::None => stated.all(has),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
