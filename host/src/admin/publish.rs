//! `POST /api/publish`: one message, mandatory and confirmed, by way of the host's own broker. It is
//! how other programs reach the embedded broker.

use super::Admin;
use crate::broker::PublishError;
use crate::flow::Publication;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a client waits at most while the broker is away or takes no publications.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// 200 once the broker has taken it, 400 for JSON that is no publication, 422 if the broker refuses
/// it or no queue takes it, 503 if it is not there.
pub async fn publish(
    State(admin): State<Admin>,
    Json(body): Json<Value>,
) -> (StatusCode, Json<Value>) {
    let failed = |status, error: String| (status, Json(json!({ "error": error })));
    let publication = match Publication::from_json(body) {
        Ok(publication) => publication,
        Err(error) => return failed(StatusCode::BAD_REQUEST, error.to_string()),
    };
    match tokio::time::timeout(WAIT_MAX, admin.host.broker().publish(publication)).await {
        Ok(Ok(())) => (StatusCode::OK, Json(json!({}))),
        Ok(Err(error @ PublishError::Lost(_))) => {
            failed(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
        }
        Ok(Err(error)) => failed(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()),
        Err(_) => {
            let waited = humantime::format_duration(WAIT_MAX);
            let error = format!("the broker did not take it within {waited}");
            failed(StatusCode::SERVICE_UNAVAILABLE, error)
        }
    }
}
