//! Where something was written, and what is wrong with it.

use std::cell::RefCell;
use std::fmt::{self, Display};
use std::sync::Arc;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A file as such.
    File(Arc<str>),
    /// In a file.
    Text {
        /// Its path.
        file: Arc<str>,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
    /// An environment variable.
    Variable(String),
}

impl Place {
    /// The place of the byte `offset` of `text`, which is what `file` holds.
    pub fn of(file: &Arc<str>, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[start..].chars().count() + 1;
        Self::Text { file: file.clone(), line, column }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => write!(f, "{file}"),
            Self::Text { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Variable(name) => write!(f, "environment variable `{name}`"),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub at: Place,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// All mistakes of one reading, by place; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            let newline = if n == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects mistakes while reading goes on.
#[derive(Debug, Default)]
pub struct Report(RefCell<Vec<Problem>>);

impl Report {
    /// Adds one.
    pub fn add(&self, at: Place, message: impl Into<String>, hint: Option<String>) {
        self.0.borrow_mut().push(Problem { at, message: message.into(), hint });
    }

    /// `value`, if there was no mistake.
    pub fn result<T>(self, value: T) -> Result<T, Problems> {
        let mut problems = self.0.into_inner();
        if problems.is_empty() {
            return Ok(value);
        }
        problems.sort();
        problems.dedup();
        Err(Problems(problems))
    }
}

/// The one of `known` that `word` was probably meant to be.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace('_', "-");
    let wanted = plain(word);
    let distance = |key: &&str| strsim::damerau_levenshtein(&wanted, &plain(key));
    let begun = |key: &&str| wanted.len() > 2 && plain(key).starts_with(&wanted);
    if let Some(begun) = known.iter().copied().find(begun) {
        return Some(begun);
    }
    let best = known.iter().copied().min_by_key(distance)?;
    // A third of the letters wrong is a typo; more is another word.
    (distance(&best) <= (wanted.chars().count() / 3).max(1)).then_some(best)
}

/// A hint that names the nearest of `known`, or all of them, each after `prefix`.
pub(super) fn suggest(word: &str, prefix: &str, known: &[&str]) -> Option<String> {
    match nearest(word, known) {
        Some(key) => Some(format!("did you mean `{prefix}{key}`?")),
        None if known.is_empty() => None,
        None => {
            let all: Vec<_> = known.iter().map(|key| format!("`{prefix}{key}`")).collect();
            Some(format!("known here: {}", all.join(", ")))
        }
    }
}
