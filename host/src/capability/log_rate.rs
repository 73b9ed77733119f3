//! How many lines a plugin may log in a second, whatever its events are: a log that floods hides
//! what others say, and costs the host more than the handler.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// Counts the lines of one version of a plugin.
#[derive(Debug)]
pub struct LogRate {
    per_second: u32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    lines: u32,
    left_out: u64,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Admitted {
    /// It is logged.
    pub line: bool,
    /// Lines of the second before that were not: to be said now.
    pub left_out: u64,
}

impl LogRate {
    /// So many lines in each second.
    pub fn new(per_second: u32) -> Self {
        let window = Window { began: Instant::now(), lines: 0, left_out: 0 };
        Self { per_second, window: Mutex::new(window) }
    }

    /// See [`Self::new`].
    pub fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Whether a line is logged that comes `now`.
    pub fn admit(&self, now: Instant) -> Admitted {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = 0;
        if now.saturating_duration_since(window.began) >= WINDOW {
            left_out = window.left_out;
            *window = Window { began: now, lines: 0, left_out: 0 };
        }
        let line = window.lines < self.per_second;
        if line {
            window.lines += 1;
        } else {
            window.left_out += 1;
        }
        Admitted { line, left_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_says_what_was_left_out() {
        let rate = LogRate::new(2);
        let start = Instant::now() + WINDOW;
        let at = |ms| rate.admit(start + Duration::from_millis(ms));
        let admitted = |line, left_out| Admitted { line, left_out };
        assert_eq!(at(0), admitted(true, 0));
        assert_eq!(at(1), admitted(true, 0));
        assert_eq!(at(2), admitted(false, 0));
        assert_eq!(at(999), admitted(false, 0));
        assert_eq!(at(1000), admitted(true, 2));
        assert_eq!(at(2500), admitted(true, 0));
    }
}
