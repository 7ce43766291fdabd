//! HTTP around the handlers: listeners, TLS, headers, the log of requests, and the browser's files.

pub mod layers;
pub mod listener;
pub mod routes;
pub mod tls;
pub mod web;

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
};

use self::routes::Routes;
use crate::{live, metrics, openapi, problem::Problem, rest, state::App};

/// The longest that anything but a verification may take to answer.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(30);
/// A package of a day's session, on a slow disk.
const VERIFICATION_TIME_MAX: Duration = Duration::from_secs(900);
/// Bodies are JSON of a few fields, or SDP.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Everything the server answers.
pub fn router(app: App) -> Router {
    routes()
        .into_router()
        .layer(middleware::from_fn_with_state(app.clone(), layers::limit))
        .layer(middleware::from_fn(layers::problems))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(layers::security_headers))
        .layer(middleware::from_fn_with_state(app.clone(), layers::log))
        .with_state(app)
}

/// Whether a request is not one of another site's pages: browsers say which site a page is of, other clients send no
/// `Origin`.
pub fn same_origin(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let origin = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")));
    origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
}

/// The same before anything holds it together, with the list of what is in it.
pub fn routes() -> Routes {
    let quick = rest::routes()
        .merge(live::routes())
        .layer(middleware::from_fn(|request, next| layers::within(REQUEST_TIME_MAX, request, next)));
    let slow = rest::slow()
        .layer(middleware::from_fn(|request, next| layers::within(VERIFICATION_TIME_MAX, request, next)));
    Routes::new()
        .merge(quick)
        .merge(slow)
        .get("/livez", async || "ok\n")
        .get("/readyz", readyz)
        .get("/metrics", metrics::metrics)
        .get("/api/openapi.json", async || Json(openapi::document()))
        .files(web::serve)
}

/// `GET /readyz`: whether it makes sense to send anybody here.
async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    let not_ready = |kind, title| {
        let detail = "Send nobody here until this address answers 200.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, title, detail)
    };
    if app.live.is_stopping() {
        return Err(not_ready("stopping", "The server is stopping."));
    }
    match app.store.ping().await {
        Ok(()) => Ok("ok\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Err(not_ready("no_database", "The database does not answer."))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(origin: Option<&'static str>, host: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static(host));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        headers
    }

    #[test]
    fn only_pages_of_this_server_connect() {
        assert!(same_origin(&headers(Some("https://hewei.local:8443"), "hewei.local:8443")));
        assert!(same_origin(&headers(Some("http://127.0.0.1:8080"), "127.0.0.1:8080")));
        assert!(same_origin(&headers(None, "hewei.local:8443")));
        assert!(!same_origin(&headers(Some("https://evil.example"), "hewei.local:8443")));
        assert!(!same_origin(&headers(Some("https://hewei.local:9443"), "hewei.local:8443")));
        assert!(!same_origin(&headers(Some("https://hewei.local:8443.evil.example"), "hewei.local:8443")));
        assert!(!same_origin(&headers(Some("null"), "hewei.local:8443")));
    }
}
