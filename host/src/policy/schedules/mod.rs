//! Generated schedules for the core that settles: what a broker, handlers, connections, reloads and
//! stops can do to it, in orders that nobody would think of, with what the host promises as
//! assertions. A schedule that fails prints its seed and the few steps that are left of it.
//! Begin with [`schedule`], what can happen; then [`world`], where it does.

mod broker;
mod consumer;
mod cover;
mod desk;
mod draw;
mod finale;
mod ledger;
mod place;
mod regressions;
mod schedule;
mod shrink;
mod store;
mod task;
mod world;

use std::time::{SystemTime, UNIX_EPOCH};

/// How many are run; `WABBIT_TEST_SCHEDULES` is for more.
const SCHEDULES: u64 = 100_000;

/// With fewer, something may not have happened by chance.
const ENOUGH: u64 = 50_000;

/// Between the seeds of two schedules, so that those of two runs differ.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

#[test]
fn what_is_promised_holds_in_every_schedule() {
    let count = number("WABBIT_TEST_SCHEDULES").unwrap_or(SCHEDULES);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
    let seed = number("WABBIT_TEST_SEED").unwrap_or(since.as_nanos() as u64);
    println!("{count} schedules, WABBIT_TEST_SEED={seed}");
    let threads = std::thread::available_parallelism().map_or(1, |it| it.get() as u64);
    let part = |first: u64| {
        let mut seen = [0; cover::KINDS];
        for nth in (first..count).step_by(threads as usize) {
            match shrink::generated(seed.wrapping_add(nth.wrapping_mul(STRIDE))) {
                Ok(cover) => cover.add_to(&mut seen),
                Err(told) => return Err(told),
            }
        }
        Ok(seen)
    };
    let parts: Vec<_> = std::thread::scope(|scope| {
        let run = |first| scope.spawn(move || part(first));
        let threads: Vec<_> = (0..threads).map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    let mut seen = [0; cover::KINDS];
    for part in parts {
        match part {
            Ok(part) => seen.iter_mut().zip(part).for_each(|(all, it)| *all += it),
            Err(told) => panic!("{told}"),
        }
    }
    for (kind, count) in cover::ALL.iter().zip(seen) {
        println!("{count:>9} {kind:?}");
    }
    let missing = || cover::ALL.iter().zip(seen).filter(|(_, count)| *count == 0);
    assert!(count < ENOUGH || missing().count() == 0, "{:?}", missing().collect::<Vec<_>>());
}
