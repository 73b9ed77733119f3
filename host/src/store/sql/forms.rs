//! How dates, times, numbers and the like are written where they travel as text: read strictly and
//! written in one way, for all databases. Next: `postgres_values` and its siblings.

use super::{Dialect, Value};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike as _, Utc};
use sqlx::types::Uuid;

/// `value` with its text in the one form that is written, which the database reads.
///
/// # Errors
/// What the value, parameter number `number`, should look like.
pub(super) fn canonical(dialect: Dialect, number: usize, value: Value) -> Result<Value, String> {
    let like = |kind: &str, text: &str, example: &str| {
        let text: String = text.chars().take(60).collect();
        format!("parameter {number} is no {kind}: `{text}`, must be like `{example}`")
    };
    Ok(match value {
        Value::Date(text) => match date(&text) {
            Some(date) => Value::Date(date.to_string()),
            None if endless(dialect, &text) => Value::Date(text),
            None => return Err(like("date", &text, "2026-01-31")),
        },
        Value::Time(text) => match time(&text) {
            Some(time) => Value::Time(write_time(time)),
            None if span(dialect, &text) => Value::Time(text),
            None => return Err(like("time", &text, "13:45:00.25")),
        },
        Value::Timestamp(text) => match timestamp(&text) {
            Some(at) => Value::Timestamp(write_timestamp(at)),
            None if endless(dialect, &text) => Value::Timestamp(text),
            None => return Err(like("timestamp", &text, "2026-01-31T13:45:00.25")),
        },
        Value::TimestampTz(text) => match timestamp_tz(&text) {
            Some(at) => Value::TimestampTz(write_timestamp_tz(at)),
            None if endless(dialect, &text) => Value::TimestampTz(text),
            None => {
                let example = "2026-01-31T13:45:00.25Z";
                return Err(like("timestamp with a time zone", &text, example));
            }
        },
        Value::Decimal(text) => match decimal(&text) {
            Some(text) => Value::Decimal(text.to_owned()),
            None if endless(dialect, &text) || (dialect == Dialect::Postgres && text == "NaN") => {
                Value::Decimal(text)
            }
            None => return Err(like("decimal number", &text, "19.90")),
        },
        Value::Uuid(text) => match Uuid::try_parse(&text) {
            Ok(uuid) => Value::Uuid(uuid.hyphenated().to_string()),
            Err(_) => return Err(like("UUID", &text, "0195d1e0-6a3f-7cc1-9d5e-3f0f6c1e8a11")),
        },
        Value::Json(text) => match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Ok(_) => Value::Json(text),
            Err(error) => return Err(format!("parameter {number} is no JSON: {error}")),
        },
        Value::Real(n) if dialect != Dialect::Postgres && !n.is_finite() => {
            return Err(format!("parameter {number} is `{n}`, which this database can't hold"));
        }
        other => other,
    })
}

/// What a value is called in messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) => "integer",
        Value::Real(_) => "real",
        Value::Decimal(_) => "decimal",
        Value::Text(_) => "text",
        Value::Bytes(_) => "bytes",
        Value::Date(_) => "date",
        Value::Time(_) => "time",
        Value::Timestamp(_) => "timestamp",
        Value::TimestampTz(_) => "timestamp-tz",
        Value::Uuid(_) => "uuid",
        Value::Json(_) => "json",
    }
}

/// PostgreSQL's ends of time and of numbers.
fn endless(dialect: Dialect, text: &str) -> bool {
    dialect == Dialect::Postgres && (text == "infinity" || text == "-infinity")
}

/// Times that are no time of a day: MySQL's are spans of up to 838 hours, PostgreSQL has midnight
/// at the end of a day.
fn span(dialect: Dialect, text: &str) -> bool {
    match dialect {
        Dialect::Sqlite => false,
        Dialect::Postgres => text == "24:00:00",
        Dialect::MySql => {
            let text = text.strip_prefix('-').unwrap_or(text);
            let (text, fraction) = text.split_once('.').unwrap_or((text, "0"));
            let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
            let parts: Vec<&str> = text.split(':').collect();
            let [hours, minutes, seconds] = parts[..] else { return false };
            let short = |text: &str| text.len() == 2 && digits(text) && text < "60";
            (2..=3).contains(&hours.len())
                && digits(hours)
                && short(minutes)
                && short(seconds)
                && (1..=6).contains(&fraction.len())
                && digits(fraction)
        }
    }
}

/// An exact number without an exponent; a `+` is left out.
fn decimal(text: &str) -> Option<&str> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (whole, fraction) = text
        .strip_prefix('-')
        .unwrap_or(text)
        .split_once('.')
        .unwrap_or((text.strip_prefix('-').unwrap_or(text), "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    (digits(whole) && digits(fraction)).then_some(text)
}

pub(super) fn date(text: &str) -> Option<NaiveDate> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()
}

pub(super) fn time(text: &str) -> Option<NaiveTime> {
    let seconds = NaiveTime::parse_from_str(text, "%H:%M:%S%.f");
    seconds.or_else(|_| NaiveTime::parse_from_str(text, "%H:%M")).ok()
}

pub(super) fn timestamp(text: &str) -> Option<NaiveDateTime> {
    let (day, rest) = text.split_once(['T', ' '])?;
    Some(date(day)?.and_time(time(rest)?))
}

pub(super) fn timestamp_tz(text: &str) -> Option<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)).ok()?;
    Some(at.to_utc())
}

/// `13:45:00.25`, the fraction without zeros at its end.
pub(super) fn write_time(time: NaiveTime) -> String {
    let seconds = time.format("%H:%M:%S").to_string();
    let fraction = format!("{:09}", time.nanosecond() % 1_000_000_000);
    match fraction.trim_end_matches('0') {
        "" => seconds,
        fraction => format!("{seconds}.{fraction}"),
    }
}

pub(super) fn write_timestamp(at: NaiveDateTime) -> String {
    format!("{}T{}", at.date(), write_time(at.time()))
}

pub(super) fn write_timestamp_tz(at: DateTime<Utc>) -> String {
    format!("{}Z", write_timestamp(at.naive_utc()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{MySql, Postgres, Sqlite};

    #[test]
    fn texts_take_one_form_or_are_refused_with_an_example() {
        let table = [
            (Sqlite, Value::Date("2026-1-31".into()), "2026-01-31"),
            (Sqlite, Value::Date("0001-01-01".into()), "0001-01-01"),
            (Sqlite, Value::Date("2026-02-30".into()), "!must be like `2026-01-31`"),
            (Postgres, Value::Date("infinity".into()), "infinity"),
            (MySql, Value::Date("infinity".into()), "!must be like"),
            (Sqlite, Value::Time("13:45".into()), "13:45:00"),
            (Sqlite, Value::Time("13:45:00.250000".into()), "13:45:00.25"),
            (Sqlite, Value::Time("25:00:00".into()), "!is no time"),
            (MySql, Value::Time("-838:59:59.000001".into()), "-838:59:59.000001"),
            (MySql, Value::Time("1:2:3:4".into()), "!is no time"),
            (Postgres, Value::Time("24:00:00".into()), "24:00:00"),
            (Sqlite, Value::Timestamp("2026-01-31 13:45:00".into()), "2026-01-31T13:45:00"),
            (Sqlite, Value::Timestamp("2026-01-31".into()), "!is no timestamp"),
            (
                Sqlite,
                Value::TimestampTz("2026-01-31T13:45:00.25+02:00".into()),
                "2026-01-31T11:45:00.25Z",
            ),
            (Sqlite, Value::TimestampTz("2026-01-31T13:45:00".into()), "!with a time zone"),
            (Sqlite, Value::Decimal("+19.90".into()), "19.90"),
            (Sqlite, Value::Decimal("-0.1".into()), "-0.1"),
            (Sqlite, Value::Decimal("1e5".into()), "!is no decimal number"),
            (Sqlite, Value::Decimal("--1".into()), "!is no decimal number"),
            (Postgres, Value::Decimal("NaN".into()), "NaN"),
            (MySql, Value::Decimal("NaN".into()), "!is no decimal number"),
            (
                Sqlite,
                Value::Uuid("0195D1E06A3F7CC19D5E3F0F6C1E8A11".into()),
                "0195d1e0-6a3f-7cc1-9d5e-3f0f6c1e8a11",
            ),
            (Sqlite, Value::Uuid("x".into()), "!is no UUID"),
            (Sqlite, Value::Json("{\"a\": 1}".into()), "{\"a\": 1}"),
            (Sqlite, Value::Json("{".into()), "!parameter 7 is no JSON"),
            (Sqlite, Value::Real(f64::NAN), "!can't hold"),
        ];
        for (dialect, value, expected) in table {
            let found = match canonical(dialect, 7, value.clone()) {
                Ok(
                    Value::Date(text)
                    | Value::Time(text)
                    | Value::Timestamp(text)
                    | Value::TimestampTz(text)
                    | Value::Decimal(text)
                    | Value::Uuid(text)
                    | Value::Json(text),
                ) => text,
                Ok(other) => format!("{other:?}"),
                Err(problem) => format!("!{problem}"),
            };
            match expected.strip_prefix('!') {
                None => assert_eq!(found, expected, "{value:?}"),
                Some(part) => assert!(found.contains(part), "{value:?}: {found}"),
            }
        }
    }
}
