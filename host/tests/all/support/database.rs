//! Databases of a test's own, on the servers that all tests share. Next: python.rs, other clients of
//! the broker.

use super::environment;
use redis::AsyncCommands;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection, Row};

/// An empty database that goes with this.
pub struct Database {
    /// `postgres://…/NAME`, `mysql://…/NAME` or `redis://…/NUMBER`, for a user who may do anything.
    pub url: String,
    server: String,
    name: String,
}

impl Database {
    /// In PostgreSQL.
    pub async fn postgres() -> Self {
        Self::on(&environment("WABBIT_TEST_POSTGRES")).await
    }

    /// In MariaDB.
    pub async fn mysql() -> Self {
        Self::on(&environment("WABBIT_TEST_MYSQL")).await
    }

    /// In Redis.
    pub async fn redis() -> Self {
        Self::on(&environment("WABBIT_TEST_REDIS")).await
    }

    /// On the server at `url`, e.g. that of an `xtask::services::Service` which a test may hurt.
    pub async fn on(url: &str) -> Self {
        let server = url.to_owned();
        if url.starts_with("redis://") {
            // They have numbers, and the first one counts which were given away.
            let number: u32 = connect_redis(url).await.incr("databases", 1).await.unwrap();
            return Self { url: format!("{url}/{number}"), server, name: number.to_string() };
        }
        let name = format!("test_{:012x}", fastrand::u64(..1 << 48));
        execute(&of_all(url), &format!("CREATE DATABASE {name}")).await;
        Self { url: format!("{url}/{name}"), server, name }
    }

    /// Carries out a statement of SQL.
    pub async fn execute(&self, statement: &str) {
        execute(&self.url, statement).await;
    }

    /// The first column of what a query of SQL finds, which is text.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        let query = sqlx::raw_sql(AssertSqlSafe(query.to_owned()));
        if self.url.starts_with("mysql://") {
            let mut connection = MySqlConnection::connect(&self.url).await.unwrap();
            let rows = connection.fetch_all(query).await.unwrap();
            return rows.iter().map(|row| row.get(0)).collect();
        }
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let rows = connection.fetch_all(query).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// A connection to it, if it is Redis.
    pub async fn connect_redis(&self) -> redis::aio::MultiplexedConnection {
        connect_redis(&self.url).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // What is in it tells why a test failed. Those of Redis are small.
        if std::thread::panicking() || self.server.starts_with("redis://") {
            return;
        }
        let force = if self.server.starts_with("postgres://") { " WITH (FORCE)" } else { "" };
        let statement = format!("DROP DATABASE {}{force}", self.name);
        let server = of_all(&self.server);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        // A server of the test's own may have gone before.
        let drop = move || runtime.block_on(execute(&server, &statement));
        std::thread::spawn(drop).join().ok();
    }
}

/// A database that is always there.
fn of_all(server: &str) -> String {
    let name = if server.starts_with("postgres://") { "postgres" } else { "mysql" };
    format!("{server}/{name}")
}

async fn execute(url: &str, statement: &str) {
    let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
    if url.starts_with("mysql://") {
        let mut connection = MySqlConnection::connect(url).await.unwrap();
        connection.execute(statement).await.unwrap();
    } else {
        let mut connection = PgConnection::connect(url).await.unwrap();
        connection.execute(statement).await.unwrap();
    }
}

async fn connect_redis(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}
