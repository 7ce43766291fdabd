//! What became of the connections to cameras, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::State;

/// Counts over all cameras.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connects: AtomicU64,
    unreachable: AtomicU64,
    auth_failed: AtomicU64,
    no_media: AtomicU64,
    pub(crate) malformed: AtomicU64,
}

impl Counts {
    /// Counts a connection that failed or ended, by the state it leaves the camera in.
    pub(crate) fn failed(&self, state: State) {
        let counter = match state {
            State::AuthFailed => &self.auth_failed,
            State::NoMedia => &self.no_media,
            _ => &self.unreachable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Names, in Prometheus naming without the `hewei_` prefix, and counts.
    pub(crate) fn all(&self) -> [(&'static str, u64); 5] {
        [
            ("camera_connects_total", &self.connects),
            ("camera_failed_unreachable_total", &self.unreachable),
            ("camera_failed_auth_total", &self.auth_failed),
            ("camera_failed_no_media_total", &self.no_media),
            ("camera_malformed_packets_total", &self.malformed),
        ]
        .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}
