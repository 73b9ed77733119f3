//! Values and errors of SQL, from the guest's types to ours and back.

use super::import::wabbit::sql::database as wit;
use crate::store::sql::{Constraint, Rows, SqlError, Value};

/// A parameter.
pub fn value(value: wit::Value) -> Value {
    match value {
        wit::Value::Null => Value::Null,
        wit::Value::Boolean(it) => Value::Boolean(it),
        wit::Value::Integer(n) => Value::Integer(n),
        wit::Value::Real(n) => Value::Real(n),
        wit::Value::Decimal(text) => Value::Decimal(text),
        wit::Value::Text(text) => Value::Text(text),
        wit::Value::Bytes(bytes) => Value::Bytes(bytes),
        wit::Value::Date(text) => Value::Date(text),
        wit::Value::Time(text) => Value::Time(text),
        wit::Value::Timestamp(text) => Value::Timestamp(text),
        wit::Value::TimestampTz(text) => Value::TimestampTz(text),
        wit::Value::Uuid(text) => Value::Uuid(text),
        wit::Value::Json(text) => Value::Json(text),
    }
}

/// What a query found.
pub fn rows(rows: Rows) -> wit::Rows {
    let row = |row: Vec<Value>| row.into_iter().map(lower).collect();
    wit::Rows { columns: rows.columns, rows: rows.rows.into_iter().map(row).collect() }
}

fn lower(value: Value) -> wit::Value {
    match value {
        Value::Null => wit::Value::Null,
        Value::Boolean(it) => wit::Value::Boolean(it),
        Value::Integer(n) => wit::Value::Integer(n),
        Value::Real(n) => wit::Value::Real(n),
        Value::Decimal(text) => wit::Value::Decimal(text),
        Value::Text(text) => wit::Value::Text(text),
        Value::Bytes(bytes) => wit::Value::Bytes(bytes),
        Value::Date(text) => wit::Value::Date(text),
        Value::Time(text) => wit::Value::Time(text),
        Value::Timestamp(text) => wit::Value::Timestamp(text),
        Value::TimestampTz(text) => wit::Value::TimestampTz(text),
        Value::Uuid(text) => wit::Value::Uuid(text),
        Value::Json(text) => wit::Value::Json(text),
    }
}

/// Why there is no answer. A store that is away, or asks for the event to be done again, is both
/// `unavailable` to the guest: its event comes again.
pub fn sql_error(error: SqlError) -> wit::Error {
    match error {
        SqlError::Store(error) => wit::Error::Unavailable(error.to_string()),
        SqlError::Refused(reason) => wit::Error::Refused(reason),
        SqlError::Statement { code, constraint, message } => {
            let constraint = constraint.map(|constraint| match constraint {
                Constraint::Unique => wit::Constraint::Unique,
                Constraint::ForeignKey => wit::Constraint::ForeignKey,
                Constraint::NotNull => wit::Constraint::NotNull,
                Constraint::Check => wit::Constraint::Check,
            });
            wit::Error::Statement(wit::StatementError { code, constraint, message })
        }
        SqlError::Type(reason) => wit::Error::TypeMismatch(reason),
        SqlError::Limit(reason) => wit::Error::Limit(reason),
    }
}
