//! How often somebody may try a password.
//!
//! Guessing is held up in four places: by address, and of all addresses together, as with invitations; by address and
//! user name together; and by user name. By that of all, and by the name's, strangers could lock somebody out who guess
//! badly on purpose. So a place from which the right password came before has only its own tries: strangers elsewhere
//! do not use them up.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Bucket, Charged, JoinLimits, Rate};
use crate::addresses;

/// Of one user name from one address.
const PAIR: Rate = Rate { burst: 8.0, refill: Duration::from_secs(30) };
/// Of one user name from anywhere.
const NAME: Rate = Rate { burst: 100.0, refill: Duration::from_secs(6) };
/// Rows of the audit log about wrong passwords.
const ROWS: Rate = Rate { burst: 30.0, refill: Duration::from_secs(20) };
/// Names and pairs that are remembered. A stranger who makes up names fills it; then the bucket of the address holds.
const REMEMBERED_MAX: usize = 20_000;
/// At most so often, since it looks at all of them.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Said when only the address itself is to wait.
const ADDRESS_WAIT: Duration = Duration::from_secs(60);

/// All buckets.
pub struct SignInLimits {
    addresses: JoinLimits,
    names: Mutex<Names>,
    hasher: RandomState,
}

struct Names {
    /// By address and user name, or by user name alone.
    buckets: HashMap<(Option<IpAddr>, u64), Place>,
    rows: Bucket,
    unwritten: u64,
    refused: u64,
    /// When those that are full were last looked for.
    swept: Instant,
}

struct Place {
    bucket: Bucket,
    /// The right password came from here.
    known: bool,
}

/// A try that may be made.
#[derive(Debug, Clone, Copy)]
pub struct Admitted {
    /// The right password came from there before.
    pub known: bool,
    /// The name's own bucket paid for it.
    name: bool,
    address: Charged,
}

impl SignInLimits {
    /// With full buckets.
    pub fn new(now: Instant) -> Self {
        Self {
            addresses: JoinLimits::new(now),
            names: Mutex::new(Names {
                buckets: HashMap::new(),
                rows: Bucket::new(ROWS, now),
                unwritten: 0,
                refused: 0,
                swept: now,
            }),
            hasher: RandomState::new(),
        }
    }

    /// Whether a password for `username` may be tried from `address` now; if not, how long to wait. It counts as wrong
    /// until [`SignInLimits::was_right`].
    pub fn admit(&self, address: IpAddr, username: &str, now: Instant) -> Result<Admitted, Duration> {
        let (pair, name) = self.keys(address, username);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let Names { buckets, refused, swept, .. } = &mut *names;
        if buckets.len() + 2 > REMEMBERED_MAX && now.saturating_duration_since(*swept) >= SWEEP_EVERY {
            *swept = now;
            buckets.retain(|_, place| place.known || !place.bucket.is_full(now));
        }
        let room = buckets.len() + 2 <= REMEMBERED_MAX;
        let known = buckets.get(&pair).is_some_and(|place| place.known);
        let mut wait = None;
        let mut taken = Vec::new();
        for (key, rate) in [(pair, PAIR), (name, NAME)] {
            if key == name && known {
                continue;
            }
            if !room && !buckets.contains_key(&key) {
                continue;
            }
            let place =
                buckets.entry(key).or_insert_with(|| Place { bucket: Bucket::new(rate, now), known: false });
            match place.bucket.has_one(now) {
                true => taken.push(key),
                false => wait = wait.max(Some(place.bucket.until_one())),
            }
        }
        // Who has to wait for a bucket of the name is not charged for the address.
        let charged = match wait {
            None => self.addresses.charge(address, !known, now).ok_or(ADDRESS_WAIT),
            Some(wait) => Err(wait),
        };
        let charged = charged.inspect_err(|_| *refused += 1)?;
        for key in &taken {
            if let Some(place) = buckets.get_mut(key) {
                place.bucket.left -= 1.0;
            }
        }
        Ok(Admitted { known, name: taken.contains(&name), address: charged })
    }

    /// It was the right one: what it was charged is given back, and the place is known from here on.
    pub fn was_right(&self, address: IpAddr, username: &str, admitted: Admitted, now: Instant) {
        self.addresses.give_back(address, admitted.address);
        let (pair, name) = self.keys(address, username);
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if admitted.name
            && let Some(place) = names.buckets.get_mut(&name)
        {
            place.bucket.give_back();
        }
        if let Some(place) = names.buckets.get_mut(&pair) {
            place.bucket = Bucket::new(PAIR, now);
            place.known = true;
        }
    }

    /// Whether a wrong password is to be written down now: then how many were not since the last.
    pub fn write_down(&self, now: Instant) -> Option<u64> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if !names.rows.has_one(now) {
            names.unwritten += 1;
            return None;
        }
        names.rows.left -= 1.0;
        Some(std::mem::take(&mut names.unwritten))
    }

    /// How many tries were refused, for metrics.
    pub fn refused(&self) -> u64 {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).refused
    }

    fn keys(&self, address: IpAddr, username: &str) -> ((Option<IpAddr>, u64), (Option<IpAddr>, u64)) {
        let name = self.hasher.hash_one(username.to_lowercase());
        ((Some(addresses::network(address)), name), (None, name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> IpAddr {
        IpAddr::from([10, 0, n, 1])
    }

    /// The owner signs in.
    fn was_right(limits: &SignInLimits, address: IpAddr, now: Instant) {
        let admitted = limits.admit(address, "wang", now).expect("admitted");
        limits.was_right(address, "wang", admitted, now);
    }

    #[test]
    fn one_place_guesses_a_few_times_and_then_slowly() {
        let start = Instant::now();
        let limits = SignInLimits::new(start);
        let tries = (0..50).filter(|_| limits.admit(address(1), "wang", start).is_ok()).count();
        assert_eq!(tries, PAIR.burst as usize);
        let wait = limits.admit(address(1), "WANG", start).expect_err("large letters are the same");
        assert!(wait <= PAIR.refill && wait > PAIR.refill / 2, "{wait:?}");
        assert!(limits.admit(address(1), "wang", start + wait).is_ok());
        assert!(limits.admit(address(2), "wang", start).is_ok(), "another place");
        assert!(limits.refused() > 0);
    }

    #[test]
    fn nobody_is_locked_out_by_strangers_elsewhere() {
        let start = Instant::now();
        let limits = SignInLimits::new(start);
        was_right(&limits, address(250), start);
        for stranger in 0..200 {
            while limits.admit(address(stranger), "wang", start).is_ok() {}
        }
        assert!(limits.admit(address(201), "wang", start).is_err(), "the name's own bucket is empty");
        let owner = limits.admit(address(250), "wang", start);
        assert!(owner.is_ok_and(|owner| owner.known), "the owner's place has its own");
    }

    #[test]
    fn nobody_is_locked_out_by_a_crowd_that_guesses_any_names() {
        let start = Instant::now();
        let limits = SignInLimits::new(start);
        was_right(&limits, address(250), start);
        let mut crowd = (0..20_000_u16).map(|n| IpAddr::from([172, 16, (n >> 8) as u8, n as u8]));
        while crowd.next().is_some_and(|one| limits.admit(one, &one.to_string(), start).is_ok()) {}
        assert!(limits.admit(address(1), "li", start).is_err(), "the bucket of all is empty");
        let owner = limits.admit(address(250), "wang", start).expect("it is not asked of the bucket of all");
        assert!(owner.known);
        // Nor does it fill that bucket, and the name's, for the crowd.
        limits.was_right(address(250), "wang", owner, start);
        assert!(limits.admit(address(1), "li", start).is_err());
        let tries = (0..50).filter(|_| limits.admit(address(250), "wang", start).is_ok()).count();
        assert_eq!(tries, PAIR.burst as usize, "its own tries hold it");
    }

    #[test]
    fn what_a_known_place_was_not_charged_is_not_given_back() {
        let start = Instant::now();
        let limits = SignInLimits::new(start);
        was_right(&limits, address(250), start);
        for stranger in 0..200 {
            while limits.admit(address(stranger), "wang", start).is_ok() {}
        }
        was_right(&limits, address(250), start);
        assert!(limits.admit(address(201), "wang", start).is_err(), "the name's own bucket is as empty");
    }

    #[test]
    fn made_up_names_fill_no_memory() {
        let start = Instant::now();
        let limits = SignInLimits::new(start);
        for n in 0..30_000_u32 {
            let place = IpAddr::from([10, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
            let _ = limits.admit(place, &format!("name{n}"), start);
        }
        let names = limits.names.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(names.buckets.len() <= REMEMBERED_MAX);
    }

    #[test]
    fn of_many_wrong_ones_some_are_written_down_and_the_others_counted() {
        let start = Instant::now();
        let limits = SignInLimits::new(start);
        let written = (0..100).filter(|_| limits.write_down(start) == Some(0)).count();
        assert_eq!(written, ROWS.burst as usize);
        assert_eq!(limits.write_down(start + ROWS.refill), Some(100 - written as u64));
    }
}
