//! How often somebody may ask for anything: generous, so that only a fault or a stranger meets it.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hewei_model::ParticipantId;

use super::{Bucket, Rate};

/// Of one token, or of one address without a good one.
const ONE: Rate = Rate { burst: 200.0, refill: Duration::from_millis(20) };
/// Of all who are not remembered.
const REST: Rate = Rate { burst: 2_000.0, refill: Duration::from_millis(1) };
/// Those whose buckets are not full, at once.
const REMEMBERED_MAX: usize = 10_000;

/// At most so often, since it looks at all of them.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Asker {
    /// The bearer of a good token.
    Bearer(ParticipantId),
    /// Anybody else, by what [`crate::addresses::network`] makes of the address.
    Network(IpAddr),
}

/// A bucket for each asker.
pub struct RequestLimits {
    buckets: Mutex<Buckets>,
    refused: AtomicU64,
}

struct Buckets {
    askers: HashMap<Asker, Bucket>,
    rest: Bucket,
    /// When those that are full were last looked for.
    swept: Instant,
}

impl RequestLimits {
    /// With full buckets.
    pub fn new(now: Instant) -> Self {
        let buckets = Buckets { askers: HashMap::new(), rest: Bucket::new(REST, now), swept: now };
        Self { buckets: Mutex::new(buckets), refused: AtomicU64::new(0) }
    }

    /// Whether it may be answered; if not, how long to wait.
    pub fn admit(&self, asker: Asker, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { askers, rest, swept } = &mut *buckets;
        if askers.len() >= REMEMBERED_MAX && now.saturating_duration_since(*swept) >= SWEEP_EVERY {
            *swept = now;
            askers.retain(|_, bucket| !bucket.is_full(now));
        }
        let bucket = match askers.len() < REMEMBERED_MAX || askers.contains_key(&asker) {
            true => askers.entry(asker).or_insert_with(|| Bucket::new(ONE, now)),
            false => rest,
        };
        if bucket.has_one(now) {
            bucket.left -= 1.0;
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(bucket.until_one())
    }

    /// How many were refused, for metrics.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_and_wins_it_back_with_time() {
        let start = Instant::now();
        let limits = RequestLimits::new(start);
        let one = Asker::Bearer(ParticipantId::generate());
        let admitted = (0..1_000).filter(|_| limits.admit(one, start).is_ok()).count();
        assert_eq!(admitted, ONE.burst as usize);
        assert_eq!(limits.refused(), 1_000 - admitted as u64);
        assert!(limits.admit(Asker::Bearer(ParticipantId::generate()), start).is_ok());
        assert!(limits.admit(Asker::Network(IpAddr::from([192, 0, 2, 1])), start).is_ok());
        let wait = limits.admit(one, start).expect_err("empty");
        assert!(limits.admit(one, start + wait).is_ok());
        assert!(limits.admit(one, start + wait).is_err());
    }

    #[test]
    fn many_askers_fill_no_memory_and_are_limited_together() {
        let start = Instant::now();
        let limits = RequestLimits::new(start);
        let asker = |n: u32| Asker::Network(IpAddr::from(n.to_be_bytes()));
        let admitted = (0..50_000).filter(|n| limits.admit(asker(*n), start).is_ok()).count();
        assert_eq!(admitted, REMEMBERED_MAX + REST.burst as usize);
        let later = start + SWEEP_EVERY;
        assert!(limits.admit(asker(60_000), later).is_ok());
        let buckets = limits.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(buckets.askers.len(), 1, "those that are full again are forgotten");
    }
}
