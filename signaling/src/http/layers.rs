//! What happens around every request.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{
    addresses, auth,
    limits::Asker,
    problem::{Problem, Told},
    state::App,
};

const SECURITY_HEADERS: [(&str, &str); 6] = [
    (
        "content-security-policy",
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' \
         blob:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; object-src 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "permissions-policy",
        "camera=(self), microphone=(self), display-capture=(self), autoplay=(self), fullscreen=(self), \
         geolocation=(), payment=(), usb=(), serial=()",
    ),
];

/// Adds the headers that keep a browser strict. No HSTS: with a certificate of one's own it would lock people
/// out of the plain address they are used to.
pub async fn security_headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in SECURITY_HEADERS {
        response
            .headers_mut()
            .entry(HeaderName::from_static(name))
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Logs and counts each request: method, route (never the address itself, which may hold a ticket), status and
/// time.
pub async fn log(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    let status = response.status();
    app.http_metrics.count(status);
    if let Some(Told(kind)) = response.extensions().get() {
        app.refusals.problem(kind);
        // Whoever is refused a thousand times a second is not written down a thousand times.
        if status.is_client_error() && !app.refusals.may_log(started) {
            return response;
        }
    }
    let ms = started.elapsed().as_millis() as u64;
    match route.as_ref().map(MatchedPath::as_str) {
        // Asked every few seconds by programs.
        Some(route @ ("/livez" | "/readyz" | "/metrics")) => {
            tracing::debug!(%method, route, status = status.as_u16(), ms, "request");
        }
        Some(route) => tracing::info!(%method, route, status = status.as_u16(), ms, "request"),
        None => tracing::debug!(%method, route = "file", status = status.as_u16(), ms, "request"),
    }
    response
}

/// Refuses those of the API and of media who ask too fast. Files cost nothing, and a socket has limits of its own.
pub async fn limit(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    if !["/api/", "/whip/", "/whep/"].iter().any(|start| route.starts_with(start)) {
        return next.run(request).await;
    }
    let now = time::OffsetDateTime::now_utc();
    let claims = auth::token(request.headers()).and_then(|token| app.tokens.verify(token, now).ok());
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let asker = match (claims, peer) {
        (Some(claims), _) => Asker::Bearer(claims.participant),
        (None, Some(ConnectInfo(peer))) => Asker::Network(addresses::network(peer.ip())),
        (None, None) => return next.run(request).await,
    };
    match app.request_limits.admit(asker, Instant::now()) {
        Ok(()) => next.run(request).await,
        Err(wait) => Problem::too_fast(wait).into_response(),
    }
}

/// Ends a request that takes too long to answer. The body of the answer may take its time.
pub async fn within(time: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "timeout",
            "The server took too long.",
            "Try again in a while.",
        )
        .into_response(),
    }
}

/// Makes a problem of every error that is not one yet (wrong methods, broken queries, bodies that are too
/// long), so that clients see one shape.
pub async fn problems(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let done = content_type.is_some_and(|value| value == "application/problem+json" || value == "text/html");
    if !(status.is_client_error() || status.is_server_error()) || done {
        return response;
    }
    let (kind, title, detail) = match status {
        StatusCode::NOT_FOUND => ("not_found", "There is nothing at this address.", "Check the address."),
        StatusCode::METHOD_NOT_ALLOWED => (
            "method_not_allowed",
            "This address does not take this method.",
            "The Allow header says which it takes; /api/openapi.json says all addresses.",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => {
            ("body_too_large", "The body of the request is too large.", "64 KiB are the most.")
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            ("unavailable", "The server is not ready.", "Try again in a while.")
        }
        status if status.is_server_error() => {
            ("internal", "The server could not do this.", "Try again; the server's log says why.")
        }
        _ => ("invalid", "The request cannot be used.", "See /api/openapi.json for what this address takes."),
    };
    let mut problem = Problem::new(status, kind, title, detail).into_response();
    // Such as Allow and Retry-After; what described the old body goes.
    for (name, value) in response.headers() {
        if ![header::CONTENT_TYPE, header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name) {
            problem.headers_mut().append(name, value.clone());
        }
    }
    problem
}
