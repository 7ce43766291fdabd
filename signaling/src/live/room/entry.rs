//! Coming, going and coming back.

use std::time::Instant;

use hewei_api::ws::{EndReason, ServerMessage, SlotCount};
use hewei_model::{ParticipantId, PeerId};

use super::{
    ENTRIES, Entry, PEOPLE_MAX, Room, SEATS_MAX,
    seat::{Kind, Link, Seat},
};
use crate::{
    auth::TokenError,
    live::{policy, problems, rate::Rate, recording},
    problem::Problem,
};

/// Slots to begin with, so that the usual call needs no second offer.
const SLOTS_MIN: usize = 3;
/// What a browser is asked for at first even in a large room; more come by `need_slots`.
const SLOTS_MAX: usize = 16;

impl Room {
    /// Somebody at a browser comes in, or comes back: the same token takes the same seat, and the page that held it
    /// before is told so. Only a page that comes back by itself does not take it from another.
    pub(super) async fn enter(&mut self, entry: Entry) -> Result<(), Problem> {
        let id = entry.claims.participant;
        if self.shared.revocations.ended(entry.claims.origin) {
            // Since its token was checked.
            return Err(TokenError::Revoked.into());
        }
        if self.is_elsewhere(&entry) {
            tracing::info!(participant = %id, "came back, and the seat is held by another page");
            let replaced = ServerMessage::Ended { reason: EndReason::Replaced, recording_id: None };
            self.tell(Some(entry.out), replaced);
            return Ok(());
        }
        let now = Instant::now();
        let (most, window) = ENTRIES;
        if !self.entries.entry(id).or_insert_with(|| Rate::new(most, window, now)).allow(now) {
            return Err(problems::rate_limited());
        }
        let returns = self.seats.iter().any(|seat| seat.id == id && seat.listed);
        if !returns {
            self.make_place(Some(id))?;
        }
        self.audit(&entry.claims, "room.enter", &self.info.id, "").await?;
        if let Some(link) = self.media_of(&entry) {
            tracing::info!(participant = %id, peer = %link.peer, "came back for its media");
            (link.socket, link.out, link.broken_since) = (entry.socket, Some(entry.out), None);
            (link.origin, link.open_until) = (entry.claims.origin, entry.claims.open_until);
            // The new socket has been sent nothing yet.
            link.list.clear();
            self.welcome(id, false, true);
            return Ok(());
        }
        let page = entry.page.map(|page| page.id);
        if let Some(old) = self.seat_mut(id).and_then(|seat| seat.link.take()) {
            tracing::info!(participant = %id, "seat taken over");
            self.shared.engine.close_peer(self.info.id, old.peer);
            // A page that comes back on another socket has nobody to tell.
            if page.is_none() || old.page != page {
                self.tell(old.out, ServerMessage::Ended { reason: EndReason::Replaced, recording_id: None });
            }
            self.journal(recording::Entry::Left { participant: id });
        }
        let mut link = Link::new(entry.socket, Some(entry.out), &entry.claims, Instant::now());
        link.page = page;
        let seat = match self.seats.iter().position(|seat| seat.id == id) {
            Some(place) => {
                let seat = &mut self.seats[place];
                if seat.role != entry.claims.role {
                    // Somebody has another office since: what they were let in as does not count.
                    seat.admitted = policy::enters_directly(entry.claims.role) && !self.removed.contains(&id);
                }
                // The newest word of the person: they may have chosen anew on the join page. What was muted stays so
                // until they say otherwise.
                seat.record = entry.record;
                (seat.audio.flows, seat.video.flows) = (false, false);
                // An account may have got another name or role since.
                (seat.name, seat.role) = (entry.claims.name.clone(), entry.claims.role);
                (seat.listed, seat.away_since) = (true, None);
                seat
            }
            None => {
                let mut seat = Seat::new(id, Kind::Browser, &entry.claims, entry.record);
                seat.admitted &= !self.removed.contains(&id);
                self.seats.push(seat);
                self.seats.last_mut().expect("it was put there just now")
            }
        };
        seat.link = Some(link);
        let (lobby, role) = (seat.lobby(), seat.role);
        tracing::info!(participant = %id, %role, lobby, "came in");
        if !lobby {
            self.join_session(id).await;
        }
        self.welcome(id, lobby, false);
        Ok(())
    }

    /// Whether a page comes back by itself to a seat that another page holds.
    fn is_elsewhere(&self, entry: &Entry) -> bool {
        let Some(page) = entry.page.as_ref().filter(|page| page.returns) else { return false };
        let seat = self.seats.iter().find(|seat| seat.id == entry.claims.participant);
        seat.and_then(|seat| seat.link.as_ref()).is_some_and(|link| link.page.as_ref() != Some(&page.id))
    }

    /// The connection that this page had and still wants, if nothing about it changed: it is let in, connected, the
    /// same person in the same role, and as willing to be recorded as before.
    fn media_of(&mut self, entry: &Entry) -> Option<&mut Link> {
        let page = entry.page.as_ref().filter(|page| page.keeps_media)?;
        let claims = &entry.claims;
        let seat = self.seat_mut(claims.participant)?;
        let same = seat.admitted
            && seat.listed
            && (seat.role, &seat.name, seat.record) == (claims.role, &claims.name, entry.record);
        seat.link.as_mut().filter(|link| same && link.connected && link.page.as_ref() == Some(&page.id))
    }

    fn welcome(&mut self, id: ParticipantId, lobby: bool, resumed: bool) {
        let others = self.seats.iter().filter(|seat| seat.present() && seat.id != id).count();
        let slots = others.clamp(SLOTS_MIN, SLOTS_MAX) as u32;
        let welcome = ServerMessage::WelcomeRoom {
            participant_id: id.to_string(),
            room_name: self.info.name.clone(),
            case_title: format!("{} {}", self.info.case_number, self.info.case_title),
            case_id: self.info.case_id.to_string(),
            lobby,
            resumed,
            slots: SlotCount { audio: slots, video: slots },
            // The socket knows by which address it came.
            ice_servers: Vec::new(),
        };
        self.tell(self.out_of(id), welcome);
        if !lobby {
            self.tell(self.out_of(id), self.recording_changed());
        }
    }

    /// A socket is gone, and its media with it. Only when it broke and its page can come back for them do they go on,
    /// for a while: a phone that changes its network loses its socket first.
    pub(super) fn closed(&mut self, socket: PeerId, broken: bool) {
        let Some(peer) = self.peer_at(socket) else { return };
        let Some(seat) = self.seat_of_mut(peer) else { return };
        let admitted = seat.admitted;
        match seat.link.as_mut().filter(|link| broken && admitted && link.connected && link.page.is_some()) {
            Some(link) => {
                (link.out, link.broken_since) = (None, Some(Instant::now()));
                tracing::info!(%peer, "socket broke: its media go on for a while");
            }
            None => self.unlink(peer),
        }
    }

    /// The connection is gone; the seat stays for whoever comes back. Unknown peers are nobody's.
    pub(super) fn unlink(&mut self, peer: PeerId) {
        let Some(seat) = self.seat_of_mut(peer) else { return };
        let broken_since = seat.link.take().and_then(|link| link.broken_since);
        seat.away_since = Some(broken_since.unwrap_or_else(Instant::now));
        (seat.audio.flows, seat.video.flows) = (false, false);
        let (id, admitted, kind) = (seat.id, seat.admitted, seat.kind);
        tracing::info!(participant = %id, "connection gone");
        self.shared.engine.close_peer(self.info.id, peer);
        if admitted {
            self.journal(recording::Entry::Left { participant: id });
        }
        if kind == Kind::Viewer {
            // Its next request makes another.
            self.seats.retain(|seat| seat.id != id);
        }
    }

    /// For good: off the list at once. The same token would find its seat again.
    pub(super) fn leave(&mut self, peer: PeerId) {
        let Some(id) = self.seat_of(peer).map(|seat| seat.id) else { return };
        self.unlink(peer);
        if let Some(seat) = self.seat_mut(id) {
            seat.listed = false;
        }
    }

    /// Room for one more on the list. `keep` is the seat of the one who comes, if it is there.
    pub(super) fn make_place(&mut self, keep: Option<ParticipantId>) -> Result<(), Problem> {
        if self.seats.iter().filter(|seat| seat.listed).count() >= PEOPLE_MAX {
            return Err(problems::room_full("people"));
        }
        if self.seats.len() >= SEATS_MAX
            && let Some(place) = self.seats.iter().position(|seat| !seat.listed && Some(seat.id) != keep)
        {
            self.seats.remove(place);
        }
        Ok(())
    }

    /// Journals that somebody takes part from now on, and what they said about being recorded.
    pub(super) fn journal_joined(&mut self, id: ParticipantId) {
        let Some(seat) = self.seat_mut(id).filter(|seat| seat.present()) else { return };
        let joined = recording::Entry::Joined {
            participant: id,
            name: seat.name.clone(),
            role: seat.role,
            record: (seat.kind != Kind::Viewer).then_some(seat.record),
        };
        self.journal(joined);
    }

    pub(super) fn out_of(&self, id: ParticipantId) -> Option<super::Outbox> {
        self.seats.iter().find(|seat| seat.id == id)?.link.as_ref()?.out.clone()
    }
}
