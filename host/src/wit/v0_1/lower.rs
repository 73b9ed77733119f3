//! From an event to what the guest takes: everything borrowed, nested header values laid out in
//! lists that point to one another by index, since WIT has no recursive types.

use super::export::{Event, wabbit::amqp::types as wit};
use crate::flow::{self, Field, Headers};

/// The header lists of one event, to be kept while the guest is called.
pub struct Lowered<'a> {
    event: &'a flow::Event,
    headers: Vec<wit::Header<'a>>,
    nested: Vec<Vec<wit::Header<'a>>>,
}

impl<'a> Lowered<'a> {
    /// Lays out the headers of `event`.
    pub fn new(event: &'a flow::Event) -> Self {
        let mut nested = Vec::new();
        let headers = table(&event.properties.headers, &mut nested);
        Self { event, headers, nested }
    }

    /// The lists that nested values point to.
    pub fn nested(&self) -> Vec<&[wit::Header<'a>]> {
        self.nested.iter().map(Vec::as_slice).collect()
    }

    /// The guest's event; `nested` is what [`Self::nested`] returned.
    pub fn event<'b>(&'b self, nested: &'b [&'b [wit::Header<'a>]]) -> Event<'b> {
        let event = self.event;
        let from = &event.properties;
        let properties = wit::Properties {
            content_type: from.content_type.as_deref(),
            content_encoding: from.content_encoding.as_deref(),
            headers: &self.headers,
            nested,
            delivery_mode: from.delivery_mode,
            priority: from.priority,
            correlation_id: from.correlation_id.as_deref(),
            reply_to: from.reply_to.as_deref(),
            expiration: from.expiration.as_deref(),
            message_id: from.message_id.as_deref(),
            timestamp: from.timestamp,
            type_: from.kind.as_deref(),
            user_id: from.user_id.as_deref(),
            app_id: from.app_id.as_deref(),
        };
        Event {
            exchange: &event.exchange,
            routing_key: &event.routing_key,
            queue: &event.queue,
            redelivered: event.redelivered,
            attempt: event.attempt,
            first_seen: event.first_seen,
            properties,
            body: &event.body,
        }
    }
}

type Nested<'a> = Vec<Vec<wit::Header<'a>>>;

fn table<'a>(headers: &'a Headers, nested: &mut Nested<'a>) -> Vec<wit::Header<'a>> {
    let field = |(name, value): &'a (String, Field)| wit::Header {
        name,
        value: self::field(value, nested),
    };
    headers.0.iter().map(field).collect()
}

fn array<'a>(items: &'a [Field], nested: &mut Nested<'a>) -> Vec<wit::Header<'a>> {
    items.iter().map(|item| wit::Header { name: "", value: field(item, nested) }).collect()
}

fn field<'a>(value: &'a Field, nested: &mut Nested<'a>) -> wit::Field<'a> {
    match value {
        Field::Text(text) => wit::Field::Text(text),
        Field::RawText(bytes) => wit::Field::RawText(bytes),
        Field::Bytes(bytes) => wit::Field::Bytes(bytes),
        Field::Bool(it) => wit::Field::Boolean(*it),
        Field::I8(n) => wit::Field::Int8(*n),
        Field::U8(n) => wit::Field::Uint8(*n),
        Field::I16(n) => wit::Field::Int16(*n),
        Field::U16(n) => wit::Field::Uint16(*n),
        Field::I32(n) => wit::Field::Int32(*n),
        Field::U32(n) => wit::Field::Uint32(*n),
        Field::I64(n) => wit::Field::Int64(*n),
        Field::F32(n) => wit::Field::Float32(*n),
        Field::F64(n) => wit::Field::Float64(*n),
        &Field::Decimal { scale, value } => wit::Field::Decimal(wit::Decimal { scale, value }),
        Field::Timestamp(seconds) => wit::Field::Timestamp(*seconds),
        Field::Void => wit::Field::Void,
        Field::Array(items) => wit::Field::Array(list(nested, |nested| array(items, nested))),
        Field::Table(headers) => wit::Field::Table(list(nested, |nested| table(headers, nested))),
    }
}

/// Takes the next index before what is inside takes its own, so that a list only ever points to
/// lists after it.
fn list<'a>(
    nested: &mut Nested<'a>,
    fill: impl FnOnce(&mut Nested<'a>) -> Vec<wit::Header<'a>>,
) -> u32 {
    let index = nested.len();
    nested.push(Vec::new());
    nested[index] = fill(nested);
    // A field table is at most 4 GiB long and each list takes more than a byte of it.
    u32::try_from(index).unwrap_or(u32::MAX)
}
