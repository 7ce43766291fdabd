//! What happens on the shards.

use hewei_model::{Codec, MediaKind, ParticipantId, PeerId, Publisher, RoomId, TrackId};

/// One thing that happened. Order is kept within a room.
#[derive(Debug, Clone)]
pub enum Event {
    /// ICE and DTLS are through: media flows.
    PeerConnected {
        /// Room.
        room: RoomId,
        /// Whose peer.
        participant: ParticipantId,
        /// Peer.
        peer: PeerId,
    },
    /// The peer is gone.
    PeerClosed {
        /// Room.
        room: RoomId,
        /// Whose peer.
        participant: ParticipantId,
        /// Peer.
        peer: PeerId,
        /// Why.
        reason: CloseReason,
    },
    /// The first packet of a track arrived.
    TrackStarted {
        /// Room.
        room: RoomId,
        /// Track.
        track: TrackId,
        /// Whose.
        publisher: Publisher,
        /// Codec.
        codec: Codec,
    },
    /// The track will bring no more packets.
    TrackEnded {
        /// Room.
        room: RoomId,
        /// Track.
        track: TrackId,
        /// Whose.
        publisher: Publisher,
        /// Sound or picture.
        kind: MediaKind,
    },
    /// What plays in which slot of a peer; slots not listed play nothing.
    Slots {
        /// Room.
        room: RoomId,
        /// Whose peer.
        participant: ParticipantId,
        /// Peer.
        peer: PeerId,
        /// The whole plan.
        slots: Vec<Slot>,
    },
    /// Somebody takes other layers of what the peer publishes than before. At first all of them are taken.
    Layers {
        /// Room.
        room: RoomId,
        /// Whose peer.
        participant: ParticipantId,
        /// Peer.
        peer: PeerId,
        /// The names (RID) of those that somebody takes; the others need not be sent.
        taken: Vec<String>,
    },
    /// The peer has fewer slots than there are sources for it; the numbers are what it needs in all.
    NeedSlots {
        /// Room.
        room: RoomId,
        /// Whose peer.
        participant: ParticipantId,
        /// Peer.
        peer: PeerId,
        /// Slots for sound.
        audio: u32,
        /// Slots for picture.
        video: u32,
    },
}

/// Why a peer went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// No valid STUN request for the consent period (RFC 7675).
    ConsentExpired,
    /// The browser closed the connection.
    ClosedByPeer,
    /// The server closed it.
    ClosedByServer,
    /// The DTLS handshake failed, or the certificate is not the one in the offer.
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
    /// The line is too narrow for it now: nothing is sent in this slot.
    pub held: bool,
}
