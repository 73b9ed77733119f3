// What both guests of key-value stores share; each has made its bindings before it includes this.
//
// The body of an event is a JSON array of steps, each an array of words. What steps read is published
// to the queue in the header `out`, as one JSON array.

use serde_json::{Value, json};
use wabbit::amqp::types::Field;
use wabbit::handler::types::Retry;
use wabbit::publish::publisher::publish;

struct KeyValue;

impl Guest for KeyValue {
    fn handle(event: Event) -> Result<(), Failure> {
        let steps: Vec<Vec<Value>> = serde_json::from_slice(&event.body)
            .map_err(|error| Failure::Reject(error.to_string()))?;
        let mut bucket = None;
        let mut seen = Vec::new();
        for step in &steps {
            let word = |at: usize| step.get(at).and_then(Value::as_str).unwrap_or_default();
            let done = match word(0) {
                "open" => store::open(word(1)).map(|opened| {
                    bucket = Some(opened);
                    None
                }),
                "retry" if event.attempt == 1 => {
                    let reason = "retried by script".to_owned();
                    return Err(Failure::Retry(Retry { after_ms: Some(0), reason }));
                }
                "retry" => Ok(None),
                "reject" => return Err(Failure::Reject(word(1).to_owned())),
                "trap" => panic!("trapped by script"),
                _ => {
                    let bucket = match bucket.as_ref() {
                        Some(bucket) => bucket,
                        None => &*bucket.insert(open_default()?),
                    };
                    take(bucket, &word, step)
                }
            };
            match done {
                Ok(value) => seen.extend(value),
                // What a guest is told is for its test to see.
                Err(error) => seen.push(json!({ "error": text(error) })),
            }
        }
        let out = event.properties.headers.iter().find(|header| header.name == "out");
        if let Some(Field::Text(queue)) = out.map(|header| &header.value) {
            publish("", queue, json!(seen).to_string().as_bytes(), &[])
                .map_err(|error| Failure::Reject(error.to_string()))?;
        }
        Ok(())
    }
}

fn open_default() -> Result<store::Bucket, Failure> {
    store::open("").map_err(|error| Failure::Reject(text(error)))
}

fn text(error: store::Error) -> String {
    match error {
        store::Error::NoSuchStore => "no such store".to_owned(),
        store::Error::AccessDenied => "access denied".to_owned(),
        store::Error::Other(text) => text,
    }
}

fn shown(value: Option<Vec<u8>>) -> Option<Value> {
    Some(json!(value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())))
}

/// Takes a step that needs a store; `Some`: what is seen.
fn take<'a>(
    bucket: &store::Bucket,
    word: &impl Fn(usize) -> &'a str,
    step: &[Value],
) -> Result<Option<Value>, store::Error> {
    let texts = || step[1..].iter().filter_map(Value::as_str).map(str::to_owned);
    match word(0) {
        "get" => bucket.get(word(1)).map(shown),
        "exists" => bucket.exists(word(1)).map(|it| Some(json!(it))),
        "set" => bucket.set(word(1), word(2).as_bytes()).map(|()| None),
        "fill" => {
            let bytes = step[2].as_u64().unwrap_or_default() as usize;
            bucket.set(word(1), &vec![b'x'; bytes]).map(|()| None)
        }
        "delete" => bucket.delete(word(1)).map(|()| None),
        "append" => {
            let mut value = bucket.get(word(1))?.unwrap_or_default();
            value.extend_from_slice(word(2).as_bytes());
            bucket.set(word(1), &value).map(|()| None)
        }
        "list" => list(bucket).map(|keys| Some(json!(keys))),
        "add" => {
            let delta = step[2].as_i64().unwrap_or_default();
            atomics::increment(bucket, word(1), delta as _).map(|sum| Some(json!(sum)))
        }
        "get-many" => {
            let found = batch::get_many(bucket, &texts().collect::<Vec<_>>())?;
            let pair = |(key, value): (String, Vec<u8>)| json!([key, shown(Some(value))]);
            Ok(Some(found.into_iter().map(|found| found.map(pair)).collect()))
        }
        "set-many" => {
            let pairs = texts().map(|key| (key.clone(), format!("{key}!").into_bytes()));
            batch::set_many(bucket, &pairs.collect::<Vec<_>>()).map(|()| None)
        }
        "delete-many" => batch::delete_many(bucket, &texts().collect::<Vec<_>>()).map(|()| None),
        _ => of_this_draft(bucket, word),
    }
}

/// All keys, sorted.
fn list(bucket: &store::Bucket) -> Result<Vec<String>, store::Error> {
    let mut keys = Vec::new();
    let mut page = page_after(bucket, None)?;
    loop {
        keys.append(&mut page.keys);
        if page.cursor.is_none() {
            keys.sort();
            return Ok(keys);
        }
        page = page_after(bucket, Some(&page))?;
    }
}

export!(KeyValue);
