//! A host that is ended as by a `kill -9` between any two steps of an event, and in the middle of them,
//! over and over until its queue is empty, leaves what it would have left without that: each effect
//! once, each publication at least once, copies with equal message-ids, and nothing owed.

use super::kit::{Effects, Kind, Kit};
use crate::faults::say;
use std::collections::{BTreeMap, BTreeSet};

/// Where the host is ended, see `dispatch/failpoint.rs`.
const POINTS: [&str; 12] = [
    "before-recall",
    "after-recall",
    "during-call",
    "after-call",
    "during-commit",
    "after-commit",
    "during-publish",
    "after-publish",
    "after-forget",
    "before-settle",
    "after-settle",
    "after-tell",
];

/// Many attempts, as being ended beside another event may count like one.
const MANIFEST: &str = "[[subscription]]\nprefetch = 16\nconcurrency = 4\n[retry]\nattempts = 100\ndelays = [\"50ms\"]\n";

/// Whether this is the long form.
fn full() -> bool {
    std::env::var("WABBIT_TEST_FAULTS").is_ok_and(|value| value == "full")
}

async fn ended_anywhere(kind: Kind) {
    let (events, most) = if full() { (1000, 30) } else { (120, 20) };
    let seed = fastrand::u64(..);
    say(&format!("{kind:?}: seed {seed}"));
    let mut rng = fastrand::Rng::with_seed(seed);
    let kit = Kit::new(kind).await;
    let mut place = kit.place(MANIFEST).await;
    for event in 0..events {
        kit.send(event, &kit.script(event, "out"), "out").await;
        if event % 10 == 0 {
            // Publishers send again what was not confirmed to them.
            kit.send(event, &kit.script(event, "out"), "out").await;
        }
    }
    let mut points = POINTS;
    rng.shuffle(&mut points);
    let mut ended = BTreeSet::new();
    let flags = ["run", "--until-idle", "--admin", "off", "--broker", &kit.vhost.url];
    for life in 0.. {
        let point = points[life % points.len()];
        place.set_env("WABBIT_TEST_FAILPOINT", &format!("{point}:{}", rng.usize(1..=most)));
        let host = place.wabbit(&flags).await;
        match host.code {
            0 => break,
            -1 => _ = ended.insert(point),
            _ => panic!("{host:#?}"),
        }
    }
    say(&format!("{kind:?}: ended at {ended:?}"));
    let least = if full() { POINTS.len() } else { 4 };
    assert!(ended.len() >= least, "it was ended at {ended:?} only");
    assert_eq!(kit.vhost.count("orders.dlq").await, 0, "dead letters");

    if kind != Kind::DedupeOnly {
        let once: Effects = (0..events).map(|event| (event, 1)).collect();
        assert_eq!(kit.effects(&place).await, (once, events as usize));
    }
    let published = kit.published().await;
    let ids: BTreeSet<_> = published.keys().cloned().collect();
    let expected: BTreeSet<_> = (0..events).map(|event| format!("e{event}.orders.0")).collect();
    assert_eq!(ids, expected, "publications");
    let copies: BTreeMap<_, _> = published.iter().filter(|(_, times)| **times > 1).collect();
    say(&format!("{kind:?}: copies {copies:?}"));
    kit.has_records(&place, events as usize).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    ended_anywhere(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis() {
    ended_anywhere(Kind::Redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    ended_anywhere(Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    ended_anywhere(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql() {
    ended_anywhere(Kind::Mysql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dedupe_only() {
    ended_anywhere(Kind::DedupeOnly).await;
}
