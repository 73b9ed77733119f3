//! Adds up the lines of an order and publishes the total.

use serde::{Deserialize, Serialize};

wit_bindgen::generate!({ path: "../../wit", world: "publishing-handler", generate_all });

use wabbit::amqp::types::{Field, Header};
use wabbit::handler::types::Retry;
use wabbit::publish::publisher::{Property, publish};
use wasi::logging::logging::{Level, log};

#[derive(Deserialize)]
struct Order {
    id: String,
    currency: String,
    #[serde(default)]
    status: String,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    quantity: u32,
    price: f64,
}

#[derive(Serialize)]
struct Total {
    id: String,
    currency: String,
    items: u64,
    total_cents: i64,
}

struct Orders;

impl Guest for Orders {
    fn handle(event: Event) -> Result<(), Failure> {
        let order: Order = serde_json::from_slice(&event.body)
            .map_err(|error| Failure::Reject(format!("not an order: {error}")))?;
        if order.lines.is_empty() {
            return Err(Failure::Reject("the order has no lines".into()));
        }
        // A pending order gets one chance to be completed; after that it counts as it is.
        if order.status == "pending" && event.attempt == 1 {
            let reason = "the order is pending: come back later".into();
            return Err(Failure::Retry(Retry { after_ms: None, reason }));
        }

        let total = add_up(order);
        log(Level::Info, "orders", &format!("order {}: {} cents", total.id, total.total_cents));
        let body =
            serde_json::to_vec(&total).map_err(|error| Failure::Reject(error.to_string()))?;
        let properties = [
            Property::ContentType("application/json".into()),
            Property::Type("order.totalled".into()),
            Property::CorrelationId(total.id),
            Property::Header(Header {
                name: "handled-by".into(),
                value: Field::Text("rust".into()),
            }),
        ];
        // Sent once this function has returned Ok, and before the event is acknowledged.
        publish("shop", "order.totalled", &body, &properties)
            .map_err(|error| Failure::Reject(error.to_string()))
    }
}

/// Whole cents, so that no sum depends on the order of its lines.
fn add_up(order: Order) -> Total {
    let cents = |line: &Line| i64::from(line.quantity) * (line.price * 100.0).round() as i64;
    Total {
        items: order.lines.iter().map(|line| u64::from(line.quantity)).sum(),
        total_cents: order.lines.iter().map(cents).sum(),
        id: order.id,
        currency: order.currency,
    }
}

export!(Orders);
