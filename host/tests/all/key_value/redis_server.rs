//! A Redis server, and what goes wrong with it.

use super::{away, read, record, unit, write};
use redis::AsyncCommands;
use std::net::TcpListener;
use wabbit::flow::Publication;
use wabbit::store::key_value::{KeyValue, RedisStore};
use wabbit::store::{Inbox, OWED, Recalled, StoreError};
use xtask::services::Service;

/// A server of the test's own.
pub async fn server() -> Service {
    let started = tokio::task::spawn_blocking(|| {
        let mut service = Service::redis().unwrap();
        service.wait_ready().unwrap();
        service
    });
    started.await.unwrap()
}

async fn other_program(service: &Service) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(service.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn command(connection: &mut redis::aio::MultiplexedConnection, words: &str) {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    words.for_each(|word| {
        command.arg(word);
    });
    let _: redis::Value = command.query_async(connection).await.unwrap();
}

#[tokio::test]
async fn no_server_is_named_without_its_password() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = RedisStore::new(&format!("redis://me:sesame@{free}/3")).unwrap();
    let refused = away(read(&store, "a").await);
    assert!(refused.starts_with(&format!("the store `redis://{free}/3`: ")), "{refused}");
    assert!(refused.contains("Connection refused"), "{refused}");
    // Something that never answers, and something that is no Redis.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    let store = RedisStore::new(&format!("redis://:sesame@{silent}")).unwrap();
    let began = std::time::Instant::now();
    let tries = (0..5).map(|_| read(&store, "a"));
    for refused in futures_util::future::join_all(tries).await {
        let refused = away(refused);
        assert!(refused.contains(&silent.to_string()) && !refused.contains("sesame"), "{refused}");
    }
    // Those that wait for the same connection do not wait one after the other.
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_plain_and_shared_with_other_programs() {
    let service = server().await;
    let store = RedisStore::new(&format!("{}?prefix=shop:", service.url())).unwrap();
    let mut other = other_program(&service).await;
    write(&store, &[("a", Some("mine")), ("sum", Some("41"))]).await.unwrap();
    assert_eq!(other.get::<_, String>("shop:a").await.unwrap(), "mine");
    assert_eq!(other.incr::<_, _, i64>("shop:sum", 1).await.unwrap(), 42);
    assert_eq!(read(&store, "sum").await, Ok(Some("42".to_owned())));

    // What is no plain value can't be read, and is a conflict where a plain one was.
    let _: () = other.del("shop:a").await.unwrap();
    let _: () = other.rpush("shop:a", "item").await.unwrap();
    match read(&store, "a").await {
        Err(StoreError::Failed(text)) => assert!(text.contains("no plain value"), "{text}"),
        other => panic!("{other:?}"),
    }
    for before in [None, Some("mine")] {
        let unit = unit(&[("a", before)], &[("b", Some("1"))]);
        let committed = store.commit(&unit, None).await;
        assert!(matches!(committed, Err(StoreError::Conflict(_))), "{committed:?}");
    }
    assert!(!other.exists::<_, bool>("shop:b").await.unwrap());

    // The host's own keys are under the prefix, too, and go by themselves.
    store.commit(&unit(&[], &[]), Some(record(0xab, &[]))).await.unwrap();
    let inbox = format!("shop:wabbit:inbox:{}", "ab".repeat(32));
    let left: i64 = other.ttl(&inbox).await.unwrap();
    assert!((3590..=3600).contains(&left), "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_and_what_it_owes_are_one_key_so_that_they_are_evicted_together() {
    let service = server().await;
    let store = RedisStore::new(&service.url()).unwrap();
    let mut other = other_program(&service).await;
    let kept = [Publication { routing_key: "a".to_owned(), ..Publication::default() }];
    let record = record(0xab, &kept);
    store.commit(&unit(&[], &[]), Some(record)).await.unwrap();
    let keys: Vec<String> = other.keys("*").await.unwrap();
    assert_eq!(keys, [format!("wabbit:inbox:{}", "ab".repeat(32))]);
    let owed = i64::try_from(OWED.as_secs()).unwrap();
    for owed in [owed, 0, 0] {
        let left: i64 = other.ttl(&keys[0]).await.unwrap();
        assert!((owed + 3590..=owed + 3600).contains(&left), "{left}");
        store.published(record.event).await.unwrap();
        assert_eq!(store.recall(record.event).await, Ok(Recalled::Done(Vec::new())));
    }
    let _: () = other.del(&keys[0]).await.unwrap();
    store.published(record.event).await.unwrap();
    assert_eq!(store.recall(record.event).await, Ok(Recalled::New));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_is_used_at_once() {
    let mut service = server().await;
    let store = RedisStore::new(&service.url()).unwrap();
    for n in 0..3 {
        let unit = unit(&[], &[("a", Some(&n.to_string()))]);
        store.commit(&unit, Some(record(n, &[]))).await.unwrap();
        if n == 1 {
            // It has restarted between two events: nobody needs to know.
            service.kill();
        } else {
            service.kill();
            away(read(&store, "a").await);
        }
        tokio::task::block_in_place(|| {
            service.start_again().unwrap();
            service.wait_ready().unwrap();
        });
        assert_eq!(read(&store, "a").await, Ok(Some(n.to_string())));
        assert_eq!(store.recall(record(n, &[]).event).await, Ok(Recalled::Done(Vec::new())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_serves_nobody_now_is_unavailable_and_nothing_is_applied() {
    // What makes it so, what takes that back, what is said, whether it can be read meanwhile.
    let table = [
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "OOM", true),
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "READONLY", true),
        (
            "CONFIG SET min-replicas-to-write 1",
            "CONFIG SET min-replicas-to-write 0",
            "NOREPLICAS",
            true,
        ),
    ];
    let service = server().await;
    let store = RedisStore::new(&service.url()).unwrap();
    let mut other = other_program(&service).await;
    write(&store, &[("a", Some("1"))]).await.unwrap();
    for (spoil, mend, said, readable) in table {
        command(&mut other, spoil).await;
        let record = record(1, &[]);
        let unit = unit(&[("a", Some("1"))], &[("b", None), ("a", Some("2"))]);
        let refused = away(store.commit(&unit, Some(record)).await);
        assert!(refused.contains(said), "{spoil}: {refused}");
        if readable {
            assert_eq!(store.recall(record.event).await, Ok(Recalled::New), "{spoil}");
        }
        command(&mut other, mend).await;
        assert_eq!(read(&store, "a").await, Ok(Some("1".to_owned())), "{mend}");
    }
    // A script of another program that does not end.
    command(&mut other, "CONFIG SET busy-reply-threshold 10").await;
    let mut busy = other_program(&service).await;
    let endless = tokio::spawn(async move {
        let mut endless = redis::cmd("EVAL");
        let _: Result<redis::Value, _> =
            endless.arg("while true do end").arg(0).query_async(&mut busy).await;
    });
    let refused = loop {
        match read(&store, "a").await {
            Ok(_) => tokio::task::yield_now().await,
            refused => break away(refused),
        }
    };
    assert!(refused.contains("BUSY"), "{refused}");
    command(&mut other, "SCRIPT KILL").await;
    endless.await.unwrap();
    write(&store, &[("a", Some("2"))]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_do_what_a_store_does_is_unavailable_and_told_what_is_missing() {
    let service = server().await;
    let mut other = other_program(&service).await;
    let store = RedisStore::new(&format!("redis://poor:poor@{}", service.address())).unwrap();
    let kept = record(1, &[]);
    // What its user may do, and what is said then.
    let table = [
        ("~* +get", "evalsha"),
        ("~* +get +evalsha +eval +exists", "script"),
        ("~shop:* +get +evalsha +eval +exists +set", "key"),
    ];
    for (rights, said) in table {
        command(&mut other, &format!("ACL SETUSER poor reset on >poor {rights}")).await;
        let refused = away(store.commit(&unit(&[], &[]), Some(kept)).await);
        assert!(refused.contains(said) && refused.contains("let the user"), "{rights}: {refused}");
    }
    let all = "+eval +evalsha +scan +get +set +del +exists +strlen +pttl";
    command(&mut other, &format!("ACL SETUSER poor reset on >poor ~* {all}")).await;
    store.commit(&unit(&[], &[("a", Some("1")), ("b", None)]), Some(kept)).await.unwrap();
    store.published(kept.event).await.unwrap();
    assert_eq!(store.recall(kept.event).await, Ok(Recalled::Done(Vec::new())));
    assert_eq!(read(&store, "a").await, Ok(Some("1".to_owned())));
    store.keys(None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stuck_is_given_up_and_taken_up_again() {
    let service = server().await;
    let store = RedisStore::new(&service.url()).unwrap();
    write(&store, &[("a", Some("1"))]).await.unwrap();
    service.signal("STOP");
    let refused = away(read(&store, "a").await);
    service.signal("CONT");
    assert!(refused.ends_with("no answer in time"), "{refused}");
    assert_eq!(read(&store, "a").await, Ok(Some("1".to_owned())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_and_a_wrong_protocol_are_said() {
    let service = server().await;
    let address = service.address();
    for (url, said) in [
        (format!("redis://:wrong@{address}"), "authentication failed"),
        (format!("redis://{address}"), "NOAUTH"),
        (format!("redis://:sesame@{address}/99999"), "DB index is out of range"),
        (format!("rediss://:sesame@{address}"), "rediss://"),
    ] {
        let store = RedisStore::new(&url).unwrap();
        let refused = away(read(&store, "a").await);
        assert!(refused.contains(said) && !refused.contains("sesame"), "{url}: {refused}");
    }
}
