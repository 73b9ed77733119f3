//! Messages as JSON, for event files, the admin API and what the tools print. Nothing is lost on the
//! way: header types that JSON does not have are written as an object with one key that begins
//! with `$`, e.g. `{"$timestamp": 1700000000}`; a body that is not UTF-8 as `body-base64`.

use super::{Event, Field, Headers, Properties, Publication};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

/// Why a JSON text is no message. The path says where, e.g. `properties.headers.retries`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {problem}")]
pub struct JsonError {
    /// Where.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}

fn wrong<T>(path: &str, problem: impl Into<String>) -> Result<T, JsonError> {
    Err(JsonError { path: path.to_owned(), problem: problem.into() })
}

/// Takes the known keys out of an object; what is left when it is done is unknown.
struct Object<'a> {
    path: &'a str,
    map: Map<String, Value>,
    known: Vec<&'static str>,
}

impl<'a> Object<'a> {
    fn new(path: &'a str, value: Value) -> Result<Self, JsonError> {
        match value {
            Value::Object(map) => Ok(Self { path, map, known: Vec::new() }),
            _ => wrong(if path.is_empty() { "." } else { path }, "must be an object"),
        }
    }

    fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.map.remove(key).filter(|value| !value.is_null())
    }

    fn text(&mut self, key: &'static str) -> Result<Option<String>, JsonError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => wrong(&self.path(key), "must be a text"),
        }
    }

    fn number<T: TryFrom<u64>>(&mut self, key: &'static str) -> Result<Option<T>, JsonError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.as_u64().and_then(|n| T::try_from(n).ok()) {
            Some(n) => Ok(Some(n)),
            None => wrong(&self.path(key), "must be a whole number in its range"),
        }
    }

    fn end(self) -> Result<(), JsonError> {
        let Some(unknown) = self.map.keys().next() else { return Ok(()) };
        let distance = |known: &&&str| strsim::damerau_levenshtein(known, unknown);
        let nearest = self.known.iter().min_by_key(distance).copied().unwrap_or_default();
        wrong(&self.path(unknown), format!("is unknown; the nearest that is known is `{nearest}`"))
    }
}

impl Event {
    /// Reads an event: `exchange`, `routing-key`, `queue`, `redelivered`, `attempt`, `first-seen`,
    /// `properties`, and `body` or `body-base64`; each may be left out.
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong type.
    pub fn from_json(value: Value) -> Result<Self, JsonError> {
        let mut object = Object::new("", value)?;
        let redelivered = match object.take("redelivered") {
            None => false,
            Some(Value::Bool(it)) => it,
            Some(_) => return wrong("redelivered", "must be true or false"),
        };
        let event = Event {
            exchange: object.text("exchange")?.unwrap_or_default(),
            routing_key: object.text("routing-key")?.unwrap_or_default(),
            queue: object.text("queue")?.unwrap_or_default(),
            redelivered,
            attempt: object.number("attempt")?.unwrap_or(1),
            returned: 0,
            first_seen: object.number("first-seen")?.unwrap_or(0),
            id: None,
            properties: properties(&mut object)?,
            body: body(&mut object)?,
        };
        object.end()?;
        Ok(event)
    }
}

impl Publication {
    /// Reads a publication: `exchange`, `routing-key`, `properties`, and `body` or `body-base64`;
    /// each may be left out.
    ///
    /// # Errors
    /// An unknown key, or a value of the wrong type.
    pub fn from_json(value: Value) -> Result<Self, JsonError> {
        let mut object = Object::new("", value)?;
        let publication = Publication {
            exchange: object.text("exchange")?.unwrap_or_default(),
            routing_key: object.text("routing-key")?.unwrap_or_default(),
            properties: properties(&mut object)?,
            body: body(&mut object)?,
        };
        object.end()?;
        Ok(publication)
    }

    /// What [`Self::from_json`] reads.
    pub fn to_json(&self) -> Value {
        let mut object = json!({
            "exchange": self.exchange,
            "routing-key": self.routing_key,
            "properties": self.properties.to_json(),
        });
        // Control characters take six times their room as JSON.
        let plain = |text: &&str| !text.contains(|c: char| c.is_control() && !c.is_whitespace());
        match std::str::from_utf8(&self.body).ok().filter(plain) {
            Some(text) => object["body"] = text.into(),
            None => object["body-base64"] = BASE64_STANDARD.encode(&self.body).into(),
        }
        object
    }
}

/// A text is the body itself; any other value is written as JSON.
fn body(object: &mut Object<'_>) -> Result<Vec<u8>, JsonError> {
    let body = object.take("body");
    let Some(encoded) = object.text("body-base64")? else {
        return Ok(match body {
            None => Vec::new(),
            Some(Value::String(text)) => text.into_bytes(),
            Some(value) => value.to_string().into_bytes(),
        });
    };
    if body.is_some() {
        return wrong("body-base64", "can't stand beside `body`");
    }
    BASE64_STANDARD
        .decode(encoded)
        .or_else(|error| wrong("body-base64", format!("is not base64: {error}")))
}

fn properties(object: &mut Object<'_>) -> Result<Properties, JsonError> {
    match object.take("properties") {
        None => Ok(Properties::default()),
        Some(value) => Properties::from_json(value),
    }
}

impl Properties {
    fn from_json(value: Value) -> Result<Self, JsonError> {
        let mut object = Object::new("properties", value)?;
        let headers = match object.take("headers") {
            None => Headers::default(),
            Some(Value::Object(map)) => headers("properties.headers", map)?,
            Some(_) => return wrong("properties.headers", "must be an object"),
        };
        let properties = Properties {
            content_type: object.text("content-type")?,
            content_encoding: object.text("content-encoding")?,
            headers,
            delivery_mode: object.number("delivery-mode")?,
            priority: object.number("priority")?,
            correlation_id: object.text("correlation-id")?,
            reply_to: object.text("reply-to")?,
            expiration: object.text("expiration")?,
            message_id: object.text("message-id")?,
            timestamp: object.number("timestamp")?,
            kind: object.text("type")?,
            user_id: object.text("user-id")?,
            app_id: object.text("app-id")?,
            cluster_id: None,
        };
        object.end()?;
        Ok(properties)
    }

    /// Those that are set, with AMQP's names.
    pub fn to_json(&self) -> Value {
        let text = |text: &Option<String>| text.clone().map(Value::from);
        let pairs = [
            ("content-type", text(&self.content_type)),
            ("content-encoding", text(&self.content_encoding)),
            ("headers", (!self.headers.is_empty()).then(|| table(&self.headers))),
            ("delivery-mode", self.delivery_mode.map(Value::from)),
            ("priority", self.priority.map(Value::from)),
            ("correlation-id", text(&self.correlation_id)),
            ("reply-to", text(&self.reply_to)),
            ("expiration", text(&self.expiration)),
            ("message-id", text(&self.message_id)),
            ("timestamp", self.timestamp.map(Value::from)),
            ("type", text(&self.kind)),
            ("user-id", text(&self.user_id)),
            ("app-id", text(&self.app_id)),
        ];
        let set = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(set.collect())
    }
}

fn headers(path: &str, map: Map<String, Value>) -> Result<Headers, JsonError> {
    let mut headers = Headers::default();
    for (name, value) in map {
        let value = field(&format!("{path}.{name}"), value)?;
        headers.0.push((name, value));
    }
    headers.0.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(headers)
}

fn field(path: &str, value: Value) -> Result<Field, JsonError> {
    Ok(match value {
        Value::Null => Field::Void,
        Value::Bool(it) => Field::Bool(it),
        Value::String(text) => Field::Text(text),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(n), _) => Field::I64(n),
            (None, Some(n)) => Field::F64(n),
            (None, None) => return wrong(path, "is not a number that AMQP knows"),
        },
        Value::Array(items) => {
            let items = items.into_iter().map(|item| field(path, item));
            Field::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(map) => match typed(path, &map) {
            Some(field) => field?,
            None => Field::Table(headers(path, map)?),
        },
    })
}

/// `{"$uint8": 7}` and its like; `None` for an ordinary table.
fn typed(path: &str, map: &Map<String, Value>) -> Option<Result<Field, JsonError>> {
    let (1, Some((kind, value))) = (map.len(), map.iter().next()) else { return None };
    let kind = kind.strip_prefix('$')?;
    fn int<T: TryFrom<i64>>(value: &Value) -> Option<T> {
        value.as_i64().and_then(|n| T::try_from(n).ok())
    }
    let bytes = || BASE64_STANDARD.decode(value.as_str()?).ok();
    let field = match kind {
        "bytes" => bytes().map(Field::Bytes),
        "raw-text" => bytes().map(Field::RawText),
        "int8" => int(value).map(Field::I8),
        "uint8" => int(value).map(Field::U8),
        "int16" => int(value).map(Field::I16),
        "uint16" => int(value).map(Field::U16),
        "int32" => int(value).map(Field::I32),
        "uint32" => int(value).map(Field::U32),
        #[allow(clippy::cast_possible_truncation, reason = "it was written as a 32-bit number")]
        "float32" => float(value).map(|n| Field::F32(n as f32)),
        "float64" => float(value).map(Field::F64),
        "timestamp" => value.as_u64().map(Field::Timestamp),
        "table" => match value {
            Value::Object(map) => return Some(headers(path, map.clone()).map(Field::Table)),
            _ => None,
        },
        "decimal" => (|| {
            let scale = u8::try_from(value["scale"].as_u64()?).ok()?;
            let value = u32::try_from(value["value"].as_u64()?).ok()?;
            Some(Field::Decimal { scale, value })
        })(),
        _ => return None,
    };
    Some(field.map_or_else(|| wrong(path, format!("has no value of the type `{kind}`")), Ok))
}

/// A number, or the text of one that JSON does not have.
fn float(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// What [`float`] reads.
fn float_json(number: f64, finite: Value) -> Value {
    if number.is_finite() { finite } else { number.to_string().into() }
}

fn table(headers: &Headers) -> Value {
    Value::Object(headers.0.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
}

impl Field {
    /// What a header is as JSON.
    pub fn to_json(&self) -> Value {
        match self {
            Field::Text(text) => json!(text),
            Field::RawText(bytes) => json!({ "$raw-text": BASE64_STANDARD.encode(bytes) }),
            Field::Bytes(bytes) => json!({ "$bytes": BASE64_STANDARD.encode(bytes) }),
            Field::Bool(it) => json!(it),
            Field::I8(n) => json!({ "$int8": n }),
            Field::U8(n) => json!({ "$uint8": n }),
            Field::I16(n) => json!({ "$int16": n }),
            Field::U16(n) => json!({ "$uint16": n }),
            Field::I32(n) => json!({ "$int32": n }),
            Field::U32(n) => json!({ "$uint32": n }),
            Field::I64(n) => json!(n),
            Field::F32(n) => json!({ "$float32": float_json(f64::from(*n), json!(n)) }),
            Field::F64(n) => json!({ "$float64": float_json(*n, json!(n)) }),
            Field::Decimal { scale, value } => {
                json!({ "$decimal": { "scale": scale, "value": value } })
            }
            Field::Timestamp(seconds) => json!({ "$timestamp": seconds }),
            Field::Void => Value::Null,
            Field::Array(items) => items.iter().map(Field::to_json).collect(),
            Field::Table(headers) => match headers.0.as_slice() {
                // It would be taken for a typed value.
                [(name, _)] if name.starts_with('$') => json!({ "$table": table(headers) }),
                _ => table(headers),
            },
        }
    }
}

#[cfg(test)]
mod tests;
