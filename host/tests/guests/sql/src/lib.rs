//! A handler that does in databases what the event's body says; README.md lists what it understands.

use serde_json::{Value as Json, json};
use wabbit::handler::types::Retry;
use wabbit::publish::publisher::publish;
use wabbit::sql::database::{Error, Value, execute, query};

wit_bindgen::generate!({ path: "../../../../wit", world: "sql-handler", generate_all });

struct Sql;

impl Guest for Sql {
    fn handle(event: Event) -> Result<(), Failure> {
        let steps: Vec<Json> = serde_json::from_slice(&event.body)
            .map_err(|error| Failure::Reject(format!("not JSON: {error}")))?;
        steps.iter().try_for_each(step)
    }
}

fn step(step: &Json) -> Result<(), Failure> {
    let word = |index: usize| step[index].as_str().unwrap_or_default();
    let values = || step[3].as_array().into_iter().flatten().map(value).collect::<Vec<_>>();
    match word(0) {
        "execute" => execute(word(1), word(2), &values()).map(|_| ()).map_err(failure),
        // What comes of it is not looked at.
        "try" => {
            let _ = execute(word(1), word(2), &values());
            Ok(())
        }
        "query" => {
            let found = query(word(1), word(2), &values()).map_err(failure)?;
            let row = |row: Vec<Value>| row.into_iter().map(json).collect::<Json>();
            let rows = found.rows.into_iter().map(row).collect::<Json>();
            send(word(4), &rows.to_string())
        }
        "publish" => send(word(1), word(2)),
        "retry" => Err(Failure::Retry(Retry { after_ms: Some(0), reason: "asked to".into() })),
        "panic" => panic!("asked to"),
        other => Err(Failure::Reject(format!("no step is called `{other}`"))),
    }
}

fn send(queue: &str, body: &str) -> Result<(), Failure> {
    let sent = publish("", queue, body.as_bytes(), &[]);
    sent.map_err(|error| Failure::Reject(format!("{error:?}")))
}

/// The class of an error, and what it says.
fn failure(error: Error) -> Failure {
    Failure::Reject(match error {
        Error::NotGranted(text) => format!("not-granted: {text}"),
        Error::Unavailable(text) => format!("unavailable: {text}"),
        Error::Refused(text) => format!("refused: {text}"),
        Error::Statement(error) => format!("statement: {error:?}"),
        Error::TypeMismatch(text) => format!("type-mismatch: {text}"),
        Error::Limit(text) => format!("limit: {text}"),
    })
}

fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(it) => Value::Boolean(*it),
        Json::Number(n) => {
            n.as_i64().map_or(Value::Real(n.as_f64().unwrap_or(0.0)), Value::Integer)
        }
        Json::String(text) => Value::Text(text.clone()),
        other => Value::Json(other.to_string()),
    }
}

fn json(value: Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Boolean(it) => json!(it),
        Value::Integer(n) => json!(n),
        Value::Real(n) => json!(n),
        Value::Text(text) => json!(text),
        other => json!(format!("{other:?}")),
    }
}

export!(Sql);
