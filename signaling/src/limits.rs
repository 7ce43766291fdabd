//! How often somebody may try an invitation's code. Codes cannot be guessed; this keeps the database quiet.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Tries an address has at once, and what it wins back: one each `PER_ADDRESS_REFILL`. Many parties may sit
/// behind one address of a village office.
const PER_ADDRESS_BURST: f64 = 20.0;
const PER_ADDRESS_REFILL: Duration = Duration::from_secs(3);
const GLOBAL_BURST: f64 = 200.0;
const GLOBAL_REFILL: Duration = Duration::from_millis(50);
/// More addresses than this at once are served from the global bucket alone.
const ADDRESSES_MAX: usize = 10_000;

/// One bucket for all and one for each address.
pub struct JoinLimits(Mutex<Buckets>);

struct Buckets {
    all: Bucket,
    addresses: HashMap<IpAddr, Bucket>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Bucket {
    fn new(burst: f64, now: Instant) -> Self {
        Self { left: burst, at: now }
    }

    fn refill(&mut self, burst: f64, refill: Duration, now: Instant) {
        let won = now.saturating_duration_since(self.at).as_secs_f64() / refill.as_secs_f64();
        self.left = (self.left + won).min(burst);
        self.at = now;
    }

    fn take(&mut self) -> bool {
        let enough = self.left >= 1.0;
        if enough {
            self.left -= 1.0;
        }
        enough
    }
}

impl JoinLimits {
    /// With full buckets.
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(Buckets { all: Bucket::new(GLOBAL_BURST, now), addresses: HashMap::new() }))
    }

    /// Whether `address` may try now; a try is used up by it.
    pub fn admit(&self, address: IpAddr, now: Instant) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.addresses.len() >= ADDRESSES_MAX && !buckets.addresses.contains_key(&address) {
            // Those that are full again need no memory.
            buckets.addresses.retain(|_, bucket| {
                bucket.refill(PER_ADDRESS_BURST, PER_ADDRESS_REFILL, now);
                bucket.left < PER_ADDRESS_BURST
            });
        }
        let room = buckets.addresses.len() < ADDRESSES_MAX || buckets.addresses.contains_key(&address);
        if room {
            let bucket =
                buckets.addresses.entry(address).or_insert_with(|| Bucket::new(PER_ADDRESS_BURST, now));
            bucket.refill(PER_ADDRESS_BURST, PER_ADDRESS_REFILL, now);
            if !bucket.take() {
                return false;
            }
        }
        buckets.all.refill(GLOBAL_BURST, GLOBAL_REFILL, now);
        buckets.all.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_wins_tries_back_with_time_and_does_not_use_up_those_of_others() {
        let start = Instant::now();
        let limits = JoinLimits::new(start);
        let one = IpAddr::from([192, 0, 2, 1]);
        let admitted = (0..100).filter(|_| limits.admit(one, start)).count();
        assert_eq!(admitted, PER_ADDRESS_BURST as usize);
        assert!(limits.admit(IpAddr::from([192, 0, 2, 2]), start));
        assert!(limits.admit(one, start + PER_ADDRESS_REFILL));
        assert!(!limits.admit(one, start + PER_ADDRESS_REFILL));
    }

    #[test]
    fn all_together_are_limited_too() {
        let start = Instant::now();
        let limits = JoinLimits::new(start);
        let admitted =
            (0..2_000_u16).filter(|n| limits.admit(IpAddr::from([10, 0, (n >> 8) as u8, *n as u8]), start));
        assert_eq!(admitted.count(), GLOBAL_BURST as usize);
    }
}
