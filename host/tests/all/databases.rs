//! The databases that tests run on are what those tests take them for.

use crate::support::database::Database;
use redis::AsyncCommands;
use xtask::services::Service;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_has_databases_of_its_own() {
    let others = [Database::postgres().await, Database::mysql().await];
    let mine = [Database::postgres().await, Database::mysql().await];
    for (mine, other) in mine.iter().zip(&others) {
        for (database, name) in [(mine, "mine"), (other, "other")] {
            database.execute("CREATE TABLE names (name VARCHAR(20))").await;
            database.execute(&format!("INSERT INTO names VALUES ('{name}')")).await;
        }
        assert_eq!(mine.texts("SELECT name FROM names").await, ["mine"]);
    }
    let (mine, other) = (Database::redis().await, Database::redis().await);
    let _: () = other.connect_redis().await.set("name", "other").await.unwrap();
    let found: Option<String> = mine.connect_redis().await.get("name").await.unwrap();
    assert_eq!(found, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_outlives_a_server_that_is_killed() {
    let started = tokio::task::spawn_blocking(|| {
        let mut services = [Service::postgres(), Service::mariadb()].map(Result::unwrap);
        services.iter_mut().for_each(|service| service.wait_ready().unwrap());
        services
    });
    for mut service in started.await.unwrap() {
        let database = Database::on(&service.url()).await;
        database.execute("CREATE TABLE names (name VARCHAR(20))").await;
        database.execute("INSERT INTO names VALUES ('kept')").await;
        service.kill();
        service.start_again().unwrap();
        tokio::task::block_in_place(|| service.wait_ready().unwrap());
        assert_eq!(database.texts("SELECT name FROM names").await, ["kept"]);
    }
}
