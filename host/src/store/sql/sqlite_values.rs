//! Values to and from SQLite, which knows five classes of them: what has no class of its own is kept
//! as text, and read back by the type that its column declares.

use super::Value;
use super::backend::{Problem, unreadable, unwritten, wrong_count};
use super::forms::{
    date, time, timestamp, timestamp_tz, write_time, write_timestamp, write_timestamp_tz,
};
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow, SqliteValueRef};
use sqlx::{Arguments as _, Column as _, Decode, Row as _, TypeInfo as _, ValueRef as _};

/// What stands for `parameters`, of which the statement has `wanted`.
pub(super) fn arguments(parameters: &[Value], wanted: usize) -> Result<SqliteArguments, Problem> {
    wrong_count(parameters.len(), wanted)?;
    let mut arguments = SqliteArguments::default();
    for value in parameters {
        match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Boolean(it) => arguments.add(i64::from(*it)),
            Value::Integer(n) => arguments.add(*n),
            Value::Real(n) => arguments.add(*n),
            Value::Bytes(bytes) => arguments.add(bytes.clone()),
            // As SQLite's own functions write it, so that both compare.
            Value::Timestamp(text) | Value::TimestampTz(text) => {
                arguments.add(text.replacen('T', " ", 1))
            }
            Value::Decimal(text)
            | Value::Text(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Uuid(text)
            | Value::Json(text) => arguments.add(text.clone()),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// The values of a row.
pub(super) fn row(row: &SqliteRow) -> Result<Vec<Value>, String> {
    let columns = row.columns().iter().enumerate();
    let values = columns.map(|(index, column)| {
        let name = column.name();
        let value = row.try_get_raw(index).map_err(|error| unwritten(name, "value", error))?;
        read(name, column.type_info().name(), value)
    });
    values.collect()
}

fn read(column: &str, declared: &str, value: SqliteValueRef<'_>) -> Result<Value, String> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let class = value.type_info().name().to_owned();
    let wrong = |error| unwritten(column, &class, error);
    Ok(match &*class {
        "INTEGER" => match (declared, <i64 as Decode<Sqlite>>::decode(value).map_err(wrong)?) {
            ("BOOLEAN", n @ (0 | 1)) => Value::Boolean(n == 1),
            (_, n) => Value::Integer(n),
        },
        "REAL" => Value::Real(<f64 as Decode<Sqlite>>::decode(value).map_err(wrong)?),
        "BLOB" => Value::Bytes(<Vec<u8> as Decode<Sqlite>>::decode(value).map_err(wrong)?),
        "TEXT" => by_declared(declared, <String as Decode<Sqlite>>::decode(value).map_err(wrong)?),
        _ => return Err(unreadable(column, class)),
    })
}

/// The text as what its column declares, if it is such a one.
fn by_declared(declared: &str, text: String) -> Value {
    let read = match declared {
        "DATE" => date(&text).map(|date| Value::Date(date.to_string())),
        "TIME" => time(&text).map(|time| Value::Time(write_time(time))),
        "DATETIME" => timestamp(&text)
            .map(|at| Value::Timestamp(write_timestamp(at)))
            .or_else(|| timestamp_tz(&text).map(|at| Value::TimestampTz(write_timestamp_tz(at)))),
        _ => None,
    };
    read.unwrap_or(Value::Text(text))
}
