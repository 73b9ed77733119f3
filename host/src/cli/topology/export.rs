//! The pieces as RabbitMQ's definitions.

use super::rows::Row;
use crate::broker::{Binding, Exchange, HeadersMatch, Queue, Topology};
use crate::cli::output::Output;
use crate::flow::Headers;
use serde_json::{Map, Value, json};

/// Prints what the host would declare before it runs; what is left out is said.
pub fn print(rows: &[Row], vhost: Option<&str>, output: &Output) {
    let mut definitions = Topology::default();
    for row in rows.iter().filter(|row| row.delay().is_none()) {
        let piece = row.alone();
        if row.is_declared() {
            definitions.exchanges.extend(piece.exchanges);
            definitions.queues.extend(piece.queues);
            definitions.bindings.extend(piece.bindings);
        } else if row.is_own() {
            output.talk(&format!("left out: {row}, which goes with the host's connection"));
        } else {
            output.talk(&format!("left out: {row}, which the host does not create"));
        }
    }
    let value = value(&definitions, vhost);
    output.data(|| format!("{value:#}"), || value.clone());
}

fn value(topology: &Topology, vhost: Option<&str>) -> Value {
    let exchange = |it: &Exchange| {
        json!({
            "name": it.name, "type": it.kind.map(|kind| kind.name()), "durable": it.durable,
            "auto_delete": it.auto_delete, "internal": false, "arguments": {},
        })
    };
    let queue = |it: &Queue| {
        let mut arguments = table(&it.arguments);
        if let Some(kind) = it.kind {
            arguments.insert("x-queue-type".to_owned(), json!(kind.name()));
        }
        json!({
            "name": it.name, "durable": it.durable, "auto_delete": it.auto_delete,
            "arguments": arguments,
        })
    };
    let binding = |it: &Binding| {
        let mut arguments = table(&it.headers);
        match it.headers_match {
            HeadersMatch::None => None,
            HeadersMatch::All => arguments.insert("x-match".to_owned(), json!("all")),
            HeadersMatch::Any => arguments.insert("x-match".to_owned(), json!("any")),
        };
        json!({
            "source": it.exchange, "destination": it.queue, "destination_type": "queue",
            "routing_key": it.routing_key, "arguments": arguments,
        })
    };
    let placed = |mut value: Value| {
        if let Some(vhost) = vhost {
            value["vhost"] = json!(vhost);
        }
        value
    };
    json!({
        "exchanges": topology.exchanges.iter().map(exchange).map(placed).collect::<Vec<_>>(),
        "queues": topology.queues.iter().map(queue).map(placed).collect::<Vec<_>>(),
        "bindings": topology.bindings.iter().map(binding).map(placed).collect::<Vec<_>>(),
    })
}

fn table(headers: &Headers) -> Map<String, Value> {
    headers.0.iter().map(|(name, value)| (name.clone(), value.to_json())).collect()
}
