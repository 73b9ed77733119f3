//! Where data and talk go: the only place that writes to standard output.

use serde_json::{Value, json};
use std::io::Write;

/// How data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// For programs.
    Json,
}

/// The process's two streams.
#[derive(Debug)]
pub struct Output {
    format: Format,
}

impl Output {
    /// Data in this format.
    pub fn new(format: Format) -> Self {
        Self { format }
    }

    /// Writes a result: the text for people or the value for programs.
    pub fn data(&self, text: impl FnOnce() -> String, value: impl FnOnce() -> Value) {
        let text = match self.format {
            Format::Human => text(),
            Format::Json => format!("{:#}", value()),
        };
        // A reader that has gone away needs no error.
        let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    }

    /// Says why there is no result.
    pub fn failure(&self, error: &str, hint: Option<&str>, code: u8) {
        match self.format {
            Format::Human => {
                self.talk(&format!("error: {error}"));
                if let Some(hint) = hint {
                    self.talk(&format!("hint: {hint}"));
                }
            }
            Format::Json => {
                self.talk(&json!({ "error": error, "hint": hint, "code": code }).to_string());
            }
        }
    }

    /// Says something to the person.
    pub fn talk(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}
