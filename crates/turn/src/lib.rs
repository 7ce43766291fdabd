//! A TURN server (RFC 8656) without I/O, for one purpose: a browser behind a firewall that lets nothing but HTTPS out
//! reaches this server's own media port through it, and nothing else.
//!
//! Owns the messages, the credentials and what one client's allocation may do. Never opens a socket, reads a clock or
//! says how many allocations there may be; the server's shell does. There is one peer, the server's media address: any
//! other is refused (403), so that nobody can be reached through us but ourselves.
//!
//! **The contract.** Give each message of a client to [`Session::receive`] and do what the [`Outcome`] says; give each
//! datagram from the media port to [`Session::to_client`]; end the session at [`Session::expires_at`]. Over UDP a client
//! is an address, and one whose session has no allocation need not be remembered.

mod credentials;
mod datagram;
mod message;
mod session;
pub mod stream;

pub use credentials::{Credentials, Secret};
pub use datagram::{CHALLENGE_LEN_MAX, is_request};
pub use session::{Outcome, Server, Session};
