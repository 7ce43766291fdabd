//! The addresses of this machine.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use axum::http::HeaderMap;

use crate::config::Config;

/// Addresses that another host could use: neither loopback nor bound to one link.
pub fn of_this_machine() -> BTreeSet<IpAddr> {
    let interfaces = match nix::ifaddrs::getifaddrs() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            tracing::warn!(%error, "cannot list this machine's addresses");
            return BTreeSet::new();
        }
    };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            let v6 = || address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip()));
            v4.or_else(v6)
        })
        .filter(|address| is_reachable(*address))
        .collect()
}

/// The addresses that browsers are told to send media to.
pub fn candidates(config: &Config, machine: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
    let media = &config.media;
    if !media.addresses.is_empty() {
        return media.addresses.clone();
    }
    if !media.bind.is_unspecified() {
        return vec![media.bind];
    }
    // A socket bound to 0.0.0.0 hears no IPv6.
    let mut candidates: Vec<IpAddr> =
        machine.iter().copied().filter(|address| media.bind.is_ipv6() || address.is_ipv4()).collect();
    let loopback = config.http.listen.iter().any(|listen| listen.ip().is_loopback());
    if loopback || candidates.is_empty() {
        candidates.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    candidates
}

/// Whether a proxy says that it passes somebody else's request on. One that is set up to say nothing is not told apart.
pub fn through_proxy(headers: &HeaderMap) -> bool {
    const TOLD_BY: [&str; 6] =
        ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "via"];
    TOLD_BY.iter().any(|name| headers.contains_key(*name))
}

/// What one subscriber has: an IPv4 address, or the /64 of an IPv6 one. An IPv4 address may come written as IPv6.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
        address => address,
    }
}

/// A network: an address and how many of its first bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address of it.
    pub address: IpAddr,
    /// How many bits.
    pub prefix: u8,
}

impl Network {
    /// This machine itself, in both families.
    pub const LOOPBACK: [Network; 2] = [
        Network::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
        Network::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    ];

    /// Of an address's first `prefix` bits, of which there are enough.
    pub const fn new(address: IpAddr, prefix: u8) -> Self {
        Self { address, prefix }
    }

    /// Of one address alone.
    pub const fn alone(address: IpAddr) -> Self {
        Self::new(address, if address.is_ipv4() { 32 } else { 128 })
    }

    /// Whether an address is of it. An IPv4 address may come written as IPv6.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (network.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    /// `10.1.0.0/16`, or one address alone.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(text, bits)| (text, Some(bits)));
        let address = address.parse::<IpAddr>().map_err(|_| ())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), |bits| bits.parse().map_err(|_| ()))?;
        (prefix <= most).then_some(Self { address, prefix }).ok_or(())
    }
}

fn is_reachable(address: IpAddr) -> bool {
    let on_one_link = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !address.is_multicast() && !on_one_link
}

/// Loopback in both families.
pub const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let within = |network: &str, address: &str| {
            network.parse::<Network>().expect("a network").contains(address.parse().expect("an address"))
        };
        for (network, address) in [
            ("127.0.0.0/8", "127.9.9.9"),
            ("10.1.0.0/16", "10.1.255.1"),
            ("10.1.0.0/16", "::ffff:10.1.0.1"),
            ("192.0.2.1", "192.0.2.1"),
            ("0.0.0.0/0", "203.0.113.9"),
            ("2001:db8::/32", "2001:db8:1::1"),
            ("::/0", "::1"),
        ] {
            assert!(within(network, address), "{network} {address}");
        }
        for (network, address) in [
            ("127.0.0.0/8", "128.0.0.1"),
            ("127.0.0.0/8", "::1"),
            ("192.0.2.1", "192.0.2.2"),
            ("2001:db8::/32", "2001:db9::1"),
            ("0.0.0.0/0", "2001:db8::1"),
        ] {
            assert!(!within(network, address), "{network} {address}");
        }
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/x", "localhost"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        assert!(Network::LOOPBACK.iter().any(|network| network.contains([127, 0, 0, 1].into())));
    }

    #[test]
    fn candidates_follow_the_settings() {
        let machine = BTreeSet::from([[192, 0, 2, 1].into(), "2001:db8::1".parse().expect("an address")]);
        let mut config = Config::default();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(candidates(&config, &machine), [IpAddr::from([192, 0, 2, 1]), loopback]);
        config.http.listen = vec![([0, 0, 0, 0], 8443).into()];
        assert_eq!(candidates(&config, &machine), [IpAddr::from([192, 0, 2, 1])]);
        assert_eq!(candidates(&config, &BTreeSet::new()), [loopback]);
        config.media.bind = [192, 0, 2, 7].into();
        assert_eq!(candidates(&config, &machine), [IpAddr::from([192, 0, 2, 7])]);
        config.media.addresses = vec![[203, 0, 113, 1].into()];
        assert_eq!(candidates(&config, &machine), [IpAddr::from([203, 0, 113, 1])]);
    }
}
