//! Logs every event that it gets: what passes through an exchange?

wit_bindgen::generate!({ path: "../../wit", world: "handler", generate_all });

use wabbit::amqp::types::{Field, Header};
use wasi::logging::logging::{Level, log};

struct Tap;

impl Guest for Tap {
    fn handle(event: Event) -> Result<(), Failure> {
        let headers: String = event.properties.headers.iter().map(show).collect();
        let body = String::from_utf8_lossy(&event.body);
        let line = format!("{}:{}{headers} {body}", event.exchange, event.routing_key);
        log(Level::Info, "tap", &line);
        Ok(())
    }
}

fn show(header: &Header) -> String {
    match &header.value {
        Field::Text(text) => format!(" {}={text}", header.name),
        other => format!(" {}={other:?}", header.name),
    }
}

export!(Tap);
