//! A little of the work that most handlers do: parses the body, changes a field, writes it as JSON.
//! What was written is dropped.

use serde_json::Value;
use std::hint::black_box;

wit_bindgen::generate!({ path: "../../../../wit", world: "handler", generate_all });

struct Json;

impl Guest for Json {
    fn handle(event: Event) -> Result<(), Failure> {
        let mut body: Value = serde_json::from_slice(&event.body)
            .map_err(|error| Failure::Reject(format!("not JSON: {error}")))?;
        let amount = body.get_mut("amount");
        let Some((amount, number)) = amount.and_then(|it| it.as_i64().map(|number| (it, number)))
        else {
            return Err(Failure::Reject("`amount` is no integer".into()));
        };
        *amount = (number + 1).into();
        black_box(body.to_string());
        Ok(())
    }
}

export!(Json);
