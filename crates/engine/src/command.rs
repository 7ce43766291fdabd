//! What the rest of the server tells a shard.

use hewei_model::{Audience, MediaKind, PeerId, Publisher, RoomId, TrackId};
use hewei_peer::{sdp, sdpfrag::Fragment};
use tokio::sync::oneshot;

use crate::{IceUpdate, Offer, OfferError, source, streams::Newcomer, tap};

pub(crate) enum Command {
    OpenRoom,
    CloseRoom,
    Offer {
        offer: Box<Offer>,
        parsed: Box<sdp::Offer>,
        reply: oneshot::Sender<Result<String, OfferError>>,
    },
    Ice {
        peer: PeerId,
        fragment: Box<Fragment>,
        reply: oneshot::Sender<Result<IceUpdate, OfferError>>,
    },
    ClosePeer {
        peer: PeerId,
    },
    SetView {
        peer: PeerId,
        view: Vec<(Publisher, u16)>,
    },
    SetAudience {
        publisher: Publisher,
        kind: MediaKind,
        audience: Audience,
        done: oneshot::Sender<()>,
    },
    OpenTap {
        tap: Box<tap::Writer>,
    },
    RequestKeyframe {
        track: TrackId,
    },
    OpenSource {
        publisher: Publisher,
        reader: Box<source::Reader>,
    },
    /// A connection whose first frame names a peer of the shard.
    Adopt {
        newcomer: Box<Newcomer>,
    },
    /// Shows that the shard still takes commands.
    Ping {
        reply: oneshot::Sender<()>,
    },
    Stop,
}

/// A command with the room it is about.
pub(crate) struct Addressed {
    pub(crate) room: RoomId,
    pub(crate) command: Command,
}
