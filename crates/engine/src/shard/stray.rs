//! How a datagram's sender is written down on the way from one shard to another.
//!
//! ```text
//! family(1): 0 or 1 | address(16), IPv4 in the first four | port(2) | flow information(4) | scope(4)
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

pub(super) const LEN: usize = 27;

pub(super) fn write(from: SocketAddr) -> [u8; LEN] {
    let mut out = [0; LEN];
    match from {
        SocketAddr::V4(v4) => out[1..5].copy_from_slice(&v4.ip().octets()),
        SocketAddr::V6(v6) => {
            out[0] = 1;
            out[1..17].copy_from_slice(&v6.ip().octets());
            out[19..23].copy_from_slice(&v6.flowinfo().to_ne_bytes());
            // Without it nothing can be sent back to a link-local address.
            out[23..].copy_from_slice(&v6.scope_id().to_ne_bytes());
        }
    }
    out[17..19].copy_from_slice(&from.port().to_ne_bytes());
    out
}

pub(super) fn read(record: &[u8; LEN]) -> SocketAddr {
    let port = u16::from_ne_bytes([record[17], record[18]]);
    let word = |at: usize| u32::from_ne_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
    let mut octets = [0; 16];
    octets.copy_from_slice(&record[1..17]);
    match record[0] {
        0 => SocketAddr::from((Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]), port)),
        _ => SocketAddrV6::new(Ipv6Addr::from(octets), port, word(19), word(23)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_arrives_whole() {
        let link_local = SocketAddrV6::new("fe80::1".parse().expect("an address"), 5_000, 7, 3);
        for from in
            [link_local.into(), "192.0.2.7:4321".parse().expect("v4"), "[2001:db8::7]:1".parse().expect("v6")]
        {
            assert_eq!(read(&write(from)), from);
        }
    }
}
