//! MySQL and MariaDB. Next: `mysql_values`.

use super::backend::{Backend, Problem, gather};
use super::found::Found;
use super::mysql_values::{arguments, row};
use super::{Dialect, Value};
use futures_util::future::BoxFuture;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlQueryResult};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Either, Executor as _,
    SqlSafeStr as _, Statement as _,
};

/// A server.
pub(super) struct MySql(MySqlConnectOptions);

/// What is known of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// Its number at the server.
    number: u64,
    /// How many bytes the server takes at once.
    packet: u64,
}

impl MySql {
    /// The database that `url` names.
    ///
    /// # Errors
    /// It is no such URL.
    pub(super) fn new(url: &str) -> Result<Self, sqlx::Error> {
        let options: MySqlConnectOptions = url.parse()?;
        // The server's own modes, as other clients have them. The session's time zone is UTC.
        let options = options.pipes_as_concat(false).no_engine_substitution(false);
        Ok(Self(options.disable_statement_logging()))
    }
}

impl Backend for MySql {
    type Connection = MySqlConnection;
    type Key = Link;

    const DIALECT: Dialect = Dialect::MySql;
    // A statement that fails is undone by itself.
    const BEGIN: &'static str = "START TRANSACTION";
    const SAVE: Option<&'static str> = None;
    const WRITERS: Option<usize> = None;
    const SURVIVES: bool = false;

    fn connect(&self) -> BoxFuture<'_, Result<(MySqlConnection, Link), sqlx::Error>> {
        Box::pin(async {
            let mut connection = MySqlConnection::connect_with(&self.0).await?;
            let asked = "SELECT CONNECTION_ID(), CAST(@@max_allowed_packet AS UNSIGNED)";
            let (number, packet) = sqlx::query_as(asked).fetch_one(&mut connection).await?;
            Ok((connection, Link { number, packet }))
        })
    }

    fn plain<'a>(
        connection: &'a mut MySqlConnection,
        statement: &'static str,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move { connection.execute(statement).await.map(drop) })
    }

    fn run<'a>(
        connection: &'a mut MySqlConnection,
        statement: &'a str,
        parameters: &'a [Value],
        found: &'a mut Found,
    ) -> BoxFuture<'a, Result<u64, Problem>> {
        Box::pin(async move {
            let text = AssertSqlSafe(statement.to_owned()).into_sql_str();
            let statement = (&mut *connection).prepare(text).await?;
            found.name(statement.columns().iter().map(|column| column.name()));
            let wanted = match statement.parameters() {
                Some(Either::Right(count)) => count,
                _ => 0,
            };
            let arguments = arguments(parameters, wanted)?;
            let stream = connection.fetch_many(statement.query_with(arguments));
            gather(stream, MySqlQueryResult::rows_affected, row, found).await
        })
    }

    fn room(key: &Link) -> usize {
        usize::try_from(key.packet).unwrap_or(usize::MAX)
    }

    fn recover(_: &mut MySqlConnection) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
        Box::pin(std::future::ready(Ok(true)))
    }

    fn stop(&self, key: Link, all: bool) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        let what = if all { "CONNECTION" } else { "QUERY" };
        let statement = format!("KILL {what} {}", key.number);
        Box::pin(async move {
            let mut connection = MySqlConnection::connect_with(&self.0).await?;
            match sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await {
                // It has ended meanwhile.
                Ok(_) | Err(sqlx::Error::Database(_)) => connection.close().await,
                Err(error) => Err(error),
            }
        })
    }
}
