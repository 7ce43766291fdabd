//! How many connections there may be: in all, of people who have not asked for anything yet, and of one address.
//!
//! One [`Shares`] for all listeners. A connection holds a [`Descriptor`] until its socket closes, also as a WebSocket,
//! and a [`Place`] for as long as it speaks HTTP.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    addresses,
    refusals::{Refusal, Refusals},
};

/// Connections at once, WebSockets included, when there are descriptors enough: a wall of browsers holds six each while
/// a page loads, and one after.
const CONNECTIONS_MAX: usize = 16_384;
/// Descriptors that are not for connections: the database, recordings (two a track), cameras, media, files sent.
const DESCRIPTORS_KEPT: u64 = 512;
/// Connections that have not sent the head of a request yet. Each is one for fifteen seconds at most.
const STRANGERS_MAX: usize = 2_048;
/// Of one address. A whole district may sit behind one, so neither is tight.
const PER_ADDRESS_MAX: u32 = 512;
const STRANGERS_PER_ADDRESS_MAX: u32 = 128;

/// Counts connections.
pub struct Shares {
    most: usize,
    descriptors: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    /// No longer than there are connections: an address without one is not in it.
    addresses: Mutex<HashMap<IpAddr, Held>>,
    refusals: Arc<Refusals>,
}

#[derive(Default)]
struct Held {
    all: u32,
    strangers: u32,
}

/// A connection's socket.
pub type Descriptor = OwnedSemaphorePermit;

/// A connection that speaks HTTP: a stranger's until [`Place::known`].
pub struct Place {
    shares: Arc<Shares>,
    network: Option<IpAddr>,
    stranger: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// For a process that may open this many descriptors, of which so many are `kept` for relays of TURN besides what is
    /// always kept.
    pub fn new(descriptors: u64, kept: u64, refusals: Arc<Refusals>) -> Arc<Self> {
        let most = connections_max(descriptors, DESCRIPTORS_KEPT + kept);
        Arc::new(Self {
            most,
            descriptors: Arc::new(Semaphore::new(most)),
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
            addresses: Mutex::default(),
            refusals,
        })
    }

    /// Waits until one more may be accepted.
    pub(super) async fn next(self: &Arc<Self>) -> std::io::Result<(Descriptor, OwnedSemaphorePermit)> {
        let stranger = Arc::clone(&self.strangers).acquire_owned().await;
        let descriptor = Arc::clone(&self.descriptors).acquire_owned().await;
        Ok((descriptor.map_err(std::io::Error::other)?, stranger.map_err(std::io::Error::other)?))
    }

    /// A place for an accepted connection; `None` when its address has too many.
    pub(super) fn place(self: &Arc<Self>, peer: IpAddr, stranger: OwnedSemaphorePermit) -> Option<Place> {
        let network = addresses::network(peer);
        // A proxy on this machine speaks for everybody, and whoever is on this machine can do worse.
        let network = (!network.is_loopback()).then_some(network);
        if let Some(network) = network {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            let held = addresses.entry(network).or_default();
            if held.all >= PER_ADDRESS_MAX || held.strangers >= STRANGERS_PER_ADDRESS_MAX {
                self.refusals.count(Refusal::Share);
                return None;
            }
            held.all += 1;
            held.strangers += 1;
        }
        Some(Place { shares: Arc::clone(self), network, stranger: Some(stranger) })
    }

    /// Connections that are open, and how many there may be; the next ones wait to be accepted.
    pub fn open(&self) -> (u64, u64) {
        let open = self.most.saturating_sub(self.descriptors.available_permits());
        (open as u64, self.most as u64)
    }

    /// Where what happens to a connection is counted.
    pub(super) fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }
}

impl Place {
    /// Somebody who has sent a request is no stranger any more.
    pub(super) fn known(&mut self) {
        if self.stranger.take().is_none() {
            return;
        }
        if let Some(network) = self.network {
            let mut addresses = self.shares.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(held) = addresses.get_mut(&network) {
                held.strangers -= 1;
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.known();
        if let Some(network) = self.network {
            let mut addresses = self.shares.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(held) = addresses.get_mut(&network) {
                held.all -= 1;
                if held.all == 0 {
                    addresses.remove(&network);
                }
            }
        }
    }
}

/// With few descriptors half of them, so that as many again are left for everything else.
fn connections_max(descriptors: u64, kept: u64) -> usize {
    let spare = descriptors.saturating_sub(kept).max(descriptors / 2);
    usize::try_from(spare).unwrap_or(usize::MAX).clamp(1, CONNECTIONS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(shares: &Arc<Shares>, address: &str) -> Option<Place> {
        let stranger = Arc::clone(&shares.strangers).try_acquire_owned().expect("not all are taken");
        shares.place(address.parse().expect("an address"), stranger)
    }

    #[test]
    fn an_address_has_its_share_and_leaves_others_theirs() {
        let shares = Shares::new(1 << 20, 0, Arc::default());
        let mut places = Vec::new();
        while let Some(place) = take(&shares, "192.0.2.1") {
            places.push(place);
        }
        assert_eq!(places.len(), STRANGERS_PER_ADDRESS_MAX as usize);
        let refused = shares.refusals.silent().find(|(name, _)| *name == "connection_share");
        assert_eq!(refused, Some(("connection_share", 1)));
        assert!(take(&shares, "::ffff:192.0.2.1").is_none(), "the same address written otherwise");
        assert!(take(&shares, "192.0.2.2").is_some());
        assert!(take(&shares, "127.0.0.1").is_some());

        places.iter_mut().for_each(Place::known);
        while let Some(mut place) = take(&shares, "192.0.2.1") {
            place.known();
            places.push(place);
        }
        assert_eq!(places.len(), PER_ADDRESS_MAX as usize);
        places.pop();
        assert!(take(&shares, "192.0.2.1").is_some());
        drop(places);
        assert!(shares.addresses.lock().expect("nobody panicked").is_empty(), "nothing is remembered");
        assert_eq!(shares.strangers.available_permits(), STRANGERS_MAX);
    }

    #[test]
    fn all_addresses_of_an_ipv6_network_are_one() {
        let shares = Shares::new(1 << 20, 0, Arc::default());
        let places: Vec<_> =
            (0..200).filter_map(|n| take(&shares, &format!("2001:db8:1:2::{n:x}"))).collect();
        assert_eq!(places.len(), STRANGERS_PER_ADDRESS_MAX as usize);
        assert!(take(&shares, "2001:db8:1:3::1").is_some());
    }

    #[test]
    fn connections_leave_descriptors_for_everything_else() {
        let most = |descriptors| connections_max(descriptors, DESCRIPTORS_KEPT);
        assert_eq!(most(1 << 20), CONNECTIONS_MAX);
        assert_eq!(most(4_096), 3_584);
        assert_eq!(most(1_024), 512);
        assert_eq!(most(256), 128);
        assert_eq!(Shares::new(4_096, 1_024, Arc::default()).most, 2_560, "relays are sockets too");
    }
}
