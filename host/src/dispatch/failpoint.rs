//! Where tests end the host at once, as a `kill -9` does: before or after any step of an event's
//! course. `WABBIT_TEST_FAILPOINT` says where and when: `after-commit:25%` now and then,
//! `before-settle:3` the third time, `during-commit:10%` while a commit is under way. Only builds with
//! debug assertions have this.

use crate::policy::course::Step;

/// `step` is about to be taken.
pub fn before(step: Step) {
    reached("before", step);
    reached("during", step);
}

/// `step` was taken.
pub fn after(step: Step) {
    reached("after", step);
}

#[cfg(not(debug_assertions))]
fn reached(_: &str, _: Step) {}

#[cfg(debug_assertions)]
fn reached(when: &str, step: Step) {
    if let Some(point) = chosen::POINT.as_ref().filter(|point| point.is_at(when, step)) {
        point.reached(when);
    }
}

#[cfg(debug_assertions)]
mod chosen {
    use super::Step;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// The one that the environment names; one that makes no sense is as if there were none.
    pub static POINT: LazyLock<Option<Point>> =
        LazyLock::new(|| parse(&std::env::var("WABBIT_TEST_FAILPOINT").ok()?));

    /// Longer than the commit of an embedded store takes.
    const DURING_MAX: Duration = Duration::from_millis(4);

    pub struct Point {
        when: String,
        step: String,
        often: Often,
        times: AtomicU32,
    }

    enum Often {
        Percent(u32),
        Nth(u32),
    }

    fn parse(text: &str) -> Option<Point> {
        let (name, often) = text.split_once(':')?;
        let (when, step) = name.split_once('-')?;
        let often = match often.strip_suffix('%') {
            Some(percent) => Often::Percent(percent.parse().ok()?),
            None => Often::Nth(often.parse().ok()?),
        };
        Some(Point { when: when.into(), step: step.into(), often, times: AtomicU32::new(0) })
    }

    fn name(step: Step) -> &'static str {
        match step {
            Step::Recall => "recall",
            Step::Call | Step::CallAnew => "call",
            Step::Commit => "commit",
            Step::Publish => "publish",
            Step::Forget => "forget",
            Step::Tell(_) => "tell",
            Step::Move(_) => "move",
            Step::Settle(_) => "settle",
            Step::End(_) => "end",
        }
    }

    impl Point {
        pub fn is_at(&self, when: &str, step: Step) -> bool {
            self.when == when && self.step == name(step)
        }

        pub fn reached(&self, when: &str) {
            let times = self.times.fetch_add(1, Ordering::Relaxed) + 1;
            let now = match self.often {
                Often::Percent(percent) => fastrand::u32(..100) < percent,
                Often::Nth(nth) => times == nth,
            };
            if now && when == "during" {
                std::thread::spawn(|| {
                    std::thread::sleep(DURING_MAX.mul_f64(fastrand::f64()));
                    std::process::abort();
                });
            } else if now {
                // No destructor runs, and nothing is flushed.
                std::process::abort();
            }
        }
    }
}
