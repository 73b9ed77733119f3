//! What the errors of the databases mean: the store is away, the event is to be done again, or the
//! statement is at fault. Next: `session`, which acts on it.

use super::backend::Problem;
use super::{Constraint, Dialect, SqlError, StoreError};
use sqlx::error::{DatabaseError, ErrorKind};
use sqlx::mysql::MySqlDatabaseError;
use sqlx::postgres::PgDatabaseError;
use std::fmt::{self, Display};

/// What PostgreSQL says when a table was altered under a prepared statement.
const ALTERED: &str = "cached plan must not change result type";

/// Where a store is, for messages.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Its name in the host's configuration.
    pub(super) name: String,
    /// Without credentials.
    pub(super) address: String,
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the database `{}` ({})", self.name, self.address)
    }
}

impl Place {
    /// It is away.
    pub(super) fn unavailable(&self, why: impl Display) -> StoreError {
        StoreError::Unavailable(format!("{self} is not available: {why}"))
    }

    /// The event is to be done again.
    pub(super) fn conflict(&self, why: impl Display) -> StoreError {
        StoreError::Conflict(format!("{self}: {why}"))
    }

    /// It will not do this.
    pub(super) fn failed(&self, why: impl Display) -> StoreError {
        StoreError::Failed(format!("{self}: {why}"))
    }
}

/// What the code of a database's error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Away,
    Again,
    Statement,
}

/// What a problem means to the guest and the host.
pub(super) fn judge(dialect: Dialect, place: &Place, problem: Problem) -> SqlError {
    let error = match problem {
        Problem::Type(text) => return SqlError::Type(text),
        Problem::Sql(error) => error,
    };
    match &error {
        sqlx::Error::Database(error) => {
            let (code, message) = (code(&**error), words(&**error));
            match meaning(dialect, &code, &message) {
                Meaning::Away => place.unavailable(message).into(),
                Meaning::Again => place.conflict(message).into(),
                Meaning::Statement => {
                    let constraint = constraint(dialect, &**error, &code);
                    SqlError::Statement { code, constraint, message }
                }
            }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => {
            SqlError::Type(format!("{error}"))
        }
        error => place.unavailable(error).into(),
    }
}

/// As [`judge`], of what the host itself asked for.
pub(super) fn judge_own(dialect: Dialect, place: &Place, problem: Problem) -> StoreError {
    match judge(dialect, place, problem) {
        SqlError::Store(error) => error,
        other => place.failed(other),
    }
}

/// Whether a table of the host is not there.
pub(super) fn is_no_table(dialect: Dialect, problem: &Problem) -> bool {
    let Problem::Sql(sqlx::Error::Database(error)) = problem else { return false };
    match dialect {
        Dialect::Sqlite => error.message().starts_with("no such table"),
        Dialect::Postgres => code(&**error) == "42P01",
        Dialect::MySql => code(&**error) == "1146",
    }
}

/// Whether the user may not do this to a table.
pub(super) fn is_denied(dialect: Dialect, problem: &Problem) -> bool {
    let Problem::Sql(sqlx::Error::Database(error)) = problem else { return false };
    match dialect {
        Dialect::Sqlite => false,
        Dialect::Postgres => code(&**error) == "42501",
        Dialect::MySql => ["1044", "1142", "1143"].contains(&&*code(&**error)),
    }
}

/// Whether another connection has made the same table or index in the same moment: to PostgreSQL,
/// `IF NOT EXISTS` says nothing of that.
pub(super) fn is_there_already(dialect: Dialect, error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    // A name that is taken in its catalogues; a table or an index; the type of a row.
    dialect == Dialect::Postgres && ["23505", "42P07", "42710"].contains(&&*code(&**error))
}

/// Whether it is the end of a statement that was stopped.
pub(super) fn is_stopped(dialect: Dialect, problem: &Problem) -> bool {
    let Problem::Sql(sqlx::Error::Database(error)) = problem else { return false };
    let code = code(&**error);
    match dialect {
        Dialect::Sqlite => code == "9",
        Dialect::Postgres => code == "57014",
        Dialect::MySql => ["1317", "1969", "3024", "1028"].contains(&&*code),
    }
}

/// Whether what the connection has prepared is out of date, so that it is not to be used again.
pub(super) fn is_stale(dialect: Dialect, problem: &Problem) -> bool {
    let Problem::Sql(sqlx::Error::Database(error)) = problem else { return false };
    let altered = error.message().contains(ALTERED);
    dialect == Dialect::Postgres
        && match &*code(&**error) {
            "0A000" => altered,
            code => code == "26000",
        }
}

/// SQLSTATE; MySQL's number; SQLite's extended code.
fn code(error: &dyn DatabaseError) -> String {
    match error.as_error().downcast_ref::<MySqlDatabaseError>() {
        Some(error) => error.number().to_string(),
        None => error.code().map(|code| code.into_owned()).unwrap_or_default(),
    }
}

fn words(error: &dyn DatabaseError) -> String {
    let detail = error.as_error().downcast_ref::<PgDatabaseError>().and_then(|e| e.detail());
    match detail {
        Some(detail) => format!("{}: {detail}", error.message()),
        None => error.message().to_owned(),
    }
}

fn constraint(dialect: Dialect, error: &dyn DatabaseError, code: &str) -> Option<Constraint> {
    match error.kind() {
        ErrorKind::UniqueViolation => Some(Constraint::Unique),
        ErrorKind::ForeignKeyViolation => Some(Constraint::ForeignKey),
        ErrorKind::NotNullViolation => Some(Constraint::NotNull),
        ErrorKind::CheckViolation => Some(Constraint::Check),
        // SQLITE_CONSTRAINT_ROWID
        _ if dialect == Dialect::Sqlite && code == "2579" => Some(Constraint::Unique),
        _ => None,
    }
}

fn meaning(dialect: Dialect, code: &str, message: &str) -> Meaning {
    match dialect {
        Dialect::Sqlite => sqlite(code),
        Dialect::Postgres => postgres(code, message),
        Dialect::MySql => mysql(code),
    }
}

fn sqlite(code: &str) -> Meaning {
    // The low byte is the primary code: https://sqlite.org/rescode.html
    match code.parse::<u32>().unwrap_or(0) & 0xff {
        // BUSY, LOCKED
        5 | 6 => Meaning::Again,
        // NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOTADB
        7 | 8 | 10 | 11 | 13 | 14 | 15 | 26 => Meaning::Away,
        _ => Meaning::Statement,
    }
}

fn postgres(code: &str, message: &str) -> Meaning {
    // https://www.postgresql.org/docs/current/errcodes-appendix.html
    match code {
        // Serialization failure, deadlock, a lock that was not to be had in time.
        "40001" | "40P01" | "55P03" => Meaning::Again,
        // A table was altered under a prepared statement; or a pooler between forgot it.
        "0A000" if message.contains(ALTERED) => Meaning::Again,
        "26000" => Meaning::Again,
        // Read-only: a standby, until it is made the primary.
        "25006" => Meaning::Away,
        // Ended because the transaction did nothing for too long.
        "25P03" | "25P04" => Meaning::Again,
        // More than a setting allows one statement; a file that it names.
        "53400" | "58P01" | "58P02" => Meaning::Statement,
        // No connection; out of disk, memory, connections; being shut down or not up yet; an error of
        // the system. No such user or database (28, 3D) is the statement's once there is a connection.
        _ if ["08", "53", "58"].iter().any(|class| code.starts_with(class)) => Meaning::Away,
        _ if code.starts_with("57P") => Meaning::Away,
        _ => Meaning::Statement,
    }
}

fn mysql(code: &str) -> Meaning {
    // No rights in a database or no such one (1044, 1049), too much to be sorted (1038), too large a
    // packet (1153): the statement's, as there is a connection.
    // https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
    match code.parse::<u32>().unwrap_or(0) {
        // Deadlock, lock wait timeout, a row that changed since it was read, NOWAIT, replication's
        // certification.
        1213 | 1205 | 1020 | 3572 | 3101 => Meaning::Again,
        // Disk full: writing failed, no space, table full.
        3 | 1021 | 1114 |
        // Too many connections, of all or of the user; out of memory or threads.
        1040 | 1203 | 1226 | 1037 | 1041 | 1135 |
        // No such user or host.
        1045 | 1129 | 1130 | 1698 |
        // Shut down, connection killed or timed out, packets lost.
        1053 | 1077 | 1079 | 1927 | 3169 | 4031 | 1152 | 1154..=1161 | 1184 |
        // Read-only.
        1290 | 1792 | 1836 => Meaning::Away,
        _ => Meaning::Statement,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{MySql, Postgres, Sqlite};

    #[test]
    fn codes_mean_what_they_mean_in_each_database() {
        let table = [
            (Sqlite, "5", Meaning::Again),
            (Sqlite, "517", Meaning::Again),
            (Sqlite, "13", Meaning::Away),
            (Sqlite, "1032", Meaning::Away),
            (Sqlite, "2067", Meaning::Statement),
            (Sqlite, "1", Meaning::Statement),
            (Postgres, "40001", Meaning::Again),
            (Postgres, "40P01", Meaning::Again),
            (Postgres, "57P01", Meaning::Away),
            (Postgres, "57P03", Meaning::Away),
            (Postgres, "57014", Meaning::Statement),
            (Postgres, "53300", Meaning::Away),
            (Postgres, "53100", Meaning::Away),
            (Postgres, "53400", Meaning::Statement),
            (Postgres, "58030", Meaning::Away),
            (Postgres, "58P01", Meaning::Statement),
            (Postgres, "28P01", Meaning::Statement),
            (Postgres, "3D000", Meaning::Statement),
            (Postgres, "42501", Meaning::Statement),
            (Postgres, "25006", Meaning::Away),
            (Postgres, "23505", Meaning::Statement),
            (Postgres, "42P01", Meaning::Statement),
            (Postgres, "0A000", Meaning::Statement),
            (MySql, "1213", Meaning::Again),
            (MySql, "1205", Meaning::Again),
            (MySql, "1040", Meaning::Away),
            (MySql, "1045", Meaning::Away),
            (MySql, "1038", Meaning::Statement),
            (MySql, "1044", Meaning::Statement),
            (MySql, "1049", Meaning::Statement),
            (MySql, "1152", Meaning::Away),
            (MySql, "1153", Meaning::Statement),
            (MySql, "1158", Meaning::Away),
            (MySql, "1053", Meaning::Away),
            (MySql, "1114", Meaning::Away),
            (MySql, "1290", Meaning::Away),
            (MySql, "1062", Meaning::Statement),
            (MySql, "1064", Meaning::Statement),
        ];
        for (dialect, code, expected) in table {
            assert_eq!(meaning(dialect, code, ""), expected, "{dialect:?} {code}");
        }
        assert_eq!(meaning(Postgres, "0A000", ALTERED), Meaning::Again);
    }
}
