//! SQL databases as stores: the same on SQLite, PostgreSQL and MariaDB, as far as they are the same.
//! `values` is what goes in and comes out, `trouble` what goes wrong, `record` what the host itself
//! remembers there, `guests` what handlers see of it.

mod guests;
mod record;
mod trouble;
mod values;

use crate::support::database::Database;
use crate::support::environment;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use wabbit::store::sql::{self, Constraint, Limits, Rows, Settings, SqlError, Unit, Value};
use wabbit::store::{Location, StoreError};

const LIMITS: Limits = Limits { time: Duration::from_secs(10), rows: 1000, bytes: 8 << 20 };

/// A database of a test's own.
struct Place {
    /// The database that it is in; `None`: SQLite.
    server: Option<Database>,
    folder: TempDir,
    url: String,
}

impl Place {
    async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}/deep/shop.sqlite", folder.path().display());
        Self { server: None, folder, url }
    }

    async fn postgres() -> Self {
        Self::on(Database::postgres().await)
    }

    async fn mysql() -> Self {
        Self::on(Database::mysql().await)
    }

    fn on(server: Database) -> Self {
        let url = server.url.clone();
        Self { server: Some(server), folder: tempfile::tempdir().unwrap(), url }
    }

    async fn all() -> [Self; 3] {
        [Self::sqlite().await, Self::postgres().await, Self::mysql().await]
    }

    fn kind(&self) -> &str {
        self.url.split_once(':').unwrap().0
    }

    fn is(&self, kind: &str) -> bool {
        self.kind() == kind
    }

    /// The database, as a host opens it.
    fn open(&self) -> Arc<dyn sql::Database> {
        self.open_with(Settings::default())
    }

    fn open_with(&self, settings: Settings) -> Arc<dyn sql::Database> {
        open(&self.url, settings)
    }

    /// `statement` with its `?` as this database has them.
    fn places(&self, statement: &str) -> String {
        if !self.is("postgres") {
            return statement.to_owned();
        }
        let mut parts = statement.split('?');
        let first = parts.next().unwrap().to_owned();
        parts.enumerate().fold(first, |text, (index, part)| format!("{text}${}{part}", index + 1))
    }

    /// Makes a table, as a person would.
    async fn create(&self, statement: &str) {
        match &self.server {
            Some(server) => server.execute(statement).await,
            None => {
                let mut unit = self.open().begin().await.unwrap();
                unit.execute(statement, Vec::new(), &LIMITS).await.unwrap();
                unit.commit(None).await.unwrap();
            }
        }
    }

    /// How many rows `table` has.
    async fn count(&self, table: &str) -> i64 {
        let mut unit = self.open().begin().await.unwrap();
        let query = format!("SELECT count(*) FROM {table}");
        match ask(&mut unit, &query, []).await.unwrap().rows[0][0] {
            Value::Integer(count) => count,
            ref other => panic!("{other:?}"),
        }
    }
}

fn open(url: &str, settings: Settings) -> Arc<dyn sql::Database> {
    sql::open("shop", &Location::parse(url).unwrap(), settings).unwrap()
}

async fn tell<const N: usize>(
    unit: &mut Box<dyn Unit>,
    statement: &str,
    values: [Value; N],
) -> Result<u64, SqlError> {
    unit.execute(statement, values.into(), &LIMITS).await
}

async fn ask<const N: usize>(
    unit: &mut Box<dyn Unit>,
    statement: &str,
    values: [Value; N],
) -> Result<Rows, SqlError> {
    unit.query(statement, values.into(), &LIMITS).await
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_there_and_what_is_not_is_not() {
    for place in Place::all().await {
        place.create("CREATE TABLE products (id INTEGER PRIMARY KEY, name VARCHAR(20))").await;
        // One connection, so that what is left open on it would be found.
        let database = place.open_with(Settings { connections: 1, ..Settings::default() });
        let insert = place.places("INSERT INTO products VALUES (?, ?)");
        for (id, end) in [(1, "commit"), (2, "roll back"), (3, "drop"), (4, "commit")] {
            let mut unit = database.begin().await.unwrap();
            let values = [Value::Integer(id), text(end)];
            assert_eq!(tell(&mut unit, &insert, values).await, Ok(1), "{}", place.kind());
            match end {
                "commit" => unit.commit(None).await.unwrap(),
                "roll back" => unit.rollback().await,
                _ => drop(unit),
            }
        }
        let mut unit = database.begin().await.unwrap();
        let update = place.places("UPDATE products SET name = ?");
        assert_eq!(tell(&mut unit, &update, [text("x")]).await, Ok(2));
        let found = ask(&mut unit, "SELECT id, name FROM products ORDER BY id", []).await.unwrap();
        assert_eq!(found.columns, ["id", "name"]);
        let rows = [1, 4].map(|id| vec![Value::Integer(id), text("x")]);
        assert_eq!(found.rows, rows, "{}", place.kind());
        let nothing = ask(&mut unit, "SELECT id FROM products WHERE id = 7", []).await.unwrap();
        assert_eq!((nothing.columns, nothing.rows.len()), (vec!["id".to_owned()], 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_fails_says_why_and_leaves_the_transaction_usable() {
    for place in Place::all().await {
        let engine = if place.is("mysql") { " ENGINE=InnoDB" } else { "" };
        place.create(&format!("CREATE TABLE kinds (id INTEGER PRIMARY KEY){engine}")).await;
        let table = "CREATE TABLE products (id INTEGER PRIMARY KEY, name VARCHAR(20) NOT NULL, \
                     kind INTEGER, price INTEGER CHECK (price > 0), \
                     FOREIGN KEY (kind) REFERENCES kinds (id))";
        place.create(&format!("{table}{engine}")).await;
        let mut unit = place.open().begin().await.unwrap();
        let insert = "INSERT INTO products VALUES";
        assert_eq!(tell(&mut unit, &format!("{insert} (1, 'a', NULL, 1)"), []).await, Ok(1));
        let table = [
            ("(1, 'b', NULL, 1)", Some(Constraint::Unique)),
            ("(2, NULL, NULL, 1)", Some(Constraint::NotNull)),
            ("(2, 'b', 7, 1)", Some(Constraint::ForeignKey)),
            ("(2, 'b', NULL, -1)", Some(Constraint::Check)),
            ("(2, b, c, d, e)", None),
        ];
        for (values, expected) in table {
            match tell(&mut unit, &format!("{insert} {values}"), []).await.unwrap_err() {
                SqlError::Statement { code, constraint, message } => {
                    assert_eq!(constraint, expected, "{}: {values}: {message}", place.kind());
                    assert!(!code.is_empty() && !message.is_empty());
                }
                other => panic!("{}: {values}: {other:?}", place.kind()),
            }
        }
        let refused = tell(&mut unit, "COMMIT", []).await.unwrap_err();
        assert!(matches!(refused, SqlError::Refused(_)), "{refused:?}");
        assert_eq!(tell(&mut unit, &format!("{insert} (3, 'c', NULL, 1)"), []).await, Ok(1));
        unit.commit(None).await.unwrap();
        assert_eq!(place.count("products").await, 2, "{}", place.kind());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_made_in_the_transaction_where_the_database_can() {
    for place in Place::all().await {
        let mut unit = place.open().begin().await.unwrap();
        let made = tell(&mut unit, "CREATE TABLE made (id INTEGER)", []).await;
        if place.is("mysql") {
            let refused = made.unwrap_err().to_string();
            assert!(refused.contains("would commit the transaction"), "{refused}");
            continue;
        }
        assert_eq!(made, Ok(0));
        drop(unit);
        let mut unit = place.open().begin().await.unwrap();
        assert!(ask(&mut unit, "SELECT * FROM made", []).await.is_err(), "{}", place.kind());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_sqlite_and_its_folder_are_the_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::sqlite().await;
    place.create("CREATE TABLE made (id INTEGER)").await;
    let folder = place.folder.path().join("deep");
    let file = folder.join("shop.sqlite");
    for (path, expected) in [(folder, 0o700), (file, 0o600)] {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, expected, "{}", path.display());
    }
    let mut unit = place.open().begin().await.unwrap();
    let settings = "SELECT j.journal_mode, s.synchronous, f.foreign_keys FROM \
                    pragma_journal_mode j, pragma_synchronous s, pragma_foreign_keys f";
    let found = ask(&mut unit, settings, []).await.unwrap();
    assert_eq!(found.rows, [[text("wal"), Value::Integer(2), Value::Integer(1)]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_may_read_a_file_of_sqlite_meanwhile() {
    let place = Place::sqlite().await;
    place.create("CREATE TABLE products (id INTEGER PRIMARY KEY)").await;
    let file = place.folder.path().join("deep/shop.sqlite");
    let elsewhere = async || {
        let read = "import sqlite3, sys\n\
                    rows = sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM products')\n\
                    print(*rows.fetchone())";
        let mut python = std::process::Command::new(environment("WABBIT_TEST_PYTHON"));
        python.arg("-c").arg(read).arg(&file);
        let read = tokio::task::spawn_blocking(move || python.output().unwrap()).await.unwrap();
        String::from_utf8(read.stdout).unwrap()
    };
    let first = place.open();
    for n in 1..=4 {
        // One more connection each time; the first one's locks must outlive that.
        for database in [&place.open(), &first] {
            let mut unit = database.begin().await.unwrap();
            tell(&mut unit, "INSERT INTO products DEFAULT VALUES", []).await.unwrap();
            unit.commit(None).await.unwrap();
        }
        assert_eq!(elsewhere().await, format!("{}\n", 2 * n));
    }
}
