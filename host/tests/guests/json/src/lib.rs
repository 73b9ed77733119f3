//! Reads the body as a JSON object, changes it, and publishes it to `bench.out`.

use serde_json::Value;
use wabbit::publish::publisher::publish;

wit_bindgen::generate!({ path: "../../../../wit", world: "publishing-handler", generate_all });

struct Json;

impl Guest for Json {
    fn handle(event: Event) -> Result<(), Failure> {
        let mut body: Value = serde_json::from_slice(&event.body)
            .map_err(|error| Failure::Reject(format!("not JSON: {error}")))?;
        let Some(object) = body.as_object_mut() else {
            return Err(Failure::Reject("not an object".into()));
        };
        object.insert("handled_by".into(), "wabbit".into());
        publish("bench.out", &event.routing_key, body.to_string().as_bytes(), &[])
            .map_err(|error| Failure::Reject(error.to_string()))
    }
}

export!(Json);
