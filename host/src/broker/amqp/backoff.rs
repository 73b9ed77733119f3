//! How long to wait before the next attempt. Next in the flow: [`super::link`].

use std::time::Duration;

/// After a connection was lost, with jitter 50 to 100 ms: not all hosts at once, but at once.
const FIRST: Duration = Duration::from_millis(100);
/// However many attempts failed.
const CAP: Duration = Duration::from_secs(30);

/// Half as long again from attempt to attempt, up to 30 s, of which chance takes up to a half off: so
/// a broker that was away for a while is found again within half of that while.
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
        self.next = (delay * 3 / 2).min(CAP);
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
        for _ in 0..30 {
            let delay = backoff.next().as_secs_f64() * 1000.0;
            assert!((expected * 0.49..=expected * 1.01).contains(&delay), "{delay} of {expected}");
            expected = f64::min(expected * 1.5, 30_000.0);
        }
        assert_eq!(backoff.next, CAP);
    }
}
