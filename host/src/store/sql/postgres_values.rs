//! Values to and from PostgreSQL, in its binary format. Each parameter is written as the type that
//! the statement declares for it: the server converts none. Next: `postgres_numeric`.

use super::backend::{Problem, unreadable, unwritten, wrong_count};
use super::forms::{
    date, kind, time, timestamp, timestamp_tz, write_time, write_timestamp, write_timestamp_tz,
};
use super::{Value, postgres_numeric as numeric};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{
    PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo, PgTypeKind, PgValueRef, Postgres,
};
use sqlx::types::Uuid;
use sqlx::{Arguments as _, Column as _, Encode, Row as _, Type, TypeInfo as _, ValueRef as _};

/// A value as the server takes it; `None`: null.
struct Written {
    bytes: Option<Vec<u8>>,
    declared: PgTypeInfo,
}

impl Type<Postgres> for Written {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("unknown")
    }
}

impl Encode<'_, Postgres> for Written {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(bytes) = &self.bytes else { return Ok(IsNull::Yes) };
        buffer.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.declared.clone())
    }
}

/// What stands for `parameters` where the statement declares these types.
pub(super) fn arguments(
    parameters: &[Value],
    declared: &[PgTypeInfo],
) -> Result<PgArguments, Problem> {
    wrong_count(parameters.len(), declared.len())?;
    let mut arguments = PgArguments::default();
    for (index, (value, declared)) in parameters.iter().zip(declared).enumerate() {
        let bytes = match value {
            Value::Null => None,
            value => Some(write(index + 1, value, declared).map_err(Problem::Type)?),
        };
        let written = Written { bytes, declared: declared.clone() };
        arguments.add(written).map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// The type that a domain is of, or the type itself; and whether it holds any text.
fn base(declared: &PgTypeInfo) -> (&PgTypeInfo, bool) {
    match declared.kind() {
        PgTypeKind::Domain(of) => base(of),
        PgTypeKind::Enum(_) => (declared, true),
        _ => {
            let name = declared.name();
            let texts = ["TEXT", "VARCHAR", "CHAR", "NAME", "UNKNOWN", "xml", "citext"];
            (declared, texts.iter().any(|text| name.eq_ignore_ascii_case(text)))
        }
    }
}

fn write(number: usize, value: &Value, declared: &PgTypeInfo) -> Result<Vec<u8>, String> {
    let (of, text) = base(declared);
    let name = of.name().to_owned();
    let too_large = || format!("parameter {number} is out of the range of `{name}`");
    Ok(match (value, &*name) {
        (Value::Text(it), _) if text => it.as_bytes().to_vec(),
        (Value::Boolean(it), "BOOL") => vec![u8::from(*it)],
        (Value::Integer(n), "INT8") => n.to_be_bytes().to_vec(),
        (Value::Integer(n), "INT4") => {
            i32::try_from(*n).map_err(|_| too_large())?.to_be_bytes().to_vec()
        }
        (Value::Integer(n), "INT2") => {
            i16::try_from(*n).map_err(|_| too_large())?.to_be_bytes().to_vec()
        }
        (Value::Integer(n), "OID") => {
            u32::try_from(*n).map_err(|_| too_large())?.to_be_bytes().to_vec()
        }
        (Value::Integer(n), "NUMERIC") => numeric::write(&n.to_string()).ok_or_else(too_large)?,
        (Value::Decimal(it), "NUMERIC") => numeric::write(it).ok_or_else(too_large)?,
        (Value::Real(n), "FLOAT8") => n.to_be_bytes().to_vec(),
        #[allow(clippy::cast_possible_truncation, reason = "the column holds no more")]
        (Value::Real(n), "FLOAT4") => match *n as f32 {
            near if near.is_infinite() && n.is_finite() => return Err(too_large()),
            near => near.to_be_bytes().to_vec(),
        },
        (Value::Bytes(it), "BYTEA") => it.clone(),
        (Value::Date(it), "DATE") => days(it).ok_or_else(too_large)?.to_be_bytes().to_vec(),
        (Value::Time(it), "TIME") => day_micros(it).ok_or_else(too_large)?.to_be_bytes().to_vec(),
        (Value::Timestamp(it), "TIMESTAMP") => {
            micros(it, timestamp).ok_or_else(too_large)?.to_be_bytes().to_vec()
        }
        (Value::TimestampTz(it), "TIMESTAMPTZ") => {
            let utc = |text: &str| timestamp_tz(text).map(|at| at.naive_utc());
            micros(it, utc).ok_or_else(too_large)?.to_be_bytes().to_vec()
        }
        (Value::Uuid(it), "UUID") => {
            Uuid::try_parse(it).map_err(|_| too_large())?.as_bytes().to_vec()
        }
        (Value::Json(it), "JSON") => it.as_bytes().to_vec(),
        (Value::Json(it), "JSONB") => {
            // The version of the format.
            let mut bytes = vec![1];
            bytes.extend_from_slice(it.as_bytes());
            bytes
        }
        (value, _) => {
            let (kind, shown) = (kind(value), declared.to_string().to_lowercase());
            return Err(format!(
                "parameter {number} is `{kind}` and the statement takes `{shown}` there: give such \
                 a value, or text where it says `${number}::text::{shown}`"
            ));
        }
    })
}

/// Years are counted from 2000.
fn epoch() -> NaiveDate {
    NaiveDate::from_ymd_opt(2000, 1, 1).unwrap_or_default()
}

fn days(text: &str) -> Option<i32> {
    match text {
        "infinity" => Some(i32::MAX),
        "-infinity" => Some(i32::MIN),
        text => i32::try_from((date(text)? - epoch()).num_days()).ok(),
    }
}

/// What PostgreSQL calls midnight at the end of a day.
const DAY: i64 = 86_400_000_000;

fn day_micros(text: &str) -> Option<i64> {
    match text {
        "24:00:00" => Some(DAY),
        text => (time(text)? - NaiveTime::MIN).num_microseconds(),
    }
}

fn micros(text: &str, read: impl FnOnce(&str) -> Option<NaiveDateTime>) -> Option<i64> {
    match text {
        "infinity" => Some(i64::MAX),
        "-infinity" => Some(i64::MIN),
        text => (read(text)? - epoch().and_time(NaiveTime::MIN)).num_microseconds(),
    }
}

/// The values of a row.
pub(super) fn row(row: &PgRow) -> Result<Vec<Value>, String> {
    let columns = row.columns().iter().enumerate();
    let values = columns.map(|(index, column)| {
        let name = column.name();
        let value = row.try_get_raw(index).map_err(|error| unwritten(name, "value", error))?;
        read(name, column.type_info(), &value)
    });
    values.collect()
}

fn read(column: &str, declared: &PgTypeInfo, value: &PgValueRef<'_>) -> Result<Value, String> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    let (of, text) = base(declared);
    let bytes = value.as_bytes().map_err(|error| unwritten(column, declared, error))?;
    match binary(of.name(), text, bytes) {
        Some(Some(value)) => Ok(value),
        Some(None) => Err(unwritten(column, of, "it is out of range")),
        None => Err(unreadable(column, declared.to_string().to_lowercase())),
    }
}

/// The value of these bytes. `None`: the type is not served; `Some(None)`: the value is not.
fn binary(name: &str, text: bool, bytes: &[u8]) -> Option<Option<Value>> {
    let string = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    Some(match name {
        _ if text => string(bytes).map(Value::Text),
        "\"CHAR\"" => string(bytes).map(Value::Text),
        "VOID" => Some(Value::Null),
        "BOOL" => bytes.first().map(|it| Value::Boolean(*it != 0)),
        "INT2" => fixed(bytes).map(|it| Value::Integer(i16::from_be_bytes(it).into())),
        "INT4" => fixed(bytes).map(|it| Value::Integer(i32::from_be_bytes(it).into())),
        "INT8" => fixed(bytes).map(|it| Value::Integer(i64::from_be_bytes(it))),
        "OID" => fixed(bytes).map(|it| Value::Integer(u32::from_be_bytes(it).into())),
        "FLOAT4" => fixed(bytes).map(|it| Value::Real(f32::from_be_bytes(it).into())),
        "FLOAT8" => fixed(bytes).map(|it| Value::Real(f64::from_be_bytes(it))),
        "NUMERIC" => numeric::read(bytes).map(Value::Decimal),
        "BYTEA" => Some(Value::Bytes(bytes.to_vec())),
        "DATE" => {
            fixed(bytes).and_then(|it| Some(Value::Date(write_days(i32::from_be_bytes(it))?)))
        }
        "TIME" => fixed(bytes).map(|it| match i64::from_be_bytes(it) {
            DAY => Value::Time("24:00:00".to_owned()),
            micros => {
                let time = NaiveTime::MIN.overflowing_add_signed(TimeDelta::microseconds(micros));
                Value::Time(write_time(time.0))
            }
        }),
        "TIMESTAMP" => fixed(bytes).and_then(|it| {
            let text = write_micros(i64::from_be_bytes(it), write_timestamp)?;
            Some(Value::Timestamp(text))
        }),
        "TIMESTAMPTZ" => fixed(bytes).and_then(|it| {
            let utc = |at: NaiveDateTime| write_timestamp_tz(at.and_utc());
            Some(Value::TimestampTz(write_micros(i64::from_be_bytes(it), utc)?))
        }),
        "UUID" => Uuid::from_slice(bytes).ok().map(|it| Value::Uuid(it.hyphenated().to_string())),
        "JSON" => string(bytes).map(Value::Json),
        "JSONB" => bytes.strip_prefix(&[1]).and_then(string).map(Value::Json),
        _ => return None,
    })
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn write_days(days: i32) -> Option<String> {
    match days {
        i32::MAX => Some("infinity".to_owned()),
        i32::MIN => Some("-infinity".to_owned()),
        days => {
            let date = epoch().checked_add_signed(TimeDelta::days(days.into()))?;
            Some(date.to_string())
        }
    }
}

fn write_micros(micros: i64, write: impl FnOnce(NaiveDateTime) -> String) -> Option<String> {
    match micros {
        i64::MAX => Some("infinity".to_owned()),
        i64::MIN => Some("-infinity".to_owned()),
        micros => {
            let epoch = epoch().and_time(NaiveTime::MIN);
            Some(write(epoch.checked_add_signed(TimeDelta::microseconds(micros))?))
        }
    }
}
