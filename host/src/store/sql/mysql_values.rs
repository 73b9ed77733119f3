//! Values to and from MySQL and MariaDB. A parameter is converted by the server to what its column
//! is; dates and the like travel there as text.

use super::Value;
use super::backend::{Problem, unreadable, unwritten, wrong_count};
use super::forms::{write_timestamp, write_timestamp_tz};
use chrono::{NaiveDate, NaiveDateTime};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::mysql::types::MySqlTime;
use sqlx::mysql::{MySql, MySqlArguments, MySqlRow, MySqlTypeInfo, MySqlValueRef};
use sqlx::types::BigDecimal;
use sqlx::{
    Arguments as _, Column as _, Decode, Encode, Row as _, Type, TypeInfo as _, ValueRef as _,
};

/// An exact number, which is text on the wire.
struct Decimal<'a>(&'a str);

impl Type<MySql> for Decimal<'_> {
    fn type_info() -> MySqlTypeInfo {
        <BigDecimal as Type<MySql>>::type_info()
    }
}

impl Encode<'_, MySql> for Decimal<'_> {
    fn encode_by_ref(&self, buffer: &mut Vec<u8>) -> Result<IsNull, BoxDynError> {
        <&str as Encode<MySql>>::encode_by_ref(&self.0, buffer)
    }
}

/// What stands for `parameters`, of which the statement has `wanted`.
pub(super) fn arguments(parameters: &[Value], wanted: usize) -> Result<MySqlArguments, Problem> {
    wrong_count(parameters.len(), wanted)?;
    let mut arguments = MySqlArguments::default();
    for value in parameters {
        match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Boolean(it) => arguments.add(i8::from(*it)),
            Value::Integer(n) => arguments.add(*n),
            Value::Real(n) => arguments.add(*n),
            Value::Bytes(bytes) => arguments.add(bytes.as_slice()),
            Value::Decimal(text) => arguments.add(Decimal(text)),
            Value::Timestamp(text) => arguments.add(text.replacen('T', " ", 1)),
            // In UTC, as the session is: a zone in the text is not known to all versions.
            Value::TimestampTz(text) => {
                arguments.add(text.replacen('T', " ", 1).trim_end_matches('Z'))
            }
            Value::Text(text)
            | Value::Date(text)
            | Value::Time(text)
            | Value::Uuid(text)
            | Value::Json(text) => arguments.add(text.as_str()),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// The values of a row.
pub(super) fn row(row: &MySqlRow) -> Result<Vec<Value>, String> {
    let columns = row.columns().iter().enumerate();
    let values = columns.map(|(index, column)| {
        let name = column.name();
        let value = row.try_get_raw(index).map_err(|error| unwritten(name, "value", error))?;
        if value.is_null() {
            return Ok(Value::Null);
        }
        let declared = column.type_info();
        match read(declared, value) {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(unwritten(name, declared, error)),
            None => Err(unreadable(name, declared)),
        }
    });
    values.collect()
}

/// Without a look at whether the type fits: [`read`] has done that.
fn get<'r, T: Decode<'r, MySql>>(value: MySqlValueRef<'r>) -> Result<T, BoxDynError> {
    T::decode(value)
}

/// `None` if the type is not served.
fn read(declared: &MySqlTypeInfo, value: MySqlValueRef<'_>) -> Option<Result<Value, BoxDynError>> {
    let integer = |n: u64| match i64::try_from(n) {
        Ok(n) => Value::Integer(n),
        Err(_) => Value::Decimal(n.to_string()),
    };
    Some(match declared.name() {
        // TINYINT(1): what else is in it stays what it is.
        "BOOLEAN" => get::<i64>(value).map(|n| match n {
            0 | 1 => Value::Boolean(n == 1),
            n => Value::Integer(n),
        }),
        "TINYINT" | "SMALLINT" | "MEDIUMINT" | "INT" | "BIGINT" => {
            get::<i64>(value).map(Value::Integer)
        }
        "TINYINT UNSIGNED" | "SMALLINT UNSIGNED" | "MEDIUMINT UNSIGNED" | "INT UNSIGNED"
        | "BIGINT UNSIGNED" | "BIT" | "YEAR" => get::<u64>(value).map(integer),
        "FLOAT" => get::<f32>(value).map(|n| Value::Real(n.into())),
        "DOUBLE" => get::<f64>(value).map(Value::Real),
        "DECIMAL" => get::<String>(value).map(Value::Decimal),
        "DATE" => get::<NaiveDate>(value).map(|date| Value::Date(date.to_string())),
        "TIME" => get::<MySqlTime>(value).map(|time| Value::Time(write_span(&time))),
        "DATETIME" => get::<NaiveDateTime>(value).map(|at| Value::Timestamp(write_timestamp(at))),
        "TIMESTAMP" => get::<NaiveDateTime>(value)
            .map(|at| Value::TimestampTz(write_timestamp_tz(at.and_utc()))),
        "JSON" => get::<String>(value).map(Value::Json),
        "ENUM" | "SET" => get::<String>(value).map(Value::Text),
        // By collation: texts of some collations have the mark of binary ones, too.
        _ if <str as Type<MySql>>::compatible(declared) => get::<String>(value).map(Value::Text),
        _ if <[u8] as Type<MySql>>::compatible(declared) => get::<Vec<u8>>(value).map(Value::Bytes),
        _ => return None,
    })
}

/// `-838:59:59.25`
fn write_span(time: &MySqlTime) -> String {
    // Its own `is_negative` says the opposite.
    let sign = if time.sign().is_negative() { "-" } else { "" };
    let (hours, minutes, seconds) = (time.hours(), time.minutes(), time.seconds());
    let whole = format!("{sign}{hours:02}:{minutes:02}:{seconds:02}");
    match format!("{:06}", time.microseconds()).trim_end_matches('0') {
        "" => whole,
        fraction => format!("{whole}.{fraction}"),
    }
}
