//! One WebRTC peer without I/O: SDP, ICE-lite, DTLS, SRTP, RTX and NACK.
//!
//! Owns what is between one browser and us. Never knows rooms or who may see whom; opens no socket, reads no
//! clock, draws no randomness that it was not given. The engine calls it.
//!
//! **The contract.** Feed a datagram or a time-out, then drain [`Peer::poll_transmit`] and
//! [`Peer::poll_event`] until both are empty, then call [`Peer::poll_timeout`] for the next time-out. Media
//! does not pass through these queues: [`Peer::receive_rtp`] opens a packet in the caller's buffer, and
//! [`Peer::seal_rtp`] seals one in the caller's buffer.

mod bandwidth;
mod client_hello;
mod dtls;
mod ice;
mod nack;
mod path;
mod reception;
mod redundancy;
pub mod sdp;
pub mod sdpfrag;
pub mod srtp;
pub mod stun;

mod media;
mod peer;

pub use dtls::{Identity, IdentityError};
pub use ice::Credentials;
pub use media::{MediaIndex, Publication, Slot, Use};
pub use path::{Candidate, Path, StreamId, Transport};
pub use peer::{Estimate, Event, Feedback, Outgoing, Peer, Refused, RtcpKind, Rtp, Secrets, Transmit};
