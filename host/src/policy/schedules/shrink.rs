//! Runs schedules, makes those that fail small, and says what is left in a form that can be pasted
//! as a test. Next: [`super`], the tests.

use super::cover::Cover;
use super::draw::Draw;
use super::ledger::{Broken, Invariant};
use super::schedule::{Setup, Step};
use super::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many draws in vain a schedule may have for each of its steps.
const PATIENCE: usize = 8;

/// Draws and runs the schedule of `seed`.
///
/// # Errors
/// An invariant is broken: where, by which schedule, and the small one that is left of it.
pub(super) fn generated(seed: u64) -> Result<Cover, String> {
    let mut steps = Vec::with_capacity(64);
    let mut setup = None;
    let outcome = guarded(|| {
        let mut draw = Draw::new(seed);
        let setup = *setup.insert(draw.setup());
        let policy = setup.policy();
        let mut world = World::new(&setup, &policy);
        let length = draw.length();
        for _ in 0..length * PATIENCE {
            let step = draw.step(&world);
            // Before it happens: it may be the one that fails.
            steps.push(step);
            if !world.step(step)? {
                steps.pop();
            }
            if steps.len() >= length {
                break;
            }
        }
        world.close().map(|()| world.cover)
    });
    match (outcome, setup) {
        (Ok(cover), _) => Ok(cover),
        (Err(broken), Some(setup)) => Err(told(seed, setup, steps, &broken)),
        (Err(broken), None) => Err(format!("seed {seed}: {broken}")),
    }
}

/// Runs a schedule as it is written.
///
/// # Errors
/// The invariant that is broken.
pub(super) fn replayed(setup: &Setup, steps: &[Step]) -> Result<Cover, Broken> {
    guarded(|| {
        let policy = setup.policy();
        let mut world = World::new(setup, &policy);
        for step in steps {
            world.step(*step)?;
        }
        world.close().map(|()| world.cover)
    })
}

fn guarded(run: impl FnOnce() -> Result<Cover, Broken>) -> Result<Cover, Broken> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let why = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default().to_owned();
        Err(Broken { invariant: Invariant::NoPanic, why })
    })
}

fn told(seed: u64, setup: Setup, steps: Vec<Step>, broken: &Broken) -> String {
    let before = steps.len();
    let (steps, left) = shrunk(&setup, steps, broken.invariant);
    let left = left.as_ref().unwrap_or(broken);
    let lines: String = steps.iter().map(|step| format!("            {step:?},\n")).collect();
    format!(
        "seed {seed} breaks {left}\n({before} steps, {} are left; `WABBIT_TEST_SEED={seed} \
         WABBIT_TEST_SCHEDULES=1` is the whole)\n    holds(\n        {setup:?},\n        &[\n\
         {lines}        ],\n    );\n",
        steps.len()
    )
}

/// Takes steps out, halves first and then fewer, as long as the same invariant is broken.
fn shrunk(
    setup: &Setup,
    mut steps: Vec<Step>,
    invariant: Invariant,
) -> (Vec<Step>, Option<Broken>) {
    let breaks = |steps: &[Step]| {
        replayed(setup, steps).err().filter(|broken| broken.invariant == invariant)
    };
    let mut last = None;
    let mut size = steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        let mut less = false;
        while at < steps.len() {
            let end = (at + size).min(steps.len());
            let rest = [&steps[..at], &steps[end..]].concat();
            match breaks(&rest) {
                Some(broken) => {
                    (steps, last, less) = (rest, Some(broken), true);
                }
                None => at = end,
            }
        }
        if !less || size > 1 {
            size /= 2;
        }
    }
    (steps, last)
}
