//! How a host is doing.

use super::Admin;
use crate::broker::{ConsumerTimeout, Features, LinkHealth, State as ConsumerState};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};

/// 200 if every subscription has a live consumer; 503 with the reasons otherwise.
pub async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let reasons = admin.host.unready();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons })))
}

/// Prometheus's text format.
pub async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], admin.metrics.render())
}

/// How each connection is doing, and who is at its other end.
pub async fn broker(State(admin): State<Admin>) -> Json<Value> {
    let broker = admin.host.broker();
    let connection = |link: LinkHealth| json!({ "role": link.role, "up": link.up, "blocked": link.blocked, "reason": link.reason });
    let connections: Vec<_> = broker.health().links.into_iter().map(connection).collect();
    let server = broker.server().map(|server| {
        json!({
            "product": server.product,
            "version": server.version.map(|version| version.to_string()),
            "cluster": server.cluster,
            "features": features(&server.features),
        })
    });
    Json(json!({ "connections": connections, "server": server }))
}

fn features(features: &Features) -> Value {
    json!({
        "native-delayed-retry": features.native_delayed_retry,
        "default-delivery-limit": features.default_delivery_limit,
        "consumer-timeout": match features.consumer_timeout {
            ConsumerTimeout::None => "none",
            ConsumerTimeout::ClosesChannel => "closes-channel",
            ConsumerTimeout::CancelsConsumer => "cancels-consumer",
        },
        "nack-counts": features.nack_counts,
        "global-qos": features.global_qos,
        "transient-queues": features.transient_queues,
    })
}

/// Each plugin with the digest that is served, and what is wrong with its files.
pub async fn plugins(State(admin): State<Admin>) -> Json<Value> {
    let plugin = |it: crate::dispatch::host::PluginStatus| json!({ "name": it.name, "digest": it.digest, "trouble": it.trouble, "hint": it.hint });
    Json(admin.host.plugins().into_iter().map(plugin).collect())
}

/// Each consumer, its plugins and its state.
pub async fn consumers(State(admin): State<Admin>) -> Json<Value> {
    let consumer = |consumer: crate::dispatch::ConsumerStatus| {
        let (state, reason) = match consumer.status.state {
            ConsumerState::Starting => ("starting", None),
            ConsumerState::Live { .. } => ("live", None),
            ConsumerState::Down { reason, .. } => ("down", Some(reason)),
            ConsumerState::Paused => ("paused", None),
            ConsumerState::Ended => ("ended", None),
        };
        let paused = |it: &crate::dispatch::Paused| {
            let since = humantime::format_rfc3339_millis(it.since).to_string();
            json!({ "plugin": it.plugin.to_string(), "since": since, "reason": it.reason })
        };
        let paused: Vec<_> = consumer.paused.iter().map(paused).collect();
        let since = humantime::format_rfc3339_millis(consumer.status.since).to_string();
        let plugins: Vec<_> = consumer.plugins.iter().map(|name| name.to_string()).collect();
        json!({
            "queue": consumer.queue,
            "plugins": plugins,
            "paused": paused,
            "state": state,
            "reason": reason,
            "since": since,
        })
    };
    Json(admin.host.consumers().into_iter().map(consumer).collect())
}
