//! What goes wrong with events, by plugin, queue and class: the first of a kind has its line in
//! full; of the others the log says how many there were, and when it is over. Each event's own line
//! is for `debug`. Next: `report`, which asks here how loud a line is.

use super::rarely::{Rarely, Say};
use super::report::short;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// How often the log speaks of one kind at most.
const EVERY: Duration = Duration::from_secs(10);
/// What has not happened for so long is over.
const QUIET: Duration = Duration::from_secs(30);

/// A kind of trouble.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) what: What,
    pub(super) plugin: String,
    /// Empty if it is not about one.
    pub(super) queue: String,
    /// As in the metrics.
    pub(super) class: &'static str,
}

/// What became of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    ComesAgain,
    DeadLetter,
    Dropped,
    HeaderLost,
    LogCut,
    HttpDenied,
    NotRecorded,
}

/// Those of this process, as its metrics are: a reload is no news about them.
static TROUBLES: Mutex<Rarely<Kind>> = Mutex::new(Rarely::new(EVERY));

/// It happened to an event; true if its own line is for everybody.
pub(super) fn happened(kind: Kind) -> bool {
    let say = troubles().happened(kind.clone(), Instant::now());
    if let Some(say) = say.filter(|say| *say != Say::First) {
        tell(&kind, say);
    }
    say == Some(Say::First)
}

/// Says what is due. To be called every few seconds.
pub fn remind() {
    let due = troubles().due(Instant::now(), QUIET);
    due.iter().for_each(|(kind, say)| tell(kind, *say));
}

/// Says what was not said so far, before the end.
pub fn remind_of_all() {
    let rest = troubles().rest(Instant::now());
    rest.iter().for_each(|(kind, say)| tell(kind, *say));
}

fn troubles() -> MutexGuard<'static, Rarely<Kind>> {
    TROUBLES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(kind: &Kind, say: Say) {
    let Kind { what, plugin, queue, class } = kind;
    let (plugin, queue) = (short(plugin), short(queue));
    match say {
        // Of one alone everything is said.
        Say::Over { times: 1, .. } => {}
        Say::Over { times, lasted } => {
            let seconds = lasted.as_secs_f64();
            info!(%plugin, %queue, class, times, seconds, "{}, none for {QUIET:?}", what.over());
        }
        Say::First => tell(kind, Say::Again { more: 1 }),
        Say::Again { more } if *what == What::ComesAgain => {
            info!(%plugin, %queue, class, "{more} {}", what.again());
        }
        Say::Again { more } => warn!(%plugin, %queue, class, "{more} {}", what.again()),
    }
}

impl What {
    fn again(self) -> &'static str {
        match self {
            What::ComesAgain => "more events come again",
            What::DeadLetter => "more events are dead letters now",
            What::Dropped => "more events were dropped after failing",
            What::HeaderLost => "more dead letters left a header behind",
            What::LogCut => "more logs were cut",
            What::HttpDenied => "more requests were refused",
            What::NotRecorded => "more events were handled without a record",
        }
    }

    fn over(self) -> &'static str {
        match self {
            What::ComesAgain => "no events come again any more",
            What::DeadLetter => "no events become dead letters any more",
            What::Dropped => "no events are dropped after failing any more",
            What::HeaderLost => "no dead letters leave a header behind any more",
            What::LogCut => "no logs are cut any more",
            What::HttpDenied => "no requests are refused any more",
            What::NotRecorded => "no events are handled without a record any more",
        }
    }
}
