//! What the host remembers in a database: which events are done, and what is to be published for them.

use super::*;
use std::time::SystemTime;
use wabbit::flow::{Field, Headers, Properties, Publication};
use wabbit::store::{EventId, OWED, Recalled, Record};

fn publication(key: &str) -> Publication {
    let headers = [("n", Field::U8(7)), ("raw", Field::RawText(vec![255]))];
    let headers = headers.map(|(name, value)| (name.to_owned(), value));
    Publication {
        exchange: "shop".to_owned(),
        routing_key: key.to_owned(),
        properties: Properties {
            message_id: Some("größe".to_owned()),
            headers: Headers(headers.into()),
            ..Properties::default()
        },
        body: vec![0, 159, 146, 150],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_done_with_what_is_still_to_be_published() {
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    for place in Place::all().await {
        place.create("CREATE TABLE products (id INTEGER PRIMARY KEY)").await;
        let database = place.open();
        let [event, other] = [EventId([7; 32]), EventId([0; 32])];
        assert_eq!(database.recall(event).await, Ok(Recalled::New), "{}", place.kind());
        let publications = [publication("a"), publication("b")];
        let record = Record { event, publications: &publications, expires: now + hour };

        let mut unit = database.begin().await.unwrap();
        tell(&mut unit, "INSERT INTO products VALUES (1)", []).await.unwrap();
        drop(unit);
        assert_eq!(database.recall(event).await, Ok(Recalled::New), "{}", place.kind());

        let mut unit = database.begin().await.unwrap();
        tell(&mut unit, "INSERT INTO products VALUES (1)", []).await.unwrap();
        unit.commit(Some(record)).await.unwrap();
        let done = Recalled::Done(publications.to_vec());
        assert_eq!(database.recall(event).await, Ok(done), "{}", place.kind());
        assert_eq!(database.recall(other).await, Ok(Recalled::New));

        // As if two hosts had it at the same time.
        let mut unit = database.begin().await.unwrap();
        tell(&mut unit, "INSERT INTO products VALUES (2)", []).await.unwrap();
        let again = unit.commit(Some(record)).await;
        assert!(matches!(again, Err(StoreError::Conflict(_))), "{}: {again:?}", place.kind());
        assert_eq!(place.count("products").await, 1);

        database.published(event).await.unwrap();
        assert_eq!(database.recall(event).await, Ok(Recalled::Done(Vec::new())));
        let unit = database.begin().await.unwrap();
        let brief = Record { event: other, publications: &publications[..1], expires: now };
        unit.commit(Some(brief)).await.unwrap();
        database.expire(now + OWED - hour).await.unwrap();
        let owed = Recalled::Done(publications[..1].to_vec());
        assert_eq!(database.recall(other).await, Ok(owed), "{}", place.kind());
        assert_eq!(database.recall(event).await, Ok(Recalled::New), "{}", place.kind());
        database.expire(now + OWED + hour).await.unwrap();
        assert_eq!(database.recall(other).await, Ok(Recalled::New), "{}", place.kind());
        // Nothing is left of it that is in the way of its coming again.
        database.begin().await.unwrap().commit(Some(brief)).await.unwrap();

        let soon = Record { event, publications: &[], expires: now + hour };
        database.begin().await.unwrap().commit(Some(soon)).await.unwrap();
        database.expire(now + hour / 2).await.unwrap();
        assert_eq!(database.recall(event).await, Ok(Recalled::Done(Vec::new())));
        database.expire(now + hour * 2).await.unwrap();
        assert_eq!(database.recall(event).await, Ok(Recalled::New), "{}", place.kind());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_make_no_tables_is_told_what_to_run() {
    let id = format!("poor_{:012x}", fastrand::u64(..1 << 48));
    for place in [Place::postgres().await, Place::mysql().await] {
        place.create("CREATE TABLE products (id INTEGER PRIMARY KEY)").await;
        let (server, name) = place.url.rsplit_once('/').unwrap();
        let postgres = place.is("postgres");
        if postgres {
            place.create(&format!("CREATE USER {id} PASSWORD 'poor'")).await;
            place.create("REVOKE CREATE ON SCHEMA public FROM public").await;
        } else {
            place.create(&format!("CREATE USER {id} IDENTIFIED BY 'poor'")).await;
            let rights = "SELECT, INSERT, UPDATE, DELETE";
            place.create(&format!("GRANT {rights} ON {name}.* TO {id}")).await;
        }
        let poor = server.replace("wabbit:sesame", &format!("{id}:poor"));
        let database = open(&format!("{poor}/{name}"), Settings::default());
        let event = EventId([7; 32]);
        let Err(StoreError::Unavailable(problem)) = database.recall(event).await else {
            panic!("{}: it may", place.kind());
        };
        let (_, statements) = problem.split_once("read and write them:\n").unwrap();
        for statement in statements.split(";\n") {
            place.create(statement.trim_end_matches(';')).await;
        }
        if postgres {
            place.create(&format!("GRANT ALL ON wabbit_inbox, wabbit_outbox TO {id}")).await;
        }
        assert_eq!(database.recall(event).await, Ok(Recalled::New), "{}", place.kind());
        if postgres {
            place.create(&format!("DROP OWNED BY {id}")).await;
        }
        place.create(&format!("DROP USER {id}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_write_the_hosts_tables_is_unavailable_and_told_what_is_missing() {
    let id = format!("poor_{:012x}", fastrand::u64(..1 << 48));
    for place in [Place::postgres().await, Place::mysql().await] {
        let event = EventId([7; 32]);
        assert_eq!(place.open().recall(event).await, Ok(Recalled::New));
        let postgres = place.is("postgres");
        let password = if postgres { "PASSWORD" } else { "IDENTIFIED BY" };
        place.create(&format!("CREATE USER {id} {password} 'poor'")).await;
        let database =
            open(&place.url.replace("wabbit:sesame", &format!("{id}:poor")), Settings::default());
        let now = SystemTime::now();
        let record = Record { event, publications: &[publication("a")], expires: now };
        for (right, table) in [
            ("SELECT", "wabbit_inbox"),
            ("SELECT", "wabbit_outbox"),
            ("INSERT", "wabbit_inbox"),
            ("INSERT", "wabbit_outbox"),
        ] {
            // In MySQL, who has no rights in a database may not even connect to it.
            if postgres || (right, table) != ("SELECT", "wabbit_inbox") {
                let problem = match database.begin().await {
                    Ok(_) if right == "SELECT" => database.recall(event).await.map(drop),
                    Ok(unit) => unit.commit(Some(record)).await,
                    Err(problem) => Err(problem),
                };
                let Err(StoreError::Unavailable(problem)) = problem else {
                    panic!("{} {right} {table}: {problem:?}", place.kind());
                };
                assert!(problem.contains(right) && problem.contains(table), "{problem}");
            }
            place.create(&format!("GRANT {right} ON {table} TO {id}")).await;
        }
        database.begin().await.unwrap().commit(Some(record)).await.unwrap();
        if postgres {
            place.create(&format!("DROP OWNED BY {id}")).await;
        }
        place.create(&format!("DROP USER {id}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_for_the_server_is_refused_before_it_is_sent() {
    let big = 13 << 20;
    for place in Place::all().await {
        place.create("CREATE TABLE products (id INTEGER PRIMARY KEY)").await;
        let database = place.open();
        let event = EventId([7; 32]);
        let publications = [Publication { body: vec![0; big], ..publication("a") }];
        let expires = SystemTime::now() + Duration::from_secs(3600);
        let record = Record { event, publications: &publications, expires };
        assert_eq!(database.recall(event).await, Ok(Recalled::New));

        let mut unit = database.begin().await.unwrap();
        let length = place.places("SELECT length(?)");
        let long = ask(&mut unit, &length, [text(&"x".repeat(big * 4 / 3))]).await;
        tell(&mut unit, "INSERT INTO products VALUES (1)", []).await.unwrap();
        let committed = unit.commit(Some(record)).await;
        if place.is("mysql") {
            assert!(matches!(long, Err(SqlError::Limit(_))), "{long:?}");
            let Err(StoreError::Failed(problem)) = committed else { panic!("{committed:?}") };
            assert!(problem.contains("takes 16777216 at once (max_allowed_packet)"), "{problem}");
            assert_eq!(database.recall(event).await, Ok(Recalled::New));
            assert_eq!(place.count("products").await, 0);
        } else {
            assert!(long.is_ok() && committed.is_ok(), "{}: {committed:?}", place.kind());
            let done = Recalled::Done(publications.to_vec());
            assert!(database.recall(event).await == Ok(done), "{}", place.kind());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_events_at_once_may_be_the_first() {
    for place in Place::all().await {
        let hosts: Vec<_> = (0..8).map(|_| place.open()).collect();
        let recalled = hosts.iter().enumerate().map(|(n, host)| {
            let (host, event) = (host.clone(), EventId([u8::try_from(n).unwrap(); 32]));
            tokio::spawn(async move { host.recall(event).await })
        });
        for recalled in recalled.collect::<Vec<_>>() {
            assert_eq!(recalled.await.unwrap(), Ok(Recalled::New), "{}", place.kind());
        }
    }
}
