//! `RESTAURANT_CREATED`: the service `restaurants` of one cluster stores what signed up at another.

use serde::Deserialize;

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package example:restaurants;
        world copy {
            include wabbit:handler/handler@0.1.0;
            import wabbit:sql/database@0.1.0;
        }
    ",
    world: "example:restaurants/copy",
    generate_all,
});

use wabbit::handler::types::Retry;
use wabbit::sql::database::{Error, Value, execute};

#[derive(Deserialize)]
struct Created {
    id: String,
    name: String,
    email: String,
}

struct Handler;

impl Guest for Handler {
    fn handle(event: Event) -> Result<(), Failure> {
        let created: Created = serde_json::from_slice(&event.body)
            .map_err(|error| Failure::Reject(format!("not a restaurant: {error}")))?;
        // What signed up here is here already. The hash of its password stays where it signed up.
        execute(
            "restaurants",
            "INSERT INTO restaurants (id, name, email) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO NOTHING",
            &[Value::Uuid(created.id), Value::Text(created.name), Value::Text(created.email)],
        )
        .map(drop)
        .map_err(failure)
    }
}

fn failure(error: Error) -> Failure {
    match error {
        // Comes again when the database is back: no attempt is used up.
        Error::Unavailable(reason) => Failure::Retry(Retry { after_ms: None, reason }),
        Error::Statement(error) => Failure::Reject(error.message),
        other => Failure::Reject(other.to_string()),
    }
}

export!(Handler);
