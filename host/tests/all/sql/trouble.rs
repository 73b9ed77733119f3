//! Databases that are away, slow, busy or altered; handlers that go away.

use super::*;
use std::time::Instant;
use xtask::services::Service;

/// A query that returns rows without end, and one that never returns.
pub(super) fn endless(place: &Place) -> (&'static str, &'static str) {
    match place.kind() {
        "sqlite" => (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n",
        ),
        "postgres" => ("SELECT generate_series(1, 1000000000000)", "SELECT pg_sleep(3600)"),
        _ => (
            "SELECT a.table_name FROM information_schema.columns a, information_schema.columns b, \
             information_schema.columns c",
            "SELECT SLEEP(3600)",
        ),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_over_its_limits_ends_soon_and_the_transaction_goes_on() {
    for place in Place::all().await {
        place.create("CREATE TABLE products (id INTEGER PRIMARY KEY, name VARCHAR(20))").await;
        let (rows, time) = endless(&place);
        let mut unit = place.open().begin().await.unwrap();
        tell(&mut unit, "INSERT INTO products VALUES (1, 'a')", []).await.unwrap();
        let table = [
            (rows, Limits { rows: 10, ..LIMITS }, "one query may return 10 rows"),
            (rows, Limits { bytes: 100, ..LIMITS }, "the rows of one query may hold 100 bytes"),
            (
                time,
                Limits { time: Duration::from_millis(200), ..LIMITS },
                "one statement may take 200ms",
            ),
        ];
        for (query, limits, expected) in table {
            let began = Instant::now();
            let error = unit.query(query, Vec::new(), &limits).await.unwrap_err();
            assert_eq!(error, SqlError::Limit(expected.to_owned()), "{}", place.kind());
            assert!(began.elapsed() < Duration::from_secs(5), "{} {expected}", place.kind());
        }
        tell(&mut unit, "INSERT INTO products VALUES (2, 'b')", []).await.unwrap();
        unit.commit(None).await.unwrap();
        assert_eq!(place.count("products").await, 2, "{}", place.kind());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_abandoned_event_had_locked_is_free_again_soon() {
    for place in Place::all().await {
        place.create("CREATE TABLE products (id INTEGER PRIMARY KEY, name VARCHAR(20))").await;
        place.create("INSERT INTO products VALUES (1, 'a')").await;
        let database = place.open_with(Settings { connections: 2, ..Settings::default() });
        let (_, never) = endless(&place);
        for _ in 0..4 {
            let mut unit = database.begin().await.unwrap();
            tell(&mut unit, "UPDATE products SET name = 'b'", []).await.unwrap();
            let running = unit.query(never, Vec::new(), &LIMITS);
            let abandoned = tokio::time::timeout(Duration::from_millis(200), running).await;
            assert!(abandoned.is_err(), "{}", place.kind());
        }
        let began = Instant::now();
        let mut unit = database.begin().await.unwrap();
        tell(&mut unit, "UPDATE products SET name = 'c' WHERE name = 'a'", []).await.unwrap();
        unit.commit(None).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "{}", place.kind());
        let mut unit = database.begin().await.unwrap();
        let found = ask(&mut unit, "SELECT name FROM products", []).await.unwrap();
        assert_eq!(found.rows, [[text("c")]], "{}", place.kind());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_can_not_be_reached_is_named_without_its_password() {
    let secret = "sesame-hidden";
    let mut table = vec![
        (format!("postgres://me:{secret}@127.0.0.1:1/shop"), "refused"),
        (format!("mysql://me:{secret}@127.0.0.1:1/shop"), "refused"),
        ("sqlite:/proc/nowhere/shop.sqlite".to_owned(), "No such file"),
    ];
    for place in [Place::postgres().await, Place::mysql().await] {
        let (server, name) = place.url.rsplit_once('/').unwrap();
        table.push((format!("{server}/nowhere"), "nowhere"));
        let wrong = format!("{}/{name}", server.replace("sesame", secret));
        table.push((wrong, if place.is("mysql") { "denied" } else { "password" }));
    }
    for (url, why) in table {
        let database = open(&url, Settings::default());
        let Err(StoreError::Unavailable(problem)) = database.begin().await else {
            panic!("{url}: it is there");
        };
        let address = url.rsplit_once('@').map_or(&*url, |(_, address)| address);
        assert!(problem.contains(why) && problem.contains(address), "{problem}");
        assert!(problem.contains("`shop`") && !problem.contains(secret), "{problem}");
    }
    let mistaken = Location::parse(&format!("postgres://me:{secret}@host:port/shop")).unwrap();
    let problem = sql::open("shop", &mistaken, Settings::default()).err().unwrap();
    assert!(!problem.contains(secret), "{problem}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_went_away_is_unavailable_until_it_is_back() {
    let started = tokio::task::spawn_blocking(|| {
        let mut services = [Service::postgres(), Service::mariadb()].map(Result::unwrap);
        services.iter_mut().for_each(|service| service.wait_ready().unwrap());
        services
    });
    for mut service in started.await.unwrap() {
        let place = Place::on(Database::on(&service.url()).await);
        place.create("CREATE TABLE products (id INTEGER PRIMARY KEY)").await;
        let database = place.open();
        let mut unit = database.begin().await.unwrap();
        tell(&mut unit, "INSERT INTO products VALUES (1)", []).await.unwrap();
        service.kill();
        for statement in ["INSERT INTO products VALUES (2)", "SELECT 1"] {
            let lost = tell(&mut unit, statement, []).await.unwrap_err();
            let away = matches!(lost, SqlError::Store(StoreError::Unavailable(_)));
            assert!(away, "{}: {lost:?}", place.kind());
        }
        assert!(unit.commit(None).await.is_err(), "{}", place.kind());
        assert!(matches!(database.begin().await.err(), Some(StoreError::Unavailable(_))));
        service.start_again().unwrap();
        tokio::task::block_in_place(|| service.wait_ready().unwrap());
        let mut unit = database.begin().await.unwrap();
        tell(&mut unit, "INSERT INTO products VALUES (3)", []).await.unwrap();
        unit.commit(None).await.unwrap();
        assert_eq!(place.count("products").await, 1, "{}", place.kind());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_events_that_wait_for_each_other_one_is_done_again() {
    for place in [Place::postgres().await, Place::mysql().await] {
        place.create("CREATE TABLE stock (id INTEGER PRIMARY KEY, count INTEGER)").await;
        place.create("INSERT INTO stock VALUES (1, 0), (2, 0)").await;
        let database = place.open();
        let (first, second) = (database.begin().await.unwrap(), database.begin().await.unwrap());
        let barrier = Arc::new(tokio::sync::Barrier::new(2));
        let both = [(first, 1, 2), (second, 2, 1)].map(|(mut unit, one, other)| {
            let (barrier, update) =
                (barrier.clone(), "UPDATE stock SET count = count + 1 WHERE id =");
            tokio::spawn(async move {
                tell(&mut unit, &format!("{update} {one}"), []).await.unwrap();
                barrier.wait().await;
                match tell(&mut unit, &format!("{update} {other}"), []).await {
                    Ok(_) => unit.commit(None).await.is_ok(),
                    Err(error) => {
                        let conflict = SqlError::Store(StoreError::Conflict(String::new()));
                        let same =
                            std::mem::discriminant(&error) == std::mem::discriminant(&conflict);
                        assert!(same && error.to_string().contains("`shop`"), "{error:?}");
                        // What is done after that would stand by itself.
                        let again = tell(&mut unit, "UPDATE stock SET count = 100", []).await;
                        assert_eq!(again.unwrap_err(), error);
                        assert!(matches!(unit.commit(None).await, Err(StoreError::Conflict(_))));
                        false
                    }
                }
            })
        });
        let mut won = 0;
        for one in both {
            won += i32::from(one.await.unwrap());
        }
        assert_eq!(won, 1, "{}", place.kind());
        let mut unit = database.begin().await.unwrap();
        let found = ask(&mut unit, "SELECT count FROM stock", []).await.unwrap();
        assert_eq!(found.rows, [[Value::Integer(1)], [Value::Integer(1)]], "{}", place.kind());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_a_file_take_turns() {
    let place = Place::sqlite().await;
    place.create("CREATE TABLE stock (count INTEGER)").await;
    place.create("INSERT INTO stock VALUES (0)").await;
    let database = place.open();
    let all = (0..50).map(|_| {
        let database = database.clone();
        tokio::spawn(async move {
            let mut unit = database.begin().await.unwrap();
            let found = ask(&mut unit, "SELECT count FROM stock", []).await.unwrap();
            let Value::Integer(count) = found.rows[0][0] else { panic!("{found:?}") };
            let next = Value::Integer(count + 1);
            tell(&mut unit, "UPDATE stock SET count = ?", [next]).await.unwrap();
            unit.commit(None).await.unwrap();
        })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    let mut unit = database.begin().await.unwrap();
    let found = ask(&mut unit, "SELECT count FROM stock", []).await.unwrap();
    assert_eq!(found.rows, [[Value::Integer(50)]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_altered_meanwhile_makes_the_event_come_again_at_most() {
    let place = Place::postgres().await;
    place.create("CREATE TABLE products (id INTEGER)").await;
    let database = place.open_with(Settings { connections: 1, ..Settings::default() });
    let mut unit = database.begin().await.unwrap();
    ask(&mut unit, "SELECT * FROM products", []).await.unwrap();
    unit.commit(None).await.unwrap();
    place.create("ALTER TABLE products ADD COLUMN name text").await;
    let mut unit = database.begin().await.unwrap();
    let error = ask(&mut unit, "SELECT * FROM products", []).await.unwrap_err();
    assert!(matches!(error, SqlError::Store(StoreError::Conflict(_))), "{error:?}");
    drop(unit);
    let mut unit = database.begin().await.unwrap();
    let found = ask(&mut unit, "SELECT * FROM products", []).await.unwrap();
    assert_eq!(found.columns, ["id", "name"]);
}
