//! How a verb ends: a code for scripts, a sentence for people.

use super::output::Output;
use std::process::ExitCode;

/// The exit codes, after `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// The thing asked about failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 64,
    /// A plugin or an event file is wrong.
    BadFile = 65,
    /// The broker can't be reached.
    Unreachable = 69,
    /// The broker does not permit it.
    NotPermitted = 77,
    /// The configuration is wrong, or the topology is not as stated.
    Mismatch = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a verb could not do what it was asked for.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
    hint: Option<String>,
}

impl Failure {
    /// Ends with `exit` because of `error`.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into(), hint: None }
    }

    /// Ends with `exit` and says `text`.
    pub fn say(exit: Exit, text: impl Into<String>) -> Self {
        Self::new(exit, anyhow::Error::msg(text.into()))
    }

    /// Adds what a person can do about it.
    #[must_use]
    pub fn hint(mut self, hint: Option<impl Into<String>>) -> Self {
        self.hint = hint.map(Into::into);
        self
    }

    /// Tells the person, or the program.
    pub fn report(self, output: &Output) -> Exit {
        let Self { exit, error, hint } = self;
        output.failure(&format!("{error:#}"), hint.as_deref(), exit as u8);
        exit
    }
}
