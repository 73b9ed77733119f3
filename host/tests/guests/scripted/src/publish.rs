//! What a script publishes. report.rs comes next.

use crate::wabbit::amqp::types::{Field, Header};
use crate::wabbit::publish::publisher::{self, Property};
use crate::{Event, Failure};
use serde_json::Value;

/// Publishes `body` to `exchange:key`. A refusal rejects the event, with the refusal as its reason.
pub fn send(to: &str, body: &[u8], properties: &[Property]) -> Result<(), Failure> {
    let (exchange, key) = to.split_once(':').unwrap_or(("", to));
    publisher::publish(exchange, key, body, properties)
        .map_err(|error| Failure::Reject(error.to_string()))
}

/// `publish:EXCHANGE:KEY`: the event's body, with no properties.
pub fn publish_to(to: &str, body: &[u8]) -> Result<(), Failure> {
    send(to, body, &[])
}

/// `{"publish": {"exchange", "key", "body", "size", "times", and properties by their WIT names}}`.
pub fn publish_json(publication: &Value) -> Result<(), Failure> {
    let text = |name: &str| publication[name].as_str().unwrap_or_default();
    let to = format!("{}:{}", text("exchange"), text("key"));
    let body = match publication["size"].as_u64() {
        Some(size) => vec![b'x'; size as usize],
        None => text("body").as_bytes().to_vec(),
    };
    let properties = properties(publication)?;
    (0..publication["times"].as_u64().unwrap_or(1)).try_for_each(|_| send(&to, &body, &properties))
}

fn properties(publication: &Value) -> Result<Vec<Property>, Failure> {
    let mut properties = Vec::new();
    for (name, value) in publication.as_object().into_iter().flatten() {
        let text = || value.as_str().unwrap_or_default().to_owned();
        let number = || value.as_u64().unwrap_or_default();
        properties.push(match name.as_str() {
            "content-type" => Property::ContentType(text()),
            "content-encoding" => Property::ContentEncoding(text()),
            "delivery-mode" => Property::DeliveryMode(number() as u8),
            "priority" => Property::Priority(number() as u8),
            "correlation-id" => Property::CorrelationId(text()),
            "reply-to" => Property::ReplyTo(text()),
            "expiration" => Property::Expiration(text()),
            "message-id" => Property::MessageId(text()),
            "timestamp" => Property::Timestamp(number()),
            "type" => Property::Type(text()),
            "app-id" => Property::AppId(text()),
            "headers" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    let header = Header { name: name.clone(), value: field(value) };
                    properties.push(Property::Header(header));
                }
                continue;
            }
            "exchange" | "key" | "body" | "size" | "times" => continue,
            _ => return Err(Failure::Reject(format!("no such property: `{name}`"))),
        });
    }
    Ok(properties)
}

/// Flat headers; `{"table": N}` and `{"array": N}` point into the nested lists, right or wrong.
fn field(value: &Value) -> Field {
    let index = |name: &str| value[name].as_u64().map(|index| index as u32);
    match value {
        Value::String(text) => Field::Text(text.clone()),
        Value::Bool(flag) => Field::Boolean(*flag),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Field::Int64(integer),
            None => Field::Float64(number.as_f64().unwrap_or_default()),
        },
        _ => match (index("table"), index("array")) {
            (Some(table), _) => Field::Table(table),
            (_, Some(array)) => Field::Array(array),
            _ => Field::Void,
        },
    }
}

/// `echo:EXCHANGE:KEY`: the body, and every property that a handler may set, as they came.
pub fn echo(to: &str, event: &Event) -> Result<(), Failure> {
    let from = event.properties.clone();
    let mut properties: Vec<Property> = [
        from.content_type.map(Property::ContentType),
        from.content_encoding.map(Property::ContentEncoding),
        from.delivery_mode.map(Property::DeliveryMode),
        from.priority.map(Property::Priority),
        from.correlation_id.map(Property::CorrelationId),
        from.reply_to.map(Property::ReplyTo),
        from.expiration.map(Property::Expiration),
        from.message_id.map(Property::MessageId),
        from.timestamp.map(Property::Timestamp),
        from.type_.map(Property::Type),
        from.app_id.map(Property::AppId),
    ]
    .into_iter()
    .flatten()
    .collect();
    properties.extend(from.nested.into_iter().map(Property::Nested));
    properties.extend(from.headers.into_iter().map(Property::Header));
    send(to, &event.body, &properties)
}
