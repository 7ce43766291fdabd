//! How often somebody may do what costs something; here: try an invitation's code. Codes cannot be guessed; this keeps the database quiet.
//!
//! A wrong code and a right one cost different buckets: a village where everybody comes in at nine is not slowed down
//! by somebody there who guesses, and guessing gets no further by right codes in between.

mod requests;
mod sign_in;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::addresses;

pub use self::{
    requests::{Asker, RequestLimits},
    sign_in::{Admitted, SignInLimits},
};

/// Tries at once, and how long it takes to win one back.
#[derive(Clone, Copy)]
struct Rate {
    burst: f64,
    refill: Duration,
}

/// Wrong codes of one address. Many parties may sit behind one address of a village office.
const WRONG: Rate = Rate { burst: 20.0, refill: Duration::from_secs(3) };
/// Right codes of one address.
const RIGHT: Rate = Rate { burst: 500.0, refill: Duration::from_millis(500) };
/// Of everybody: what the database does without noticing, so that a few strangers do not use it up for all.
const WRONG_OF_ALL: Rate = Rate { burst: 2_000.0, refill: Duration::from_millis(5) };
/// More addresses than this at once are served from the bucket of all alone.
const ADDRESSES_MAX: usize = 10_000;

/// One bucket for all and two for each address.
pub struct JoinLimits(Mutex<Buckets>);

struct Buckets {
    all: Bucket,
    addresses: HashMap<IpAddr, Address>,
}

struct Address {
    wrong: Bucket,
    right: Bucket,
}

/// Which buckets a try was taken from.
#[derive(Debug, Clone, Copy)]
struct Charged {
    all: bool,
    address: bool,
}

struct Bucket {
    rate: Rate,
    left: f64,
    at: Instant,
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: rate.burst, at: now }
    }

    fn has_one(&mut self, now: Instant) -> bool {
        let won = now.saturating_duration_since(self.at).as_secs_f64() / self.rate.refill.as_secs_f64();
        self.left = (self.left + won).min(self.rate.burst);
        // Never back: those who ask took their time in another order.
        self.at = self.at.max(now);
        self.left >= 1.0
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.has_one(now) && self.left >= self.rate.burst
    }

    /// How long until there is one, if nobody asks meanwhile.
    fn until_one(&self) -> Duration {
        self.rate.refill.mul_f64((1.0 - self.left).clamp(0.0, 1.0))
    }

    fn give_back(&mut self) {
        self.left = (self.left + 1.0).min(self.rate.burst);
    }
}

impl JoinLimits {
    /// With full buckets.
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(Buckets { all: Bucket::new(WRONG_OF_ALL, now), addresses: HashMap::new() }))
    }

    /// Whether `address` may try now. The try counts as a wrong one until [`JoinLimits::was_right`], so that many at
    /// once get no further than one after another.
    pub fn admit(&self, address: IpAddr, now: Instant) -> bool {
        self.charge(address, true, now).is_some()
    }

    /// The code was a right one: it costs the bucket of right ones instead.
    pub fn was_right(&self, address: IpAddr) {
        self.give_back(address, Charged { all: true, address: true });
    }

    /// Takes a try from the bucket of `address`, and from that of all if it is to be asked. Says which of both paid.
    fn charge(&self, address: IpAddr, of_all: bool, now: Instant) -> Option<Charged> {
        let network = addresses::network(address);
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { all, addresses } = &mut *buckets;
        if addresses.len() >= ADDRESSES_MAX && !addresses.contains_key(&network) {
            // Those that are full again need no memory.
            addresses.retain(|_, address| !(address.wrong.is_full(now) && address.right.is_full(now)));
        }
        if of_all && !all.has_one(now) {
            return None;
        }
        let remembered = addresses.len() < ADDRESSES_MAX || addresses.contains_key(&network);
        if remembered {
            let address = addresses.entry(network).or_insert_with(|| Address {
                wrong: Bucket::new(WRONG, now),
                right: Bucket::new(RIGHT, now),
            });
            if !address.wrong.has_one(now) || !address.right.has_one(now) {
                return None;
            }
            address.wrong.left -= 1.0;
        }
        if of_all {
            all.left -= 1.0;
        }
        Some(Charged { all: of_all, address: remembered })
    }

    /// Gives back what a right one was charged as a wrong one, and no more.
    fn give_back(&self, address: IpAddr, charged: Charged) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if charged.all {
            buckets.all.give_back();
        }
        if let Some(address) = buckets.addresses.get_mut(&addresses::network(address)) {
            if charged.address {
                address.wrong.give_back();
            }
            address.right.left -= 1.0;
        }
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
        assert_eq!(admitted, WRONG.burst as usize);
        assert!(limits.admit(IpAddr::from([192, 0, 2, 2]), start));
        assert!(limits.admit(one, start + WRONG.refill));
        assert!(!limits.admit(one, start + WRONG.refill));
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_share_one_bucket() {
        let start = Instant::now();
        let limits = JoinLimits::new(start);
        let address = |n: u128| IpAddr::from((0x2001_0db8_u128 << 96 | n).to_be_bytes());
        assert_eq!((0..100).filter(|n| limits.admit(address(*n), start)).count(), WRONG.burst as usize);
        assert!(limits.admit(address(1 << 64), start), "another network");
    }

    #[test]
    fn right_codes_cost_another_bucket() {
        let start = Instant::now();
        let limits = JoinLimits::new(start);
        let village = IpAddr::from([192, 0, 2, 1]);
        let mut right = 0;
        while limits.admit(village, start) {
            limits.was_right(village);
            right += 1;
        }
        assert_eq!(right, RIGHT.burst as usize);
        let later = start + RIGHT.refill * 100;
        let wrong = (0..100).filter(|_| limits.admit(village, later)).count();
        assert_eq!(wrong, WRONG.burst as usize, "and leave that of wrong ones as it was");
    }

    #[test]
    fn all_together_are_limited_too() {
        let start = Instant::now();
        let limits = JoinLimits::new(start);
        let admitted =
            (0..5_000_u16).filter(|n| limits.admit(IpAddr::from([10, 0, (n >> 8) as u8, *n as u8]), start));
        assert_eq!(admitted.count(), WRONG_OF_ALL.burst as usize);
    }
}
