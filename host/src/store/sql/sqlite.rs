//! SQLite, in a file of the host's own machine. Next: `sqlite_values`.

use super::backend::{Backend, Problem, gather};
use super::found::Found;
use super::sqlite_values::{arguments, row};
use super::{Dialect, Value};
use futures_util::future::BoxFuture;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteQueryResult, SqliteSynchronous,
};
use sqlx::{
    AssertSqlSafe, Column as _, ConnectOptions as _, Connection as _, Either, Executor as _,
    SqlSafeStr as _, Statement as _,
};
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long to wait for another process that writes. Within the host, writers take turns.
const BUSY_MAX: Duration = Duration::from_secs(10);

/// Between two tries to open a file that others are opening.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// SQLite's codes for a file that others use just now: busy, and being recovered.
const BUSY: [&str; 2] = ["5", "261"];

/// How many steps of SQLite's machine go by between two looks at whether to stop: some 0.1 ms.
const STEPS: i32 = 10_000;

/// A file.
pub(super) struct Sqlite {
    path: PathBuf,
    options: SqliteConnectOptions,
}

impl Sqlite {
    /// The database in the file `path`, which is made if it is not there, and its folder.
    pub(super) fn new(path: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_MAX)
            .foreign_keys(true)
            // Rows that are read ahead are in no limit.
            .row_buffer_size(1)
            .disable_statement_logging();
        Self { path: path.to_owned(), options }
    }

    /// The change to a write-ahead log wants the file for itself and does not wait for others that
    /// open it as well.
    async fn open(&self) -> Result<SqliteConnection, sqlx::Error> {
        let began = Instant::now();
        loop {
            match SqliteConnection::connect_with(&self.options).await {
                Err(sqlx::Error::Database(error))
                    if error.code().is_some_and(|code| BUSY.contains(&&*code))
                        && began.elapsed() < BUSY_MAX =>
                {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                opened => return opened,
            }
        }
    }
}

/// Makes the file and its folder, for the user alone. What SQLite puts beside it is like it. A file
/// that is there is not opened: closing it would give up the locks that this process has on it, and
/// another process, of which SQLite thinks that it is the last one, would then delete the log.
fn make(path: &Path) -> io::Result<()> {
    let (mut folder, mut file) = (DirBuilder::new(), OpenOptions::new());
    folder.recursive(true);
    file.create_new(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        folder.mode(0o700);
        file.mode(0o600);
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        folder.create(parent)?;
    }
    match file.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

impl Backend for Sqlite {
    type Connection = SqliteConnection;
    /// Set to end the statement that runs.
    type Key = Arc<AtomicBool>;

    const DIALECT: Dialect = Dialect::Sqlite;
    // With DEFERRED, two transactions that read first could not both go on to write.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const SAVE: Option<&'static str> = None;
    const WRITERS: Option<usize> = Some(1);
    const SURVIVES: bool = true;

    fn connect(&self) -> BoxFuture<'_, Result<(SqliteConnection, Self::Key), sqlx::Error>> {
        Box::pin(async {
            make(&self.path)?;
            let mut connection = self.open().await?;
            let stop = Self::Key::default();
            let stopped = stop.clone();
            let go_on = move || !stopped.load(Ordering::Relaxed);
            connection.lock_handle().await?.set_progress_handler(STEPS, go_on);
            Ok((connection, stop))
        })
    }

    fn plain<'a>(
        connection: &'a mut SqliteConnection,
        statement: &'static str,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(async move { connection.execute(statement).await.map(drop) })
    }

    fn run<'a>(
        connection: &'a mut SqliteConnection,
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
            gather(stream, SqliteQueryResult::rows_affected, row, found).await
        })
    }

    fn ready(key: &Self::Key) {
        key.store(false, Ordering::Relaxed);
    }

    fn recover(connection: &mut SqliteConnection) -> BoxFuture<'_, Result<bool, sqlx::Error>> {
        Box::pin(async move {
            // Some errors roll the transaction back (a full disk, a stopped write). What was done
            // after that would stand by itself.
            match Self::plain(connection, "BEGIN").await {
                Err(sqlx::Error::Database(_)) => Ok(true),
                Err(error) => Err(error),
                Ok(()) => Self::plain(connection, "ROLLBACK").await.map(|()| false),
            }
        })
    }

    fn stop(&self, key: Self::Key, _: bool) -> BoxFuture<'_, Result<(), sqlx::Error>> {
        key.store(true, Ordering::Relaxed);
        Box::pin(std::future::ready(Ok(())))
    }
}
