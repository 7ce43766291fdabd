//! Units of time and rate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Nanoseconds on this host's monotonic clock (`CLOCK_MONOTONIC`). Comparable within one run of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MonoNs(pub u64);

impl MonoNs {
    /// How long after `earlier` this is; zero when it is not after.
    pub fn since(self, earlier: MonoNs) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for MonoNs {
    type Output = MonoNs;

    fn add(self, rhs: Duration) -> MonoNs {
        MonoNs(self.0.saturating_add(rhs.as_nanos() as u64))
    }
}

/// A place on one track's timeline: ticks of a clock of `rate_hz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaTime {
    /// Ticks since the track's zero.
    pub ticks: u64,
    /// Ticks a second.
    pub rate_hz: u32,
}

impl MediaTime {
    /// The same place as a duration since the track's zero.
    pub fn as_duration(self) -> Duration {
        Duration::from_nanos(
            (u128::from(self.ticks) * 1_000_000_000 / u128::from(self.rate_hz.max(1))) as u64,
        )
    }
}

/// Bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Bitrate(pub u64);
