//! How long to wait before the next attempt, and when to say again that it still fails. Next in the
//! flow: [`super::link`].

use std::time::{Duration, Instant};

/// Before the second attempt, with jitter 100 to 200 ms.
const FIRST: Duration = Duration::from_millis(200);
/// However many attempts failed.
const CAP: Duration = Duration::from_secs(30);
/// The same trouble is logged again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// Twice as long from attempt to attempt, up to 30 s, of which chance takes up to a half off.
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next delay.
    pub(super) fn next(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(CAP);
        delay.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Lets the next delay be around `delay` or longer.
    pub(super) fn at_least(&mut self, delay: Duration) {
        self.next = self.next.max(delay);
    }
}

/// Lets a reason pass when it is new, and then once a minute.
#[derive(Default)]
pub(super) struct Rarely {
    said: Option<(Instant, String)>,
}

impl Rarely {
    /// Whether it is to be said now.
    pub(super) fn now(&mut self, reason: &str) -> bool {
        let quiet = |(at, text): &(Instant, String)| text == reason && at.elapsed() < AGAIN_AFTER;
        let say = !self.said.as_ref().is_some_and(quiet);
        if say {
            self.said = Some((Instant::now(), reason.to_owned()));
        }
        say
    }

    /// It is well again: whatever comes next is new.
    pub(super) fn reset(&mut self) {
        self.said = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_lose_at_most_a_half() {
        let mut backoff = Backoff::default();
        for expected in [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
            let delay = backoff.next().as_millis();
            assert!((expected / 2..=expected).contains(&delay), "{delay} of {expected}");
        }
    }

    #[test]
    fn the_same_reason_is_said_once() {
        let mut rarely = Rarely::default();
        assert!(rarely.now("away"));
        assert!(!rarely.now("away"));
        assert!(rarely.now("wrong password"));
        rarely.reset();
        assert!(rarely.now("wrong password"));
    }
}
