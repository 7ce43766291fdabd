//! How much arrives: bits a second over a short window of arrivals.

use std::time::Duration;

/// The window over which arrivals are counted, once one has been filled.
const WINDOW: Duration = Duration::from_millis(150);
/// The first is longer, for nothing is known yet.
const FIRST_WINDOW: Duration = Duration::from_millis(500);

/// A smoothed rate.
#[derive(Debug, Default)]
pub(super) struct Acked {
    since: Option<Duration>,
    last: Duration,
    bytes: u64,
    /// Bits a second, and the variance of that in (kbit/s)².
    estimate: Option<(f64, f64)>,
}

impl Acked {
    /// Bits a second; `None` before the first window is full.
    pub(super) fn rate(&self) -> Option<f64> {
        self.estimate.map(|(rate, _)| rate)
    }

    /// A packet arrived, on the receiver's clock.
    pub(super) fn packet(&mut self, arrival: Duration, bytes: u16) {
        let since = *self.since.get_or_insert(arrival);
        // Late ones count for now.
        let arrival = arrival.max(self.last);
        self.last = arrival;
        let window = if self.estimate.is_none() { FIRST_WINDOW } else { WINDOW };
        let passed = arrival.saturating_sub(since);
        if passed >= 4 * FIRST_WINDOW {
            // A pause, in which nothing was sent: it says nothing of the path.
            (self.since, self.bytes) = (Some(arrival), u64::from(bytes));
            return;
        }
        if passed >= window {
            self.sample(self.bytes as f64 * 8.0 / passed.as_secs_f64());
            (self.since, self.bytes) = (Some(arrival), 0);
        }
        self.bytes += u64::from(bytes);
    }

    /// A Bayesian average: samples far from what was estimated count less, those below it least, for less may simply
    /// have been sent.
    fn sample(&mut self, sample: f64) {
        let Some((estimate, variance)) = self.estimate else {
            self.estimate = Some((sample, 50.0));
            return;
        };
        let scale = if sample < estimate { 10.0 } else { 5.0 };
        let uncertainty = scale * (estimate - sample).abs() / (estimate + sample.min(25_000.0)).max(1.0);
        let sample_variance = uncertainty * uncertainty;
        let predicted = variance + 5.0;
        let rate = (sample_variance * estimate + predicted * sample) / (sample_variance + predicted);
        let variance = sample_variance * predicted / (sample_variance + predicted);
        self.estimate = Some((rate, variance));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_and_a_change_is_followed() {
        let mut acked = Acked::default();
        let mut at = Duration::from_secs(1);
        // 1,000 bytes every 10 ms: 800 kbit/s.
        for _ in 0..200 {
            acked.packet(at, 1_000);
            at += Duration::from_millis(10);
        }
        let rate = acked.rate().expect("two seconds came");
        assert!((rate / 800e3 - 1.0).abs() < 0.05, "{rate}");
        for _ in 0..400 {
            acked.packet(at, 1_000);
            at += Duration::from_millis(40);
        }
        let rate = acked.rate().expect("it goes on");
        assert!((rate / 200e3 - 1.0).abs() < 0.1, "{rate}");
    }
}
