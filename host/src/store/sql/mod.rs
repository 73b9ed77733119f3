//! SQL databases. The statements of one event are one transaction, which begins with the first.

use super::{Inbox, Record, StoreError};
use futures_util::future::BoxFuture;
use std::time::Duration;

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
        /// SQLSTATE, or SQLite's extended code.
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
