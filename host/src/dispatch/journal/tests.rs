//! The journal over hosts that are ended: forgetting what is running and letting go of the file is
//! what `kill -9` does to it.

use super::*;
use crate::flow::Properties;
use futures_util::FutureExt;
use std::sync::Arc;
use tempfile::TempDir;

const ATTEMPTS: u32 = 3;

fn event(name: &str) -> Event {
    Event {
        exchange: String::new(),
        routing_key: "orders".into(),
        queue: "orders".into(),
        redelivered: true,
        attempt: 1,
        returned: 0,
        first_seen: 0,
        id: None,
        properties: Properties::default(),
        body: name.into(),
    }
}

fn open(dir: &TempDir) -> Journal {
    Journal::open(&dir.path().join("in-flight"), "orders").unwrap()
}

fn files(dir: &TempDir) -> usize {
    std::fs::read_dir(dir.path().join("in-flight")).unwrap().count()
}

/// A host that is killed while it handles these.
async fn killed(dir: &TempDir, events: &[&str]) {
    let journal = open(dir);
    for name in events {
        std::mem::forget(journal.enter(&event(name), ATTEMPTS).await.unwrap());
    }
}

fn counts(journal: &Journal, name: &str) -> (u32, u32) {
    let known = journal.known(Identity::of(&event(name)));
    (known.crashes, known.suspicions)
}

#[tokio::test]
async fn a_host_that_ends_as_it_should_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir);
    assert_eq!(journal.enter(&event("a"), ATTEMPTS).await.unwrap().run(async { 7 }).await, 7);
    drop(journal.enter(&event("b"), ATTEMPTS).await.unwrap());
    journal.settled(&event("a"));
    journal.close();
    assert_eq!(files(&dir), 0);
    let journal = open(&dir);
    assert_eq!((counts(&journal, "a"), counts(&journal, "b")), ((0, 0), (0, 0)));
}

#[tokio::test]
async fn what_was_being_handled_when_a_host_ended_is_known_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    killed(&dir, &["a", "b"]).await;
    let journal = open(&dir);
    assert_eq!(files(&dir), 1, "the file of the host that ended is taken over");
    assert_eq!((counts(&journal, "a"), counts(&journal, "c")), ((0, 1), (0, 0)));
    // Alone now, so that the next end is its own.
    std::mem::forget(journal.enter(&event("a"), ATTEMPTS).await.unwrap());
    drop(journal);
    let journal = open(&dir);
    assert_eq!((counts(&journal, "a"), counts(&journal, "b")), ((1, 1), (0, 1)));
    journal.settled(&event("b"));
    journal.close();
    drop(journal);
    assert_eq!(files(&dir), 1, "`a` is still to come");
    let journal = open(&dir);
    assert_eq!((counts(&journal, "a"), counts(&journal, "b")), ((1, 1), (0, 0)));
}

#[tokio::test]
async fn an_event_that_ends_each_host_is_refused_after_its_attempts() {
    let dir = tempfile::tempdir().unwrap();
    killed(&dir, &["bad", "other"]).await;
    for _ in 0..ATTEMPTS {
        killed(&dir, &["bad"]).await;
    }
    let journal = open(&dir);
    let Err(spent) = journal.enter(&event("bad"), ATTEMPTS).await else { panic!("it is handled") };
    assert!(spent.reason().contains("ended 3 times while"), "{}", spent.reason());
    assert!(journal.enter(&event("bad"), ATTEMPTS + 1).await.is_ok());
    assert!(journal.enter(&event("other"), 1).await.is_ok());
    journal.retired(&event("bad"));
    assert!(journal.enter(&event("bad"), ATTEMPTS).await.is_err(), "its ack was lost");
    // Its dead letter, published again by somebody.
    let anew = Event { redelivered: false, ..event("bad") };
    assert!(journal.enter(&anew, ATTEMPTS).await.is_ok());
    assert!(journal.enter(&event("bad"), ATTEMPTS).await.is_ok());
    journal.retired(&event("other"));
    journal.close();
    assert_eq!(files(&dir), 0, "its ack has arrived");
}

#[tokio::test]
async fn earlier_attempts_count_with_the_ends_of_hosts() {
    let dir = tempfile::tempdir().unwrap();
    killed(&dir, &["bad"]).await;
    killed(&dir, &["bad"]).await;
    let journal = open(&dir);
    for (attempt, handled) in [(2, true), (3, false)] {
        let event = Event { attempt, ..event("bad") };
        assert_eq!(journal.enter(&event, ATTEMPTS).await.is_ok(), handled, "{attempt}");
    }
}

#[tokio::test]
async fn attempts_in_place_outlive_a_host() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir);
    journal.note_attempt(&event("a"), 2);
    journal.note_attempt(&event("a"), 3);
    journal.note_attempt(&event("b"), 2);
    journal.settled(&event("b"));
    drop(journal);
    let journal = open(&dir);
    assert_eq!((journal.attempt(&event("a")), journal.attempt(&event("b"))), (3, 1));
    assert_eq!(journal.attempt(&Event { attempt: 4, ..event("a") }), 4);
    assert_eq!(journal.attempt(&Event { redelivered: false, ..event("a") }), 1, "a copy");
    // It is no suspect: others may be handled beside it.
    let first = journal.enter(&event("a"), 9).await.unwrap();
    assert!(!first.pass.as_ref().unwrap().is_alone());
    let memory = Journal::in_memory();
    memory.note_attempt(&event("a"), 2);
    assert_eq!((memory.attempt(&event("a")), memory.attempt(&event("b"))), (2, 1));
}

#[tokio::test]
async fn hosts_beside_each_other_leave_each_other_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (open(&dir), open(&dir));
    assert_eq!(files(&dir), 2);
    std::mem::forget(first.enter(&event("a"), ATTEMPTS).await.unwrap());
    assert_eq!(counts(&open(&dir), "a"), (0, 0), "it runs");
    drop(first);
    let other = Journal::open(&dir.path().join("in-flight"), "others").unwrap();
    assert_eq!(counts(&other, "a"), (0, 0), "another's");
    assert_eq!(counts(&open(&dir), "a"), (0, 1));
    drop(second);
}

#[tokio::test]
async fn files_that_make_no_sense_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let in_flight = dir.path().join("in-flight");
    let path = std::fs::read_dir(&in_flight).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&path).unwrap();
    let mut other = whole.clone();
    other[7] ^= 1;
    other[80] = 1;
    for bytes in [&b""[..], b"garbage", &whole[..whole.len() - 8], &other] {
        std::fs::write(&path, bytes).unwrap();
        let journal = open(&dir);
        assert_eq!((files(&dir), journal.book().len()), (1, 0), "{} bytes", bytes.len());
        // The next one finds this host's file, under another name.
        journal.close();
    }
}

#[tokio::test]
async fn more_than_can_be_noted_are_handled_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(&dir);
    let mut all = Vec::new();
    for number in 0..5000 {
        all.push(journal.enter(&event(&number.to_string()), ATTEMPTS).await.unwrap());
    }
    let noted = all.iter().filter(|entered| entered.slot.is_some()).count();
    assert!((3500..=4096).contains(&noted), "{noted}");
    drop(all);
    for number in 0..100 {
        let event = event(&number.to_string());
        assert!(journal.enter(&event, ATTEMPTS).await.unwrap().slot.is_some());
    }
}

#[tokio::test]
async fn a_suspect_is_alone_for_a_moment_and_then_beside_others() {
    let dir = tempfile::tempdir().unwrap();
    killed(&dir, &["a", "b"]).await;
    let journal = Arc::new(open(&dir));
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let suspect = journal.enter(&event("a"), ATTEMPTS).await.unwrap();
    let suspect = suspect.run(ended);
    let other = async {
        // Waits for the suspect to be alone no more.
        drop(journal.enter(&event("c"), ATTEMPTS).await.unwrap());
        // So does the other suspect, which is never alone while this one runs.
        let next = journal.enter(&event("b"), ATTEMPTS).await.unwrap();
        assert!(!next.pass.as_ref().unwrap().is_alone());
        end.send(()).unwrap();
    };
    let began = std::time::Instant::now();
    tokio::join!(other, async { suspect.await.unwrap() });
    assert!(began.elapsed() >= ALONE_MAX + PATIENCE);
}

#[tokio::test]
async fn suspects_are_told_apart_by_ends_that_come_late() {
    // Each outlives its moment alone, and `bad` ends the host after it.
    let dir = tempfile::tempdir().unwrap();
    async fn late<'a>(name: &str, journal: &'a Journal) -> Entered<'a> {
        let mut entered = journal.enter(&event(name), ATTEMPTS).await.unwrap();
        entered.join();
        entered
    }
    for _ in 0..3 {
        let journal = open(&dir);
        let first = late("good", &journal).await;
        let second = late("bad", &journal).await;
        std::mem::forget((first, second));
    }
    let journal = open(&dir);
    assert_eq!((counts(&journal, "good"), counts(&journal, "bad")), ((0, 3), (0, 3)));
    let bad = late("bad", &journal).await;
    let good = event("good");
    let mut waits = Box::pin(journal.enter(&good, ATTEMPTS));
    assert!((&mut waits).now_or_never().is_none(), "they share no host any more");
    // Others are not kept waiting.
    drop(journal.enter(&event("new"), ATTEMPTS).await.unwrap());
    drop(waits);
    std::mem::forget(bad);
    drop(journal);
    let journal = open(&dir);
    assert_eq!((counts(&journal, "good"), counts(&journal, "bad")), ((0, 3), (0, 4)));
}

#[tokio::test]
async fn many_slow_suspects_are_alone_for_a_bounded_time_in_all() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    killed(&dir, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    // One of them has ended a host.
    killed(&dir, &["0"]).await;
    let mut journal = open(&dir);
    journal.trial = ALONE_MAX + ALONE_MAX / 2;
    let began = std::time::Instant::now();
    let slow = async |name: &str| {
        let entered = journal.enter(&event(name), ATTEMPTS).await.unwrap();
        let (alone, after) = (entered.pass.as_ref().unwrap().is_alone(), began.elapsed());
        entered.run(tokio::time::sleep(3 * ALONE_MAX)).await;
        (alone, after)
    };
    let bystanders = names[1..].iter().map(|name| slow(name));
    let (culprit, bystanders) = tokio::join!(slow("0"), futures_util::future::join_all(bystanders));
    assert!(culprit.0, "it waits to be alone");
    let late = bystanders.iter().map(|(_, after)| *after).max().unwrap();
    assert!(late < 3 * ALONE_MAX, "the last one began after {late:?}");
    // Without others inside.
    let next = journal.enter(&event("0"), ATTEMPTS).await.unwrap();
    assert!(next.pass.as_ref().unwrap().is_alone());
}
