//! Who somebody is in a room, and who may receive a source.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{CameraId, ParticipantId};

/// What a person does here. What each role may do is decided by the server, never by the browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A party to the dispute: no account, comes by an invitation, waits in the lobby.
    Party,
    /// Leads the mediation: opens the lobby, ends the session.
    Mediator,
    /// The duty lawyer.
    Lawyer,
    /// The duty leader.
    Leader,
    /// Runs the dispatch wall.
    Operator,
    /// Reads audit logs and no media.
    Auditor,
    /// Keeps the server: cameras, regions, settings.
    Administrator,
}

impl Role {
    /// Every role, in the order they are listed to people.
    pub const ALL: [Role; 7] = [
        Role::Party,
        Role::Mediator,
        Role::Lawyer,
        Role::Leader,
        Role::Operator,
        Role::Auditor,
        Role::Administrator,
    ];

    /// The role's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Party => "party",
            Role::Mediator => "mediator",
            Role::Lawyer => "lawyer",
            Role::Leader => "leader",
            Role::Operator => "operator",
            Role::Auditor => "auditor",
            Role::Administrator => "administrator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a role; use party, mediator, lawyer, leader, operator, auditor or administrator")]
pub struct InvalidRole(String);

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        Role::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| InvalidRole(text.chars().take(32).collect()))
    }
}

/// Who publishes a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Publisher {
    /// Somebody in a room.
    Participant(ParticipantId),
    /// A village camera.
    Camera(CameraId),
}

impl fmt::Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Publisher::Participant(id) => id.fmt(f),
            Publisher::Camera(id) => id.fmt(f),
        }
    }
}

/// Who may receive one source. The policy owner decides it, `sfu` enforces it and `evidence` journals
/// this very value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Audience {
    /// The participants who may see and hear the source.
    pub participants: BTreeSet<ParticipantId>,
    /// Whether the recorder may keep it.
    pub recorder: bool,
}

impl Audience {
    /// Nobody, and no recorder: what a source has until somebody decides otherwise.
    pub fn nobody() -> Self {
        Self::default()
    }

    /// Whether `participant` may receive the source.
    pub fn admits(&self, participant: ParticipantId) -> bool {
        self.participants.contains(&participant)
    }
}
