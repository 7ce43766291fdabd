//! Typed ids. Each is a version 7 UUID (RFC 9562), so that ids sort by the time they were made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Text that is not the id it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a {what} id")]
pub struct InvalidId {
    what: &'static str,
    text: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, unlike any other.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id with these 128 bits.
            pub const fn from_u128(value: u128) -> Self {
                Self(Uuid::from_u128(value))
            }

            /// The id's 128 bits.
            pub const fn as_u128(self) -> u128 {
                self.0.as_u128()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::parse_str(text).map(Self).map_err(|_| InvalidId {
                    what: $what,
                    text: text.chars().take(64).collect(),
                })
            }
        }
    )*};
}

ids! {
    /// A dispute under mediation.
    CaseId "case";
    /// A mediation room, or the routing room behind one wall.
    RoomId "room";
    /// One seat in a room: a person at a browser, or a WHIP publisher.
    ParticipantId "participant";
    /// One published track of one source.
    TrackId "track";
    /// One WebRTC connection. A participant has at most one at a time.
    PeerId "peer";
    /// A village camera.
    CameraId "camera";
    /// A dispatch wall.
    WallId "wall";
    /// A node of the region tree.
    RegionId "region";
    /// One sitting of a room, from its opening to its end.
    SessionId "session";
    /// One recording of one session.
    RecordingId "recording";
    /// A link that lets one party in.
    InvitationId "invitation";
    /// Somebody of the staff, with a user name and a password.
    AccountId "account";
    /// One sign-in of an account at one browser, until it signs out.
    SignInId "sign-in";
    /// A token that was made on the command line or for the demo, without an account.
    LinkId "link";
    /// Why a camera or wall may be open, and until when.
    PurposeId "purpose";
}
