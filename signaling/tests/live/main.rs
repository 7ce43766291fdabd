//! The live protocol against a whole server in this process: real sockets, real database, real media engine.
//!
//! Media themselves are tested in browsers, and here in `calls`; the other clients speak the protocol and offer SDP.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod access;
mod calls;
mod client;
mod limits;
mod permissions;
mod restart;
mod rooms;
mod sdp;
mod server;
mod sessions;
mod walls;
mod whip;
