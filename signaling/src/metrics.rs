//! Numbers for Prometheus (text format 0.0.4). No label carries an id, a name or an address.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use hewei_store::RecordingState;

use crate::state::App;

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

/// `GET /metrics`.
pub async fn metrics(State(app): State<App>) -> Response {
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
    for state in RecordingState::ALL {
        // A database that does not answer shows as readiness; here its numbers are missing.
        if let Ok(count) = app.store.count_recordings(state).await {
            write("gauge", &format!("recordings_{}", state.as_str()), count);
        }
    }
    text.push_str("# TYPE hewei_http_requests_total counter\n");
    for (class, count) in app.http_metrics.by_class.iter().enumerate() {
        let count = count.load(Ordering::Relaxed);
        let _ = writeln!(text, "hewei_http_requests_total{{status=\"{}xx\"}} {count}", class + 1);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
