//! Offers, and what the engine tells.

use std::time::{Duration, Instant};

use hewei_api::ws::{self, ServerMessage, SlotCount};
use hewei_engine::{CloseReason, Event, Offer, SlotFill};
use hewei_model::{MediaKind, ParticipantId, PeerId, Publisher, RoomId};

use super::{
    HttpEntry, HttpKind, HttpSession, Room,
    seat::{Kind, Link, Seat, Source},
};
use crate::{
    auth::TokenError,
    live::{
        http_session::{self, Ask, Said},
        policy, problems,
        shared::Shared,
    },
    problem::Problem,
};

/// An answer takes a millisecond; a shard that needs this long will not give one.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Tiles of a view: as many pictures as one browser takes at the most.
const TILES_MAX: usize = 64;
/// WHIP and WHEP clients a room.
const HTTP_SESSIONS_MAX: usize = 32;
/// Of one token, so that nobody takes all places.
const HTTP_SESSIONS_OWNER_MAX: usize = 8;

/// Asks the engine, in time.
pub(in crate::live) async fn answer(shared: &Shared, offer: Offer) -> Result<String, Problem> {
    match tokio::time::timeout(ANSWER_MAX, shared.engine.offer(offer)).await {
        Ok(Ok(sdp)) => Ok(sdp),
        Ok(Err(error)) => Err(problems::offer(&error)),
        Err(_) => Err(problems::busy("The media engine does not answer")),
    }
}

/// The engine's plan as the browser gets it.
pub(in crate::live) fn plan(slots: Vec<hewei_engine::Slot>) -> ServerMessage {
    let slots = slots
        .into_iter()
        .map(|slot| {
            let (participant_id, camera_id) = match slot.publisher {
                Publisher::Participant(id) => (Some(id.to_string()), None),
                Publisher::Camera(id) => (None, Some(id.to_string())),
            };
            ws::Slot { mid: slot.mid, kind: slot.kind, participant_id, camera_id, held: slot.held }
        })
        .collect();
    ServerMessage::Slots { slots }
}

/// The room an event is of.
pub(in crate::live) fn room_of(event: &Event) -> RoomId {
    match event {
        Event::PeerConnected { room, .. }
        | Event::PeerClosed { room, .. }
        | Event::TrackStarted { room, .. }
        | Event::TrackEnded { room, .. }
        | Event::Slots { room, .. }
        | Event::Layers { room, .. }
        | Event::NeedSlots { room, .. } => *room,
    }
}

impl Room {
    /// A browser's offer.
    pub(super) async fn offer(&mut self, peer: PeerId, offer_id: u32, sdp: String) -> Result<(), Problem> {
        let Some(seat) = self.seat_of(peer) else { return Ok(()) };
        if seat.lobby() {
            return Err(problems::in_lobby());
        }
        let participant = seat.id;
        let offer =
            Offer { room: self.info.id, participant, peer, publish: true, fill: SlotFill::Follow, sdp };
        let sdp = answer(&self.shared, offer).await?;
        self.tell(self.out_of(participant), ServerMessage::Answer { offer_id, sdp });
        Ok(())
    }

    /// How large a browser draws the others. Says nothing of who may be seen: that is the audiences' alone.
    pub(super) fn view(&self, peer: PeerId, tiles: Vec<ws::Tile>) -> Result<(), Problem> {
        if tiles.len() > TILES_MAX {
            return Err(problems::malformed("A view has at most 64 tiles."));
        }
        let tile = |tile: ws::Tile| {
            let id = tile.participant_id.parse().map(Publisher::Participant);
            id.map(|publisher| (publisher, tile.height)).map_err(|_| problems::nobody())
        };
        let view = tiles.into_iter().map(tile).collect::<Result<_, _>>()?;
        self.shared.engine.set_view(self.info.id, peer, view);
        Ok(())
    }

    /// A WHIP or WHEP client. It sits on the list like everybody else, so that nobody watches unseen.
    pub(super) async fn enter_http(&mut self, entry: HttpEntry) -> Result<HttpSession, Problem> {
        let owner = entry.claims.participant;
        if self.shared.revocations.ended(entry.claims.origin) {
            // Since its token was checked.
            return Err(TokenError::Revoked.into());
        }
        let kind = match entry.kind {
            HttpKind::Publish { .. } => Kind::Publisher,
            HttpKind::Watch(_) => Kind::Viewer,
        };
        // Publishing again with the same token takes the place of the earlier one, as a page does that reloads.
        let held = self
            .seats
            .iter()
            .find(|seat| kind == Kind::Publisher && seat.owner == owner && seat.kind == kind)
            .map(|seat| (seat.id, seat.listed, seat.admitted));
        let at_browser = self.seats.iter().any(|seat| seat.id == owner && seat.admitted);
        let admitted = !self.removed.contains(&owner)
            && (policy::enters_directly(entry.claims.role)
                || at_browser
                || held.is_some_and(|(_, _, admitted)| admitted));
        if !admitted && matches!(entry.kind, HttpKind::Watch(SlotFill::Now)) {
            // It would be answered with nothing, and stay so.
            return Err(problems::in_lobby());
        }
        if let HttpKind::Watch(SlotFill::Only(Publisher::Participant(watched))) = entry.kind
            && !self.seats.iter().any(|seat| seat.id == watched && seat.listed && seat.admitted)
        {
            return Err(problems::nobody());
        }
        if !held.is_some_and(|(_, listed, _)| listed) {
            self.http_place(owner)?;
            self.make_place(held.map(|(id, ..)| id))?;
        }
        let (action, detail, record) = match entry.kind {
            HttpKind::Publish { record: true } => ("room.publish", "may be recorded", true),
            HttpKind::Publish { record: false } => ("room.publish", "", false),
            HttpKind::Watch(_) => ("room.watch", "", false),
        };
        self.audit(&entry.claims, action, &self.info.id, detail).await?;

        let peer = PeerId::generate();
        let id = held.map_or_else(ParticipantId::generate, |(id, ..)| id);
        if let Some(old) = self.seat_mut(id).and_then(|seat| seat.link.as_ref().map(|link| link.peer)) {
            self.unlink(old);
        }
        let link = Link::new(peer, None, &entry.claims, Instant::now());
        if held.is_none() {
            self.seats.push(Seat::new(id, kind, &entry.claims, record));
        }
        // Only a viewer's seat goes with its connection, and no viewer's is held.
        let seat = self.seat_mut(id).expect("held or put there just now");
        (seat.record, seat.admitted) = (record, admitted);
        seat.role = entry.claims.role;
        seat.name.clone_from(&entry.claims.name);
        (seat.audio, seat.video) = (Source::default(), Source::default());
        (seat.listed, seat.away_since) = (true, None);
        seat.link = Some(link);
        let lobby = !admitted;
        match kind {
            _ if lobby => {}
            // Who only watches begins no session.
            Kind::Viewer => self.journal_joined(id),
            Kind::Publisher | Kind::Browser => self.join_session(id).await,
        }
        // The sources that may be watched are looked up at the offer, so the audiences come first.
        self.apply_audiences().await;
        let (publish, fill) = match entry.kind {
            HttpKind::Publish { .. } => (true, SlotFill::Nothing),
            HttpKind::Watch(fill) => (false, fill),
        };
        let offer = Offer { room: self.info.id, participant: id, peer, publish, fill, sdp: entry.sdp };
        match answer(&self.shared, offer).await {
            Ok(answer) => {
                tracing::info!(participant = %id, ?kind, lobby, "came in over HTTP");
                Ok(HttpSession { peer, answer })
            }
            Err(problem) => {
                self.leave(peer);
                Err(problem)
            }
        }
    }

    /// Whether the room, and this owner, may have one more WHIP or WHEP client.
    fn http_place(&self, owner: ParticipantId) -> Result<(), Problem> {
        let clients = self.seats.iter().filter(|seat| seat.listed && seat.kind != Kind::Browser);
        let (mut all, mut own) = (0, 0);
        for seat in clients {
            all += 1;
            own += usize::from(seat.owner == owner);
        }
        if all >= HTTP_SESSIONS_MAX || own >= HTTP_SESSIONS_OWNER_MAX {
            return Err(problems::room_full("WHIP and WHEP clients"));
        }
        Ok(())
    }

    /// A WHIP or WHEP client asks something of its session.
    pub(super) async fn ask_session(
        &mut self,
        owner: ParticipantId,
        peer: PeerId,
        ask: Ask,
    ) -> Result<Said, Problem> {
        let gone = || Problem::not_found("media session");
        let (shared, room) = (self.shared.clone(), self.info.id);
        let seat = self.seat_of_mut(peer).filter(|seat| seat.kind != Kind::Browser).ok_or_else(gone)?;
        if seat.owner != owner {
            return Err(problems::other_token());
        }
        match ask {
            Ask::Look => Ok(Said::Done),
            Ask::Ice { wanted, fragment } => {
                let link = seat.link.as_mut().ok_or_else(gone)?;
                http_session::ice(&shared, room, peer, &mut link.ice_restarts, &wanted, &fragment).await
            }
            Ask::End => {
                self.leave(peer);
                Ok(Said::Done)
            }
        }
    }

    /// What the engine tells. Events of peers that were replaced are of nobody.
    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::PeerConnected { peer, .. } => self.connected(peer, true),
            Event::PeerClosed { peer, reason, .. } => {
                tracing::debug!(%peer, ?reason, "peer closed");
                let said_goodbye = reason == CloseReason::ClosedByPeer;
                if said_goodbye && self.out_of_peer(peer).is_some() {
                    // What it says by its socket may still be on the way, that it leaves above all.
                    self.connected(peer, false);
                } else {
                    // A browser's socket goes with it: what it offered on the connection that it still has would be a new
                    // one here, which waits for a handshake that never comes. Its page comes back and begins anew.
                    self.unlink(peer);
                }
            }
            Event::TrackStarted { publisher, codec, .. } => self.flows(publisher, codec.kind(), true),
            Event::TrackEnded { publisher, kind, .. } => self.flows(publisher, kind, false),
            Event::Slots { peer, slots, .. } => {
                let out = self.out_of_peer(peer);
                self.tell(out, plan(slots));
            }
            Event::Layers { peer, taken, .. } => {
                // A WHIP client has nobody to tell, and goes on with all of them.
                let out = self.out_of_peer(peer);
                self.tell(out, ServerMessage::Layers { taken });
            }
            Event::NeedSlots { peer, audio, video, .. } => {
                let out = self.out_of_peer(peer);
                self.tell(out, ServerMessage::NeedSlots { slots: SlotCount { audio, video } });
            }
        }
    }

    fn connected(&mut self, peer: PeerId, connected: bool) {
        if let Some(link) = self.seat_of_mut(peer).and_then(|seat| seat.link.as_mut()) {
            link.connected = connected;
        }
    }

    fn flows(&mut self, publisher: Publisher, kind: MediaKind, flows: bool) {
        let Publisher::Participant(id) = publisher else { return };
        if let Some(seat) = self.seat_mut(id) {
            seat.source_mut(kind).flows = flows;
        }
    }

    fn out_of_peer(&self, peer: PeerId) -> Option<super::Outbox> {
        self.seat_of(peer)?.link.as_ref()?.out.clone()
    }
}
