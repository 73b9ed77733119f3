//! SQL databases. The statements of one event are one transaction, which begins with the first.
//! Begin with `session`, which is such a transaction; `backend` is what the three kinds of database
//! differ in.

mod backend;
mod errors;
mod forms;
mod found;
mod inbox;
mod mysql;
mod mysql_values;
mod pool;
mod postgres;
mod postgres_numeric;
mod postgres_values;
mod session;
mod sqlite;
mod sqlite_values;
mod statement;
mod store;
mod words;

use super::location::{Engine, Location};
use super::{Inbox, Record, StoreError};
use errors::Place;
use futures_util::future::BoxFuture;
use mysql::MySql;
use postgres::Postgres;
use sqlite::Sqlite;
use std::sync::Arc;
use std::time::Duration;
use store::Store;

/// A kind of database, whose SQL it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// Embedded, in a file.
    Sqlite,
    /// A server.
    Postgres,
    /// A server; MariaDB, too.
    MySql,
}

/// How a database is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How many connections are open at most: as many events are in it at the same time.
    pub connections: u32,
    /// How long connecting may take.
    pub connect: Duration,
    /// How long to wait for a connection that is free.
    pub wait: Duration,
    /// How long an answer to what the host itself asks for may take.
    pub answer: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 16,
            connect: Duration::from_secs(5),
            wait: Duration::from_secs(30),
            answer: Duration::from_secs(30),
        }
    }
}

/// The database `name` at `location`. Nothing is connected before the first use, and without end
/// after that.
///
/// # Errors
/// What is wrong with the URL, without it.
pub fn open(
    name: &str,
    location: &Location,
    settings: Settings,
) -> Result<Arc<dyn Database>, String> {
    let place = Place { name: name.to_owned(), address: location.to_string() };
    let malformed = |error: sqlx::Error| format!("its URL can't be read: {error}");
    Ok(match location.engine {
        Engine::Sqlite => {
            let path = location.path();
            if path.to_string_lossy().starts_with(':') {
                return Err(
                    "it must be a file: each connection would have a memory of its own".to_owned()
                );
            }
            Arc::new(Store::new(place, Sqlite::new(&path), settings))
        }
        Engine::Postgres => {
            let postgres = Postgres::new(location.url()).map_err(malformed)?;
            Arc::new(Store::new(place, postgres, settings))
        }
        Engine::Mysql => {
            let mysql = MySql::new(location.url()).map_err(malformed)?;
            Arc::new(Store::new(place, mysql, settings))
        }
        Engine::Redb | Engine::Redis => return Err("it is no SQL database".to_owned()),
    })
}

/// A database, with its pool of connections.
pub trait Database: Inbox {
    /// Begins a transaction.
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Unit>, StoreError>>;
}

/// A transaction. Dropped, it is rolled back.
pub trait Unit: Send {
    /// Carries out one statement without rows; how many it changed.
    fn execute<'a>(
        &'a mut self,
        statement: &'a str,
        parameters: Vec<Value>,
        limits: &'a Limits,
    ) -> BoxFuture<'a, Result<u64, SqlError>>;

    /// Carries out one statement with rows.
    fn query<'a>(
        &'a mut self,
        statement: &'a str,
        parameters: Vec<Value>,
        limits: &'a Limits,
    ) -> BoxFuture<'a, Result<Rows, SqlError>>;

    /// Writes `record` and commits.
    fn commit<'a>(
        self: Box<Self>,
        record: Option<Record<'a>>,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Ends it without a trace.
    fn rollback(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What one statement may use up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How long it may take.
    pub time: Duration,
    /// The most rows that it may return.
    pub rows: usize,
    /// The most bytes that all its rows may hold.
    pub bytes: usize,
}

impl Limits {
    /// The smaller of both, limit by limit.
    #[must_use]
    pub fn min(&self, other: &Limits) -> Limits {
        Self {
            time: self.time.min(other.time),
            rows: self.rows.min(other.rows),
            bytes: self.bytes.min(other.bytes),
        }
    }
}

/// A parameter, or a value of a row. See wit/deps/wabbit-sql for the forms of those in text.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the WIT says it")]
pub enum Value {
    Null,
    Boolean(bool),
    Integer(i64),
    Real(f64),
    Decimal(String),
    Text(String),
    Bytes(Vec<u8>),
    Date(String),
    Time(String),
    Timestamp(String),
    TimestampTz(String),
    Uuid(String),
    Json(String),
}

/// What a query found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Rows {
    /// Names.
    pub columns: Vec<String>,
    /// One value for each column.
    pub rows: Vec<Vec<Value>>,
}

/// What a statement would have broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "SQL's own words")]
pub enum Constraint {
    Unique,
    ForeignKey,
    NotNull,
    Check,
}

/// Why a statement has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// The database is away, or wants the event to be done again: see [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Several statements, or one that would end the transaction.
    #[error("{0}")]
    Refused(String),
    /// The database's own no.
    #[error("{message}")]
    Statement {
        /// SQLSTATE; MySQL's number; SQLite's extended code.
        code: String,
        /// If it is one.
        constraint: Option<Constraint>,
        /// In the database's words.
        message: String,
    },
    /// A parameter or a column of a type that does not fit.
    #[error("{0}")]
    Type(String),
    /// Over [`Limits`].
    #[error("{0}")]
    Limit(String),
}
