//! HTTP around the handlers: listeners, TLS, headers, the log of requests, and the browser's files.

pub mod layers;
pub mod listener;
pub mod tls;
pub mod web;

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    middleware,
    routing::get,
};

use crate::{live, metrics, openapi, rest, state::App};

/// The longest that anything but a verification may take to answer.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// A package of a day's session, on a slow disk.
const VERIFICATION_TIME_MAX: Duration = Duration::from_secs(900);
/// Bodies are JSON of a few fields, or SDP.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Everything the server answers.
pub fn router(app: App) -> Router {
    let quick = rest::router()
        .merge(live::router())
        .layer(middleware::from_fn(|request, next| layers::within(REQUEST_TIME_MAX, request, next)));
    let slow = rest::slow()
        .layer(middleware::from_fn(|request, next| layers::within(VERIFICATION_TIME_MAX, request, next)));
    Router::new()
        .merge(quick)
        .merge(slow)
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/api/openapi.json", get(|| async { Json(openapi::document()) }))
        .fallback(web::serve)
        .layer(middleware::from_fn(layers::problems))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(layers::security_headers))
        .layer(middleware::from_fn_with_state(app.clone(), layers::log))
        .with_state(app)
}

/// `GET /readyz`: whether it makes sense to send anybody here.
async fn readyz(State(app): State<App>) -> (StatusCode, &'static str) {
    if app.live.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n");
    }
    match app.store.ping().await {
        Ok(()) => (StatusCode::OK, "ok\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
    }
}
