//! Seats: who holds a place in a room, let in or waiting, here or away for a moment.

use std::time::Instant;

use hewei_api::ws::Participant;
use hewei_model::{MediaKind, ParticipantId, PeerId, Role};
use time::OffsetDateTime;

use crate::{
    auth::{Claims, Origin},
    live::{outbox::Outbox, policy},
};

/// How somebody is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::live) enum Kind {
    /// A person at a browser, over `/ws`.
    Browser,
    /// A WHIP publisher.
    Publisher,
    /// A WHEP viewer.
    Viewer,
}

/// A place in a room. It is kept for the session, so that who comes back finds it as it was.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) id: ParticipantId,
    /// The seat of the token it was opened with. Differs from `id` for WHIP and WHEP, so that one token can be at a
    /// browser and publish besides.
    pub(super) owner: ParticipantId,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) admitted: bool,
    pub(super) record: bool,
    pub(super) audio: Source,
    pub(super) video: Source,
    /// On the list. Who left is off it at once, who was lost after a while; the seat itself stays.
    pub(super) listed: bool,
    pub(super) link: Option<Link>,
    pub(super) away_since: Option<Instant>,
}

/// What is known of a microphone or camera.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) muted: bool,
    /// Packets came, and may still come.
    pub(super) flows: bool,
}

/// The connection a seat has now. The peer's id names it.
#[derive(Debug)]
pub(super) struct Link {
    /// The media connection.
    pub(super) peer: PeerId,
    /// The browser's socket: the one the media connection began over, or one that came for it since.
    pub(super) socket: PeerId,
    /// The browser's page, by the name that it gave itself.
    pub(super) page: Option<String>,
    /// The way to the browser's socket; a WHIP or WHEP client has none, nor has a browser whose socket broke.
    pub(super) out: Option<Outbox>,
    /// Since when a browser's media go on without a socket.
    pub(super) broken_since: Option<Instant>,
    /// ICE and DTLS are through.
    pub(super) connected: bool,
    pub(super) since: Instant,
    /// How often a WHIP or WHEP client has restarted ICE: its entity-tag.
    pub(super) ice_restarts: u32,
    /// What its token came of, and until when it may stay.
    pub(super) origin: Origin,
    pub(super) open_until: OffsetDateTime,
    /// The list this socket was sent last.
    pub(super) list: Vec<Participant>,
}

impl Link {
    pub(super) fn new(peer: PeerId, out: Option<Outbox>, claims: &Claims, now: Instant) -> Self {
        Self {
            peer,
            socket: peer,
            page: None,
            out,
            broken_since: None,
            connected: false,
            since: now,
            ice_restarts: 0,
            origin: claims.origin,
            open_until: claims.open_until,
            list: Vec::new(),
        }
    }
}

impl Seat {
    /// A new seat without a connection.
    pub(super) fn new(id: ParticipantId, kind: Kind, claims: &Claims, record: bool) -> Self {
        Self {
            id,
            owner: claims.participant,
            kind,
            name: claims.name.clone(),
            role: claims.role,
            admitted: policy::enters_directly(claims.role),
            record,
            audio: Source::default(),
            video: Source::default(),
            listed: true,
            link: None,
            away_since: None,
        }
    }

    pub(super) fn lobby(&self) -> bool {
        !self.admitted
    }

    /// Let in and connected.
    pub(super) fn present(&self) -> bool {
        self.admitted && self.link.is_some()
    }

    pub(super) fn leads(&self) -> bool {
        self.present() && policy::leads(self.role)
    }

    /// In words, for the audit log.
    pub(super) fn described(&self) -> String {
        format!("{} ({})", self.name, self.role)
    }

    pub(super) fn source_mut(&mut self, kind: MediaKind) -> &mut Source {
        match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }

    /// What the rule needs to know.
    pub(super) fn person(&self) -> policy::Person {
        policy::Person {
            id: self.id,
            admitted: self.admitted,
            present: self.link.is_some(),
            audio_muted: self.audio.muted,
            video_muted: self.video.muted,
            record: self.record,
        }
    }

    /// What the others see.
    pub(super) fn shown(&self) -> Participant {
        Participant {
            id: self.id.to_string(),
            name: self.name.clone(),
            role: self.role,
            lobby: self.lobby(),
            connected: self.link.as_ref().is_some_and(|link| link.connected),
            audio_muted: self.audio.muted || !self.audio.flows,
            video_muted: self.video.muted || !self.video.flows,
            record: self.record,
        }
    }
}

/// The list as `reader` may see it: the lobby only for the mediator, and nobody else for those in it.
pub(super) fn list_for(reader: &Seat, seats: &[Seat]) -> Vec<Participant> {
    seats
        .iter()
        .filter(|seat| seat.listed)
        .filter(|seat| {
            seat.id == reader.id || (reader.admitted && (seat.admitted || policy::leads(reader.role)))
        })
        .map(Seat::shown)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(id: u128, role: Role) -> Seat {
        let claims = Claims {
            participant: ParticipantId::from_u128(id),
            ..Claims::of_link(format!("{role} {id}"), role, None, OffsetDateTime::UNIX_EPOCH)
        };
        Seat::new(claims.participant, Kind::Browser, &claims, false)
    }

    fn ids(list: &[Participant]) -> Vec<&str> {
        list.iter().map(|participant| participant.name.as_str()).collect()
    }

    #[test]
    fn the_lobby_is_shown_to_the_mediator_alone() {
        let seats =
            [seat(1, Role::Mediator), seat(2, Role::Party), seat(3, Role::Lawyer), seat(4, Role::Party)];
        assert_eq!(ids(&list_for(&seats[0], &seats)), ["mediator 1", "party 2", "lawyer 3", "party 4"]);
        assert_eq!(ids(&list_for(&seats[1], &seats)), ["party 2"]);
        assert_eq!(ids(&list_for(&seats[2], &seats)), ["mediator 1", "lawyer 3"]);
    }

    #[test]
    fn a_mediator_in_the_lobby_sees_nobody() {
        let sent_out = Seat { admitted: false, ..seat(1, Role::Mediator) };
        let seats = [sent_out, seat(2, Role::Mediator), seat(3, Role::Party)];
        assert_eq!(ids(&list_for(&seats[0], &seats)), ["mediator 1"]);
    }
}
