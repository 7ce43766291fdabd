//! Messages of `WS /ws`, JSON text frames. The first message of a client is `hello`, within five seconds.
//!
//! **Slots.** The browser always offers and the server only answers. Each `recvonly` m-line of the browser's
//! offer is a *slot*, named by its `mid`. The server plays any source into any slot of the right kind, changes
//! its mind without renegotiation, and tells the current plan by `slots`. When it has more sources than slots
//! it asks for more by `need_slots`; the browser adds that many `recvonly` transceivers and offers again.
//!
//! **Layers.** A browser may send its picture in up to three sizes at once (simulcast, RFC 8853). Each of the others gets
//! one of them, by what its line takes and by how large it says by `view` that it draws the picture. A size that nobody
//! takes need not be sent: `layers` says so.

use std::fmt;

use hewei_model::{MediaKind, Role};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    http::{CameraStatus, MediaKindName, RoleName},
    problem::Problem,
};

/// From the browser.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// First of all: the token, and what to open with it.
    Hello {
        /// Bearer token.
        token: String,
        /// What to open.
        open: Open,
    },
    /// An SDP offer: `sendonly` or `sendrecv` m-lines publish, `recvonly` m-lines are slots.
    Offer {
        /// Counts up by one an offer; the answer carries the same number.
        offer_id: u32,
        /// SDP.
        sdp: String,
    },
    /// The microphone or camera was switched off or on. Told to the others and journalled; while off, the
    /// server forwards nothing of that kind.
    SetMuted {
        /// Which.
        #[schema(value_type = MediaKindName)]
        kind: MediaKind,
        /// Whether it is off.
        muted: bool,
    },
    /// Give or withdraw consent to recording one's own tracks. Asked before joining, changeable any time.
    SetConsent {
        /// Whether one's own tracks may be recorded.
        record: bool,
    },
    /// How large people's pictures are drawn, the whole list each time; what is sent need not be larger. Who is not in it
    /// is drawn large.
    View {
        /// At most 64.
        tiles: Vec<Tile>,
    },
    /// Mediator: let somebody in from the lobby.
    Admit {
        /// Who.
        participant_id: String,
    },
    /// Mediator: send somebody out of the room or the lobby.
    Remove {
        /// Who.
        participant_id: String,
    },
    /// Mediator: end the session for all; the package is sealed.
    EndSession,
    /// Leave for good. Closing the socket leaves too.
    Leave,
    /// Asked for every 15 s when nothing else was sent; answered by `pong`.
    Ping,
}

/// How large a picture is drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tile {
    /// Whose picture.
    pub participant_id: String,
    /// Pixels of the screen; 0 when it is not to be seen.
    pub height: u16,
}

/// What a connection is for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Open {
    /// A mediation room.
    Room {
        /// Room.
        room_id: String,
        /// Consent to recording one's own tracks, given on the join page.
        record: bool,
        /// Which of the seat's pages this is. Without it the connection is a page of its own, which takes the seat
        /// over and cannot come back for its media.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        page: Option<Page>,
    },
    /// A dispatch wall.
    Wall {
        /// Wall.
        wall_id: String,
        /// A live purpose of one's own.
        purpose_id: String,
    },
}

/// A page that holds a seat, as it names itself. A seat is held by one page at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// Made up by the page at random, 16 to 64 characters, the same for all its connections.
    pub id: String,
    /// It had the seat and comes back by itself. So it does not take it from another page that has it since: it is
    /// answered by `ended` with `replaced`.
    pub returns: bool,
    /// Its media connection is still there: it goes on with it if the server kept it, which `resumed` says.
    pub keeps_media: bool,
}

/// From the server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The answer to `hello` for a room. In the lobby nothing else follows until `admitted`, but for
    /// `participants` without the others.
    WelcomeRoom {
        /// One's own id.
        participant_id: String,
        /// Room name.
        room_name: String,
        /// Case number and title.
        case_title: String,
        /// Case.
        case_id: String,
        /// Whether one waits in the lobby: no offer yet then.
        lobby: bool,
        /// The media connection of before goes on. Offer on it again, with an ICE restart, and the plan follows.
        resumed: bool,
        /// How many slots to offer at first.
        slots: SlotCount,
        /// Ways through a firewall, for `RTCPeerConnection`.
        ice_servers: Vec<IceServer>,
    },
    /// The answer to `hello` for a wall.
    WelcomeWall {
        /// Wall name.
        wall_name: String,
        /// Tiles, in order.
        tiles: Vec<WallTile>,
        /// When the purpose ends; the server closes the wall then.
        purpose_expires_at: String,
        /// How many slots to offer at first.
        slots: SlotCount,
        /// Ways through a firewall, for `RTCPeerConnection`.
        ice_servers: Vec<IceServer>,
    },
    /// The mediator let one in: offer now.
    Admitted,
    /// The answer to an offer.
    Answer {
        /// The offer's number.
        offer_id: u32,
        /// SDP.
        sdp: String,
    },
    /// Everybody in the room, in the order of their seats, on each change. The lobby is listed to the mediator
    /// alone.
    Participants {
        /// People.
        participants: Vec<Participant>,
    },
    /// What plays in which slot from now on; slots not listed play nothing. The whole plan each time.
    Slots {
        /// Plan.
        slots: Vec<Slot>,
    },
    /// Which sizes of one's own picture somebody takes; the others need not be sent. At first all are.
    Layers {
        /// Their names (RID, RFC 8851).
        taken: Vec<String>,
    },
    /// There are more sources than slots: offer again with at least this many slots in all.
    NeedSlots {
        /// How many in all.
        slots: SlotCount,
    },
    /// Whether the session is being recorded.
    RecordingChanged {
        /// On or off.
        recording: bool,
        /// Since when.
        since: Option<String>,
        /// What went wrong, if recording stopped by a fault.
        fault: Option<String>,
    },
    /// A camera of the wall changed its state.
    CameraChanged {
        /// Camera.
        camera_id: String,
        /// State.
        status: CameraStatus,
    },
    /// It is over; the server closes the socket next.
    Ended {
        /// Why.
        reason: EndReason,
        /// The recording of the session, for those who may see it.
        recording_id: Option<String>,
    },
    /// The last message could not be done.
    Error {
        /// What and what to do.
        problem: Problem,
    },
    /// The answer to `ping`.
    Pong,
}

/// Numbers of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotCount {
    /// Sound.
    pub audio: u32,
    /// Picture.
    pub video: u32,
}

/// A relay, in the words of `RTCIceServer`. Good for some hours.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IceServer {
    /// Where it is (RFC 7065).
    pub urls: Vec<String>,
    /// Name.
    pub username: String,
    /// Password.
    pub credential: String,
}

impl fmt::Debug for IceServer {
    /// Never the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// What plays in one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Slot {
    /// The m-line's `mid`.
    pub mid: String,
    /// Sound or picture.
    #[schema(value_type = MediaKindName)]
    pub kind: MediaKind,
    /// Whose it is, in a room.
    pub participant_id: Option<String>,
    /// Which camera, on a wall.
    pub camera_id: Option<String>,
    /// This browser's line is too narrow for it now: nothing comes until there is room.
    pub held: bool,
}

/// Somebody in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Participant {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Role.
    #[schema(value_type = RoleName)]
    pub role: Role,
    /// Waits in the lobby.
    pub lobby: bool,
    /// Media flows between this person and the server.
    pub connected: bool,
    /// Microphone off or absent.
    pub audio_muted: bool,
    /// Camera off or absent.
    pub video_muted: bool,
    /// Consents to being recorded.
    pub record: bool,
}

/// One tile of a wall.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WallTile {
    /// Camera.
    pub camera_id: String,
    /// The number operators type.
    pub number: u32,
    /// Name.
    pub name: String,
    /// State.
    pub status: CameraStatus,
}

/// Why it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The mediator ended the session.
    SessionEnded,
    /// The mediator sent one out.
    Removed,
    /// The same seat was opened elsewhere, which a page that comes back by itself does not undo.
    Replaced,
    /// The purpose ran out.
    PurposeExpired,
    /// The token ran out.
    TokenExpired,
    /// Somebody ended the access it was opened with: a sign-out, another role, a withdrawn invitation.
    AccessEnded,
    /// The server stops.
    ServerStopping,
}
