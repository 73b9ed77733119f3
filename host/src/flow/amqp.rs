//! AMQP 0-9-1 messages as data, independent of any client library.

/// One value of a field table, with every type that RabbitMQ knows.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// A long string of valid UTF-8.
    Text(String),
    /// A long string that is not valid UTF-8.
    RawText(Vec<u8>),
    /// A byte array.
    Bytes(Vec<u8>),
    /// `t`
    Bool(bool),
    /// `b`
    I8(i8),
    /// `B`
    U8(u8),
    /// `s`
    I16(i16),
    /// `u`
    U16(u16),
    /// `I`
    I32(i32),
    /// `i`
    U32(u32),
    /// `l`
    I64(i64),
    /// `f`
    F32(f32),
    /// `d`
    F64(f64),
    /// `value` divided by ten to the power of `scale`.
    Decimal {
        /// Decimal digits after the point.
        scale: u8,
        /// The number without its point.
        value: u32,
    },
    /// Seconds since the Unix epoch.
    Timestamp(u64),
    /// No value.
    Void,
    /// An array.
    Array(Vec<Field>),
    /// A table.
    Table(Headers),
}

impl Field {
    /// The text of a `Text` field.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Field::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Bytes in a field table, with the one that tells the type.
    pub fn wire_size(&self) -> usize {
        1 + match self {
            Field::Text(text) => 4 + text.len(),
            Field::RawText(bytes) | Field::Bytes(bytes) => 4 + bytes.len(),
            Field::Bool(_) | Field::I8(_) | Field::U8(_) => 1,
            Field::I16(_) | Field::U16(_) => 2,
            Field::I32(_) | Field::U32(_) | Field::F32(_) => 4,
            Field::I64(_) | Field::F64(_) | Field::Timestamp(_) => 8,
            Field::Decimal { .. } => 5,
            Field::Void => 0,
            Field::Array(items) => 4 + items.iter().map(Field::wire_size).sum::<usize>(),
            Field::Table(headers) => headers.wire_size(),
        }
    }

    /// Equal, whatever the width of a number: clients choose it as they like.
    pub fn same(&self, other: &Field) -> bool {
        match (self, other) {
            // 0.1 is another number in 32 bits, so the narrower of the two counts.
            (Field::F64(wide), Field::F32(narrow)) | (Field::F32(narrow), Field::F64(wide)) => {
                *wide as f32 == *narrow
            }
            _ => match (self.as_integer(), other.as_integer()) {
                (Some(a), Some(b)) => a == b,
                _ => self == other,
            },
        }
    }

    /// Any integer type as `i64`.
    pub fn as_integer(&self) -> Option<i64> {
        match *self {
            Field::I8(n) => Some(n.into()),
            Field::U8(n) => Some(n.into()),
            Field::I16(n) => Some(n.into()),
            Field::U16(n) => Some(n.into()),
            Field::I32(n) => Some(n.into()),
            Field::U32(n) => Some(n.into()),
            Field::I64(n) => Some(n),
            _ => None,
        }
    }
}

impl From<&str> for Field {
    fn from(text: &str) -> Self {
        Field::Text(text.to_owned())
    }
}

impl From<String> for Field {
    fn from(text: String) -> Self {
        Field::Text(text)
    }
}

/// A field table: names and values. Clients sort them by name; no name comes twice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Headers(pub Vec<(String, Field)>);

impl Headers {
    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Sets `name`, in place of a value that it may have.
    pub fn set(&mut self, name: &str, value: impl Into<Field>) {
        let value = value.into();
        match self.0.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes `name` out.
    pub fn take(&mut self, name: &str) -> Option<Field> {
        let at = self.0.iter().position(|(key, _)| key == name)?;
        Some(self.0.remove(at).1)
    }

    /// Bytes as a field table.
    pub fn wire_size(&self) -> usize {
        let field = |(name, value): &(String, Field)| 1 + name.len() + value.wire_size();
        4 + self.0.iter().map(field).sum::<usize>()
    }

    /// No headers at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<String>, V: Into<Field>> FromIterator<(K, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(fields: I) -> Self {
        Headers(fields.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

/// The properties of a message, named as AMQP 0-9-1 names them.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs, reason = "the names are AMQP's; wit/deps/wabbit-amqp explains each")]
pub struct Properties {
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub headers: Headers,
    pub delivery_mode: Option<u8>,
    pub priority: Option<u8>,
    pub correlation_id: Option<String>,
    pub reply_to: Option<String>,
    pub expiration: Option<String>,
    pub message_id: Option<String>,
    pub timestamp: Option<u64>,
    pub kind: Option<String>,
    pub user_id: Option<String>,
    pub app_id: Option<String>,
    pub cluster_id: Option<String>,
}

/// A message that is to be published: always mandatory, always confirmed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Publication {
    /// Empty for the default exchange.
    pub exchange: String,
    /// With the default exchange, a queue's name.
    pub routing_key: String,
    /// Properties and headers.
    pub properties: Properties,
    /// The payload.
    pub body: Vec<u8>,
}
