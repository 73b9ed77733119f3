//! `GET /idle`: whether everything is processed.

use super::Admin;
use crate::dispatch::idle;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

/// 200 if everything is processed; 503 with the reasons if not, or if nobody here can know; with
/// `wait=DURATION` as soon as it is, or at the end of that time. 400 for a `wait` that is none.
pub async fn idle(
    State(admin): State<Admin>,
    Query(query): Query<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    let limit = match query.get("wait").map(|text| humantime::parse_duration(text)) {
        None => Duration::ZERO,
        Some(Ok(limit)) => limit.min(idle::WAIT_MAX),
        Some(Err(error)) => {
            let error = format!("`wait` must be a time like `30s`: {error}");
            return (StatusCode::BAD_REQUEST, Json(json!({ "error": error })));
        }
    };
    let idle::Idleness { state, reasons } = admin.host.wait_idle(limit).await;
    let status = match state {
        idle::State::Idle => StatusCode::OK,
        idle::State::Busy | idle::State::Unknown => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(json!({ "state": state.name(), "reasons": reasons })))
}
