//! What every key-value store promises.

use super::{Entries, read, record, unit, write};
use crate::support::database::Database;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use wabbit::flow::{Field, Headers, Properties, Publication};
use wabbit::store::key_value::{Embedded, KeyValue, RedisStore};
use wabbit::store::{EventId, OWED, Recalled, StoreError};

/// An empty store, and what it is on.
struct Place {
    name: &'static str,
    store: Arc<dyn KeyValue>,
    _dir: TempDir,
}

async fn every_store() -> [Place; 3] {
    let place = |name, store| Place { name, store, _dir: tempfile::tempdir().unwrap() };
    let mut embedded = place("redb", Arc::new(Embedded::new("")) as Arc<dyn KeyValue>);
    embedded.store = Arc::new(Embedded::new(embedded._dir.path().join("data/store.redb")));
    let redis = async |name, query: &str| {
        let url = format!("{}{query}", Database::redis().await.url);
        place(name, Arc::new(RedisStore::new(&url).unwrap()))
    };
    [embedded, redis("redis", "").await, redis("redis with a prefix", "?prefix=a*[b]:").await]
}

#[tokio::test]
async fn what_is_committed_is_there() {
    for Place { name, store, .. } in every_store().await {
        let mut unit = unit(&[], &[("a", Some("1")), ("empty", Some("")), ("", Some("no key"))]);
        unit.write("bytes".to_owned(), Some(vec![0, 0xff])).unwrap();
        unit.write("nothing".to_owned(), None).unwrap();
        store.commit(&unit, None).await.unwrap();
        let keys = ["bytes", "nothing", "a", "empty", "", "a"].map(str::to_owned);
        let some = |value: &[u8]| Some(value.to_vec());
        let expected = [some(&[0, 0xff]), None, some(b"1"), some(b""), some(b"no key"), some(b"1")];
        assert_eq!(store.get(&keys, 100).await.unwrap(), expected, "{name}");
        write(&*store, &[("a", None), ("b", Some("2"))]).await.unwrap();
        assert_eq!(read(&*store, "a").await, Ok(None), "{name}");
        assert_eq!(read(&*store, "b").await, Ok(Some("2".to_owned())), "{name}");
    }
}

#[tokio::test]
async fn what_was_read_must_still_be_so() {
    // What is there, what was read before, whether that is a conflict.
    let table: [(Option<&str>, Entries<'_>, bool); 8] = [
        (None, &[], false),
        (Some("new"), &[], false),
        (None, &[("a", None)], false),
        (Some("new"), &[("a", None)], true),
        (Some("old"), &[("a", Some("old"))], false),
        (Some("new"), &[("a", Some("old"))], true),
        (None, &[("a", Some("old"))], true),
        (Some(""), &[("a", None)], true),
    ];
    for Place { name, store, .. } in every_store().await {
        for (case, (now, read_before, conflict)) in table.into_iter().enumerate() {
            write(&*store, &[("a", now), ("b", None)]).await.unwrap();
            let record = record(case.try_into().unwrap(), &[]);
            let unit = unit(read_before, &[("a", Some("mine")), ("b", Some("mine"))]);
            let committed = store.commit(&unit, Some(record)).await;
            let expected = match conflict {
                true => Err(StoreError::Conflict("another event changed `a`".to_owned())),
                false => Ok(()),
            };
            assert_eq!(committed, expected, "{name} {case}");
            // All of it, or nothing.
            let there = [read(&*store, "a").await.unwrap(), read(&*store, "b").await.unwrap()];
            let mine = || Some("mine".to_owned());
            let expected = if conflict { [now.map(str::to_owned), None] } else { [mine(), mine()] };
            assert_eq!(there, expected, "{name} {case}");
            let recalled = store.recall(record.event).await.unwrap();
            assert_eq!(recalled == Recalled::New, conflict, "{name} {case}");
        }
    }
}

fn publications() -> Vec<Publication> {
    let nested: Headers = [("$uint8", Field::I64(7))].into_iter().collect();
    let headers = [("a", Field::Table(nested)), ("b", Field::F64(f64::INFINITY))];
    let properties = Properties {
        message_id: Some("id".to_owned()),
        headers: headers.into_iter().collect(),
        ..Properties::default()
    };
    let publication = |key: &str, body: &[u8]| Publication {
        routing_key: key.to_owned(),
        properties: properties.clone(),
        body: body.to_vec(),
        ..Publication::default()
    };
    vec![publication("text", b"{}"), publication("bytes", &[0xff, 0])]
}

#[tokio::test]
async fn an_event_is_done_once_and_what_is_to_be_published_is_kept() {
    for Place { name, store, .. } in every_store().await {
        let kept = publications();
        let (mine, other) = (record(1, &kept), record(2, &[]));
        assert_eq!(store.recall(mine.event).await, Ok(Recalled::New), "{name}");
        store.commit(&unit(&[], &[("a", Some("1"))]), Some(mine)).await.unwrap();
        store.commit(&unit(&[], &[]), Some(other)).await.unwrap();
        assert_eq!(store.recall(mine.event).await, Ok(Recalled::Done(publications())), "{name}");
        assert_eq!(store.recall(other.event).await, Ok(Recalled::Done(Vec::new())), "{name}");

        let again = store.commit(&unit(&[], &[("a", Some("2"))]), Some(mine)).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))), "{name}: {again:?}");
        assert_eq!(read(&*store, "a").await, Ok(Some("1".to_owned())), "{name}");

        for _ in 0..2 {
            store.published(mine.event).await.unwrap();
            assert_eq!(store.recall(mine.event).await, Ok(Recalled::Done(Vec::new())), "{name}");
        }
        assert_eq!(store.recall(EventId([3; 32])).await, Ok(Recalled::New), "{name}");
    }
}

#[tokio::test]
async fn records_expire() {
    for Place { name, store, .. } in every_store().await {
        let kept = publications();
        let mut short = record(1, &kept);
        short.expires = SystemTime::now() + Duration::from_secs(1);
        let mut owed = short;
        owed.event = EventId([3; 32]);
        let long = record(2, &kept);
        for record in [short, owed, long] {
            store.commit(&unit(&[], &[]), Some(record)).await.unwrap();
        }
        store.published(short.event).await.unwrap();
        while store.recall(short.event).await.unwrap() != Recalled::New {
            tokio::time::sleep(Duration::from_millis(50)).await;
            store.expire(SystemTime::now()).await.unwrap();
        }
        // What is to be published for an event is not forgotten with it.
        for record in [owed, long] {
            let done = Ok(Recalled::Done(publications()));
            assert_eq!(store.recall(record.event).await, done, "{name}");
        }
        // It can be done again.
        store.commit(&unit(&[], &[]), Some(short)).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_owed_for_long_is_given_up_with_its_record() {
    let [Place { store, .. }, ..] = every_store().await;
    let (kept, now) = (publications(), SystemTime::now());
    let owed = record(1, &kept);
    store.commit(&unit(&[], &[]), Some(owed)).await.unwrap();
    for (at, known) in [(Duration::from_secs(7200), true), (OWED * 2, false)] {
        store.expire(now + at).await.unwrap();
        let expected = if known { Recalled::Done(publications()) } else { Recalled::New };
        assert_eq!(store.recall(owed.event).await, Ok(expected), "{at:?}");
    }
    store.commit(&unit(&[], &[]), Some(owed)).await.unwrap();
}

#[tokio::test]
async fn more_records_expire_than_one_transaction_forgets() {
    let [Place { store, .. }, ..] = every_store().await;
    let commits = (0..2500_u32).map(|n| {
        let mut record = record(0, &[]);
        record.event.0[..4].copy_from_slice(&n.to_be_bytes());
        let store = &store;
        async move { store.commit(&unit(&[], &[]), Some(record)).await.unwrap() }
    });
    futures_util::future::join_all(commits).await;
    store.expire(SystemTime::now() + Duration::from_secs(7200)).await.unwrap();
    for n in [0, 1234, 2499_u32] {
        let mut event = EventId([0; 32]);
        event.0[..4].copy_from_slice(&n.to_be_bytes());
        assert_eq!(store.recall(event).await, Ok(Recalled::New));
    }
}

#[tokio::test]
async fn a_listing_has_every_key() {
    for Place { name, store, .. } in every_store().await {
        let expected: BTreeSet<String> = (0..2500).map(|n| format!("key {n}")).collect();
        let written: Vec<_> = expected.iter().map(|key| (key.as_str(), Some(""))).collect();
        store.commit(&unit(&[], &written), Some(record(1, &publications()))).await.unwrap();
        let (mut found, mut pages, mut cursor) = (BTreeSet::new(), 0, None);
        // What the host keeps beside them is left out of a listing.
        let mut unit = unit(&[], &[]);
        loop {
            let (keys, next) = store.keys(cursor.as_deref()).await.unwrap();
            found.extend(unit.list(pages == 0, keys));
            pages += 1;
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{name}");
        assert!(pages > 2, "{name}: {pages} pages");
    }
}

#[tokio::test]
async fn no_more_is_read_than_there_is_room_for() {
    for Place { name, store, .. } in every_store().await {
        write(&*store, &[("a", Some("12345")), ("b", Some("12345"))]).await.unwrap();
        let keys = ["a", "b", "c"].map(str::to_owned);
        for (room, fits) in [(10, true), (9, false), (0, false)] {
            let read = store.get(&keys, room).await;
            assert_eq!(read.is_ok(), fits, "{name} {room}");
            assert!(fits || matches!(read, Err(StoreError::Failed(_))), "{name}: {read:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_of_many_increments_at_once_is_lost() {
    const TASKS: usize = 20;
    const EACH: usize = 5;
    for Place { name, store, .. } in every_store().await {
        let increment = async |store: &dyn KeyValue| {
            loop {
                let before = read(store, "sum").await.unwrap();
                let sum = before.as_deref().map_or(0, |text| text.parse::<usize>().unwrap()) + 1;
                let written = Some(sum.to_string());
                let unit = unit(&[("sum", before.as_deref())], &[("sum", written.as_deref())]);
                match store.commit(&unit, None).await {
                    Ok(()) => return,
                    Err(StoreError::Conflict(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        };
        let tasks = (0..TASKS).map(|_| async {
            for _ in 0..EACH {
                increment(&*store).await;
            }
        });
        futures_util::future::join_all(tasks).await;
        assert_eq!(read(&*store, "sum").await, Ok(Some((TASKS * EACH).to_string())), "{name}");
    }
}
