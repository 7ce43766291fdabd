//! WebSockets that have not said hello yet: how many there may be, in all and of one network.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use crate::addresses;

/// Each is one for five seconds at most, and holds a few kilobytes.
const STRANGERS_MAX: u32 = 1_024;
/// Of one network, so that one cannot keep out all others. A hall where a hundred phones come back at once after an
/// outage says hello within a round trip or two.
const PER_NETWORK_MAX: u32 = 128;

/// Counts them.
pub(super) struct Strangers(Mutex<Counted>);

struct Counted {
    all: u32,
    /// No longer than `all`: a network without one is not in it.
    networks: BTreeMap<IpAddr, u32>,
}

/// The place of one; free again when it is dropped.
pub(super) struct Stranger<'a> {
    of: &'a Strangers,
    network: Option<IpAddr>,
}

impl Strangers {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Counted { all: 0, networks: BTreeMap::new() }))
    }

    /// A place for a connection from this address; `None` when there is none.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Stranger<'_>> {
        let network = addresses::network(address);
        // As with connections: a proxy on this machine speaks for everybody.
        let network = (!network.is_loopback()).then_some(network);
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.all >= STRANGERS_MAX {
            return None;
        }
        if let Some(network) = network {
            let held = counted.networks.entry(network).or_default();
            if *held >= PER_NETWORK_MAX {
                return None;
            }
            *held += 1;
        }
        counted.all += 1;
        Some(Stranger { of: self, network })
    }
}

impl Drop for Stranger<'_> {
    fn drop(&mut self) {
        let mut counted = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.all -= 1;
        if let Some(network) = self.network
            && let Some(held) = counted.networks.get_mut(&network)
        {
            *held -= 1;
            if *held == 0 {
                counted.networks.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_does_not_keep_out_another() {
        let strangers = Strangers::new();
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let mut held = Vec::new();
        while let Some(stranger) = strangers.admit(address("192.0.2.1")) {
            held.push(stranger);
        }
        assert_eq!(held.len(), PER_NETWORK_MAX as usize);
        assert!(strangers.admit(address("192.0.2.2")).is_some());
        for n in 0..PER_NETWORK_MAX {
            held.push(strangers.admit(address(&format!("2001:db8::{n:x}"))).expect("another network"));
        }
        assert!(strangers.admit(address("2001:db8::ffff")).is_none(), "an IPv6 network is one");
        while let Some(stranger) = strangers.admit(address("127.0.0.1")) {
            held.push(stranger);
        }
        assert_eq!(held.len(), STRANGERS_MAX as usize);
        assert!(strangers.admit(address("192.0.2.3")).is_none());
        drop(held);
        let counted = strangers.0.lock().expect("nobody panicked");
        assert_eq!((counted.all, counted.networks.len()), (0, 0));
    }
}
