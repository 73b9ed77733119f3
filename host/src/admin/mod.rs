//! What is seen of a host from outside, by HTTP: whether it lives, is ready or idle, its metrics,
//! and a few operations under `/api`. Next: [`crate::config`] and [`crate::cli`], which start it.

mod idle;
mod publish;
mod status;

use crate::dispatch::host::Host;
use crate::telemetry::metrics;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The largest request, in bytes: room for a body of 16 MiB as base64, with its properties.
pub const REQUEST_BYTES_MAX: usize = 24 << 20;

/// What the pages show.
#[derive(Clone)]
pub struct Admin {
    /// The host.
    pub host: Arc<Host>,
    /// Its metrics.
    pub metrics: metrics::Handle,
    /// What `/api` asks for as a bearer token, if anything.
    pub token: Option<Arc<str>>,
}

/// Serves until `stop`.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    admin: Admin,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let stopped = async move { stop.cancelled().await };
    axum::serve(listener, router(admin)).with_graceful_shutdown(stopped).await
}

fn router(admin: Admin) -> Router {
    let api = Router::new()
        .route("/publish", post(publish::publish))
        .route("/broker", get(status::broker))
        .route("/plugins", get(status::plugins))
        .route("/consumers", get(status::consumers))
        .route_layer(middleware::from_fn_with_state(admin.clone(), authorize));
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(status::readyz))
        .route("/idle", get(idle::idle))
        .route("/metrics", get(status::metrics))
        .nest("/api", api)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(admin)
}

async fn authorize(State(admin): State<Admin>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION);
    let given = given.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match &admin.token {
        Some(token) if !given.is_some_and(|given| same(given, token)) => {
            let problem = "this address asks for the token of `[admin] token`, as `Authorization: Bearer TOKEN`\n";
            (StatusCode::UNAUTHORIZED, problem).into_response()
        }
        _ => next.run(request).await,
    }
}

/// Compares in a time that does not tell how far two texts agree.
fn same(a: &str, b: &str) -> bool {
    let differ = a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    a.len() == b.len() && differ == 0
}
