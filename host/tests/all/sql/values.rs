//! What goes into a column comes out of it, or is refused with the reason.

use super::*;

fn decimal(text: &str) -> Value {
    Value::Decimal(text.into())
}
fn date(text: &str) -> Value {
    Value::Date(text.into())
}
fn time(text: &str) -> Value {
    Value::Time(text.into())
}
fn timestamp(text: &str) -> Value {
    Value::Timestamp(text.into())
}
fn timestamp_tz(text: &str) -> Value {
    Value::TimestampTz(text.into())
}
fn json(text: &str) -> Value {
    Value::Json(text.into())
}
fn uuid() -> Value {
    Value::Uuid("0195d1e0-6a3f-7cc1-9d5e-3f0f6c1e8a11".into())
}

/// Puts each value into a column of its type, and expects `found` of it.
async fn round_trips(place: &Place, table: Vec<(&str, Value, Value)>) {
    for (index, (kind, ..)) in table.iter().enumerate() {
        place.create(&format!("CREATE TABLE t{index} (v {kind})")).await;
    }
    let mut unit = place.open().begin().await.unwrap();
    for (index, (kind, given, expected)) in table.into_iter().enumerate() {
        let insert = place.places(&format!("INSERT INTO t{index} VALUES (?), (?)"));
        let case = format!("{} {kind} {:.80}", place.kind(), format!("{given:?}"));
        let told = tell(&mut unit, &insert, [given, Value::Null]).await;
        assert_eq!(told, Ok(2), "{case}");
        let found = ask(&mut unit, &format!("SELECT v FROM t{index}"), []).await.unwrap();
        match (&found.rows[0][0], &expected) {
            (Value::Real(a), Value::Real(b)) if a.is_nan() && b.is_nan() => {}
            (found, expected) => assert!(found == expected, "{case}: {:.80}", format!("{found:?}")),
        }
        assert_eq!(found.rows[1][0], Value::Null, "{case}");
    }
}

fn same(kind: &'static str, value: Value) -> (&'static str, Value, Value) {
    (kind, value.clone(), value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_values_by_class_and_declared_type() {
    let place = Place::sqlite().await;
    let mebibyte = Value::Bytes((0..1 << 20).map(|n: u32| n.to_le_bytes()[0]).collect());
    let table = vec![
        same("INTEGER", Value::Integer(i64::MIN)),
        same("INTEGER", Value::Integer(i64::MAX)),
        same("BOOLEAN", Value::Boolean(true)),
        ("INTEGER", Value::Boolean(true), Value::Integer(1)),
        same("BOOLEAN", Value::Integer(2)),
        same("REAL", Value::Real(-0.1)),
        same("REAL", Value::Real(f64::MAX)),
        ("DECIMAL(10,2)", decimal("19.90"), Value::Real(19.9)),
        ("TEXT", decimal("19.90"), text("19.90")),
        same("TEXT", text("")),
        same("TEXT", text("größe 🐇 ' ; --")),
        same("BLOB", Value::Bytes(Vec::new())),
        same("BLOB", mebibyte),
        same("DATE", date("0001-01-01")),
        same("TIME", time("23:59:59.999999")),
        same("DATETIME", timestamp("2026-01-31T13:45:00.000001")),
        (
            "DATETIME",
            timestamp_tz("2026-01-31T13:45:00+02:00"),
            timestamp_tz("2026-01-31T11:45:00Z"),
        ),
        ("TEXT", timestamp("2026-01-31T13:45:00"), text("2026-01-31 13:45:00")),
        same("DATE", text("not a date")),
        ("UUID", uuid(), text("0195d1e0-6a3f-7cc1-9d5e-3f0f6c1e8a11")),
        ("JSON", json("{\"a\":[1]}"), text("{\"a\":[1]}")),
    ];
    round_trips(&place, table).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_has_a_type_for_every_value() {
    let place = Place::postgres().await;
    place.create("CREATE TYPE mood AS ENUM ('glad', 'sad')").await;
    place.create("CREATE DOMAIN price AS numeric(10,2) CHECK (VALUE > 0)").await;
    let mebibyte = Value::Bytes((0..1 << 20).map(|n: u32| n.to_le_bytes()[0]).collect());
    let table = vec![
        same("bigint", Value::Integer(i64::MIN)),
        same("integer", Value::Integer(i32::MIN.into())),
        same("smallint", Value::Integer(i16::MAX.into())),
        same("oid", Value::Integer(u32::MAX.into())),
        same("boolean", Value::Boolean(false)),
        same("double precision", Value::Real(f64::NAN)),
        same("double precision", Value::Real(f64::INFINITY)),
        same("real", Value::Real(0.5)),
        same("numeric(10,2)", decimal("19.90")),
        same("numeric", decimal("-0.000000000000000000001")),
        same("numeric", decimal("123456789012345678901234567890")),
        same("numeric", decimal("NaN")),
        ("numeric", Value::Integer(i64::MIN), decimal("-9223372036854775808")),
        ("price", Value::Integer(7), decimal("7.00")),
        same("text", text("")),
        same("varchar(40)", text("größe 🐇 ' ; --")),
        ("char(3)", text("a"), text("a  ")),
        same("mood", text("sad")),
        same("bytea", Value::Bytes(Vec::new())),
        same("bytea", mebibyte),
        same("date", date("0001-01-01")),
        same("date", date("9999-12-31")),
        same("date", date("infinity")),
        same("time", time("23:59:59.999999")),
        same("time", time("24:00:00")),
        same("timestamp", timestamp("0001-01-01T00:00:00")),
        same("timestamp", timestamp("1999-12-31T23:59:59.999999")),
        same("timestamp", timestamp("-infinity")),
        (
            "timestamptz",
            timestamp_tz("2026-01-31T13:45:00.25+02:00"),
            timestamp_tz("2026-01-31T11:45:00.25Z"),
        ),
        same("uuid", uuid()),
        same("json", json("{ \"a\": [1] }")),
        ("jsonb", json("{\"a\":[1]}"), json("{\"a\": [1]}")),
    ];
    round_trips(&place, table).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mysql_converts_values_to_what_their_columns_are() {
    let place = Place::mysql().await;
    let mebibyte = Value::Bytes((0..1 << 20).map(|n: u32| n.to_le_bytes()[0]).collect());
    let table = vec![
        same("BIGINT", Value::Integer(i64::MIN)),
        ("BIGINT UNSIGNED", decimal("18446744073709551615"), decimal("18446744073709551615")),
        same("BIGINT UNSIGNED", Value::Integer(i64::MAX)),
        same("INT UNSIGNED", Value::Integer(u32::MAX.into())),
        same("MEDIUMINT", Value::Integer(-8_388_608)),
        same("SMALLINT", Value::Integer(-1)),
        same("TINYINT", Value::Integer(-128)),
        same("BOOLEAN", Value::Boolean(true)),
        same("TINYINT(1)", Value::Integer(2)),
        same("BIT(16)", Value::Integer(258)),
        same("YEAR", Value::Integer(2026)),
        same("DOUBLE", Value::Real(-0.1)),
        same("FLOAT", Value::Real(0.5)),
        same("DECIMAL(10,2)", decimal("19.90")),
        same("DECIMAL(38,20)", decimal("-123456789012345678.00000000000000000001")),
        same("VARCHAR(40)", text("")),
        same("VARCHAR(40) CHARACTER SET utf8mb4", text("größe 🐇 ' ; -- \\")),
        same("VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", text("größe")),
        same("CHAR(3)", text("a")),
        same("LONGTEXT", text("x")),
        same("ENUM('glad', 'sad')", text("sad")),
        same("SET('a', 'b')", text("a,b")),
        same("VARBINARY(4)", Value::Bytes(vec![0, 255])),
        same("BINARY(2)", Value::Bytes(vec![1, 0])),
        same("BLOB", Value::Bytes(Vec::new())),
        same("LONGBLOB", mebibyte),
        same("DATE", date("1000-01-01")),
        same("DATE", date("9999-12-31")),
        same("TIME(6)", time("23:59:59.999999")),
        same("TIME", time("-838:59:59")),
        same("TIME", time("00:00:00")),
        same("DATETIME(6)", timestamp("1000-01-01T00:00:00.000001")),
        (
            "TIMESTAMP(6)",
            timestamp_tz("2026-01-31T13:45:00.25+02:00"),
            timestamp_tz("2026-01-31T11:45:00.25Z"),
        ),
        // MariaDB's are texts on the wire.
        ("UUID", uuid(), text("0195d1e0-6a3f-7cc1-9d5e-3f0f6c1e8a11")),
        ("JSON", json("{ \"a\": [1] }"), text("{ \"a\": [1] }")),
    ];
    round_trips(&place, table).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_does_not_fit_is_named_with_what_is_wanted() {
    let place = Place::postgres().await;
    place.create("CREATE TABLE t (i smallint, s text, b bytea, d date, a inet)").await;
    let mut unit = place.open().begin().await.unwrap();
    let table = [
        ("i", text("7"), "parameter 1 is `text` and the statement takes `int2`"),
        ("i", Value::Integer(40_000), "parameter 1 is out of the range of `INT2`"),
        ("s", Value::Integer(7), "parameter 1 is `integer` and the statement takes `text`"),
        ("b", text("7"), "takes `bytea`"),
        ("d", timestamp("2026-01-31T13:45:00"), "takes `date`"),
        ("d", date("yesterday"), "parameter 1 is no date: `yesterday`"),
        ("a", text("::1"), "where it says `$1::text::inet`"),
    ];
    for (column, value, expected) in table {
        let insert = format!("INSERT INTO t ({column}) VALUES ($1)");
        match tell(&mut unit, &insert, [value]).await {
            Err(SqlError::Type(problem)) => assert!(problem.contains(expected), "{problem}"),
            other => panic!("{column}: {other:?}"),
        }
    }
    let cast = "INSERT INTO t (a) VALUES ($1::text::inet)";
    assert_eq!(tell(&mut unit, cast, [text("::1")]).await, Ok(1));
    let unread = ask(&mut unit, "SELECT a FROM t", []).await.unwrap_err();
    let expected = "the column `a` is of the type `inet`, which is not served: cast it to text";
    assert_eq!(unread, SqlError::Type(expected.to_owned()));
    let found = ask(&mut unit, "SELECT a::text FROM t WHERE a IS NOT NULL", []).await.unwrap();
    assert_eq!(found.rows, [[text("::1/128")]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_as_many_parameters_as_places() {
    for place in Place::all().await {
        let mut unit = place.open().begin().await.unwrap();
        let query = if place.is("postgres") { "SELECT $1::int, $2::int" } else { "SELECT ?, ?" };
        let error = ask(&mut unit, query, [Value::Null]).await.unwrap_err();
        let expected = "the statement has 2 parameters, 1 were given";
        assert_eq!(error, SqlError::Type(expected.to_owned()), "{}", place.kind());
        let found = ask(&mut unit, query, [Value::Null, Value::Integer(7)]).await.unwrap();
        assert_eq!(found.rows, [[Value::Null, Value::Integer(7)]], "{}", place.kind());
    }
}
