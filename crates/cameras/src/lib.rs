//! RTSP village cameras, pulled on demand.
//!
//! Owns one task a camera: while somebody demands the camera it holds one RTSP connection, shared by all who
//! watch, passes the camera's H.264 and G.711 on as RTP, and keeps the camera's state right. Never decodes,
//! never decides who may watch. `signaling` registers the cameras, holds a [`Demand`] for each one on a wall,
//! and gives each pull a [`Sink`] that leads into the routing path.
//!
//! **Raw packets, not frames.** Retina offers both. Frames would cost a wait for the end of each picture and a
//! copy of it, only to be cut into packets again; the packets of RFC 6184 can be passed on as they come, since
//! everything that has to change (size, parameter sets, sequence numbers) can be changed with one packet in
//! hand. See `h264.rs` for what is changed and what is not.
//!
//! **One timeline a pull.** A [`Sink`] sees one unbroken RTP stream per kind of media, over reconnects too: one
//! SSRC, sequence numbers that go on, and timestamps moved on by the time the camera was away; each connection's
//! picture begins with a keyframe. A browser's decoder carries on by itself when the camera comes back.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may stop at what it did not expect"))]

mod address;
mod backoff;
mod camera;
mod counts;
mod gate;
pub mod h264;
mod pull;
mod registry;
mod session;
mod sink;
mod stamp;
mod status;

pub use address::{Address, InvalidAddress};
pub use camera::{Camera, Credentials};
pub use registry::{Cameras, Demand, Settings, UnknownCamera};
pub use sink::Sink;
pub use status::{State, Status};
