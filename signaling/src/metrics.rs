//! Numbers for Prometheus (text format 0.0.4). No label carries an id, a name or an address.

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};

use hewei_store::{RecordingState, Store};

use crate::{addresses, problem::Problem, state::App};

const COUNTS_AGE_MAX: Duration = Duration::from_secs(1);

/// Counts of HTTP requests by class of status.
#[derive(Default)]
pub struct HttpMetrics {
    by_class: [AtomicU64; 5],
}

impl HttpMetrics {
    /// Counts one answered request.
    pub fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.by_class[class].fetch_add(1, Ordering::Relaxed);
    }
}

/// How many recordings there are in each state, asked of the database once a second at most: whoever may ask for
/// metrics may ask often.
#[derive(Default)]
pub struct RecordingCounts(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    at: Option<Instant>,
    counts: Vec<(RecordingState, u64)>,
}

impl RecordingCounts {
    /// The counts, at most a second old. A database that does not answer shows as readiness; here its numbers are
    /// missing, as they are to those who ask while the very first ones are counted.
    async fn get(&self, store: &Store, now: Instant) -> Vec<(RecordingState, u64)> {
        {
            let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if counted.at.is_some_and(|at| now.saturating_duration_since(at) < COUNTS_AGE_MAX) {
                return counted.counts.clone();
            }
            // Whoever comes meanwhile takes the old ones.
            counted.at = Some(now);
        }
        let mut counts = Vec::with_capacity(RecordingState::ALL.len());
        for state in RecordingState::ALL {
            if let Ok(count) = store.count_recordings(state).await {
                counts.push((state, count));
            }
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts.clone_from(&counts);
        counts
    }
}

/// `GET /metrics`, for those networks that the settings name.
pub async fn metrics(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    // Through a proxy it is somebody else who asks, whom nobody here can check.
    let proxied = addresses::through_proxy(&headers);
    let allowed = app.config.http.metrics_from.iter().any(|network| network.contains(peer.ip()));
    if proxied || !allowed {
        return Problem::new(
            StatusCode::FORBIDDEN,
            "metrics_forbidden",
            "The metrics are not for this address.",
            "Ask from the server itself, or let the administrator name this network in http.metrics_from.",
        )
        .into_response();
    }
    let mut text = String::with_capacity(4_096);
    let mut write = |kind: &str, name: &str, value: u64| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# TYPE hewei_{name} {kind}\nhewei_{name} {value}");
    };
    for (name, value) in app.engine.counters() {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        write(kind, name, value);
    }
    let (rooms, people) = app.live.totals();
    write("gauge", "rooms", rooms);
    write("gauge", "people", people);
    for (name, count) in app.live.camera_counts() {
        write("counter", name, count);
    }
    for (name, count) in app.turn.as_ref().map(|turn| turn.counts()).into_iter().flatten() {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        write(kind, name, count);
    }
    let (open, most) = app.connections.open();
    write("gauge", "connections", open);
    write("gauge", "connections_max", most);
    for (state, count) in app.recording_counts.get(&app.store, Instant::now()).await {
        write("gauge", &format!("recordings_{}", state.as_str()), count);
    }
    write("counter", "http_requests_limited_total", app.request_limits.refused());
    write("counter", "sign_ins_refused_total", app.sign_in_limits.refused());
    text.push_str("# TYPE hewei_refused_total counter\n");
    for (kind, count) in app.refusals.silent() {
        let _ = writeln!(text, "hewei_refused_total{{kind=\"{kind}\"}} {count}");
    }
    text.push_str("# TYPE hewei_problems_total counter\n");
    for (kind, count) in app.refusals.problems() {
        let _ = writeln!(text, "hewei_problems_total{{type=\"{kind}\"}} {count}");
    }
    text.push_str("# TYPE hewei_http_requests_total counter\n");
    for (class, count) in app.http_metrics.by_class.iter().enumerate() {
        let count = count.load(Ordering::Relaxed);
        let _ = writeln!(text, "hewei_http_requests_total{{status=\"{}xx\"}} {count}", class + 1);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

#[cfg(test)]
mod tests {
    use hewei_store::SealingKey;

    use super::*;

    #[tokio::test]
    async fn counts_are_asked_for_once_a_second() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.sqlite");
        let store = Store::open(&path, SealingKey::new(&[1; 32])).await.expect("opens");
        let counts = RecordingCounts::default();
        let start = Instant::now();
        let first = counts.get(&store, start).await;
        assert_eq!(first.len(), RecordingState::ALL.len());
        store.close().await;
        assert_eq!(counts.get(&store, start + COUNTS_AGE_MAX / 2).await, first, "without the database");
        assert_eq!(counts.get(&store, start + COUNTS_AGE_MAX).await, [], "and not for long");
    }
}
