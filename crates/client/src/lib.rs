//! A small WebRTC client, for what has to look at Hewei from outside: the robots of the demo, the doctor's loopback
//! call, tests and benches.
//!
//! DTLS, SRTP and STUN are webrtc-rs', the rest is written here. It shares no code with `peer`, `media` and `engine`,
//! so that it is a check on them; of the server it knows the wire types alone.
//!
//! [`Connection`] is the client without sockets: *mutate it, then drain `poll_transmit` and `poll_event`, then wait
//! until `poll_timeout`*. [`Media`] is a connection with its UDP socket or over TCP, [`Signalling`] the WebSocket, and [`Call`]
//! both together: what a browser's page does in a room. [`http`] redeems invitations and speaks WHIP and WHEP.

mod call;
mod connection;
mod dtls;
mod framed;
pub mod http;
mod media;
mod reception;
mod rtcp;
mod sdp;
mod signalling;
mod stun;
mod track;

pub use call::{Call, CallError, CallEvent, Entry};
pub use connection::{Connection, Error, Event, Transmit};
pub use media::Media;
pub use reception::{Reception, is_keyframe};
pub use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
pub use sdp::{Shape, Slot};
pub use signalling::{Io, Signalling, SignallingError};
pub use track::{LAYERS_MAX, Outgoing, Track, TrackCounts};
