//! Typed values of a section. Each getter says what is wrong in one sentence and gives `None`.

use super::problem::nearest;
use super::{Node, Section, Value};
use bytesize::ByteSize;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What a value must be and is not, and what to do about it.
type Wrong = (String, Option<String>);

impl Section<'_> {
    fn value<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Value) -> Result<T, Wrong>,
    ) -> Option<T> {
        let node = self.node(key)?;
        match read(&node.value) {
            Ok(value) => Some(value),
            Err((rule, hint)) => {
                self.wrong_with(key, rule, hint.as_deref());
                None
            }
        }
    }

    /// A string.
    pub fn text(&self, key: &'static str) -> Option<String> {
        self.value(key, text)
    }

    /// A string with at least one character.
    pub fn filled(&self, key: &'static str) -> Option<String> {
        self.value(key, |value| match text(value)? {
            text if text.trim().is_empty() => Err(("must not be empty".to_owned(), None)),
            text => Ok(text),
        })
    }

    /// A name as AMQP has it: a string of at most 255 bytes.
    pub fn name(&self, key: &'static str) -> Option<String> {
        self.value(key, |value| match text(value)? {
            text if text.len() > 255 => {
                Err((format!("must be 255 bytes or less, is {}", text.len()), None))
            }
            text => Ok(text),
        })
    }

    /// `true` or `false`.
    pub fn flag(&self, key: &'static str) -> Option<bool> {
        self.value(key, |value| match value {
            Value::Bool(flag) => Ok(*flag),
            Value::Loose(text) if text == "true" => Ok(true),
            Value::Loose(text) if text == "false" => Ok(false),
            other => Err(must_be("`true` or `false`", other)),
        })
    }

    /// An integer within `range`.
    pub fn integer<T>(&self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        self.value(key, |value| {
            let n = match value {
                Value::Integer(n) => Some(*n),
                Value::Loose(text) => text.parse().ok(),
                _ => None,
            };
            let n = n.ok_or_else(|| must_be("an integer", value))?;
            match T::try_from(n) {
                Ok(fits) if range.contains(&fits) => Ok(fits),
                _ => Err((format!("must be {} to {}, is `{n}`", range.start(), range.end()), None)),
            }
        })
    }

    /// A number within `range`.
    pub fn number(&self, key: &'static str, range: RangeInclusive<f64>) -> Option<f64> {
        self.value(key, |value| {
            let n = match value {
                Value::Integer(n) => Some(*n as f64),
                Value::Float(n) => Some(*n),
                Value::Loose(text) => text.parse().ok(),
                _ => None,
            };
            let n = n.ok_or_else(|| must_be("a number", value))?;
            if range.contains(&n) {
                return Ok(n);
            }
            Err((format!("must be {} to {}, is `{n}`", range.start(), range.end()), None))
        })
    }

    /// A length of time within `range`.
    pub fn duration(&self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.value(key, |value| duration(value, &range))
    }

    /// Lengths of time within `range`.
    pub fn durations(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Vec<Duration>> {
        self.value(key, |value| list(value)?.iter().map(|item| duration(item, &range)).collect())
    }

    /// A number of bytes within `range`.
    pub fn size(&self, key: &'static str, range: RangeInclusive<usize>) -> Option<usize> {
        self.value(key, |value| {
            let n = match value {
                Value::Integer(n) => u64::try_from(*n).ok(),
                Value::Text(text) | Value::Loose(text) => {
                    text.parse::<ByteSize>().ok().map(|size| size.as_u64())
                }
                _ => None,
            };
            let n = n.ok_or_else(|| must_be("a size such as `\"64MiB\"`", value))?;
            let n = usize::try_from(n).unwrap_or(usize::MAX);
            if range.contains(&n) {
                return Ok(n);
            }
            let most = match *range.end() {
                usize::MAX => "or more".to_owned(),
                most => format!("to {}", bytes(most)),
            };
            let (least, is) = (bytes(*range.start()), bytes(n));
            Err((format!("must be {least} {most}, is `{is}`"), None))
        })
    }

    /// Strings; from the environment, separated by commas.
    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        self.value(key, |value| list(value)?.iter().map(text).collect())
    }

    /// One of the named `choices`.
    pub fn choice<T: Clone>(&self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.value(key, |value| {
            let text = text(value)?;
            if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
                return Ok(choice.clone());
            }
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let rule = format!("must be {}, is `{text}`", one_of(&names));
            let hint = nearest(&text, &names).map(|name| format!("did you mean `{name}`?"));
            Err((rule, hint))
        })
    }
}

/// `` `a`, `b` or `c` ``
fn one_of(names: &[&str]) -> String {
    let mut all = String::new();
    for (n, name) in names.iter().enumerate() {
        all += match n {
            0 => "`",
            _ if n + 1 == names.len() => "` or `",
            _ => "`, `",
        };
        all += name;
    }
    all + "`"
}

fn must_be(what: &str, value: &Value) -> Wrong {
    let is = match value {
        Value::Text(text) | Value::Loose(text) => format!("`{text}`"),
        Value::Integer(n) => format!("`{n}`"),
        other => other.kind().to_owned(),
    };
    (format!("must be {what}, is {is}"), None)
}

fn text(value: &Value) -> Result<String, Wrong> {
    match value {
        Value::Text(text) | Value::Loose(text) => Ok(text.clone()),
        other => Err((format!("must be a string, is {}", other.kind()), None)),
    }
}

fn list(value: &Value) -> Result<Vec<Value>, Wrong> {
    match value {
        Value::Array(items) => Ok(items.iter().map(|Node { value, .. }| value.clone()).collect()),
        Value::Loose(text) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(items.map(|item| Value::Loose(item.to_owned())).collect())
        }
        Value::Text(_) => {
            Err(("must be an array, is a string".to_owned(), Some("write `[\"…\"]`".to_owned())))
        }
        other => Err((format!("must be an array, is {}", other.kind()), None)),
    }
}

fn duration(value: &Value, range: &RangeInclusive<Duration>) -> Result<Duration, Wrong> {
    let what = "a duration such as `\"30s\"`";
    let length = match value {
        Value::Text(text) | Value::Loose(text) => {
            humantime::parse_duration(text).map_err(|_| must_be(what, value))?
        }
        Value::Integer(n) => {
            let hint = format!("say of what: `\"{n}s\"`");
            return Err((must_be(what, value).0, Some(hint)));
        }
        _ => return Err(must_be(what, value)),
    };
    if range.contains(&length) {
        return Ok(length);
    }
    let [least, most, is] = [*range.start(), *range.end(), length].map(humantime::format_duration);
    Err((format!("must be {least} to {most}, is `{is}`"), None))
}

/// `n` bytes as a person would write it: `64MiB`.
pub fn bytes(n: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| n >= *unit && n.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", n / unit),
        None => format!("{n}B"),
    }
}
