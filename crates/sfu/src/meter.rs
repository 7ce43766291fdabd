//! How much a source sends.

use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(1);

/// Bits a second, over windows of a second.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    since: Option<Instant>,
    bytes: u64,
    rate: Option<u64>,
}

impl Meter {
    /// Counts bytes in.
    pub(crate) fn add(&mut self, now: Instant, bytes: u64) {
        if self.is_silent(now) {
            // What it sent before is nearer to what it will send than a mean over the silence.
            (self.since, self.bytes) = (Some(now), 0);
        }
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        if passed >= WINDOW {
            let rate = (self.bytes as f64 * 8.0 / passed.as_secs_f64()) as u64;
            // Half of the last window, so that one keyframe is not taken for the rate.
            self.rate = Some(self.rate.map_or(rate, |before| before.midpoint(rate)));
            (self.since, self.bytes) = (Some(now), 0);
        }
        self.bytes += bytes;
    }

    /// Bits a second; `None` within the first second.
    pub(crate) fn rate(&self, now: Instant) -> Option<u64> {
        if self.is_silent(now) { Some(0) } else { self.rate }
    }

    /// What it was before it fell silent.
    pub(crate) fn last_rate(&self) -> Option<u64> {
        self.rate
    }

    fn is_silent(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) > 3 * WINDOW)
    }
}
