//! Media shards: sockets, timers, the run loop and taps.
//!
//! A shard is one OS thread with its own socket on the one UDP port. A room lives whole on one shard, so a
//! packet is received, routed and sent without a lock. [`Engine`] is the handle the rest of the server holds;
//! its calls travel to the shard as commands, and what happens there comes back as [`Event`]s.

use std::{net::IpAddr, sync::Arc, time::Duration};

use hewei_model::{Audience, Codec, MediaKind, MonoNs, ParticipantId, PeerId, Publisher, RoomId, TrackId};

/// How the engine is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// The one UDP port for all media.
    pub port: u16,
    /// Addresses to bind: `0.0.0.0` or `::` for all.
    pub bind: IpAddr,
    /// Addresses told to browsers as ICE candidates.
    pub candidates: Vec<IpAddr>,
    /// Shards; 0 for one a core.
    pub shards: usize,
    /// Video codecs accepted from publishers, the preferred one first.
    pub video_codecs: Vec<Codec>,
}

/// What happens on the shards. Order is kept within a room.
#[derive(Debug, Clone)]
pub enum Event {
    /// ICE and DTLS are through: media flows.
    PeerConnected { room: RoomId, participant: ParticipantId, peer: PeerId },
    /// Nothing was heard from the peer for a while (consent freshness, RFC 7675), or it closed DTLS, or it was
    /// closed by [`Engine::close_peer`]. The peer is gone.
    PeerClosed { room: RoomId, participant: ParticipantId, peer: PeerId, reason: CloseReason },
    /// The first packet of a track arrived.
    TrackStarted { room: RoomId, track: TrackId, publisher: Publisher, codec: Codec },
    /// The track will bring no more packets.
    TrackEnded { room: RoomId, track: TrackId, publisher: Publisher, kind: MediaKind },
    /// What plays in which slot of a peer; slots not listed play nothing.
    Slots { room: RoomId, participant: ParticipantId, peer: PeerId, slots: Vec<Slot> },
    /// The peer has fewer slots than there are sources for it.
    NeedSlots { room: RoomId, participant: ParticipantId, peer: PeerId, audio: u32, video: u32 },
}

/// Why a peer went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// No valid STUN request for the consent period.
    ConsentExpired,
    /// The browser closed the connection.
    ClosedByPeer,
    /// The server closed it.
    ClosedByServer,
    /// The DTLS handshake or its fingerprint failed.
    DtlsFailed,
}

/// One slot of a subscriber and what plays in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// The m-line's `mid`.
    pub mid: String,
    /// Sound or picture.
    pub kind: MediaKind,
    /// Whose.
    pub publisher: Publisher,
}

/// Which sources a peer's slots are filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotFill {
    /// All the sources whose audience admits the participant, as they come and go (rooms and walls).
    Follow,
    /// Only those of one publisher (WHEP with `?participant=`, WHEP of a camera).
    Only(Publisher),
}
