//! Reports about guests: what they log, and how they fail. Next in the flow: [`crate::capability`],
//! which emits them.

use super::metrics::name;
use super::report::{reason, short};
use super::trouble::{self, Kind, What};
use metrics::counter;
use tracing::{Level, debug, error, info, trace, warn};

/// The target of guests' own lines.
const GUEST: &str = "guest";

/// A call of a guest ended with a trap or at a limit. How its event is settled is reported apart.
pub struct GuestTrapped<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// The class of the fault, e.g. `trap`, `timeout`, `memory`.
    pub kind: &'static str,
    /// The engine's words, with the guest's.
    pub cause: &'a str,
}

impl GuestTrapped<'_> {
    /// Logs and counts it.
    pub fn emit(self) {
        let Self { plugin, kind, cause } = self;
        counter!(name::PLUGIN_TRAPS, "plugin" => plugin.to_owned(), "kind" => kind).increment(1);
        debug!(plugin, kind, cause = %reason(cause), "the call trapped");
    }
}

/// A line that a guest wrote.
pub struct GuestLog<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// How important it is, in the guest's opinion.
    pub level: Level,
    /// Where it comes from: the guest's own name for it, or `stdout` or `stderr`.
    pub context: &'a str,
    /// The line, printable.
    pub message: &'a str,
}

impl GuestLog<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { plugin, level, context, message } = self;
        macro_rules! line {
            ($level:ident) => {
                $level!(target: GUEST, plugin, context = %short(context), "{message}")
            };
        }
        match level {
            Level::ERROR => line!(error),
            Level::WARN => line!(warn),
            Level::INFO => line!(info),
            Level::DEBUG => line!(debug),
            Level::TRACE => line!(trace),
        }
    }
}

/// A guest logged more than it may.
pub struct GuestLogCut<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// The lines that were left out.
    pub left_out: u64,
    /// How many there may be.
    pub lines_max: u32,
    /// In what: `event` or `second`.
    pub of: &'static str,
}

impl GuestLogCut<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { plugin, left_out, lines_max, of } = self;
        let kind =
            Kind { what: What::LogCut, plugin: plugin.to_owned(), queue: String::new(), class: of };
        if trouble::happened(kind) {
            warn!(plugin, left_out, "the log of one {of} was cut after {lines_max} lines");
        } else {
            debug!(plugin, left_out, "the log of one {of} was cut after {lines_max} lines");
        }
    }
}

/// A request of a guest was not sent: its grants do not allow it.
pub struct HttpDenied<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// Where it was to go.
    pub target: &'a str,
    /// What refused it.
    pub rule: &'a str,
    /// What a person can do about it.
    pub hint: Option<&'a str>,
}

impl HttpDenied<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { plugin, target, rule, hint } = self;
        let (what, plugin, queue) = (What::HttpDenied, plugin.to_owned(), String::new());
        let (target, rule) = (short(target), reason(rule));
        let kind = Kind { what, plugin: plugin.clone(), queue, class: "" };
        if trouble::happened(kind) {
            warn!(plugin, hint, "a request to `{target}` was refused: {rule}");
        } else {
            debug!(plugin, hint, "a request to `{target}` was refused: {rule}");
        }
    }
}

/// A request of a guest has no answer.
pub struct HttpFailed<'a> {
    /// Its name.
    pub plugin: &'a str,
    /// Where it was to go.
    pub target: &'a str,
    /// Why.
    pub cause: &'a str,
}

impl HttpFailed<'_> {
    /// Logs it.
    pub fn emit(self) {
        let Self { plugin, target, cause } = self;
        debug!(plugin, "a request to `{}` failed: {}", short(target), reason(cause));
    }
}
