//! `wasi:logging/logging`, and the one place where all that a guest writes becomes log lines of
//! its plugin: made printable, cut and counted.

use super::redact::Redact;
use super::{Budget, Guest};
use crate::telemetry::{report, text::printable};
use crate::wit::v0_1::import::wasi::logging::logging;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

/// How much a line matters.
pub type Level = tracing::Level;

/// One line that a guest logged or wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// As the guest said; `INFO` for standard output, `WARN` for standard error.
    pub level: Level,
    /// `stdout`, `stderr`, or what the guest named.
    pub context: String,
    /// Printable, and no longer than the limit.
    pub message: String,
}

/// The log of one guest; its standard output and error share it.
#[derive(Clone)]
pub struct GuestLog {
    plugin: Arc<str>,
    budget: Arc<Budget>,
    redact: Redact,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    lines: Vec<LogLine>,
    left_out: u64,
    /// What standard output and standard error have of a line that has not ended.
    open: [Vec<u8>; 2],
}

/// A stream of bytes that becomes lines.
#[derive(Debug, Clone, Copy)]
pub enum Stream {
    Out,
    Err,
}

impl Stream {
    fn line(self) -> (Level, &'static str) {
        match self {
            Stream::Out => (Level::INFO, "stdout"),
            Stream::Err => (Level::WARN, "stderr"),
        }
    }
}

impl GuestLog {
    /// An empty one, without what `redact` takes out.
    pub fn new(plugin: Arc<str>, budget: Arc<Budget>, redact: Redact) -> Self {
        Self { plugin, budget, redact, state: Arc::default() }
    }

    /// Forgets what an event left behind.
    pub fn begin(&self) {
        *self.state() = State::default();
    }

    /// Ends lines that have not ended, and says how many were left out.
    pub fn end(&self) {
        let mut state = self.state();
        for stream in [Stream::Out, Stream::Err] {
            self.end_line(&mut state, stream);
        }
        let left_out = std::mem::take(&mut state.left_out);
        if left_out > 0 {
            report::GuestLogCut {
                plugin: &self.plugin,
                left_out,
                lines_max: self.budget.log_lines,
                of: "event",
            }
            .emit();
        }
    }

    /// The lines since [`Self::begin`].
    pub fn take(&self) -> Vec<LogLine> {
        std::mem::take(&mut self.state().lines)
    }

    /// Takes what a guest wrote to a stream, in pieces of any length.
    pub fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut state = self.state();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            // One byte more than fits shows `printable` that it must cut; a secret is seen whole.
            let most = self.budget.log_line_bytes + 1 + self.redact.longest();
            let room = most.saturating_sub(state.open[stream as usize].len());
            state.open[stream as usize].extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                let line = std::mem::take(&mut state.open[stream as usize]);
                let (level, context) = stream.line();
                self.add(&mut state, level, context, &String::from_utf8_lossy(&line));
            }
        }
    }

    fn end_line(&self, state: &mut State, stream: Stream) {
        let line = std::mem::take(&mut state.open[stream as usize]);
        if !line.is_empty() {
            let (level, context) = stream.line();
            self.add(state, level, context, &String::from_utf8_lossy(&line));
        }
    }

    fn add(&self, state: &mut State, level: Level, context: &str, message: &str) {
        if state.lines.len() >= self.budget.log_lines as usize {
            state.left_out += 1;
            return;
        }
        let [message, context] = [message, context].map(|text| {
            printable(&self.redact.text(text), self.budget.log_line_bytes).into_owned()
        });
        self.tell(level, &context, &message);
        state.lines.push(LogLine { level, context, message });
    }

    fn tell(&self, level: Level, context: &str, message: &str) {
        let rate = &self.budget.log_rate;
        let admitted = rate.admit(Instant::now());
        if admitted.left_out > 0 {
            let (plugin, lines_max) = (&*self.plugin, rate.per_second());
            report::GuestLogCut { plugin, left_out: admitted.left_out, lines_max, of: "second" }
                .emit();
        }
        if admitted.line {
            report::GuestLog { plugin: &self.plugin, level, context, message }.emit();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl logging::Host for Guest {
    fn log(&mut self, level: logging::Level, context: String, message: String) -> Result<()> {
        let level = match level {
            logging::Level::Trace => Level::TRACE,
            logging::Level::Debug => Level::DEBUG,
            logging::Level::Info => Level::INFO,
            logging::Level::Warn => Level::WARN,
            logging::Level::Error | logging::Level::Critical => Level::ERROR,
        };
        let log = &self.log;
        log.add(&mut log.state(), level, &context, &message);
        Ok(())
    }
}

/// Links it.
pub fn add_to_linker(linker: &mut Linker<Guest>) -> Result<()> {
    logging::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)
}
