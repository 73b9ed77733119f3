//! PostgreSQL. Next: `postgres_values`.

use super::backend::{Backend, Problem, gather};
use super::found::Found;
use super::postgres_values::{arguments, row};
use super::{Dialect, Value};
use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgQueryResult};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Either, Executor as _,
    SqlSafeStr as _, Statement as _,
};

/// A server.
pub(super) struct Postgres(PgConnectOptions);

impl Postgres {
    /// The database that `url` names.
    ///
    /// # Errors
    /// It is no such URL.
    pub(super) fn new(url: &str) -> Result<Self, sqlx::Error> {
        let options: PgConnectOptions = url.parse()?;
        Ok(Self(options.application_name("wabbit").disable_statement_logging()))
    }
}

impl Backend for Postgres {
    type Connection = PgConnection;
    /// The process of the server.
    type Key = i32;

    const DIALECT: Dialect = Dialect::Postgres;
    // Without a savepoint, a statement that fails would take all others along.
    const BEGIN: &'static str = "BEGIN; SAVEPOINT wabbit";
    const SAVE: Option<&'static str> = Some("RELEASE SAVEPOINT wabbit; SAVEPOINT wabbit");
    const WRITERS: Option<usize> = None;
    const SURVIVES: bool = false;

    fn connect(&self) -> BoxFuture<'_, Result<(PgConnection, i32), sqlx::Error>> {
        Box::pin(async {
            let mut connection = PgConnection::connect_with(&self.0).await?;
            let process = sqlx::query_scalar("SELECT pg_backend_pid()");
            let process = process.fetch_one(&mut connection).await?;
            Ok((connection, process))
        })
    }

    fn plain<'a>(
        connection: &'a mut PgConnection,
        statement: &'static str,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move { connection.execute(statement).await.map(drop) })
    }

    fn run<'a>(
        connection: &'a mut PgConnection,
        statement: &'a str,
        parameters: &'a [Value],
        found: &'a mut Found,
    ) -> BoxFuture<'a, Result<u64, Problem>> {
        Box::pin(async move {
            let text = AssertSqlSafe(statement.to_owned()).into_sql_str();
            // Prepared first, since PostgreSQL converts no value to what a parameter is.
            let statement = (&mut *connection).prepare(text).await?;
            found.name(statement.columns().iter().map(|column| column.name()));
            let wanted = match statement.parameters() {
                Some(Either::Left(types)) => types,
                _ => &[],
            };
            let arguments = arguments(parameters, wanted)?;
            let stream = connection.fetch_many(statement.query_with(arguments));
            gather(stream, PgQueryResult::rows_affected, row, found).await
        })
    }

    fn recover(connection: &mut PgConnection) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
        Box::pin(async move {
            Self::plain(connection, "ROLLBACK TO SAVEPOINT wabbit").await.map(|()| true)
        })
    }

    fn stop(&self, key: i32, all: bool) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        let statement =
            if all { "SELECT pg_terminate_backend($1)" } else { "SELECT pg_cancel_backend($1)" };
        Box::pin(async move {
            let mut connection = PgConnection::connect_with(&self.0).await?;
            sqlx::query(statement).bind(key).execute(&mut connection).await?;
            connection.close().await
        })
    }
}
