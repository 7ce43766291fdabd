//! The server's clock: whether it is kept right, and whether it jumped.

use std::{path::Path, time::Duration};

use hewei_api::health::{ClockHealth, ClockState};
use hewei_model::MonoNs;
use time::OffsetDateTime;

/// systemd-timesyncd makes this when it has set the clock.
const TIMESYNC_SET: &str = "/run/systemd/timesync/synchronized";
/// A time service that keeps the clock right moves it by less than this between two looks.
const STEP_MIN: time::Duration = time::Duration::milliseconds(500);

/// What the kernel says of its clock. Where that cannot be asked, such as under a strict filter of system calls, a
/// service that leaves a sign counts.
pub fn clock() -> ClockHealth {
    match hewei_engine::kernel_clock() {
        Ok(clock) if clock.synchronised => ClockHealth {
            state: ClockState::Synchronised,
            offset_ms: Some(clock.offset_ns as f64 / 1e6),
            error_max_ms: Some(clock.error_max_us as f64 / 1e3),
        },
        Ok(_) => without_numbers(ClockState::Unsynchronised),
        Err(_) if Path::new(TIMESYNC_SET).exists() => without_numbers(ClockState::Synchronised),
        Err(_) => without_numbers(ClockState::Unknown),
    }
}

fn without_numbers(state: ClockState) -> ClockHealth {
    ClockHealth { state, offset_ms: None, error_max_ms: None }
}

/// Notices when UTC is set during a recording: it then moves otherwise than the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct ClockWatch {
    mono: MonoNs,
    utc: OffsetDateTime,
}

impl ClockWatch {
    /// Watches from now on.
    pub fn new(mono: MonoNs, utc: OffsetDateTime) -> Self {
        Self { mono, utc }
    }

    /// By how much UTC was set since the last look, if by more than half a second; forwards is positive.
    pub fn look(&mut self, mono: MonoNs, utc: OffsetDateTime) -> Option<time::Duration> {
        let passed: Duration = mono.since(self.mono);
        let step = (utc - self.utc) - time::Duration::try_from(passed).ok()?;
        *self = Self::new(mono, utc);
        (step.abs() >= STEP_MIN).then_some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_once_and_both_ways() {
        let utc = OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time");
        let mono = MonoNs(5_000_000_000);
        let mut watch = ClockWatch::new(mono, utc);
        let second = Duration::from_secs(1);
        assert_eq!(watch.look(mono + second, utc + second), None);
        let hour = time::Duration::HOUR;
        assert_eq!(watch.look(mono + second * 2, utc + second * 2 + hour), Some(hour));
        assert_eq!(watch.look(mono + second * 3, utc + second * 3 + hour), None);
        assert_eq!(watch.look(mono + second * 4, utc + second * 4), Some(-hour));
        let slewed = time::Duration::milliseconds(40);
        assert_eq!(watch.look(mono + second * 5, utc + second * 5 + slewed), None);
    }

    #[test]
    fn numbers_come_with_a_clock_that_is_kept_right_and_only_then() {
        let clock = clock();
        let right = clock.state == ClockState::Synchronised;
        assert!(right || (clock.offset_ms.is_none() && clock.error_max_ms.is_none()), "{clock:?}");
    }
}
