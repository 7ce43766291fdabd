//! How many messages a connection may send: a token bucket.

use std::time::{Duration, Instant};

/// A bucket that holds `burst` messages and fills again within `window`.
#[derive(Debug)]
pub(super) struct Rate {
    burst: f64,
    window: Duration,
    left: f64,
    at: Instant,
}

impl Rate {
    pub(super) fn new(burst: u32, window: Duration, now: Instant) -> Self {
        Self { burst: f64::from(burst), window, left: f64::from(burst), at: now }
    }

    fn left(&self, now: Instant) -> f64 {
        let filled =
            now.saturating_duration_since(self.at).as_secs_f64() / self.window.as_secs_f64() * self.burst;
        (self.left + filled).min(self.burst)
    }

    /// Whether it is as it was at first.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        self.left(now) >= self.burst
    }

    /// Takes one; false when there is none.
    pub(super) fn allow(&mut self, now: Instant) -> bool {
        self.left = self.left(now);
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut rate = Rate::new(30, Duration::from_secs(5), start);
        let passed = (0..100).filter(|_| rate.allow(start)).count();
        assert_eq!(passed, 30);
        assert!(
            !rate.is_full(start + Duration::from_secs(4)) && rate.is_full(start + Duration::from_secs(5))
        );
        let later = start + Duration::from_secs(1);
        let passed = (0..100).filter(|_| rate.allow(later)).count();
        assert_eq!(passed, 6);
        let passed = (0..100).filter(|_| rate.allow(later + Duration::from_secs(60))).count();
        assert_eq!(passed, 30);
    }
}
