//! The ways between a peer and us: where its packets come from, and where we tell it that ours do.

use std::net::SocketAddr;

/// A connection over which a peer sends, among all of an engine's. Never used again for another one, so that what is
/// meant for a peer that is gone goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// What carries the packets of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams of the one UDP socket.
    Udp,
    /// Frames of a TCP connection (RFC 6544, RFC 4571).
    Tcp(StreamId),
}

/// One way to a peer: its address as we see it, and what it is reached by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path {
    /// What carries the packets.
    pub transport: Transport,
    /// The other end.
    pub address: SocketAddr,
}

impl From<SocketAddr> for Path {
    /// The path of datagrams from an address.
    fn from(address: SocketAddr) -> Self {
        Self { transport: Transport::Udp, address }
    }
}

/// Where a peer is told that it can reach us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidate {
    /// By datagrams.
    Udp(SocketAddr),
    /// By a connection that it opens (`tcptype passive`, RFC 6544 §4.5).
    Tcp(SocketAddr),
}
