//! `RESTAURANT_SIGNUP`: stores the restaurant with its branches and the hash of its password, and
//! tells everybody `RESTAURANT_CREATED`, with the id that the database gave it.

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, SaltString};
use serde::Deserialize;
use serde_json::json;

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package example:restaurants;
        world signup {
            include wabbit:handler/publishing-handler@0.1.0;
            import wabbit:sql/database@0.1.0;
        }
    ",
    world: "example:restaurants/signup",
    generate_all,
});

use wabbit::handler::types::Retry;
use wabbit::publish::publisher::{Property, publish};
use wabbit::sql::database::{Constraint, Error, Value, execute, query};
use wasi::logging::logging::{Level, log};

const DATABASE: &str = "restaurants";

#[derive(Deserialize)]
struct Signup {
    name: String,
    email: String,
    password: String,
    #[serde(default)]
    branches: Vec<Branch>,
}

#[derive(Deserialize)]
struct Branch {
    address: String,
    seats: i64,
}

struct Handler;

impl Guest for Handler {
    fn handle(event: Event) -> Result<(), Failure> {
        let signup: Signup = serde_json::from_slice(&event.body)
            .map_err(|error| Failure::Reject(format!("not a sign-up: {error}")))?;
        match store(&signup) {
            Ok(id) => {
                log(Level::Info, "signup", &format!("{} is {id}", signup.name));
                tell(
                    "RESTAURANT_CREATED",
                    json!({"id": id, "name": signup.name, "email": signup.email}),
                )
            }
            // An answer, and no failure of the event: somebody has signed up with it before.
            Err(Error::Statement(broken)) if broken.constraint == Some(Constraint::Unique) => {
                let reason = format!("{} is taken", signup.email);
                tell("RESTAURANT_REFUSED", json!({"name": signup.name, "reason": reason}))
            }
            Err(error) => Err(failure(error)),
        }
    }
}

/// Writes it all, or nothing: a handler that fails leaves none of its statements behind.
fn store(signup: &Signup) -> Result<String, Error> {
    let text = |text: &str| Value::Text(text.to_owned());
    let restaurant = query(
        DATABASE,
        "INSERT INTO restaurants (name, email, password_hash) VALUES ($1, $2, $3)
         RETURNING id",
        &[text(&signup.name), text(&signup.email), text(&hash(&signup.password))],
    )?;
    let Some([Value::Uuid(id)]) = restaurant.rows.first().map(Vec::as_slice) else {
        unreachable!("one row with one id is what the statement returns");
    };
    for Branch { address, seats } in &signup.branches {
        execute(
            DATABASE,
            "INSERT INTO branches (restaurant, address, seats) VALUES ($1, $2, $3)",
            &[Value::Uuid(id.clone()), text(address), Value::Integer(*seats)],
        )?;
    }
    Ok(id.clone())
}

/// Argon2id with a salt of its own, as text that names its parameters.
fn hash(password: &str) -> String {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("the host has random numbers");
    let salt = SaltString::encode_b64(&salt).expect("16 bytes are a salt");
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    hash.expect("the parameters are the default ones").to_string()
}

/// Sent once the event is stored, before it is acknowledged. The kind is the content type.
fn tell(kind: &str, body: serde_json::Value) -> Result<(), Failure> {
    let kind = Property::ContentType(kind.to_owned());
    publish("logs", "", body.to_string().as_bytes(), &[kind])
        .map_err(|error| Failure::Reject(error.to_string()))
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
