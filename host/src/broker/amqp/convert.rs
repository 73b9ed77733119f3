//! AMQP values and properties as [`crate::flow`] has them, and as lapin has them. Next in the flow:
//! [`super::uri`], which says where the broker is.

use crate::flow::{Field, Headers, Properties};
use lapin::BasicProperties;
use lapin::types::{AMQPValue, DecimalValue, FieldTable, LongString, ShortString};

/// A text that AMQP can carry only up to 255 bytes.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{what} has {length} bytes, AMQP allows 255")]
pub(super) struct TooLong {
    what: String,
    length: usize,
}

/// `text` as a short string; `what` names it in the error.
pub(super) fn short(what: &str, text: &str) -> Result<ShortString, TooLong> {
    ShortString::try_new(text).map_err(|_| TooLong { what: what.to_owned(), length: text.len() })
}

/// A value that came.
fn field(value: &AMQPValue) -> Field {
    match value {
        AMQPValue::Boolean(v) => Field::Bool(*v),
        AMQPValue::ShortShortInt(v) => Field::I8(*v),
        AMQPValue::ShortShortUInt(v) => Field::U8(*v),
        AMQPValue::ShortInt(v) => Field::I16(*v),
        AMQPValue::ShortUInt(v) => Field::U16(*v),
        AMQPValue::LongInt(v) => Field::I32(*v),
        AMQPValue::LongUInt(v) => Field::U32(*v),
        AMQPValue::LongLongInt(v) => Field::I64(*v),
        AMQPValue::Float(v) => Field::F32(*v),
        AMQPValue::Double(v) => Field::F64(*v),
        AMQPValue::DecimalValue(v) => Field::Decimal { scale: v.scale, value: v.value },
        AMQPValue::ShortString(v) => Field::Text(v.as_str().to_owned()),
        AMQPValue::LongString(v) => long_string(v),
        AMQPValue::FieldArray(v) => Field::Array(v.as_slice().iter().map(field).collect()),
        AMQPValue::Timestamp(v) => Field::Timestamp(*v),
        AMQPValue::FieldTable(v) => Field::Table(headers(v)),
        AMQPValue::ByteArray(v) => Field::Bytes(v.as_slice().to_vec()),
        AMQPValue::Void => Field::Void,
    }
}

fn long_string(text: &LongString) -> Field {
    match std::str::from_utf8(text.as_bytes()) {
        Ok(text) => Field::Text(text.to_owned()),
        Err(_) => Field::RawText(text.as_bytes().to_vec()),
    }
}

/// A table that came.
fn headers(table: &FieldTable) -> Headers {
    Headers(table.into_iter().map(|(name, v)| (name.as_str().to_owned(), field(v))).collect())
}

/// A value that goes out.
fn value(field: &Field) -> Result<AMQPValue, TooLong> {
    Ok(match field {
        Field::Text(v) => AMQPValue::LongString(v.as_bytes().into()),
        Field::RawText(v) => AMQPValue::LongString(v.as_slice().into()),
        Field::Bytes(v) => AMQPValue::ByteArray(v.as_slice().into()),
        Field::Bool(v) => AMQPValue::Boolean(*v),
        Field::I8(v) => AMQPValue::ShortShortInt(*v),
        Field::U8(v) => AMQPValue::ShortShortUInt(*v),
        Field::I16(v) => AMQPValue::ShortInt(*v),
        Field::U16(v) => AMQPValue::ShortUInt(*v),
        Field::I32(v) => AMQPValue::LongInt(*v),
        Field::U32(v) => AMQPValue::LongUInt(*v),
        Field::I64(v) => AMQPValue::LongLongInt(*v),
        Field::F32(v) => AMQPValue::Float(*v),
        Field::F64(v) => AMQPValue::Double(*v),
        Field::Decimal { scale, value } => {
            AMQPValue::DecimalValue(DecimalValue { scale: *scale, value: *value })
        }
        Field::Timestamp(v) => AMQPValue::Timestamp(*v),
        Field::Void => AMQPValue::Void,
        Field::Array(v) => {
            AMQPValue::FieldArray(v.iter().map(value).collect::<Result<Vec<_>, _>>()?.into())
        }
        Field::Table(v) => AMQPValue::FieldTable(table(v)?),
    })
}

/// A table that goes out.
pub(super) fn table(headers: &Headers) -> Result<FieldTable, TooLong> {
    let mut table = FieldTable::default();
    for (name, field) in &headers.0 {
        table.insert(short("the name of a header", name)?, value(field)?);
    }
    Ok(table)
}

/// The properties of a message that came.
pub(super) fn properties(from: &BasicProperties) -> Properties {
    let text = |text: &Option<ShortString>| text.as_ref().map(|text| text.as_str().to_owned());
    Properties {
        content_type: text(from.content_type()),
        content_encoding: text(from.content_encoding()),
        headers: from.headers().as_ref().map(headers).unwrap_or_default(),
        delivery_mode: *from.delivery_mode(),
        priority: *from.priority(),
        correlation_id: text(from.correlation_id()),
        reply_to: text(from.reply_to()),
        expiration: text(from.expiration()),
        message_id: text(from.message_id()),
        timestamp: *from.timestamp(),
        kind: text(from.kind()),
        user_id: text(from.user_id()),
        app_id: text(from.app_id()),
        cluster_id: text(from.cluster_id()),
    }
}

/// The properties of a message that goes out.
pub(super) fn basic_properties(from: &Properties) -> Result<BasicProperties, TooLong> {
    let mut to = BasicProperties::default();
    macro_rules! texts {
        ($($name:ident => $with:ident),*) => {$(
            if let Some(text) = &from.$name {
                to = to.$with(short(stringify!($name), text)?);
            }
        )*};
    }
    texts!(
        content_type => with_content_type, content_encoding => with_content_encoding,
        correlation_id => with_correlation_id, reply_to => with_reply_to,
        expiration => with_expiration, message_id => with_message_id, kind => with_type,
        user_id => with_user_id, app_id => with_app_id, cluster_id => with_cluster_id
    );
    if !from.headers.is_empty() {
        to = to.with_headers(table(&from.headers)?);
    }
    if let Some(mode) = from.delivery_mode {
        to = to.with_delivery_mode(mode);
    }
    if let Some(priority) = from.priority {
        to = to.with_priority(priority);
    }
    if let Some(timestamp) = from.timestamp {
        to = to.with_timestamp(timestamp);
    }
    Ok(to)
}

/// Bytes of a content header: class, weight, size of the body, flags, and the properties.
pub(super) fn header_size(properties: &Properties) -> usize {
    let texts = [
        &properties.content_type,
        &properties.content_encoding,
        &properties.correlation_id,
        &properties.reply_to,
        &properties.expiration,
        &properties.message_id,
        &properties.kind,
        &properties.user_id,
        &properties.app_id,
        &properties.cluster_id,
    ];
    let texts: usize = texts.into_iter().flatten().map(|text| 1 + text.len()).sum();
    // The flags, and what is always as long: delivery-mode, priority, timestamp.
    14 + texts + 10 + properties.headers.wire_size()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_type() -> Vec<(Field, AMQPValue)> {
        let inner = Headers(vec![("deep".into(), Field::Void)]);
        let mut inner_table = FieldTable::default();
        inner_table.insert("deep".into(), AMQPValue::Void);
        vec![
            (Field::Text("grün".into()), AMQPValue::LongString("grün".into())),
            (Field::RawText(vec![0xff, 1]), AMQPValue::LongString(vec![0xff, 1].into())),
            (Field::Bytes(vec![0, 255]), AMQPValue::ByteArray(vec![0, 255].into())),
            (Field::Bool(true), AMQPValue::Boolean(true)),
            (Field::I8(i8::MIN), AMQPValue::ShortShortInt(i8::MIN)),
            (Field::U8(u8::MAX), AMQPValue::ShortShortUInt(u8::MAX)),
            (Field::I16(i16::MIN), AMQPValue::ShortInt(i16::MIN)),
            (Field::U16(u16::MAX), AMQPValue::ShortUInt(u16::MAX)),
            (Field::I32(i32::MIN), AMQPValue::LongInt(i32::MIN)),
            (Field::U32(u32::MAX), AMQPValue::LongUInt(u32::MAX)),
            (Field::I64(i64::MIN), AMQPValue::LongLongInt(i64::MIN)),
            (Field::F32(1.5), AMQPValue::Float(1.5)),
            (Field::F64(-2.25), AMQPValue::Double(-2.25)),
            (
                Field::Decimal { scale: 2, value: 314 },
                AMQPValue::DecimalValue(DecimalValue { scale: 2, value: 314 }),
            ),
            (Field::Timestamp(u64::MAX), AMQPValue::Timestamp(u64::MAX)),
            (Field::Void, AMQPValue::Void),
            (
                Field::Array(vec![Field::U8(1), Field::Array(vec![])]),
                AMQPValue::FieldArray(
                    vec![
                        AMQPValue::ShortShortUInt(1),
                        AMQPValue::FieldArray(Vec::<AMQPValue>::new().into()),
                    ]
                    .into(),
                ),
            ),
            (Field::Table(inner), AMQPValue::FieldTable(inner_table)),
        ]
    }

    #[test]
    fn every_field_type_goes_out_and_comes_back_as_it_was() {
        for (ours, theirs) in every_type() {
            assert_eq!(value(&ours), Ok(theirs.clone()), "{ours:?} going out");
            assert_eq!(field(&theirs), ours, "{theirs:?} coming in");
        }
    }

    #[test]
    fn every_property_goes_out_and_comes_back_as_it_was() {
        let text = |text: &str| Some(text.to_owned());
        let ours = Properties {
            content_type: text("application/json"),
            content_encoding: text("gzip"),
            headers: every_type()
                .into_iter()
                .enumerate()
                .map(|(n, (v, _))| (format!("h{n:02}"), v))
                .collect(),
            delivery_mode: Some(2),
            priority: Some(9),
            correlation_id: text("c"),
            reply_to: text("r"),
            expiration: text("1000"),
            message_id: text("m"),
            timestamp: Some(1_700_000_000),
            kind: text("order.created"),
            user_id: text("guest"),
            app_id: text("shop"),
            cluster_id: text("k"),
        };
        assert_eq!(basic_properties(&ours).map(|theirs| properties(&theirs)), Ok(ours));
        let none = Properties::default();
        assert_eq!(basic_properties(&none).map(|theirs| properties(&theirs)), Ok(none));
    }

    #[test]
    fn the_size_on_the_wire_is_the_encoders() {
        for (ours, _) in every_type() {
            let headers = Headers(vec![("name".into(), ours)]);
            let table = table(&headers).expect("short names");
            let (bytes, _) = lapin::types::generation::gen_field_table(&table)(Vec::new().into())
                .expect("encodes")
                .into_inner();
            assert_eq!(headers.wire_size(), bytes.len(), "{headers:?}");
        }
    }

    #[test]
    fn text_over_255_bytes_is_an_error_and_no_panic() {
        let long = "x".repeat(256);
        let headers = Headers(vec![(long.clone(), Field::Void)]);
        let error = table(&headers).expect_err("too long").to_string();
        assert_eq!(error, "the name of a header has 256 bytes, AMQP allows 255");
        let properties = Properties { kind: Some(long), ..Properties::default() };
        assert!(basic_properties(&properties).is_err());
    }
}
