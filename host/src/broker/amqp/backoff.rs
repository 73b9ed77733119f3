//! How long to wait before the next attempt. Next in the flow: [`super::link`].

use std::time::Duration;

/// After a connection was lost, with jitter 50 to 100 ms: not all hosts at once, but at once.
const FIRST: Duration = Duration::from_millis(100);
/// While the broker may only be restarting: it is found again within this time, connecting included.
const SOON: Duration = Duration::from_secs(4);
/// So many attempts are made with it, in two minutes or more.
const SOON_TIMES: u32 = 40;
/// However many attempts failed.
const CAP: Duration = Duration::from_secs(30);

/// Half as long again from attempt to attempt, up to 4 s for the first minutes and to 30 s after them;
/// chance takes up to a half off.
pub(super) struct Backoff {
    next: Duration,
    attempts: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST, attempts: 0 }
    }
}

impl Backoff {
    /// The next delay.
    pub(super) fn next(&mut self) -> Duration {
        let delay = self.next;
        self.attempts = self.attempts.saturating_add(1);
        let most = if self.attempts < SOON_TIMES { SOON } else { CAP };
        self.next = (delay * 3 / 2).min(most);
        delay.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Lets the next delay be around `delay` or longer.
    pub(super) fn at_least(&mut self, delay: Duration) {
        self.next = self.next.max(delay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_the_cap_and_lose_at_most_a_half() {
        let mut backoff = Backoff::default();
        let mut expected = 100.0;
        for attempt in 1..60 {
            let delay = backoff.next().as_secs_f64() * 1000.0;
            assert!((expected * 0.49..=expected * 1.01).contains(&delay), "{delay} of {expected}");
            let most = if attempt < SOON_TIMES { 4_000.0 } else { 30_000.0 };
            expected = f64::min(expected * 1.5, most);
        }
        assert_eq!(backoff.next, CAP);
    }

    #[test]
    fn refusals_are_not_asked_about_so_soon() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            backoff.at_least(Duration::from_secs(20));
            assert!(backoff.next() >= Duration::from_secs(10));
        }
    }
}
