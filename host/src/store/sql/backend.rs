//! What differs between the three databases behind one `Store`: how to connect, to carry out a
//! statement, and to end one that runs. Next: `sqlite`, `postgres`, `mysql`.

use super::found::{Found, size};
use super::{Dialect, Value};
use futures_util::future::BoxFuture;
use futures_util::stream::{BoxStream, StreamExt as _};
use sqlx::Either;
use std::fmt::Display;

/// What a statement made of it.
#[derive(Debug)]
pub(super) enum Problem {
    /// The database's or the driver's no.
    Sql(sqlx::Error),
    /// A parameter does not fit.
    Type(String),
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

/// A connection, and what names it.
pub(super) type Opened<B> = (<B as Backend>::Connection, <B as Backend>::Key);

/// One kind of database.
pub(super) trait Backend: Send + Sync + 'static {
    /// An open connection.
    type Connection: sqlx::Connection + Send;
    /// What names a connection to [`Self::stop`].
    type Key: Clone + Send + Sync + 'static;

    /// Which.
    const DIALECT: Dialect;
    /// Begins a transaction, with a savepoint where there are any.
    const BEGIN: &'static str;
    /// Moves the savepoint behind what was done since.
    const SAVE: Option<&'static str>;
    /// How many transactions may write at a time; `None`: as many as there are connections.
    const WRITERS: Option<usize>;

    /// Opens a connection.
    fn connect(&self) -> BoxFuture<'_, Result<Opened<Self>, sqlx::Error>>;

    /// Carries out a statement of the host, without parameters and rows.
    fn plain<'a>(
        connection: &'a mut Self::Connection,
        statement: &'static str,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// Carries out one statement, and returns how many rows the database says that it changed.
    fn run<'a>(
        connection: &'a mut Self::Connection,
        statement: &'a str,
        parameters: &'a [Value],
        found: &'a mut Found,
    ) -> BoxFuture<'a, Result<u64, Problem>>;

    /// Readies a connection for its next statement.
    fn ready(_: &Self::Key) {}

    /// How many bytes the server takes at once.
    fn room(_: &Self::Key) -> usize {
        usize::MAX
    }

    /// Makes the transaction usable after a statement that failed; `false` if there is none any
    /// more.
    fn recover(connection: &mut Self::Connection) -> BoxFuture<'_, Result<bool, sqlx::Error>>;

    /// Makes the statement that runs on a connection end with an error; with `all`, the connection
    /// too, where it can't be trusted afterwards.
    fn stop(&self, key: Self::Key, all: bool) -> BoxFuture<'_, Result<(), sqlx::Error>>;

    /// Whether a connection is good for another transaction after a statement on it was abandoned
    /// and stopped.
    const SURVIVES: bool;
}

/// A column that has no value here.
pub(super) fn unreadable(column: &str, kind: impl Display) -> String {
    format!("the column `{column}` is of the type `{kind}`, which is not served: cast it to text")
}

/// A value that its column's type has, and this interface has not.
pub(super) fn unwritten(column: &str, kind: impl Display, cause: impl Display) -> String {
    format!("the column `{column}` holds a `{kind}` that can't be read ({cause}): cast it to text")
}

/// Whether the server takes a statement with its parameters: what is too large for it ends the
/// connection, so that it would look as if the server had gone away.
pub(super) fn fits<B: Backend>(
    key: &B::Key,
    statement: &str,
    parameters: &[Value],
) -> Result<(), String> {
    /// What any packet, and any parameter, takes on the wire beside its text, and some more.
    const EACH: usize = 64;
    let sizes = parameters.iter().map(|value| size(value) + EACH);
    let (bytes, room) = (EACH + statement.len() + sizes.sum::<usize>(), B::room(key));
    if bytes <= room {
        return Ok(());
    }
    Err(format!(
        "a statement with its parameters has {bytes} bytes, and the server takes {room} at once \
         (max_allowed_packet)"
    ))
}

/// Passes the rows of a statement to `found`, and returns how many rows it changed.
pub(super) async fn gather<Done, Row>(
    mut stream: BoxStream<'_, Result<Either<Done, Row>, sqlx::Error>>,
    changed: fn(&Done) -> u64,
    read: fn(&Row) -> Result<Vec<Value>, String>,
    found: &mut Found,
) -> Result<u64, Problem> {
    let mut count = 0;
    while let Some(next) = stream.next().await {
        match next? {
            Either::Left(done) => count += changed(&done),
            Either::Right(row) => found.take(|| read(&row)),
        }
        // Rows that are always there would leave no turn to who ends the statement.
        tokio::task::consume_budget().await;
    }
    Ok(count)
}

/// Whether there are as many parameters as the statement has places for.
pub(super) fn wrong_count(given: usize, wanted: usize) -> Result<(), Problem> {
    if given == wanted {
        return Ok(());
    }
    let text = format!("the statement has {wanted} parameters, {given} were given");
    Err(Problem::Type(text))
}
