//! The handle the rest of the server holds.

use std::{any::Any, net::TcpStream, sync::Arc};

use hewei_model::{Audience, MediaKind, ParticipantId, PeerId, Publisher, RoomId, TrackId};
use hewei_peer::{sdp, sdpfrag::Fragment};
use tokio::sync::{mpsc, oneshot};

use crate::{Config, Event, SourceWriter, Unwanted, command::Command, shard, tap};

/// A running engine. Cheap to clone; [`Engine::shutdown`] ends the shards.
#[derive(Clone)]
pub struct Engine {
    shards: Arc<shard::Shards>,
}

/// The engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The media port is taken or not allowed.
    #[error("cannot open UDP port {port}: {source}; set media.port to a free port")]
    Bind {
        /// The port.
        port: u16,
        /// What the system says.
        source: std::io::Error,
    },
    /// No certificate or thread could be made.
    #[error("cannot start the media engine: {0}")]
    Setup(String),
}

/// An offer of a browser, WHIP or WHEP client.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Room.
    pub room: RoomId,
    /// Whose peer.
    pub participant: ParticipantId,
    /// The peer; the same id again renegotiates it.
    pub peer: PeerId,
    /// Whether its `sendonly` and `sendrecv` m-lines publish; otherwise they are answered `inactive`.
    pub publish: bool,
    /// What its slots are filled with.
    pub fill: SlotFill,
    /// SDP.
    pub sdp: String,
}

/// Which sources a peer's slots are filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotFill {
    /// All the sources whose audience admits the participant, as they come and go (rooms and walls).
    Follow,
    /// As `Follow`, but only of one publisher (WHEP with `?participant=`, WHEP of a camera).
    Only(Publisher),
    /// The sources there are at the moment of the offer, in the order they came; m-lines beyond them are
    /// answered `inactive` (plain WHEP).
    Now,
    /// None: the peer only publishes. An offer that could be taken in part only is refused (WHIP).
    Nothing,
}

/// What came of a fragment of ICE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IceUpdate {
    /// It is of the session in use. Its candidates are of no use to a lite agent.
    Candidates,
    /// It began a new one; this is our side of it, a fragment in turn.
    Restarted(String),
}

/// An offer that cannot be answered. The peer, if it was there before, goes on as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Not SDP, or not SDP that WebRTC allows.
    #[error("the SDP offer cannot be used: {0}")]
    Invalid(String),
    /// Only a part of it could be taken.
    #[error("the SDP offer cannot be taken as a whole: {0}")]
    Partial(String),
    /// No such room.
    #[error("the room is not open")]
    NoRoom,
    /// No such peer.
    #[error("the connection is gone")]
    NoPeer,
    /// A limit was reached.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// The engine is stopping.
    #[error("the media engine is stopping")]
    Stopped,
}

impl Engine {
    /// Binds the port and starts the shards. The receiver must be drained; events wait for it, and are never
    /// dropped.
    pub fn start(config: Config) -> Result<(Engine, mpsc::Receiver<Event>), StartError> {
        let (shards, events) = shard::Shards::start(config)?;
        Ok((Engine { shards: Arc::new(shards) }, events))
    }

    /// The UDP port in use.
    pub fn port(&self) -> u16 {
        self.shards.port()
    }

    /// Opens a routing room on one of the shards. Opening an open room changes nothing.
    pub fn open_room(&self, room: RoomId) {
        self.shards.open_room(room);
    }

    /// Closes a room with all its peers, sources and taps.
    pub fn close_room(&self, room: RoomId) {
        self.shards.close_room(room);
    }

    /// Answers an offer: makes the peer, or renegotiates it. Returns the SDP answer, candidates included.
    pub async fn offer(&self, offer: Offer) -> Result<String, OfferError> {
        // Here and not on the shard: reading a long offer must not hold up packets.
        let parsed = sdp::Offer::parse(&offer.sdp).map_err(|error| OfferError::Invalid(error.to_string()))?;
        let (reply, answer) = oneshot::channel();
        let (room, parsed) = (offer.room, Box::new(parsed));
        if !self.shards.send(room, Command::Offer { offer: Box::new(offer), parsed, reply }) {
            return Err(OfferError::NoRoom);
        }
        answer.await.unwrap_or(Err(OfferError::Stopped))
    }

    /// Takes in what a WHIP or WHEP client says of its side of ICE (RFC 9725 §4.3): more candidates, or a restart.
    pub async fn ice(&self, room: RoomId, peer: PeerId, fragment: &str) -> Result<IceUpdate, OfferError> {
        let fragment = Fragment::parse(fragment).map_err(|error| OfferError::Invalid(error.to_string()))?;
        let (reply, answer) = oneshot::channel();
        let fragment = Box::new(fragment);
        if !self.shards.send(room, Command::Ice { peer, fragment, reply }) {
            return Err(OfferError::NoRoom);
        }
        answer.await.unwrap_or(Err(OfferError::Stopped))
    }

    /// Closes one peer. Its tracks end.
    pub fn close_peer(&self, room: RoomId, peer: PeerId) {
        self.shards.send(room, Command::ClosePeer { peer });
    }

    /// Says how high each publisher's picture is drawn by a peer, in pixels, so that it is sent no larger than needed. Who
    /// is not in it is drawn large.
    pub fn set_view(&self, room: RoomId, peer: PeerId, view: Vec<(Publisher, u16)>) {
        self.shards.send(room, Command::SetView { peer, view });
    }

    /// Sets who may receive one kind of one publisher, and whether the recorder may keep it. May be called
    /// before the publisher has a track; until it is called the audience is nobody. When this returns, the
    /// change is in effect.
    pub async fn set_audience(
        &self,
        room: RoomId,
        publisher: Publisher,
        kind: MediaKind,
        audience: Audience,
    ) {
        let (done, in_effect) = oneshot::channel();
        if self.shards.send(room, Command::SetAudience { publisher, kind, audience, done }) {
            // An error means that the shard has ended, and with it all routes.
            let _ = in_effect.await;
        }
    }

    /// Copies every packet of the room whose audience includes the recorder into a bounded queue. A room has
    /// one tap at a time; a new one replaces it. `None` when the room is not open.
    pub fn open_tap(&self, room: RoomId) -> Option<tap::Reader> {
        let (writer, reader) = tap::channel();
        self.shards.send(room, Command::OpenTap { tap: Box::new(writer) }).then_some(reader)
    }

    /// Asks the publisher of a video track for a keyframe, at most once a second for each track.
    pub fn request_keyframe(&self, room: RoomId, track: TrackId) {
        self.shards.send(room, Command::RequestKeyframe { track });
    }

    /// A way in for packets that come over no peer: cameras. Replaces an earlier writer of the same publisher
    /// in that room. `None` when the room is not open. Dropping the writer ends its tracks.
    pub fn open_source(&self, room: RoomId, publisher: Publisher) -> Option<SourceWriter> {
        self.shards.open_source(room, publisher)
    }

    /// Takes a connection over TCP whose first frame (RFC 4571) was `frame`, and moves it to the shard of the peer that
    /// the frame is a check for. Nothing else may have been read from it. `held` is dropped with the connection.
    ///
    /// # Errors
    /// [`Unwanted`]; the connection is closed then, as it is when the check does not authenticate.
    pub fn adopt(
        &self,
        stream: TcpStream,
        frame: Vec<u8>,
        held: Box<dyn Any + Send>,
    ) -> Result<(), Unwanted> {
        self.shards.adopt(stream, frame, held)
    }

    /// What the shards have counted since the start, summed: name and value, in Prometheus naming without the
    /// `hewei_` prefix.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.shards.counters()
    }

    /// Waits until every shard has answered; false when one cannot. A shard that hangs is waited for without end.
    pub async fn answers(&self) -> bool {
        for answer in self.shards.ping() {
            if answer.await.is_err() {
                return false;
            }
        }
        true
    }

    /// Closes every peer and ends the shards; returns when the threads are done.
    pub fn shutdown(&self) {
        self.shards.shutdown();
    }
}
