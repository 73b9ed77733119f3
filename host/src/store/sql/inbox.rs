//! The host's own tables: which events are done, and what is still to be published for them. They
//! are made when they are first missed. Next: `store`, which puts all of it together.

use super::backend::{Backend, Problem, fits};
use super::errors::{Place, is_denied, is_no_table, is_there_already, judge, judge_own};
use super::found::Found;
use super::pool::{Held, Pool};
use super::session::late;
use super::{Constraint, Dialect, Limits, SqlError, StoreError, Value};
use crate::store::{EventId, OWED, Recalled, Record, outbox};
use std::time::{Duration, SystemTime};
use tokio::time::{error::Elapsed, timeout};

/// How many records one statement forgets, so that it holds up no event for long.
const BATCH: u64 = 5_000;

/// The tables of one dialect. `expires` counts seconds since 1970; `publications` is a JSON array of
/// what the broker had not taken yet.
fn tables(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Sqlite => &[
            "CREATE TABLE IF NOT EXISTS wabbit_inbox (id BLOB NOT NULL PRIMARY KEY, \
             done_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP, expires INTEGER NOT NULL)",
            "CREATE INDEX IF NOT EXISTS wabbit_inbox_expires ON wabbit_inbox (expires)",
            "CREATE TABLE IF NOT EXISTS wabbit_outbox (event BLOB NOT NULL PRIMARY KEY, \
             publications TEXT NOT NULL, expires INTEGER NOT NULL)",
        ],
        Dialect::Postgres => &[
            "CREATE TABLE IF NOT EXISTS wabbit_inbox (id bytea NOT NULL PRIMARY KEY, \
             done_at timestamptz NOT NULL DEFAULT now(), expires bigint NOT NULL)",
            "CREATE INDEX IF NOT EXISTS wabbit_inbox_expires ON wabbit_inbox (expires)",
            "CREATE TABLE IF NOT EXISTS wabbit_outbox (event bytea NOT NULL PRIMARY KEY, \
             publications text NOT NULL, expires bigint NOT NULL)",
        ],
        Dialect::MySql => &[
            "CREATE TABLE IF NOT EXISTS wabbit_inbox (id BINARY(32) NOT NULL PRIMARY KEY, \
             done_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, expires BIGINT NOT NULL, \
             INDEX wabbit_inbox_expires (expires)) ENGINE=InnoDB",
            "CREATE TABLE IF NOT EXISTS wabbit_outbox (event BINARY(32) NOT NULL PRIMARY KEY, \
             publications LONGTEXT CHARACTER SET utf8mb4 NOT NULL, expires BIGINT NOT NULL) \
             ENGINE=InnoDB",
        ],
    }
}

/// One statement of the host, for PostgreSQL and for the other two.
#[derive(Clone, Copy)]
struct Asked {
    postgres: &'static str,
    others: &'static str,
}

const RECALL: Asked = Asked {
    postgres: "SELECT o.publications FROM wabbit_inbox i \
               LEFT JOIN wabbit_outbox o ON o.event = i.id WHERE i.id = $1",
    others: "SELECT o.publications FROM wabbit_inbox i \
             LEFT JOIN wabbit_outbox o ON o.event = i.id WHERE i.id = ?",
};

const PUBLISHED: Asked = Asked {
    postgres: "DELETE FROM wabbit_outbox WHERE event = $1",
    others: "DELETE FROM wabbit_outbox WHERE event = ?",
};

const DONE: Asked = Asked {
    postgres: "INSERT INTO wabbit_inbox (id, expires) VALUES ($1, $2)",
    others: "INSERT INTO wabbit_inbox (id, expires) VALUES (?, ?)",
};

const KEPT: Asked = Asked {
    postgres: "INSERT INTO wabbit_outbox (event, expires, publications) VALUES ($1, $2, $3)",
    others: "INSERT INTO wabbit_outbox (event, expires, publications) VALUES (?, ?, ?)",
};

/// What is owed for so long that it is given up, with the records of its events first.
const GIVEN_UP: [Asked; 2] = [
    Asked {
        postgres: "DELETE FROM wabbit_inbox WHERE id IN \
                   (SELECT event FROM wabbit_outbox WHERE expires < $1)",
        others: "DELETE FROM wabbit_inbox WHERE id IN \
                 (SELECT event FROM wabbit_outbox WHERE expires < ?)",
    },
    Asked {
        postgres: "DELETE FROM wabbit_outbox WHERE expires < $1",
        others: "DELETE FROM wabbit_outbox WHERE expires < ?",
    },
];

/// Of some records that owe nothing, as [`BATCH`] says; MySQL knows no LIMIT in a subquery, the others
/// none here. A record without its publications would say that they are published.
fn expired(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => {
            "DELETE FROM wabbit_inbox WHERE id IN \
             (SELECT id FROM wabbit_inbox WHERE expires < $1 AND NOT EXISTS \
             (SELECT 1 FROM wabbit_outbox WHERE event = id) LIMIT 5000)"
        }
        Dialect::Sqlite => {
            "DELETE FROM wabbit_inbox WHERE id IN \
             (SELECT id FROM wabbit_inbox WHERE expires < ? AND NOT EXISTS \
             (SELECT 1 FROM wabbit_outbox WHERE event = id) LIMIT 5000)"
        }
        Dialect::MySql => {
            "DELETE FROM wabbit_inbox WHERE expires < ? AND NOT EXISTS \
             (SELECT 1 FROM wabbit_outbox WHERE event = id) LIMIT 5000"
        }
    }
}

impl Asked {
    fn of(self, dialect: Dialect) -> &'static str {
        if dialect == Dialect::Postgres { self.postgres } else { self.others }
    }
}

fn id(event: EventId) -> Value {
    Value::Bytes(event.0.to_vec())
}

fn seconds(at: SystemTime) -> Value {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Value::Integer(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// What is known of `event`.
pub(super) async fn recall<B: Backend>(
    pool: &Pool<B>,
    event: EventId,
) -> Result<Recalled, StoreError> {
    let (_, rows) = ask(pool, false, RECALL.of(B::DIALECT), &[id(event)]).await?;
    match rows.into_iter().next().map(|row| row.into_iter().next()) {
        None => Ok(Recalled::New),
        Some(Some(Value::Text(text))) => match outbox::read(text.as_bytes()) {
            Ok(publications) => Ok(Recalled::Done(publications)),
            Err(why) => Err(pool.place.failed(format!("its outbox can't be read: {why}"))),
        },
        Some(_) => Ok(Recalled::Done(Vec::new())),
    }
}

/// The publications of `event` need not be kept.
pub(super) async fn published<B: Backend>(
    pool: &Pool<B>,
    event: EventId,
) -> Result<(), StoreError> {
    ask(pool, true, PUBLISHED.of(B::DIALECT), &[id(event)]).await.map(|_| ())
}

/// Forgets what expired.
pub(super) async fn expire<B: Backend>(pool: &Pool<B>, now: SystemTime) -> Result<(), StoreError> {
    let now = [seconds(now)];
    while ask(pool, true, expired(B::DIALECT), &now).await?.0 >= BATCH {}
    give_up(pool, &now).await?;
    pool.sweep();
    Ok(())
}

/// Forgets what is owed for too long, in one transaction.
async fn give_up<B: Backend>(pool: &Pool<B>, now: &[Value]) -> Result<(), StoreError> {
    let mut held = pool.take_to_write().await?;
    let own = |error| judge_own(B::DIALECT, &pool.place, Problem::Sql(error));
    let forgotten = async {
        B::ready(&held.key);
        B::plain(&mut held.connection, B::BEGIN).await.map_err(own)?;
        for asked in GIVEN_UP {
            write(&pool.place, &mut held, asked, now).await?;
        }
        B::plain(&mut held.connection, "COMMIT").await.map_err(own)
    };
    let forgotten = timeout(pool.settings.answer, forgotten).await;
    end(pool, held, forgotten).await
}

/// Writes `record` into the transaction that is open on `held`.
pub(super) async fn record<B: Backend>(
    place: &Place,
    held: &mut Held<B>,
    record: Record<'_>,
) -> Result<(), StoreError> {
    let event = id(record.event);
    write(place, held, DONE, &[event.clone(), seconds(record.expires)]).await?;
    let Some(text) = outbox::write(record.publications) else { return Ok(()) };
    let kept = [event, seconds(record.expires + OWED), Value::Text(text)];
    write(place, held, KEPT, &kept).await
}

async fn write<B: Backend>(
    place: &Place,
    held: &mut Held<B>,
    asked: Asked,
    parameters: &[Value],
) -> Result<(), StoreError> {
    let (statement, mut found) = (asked.of(B::DIALECT), Found::nothing());
    fits::<B>(&held.key, statement, parameters).map_err(|why| {
        place.failed(format!("what is to be published for the event can't be kept there: {why}"))
    })?;
    B::ready(&held.key);
    let ran = B::run(&mut held.connection, statement, parameters, &mut found).await;
    let Err(problem) = ran else { return Ok(()) };
    if is_denied(B::DIALECT, &problem) {
        return Err(judge_host(B::DIALECT, place, statement, problem));
    }
    // Recalling the event makes them anew.
    let missing = is_no_table(B::DIALECT, &problem);
    match judge(B::DIALECT, place, problem) {
        SqlError::Store(error) => Err(error),
        error if missing => Err(place.conflict(error)),
        SqlError::Statement { constraint: Some(Constraint::Unique), .. } => {
            Err(place.conflict("another host has done this event meanwhile"))
        }
        error => Err(place.failed(format!("the event could not be recorded: {error}"))),
    }
}

type Answer = (u64, Vec<Vec<Value>>);

/// Carries out one statement outside of a transaction, making the tables if they are missing.
async fn ask<B: Backend>(
    pool: &Pool<B>,
    writes: bool,
    statement: &str,
    parameters: &[Value],
) -> Result<Answer, StoreError> {
    let mut held = if writes { pool.take_to_write().await? } else { pool.take().await? };
    let asked = async {
        match once(&mut held, statement, parameters).await {
            Err(problem) if is_no_table(B::DIALECT, &problem) => {
                let made = make(&mut held).await;
                match (once(&mut held, statement, parameters).await, made) {
                    // Another host may have made them at the same time.
                    (Err(missing), Err(error)) if is_no_table(B::DIALECT, &missing) => {
                        Err(not_made::<B>(&pool.place, error))
                    }
                    (Err(problem), _) => {
                        Err(judge_host(B::DIALECT, &pool.place, statement, problem))
                    }
                    (Ok(answer), _) => Ok(answer),
                }
            }
            Err(problem) => Err(judge_host(B::DIALECT, &pool.place, statement, problem)),
            Ok(answer) => Ok(answer),
        }
    };
    let answer = timeout(pool.settings.answer, asked).await;
    end(pool, held, answer).await
}

/// Gives `held` back after what was asked on it.
async fn end<B: Backend, T>(
    pool: &Pool<B>,
    held: Held<B>,
    answer: Result<Result<T, StoreError>, Elapsed>,
) -> Result<T, StoreError> {
    let limit = pool.settings.answer;
    match answer {
        Ok(Ok(answer)) => {
            pool.put_back(held);
            Ok(answer)
        }
        // The connection goes with its problem.
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let _ = timeout(limit, pool.backend.stop(held.key.clone(), true)).await;
            Err(pool.place.unavailable(late(limit)))
        }
    }
}

async fn once<B: Backend>(
    held: &mut Held<B>,
    statement: &str,
    parameters: &[Value],
) -> Result<Answer, Problem> {
    let all = Limits { time: Duration::MAX, rows: usize::MAX, bytes: usize::MAX };
    let mut found = Found::rows(&all);
    B::ready(&held.key);
    let changed = B::run(&mut held.connection, statement, parameters, &mut found).await?;
    match found.done() {
        Ok(rows) => Ok((changed, rows.rows)),
        Err(error) => Err(Problem::Type(error.to_string())),
    }
}

async fn make<B: Backend>(held: &mut Held<B>) -> Result<(), sqlx::Error> {
    for table in tables(B::DIALECT) {
        match B::plain(&mut held.connection, table).await {
            Err(error) if is_there_already(B::DIALECT, &error) => {}
            made => made?,
        }
    }
    Ok(())
}

/// As [`judge_own`], of a `statement` on the host's tables. That it is not allowed is no event's fault,
/// and can be mended while the host runs.
fn judge_host(dialect: Dialect, place: &Place, statement: &str, problem: Problem) -> StoreError {
    let denied = is_denied(dialect, &problem);
    let why = judge_own(dialect, place, problem);
    if !denied {
        return why;
    }
    StoreError::Unavailable(format!(
        "{why}\nhint: let the user of the URL SELECT, INSERT and DELETE in wabbit_inbox and \
         wabbit_outbox; refused was `{statement}`"
    ))
}

/// It can be mended while the host runs.
fn not_made<B: Backend>(place: &Place, error: sqlx::Error) -> StoreError {
    let why = judge_own(B::DIALECT, place, Problem::Sql(error));
    let tables = tables(B::DIALECT).join(";\n");
    StoreError::Unavailable(format!(
        "the host's tables are missing and could not be created: {why}\nhint: run this once, and \
         let the user of the URL read and write them:\n{tables};"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_as_large_as_they_say() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql] {
            assert!(expired(dialect).contains(&format!("LIMIT {BATCH}")), "{dialect:?}");
        }
    }
}
