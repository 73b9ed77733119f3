//! Publishes the name of its own crate to the exchange and key `versions`, under the event's
//! message-id: which version of the code has handled which event?

use wabbit::publish::publisher::{Property, publish};

wit_bindgen::generate!({ path: "../../../../wit", world: "publishing-handler", generate_all });

struct Version;

impl Guest for Version {
    fn handle(event: Event) -> Result<(), Failure> {
        let id = event.properties.message_id.map(Property::MessageId);
        publish("versions", "versions", env!("CARGO_PKG_NAME").as_bytes(), id.as_slice())
            .map_err(|error| Failure::Reject(error.to_string()))
    }
}

export!(Version);
