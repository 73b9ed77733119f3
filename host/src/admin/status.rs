//! How a host is doing.

use super::Admin;
use crate::broker::State as ConsumerState;
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

/// Each plugin with the digest that is served, and what is wrong with its files.
pub async fn plugins(State(admin): State<Admin>) -> Json<Value> {
    let plugin = |plugin: crate::dispatch::host::PluginStatus| json!({ "name": plugin.name, "digest": plugin.digest, "trouble": plugin.trouble });
    Json(admin.host.plugins().into_iter().map(plugin).collect())
}

/// Each consumer, its plugins and its state.
pub async fn consumers(State(admin): State<Admin>) -> Json<Value> {
    let consumer = |consumer: crate::dispatch::ConsumerStatus| {
        let (state, reason) = match consumer.status.state {
            ConsumerState::Starting => ("starting", None),
            ConsumerState::Live { .. } => ("live", None),
            ConsumerState::Down { reason } => ("down", Some(reason)),
            ConsumerState::Ended => ("ended", None),
        };
        let since = humantime::format_rfc3339_millis(consumer.status.since).to_string();
        let plugins: Vec<_> = consumer.plugins.iter().map(|name| name.to_string()).collect();
        json!({
            "queue": consumer.queue,
            "plugins": plugins,
            "state": state,
            "reason": reason,
            "since": since,
        })
    };
    Json(admin.host.consumers().into_iter().map(consumer).collect())
}
