//! How long to wait before the next try.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// Refused credentials: cameras lock an account out after a few wrong passwords, so this is slow at once.
const AUTH_SHORTEST: Duration = Duration::from_secs(30);

/// The wait of the first half-minute, once reached. Somebody is watching, and most outages are a restart.
const FIRST_HALF_MINUTE: Duration = Duration::from_secs(4);
const FIRST_HALF_MINUTE_TRIES: u32 = 6;

/// 1, 2 and then 4 s for half a minute, then doubling to 60 s; with a jitter of ±20 %, so that cameras behind one
/// failed switch spread out.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The camera was live: the next failure is a first one again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure; `random` is any number.
    pub(crate) fn next(&mut self, random: u64) -> Duration {
        let exact = match self.failures {
            few @ 0..2 => FIRST * 2u32.pow(few),
            more => {
                FIRST_HALF_MINUTE * 2u32.pow((more - 2).saturating_sub(FIRST_HALF_MINUTE_TRIES - 1).min(4))
            }
        };
        self.failures = self.failures.saturating_add(1);
        exact.min(LONGEST).mul_f64(0.8 + 0.4 * unit(random)).min(LONGEST)
    }

    /// The wait after refused credentials: 30–60 s.
    pub(crate) fn next_after_refusal(&mut self, random: u64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        AUTH_SHORTEST.mul_f64(1.0 + unit(random))
    }
}

/// A number good enough for jitter and for SSRCs; not for secrets.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// `random` as a fraction of 0..1.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_from_one_second_to_sixty_and_starts_over() {
        for jitter in [0, u64::MAX / 2, u64::MAX] {
            let mut backoff = Backoff::default();
            let waits: Vec<f64> = (0..14).map(|_| backoff.next(jitter).as_secs_f64()).collect();
            assert!((0.8..=1.2).contains(&waits[0]), "{waits:?}");
            assert!(waits.iter().all(|w| *w <= 60.0), "{waits:?}");
            assert!(waits.is_sorted(), "{waits:?}");
            assert!(waits[13] >= 48.0, "{waits:?}");
            let half_minute: f64 = waits[..8].iter().sum();
            assert!((20.0..35.0).contains(&half_minute), "{waits:?}");
            assert!(waits[..8].iter().all(|w| *w < 5.0), "{waits:?}");
            backoff.reset();
            assert!(backoff.next(jitter) <= Duration::from_millis(1_200));
        }
    }

    #[test]
    fn refused_credentials_are_tried_again_slowly() {
        let mut backoff = Backoff::default();
        for jitter in [0, u64::MAX / 2, u64::MAX] {
            let wait = backoff.next_after_refusal(jitter).as_secs_f64();
            assert!((30.0..=60.0).contains(&wait), "{wait}");
        }
    }

    #[test]
    fn random_differs() {
        assert_ne!(random(), random());
    }
}
