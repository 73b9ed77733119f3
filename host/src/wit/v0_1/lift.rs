//! From what the guest says to plain data: its failure to an outcome, its publication to ours.

use super::export::Failure;
use super::import::wabbit::{
    amqp::types as wit,
    publish::publisher::{Property, PublishError},
};
use crate::flow::{Field, Headers, Outcome, Publication};
use std::time::Duration;

/// AMQP's limit on the length of names and of most properties, in bytes.
const SHORT_STRING_MAX: usize = 255;

/// How deep headers may nest: recursion over what a guest gives must end before our stack does.
const DEPTH_MAX: usize = 32;

/// Persistent, unless the guest says otherwise.
const PERSISTENT: u8 = 2;

/// What the guest's failure means, when it has said that something is `unavailable` or has not.
pub fn failure(failure: Failure, unavailable: Option<String>) -> Outcome {
    match failure {
        Failure::Retry(retry) => {
            let after = retry.after_ms.map(Duration::from_millis);
            match unavailable {
                Some(reason) => Outcome::Unavailable { after, reason },
                None => Outcome::Retry { after, reason: retry.reason },
            }
        }
        Failure::Reject(reason) => Outcome::Reject(reason),
        Failure::Drop(reason) => Outcome::Drop(reason),
    }
}

/// What the guest asks to publish.
///
/// # Errors
/// `invalid` when AMQP can't carry it.
pub fn publication(
    exchange: String,
    routing_key: String,
    body: Vec<u8>,
    given: Vec<Property>,
) -> Result<Publication, PublishError> {
    short("exchange", &exchange)?;
    short("routing key", &routing_key)?;
    let mut publication = Publication { exchange, routing_key, body, ..Publication::default() };
    let to = &mut publication.properties;
    to.delivery_mode = Some(PERSISTENT);
    let mut headers = Vec::new();
    let mut nested = Vec::new();
    for property in given {
        match property {
            Property::ContentType(text) => set("content-type", &mut to.content_type, text)?,
            Property::ContentEncoding(text) => {
                set("content-encoding", &mut to.content_encoding, text)?
            }
            Property::Header(header) => headers.push(header),
            Property::Nested(list) => nested.push(Some(list)),
            Property::DeliveryMode(mode) => to.delivery_mode = Some(mode),
            Property::Priority(priority) => to.priority = Some(priority),
            Property::CorrelationId(text) => set("correlation-id", &mut to.correlation_id, text)?,
            Property::ReplyTo(text) => set("reply-to", &mut to.reply_to, text)?,
            Property::Expiration(text) => set("expiration", &mut to.expiration, text)?,
            Property::MessageId(text) => set("message-id", &mut to.message_id, text)?,
            Property::Timestamp(seconds) => to.timestamp = Some(seconds),
            Property::Type(text) => set("type", &mut to.kind, text)?,
            Property::AppId(text) => set("app-id", &mut to.app_id, text)?,
        }
    }
    to.headers = table(headers, &mut nested, 0)?;
    if let Some(unused) = nested.iter().position(Option::is_some) {
        return Err(PublishError::Invalid(format!("no header points to the nested list {unused}")));
    }
    Ok(publication)
}

fn set(name: &str, to: &mut Option<String>, text: String) -> Result<(), PublishError> {
    short(name, &text)?;
    *to = Some(text);
    Ok(())
}

fn short(what: &str, text: &str) -> Result<(), PublishError> {
    if text.len() > SHORT_STRING_MAX {
        let length = text.len();
        return Err(PublishError::Invalid(format!(
            "the {what} has {length} bytes, AMQP takes {SHORT_STRING_MAX}"
        )));
    }
    Ok(())
}

/// The lists that a publication's headers nest; each is taken by the one value that points to it,
/// so that no list can contain itself or be multiplied.
type Nested = [Option<Vec<wit::Header>>];

fn table(
    list: Vec<wit::Header>,
    nested: &mut Nested,
    depth: usize,
) -> Result<Headers, PublishError> {
    let mut headers = Headers::default();
    for wit::Header { name, value } in list {
        short("name of a header", &name)?;
        if headers.get(&name).is_some() {
            return Err(PublishError::Invalid(format!("the header `{name}` comes twice")));
        }
        headers.0.push((name, field(value, nested, depth)?));
    }
    Ok(headers)
}

fn take(index: u32, nested: &mut Nested, depth: usize) -> Result<Vec<wit::Header>, PublishError> {
    if depth > DEPTH_MAX {
        return Err(PublishError::Invalid(format!("headers nest deeper than {DEPTH_MAX}")));
    }
    nested.get_mut(index as usize).and_then(Option::take).ok_or_else(|| {
        PublishError::Invalid(format!(
            "the nested list {index} was not given, or is pointed to twice"
        ))
    })
}

fn field(value: wit::Field, nested: &mut Nested, depth: usize) -> Result<Field, PublishError> {
    Ok(match value {
        wit::Field::Text(text) => Field::Text(text),
        wit::Field::RawText(bytes) => Field::RawText(bytes),
        wit::Field::Bytes(bytes) => Field::Bytes(bytes),
        wit::Field::Boolean(it) => Field::Bool(it),
        wit::Field::Int8(n) => Field::I8(n),
        wit::Field::Uint8(n) => Field::U8(n),
        wit::Field::Int16(n) => Field::I16(n),
        wit::Field::Uint16(n) => Field::U16(n),
        wit::Field::Int32(n) => Field::I32(n),
        wit::Field::Uint32(n) => Field::U32(n),
        wit::Field::Int64(n) => Field::I64(n),
        wit::Field::Float32(n) => Field::F32(n),
        wit::Field::Float64(n) => Field::F64(n),
        wit::Field::Decimal(wit::Decimal { scale, value }) => Field::Decimal { scale, value },
        wit::Field::Timestamp(seconds) => Field::Timestamp(seconds),
        wit::Field::Void => Field::Void,
        wit::Field::Array(index) => {
            let items = take(index, nested, depth + 1)?.into_iter();
            let items = items.map(|item| field(item.value, nested, depth + 1));
            Field::Array(items.collect::<Result<_, _>>()?)
        }
        wit::Field::Table(index) => {
            let list = take(index, nested, depth + 1)?;
            Field::Table(table(list, nested, depth + 1)?)
        }
    })
}
