//! What strangers may cost a shard before they have shown that they belong to somebody.
//!
//! A check that names one of our fragments costs a hash, and a handshake costs signatures. Neither is refused to those
//! who are known; for the rest there is so much of it a second and no more. Media of known addresses never comes here.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// Checks of one network a second that come from addresses on which nobody has passed yet. A browser sends some twenty
/// until it is through, and those that pass do not count: this is for a hall of people who come at once.
const CHECKS_A_SECOND: u16 = 256;
/// Checks a second of one socket on this machine: the relays of TURN are such, one of each client, so that they have each
/// their own share and not one for all.
const CHECKS_OF_RELAY: u16 = 32;
/// And of all networks: with a hash of a microsecond each, less than a hundredth of a core.
const CHECKS_OF_ALL: u32 = 4_096;
/// Networks share cells; who shares one is drawn at every start, so that nobody can choose whose.
const CELLS: usize = 1_024;
/// Handshakes at a time. Each costs about a millisecond in two parts; with more at once packets would wait for them.
const HANDSHAKES_MAX: usize = 32;
/// A handshake that has not come to its end after this leaves its place to another, and may take the next free one.
const HANDSHAKE_HELD: Duration = Duration::from_secs(4);

pub(super) struct Door {
    hasher: RandomState,
    /// The media port's own address, from which relays come if it is not that of all.
    bind: IpAddr,
    cells: Box<[u16]>,
    of_all: u32,
    since: Instant,
    handshakes: Vec<(u32, Instant)>,
}

impl Door {
    pub(super) fn new(now: Instant, bind: IpAddr) -> Self {
        Self {
            hasher: RandomState::new(),
            bind,
            cells: vec![0; CELLS].into(),
            of_all: 0,
            since: now,
            handshakes: Vec::with_capacity(HANDSHAKES_MAX),
        }
    }

    /// The cell in which a check counts, and how many there may be in it.
    fn cell(&self, from: SocketAddr) -> (usize, u16) {
        let ip = from.ip().to_canonical();
        let network = match ip {
            IpAddr::V4(v4) => u64::from(v4.to_bits()),
            IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
        };
        let is_relay = ip.is_loopback() || ip == self.bind.to_canonical();
        let (port, most) = if is_relay { (from.port(), CHECKS_OF_RELAY) } else { (0, CHECKS_A_SECOND) };
        ((self.hasher.hash_one((network, port)) as usize) % CELLS, most)
    }

    /// Whether a check from an unknown address may be looked at.
    pub(super) fn admit_check(&mut self, now: Instant, from: SocketAddr) -> bool {
        if now.saturating_duration_since(self.since) >= Duration::from_secs(1) {
            self.cells.fill(0);
            (self.of_all, self.since) = (0, now);
        }
        let (cell, most) = self.cell(from);
        if self.of_all >= CHECKS_OF_ALL || self.cells[cell] >= most {
            return false;
        }
        self.of_all += 1;
        self.cells[cell] += 1;
        true
    }

    /// The check was a good one.
    pub(super) fn check_passed(&mut self, from: SocketAddr) {
        let (cell, _) = self.cell(from);
        self.cells[cell] = self.cells[cell].saturating_sub(1);
        self.of_all = self.of_all.saturating_sub(1);
    }

    /// Whether the peer may go on with its handshake now. One that may not repeats what it sent.
    pub(super) fn admit_handshake(&mut self, now: Instant, peer: u32) -> bool {
        if self.handshakes.iter().any(|(held, _)| *held == peer) {
            return true;
        }
        if self.handshakes.len() == HANDSHAKES_MAX {
            self.handshakes.retain(|(_, since)| now.saturating_duration_since(*since) < HANDSHAKE_HELD);
        }
        let free = self.handshakes.len() < HANDSHAKES_MAX;
        if free {
            self.handshakes.push((peer, now));
        }
        free
    }

    /// The peer's handshake is over, or the peer is.
    pub(super) fn handshake_over(&mut self, peer: u32) {
        self.handshakes.retain(|(held, _)| *held != peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIND: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 5));

    #[test]
    fn a_relay_uses_up_its_own_checks_and_others_have_theirs() {
        let start = Instant::now();
        for host in [IpAddr::from([127, 0, 0, 1]), BIND, std::net::Ipv6Addr::LOCALHOST.into()] {
            let mut door = Door::new(start, BIND);
            let relay = |port| SocketAddr::new(host, port);
            let admitted = (0..10_000).filter(|_| door.admit_check(start, relay(40_000))).count();
            assert_eq!(admitted, usize::from(CHECKS_OF_RELAY), "{host}");
            // Some of a hundred may share the cell.
            let others = (40_001..40_101).filter(|port| door.admit_check(start, relay(*port))).count();
            assert!(others > 90, "{host}: {others}");
        }
    }

    #[test]
    fn a_network_uses_up_its_own_checks_and_good_ones_cost_none() {
        let start = Instant::now();
        let mut door = Door::new(start, BIND);
        let hall = SocketAddr::from(([192, 0, 2, 1], 4_000));
        for _ in 0..10_000 {
            assert!(door.admit_check(start, hall));
            door.check_passed(hall);
        }
        let admitted = (0..10_000).filter(|_| door.admit_check(start, hall)).count();
        assert_eq!(admitted, usize::from(CHECKS_A_SECOND));
        let other = (0..=u8::MAX).map(|n| SocketAddr::from(([198, 51, 100, n], 4_000)));
        assert!(other.filter(|other| door.admit_check(start, *other)).count() > 200, "others have theirs");
        assert!(door.admit_check(start + Duration::from_secs(1), hall));
    }

    #[test]
    fn many_networks_together_are_limited_too() {
        let start = Instant::now();
        let mut door = Door::new(start, BIND);
        let networks = (0..100_000_u32).map(|n| SocketAddr::from(((n << 4).to_be_bytes(), 4_000)));
        let admitted = networks.filter(|from| door.admit_check(start, *from)).count();
        assert_eq!(admitted, CHECKS_OF_ALL as usize);
    }

    #[test]
    fn handshakes_take_turns_and_a_stuck_one_makes_room() {
        let start = Instant::now();
        let mut door = Door::new(start, BIND);
        let admitted = (0..100).filter(|peer| door.admit_handshake(start, *peer)).count();
        assert_eq!(admitted, HANDSHAKES_MAX);
        assert!(door.admit_handshake(start, 0), "it has its place");
        door.handshake_over(0);
        assert!(door.admit_handshake(start, 100));
        assert!(!door.admit_handshake(start, 101));
        assert!(door.admit_handshake(start + HANDSHAKE_HELD, 101));
    }
}
